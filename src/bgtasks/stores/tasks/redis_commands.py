"""The scripts of the Redis store about commands, and what a session hears of them when it beats."""

from __future__ import annotations

from bgtasks.records import EVERY_NODE
from bgtasks.stores.tasks.redis_lua import CLOCK
from bgtasks.stores.tasks.redis_rows import COMMAND_FIELDS

__all__ = ["ANSWER", "COMMAND", "FORGET", "ONE", "PAGE", "TOLD"]

_ROW = f"""
local function command_row(command)
  local row = call('HMGET', key('command', command), {str(COMMAND_FIELDS)[1:-1]})
  row[#row + 1] = call('LRANGE', key('answers', command), 0, -1)
  return row
end
"""

TOLD = (
    _ROW
    + f"""
-- Commands to a session's node, sent since it joined, that it has not answered. Both are counted, not timed:
-- a clock may be set back.
local function told(session)
  local live = call('ZRANGEBYSCORE', prefix .. 'commands-until', '(' .. at, '+inf')
  if #live == 0 then return {{}} end
  local node = call('HGET', key('session', session), 'node_id')
  local joined = tonumber(call('ZSCORE', prefix .. 'joined', session))
  local found, rows = {{}}, {{}}
  for _, command in ipairs(live) do
    local sent = tonumber(call('ZSCORE', prefix .. 'commands', command))
    local f = call('HMGET', key('command', command), 'node_id', 'answered:' .. session)
    if sent > joined and (f[1] == '{EVERY_NODE}' or f[1] == node) and not f[2] then
      found[#found + 1] = {{sent, command}}
    end
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  for i, each in ipairs(found) do rows[i] = command_row(each[2]) end
  return rows
end
"""
)

# ARGV: command, its life in us, its fields
COMMAND = (
    CLOCK
    + _ROW
    + """
local command = ARGV[1]
if call('EXISTS', key('command', command)) == 0 then
  local expires = whole(now + ARGV[2])
  call('HSET', key('command', command), 'created_at', at, 'expires_at', expires, unpack(ARGV, 3))
  call('ZADD', prefix .. 'commands', whole(call('INCR', prefix .. 'order')), command)
  call('ZADD', prefix .. 'commands-until', expires, command)
end
return command_row(command)
"""
)

# ARGV: session, command, whether it was done, text
ANSWER = (
    CLOCK
    + """
local session, command = ARGV[1], ARGV[2]
if not is_alive(session) or call('EXISTS', key('command', command)) == 0 then return 0 end
if call('HSETNX', key('command', command), 'answered:' .. session, '1') == 0 then return 0 end
local node = call('HGET', key('session', session), 'node_id')
call('RPUSH', key('answers', command), session, node, at, ARGV[3], ARGV[4])
return 1
"""
)

# ARGV: command
ONE = (
    CLOCK
    + _ROW
    + """
if call('EXISTS', key('command', ARGV[1])) == 0 then return {} end
return {command_row(ARGV[1])}
"""
)

# ARGV: '+inf' or '(' and the place before which to begin, how many at most. Gives commands, and the place of
# the last.
PAGE = (
    CLOCK
    + _ROW
    + """
local rows, last = {}, ''
local found = call('ZREVRANGEBYSCORE', prefix .. 'commands', ARGV[1], '-inf', 'WITHSCORES',
  'LIMIT', 0, ARGV[2])
for i = 1, #found, 2 do
  rows[#rows + 1] = command_row(found[i])
  last = found[i + 1]
end
return {rows, last}
"""
)

# ARGV: the instant before which they expired, how many to forget at most
FORGET = (
    CLOCK
    + """
local found = call('ZRANGEBYSCORE', prefix .. 'commands-until', '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, command in ipairs(found) do
  call('DEL', key('command', command), key('answers', command))
  call('ZREM', prefix .. 'commands', command)
  call('ZREM', prefix .. 'commands-until', command)
end
return #found
"""
)
