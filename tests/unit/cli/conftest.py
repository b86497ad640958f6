"""The command line in this process, on a store in memory that a test has filled."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.task_stores import LONG, a_session

from bgtasks.cli import main, store
from bgtasks.records import JobRow, RunRow
from bgtasks.stores.tasks.memory import MemoryTaskStore


class Said(NamedTuple):
    """What a command said, and its exit code."""

    code: object
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it said to programs."""
        return json.loads(self.out)


class Kept(MemoryTaskStore):
    """A store that is as it is filled."""

    def put(self, *rows: RunRow | JobRow) -> None:
        """Keep rows as they are."""
        for row in rows:
            if isinstance(row, RunRow):
                self._runs.put(row)
            else:
                asyncio.run(self.add(row))

    def node(
        self, name: str, *, wired: tuple[str, ...] = (), known: tuple[str, ...] = (), **state: Any
    ) -> str:
        """Have a node join, which says how it stands; the id of its session."""
        row = a_session(*wired, node_id=name, known=known, snapshot_json=json.dumps(state))
        asyncio.run(self.join(row, LONG))
        return row.id


type Call = Callable[..., Said]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kept:
    """The store that `call` asks."""
    made = Kept()
    monkeypatch.setattr(store, "task_store", lambda *_, **__: made)
    monkeypatch.setenv("BGTASKS_STORE_URL", "sqlite:///never-opened.db")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def call(kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls a command to its end."""

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["bgtasks", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Said(ended.value.code or 0, *capsys.readouterr())

    return run
