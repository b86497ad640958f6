"""Events as log lines: nothing fails in silence, nothing is said too often, and every line knows its run."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextvars import copy_context
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, merge_contextvars
from tests.support.processes import run_python
from tests.support.recording import Recorder

from bgtasks import (
    BackgroundScheduler,
    Cancelled,
    Deferred,
    Done,
    EventBus,
    Every,
    Failed,
    Outcome,
    Skipped,
    TimedOut,
    events,
)
from bgtasks.events import (
    Event,
    LoopStalled,
    ResourceLost,
    ResourceRegained,
    RunFinished,
    RunMissed,
    RunRetried,
    RunSkipped,
    RunStarted,
    RunStuck,
    SchedulerStarted,
    SchedulerStopped,
    TaskPaused,
    TaskResumed,
    WorkerRestarted,
)
from bgtasks.run import current_run
from bgtasks.telemetry import attach_default
from bgtasks.telemetry.logs import LogListener, RunContextFilter
from bgtasks.testing import VirtualClock, run_virtual

DUE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clean_context(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test sees what another has bound; every line is caught."""
    caplog.set_level(logging.DEBUG, "bgtasks")
    clear_contextvars()
    yield
    clear_contextvars()


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of the lines of our logger."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "bgtasks"]


def finished(outcome: Outcome, failures: int = 0) -> RunFinished:
    return RunFinished("tidy", "r1", outcome, 1.23456, failures)


def running(does: Callable[[], Awaitable[Any]], seconds: float = 0.5) -> Recorder:
    """Run one task called tidy every second, for a while, with the default listener."""
    heard: list[Recorder] = []

    async def main(clock: VirtualClock) -> None:
        scheduler = BackgroundScheduler(clock=clock)
        heard.append(Recorder(scheduler))

        async def body() -> Any:
            return await does()

        scheduler.register("tidy", body, 1)
        async with scheduler:
            await asyncio.sleep(seconds)

    run_virtual(main)
    return heard[0]


