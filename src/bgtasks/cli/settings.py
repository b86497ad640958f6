"""`bgtasks settings`: every setting, its value here, and what it does."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bgtasks.settings import PREFIX, Settings

__all__ = ["settings"]


def settings() -> None:
    """Show every setting: its environment variable, its value here, and what it does."""
    held = Settings.load()
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("variable", "value", "what it does"):
        shown.add_column(title, overflow="fold")
    for name, field in Settings.model_fields.items():
        value = getattr(held, name)
        shown.add_row(
            f"{PREFIX}{name.upper()}", Text("-" if value is None else str(value)), field.description
        )
    Console().print(shown)
