"""The phrase at the beginning of some words: a thing, a deed, a date. Better none than a doubtful one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bgtasks.testing.model.verbs import VERBS
from bgtasks.testing.model.words import (
    DETERMINERS,
    EMPTY_HEADS,
    ENDS,
    FILLERS,
    FOREIGN,
    LEFT_OUT,
    MONTHS,
    NUMBERS,
    PRAISE,
    PRONOUNS,
    WEEKDAYS,
    word_set,
)

__all__ = ["date", "deed", "thing", "things"]

MOST_WORDS = 5

_ED_NOUNS = word_set("""
    bed seed seeds weed wed feed sled speed shed breed greed creed med need
""")
_VAGUE_DEEDS = word_set("""
    be do have see know get hear say tell thank help share keep let make give go-on feel think talk
    show put hug chat hang catch ask look come wait find happen believe stay end hit face take turn
    try mention check sit stand need want understand admit express remember forget bring add use
    move
""")
_VAGUE_DOINGS = word_set("""
    being having seeing hearing getting making helping knowing doing sharing spending giving feeling
    looking finding trying talking taking bringing keeping going coming showing putting telling
    thinking letting watching using becoming catching hanging creating expressing chasing stepping
    pushing overcoming saying working adding losing caring setting turning moving wanting asking
    reaching seeking pursuing
""")
_INSIDE = word_set("to at in for on with about")


def bare(word: str) -> str:
    """The word in small letters, without what is written after it."""
    return word.strip(",.!?:;\"'()").lower()


def thing(words: Sequence[str], *, proper: bool = False) -> tuple[str, int] | None:
    """The thing that these words begin with, without article and praise, and how many words it took.

    None where it would be a pronoun, a matter without substance ("a great time"), or longer than five words.

    Args:
        words: What follows the verb.
        proper: Whether only a name will do.
    """
    at = 0
    while at < len(words):
        word = bare(words[at])
        if words[at].startswith('"'):
            break
        skipped = word in DETERMINERS or word in LEFT_OUT or word in FILLERS
        if not skipped and not (word == "of" and at > 0):
            break
        if words[at].endswith(",") and word not in LEFT_OUT:
            return None
        at += 1
    if at < len(words) and words[at].startswith('"'):
        return _quoted(words, at)
    if at < len(words) and (date(words[at:]) is not None or words[at].lower().rstrip("s,.") in WEEKDAYS):
        return None
    if at + 1 < len(words) and bare(words[at]).endswith("ing") and words[at].islower():
        doing = bare(words[at])
        if doing == "doing" or (doing not in _VAGUE_DOINGS and bare(words[at + 1]) in DETERMINERS):
            done = thing(words[at + 1 :])
            if done is None or len(done[0].split()) > 4:
                return None
            return (done[0] if doing == "doing" else f"{doing} {done[0]}"), at + 1 + done[1]
    end = _end_of(words, at)
    while end > at and _adds_nothing(words[end - 1]):
        end -= 1
    # The rest of a bracket is no word.
    taken = [kept for word in words[at:end] if (kept := word.strip(',.!?:;"()'))]
    if not taken or len(taken) > MOST_WORDS or not _has_substance(taken):
        return None
    if proper and not taken[0][0].isupper():
        return None
    return " ".join(taken), end


def things(words: Sequence[str], *, proper: bool = False) -> list[str]:
    """The things of a list: `pottery, running and old maps`."""
    found: list[str] = []
    at = 0
    while at < len(words) and len(found) < 4:
        one = thing(words[at:], proper=proper)
        if one is None:
            break
        found.append(one[0])
        at += one[1]
        listed = words[at - 1].endswith(",")
        if at < len(words) and bare(words[at]) in ("and", "&", "or"):
            at, listed = at + 1, True
        if not listed:
            break
        following = None if at >= len(words) or _is_verb(words[at]) else thing(words[at:])
        if following is not None and following[0].split()[0].endswith("ed"):
            break
        if following is not None and at + following[1] < len(words) and _other_form(following[0], found[0]):
            break
        if following is None or (
            at + following[1] < len(words) and not _list_goes_on(words, at + following[1])
        ):
            break
    return found


def deed(words: Sequence[str]) -> str | None:
    """What is to be done, beginning with a plain verb: `open a dance studio`. At most five words."""
    if (
        not words
        or words[0] in DETERMINERS
        or not words[0].isalpha()
        or not words[0].islower()
        or bare(words[0]) in _VAGUE_DEEDS
    ):
        return None
    verb = words[0]
    if verb in ENDS or verb in PRONOUNS or verb in FILLERS or verb.endswith(("ing", "ed", "ly")):
        return None
    at, joint = 1, ""
    while at < len(words) and bare(words[at]) in FILLERS | {"back", "up", "out"}:
        joint += f" {words[at]}" if bare(words[at]) in ("back", "up", "out") else ""
        at += 1
    if at < len(words) and bare(words[at]) in _INSIDE:
        joint += f" {words[at]}"
        at += 1
    object_ = thing(words[at:])
    if object_ is None or len(object_[0].split()) > 4:
        return None
    if joint and object_[0].endswith("ing") and " " not in object_[0]:
        return None
    return f"{verb}{joint} {object_[0]}"


_DATE = re.compile(
    r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,? )?"
    r"(?:\d{1,2}(?:st|nd|rd|th)?(?: to \d{1,2}(?:st|nd|rd|th)?)? (?:of )?MONTH"
    r"|MONTH \d{1,2}(?:st|nd|rd|th)?\b)"
    r"(?:,? \d{4})?".replace("MONTH", f"(?:{'|'.join(MONTHS)})"),
    re.IGNORECASE,
)


def date(words: Sequence[str]) -> str | None:
    """The date that these words begin with, as it is written: `Saturday 3 October`."""
    found = _DATE.match(" ".join(words[:7]))
    return None if found is None else found.group().replace(",", "")


def _end_of(words: Sequence[str], at: int) -> int:
    end = at
    while end < len(words):
        word = bare(words[end])
        if word == "of":
            following = bare(words[end + 1]) if end + 1 < len(words) else ""
            if end == at or following in PRONOUNS or following in FOREIGN or not following:
                break
        elif (
            word in ENDS
            or word in PRONOUNS
            or (word in FOREIGN)
            or words[end].startswith('"')
            or (word in DETERMINERS and bare(words[end - 1]) != "of")
            or (end > at and (word in WEEKDAYS or (word in NUMBERS and bare(words[end - 1]) != "of")))
        ):
            break
        end += 1
        if words[end - 1].endswith((",", ".", "!", "?", ":", ";")) or words[end - 1].endswith(")"):
            break
    return end


def _quoted(words: Sequence[str], at: int) -> tuple[str, int] | None:
    for end in range(at + 1, min(len(words), at + 7) + 1):
        if words[end - 1].rstrip(",.!?").endswith('"') and (end - 1 > at or len(words[at]) > 3):
            text = " ".join(words[at:end]).strip(' ,.!?"')
            return (text, end) if text else None
    return None


def _adds_nothing(word: str) -> bool:
    said = bare(word)
    return (
        said in PRAISE or said in FILLERS or said == "of" or (said.endswith("ly") and said not in _LY_NOUNS)
    )


_LY_NOUNS = word_set("""
    family jelly belly bully ally assembly italy rally supply butterfly july fly lily
