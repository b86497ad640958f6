"""`bgtasks ingest`: what goes in, what does not, and that repeating it adds nothing."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import redis
from tests.support.command_line import Ended, Running, bgtasks
from tests.support.redis_process import RedisProcess
from tests.support.waiting import wait_until

from bgtasks.embedded import EmbeddedServer
from bgtasks.graph import KnowledgeGraph

pytestmark = pytest.mark.real

GOOD = '{"channel": "garden", "id": "m1", "author": "Kasia", "ts": "2026-09-01T08:12:00+00:00", "text": "hi"}'
NO_GRAPH = (
    "graph: not written, since the server at BGTASKS_REDIS_URL has no FalkorDB module; "
    "set BGTASKS_FALKORDB_URL to one that has"
)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    """One plain Redis for the module; each test has a namespace of its own."""
    with RedisProcess() as running:
        yield running


@pytest.fixture
def ingest(home: Path, server: RedisProcess) -> Any:
    def run(*paths: Path | str) -> Ended:
        own = {"BGTASKS_REDIS_URL": server.url, "BGTASKS_NAMESPACE": home.name}
        return bgtasks("ingest", *map(str, paths), home=home, **own)

    return run


@pytest.fixture
def held(home: Path, server: RedisProcess) -> Iterator[Any]:
    """Says how many messages of a channel are in the test's namespace."""
    with server.client() as client:
        yield lambda channel: client.xlen(f"{home.name}:chan:{channel}:log")


@pytest.fixture
def sample(home: Path) -> Path:
    path = home / "conversation.jsonl"
    path.write_bytes(files("bgtasks.demo").joinpath("conversation.jsonl").read_bytes())
    return path


def per_channel(path: Path) -> Counter[str]:
    return Counter(json.loads(line)["channel"] for line in path.read_text("utf-8").splitlines())


def message(channel: str, number: int, text: str = "hello") -> str:
    ts = 1_750_000_000 + number
    return json.dumps({"channel": channel, "id": f"m{number}", "author": "Kasia", "ts": ts, "text": text})


def test_each_message_goes_in_once_however_often_the_file_does(sample: Path, ingest: Any, held: Any) -> None:
    channels = per_channel(sample)
    first, second = ingest(sample), ingest(sample)
    assert (first.code, second.code) == (0, 0)
    assert first.out.splitlines() == [
        f"conversation.jsonl: {channel}: {count} added, 0 known" for channel, count in channels.items()
    ]
    assert second.out.splitlines() == [
        f"conversation.jsonl: {channel}: 0 added, {count} known" for channel, count in channels.items()
    ]
    assert {channel: held(channel) for channel in channels} == channels
    assert first.err == second.err == NO_GRAPH + "\n"


def test_a_file_given_twice_goes_in_once(sample: Path, ingest: Any, held: Any, home: Path) -> None:
    (home / "again.jsonl").write_bytes(sample.read_bytes())
    ended = ingest(sample, sample, home / "again.jsonl")
    assert ended.code == 0
    for channel, count in per_channel(sample).items():
        assert held(channel) == count
        assert f"again.jsonl: {channel}: 0 added, {count} known" in ended.out
        assert ended.out.count(f"{channel}: {count} added") == 1


def test_several_files_are_reported_each_by_its_name(home: Path, ingest: Any) -> None:
    (home / "a.jsonl").write_text(message("x", 1) + "\n" + message("y", 1) + "\n")
    (home / "b.jsonl").write_text(message("x", 1) + "\n" + message("x", 2) + "\n")
    ended = ingest(home / "a.jsonl", home / "b.jsonl")
    assert ended.out.splitlines() == [
        "a.jsonl: x: 1 added, 0 known",
        "a.jsonl: y: 1 added, 0 known",
        "b.jsonl: x: 1 added, 1 known",
    ]


def test_bad_lines_are_reported_by_number_while_the_rest_goes_in(home: Path, ingest: Any, held: Any) -> None:
    lines = [
        message("garden", 1),
        "not json",
        "",
        '["an", "array"]',
        '{"channel": "garden", "id": "m9"}',
        message("garden", 2),
        GOOD.replace("+00:00", ""),
        GOOD.replace('"Kasia"', '" "'),
        "[" * 100_000,
        message("garden", 3, text="ünïcode 🦊 and \x00"),
    ]
    path = home / "mixed.jsonl"
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe broken\n" + message("garden", 4)[:-5].encode())
    ended = ingest(path)
    assert ended.code == 1
    assert ended.out == "mixed.jsonl: garden: 3 added, 0 known\n"
    assert held("garden") == 3
    reported = [line for line in ended.errors if "line " in line]
    numbers = [int(line.split("line ")[1].split(":")[0]) for line in reported if ": line " in line]
    assert numbers == [2, 4, 5, 7, 8, 9, 11, 12]
    assert "line 5: lacks author, ts, text" in ended.err
    assert "line 7: ts 2026-09-01T08:12:00 says no time zone" in ended.err
    assert "mixed.jsonl: 8 lines were not taken; mend them and run it again" in ended.err


def test_of_many_bad_lines_twenty_are_shown_and_the_rest_counted(home: Path, ingest: Any) -> None:
    path = home / "bad.jsonl"
    path.write_text("bad\n" * 1000 + GOOD + "\n")
    ended = ingest(path)
    assert ended.code == 1
    assert ended.out == "bad.jsonl: garden: 1 added, 0 known\n"
    assert ended.err.count("not JSON") == 20
    assert "and 980 more bad lines" in ended.err
    assert "1000 lines were not taken" in ended.err


