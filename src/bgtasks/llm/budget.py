"""The budget: what calls to models may spend in a day, reserved before a call and settled after it. Keys:

```
<namespace>:budget:<yyyymmdd>           HASH   tokens|<task>, cost|<task>, calls|<task>, lost|<task>
<namespace>:budget:<yyyymmdd>:held      HASH   id -> expires, tokens, cost, both of the prompt alone, task
<namespace>:budget:<yyyymmdd>:ended     HASH   id -> `done`, or what counts for it as lost; for two days
```

The fields without a task are of all tasks. Costs are in micro-dollars. A day is one of the configured zone,
and what was reserved before midnight is settled on the day it was reserved.

A reservation that is not settled in time, since its process was killed, is taken back, and no longer sets
anything aside. What its prompt was to take counts as spent until it is settled after all: else a process that
is killed in every call would spend without an end, and nothing would show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from bgtasks.clock import Clock, SystemClock
from bgtasks.connect import encodable, reach, refuse_cluster, text
from bgtasks.errors import OverBudget
from bgtasks.llm.answers import Kept, answer_key, ms, packed
from bgtasks.llm.budget_limits import Limits, dollars, micros
from bgtasks.llm.budget_scripts import RELEASE, RESERVE, SETTLE
from bgtasks.settings import default_namespace
from bgtasks.triggers import spoken

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bgtasks.llm.types import Usage
    from bgtasks.settings import Settings

__all__ = ["ALL", "KEPT_DAYS", "Budget", "Limits", "Reservation", "Spent"]

ALL = ""
"""The `task` of what all tasks spent together."""

KEPT_DAYS = 40
"""Days for which it is remembered what was spent."""

_DAY = 86_400
_ENDED = 2 * _DAY  # a settlement is sent again within moments, or by a process that slept meanwhile


@dataclass(frozen=True)
class Reservation:
    """What one call may spend, set aside until it is settled or released.

    Attributes:
        id: Never used again.
        task: Which task spends it.
        day: The day it is of, as yyyymmdd.
        tokens: Tokens of prompt and answer, at most.
        cost: US dollars, at most.
    """

    id: str
    task: str
    day: str
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What one task, or all together (`task` is then `ALL`), spent in a day.

    Attributes:
        tokens: Tokens of prompts and answers, and those of the prompts of what was lost.
        cost: US dollars, of the same.
        calls: Calls that were settled.
        reserved_tokens: Tokens set aside for calls that are going on.
        reserved_cost: The same in US dollars.
        cap_tokens: What may be spent in tokens; None: no cap.
        cap_cost: The same in US dollars.
        lost: Reservations that nobody settled in time, and that were taken back: their process crashed, or a
            call took longer than reservations last.
    """

    task: str
    tokens: int = 0
    cost: float = 0.0
    calls: int = 0
    reserved_tokens: int = 0
    reserved_cost: float = 0.0
    cap_tokens: int | None = None
    cap_cost: float | None = None
    lost: int = 0


