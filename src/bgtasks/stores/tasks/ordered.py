"""A sorted list of many values, quick to change: a list of short lists, like the leaves of a B-tree."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import islice
from typing import Any, Protocol

__all__ = ["Ordered"]

LONGEST = 1000
"""Values in one short list; the next one splits it. Moving so many on takes less than a microsecond."""


class _Comparable(Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


class Ordered[T: _Comparable]:
    """Different values in their order."""

    __slots__ = ("_count", "_lists", "_maxima")

    def __init__(self) -> None:
        self._lists: list[list[T]] = []
        self._maxima: list[T] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, value: T) -> None:
        """Put in a value that is not there."""
        self._count += 1
        if not self._lists:
            self._lists.append([value])
            self._maxima.append(value)
            return
        place = min(bisect_left(self._maxima, value), len(self._lists) - 1)
        values = self._lists[place]
        insort(values, value)
        if len(values) > LONGEST:
            half = len(values) // 2
            self._lists.insert(place + 1, values[half:])
            self._maxima.insert(place + 1, values[-1])
            del values[half:]
        self._maxima[place] = values[-1]

    def remove(self, value: T) -> None:
        """Take out a value that is there."""
        self._count -= 1
        place = bisect_left(self._maxima, value)
        values = self._lists[place]
        del values[bisect_left(values, value)]
        if values:
            self._maxima[place] = values[-1]
        else:
            del self._lists[place], self._maxima[place]

    def after(self, value: T | None) -> Iterator[T]:
        """Those greater than a value; with None all."""
        first = 0 if value is None else bisect_right(self._maxima, value)
        for place, values in enumerate(islice(self._lists, first, None)):
            begin = bisect_right(values, value) if value is not None and place == 0 else 0
            yield from islice(values, begin, None)
