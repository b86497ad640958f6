"""The kinds of faults: each a function that breaks something, and says when it is whole again.

`LIMITS` are those against which no promise stands but order and recovery: two processes may trust a claim.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.simulation.claims.cluster import Cluster
from tests.simulation.claims.member import Member

__all__ = ["FAULTS", "LIMITS"]

type Fault = Callable[[Cluster, Random], bool | None]
"""Returns False where there is nothing for it to break."""

FAULTS: dict[str, Fault] = {}
LIMITS: dict[str, Fault] = {}

CALLS = ("join", "beat", "claim", "claim", "accept", "finish", "finish", "add", "offer", "leave", "describe")
"""Calls of which one may be struck."""

MARGIN_S = 2.0
"""By how much the clock of the server may be set forward, and every promise still stand: less than what a
process keeps before its session is over."""


def fault(made: Fault) -> Fault:
    """Register a kind of fault."""
    FAULTS[made.__name__] = made
    return made


# -- helpers -------------------------------------------------------------------------------------


def somebody(cluster: Cluster, random: Random) -> Member:
    """A node that is up; one that has a run in progress more often than others."""
    busy = sorted({work.member for work in cluster.observer.works})
    if busy and random.random() < 0.5:
        name = random.choice(busy)
        return next(member for member in cluster.members if member.name == name)
    up = [member for member in cluster.members if member.up]
    return random.choice(up or cluster.members)


def how_long(random: Random, short: float = 0.5, long: float = 45.0) -> float:
    """Seconds: as often short as long."""
    return float(short * (long / short) ** random.random())


def freeze(cluster: Cluster, member: Member, seconds: float) -> None:
    """SIGSTOP, and SIGCONT."""
    node = member.node
    cluster.loop.freeze(node)

    def undo() -> None:
        cluster.observer.stands_still(member.name, cluster.loop.now)
        cluster.loop.thaw(node)

    cluster.lasting(seconds, undo)


def on_way(cluster: Cluster, member: Member, seconds: float, **changes: Any) -> None:
    """Change how calls fare for a while."""
    way = member.way
    whole = type(way)()
    for name, value in changes.items():
        setattr(way, name, value)

    def undo() -> None:
        for name in changes:
            setattr(way, name, getattr(whole, name))

    cluster.lasting(seconds, undo)


def strike(cluster: Cluster, random: Random, happens: Callable[[Member], bool]) -> bool:
    """Have something happen as the next call of some kind of some node has been applied."""
    member = somebody(cluster, random)
    if not member.up:
        return False
    name = random.choice(CALLS)
    node = member.node
    member.way.next[name] = lambda: node is member.node and happens(member)
    return True


# -- of a node -----------------------------------------------------------------------------------


@fault
def pause_short(cluster: Cluster, random: Random) -> None:
    """SIGSTOP for less than a claim lasts."""
    freeze(cluster, somebody(cluster, random), random.uniform(0.05, 6.0))


@fault
def pause_long(cluster: Cluster, random: Random) -> None:
    """SIGSTOP for longer than a session lives."""
    freeze(cluster, somebody(cluster, random), random.uniform(10.0, 60.0))


@fault
def pause_all(cluster: Cluster, random: Random) -> None:
    """All nodes stand still, and go on one after another."""
    seconds = how_long(random, 2.0)
    for member in cluster.members:
        freeze(cluster, member, seconds + random.uniform(0.0, 4.0))


@fault
def suspend(cluster: Cluster, random: Random) -> bool:
    """The machine sleeps: timers do not count that time, the steady clock does."""
    member = somebody(cluster, random)
    if not member.up or member.wakes > cluster.loop.now:
        return False
    seconds = how_long(random, 2.0)
    member.wakes = cluster.loop.now + seconds
    # Its timers slept too: what never asks is cancelled when the next beat is due, by them.
    cluster.observer.stands_still(member.name, member.wakes + 4.0)
    cluster.loop.suspend(member.node, seconds)
    return True


@fault
def block(cluster: Cluster, random: Random) -> None:
    """A task blocks the event loop."""
    somebody(cluster, random).block = how_long(random, 0.2, 30.0)


@fault
def slow_cpu(cluster: Cluster, random: Random) -> None:
    """Each callback takes milliseconds."""
    member = somebody(cluster, random)
    node = member.node
    node.cost = random.uniform(0.001, 0.02)

    def undo() -> None:
        node.cost = 0.0
        cluster.observer.stands_still(member.name, cluster.loop.now)

    cluster.lasting(how_long(random), undo)


@fault
def clock_rate(cluster: Cluster, random: Random) -> None:
    """The kernel slews a node's clock."""
    node = somebody(cluster, random).node
    node.set_rate(cluster.loop.now, 1 + cluster.skew * random.uniform(-1, 1))
    cluster.slewed_at = cluster.loop.now


