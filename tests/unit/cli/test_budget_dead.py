"""`bgtasks dead`: what could not be dealt with is listed, read again or given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import fakeredis
import pytest
from tests.unit.cli.conftest import Call

from bgtasks.cli import dead as command
from bgtasks.contracts import Absent
from bgtasks.memory.dead import DeadLetters
from bgtasks.memory.messages import Message, MessageCache
from bgtasks.resources import Resources
from bgtasks.settings import Settings

T0 = datetime(2020, 9, 1, 7, tzinfo=UTC)


class Post:
    """A Redis with messages of a channel, some of them dead."""

    def __init__(self) -> None:
        self._server = fakeredis.FakeServer()

    @asynccontextmanager
    async def opened(self, settings: Settings | None = None) -> AsyncIterator[Resources]:
        async with fakeredis.FakeAsyncRedis(server=self._server) as client:
            none = Absent("none")
            yield Resources(client, none, none, none)

    def do[T](self, work: Callable[[DeadLetters, MessageCache], Awaitable[T]]) -> T:
        async def run() -> T:
            async with self.opened() as held:
                redis: Any = held.redis
                return await work(DeadLetters(redis, "bgtasks"), MessageCache(redis, "bgtasks"))

        return asyncio.run(run())

    def die(self, number: int, *, text: str = "hello", why: str = "not what the schema says") -> str:
        """Have a message come and die; its key."""

        async def work(letters: DeadLetters, cache: MessageCache) -> str:
            at = T0 + timedelta(seconds=number)
            said = Message(channel="garden", id=f"m{number}", author="Ada", ts=at, text=text)
            await cache.ingest("garden", [said])
            return (await letters.add("garden", said.id, "extract", why, at)).key

        return self.do(work)

    @property
    def left(self) -> list[str]:
        """The ids that are dead, the latest first."""

        async def work(letters: DeadLetters, cache: MessageCache) -> list[str]:
            return [each.message_id for each in await letters.list()]

        return self.do(work)

    @property
    def entries(self) -> list[tuple[str, str]]:
        """What is in the channel: what happened to which message."""

        async def work(letters: DeadLetters, cache: MessageCache) -> list[tuple[str, str]]:
            return [(each.op, each.id) for each in await cache.since("garden", None)]

        return self.do(work)

    def lose(self, number: int) -> None:
        """Have somebody delete a message."""
        self.do(lambda letters, cache: cache.delete("garden", f"m{number}"))


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    made = Post()
    monkeypatch.setattr(command, "open_resources", made.opened)
    return made


class TestTheList:
    def test_shows_where_they_lie_and_why(self, post: Post, call: Call) -> None:
        key = post.die(1)
        out = call("dead", "list").out.splitlines()
        assert out[1].split() == [
            *(key, "2020-09-01", "07:00", "garden", "m1", "extract", "not", "what", "the", "schema", "says")
        ]

    def test_says_that_it_goes_on(self, post: Post, call: Call) -> None:
        for number in range(3):
            post.die(number)
        said = call("dead", "list", "--limit", "2")
        assert said.out.splitlines()[-1] == "1 more: bgtasks dead list --limit 3"
        assert "m2" in said.out.splitlines()[1]

    def test_is_json_for_programs(self, post: Post, call: Call) -> None:
        key = post.die(1)
        assert call("dead", "list", "--json").json == [
            {
                "key": key,
                "channel": "garden",
                "message_id": "m1",
                "reader": "extract",
                "why": "not what the schema says",
                "at": "2020-09-01T07:00:01+00:00",
            }
        ]

    def test_of_nothing_says_so(self, post: Post, call: Call) -> None:
        assert (
            call("dead", "list").out == "no dead letters: every message was dealt with, or is still to be\n"
        )
        assert call("dead", "list", "--json").json == []

    def test_obeys_nobody(self, post: Post, call: Call) -> None:
        post.die(1, why="a\x1b[2Jb [red]c")
        assert "\x1b" not in call("dead", "list").out


class TestRetry:
    def test_puts_one_at_the_end_of_its_channel(self, post: Post, call: Call) -> None:
        first = post.die(1)
        post.die(2)
        assert call("dead", "retry", first).out == f"{first}  garden: m1 is to be read again\n"
        assert post.left == ["m2"]
        assert post.entries[-1] == ("again", "m1")

    def test_puts_all_there_in_their_order(self, post: Post, call: Call) -> None:
        for number in range(3):
            post.die(number)
        assert call("dead", "retry", "--all").code == 0
        assert post.left == []
        assert post.entries[-3:] == [("again", "m0"), ("again", "m1"), ("again", "m2")]

    def test_leaves_one_that_its_reader_failed_at_again_meanwhile(
        self, post: Post, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = post.die(1)
        put_again = MessageCache.again

        async def again(self: MessageCache, channel: str, id: str) -> bool:
            found = await put_again(self, channel, id)
            letters = DeadLetters(self._redis, "bgtasks")
            await letters.add(channel, id, "extract", "no answer either", T0 + timedelta(days=1))
            return found

        monkeypatch.setattr(MessageCache, "again", again)
        assert call("dead", "retry", key).code == 0
        assert post.left == ["m1"]

    def test_leaves_one_that_is_gone_on_the_list_and_says_so(self, post: Post, call: Call) -> None:
        gone = post.die(1)
        post.die(2)
        post.lose(1)
        said = call("dead", "retry", "--all")
        assert said.code == 1
        assert said.err == f"{gone}  garden: m1 is not there any more; see: bgtasks dead drop {gone}\n"
        assert post.left == ["m1"]


class TestDrop:
    def test_gives_one_up_and_leaves_the_message(self, post: Post, call: Call) -> None:
        key = post.die(1)
        assert call("dead", "drop", key).out == f"{key}  garden: m1 is given up\n"
        assert post.left == []
        assert post.entries == [("new", "m1")]

    def test_gives_all_up(self, post: Post, call: Call) -> None:
        for number in range(3):
            post.die(number)
        assert call("dead", "drop", "--all").code == 0
        assert post.left == []


class TestWhich:
    @pytest.mark.parametrize("verb", ["retry", "drop"])
    def test_has_to_be_said_in_one_way(self, post: Post, call: Call, verb: str) -> None:
        for arguments in ([], ["abc", "--all"]):
            said = call("dead", verb, *arguments)
            assert (said.code, "a KEY of bgtasks dead list, or --all" in said.err) == (2, True)

    @pytest.mark.parametrize("verb", ["retry", "drop"])
    def test_is_an_error_if_there_is_none(self, post: Post, call: Call, verb: str) -> None:
        said = call("dead", verb, "abc")
        assert (said.code, said.err) == (1, "error: no dead letter has the key abc; see: bgtasks dead list\n")
        assert call("dead", verb, "--all").out == "no dead letters\n"
