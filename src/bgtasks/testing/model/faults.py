"""What can go wrong with an answer, on purpose: at numbered calls, or at a share of them, by a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

__all__ = ["Fault", "FaultKind", "Faults"]

type FaultKind = Literal[
    "429", "500", "503", "slow", "cut", "garbage", "not json", "schema", "runaway", "empty"
]

KINDS: tuple[str, ...] = get_args(FaultKind.__value__)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with a call.

    Attributes:
        kind: `429`, `500`, `503`: that status. `slow`: the right answer, late. `cut`: the connection ends in
            the middle of the body. `garbage`: status 200, and a body that is a page of HTML. `not json`: the
            model's text, or the arguments of its tool calls, is JSON that breaks off. `schema`: it is JSON of
            another shape. `runaway`: text without end, cut off at `max_tokens`. `empty`: no text at all.
        retry_after: Seconds that a `429` or `503` asks to wait; None: it does not say.
        seconds: How late a `slow` answer is.

    Raises:
        ValueError: There is no such kind, or it has a `retry_after` and is no `429` or `503`.
    """

    kind: FaultKind
    retry_after: float | None = None
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f'no fault is called "{self.kind}": there are {", ".join(KINDS)}')
        if self.retry_after is not None and self.kind not in ("429", "503"):
            raise ValueError(
                f'only "429" and "503" say how long to wait: leave out the seconds (retry_after) '
                f'of "{self.kind}"'
            )


class Faults:
    """Which calls get which fault. The same seed gives the same call number the same fault, always.

    Args:
        seed: Decides which calls are hit.
        share: The share of all calls, from 0 to 1, by kind of fault, or by `Fault` where its details matter.

    Raises:
        ValueError: A kind that does not exist, or shares that are negative or above 1 in sum.
    """

    def __init__(self, seed: int = 0, share: Mapping[FaultKind | Fault, float] | None = None) -> None:
        self._seed = seed
        self._share = [(_fault(kind), part) for kind, part in (share or {}).items()]
        if any(part < 0 for _, part in self._share) or sum(part for _, part in self._share) > 1 + 1e-9:
            raise ValueError("the shares of faults are parts of all calls: from 0 to 1, and 1 in sum at most")
        self._at: dict[int, Fault | None] = {}

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> Faults:
        """As written on a command line: `429=0.1,cut=0.05`; seconds after a colon: `slow:2=0.1,429:1=0.1`.

        Raises:
            ValueError: It cannot be read.
        """
        share: dict[FaultKind | Fault, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = part.partition("=")
            kind, colon, seconds = name.strip().partition(":")
            try:
                if not equals:
                    raise ValueError("no share")  # noqa: TRY301 - said once, below
                fault = Fault(kind)  # type: ignore[arg-type]  # checked by Fault itself
                if colon and kind == "slow":
                    fault = Fault("slow", seconds=float(seconds))
                elif colon:
                    fault = Fault(fault.kind, retry_after=float(seconds))
                share[fault] = float(value)
            except ValueError as error:
                raise ValueError(f'faults are written "429=0.1,slow:2=0.05", not "{part}": {error}') from None
        return cls(seed, share)

    def at(self, number: int, kind: FaultKind | Fault | None) -> None:
        """Call `number`, the first being 1, gets this fault; with None it gets none."""
        self._at[number] = None if kind is None else _fault(kind)

    def of(self, number: int) -> Fault | None:
        """The fault of call `number`; None: it is answered as it should be."""
        if number in self._at:
            return self._at[number]
        drawn = Random(f"{self._seed}/{number}").random()
        for fault, part in self._share:
            if drawn < part:
                return fault
            drawn -= part
        return None


def _fault(kind: FaultKind | Fault) -> Fault:
    return kind if isinstance(kind, Fault) else Fault(kind)
