"""The stand-in as a server on loopback, in the running event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Any, Self

from bgtasks.testing.model.answering import Answer, Answering
from bgtasks.testing.model.calls import Call, Tally
from bgtasks.testing.model.faults import Faults
from bgtasks.testing.model.http import BadRequest, Request, Response, read_request

__all__ = ["ModelServer"]


class ModelServer:
    """A stand-in for a language model: an OpenAI-compatible server that answers by rules over the text.

    It answers the extraction of bgtasks (structured and with tools), gives vectors of three-letter pieces,
    and a few words to everything else. It is deterministic, needs no network beyond loopback, and measures
    nothing about the quality that a real model would have. It does not stream.

    ```python
    async with ModelServer() as model:
        client = AsyncOpenAI(base_url=model.url, api_key="any", max_retries=0)
    ```

    Args:
        port: Where to listen on 127.0.0.1; 0: any free port.
        answer: Asked first, with the body of each request; it may be a coroutine function. A text, or a
            mapping (as JSON), is what the model says; a `Reply` has its details; a mapping with `choices` or
            `data` is the whole body of the response; a `Fault` is what goes wrong; None: the rules answer.
        faults: What goes wrong, at which calls. `model.faults.at(3, "cut")` adds to it at any time.
        json_schema: False: a `response_format` of the type `json_schema` is refused with 400.
        models: The models there are; others get 404. None: any name will do.
        key: The API key; without it a request gets 401. None: any key will do.
        dimension: The length of vectors, where the request does not say.
        context_tokens: A longer prompt is refused with 400. None: no limit.
        gullible: Whether it obeys a message that orders it to call a tool, in the agentic pass.

    Attributes:
        url: The base URL for a client; empty before the start.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        answer: Answer | None = None,
        faults: Faults | None = None,
        json_schema: bool = True,
        models: Collection[str] | None = None,
        key: str | None = None,
        dimension: int = 384,
        context_tokens: int | None = None,
        gullible: bool = False,
    ) -> None:
        self.url = ""
        self._port = port
        self._answering = Answering(
            answer=answer,
            faults=faults,
            json_schema=json_schema,
            models=models,
            key=key,
            dimension=dimension,
            context_tokens=context_tokens,
            gullible=gullible,
        )
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    @property
    def calls(self) -> list[Call]:
        """Every call for an answer or for vectors, in order of arrival; those in flight have status 0."""
        return self._answering.calls

    @property
    def requests(self) -> deque[dict[str, Any]]:
        """The bodies of the last 200 calls, oldest first."""
        return self._answering.requests

    @property
    def tally(self) -> Tally:
        """The calls up to now, summed up."""
        return self._answering.tally

    @property
    def faults(self) -> Faults:
        """What goes wrong, at which calls."""
        return self._answering.faults

    @property
    def connected(self) -> int:
        """Connections that are open, and whose client has not left."""
        return sum(not reader.at_eof() for reader, _ in self._open.values())

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}/v1"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Listen no more, and break off what is in flight. It may be started again, on the same port."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    def cut_off(self) -> int:
        """Break every connection at once, as a server does that is killed; how many there were."""
        broken = list(self._open.values())
        for _, writer in broken:
            writer.transport.abort()
        return len(broken)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._talk(reader, writer), name="bgtasks.testing.model: a connection")
        self._open[task] = reader, writer
        task.add_done_callback(self._open.pop)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                if not await self._respond(request, reader, writer) or request.last:
                    break
        except BadRequest as error:
            response = Response.error(400, str(error))
            writer.write(response.head + response.body)
        except (OSError, TimeoutError):
            pass  # the client is gone, or as good as gone
        finally:
            await _closed(writer)

    async def _respond(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; whether the connection can go on."""
        response, call = await self._answering.respond(request)
        gone = reader.at_eof() or writer.is_closing()
        cut = call is not None and call.fault == "cut"
        body = response.body[: len(response.body) // 2] if cut else response.body
        try:
            if not gone:
                writer.write(response.head + body)
                await writer.drain()
        except OSError:
            gone = True
        if call is not None:
            self._answering.done(call, response, whole=not (gone or cut))
        return not (gone or cut)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """What is written goes out, then the connection ends; one whose client does not read is broken."""
    writer.close()
    try:
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
    except OSError:  # TimeoutError is one
        writer.transport.abort()
    except asyncio.CancelledError:
        writer.transport.abort()
        raise
