"""The scripts of the Redis store about sessions, and what they hear when they beat."""

from __future__ import annotations

from bgtasks.stores.tasks.redis_commands import TOLD
from bgtasks.stores.tasks.redis_lua import CLOCK, JOBS, RUNS
from bgtasks.stores.tasks.redis_requests import REQUESTS

__all__ = ["BEAT", "DESCRIBE", "JOIN", "LEAVE", "SESSIONS"]

# ARGV: session, its life in us, the version of this code, its fields
JOIN = (
    CLOCK
    + """
call('HSET', key('session', ARGV[1]), 'version', ARGV[3], unpack(ARGV, 4))
call('HSETNX', key('session', ARGV[1]), 'joined_at', at)
call('ZADD', prefix .. 'sessions', whole(now + ARGV[2]), ARGV[1])
call('ZADD', prefix .. 'joined', 'NX', whole(call('INCR', prefix .. 'order')), ARGV[1])
return at
"""
)

# ARGV: session, its fields
DESCRIBE = (
    CLOCK
    + """
if call('ZSCORE', prefix .. 'sessions', ARGV[1]) then
  call('HSET', key('session', ARGV[1]), unpack(ARGV, 2))
end
return 1
"""
)

SESSIONS = (
    CLOCK
    + """
local rows = {}
for _, session in ipairs(call('ZRANGE', prefix .. 'joined', 0, -1)) do
  if is_alive(session) then
    local f = call('HMGET', key('session', session), 'joined_at', 'node_id', 'wired', 'known',
      'snapshot_json')
    local expires = whole(tonumber(call('ZSCORE', prefix .. 'sessions', session)))
    rows[#rows + 1] = {session, expires, f[1], f[2], f[3], f[4], f[5]}
  end
end
return rows
"""
)

_REAP = """
-- Gives up a session, and its runs, which are added to those that are lost.
local function give_up_session(session, lost)
  for _, run in ipairs(call('ZRANGE', key('session-runs', session), 0, -1)) do
    local was = facts(run)
    give_up(was, 'lost', 'its node was not heard of any more')
    follow(was, true)
    lost[#lost + 1] = run_row(run)
  end
  call('DEL', key('session-runs', session), key('session', session))
  call('ZREM', prefix .. 'sessions', session)
  call('ZREM', prefix .. 'joined', session)
end

-- Gives up those that are not alive.
local function reap()
  local lost = {}
  for _, session in ipairs(call('ZRANGEBYSCORE', prefix .. 'sessions', '-inf', at)) do
    give_up_session(session, lost)
  end
  return lost
end
"""

# ARGV: session, its life in us, the horizon in us, how many jobs and offers at most
BEAT = (
    CLOCK
    + RUNS
    + JOBS
    + REQUESTS
    + TOLD
    + _REAP
    + """
local session, limit = ARGV[1], tonumber(ARGV[4])
local alive = is_alive(session)
if alive then call('ZADD', prefix .. 'sessions', whole(now + ARGV[2]), session) end
local lost = reap()
do_what_is_requested()
if not alive then return {at, 0, {}, {}, {}, lost, {}, {}} end

local wired, seen = {}, {}
for _, each in ipairs(cjson.decode(call('HGET', key('session', session), 'wired') or '[]')) do
  if not seen[each] then
    seen[each] = true
    wired[#wired + 1] = each
  end
end

-- The first of all that is listed by type.
local function first(kind, most)
  local found, ids = {}, {}
  for _, each in ipairs(wired) do
    local part = call('ZRANGEBYSCORE', key(kind, each), '-inf', most, 'WITHSCORES', 'LIMIT', 0, ARGV[4])
    for i = 1, #part, 2 do found[#found + 1] = {part[i], tonumber(part[i + 1])} end
  end
  table.sort(found, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[1] < b[1]
  end)
  for i = 1, math.min(#found, limit) do ids[i] = found[i][1] end
  return ids
end

local due, offers = {}, {}
for _, job in ipairs(first('due', whole(now + ARGV[3]))) do
  local row = job_row(job)
  if row[1] then due[#due + 1] = row end  -- else listed by hand
end
for i, run in ipairs(first('offers', '+inf')) do
  offers[i] = call('HMGET', key('run', run), 'id', 'job_id', 'due', 'attempt', 'attempts')
end
local unwanted = call('ZREVRANGEBYSCORE', key('session-runs', session), '(0', '-inf')
local going = {}
for _, run in ipairs(call('ZRANGE', key('session-runs', session), 0, -1)) do
  going[#going + 1] = call('HGET', key('run', run), 'token')
  going[#going + 1] = run
end
return {at, 1, due, offers, unwanted, lost, told(session), going}
"""
)

# ARGV: session
LEAVE = (
    CLOCK
    + RUNS
    + _REAP
    + """
give_up_session(ARGV[1], {})
return 1
"""
)
