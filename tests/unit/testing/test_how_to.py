"""The tests that the page "Test your own tasks" shows pass where a reader would put them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.pages import blocks
from tests.support.processes import run_python


@pytest.mark.full
def test_what_the_page_shows_passes_under_pytest(tmp_path: Path) -> None:
    shown = [block for block in blocks("python") if block.page.name == "test-your-own-tasks.md"]
    for block in shown:
        (tmp_path / f"test_line_{block.line}.py").write_text(block.code, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")

    done = run_python("-W", "error::RuntimeWarning", "-m", "pytest", "-q", "--durations=5", cwd=tmp_path)

    tests = sum(block.code.count("async def test_") for block in shown)
    assert tests >= 7
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr
