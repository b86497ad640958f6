"""What operators ask of the Redis store by writing to it, and how the next beat does it.

They add to sets, which are nobody's data: `now`, `pause` and `resume`, each of jobs by id or of declared
tasks by name. Whoever beats next takes out up to 500 of each and does it in the same script, with the lists
kept as by any other change. What names no job is dropped, and so is a key of another kind, so that nothing
that is written there can do harm.
"""

from __future__ import annotations

from bgtasks.records import EVERY_BOT

__all__ = ["REQUESTS"]

REQUESTS = f"""
-- The jobs that a request names, some at a time, with their type, whether they are enabled, and when due.
local function requested(request)
  local kind, found = call('TYPE', prefix .. request).ok, {{}}
  if kind ~= 'set' then
    if kind ~= 'none' then call('DEL', prefix .. request) end
    return found
  end
  local members = call('SPOP', prefix .. request, '500')
  table.sort(members)
  for _, member in ipairs(members) do
    local job = string.lower(member)
    if call('EXISTS', key('job', job)) == 0 then
      job = call('HGET', prefix .. 'keys', named(member, '{EVERY_BOT}', member))
    end
    local f = job and call('HMGET', key('job', job), 'job_type', 'enabled', 'next_run_at')
    if f and f[1] then found[#found + 1] = {{id = job, type = f[1], enabled = f[2], due = f[3] or ''}} end
  end
  return found
end

local function rewrite(job, enabled, due, ...)
  call('HSET', key('job', job.id), ...)
  call('HINCRBY', key('job', job.id), 'version', 1)
  list_job(job.id, job.type, enabled, due)
end

-- One that is to be paused and resumed is paused: nobody can tell which came last.
local function do_what_is_requested()
  if call('EXISTS', prefix .. 'now', prefix .. 'pause', prefix .. 'resume') == 0 then return end
  for _, job in ipairs(requested('resume')) do
    if job.enabled ~= '1' then rewrite(job, '1', job.due, 'enabled', '1', 'reason', '') end
  end
  for _, job in ipairs(requested('pause')) do
    if job.enabled == '1' then rewrite(job, '0', job.due, 'enabled', '0', 'reason', 'by hand') end
  end
  for _, job in ipairs(requested('now')) do
    -- What is overdue stays so: its ticks are caught up with.
    if job.due == '' or tonumber(job.due) > now then
      rewrite(job, job.enabled, at, 'next_run_at', at)
    end
  end
end
"""
