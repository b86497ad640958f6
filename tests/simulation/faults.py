"""The kinds of faults: each a function that breaks something, and says when it is whole again.

`LIMITS` are those against which no promise stands but fencing: they break an assumption of I1 on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from redis import exceptions as redis_errors
from tests.simulation.cluster import KEY, Cluster, Member

from bgtasks.testing.simulation import Path, SimulatedRedis
from bgtasks.testing.simulation.server import Data

__all__ = ["FAULTS", "LIMITS", "Schedule"]

type Fault = Callable[[Cluster, Random], bool | None]
"""Returns False where there is nothing for it to break."""

FAULTS: dict[str, Fault] = {}
LIMITS: dict[str, tuple[Fault, str]] = {}


def fault(made: Fault) -> Fault:
    """Register a kind of fault."""
    FAULTS[made.__name__] = made
    return made


def limit(why: str) -> Callable[[Fault], Fault]:
    """Register a kind of fault that breaks an assumption."""

    def register(made: Fault) -> Fault:
        LIMITS[made.__name__] = (made, why)
        return made

    return register


class Schedule:
    """Draws faults for one cluster: a mix of its own, of some kinds and not of others."""

    def __init__(self, cluster: Cluster) -> None:
        self._random = Random(f"{cluster.seed}:faults")
        kinds = list(FAULTS)
        self._kinds = self._random.sample(kinds, self._random.randint(len(kinds) // 3, len(kinds)))
        self._weights = [self._random.choice((0.5, 1.0, 1.0, 3.0)) for _ in self._kinds]

    def __call__(self, cluster: Cluster, unsafe: bool) -> str:
        """One fault; its name."""
        while True:
            name, made = self._draw(cluster, unsafe)
            if made(cluster, self._random) is not False:
                cluster.note(f"FAULT {name}")
                return name

    def _draw(self, cluster: Cluster, unsafe: bool) -> tuple[str, Fault]:
        random = self._random
        if unsafe and random.random() < 0.15:
            name = random.choice(list(LIMITS))
            made, cluster.observer.lenient = LIMITS[name]
            return name, made
        name = random.choices(self._kinds, self._weights)[0]
        return name, FAULTS[name]


# -- helpers -------------------------------------------------------------------------------------


def somebody(cluster: Cluster, random: Random) -> Member:
    """A node that is up, the leader more often than others."""
    leader = cluster.leader
    if leader is not None and random.random() < 0.5:
        return leader
    up = [member for member in cluster.members if member.up]
    return random.choice(up or cluster.members)


def some_path(cluster: Cluster, random: Random) -> Path:
    """The path of one node to its server."""
    return cluster.network.paths[somebody(cluster, random).name]


def how_long(random: Random, short: float = 0.5, long: float = 40.0) -> float:
    """Seconds: as often short as long."""
    return float(short * (long / short) ** random.random())


def freeze(cluster: Cluster, member: Member, seconds: float) -> None:
    node = member.node
    cluster.loop.freeze(node)
    cluster.lasting(seconds, lambda: cluster.loop.thaw(node))


def on_path(cluster: Cluster, path: Path, seconds: float, **changes: object) -> None:
    """Change a path for a while."""
    before = {name: getattr(Path(path.server), name) for name in changes}
    for name, value in changes.items():
        setattr(path, name, value)

    def undo() -> None:
        for name, value in before.items():
            setattr(path, name, value)

    cluster.lasting(seconds, undo)


def everybody_disconnects(cluster: Cluster, server: SimulatedRedis) -> None:
    for path in cluster.network.paths.values():
        if path.server is server:
            cluster.network.disconnect(path)


# -- of a node -----------------------------------------------------------------------------------


@fault
def pause_short(cluster: Cluster, random: Random) -> None:
    """SIGSTOP for less than the stall that a lease allows for."""
    freeze(cluster, somebody(cluster, random), random.uniform(0.05, cluster.profile.times.stall))


@fault
def pause_long(cluster: Cluster, random: Random) -> None:
    """SIGSTOP for longer than the lease, perhaps."""
    freeze(cluster, somebody(cluster, random), how_long(random, 1.0))


@fault
def suspend(cluster: Cluster, random: Random) -> bool:
    """The machine sleeps: timers do not count that time, the steady clock does."""
    member = somebody(cluster, random)
    if not member.up or member.woke > cluster.loop.now:  # it sleeps already
        return False
    seconds = how_long(random, 1.0)
    member.woke = cluster.loop.now + seconds
    cluster.loop.suspend(member.node, seconds)
    return True


@fault
def block_short(cluster: Cluster, random: Random) -> None:
    """A worker blocks the event loop between its check and its effect, within what is allowed."""
    somebody(cluster, random).block = random.uniform(0.1, cluster.profile.times.stall * 0.95)


@fault
def block_long(cluster: Cluster, random: Random) -> None:
    """The same for longer than the lease, perhaps."""
    somebody(cluster, random).block = how_long(random, 1.0)


@fault
def at_the_edge(cluster: Cluster, random: Random) -> bool:
    """All that is allowed for at once: a late answer, then none, and a stall where the margin begins."""
    leader, times = cluster.leader, cluster.profile.times
    if leader is None or leader.supervisor is None:
        return False
    path, node, elector = cluster.network.paths[leader.name], leader.node, leader.supervisor._elector
    on_path(cluster, path, 2 * times.lease, drag=times.attempt * 0.94)

    def cut() -> None:
        on_path(cluster, path, 2 * times.lease, cut_out=True, cut_in=True)
        cluster.later(times.attempt, stall)

    def stall() -> None:
        if elector.term is not None and not node.dead and not node.frozen:
            wait = (elector.term.demoted_at - node.local(cluster.loop.now)) / node.rate
            cluster.later(max(0.0, wait - 0.02), lambda: freeze(cluster, leader, times.stall * 0.98))

    cluster.later(times.renew * random.uniform(1.0, 3.0), cut)
    return True


@fault
def answer_after_the_end(cluster: Cluster, random: Random) -> bool:
    """Cut off until shortly before its term is over, a leader renews the lease, and hears of it late."""
    leader, times = cluster.leader, cluster.profile.times
    if leader is None or leader.supervisor is None:
        return False
    path, node, elector = cluster.network.paths[leader.name], leader.node, leader.supervisor._elector
    assert elector.term is not None
    left = (elector.term.demoted_at - node.local(cluster.loop.now)) / node.rate - times.attempt
    on_path(cluster, path, max(0.0, left), cut_out=True, cut_in=True)
    cluster.later(left + 0.001, lambda: on_path(cluster, path, times.lease, drag=times.attempt * 0.94))
    return True


@fault
def slow_cpu(cluster: Cluster, random: Random) -> None:
    """Each callback takes milliseconds."""
    node = somebody(cluster, random).node
    node.cost = random.uniform(0.001, 0.02)

    def undo() -> None:
        node.cost = 0.0

    cluster.lasting(how_long(random), undo)


@fault
def kill(cluster: Cluster, random: Random) -> bool:
    """kill -9, and a new process after a while."""
    member = somebody(cluster, random)
    if not member.up:
        return False
    member.kill()
    cluster.lasting(how_long(random, 0.2, 20.0), member.boot)
    return True


@fault
def shut_down(cluster: Cluster, random: Random) -> bool:
    """SIGTERM, and a new process after a while."""
    member = somebody(cluster, random)
    if not member.up:
        return False
    member.stop()
    cluster.lasting(how_long(random, 9.0, 30.0), member.boot)
    return True


@fault
def resign(cluster: Cluster, random: Random) -> bool:
    """The leader hands over."""
    leader = cluster.leader
    if leader is None:
        return False
    leader.resign()
    return True


@fault
def ask_to_resign(cluster: Cluster, random: Random) -> bool:
    """Somebody asks the leader to hand over."""
    member = somebody(cluster, random)
    member.ask_to_resign()
    return member.up


@fault
def quarantined_and_gone(cluster: Cluster, random: Random) -> bool:
    """A leader is cut off, all trace of its lease is lost, and whoever waits for its end leaves before."""
    leader = cluster.leader
    if leader is None:
        return False
    path = cluster.network.paths[leader.name]
    on_path(cluster, path, 2 * cluster.profile.times.lease, cut_out=True, cut_in=True)
    flush_all(cluster, random)

    def leave() -> None:
        for member in cluster.members:
            if member.supervisor is not None and member.supervisor.snapshot().state == "quarantined":
                random.choice((member.stop, member.resign, member.kill))()
                cluster.lasting(how_long(random, 9.0, 30.0), member.boot)

    for _ in range(3):
        cluster.later(random.uniform(0.05, cluster.profile.times.lease), leave)
    return True


@fault
def answers_to_a_candidate_are_lost(cluster: Cluster, random: Random) -> bool:
    """One node is granted the lease again and again before it hears of it; then it is cut off."""
    leader, times = cluster.leader, cluster.profile.times
    others = [member for member in cluster.members if member is not leader and member.up]
    if leader is None or not others:
        return False
    candidate = random.choice(others)
    paths = cluster.network.paths
    for member in others:
        if member is not candidate:
            on_path(cluster, paths[member.name], times.margin + 0.5 * times.lease, cut_out=True, cut_in=True)
    deaf_for = random.uniform(0.2, 0.6) * times.lease
    leader.resign()
    on_path(cluster, paths[candidate.name], deaf_for, cut_in=True)

    def cut() -> None:
        if candidate.leads:
            on_path(cluster, paths[candidate.name], 2 * times.lease, cut_out=True, cut_in=True)

    cluster.later(deaf_for + random.uniform(0.1, 1.0) * times.renew, cut)
    return True


@fault
def clock_rate(cluster: Cluster, random: Random) -> None:
    """The kernel slews a node's clock."""
    node = somebody(cluster, random).node
    node.set_rate(cluster.loop.now, 1 + cluster.profile.skew * random.uniform(-1, 1))


