"""`bgtasks leader`: who leads, and a word to hand over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer

from bgtasks.cli.display import AsJson, print_json, say
from bgtasks.cli.session import RedisUrl, execute, given, load
from bgtasks.contracts import LeaseStore
from bgtasks.resources import open_resources
from bgtasks.stores import lease_store

__all__ = ["app"]

app = typer.Typer(help="Leadership: who has it, and hand it over.", no_args_is_help=True)

Group = typer.Option(None, "--group", metavar="NAME", help="A leader group; the default group if not given.")


@asynccontextmanager
async def _store(redis: str | None, group: str | None) -> AsyncIterator[LeaseStore]:
    from bgtasks.supervisor import lease_key

    key = lease_key(group)
    async with open_resources(load(redis)) as held:
        store = lease_store(given(held.redis), key)
        try:
            yield store
        finally:
            await store.aclose()


@app.command()
def show(
    group: str | None = Group,
    as_json: bool = AsJson,
    redis: str | None = RedisUrl,
) -> None:
    """Say who leads, under which token, and for how long if the lease is not renewed. Exit code 1: nobody."""

    async def work() -> int:
        async with _store(redis, group) as store:
            held = await store.look()
            if as_json:
                fields = None if held is None else held._asdict()
                print_json({"lease": store.key, "leader": fields})
            elif held is None:
                say(f"{store.key}: nobody leads")
            else:
                node, _, _ = held.owner.rpartition(":")
                left = (
                    "for ever: the key has no expiry" if held.remaining is None else f"{held.remaining:.1f} s"
                )
                say(f"{store.key}: {node or held.owner} leads, token {held.token}, lease {left}")
            return 1 if held is None else 0

    execute(work())


@app.command()
def resign(group: str | None = Group, redis: str | None = RedisUrl) -> None:
    """Ask the leader to hand over; it hears it at its next renewal. Exit code 1: nobody leads."""

    async def work() -> int:
        async with _store(redis, group) as store:
            held = await store.look()
            if held is None:
                say(f"{store.key}: nobody leads")
                return 1
            await store.ask_to_resign(held.owner)
            say(f"{store.key}: {held.owner.rpartition(':')[0] or held.owner} is asked to hand over")
            return 0

    execute(work())
