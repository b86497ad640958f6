"""What runs jobs that are added at run time, where it is missing, and what is let go of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Breaker, Deferred, Every, Registry, Retry, ScheduledJob, background_job
from bgtasks.events import JobsUnresolved, RunFinished, RunSkipped
from bgtasks.records import JobRow, RunStatus
from bgtasks.wiring import Wiring


@pytest.fixture
def alone() -> Cluster:
    """One node on a store, not started."""
    return Cluster(names="a")


class TestATypeThatNobodyHas:
    def test_is_said_once_and_its_jobs_stay_until_one_comes(self) -> None:
        cluster = Cluster(names="abc")
        cluster.job_type("digest", on="c")

        async def main() -> None:
            await cluster.start("ab")
            row = await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(200)
            assert cluster.events(JobsUnresolved) == [
                JobsUnresolved("digest", 1, "no node that is alive knows it")
            ]
            assert await cluster.b.jobs.get(row.id) == row
            await cluster.start("c")
            await cluster.clock.advance(5)
            assert [start.node for start in cluster.ledger] == ["c"]

        cluster.run(main)
        assert len(cluster.events(JobsUnresolved)) == 1

    def test_is_said_again_after_it_was_there_and_is_lost(self) -> None:
        cluster = Cluster(names="abc")
        cluster.job_type("digest", on="c")

        async def main() -> None:
            await cluster.start("ab")
            await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(100)
            await cluster.start("c")
            await cluster.clock.advance(100)
            await cluster.stop("c")
            await cluster.clock.advance(200)

        cluster.run(main)
        assert len(cluster.events(JobsUnresolved)) == 2

    def test_though_a_node_knows_it_that_cannot_run_it(self) -> None:
        cluster = Cluster(names="ab")
        cluster.job_type("digest", requires=("mailer",))

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(100)
            (said,) = cluster.events(JobsUnresolved)
            assert said.reason == "no node that is alive has all that it needs"

        cluster.run(main)
        assert not cluster.ledger

    def test_and_is_not_among_those_selected_waits_too(self) -> None:
        cluster = Cluster(names="ab")
        cluster.job_type("digest")
        cluster.job_type("other")
        cluster.equip("a", only=("other",))
        cluster.equip("b", exclude=("digest",))

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("digest", "1h")
            await cluster.a.jobs.add("other", "1h")
            await cluster.clock.advance(100)
            assert [start.task for start in cluster.ledger] == ["other"]
            assert [said.job_type for said in cluster.events(JobsUnresolved)] == ["digest"]

        cluster.run(main)

    def test_has_what_was_wanted_of_it_by_hand_wait_too(self, cluster: Cluster) -> None:
        cluster.job_type("digest", on="c")

        async def main() -> None:
            await cluster.start("a")
            row = await cluster.a.jobs.add("digest", "1h", initial_delay="1h")
            run_id = await cluster.a.jobs.run_now(row.id)
            await cluster.clock.advance(60)
            run = await cluster.a.jobs.run(run_id)
            assert run is not None
            assert run.status is RunStatus.PENDING
            await cluster.start("c")
            await cluster.clock.advance(5)

        cluster.run(main)
        assert len(cluster.ledger) == 1

    def test_is_had_by_a_node_that_is_given_it_later(self, alone: Cluster) -> None:
        ran: list[ScheduledJob] = []
        registry = Registry()

        @background_job("digest", registry=registry)
        async def digest(job: ScheduledJob) -> None:
            ran.append(job)

        async def main() -> None:
            await alone.start()
            await alone.a.jobs.add("digest", "1h")
            await alone.clock.advance(30)
            (spec,) = registry
            wiring = Wiring({}, claims=True)
            verdict = wiring.judge(spec)
            alone.a.scheduler.adopt(spec, verdict, wiring.decide(spec, verdict))
            await alone.clock.advance(10)

        alone.run(main)
        assert len(ran) == 1


class TestAFunction:
    def test_is_given_resources_and_need_not_take_the_job(self) -> None:
        cluster = Cluster(names="a", resources={"mailer": "a mailer"})
        seen: list[Any] = []

        @background_job("digest", requires=("mailer",), registry=cluster._registries["a"])
        async def digest(mailer: str) -> dict[str, int]:
            seen.append(mailer)
            return {"sent": 2}

        cluster.process("a")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h")
            await cluster.clock.advance(1)
            (run,) = await cluster.a.jobs.runs(row.id)
            assert run.result_json == '{"sent": 2}'
            assert run.node_id == "a"

        cluster.run(main)
        assert seen == ["a mailer"]

    def test_that_does_not_take_the_job_fails_where_there_is_a_config(self) -> None:
        cluster = Cluster(names="a")

        @background_job(registry=cluster._registries["a"])
        async def digest() -> None: ...

        cluster.process("a")

        async def main() -> None:
            await cluster.start()
            row = await cluster.a.jobs.add("digest", "1h", config={"n": 1})
            await cluster.clock.advance(1)
            (run,) = await cluster.a.jobs.runs(row.id)
            assert run.status is RunStatus.FAILED
            assert "has a config" in (run.error_message or "")
            assert 'give it a parameter "job"' in (run.error_message or "")

        cluster.run(main)

    def test_of_a_cluster_task_has_jobs_beside_its_own_schedule(self, cluster: Cluster) -> None:
        cluster.task("grid", Every("20s", fixed_rate=True), 5.0)

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("grid", Every("30s", fixed_rate=True), initial_delay="10s")
            await cluster.clock.advance(45)

        cluster.run(main)
        assert sorted(cluster.times("grid")) == [0.0, 10.0, 20.0, 40.0, 40.0]

    def test_of_a_cluster_task_keeps_its_own_schedule_beside_a_job_with_its_name_as_key(
        self, cluster: Cluster
    ) -> None:
        """The job is added first, by a program that has no such task."""
        cluster.task("grid", Every("20s", fixed_rate=True), on="b")

        async def main() -> None:
            await cluster.start("a")
            await cluster.a.jobs.add("grid", Every("30s", fixed_rate=True), key="grid", initial_delay="10s")
            await cluster.start("b")
            await cluster.clock.advance(45)
            assert (await cluster.row("grid")).declared

        cluster.run(main)
        assert sorted(cluster.times("grid")) == [0.0, 10.0, 20.0, 40.0, 40.0]

    def test_has_its_policy_for_each_job_by_itself(self, alone: Cluster) -> None:
        async def fail(job: ScheduledJob) -> None:
            if job.config == "bad":
                raise ValueError("no")

        breaker = Breaker(after=2, cool_down="60s")
        alone.job_type("digest", fail, breaker=breaker, timeout="5s", retry=Retry(2, "1s"))

        async def main() -> None:
            await alone.start()
            bad = await alone.a.jobs.add("digest", Every("10s", fixed_rate=True), config="bad")
            good = await alone.a.jobs.add("digest", Every("10s", fixed_rate=True), config="good")
            await alone.clock.advance(65)
            assert (await alone.a.jobs.get(bad.id)).failures == 2
            failed = [RunStatus.FAILED]
            assert len(await alone.a.jobs.runs(bad.id, statuses=failed)) == 2
            assert len(await alone.a.jobs.runs(good.id)) == 7
            await alone.clock.advance(20)
            assert len(await alone.a.jobs.runs(bad.id, statuses=failed)) == 3

        alone.run(main)

    def test_whose_server_does_not_answer_is_tried_again_soon(self, alone: Cluster) -> None:
        async def defer(_: ScheduledJob) -> Any:
            return Deferred("no answer", resource="mailer") if len(alone.ledger) < 3 else None

        alone.job_type("digest", defer)

        async def main() -> None:
            await alone.start()
            row = await alone.a.jobs.add("digest", Every("1h", fixed_rate=True))
            await alone.clock.advance(60)
            statuses = [run.status for run in await alone.a.jobs.runs(row.id)]
            assert statuses == [RunStatus.SUCCESS, RunStatus.SKIPPED, RunStatus.SKIPPED]

        alone.run(main)
        assert len(alone.ledger) == 3


class TestWhatSomebodyWrotePastTheProgram:
    @pytest.mark.parametrize("config", ["{", "NaNN", "'one'", "[1,", "x" * 5000])
    def test_a_config_that_is_no_json_fails_its_runs_and_the_job_stays(
        self, alone: Cluster, config: str
    ) -> None:
        alone.job_type("digest")

        async def main() -> None:
            await alone.start()
            row = JobRow(
                id=uuid4(),
                job_type="digest",
                interval_minutes=1 / 6,
                next_run_at=alone.at(1),
                config_json=config,
            )
            await alone.store.add(row)
            await alone.clock.advance(25)
            runs = await alone.a.jobs.runs(row.id)
            assert {run.status for run in runs} == {RunStatus.FAILED}
            why = f"the config_json of the job {row.id} is no JSON"
            assert all(why in (run.error_message or "") for run in runs)
            assert len(runs) == 3
            await alone.a.jobs.update(row.id, config="mended")
            await alone.clock.advance(10)
            assert alone.ledger[-1].job is not None
            assert alone.ledger[-1].job.config == "mended"

        alone.run(main)

    @pytest.mark.parametrize("config", ["", "null"])
    def test_a_config_that_is_empty_is_nothing(self, alone: Cluster, config: str) -> None:
        alone.job_type("digest")

        async def main() -> None:
            await alone.start()
            row = JobRow(
                id=uuid4(), job_type="digest", trigger="1h", next_run_at=alone.at(1), config_json=config
            )
            await alone.store.add(row)
            await alone.clock.advance(5)
            (run,) = await alone.a.jobs.runs(row.id)
            assert run.status is RunStatus.SUCCESS

        alone.run(main)

    @pytest.mark.parametrize(
        "broken",
        [
            {"trigger": "whenever"},
            {"trigger": "cron 99 * * * *"},
            {"trigger": "cron 0 9 * * * (Europe/Atlantis)"},
            {"trigger": "once at dawn"},
            {"trigger": ""},
            {"interval_minutes": -1.0},
            {"interval_minutes": 0.0},
            {"interval_minutes": 1e300},
            {"interval_minutes": float("nan")},
        ],
    )
    def test_a_trigger_that_cannot_be_read_pauses_its_job_until_it_is_mended(
        self, cluster: Cluster, broken: dict[str, Any]
    ) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start()
            row = JobRow(id=uuid4(), job_type="digest", next_run_at=cluster.at(5), **broken)
            await cluster.store.add(row)
            other = await cluster.a.jobs.add("digest", "10s")
            await cluster.clock.advance(20)
            kept = await cluster.b.jobs.get(row.id)
            assert not kept.enabled
            assert kept.reason.startswith("its trigger cannot be read: ")
            assert not await cluster.b.jobs.runs(row.id)
            assert len(await cluster.b.jobs.runs(other.id)) == 3
            await cluster.c.jobs.update(row.id, trigger="30s")
            await cluster.c.jobs.resume(row.id)
            await cluster.clock.advance(5)
            (run,) = await cluster.b.jobs.runs(row.id)
            assert run.status is RunStatus.SUCCESS

        cluster.run(main)

    def test_a_trigger_that_is_mended_while_a_node_looks_at_it_is_not_paused(self, alone: Cluster) -> None:
        alone.job_type("digest")

        async def main() -> None:
            await alone.start()
            row = JobRow(id=uuid4(), job_type="digest", next_run_at=alone.at(5), trigger="whenever")
            alone.a.reach.delay["change"] = 1.0
            await alone.store.add(row)
            while "change" not in alone.a.reach.calls:
                await alone.clock.advance(0.1)
            mended = await alone.store.change(replace(row, trigger="1h"))
            assert mended is not None
            await alone.clock.advance(10)
            assert (await alone.store.job(row.id)) != row
            assert [run.status for run in await alone.a.jobs.runs(row.id)] == [RunStatus.SUCCESS]

        alone.run(main)

    def test_a_run_by_hand_of_a_job_whose_trigger_cannot_be_read_does_not_wait_for_ever(
        self, alone: Cluster
    ) -> None:
        alone.job_type("digest")

        async def main() -> None:
            await alone.start()
            row = JobRow(id=uuid4(), job_type="digest", next_run_at=alone.at(3600), trigger="whenever")
            await alone.store.add(row)
            run_id = await alone.a.jobs.run_now(row.id)
            await alone.clock.advance(60)
            run = await alone.a.jobs.run(run_id)
            assert run is not None
            assert run.status.is_over

        alone.run(main)

    def test_an_instant_for_a_job_without_a_trigger_runs_it_once(self, alone: Cluster) -> None:
        alone.job_type("digest")

        async def main() -> None:
            await alone.start()
            await alone.store.add(JobRow(id=uuid4(), job_type="digest", next_run_at=alone.at(5)))
            await alone.clock.advance(20)

        alone.run(main)
        assert alone.times("digest") == [5.0]


class TestWhatIsHeard:
    def test_of_a_job_bears_its_key_or_its_id(self, alone: Cluster) -> None:
        alone.job_type("digest")

        async def main() -> None:
            await alone.start()
            await alone.a.jobs.add("digest", "1h", bot_id="b1", key="daily")
            await alone.a.jobs.add("digest", "1h", key="weekly")
            row = await alone.a.jobs.add("digest", "1h")
            await alone.clock.advance(1)
            names = {event.task for event in alone.events(RunFinished)}
            assert names == {"digest[b1/daily]", "digest[weekly]", f"digest[{row.id}]"}

        alone.run(main)

    def test_of_a_skipped_run_comes_once(self, cluster: Cluster) -> None:
        cluster.job_type("digest", 15.0)

        async def main() -> None:
            await cluster.start()
            await cluster.a.jobs.add("digest", Every("10s", fixed_rate=True))
            await cluster.clock.advance(19)
            (said,) = cluster.events(RunSkipped)
            assert said.reason == "the previous run is still going"

        cluster.run(main)