@fault
def worker_crash(cluster: Cluster, random: Random) -> None:
    """A worker raises."""
    somebody(cluster, random).crash = True


@fault
def worker_stubborn(cluster: Cluster, random: Random) -> None:
    """A worker swallows its cancellation for a while."""
    somebody(cluster, random).stubborn_until = cluster.loop.now + how_long(random, 2.0)


# -- of the network ------------------------------------------------------------------------------


@fault
def partition(cluster: Cluster, random: Random) -> None:
    """Nothing gets through."""
    on_path(cluster, some_path(cluster, random), how_long(random), cut_out=True, cut_in=True)


@fault
def partition_of_requests(cluster: Cluster, random: Random) -> None:
    """Nothing reaches the server."""
    on_path(cluster, some_path(cluster, random), how_long(random), cut_out=True)


@fault
def partition_of_replies(cluster: Cluster, random: Random) -> None:
    """What is sent is applied, and the answers are lost."""
    on_path(cluster, some_path(cluster, random), how_long(random), cut_in=True)


@fault
def partition_of_all(cluster: Cluster, random: Random) -> None:
    """The server is cut off from everybody."""
    seconds = how_long(random, 0.5, 20.0)
    for path in cluster.network.paths.values():
        on_path(cluster, path, seconds, cut_out=True, cut_in=True)


