"""What bgtasks asks of a host's objects, as Protocols.

Nothing has to inherit from these: an object with the methods serves. Ours implement them; scripted
fakes are in `bgtasks.testing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["Absent", "BotRunner", "ChatClient", "KnowledgeGraphLike", "StrictConfig"]


class Absent:
    """Given in place of a resource that could not be made: false, and it knows why.

    Whoever composes a process often knows better than "not given" why a resource is missing, such as a
    module that could not be loaded. The reason is shown on every task that needs the resource.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Absent({self.reason!r})"


@runtime_checkable
class KnowledgeGraphLike(Protocol):
    """A property graph that speaks openCypher."""

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """Run one query atomically and return its rows, each a sequence in the order of RETURN."""


@runtime_checkable
class ChatClient(Protocol):
    """A chat model."""

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], *, override_model: str | None = None, **options: Any
    ) -> str:
        """The model's answer to `messages` (role and content each), as text."""


@runtime_checkable
class BotRunner(Protocol):
    """The host's bot, as far as built-in tasks look into it."""

    cfg: Any
    redis: Redis
    kg_manager: KnowledgeGraphLike
    openrouter: ChatClient
    message_cache: Any
    embedding_queue: Any
    adapters: Mapping[str, Any]


@runtime_checkable
class StrictConfig(Protocol):
    """A config that knows all its names, so that asking it for another one is an error."""

    strict_names: bool
