"""The Lua scripts that create the batch service's jobs and account for the uploads of their files, until the jobs are
queued (see `job_store`; `job_scripts` has the rest). `keys.uploads_key` lists the fields of the hash of uploads."""

from instantaudience_server.store.jobs.job_scripts import CHANGE, FORGET

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
    FORGET
    + _USED
    + _UNUSED
    + """
local known = redis.call('HGET', KEYS[1], 'number')
if known then return {tonumber(known), {}} end
local id, member, now, open_until, kept, most_unused, hour, most_jobs = unpack(ARGV)
if used(KEYS[4], tonumber(hour), tonumber(now), '')[5] >= tonumber(most_jobs) then return false end
local gone = kept_no_longer(KEYS[2], now - kept)
for _, unused in ipairs(redis.call('ZRANGE', KEYS[6], 0, -most_unused)) do gone[#gone + 1] = unused end
forget(gone, KEYS[2], KEYS[3], KEYS[6])
local number = redis.call('INCR', KEYS[5])
redis.call('HSET', KEYS[1], 'job_id', id, 'member_id', member, 'number', number, 'phase', 'starting',
  'created_ms', now, 'modified_ms', now, 'open_until_ms', open_until)
redis.call('PEXPIREAT', KEYS[1], now + kept)
no_file(KEYS[6], id, now, kept)
redis.call('ZADD', KEYS[2], now * 1000 + number % 1000, id)
redis.call('ZADD', KEYS[3], now, id)
redis.call('PEXPIREAT', KEYS[2], now + kept)
redis.call('PEXPIREAT', KEYS[3], now + 2 * kept)
if KEYS[7] then
  redis.call('HSET', KEYS[4], 'open', id)
  redis.call('PEXPIREAT', KEYS[4], now + kept)
  redis.call('SET', KEYS[7], id, 'PXAT', open_until)
else
  redis.call('HSET', KEYS[1], 'without_url', 1)
end
return {number, gone}
"""
)
"""Creates a job. Keys: job, member's jobs, changed jobs, uploads, numbers, unused jobs, and the URL where it has one.
Arguments: the job's ID, member, now, until when the upload may begin, how long to keep the job (times in ms), how many
unused jobs to keep, the hour, how many files the member may send in a day. Answers the job's number, and the IDs of
jobs that are no longer kept; nothing where the member has sent as many files as it may today."""

MARKS = """
local marks = {}
for i, key in ipairs(KEYS) do
  local fresh, ends = ARGV[2 * i - 1], ARGV[2 * i]
  redis.call('SET', key, fresh, 'NX', 'PXAT', ends)
  marks[i] = redis.call('GET', key) or fresh
end
return marks
"""
"""Keys: marks of URLs (`keys.upload_mark_key`). Arguments: for each, a random word, which becomes the mark where there
is none, and when the mark expires (Unix time in ms). Answers the marks. A process whose clock is so far behind that the
mark has expired already gets its own word, which no other process knows."""

USED = _USED + "return used(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), '')"
"""Keys: uploads. Arguments: the hour, and now. Answers what the member uploaded in this hour and on this day (UTC),
uploads under way included: bytes of the hour, bytes of the day, lines of the hour, lines of the day, files of the day.
Files under way are not counted."""

BEGIN_UPLOAD = (
    CHANGE
    + _USED
    + _UNUSED
    + """
local id, member, lease, now, ends, most_waiting, most_uploads, hour, furthest, kept, size = unpack(ARGV)
now, hour, furthest = tonumber(now), tonumber(hour), tonumber(furthest)
local phase, upload_lease, open_until, without_url =
  unpack(redis.call('HMGET', KEYS[1], 'phase', 'upload_lease', 'open_until_ms', 'without_url'))
if not (phase == 'uploading' and upload_lease == lease) then
  if phase ~= 'starting' or tonumber(open_until) <= now then return 'closed' end
  if not without_url and redis.call('HGET', KEYS[3], 'open') ~= id then return 'closed' end
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
  redis.call('PEXPIREAT', KEYS[3], now + kept)
  if not without_url then redis.call('HDEL', KEYS[3], 'open') end
end
local others = used(KEYS[3], hour, now, id)
if fits(others, {unpack(ARGV, 12)}, size, 0) then
  note_upload(KEYS[3], id, ends, size, 0)
end
return others
"""
)
"""Begins the upload of a job's file. Keys: job, changed jobs, uploads, queues, unused jobs. Arguments: ID, member,
lease, now, when the upload times out unless more has come, how many jobs may wait or be uploading, how many uploads may
be under way, the hour, the latest time at which an upload can time out (one that is later began before the clock was
set back, and is over), how long jobs are kept, the size that the caller announced, and the limits of bytes and lines in
the order of `USED`, empty where there is none. Answers a `Refusal`, or as `USED`, this upload left out."""

KEEP_UPLOADING = (
    CHANGE
    + _USED
    + """
local id, lease, now, ends, hour, size, lines = unpack(ARGV)
local phase, held, open_until = unpack(redis.call('HMGET', KEYS[1], 'phase', 'upload_lease', 'open_until_ms'))
if phase ~= 'uploading' or held ~= lease or tonumber(open_until) <= tonumber(now) then return false end
local others = used(KEYS[3], tonumber(hour), tonumber(now), id)
if fits(others, {unpack(ARGV, 8)}, size, lines) then
  change(KEYS[1], KEYS[2], id, now, 'open_until_ms', ends)
  note_upload(KEYS[3], id, ends, size, lines)
end
return others
"""
)
"""Notes the progress of an upload. Keys: job, changed jobs, uploads. Arguments: ID, lease, now, when the upload times
out unless more has come, the hour, the bytes and lines that have come or are announced, and the limits as in
`BEGIN_UPLOAD`. Answers as `BEGIN_UPLOAD`, or nothing where the upload is over, by a timeout too. Progress that exceeds
a limit is not written."""

END_UPLOAD = (
    CHANGE
    + _USED
    + _UNUSED
    + """
local id, member, lease, now, size, lines, most_lines, hour, kept, failed = unpack(ARGV)
local phase, upload_lease, open_until, uploaded =
  unpack(redis.call('HMGET', KEYS[1], 'phase', 'upload_lease', 'open_until_ms', 'uploaded_ms'))
if upload_lease ~= lease then return 0 end
if phase == 'uploading' and failed == '' then
  if tonumber(open_until) <= tonumber(now) then return 0 end
  local others = used(KEYS[3], tonumber(hour), tonumber(now), id)
  if not fits(others, {unpack(ARGV, 11)}, size, lines) then return others end
  redis.call('HINCRBY', KEYS[3], 'b' .. hour, size)
  redis.call('HINCRBY', KEYS[3], 'j' .. hour, 1)
  if lines ~= '0' then redis.call('HINCRBY', KEYS[3], 'l' .. hour, lines) end
  redis.call('ZREM', KEYS[6], id)
end
redis.call('HDEL', KEYS[3], 'u:' .. id, 's:' .. id)
if failed ~= '' and not uploaded then no_file(KEYS[6], id, now, kept) end
if phase ~= 'uploading' then return (failed == '') == (uploaded ~= false) and 1 or 0 end
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
"""Ends an upload: the job is queued, or fails. Keys: job, changed jobs, uploads, queues, turns, unused jobs. Arguments:
ID, member, lease, now, bytes and lines of the file, how many lines it may have, the hour, how long jobs are kept, the
error code (empty: the file is complete), and the limits as in `BEGIN_UPLOAD`. Answers 1, 0 where the upload had ended
otherwise, or, where the file exceeds a limit, as `BEGIN_UPLOAD`; then the upload is not over yet."""
