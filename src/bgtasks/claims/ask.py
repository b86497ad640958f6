"""How the store is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol

__all__ = ["Ask", "simply"]


class Ask(Protocol):
    """Bounds a call to the store."""

    def __call__[T](self, call: Coroutine[Any, Any, T]) -> Awaitable[T]: ...


async def simply[T](call: Coroutine[Any, Any, T]) -> T:
    """The answer; a store bounds each call by itself."""
    return await call
