"""The plugin for pytest, as pytest finds it: in a process of its own, beside the plugins for asyncio."""

from __future__ import annotations

import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from tests.support.processes import run_python

from bgtasks.testing import plugin

TESTS = """
    import asyncio
    import unittest

    from bgtasks.testing import virtual_time


    @virtual_time
    async def test_a_clock(virtual_clock):
        await virtual_clock.advance("30d")
        assert virtual_clock.monotonic() == 30 * 86_400


    @virtual_time
    async def test_a_redis(virtual_clock, virtual_redis):
        await virtual_redis.set("key", "value", ex=60)
        await asyncio.sleep(61)
        assert await virtual_redis.get("key") is None


    def test_random_numbers(seeded_random):
        assert seeded_random.randrange(10**9) == 48014720


    def test_the_same_random_numbers(seeded_random):
        assert seeded_random.randrange(10**9) == 48014720


    class TestOfUnittest(unittest.TestCase):
        @virtual_time
        async def test_a_clock(self, virtual_clock):
            await virtual_clock.advance("30d")
"""


def run_pytest(directory: Path, tests: str, *options: str) -> str:
    (directory / "test_it.py").write_text(textwrap.dedent(tests), "utf-8")
    (directory / "pytest.ini").write_text("[pytest]\n", "utf-8")  # it looks no further
    done = run_python("-m", "pytest", "-p", "no:cacheprovider", *options, cwd=directory)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("-o", "asyncio_mode=auto"),
        pytest.param(("-o", "asyncio_mode=strict", "-p", "no:randomly"), marks=pytest.mark.full),
        ("-p", "no:asyncio", "-p", "no:anyio"),
    ],
    ids=" ".join,
)
def test_its_fixtures_are_there_with_and_without_a_plugin_for_asyncio(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    assert "5 passed" in run_pytest(tmp_path, TESTS, *options)


def test_unittest_runs_such_a_test_without_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(textwrap.dedent(TESTS), "utf-8")

    done = run_python("-W", "error", "-m", "unittest", "test_it", cwd=tmp_path)

    assert done.stderr.splitlines()[-1] == "OK"


@pytest.mark.full
def test_async_tests_of_others_run_as_before(tmp_path: Path) -> None:
    tests = """
    import asyncio
    import pytest
    from bgtasks.testing import VirtualLoop, virtual_time

    async def test_by_pytest_asyncio():
        assert not isinstance(asyncio.get_running_loop(), VirtualLoop)

    @virtual_time
    async def test_by_us():
        assert isinstance(asyncio.get_running_loop(), VirtualLoop)
    """

    assert "2 passed" in run_pytest(tmp_path, tests, "-o", "asyncio_mode=auto")
    marked = tests.replace("async def test_by_p", "@pytest.mark.anyio\n    async def test_by_p").replace(
        "import pytest\n", "import pytest\n    anyio_backend = pytest.fixture(lambda: 'asyncio')\n"
    )
    assert "2 passed" in run_pytest(tmp_path, marked, "-p", "no:asyncio")


@pytest.mark.full
def test_a_failure_shows_the_seed_and_the_clock(tmp_path: Path) -> None:
    tests = """
    def test_chance(seeded_random, virtual_clock):
        assert seeded_random.random() > 1
    """

    said = run_pytest(tmp_path, tests)

    assert "seeded_random = <Random of seed 20260101>" in said
    assert "virtual_clock = <VirtualClock 2026-01-01T00:00:00+00:00, 0 s>" in said


@pytest.mark.full
def test_it_can_be_left_out(tmp_path: Path) -> None:
    said = run_pytest(tmp_path, "def test_a_clock(virtual_clock): ...", "-p", "no:bgtasks")

    assert "fixture 'virtual_clock' not found" in said


@pytest.mark.full
def test_loading_it_loads_no_fakeredis(tmp_path: Path) -> None:
    tests = """
    import sys

    def test_nothing_is_loaded():
        assert "bgtasks.testing.plugin" in sys.modules
        assert not {"fakeredis", "redis", "lupa", "structlog", "pydantic"} & set(sys.modules)
    """

    assert "1 passed" in run_pytest(tmp_path, tests)


def test_it_is_declared_and_has_no_hooks() -> None:
    [declared] = [each for each in entry_points(group="pytest11") if each.name == "bgtasks"]

    assert declared.value == "bgtasks.testing.plugin"
    assert [name for name in vars(plugin) if name.startswith("pytest_")] == []
    assert plugin.__all__ == ["seeded_random", "virtual_clock", "virtual_redis"]
