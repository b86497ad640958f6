"""The graph as text in one canonical form: two graphs that hold the same give the same bytes.

JSON is for programs, with one entity, alias or fact a line; GraphML is for the programs in which people look
at graphs. Order is by id; nothing depends on the server's own numbers. Vectors are left out: they can be
made again. So are entities without an id of text, and facts about them: another program wrote those.

Ids are read first, in pages by the server's own numbers, and sorted here: the server's index has another
order than its ORDER BY. About 300 MB are held for a million of them. A graph that is written to meanwhile is
not of one instant: what is there throughout is in it once.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ConfigurationError
from bgtasks.graph.schema import VERSION

__all__ = ["export", "export_to"]

type Format = Literal["json", "graphml"]

NUMBERS = 20_000
"""Of the server's own numbers of nodes, those whose ids are read in one query."""

PAGE = 250
"""Entities whose properties, or whose facts, are read in one query."""

_LAST = "MATCH (x) RETURN max(id(x))"
# One row with all of a page: a server may be set to cut answers off after so many rows (RESULTSET_SIZE).
_IDS = "MATCH (x:Entity) WHERE id(x) >= $first AND id(x) < $end RETURN collect([x.id])"
_ALIASES = "MATCH (x:Alias) WHERE id(x) >= $first AND id(x) < $end RETURN collect([x.id, x.of])"
_CURSORS = "MATCH (x:Cursor) WHERE id(x) >= $first AND id(x) < $end RETURN collect([x.id, x.pos])"
_ENTITIES = """
UNWIND $ids AS id MATCH (e:Entity {id: id})
RETURN collect([e.id, e.name, e.key, e.kind, e.sum, e.n, e.created, e.seen])
"""
_FACTS = """
UNWIND $ids AS id MATCH (s:Entity {id: id})-[r:REL]->(o:Entity)
RETURN collect([s.id, r.p, o.id, r.fact, r.w, r.t, r.dies_at, r.n, r.conf, r.valid_from, r.src])
"""

_ENTITY = ("id", "name", "key", "kind", "sum", "n", "created", "seen")
_FACT = ("s", "p", "o", "fact", "w", "t", "dies_at", "n", "conf", "valid_from", "src")
_ENDS = ("s", "o")
_REAL = {"conf", "w", "dies_at"}
"""Properties that are no whole numbers, whatever the server made of them."""

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 may hold."""

_UNQUOTABLE = re.compile(f"{_FORBIDDEN.pattern}|\ufffd")

_TYPES = {
    **dict.fromkeys(("n", "created", "seen", "t", "valid_from"), "long"),
    **dict.fromkeys(_REAL, "double"),
}


async def export(
    graph: KnowledgeGraphLike, format: Format = "json", *, cursors: bool = False
) -> AsyncIterator[str]:
    """Parts of the text, in order; each ends with a line.

    Args:
        format: `json` or `graphml`.
        cursors: How far readers have come is written too; in JSON only. It differs between two Redis that
            were told the same.

    Raises:
        ConfigurationError: Another format.
        ResourceUnavailable: The graph does not answer; what came until then is not all.
    """
    if format not in ("json", "graphml"):
        raise ConfigurationError(f"format={format!r}: a graph is exported as json or graphml")
    async for part in _json(graph, cursors) if format == "json" else _graphml(graph):
        yield part


async def export_to(
    graph: KnowledgeGraphLike, path: str | Path, format: Format = "json", *, cursors: bool = False
) -> Path:
    """Write the text to a file, which is replaced only when all of it is written; its path.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Held open over all pages: each is written in a thread. Cancelled while a thread opens the file, we wait
    # for it: there is something to remove only then.
    opening = asyncio.create_task(
        asyncio.to_thread(unfinished.open, "w", encoding="utf-8", newline="\n"), name="bgtasks:export:open"
    )
    try:
        try:
            file = await asyncio.shield(opening)
            async for part in export(graph, format, cursors=cursors):
                await asyncio.to_thread(file.write, part)
        finally:
            await asyncio.to_thread((await opening).close)
        await asyncio.to_thread(unfinished.replace, path)
    except BaseException:
        await asyncio.to_thread(unfinished.unlink, True)
        raise
    return path


async def _json(graph: KnowledgeGraphLike, cursors: bool) -> AsyncIterator[str]:
    yield f'{{"format": "bgtasks graph", "version": {VERSION},\n'
    ids = await _ids(graph)
    lists = {
        "entities": _entities(graph, ids),
        "aliases": _pairs(graph, _ALIASES, ("id", "of")),
        "facts": _facts(graph, ids),
    }
    if cursors:
        lists["cursors"] = _pairs(graph, _CURSORS, ("id", "pos"))
    for name, pages in lists.items():
        before = f'"{name}": [\n'
        async for page in pages:
            yield before + ",\n".join(json.dumps(each, ensure_ascii=False) for each in page)
            before = ",\n"
        yield "\n],\n" if before == ",\n" else before + "],\n"
    yield '"end": true}\n'


