"""One relation that a sentence states, and its wording."""

from __future__ import annotations

from dataclasses import dataclass

from bgtasks.testing.model.words import word_set

__all__ = ["Stated", "worded"]


@dataclass(frozen=True, slots=True)
class Stated:
    """A relation: `Walter Pettifer` (person) `lives_in` `Uppsala` (place).

    Attributes:
        sentence: The relation as a sentence of its own: "Walter Pettifer lives in Uppsala."
        since: The day from which it holds, as `YYYY-MM-DD`, if the message says one.
        confidence: How sure the rule is, from 0 to 1.
    """

    subject: str
    subject_kind: str
    predicate: str
    object: str
    object_kind: str
    sentence: str
    since: str | None = None
    confidence: float = 0.9


_WITH_IS = word_set("""
    married_to engaged_to allergic_to passionate_about interested_in excited_about proud_of good_at
    member_of in_charge_of thankful_for busy_with named_after
""")
_WORDINGS = {
    "is_a": "{s} is {article} {o}.",
    "friend_of": "{s} is a friend of {o}.",
    "neighbour_of": "{s} is a neighbour of {o}.",
    "member_of": "{s} is a member of {o}.",
    "has": "{s} has {o}.",
    "shared_photo_of": "{s} shared a photo of {o}.",
    "has_pet": "{s} has a pet called {o}.",
    "took_part_in": "{s} took part in {o}.",
    "visited": "{s} went to {o}.",
    "was_given": "{s} was given {o}.",
}


def worded(subject: str, predicate: str, object_: str) -> str:
    """The relation as a sentence in English, more or less."""
    article = "an" if object_[:1].lower() in "aeiou" else "a"
    if predicate in _WORDINGS:
        return _WORDINGS[predicate].format(s=subject, o=object_, article=article)
    if predicate.startswith("has_"):
        return f"{subject}'s {predicate.removeprefix('has_').replace('_', ' ')} is {object_}."
    said = predicate.replace("_", " ")
    return f"{subject} {'is ' if predicate in _WITH_IS else ''}{said} {object_}."
