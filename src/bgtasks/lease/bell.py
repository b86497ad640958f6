"""A bell: what cuts a pause short."""

from __future__ import annotations

import asyncio

__all__ = ["Bell"]


class Bell:
    """Rung by whoever has news, heard by the one who pauses; a ring before the pause ends it at once."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the pause in progress, or the next one."""
        self._rung.set()

    def still(self) -> None:
        """Forget that it was rung."""
        self._rung.clear()

    def rehang(self) -> None:
        """Let go of the event loop in which it was heard last."""
        self._rung = asyncio.Event()

    async def pause(self, seconds: float | None) -> None:
        """Return after so many seconds, or when it is rung."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()
