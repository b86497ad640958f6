"""The scripts of the budget. Each is one step that others see wholly or not at all, and may be sent again.

Amounts are whole tokens and whole micro-dollars, below 2^53, so that Lua counts them exactly. A reservation
is kept as one text, `<expires, ms> <tokens> <micro-dollars> <tokens of the prompt> <micro-dollars of it>
<task>`, and what is reserved is added up anew each time: no sum can go astray. There are about as many as
there are calls in flight.

What became of a reservation is kept under its id: `<tokens> <micro-dollars>` that count as spent for it since
it was taken back, or `done` once it is settled.
"""

from __future__ import annotations

__all__ = ["RELEASE", "RESERVE", "SETTLE"]

_COUNT = """
local function count(what, task, amount)
  if amount == 0 then return end
  for _, whose in ipairs({task, ''}) do
    redis.call('HINCRBY', KEYS[1], what .. '|' .. whose, string.format('%.0f', amount))
  end
end
"""

# KEYS: the day, its reservations, what became of them. ARGV: now, expires, id, task, tokens, micro-dollars,
# both of the prompt alone, seconds that the day is kept, and what became of reservations, then caps, each
# empty if there is none: of the task in tokens and money, of all in both.
# Answer: nothing, or the cap that stands in the way (1 to 4), what is spent of it and what reserved.
RESERVE = (
    _COUNT
    + """
local now, id, task = tonumber(ARGV[1]), ARGV[3], ARGV[4]
local ask = {tonumber(ARGV[5]), tonumber(ARGV[6])}
local reserved = {0, 0, 0, 0}
local held = redis.call('HGETALL', KEYS[2])
for i = 1, #held, 2 do
  local expires, tokens, cost, sent, sent_cost, whose =
    string.match(held[i + 1], '^(%d+) (%d+) (%d+) (%d+) (%d+) (.*)$')
  if held[i] == id then return {} end
  if tonumber(expires) <= now then
    redis.call('HDEL', KEYS[2], held[i])
    count('tokens', whose, tonumber(sent))
    count('cost', whose, tonumber(sent_cost))
    count('lost', whose, 1)
    redis.call('EXPIRE', KEYS[1], ARGV[9])
    redis.call('HSET', KEYS[3], held[i], sent .. ' ' .. sent_cost)
    redis.call('EXPIRE', KEYS[3], ARGV[10])
  else
    if whose == task then
      reserved[1] = reserved[1] + tonumber(tokens)
      reserved[2] = reserved[2] + tonumber(cost)
    end
    reserved[3] = reserved[3] + tonumber(tokens)
    reserved[4] = reserved[4] + tonumber(cost)
  end
end
local spent = redis.call('HMGET', KEYS[1], 'tokens|' .. task, 'cost|' .. task, 'tokens|', 'cost|')
for i = 1, 4 do
  local cap = tonumber(ARGV[10 + i])
  local gone = tonumber(spent[i] or '0')
  if cap and gone + reserved[i] + ask[(i - 1) % 2 + 1] > cap then
    return {i, string.format('%.0f', gone), string.format('%.0f', reserved[i])}
  end
end
redis.call('HSET', KEYS[2], id, table.concat({ARGV[2], ARGV[5], ARGV[6], ARGV[7], ARGV[8], task}, ' '))
redis.call('EXPIRE', KEYS[2], ARGV[9])
return {}
"""
)

# KEYS: the day, its reservations, what became of them, and that of the answer if one is to be kept. ARGV: id,
# task, tokens, micro-dollars, seconds that the day is kept, and what became of reservations, then the answer
# and its time to live in ms. HDEL comes first: a script that has written something is not stopped half-way by
# a server that is short of memory.
SETTLE = (
    _COUNT
    + """
redis.call('HDEL', KEYS[2], ARGV[1])
local known = redis.call('HGET', KEYS[3], ARGV[1])
local first = known ~= 'done'
if first then
  local tokens, cost = string.match(known or '', '^(%d+) (%d+)$')
  count('tokens', ARGV[2], tonumber(ARGV[3]) - tonumber(tokens or 0))
  count('cost', ARGV[2], tonumber(ARGV[4]) - tonumber(cost or 0))
  count('calls', ARGV[2], 1)
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  redis.call('HSET', KEYS[3], ARGV[1], 'done')
  redis.call('EXPIRE', KEYS[3], ARGV[6])
end
if KEYS[4] then redis.call('SET', KEYS[4], ARGV[7], 'PX', ARGV[8]) end
return first and 1 or 0
"""
)

# KEYS: the day, its reservations, what became of them. ARGV: id, task.
RELEASE = (
    _COUNT
    + """
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then return 1 end
local tokens, cost = string.match(redis.call('HGET', KEYS[3], ARGV[1]) or '', '^(%d+) (%d+)$')
if not tokens then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
count('tokens', ARGV[2], -tonumber(tokens))
count('cost', ARGV[2], -tonumber(cost))
return 1
"""
)
