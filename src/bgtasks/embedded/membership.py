"""Joining the embedded server and leaving it: the blocking half, which runs in a thread.

A process is a user as long as it holds `users.lock` shared. Joining takes that lock first and looks
for a keeper afterwards: a keeper cannot leave while it is held, so what was found stays true.
Whatever ends a join early (an error, a cancellation, a kill) drops the locks, and a keeper that was
started meanwhile finds no users and leaves by itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from bgtasks.embedded.keeper import shared
from bgtasks.embedded.places import LOG_NAME
from bgtasks.errors import EmbeddedServerError

__all__ = ["Abandoned", "Membership", "Patience", "join"]

_POLL_S = 0.01
_NOTICE_S = 2.0  # a keeper looks ten times a second; one that has not reacted by then has other users
_END_S = shared.TERM_S + 5.0
_LOG_LIMIT = 1_000_000
_KEEPER = Path(shared.__file__).with_name("__main__.py")


class Abandoned(Exception):
    """Nobody waits for this any more."""


class Patience:
    """A deadline and a way to give up early, for waits that can only look again and again.

    Args:
        seconds: How long all the waits together may take.
        abandoned: Set from another thread; the next pause then ends at once.
        data_dir: Named in the error.
    """

    def __init__(self, seconds: float, abandoned: threading.Event, data_dir: Path) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._abandoned = abandoned
        self._data_dir = data_dir

    def pause(self, waiting_for: str) -> None:
        """Wait a moment. Raises `Abandoned`, and `EmbeddedServerError` when the time is up."""
        if time.monotonic() >= self._deadline:
            raise EmbeddedServerError(
                f'the embedded server in "{self._data_dir}" was not ready after {self._seconds:g} s: '
                f"waited for {waiting_for}; see {self._data_dir / LOG_NAME}, or allow more time: "
                f"EmbeddedServer(start_timeout=...)"
            )
        if self._abandoned.wait(_POLL_S):
            raise Abandoned


class _Lock:
    """A lock file, opened. A forked child lets go of it: it is no user of its own."""

    _opened: ClassVar[weakref.WeakSet[_Lock]] = weakref.WeakSet()

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._fd = shared.open_lock(path, create=create)
        self._opened.add(self)

    def take(self, *, shared_: bool = False) -> bool:
        return self._fd >= 0 and shared.try_lock(self._fd, shared=shared_)

    def release(self) -> None:
        if self._fd >= 0:
            shared.unlock(self._fd)

    def close(self) -> None:
        """Release and close. A copy that a fork made just now cannot keep the lock."""
        if self._fd >= 0:
            self.release()
            os.close(self._fd)
            self._fd = -1

    def is_held(self) -> bool:
        """Whether another process holds it exclusively. Not for a lock that is ours."""
        if self.take(shared_=True):
            self.release()
            return False
        return True

    @classmethod
    def forget_all(cls) -> None:
        """In a forked child: close without releasing, which would release the parent's."""
        for lock in list(cls._opened):
            if lock._fd >= 0:
                os.close(lock._fd)
                lock._fd = -1


os.register_at_fork(after_in_child=_Lock.forget_all)


@contextmanager
def _closing(lock: _Lock) -> Iterator[_Lock]:
    try:
        yield lock
    finally:
        lock.close()


class Membership:
    """One user's hold on a running server.

    Attributes:
        state: What the keeper said when it was joined.
        alone: Whether nobody else used it then.
    """

    def __init__(self, data_dir: Path, users: _Lock, state: shared.State, alone: bool) -> None:
        self._data_dir = data_dir
        self._users = users
        self.state = state
        self.alone = alone

    def leave(self) -> bool:
        """Let go, at once and without waiting. True when, as far as can be seen, nobody else is left."""
        users = self._users
        # Exclusive: nobody else has it. Not even shared: the keeper has it already and is closing.
        last = users.take() or not users.take(shared_=True)
        users.close()
        return last

    def wait_for_end(self, abandoned: threading.Event) -> bool:
        """After the last user's `leave`: wait until the keeper is gone. False when it stays on.

        It stays when somebody joined in between. Bounded by the keeper's own bounds.
        """
        begun = time.monotonic()
        try:
            with _closing(_Lock(self._data_dir / shared.KEEPER_LOCK, create=False)) as keeper:
                while keeper.is_held():
                    state = shared.read_state(self._data_dir)
                    closing = state is not None and state.phase in ("stopping", "failed")
                    if time.monotonic() - begun > (_END_S if closing else _NOTICE_S):
                        return False
                    if abandoned.wait(_POLL_S):
                        return False
        except OSError:  # the directory has been removed; this wait is only a courtesy
            return True
        return True


