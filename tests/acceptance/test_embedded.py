"""The embedded server with real processes: who starts it, who ends it, and what survives a kill.

Processes are driven through pipes (`embedded_user.py`); whatever must be waited for is a named
condition, looked at until a deadline. Signals go only to process ids that a test has been told.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from bgtasks.embedded import EmbeddedServer, places
from bgtasks.embedded.keeper import shared
from bgtasks.errors import EmbeddedServerError

pytestmark = pytest.mark.real

SCRIPT = Path(__file__).with_name("embedded_user.py")
SRC = Path(__file__).parents[2] / "src"
PATIENCE_S = 40.0
ON_LINUX = sys.platform == "linux"
linux_only = pytest.mark.skipif(not ON_LINUX, reason="reads /proc")


def wait_until(what: str, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        pause.wait(0.01)


def is_alive(pid: int) -> bool:
    """A process that has ended and was not yet collected by its parent is dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not ON_LINUX


def wait_gone(*pids: int) -> None:
    for pid in pids:
        wait_until(f"process {pid} has ended", partial(_is_dead, pid))


def _is_dead(pid: int) -> bool:
    return not is_alive(pid)


def is_free(lock: Path) -> bool:
    if not lock.exists():
        return True
    fd = shared.open_lock(lock)
    try:
        return shared.try_lock(fd)
    finally:
        os.close(fd)


def wait_unused(data_dir: Path) -> None:
    """No user, no keeper and no redis-server of this directory: each would hold its lock."""
    for name in (shared.START_LOCK, shared.USERS_LOCK, shared.KEEPER_LOCK, shared.REDIS_LOCK):
        wait_until(f"{name} is free", partial(is_free, data_dir / name))


def state_of(data_dir: Path) -> shared.State:
    state = shared.read_state(data_dir)
    assert state is not None
    return state


