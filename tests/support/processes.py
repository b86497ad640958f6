"""Real Python processes, for what only a fresh interpreter shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bgtasks

__all__ = ["run_python"]

_SOURCE = Path(bgtasks.__file__).parent.parent


def run_python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run this interpreter on `arguments` with bgtasks importable, and return what it said."""
    path = os.pathsep.join(filter(None, (str(_SOURCE), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
