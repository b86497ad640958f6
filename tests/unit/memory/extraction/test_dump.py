"""What a bulk pass worked on, in files."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from tests.unit.memory.extraction.stand_ins import T0, batch_of, fact, found, said

from bgtasks.errors import ConfigurationError
from bgtasks.memory.extraction import Applied
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.dump import Dump
from bgtasks.memory.extraction.learned import Learned, learn

BATCH = batch_of(said(1, "I like tea."), said(2, "So do I.", "Grace"), context=[said(0)])
APPLIED = Applied(BATCH, learn(BATCH, found(fact("Ada", "likes", "tea"), fact("it", "is", "it")), {}))


def records(dump: Dump) -> list[dict[str, Any]]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(dump.path.iterdir())]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class TestARecord:
    async def test_is_called_as_the_instant_in_utc(self, tmp_path: Path) -> None:
        at = datetime(2026, 9, 1, 9, 12, 17, 123456, timezone(timedelta(hours=2)))

        assert Dump(tmp_path, at, keep=3).path == tmp_path / "20260901T071217.123456Z"

    async def test_is_not_there_before_its_first_batch(self, tmp_path: Path) -> None:
        Dump(tmp_path / "a" / "b", T0, keep=3)

        assert names(tmp_path) == []

    async def test_has_a_file_for_each_batch_before_it_is_read(self, tmp_path: Path) -> None:
        dump = Dump(tmp_path / "a" / "b", T0, keep=3)

        await dump.batch(BATCH)
        await dump.batch(batch_of(said(3)))

        assert names(dump.path) == ["0001-allotment.json", "0002-allotment.json"]
        first, second = records(dump)
        assert [each["text"] for each in first["messages"]] == ["I like tea.", "So do I."]
        assert first["context"] == [
            {"id": "m0", "author": "Ada", "ts": "2026-09-01T07:00:00+00:00", "text": "Hello."}
        ]
        assert (first["channel"], first["upto"]) == ("allotment", "1002-0")
        assert "facts" not in first
        assert len(second["messages"]) == 1

    async def test_has_what_was_learned_once_that_is_applied(self, tmp_path: Path) -> None:
        dump = Dump(tmp_path, T0, keep=3)

        await dump.batch(BATCH)
        await dump.applied(APPLIED)

        [record] = records(dump)
        assert [each["name"] for each in record["entities"]] == ["Ada", "tea"]
        [edge] = record["facts"]
        assert (edge["s"], edge["p"], edge["o"], edge["src"]) == (
            "person:ada", "likes", "other:tea", ["allotment/m1"]
        )  # fmt: skip
        assert (record["dead"], record["dropped"]) == (False, 1)

    async def test_has_nothing_of_what_was_not_read(self, tmp_path: Path) -> None:
        dump = Dump(tmp_path, T0, keep=3)

        await dump.applied(Applied(Batch("allotment", "9-0", ()), Learned()))

        assert names(tmp_path) == []

    @pytest.mark.parametrize(
        ("channel", "name"),
        [
            ("../../etc/passwd", "0001-.._.._etc_passwd.json"),
            ("a/b:c*d\x00\n", "0001-a_b_c_d_.json"),
            ("\ud83d", "0001-_.json"),
            ("苗圃" * 100, f"0001-{'苗圃' * 30}.json"),
            ("..", "0001-...json"),
        ],
    )
    async def test_any_channel_has_a_file_in_it(self, tmp_path: Path, channel: str, name: str) -> None:
        dump = Dump(tmp_path, T0, keep=3)

        await dump.batch(Batch(channel, "1-0", (said(1, "a\ud83d\x00b", channel=channel),)))

        assert names(dump.path) == [name]
        [record] = records(dump)
        assert record["messages"][0]["text"] == "a?\x00b"


class TestRetention:
    async def passes(self, directory: Path, count: int, keep: int) -> list[Dump]:
        made = [Dump(directory, T0 + timedelta(hours=4 * number), keep=keep) for number in range(count)]
        for dump in made:
            await dump.batch(BATCH)
        return made

    async def test_the_latest_are_kept(self, tmp_path: Path) -> None:
        made = await self.passes(tmp_path, 5, keep=3)

        assert names(tmp_path) == [dump.path.name for dump in made[2:]]

    @pytest.mark.parametrize("keep", [1, 0, -5])
    async def test_its_own_is_kept_at_any_rate(self, tmp_path: Path, keep: int) -> None:
        *_, last = await self.passes(tmp_path, 3, keep=keep)
        await last.applied(APPLIED)

        assert names(tmp_path) == [last.path.name]

    async def test_even_if_the_clock_went_back(self, tmp_path: Path) -> None:
        made = await self.passes(tmp_path, 3, keep=3)
        early = Dump(tmp_path, T0 - timedelta(days=1), keep=3)

        await early.batch(BATCH)
        await early.applied(APPLIED)

        assert names(tmp_path) == [early.path.name, *(dump.path.name for dump in made[1:])]

    async def test_nothing_else_in_there_is_touched(self, tmp_path: Path) -> None:
        for name in ("notes", "20260101", "20260101T000000.000000Z.bak", "x20260101T000000.000000Z"):
            (tmp_path / name).mkdir()
        (tmp_path / "20260101T000000.000000Z").write_text("a file")
        (tmp_path / "README").write_text("mine")
        before = names(tmp_path)

        *_, last = await self.passes(tmp_path, 3, keep=1)

        assert names(tmp_path) == sorted([*before, last.path.name])

    async def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "file").write_text("mine")
        dumps = tmp_path / "dumps"
        dumps.mkdir()
        (dumps / "20260101T000000.000000Z").symlink_to(tmp_path / "outside")

        await self.passes(dumps, 2, keep=1)

        assert (tmp_path / "outside" / "file").read_text() == "mine"


class TestADirectoryThatCannotBeWritten:
    async def test_says_which_and_what_to_set(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(ConfigurationError, match=r"file/dumps cannot be written: .*BGTASKS_KG_BULK_DIR"):
            await Dump(tmp_path / "file" / "dumps", T0, keep=3).batch(BATCH)

    async def test_also_once_it_is_gone(self, tmp_path: Path) -> None:
        dump = Dump(tmp_path, T0, keep=3)
        await dump.batch(BATCH)
        (dump.path / "0001-allotment.json").unlink()
        dump.path.rmdir()

        with pytest.raises(ConfigurationError, match="No such file or directory"):
            await dump.applied(APPLIED)
