"""A task is commanded by its name where that has an effect, and otherwise it is said what has."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest
from tests.support.task_stores import a_job
from tests.unit.cli.conftest import Call, Kept

from bgtasks.claims.declared import job_id
from bgtasks.cli.waiting import WAIT
from bgtasks.records import Command, CommandRow


def runs(name: str, scope: str) -> dict[str, Any]:
    """How a node says that it runs a task."""
    return {"jobs": [{"name": name, "kind": "task", "scope": scope}]}


class TestAClusterTask:
    def test_that_was_removed_is_not_taken_for_the_nodes_own(self, kept: Kept, call: Call) -> None:
        kept.node("one", wired=("digest",), **runs("digest", "cluster"))
        for command in (["pause", "--all"], ["trigger"], ["resume", "--node", "one"]):
            said = call(command[0], "digest", *command[1:])
            assert said.code == 2
            assert '"digest" is a cluster task that is not in the store: it was removed' in said.err
        assert call("nodes", "told").out == "nobody was told anything\n"

    def test_is_paused_in_the_store(self, kept: Kept, call: Call) -> None:
        kept.node("one", wired=("digest",), **runs("digest", "cluster"))
        kept.put(a_job("digest", id=job_id("digest"), declared=True))
        assert call("pause", "digest").out == "digest: paused for all nodes: by hand\n"

    def test_that_has_become_the_nodes_own_is_told_to_them(self, kept: Kept, call: Call) -> None:
        kept.node("one", wired=("digest",), **runs("digest", "node"))
        kept.put(a_job("digest", id=job_id("digest"), declared=True))
        assert "is each node's own: say --all, or --node with one of one" in call("pause", "digest").err


class TestALeadersWorker:
    def test_is_not_said_to_run_nowhere(self, kept: Kept, call: Call) -> None:
        group = {"state": "leading", "workers": [{"name": "anchor"}]}
        kept.node("one", known=("anchor",), leadership={"default": group})
        said = call("trigger", "anchor")
        assert said.code == 2
        assert '"anchor" is a worker, which runs on the node that leads: bgtasks leader resign' in said.err
        assert "--group" not in said.err

    def test_is_named_with_its_group(self, kept: Kept, call: Call) -> None:
        kept.node("one", leadership={"graph": {"workers": [{"name": "anchor"}]}})
        assert "bgtasks leader resign --group graph" in call("pause", "anchor").err


class TestWhyNobodyRunsIt:
    def test_is_said_of_each_node_though_two_are_called_the_same(self, kept: Kept, call: Call) -> None:
        for reason in ("needs discord", "needs redis"):
            kept.node("one", known=("greet",), not_wired={"greet": reason})
        said = call("trigger", "greet")
        assert said.code == 1
        assert "runs on no node that is alive (one: needs discord; one: needs redis)" in said.err


class TestTellingAll:
    def test_waits_for_those_alone_that_run_the_task(
        self, kept: Kept, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs_it = kept.node("one", **runs("water", "node"))
        kept.node("two")
        tell = kept.command

        async def answered(command: Command, ttl: float) -> CommandRow:
            row = await tell(command, ttl)
            await kept.answer(runs_it, command.id, True, "paused\x1b[2J")
            return row

        monkeypatch.setattr(kept, "command", answered)
        began = monotonic()
        assert call("pause", "water", "--all") == (0, "one: paused [2J\n", "")
        assert monotonic() - began < WAIT / 2

    def test_gives_up_a_node_that_is_not_alive_any_more(
        self, kept: Kept, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dead = kept.node("one", **runs("water", "node"))
        tell = kept.command

        async def died(command: Command, ttl: float) -> CommandRow:
            row = await tell(command, ttl)
            await kept.leave(dead)
            return row

        monkeypatch.setattr(kept, "command", died)
        said = call("pause", "water", "--all")
        assert (said.code, said.err) == (1, "one: no answer: it is not alive any more\n")
