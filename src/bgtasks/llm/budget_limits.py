"""What may be spent on models in a day, when a day begins, and what a call costs."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from bgtasks.errors import ConfigurationError, InvalidTrigger
from bgtasks.run import NOTHING
from bgtasks.triggers import Cron

if TYPE_CHECKING:
    from bgtasks.settings import Settings

__all__ = ["Limits", "dollars", "micros"]

MILLION = 1_000_000


def micros(cost: float) -> int:
    """US dollars as whole micro-dollars, rounded up; what is no cost (negative, no number) is 0.

    More than a million million dollars are as many. What addition of floats leaves behind (0.1 + 0.2) is no
    micro-dollar.
    """
    if not math.isfinite(cost) or cost <= 0:
        return 0
    exact = (Decimal(repr(min(float(cost), 1e12))) * MILLION).quantize(Decimal("0.001"))
    return int(exact.to_integral_value(ROUND_CEILING))


def dollars(amount: int) -> float:
    """Micro-dollars as US dollars."""
    return amount / MILLION


@dataclass(frozen=True)
class Limits:
    """Caps on what is spent on models in a day, in tokens and in US dollars; None, or no entry: no cap.

    Attributes:
        day_tokens: Tokens a day, prompts and answers, all tasks together.
        day_cost: US dollars a day, all tasks together.
        task_tokens: Tokens a day by task.
        task_cost: US dollars a day by task.
        zone: Whose midnight begins a day.
        prices: US dollars for a million tokens of prompts and of answers, by model.

    Raises:
        ConfigurationError: A cap or a price is negative or no number; the setting is named.
    """

    day_tokens: int | None = None
    day_cost: float | None = None
    task_tokens: Mapping[str, int] = NOTHING
    task_cost: Mapping[str, float] = NOTHING
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    prices: Mapping[str, tuple[float, float]] = NOTHING
    _unpriced: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for setting, caps in (
            ("DAY_TOKENS", [self.day_tokens]),
            ("DAY_COST", [self.day_cost]),
            ("TASK_TOKENS", self.task_tokens.values()),
            ("TASK_COST", self.task_cost.values()),
            ("PRICES", [price for pair in self.prices.values() for price in pair]),
        ):
            for cap in caps:
                if cap is not None and not 0 <= cap < 1e12:  # neither NaN
                    raise ConfigurationError(
                        f"BGTASKS_LLM_{setting}: {cap} cannot be meant: give a number from 0"
                    )

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The limits that an operator has set.

        Raises:
            ConfigurationError: A number cannot be meant, or the zone is not known; the setting is named.
        """
        try:
            zone = Cron("@daily", settings.llm_zone).zone  # the one place that explains an unknown zone
        except InvalidTrigger as error:
            raise ConfigurationError(f"BGTASKS_LLM_ZONE: {error}") from error
        return cls(
            day_tokens=settings.llm_day_tokens,
            day_cost=settings.llm_day_cost,
            task_tokens=dict(settings.llm_task_tokens),
            task_cost=dict(settings.llm_task_cost),
            zone=zone,
            prices=dict(settings.llm_prices),
        )

    @property
    def of_money(self) -> bool:
        """Whether any cap is one of money."""
        return self.day_cost is not None or bool(self.task_cost)

    def cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost with `model`, in US dollars, to the micro-dollar, rounded up.

        A model without a price costs nothing. If there is a cap of money, that is said once in the log: it
        stops such a model late, by the costs that its endpoint tells, or never.
        """
        if (price := self.prices.get(model)) is None:
            if self.of_money and model not in self._unpriced:
                self._unpriced.add(model)
                logging.getLogger("bgtasks").warning(
                    "the model %r has no price: caps of money set nothing aside for its calls, and count "
                    "only what its endpoint says that they cost; add it to BGTASKS_LLM_PRICES",
                    model,
                )
            return 0.0
        # Dollars for a million tokens are micro-dollars for one.
        per_prompt, per_answer = (Decimal(repr(float(each))) for each in price)
        exact = per_prompt * max(0, prompt_tokens) + per_answer * max(0, completion_tokens)
        return dollars(int(exact.to_integral_value(ROUND_CEILING)))

    def day(self, now: datetime) -> date:
        """The day that an instant belongs to, in the zone."""
        return now.astimezone(self.zone).date()

    def day_ends(self, now: datetime) -> datetime:
        """When the day of an instant is over: the next midnight of the zone, in the zone."""
        following = self.day(now) + timedelta(days=1)
        midnight = datetime.combine(following, time.min, self.zone)
        return midnight.astimezone(UTC).astimezone(self.zone)  # 00:00 may be skipped: then as clocks show it
