"""What this node is told from outside: carried out once, and answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from inspect import isawaitable
from typing import Any, Protocol

from bgtasks.claims.session import Session
from bgtasks.errors import BgTasksError
from bgtasks.node_state import said
from bgtasks.outcomes import Outcome
from bgtasks.records import CommandRow

__all__ = ["Commands", "Handler"]

LONGEST = 4_000
"""Characters of an answer that are kept."""

type Handler = Callable[[str, Mapping[str, Any]], Awaitable[Any] | Any]
"""Carries out a command on a subject, with arguments; returns what came of it, or raises."""


class Scheduler(Protocol):
    """What is done with a scheduler from outside."""

    def pause(self, name: str, reason: str = ...) -> None: ...

    def resume(self, name: str) -> None: ...

    async def run_now(self, name: str) -> Outcome: ...


class Commands:
    """Commands that this node has heard of.

    Args:
        spawn: Makes the asyncio task in which a command is carried out.
        talk: Called when there is an answer to give.
    """

    def __init__(
        self,
        session: Session,
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        talk: Callable[[], None],
    ) -> None:
        self.handlers: dict[str, Handler] = {}
        self._session = session
        self._spawn = spawn
        self._talk = talk
        self._heard: set[str] = set()
        self._answers: dict[str, tuple[bool, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._answers)

    def obey(self, scheduler: Scheduler) -> None:
        """Do with a scheduler what can be done from outside."""

        async def run_now(name: str, _: Mapping[str, Any]) -> str:
            return said(await scheduler.run_now(name))

        def pause(name: str, arguments: Mapping[str, Any]) -> str:
            scheduler.pause(name, str(arguments.get("reason") or "by hand"))
            return "paused"

        def resume(name: str, _: Mapping[str, Any]) -> str:
            scheduler.resume(name)
            return "resumed"

        self.handlers |= {"run_now": run_now, "pause": pause, "resume": resume}

    def hear(self, command: CommandRow) -> None:
        """Carry out a command that was not heard before: it is told again until it is answered."""
        if command.id not in self._heard:
            self._heard.add(command.id)
            doing = self._spawn(self._carry_out(command), f"command:{command.kind}")
            doing.add_done_callback(lambda done: self._given_up(command) if done.cancelled() else None)

    def clear(self) -> None:
        """The session is over: of another no answer is taken, and it hears of none that was sent before."""
        self._heard.clear()
        self._answers.clear()

    async def answer_next(self) -> None:
        """Give the next answer.

        Raises:
            BgTasksError: The store does not answer.
        """
        id, (done, text) = next(iter(self._answers.items()))
        await self._session.ask(self._session.store.answer(self._session.id, id, done, text))
        self._answers.pop(id, None)

    def _given_up(self, command: CommandRow) -> None:
        """A host cancelled what carried it out, perhaps before its first step."""
        if command.id in self._heard:  # else the session that heard of it is over
            self._answers[command.id] = (False, "it was cancelled")
            self._talk()

    async def _carry_out(self, command: CommandRow) -> None:
        session = self._session.id
        done, text = await self._done(command)
        if session == self._session.id:
            self._answers[command.id] = (done, text)
            self._talk()

    async def _done(self, command: CommandRow) -> tuple[bool, str]:
        handler = self.handlers.get(command.kind)
        if handler is None:
            known = ", ".join(sorted(self.handlers))
            return False, f'this node knows no command "{command.kind}": it knows {known}'
        try:
            arguments = json.loads(command.arguments_json or "{}")
            answer = handler(command.subject, arguments)
            answer = await answer if isawaitable(answer) else answer
            return True, (answer if isinstance(answer, str) else str(answer))[:LONGEST]
        except BgTasksError as error:
            return False, str(error)[:LONGEST]
        except Exception as error:  # noqa: BLE001 - a handler may be someone else's code
            return False, f"{type(error).__name__}: {error}"[:LONGEST]
