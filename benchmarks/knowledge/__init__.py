"""What it costs to keep messages, and to make knowledge of them.

Measured: messages a second into the cache and facts a second into the graph, each beside the least that would
write the same; how long the graph's server answers nobody while it is written to; a million messages in
hundreds of channels, taken in and read by cursor; a graph of a hundred thousand entities and a million facts,
what it takes to fill, to keep and to search; and what the engine itself costs beside the model it asks.

Servers are the benchmark's own, on the same machine, whose cores they share with what uses them; they write
an append-only file to its disk as Redis does by default, and do not rewrite it meanwhile. All texts are drawn
from a fixed seed. There is no model: no figure says how good an answer is.
"""
