"""A module imports its own floor and the floors below it, never above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bgtasks

PACKAGE = Path(bgtasks.__file__).parent

FLOORS = {
    "errors": 0,
    "outcomes": 0,
    "events": 0,
    "clock": 0,
    "backoff": 0,
    "triggers": 0,
    "policies": 0,
    "stacks": 0,
    "spec": 0,
    "contracts": 0,
    "records": 0,
    "trigger_text": 0,
    "registry": 1,
    "decorators": 1,
    "roll": 1,
    "node_state": 1,
    "nodes": 2,
    "wiring": 1,
    "run": 1,
    "runner": 1,
    "deadlines": 1,
    "agenda": 1,
    "job": 1,
    "slots": 1,
    "outages": 1,
    "pauses": 1,
    "timeline": 1,
    "dispatcher": 1,
    "stall": 1,
    "lifecycle": 1,
    "health": 1,
    "scheduler": 1,
    "build": 1,
    "line": 1,
    "lease": 1,
    "claims": 1,
    "supervisor": 1,
    "connect": 2,
    "stores": 2,
    "embedded": 2,
    "telemetry": 3,
    "settings": 3,
    "fencing": 3,
    "graph": 3,
    "llm": 3,
    "memory": 3,
    "prompts": 3,
    "tasks": 3,
    "resources": 4,
    "service": 4,
    "cli": 4,
    "demo": 4,
}

# Where composing is the job. (importing module, imported unit)
ALLOWED = {
    ("lifecycle", "telemetry"),
    ("build", "connect"),
    ("build", "stores"),
    ("supervisor", "telemetry"),
    ("supervisor", "stores"),
    ("supervisor", "fencing"),
}

# What floor 0 may import from outside; everything else there is the standard library.
FLOOR_0_LIBRARIES = {"cronsim"}
TYPING_ONLY = {("contracts", "redis")}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module imported anywhere in the file, functions and type-checking blocks included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            module = node.module or ""
            if module == "bgtasks":
                for alias in node.names:
                    yield f"bgtasks.{alias.name}", node.lineno
            else:
                yield module, node.lineno


def unit(module: str) -> str:
    return module.removeprefix("bgtasks.").split(".")[0]


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: str(value).rsplit("/", 1)[-1])
def test_no_module_imports_a_floor_above_its_own(name: str, path: Path) -> None:
    own = unit(name)
    if own in ("", "testing", "__main__"):
        return
    assert own in FLOORS, f"{name} stands on no floor: give it one here"
    for imported, line in imports(path):
        if not imported.startswith("bgtasks."):
            continue
        target = unit(imported)
        if target == "testing":
            assert own == "demo", f"{name}:{line} imports bgtasks.testing; only the demo may"
        elif (own, target) not in ALLOWED:
            assert FLOORS.get(target, 9) <= FLOORS[own], f"{name}:{line} climbs to {imported}"


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: str(value).rsplit("/", 1)[-1])
def test_testing_stands_beside_the_house(name: str, path: Path) -> None:
    if unit(name) == "testing":
        for imported, line in imports(path):
            if imported.startswith("bgtasks.") and unit(imported) != "testing":
                assert FLOORS[unit(imported)] <= 3, f"{name}:{line} imports the face {imported}"


def test_floor_0_is_standard_library_and_cronsim() -> None:
    import sys

    for name, path in modules():
        if FLOORS.get(unit(name)) != 0:
            continue
        for imported, line in imports(path):
            root = imported.split(".")[0]
            if root != "bgtasks" and (unit(name), root) not in TYPING_ONLY:
                known = root in sys.stdlib_module_names or root in FLOOR_0_LIBRARIES
                assert known, f"{name}:{line} imports {imported}"


def test_the_core_knows_no_redis_graph_or_llm() -> None:
    for name, path in modules():
        if FLOORS.get(unit(name)) == 1:
            for imported, line in imports(path):
                assert imported.split(".")[0] not in {"redis", "falkordb", "openai"}, f"{name}:{line}"
