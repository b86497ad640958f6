"""What every command shares: the settings with the call's options over them, and one way to run."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Coroutine, Iterable
from typing import Any, Never

import typer

from bgtasks.cli.display import say
from bgtasks.contracts import Absent
from bgtasks.errors import ConfigurationError, UnsuitableServer
from bgtasks.settings import Settings

__all__ = ["Imports", "RedisUrl", "execute", "fail", "given", "import_tasks", "load"]

RedisUrl = typer.Option(
    None, "--redis", metavar="URL", help='Redis, or "embedded"; default: BGTASKS_REDIS_URL.'
)
Imports = typer.Option(
    [], "--import", "-i", metavar="MODULE", help="A module whose tasks take part; may be repeated."
)


def load(redis: str | None = None) -> Settings:
    """The settings, with the options of the call over them.

    Raises:
        InvalidSetting: A setting is misspelt or cannot be read.
    """
    return Settings.load(**({"redis_url": redis} if redis else {}))


def execute(work: Coroutine[Any, Any, int | None]) -> Never:
    """Run a command's coroutine to its end and exit with the code it returns."""
    raise typer.Exit(asyncio.run(work) or 0)


def given[R](resource: R | Absent) -> R:
    """The resource, where a command cannot do without it.

    Raises:
        UnsuitableServer: It is absent; the message is the reason.
    """
    if isinstance(resource, Absent):
        raise UnsuitableServer(resource.reason)
    return resource


def fail(message: str, code: int) -> Never:
    """Say `message` on stderr and exit with `code`."""
    say(f"error: {message}", err=True)
    raise typer.Exit(code)


def import_tasks(modules: Iterable[str]) -> None:
    """Import modules, whose decorated tasks are thereby recorded. The working directory is searched too.

    Raises:
        ConfigurationError: A module cannot be imported.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # someone else's module; whatever stops it is the answer
            raise ConfigurationError(f"--import {name}: {type(error).__name__}: {error}") from error
