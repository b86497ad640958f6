"""`bgtasks nodes`: the processes that are alive, and how each stands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import typer
from rich.text import Text

from bgtasks.cli.display import (
    AsJson,
    ago,
    as_record,
    instant,
    now,
    one_line,
    print_json,
    read_instant,
    say,
    show,
    span,
    tail,
)
from bgtasks.cli.known import listed, mapped, tasks_on, workers_on
from bgtasks.cli.session import execute
from bgtasks.cli.store import StoreUrl, goes_with_the_list, opened
from bgtasks.cli.told import told
from bgtasks.errors import UnknownNode
from bgtasks.nodes import Node, Nodes

__all__ = ["app"]

app = typer.Typer(
    help="Nodes: who is alive, how each stands, what they were told.", invoke_without_command=True
)


@app.callback()
def list_nodes(context: typer.Context, as_json: bool = AsJson, store: str | None = StoreUrl) -> None:
    """Show the nodes that are alive, the first to join first. Exit code 1: none is."""
    if not goes_with_the_list(context, store):
        return

    async def work() -> int:
        async with opened(store) as held:
            nodes = Nodes(held)
            alive = await nodes.alive()
            unresolved = await nodes.unresolved(alive)
        if as_json:
            print_json([as_record(node) for node in alive])
            return 0 if alive else 1
        if not alive:
            say("no node is alive")
        else:
            _print(alive)
        for name, count in unresolved.items():
            jobs = "a job" if count == 1 else f"{count} jobs"
            say(f'{jobs} of "{name}": no node that is alive can run it', err=True)
        return 0 if alive else 1

    execute(work())


@app.command("show")
def show_node(
    node: str = typer.Argument(metavar="NAME"), as_json: bool = AsJson, store: str | None = StoreUrl
) -> None:
    """Show what a node runs and how that stands, and why it does not run the rest."""

    async def work() -> None:
        async with opened(store) as held:
            alive = await Nodes(held).alive()
        found = [each for each in alive if each.node_id == node]
        if not found:
            raise UnknownNode(node, [each.node_id for each in alive])
        if as_json:
            print_json([as_record(each) for each in found])
            return
        for each in found:
            _print_one(each)

    execute(work())


app.command()(told)


def _print(alive: list[Node]) -> None:
    titles = ("node", "up", "lag", "wired", "not", "waits for", "problems")
    rows = []
    for node in alive:
        state = node.state
        lag, waits = state.get("lag"), mapped(state, "unavailable")
        problems = [str(each) for each in state.get("problems") or ()]
        rows.append(
            (
                Text(tail(node.node_id, 30)),
                _up(node),
                span(float(lag)) if isinstance(lag, int | float) else "",
                str(len(_names(node))),
                str(len(_not_wired(node)) or ""),
                ", ".join(waits),
                Text(one_line("; ".join(problems)), "red"),
            )
        )
    show(titles, rows, fold={"waits for": 20, "problems": 80})


def _names(node: Node) -> list[str]:
    """What runs on a node: tasks and workers, types of job, and what runs there when it leads."""
    jobs = (str(job.get("name")) for job in tasks_on(node))
    return list(dict.fromkeys((*jobs, *node.wired, *workers_on(node))))


def _not_wired(node: Node) -> dict[str, str]:
    """What does not run on a node, and why."""
    workers = workers_on(node)
    reasons = mapped(node.state, "not_wired").items()
    return {name: str(reason) for name, reason in reasons if name not in workers}


def _since(node: Node) -> datetime | None:
    """Since when its process runs, by its own clock; at least since it is known to the store."""
    return read_instant(node.state.get("since")) or node.joined_at


def _up(node: Node) -> str:
    since = _since(node)
    return "" if since is None else span(max(0.0, (now() - since).total_seconds()))


def _print_one(node: Node) -> None:
    state = node.state
    since = _since(node)
    began = f"{instant(since)} UTC, {ago(since)}" if since else ""
    process = (
        f"pid {state.get('pid', '?')} on {state.get('host', '?')}, Python {state.get('python', '?')}, "
        f"as it said {ago(read_instant(state.get('at'))) or 'once'}"
    )
    facts = {"node": node.node_id, "up since": began, "process": process, "lag": f"{state.get('lag', '?')} s"}
    facts |= {f"leader of {group}": _led(each) for group, each in mapped(state, "leadership").items()}
    rows: list[tuple[str | Text, str | Text]] = [(Text(name, "bold"), value) for name, value in facts.items()]
    rows += [
        (Text("problem", "bold"), Text(one_line(str(each)), "red")) for each in state.get("problems") or ()
    ]
    rows += [
        (Text("waits for", "bold"), Text(one_line(f"{name}: {reason}"), "yellow"))
        for name, reason in mapped(state, "unavailable").items()
    ]
    show(("", ""), rows, header=False)
    if jobs := listed(state, "jobs"):
        typer.echo()
        titles = ("runs", "scope", "when", "next", "last", "state")
        show(titles, [_job(job) for job in jobs], cut=("when", "state"))
    shown = {str(job.get("name")) for job in jobs}
    if types := [name for name in node.wired if name not in shown]:
        typer.echo()
        show(("runs jobs of type",), [(name,) for name in types])
    if reasons := _not_wired(node):
        typer.echo()
        show(("does not run", "why"), list(reasons.items()), fold={"why": 200})
    typer.echo()


def _led(group: Any) -> str:
    """How the supervisor of a leader group stands."""
    if not isinstance(group, Mapping):
        return ""
    said = str(group.get("state", "?"))
    if group.get("token") is not None:
        said += f", token {group['token']}"
    elif group.get("holder"):
        said += f" {group['holder']}"
    workers = [_worker(each) for each in listed(group, "workers")]
    return ": ".join((said, ", ".join(workers))) if workers else said


def _worker(worker: Mapping[str, Any]) -> str:
    name = str(worker.get("name"))
    if worker.get("given_up"):
        return f"{name} (given up: {worker['given_up']})"
    return f"{name} ({worker['crashed']} crashes)" if worker.get("crashed") else name


def _job(job: Mapping[str, Any]) -> tuple[str | Text, ...]:
    said = []
    if job.get("paused"):
        said.append(Text(f"paused: {one_line(str(job['paused']))}", "yellow"))
    if job.get("fault"):
        said.append(Text(one_line(str(job["fault"])), "red"))
    if job.get("waiting"):
        said.append(Text(f"waits: {one_line(str(job['waiting']))}", "yellow"))
    if since := read_instant(job.get("running_since")):
        said.append(Text(f"running since {since:%H:%M:%S} UTC", "cyan"))
    if job.get("failures"):
        said.append(Text(f"{job['failures']} failures in a row", "red"))
    last = one_line(str(job.get("last") or ""))
    if last and last != "Done":
        said.append(Text(last))
    name, scope, when = (str(job.get(each, "")) for each in ("name", "scope", "when"))
    due, ended = (ago(read_instant(job.get(each))) for each in ("next_run", "last_ended"))
    return name, scope, when, due, ended, Text("; ").join(said)
