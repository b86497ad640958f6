"""The measurements: each has a server and processes of its own, and gives a mapping for each thing it saw."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from redis.asyncio import Redis

from benchmarks.leadership.group import Group, NoFigures
from benchmarks.leadership.peers import LEASE, RENEWALS
from benchmarks.leadership.server import Server

__all__ = ["KINDS", "Taken"]

type Taken = list[dict[str, float]]

REST = 0.3
"""Seconds after which one that was started is among the waiting, whoever it is."""

POLL = 0.1
"""Seconds between two polls of one that polls: a release comes at any moment of that."""

WATCHED = LEASE * 1.05 + 1.5
"""Seconds after which a follower of bgtasks has watched the server's clock for long enough to believe it."""


async def hand_over(python: str, peer: str, random: Random, times: int) -> Taken:
    """Of three processes the one that leads stops, and comes back as a follower; again and again."""
    taken: Taken = []
    with Server() as server:
        async with Group(server, python, peer, 3) as group:
            leader = await group.lead()
            await asyncio.sleep(1)
            for _ in range(times):
                await asyncio.sleep(REST + random.uniform(0, POLL))
                if not group.none_said("leads"):
                    raise NoFigures("two lead at a time")
                leader.tell("stop")
                stopping, leads = await group.next("stopping"), await group.next("leads")
                taken.append({"ms": (leads.at - stopping.at) / 1e6})
                await group.next("stopped")
                leader.tell("start")
                leader = leads.node
    return taken


async def fail_over(python: str, peer: str, random: Random, times: int) -> Taken:
    """Of several processes the one that leads is killed; the next, the next."""
    taken: Taken = []
    with Server() as server:
        async with Group(server, python, peer, times + 1) as group:
            leader = await group.lead()
            await asyncio.sleep(WATCHED)
            for number in range(times):
                # Evenly over the time between two renewals.
                await asyncio.sleep(1 + RENEWALS[peer] * (number + random.random()) / times)
                if not group.none_said("leads"):
                    raise NoFigures("two lead at a time")
                killed, leads = leader.kill(), await group.next("leads")
                taken.append({"ms": (leads.at - killed) / 1e6})
                leader = leads.node
    return taken


async def commands(python: str, peer: str, random: Random, leases: int) -> Taken:
    """What the leader and a follower have the server do while nothing happens, for each length of a lease."""
    with Server() as server:
        async with Group(server, python, peer, 2) as group, Redis.from_url(server.url) as client:
            leader = await group.lead()
            await asyncio.sleep(WATCHED)
            requests, all_of_it = await _counted(client, LEASE * leases)
    taken = {}
    for node in group.nodes:
        role = "leader" if node is leader else "follower"
        taken[f"{role}_requests"] = requests[node.name] / leases
        taken[f"{role}_commands"] = all_of_it[node.name] / leases
    return [taken]


async def _counted(client: Any, seconds: float) -> tuple[Counter[str], Counter[str]]:
    """By the name of the connection: what it sent, and the same with what its scripts called."""
    sent: Counter[str] = Counter()
    called: Counter[str] = Counter()
    names = await _names(client)
    async with client.monitor() as monitor:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                address = ""
                async for seen in monitor.listen():
                    if seen["client_type"] != "lua":  # the calls of a script follow it
                        address = f"{seen['client_address']}:{seen['client_port']}"
                        sent[address] += 1
                    called[address] += 1
    names |= await _names(client)
    return _by_name(sent, names), _by_name(called, names)


async def _names(client: Any) -> dict[str, str]:
    return {each["addr"]: each["name"] for each in await client.client_list()}


def _by_name(counted: Counter[str], names: dict[str, str]) -> Counter[str]:
    of_name: Counter[str] = Counter()
    for address, count in counted.items():
        of_name[names.get(address, "")] += count
    return of_name


KINDS: dict[str, Callable[..., Coroutine[Any, Any, Taken]]] = {
    "hand_over": hand_over,
    "fail_over": fail_over,
    "commands": commands,
}
