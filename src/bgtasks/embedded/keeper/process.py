"""The keeper process: take `keeper.lock`, detach, keep one redis-server alive while it has users.

A redis-server that dies is started again; one that will not start, or dies again and again, is given
up, with the reason in the log and in the state file. Once nobody holds `users.lock` any more (or on
SIGTERM) redis-server is shut down, the socket is removed and the keeper exits.

What it does not promise: it watches for the death of redis-server, not for a server that hangs.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bgtasks.embedded.keeper.shared import (
    ALREADY_KEPT,
    KEEPER_LOCK,
    REDIS_LOCK,
    TERM_S,
    USERS_LOCK,
    Order,
    State,
    ask,
    died_how,
    log_size,
    log_text,
    open_lock,
    read_state,
    relevant_lines,
    say,
    try_lock,
    write_state,
)

POLL_S = 0.1  # how soon it is seen that nobody is left; a flock cannot be waited for with select
READY_POLL_S = 0.01
TAKE_OVER_S = 15.0  # time for the redis-server of a dead keeper to end
HEALTHY_S = 5.0  # a server that lived this long after it was ready did not fail fast
FAST_FAILURES = 8  # so many in a row, about four seconds, and the keeper gives up
BACKOFF_S, BACKOFF_CAP_S = 0.05, 1.0

_PR_SET_PDEATHSIG = 1
_CRASHES = {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE}


class GiveUpError(Exception):
    """Keeping on makes no sense; the message is for the person who wanted the server."""


def main(argument: str) -> None:
    """Detach and keep. The first process exits at once: 0, or `ALREADY_KEPT`.

    The lock is taken before the fork and shared by both, so when the first process has exited with
    0 the keeper holds it. The fork leaves the starter no child that it would have to wait for.
    """
    order = Order(**json.loads(argument))
    data_dir = Path(order.data_dir)
    os.umask(0o077)
    keeper_lock = open_lock(data_dir / KEEPER_LOCK)
    if not try_lock(keeper_lock):
        os._exit(ALREADY_KEPT)
    old = read_state(data_dir)
    write_state(data_dir, State("starting", order.socket))
    if os.fork():
        os._exit(0)
    sys.exit(Keeper(order, keeper_lock).run(old.socket if old else order.socket))


def death_signal() -> Callable[[], None] | None:
    """What a child runs before exec so that it gets SIGTERM when the keeper dies; None where unknown.

    The kernel sends it when the forking *thread* ends. The keeper has one thread only, so that is
    the keeper's own end, and running Python between fork and exec is safe.
    """
    if sys.platform != "linux":
        return None
    libc, keeper = ctypes.CDLL(None), os.getpid()

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != keeper:  # it died before it could be watched
            os._exit(1)

    return ask_kernel


class Keeper:
    """Keeps one redis-server alive until nobody uses it. `run` is the whole life; call it once."""

    def __init__(self, order: Order, keeper_lock: int) -> None:
        self._order = order
        self._dir, self._log = Path(order.data_dir), Path(order.log)
        self._keeper_lock = keeper_lock
        self._users_lock = open_lock(self._dir / USERS_LOCK)
        self._done = False
        self._child: subprocess.Popen[bytes] | None = None
        self._prepare_child = death_signal()
        self._graph = order.graph
        self._reason = None if order.graph else "the process that started this server did not ask for a graph"
        self._module_error: str | None = None  # set once the module has failed to load
        self._wake, writer = os.pipe()
        for fd in (self._wake, writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake `_nap`
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._told_to_end)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])  # whatever our starter's thread had blocked

    def run(self, old_socket: str) -> int:
        """Keep until the end; the exit status. `old_socket`: where a dead keeper's server listened."""
        try:
            self._take_over(old_socket)
            self._keep()
        except GiveUpError as error:
            say(f"gave up: {error}")
            self._reason = str(error)
            self._end("failed")
            return 1
        finally:
            self._end("stopping")
        return 0

    def _told_to_end(self, *_: object) -> None:
        self._done = True

    def _finished(self) -> bool:
        """Whether to end: told so, or the last user has left. Then the lock keeps new users out."""
        if not self._done and try_lock(self._users_lock):
            self._done = True
        return self._done

    def _nap(self, seconds: float) -> None:
        """Wait, but not beyond the next signal."""
        if select.select([self._wake], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)

    def _tell(self, phase: str) -> None:
        pid = self._child.pid if self._child is not None else 0
        try:
            state = State(phase, self._order.socket, os.getpid(), pid, self._graph, self._reason)
            write_state(self._dir, state)
        except OSError as error:  # the disk is full; who is using the server now can go on
            say(f"the state cannot be written: {error}")

    def _take_over(self, old_socket: str) -> None:
        """Wait until no redis-server of a dead keeper has the data open, and ask it to end.

        On Linux the kernel has already told it; elsewhere it would run on for ever.
        """
        fd = open_lock(self._dir / REDIS_LOCK)
        deadline = time.monotonic() + TAKE_OVER_S
        asked = False
        try:
            while not try_lock(fd) and not self._finished():
                if not asked:
                    asked = True
                    say("a redis-server without a keeper is still there; ending it")
                    ask(old_socket, "SHUTDOWN NOSAVE NOW FORCE")
                if time.monotonic() > deadline:
                    # Which process it is would be a guess, and a guess must not be killed.
                    raise GiveUpError(
                        f"an old redis-server still has the data in {self._dir} open and does not end; "
                        f"end it by hand: it is the one on {old_socket} in the list of processes"
                    )
                self._nap(READY_POLL_S)
        finally:
            os.close(fd)

    def _keep(self) -> None:
        failures, served = 0, False
        while not self._finished():
            offset = log_size(self._log)
            child = self._launch()
            ready = self._until_ready(child)
            began = time.monotonic()
            if ready:
                served = True
                say(f"redis-server {child.pid} is ready, {'with' if self._graph else 'without'} a graph")
                self._tell("running")
            while child.poll() is None and not self._finished():
                self._nap(POLL_S)
            if child.returncode is None or self._done:
                return
            text = log_text(self._log, offset)
            if not ready and self._module_was_wrong(child.returncode, text):
                continue
            what = died_how(child.returncode)
            lines = "; ".join(relevant_lines(text)) or "it gave no reason"
            if not served and child.returncode > 0:  # it refused, and would refuse again
                raise GiveUpError(f"redis-server does not start ({what}): {lines}")
            failures = 1 if ready and time.monotonic() - began >= HEALTHY_S else failures + 1
            if failures >= FAST_FAILURES:
                raise GiveUpError(
                    f"redis-server failed {failures} times in a row, at last it {what}: {lines}"
                )
            delay = min(BACKOFF_S * 2 ** (failures - 1), BACKOFF_CAP_S)
            say(f"redis-server {child.pid} {what}; starting it again in {delay:g} s")
            self._tell("starting")
            until = time.monotonic() + delay
            while time.monotonic() < until and not self._finished():
                self._nap(min(POLL_S, delay))

    def _launch(self) -> subprocess.Popen[bytes]:
        order = self._order
        command = [order.server, "--port", "0", "--unixsocket", order.socket, "--unixsocketperm", "700"]
        command += ["--dir", order.data_dir, "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        command += ["--logfile", order.log, "--loglevel", "notice", "--daemonize", "no"]
        if self._graph:
            command += ["--loadmodule", order.module]
        mark = open_lock(self._dir / REDIS_LOCK)
        try:
            # Shared, because a fork that a killed redis-server left behind may hold it a moment longer.
            fcntl.flock(mark, fcntl.LOCK_SH)
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                cwd=order.data_dir,
                pass_fds=(mark,),
                preexec_fn=self._prepare_child,
            )
        except OSError as error:
            raise GiveUpError(f"{order.server} cannot be run: {error.strerror}") from error
        finally:
            os.close(mark)
        self._tell("starting")
        return self._child

    def _until_ready(self, child: subprocess.Popen[bytes]) -> bool:
        """True when it answers; False when it died or nobody waits for it any more.

        There is no limit of time: loading much data takes long, and those who wait have their own.
        """
        while child.poll() is None and not self._finished():
            if ask(self._order.socket, "PING").startswith(b"+PONG"):
                return True
            self._nap(READY_POLL_S)
        return False

    def _module_was_wrong(self, code: int, text: str) -> bool:
        """Whether the start failed over the graph module and the other way is worth a try."""
        if self._graph and self._cannot_load(code, text):
            why = next((line for line in relevant_lines(text) if "failed to load" in line), None)
            self._module_error = why or f"redis-server {died_how(code)} while loading the module"
            self._graph = False
            self._reason = f"the FalkorDB module cannot be loaded here: {self._module_error}"
            say(f"{self._reason}; starting plain Redis")
            return True
        if not self._graph and "no matching module" in text:
            if self._module_error is not None:
                raise GiveUpError(
                    f"the data in {self._dir} was written with the FalkorDB module and needs it, "
                    f"but it cannot be loaded here: {self._module_error}"
                )
            say("the data needs the graph module; starting with it although it was not asked for")
            self._graph, self._reason = True, None
            return True
        return False

    @staticmethod
    def _cannot_load(code: int, text: str) -> bool:
        if "Module 'graph' loaded" in text:
            return False
        # An unsuitable processor ends the load with a signal rather than with a message.
        return "Can't load module" in text or -code in _CRASHES

    def _end(self, phase: str) -> None:
        """Shut redis-server down, tell, let the locks go. Later calls do nothing."""
        if self._keeper_lock < 0:
            return
        self._tell(phase)
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(TERM_S)
            except subprocess.TimeoutExpired:
                say(f"redis-server {child.pid} did not end within {TERM_S:g} s; killing it")
                child.kill()
                child.wait()
        if child is not None:  # else the socket, if there is one, is not ours
            with suppress(OSError):
                Path(self._order.socket).unlink(missing_ok=True)
        say("redis-server has ended; bye" if phase == "stopping" else "bye")
        # In this order: whoever finds `users.lock` free must not find a keeper.
        os.close(self._keeper_lock)
        os.close(self._users_lock)
        self._keeper_lock = -1
