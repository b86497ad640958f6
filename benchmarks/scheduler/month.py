"""A simulated month: the jobs, and when it begins.

39 intervals from a minute to six hours and 20 cron expressions in four zones, from 15 October 2026: Helsinki
leaves daylight saving on the 25th, New York on 1 November, Lord Howe and Kolkata stay as they are.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from bgtasks import Cron, Every
from bgtasks.triggers import Trigger

__all__ = ["LENGTH", "START", "jobs"]

START = datetime(2026, 10, 15, tzinfo=UTC)
LENGTH = timedelta(days=31)

_MINUTES = (1, 2, 3, 4, 5, 10, 15, 20, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85)
_LONGER = (90, 95, 100, 105, 110, 120, 135, 150, 165, 180, 195, 210, 225, 240, 255, 270, 300, 330, 360)
_ZONES = ("Europe/Helsinki", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
_EXPRESSIONS = ("30 7 * * MON-FRI", "30 3 * * *", "*/15 * * * *", "0 */2 * * *", "15 1 1 * *")


def jobs() -> list[tuple[str, Trigger]]:
    """Names and triggers. Every other interval keeps a fixed rate, the rest count from the end of a run."""
    intervals: list[tuple[str, Trigger]] = [
        (f"every {minutes} minutes", Every(minutes * 60, fixed_rate=number % 2 == 1))
        for number, minutes in enumerate((*_MINUTES, *_LONGER))
    ]
    crons: list[tuple[str, Trigger]] = [
        (f"{expression} in {zone}", Cron(expression, zone)) for zone in _ZONES for expression in _EXPRESSIONS
    ]
    return intervals + crons
