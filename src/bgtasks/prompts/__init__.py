"""Prompts for later: kept in Redis, put on a stream when they are due, each time exactly once."""

from bgtasks.prompts.prompt import Prompt
from bgtasks.prompts.store import PromptStore, Ticked

__all__ = ["Prompt", "PromptStore", "Ticked"]
