-- Failures of Connect calls with protobuf messages (source: https://connectrpc.com/docs/protocol, "Error end-stream"). The
-- filter before this one translates them. It follows `connect_errors.lua`.

function envoy_on_response(handle)
  mend_failure(handle, handle:headers())
  for _ in handle:bodyChunks() do end -- they pass
  local trailers = handle:trailers()
  if trailers then mend_failure(handle, trailers) end
end
