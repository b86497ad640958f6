"""Real schedulers that share one store keep what is promised of claims, under drawn faults."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simulation.claims.faults import FAULTS
from tests.simulation.claims.runner import Outcome, Total
from tests.simulation.mutate import ROOT


def simulate(*arguments: str, hash_seed: str = "0", timeout_s: float = 55.0) -> str:
    """The last line of the command, which must find nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.claims", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1]


class TestAFewMinutes:
    @pytest.mark.parametrize("store", ["memory", "redis"])
    def test_break_no_invariant(self, store: str) -> None:
        line = simulate("--hours", "0.03", "--span", "0.03", "--seed", "1000", "--store", store)
        assert ", 0 violations" in line

    def test_meet_many_kinds_of_faults(self) -> None:
        assert len(FAULTS) >= 30


class TestASeed:
    @pytest.mark.full
    @pytest.mark.parametrize("store", ["memory", "redis"])
    def test_gives_one_history_whatever_the_hash_seed(self, tmp_path: Path, store: str) -> None:
        digests = []
        for hash_seed in ("1", "2"):
            kept = tmp_path / hash_seed
            options = ("--hours", "0.02", "--seed", "7", "--store", store, "--resume", f"{kept}")
            simulate(*options, hash_seed=hash_seed)
            digests.append(json.loads(kept.read_text(encoding="utf-8"))["digest"])
        assert digests[0] == digests[1]

    def test_that_failed_says_how_to_see_it_again(self) -> None:
        outcome = Outcome(5, 0.25, "redis", 3, 0, 0, 0, 0, 0, 0, 0, 0, {}, {}, ["C1"], "", 0.0)
        total = Total()
        total.add(outcome)
        assert outcome.reproduce == "make simulate-claims SEED=5 HOURS=0.25"
        assert total.line().endswith("1 violations in 1 seeds")


@pytest.mark.full
@pytest.mark.timeout(900)
class TestManyHours:
    def test_break_no_invariant(self, capsys: pytest.CaptureFixture[str]) -> None:
        line = simulate("--hours", "20", "--seed", "500000", timeout_s=840.0)
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")
        found = re.search(
            r"(\d+) lost, (\d+) completions refused, .* faults of (\d+) kinds, 0 violations", line
        )
        assert found is not None, line
        assert int(found[1]) > 100
        assert int(found[2]) > 10
        assert int(found[3]) >= 30

    def test_recover_when_the_store_forgets_or_leaps(self, capsys: pytest.CaptureFixture[str]) -> None:
        line = simulate("--hours", "5", "--seed", "600000", "--loses", timeout_s=840.0)
        with capsys.disabled():
            sys.stdout.write(f"\n{line}\n")
