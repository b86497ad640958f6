"""The day from which something holds, if a sentence says one."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from bgtasks.testing.model.words import MONTHS

__all__ = ["day_in"]

_MONTH = f"(?a:{'|'.join(MONTHS)})"  # else the long s of "auguſt" matches too, and is not in the list
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_DAY_MONTH = re.compile(
    rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTH})(?:,? (\d{{4}}))?\b", re.IGNORECASE
)
_MONTH_DAY = re.compile(rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (\d{{4}}))?", re.IGNORECASE)
_IN_MONTH = re.compile(rf"\b(?:in|since|from) ({_MONTH})(?: (\d{{4}}))?\b", re.IGNORECASE)
_IN_YEAR = re.compile(r"\b(?:in|since) ((?:19|20)\d{2})\b")
_NEAR = {"yesterday": -1, "today": 0, "tonight": 0, "this morning": 0, "tomorrow": 1}


def day_in(sentence: str, when: datetime | None) -> str | None:
    """The day as `YYYY-MM-DD`. Where no year is said it is the year of the message, `when`."""
    year = when.year if when is not None else None
    if found := _ISO.search(sentence):
        return _day(int(found[1]), int(found[2]), int(found[3]))
    if found := _DAY_MONTH.search(sentence):
        return _day(_year(found[3], year), _number(found[2]), int(found[1]))
    if found := _MONTH_DAY.search(sentence):
        return _day(_year(found[3], year), _number(found[1]), int(found[2]))
    if found := _IN_MONTH.search(sentence):
        return _day(_year(found[2], year), _number(found[1]), 1)
    if found := _IN_YEAR.search(sentence):
        return _day(int(found[1]), 1, 1)
    if when is not None:
        lowered = sentence.lower()
        for word, days in _NEAR.items():
            if word in lowered:
                return _near(when.date(), days)
    return None


def _near(day: date, days: int) -> str | None:
    try:
        return (day + timedelta(days=days)).isoformat()
    except OverflowError:  # the day after the last one that there is
        return None


def _number(month: str) -> int:
    return MONTHS.index(month.lower()) + 1


def _year(said: str | None, otherwise: int | None) -> int | None:
    return int(said) if said else otherwise


def _day(year: int | None, month: int, day: int) -> str | None:
    try:
        return None if year is None else date(year, month, day).isoformat()
    except ValueError:
        return None
