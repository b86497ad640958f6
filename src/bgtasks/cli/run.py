"""`bgtasks run`: a process that runs every task it can."""

from __future__ import annotations

import typer

from bgtasks.cli.session import Imports, RedisUrl, execute, import_tasks, load

__all__ = ["run"]


def run(
    redis: str | None = RedisUrl,
    imports: list[str] = Imports,
    only: list[str] = typer.Option([], help="Run this task and no others; may be repeated."),
    exclude: list[str] = typer.Option([], help="Do not run this task; may be repeated."),
    wait: bool = typer.Option(False, "--wait", help="Start even if Redis does not answer yet."),
) -> None:
    """Run the tasks that can run here until SIGINT or SIGTERM."""
    from bgtasks import service
    from bgtasks.telemetry.logs import log_to_stderr

    settings = load(redis)
    log_to_stderr(settings.log_level)
    import_tasks(imports)
    execute(service.run(settings, only=only or None, exclude=exclude, wait=wait))
