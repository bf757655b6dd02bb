-- The REST contract, where Envoy's transcoder is more lenient than the contract is (source: contract, "Errors",
-- "Tokens", "POST /rt-segment"). `CONTRACT` stands in front of this text; `script.py` makes it from the descriptor and
-- the error table:
--   endpoints[path] = {allow = "GET, POST", methods[method] = {parameters = {name = true}, body = message name or nil}}
--   messages[name][key] = {bit = 2^n, list = boolean, message = name or nil, type = name of a scalar type or nil}
--   types[type] = rule; depth = levels of nesting; grpc_errors["<grpc code> <error_id>"] = HTTP status
--   bare_grpc_errors[grpc code] = error (also .default); unreadable, no_path, no_method = errors {status, id, text}
--   error_id_key, hidden_headers = {name, …}, transcoder_error = content type that marks an error of the transcoder

local byte, sub, gsub, char, format = string.byte, string.sub, string.gsub, string.char, string.format
local find, match, gmatch, concat, band, bor = string.find, string.match, string.gmatch, table.concat, bit.band, bit.bor

-- What may stand as a value. The order counts: from LIST up, only a container will do.
local ANY, SCALAR, LIST, OBJECT = 0, 1, 2, 3
local RULES = { [LIST] = "must be a list", [OBJECT] = "must be an object" }
local NO_FIELDS = {}
local UNKNOWN = { bit = 0, expect = ANY, item = ANY, fields = NO_FIELDS }

for _, fields in pairs(CONTRACT.messages) do
  for _, field in pairs(fields) do
    field.fields = field.message and CONTRACT.messages[field.message] or NO_FIELDS
    field.item = field.message and OBJECT or SCALAR
    field.expect = field.list and LIST or field.item
  end
end

local ESCAPES, HEX = {}, {}
for c in gmatch('"\\/bfnrt', ".") do ESCAPES[byte(c)] = true end
for c in gmatch("0123456789abcdefABCDEF", ".") do HEX[byte(c)] = true end
local LITERALS = { [byte("t")] = "true", [byte("f")] = "false", [byte("n")] = "null" }
local NULL = byte("n")

