-- Failures of Connect calls with protobuf messages (source: https://connectrpc.com/docs/protocol, "Error end-stream"). The
-- filter before this one translates them. It follows `connect_errors.lua`.

function envoy_on_response(handle)
  name_details(handle, handle:headers())
  for _ in handle:bodyChunks() do end -- they pass
  local trailers = handle:trailers()
  if trailers then name_details(handle, trailers) end
end
