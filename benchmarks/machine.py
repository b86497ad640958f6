"""On what the figures were taken."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

__all__ = ["described"]


def described() -> str:
    """The date, the machine and its Python, in one line."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}"
    )
