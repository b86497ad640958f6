"""What the scripts of the Redis store share: the clock, keys, where jobs are listed, and how a run is begun,
ended and offered.

One script is one call, and may be carried out twice for it. `KEYS[1]` is the prefix of all keys; what users
wrote comes in ARGV, and an argument that may be none begins with `=` if it is not. Each script reads the
clock once. Large numbers are handed to commands as text: Lua's own has fewer digits than an instant in
microseconds.
"""

from __future__ import annotations

from bgtasks.stores.tasks.redis_rows import JOB_FIELDS, RUN_FIELDS

__all__ = ["CLOCK", "JOBS", "RUNS"]

CLOCK = f"""
local call, prefix = redis.call, KEYS[1]
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local function whole(number) return string.format('%.0f', number) end
local at = whole(now)
local function key(kind, id) return prefix .. kind .. ':' .. id end
local function job_row(job) return call('HMGET', key('job', job), {str(JOB_FIELDS)[1:-1]}) end
local function run_row(run) return call('HMGET', key('run', run), {str(RUN_FIELDS)[1:-1]}) end

-- When the last run began of a job that was added at run time and is not due again; else nil.
local function over_since(job)
  local f = call('HMGET', key('job', job), 'declared', 'trigger', 'next_run_at', 'last_run_at')
  if f[1] == '0' and f[2] and (f[3] or '') == '' and (f[4] or '') ~= '' then return f[4] end
  return nil
end

-- Lists a job where it is found when due, or over. Its hash has been written; '' is never. What has been
-- declared all the time is not listed as over.
local function list_job(job, job_type, enabled, due, declared)
  if enabled == '1' and due ~= '' then
    call('ZADD', key('due', job_type), due, job)
  else
    call('ZREM', key('due', job_type), job)
  end
  if declared == '1' then return end
  local since = due == '' and over_since(job)
  if since then
    call('ZADD', prefix .. 'jobs-over', since, job)
  else
    call('ZREM', prefix .. 'jobs-over', job)
  end
end

-- A plain interval from now; '' if it is none.
local function after(minutes)
  if not minutes then return '' end
  return whole(now + math.floor(minutes * 60000000 + 0.5))
end

local function is_alive(session)
  local expires = call('ZSCORE', prefix .. 'sessions', session)
  return expires and tonumber(expires) > now
end
"""

JOBS = """
-- The name of a key of a type and a bot, that no others have.
local function named(job_type, bot, name)
  return #job_type .. ':' .. #bot .. ':' .. job_type .. bot .. name
end

-- Lists a job where it is found by what it is.
local function enter(job, job_type, bot)
  call('ZADD', prefix .. 'jobs', '0', job)
  call('ZADD', prefix .. 'types', '0', job_type)
  call('ZADD', key('jobs-of', job_type), '0', job)
  call('ZADD', key('jobs-for', bot), '0', job)
end

-- Forgets a job; whether there was one.
local function forget(job)
  local f = call('HMGET', key('job', job), 'job_type', 'bot_id', 'key')
  if not f[1] then return false end
  call('DEL', key('job', job))
  call('ZREM', prefix .. 'jobs', job)
  call('ZREM', key('jobs-of', f[1]), job)
  call('ZREM', key('jobs-for', f[2]), job)
  call('ZREM', key('due', f[1]), job)
  call('ZREM', prefix .. 'jobs-over', job)
  if call('EXISTS', key('jobs-of', f[1])) == 0 then call('ZREM', prefix .. 'types', f[1]) end
  if f[3] then call('HDEL', prefix .. 'keys', named(f[1], f[2], f[3])) end
  return true
end
"""