# -- one line per event worth one ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (SchedulerStarted(3, 1), [("INFO", "scheduler started: tasks=3 workers=1 not_wired=0")]),
        (
            SchedulerStarted(3, 1, (("decay", "needs kg_manager: no knowledge graph was given"),)),
            [
                ("INFO", "scheduler started: tasks=3 workers=1 not_wired=1"),
                ("DEBUG", "not wired: task=decay reason='needs kg_manager: no knowledge graph was given'"),
            ],
        ),
        (SchedulerStopped((), 0.12345), [("INFO", "scheduler stopped: seconds=0.123")]),
        (
            SchedulerStopped(("tidy", "decay"), 10),
            [
                (
                    "ERROR",
                    "scheduler stopped, but these runs would not end: unfinished='tidy, decay' seconds=10",
                )
            ],
        ),
        (
            finished(Done({"n": 1})),
            [("DEBUG", "run done: task=tidy run_id=r1 seconds=1.235 result=\"{'n': 1}\"")],
        ),
        (
            finished(Skipped("nothing new")),
            [("INFO", "run skipped: task=tidy run_id=r1 seconds=1.235 reason='nothing new'")],
        ),
        (
            finished(Deferred("busy")),
            [("INFO", "run deferred: task=tidy run_id=r1 seconds=1.235 reason=busy")],
        ),
        (
            finished(Deferred("down", "redis")),
            [("DEBUG", "run deferred: task=tidy run_id=r1 seconds=1.235 reason=down")],
        ),
        (
            finished(Cancelled("stopped")),
            [("DEBUG", "run cancelled: task=tidy run_id=r1 seconds=1.235 reason=stopped")],
        ),
        (
            RunSkipped("tidy", DUE, "still going"),
            [
                (
                    "WARNING",
                    "run skipped: task=tidy due=2026-01-01T00:00:00+00:00 reason='still going'",
                )
            ],
        ),
        (
            RunMissed("tidy", DUE, 3, "31 s late"),
            [
                (
                    "WARNING",
                    "ticks missed: task=tidy due=2026-01-01T00:00:00+00:00 reason='31 s late' ticks=3",
                )
            ],
        ),
        (
            RunRetried("tidy", "r1", 2, 1.23456, "gone"),
            [
                (
                    "WARNING",
                    "attempt failed; trying again: task=tidy run_id=r1 attempt=2 delay=1.235 reason=gone",
                )
            ],
        ),
        (
            TaskPaused("tidy", "by hand"),
            [("WARNING", "task paused: task=tidy reason='by hand'")],
        ),
        (
            TaskPaused("tidy", "5 failures in a row", DUE),
            [
                (
                    "WARNING",
                    "task paused: task=tidy reason='5 failures in a row' until=2026-01-01T00:00:00+00:00",
                )
            ],
        ),
        (
            TaskResumed("tidy", "a run went well"),
            [("WARNING", "task goes on: task=tidy reason='a run went well'")],
        ),
        (
            LoopStalled(2.34567, "bgtasks:tidy:r1", "a stack"),
            [("WARNING", "the event loop turns again: seconds=2.346 held_by=bgtasks:tidy:r1")],
        ),
        (
            WorkerRestarted("journal", "r2", 4),
            [("INFO", "worker restarted: task=journal run_id=r2 restarts=4")],
        ),
        (
            ResourceLost("redis", "no answer"),
            [("WARNING", "resource lost; tasks that need it wait: resource=redis reason='no answer'")],
        ),
        (ResourceRegained("redis", 61.23), [("WARNING", "resource is back: resource=redis seconds=61.2")]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_event_is_said_at_its_level(
    event: Event, said: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    LogListener()(event)

    assert [(level, normal(text)) for level, text in lines(caplog)] == [
        (level, normal(text)) for level, text in said
    ]


def test_a_stuck_run_is_said_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    LogListener()(RunStuck("tidy", "r1", 35.0004, "Stack for tidy:\n  await forever()"))

    [(level, text)] = lines(caplog)
    assert level == "ERROR"
    first, *stack, fields = text.splitlines()
    assert first == "run was told to end and goes on"
    assert stack == ["Stack for tidy:", "  await forever()"]
    assert all(field in fields for field in ("task=tidy", "run_id=r1", "seconds=35.0"))


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(events).values() if hasattr(kind, "_fields")],
    ids=lambda kind: kind.__name__,
)
def test_no_kind_of_event_is_unknown_to_the_listener(kind: Any) -> None:
    assert kind in LogListener()._writers


def normal(text: str) -> tuple[str, list[str]]:
    """A line without the order of its fields."""
    words, _, fields = text.partition(": ")
    return words, sorted(fields.replace('"', "'").split())


def test_the_fields_are_attributes_of_the_record_too(caplog: pytest.LogCaptureFixture) -> None:
    LogListener()(finished(Failed(ValueError("no")), failures=1))

    [record] = caplog.records
    assert {name: vars(record)[name] for name in ("task", "run_id", "seconds", "reason", "failures")} == {
        "task": "tidy",
        "run_id": "r1",
        "seconds": 1.235,
        "reason": "ValueError: no",
        "failures": 1,
    }


def test_another_logger_may_be_given(caplog: pytest.LogCaptureFixture) -> None:
    LogListener(logging.getLogger("host.background"))(SchedulerStopped((), 0))

    assert [record.name for record in caplog.records] in ([], ["host.background"])
    caplog.set_level(logging.INFO, "host.background")
    LogListener(logging.getLogger("host.background"))(SchedulerStopped((), 0))
    assert caplog.records[-1].name == "host.background"


def test_nothing_is_rendered_for_a_level_that_is_off(caplog: pytest.LogCaptureFixture) -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError("nobody reads this")

    caplog.set_level(logging.WARNING, "bgtasks")

    LogListener()(finished(Done(Costly())))

    assert caplog.records == []


# -- failures ------------------------------------------------------------------------------------