def join(data_dir: Path, order: shared.Order, patience: Patience) -> Membership:
    """Become a user of the server in `data_dir`, starting it if there is none.

    Args:
        data_dir: Prepared and resolved.
        order: How to start it, should it not be running.
        patience: How long, and whether still, to wait.

    Raises:
        EmbeddedServerError: It does not start, or not in time.
        Abandoned: The patience was ended from outside.
        OSError: The directory cannot be worked with (any more).
    """
    with _closing(_Lock(data_dir / shared.START_LOCK)) as start:
        while not start.take():
            patience.pause("other processes that are joining it (start.lock)")
        users = _Lock(data_dir / shared.USERS_LOCK)
        try:
            alone = users.take()  # exclusive: nobody else has it, and nobody joins while we have start.lock
            while not users.take(shared_=True):
                patience.pause("the previous server to shut down (users.lock)")
            return Membership(data_dir, users, _running(data_dir, order, patience), alone)
        except BaseException:
            users.close()
            raise


def _running(data_dir: Path, order: shared.Order, patience: Patience) -> shared.State:
    """The state of a server that answers; the caller is a user and holds `start.lock`."""
    log = Path(order.log)
    with _closing(_Lock(data_dir / shared.KEEPER_LOCK)) as keeper:
        while True:
            ours, offset = False, 0
            if not keeper.is_held():
                offset = _start_log(log)
                # Not ours when it met a keeper that a starter which is gone had started.
                ours = _start_keeper(order, log, patience)
            state = _until_ready(data_dir, keeper, patience)
            if state is not None and state.phase == "running":
                return state
            if ours:
                reason = state.reason if state is not None and state.phase == "failed" else None
                raise _failed(data_dir, log, offset, reason)
            patience.pause("the previous server to shut down (keeper.lock)")


def _until_ready(data_dir: Path, keeper: _Lock, patience: Patience) -> shared.State | None:
    """The state once the server answers, or the last one when its keeper is gone."""
    while keeper.is_held():
        state = shared.read_state(data_dir)
        answer = b""
        if state is not None and state.phase in ("starting", "running"):
            answer = shared.ask(state.socket, "PING")
            if state.phase == "running" and answer.startswith(b"+PONG"):
                return state
        if answer.startswith(b"-LOADING"):
            patience.pause("redis-server to load its data")
        else:
            patience.pause(
                f"its keeper and redis-server to answer PING (state: {state.phase if state else 'none'})"
            )
    state = shared.read_state(data_dir)
    return state if state is not None and state.phase == "failed" else None


def _start_log(log: Path) -> int:
    """Where the new server's part of the log begins, in bytes. A long log becomes `server.log.1`."""
    if shared.log_size(log) > _LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))
    return shared.log_size(log)


def _start_keeper(order: shared.Order, log: Path, patience: Patience) -> bool:
    """Start a keeper; True when it is the one that keeps, False when there was one already."""
    if not sys.executable:
        raise EmbeddedServerError(
            "the embedded server needs a Python interpreter for its keeper, and sys.executable is empty; "
            "start a Redis server yourself and use its URL"
        )
    command = [sys.executable, "-I", "-S", str(_KEEPER), json.dumps(order._asdict())]
    try:
        with log.open("ab") as output:
            first = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=order.data_dir,
                start_new_session=True,  # the users' Ctrl-C is none of its business
            )
    except OSError as error:
        raise EmbeddedServerError(f"the keeper cannot be started with {sys.executable}: {error}") from error
    try:
        while first.poll() is None:
            patience.pause("its keeper to start")
    finally:
        if first.poll() is None:
            first.kill()
        first.wait()
    return first.returncode != shared.ALREADY_KEPT


def _failed(data_dir: Path, log: Path, offset: int, reason: str | None) -> EmbeddedServerError:
    if reason is None:
        lines = shared.relevant_lines(shared.log_text(log, offset))
        reason = "its keeper ended: " + ("; ".join(lines) or "it gave no reason")
    return EmbeddedServerError(f'the embedded server in "{data_dir}" did not start: {reason} (log: {log})')
