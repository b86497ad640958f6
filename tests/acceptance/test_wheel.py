"""The wheel, built from a copy of this tree and installed into an empty environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.command_line import environment

pytestmark = [pytest.mark.full, pytest.mark.real, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
INSTALL_S = 800
"""Where no binary of FalkorDB fits, pip compiles it: three minutes, and more on a busy machine."""
NEEDED = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "src")


@dataclass(frozen=True)
class Place:
    """A virtual environment, and a home for what runs in it."""

    bin: Path
    home: Path

    def run(self, *arguments: str, timeout_s: float = 100) -> subprocess.CompletedProcess[str]:
        held = environment(self.home)
        held.pop("PYTHONPATH", None)  # only what is installed counts
        return subprocess.run(
            [str(self.bin / arguments[0]), *arguments[1:]],
            cwd=self.home,
            env=held,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bgt-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def wheel(scratch: Path) -> Path:
    """The one wheel of a copy of the tree, so that nothing is written into the checkout."""
    copy = scratch / "tree"
    copy.mkdir()
    for name in NEEDED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(scratch / "dist"),
            str(copy),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = (scratch / "dist").glob("*.whl")
    return path


def installed(scratch: Path, name: str, requirement: str) -> Place:
    place = Place(scratch / name / ("Scripts" if os.name == "nt" else "bin"), scratch / f"home-{name}")
    place.home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(scratch / name)], check=True, timeout=300)
    constraints = str(ROOT / "constraints.txt")
    pip = ("python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-c", constraints)
    # pip's own cache holds the compiled FalkorDB; it is in the user's real home.
    cache = subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    ).stdout.strip()
    done = place.run(*pip, *(("--cache-dir", cache) if cache else ()), requirement, timeout_s=INSTALL_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def full(scratch: Path, wheel: Path) -> Place:
    return installed(scratch, "full", f"{wheel}[cli,embedded,memory]")


@pytest.fixture(scope="module")
def bare(scratch: Path, wheel: Path) -> Place:
    return installed(scratch, "bare", str(wheel))


def test_the_wheel_holds_what_it_must_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"bgtasks/py.typed", "bgtasks/demo/conversation.jsonl"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    ours = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "bgtasks").rglob("*.py")}
    packed = {name for name in names if name.endswith(".py")}
    assert packed == ours
    assert {name.split("/")[0] for name in names} == {
        "bgtasks",
        wheel.name.rpartition("-py3")[0] + ".dist-info",
    }


def test_the_installed_command_lists_its_tasks(full: Place) -> None:
    done = full.run("bgtasks", "tasks", "--redis", f"embedded://{full.home}/data")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("scheduled_prompt_tick", "scheduled_prompt_cleanup", "kg_decay_task"):
        assert name in done.stdout


def test_the_installed_demo_runs_to_its_end(full: Place) -> None:
    done = full.run("bgtasks", "demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "in Redis: 378 messages" in done.stdout
    assert "Who talks about whom" in done.stdout


def test_a_bare_install_imports_and_schedules(bare: Place) -> None:
    program = (
        "import asyncio, bgtasks\n"
        "async def main():\n"
        "    async with bgtasks.build_scheduler() as scheduler:\n"
        "        print(len(scheduler.decisions))\n"
        "asyncio.run(main())\n"
    )
    done = bare.run("python", "-W", "error", "-c", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "7\n", "")
    check = bare.run("python", "-m", "pip", "check")
    assert check.returncode == 0, check.stdout


def test_a_bare_install_names_the_extras_it_lacks(bare: Place) -> None:
    called = bare.run("bgtasks", "tasks")
    assert called.returncode == 2
    assert called.stderr == "error: the command line needs the extra \"cli\": pip install 'bgtasks[cli]'\n"
    started = bare.run("python", "-c", "from bgtasks.embedded import EmbeddedServer; EmbeddedServer('data')")
    assert started.returncode == 1
    assert "bgtasks.errors.MissingExtra" in started.stderr
    assert "pip install 'bgtasks[embedded]'" in started.stderr
