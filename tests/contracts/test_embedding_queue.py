"""The contract of `EmbeddingQueue`, on every Redis: what waits is taken by one worker, and lost by none."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from tests.support.servers import Backend

from bgtasks.errors import ConfigurationError
from bgtasks.memory.embedding_queue import EmbeddingQueue, Waiting
from bgtasks.memory.messages import Message, MessageCache, Origin

pytestmark = pytest.mark.real

T0 = datetime(2026, 9, 1, 7, tzinfo=UTC)


@pytest.fixture
def queue(backend: Backend) -> EmbeddingQueue:
    return EmbeddingQueue(backend.client)


def ids(taken: list[Waiting]) -> list[str]:
    return [each.id for each in taken]


def message(id: str, text: str = "hello", origin: Origin = "human") -> Message:
    return Message(channel="c", id=id, author="Ada", ts=T0, text=text, origin=origin)


class TestTaking:
    async def test_what_was_put_is_taken_in_order_and_once(self, queue: EmbeddingQueue) -> None:
        await queue.put("a:b", ["1", "2"])
        await queue.put("c", ["3 \ud83d"])

        one, two = await queue.take("one", 2), await queue.take("two", 2)

        assert [(each.channel, each.id) for each in one + two] == [("a:b", "1"), ("a:b", "2"), ("c", "3 ?")]
        assert await queue.take("one") == []

    async def test_an_empty_queue_gives_nothing_at_once(self, queue: EmbeddingQueue) -> None:
        assert await queue.take("one") == []
        assert await queue.length() == await queue.dropped() == 0
        await queue.put("c", [])
        await queue.done([])
        assert await queue.take("one") == []

    async def test_what_is_done_is_gone(self, queue: EmbeddingQueue) -> None:
        await queue.put("c", ["1", "2", "3"])
        taken = await queue.take("one", 2)
        assert await queue.length() == 3

        await queue.done(taken)
        await queue.done(taken)

        assert await queue.length() == 1
        assert ids(await queue.take("two", idle=0)) == ["3"]

    async def test_what_a_dead_worker_left_is_taken_before_what_is_new(self, queue: EmbeddingQueue) -> None:
        await queue.put("c", ["1", "2", "3", "4"])
        await queue.take("dead", 2)

        assert ids(await queue.take("alive", 3, idle=0)) == ["1", "2", "3"]

    async def test_what_is_being_worked_on_is_left_alone(self, queue: EmbeddingQueue) -> None:
        await queue.put("c", ["1", "2"])
        await queue.take("one", 1)

        assert ids(await queue.take("two", idle=60)) == ["2"]

    async def test_what_a_dead_worker_left_is_found_behind_what_others_work_on(
        self, queue: EmbeddingQueue, backend: Backend
    ) -> None:
        await queue.put("c", [str(number) for number in range(40)])
        await queue.take("alive", 30)
        left = [each.entry for each in await queue.take("dead", 10)]
        await backend.client.xclaim(queue.key, "embed", "dead", 0, left, idle=60_000, justid=True)

        found = [ids(await queue.take("new", 2, idle=30)) for _ in range(3)]

        assert [each for some in found for each in some][:2] == ["30", "31"]

    async def test_what_was_dropped_while_it_was_worked_on_does_not_come_again(
        self, queue: EmbeddingQueue, backend: Backend
    ) -> None:
        await queue.put("c", ["1", "2"])
        await queue.take("dead")
        await backend.client.xtrim(queue.key, maxlen=1, approximate=False)

        assert ids(await queue.take("alive", idle=0)) == ["2"]
        assert (await backend.client.xpending(queue.key, "embed"))["pending"] == 1

    async def test_many_workers_share_the_work(self, backend: Backend) -> None:
        queues = [EmbeddingQueue(backend.new()) for _ in range(4)]
        await queues[0].put("c", [str(number) for number in range(200)])
        worked: list[str] = []

        async def work(queue: EmbeddingQueue, name: str) -> None:
            while taken := await queue.take(name, 7):
                worked.extend(ids(taken))
                await queue.done(taken)

        await asyncio.gather(*(work(queue, f"w{index}") for index, queue in enumerate(queues)))

        assert sorted(worked, key=int) == [str(number) for number in range(200)]
        assert await queues[0].length() == 0

    async def test_it_goes_on_after_the_server_lost_everything(
        self, queue: EmbeddingQueue, backend: Backend
    ) -> None:
        await queue.put("c", ["1"])
        await queue.take("one")
        await backend.client.flushall()
        await backend.client.script_flush()

        await queue.put("c", ["2"])

        assert ids(await queue.take("one")) == ["2"]

    async def test_a_client_of_the_newer_protocol_serves_as_well(self, backend: Backend) -> None:
        queue = EmbeddingQueue(backend.new(protocol=3))
        await queue.put("c", ["1", "2", "3"])

        assert ids(await queue.take("one", 2)) == ["1", "2"]
        assert ids(await queue.take("two", idle=0)) == ["1", "2", "3"]


class TestBound:
    async def test_beyond_the_cap_the_oldest_are_dropped_and_counted(
        self, backend: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue = EmbeddingQueue(backend.client, cap=100)

        await queue.put("c", [str(number) for number in range(110)])
        assert (await queue.length(), caplog.messages) == (110, [])
        await queue.put("c", [str(number) for number in range(110, 300)])

        assert await queue.length() == 100
        assert await queue.dropped() == 200
        assert ids(await queue.take("one", 1)) == ["200"]
        assert "the embedding queue held more than 100 messages" in caplog.text

    async def test_no_room_at_all_is_refused(self, backend: Backend) -> None:
        with pytest.raises(ConfigurationError, match="cannot be capped at 0"):
            EmbeddingQueue(backend.client, cap=0)


class TestFromTheCache:
    async def test_what_people_and_agents_say_waits_for_its_vector(
        self, backend: Backend, queue: EmbeddingQueue
    ) -> None:
        cache = MessageCache(backend.client, embedding_queue=queue)
        spoken = [message("1"), message("2", origin="agent")]
        others = [message("3", origin="tool"), message("4", origin="recalled"), message("5", " \n")]

        await cache.ingest("c", [*spoken, *others])
        await cache.ingest("c", [*spoken, *others])

        assert ids(await queue.take("one")) == ["1", "2"]

    async def test_an_edit_waits_once_more_and_so_does_a_deletion_whose_vector_is_to_go(
        self, backend: Backend, queue: EmbeddingQueue
    ) -> None:
        cache = MessageCache(backend.client, embedding_queue=queue)
        await cache.ingest("c", [message("1"), message("2"), message("3", origin="tool")])
        await queue.done(await queue.take("one"))

        await cache.edit("c", "1", "goodbye")
        await cache.edit("c", "1", "goodbye")
        await cache.edit("c", "3", "goodbye")
        await cache.delete("c", "2")
        await cache.delete("c", "3")
        await cache.again("c", "1")

        assert ids(await queue.take("one")) == ["1", "2"]

    async def test_taking_in_keeps_the_queue_within_its_bound(self, backend: Backend) -> None:
        queue = EmbeddingQueue(backend.client, cap=10)
        cache = MessageCache(backend.client, embedding_queue=queue)

        await cache.ingest("c", [message(str(number)) for number in range(50)])

        assert await queue.length() == 10

    async def test_namespaces_do_not_see_each_other(self, backend: Backend) -> None:
        one, other = EmbeddingQueue(backend.client, "one"), EmbeddingQueue(backend.client, "other")
        await MessageCache(backend.client, "one", embedding_queue=one).ingest("c", [message("1")])

        assert (await one.length(), await other.length()) == (1, 0)
