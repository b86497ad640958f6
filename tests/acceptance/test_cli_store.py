"""Runs, jobs and nodes as an operator sees and commands them: `bgtasks run` on two nodes, every command."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.docs.pages import ROOT, blocks
from tests.support.command_line import (
    Ended,
    Running,
    bgtasks,
    command,
    environment,
    expect_no_complaint,
    read_by_nobody,
)
from tests.support.odd_server import odd_server
from tests.support.redis_process import RedisProcess, free_port
from tests.support.waiting import PATIENCE_S, wait_until

from bgtasks.nodes import Nodes
from bgtasks.records import CommandRow
from bgtasks.stores import task_store

pytestmark = pytest.mark.real
full = pytest.mark.full

WITHIN_S = 3.0
SLACK_S = 0.7
"""For a busy machine, beyond the three seconds and the interpreter's own start."""


@dataclass
class Place:
    """A store with two nodes that run the garden's tasks.

    Attributes:
        setting: The variable that names it to nodes and commands.
        nodes: What the two are called.
    """

    home: Path
    url: str
    setting: str
    nodes: tuple[str, str] = ("", "")

    def __call__(self, *arguments: str, fresh: bool = False) -> Ended:
        """Run a command on the store."""
        return bgtasks(*arguments, home=self.home, fresh=fresh, **{self.setting: self.url})

    def json(self, *arguments: str) -> Any:
        """What a command says to programs."""
        ended = self(*arguments, "--json")
        assert all(re.match("more: |older ones: ", line) for line in ended.errors), ended
        return json.loads(ended.out)

    def node(self, **variables: str) -> Running:
        """One more node."""
        own = {self.setting: self.url, **variables}
        return Running("run", "-i", "garden", home=self.home, **own)

    def alive(self) -> list[str]:
        return [node["node_id"] for node in self.json("nodes")]


@contextmanager
def garden(url: str) -> Iterator[Place]:
    """Two nodes on a store, which have run a task."""
    home = Path(tempfile.mkdtemp(prefix="bgt-"))
    shutil.copy(Path(__file__).with_name("garden.py"), home)
    setting = "BGTASKS_STORE_URL" if url.startswith("sqlite") else "BGTASKS_REDIS_URL"
    place = Place(home, url.format(home=home), setting)
    try:
        with place.node() as one, place.node() as two:
            for node in (one, two):
                node.wait_for("scheduler started")
            wait_until("both are alive and described", lambda: is_up(place))
            wait_until("a task has run", lambda: has_run(place, "digest"))
            alive = place.alive()
            place.nodes = (alive[0], alive[1])
            yield place
            for node in (one, two):
                node.send(signal.SIGTERM)
            for node in (one, two):
                assert node.end().code == 0
    finally:
        shutil.rmtree(home, ignore_errors=True)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    caught = re.search(r"^SigCgt:\s*(\w+)", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def is_up(place: Place) -> bool:
    ended = place("nodes", "--json")
    return ended.code == 0 and len(json.loads(ended.out)) == 2


def has_run(place: Place, task: str) -> bool:
    return "success" in {run["status"] for run in place.json("runs", "--task", task)}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    with RedisProcess() as running:
        yield running


@pytest.fixture(scope="module")
def place(server: RedisProcess) -> Iterator[Place]:
    """Two nodes on a Redis."""
    with garden(server.url) as found:
        yield found


def one_error(ended: Ended, code: int) -> str:
    """The one line on stderr of a command that failed with `code`."""
    assert ended.code == code, ended
    assert len(ended.errors) == 1, ended.err
    return ended.errors[0]


def job_added(ended: Ended) -> str:
    """The id that `jobs add` printed."""
    assert ended.code == 0, ended
    found = re.match(r"([0-9a-f-]{36})  ", ended.out)
    assert found, ended.out
    return found[1]


# --- runs


def test_the_latest_runs_are_shown_with_what_came_of_them(place: Place) -> None:
    ended = place("runs", "--task", "digest", "--limit", "2")

    assert (ended.code, ended.err) == (0, "")
    header, *rest = ended.out.splitlines()
    assert header.split("  ")[0] == "when (UTC)"
    # One of two: the latest may be in progress at this moment.
    assert re.search(r'digest +success +\S+ +\S+ +\{"digests": 1\}', "\n".join(rest)), rest
    older = re.search(r"--before (\S+)", "\n".join(rest))
    if older:  # there is a second one by now
        before = place.json("runs", "--before", older[1], "--task", "digest")
        assert older[1] not in {run["id"] for run in before}


def test_a_run_is_triggered_waited_for_and_told(place: Place) -> None:
    ended = place("trigger", "digest", fresh=True)

    assert ended.code == 0
    assert re.fullmatch(r'digest: success on \S+ after \S+: \{"digests": 1\}\n', ended.out), ended.out


@full
def test_a_run_that_did_not_go_well_is_told_with_an_exit_code(place: Place) -> None:
    ill, empty = place("trigger", "weed"), place("trigger", "sow")

    why = "RuntimeError: there are no [bold]weeds[/] left"
    assert ill.code == 1
    assert re.fullmatch(rf"weed: failed on \S+ after \S+: {re.escape(why)}\n", ill.out), ill.out
    assert empty.code == 0
    assert re.match("sow: success, empty on ", empty.out)
    (failed,) = place.json("runs", "--failed", "--task", "weed", "--limit", "1")
    assert (failed["outcome"], failed["attempts"]) == ("failed", 1)
    assert re.search(rf"weed +failed .* {re.escape(why)}", place("runs", "--failed").out)


@full
def test_runs_are_followed_until_sigint_through_an_outage(server: RedisProcess, home: Path) -> None:
    with RedisProcess(tcp=True, durable=True) as own, garden(own.url) as place:
        with Running("runs", "--follow", "--store", own.url, home=home) as follower:
            follower.wait_for(r"(?s)UTC.*\d\d-\d\d \d\d:\d\d:\d\d +digest +success")
            own.stop()
            follower.wait_for("redis is unavailable: .*; waiting for it")
            own.start()
            follower.wait_for("answers again")
            shown = len(re.findall("digest +success", follower.text))
            wait_until("a task runs again", lambda: len(re.findall("digest +success", follower.text)) > shown)
            assert place("trigger", "weed").code == 1
            follower.wait_for("weed +failed")
            follower.send(signal.SIGINT)
            ended = follower.end()
        assert ended.code == 0
        expect_no_complaint(ended)
        assert ended.err.count("waiting for it") == ended.err.count("answers again") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "--follow"],
        *(pytest.param(each, marks=full) for each in (["runs", "--follow", "--json"], ["runs"], ["nodes"])),
    ],
    ids=" ".join,
)
def test_a_reader_that_is_gone_already_gets_no_traceback(place: Place, arguments: list[str]) -> None:
    done = read_by_nobody(*arguments, home=place.home, **{place.setting: place.url})
    assert (done.returncode, done.stderr) == (1, "")


