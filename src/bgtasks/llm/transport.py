"""Requests to endpoints, by the `openai` package: connections of one event loop, and nothing tried twice.

Made in a thread: the package takes half a second to import, and a client reads certificates.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from bgtasks.errors import MissingExtra
from bgtasks.llm.refusals import Refusal, of_status
from bgtasks.llm.types import Endpoint

if TYPE_CHECKING:
    from openai import APIConnectionError, AsyncOpenAI

__all__ = ["Transport"]

type Path = Literal["chat", "embeddings"]

CONNECT = 10.0
"""Seconds for a connection."""

_NAMED = {"model", "messages", "input", "encoding_format"}
"""What the package is to know of a body; it passes on what it does not know."""

_UNSENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "LocalProtocolError"}
"""Errors of the HTTP client, of whichever version, after which nothing can have reached the model."""


class Transport:
    """Posts to endpoints and reads JSON. It belongs to one event loop.

    Args:
        timeout: Seconds for one answer.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._clients: dict[tuple[str, str], asyncio.Task[AsyncOpenAI]] = {}
        self._limits: set[asyncio.Timeout] = set()
        self.closed = False

    async def post(
        self, path: Path, endpoint: Endpoint, body: Mapping[str, Any], sent: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """What the endpoint answers to `body`.

        Args:
            sent: Called when the request is about to be sent: from then on it may be billed.

        Raises:
            Refusal: It gave no answer, in time, that could be read.
            MissingExtra: The package is not installed.
        """
        client = await self._client(endpoint)
        sent()
        content = await self._answered(client, path, body)
        try:
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise Refusal("away", "what it answered is no JSON object", billed=True)
        if (refusal := _within(answer)) is not None:
            raise refusal
        return answer

    async def aclose(self) -> None:
        """Close the connections. A call that is under way fails."""
        self.closed = True
        making, self._clients = list(self._clients.values()), {}
        for each in await asyncio.gather(*making, return_exceptions=True):
            if not isinstance(each, BaseException):
                await each.close()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(0)  # a request whose connection is still being made does not notice

    async def _answered(self, client: AsyncOpenAI, path: Path, body: Mapping[str, Any]) -> bytes:
        from openai import APIConnectionError, APIStatusError, OpenAIError

        api: Any = client.chat.completions if path == "chat" else client.embeddings
        named = {name: value for name, value in body.items() if name in _NAMED}
        others = {name: value for name, value in body.items() if name not in _NAMED} or None
        try:
            async with asyncio.timeout(self._timeout) as limit:
                self._limits.add(limit)
                try:
                    raw = await api.with_raw_response.create(**named, extra_body=others)
                finally:
                    self._limits.discard(limit)
            return bytes(raw.http_response.content)
        except TimeoutError:
            refusal = self._late()
        except APIStatusError as error:
            refusal = of_status(error.status_code, error.body, _retry_after(error.response.headers))
        except APIConnectionError as error:
            refusal = self._broken(error)
        except OpenAIError as error:
            refusal = Refusal("away", f"the request failed ({type(error).__name__})", billed=True)
        except RuntimeError:
            if not self.closed:
                raise
            refusal = Refusal("away", "the client was closed", final=True)
        raise refusal  # here: the error and its request are not to hang on to it

    def _late(self) -> Refusal:
        if self.closed:
            return Refusal("away", "the client was closed", billed=True, final=True)
        what = f"no answer within {self._timeout:g} s (BGTASKS_LLM_TIMEOUT)"
        return Refusal("away", what, billed=True, late=True)

    def _broken(self, error: APIConnectionError) -> Refusal:
        name = type(error.__cause__).__name__
        if self.closed:
            return Refusal("away", "the client was closed", billed=name not in _UNSENT, final=True)
        if name in _UNSENT:
            return Refusal("away", f"no connection ({name})")
        if name.endswith("Timeout"):
            return self._late()
        return Refusal("away", f"the connection broke ({name})", billed=True)

    async def _client(self, endpoint: Endpoint) -> AsyncOpenAI:
        if self.closed:
            raise Refusal("away", "the client was closed", final=True)
        key = endpoint.key.get_secret_value() if endpoint.key else ""
        making = self._clients.get((endpoint.url, key))
        if making is None or (making.done() and (making.cancelled() or making.exception())):
            making = asyncio.create_task(
                asyncio.to_thread(_made, endpoint.url, key, self._timeout), name="bgtasks llm client"
            )
            self._clients[endpoint.url, key] = making
        return await asyncio.shield(making)


def _made(url: str, key: str, timeout: float) -> AsyncOpenAI:
    try:
        from openai import AsyncOpenAI, Timeout
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "openai":
            raise
        raise MissingExtra("the LLM client", "memory") from None
    _keep_bodies_out_of_logs()
    limits = Timeout(timeout, connect=min(CONNECT, timeout))
    # Never without a key: the package would take the one of OPENAI_API_KEY, which is for another endpoint.
    client = AsyncOpenAI(api_key=key or "none", base_url=url, max_retries=0, timeout=limits)
    # Nor with what else the environment says of OpenAI: it is not for this endpoint.
    client.organization = client.project = None
    client._custom_headers = {}
    _ = client.chat.completions, client.embeddings  # imported where they are first used: here
    return client


def _within(answer: Mapping[str, Any]) -> Refusal | None:
    """The error in an answer of status 200, if there is one.

    OpenRouter: what went wrong did so at the model's own provider, perhaps in the middle of the answer.
    """
    choices, error = answer.get("choices"), answer.get("error")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not error and isinstance(first, dict):
        error = first.get("error") or (first.get("finish_reason") == "error" and "the answer broke off")
    if not error:
        return None
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, str) and re.fullmatch(r"[45]\d\d", code):
        code = int(code)
    status = code if isinstance(code, int) and code >= 400 else 502
    return of_status(status, error, billed=bool(choices or answer.get("data")))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; a date is taken for no wish, since clocks differ."""
    for name, part in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * part
        except (KeyError, ValueError):
            continue
        if seconds >= 0:
            return seconds
    return None


# -- logs ------------------------------------------------------------------------------------------


def _keep_bodies_out_of_logs() -> None:
    """Versions of `openai` before 2 log whole requests at DEBUG."""
    logger = logging.getLogger("openai._base_client")
    if _without_bodies not in logger.filters:
        logger.addFilter(_without_bodies)


def _without_bodies(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Request options")
