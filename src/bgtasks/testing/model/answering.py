"""From a request to a response: who may ask, which fault it gets, what the answer is, what it counts as."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from bgtasks.testing.model.calls import Call, Tally
from bgtasks.testing.model.chat import reply_to
from bgtasks.testing.model.faults import Fault, Faults
from bgtasks.testing.model.http import Request, Response
from bgtasks.testing.model.reply import Reply, completion, cut_to
from bgtasks.testing.model.spoiling import GARBAGE, SPOILING, refused, spoilt, spoilt_vectors
from bgtasks.testing.model.tokens import prompt_tokens
from bgtasks.testing.model.vectors import embeddings

__all__ = ["Answer", "Answering"]

_log = logging.getLogger(__name__)

type Said = str | Mapping[str, Any] | Reply | Fault | None
type Answer = Callable[[dict[str, Any]], Said | Awaitable[Said]]

CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
LAST_REQUESTS = 200


class Answering:
    """The model behind a `ModelServer`. See there for the arguments.

    Attributes:
        calls: Every call, in order of arrival.
        requests: The bodies of the last 200 calls, oldest first.
        faults: Which calls get which fault.
    """

    def __init__(
        self,
        *,
        answer: Answer | None,
        faults: Faults | None,
        json_schema: bool,
        models: Collection[str] | None,
        key: str | None,
        dimension: int,
        context_tokens: int | None,
        gullible: bool,
    ) -> None:
        self.calls: list[Call] = []
        self.requests: deque[dict[str, Any]] = deque(maxlen=LAST_REQUESTS)
        self.faults = faults if faults is not None else Faults()
        self._answer = answer
        self._json_schema = json_schema
        self._models = models
        self._key = key
        self._dimension = dimension
        self._context = context_tokens
        self._gullible = gullible
        self._answered: set[str] = set()
        self._in_flight = self._at_once = 0

    @property
    def tally(self) -> Tally:
        """The calls up to now, summed up."""
        return Tally.of(self.calls, self._at_once)

    async def respond(self, request: Request) -> tuple[Response, Call | None]:
        """The response to a request, and the call it was, if it was one. A slow one takes its time.

        The call is finished by `done`, once the response has been sent.
        """
        path = request.path.removeprefix("/v1")
        if request.method == "GET" and path == "/tally":
            return Response.json(self.tally.as_json()), None
        known = self._key is None or request.headers.get("authorization") == f"Bearer {self._key}"
        stranger = Response.error(401, "Incorrect API key provided", "invalid_api_key")
        if request.method == "GET" and path == "/models":
            if not known:
                return stranger, None
            data = [
                {"id": name, "object": "model", "created": 0, "owned_by": "rules"} for name in self._names
            ]
            return Response.json({"object": "list", "data": data}), None
        if request.method != "POST" or path not in (CHAT, EMBEDDINGS):
            return Response.error(404, f"there is no {request.method} {request.path}"), None
        call = self._begun(request)
        if not known:
            return stranger, call
        self._in_flight += 1
        self._at_once = max(self._at_once, self._in_flight)
        try:
            return await self._called(path, request.body, call), call
        except Exception as error:  # noqa: BLE001 - the client has to hear of it, and who runs the test
            _log.exception("the stand-in for a model could not answer")
            return Response.error(500, f"the stand-in failed: {error!r}"), call
        finally:
            self._in_flight -= 1

    def done(self, call: Call, response: Response, *, whole: bool) -> None:
        """The response to this call was sent, or not."""
        call.answered = whole
        call.status = response.status
        if whole and response.status == 200 and call.fault in (None, "slow"):
            self._answered.add(call.digest)

    @property
    def _names(self) -> Collection[str]:
        return self._models if self._models is not None else ("rules",)

    def _begun(self, request: Request) -> Call:
        body = _parsed(request.body)
        canonical = request.body if body is None else json.dumps(body, sort_keys=True).encode()
        path = request.path.removeprefix("/v1")
        digest = hashlib.sha256(path.encode() + b"\n" + canonical).hexdigest()
        call = Call(
            number=len(self.calls) + 1,
            kind="embedding" if path == EMBEDDINGS else "chat",
            model=str((body or {}).get("model", "")),
            digest=digest,
            repeated=digest in self._answered,
        )
        self.calls.append(call)
        self.requests.append(body or {})
        return call

    async def _called(self, path: str, raw: bytes, call: Call) -> Response:
        body = _parsed(raw)
        if body is None or ("input" if path == EMBEDDINGS else "messages") not in body:
            return Response.error(400, "the body is not what this endpoint takes")
        if (error := self._objection(body)) is not None:
            return error
        fault = self.faults.of(call.number)
        said: Said = None
        if self._answer is not None and (fault is None or refused(fault) is None):
            given = self._answer(body)
            said = await given if inspect.isawaitable(given) else given
        if isinstance(said, Fault):
            fault, said = said, None
        if fault is not None:
            if fault.kind not in SPOILING:
                call.fault = fault.kind
            if (error := refused(fault)) is not None:
                return error
            if fault.kind == "slow":
                await asyncio.sleep(fault.seconds)
        call.prompt_tokens = prompt_tokens(body)
        if fault is not None and fault.kind == "garbage":
            return GARBAGE
        if path == EMBEDDINGS:
            return self._vectors(body, said, fault, call)
        return self._completed(body, said, fault, call)

    def _objection(self, body: Mapping[str, Any]) -> Response | None:
        name = body.get("model")
        if self._models is not None and name not in self._models:
            return Response.error(404, f"The model `{name}` does not exist", "model_not_found")
        if body.get("stream"):
            return Response.error(400, "the stand-in does not stream: leave out `stream`")
        form = body.get("response_format") or {}
        if not self._json_schema and form.get("type") == "json_schema":
            return Response.error(
                400, "Invalid parameter: 'response_format' of type 'json_schema' is not supported"
            )
        if self._context is not None and prompt_tokens(body) > self._context:
            said = f"This model's maximum context length is {self._context} tokens"
            return Response.error(400, said, "context_length_exceeded")
        return None

    def _vectors(self, body: dict[str, Any], said: Said, fault: Fault | None, call: Call) -> Response:
        if isinstance(said, Reply) and said.status != 200:
            return Response.error(said.status, said.text, said.code, said.headers)
        if isinstance(said, Mapping):
            return Response.json(said)
        made = embeddings(body, self._dimension)
        given = spoilt_vectors(fault, made)
        if fault is not None and given != made:
            call.fault = fault.kind
        return Response.json(given)

    def _completed(self, body: dict[str, Any], said: Said, fault: Fault | None, call: Call) -> Response:
        if isinstance(said, Mapping) and "choices" in said:
            call.completion_tokens = int((said.get("usage") or {}).get("completion_tokens", 0))
            return Response.json(said)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        meant = self._said(body, said)
        reply = cut_to(spoilt(fault, meant, limit), limit)
        if fault is not None and reply != cut_to(meant, limit):
            call.fault = fault.kind
        if reply.status != 200:
            call.prompt_tokens = 0
            return Response.error(reply.status, reply.text, reply.code, reply.headers)
        call.completion_tokens = reply.tokens
        return Response.json(completion(body, reply, call.number), headers=reply.headers)

    def _said(self, body: dict[str, Any], said: Said) -> Reply:
        if isinstance(said, Reply):
            return said
        if isinstance(said, str):
            return Reply(said)
        if isinstance(said, Mapping):
            return Reply(json.dumps(said, ensure_ascii=False))
        return reply_to(body, gullible=self._gullible)


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
