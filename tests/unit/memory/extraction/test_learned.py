"""From what a model answered to what is written."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.memory.extraction import stand_ins
from tests.unit.memory.extraction.stand_ins import CHANNEL, T0, batch_of, fact, found

from bgtasks.graph.apply import LARGEST, Edge
from bgtasks.graph.schema import key_of
from bgtasks.graph.weight import HALF_LIFE, Weight
from bgtasks.memory.extraction.learned import SOFT, STRENGTH, Learned, learn
from bgtasks.memory.extraction.reply import KINDS, MOST, Extraction, FoundFact
from bgtasks.memory.messages import Message


def arrived(message: Message, late: timedelta = timedelta()) -> Message:
    """The message as it comes when it is said, or later."""
    return replace(message, cursor=f"{message.ms + late // timedelta(milliseconds=1)}-0")


def said(number: int, text: str = "Hello.", author: str = "Ada", **more: Any) -> Message:
    """A message that came when it was said."""
    return arrived(stand_ins.said(number, text, author, **more))


BATCH = batch_of(said(1), said(2, author="Grace Hopper"), said(3))
ADA, GRACE = "person:ada", "person:grace hopper"


def one(learned: Learned) -> Edge:
    [edge] = learned.edges
    return edge


def ids(learned: Learned) -> list[str]:
    return [node.id for node in learned.nodes]


class TestProvenance:
    def test_is_the_messages_by_number(self) -> None:
        edge = one(learn(BATCH, found(fact("Ada", "likes", "tea", [1, 3])), []))

        assert edge.src == (f"{CHANNEL}/m1", f"{CHANNEL}/m3")
        assert (edge.n, edge.t) == (2, said(3).ms)

    @pytest.mark.parametrize("numbers", [[3, 1, 3, 1], [0, 1, 3, 4], [-1, 3, 10**30, 1]])
    def test_numbers_that_are_double_or_none_are_passed_over(self, numbers: list[int]) -> None:
        edge = one(learn(BATCH, found(fact("Ada", "likes", "tea", numbers)), []))

        assert edge.src == (f"{CHANNEL}/m1", f"{CHANNEL}/m3")

    @pytest.mark.parametrize("numbers", [[], [0], [4], [-1], [99, 10**30]])
    def test_a_fact_without_any_message_is_dropped_and_leaves_nothing(self, numbers: list[int]) -> None:
        assert learn(BATCH, found(fact("Ada", "likes", "tea", numbers)), []) == Learned(dropped=1)


class TestWhatIsDropped:
    @pytest.mark.parametrize(
        ("subject", "predicate", "object"),
        [
            ("Ada", "likes", "it"),
            ("She", "likes", "tea"),
            ("Ada", "likes", "42"),
            ("Ada", "likes", ""),
            ("Ada", "", "tea"),
            ("Ada", "…", "tea"),
            ("Ada", "likes", "x" * 200),
        ],
    )
    def test_a_fact_with_a_part_that_is_none_and_its_other_parts(
        self, subject: str, predicate: str, object: str
    ) -> None:
        assert learn(BATCH, found(fact(subject, predicate, object)), []) == Learned(dropped=1)

    @pytest.mark.parametrize(
        "other", ["Grace Hopper", "grace  hopper", "Grace Hopper's", "ＧＲＡＣＥ HOPPER"]
    )
    def test_something_with_itself(self, other: str) -> None:
        assert learn(BATCH, found(fact("Grace Hopper", "knows", other)), []) == Learned(dropped=1)

    def test_what_the_model_does_not_believe_itself(self) -> None:
        assert learn(BATCH, found(fact("Ada", "likes", "tea", confidence=0.0)), []) == Learned(dropped=1)

    def test_an_entity_without_a_name(self) -> None:
        learned = learn(BATCH, found(entities=[("it", "object"), ("7", "other"), ("tea", "object")]), [])

        assert ids(learned) == ["object:tea"]
        assert learned.dropped == 2

    def test_nothing_of_an_empty_answer(self) -> None:
        assert learn(BATCH, found(), []) == Learned()


class TestWhatIsMeant:
    def test_ends_are_the_entities_of_the_answer(self) -> None:
        answer = found(
            fact("the Cat", "lives_in", "Greenhouse"), entities=[("cat", "animal"), ("greenhouse", "place")]
        )

        learned = learn(BATCH, answer, [])

        assert ids(learned) == ["animal:cat", "place:greenhouse"]
        assert (one(learned).s, one(learned).o) == ("animal:cat", "place:greenhouse")

    def test_an_end_that_the_answer_does_not_list_comes_along(self) -> None:
        learned = learn(BATCH, found(fact("Ada", "likes", "tea")), [])

        assert [(node.kind, node.name) for node in learned.nodes] == [("person", "Ada"), ("other", "tea")]

    def test_what_is_known_says_what_something_is(self) -> None:
        known = [("Tea", "object"), ("ada", "work")]

        learned = learn(BATCH, found(fact("Ada", "likes", "TEA"), entities=[("tea", "other")]), known)

        assert ids(learned) == ["object:tea", ADA]

    def test_what_the_model_says_it_is_goes_before_what_is_known_if_it_is_another_thing(self) -> None:
        assert ids(learn(BATCH, found(entities=[("Java", "place")]), [("java", "topic")])) == ["place:java"]

    def test_a_name_that_is_known_is_taken_as_it_is(self) -> None:
        learned = learn(BATCH, found(fact("the Rock", "likes", "tea")), [("The Rock", "person")])

        assert ids(learned) == ["person:the rock", "other:tea"]

    def test_of_two_of_one_name_facts_are_about_the_first(self) -> None:
        answer = found(fact("Ada", "likes", "Java"), entities=[("Java", "topic"), ("Java", "place")])

        learned = learn(BATCH, answer, [])

        assert ids(learned) == ["topic:java", "place:java", ADA]
        assert one(learned).o == "topic:java"

    def test_the_first_description_counts_in_one_line(self) -> None:
        answer = Extraction.model_validate(
            {
                "entities": [
                    {"name": "tea", "kind": "object"},
                    {"name": "Tea", "kind": "object", "about": "hot\n\x00 drink"},
                    {"name": "the tea", "kind": "object", "about": "cold"},
                ],
                "facts": [],
            }
        )

        [node] = learn(BATCH, answer, []).nodes

        assert (node.name, node.about, node.n) == ("tea", "hot drink", 0)

    def test_a_node_counts_the_messages_that_state_something_of_it(self) -> None:
        answer = found(
            fact("Ada", "likes", "tea", [1, 3]),
            fact("Ada", "likes", "cake", [3]),
            fact("Grace Hopper", "knows", "Ada", [2]),
        )

        learned = learn(BATCH, answer, [])

        assert {node.name: node.n for node in learned.nodes} == {
            "Ada": 3, "tea": 2, "cake": 1, "Grace Hopper": 1
        }  # fmt: skip

    def test_a_node_was_seen_in_the_latest_of_them(self) -> None:
        answer = found(fact("Ada", "likes", "tea", [1, 2]), entities=[("cake", "object")])

        learned = learn(BATCH, answer, [])

        assert {node.name: node.seen for node in learned.nodes} == {
            "Ada": said(2).ms, "tea": said(2).ms, "cake": said(3).ms
        }  # fmt: skip


class TestPossessives:
    """Ada and Grace Hopper speak."""

    @pytest.mark.parametrize("known", [[], [("Wendy", "person"), ("Wendy's", "organisation")]])
    def test_stay_where_they_are_a_name(self, known: list[tuple[str, str]]) -> None:
        learned = learn(BATCH, found(fact("Ada", "works_at", "Wendy’s")), known)

        assert learned.nodes[1].name == "Wendy's"

    def test_of_one_who_is_known_mean_that_one(self) -> None:
        learned = learn(BATCH, found(fact("Ada", "went_to", "Wendy's")), [("Wendy", "person")])

        assert ids(learned) == [ADA, "person:wendy"]

    @pytest.mark.parametrize("written", ["The Rock's", "the Rock’s", "“The Rock's”"])
    def test_of_one_who_speaks_mean_that_one(self, written: str) -> None:
        batch = batch_of(said(1), said(2, author="The Rock"))

        assert ids(learn(batch, found(fact("Ada", "knows", written)), [])) == [ADA, "person:the rock"]

    @pytest.mark.parametrize(("written", "other"), [("Ada's", "Ada’s"), ("Ada’s", "ada's")])
    def test_that_the_answer_declares_to_be_a_thing_stay(self, written: str, other: str) -> None:
        answer = found(fact("Grace Hopper", "works_at", other), entities=[(written, "organisation")])

        learned = learn(BATCH, answer, [])

        assert [key_of(each).replace("’", "'") for each in ids(learned)] == ["organisation:ada's", GRACE]
        assert one(learned).o == learned.nodes[0].id

    def test_apostrophes_are_one(self) -> None:
        batch = batch_of(said(1), said(2, author="Zoë O’Brien"))
        answer = found(fact("Ada", "knows", "Zoë O'Brien"), fact("Ada", "likes", "Levi's"))

        learned = learn(batch, answer, [("Levi’s", "organisation")])

        assert ids(learned) == [ADA, "person:zoë o’brien", "organisation:levi’s"]


class TestPronouns:
    def test_are_nobody_though_something_is_called_so(self) -> None:
        known = [("IT", "topic"), ("US", "place"), ("The Who", "organisation"), ("You", "person")]
        facts = [fact("Ada", "likes", each) for each in ("it", "It", "us", "Us", "who", "you", "It's")]

        assert learn(BATCH, found(*facts), known) == Learned(dropped=len(facts))

    def test_in_capitals_are_names(self) -> None:
        facts = [fact("Ada", "likes", each) for each in ("IT", "the US", "The Who")]

        learned = learn(BATCH, found(*facts, entities=[("US", "place")]), [("the who", "organisation")])

        assert sorted(ids(learned)) == ["organisation:the who", "other:it", ADA, "place:us"]


class TestKinds:
    """What one thing is to a model differs from batch to batch."""

    def kinds(self, *told: str, known: tuple[str, ...] = ()) -> list[str]:
        answer = found(entities=[("Dune", kind) for kind in told])
        return [node.kind for node in learn(BATCH, answer, [("dune", kind) for kind in known]).nodes]

    @pytest.mark.parametrize("known", sorted(SOFT))
    @pytest.mark.parametrize("told", sorted(SOFT))
    def test_a_soft_one_gives_way_to_the_known_soft_one(self, told: str, known: str) -> None:
        assert self.kinds(told, known=(known,)) == [known]

    @pytest.mark.parametrize("known", KINDS)
    def test_other_gives_way_to_any_known_one(self, known: str) -> None:
        assert self.kinds("other", known=(known,)) == [known]

    @pytest.mark.parametrize("told", sorted(set(KINDS) - SOFT))
    @pytest.mark.parametrize("known", KINDS)
    def test_a_person_a_place_and_such_never_do(self, told: str, known: str) -> None:
        assert self.kinds(told, known=(known,)) == [told]

    @pytest.mark.parametrize("told", sorted(SOFT - {"other"}))
    @pytest.mark.parametrize("known", sorted(set(KINDS) - SOFT))
    def test_a_soft_one_stays_beside_a_person_a_place_and_such(self, told: str, known: str) -> None:
        assert self.kinds(told, known=(known,)) == [told]

    @pytest.mark.parametrize("told", KINDS)
    @pytest.mark.parametrize("known", [("work", "place"), ("topic", "work"), ("animal", "place")])
    def test_where_several_are_known_what_is_said_is_taken(self, told: str, known: tuple[str, ...]) -> None:
        assert self.kinds(told, known=known) == [told]

    @pytest.mark.parametrize(
        ("told", "kinds"),
        [
            (("work", "topic", "object"), ["work"]),
            (("other", "topic", "work"), ["topic"]),
            (("other", "place"), ["place"]),
            (("place", "other"), ["place"]),
            (("topic", "place"), ["topic", "place"]),
            (("place", "work", "topic", "other"), ["place", "work"]),
            (("place", "person", "other"), ["place", "person", "other"]),
        ],
    )
    def test_within_an_answer_the_first_soft_one_counts(
        self, told: tuple[str, ...], kinds: list[str]
    ) -> None:
        assert self.kinds(*told) == kinds

    def test_an_end_is_the_entity_of_that_very_name(self) -> None:
        entities = [("reading", "activity"), ("Reading", "place")]

        learned = learn(
            BATCH,
            found(fact("Ada", "lives_in", "Reading"), fact("Ada", "likes", "the reading"), entities=entities),
            [],
        )

        assert [edge.o for edge in learned.edges] == ["place:reading", "activity:reading"]


class TestSpeakers:
    @pytest.mark.parametrize("written", ["grace hopper", "GRACE  HOPPER", "Grace Hopper's", "“Grace Hopper”"])
    def test_are_spelt_as_they_spell_themselves(self, written: str) -> None:
        [node] = learn(BATCH, found(entities=[(written, "person")]), []).nodes

        assert (node.id, node.name, node.signed) == (GRACE, "Grace Hopper", True)

    @pytest.mark.parametrize(
        "author", ["The Rock", "J.R.", "_ada_", "me", "You", "12345", "🦊", "Ada (work)", "x" * 200]
    )
    def test_are_somebody_whatever_they_are_called(self, author: str) -> None:
        batch = batch_of(said(1, author=author))

        learned = learn(batch, found(fact(author, "likes", "tea")), [])

        assert learned.dropped == 0
        assert learned.nodes[0].name == author
        assert learned.nodes[0].id == f"person:{key_of(author)}"  # as `weave` calls them

    @pytest.mark.parametrize("said", ["person", "other"])
    def test_are_persons_unless_the_model_says_what_else(self, said: str) -> None:
        assert ids(learn(BATCH, found(entities=[("Ada", said)]), [("Ada", "work")])) == [ADA]

    @pytest.mark.parametrize(("name", "kind"), [("Jordan", "place"), ("Wendy", "organisation")])
    def test_what_is_called_as_they_are_and_said_to_be_no_person_is_none(self, name: str, kind: str) -> None:
        batch = batch_of(said(1), said(2, author=name.lower()))
        answer = found(fact("Ada", "went_to", name, [1]), entities=[("Ada", "person"), (name, kind)])

        learned = learn(batch, answer, [(name.lower(), "person")])

        thing = learned.nodes[1]
        assert (thing.id, thing.name, thing.signed) == (f"{kind}:{name.lower()}", name, False)
        assert one(learned).o == thing.id

    def test_are_meant_by_what_they_say_of_themselves(self) -> None:
        batch = batch_of(said(1), said(2, author="Jordan"))
        answer = found(
            fact("Ada", "went_to", "Jordan", [1]), fact("Jordan", "likes", "tea", [2]),
            fact("Jordan", "went_to", "Jordan", [2]), entities=[("Jordan", "place")],
        )  # fmt: skip

        learned = learn(batch, answer, [])

        assert [(edge.s, edge.o) for edge in learned.edges] == [
            (ADA, "place:jordan"),
            ("person:jordan", "other:tea"),
            ("person:jordan", "place:jordan"),
        ]

    def test_those_of_the_context_are_known_too(self) -> None:
        batch = batch_of(said(1), context=[said(0, author="Grace Hopper")])

        assert ids(learn(batch, found(entities=[("grace hopper", "other")]), [])) == [GRACE]

    def test_others_sign_nothing(self) -> None:
        assert [node.signed for node in learn(BATCH, found(entities=[("Alan", "person")]), []).nodes] == [
            False
        ]


class TestEvidence:
    def test_a_message_weighs_what_the_model_is_sure_of(self) -> None:
        edge = one(learn(BATCH, found(fact("Ada", "likes", "tea", confidence=0.6)), []))

        assert edge.w == pytest.approx(STRENGTH * 0.6)
        assert edge.conf == 0.6

    def test_several_messages_join_each_at_its_own_time(self) -> None:
        early, late = said(1), arrived(replace(said(2), ts=datetime(2026, 10, 31, 7, tzinfo=UTC)))
        batch = batch_of(early, late)

        edge = one(learn(batch, found(fact("Ada", "likes", "tea", [1, 2])), []))

        expected = Weight(STRENGTH, early.ms).joined(Weight(STRENGTH, late.ms), HALF_LIFE)
        assert (edge.w, edge.t) == pytest.approx((expected.w, late.ms))
        assert STRENGTH < edge.w < 1 - (1 - STRENGTH) ** 2

    def test_of_a_clock_that_is_wrong_counts_from_when_it_came(self) -> None:
        ahead = replace(said(1), ts=datetime(9000, 1, 1, tzinfo=UTC))  # it came when m1 was said
        late = arrived(said(2), timedelta(days=9))

        learned = learn(batch_of(ahead, late), found(fact("Ada", "likes", "tea", [1, 2])), [])

        expected = Weight(STRENGTH, said(1).ms).joined(Weight(STRENGTH, said(2).ms), HALF_LIFE)
        assert (one(learned).w, one(learned).t) == pytest.approx((expected.w, said(2).ms))
        assert {node.seen for node in learned.nodes} == {said(2).ms}

    def test_without_a_place_in_the_stream_counts_as_it_says(self) -> None:
        answer = found(fact("Ada", "likes", "tea"))

        assert one(learn(batch_of(replace(said(1), cursor=None)), answer, [])).t == said(1).ms

    def test_one_fact_in_several_words_is_one(self) -> None:
        answer = found(
            fact("Ada", "lives_in", "Uppsala", [1], fact="Ada lives in Uppsala.", confidence=0.5),
            fact("ada", "living in", "uppsala", [3], fact="Ada moved to Uppsala.", since="2026-05-01"),
            fact("Ada", "resides in", "Uppsala", [2], fact="", confidence=0.9),
        )

        edge = one(learn(BATCH, answer, []))

        assert (edge.s, edge.p, edge.o) == (ADA, "lives_in", "other:uppsala")
        assert edge.fact == "Ada moved to Uppsala."
        assert edge.src == tuple(f"{CHANNEL}/m{number}" for number in (1, 2, 3))
        assert (edge.n, edge.conf) == (3, 1.0)
        assert edge.valid_from is not None

    def test_the_same_message_counts_once_as_surely_as_it_was_ever_said(self) -> None:
        once = one(learn(BATCH, found(fact("Ada", "likes", "tea", [1])), []))
        answer = found(
            fact("Ada", "enjoys", "tea", [1], confidence=0.2), fact("Ada", "likes", "tea", [1]),
            fact("Ada", "Likes", "tea", [1, 1]),
        )  # fmt: skip

        again = one(learn(BATCH, answer, []))

        assert (again.w, again.n, again.src) == (once.w, once.n, once.src)

    def test_the_other_direction_is_another_fact(self) -> None:
        answer = found(fact("Ada", "knows", "Grace Hopper"), fact("Grace Hopper", "knows", "Ada"))

        assert len(learn(BATCH, answer, []).edges) == 2

    def test_a_long_sentence_is_cut(self) -> None:
        edge = one(learn(BATCH, found(fact("Ada", "likes", "tea", fact="Ada\nlikes " + "x" * 9_000)), []))

        assert edge.fact.startswith("Ada likes xxx")
        assert edge.fact.endswith("…")
        assert len(edge.fact) == 500


class TestDates:
    @pytest.mark.parametrize("since", ["2026-05-01", " 2026-05-01 ", "2026-05-01T12:00:00Z", "20260501"])
    def test_a_day_begins_at_its_midnight(self, since: str) -> None:
        edge = one(learn(BATCH, found(fact("Ada", "likes", "tea", since=since)), []))

        assert edge.valid_from == datetime(2026, 5, 1, tzinfo=UTC).timestamp() * 1000

    @pytest.mark.parametrize(
        "since", [None, "", "May", "2026", "2026-05", "2026-02-30", "-1", "\x00", "x" * 99999]
    )
    def test_what_is_no_day_is_none(self, since: str | None) -> None:
        assert one(learn(BATCH, found(fact("Ada", "likes", "tea", since=since)), [])).valid_from is None

    @pytest.mark.parametrize("since", ["0001-01-01", "9999-12-31"])
    def test_the_first_and_the_last_can_be_kept(self, since: str) -> None:
        valid_from = one(learn(BATCH, found(fact("Ada", "likes", "tea", since=since)), [])).valid_from

        assert valid_from is not None
        assert abs(valid_from) < 2**63


class TestAnswers:
    @pytest.mark.parametrize("confidence", [-0.1, 1.1, math.nan, math.inf])
    def test_a_confidence_that_is_none_does_not_fit(self, confidence: float) -> None:
        with pytest.raises(ValidationError):
            fact("Ada", "likes", "tea", confidence=confidence)

    def test_more_than_anyone_can_say_do_not_fit(self) -> None:
        with pytest.raises(ValidationError):
            found(*[fact("Ada", "likes", "tea")] * (MOST + 1))

    def test_the_largest_answer_fits_into_one_query(self) -> None:
        facts = [fact(f"thing {number}", "is near", f"place {number}") for number in range(MOST)]

        learned = learn(BATCH, found(*facts, entities=[(f"being {n}", "other") for n in range(MOST)]), [])

        assert len(learned.nodes) + len(learned.edges) == 4 * MOST <= LARGEST

    words = st.text("aB 'é7(_.\x00’", max_size=8)

    @given(
        st.lists(st.tuples(words, st.sampled_from(KINDS)), max_size=5),
        st.lists(st.tuples(words, words, words, st.lists(st.integers(-1, 5), max_size=3)), max_size=8),
        st.lists(st.tuples(words, st.sampled_from(KINDS)), max_size=3),
    )
    def test_whatever_it_is_each_edge_has_its_ends_and_sources(
        self,
        entities: list[tuple[str, str]],
        facts: list[tuple[str, str, str, list[int]]],
        known: list[tuple[str, str]],
    ) -> None:
        answer = found(*(fact(s, p, o, numbers) for s, p, o, numbers in facts), entities=entities)

        learned = learn(BATCH, answer, known)

        there = set(ids(learned))
        assert len(there) == len(learned.nodes)
        keys = [(edge.s, edge.p, edge.o) for edge in learned.edges]
        assert len(set(keys)) == len(keys)
        for edge in learned.edges:
            assert {edge.s, edge.o} <= there
            assert edge.s != edge.o
            assert 0 < edge.w < 1
            assert edge.n == len(edge.src) == len(set(edge.src)) > 0
            assert set(edge.src) <= set(BATCH.sources)
        assert learned.dropped <= len(entities) + len(facts)


def test_times_are_in_milliseconds() -> None:
    assert said(0).ms == T0.timestamp() * 1000


def test_a_fact_is_what_the_model_was_asked_for() -> None:
    assert set(FoundFact.model_fields) == {
        "subject", "predicate", "object", "fact", "messages", "since", "confidence"
    }  # fmt: skip
