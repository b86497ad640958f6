"""Servers of the benchmark's own: on this machine, empty, ended with the block."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from bgtasks.embedded import places

__all__ = ["about", "megabytes", "server"]

PATIENCE = 20.0


@contextmanager
def server(*, graph: bool = False, fsync: str = "everysec") -> Iterator[str]:
    """A Redis, with FalkorDB or without, that keeps an append-only file: its URL.

    The file is never rewritten, and there are no snapshots: none is to fall into a measurement.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    binary, module = places.binaries()
    directory = Path(tempfile.mkdtemp(prefix="bgtasks-bench-"))
    log = directory / "server.log"
    command = [str(binary), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0"]
    command += ["--logfile", str(log), *(("--loadmodule", str(module)) if graph else ())]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        by = time.monotonic() + PATIENCE
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > by:
                said = log.read_text("utf-8") if log.exists() else "it said nothing"
                raise RuntimeError(f"redis-server did not start: {said}")
            time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def about() -> dict[str, str]:
    """The versions of both servers, and how they keep what they were told."""
    with server(graph=True) as url, redis.Redis.from_url(url, decode_responses=True) as client:
        version = client.info("server")["redis_version"]
        modules: Any = client.execute_command("MODULE", "LIST")
        loaded = [each if isinstance(each, dict) else _pairs(each) for each in modules]
        number = next(each["ver"] for each in loaded if each["name"] == "graph")
        graph = f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
        kept = f"appendonly yes, appendfsync {client.config_get('appendfsync')['appendfsync']}"
    return {
        "Redis": f"Redis {version}, {kept}",
        "FalkorDB": f"FalkorDB {graph} in a Redis of its own, {kept} unless it says otherwise",
    }


def megabytes(url: str) -> dict[str, float]:
    """What a server has in use, and what it holds of the machine's memory."""
    with redis.Redis.from_url(url) as client:
        memory: Any = client.info("memory")
    return {"used": memory["used_memory"] / 1e6, "resident": memory["used_memory_rss"] / 1e6}


def _pairs(flat: Any) -> dict[str, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _answers(port: int) -> bool:
    with redis.Redis(port=port) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