@fault
def loss(cluster: Cluster, random: Random) -> None:
    """Messages are lost, either way."""
    on_path(cluster, some_path(cluster, random), how_long(random, 2.0), loss=random.uniform(0.05, 0.6))


@fault
def slow(cluster: Cluster, random: Random) -> None:
    """Messages take about as long as an attempt may."""
    least = random.uniform(0.01, 0.2)
    on_path(
        cluster,
        some_path(cluster, random),
        how_long(random, 2.0),
        latency=(least, least * random.uniform(1, 6)),
    )


@fault
def late(cluster: Cluster, random: Random) -> None:
    """Some messages arrive after the lease has expired."""
    on_path(
        *(cluster, some_path(cluster, random), how_long(random, 5.0)),
        late=random.uniform(0.02, 0.5),
        lateness=random.uniform(1.0, 20.0),
    )


@fault
def doubled(cluster: Cluster, random: Random) -> None:
    """Some requests arrive twice."""
    on_path(
        *(cluster, some_path(cluster, random), how_long(random, 5.0)),
        doubled=random.uniform(0.05, 0.8),
        lateness=random.uniform(0.01, 20.0),
    )


@fault
def deaf(cluster: Cluster, random: Random) -> None:
    """What is published is lost."""
    on_path(cluster, some_path(cluster, random), how_long(random, 5.0), deaf=True)


@fault
def disconnect(cluster: Cluster, random: Random) -> None:
    """CLIENT KILL."""
    cluster.network.disconnect(some_path(cluster, random))


# -- of the server -------------------------------------------------------------------------------


def restart(cluster: Cluster, random: Random, data: Data | None) -> bool:
    server, network = cluster.primary, cluster.network
    if id(server) in network.down:
        return False
    network.down.add(id(server))
    everybody_disconnects(cluster, server)
    run_id = f"{random.getrandbits(160):040x}"

    def undo() -> None:
        network.down.discard(id(server))
        server.restart(run_id, data)
        cluster.forget()
        if server is cluster.primary:
            cluster.remember()

    cluster.lasting(how_long(random, 0.05, 20.0), undo)
    return True


