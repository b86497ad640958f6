"""What a store has is shown in words that fit into a line, and obeys nobody who wrote it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bgtasks.cli import display
from bgtasks.cli.display import (
    ago,
    console,
    instant,
    one_line,
    read_instant,
    read_json,
    say,
    show,
    span,
    tail,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "now", lambda: NOON)
    monkeypatch.setenv("COLUMNS", "40")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0ms"),
        (0.0042, "4ms"),
        (0.9999, "1s"),
        (2.5, "2.5s"),
        (9.0, "9s"),
        (42.4, "42s"),
        (200.0, "3m20s"),
        (3600.0, "1h"),
        (7_530.0, "2h6m"),
        (86_400 * 2 + 4 * 3600 + 59, "2d4h"),
    ],
)
def test_a_span_is_said_so_far_as_it_is_of_interest(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_an_instant_is_said_from_now_on() -> None:
    assert ago(None) == ""
    assert ago(NOON + timedelta(seconds=0.4)) == "now"
    assert ago(NOON + timedelta(minutes=59)) == "in 59m"
    assert ago(NOON - timedelta(seconds=2)) == "2s ago"


def test_an_instant_has_its_year_if_it_is_another_one() -> None:
    assert instant(NOON) == "11-21 12:00:00"
    assert instant(NOON.replace(year=2025)) == "2025-11-21 12:00"
    assert instant(None) == ""


def test_what_is_no_instant_or_no_json_is_not_taken_for_one() -> None:
    assert read_instant("2026-11-21T12:00:00+00:00") == NOON
    assert [read_instant(each) for each in (None, 7, "noon", "2026-11-21")] == [None] * 4
    assert (read_json("{x"), read_json("[1]"), read_json(None)) == ("{x", [1], None)


def test_what_a_terminal_would_obey_is_left_out() -> None:
    assert one_line("a\x1b[31m b\n\n c\x9b2J\ud800") == "a [31m b c 2J"


def test_of_a_long_name_the_end_is_kept() -> None:
    assert tail("agents-7f9c4b5d6-x2x9z-1", 10) == "…6-x2x9z-1"
    assert tail(None) == ""


def test_a_table_leaves_out_what_is_empty_and_cuts_what_is_long(capsys: pytest.CaptureFixture[str]) -> None:
    show(("name", "nothing", "much"), [("[red]a", "", "long " * 20)], cut=("much",))

    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "much"]
    assert row.startswith("[red]a  long long")
    assert row.endswith("…")
    assert len(row) <= 40


def test_a_table_folds_what_is_to_be_read_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    show(("name", "why"), [("it", "word " * 20)], fold={"why": 80})

    assert capsys.readouterr().out.count("word") == 20


def test_what_no_terminal_shows_is_not_cut_nor_filled_with_blanks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS")
    show(("name", "much"), [("a", "long " * 100), ("b", "short")], cut=("much",))

    header, long, short = capsys.readouterr().out.splitlines()
    assert (header, long.count("long"), short) == ("name  much", 100, "b     short")


def test_a_terminal_says_how_wide_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console().width == 40
    monkeypatch.delenv("COLUMNS")
    assert console().width < display.WIDE


def test_a_line_is_said_without_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    say("a  [b]\x1b[2J")
    say("c\n\ud800", err=True)
    assert capsys.readouterr() == ("a  [b] [2J\n", "c  \n")
