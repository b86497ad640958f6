"""Servers on a loopback port that are no Redis: one that says something else, one that says nothing."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["HTTP", "SSH", "odd_server"]

HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
SSH = b"SSH-2.0-OpenSSH_9.2\r\n"


@contextmanager
def odd_server(answer: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A server that answers whatever it is sent with `answer`, or never, if that is empty.

    Yields its address as a Redis URL, and an event that is set once somebody has asked it something.
    """
    asked = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                while self.request.recv(65536):
                    asked.set()
                    if answer:
                        self.request.sendall(answer)
            except OSError:  # the other side has gone
                return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}/0", asked
        finally:
            server.shutdown()
            thread.join()
