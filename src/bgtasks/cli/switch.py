"""`bgtasks pause`, `bgtasks resume` and `bgtasks trigger`: a task by its name, wherever it runs.

A cluster task is one job in the store: what is done to it there holds for all nodes. A node's own task is
done as it is told, by each node that is told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, Never

import typer

from bgtasks.claims import Jobs
from bgtasks.claims.declared import job_id
from bgtasks.cli.display import ago, one_line, say, span
from bgtasks.cli.known import group_of, names_among, runs_on, why_nobody
from bgtasks.cli.session import execute, fail
from bgtasks.cli.store import StoreUrl, opened
from bgtasks.cli.waiting import WAIT, Wait, run_and_wait, waiting
from bgtasks.contracts import TaskStore
from bgtasks.errors import ConfigurationError, UnknownTask
from bgtasks.nodes import Node, Nodes
from bgtasks.records import EVERY_NODE, CommandRow, JobRow

__all__ = ["pause", "resume", "trigger"]

Task = typer.Argument(metavar="TASK", help="Its name.")
OnNode = typer.Option(None, "--node", metavar="N", help="Tell this node.")
OnAll = typer.Option(False, "--all", help="Tell all nodes.")


class Found(NamedTuple):
    """A task that there is.

    Attributes:
        job: It in the store, if it is a cluster task.
        alive: The nodes that are.
    """

    name: str
    job: JobRow | None
    alive: list[Node]

    @property
    def nodes(self) -> list[Node]:
        """Those that run it."""
        return [node for node in self.alive if runs_on(node, self.name) is not None]


def pause(
    task: str = Task,
    reason: str = typer.Option("by hand", metavar="R", help="Shown wherever the task is."),
    node: str | None = OnNode,
    every: bool = OnAll,
    store: str | None = StoreUrl,
) -> None:
    """Let a task's ticks pass without a run; a run in progress goes on.

    A cluster task is paused for all nodes until it is resumed; a node's own task by the nodes that are told,
    for as long as their processes live.
    """

    async def work() -> int:
        async with opened(store) as held:
            found = await _find(held, task)
            if found.job is None:
                return await _tell(held, found, "pause", node, every, {"reason": reason})
            if node is not None:
                fail(f'"{task}" is a cluster task, which is paused for all nodes: leave out --node', 2)
            row = await Jobs(held).pause(found.job.id, reason)
            say(f"{task}: paused for all nodes: {row.reason}")
            return 0

    execute(work())


def resume(
    task: str = Task, node: str | None = OnNode, every: bool = OnAll, store: str | None = StoreUrl
) -> None:
    """End a pause; with --node or --all also close the breaker there."""

    async def work() -> int:
        async with opened(store) as held:
            found = await _find(held, task)
            if found.job is None or node is not None or every:
                return await _tell(held, found, "resume", node, every)
            row = await Jobs(held).resume(found.job.id)
            due = f", next {ago(row.next_run_at)}" if row.next_run_at else ""
            say(f"{task}: resumed for all nodes{due}")
            return 0

    execute(work())


def trigger(
    task: str = Task,
    node: str | None = OnNode,
    every: bool = OnAll,
    wait: float = Wait,
    store: str | None = StoreUrl,
) -> None:
    """Run a task now, beside its schedule, and say how that ended. Exit code 1: not well, or not in time.

    A cluster task is run by whichever node has it first, unless one is named.
    """

    async def work() -> int:
        async with opened(store) as held:
            found = await _find(held, task)
            if found.job is None or node is not None or every:
                return await _tell(held, found, "run_now", node, every, within=wait)
            return await run_and_wait(held, found.job, wait)

    execute(work())


async def _find(store: TaskStore, name: str) -> Found:
    """The task of a name.

    Raises:
        UnknownTask: Neither the store nor a node that is alive knows it.
        ConfigurationError: It cannot be commanded by its name; the message says what can be done.
    """
    job, alive = await store.job(job_id(name)), await Nodes(store).alive()
    scopes = [own.get("scope") for node in alive if (own := runs_on(node, name)) is not None]
    if job is None and "cluster" in scopes:
        raise ConfigurationError(
            f'"{name}" is a cluster task that is not in the store: it was removed, or is not declared yet; '
            f"it comes back when a node that has it starts"
        )
    if any(scope != "cluster" for scope in scopes):
        job = None  # it was a cluster task once
    if job is not None or scopes:
        return Found(name, job, alive)
    if (group := group_of(name, alive)) is not None:
        which = "" if group == "default" else f" --group {group}"
        raise ConfigurationError(
            f'"{name}" is a worker, which runs on the node that leads: bgtasks leader resign{which} begins '
            f"it anew, on another node if there is one"
        )
    types = await store.types()
    if name in types or any(name in node.wired for node in alive):
        raise ConfigurationError(
            f'"{name}" is a type of job: say bgtasks jobs pause, resume or run with the id of one '
            f"(bgtasks jobs --type {name} lists them)"
        )
    known = names_among(types, alive)
    if name in known:
        fail(f'"{name}": {why_nobody(name, alive)}', 1)
    raise UnknownTask(name, known)


async def _tell(
    store: TaskStore,
    found: Found,
    kind: str,
    node: str | None,
    every: bool,
    arguments: Mapping[str, str] | None = None,
    *,
    within: float = WAIT,
) -> int:
    """Tell a node, or all, and say what each that runs the task answers; an exit code."""
    if node is None and not every:
        _ask_which(found)
    if node is not None and every:
        fail("--node and --all exclude each other", 2)
    meant = found.nodes if every else [each for each in found.alive if each.node_id == node]
    if every and not meant:
        fail(f'"{found.name}": {why_nobody(found.name, found.alive)}', 1)
    nodes = Nodes(store)
    command = await nodes.tell(kind, found.name, node_id=node or EVERY_NODE, arguments=arguments)
    with waiting(f"waiting for {node or 'all nodes'}"):
        told = await nodes.answers(command, within, {each.id for each in meant}) if within else command
    if not within:
        say(f"{found.name}: {node or 'all nodes'} told")
        return 0
    return _report(told, meant, {each.id for each in await nodes.alive()}, within)


def _report(told: CommandRow, nodes: list[Node], alive: Collection[str], within: float) -> int:
    """Say what each node answered; 1 if one did not do it, or did not answer."""
    answers, code = {answer.session: answer for answer in told.answers}, 0
    for node in nodes:
        answer = answers.get(node.id)
        silent = f"no answer in {span(within)}" if node.id in alive else "no answer: it is not alive any more"
        text = silent if answer is None else one_line(answer.text)
        done = answer is not None and answer.done
        if told.kind == "run_now" and text.partition(":")[0] != "Done":  # the name of the outcome
            done = False
        say(f"{node.node_id}: {text}", err=not done)
        code = code if done else 1
    return code


def _ask_which(found: Found) -> Never:
    names = ", ".join(sorted({node.node_id for node in found.nodes}))
    fail(f'"{found.name}" is each node\'s own: say --all, or --node with one of {names}', 2)
