"""The inference process: the periodic tasks that call a model, apart from the knowledge graph's upkeep.

To run:  python -m services.inference_main   (settings: BGTASKS_*, see `bgtasks settings`)
"""

from __future__ import annotations

from bgtasks import service
from bgtasks.spec import Spec, TaskSpec
from services import consolidation_main


def mine(spec: Spec) -> bool:
    """Whether this service runs it."""
    return isinstance(spec, TaskSpec) and "openrouter" in spec.requires and not consolidation_main.mine(spec)


if __name__ == "__main__":
    service.main(mine)