async def _graphml(graph: KnowledgeGraphLike) -> AsyncIterator[str]:
    keys = [("node", name) for name in _ENTITY[1:]] + [("edge", name) for name in _FACT if name not in _ENDS]
    declared = "".join(
        f'  <key id="{of}.{name}" for="{of}" attr.name="{name}" attr.type="{_TYPES.get(name, "string")}"/>\n'
        for of, name in keys
    )
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
        f'{declared}  <graph id="graph" edgedefault="directed">\n'
    )
    ids = await _ids(graph)
    async for page in _entities(graph, ids):
        yield "".join(_element("node", f"id={_quoted(each['id'])}", each, _ENTITY[1:]) for each in page)
    async for page in _facts(graph, ids):
        yield "".join(
            _element("edge", f"source={_quoted(each['s'])} target={_quoted(each['o'])}", each, _FACT)
            for each in page
        )
    yield "  </graph>\n</graphml>\n"


def _element(tag: str, attributes: str, values: dict[str, Any], names: Sequence[str]) -> str:
    data = "".join(
        f'      <data key="{tag}.{name}">{_content(values[name])}</data>\n'
        for name in names
        if name not in _ENDS and name in values
    )
    return f"    <{tag} {attributes}>\n{data}    </{tag}>\n"


def _content(value: Any) -> str:
    text = " ".join(value) if isinstance(value, list) else str(value)
    return escape(_FORBIDDEN.sub("\ufffd", text), {"\r": "&#13;"})


def _quoted(identity: str) -> str:
    """The id as an attribute. Ids that differ still do: what XML cannot hold is written by its number."""
    return quoteattr(_UNQUOTABLE.sub(lambda found: f"\ufffd{ord(found[0]):04X}", identity))


async def _entities(graph: KnowledgeGraphLike, ids: Sequence[str]) -> AsyncIterator[list[dict[str, Any]]]:
    for start in range(0, len(ids), PAGE):
        rows = await _rows(graph, _ENTITIES, {"ids": ids[start : start + PAGE]})
        yield sorted((_record(_ENTITY, row) for row in rows), key=lambda each: each["id"])


async def _facts(graph: KnowledgeGraphLike, ids: Sequence[str]) -> AsyncIterator[list[dict[str, Any]]]:
    """Facts by their subjects, which come in order; those of one page of subjects are sorted here."""
    for start in range(0, len(ids), PAGE):
        if rows := await _rows(graph, _FACTS, {"ids": ids[start : start + PAGE]}):
            yield sorted(
                (_record(_FACT, row) for row in rows if isinstance(row[2], str)),
                key=lambda each: (each["s"], str(each.get("p", "")), each["o"]),
            )


async def _pairs(
    graph: KnowledgeGraphLike, cypher: str, names: tuple[str, str]
) -> AsyncIterator[list[dict[str, Any]]]:
    pairs = await _all(graph, cypher)
    for start in range(0, len(pairs), PAGE):
        yield [_record(names, row) for row in pairs[start : start + PAGE]]


async def _ids(graph: KnowledgeGraphLike) -> list[str]:
    return [row[0] for row in await _all(graph, _IDS)]


async def _all(graph: KnowledgeGraphLike, cypher: str) -> list[Sequence[Any]]:
    """The rows of all nodes of a label, sorted by the id that each begins with."""
    rows: list[Sequence[Any]] = []
    last = await graph.query(_LAST)
    for first in range(0, int(last[0][0] or 0) + 1 if last else 0, NUMBERS):
        rows += await _rows(graph, cypher, {"first": first, "end": first + NUMBERS})
    return await asyncio.to_thread(sorted, (row for row in rows if isinstance(row[0], str)), key=_first)


async def _rows(graph: KnowledgeGraphLike, cypher: str, params: dict[str, Any]) -> list[Sequence[Any]]:
    found = await graph.query(cypher, params)
    return list(found[0][0]) if found else []


def _first(row: Sequence[Any]) -> Any:
    return row[0]


def _record(names: Iterable[str], row: Sequence[Any]) -> dict[str, Any]:
    """The row by name, without what is not there, each number in the one form that its property has."""
    return {
        name: _number(name, value) for name, value in zip(names, row, strict=True) if value not in (None, [])
    }


def _number(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if name in _REAL:
        return float(value)
    return int(value) if float(value).is_integer() else value
