"""A virtual environment apart from ours for the two locks: in `.venv-bench`, and gone with it."""

from __future__ import annotations

import shutil
import subprocess
import sys

from benchmarks.apart import ROOT, VENV
from benchmarks.apart import interpreter as the_one_that_draws

__all__ = ["interpreter"]

PLACE = VENV / "leadership"
REQUIREMENTS = ROOT / "benchmarks" / "requirements-leadership.txt"


def interpreter() -> str:
    """The Python of that environment; made when it is missing, or was made from other requirements."""
    the_one_that_draws()  # it may make `.venv-bench` anew
    python, made_from = PLACE / "bin" / "python", PLACE / "made-from.txt"
    wanted = f"{sys.version}\n{REQUIREMENTS.read_text('utf-8')}"
    if not (made_from.exists() and made_from.read_text("utf-8") == wanted):
        print(f"making {PLACE.relative_to(ROOT)} from {REQUIREMENTS.name}", file=sys.stderr)
        shutil.rmtree(PLACE, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", PLACE], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
        made_from.write_text(wanted, "utf-8")
    return str(python)
