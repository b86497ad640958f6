"""The processes that share a store: how they stand, and what they are told from outside.

Each says of itself how it stands when it beats, and hears then what it is told. What is told is answered, by
each node for itself, and kept with the answers for as long as the history of runs is.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bgtasks.contracts import TaskStore
from bgtasks.errors import UnknownNode
from bgtasks.records import EVERY_NODE, Command, CommandRow, SessionRow

__all__ = ["Node", "Nodes"]

HEARD_WITHIN = 15.0
"""Seconds after which a command is not carried out any more; a node listens every three."""

LOOK_EVERY = 0.2
"""Seconds between two looks for answers."""

COUNT_EVERY = 1.0
"""Seconds between two looks at who is alive to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A process that is alive.

    Attributes:
        id: Of its session: another one after it was given up for dead.
        node_id: What it is called, for people; two may be called the same.
        joined_at: Since when the session lasts.
        expires_at: Until when it lasts if the node is not heard of again.
        wired: The tasks and types of job that it runs.
        known: Those that it knows of, wired or not.
        state: How it stood when it said so last, a few seconds ago: its jobs, what is not wired and why, its
            problems.
    """

    id: str
    node_id: str
    joined_at: datetime | None
    expires_at: datetime | None
    wired: tuple[str, ...]
    known: tuple[str, ...]
    state: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(row: SessionRow) -> Node:
        """The node of a session."""
        try:
            state = json.loads(row.snapshot_json)
        except ValueError:  # of another version, or written by hand
            state = {}
        return Node(
            id=row.id,
            node_id=row.node_id,
            joined_at=row.joined_at,
            expires_at=row.expires_at,
            wired=row.wired,
            known=row.known,
            state=state if isinstance(state, dict) else {},
        )


class Nodes:
    """The nodes of a store.

    Every method raises `ResourceUnavailable` if the store does not answer.

    Args:
        store: It must have been opened.
    """

    def __init__(self, store: TaskStore) -> None:
        self._store = store

    async def alive(self) -> list[Node]:
        """Those that are heard of, the first to join first."""
        return [Node.of(row) for row in await self._store.sessions()]

    async def unresolved(self, alive: Iterable[Node] | None = None) -> dict[str, int]:
        """How many jobs there are of each type that no node which is alive can run.

        Args:
            alive: Those that are, if that was asked already.
        """
        nodes = await self.alive() if alive is None else alive
        wired = {name for node in nodes for name in node.wired}
        return {name: count for name, count in (await self._store.types()).items() if name not in wired}

    async def tell(
        self,
        kind: str,
        subject: str = "",
        *,
        node_id: str = EVERY_NODE,
        arguments: Mapping[str, Any] | None = None,
        within: float = HEARD_WITHIN,
        id: str | None = None,
    ) -> CommandRow:
        """Tell a node, or all that are alive, to do something; it is carried out once by each.

        Args:
            kind: `run_now`, `pause`, `resume`, `resign`, or what a program has added with `on_command`.
            subject: What to do it to: a task's name, for the first three.
            node_id: Which node.
            arguments: What else there is to say: a `reason` for a pause.
            within: Seconds after which a node that has not heard of it does not do it.
            id: Sent twice with one id, it is one command.

        Raises:
            UnknownNode: No node that is alive is called so.
        """
        names = [row.node_id for row in await self._store.sessions()]
        if not names or (node_id != EVERY_NODE and node_id not in names):
            raise UnknownNode(node_id, names)
        command = Command(
            id=id or os.urandom(8).hex(),
            kind=kind,
            node_id=node_id,
            subject=subject,
            arguments_json=json.dumps(dict(arguments or {})),
            asked_by=_whoever(),
        )
        return await self._store.command(command, within)

    async def answers(
        self, command: CommandRow, within: float = HEARD_WITHIN, of: Collection[str] | None = None
    ) -> CommandRow:
        """A command with what came of it, when all who were told have answered, or after so many seconds.

        A node that is not heard of any more is not waited for. Not promised: an answer. A node may die before
        it hears, or while it does what it was told.

        Args:
            of: The ids of the nodes whose answers are waited for, if not of all who were told.
        """
        row, told, looks = command, set[str](), 0
        try:
            async with asyncio.timeout(within):
                while True:
                    if looks % round(COUNT_EVERY / LOOK_EVERY) == 0:
                        told = await self._told(command, of)
                    found = await self._store.commands(id=command.id)
                    row = found[0] if found else row
                    if told <= {answer.session for answer in row.answers}:
                        return row
                    await asyncio.sleep(LOOK_EVERY)
                    looks += 1
        except TimeoutError:
            return row

    async def _told(self, command: CommandRow, of: Collection[str] | None) -> set[str]:
        """Those who are alive and were told, of all or of these."""
        alive = await self._store.sessions()
        return {row.id for row in alive if _is_told(row, command) and (of is None or row.id in of)}

    async def told(self, limit: int = 100) -> Sequence[CommandRow]:
        """What was told, by whom, and what came of it: the latest first."""
        return await self._store.commands(limit=limit)


def _is_told(row: SessionRow, command: CommandRow) -> bool:
    meant = command.node_id in (EVERY_NODE, row.node_id)
    return meant and row.joined_at is not None and row.joined_at <= command.created_at


def _whoever() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in many containers
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