@full
def test_head_takes_the_first_line_of_what_is_followed_in_peace(place: Place) -> None:
    done = subprocess.run(
        ["bash", "-c", " ".join((*command(), "runs", "--follow")) + " | head -1"],
        cwd=place.home,
        env=environment(place.home, **{place.setting: place.url}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout.startswith("when (UTC) ")
    assert done.stderr == ""


@full
def test_runs_are_followed_by_programs_line_by_line(place: Place, home: Path) -> None:
    words = ("runs", "--follow", "--json", "--task", "digest", "--failed")
    with (
        Running("runs", "--follow", "--json", home=home, BGTASKS_STORE_URL=place.url) as follower,
        Running(*words, home=home, BGTASKS_STORE_URL=place.url) as nothing,
    ):
        follower.wait_for('(?s)"task": "digest".*"task": "digest"')
        wait_until("the silent one heeds signals", lambda: catches(nothing.pid, signal.SIGTERM))
        for each in (follower, nothing):
            each.send(signal.SIGTERM)
        ended, silent = follower.end(), nothing.end()
    assert ended.code == silent.code == 0
    runs = [json.loads(line) for line in ended.out.splitlines()]
    assert all(run["outcome"] for run in runs)
    seen = [(run["id"], run["status"]) for run in runs]
    assert len(seen) == len(set(seen))
    assert silent.out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "digst"], 'no task is called "digst": did you mean "digest"?'),
        pytest.param(["--job", "x"], '"x" is no id of a job', marks=full),
        pytest.param(["--before", "x"], 'no run has the id "x"', marks=full),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_runs_of_what_is_not_there_are_one_error(place: Place, arguments: list[str], says: str) -> None:
    assert says in one_error(place("runs", *arguments), 2)


# --- jobs


