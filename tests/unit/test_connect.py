"""Connecting to whatever may be at an address: each ends soon, in plain words, without a password."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from tests.support.servers import (
    Talk,
    bundled_redis,
    debian_redis,
    free_port,
    listening,
    oldest_redis,
    redis_server,
)

from bgtasks import Cron, Once
from bgtasks.connect import CALL_TIMEOUT, COMMANDS, calls, check, open_redis, refuse_cluster, text
from bgtasks.errors import (
    BgTasksError,
    ConfigurationError,
    MissingCommand,
    ResourceUnavailable,
    UnsuitableServer,
)
from bgtasks.memory.messages import Message, MessageCache
from bgtasks.prompts import PromptStore
from bgtasks.testing import VirtualClock, run_virtual

NOW = datetime.now(UTC)
PASSWORD = "geheim"
real = pytest.mark.real


BINARIES = {"redis 8": bundled_redis, "redis 7": debian_redis, "redis 6": oldest_redis}


@pytest.fixture(params=["redis 8", "redis 7", pytest.param("redis 6", marks=pytest.mark.full)])
def binary(request: pytest.FixtureRequest) -> str:
    """A redis-server of each version there is."""
    return BINARIES[request.param]()


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    """A server with nothing special."""
    with redis_server(bundled_redis()) as url:
        yield url


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Redis]]:
    """`open_redis`, with clients that are closed when the test ends."""
    async with AsyncExitStack() as stack:

        def open_it(url: str, **options: Any) -> Redis:
            client = open_redis(url, **options)
            stack.push_async_callback(client.aclose)
            return client

        yield open_it


type Opened = Callable[..., Redis]


def everything_said(error: BaseException) -> str:
    """The error and those behind it, as a log would show them."""
    return "".join(traceback.format_exception(error)) + repr(error)


async def refusal(client: Any, **options: Any) -> tuple[BgTasksError, float]:
    """What `check` raised, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(BgTasksError) as caught:
        await check(client, **options)
    return caught.value, time.monotonic() - began


async def check_and_use(client: Any) -> None:
    await check(client)
    await MessageCache(client).ingest("c", [Message(channel="c", id="1", author="Ada", ts=NOW, text="")])


# -- servers that serve --------------------------------------------------------------------------


@real
@pytest.mark.parametrize("decode", [False, True])
async def test_a_redis_is_fine(binary: str, decode: bool, opened: Opened) -> None:
    with redis_server(binary) as url:
        await check(opened(url, decode_responses=decode))


@real
@pytest.mark.parametrize("protocol", [2, 3])
async def test_either_protocol_is_fine(plain: str, protocol: int, opened: Opened) -> None:
    await check(opened(plain, protocol=protocol))


@real
async def test_the_right_password_is_fine(opened: Opened) -> None:
    with redis_server(bundled_redis(), password=PASSWORD) as url:
        await check(opened(url, password=PASSWORD))


@real
async def test_what_is_checked_for_is_all_that_the_stores_use(opened: Opened) -> None:
    with redis_server(bundled_redis()) as url:
        client = opened(url)
        await client.config_resetstat()
        store, cache = PromptStore(client), MessageCache(client)
        once = await store.add("hello", Once(NOW + timedelta(seconds=1)), now=NOW)
        cron = await store.add("hello", Cron("@hourly"), now=NOW)
        await store.tick(NOW + timedelta(hours=2))
        await store.cancel(cron.id, now=NOW)
        await store.get(once.id)
        await store.all(ended=True)
        await store.cleanup(NOW + timedelta(days=30))
        await cache.ingest("c", [Message(channel="c", id="1", author="Ada", ts=NOW, text="")])
        await cache.since("c", None)
        await cache.recent("c")
        await cache.count("c")
        await cache.get_active_channels()
        used = {
            name.removeprefix("cmdstat_").partition("|")[0].upper()
            for name in await client.info("commandstats")
        }

    of_the_connection = {"CLIENT", "CONFIG", "HELLO", "INFO", "SELECT", "PING"}
    assert used - of_the_connection <= set(COMMANDS)


