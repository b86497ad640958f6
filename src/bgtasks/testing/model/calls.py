"""What a stand-in was asked, and what that comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Call", "Tally"]


@dataclass(slots=True)
class Call:
    """One request for an answer or for vectors. It is listed when it arrives, and filled in as it goes on.

    Attributes:
        number: The first call is number 1.
        kind: `chat` or `embedding`.
        model: The model that was asked for.
        digest: SHA-256 of path and body, whatever the order of the keys.
        repeated: Whether the same had been answered before this arrived: wholly, with status 200, no fault.
        prompt_tokens: What was sent, if it was read by the model: 0 for errors.
        completion_tokens: What was answered.
        status: The HTTP status; 0 while it is in flight.
        fault: The kind of fault that was put in, if any; None if it changed nothing.
        answered: Whether the whole response was handed to the network while the client was still there.
    """

    number: int
    kind: str
    model: str
    digest: str
    repeated: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    status: int = 0
    fault: str | None = None
    answered: bool = False


@dataclass(slots=True)
class Tally:
    """The calls of a stand-in, summed up.

    Attributes:
        calls: All, those in flight and those with faults included.
        chats: Those for an answer.
        embeddings: Those for vectors.
        prompt_tokens: What the calls sent.
        completion_tokens: What was answered.
        repeated: Calls for what had been answered before.
        at_once: The most that were in flight at one time.
        by_status: Calls by HTTP status, as text; "0" are those in flight.
        by_fault: Calls by the kind of fault that was put in.
    """

    calls: int = 0
    chats: int = 0
    embeddings: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    repeated: int = 0
    at_once: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    by_fault: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, calls: Iterable[Call], at_once: int = 0) -> Tally:
        """The sum of these calls."""
        listed = list(calls)
        return cls(
            calls=len(listed),
            chats=sum(call.kind == "chat" for call in listed),
            embeddings=sum(call.kind == "embedding" for call in listed),
            prompt_tokens=sum(call.prompt_tokens for call in listed),
            completion_tokens=sum(call.completion_tokens for call in listed),
            repeated=sum(call.repeated for call in listed),
            at_once=at_once,
            by_status=dict(Counter(str(call.status) for call in listed)),
            by_fault=dict(Counter(call.fault for call in listed if call.fault is not None)),
        )

    def as_json(self) -> dict[str, Any]:
        """What `GET /tally` answers."""
        return asdict(self)
