"""A server may be set to cut queries off; then what takes a while fails, and it should be known why."""

from __future__ import annotations

from typing import Any

__all__ = ["CUT_OFF", "short_timeouts", "warning"]

SHORT = 30_000
"""Milliseconds that a query may have to take: an export or a search of a large graph does."""

CUT_OFF = "timed out"
"""What the server says of a query that it cut off."""

_NAMES = ("TIMEOUT", "TIMEOUT_DEFAULT", "TIMEOUT_MAX")


def short_timeouts(url: str, **options: Any) -> dict[str, int]:
    """Settings by which the server cuts queries off early, in ms. Blocks: call it in a thread.

    None where it has no FalkorDB, or we may not ask.

    Args:
        options: For the connection.

    Raises:
        redis.exceptions.RedisError: No connection, or no answer.
    """
    from redis import Redis
    from redis.exceptions import ResponseError

    found = {}
    with Redis.from_url(url, **{**options, "decode_responses": True}) as client:
        for name in _NAMES:
            try:
                answer = client.execute_command("GRAPH.CONFIG", "GET", name)
            except ResponseError:
                return {}
            if 0 < int(answer[1]) < SHORT:
                found[name] = int(answer[1])
    return found


def warning(found: dict[str, int]) -> str:
    """What `short_timeouts` means, and the cure."""
    said = ", ".join(f"{name}={value}" for name, value in found.items())
    cure = "; ".join(f"GRAPH.CONFIG SET {name} 0" for name in found)
    return (
        f"FalkorDB cuts queries off early ({said} ms): long reads fail, and with TIMEOUT_DEFAULT or "
        f"TIMEOUT_MAX long writes too; cure: {cure}, and the same where the server is started"
    )
