"""Finding entities by words and by meaning, and what is known around one of them.

Entities that are called exactly so come first. What else counts is how well the words of name and summary
fit, compared with the entity that they fit best, and how near the vector is, where one is given: by its rank,
since distances of different models mean different things. Of those that fit about alike, what was spoken of
lately comes first:

    score = exact + (words + meaning) * (ALPHA + (1 - ALPHA) * w)

    exact    EXACT for an entity that is called exactly so, else 0
    words    the full-text score as a share of the best one, from 0 to 1
    meaning  RANK / (RANK + rank - 1), from 1 for the nearest vector downwards; 0 beyond those asked for
    w        the weight of the entity's strongest fact, faded to now; 0 without facts

So recency decides between entities whose words and meaning differ by less than a tenth, and no others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import InvalidMessage
from bgtasks.graph.clean import clean_text
from bgtasks.graph.facts import ALIVE, FACT, WEIGHT, Entity, Fact, fact, milliseconds
from bgtasks.graph.schema import KINDS, key_of
from bgtasks.graph.vectors import nearest_entities
from bgtasks.graph.weight import HALF_LIFE

__all__ = ["ALPHA", "Found", "Neighbourhood", "neighbourhood", "search"]

ALPHA = 0.9
"""What is left of words and meaning of an entity whose facts have all faded."""

EXACT = 3.0
"""More than words and meaning together can be."""

RANK = 10
"""The rank after which a vector counts half; the larger, the less a first place counts."""

WORDS = 24
"""Words of a text that are looked for; what comes after them is not."""

FRONTIER = 100
"""Entities that a neighbourhood spreads from at each step: those with the strongest facts."""

_JOINERS = "\u200c\u200d"
"""They stand within words, of Persian and Malayalam for instance."""

_COMMON = frozenset(
    """
    a about all am an and any are as at be been but by can did do does for from had has have he her him
    his how i if in is it its me my no not of on or our she so than that the their them then there
    these they this to too us was we were what when where which who whom whose why will with you your
    """.split()  # noqa: SIM905 - sixty strings would fill a page
)
"""Words that nearly every summary has. Left out, unless the text has no others."""

_FULL_TEXT = """
CALL db.idx.fulltext.queryNodes('Entity', $words) YIELD node, score
RETURN node.id, score ORDER BY score DESC, node.n DESC, node.id LIMIT $limit
"""
# The id is taken out of the alias first: see graph/apply.py.
_NAMED = """
UNWIND $ids AS id MATCH (a:Alias {id: id}) WITH DISTINCT a.of AS of MATCH (e:Entity {id: of})
RETURN e.id AS id, e.name AS name, e.kind AS kind, e.sum AS sum, e.n AS n
UNION MATCH (e:Entity {key: $key})
RETURN e.id AS id, e.name AS name, e.kind AS kind, e.sum AS sum, e.n AS n
UNION MATCH (e:Entity {id: $id})
RETURN e.id AS id, e.name AS name, e.kind AS kind, e.sum AS sum, e.n AS n
"""
_WEIGHED = f"""
UNWIND $ids AS id MATCH (e:Entity {{id: id}})
OPTIONAL MATCH (e)-[r:REL]-(:Entity)
RETURN e.id, e.name, e.kind, e.sum, max({WEIGHT})
"""
_AROUND = f"""
UNWIND $ids AS id MATCH (s:Entity {{id: id}})-[r:REL]->(o:Entity) WHERE {ALIVE}
WITH s, r, o, {WEIGHT} AS w ORDER BY w DESC, s.id, r.p, o.id LIMIT $limit
RETURN {FACT}
"""
_TOWARDS = _AROUND.replace(
    "(s:Entity {id: id})-[r:REL]->(o:Entity)", "(o:Entity {id: id})<-[r:REL]-(s:Entity)"
)


@dataclass(frozen=True, slots=True)
class Found:
    """An entity that a search found. Scores of one search can be compared, those of two cannot."""

    id: str
    name: str
    kind: str
    summary: str
    score: float


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """An entity and the facts around it, the heaviest first."""

    entity: Entity
    facts: list[Fact]


async def search(
    graph: KnowledgeGraphLike,
    text: str,
    *,
    vector: Sequence[float] | None = None,
    k: int = 10,
    now: datetime,
    half_life: float = HALF_LIFE,
) -> list[Found]:
    """The `k` entities that fit best, the best first.

    However large `k` is, words find no more than 200 and the vector no more than 200, beside those that are
    called exactly so.

    Args:
        text: Words in any order, any of which may occur; signs mean nothing. A name that is written exactly
            so ranks first. Of words with letters outside ASCII, the usual ways to write them are found.
        vector: The embedding of the text, by the model that the graph's vectors are of.
        half_life: Milliseconds in which a weight halves.

    Raises:
        ConfigurationError: The vector has another dimension than the graph's.
        ResourceUnavailable: The graph does not answer.
    """
    if k < 1:
        return []
    pool = min(200, max(20, 4 * k))
    exact = {entity.id: EXACT for entity in await _called(graph, text)}
    fit = dict.fromkeys(exact, 0.0) | await _by_words(graph, text, pool)
    near = [] if vector is None else await nearest_entities(graph, vector, pool)
    for behind, identity in enumerate(near):
        fit[identity] = fit.get(identity, 0.0) + RANK / (RANK + behind)
    if not fit:
        return []
    order = {identity: place for place, identity in enumerate(fit)}  # of equals, the one most is said of
    params = {"ids": list(fit), "now": milliseconds(now), "half_life": float(half_life)}
    found = [
        Found(
            id=str(identity),
            name=str(name or identity),
            kind=str(kind or ""),
            summary=str(summary or ""),
            score=exact.get(identity, 0.0) + fit[identity] * (ALPHA + (1 - ALPHA) * float(w or 0.0)),
        )
        for identity, name, kind, summary, w in await graph.query(_WEIGHED, params)
    ]
    return sorted(found, key=lambda each: (-each.score, order[each.id]))[:k]


async def neighbourhood(
    graph: KnowledgeGraphLike,
    entity: str,
    *,
    depth: int = 1,
    limit: int = 50,
    now: datetime,
    half_life: float = HALF_LIFE,
) -> Neighbourhood | None:
    """What is known around an entity; None if there is none called so.

    Args:
        entity: Its id, an alias of it, or a name. Of several with one name, the one most is said of.
        depth: Steps from the entity, 1 to 4. A step goes on from the hundred entities with the
            heaviest facts.
        limit: Facts in all, the heaviest first. It does not narrow what a step goes on from.
        half_life: Milliseconds in which a weight halves.

    Raises:
        InvalidMessage: The depth is none.
        ResourceUnavailable: The graph does not answer.
    """
    if not 1 <= depth <= 4:
        raise InvalidMessage(f"depth={depth}: a neighbourhood reaches 1 to 4 steps")
    found = await _called(graph, entity)
    if not found:
        return None
    # No fewer than a step goes on from: behind a light fact there may be a heavy one.
    params = {"now": milliseconds(now), "half_life": float(half_life), "limit": max(limit, FRONTIER)}
    facts: dict[tuple[str, str, str], Fact] = {}
    seen, frontier = {found[0].id}, [found[0].id]
    for _ in range(depth):
        fresh: dict[str, float] = {}
        for query in (_AROUND, _TOWARDS):
            for row in await graph.query(query, {**params, "ids": frontier}):
                each = fact(row)
                facts[each.subject.id, each.predicate, each.object.id] = each
                for end in (each.subject.id, each.object.id):
                    fresh[end] = max(each.weight, fresh.get(end, 0.0))
        frontier = sorted(fresh.keys() - seen, key=lambda end: (-fresh[end], end))[:FRONTIER]
        seen.update(frontier)
        if not frontier:
            break
    heaviest = sorted(facts.items(), key=lambda item: (-item[1].weight, item[0]))
    return Neighbourhood(found[0], [each for _, each in heaviest[: max(0, limit)]])


async def _called(graph: KnowledgeGraphLike, text: str) -> list[Entity]:
    """Entities with this id, alias or name, the one most is said of first."""
    given, key = clean_text(text), key_of(text)
    if not key:
        return []
    ids = [given, *(f"{kind}:{key}" for kind in KINDS)]
    rows = await graph.query(_NAMED, {"ids": ids, "key": key, "id": given})
    by_id = {row[0]: row for row in rows}
    best = sorted(by_id.values(), key=lambda row: (row[0] != given, -(row[4] or 0), row[0]))
    return [
        Entity(str(i), str(name or i), str(kind or ""), str(about or "")) for i, name, kind, about, _ in best
    ]


async def _by_words(graph: KnowledgeGraphLike, text: str, limit: int) -> dict[str, float]:
    """How well the words fit, from 0 to 1 for the best, which comes first."""
    words = _query(text)
    rows = await graph.query(_FULL_TEXT, {"words": words, "limit": limit}) if words else []
    best = max((float(score) for _, score in rows), default=0.0) or 1.0
    return {str(identity): float(score) / best for identity, score in rows}


def _query(text: str) -> str:
    """The text as a query of RediSearch for any of its words; without any sign that means something there."""
    words = dict.fromkeys(_words(text))
    telling = [word for word in words if word not in _COMMON] or list(words)
    return "|".join(form for word in telling[:WORDS] for form in _forms(word))


def _words(text: str) -> list[str]:
    """Runs of letters, digits and marks, in lower case; vowel signs, points and accents belong to a word."""
    composed = unicodedata.normalize("NFC", clean_text(text).lower())
    runs = "".join(sign if _is_part(sign) else " " for sign in composed).split()
    return [run.strip(_JOINERS) for run in runs if any(map(str.isalnum, run))]


def _is_part(sign: str) -> bool:
    return sign.isalnum() or sign == "_" or sign in _JOINERS or unicodedata.category(sign).startswith("M")


def _forms(word: str) -> list[str]:
    """Ways to write the word: the server folds the case of ASCII letters only, and composes nothing."""
    if word.isascii():
        return [word]
    cases = (word, word.capitalize(), word.upper())
    forms = dict.fromkeys(unicodedata.normalize(form, each) for form in ("NFC", "NFD") for each in cases)
    return [form for form in forms if all(map(_is_part, form))]
