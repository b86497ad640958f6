"""The benchmark of messages and knowledge: what it draws, what its tables say, and that it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.apart import ROOT
from benchmarks.knowledge.cases import LAST, OURS, PARTS, TABLES, table_of
from benchmarks.knowledge.page import BEGIN, END, replaced
from benchmarks.knowledge.size import STEPS, Size
from benchmarks.knowledge.table import markdown, table
from benchmarks.knowledge.targets import targets
from benchmarks.knowledge.words import World, messages
from benchmarks.scheduler.page import PAGE
from benchmarks.scheduler.results import Results


def results(bytes_later: float = 250.0, stall: float = 40.0) -> Results:
    """Of a run in which a message took 250 bytes in the first half."""
    made = Results("today", 1)
    for step in range(1, STEPS + 1):
        figures = {"at": step * 100_000.0, "more": 250.0 if step <= STEPS // 2 else bytes_later}
        made.taken[f"channels-{step}"] = {OURS: [figures]}
    made.taken["apply-small"] = {"graph.apply": [{"facts_per_s": 5_000.0, "worst_ms": stall}]}
    return made


class TestWhatIsDrawn:
    def test_a_world_is_the_same_each_time(self) -> None:
        assert World(500).batch(10, 20) == World(500).batch(10, 20)

    def test_no_fact_is_stated_twice(self) -> None:
        world = World(50)
        edges = [edge for _ in range(20) for edge in world.batch(10, 20)[1]]
        assert len({(edge.s, edge.p, edge.o) for edge in edges}) == len(edges) == 400

    def test_every_edge_ends_at_nodes_of_its_batch(self) -> None:
        nodes, edges = World(500).batch(10, 20)
        assert {end for edge in edges for end in (edge.s, edge.o)} <= {node.id for node in nodes}

    def test_entities_have_names_of_their_own(self) -> None:
        assert len(set(World(20_000).names)) == 20_000

    def test_messages_go_on_where_the_last_ones_ended(self) -> None:
        ids = [message.id for start in (0, 5) for message in messages("garden", start, 5)]
        assert ids == [f"m{number}" for number in range(10)]

    def test_the_full_size_is_what_was_asked_for(self) -> None:
        full = Size()
        assert (full.messages, full.channels, full.entities, full.facts) == (
            1_000_000,
            500,
            100_000,
            1_000_000,
        )


class TestTheTables:
    def test_each_part_fills_tables_and_says_which_case_is_its_last(self) -> None:
        for part, keys in PARTS.items():
            assert LAST[part] in {case.key for key in keys for case in table_of(key).cases}
        assert {key for keys in PARTS.values() for key in keys} == {each.key for each in TABLES}

    def test_a_line_for_each_step_that_was_measured(self) -> None:
        lines = table(results(), table_of("channels"))
        assert len(lines) == 2 + STEPS
        assert lines[2].startswith("| 100,000 |")
        assert len({line.count("|") for line in lines}) == 1

    def test_what_grows_is_missed_and_what_is_flat_is_not(self) -> None:
        assert [target.reached for target in targets(results())] == [True, True]
        assert [target.reached for target in targets(results(bytes_later=400))] == [True, False]

    def test_a_long_stall_is_missed(self) -> None:
        assert [target.reached for target in targets(results(stall=61))] == [False, True]


class TestThePage:
    def test_the_page_has_the_marks(self) -> None:
        assert replaced(PAGE.read_text("utf-8"), results(), picture=False).count(BEGIN) == 1

    def test_only_what_is_between_the_marks_is_replaced(self) -> None:
        page = replaced(f"before\n{BEGIN}\nold\n{END}\nafter", results(), picture=False)
        assert page == f"before\n{BEGIN}\n{markdown(results())}\n{END}\nafter"

    def test_a_page_without_marks_is_refused(self) -> None:
        with pytest.raises(ValueError, match="lacks the marks"):
            replaced("before", results(), picture=False)


@pytest.mark.full
@pytest.mark.timeout(180)
def test_the_whole_of_it_runs_at_a_thousandth_of_its_size(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.knowledge", "--scale", "0.001", "--keep", str(tmp_path)]
    environment = {**os.environ, "BENCH_ROUNDS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = Results.read(tmp_path / "knowledge-some.json")
    assert {case.key for each in TABLES for case in each.cases} <= kept.taken.keys()
