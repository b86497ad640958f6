"""What a fault makes of a reply or of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bgtasks.testing.model.faults import Fault
from bgtasks.testing.model.http import Response
from bgtasks.testing.model.reply import Reply

__all__ = ["GARBAGE", "SPOILING", "refused", "spoilt", "spoilt_vectors"]

GARBAGE = Response(200, b"<html><body>Bad gateway</body></html>\n", content_type="text/html")
SPOILING = ("not json", "schema", "runaway", "empty")
"""The faults of what is said. There are answers that such a one leaves as they are."""
MOST_RUNAWAY = 16_384
"""Tokens of a runaway answer where the request sets no limit."""


def refused(fault: Fault) -> Response | None:
    """The error that the fault answers with; None: it is of another sort."""
    if fault.kind not in ("429", "500", "503"):
        return None
    headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
    message = {
        "429": "Rate limit reached (a fault put in by the stand-in)",
        "500": "The server had an error (a fault put in by the stand-in)",
        "503": "The engine is overloaded (a fault put in by the stand-in)",
    }[fault.kind]
    code = "rate_limit_exceeded" if fault.kind == "429" else None
    return Response.error(int(fault.kind), message, code, headers)


def spoilt(fault: Fault | None, reply: Reply, limit: int | None) -> Reply:
    """The reply with the fault in it, as far as the fault is one of replies."""
    if fault is None or reply.status != 200:
        return reply
    if fault.kind == "empty":
        return Reply()
    if fault.kind == "runaway":
        room = 4 * (limit or MOST_RUNAWAY)
        begun = reply.text or "{"
        return Reply(((begun + " and so on") * (room // len(begun) + 1))[:room], finish="length")
    if fault.kind == "not json":
        calls = [(name, '{"name": "Wal') for name, _ in reply.calls]
        return replace(reply, text="" if calls else '{"entities": [{"name": "Wal', calls=calls)
    if fault.kind == "schema":
        calls = [(name, '{"unheard_of": [1, 2]}') for name, _ in reply.calls]
        return replace(reply, text="" if calls else '{"entities": "none", "facts": 7}', calls=calls)
    return reply


def spoilt_vectors(fault: Fault | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """The vectors with the fault in it: none (`empty`), or one that is too short (`schema`)."""
    if fault is not None and fault.kind == "empty":
        return {**body, "data": []}
    if fault is not None and fault.kind == "schema" and body["data"]:
        first, *rest = body["data"]
        return {**body, "data": [{**first, "embedding": [0.5, 0.5]}, *rest]}
    return dict(body)
