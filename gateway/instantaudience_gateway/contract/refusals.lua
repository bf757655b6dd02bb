-- Tells the service of calls that are refused before it sees them, so that they count as their member's (source:
-- contract-neighbours, "num_other_errors" and "order of checks"). It stands behind `CONTRACT` and `body.lua` in one chunk,
-- and uses of `CONTRACT`:
--   refusals[HTTP status] = message for the service; count_path = the method that takes it, in `cluster`
--   count_ms = how long that may take; unknown_token_first[HTTP status] = true where a token that turns out to be
--     unknown counts before what the call is refused for
--   error_id_key, certificate_key = names of headers; tells_certificates = whether that method believes the latter of the
--     gateway

local NOTES, TOKEN, CERTIFICATE, REQUEST_ID, PASSED = "gateway", "authorization", "certificate", "x-request-id", "passed"
local UNAUTHENTICATED = "16"

-- What the caller's certificate says of who it is, or nil.
local function certificate(headers)
  local names = headers:get(CONTRACT.certificate_key)
  return names and not find(names, "^uri=%-? dns=%-?$") and names or nil
end

-- Keeps what is needed when the call turns out to be refused: then, its headers are not to be had any more.
local function note_token(handle)
  local headers, notes = handle:headers(), handle:streamInfo():dynamicMetadata()
  local token = headers:get("authorization")
  if token and #token > CONTRACT.longest_authorization then return end
  local names = not token and CONTRACT.tells_certificates and certificate(headers)
  if not (token or names) then return end
  notes:set(NOTES, token and TOKEN or CERTIFICATE, token or names)
  notes:set(NOTES, REQUEST_ID, headers:get("x-request-id") or "")
end

-- The service may answer from now on: an answer that is held back meanwhile would meet that.
local function note_passed(handle)
  handle:streamInfo():dynamicMetadata():set(NOTES, PASSED, true)
end

-- Has a refused call counted, unless the service has it. Returns the error ID and text of what is wrong with its token, where that counts first.
local function count_refusal(handle, status, by_transcoder)
  local message, notes = CONTRACT.refusals[status], handle:streamInfo():dynamicMetadata():get(NOTES)
  if not (message and notes and (notes[TOKEN] or notes[CERTIFICATE])) then return nil end
  if notes[PASSED] and not by_transcoder then return nil end
  local call = {
    [":method"] = "POST",
    [":path"] = CONTRACT.count_path,
    [":authority"] = "gateway",
    ["content-type"] = "application/grpc",
    te = "trailers",
    ["grpc-timeout"] = CONTRACT.count_ms .. "m",
    authorization = notes[TOKEN],
    [CONTRACT.certificate_key] = notes[CERTIFICATE],
    ["x-request-id"] = notes[REQUEST_ID],
  }
  local answer = handle:httpCall(CONTRACT.cluster, call, message, CONTRACT.count_ms)
  if not CONTRACT.unknown_token_first[status] or answer["grpc-status"] ~= UNAUTHENTICATED then return nil end
  return answer[CONTRACT.error_id_key], (gsub(answer["grpc-message"] or "", "%%(%x%x)", function(hex)
    return char(tonumber(hex, 16))
  end))
end
