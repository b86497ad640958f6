"""What becomes of values on their way into a query. A real server is given them in tests/contracts."""

from __future__ import annotations

import pytest

from bgtasks.errors import InvalidMessage
from bgtasks.graph.clean import clean, clean_id, clean_text
from bgtasks.graph.timeouts import warning


def test_texts_are_cleaned_wherever_they_are_and_the_rest_is_as_it_was() -> None:
    given = {"a\x00": ["\ud800", ("x\x00", None, True, 1, 0.5)], 7: {"k": "v"}}

    assert clean(given) == {"a": ["?", ["x", None, True, 1, 0.5]], "7": {"k": "v"}}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2**63, [1, {"a": -(2**63) - 1}]])
def test_numbers_that_no_graph_keeps_are_refused(bad: object) -> None:
    with pytest.raises(InvalidMessage, match="cannot be stored in the graph"):
        clean(bad)


def test_the_largest_integers_are_kept() -> None:
    assert clean([2**63 - 1, -(2**63)]) == [2**63 - 1, -(2**63)]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\x00b", "ab"),
        ("a\x01\x02b\x08", "a\ufffd\ufffdb\ufffd"),
        ("a\x0bb\x0cc\x1fd", "a b c d"),
        ("a\tb\nc\r\x7f\x85", "a\tb\nc\r\x7f\x85"),
        ("\udfff日本🦡", "?日本🦡"),
    ],
)
def test_a_text_keeps_no_control_characters_but_tabs_and_line_ends(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned
    assert clean_text(cleaned) == cleaned


def test_ids_that_differ_before_they_are_cleaned_differ_afterwards() -> None:
    ids = ["c", "c\x00", "c\x01", "c\x02", "c\ufffd", "c\x0b", "c "]
    cleaned = [clean_id(each) for each in ids]

    assert len(set(cleaned)) == len(ids)
    assert [clean_id(each) for each in cleaned] == cleaned
    assert [each for each in ids if clean_id(each) == each] == ["c", "c\ufffd", "c "]
    assert all(clean_text(each) == each for each in cleaned)


def test_a_server_that_cuts_queries_off_is_described_with_the_cure() -> None:
    said = warning({"TIMEOUT_DEFAULT": 1000, "TIMEOUT_MAX": 2000})

    assert "TIMEOUT_DEFAULT=1000, TIMEOUT_MAX=2000 ms" in said
    assert "GRAPH.CONFIG SET TIMEOUT_DEFAULT 0; GRAPH.CONFIG SET TIMEOUT_MAX 0" in said
