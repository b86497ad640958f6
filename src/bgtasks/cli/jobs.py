"""`bgtasks jobs`: the jobs of the store, those of tasks and those that were added at run time."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.text import Text

from bgtasks.claims import Jobs
from bgtasks.claims.declared import kept_schedule
from bgtasks.cli.display import (
    AsJson,
    ago,
    as_record,
    instant,
    one_line,
    print_json,
    read_json,
    say,
    say_more,
    show,
)
from bgtasks.cli.history import Labels, as_run, job_name, print_runs
from bgtasks.cli.session import execute
from bgtasks.cli.store import StoreUrl, goes_with_the_list, id_of, job_of, opened
from bgtasks.cli.waiting import Wait, run_and_wait
from bgtasks.errors import InvalidTask, UnknownJob
from bgtasks.nodes import Nodes
from bgtasks.records import EVERY_BOT, JobRow, RunQuery
from bgtasks.trigger_text import read_trigger
from bgtasks.triggers import Every, Trigger

__all__ = ["app", "state", "when"]

app = typer.Typer(help="Jobs in the store: list, add, look at, command them.", invoke_without_command=True)

RUNS = 10
"""Runs of a job that are shown with it."""

JobId = typer.Argument(metavar="ID", help="As it is listed; the beginning of an id does.")


@app.callback()
def list_jobs(
    context: typer.Context,
    job_type: str | None = typer.Option(None, "--type", metavar="T", help="Jobs of this type."),
    bot: str | None = typer.Option(
        None, metavar="B", help='Jobs of this bot; "*" for those of no single one.'
    ),
    after: str | None = typer.Option(None, metavar="ID", help="Those after this one: the next page."),
    limit: int = typer.Option(50, min=1, max=10_000, help="How many."),
    as_json: bool = AsJson,
    store: str | None = StoreUrl,
) -> None:
    """Show the jobs of the store, in the order of their ids; or do something with one."""
    if not goes_with_the_list(context, store):
        return

    async def work() -> None:
        async with opened(store) as held:
            place = None if after is None else await id_of(held, after)
            found = await Jobs(held).list(job_type, bot_id=bot, after=place, limit=limit + 1)
            unresolved = await Nodes(held).unresolved()
        rows = found[:limit]
        if as_json:
            print_json([_record(row, unresolved) for row in rows])
        elif not rows:
            say("no jobs; add one with: bgtasks jobs add TYPE TRIGGER")
        else:
            _print(rows, unresolved)
        if len(found) > limit:
            say_more(f"more: --after {rows[-1].id}", as_json=as_json)

    execute(work())


@app.command()
def add(
    job_type: str = typer.Argument(metavar="TYPE", help="What runs it: the name of a background job."),
    trigger: str = typer.Argument(
        metavar="TRIGGER",
        help='"4h", "every 4h at a fixed rate", "cron 0 9 * * 1-5 (Europe/Helsinki)" or '
        '"once at 2026-12-24T18:00+02:00".',
    ),
    bot: str = typer.Option(EVERY_BOT, metavar="B", help="Whose it is; by default everybody's."),
    key: str | None = typer.Option(
        None, metavar="K", help="A name of its own: one job per type, bot and key is kept."
    ),
    config: str = typer.Option("{}", metavar="JSON", help="What its runs are given."),
    store: str | None = StoreUrl,
) -> None:
    """Add a job, which any node with its type runs. Given again with its key, it is the one that is there."""
    when, given = read_trigger(trigger), _config(config)

    async def work() -> None:
        async with opened(store) as held:
            row = await Jobs(held).add(job_type, when, bot_id=bot, key=key, config=given)
            nobody = job_type in await Nodes(held).unresolved()
        say(f"{row.id}  {job_name(row)}, {_next(row)}")
        if key is not None and not _is_new(row, when, given):
            say("it was there already, and was left as it is", err=True)
        if nobody:
            say(f'no node that is alive runs jobs of the type "{job_type}": it waits for one', err=True)

    execute(work())


@app.command("show")
def show_job(job: str = JobId, as_json: bool = AsJson, store: str | None = StoreUrl) -> None:
    """Show a job and its last runs."""

    async def work() -> None:
        async with opened(store) as held:
            row = await job_of(held, job)
            found = await held.runs(RunQuery(row.id, limit=RUNS))
            unresolved, labels = await Nodes(held).unresolved(), Labels(held)
            if as_json:
                runs = [as_run(run, await labels.of(run)) for run in found]
                print_json({**_record(row, unresolved), "runs": runs})
                return
            _print_one(row, unresolved)
            if found:
                typer.echo()
                await print_runs(found, labels)

    execute(work())


@app.command()
def pause(
    job: str = JobId,
    reason: str = typer.Option("by hand", metavar="R", help="Shown wherever the job is."),
    store: str | None = StoreUrl,
) -> None:
    """Start no run of a job on any node until it is resumed."""

    async def work() -> None:
        async with opened(store) as held:
            row = await Jobs(held).pause((await job_of(held, job)).id, reason)
        say(f"{row.id}  {job_name(row)}, paused: {row.reason}")

    execute(work())


@app.command()
def resume(job: str = JobId, store: str | None = StoreUrl) -> None:
    """End a pause. A plain interval that came due meanwhile runs now, anything else at its next tick."""

    async def work() -> None:
        async with opened(store) as held:
            row = await Jobs(held).resume((await job_of(held, job)).id)
        say(f"{row.id}  {job_name(row)}, {_next(row)}")

    execute(work())


@app.command()
def remove(job: str = JobId, store: str | None = StoreUrl) -> None:
    """Forget a job, and cancel its runs; its history stays. A task's comes back with a node that has it."""

    async def work() -> None:
        async with opened(store) as held:
            row = await job_of(held, job)
            if not await Jobs(held).remove(row.id):
                raise UnknownJob(row.id)
        say(f"{row.id}  {job_name(row)}, removed")

    execute(work())


