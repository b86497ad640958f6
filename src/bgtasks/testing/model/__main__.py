"""The stand-in as a process: `python -m bgtasks.testing.model --port 8099`. It ends at SIGTERM and SIGINT.

It prints its base URL once it listens; `GET /tally` says what it was asked up to now.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from bgtasks.testing.model.faults import Faults
from bgtasks.testing.model.server import ModelServer


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bgtasks.testing.model",
        description="A stand-in for a language model: rules over text behind an OpenAI-compatible server.",
    )
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; default: any that is free")
    parser.add_argument("--faults", default="", help="share of calls by fault: 429=0.1,slow:2=0.05,cut=0.05")
    parser.add_argument("--seed", type=int, default=0, help="which calls get the faults")
    parser.add_argument("--key", help="the API key that is asked for; default: any will do")
    parser.add_argument("--models", help="the models there are, with commas; default: any name will do")
    parser.add_argument("--no-json-schema", action="store_true", help="refuse structured output with 400")
    parser.add_argument("--dimension", type=int, default=384, help="length of vectors; default: 384")
    parser.add_argument("--context-tokens", type=int, help="refuse longer prompts with 400")
    parser.add_argument("--gullible", action="store_true", help="obey messages that order to call a tool")
    arguments = parser.parse_args(given)
    try:
        arguments.faults = Faults.parse(arguments.faults, arguments.seed)
    except ValueError as error:
        parser.error(str(error))
    if not 0 <= arguments.port <= 65_535:
        parser.error(f"--port {arguments.port} is no port: 1 to 65535, or 0 for any that is free")
    if arguments.dimension < 1:
        parser.error(f"--dimension {arguments.dimension} leaves no vector: 1 or more")
    return arguments


async def _serve(arguments: argparse.Namespace) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = ModelServer(
        port=arguments.port,
        faults=arguments.faults,
        json_schema=not arguments.no_json_schema,
        models=arguments.models.split(",") if arguments.models else None,
        key=arguments.key,
        dimension=arguments.dimension,
        context_tokens=arguments.context_tokens,
        gullible=arguments.gullible,
    )
    async with server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await ended.wait()


def main(given: Sequence[str] | None = None) -> None:
    """Serve until told to end."""
    arguments = _arguments(given)
    try:
        asyncio.run(_serve(arguments))
    except OSError as error:
        raise SystemExit(f"error: cannot serve on port {arguments.port}: {error}") from None


if __name__ == "__main__":
    main()
