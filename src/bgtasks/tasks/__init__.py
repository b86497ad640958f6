"""The built-in tasks: thin coroutines that call an engine and return counts.

They come in through the entry point group `bgtasks.tasks`, as anybody's tasks can, and have no privileges.
"""

from bgtasks.tasks.embedding import embedding_worker
from bgtasks.tasks.extraction import (
    agentic_kg_bulk_incremental_task,
    auto_kg_extraction,
    limbic_anchoring_task,
)
from bgtasks.tasks.knowledge import kg_decay_task
from bgtasks.tasks.prompts import scheduled_prompt_cleanup, scheduled_prompt_tick

__all__ = [
    "agentic_kg_bulk_incremental_task",
    "auto_kg_extraction",
    "embedding_worker",
    "kg_decay_task",
    "limbic_anchoring_task",
    "scheduled_prompt_cleanup",
    "scheduled_prompt_tick",
]
