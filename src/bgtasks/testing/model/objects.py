"""What a verb of the table is said of: the things, people or deeds that follow it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bgtasks.testing.model.kin import kin_at
from bgtasks.testing.model.kinds import kind_of
from bgtasks.testing.model.names import name_at
from bgtasks.testing.model.phrases import bare, deed, thing, things
from bgtasks.testing.model.verbs import Verb
from bgtasks.testing.model.words import DETERMINERS, FILLERS, NUMBERS, word_set

__all__ = ["objects_of", "words_after"]

_SHOWN = word_set("made painted wrote bought got found received cooks visited planted")
"""Of these `this bowl` says enough, since what it means is said or shown."""

_ONLY_DOINGS = word_set("went goes takes busy_with considers")
_CAUSED = word_set("feel look smile laugh vanish disappear understand realize realise happen")
"""Verbs that show that a phrase was a clause: `made customers feel cosy`."""

_ING = word_set("""
    painting building ring clothing meeting drawing wedding earring being opening reading training blessing
    sewing gathering evening recording housewarming
""")
"""Things, among the words that end so."""

_TOO_COMMON = {
    "reads": word_set("book books text messages minds"),
    "visited": word_set("bed sleep work war extremes town"),
    "goes_to": word_set("bed sleep work"),
    "does": word_set("alright fine okay great best part job good well homework laundry same"),
    "returned_from": word_set("work basics school"),
    "watches": word_set("movie movies film films show shows"),
    "made": word_set("team friends"),
    "makes": word_set("team friends"),
    "likes": word_set("accident job look color colors colour colours design theme"),
    "works_on": word_set("building improving making"),
    "plays": word_set("game games"),
    "has": word_set("team family"),
}
"""What says nothing, or is a figure of speech, after these verbs."""


def words_after(verb: Verb, rest: Sequence[str]) -> Sequence[str] | None:
    """What follows the words that the verb asks for; None if they are not there."""
    at = 0
    for wanted in verb.after:
        while at < len(rest) and bare(rest[at]) in FILLERS and bare(rest[at]) != wanted:
            at += 1
        if at >= len(rest) or bare(rest[at]) != wanted:
            return None
        at += 1
    while at < len(rest) and bare(rest[at]) in FILLERS:
        at += 1
    return rest[at:]


def objects_of(verb: Verb, form: str, after: Sequence[str], author: str) -> Iterator[tuple[str, str, str]]:
    """The predicate, the object and its kind, for each object that follows.

    Args:
        verb: The verb.
        form: As it was written.
        after: What follows it, and the words that it asks for.
        author: Whose `my sister` is.
    """
    if not after:
        return
    if verb.deed:
        done = deed(after)
        found = [] if done is None else [(verb.predicate, done, "activity")]
    elif verb.kind == "person":
        found = [(verb.predicate, who, "person") for who in _person(after, author)]
    elif verb.predicate == "takes" and (where := _taken_to(after)) is not None:
        found = [("visited", where, kind_of(where, "place"))]
    else:
        found = [(verb.predicate, what, kind) for what, kind in _things(verb, form, after)]
    yield from found


def _person(after: Sequence[str], author: str) -> Iterator[str]:
    if (kin := kin_at(after, 0)) is not None:
        yield kin[1] or f"{author}'s {kin[0]}"
    elif (named := name_at(after)) is not None:
        yield named[0]
    else:
        called = next((at for at, word in enumerate(after[:5]) if bare(word) in ("named", "called")), None)
        if called is not None and (named := name_at(after, called + 1)) is not None:
            yield named[0]


def _taken_to(after: Sequence[str]) -> str | None:
    """Where somebody was taken: `the kids to the museum`. It is stated of who took them, as a visit."""
    for at in range(1, min(5, len(after) - 1)):
        if bare(after[at]) == "to" and bare(after[at + 1]) in DETERMINERS:
            one = thing(after[at + 1 :])
            return None if one is None else one[0]
    return None


def _things(verb: Verb, form: str, after: Sequence[str]) -> Iterator[tuple[str, str]]:
    if bare(after[0]) in ("this", "these", "that") and verb.predicate in _SHOWN:
        after = ["the", *after[1:]]
    if not _begins_well(verb, form, after):
        return
    one = thing(after, proper=verb.proper)
    if one is None:
        return
    if verb.predicate == "wants" and "to" in after[one[1] : one[1] + 1]:
        return  # wanted of somebody
    for object_ in [one[0]] if verb.after else things(after, proper=verb.proper):
        if object_.lower() in _TOO_COMMON.get(verb.predicate, ()) or _CAUSED & set(object_.split()):
            continue
        if verb.counted and object_.endswith("ing") and object_.split()[-1] not in _ING:
            continue  # "a meeting coming up"
        kind = "work" if f'"{object_}' in " ".join(after) else kind_of(object_, verb.kind)
        doing = object_.split()[0].endswith("ing") or object_.endswith("ing")
        if doing or kind == "event" or verb.predicate not in _ONLY_DOINGS:
            yield object_, kind


def _begins_well(verb: Verb, form: str, after: Sequence[str]) -> bool:
    """Whether the first word can begin the object of this verb: no verb after `went to`, no praise."""
    begins = bare(after[0])
    if begins == "the" and form.startswith(("love", "loving", "adore")):
        return False  # more often praise for what somebody showed than a liking
    sure = begins in DETERMINERS or begins in NUMBERS or after[0][0].isupper() or after[0][0] == '"'
    if verb.after[-1:] == ("to",):
        return sure or (not verb.counted and kind_of(begins, "") in ("place", "event"))
    return sure or not verb.counted or begins in ("some", "another")
