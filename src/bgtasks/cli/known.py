"""What the nodes that are alive know and run, and which names there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bgtasks.contracts import TaskStore
from bgtasks.nodes import Node, Nodes

__all__ = [
    "group_of",
    "listed",
    "mapped",
    "names",
    "names_among",
    "runs_on",
    "tasks_on",
    "why_nobody",
    "workers_on",
]


async def names(store: TaskStore) -> list[str]:
    """Of tasks, workers and types of job: those that the store has, or a node knows of."""
    return names_among(await store.types(), await Nodes(store).alive())


def names_among(types: Iterable[str], nodes: Iterable[Node]) -> list[str]:
    """Of tasks, workers and types of job: these types, and those that nodes know of, run there or not."""
    on_nodes = ((*node.known, *(str(job.get("name")) for job in tasks_on(node))) for node in nodes)
    return list(dict.fromkeys((*types, *(name for each in on_nodes for name in each))))


def runs_on(node: Node, task: str) -> Mapping[str, Any] | None:
    """How a task or a worker stands on a node; None if it does not run there."""
    return next((job for job in tasks_on(node) if job.get("name") == task), None)


def tasks_on(node: Node) -> list[Mapping[str, Any]]:
    """How each task and worker stands that runs on a node; without the jobs that it has in hand."""
    return [job for job in listed(node.state, "jobs") if job.get("kind") != "job"]


def workers_on(node: Node) -> dict[str, str]:
    """Workers that run on a node when it leads, each with its leader group."""
    return {
        str(worker.get("name")): group
        for group, state in mapped(node.state, "leadership").items()
        if isinstance(state, Mapping)
        for worker in listed(state, "workers")
    }


def group_of(worker: str, nodes: Iterable[Node]) -> str | None:
    """The leader group of a worker; None if it is no worker of a leader's."""
    return next((group for node in nodes if (group := workers_on(node).get(worker)) is not None), None)


def why_nobody(name: str, nodes: Iterable[Node]) -> str:
    """Why no node that is alive can run a task, a worker or the jobs of a type."""
    reasons = [(node.node_id, mapped(node.state, "not_wired").get(name)) for node in nodes]
    if not reasons:
        return "no node is alive"
    said = "; ".join(dict.fromkeys(f"{node}: {reason}" for node, reason in reasons if reason))
    return f"it runs on no node that is alive ({said or 'none knows it'})"


def listed(state: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of mappings in what a node says, which may be of another version."""
    value = state.get(name)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def mapped(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping in what a node says."""
    value = state.get(name)
    return value if isinstance(value, Mapping) else {}