@fault
def wall_clock(cluster: Cluster, random: Random) -> bool:
    """Somebody sets a node's wall clock."""
    member = somebody(cluster, random)
    if member.clock is None:
        return False
    member.clock.wall += random.choice((-1, 1)) * how_long(random, 1.0, 20_000.0)
    return True


@fault
def kill(cluster: Cluster, random: Random) -> bool:
    """kill -9, and a new process after a while."""
    member = somebody(cluster, random)
    if not member.up:
        return False
    member.kill()
    cluster.lasting(how_long(random, 0.2, 30.0), member.boot)
    return True


@fault
def kill_several(cluster: Cluster, random: Random) -> None:
    """All but one die at once."""
    for member in random.sample(cluster.members, len(cluster.members) - 1):
        if member.up:
            member.kill()
            cluster.lasting(how_long(random, 0.2, 30.0), member.boot)


@fault
def shut_down(cluster: Cluster, random: Random) -> bool:
    """SIGTERM, with time for runs to end or without, and a new process after a while."""
    member = somebody(cluster, random)
    member.stop(random.choice((0.0, 2.0, 10.0)), after=how_long(random, 0.2, 20.0))
    return member.up


@fault
def deploy(cluster: Cluster, random: Random) -> None:
    """Each node in turn is given code with other triggers."""
    cluster.version += 1
    for place, member in enumerate(cluster.members):
        cluster.later(place * random.uniform(0.5, 6.0), lambda member=member: member.stop(after=0.2))  # type: ignore[misc]


@fault
def run_now(cluster: Cluster, random: Random) -> None:
    """Somebody asks for a run, twice perhaps."""
    kind = random.choice(cluster.tasks)
    for _ in range(random.choice((1, 1, 2, 3))):
        random.choice(cluster.members).run_now(kind)


@fault
def stubborn(cluster: Cluster, random: Random) -> None:
    """The tasks of a node swallow their cancellation for a while."""
    somebody(cluster, random).stubborn_until = cluster.loop.now + how_long(random, 2.0)


# -- of the network ------------------------------------------------------------------------------


@fault
def partition(cluster: Cluster, random: Random) -> None:
    """Nothing gets through."""
    on_way(cluster, somebody(cluster, random), how_long(random), cut_out=True, cut_in=True)


@fault
def partition_of_requests(cluster: Cluster, random: Random) -> None:
    """Nothing reaches the server."""
    on_way(cluster, somebody(cluster, random), how_long(random), cut_out=True)


@fault
def partition_of_answers(cluster: Cluster, random: Random) -> None:
    """What is sent is applied, and the answers are lost."""
    on_way(cluster, somebody(cluster, random), how_long(random), cut_in=True)


@fault
def partition_of_all(cluster: Cluster, random: Random) -> None:
    """The server is cut off from everybody."""
    seconds = how_long(random)
    for member in cluster.members:
        on_way(cluster, member, seconds, cut_out=True, cut_in=True)


@fault
def at_the_edge(cluster: Cluster, random: Random) -> None:
    """Answers as late as they may be, and then none."""
    member = somebody(cluster, random)
    on_way(cluster, member, 4.0, drag=random.uniform(1.0, 1.95))
    cluster.later(3.9, lambda: on_way(cluster, member, 20.0, cut_out=True, cut_in=True))


@fault
def loss(cluster: Cluster, random: Random) -> None:
    """Messages are lost, either way."""
    on_way(cluster, somebody(cluster, random), how_long(random, 3.0), loss=random.uniform(0.05, 0.6))


