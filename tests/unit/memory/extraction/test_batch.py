"""Where batches end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.memory.extraction.stand_ins import CHANNEL, batch_of, said

from bgtasks.memory.extraction.batch import LONGEST, MESSAGES, Batch, first_batch, halved, is_read
from bgtasks.memory.messages import Message

LONG = "x" * 4_000


def many(count: int, text: str = "Hello.") -> list[Message]:
    return [said(number, text) for number in range(count)]


def cut(entries: list[Message]) -> int:
    """How many entries the first batch takes."""
    return [entry.cursor for entry in entries].index(first_batch(entries)) + 1


class TestWhatIsRead:
    @pytest.mark.parametrize(
        "message",
        [
            said(0),
            said(0, "🌱"),
            said(0, origin="agent", role="assistant"),
            said(0, op="edit"),
            said(0, op="again"),
        ],
    )
    def test_what_was_said(self, message: Message) -> None:
        assert is_read(message)

    @pytest.mark.parametrize(
        "message",
        [
            said(0, ""),
            said(0, " \n\t"),
            said(0, origin="tool"),
            said(0, origin="recalled"),
            said(0, op="del"),
        ],
    )
    def test_not_what_was_recalled_called_deleted_or_is_blank(self, message: Message) -> None:
        assert not is_read(message)


class TestTheFirstBatch:
    def test_takes_all_of_a_few(self) -> None:
        assert cut(many(3)) == 3

    def test_takes_forty_messages(self) -> None:
        assert MESSAGES == 40
        assert cut(many(39)) == 39
        assert cut(many(40)) == 40
        assert cut(many(41)) == 40
        assert cut(many(500)) == 40

    def test_takes_fewer_if_they_are_long(self) -> None:
        assert cut(many(40, LONG)) == 3  # of 1,010 tokens each, of 4,000

    def test_takes_one_that_is_too_long_by_itself(self) -> None:
        huge = said(0, "x" * 1_000_000)

        assert cut([huge, *many(3)]) == 4  # of which 8,000 characters, some 2,000 tokens, are read
        assert cut([replace(huge, text="汉" * 1_000_000), *many(3)]) == 1
        assert cut([*many(3), replace(huge, text="汉" * 1_000_000)]) == 3

    def test_what_is_not_read_goes_along_and_does_not_count(self) -> None:
        beside = [
            said(50, origin="tool"),
            said(51, ""),
            said(52, op="del"),
            said(53, LONG * 9, origin="recalled"),
        ]

        assert cut(many(40) + beside) == 44
        assert cut(beside + many(40)) == 44
        assert cut(many(40)[:20] + beside + many(41)[20:]) == 44
        assert cut(beside) == 4

    def test_what_is_not_read_after_a_full_batch_goes_with_it(self) -> None:
        assert cut([*many(40), said(50, origin="tool"), *many(1)]) == 41

    def test_an_edit_and_one_put_there_again_count_like_any(self) -> None:
        assert cut([said(0, op="edit"), *many(38), said(50, op="again"), said(51)]) == 40


class TestHalves:
    def test_the_first_half_is_the_smaller(self) -> None:
        assert halved(batch_of(*many(2))) == said(0).cursor
        assert halved(batch_of(*many(5))) == said(1).cursor
        assert halved(batch_of(*many(40))) == said(19).cursor

    def test_one_message_cannot_be_halved(self) -> None:
        assert halved(batch_of(said(0))) is None
        assert halved(Batch(CHANNEL, "5-0", ())) is None


def test_sources_name_the_channel_and_the_message() -> None:
    assert batch_of(said(0), said(1)).sources == (f"{CHANNEL}/m0", f"{CHANNEL}/m1")


def test_a_text_is_cut_where_the_reader_stops() -> None:
    assert LONGEST == 8_000
