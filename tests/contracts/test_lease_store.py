"""The contract of `LeaseStore`: one lease, one owner, whatever the server and whatever happens to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.crc import key_slot
from tests.support.leases import (
    FAKE,
    LONG,
    LOST,
    MEMORY,
    REAL,
    SHORT,
    Leases,
    RedisLeases,
    SentinelProcess,
    answering_line,
    granted,
    held,
    leases_in,
    leases_in_redis,
    sooner_or_later,
)
from tests.support.odd_server import odd_server
from tests.support.redis_process import RedisProcess
from tests.support.servers import Clients
from tests.support.waiting import PATIENCE_S, until

from bgtasks.contracts import EXPIRED, RELEASED, UNKNOWN, Granted, LeaseStore
from bgtasks.errors import BgTasksError, ResourceUnavailable, UnsuitableServer
from bgtasks.stores import lease_store
from bgtasks.stores.lease_memory import MemoryLeaseStore
from bgtasks.stores.lease_redis import RedisLeaseStore
from bgtasks.testing import VirtualClock, virtual_redis, virtual_time

real = pytest.mark.real
SOON = ("fakeredis, decoding", "redis 8")
"""Each kind of client once; the other servers take as long again."""

EVERY_FAKE = [pytest.param(kind, marks=() if kind in SOON else pytest.mark.full) for kind in FAKE]
EVERY_REAL = [pytest.param(kind, marks=real if kind in SOON else (real, pytest.mark.full)) for kind in REAL]
FOREVER = time.time() + 365 * 86_400
"""An instant of the server's that a renewal is never past."""

CALLS: dict[str, Callable[[LeaseStore], Awaitable[object]]] = {
    "acquire": lambda store: store.acquire("a", LONG, LOST),
    "renew": lambda store: store.renew("a", LONG, FOREVER, False),
    "release": lambda store: store.release("a", False),
    "look": lambda store: store.look(),
    "mint": lambda store: store.mint("a", 0),
    "ask_to_resign": lambda store: store.ask_to_resign("a"),
    "released": lambda store: store.released(),
}


@pytest.fixture(params=[MEMORY, *EVERY_FAKE, *EVERY_REAL])
async def leases(request: pytest.FixtureRequest) -> AsyncIterator[Leases]:
    """Each kind of place there is."""
    async with leases_in(request.param, request) as made:
        yield made


@pytest.fixture(params=[*EVERY_FAKE, *EVERY_REAL])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[RedisLeases]:
    """Each Redis."""
    async with leases_in_redis(request.param, request) as made:
        yield made


@pytest.fixture(
    params=[
        pytest.param("redis 8", marks=real),
        pytest.param("redis 7, decoding", marks=(real, pytest.mark.full)),
    ]
)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[RedisLeases]:
    """Each Redis that is a process."""
    async with leases_in_redis(request.param, request) as made:
        yield made


async def term(store: LeaseStore, owner: str) -> int:
    """A term that is had and given back: its token."""
    token = granted(await store.acquire(owner, LONG, LOST)).token
    assert await store.release(owner, False)
    return token


async def work(store: LeaseStore, owner: str, lease: float) -> Granted:
    """A term whose quarantine is over."""
    answer = granted(await store.acquire(owner, lease, LOST))
    assert (await store.renew(owner, lease, FOREVER, False)).kept
    return answer


async def remaining(store: LeaseStore) -> float:
    """Seconds for which the lease is held."""
    left = held(await store.look()).remaining
    assert left is not None
    return left


@asynccontextmanager
async def one(url: str, key: str = "k", timeout: float = 20.0) -> AsyncIterator[RedisLeaseStore]:
    """A store for the server at this address, and its client."""
    client = Redis.from_url(url)
    store = RedisLeaseStore(client, key, timeout=timeout)
    try:
        yield store
    finally:
        await store.aclose()
        await client.aclose()


async def hasty(server: RedisLeases, url: str) -> RedisLeaseStore:
    """A store that gives up soon, connected by this line."""
    store = server.store_of(Clients(url=url, stack=server.clients.stack).new(), timeout=0.5)
    await sooner_or_later("it is connected", store)
    return store


async def is_free(store: LeaseStore) -> bool:
    return await store.look() is None


async def is_there(store: LeaseStore, run_id: str) -> bool:
    """Whether it is this run of a server that the store asks."""
    try:
        return held(await store.look()).run_id == run_id
    except ResourceUnavailable:
        return False


def address(process: RedisProcess) -> tuple[str, int]:
    """Its host and port."""
    host, _, port = process.url.removeprefix("redis://").partition("/")[0].partition(":")
    return host, int(port)


class TestAcquire:
    async def test_takes_a_lease_that_is_free(self, leases: Leases) -> None:
        store = leases.store()

        answer = granted(await store.acquire("a", LONG, LOST))

        found = held(await store.look())
        assert (found.owner, found.token) == ("a", answer.token)
        assert answer.token > 0
        assert LONG - PATIENCE_S < await remaining(store) <= LONG

    async def test_says_who_has_one_that_is_held_and_changes_nothing(self, leases: Leases) -> None:
        store = leases.store()
        token = granted(await store.acquire("a", LONG, LOST)).token

        answer = held(await leases.store().acquire("b", 2 * LONG, LOST))

        assert (answer.owner, answer.token) == ("a", token)
        assert answer.remaining is not None
        assert 0 < answer.remaining <= LONG
        assert held(await store.look()).owner == "a"
        assert await remaining(store) <= LONG

    async def test_again_by_its_owner_gives_the_same_token_and_prolongs_it(self, leases: Leases) -> None:
        store = leases.store()
        first = granted(await store.acquire("a", LONG, LOST))

        again = granted(await store.acquire("a", 2 * LONG, LOST))

        assert (again.token, again.ended, again.quarantine) == (first.token, first.ended, first.quarantine)
        assert await remaining(store) > LONG

    async def test_by_many_at_once_is_granted_to_one(self, leases: Leases) -> None:
        answers = await asyncio.gather(*(leases.store().acquire(f"node {n}", LONG, LOST) for n in range(12)))

        assert sum(isinstance(answer, Granted) for answer in answers) == 1

    async def test_is_granted_once_the_lease_has_expired(self, leases: Leases) -> None:
        store = leases.store()
        first = await work(store, "a", SHORT)
        await leases.expiry()

        second = granted(await store.acquire("b", LONG, LOST))

        assert second.token > first.token
        assert second.quarantine == 0.0

    async def test_gives_larger_tokens_from_term_to_term(self, leases: Leases) -> None:
        stores = [leases.store(), leases.store()]

        tokens = [await term(stores[n % 2], f"term {n}") for n in range(20)]

        assert tokens == sorted(set(tokens))

    async def test_says_what_time_it_is_for_the_server(self, leases: Leases) -> None:
        store = leases.store()

        said = [granted(await store.acquire("a", LONG, LOST)).at, held(await store.look()).at]

        assert all(abs(at - time.time()) < PATIENCE_S for at in said)


