"""What somebody has, by the way: `my tent`, `your dance studio`; and what a photo shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bgtasks.testing.model.phrases import bare, thing
from bgtasks.testing.model.words import ANIMALS, BELONGINGS, KIN, word_set

__all__ = ["photos", "possessions"]

_PHOTO = re.compile(
    r"\[[^\[\]:\n]{0,40}\b(?:photo|picture|image)\b[^\[\]:\n]{0,20}:\s*([^\[\]\n]{3,300})\]", re.I
)
_CAPTION = re.compile(
    r"^(?:an? )?(?:[\w-]+ )?(?:photo|photograph|photography|picture|image|close ?up)\w* of ", re.I
)
_NOBODY = word_set("""
    couple group row close sign stack pile bunch number view person people man men woman women girl
    girls boy boys child children kid kids baby guy lady friends family crowd team hand hands
""")
_ING = word_set("painting building drawing ring clothing ceiling swing wedding")
_GONE = word_set("lost losing lose donated sold left leaving quit quitting sell selling without")
_RELATIVES = KIN | word_set("family parents siblings sisters brothers sons daughters")


def possessions(words: Sequence[str], author: str, other: str | None) -> Iterator[tuple[str, str]]:
    """Who has what, where a clause says `my`, `our` or, to the only other person, `your`.

    Only what people have: a job, a bicycle, a dog, a blog. No feelings, and no relatives.
    """
    for at, word in enumerate(words[:-1]):
        if at > 0 and bare(words[at - 1]) in _GONE:
            continue
        owner = {"my": author, "our": author, "your": other}.get(bare(word))
        if owner is None:
            continue
        found = thing(words[at + 1 :])
        if found is None or len(found[0].split()) > 4:
            continue
        if any(part.endswith("'s") for part in found[0].split()):
            continue
        head = found[0].lower().split(" of ")[0].split()[-1]
        if head in BELONGINGS or (head in ANIMALS and head not in _RELATIVES):
            yield owner, found[0]


def photos(text: str) -> Iterator[str]:
    """What the photos show that a message shares, where a description stands in brackets."""
    for description in _PHOTO.findall(text[:4000]):
        caption, shown = _CAPTION.subn("", description.strip())
        if not shown:
            continue
        found = thing(caption.split())
        if found is None or len(found[0].split()) > 4:
            continue
        said = found[0].lower().split()
        if not _NOBODY & set(said) and not any(word.endswith("ing") and word not in _ING for word in said):
            yield found[0]
