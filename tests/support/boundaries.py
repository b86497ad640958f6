"""Every time that code of some modules comes to an `await`, as it happens, in the real event loop.

The places are those of `tests.support.awaits`, read off the syntax trees. Python's own monitoring says when
one is reached: nothing is wrapped, and no code is changed. Of the places one inside the other, in which an
asyncio task waits, the innermost is told, with the whole chain.
"""

from __future__ import annotations

import dis
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Literal, NamedTuple

from tests.support.awaits import HOUSE, Place, Places

__all__ = ["Boundary", "Step", "When", "monitored"]

type When = Literal["before", "during"]
"""Before: nothing of what is awaited has begun. During: it has, and the event loop is about to go on."""

_WHEN: dict[str, When] = {"GET_AWAITABLE": "before", "GET_ANEXT": "before", "YIELD_VALUE": "during"}
_TOOL = 4
_NAME = "bgtasks tests: awaits"


class Boundary(NamedTuple):
    """A moment: before or during the innermost of these places, the outermost first."""

    when: When
    chain: tuple[Place, ...]

    def __str__(self) -> str:
        return f"{self.when} {' > '.join(map(str, self.chain))}"


type Step = Callable[[Boundary], object]
"""Told of each boundary, in the asyncio task that came to it; it may well not return."""


@contextmanager
def monitored(places: Places, modules: Sequence[str], step: Step) -> Iterator[None]:
    """Tell `step` of each boundary in these modules while the block lasts."""
    where = _where(places, modules)
    monitoring = sys.monitoring
    inner: dict[int, FrameType] = {}

    def reached(code: CodeType, offset: int) -> Any:
        found = where[code].get(offset)
        if found is None:
            return monitoring.DISABLE
        when = found[1]
        if when is None:
            return monitoring.DISABLE
        frame = sys._getframe(1)
        if when == "during":
            if inner.pop(id(frame), None) is not None:
                return None  # what it waits for was told, and this is the same moment
            back = frame.f_back
            while back is not None:
                if where.get(back.f_code, {}).get(back.f_lasti) is not None:
                    inner[id(back)] = back
                back = back.f_back
        step(Boundary(when, tuple(_chain(frame, where))))
        return None

    events = monitoring.events
    monitoring.use_tool_id(_TOOL, _NAME)
    monitoring.register_callback(_TOOL, events.INSTRUCTION, reached)
    monitoring.restart_events()
    for code in where:
        monitoring.set_local_events(_TOOL, code, events.INSTRUCTION)
    try:
        yield
    finally:
        for code in where:
            monitoring.set_local_events(_TOOL, code, 0)
        monitoring.register_callback(_TOOL, events.INSTRUCTION, None)
        monitoring.free_tool_id(_TOOL)


type _Where = dict[CodeType, dict[int, tuple[Place, When | None]]]
"""The place of each instruction that belongs to one, and what it means that it is reached."""


def _chain(innermost: FrameType, where: _Where) -> list[Place]:
    found: list[Place] = []
    frame: FrameType | None = innermost
    while frame is not None:
        if (known := where.get(frame.f_code, {}).get(frame.f_lasti)) is not None:
            found.append(known[0])
        frame = frame.f_back
    return found[::-1]


def _where(places: Places, modules: Sequence[str]) -> _Where:
    by_position = {(place.module, place.line, place.column): place for place in places}
    where: _Where = {}
    for module in modules:
        name = "bgtasks." + module.removesuffix(".py").replace("/", ".")
        for code in _codes(importlib.import_module(name)):
            found: dict[int, tuple[Place, When | None]] = {}
            for index, (line, _, column, _) in enumerate(code.co_positions()):
                place = by_position.get((module, line or 0, column or 0))
                if place is not None:
                    found[2 * index] = (place, None)
            for each in dis.get_instructions(code):
                if each.offset in found and each.opname in _WHEN:
                    found[each.offset] = (found[each.offset][0], _WHEN[each.opname])
            where[code] = found
    return where


def _codes(module: ModuleType) -> Iterator[CodeType]:
    """The code of all functions of a module, however decorated, and of those within them."""
    path = Path(str(module.__file__))
    assert path.is_relative_to(HOUSE)

    def within(code: CodeType) -> Iterator[CodeType]:
        yield code
        for each in code.co_consts:
            if isinstance(each, CodeType):
                yield from within(each)

    def of(owner: Any) -> Iterator[CodeType]:
        for each in vars(owner).values():
            bare = (
                each.fget if isinstance(each, property) else inspect.unwrap(getattr(each, "__func__", each))
            )
            if isinstance(bare, type) and bare.__module__ == module.__name__:
                yield from of(bare)
            elif inspect.isfunction(bare) and bare.__code__.co_filename == str(path):
                yield from within(bare.__code__)

    return of(module)
