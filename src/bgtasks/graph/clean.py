"""Values as FalkorDB's parameter header can carry them, and texts as they are kept."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from bgtasks.connect import encodable
from bgtasks.errors import InvalidMessage

__all__ = ["clean", "clean_id", "clean_text"]

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1

# FalkorDB 4.22 dies of a \x01 in a property that is under a unique constraint: it is a sign of its index. No
# other control character says anything in a text either.
_CONTROL = {
    0: "",
    **{code: " " if chr(code).isspace() else "\ufffd" for code in range(1, 32) if chr(code) not in "\t\n\r"},
}


def clean(value: Any) -> Any:
    """The value, with every text in it cleaned; mappings become dicts, tuples lists.

    Raises:
        InvalidMessage: A number is NaN or infinite, or an integer needs more than 64 bits.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        raise InvalidMessage(f"{value} cannot be stored in the graph: an integer must fit in 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidMessage(f"{value} cannot be stored in the graph: a number must be finite")
    if isinstance(value, Mapping):
        return {clean_text(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def clean_text(text: str) -> str:
    """The text as the graph can keep it.

    Of the control characters, tabs and line ends stay, NULs go, what separates becomes a blank, and any other
    U+FFFD; a lone surrogate becomes "?". Cleaned again, it stays the same.
    """
    return encodable(text.translate(_CONTROL))


def clean_id(text: str) -> str:
    """The text cleaned, and told apart from others that look the same then: by a digest at its end."""
    cleaned, written = clean_text(text), encodable(text)
    if cleaned == written:
        return cleaned
    return f"{cleaned}\ufffd{hashlib.sha256(written.encode()).hexdigest()[:16]}"
