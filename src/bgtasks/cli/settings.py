"""`bgtasks settings`: every setting, its value here, and what it does."""

from __future__ import annotations

from typing import Any

from bgtasks.cli.display import show
from bgtasks.settings import PREFIX, Settings

__all__ = ["settings"]


def settings() -> None:
    """Show every setting: its environment variable, its value here, and what it does."""
    held = Settings.load()
    rows = [
        (f"{PREFIX}{name.upper()}", _shown(getattr(held, name)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    show(("variable", "value", "what it does"), rows)


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
