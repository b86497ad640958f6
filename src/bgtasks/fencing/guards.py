"""Guards: what a server remembers of tokens, and how a new leader raises it before its work begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from bgtasks.errors import ConfigurationError

__all__ = ["Guard", "Mints", "checked_source", "checked_token", "raise_guards"]

TOO_LARGE = 2**53
"""Lua counts in doubles: from here on it could not tell neighbouring tokens apart."""


class Guard(Protocol):
    """Something that remembers the largest token it was shown of one source."""

    @property
    def source(self) -> str:
        """What the tokens come from."""

    async def guard(self, token: int) -> int:
        """Raise it to `token`, unless it holds a larger one; what it held before, or 0."""


class Mints(Protocol):
    """A term, as far as guards need it."""

    @property
    def token(self) -> int:
        """The fencing token of the term."""

    async def mint_above(self, seen: int) -> int:
        """Take a new token, larger than `seen` too, for the rest of the term."""


def raise_guards(*guards: Guard) -> Callable[[Mints], Awaitable[None]]:
    """For `TaskSupervisor.before_work`: raises every guard to the token of the new term.

    When it is done, each server refuses every older term, and has seen neither the term's own token nor a
    larger one before: where a guard had, since the lease lost its memory of them, the term takes a new one.

    Args:
        guards: `FencedRedis` and `FencedGraph` of one source: the key of the supervisor's lease.

    Raises:
        ConfigurationError: None is given, or they are of several sources.
    """
    sources = list(dict.fromkeys(each.source for each in guards))
    if len(sources) != 1:
        raise ConfigurationError(
            "raise_guards takes the FencedRedis and FencedGraph that one lease's workers write through, "
            f"not {'those of ' + ' and '.join(sources) if sources else 'nothing'}: a token says nothing to "
            "a guard of another source"
        )

    async def raise_them(term: Mints) -> None:
        while (seen := max([await each.guard(term.token) for each in guards])) >= term.token:
            await term.mint_above(seen)

    return raise_them


def checked_source(source: Any) -> str:
    """`source`, if it can be one.

    Raises:
        ConfigurationError: It is no line of text.
    """
    if isinstance(source, str) and source and source.isprintable():
        return source
    raise ConfigurationError(
        f'a source of tokens is the key of a lease, or "claim:<task>", not {source!r}: '
        "tokens of different sources are never compared"
    )


def checked_token(token: Any) -> int:
    """`token`, if it can be one: first of all, if there is one.

    Raises:
        ConfigurationError: It is no whole number above zero, or too large to be exact in Redis.
    """
    if type(token) is int and 0 < token < TOO_LARGE:
        return token
    raise ConfigurationError(
        f"a fencing token is a whole number above zero and below 2**53, not {token!r}: take ctx.token in a "
        "worker, or what verify_leadership_before_destructive() returns; a node that does not lead has none"
    )
