-- Reports calls that the gateway refuses to the service, so that they count in their member's usage (source:
-- contract-neighbours, "num_other_errors" and "order of checks"). It follows `CONTRACT` and `body.lua` in one chunk,
-- and uses of `CONTRACT`:
--   refusals[HTTP status] = message for the service; count_path = the method that takes it, in `cluster`
--   count_ms = how long that may take; unknown_token_first[HTTP status] = true where a token that turns out to be
--     unknown counts before what the call is refused for
--   error_id_key, certificate_key = names of headers

local NOTES, TOKEN, CERTIFICATE, REQUEST_ID = "gateway", "authorization", "certificate", "x-request-id"
local UNAUTHENTICATED = "16"

-- The names in the caller's certificate, or nil.
local function certificate(headers)
  local names = headers:get(CONTRACT.certificate_key)
  return names and not find(names, "^uri=%-? dns=%-?$") and names or nil
end

-- Notes what a later report needs: the request's headers are not available when the response is processed.
local function note_token(handle)
  local headers, notes = handle:headers(), handle:streamInfo():dynamicMetadata()
  local token = headers:get("authorization")
  if token and #token > CONTRACT.longest_authorization then return end
  local names = not token and certificate(headers)
  if not (token or names) then return end
  notes:set(NOTES, token and TOKEN or CERTIFICATE, token or names)
  notes:set(NOTES, REQUEST_ID, headers:get("x-request-id") or "")
end

-- Reports a refused call, which the service has not received. Returns the error ID and text of an invalid token, if that
-- takes precedence.
local function count_refusal(handle, status)
  local message, notes = CONTRACT.refusals[status], handle:streamInfo():dynamicMetadata():get(NOTES)
  if not (message and notes and (notes[TOKEN] or notes[CERTIFICATE])) then return nil end
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
