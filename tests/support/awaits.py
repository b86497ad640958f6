"""Every place where some modules wait, and a way to disturb them at each: what tours of that kind share.

The places are read off the syntax trees. A tour is made once to see at which turns of the event loop which
asyncio task waits where; then it is made again for each of these moments, and disturbed in it.
"""

from __future__ import annotations

import ast
import asyncio
import itertools
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import bgtasks
from bgtasks.testing import VirtualClock, VirtualLoop

__all__ = [
    "HOUSE",
    "Moment",
    "Place",
    "Places",
    "WatchedLoop",
    "one_a_turn",
    "one_of_each",
    "some_of",
    "walk",
]

HOUSE = Path(bgtasks.__file__).parent


class Place(NamedTuple):
    """An `await`, an `async with` or an `async for`."""

    module: str
    function: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} in {self.function}"


class Places:
    """The places of some modules.

    Args:
        modules: Paths below the package.
        excused: Functions whose places need not be met. What awaits one of them is no place either.
    """

    def __init__(self, modules: Sequence[str], excused: Container[str] = ()) -> None:
        self._excused = excused
        self._known: dict[tuple[CodeType, int], Place | None] = {}
        self._found = {
            (each, place.line, place.column): place for each in modules for place in self._of(each)
        }

    def __iter__(self) -> Iterator[Place]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found)

    def _of(self, module: str) -> Iterator[Place]:
        """What the syntax tree of a module says."""
        waits = (ast.Await, ast.AsyncWith, ast.AsyncFor)

        def within(node: ast.AST, names: tuple[str, ...]) -> Iterator[Place]:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names = (*names, node.name)
            led_away = self._leads_to_excused(node, names[:-1]) or _is_a_time_limit(node)
            if isinstance(node, waits) and not led_away:
                yield Place(module, ".".join(names), node.lineno, node.col_offset)
            for child in ast.iter_child_nodes(node):
                yield from within(child, names)

        return within(ast.parse((HOUSE / module).read_text("utf-8")), ())

    def _leads_to_excused(self, node: ast.AST, owner: tuple[str, ...]) -> bool:
        """Whether what is awaited is an excused method of its own: then nothing waits there either."""
        call = node.value if isinstance(node, ast.Await) else None
        callee = call.func if isinstance(call, ast.Call) else None
        return isinstance(callee, ast.Attribute) and ".".join((*owner, callee.attr)) in self._excused

    def missed(self, met: set[Place]) -> list[Place]:
        """Those that were to be met, and were not."""
        return [place for place in self if place not in met and place.function not in self._excused]

    def waits_at(self, task: asyncio.Task[Any]) -> tuple[Place, ...]:
        """The places that a suspended asyncio task waits in, the outermost first."""
        found: list[Place] = []
        awaited: Any = task.get_coro()
        while (frame := getattr(awaited, "cr_frame", None)) is not None:
            place = self._place(frame)
            if place is not None:
                found.append(place)
            awaited = awaited.cr_await
        return tuple(found)

    def _place(self, frame: FrameType) -> Place | None:
        where = frame.f_code, frame.f_lasti
        if where not in self._known:
            self._known[where] = self._place_in(*where)
        return self._known[where]

    def _place_in(self, code: CodeType, instruction: int) -> Place | None:
        path = Path(code.co_filename)
        if instruction < 0 or not path.is_relative_to(HOUSE):
            return None
        line, _, column, _ = next(itertools.islice(code.co_positions(), instruction // 2, None))
        if line is None or column is None:
            return None
        return self._found.get((path.relative_to(HOUSE).as_posix(), line, column))


def _is_a_time_limit(node: ast.AST) -> bool:
    """Whether it is `async with asyncio.timeout(…)`, which does not wait itself."""
    return isinstance(node, ast.AsyncWith) and all(
        ast.unparse(each.context_expr).startswith("asyncio.timeout(") for each in node.items
    )


class WatchedLoop(VirtualLoop):
    """Calls `watcher(turn)` before each of its turns."""

    def __init__(self, clock: VirtualClock, watcher: Callable[[int], object]) -> None:
        super().__init__(clock)
        self.turn = 0
        self.watcher: Callable[[int], object] = watcher
        self.complaints: list[str] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(str(context)))

    def _run_once(self) -> None:
        self.turn += 1
        self.watcher(self.turn)
        super()._run_once()  # type: ignore[misc]


# -- moments -------------------------------------------------------------------------------------


class Moment(NamedTuple):
    """At one turn of the event loop, one asyncio task waits in these places."""

    turn: int
    task: str
    places: tuple[Place, ...]

    def __str__(self) -> str:
        return f"turn {self.turn}, {self.task} at {' > '.join(map(str, self.places))}"


def some_of(seen: list[Moment]) -> list[Moment]:
    """The first two and the last two moments at which a task waits in the same places."""
    stays: dict[tuple[str, tuple[Place, ...]], list[Moment]] = {}
    for moment in seen:
        stays.setdefault((moment.task, moment.places), []).append(moment)
    return sorted({moment for stay in stays.values() for moment in (*stay[:2], *stay[-2:])})


def one_of_each(seen: list[Moment]) -> list[Moment]:
    """One moment for each chain of places."""
    return list({moment.places: moment for moment in seen}.values())


def one_a_turn(seen: list[Moment]) -> list[Moment]:
    """One moment for each turn."""
    return list({moment.turn: moment for moment in seen}.values())


def walk(
    disturbed: Callable[[Moment], tuple[list[str], set[Place]]], chosen: list[Moment], places: Places
) -> None:
    """Have a tour disturbed at each of these moments: nothing is to be wrong after one, and all places met.

    Args:
        disturbed: Makes a tour, disturbs it at a moment, and returns what is wrong and the places met.
    """
    wrong: list[str] = []
    met: set[Place] = set()
    for moment in chosen:
        said, here = disturbed(moment)
        met |= here
        wrong += [f"{moment}: {each}" for each in said]
    report = [f"{len(chosen)} moments; {len(places)} places found, {len(met)} hit"]
    report += [f"  {'hit' if place in met else 'NOT HIT'}: {place}" for place in places]
    sys.stdout.write("\n".join(report) + "\n")
    assert not wrong, f"{len(wrong)} things are wrong:\n" + "\n".join(wrong[:20])
    missed = places.missed(met)
    assert not missed, f"not hit: {', '.join(map(str, missed))}"
