"""Triggers as lines of text, written by us or by hand, and read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks import Cron, Every, Once
from bgtasks.errors import InvalidTrigger
from bgtasks.trigger_text import read_trigger, trigger_text
from bgtasks.triggers import Trigger

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)


class Own:
    def next_after(self, when: datetime) -> datetime | None:
        return None


class TestWhatIsWritten:
    @pytest.mark.parametrize(
        ("trigger", "line"),
        [
            (Every("4h"), "every 4h"),
            (Every("4h", fixed_rate=True), "every 4h at a fixed rate"),
            (Cron("0 9 * * 1-5", "Europe/Helsinki"), "cron 0 9 * * 1-5 (Europe/Helsinki)"),
            (Cron("@daily"), "cron @daily (UTC)"),
            (Once(NOON), "once at 2026-12-24T12:00:00+00:00"),
        ],
    )
    def test_is_a_line_that_is_read_as_an_equal_trigger(self, trigger: Trigger, line: str) -> None:
        assert trigger_text(trigger) == line
        assert read_trigger(line) == trigger

    def test_has_no_line_for_a_kind_of_ones_own(self) -> None:
        assert trigger_text(Own()) is None

    @given(st.integers(1, 10**12), st.booleans())
    def test_of_any_interval_is_read_back(self, milliseconds: int, fixed_rate: bool) -> None:
        trigger = Every(timedelta(milliseconds=milliseconds), fixed_rate=fixed_rate)
        line = trigger_text(trigger)
        assert line is not None
        assert read_trigger(line) == trigger

    @given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001
    def test_of_any_instant_is_read_back(self, when: datetime) -> None:
        trigger = Once(when.replace(tzinfo=timezone(timedelta(hours=5, minutes=30))))
        line = trigger_text(trigger)
        assert line is not None
        assert read_trigger(line) == trigger


class TestWhatIsWrittenByHand:
    @pytest.mark.parametrize(
        ("line", "trigger"),
        [
            ("4h", Every("4h")),
            ("  1d12h ", Every("36h")),
            ("EVERY 90s", Every(90)),
            ("4h  at a Fixed  rate", Every("4h", fixed_rate=True)),
            ("0 9 * * 1-5", Cron("0 9 * * 1-5")),
            ("*/5 * * * *", Cron("*/5 * * * *")),
            ("0 9 * * MON-FRI Europe/Helsinki", Cron("0 9 * * MON-FRI", "Europe/Helsinki")),
            (
                "cron @hourly America/Argentina/Buenos_Aires",
                Cron("@hourly", "America/Argentina/Buenos_Aires"),
            ),
            ("0 0 1 1 * (Etc/GMT+5)", Cron("0 0 1 1 *", "Etc/GMT+5")),
            ("once 2026-12-24 14:00+02:00", Once(NOON)),
            ("Once at 2026-12-24T12:00:00Z", Once(NOON)),
        ],
    )
    def test_is_read(self, line: str, trigger: Trigger) -> None:
        assert read_trigger(line) == trigger

    @pytest.mark.parametrize(
        "line",
        [
            "", "soon", "every", "every day", "0s", "-5m", "4h at a", "4x", "61 * * * *", "* * * *",
            "@reboot",
            "* * * * * (Europe/Nowhere)", "once", "once at noon", "once at 2026-12-24T12:00:00", "4h 5",
            "cron 4h", "0 9 * * 1-5 (Europe/Helsinki) x",
        ],
    )  # fmt: skip
    def test_is_refused_if_it_is_no_trigger(self, line: str) -> None:
        with pytest.raises(InvalidTrigger):
            read_trigger(line)

    def test_is_refused_with_what_to_write(self) -> None:
        with pytest.raises(InvalidTrigger, match='write an interval such as "4h"'):
            read_trigger("whenever you like")
