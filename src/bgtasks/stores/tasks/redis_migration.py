"""How the keys of the Redis store come to the version of this code.

Version 2 adds to version 1, and changes no key that was there: the names of types, a list of jobs for each
bot, a list of jobs that are over, when a session joined, commands. What is there is entered in these lists
500 jobs a script. The key `migration` says how far that is, so that whoever opens the store goes on where
another is, or was when it died; entering a job twice changes nothing. A store is not used by this code before
all are entered.

From the first script on processes of version 1 cannot open the store any more. Those that have it open go on
to claim, run and end what is due, together with ours: all that is decided by is as it was. What they do not
know of are the new lists, and commands. A job that they remove is dropped from a list by whoever comes upon
it there, and one that they made due again is not taken for over. Jobs that they add are not listed for their
bot, and may be missing among the types; so `migration` stays, and jobs are entered once more, by `open` or
`prune`, when no session of theirs is left.
"""

from __future__ import annotations

from bgtasks.stores.tasks.redis_lua import CLOCK, JOBS

__all__ = ["MIGRATE", "OPEN"]

# ARGV: the version of this code. Gives that of the keys.
OPEN = """
local version = redis.call('GET', KEYS[1] .. 'version')
if version and version ~= '1' then return version end
if version then redis.call('SET', KEYS[1] .. 'migration', '-') end
redis.call('SET', KEYS[1] .. 'version', ARGV[1])
return ARGV[1]
"""

# ARGV: how many jobs to enter. Gives 1 while there is more to do.
MIGRATE = (
    CLOCK
    + JOBS
    + """
local place = call('GET', prefix .. 'migration')
if not place then return 0 end
local joined, others = call('ZRANGE', prefix .. 'joined', 0, -1), false
for _, session in ipairs(joined) do
  if call('HEXISTS', key('session', session), 'version') == 0 then others = true end
end
if place == 'once more' then
  if others then return 0 end
  place = '-'
end

local some = call('ZRANGEBYLEX', prefix .. 'jobs', place, '+', 'LIMIT', 0, ARGV[1])
for _, job in ipairs(some) do
  local f = call('HMGET', key('job', job), 'job_type', 'bot_id', 'enabled', 'next_run_at')
  if f[1] then
    enter(job, f[1], f[2])
    list_job(job, f[1], f[3], f[4] or '')
  end
end
if #some == tonumber(ARGV[1]) then
  call('SET', prefix .. 'migration', '(' .. some[#some])
  return 1
end

for _, session in ipairs(joined) do call('HSETNX', key('session', session), 'joined_at', at) end
if others then
  call('SET', prefix .. 'migration', 'once more')
else
  call('DEL', prefix .. 'migration')
end
return 0
"""
)
