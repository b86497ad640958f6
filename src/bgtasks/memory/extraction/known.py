"""What the graph knows already of the names in a batch, so that a model writes them the same way."""

from __future__ import annotations

import re
import unicodedata

from bgtasks.contracts import KnowledgeGraphLike
from bgtasks.graph.schema import key_of
from bgtasks.memory.extraction.batch import LONGEST, Batch
from bgtasks.memory.extraction.names import name_of, owner_of

__all__ = ["known_names"]

MOST = 40
"""Names that are shown to a model, at most."""

_WORDS = 3
_KEYS = 2_000
_WITHIN = frozenset("_'’-")
_DASHES = re.compile("['’-]{2,}")
_KNOWN = """
UNWIND $keys AS k MATCH (e:Entity {key: k}) WHERE e.kind <> 'channel'
WITH e ORDER BY e.n DESC, e.id LIMIT $most RETURN e.name, e.kind ORDER BY e.id
"""


async def known_names(graph: KnowledgeGraphLike, batch: Batch) -> list[tuple[str, str]]:
    """Name and kind of the entities that are named in the batch, or speak in it: the most frequent ones.

    A name does not begin with a small letter: in a script that has none, it may begin at every word. In one
    that sets no blanks between words, only what stands alone is found.
    """
    keys = dict.fromkeys(key_of(each.author) for each in (*batch.context, *batch.messages))
    for message in batch.messages:
        words = _words(message.text[:LONGEST])
        for start in range(len(words)):
            if _may_begin(words[start][0]) and len(keys) < _KEYS:
                for end in range(start + 1, min(start + _WORDS, len(words)) + 1):
                    written = " ".join(words[start:end])
                    keys |= dict.fromkeys(map(key_of, _names(written)))
    rows = await graph.query(_KNOWN, {"keys": list(keys)[:_KEYS], "most": MOST})
    return [(str(name), str(kind)) for name, kind in rows]


def _names(written: str) -> list[str]:
    """What may be meant: McDonald's is a name, and Ada's is Ada."""
    owner = owner_of(written)
    names = (written, name_of(written), owner, owner and name_of(owner))
    return [name for name in names if name]


def _may_begin(each: str) -> bool:
    return each.isalpha() and not each.islower()


def _words(written: str) -> list[str]:
    """What letters, digits and the marks that combine with them make up, and what may stand within a name."""
    parts = _DASHES.sub(" ", "".join(each if _in_word(each) else " " for each in written)).split()
    return [word for part in parts if (word := part.strip("'’-"))]


def _in_word(each: str) -> bool:
    return each.isalnum() or each in _WITHIN or unicodedata.category(each).startswith("M")
