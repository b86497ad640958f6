"""Extraction as conversations go on: a channel is read once it has fallen quiet, or has waited long enough.

Channels are found by a scan of the server, so that nobody has to announce one. Which of them has something
new is looked up for all at once; reading is left to the engine, whose cursors the periodic tasks share: what
one has read, the other passes over.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from bgtasks.clock import Clock
from bgtasks.errors import BadAnswer, OverBudget
from bgtasks.memory.extraction.engine import Extractor
from bgtasks.memory.extraction.progress import Progress
from bgtasks.memory.extraction.rounds import read_channels
from bgtasks.memory.messages import MessageCache

__all__ = ["Anchoring"]

log = logging.getLogger("bgtasks")


@dataclass(slots=True)
class _Stirring:
    """A channel with something new: its newest entry, since when it is that, and since when there is any."""

    newest: str
    changed: float
    began: float


class Anchoring:
    """Watches all channels and reads those that have something new.

    Args:
        extractor: Reads a channel.
        cache: Where the channels are.
        clock: What measures durations.
        quiet: Seconds without a new message after which a channel is read.
        longest: Seconds after which it is read even so.
        look: Seconds between two looks for new messages.
        scan: Seconds between two scans for channels.
        rest: Seconds of rest once no more may be spent, or the model gives nothing usable.
    """

    def __init__(
        self,
        extractor: Extractor,
        cache: MessageCache,
        clock: Clock,
        *,
        quiet: float = 20.0,
        longest: float = 300.0,
        look: float = 2.0,
        scan: float = 60.0,
        rest: float = 900.0,
    ) -> None:
        self._extractor = extractor
        self._cache = cache
        self._clock = clock
        self._quiet, self._longest, self._look, self._scan, self._rest = quiet, longest, look, scan, rest
        self._channels: list[str] = []
        self._scanned: float | None = None
        self._read: dict[str, str] = {}
        self._stirring: dict[str, _Stirring] = {}

    async def run(self) -> None:
        """Watch and read, until cancelled.

        Raises:
            ResourceUnavailable: A server does not answer. Run again, it looks at every channel once, and goes
                on where each was.
            UnsuitableServer: One refuses; likewise.
        """
        while True:
            try:
                await self.step()
            except (OverBudget, BadAnswer) as error:
                # Of a model that gives nothing usable each new start would set messages aside.
                log.warning("reading as conversations go on rests for %g s: %s", self._rest, error)
                await asyncio.sleep(self._rest)
            await asyncio.sleep(self._look)

    async def step(self) -> list[str]:
        """Look once, and read some of the channels whose time has come: those of which nothing is left."""
        now = self._clock.monotonic()
        if self._scanned is None or now - self._scanned >= self._scan:
            self._channels = sorted([channel async for channel in self._cache.channels()])
            self._scanned = now
            there = set(self._channels)
            self._read = {each: at for each, at in self._read.items() if each in there}
        for channel, newest in (await self._cache.newest(self._channels)).items():
            self._note(channel, newest, now)
        due = [channel for channel, stir in self._stirring.items() if self._due(stir, now)]
        read: list[str] = []

        def done(channel: str, progress: Progress) -> None:
            stir = self._stirring.pop(channel)
            if not progress.busy:
                self._read[channel] = stir.newest
                read.append(channel)

        if due:
            await read_channels(self._extractor, due, rounds=1, done=done)
        return read

    def _note(self, channel: str, newest: str, now: float) -> None:
        stir = self._stirring.get(channel)
        if self._read.get(channel) == newest:
            self._stirring.pop(channel, None)
        elif stir is None:
            self._stirring[channel] = _Stirring(newest, now, now)
        elif stir.newest != newest:
            stir.newest, stir.changed = newest, now

    def _due(self, stir: _Stirring, now: float) -> bool:
        return now - stir.changed >= self._quiet or now - stir.began >= self._longest
