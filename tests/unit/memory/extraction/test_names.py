"""Names as a model writes them, made such that one thing has one name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks.memory.extraction.names import LONGEST, name_of, owner_of, predicate_of


class TestNames:
    @pytest.mark.parametrize(
        ("written", "name"),
        [
            ("Walter Pettifer", "Walter Pettifer"),
            ("  Walter \n\t Pettifer ", "Walter Pettifer"),
            ("the greenhouse", "greenhouse"),
            ("The Greenhouse", "Greenhouse"),
            ("an apple tree", "apple tree"),
            ("A cat", "cat"),
            ("A", "A"),
            ("Theodora", "Theodora"),
            ("“Ulysses”", "Ulysses"),
            ("'the “Ulysses”'", "Ulysses"),
            ("«Война и мир»", "Война и мир"),
            ("*Dune*,", "Dune"),
            ("McDonald's", "McDonald's"),
            ("McDonald’s", "McDonald's"),
            ("the neighbours'", "neighbours"),
            ("O'Brien", "O'Brien"),
            ("Mercury (planet)", "Mercury (planet)"),
            ("(Mercury)", "Mercury"),
            ("(500) Days of Summer", "(500) Days of Summer"),
            ("“(500) Days (2009)”", "(500) Days (2009)"),
            ("[REC] 2", "[REC] 2"),
            ("the (very) old oak", "(very) old oak"),
            ("US", "US"),
            ("the US", "US"),
            ("IT", "IT"),
            ("WHO", "WHO"),
            ("The Who", "The Who"),
            ("“the Who”", "the Who"),
            ("C++", "C++"),
            ("Ｋａｓｉａ", "Kasia"),
            ("ﬁne arts", "fine arts"),
            ("Kasia\x00Nowak", "Kasia Nowak"),
            ("4th of July", "4th of July"),
            ("東京", "東京"),
        ],
    )
    def test_are_tidied(self, written: str, name: str) -> None:
        assert name_of(written) == name

    @pytest.mark.parametrize(
        "written",
        [
            "",
            " ",
            "I",
            "a I",
            "it",
            "It",
            "Us",
            "us",
            "Who",
            "the who",
            "it's",
            "It’s",
            "she",
            "Myself",
            "the one",
            "those",
            "'it'",
            "42",
            "3.14",
            "2026-09-01",
            "?!",
            "🌱",
            "\x00",
        ],
    )
    def test_a_pronoun_a_number_or_a_sign_is_none(self, written: str) -> None:
        assert name_of(written) is None

    def test_what_is_as_long_as_a_sentence_is_none(self) -> None:
        assert name_of("a" * LONGEST) == "a" * LONGEST
        assert name_of("a" * (LONGEST + 1)) is None
        assert name_of("x" * 1_000_000) is None
        assert name_of("x" + "(" * 100 + "y") is None

    @given(st.text(max_size=150))
    def test_whatever_is_written_a_name_is_in_one_line_and_not_longer_than_that(self, written: str) -> None:
        name = name_of(written)

        assert name is None or (name == " ".join(name.split()) and 0 < len(name) <= LONGEST)


class TestOwners:
    @pytest.mark.parametrize(
        ("written", "owner"),
        [
            ("Kasia's", "Kasia"),
            ("Kasia’s", "Kasia"),
            ("KASIA'S", "KASIA"),
            ("“The Rock's”", "The Rock"),
            ("Kasia", None),
            ("O'Brien", None),
            ("James", None),
            ("'s", None),
            ("", None),
        ],
    )
    def test_are_whom_a_possessive_names(self, written: str, owner: str | None) -> None:
        assert owner_of(written) == owner


class TestPredicates:
    @pytest.mark.parametrize(
        ("written", "predicate"),
        [
            ("lives_in", "lives_in"),
            ("Lives in", "lives_in"),
            (" lives-in! ", "lives_in"),
            ("__lives__in__", "lives_in"),
            ("ｌｉｖｅｓ_in", "lives_in"),
            ("wohnt_in", "wohnt_in"),
            ("живёт в", "живёт_в"),
        ],
    )
    def test_are_in_snake_case(self, written: str, predicate: str) -> None:
        assert predicate_of(written) == predicate

    @pytest.mark.parametrize(
        ("written", "predicate"),
        [
            ("resides_in", "lives_in"),
            ("Employed by", "works_for"),
            ("spouse of", "married_to"),
            ("is friends with", "friend_of"),
            ("ENJOYS", "likes"),
            ("is a member of", "member_of"),
        ],
    )
    def test_synonyms_are_one(self, written: str, predicate: str) -> None:
        assert predicate_of(written) == predicate

    @pytest.mark.parametrize("written", ["belongs_to", "moved_to", "works_for", "loves", "visited"])
    def test_what_means_another_thing_of_another_kind_is_no_synonym(self, written: str) -> None:
        assert predicate_of(written) == written  # a tent belongs to Kasia; one visits people

    @pytest.mark.parametrize("written", ["", "_", "42", "…", "is " * 40, "x" * 1_000_000])
    def test_what_is_no_word_or_a_sentence_is_none(self, written: str) -> None:
        assert predicate_of(written) is None
