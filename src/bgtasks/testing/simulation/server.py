"""A model of the Redis that keeps a lease: it runs the shipped Lua scripts against a dict.

It has the commands those scripts use and no others, a wall clock that can be set, a run id, a cache of
scripts, and the states in which a server refuses to serve or to write. It needs `lupa`, which comes with the
extra `testing`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import import_module
from typing import Any

from redis import exceptions as redis_errors

from bgtasks.errors import MissingExtra

__all__ = ["SimulatedRedis"]

type Value = str | dict[str, str]

EPOCH_S = 1_767_225_600.0
"""The wall time at which simulations begin, as seconds since 1970."""


class SimulatedRedis:
    """One server.

    Args:
        time: The true time in seconds.
        run_id: What `INFO server` says of this run of it.
        rate: How many seconds its clock counts in a true one.
        offset: Seconds by which its wall clock is off.

    Attributes:
        values: What it keeps.
        expires: When keys expire, in milliseconds of its wall clock.
        refuses: The error that every command gets; None while it serves.
        refusals: Why commands that write are refused, each cause with its error; the first counts.
        tells_info: Whether its users may call `INFO`.
        published: Called with channel and message.
        written: Called after each script that changed something, with the keys it was given.
    """

    def __init__(
        self, time: Callable[[], float], run_id: str, *, rate: float = 1.0, offset: float = 0.0
    ) -> None:
        self.run_id = run_id
        self.values: dict[str, Value] = {}
        self.expires: dict[str, int] = {}
        self.refuses: redis_errors.RedisError | None = None
        self.refusals: dict[str, str] = {}
        self.tells_info = True
        self.published: Callable[[str, str], object] | None = None
        self._time = time
        self._rate = rate
        self._offset = EPOCH_S + offset
        self._scripts: set[str] = set()
        self._commands: dict[str, Callable[..., Any]] = {
            "GET": self._get, "SET": self._set, "DEL": self._del, "PEXPIRE": self._pexpire,
            "PTTL": self._pttl, "HSET": self._hset, "HGET": self._hget, "HMGET": self._hmget,
            "INCR": self._incr, "PUBLISH": self._publish, "TIME": self._now, "INFO": self._info,
        }  # fmt: skip

    # -- what a client may ask ---------------------------------------------------------------------

    def script_load(self, body: str) -> str:
        """As the command."""
        sha = hashlib.sha1(body.encode()).hexdigest()
        _compiled(sha, body)
        self._scripts.add(sha)
        return sha

    def evalsha(self, sha: str, count: int, *arguments: str) -> Any:
        """As the command.

        Raises:
            NoScriptError: The script is not in the cache.
            RedisError: As the server would answer.
        """
        if self.refuses is not None:
            raise self.refuses
        if sha not in self._scripts:
            raise redis_errors.NoScriptError("No matching script. Please use EVAL.")
        engine = _engine()
        for key in [key for key, when in self.expires.items() if when < self._ms()]:
            self._drop(key)
        return engine.run(sha, self._call, arguments[:count], arguments[count:])

    # -- what may happen to it ---------------------------------------------------------------------

    @property
    def wall(self) -> float:
        """Its wall clock, as seconds since 1970."""
        return self._offset + self._time() * self._rate

    def step(self, seconds: float) -> None:
        """Set its wall clock."""
        self._offset += seconds

    def flush_scripts(self) -> None:
        """`SCRIPT FLUSH`."""
        self._scripts.clear()

    def flush(self) -> None:
        """`FLUSHALL`."""
        self.values.clear()
        self.expires.clear()

    def evict(self, key: str) -> None:
        """Drop a key as `maxmemory` does."""
        self._drop(key)

    def restart(self, run_id: str, data: Data | None) -> None:
        """Begin anew, with what was saved, or with nothing."""
        self.run_id = run_id
        self.flush_scripts()
        self.flush()
        if data is not None:
            self.load(data)

    def save(self) -> Data:
        """What it keeps, as a snapshot or a replica has it."""
        values = {
            key: dict(value) if isinstance(value, dict) else value for key, value in self.values.items()
        }
        return values, dict(self.expires)

    def load(self, data: Data) -> None:
        """Keep that, and nothing else."""
        values, expires = data
        self.values = {
            key: dict(value) if isinstance(value, dict) else value for key, value in values.items()
        }
        self.expires = dict(expires)

    # -- commands ----------------------------------------------------------------------------------

    def _call(self, name: str, *arguments: Any) -> Any:
        if self.refusals and name in _WRITES:
            raise _Refused(next(iter(self.refusals.values())))
        return self._commands[name](*map(_text, arguments))

    def _ms(self) -> int:
        return int(self.wall * 1000)

    def _drop(self, key: str) -> int:
        self.expires.pop(key, None)
        return 0 if self.values.pop(key, None) is None else 1

    def _get(self, key: str) -> Any:
        return self.values.get(key, False)

    def _set(self, key: str, value: str, px: str = "", ms: str = "") -> Any:
        self.values[key] = value
        self.expires.pop(key, None)
        if px:
            self.expires[key] = self._ms() + int(ms)
        return _engine().ok

    def _del(self, key: str) -> int:
        return self._drop(key)

    def _pexpire(self, key: str, ms: str) -> int:
        if key not in self.values:
            return 0
        self.expires[key] = self._ms() + int(ms)
        return 1

    def _pttl(self, key: str) -> int:
        if key not in self.values:
            return -2
        return self.expires[key] - self._ms() if key in self.expires else -1

    def _hash(self, key: str) -> dict[str, str]:
        found = self.values.get(key, {})
        assert isinstance(found, dict)
        return found

    def _hset(self, key: str, *pairs: str) -> int:
        found = self.values.setdefault(key, {})
        assert isinstance(found, dict)
        before = len(found)
        found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(found) - before

    def _hget(self, key: str, name: str) -> Any:
        return self._hash(key).get(name, False)

    def _hmget(self, key: str, *names: str) -> Any:
        found = self._hash(key)
        return _engine().table([found.get(name, False) for name in names])

    def _incr(self, key: str) -> int:
        value = int(str(self.values.get(key, "0"))) + 1
        self.values[key] = str(value)
        return value

    def _publish(self, channel: str, message: str) -> int:
        if self.published is not None:
            self.published(channel, message)
        return 0

    def _now(self) -> Any:
        us = int(self.wall * 1_000_000)
        return _engine().table((str(us // 1_000_000), str(us % 1_000_000)))

    def _info(self, _section: str) -> str:
        if not self.tells_info:
            raise _Refused("NOPERM this user has no permissions to run the 'info' command")
        return f"# Server\r\nredis_version:7.0.15\r\nrun_id:{self.run_id}\r\n"


type Data = tuple[dict[str, Value], dict[str, int]]

_WRITES = {"SET", "DEL", "PEXPIRE", "HSET", "INCR"}


class _Refused(Exception):
    """An error that a command answers within a script."""


class _Engine:
    """Lua with `redis.call` and `redis.pcall`; one for all servers, since only one runs at a time."""

    def __init__(self) -> None:
        try:
            LuaRuntime: Any = import_module("lupa.lua51").LuaRuntime  # noqa: N806
        except ImportError as error:
            raise MissingExtra("SimulatedRedis", "testing") from error
        self._lua = LuaRuntime(encoding="utf-8", register_eval=False)
        self.table: Callable[[Any], Any] = self._lua.table_from
        self.ok = self._lua.table_from({"ok": "OK"})
        self.scripts: dict[str, Any] = {}
        self._call: Callable[..., Any] | None = None
        self._error: str | None = None
        prepare: Any = self._lua.execute(_PRELUDE)
        self._run = prepare(self._perform)

    def compile(self, sha: str, body: str) -> None:
        if sha not in self.scripts:
            self.scripts[sha] = self._lua.execute(f"return function(KEYS, ARGV)\n{body}\nend")

    def run(self, sha: str, call: Callable[..., Any], keys: Any, arguments: Any) -> Any:
        self._call = call
        done, answer = self._run(
            self.scripts[sha],
            self.table([str(key) for key in keys]),
            self.table([_text(a) for a in arguments]),
        )
        if not done:
            raise _as_client(str(answer))
        return _reply(answer)

    def _perform(self, name: str, *arguments: Any) -> Any:
        assert self._call is not None
        try:
            return self._call(name, *arguments)
        except _Refused as refused:
            return self._lua.table_from({"err": str(refused)})


_PRELUDE = """
return function(perform)
  redis = {}
  function redis.pcall(...) return perform(...) end
  function redis.call(...)
    local answer = perform(...)
    if type(answer) == 'table' and answer.err then error(answer.err, 0) end
    return answer
  end
  return function(script, keys, arguments) return pcall(script, keys, arguments) end
end
"""

_made: list[_Engine] = []


def _engine() -> _Engine:
    if not _made:
        _made.append(_Engine())
    return _made[0]


def _compiled(sha: str, body: str) -> None:
    _engine().compile(sha, body)


def _text(value: Any) -> str:
    """As Redis gets a value from Lua: a whole number without a point."""
    if isinstance(value, str):
        return value
    return f"{value:.17g}"


def _reply(value: Any) -> Any:
    """As a client that decodes gets what a script returned."""
    if value is None or value is False:
        return None
    if value is True:
        return 1
    if isinstance(value, (int, float)):
        return int(value)
    if isinstance(value, str):
        return value
    if value["ok"] is not None:
        return value["ok"]
    found = []
    for index in range(1, len(value) + 1):
        found.append(_reply(value[index]))
    return found


def _as_client(error: str) -> redis_errors.RedisError:
    """The exception that redis-py makes of an answer like this."""
    code, _, rest = error.partition(" ")
    if code == "READONLY":
        return redis_errors.ReadOnlyError(rest)
    if code == "OOM":
        return redis_errors.OutOfMemoryError(rest)
    return redis_errors.ResponseError(error)
