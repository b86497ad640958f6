"""The due instants of one job: one after the other, late ones judged by its `catch_up` policy.

Instants are seconds of the clock's monotonic side. Calendar triggers answer in wall time; their instant is
kept beside and converted, so that a step of the wall clock can be followed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

from bgtasks.clock import Clock, Reading
from bgtasks.policies import MISFIRE_GRACE, CatchUp
from bgtasks.triggers import Every, Trigger

__all__ = ["LONG_STEP", "Agenda", "PassedOver", "agenda"]

LONG_STEP = timedelta(hours=3)
"""A step back of the wall clock up to which no cron tick runs twice; after a longer one the clock was wrong
before, and cron jobs begin anew. Debian cron draws the line at the same place."""

COUNTED = 100
"""How many missed instants of a calendar are counted one by one; beyond it the count is a lower bound."""


class PassedOver(NamedTuple):
    """Instants that were missed: how many, and the earliest of them."""

    ticks: int
    since: datetime


class Agenda(ABC):
    """When a job is due next.

    Attributes:
        due: The monotonic instant at which it is due; None while it is not.
        at: The wall instant behind `due`, for calendars.
        behind: When it was found that the next instant has passed already, and is to have its run all the
            same; else None.
        missed: The instants that the last `take()` passed over, if any.
        fault: Why the trigger can no longer be asked.
    """

    __slots__ = ("_catch_up", "_shift", "_splay", "behind", "due", "missed")

    waits_for_end = False
    """Whether the next instant is known only when the run has ended."""

    kept = False
    """Whether its instants are kept in a store, and claimed there."""

    guest = False
    """Whether it is that of a job which was added at run time."""

    ahead = 0.0
    """By how many seconds sooner it is looked at than it is due."""

    at: datetime | None = None
    fault: str | None = None

    def __init__(self, catch_up: CatchUp, jitter: float, random: Random) -> None:
        self.due: float | None = None
        self.behind: float | None = None
        self.missed: PassedOver | None = None
        self._catch_up = catch_up
        self._splay = (jitter, random) if jitter else None
        self._shift = 0.0

    @abstractmethod
    def begin(self, reading: Reading, delay: float) -> None:
        """Set the first instant, no sooner than `delay` seconds from now."""

    @abstractmethod
    def take(self, reading: Reading, noticed: float = 0.0, *, in_one: bool = False) -> datetime | None:
        """Use up the instant that has come, and set the next one unless that takes the run's end.

        Args:
            noticed: Seconds since it was found due, and put off: they do not make it late.
            in_one: Take all that have passed at once, whatever the policy: none of them is going to run.

        Returns:
            The wall instant that a run is due for; None if there is to be no run: all were missed and
            stay so, or the wall clock was set back before the instant.
        """

    def ended(self, mono: float) -> None:  # noqa: B027 - of no concern to most agendas, as the next two
        """A run has ended: the instant of a plain interval is known now."""

    def follow_wall_clock(self, reading: Reading) -> None:  # noqa: B027
        """Convert the wall instant again, after the wall clock was set or drifted."""

    def begin_anew(self, reading: Reading) -> None:  # noqa: B027
        """The wall clock was wrong before: forget what it said."""

    def postpone(self, instant: float) -> None:
        """Be due at this instant instead; jitter has no part in it."""
        self.due, self._shift = instant, 0.0

    @property
    def waits_for(self) -> str | None:
        """Who is to say when it is due, and does not answer."""
        return None

    @property
    def never(self) -> bool:
        """Whether it has never been due and never will be."""
        return False

    def _draw_shift(self, ahead: float = 0.0) -> float:
        """How far jitter moves an instant that lies `ahead` seconds in the future.

        Jitter that holds one instant back beyond the next does not make that one late: it is due at once.
        """
        if self._splay is not None:
            jitter, random = self._splay
            self._shift = random.uniform(0, jitter)
            if self._catch_up is not CatchUp.ALL:
                self._shift = max(self._shift, -ahead)
        return self._shift

    @property
    def jitter(self) -> float:
        """Seconds by which an instant is moved at most."""
        return self._splay[0] if self._splay is not None else 0.0


class FromEnd(Agenda):
    """A plain interval: due again so long after the end of the previous run."""

    __slots__ = ("_seconds",)

    waits_for_end = True

    def __init__(self, seconds: float, jitter: float, random: Random) -> None:
        super().__init__(CatchUp.ONE, jitter, random)
        self._seconds = seconds

    def begin(self, reading: Reading, delay: float) -> None:
        self.due = reading.mono + delay + self._draw_shift()

    def take(self, reading: Reading, noticed: float = 0.0, *, in_one: bool = False) -> datetime | None:
        due, self.due = self.due, None
        if due is None:
            return reading.wall
        return reading.wall - timedelta(seconds=reading.mono - due + self._shift)

    def ended(self, mono: float) -> None:
        self.due = mono + self._seconds + self._draw_shift()


class Grid(Agenda):
    """A fixed rate: equal steps from the first instant, without drift.

    Instants are the anchor plus a whole number of steps: adding up intervals would gather rounding errors.
    """

    __slots__ = ("_anchor", "_seconds", "_steps")

    def __init__(self, seconds: float, catch_up: CatchUp, jitter: float, random: Random) -> None:
        super().__init__(catch_up, jitter, random)
        self._seconds = seconds
        self._anchor = 0.0
        self._steps = 0

    def begin(self, reading: Reading, delay: float) -> None:
        self._anchor, self._steps, self.behind = reading.mono + delay, 0, None
        self.due = self._anchor + self._draw_shift() if self._splay else self._anchor

    def take(self, reading: Reading, noticed: float = 0.0, *, in_one: bool = False) -> datetime | None:
        due, mono, seconds = self.due, reading.mono, self._seconds
        assert due is not None
        self.missed = self.behind = None
        late, shift = mono - due, self._shift  # what jitter holds back is not late
        one_by_one = self._catch_up is CatchUp.ALL and not in_one
        passed = 0 if one_by_one or late < seconds else int(late // seconds)
        latest = late - passed * seconds
        runs = self._catch_up is not CatchUp.NONE or latest - noticed <= MISFIRE_GRACE
        self._steps += passed + 1
        instant = self._anchor + self._steps * seconds
        self.due = instant + self._draw_shift(instant - mono) if self._splay else instant
        if one_by_one and late >= seconds:
            self.behind = mono
        if passed or not runs:
            since = reading.wall - timedelta(0, late + shift)
            self.missed = PassedOver(passed if runs else passed + 1, since)
        return reading.wall - timedelta(0, latest + shift) if runs else None


class Calendar(Agenda):
    """Cron, once, or a trigger of the user's own: instants of the wall clock."""

    __slots__ = ("_last", "_registered", "_trigger", "at", "fault")

    def __init__(
        self, trigger: Trigger, registered: datetime, catch_up: CatchUp, jitter: float, random: Random
    ) -> None:
        super().__init__(catch_up, jitter, random)
        self.at: datetime | None = None
        self.fault: str | None = None
        self._trigger = trigger
        self._registered: datetime | None = registered
        self._last: datetime | None = None

    @property
    def never(self) -> bool:
        return self.due is None and self._last is None

    def begin(self, reading: Reading, delay: float) -> None:
        self.behind = self.fault = None
        when = reading.wall + timedelta(seconds=delay)
        if self._last is not None and timedelta(0) < self._last - when <= LONG_STEP:
            when = self._last  # the clock was set back meanwhile: no tick twice
        at = self._ask(when)
        if at is None and self._registered is not None:
            at = self._ask(self._registered)  # its only instant passed while the host was starting up
        self._registered = None
        self._place(at, reading)
        if self.due is not None:
            self.due = max(self.due, reading.mono + delay)

    def take(self, reading: Reading, noticed: float = 0.0, *, in_one: bool = False) -> datetime | None:
        at = self.at
        assert at is not None
        self.missed = self.behind = None
        if reading.wall < at:
            self.follow_wall_clock(reading)
            return None
        horizon = reading.wall - timedelta(seconds=self._shift)  # what jitter holds back is not late
        latest, passed, following = at, 0, self._ask(at)
        one_by_one = self._catch_up is CatchUp.ALL and not in_one
        if not one_by_one and following is not None and following <= horizon:
            latest, passed, following = self._latest(following, horizon)
        late = (horizon - latest).total_seconds()
        self._last = latest
        self._place(following, reading)
        if one_by_one and following is not None and following <= horizon:
            self.behind = reading.mono
        runs = self._catch_up is not CatchUp.NONE or late - noticed <= MISFIRE_GRACE
        if passed or not runs:
            self.missed = PassedOver(passed if runs else passed + 1, at)
        return latest if runs else None

    def follow_wall_clock(self, reading: Reading) -> None:
        if self.at is not None and self.due is not None:
            self.due = reading.mono + (self.at - reading.wall).total_seconds() + self._shift

    def begin_anew(self, reading: Reading) -> None:
        self.behind = None
        self._place(self._ask(reading.wall), reading)

    def _latest(self, latest: datetime, horizon: datetime) -> tuple[datetime, int, datetime | None]:
        """The last instant up to `horizon`, how many lie before it, and the one after.

        A trigger answers forwards only. Beyond `COUNTED` instants the last one is sought from the horizon
        backwards, by steps that double until one finds it, and the count stays where it is.
        """
        following, count = self._ask(latest), 1
        while following is not None and following <= horizon and count < COUNTED:
            latest, following, count = following, self._ask(following), count + 1
        step = timedelta(seconds=1)
        while following is not None and following <= horizon and self.fault is None:
            found = self._ask(max(latest, horizon - step))
            step *= 2
            while found is not None and found <= horizon:
                latest = found
                found = following = self._ask(found)
        return latest, count, None if self.fault is not None else following

    def _place(self, at: datetime | None, reading: Reading) -> None:
        self.at = at
        if at is None:
            self.due = None
        else:
            ahead = (at - reading.wall).total_seconds()
            self.due = reading.mono + ahead + self._draw_shift(ahead)

    def _ask(self, when: datetime) -> datetime | None:
        """The trigger's answer; a trigger that fails or answers nonsense is not asked again."""
        if self.fault is not None:
            return None
        try:
            at: object = self._trigger.next_after(when)
            if isinstance(at, datetime) and at.utcoffset() is not None and at > when:
                return at.astimezone(UTC)
        except Exception as error:  # noqa: BLE001 - a trigger may be someone else's code
            self.fault = f"its trigger raised {type(error).__name__}: {error}"
            return None
        if at is None:
            return None
        self.fault = f"its trigger answered {at!r}, which is not an aware instant after {when!r}"
        return None


def agenda(trigger: Trigger, catch_up: CatchUp, jitter: float, random: Random, clock: Clock) -> Agenda:
    """The agenda for a trigger that is registered now."""
    if not isinstance(trigger, Every):
        return Calendar(trigger, clock.now(), catch_up, jitter, random)
    if trigger.fixed_rate:
        return Grid(trigger.seconds, catch_up, jitter, random)
    return FromEnd(trigger.seconds, jitter, random)
