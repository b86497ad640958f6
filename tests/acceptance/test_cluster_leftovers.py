"""A test run that is killed leaves no PostgreSQL behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from tests.support.postgres_process import PostgresProcess

with PostgresProcess() as server:
    print(server.directory, flush=True)
    sys.stdin.read()
"""


def test_a_killed_process_takes_its_postgresql_and_the_files_of_it_along() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip())
        assert directory.is_absolute()
        server = int((directory / "postmaster.pid").read_text().split()[0])
        os.kill(server, 0)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    wait_until("its files are gone", lambda: not directory.exists())
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)