@full
def test_a_job_is_added_listed_run_paused_and_removed(place: Place) -> None:
    bot = uuid4().hex[:8]
    how = ("jobs", "add", "remind", "cron 0 9 * * 1-5 (Europe/Helsinki)", "--bot", bot, "--key", "tea")
    id = job_added(place(*how, "--config", '{"text": "the kettle"}'))
    assert job_added(place(*how)) == id

    (job,) = place.json("jobs", "--bot", bot)
    assert (job["id"], job["config"], job["declared"]) == (id, {"text": "the kettle"}, False)

    ran = place("jobs", "run", id[:13])
    assert ran.code == 0
    assert re.match(rf"remind\[{bot}/tea\]: success on .*: .*the kettle", ran.out), ran.out
    assert "remind[" in place("runs", "--job", id[:13], "--limit", "1").out

    paused = place("jobs", "pause", id, "--reason", "no tea").out
    assert paused == f"{id}  remind[{bot}/tea], paused: no tea\n"
    listed = place("jobs", "--bot", bot).out
    shown = rf"^{id[:8]} +remind.{bot}/tea. +{bot} +cron 0 9 .* paused *$"
    assert re.search(shown, listed, re.MULTILINE), listed
    assert f"\n{id[:8]}  paused: no tea\n" in listed
    assert "paused" not in place("jobs", "resume", id).out

    assert place("jobs", "remove", id).code == 0
    assert f"no job has the id {id}" in one_error(place("jobs", "show", id), 2)
    assert [run["job_id"] for run in place.json("runs", "--job", id)] == [id]


@full
def test_a_job_is_shown_with_its_last_runs(place: Place) -> None:
    id = job_added(place("jobs", "add", "remind", "1h", "--key", uuid4().hex))
    assert place("jobs", "run", id).code == 0
    shown = place("jobs", "show", id[:13])
    assert shown.code == 0
    assert re.search(rf"^id +{id} *$", shown.out, re.MULTILINE)
    assert re.search(r"^when +every 1h *$", shown.out, re.MULTILINE)
    assert re.search(r"remind\[.* +success ", shown.out)
    assert place.json("jobs", "show", id)["runs"][0]["status"] == "success"
    place("jobs", "remove", id)


@full
def test_jobs_that_no_node_can_run_are_said_to_be_unresolved(place: Place) -> None:
    kind = f"nobodys-{uuid4().hex[:8]}"
    added = place("jobs", "add", kind, "4h")
    id = job_added(added)
    assert f'no node that is alive runs jobs of the type "{kind}"' in added.err
    assert "unresolved" in place("jobs", "--type", kind).out
    assert f'a job of "{kind}": no node that is alive can run it' in place("nodes").err
    assert "runs on no node that is alive (none knows it)" in one_error(place("jobs", "run", id), 1)
    assert place.json("runs", "--job", id) == []
    assert f'"{kind}" is a type of job' in one_error(place("trigger", kind), 2)
    place("jobs", "remove", id)


@full
def test_a_page_of_jobs_follows_another(place: Place) -> None:
    bot = uuid4().hex[:8]
    ids = sorted(job_added(place("jobs", "add", "remind", "1h", "--bot", bot, "--key", key)) for key in "ab")
    first = place("jobs", "--bot", bot, "--limit", "1").out
    assert f"more: --after {ids[0]}" in first
    assert [job["id"] for job in place.json("jobs", "--bot", bot, "--after", ids[0])] == [ids[1]]
    for id in ids:
        place("jobs", "remove", id)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "remind", "often"], "'often' is not a trigger: write an interval such as"),
        pytest.param(["add", "remind", "4h", "--config", "{x"], "--config is no JSON: Expecting", marks=full),
        pytest.param(["add", "remind", "once at noon"], "'noon' is not an instant", marks=full),
        pytest.param(["add", "remind", "4h", "--config", "NaN"], "cannot be written as JSON", marks=full),
        pytest.param(["add", "", "4h"], "name", marks=full),
        pytest.param(["show", "zzz"], '"zzz" is no id of a job', marks=full),
        pytest.param(["run", "0" * 32], "no job has the id", marks=full),
        pytest.param(["pause", "0" * 7], "no job has the id", marks=full),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_job_that_cannot_be_meant_is_one_error(place: Place, arguments: list[str], says: str) -> None:
    assert says in one_error(place("jobs", *arguments, fresh=True), 2)


@full
def test_an_option_of_the_list_is_refused_before_another_command(place: Place) -> None:
    ended = place("jobs", "--type", "remind", "show", "x")
    assert ended.code == 2
    assert "--type goes with the list, not with show" in " ".join(ended.err.split())
    assert place("jobs", "--store", "redis://127.0.0.1:1/0", "show", "aa").code == 3


