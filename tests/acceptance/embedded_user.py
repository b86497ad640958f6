"""A user of the embedded server in a process of its own, driven line by line through its stdin.

Started as a script with a data directory; `--no-graph` does without FalkorDB. It answers one JSON
object a line, the first after it has joined: `{"redis": pid, "keeper": pid, "run_id": …}`, or
`{"error": …}`. Commands:

    write KEY N    set KEY:0 … KEY:N-1, one after the other; {"acked": i} after each
    graph N        create N nodes, one query each; {"acked": i} after each
    fork           fork a child that does nothing; {"child": pid}
    stop           leave; {"stopped": true}; the process lives on until its stdin ends
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from bgtasks.embedded import EmbeddedServer
from bgtasks.embedded.keeper.shared import read_state
from bgtasks.errors import EmbeddedServerError

PATIENCE_S = 30.0


def reply(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


async def insist(client: Any, *command: Any) -> None:
    """Send until it is acknowledged: while redis-server is being started again it is not there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            await client.execute_command(*command)
        except (RedisConnectionError, ResponseError):  # not there, or still loading
            if time.monotonic() > deadline:
                raise
            await asyncio.to_thread(os.sched_yield)
        else:
            return


async def serve(server: EmbeddedServer, line: str) -> None:
    name, *arguments = line.split()
    if name == "write":
        client = server.client()
        for i in range(int(arguments[1])):
            await insist(client, "SET", f"{arguments[0]}:{i}", i)
            reply(acked=i)
        await client.aclose()
    elif name == "graph":
        client = server.client()
        for i in range(int(arguments[0])):
            await insist(client, "GRAPH.QUERY", "g", f"MERGE (:N {{i: {i}}})")
            reply(acked=i)
        await client.aclose()
    elif name == "fork":
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        reply(child=pid)
    elif name == "stop":
        await server.stop()
        reply(stopped=True)


async def main() -> None:
    server = EmbeddedServer(sys.argv[1], graph="--no-graph" not in sys.argv)
    try:
        await server.start()
    except EmbeddedServerError as error:
        reply(error=str(error))
        return
    async with server.client(decode_responses=True) as client:
        info = await client.info("server")
    state = read_state(server.data_dir)
    assert state is not None
    reply(
        redis=info["process_id"],
        run_id=info["run_id"],
        keeper=state.keeper,
        graph=server.has_graph,
        reason=server.graph_reason,
        socket=str(server.socket_path),
    )
    while line := await asyncio.to_thread(sys.stdin.readline):
        await serve(server, line)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