@app.command()
def run(job: str = JobId, wait: float = Wait, store: str | None = StoreUrl) -> None:
    """Run a job now, beside its schedule, on whichever node has it first. Exit code 1: it did not go well."""

    async def work() -> int:
        async with opened(store) as held:
            return await run_and_wait(held, await job_of(held, job), wait)

    execute(work())


def when(row: JobRow) -> str:
    """When a job is due, as it would be written."""
    if row.interval_minutes is not None:
        return str(Every(row.interval_minutes * 60))
    return row.trigger or ""


def state(row: JobRow, unresolved: Collection[str]) -> Text:
    """What there is to say of a job beside its schedule, in a word or two."""
    said = []
    if not row.enabled:
        said.append(Text("paused", "yellow"))
    if row.retired_at is not None:
        said.append(Text("retired", "dim"))
    elif row.job_type in unresolved:
        said.append(Text("unresolved", "red"))
    if row.trigger is not None and row.next_run_at is None:
        said.append(Text("over", "dim"))
    elif row.interval_minutes is not None and row.next_run_at is None:
        said.append(Text("running", "cyan"))
    return Text(", ").join(said)


def _config(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidTask(
            f'--config is no JSON: {error}; write --config \'{{"city": "Helsinki"}}\''
        ) from error


def _record(row: JobRow, unresolved: Collection[str]) -> dict[str, Any]:
    return {**as_record(row), "when": when(row), "unresolved": row.job_type in unresolved}


def _print(rows: Sequence[JobRow], unresolved: Collection[str]) -> None:
    rows_shown = [
        (
            *(str(row.id)[:8], job_name(row), "" if row.bot_id == EVERY_BOT else row.bot_id, when(row)),
            *(ago(row.next_run_at), ago(row.last_run_at), str(row.failures or ""), state(row, unresolved)),
        )
        for row in rows
    ]
    titles = ("id", "job", "bot", "when", "next", "last", "fails", "state")
    show(titles, rows_shown, fold={"job": 36, "bot": 20, "when": 34})
    if notes := [f"{str(row.id)[:8]}  {note}" for row in rows if (note := _note(row))]:
        typer.echo()
        for note in notes:
            say(note)


def _note(row: JobRow) -> str:
    """Why a job is paused, or since when nobody knows it."""
    said = []
    if not row.enabled and row.reason:
        said.append(f"paused: {one_line(row.reason)}")
    if row.retired_at is not None:
        said.append(f"no node knows it since {_both(row.retired_at)}")
    return "; ".join(said)


def _print_one(row: JobRow, unresolved: Collection[str]) -> None:
    declared = "a task, declared in code" if row.declared else ""
    fields: dict[str, str | Text] = {
        "id": str(row.id),
        "type": row.job_type,
        "bot": row.bot_id,
        "key": "" if row.declared else row.key or "",
        "kind": declared or "added at run time",
        "when": when(row),
        "next": _both(row.next_run_at),
        "last": _both(row.last_run_at),
        "failures in a row": str(row.failures),
        "state": state(row, unresolved),
        "": _note(row),
        "config": json.dumps(read_json(row.config_json), ensure_ascii=False),
    }
    show(
        ("", ""), [(Text(name, "bold"), value) for name, value in fields.items() if str(value)], header=False
    )


def _both(at: datetime | None) -> str:
    return f"{instant(at)} UTC, {ago(at)}" if at is not None else ""


def _next(row: JobRow) -> str:
    due = f"next {_both(row.next_run_at)}" if row.next_run_at is not None and row.enabled else ""
    return ", ".join(said for said in (when(row), due, str(state(row, ()))) if said)


def _is_new(row: JobRow, trigger: Trigger, config: Any) -> bool:
    """Whether a job is as one that was just added with these: if it was there, it is the same."""
    kept = kept_schedule(trigger, None)
    same = (row.trigger, row.interval_minutes) == (kept.trigger, kept.interval_minutes)
    given = {} if config is None else config
    return same and row.version == 1 and row.last_run_at is None and read_json(row.config_json) == given
