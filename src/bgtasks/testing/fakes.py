"""Scripted stand-ins for what a host gives: a graph, a chat model, a bot runner.

They answer what a test wrote down and remember what they were asked. They do not imitate a server:
where behaviour matters, use the real one (`bgtasks.embedded`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FakeBotRunner", "ScriptedChat", "ScriptedGraph"]

type Rows = Sequence[Sequence[Any]]
type Answer = Rows | BaseException | Callable[[Mapping[str, Any]], Rows]


class ScriptedGraph:
    """A `KnowledgeGraphLike` that answers by pattern.

    Attributes:
        queries: Every (cypher, params) it was asked, in order.
    """

    def __init__(self) -> None:
        self.queries: list[tuple[str, dict[str, Any]]] = []
        self._script: list[tuple[re.Pattern[str], list[Answer]]] = []

    def on(self, pattern: str, *answers: Answer) -> None:
        """Answer queries that match the regular expression; the last of several answers repeats.

        An answer is rows, an exception to raise, or a function of the parameters that returns rows.
        """
        self._script.append((re.compile(pattern, re.DOTALL), list(answers)))

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Rows:
        """The next answer written down for this query; no rows when there is none."""
        self.queries.append((cypher, dict(params or {})))
        for pattern, answers in self._script:
            if pattern.search(cypher) and answers:
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if isinstance(answer, BaseException):
                    raise answer
                return answer(params or {}) if callable(answer) else answer
        return []


class ScriptedChat:
    """A `ChatClient` that gives the answers written down, the last one over and over.

    Attributes:
        calls: Every call's messages and options, in order.
    """

    def __init__(self, *answers: str | BaseException) -> None:
        self.calls: list[dict[str, Any]] = []
        self._answers = list(answers) or [""]

    async def chat(
        self, messages: Sequence[Mapping[str, Any]], *, override_model: str | None = None, **options: Any
    ) -> str:
        """The next answer; an exception among the answers is raised."""
        self.calls.append({"messages": list(messages), "override_model": override_model, **options})
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer


@dataclass(slots=True)
class FakeBotRunner:
    """A `BotRunner` with whatever a test puts in; the rest is None or empty."""

    cfg: Any = None
    redis: Any = None
    kg_manager: Any = None
    openrouter: Any = None
    message_cache: Any = None
    embedding_queue: Any = None
    adapters: Mapping[str, Any] = field(default_factory=dict)
    starwiki_service: Any = None
