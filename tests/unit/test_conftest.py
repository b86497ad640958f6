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
        knot = [asyncio.create_task(fail())]  # only the collector undoes it
        knot.append(knot)
        await asyncio.wait(knot[:1])

    asyncio.run(main())


def test_that_never_awaits_a_coroutine():
    asyncio.sleep(0)
"""


FORGETS_WHEN_ITS_MODULE_ENDS = """
import asyncio

import pytest


@pytest.fixture(scope="module")
def ends_badly():
    yield

    async def fail():
        raise ValueError("nobody asks")

    async def main():
        knot = [asyncio.create_task(fail())]  # only the collector undoes it
        knot.append(knot)
        await asyncio.wait(knot[:1])

    asyncio.run(main())


def test_that_is_not_to_blame(ends_badly):
    pass
"""

LEAVES_WHEN_ITS_MODULE_ENDS = """
import asyncio

import pytest


@pytest.fixture(scope="module")
def ends_badly():
    yield
    loop = asyncio.new_event_loop()
    global kept
    kept = loop, loop.create_task(asyncio.sleep(9), name="bgtasks:left:2")
    loop.run_until_complete(asyncio.sleep(0))


def test_that_follows_a_complaint(ends_badly):
    pass
"""

COMES_AFTER = """
def test_that_follows_a_leak():
    pass


def test_that_comes_later():
    pass
"""


def run_pytest(directory: Path, *modules: str) -> str:
    """What pytest says of tests that have our conftest and settings."""
    for number, text in enumerate(modules):
        (directory / f"test_{number}.py").write_text(text)
    shutil.copy(ROOT / "tests" / "conftest.py", directory)
    shutil.copy(ROOT / "pyproject.toml", directory)
    return run_python(
        "-m", "pytest", ".", "-p", "no:randomly", "-p", "no:cacheprovider", cwd=directory
    ).stdout


def test_a_leak_or_a_complaint_of_asyncio_fails_the_test_that_made_it(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, LEAKS)

    assert "1 failed, 3 passed, 2 errors" in said  # a failing fixture is an error, after a test that passed
    assert "ERROR at teardown of test_that_leaves_a_task_of_ours_pending" in said
    assert "asyncio tasks left pending: bgtasks:left:1" in said
    assert "ERROR at teardown of test_that_forgets_an_exception" in said
    assert "asyncio complained: Task exception was never retrieved" in said
    assert "FAILED test_0.py::test_that_never_awaits_a_coroutine" in said


def test_what_a_module_leaves_when_it_ends_fails_the_next_test(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, FORGETS_WHEN_ITS_MODULE_ENDS, LEAVES_WHEN_ITS_MODULE_ENDS, COMES_AFTER)

    assert "4 passed, 2 errors" in said
    assert "ERROR at teardown of test_that_follows_a_complaint" in said
    assert "asyncio complained: Task exception was never retrieved" in said
    assert "ERROR at teardown of test_that_follows_a_leak" in said
    assert "asyncio tasks left pending: bgtasks:left:2" in said
