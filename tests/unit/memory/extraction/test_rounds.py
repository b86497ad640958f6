"""Several channels in rounds: each gets its turn, and what a model cannot answer stops nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.unit.memory.extraction.stand_ins import Stand, said, stand

from bgtasks.errors import BadAnswer, BgTasksError, OverBudget, ResourceUnavailable, UnsuitableServer
from bgtasks.memory.extraction import Applied, Progress
from bgtasks.memory.extraction.batch import MESSAGES, Batch
from bgtasks.memory.extraction.lease import BLAMES, Plan, channel_lease
from bgtasks.memory.extraction.rounds import BATCHES, GONE, HELLO, STOP, read_channels

SPOILT = "spoilt"
ANY = "*"
AWAY = ResourceUnavailable("openrouter", "it answered 500, 4 times")
REFUSED = UnsuitableServer("openrouter: the API key was refused")

HALVINGS = 6
"""Of forty messages until one is left, at most: 40, 20, 10, 5, 3, 2, 1."""

RUNS = BLAMES + HALVINGS
"""How often a run may fail because of one message, until it is set aside by the next."""


@pytest.fixture
async def engine() -> AsyncIterator[Stand]:
    async with stand() as made:
        yield made


async def speak(engine: Stand, channel: str, *numbers: int, spoilt: int | None = None) -> None:
    texts = {number: SPOILT if number == spoilt else "Hello." for number in numbers}
    await engine.cache.ingest(channel, [said(each, texts[each], channel=channel) for each in numbers])


def failing(error: Exception, *channels: str) -> Callable[[Batch], Awaitable[None]]:
    """A model that fails at what is spoilt, or at all of these channels; at everything if that is `ANY`."""

    async def fail(batch: Batch) -> None:
        if (
            batch.channel in channels
            or ANY in channels
            or any(each.text == SPOILT for each in batch.messages)
        ):
            raise error

    return fail


async def plan_of(engine: Stand, channel: str) -> Plan:
    async with channel_lease(engine.redis, "test", channel) as lease:
        assert lease is not None
        return await lease.plan()


def asked(engine: Stand) -> list[str]:
    return [batch.channel for batch in engine.reader.batches]


async def read(engine: Stand, *channels: str, **more: Any) -> Progress:
    return await read_channels(engine.extractor, channels, **more)


class TestTurns:
    async def test_a_long_backlog_lets_the_next_have_its_turn_after_five_batches(self, engine: Stand) -> None:
        await speak(engine, "lab", *range(4_000))
        await speak(engine, "pub", 5_000)

        total = await read(engine, "lab", "pub", rounds=2)

        assert asked(engine) == ["lab"] * BATCHES + ["pub"] + ["lab"] * BATCHES
        assert total.messages == MESSAGES * BATCHES * 2 + 1

    async def test_all_is_read_once_in_as_many_rounds_as_it_takes(self, engine: Stand) -> None:
        await speak(engine, "lab", *range(500))
        await speak(engine, "pub", *range(600, 820))

        total = await read(engine, "lab", "pub")

        assert asked(engine) == [*["lab"] * 5, *["pub"] * 5, *["lab"] * 5, "pub", *["lab"] * 3]
        assert total.messages == 720
        assert len(engine.graph.sources) == len(set(engine.graph.sources)) == 720

    async def test_so_many_rounds_are_read_as_is_said(self, engine: Stand) -> None:
        await speak(engine, "lab", *range(MESSAGES * BATCHES * 2))
        await speak(engine, "pub", 5_000)
        ended: dict[str, Progress] = {}

        first = await read(engine, "lab", "pub", rounds=1, done=ended.__setitem__)

        assert first.messages == MESSAGES * BATCHES + 1
        assert list(ended) == ["pub"]

    async def test_each_channel_is_told_once_with_all_that_came_of_it(self, engine: Stand) -> None:
        await speak(engine, "lab", *range(MESSAGES * BATCHES + 1))
        await speak(engine, "pub", 5_000)
        await speak(engine, "bar", 6_000)
        await engine.redis.set("test:chan:bar:lease", "another's", px=30_000)
        ended: list[tuple[str, int, int]] = []

        def done(channel: str, came: Progress) -> None:
            ended.append((channel, came.messages, came.busy))

        await read(engine, "lab", "pub", "bar", "nowhere", done=done)

        assert ended == [("pub", 1, 0), ("bar", 0, 1), ("nowhere", 0, 0), ("lab", 201, 0)]

    async def test_what_comes_while_the_model_is_asked_is_for_the_next_time(self, engine: Stand) -> None:
        async def answer(batch: Batch) -> None:
            await speak(engine, batch.channel, 1_000 + len(engine.reader.batches))

        engine.reader.before = answer
        await speak(engine, "lab", 1)

        assert (await read(engine, "lab")).messages == 1
        assert (await read(engine, "lab")).messages == 1

        assert engine.reader.reads == [["m1"], ["m1001"]]

    async def test_no_channels_are_nothing(self, engine: Stand) -> None:
        assert await read(engine) == Progress()


class TestOverBudget:
    async def test_no_more_is_read_but_every_channel_was_woven(self, engine: Stand) -> None:
        engine.reader.before = failing(OverBudget("no more today"), "lab", "pub", "bar")
        for channel in ("lab", "pub", "bar"):
            await speak(engine, channel, 1)

        with pytest.raises(OverBudget):
            await read(engine, "lab", "pub", "bar")

        assert asked(engine) == ["lab"]
        assert set(engine.graph.cursors) == {"structure:lab", "structure:pub", "structure:bar"}

    async def test_what_failed_before_is_blamed_all_the_same(self, engine: Stand) -> None:
        async def fail(batch: Batch) -> None:
            if batch.channel == "lab":
                raise AWAY
            if len(engine.reader.batches) == 3:
                raise OverBudget("no more today")

        engine.reader.before = fail
        for channel in ("lab", "pub", "bar"):
            await speak(engine, channel, 1)

        with pytest.raises(OverBudget):
            await read(engine, "lab", "pub", "bar")

        assert (await plan_of(engine, "lab")).blamed == 1


class TestWhatAModelFailsAt:
    @pytest.mark.parametrize("error", [AWAY, REFUSED], ids=["outage", "refusal"])
    @pytest.mark.parametrize("place", [0, 19, 20, 37, 39])
    async def test_is_found_within_so_many_runs_and_set_aside_and_all_else_is_read(
        self, engine: Stand, error: BgTasksError, place: int
    ) -> None:
        engine.reader.before = failing(error)
        await speak(engine, "lab", *range(90), spoilt=place)
        failed = 0
        while not await engine.letters.count():
            number = 1_000 + failed
            await speak(engine, "pub", number)
            try:
                await read(engine, "lab", "pub")
            except type(error):
                failed += 1
            assert f"m{number}" in engine.graph.sources  # others are read every time
            assert failed <= RUNS
        [letter] = await engine.letters.list()

        assert (letter.channel, letter.message_id) == ("lab", f"m{place}")
        assert letter.why == "the model did not answer it, again and again, though it answered others"
        rest = {f"m{number}" for number in range(90) if number != place}
        assert rest <= set(engine.graph.sources)
        assert len(engine.graph.sources) == len(set(engine.graph.sources))
        assert await read(engine, "lab") == Progress()

    @pytest.mark.parametrize("error", [AWAY, REFUSED], ids=["outage", "refusal"])
    async def test_if_it_is_all_the_run_ends_after_the_second_channel_and_nobody_is_blamed(
        self, engine: Stand, error: BgTasksError
    ) -> None:
        channels = [f"lab {number}" for number in range(9)]
        engine.reader.before = failing(error, ANY)
        for channel in channels:
            await speak(engine, channel, 1)

        for run in range(1, 6):
            with pytest.raises(type(error)):
                await read(engine, *channels)
            assert len(engine.reader.batches) == (STOP + 1) * run
            assert engine.reader.batches[-1].channel == HELLO

        assert {(await plan_of(engine, channel)).blamed for channel in channels} == {0}
        assert await engine.letters.count() == 0

    @pytest.mark.parametrize(
        "error",
        [AWAY, REFUSED, OverBudget("no more today")],
        ids=lambda each: type(each).__name__,
    )
    async def test_the_only_channel_is_not_blamed_if_a_plain_question_gets_no_answer(
        self, engine: Stand, error: BgTasksError
    ) -> None:
        async def fail(batch: Batch) -> None:
            raise error if batch.channel == HELLO else AWAY

        engine.reader.before = fail
        await speak(engine, "lab", 1)

        with pytest.raises(ResourceUnavailable):
            await read(engine, "lab", "nowhere")

        assert (await plan_of(engine, "lab")).blamed == 0

    async def test_is_found_in_the_only_channel_too(self, engine: Stand) -> None:
        engine.reader.before = failing(AWAY)
        await speak(engine, "lab", *range(40), spoilt=17)
        failed = 0
        while not await engine.letters.count():
            with suppress(ResourceUnavailable):
                await read(engine, "lab")
                break
            failed += 1
            assert failed <= RUNS

        await read(engine, "lab")

        assert await engine.dead() == {"m17"}
        assert len(engine.graph.sources) == len(set(engine.graph.sources)) == 39

    async def test_whatever_is_said_to_a_plain_question_is_an_answer(self, engine: Stand) -> None:
        async def fail(batch: Batch) -> None:
            raise BadAnswer("no") if batch.channel == HELLO else AWAY

        engine.reader.before = fail
        await speak(engine, "lab", 1)

        with pytest.raises(ResourceUnavailable):
            await read(engine, "lab")

        assert (await plan_of(engine, "lab")).blamed == 1

    async def test_a_plain_question_is_a_new_one_each_time(self, engine: Stand) -> None:
        engine.reader.before = failing(AWAY, ANY)
        await speak(engine, "lab", 1)

        for _ in range(2):
            with pytest.raises(ResourceUnavailable):
                await read(engine, "lab")

        asked = [batch.messages[0].text for batch in engine.reader.batches if batch.channel == HELLO]
        assert len(set(asked)) == 2

    async def test_is_not_blamed_if_the_model_went_away_with_little_left(self, engine: Stand) -> None:
        async def fail(_: Batch) -> None:
            if len(engine.reader.batches) > 1:
                raise AWAY

        engine.reader.before = fail
        for channel in ("lab", "pub", "bar"):
            await speak(engine, channel, 1)

        with pytest.raises(ResourceUnavailable):
            await read(engine, "lab", "pub", "bar")

        assert len(engine.graph.sources) == 1
        assert {(await plan_of(engine, channel)).blamed for channel in ("lab", "pub", "bar")} == {0}

    @pytest.mark.parametrize(
        "error", [UnsuitableServer("cut off"), ResourceUnavailable("kg_manager", "gone")]
    )
    async def test_is_not_the_model_s_if_the_graph_raised_it(
        self, engine: Stand, error: BgTasksError, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        query = engine.graph.query

        async def cut_off(cypher: str, params: Any = None) -> Any:
            if (params or {}).get("cursor") == "knowledge:lab" and "MERGE (c:Cursor" in cypher:
                raise error
            return await query(cypher, params)

        monkeypatch.setattr(engine.graph, "query", cut_off)
        await speak(engine, "lab", 1)
        await speak(engine, "pub", 2)

        with pytest.raises(type(error)):
            await read(engine, "lab", "pub")

        assert asked(engine) == ["lab"]
        assert (await plan_of(engine, "lab")).blamed == 0

    async def test_is_blamed_in_all_channels_at_once(self, engine: Stand) -> None:
        channels = [f"lab {number}" for number in range(STOP)]
        engine.reader.before = failing(AWAY, *channels)
        for channel in channels:
            await speak(engine, channel, 1)

        with pytest.raises(ResourceUnavailable):
            await read(engine, *channels)

        assert {(await plan_of(engine, channel)).blamed for channel in channels} == {1}

    async def test_an_answer_earlier_in_the_same_channel_counts(self, engine: Stand) -> None:
        engine.reader.before = failing(AWAY)
        await speak(engine, "lab", *range(60), spoilt=50)

        with pytest.raises(ResourceUnavailable):
            await read(engine, "lab")

        assert len(engine.graph.sources) == MESSAGES
        assert (await plan_of(engine, "lab")).blamed == 1

    async def test_what_is_set_aside_is_no_answer(self, engine: Stand) -> None:
        async def fail(batch: Batch) -> None:
            raise BadAnswer("no") if batch.channel == "pub" else AWAY

        engine.reader.before = fail
        await speak(engine, "lab", 1)
        await speak(engine, "pub", 2)

        with pytest.raises(ResourceUnavailable):
            await read(engine, "pub", "lab")

        assert await engine.dead() == {"m2"}
        assert (await plan_of(engine, "lab")).blamed == 0

    async def test_a_model_that_goes_away_is_not_asked_for_every_channel_and_nobody_is_blamed(
        self, engine: Stand
    ) -> None:
        async def fail(_: Batch) -> None:
            if len(engine.reader.batches) > 2:
                raise AWAY

        channels = [f"lab {number}" for number in range(20)]
        engine.reader.before = fail
        for channel in channels:
            await speak(engine, channel, 1)

        with pytest.raises(ResourceUnavailable):
            await read(engine, *channels)

        assert len(engine.reader.batches) == 2 + GONE + 1
        assert {(await plan_of(engine, channel)).blamed for channel in channels} == {0}

    async def test_one_that_gives_nothing_usable_blames_nobody(self, engine: Stand) -> None:
        engine.reader.before = failing(BadAnswer("no"), "lab")
        await speak(engine, "lab", *range(10))
        await speak(engine, "pub", 20)

        with pytest.raises(BadAnswer, match="in a row"):
            await read(engine, "lab", "pub")

        assert HELLO not in asked(engine)
        assert "m20" in engine.graph.sources
        assert (await plan_of(engine, "lab")).blamed == 0

    async def test_two_such_channels_before_all_others_do_not_stop_them_for_ever(self, engine: Stand) -> None:
        others = [f"lab {number}" for number in range(8)]
        engine.reader.before = failing(AWAY)
        for channel in ("spam 1", "spam 2"):
            await speak(engine, channel, 1, spoilt=1)
        for channel in others:
            await speak(engine, channel, 2)

        for _ in range(100):
            with pytest.raises(ResourceUnavailable):
                await read(engine, "spam 1", "spam 2", *others)
            if len(engine.graph.sources) == len(others):
                break

        assert engine.graph.sources == ["m2"] * len(others)

    @pytest.mark.parametrize(
        "error", [ResourceUnavailable("redis", "gone"), ResourceUnavailable("kg_manager", "gone")]
    )
    async def test_another_server_that_is_away_ends_it_at_once(
        self, engine: Stand, error: ResourceUnavailable
    ) -> None:
        engine.reader.before = failing(error, "lab")
        await speak(engine, "lab", 1)
        await speak(engine, "pub", 2)

        with pytest.raises(ResourceUnavailable, match=error.resource):
            await read(engine, "lab", "pub")

        assert asked(engine) == ["lab"]

    async def test_a_channel_is_not_asked_for_again_in_the_same_run(self, engine: Stand) -> None:
        engine.reader.before = failing(AWAY)
        await speak(engine, "lab", 1, spoilt=1)
        await speak(engine, "pub", *range(10, 10 + MESSAGES * BATCHES * 2))

        with pytest.raises(ResourceUnavailable):
            await read(engine, "lab", "pub")

        assert asked(engine).count("lab") == 1
        assert (await plan_of(engine, "lab")).blamed == 1

    async def test_an_answer_after_all_forgets_the_blame(self, engine: Stand) -> None:
        engine.reader.before = failing(AWAY, "lab")
        await speak(engine, "lab", 1)
        await speak(engine, "pub", 2)
        with pytest.raises(ResourceUnavailable):
            await read(engine, "lab", "pub")
        engine.reader.before = None
        await read(engine, "lab")
        await speak(engine, "lab", 3)
        engine.reader.before = failing(AWAY, "lab")
        await speak(engine, "pub", 4)

        with pytest.raises(ResourceUnavailable):
            await read(engine, "lab", "pub")

        assert (await plan_of(engine, "lab")).blamed == 1


class TestAWatch:
    async def test_is_told_of_each_step_in_every_channel(self, engine: Stand) -> None:
        steps: list[tuple[str, str]] = []

        async def watch(step: Batch | Applied) -> None:
            batch = step.batch if isinstance(step, Applied) else step
            steps.append((type(step).__name__, batch.channel))

        await speak(engine, "lab", 1)
        await speak(engine, "pub", 2)

        await read(engine, "lab", "pub", watch=watch)

        assert steps == [("Batch", "lab"), ("Applied", "lab"), ("Batch", "pub"), ("Applied", "pub")]
