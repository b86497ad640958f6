"""From conversation to knowledge as an operator sees it: real processes and servers, and the stand-in."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import Ended, Running, bgtasks, expect_no_complaint
from tests.support.redis_process import RedisProcess
from tests.support.stand_in import stand_in
from tests.support.waiting import wait_until

from bgtasks.embedded import places
from bgtasks.testing.model import Fault

pytestmark = pytest.mark.real
full = pytest.mark.full

REPOSITORY = Path(__file__).parents[2]
MARKER = "zorblax"
SAID = {
    "m1": ("Ada Miller", "I live in Uppsala."),
    "m2": ("Ben Carter", "I have a dog called Rex."),
    "m3": ("Ada Miller", "Ben Carter is my friend."),
}
FACTS = {
    ("Ada Miller", "lives_in", "Uppsala"),
    ("Ben Carter", "has_pet", "Rex"),
    ("Ada Miller", "friend_of", "Ben Carter"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    """A Redis with FalkorDB; each test has a namespace and a graph of its own."""
    with RedisProcess("--loadmodule", str(places.binaries()[1])) as running:
        yield running


@dataclass
class Place:
    """One user's place on the server: a home, a namespace, a graph, and settings."""

    home: Path
    server: RedisProcess
    settings: dict[str, str]

    def ingest(self, **said: tuple[str, str]) -> None:
        at = datetime(2026, 9, 1, 7, tzinfo=UTC)
        lines = [
            json.dumps(
                {
                    "channel": "allotment",
                    "id": id,
                    "author": author,
                    "ts": (at + timedelta(minutes=int(id[1:]))).isoformat(),
                    "text": text,
                }
            )
            for id, (author, text) in said.items()
        ]
        (self.home / "said.jsonl").write_text("\n".join(lines))
        ended = self.call("ingest", "said.jsonl")
        assert ended.code == 0, ended

    def call(self, *words: str) -> Ended:
        return bgtasks(*words, home=self.home, **self.settings)

    def run(self, *words: str, **more: str) -> Running:
        return Running("run", *words, home=self.home, **{**self.settings, **more})

    def service(self, name: str, **more: str) -> Running:
        program = [sys.executable, "-m", f"services.{name}"]
        given = {**self.settings, **more, "PYTHONPATH": str(REPOSITORY)}
        return Running(home=self.home, program=program, **given)

    def rows(self, cypher: str) -> list[Any]:
        """What is in the graph; nothing, before there is one."""
        with self.server.client() as client:
            if not client.exists(self.home.name):
                return []
            return list(client.execute_command("GRAPH.QUERY", self.home.name, cypher)[1])

    def facts(self) -> set[tuple[str, ...]]:
        found = self.rows("MATCH (s)-[r:REL]->(o) WHERE r.fact <> '' RETURN s.name, r.p, o.name")
        return {tuple(row) for row in found}


@pytest.fixture
def place(home: Path, server: RedisProcess) -> Place:
    own = {
        "BGTASKS_REDIS_URL": server.url,
        "BGTASKS_NAMESPACE": home.name,
        "BGTASKS_GRAPH_NAME": home.name,
        "BGTASKS_LLM_MODEL": "rules",
        "BGTASKS_LLM_KEY": "sk-s3cret",
    }
    return Place(home, server, own)


def ended_by_sigterm(running: Running) -> Ended:
    """It ends when it is asked to, in order, and has shown nobody the key."""
    running.send(signal.SIGTERM)
    ended = running.end()
    assert ended.code == 0, ended
    expect_no_complaint(ended)
    assert "s3cret" not in ended.out + ended.err
    return ended


def test_what_is_ingested_is_in_the_graph_and_on_the_bill(place: Place, home: Path) -> None:
    program = [sys.executable, "-m", "bgtasks.testing.model", "--port", "0", "--key", "sk-s3cret"]
    with Running(home=home, program=program) as model:
        model.wait_for(r"http://\S+/v1\n")
        place.settings |= {"BGTASKS_LLM_URL": model.text.strip(), "BGTASKS_LLM_DAY_TOKENS": "100000"}
        place.ingest(**SAID)

        with place.run("--only", "auto_kg_extraction") as running:
            wait_until("the graph has the facts", lambda: place.facts() >= FACTS)
            ended_by_sigterm(running)

        spent = json.loads(place.call("budget", "--json").out)["days"][0]
        tasks = {each["task"]: each for each in spent["tasks"]}
        assert tasks["auto_kg_extraction"]["calls"] == 1
        assert tasks["auto_kg_extraction"]["tokens"] > 100
        assert spent["all"]["tokens"] == sum(each["tokens"] for each in tasks.values())
        assert (spent["all"]["reserved_tokens"], spent["all"]["cap_tokens"]) == (0, 100_000)
        ended_by_sigterm(model)


