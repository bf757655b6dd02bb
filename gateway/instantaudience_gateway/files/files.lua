-- Serves the files of pages (source: RFC 9110, sections 8.8.3, 12.5.3, 13.1.2). It follows `CONTRACT` and `body.lua` in
-- one chunk, and uses of `CONTRACT`:
--   files[path] = {type = content type, etag = weak validator, body = bytes, gzip = bytes, policy = CSP}
--   file_headers = {[name] = value}, of every file; file_aliases[path] = where the file is
--   home = {path = where browsers are led to the page, page = where that is, policy = CSP}

local FILE_METHODS = { GET = true, HEAD = true }

-- Whether `Accept-Encoding` has `gzip` with a weight other than 0.
local function takes_gzip(header)
  for coding, parameters in gmatch(string.lower(header or ""), "([^,;%s]+)([^,]*)") do
    if coding == "gzip" then return not string.find(parameters, "q%s*=%s*0%.?0*%s*$") end
  end
  return false
end

local function matches(if_none_match, etag)
  return if_none_match and (if_none_match == "*" or string.find(if_none_match, sub(etag, 3), 1, true))
end

-- Whether the client asks for HTML; `*/*` alone does not make it a browser.
local function is_browser(request)
  return string.find(string.lower(request:get("accept") or ""), "text/html", 1, true)
end

-- Responds with a file if path and method fit; returns true if it has.
local function serve_file(handle, path)
  local file, alias = CONTRACT.files[path], CONTRACT.file_aliases[path]
  local is_home = path == CONTRACT.home.path
  if not (file or alias or is_home) then return false end
  local request = handle:headers()
  if not FILE_METHODS[request:get(":method")] or is_home and not is_browser(request) then return false end
  local answer = {}
  for name, value in pairs(CONTRACT.file_headers) do answer[name] = value end
  answer["content-security-policy"] = file and file.policy or CONTRACT.home.policy
  if is_home then
    answer[":status"], answer.location, answer.vary = "302", CONTRACT.home.page, "accept"
    handle:respond(answer)
    return true
  end
  if alias then
    answer[":status"], answer.location = "308", alias
    handle:respond(answer)
    return true
  end
  answer.etag = file.etag
  if matches(request:get("if-none-match"), file.etag) then
    answer[":status"] = "304"
    handle:respond(answer)
    return true
  end
  answer[":status"], answer["content-type"] = "200", file.type
  local body = file.body
  if takes_gzip(request:get("accept-encoding")) then
    answer["content-encoding"], body = "gzip", file.gzip
  end
  handle:respond(answer, body)
  return true
end
