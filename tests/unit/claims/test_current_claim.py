"""What a run of a cluster task is told of its claim."""

from __future__ import annotations

from typing import Any

from tests.support.task_cluster import Cluster

from bgtasks import current_run
from bgtasks.claims import current_claim


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
