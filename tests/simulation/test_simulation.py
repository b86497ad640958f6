"""Real supervisors under drawn faults keep their invariants, and a seed gives one history."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.faults import FAULTS
from tests.simulation.mutate import PACKAGE, apply, mutants
from tests.simulation.runner import Outcome, run, run_seed

ROOT = Path(__file__).parents[2]


def simulate(*arguments: str, hash_seed: str = "0", timeout_s: float = 55.0) -> str:
    """The standard output of the command, which must find nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class TestAFewHours:
    def test_break_no_invariant(self) -> None:
        line = simulate("--hours", "4", "--seed", "100")
        assert "0 violations" in line

    def test_meet_many_kinds_of_faults(self) -> None:
        assert len(FAULTS) >= 20


def digests(hours: int, seed: int, hash_seed: str, kept: Path) -> list[str]:
    """What came of each seed, as a checksum of its history, in the order of seeds."""
    simulate("--hours", f"{hours}", "--seed", f"{seed}", "--resume", f"{kept}", hash_seed=hash_seed)
    outcomes = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    return [outcome["digest"] for outcome in sorted(outcomes, key=lambda outcome: int(outcome["seed"]))]


class TestASeed:
    @pytest.mark.full
    @pytest.mark.parametrize("hours", [1, 10])
    def test_gives_the_same_history_whatever_the_hash_seed(self, tmp_path: Path, hours: int) -> None:
        first = digests(hours, 7, "1", tmp_path / "1")
        assert len(first) == hours
        assert digests(hours, 7, "2", tmp_path / "2") == first

    def test_that_was_run_is_not_run_again(self, tmp_path: Path) -> None:
        kept = tmp_path / "done"
        first = [each.digest for each in run(0.05, 3, 1, kept)]
        again = list(run(0.05, 3, 1, kept))
        assert [each.digest for each in again] == first
        assert len(kept.read_text(encoding="utf-8").splitlines()) == 1

    def test_that_failed_says_how_to_see_it_again(self) -> None:
        outcome = Outcome(5, 1.0, 0, 0, 0, 0, 0, 0, {}, {}, ["I1"], "", 0.0)
        assert outcome.reproduce == "make simulate SEED=5 HOURS=1"

    def test_leaves_nothing_behind(self) -> None:
        assert run_seed(11, 0.05).violations == []


class TestMutants:
    def test_are_at_least_twenty_five(self) -> None:
        assert len(mutants()) >= 25

    @pytest.mark.parametrize("patch", mutants(), ids=lambda patch: str(patch.stem))
    def test_still_apply(self, patch: Path, tmp_path: Path) -> None:
        text = patch.read_text(encoding="utf-8")
        name = text.splitlines()[0].removeprefix("--- a/src/bgtasks/")
        target = tmp_path / name
        target.parent.mkdir(parents=True)
        target.write_text((PACKAGE / name).read_text(encoding="utf-8"), encoding="utf-8")
        apply(patch, tmp_path)
        compile(target.read_text(encoding="utf-8"), name, "exec")


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_hundred_and_fifty_hours_break_no_invariant(capsys: pytest.CaptureFixture[str]) -> None:
    line = simulate("--hours", "150", "--seed", "500000", timeout_s=840.0).splitlines()[-1]
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")
    found = re.search(r"\(([\d.]+)/h\), \d+ faults of (\d+) kinds \(([\d.]+)/h\), 0 violations", line)
    assert found is not None, line
    assert float(found[1]) >= 5
    assert int(found[2]) >= 20
    assert float(found[3]) >= 30


@pytest.mark.full
@pytest.mark.timeout(900)
def test_every_mutant_is_found_and_the_control_run_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "tests.simulation.mutate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=840, check=False)
    with capsys.disabled():
        sys.stdout.write(f"\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
