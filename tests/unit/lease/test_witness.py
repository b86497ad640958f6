"""Whether the clock of a server can be believed, as a model of one that runs apart and is set says."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bgtasks.lease import LeaseTimes
from bgtasks.lease.witness import GRAIN, SILENCE, ServerClock

TIMES = LeaseTimes()
CLEAR = TIMES.lease * TIMES.rate
"""Seconds that an answer may take and still say what the time is."""

BOOTED = 1_000.0
"""What the node's clock says at first: machines have been up for a while."""

SERVER = 1_767_225_600.0


@dataclass
class Asked:
    """One call: how long after the last, how long there and back, by how much the server was set before."""

    gap: float
    there: float = 0.001
    back: float = 0.001
    step: float = 0.0

    @property
    def took(self) -> float:
        return self.there + self.back


class Watched:
    """A node that asks a server for the time; it is the node's clock that is right."""

    def __init__(self, runs: float = 1.0, times: LeaseTimes = TIMES, now: float = BOOTED) -> None:
        self.clock = ServerClock(times, now)
        self.now = now
        self.heard: list[float] = []
        self._began = now
        self._runs = runs
        self._set = 0.0

    def server(self) -> float:
        return SERVER + (self.now - self._began) * self._runs + self._set

    def ask(self, asked: Asked, run_id: str = "a") -> bool:
        self.now += asked.gap
        self._set += asked.step
        sent = self.now
        self.now += asked.there
        at = self.server()
        self.now += asked.back
        self.heard.append(self.now)
        return self.clock.observe(sent, self.now, at, run_id)

    @property
    def anew(self) -> float:
        """From when it is trusted if all began anew with the last answer."""
        return self.now + TIMES.quarantine


def ordinary(**fixed: float) -> st.SearchStrategy[Asked]:
    """A call that was answered soon enough."""
    half = st.floats(0, CLEAR / 2)
    values = {"gap": st.floats(0, SILENCE * TIMES.lease - 2 * CLEAR), "there": half, "back": half}
    return st.builds(Asked, **(values | {name: st.just(value) for name, value in fixed.items()}))


within_the_rate = st.floats(1 - TIMES.rate, 1 + TIMES.rate)


class TestAnEvenClock:
    @given(st.lists(ordinary(), min_size=2, max_size=20), within_the_rate)
    def test_is_found_even_and_keeps_its_trust(self, calls: list[Asked], runs: float) -> None:
        watched = Watched(runs)
        watched.ask(calls[0])
        trusted_from = watched.clock.trusted_from

        assert all(watched.ask(call) for call in calls[1:])
        assert watched.clock.trusted_from == trusted_from

    def test_is_trusted_once_it_was_watched_for_a_quarantine(self) -> None:
        watched = Watched()
        watched.ask(Asked(0.0))

        assert BOOTED + TIMES.lease < watched.clock.trusted_from <= watched.anew

    def test_that_stands_still_between_two_answers_at_one_instant_is_even(self) -> None:
        watched = Watched()

        assert watched.ask(Asked(1.0, there=0, back=0))
        assert watched.ask(Asked(0.0, there=0, back=0))

    def test_of_a_server_that_does_not_say_which_it_is_is_even(self) -> None:
        watched = Watched()

        assert watched.ask(Asked(1.0), run_id="")
        assert watched.ask(Asked(1.0), run_id="")


