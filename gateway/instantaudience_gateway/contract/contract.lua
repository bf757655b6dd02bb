-- The Lua filter: checks requests against the REST contract before the transcoder, and formats responses after it
-- (source: contract, "Errors" and "Tokens"). It follows `CONTRACT` and the other parts in one chunk, and uses of
-- `CONTRACT`:
--   endpoints[path] = {allow = "GET, POST", methods[method] = {parameters = {spelling = name}, defaults = {name = value
--     where it is not given}, body = message name or nil, text = whether the body is a text, gzip = parameter or nil,
--     origin = parameter or nil, public = whether it needs no token, strict = whether unknown parameters are errors,
--     unreadable = status in place of 400 or nil, within = the field of the request that the body is, or nil}}
--   types[type] = rule; keys[name of a field in its proto file] = key
--   grpc_errors["<grpc code> <error_id>"] = {status = HTTP status, code = error_code or nil}
--   bare_grpc_errors[grpc code] = error (also .default); unreadable, empty, … = errors {status, id, text}
--   short_body, heavy_body, longest_body, hopeless_body = bytes; longest_authorization = characters
--   sending_ms = time for a body
--   body_bytes_key, certificate_key, error_id_key, error_code_key, start_key = names of headers;
--   hidden_headers = {name, …}
--   challenge = {[name] = value}, the headers of 401
--   transcoder_error = content type that marks an error of the transcoder

local function error_body(id, escaped, code)
  code = code and '"error_code":"' .. code .. '",' or ""
  return '{"response":{"status":"ERROR","error_id":"' .. id .. '",' .. code .. '"error":"' .. escaped .. '"}}'
end

local function refuse(handle, err, text, allow)
  local headers = { [":status"] = tostring(err.status), ["content-type"] = "application/json", allow = allow }
  if err.status == 401 then for name, value in pairs(CONTRACT.challenge) do headers[name] = value end end
  handle:respond(headers, error_body(err.id, text or err.text))
end

-- Refuses a request without reading its body. A short body is awaited, because HTTP/1.1 would close the connection
-- otherwise.
local function refuse_unread(handle, err, text, allow)
  local announced = tonumber(handle:headers():get("content-length") or "")
  if announced and announced <= CONTRACT.short_body then handle:body() end
  refuse(handle, err, text, allow)
end

-- Puts the token into the Authorization header. A blank header counts as missing; the query parameter counts only
-- without a header (contract, "Tokens"), the cookie only without both. A parameter with anything but visible ASCII
-- cannot be a token, and must not get into a header.
local function take_token(headers, query)
  local authorization = headers:get("authorization")
  if authorization and match(authorization, "%S") then return end
  headers:remove("authorization")
  local access_token = token_parameter(query) or cookie_token(headers)
  if access_token and match(access_token, "^[\33-\126]+$") then headers:add("authorization", access_token) end
end

-- Headers become gRPC metadata, so those reserved to gRPC must not come from a REST caller: they would set the
-- deadline, ask for compressed messages or, if they are not valid base64, make grpc refuse the call.
local function remove_grpc_headers(headers)
  local names = {}
  for name in pairs(headers) do
    if find(name, "^grpc%-") or find(name, "%-bin$") then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do headers:remove(name) end
end

-- The scheme and host that the caller used, escaped for a query.
local function origin(headers)
  local text = (headers:get("x-forwarded-proto") or "http") .. "://" .. (headers:get(":authority") or "")
  return (gsub(text, "[^%w]", function(sign) return string.format("%%%02X", byte(sign)) end))
end

-- The error of a request without a possible token, or nil; the body is not needed for it.
local function token_fault(headers, method)
  if method.public then return nil end
  local authorization = headers:get("authorization")
  if not authorization then return not certificate(headers) and CONTRACT.no_token or nil end
  return #authorization > CONTRACT.longest_authorization and CONTRACT.unknown_token or nil
end

-- What the response's side needs to know of the method, in the filter's dynamic metadata.
local NAMESPACE, NOTED = "instantaudience", { "unreadable", "within" }