# --- nodes


def test_nodes_are_shown_with_what_they_run_and_why_not_the_rest(place: Place) -> None:
    shown = place("nodes", fresh=True).out
    assert set(place.nodes) <= set(shown.split())

    one = place("nodes", "show", place.nodes[0]).out
    assert re.search(r"^water +node +every 1h ", one, re.MULTILINE), one
    assert re.search(r"^greet +needs discord: no resource", one, re.MULTILINE)
    assert re.search(r"^leader of default +\w+.*anchor", one, re.MULTILINE)
    assert 'no node called "one" is alive' in one_error(place("nodes", "show", "one"), 2)


@full
def test_a_node_s_own_task_is_commanded_on_those_that_are_named(place: Place) -> None:
    which = one_error(place("pause", "water"), 2)
    assert all(node in which for node in place.nodes)

    paused = place("pause", "water", "--node", place.nodes[0], "--reason", "frost")
    assert (paused.code, paused.out) == (0, f"{place.nodes[0]}: paused\n")
    every = place("trigger", "water", "--all")
    assert (every.code, sorted(every.out.splitlines())) == (
        0,
        sorted(f"{node}: Done" for node in place.nodes),
    )
    assert place("resume", "water", "--all").code == 0

    told = place("nodes", "told", "--limit", "3")
    assert re.search(rf"pause water, reason: frost +{place.nodes[0]}: paused", told.out), told.out
    audit = place.json("nodes", "told", "--limit", "3")
    assert [each["kind"] for each in audit] == ["resume", "run_now", "pause"]
    assert all(each["asked_by"] for each in audit)


@full
def test_what_a_node_did_not_do_well_is_told_with_an_exit_code(place: Place) -> None:
    ended = place("trigger", "drown", "--node", place.nodes[1])
    assert f"{place.nodes[1]}: Failed: RuntimeError: too much water" in one_error(ended, 1)
    assert "nobody" in one_error(place("trigger", "water", "--node", "nobody"), 2)
    assert "exclude each other" in one_error(place("pause", "water", "--all", "--node", "x"), 2)


def test_a_cluster_task_is_paused_for_all_nodes_and_resumed(place: Place) -> None:
    assert "leave out --node" in one_error(place("pause", "weed", "--node", place.nodes[0]), 2)
    paused = place("pause", "weed", "--reason", "winter", fresh=True)
    assert paused.out == "weed: paused for all nodes: winter\n"
    assert re.search(r"^weed .* paused: winter *$", place("tasks", "-i", "garden").out, re.MULTILINE)
    assert place("resume", "weed", fresh=True).out.startswith("weed: resumed for all nodes, next ")


def test_a_task_that_is_nowhere_is_one_error_with_the_nearest(place: Place) -> None:
    assert 'did you mean "digest"' in one_error(place("trigger", "digst"), 2)
    nowhere = one_error(place("trigger", "greet"), 1)
    assert f"{place.nodes[0]}: needs discord" in nowhere
    led = one_error(place("trigger", "anchor"), 2)
    assert '"anchor" is a worker, which runs on the node that leads: bgtasks leader resign' in led


@full
def test_a_breaker_is_closed_on_a_node_and_a_run_not_waited_for(place: Place) -> None:
    assert place("resume", "digest", "--node", place.nodes[0]).out == f"{place.nodes[0]}: resumed\n"
    assert re.fullmatch(r"digest: run \S+ is wanted\n", place("trigger", "digest", "--wait", "0").out)
    assert place("trigger", "water", "--all", "--wait", "0").out == "water: all nodes told\n"


@full
def test_a_node_that_dies_is_told_in_vain_and_its_run_is_lost(place: Place) -> None:
    with place.node(HAS_SPADE="1") as third:
        third.wait_for("scheduler started")
        wait_until("it is alive", lambda: len(place.alive()) == 3)
        name = place.alive()[-1]
        id = job_added(place("jobs", "add", "dig", "1h"))
        wait_until(
            "it digs", lambda: [run["status"] for run in place.json("runs", "--job", id)] == ["running"]
        )
        assert "running" in place("jobs", "--type", "dig").out
        late = place("jobs", "run", id, "--wait", "1")
        assert "dig" in one_error(late, 1)
        assert "nobody has begun it in 1s; it stays wanted" in late.err
        third.kill()

    vain = place("trigger", "water", "--node", name, "--wait", "1")
    assert one_error(vain, 1) == f"{name}: no answer in 1s"
    wait_until("it is given up", lambda: name not in place.alive())
    assert f'no node called "{name}" is alive' in one_error(place("trigger", "water", "--node", name), 2)
    wait_until("its run is lost", lambda: place.json("runs", "--failed", "--job", id))
    assert re.search(rf"dig\[{id[:8]}\] +lost, offered again +{name}", place("runs", "--job", id).out)
    assert "1 failures" not in place("jobs", "show", id).out
    place("jobs", "remove", id)


