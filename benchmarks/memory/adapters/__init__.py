"""What the stand-in answers to each system, in the shapes that this system asks for.

All adapters take messages out of the prompts they are sent, and have the same rules read these. Where a
system leaves its model a choice, they answer so that the fewest calls follow, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol

__all__ = ["Adapter", "NotUnderstood", "Offer", "Read", "Stated", "make"]


class Stated(Protocol):
    """A relation that the rules saw: what adapters need of it."""

    @property
    def subject(self) -> str:
        """Who or what."""

    @property
    def predicate(self) -> str:
        """In snake_case."""

    @property
    def object(self) -> str:
        """Whom or what."""

    @property
    def sentence(self) -> str:
        """The relation as a sentence that stands alone."""


type Read = Callable[[str, str, datetime | None], Sequence[Stated]]
"""The rules: author, text, when."""

type Offer = Callable[[Stated], None]
"""Notes a relation that went out in an answer."""


class NotUnderstood(Exception):
    """A request that an adapter has no answer for; the text says what was asked, without what was said."""


class Adapter(Protocol):
    """Answers one system."""

    def __init__(self, read: Read, offer: Offer) -> None: ...

    def answer(self, request: Mapping[str, Any]) -> str | None:
        """The model's text; None: the stand-in's own rules answer.

        Raises:
            NotUnderstood: The system asks for something that it did not ask for when this was written.
        """


def make(system: str, read: Read, offer: Offer) -> Adapter:
    """The adapter of a system."""
    module = import_module(f"benchmarks.memory.adapters.{system}")
    made: Adapter = module.Answers(read, offer)
    return made
