"""The agents' process: every task and worker that no other service has, and the leader's workers.

To run:  python -m services.agents_main   (settings: BGTASKS_*, see `bgtasks settings`)
"""

from __future__ import annotations

from bgtasks import service
from bgtasks.spec import Spec
from services import consolidation_main, inference_main


def mine(spec: Spec) -> bool:
    """Whether no other service runs it."""
    return not inference_main.mine(spec) and not consolidation_main.mine(spec)


if __name__ == "__main__":
    service.main(mine)
