-- Streams of the Connect protocol whose messages are JSON (source: https://connectrpc.com/docs/protocol, "Streaming RPCs").
-- The filter in front of it makes gRPC's headers of Connect's, and Connect's end of a stream of gRPC's trailers. The
-- transcoder behind it reads a stream as an array, and writes it as lines. What is left is done here: envelopes (a flag,
-- four bytes with a length, and a message) become elements, and lines envelopes. It stands behind `connect_errors.lua`,
-- and uses of `CONNECT`:
--   longest_body = bytes; faults = {compressed = JSON of an error, too_large = another one}

local NONE_OF_JSON = "!"
local LAST = 2

local function envelope(flag, message)
  local length = #message
  local function digit(unit) return floor(length / unit) % 256 end
  return char(flag, digit(16777216), digit(65536), digit(256), digit(1)) .. message
end

-- A piece of a stream's envelopes, as a piece of an array. `place` is where it begins: `head` is what has come of an
-- envelope's first five bytes, `missing` how much of its message has not, `opener` what stands before the next one.
local function elements(data, place)
  local parts, at = {}, 1
  while at <= #data and not place.fault do
    if place.missing > 0 then
      parts[#parts + 1] = sub(data, at, at + place.missing - 1)
      at, place.missing = at + #parts[#parts], place.missing - #parts[#parts]
    else
      local head = place.head .. sub(data, at, at + 4 - #place.head)
      at, place.head = at + #head - #place.head, head
      if #head == 5 then
        local flag, a, b, c, d = byte(head, 1, 5)
        local length = ((a * 256 + b) * 256 + c) * 256 + d
        place.fault = flag ~= 0 and "compressed" or length > CONNECT.longest_body and "too_large" or nil
        parts[#parts + 1] = (place.fault or length == 0) and NONE_OF_JSON or place.opener
        place.head, place.missing, place.opener = "", length, ","
      end
    end
  end
  return table.concat(parts)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("grpc-encoding")
  headers:remove("grpc-accept-encoding")
  headers:replace("content-type", "application/json")
  local place, last = { head = "", missing = 0, opener = "[" }, nil
  for chunk in handle:bodyChunks() do
    chunk:setBytes(elements(chunk:getBytes(0, chunk:length()), place))
    if place.fault then handle:streamInfo():dynamicMetadata():set("instantaudience", "fault", place.fault) end
    last = chunk
  end
  if not last or handle:trailers() then return end -- a chunk is of use until the next one
  local closer = place.head ~= "" and NONE_OF_JSON or place.opener == "[" and "[]" or "]"
  last:setBytes(last:getBytes(0, last:length()) .. closer)
end

-- Why a stream ends that has no messages.
local function failure_of(handle)
  local failure = take_failure(handle)
  if failure then return failure end
  local noted = handle:streamInfo():dynamicMetadata():get("instantaudience")
  if noted then return CONNECT.faults[noted.fault] end
  local body = handle:body(true)
  return body:getBytes(0, body:length())
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") == "200" and (headers:get("grpc-status") or "0") == "0" then
    headers:replace("content-type", "application/grpc+json")
    for chunk in handle:bodyChunks() do
      local lines = chunk:getBytes(0, chunk:length())
      chunk:setBytes((lines:gsub("([^\n]+)\n", function(line) return envelope(0, line) end)))
    end
    return
  end
  local failure = failure_of(handle)
  headers = handle:headers()
  headers:replace(":status", "200")
  headers:replace("content-type", "application/connect+json")
  handle:body(true):setBytes(envelope(LAST, '{"error":' .. failure .. "}"))
end
