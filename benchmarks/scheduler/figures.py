"""The columns of the table: the figures of each kind of case, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FIGURES", "Figure", "written"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One column."""

    key: str
    heading: str


FIGURES: dict[str, tuple[Figure, ...]] = {
    "set_up": (Figure("set_up_ms", "set-up ms"), Figure("megabytes", "MB")),
    "fire": (
        Figure("us_per_fire", "CPU µs a fire"),
        Figure("p50_ms", "late p50 ms"),
        Figure("p99_ms", "late p99 ms"),
        Figure("percent_fired", "fired %"),
    ),
    "flood": (
        Figure("fires_per_s", "fires/s"),
        Figure("ticker_ms", "ticker late ms"),
        Figure("stop_ms", "stop ms"),
    ),
    "idle": (Figure("cpu_ms_per_s", "CPU ms a second"),),
    "stop": (Figure("stop_ms", "stop ms"),),
    "month": (Figure("fires", "fires"), Figure("wall_s", "wall s"), Figure("cpu_s", "CPU s")),
}


def written(value: float) -> str:
    """Three digits that count, and no exponent."""
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.0995 or size < 0.0005 else f"{value:.3f}"
