"""What the message cache does in one step on the server. Each script does a bounded amount of work.

They run on Redis 6.2 and later. Ids of entries are compared as numbers; the server makes them from its clock,
so they are far below what a double holds exactly.
"""

from __future__ import annotations

__all__ = ["ANEW", "GET", "INGEST", "REPORT", "TRIM"]

_LIVELY = """
local function lively(key, channel, ms)
  local known = redis.call('ZSCORE', key, channel)
  if not known or ms > tonumber(known) then redis.call('ZADD', key, string.format('%.0f', ms), channel) end
end
local function embed(key, channel, mid, origin, text)
  if key and (origin == 'human' or origin == 'agent') and string.find(text, '%S') then
    redis.call('XADD', key, '*', 'channel', channel, 'id', mid)
  end
end
"""

# The entry is written before its id is noted: a script that is refused half-way (out of memory) then
# leaves a message that can be taken again, not an id without one.
INGEST = (
    _LIVELY
    + """
local added = 0
local newest = -1
for i = 2, #ARGV, 6 do
  local mid, ts, text, origin = ARGV[i], tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 5]
  local at = redis.call('HGET', KEYS[2], mid)
  if not at then
    at = redis.call('XADD', KEYS[1], '*', 'mid', mid, 'author', ARGV[i + 1],
      'role', ARGV[i + 2], 'ts', ARGV[i + 3], 'text', text, 'origin', origin)
    redis.call('HSET', KEYS[2], mid, at)
    embed(KEYS[4], ARGV[1], mid, origin, text)
    added = added + 1
  end
  local came = tonumber(string.match(at, '^%d+'))
  if came then newest = math.max(newest, math.min(ts, came)) end
end
if newest >= 0 then lively(KEYS[3], ARGV[1], newest) end
return {added, redis.call('XLEN', KEYS[1]), KEYS[4] and redis.call('XLEN', KEYS[4]) or 0}
"""
)
"""Append the messages that are new: how many were, and how long the log and the embedding queue are now.

The last activity of a channel is never later than when it came: a message may say any time of itself.

KEYS: log, mid, active and, if there is one, the embedding queue. ARGV: channel, then six of each message.
"""

ANEW = (
    _LIVELY
    + """
local op = ARGV[3]
local at = redis.call('HGET', KEYS[2], ARGV[2])
if not at then return {0, 0, 0} end
if at == 'del' then return {op == 'del' and 1 or 0, 0, 0} end
if op == 'again' and at ~= ARGV[5] then return {1, 0, 0} end
local entry = redis.call('XRANGE', KEYS[1], at, at)[1]
if not entry and op ~= 'del' then return {0, 0, 0} end
local said = {author = '?', role = 'user', ts = string.match(at, '^%d+'), origin = 'human', first = at}
if entry then
  for i = 1, #entry[2], 2 do said[entry[2][i]] = entry[2][i + 1] end
end
if op == 'edit' then
  if said.text == ARGV[4] then return {1, 0, 0} end
  said.text = ARGV[4]
elseif op == 'del' then
  said.text = ''
end
local new = redis.call('XADD', KEYS[1], '*', 'mid', ARGV[2], 'author', said.author, 'role', said.role,
  'ts', said.ts, 'text', said.text, 'origin', said.origin, 'op', op, 'first', said.first)
redis.call('HSET', KEYS[2], ARGV[2], op == 'del' and 'del' or new)
redis.call('XDEL', KEYS[1], at)
lively(KEYS[3], ARGV[1], tonumber(string.match(new, '^%d+')))
if op ~= 'again' then embed(KEYS[4], ARGV[1], ARGV[2], said.origin, 'its vector is made anew, or dropped') end
return {1, redis.call('XLEN', KEYS[1]), KEYS[4] and redis.call('XLEN', KEYS[4]) or 0}
"""
)
"""Put a message at the end once more, as `edit`, `del` or `again`, and take it from where it was.

As `INGEST`, but 1 where the message was known, and lengths only where something was written. What is sent
twice is done once: an edit to the same text, a second deletion, and `again` of an entry that has moved
change nothing.

KEYS: as `INGEST`. ARGV: channel, message id, op, new text, and for `again` the entry that is meant.
"""

GET = """
local found = {}
for _, mid in ipairs(ARGV) do
  local at = redis.call('HGET', KEYS[2], mid)
  if at and at ~= 'del' then
    local entry = redis.call('XRANGE', KEYS[1], at, at)[1]
    if entry then found[#found + 1] = entry end
  end
end
return found
"""
"""The entries of messages by their ids. KEYS: log, mid."""

_AFTER = """
local function after(one, other)
  local ms, sequence = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_sequence = string.match(other, '^(%d+)-(%d+)$')
  if ms ~= other_ms then return tonumber(ms) > tonumber(other_ms) end
  return tonumber(sequence) > tonumber(other_sequence)
end
"""

REPORT = (
    _AFTER
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local known = redis.call('HGET', KEYS[2], ARGV[1])
if known and not after(ARGV[2], known) then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
"""
)
"""Move a reader forward; not where there is no channel. KEYS: log, readers. ARGV: reader, cursor."""

# Whole nodes of the stream go by XTRIM, which need not look at texts; then one at a time what is left to
# remove of the last node.
TRIM = (
    _AFTER
    + """
local keep, cap, batch = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local slowest, name
local readers = redis.call('HGETALL', KEYS[2])
for i = 1, #readers, 2 do
  if not slowest or after(slowest, readers[i + 1]) then name, slowest = readers[i], readers[i + 1] end
end
local removed = 0
local spare = math.min(redis.call('XLEN', KEYS[1]) - keep, batch)
if slowest and spare > 0 then
  removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', slowest, 'LIMIT', spare)
  while removed < spare do
    local entry = redis.call('XRANGE', KEYS[1], '-', slowest, 'COUNT', 1)[1]
    if not entry then break end
    redis.call('XDEL', KEYS[1], entry[1])
    removed = removed + 1
  end
end
local length = redis.call('XLEN', KEYS[1])
local lost = math.max(0, math.min(length - cap, batch - removed))
if lost > 0 then
  redis.call('XTRIM', KEYS[1], 'MAXLEN', length - lost)
  redis.call('HINCRBY', KEYS[3], ARGV[1], lost)
end
return {removed + lost, lost, removed + lost == batch and 1 or 0, name or ''}
"""
)
"""Remove what all readers have read, but for the last `keep`, then what is beyond `cap` at any rate.

How many entries went, how many of those unread by the slowest reader, whether there may be more to do, and
the slowest reader.

KEYS: log, readers, alarms. ARGV: channel, keep, cap, entries to remove at most.
"""
