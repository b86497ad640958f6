"""What holds for every test: it leaves nothing running, asyncio has nothing to complain about.

Warnings are errors (see `pyproject.toml`); order is random; each test gets a registry of its own by asking
for the `registry` fixture.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Iterator
from functools import cache
from itertools import compress
from typing import Any
from weakref import WeakSet

import pytest
import redis.utils
from blockbuster import BlockBuster
from hypothesis import settings

from bgtasks import Registry

ALLOWED_TO_BLOCK = (
    "os.stat",
    "os.listdir",
    "os.scandir",
    "os.getcwd",
    "os.path.abspath",
    "io.BufferedReader.read",
    "io.TextIOWrapper.read",
)
"""What an import inside a function does (we import heavy things where they are first used), and redis-py
when it looks up its own version."""

COMPLAINTS = ("never retrieved", "was never awaited", "Task was destroyed")
OURS = "bgtasks"

blamed: WeakSet[asyncio.Task[Any]] = WeakSet()
"""Left-over tasks that have failed a test already; they fail no other one."""

out_of_sight: WeakSet[asyncio.Task[Any]] = WeakSet()
"""Tasks that were pending when the garbage collector was told to pass over all there was."""

# Some three hundred processes are started, which shall not each compile what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The machine that runs the tests may be busy, and a checkout keeps no example files.
settings.register_profile("bgtasks", deadline=None, database=None, max_examples=60)
settings.load_profile("bgtasks")


class Complaints(logging.Handler):
    """Remembers what asyncio says of tasks and exceptions that nobody looked after."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if any(complaint in text for complaint in COMPLAINTS):
            self.heard.append(text)


complaints = Complaints()


def listen() -> None:
    """Hear what asyncio says from now on, if a test has put an end to that."""
    logging.getLogger("asyncio").addHandler(complaints)


def collect_for_good() -> None:
    """Collect the garbage, and put all that is left out of the collector's sight.

    A collection after each test takes about a millisecond then, and not longer with each test that ran.
    """
    gc.collect()
    out_of_sight.update(pending_tasks())
    gc.freeze()


def kinds_of(kind: type[Any]) -> set[type[Any]]:
    """A class and all that derive from it."""
    return {kind}.union(*map(kinds_of, kind.__subclasses__()))


def pending_tasks() -> list[asyncio.Task[Any]]:
    """Our asyncio tasks that have not ended, on whatever event loop."""
    objects, kinds = gc.get_objects(), kinds_of(asyncio.Task)
    # For each of some thousand objects, after each test; isinstance would ask proxies for their class.
    found = compress(objects, map(kinds.__contains__, map(type, objects)))
    return [task for task in (*found, *out_of_sight) if task.get_name().startswith(OURS) and not task.done()]


def pytest_collection_finish() -> None:
    """What the imports made stays."""
    collect_for_good()


@pytest.fixture(scope="module", autouse=True)
def what_is_left_of_other_modules_stays() -> None:
    """What survived the modules before is pytest's, or some cache's; garbage of theirs is still heard."""
    listen()
    collect_for_good()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves one of our asyncio tasks pending, or makes asyncio complain."""
    listen()
    yield
    left = [task for task in pending_tasks() if task not in blamed]
    blamed.update(left)
    names = ", ".join(task.get_name() for task in left)
    del left
    gc.collect()  # what nobody holds any more complains now, and in this test
    heard = "; ".join(complaints.heard)
    complaints.heard.clear()
    assert not names, f"asyncio tasks left pending: {names}"
    assert not heard, f"asyncio complained: {heard}"


@pytest.fixture(scope="session", autouse=True)
def redis_py_reads_its_version_once() -> Iterator[None]:
    """It reads a file for that with every connection, of which there are some ten thousand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis.utils, "get_lib_version", cache(redis.utils.get_lib_version))
        yield


@pytest.fixture(scope="session")
def blockbuster() -> BlockBuster:
    """What fails a call by our code that blocks the event loop, while it is activated."""
    made = BlockBuster("bgtasks")
    for name in ALLOWED_TO_BLOCK:
        del made.functions[name]
    return made


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop(blockbuster: BlockBuster) -> Iterator[None]:
    """Fail a call by our code that blocks the event loop: a file, a socket, a process, a sleep."""
    blockbuster.activate()
    yield
    blockbuster.deactivate()


@pytest.fixture
def registry() -> Registry:
    """An empty registry, so that no test sees what another has declared."""
    return Registry()
