"""Reads what the store has kept, and holds it against what its triggers ask for and what nodes did."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from tests.simulation.claims.observer import Observer
from tests.simulation.claims.reach import Server
from tests.simulation.claims.workload import Kind

from bgtasks.records import JobRow, RunQuery, RunRow, RunStatus
from bgtasks.triggers import Every, Trigger

__all__ = ["History", "Segment"]

PROMPT_S = 6.0
"""Seconds in which what can be done is done, when nothing is broken: two beats."""

UNHEARD = timedelta(seconds=15)
"""In which all nodes hear of another trigger, or are not trusted any more."""

PROMPT = timedelta(seconds=35)
"""By how much less a tick is late, its claim may have been made in time, and got no answer since."""

MICROSECOND = timedelta(microseconds=1)

OVERDUE = timedelta(seconds=5)
"""By how much a tick is late, for a node to know it, whatever its clock says."""

GRAIN = timedelta(microseconds=3)
"""By how much two roundings of one instant may differ."""

_SEEN = {RunStatus.SUCCESS: "well", RunStatus.FAILED: "failed", RunStatus.TIMED_OUT: "cancelled"}
"""How a run ended by its own view, by how it is written down."""

_TICKS = re.compile(r"(a|\d+) ticks? missed")


@dataclass(slots=True)
class Segment:
    """Instants that a job is due at while nobody changes it.

    Attributes:
        first: The first of them.
        end: Where they end: a change moved it from here to another. None for the present ones.
        anchor: Where the grid of a fixed rate begins.
        made: The true time of the change.
        unheard: Until when a node may claim the first by the trigger before: it was overdue, and stayed due.
    """

    first: datetime
    trigger: Trigger
    anchor: datetime | None
    made: float
    end: datetime | None = None
    unheard: datetime | None = None

    def instants(self, until: datetime) -> Iterator[datetime]:
        """All before then, and before the end."""
        until = until if self.end is None else min(until, self.end)
        at: datetime | None = self.first
        while at is not None and at < until:
            yield at
            at = self._after(at)

    def _after(self, at: datetime) -> datetime | None:
        if isinstance(self.trigger, Every):
            step, anchor = timedelta(seconds=self.trigger.seconds), self.anchor or self.first
            steps = round((at - anchor) / step)
            while anchor + steps * step <= at:
                steps += 1
            return anchor + steps * step
        return self.trigger.next_after(at)


@dataclass(slots=True, eq=False)
class History:
    """What the store should have of each job."""

    observer: Observer
    server: Server
    now: Callable[[], datetime]
    segments: dict[UUID, list[Segment]] = field(default_factory=dict)
    firsts: dict[UUID, list[datetime]] = field(default_factory=dict)  # to which a plain interval was set
    over: dict[str, RunRow] = field(default_factory=dict)

    def added(self, row: JobRow) -> None:
        """The store has answered that it keeps this job."""
        if row.id not in self.firsts:
            self.segments[row.id] = []
            self._begin(row)

    def changed(self, before: JobRow | None, after: JobRow | None) -> None:
        """The store has changed a job."""
        if before is None or after is None:
            return
        same = (before.next_run_at, before.trigger, before.anchor, before.interval_minutes)
        if same == (after.next_run_at, after.trigger, after.anchor, after.interval_minutes):
            return
        if self.segments[after.id]:
            self.segments[after.id][-1].end = before.next_run_at
        # By a microsecond later, so that nobody claims it by the schedule before.
        kept = before.next_run_at is None or after.next_run_at in (
            before.next_run_at,
            before.next_run_at + MICROSECOND,
        )
        if before.next_run_at is not None and before.next_run_at < self.now() - OVERDUE and not kept:
            text = f"{before} was overdue, and is due at {after.next_run_at}"
            self.observer.violated("C5", self.server.loop.now, text)
        self._begin(after, self.now() + UNHEARD if kept else None)

    def _begin(self, row: JobRow, unheard: datetime | None = None) -> None:
        if row.next_run_at is None:
            return
        self.firsts.setdefault(row.id, []).append(row.next_run_at)
        kind, at = self.observer.jobs[row.id], self.server.loop.now
        for version in (0, 1):
            trigger = kind.trigger(version)
            text = str(trigger)
            if row.trigger is not None and text == row.trigger:
                self.segments[row.id].append(
                    Segment(row.next_run_at, trigger, row.anchor, at, unheard=unheard)
                )

    def loses(self, since: float) -> None:
        """The store has lost what was written since then, changes too."""
        for job, segments in self.segments.items():
            while segments and segments[-1].made >= since:
                segments.pop()
                if segments:
                    segments[-1].end = None
            if not segments and self.observer.jobs[job].on_a_grid:
                self.firsts.pop(job)

    # -- once a round ------------------------------------------------------------------------------

    def check(self, at: float, now: datetime) -> None:
        """Hold all that is kept against all that should be."""
        for job, kind in self.observer.jobs.items():
            row: JobRow | None = self.server.ask("job", job)
            if row is None:
                self.observer.violated("C5", at, f"{kind.name} is not kept")
                continue
            rows: list[RunRow] = list(self.server.ask("runs", RunQuery(job_id=job, limit=1_000_000)))
            by_id = {each.id: each for each in rows}
            self._is_as_it_was(at, kind, by_id)
            self._is_what_was_done(at, kind, rows)
            self._follows(at, kind, rows, by_id)
            self._is_complete(at, kind, row, rows)
            self._goes_on(at, now, kind, row, rows)

    def _is_as_it_was(self, at: float, kind: Kind, rows: dict[str, RunRow]) -> None:
        for run, row in rows.items():
            before = self.over.get(run)
            if before is not None and before != row:
                self.observer.violated("C4", at, f"{kind.name}: {before} became {row}")
            if row.status.is_over:
                self.over[run] = row

    def _is_what_was_done(self, at: float, kind: Kind, rows: list[RunRow]) -> None:
        observer = self.observer
        for row in rows:
            work = observer.begun.get(row.id)
            if row.id in observer.lost and row.status is not RunStatus.LOST:
                excuse = observer.excused(row.id)
                observer.violated(
                    "C4", at, f"{kind.name}: {row.id} was lost, and is {row.status}", excuse=excuse
                )
            if row.status in (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.TIMED_OUT):
                if work is None or work.claim.token != row.token or row.id not in observer.done:
                    observer.violated("C4", at, f"{kind.name}: {row.id} is {row.status}, and nobody did it")
                elif observer.done[row.id] != _SEEN[row.status]:
                    text = f"{kind.name}: {row.id} is {row.status}, and ended {observer.done[row.id]}"
                    observer.violated("C4", at, text)
            if row.attempt > row.attempts:
                observer.violated(
                    "C6", at, f"{kind.name}: {row.id} is attempt {row.attempt} of {row.attempts}"
                )

    def _follows(self, at: float, kind: Kind, rows: list[RunRow], by_id: dict[str, RunRow]) -> None:
        for row in rows:
            if row.status is RunStatus.LOST and row.attempt < row.attempts and not row.unwanted:
                follower = f"{row.id.partition('~')[0]}~{row.attempt + 1}"
                if follower not in by_id:
                    self.observer.violated("C6", at, f"{kind.name}: {row.id} was lost, and nothing follows")

    # -- each instant ------------------------------------------------------------------------------

    def _is_complete(self, at: float, kind: Kind, job: JobRow, rows: list[RunRow]) -> None:
        ticks = [row for row in rows if row.attempt == 1 and row.id not in self.observer.offered]
        if job.interval_minutes is not None:
            self._is_an_interval_later(at, kind, job, rows, ticks)
            return
        segments = self.segments[job.id]
        instants = [
            instant for segment in segments for instant in segment.instants(job.next_run_at or segment.first)
        ]
        unheard = [(each.first, each.unheard) for each in segments if each.unheard is not None]
        place = {instant: index for index, instant in enumerate(instants)}
        told = Counter[datetime]()
        for row in ticks:
            count = 1
            if row.id.endswith(":missed"):
                found = _TICKS.match(row.error_message or "")
                assert found is not None, row
                count = 1 if found[1] == "a" else int(found[1])
                if kind.catches_up_with_all:
                    self.observer.violated("C5", at, f"{kind.name}: missed {row}")
            beside = row.status is RunStatus.SKIPPED and (row.error_message or "").startswith(
                "the previous run"
            )
            if kind.catches_up_with_all and beside and row.created_at - row.due > PROMPT:
                self.observer.violated("C5", at, f"{kind.name}: late, and skipped: {row}")
            if row.due not in place and any(first <= row.due <= until for first, until in unheard):
                self.observer.limits["C5: a change was not heard of yet"] += 1
                continue
            if row.due not in place:
                self.observer.violated("C5", at, f"{kind.name}: {row.due:%T.%f} is no tick of it: {row}")
                continue
            told.update(instants[place[row.due] : place[row.due] + count])
        for instant in instants:
            if not told[instant] and any(first < instant <= until for first, until in unheard):
                self.observer.limits["C5: a change was not heard of yet"] += 1
            elif not told[instant]:
                self.observer.violated("C5", at, f"{kind.name}: nothing is known of {instant:%T.%f}")
            elif told[instant] > 1:
                self.observer.violated("C5", at, f"{kind.name}: {instant:%T.%f} has {told[instant]} rows")

    def _is_an_interval_later(
        self, at: float, kind: Kind, job: JobRow, rows: list[RunRow], ticks: list[RunRow]
    ) -> None:
        steps = [timedelta(seconds=_seconds(kind.trigger(version))) for version in (0, 1)]
        may = list(self.firsts[job.id])
        may += [
            end + step for row in rows for end in (row.finished_at, row.created_at) if end for step in steps
        ]
        may.sort()
        for due in (*(row.due for row in ticks), *(() if job.next_run_at is None else (job.next_run_at,))):
            if not _near(may, due) and not self.observer.lossy:
                self.observer.violated("C5", at, f"{kind.name}: {due:%T.%f} is an interval after nothing")

    # -- nothing is stuck --------------------------------------------------------------------------

    def _goes_on(self, at: float, now: datetime, kind: Kind, job: JobRow, rows: list[RunRow]) -> None:
        observer = self.observer
        going = [row for row in rows if row.status is RunStatus.RUNNING]
        wanted = [row for row in rows if row.status is RunStatus.PENDING]
        free_for = at - observer.free_since.get(job.id, -1e9) if not going else 0.0
        works = {work.run_id: work for work in observer.works}
        for row in going:
            assert row.started_at is not None
            if (
                row.id not in works
                and _ago(now, row.started_at) > PROMPT_S
                and not self._just_ended(at, row.id)
            ):
                excuse = "the store has lost how it ended" if observer.lossy else ""
                observer.violated("C7", at, f"{kind.name}: nobody does {row}", excuse=excuse)
        for row in wanted:
            if min(free_for, _ago(now, row.created_at)) > PROMPT_S:
                observer.violated("C7", at, f"{kind.name}: nobody begins {row}")
        if job.next_run_at is None:
            if not going and not wanted:
                observer.violated("C7", at, f"{kind.name} is never due again: {job}")
        elif min(_ago(now, job.next_run_at), free_for) > PROMPT_S:
            observer.violated("C7", at, f"{kind.name} is overdue by {_ago(now, job.next_run_at):g} s: {job}")

    def _just_ended(self, at: float, run: str) -> bool:
        return at - self.observer.ended_at.get(run, -1e9) < PROMPT_S


def _seconds(trigger: Trigger) -> float:
    assert isinstance(trigger, Every)
    return trigger.seconds


def _ago(now: datetime, then: datetime) -> float:
    return (now - then).total_seconds()


def _near(sorted_instants: list[datetime], due: datetime) -> bool:
    index = bisect_left(sorted_instants, due - GRAIN)
    return index < len(sorted_instants) and sorted_instants[index] <= due + GRAIN
