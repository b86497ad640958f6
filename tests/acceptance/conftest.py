"""What acceptance tests share: a home of their own for the processes they start."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty directory whose path is short enough for a unix socket; removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="bgt-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
