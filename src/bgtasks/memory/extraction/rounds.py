"""Several channels, in rounds: each gets its turn, and one at which a model fails stops no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from bgtasks.errors import BadAnswer, BgTasksError, OverBudget, ResourceUnavailable, UnsuitableServer
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.engine import Extractor
from bgtasks.memory.extraction.progress import Applied, Progress, Watch
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

    A channel that a model fails at is passed over. If it does not fail at others, or at a plain question
    where there are no others, the batch is to blame: see `Extractor.blame`. The others come in any order from
    there on, lest the same two always end it.

    Args:
        rounds: How often each channel has its turn; until nothing is left if not given.
        watch: Told of each batch.
        done: Told of each channel that nothing is left of, or that somebody else reads, with what came of it.
        random: Draws the order after a failure.

    Raises:
        OverBudget: No more may be spent; who speaks and mentions whom is read all the same.
        ResourceUnavailable: A server does not answer. If it is the model, others were read before.
        UnsuitableServer: The model refuses; likewise.
        BadAnswer: It gives nothing usable for one message after the other; likewise.
    """
    for channel in channels:
        await weave(extractor.cache, extractor.graph, channel, half_life=extractor.half_life)
    sums = dict.fromkeys(channels, Progress())
    failed: dict[str, BgTasksError] = {}
    random = random or Random()
    trial = _Trial(extractor, watch)
    left, turn = list(channels), 0
    while left and not trial.hopeless and (rounds is None or turn < rounds):
        turn, again = turn + 1, []
        while left and not trial.hopeless:
            channel = left.pop(0)
            try:
                read = await extractor.extract(channel, most=BATCHES, watch=trial.watch)
            except OverBudget:
                await trial.close()
                raise
            except (ResourceUnavailable, UnsuitableServer, BadAnswer) as error:
                if isinstance(error, ResourceUnavailable) and error.resource != "openrouter":
                    raise
                failed[channel] = error
                trial.failed(channel, error)
                random.shuffle(left)
                continue
            sums[channel] += read
            if read.batches == BATCHES:
                again.append(channel)
            elif done is not None:
                done(channel, sums[channel])
        left = again
    await trial.close()
    if failed:
        raise next(iter(failed.values()))
    return sum(sums.values(), Progress())


class _Trial:
    """Whether a model fails at a batch, or at all of them.

    It is the batch if the model answers another afterwards. A model that goes away fails at all that is left;
    where what is left does not tell, because there was nothing else or too much failed in a row, it is asked
    something plain.
    """

    def __init__(self, extractor: Extractor, watch: Watch | None) -> None:
        self._extractor = extractor
        self._watch = watch
        self._answers = False
        self._guilty: list[tuple[str, BgTasksError]] = []
        self._suspects: list[tuple[str, BgTasksError]] = []

    @property
    def hopeless(self) -> bool:
        """Whether the model fails at all that is left, as far as can be told."""
        return len(self._suspects) >= (GONE if self._answers else STOP)

    async def watch(self, step: Batch | Applied) -> None:
        """Note that the model answered, if it did."""
        if isinstance(step, Applied) and step.messages:
            self._answers = True
            self._guilty += self._suspects
            self._suspects = []
        if self._watch is not None:
            await self._watch(step)

    def failed(self, channel: str, error: BgTasksError) -> None:
        """Note that the model failed at `channel`."""
        self._suspects.append((channel, error))

    async def close(self) -> None:
        """Blame the batches at which the model failed, though it is not away."""
        if self._suspects and ((self._answers and not self.hopeless) or await self._answers_now()):
            self._guilty += self._suspects
        for channel, error in self._guilty:
            if not isinstance(error, BadAnswer):
                await self._extractor.blame(channel)

    async def _answers_now(self) -> bool:
        """Whether the model answers what no model can stumble over."""
        now = self._extractor.clock.now()
        hello = Message(channel=HELLO, id="1", author="Ada", text="Hello, I am Ada.", ts=now)
        try:
            await self._extractor.reader.read(Batch(HELLO, "0-0", (hello,)), ())
        except (BadAnswer, OverBudget, ResourceUnavailable, UnsuitableServer):
            return False
        return True
