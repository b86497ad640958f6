"""What tests of cluster tasks play on."""

from __future__ import annotations

import pytest
from tests.support.task_cluster import Cluster


@pytest.fixture
def cluster() -> Cluster:
    """Three nodes on one store, not started."""
    return Cluster()
