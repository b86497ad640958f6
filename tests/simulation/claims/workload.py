"""The tasks that a simulated cluster has: of each kind of trigger, and of each policy."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from bgtasks.policies import CatchUp, Overlap, Policy, policy
from bgtasks.triggers import Cron, Every, Trigger, as_trigger

__all__ = ["KINDS", "Kind", "drawn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A task.

    Attributes:
        triggers: That of the code as it is, and after a deployment.
        takes: Seconds that a run takes: from, to.
        fails: The share of runs that raise.
        defers: The share that finds a server away.
    """

    name: str
    triggers: tuple[str, str]
    takes: tuple[float, float] = (0.1, 2.0)
    overlap: str = "skip"
    catch_up: str = "one"
    timeout: float | None = None
    fails: float = 0.05
    defers: float = 0.0
    initial_delay: float = 2.0

    def trigger(self, version: int) -> Trigger:
        """The trigger that the code of a version declares."""
        text = self.triggers[version % 2]
        if text.startswith("every "):
            return Every(text.removeprefix("every "), fixed_rate=True)
        return Cron(text, "UTC") if " " in text else as_trigger(text)

    @property
    def policy(self) -> Policy:
        """Its policy."""
        return policy(self.name, self.overlap, self.catch_up, self.timeout)

    @property
    def alone(self) -> bool:
        """Whether its runs never meet."""
        return self.policy.overlap is not Overlap.ALLOW

    @property
    def on_a_grid(self) -> bool:
        """Whether its instants do not depend on its runs."""
        trigger = self.trigger(0)
        return not isinstance(trigger, Every) or trigger.fixed_rate

    @property
    def catches_up_with_all(self) -> bool:
        """Whether each tick has its run."""
        return self.policy.catch_up is CatchUp.ALL


KINDS = (
    Kind(name="plain", triggers=("7s", "11s")),
    Kind(name="quick", triggers=("1500ms", "2500ms"), takes=(0.0, 0.1)),
    Kind(name="marathon", triggers=("25s", "40s"), takes=(15.0, 60.0)),
    Kind(name="expedition", triggers=("every 20s", "every 30s"), takes=(25.0, 70.0)),
    Kind(name="failing", triggers=("9s", "6s"), takes=(0.1, 4.0), fails=0.6),
    Kind(name="deferring", triggers=("15s", "20s"), takes=(0.0, 1.0), defers=0.4),
    Kind(name="grid", triggers=("every 10s", "every 15s"), takes=(0.1, 3.0)),
    Kind(name="punctual", triggers=("every 13s", "every 7s"), takes=(0.1, 5.0), catch_up="none"),
    Kind(name="complete", triggers=("every 9s", "every 12s"), takes=(0.1, 3.0), catch_up="all"),
    Kind(name="calendar", triggers=("* * * * *", "*/2 * * * *"), takes=(1.0, 20.0)),
    Kind(name="calendar_all", triggers=("* * * * *", "*/3 * * * *"), takes=(1.0, 9.0), catch_up="all"),
    Kind(name="skipping", triggers=("every 6s", "every 9s"), takes=(2.0, 20.0)),
    Kind(name="queueing", triggers=("every 8s", "every 11s"), takes=(1.0, 14.0), overlap="queue"),
    Kind(name="cancelling", triggers=("every 9s", "every 14s"), takes=(1.0, 16.0), overlap="cancel"),
    Kind(name="beside", triggers=("every 5s", "every 8s"), takes=(0.5, 12.0), overlap="allow"),
    Kind(name="timing_out", triggers=("every 15s", "every 10s"), takes=(0.5, 8.0), timeout=4.0),
    Kind(name="plain_queue", triggers=("12s", "8s"), takes=(1.0, 10.0), overlap="queue"),
)


def drawn(random: Random) -> tuple[Kind, ...]:
    """The tasks of one cluster."""
    return tuple(sorted(random.sample(KINDS, random.randint(5, 10)), key=KINDS.index))
