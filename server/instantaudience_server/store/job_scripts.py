"""The scripts that keep the batch service's jobs (see `job_store`). Each may be sent again after a lost answer.

A hash that loses its last field is gone, and with it its expiry: what comes into one is written before what goes.

A member stands in the list of turns while it has jobs in its queue and none under way, and in the sorted set of leases
while the first job of its queue is under way.
"""

_CHANGE = """
local function change(job, changed, id, now, ...)
  redis.call('HSET', job, 'modified_ms', now, ...)
  redis.call('ZADD', changed, now, id)
end
"""
_CLOCK = """
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
"""Leases end by the node's clock: processes' clocks may differ."""
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
_FORGET = """
local function forget(jobs, changed, unused, since, most_unused)
  local gone = redis.call('ZRANGEBYSCORE', jobs, '-inf', '(' .. since * 1000)
  for _, id in ipairs(redis.call('ZRANGE', unused, 0, -most_unused - 1)) do gone[#gone + 1] = id end
  for _, id in ipairs(gone) do
    for _, key in ipairs({jobs, changed, unused}) do redis.call('ZREM', key, id) end
  end
  return gone
end
"""
_USED = """
local function used(uploads, hour, now, own)
  local day = math.floor(hour / 24)
  local days = {day, math.floor(redis.call('TIME')[1] / 86400)}
  local first, last = math.min(unpack(days)) - 1, math.max(unpack(days)) + 1
  local sums = {hour = {b = 0, l = 0, j = 0}, day = {b = 0, l = 0, j = 0}}
  local found, fields = {}, redis.call('HGETALL', uploads)
  for i = 1, #fields, 2 do found[fields[i]] = fields[i + 1] end
  for field, value in pairs(found) do
    local kind, at = string.match(field, '^([blj])(%d+)$')
    local upload = string.match(field, '^s:(.+)$')
    if kind then
      local more, of_day = tonumber(value), math.floor(at / 24)
      if of_day < first or of_day > last then
        redis.call('HDEL', uploads, field)
      elseif of_day == day then
        sums.day[kind] = sums.day[kind] + more
      end
      if tonumber(at) == hour then sums.hour[kind] = sums.hour[kind] + more end
    elseif upload and not found['u:' .. upload] then
      redis.call('HDEL', uploads, field)
    elseif upload and upload ~= own and tonumber(found['u:' .. upload]) > now then
      local size, lines = string.match(value, '^(%d+) (%d+)$')
      for _, sum in pairs(sums) do
        sum.b, sum.l = sum.b + tonumber(size), sum.l + tonumber(lines)
      end
    end
  end
  return {sums.hour.b, sums.day.b, sums.hour.l, sums.day.l, sums.day.j}
end
local function note_upload(uploads, id, ends, size, lines)
  redis.call('HSET', uploads, 'u:' .. id, ends, 's:' .. id, size .. ' ' .. lines)
end
local function fits(sums, most, size, lines)
  for i, wanted in ipairs({size, size, lines, lines}) do
    if most[i] ~= '' and (sums[i] >= tonumber(most[i]) or sums[i] + wanted > tonumber(most[i])) then return false end
  end
  return true
end
"""
_UNUSED = """
local function no_file(unused, id, now, kept)
  redis.call('ZADD', unused, now, id)
  redis.call('PEXPIREAT', unused, now + kept)
end
"""

CREATE = (
    _FORGET
    + _USED
    + _UNUSED
    + """
local known = redis.call('HGET', KEYS[1], 'number')
if known then return {tonumber(known), {}} end
local id, member, now, open_until, kept, most_unused, hour, most_jobs = unpack(ARGV)
if used(KEYS[4], tonumber(hour), tonumber(now), '')[5] >= tonumber(most_jobs) then return false end
local gone = forget(KEYS[2], KEYS[3], KEYS[7], now - kept, most_unused - 1)
local number = redis.call('INCR', KEYS[6])
redis.call('HSET', KEYS[1], 'job_id', id, 'member_id', member, 'number', number, 'phase', 'starting',
  'created_ms', now, 'modified_ms', now, 'open_until_ms', open_until)
redis.call('PEXPIREAT', KEYS[1], now + kept)
no_file(KEYS[7], id, now, kept)
redis.call('ZADD', KEYS[2], now * 1000 + number % 1000, id)
redis.call('ZADD', KEYS[3], now, id)
redis.call('PEXPIREAT', KEYS[2], now + kept)
redis.call('PEXPIREAT', KEYS[3], now + 2 * kept)
redis.call('HSET', KEYS[4], 'open', id)
redis.call('PEXPIREAT', KEYS[4], now + kept)
redis.call('SET', KEYS[5], id, 'PXAT', open_until)
return {number, gone}
"""
)
"""Keys: job, member's jobs, changed jobs, uploads, URL, numbers, unused jobs. Arguments: the job's ID, member, now,
until when the URL may be used, how long to keep it, all in ms, how many unused ones to keep, the hour, and how many
files a day may have. Answers the job's number, and the IDs of jobs that are kept no longer; nothing where the day has
as many files already."""

MARKS = """
local marks = {}
for i, key in ipairs(KEYS) do
  local fresh, ends = ARGV[2 * i - 1], ARGV[2 * i]
  redis.call('SET', key, fresh, 'NX', 'PXAT', ends)
  marks[i] = redis.call('GET', key) or fresh
end
return marks
"""
"""Keys: marks of URLs. Arguments: for each, the word that it becomes where there is none, and when it ends (ms),
which is past for clocks that are far behind: such a word nobody else is told."""

_LIST = (
    _FORGET
    + """
local since, most_unused = unpack(ARGV)
forget(KEYS[1], KEYS[2], KEYS[3], since, most_unused)
"""
)
"""Keys of lists: member's jobs, changed jobs, unused jobs. Arguments: since when jobs are kept (ms), and
how many unused ones; then those of the list."""

PAGE = (
    _LIST
    + """
local by_change, newest_first, skipped, size = unpack(ARGV, 3)
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
"""Arguments: by change or not, newest first or not, how many to skip, and to answer. Answers how many there are, and
IDs."""

OLDER = (
    _LIST
    + """
local found = redis.call('ZRANGE', KEYS[1], ARGV[3], '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
return {redis.call('ZCARD', KEYS[1]), found}
"""
)
"""Arguments: before what the jobs are to be, and how many. Answers how many there are, and IDs, each with its place."""

CHANGED = (
    _LIST
    + """
return redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
"""
)
"""Arguments: since when (ms), and how many. Answers IDs, each with when it changed."""

USED = _USED + "return used(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), '')"
"""Keys: uploads. Arguments: the hour, and now. Answers what the member uploaded in this hour and on this day (UTC),
with what is under way: bytes of the hour, of the day, lines of the hour, of the day, files of the day."""

BEGIN_UPLOAD = (
    _CHANGE
    + _USED
    + _UNUSED
    + """
local id, member, lease, now, ends, most_waiting, most_uploads, hour, furthest, kept, size = unpack(ARGV)
now, hour, furthest = tonumber(now), tonumber(hour), tonumber(furthest)
local phase, upload_lease, open_until = unpack(redis.call('HMGET', KEYS[1], 'phase', 'upload_lease', 'open_until_ms'))
if not (phase == 'uploading' and upload_lease == lease) then
  if phase ~= 'starting' or tonumber(open_until) <= now then return 'closed' end
  if redis.call('HGET', KEYS[3], 'open') ~= id then return 'closed' end
  local uploads, fields = 0, redis.call('HGETALL', KEYS[3])
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'u:' then
      local upload_ends = tonumber(fields[i + 1])
      if upload_ends > now and upload_ends <= furthest then
        uploads = uploads + 1
      else
        redis.call('HDEL', KEYS[3], fields[i], 's:' .. string.sub(fields[i], 3))
        no_file(KEYS[5], string.sub(fields[i], 3), now, kept)
      end
    end
  end
  if uploads >= tonumber(most_uploads) then return 'busy' end
  local _, waiting = string.gsub(redis.call('HGET', KEYS[4], member) or '', '%S+', '')
  if waiting + uploads >= tonumber(most_waiting) then return 'full' end
  change(KEYS[1], KEYS[2], id, now, 'phase', 'uploading', 'started_ms', now, 'open_until_ms', ends,
    'upload_lease', lease)
  redis.call('ZREM', KEYS[5], id)
  note_upload(KEYS[3], id, ends, 0, 0)
  redis.call('HDEL', KEYS[3], 'open')
end
local others = used(KEYS[3], hour, now, id)
if fits(others, {unpack(ARGV, 12)}, size, 0) then
  note_upload(KEYS[3], id, ends, size, 0)
end
return others
"""
)
"""Keys: job, changed jobs, uploads, queues, unused jobs. Arguments: ID, member, lease, now, until when more must have
come, how many jobs may wait or be uploaded, and uploads be under way, the hour, when no upload can end, as it began
before the clock was set back, how long jobs are kept, the bytes that were announced, and the limits of bytes and lines
in the order of `USED`, empty where there is none. Answers a `Refusal`, or as `USED`, without this upload."""

KEEP_UPLOADING = (
    _CHANGE
    + _USED
    + """
local id, lease, now, ends, hour, size, lines = unpack(ARGV)
local phase, held = unpack(redis.call('HMGET', KEYS[1], 'phase', 'upload_lease'))
if phase ~= 'uploading' or held ~= lease then return false end
local others = used(KEYS[3], tonumber(hour), tonumber(now), id)
if fits(others, {unpack(ARGV, 8)}, size, lines) then
  change(KEYS[1], KEYS[2], id, now, 'open_until_ms', ends)
  note_upload(KEYS[3], id, ends, size, lines)
end
return others
"""
)
"""Keys: job, changed jobs, uploads. Arguments: ID, lease, now, until when more must have come, the hour, bytes and
lines that have come or are to, and the limits as in `BEGIN_UPLOAD`. Answers likewise, or nothing where the upload is
over; nothing is written down of what does not fit."""

END_UPLOAD = (
    _CHANGE
    + _USED
    + _UNUSED
    + """
local id, member, lease, now, size, lines, most_lines, hour, kept, failed = unpack(ARGV)
local phase, upload_lease = unpack(redis.call('HMGET', KEYS[1], 'phase', 'upload_lease'))
if upload_lease ~= lease then return 0 end
if phase == 'uploading' and failed == '' then
  local others = used(KEYS[3], tonumber(hour), tonumber(now), id)
  if not fits(others, {unpack(ARGV, 11)}, size, lines) then return others end
  redis.call('HINCRBY', KEYS[3], 'b' .. hour, size)
  redis.call('HINCRBY', KEYS[3], 'j' .. hour, 1)
  if lines ~= '0' then redis.call('HINCRBY', KEYS[3], 'l' .. hour, lines) end
  redis.call('ZREM', KEYS[6], id)
end
redis.call('HDEL', KEYS[3], 'u:' .. id, 's:' .. id)
if failed ~= '' and (phase == 'uploading' or phase == 'error') then no_file(KEYS[6], id, now, kept) end
if phase ~= 'uploading' then return (phase == 'error') == (failed ~= '') and 1 or 0 end
if failed ~= '' then
  change(KEYS[1], KEYS[2], id, now, 'phase', 'error', 'completed_ms', now, 'error_code', failed)
  return 1
end
change(KEYS[1], KEYS[2], id, now, 'phase', 'validating', 'uploaded_ms', now, 'size_bytes', size,
  'most_lines', most_lines)
local queue = redis.call('HGET', KEYS[4], member)
redis.call('HSET', KEYS[4], member, queue and queue .. ' ' .. id or id)
if not queue then redis.call('RPUSH', KEYS[5], member) end
return 1
"""
)
"""Keys: job, changed jobs, uploads, queues, turns, unused jobs. Arguments: ID, member, lease, now, bytes and lines of
the file, how many lines it may have, the hour, how long jobs are kept, why the upload failed, empty where it did not,
and then the limits as in `BEGIN_UPLOAD`. Answers likewise where the file does not fit; the upload is not over then."""

TAKE = (
    _CLOCK
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
redis.call('SET', KEYS[4], member .. ' ' .. id, 'PX', 60000)
return member .. ' ' .. id
"""
)
"""Keys: leases, turns, queues, what was taken under this lease. Arguments: how long the lease is, in ms, and how much
later than that none can end: it was given before the clock was set back. Answers a member and the ID of its job, or
nothing."""

CLAIM = """
local phase, held = unpack(redis.call('HMGET', KEYS[1], 'phase', 'lease'))
if phase ~= 'validating' and phase ~= 'processing' then return 0 end
if held ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'lease', ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'tries', 1)
end
return 1
"""
"""Keys: job. Arguments: the lease under which it was taken. Answers whether there is something to do still."""

NOTE = (
    _CHANGE
    + _CLOCK
    + """
local id, member, lease, lease_ms, now, position, checkpoint = unpack(ARGV)
local phase, held = unpack(redis.call('HMGET', KEYS[1], 'phase', 'lease'))
if held ~= lease or (phase ~= 'validating' and phase ~= 'processing') then return 0 end
redis.call('ZADD', KEYS[3], 'XX', now_ms() + lease_ms, member)
if now then
  if phase == 'validating' then redis.call('HSET', KEYS[1], 'phase', 'processing', 'validated_ms', now) end
  change(KEYS[1], KEYS[2], id, now, 'position_bytes', position, 'checkpoint', checkpoint, 'tries', 0)
end
return 1
"""
)
"""Keys: job, changed jobs, leases. Arguments: ID, member, lease, how long it is from now on, in ms; to write down how
far the job is: now, position, checkpoint."""

FINISH = (
    _CHANGE
    + _QUEUE
    + """
local id, member, lease, now, report, failed, lines, hour = unpack(ARGV)
local phase, held, size, kept = unpack(redis.call('HMGET', KEYS[1], 'phase', 'lease', 'size_bytes', 'report'))
if held and held ~= lease then return false end
local is_under_way = phase == 'validating' or phase == 'processing'
if is_under_way or (phase and not kept and report ~= '') then
  redis.call('HSET', KEYS[1], 'report', report)
  redis.call('HDEL', KEYS[1], 'checkpoint')
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
"""Keys: job, changed jobs, leases, queues, turns, uploads. Arguments: ID, member, lease, now, what to keep of the
job, why it failed (empty: it did not), lines that the member has sent with it, the hour. One that was cancelled
meanwhile keeps that, and makes room for the next. The lines count for a day; where nothing else is counted any more,
they end after two. Answers why the job failed (empty: it did not), or nothing where another one has it or it is
gone."""

GIVE_BACK = """
local id, member, lease = unpack(ARGV)
local queue = redis.call('HGET', KEYS[3], member)
local held, tries = unpack(redis.call('HMGET', KEYS[1], 'lease', 'tries'))
if held == lease and queue and string.match(queue, '^%S+') == id then
  redis.call('ZADD', KEYS[2], 'XX', 0, member)
  redis.call('HSET', KEYS[1], 'lease', '', 'tries', math.max(0, (tonumber(tries) or 0) - 1))
end
return 1
"""
"""Keys: job, leases, queues. Arguments: ID, member, lease. One that has ended leaves its member's lease to the next.
Whoever can give a job back was not ended by it: that was no try."""

CANCEL = (
    _CHANGE
    + _QUEUE
    + """
local id, member, now, failed = unpack(ARGV)
local phase, error_code = unpack(redis.call('HMGET', KEYS[1], 'phase', 'error_code'))
if not phase then return 0 end
if phase == 'error' or phase == 'completed' then return error_code == failed and 1 or 0 end
change(KEYS[1], KEYS[2], id, now, 'phase', 'error', 'completed_ms', now, 'error_code', failed)
if redis.call('HGET', KEYS[6], 'open') == id then redis.call('HDEL', KEYS[6], 'open') end
local queue = redis.call('HGET', KEYS[4], member)
local is_first = queue and string.match(queue, '^%S+') == id
if queue and not (is_first and redis.call('ZSCORE', KEYS[3], member)) then dequeue(KEYS[4], KEYS[5], member, id) end
return 1
"""
)
"""Keys: job, changed jobs, leases, queues, turns, uploads. Arguments: ID, member, now, the error code. Who has the job
or its upload under way makes room for the next: else one that is cancelled would be under way beside the next one."""
