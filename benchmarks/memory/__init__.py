"""What it costs to turn conversations into memory, beside two systems that people use for the same.

Each system is run over the same folder of conversations, in a process and with packages of its own, against
the stand-in model in a further process. The stand-in reads relations out of the messages by rules; to each
system it answers in the schemas that this system asks for, from one and the same list. So what is compared is
what a system asks of a model, how long it takes, and what of the answers ends in its store. How good a real
model's answers to these prompts are is not compared.

A folder holds `*.jsonl`, a message a line: `channel`, `id`, `author`, `ts`, `text`.

Calls and tokens are counted by the stand-in, tokens by the same formula for all. It answers at once, so wall
time is what a system does beside waiting for its model. Peak memory is that of the system's process, which
for mem0 includes its vectors; a FalkorDB is counted beside it, by what it uses more than before. A relation
is offered when it goes out in an answer; `relations` says when it is found in a store.

Each system is used as its documentation shows, and once more with more messages at a time, which saves calls.
Where its prompts leave the model a choice, the answers are such that the fewest calls follow. A system is not
compared when it asks for what its adapter has no answer to, warns or raises, or is offered too little.

Not measured: search, summaries, what holds since when, facts that a later one replaces, networks.
"""