# -- servers that do not -------------------------------------------------------------------------


async def test_nobody_at_the_port_is_unavailable_at_once(opened: Opened) -> None:
    port = free_port()

    error, seconds = await refusal(opened(f"redis://127.0.0.1:{port}/0"))

    assert isinstance(error, ResourceUnavailable)
    assert error.resource == "redis"
    assert str(port) in str(error)
    assert seconds < 3


async def test_no_such_socket_is_unavailable_at_once(opened: Opened) -> None:
    error, seconds = await refusal(opened("unix:///tmp/bgt-no-such-socket"))

    assert isinstance(error, ResourceUnavailable)
    assert seconds < 3


async def test_a_host_that_does_not_exist_is_unavailable(opened: Opened) -> None:
    error, seconds = await refusal(opened("redis://no-such-host.invalid:6379"))

    assert isinstance(error, ResourceUnavailable)
    assert seconds < 3.5


def answering(answer: bytes, *, first: bool = False) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not first:
            await reader.read(100)
        writer.write(answer)
        await writer.drain()
        await reader.read()

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        answering(b"<html>\r\n"),
        answering(b"SSH-2.0-OpenSSH_9.2\r\n", first=True),
        answering(b"220 mail.example.org ESMTP\r\n", first=True),
        answering(b"\x15\x03\x01\x00\x02\x02\x50\r\n"),
        answering(b"J\x00\x00\x00\x0a5.5.5-10.11 MariaDB", first=True),
    ],
    ids=["HTTP", "HTML", "SSH", "SMTP", "TLS alert", "MariaDB"],
)
@pytest.mark.parametrize("decode", [False, True])
async def test_something_that_is_not_redis_is_said_to_be_so(talk: Talk, decode: bool, opened: Opened) -> None:
    async with listening(talk) as port:
        error, seconds = await refusal(opened(f"redis://127.0.0.1:{port}", decode_responses=decode))

    assert isinstance(error, UnsuitableServer)
    assert "not Redis" in str(error)
    assert "check host and port" in str(error)
    assert seconds < 3


@pytest.mark.parametrize(
    "answer", [b"+OK", b"-ERR what", b":1", b"$-1", b"*0"], ids=["POP3", "error", "number", "null", "array"]
)
async def test_something_that_only_sounds_like_redis_is_unsuitable(answer: bytes, opened: Opened) -> None:
    async with listening(answering((answer + b"\r\n") * 20)) as port:
        error, seconds = await refusal(opened(f"redis://127.0.0.1:{port}"))

    assert isinstance(error, UnsuitableServer | ResourceUnavailable)
    assert seconds < 3


@pytest.mark.full
async def test_a_server_that_says_nothing_is_unavailable_within_three_seconds(opened: Opened) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(talk) as port:
        error, seconds = await refusal(opened(f"redis://127.0.0.1:{port}"))

    assert isinstance(error, ResourceUnavailable)
    assert "no answer within" in str(error)
    assert seconds < 3


async def test_a_server_that_hangs_up_is_unavailable(opened: Opened) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(talk) as port:
        error, seconds = await refusal(opened(f"redis://127.0.0.1:{port}"))

    assert isinstance(error, ResourceUnavailable)
    assert seconds < 3


@real
@pytest.mark.parametrize("given", ["falsch-" + PASSWORD, pytest.param(None, marks=pytest.mark.full)])
async def test_a_wrong_or_missing_password_is_said_without_it(
    binary: str, given: str | None, opened: Opened
) -> None:
    with redis_server(binary, password=PASSWORD) as url:
        error, seconds = await refusal(opened(url, password=given))

    assert isinstance(error, UnsuitableServer)
    assert "redis: the server refused the credentials" in str(error)
    assert PASSWORD not in everything_said(error)
    assert seconds < 3


