"""The keeper: a process of its own that is the parent of one redis-server and ends it in time.

It runs isolated and without site-packages, so this package imports the standard library and itself
only, and does nothing when imported. `process` is the keeper; `shared` is what it and the processes
that join must agree on (file names, locks, the state file, reading the log).

Every lock is a `flock`, because the kernel drops it with its process, `kill -9` included. Lock files
are never removed: a new file under an old name would be a second, unrelated lock. Who holds what:

- `start.lock`   exclusive, by the process that is joining; joins happen one after the other
- `users.lock`   shared, by every user; exclusive, by the keeper from the moment nobody is left
- `keeper.lock`  exclusive, by the keeper, all its life
- `redis.lock`   shared, by redis-server, so that a next keeper knows whether an old one still runs
"""
