"""How long an answer may be, where an endpoint refuses a call since it asks for too long a one."""

from __future__ import annotations

import re

__all__ = ["room", "too_long_an_answer"]

_MARGIN = 16
"""Tokens left free: a server counts some around a prompt that it does not name."""

_CONTEXT = re.compile(r"context.{0,3}(?:length|window|size)[^0-9]{0,40}(\d+)")
_PROMPT = re.compile(
    r"(\d+) (?:(?:input|prompt) tokens|tokens in the input|in the (?:messages|prompt|input)|of text input)|"
    r"(?:prompt|input|request) (?:contains|has) (?:at least )?(\d+)|request \((\d+) tokens\)"
)
_SUM = re.compile(r"(\d+) \+ \d+ > (\d+)")
_MOST = re.compile(
    r"at most (\d+) (?:completion|output)|(?:less than or equal to|<=|should be in \[1, ?) ?(\d+)|"
    r"maximum (?:allowed )?(?:number of )?(?:completion|output|new) tokens[^0-9]{0,30}(\d+)"
)
_LIMIT = re.compile(r"max_(?:completion_|output_|new_)?tokens")
_TOO_MUCH = re.compile(
    r"too (?:large|high|big)|at most|exceed|maximum|less than or equal|should be in \[1|<="
)


def too_long_an_answer(said: str, prompt: int, most: int) -> bool:
    """Whether it is the length of the answer that was too much, rather than that of the prompt.

    Args:
        said: What the server said, in small letters.
        prompt: Tokens of the prompt, estimated on the high side.
        most: Tokens asked for, at most.
    """
    context, prompt = _stated(said, prompt)
    if context is not None:
        return prompt <= context // 2 or context - prompt - _MARGIN >= most // 4
    return bool(_LIMIT.search(said) and _TOO_MUCH.search(said))


def room(said: str, prompt: int, most: int) -> int | None:
    """Tokens of an answer for which there is room, by what the server said; None if it does not say."""
    context, prompt = _stated(said, prompt)
    fits = context - prompt - _MARGIN if context is not None else _number(_MOST, _without_commas(said))
    return fits if fits is not None and 0 < fits < most else None


def _stated(said: str, prompt: int) -> tuple[int | None, int]:
    """The length of the context, and that of the prompt as the server counts it, else `prompt`."""
    said = _without_commas(said)
    if found := _SUM.search(said):
        return int(found[2][:9]), int(found[1][:9])
    return _number(_CONTEXT, said), _number(_PROMPT, said) or prompt


def _number(pattern: re.Pattern[str], said: str) -> int | None:
    found = pattern.search(said)
    digits = next(filter(None, found.groups()), "") if found else ""
    return int(digits[:9]) if digits else None


def _without_commas(said: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", said)
