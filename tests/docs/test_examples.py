"""What the documentation shows runs as it is shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, Block, blocks
from tests.support.command_line import environment

from bgtasks.memory.jsonl import BadLine, read_lines

TIMEOUT_S = 50
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run_program(program: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run it by itself in an empty directory; warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def the_first_program() -> Block:
    """The program that the README begins with: it is held to what it prints."""
    return next(block for block in blocks("python") if block.page == ROOT / "README.md")


@pytest.mark.parametrize(
    "block", [each for each in blocks("python") if each != the_first_program()], ids=lambda block: block.name
)
def test_a_block_of_python_runs_by_itself(block: Block, tmp_path: Path) -> None:
    program = tmp_path / "block.py"
    program.write_text("\n" * (block.line - 1) + block.code, "utf-8")  # so that a traceback names the line
    done = run_program(program, tmp_path)
    assert done.returncode == 0, f"{block.name}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "never awaited" not in done.stderr


def test_the_readme_s_first_program_prints_what_the_readme_says(tmp_path: Path) -> None:
    program = tmp_path / "first.py"
    program.write_text(the_first_program().code)
    claimed = next(block.code for block in blocks("text") if block.page == ROOT / "README.md").splitlines()
    pattern = "".join(r"(?:.+\n)*?" if line == "…" else re.escape(line) + r"\n" for line in claimed)
    done = run_program(program, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(pattern, done.stdout), done.stdout


@pytest.mark.real
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_and_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    done = run_program(example, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    intro = example.read_text("utf-8").split('"""')[1]
    promised = re.search(r"^It should print:(.*?)\n\n", intro, re.MULTILINE | re.DOTALL)
    assert promised, f'{example.name} does not say "It should print:"'
    quoted = re.findall(r'"([^"]+)"', promised[1])
    assert quoted
    for line in quoted:
        assert line in done.stdout


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.name)
def test_a_block_of_json_is_what_ingest_takes(block: Block) -> None:
    for line in block.code.splitlines():
        json.loads(line)
    taken = list(read_lines(block.code.encode().splitlines()))
    assert taken
    assert not any(isinstance(each, BadLine) for each in taken)
