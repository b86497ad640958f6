"""A line that is no message is reported by its number, and the rest goes in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks.errors import InvalidMessage
from bgtasks.memory.jsonl import BadLine, read_file, read_lines
from bgtasks.memory.messages import Message

PARTS: dict[str, Any] = {
    "channel": "allotment",
    "id": "a1",
    "author": "Ada",
    "ts": "2026-09-01T07:12:17Z",
    "text": "hi",
}
GOOD = Message(
    channel="allotment", id="a1", author="Ada", ts=datetime(2026, 9, 1, 7, 12, 17, tzinfo=UTC), text="hi"
)
GOOD_LINE = json.dumps(PARTS).encode() + b"\n"


def line(**changes: Any) -> bytes:
    """A good line with changes; `...` removes a part."""
    entry = {name: value for name, value in {**PARTS, **changes}.items() if value is not ...}
    return json.dumps(entry).encode() + b"\n"


def read(lines: Iterable[bytes]) -> list[Message | BadLine]:
    return list(read_lines(lines))


BAD: dict[str, tuple[bytes, str]] = {
    "plain text": (b"hello there\n", "not JSON: Expecting value at column 1"),
    "half an object": (b'{"channel": "a"\n', "not JSON: "),
    "a list": (b"[1, 2]\n", "not a message: a JSON object is expected, with channel, id, author, ts, text"),
    "a string": (b'"hello"\n', "not a message: a JSON object"),
    "a number": (b"5\n", "not a message: a JSON object"),
    "null": (b"null\n", "not a message: a JSON object"),
    "an empty object": (b"{}\n", "lacks channel, id, author, ts, text"),
    "no text": (line(text=...), "lacks text"),
    "no channel and no id": (line(channel=..., id=...), "lacks channel, id"),
    "a naive instant": (line(ts="2026-09-01T07:12:17"), "says no time zone: add one"),
    "a date": (line(ts="2026-09-01"), "says no time zone"),
    "no instant": (line(ts="yesterday"), "ts 'yesterday' is no instant"),
    "an empty instant": (line(ts=""), "ts '' is no instant"),
    "an instant that is true": (line(ts=True), "not bool"),
    "an instant that is null": (line(ts=None), "not NoneType"),
    "an instant that is a list": (line(ts=[1]), "not list"),
    "NaN": (line(ts=float("nan")), "ts nan is no instant"),
    "infinite": (line(ts=float("inf")), "ts inf is no instant"),
    "far too late": (line(ts=1e300), "is no instant"),
    "milliseconds taken for seconds": (line(ts=1_788_246_737_000), "is no instant"),
    "before 1970": (line(ts=-1), "is not between the years 1970 and 9999"),
    "the year 1": (line(ts="0001-01-01T00:00:00Z"), "is not between the years 1970 and 9999"),
    "before the year 1": (line(ts="0001-01-01T00:00:00+14:00"), "is not between the years 1970 and 9999"),
    "a 30th of February": (line(ts="2026-02-30T00:00:00Z"), "is no instant"),
    "a channel that is null": (line(channel=None), "channel is a string, not NoneType"),
    "a channel that is an object": (line(channel={"id": 1}), "channel is a string, not dict"),
    "an id that is true": (line(id=True), "id is a string, not bool"),
    "an id with a fraction": (line(id=1.5), "id is a string, not float"),
    "an author in a list": (line(author=["Ada"]), "author is a string, not list"),
    "a text that is a number": (line(text=5), "text is a string, not int"),
    "a text that is null": (line(text=None), "text is a string, not NoneType"),
    "a role that is a number": (line(role=1), "role is a string, not int"),
    "an empty channel": (line(channel=" "), "channel is empty"),
    "an empty id": (line(id=""), "id is empty"),
    "an empty author": (line(author="\t"), "author is empty"),
    "an unknown origin": (
        line(origin="martian"),
        "origin is one of human, agent, recalled, tool, not 'martian'",
    ),
    "an origin that is a list": (line(origin=[]), "origin is one of"),
    "an origin that is an object": (line(origin={}), "origin is one of"),
    "an origin that is null": (line(origin=None), "origin is one of"),
    "no UTF-8": (b'{"channel": "\xff\xfe"}\n', "not UTF-8 text"),
    "Latin-1": ('{"text": "Ääkkösiä"}\n'.encode("latin-1"), "not UTF-8 text"),
    "NUL": (b"\x00\x00\x00\n", "not JSON: "),
    "a control character in a string": (b'{"channel": "a\x01"}\n', "not JSON: "),
    "nested lists without end": (b"[" * 200_000 + b"\n", "nested too deeply"),
    "nested objects without end": (b'{"a":' * 200_000 + b"\n", "nested too deeply"),
    "a number of 5,000 digits": (b'{"id": ' + b"1" * 5000 + b"}\n", "not "),
    "two objects": (b"{} {}\n", "not JSON: Extra data at column 4"),
    "a trailing comma": (b'{"id": 1,}\n', "not JSON: "),
    "a BOM in the middle": (b"\xef\xbb\xbf" + GOOD_LINE, "not JSON: "),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_reported_by_number_and_the_rest_goes_in(bad: bytes, reason: str) -> None:
    first, second, third = read([GOOD_LINE, bad, GOOD_LINE])

    assert isinstance(second, BadLine)
    assert second.number == 2
    assert reason in second.reason
    assert (first, third) == (GOOD, GOOD)


def test_bad_lines_alone_are_all_reported() -> None:
    found = read(bad for bad, _ in BAD.values())

    assert [each.number for each in found if isinstance(each, BadLine)] == list(range(1, len(BAD) + 1))


def test_the_reason_for_a_huge_bad_value_stays_readable() -> None:
    [found] = read([line(origin="x" * 1_000_000)])

    assert isinstance(found, BadLine)
    assert len(found.reason) < 1000


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-09-01T07:12:17+00:00", datetime(2026, 9, 1, 7, 12, 17, tzinfo=UTC)),
        ("2026-09-01T07:12:17Z", datetime(2026, 9, 1, 7, 12, 17, tzinfo=UTC)),
        ("2026-09-01 10:12:17.250+03:00", datetime(2026, 9, 1, 7, 12, 17, 250_000, tzinfo=UTC)),
        (1_788_246_737, datetime(2026, 9, 1, 7, 12, 17, tzinfo=UTC)),
        (1_788_246_737.5, datetime(2026, 9, 1, 7, 12, 17, 500_000, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_an_instant_is_iso_text_with_a_zone_or_seconds_since_1970(written: Any, instant: datetime) -> None:
    [found] = read([line(ts=written)])

    assert isinstance(found, Message)
    assert found.ts == instant


def test_the_zone_that_was_written_is_kept() -> None:
    [found] = read([line(ts="2026-09-01T07:12:17+05:30")])

    assert isinstance(found, Message)
    assert found.ts.tzinfo == timezone(timedelta(hours=5, minutes=30))


def test_ids_and_names_may_be_numbers_as_in_many_exports() -> None:
    [found] = read([line(id=17, channel=3, author=5)])

    assert isinstance(found, Message)
    assert (found.id, found.channel, found.author) == ("17", "3", "5")


def test_role_and_origin_are_taken_and_anything_else_is_passed_over() -> None:
    [found] = read([line(role="assistant", origin="recalled", reactions=[{"a": 1}], edited=None)])

    assert isinstance(found, Message)
    assert (found.role, found.origin) == ("assistant", "recalled")
    assert (GOOD.role, GOOD.origin) == ("user", "human")


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_do_no_harm() -> None:
    windows = GOOD_LINE.replace(b"\n", b"\r\n")

    found = read([b"\xef\xbb\xbf" + windows, b"\r\n", b"  \t\n", b"\n", windows, b"oops\r\n"])

    assert found[:2] == [GOOD, GOOD]
    assert isinstance(found[2], BadLine)
    assert found[2].number == 6


def test_a_byte_order_mark_and_nothing_else_is_an_empty_file() -> None:
    assert read([b"\xef\xbb\xbf"]) == []


def test_a_last_line_that_is_cut_off_is_reported_and_the_rest_goes_in(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_bytes((GOOD_LINE * 3)[:-20])

    found = list(read_file(path))

    assert found[:2] == [GOOD, GOOD]
    assert isinstance(found[2], BadLine)
    assert found[2].number == 3
    assert len(found) == 3


def test_a_last_line_without_a_line_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "last.jsonl"
    path.write_bytes(GOOD_LINE.strip())

    assert list(read_file(path)) == [GOOD]


def test_a_line_cut_in_the_middle_of_a_character_is_reported() -> None:
    cut = json.dumps({**PARTS, "text": "🦡"}, ensure_ascii=False).encode()[:-4]

    [found] = read([cut])

    assert found == BadLine(1, "not UTF-8 text")


def test_a_compressed_file_is_all_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "conversation.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD_LINE * 500, mtime=0))

    found = list(read_file(path))

    assert found
    assert all(isinstance(each, BadLine) for each in found)


def test_an_empty_file_is_no_message_and_no_error(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()

    assert list(read_file(path)) == []


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_opened_is_one_error_that_names_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    with pytest.raises(InvalidMessage, match=r"cannot be read: (No such file|Is a directory)") as caught:
        list(read_file(path))

    assert str(path) in str(caught.value)


def test_a_file_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(GOOD_LINE * 3 + b"\xff\n")

    lines = read_file(path)

    assert next(iter(lines)) == GOOD
    assert len(list(lines)) == 3


def test_the_packaged_conversation_has_no_bad_line() -> None:
    import bgtasks.demo

    found = list(read_file(Path(bgtasks.demo.__file__).with_name("conversation.jsonl")))

    assert len(found) == 378
    assert all(isinstance(each, Message) for each in found)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_bytes_at_all_stop_the_reading(garbage: list[bytes]) -> None:
    found = read([GOOD_LINE, *garbage, GOOD_LINE])

    assert found[0] == GOOD
    assert found[-1] == GOOD
    assert all(isinstance(each, BadLine) for each in found[1:-1])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*PARTS, "role", "origin"]), _JSON))
def test_no_json_values_at_all_stop_the_reading(changes: dict[str, Any]) -> None:
    found = read([GOOD_LINE, line(**changes), GOOD_LINE])

    assert len(found) == 3
    assert found[0] == found[2] == GOOD
