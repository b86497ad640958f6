"""Which words are names, and which longer name a short one stands for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from bgtasks.testing.model.words import (
    DETERMINERS,
    ENDS,
    FILLERS,
    KIN,
    MONTHS,
    OPENERS,
    PRAISE,
    PRONOUNS,
    WEEKDAYS,
    word_set,
)

__all__ = ["is_name", "name_at", "resolve"]

TITLES = word_set("dr mr mrs ms miss prof aunt auntie uncle sir lady")

_NOT = (
    PRONOUNS | ENDS | FILLERS | OPENERS | PRAISE | WEEKDAYS | DETERMINERS | frozenset(MONTHS) | KIN
) | word_set("""
    lgbtq lgbtq+ english god christmas easter tv ok usa diy pm am art music dance
""")

_SHORT_FOR = {
    "kasia": "katarzyna", "kat": "katarzyna", "tom": "thomas", "fola": "folákẹ́", "mel": "melanie",
    "mike": "michael", "kate": "katherine", "liz": "elizabeth", "bob": "robert", "rob": "robert",
    "bill": "william", "will": "william", "jim": "james", "joe": "joseph", "dan": "daniel", "sam": "samuel",
    "ben": "benjamin", "alex": "alexander", "tony": "anthony", "steve": "stephen", "jen": "jennifer",
    "nick": "nicholas", "dave": "david", "matt": "matthew", "andy": "andrew", "chris": "christopher",
    "ed": "edward", "tim": "timothy", "greg": "gregory", "beth": "elizabeth", "sue": "susan",
}  # fmt: skip


def is_name(word: str) -> bool:
    """Whether the word is written as a name and is none of the words that begin sentences."""
    bare = word.strip(",.'\"!")
    if len(bare) < 2 or not bare[0].isupper() or bare.lower() in _NOT or bare.isupper():
        return False
    return all(letter.isalpha() or letter in "-'̣̱́̀̂̃̈" for letter in bare) and not bare.endswith("'s")


def name_at(words: Sequence[str], at: int = 0) -> tuple[str, int] | None:
    """The name that begins at this word, of three words at most, and where it ends."""
    end = at
    if end < len(words) and words[end].lower() in TITLES and words[end][0].isupper():
        end += 1
    first = end
    while end < len(words) and end - first < 3 and is_name(words[end]):
        end += 1
        if words[end - 1].endswith((",", ".")):
            break
    if end == first:
        return None
    return " ".join(word.strip(",.!'\"") for word in words[at:end]), end


def resolve(name: str, known: Iterable[str]) -> str:
    """The one fuller name among the known that `name` is short for; `name`, if there is none or several.

    `Walter` is `Walter Pettifer` where no other Walter is known, and so are `@walter`, `Walter P.` and
    `wpettifer`; `Kasia Nowak` is `Katarzyna Nowak`, since that is a usual short form.
    """
    names = set(known)
    fuller = _fuller(name, names)
    if len(fuller) > 1:
        fuller = {each for each in fuller if not _fuller(each, names)}
    return next(iter(fuller)) if len(fuller) == 1 else name


def _fuller(name: str, known: Iterable[str]) -> set[str]:
    short = _parts(name)
    size = sum(map(len, short))
    found = set()
    for each in known:
        full = _parts(each)
        if (
            each != name
            and sum(map(len, full)) > size - (len(short) == 1 < len(full))
            and _may_be(short, full)
        ):
            found.add(each)
    return found


def _parts(name: str) -> list[str]:
    parts = name.lower().lstrip("@").replace(".", " ").replace("_", " ").split()
    return [part for part in parts if part not in TITLES] or parts


def _may_be(short: Sequence[str], full: Sequence[str]) -> bool:
    if not short or not full or len(short) > len(full):
        return False
    first, given = short[0], full[0]
    alike = first == given or _SHORT_FOR.get(first) == given or _SHORT_FOR.get(given) == first
    if len(short) == 1:
        return alike or (len(full) > 1 and first in (full[-1], f"{given[0]}{full[-1]}"))
    same_first = alike or (len(first) == 1 and given.startswith(first))
    same_last = short[-1] == full[-1] or (len(short[-1]) == 1 and full[-1].startswith(short[-1]))
    return same_first and same_last


def known_word(word: str, known: Collection[str]) -> bool:
    """Whether the word is the name, or the first name, of somebody known."""
    bare = word.strip(",.!'\"").lower()
    return any(bare in (name.lower(), name.lower().split(" ", 1)[0]) for name in known)
