"""The scripts of the Redis store about jobs, and what is wanted of them beside their schedule."""

from __future__ import annotations

from bgtasks.stores.tasks.redis_lua import CLOCK, RUNS

__all__ = ["ADD", "CHANGE", "JOB", "JOBS", "OFFER", "REMOVE"]

_NAMED = """
-- The name of a key of a type and a bot, that no others have.
local function named(job_type, bot, name)
  return #job_type .. ':' .. #bot .. ':' .. job_type .. bot .. name
end
"""

# ARGV: job, type, bot, key or none, enabled, due, its fields
ADD = (
    CLOCK
    + _NAMED
    + """
local id, job_type, bot, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if call('EXISTS', key('job', id)) == 1 then return job_row(id) end
if name ~= '' then
  local place = named(job_type, bot, string.sub(name, 2))
  local known = call('HGET', prefix .. 'keys', place)
  if known then return job_row(known) end
  call('HSET', prefix .. 'keys', place, id)
end
call('HSET', key('job', id), unpack(ARGV, 7))
call('ZADD', prefix .. 'jobs', '0', id)
call('ZADD', key('jobs-of', job_type), '0', id)
list_due(id, job_type, ARGV[5], ARGV[6])
return job_row(id)
"""
)

# ARGV: job, the version that was read, enabled, due, the fields that are changed
CHANGE = (
    CLOCK
    + """
local id = ARGV[1]
local known = call('HMGET', key('job', id), 'version', 'job_type')
if known[1] ~= ARGV[2] then return false end
call('HDEL', key('job', id), 'trigger', 'interval_minutes', 'anchor', 'next_run_at', 'retired_at')
call('HSET', key('job', id), 'version', whole(known[1] + 1), unpack(ARGV, 5))
list_due(id, known[2], ARGV[3], ARGV[4])
return job_row(id)
"""
)

# ARGV: job
REMOVE = (
    CLOCK
    + RUNS
    + _NAMED
    + """
local id = ARGV[1]
local f = call('HMGET', key('job', id), 'job_type', 'bot_id', 'key')
if not f[1] then return 0 end
call('DEL', key('job', id))
call('ZREM', prefix .. 'jobs', id)
call('ZREM', key('jobs-of', f[1]), id)
call('ZREM', key('due', f[1]), id)
if f[3] then call('HDEL', prefix .. 'keys', named(f[1], f[2], f[3])) end
for _, run in ipairs(call('ZRANGE', key('wanted', id), 0, -1)) do
  give_up(facts(run), 'skipped', 'the job was removed')
end
cancel(id)
return 1
"""
)

# ARGV: job
JOB = CLOCK + "return job_row(ARGV[1])"

# ARGV: type or none, '-' or '(' and the job after which to begin, how many at most
JOBS = (
    CLOCK
    + """
local index, rows = prefix .. 'jobs', {}
if ARGV[1] ~= '' then index = key('jobs-of', string.sub(ARGV[1], 2)) end
for i, job in ipairs(call('ZRANGEBYLEX', index, ARGV[2], '+', 'LIMIT', 0, ARGV[3])) do
  rows[i] = job_row(job)
end
return rows
"""
)

# ARGV: run, job, due, attempt, attempts
OFFER = (
    CLOCK
    + RUNS
    + """
local f = call('HMGET', key('job', ARGV[2]), 'job_type', 'bot_id')
if not f[1] then return 0 end
if call('EXISTS', key('run', ARGV[1])) == 0 then
  want(ARGV[1], {job = ARGV[2], type = f[1], bot = f[2]}, ARGV[3], ARGV[4], ARGV[5])
end
return 1
"""
)
