"""Which store a command asks, and how it is opened: the one that `bgtasks run` keeps its claims in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import typer

from bgtasks.cli.session import load
from bgtasks.contracts import TaskStore
from bgtasks.errors import ConfigurationError, ResourceUnavailable, UnknownJob, UnsuitableServer
from bgtasks.records import JobRow
from bgtasks.resources import Resources, is_embedded, open_resources
from bgtasks.settings import Settings
from bgtasks.stores import task_store

__all__ = ["OPENING", "NoStore", "StoreUrl", "goes_with_the_list", "id_of", "job_of", "open_store", "opened"]

OPENING = 2.5
"""Seconds that a store may take to answer for the first time."""

StoreUrl = typer.Option(
    None,
    "--store",
    metavar="URL",
    help="Where the claims are kept; default: BGTASKS_STORE_URL, else BGTASKS_REDIS_URL.",
)

NO_STORE = (
    "no store is configured: give --store, or set BGTASKS_STORE_URL or BGTASKS_REDIS_URL, to "
    "redis://host:6379/0, sqlite:///path/to/file.db or postgresql://user:password@host/name"
)


class NoStore(UnsuitableServer):
    """Neither the call nor the settings name a store that this process can see."""


@asynccontextmanager
async def opened(url: str | None = None) -> AsyncIterator[TaskStore]:
    """The store that the call or the settings name, closed when the block ends.

    Raises:
        NoStore: They name none, or memory, which no other process sees.
        ResourceUnavailable: It does not answer in time.
        UnsuitableServer: What answers is no store of ours.
        ConfigurationError: The URL cannot be read.
    """
    async with open_store(load(), url) as store:
        yield store


@asynccontextmanager
async def open_store(
    settings: Settings, url: str | None = None, held: Resources | None = None
) -> AsyncIterator[TaskStore]:
    """As `opened`, by these settings, and with what they name if that is open already."""
    if url is None and settings.store_url is not None:
        url = settings.store_url.get_secret_value()
    async with AsyncExitStack() as stack:
        store = await _store(settings, url, held, stack)
        stack.push_async_callback(store.aclose)
        try:
            async with asyncio.timeout(OPENING):
                await store.open()
        except TimeoutError as error:
            raise ResourceUnavailable("the store", f"no answer of {store.name} in {OPENING:g} s") from error
        yield store


async def _store(
    settings: Settings, url: str | None, held: Resources | None, stack: AsyncExitStack
) -> TaskStore:
    if url is None:
        if settings.redis_url is None:
            raise NoStore(NO_STORE)
        url = settings.redis_url.get_secret_value()
        if is_embedded(url):
            server = held if held is not None else await stack.enter_async_context(open_resources(settings))
            return task_store(server.redis, namespace=settings.namespace)
    if url.startswith("memory:"):
        raise NoStore(
            "memory:// is seen by the process alone that has it: give its nodes a Redis, SQLite or PostgreSQL"
        )
    return task_store(url, namespace=settings.namespace)


async def job_of(store: TaskStore, id: str) -> JobRow:
    """The job of an id, or of the beginning of one that no other id has.

    Raises:
        ConfigurationError: It is no id, or the beginning of several.
        UnknownJob: There is none.
    """
    digits = id.replace("-", "").lower()
    if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        raise ConfigurationError(f'"{id}" is no id of a job: see bgtasks jobs')
    first, last = (UUID(digits.ljust(32, filler)) for filler in "0f")
    if first == last:
        row = await store.job(first)
        if row is None:
            raise UnknownJob(id)
        return row
    found = await store.jobs(after=UUID(int=first.int - 1) if first.int else None, limit=2)
    held = [row for row in found if row.id <= last]
    if not held:
        raise UnknownJob(id)
    if len(held) > 1:
        raise ConfigurationError(f'several jobs have an id that begins with "{id}": give more of it')
    return held[0]


async def id_of(store: TaskStore, id: str) -> UUID:
    """The id of a job; one that is written in full may be of a job that was removed.

    Raises:
        ConfigurationError: It is no id, or the beginning of several.
        UnknownJob: It is the beginning of none.
    """
    try:
        return UUID(id)
    except ValueError:
        return (await job_of(store, id)).id


def goes_with_the_list(context: typer.Context, store: str | None) -> bool:
    """Whether a group is called by itself, which lists. Before another command `--store` is handed on.

    Raises:
        typer.BadParameter: An option of the list is given with another command.
    """
    command = context.invoked_subcommand
    if command is None:
        return True
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name != "store" and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"{parameter.opts[0]} goes with the list, not with {command}")
    context.default_map = {**(context.default_map or {}), command: {"store": store}}
    return False
