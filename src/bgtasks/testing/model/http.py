"""As much of HTTP/1.1 as clients of a model speak: a request with a length, a response with a length."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

__all__ = ["LARGEST_BODY", "BadRequest", "Request", "Response", "read_request"]

LARGEST_BODY = 32 * 1024 * 1024
REST_WITHIN_S = 60.0
"""Seconds that what follows a request line may take to arrive."""


class BadRequest(Exception):
    """What arrived is no request that can be answered; the connection is of no use after it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end. Names of headers are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def last(self) -> bool:
        """Whether the client wants the connection closed after it."""
        return self.headers.get("connection", "").lower() == "close"


@dataclass(frozen=True, slots=True)
class Response:
    """Status, further headers, and the bytes of the body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A response whose body is `value`."""
        return cls(status, json.dumps(value).encode(), headers or {})

    @classmethod
    def error(
        cls, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """An error in the form in which OpenAI's API has them."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        error = {"message": message, "type": kind, "param": None, "code": code}
        return cls.json({"error": error}, status, headers)

    @property
    def head(self) -> bytes:
        """The status line and the headers, up to and with the empty line."""
        lines = [
            f"HTTP/1.1 {self.status} {_phrase(self.status)}",
            f"content-type: {self.content_type}",
            f"content-length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None when the client has closed its side.

    Raises:
        BadRequest: It is too large, is not HTTP, or does not say how long it is.
        ConnectionError: The client is gone.
        TimeoutError: It began and did not end.
    """
    try:
        first = await reader.readline()
    except ValueError as error:
        raise BadRequest("the request line is too long") from error
    if not first.strip():
        return None
    async with asyncio.timeout(REST_WITHIN_S):
        words = first.decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise BadRequest("this is not HTTP/1.1")
        headers = await _headers(reader)
        try:
            length = int(headers.get("content-length", "0"))
        except ValueError as error:
            raise BadRequest("the content-length is not a number") from error
        if "transfer-encoding" in headers or not 0 <= length <= LARGEST_BODY:
            raise BadRequest(f"the body must have a content-length of at most {LARGEST_BODY}")
        try:
            body = await reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the client left in the middle of a request") from error
    return Request(words[0], words[1].partition("?")[0], headers, body)


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    while True:
        try:
            line = await reader.readline()
        except ValueError as error:
            raise BadRequest("a header is too long") from error
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the client left in the middle of a request")
        if not line.strip():
            return headers
        if len(headers) > 200:
            raise BadRequest("there are too many headers")
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
