"""Which names there are, in the store and on the nodes that are alive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bgtasks.contracts import TaskStore
from bgtasks.nodes import Node, Nodes

__all__ = ["listed", "mapped", "names", "names_on", "runs_on", "tasks_on"]


async def names(store: TaskStore) -> list[str]:
    """Of tasks, workers and types of job: those that the store has, or a node knows of."""
    types = await store.types()
    return list(dict.fromkeys((*types, *names_on(await Nodes(store).alive()))))


def names_on(nodes: Iterable[Node]) -> list[str]:
    """Of tasks, workers and types of job that nodes know of, whether or not they run there."""
    found = ((*node.known, *(str(job.get("name")) for job in tasks_on(node))) for node in nodes)
    return list(dict.fromkeys(name for each in found for name in each))


def runs_on(node: Node, task: str) -> Mapping[str, Any] | None:
    """How a task or a worker stands on a node; None if it does not run there."""
    return next((job for job in tasks_on(node) if job.get("name") == task), None)


def tasks_on(node: Node) -> list[Mapping[str, Any]]:
    """How each task and worker stands that runs on a node; without the jobs that it has in hand."""
    return [job for job in listed(node.state, "jobs") if job.get("kind") != "job"]


def listed(state: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of mappings in what a node says, which may be of another version."""
    value = state.get(name)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def mapped(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping in what a node says."""
    value = state.get(name)
    return value if isinstance(value, Mapping) else {}
