"""`background_job` records what runs the jobs of a type; the other decorators are in `test_registry.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bgtasks import Breaker, Registry, Retry, ScheduledJob, background_job, background_task, build_scheduler
from bgtasks.errors import DuplicateTask, InvalidTask, InvalidTrigger
from bgtasks.policies import CatchUp, Overlap
from bgtasks.registry import default_registry
from bgtasks.spec import JobSpec, Scope
from bgtasks.stores import task_store
from bgtasks.testing import VirtualClock


def spec_of(registry: Registry) -> JobSpec:
    (spec,) = registry
    assert isinstance(spec, JobSpec)
    return spec


class TestAJobsFunction:
    def test_is_returned_unchanged_and_recorded_by_its_name(self, registry: Registry) -> None:
        async def digest(job: ScheduledJob) -> None: ...

        assert background_job(registry=registry)(digest) is digest
        spec = spec_of(registry)
        assert (spec.name, spec.func, spec.scope) == ("digest", digest, Scope.CLUSTER)

    def test_may_be_called_otherwise_and_have_policies(self, registry: Registry) -> None:
        @background_job(
            "daily digest",
            overlap="queue",
            catch_up="all",
            timeout="2m",
            retry=Retry(3),
            breaker=Breaker(5, "1h"),
            group="mail",
            aliases=("letters",),
            opt_in_config_flag="digests_enabled",
            requires_redis=True,
            requires_chat_llm=True,
            requires=("mailer",),
            registry=registry,
        )
        async def digest(job: ScheduledJob, mailer: object) -> None: ...

        spec = spec_of(registry)
        assert (spec.name, spec.aliases, spec.requires) == ("daily digest", ("letters",), ("redis", "mailer"))
        assert (spec.opt_in_config_flag, spec.requires_chat_llm) == ("digests_enabled", True)
        policy = spec.policy
        assert (policy.overlap, policy.catch_up, policy.timeout) == (Overlap.QUEUE, CatchUp.ALL, 120.0)
        assert (policy.retry, policy.breaker, policy.group) == (Retry(3), Breaker(5, "1h"), "mail")
        assert registry.resolve("letters") is spec

    @pytest.mark.parametrize(
        ("make", "error"),
        [
            (lambda of: background_job("", registry=of)(_digest), None),
            (lambda of: background_job("a\nb", registry=of)(_digest), InvalidTask),
            (lambda of: background_job(registry=of)(_BLOCKING), InvalidTask),
            (lambda of: background_job(overlap="maybe", registry=of)(_digest), InvalidTask),
            (lambda of: background_job(catch_up="some", registry=of)(_digest), InvalidTask),
            (lambda of: background_job(timeout=0, registry=of)(_digest), (InvalidTask, InvalidTrigger)),
            (lambda of: background_job(requires="mailer", registry=of)(_digest), InvalidTask),
            (lambda of: background_job(aliases="digest", registry=of)(_digest), InvalidTask),
            (lambda of: background_job(registry=of)(_by_position), InvalidTask),
        ],
    )
    def test_that_cannot_be_meant_is_refused(
        self, registry: Registry, make: Callable[[Registry], Any], error: Any
    ) -> None:
        if error is None:  # an empty name is no name: the function's own
            make(registry)
            assert spec_of(registry).name == "_digest"
            return
        with pytest.raises(error):
            make(registry)
        assert not list(registry)

    def test_without_parentheses_is_refused_with_a_sentence(self) -> None:
        async def digest(job: ScheduledJob) -> None: ...

        before = list(default_registry)
        decorate: Any = background_job
        with pytest.raises(InvalidTask):
            decorate(digest)(digest)
        assert list(default_registry) == before

    def test_of_a_tasks_name_is_refused(self, registry: Registry) -> None:
        @background_task("1h", name="digest", registry=registry)
        async def task() -> None: ...

        with pytest.raises(DuplicateTask):
            background_job("digest", registry=registry)(_digest)

    def test_is_wired_where_there_is_a_store(self, registry: Registry) -> None:
        background_job("digest", registry=registry)(_digest)
        (row,) = build_scheduler(registry=registry, clock=VirtualClock()).decisions
        assert (row.kind, row.reason) == ("job", "jobs are kept in a store: give redis= or store=")
        store = task_store("memory://")
        (row,) = build_scheduler(registry=registry, store=store).decisions
        assert (row.wired, row.scope, row.when) == (True, "cluster", "as each job of this type says")

    def test_that_lacks_a_resource_is_not_wired(self, registry: Registry) -> None:
        background_job("digest", requires=("mailer",), registry=registry)(_digest)
        (row,) = build_scheduler(registry=registry, store=task_store("memory://")).decisions
        assert row.reason == 'needs mailer: no resource "mailer" was given'

    def test_does_not_take_a_resource_for_its_job(self, registry: Registry) -> None:
        """`job` is what it is given, whatever a host calls its resources."""
        background_job("digest", registry=registry)(_digest)
        scheduler = build_scheduler(
            registry=registry, store=task_store("memory://"), resources={"job": "a resource"}
        )
        (row,) = scheduler.decisions
        assert row.wired


async def _digest(job: ScheduledJob) -> None: ...


async def _by_position(job: ScheduledJob, /) -> None: ...


_BLOCKING: Any = lambda job: None  # noqa: E731 - no coroutine function
