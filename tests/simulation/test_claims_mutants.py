"""The simulation of claims finds bugs that are put into the shipped package on purpose."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.simulation.claims.mutants import MUTANTS, Mutant
from tests.simulation.claims.mutate import applied
from tests.simulation.mutate import PACKAGE, ROOT


def test_there_are_at_least_twenty_of_different_names() -> None:
    assert len({each.name for each in MUTANTS}) == len(MUTANTS) >= 20


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_still_applies(mutant: Mutant) -> None:
    source = (PACKAGE / mutant.module).read_text(encoding="utf-8")
    compile(applied(mutant, source), mutant.module, "exec")


@pytest.mark.full
@pytest.mark.timeout(900)
def test_each_fourth_is_found_and_the_control_runs_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them: `make mutants-claims`."""
    command = [sys.executable, "-m", "tests.simulation.claims.mutate", "--every", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=840, check=False)
    with capsys.disabled():
        sys.stdout.write(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
