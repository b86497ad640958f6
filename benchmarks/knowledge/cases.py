"""The parts of the measurement, the tables each fills, and their columns."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.knowledge.size import STEPS

__all__ = ["LAST", "OURS", "PARTS", "TABLES", "Case", "Figure", "Table", "table_of"]

OURS = "bgtasks"
"""Of whom figures are that nobody else is measured for."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One column."""

    key: str
    heading: str


@dataclass(frozen=True, slots=True)
class Case:
    """Some lines of a table, one for each of whom it is measured.

    Attributes:
        key: Its name among the results.
        label: What tells it from the others; empty: its figure `at`.
    """

    key: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        key: Its name.
        title: What is measured, for people.
        varied: What the labels of its cases say; empty for a single case.
        cases: Its lines, or groups of them.
        figures: Its columns.
        who: Of whom it is measured, where that is not us alone.
    """

    key: str
    title: str
    varied: str
    cases: tuple[Case, ...]
    figures: tuple[Figure, ...]
    who: tuple[str, ...] = (OURS,)


def _steps(key: str) -> tuple[Case, ...]:
    return tuple(Case(f"{key}-{step}") for step in range(1, STEPS + 1))


TABLES = (
    Table(
        "messages",
        "messages into the cache, by one process; one a call, or two hundred",
        "",
        (Case("messages"),),
        (
            Figure("per_s", "messages/s"),
            Figure("times", "time / bare"),
            Figure("server_us", "server's CPU µs a message"),
            Figure("bytes", "bytes a message"),
        ),
        ("bare XADD", "ingest", "ingest, to be embedded too", "ingest again: adds nothing",
         "bare XADD, one a call", "ingest, one a call"),
    ),
    Table(
        "channels",
        "messages taken in and read by cursor, channel after channel",
        "messages so far",
        _steps("channels"),
        (
            Figure("ingest_us", "taking in, µs a message"),
            Figure("read_us", "reading, µs a message"),
            Figure("cpu_us", "CPU µs a message, both sides"),
            Figure("bytes", "bytes a message, so far"),
            Figure("more", "bytes a message, of these"),
            Figure("ingest_p99_ms", "a call of 200, p99 ms"),
        ),
    ),
    Table(
        "trimmed",
        "the same, trimmed to what a reader has not read and the last thousand of each channel",
        "",
        (Case("trimmed"),),
        (
            Figure("removed", "removed"),
            Figure("trim_us", "µs each"),
            Figure("before_mb", "MB before"),
            Figure("after_mb", "MB after"),
            Figure("worst_ms", "slowest ping ms"),
        ),
    ),
    Table(
        "apply",
        "facts into a graph of some thousand entities, by one process, in one query each",
        "a query of",
        (
            Case("apply-small", "30 nodes, 40 edges"),
            Case("apply-large", "200 nodes, 300 edges"),
            Case("apply-nodes", "500 nodes"),
        ),
        (
            Figure("facts_per_s", "facts/s"),
            Figure("times", "time / bare"),
            Figure("p50_ms", "query p50 ms"),
            Figure("server_ms", "server's CPU ms a query"),
            Figure("worst_ms", "slowest ping ms"),
            Figure("p99_ms", "ping p99 ms"),
        ),
        ("bare MERGE", "bare MERGE, our indexes", "graph.apply", "graph.apply, appendfsync always"),
    ),
    Table(
        "facts",
        "the graph as it grows, filled by queries of 90 nodes and 210 edges",
        "facts so far",
        _steps("facts"),
        (
            Figure("facts_per_s", "facts/s"),
            Figure("server_us", "server's CPU µs a fact"),
            Figure("p50_ms", "query p50 ms"),
            Figure("worst_ms", "slowest ping ms"),
            Figure("bytes", "bytes a fact, so far"),
            Figure("resident_mb", "server's MB, resident"),
        ),
    ),
    Table(
        "kept",
        "what is kept in the large graph, and in how much memory",
        "",
        (Case("entities", "entities"), Case("facts", "facts"), Case("vectors", "vectors of 384 numbers")),
        (
            Figure("count", "how many"),
            Figure("seconds", "s to write"),
            Figure("mb", "MB in use"),
            Figure("bytes", "bytes each"),
            Figure("worst_ms", "slowest ping ms"),
        ),
    ),
    Table(
        "search",
        "questions to the large graph, one after the other",
        "question",
        (
            Case("search-name", "search: a name"),
            Case("search-word", "search: one word"),
            Case("search-sentence", "search: eight words"),
            Case("search-vector", "search: eight words and a vector"),
            Case("search-busy", "the same, while batches are applied"),
            Case("near", "neighbourhood"),
            Case("near-hub", "neighbourhood, of the most connected"),
            Case("near-two", "neighbourhood, two steps"),
        ),
        (
            Figure("p50_ms", "p50 ms"),
            Figure("p95_ms", "p95 ms"),
            Figure("most_ms", "most ms"),
            Figure("found", "found"),
        ),
    ),
    Table(
        "engine",
        "the extraction engine on batches of forty messages, beside a reader that answers at once",
        "into",
        (Case("engine-small", "an empty graph"), Case("engine-large", "the large graph")),
        (
            Figure("batch_ms", "ms a batch"),
            Figure("redis_ms", "Redis ms"),
            Figure("known_ms", "names looked up ms"),
            Figure("apply_ms", "applied ms"),
            Figure("text_ms", "prompt and answer ms"),
            Figure("rest_ms", "rest ms"),
            Figure("server_ms", "graph's CPU ms"),
            Figure("worst_ms", "slowest ping ms"),
            Figure("per_s", "messages/s"),
        ),
    ),
)  # fmt: skip

PARTS: dict[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "channels": ("channels", "trimmed"),
    "apply": ("apply",),
    "engine": ("engine",),
    "facts": ("facts", "kept", "search", "engine"),
}
"""By what it is called on the command line: the tables that it fills."""

LAST = {
    "messages": "messages",
    "channels": "trimmed",
    "apply": "apply-nodes",
    "engine": "engine-small",
    "facts": "engine-large",
}
"""The case of each part that is measured last: with it, the part is done."""


def table_of(key: str) -> Table:
    """The table of that name."""
    return next(table for table in TABLES if table.key == key)
