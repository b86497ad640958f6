"""A session with a store: kept by beats, trusted no longer than the last one."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta
from random import Random

from tests.support.recording import Recorder
from tests.support.task_cluster import Reach

from bgtasks import EventBus
from bgtasks.claims.session import TIMES, Session
from bgtasks.events import ResourceLost, ResourceRegained
from bgtasks.lease import LeaseTimes
from bgtasks.records import Beat, SessionRow
from bgtasks.stores.tasks.memory import MemoryTaskStore
from bgtasks.testing import VirtualClock, virtual_time


class Stage:
    """A session, the store as it reaches it, and what it was told."""

    def __init__(self, clock: VirtualClock, times: LeaseTimes = TIMES) -> None:
        self.clock = clock
        self.store = MemoryTaskStore(clock)
        self.reach = Reach(self.store)
        self.bus = EventBus()
        self.heard = Recorder(self.bus)
        self.beats: list[Beat] = []
        self.lost: list[tuple[float, str]] = []
        self.made = 0
        self.session = Session(
            self.reach,
            lambda session: SessionRow(id=session, node_id="a"),
            bus=self.bus,
            clock=clock,
            random=Random(7),
            new_id=self.new_id,
            heard=self.beats.append,
            lost=lambda why: self.lost.append((round(clock.monotonic(), 3), why)),
            times=times,
        )

    def new_id(self) -> str:
        self.made += 1
        return f"session {self.made}"

    def open(self) -> None:
        self.session.open(asyncio.get_running_loop(), contextvars.copy_context())


class TestASession:
    @virtual_time
    async def test_beats_at_least_every_three_seconds(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        await virtual_clock.advance(300)
        assert 100 <= len(stage.beats) <= 112
        assert all(beat.alive for beat in stage.beats)
        assert stage.made == 1
        await stage.session.close(1.0)

    @virtual_time
    async def test_is_trusted_from_before_the_beat_was_sent(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.reach.slow["beat"] = 1.5
        stage.open()
        await virtual_clock.advance(1.5)
        assert stage.session.remaining == TIMES.trusted - 1.5
        assert TIMES.trusted + TIMES.margin < TIMES.lease
        await stage.session.close(1.0)

    @virtual_time
    async def test_is_lost_before_its_runs_could_be_anothers(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        await virtual_clock.advance(10)
        (row,) = await stage.store.sessions()
        assert row.expires_at is not None
        expires = (row.expires_at - virtual_clock.now()).total_seconds() + virtual_clock.monotonic()
        stage.reach.cut()
        await virtual_clock.advance(60)
        ((at, why),) = stage.lost
        assert at < expires - TIMES.margin + 0.01
        assert why == "the claim could not be renewed"
        assert not stage.session.holds
        assert stage.session.remaining == 0.0
        await stage.session.close(1.0)

    @virtual_time
    async def test_is_another_one_when_the_store_is_back(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        await virtual_clock.advance(10)
        stage.reach.cut()
        await virtual_clock.advance(20)
        stage.reach.mend()
        await virtual_clock.advance(5)
        assert stage.session.id not in ("", "session 1")
        assert stage.session.holds
        (lost,), (regained,) = stage.heard.of(ResourceLost), stage.heard.of(ResourceRegained)
        assert lost.resource == regained.resource == "the task store"
        assert 15 < regained.seconds < 25
        await stage.session.close(1.0)

    @virtual_time
    async def test_outlives_a_short_outage(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        for _ in range(10):
            await virtual_clock.advance(10)
            stage.reach.hangs = True
            await virtual_clock.advance(5)
            stage.reach.mend()
        assert stage.made == 1
        assert stage.lost == []
        await stage.session.close(1.0)

    @virtual_time
    async def test_outlives_lost_answers(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.reach.deaf = {"open": 1, "join": 1, "beat": 2}
        stage.open()
        await virtual_clock.advance(60)
        assert stage.session.holds
        assert stage.lost == []
        assert len(stage.heard.of(ResourceLost)) == 1
        await stage.session.close(1.0)

    @virtual_time
    async def test_that_the_store_gave_up_is_lost_and_another_begun(
        self, virtual_clock: VirtualClock
    ) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        await virtual_clock.advance(10)
        await stage.store.leave(stage.session.id)
        await virtual_clock.advance(4)
        assert [why for _, why in stage.lost] == ["the store had given this session up"]
        assert stage.session.id == "session 2"
        assert stage.session.holds
        await stage.session.close(1.0)

    @virtual_time
    async def test_holds_no_more_after_the_machine_slept(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        await virtual_clock.advance(10)
        virtual_clock.stall("1h")
        assert stage.session.remaining == 0.0
        await virtual_clock.advance(5)
        assert stage.session.holds
        assert stage.session.id == "session 2"
        await stage.session.close(1.0)

    @virtual_time
    async def test_knows_the_time_of_the_store(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        assert stage.session.now(virtual_clock.monotonic()) == virtual_clock.now()
        await virtual_clock.advance(1)
        virtual_clock.step_wall("1h")  # the store's clock, and this node's: only beats tell
        await virtual_clock.advance(4)
        assert stage.session.now(virtual_clock.monotonic()) == virtual_clock.now()
        later = virtual_clock.now() + timedelta(seconds=60)
        assert abs(stage.session.mono(later) - virtual_clock.monotonic() - 60) < 0.001
        await stage.session.close(1.0)


class TestAnEndOfIt:
    @virtual_time
    async def test_is_told_so_that_nobody_waits(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        await virtual_clock.advance(10)
        await stage.session.close(1.0)
        assert await stage.store.sessions() == []
        assert not stage.session.holds
        assert stage.lost == []

    @virtual_time
    async def test_takes_no_longer_than_it_may(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.open()
        await virtual_clock.advance(10)
        stage.reach.hangs = True
        await stage.session.close(1.0)
        assert virtual_clock.monotonic() <= 11

    @virtual_time
    async def test_of_one_that_never_was_is_nothing(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        await stage.session.close(1.0)
        assert stage.reach.calls == []

    @virtual_time
    async def test_while_the_store_is_away_is_not_held_up(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        stage.reach.hangs = True
        stage.open()
        await virtual_clock.advance(10)
        await stage.session.close(1.0)
        assert virtual_clock.monotonic() <= 11

    @virtual_time
    async def test_is_followed_by_another_beginning(self, virtual_clock: VirtualClock) -> None:
        stage = Stage(virtual_clock)
        for number in (1, 2, 3):
            stage.open()
            await virtual_clock.advance(10)
            assert stage.session.id == f"session {number}"
            assert stage.session.holds
            await stage.session.close(1.0)