def test_a_failing_task_is_seen_on_stderr_where_no_logging_is_set_up() -> None:
    ended = run_python(
        "-c",
        """
import asyncio
from bgtasks import BackgroundScheduler

async def greet():
    raise ValueError("no such channel")

async def main():
    failed = asyncio.Event()
    scheduler = BackgroundScheduler()
    scheduler.register("greet", greet, 3600)
    scheduler.bus.subscribe(lambda event: failed.set() if type(event).__name__ == "RunFinished" else None)
    async with scheduler:
        await failed.wait()

asyncio.run(main())
""",
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.startswith("run failed: ")
    assert "task=greet" in ended.stderr
    assert "Traceback (most recent call last)" in ended.stderr
    assert (
        ended.stderr.count("ValueError: no such channel") == 2
    )  # in the line, and at the end of the traceback
    assert "never retrieved" not in ended.stderr


def test_a_repeated_error_has_one_traceback_and_is_said_at_powers_of_two(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise ValueError("no")

    running(fail, 19.5)

    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [vars(record)["failures"] for record in errors] == [1, 2, 4, 8, 16]
    assert [record.exc_info is not None for record in errors] == [True, False, False, False, False]
    assert errors[0].getMessage().startswith("run failed: ")
    assert errors[1].getMessage().startswith("run failed again: ")
    again = [record for record in caplog.records if record.getMessage().startswith("run failed again: ")]
    assert len(again) == 19
    assert {record.levelno for record in again} == {logging.ERROR, logging.DEBUG}


def test_another_error_has_a_traceback_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    turn = itertools.count()

    async def fail() -> None:
        raise ValueError("first" if next(turn) < 2 else "second")

    running(fail, 3.5)

    with_traceback = [record for record in caplog.records if record.exc_info]
    assert [vars(record)["reason"] for record in with_traceback] == [
        "ValueError: first",
        "ValueError: second",
    ]


def test_a_recovery_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    turn = itertools.count()

    async def fail_twice() -> None:
        if next(turn) < 2:
            raise ValueError("no")

    running(fail_twice, 5.5)

    recovered = [line for line in lines(caplog) if line[1].startswith("task recovered")]
    assert len(recovered) == 1
    assert recovered[0][0] == "INFO"


def test_after_a_recovery_the_same_error_has_its_traceback_again(caplog: pytest.LogCaptureFixture) -> None:
    turn = itertools.count()

    async def fail_now_and_then() -> None:
        if next(turn) % 2 == 0:
            raise ValueError("no")

    running(fail_now_and_then, 3.5)

    assert len([record for record in caplog.records if record.exc_info]) == 2


def test_a_task_that_waits_for_a_lost_server_has_not_recovered(caplog: pytest.LogCaptureFixture) -> None:
    listen = LogListener()
    listen(finished(Failed(ValueError("no")), failures=1))

    listen(finished(Deferred("redis is unavailable", "redis")))
    listen(finished(Cancelled()))

    assert not any(text.startswith("task recovered") for _, text in lines(caplog))


def test_a_plain_success_is_no_recovery(caplog: pytest.LogCaptureFixture) -> None:
    async def tidy() -> None: ...

    running(tidy, 3.5)

    assert not any(text.startswith("task recovered") for _, text in lines(caplog))


def test_a_timeout_is_a_failure_without_a_traceback_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    listen = LogListener()
    listen(finished(TimedOut(30), failures=1))
    listen(finished(TimedOut(30), failures=2))
    listen(finished(Done()))

    said = [(level, text.split(":")[0]) for level, text in lines(caplog)]
    assert said == [
        ("ERROR", "run failed"),
        ("ERROR", "run failed again"),
        ("DEBUG", "run done"),
        ("INFO", "task recovered"),
    ]
    assert [record.exc_info for record in caplog.records] == [None] * 4
    assert vars(caplog.records[0])["reason"] == "timed out after 30 s"


# -- ticks without a run -------------------------------------------------------------------------


def warned(caplog: pytest.LogCaptureFixture) -> list[int]:
    """How often it was by then, for each line of a tick without a run that was not only for debugging."""
    return [
        vars(record).get("times", 1)
        for record in caplog.records
        if record.levelno == logging.WARNING
        and record.getMessage().startswith(("run skipped", "ticks missed"))
    ]


def test_ticks_that_are_skipped_for_one_reason_are_said_at_powers_of_two(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listen = LogListener()

    for _ in range(20):
        listen(RunSkipped("tidy", DUE, "paused: by hand"))

    assert warned(caplog) == [1, 2, 4, 8, 16]
    said = [record for record in caplog.records if record.getMessage().startswith("run skipped")]
    assert len(said) == 20
    assert {record.levelno for record in said} == {logging.WARNING, logging.DEBUG}


def test_ticks_that_are_missed_are_said_at_powers_of_two_however_late_each_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    listen = LogListener()

    for number in range(20):
        listen(RunMissed("tidy", DUE, 3, f"noticed {number} s late"))

    assert warned(caplog) == [1, 2, 4, 8, 16]


def test_another_reason_and_another_task_are_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    listen = LogListener()

    for _ in range(3):
        listen(RunSkipped("tidy", DUE, "paused: by hand"))
    listen(RunSkipped("tidy", DUE, "its breaker is open"))
    listen(RunMissed("tidy", DUE, 1, "late"))
    listen(RunSkipped("other", DUE, "paused: by hand"))

    assert warned(caplog) == [1, 2, 1, 1, 1]


def test_one_run_now_and_then_does_not_make_the_skips_be_said_anew(caplog: pytest.LogCaptureFixture) -> None:
    listen = LogListener()

    for _ in range(8):  # each second tick finds the previous run still going
        listen(RunStarted("tidy", "r", DUE))
        listen(RunSkipped("tidy", DUE, "the previous run is still going"))

    assert warned(caplog) == [1, 2, 4, 8]


def test_two_runs_in_a_row_end_the_count(caplog: pytest.LogCaptureFixture) -> None:
    listen = LogListener()
    skipped = RunSkipped("tidy", DUE, "the previous run is still going")

    for _ in range(3):
        listen(skipped)
    for _ in range(2):
        listen(RunStarted("tidy", "r", DUE))
    for _ in range(2):
        listen(skipped)
    listen(RunStarted("tidy", "r", DUE))
    listen(skipped)

    assert warned(caplog) == [1, 2, 1, 2]


def test_runs_of_another_task_do_not_end_the_count(caplog: pytest.LogCaptureFixture) -> None:
    listen = LogListener()

    for _ in range(4):
        listen(RunSkipped("tidy", DUE, "paused: by hand"))
        listen(RunStarted("other", "r", DUE))

    assert warned(caplog) == [1, 2, 4]


def test_a_task_too_slow_for_its_grid_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: VirtualClock) -> None:
        scheduler = BackgroundScheduler(clock=clock)
        scheduler.register("slow", lambda: asyncio.sleep(15), Every(10, fixed_rate=True))
        async with scheduler:
            await clock.advance("1d")

    run_virtual(main)

    assert len(warned(caplog)) <= 15


# -- the run's id in every line ------------------------------------------------------------------


def test_every_structlog_line_of_a_run_carries_its_id() -> None:
    said: list[MutableMapping[str, Any]] = []

    def keep(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        said.append(dict(event))
        raise structlog.DropEvent

    log = structlog.wrap_logger(None, processors=[merge_contextvars, keep])

    async def helper() -> None:
        log.info("from a helper")

    async def tidy() -> None:
        log.info("first")
        await asyncio.sleep(0.1)
        await asyncio.gather(helper(), helper())
        log.info("last")

    heard = running(tidy, 3)
    log.info("outside")

    ids = [event.run_id for event in heard.of(RunStarted)]
    assert len(ids) == 3
    *inside, outside = said
    assert [line["run_id"] for line in inside] == [run_id for run_id in ids for _ in range(4)]
    assert {line["task"] for line in inside} == {"tidy"}
    assert "run_id" not in outside


def test_a_filter_puts_the_id_into_lines_of_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    host = logging.getLogger("host.greetings")
    caplog.handler.addFilter(RunContextFilter())

    async def tidy() -> None:
        host.warning("hello")
        await asyncio.sleep(0.1)
        thread = threading.Thread(target=copy_context().run, args=(host.warning, "from a thread"))
        thread.start()
        thread.join()

    heard = running(tidy, 0.5)
    host.warning("outside")

    [started] = heard.of(RunStarted)
    *inside, outside = [vars(record) for record in caplog.records if record.name == "host.greetings"]
    assert len(inside) == 2
    assert all((record["task"], record["run_id"]) == ("tidy", started.run_id) for record in inside)
    assert (outside["task"], outside["run_id"]) == ("-", "-")


def test_the_filter_leaves_fields_that_a_record_has_already() -> None:
    record = logging.makeLogRecord({"run_id": "the host's"})

    assert RunContextFilter().filter(record) is True

    assert vars(record)["run_id"] == "the host's"
    assert vars(record)["task"] == "-"


def test_our_own_lines_pass_the_filter_with_their_own_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(RunContextFilter())

    async def fail() -> None:
        raise ValueError("no")

    heard = running(fail)

    [started] = heard.of(RunStarted)
    [failed] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (vars(failed)["task"], vars(failed)["run_id"]) == ("tidy", started.run_id)


RESERVED = [
    *vars(logging.makeLogRecord({})),
    "message",
    "asctime",
    "event",
    "task",
    "run_id",
    "logger",
    "level",
]


@pytest.mark.parametrize("name", RESERVED)
def test_a_field_that_the_host_has_bound_may_be_called_like_an_attribute_of_a_record(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ValueError("no")

    bind_contextvars(**{name: "the host's"})

    heard = running(fail)

    assert len(heard.of(RunFinished)) == 1
    [failed] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failed.getMessage().startswith("run failed: ")
    assert failed.exc_info is not None
    assert isinstance(failed.exc_info[1], ValueError)
    assert not any("a listener failed" in text for _, text in lines(caplog))


def test_what_the_host_has_bound_is_in_our_lines(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("no")

    bind_contextvars(tenant="acme")

    running(fail)

    [failed] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "tenant=acme" in failed.getMessage()


def test_outside_a_run_nothing_is_bound(caplog: pytest.LogCaptureFixture) -> None:
    async def tidy() -> None: ...

    running(tidy)

    assert structlog.contextvars.get_contextvars() == {}
    assert current_run.get() is None


# -- attaching -----------------------------------------------------------------------------------


def test_the_default_listener_joins_a_bus_once() -> None:
    bus = EventBus()

    attach_default(bus)
    attach_default(bus)

    assert [type(listener) for listener in bus.listeners] == [LogListener]


def test_it_joins_also_where_the_host_listens_to_something() -> None:
    bus, heard = EventBus(), list[Event]()
    listener = heard.append
    bus.subscribe(listener)

    attach_default(bus)

    first, second = bus.listeners
    assert first is listener
    assert isinstance(second, LogListener)


def test_a_log_listener_of_the_hosts_own_is_enough() -> None:
    bus = EventBus()
    own = LogListener(logging.getLogger("host.background"))
    bus.subscribe(own)

    attach_default(bus)

    assert bus.listeners == (own,)


def test_two_schedulers_on_one_bus_say_everything_once(caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus()

    async def main(clock: VirtualClock) -> None:
        async with BackgroundScheduler(clock=clock, bus=bus), BackgroundScheduler(clock=clock, bus=bus):
            await asyncio.sleep(1)

    run_virtual(main)

    assert [text.split(":")[0] for _, text in lines(caplog)] == ["scheduler started"] * 2 + [
        "scheduler stopped"
    ] * 2


def test_a_model_does_not_tell_of_each_call() -> None:
    said = run_python(
        "-c",
        "import logging; from bgtasks.telemetry.logs import log_to_stderr; log_to_stderr('INFO');"
        "logging.getLogger('httpx').info('HTTP Request'); logging.getLogger('mine').info('heard')",
    )
    assert said.returncode == 0
    assert "heard" in said.stderr
    assert "HTTP Request" not in said.stderr


def test_a_store_does_not_tell_of_each_statement() -> None:
    said = run_python(
        "-c",
        "import logging; from bgtasks.telemetry.logs import log_to_stderr; log_to_stderr('DEBUG');"
        "logging.getLogger('aiosqlite').debug('SELECT'); logging.getLogger('mine').debug('heard')",
    )
    assert said.returncode == 0
    assert "heard" in said.stderr
    assert "SELECT" not in said.stderr
