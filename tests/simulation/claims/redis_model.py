"""A model of Redis that runs the shipped scripts of `RedisTaskStore`, on the clock of the simulation.

It has sorted sets and sets besides what `SimulatedRedis` has. A command that it lacks is remembered, and is
an error of the simulation.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from typing import Any, cast

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from bgtasks.stores.tasks.redis import RedisTaskStore
from bgtasks.testing.simulation import SimulatedRedis
from bgtasks.testing.simulation.server import _engine

__all__ = ["ModelRedis", "model_store"]


class SortedSet:
    """Members by score, then by name."""

    def __init__(self, pairs: Iterable[tuple[str, float]] = ()) -> None:
        self.scores = dict(pairs)
        self.order = sorted((score, member) for member, score in self.scores.items())

    def put(self, member: str, score: float) -> bool:
        """Give a member a score; whether it is new."""
        new = not self.remove(member)
        self.scores[member] = score
        insort(self.order, (score, member))
        return new

    def remove(self, member: str) -> bool:
        """Take a member out; whether it was in."""
        score = self.scores.pop(member, None)
        if score is None:
            return False
        del self.order[bisect_left(self.order, (score, member))]
        return True

    def between(self, least: str, most: str) -> list[tuple[float, str]]:
        """Those whose scores lie between, as Redis writes bounds."""
        low, without_low = _bound(least)
        high, without_high = _bound(most)
        begin = (bisect_right if without_low else bisect_left)(self.order, low, key=_score)
        end = (bisect_left if without_high else bisect_right)(self.order, high, key=_score)
        return self.order[begin:end]


class ModelRedis(SimulatedRedis):
    """One server.

    Args:
        now: Its wall clock, in seconds since 1970.

    Attributes:
        lacking: Commands that a script used and this has not.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(lambda: 0.0, "model")
        self._clock = now
        self.lacking: dict[str, None] = {}
        lua = _engine()
        lua._lua.globals().cjson = lua.table({"decode": _decode, "encode": _encode})
        for name in dir(self):
            if name.startswith("_do_"):
                self._commands[name.removeprefix("_do_").upper()] = getattr(self, name)

    @property
    def wall(self) -> float:
        """See `SimulatedRedis`."""
        return self._clock()

    def _now(self) -> Any:
        us = round(self._clock() * 1_000_000)
        return _engine().table((str(us // 1_000_000), str(us % 1_000_000)))

    def _call(self, name: str, *arguments: Any) -> Any:
        if name.upper() not in self._commands:
            self.lacking[name.upper()] = None
        return self._commands[name.upper()](*map(_text, arguments))

    # -- snapshots -------------------------------------------------------------------------------

    def kept(self) -> dict[str, Any]:
        """What it keeps, as it is written to a disk."""
        return {key: _copied(value) for key, value in cast(dict[str, Any], self.values).items()}

    def keeps(self, values: dict[str, Any]) -> None:
        """It was started again with that."""
        self.flush_scripts()
        self.values = {key: _copied(value) for key, value in values.items()}

    # -- keys, texts, hashes -----------------------------------------------------------------------

    def _do_exists(self, *keys: str) -> int:
        return sum(key in self.values for key in keys)

    def _do_del(self, *keys: str) -> int:
        return sum(self._drop(key) for key in keys)

    _do_unlink = _do_del

    def _do_incrby(self, key: str, by: str) -> int:
        value = int(str(self.values.get(key, "0"))) + int(by)
        self.values[key] = str(value)
        return value

    def _do_hdel(self, key: str, *names: str) -> int:
        found = self._hash(key)
        gone = sum(found.pop(name, None) is not None for name in names)
        return self._emptied(key, gone)

    def _do_hexists(self, key: str, name: str) -> int:
        return int(name in self._hash(key))

    def _do_hlen(self, key: str) -> int:
        return len(self._hash(key))

    def _do_hkeys(self, key: str) -> Any:
        return _engine().table(list(self._hash(key)))

    def _do_hvals(self, key: str) -> Any:
        return _engine().table(list(self._hash(key).values()))

    def _do_hgetall(self, key: str) -> Any:
        return _engine().table([each for pair in self._hash(key).items() for each in pair])

    def _do_hsetnx(self, key: str, name: str, value: str) -> int:
        return 0 if name in self._hash(key) else self._hset(key, name, value)

    def _do_hincrby(self, key: str, name: str, by: str) -> int:
        value = int(self._hash(key).get(name, "0")) + int(by)
        self._hset(key, name, str(value))
        return value

    # -- sets --------------------------------------------------------------------------------------

    def _members(self, key: str) -> dict[str, None]:
        return cast(dict[str, None], self.values.get(key, {}))

    def _do_sadd(self, key: str, *members: str) -> int:
        found = cast(dict[str, None], self.values.setdefault(key, {}))
        before = len(found)
        found.update(dict.fromkeys(members))
        return len(found) - before

    def _do_srem(self, key: str, *members: str) -> int:
        found = self._members(key)
        before = len(found)
        for member in members:
            found.pop(member, None)
        return self._emptied(key, before - len(found))

    def _do_smembers(self, key: str) -> Any:
        return _engine().table(sorted(self._members(key)))

    def _do_sismember(self, key: str, member: str) -> int:
        return int(member in self._members(key))

    def _do_scard(self, key: str) -> int:
        return len(self._members(key))

    # -- sorted sets -------------------------------------------------------------------------------

    def _sorted(self, key: str) -> SortedSet:
        return cast(dict[str, SortedSet], self.values).get(key) or SortedSet()

    def _do_zadd(self, key: str, *words: str) -> int:
        values = cast(dict[str, SortedSet], self.values)
        rest, flags = list(words), list[str]()
        while rest[0].upper() in ("NX", "XX", "GT", "LT", "CH"):
            flags.append(rest.pop(0).upper())
        found, added = values.setdefault(key, SortedSet()), 0
        for score, member in zip(rest[::2], rest[1::2], strict=True):
            known, new = found.scores.get(member), float(score)
            if ("NX" in flags and known is not None) or ("XX" in flags and known is None):
                continue
            if known is not None and (("GT" in flags and new <= known) or ("LT" in flags and new >= known)):
                continue
            added += found.put(member, new)
        return self._emptied(key, added)

    def _do_zrem(self, key: str, *members: str) -> int:
        found = self._sorted(key)
        return self._emptied(key, sum(found.remove(member) for member in members))

    def _do_zscore(self, key: str, member: str) -> Any:
        score = self._sorted(key).scores.get(member)
        return False if score is None else _number(score)

    def _do_zcard(self, key: str) -> int:
        return len(self._sorted(key).order)

    def _do_zcount(self, key: str, least: str, most: str) -> int:
        return len(self._sorted(key).between(least, most))

    def _do_zincrby(self, key: str, by: str, member: str) -> str:
        score = self._sorted(key).scores.get(member, 0.0) + float(by)
        self._do_zadd(key, str(score), member)
        return _number(score)

    def _do_zrange(self, key: str, begin: str, end: str, *options: str) -> Any:
        words = [each.upper() for each in options]
        if "BYSCORE" in words or "BYLEX" in words:
            least, most = (end, begin) if "REV" in words else (begin, end)
            found = (
                self._lex(key, least, most) if "BYLEX" in words else self._sorted(key).between(least, most)
            )
            return _listed(found[::-1] if "REV" in words else found, options)
        order = self._sorted(key).order[:: -1 if "REV" in words else 1]
        first, last = (int(each) + len(order) if int(each) < 0 else int(each) for each in (begin, end))
        return _listed(order[max(0, first) : last + 1], options)

    def _do_zrevrange(self, key: str, begin: str, end: str, *options: str) -> Any:
        return self._do_zrange(key, begin, end, "REV", *options)

    def _do_zrangebyscore(self, key: str, least: str, most: str, *options: str) -> Any:
        return _listed(self._sorted(key).between(least, most), options)

    def _do_zrevrangebyscore(self, key: str, most: str, least: str, *options: str) -> Any:
        return _listed(self._sorted(key).between(least, most)[::-1], options)

    def _do_zremrangebyscore(self, key: str, least: str, most: str) -> int:
        return self._do_zrem(key, *(member for _, member in self._sorted(key).between(least, most)))

    def _do_zrangebylex(self, key: str, least: str, most: str, *options: str) -> Any:
        return _listed(self._lex(key, least, most), options)

    def _do_zrevrangebylex(self, key: str, most: str, least: str, *options: str) -> Any:
        return _listed(self._lex(key, least, most)[::-1], options)

    def _lex(self, key: str, least: str, most: str) -> list[tuple[float, str]]:
        def within(member: str) -> bool:
            above = least == "-" or (member >= least[1:] if least[0] == "[" else member > least[1:])
            below = most == "+" or (member <= most[1:] if most[0] == "[" else member < most[1:])
            return above and below and least != "+" and most != "-"

        return [each for each in self._sorted(key).order if within(each[1])]

    def _emptied(self, key: str, answer: int) -> int:
        """Redis keeps no empty collection."""
        value: Any = self.values.get(key)
        if value is not None and not isinstance(value, str):
            empty = not value.scores if isinstance(value, SortedSet) else not value
            if empty:
                del self.values[key]
        return answer


class _Client:
    """Stands where redis-py's client does, as far as `RedisTaskStore` uses one."""

    def __init__(self, server: ModelRedis) -> None:
        self.connection_pool = self
        self._server = server

    def get_encoder(self) -> Any:
        return self

    def encode(self, value: str) -> bytes:
        return value.encode()

    def register_script(self, body: str) -> AsyncScript:
        return AsyncScript(self, body)  # type: ignore[arg-type]

    async def ping(self) -> bool:
        return True

    async def eval(self, _body: str, _count: int, *names: str) -> Any:
        return names  # which commands of these it has: `lacking` tells

    async def evalsha(self, sha: str, count: int, *arguments: Any) -> Any:
        return self._server.evalsha(sha, count, *map(_text, arguments))

    async def script_load(self, body: str | bytes) -> str:
        return self._server.script_load(_text(body))

    async def aclose(self) -> None:
        pass


def model_store(server: ModelRedis) -> RedisTaskStore:
    """The shipped store, before this server."""
    store = RedisTaskStore(Redis())
    store._client = _Client(server)
    return store


def _score(pair: tuple[float, str]) -> float:
    return pair[0]


def _bound(text: str) -> tuple[float, bool]:
    return (float(text[1:]), True) if text.startswith("(") else (float(text), False)


def _number(value: float) -> str:
    return f"{value:.17g}"


def _text(value: Any) -> str:
    """As Redis gets a value: a whole number without a point."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        raise TypeError("Lua redis lib command arguments must be strings or integers")
    return value.decode() if isinstance(value, bytes) else f"{value:.17g}"


def _listed(found: list[tuple[float, str]], options: Iterable[str]) -> Any:
    words = [each.upper() for each in options]
    if "LIMIT" in words:
        place = words.index("LIMIT")
        skip, count = int(words[place + 1]), int(words[place + 2])
        found = found[skip:] if count < 0 else found[skip : skip + count]
    if "WITHSCORES" not in words:
        return _engine().table([member for _, member in found])
    return _engine().table([each for score, member in found for each in (member, _number(score))])


def _copied(value: Any) -> Any:
    if isinstance(value, SortedSet):
        return SortedSet(value.scores.items())
    return dict(value) if isinstance(value, dict) else value


def _decode(text: str) -> Any:
    return _as_lua(json.loads(text))


def _as_lua(value: Any) -> Any:
    if isinstance(value, list):
        return _engine().table([_as_lua(each) for each in value])
    if isinstance(value, dict):
        return _engine().table({name: _as_lua(each) for name, each in value.items()})
    return value


def _encode(value: Any) -> str:
    if not hasattr(value, "items"):
        return json.dumps(value)
    pairs = dict(value.items())
    if all(isinstance(each, (int, float)) for each in pairs):
        return "[" + ",".join(_encode(pairs[each]) for each in sorted(pairs)) + "]" if pairs else "{}"
    return "{" + ",".join(f"{json.dumps(name)}:{_encode(each)}" for name, each in pairs.items()) + "}"
