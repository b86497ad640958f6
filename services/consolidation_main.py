"""The consolidation process: the upkeep of the knowledge graph.

To run:  python -m services.consolidation_main   (settings: BGTASKS_*, see `bgtasks settings`)
"""

from __future__ import annotations

from bgtasks import service
from bgtasks.spec import Spec

NAMES = ("kg_decay_task",)


def mine(spec: Spec) -> bool:
    """Whether this service runs it."""
    return spec.name in NAMES


if __name__ == "__main__":
    service.main(mine)
