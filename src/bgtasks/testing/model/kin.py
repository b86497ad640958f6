"""Who is whose sister, dog or neighbour, and what is called how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bgtasks.testing.model.names import is_name, name_at
from bgtasks.testing.model.phrases import bare
from bgtasks.testing.model.words import ANIMALS, KIN, word_set

__all__ = ["Link", "kin_at", "kin_predicate", "links"]

type Link = tuple[str, str, str, str]
"""Owner ("" for the author), predicate, the name, and its kind."""

_SAME = {
    "mum": "mother", "mom": "mother", "mama": "mother", "dad": "father", "papa": "father",
    "gran": "grandmother", "granny": "grandmother", "grandma": "grandmother", "grandpa": "grandfather",
    "fiance": "fiancé", "fiancee": "fiancé", "fiancée": "fiancé", "kid": "child", "baby": "child",
    "flatmate": "roommate",
}  # fmt: skip
_PREDICATES = {
    "husband": "married_to", "wife": "married_to", "fiancé": "engaged_to", "friend": "friend_of",
    "buddy": "friend_of", "pal": "friend_of", "bestie": "friend_of", "neighbour": "neighbour_of",
    "neighbor": "neighbour_of",
}  # fmt: skip
_BEFORE = word_set("""
    older younger elder best little big good close old dear late own new eldest oldest youngest twin
    great
""")
_PLURAL = {"kids", "children", "parents", "family", "grandparents", "siblings", "sisters", "brothers", "sons",
           "daughters", "grandkids"}  # fmt: skip


def kin_predicate(word: str) -> str:
    """What `my sister Ewa` states: `has_sister`; `has_pet` for animals."""
    if word in ANIMALS:
        return "has_pet"
    word = _SAME.get(word, word)
    return _PREDICATES.get(word, f"has_{word}")


def kin_at(words: Sequence[str], at: int) -> tuple[str, str | None, int] | None:
    """`my older sister Ewa` at this word: the relation's word, the name if there is one, where it ends."""
    if bare(words[at]) not in ("my", "our"):
        return None
    end = at + 1
    while end < len(words) and bare(words[end]) in _BEFORE and bare(words[end]) not in KIN:
        end += 1
    if end >= len(words):
        return None
    word = bare(words[end])
    if word not in KIN and word not in ANIMALS and word not in _PLURAL:
        return None
    follows = end + 1
    if word not in _PLURAL and follows < len(words):
        if bare(words[follows]) in ("called", "named") and follows + 1 < len(words):
            follows += 1
        found = name_at(words, follows)
        if found is not None and (not words[end].endswith(",") or words[found[1] - 1].endswith(",")):
            return word, found[0], found[1]
    return word, None, end + 1


def links(words: Sequence[str]) -> Iterator[Link]:
    """All such relations in a clause, wherever they are in it."""
    for at, word in enumerate(words):
        said = bare(word)
        if said in ("my", "our"):
            found = kin_at(words, at)
            if found is not None and found[1] is not None:
                yield "", kin_predicate(found[0]), found[1], _kind(found[0])
        elif said.endswith("'s") and is_name(word.strip(",.")[:-2]) and at + 2 < len(words):
            kin = bare(words[at + 1])
            named = (
                name_at(words, at + 2) if kin in KIN | ANIMALS and not words[at + 1].endswith(",") else None
            )
            if named is not None:
                yield word.strip(",.")[:-2], kin_predicate(kin), named[0], _kind(kin)
        elif said in ("is", "are") and at + 2 < len(words) and bare(words[at + 1]) in ("my", "our"):
            found = kin_at(words, at + 1)
            named = name_at(words, 0)
            if found is not None and found[1] is None and named is not None and named[1] == at:
                yield "", kin_predicate(found[0]), named[0], _kind(found[0])
        elif (
            said in ("called", "named") and at >= 1 and bare(words[at - 1]) in ANIMALS and at + 1 < len(words)
        ):
            named = name_at(words, at + 1)
            if named is not None and {bare(before) for before in words[:at]} & {
                "have",
                "got",
                "adopted",
                "our",
            }:
                yield "", "has_pet", named[0], "animal"


def _kind(word: str) -> str:
    return "animal" if word in ANIMALS else "person"
