"""`bgtasks run`: a process that runs every task it can."""

from __future__ import annotations

import logging
import os

import typer

from bgtasks.build import build_scheduler
from bgtasks.cli.session import Imports, RedisUrl, execute, import_tasks, load, log_to_stderr
from bgtasks.errors import UnsuitableServer
from bgtasks.resources import open_resources
from bgtasks.service import serve
from bgtasks.settings import Settings
from bgtasks.wiring import Decision

__all__ = ["run"]


def run(
    redis: str | None = RedisUrl,
    imports: list[str] = Imports,
    only: list[str] = typer.Option([], help="Run this task and no others; may be repeated."),
    exclude: list[str] = typer.Option([], help="Do not run this task; may be repeated."),
    wait: bool = typer.Option(False, "--wait", help="Start even if Redis does not answer yet."),
) -> None:
    """Run the tasks that can run here until SIGINT or SIGTERM."""
    settings = load(redis)
    log_to_stderr(settings.log_level)
    import_tasks(imports)
    execute(_run(settings, only, exclude, wait))


def _say_what_is_not_run(rows: tuple[Decision, ...]) -> None:
    log = logging.getLogger("bgtasks")
    for row in rows:
        if not row.wired:
            log.info("%s does not run here: %s", row.name, row.reason)
    if not any(row.wired for row in rows):
        log.warning("nothing can run here; the lines above say why (bgtasks tasks shows it too)")


async def _run(settings: Settings, only: list[str], exclude: list[str], wait: bool) -> None:
    async with open_resources(settings, checked=not wait) as held:
        if isinstance(held.trouble, UnsuitableServer):
            raise held.trouble  # waiting would not mend it
        scheduler = build_scheduler(
            **held.arguments,
            config=settings,
            only=only or None,
            exclude=exclude,
            stop_timeout=settings.stop_timeout,
        )
        _say_what_is_not_run(scheduler.decisions)
        unfinished = await serve(scheduler)
    if unfinished:
        logging.shutdown()
        os._exit(1)  # everything is closed, and asyncio.run would wait for ever for what will not end
