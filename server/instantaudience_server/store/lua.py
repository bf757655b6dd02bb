"""Pieces of Lua that scripts share."""

CLOCK = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
"""The node's clock, a Unix time in ms; processes' clocks may differ."""
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
"""`part` is HSCAN or ZSCAN from a cursor on. The cursors of `scan` name the server's process that they are
of: each one places fields by a secret of its own, and to go on in another one, after a failover, a restart or a move of
the slot, would leave out some. There it is begun anew, as with a cursor that names no process."""
