"""A process around a scheduler and supervisors: composed from settings, run until a signal, stopped in order.

`bgtasks run` and the programs in `services/` are this and nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bgtasks.build import build_scheduler
from bgtasks.claims import Retention
from bgtasks.cli import exit_code
from bgtasks.errors import BgTasksError, UnsuitableServer
from bgtasks.events import EventBus
from bgtasks.registry import default_registry
from bgtasks.resources import Resources, open_resources
from bgtasks.scheduler import BackgroundScheduler
from bgtasks.settings import Settings
from bgtasks.spec import Spec
from bgtasks.supervisor import Supervision, SupervisorSnapshot, build_supervisor
from bgtasks.telemetry.logs import log_to_stderr
from bgtasks.wiring import Decision

__all__ = ["Leadership", "Service", "compose", "main", "run", "serve", "stop_signal"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Service:
    """What runs in one process, on one bus."""

    scheduler: BackgroundScheduler
    supervision: Supervision

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """A row for every known task and worker, with the reason if it does not run here."""
        led = {row.name: row for row in self.supervision.decisions}
        return tuple(led.get(row.name, row) for row in self.scheduler.decisions)


class Leadership:
    """What the supervisors of a process say of themselves, and can be told, from outside.

    The default group, which has no name, is called `default`.
    """

    def __init__(self, supervision: Supervision) -> None:
        self._supervisors = {group or "default": each for group, each in supervision.supervisors.items()}

    def state(self) -> dict[str, Any]:
        """How each group's supervisor stands, as JSON can hold it."""
        return {group: _said(each.snapshot()) for group, each in self._supervisors.items()}

    def resign(self, group: str, _: Mapping[str, Any]) -> str:
        """Hand a group over to another node, if this one leads it.

        Raises:
            BgTasksError: There is no such group here.
        """
        supervisor = self._supervisors.get(group or "default")
        if supervisor is None:
            raise BgTasksError(
                f'no leader group is called "{group}" here: there is {", ".join(self._supervisors)}'
            )
        if not supervisor.is_leader:
            return "it does not lead"
        supervisor.resign("asked to resign")
        return "it hands over"


def _said(snapshot: SupervisorSnapshot) -> dict[str, Any]:
    return {
        "lease": snapshot.lease,
        "state": snapshot.state,
        "token": snapshot.token,
        "remaining": round(snapshot.remaining, 1),
        "holder": snapshot.holder and (snapshot.holder.rpartition(":")[0] or snapshot.holder),
        "workers": [
            {
                "name": worker.name,
                "ready": worker.ready,
                "running_for": worker.running_for and round(worker.running_for, 1),
                "starts_in": worker.starts_in and round(worker.starts_in, 1),
                "started": worker.task_started,
                "crashed": worker.task_crash,
                "given_up": worker.given_up,
            }
            for worker in snapshot.workers
        ],
    }


def compose(
    held: Resources, settings: Settings, *, only: Iterable[str] | None = None, exclude: Iterable[str] = ()
) -> Service:
    """The scheduler and the supervisors for what can run with these resources and settings.

    Raises:
        UnknownTask: A name in `only` or `exclude` that no task has.
    """
    bus, chosen, dropped = EventBus(), None if only is None else tuple(only), tuple(exclude)
    scheduler = build_scheduler(
        **held.arguments,
        config=settings,
        only=chosen,
        exclude=dropped,
        bus=bus,
        stop_timeout=settings.stop_timeout,
        store=settings.store_url.get_secret_value() if settings.store_url else None,
        retention=Retention(timedelta(days=settings.history_days), settings.history_runs),
    )
    supervision = build_supervisor(
        **held.arguments,
        config=settings,
        only=chosen,
        exclude=dropped,
        bus=bus,
        stop_timeout=settings.stop_timeout,
        fresh=held.fresh,
    )
    leadership = Leadership(supervision)
    scheduler.describe("leadership", leadership.state)
    scheduler.on_command("resign", leadership.resign)
    return Service(scheduler, supervision)


async def run(
    settings: Settings,
    *,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    wait: bool = False,
) -> int:
    """Open what the settings name, run what can run until SIGINT or SIGTERM, stop, and close.

    Args:
        wait: Begin even if Redis does not answer yet; what needs it waits.

    Returns:
        An exit code: 0, or 1 if something would not end.

    Raises:
        BgTasksError: A server cannot be used, or a name is unknown.
    """
    async with open_resources(settings, checked=not wait) as held:
        if isinstance(held.trouble, UnsuitableServer):
            raise held.trouble  # waiting would not mend it
        service = compose(held, settings, only=only, exclude=exclude)
        _say_what_is_not_run(service.decisions)
        unfinished = await serve(service)
    if unfinished:
        logging.shutdown()
        os._exit(1)  # everything is closed, and asyncio.run would wait for ever for what will not end
    return 0


def main(chosen: Callable[[Spec], bool] | None = None) -> None:
    """The whole of a service's program: settings from the environment, logs to stderr, an exit code.

    0 ended by a signal; 1 something would not end; 2 the settings cannot be meant; 3 a server cannot be used.

    Args:
        chosen: Which tasks and workers are this service's; all of them by default.
    """
    try:
        settings = Settings.load()
        log_to_stderr(settings.log_level)
        default_registry.discover()
        only = None if chosen is None else [spec.name for spec in default_registry if chosen(spec)]
        sys.exit(asyncio.run(run(settings, only=only, wait=True)))
    except BgTasksError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(exit_code(error))


def _say_what_is_not_run(rows: Iterable[Decision]) -> None:
    log = logging.getLogger("bgtasks")
    wired = 0
    for row in rows:
        wired += row.wired
        if not row.wired:
            log.info("%s does not run here: %s", row.name, row.reason)
    if not wired:
        log.warning("nothing can run here; the lines above say why (bgtasks tasks shows it too)")


@asynccontextmanager
async def stop_signal() -> AsyncIterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set, while the block lasts; then the handlers are as before.

    A second signal does what it does by default: it ends a process whose stop takes too long.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    before = {each: signal.getsignal(each) for each in _SIGNALS}

    def ask() -> None:
        asked.set()
        for each in _SIGNALS:
            loop.remove_signal_handler(each)

    for each in _SIGNALS:
        loop.add_signal_handler(each, ask)
    try:
        yield asked
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            if handler is not None:  # None: one that was not installed from Python
                signal.signal(each, handler)


async def serve(service: Service) -> tuple[str, ...]:
    """Run it until SIGINT or SIGTERM, then stop it; the names of runs and workers that would not end.

    While one of those goes on, `asyncio.run` does not return: it waits for every task. A process that is to
    end all the same closes what it has open and calls `os._exit`.
    """
    async with stop_signal() as asked:
        await service.scheduler.start()
        await service.supervision.start()
        try:
            await asked.wait()
        finally:
            _, stuck = await asyncio.gather(service.scheduler.stop(), service.supervision.shutdown())
    return (*service.scheduler.unfinished, *stuck)
