"""Runs that were wanted by hand and are wanted no more: nobody has them later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Done, Every, Outcome, ScheduledJob, Skipped
from bgtasks.records import RunQuery, RunStatus

STILL_GOING = Skipped("the previous run is still going")


class TestRunNowWhileAnotherNodeRunsIt:
    def ask(self, cluster: Cluster, **trouble: Any) -> Outcome:
        """What `b` is answered while `a` is running it; and what there is to see a minute later."""
        cluster.task("grid", Every("1h", fixed_rate=True), 20.0)
        asked: list[Outcome] = []

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(3)
            await cluster.start("b")
            await cluster.clock.advance(3)
            for kind, calls in trouble.items():
                getattr(cluster.b.reach, kind).update(calls)
            asked.append(await cluster.b.scheduler.run_now("grid"))
            cluster.b.reach.mend()
            await cluster.clock.advance(60)
            runs = await cluster.runs("grid")
            assert not [run for run in runs if not run.status.is_over]

        cluster.run(main)
        return asked[0]

    def test_is_skipped_and_not_run_later(self, cluster: Cluster) -> None:
        assert self.ask(cluster) == STILL_GOING
        assert cluster.times("grid") == [0.0]

    @pytest.mark.parametrize("times", [1, 3])
    def test_though_the_answer_to_the_withdrawal_is_lost(self, cluster: Cluster, times: int) -> None:
        assert self.ask(cluster, deaf={"withdraw": times}) == STILL_GOING
        assert cluster.times("grid") == [0.0]

    @pytest.mark.parametrize("call", ["accept", "withdraw"])
    @pytest.mark.parametrize("how", ["slow", "delay"])
    @pytest.mark.parametrize("seconds", [1.5, 2.5])
    def test_though_answers_come_late(self, cluster: Cluster, call: str, how: str, seconds: float) -> None:
        outcome = self.ask(cluster, **{how: {call: seconds}})
        if isinstance(outcome, Skipped) and outcome.reason.startswith("store is unavailable"):
            assert seconds > 2  # nobody can tell
        else:
            assert outcome == STILL_GOING
            assert len(cluster.times("grid")) == 1

    def test_is_run_by_another_that_takes_it_in_between(self) -> None:
        """The run in progress ends while the withdrawal is on its way."""
        cluster = Cluster(names="abc")
        cluster.task("grid", Every("1h", fixed_rate=True), 9.5, on="abc")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(1)
            await cluster.start("bc")
            await cluster.clock.advance(6)
            cluster.b.reach.delay["withdraw"] = 1.9
            cluster.b.reach.delay["accept"] = 1.9
            asked = asyncio.create_task(cluster.b.scheduler.run_now("grid"))
            await cluster.clock.advance(40)
            outcome = asked.result()
            begun = cluster.starts("grid")[1:]
            if isinstance(outcome, Skipped):
                assert outcome.reason in (STILL_GOING.reason, "another node has it")
            assert len(begun) == (
                outcome.reason == "another node has it" if isinstance(outcome, Skipped) else 1
            )

        cluster.run(main)
        assert not cluster.met

    @pytest.mark.parametrize("at", [0.0, 0.5, 1.0, 1.5, 1.9])
    @pytest.mark.parametrize("overlap", ["skip", "queue", "cancel", "allow"])
    def test_is_answered_truly_whenever_that_run_ends(self, overlap: str, at: float) -> None:
        """Whoever asks is told of a run that took place, or nothing takes place."""
        cluster = Cluster(names="abc")
        cluster.task("grid", Every("1h", fixed_rate=True), 10.0, overlap=overlap)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(1)
            await cluster.start("bc")
            await cluster.clock.advance(7 + at)
            for call in ("offer", "accept", "withdraw"):
                cluster.b.reach.delay[call] = 0.7
            asked = asyncio.create_task(cluster.b.scheduler.run_now("grid"))
            await cluster.clock.advance(100)
            outcome = asked.result()
            runs = len(cluster.times("grid"))
            if outcome in (Done(), Skipped("another node has it")):
                assert runs == 2
            else:
                assert outcome == STILL_GOING
                assert runs == 1
            assert not await cluster.runs("grid", RunStatus.PENDING)

        cluster.run(main)


class TestRunNowThatNobodyWaitsForAnyMore:
    def test_because_the_scheduler_was_stopped_is_not_run_by_others(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 20.0, overlap="queue")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(3)
            await cluster.start("bc")
            await cluster.clock.advance(3)
            asked = asyncio.create_task(cluster.b.scheduler.run_now("grid"))
            await cluster.clock.advance(1)
            await cluster.stop("b")
            assert asked.result() == Skipped("the scheduler was stopped")
            await cluster.clock.advance(60)

        cluster.run(main)
        assert cluster.times("grid") == [0.0]

    def test_because_the_session_was_lost_is_withdrawn_by_the_next(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("1h", fixed_rate=True), 40.0, overlap="queue")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(3)
            await cluster.start("b")
            await cluster.clock.advance(3)
            asked = asyncio.create_task(cluster.b.scheduler.run_now("grid"))
            await cluster.clock.advance(1)
            cluster.b.reach.cut()
            await cluster.clock.advance(20)
            assert isinstance(asked.result(), Skipped)
            cluster.b.reach.mend()
            await cluster.clock.advance(60)

        cluster.run(main)
        assert cluster.times("grid") == [0.0]

    def test_of_a_plain_interval_leaves_its_schedule(self, cluster: Cluster) -> None:
        cluster.task("plain", "30s", 20.0)

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(3)
            await cluster.start("b")
            await cluster.clock.advance(3)
            assert await cluster.b.scheduler.run_now("plain") == STILL_GOING
            await cluster.clock.advance(60)

        cluster.run(main)
        assert cluster.times("plain") == [0.0, 50.0]


class TestOffersOfJobsThatAreNotInHand:
    """Strangers: runs that were wanted through another node."""

    def test_are_met_and_run_once(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 1.0)

        async def main() -> None:
            await cluster.start()
            rows = [await cluster.a.jobs.add("digest", "1h", initial_delay="1h") for _ in range(20)]
            await cluster.clock.advance(20)
            wanted = [await cluster.b.jobs.run_now(row.id) for row in rows for _ in range(2)]
            await cluster.clock.advance(60)
            runs = [await cluster.c.jobs.run(each) for each in wanted]
            assert {run and run.status for run in runs} == {RunStatus.SUCCESS}

        cluster.run(main)
        assert len(cluster.ledger) == 40
        assert not cluster.met

    def test_that_are_gone_when_they_are_looked_for_are_forgotten(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 1.0)

        async def main() -> None:
            await cluster.start("a")
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h")
            await cluster.clock.advance(5)
            cluster.a.reach.delay["job"] = 1.0
            run_id = await cluster.b.jobs.run_now(row.id)
            while cluster.a.reach.calls[-1] != "job":
                await cluster.clock.advance(0.1)
            await cluster.b.jobs.remove(row.id)
            await cluster.clock.advance(20)
            run = await cluster.b.jobs.run(run_id)
            assert run is not None
            assert run.status is RunStatus.SKIPPED
            desk: Any = cluster.a.scheduler._desk
            assert not desk._offers.strangers

        cluster.run(main)
        assert not cluster.ledger

    @pytest.mark.parametrize("call", ["job", "accept", "beat"])
    def test_are_run_once_though_answers_are_lost(self, cluster: Cluster, call: str) -> None:
        cluster.job_type("digest", 1.0)

        async def main() -> None:
            await cluster.start("ab")
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h")
            await cluster.clock.advance(5)
            for node in (cluster.a, cluster.b):
                node.reach.deaf[call] = 3
            await cluster.c.jobs.run_now(row.id)
            await cluster.clock.advance(60)

        cluster.run(main)
        assert len(cluster.ledger) == 1

    def test_of_a_node_that_dies_with_one_are_not_begun_again(self, cluster: Cluster) -> None:
        """A run by hand is started once."""
        cluster.job_type("digest", 20.0)

        async def main() -> None:
            await cluster.start("ab")
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h")
            await cluster.clock.advance(5)
            await cluster.a.jobs.run_now(row.id)
            await cluster.clock.advance(5)
            await cluster.kill(cluster.ledger[0].node)
            await cluster.clock.advance(60)
            (run,) = await cluster.store.runs(RunQuery(row.id))
            assert run.status is RunStatus.LOST

        cluster.run(main)
        assert len(cluster.ledger) == 1

    def test_get_the_config_of_the_moment(self, cluster: Cluster) -> None:
        seen: list[Any] = []

        async def work(job: ScheduledJob) -> None:
            seen.append(job.config)

        cluster.job_type("digest", work)

        async def main() -> None:
            await cluster.start("a")
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h", config=0)
            for number in range(1, 4):
                await cluster.a.jobs.update(row.id, config=number)
                await cluster.a.jobs.run_now(row.id)
                await cluster.clock.advance(5)

        cluster.run(main)
        assert seen == [1, 2, 3]


class TestAnOfferThatIsToldAgain:
    """A beat saw it before it was accepted, and its answer arrives after that of the claim."""

    @pytest.mark.parametrize("overlap", ["skip", "queue", "cancel", "allow"])
    @pytest.mark.parametrize("seconds", [5.0, 0.9])
    def test_is_begun_once(self, overlap: str, seconds: float) -> None:
        cluster = Cluster(names="a")
        cluster.task("grid", Every("1h", fixed_rate=True), seconds, overlap=overlap, initial_delay="1h")

        async def main() -> None:
            await cluster.start()
            await cluster.clock.advance(10)
            cluster.a.reach.slow |= {"offer": 0.3, "beat": 1.0}
            asked = asyncio.create_task(cluster.a.scheduler.run_now("grid"))
            await cluster.clock.advance(0.1)
            desk: Any = cluster.a.scheduler._desk
            desk.session.beat_now()
            await cluster.clock.advance(40)
            assert asked.result() == Done()
            assert [run.status for run in await cluster.runs("grid")] == [RunStatus.SUCCESS]

        cluster.run(main)
        assert len(cluster.ledger) == 1
