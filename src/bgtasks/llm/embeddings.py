"""Vectors of texts: in batches an endpoint takes, in the order of the texts, all of one dimension."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bgtasks.connect import encodable
from bgtasks.llm import estimate

__all__ = ["LONGEST_TEXT", "batches", "prepared", "vectors"]

LONGEST_TEXT = 8_000
"""Characters of a text that a vector is made of; what follows is left out, as no model takes more."""
_BATCH = 32  # what text-embeddings-inference takes unless told otherwise; others take more
_BATCH_TOKENS = 60_000


def prepared(text: str) -> str:
    """A text as it is sent: encodable, not too long, and not empty, which endpoints refuse."""
    return encodable(text[:LONGEST_TEXT]) if text.strip() else " "


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in groups for one request each."""
    batch: list[str] = []
    tokens = 0
    for text in texts:
        needs = estimate.of_text(text)
        if batch and (len(batch) == _BATCH or tokens + needs > _BATCH_TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += needs
    if batch:
        yield batch


def vectors(body: Mapping[str, Any], count: int) -> list[list[float]] | str:
    """The vectors in the body of an answer, in the order of the texts; or what is wrong with it."""
    data = body.get("data")
    if not isinstance(data, list) or len(data) != count:
        return f"there is not one vector for each of {count} texts"
    placed: dict[int, list[float]] = {}
    for place, item in enumerate(data):
        index = item.get("index", place) if isinstance(item, Mapping) else -1
        vector = _vector(item.get("embedding")) if isinstance(item, Mapping) else None
        if vector is None:
            return "a vector cannot be read"
        if isinstance(index, int):
            placed[index] = vector
    if sorted(placed) != list(range(count)):
        return f"the vectors are not numbered from 0 to {count - 1}"
    sizes = sorted({len(vector) for vector in placed.values()})
    if len(sizes) > 1:
        return f"vectors of {' and of '.join(map(str, sizes))} numbers"
    return [placed[index] for index in range(count)]


def _vector(said: Any) -> list[float] | None:
    """A vector as numbers, or as base64 of little-endian floats; None if it is neither, or none."""
    try:
        if isinstance(said, str):
            raw = base64.b64decode(said, validate=True)
            numbers = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        else:
            numbers = [float(number) for number in said]
    except (TypeError, ValueError, OverflowError, binascii.Error, struct.error):
        return None
    return numbers if numbers and all(map(math.isfinite, numbers)) else None