-- Where the next token starts, and its first byte.
local function token(s, i)
  local c = byte(s, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

-- Where the string that starts after `i - 1` has its closing quote; nil when it is none (RFC 8259, section 7). UTF-8 and
-- surrogates are left to the transcoder.
local function closing_quote(s, i)
  local c = byte(s, i)
  while c ~= 34 do
    if c == 92 then
      c = byte(s, i + 1)
      if c == 117 then
        for j = i + 2, i + 5 do
          if not HEX[byte(s, j)] then return nil end
        end
        i = i + 6
      elseif ESCAPES[c] then
        i = i + 2
      else
        return nil
      end
    elseif c < 32 then
      return nil
    else
      i = i + 1
    end
    c = byte(s, i)
  end
  return i
end

local function after_digits(s, i)
  local c = byte(s, i)
  while c >= 48 and c <= 57 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

-- Where the number that starts at `i` has ended; nil when it is none (RFC 8259, section 6).
local function after_number(s, i)
  if byte(s, i) == 45 then i = i + 1 end
  local stop, c = after_digits(s, i)
  if stop == i or (byte(s, i) == 48 and stop > i + 1) then return nil end
  if c == 46 then
    i = stop + 1
    stop, c = after_digits(s, i)
    if stop == i then return nil end
  end
  if c == 101 or c == 69 then
    i = stop + 1
    c = byte(s, i)
    if c == 43 or c == 45 then i = i + 1 end
    stop = after_digits(s, i)
    if stop == i then return nil end
  end
  return stop
end

-- A key as it is compared with the known ones, which are plain ASCII: any other character is as good as another.
local function unescape(key)
  return (gsub(key, "\\(.)(%x?%x?%x?%x?)", function(letter, rest)
    if letter ~= "u" then return "?" .. rest end
    local code = tonumber(rest, 16)
    return code < 128 and char(code) or "?"
  end))
end

-- The containers that are open, outermost first. An object has index -1 and its fields, the key being read and a bit
-- for each known key that had a value; a list has the index of its element and the field that says what those are.
local indexes, known, keys, seen, elements = {}, {}, {}, {}, {}

local function fault(depth, rule)
  local path = {}
  for level = 1, depth do
    path[#path + 1] = indexes[level] >= 0 and "[" .. indexes[level] .. "]" or (level > 1 and "." or "") .. keys[level]
  end
  return concat(path) .. (depth > 0 and ": " or "The body ") .. rule
end

local function malformed(i)
  return format("The body is not JSON (byte %d)", i)
end

-- The body with a name for each empty key at `positions`: unknown keys are ignored, but the transcoder refuses this one.
local function name_empty_keys(body, positions)
  local parts, start = {}, 1
  for _, position in ipairs(positions) do
    parts[#parts + 1] = sub(body, start, position) .. "?"
    start = position + 1
  end
  return concat(parts) .. sub(body, start)
end

-- What is wrong with a body: nil, or a text that names the path and the rule. Then, where the transcoder needs another
-- body than the one received, that body.
local function check(body, message)
  local empty_keys = {}
  local s = body .. "\0" -- no loop passes the end: NUL is no part of any token
  local field, expect = { fields = CONTRACT.messages[message] }, OBJECT
  local depth = 0
  local i, c = token(s, 1)
  while true do
    local is_open, next_key = false, false
    if c == 123 or c == 91 then
      if expect ~= ANY and expect ~= (c == 123 and OBJECT or LIST) then
        return fault(depth, RULES[expect] or CONTRACT.types[field.type])
      end
      depth = depth + 1
      if depth > CONTRACT.depth then return "The body is nested too deeply" end
      if c == 123 then
        indexes[depth], seen[depth] = -1, 0
        known[depth] = expect == OBJECT and field.fields or NO_FIELDS
        i, c = token(s, i + 1)
        is_open = c ~= 125
        next_key = is_open
      else
        indexes[depth] = 0
        elements[depth] = expect == LIST and field or UNKNOWN
        i, c = token(s, i + 1)
        is_open = c ~= 93
      end
      if not is_open then
        depth = depth - 1
        i = i + 1
      end
    elseif c == 34 then
      if expect >= LIST then return fault(depth, RULES[expect]) end
      local stop = closing_quote(s, i + 1)
      if not stop then return malformed(i) end
      i = stop + 1
    elseif c == 45 or (c >= 48 and c <= 57) then
      if expect >= LIST then return fault(depth, RULES[expect]) end
      local stop = after_number(s, i)
      if not stop then return malformed(i) end
      i = stop
    else
      local literal = LITERALS[c]
      if not literal or sub(s, i, i + #literal - 1) ~= literal then return malformed(i) end
      local is_absent = c == NULL and depth > 0 and indexes[depth] < 0
      if not is_absent and (expect >= LIST or (expect == SCALAR and c == NULL)) then
        return fault(depth, RULES[expect] or CONTRACT.types[field.type])
      end
      i = i + #literal
    end
    if not is_open then
      while true do
        i, c = token(s, i)
        if depth == 0 then
          if i <= #body then return malformed(i) end
          return nil, #empty_keys > 0 and name_empty_keys(body, empty_keys)
        end
        local index = indexes[depth]
        if c == 44 then
          if index < 0 then next_key = true else indexes[depth] = index + 1 end
          i, c = token(s, i + 1)
          break
        elseif c ~= (index < 0 and 125 or 93) then
          return malformed(i)
        end
        depth = depth - 1
        i = i + 1
      end
    end
    if next_key then
      local stop = c == 34 and closing_quote(s, i + 1)
      if not stop then return malformed(i) end
      field = UNKNOWN
      if known[depth] ~= NO_FIELDS then
        local key = sub(s, i + 1, stop - 1)
        if key == "" then empty_keys[#empty_keys + 1] = i end
        field = known[depth][key]
        if not field then
          key = unescape(key)
          field = known[depth][key] or UNKNOWN
        end
        keys[depth] = key
      end
      expect = field.expect
      i, c = token(s, stop + 1)
      if c ~= 58 then return malformed(i) end
      i, c = token(s, i + 1)
      if field ~= UNKNOWN and c ~= NULL then
        if band(seen[depth], field.bit) ~= 0 then return fault(depth, "must not stand twice") end
        seen[depth] = bor(seen[depth], field.bit)
      end
    else
      field = elements[depth]
      expect = field.item
    end
  end
end

local function error_body(id, escaped)
  return '{"response":{"status":"ERROR","error_id":"' .. id .. '","error":"' .. escaped .. '"}}'
end

local function refuse(handle, err, text, allow)
  local headers = { [":status"] = tostring(err.status), ["content-type"] = "application/json", allow = allow }
  handle:respond(headers, error_body(err.id, text or err.text))
end

local function decode_percent(text)
  return (gsub(text, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

-- A blank Authorization header is none; the query parameter counts only where there is none (contract, "Tokens"). A
-- parameter with anything but visible ASCII can be no token, and must not get into a header.
local function take_token(headers, query)
  local authorization = headers:get("authorization")
  if authorization and match(authorization, "%S") then return end
  headers:remove("authorization")
  local token_parameter = match("&" .. query, "&access_token=([^&]*)")
  local access_token = token_parameter and decode_percent(token_parameter)
  if access_token and match(access_token, "^[\33-\126]+$") then headers:add("authorization", access_token) end
end

-- The characters beyond ASCII (RFC 3629, section 4).
local UTF8 = {
  "[\194-\223][\128-\191]",
  "\224[\160-\191][\128-\191]",
  "[\225-\236\238\239][\128-\191][\128-\191]",
  "\237[\128-\159][\128-\191]",
  "\240[\144-\191][\128-\191][\128-\191]",
  "[\241-\243][\128-\191][\128-\191][\128-\191]",
  "\244[\128-\143][\128-\191][\128-\191]",
}

local function is_utf8(text)
  for _, character in ipairs(UTF8) do text = gsub(text, character, " ") end
  return not find(text, "[\128-\255]")
end

-- A query without the parameters that the method does not know (the transcoder would bind them to fields of the body);
-- and what is wrong with it, or nil.
local function known_parameters(query, parameters)
  local kept, problem = {}, nil
  for parameter in gmatch(query, "[^&]+") do
    local name, value = match(parameter, "^([^=]*)=?(.*)$")
    name = decode_percent(name)
    if parameters[name] then
      kept[#kept + 1] = parameter
      if not is_utf8(decode_percent(value)) then problem = name .. ": must be UTF-8" end
    end
  end
  return #kept > 0 and "?" .. concat(kept, "&") or "", problem
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = match(headers:get(":path") or "", "^([^?#]*)%??([^#]*)") -- CONNECT has no path
  local endpoint = CONTRACT.endpoints[path]
  if not endpoint then return refuse(handle, CONTRACT.no_path) end
  local method = endpoint.methods[headers:get(":method")]
  if not method then return refuse(handle, CONTRACT.no_method, nil, endpoint.allow) end
  take_token(headers, query)
  local parameters, problem = known_parameters(query, method.parameters)
  if problem then return refuse(handle, CONTRACT.unreadable, problem .. ".") end
  headers:replace(":path", path .. parameters)
  local body = handle:body()
  local length = body and body:length() or 0
  if not method.body then
    if length > 0 then body:setBytes("") end -- the transcoder would read fields from it
    return
  end
  if length == 0 then return refuse(handle, CONTRACT.unreadable, "The body is empty.") end
  local fault_text, changed = check(body:getBytes(0, length), method.body)
  if fault_text then return refuse(handle, CONTRACT.unreadable, fault_text .. ".") end
  if changed then body:setBytes(changed) end
end

-- `escaped` is the text as it stands in JSON.
local function answer(handle, body, status, id, escaped)
  local headers = handle:headers()
  headers:replace(":status", tostring(status))
  headers:replace("content-type", "application/json")
  if status == 503 and not headers:get("retry-after") then headers:add("retry-after", "1") end
  body:setBytes(error_body(id, escaped))
end

-- The transcoder's own texts name inner types and repeat values (a password, even); the path and the type are what is
-- of use outside.
local function answer_transcoder_error(handle, body, text)
  local path, type = match(text, "^([%w_%.%[%]]+): invalid value .* for type TYPE_(%u+%d*)")
  local rule = type and CONTRACT.types[type]
  local err = CONTRACT.unreadable
  answer(handle, body, err.status, err.id, rule and path .. ": " .. rule .. "." or err.text)
end

-- A gRPC error comes as the transcoder's JSON of google.rpc.Status: {"code":14,"message":"…","details":[…]}. An error of
-- the service names its `error_id`; others are grpc's own, and their texts tell of the inside.
local function answer_grpc_error(handle, body, text, id)
  local code, start = match(text, '^{"code":(%d+),"message":"()')
  if code then
    local stop = closing_quote(text .. "\0", start)
    id = id or match(text, '{"@type":"type%.googleapis%.com/google%.rpc%.ErrorInfo","reason":"([%u_]+)"', stop)
    local status = CONTRACT.grpc_errors[code .. " " .. (id or "")]
    if status then return answer(handle, body, status, id, sub(text, start, stop - 1)) end
  end
  local err = CONTRACT.bare_grpc_errors[code or "default"] or CONTRACT.bare_grpc_errors.default
  answer(handle, body, err.status, err.id, err.text)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local id, content_type = headers:get(CONTRACT.error_id_key), headers:get("content-type")
  for _, name in ipairs(CONTRACT.hidden_headers) do headers:remove(name) end
  if headers:get(":status") == "200" then return end
  local body = handle:body(true) -- `headers` is of no use after this
  local text = body:getBytes(0, body:length())
  if content_type == CONTRACT.transcoder_error then
    answer_transcoder_error(handle, body, text)
  elseif content_type ~= "application/json" or match(text, '^{"code":') then -- other answers are the gateway's own
    answer_grpc_error(handle, body, text, id)
  end
end
