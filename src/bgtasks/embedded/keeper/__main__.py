"""Runs the keeper without the package around it: `python -I -S …/keeper/__main__.py ORDER`.

Importing `bgtasks` in the usual way would load the whole framework and its dependencies into a
process that stays. Here the two packages above get their names and nothing of their contents.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType


def run() -> None:
    here = Path(__file__).resolve().parent
    for name, folder in (("bgtasks", here.parents[1]), ("bgtasks.embedded", here.parent)):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules[name] = package

    from bgtasks.embedded.keeper.process import main  # only now it can be found

    main(sys.argv[1])


if __name__ == "__main__":
    run()
