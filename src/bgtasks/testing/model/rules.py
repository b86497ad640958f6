"""What a message states, by rules: people, places, animals, and what plain English sentences say of them.

No model: each rule is a list of words. It reads statements in the present and the past, plans and likings; it
does not read questions, what might be, what was denied, or what needs the sentence before. Rather nothing
than nonsense. The same text gives the same relations, always.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from bgtasks.testing.model.belongings import photos, possessions
from bgtasks.testing.model.clause import Main, Subject, main_of, opened, subject_of
from bgtasks.testing.model.dates import day_in
from bgtasks.testing.model.kin import links
from bgtasks.testing.model.kinds import kind_of
from bgtasks.testing.model.likings import dear, favourite
from bgtasks.testing.model.objects import objects_of, words_after
from bgtasks.testing.model.phrases import bare, deed, thing, things
from bgtasks.testing.model.sentences import clauses, sentences, words
from bgtasks.testing.model.stated import Stated, worded
from bgtasks.testing.model.verbs import COPULAS, VERBS, Verb
from bgtasks.testing.model.whereabouts import whereabouts
from bgtasks.testing.model.words import ROLES, STATES, word_set

__all__ = ["read"]

type Triple = tuple[str, str, str, str, str]
"""Subject, its kind, predicate, object, its kind."""

MOST_OF_A_MESSAGE = 12
"""Relations that are read from one message."""


def read(
    author: str, text: str, when: datetime | None = None, *, known: Collection[str] = ()
) -> list[Stated]:
    """The relations that a message states, in the order of the text, each once.

    Args:
        author: Who wrote it: the first person stands for them.
        text: What was written.
        when: When, for dates without a year.
        known: Names of people who may be meant, such as the other authors.
    """
    if text.isupper():
        text = text.lower()  # shouting says nothing about names
    people = {*known, author}
    other = next(iter(people - {author})) if len(people) == 2 else None
    found: dict[tuple[str, str, str], Stated] = {}
    for clause, begins in _clauses(text):
        for subject, kind, predicate, object_, object_kind in _triples(author, clause, people, begins, other):
            key = (subject.lower(), predicate, object_.lower())
            if key not in found and subject.lower() != object_.lower():
                since = None if predicate.startswith("has_") else day_in(clause, when)
                said = worded(subject, predicate, object_)
                found[key] = Stated(subject, kind, predicate, object_, object_kind, said, since)
    for shown in photos(text):
        said = worded(author, "shared_photo_of", shown)
        key = (author.lower(), "shared_photo_of", shown.lower())
        found[key] = Stated(author, "person", "shared_photo_of", shown, kind_of(shown, "object"), said)
    return list(found.values())[:MOST_OF_A_MESSAGE]


def _clauses(text: str) -> Iterator[tuple[str, bool]]:
    """The clauses of a message, and whether each begins its sentence."""
    for sentence in sentences(text):
        for place, clause in enumerate(clauses(sentence)):
            yield clause, place == 0


def _triples(
    author: str, clause: str, people: Collection[str], begins: bool, other: str | None
) -> Iterator[Triple]:
    said = opened(words(clause), people)
    if not said:
        return
    for owner, predicate, name, kind in links(said):
        yield owner or author, "person", predicate, name, kind
    if (liked := favourite(said)) is not None:
        yield author, "person", "likes", liked, kind_of(liked)
        return
    if (valued := dear(said)) is not None:
        yield author, "person", "values", valued, kind_of(valued)
        return
    subject = subject_of(said, author, people, begins=begins)
    if subject is not None:
        yield from _about(subject, said, subject.end, author)
    if subject is None or not subject.first:
        yield from whereabouts(said)
    for owner, owned in possessions(said, author, other):
        yield owner, "person", "has", owned, kind_of(owned, "object")


def _about(subject: Subject, said: Sequence[str], at: int, author: str) -> Iterator[Triple]:
    """What is said of the subject by the verb from this word on, and by a second one after `and`."""
    main = main_of(said, at)
    if main is None:
        return
    rest = said[main.at :]
    for predicate, object_, kind in _said(subject, main, rest, author):
        if main.negated:
            if predicate != "likes":
                continue
            predicate = "dislikes"
        yield subject.name, subject.kind, predicate, object_, kind
    if main.negated or main.wish:
        return
    for place in range(2, len(rest) - 1):
        if bare(rest[place]) == "and" and _goes_on(bare(rest[place + 1]), subject, main):
            yield from _about(subject, said, main.at + place + 1, author)
            return


def _goes_on(word: str, subject: Subject, main: Main) -> bool:
    return any(
        word in verb.past
        or (
            not main.be
            and verb.predicate != "likes"
            and word in (verb.plain if subject.first else verb.third)
        )
        for verb in VERBS.get(word, ())
    )


def _said(subject: Subject, main: Main, rest: Sequence[str], author: str) -> Iterator[tuple[str, str, str]]:
    word = bare(rest[0])
    if main.wish:
        if len(rest) > 2 and bare(rest[1]) == "to" and (wanted := deed(rest[2:])) is not None:
            yield "wants_to", wanted, "activity"
        return
    matched = False
    for verb in VERBS.get(word, ()):
        if not _fits(verb, word, subject, main):
            continue
        after = words_after(verb, rest[1:])
        if after is None:
            continue
        matched = True
        found = list(objects_of(verb, word, after, author))
        yield from found
        if found:
            return
    if main.be and not matched:
        yield from (one for one in _copula(rest) if subject.sure or subject.first or one[0] in _STRONG)


def _fits(verb: Verb, word: str, subject: Subject, main: Main) -> bool:
    if main.be:
        return word in verb.doing
    if word in verb.past and (main.have or word not in verb.plain or subject.first):
        return subject.sure or verb.predicate in _STRONG
    if main.have:
        return False
    if subject.first:
        return word in verb.plain
    return word in verb.third and (subject.sure or verb.predicate in _STRONG)


_STRONG = word_set("""
    married_to allergic_to lives_in lives_with works_at works_as moved_to plays comes_from studies
    teaches
""")
"""What makes a name of a capitalised word that nobody introduced."""


def _copula(rest: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    said = [bare(word) for word in rest]
    for wanted, predicate, kind, proper in COPULAS:
        if tuple(said[: len(wanted)]) == wanted:
            after = rest[len(wanted) :]
            for object_ in things(after, proper=proper):
                yield predicate, object_, "person" if kind == "person" else kind_of(object_, kind)
            return
    if said[0] in STATES and (len(said) == 1 or rest[0].endswith(",") or said[1] in ("and", "now", "since")):
        yield "is", said[0], "topic"
    elif said[0] in ("a", "an", "the"):
        one = thing(rest)
        if one is not None and one[0].lower().split(" of ")[0].split()[-1] in ROLES:
            yield "is_a", one[0], "topic"
