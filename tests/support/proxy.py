"""A TCP proxy in front of a real server, in this event loop, with faults that a test turns on and off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Proxy", "proxy"]


class Proxy:
    """The address of one client, and what becomes of what is sent through it.

    Attributes:
        url: Where to connect instead.
        target: The URL of the server behind it, for connections made from now on.
        deaf: Whether requests are lost on their way.
        mute: Replies that begin with this are lost on their way: b"" is all of them, None is none. What was
            asked is done all the same.
        late: Seconds by which requests and replies each come late.
        lost: How many messages were lost.
        tries: How many connections were asked for.
    """

    def __init__(self, target: str) -> None:
        self.url = ""
        self.target = target
        self.deaf = False
        self.mute: bytes | None = None
        self.late = 0.0
        self.lost = 0
        self.tries = 0
        self._open: set[asyncio.StreamWriter] = set()

    def mend(self) -> None:
        """From now on all is well; a connection on which something was lost stays silent, as with TCP."""
        self.deaf, self.mute = False, None
        self.late = 0.0

    def cut(self) -> int:
        """Break every connection, at once and without a goodbye; how many there were."""
        broken = list(self._open)
        for sink in broken:
            sink.transport.abort()
        return len(broken)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self.tries += 1
        try:
            answers, questions = await _connect(self.target)
        except OSError:  # nobody is there: as a port without a server, all but the first instant
            writer.transport.abort()
            return
        self._open |= {writer, questions}
        back = asyncio.create_task(self._carry(answers, writer, of_the_server=True))
        forth = asyncio.create_task(self._carry(reader, questions, of_the_server=False))
        try:
            await asyncio.wait((back, forth), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= {writer, questions}
            back.cancel()
            forth.cancel()
            questions.close()
            writer.close()
            await asyncio.wait((back, forth))

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, of_the_server: bool
    ) -> None:
        silent = False  # nothing follows what was lost: a stream has no gaps
        try:
            while data := await source.read(65_536):
                if self.late:
                    await asyncio.sleep(self.late)  # the fault, no wait
                if of_the_server:
                    silent = silent or (self.mute is not None and data.startswith(self.mute))
                else:
                    silent = silent or self.deaf
                if silent:
                    self.lost += 1
                else:
                    sink.write(data)
        except ConnectionError:
            return


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if url.startswith("unix://"):
        return await asyncio.open_unix_connection(url.removeprefix("unix://"))
    host, _, port = url.removeprefix("redis://").partition("/")[0].rpartition(":")
    return await asyncio.open_connection(host, int(port))


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the server of this URL, without any fault yet."""
    from tests.support.servers import listening  # heavy, and of no use to a child process

    made = Proxy(target)
    async with listening(made.serve) as port:
        made.url = f"redis://127.0.0.1:{port}/0"
        yield made
