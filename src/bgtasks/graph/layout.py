"""Where the boxes of a small graph go, so that neighbours are near and no box lies on another.

Distances on paper are brought close to distances in the graph (stress majorisation, begun from the two main
axes of the distances), boxes that overlap are pushed apart, and the parts that hang together are set beside
each other. Nothing is random: the same graph gives the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Box", "arranged"]

STEP = 112.0
"""Ideal distance of neighbours, before the picture is stretched sideways; more where there are many links."""

STRETCH = 1.9
"""Boxes hold a line of text: they need room sideways."""

GAP_X, GAP_Y = 34.0, 26.0
"""Room that is left free around each box."""

ROUNDS = 90
"""Of majorisation; of pushing apart there may be more."""

type Point = tuple[float, float]
type Size = tuple[float, float]
type Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def arranged(sizes: Mapping[str, Size], links: Iterable[tuple[str, str]]) -> dict[str, Point]:
    """The middle of each box; the picture begins at (0, 0).

    Takes about half a second for sixty boxes, all of it the processor's.

    Args:
        sizes: Width and height of each box by its name.
        links: Which boxes belong side by side.
    """
    near: dict[str, set[str]] = {name: set() for name in sizes}
    for one, other in links:
        if one != other:
            near[one].add(other)
            near[other].add(one)
    parts = []
    for part in _parts(near):
        links_each = sum(len(near[name]) for name in part) / 2 / len(part)
        step = STEP * min(1.7, max(1.0, 0.55 + 0.45 * links_each))
        placed = _apart(_spread(part, near, step), sizes)
        left = min(x - sizes[name][0] / 2 for name, (x, _) in placed.items())
        top = min(y - sizes[name][1] / 2 for name, (_, y) in placed.items())
        parts.append({name: (x - left, y - top) for name, (x, y) in placed.items()})
    return _packed(parts, sizes)


def _parts(near: Mapping[str, set[str]]) -> list[list[str]]:
    """What hangs together, the largest first."""
    parts, seen = [], set[str]()
    for name in near:
        if name not in seen:
            part = list(_distances(name, near))
            seen.update(part)
            parts.append(sorted(part))
    return sorted(parts, key=lambda part: (-len(part), part))


def _distances(start: str, near: Mapping[str, set[str]]) -> dict[str, int]:
    """Steps from `start` to all that can be reached."""
    found, edge = {start: 0}, [start]
    for name in edge:
        for other in sorted(near[name]):
            if other not in found:
                found[other] = found[name] + 1
                edge.append(other)
    return found


def _spread(part: Sequence[str], near: Mapping[str, set[str]], step: float) -> dict[str, Point]:
    steps = [[float(_d[name]) for name in part] for _d in (_distances(one, near) for one in part)]
    points = _axes(steps)
    indices = range(len(part))
    for _ in range(ROUNDS if len(part) > 2 else 0):
        for i in indices:
            sum_x = sum_y = sum_w = 0.0
            x, y = points[i]
            for j in indices:
                if i == j:
                    continue
                ideal = steps[i][j]
                weight = 1 / (ideal * ideal)
                dx, dy = x - points[j][0], y - points[j][1]
                ratio = ideal / (math.hypot(dx, dy) or 1e-9)
                sum_x += weight * (points[j][0] + dx * ratio)
                sum_y += weight * (points[j][1] + dy * ratio)
                sum_w += weight
            points[i] = (sum_x / sum_w, sum_y / sum_w)
    return {
        name: (x * step * STRETCH, y * step) for name, (x, y) in zip(part, _levelled(points), strict=True)
    }


def _axes(steps: Sequence[Sequence[float]]) -> list[Point]:
    """Each box by the two main axes of the distances, a little off, so that no two are in one place."""
    count = len(steps)
    squares = [[each * each for each in row] for row in steps]
    means = [sum(row) / count for row in squares]
    mean = sum(means) / count
    centred = [
        [-(squares[i][j] - means[i] - means[j] + mean) / 2 for j in range(count)] for i in range(count)
    ]
    axes: list[list[float]] = []
    for number in range(2):
        axis = [math.sin(1.0 + i * (number + 1.7)) for i in range(count)]
        for _ in range(40):
            for earlier in axes:
                size = sum(each * each for each in earlier) or 1.0
                share = sum(a * b for a, b in zip(axis, earlier, strict=True)) / size
                axis = [a - share * b for a, b in zip(axis, earlier, strict=True)]
            axis = [sum(a * b for a, b in zip(row, axis, strict=True)) for row in centred]
            length = math.sqrt(sum(each * each for each in axis)) or 1.0
            axis = [each / length for each in axis]
        axes.append(axis)
    spread = math.sqrt(count)
    return [
        (axes[0][i] * spread + 0.05 * math.cos(i * 2.4), axes[1][i] * spread + 0.05 * math.sin(i * 2.4))
        for i in range(count)
    ]


def _levelled(points: Sequence[Point]) -> list[Point]:
    """The points turned so that they extend sideways, where there is room."""
    count = len(points)
    mx, my = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    xx = sum((x - mx) ** 2 for x, _ in points)
    yy = sum((y - my) ** 2 for _, y in points)
    xy = sum((x - mx) * (y - my) for x, y in points)
    turn = -0.5 * math.atan2(2 * xy, xx - yy)
    cos, sin = math.cos(turn), math.sin(turn)
    return [((x - mx) * cos - (y - my) * sin, (x - mx) * sin + (y - my) * cos) for x, y in points]


def _apart(placed: dict[str, Point], sizes: Mapping[str, Size]) -> dict[str, Point]:
    """The boxes pushed apart, each pair the shorter way, until none is on another."""
    names = list(placed)
    for _ in range(400):
        moved = False
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                (x, y), (ox, oy) = placed[one], placed[other]
                wide = (sizes[one][0] + sizes[other][0]) / 2 + GAP_X - abs(x - ox)
                high = (sizes[one][1] + sizes[other][1]) / 2 + GAP_Y - abs(y - oy)
                if wide <= 0.01 or high <= 0.01:
                    continue
                moved = True
                if high <= wide:
                    push = (high / 2 + 0.1) * (1 if y > oy or (y == oy and one > other) else -1)
                    placed[one], placed[other] = (x, y + push), (ox, oy - push)
                else:
                    push = (wide / 2 + 0.1) * (1 if x > ox or (x == ox and one > other) else -1)
                    placed[one], placed[other] = (x + push, y), (ox - push, oy)
        if not moved:
            break
    return placed


def _packed(parts: Sequence[dict[str, Point]], sizes: Mapping[str, Size]) -> dict[str, Point]:
    """The parts in rows, about one and a half times as wide as high."""
    extents = [
        (
            max(x + sizes[name][0] / 2 for name, (x, _) in part.items()),
            max(y + sizes[name][1] / 2 for name, (_, y) in part.items()),
        )
        for part in parts
    ]
    area = sum((width + 2 * GAP_X) * (height + 2 * GAP_Y) for width, height in extents)
    limit = max([math.sqrt(area * 1.6), *(width for width, _ in extents)])
    packed: dict[str, Point] = {}
    left = top = row = 0.0
    for part, (width, height) in zip(parts, extents, strict=True):
        if left and left + width > limit:
            left, top, row = 0.0, top + row + 2 * GAP_Y, 0.0
        packed.update({name: (x + left, y + top) for name, (x, y) in part.items()})
        left, row = left + width + 2 * GAP_X, max(row, height)
    return packed