@fault
def slow(cluster: Cluster, random: Random) -> None:
    """Messages take about as long as an attempt may."""
    least = random.uniform(0.05, 0.9)
    latency = (least, least * random.uniform(1, 3))
    on_way(cluster, somebody(cluster, random), how_long(random, 3.0), latency=latency)


@fault
def late(cluster: Cluster, random: Random) -> None:
    """Some requests arrive long after whoever sent them has given up."""
    share, lateness = random.uniform(0.05, 0.5), how_long(random, 1.0, 60.0)
    on_way(cluster, somebody(cluster, random), how_long(random, 5.0), late=share, lateness=lateness)


@fault
def doubled(cluster: Cluster, random: Random) -> None:
    """Some requests arrive twice."""
    share, lateness = random.uniform(0.1, 0.9), how_long(random, 0.01, 60.0)
    on_way(cluster, somebody(cluster, random), how_long(random, 5.0), doubled=share, lateness=lateness)


@fault
def unheard(cluster: Cluster, random: Random) -> bool:
    """One call is applied, and its answer lost."""
    return strike(cluster, random, lambda member: True)


@fault
def killed_at_a_call(cluster: Cluster, random: Random) -> bool:
    """A node dies as one of its calls has been applied."""

    def happens(member: Member) -> bool:
        cluster.loop.after(0.0, member.kill)
        cluster.lasting(how_long(random, 0.2, 30.0), member.boot)
        return True

    return strike(cluster, random, happens)


@fault
def frozen_at_a_call(cluster: Cluster, random: Random) -> bool:
    """A node stands still as one of its calls has been applied, and hears the answer when it wakes."""

    def happens(member: Member) -> bool:
        freeze(cluster, member, how_long(random, 1.0, 60.0))
        return False

    return strike(cluster, random, happens)


# -- of the server -------------------------------------------------------------------------------


@fault
def outage(cluster: Cluster, random: Random) -> bool:
    """Nobody listens at the server's port for a while."""
    server = cluster.server
    if server.down:
        return False
    server.down = True

    def undo() -> None:
        server.down = False

    cluster.lasting(how_long(random, 0.2, 90.0), undo)
    return True


@fault
def restart(cluster: Cluster, random: Random) -> bool | None:
    """The server is started again with all it had."""
    if cluster.model is not None:
        cluster.model.flush_scripts()
    return outage(cluster, random)


@fault
def hang(cluster: Cluster, random: Random) -> bool:
    """The server does nothing for a while, and then all at once."""
    server = cluster.server
    if server.hung is not None:
        return False
    server.hung = []
    cluster.lasting(how_long(random, 0.2, 30.0), server.goes_on)
    return True


@fault
def clock_set_back(cluster: Cluster, random: Random) -> None:
    """The server's clock is set back."""
    cluster.wall.step(-how_long(random, 0.01, 20.0))
    cluster.set_at = cluster.loop.now


@fault
def clock_set_forward(cluster: Cluster, random: Random) -> bool:
    """The server's clock is set forward, by less than the margin, once in a session's life."""
    if cluster.loop.now - cluster.set_forward_at < 30.0:
        return False
    cluster.observer.forward_at = cluster.set_forward_at = cluster.set_at = cluster.loop.now
    cluster.wall.step(random.uniform(0.01, MARGIN_S))
    return True


# -- against which no promise stands --------------------------------------------------------------


def loses_a_second(cluster: Cluster, random: Random) -> bool:
    """The server dies, and has not written down the last second."""
    server = cluster.server
    if server.down:
        return False
    kept, began = cluster.snapshot(), cluster.loop.now

    def dies() -> None:
        cluster.restore(kept)
        cluster.observer.store_loses(cluster.loop.now, began)
        cluster.history.loses(began)
        outage(cluster, random)

    cluster.loop.after(random.uniform(0.01, 1.0), dies)
    return True


def clock_leaps_forward(cluster: Cluster, random: Random) -> None:
    """The server's clock is set forward by more than sessions live."""
    cluster.observer.lenient = "the clock of the server leapt forward"
    cluster.wall.step(how_long(random, 3.0, 60.0))
    cluster.observer.forward_at = cluster.set_at = cluster.loop.now


for _limit in (loses_a_second, clock_leaps_forward):
    LIMITS[_limit.__name__] = _limit
