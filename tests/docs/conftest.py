"""The databases that the recipes for operators are tried in."""

from tests.support.sql_databases import database, postgresql, sqlite
from tests.support.task_stores import postgresql_url

__all__ = ["database", "postgresql", "postgresql_url", "sqlite"]
