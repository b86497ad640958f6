"""Models: one client for any OpenAI-compatible endpoint, with limits, a budget and kept answers."""

from typing import TYPE_CHECKING, Any

from bgtasks.llm.ask import ask
from bgtasks.llm.types import Endpoint, Message, Purpose, ToolCall, Turn, Usage

if TYPE_CHECKING:
    from bgtasks.llm.client import OpenAIChat

__all__ = [
    "Endpoint",
    "Message",
    "OpenAIChat",
    "Purpose",
    "ToolCall",
    "Turn",
    "Usage",
    "ask",
]


def __getattr__(name: str) -> Any:
    """The client is loaded when it is first asked for: who asks one that is given never needs it."""
    if name != "OpenAIChat":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bgtasks.llm.client import OpenAIChat

    return OpenAIChat