class User:
    """One process that uses the server. `hello`: what it said once it had joined."""

    def __init__(self, data_dir: Path, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(data_dir), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SRC), **environment},
        )
        self.hello: dict[str, Any] = {}

    def joined(self) -> User:
        self.hello = self.answer()
        assert "error" not in self.hello, self.hello
        return self

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the user process has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def leave(self) -> None:
        """Let it end in its own time and collect it."""
        self.process.communicate(timeout=PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A directory for a server; sees at the end that nobody and nothing uses it any more."""
    yield tmp_path / "data"
    wait_unused(tmp_path / "data")


@pytest.fixture
def users(data: Path) -> Iterator[Callable[..., User]]:
    """Starts users of `data`, and ends them all."""
    started: list[User] = []

    def start(*options: str, **environment: str) -> User:
        started.append(User(data, *options, **environment))
        return started[-1]

    yield start
    for user in started:
        user.close()


@contextmanager
def held(lock: Path) -> Iterator[None]:
    fd = shared.open_lock(lock)
    try:
        assert shared.try_lock(fd)
        yield
    finally:
        os.close(fd)


async def query(client: Any, cypher: str) -> Any:
    """The rows of a query of the graph `g`."""
    answer = await client.execute_command("GRAPH.QUERY", "g", cypher)
    return answer[1] if len(answer) > 1 else []


async def write_and_leave(data: Path, **options: Any) -> EmbeddedServer:
    async with EmbeddedServer(data, **options) as server, server.client() as client:
        await client.set("kept", "yes")
    return server


# --- the ordinary life


async def test_data_survives_stop_and_start(data: Path) -> None:
    server = EmbeddedServer(str(data))
    for expected in (1, 2, 3):
        await server.start()
        await server.start()
        async with server.client(decode_responses=True) as client:
            assert await client.incr("visits") == expected
            await query(client, "CREATE (:Visit)")
            assert await query(client, "MATCH (v) RETURN count(v)") == [[expected]]
        state = state_of(server.data_dir)
        await server.stop()
        await server.stop()
        assert not is_alive(state.server)
        wait_gone(state.keeper)
        assert not server.socket_path.exists()
    assert [path.name for path in data.iterdir() if path.suffix == ".sock"] == []


async def test_what_a_joined_server_says_of_itself(data: Path) -> None:
    server = EmbeddedServer(data)
    assert (EmbeddedServer(data).has_graph, EmbeddedServer(data).graph_reason) == (
        False,
        "the embedded server is not started",
    )
    with pytest.raises(EmbeddedServerError, match=r"await start\(\) first"):
        server.client()
    async with server:
        assert server.has_graph
        async with EmbeddedServer(data) as second:
            assert (server.alone, second.alone) == (True, False)
        assert server.graph_reason is None
        assert server.url == f"unix://{data.resolve()}/redis.sock"
        assert server.socket_path.stat().st_mode & 0o777 == 0o700
        assert server.log_path.is_file()
        assert data.stat().st_mode & 0o777 == 0o700
        client = server.client()
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 5
        await client.aclose()
        client = server.client(socket_timeout=1, decode_responses=True)
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 1
        assert await client.config_get("appendfsync") == {"appendfsync": "always"}
        await client.aclose()


async def test_the_loop_is_never_blocked(data: Path) -> None:
    with blockbuster_ctx("bgtasks"):
        server = EmbeddedServer(data)
        await server.start()
        await server.stop()


async def test_a_directory_with_a_strange_name(tmp_path: Path) -> None:
    import redis.asyncio

    data = tmp_path / "two words & ünïcode?#%41"
    async with EmbeddedServer(data) as server:
        client = redis.asyncio.from_url(server.url)
        assert await client.ping()
        await client.aclose()
    wait_unused(data)


def test_the_last_user_takes_the_server_along(users: Callable[..., User]) -> None:
    first, second = users().joined(), users("--no-graph").joined()
    redis, keeper = first.hello["redis"], first.hello["keeper"]
    assert (second.hello["redis"], second.hello["graph"]) == (redis, True)
    first.leave()
    assert is_alive(redis)
    assert is_alive(keeper)
    second.send("stop")
    assert second.answer() == {"stopped": True}
    wait_gone(redis, keeper)  # though the process itself is still there
    assert second.process.poll() is None


@pytest.mark.full
def test_twelve_processes_at_once_get_one_server(users: Callable[..., User]) -> None:
    crowd = [users() for _ in range(12)]
    hellos = [user.joined().hello for user in crowd]
    assert len({hello["run_id"] for hello in hellos}) == 1
    assert len({hello["redis"] for hello in hellos}) == 1
    for user in crowd:
        user.close()
    wait_gone(hellos[0]["redis"], hellos[0]["keeper"])


@linux_only
def test_nobody_inherits_a_lock(users: Callable[..., User], data: Path) -> None:
    hello = users().joined().hello

    def locks(pid: int) -> set[str]:
        found = set()
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # a living process closes what it opened
                found.add(path.readlink().name)
        return {name for name in found if name.endswith(".lock")}

    assert locks(hello["keeper"]) == {
        "keeper.lock",
        "users.lock",
    }  # its own ones, of which it opened the files
    assert locks(hello["redis"]) == {"redis.lock"}
    for pid in (hello["keeper"], hello["redis"]):
        assert os.getsid(pid) == os.getsid(hello["keeper"]) != os.getsid(0)


# --- kills


def test_kill_9_of_the_first_user_leaves_the_second_alone(users: Callable[..., User]) -> None:
    first = users().joined()
    second = users().joined()
    first.kill()
    second.send("write after 20")
    assert [second.answer()["acked"] for _ in range(20)] == list(range(20))
    assert is_alive(second.hello["redis"])
    second.kill()
    wait_gone(second.hello["redis"], second.hello["keeper"])


def test_a_forked_child_is_no_user(users: Callable[..., User]) -> None:
    user = users().joined()
    user.send("fork")
    child = user.answer()["child"]
    try:
        user.kill()
        wait_gone(user.hello["redis"], user.hello["keeper"])
        assert is_alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("command", [pytest.param("write w", marks=pytest.mark.full), "graph"])
def test_kill_9_of_redis_loses_no_acknowledged_write(
    users: Callable[..., User], data: Path, command: str
) -> None:
    first, second = users().joined(), users().joined()
    total = 300
    second.send(f"{command} {total}")
    killed = []
    for expected in range(total):
        assert second.answer() == {"acked": expected}
        if expected in (50, 150):
            wait_until("a server that has not been killed runs", lambda: state_of(data).server not in killed)
            killed.append(state_of(data).server)
            os.kill(killed[-1], signal.SIGKILL)
    assert len(set(killed)) == 2
    assert state_of(data).keeper == first.hello["keeper"]

    async def count() -> int:
        async with EmbeddedServer(data) as server, server.client() as client:
            if command == "graph":
                return int((await query(client, "MATCH (n:N) RETURN count(n)"))[0][0])
            return int(await client.exists(*(f"w:{i}" for i in range(total))))

    assert asyncio.run(count()) == total
    assert "died of SIGKILL; starting it again" in (data / places.LOG_NAME).read_text()


def test_kill_9_of_the_keeper_leaves_no_orphan(users: Callable[..., User]) -> None:
    survivor = users().joined()
    survivor.send("write w 5")
    assert [survivor.answer()["acked"] for _ in range(5)] == list(range(5))
    os.kill(survivor.hello["keeper"], signal.SIGKILL)
    if ON_LINUX:
        wait_gone(survivor.hello["redis"])
    third = users().joined()
    wait_gone(survivor.hello["redis"])
    assert third.hello["keeper"] != survivor.hello["keeper"]
    survivor.send("write w 10")  # the new server is at the old place
    assert [survivor.answer()["acked"] for _ in range(10)] == list(range(10))
    third.kill()
    assert is_alive(third.hello["redis"])


async def test_a_redis_that_outlived_its_keeper_is_ended_first(data: Path) -> None:
    """As it happens where the kernel sends no death signal (macOS)."""
    await write_and_leave(data)
    redis_server, module = places.binaries()
    mark = shared.open_lock(data / shared.REDIS_LOCK)
    fcntl.flock(mark, fcntl.LOCK_SH)
    options = ["--port", "0", "--unixsocket", f"{data}/redis.sock", "--appendonly", "yes", "--save", ""]
    orphan = subprocess.Popen(
        [
            redis_server,
            *options,
            "--dir",
            str(data),
            "--logfile",
            f"{data}/orphan.log",
            "--loadmodule",
            module,
        ],
        pass_fds=(mark,),
    )
    os.close(mark)
    try:
        answers = partial(shared.ask, f"{data}/redis.sock", "PING")
        await asyncio.to_thread(wait_until, "the orphan answers", lambda: answers() == b"+PONG\r\n")
        async with EmbeddedServer(data) as server, server.client() as client:
            assert await client.get("kept") == b"yes"
            assert orphan.wait(PATIENCE_S) == 0
            assert (await client.info("server"))["process_id"] == state_of(data).server != orphan.pid
    finally:
        orphan.kill()
        orphan.wait()


def test_sigterm_to_the_keeper_ends_the_server_cleanly(users: Callable[..., User], data: Path) -> None:
    user = users().joined()
    os.kill(user.hello["keeper"], signal.SIGTERM)
    wait_gone(user.hello["redis"], user.hello["keeper"])
    assert not (data / "redis.sock").exists()
    assert users().joined().hello["redis"] != user.hello["redis"]


@pytest.mark.full
def test_a_server_that_cannot_be_started_again_is_given_up(users: Callable[..., User], data: Path) -> None:
    user = users().joined()
    user.send("write w 50")
    assert [user.answer()["acked"] for _ in range(50)] == list(range(50))
    corrupt(data)
    os.kill(user.hello["redis"], signal.SIGKILL)
    wait_gone(user.hello["keeper"])
    state = state_of(data)
    assert state.phase == "failed"
    assert "8 times in a row" in str(state.reason)
    assert "Bad file format" in str(state.reason)
    assert "gave up" in (data / places.LOG_NAME).read_text()
    assert "Bad file format" in users().answer()["error"]


# --- shutting down


@pytest.mark.parametrize("resumes", [True, pytest.param(False, marks=pytest.mark.full)])
async def test_joining_during_the_shutdown_waits_for_a_fresh_server(data: Path, resumes: bool) -> None:
    """A redis-server that is stopped (SIGSTOP) keeps its keeper in the shutdown as long as we like."""
    first, second = EmbeddedServer(data), EmbeddedServer(data)
    await first.start()
    async with first.client() as client:
        await client.set("kept", "yes")
    old = state_of(data)
    os.kill(old.server, signal.SIGSTOP)
    try:
        leaving = asyncio.create_task(first.stop(), name="leaving")
        await asyncio.to_thread(
            wait_until, "the keeper is shutting down", lambda: state_of(data).phase == "stopping"
        )
        joining = asyncio.create_task(second.start(), name="joining")
        await asyncio.to_thread(
            wait_until, "the second is joining", lambda: not is_free(data / shared.START_LOCK)
        )
        done, _ = await asyncio.wait({joining}, timeout=0.3)
        assert not done
        assert is_alive(old.server)
    finally:
        if resumes:
            os.kill(old.server, signal.SIGCONT)
    await joining
    await leaving
    assert not is_alive(old.server)
    assert state_of(data).server != old.server
    async with second.client() as client:
        assert await client.get("kept") == b"yes"
    await second.stop()
    assert ("killing it" in second.log_path.read_text()) is not resumes


async def test_stop_that_is_cancelled_has_left(data: Path) -> None:
    server = EmbeddedServer(data)
    await server.start()
    old = state_of(data)
    os.kill(old.server, signal.SIGSTOP)
    try:
        leaving = asyncio.create_task(server.stop(), name="leaving")
        await asyncio.to_thread(
            wait_until, "the keeper is shutting down", lambda: state_of(data).phase == "stopping"
        )
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
    finally:
        os.kill(old.server, signal.SIGCONT)
    await asyncio.to_thread(wait_gone, old.server, old.keeper)


# --- cancelling and giving up


@pytest.mark.full
async def test_cancelling_start_leaves_nothing_behind(data: Path) -> None:
    for step in range(25):
        server = EmbeddedServer(data)
        starting = asyncio.create_task(server.start(), name="starting")
        await asyncio.wait({starting}, timeout=step * 0.005)
        starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            assert "not joined" in repr(server)
        await server.stop()
        await asyncio.to_thread(wait_unused, data)
        wait_until("no thread is left", lambda: not any("bgtasks" in t.name for t in threading.enumerate()))
    async with EmbeddedServer(data) as server, server.client() as client:
        assert await client.ping()


async def test_cancelling_a_start_that_waits(data: Path) -> None:
    data.mkdir()
    with held(data / shared.START_LOCK):
        starting = asyncio.create_task(EmbeddedServer(data).start(), name="starting")
        done, _ = await asyncio.wait({starting}, timeout=0.1)
        assert not done
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting


@pytest.mark.parametrize("lock", [shared.START_LOCK, shared.USERS_LOCK, shared.KEEPER_LOCK])
async def test_start_timeout_says_what_it_waited_for(data: Path, lock: str) -> None:
    data.mkdir()
    with held(data / lock), pytest.raises(EmbeddedServerError, match=r"not ready after 0\.2 s") as caught:
        await EmbeddedServer(data, start_timeout=0.2).start()
    assert lock in str(caught.value) or "its keeper" in str(caught.value)
    assert "start_timeout" in str(caught.value)


# --- places


async def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 20) / ("longer" * 20)
    runtime = Path(tempfile.mkdtemp(prefix="bgt-"))  # tmp_path may be too long itself
    first = User(data, XDG_RUNTIME_DIR=str(runtime)).joined()
    try:
        second = User(data, XDG_RUNTIME_DIR="").joined()  # it would have chosen another place
        second.close()
        assert second.hello["socket"] == first.hello["socket"]
        assert second.hello["run_id"] == first.hello["run_id"]
        server = EmbeddedServer(data)
        await server.start()
        assert len(os.fsencode(server.socket_path)) <= 103
        assert server.socket_path.is_socket()
        first.close()
        async with server.client() as client:
            assert await client.ping()
        await server.stop()
        assert not server.socket_path.exists() or server.socket_path != Path(first.hello["socket"])
    finally:
        first.close()
    wait_unused(data)
    shutil.rmtree(runtime)


async def test_directories_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    bad = [tmp_path / "file", tmp_path / "file" / "below"]
    if ON_LINUX:
        bad.append(Path("/proc/bgtasks-embedded"))
    if os.getuid() != 0:  # root may write everywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        bad.append(tmp_path / "closed")
    for data in bad:
        with pytest.raises(EmbeddedServerError, match="choose another directory") as caught:
            await EmbeddedServer(data).start()
        assert f'"{data}"' in str(caught.value)


# --- the module


@pytest.fixture
def bogus(tmp_path: Path) -> Path:
    module = tmp_path / "bogus.so"
    module.write_text("no shared object")
    module.chmod(0o700)
    return module


async def test_without_a_loadable_module_there_is_plain_redis(data: Path, bogus: Path) -> None:
    async with EmbeddedServer(data, _module_path=bogus) as server:
        assert not server.has_graph
        assert str(server.graph_reason).startswith("the FalkorDB module cannot be loaded here: ")
        assert "bogus.so failed to load" in str(server.graph_reason)
        async with server.client() as client, EmbeddedServer(data) as later:
            assert await client.set("kept", "yes")
            assert later.graph_reason == server.graph_reason
    async with EmbeddedServer(data) as server, server.client() as client:  # and with it the data are there
        assert server.has_graph
        assert await client.get("kept") == b"yes"


async def test_data_that_need_the_module(data: Path, bogus: Path) -> None:
    await write_and_leave(data)
    with pytest.raises(
        EmbeddedServerError, match="was written with the FalkorDB module and needs it"
    ) as caught:
        await EmbeddedServer(data, _module_path=bogus).start()
    assert "bogus.so failed to load" in str(caught.value)
    async with EmbeddedServer(data, graph=False) as server, server.client() as client:
        assert server.has_graph
        assert await client.get("kept") == b"yes"


async def test_no_graph_when_none_was_asked_for(data: Path) -> None:
    async with EmbeddedServer(data, graph=False) as server, EmbeddedServer(data) as wanting:
        assert not server.has_graph
        assert not wanting.has_graph
        assert wanting.graph_reason == "the process that started this server did not ask for a graph"


# --- damaged data


def corrupt(data: Path) -> None:
    """Garbage in the middle: Redis mends a torn end by itself, and nothing else."""
    (log,) = data.glob("appendonlydir/*.incr.aof")
    content = log.read_bytes()
    log.write_bytes(content[:60] + b"garbage" * 5 + content[60:])


async def test_damaged_data_are_an_error_at_once(data: Path) -> None:
    server = await write_and_leave(data)
    intact = data.parent / "intact"
    shutil.copytree(data, intact)
    corrupt(data)
    begun = time.monotonic()
    with pytest.raises(EmbeddedServerError, match="Bad file format reading the append only file") as caught:
        await server.start()
    assert time.monotonic() - begun < 10
    assert str(server.log_path) in str(caught.value)
    assert "WARNING" not in str(caught.value)
    async with EmbeddedServer(intact) as server, server.client() as client:
        assert await client.get("kept") == b"yes"
    wait_unused(intact)
