"""The bulk pass: the channels that were used last, and its milestones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.memory.extraction.stand_ins import T0, Stand, said, stand

from bgtasks.errors import ConfigurationError, OverBudget, ResourceUnavailable
from bgtasks.memory.extraction import Progress
from bgtasks.memory.extraction.batch import Batch
from bgtasks.memory.extraction.bulk import CHANNELS, bulk
from bgtasks.memory.extraction.dump import Dump


@pytest.fixture
async def engine() -> AsyncIterator[Stand]:
    async with stand() as made:
        yield made


class Pass:
    """One bulk pass, and what it told."""

    def __init__(self, engine: Stand, directory: Path) -> None:
        self.engine = engine
        self.dump = Dump(directory, T0, keep=3)
        self.told: list[tuple[str, dict[str, Any]]] = []

    async def run(self) -> Progress:
        return await bulk(self.engine.extractor, self.engine.cache, self.dump, self.tell)

    async def tell(self, milestone: str, data: Mapping[str, Any]) -> None:
        self.told.append((milestone, dict(data)))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]


async def speak(engine: Stand, channel: str, *numbers: int, text: str = "Hello.") -> None:
    await engine.cache.ingest(channel, [said(number, text, channel=channel) for number in numbers])


class TestMilestones:
    async def test_tell_of_each_channel_and_batch_in_order(self, engine: Stand, tmp_path: Path) -> None:
        await speak(engine, "lab", *range(45))
        await speak(engine, "pub", *range(100, 102))
        run = Pass(engine, tmp_path)

        total = await run.run()

        assert run.told[:3] == [
            ("started", {"channels": ["pub", "lab"]}),
            ("batch", {"channel": "pub", "messages": 2}),
            ("applied", {"channel": "pub", "messages": 2, "entities": 3, "facts": 2, "dead": False}),
        ]
        assert run.names[3:] == ["batch", "applied", "batch", "applied", "channel", "channel", "finished"]
        assert ("channel", {"channel": "pub", **Progress(1, 2, 3, 2).counts}) in run.told
        assert run.told[-1][1] == total.counts
        assert (total.batches, total.messages) == (3, 47)

    async def test_a_batch_is_told_again_for_each_half(self, engine: Stand, tmp_path: Path) -> None:
        engine.reader.poison = {"poison"}
        await speak(engine, "lab", 1)
        await speak(engine, "lab", 2, text="poison")
        run = Pass(engine, tmp_path)

        total = await run.run()

        assert run.names == [
            "started",
            *["batch"] * 2,
            "applied",
            *["batch"] * 2,
            "applied",
            "channel",
            "finished",
        ]
        assert [data["dead"] for name, data in run.told if name == "applied"] == [False, True]
        assert [data["messages"] for name, data in run.told if name == "applied"] == [1, 0]
        assert (total.messages, total.dead) == (1, 1)
        assert len(list(run.dump.path.iterdir())) == 4

    async def test_nothing_new_is_told_as_nothing(self, engine: Stand, tmp_path: Path) -> None:
        await speak(engine, "lab", 1)
        await engine.extractor.extract("lab")
        run = Pass(engine, tmp_path)

        assert await run.run() == Progress()
        assert run.names == ["started", "channel", "finished"]
        assert list(tmp_path.iterdir()) == []

    async def test_what_stops_it_leaves_what_was_applied(self, engine: Stand, tmp_path: Path) -> None:
        async def stop(batch: Batch) -> None:
            if batch.channel == "lab":
                raise OverBudget("no more today")

        await speak(engine, "lab", 1)
        await speak(engine, "pub", 2)
        engine.reader.before = stop
        run = Pass(engine, tmp_path)

        with pytest.raises(OverBudget):
            await run.run()

        assert run.names == ["started", "batch", "applied", "batch", "channel", "over budget"]
        assert run.told[-1][1] == {"reason": "no more today", "messages": 1}
        assert engine.graph.sources == ["m2"]

    async def test_what_fails_at_one_channel_leaves_the_others_read_and_told(
        self, engine: Stand, tmp_path: Path
    ) -> None:
        async def fail(batch: Batch) -> None:
            if batch.channel == "pub":
                raise ResourceUnavailable("openrouter", "it answered 500")

        for number, channel in enumerate(("lab", "bar", "pub")):
            await speak(engine, channel, number)
        engine.reader.before = fail
        run = Pass(engine, tmp_path)

        with pytest.raises(ResourceUnavailable) as error:
            await run.run()

        assert run.names == ["started", "batch", *["batch", "applied"] * 2, "channel", "channel", "failed"]
        assert run.told[-1][1] == {"reason": str(error.value), "messages": 2}
        assert sorted(engine.graph.sources) == ["m0", "m1"]

    async def test_over_budget_who_speaks_where_is_noted_all_the_same(
        self, engine: Stand, tmp_path: Path
    ) -> None:
        async def stop(_: Batch) -> None:
            raise OverBudget("no more today")

        await speak(engine, "lab", 1)
        await speak(engine, "pub", 2)
        engine.reader.before = stop

        with pytest.raises(OverBudget):
            await Pass(engine, tmp_path).run()

        assert set(engine.graph.cursors) == {"structure:lab", "structure:pub"}

    async def test_no_text_of_a_message_is_told(self, engine: Stand, tmp_path: Path) -> None:
        await speak(engine, "lab", 1, text="a secret")
        run = Pass(engine, tmp_path)

        await run.run()

        assert "secret" not in repr(run.told)


class TestChannels:
    async def test_the_ten_that_were_used_last(self, engine: Stand, tmp_path: Path) -> None:
        for number in range(CHANNELS + 2):
            await speak(engine, f"lab {number}", number)
        run = Pass(engine, tmp_path)

        total = await run.run()

        assert run.told[0][1] == {"channels": [f"lab {number}" for number in range(CHANNELS + 1, 1, -1)]}
        assert total.messages == CHANNELS

    async def test_a_long_backlog_is_read_in_turns_and_its_sums_are_told_once(
        self, engine: Stand, tmp_path: Path
    ) -> None:
        await speak(engine, "pub", 5_000)
        await speak(engine, "lab", *range(6_000, 6_240))
        run = Pass(engine, tmp_path)

        await run.run()

        assert [batch.channel for batch in engine.reader.batches] == [*["lab"] * 5, "pub", "lab"]
        sums = {data["channel"]: data["messages"] for name, data in run.told if name == "channel"}
        assert sums == {"pub": 1, "lab": 240}
        assert run.names.count("channel") == 2

    async def test_one_that_another_reads_is_passed_over(self, engine: Stand, tmp_path: Path) -> None:
        await speak(engine, "lab", 1)
        await speak(engine, "pub", 2)
        await engine.redis.set("test:chan:pub:lease", "another's", px=30_000)

        total = await Pass(engine, tmp_path).run()

        assert (total.busy, total.messages) == (1, 1)


class TestADirectoryThatCannotBeWritten:
    async def test_is_found_out_before_anything_is_paid_for(self, engine: Stand, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        await speak(engine, "lab", 1)

        with pytest.raises(ConfigurationError, match="BGTASKS_KG_BULK_DIR"):
            await Pass(engine, tmp_path / "file").run()

        assert engine.reader.reads == []
        assert engine.graph.sources == []
