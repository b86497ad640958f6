"""The commands, put together."""

from __future__ import annotations

import typer

from bgtasks.cli import budget, dead, ingest, jobs, leader, nodes, prompts, run, runs, settings, switch, tasks

__all__ = ["app"]

app = typer.Typer(
    name="bgtasks",
    help="Background tasks for asyncio AI assistants.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def about(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    """Background tasks for asyncio AI assistants."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"bgtasks {installed('bgtasks')}")
        raise typer.Exit


@app.command()
def demo(
    keep: bool = typer.Option(False, help="Keep the demo's data directory and say where it is."),
) -> None:
    """Run the built-in tasks on an embedded Redis and FalkorDB, over a sample conversation."""
    from bgtasks.cli.session import execute
    from bgtasks.demo import play

    execute(play(keep=keep))


app.command()(run.run)
app.command()(tasks.tasks)
app.command()(runs.runs)
app.add_typer(jobs.app, name="jobs")
app.add_typer(nodes.app, name="nodes")
app.command()(switch.pause)
app.command()(switch.resume)
app.command()(switch.trigger)
app.command()(ingest.ingest)
app.command()(settings.settings)
app.add_typer(prompts.app, name="prompts")
app.add_typer(leader.app, name="leader")
app.command()(budget.budget)
app.add_typer(dead.app, name="dead")
