"""A virtual environment apart from ours, for what we compare ourselves with and draw with.

Nothing in it is a dependency of bgtasks, and bgtasks is not in it: no import there can be ours by accident.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "interpreter"]

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-bench"
REQUIREMENTS = ROOT / "benchmarks" / "requirements-scheduler.txt"


def interpreter() -> str:
    """The Python of that environment; made when it is missing, or was made from other requirements."""
    python, made_from = VENV / "bin" / "python", VENV / "made-from.txt"
    wanted = f"{sys.version}\n{REQUIREMENTS.read_text('utf-8')}"
    if not (made_from.exists() and made_from.read_text("utf-8") == wanted):
        print(f"making {VENV.name} from {REQUIREMENTS.name}", file=sys.stderr)
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
        made_from.write_text(wanted, "utf-8")
    return str(python)
