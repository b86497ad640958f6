"""Raising guards: every one to the term's token, and the term above every guard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bgtasks.errors import ConfigurationError, NotLeader
from bgtasks.fencing import FencedRedis, raise_guards
from bgtasks.fencing.guards import TOO_LARGE, checked_source, checked_token


class Kept:
    """A guard in memory."""

    def __init__(self, held: int = 0, source: str = "lease") -> None:
        self.held = held
        self.source = source
        self.shown: list[int] = []

    async def guard(self, token: int) -> int:
        self.shown.append(token)
        before, self.held = self.held, max(self.held, token)
        return before


class Tenure:
    """A term whose lease mints the next token, for as long as it holds."""

    def __init__(self, token: int, holds: bool = True) -> None:
        self.token = token
        self.holds = holds
        self.asked: list[int] = []

    async def mint_above(self, seen: int) -> int:
        if not self.holds:
            raise NotLeader("the lease is not this term's any more")
        self.asked.append(seen)
        self.token = max(self.token, seen) + 1
        return self.token


async def test_every_guard_is_raised_to_the_token_of_the_term() -> None:
    guards, term = [Kept(3), Kept(), Kept(6)], Tenure(7)

    await raise_guards(*guards)(term)

    assert [each.held for each in guards] == [7, 7, 7]
    assert term.asked == []


async def test_a_term_behind_a_guard_takes_a_token_above_it_and_shows_that_to_all() -> None:
    guards, term = [Kept(3), Kept(20), Kept(40)], Tenure(7)

    await raise_guards(*guards)(term)

    assert term.asked == [40]
    assert [each.held for each in guards] == [41, 41, 41]


async def test_a_token_that_a_guard_has_seen_before_is_that_of_another_term() -> None:
    guards, term = [Kept(3), Kept(7)], Tenure(7)

    await raise_guards(*guards)(term)

    assert term.asked == [7]
    assert [each.held for each in guards] == [8, 8]


async def test_a_guard_that_rises_meanwhile_is_outrun_as_well() -> None:
    class Rising(Kept):
        async def guard(self, token: int) -> int:
            if len(self.shown) < 3:
                self.held += 10
            return await super().guard(token)

    rising, still, term = Rising(10), Kept(), Tenure(7)

    await raise_guards(rising, still)(term)

    assert term.token == rising.held == still.held
    assert term.asked == sorted(term.asked)


async def test_a_term_that_is_over_raises_no_further() -> None:
    guards, term = [Kept(9), Kept()], Tenure(7, holds=False)

    with pytest.raises(NotLeader):
        await raise_guards(*guards)(term)

    assert [each.held for each in guards] == [9, 7]


async def test_each_term_is_prepared_anew() -> None:
    guard = Kept()
    prepare = raise_guards(guard)

    for token in (1, 5, 9):
        await prepare(Tenure(token))

    assert guard.shown == [1, 5, 9]


async def test_raising_can_be_cancelled() -> None:
    class Slow(Kept):
        async def guard(self, token: int) -> int:
            await asyncio.Event().wait()
            return token

    raising = asyncio.ensure_future(raise_guards(Slow())(Tenure(1)))
    await asyncio.sleep(0)
    raising.cancel()

    with pytest.raises(asyncio.CancelledError):
        await raising


def test_guards_of_several_sources_are_refused_and_so_are_none() -> None:
    with pytest.raises(ConfigurationError, match="not those of lease and claim:task"):
        raise_guards(Kept(), Kept(source="claim:task"), Kept())
    with pytest.raises(ConfigurationError, match="not nothing"):
        raise_guards()


@pytest.mark.parametrize("token", [1, 1_763_670_000_123_456, TOO_LARGE - 1])
def test_a_whole_number_above_zero_is_a_token(token: int) -> None:
    assert checked_token(token) == token


@pytest.mark.parametrize("token", [None, True, False, 0, -1, TOO_LARGE, 1.0, "1", b"1", object])
def test_nothing_else_is_and_the_refusal_says_where_tokens_come_from(token: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"take ctx\.token .* a node that does not lead has none"):
        checked_token(token)


@pytest.mark.parametrize("source", [None, "", 7, b"lease", "two\nlines", FencedRedis])
def test_a_source_is_a_line_of_text(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="the key of a lease"):
        checked_source(source)
