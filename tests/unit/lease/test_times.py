"""The durations of a lease: which fit together, and what is said of those that do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bgtasks.errors import ConfigurationError
from bgtasks.lease import LeaseTimes

SECONDS = [field.name for field in dataclasses.fields(LeaseTimes)]

# What breaks one inequality, its name in the message, and one value by which all hold again.
BREACHES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("T1", {"attempts": 4}, {"lease": 6}),
    ("T1", {"renew": 1.3}, {"attempt": 0.4}),
    ("T1 with a stall", {"stall": 1.5, "grace": 0.25, "kill": 0.25}, {"lease": 6}),
    ("T1 with a stall", {"stall": 1.5, "grace": 0.25, "kill": 0.25}, {"stall": 1.2}),
    ("T2", {"grace": 0.6}, {"margin": 2.1}),
    ("T2", {"kill": 0.6}, {"margin": 2.1}),
    ("T3", {"tenure": 2.5}, {"lease": 6}),
]


def refusal(**values: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        LeaseTimes(**values)
    return str(caught.value)


class TestTheDefaults:
    def test_fit_together(self) -> None:
        LeaseTimes()

    def test_let_a_first_worker_begin_within_six_seconds(self) -> None:
        assert LeaseTimes().quarantine <= 5.5

    def test_let_the_event_loop_stand_still_for_a_second(self) -> None:
        assert LeaseTimes().stall >= 1

    def test_are_those_of_the_attributes_documented(self) -> None:
        documented = LeaseTimes.__doc__ or ""

        assert [name for name in SECONDS if f"{name}: " not in documented] == []

    def test_other_profiles_fit_too(self) -> None:
        LeaseTimes(lease=15, renew=5, attempt=2, margin=3, grace=1, kill=1)
        LeaseTimes(lease=5, renew=1.25, attempt=0.75, margin=1, stall=0.5, grace=0.25, kill=0.25)


class TestWhatDoesNotFit:
    @pytest.mark.parametrize(("name", "values", "cure"), BREACHES)
    def test_is_refused_by_the_name_of_the_inequality(
        self, name: str, values: dict[str, Any], cure: dict[str, Any]
    ) -> None:
        assert f"({name})" in refusal(**values)

    @pytest.mark.parametrize(("name", "values", "cure"), BREACHES)
    def test_is_accepted_once_the_one_value_is_changed(
        self, name: str, values: dict[str, Any], cure: dict[str, Any]
    ) -> None:
        LeaseTimes(**(values | cure))

    @pytest.mark.parametrize(("name", "values", "cure"), BREACHES)
    def test_names_the_cure(self, name: str, values: dict[str, Any], cure: dict[str, Any]) -> None:
        assert "raise margin" in refusal(**values) if name == "T2" else "raise lease" in refusal(**values)

    def test_says_the_figures_of_both_sides(self) -> None:
        said = refusal(grace=0.7)

        assert "stall + grace + kill = 2.2 s" in said
        assert "margin = 2 s" in said

    def test_what_just_fits_is_accepted(self) -> None:
        LeaseTimes(margin=2.0, stall=1.0, grace=0.6, kill=0.4)

    def test_sums_of_fractions_do_not_make_it_unfit(self) -> None:
        LeaseTimes(margin=0.3, stall=0.1, grace=0.1, kill=0.1)


class TestWhatIsOutOfRange:
    @pytest.mark.parametrize("name", SECONDS)
    @pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), 86_400, "1", None, True])
    def test_is_refused_by_name(self, name: str, value: object) -> None:
        assert name in refusal(**{name: value})

    @pytest.mark.parametrize("name", ["lease", "renew", "attempt"])
    def test_what_must_take_time_cannot_be_zero(self, name: str) -> None:
        assert name in refusal(**{name: 0})

    @pytest.mark.parametrize("attempts", [0, 1, 2.5, 3.0])
    def test_a_single_lost_answer_must_not_cost_the_lease(self, attempts: float) -> None:
        assert "attempts" in refusal(attempts=attempts)

    @pytest.mark.parametrize("name", ["jitter", "rate"])
    @pytest.mark.parametrize("share", [0.5, 5])
    def test_a_share_is_below_a_half(self, name: str, share: float) -> None:
        assert name in refusal(**{name: share})

    @pytest.mark.parametrize("name", ["jitter", "rate", "stall", "grace", "kill", "tenure", "replica_lag"])
    def test_zero_is_a_duration_where_nothing_has_to_last(self, name: str) -> None:
        LeaseTimes(**{name: 0})

    def test_they_cannot_be_changed_past_the_checks(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            LeaseTimes().lease = 1.0  # type: ignore[misc]


any_times = st.fixed_dictionaries(
    {
        "lease": st.floats(0.5, 60),
        "renew": st.floats(0.01, 20),
        "attempt": st.floats(0.01, 5),
        "attempts": st.integers(2, 5),
        "rate": st.floats(0, 0.2),
        "margin": st.floats(0, 20),
        "stall": st.floats(0, 5),
        "grace": st.floats(0, 5),
        "kill": st.floats(0, 5),
        "tenure": st.floats(0, 5),
        "replica_lag": st.floats(0, 10),
    }
)


@st.composite
def accepted(draw: st.DrawFn) -> LeaseTimes:
    """Times that fit together."""
    values: dict[str, Any] = draw(any_times)
    values["margin"] = max(values["margin"], values["stall"] + values["grace"] + values["kill"])
    try:
        return LeaseTimes(**values)
    except ConfigurationError:
        assume(False)
        raise


class TestWhateverIsAccepted:
    @given(accepted())
    def test_keeps_every_inequality(self, times: LeaseTimes) -> None:
        trusted, slack = times.lease * (1 - times.rate) - times.margin, 1e-6

        assert times.renew + times.attempts * times.attempt <= trusted + slack
        assert times.renew + times.stall + times.attempt <= trusted + slack
        assert times.stall + times.grace + times.kill <= times.margin + slack
        assert times.attempt + times.tenure <= trusted + slack

    @given(accepted(), st.floats(-1, 1))
    def test_no_leader_trusts_its_lease_for_longer_than_redis_keeps_it(
        self, times: LeaseTimes, apart: float
    ) -> None:
        by_the_leader = times.valid_until(0.0)
        by_redis = by_the_leader * (1 + apart * times.rate)

        assert by_redis <= times.lease

    @given(accepted(), st.floats(-1, 1))
    def test_a_quarantine_outlasts_the_trust_of_whoever_was_renewed_a_moment_before(
        self, times: LeaseTimes, apart: float
    ) -> None:
        passed = times.quarantine / (1 + apart * times.rate)

        assert passed >= times.lease + times.replica_lag - 1e-9

    @given(accepted(), st.floats(0, 1e6))
    def test_a_leader_stops_a_margin_before_others_may_begin(self, times: LeaseTimes, sent: float) -> None:
        assert times.demoted_at(sent) == pytest.approx(sent + times.trusted)
        assert times.valid_until(sent) - times.demoted_at(sent) == pytest.approx(times.margin)
        assert times.demoted_at(sent) > sent


class TestWhatFollows:
    def test_of_what_is_left_of_a_lease_the_same_share_is_trusted(self) -> None:
        times = LeaseTimes()

        assert times.trusted_of(times.lease) == times.trusted
        assert times.trusted_of(2.0) < 0

    def test_a_replica_that_lags_makes_the_quarantine_longer_and_nothing_else(self) -> None:
        plain, lagging = LeaseTimes(), LeaseTimes(replica_lag=10)

        assert lagging.quarantine == pytest.approx(plain.quarantine + 10 * (1 + plain.rate))
        assert lagging.trusted == plain.trusted

    def test_a_clock_that_may_run_fast_waits_longer(self) -> None:
        assert LeaseTimes(rate=0.05).at_rate(2.0) == pytest.approx(2.1)
