"""What can go wrong with a database, as our errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from bgtasks.errors import ConfigurationError, ResourceUnavailable, UnsuitableServer, redact

__all__ = ["may_be_tried_again", "told"]

_AGAIN = ("40001", "40P01")
"""What another transaction is to blame for: not serialisable, deadlock."""

_AWAY = ("08", "53", "57", "58", "55P03", "25006", "25P03", "25P04", *_AGAIN)
"""Beginnings of SQLSTATE: no connection, no resources, an operator, the system, a lock that is not had, a
standby, a transaction that took too long."""

_REFUSED = {
    "28": "the server refused the credentials; check user, password and pg_hba.conf",
    "3D": "there is no such database; make it: CREATE DATABASE …",
    "3F": "there is no schema to make tables in; give the user a search_path that has one",
    "42501": "the user may not do what is needed; grant it, or let it own the schema",
    "42P01": "a table is missing; open the store anew, which makes it",
    "42703": "a column is missing; all nodes need the same version of bgtasks",
}

_SQLITE_AWAY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
_SQLITE_REFUSED = {
    sqlite3.SQLITE_CANTOPEN: "make its directory, or name another file",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database; name another file",
    sqlite3.SQLITE_CORRUPT: "it is damaged; bring back a copy of it",
    sqlite3.SQLITE_READONLY: "it may not be written to; change its permissions, and those of its directory",
    sqlite3.SQLITE_PERM: "it may not be opened; change its permissions",
}


@contextmanager
def told(name: str, within: float, driver: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn what the block raises into our errors.

    Args:
        name: What the database is called in messages.
        within: Seconds that the block may take, for the message.
        driver: What the driver raises by itself.

    Raises:
        ResourceUnavailable: No connection, no answer in time, no lock.
        UnsuitableServer: Wrong credentials, no such database, no PostgreSQL, or a damaged file.
    """
    known: tuple[type[Exception], ...] = (exc.SQLAlchemyError, *driver)
    try:
        yield
    except (TimeoutError, exc.TimeoutError) as error:
        raise ResourceUnavailable("store", f"no answer of {name} within {within:g} s") from error
    except known as error:
        ours = _ours(name, error)
        if ours is error:
            raise
        raise ours from error
    except OSError as error:
        if "rejected SSL upgrade" in str(error):
            raise UnsuitableServer(_not_postgresql(name)) from error
        raise ResourceUnavailable("store", f"{name}: {error}") from error
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ConfigurationError(f"store: {name} has an option that the driver does not know") from None


def may_be_tried_again(error: exc.DBAPIError) -> bool:
    """Whether nothing is wrong but that another transaction, or a migration, came between."""
    code = _sqlite_code(error.orig)
    if code is not None:
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return _state(error.orig) in _AGAIN or "cached statement plan is invalid" in str(error.orig)


def _ours(name: str, error: Exception) -> Exception:
    orig = error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
    said = redact(str(orig).splitlines()[0] if str(orig) else type(orig).__name__)
    code = _sqlite_code(orig)
    if code is not None:
        return _ours_of(name, said, _SQLITE_REFUSED.get(code), code in _SQLITE_AWAY) or error
    state = _state(orig)
    cure = next((cure for begin, cure in _REFUSED.items() if state.startswith(begin)), None)
    if ours := _ours_of(name, said, cure, state.startswith(_AWAY)):
        return ours
    if not state and ("protocol" in said.lower() or "unexpected" in said.lower()):
        return UnsuitableServer(_not_postgresql(name))
    if isinstance(error, exc.SQLAlchemyError) and not isinstance(error, exc.DBAPIError):
        return error  # a mistake of ours
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if lost or not (state or isinstance(orig.__cause__, ValueError)):
        return ResourceUnavailable("store", f"{name}: {said}")
    return error


def _ours_of(name: str, said: str, cure: str | None, away: bool) -> Exception | None:
    if cure is not None:
        return UnsuitableServer(f"store: {name}: {said}: {cure}")
    return ResourceUnavailable("store", f"{name}: {said}") if away else None


def _sqlite_code(error: BaseException | None) -> int | None:
    """The primary result code, without what SQLite adds to it."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, sqlite3.DatabaseError) and "no such table" in str(error):
        return None
    return None if code is None else code & 0xFF


def _state(error: BaseException | None) -> str:
    if isinstance(error, sqlite3.DatabaseError) and "no such table" in str(error):
        return "42P01"
    return getattr(error, "sqlstate", None) or ""


def _not_postgresql(name: str) -> str:
    return f"store: something answers at the address of {name}, but it is not PostgreSQL; check host and port"
