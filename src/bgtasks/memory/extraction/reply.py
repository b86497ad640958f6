"""What a model answers when it is asked what a conversation says."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["KINDS", "Extraction", "FoundEntity", "FoundFact", "Kind"]

type Kind = Literal[
    "person",
    "organisation",
    "place",
    "animal",
    "object",
    "work",
    "event",
    "activity",
    "topic",
    "other",
]

KINDS: tuple[str, ...] = get_args(Kind.__value__)
"""What an entity can be."""

MOST = 120
"""Entities, and facts, of one answer at most: forty messages hold a fraction of that."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class FoundEntity(_Part):
    """Somebody or something that the messages name.

    Attributes:
        name: As the messages write it, in full.
        about: What they say of it in a few words; may be empty.
    """

    name: str
    kind: Kind
    about: str = ""


class FoundFact(_Part):
    """A relation between two entities, stated in the messages.

    Attributes:
        subject: The name of the one.
        predicate: A verb in snake_case, such as `lives_in`.
        object: The name of the other.
        fact: The relation as one sentence.
        messages: The numbers of the messages that state it.
        since: The day on which it began, as `YYYY-MM-DD`, if they say so.
        confidence: From 0 to 1.
    """

    subject: str
    predicate: str
    object: str
    fact: str
    messages: list[int]
    since: str | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.8


class Extraction(_Part):
    """All that was found; both lists may be empty."""

    entities: Annotated[list[FoundEntity], Field(max_length=MOST)]
    facts: Annotated[list[FoundFact], Field(max_length=MOST)]