class TestAClockThatWasSet:
    @given(
        st.lists(ordinary(), min_size=1, max_size=5),
        ordinary(),
        within_the_rate,
        st.sampled_from([-1, 1]),
        st.floats(0.001, 1e6),
    )
    @example([Asked(0.0)], Asked(5.0), 1.0, 1, 5.0)
    def test_is_found_out_at_the_next_answer_and_trusted_no_more(
        self, before: list[Asked], after: Asked, runs: float, way: int, beyond: float
    ) -> None:
        dark = (before[-1].took + after.took) * (1 + TIMES.rate)
        apart = 2 * TIMES.rate * after.gap
        after.step = way * (GRAIN + dark + apart + beyond)
        watched = Watched(runs)
        for call in before:
            watched.ask(call)

        assert not watched.ask(after)
        assert watched.clock.trusted_from >= watched.anew

    @given(st.lists(ordinary(), min_size=1, max_size=10))
    def test_is_trusted_again_after_a_quarantine_without_a_step(self, calls: list[Asked]) -> None:
        watched = Watched()
        watched.ask(Asked(1.0))
        watched.ask(Asked(1.0, step=60.0))
        anew = watched.anew

        assert all(watched.ask(call) for call in calls)
        assert watched.clock.trusted_from == anew

    @given(st.lists(st.builds(Asked, st.floats(0, 10), step=st.floats(-9, 9)), max_size=20))
    def test_never_gets_its_trust_back_sooner(self, calls: list[Asked]) -> None:
        watched, latest = Watched(), 0.0
        for call in calls:
            watched.ask(call)
            assert watched.clock.trusted_from >= latest
            latest = watched.clock.trusted_from

    @pytest.mark.parametrize("rate", [-0.06, -0.5, 0.06, 0.5])
    def test_or_runs_faster_or_slower_than_clocks_may_is_found_out(self, rate: float) -> None:
        watched = Watched(1 + rate)
        watched.ask(Asked(1.0))

        assert not watched.ask(Asked(5.0))


class TestWhatWasNotWatched:
    def test_a_server_first_heard_of_late_is_not_trusted_at_once(self) -> None:
        watched = Watched()

        watched.ask(Asked(10 * TIMES.quarantine))

        assert watched.clock.trusted_from >= watched.anew - CLEAR

    def test_a_step_after_a_first_answer_at_the_very_instant_zero_is_found_out(self) -> None:
        watched = Watched(now=0.0)
        watched.ask(Asked(0.0, there=0, back=0))

        assert not watched.ask(Asked(1.0, step=60.0))

    def test_a_server_that_was_silent_for_long_is_watched_anew(self) -> None:
        watched = Watched()
        watched.ask(Asked(1.0))
        watched.ask(Asked(SILENCE * TIMES.lease, step=0.4))

        assert watched.clock.trusted_from >= watched.anew

    @pytest.mark.parametrize("run_id", ["b", ""])
    def test_another_run_of_the_server_is_trusted_no_sooner_than_a_new_one(self, run_id: str) -> None:
        watched = Watched()
        watched.ask(Asked(1.0))

        assert not watched.ask(Asked(5.0), run_id)
        assert watched.clock.trusted_from >= watched.anew
        assert watched.ask(Asked(1.0), run_id)


class TestASlowAnswer:
    def test_is_no_witness(self) -> None:
        watched = Watched()
        watched.ask(Asked(1.0))

        assert not watched.ask(Asked(1.0, there=CLEAR, back=0.01))
        assert watched.clock.trusted_from >= watched.anew

    @pytest.mark.parametrize("at", ["first", "later"])
    @pytest.mark.parametrize("step", [8.0, -8.0])
    def test_hides_no_step_from_the_one_after_it(self, at: str, step: float) -> None:
        watched = Watched()
        if at == "later":
            watched.ask(Asked(1.0))
        late = Asked(1.0, there=0.001, back=10.0) if step < 0 else Asked(1.0, there=10.0, back=0.001)
        watched.ask(late)

        watched.ask(Asked(3.0, step=step))

        assert watched.clock.trusted_from >= watched.anew


class TestTheTimeOfTheServer:
    @given(st.lists(ordinary(), min_size=1, max_size=5), st.floats(0, 100))
    def test_is_said_for_an_instant_to_come_and_never_too_late(
        self, calls: list[Asked], ahead: float
    ) -> None:
        watched = Watched()
        for call in calls:
            watched.ask(call)

        said = watched.clock.time_at(watched.now + ahead)

        watched.now += ahead
        assert watched.server() - CLEAR - 1e-3 <= said <= watched.server() + 1e-3
