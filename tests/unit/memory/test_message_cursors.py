"""Cursors compare as numbers, and their padded form as text, alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks.errors import InvalidMessage
from bgtasks.memory.cursors import cursor_key, padded, unpadded

MS = st.integers(0, 2**64 - 1)
SEQUENCES = st.integers(0, 10**10 - 1)
KEYS = st.tuples(MS, SEQUENCES) | st.tuples(st.integers(0, 20), st.integers(0, 20))


@given(KEYS, KEYS)
def test_both_forms_sort_as_the_numbers_do(one: tuple[int, int], other: tuple[int, int]) -> None:
    cursors = [f"{ms}-{sequence}" for ms, sequence in (one, other)]

    assert [cursor_key(cursor) for cursor in cursors] == [one, other]
    assert (padded(cursors[0]) < padded(cursors[1])) == (one < other)
    assert [unpadded(padded(cursor)) for cursor in cursors] == cursors


def test_the_beginning_comes_before_all() -> None:
    assert cursor_key(None) == (0, 0) < cursor_key("0-1") < cursor_key("1")
    assert padded(None) < padded("0-1")
    assert unpadded("") is None


@pytest.mark.parametrize("cursor", ["x", "-", "5-", "-5", "5--1", "5-1-1", "+", "1.5-0", f"{2**64}-0"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    for read in (cursor_key, padded, unpadded):
        with pytest.raises(InvalidMessage, match="is no cursor: the id of a stream entry"):
            read(cursor)
