"""What it costs to start each tick once in a cluster, and to keep a hundred thousand jobs.

Measured: claims that several processes race for; the CPU of a fire with and without a store; how soon many
jobs that are due at once have started, beside what others would do that with on the same server; what a store
is sent while little is due; and what single calls take as jobs grow in number.

Servers are the benchmark's own and on the same machine, whose cores they share with the processes; they
write to its disk as they do by default. Rounds go from one to the next, so that a slow minute meets all of
them.

Not measured: networks, servers with replicas, what jobs do themselves, long runs and those that are lost.
"""
