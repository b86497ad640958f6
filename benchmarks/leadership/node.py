"""One process that stands for leadership: `python -m benchmarks.leadership.node '{"peer": ..., ...}'`.

It obeys the words `start` and `stop` on its stdin, each a line, and says on its stdout what happened when:
`<what> <nanoseconds of the machine's monotonic clock>`. The end of its stdin ends it. Given a peer alone, it
says what that is.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import time

from benchmarks.leadership.peers import Peer, Place, make

__all__ = ["main"]


async def _serve(peer: Peer, place: Place) -> None:
    words = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    place.note("ready")
    async for word in words:
        if word == b"start\n":
            await peer.start()
        elif word == b"stop\n":
            place.note("stopping")
            await peer.stop()
            place.note("stopped")
    os._exit(0)


async def _main() -> None:
    asked = json.loads(sys.argv[1])
    name = asked.pop("peer")
    if not asked:
        about = make(name, Place("redis://127.0.0.1:1/0", "about", "about", lambda what: None)).about
        print(f"{about}; Python {platform.python_version()}", flush=True)
        os._exit(0)
    out = os.dup(1)
    os.dup2(2, 1)  # whatever a peer prints is not one of our lines

    def note(what: str) -> None:
        os.write(out, f"{what} {time.monotonic_ns()}\n".encode())

    place = Place(**asked, note=note)
    await _serve(make(name, place), place)


def main() -> None:
    """Stand for leadership."""
    asyncio.run(_main())


if __name__ == "__main__":
    main()
