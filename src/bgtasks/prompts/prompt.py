"""A scheduled prompt as a value, and how its record in Redis is written and read.

Instants are stored as whole milliseconds since 1970.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from bgtasks.connect import text
from bgtasks.errors import InvalidTrigger
from bgtasks.triggers import Cron, Once, Trigger

__all__ = ["Prompt", "from_record", "instant", "ms", "next_due", "written_as"]

type Status = Literal["active", "done", "cancelled", "broken"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt to be given to an agent later, once or again and again.

    Attributes:
        id: Unique in the store.
        text: The prompt itself.
        trigger: `Once` or `Cron`.
        user: For whom.
        channel: Where the answer goes.
        agent: Which agent is to answer.
        status: `active`, `done`, `cancelled`, or `broken` (its record could not be read).
        due: When it is due next; None once it has ended.
        last: The due instant it was last put on the stream for.
        why: What is wrong with a broken one.
    """

    id: str
    text: str
    trigger: Trigger | None
    user: str
    channel: str
    agent: str
    status: Status = "active"
    due: datetime | None = None
    last: datetime | None = None
    why: str = ""


def next_due(written: str | None, at: float, now: datetime) -> tuple[str | int, str | int, str]:
    """When a prompt is due next, having been due at `at`.

    Args:
        written: Its trigger as it stands in its record.
        at: The due instant that is used up, in ms. An operator may have set anything.
        now: The present.

    Returns:
        The used-up instant, or "" if that is none; the next one in ms, or "" for none; and why the
        record is broken, or "".
    """
    if instant(at) is None or not float(at).is_integer():
        return "", "", f"its place in the schedule, {at}, is no whole number of milliseconds"
    due = int(at)
    if written is None:
        return due, "", "its record, or the trigger in it, is gone"
    # The instant that is used up was anywhere within its millisecond.
    used_up = max(now, _EPOCH + (due + 1) * _MS - timedelta(microseconds=1))
    try:
        after = read_trigger(written).next_after(used_up)
    except InvalidTrigger as error:
        return due, "", f"its trigger cannot be read: {error}"
    return due, ("" if after is None else ms(after)), ""


def written_as(trigger: Once | Cron) -> str:
    """The trigger as it stands in a record, for `read_trigger`."""
    if isinstance(trigger, Cron):
        return json.dumps({"cron": trigger.expression, "zone": trigger.zone.key})
    return json.dumps({"once": trigger.when.isoformat()})


def read_trigger(written: str) -> Trigger:
    """Read a trigger back.

    Raises:
        InvalidTrigger: It is not what `written_as` writes; an operator may have edited it.
    """
    try:
        match json.loads(written):
            case {"cron": str() as expression, "zone": str() as zone}:
                return Cron(expression, zone)
            case {"once": str() as when}:
                return Once(datetime.fromisoformat(when))
    except (ValueError, RecursionError) as error:
        raise InvalidTrigger(str(error)) from error
    raise InvalidTrigger("neither a cron expression with its zone nor an instant")


def from_record(prompt_id: str, record: dict[Any, Any], due: float | None) -> Prompt:
    """The prompt of a record as `HGETALL` answers it, and its score in the schedule."""
    held = {text(key): text(value) for key, value in record.items()}
    try:
        trigger = read_trigger(held.get("trigger", ""))
    except InvalidTrigger:
        trigger = None
    return Prompt(
        id=prompt_id,
        text=held.get("text", ""),
        trigger=trigger,
        user=held.get("user", ""),
        channel=held.get("channel", ""),
        agent=held.get("agent", ""),
        status=held.get("status", "broken"),  # type: ignore[arg-type]  # written by us
        due=instant(due),
        last=instant(held.get("last")),
        why=held.get("why", ""),
    )


def ms(when: datetime) -> int:
    """The whole milliseconds since 1970 at `when`; never rounded up, so that nothing lies ahead of itself."""
    return (when - _EPOCH) // _MS


def instant(milliseconds: float | str | None) -> datetime | None:
    """The instant that many milliseconds since 1970, in UTC; None for what is no such instant."""
    try:
        return None if milliseconds is None else _EPOCH + float(milliseconds) * _MS
    except (OverflowError, ValueError):
        return None
