-- Unary calls of the Connect protocol with JSON messages (source: https://connectrpc.com/docs/protocol,
-- "Unary-Request", "Unary-Response"). The transcoder after this filter converts the JSON; this filter formats errors.
-- It follows `connect_errors.lua`, and uses of `CONNECT`:
--   longest_body = bytes; body_bytes_key = name of a header

function envoy_on_request(handle)
  local headers = handle:headers()
  local names = {}
  for name in pairs(headers) do
    if name:find("^grpc%-") or name:find("%-bin$") then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do headers:remove(name) end
  drop_query(headers)
  local timeout = headers:get("connect-timeout-ms")
  if timeout and timeout:find("^%d+$") and #timeout <= 8 then headers:add("grpc-timeout", timeout .. "m") end
  local body = handle:body() -- the transcoder bounds the parts that it reads, not all of them together
  if not body then return end
  if body:length() > CONNECT.longest_body then return handle:respond({ [":status"] = "413" }, "") end
  handle:headers():replace(CONNECT.body_bytes_key, tostring(body:length())) -- for the member's limit, which is the service's
end

function envoy_on_response(handle)
  local failure, status = take_failure(handle)
  if not failure then return end
  local headers = handle:headers()
  headers:replace(":status", tostring(status))
  headers:replace("content-type", "application/json")
  handle:body(true):setBytes(failure)
end
