"""A `TaskStore` in SQL: a PostgreSQL database that many nodes share, or a file of SQLite for one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Select,
    and_,
    delete,
    func,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from bgtasks.records import (
    Beat,
    Claimed,
    Command,
    CommandRow,
    Ending,
    Going,
    JobRow,
    Offer,
    Refused,
    RunQuery,
    RunRow,
    RunStatus,
    SessionRow,
    Tick,
    wanted_run,
)
from bgtasks.stores.tasks.sql_commands import Commands
from bgtasks.stores.tasks.sql_database import PATIENCE, Database
from bgtasks.stores.tasks.sql_history import page_of_runs
from bgtasks.stores.tasks.sql_prune import prune
from bgtasks.stores.tasks.sql_rows import Rows
from bgtasks.stores.tasks.sql_tables import (
    JOB_COLUMNS,
    PENDING,
    RUN_COLUMNS,
    RUNNING,
    job_of,
    job_values,
    jobs,
    run_of,
    run_values,
    runs,
    session_of,
    session_values,
    sessions,
)

__all__ = ["SqlTaskStore"]

TIMEOUT = 5.0
"""Seconds that a call may take."""

_CHANGEABLE = (
    *("enabled", "reason", "trigger", "interval_minutes", "anchor", "next_run_at", "config_json"),
    *("retired_at", "declared"),
)
"""What `change` writes of a job: neither what names it nor what runs write."""


class SqlTaskStore:
    """Jobs, runs and sessions in a database.

    Each call is one transaction. The time is PostgreSQL's own; for SQLite it is the machine's.

    Args:
        url: `postgresql://user:password@host:5432/name` or `sqlite:///path/to/file.db`.
        timeout: Seconds that a call may take.
        patience: Seconds that `open` may take where tables are to be made, migrated or adopted. For a large
            application's the standard, which is as long as a scheduler waits, may be too little: open the
            store once by itself then, with more.

    Raises:
        ConfigurationError: The URL cannot be read.
        MissingExtra: The driver is not installed.

    `prune` forgets in several transactions, each within the timeout: what it has forgotten stays forgotten if
    a later one fails.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT, patience: float = PATIENCE) -> None:
        self._database = Database(url, timeout, patience)
        self._dialect = self._database.dialect
        self.name = self._database.name

    async def open(self) -> None:
        """See `TaskStore`."""
        await self._database.open()

    async def aclose(self) -> None:
        """See `TaskStore`."""
        await self._database.aclose()

    # -- sessions --------------------------------------------------------------------------------

    async def join(self, session: SessionRow, ttl: float) -> datetime:
        """See `TaskStore`."""

        async def work(connection: AsyncConnection) -> datetime:
            at = await Rows(connection, self._dialect).now()
            said = {**session_values(session), "expires_at": at + timedelta(seconds=ttl)}
            put = self._dialect.insert(sessions).values({**said, "joined_at": at})
            await connection.execute(put.on_conflict_do_update(index_elements=["id"], set_=said))
            return at

        return await self._database.write(work)

    async def beat(self, session: str, ttl: float, horizon: float, *, limit: int = 1000) -> Beat:
        """See `TaskStore`."""

        async def work(connection: AsyncConnection) -> Beat:
            known = sessions.c.id == session, sessions.c.expires_at > self._dialect.clock()
            lives = update(sessions).where(*known).values(expires_at=self._dialect.clock(ttl))
            row = (await connection.execute(lives.returning(*sessions.c))).mappings().one_or_none()
            rows, orders = Rows(connection, self._dialect), Commands(connection, self._dialect)
            lost = await rows.lose()
            if row is None:
                return Beat(await rows.now(), False, lost=lost)
            me = session_of(row)
            due = self._dialect.due(me.wired, horizon, limit)
            going = select(runs.c.id, runs.c.created_at, runs.c.token, runs.c.unwanted)
            going = going.where(RUNNING, runs.c.session == session)
            # In one statement: a beat without commands, which is nearly every one, takes no more of them. And
            # ordered here: SQLite would read all that are in progress, in that order.
            both = union_all(
                going.add_columns(literal(False).label("told")),
                orders.names(session).add_columns(literal(0), literal(False), literal(True)),
            )
            said = (await connection.execute(both)).all()
            said = sorted(said, key=lambda each: (each.created_at, each.id))
            return Beat(
                row["expires_at"] - timedelta(seconds=ttl),
                True,
                tuple(job_of(each) for each in await connection.execute(due)),
                tuple(Offer(*each) for each in await connection.execute(self._offers(me.wired, limit))),
                tuple(each.id for each in said if each.unwanted),
                lost,
                tuple(await orders.told(session)) if any(each.told for each in said) else (),
                tuple(sorted(Going(each.token, each.id) for each in said if not each.told)),
            )

        return await self._database.write(work)

    def _offers(self, types: Sequence[str], limit: int) -> Select[Any]:
        found = select(runs.c.id, runs.c.job_id, runs.c.due, runs.c.attempt, runs.c.attempts)
        found = found.where(PENDING, self._dialect.among(runs.c.job_type, types))
        return found.order_by(runs.c.created_at, runs.c.id).limit(limit)

    async def describe(self, session: SessionRow) -> None:
        """See `TaskStore`."""
        said = session_values(session)
        change = update(sessions).where(sessions.c.id == session.id).values(said)
        await self._database.write(lambda connection: connection.execute(change))

    async def leave(self, session: str) -> None:
        """See `TaskStore`."""

        async def work(connection: AsyncConnection) -> None:
            await Rows(connection, self._dialect).end(session)

        await self._database.write(work)

    async def sessions(self) -> Sequence[SessionRow]:
        """See `TaskStore`."""
        alive = select(sessions).where(sessions.c.expires_at > self._dialect.clock())
        alive = alive.order_by(sessions.c.joined_at, sessions.c.id)
        found = await self._database.read(lambda connection: connection.execute(alive))
        return [session_of(row) for row in found.mappings()]

    # -- claims ----------------------------------------------------------------------------------

    async def claim(self, session: str, ticks: Sequence[Tick]) -> Sequence[Claimed | Refused]:
        """See `TaskStore`."""
        if not ticks:
            return []

        async def work(connection: AsyncConnection) -> Sequence[Claimed | Refused]:
            rows = Rows(connection, self._dialect)
            of = [tick.job_id for tick in ticks]
            draft = await rows.for_claims(session, of, [tick.run_id for tick in ticks])
            answers = await draft.claim(session, ticks)
            await rows.save(draft, anew=True)  # an id that is known may be claimed for another run
            return answers

        return await self._database.write(work)

    async def accept(self, session: str, offers: Sequence[tuple[str, bool]]) -> Sequence[Claimed | Refused]:
        """See `TaskStore`."""
        if not offers:
            return []

        async def work(connection: AsyncConnection) -> Sequence[Claimed | Refused]:
            rows = Rows(connection, self._dialect)
            draft = await rows.for_offers(session, [run_id for run_id, _ in offers])
            answers = await draft.accept(session, offers)
            await rows.save(draft)
            return answers

        return await self._database.write(work)

    async def finish(self, ended: Sequence[Ending]) -> Sequence[bool]:
        """See `TaskStore`."""
        if not ended:
            return []

        async def work(connection: AsyncConnection) -> Sequence[bool]:
            rows = Rows(connection, self._dialect)
            draft = await rows.for_endings([each.run_id for each in ended])
            answers = await draft.finish(ended)
            await rows.save(draft)
            return answers

        return await self._database.write(work)

    # -- jobs ------------------------------------------------------------------------------------

    async def add(self, job: JobRow) -> JobRow:
        """See `TaskStore`."""
        put = self._dialect.insert(jobs).values(job_values(job)).on_conflict_do_nothing()
        like = _job(job.id)
        if job.key is not None:
            named = jobs.c.job_type == job.job_type, jobs.c.bot_id == job.bot_id, jobs.c.key == job.key
            like = select(*JOB_COLUMNS).where(or_(jobs.c.id == job.id, and_(*named)))

        async def work(connection: AsyncConnection) -> JobRow:
            while True:  # until it is there, or another: that may be removed again in between
                row = (await connection.execute(put.returning(*JOB_COLUMNS))).one_or_none()
                if row is not None:
                    return job_of(row)
                found = [job_of(each) for each in await connection.execute(like)]
                if found:
                    return next((each for each in found if each.id == job.id), found[0])

        return await self._database.write(work)

    async def change(self, job: JobRow) -> JobRow | None:
        """See `TaskStore`."""
        values = {name: getattr(job, name) for name in _CHANGEABLE}
        change = (
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.version == job.version)
            .values(**values, version=jobs.c.version + 1, updated_at=self._dialect.clock())
            .returning(*JOB_COLUMNS)
        )

        async def work(connection: AsyncConnection) -> JobRow | None:
            row = (await connection.execute(change)).one_or_none()
            return None if row is None else job_of(row)

        return await self._database.write(work)

    async def remove(self, job: UUID) -> bool:
        """See `TaskStore`."""
        skipped = {"status": RunStatus.SKIPPED, "error_message": "the job was removed"}

        async def work(connection: AsyncConnection) -> bool:
            gone = delete(jobs).where(jobs.c.id == job).returning(jobs.c.id)
            if (await connection.execute(gone)).one_or_none() is None:
                return False
            at = self._dialect.clock()
            over = update(runs).where(PENDING, runs.c.job_id == job).values(**skipped, finished_at=at)
            await connection.execute(over)
            await connection.execute(update(runs).where(RUNNING, runs.c.job_id == job).values(unwanted=True))
            return True

        return await self._database.write(work)

    async def job(self, job: UUID) -> JobRow | None:
        """See `TaskStore`."""
        found = await self._database.read(lambda connection: connection.execute(_job(job)))
        row = found.one_or_none()
        return None if row is None else job_of(row)

    async def jobs(
        self,
        *,
        job_type: str | None = None,
        bot_id: str | None = None,
        after: UUID | None = None,
        limit: int = 100,
    ) -> Sequence[JobRow]:
        """See `TaskStore`."""
        page = select(*JOB_COLUMNS).order_by(jobs.c.id).limit(limit)
        if job_type is not None:
            page = page.where(jobs.c.job_type == job_type)
        if bot_id is not None:
            page = page.where(jobs.c.bot_id == bot_id)
        if after is not None:
            page = page.where(jobs.c.id > after)
        found = await self._database.read(lambda connection: connection.execute(page))
        return [job_of(row) for row in found]

    async def types(self) -> Mapping[str, int]:
        """See `TaskStore`."""
        counted = select(jobs.c.job_type, func.count()).group_by(jobs.c.job_type).order_by(jobs.c.job_type)
        found = await self._database.read(lambda connection: connection.execute(counted))
        return dict([tuple(row) for row in found])

    async def offer(self, offer: Offer) -> bool:
        """See `TaskStore`."""
        # The lock of who only looks: against its removal, and against those who decide about its runs.
        asked = select(jobs.c.job_type, jobs.c.bot_id).where(jobs.c.id == offer.job_id)
        asked = asked.with_for_update(read=True, key_share=True)

        async def work(connection: AsyncConnection) -> bool:
            job = (await connection.execute(asked)).one_or_none()
            if job is None:
                return False
            run = wanted_run(offer, *job, await Rows(connection, self._dialect).now())
            await connection.execute(self._put_run(run))
            return True

        return await self._database.write(work)

    async def withdraw(self, run_id: str, why: str) -> bool:
        """See `TaskStore`."""

        async def work(connection: AsyncConnection) -> bool:
            rows = Rows(connection, self._dialect)
            draft = await rows.for_withdrawal(run_id)
            wanted = await draft.withdraw(run_id, why)
            await rows.save(draft)
            return wanted

        return await self._database.write(work)

    # -- commands --------------------------------------------------------------------------------

    async def command(self, command: Command, ttl: float) -> CommandRow:
        """See `TaskStore`."""
        return await self._database.write(lambda each: Commands(each, self._dialect).keep(command, ttl))

    async def answer(self, session: str, command: str, done: bool, text: str) -> None:
        """See `TaskStore`."""
        await self._database.write(
            lambda each: Commands(each, self._dialect).answer(session, command, done, text)
        )

    async def commands(self, *, id: str | None = None, limit: int = 100) -> Sequence[CommandRow]:
        """See `TaskStore`."""
        return await self._database.read(lambda each: Commands(each, self._dialect).page(id, limit))

    # -- history ---------------------------------------------------------------------------------

    async def run(self, run_id: str) -> RunRow | None:
        """See `TaskStore`."""
        asked = select(*RUN_COLUMNS).where(runs.c.id == run_id)
        row = (await self._database.read(lambda connection: connection.execute(asked))).one_or_none()
        return None if row is None else run_of(row)

    async def runs(self, query: RunQuery) -> Sequence[RunRow]:
        """See `TaskStore`."""
        page = page_of_runs(query)
        found = await self._database.read(lambda connection: connection.execute(page))
        return [run_of(row) for row in found]

    async def skip(self, run: RunRow) -> None:
        """See `TaskStore`."""
        put = self._put_run(run)
        await self._database.write(lambda connection: connection.execute(put))

    def _put_run(self, run: RunRow) -> Any:
        return self._dialect.insert(runs).values(run_values(run)).on_conflict_do_nothing()

    async def prune(self, before: datetime, keep: int) -> int:
        """See `TaskStore`."""
        return await prune(self._database, before, keep)


def _job(job: UUID) -> Select[Any]:
    return select(*JOB_COLUMNS).where(jobs.c.id == job)
