"""How many runs may be in progress at once: in all, and in each named group."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping
from operator import itemgetter

from bgtasks.errors import ConfigurationError
from bgtasks.job import Request

__all__ = ["Slots"]


class Slots:
    """Slots for runs, and a line for those that find none free: first come, first served, if it fits.

    Args:
        total: Runs at once in all; None for no limit.
        groups: Runs at once by group name. A group that is not named here has no limit of its own.

    Raises:
        ConfigurationError: A limit below 1, or groups that are no mapping of names to limits.
    """

    def __init__(self, total: int | None, groups: Mapping[str, int]) -> None:
        names: object = groups
        if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in names):
            raise ConfigurationError(f'group_limits is a mapping such as {{"llm": 2}}, not {groups!r}')
        if total is not None:
            _check("max_concurrent", total)
        for group, limit in groups.items():
            _check(f'group_limits["{group}"]', limit)
        self._limits: dict[str | None, int] = dict(groups.items())
        if total is not None:
            self._limits[None] = total
        self.limited = bool(self._limits)
        """Whether there is any limit at all."""
        self._taken: dict[str | None, int] = dict.fromkeys(self._limits, 0)
        self._line: dict[str | None, deque[tuple[int, Request]]] = {}
        self._came = 0

    def warn_of_unused(self, groups: Iterable[str | None]) -> None:
        """Say which limits are of groups that no task names."""
        used = {None, *groups}
        for group in (each for each in self._limits if each not in used):
            logging.getLogger("bgtasks").warning(
                'group_limits names "%s", which is the group of no task', group
            )

    def admit(self, request: Request) -> bool:
        """Take a slot for a run; if none is free it waits in line, and the answer is False."""
        group = self._group(request)
        if self._free(group):
            self._count(group, 1)
            return True
        self._came += 1
        self._line.setdefault(group, deque()).append((self._came, request))
        return False

    def next_in_line(self) -> Request | None:
        """The first in line that fits now, which has its slot; None if there is none."""
        fitting = [(line[0][0], each) for each, line in self._line.items() if line and self._free(each)]
        if not fitting:
            return None
        chosen = min(fitting, key=itemgetter(0))[1]
        self._count(chosen, 1)
        return self._line[chosen].popleft()[1]

    def take(self, group: str | None) -> None:
        """Count a run that is in progress already."""
        self._count(group if group in self._limits else None, 1)

    def give_back(self, group: str | None) -> None:
        """Give a slot back; `next_in_line` says who has it next."""
        self._count(group if group in self._limits else None, -1)

    def clear(self) -> None:
        """All slots are free and nobody waits."""
        self._taken = dict.fromkeys(self._limits, 0)
        self._line.clear()

    def withdraw(self, request: Request) -> None:
        """Take a run out of the line."""
        line = self._line.get(self._group(request), ())
        if (place := next((place for place in line if place[1] is request), None)) is not None:
            self._line[self._group(request)].remove(place)

    def _group(self, request: Request) -> str | None:
        group = request.job.policy.group
        return group if group in self._limits else None

    def _free(self, group: str | None) -> bool:
        return all(self._taken[each] < self._limits[each] for each in {None, group} if each in self._limits)

    def _count(self, group: str | None, change: int) -> None:
        for each in {None, group}:
            if each in self._limits:
                self._taken[each] += change


def _check(label: str, limit: int) -> None:
    if type(limit) is not int or limit < 1:
        raise ConfigurationError(f"{label} is a number of runs, 1 or more, not {limit!r}")
