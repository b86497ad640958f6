"""The real `bgtasks` command in processes of its own, and what such processes leave behind."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import warm_command
from tests.support.waiting import PATIENCE_S, wait_until

__all__ = [
    "MARK",
    "Ended",
    "Running",
    "bgtasks",
    "command",
    "environment",
    "expect_no_complaint",
    "hiding",
    "left_running",
    "read_by_nobody",
    "wait_until_gone",
]

MARK = "TEST_MARK_OF_BGTASKS"
"""The variable by which `left_running` knows the descendants of a process."""

_BLOCKER = """
# Hides packages as if they were not installed.
import importlib.machinery
import os

hidden = os.environ["HIDDEN_PACKAGES"].split(",")
find = importlib.machinery.PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else find(name, path, target)

importlib.machinery.PathFinder.find_spec = find_spec
"""

_COMPLAINTS = ("Traceback", "never retrieved", "was never awaited", "Exception ignored", "Unclosed")


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, what it said, and how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """The lines on stderr."""
        return self.err.splitlines()


def command() -> list[str]:
    """How the console script of this environment is called."""
    script = shutil.which("bgtasks", path=str(Path(sys.executable).parent))
    assert script is not None, "bgtasks is not installed beside this interpreter"
    return [script]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a user whose home is `home`: nothing set for bgtasks but `variables`."""
    held = {name: value for name, value in os.environ.items() if not name.upper().startswith("BGTASKS_")}
    own = {"HOME": str(home), "XDG_DATA_HOME": str(home / "share"), "COLUMNS": "200", "NO_COLOR": "1"}
    return {**held, **own, **variables}


def bgtasks(*arguments: str, home: Path, fresh: bool | str = False, **variables: str) -> Ended:
    """Run the command to its end in `home`; whatever happens, it shows no traceback.

    Args:
        fresh: In an interpreter of its own, which takes half a second, rather than in a forked process. (A
            text only for mypy, to which `**variables` might hold it.)
    """
    own = environment(home, **variables)
    began = time.monotonic()
    if fresh or not warm_command.POSSIBLE or any(name.startswith("PYTHON") for name in variables):
        done = subprocess.run(
            [*command(), *arguments],
            cwd=home,
            env=own,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        said = done.returncode, done.stdout, done.stderr
    else:
        (script,) = command()
        said = warm_command.call(script, arguments, cwd=home, env=own, timeout=PATIENCE_S)
    ended = Ended(*said, time.monotonic() - began)
    expect_no_complaint(ended)
    return ended


def hiding(home: Path, packages: str) -> dict[str, str]:
    """Variables under which a process finds none of `packages`, separated by commas."""
    folder = home / "hiding"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_BLOCKER)
    return {"PYTHONPATH": str(folder), "HIDDEN_PACKAGES": packages}


def expect_no_complaint(ended: Ended) -> None:
    """Neither Python nor asyncio has anything to say of its own."""
    for complaint in _COMPLAINTS:
        assert complaint not in ended.err, ended.err
        assert complaint not in ended.out, ended.out


def read_by_nobody(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, whose output nobody reads any more when it begins."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [*command(), *arguments],
            cwd=home,
            env=environment(home, **variables),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        os.close(writer)


class Running:
    """A command that runs, whose lines can be waited for; killed, if need be, when the block ends."""

    def __init__(
        self, *arguments: str, home: Path, program: Sequence[str] | None = None, **variables: str
    ) -> None:
        self.mark = secrets.token_hex(8)
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [*(program or command()), *arguments],
            cwd=home,
            env=environment(home, **{MARK: self.mark, **variables}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._out: list[str] = []
        self._err: list[str] = []
        self._readers = [
            threading.Thread(target=self._out.extend, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._err.extend, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def text(self) -> str:
        """What it said so far on stdout and stderr."""
        return "".join((*self._out, *self._err))

    def wait_for(self, pattern: str, timeout_s: float = PATIENCE_S) -> None:
        """Return once a line matches `pattern`."""
        looked_for = re.compile(pattern)

        def said() -> bool:
            if looked_for.search(self.text):
                return True
            assert self.is_running, f"it ended before it said {pattern!r}: {self.text}"
            return False

        wait_until(f"it says {pattern!r}", said, timeout_s)

    def send(self, what: signal.Signals) -> None:
        self._process.send_signal(what)

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def end(self, timeout_s: float = PATIENCE_S) -> Ended:
        """Wait until it has ended by itself."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"still running after {timeout_s:g} s; it said: {self.text}") from error
        for reader in self._readers:
            reader.join(PATIENCE_S)
        seconds = time.monotonic() - self._began
        return Ended(self._process.returncode, "".join(self._out), "".join(self._err), seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            self.kill()
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def left_running(of: Running, home: Path) -> dict[int, str]:
    """The living processes that descend from a `Running` or live in `home`, by their command lines.

    A process is known by the mark in its environment; redis-server, which writes over its own, by the
    path of its socket. Looks into /proc; elsewhere than on Linux it finds nothing, and the test says less.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            ours = f"{MARK}={of.mark}".encode() in (folder / "environ").read_bytes() or str(home) in line
        except OSError:  # it has ended meanwhile, or belongs to somebody else
            continue
        if ours and state != "Z":
            found[int(folder.name)] = line
    return found


def wait_until_gone(of: Running, home: Path) -> None:
    """Return once nothing is left running of it; fail with what is."""
    wait_until("no process is left behind", lambda: not left_running(of, home))
