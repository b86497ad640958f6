"""For tests of one's own tasks: time that a test moves, and stand-ins for a host's objects.

To import this needs no optional dependency; `virtual_redis` asks for the extra `testing` when it is called.
The fixtures for pytest are in `bgtasks.testing.plugin`; a server that stands in for a model is in
`bgtasks.testing.model`.
"""

from bgtasks.testing.clock import VirtualClock
from bgtasks.testing.fakes import FakeBotRunner, ScriptedChat, ScriptedGraph
from bgtasks.testing.loop import VirtualLoop
from bgtasks.testing.redis import virtual_redis
from bgtasks.testing.running import run_virtual, virtual_time

__all__ = [
    "FakeBotRunner",
    "ScriptedChat",
    "ScriptedGraph",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
    "virtual_redis",
    "virtual_time",
]
