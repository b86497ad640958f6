"""Cursors: how far a reader has come in a channel, as the id of a stream entry, `<ms>-<sequence>`.

They compare as pairs of numbers, not as text: `9-10` comes after `9-9`. Where only text can be compared, as
in the graph, a cursor is written with leading zeros.
"""

from __future__ import annotations

from bgtasks.errors import InvalidMessage

__all__ = ["cursor_key", "padded", "unpadded"]


def cursor_key(cursor: str | None) -> tuple[int, int]:
    """What cursors sort by; None, the beginning, comes before all.

    Raises:
        InvalidMessage: It is no id of a stream entry.
    """
    ms, dash, sequence = (cursor or "0-0").partition("-")
    try:
        key = int(ms), int(sequence) if dash else 0
    except ValueError:
        key = (-1, -1)
    if not 0 <= min(key) <= max(key) < 2**64:
        raise InvalidMessage(f"{cursor!r} is no cursor: the id of a stream entry, such as 1788246737000-0")
    return key


def padded(cursor: str | None) -> str:
    """The cursor as text that sorts as the cursor does.

    Raises:
        InvalidMessage: As `cursor_key`.
    """
    ms, sequence = cursor_key(cursor)
    return f"{ms:020d}-{sequence:010d}"


def unpadded(position: str) -> str | None:
    """The cursor that `padded` wrote; None for the empty text of a reader that has not begun.

    Raises:
        InvalidMessage: As `cursor_key`.
    """
    if not position:
        return None
    ms, sequence = cursor_key(position)
    return f"{ms}-{sequence}"
