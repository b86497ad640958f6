"""What the keeper and those who join it agree on. Standard library only; nothing here waits long."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

START_LOCK, USERS_LOCK, KEEPER_LOCK, REDIS_LOCK = "start.lock", "users.lock", "keeper.lock", "redis.lock"
STATE_NAME = "state.json"
ALREADY_KEPT = 3  # exit status of a keeper that found another one at work
TERM_S = 10.0  # redis-server's time to end by itself before the keeper kills it

_LOG_TAIL = 65536
_REDIS_LINE = re.compile(r"^\d+:[A-Z] \d\d? \w{3} \d{4} [\d:.]+ (?P<level>[.\-*#]) (?P<text>.*)$")


class Order(NamedTuple):
    """What the keeper is asked to keep; handed over as one JSON argument. All paths are absolute."""

    data_dir: str
    socket: str
    log: str
    server: str
    module: str
    graph: bool


class State(NamedTuple):
    """What the keeper tells those who join. `reason`: why there is no graph, or why it failed."""

    phase: str  # starting, running, stopping or failed
    socket: str
    keeper: int = 0
    server: int = 0
    graph: bool = False
    reason: str | None = None


def open_lock(path: Path, *, create: bool = True) -> int:
    """A file descriptor on a lock file; it is not inherited by child processes. Raises OSError."""
    return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o600)


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the lock if it is free (for us); never waits."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Drop the lock for every copy of this descriptor, those of forked processes included."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def ask(path: str, command: str, timeout_s: float = 1.0) -> bytes:
    """The first bytes of the server's answer to an inline command; empty when none came in time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(path)
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(256)
        except OSError:
            return b""


def read_state(data_dir: Path) -> State | None:
    """What the keeper said last; None when there is nothing, or nothing of this format."""
    try:
        return State(**json.loads((data_dir / STATE_NAME).read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_state(data_dir: Path, state: State) -> None:
    """Replace the state in one step, so that nobody reads half of it. Raises OSError."""
    new = data_dir / f"{STATE_NAME}.new"
    new.write_text(json.dumps(state._asdict()), "utf-8")
    new.replace(data_dir / STATE_NAME)


def log_size(log: Path) -> int:
    """The size in bytes, 0 without a log: what is written from here on belongs to what comes next."""
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def log_text(log: Path, offset: int) -> str:
    """The log from `offset` (bytes) on, at most its last 64 kB."""
    try:
        with log.open("rb") as file:
            file.seek(max(offset, log_size(log) - _LOG_TAIL))
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def relevant_lines(text: str, limit: int = 6) -> list[str]:
    """The last lines that say what went wrong, without their time stamps.

    Those are Redis's own warnings, marked `#`, and whatever is not Redis's (the loader's, a
    traceback). The warnings that Redis gives at every start (memory overcommit, no password) begin
    with WARNING and explain nothing.
    """
    found = []
    for line in text.splitlines():
        match = _REDIS_LINE.match(line)
        if match is None:
            if line.strip() and not line.startswith("keeper "):
                found.append(line.strip())
        elif match["level"] == "#" and not match["text"].startswith("WARNING"):
            found.append(" ".join(match["text"].split()))
    return found[-limit:]


def say(text: str) -> None:
    """One line into the log, which is the keeper's stdout."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    with suppress(OSError):  # a full disk must not end the server
        os.write(1, f"keeper {os.getpid()} {stamp} {text}\n".encode())


def died_how(code: int) -> str:
    """A return code of `Popen` in words."""
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
