"""Where things are and on which day they take place: `The tent is in the shed`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bgtasks.testing.model.kinds import kind_of
from bgtasks.testing.model.phrases import bare, date, thing
from bgtasks.testing.model.words import DETERMINERS, ENDS, FILLERS, PRONOUNS, word_set

__all__ = ["whereabouts"]

_WHERE = {"in": "is_in", "at": "is_at", "under": "is_under", "behind": "is_behind", "on": "is_on"}
_MOVES = word_set("moved moves starts begins arrives comes expected delayed set")


def whereabouts(said: Sequence[str]) -> Iterator[tuple[str, str, str, str, str]]:
    """What a clause says of a thing, as subject, its kind, predicate, object, its kind.

    `The tent is in the shed`, `Harvest Hour moves to Saturday 10 October`. Not of people.
    """
    lowered = [bare(word) for word in said]
    verb = next((at for at, word in enumerate(lowered[:7]) if word in ("is", "are") or word in _MOVES), 0)
    if verb == 0 or any(word in PRONOUNS and word not in ("my", "our") for word in lowered[:verb]):
        return
    owned = lowered[0] in DETERMINERS - {"a", "an"}
    if not owned and not said[0][0].isupper():
        return
    one = _named_thing(said[:verb])
    if (
        one is None
        or one[1] != verb
        or len(one[0].split()) > 4
        or any(each.endswith(",") for each in said[:verb])
    ):
        return
    at = verb + 1
    while at < len(said) and (lowered[at] in FILLERS or lowered[at] in _MOVES):
        at += 1
    if at + 1 >= len(said) or "not" in lowered[verb : at + 1]:
        return
    joint, after = lowered[at], said[at + 1 :]
    kind = kind_of(one[0], "object")
    if joint in ("on", "to", "for", "by") and (day := date(after)) is not None:
        yield one[0], kind, "is_on", day, "other"
    elif joint in _WHERE and lowered[verb] in ("is", "are"):
        where = thing(after)
        if where is not None and joint != "on" and kind_of(where[0], "") in ("place", "organisation"):
            yield one[0], kind, _WHERE[joint], where[0], "place"


def _named_thing(said: Sequence[str]) -> tuple[str, int] | None:
    """The thing that all these words name: `The autumn work day`, `Harvest Hour`."""
    at = 1 if bare(said[0]) in DETERMINERS else 0
    named = [word.strip("\"'") for word in said[at:]]
    ordinary = all(
        bare(word) not in ENDS and word.replace("-", "").replace("'", "").isalpha() for word in named
    )
    if len(named) == 1:
        return thing(said)
    return (" ".join(named), len(said)) if ordinary and 2 <= len(named) <= 3 else None