@full
def test_no_node_at_all_is_an_exit_code(home: Path, server: RedisProcess) -> None:
    where = {"BGTASKS_REDIS_URL": server.url, "BGTASKS_NAMESPACE": home.name}
    nodes = bgtasks("nodes", home=home, **where)
    assert (nodes.code, nodes.out) == (1, "no node is alive\n")
    assert json.loads(bgtasks("nodes", "--json", home=home, **where).out) == []
    assert bgtasks("runs", home=home, **where).out == "no runs\n"
    assert "no jobs; add one with: bgtasks jobs add" in bgtasks("jobs", home=home, **where).out
    assert bgtasks("nodes", "told", home=home, **where).out == "nobody was told anything\n"
    assert 'no task is called "x"' in one_error(bgtasks("trigger", "x", home=home, **where), 2)


# --- tasks


def test_tasks_stand_across_the_cluster(place: Place) -> None:
    ended = place("tasks", "-i", "garden")
    assert (ended.code, ended.err) == (0, "")
    before, _, after = ended.out.partition("across the cluster")
    assert re.search(r"^digest +cluster .* yes", before, re.MULTILINE)
    assert re.search(r"^digest +(\d+s ago|now)(, success)? ", after, re.MULTILINE), after
    rows = {row["name"]: row["cluster"] for row in place.json("tasks", "-i", "garden")}
    assert rows["digest"]["last_status"] in ("success", "running")
    assert rows["water"] is None


# --- which store, and one that is not there


