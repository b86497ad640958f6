"""Messages, and what is made of them: the cache, the structural graph, and its upkeep."""
