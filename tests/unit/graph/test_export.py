"""`export_to` any graph: nothing is left beside the file, whenever it is cancelled or who else writes."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from bgtasks.graph.export import export_to
from bgtasks.testing import ScriptedGraph


async def test_two_exports_to_one_path_at_once_both_end_well(tmp_path: Path) -> None:
    path = tmp_path / "graph.json"

    assert await asyncio.gather(*(export_to(ScriptedGraph(), path) for _ in range(5))) == [path] * 5

    assert json.loads(path.read_text())["end"] is True
    assert [each.name for each in tmp_path.iterdir()] == ["graph.json"]


async def test_cancelled_while_the_file_is_opened_it_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release, opened = threading.Event(), threading.Event(), threading.Event()
    plain = Path.open

    def slow(self: Path, *args: Any, **options: Any) -> Any:
        entered.set()
        release.wait(30)
        try:
            return plain(self, *args, **options)
        finally:
            opened.set()

    monkeypatch.setattr(Path, "open", slow)
    exporting = asyncio.create_task(export_to(ScriptedGraph(), tmp_path / "graph.json"))
    await asyncio.to_thread(entered.wait, 30)
    exporting.cancel()
    asyncio.get_running_loop().call_later(0, release.set)

    with pytest.raises(asyncio.CancelledError):
        await exporting

    await asyncio.to_thread(opened.wait, 30)
    assert list(tmp_path.iterdir()) == []


async def test_a_directory_that_does_not_exist_is_an_error_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await export_to(ScriptedGraph(), tmp_path / "nowhere" / "graph.json")
