"""Virtual environments apart from ours, for what we compare ourselves with and draw with.

Nothing in them is a dependency of bgtasks, and bgtasks is not in them: no import there can be ours by
accident.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "interpreter"]

ROOT = Path(__file__).resolve().parents[1]


def interpreter(name: str = "scheduler") -> str:
    """The Python of `.venv-bench/<name>`, with the requirements of that name.

    The environment is made when it is missing, or was made from other requirements.
    """
    place, requirements = ROOT / ".venv-bench" / name, ROOT / "benchmarks" / f"requirements-{name}.txt"
    python, made_from = place / "bin" / "python", place / "made-from.txt"
    wanted = f"{sys.version}\n{requirements.read_text('utf-8')}"
    if not (made_from.exists() and made_from.read_text("utf-8") == wanted):
        print(f"making {place.relative_to(ROOT)} from {requirements.name}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-r", str(requirements)], check=True)
        made_from.write_text(wanted, "utf-8")
    return str(python)
