"""What keeper and users agree on: locks, the state file, reading the log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bgtasks.embedded.keeper import shared

LOG = """\
7:C 21 Nov 2026 02:43:54.065 # WARNING Memory overcommit must be enabled! Without it, …
7:C 21 Nov 2026 02:43:54.065 * Configuration loaded
keeper 6 2026-11-21T02:43:54+0000 says something
redis-server: error while loading shared libraries: libssl.so.3

7:M 1 Dec 2026 02:43:54.075 # Bad file format reading the append only file.          make a backup
"""


def test_relevant_lines_are_those_that_explain() -> None:
    assert shared.relevant_lines(LOG) == [
        "redis-server: error while loading shared libraries: libssl.so.3",
        "Bad file format reading the append only file. make a backup",
    ]
    assert shared.relevant_lines(LOG, 1) == ["Bad file format reading the append only file. make a backup"]
    assert shared.relevant_lines("") == []


def test_the_log_is_read_from_where_it_began(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert (shared.log_size(log), shared.log_text(log, 0)) == (0, "")
    log.write_bytes(b"old\n")
    offset = shared.log_size(log)
    log.write_bytes(b"old\nnew \xff\n")
    assert shared.log_text(log, offset) == "new �\n"
    log.write_bytes(b"x" * 100_000)
    assert len(shared.log_text(log, 0)) == 65536


def test_the_state_comes_back_as_it_was_told(tmp_path: Path) -> None:
    assert shared.read_state(tmp_path) is None
    state = shared.State("running", "/run/a.sock", 7, 8, True, None)
    shared.write_state(tmp_path, state)
    assert shared.read_state(tmp_path) == state


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"phase": "running"}', '{"other": 1}'])
def test_a_state_of_another_format_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / shared.STATE_NAME).write_text(text)
    assert shared.read_state(tmp_path) is None


def test_locks_belong_to_whoever_opened_them(tmp_path: Path) -> None:
    first, second = shared.open_lock(tmp_path / "lock"), shared.open_lock(tmp_path / "lock")
    try:
        assert not os.get_inheritable(first)
        assert shared.try_lock(first, shared=True)
        assert shared.try_lock(second, shared=True)
        assert not shared.try_lock(second)
        shared.unlock(first)
        assert shared.try_lock(second)
        assert not shared.try_lock(first, shared=True)
    finally:
        os.close(first)
        os.close(second)


def test_an_answer_that_does_not_come_is_empty(tmp_path: Path) -> None:
    assert shared.ask(str(tmp_path / "nothing.sock"), "PING") == b""


@pytest.mark.parametrize(("code", "words"), [(-9, "died of SIGKILL"), (1, "exited with status 1")])
def test_a_death_in_words(code: int, words: str) -> None:
    assert shared.died_how(code) == words
