-- Streams of the Connect protocol with JSON messages (source: https://connectrpc.com/docs/protocol, "Streaming RPCs").
-- The filter before this one translates between the headers and trailers of Connect and gRPC; the transcoder after it
-- reads a stream as a JSON array, and writes it as lines. This filter turns envelopes (a flag, a length of four bytes,
-- and a message) into array elements, and lines into envelopes. It follows `body.lua` and `connect_errors.lua`, and
-- uses of `CONNECT`:
--   longest_body = bytes; faults = {compressed = JSON of an error, too_large = another one}

local NONE_OF_JSON = "}" -- wherever it stands, whatever comes next: of other text the parser would wait for more
local LAST = 2
local MOST_PIECES = 256 -- a message in tiny ones would take many times its length

local function envelope(flag, message)
  local length = #message
  local function digit(unit) return floor(length / unit) % 256 end
  return char(flag, digit(16777216), digit(65536), digit(256), digit(1)) .. message
end

-- Converts a chunk of envelopes to a chunk of the array. `place` is the state: `head` has the received part of an
-- envelope's first five bytes, `missing` is how much of its message has not arrived, `held` has the chunks of it that
-- have, `opener` precedes the next message. A message is passed on only when it is complete, and only if it is a single
-- object: the transcoder would buffer an unfinished one together with everything after it.
local function elements(data, place)
  local parts, at = {}, 1
  while at <= #data and not place.is_over do
    if place.missing > 0 then
      local piece = sub(data, at, at + place.missing - 1)
      at, place.missing = at + #piece, place.missing - #piece
      if #place.held == MOST_PIECES then place.held = { concat(place.held) } end
      place.held[#place.held + 1] = piece
    else
      local head = place.head .. sub(data, at, at + 4 - #place.head)
      at, place.head = at + #head - #place.head, head
      if #head == 5 then
        local flag, a, b, c, d = byte(head, 1, 5)
        local length = ((a * 256 + b) * 256 + c) * 256 + d
        place.fault = flag ~= 0 and "compressed" or length > CONNECT.longest_body and "too_large" or nil
        place.is_over = place.fault or length == 0
        place.head, place.missing, place.held = "", length, {}
        if place.is_over then parts[#parts + 1] = NONE_OF_JSON end
      end
    end
    if place.missing == 0 and #place.held > 0 then
      local message = concat(place.held)
      place.is_over = check(message, nil, {}) ~= nil
      parts[#parts + 1] = place.is_over and NONE_OF_JSON or place.opener .. message
      place.held, place.opener = {}, ","
    end
  end
  return concat(parts)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  headers:remove("grpc-encoding")
  headers:remove("grpc-accept-encoding")
  drop_query(headers)
  headers:replace("content-type", "application/json")
  local place, last = { head = "", missing = 0, held = {}, opener = "[" }, nil
  for chunk in handle:bodyChunks() do
    chunk:setBytes(elements(chunk:getBytes(0, chunk:length()), place))
    if place.fault then handle:streamInfo():dynamicMetadata():set("instantaudience", "fault", place.fault) end
    last = chunk
  end
  if handle:trailers() then return end -- a chunk is of use until the next one
  if not last then return handle:body(true):setBytes("[]") end -- a stream without messages may have no body at all
  local is_cut = place.head ~= "" or place.missing > 0
  local closer = is_cut and NONE_OF_JSON or place.opener == "[" and "[]" or "]"
  last:setBytes(last:getBytes(0, last:length()) .. closer)
end

-- The failure of a stream without messages.
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
    local trailers = handle:trailers()
    if trailers then mend_failure(handle, trailers) end
    return
  end
  local failure = failure_of(handle)
  headers = handle:headers()
  headers:replace(":status", "200")
  headers:replace("content-type", "application/connect+json")
  handle:body(true):setBytes(envelope(LAST, '{"error":' .. failure .. "}"))
end
