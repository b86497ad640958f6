"""Who asks a `KnowledgeGraph` at once waits for one attempt to connect, and for no second one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bgtasks.errors import ResourceUnavailable
from bgtasks.graph import KnowledgeGraph


class Database:
    """What a `FalkorDB` is asked by `check`."""

    async def list_graphs(self) -> list[str]:
        return []


class Held(KnowledgeGraph):
    """A graph whose attempts to connect last until they are told how they end."""

    def __init__(self) -> None:
        super().__init__("redis://nowhere")
        self.attempts = asyncio.Queue[asyncio.Future[Any]]()

    async def _connect(self) -> Any:
        attempt = asyncio.get_running_loop().create_future()
        self.attempts.put_nowait(attempt)
        return await attempt


def ask(graph: Held, count: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(graph.check()) for _ in range(count)]


def down() -> ResourceUnavailable:
    return ResourceUnavailable("kg_manager", "no answer")


async def test_an_attempt_that_fails_has_failed_for_all_who_wait_and_the_next_who_asks_makes_another() -> (
    None
):
    graph = Held()
    for _ in range(2):
        waiting = ask(graph, 8)
        (await graph.attempts.get()).set_exception(down())

        errors = await asyncio.gather(*waiting, return_exceptions=True)

        assert [type(error) for error in errors] == [ResourceUnavailable] * 8
        assert graph.attempts.empty()


async def test_one_that_comes_after_a_failure_makes_an_attempt_of_its_own() -> None:
    graph = Held()
    [first] = ask(graph, 1)
    (await graph.attempts.get()).set_exception(down())
    with pytest.raises(ResourceUnavailable):
        await first

    [second] = ask(graph, 1)
    (await graph.attempts.get()).set_result(Database())

    await second
    await graph.check()
    assert graph.attempts.empty()


async def test_who_is_cancelled_while_connecting_takes_nobody_along() -> None:
    graph = Held()
    waiting = ask(graph, 4)
    await graph.attempts.get()
    waiting[0].cancel()
    attempt = await graph.attempts.get()
    waiting[2].cancel()
    attempt.set_result(Database())

    await waiting[1]
    await waiting[3]

    await asyncio.wait(waiting)
    assert [each.cancelled() for each in waiting] == [True, False, True, False]
    assert graph.attempts.empty()
