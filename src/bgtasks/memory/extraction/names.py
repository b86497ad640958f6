"""Names as a model writes them, made such that one thing has one name."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["LONGEST", "is_pronoun", "name_of", "owner_of", "predicate_of"]

LONGEST = 120
"""Characters of a name, at most: what is longer is a sentence."""

_AROUND = " \t\n\r'\"“”‘’«»„`´*_.,;:!?()[]{}<>|/\\-–—"
_ARTICLE = re.compile(r"^(?:the|an?)\s+(?=\S)", re.IGNORECASE)
_POSSESSIVE = re.compile(r"['’]s$", re.IGNORECASE)
_PRONOUNS = frozenset(
    re.findall(
        r"\w+",
        "i me my mine myself we us our ours ourselves you your yours yourself he him his himself she her "
        "hers herself it its itself they them their theirs themselves this that these those one someone "
        "somebody anyone anybody everyone everybody nobody something anything everything nothing who what "
        "which here there",
    )
)
# Only what says the same of whatever it joins: one visits people too, and to love somebody is no liking.
_SAME = {
    "lives_at": "lives_in",
    "resides_in": "lives_in",
    "living_in": "lives_in",
    "employed_at": "works_at",
    "employed_by": "works_for",
    "is_married_to": "married_to",
    "spouse_of": "married_to",
    "is_friend_of": "friend_of",
    "friends_with": "friend_of",
    "is_friends_with": "friend_of",
    "has_a_pet": "has_pet",
    "enjoys": "likes",
    "is_located_in": "located_in",
    "is_part_of": "part_of",
    "is_a_member_of": "member_of",
}


def name_of(written: str) -> str | None:
    """The name of an entity, tidied; None for what is none: a pronoun, a bare number, a sentence.

    A possessive stays: whether McDonald's is a name or something of McDonald's is not seen from it.
    """
    name = _tidied(written)
    if (article := _ARTICLE.match(name)) is not None:
        rest = name[article.end() :].strip(_AROUND)
        named = is_pronoun(rest) and len(rest) > 1 and rest[0].isupper()  # The Who
        name = f"{article[0].strip()} {rest}" if named else rest
    if len(name) > LONGEST or is_pronoun(name) or not any(each.isalpha() for each in name):
        return None
    name = _closed(name)
    return name if len(name) <= LONGEST else None


def owner_of(written: str) -> str | None:
    """Whose something is, if that is what is written: `Ada` of `Ada's`; None if it is no possessive."""
    name = _tidied(written)
    owner = _POSSESSIVE.sub("", name).strip(_AROUND)
    return owner if owner and owner != name else None


def is_pronoun(name: str) -> bool:
    """Whether it is a pronoun, its possessive (`it's`) included. US, IT and WHO are names."""
    bare = _POSSESSIVE.sub("", name)
    return bare.casefold() in _PRONOUNS and not (len(bare) > 1 and bare.isupper())


def _tidied(written: str) -> str:
    """In one line, in one way to write an apostrophe, without what stands around it."""
    name = unicodedata.normalize("NFKC", written.replace("\x00", " ")).replace("’", "'")
    return " ".join(name.split()).strip(_AROUND)


def _closed(name: str) -> str:
    """With the brackets that were taken for something around it: Mercury (planet), (500) Days of Summer."""
    for opening, closing in ("()", "[]"):
        before = after = 0
        for each in name:
            if each == opening:
                after += 1
            elif each == closing and after:
                after -= 1
            elif each == closing:
                before += 1
        name = opening * before + name + closing * after
    return name


def predicate_of(written: str) -> str | None:
    """The word for a relation in snake_case, one for each of its usual synonyms; None if there is none."""
    words = re.sub(r"[\W_]+", "_", unicodedata.normalize("NFKC", written).casefold()).strip("_")
    if not any(each.isalpha() for each in words) or len(words) > 60:
        return None
    return _SAME.get(words, words)
