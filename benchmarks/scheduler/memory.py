"""The peak of this process's memory."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

__all__ = ["peak", "reset_peak"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Let the peak begin anew at what is used now, where the system can (Linux)."""
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def peak() -> int:
    """Bytes of resident memory at the highest so far."""
    if _STATUS.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())):
        return int(found[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
