"""What is going on, beside the figures."""

from __future__ import annotations

import sys

__all__ = ["progress"]


def progress(what: str) -> None:
    """On a terminal one line that is written over, else one line each; empty when it is over."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
    elif what:
        print(what, file=sys.stderr, flush=True)
