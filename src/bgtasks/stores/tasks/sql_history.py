"""Pages of the SQL store's history, each read from an index in its order."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, literal, select, tuple_, union_all

from bgtasks.records import RunQuery
from bgtasks.stores.tasks.sql_tables import INSTANT, RUN_COLUMNS, runs

__all__ = ["page_of_runs"]


def page_of_runs(query: RunQuery) -> Select[Any]:
    """Runs as they are asked for, the latest first: rows of `RUN_COLUMNS`."""
    statuses = tuple(dict.fromkeys(query.statuses))
    if query.job_id is not None or query.job_type is not None or not statuses:
        page = _latest(select(*RUN_COLUMNS), query)
        return page.where(runs.c.status.in_(statuses)) if statuses else page
    # A page of each: no index has several of them in one order.
    pages = (_latest(select(*RUN_COLUMNS).where(runs.c.status == each), query) for each in statuses)
    found = union_all(*(select(each.subquery()) for each in pages)).subquery()
    columns = [found.c[each.name] for each in RUN_COLUMNS]
    return select(*columns).order_by(found.c.created_at.desc(), found.c.id.desc()).limit(query.limit)


def _latest(page: Select[Any], query: RunQuery) -> Select[Any]:
    order = runs.c.created_at, runs.c.id
    page = page.order_by(*(each.desc() for each in order)).limit(query.limit)
    if query.job_id is not None:
        page = page.where(runs.c.job_id == query.job_id)
    if query.job_type is not None:
        page = page.where(runs.c.job_type == query.job_type)
    if query.before is not None:
        at, run_id = query.before
        page = page.where(tuple_(*order) < tuple_(literal(at, INSTANT), literal(run_id)))
    return page