@pytest.mark.parametrize(
    "kind",
    ["gzip", "one endless line", *(pytest.param(each, marks=pytest.mark.full) for each in ("noise", "NULs"))],
)
def test_what_is_no_text_is_reported_and_nothing_goes_in(home: Path, ingest: Any, kind: str) -> None:
    content = {
        "gzip": gzip.compress((GOOD + "\n").encode() * 50),
        "noise": random.Random(7).randbytes(200_000),
        "NULs": bytes(100_000),
        "one endless line": b"x" * 5_000_000,
    }[kind]
    path = home / "garbage.jsonl"
    path.write_bytes(content)
    ended = ingest(path)
    assert ended.code == 1
    assert ended.out == "garbage.jsonl: no messages\n"
    assert "garbage.jsonl: line 1: not " in ended.err
    assert len(ended.err) < 10_000


def test_a_file_with_nothing_in_it_is_no_error(home: Path, ingest: Any) -> None:
    for name, content in (("empty.jsonl", ""), ("blank.jsonl", "\n\n  \n")):
        (home / name).write_text(content)
        ended = ingest(home / name)
        assert (ended.code, ended.out) == (0, f"{name}: no messages\n")


@pytest.mark.parametrize(
    ("name", "why"), [("missing.jsonl", "No such file or directory"), ("folder", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_one_error_before_anything_goes_in(
    home: Path, ingest: Any, held: Any, name: str, why: str
) -> None:
    (home / "folder").mkdir()
    (home / "good.jsonl").write_text(GOOD)
    ended = ingest(home / "good.jsonl", home / name)
    assert ended.code == 2
    assert ended.err == f"error: {home / name} cannot be read: {why}\n"
    assert held("garden") == 0


def test_a_call_without_a_file_shows_the_usage(home: Path) -> None:
    ended = bgtasks("ingest", home=home)
    assert ended.code == 2
    assert ended.errors[0].startswith("Usage: bgtasks ingest")


async def graph_of(data: Path) -> dict[str, Any]:
    """What the graph of an embedded server holds."""
    async with EmbeddedServer(data) as server, KnowledgeGraph(server.url, "bgtasks") as graph:
        edges = (
            "MATCH (a:Entity)-[r:REL {p: $p}]->(b:Entity) "
            "RETURN a.name, b.name, r.n, r.w ORDER BY a.name, b.name"
        )
        return {
            "speaks_in": await graph.query(edges, {"p": "speaks_in"}),
            "mentions": await graph.query(edges, {"p": "mentions"}),
            "entities": await graph.query("MATCH (e:Entity) RETURN e.kind, count(e) ORDER BY e.kind"),
        }


async def test_with_a_graph_its_edges_are_written_once(home: Path, sample: Path) -> None:
    data = home / "data"
    rows = [json.loads(line) for line in sample.read_text("utf-8").splitlines()]
    spoken = Counter((row["author"], row["channel"]) for row in rows)
    url = f"embedded://{data}"
    first = bgtasks("ingest", str(sample), home=home, fresh=True, BGTASKS_REDIS_URL=url)
    assert (first.code, first.err) == (0, "")
    assert f"conversation.jsonl: graph: {len(rows)} messages woven in" in first.out
    once = await graph_of(data)
    assert {(author, channel): n for author, channel, n, _ in once["speaks_in"]} == spoken
    assert once["mentions"]
    assert dict(once["entities"])["channel"] == len(per_channel(sample))

    second = bgtasks("ingest", str(sample), home=home, BGTASKS_REDIS_URL=url)
    assert second.code == 0
    assert "graph" not in second.out + second.err
    assert await graph_of(data) == once


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_kill_9_in_the_middle_and_again_leaves_every_message_there_once(home: Path) -> None:
    count, channels = 50_000, ("a", "b", "c")
    path, data = home / "big.jsonl", home / "data"
    with path.open("w") as lines:
        for i in range(count):
            lines.write(message(channels[i % len(channels)], i, f"number {i}, @chidi") + "\n")
    url = f"embedded://{data}"
    async with EmbeddedServer(data) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            looking: Any = client

            def total() -> int:
                return sum(looking.xlen(f"bgtasks:chan:{channel}:log") for channel in channels)

            with Running("ingest", str(path), home=home, BGTASKS_REDIS_URL=url) as running:
                wait_until("some thousand messages are in", lambda: total() >= 5000)
                assert running.is_running
                running.kill()
            before = total()
            assert 5000 <= before < count, "it was over before the kill"

            again = bgtasks("ingest", str(path), home=home, BGTASKS_REDIS_URL=url)
            assert (again.code, again.err) == (0, "")
            added = sum(
                int(line.split(" added")[0].split()[-1])
                for line in again.out.splitlines()
                if " added" in line
            )
            assert added == count - before
            ids = [
                fields["mid"]
                for channel in channels
                for _, fields in looking.xrange(f"bgtasks:chan:{channel}:log")
            ]
            assert len(ids) == count
            assert len(set(ids)) == count
    graph = await graph_of(data)
    assert sum(n for _, _, n, _ in graph["speaks_in"]) == count
    assert [n for _, name, n, _ in graph["mentions"] if name == "chidi"] == [count]
