"""A picture of facts for people: one SVG file that needs nothing else, the same for the same facts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bgtasks.graph.facts import Entity, Fact
from bgtasks.graph.layout import Box, arranged
from bgtasks.graph.lines import line_between, place_of_label

__all__ = ["draw"]

HEIGHT, PAD, MARGIN, HEADING = 30.0, 14.0, 36.0, 104.0
NAME_PX, LABEL_PX = 14.0, 11.5
NAME_LENGTH, LABEL_LENGTH, KIND_LENGTH = 30, 34, 20

FACTS = 120
"""Facts in one picture: each line is laid around all boxes and labels, and more are not told apart."""


@dataclass(frozen=True, slots=True)
class _Look:
    fill: str
    border: str
    corner: float


# Dark text on light fills, at 12:1 or better; borders differ in lightness too, and corners by sort of kind.
_ROUND, _SOFT, _SQUARE = HEIGHT / 2, 8.0, 2.0
_LOOKS = {
    "person": _Look("#d8eaf7", "#0a5f9e", _ROUND),
    "animal": _Look("#fbe0d3", "#b5480f", _ROUND),
    "place": _Look("#d5efe4", "#0b7657", _SQUARE),
    "organisation": _Look("#e5e0f5", "#5a45a3", _SQUARE),
    "channel": _Look("#e8eaed", "#5c6670", _SQUARE),
    "object": _Look("#f3ead8", "#8a6216", _SOFT),
    "work": _Look("#f6dcea", "#a0316f", _SOFT),
    "event": _Look("#fbf0c2", "#857000", _SOFT),
    "activity": _Look("#d5f0f5", "#14707f", _SOFT),
    "topic": _Look("#e7f2cf", "#567a12", _SOFT),
}
_OTHER = _Look("#f1f1f1", "#777777", _SOFT)
_INK, _LINE, _QUIET = "#1b1f24", "#7b8794", "#4a5560"


def draw(facts: Sequence[Fact], *, title: str = "", limit: int = 60) -> str:
    """The facts as an SVG picture: entities coloured by kind, edges as wide as facts are heavy.

    Takes about half a second of the processor for sixty entities, and a second for sixty with `FACTS` facts:
    in a server, call it in a thread.

    Args:
        facts: Of more than can be shown, the heaviest are; of any number of entities, `FACTS` at most.
        title: Stands above the picture.
        limit: Entities at most. The layout is made for up to about sixty.
    """
    title = " ".join(title.split())
    shown = _shown(facts, limit)
    entities = {end.id: end for fact in shown for end in (fact.subject, fact.object)}
    names = {each.id: _cut(each.name, NAME_LENGTH) for each in entities.values()}
    sizes = {
        identity: (max(HEIGHT, _width(name, NAME_PX) + 2 * PAD), HEIGHT) for identity, name in names.items()
    }
    middles = arranged(sizes, [(fact.subject.id, fact.object.id) for fact in shown])
    boxes = {
        identity: (
            MARGIN + x - sizes[identity][0] / 2,
            HEADING + y - HEIGHT / 2,
            MARGIN + x + sizes[identity][0] / 2,
            HEADING + y + HEIGHT / 2,
        )
        for identity, (x, y) in middles.items()
    }
    lines, labels = _edges(shown, boxes)
    kinds = sorted({each.kind for each in entities.values()}, key=_order)
    legend, legend_width = _legend(kinds)
    left_out = len(facts) - len(shown)
    counted = f"{len(entities)} entities, {len(shown)} facts"
    caption = counted + (f"; {left_out} more are not shown" if left_out else "")
    right = max([box[2] for box in boxes.values()] + [box[2] for box, _ in labels], default=0.0)
    bottom = max([box[3] for box in boxes.values()] + [box[3] for box, _ in labels], default=HEADING)
    width = max(right, legend_width, MARGIN + _width(title, 18), MARGIN + _width(caption, 12)) + MARGIN
    return "\n".join(
        [
            *_opening(width, bottom + MARGIN, title or "A graph of facts", caption),
            *([_text(MARGIN, 30, title, 18, _INK, weight=600)] if title else []),
            _text(MARGIN, 30 if not title else 50, caption, 12, _QUIET),
            *legend,
            *lines,
            *(_label(box, text) for box, text in labels),
            *(_node(entities[identity], names[identity], box) for identity, box in boxes.items()),
            "</g></svg>",
            "",
        ]
    )


def _shown(facts: Sequence[Fact], limit: int) -> list[Fact]:
    """The heaviest facts that need no more than `limit` entities, and not those of an entity with itself."""
    chosen: list[Fact] = []
    ends = set[str]()
    for fact in sorted(
        facts, key=lambda each: (-each.weight, each.subject.id, each.predicate, each.object.id)
    ):
        if len(chosen) == FACTS:
            break
        needed = ends | {fact.subject.id, fact.object.id}
        if len(needed) <= limit and fact.subject.id != fact.object.id:
            chosen.append(fact)
            ends = needed
    return chosen


def _edges(facts: Sequence[Fact], boxes: dict[str, Box]) -> tuple[list[str], list[tuple[Box, str]]]:
    """Lines, one for all facts that lead from one entity to another, and their labels."""
    bundles: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts:
        bundles.setdefault((fact.subject.id, fact.object.id), []).append(fact)
    drawn, labels = [], []
    taken = list(boxes.values())
    for (start, end), bundle in bundles.items():
        others = [box for identity, box in boxes.items() if identity not in (start, end)]
        line = line_between(boxes[start], boxes[end], others, bent=(end, start) in bundles)
        words = _cut(", ".join(_words(fact.predicate) for fact in bundle), LABEL_LENGTH)
        box = place_of_label(line, _width(words, LABEL_PX) + 6, LABEL_PX + 4, taken)
        if box is not None:
            taken.append(box)
            labels.append((box, words))
        weight = min(1.0, max(0.0, max(fact.weight for fact in bundle)))
        told = "\n".join(fact.sentence or _said(fact) for fact in bundle)
        tip, left, right = line.head(9 + 3 * weight)
        foot = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
        path = f"M{_n(line.start)} Q{_n(line.bend)} {_n(foot)}"
        head = f"{_n(tip)} {_n(left)} {_n(right)}"
        drawn.append(
            f"<g><title>{_xml(told)}</title>"
            f'<path d="{path}" fill="none" stroke="{_LINE}" stroke-width="{1 + 3.5 * weight:.1f}"/>'
            f'<polygon points="{head}" fill="{_LINE}"/></g>'
        )
    return drawn, labels


def _opening(width: float, height: float, title: str, caption: str) -> list[str]:
    size = f'width="{width:.0f}" height="{height:.0f}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{_xml(title)}</title>",
        f"<desc>{_xml(caption)}</desc>",
        f'<rect {size} fill="#ffffff"/>',
        '<g font-family="system-ui, Helvetica, Arial, sans-serif">',
    ]


def _legend(kinds: Sequence[str]) -> tuple[list[str], float]:
    """A mark and a word for each kind, in one row, and where it ends."""
    drawn, x = [], MARGIN
    for kind in kinds:
        look = _LOOKS.get(kind, _OTHER)
        drawn.append(_rect((x, 60, x + 20, 72), min(6.0, look.corner), look))
        name = _cut(kind, KIND_LENGTH) or "other"
        drawn.append(_text(x + 26, 70.5, name, 12, _QUIET))
        x += 26 + _width(name, 12) + 18
    return drawn, x


def _node(entity: Entity, name: str, box: Box) -> str:
    look = _LOOKS.get(entity.kind, _OTHER)
    told = f"{entity.name} ({entity.kind})" + (f": {entity.summary}" if entity.summary else "")
    words = _text((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + 5, name, NAME_PX, _INK, anchor="middle")
    return f"<g><title>{_xml(told)}</title>{_rect(box, look.corner, look)}{words}</g>"


def _label(box: Box, text: str) -> str:
    words = _text((box[0] + box[2]) / 2, box[3] - 4.5, text, LABEL_PX, _QUIET, anchor="middle")
    return _rect(box, 3.0) + words


def _rect(box: Box, corner: float, look: _Look | None = None) -> str:
    x, y, right, bottom = box
    place = f'x="{x:.1f}" y="{y:.1f}" width="{right - x:.1f}" height="{bottom - y:.1f}" rx="{corner:g}"'
    if look is None:
        return f'<rect {place} fill="#ffffff" fill-opacity="0.88"/>'
    return f'<rect {place} fill="{look.fill}" stroke="{look.border}" stroke-width="1.6"/>'


def _text(
    x: float, y: float, text: str, size: float, colour: str, *, anchor: str = "start", weight: int = 400
) -> str:
    heavy = f' font-weight="{weight}"' if weight != 400 else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}"{heavy}>'
        f"{_xml(text)}</text>"
    )


def _order(kind: str) -> tuple[int, str]:
    known = list(_LOOKS)
    return (known.index(kind) if kind in known else len(known), kind)


def _words(predicate: str) -> str:
    return predicate.replace("_", " ")


def _said(fact: Fact) -> str:
    return f"{fact.subject.name} {_words(fact.predicate)} {fact.object.name}"


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _width(text: str, size: float) -> float:
    """About how wide the text is in a sans-serif face; rather more."""
    return sum(_share(character) for character in text) * size


def _share(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in "iIjlftr.,:;'|!() ":
        return 0.36
    return 0.9 if character in "mwMW@%" else 0.7 if character.isupper() else 0.58


def _n(point: tuple[float, float]) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _xml(text: str) -> str:
    return escape(_FORBIDDEN.sub("\ufffd", text))
