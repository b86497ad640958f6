"""Triggers as a line of text: how a store keeps them, and how an operator may write them there.

```
4h                          an interval from the end of each run
every 4h at a fixed rate    a grid of equal steps
cron 0 9 * * 1-5 (Europe/Helsinki)
once at 2026-12-24T18:00:00+00:00
```
"""

from __future__ import annotations

import re
from datetime import datetime

from bgtasks.errors import InvalidTrigger
from bgtasks.triggers import Cron, Every, Once, Trigger

__all__ = ["read_trigger", "trigger_text"]

_EVERY = re.compile(r"(?:every\s+)?(\d[\w.]*)(\s+at\s+a\s+fixed\s+rate)?", re.IGNORECASE)
_CRON = re.compile(r"(?:cron\s+)?(@\w+|\S+(?:\s+\S+){4})(?:\s+\(?([A-Za-z][\w+/-]*)\)?)?", re.IGNORECASE)
_ONCE = re.compile(r"once(?:\s+at)?\s+(.+)", re.IGNORECASE)


def trigger_text(trigger: Trigger) -> str | None:
    """The line for a trigger, from which `read_trigger` makes an equal one; None for a user's own kind."""
    if isinstance(trigger, Once):
        return f"once at {trigger.when.isoformat()}"
    return str(trigger) if isinstance(trigger, Every | Cron) else None


def read_trigger(text: str) -> Trigger:
    """The trigger that a line stands for.

    Raises:
        InvalidTrigger: It stands for none, and why.
    """
    line = text.strip()
    if once := _ONCE.fullmatch(line):
        return Once(_instant(once[1]))
    if every := _EVERY.fullmatch(line):
        return Every(every[1], fixed_rate=every[2] is not None)
    if cron := _CRON.fullmatch(line):
        return Cron(cron[1], cron[2] or "UTC")
    raise InvalidTrigger(
        f'{text!r} is not a trigger: write an interval such as "4h", "every 4h at a fixed rate", '
        f'"cron 0 9 * * 1-5 (Europe/Helsinki)" or "once at 2026-12-24T18:00:00+00:00"'
    )


def _instant(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidTrigger(f"{text!r} is not an instant: write 2026-12-24T18:00:00+00:00") from error
    return Once(when).when
