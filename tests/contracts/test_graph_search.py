"""Searching a real FalkorDB, and what is known around an entity."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bgtasks.errors import ConfigurationError, InvalidMessage
from bgtasks.graph import KnowledgeGraph
from bgtasks.graph.apply import Edge, Node
from bgtasks.graph.facts import strongest
from bgtasks.graph.search import search
from bgtasks.graph.vectors import store_vectors, waiting

pytestmark = pytest.mark.real

upsert_module = importlib.import_module("bgtasks.graph.upsert")

NOW = datetime(2026, 9, 1, tzinfo=UTC)
MS = int(NOW.timestamp() * 1000)
DAY = 86_400_000


def node(name: str, kind: str = "person", about: str = "", n: int = 1) -> Node:
    return Node(kind, name, MS, about=about, n=n)


def edge(s: Node, p: str, o: Node, w: float = 0.5, days: int = 0) -> Edge:
    return Edge(s.id, p, o.id, w, MS - days * DAY, fact=f"{s.name} {p} {o.name}.", src=("lab/1",))


ADA, BOB, KASIA = (
    node("Ada Lovelace"),
    node("Bob"),
    node("Kasia Nowak", about="grows tomatoes in a glass house"),
)
PARIS, PARIS_P = node("Paris", "place", n=3), node("Paris", "person", n=1)
GARDEN = node("Ångström Garden", "place", about="a garden of tomatoes")
EVERY = [ADA, BOB, KASIA, PARIS, PARIS_P, GARDEN]
FACTS = [
    edge(ADA, "knows", BOB, 0.9),
    edge(ADA, "visited", PARIS, 0.9, days=120),
    edge(BOB, "knows", KASIA, 0.6),
    edge(KASIA, "works_in", GARDEN, 0.8),
    edge(GARDEN, "is_in", PARIS, 0.3),
]


@pytest.fixture
async def known(graph: KnowledgeGraph) -> KnowledgeGraph:
    await graph.upsert(EVERY, FACTS)
    return graph


async def names(graph: KnowledgeGraph, text: str, k: int = 10) -> list[str]:
    return [found.name for found in await graph.search(text, k=k, now=NOW)]


class TestSearching:
    @pytest.mark.parametrize(
        "text", ["ada lovelace", "LOVELACE", " ada,  lovelace!", "person:ada lovelace", "lovelace's"]
    )
    async def test_a_name_is_found_however_it_is_written(self, known: KnowledgeGraph, text: str) -> None:
        assert (await names(known, text))[0] == "Ada Lovelace"

    @pytest.mark.parametrize(
        "text", ["ångström", "Ångström", "ÅNGSTRÖM garden", "A\u030angstro\u0308m Garden"]
    )
    async def test_letters_outside_ascii_are_found_in_either_case(
        self, known: KnowledgeGraph, text: str
    ) -> None:
        assert (await names(known, text))[0] == "Ångström Garden"

    async def test_words_of_the_summary_are_found_in_any_order_and_by_their_stem(
        self, known: KnowledgeGraph
    ) -> None:
        assert set(await names(known, "a house with a tomato")) == {"Kasia Nowak", "Ångström Garden"}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "!?",
            "-",
            "*",
            "@",
            "(",
            ")",
            '"',
            "\\",
            "|",
            "_",
            "{}",
            "[",
            "~",
            "%",
            "''",
            "\x00",
            "\ud800",
            "🦡",
            "❤\ufe0f",
            "\u0301",
            "\u200d",
        ],
    )
    async def test_signs_alone_find_nothing_and_are_no_error(self, known: KnowledgeGraph, text: str) -> None:
        assert await names(known, text) == []

    @pytest.mark.parametrize(
        "text",
        [
            "-bob", "@name:bob", "bob)", '"bob', "bob*", "%bob%", "(bob|", "bob\\", "{bob}", "~bob",
            "bob => {$weight: 1}", "$bob", "bob'", "[bob 1]", "bob\x00", "bob\ud800",
            "bob; MATCH (n) DELETE n", "🦡 bob", "x" * 20_000 + " bob",
        ],
    )  # fmt: skip
    async def test_what_means_something_to_the_server_is_only_text(
        self, known: KnowledgeGraph, text: str
    ) -> None:
        assert await names(known, text) == ["Bob"]
        assert await known.query("MATCH (e:Entity) RETURN count(e)") == [[len(EVERY)]]

    async def test_common_words_count_only_where_there_are_no_others(self, known: KnowledgeGraph) -> None:
        assert await names(known, "who is in the glass") == ["Kasia Nowak"]
        assert set(await names(known, "in of a")) == {"Kasia Nowak", "Ångström Garden"}

    async def test_an_alias_leads_to_its_entity(self, known: KnowledgeGraph) -> None:
        await known.query("CREATE (:Alias {id: 'person:the countess', of: 'person:ada lovelace'})")

        assert await names(known, "The Countess") == ["Ada Lovelace"]

    async def test_what_was_spoken_of_lately_comes_first_of_two_that_fit_alike(
        self, known: KnowledgeGraph
    ) -> None:
        twins = [node("Old Mill", "place"), node("New Mill", "place"), node("No Mill", "place")]
        await known.upsert(
            [ADA, *twins], [edge(ADA, "saw", twins[0], 0.9, 200), edge(ADA, "saw", twins[1], 0.9)]
        )

        assert await names(known, "mill") == ["New Mill", "Old Mill", "No Mill"]

    async def test_a_name_that_is_written_exactly_so_comes_first_however_faded(
        self, graph: KnowledgeGraph
    ) -> None:
        exact, other = node("Ada Berg"), node("Ada Bergman", about="Ada Berg Ada Berg Ada", n=9)
        await graph.upsert([exact, other, BOB], [edge(other, "knows", BOB, 0.95)])

        assert await names(graph, "Ada Berg") == ["Ada Berg", "Ada Bergman"]

    async def test_the_only_one_that_all_words_fit_comes_before_forty_spoken_of_lately(
        self, graph: KnowledgeGraph
    ) -> None:
        about = "the quince marmalade recipe of grandmother Ida, written on a blue card"
        full = node("Quince marmalade recipe", "object", about)
        lately = [node(f"Recipe {number}", "topic") for number in range(40)]
        await graph.upsert([full, PARIS, *lately], [edge(each, "p", PARIS, 0.95) for each in lately])

        found = await names(graph, "quince marmalade recipe of Ida on a blue card", k=50)

        assert found[0] == full.name
        assert len(found) == 41

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("भाषा विज्ञान", "विज्ञान और कला"),
            ("தமிழ் இலக்கியம்", "இலக்கியம் பற்றி"),
            ("שָׁלוֹם עוֹלָם", "שָׁלוֹם לכם"),
            ("می\u200cخواهم کتاب", "می\u200cخواهم برو"),
            ("Zoe\u0308 Ångström", "tell me of zoë"),
            ("Zoë Ångström", "tell me of zoe\u0308"),
        ],
    )
    async def test_words_with_marks_are_found(self, known: KnowledgeGraph, name: str, text: str) -> None:
        await known.upsert([node(name, "topic")])

        assert await names(known, text) == [name]

    async def test_no_more_than_asked_for(self, known: KnowledgeGraph) -> None:
        assert len(await names(known, "paris bob kasia garden", k=2)) == 2
        assert await names(known, "bob", k=0) == []

    async def test_a_graph_that_nothing_was_written_to_has_nothing(self, graph: KnowledgeGraph) -> None:
        assert await search(graph, "bob", vector=[1.0, 0.0], now=NOW) == []
        assert await graph.neighbourhood("bob") is None
        assert await strongest(graph, now=NOW) == []


class TestSearchingWithVectors:
    async def embed(self, graph: KnowledgeGraph, **near: list[float]) -> None:
        rows = [
            (each.id, each.text, near.get(each.text.split()[0], [0.0, 1.0])) for each in await waiting(graph)
        ]
        await store_vectors(graph, "model", rows)

    async def test_meaning_finds_what_no_word_does(self, known: KnowledgeGraph) -> None:
        await self.embed(known, Bob=[1.0, 0.0])

        found = await known.search("builder", vector=[1.0, 0.1], k=1, now=NOW)

        assert [each.name for each in found] == ["Bob"]

    async def test_what_words_and_meaning_both_find_comes_first(self, known: KnowledgeGraph) -> None:
        await self.embed(known, Kasia=[1.0, 0.0])

        assert (await known.search("tomatoes", vector=[1.0, 0.0], now=NOW))[0].name == "Kasia Nowak"

    async def test_a_name_comes_before_what_words_and_meaning_both_find(self, known: KnowledgeGraph) -> None:
        await self.embed(known, Kasia=[1.0, 0.0])

        found = await known.search("Bob", vector=[1.0, 0.0], now=NOW)

        assert [each.name for each in found[:2]] == ["Bob", "Kasia Nowak"]
        assert found[0].score > found[1].score

    async def test_a_vector_is_passed_over_where_there_are_none_and_where_it_has_no_direction(
        self, known: KnowledgeGraph
    ) -> None:
        assert [each.name for each in await known.search("bob", vector=[1.0], now=NOW)] == ["Bob"]
        await self.embed(known)
        assert [each.name for each in await known.search("bob", vector=[0.0, 0.0], now=NOW)] == ["Bob"]

    async def test_a_vector_of_another_dimension_is_an_error_that_names_both(
        self, known: KnowledgeGraph
    ) -> None:
        await self.embed(known)

        with pytest.raises(
            ConfigurationError, match=r"of model with 2 numbers, and this one has 3.*rebuild_vectors"
        ):
            await known.search("bob", vector=[1.0, 2.0, 3.0], now=NOW)


class TestNeighbourhoods:
    async def test_facts_in_both_directions_the_heaviest_first(self, known: KnowledgeGraph) -> None:
        found = await known.neighbourhood("Bob", now=NOW)

        assert found is not None
        assert (found.entity.id, found.entity.name, found.entity.kind) == ("person:bob", "Bob", "person")
        assert [fact.sentence for fact in found.facts] == [
            "Ada Lovelace knows Bob.",
            "Bob knows Kasia Nowak.",
        ]
        assert [fact.weight for fact in found.facts] == [pytest.approx(0.9), pytest.approx(0.6)]
        assert found.facts[0].subject.name == "Ada Lovelace"
        assert found.facts[0].sources == ("lab/1",)

    async def test_weights_are_those_of_now_and_what_has_died_is_left_out(
        self, known: KnowledgeGraph
    ) -> None:
        later = NOW + timedelta(days=60)

        now = await known.neighbourhood(ADA.id, now=NOW)
        then = await known.neighbourhood(ADA.id, now=later)
        last = await known.neighbourhood(ADA.id, now=NOW + timedelta(days=2000))

        assert now is not None
        assert then is not None
        assert [round(fact.weight, 3) for fact in now.facts] == [0.9, 0.225]
        assert [fact.weight for fact in then.facts] == [pytest.approx(0.45), pytest.approx(0.1125)]
        assert last is not None
        assert last.facts == []

    @pytest.mark.parametrize(("depth", "count"), [(1, 1), (2, 2), (3, 4), (4, 5)])
    async def test_each_step_reaches_further_and_no_fact_is_told_twice(
        self, graph: KnowledgeGraph, depth: int, count: int
    ) -> None:
        chain = [node(name) for name in "abcdef"]
        pairs = [(0, 1), (2, 1), (2, 3), (3, 2), (3, 4), (4, 5)]
        await graph.upsert(chain, [edge(chain[s], "p", chain[o]) for s, o in pairs])

        found = await graph.neighbourhood("a", depth=depth, now=NOW)

        assert found is not None
        assert len(found.facts) == count

    async def test_no_more_facts_than_asked_for_and_those_the_heaviest(self, known: KnowledgeGraph) -> None:
        found = await known.neighbourhood("Ada Lovelace", depth=4, limit=2, now=NOW)

        assert found is not None
        assert [fact.sentence for fact in found.facts] == [
            "Ada Lovelace knows Bob.",
            "Kasia Nowak works_in Ångström Garden.",
        ]

    @pytest.mark.parametrize("limit", [1, 2, 3])
    async def test_however_few_are_asked_for_the_heaviest_of_all_is_the_first(
        self, graph: KnowledgeGraph, limit: int
    ) -> None:
        a, b, c, d = map(node, "abcd")
        facts = [edge(a, "p", b, 0.9), edge(a, "p", c, 0.5), edge(c, "p", d, 0.95)]
        await graph.upsert([a, b, c, d], facts)

        found = await graph.neighbourhood("a", depth=2, limit=limit, now=NOW)

        assert found is not None
        assert [fact.weight for fact in found.facts] == [pytest.approx(w) for w in (0.95, 0.9, 0.5)[:limit]]

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_no_facts_are_asked_for(self, known: KnowledgeGraph, limit: int) -> None:
        found = await known.neighbourhood("Bob", limit=limit, now=NOW)

        assert found is not None
        assert found.facts == []

    async def test_of_two_with_one_name_the_one_most_is_said_of_unless_its_id_is_given(
        self, known: KnowledgeGraph
    ) -> None:
        found = [
            await known.neighbourhood(name, now=NOW) for name in ("PARIS", "person:paris", "person:Paris")
        ]

        assert [each.entity.kind for each in found if each] == ["place", "person"]
        assert found[2] is None  # an id is written as it is

    @pytest.mark.parametrize("depth", [0, 5, -1])
    async def test_a_depth_that_is_none_is_refused(self, known: KnowledgeGraph, depth: int) -> None:
        with pytest.raises(InvalidMessage, match="1 to 4 steps"):
            await known.neighbourhood("Bob", depth=depth)


class TestStrongest:
    async def test_the_heaviest_facts_of_all_without_some_predicates(self, known: KnowledgeGraph) -> None:
        found = await strongest(known, now=NOW, limit=2, without=["works_in"])

        assert [(fact.subject.name, fact.predicate) for fact in found] == [
            ("Ada Lovelace", "knows"),
            ("Bob", "knows"),
        ]

    @pytest.mark.parametrize("limit", [0, -1])
    async def test_none_are_asked_for(self, known: KnowledgeGraph, limit: int) -> None:
        assert await strongest(known, now=NOW, limit=limit) == []


class TestUpserting:
    async def test_evidence_adds_up_and_an_entity_is_counted_once_a_call(self, graph: KnowledgeGraph) -> None:
        for _ in range(2):
            await graph.upsert([ADA, BOB], [edge(ADA, "knows", BOB, 0.5)])

        assert await graph.query("MATCH (e:Entity) RETURN e.id, e.n ORDER BY e.id") == [
            ["person:ada lovelace", 2],
            ["person:bob", 2],
        ]
        assert await graph.query("MATCH ()-[r:REL]->() RETURN r.w, r.n") == [[0.75, 2]]

    async def test_thousands_are_written_in_batches(self, graph: KnowledgeGraph) -> None:
        many = [node(f"n{number}") for number in range(1_000)]
        await graph.upsert(many, [edge(many[n], "p", many[n * 7 % 1_000]) for n in range(1, 500)])

        stats = await graph.stats()

        assert (stats.entities, stats.aliases, stats.facts, stats.schema_version) == (1_000, 1_000, 499, 1)
        assert stats.by_kind == {"person": 1_000}
        assert stats.by_predicate == {"p": 499}
        assert await graph.query("MATCH (e:Entity) RETURN max(e.n)") == [[1]]

    async def test_a_relation_that_ends_at_none_of_the_entities_writes_nothing(
        self, graph: KnowledgeGraph
    ) -> None:
        with pytest.raises(InvalidMessage, match="person:bob is not among the entities"):
            await graph.upsert([ADA], [edge(ADA, "knows", BOB)])

        assert await graph.query("MATCH (n) RETURN count(n)") == [[0]]

    @pytest.mark.parametrize("size", [1, 400])
    async def test_several_of_one_identity_are_all_evidence_and_the_latest_describes_it(
        self, graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.setattr(upsert_module, "BATCH", 2 * size)
        several = [
            Node("person", "Ada", 30, about="a chemist", n=2),
            Node("person", "ADA", 40, n=1),
            Node("person", "ada", 20, about="a pupil", n=1),
        ]

        await graph.upsert([*several, BOB], [Edge("person:ada", "knows", BOB.id, 0.5, 30)])

        rows = await graph.query("MATCH (e:Entity {key: 'ada'}) RETURN e.n, e.sum, e.created, e.seen")
        assert rows == [[4, "a chemist", 20, 40]]

    @pytest.mark.parametrize(
        "bad",
        [{"w": 1.5}, {"conf": -0.1}, {"w": math.nan}, {"t": 2**63}, {"n": 2**64}, {"valid_from": -(2**64)}],
    )
    async def test_a_relation_that_cannot_be_written_writes_nothing(
        self, graph: KnowledgeGraph, bad: dict[str, Any]
    ) -> None:
        fine = edge(ADA, "knows", BOB)

        with pytest.raises(InvalidMessage):
            await graph.upsert([ADA, BOB], [fine, replace(fine, p="saw", **bad)])

        assert await graph.query("MATCH (n) RETURN count(n)") == [[0]]

    @pytest.mark.parametrize("bad", [{"seen": 2**63}, {"n": 2**64}, {"seen": math.inf}])
    async def test_an_entity_that_cannot_be_written_writes_nothing(
        self, graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch, bad: dict[str, Any]
    ) -> None:
        monkeypatch.setattr(upsert_module, "BATCH", 2)

        with pytest.raises(InvalidMessage):
            await graph.upsert([ADA, BOB, replace(KASIA, **bad)])

        assert await graph.query("MATCH (n) RETURN count(n)") == [[0]]

    async def test_a_kind_with_a_colon_is_refused_and_a_name_with_one_is_not(
        self, graph: KnowledgeGraph
    ) -> None:
        with pytest.raises(InvalidMessage, match="'a:b' is no kind"):
            await graph.upsert([BOB, Node("a:b", "c", 1)])
        assert await graph.query("MATCH (n) RETURN count(n)") == [[0]]

        await graph.upsert([Node("a", "B:c", 1)])

        assert await graph.query("MATCH (e:Entity) RETURN e.id, e.key, e.kind") == [["a:b:c", "b:c", "a"]]
