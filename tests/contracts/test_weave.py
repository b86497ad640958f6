"""`weave` on a real FalkorDB and Redis: each message is evidence once, whoever tries and however often."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.errors import ResourceUnavailable
from bgtasks.graph import KnowledgeGraph, ensure_schema
from bgtasks.graph.apply import Edge, Node, write
from bgtasks.graph.weight import HALF_LIFE, THRESHOLD, Weight
from bgtasks.memory import structure
from bgtasks.memory.intake import take_in
from bgtasks.memory.messages import Message, MessageCache
from bgtasks.memory.structure import MENTIONS, SPEAKS_IN, WINDOW, Woven, weave

pytestmark = pytest.mark.real

type Connect = Callable[..., Awaitable[KnowledgeGraph]]
type Triple = tuple[str, str, str]

T0 = datetime(2020, 9, 1, 7, tzinfo=UTC)  # evidence counts as said no later than it came
MS = T0.timestamp() * 1000
DAY = 86_400_000.0
LAB = "lab"


@pytest.fixture
async def cache(graph_url: str) -> AsyncIterator[MessageCache]:
    """An empty cache, in a namespace of its own."""
    namespace = f"test-{uuid4().hex}"
    client = redis.asyncio.Redis.from_url(graph_url)
    yield MessageCache(client, namespace)
    keys = [key async for key in client.scan_iter(f"{namespace}:*")]
    if keys:
        await client.delete(*keys)
    await client.aclose()


def say(number: int, author: str, text: str = "hello", *, channel: str = LAB, days: float = 0) -> Message:
    ts = T0 + timedelta(days=days)
    return Message(channel=channel, id=str(number), author=author, ts=ts, text=text)


def talk(length: int, channel: str = LAB) -> list[Message]:
    """Ada and Bob in turns; every third message mentions the other."""
    names = ("Ada", "Bob")
    return [
        say(n, names[n % 2], f"ask {names[1 - n % 2]}" if n % 3 == 0 else "hm", channel=channel)
        for n in range(length)
    ]


async def edges(graph: KnowledgeGraphLike) -> dict[Triple, dict[str, Any]]:
    rows = await graph.query("MATCH (s)-[r:REL]->(o) RETURN s.name, r.p, o.name, r.w, r.t, r.n, r.dies_at")
    return {(s, p, o): {"w": w, "t": t, "n": n, "dies_at": dies_at} for s, p, o, w, t, n, dies_at in rows}


async def counts(graph: KnowledgeGraphLike) -> dict[Triple, int]:
    return {edge: found["n"] for edge, found in (await edges(graph)).items()}


async def mentioned(cache: MessageCache, graph: KnowledgeGraph, *messages: Message) -> set[tuple[str, str]]:
    await cache.ingest(LAB, messages)
    await weave(cache, graph, LAB)
    return {(s, o) for s, p, o in await edges(graph) if p == MENTIONS}


def expected_counts(length: int, channel: str = LAB) -> dict[Triple, int]:
    found: dict[Triple, int] = {}
    for n, message in enumerate(talk(length, channel)):
        other = "Bob" if message.author == "Ada" else "Ada"
        links = [(message.author, SPEAKS_IN, channel)]
        if n % 3 == 0:
            links.append((message.author, MENTIONS, other))
        for link in links:
            found[link] = found.get(link, 0) + 1
    return found


# -- what is written -----------------------------------------------------------------------------


async def test_a_small_conversation_computed_by_hand(cache: MessageCache, graph: KnowledgeGraph) -> None:
    await cache.ingest(
        LAB,
        [
            say(1, "Ada", "hello"),
            say(2, "Bob", "hi ada", days=1),
            say(3, "Ada", "Bob, @carol: look", days=2),
        ],
    )

    woven = await weave(cache, graph, LAB)

    ada = 1 - (1 - 0.1 * 2 ** (-2 / 60)) * (1 - 0.1)  # spoke on day 0 and on day 2
    expected = {
        ("Ada", "speaks_in", "lab"): (ada, 2.0, 2),
        ("Bob", "speaks_in", "lab"): (0.1, 1.0, 1),
        ("Bob", "mentions", "Ada"): (0.2, 1.0, 1),
        ("Ada", "mentions", "Bob"): (0.2, 2.0, 1),
        ("Ada", "mentions", "carol"): (0.2, 2.0, 1),
    }
    found = await edges(graph)
    assert found.keys() == expected.keys()
    for edge, (w, day, n) in expected.items():
        t = MS + day * DAY
        assert found[edge]["n"] == n, edge
        assert found[edge]["t"] == t, edge
        assert found[edge]["w"] == pytest.approx(w), edge
        assert found[edge]["dies_at"] == pytest.approx(t + 60 * DAY * math.log2(w / 0.05)), edge
    assert woven == Woven(messages=3, entities=4, edges=5)


async def test_entities_carry_kind_name_and_when_they_were_first_and_last_seen(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    await cache.ingest(LAB, [say(1, "Ada"), say(2, "Bob", days=1)])
    await weave(cache, graph, LAB)
    await cache.ingest(LAB, [say(3, "Ada", "hey @Carol", days=3)])
    await weave(cache, graph, LAB)

    rows = await graph.query("MATCH (e:Entity) RETURN e.id, e.name, e.kind, e.created, e.seen")
    assert sorted(rows) == [
        ["channel:lab", "lab", "channel", MS + DAY, MS + 3 * DAY],
        ["person:ada", "Ada", "person", MS, MS + 3 * DAY],
        ["person:bob", "Bob", "person", MS + DAY, MS + DAY],
        ["person:carol", "Carol", "person", MS + 3 * DAY, MS + 3 * DAY],
    ]


async def test_weights_join_as_in_weight_window_after_window(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    days = [0, 30, 90, 10, 91]  # the fourth comes late: it is faded to what is there
    weight = Weight(0.0, MS)
    for number, day in enumerate(days):
        await cache.ingest(LAB, [say(number, "Ada", days=day)])
        await weave(cache, graph, LAB)
        weight = weight.joined(Weight(0.1, MS + day * DAY))

        found = (await edges(graph))[("Ada", SPEAKS_IN, LAB)]
        assert found["w"] == pytest.approx(weight.w)
        assert found["t"] == weight.t
        assert found["dies_at"] == pytest.approx(weight.t + HALF_LIFE * math.log2(weight.w / THRESHOLD))
        assert found["n"] == number + 1


async def test_the_half_life_can_be_chosen(cache: MessageCache, graph: KnowledgeGraph) -> None:
    await cache.ingest(LAB, [say(1, "Ada"), say(2, "Ada", days=1)])

    await weave(cache, graph, LAB, half_life=DAY)

    found = (await edges(graph))[("Ada", SPEAKS_IN, LAB)]
    assert found["w"] == pytest.approx(1 - (1 - 0.05) * (1 - 0.1))
    assert found["dies_at"] == pytest.approx(found["t"] + DAY * math.log2(found["w"] / 0.05))


async def test_weights_stay_below_one_however_much_is_said(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    await cache.ingest(LAB, [say(n, "Ada") for n in range(900)])
    await weave(cache, graph, LAB)

    found = (await edges(graph))[("Ada", SPEAKS_IN, LAB)]
    assert 0.99 < found["w"] <= 1
    assert found["n"] == 900
    assert math.isfinite(found["dies_at"])


async def test_evidence_older_than_a_dozen_half_lives_does_no_harm(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    epoch = Message(channel=LAB, id="old", author="Ada", ts=datetime(1970, 1, 1, tzinfo=UTC), text="")
    await cache.ingest(LAB, [epoch])
    await weave(cache, graph, LAB)
    await cache.ingest(LAB, [say(1, "Ada")])
    await weave(cache, graph, LAB)

    found = (await edges(graph))[("Ada", SPEAKS_IN, LAB)]
    assert (found["n"], found["w"], found["t"]) == (2, pytest.approx(0.1), MS)


@pytest.mark.parametrize("windows", [1, 2])
async def test_evidence_of_days_to_come_counts_from_when_it_came(
    cache: MessageCache, graph: KnowledgeGraph, windows: int
) -> None:
    future = Message(channel=LAB, id="new", author="Ada", ts=datetime(9000, 1, 1, tzinfo=UTC), text="@bob")
    await cache.ingest(LAB, [future])
    if windows == 2:
        await weave(cache, graph, LAB)
    await cache.ingest(LAB, [say(1, "Ada")])
    await weave(cache, graph, LAB)

    [ahead, now] = await cache.since(LAB, None, 2)
    came = int((ahead.cursor or "").partition("-")[0])
    weight = Weight(0.1, came).joined(Weight(0.1, now.ms))
    found = await edges(graph)
    assert found[("Ada", SPEAKS_IN, LAB)]["t"] == came
    assert found[("Ada", SPEAKS_IN, LAB)]["w"] == pytest.approx(weight.w)
    assert found[("Ada", MENTIONS, "bob")]["t"] == came
    assert {seen for (seen,) in await graph.query("MATCH (e:Entity) RETURN e.seen")} == {came}


async def test_channels_share_people_and_keep_their_own_edges_and_cursors(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    for channel in ("one", "two: ☕ 'x'"):
        await cache.ingest(channel, [say(1, "Ada", channel=channel), say(2, "Bob", channel=channel)])
        await weave(cache, graph, channel)

    assert await counts(graph) == {
        (author, SPEAKS_IN, channel): 1 for author in ("Ada", "Bob") for channel in ("one", "two: ☕ 'x'")
    }
    assert await graph.query("MATCH (e:Entity {kind: 'person'}) RETURN count(e)") == [[2]]
    assert await graph.query("MATCH (c:Cursor) RETURN count(c)") == [[2]]


async def test_an_empty_channel_leaves_no_trace(cache: MessageCache, graph: KnowledgeGraph) -> None:
    assert await weave(cache, graph, "nowhere") == Woven()
    assert await graph.query("MATCH (n) WHERE NOT n:Schema RETURN count(n)") == [[0]]


async def test_content_that_cannot_be_stored_does_not_stop_the_weave(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    awkward = [
        say(1, "Nul\x00l", "text \x00 here"),
        say(2, "Cut\ud83d", "hello @\ud83d @x"),
        say(3, "quo\"te'\\`", '"\n\\ $p } { `'),
        say(4, "🦡", "🌱"),
    ]
    await cache.ingest(LAB, awkward)

    assert (await weave(cache, graph, LAB)).messages == 4
    assert await weave(cache, graph, LAB) == Woven()
    names = {s for s, p, _ in await edges(graph) if p == SPEAKS_IN}
    assert names == {"Null", "Cut?", "quo\"te'\\`", "🦡"}


# -- once ----------------------------------------------------------------------------------------


async def test_weaving_again_adds_nothing(cache: MessageCache, graph: KnowledgeGraph) -> None:
    await cache.ingest(LAB, talk(40))
    await weave(cache, graph, LAB)
    before = await edges(graph)

    assert await weave(cache, graph, LAB) == Woven()
    assert await edges(graph) == before
    assert await counts(graph) == expected_counts(40)


async def test_more_than_a_window_is_applied_window_by_window(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    length = 2 * WINDOW + 30
    await cache.ingest(LAB, talk(length))

    assert (await weave(cache, graph, LAB)).messages == length
    assert await counts(graph) == expected_counts(length)


async def test_a_window_that_names_too_many_for_one_query_is_applied_in_parts(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    crowd = [say(n, "Ada", " ".join(f"@p{n}x{each}" for each in range(60))) for n in range(40)]
    await cache.ingest(LAB, crowd)

    assert (await weave(cache, graph, LAB)).messages == 40
    assert await graph.query("MATCH ()-[r:REL {p: 'mentions'}]->() RETURN count(r)") == [[40 * 60]]
    assert await graph.query("MATCH ()-[r:REL {p: 'speaks_in'}]->() RETURN r.n") == [[40]]


async def test_of_those_whom_one_message_mentions_a_hundred_count(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    await cache.ingest(LAB, [say(1, "Ada", " ".join(f"@p{each}" for each in range(5000)))])

    assert (await weave(cache, graph, LAB)).messages == 1
    assert await graph.query("MATCH ()-[r:REL {p: 'mentions'}]->() RETURN count(r)") == [[100]]


async def test_names_are_looked_for_at_the_beginning_of_a_long_text(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    text = f"@bo and {'x' * structure.LONGEST} @cy and Ada"

    assert await mentioned(cache, graph, say(1, "Ada"), say(2, "Di", text)) == {("Di", "bo")}


async def test_a_message_that_is_edited_before_it_is_woven_counts_once_with_its_new_text(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    await cache.ingest(LAB, [say(1, "Ada", "Hello @bob"), say(2, "Ada", "Hello @cy")])
    await cache.edit(LAB, "1", "Hello @dora")

    assert (await weave(cache, graph, LAB)).messages == 2
    await cache.edit(LAB, "2", "Hello @eve")
    assert (await weave(cache, graph, LAB)).messages == 0

    found = await graph.query("MATCH (:Entity)-[:REL {p: 'mentions'}]->(e) RETURN e.name ORDER BY e.name")
    assert found == [["cy"], ["dora"]]


async def test_what_comes_later_is_added_to_what_is_there(cache: MessageCache, graph: KnowledgeGraph) -> None:
    messages = talk(60)
    for start in range(0, 60, 13):
        await cache.ingest(LAB, messages[start : start + 13])
        assert (await weave(cache, graph, LAB)).messages == len(messages[start : start + 13])

    assert await counts(graph) == expected_counts(60)


async def test_a_message_that_arrives_late_is_not_missed(cache: MessageCache, graph: KnowledgeGraph) -> None:
    await cache.ingest(LAB, [say(2, "Ada", days=5)])
    await weave(cache, graph, LAB)

    await cache.ingest(LAB, [say(1, "Ada", days=1)])

    assert (await weave(cache, graph, LAB)).messages == 1
    assert await counts(graph) == {("Ada", SPEAKS_IN, LAB): 2}


async def test_a_crash_between_ingest_and_weave_is_mended_by_the_next_intake(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    class Gone:
        async def query(
            self, cypher: str, params: Mapping[str, Any] | None = None
        ) -> Sequence[Sequence[Any]]:
            raise ResourceUnavailable("kg_manager", "it is not there yet")

    with pytest.raises(ResourceUnavailable):
        await take_in(talk(30), cache, Gone())

    taken = await take_in(talk(30), cache, graph)

    assert (dict(taken.added), taken.woven.messages) == ({LAB: 0}, 30)
    assert await counts(graph) == expected_counts(30)


async def test_an_intake_without_a_graph_is_made_up_for_by_one_with(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    without = await take_in(talk(30), cache)
    with_graph = await take_in(talk(33), cache, graph)

    assert (without.woven, with_graph.woven.messages) == (Woven(), 33)
    assert dict(with_graph.added) == {LAB: 3}
    assert await counts(graph) == expected_counts(33)


async def test_concurrent_weaves_of_one_channel_apply_each_message_once(
    cache: MessageCache, graphs: Connect
) -> None:
    length = 3 * WINDOW
    connected = [await graphs() for _ in range(6)]
    await cache.ingest(LAB, talk(length))

    await asyncio.gather(*(weave(cache, graph, LAB) for graph in connected))

    assert await counts(connected[0]) == expected_counts(length)


async def test_each_message_is_reported_by_the_weave_that_applied_it_and_no_other(
    cache: MessageCache, graphs: Connect
) -> None:
    length = 2 * WINDOW + 5
    connected = [await graphs() for _ in range(4)]
    await cache.ingest(LAB, talk(length))

    woven = await asyncio.gather(*(weave(cache, graph, LAB) for graph in connected))

    assert sum(each.messages for each in woven) == length


async def test_weaving_while_messages_arrive_misses_none(cache: MessageCache, graphs: Connect) -> None:
    one, two = await graphs(), await graphs()
    messages = talk(600)

    async def arrive() -> None:
        for start in range(0, 600, 40):
            await cache.ingest(LAB, messages[start : start + 40])

    async def keep_weaving(graph: KnowledgeGraph) -> None:
        while not arriving.done():
            await weave(cache, graph, LAB)

    arriving = asyncio.create_task(arrive())
    await asyncio.gather(arriving, keep_weaving(one), keep_weaving(two))
    await weave(cache, one, LAB)

    assert await counts(one) == expected_counts(600)


@pytest.mark.parametrize("steps", [*range(1, 20), 24, 30, 40, 55, 80, 120])
async def test_a_weave_cancelled_after_any_number_of_steps_is_made_up_for(
    cache: MessageCache, graph: KnowledgeGraph, steps: int
) -> None:
    await cache.ingest(LAB, talk(WINDOW + 20))
    task = asyncio.create_task(weave(cache, graph, LAB))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    await weave(cache, graph, LAB)

    assert await counts(graph) == expected_counts(WINDOW + 20)


def _applies(params: Mapping[str, Any] | None) -> bool:
    """Whether the query is the one that writes a window and moves the cursor."""
    return params is not None and {"expected", "position"} <= params.keys()


class Interrupting:
    """A graph whose `at`-th query is cancelled: before it is sent, while it runs, or after its answer."""

    def __init__(self, graph: KnowledgeGraph, at: int, moment: str) -> None:
        self.asked = self.windows = 0
        self._graph, self._at, self._moment = graph, at, moment

    async def query(self, cypher: str, params: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        self.asked += 1
        self.windows += _applies(params)
        if self.asked != self._at:
            return await self._graph.query(cypher, params)
        if self._moment == "before":
            raise asyncio.CancelledError
        asking = asyncio.create_task(self._graph.query(cypher, params))
        if self._moment == "after":
            await asking
            raise asyncio.CancelledError
        await asyncio.sleep(0)  # the task has begun: the query is on its way
        asking.cancel()
        return await asking


@pytest.mark.parametrize("moment", ["before", "during", "after"])
@pytest.mark.parametrize("begin", ["with its schema", pytest.param("empty", marks=pytest.mark.full)])
async def test_a_weave_cancelled_at_any_of_its_queries_is_made_up_for(
    cache: MessageCache, graphs: Connect, begin: str, moment: str
) -> None:
    await cache.ingest(LAB, talk(WINDOW + 20))
    at = 0
    while True:
        at += 1
        graph = await graphs(f"{moment} {at} {uuid4().hex}")
        if begin == "with its schema":
            await ensure_schema(graph)
        interrupting = Interrupting(graph, at, moment)
        try:
            await weave(cache, interrupting, LAB)
        except asyncio.CancelledError:
            await weave(cache, graph, LAB)
            assert await counts(graph) == expected_counts(WINDOW + 20), at
        else:
            break

    assert interrupting.asked == at - 1
    assert interrupting.windows == 2


async def test_a_window_that_is_not_applied_is_an_error_and_not_an_endless_loop(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    class Deaf:
        async def query(
            self, cypher: str, params: Mapping[str, Any] | None = None
        ) -> Sequence[Sequence[Any]]:
            return [] if _applies(params) else await graph.query(cypher, params)

    await cache.ingest(LAB, talk(5))

    with pytest.raises(ResourceUnavailable, match="was not applied"):
        await weave(cache, Deaf(), LAB)


# -- names ---------------------------------------------------------------------------------------


async def test_authors_are_known_by_name_in_any_case(cache: MessageCache, graph: KnowledgeGraph) -> None:
    found = await mentioned(cache, graph, say(1, "Ada"), say(2, "Bob", "ADA and ada, or Ada?"))

    assert found == {("Bob", "Ada")}
    assert (await counts(graph))[("Bob", MENTIONS, "Ada")] == 1  # once per message


async def test_names_of_several_words_are_found_whole_and_the_longest_first(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    people = [say(1, "Walter Pettifer"), say(2, "Walter"), say(3, "Walter Pettifer Junior")]

    found = await mentioned(cache, graph, *people, say(4, "Ada", "so walter pettifer, said she"))

    assert found == {("Ada", "Walter Pettifer")}


@pytest.mark.parametrize(
    "text",
    ["Adam", "Nevada", "adas", "ada_x", "x_ada", "Ada2", "Adä", "see https://host/path", "", "a d a", "@"],
)
async def test_parts_of_words_are_no_mentions(cache: MessageCache, graph: KnowledgeGraph, text: str) -> None:
    assert await mentioned(cache, graph, say(1, "Ada"), say(2, "Bob", text)) == set()


@pytest.mark.parametrize(
    "text", ["Ada", "(Ada)", "Ada's", "hey,Ada!", "“Ada”", "Ada\nLovelace", "*Ada*", "x Ada"]
)
async def test_punctuation_around_a_name_does_not_hide_it(
    cache: MessageCache, graph: KnowledgeGraph, text: str
) -> None:
    assert await mentioned(cache, graph, say(1, "Ada"), say(2, "Bob", text)) == {("Bob", "Ada")}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("@carol", {"carol"}),
        ("ask @carol.", {"carol"}),
        ("ask @carol, @dan!", {"carol", "dan"}),
        ("(@dr.who-2)", {"dr.who-2"}),
        ("@ada", {"Ada"}),
        ("@x", {"x"}),
        ("@@carol", set()),
        ("@", set()),
        ("@ carol", set()),
        ("@-", set()),
    ],
)
async def test_a_handle_mentions_whoever_it_names(
    cache: MessageCache, graph: KnowledgeGraph, text: str, names: set[str]
) -> None:
    found = await mentioned(cache, graph, say(1, "Ada"), say(2, "Bob", text))

    assert found == {("Bob", name) for name in names}


@pytest.mark.parametrize(
    "text", ["write to info@example.org", "carol@host", "<a.b+c@example.co.uk>", "mailto:x@y.z"]
)
async def test_an_address_is_no_handle(cache: MessageCache, graph: KnowledgeGraph, text: str) -> None:
    assert await mentioned(cache, graph, say(1, "Ada"), say(2, "Bob", text)) == set()


@pytest.mark.parametrize("text", ["write to ada@example.org", "info@ada.org", "<ADA@EXAMPLE.ORG>"])
async def test_a_name_inside_an_address_is_no_mention(
    cache: MessageCache, graph: KnowledgeGraph, text: str
) -> None:
    assert await mentioned(cache, graph, say(1, "Ada"), say(2, "Bob", text)) == set()


@pytest.mark.parametrize("text", ["I, Ada, say", "@ada", "@Ada and ada"])
async def test_nobody_mentions_themself(cache: MessageCache, graph: KnowledgeGraph, text: str) -> None:
    assert await mentioned(cache, graph, say(1, "Ada", text)) == set()


@pytest.mark.parametrize(
    "name",
    [
        "C++ (bot)",
        "a.b",
        "[x]",
        "^$",
        "what?",
        "back\\slash",
        "a|b",
        "*",
        "{2}",
        "日本語",
        "Zoë",
        "O'Hara-Smith",
    ],
)
async def test_names_with_signs_of_regular_expressions_are_names(
    cache: MessageCache, graph: KnowledgeGraph, name: str
) -> None:
    found = await mentioned(
        cache, graph, say(1, name), say(2, "Bob", f"well, {name} said so"), say(3, "Dan", "nobody aXb here")
    )

    assert found == {("Bob", name)}


async def test_a_speaker_of_an_earlier_window_is_known(cache: MessageCache, graph: KnowledgeGraph) -> None:
    assert await mentioned(cache, graph, say(1, "Ada")) == set()
    assert await mentioned(cache, graph, say(2, "Bob", "as ada said")) == {("Bob", "Ada")}


async def test_a_name_known_in_another_channel_only_is_not_found_here(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    await cache.ingest("elsewhere", [say(1, "Ada", channel="elsewhere")])
    await weave(cache, graph, "elsewhere")

    assert await mentioned(cache, graph, say(2, "Bob", "as Ada said")) == set()


async def test_a_handle_becomes_its_bearers_name_once_they_sign_with_it(
    cache: MessageCache, graph: KnowledgeGraph
) -> None:
    assert await mentioned(cache, graph, say(1, "Bob", "hey @CAROL")) == {("Bob", "CAROL")}

    assert await mentioned(cache, graph, say(2, "Carol", "yes?")) == {("Bob", "Carol")}
    assert await mentioned(cache, graph, say(3, "Bob", "hey @cArOl")) == {("Bob", "Carol")}


async def test_speakers_are_those_of_the_channel(graph: KnowledgeGraph) -> None:
    await ensure_schema(graph)
    ada, lab = Node("person", "Ada", 2000), Node("channel", LAB, 2000)
    await write(graph, [ada, lab], [Edge(ada.id, SPEAKS_IN, lab.id, 0.1, 2000)])
    await write(graph, [ada, lab], [Edge(lab.id, MENTIONS, ada.id, 0.1, 2000)])

    assert await structure._speakers(graph, LAB) == {"Ada"}
    assert await structure._speakers(graph, "nowhere") == set()
    assert await graph.query(structure._SPEAKERS, {"channel": ada.id, "p": SPEAKS_IN}) == []
