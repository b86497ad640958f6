"""The scripts of the Redis store by which runs are claimed and come to their end."""

from __future__ import annotations

from bgtasks.stores.tasks.redis_lua import CLOCK, RUNS

__all__ = ["ACCEPT", "CLAIM", "FINISH"]

_START = """
local session = ARGV[1]
local alive = is_alive(session)
local node = alive and call('HGET', key('session', session), 'node_id')

local function refused(why, job, due, run) return {why, job, due, run or ''} end

local function claimed(run, job, due, attempt, token)
  return {'claimed', run, job.job, due, attempt, token, job.config or '{}'}
end

-- Token, version, beginning and next due instant of a job whose run starts; a plain interval is due after
-- its end.
local function starts(job, due, began)
  local token = whole(math.max((tonumber(job.token) or 0) + 1, now))
  if job.minutes then due = '' end
  call('HSET', key('job', job.job), 'token', token, 'last_run_at', began, 'next_run_at', due,
    'version', job.version)
  list_job(job.job, job.type, job.enabled, due, job.declared)
  return token
end

local function next_version(version) return whole((tonumber(version) or 0) + 1) end

local order = now

local function goes(run, job)
  call('ZADD', key('going', job), at, run)
  call('ZADD', key('session-runs', session), whole(order), run)
  order = order + 1
end
"""

# ARGV: session, and in JSON for each job, due, following, run, instant it is for, what was missed, overlap,
# attempts, whether it is patient
CLAIM = (
    CLOCK
    + RUNS
    + _START
    + """
-- Why a run that comes upon another is skipped; nil if it is wanted, for when that one is over.
local function objection(job, overlap)
  local others = call('ZRANGE', key('wanted', job), 0, -1)
  if overlap == 'cancel' then
    for _, other in ipairs(others) do give_up(facts(other), 'skipped', 'overtaken by a later one') end
    cancel(job)
    return nil
  end
  if #others > 0 then return 'the previous run is still going, and one is queued already' end
  return overlap == 'skip' and 'the previous run is still going' or nil
end

local function claim(id, due, following, run, runs_for, missed, overlap, attempts, patient)
  local f = call('HMGET', key('job', id), 'job_type', 'bot_id', 'enabled', 'next_run_at', 'interval_minutes',
    'token', 'version', 'declared', 'config_json')
  if not f[1] then return refused('gone', id, '') end
  local job = {job = id, type = f[1], bot = f[2], enabled = f[3], minutes = f[5], token = f[6],
    version = next_version(f[7]), declared = f[8], config = f[9]}
  local known = call('HMGET', key('run', run), 'session', 'job_id', 'due', 'attempt', 'token', 'status')
  if known[1] == session and known[6] == 'running' then
    return claimed(run, job, known[3], known[4], known[5])
  end
  local seen = f[4] or ''
  if not alive then return refused('no session', id, seen) end
  if job.enabled ~= '1' then return refused('disabled', id, seen) end
  if seen ~= due then return refused('taken', id, seen) end

  local going = call('EXISTS', key('going', id)) == 1
  if going and patient == '1' then return refused('busy', id, seen) end

  if job.minutes then following = after(job.minutes) end
  if missed ~= '' then
    drop(run .. ':missed')
    skip(run .. ':missed', job, due, missed)
  end
  local busy = going and runs_for ~= '' and overlap ~= 'allow'
  if runs_for == '' or busy then
    call('HSET', key('job', id), 'next_run_at', following, 'version', job.version)
    list_job(id, job.type, '1', following, job.declared)
    if not busy then return refused('missed', id, following) end
    local why = objection(id, overlap)
    if known[2] then drop(run) end
    if why then
      skip(run, job, runs_for, why)
      return refused('busy', id, following, run)
    end
    want(run, job, runs_for, '1', attempts)
    return refused('queued', id, following, run)
  end

  if known[2] then drop(run) end
  local began = tonumber(runs_for) > now and runs_for or at
  local token = starts(job, following, began)
  write(run, job, 'running', runs_for, '1', attempts,
    'session', session, 'node_id', node, 'token', token, 'started_at', began)
  goes(run, id)
  return claimed(run, job, runs_for, '1', token)
end

local answers = {}
for i, each in ipairs(cjson.decode(ARGV[2])) do answers[i] = claim(unpack(each)) end
return answers
"""
)

# ARGV: session, and in JSON for each run, whether it may run beside another
ACCEPT = (
    CLOCK
    + RUNS
    + _START
    + """
local function accept(run, beside)
  local was = facts(run)
  if not was then return refused('gone', '', '') end
  local f = call('HMGET', key('job', was.job), 'id', 'enabled', 'next_run_at', 'interval_minutes', 'token',
    'version', 'declared', 'config_json')
  if not f[1] then return refused('gone', was.job, '') end
  local job = {job = was.job, type = was.type, enabled = f[2], minutes = f[4], token = f[5],
    version = f[6] or '0', declared = f[7], config = f[8]}
  if was.session == session and was.status == 'running' then
    return claimed(run, job, was.due, was.attempt, was.token)
  end
  local due = f[3] or ''
  if not alive then return refused('no session', was.job, due) end
  if was.status ~= 'pending' then return refused('taken', was.job, due) end
  if beside ~= '1' and call('EXISTS', key('going', was.job)) == 1 then
    return refused('busy', was.job, due)
  end
  if job.minutes then job.version = next_version(job.version) end
  local token = starts(job, due, at)
  unlist(was)
  call('HSET', key('run', run), 'status', 'running', 'session', session, 'node_id', node, 'token', token,
    'started_at', at)
  goes(run, was.job)
  return claimed(run, job, was.due, was.attempt, token)
end

local answers = {}
for i, each in ipairs(cjson.decode(ARGV[2])) do answers[i] = accept(unpack(each)) end
return answers
"""
)

# ARGV: in JSON for each run, its token, status, duration in ms, whether again, result or none, error or none
FINISH = (
    CLOCK
    + RUNS
    + """
local failures = {success = 0, skipped = 0, failed = 1, timed_out = 1}

local function ended(run, token, status, took, again, result, why)
  local was = facts(run)
  if not was or (was.token or '0') ~= token then return 0 end
  if was.status ~= 'running' then return was.status == status and 1 or 0 end
  local more = {}
  if result ~= '' then more = {'result_json', string.sub(result, 2)} end
  if why ~= '' then
    more[#more + 1] = 'error_message'
    more[#more + 1] = string.sub(why, 2)
  end
  finish(was, status, took, unpack(more))
  local known = follow(was, again == '1')
  local failed = failures[status]
  if known and failed == 1 then
    call('HSET', key('job', was.job), 'failures', whole(known + 1))
  elseif known and failed == 0 and known ~= '0' and again ~= '1' then
    call('HSET', key('job', was.job), 'failures', '0')
  end
  return 1
end

local answers = {}
for i, each in ipairs(cjson.decode(ARGV[1])) do answers[i] = ended(unpack(each)) end
return answers
"""
)
