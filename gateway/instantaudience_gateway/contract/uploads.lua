-- Marks uploads whose URL was issued recently. `UPLOADS` has the path before the mark, the file with the valid marks,
-- one per line, and the header to set, which replaces whatever the caller sent.

local marks, looked = {}, nil

local function look()
  local file = io.open(UPLOADS.file)
  if not file then return end -- nobody has written it yet
  marks = {}
  for mark in file:lines() do marks[#marks + 1] = UPLOADS.path .. mark end
  file:close()
end

local function is_marked(path)
  local now = os.time()
  if now ~= looked then
    looked = now
    look()
  end
  for _, mark in ipairs(marks) do
    if string.sub(path, 1, #mark) == mark then return true end
  end
  return false
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if is_marked(headers:get(":path")) then
    headers:replace(UPLOADS.header, UPLOADS.marked)
  else
    headers:remove(UPLOADS.header)
  end
end
