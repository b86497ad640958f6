"""Who or what a clause is about, and where its verb is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bgtasks.testing.model.kin import kin_at
from bgtasks.testing.model.names import TITLES, known_word, name_at
from bgtasks.testing.model.phrases import bare
from bgtasks.testing.model.verbs import VERBS
from bgtasks.testing.model.words import ANIMALS, FILLERS, MONTHS, OPENERS, WEEKDAYS, word_set

__all__ = ["Main", "Subject", "main_of", "opened", "subject_of"]

_TIMES = (
    word_set("""
    last this next week weekend month year night morning afternoon evening summer winter spring
    autumn fall a few couple of days weeks months years ago in on the two three past other day
    yesterday today back at over during one since then from now friday's first for time
""")
    | WEEKDAYS
    | frozenset(MONTHS)
)
_BE = word_set("am is are was were been be being")
_AFTER_DO = word_set("""
    not remember think know agree hope feel need understand appreciate have
""")
_MODAL = word_set("will would can could should might may must shall")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a clause is about.

    Attributes:
        name: The author's, for the first person.
        kind: `person` or `animal`.
        first: Whether it is the first person: its verbs are `live`, not `lives`.
        end: Where the words after it begin.
        sure: Whether it is somebody known; a name that nobody introduced may be none.
        left_out: Whether the author left out `I`: "Went to the park."
    """

    name: str
    kind: str
    first: bool
    end: int
    sure: bool = True
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class Main:
    """The verb of a clause: where it is, and in what company."""

    at: int
    be: bool
    have: bool
    negated: bool
    wish: bool


def opened(words: Sequence[str], known: Collection[str]) -> list[str]:
    """The clause without `Well, yesterday, Tom,` at its beginning."""
    at = 0
    while at < len(words) - 1:
        word = bare(words[at])
        called = words[at].endswith(",") and (known_word(words[at], known) or word.startswith("@"))
        if word not in OPENERS and not called and not word.startswith("@"):
            break
        at += 1
    rest = list(words[at:])
    if len(rest) > 3 and (told := name_at(rest)) is not None and rest[told[1] : told[1] + 1] == ["says"]:
        rest = rest[told[1] + (2 if rest[told[1] + 1 : told[1] + 2] == ["that"] else 1) :]
    for place, word in enumerate(rest[:7]):
        if bare(word) in ("i", "we", "my"):
            if all(bare(before) in _TIMES for before in rest[:place]):
                return rest[place:]
            break
    return rest


def subject_of(words: Sequence[str], author: str, known: Collection[str], *, begins: bool) -> Subject | None:
    """The subject of a clause whose openers are gone; None if the rules cannot tell.

    Args:
        words: The clause.
        author: Who wrote it.
        known: Names of people that may be meant.
        begins: Whether it begins a sentence, so that the author may have left out `I`.
    """
    if not words:
        return None
    first = bare(words[0])
    if first in ("i", "we"):
        return Subject(author, "person", True, 1)
    if len(words) > 2 and bare(words[1]) == "and" and bare(words[2]) in ("i", "me"):
        return Subject(author, "person", True, 3)
    if first in ("me", "myself") and len(words) > 3 and bare(words[1]) == "and":
        return None
    if (kin := kin_at(words, 0)) is not None:
        if bare(words[min(kin[2], len(words) - 1)]) == "and":
            return Subject(author, "person", True, kin[2] + 2) if "I" in words[kin[2] : kin[2] + 2] else None
        kind = "animal" if kin[0] in ANIMALS else "person"
        return Subject(kin[1] or f"{author}'s {kin[0]}", kind, kin[0].endswith("s"), kin[2])
    if (named := name_at(words)) is not None and not words[named[1] - 1].endswith(","):
        several = len(named[0].split()) > 1 and bare(words[0]) not in TITLES
        sure = known_word(words[0], known) or bare(words[0]) in TITLES or several
        if begins and not sure and (left_out := _left_out(words, author)) is not None:
            return left_out
        if bare(words[min(named[1], len(words) - 1)]) == "and":
            return None
        return Subject(named[0], "person", False, named[1], sure)
    if begins:
        return _left_out(words, author)
    return None


def _left_out(words: Sequence[str], author: str) -> Subject | None:
    at = 0
    while at < len(words) and bare(words[at]) in FILLERS:
        at += 1
    if at >= len(words):
        return None
    word = bare(words[at])
    past = any(word in verb.past and word not in verb.plain | verb.doing for verb in VERBS.get(word, ()))
    if word == "been" or (past and word not in ("used", "made", "based")):
        return Subject(author, "person", True, at, left_out=True)
    return None


def main_of(words: Sequence[str], at: int) -> Main | None:
    """The main verb from this word on; None if it only may be, might have been, or has to be."""
    be = have = negated = wish = False
    while at < len(words):
        word = bare(words[at])
        following = bare(words[at + 1]) if at + 1 < len(words) else ""
        if word in ("not", "never") or (word == "no" and following == "longer"):
            negated = True
            at += 1 if word == "no" else 0
        elif word == "been" and following == "to":
            return Main(at, False, have, negated, wish)
        elif word in _BE:
            be = True
        elif word in ("have", "has", "had") and not have:
            nearest = next((bare(each) for each in words[at + 1 : at + 4] if bare(each) not in FILLERS), "")
            if nearest == "to":
                return None
            if nearest not in ("been", "had", "not", "never") and not _participle(nearest):
                return Main(at, be, have, negated, wish)
            have = True
        elif word in ("do", "does", "did") and (following in VERBS or following in _AFTER_DO):
            pass
        elif word in ("would", "'d") and following in ("love", "like"):
            wish = True
        elif word in _MODAL:
            return None
        elif word not in FILLERS and word not in ("ever", "long"):
            return Main(at, be, have, negated, wish)
        at += 1
    return None


def _participle(word: str) -> bool:
    return any(word in verb.past for verb in VERBS.get(word, ()))
