"""Lines between boxes: bent where they would run through another box, and labelled where there is room."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bgtasks.graph.layout import Box, Point

__all__ = ["Line", "line_between", "place_of_label"]

_BENDS = (0.0, 16.0, -16.0, 32.0, -32.0, 60.0, -60.0, 95.0, -95.0, 140.0, -140.0)
_ALONG = (0.5, 0.44, 0.56, 0.38, 0.62, 0.32, 0.68, 0.26, 0.74)
_BESIDE = (0.0, -9.0, 9.0, -17.0, 17.0)
_SAMPLES = 28
_COVERS = 0.3
"""The share of a label that may lie on something else; with more it says nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """A quadratic curve from `start` by `bend` to `end`."""

    start: Point
    bend: Point
    end: Point

    def at(self, share: float) -> Point:
        """The point at `share` of the way, from 0 to 1."""
        a, b, c = (1 - share) ** 2, 2 * share * (1 - share), share * share
        return (
            a * self.start[0] + b * self.bend[0] + c * self.end[0],
            a * self.start[1] + b * self.bend[1] + c * self.end[1],
        )

    def head(self, size: float) -> list[Point]:
        """The corners of an arrowhead at its end."""
        dx, dy = self.end[0] - self.bend[0], self.end[1] - self.bend[1]
        length = math.hypot(dx, dy) or 1.0
        dx, dy = dx / length * size, dy / length * size
        x, y = self.end[0] - dx, self.end[1] - dy
        return [self.end, (x - dy * 0.42, y + dx * 0.42), (x + dy * 0.42, y - dx * 0.42)]

    def points(self) -> list[Point]:
        """Points along it."""
        return [self.at(number / _SAMPLES) for number in range(1, _SAMPLES)]


def line_between(one: Box, other: Box, others: Iterable[Box], *, bent: bool = False) -> Line:
    """The straightest line from the border of `one` to that of `other` that avoids the `others`, if one does.

    Args:
        bent: A straight line is no choice: another one runs the other way.
    """
    boxes = list(others)
    bends = [bend for bend in _BENDS if bend > 0] if bent else _BENDS
    lines = [_bent(one, other, bend) for bend in bends]
    return min(lines, key=lambda line: sum(_within(point, box) for point in line.points() for box in boxes))


def place_of_label(line: Line, width: float, height: float, taken: Sequence[Box]) -> Box | None:
    """The box of a label on the line, where it covers least of what is `taken`; None if that is too much."""
    boxes = []
    for along in _ALONG:
        x, y = line.at(along)
        for beside in _BESIDE:
            boxes.append((x - width / 2, y + beside - height / 2, x + width / 2, y + beside + height / 2))
    covered, box = min(((sum(_shared(box, each) for each in taken), box) for box in boxes), key=_first)
    return box if covered <= _COVERS * width * height else None


def _first(pair: tuple[float, Box]) -> float:
    return pair[0]


def _bent(one: Box, other: Box, bend: float) -> Line:
    (x, y), (ox, oy) = _middle(one), _middle(other)
    length = math.hypot(ox - x, oy - y) or 1.0
    control = ((x + ox) / 2 - (oy - y) / length * 2 * bend, (y + oy) / 2 + (ox - x) / length * 2 * bend)
    return Line(_border(one, control, 2.0), control, _border(other, control, 3.0))


def _border(box: Box, towards: Point, gap: float) -> Point:
    """Where the line from the middle of the box leaves it, and `gap` on."""
    x, y = _middle(box)
    dx, dy = towards[0] - x, towards[1] - y
    half_width, half_height = (box[2] - box[0]) / 2 + gap, (box[3] - box[1]) / 2 + gap
    scale = min(half_width / abs(dx) if dx else math.inf, half_height / abs(dy) if dy else math.inf)
    return (x + dx * min(scale, 1.0), y + dy * min(scale, 1.0))


def _middle(box: Box) -> Point:
    return ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def _within(point: Point, box: Box) -> bool:
    return box[0] - 4 < point[0] < box[2] + 4 and box[1] - 4 < point[1] < box[3] + 4


def _shared(one: Box, other: Box) -> float:
    """The area that two boxes share, with a little room around."""
    width = min(one[2], other[2]) - max(one[0], other[0]) + 4
    height = min(one[3], other[3]) - max(one[1], other[1]) + 2
    return width * height if width > 0 and height > 0 else 0.0
