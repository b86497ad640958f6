"""What a fire costs, and how late it is, beside what one would write oneself and beside APScheduler.

Measured: the schedulers, with jobs that do the minimum. Every figure is of one fresh process with one peer
in it, in rounds that go from peer to peer, so that a slow minute of the machine meets all of them.

Not measured: what a job does itself; persistent job stores, threads or processes as executors; more than
one process; other event loops than asyncio's own; and, since nothing pins the processes to a core, anything
that depends on one.

A job's lateness is `loop.time()` as its first line runs, minus its own grid instant: the last one of its
grid before that moment. Ticks that never got a run are not late, they are missing, and counted as such.
"""
