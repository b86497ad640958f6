"""What cannot be meant is refused where a job is added or changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.support.task_cluster import Cluster

from bgtasks import Cron
from bgtasks.errors import InvalidTask, InvalidTrigger, UnknownJob


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "config", [object(), {1, 2}, float("nan"), {"deep": [float("inf")]}, {("a",): 1}, b"bytes"]
    )
    def test_a_config_that_is_no_json(self, cluster: Cluster, config: Any) -> None:
        cluster.job_type("digest")

        async def main() -> None:
            await cluster.start("a")
            with pytest.raises(InvalidTask, match='the config of a job "digest" cannot be written as JSON'):
                await cluster.a.jobs.add("digest", "10s", config=config)
            row = await cluster.a.jobs.add("digest", "10s")
            with pytest.raises(InvalidTask, match="cannot be written as JSON"):
                await cluster.a.jobs.update(row.id, config=config)
            assert (await cluster.a.jobs.get(row.id)).config_json == "{}"
            assert len(await cluster.a.jobs.list()) == 1

        cluster.run(main)

    def test_a_config_that_holds_itself(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            circle: list[Any] = []
            circle.append(circle)
            with pytest.raises(InvalidTask, match="cannot be written as JSON"):
                await cluster.a.jobs.add("digest", "10s", config=circle)

        cluster.run(main)

    def test_a_trigger_that_is_never_due(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            never = "0 0 29 2 *"
            with pytest.raises(InvalidTrigger):
                await cluster.a.jobs.add("digest", Cron("0 0 31 2 *"))
            row = await cluster.a.jobs.add("digest", Cron(never))
            with pytest.raises(InvalidTrigger):
                await cluster.a.jobs.update(row.id, trigger=Cron("0 0 30 2 *"))
            assert (await cluster.a.jobs.get(row.id)) == row

        cluster.run(main)

    def test_a_trigger_that_cannot_be_written_down(self, cluster: Cluster) -> None:
        class Own:
            def next_after(self, when: datetime) -> datetime:
                return when + timedelta(seconds=1)

        async def main() -> None:
            await cluster.start("a")
            with pytest.raises(InvalidTrigger, match="cannot be written down"):
                await cluster.a.jobs.add("digest", Own())

        cluster.run(main)

    @pytest.mark.parametrize("trigger", ["", "soon", 0, -1, float("nan"), "@daily", None, True])
    def test_what_is_no_trigger(self, cluster: Cluster, trigger: Any) -> None:
        async def main() -> None:
            await cluster.start("a")
            with pytest.raises(InvalidTrigger):
                await cluster.a.jobs.add("digest", trigger)
            assert not await cluster.a.jobs.list()

        cluster.run(main)

    @pytest.mark.parametrize("names", [{"job_type": ""}, {"bot_id": "a\nb"}, {"key": ""}, {"key": 7}])
    def test_a_name_that_is_no_line_of_text(self, cluster: Cluster, names: Any) -> None:
        async def main() -> None:
            await cluster.start("a")
            with pytest.raises(InvalidTask):
                await cluster.a.jobs.add(**{"job_type": "digest", "trigger": "10s", **names})

        cluster.run(main)

    def test_an_instant_without_a_zone(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            row = await cluster.a.jobs.add("digest", "10s")
            with pytest.raises(InvalidTrigger, match="naive"):
                await cluster.a.jobs.update(row.id, next_run_at=datetime(2026, 1, 1))  # noqa: DTZ001

        cluster.run(main)

    def test_the_id_of_no_job(self, cluster: Cluster) -> None:
        async def main() -> None:
            await cluster.start("a")
            jobs, nobody = cluster.a.jobs, uuid4()
            for call in (
                lambda: jobs.get(nobody),
                lambda: jobs.update(nobody, config=1),
                lambda: jobs.pause(nobody),
                lambda: jobs.resume(nobody),
                lambda: jobs.run_now(nobody),
            ):
                with pytest.raises(UnknownJob, match=str(nobody)):
                    await call()
            assert not await jobs.remove(nobody)
            assert await jobs.run("nobody") is None
            assert not await jobs.runs(nobody)

        cluster.run(main)

    def test_another_trigger_for_a_task_that_is_declared(self, cluster: Cluster) -> None:
        cluster.task("grid", "1h")

        async def main() -> None:
            await cluster.start("a")
            await cluster.clock.advance(1)
            row = await cluster.row("grid")
            with pytest.raises(InvalidTask, match="declared in code"):
                await cluster.a.jobs.update(row.id, trigger="2h")

        cluster.run(main)
