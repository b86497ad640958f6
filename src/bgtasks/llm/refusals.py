"""How an endpoint says no, and which error of ours that is.

What a server says may quote the key or the prompt: it is shown only where `bgtasks.llm.quoting` finds nothing
of them in it.
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from bgtasks.errors import BadAnswer, BgTasksError, UnsuitableServer
from bgtasks.llm.endpoints import setting, setting_of_model
from bgtasks.llm.types import Endpoint, Purpose

__all__ = ["Refusal", "host_of", "no_room", "of_status", "recognised", "unrecognised"]

type Kind = Literal["busy", "away", "refused"]

_LONG = re.compile(
    r"context.{0,3}length|context.{0,3}window|too long|too many tokens|too large|reduce the length|"
    r"maximum.{0,20}tokens|exceed\w* .{0,40}(limit|length|tokens)"
)
# What llama.cpp says with a status of 500.
_TOO_LARGE = re.compile(r"input is too (large|long)")
_NO_MODEL = re.compile(
    r"model.{0,200}(not exist|not found|not available|unknown)|"
    r"(unknown|invalid|no such) model|not a valid model|not have access to.{0,40}model"
)
_FILTERED = re.compile(r"content.{0,3}(filter|policy|management)|moderation|flagged|safety")


class Refusal(Exception):
    """One attempt got no answer.

    Attributes:
        kind: `busy` (too many calls), `away` (an outage: it may work later) or `refused` (it will not work).
        what: What happened, in our own words.
        status: The HTTP status; 0 without one.
        said: What the server said, in small letters. It may quote anything.
        message: The same as it was meant for people.
        code: The code of the error, if it is a plain word.
        retry_after: Seconds the server asks to wait.
        billed: Whether it may have cost something.
        final: Whether it will not help to try again soon.
        late: Whether it ran into the time limit.
    """

    def __init__(
        self,
        kind: Kind,
        what: str,
        *,
        status: int = 0,
        said: str = "",
        code: str = "",
        retry_after: float | None = None,
        billed: bool = False,
        final: bool = False,
        late: bool = False,
        message: str = "",
    ) -> None:
        super().__init__(what)
        self.kind: Kind = kind
        self.what = what
        self.status = status
        self.said = said
        self.code = code
        self.retry_after = retry_after
        self.billed = billed
        self.final = final
        self.late = late
        self.message = message


def of_status(status: int, error: Any, retry_after: float | None = None, *, billed: bool = False) -> Refusal:
    """What a status of 400 or above stands for.

    Args:
        error: The `error` of the body, or whatever was there in its place.
        billed: Whether it came with an answer, or a part of one.
    """
    said, code, message = _said(error), _code(error), _message(error)
    what = f"it answered {status}" + (f" ({code})" if code else "")
    if status == 402 or code in ("insufficient_quota", "billing_hard_limit_reached"):
        # It may be paid by tomorrow; nothing is wrong with the input or with the settings.
        return Refusal(
            "away",
            f"{what}: the account has no credit left",
            status=status,
            billed=billed,
            final=True,
            message=message,
        )
    kind: Kind = "refused"
    if status == 429:
        kind = "busy"
    elif status in (408, 409, 425) or (status >= 500 and not _TOO_LARGE.search(said)):
        kind = "away"
    return Refusal(
        kind,
        what,
        status=status,
        said=said,
        code=code,
        retry_after=retry_after,
        billed=billed,
        message=message,
    )


def recognised(
    refusal: Refusal, endpoint: Endpoint, purpose: Purpose, quote: str = ""
) -> BgTasksError | None:
    """The error that a refusal of kind `refused` is raised as; None if it does not say what it is about.

    Args:
        quote: What the server said, if it may be shown.
    """
    host, what = host_of(endpoint.url), refusal.what
    filtered = refusal.status != 401 and _FILTERED.search(refusal.said)
    if filtered or "content_filter" in refusal.code:
        return BadAnswer(f"{host}: {what}: the input was refused by a content filter{quote}")
    if "context_length" in refusal.code or (refusal.status not in (401, 403) and _is_long(refusal)):
        return BadAnswer(f"{host}: {what}: the input is too long for {endpoint.model}{quote}")
    named = refusal.status != 401 and ("model" in refusal.code or _NO_MODEL.search(refusal.said))
    if refusal.status == 404 or named:
        return UnsuitableServer(
            f'openrouter: {host}: {what}: there is no model "{endpoint.model}" for this, or nothing at that '
            f"address; see {setting_of_model(purpose)} and {setting(purpose, 'url')}{quote}"
        )
    if refusal.status in (401, 403):
        shown = quote if refusal.status == 403 else ""
        return UnsuitableServer(
            f"openrouter: {host}: {what}: the API key was refused; see {setting(purpose, 'key')}{shown}"
        )
    return None


def unrecognised(
    refusal: Refusal, endpoint: Endpoint, purpose: Purpose, quote: str = "", *, proven: bool
) -> BgTasksError:
    """The error that any other refusal of kind `refused` is raised as.

    Args:
        proven: Whether the endpoint has answered another call of this shape: if so, what it refuses now must
            be due to the input.
    """
    host, what = host_of(endpoint.url), refusal.what
    if proven:
        return BadAnswer(f"{host}: {what}: it answers such calls, but not with this input{quote}")
    return UnsuitableServer(
        f'openrouter: {host}: {what}: the model "{endpoint.model}" does not take calls of this shape: tools, '
        f"perhaps, or so high a max_tokens; see {setting_of_model(purpose)}{quote}"
    )


def no_room(who: str, what: str, quote: str = "") -> UnsuitableServer:
    """The error where the length of an answer, and not that of the input, is in the way."""
    cure = "with BGTASKS_LLM_MAX_TOKENS, or name another model"
    return UnsuitableServer(f"openrouter: {who}: {what} {cure}{quote}")


def host_of(url: str) -> str:
    """The host of a URL, and its port, for errors and logs."""
    return urlsplit(url).netloc.rpartition("@")[2] or "the endpoint"


def _is_long(refusal: Refusal) -> bool:
    said = refusal.said
    about_limit = "max_tokens" in said or "max_completion_tokens" in said
    return refusal.status == 413 or (
        _LONG.search(said) is not None and ("context" in said or not about_limit)
    )


def _said(error: Any) -> str:
    if isinstance(error, dict):
        # OpenRouter puts what the model's own provider said beside its own words.
        return " ".join(
            str(error.get(name, "")) for name in ("message", "param", "code", "metadata", "detail")
        )[:4000].lower()
    return str(error or "")[:4000].lower()


def _message(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error or "")[:1000]
    for name in ("message", "detail"):
        if isinstance(said := error.get(name), str) and said:
            return said[:1000]
    return ""


def _code(error: Any) -> str:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) and re.fullmatch(r"[a-z_]{3,40}", code) else ""
