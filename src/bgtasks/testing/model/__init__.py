"""A stand-in for a language model: rules over text behind an OpenAI-compatible server. It is no model.

To import this needs no optional dependency. `python -m bgtasks.testing.model` runs it as a process.
"""

from bgtasks.testing.model.calls import Call, Tally
from bgtasks.testing.model.faults import Fault, Faults
from bgtasks.testing.model.reply import Reply
from bgtasks.testing.model.server import ModelServer
from bgtasks.testing.model.tokens import tokens
from bgtasks.testing.model.vectors import vector

__all__ = ["Call", "Fault", "Faults", "ModelServer", "Reply", "Tally", "tokens", "vector"]