class TestRenew:
    async def test_keeps_the_lease_from_now_on(self, leases: Leases) -> None:
        store = leases.store()
        token = granted(await store.acquire("a", LONG, LOST)).token

        answer = await store.renew("a", 2 * LONG, FOREVER, False)

        assert answer.kept
        assert not answer.resign
        assert await remaining(store) > LONG
        assert held(await store.look()).token == token

    async def test_of_another_is_refused_and_prolongs_nothing(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", LONG, LOST)

        assert not (await store.renew("b", 2 * LONG, FOREVER, False)).kept
        assert held(await store.look()).owner == "a"
        assert await remaining(store) <= LONG

    async def test_of_one_that_nobody_has_is_refused(self, leases: Leases) -> None:
        store = leases.store()

        assert not (await store.renew("a", LONG, FOREVER, False)).kept
        assert await store.look() is None

    async def test_of_one_that_has_expired_does_not_raise_it(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", SHORT, LOST)
        await leases.expiry()

        assert not (await store.renew("a", LONG, FOREVER, False)).kept
        assert await store.look() is None

    async def test_that_comes_too_late_is_refused_though_the_lease_is_still_held(
        self, leases: Leases
    ) -> None:
        store = leases.store()
        at = granted(await store.acquire("a", LONG, LOST)).at

        assert not (await store.renew("a", 2 * LONG, at - 0.001, False)).kept
        assert await remaining(store) <= LONG
        assert (await store.renew("a", LONG, at + LONG, False)).kept


class TestTheWordToResign:
    async def test_is_heard_by_its_holder_until_that_releases(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", LONG, LOST)
        await leases.store().ask_to_resign("a")

        assert (await store.renew("a", LONG, FOREVER, False)).resign
        assert (await store.renew("a", LONG, FOREVER, False)).resign
        await store.release("a", False)
        await store.acquire("b", LONG, LOST)
        assert not (await store.renew("b", LONG, FOREVER, False)).resign

    async def test_is_not_heard_by_another_who_follows(self, leases: Leases) -> None:
        store = leases.store()
        await store.ask_to_resign("a")
        await store.acquire("b", LONG, LOST)

        assert not (await store.renew("b", LONG, FOREVER, False)).resign

    async def test_is_not_heard_by_who_holds_the_lease_no_more(self, leases: Leases) -> None:
        store = leases.store()
        await store.ask_to_resign("a")

        assert not (await store.renew("a", LONG, FOREVER, False)).resign

    async def test_is_not_lost_by_the_release_of_another(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", LONG, LOST)
        await store.ask_to_resign("b")
        await store.release("a", False)
        await store.acquire("b", LONG, LOST)

        assert (await store.renew("b", LONG, FOREVER, False)).resign


class TestRelease:
    async def test_makes_way_for_the_next(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", LONG, LOST)

        assert await store.release("a", False)
        assert await store.look() is None
        answer = granted(await leases.store().acquire("b", LONG, LOST))
        assert (answer.ended, answer.quarantine) == (RELEASED, 0.0)

    async def test_of_anothers_lease_is_refused(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", LONG, LOST)

        assert not await store.release("b", False)
        assert held(await store.look()).owner == "a"

    async def test_sent_again_after_a_lost_answer_says_the_same(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", LONG, LOST)

        assert [await store.release("a", False), await store.release("a", False)] == [True, True]

    async def test_that_comes_when_another_has_the_lease_leaves_it_there(self, leases: Leases) -> None:
        store = leases.store()
        await term(store, "a")
        await store.acquire("b", LONG, LOST)

        assert not await store.release("a", False)
        assert held(await store.look()).owner == "b"

    async def test_of_a_lease_that_has_expired_is_refused(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", SHORT, LOST)
        await leases.expiry()

        assert not await store.release("a", False)

    async def test_of_one_that_was_never_had_is_refused(self, leases: Leases) -> None:
        assert not await leases.store().release("a", False)


class TestMint:
    async def test_gives_the_holder_a_larger_token(self, leases: Leases) -> None:
        store = leases.store()
        token = granted(await store.acquire("a", LONG, LOST)).token

        minted = [await store.mint("a", 0), await store.mint("a", 0)]

        assert token < minted[0] < minted[1]
        assert held(await store.look()).token == minted[1]
        assert granted(await store.acquire("a", LONG, LOST)).token == minted[1]

    @pytest.mark.parametrize("above", [3 * 10**15 + 1, 2**53 - 1_000])
    async def test_goes_above_what_it_is_told_and_stays_exact(self, leases: Leases, above: int) -> None:
        store = leases.store()
        await store.acquire("a", LONG, LOST)

        assert await store.mint("a", above) == above + 1
        assert held(await store.look()).token == above + 1
        assert await store.mint("a", above) == above + 2
        await store.release("a", False)
        assert granted(await store.acquire("b", LONG, LOST)).token == above + 3

    async def test_gives_others_nothing(self, leases: Leases) -> None:
        store = leases.store()
        assert await store.mint("a", 0) == 0
        token = granted(await store.acquire("a", LONG, LOST)).token

        assert await store.mint("b", 0) == 0
        assert held(await store.look()).token == token

    async def test_gives_nothing_for_a_lease_that_has_expired(self, leases: Leases) -> None:
        store = leases.store()
        await store.acquire("a", SHORT, LOST)
        await leases.expiry()

        assert await store.mint("a", 0) == 0


class TestHearingOfARelease:
    async def test_wakes_each_node_that_waits_and_it_finds_the_lease_free(self, leases: Leases) -> None:
        async def hear() -> object:
            store = leases.store()
            await leases.hearing(store)
            await store.released()
            return await store.look()

        store = leases.store()
        await store.acquire("a", LONG, LOST)
        waiting = [asyncio.create_task(hear()) for _ in range(3)]
        await leases.heard_by(3)

        await store.release("a", False)

        async with asyncio.timeout(PATIENCE_S):
            assert await asyncio.gather(*waiting) == [None, None, None]

    async def test_is_waited_for_anew_each_time(self, leases: Leases) -> None:
        listener, store = leases.store(), leases.store()
        await leases.hearing(listener)
        for owner in ("a", "b"):
            await store.acquire(owner, LONG, LOST)
            waiting = asyncio.create_task(listener.released())
            await leases.heard_by(1)
            assert not waiting.done()
            await store.release(owner, False)
            async with asyncio.timeout(PATIENCE_S):
                await waiting

    async def test_may_be_given_up(self, leases: Leases) -> None:
        listener, store = leases.store(), leases.store()
        await store.acquire("a", LONG, LOST)
        await leases.hearing(listener)
        waiting = asyncio.create_task(listener.released())
        await asyncio.sleep(0)  # it has begun
        await leases.heard_by(1)

        waiting.cancel()
        await asyncio.wait((waiting,))

        assert waiting.cancelled()
        await leases.heard_by_nobody()
        await leases.hearing(listener)
        waiting = asyncio.create_task(listener.released())
        await leases.heard_by(1)
        await store.release("a", False)
        async with asyncio.timeout(PATIENCE_S):
            await waiting

    async def test_is_told_once_a_term_and_only_of_what_was_released(self, kept: RedisLeases) -> None:
        store = kept.store()
        async with kept.client.pubsub(ignore_subscribe_messages=True) as listening:
            await listening.subscribe(kept.events)
            await kept.heard_by(1)
            await store.acquire("a", LONG, LOST)
            await store.renew("a", LONG, FOREVER, False)
            await store.mint("a", 0)
            await store.release("b", False)
            await store.release("a", False)
            await store.release("a", False)
            await store.acquire("b", LONG, LOST)
            await kept.client.publish(kept.events, "the end")
            heard: list[object] = []
            while not heard or heard[-1] not in ("the end", b"the end"):
                if message := await listening.get_message(timeout=PATIENCE_S):
                    heard.append(message["data"])

        assert [str(each).strip("b'") for each in heard] == ["released", "the end"]


class TestHowTheTermBeforeEnded:
    async def test_there_was_none(self, kept: RedisLeases) -> None:
        answer = granted(await kept.store().acquire("a", LONG, LOST))

        assert (answer.ended, answer.quarantine) == (UNKNOWN, LOST)

    async def test_it_was_released(self, kept: RedisLeases) -> None:
        store = kept.store()
        await term(store, "a")

        answer = granted(await store.acquire("b", LONG, LOST))

        assert (answer.ended, answer.quarantine) == (RELEASED, 0.0)

    async def test_it_expired(self, kept: RedisLeases) -> None:
        store = kept.store()
        await work(store, "a", SHORT)
        await kept.expiry()

        answer = granted(await store.acquire("b", LONG, LOST))

        assert (answer.ended, answer.quarantine) == (EXPIRED, 0.0)

    async def test_it_expired_and_was_released_too_late(self, kept: RedisLeases) -> None:
        store = kept.store()
        await work(store, "a", SHORT)
        await kept.expiry()
        await store.release("a", False)

        assert granted(await store.acquire("b", LONG, LOST)).ended == EXPIRED

    async def test_the_key_was_lost_before_its_time(self, kept: RedisLeases) -> None:
        store = kept.store()
        await work(store, "a", LONG)
        await kept.client.delete(kept.key)

        answer = granted(await store.acquire("b", LONG, LOST))

        assert "lost before its time" in answer.ended
        assert LONG - PATIENCE_S < answer.quarantine <= LONG

    async def test_the_key_was_lost_after_a_renewal(self, kept: RedisLeases) -> None:
        store = kept.store()
        await work(store, "a", SHORT)
        assert (await store.renew("a", LONG, FOREVER, False)).kept
        await kept.client.delete(kept.key)

        assert granted(await store.acquire("b", LONG, LOST)).quarantine > LONG - PATIENCE_S

    async def test_the_key_was_lost_after_its_owner_took_it_again(self, kept: RedisLeases) -> None:
        store = kept.store()
        await store.acquire("a", SHORT, LOST)
        await work(store, "a", LONG)
        await kept.client.delete(kept.key)

        assert granted(await store.acquire("b", LONG, LOST)).quarantine > LONG - PATIENCE_S

    async def test_no_loss_counts_for_more_than_one_of_unknown_size(self, kept: RedisLeases) -> None:
        store = kept.store()
        await work(store, "a", LONG)
        await kept.client.delete(kept.key)

        assert granted(await store.acquire("b", LONG, 7.0)).quarantine == 7.0

    async def test_everything_was_lost(self, kept: RedisLeases) -> None:
        store = kept.store()
        await store.acquire("a", LONG, LOST)
        await kept.client.flushall()

        answer = granted(await store.acquire("b", LONG, LOST))

        assert (answer.ended, answer.quarantine) == (UNKNOWN, LOST)

    async def test_all_but_the_lease_was_lost(self, kept: RedisLeases) -> None:
        store = kept.store()
        await store.acquire("a", LONG, LOST)
        await kept.client.delete(kept.last, kept.fence)
        assert (await store.renew("a", SHORT, FOREVER, False)).kept
        await kept.expiry()

        assert granted(await store.acquire("b", LONG, LOST)).quarantine == LOST

    @pytest.mark.parametrize("how", ["released", "expired", "lost"])
    async def test_in_its_quarantine_so_that_the_next_term_has_one_in_full(
        self, kept: RedisLeases, how: str
    ) -> None:
        store = kept.store()
        await store.acquire("a", SHORT, LOST)
        assert (await store.renew("a", SHORT, FOREVER, True)).kept
        if how == "released":
            assert await store.release("a", True)
        elif how == "lost":
            await kept.client.delete(kept.key)
        await kept.expiry()

        answer = granted(await store.acquire("b", LONG, LOST))

        assert answer.ended == "the term before ended in its quarantine"
        assert answer.quarantine == LOST

    async def test_after_its_quarantine_so_that_the_next_term_has_none(self, kept: RedisLeases) -> None:
        store = kept.store()
        for owner in ("a", "b"):
            await store.acquire(owner, LONG, LOST)
            assert (await store.renew(owner, LONG, FOREVER, True)).kept
            await store.release(owner, False)

            assert granted(await store.acquire("c", LONG, LOST)).ended == RELEASED
            await store.release("c", True)  # one that needed none leaves none

        assert granted(await store.acquire("d", LONG, LOST)).quarantine == 0.0

    async def test_is_said_again_to_who_lost_the_answer(self, kept: RedisLeases) -> None:
        store = kept.store()
        await store.acquire("a", LONG, LOST)
        await kept.client.delete(kept.key)
        first = granted(await store.acquire("b", LONG, LOST))

        again = granted(await store.acquire("b", LONG, LOST))

        assert (again.ended, again.quarantine) == (first.ended, first.quarantine)

    @real
    async def test_the_key_was_evicted(self) -> None:
        with RedisProcess("--maxmemory-policy", "volatile-ttl") as process:
            async with one(process.url) as store:
                await work(store, "a", LONG)
                with process.client() as client:
                    client.config_set("maxmemory", 1)
                    assert not client.exists("k")
                    client.config_set("maxmemory", 0)

                answer = granted(await store.acquire("b", LONG, LOST))

        assert "lost before its time" in answer.ended
        assert answer.quarantine > LONG - PATIENCE_S


class TestAServerThatWasRestarted:
    pytestmark = real

    @pytest.fixture
    def process(self) -> Iterator[RedisProcess]:
        with RedisProcess(durable=True) as process:
            yield process

    async def restart(self, process: RedisProcess, store: LeaseStore) -> None:
        process.stop()
        process.start()
        await sooner_or_later("the store reaches it again", store)

    async def test_says_so_to_whoever_takes_the_lease_next(self, process: RedisProcess) -> None:
        async with one(process.url) as store:
            first = granted(await store.acquire("a", LONG, LOST))
            await self.restart(process, store)
            assert held(await store.look()).token == first.token
            with process.client() as client:
                client.delete("k")

            answer = granted(await store.acquire("b", LONG, LOST))

        assert "restarted" in answer.ended
        assert answer.quarantine == LOST
        assert answer.run_id != first.run_id
        assert answer.token > first.token

    async def test_no_more_once_the_lease_was_renewed_there(self, process: RedisProcess) -> None:
        async with one(process.url) as store:
            await store.acquire("a", LONG, LOST)
            await self.restart(process, store)
            assert (await store.renew("a", SHORT, FOREVER, False)).kept
            await until("the lease has expired", lambda: is_free(store))

            answer = granted(await store.acquire("b", LONG, LOST))

        assert (answer.ended, answer.quarantine) == (EXPIRED, 0.0)

    async def test_is_not_believed_that_the_lease_was_released(self, process: RedisProcess) -> None:
        async with one(process.url) as store:
            await term(store, "a")
            await self.restart(process, store)

            answer = granted(await store.acquire("b", LONG, LOST))

        assert "restarted" in answer.ended
        assert answer.quarantine == LOST


class TestTokens:
    @pytest.mark.parametrize("lost", ["fence", "last"])
    async def test_grow_though_a_key_beside_the_lease_is_lost(self, kept: RedisLeases, lost: str) -> None:
        store, tokens = kept.store(), list[int]()
        for n in range(6):
            tokens.append(await term(store, f"term {n}"))
            await kept.client.delete(kept.fence if lost == "fence" else kept.last)

        assert tokens == sorted(set(tokens))

    async def test_grow_though_all_was_lost(self, kept: RedisLeases) -> None:
        store = kept.store()
        first = await term(store, "a")
        await kept.client.flushall()

        assert await term(store, "b") > first

    async def test_grow_over_a_large_one_though_the_fence_is_lost(self, kept: RedisLeases) -> None:
        store = kept.store()
        await store.acquire("a", LONG, LOST)
        large = await store.mint("a", 2**53 - 1_000)
        await store.release("a", False)
        await kept.client.delete(kept.fence)

        assert await term(store, "b") == large + 1

    async def test_are_exact_in_redis_too(self, kept: RedisLeases) -> None:
        token = await term(kept.store(), "a")

        assert int(await kept.client.get(kept.fence)) == token
        assert int(await kept.client.hget(kept.last, "token")) == token

    async def test_of_a_term_do_not_become_smaller_if_its_owner_takes_it_again_after_a_loss(
        self, kept: RedisLeases
    ) -> None:
        store = kept.store()
        token = granted(await store.acquire("a", LONG, LOST)).token
        await kept.client.delete(kept.last)

        assert granted(await store.acquire("a", LONG, LOST)).token >= token

    @pytest.mark.parametrize("lost", [None, "{k}:fence", "{k}:last"])
    @virtual_time
    async def test_grow_while_the_clock_of_the_server_is_set_back(
        self, virtual_clock: VirtualClock, lost: str | None
    ) -> None:
        with virtual_redis(virtual_clock) as client:
            store, tokens = RedisLeaseStore(client, "k"), list[int]()
            for n in range(6):
                tokens.append(await term(store, f"term {n}"))
                if lost is not None:
                    await client.delete(lost)
                virtual_clock.step_wall(-3_600)
            granted(await store.acquire("last", LONG, LOST))
            tokens.append(held(await store.look()).token)
            virtual_clock.step_wall(-3_600)
            tokens.append(await store.mint("last", 0))

        assert tokens == sorted(set(tokens))


class TestTheClockOfTheServer:
    @virtual_time
    async def test_set_forward_makes_a_lease_expire(self, virtual_clock: VirtualClock) -> None:
        with virtual_redis(virtual_clock) as client:
            store = RedisLeaseStore(client, "k")
            await work(store, "a", LONG)
            virtual_clock.step_wall(LONG + 1)

            assert not (await store.renew("a", LONG, FOREVER, False)).kept
            assert granted(await store.acquire("b", LONG, LOST)).ended == EXPIRED

    @virtual_time
    async def test_set_forward_makes_a_renewal_come_too_late(self, virtual_clock: VirtualClock) -> None:
        with virtual_redis(virtual_clock) as client:
            store = RedisLeaseStore(client, "k")
            at = granted(await store.acquire("a", LONG, LOST)).at
            virtual_clock.step_wall(10)

            assert not (await store.renew("a", LONG, at + 5, False)).kept

    @pytest.mark.parametrize(
        ("owner", "kept_for"), [(f"n:{'0a' * 16}", LOST), ("of-another-program", LONG + 10_000)]
    )
    @virtual_time
    async def test_set_back_leaves_nobody_of_whom_all_trace_is_lost_with_the_lease_for_longer_than_one(
        self, virtual_clock: VirtualClock, owner: str, kept_for: float
    ) -> None:
        with virtual_redis(virtual_clock) as client:
            store = RedisLeaseStore(client, "k")
            await store.acquire(owner, LONG, LOST)
            virtual_clock.step_wall(-10_000)
            await client.delete("{k}:last")

            seen = held(await store.acquire("b", LONG, LOST))

            assert seen.remaining == pytest.approx(kept_for, abs=1)

    @virtual_time
    async def test_set_back_counts_no_loss_for_more_than_one_of_unknown_size(
        self, virtual_clock: VirtualClock
    ) -> None:
        with virtual_redis(virtual_clock) as client:
            store = RedisLeaseStore(client, "k")
            await store.acquire("a", LONG, LOST)
            virtual_clock.step_wall(-86_400)
            await client.delete("k")

            assert granted(await store.acquire("b", LONG, LOST)).quarantine == LOST

    @virtual_time
    async def test_set_back_keeps_nobody_waiting_for_longer_than_the_lease(
        self, virtual_clock: VirtualClock
    ) -> None:
        with virtual_redis(virtual_clock) as client:
            store = RedisLeaseStore(client, "k")
            await store.acquire("a", LONG, LOST)
            virtual_clock.step_wall(-86_400)

            assert held(await store.acquire("b", LONG, LOST)).remaining == LONG
            await virtual_clock.advance(LONG + 1)
            assert granted(await store.acquire("b", LONG, LOST)).token > 0

    @virtual_time
    async def test_set_back_prolongs_nothing_that_a_renewal_made_longer(
        self, virtual_clock: VirtualClock
    ) -> None:
        with virtual_redis(virtual_clock) as client:
            store = RedisLeaseStore(client, "k")
            await store.acquire("a", LONG, LOST)
            assert (await store.renew("a", 2 * LONG, FOREVER, False)).kept

            assert held(await store.acquire("b", LONG, LOST)).remaining == 2 * LONG

    @virtual_time
    async def test_of_a_process_decides_nothing_in_memory(self, virtual_clock: VirtualClock) -> None:
        store = MemoryLeaseStore("k", virtual_clock)
        await store.acquire("a", 10.0, LOST)
        virtual_clock.step_wall(86_400)
        assert held(await store.look()).remaining == 10.0
        virtual_clock.step_wall(-2 * 86_400)

        await virtual_clock.advance(10.0)

        assert await store.look() is None


class TestTheKeys:
    @pytest.mark.parametrize("key", ["sg:leader:supervisor", "sg:{leader}:a", "{a}", "ключ"])
    async def test_are_in_the_slot_of_the_lease(self, kept: RedisLeases, key: str) -> None:
        store = kept.store(key)
        await store.acquire("a", LONG, LOST)
        await store.ask_to_resign("a")
        keys = [each if isinstance(each, bytes) else each.encode() for each in await kept.client.keys("*")]

        assert key.encode() in keys
        assert len(keys) == 4
        assert {key_slot(each) for each in keys} == {key_slot(key.encode())}

    async def test_are_of_one_lease_each(self, kept: RedisLeases) -> None:
        one, other = kept.store("one"), kept.store("other")
        await one.acquire("a", LONG, LOST)

        assert granted(await other.acquire("b", LONG, LOST)).ended == UNKNOWN
        await other.release("b", False)
        assert held(await one.look()).owner == "a"

    async def test_the_lease_is_the_key_itself_with_its_owner_and_an_expiry(self, kept: RedisLeases) -> None:
        await kept.store().acquire("node:nonce", LONG, LOST)

        assert await kept.client.get(kept.key) in ("node:nonce", b"node:nonce")
        assert 0 < await kept.client.pttl(kept.key) <= LONG * 1000

    async def test_a_lease_that_never_expires_has_nothing_that_remains(self, kept: RedisLeases) -> None:
        store = kept.store()
        await store.acquire("a", LONG, LOST)
        await kept.client.persist(kept.key)

        assert held(await store.look()).remaining is None
        assert held(await store.acquire("b", LONG, LOST)).remaining is None
        assert (await store.renew("a", LONG, FOREVER, False)).kept
        assert 0 < await remaining(store) <= LONG

    async def test_the_lease_of_another_program_is_respected(self, kept: RedisLeases) -> None:
        store = kept.store()
        await term(store, "a")
        await kept.client.set(kept.key, "somebody")

        found = held(await store.acquire("b", LONG, LOST))

        assert (found.owner, found.remaining, found.token) == ("somebody", None, 0)
        assert not (await store.renew("a", LONG, FOREVER, False)).kept
        assert not await store.release("a", False)
        assert held(await store.look()).owner == "somebody"

    @pytest.mark.parametrize("name", [name for name in CALLS if name not in ("released", "ask_to_resign")])
    async def test_a_key_of_another_kind_is_said_and_left_alone(self, kept: RedisLeases, name: str) -> None:
        await kept.client.hset(kept.key, "a", "b")

        with pytest.raises(ResourceUnavailable, match="WRONGTYPE"):
            await CALLS[name](kept.store())
        assert await kept.client.type(kept.key) in ("hash", b"hash")


class TestLostAnswers:
    async def test_of_each_call_are_made_good_by_asking_again(self, server: RedisLeases) -> None:
        url = server.clients.url
        assert url is not None
        async with answering_line(url) as line:
            store, lossy = server.store(), await hasty(server, line.url)

            for call in ("acquire", "mint", "release"):  # whose scripts the server knows from here on
                await CALLS[call](server.store("other"))

            async def unanswered(call: str) -> None:
                await sooner_or_later("it is connected", lossy)
                line.mute = True
                with pytest.raises(ResourceUnavailable):
                    await CALLS[call](lossy)
                line.mute = False

            await unanswered("acquire")
            token = held(await store.look()).token
            assert granted(await store.acquire("a", LONG, LOST)).token == token

            await unanswered("mint")
            minted = held(await store.look()).token
            assert token < minted < await store.mint("a", token)

            await unanswered("release")
            assert await store.look() is None
            assert await store.release("a", False)

    @pytest.mark.parametrize("name", [name for name in CALLS if name != "released"])
    async def test_make_no_client_send_a_call_twice(self, server: RedisLeases, name: str) -> None:
        url = server.clients.url
        assert url is not None
        async with answering_line(url) as line:
            lossy = await hasty(server, line.url)
            await server.store().acquire("a", LONG, LOST)
            with suppress(BgTasksError):  # its script is known to the server from here on
                await CALLS[name](server.store())
            await server.client.config_resetstat()
            line.mute = True

            with pytest.raises(ResourceUnavailable):
                await CALLS[name](lossy)

            counted = await server.client.info("commandstats")
        assert counted["cmdstat_evalsha"]["calls"] == 1

    @pytest.mark.parametrize("name", CALLS)
    async def test_never_keep_a_caller_waiting(self, name: str) -> None:
        with odd_server(b"") as (url, _):
            async with one(url, timeout=0.2) as store:
                began = time.monotonic()
                async with asyncio.timeout(PATIENCE_S):
                    with pytest.raises(ResourceUnavailable):
                        await CALLS[name](store)
                assert time.monotonic() - began < 5

    @pytest.mark.parametrize("name", CALLS)
    async def test_of_a_server_that_is_away_are_known_at_once(self, name: str) -> None:
        with RedisProcess(tcp=True) as process:
            process.stop()
            async with one(process.url) as store:
                with pytest.raises(ResourceUnavailable):
                    await CALLS[name](store)

    async def test_do_not_outlast_the_outage(self) -> None:
        with RedisProcess() as process:
            async with one(process.url) as store:
                await store.acquire("a", LONG, LOST)
                process.stop()
                for name in CALLS:
                    with pytest.raises(ResourceUnavailable):
                        await CALLS[name](store)
                process.start()

                await sooner_or_later("the store reaches it again", store)
                assert granted(await store.acquire("b", LONG, LOST)).ended == UNKNOWN


class TestASubscription:
    async def test_says_once_that_it_stands_and_hears_what_is_released_from_then_on(
        self, server: RedisLeases
    ) -> None:
        store, listener = server.store(), server.store()
        await store.acquire("a", LONG, LOST)
        async with asyncio.timeout(PATIENCE_S):
            await listener.released()
        waiting = asyncio.create_task(listener.released())
        await listener.look()
        assert not waiting.done()

        await store.release("a", False)

        async with asyncio.timeout(PATIENCE_S):
            await waiting

    async def test_that_dies_is_said_and_the_next_one_hears(self, server: RedisLeases) -> None:
        store, listener = server.store(), server.store()
        await store.acquire("a", LONG, LOST)
        await server.hearing(listener)
        waiting = asyncio.create_task(listener.released())
        await server.heard_by(1)

        await server.client.client_kill_filter(_type="pubsub")

        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ResourceUnavailable):
                await waiting
        await server.heard_by_nobody()
        await server.hearing(listener)
        waiting = asyncio.create_task(listener.released())
        await server.heard_by(1)
        await store.release("a", False)
        async with asyncio.timeout(PATIENCE_S):
            await waiting

    @real
    async def test_of_a_server_that_ends_is_said(self) -> None:
        with RedisProcess() as process:
            async with one(process.url) as store:
                await store.released()
                waiting = asyncio.create_task(store.released())
                with process.client() as client:
                    await until("it listens", lambda: client.pubsub_numsub("{k}:events")[0][1])

                process.stop()

                async with asyncio.timeout(PATIENCE_S):
                    with pytest.raises(ResourceUnavailable):
                        await waiting

    async def test_lasts_longer_than_a_call_may_take(self, server: RedisLeases) -> None:
        timeout = 1.0
        store, listener = server.store(), server.store(timeout=timeout)
        await store.acquire("a", LONG, LOST)
        await server.hearing(listener)
        waiting = asyncio.create_task(listener.released())
        await server.heard_by(1)
        began = time.monotonic()

        await until("a call would be over", lambda: time.monotonic() > began + 1.5 * timeout)

        assert not waiting.done()
        await store.release("a", False)
        async with asyncio.timeout(PATIENCE_S):
            await waiting

    async def test_that_died_without_a_word_is_made_anew(
        self, server: RedisLeases, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bgtasks.stores.lease_redis.HEARD", 0.05)
        url = server.clients.url
        assert url is not None
        async with answering_line(url) as line, one(line.url, key=server.key) as listener:
            await listener.released()
            line.mute = True
            async with asyncio.timeout(PATIENCE_S):
                await listener.released()
            line.mute = False
            async with asyncio.timeout(PATIENCE_S):
                await listener.released()
            await server.heard_by(1)

    async def test_given_up_at_any_moment_leaves_none_behind(self, server: RedisLeases) -> None:
        store = server.store()

        async def listen() -> None:
            while True:
                await store.released()

        for steps in range(25):
            waiting = asyncio.create_task(listen())
            for _ in range(steps):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait((waiting,))

        await server.heard_by_nobody()
        await store.look()
        assert len(await server.connected()) <= 2
        assert not store._client.connection_pool._in_use_connections

    async def test_ends_when_the_store_is_closed(self, server: RedisLeases) -> None:
        store = server.store()
        await server.hearing(store)
        waiting = asyncio.create_task(store.released())
        await server.heard_by(1)

        await store.aclose()

        await asyncio.wait((waiting,), timeout=PATIENCE_S)
        assert waiting.done()
        assert isinstance(waiting.exception(), ResourceUnavailable)
        await server.heard_by_nobody()


class TestCalls:
    @pytest.mark.parametrize("name", [name for name in CALLS if name != "released"])
    async def test_given_up_at_any_moment_leave_no_answer_to_the_next(
        self, server: RedisLeases, name: str
    ) -> None:
        store = server.store()
        for steps in range(30):
            await store.acquire("a", LONG, LOST)
            calling = asyncio.ensure_future(CALLS[name](store))
            for _ in range(steps):
                await asyncio.sleep(0)
            calling.cancel()
            await asyncio.wait((calling,))

            assert granted(await store.acquire("a", LONG, LOST)).token > 0
            assert held(await store.look()).owner == "a"
            assert await store.release("nobody", False) is False

        assert not store._client.connection_pool._in_use_connections

    async def test_at_once_are_each_given_their_own_answer(self, server: RedisLeases) -> None:
        store = server.store()
        await store.acquire("a", LONG, LOST)

        looks, wrong, right = await asyncio.gather(
            asyncio.gather(*(store.look() for _ in range(20))),
            asyncio.gather(*(store.renew("b", LONG, FOREVER, False) for _ in range(20))),
            asyncio.gather(*(store.renew("a", LONG, FOREVER, False) for _ in range(20))),
        )

        assert {held(look).owner for look in looks} == {"a"}
        assert not any(answer.kept for answer in wrong)
        assert all(answer.kept for answer in right)

    async def test_go_on_after_the_scripts_of_the_server_were_forgotten(self, kept: RedisLeases) -> None:
        store = kept.store()
        for name in CALLS:
            if name != "released":
                await kept.client.script_flush()
                await CALLS[name](store)

        assert granted(await store.acquire("b", LONG, LOST)).token > 0

    async def test_are_not_for_a_replica(self) -> None:
        with RedisProcess() as process, process.client() as client:
            async with one(process.url) as store:
                await store.acquire("a", LONG, LOST)
                client.replicaof("127.0.0.1", "1")
                for name in ("acquire", "renew", "release", "mint", "ask_to_resign"):
                    with pytest.raises(ResourceUnavailable):
                        await CALLS[name](store)
                client.replicaof("NO", "ONE")

                assert (await store.renew("a", LONG, FOREVER, False)).kept


class TestAUserThatMayDoLittle:
    pytestmark = real

    async def store_of(self, server: RedisLeases, *rules: str) -> RedisLeaseStore:
        url = server.clients.url
        assert url is not None
        await server.client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pw", *rules)
        server.clients.stack.push_async_callback(server.client.acl_deluser, "limited")
        return server.store_of(server.clients.new(username="limited", password="pw"))

    async def test_and_not_ask_which_run_of_the_server_it_is_has_a_lease_all_the_same(
        self, server: RedisLeases
    ) -> None:
        store = await self.store_of(server, "~*", "&*", "+@all", "-@dangerous")
        first = granted(await store.acquire("a", LONG, LOST))
        renewed = await store.renew("a", LONG, FOREVER, False)
        assert await store.release("a", False)
        await store.acquire("b", SHORT, LOST)
        await until("the lease has expired", lambda: is_free(store))
        third = granted(await store.acquire("c", LONG, LOST))

        assert (first.run_id, renewed.run_id, held(await store.look()).run_id) == ("", "", "")
        assert renewed.kept
        assert (third.ended, third.quarantine) == (EXPIRED, 0.0)

    async def test_can_do_with_the_keys_of_its_lease(self, server: RedisLeases) -> None:
        rules = (f"~{server.key}", f"~{server.tag}:*", f"&{server.tag}:*", "+@all", "-@dangerous")
        store = await self.store_of(server, *rules)

        assert await term(store, "a") < await term(store, "b")

    async def test_gives_its_lease_back_though_it_may_not_tell_of_it(self, server: RedisLeases) -> None:
        store = await self.store_of(server, "~*", "resetchannels", "+@all")
        await store.acquire("a", LONG, LOST)

        with suppress(BgTasksError):
            await store.release("a", False)

        assert await store.release("a", False)
        assert granted(await server.store().acquire("b", LONG, LOST)).ended == RELEASED

    async def test_and_nothing_here_is_said(self, server: RedisLeases) -> None:
        store = await self.store_of(server, "~other:*", "&*", "+@all")

        with pytest.raises(UnsuitableServer, match="may not"):
            await store.acquire("a", LONG, LOST)


class TestConnections:
    async def test_are_none_after_closing(self, server: RedisLeases) -> None:
        store = server.store()
        await store.acquire("a", LONG, LOST)
        await server.hearing(store)
        waiting = asyncio.create_task(store.released())
        await server.heard_by(1)
        waiting.cancel()
        await asyncio.wait((waiting,))
        await store.look()
        assert await server.connected()

        await store.aclose()

        await server.nobody_is_left()

    async def test_are_none_before_the_first_call(self, server: RedisLeases) -> None:
        server.store()

        assert await server.connected() == set()

    async def test_are_made_anew_by_a_call_after_closing(self, leases: Leases) -> None:
        store = leases.store()
        await store.aclose()
        await store.acquire("a", LONG, LOST)
        await store.aclose()
        await store.aclose()

        assert held(await store.look()).owner == "a"
        assert await store.release("a", False)

    async def test_are_not_those_of_the_client(self, server: RedisLeases) -> None:
        url = server.clients.url
        assert url is not None
        client = Redis.from_url(url, max_connections=1)
        server.clients.stack.push_async_callback(client.aclose)
        busy = asyncio.ensure_future(client.blpop("nothing", timeout=PATIENCE_S))
        store = server.store_of(client)

        assert await term(store, "a") < await term(store, "b")
        assert not busy.done()
        busy.cancel()
        await asyncio.wait((busy,))

    async def test_of_the_client_go_on_after_closing(self, server: RedisLeases) -> None:
        client = server.clients.new()
        own = await client.client_id()
        store = server.store_of(client)
        await term(store, "a")

        await store.aclose()

        assert await client.client_id() == own

    @pytest.mark.parametrize("protocol", [2, 3])
    async def test_are_made_like_those_of_the_client(self, server: RedisLeases, protocol: int) -> None:
        url = server.clients.url
        assert url is not None
        pool = BlockingConnectionPool.from_url(url, db=3, protocol=protocol, client_name="like-this")
        client = Redis(connection_pool=pool)
        server.clients.stack.push_async_callback(pool.aclose)
        store = server.store_of(client)
        await store.acquire("a", LONG, LOST)
        await server.hearing(store)
        waiting = asyncio.create_task(store.released())
        await server.heard_by(1)

        assert await client.get(server.key) == b"a"
        assert await server.client.get(server.key) is None
        assert {each["name"] for each in await server.client.client_list(_type="pubsub")} == {"like-this"}
        await store.release("a", False)
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        await client.flushdb()

    async def test_one_is_enough(self, server: RedisLeases) -> None:
        store = server.store()
        for n in range(5):
            await term(store, f"term {n}")

        assert len(await server.connected()) == 1


class TestTheMaking:
    async def test_refuses_a_client_of_a_cluster(self) -> None:
        cluster = RedisCluster(host="127.0.0.1", port=1)
        try:
            with pytest.raises(UnsuitableServer, match="Cluster"):
                lease_store(cluster, "k")
        finally:
            await cluster.aclose()

    async def test_gives_the_store_that_fits(self) -> None:
        client = Redis(host="127.0.0.1", port=1)

        assert isinstance(lease_store(client, "k"), RedisLeaseStore)
        assert isinstance(lease_store(None, "k"), MemoryLeaseStore)
        assert isinstance(lease_store(None, "k"), LeaseStore)
        assert lease_store(client, "k").key == "k"


@real
@pytest.mark.full
class TestBehindSentinel:
    @pytest.fixture
    def nodes(self) -> Iterator[tuple[RedisProcess, RedisProcess]]:
        """The replica of a master, and the Sentinel that watches both."""
        with RedisProcess(tcp=True) as master:
            _, port = address(master)
            with (
                RedisProcess("--replicaof", f"127.0.0.1 {port}", tcp=True) as replica,
                SentinelProcess("it", port) as sentinel,
            ):
                yield replica, sentinel

    async def test_the_lease_follows_the_master_and_counts_as_lost(
        self, nodes: tuple[RedisProcess, RedisProcess]
    ) -> None:
        replica, watching = nodes
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            [address(watching)], socket_timeout=PATIENCE_S
        )
        client = sentinel.master_for("it")
        store = RedisLeaseStore(client, "k", timeout=PATIENCE_S)
        try:
            with replica.client() as at_the_replica, watching.client() as of_the_sentinel:
                first = granted(await store.acquire("a", SHORT, LOST))
                await store.renew("a", LONG, FOREVER, False)
                await until("the replica has the lease", lambda: at_the_replica.get("k") == "a")
                await until("the Sentinel knows it", lambda: of_the_sentinel.sentinel_slaves("it"))
                of_the_sentinel.execute_command("SENTINEL", "FAILOVER", "it")
                await until("it is the master", lambda: at_the_replica.role()[0] == "master")

                run_id = at_the_replica.info("server")["run_id"]
                await until("the store has found it", lambda: is_there(store, run_id))
                at_the_replica.delete("k")
                second = granted(await store.acquire("b", LONG, LOST))

                assert second.run_id == run_id != first.run_id
                assert "replaced" in second.ended
                assert second.quarantine == LOST
                assert second.token > first.token
                assert await store.release("b", False)
                assert at_the_replica.get("k") is None
        finally:
            await store.aclose()
            await client.aclose()
            for each in sentinel.sentinels:
                await each.aclose()
