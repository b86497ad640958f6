"""Several channels, in rounds: each gets its turn, and one at which a model fails stops no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from bgtasks.clock import Clock
from bgtasks.errors import BadAnswer, BgTasksError, OverBudget, ResourceUnavailable, UnsuitableServer
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.engine import Extractor
from bgtasks.memory.extraction.progress import Progress, Watch
from bgtasks.memory.extraction.reader import Reader
from bgtasks.memory.extraction.reply import Extraction
from bgtasks.memory.message import Message
from bgtasks.memory.structure import weave

__all__ = ["BATCHES", "HELLO", "read_channels"]

BATCHES = 5
"""Batches of one channel that are read before the next channel has its turn."""

STOP = 2
"""Channels at which a model fails that has answered nothing yet, before the rest is left alone."""

GONE = 5
"""Channels in a row at which a model fails that has answered others, before it is taken to be away."""

HELLO = "hello"
"""What the channel is called of a message that is asked about to see whether a model answers."""


async def read_channels(
    extractor: Extractor,
    channels: Sequence[str],
    *,
    rounds: int | None = None,
    watch: Watch | None = None,
    done: Callable[[str, Progress], object] | None = None,
    random: Random | None = None,
) -> Progress:
    """Read what is new in `channels`: who speaks and mentions whom, and what is stated.

    A channel that a model fails at is passed over. If it answers another afterwards, or a plain question at
    the end, the batch is to blame: see `Extractor.blame`. The others come in any order from there on, lest
    the same two always end it.

    Args:
        rounds: How often each channel has its turn; until nothing is left if not given.
        watch: Told of each batch.
        done: Told of each channel that nothing is left of, or that somebody else reads, with what came of it.
        random: Draws the order after a failure.

    Raises:
        OverBudget: No more may be spent; who speaks and mentions whom is read all the same.
        ResourceUnavailable: A server does not answer. If it is the model, others were read before.
        UnsuitableServer: One refuses; likewise.
        BadAnswer: It gives nothing usable for one message after the other; likewise.
    """
    for channel in channels:
        await weave(extractor.cache, extractor.graph, channel, half_life=extractor.half_life)
    sums = dict.fromkeys(channels, Progress())
    failed: dict[str, BgTasksError] = {}
    random = random or Random()
    trial = _Trial(extractor.reader, extractor.clock)
    extractor = replace(extractor, reader=trial)
    left, turn = list(channels), 0
    while left and not trial.hopeless and (rounds is None or turn < rounds):
        turn, again = turn + 1, []
        while left and not trial.hopeless:
            channel = left.pop(0)
            try:
                read = await extractor.extract(channel, most=BATCHES, watch=watch)
            except OverBudget:
                await _blame(extractor, trial)
                raise
            except (ResourceUnavailable, UnsuitableServer, BadAnswer) as error:
                if not trial.failed(channel, error):
                    raise
                failed[channel] = error
                random.shuffle(left)
                continue
            sums[channel] += read
            if read.batches == BATCHES:
                again.append(channel)
            elif done is not None:
                done(channel, sums[channel])
        left = again
    await _blame(extractor, trial)
    if failed:
        raise next(iter(failed.values()))
    return sum(sums.values(), Progress())


async def _blame(extractor: Extractor, trial: _Trial) -> None:
    for channel in await trial.guilty():
        await extractor.blame(channel)


class _Trial:
    """A reader that notes whether a model fails at a batch, or at all of them.

    It is the batch if the model answers another afterwards, or something plain at the end. A model that goes
    away fails at all that is left.
    """

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._answers = False
        self._raised: BgTasksError | None = None
        self._guilty: list[str] = []
        self._suspects: list[tuple[str, BgTasksError]] = []

    async def read(self, batch: Batch, known: Sequence[tuple[str, str]]) -> Extraction:
        """As the reader does it."""
        try:
            found = await self._reader.read(batch, known)
        except (ResourceUnavailable, UnsuitableServer) as error:
            self._raised = error
            raise
        self._answers = True
        self._convict()
        return found

    @property
    def hopeless(self) -> bool:
        """Whether the model fails at all that is left, as far as can be told."""
        return len(self._suspects) >= (GONE if self._answers else STOP)

    def failed(self, channel: str, error: BgTasksError) -> bool:
        """Note what a channel failed with; whether it is the model's."""
        if isinstance(error, ResourceUnavailable) and error.resource != "openrouter":
            return False
        if error is not self._raised and not isinstance(error, BadAnswer):
            return False
        self._suspects.append((channel, error))
        return True

    async def guilty(self) -> list[str]:
        """The channels at whose next batch the model failed, though it is not away."""
        if any(not isinstance(error, BadAnswer) for _, error in self._suspects) and await self._answers_now():
            self._convict()
        return self._guilty

    def _convict(self) -> None:
        # One that gave nothing usable has halved its batch itself.
        self._guilty += [channel for channel, error in self._suspects if not isinstance(error, BadAnswer)]
        self._suspects = []

    async def _answers_now(self) -> bool:
        """Whether the model answers what no model can stumble over, and nobody has asked before."""
        now = self._clock.now()
        text = f"Hello, I am Ada. It is {now.isoformat()}."
        hello = Message(channel=HELLO, id="1", author="Ada", ts=now, text=text)
        try:
            await self._reader.read(Batch(HELLO, "0-0", (hello,)), ())
        except BadAnswer:
            return True  # whatever it says, it is there
        except (OverBudget, ResourceUnavailable, UnsuitableServer):
            return False
        return True
