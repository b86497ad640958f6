"""`bgtasks budget`: what was spent on models, by task and day, and what may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from bgtasks.cli.display import AsJson, ago, now, print_json, say, show
from bgtasks.cli.session import RedisUrl, execute, given, load
from bgtasks.resources import open_resources

if TYPE_CHECKING:
    from bgtasks.llm.budget import Limits, Spent

__all__ = ["budget"]

MOST_DAYS = 40
"""`KEPT_DAYS` of `bgtasks.llm.budget`, which no other command is to load."""


def budget(
    days: int = typer.Option(1, min=1, max=MOST_DAYS, help="How many days, today and those before it."),
    as_json: bool = AsJson,
    redis: str | None = RedisUrl,
) -> None:
    """Show what calls to models spent today, by task, and the caps: those of this command's settings."""

    from bgtasks.llm.budget import Budget

    async def work() -> None:
        settings = load(redis)
        async with open_resources(settings) as held:
            found = Budget.from_settings(settings, given(held.redis))
            at = now()
            today = found.limits.day(at)
            spent = {day: await found.spent(day) for day in _days(today, days)}
        if as_json:
            print_json(_record(spent, found.limits, at))
        else:
            _print(spent, found.limits, at)

    execute(work())


def _days(today: date, count: int) -> Iterator[date]:
    return (today - timedelta(days=back) for back in range(count))


def _record(spent: dict[date, list[Spent]], limits: Limits, at: datetime) -> dict[str, Any]:
    from bgtasks.llm.budget import ALL

    return {
        "zone": limits.zone.key,
        "day_ends": limits.day_ends(at).isoformat(),
        "days": [
            {
                "day": day.isoformat(),
                "tasks": [asdict(row) for row in rows if row.task != ALL],
                "all": {key: value for key, value in asdict(rows[-1]).items() if key != "task"},
            }
            for day, rows in spent.items()
        ],
    }


def _print(spent: dict[date, list[Spent]], limits: Limits, at: datetime) -> None:
    rows = [
        _cells(day, row, alone=len(spent) == 1)
        for day, found in spent.items()
        for row in found
        if not _is_idle(row)
    ]
    if rows:
        titles = ("day", "task", "tokens", "reserved", "of", "cost", "reserved", "of", "calls", "lost")
        show(titles, rows)
        typer.echo()
    else:
        typer.echo(
            f"nothing was spent {'today' if len(spent) == 1 else 'in these days'}, and nothing is capped"
        )
    ends = limits.day_ends(at)
    say(f"a new day begins at {ends:%Y-%m-%d %H:%M} ({limits.zone.key}), {ago(ends)}")


def _is_idle(row: Spent) -> bool:
    """Whether there is nothing to say of it: nothing spent, reserved, lost or capped."""
    return row == type(row)(row.task)


def _cells(day: date, row: Spent, *, alone: bool) -> Sequence[str | Text]:
    return (
        "" if alone else day.isoformat(),
        row.task or Text("all tasks", "bold"),
        _over(_tokens(row.tokens), row.tokens, row.reserved_tokens, row.cap_tokens),
        _right(_tokens(row.reserved_tokens) if row.reserved_tokens else ""),
        _right("" if row.cap_tokens is None else _tokens(row.cap_tokens)),
        _over(_dollars(row.cost), row.cost, row.reserved_cost, row.cap_cost),
        _right(_dollars(row.reserved_cost) if row.reserved_cost else ""),
        _right("" if row.cap_cost is None else _dollars(row.cap_cost)),
        _right(f"{row.calls:,}"),
        _right(f"{row.lost:,}" if row.lost else "", "yellow"),
    )


def _over(shown: str, spent: float, reserved: float, cap: float | None) -> Text:
    """An amount, red if its cap is used up and yellow from nine tenths."""
    if cap is None:
        return _right(shown)
    gone = spent + reserved
    return _right(shown, "red" if gone >= cap else "yellow" if gone >= 0.9 * cap else "")


def _right(shown: str, style: str = "") -> Text:
    return Text(shown, style, justify="right")


def _tokens(amount: int) -> str:
    return f"{amount:,}"


def _dollars(cost: float) -> str:
    """US dollars, to the cent where that is exact, else to the micro-dollar."""
    cents = f"{cost:.2f}"
    return f"${cents}" if float(cents) == cost else f"${cost:.6f}".rstrip("0")
