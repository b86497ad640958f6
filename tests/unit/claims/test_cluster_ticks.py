"""Several nodes on one store: each tick of a cluster task is started once, wherever that may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Breaker, Cancelled, Cron, Deferred, Done, Every, Once, Skipped, current_run
from bgtasks.claims import current_claim
from bgtasks.events import RunFinished, RunLost, RunMissed, RunSkipped, TaskPaused
from bgtasks.records import RunStatus
from bgtasks.testing import VirtualClock, run_virtual
from bgtasks.wiring import Wiring


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


class TestATickIsStartedOnce:
    def test_of_a_fixed_rate(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True), 1.0)
        cluster.play(62)
        assert cluster.dues("grid") == [cluster.at(5 * step) for step in range(13)]
        assert cluster.times("grid") == [5.0 * step for step in range(13)]

    def test_of_a_calendar(self, cluster: Cluster) -> None:
        cluster.task("cron", Cron("*/5 * * * *"), 1.0)
        cluster.play(3601)
        assert cluster.dues("cron") == [cluster.at(300 * step) for step in range(1, 13)]

    def test_of_once(self, cluster: Cluster) -> None:
        cluster.task("once", Once(cluster.at(90)))
        cluster.play(600)
        assert cluster.times("once") == [90.0]

    def test_of_a_plain_interval_which_is_from_the_end_of_one_run_to_the_next_on_any_node(
        self, cluster: Cluster
    ) -> None:
        cluster.task("plain", "7s", 2.0)
        cluster.play(91)
        assert cluster.times("plain") == [9.0 * step for step in range(11)]
        assert len({start.node for start in cluster.ledger}) > 1

    def test_of_an_interval_that_is_shorter_than_a_beat(self, cluster: Cluster) -> None:
        cluster.task("plain", "1s", 0.5)
        cluster.play(20)
        assert all(1.5 <= after - before < 2.5 for before, after in pairwise(cluster.times("plain")))

    def test_of_a_hundred_tasks(self, cluster: Cluster) -> None:
        for number in range(100):
            cluster.task(f"task {number}", Every("60s", fixed_rate=True))
        cluster.play(121)
        for number in range(100):
            assert cluster.times(f"task {number}") == [0.0, 60.0, 120.0]

    def test_with_a_token_larger_than_the_last(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1s", fixed_rate=True))
        cluster.play(30)
        tokens = [start.token for start in cluster.ledger]
        assert all(before < after for before, after in pairwise(tokens))

    def test_though_the_store_is_slow_to_hear_and_to_answer(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True), 1.0)
        for call in ("claim", "beat", "finish"):
            cluster.a.reach.delay[call] = cluster.b.reach.slow[call] = 1.0
        cluster.play(62)
        dues = cluster.dues("grid")
        assert dues == [cluster.at(5 * step) for step in range(len(dues))]
        assert len(dues) > 10
        assert not cluster.met

    def test_and_what_is_kept_of_it_says_where_and_how_it_went(self, cluster: Cluster) -> None:
        async def counts() -> dict[str, int]:
            await asyncio.sleep(2)
            return {"rows": 3}

        cluster.task("grid", Every("1h", fixed_rate=True), counts)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            (run,) = await cluster.runs("grid")
            (start,) = cluster.ledger
            assert (run.status, run.result_json, run.duration_ms) == (RunStatus.SUCCESS, '{"rows": 3}', 2000)
            assert (run.node_id, run.token, run.due) == (start.node, start.token, start.due)
            assert (await cluster.row("grid")).next_run_at == cluster.at(3600)

        cluster.run(main)


class TestARunThatMeetsTheOneBefore:
    """Ticks at 0, 10, 20, …; each run takes 25 seconds."""

    def play(self, cluster: Cluster, overlap: str, seconds: float = 84) -> None:
        cluster.task("slow", Every("10s", fixed_rate=True), 25.0, overlap=overlap)
        cluster.play(seconds)

    def test_is_skipped_and_that_is_said_and_kept(self, cluster: Cluster) -> None:
        self.play(cluster, "skip")
        assert cluster.times("slow") == [0.0, 30.0, 60.0]
        skipped = sorted(event.due for event in cluster.events(RunSkipped))
        assert skipped == [cluster.at(each) for each in (10, 20, 40, 50, 70, 80)]
        assert not cluster.met

    def test_is_queued_and_only_one(self, cluster: Cluster) -> None:
        self.play(cluster, "queue")
        assert cluster.dues("slow") == [cluster.at(each) for each in (0, 10, 30, 60)]
        first, second, third = cluster.times("slow")[:3]
        assert first == 0.0
        assert 25 <= second < 29
        assert 50 <= third < 58
        assert not cluster.met

    def test_overtakes_it_and_that_is_not_run_again(self, cluster: Cluster) -> None:
        self.play(cluster, "cancel", 38)
        assert cluster.dues("slow") == [cluster.at(each) for each in (0, 10, 20, 30)]
        assert not cluster.met
        assert {start.attempt for start in cluster.ledger} == {1}
        times = cluster.times("slow")
        assert all(10 * step <= at < 10 * step + 7 for step, at in enumerate(times))

    def test_runs_beside_it(self, cluster: Cluster) -> None:
        self.play(cluster, "allow")
        assert cluster.times("slow") == [10.0 * step for step in range(9)]
        assert "slow" in cluster.met

    @pytest.mark.parametrize("overlap", ["queue", "cancel"])
    def test_is_not_said_to_be_skipped_when_it_waits(self, cluster: Cluster, overlap: str) -> None:
        self.play(cluster, overlap, 15)
        assert cluster.events(RunSkipped) == []


class TestAfterAllNodesWereDown:
    """Ticks each minute from 0; down from 90 to 330."""

    def play(self, cluster: Cluster, catch_up: str, does: float | None = None, again: float = 330) -> None:
        cluster.task("grid", Every("60s", fixed_rate=True), does, catch_up=catch_up)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(90)
            await cluster.stop()
            await cluster.clock.advance(again - 90)
            cluster.ledger.clear()
            for name in "abc":
                cluster.process(name)
            await cluster.start()
            await cluster.clock.advance(65)
            self.skipped = [
                (run.due, run.error_message) for run in await cluster.runs("grid", RunStatus.SKIPPED)
            ]

        cluster.run(main)

    def test_one_run_stands_for_what_was_missed(self, cluster: Cluster) -> None:
        self.play(cluster, "one")
        assert cluster.dues("grid") == [cluster.at(300), cluster.at(360)]
        assert cluster.times("grid")[0] == 330.0
        (missed,) = cluster.events(RunMissed)
        assert (missed.due, missed.ticks) == (cluster.at(120), 3)
        assert self.skipped == [(cluster.at(120), missed.reason)]

    def test_nothing_is_run_for_it(self, cluster: Cluster) -> None:
        self.play(cluster, "none")
        assert cluster.dues("grid") == [cluster.at(360)]
        (missed,) = cluster.events(RunMissed)
        assert (missed.due, missed.ticks) == (cluster.at(120), 4)
        assert self.skipped == [(cluster.at(120), missed.reason)]

    def test_nothing_is_run_for_it_but_for_a_tick_of_just_now(self, cluster: Cluster) -> None:
        self.play(cluster, "none", again=305)
        assert cluster.dues("grid") == [cluster.at(300), cluster.at(360)]
        assert cluster.events(RunMissed)[0].ticks == 3

    def test_each_of_them_has_its_run_one_after_the_other(self, cluster: Cluster) -> None:
        self.play(cluster, "all", 5.0)
        assert cluster.dues("grid") == [cluster.at(60 * step) for step in range(2, 7)]
        assert not cluster.met
        assert cluster.events(RunMissed) == []
        assert cluster.events(RunSkipped) == []
        assert cluster.times("grid")[3] < 360

    def test_waiting_for_ones_turn_costs_a_call_now_and_then(self, cluster: Cluster) -> None:
        self.play(cluster, "all", 8.0)
        assert cluster.dues("grid")[:4] == [cluster.at(60 * step) for step in range(2, 6)]
        assert sum(node.reach.calls.count("claim") for node in cluster.nodes.values()) < 100

    def test_the_last_of_them_waits_its_turn_too(self, cluster: Cluster) -> None:
        self.play(cluster, "all", 5.0, again=300.5)
        assert cluster.dues("grid") == [cluster.at(60 * step) for step in range(2, 7)]
        assert cluster.events(RunSkipped) == []

    def test_a_plain_interval_runs_at_once(self, cluster: Cluster) -> None:
        cluster.task("plain", "60s", 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(70)
            await cluster.stop()
            await cluster.clock.advance(930)
            await cluster.start()
            await cluster.clock.advance(70)

        cluster.run(main)
        assert cluster.times("plain") == [0.0, 61.0, 1000.0, 1061.0]

    def test_an_instant_that_passed_meanwhile_is_made_up_for(self, cluster: Cluster) -> None:
        cluster.task("once", Once(cluster.at(100)))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(50)
            await cluster.stop()
            await cluster.clock.advance(950)
            await cluster.start()
            await cluster.clock.advance(50)

        cluster.run(main)
        assert cluster.times("once") == [1000.0]
        assert cluster.dues("once") == [cluster.at(100)]


class TestARestart:
    def test_of_one_node_changes_nothing(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True), 1.0)
        cluster.task("plain", "10s", 1.0)

        async def main() -> None:
            await cluster.start()
            for name in "abcabc":
                await cluster.clock.advance(13)
                while cluster.going.get("grid") or cluster.going.get("plain"):
                    await cluster.clock.advance(0.5)
                await cluster.stop(name)
                await cluster.clock.advance(4)
                cluster.process(name)
                await cluster.start(name)

        cluster.run(main)
        assert cluster.times("grid") == [10.0 * step for step in range(len(cluster.times("grid")))]
        assert cluster.times("plain") == [11.0 * step for step in range(len(cluster.times("plain")))]
        assert len(cluster.times("grid")) > 9

    def test_of_all_keeps_the_instants(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("60s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(70)
            await cluster.stop()
            await cluster.clock.advance(10)
            await cluster.start()
            await cluster.clock.advance(41)

        cluster.run(main)
        assert cluster.times("grid") == [0.0, 60.0, 120.0]

    def test_waits_for_no_initial_delay_again(self, cluster: Cluster) -> None:
        cluster.task("late", Every("60s", fixed_rate=True), initial_delay="30s")

        async def main() -> None:
            for _ in range(3):
                await cluster.start()
                await cluster.clock.advance(40)
                await cluster.stop()

        cluster.run(main)
        assert cluster.times("late") == [30.0, 90.0]

    def test_of_a_scheduler_that_was_stopped(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True))

        async def main() -> None:
            for _ in range(4):
                await cluster.a.start()
                await cluster.clock.advance(10)
                await cluster.a.stop()
                await cluster.a.stop()

        cluster.run(main)
        assert cluster.times("grid") == [0.0, 10.0, 20.0, 30.0, 40.0]


class TestDaylightSaving:
    """Two nodes; both end and begin anew in the middle of the shift."""

    @pytest.mark.parametrize("expression", ["30 2 * * *", "30 * * * *", "*/20 2 * * *", "15 1,2,3 * * *"])
    @pytest.mark.parametrize(
        "shift",
        [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)],
        ids=["gap", "fold"],
    )
    def test_each_instant_of_the_trigger_is_started_once(self, expression: str, shift: datetime) -> None:
        begin, end = shift - timedelta(hours=2), shift + timedelta(hours=2.5)
        trigger = Cron(expression, "Europe/Berlin")
        cluster = Cluster(VirtualClock(begin), "ab")
        cluster.task("cron", trigger, 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(shift - timedelta(minutes=10) - cluster.clock.now())
            for name in "abba":
                await cluster.stop(name)
                cluster.process(name)
                await cluster.clock.advance("19m")
                await cluster.start(name)
                await cluster.clock.advance("1m")
            await cluster.clock.advance(end - cluster.clock.now())

        cluster.run(main)
        wanted, when = [], trigger.next_after(begin)
        while when is not None and when <= end:
            wanted.append(when)
            when = trigger.next_after(when)
        assert cluster.dues("cron") == wanted
        assert cluster.events(RunMissed) == []


class TestANodeThatDiesWithoutAWord:
    def test_has_its_run_taken_over(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            (first,) = cluster.ledger
            await cluster.kill(first.node)
            await cluster.clock.advance(35)
            first, second = cluster.ledger
            assert second.node != first.node
            assert (second.due, second.attempt) == (first.due, 2)
            assert second.token > first.token
            assert 15 <= second.at < 20
            (lost,) = cluster.events(RunLost)
            assert (lost.task, lost.due, lost.node, lost.attempt) == ("slow", first.due, first.node, 1)
            assert lost.again
            runs = await cluster.runs("slow")
            assert [run.status for run in runs] == [RunStatus.LOST, RunStatus.SUCCESS]

        cluster.run(main)

    def test_is_followed_three_times_and_no_more(self) -> None:
        cluster = Cluster(names="abcd")
        cluster.task("deadly", Every("1h", fixed_rate=True), 1000.0)

        async def main() -> None:
            await cluster.start()
            for attempt in (1, 2, 3):
                await cluster.clock.advance(20)
                assert [start.attempt for start in cluster.ledger] == list(range(1, attempt + 1))
                await cluster.kill(cluster.ledger[-1].node)
            heard = next(node for node in cluster.nodes.values() if node.scheduler.running).heard
            await cluster.clock.advance(600)
            assert len(cluster.ledger) == 3
            assert [event.again for event in heard.of(RunLost)][-1:] == [False]
            runs = await cluster.runs("deadly")
            assert [run.status for run in runs] == [RunStatus.LOST] * 3

        cluster.run(main)

    def test_does_not_keep_a_plain_interval_from_its_next_run(self) -> None:
        cluster = Cluster(names="ab")
        cluster.task("plain", "60s", 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            await cluster.kill(cluster.ledger[0].node)
            await cluster.clock.advance(195)

        cluster.run(main)
        first, second, third, *_ = cluster.times("plain")
        assert first == 0.0
        assert 15 <= second < 20
        assert third == pytest.approx(second + 70)

    def test_is_a_zombie_when_it_comes_back_and_is_not_heeded(self, cluster: Cluster) -> None:
        async def stubborn() -> str:
            for _ in range(2):
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    continue
            return "from the grave"

        cluster.task("slow", Every("1h", fixed_rate=True), stubborn)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(1)
            node = cluster.nodes[cluster.ledger[0].node]
            node.reach.cut()
            await cluster.clock.advance(22)
            node.reach.mend()
            assert [start.attempt for start in cluster.ledger] == [1, 2]
            await cluster.clock.advance(200)
            lost, done = await cluster.runs("slow")
            assert (lost.status, lost.result_json) == (RunStatus.LOST, None)
            assert (done.status, done.attempt) == (RunStatus.SUCCESS, 2)

        cluster.run(main)


class TestACleanStop:
    def test_gives_a_run_back_at_once(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            first = cluster.ledger[0]
            await cluster.stop(first.node)
            await cluster.clock.advance(15)
            _, second = cluster.ledger
            assert second.at - 5 <= 3
            assert (second.attempt, second.due) == (2, first.due)
            lost, done = await cluster.runs("slow")
            assert lost.status is RunStatus.LOST
            assert lost.error_message == "cancelled: the scheduler was stopped"
            assert done.status is RunStatus.SUCCESS
            assert len(await cluster.store.sessions()) == 2

        cluster.run(main)

    def test_lets_a_run_end_within_the_drain(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            await cluster.nodes[cluster.ledger[0].node].stop(60)
            await cluster.clock.advance(30)
            assert [run.status for run in await cluster.runs("slow")] == [RunStatus.SUCCESS]
            assert cluster.now == 40

        cluster.run(main)

    def test_keeps_its_session_through_a_drain(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 100.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            await cluster.nodes[cluster.ledger[0].node].stop(200)
            assert [run.status for run in await cluster.runs("slow")] == [RunStatus.SUCCESS]

        cluster.run(main)

    @pytest.mark.parametrize("drain", [0.0, 20.0])
    def test_begins_nothing_that_is_being_claimed(self, cluster: Cluster, drain: float) -> None:
        cluster.task("grid", Every("10s", fixed_rate=True), 5.0, on="a")
        cluster.a.reach.slow["claim"] = 1.0

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(10.5)
            await cluster.a.stop(drain)
            assert cluster.times("grid") == [1.0]
            assert cluster.a.scheduler.unfinished == ()
            given_back = await cluster.runs("grid", RunStatus.PENDING)
            assert [(run.due, run.attempt) for run in given_back] == [(cluster.at(10), 2)]

        cluster.run(main)

    def test_goes_on_if_whoever_asked_for_it_is_cancelled(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            cluster.a.reach.slow["finish"] = 1.0
            stop = asyncio.create_task(cluster.a.stop())
            await asyncio.sleep(0.5)
            stop.cancel()
            await asyncio.wait((stop,))
            await cluster.clock.advance(5)
            assert not cluster.a.scheduler.running
            assert await cluster.store.sessions() == []
            assert [run.attempt for run in await cluster.runs("slow", RunStatus.PENDING)] == [2]

        cluster.run(main)

    def test_says_no_more_when_the_store_is_away_and_is_not_held_up_by_that(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            cluster.a.reach.hangs = True
            await cluster.a.stop()
            assert cluster.now <= 15

        cluster.run(main)

    def test_answers_those_who_wait_for_a_run(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("1h", fixed_rate=True), 10.0)
        cluster.a.reach.slow["accept"] = 1.5

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(15)
            asked = asyncio.create_task(cluster.a.scheduler.run_now("slow"))
            await asyncio.sleep(0.5)
            await cluster.a.stop()
            await asyncio.wait((asked,), timeout=5)
            assert asked.done()
            assert isinstance(asked.result(), Skipped | Cancelled)

        cluster.run(main)

    def test_leaves_nothing_pending_of_a_task_whose_server_is_away(self, cluster: Cluster) -> None:
        async def away() -> Deferred:
            return Deferred("no answer", "graph")

        cluster.task("asks", Every("1h", fixed_rate=True), away)
        cluster.play(5, "a")
        assert cluster.times("asks")[0] == 0.0
        assert len(cluster.times("asks")) > 1


class TestAnEventLoopThatIsClosedUnderIt:
    def test_is_survived_and_the_next_tick_is_started_in_the_next(self) -> None:
        clock = VirtualClock()
        cluster = Cluster(clock, "ab")
        cluster.task("slow", Every("20s", fixed_rate=True), 10.0)

        async def first(_: VirtualClock) -> None:
            await cluster.start("a")
            await clock.advance(5)

        async def then() -> None:
            await cluster.start("a")
            await clock.advance(60)

        run_virtual(first, clock)
        cluster.run(then)
        assert cluster.times("slow") == [0.0, 20.0, 40.0, 60.0]
        assert not cluster.met


class TestRunNow:
    def outcome_of(self, cluster: Cluster, name: str, before: float, prepare: Callable[[], Any]) -> Any:
        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(before)
            prepare()
            self.outcome = await cluster.a.scheduler.run_now(name)
            self.took = cluster.now - before
            await cluster.clock.advance(60)

        cluster.run(main)
        return self.outcome

    def test_runs_it_here_with_a_claim(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 1.0)
        assert self.outcome_of(cluster, "grid", 10, lambda: None) == Done()
        assert cluster.times("grid") == [0.0, 10.0]
        assert cluster.ledger[1].node == "a"
        assert cluster.ledger[1].token > cluster.ledger[0].token

    def test_as_soon_as_it_is_started(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 1.0, initial_delay="30m")
        assert self.outcome_of(cluster, "grid", 0, lambda: None) == Done()
        assert cluster.dues("grid") == [cluster.at(0)]

    def test_leaves_a_fixed_rate_as_it_is(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("20s", fixed_rate=True))
        self.outcome_of(cluster, "grid", 10, lambda: None)
        assert cluster.times("grid") == [0.0, 10.0, 20.0, 40.0, 60.0]

    def test_measures_a_plain_interval_anew(self, cluster: Cluster) -> None:
        cluster.task("plain", "20s")
        self.outcome_of(cluster, "plain", 10, lambda: None)
        assert cluster.times("plain") == [0.0, 10.0, 30.0, 50.0, 70.0]

    def test_of_a_task_that_is_paused(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))
        outcome = self.outcome_of(cluster, "grid", 10, lambda: cluster.a.scheduler.pause("grid"))
        assert outcome == Done()

    def test_beside_a_run_is_skipped_and_not_run_later(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 20.0, on="a")
        outcome = self.outcome_of(cluster, "grid", 10, lambda: None)
        assert outcome == Skipped("the previous run is still going")
        assert cluster.times("grid") == [0.0]

    def test_beside_a_run_that_allows_it(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 20.0, overlap="allow")
        assert self.outcome_of(cluster, "grid", 10, lambda: None) == Done()
        assert cluster.times("grid") == [0.0, 10.0]

    def test_while_the_store_is_away_is_skipped_soon(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))
        outcome = self.outcome_of(cluster, "grid", 10, cluster.a.reach.cut)
        assert isinstance(outcome, Skipped)
        assert self.took <= 2

    def test_while_the_store_does_not_answer_is_skipped_in_time(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))

        def hang() -> None:
            cluster.a.reach.hangs = True

        assert isinstance(self.outcome_of(cluster, "grid", 10, hang), Skipped)
        assert self.took <= 3

    def test_is_answered_when_the_session_is_lost_before_it_is_had(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            cluster.a.reach.deaf["accept"] = 100
            cluster.a.reach.delay["beat"] = 5.0
            asked = asyncio.create_task(cluster.a.scheduler.run_now("grid"))
            await asyncio.wait((asked,), timeout=120)
            assert asked.done()
            cluster.a.reach.deaf.clear()
            cluster.a.reach.delay.clear()

        cluster.run(main)

    def test_of_a_task_that_is_removed_before_it_is_had(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True))

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(10)
            cluster.a.reach.slow["accept"] = 1.0
            asked = asyncio.create_task(cluster.a.scheduler.run_now("grid"))
            await asyncio.sleep(0.5)
            await cluster.a.scheduler.remove("grid")
            await cluster.clock.advance(10)
            assert isinstance(asked.result(), Skipped)
            assert cluster.times("grid") == [0.0]

        cluster.run(main)


class TestACurrentClaim:
    def test_there_is_none_outside_a_run(self) -> None:
        assert current_claim() is None

    def test_there_is_none_in_a_run_that_nobody_else_could_have_started(self, cluster: Cluster) -> None:
        cluster.task("own", "1h", scope="node")
        cluster.play(1, "a")
        assert cluster.times("own") == [0.0]
        assert cluster.claims == []

    def test_says_for_how_long_it_holds(self, cluster: Cluster) -> None:
        seen: list[tuple[Any, ...]] = []

        async def look() -> None:
            claim, run = current_claim(), current_run.get()
            assert claim is not None
            assert run is not None
            seen.append((claim.check() == claim.token, 0 < claim.remaining() <= 12, claim.attempt))
            seen.append((claim.run_id == run.run_id, claim.source, claim.session != ""))

        cluster.task("look", "1h", look)
        cluster.play(1, "a")
        assert seen == [(True, True, 1), (True, "claim:look", True)]


class TestSlots:
    def test_a_claimed_run_waits_for_one(self) -> None:
        cluster = Cluster(names="a", max_concurrent=1)
        for name in ("one", "two", "three"):
            cluster.task(name, Every("1h", fixed_rate=True), 10.0)
        cluster.play(60)
        assert sorted(start.at for start in cluster.ledger) == [0.0, 10.0, 20.0]
        assert len({start.task for start in cluster.ledger}) == 3

    def test_a_run_that_waits_for_one_is_given_back_by_a_stop(self) -> None:
        cluster = Cluster(names="ab", max_concurrent=1)
        for name in ("one", "two"):
            cluster.task(name, Every("1h", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(5)
            await cluster.start("b")
            await cluster.stop("a")
            await cluster.clock.advance(60)
            done = [*await cluster.runs("one"), *await cluster.runs("two")]
            assert sorted(run.status for run in done) == ["lost", "lost", "success", "success"]

        cluster.run(main)

    def test_a_run_that_waits_for_one_is_not_begun_when_the_claim_is_lost(self) -> None:
        cluster = Cluster(names="ab", max_concurrent=1)
        for name in ("one", "two"):
            cluster.task(name, Every("1h", fixed_rate=True), 30.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(1)
            cluster.a.reach.cut()
            await cluster.start("b")
            await cluster.clock.advance(200)
            for name in ("one", "two"):
                assert [run.status for run in await cluster.runs(name)] == ["lost", "success"]

        cluster.run(main)
        assert not cluster.met
        assert [start.node for start in cluster.ledger] == ["a", "b", "b"]


class TestATaskThatJoinsLater:
    def test_is_run_again_and_again(self) -> None:
        cluster = Cluster(names="a")
        cluster.task("first", "10s", 1.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            late = Cluster(cluster.clock, "x")
            late.ledger, late.going = cluster.ledger, cluster.going
            late.task("second", "10s", 1.0)
            (spec,) = late._registries["x"]
            wiring = Wiring({}, claims=True)
            verdict = wiring.judge(spec)
            cluster.a.scheduler.adopt(spec, verdict, wiring.decide(spec, verdict))
            await cluster.clock.advance(40)

        cluster.run(main)
        assert cluster.times("second") == [5.0, 16.0, 27.0, 38.0]

    def test_though_it_is_the_first_of_its_kind(self) -> None:
        cluster = Cluster(names="a")

        async def main() -> None:
            await cluster.start()
            late = Cluster(cluster.clock, "x")
            late.ledger, late.going = cluster.ledger, cluster.going
            late.task("second", "10s", 1.0)
            (spec,) = late._registries["x"]
            wiring = Wiring({}, claims=True)
            verdict = wiring.judge(spec)
            cluster.a.scheduler.adopt(spec, verdict, wiring.decide(spec, verdict))
            await cluster.clock.advance(40)

        cluster.run(main)
        assert cluster.times("second") == [0.0, 11.0, 22.0, 33.0]


class TestPausesAndRemovals:
    def test_a_paused_node_leaves_it_to_the_others(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("5s", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            cluster.a.scheduler.pause("grid")
            await cluster.clock.advance(31)

        cluster.run(main)
        assert cluster.times("grid") == [5.0 * step for step in range(7)]
        assert {start.node for start in cluster.ledger} == {"b", "c"}

    def test_a_task_that_all_have_paused_is_caught_up_with(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("60s", fixed_rate=True), on="a")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(10)
            cluster.a.scheduler.pause("grid")
            await cluster.clock.advance(150)
            cluster.a.scheduler.resume("grid")
            await cluster.clock.advance(30)

        cluster.run(main)
        assert cluster.dues("grid") == [cluster.at(0), cluster.at(120), cluster.at(180)]

    def test_an_open_breaker_holds_it_back_here(self) -> None:
        cluster = Cluster(names="a")

        async def fail() -> None:
            raise ValueError("no")

        breaker = Breaker(after=2, cool_down="60s")
        cluster.task("bad", Every("10s", fixed_rate=True), fail, breaker=breaker)
        cluster.play(75)
        assert cluster.times("bad") == [0.0, 10.0, 70.0]
        assert len(cluster.events(TaskPaused)) == 2

    def test_a_removed_task_is_left_to_the_others(self, cluster: Cluster) -> None:
        cluster.task("slow", Every("30s", fixed_rate=True), 10.0)

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(5)
            first = cluster.ledger[0]
            await cluster.nodes[first.node].scheduler.remove("slow")
            await cluster.clock.advance(60)
            assert all(start.node != first.node for start in cluster.ledger[1:])
            assert [start.attempt for start in cluster.ledger] == [1, 2, 1, 1]

        cluster.run(main)

    def test_failures_in_a_row_are_counted_over_all_nodes(self, cluster: Cluster) -> None:
        async def fail() -> None:
            raise ValueError("no")

        cluster.task("bad", Every("2s", fixed_rate=True), fail)
        cluster.play(41)
        finished = sorted((event for event in cluster.events(RunFinished)), key=lambda event: event.failures)
        assert finished[-1].failures >= 15


class TestATickThatIsOverdue:
    def test_takes_no_later_one_with_it(self) -> None:
        cluster = Cluster(names="a")
        cluster.task("hourly", Cron("0 * * * *"))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance("59m")
            await cluster.stop()
            await cluster.clock.advance("20m")
            await cluster.start()
            await cluster.clock.advance("1m")
            assert cluster.dues("hourly") == [cluster.at(3600)]
            assert (await cluster.row("hourly")).next_run_at == cluster.at(7200)

        cluster.run(main)

    def test_of_many_tasks_is_started_once_each(self, cluster: Cluster) -> None:
        for number in range(30):
            cluster.task(f"task {number}", Every("1h", fixed_rate=True))

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance("1m")
            await cluster.stop()
            await cluster.clock.advance("3h")
            cluster.ledger.clear()
            await cluster.start()
            await cluster.clock.advance("10m")

        cluster.run(main)
        assert len(cluster.ledger) == 30
        assert len({start.task for start in cluster.ledger}) == 30

    def test_that_another_node_claims_meanwhile_does_not_bring_the_next_one_forward(self) -> None:
        cluster = Cluster(names="ab")
        cluster.task("grid", Every("10s", fixed_rate=True), 1.0)
        for node in (cluster.a, cluster.b):
            node.reach.deaf["add"] = 2
        cluster.play(101)
        assert all(start.at >= (start.due - cluster.begun).total_seconds() for start in cluster.ledger)
        assert len(cluster.ledger) == 11
