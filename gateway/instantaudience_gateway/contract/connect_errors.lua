-- Queries and errors of Connect calls (source: https://connectrpc.com/docs/protocol, "Error end-stream"). It precedes
-- `connect.lua`, `connect_streams.lua` and `connect_details.lua`, and uses of `CONNECT`:
--   errors[<grpc code>] = {name = Connect's code, status = HTTP status}; unknown = the one in place of other codes
--   details_key = name of a header; hidden_headers = {name, …}

local byte, char, floor, sub = string.byte, string.char, math.floor, string.sub

local SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local PLACES = {}
for place = 1, #SIGNS do PLACES[byte(SIGNS, place)] = place - 1 end

local function from_base64(text)
  local bytes, held, bits = {}, 0, 0
  for index = 1, #text do
    local place = PLACES[byte(text, index)]
    if place then
      held, bits = held * 64 + place, bits + 6
      if bits >= 8 then
        bits = bits - 8
        local unit = 2 ^ bits
        bytes[#bytes + 1] = char(floor(held / unit))
        held = held % unit
      end
    end
  end
  return table.concat(bytes)
end

local function varint(data, at)
  local number, unit = 0, 1
  while true do
    local digit = byte(data, at)
    number, at = number + digit % 128 * unit, at + 1
    if digit < 128 then return number, at end
    unit = unit * 128
  end
end

-- Calls `take(number, bytes)` for each length-delimited field of a message. The other fields of google.rpc.Status and
-- Any are varints.
local function each_field(data, take)
  local at = 1
  while at <= #data do
    local key, value
    key, at = varint(data, at)
    value, at = varint(data, at)
    if key % 8 == 2 then
      take(floor(key / 8), sub(data, at, at + value - 1))
      at = at + value
    end
  end
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\" }

local function json_text(text)
  return '"' .. text:gsub('[%c"\\]', function(sign) return ESCAPES[sign] or string.format("\\u%04x", byte(sign)) end) .. '"'
end

-- The content of a google.rpc.Status: its message, and `detail(name of a type, bytes)` of each of its details.
local function status_parts(data, detail)
  local message, details = "", {}
  each_field(data, function(number, value)
    if number == 2 then message = value end
    if number ~= 3 then return end
    local any = {}
    each_field(value, function(part, content) any[part] = content end)
    details[#details + 1] = detail(any[1]:match("[^/]*$"), any[2] or "")
  end)
  return message, details
end

local function unescaped(text, escape)
  return (text:gsub(escape, function(digits) return char(tonumber(digits, 16)) end))
end

-- Removes gRPC's headers from a response. If they report a failure, returns its JSON and its HTTP status, else nil.
local function take_failure(handle)
  local headers = handle:headers()
  local code, text = headers:get("grpc-status"), headers:get("grpc-message")
  local encoded = headers:get(CONNECT.details_key)
  for _, name in ipairs(CONNECT.hidden_headers) do headers:remove(name) end
  if not code or code == "0" then return nil end
  local err = CONNECT.errors[code] or CONNECT.unknown
  local message, details = unescaped(text or "", "%%(%x%x)"), {}
  if encoded then
    message, details = status_parts(from_base64(encoded), function(name, value)
      local unpadded = handle:base64Escape(value):match("^[^=]*") -- as Connect has it
      return '{"type":' .. json_text(name) .. ',"value":"' .. unpadded .. '"}'
    end)
  end
  local parts = { '{"code":"' .. err.name .. '","message":' .. json_text(message) }
  if #details > 0 then parts[2] = '"details":[' .. table.concat(details, ",") .. "]" end
  return table.concat(parts, ",") .. "}", err.status
end

local function varint_of(number)
  local digits = {}
  while number >= 128 do
    digits[#digits + 1] = char(128 + number % 128)
    number = floor(number / 128)
  end
  return table.concat(digits) .. char(number)
end

local function field(number, content)
  return char(8 * number + 2) .. varint_of(#content) .. content
end

-- Puts a failure, in a response's headers or trailers, as Connect has it, because Envoy's filter passes it on as it is:
-- its text without gRPC's escapes, but for control characters, which no header may have, and of the types of its details
-- the names alone ("google.rpc.ErrorInfo"): with "type.googleapis.com/", clients do not know them.
local function mend_failure(handle, headers)
  local text = headers:get("grpc-message")
  if text then headers:replace("grpc-message", unescaped(text, "%%([2-9A-Fa-f]%x)")) end
  local encoded = headers:get(CONNECT.details_key)
  if not encoded then return end
  local message, details = status_parts(from_base64(encoded), function(name, value)
    return field(3, field(1, name) .. field(2, value))
  end)
  local code = char(8) .. varint_of(tonumber(headers:get("grpc-status")))
  headers:replace(CONNECT.details_key, handle:base64Escape(code .. field(2, message) .. table.concat(details)))
end

-- Removes the query of a call, which means nothing: the transcoder would read fields of the message from it, or pass on a
-- call with a parameter that it does not know as it is.
local function drop_query(headers)
  headers:replace(":path", headers:get(":path"):match("^[^?]*"))
end
