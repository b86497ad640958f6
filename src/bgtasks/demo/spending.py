"""What was spent on the model: as the budget in Redis has it, and as the model's own count has it."""

from __future__ import annotations

from rich.console import Console

from bgtasks.cli.display import print_table
from bgtasks.cli.display import table as columns
from bgtasks.llm.budget import ALL, Budget, Spent
from bgtasks.testing.model import ModelServer

__all__ = ["print_spending"]


async def print_spending(console: Console, budget: Budget, model: ModelServer) -> None:
    """Read the budget of today back, and print it beside what the stand-in has counted."""
    shown = columns()
    for title in ("  task", "calls", "tokens", "of"):
        shown.add_column(title, justify="left" if title == "  task" else "right")
    for row in await budget.spent():
        shown.add_row(*_cells(row))
    console.print("\n[bold]Spent on the model[/], from the budget in Redis")
    print_table(shown)
    tally = model.tally
    tokens = tally.prompt_tokens + tally.completion_tokens
    console.print(f"  the stand-in's own count: {tally.calls} calls, {tokens:,} tokens")


def _cells(row: Spent) -> tuple[str, str, str, str]:
    cap = "" if row.cap_tokens is None else f"{row.cap_tokens:,} a day"
    return (
        "  all tasks" if row.task == ALL else f"  {row.task}",
        f"{row.calls}",
        f"{row.tokens:,}",
        cap,
    )
