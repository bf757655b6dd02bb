"""The Lua scripts for the batch service's jobs: lists, queues, turns and leases (see `job_store`). Each of them, and of
`upload_scripts`, may be sent again after a lost answer.

A member is in the list of turns while it has jobs in its queue and none running, and in the sorted set of leases while
the first job of its queue is running. Leases end by the node's clock.

A hash that loses its last field is deleted, together with its expiry; so scripts write new fields before they delete
old ones.
"""

from instantaudience_server.store import lua

CHANGE = """
local function change(job, changed, id, now, ...)
  redis.call('HSET', job, 'modified_ms', now, ...)
  redis.call('ZADD', changed, now, id)
end
"""
"""Writes fields of a job, and the time of the change."""
_QUEUE = """
local function dequeue(queues, turns, member, id)
  local left = {}
  for each in string.gmatch(redis.call('HGET', queues, member) or '', '%S+') do
    if each ~= id then left[#left + 1] = each end
  end
  if #left > 0 then
    redis.call('HSET', queues, member, table.concat(left, ' '))
  else
    redis.call('HDEL', queues, member)
    redis.call('LREM', turns, 0, member)
  end
  return #left
end
"""
FORGET = """
local function kept_no_longer(jobs, since)
  return redis.call('ZRANGEBYSCORE', jobs, '-inf', '(' .. since * 1000)
end
local function forget(gone, ...)
  for _, id in ipairs(gone) do
    for _, key in ipairs({...}) do redis.call('ZREM', key, id) end
  end
end
"""
"""`kept_no_longer` finds a member's jobs that were created before `since`; `forget` takes jobs out of lists."""
_LIST = (
    FORGET
    + """
forget(kept_no_longer(KEYS[1], ARGV[1]), unpack(KEYS))
"""
)
"""What all scripts that list jobs begin with. Keys: the member's jobs, changed jobs, unused jobs. Arguments: the Unix
time in ms before which jobs are no longer kept; then those of the list."""

PAGE = (
    _LIST
    + """
local by_change, newest_first, skipped, size = unpack(ARGV, 2)
local key = by_change == '1' and KEYS[2] or KEYS[1]
local first, last = tonumber(skipped), skipped + size - 1
local found
if newest_first == '1' then
  found = redis.call('ZRANGE', key, first, last, 'REV')
else
  found = redis.call('ZRANGE', key, first, last)
end
return {redis.call('ZCARD', key), found}
"""
)
"""Arguments: whether to sort by change (1), whether newest first (1), how many to skip, how many to answer. Answers the
number of all jobs, and IDs."""

OLDER = (
    _LIST
    + """
local found = redis.call('ZRANGE', KEYS[1], ARGV[2], '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[3], 'WITHSCORES')
return {redis.call('ZCARD', KEYS[1]), found}
"""
)
"""Lists jobs by descending score. Arguments: the highest score (in ZRANGE's notation), how many to answer. Answers the
number of all jobs, and IDs, each followed by its score."""

CHANGED = (
    _LIST
    + """
return redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
"""
)
"""Arguments: since when (Unix time in ms), how many to answer. Answers IDs, each followed by the time of its change."""

TAKE = (
    lua.CLOCK
    + """
local known = redis.call('GET', KEYS[4])
if known then return known end
local now = now_ms()
local ends = now + ARGV[1]
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)
local too_far = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ends + ARGV[2], '+inf', 'LIMIT', 0, 1)
local member = ended[1] or too_far[1] or redis.call('LPOP', KEYS[2])
if not member then return false end
redis.call('ZADD', KEYS[1], ends, member)
local id = string.match(redis.call('HGET', KEYS[3], member), '^%S+')
local taken = member .. ' ' .. id .. ' ' .. ends
redis.call('SET', KEYS[4], taken, 'PX', 60000)
return taken
"""
)
"""Takes the job whose lease has ended, else the first job of the member whose turn it is.

Keys: leases, turns, queues, `keys.taken_key` of this lease. Arguments: the lease's length in ms, and by how many ms
more a lease may end later than this one: one beyond that was given before the clock was set back, and counts as ended.
Answers the member, the ID of its job, and when the lease ends, separated by spaces, or nothing."""

CLAIM = """
local phase, held = unpack(redis.call('HMGET', KEYS[1], 'phase', 'lease'))
if phase ~= 'validating' and phase ~= 'processing' then return 0 end
if held ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'lease', ARGV[1], 'lease_ends', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'tries', 1)
end
return 1
"""
"""Writes the lease into a job that was taken, and counts the try. Keys: job. Arguments: the lease, and when it ends.
Answers 1 if the job has not ended, else 0."""

