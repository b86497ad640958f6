"""How fast leadership changes hands, and what it costs Redis, beside two locks that people use for the same.

Measured: processes of one machine around one lease of five seconds on a redis-server, from the moment at
which the leader is told to stop, or is killed, to the first line of the worker of its successor. With a lock
the worker begins when `acquire` returns. Instants are of `time.monotonic_ns()`, which processes share.

Every measurement has a server and processes of its own with one peer in them, in rounds that go from peer to
peer, so that a slow minute of the machine meets all of them. Server and processes share its cores.

Not measured: networks, servers with replicas or far away, workers that take their time to end (a hand-over
waits for them), followers that have just come up, and whether there is one leader at a time.
"""
