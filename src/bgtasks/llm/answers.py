"""Answers of models that are kept, so that a question that was paid for is not paid for again. Keys:

```
<namespace>:llm:answer:<key>   STRING   the answer; gone after its time to live
```

An answer is stored by the script that settles its call (see `bgtasks.llm.budget`): whatever crashes, what
was paid and answered is either both written down or neither.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bgtasks.connect import reach, refuse_cluster, text
from bgtasks.settings import default_namespace

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["LARGE", "Answers", "Kept", "answer_key", "packed", "unpacked"]

LARGE = 1024
"""Bytes from which an answer is stored compressed."""

_PLAIN, _COMPRESSED = "t", "z"


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer to be kept.

    Attributes:
        key: What it answers: a digest of the model, the prompt's version and all that was asked.
        text: The answer.
        ttl: Seconds for which it is kept; more than 0.
    """

    key: str
    text: str
    ttl: float

    def __repr__(self) -> str:
        return f"Kept({self.key!r}, {len(self.text)} characters, {self.ttl:g} s)"  # never an answer in a log


class Answers:
    """The answers that are kept in one Redis.

    Args:
        redis: An asyncio client, decoding responses or not.
        namespace: What every key begins with; `BGTASKS_NAMESPACE`, or `bgtasks`, if not given.
        ttl: Seconds for which an answer is kept; a week by default.

    Raises:
        UnsuitableServer: The client is one of a Redis Cluster.

    Not promised: that an answer is there for as long. A server short of memory may evict it.
    """

    def __init__(self, redis: Redis, namespace: str | None = None, ttl: float = 7 * 86400.0) -> None:
        refuse_cluster(redis)
        self._redis: Any = redis  # redis-py types its answers for both faces at once
        self._namespace = namespace or default_namespace()
        self.ttl = ttl

    async def get(self, key: str) -> str | None:
        """The answer under `key`; None if none is kept, or if what is there cannot be read.

        Raises:
            ResourceUnavailable: Redis does not answer.
        """
        found = await reach(partial(self._redis.get, answer_key(self._namespace, key)))
        return None if found is None else unpacked(text(found))

    def keep(self, key: str, answer: str) -> Kept:
        """An answer as `Budget.settle` takes it, with this cache's time to live."""
        return Kept(key, answer, self.ttl)

    async def put(self, kept: Kept) -> None:
        """Store an answer now: for calls without a budget, which settle nothing.

        Raises:
            ResourceUnavailable: Redis does not answer; it may have been stored.
        """
        name = answer_key(self._namespace, kept.key)
        await reach(partial(self._redis.set, name, packed(kept.text), px=ms(kept.ttl)))


def answer_key(namespace: str, key: str) -> str:
    """The Redis key of an answer."""
    return f"{namespace}:llm:answer:{key}"


def ms(seconds: float) -> int:
    """Seconds as whole milliseconds, at least one."""
    return max(1, round(seconds * 1000))


def packed(answer: str) -> str:
    """An answer as it is stored: text, whatever it holds, so that a client that decodes can read it."""
    data = answer.encode("utf-8", "surrogatepass")
    if len(data) < LARGE and data.isascii():
        return _PLAIN + answer
    small = _COMPRESSED + base64.b85encode(zlib.compress(data, 1)).decode("ascii")
    try:
        return small if len(small) <= len(data) else _PLAIN + data.decode("utf-8")
    except UnicodeDecodeError:  # a lone surrogate, which only the other form can hold
        return small


def unpacked(stored: str) -> str | None:
    """The answer that was stored so; None if it is none."""
    form, rest = stored[:1], stored[1:]
    if form == _PLAIN:
        return rest
    if form != _COMPRESSED:
        return None
    try:
        return zlib.decompress(base64.b85decode(rest)).decode("utf-8", "surrogatepass")
    except (ValueError, binascii.Error, zlib.error):
        return None
