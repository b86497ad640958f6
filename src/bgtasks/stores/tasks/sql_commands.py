"""Commands and their answers in the SQL store."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, exists, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bgtasks.records import EVERY_NODE, Answer, Command, CommandRow
from bgtasks.stores.tasks.sql_dialects import Dialect
from bgtasks.stores.tasks.sql_rows import Rows
from bgtasks.stores.tasks.sql_tables import ANSWER_COLUMNS, Plain, answers, commands, sessions

__all__ = ["Commands"]

_COMMAND = [each.name for each in fields(CommandRow) if each.name != "answers"]


class Commands:
    """Commands, within one transaction or beside any.

    Args:
        connection: What to ask through.
        dialect: Its kind.
    """

    def __init__(self, connection: AsyncConnection, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect

    async def keep(self, command: Command, ttl: float) -> CommandRow:
        """Keep a command; the one of its id that is there already."""
        at = await Rows(self._connection, self._dialect).now()
        put = self._dialect.insert(commands).values(
            **asdict(command), created_at=at, expires_at=at + timedelta(seconds=ttl)
        )
        put = put.on_conflict_do_nothing()
        while True:  # until it is there, or another: that may be forgotten again in between
            await self._connection.execute(put)
            if found := await self.page(command.id, 1):
                return found[0]

    async def answer(self, session: str, command: str, done: bool, text: str) -> None:
        """Keep the first answer of a session that is alive, to a command that is there."""
        at = self._dialect.clock()
        answer = (
            # The lock of who only looks: nothing is answered that is being forgotten.
            select(commands.c.id, sessions.c.id, sessions.c.node_id, at, literal(done), literal(text, Plain))
            .select_from(commands.join(sessions, sessions.c.id == session))
            .where(commands.c.id == command, sessions.c.expires_at > at)
            .with_for_update(read=True, key_share=True, of=commands)
        )
        put = self._dialect.insert(answers).from_select(
            ["command", "session", "node_id", "at", "done", "text"], answer
        )
        await self._connection.execute(put.on_conflict_do_nothing())

    def names(self, session: str) -> Select[Any]:
        """The ids of those that a session is to hear of, and when they were sent."""
        return self._told(session).with_only_columns(commands.c.id, commands.c.created_at)

    async def told(self, session: str) -> list[CommandRow]:
        """Those that a session is to hear of, the earliest first."""
        return await self._with_answers(self._told(session), latest_first=False)

    async def page(self, id: str | None, limit: int) -> list[CommandRow]:
        """Commands, the latest first; or the one of an id."""
        found = select(commands).order_by(commands.c.created_at.desc(), commands.c.id.desc()).limit(limit)
        return await self._with_answers(found if id is None else found.where(commands.c.id == id))

    def _told(self, session: str) -> Select[Any]:
        answered = exists().where(answers.c.command == commands.c.id, answers.c.session == session)
        return (
            select(commands)
            .join(sessions, sessions.c.id == session)
            .where(
                commands.c.expires_at > self._dialect.clock(),
                commands.c.created_at >= sessions.c.joined_at,
                or_(commands.c.node_id == EVERY_NODE, commands.c.node_id == sessions.c.node_id),
                ~answered,
            )
        )

    async def _with_answers(self, found: Select[Any], *, latest_first: bool = True) -> list[CommandRow]:
        """Commands with their answers, all as they are at one instant."""
        of = found.subquery()
        order = [of.c.created_at, of.c.id]
        asked = (
            select(*(of.c[name] for name in _COMMAND), *ANSWER_COLUMNS)
            .join(answers, answers.c.command == of.c.id, isouter=True)
            .order_by(*(each.desc() if latest_first else each for each in order))
            .order_by(answers.c.at, answers.c.session)
        )
        kept = dict[str, tuple[dict[str, Any], list[Answer]]]()
        for row in await self._connection.execute(asked):
            values = dict(zip(_COMMAND, row, strict=False))
            _, given = kept.setdefault(values["id"], (values, []))
            answer = Answer(*row[len(_COMMAND) :])
            if answer.session is not None:
                given.append(answer)
        return [CommandRow(**values, answers=tuple(given)) for values, given in kept.values()]
