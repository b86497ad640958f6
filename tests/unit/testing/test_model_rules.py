"""What the rules read from plain sentences, and what they leave alone."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bgtasks.testing.model.names import resolve
from bgtasks.testing.model.rules import read
from bgtasks.testing.model.verbs import COPULAS, VERBS
from bgtasks.testing.model.words import DETERMINERS, EVENTS, FILLERS, KIN, MONTHS, PLACES, word_set

KNOWN = ("Walter Pettifer", "Ewa Nowak", "Tom")
WHEN = datetime(2026, 9, 4, 18, 0, tzinfo=UTC)

RULES_WORDS = sorted(
    {word for words, *_ in COPULAS for word in words}
    | VERBS.keys() | DETERMINERS | EVENTS | FILLERS | KIN | PLACES | set(MONTHS)
    | word_set("I we am is are and of to in at the called Walter Paris Ada's tomorrow")
)  # fmt: skip
ANY_TEXT = st.lists(
    st.sampled_from(RULES_WORDS) | st.text("()[]\"'“’,.:;!?-&@# \naBıſ1", max_size=4) | st.text(max_size=3),
    max_size=12,
).map(" ".join)


def triples(text: str, author: str = "Ada") -> list[tuple[str, str, str]]:
    return [(one.subject, one.predicate, one.object) for one in read(author, text, WHEN, known=KNOWN)]


class TestAStatement:
    @pytest.mark.parametrize(
        ("text", "stated"),
        [
            ("I live in Uppsala.", ("Ada", "lives_in", "Uppsala")),
            ("btw I've moved to Lantern Street!", ("Ada", "moved_to", "Lantern Street")),
            ("Yesterday I went to the science museum with Tom.", ("Ada", "visited", "science museum")),
            ("I work for Northline Ferries.", ("Ada", "works_at", "Northline Ferries")),
            ("I'm a marine engineer.", ("Ada", "is_a", "marine engineer")),
            ("I'm married to Maria", ("Ada", "married_to", "Maria")),
            ("I really love pottery.", ("Ada", "likes", "pottery")),
            ("I do not like foxes.", ("Ada", "dislikes", "foxes")),
            ("My favourite style is contemporary dance.", ("Ada", "likes", "contemporary dance")),
            ("I am currently reading \"The Lean Startup\".", ("Ada", "reads", "The Lean Startup")),
            ("I wanna open a dance studio", ("Ada", "wants_to", "open dance studio")),
            ("We're planning a trip to the coast.", ("Ada", "plans", "trip")),
            ("Just started doing aerial yoga, it's great.", ("Ada", "started", "aerial yoga")),
            ("Lost my job as a banker last week.", ("Ada", "lost", "job")),
            ("I took the kids to the beach.", ("Ada", "visited", "beach")),
            ("I'm allergic to hazelnuts.", ("Ada", "allergic_to", "hazelnuts")),
            ("Ewa plays the cello.", ("Ewa", "plays", "cello")),
            ("Ewa is moving to Sopot in November.", ("Ewa", "is_moving_to", "Sopot")),
            ("Aunt Małgorzata lives in Toruń.", ("Aunt Małgorzata", "lives_in", "Toruń")),
            ("My brother Bengt works at a shop.", ("Bengt", "works_at", "shop")),
            ("My sister Ewa is here.", ("Ada", "has_sister", "Ewa")),
            ("Walter's wife Hettie wrote it.", ("Walter", "married_to", "Hettie")),
            ("Pickle is my dog.", ("Ada", "has_pet", "Pickle")),
            ("We got a cat named Bailey.", ("Ada", "has_pet", "Bailey")),
            ("Chidi is my husband, you know.", ("Ada", "married_to", "Chidi")),
            ("The tent is in the allotment shed.", ("tent", "is_in", "allotment shed")),
            ("Walter's birthday is on 10 October.", ("Walter's birthday", "is_on", "10 October")),
            ("Check out my painting!", ("Ada", "has", "painting")),
            ("See! [shares a photo: a photo of a red canoe]", ("Ada", "shared_photo_of", "red canoe")),
        ],
    )  # fmt: skip
    def test_is_read(self, text: str, stated: tuple[str, str, str]) -> None:
        assert stated in triples(text)

    def test_after_and_is_of_the_same_person(self) -> None:
        stated = triples("I come from Ibadan and I teach music, and bought a violin.")
        assert stated == [("Ada", "comes_from", "Ibadan"), ("Ada", "teaches", "music")]

    def test_lists_what_it_lists(self) -> None:
        assert [what for _, _, what in triples("I enjoy pottery, old maps and running.")] == [
            "pottery",
            "old maps",
            "running",
        ]

    def test_says_kinds_a_sentence_and_a_day(self) -> None:
        [stated] = read("Ada", "I moved to Uppsala in May.", WHEN)
        assert (stated.subject_kind, stated.object_kind) == ("person", "place")
        assert stated.sentence == "Ada moved to Uppsala."
        assert stated.since == "2026-05-01"

    def test_of_yours_is_of_the_only_other_one(self) -> None:
        said = read("Ada", "How is your bakery doing? I hope your bakery does well.", known=["Tom"])
        assert [(one.subject, one.object) for one in said] == [("Tom", "bakery")]
        assert triples("I hope your bakery does well.") == []


class TestNothing:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Do you live in Paris?",
            "I might move to Paris.",
            "I would have gone to Paris",
            "If I lived in Paris, then what",
            "I don't live in Pellow any more.",
            "I never went to Paris.",
            "I used to play tennis.",
            "I have to go to work",
            "I love it! I love that! I love how you did this",
            "I had a great time.",
            "It was a lot of fun.",
            'He said: "I live in Paris."',
            "You live in a dream.",
            "I love the colours in that painting",
            "Way to go, Tom!",
            "```I live in``` https://example.org/I-live-in-Paris",
            "\x00\ud800 💀",
        ],
    )
    def test_is_read_from(self, text: str) -> None:
        assert triples(text) == []


class TestAnyText:
    @given(ANY_TEXT, st.sampled_from(["", "I ", "I am ", "The ", "My ", "Walter ", "[photo: a photo of "]))
    @example("visited ((old) Paris)", "I ")
    @example("visited (https://en.wikipedia.org/wiki/Foo_(bar) Paris)", "I ")
    @example("live in ( Berlin", "I ")
    @example("like ( jazz", "I ")
    @example("went to '' yesterday", "I ")
    @example("moved to Paris on 3 auguſt", "I ")
    def test_is_read_or_left_alone(self, text: str, begun: str) -> None:
        for stated in read("Ada", begun + text, WHEN, known=KNOWN):
            assert stated.subject.strip()
            assert stated.object.strip()

    def test_is_read_where_a_bracket_is_left_of_it(self) -> None:
        assert triples("I visited ((old) Paris)") == [("Ada", "visited", "Paris")]

    @pytest.mark.parametrize(("word", "day"), [("tomorrow", "9999-12-31"), ("yesterday", "0001-01-01")])
    def test_may_mean_a_day_that_there_is_not(self, word: str, day: str) -> None:
        [stated] = read("Ada", f"I moved to Uppsala {word}.", datetime.fromisoformat(day))
        assert stated.since is None


class TestNames:
    @pytest.mark.parametrize(
        ("short", "full"),
        [
            ("Walter", "Walter Pettifer"),
            ("@walter", "Walter Pettifer"),
            ("W. Pettifer", "Walter Pettifer"),
            ("wpettifer", "Walter Pettifer"),
            ("Mr Pettifer", "Walter Pettifer"),
            ("Kasia", "Katarzyna Nowak"),
            ("Kasia Nowak", "Katarzyna Nowak"),
            ("Maria", "Maria"),
            ("Maria L.", "Maria Lindqvist"),
            ("Maria Lindqvist", "Maria Lindqvist"),
            ("Nobody", "Nobody"),
        ],
    )
    def test_a_short_one_is_the_one_it_can_only_be(self, short: str, full: str) -> None:
        known = [
            "Walter Pettifer",
            "Kasia",
            "Katarzyna Nowak",
            "Maria Lindqvist",
            "Maria Santos",
            "Kasia Nowak",
        ]
        assert resolve(short, known) == full


class TestTheTimeItTakes:
    @pytest.mark.parametrize(
        "text",
        ["I love " * 9999, "a" * 1_000_000, "my " * 99_999, '"' * 99_999, "[photo: " * 9999, "1 " * 99_999],
        ids=["verbs", "one word", "kin", "quotes", "brackets", "digits"],
    )  # fmt: skip
    def test_is_short_for_a_long_message(self, text: str) -> None:
        begun = time.process_time()
        read("Ada", text, WHEN, known=KNOWN)
        assert time.process_time() - begun < 0.1
