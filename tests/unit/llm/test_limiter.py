"""How many calls at once: halved, grown again, in the order of coming."""

from __future__ import annotations

import asyncio

import pytest

from bgtasks.llm.limiter import SUCCESSES, Limiter
from bgtasks.testing import VirtualClock, virtual_time


def limiter(most: int, clock: VirtualClock) -> Limiter:
    return Limiter(most, clock, asyncio.sleep)


@virtual_time
async def test_no_more_than_the_limit_and_first_come_first_served(virtual_clock: VirtualClock) -> None:
    slots, order = limiter(2, virtual_clock), list[int]()

    async def call(number: int) -> None:
        async with slots.slot():
            assert slots.busy <= 2
            order.append(number)
            await asyncio.sleep(1)

    await asyncio.gather(*(call(number) for number in range(6)))
    assert order == [0, 1, 2, 3, 4, 5]
    assert (virtual_clock.monotonic(), slots.busy) == (3.0, 0)


@virtual_time
async def test_a_refusal_halves_once_for_all_that_were_under_way(virtual_clock: VirtualClock) -> None:
    slots = limiter(8, virtual_clock)

    async def refused() -> None:
        async with slots.slot() as slot:
            await asyncio.sleep(1)
            slots.refused(slot, 0.0)

    await asyncio.gather(*(refused() for _ in range(8)))
    assert slots.limit == 4
    for _ in range(5):
        await refused()
    assert slots.limit == 1


@virtual_time
async def test_it_grows_again_one_by_one_to_the_cap(virtual_clock: VirtualClock) -> None:
    slots = limiter(4, virtual_clock)
    async with slots.slot() as slot:
        slots.refused(slot, 0.0)
    grown = []
    for _ in range(4 * SUCCESSES):
        slots.succeeded()
        grown.append(slots.limit)
    assert grown == [2] * (SUCCESSES - 1) + [3] * SUCCESSES + [4] * (2 * SUCCESSES + 1)


@virtual_time
async def test_growing_lets_in_who_waits(virtual_clock: VirtualClock) -> None:
    slots, entered = limiter(2, virtual_clock), asyncio.Event()
    async with slots.slot() as slot:
        slots.refused(slot, 0.0)

        async def call() -> None:
            async with slots.slot():
                entered.set()

        waiting = asyncio.create_task(call())
        await virtual_clock.settle()
        assert not entered.is_set()
        for _ in range(SUCCESSES):
            slots.succeeded()
        await waiting
        assert entered.is_set()


@virtual_time
async def test_nobody_starts_during_a_pause(virtual_clock: VirtualClock) -> None:
    slots = limiter(4, virtual_clock)
    async with slots.slot() as slot:
        slots.refused(slot, 30.0)
    async with slots.slot():
        assert virtual_clock.monotonic() == pytest.approx(30.0)


@virtual_time
async def test_who_is_cancelled_leaves_no_slot_taken(virtual_clock: VirtualClock) -> None:
    slots = limiter(1, virtual_clock)

    async def call() -> None:
        async with slots.slot():
            await asyncio.sleep(5)

    first, second, third = (asyncio.create_task(call()) for _ in range(3))
    await virtual_clock.settle()
    second.cancel()  # in the line
    await virtual_clock.settle()
    first.cancel()  # at work: the third's turn comes
    await asyncio.sleep(0)
    third.cancel()  # just when it came
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert slots.busy == 0

    async with slots.slot() as slot:
        slots.refused(slot, 60.0)
    pausing = asyncio.create_task(call())
    await virtual_clock.settle()
    pausing.cancel()
    await asyncio.gather(pausing, return_exceptions=True)
    assert slots.busy == 0


@pytest.mark.parametrize("moment", range(12))
@virtual_time
async def test_a_cancellation_at_any_moment_leaves_no_slot_taken(
    moment: int, virtual_clock: VirtualClock
) -> None:
    slots = limiter(1, virtual_clock)

    async def call() -> None:
        async with slots.slot():
            for _ in range(2):
                await asyncio.sleep(0)

    calls = [asyncio.create_task(call()) for _ in range(3)]
    for _ in range(moment):
        await asyncio.sleep(0)
    calls[1].cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert slots.busy == 0
    async with asyncio.timeout(1), slots.slot():
        pass
