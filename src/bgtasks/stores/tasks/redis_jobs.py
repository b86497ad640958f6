"""The scripts of the Redis store about jobs, and what is wanted of them beside their schedule."""

from __future__ import annotations

from bgtasks.stores.tasks.redis_lua import CLOCK, JOBS, RUNS

__all__ = ["ADD", "CHANGE", "FORGET", "JOB", "OFFER", "PAGE", "REMOVE", "TYPES", "WITHDRAW"]

# ARGV: job, type, bot, key or none, enabled, due, its fields
ADD = (
    CLOCK
    + JOBS
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
enter(id, job_type, bot)
list_job(id, job_type, ARGV[5], ARGV[6])
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
list_job(id, known[2], ARGV[3], ARGV[4])
return job_row(id)
"""
)

# ARGV: job
REMOVE = (
    CLOCK
    + RUNS
    + JOBS
    + """
if not forget(ARGV[1]) then return 0 end
for _, run in ipairs(call('ZRANGE', key('wanted', ARGV[1]), 0, -1)) do
  give_up(facts(run), 'skipped', 'the job was removed')
end
cancel(ARGV[1])
return 1
"""
)

# ARGV: the instant before which the last run began, how many to pass over, how many to look at. Gives how
# many it looked at, and how many of them stay for now.
FORGET = (
    CLOCK
    + JOBS
    + """
local index, stay = prefix .. 'jobs-over', 0
local looked = call('ZRANGEBYSCORE', index, '-inf', '(' .. ARGV[1], 'LIMIT', ARGV[2], ARGV[3])
for _, job in ipairs(looked) do
  local since = over_since(job)
  if not since then  -- written by an older version, which keeps no such list
    call('ZREM', index, job)
  elseif tonumber(since) >= tonumber(ARGV[1]) then
    call('ZADD', index, since, job)
  elseif call('EXISTS', key('going', job), key('wanted', job)) > 0 then
    stay = stay + 1
  else
    forget(job)
  end
end
return {#looked, stay}
"""
)

# ARGV: job
JOB = CLOCK + "return job_row(ARGV[1])"

# ARGV: type or none, bot or none, '-' or '(' and the job after which to begin, how many at most, how many to
# look at. Gives jobs, and the last that was looked at if there may be more.
PAGE = (
    CLOCK
    + """
local index, other = prefix .. 'jobs', nil
if ARGV[1] ~= '' then index = key('jobs-of', string.sub(ARGV[1], 2)) end
if ARGV[2] ~= '' then
  local of_bot = key('jobs-for', string.sub(ARGV[2], 2))
  if ARGV[1] == '' then
    index = of_bot
  elseif call('ZCARD', of_bot) < call('ZCARD', index) then
    index, other = of_bot, index
  else
    other = of_bot
  end
end
local rows, most = {}, tonumber(ARGV[4])
local looked = call('ZRANGEBYLEX', index, ARGV[3], '+', 'LIMIT', 0, ARGV[5])
for _, job in ipairs(looked) do
  if not other or call('ZSCORE', other, job) then
    local row = job_row(job)
    if row[1] then
      rows[#rows + 1] = row
      if #rows == most then return {rows, job} end
    else  -- removed by an older version, which does not know of this list
      call('ZREM', index, job)
    end
  end
end
return {rows, looked[tonumber(ARGV[5])] or ''}
"""
)

# Gives types in order, each with how many there are
TYPES = (
    CLOCK
    + """
local found = {}
for _, job_type in ipairs(call('ZRANGE', prefix .. 'types', 0, -1)) do
  local count = call('ZCARD', key('jobs-of', job_type))
  if count > 0 then
    found[#found + 1] = job_type
    found[#found + 1] = count
  else  -- its last job was removed by an older version
    call('ZREM', prefix .. 'types', job_type)
  end
end
return found
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

# ARGV: run, why
WITHDRAW = (
    CLOCK
    + RUNS
    + """
local was = facts(ARGV[1])
if not was or was.status ~= 'pending' then return 0 end
give_up(was, 'skipped', ARGV[2])
if call('EXISTS', key('going', was.job), key('wanted', was.job)) == 0 then follow(was, false) end
return 1
"""
)