class Budget:
    """Counts what is spent on models, and refuses a call that would go over a cap.

    A call is let through if what is spent, what is reserved by calls going on and what it may spend itself
    stay within each cap that concerns it. So however many processes call at once, a cap is not exceeded as
    long as no call spends more than was reserved for it.

    Args:
        redis: An asyncio client, decoding responses or not.
        limits: The caps. Without any, nothing is refused, but all is counted.
        namespace: What every key begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given.
        clock: Tells the day, and how old a reservation is. Clocks of nodes may differ by less than `ttl`.
        ttl: Seconds after which a reservation that nobody settled is taken back. Make it longer than what
            is reserved for can take.
        new_id: Makes the id of a reservation, unique among all nodes.

    Raises:
        UnsuitableServer: The client is one of a Redis Cluster.

    Not promised: that nothing is spent beyond a cap if a model uses more than was reserved, and what a call
    has cost whose process crashed before it was settled. It is among `lost`, and counts as what its prompt
    was to take: of the cost, the part that its tokens are of all that were reserved. What was to be of the
    answer is given back. A reservation that is left at the end of a day is not looked at again.
    """

    def __init__(
        self,
        redis: Redis,
        limits: Limits,
        namespace: str | None = None,
        *,
        clock: Clock | None = None,
        ttl: float = 300.0,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        refuse_cluster(redis)
        self.limits = limits
        self._redis: Any = redis  # redis-py types its answers for both faces at once
        self._namespace = namespace or default_namespace()
        self._clock = clock or SystemClock()
        self._ttl = ttl
        self._new_id = new_id or (lambda: uuid4().hex)
        self._reserve = redis.register_script(RESERVE)
        self._settle = redis.register_script(SETTLE)
        self._release = redis.register_script(RELEASE)

    @classmethod
    def from_settings(cls, settings: Settings, redis: Redis, *, clock: Clock | None = None) -> Self:
        """The budget that an operator has set. A reservation is of one attempt, and outlasts its time limit.

        Raises:
            ConfigurationError: A cap, a price or the zone cannot be meant.
            UnsuitableServer: The client is one of a Redis Cluster.
        """
        ttl = max(300.0, settings.llm_timeout + 120.0)
        return cls(redis, Limits.from_settings(settings), settings.namespace, clock=clock, ttl=ttl)

    async def reserve(self, task: str, usage: Usage) -> Reservation:
        """Set aside what a call of `task` may spend at most. What dead processes left is taken back first.

        Args:
            task: Which task calls.
            usage: What the call may spend at most, in tokens and US dollars (`Limits.cost`). Its prompt's
                part counts as spent if nobody settles it in time.

        Raises:
            OverBudget: A cap stands in the way: which, how much of it is gone, and when the day ends.
            ResourceUnavailable: Redis does not answer. Nothing may be sent then; what may have been set aside
                is taken back later.
        """
        task, now = encodable(task), self._clock.now()
        day = f"{self.limits.day(now):%Y%m%d}"
        tokens, cost = _amounts(usage)
        reservation = Reservation(self._new_id(), task, day, tokens, dollars(cost))
        caps = self._caps(task)
        at, until = ms(now.timestamp()), ms(now.timestamp() + self._ttl)
        arguments: list[str | int] = [at, until, reservation.id, task, tokens, cost]
        arguments += [*_of_prompt(usage), KEPT_DAYS * _DAY, _ENDED]
        arguments += ["" if cap is None else cap for cap in caps]
        refused = await reach(partial(self._reserve, keys=self._keys(day), args=arguments))
        if refused:
            which = int(refused[0]) - 1
            gone, reserved = int(text(refused[1])), int(text(refused[2]))
            cap = caps[which]
            assert cap is not None, "a cap that is not there refuses nothing"
            raise OverBudget(self._refusal(task, which, gone, reserved, (tokens, cost)[which % 2], cap, now))
        return reservation

    async def settle(self, reservation: Reservation, used: Usage, *, keep: Kept | None = None) -> None:
        """Write down what a call has spent, in place of what was reserved for it, on the day of that.

        Counts once, however often it is sent; and also if the reservation was taken back meanwhile: in place
        of what counts for it since then.

        Args:
            reservation: The call's.
            used: What it spent, in tokens and US dollars.
            keep: Its answer, stored in the same step.

        Raises:
            ResourceUnavailable: Redis does not answer; it may have been written down.
        """
        tokens, cost = _amounts(used)
        keys = self._keys(reservation.day)
        arguments: list[str | int] = [reservation.id, reservation.task, tokens, cost]
        arguments += [KEPT_DAYS * _DAY, _ENDED]
        if keep is not None:
            keys.append(answer_key(self._namespace, keep.key))
            arguments += [packed(keep.text), ms(keep.ttl)]
        await reach(partial(self._settle, keys=keys, args=arguments))

    async def release(self, reservation: Reservation) -> None:
        """Give back what was set aside: nothing was sent, or nothing is billed.

        Raises:
            ResourceUnavailable: Redis does not answer; then it is taken back when its time is over.
        """
        arguments = [reservation.id, reservation.task]
        await reach(partial(self._release, keys=self._keys(reservation.day), args=arguments))

    async def spent(self, day: date | None = None) -> list[Spent]:
        """What was spent on a day, today if none is given: tasks by their names, and all together last.

        Raises:
            ResourceUnavailable: Redis does not answer.
        """
        now = self._clock.now()
        name = f"{day or self.limits.day(now):%Y%m%d}"

        async def ask() -> list[dict[Any, Any]]:
            async with self._redis.pipeline(transaction=True) as commands:
                commands.hgetall(self._key(name))
                commands.hgetall(self._key(name, "held"))
                return list(await commands.execute())

        counted, held = await reach(ask)
        amounts = {text(key): int(value) for key, value in counted.items()}
        for each in held.values():
            expires, tokens, cost, _, _, task = text(each).split(" ", 5)
            if int(expires) > now.timestamp() * 1000:
                for whose in (task, ALL):
                    _add(amounts, f"held tokens|{whose}", int(tokens))
                    _add(amounts, f"held cost|{whose}", int(cost))
        tasks = {key.partition("|")[2] for key in amounts} | {
            *self.limits.task_tokens,
            *self.limits.task_cost,
        }
        return [self._row(task, amounts) for task in (*sorted(tasks - {ALL}), ALL)]

    def _row(self, task: str, amounts: Mapping[str, int]) -> Spent:
        limits = self.limits
        return Spent(
            task,
            amounts.get(f"tokens|{task}", 0),
            dollars(amounts.get(f"cost|{task}", 0)),
            amounts.get(f"calls|{task}", 0),
            amounts.get(f"held tokens|{task}", 0),
            dollars(amounts.get(f"held cost|{task}", 0)),
            limits.task_tokens.get(task) if task else limits.day_tokens,
            limits.task_cost.get(task) if task else limits.day_cost,
            amounts.get(f"lost|{task}", 0),
        )

    def _caps(self, task: str) -> tuple[int | None, ...]:
        """The caps as the script takes them: tokens and money of the task, tokens and money of all."""
        limits = self.limits
        costs = limits.task_cost.get(task), limits.day_cost
        of_task, of_all = (None if cost is None else micros(cost) for cost in costs)
        return limits.task_tokens.get(task), of_task, limits.day_tokens, of_all

    def _refusal(
        self, task: str, which: int, gone: int, reserved: int, ask: int, cap: int, now: datetime
    ) -> str:
        whose, shown = (task, "all tasks")[which // 2], (_tokens, _dollars)[which % 2]
        setting = _SETTINGS[which]
        if ask > cap:
            return (
                f"one call of {task} may take {shown(ask)}, more than the {shown(cap)} a day of {whose}: "
                f"raise {setting}, or ask for less"
            )
        ends = self.limits.day_ends(now)
        left = spoken(60.0 * max(1, math.ceil((ends - now).total_seconds() / 60)))
        return (
            f"the budget of {whose} for {self.limits.day(now)} does not allow another {shown(ask)}: "
            f"{shown(gone)} spent and {shown(reserved)} reserved of {shown(cap)} ({setting}); "
            f"the day ends at {ends:%Y-%m-%d %H:%M %Z}, in {left}"
        )

    def _keys(self, day: str) -> list[str]:
        """What the scripts work on: the day, its reservations, what became of them."""
        return [self._key(day), self._key(day, "held"), self._key(day, "ended")]

    def _key(self, *parts: str) -> str:
        return ":".join((self._namespace, "budget", *parts))


_SETTINGS = (
    "BGTASKS_LLM_TASK_TOKENS",
    "BGTASKS_LLM_TASK_COST",
    "BGTASKS_LLM_DAY_TOKENS",
    "BGTASKS_LLM_DAY_COST",
)


_MOST = 10**15
"""Of tokens and of micro-dollars: what a server says that a call took may be anything."""


def _amounts(usage: Usage) -> tuple[int, int]:
    """Tokens and micro-dollars, neither below 0, nor above what can be counted."""
    tokens = max(0, usage.prompt_tokens) + max(0, usage.completion_tokens)
    return min(tokens, _MOST), min(micros(usage.cost), _MOST)


def _of_prompt(usage: Usage) -> tuple[int, int]:
    """The part of the prompt in `_amounts`; of the cost in proportion, rounded up."""
    tokens, cost = _amounts(usage)
    prompt = min(max(0, usage.prompt_tokens), tokens)
    return prompt, -(-cost * prompt // tokens) if tokens else cost


def _add(amounts: dict[str, int], key: str, more: int) -> None:
    amounts[key] = amounts.get(key, 0) + more


def _tokens(amount: int) -> str:
    return f"{amount:,} tokens"


def _dollars(amount: int) -> str:
    shown = f"{dollars(amount):.6f}".rstrip("0")
    whole, _, part = shown.partition(".")
    return f"${whole}.{part.ljust(2, '0')}"
