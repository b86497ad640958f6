"""`bgtasks prompts`: what is to be asked later."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import typer

from bgtasks.cli.display import AsJson, print_json, show
from bgtasks.cli.session import RedisUrl, execute, fail, given, load
from bgtasks.errors import InvalidTrigger
from bgtasks.prompts import Prompt, PromptStore
from bgtasks.resources import open_resources
from bgtasks.triggers import Cron, Once, parse

__all__ = ["app"]

app = typer.Typer(help="Scheduled prompts: add, list, cancel.", no_args_is_help=True)


@asynccontextmanager
async def _store(redis: str | None) -> AsyncIterator[PromptStore]:
    settings = load(redis)
    async with open_resources(settings) as held:
        yield PromptStore(given(held.redis), settings.namespace)


@app.command()
def add(
    text: str = typer.Argument(help="The prompt itself."),
    at: str | None = typer.Option(
        None, help='When, once: "2026-12-24T18:00" (in --zone, or with an offset).'
    ),
    after: str | None = typer.Option(None, "--in", help='When, once, from now: "90s", "4h", "1d12h".'),
    cron: str | None = typer.Option(None, help='When, again and again: "0 8 * * MON-FRI" or "@daily".'),
    zone: str = typer.Option("UTC", help="IANA time zone of --at and --cron."),
    user: str = typer.Option("", help="For whom."),
    channel: str = typer.Option("", help="Where the answer goes."),
    agent: str = typer.Option("", help="Which agent answers."),
    redis: str | None = RedisUrl,
) -> None:
    """Schedule a prompt, once or by a cron expression."""
    now = datetime.now(UTC)
    trigger = _trigger(at, after, cron, zone, now)

    async def work() -> None:
        async with _store(redis) as store:
            prompt = await store.add(text, trigger, now=now, user=user, channel=channel, agent=agent)
            typer.echo(f"{prompt.id}  due {_shown(prompt.due)}")

    execute(work())


@app.command("list")
def list_prompts(
    ended: bool = typer.Option(False, "--all", help="Also those that have ended in the last days."),
    as_json: bool = AsJson,
    redis: str | None = RedisUrl,
) -> None:
    """Show the scheduled prompts, the next due first."""

    async def work() -> None:
        async with _store(redis) as store:
            found = await store.all(ended=ended)
        if as_json:
            print_json([_record(prompt) for prompt in found])
        elif not found:
            typer.echo("no prompts; add one with: bgtasks prompts add TEXT --in 4h")
        else:
            _print(found)

    execute(work())


@app.command()
def cancel(prompt_id: str = typer.Argument(metavar="ID"), redis: str | None = RedisUrl) -> None:
    """End a scheduled prompt."""

    async def work() -> None:
        async with _store(redis) as store:
            if not await store.cancel(prompt_id, now=datetime.now(UTC)):
                fail(f"no active prompt has the id {prompt_id}; see: bgtasks prompts list", 1)
            typer.echo(f"{prompt_id}  cancelled")

    execute(work())


def _trigger(at: str | None, after: str | None, cron: str | None, zone: str, now: datetime) -> Once | Cron:
    if sum(each is not None for each in (at, after, cron)) != 1:
        raise InvalidTrigger("say when with exactly one of --at, --in and --cron")
    checked = Cron("@daily", zone).zone  # the one place that explains an unknown zone
    if cron is not None:
        return Cron(cron, checked)
    if after is not None:
        return Once(now + timedelta(seconds=parse(after)))
    return Once(_instant(at or "", checked))


def _instant(written: str, zone: ZoneInfo) -> datetime:
    try:
        when = datetime.fromisoformat(written)
    except ValueError as error:
        raise InvalidTrigger(f"--at {written!r} is no instant: write 2026-12-24T18:00") from error
    return when if when.tzinfo is not None else when.replace(tzinfo=zone)


def _record(prompt: Prompt) -> dict[str, str | None]:
    return {
        "id": prompt.id,
        "status": prompt.status,
        "due": prompt.due.isoformat() if prompt.due else None,
        "last": prompt.last.isoformat() if prompt.last else None,
        "trigger": str(prompt.trigger) if prompt.trigger else None,
        "text": prompt.text,
        "user": prompt.user,
        "channel": prompt.channel,
        "agent": prompt.agent,
        "why": prompt.why or None,
    }


def _print(prompts: Sequence[Prompt]) -> None:
    rows = [
        (
            *(each.id, each.status, _shown(each.due), str(each.trigger) if each.trigger else each.why),
            *(" ".join(part for part in (each.user, each.channel, each.agent) if part), each.text),
        )
        for each in prompts
    ]
    show(("id", "status", "due", "trigger", "for", "text"), rows)


def _shown(when: datetime | None) -> str:
    return "-" if when is None else f"{when:%Y-%m-%d %H:%M:%S} UTC"
