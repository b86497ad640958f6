"""Ours is answered by the stand-in's own rules; what it is offered is counted here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from benchmarks.memory.adapters import Offer, Read
from benchmarks.memory.adapters.prompts import said_by

__all__ = ["Answers"]

_LINE = re.compile(r"^\[\d+\] (\d{4}-\d\d-\d\d \d\d:\d\d) (.+?): (.*)$", re.MULTILINE)


class Answers:
    """Counts, and leaves the answer to the stand-in."""

    def __init__(self, read: Read, offer: Offer) -> None:
        self._read = read
        self._offer = offer

    def answer(self, request: Mapping[str, Any]) -> str | None:
        """Always None."""
        _, found, news = said_by(request, "user").partition("Messages:\n")
        if found:
            for when, author, text in _LINE.findall(news):
                for stated in self._read(author, text, datetime.fromisoformat(when)):
                    self._offer(stated)
        return None