@fault
def restart_with_data(cluster: Cluster, random: Random) -> bool:
    """The server is restarted and has lost nothing."""
    return restart(cluster, random, cluster.primary.save())


@fault
def restart_without_data(cluster: Cluster, random: Random) -> bool:
    """The server is restarted, and empty."""
    return cluster.profile.tells_info and restart(cluster, random, None)


@fault
def restart_with_old_data(cluster: Cluster, random: Random) -> bool:
    """The server is restarted with what it had a while ago."""
    data = cluster.past(how_long(random, 0.1, 60.0))
    return cluster.profile.tells_info and restart(cluster, random, data)


@fault
def outage(cluster: Cluster, random: Random) -> bool:
    """Nobody listens at the server's port for a while."""
    server, network = cluster.primary, cluster.network
    if id(server) in network.down:
        return False
    network.down.add(id(server))
    everybody_disconnects(cluster, server)
    cluster.lasting(how_long(random, 0.1, 20.0), lambda: network.down.discard(id(server)))
    return True


@fault
def hang(cluster: Cluster, random: Random) -> None:
    """The server does nothing for a while, and then all at once."""
    server, network = cluster.primary, cluster.network
    network.hang(server)
    cluster.lasting(how_long(random, 0.1, 15.0), lambda: network.unhang(server))


@fault
def loading(cluster: Cluster, random: Random) -> None:
    """The server is loading its data."""
    server = cluster.primary
    server.refuses = redis_errors.BusyLoadingError("Redis is loading the dataset in memory")

    def undo() -> None:
        server.refuses = None

    cluster.lasting(how_long(random, 0.1, 15.0), undo)


@fault
def out_of_memory(cluster: Cluster, random: Random) -> None:
    """The server refuses whatever writes."""
    refuse(cluster, how_long(random, 0.1, 15.0), "OOM command not allowed when used memory > 'maxmemory'.")


@fault
def read_only(cluster: Cluster, random: Random) -> None:
    """The server takes itself for a replica."""
    refuse(cluster, how_long(random, 0.1, 15.0), "READONLY You can't write against a read only replica.")


def refuse(cluster: Cluster, seconds: float, error: str) -> None:
    server = cluster.primary
    server.refusals["fault"] = error
    cluster.lasting(seconds, lambda: server.refusals.pop("fault", None))


@fault
def script_flush(cluster: Cluster, random: Random) -> None:
    """SCRIPT FLUSH."""
    cluster.primary.flush_scripts()


@fault
def flush_all(cluster: Cluster, random: Random) -> None:
    """FLUSHALL."""
    cluster.primary.flush()
    cluster.forget()
    cluster.remember()


@fault
def evict_lease(cluster: Cluster, random: Random) -> None:
    """The lease is evicted."""
    cluster.primary.evict(KEY)
    cluster.remember()


@fault
def evict_what_lasts(cluster: Cluster, random: Random) -> None:
    """What outlives the lease is evicted."""
    cluster.primary.evict(f"{{{KEY}}}:" + random.choice(("last", "fence")))
    cluster.forget()
    cluster.remember()


@fault
def step_forward(cluster: Cluster, random: Random) -> None:
    """The server's wall clock is set forward."""
    cluster.primary.step(how_long(random, 1.0, 10_000.0))


@fault
def step_back(cluster: Cluster, random: Random) -> None:
    """The server's wall clock is set back."""
    cluster.primary.step(-how_long(random, 1.0, 10_000.0))


@fault
def step_in_the_dark(cluster: Cluster, random: Random) -> bool:
    """The server's clock is set forward by little while nobody can see it, and then the leader is cut off."""
    leader = cluster.leader
    if leader is None:
        return False
    seconds, times = random.uniform(5.0, 60.0), cluster.profile.times
    for member in cluster.members:
        if member is not leader:
            on_path(cluster, cluster.network.paths[member.name], seconds, cut_out=True, cut_in=True)

    def step() -> None:
        cluster.primary.step(times.rate * seconds * random.uniform(0.5, 1.5))
        on_path(cluster, cluster.network.paths[leader.name], 2 * times.lease, cut_out=True, cut_in=True)

    cluster.later(seconds - random.uniform(0.0, 1.0), step)
    return True


def promote(cluster: Cluster, data: Data) -> SimulatedRedis:
    old = cluster.primary
    cluster.primary = cluster.new_server(data)
    cluster.forget()
    cluster.history.clear()
    cluster.remember()
    return old