NOTE = (
    CHANGE
    + lua.CLOCK
    + """
local id, member, lease, lease_ms, now, position, checkpoint, progress = unpack(ARGV)
local phase, held = unpack(redis.call('HMGET', KEYS[1], 'phase', 'lease'))
if held ~= lease or (phase ~= 'validating' and phase ~= 'processing') then return 0 end
local ends = now_ms() + lease_ms
redis.call('ZADD', KEYS[3], ends, member)
redis.call('HSET', KEYS[1], 'lease_ends', ends)
if now then
  if phase == 'validating' then redis.call('HSET', KEYS[1], 'phase', 'processing', 'validated_ms', now) end
  change(KEYS[1], KEYS[2], id, now, 'position_bytes', position, 'checkpoint', checkpoint, 'progress', progress,
    'tries', 0)
end
return 1
"""
)
"""Renews a lease and, optionally, notes the job's progress. Keys: job, changed jobs, leases. Arguments: ID, member,
lease, its length from now on in ms; for the progress also: now, position, checkpoint, progress. Answers 0 where the
lease is lost or the job has ended, else 1."""

FINISH = (
    CHANGE
    + _QUEUE
    + """
local id, member, lease, now, report, failed, lines, hour = unpack(ARGV)
local phase, held, size, kept = unpack(redis.call('HMGET', KEYS[1], 'phase', 'lease', 'size_bytes', 'report'))
if held and held ~= lease then return false end
redis.call('HDEL', KEYS[1], 'checkpoint')
local is_under_way = phase == 'validating' or phase == 'processing'
if is_under_way or (phase and not kept and report ~= '') then
  redis.call('HSET', KEYS[1], 'report', report)
  redis.call('HDEL', KEYS[1], 'progress')
  if lines ~= '0' then
    redis.call('HINCRBY', KEYS[6], 'l' .. hour, lines)
    redis.call('EXPIRE', KEYS[6], 172800, 'NX')
  end
end
if is_under_way then
  if phase == 'validating' then redis.call('HSET', KEYS[1], 'validated_ms', now) end
  if failed == '' then redis.call('HSET', KEYS[1], 'position_bytes', size) end
  change(KEYS[1], KEYS[2], id, now, 'phase', failed == '' and 'completed' or 'error', 'completed_ms', now,
    'error_code', failed)
end
local queue = redis.call('HGET', KEYS[4], member)
if queue and string.match(queue, '^%S+') == id then
  redis.call('ZREM', KEYS[3], member)
  if dequeue(KEYS[4], KEYS[5], member, id) > 0 then redis.call('RPUSH', KEYS[5], member) end
end
return redis.call('HGET', KEYS[1], 'error_code')
"""
)
"""Ends a job and makes room for the member's next one.

Keys: job, changed jobs, leases, queues, turns, uploads. Arguments: ID, member, lease, now, the report, the error code
(empty: the job is complete), lines that count towards the member's limits and were not counted before, the hour.
A job that was cancelled meanwhile stays so. The uploads' hash usually has an expiry; where it does not exist, the lines
get it one of two days, as they count for one day only. Answers the error code with which the job ended (empty: none),
or nothing where another process has the job or it is gone."""

GIVE_BACK = """
local id, member, lease = unpack(ARGV)
local queue = redis.call('HGET', KEYS[3], member)
local held, ends, tries = unpack(redis.call('HMGET', KEYS[1], 'lease', 'lease_ends', 'tries'))
if held == lease and queue and string.match(queue, '^%S+') == id then
  if tonumber(ends) == tonumber(redis.call('ZSCORE', KEYS[2], member)) then redis.call('ZADD', KEYS[2], 0, member) end
  redis.call('HSET', KEYS[1], 'lease', '', 'tries', math.max(0, tries - 1))
end
return 1
"""
"""Ends the lease of a job at once, for another process to take it. Keys: job, leases, queues. Arguments: ID, member,
lease. Where the job is no longer the first of its queue, the member's lease belongs to the next job and stays. So does
one that ends when this one did not: it is that of a process between `TAKE` and `CLAIM`. The try is not counted: tries
are about jobs that kill their process, and one that gives a job back is alive."""

CANCEL = (
    CHANGE
    + _QUEUE
    + """
local id, member, now, failed = unpack(ARGV)
local phase, error_code = unpack(redis.call('HMGET', KEYS[1], 'phase', 'error_code'))
if not phase then return 0 end
if phase == 'error' or phase == 'completed' then return error_code == failed and 1 or 0 end
change(KEYS[1], KEYS[2], id, now, 'phase', 'error', 'completed_ms', now, 'error_code', failed)
local queue = redis.call('HGET', KEYS[4], member)
local is_first = queue and string.match(queue, '^%S+') == id
if queue and not (is_first and redis.call('ZSCORE', KEYS[3], member)) then dequeue(KEYS[4], KEYS[5], member, id) end
return 1
"""
)
"""Ends a job with an error. Keys: job, changed jobs, leases, queues, turns. Arguments: ID, member, now, the error code.
A running job stays in its queue until the process that runs it calls `FINISH`, so that the next one does not start
beside it."""
