"""The scripts of the Redis store about the runs that were."""

from __future__ import annotations

from bgtasks.stores.tasks.redis_lua import CLOCK, RUNS

__all__ = ["PRUNE", "RUN", "RUNS_PAGE", "SKIP"]

# ARGV: run
RUN = CLOCK + "return run_row(ARGV[1])"

# ARGV: job or '', type or none, `created_at` and id of the one before, or '', how many at most, how many to
# look at, statuses. Gives runs, and the last that was looked at if there may be more.
RUNS_PAGE = (
    CLOCK
    + """
local index, job_type, created, before, limit = prefix .. 'runs', ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if ARGV[1] ~= '' then index = key('runs-of', ARGV[1]) end
local statuses = {}
for i = 7, #ARGV do statuses[ARGV[i]] = true end

-- By their bytes, as Redis has them in order: '<' would go by the server's locale.
local function is_less(a, b)
  for i = 1, math.min(#a, #b) do
    local one, other = string.byte(a, i), string.byte(b, i)
    if one ~= other then return one < other end
  end
  return #a < #b
end

local function matches(run)
  if job_type == '' and #ARGV < 7 then return true end
  local f = call('HMGET', key('run', run), 'status', 'job_type')
  return (#ARGV < 7 or statuses[f[1]]) and (job_type == '' or f[2] == string.sub(job_type, 2))
end

local begin = 0
if created ~= '' then
  begin = call('ZCOUNT', index, '(' .. created, '+inf')
  for _, run in ipairs(call('ZREVRANGEBYSCORE', index, created, created)) do
    if is_less(run, before) then break end
    begin = begin + 1
  end
end
local rows, looked = {}, call('ZREVRANGE', index, begin, begin + ARGV[6] - 1)
for _, run in ipairs(looked) do
  if matches(run) then rows[#rows + 1] = run_row(run) end
  if #rows == limit then return {rows, '', ''} end
end
local last = looked[tonumber(ARGV[6])]
if not last then return {rows, '', ''} end
return {rows, call('HGET', key('run', last), 'created_at'), last}
"""
)

# ARGV: run, job, `created_at`, `finished_at` or else that, its fields
SKIP = (
    CLOCK
    + RUNS
    + """
if call('EXISTS', key('run', ARGV[1])) == 1 then return 0 end
call('HSET', key('run', ARGV[1]), unpack(ARGV, 5))
call('ZADD', prefix .. 'runs', ARGV[3], ARGV[1])
call('ZADD', key('runs-of', ARGV[2]), ARGV[3], ARGV[1])
close(ARGV[1], ARGV[2], ARGV[4])
return 1
"""
)

# ARGV: the instant before which they go, how many of each job stay, how many to forget at most. What is
# too many goes first: age would change the count.
PRUNE = (
    CLOCK
    + RUNS
    + """
local kept, keep, most, pruned = prefix .. 'kept', tonumber(ARGV[2]), tonumber(ARGV[3]), 0

local function thin(job)
  local surplus, place = tonumber(call('ZSCORE', kept, job)) - keep, 0
  while surplus > 0 and pruned < most do
    local run = call('ZRANGE', key('runs-of', job), place, place)[1]
    if not run then return end
    if call('ZSCORE', prefix .. 'over', run) then
      drop(run)
      surplus, pruned = surplus - 1, pruned + 1
    else
      place = place + 1
    end
  end
end

for _, job in ipairs(call('ZREVRANGEBYSCORE', kept, '+inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3])) do
  thin(job)
  if pruned == most then return pruned end
end
for _, run in ipairs(call('ZRANGEBYSCORE', prefix .. 'over', '-inf', '(' .. ARGV[1],
    'LIMIT', 0, whole(most - pruned))) do
  drop(run)
  pruned = pruned + 1
end
return pruned
"""
)
