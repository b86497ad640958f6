"""Which names of a batch are looked up."""

from __future__ import annotations

import pytest
from tests.unit.memory.extraction.stand_ins import CountingGraph, batch_of, said

from bgtasks.graph.schema import key_of
from bgtasks.memory.extraction.known import known_names


async def looked_up(text: str) -> set[str]:
    graph = CountingGraph()
    await known_names(graph, batch_of(said(1, text, "?")))
    [keys] = graph.asked_for
    return set(keys) - {"?"}


class TestKnownNames:
    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("nothing here", set()),
            ("", set()),
            ("🌱 ... 42", set()),
            ("Ada", {"ada"}),
            ("I saw Ada.", {"i", "i saw", "i saw ada", "ada"}),
            (
                "on New York time now",
                {"new", "new york", "new york time", "york", "york time", "york time now"},
            ),
            ("'Ulysses'", {"ulysses"}),
            ("-Ada-", {"ada"}),
            ("by O'Brien", {"o'brien"}),
            ("to Jean-Luc", {"jean-luc"}),
            ("with Łukasz", {"łukasz"}),
            ("with Łukasz,Ada/Zoe", {"łukasz", "łukasz ada", "łukasz ada zoe", "ada", "ada zoe", "zoe"}),
            ("with Zoe\u0301", {key_of("Zoé")}),
            ("@Ada❤", {"ada"}),
            ("''Ada--Bob", {"ada", "ada bob", "bob"}),
        ],
    )
    async def test_are_what_begins_with_a_capital(self, text: str, names: set[str]) -> None:
        assert await looked_up(text) == names

    async def test_in_a_script_without_capitals_may_begin_anywhere(self) -> None:
        assert await looked_up("मीरा दिल्ली में") == {
            *("मीरा", "मीरा दिल्ली", "मीरा दिल्ली में"),
            *("दिल्ली", "दिल्ली में", "में"),
        }

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("with Ada's", {"ada's", "ada"}),
            ("with Ada’s cat", {"ada’s", "ada's", "ada", "ada’s cat", "ada's cat"}),
            ("at The Rock's", {"the", "the rock's", "the rock", "rock's", "rock"}),
        ],
    )
    async def test_a_possessive_is_looked_up_as_a_name_and_without(self, text: str, names: set[str]) -> None:
        assert await looked_up(text) == names

    async def test_authors_are_looked_up_by_name_and_those_of_the_context(self) -> None:
        graph = CountingGraph()

        await known_names(graph, batch_of(said(1, "…", "The Rock"), context=[said(0, "Grace", "ALAN")]))

        assert graph.asked_for == [["alan", "the rock"]]

    async def test_what_is_known_is_given_as_it_is_written(self) -> None:
        graph = CountingGraph()
        graph.names = [("Kasia", "person"), ("greenhouse", "place")]

        assert await known_names(graph, batch_of(said(1))) == graph.names

    async def test_a_long_text_asks_for_no_more_than_a_query_holds(self) -> None:
        graph = CountingGraph()
        words = " ".join(f"Name{number}" for number in range(200_000))

        await known_names(graph, batch_of(*(said(number, words) for number in range(40))))

        [keys] = graph.asked_for
        assert len(keys) <= 2_000
        assert all(key == key_of(key) for key in keys)
