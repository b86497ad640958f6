"""Vectors of texts by the three-letter pieces they are made of: similar spelling, similar vector."""

from __future__ import annotations

import base64
import math
import zlib
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from bgtasks.testing.model.tokens import inputs, prompt_tokens

__all__ = ["embeddings", "vector"]

LONGEST_TEXT = 8192


def vector(text: str, dimension: int = 384) -> list[float]:
    """The vector of `text`: each three characters in a row count in one place, by their CRC-32; length 1.

    The same in every process and on every machine, and whatever the case. It knows nothing of meaning, and
    reads the first 8192 characters.
    """
    places = [0.0] * dimension
    padded = f"  {' '.join(text[:LONGEST_TEXT].casefold().split())} "
    data = [padded[at : at + 3].encode("utf-8", "replace") for at in range(len(padded) - 2)]
    for piece in data:
        hashed = zlib.crc32(piece)
        places[(hashed >> 1) % dimension] += 1.0 if hashed & 1 else -1.0
    length = math.sqrt(math.fsum(value * value for value in places))
    if length == 0.0:
        return [1.0, *places[1:]]
    return [value / length for value in places]


def embeddings(request: Mapping[str, Any], dimension: int) -> dict[str, Any]:
    """The body of a response of `/embeddings`, as numbers or in base64 as the request asks."""
    size = int(request.get("dimensions") or dimension)
    encoded = request.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(inputs(request.get("input", []))):
        values = vector(text if isinstance(text, str) else str(text), size)
        shown: Any = base64.b64encode(_little(values)).decode() if encoded else values
        data.append({"object": "embedding", "index": index, "embedding": shown})
    used = prompt_tokens(request)
    return {
        "object": "list",
        "data": data,
        "model": request.get("model", ""),
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


def _little(values: Sequence[float]) -> bytes:
    import sys

    packed = array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