@real
@pytest.mark.parametrize(
    "lacking", ["XADD", *(pytest.param(each, marks=pytest.mark.full) for each in ("EVALSHA", "ZADD"))]
)
async def test_a_server_that_lacks_a_command_is_refused_and_the_command_named(
    binary: str, lacking: str, opened: Opened
) -> None:
    with redis_server(binary, "--rename-command", lacking, "") as url:
        error, _ = await refusal(opened(url))

        assert isinstance(error, UnsuitableServer)
        assert f"the server lacks {lacking}: remove its rename-command" in str(error)


@real
async def test_where_the_commands_cannot_be_listed_the_first_use_tells(binary: str, opened: Opened) -> None:
    with redis_server(binary, "--rename-command", "COMMAND", "", "--rename-command", "XADD", "") as url:
        client = opened(url)

        with pytest.raises(UnsuitableServer, match=r"lacks a command that is needed.*XADD"):
            await check_and_use(client)


@real
async def test_a_user_who_may_not_use_a_command_is_told_which(binary: str, opened: Opened) -> None:
    with redis_server(binary) as url:
        admin: Any = opened(url)
        await admin.execute_command(
            "ACL", "SETUSER", "limited", "on", f">{PASSWORD}", "~*", "&*", "+@all", "-xadd"
        )
        client = opened(url, username="limited", password=PASSWORD)

        with pytest.raises(UnsuitableServer, match=r"(?i)permission|may not") as caught:
            await check_and_use(client)

        assert PASSWORD not in everything_said(caught.value)


@real
async def test_a_user_who_may_only_ping_is_not_a_crash(binary: str, opened: Opened) -> None:
    with redis_server(binary) as url:
        admin: Any = opened(url)
        await admin.execute_command("ACL", "SETUSER", "limited", "on", f">{PASSWORD}", "+ping")
        client = opened(url, username="limited", password=PASSWORD)

        with pytest.raises(UnsuitableServer, match=r"(?i)permission"):
            await check_and_use(client)


@real
async def test_a_server_that_only_reads_is_unavailable(binary: str, opened: Opened) -> None:
    with redis_server(binary, "--replicaof", "127.0.0.1", str(free_port())) as url:
        store = PromptStore(opened(url))
        with pytest.raises(ResourceUnavailable, match=r"(?i)read.only"):
            await store.add("hello", Once(NOW + timedelta(1)), now=NOW)


async def test_a_client_of_a_cluster_is_refused() -> None:
    cluster = RedisCluster(host="127.0.0.1", port=1)
    try:
        with pytest.raises(UnsuitableServer, match="one script reads and writes several keys"):
            refuse_cluster(cluster)
        with pytest.raises(UnsuitableServer, match="Redis Cluster is not supported"):
            await check(cluster)
    finally:
        await cluster.aclose()


# -- URLs and secrets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["", "redis", "localhost:6379", "http://host", "redis://host:port/0", "redis://host:99999999/0", "unix"],
)
def test_an_url_that_cannot_be_read_is_an_error_that_shows_how(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match="the URL of Redis cannot be read: write redis://host:6379/0"
    ):
        open_redis(url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}@host:port/0",
        f"http://me:{PASSWORD}@host:6379",
        f"redis://:p@{PASSWORD}@host:port",
        f"redis://:p/{PASSWORD}@host:6379",
        f"redis://:{PASSWORD}/p@host:6379",
        f"redis://:{PASSWORD}#p@host:6379",
        f"redis://:{PASSWORD} p@host:port",
        f"redis://host:port/0?password={PASSWORD}",
        f"me:{PASSWORD}@host:6379",
        f":{PASSWORD}@host:6379",
        f"redis//me:{PASSWORD}@host:6379",
    ],
)
def test_a_password_in_an_url_that_cannot_be_read_is_never_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_redis(url)

    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in repr(caught.value)


