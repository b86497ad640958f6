"""The `bgtasks` command in processes forked from one that has imported it: what they do, and no start-up.

Each call is a process of its own, with its own arguments, environment, directory and output, that ends as an
interpreter does. It shares with the others what was imported, at which nothing of ours happens. This
module is both the process that forks and how tests ask it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["POSSIBLE", "call"]

POSSIBLE = sys.platform == "linux"
"""Elsewhere a fork of a process that has imported much is not sure to work."""

_IMPORTED = (
    "bgtasks.cli.app",
    "bgtasks.claims",
    "bgtasks.connect",
    "bgtasks.graph",
    "bgtasks.llm.client",
    "bgtasks.memory.embedding",
    "bgtasks.memory.extraction.agentic",
    "bgtasks.memory.extraction.anchoring",
    "bgtasks.memory.extraction.bulk",
    "bgtasks.memory.structure",
    "bgtasks.service",
    "bgtasks.stores.tasks.redis",
    "rich.progress",
)
"""What most commands import; the tasks, which record themselves as they are imported, are not among it."""

_LONGEST = 65_536
"""Bytes of a call, its environment included."""


# --- how tests ask it

_forker: tuple[int, socket.socket] | None = None


def call(
    script: str, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> tuple[int, str, str]:
    """Run the console script to its end: its exit code, and what it said on stdout and stderr.

    Raises:
        subprocess.TimeoutExpired: It did not end, or one of its descendants keeps its output open.
    """
    order = json.dumps({"argv": [script, *arguments], "cwd": str(cwd), "env": dict(env)}).encode()
    if len(order) > _LONGEST:
        raise ValueError("the environment is too large")
    asked = _asked()
    pipes = [os.pipe() for _ in range(2)]
    try:
        socket.send_fds(asked, [order], [writer for _, writer in pipes])
    finally:
        for _, writer in pipes:
            os.close(writer)
    said: list[bytes] = [b"", b""]
    readers = [
        threading.Thread(target=_read, args=(number, reader, said), daemon=True)
        for number, (reader, _) in enumerate(pipes)
    ]
    for each in readers:
        each.start()
    asked.settimeout(timeout)
    pid = 0
    try:
        pid = int(asked.recv(64))
        code = int(asked.recv(64))
        for each in readers:
            each.join(timeout)
            if each.is_alive():
                raise TimeoutError
    except TimeoutError:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _forget()
        raise subprocess.TimeoutExpired([script, *arguments], timeout, *said) from None
    except (OSError, ValueError):  # the process that forks has ended, and said why on stderr
        _forget()
        raise
    asked.settimeout(None)
    out, err = (each.decode() for each in said)
    return code, out, err


def _read(number: int, reader: int, said: list[bytes]) -> None:
    with os.fdopen(reader, "rb") as pipe:
        said[number] = pipe.read()


def _asked() -> socket.socket:
    """The line to the process that forks, which is started when it is first asked."""
    global _forker
    if _forker is None or _forker[0] != os.getpid():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        _forker = os.getpid(), ours
        atexit.register(_wait, process, ours)
    return _forker[1]


def _forget() -> None:
    """Ask another process from now on."""
    global _forker
    _forker = None


def _wait(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    line.close()
    process.wait()


# --- the process that forks


def _serve(line: socket.socket) -> dict[str, Any] | None:
    """Fork for each call; returns the call in the process that is to do it, and None at the end."""
    while True:
        order, outputs, _, _ = socket.recv_fds(line, _LONGEST, 2)
        if not order:
            return None
        pid = os.fork()
        if not pid:
            line.close()
            for number, output in enumerate(outputs, 1):
                os.dup2(output, number)
                os.close(output)
            told: dict[str, Any] = json.loads(order)
            return told
        for output in outputs:
            os.close(output)
        with suppress(BrokenPipeError):
            line.send(b"%d" % pid)
            line.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _be(told: dict[str, Any]) -> None:
    """Be the console script of this call."""
    os.chdir(told["cwd"])
    os.environ.clear()
    os.environ.update(told["env"])
    sys.argv = told["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)


if __name__ == "__main__":
    for each in _IMPORTED:
        importlib.import_module(each)
    gc.collect()
    gc.freeze()  # else the first collection of a process copies all that it shares
    _told = _serve(socket.socket(fileno=int(sys.argv[1])))
    if _told is not None:
        _be(_told)
        from bgtasks.cli import main

        sys.exit(main())  # type: ignore[func-returns-value]  # as the console script does