@pytest.fixture(scope="module")
def start_up(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that this machine takes for a command that asks no server."""
    home = tmp_path_factory.mktemp("home")
    return max(bgtasks("settings", home=home, fresh=True).seconds for _ in range(2))


ASK_THE_STORE = [
    ["runs"],
    ["jobs"],
    ["nodes"],
    ["tasks"],
    ["runs", "--follow"],
    ["trigger", "x"],
    ["jobs", "add", "x", "4h"],
]


@pytest.mark.parametrize(
    "arguments",
    [pytest.param(each, marks=() if each == ["runs"] else full) for each in ASK_THE_STORE],
    ids=" ".join,
)
def test_a_store_that_is_not_there_is_said_within_three_seconds(
    home: Path, arguments: list[str], start_up: float
) -> None:
    url = f"redis://kasia:s3cret@127.0.0.1:{free_port()}/0"
    ended = bgtasks(*arguments, "--store", url, home=home)
    assert "redis is unavailable" in one_error(ended, 3)
    assert "s3cret" not in ended.out + ended.err
    assert ended.seconds < start_up + WITHIN_S + SLACK_S
    assert ("kg_decay_task" in ended.out) == (arguments == ["tasks"])


@pytest.mark.full
@pytest.mark.parametrize("arguments", [pytest.param(["tasks"], marks=full), ["nodes"]], ids=" ".join)
@pytest.mark.parametrize(
    "scheme", ["redis", pytest.param("postgresql", marks=full)], ids=lambda scheme: str(scheme)
)
def test_a_store_that_says_nothing_is_given_up_within_three_seconds(
    home: Path, arguments: list[str], scheme: str, start_up: float
) -> None:
    with odd_server(b"") as (url, _):
        ended = bgtasks(*arguments, "--store", url.replace("redis", scheme), home=home)
    assert "is unavailable: no answer" in one_error(ended, 3)
    assert ended.seconds < start_up + WITHIN_S + SLACK_S


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        (None, 3, "no store is configured: give --store, or set BGTASKS_STORE_URL or BGTASKS_REDIS_URL"),
        ("memory://", 3, "memory:// is seen by the process alone that has it"),
        ("mysql://host", 2, "mysql://host is no store: give memory://, redis://"),
        pytest.param("sqlite://", 2, "lost with its process", marks=full),
        pytest.param("sqlite:////proc/no/such.db", 3, "make its directory", marks=full),
    ],
)
def test_a_store_that_cannot_be_meant_is_one_error(home: Path, url: str | None, code: int, says: str) -> None:
    variables = {} if url is None else {"BGTASKS_STORE_URL": url}
    assert says in one_error(bgtasks("runs", home=home, **variables), code)


@full
def test_the_embedded_server_keeps_claims_too(home: Path) -> None:
    ended = bgtasks("jobs", "add", "remind", "4h", "--key", "tea", home=home, BGTASKS_REDIS_URL="embedded")
    id = job_added(ended)
    listed = bgtasks("jobs", "--json", home=home, BGTASKS_REDIS_URL="embedded")
    assert [job["id"] for job in json.loads(listed.out)] == [id]


# --- what a service adds


@full
def test_a_node_that_leads_hands_over_when_it_is_told(place: Place) -> None:
    async def resign(node: str) -> CommandRow:
        store = task_store(place.url)
        try:
            await store.open()
            nodes = Nodes(store)
            return await nodes.answers(await nodes.tell("resign", node_id=node))
        finally:
            await store.aclose()

    def leaders() -> list[str]:
        states = {node["node_id"]: node["state"]["leadership"]["default"] for node in place.json("nodes")}
        return [name for name, group in states.items() if group["state"] == "leading"]

    wait_until("one leads", leaders)
    (told,) = leaders()
    assert [answer.text for answer in asyncio.run(resign(told)).answers] == ["it hands over"]
    wait_until("another leads", lambda: leaders() not in ([], [told]))
    assert [answer.text for answer in asyncio.run(resign(told)).answers] == ["it does not lead"]


@full
@pytest.mark.timeout(150)
def test_it_is_all_the_same_on_sqlite() -> None:
    with garden("sqlite:///{home}/tasks.db") as place:
        test_a_run_is_triggered_waited_for_and_told(place)
        test_a_job_is_added_listed_run_paused_and_removed(place)
        test_tasks_stand_across_the_cluster(place)
        assert place("trigger", "water", "--all").out.count(": Done\n") == len(place.nodes)


# --- the page for operators

PAGE = ROOT / "docs" / "how-to" / "operate.md"
NAMES = ("boreas-2214", "atlas-7731")
ANYBODY = {"kasia", "ops"}
"""Somebody whose name is another here."""


@full
@pytest.mark.timeout(150)
def test_what_the_page_for_operators_shows_is_what_it_does(server: RedisProcess, home: Path) -> None:
    program, *_ = (block.code for block in blocks("python") if block.page == PAGE)
    (home / "garden.py").write_text(program)
    where = {"BGTASKS_STORE_URL": server.url, "BGTASKS_NAMESPACE": home.name}

    def call(line: str) -> Ended:
        return bgtasks(*shlex.split(line)[1:], home=home, **where)

    with (
        Running("run", "-i", "garden", home=home, **where) as one,
        Running("run", "-i", "garden", home=home, **where) as two,
    ):
        for node in (one, two):
            node.wait_for("scheduler started")
        wait_until("both are alive", lambda: len(json.loads(call("bgtasks nodes --json").out)) == 2)
        wait_until("a task has run", lambda: '"success"' in call("bgtasks runs --json").out)
        names = [node["node_id"] for node in json.loads(call("bgtasks nodes --json").out)]
        stands_for = dict(zip(NAMES, names, strict=True))
        for line, shown in commands_of_the_page():
            for written, real in stands_for.items():
                line = line.replace(written, real)
            ended = call(line)
            assert ended.code == 0, (line, ended)
            if "jobs add" in line:
                stands_for[shown[:8]] = ended.out[:8]
            assert not words(shown) - words(ended.out) - ANYBODY, (line, ended.out)


def words(text: str) -> set[str]:
    """The words of a text, which ids and numbers are not; what is `now` is `ago` in a second."""
    return {"ago" if word == "now" else word for word in re.findall(r"[\w-]+", text) if word.isalpha()}


def commands_of_the_page() -> list[tuple[str, str]]:
    """Each command of the page that ends by itself, with what it shows."""
    text = "".join(block.code for block in blocks("console") if block.page == PAGE)
    found = re.findall(r"^\$ (bgtasks .+)\n((?:[^$].*\n)*)", text, re.MULTILINE)
    commands = [each for each in found if not re.search("bgtasks run |--follow", each[0])]
    assert len(commands) == text.count("$ bgtasks ") - 2
    return commands