@pytest.mark.parametrize("url", [f"redis://:{PASSWORD}/p@host:6379", f"redis://:{PASSWORD}#p@host:6379"])
def test_a_password_in_an_url_is_not_in_the_errors_behind_either(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_redis(url)

    assert PASSWORD not in everything_said(caught.value).replace(url, "")


async def test_a_password_is_not_in_the_error_of_an_unreachable_server(opened: Opened) -> None:
    error, _ = await refusal(opened(f"redis://me:{PASSWORD}@127.0.0.1:{free_port()}/0"))

    assert PASSWORD not in everything_said(error)


def test_an_url_opens_a_client_with_limits_and_sends_nothing() -> None:
    client = open_redis("redis://127.0.0.1:1/0", socket_timeout=1.5)

    limits = client.connection_pool.connection_kwargs
    assert (limits["socket_timeout"], limits["socket_connect_timeout"]) == (1.5, 2.0)


# -- calls ---------------------------------------------------------------------------------------


def test_calls_that_take_too_long_are_unavailable_and_say_how_long() -> None:
    async def main(clock: VirtualClock) -> float:
        with pytest.raises(ResourceUnavailable, match=r"^kg_manager is unavailable: no answer within 2 s$"):
            async with calls("kg_manager", 2.0):
                await asyncio.sleep(1000)
        return clock.monotonic()

    assert run_virtual(main) == pytest.approx(2.0)


def test_the_time_limit_is_five_seconds_unless_told() -> None:
    async def main(clock: VirtualClock) -> float:
        with pytest.raises(ResourceUnavailable):
            async with calls():
                await asyncio.sleep(1000)
        return clock.monotonic()

    assert CALL_TIMEOUT == 5
    assert run_virtual(main) == pytest.approx(5.0)


def test_a_cancellation_passes_through() -> None:
    async def main(clock: VirtualClock) -> bool:
        async def wait() -> None:
            async with calls():
                await asyncio.sleep(1000)

        task = asyncio.create_task(wait())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtual(main)


async def test_a_cancellation_from_within_passes_through() -> None:
    with pytest.raises(asyncio.CancelledError):
        async with calls():
            raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (redis_errors.ConnectionError("gone"), ResourceUnavailable),
        (redis_errors.TimeoutError("slow"), ResourceUnavailable),
        (redis_errors.BusyLoadingError("loading"), ResourceUnavailable),
        (redis_errors.ReadOnlyError("replica"), ResourceUnavailable),
        (ConnectionResetError("reset"), ResourceUnavailable),
        (OSError(113, "no route to host"), ResourceUnavailable),
        (TimeoutError(), ResourceUnavailable),
        (redis_errors.AuthenticationError("no"), UnsuitableServer),
        (redis_errors.NoPermissionError("no"), UnsuitableServer),
        (redis_errors.InvalidResponse("what"), UnsuitableServer),
        (redis_errors.ResponseError("unknown command 'XADD', with args"), MissingCommand),
        (redis_errors.ResponseError("WRONGTYPE of value"), redis_errors.ResponseError),
        (ValueError("a bug"), ValueError),
    ],
    ids=lambda value: repr(value) if isinstance(value, Exception) else "",
)
async def test_each_error_becomes_one_of_ours_or_stays_what_it_is(
    raised: Exception, becomes: type[Exception]
) -> None:
    with pytest.raises(becomes) as caught:
        async with calls("redis"):
            raise raised

    assert type(caught.value) is becomes
    assert becomes is type(raised) or caught.value.__cause__ is raised


async def test_no_error_is_no_error() -> None:
    async with calls():
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("value", "shown"), [(b"caf\xc3\xa9", "café"), ("café", "café"), (b"\xff", "\ufffd"), (5, "5")]
)
def test_text_is_text_whether_or_not_the_client_decodes(value: Any, shown: str) -> None:
    assert text(value) == shown
