"""A term: computed from the clock, and over for good once it was closed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgtasks.lease import Term
from bgtasks.testing import VirtualClock

WORKS_FROM, DEMOTED_AT, VALID_UNTIL = 1.0, 5.0, 7.0


class Scene:
    """A term, and who was told that it was closed."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.told: list[Term] = []
        self.term = Term(
            "node:nonce",
            7,
            self.clock,
            works_from=WORKS_FROM,
            demoted_at=DEMOTED_AT,
            valid_until=VALID_UNTIL,
            on_close=self.told.append,
            mint=self.mint,
        )

    async def mint(self, term: Term, above: int) -> int:
        assert term is self.term
        return above + 1

    def at(self, instant: float) -> Term:
        self.clock.stall(instant - self.clock.monotonic())
        return self.term


@pytest.fixture
def scene() -> Scene:
    return Scene()


class TestWhetherItHolds:
    @pytest.mark.parametrize(
        ("instant", "holds"), [(0.0, False), (0.999, False), (1.0, True), (4.999, True), (5.0, False)]
    )
    def test_is_asked_of_the_clock(self, scene: Scene, instant: float, holds: bool) -> None:
        assert scene.at(instant).holds is holds

    def test_needs_nobody_to_clear_a_flag(self, scene: Scene) -> None:
        assert scene.at(2.0).holds

        scene.clock.stall(60)

        assert not scene.term.holds
        assert scene.term.closed is None

    def test_has_nothing_to_do_with_the_wall_clock(self, scene: Scene) -> None:
        scene.at(2.0)

        scene.clock.step_wall(-86_400)
        assert scene.term.holds
        scene.clock.step_wall(2 * 86_400)
        assert scene.term.holds


class TestWhatRemains:
    def test_is_counted_to_the_end_of_its_work_also_before_that_begins(self, scene: Scene) -> None:
        assert scene.term.remaining == 5.0
        assert scene.at(3.5).remaining == 1.5

    def test_is_never_less_than_nothing(self, scene: Scene) -> None:
        assert scene.at(100.0).remaining == 0.0

    def test_is_nothing_once_it_was_closed(self, scene: Scene) -> None:
        scene.at(2.0).close("resigned")

        assert scene.term.remaining == 0.0


class TestClosing:
    def test_ends_it_at_once(self, scene: Scene) -> None:
        scene.at(2.0).close("resigned")

        assert not scene.term.holds
        assert scene.term.closed == "resigned"

    def test_is_told_once_and_the_first_reason_stands(self, scene: Scene) -> None:
        scene.term.close("resigned")
        scene.term.close("cancelled")

        assert scene.told == [scene.term]
        assert scene.term.closed == "resigned"

    def test_is_told_when_it_no_longer_holds(self) -> None:
        held: list[bool] = []
        clock = VirtualClock()
        term = Term(
            "node:nonce",
            7,
            clock,
            works_from=0.0,
            demoted_at=5.0,
            valid_until=7.0,
            on_close=lambda closed: held.append(closed.holds),
            mint=Scene().mint,
        )

        assert term.holds
        term.close("resigned")

        assert held == [False]


class TestExtending:
    def test_moves_both_ends(self, scene: Scene) -> None:
        scene.term.extend(8.0, 10.0)

        assert (scene.term.demoted_at, scene.term.valid_until) == (8.0, 10.0)
        assert scene.at(7.5).holds

    @pytest.mark.parametrize("demoted_at", [DEMOTED_AT, 4.0, -1.0])
    def test_by_an_older_answer_moves_nothing(self, scene: Scene, demoted_at: float) -> None:
        scene.term.extend(demoted_at, 100.0)

        assert (scene.term.demoted_at, scene.term.valid_until) == (DEMOTED_AT, VALID_UNTIL)

    def test_does_not_begin_the_work_earlier(self, scene: Scene) -> None:
        scene.term.extend(8.0, 10.0)

        assert not scene.at(0.5).holds

    def test_does_not_raise_what_was_over_when_the_answer_came(self, scene: Scene) -> None:
        assert not scene.at(DEMOTED_AT).holds

        scene.term.extend(8.0, 10.0)

        assert not scene.term.holds
        assert scene.term.closed is not None
        assert scene.told == [scene.term]

    def test_does_not_raise_what_was_closed(self, scene: Scene) -> None:
        scene.at(2.0).close("the lease was lost")

        scene.term.extend(8.0, 10.0)

        assert not scene.term.holds
        assert scene.term.demoted_at == DEMOTED_AT


steps = st.one_of(
    st.floats(0, 3).map(lambda seconds: lambda scene: scene.clock.stall(seconds)),
    st.floats(-5, 50).map(lambda until: lambda scene: scene.term.extend(until, until + 2)),
    st.text(max_size=3).map(lambda reason: lambda scene: scene.term.close(reason)),
)


@given(st.lists(steps, max_size=30))
def test_whatever_happens_a_closed_term_stays_as_it_was_closed(
    history: list[Callable[[Scene], None]],
) -> None:
    scene = Scene()
    closed: tuple[str, float] | None = None
    ends = scene.term.demoted_at
    for step in history:
        step(scene)
        term = scene.term
        if closed is None and term.closed is not None:
            closed = (term.closed, term.demoted_at)
        if closed is not None:
            assert (term.closed, term.demoted_at) == closed
            assert not term.holds
        else:
            assert term.holds is (WORKS_FROM <= scene.clock.monotonic() < term.demoted_at)
        assert term.demoted_at >= ends
        ends = term.demoted_at
    assert len(scene.told) == (closed is not None)


async def test_a_token_minted_above_another_is_the_terms_from_then_on(scene: Scene) -> None:
    assert await scene.term.mint_above(41) == 42
    assert scene.term.token == 42
