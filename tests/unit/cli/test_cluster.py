"""How tasks stand across the cluster is shown of every task that the store has."""

from __future__ import annotations

import re

from tests.support.task_stores import DUE, a_job
from tests.unit.cli.conftest import Call, Kept

from bgtasks.claims.declared import job_id
from bgtasks.records import JobRow


def a_task(name: str, **but: object) -> JobRow:
    return a_job(name, id=job_id(name), declared=True, **but)


def test_a_task_that_this_process_does_not_know_is_told_to_programs_too(kept: Kept, call: Call) -> None:
    kept.put(a_task("elsewhere"))
    assert re.search(r"^elsewhere ", call("tasks").out, re.MULTILINE)
    rows = {row["name"]: row for row in call("tasks", "--json").json}
    row = rows["elsewhere"]
    assert (row["wired"], row["reason"]) == (False, "this process does not know it: --import its module")
    assert (row["scope"], row["when"], row["kind"]) == ("cluster", "every hour", "task")
    assert row["cluster"]["next_run"] == DUE.isoformat()
    assert rows["kg_decay_task"]["cluster"] is None


def test_a_task_that_no_node_knows_is_not_due(kept: Kept, call: Call) -> None:
    kept.put(a_task("gone", retired_at=DUE), a_task("here"))
    out = call("tasks").out
    assert re.search(r"^gone +retired$", out, re.MULTILINE), out
    assert re.search(r"^here .* ago$", out, re.MULTILINE), out
    rows = {row["name"]: row["cluster"] for row in call("tasks", "--json").json}
    assert (rows["gone"]["retired"], rows["here"]["retired"]) == (DUE.isoformat(), None)


def test_a_task_that_is_paused_says_why(kept: Kept, call: Call) -> None:
    kept.put(a_task("gone", retired_at=DUE, enabled=False, reason="winter"), a_task("held", enabled=False))
    out = call("tasks").out
    assert re.search(r"^gone +retired, paused: winter$", out, re.MULTILINE), out
    assert re.search(r"^held +paused: by hand$", out, re.MULTILINE), out
