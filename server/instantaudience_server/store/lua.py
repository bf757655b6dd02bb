"""Pieces of Lua that scripts share."""

CLOCK = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
"""`now_ms()` is the node's clock, a Unix time in ms. Scripts use it because processes' clocks may differ."""
SLIDING_WINDOW = (
    CLOCK
    + """
local function slide(counted, now, window)
  redis.call('ZREMRANGEBYSCORE', counted, '-inf', now - window)
  redis.call('ZREMRANGEBYSCORE', counted, '(' .. now + window, '+inf')
end
local function wait_ms(oldest, now, window)
  return math.min(oldest - now, 0) + window
end
"""
)
"""A sorted set whose scores are times of the node's clock counts what came in the last `window` ms: `slide` drops the
rest from it, and `wait_ms` says when the oldest entry leaves it. What is more than a window ahead dates from before the
clock was set back, and is dropped too: else it would count until the clock is there again, as the set's expiry is a
time of that clock as well. No wait that is told exceeds the window."""
SCAN = """
local process
local function this_process()
  process = process or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  return process
end
local function scan(part, from)
  local cursor, answered_by = string.match(from, '^(%d+) ?(%w*)$')
  if cursor ~= '0' and answered_by ~= this_process() then cursor = '0' end
  local found = part(cursor)
  if found[1] ~= '0' then found[1] = found[1] .. ' ' .. this_process() end
  return found
end
"""
"""`scan(part, from)` reads the next part of a hash or sorted set, where `part(cursor)` is HSCAN or ZSCAN. It adds the
server's run ID to the cursor, because each server process orders fields by a hash seed of its own: to continue on
another process, after a failover, a restart or a migration of the slot, would skip some. With a cursor that names
another process, or none, the scan starts again from the beginning."""
