"""For tests of one's own tasks: time that a test moves, and stand-ins for a host's objects.

Nothing here needs an optional dependency.
"""

from bgtasks.testing.fakes import FakeBotRunner, ScriptedChat, ScriptedGraph
from bgtasks.testing.virtual import VirtualClock, VirtualLoop, run_virtual

__all__ = [
    "FakeBotRunner",
    "ScriptedChat",
    "ScriptedGraph",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
]
