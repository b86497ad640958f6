"""Vectors of what waits for them: on a real Redis and FalkorDB, made by the stand-in for a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from bgtasks.errors import BadAnswer, ConfigurationError, ResourceUnavailable
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.apply import Node
from bgtasks.graph.vectors import nearest_entities, rebuild_vectors, similar_messages, waiting
from bgtasks.llm import Endpoint, OpenAIChat
from bgtasks.llm.breaker import FAILURES
from bgtasks.llm.calls import ATTEMPTS
from bgtasks.memory.embedding import PROBE, Embeddings
from bgtasks.memory.embedding_queue import EmbeddingQueue
from bgtasks.memory.messages import Message, MessageCache
from bgtasks.testing.model import Fault, ModelServer, Reply, vector

pytestmark = pytest.mark.real

POISON = "zorblax"
CHANNEL = "allotment"


@dataclass
class Stage:
    """A stand-in, what it serves, and what waits.

    Attributes:
        spoilt: What the model answers to what holds `POISON`: no vectors, or a function of the request that
            says, or None for the right answer.
    """

    redis: Any
    graph: KnowledgeGraph
    model: ModelServer
    cache: MessageCache
    queue: EmbeddingQueue
    name: str = "rules"
    spoilt: Any = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def worker(
        self, consumer: str = "one", *, graph: Any = None, client: Any = None, **more: Any
    ) -> Embeddings:
        """One that takes over at once what another left."""
        client = client or self.client()
        given = (self.redis, graph or self.graph, client, self.cache, self.queue, consumer)
        return Embeddings(*given, **{"idle": 0.0, **more})

    def client(self) -> OpenAIChat:
        made = OpenAIChat(
            {"embedding": Endpoint(self.model.url, None, self.name)}, sleep=lambda _: asyncio.sleep(0)
        )
        self.stack.push_async_callback(made.aclose)
        return made

    async def tell(self, **texts: str) -> None:
        """Ingest messages by their ids."""
        at = datetime(2026, 9, 1, tzinfo=UTC)
        said = [Message(channel=CHANNEL, id=id, author="Ada", ts=at, text=text) for id, text in texts.items()]
        await self.cache.ingest(CHANNEL, said)

    async def nearest(self, text: str) -> tuple[str, float] | None:
        """The message that is most like a text, and how much."""
        found = await similar_messages(self.graph, vector(text), 1)
        return (found[0].id, round(found[0].similarity, 3)) if found else None

    @property
    def asked(self) -> list[str]:
        """The texts that were sent, in order, but for the probe."""
        return [text for request in self.model.requests for text in request["input"] if text != PROBE]


@pytest.fixture
async def stage(redis8_url: str, graph: KnowledgeGraph) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        client = redis.asyncio.Redis.from_url(redis8_url)
        stack.push_async_callback(client.aclose)

        def answer(body: dict[str, Any]) -> Any:
            if not any(POISON in text for text in body["input"]):
                return None
            return made.spoilt(body) if callable(made.spoilt) else made.spoilt

        model = await stack.enter_async_context(ModelServer(answer=answer))
        queue = EmbeddingQueue(client, name := uuid4().hex)
        cache = MessageCache(client, name, embedding_queue=queue)
        made = Stage(client, graph, model, cache, queue, spoilt={"data": []}, stack=stack)
        yield made


class Between:
    """A client, or a graph, that does something once, before or after a call."""

    def __init__(self, inner: Any, what: Callable[[], Awaitable[Any]], *, at: str = "") -> None:
        self._inner = inner
        self._what = what
        self._at = at
        self.embedding_model = getattr(inner, "embedding_model", None)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        found: list[list[float]] = await self._inner.embed(texts)
        if [*texts] != [PROBE]:
            await self._once()
        return found

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        if self._at in cypher:
            await self._once()
        found: Sequence[Sequence[Any]] = await self._inner.query(cypher, params)
        return found

    async def _once(self) -> None:
        what, self._what = self._what, _nothing
        await what()


class Instead:
    """A client that embeds with a function."""

    def __init__(
        self, inner: OpenAIChat, embed: Callable[[Sequence[str]], Awaitable[list[list[float]]]]
    ) -> None:
        self.embedding_model = inner.embedding_model
        self.embed = embed


async def _nothing() -> None: ...


async def _crash() -> None:
    raise asyncio.CancelledError


class TestWhatWaits:
    async def test_gets_its_vector(self, stage: Stage) -> None:
        await stage.graph.upsert([Node("person", "Ada Miller", 1), Node("place", "Uppsala", 1)])
        await stage.tell(m1="The tent is wet.", m2="I moved to Uppsala in May.", m3="  ")

        assert await stage.worker().step() == 4

        assert await waiting(stage.graph) == []
        assert await stage.queue.length() == 0
        assert (await nearest_entities(stage.graph, vector("Uppsala"), 1)) == ["place:uppsala"]
        assert await stage.nearest("The tent is wet.") == ("m1", 1.0)
        assert await stage.worker().step() == 0

    async def test_is_shared_out_among_workers_and_paid_for_once(self, stage: Stage) -> None:
        people = [Node("person", f"Person number {number}", 1) for number in range(150)]
        await stage.graph.upsert(people)
        await stage.tell(**{f"m{number}": f"Message number {number}." for number in range(250)})
        workers = [stage.worker(name, idle=60.0) for name in ("one", "two", "three")]

        while any(await asyncio.gather(*(each.step() for each in workers))):
            pass

        assert await waiting(stage.graph) == []
        assert await stage.queue.length() == 0
        assert len(stage.asked) == len(set(stage.asked)) == 400

    async def test_of_a_long_message_the_beginning_counts(self, stage: Stage) -> None:
        await stage.tell(long="The tent is wet. " * 60_000)

        assert await stage.worker().step() == 1

        assert [len(text) for text in stage.asked] == [8_000]
        assert await stage.nearest("The tent is wet. " * 470) == ("long", 1.0)


class TestTheTurn:
    async def test_is_renewed_as_long_as_the_model_is_at_work(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bgtasks.memory.embedding.TURN", 0.3)
        await stage.graph.upsert([Node("person", "Ada", 1)])
        turn = f"{stage.queue.key}:entities"

        async def wait_for_renewal() -> None:
            assert await stage.redis.pexpire(turn, 60_000)
            async with asyncio.timeout(10):
                while await stage.redis.pttl(turn) > 300:
                    pass

        assert await stage.worker(client=Between(stage.client(), wait_for_renewal)).step() == 1
        assert not await stage.redis.exists(turn)

    async def test_of_somebody_else_is_not_made_longer(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("bgtasks.memory.embedding.TURN", 0.003)
        await stage.graph.upsert([Node("person", "Ada", 1)])
        turn = f"{stage.queue.key}:entities"

        async def lose_it() -> None:
            await stage.redis.set(turn, "another's", px=60_000)
            for _ in range(50):
                await stage.redis.ping()

        await stage.worker(client=Between(stage.client(), lose_it)).step()
        assert await stage.redis.pttl(turn) > 50_000


class TestACrash:
    @pytest.mark.parametrize("at", ["MERGE (v:Vec", "MERGE (m:MessageVec", "SET s.indexed"])
    async def test_before_the_vectors_are_stored_loses_none(self, stage: Stage, at: str) -> None:
        await stage.graph.upsert([Node("person", "Ada", 1)])
        await stage.tell(m1="The tent is wet.")

        with pytest.raises(asyncio.CancelledError):
            await stage.worker(graph=Between(stage.graph, _crash, at=at)).step()
        while await stage.worker("two").step():
            pass

        assert await waiting(stage.graph) == []
        assert await stage.queue.length() == 0
        assert await stage.nearest("The tent is wet.") == ("m1", 1.0)
        assert await nearest_entities(stage.graph, vector("Ada"), 5) == ["person:ada"]

    async def test_of_the_model_leaves_everything_waiting(self, stage: Stage) -> None:
        await stage.tell(m1="The tent is wet.")
        worker = stage.worker()
        await stage.model.close()

        with pytest.raises(ResourceUnavailable, match="openrouter"):
            await worker.step()

        assert await stage.queue.length() == 1


class TestAMessageThatChanges:
    async def test_is_found_by_its_new_text_only(self, stage: Stage) -> None:
        await stage.tell(m1="The tent is wet.")
        await stage.worker().step()

        await stage.cache.edit(CHANNEL, "m1", "Uppsala is far away.")
        await stage.worker().step()

        assert await stage.nearest("Uppsala is far away.") == ("m1", 1.0)
        assert (await stage.nearest("The tent is wet.") or ("", 1.0))[1] < 0.5

    async def test_while_its_vector_is_made_gets_another(self, stage: Stage) -> None:
        await stage.tell(m1="The tent is wet.")

        async def edit_and_embed() -> None:
            await stage.cache.edit(CHANNEL, "m1", "Uppsala is far away.")
            assert await stage.worker("quick", idle=60.0).step() == 1

        await stage.worker(client=Between(stage.client(), edit_and_embed)).step()
        assert (await stage.nearest("The tent is wet.") or ("", 0.0))[1] == 1.0  # it came second
        await stage.worker().step()

        assert await stage.nearest("Uppsala is far away.") == ("m1", 1.0)

    async def test_its_vector_goes_when_it_is_gone_before_its_turn(self, stage: Stage) -> None:
        await stage.tell(m1="The tent is wet.")
        await stage.worker().step()
        await stage.cache.edit(CHANNEL, "m1", "Uppsala is far away.")
        await stage.cache.delete(CHANNEL, "m1")

        await stage.worker().step()

        assert await stage.nearest("The tent is wet.") is None

    async def test_or_while_it_is_made(self, stage: Stage) -> None:
        await stage.tell(m1="The tent is wet.", m2="Uppsala is far away.")

        async def delete() -> None:
            await stage.cache.delete(CHANNEL, "m1")

        await stage.worker(client=Between(stage.client(), delete)).step()

        assert (await stage.nearest("The tent is wet.") or ("",))[0] == "m2"


TOO_LARGE = Reply("input is too large to process. increase the physical batch size", status=500)
"""What llama.cpp says of a text of more than 512 tokens."""


class TestATextThatTheModelDoesNotTake:
    @pytest.mark.parametrize(
        "said", [{"data": []}, TOO_LARGE, Fault("cut")], ids=["no vectors", "an outage", "a crash"]
    )
    async def test_is_found_by_halving_and_holds_up_nothing(
        self, stage: Stage, caplog: pytest.LogCaptureFixture, said: Any
    ) -> None:
        stage.spoilt = said
        people = [Node("person", f"Person number {number}", 1) for number in range(20)]
        await stage.graph.upsert([*people, Node("person", POISON, 1)])
        await stage.tell(m1="The tent is wet.", bad=f"It says {POISON}.", m3="Uppsala is far away.")
        worker = stage.worker()

        assert await worker.step() == 22
        asked = len(stage.model.calls)
        assert await worker.step() == 0

        assert len(stage.model.calls) == asked
        assert [each.id for each in await waiting(stage.graph)] == [f"person:{POISON}"]
        assert await stage.queue.length() == 0
        assert "no vector can be made of entity person:zorblax" in caplog.text
        assert f"no vector can be made of message bad of {CHANNEL}" in caplog.text

    async def test_is_tried_again_once_it_is_another(self, stage: Stage) -> None:
        await stage.graph.upsert([Node("person", "Ada", 1, about=POISON)])
        worker = stage.worker()
        assert await worker.step() == 0

        await stage.graph.upsert([Node("person", "Ada", 2, about="keeps bees")])

        assert await worker.step() == 1

    async def test_a_model_that_takes_none_is_an_error_and_nothing_is_given_up(self, stage: Stage) -> None:
        async with ModelServer(answer=lambda _: {"data": []}) as model:
            stage.model = model
            await stage.graph.upsert([Node("person", "Ada", 1)])
            await stage.tell(m1="The tent is wet.")

            with pytest.raises(BadAnswer, match="not one vector for each"):
                await stage.worker().step()

            assert len(model.calls) == 1
        assert len(await waiting(stage.graph)) == 1
        assert await stage.queue.length() == 1

    async def test_is_given_up_though_it_comes_alone(self, stage: Stage) -> None:
        stage.spoilt = TOO_LARGE
        await stage.tell(bad=POISON)

        assert await stage.worker().step() == 0

        assert await stage.queue.length() == 0

    async def test_is_another_than_one_that_comes_while_the_endpoint_is_away(self, stage: Stage) -> None:
        left = [Fault("503")] * ATTEMPTS
        stage.spoilt = lambda _: left.pop() if left else None
        await stage.tell(m1=POISON)

        assert await stage.worker().step() == 1

    async def test_is_another_than_one_for_which_there_are_too_many_calls(self, stage: Stage) -> None:
        stage.spoilt = Fault("429")
        await stage.tell(m1="The tent is wet.", m2=POISON, m3="Uppsala is far away.")
        worker = stage.worker()

        with pytest.raises(ResourceUnavailable, match="429"):
            await worker.step()
        stage.spoilt = None
        await worker.step()

        assert await stage.queue.length() == 0
        assert await stage.nearest(POISON) == ("m2", 1.0)

    async def test_does_not_lose_what_was_made_when_the_endpoint_goes_away(self, stage: Stage) -> None:
        stage.spoilt = TOO_LARGE
        await stage.graph.upsert([Node("person", "Ada", 1)])
        await stage.tell(m1="The tent is wet.", m2="Uppsala is far away.", bad=POISON, m3="I keep bees.")
        away = asyncio.Event()
        client = stage.client()

        async def embed(texts: Sequence[str]) -> list[list[float]]:
            if away.is_set():
                raise ResourceUnavailable("openrouter", "no answer")
            found = await client.embed(texts)
            if "The tent is wet." in texts:
                away.set()
            return found

        worker = stage.worker(client=Instead(client, embed))
        with pytest.raises(ResourceUnavailable, match="no answer"):
            await worker.step()

        assert await stage.nearest("Uppsala is far away.") == ("m2", 1.0)
        assert await stage.queue.length() == 2
        away.clear()
        asked = len(stage.asked)
        assert await worker.step() == 1
        assert set(stage.asked[asked:]) == {POISON, "I keep bees."}
        assert await stage.queue.length() == 0

    async def test_is_not_one_that_the_breaker_kept_from_the_model(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage.spoilt = TOO_LARGE
        await stage.tell(bad=POISON, m2="The tent is wet.")
        client = stage.client()
        breaker = client._calls()._breaker(stage.model.url)

        async def embed(texts: Sequence[str]) -> list[list[float]]:
            found = await client.embed(texts)
            if [*texts] == [PROBE] and stage.asked:
                for _ in range(FAILURES):
                    breaker.failed()  # as when chats at the same URL fail
            return found

        with pytest.raises(ResourceUnavailable, match="the next try is in"):
            await stage.worker(client=Instead(client, embed)).step()

        assert await stage.queue.length() == 2
        assert "no vector can be made" not in caplog.text

    async def test_leaves_the_breaker_closed_for_whoever_else_asks(self, stage: Stage) -> None:
        stage.spoilt = TOO_LARGE
        await stage.tell(**{f"m{number}": f"{POISON} {number}" for number in range(8)})
        client = stage.client()
        breaker, opened = client._calls()._breaker(stage.model.url), list[bool]()

        async def embed(texts: Sequence[str]) -> list[list[float]]:
            try:
                return await client.embed(texts)
            finally:
                opened.append(breaker.open)

        assert await stage.worker(client=Instead(client, embed)).step() == 0

        assert await stage.queue.length() == 0
        assert len(opened) > FAILURES
        assert not any(opened)


class TestAnotherModel:
    @pytest.mark.parametrize(("name", "dimension"), [("rules", 24), ("other", 384)])
    async def test_is_said_before_anything_is_paid_for_and_embeds_anew_after_a_rebuild(
        self, stage: Stage, name: str, dimension: int
    ) -> None:
        await stage.graph.upsert([Node("person", "Ada", 1)])
        await stage.worker().step()
        await stage.graph.upsert([Node("person", "Ben", 1)])
        await stage.tell(m1="The tent is wet.")
        async with ModelServer(dimension=dimension) as model:
            stage.model, stage.name = model, name
            worker = stage.worker()

            with pytest.raises(
                ConfigurationError, match=rf"of rules with 384 .* of {name} with {dimension}; .*rebuild"
            ):
                await worker.step()
            assert stage.asked == []
            assert await stage.queue.length() == 1

            await rebuild_vectors(stage.graph)

            assert await worker.step() == 3
        assert await nearest_entities(stage.graph, vector("Ben", dimension), 1) == ["person:ben"]