def demote(server: SimulatedRedis) -> None:
    server.refusals["replica"] = "READONLY You can't write against a read only replica."


def follow(cluster: Cluster, path: Path) -> None:
    if path.server is not cluster.primary:
        cluster.network.disconnect(path)
        path.server = cluster.primary


def fail_over(cluster: Cluster, random: Random, lag: float) -> bool:
    if not cluster.profile.tells_info:
        return False
    old = promote(cluster, cluster.past(lag))
    if random.random() < 0.5:
        cluster.network.down.add(id(old))
        everybody_disconnects(cluster, old)
    else:
        demote(old)
    for path in cluster.network.paths.values():
        cluster.lasting(random.uniform(0, 3), partial(follow, cluster, path))
    return True


@fault
def failover(cluster: Cluster, random: Random) -> bool:
    """A replica takes over, and has all."""
    return fail_over(cluster, random, 0.0)


@fault
def failover_of_a_laggard(cluster: Cluster, random: Random) -> bool:
    """A replica takes over, and has what there was a while ago."""
    return fail_over(cluster, random, how_long(random, 0.05, 20.0))


@fault
def failover_that_forgets_a_grant(cluster: Cluster, random: Random) -> bool:
    """A replica takes over that has heard of the last release, and not of the grant after it."""
    last, leader = f"{{{KEY}}}:last", cluster.leader
    if leader is None or not cluster.profile.tells_info:
        return False
    leader.resign()

    def lose() -> None:
        for _, (values, expires) in reversed(cluster.history):
            known = values.get(last)
            if isinstance(known, dict) and known.get("state") == "released":
                old = promote(cluster, (values, expires))
                demote(old)
                for path in cluster.network.paths.values():
                    cluster.lasting(random.uniform(0, 0.2), partial(follow, cluster, path))
                return

    cluster.later(cluster.profile.times.margin + random.uniform(0, 2.0), lose)
    return True


def split(cluster: Cluster, random: Random, protected: float | None) -> None:
    """Some nodes go on with the old primary."""
    lag = cluster.profile.lag if protected is None else protected
    old = promote(cluster, cluster.past(random.uniform(0, lag)))
    paths = list(cluster.network.paths.values())
    random.shuffle(paths)
    on_the_old = random.randint(1, len(paths) - 1)
    for path in paths[on_the_old:]:
        cluster.lasting(random.uniform(0, 3), partial(follow, cluster, path))
    for path in paths[:on_the_old]:
        cluster.lasting(how_long(random, 3.0), partial(follow, cluster, path))
    if protected is not None:

        def refuses() -> None:
            old.refusals["alone"] = "NOREPLICAS Not enough good replicas to write."

        cluster.loop.after(protected, refuses)


@fault
def split_with_min_replicas(cluster: Cluster, random: Random) -> bool:
    """Two primaries; the old one refuses to write once its replicas are gone for long enough."""
    if not cluster.profile.tells_info or not cluster.profile.lag:
        return False
    split(cluster, random, cluster.profile.lag)
    return True


@limit("two primaries without min-replicas")
def split_without_min_replicas(cluster: Cluster, random: Random) -> None:
    """Two primaries, for as long as it takes."""
    split(cluster, random, None)


@limit("a failover there and back")
def failover_there_and_back(cluster: Cluster, random: Random) -> None:
    """A replica takes over, and before the lease is over the old primary does again, with its run id."""
    old = promote(cluster, cluster.past(how_long(random, 0.05, 10.0)))
    demote(old)
    for path in cluster.network.paths.values():
        cluster.lasting(random.uniform(0, 1), partial(follow, cluster, path))

    def back() -> None:
        old.load(cluster.primary.save())
        cluster.forget()
        old.refusals.pop("replica", None)
        cluster.primary = old
        cluster.history.clear()
        cluster.remember()
        for path in cluster.network.paths.values():
            follow(cluster, path)

    cluster.lasting(random.uniform(0.1, 3.0), back)


@limit("a restart that cannot be seen, since INFO is forbidden")
def restart_unseen(cluster: Cluster, random: Random) -> bool:
    """The server is restarted with old data, and may not be asked for its run id."""
    server = cluster.primary
    server.tells_info = False
    data = cluster.past(how_long(random, 0.1, 60.0))
    broken = restart(cluster, random, data)

    def undo() -> None:
        server.tells_info = cluster.profile.tells_info

    cluster.lasting(20.0, undo)
    return broken