RUNS = """
local function facts(run)
  local f = call('HMGET', key('run', run), 'job_id', 'job_type', 'bot_id', 'status', 'due', 'attempt',
    'attempts', 'session', 'token', 'started_at', 'unwanted')
  if not f[1] then return nil end
  return {id = run, job = f[1], type = f[2], bot = f[3], status = f[4], due = f[5], attempt = f[6],
    attempts = f[7], session = f[8], token = f[9], started = f[10], unwanted = f[11]}
end

-- How many runs of a job are over.
local function count(job, change)
  if tonumber(call('ZINCRBY', prefix .. 'kept', change, job)) <= 0 then
    call('ZREM', prefix .. 'kept', job)
  end
end

local function close(run, job, since)
  call('ZADD', prefix .. 'over', since, run)
  count(job, 1)
end

-- Takes a run out of where those stand that are not over.
local function unlist(was)
  if was.status == 'running' then
    call('ZREM', key('going', was.job), was.id)
    call('ZREM', key('session-runs', was.session), was.id)
  elseif was.status == 'pending' then
    call('ZREM', key('offers', was.type), was.id)
    call('ZREM', key('wanted', was.job), was.id)
  end
end

-- Forgets a run, if there is one.
local function drop(run)
  local was = facts(run)
  call('ZREM', prefix .. 'runs', run)
  local over = call('ZREM', prefix .. 'over', run)
  if not was then return end
  unlist(was)
  if over == 1 then count(was.job, '-1') end
  call('ZREM', key('runs-of', was.job), run)
  call('DEL', key('run', run))
end

local function write(run, of, status, due, attempt, attempts, ...)
  call('HSET', key('run', run), 'id', run, 'job_id', of.job, 'job_type', of.type, 'bot_id', of.bot,
    'status', status, 'due', due, 'attempt', attempt, 'attempts', attempts, 'created_at', at, ...)
  call('ZADD', prefix .. 'runs', at, run)
  call('ZADD', key('runs-of', of.job), at, run)
end

local function skip(run, of, due, why)
  write(run, of, 'skipped', due, '1', '3', 'finished_at', at, 'error_message', why)
  close(run, of.job, at)
end

local function want(run, of, due, attempt, attempts)
  write(run, of, 'pending', due, attempt, attempts)
  local order = whole(call('INCR', prefix .. 'order'))
  call('ZADD', key('offers', of.type), order, run)
  call('ZADD', key('wanted', of.job), order, run)
end

-- One that was claimed ahead may be given back before its instant.
local function finish(was, status, took, ...)
  if was.started and tonumber(was.started) > now then call('HSET', key('run', was.id), 'started_at', at) end
  call('HSET', key('run', was.id), 'status', status, 'finished_at', at, 'duration_ms', took, ...)
  unlist(was)
  close(was.id, was.job, at)
end

-- Ends one that did not say so itself.
local function give_up(was, status, why)
  local took = ''
  if was.started then took = whole(math.max(0, math.floor((now - was.started) / 1000 + 0.5))) end
  finish(was, status, took, 'error_message', why)
end

-- Those in progress are to be cancelled; their sessions hear of it when they beat.
local function cancel(job)
  for _, run in ipairs(call('ZRANGE', key('going', job), 0, -1)) do
    call('HSET', key('run', run), 'unwanted', '1')
    local session = call('HGET', key('run', run), 'session')
    call('ZADD', key('session-runs', session), '-' .. at, run)
  end
end

-- What a run that is over leaves: another attempt, or the beginning of a plain interval. How often its job
-- failed in a row before; nil if that is gone.
local function follow(was, again)
  local job = call('HMGET', key('job', was.job), 'id', 'enabled', 'next_run_at', 'interval_minutes',
    'failures')
  if not job[1] then return nil end
  if again and was.unwanted ~= '1' and tonumber(was.attempt) < tonumber(was.attempts) then
    local attempt = whole(was.attempt + 1)
    local base = string.sub(was.id, 1, (string.find(was.id, '~', 1, true) or 0) - 1)
    local run = base .. '~' .. attempt
    drop(run)
    want(run, was, was.due, attempt, was.attempts)
  elseif job[4] and (job[3] or '') == '' then
    local due = after(job[4])
    call('HSET', key('job', was.job), 'next_run_at', due)
    call('HINCRBY', key('job', was.job), 'version', 1)
    list_job(was.job, was.type, job[2], due)
  end
  return job[5] or '0'
end
"""