""")


def _has_substance(taken: Sequence[str]) -> bool:
    lowered = [word.lower() for word in taken]
    head = lowered[lowered.index("of") - 1] if "of" in lowered[1:] else lowered[-1]
    if len(taken) > 1 and all(word[0].isupper() for word in taken):
        return True
    if all(word in NUMBERS for word in lowered):
        return False
    if head in EMPTY_HEADS or head in PRAISE or lowered[-1] in EMPTY_HEADS | PRONOUNS:
        return False
    if head.endswith("ed") and head not in _ED_NOUNS:
        return False
    if lowered[0] in _VAGUE_DOINGS:
        return False
    if any(word in PRONOUNS or word in FOREIGN for word in lowered):
        return False
    if any(word.endswith(("'s", "'re", "'ll", "'ve", "n't")) for word in lowered[-1:]):
        return False
    return len(head) > 2 and head[0].isalpha()


def _other_form(following: str, first: str) -> bool:
    """Whether one is a doing and the other is not: `policies and writing about them` is no list of two."""
    return following.split()[0].endswith("ing") and not first.split()[0].endswith("ing")


def _is_verb(word: str) -> bool:
    said = bare(word)
    return word.islower() and any(said in verb.plain | verb.third | verb.past for verb in VERBS.get(said, ()))


def _list_goes_on(words: Sequence[str], at: int) -> bool:
    return words[at - 1].endswith(",") or bare(words[at]) in (
        ENDS - {"is", "was", "are", "were", "am", "be", "been", "has", "have", "had", "makes", "made"}
    )
