"""What somebody likes, where it is not said with a verb: `Dancing is my passion`."""

from __future__ import annotations

from collections.abc import Sequence

from bgtasks.testing.model.phrases import bare, thing
from bgtasks.testing.model.words import FILLERS, PRAISE, word_set

__all__ = ["dear", "favourite"]

_DEAR = word_set("passion hobby escape favourite favorite fave go-to thing calling therapy refuge outlet")


def favourite(said: Sequence[str]) -> str | None:
    """`My favourite style is contemporary dance`: what is liked."""
    lowered = [bare(word) for word in said]
    if lowered[0] not in ("my", "our") or len(lowered) < 4:
        return None
    if not {"favourite", "favorite", "fave"} & set(lowered[1:3]):
        return None
    for place, word in enumerate(lowered[2:7], 2):
        if word in ("is", "are", "was"):
            one = thing(said[place + 1 :])
            return None if one is None else one[0]
    return None


def dear(said: Sequence[str]) -> str | None:
    """`Dancing is my passion`, `Family time means a lot to me`, `Running helps me relax`: what is valued."""
    lowered = [bare(word) for word in said]
    verbs = ("is", "are", "means", "mean", "helps", "help")
    at = next((place for place, word in enumerate(lowered[:6]) if word in verbs), 0)
    if at == 0 or lowered[0] in FILLERS:
        return None
    if not _is_dear(lowered[at], [word for word in lowered[at + 1 :] if word not in FILLERS]):
        return None
    one = thing(said[:at])
    if one is None or one[1] != at:
        return None
    name = one[0]
    return name if name[1:2].isupper() else name[0].lower() + name[1:]  # it began a sentence


def _is_dear(verb: str, rest: Sequence[str]) -> bool:
    if verb in ("means", "mean"):
        return list(rest[-2:]) == ["to", "me"]
    if verb in ("helps", "help"):
        return list(rest[:1]) == ["me"]
    if list(rest[:3]) == ["important", "to", "me"]:
        return True
    return list(rest[:1]) == ["my"] and bool(_DEAR & set(rest[1:3])) and not PRAISE & set(rest[1:2]) - _DEAR