@full
def test_messages_that_go_in_on_the_command_line_get_vectors_too(place: Place) -> None:
    with stand_in() as model:
        place.settings |= {"BGTASKS_LLM_URL": model.url, "BGTASKS_LLM_EMBEDDING_MODEL": "grams"}
        place.ingest(**SAID)
        with place.run("--only", "embedding_worker") as running:
            count = "MATCH (m:MessageVec) RETURN count(m)"
            wait_until("each message has its vector", lambda: place.rows(count) == [[3]])
            waiting = "MATCH (e:Entity) WHERE e.vec = '-' RETURN e.id"
            wait_until("each entity has its vector", lambda: place.rows(waiting) == [])
            ended_by_sigterm(running)


@full
def test_a_dead_letter_is_listed_retried_and_read(place: Place) -> None:
    poisonous = True

    def answer(body: dict[str, Any]) -> Fault | None:
        asked = json.dumps(body["messages"]).rpartition("Messages:")[2]
        return Fault("not json") if poisonous and MARKER in asked else None

    with stand_in(answer=answer) as model:
        place.settings["BGTASKS_LLM_URL"] = model.url
        place.ingest(**SAID, m4=("Ada Miller", f"I have a cat called {MARKER.title()}. It says {MARKER}."))
        with place.run("--exclude", "agentic_kg_bulk_incremental_task") as running:
            wait_until("the rest is read", lambda: place.facts() >= FACTS)
            wait_until("one is set aside", lambda: json.loads(place.call("dead", "list", "--json").out))
            [dead] = json.loads(place.call("dead", "list", "--json").out)
            assert (dead["channel"], dead["message_id"], dead["reader"]) == ("allotment", "m4", "knowledge")
            assert MARKER not in json.dumps(dead)
            assert dead["key"] in place.call("dead", "list").out

            poisonous = False
            retried = place.call("dead", "retry", dead["key"])
            assert retried.out == f"{dead['key']}  allotment: m4 is to be read again\n"
            assert place.call("trigger", "auto_kg_extraction").code == 0

            cat = ("Ada Miller", "has_pet", MARKER.title())
            wait_until("it is read", lambda: place.facts() >= {*FACTS, cat})
            ended_by_sigterm(running)
        assert json.loads(place.call("dead", "list", "--json").out) == []
        assert place.rows("MATCH ()-[r:REL]->({name: 'Rex'}) RETURN r.n") == [[1]]


@full
def test_the_leader_reads_what_is_ingested_while_it_runs(place: Place) -> None:
    with stand_in() as model:
        place.settings |= {"BGTASKS_LLM_URL": model.url, "BGTASKS_KA_ENABLED": "1"}
        place.ingest(m1=("Ada Miller", "Good morning."))
        with place.run("--only", "limbic_anchoring_task") as running:
            running.wait_for("this node leads")
            place.ingest(**SAID)
            known = {("Ben Carter", "has_pet", "Rex"), ("Ada Miller", "friend_of", "Ben Carter")}
            wait_until("the leader has read it", lambda: place.facts() >= known, 90)
            ended_by_sigterm(running)
        spent = json.loads(place.call("budget", "--json").out)["days"][0]["all"]
        assert spent["calls"] == len(model.calls) == 1


@full
@pytest.mark.parametrize(
    ("service", "runs"),
    [
        ("inference_main", {"auto_kg_extraction", "agentic_kg_bulk_incremental_task"}),
        (
            "agents_main",
            {
                "embedding_worker",
                "limbic_anchoring_task",
                "scheduled_prompt_tick",
                "scheduled_prompt_cleanup",
            },
        ),
        ("consolidation_main", {"kg_decay_task"}),
    ],
)
def test_each_task_runs_in_one_of_the_services(place: Place, service: str, runs: set[str]) -> None:
    known = {
        "auto_kg_extraction",
        "agentic_kg_bulk_incremental_task",
        "embedding_worker",
        "limbic_anchoring_task",
        "kg_decay_task",
        "scheduled_prompt_tick",
        "scheduled_prompt_cleanup",
    }
    with stand_in() as model:
        place.settings |= {"BGTASKS_LLM_URL": model.url, "BGTASKS_LLM_EMBEDDING_MODEL": "grams"}
        with place.service(service, BGTASKS_KA_ENABLED="1") as running:
            running.wait_for("scheduler started")
            ended = ended_by_sigterm(running)
    not_here = set(re.findall(r"(\w+) does not run here", ended.err))
    assert known - not_here == runs