local function noted(handle)
  return handle:streamInfo():dynamicMetadata():get(NAMESPACE) or {}
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = match(headers:get(":path") or "", "^([^?]*)%??(.*)") -- CONNECT has no path
  if serve_file(handle, path) then return end
  path, query = plain_path(path, query)
  take_token(headers, query)
  local verb = headers:get(":method")
  note_cookie(handle, path, verb)
  local endpoint = CONTRACT.endpoints[path]
  local method = endpoint and endpoint.methods[verb]
  if not (method and method.public) then note_token(handle) end
  if not endpoint then return refuse_unread(handle, CONTRACT.no_path) end
  if not method then
    local reply = CONTRACT.deliberately_not[verb .. " " .. path] or CONTRACT.no_method
    return refuse_unread(handle, reply, nil, endpoint.allow)
  end
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, "verb", verb) -- for the log: the transcoder changes both
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, "path", path)
  for _, name in ipairs(NOTED) do
    if method[name] then handle:streamInfo():dynamicMetadata():set(NAMESPACE, name, method[name]) end
  end
  local fault = token_fault(headers, method)
  if fault then return refuse_unread(handle, fault) end
  if verb == "HEAD" then headers:replace(":method", "GET") end -- see `envoy_on_response`
  remove_grpc_headers(headers)
  local parameters, given, problem = known_parameters(query, method)
  if problem then return refuse_unread(handle, CONTRACT.unreadable, problem .. ".") end
  local announced = tonumber(headers:get("content-length") or "")
  if announced and announced > CONTRACT.hopeless_body then return refuse(handle, CONTRACT.too_large) end
  if method.gzip and takes_gzip(headers:get("accept-encoding")) then
    parameters[#parameters + 1] = method.gzip .. "=true"
  end
  if method.origin then parameters[#parameters + 1] = method.origin .. "=" .. origin(headers) end
  headers:replace(":path", with_parameters(path, parameters))
  local started_ms = tonumber(headers:get(CONTRACT.start_key)) * 1000
  local body = handle:body()
  local length = body and body:length() or 0
  if body and handle:timestamp() > started_ms + CONTRACT.sending_ms then return refuse(handle, CONTRACT.too_slow) end
  if length > CONTRACT.longest_body then return refuse(handle, CONTRACT.too_large) end
  if not (method.body or method.text) then
    if length == 0 then return end
    if verb ~= "DELETE" then -- whose body has no meaning (RFC 9110, section 9.3.5)
      problem = add_parameters(body:getBytes(0, length), method, parameters, given)
      if problem then return refuse(handle, CONTRACT.unreadable, problem .. ".") end
      handle:headers():replace(":path", with_parameters(path, parameters))
    end
    body:setBytes("") -- the transcoder would read fields from it
    return
  end
  if length == 0 then return refuse(handle, CONTRACT.empty) end
  handle:headers():replace(CONTRACT.body_bytes_key, tostring(length)) -- for the member's limit, which is the service's
  if method.text then
    local text = match(body:getBytes(0, length), "^%s*([%w%-_.=]+)%s*$") -- what JSON has to escape is in no such text
    if not text then return refuse(handle, CONTRACT.unreadable) end
    body:setBytes('"' .. text .. '"')
    return
  end
  local fault_text, changed = check(body:getBytes(0, length), method.body, given)
  if length > CONTRACT.heavy_body then collectgarbage() end -- of copies; Lua would wait for more of them
  if fault_text then return refuse(handle, CONTRACT.unreadable, fault_text .. ".") end
  if changed then body:setBytes(changed) end
end

-- Replaces a response by an error. `escaped` is the text as JSON, `code` the `error_code`, if there is one.
local function answer(handle, body, status, id, escaped, code)
  local headers = handle:headers()
  headers:replace(":status", tostring(status))
  headers:replace("content-type", "application/json")
  if status == 503 and not headers:get("retry-after") then headers:add("retry-after", "1") end
  if status == 401 then for name, value in pairs(CONTRACT.challenge) do headers:replace(name, value) end end
  body:setBytes(error_body(id, escaped, code))
end

-- The transcoder's own messages name internal types and repeat values, possibly a password. Only path and type are
-- passed on.
local function answer_transcoder_error(handle, body, text)
  local path, type = match(text, "^([%w_%.%[%]]+): invalid value .* for type TYPE_(%u+%d*)")
  local rule = type and CONTRACT.types[type]
  local within = noted(handle).within
  local inner = rule and within and match(path, "^" .. within .. "%.(.+)$")
  local err = CONTRACT.unreadable
  local place = rule and string.gsub(inner or path, "[%w_]+", CONTRACT.keys)
  answer(handle, body, err.status, err.id, rule and place .. ": " .. rule .. "." or err.text)
end

-- A gRPC error arrives as the transcoder's JSON of google.rpc.Status: {"code":14,"message":"…","details":[…]}. Errors
-- of the service have an `error_id`; others are grpc's own, whose messages reveal internals.
local function answer_grpc_error(handle, body, text, id, error_code)
  local code, start = match(text, '^{"code":(%d+),"message":"()')
  if code then
    local stop = closing_quote(text .. "\0", start)
    id = id or match(text, '{"@type":"type%.googleapis%.com/google%.rpc%.ErrorInfo","reason":"([%u_]+)"', stop)
    local err = CONTRACT.grpc_errors[code .. " " .. (id or "")]
    if err then return answer(handle, body, err.status, id, sub(text, start, stop - 1), error_code or err.code) end
  end
  local err = CONTRACT.bare_grpc_errors[code or "default"] or CONTRACT.bare_grpc_errors.default
  answer(handle, body, err.status, err.id, err.text)
end

-- Statuses of successful responses: the service's 200, and those of the console's files.
local FINE = { ["200"] = true, ["302"] = true, ["304"] = true, ["308"] = true }

-- Some paths have their own status for unreadable requests, whichever part finds them so.
local function status_of_unreadable(handle, status)
  local own = status == "400" and noted(handle).unreadable
  return own and string.format("%d", own) or status
end

local function replace_unreadable(handle)
  local headers = handle:headers()
  headers:replace(":status", status_of_unreadable(handle, headers:get(":status")))
end

local function format_response(handle)
  local headers = handle:headers()
  local id, content_type = headers:get(CONTRACT.error_id_key), headers:get("content-type")
  local error_code, status = headers:get(CONTRACT.error_code_key), headers:get(":status")
  local fine = FINE[status]
  local is_broken = headers:get("connection") == "close" -- no HTTP any more: the answer cannot wait (`replies.py`)
  if fine and content_type == "application/grpc" then return end -- a gRPC caller's, refused above: the status is in it
  if content_type == "application/gzip" then
    headers:replace("content-type", "application/json")
    headers:add("content-encoding", "gzip")
    headers:add("vary", "accept-encoding")
  end
  for _, name in ipairs(CONTRACT.hidden_headers) do headers:remove(name) end
  if fine then return set_cookie(handle) end
  local body = handle:body(true) -- `headers` is of no use after this
  local text = body:getBytes(0, body:length())
  local is_final = content_type == "application/json" and not match(text, '^{"code":')
  if is_final and id then return end -- the service's, which has read the body itself
  if is_broken then return end
  local by_transcoder = content_type == CONTRACT.transcoder_error
  if not (is_final or by_transcoder) then
    answer_grpc_error(handle, body, text, id, error_code)
    return replace_unreadable(handle)
  end
  local token_id, token_text = count_refusal(handle, status_of_unreadable(handle, status))
  body = handle:body(true)
  if token_id then return answer(handle, body, 401, token_id, token_text) end
  if by_transcoder then answer_transcoder_error(handle, body, text) end
  replace_unreadable(handle)
end

-- Takes the body away, if Envoy has not, and leaves its length (RFC 9110, section 8.6).
local function drop_body(handle)
  local body = handle:body(true)
  local length = body:length()
  if length == 0 then return end
  body:setBytes("")
  handle:headers():replace("content-length", tostring(length))
end

function envoy_on_response(handle)
  format_response(handle)
  if noted(handle).verb == "HEAD" then drop_body(handle) end -- the service has answered a GET
end
