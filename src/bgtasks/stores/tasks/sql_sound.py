"""What a row of `scheduled_jobs` may hold, whoever writes it: what version 2 of the tables adds to them.

One row that no node could read back, or reckon with, would stop all who can run the job: an instant beyond
the years 1 to 9999, such as PostgreSQL's `infinity`, or an interval that is none. Either database refuses
them. A job that has one already is disabled, with a reason.

Whatever is changed by hand gets another `version`: whoever has read the job before does not overwrite that.
"""

from __future__ import annotations

__all__ = ["AS_DASHED", "DASHED", "LONGEST_INTERVAL", "POSTGRESQL", "SORTED", "SQLITE"]

LONGEST_INTERVAL = 52_600_000
"""Minutes, a hundred years: nobody waits for longer, and an instant so much later can be said."""

SORTED = "????-??-?? ??:??:??.??????"
"""The form of an instant in SQLite."""

DASHED = "????????-????-????-????-????????????"
"""The form of an id in SQLite."""

_HEX = "lower(replace(new.id, '-', ''))"
AS_DASHED = " || '-' || ".join(
    f"substr({_HEX}, {begin}, {length})" for begin, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
)
"""A new id in that form."""

_INSTANTS = ("next_run_at", "last_run_at", "anchor", "retired_at")
_CHOSEN = (
    *("enabled", "reason", "trigger", "interval_minutes", "config_json", "declared"),
    *("next_run_at", "anchor", "retired_at"),
)
"""What a job is, rather than how it fares."""

_SAID = f"(interval_minutes > 0 AND interval_minutes <= {LONGEST_INTERVAL})"


def _repair(within: str) -> tuple[str, ...]:
    """Make rows what they may be."""
    return (
        f"""UPDATE scheduled_jobs SET enabled = FALSE, interval_minutes = NULL,
            reason = 'its interval_minutes was ' || interval_minutes WHERE NOT {_SAID}""",
        f"""UPDATE scheduled_jobs SET enabled = FALSE, next_run_at = NULL,
            reason = 'its next_run_at was beyond the years 1 to 9999'
            WHERE next_run_at IS NOT NULL AND ({within.format("next_run_at")}) IS NOT TRUE""",
        *(
            f"UPDATE scheduled_jobs SET {each} = NULL WHERE ({within.format(each)}) IS NOT TRUE"
            for each in _INSTANTS[1:]
        ),
    )


# -- PostgreSQL ----------------------------------------------------------------------------------

_WITHIN = "{0} >= '0001-01-01 00:00:00+00' AND {0} < '10000-01-01 00:00:00+00'"

POSTGRESQL = (
    *_repair(_WITHIN),
    *(
        f"ALTER TABLE scheduled_jobs ADD CONSTRAINT {each}_can_be_read CHECK ({_WITHIN.format(each)})"
        for each in _INSTANTS
    ),
    f"ALTER TABLE scheduled_jobs ADD CONSTRAINT interval_minutes_can_pass CHECK {_SAID}",
    """CREATE OR REPLACE FUNCTION bgtasks_job_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.version := OLD.version + 1; RETURN NEW; END $$""",
    f"""CREATE TRIGGER scheduled_jobs_changed BEFORE UPDATE ON scheduled_jobs FOR EACH ROW
        WHEN (NEW.version = OLD.version
            AND ({", ".join(f"NEW.{each}" for each in _CHOSEN)})
                IS DISTINCT FROM ({", ".join(f"OLD.{each}" for each in _CHOSEN)}))
        EXECUTE FUNCTION bgtasks_job_changed()""",
)

# -- SQLite, where a table gets no more CHECKs ----------------------------------------------------

_YEARS = "julianday({0}) >= 1721425.5"  # and none that it knows is later than the year 9999
_SOUND = " AND ".join(
    (
        *(f"(new.{each} IS NULL OR {_YEARS.format(f'new.{each}')})" for each in _INSTANTS),
        f"(new.interval_minutes IS NULL OR {_SAID.replace('interval', 'new.interval')})",
    )
)
# Of one form, and a day that there is: SQLite takes the 30th of February for one in March, Python for none.
_IS_SORTED = (
    f"(new.{{0}} IS NULL OR new.{{0}} GLOB '{SORTED.replace('?', '[0-9]')}'"
    " AND datetime(substr(new.{0}, 1, 19), '+0 days') IS substr(new.{0}, 1, 19))"
)
_UNSORTED = " OR ".join(f"NOT {_IS_SORTED.format(each)}" for each in _INSTANTS)
_SORT = ", ".join(
    f"{each} = CASE WHEN {_IS_SORTED.format(each)} THEN new.{each}"
    f" ELSE strftime('%Y-%m-%d %H:%M:%f000', new.{each}, '+0 days') END"
    for each in _INSTANTS
)

_TOLD = (
    "an instant of a job lies in the years 1 to 9999, and its interval_minutes are more than 0 and at most "
    f"{LONGEST_INTERVAL}"
)

SQLITE = (
    *_repair(_YEARS),
    *(
        f"""CREATE TRIGGER scheduled_jobs_unsound_{when} BEFORE {event} ON scheduled_jobs WHEN NOT ({_SOUND})
            BEGIN SELECT RAISE(ABORT, '{_TOLD}'); END"""
        for when, event in (
            ("added", "INSERT"),
            ("changed", f"UPDATE OF {', '.join(_INSTANTS)}, interval_minutes"),
        )
    ),
    "DROP TRIGGER scheduled_jobs_added",
    f"""CREATE TRIGGER scheduled_jobs_added AFTER INSERT ON scheduled_jobs
        WHEN new.id NOT GLOB '{DASHED}' OR new.id <> lower(new.id) OR {_UNSORTED}
        BEGIN UPDATE scheduled_jobs SET id = {AS_DASHED}, {_SORT} WHERE rowid = new.rowid; END""",
    "DROP TRIGGER scheduled_jobs_due_changed",
    f"""CREATE TRIGGER scheduled_jobs_instant_changed AFTER UPDATE OF {", ".join(_INSTANTS)} ON scheduled_jobs
        WHEN {_UNSORTED}
        BEGIN UPDATE scheduled_jobs SET {_SORT} WHERE rowid = new.rowid; END""",
    f"""CREATE TRIGGER scheduled_jobs_changed AFTER UPDATE OF {", ".join(_CHOSEN)} ON scheduled_jobs
        WHEN new.version = old.version
            AND ({" OR ".join(f"new.{each} IS NOT old.{each}" for each in _CHOSEN)})
        BEGIN UPDATE scheduled_jobs SET version = version + 1 WHERE rowid = new.rowid; END""",
)
