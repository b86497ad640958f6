"""The leak fixture catches what it is there to catch."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.processes import run_python

ROOT = Path(__file__).parents[2]

LEAKS = """
import asyncio


def test_that_ends_clean():
    asyncio.run(asyncio.sleep(0))


def test_that_leaves_a_task_of_ours_pending():
    loop = asyncio.new_event_loop()
    global kept
    kept = loop, loop.create_task(asyncio.sleep(9), name="bgtasks:left:1")
    loop.run_until_complete(asyncio.sleep(0))


def test_that_forgets_an_exception():
    async def fail():
        raise ValueError("nobody asks")

    async def main():
        task = asyncio.create_task(fail())
        await asyncio.wait([task])

    asyncio.run(main())


def test_that_never_awaits_a_coroutine():
    asyncio.sleep(0)
"""


def test_a_leak_or_a_complaint_of_asyncio_fails_the_test_that_made_it(tmp_path: Path) -> None:
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    ended = run_python(
        "-m", "pytest", "test_leaks.py", "-p", "no:randomly", "-p", "no:cacheprovider", cwd=tmp_path
    )

    said = ended.stdout
    assert "1 failed, 3 passed, 2 errors" in said  # a failing fixture is an error, after a test that passed
    assert "ERROR at teardown of test_that_leaves_a_task_of_ours_pending" in said
    assert "asyncio tasks left pending: bgtasks:left:1" in said
    assert "ERROR at teardown of test_that_forgets_an_exception" in said
    assert "asyncio complained: Task exception was never retrieved" in said
    assert "FAILED test_leaks.py::test_that_never_awaits_a_coroutine" in said
