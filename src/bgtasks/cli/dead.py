"""`bgtasks dead`: messages that a reader passed over, to be read again or given up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import typer

from bgtasks.cli.display import AsJson, as_record, instant, print_json, say, say_more, show
from bgtasks.cli.session import RedisUrl, execute, fail, given, load
from bgtasks.resources import open_resources

if TYPE_CHECKING:
    from bgtasks.memory.dead import Dead, DeadLetters
    from bgtasks.memory.messages import MessageCache

__all__ = ["app"]

app = typer.Typer(help="Messages that could not be dealt with: list, retry, drop them.", no_args_is_help=True)

Key = typer.Argument(None, metavar="KEY", help="Which one, as listed.")
Every = typer.Option(False, "--all", help="All of them.")


class _Held(NamedTuple):
    letters: DeadLetters
    cache: MessageCache


@asynccontextmanager
async def _held(redis: str | None) -> AsyncIterator[_Held]:
    from bgtasks.memory.dead import DeadLetters
    from bgtasks.memory.messages import MessageCache

    settings = load(redis)
    async with open_resources(settings) as held:
        client = given(held.redis)
        cache = MessageCache(client, settings.namespace, cap=settings.channel_messages)
        yield _Held(DeadLetters(client, settings.namespace), cache)


@app.command("list")
def list_dead(
    limit: int = typer.Option(100, min=1, help="How many at most."),
    as_json: bool = AsJson,
    redis: str | None = RedisUrl,
) -> None:
    """Show messages that a reader passed over, the latest first, and why."""

    async def work() -> None:
        async with _held(redis) as held:
            found, count = await held.letters.list(limit), await held.letters.count()
        if as_json:
            print_json([as_record(dead) for dead in found])
        elif found:
            rows = [
                (each.key, instant(each.at), each.channel, each.message_id, each.reader, each.why)
                for each in found
            ]
            show(("key", "when (UTC)", "channel", "message", "reader", "why"), rows, cut=("why",))
        else:
            typer.echo("no dead letters: every message was dealt with, or is still to be")
        if count > len(found) > 0:
            say_more(f"{count - len(found)} more: bgtasks dead list --limit {count}", as_json=as_json)

    execute(work())


@app.command()
def retry(key: str | None = Key, every: bool = Every, redis: str | None = RedisUrl) -> None:
    """Put messages at the end of their channels once more, where their readers come to them again.

    Exit code 1: a message is not in its channel any more, and stays listed.
    """
    _one_or_all(key, every)

    async def work() -> int:
        gone = 0
        async with _held(redis) as held:
            for dead in await _chosen(held.letters, key):
                # In this order, so that a crash in between has it read twice rather than never. A reader
                # that fails at it again before it is dropped has listed it anew: then it stays.
                if await held.cache.again(dead.channel, dead.message_id):
                    await held.letters.drop(dead.key, at=dead.at)
                    say(f"{dead.key}  {dead.channel}: {dead.message_id} is to be read again")
                else:
                    gone += 1
                    say(
                        f"{dead.key}  {dead.channel}: {dead.message_id} is not there any more; "
                        f"see: bgtasks dead drop {dead.key}",
                        err=True,
                    )
        return 1 if gone else 0

    execute(work())


@app.command()
def drop(key: str | None = Key, every: bool = Every, redis: str | None = RedisUrl) -> None:
    """Give messages up: they are not listed any more, and stay in their channels."""
    _one_or_all(key, every)

    async def work() -> None:
        async with _held(redis) as held:
            for dead in await _chosen(held.letters, key):
                await held.letters.drop(dead.key)
                say(f"{dead.key}  {dead.channel}: {dead.message_id} is given up")

    execute(work())


def _one_or_all(key: str | None, every: bool) -> None:
    if (key is None) == (not every):
        fail("say which with a KEY of bgtasks dead list, or --all for all of them", 2)


async def _chosen(letters: DeadLetters, key: str | None) -> list[Dead]:
    """The one of this key, or all there are now, the first to die first.

    Raises:
        typer.Exit: There is none.
    """
    if key is None:
        found = await letters.list(await letters.count())
        if not found:
            typer.echo("no dead letters")
        return [*reversed(found)]
    if (dead := await letters.get(key)) is None:
        fail(f"no dead letter has the key {key}; see: bgtasks dead list", 1)
    return [dead]
