"""What the documentation points to is there: files, headings, names, commands and settings."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from tests.docs.pages import ROOT, blocks, pages, prose

from bgtasks.cli.app import app
from bgtasks.settings import Settings

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_NAME = re.compile(r"`(?:await )?(bgtasks(?:\.\w+)+)")
_SETTING = re.compile(r"\bBGTASKS_[A-Z_]+\b")

each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        assert there.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}"


@each_page
def test_every_name_of_ours_exists(page: Path) -> None:
    for dotted in _NAME.findall(page.read_text("utf-8")):
        assert exists(dotted), f"{page.name} names {dotted}"


def exists(dotted: str) -> bool:
    """Whether it is a module, an attribute of one, or an entry-point group that we declare."""
    if dotted == "bgtasks.tasks":
        return True
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            held: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            held = getattr(held, name, None)
        return held is not None
    return False


@each_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {f"BGTASKS_{name.upper()}" for name in Settings.model_fields}
    named = {name for name in _SETTING.findall(page.read_text("utf-8")) if not name.endswith("_")}
    assert named <= known


def commands() -> list[tuple[str, str]]:
    """Every command line that a console block shows, with where it is shown."""
    found = []
    for block in blocks("console"):
        for line in block.code.splitlines():
            if line.startswith("$ "):
                found.append((block.name, line.removeprefix("$ ").partition("  #")[0].strip()))
    return found


@pytest.mark.parametrize(("where", "line"), commands())
def test_every_command_that_is_shown_exists(where: str, line: str) -> None:
    first, *words = line.split()
    match first:
        case "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words) <= set(targets), where
        case "bgtasks":
            group: Any = typer.main.get_command(app)
            for word in words:
                if not hasattr(group, "commands") or word.startswith("-"):
                    break
                assert word in group.commands, where
                group = group.commands[word]
            options = {name for parameter in group.params for name in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options, where
        case "pip":
            extras = set(re.findall(r"\[([\w,]+)\]", line))
            declared = (ROOT / "pyproject.toml").read_text("utf-8")
            for extra in ",".join(extras).split(",") if extras else ():
                assert re.search(rf"^{extra} = \[", declared, re.MULTILINE), where
        case _:
            assert first in {"export", "python", "docker", "redis-cli", "psql", "sqlite3"}, where
