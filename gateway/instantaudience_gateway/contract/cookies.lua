-- The session cookie (source: contract's neighbours, section 1): `POST /auth` sets it, and calls without a token
-- elsewhere use it. It follows `CONTRACT` and `body.lua` in one chunk, and uses of `CONTRACT`:
--   cookie = {name, path = of sign-in and sign-out, attributes, set = ends with its session, unset = ends now}

local lower, match = string.lower, string.match

local function without_usual_port(authority)
  return (gsub(lower(authority), ":%d+$", { [":80"] = "", [":443"] = "" }))
end

-- Whether a browser reports that another site caused this request, which must not act with its user's session (CSRF).
local function is_of_another_site(headers)
  if lower(headers:get("sec-fetch-site") or "") == "cross-site" then return true end
  local origin = headers:get("origin")
  if not origin then return false end
  local authority = match(origin, "^%w+://([^/]+)$")
  return not authority or without_usual_port(authority) ~= without_usual_port(headers:get(":authority") or "")
end

-- The token in the request's cookie, or nil.
local function cookie_token(headers)
  local cookies = headers:get("cookie")
  if not cookies or is_of_another_site(headers) then return nil end
  return match(";" .. cookies, "[;,]%s*" .. CONTRACT.cookie.name .. "=([^;,%s]+)")
end

-- Notes on a request that its response may set the cookie; not for requests from other sites, which could choose the
-- user otherwise.
local function note_cookie(handle, path, method)
  if path ~= CONTRACT.cookie.path or is_of_another_site(handle:headers()) then return end
  local secure = handle:headers():get("x-forwarded-proto") == "https" and "; Secure" or ""
  handle:streamInfo():dynamicMetadata():set(CONTRACT.cookie.name, method, secure)
end

-- Sets the cookie in the response to a successful sign-in, and removes it in that to a sign-out.
local function set_cookie(handle)
  local noted = handle:streamInfo():dynamicMetadata():get(CONTRACT.cookie.name)
  if not noted then return end
  local value, how, secure = "", CONTRACT.cookie.unset, noted["DELETE"]
  if noted["POST"] then
    local body = handle:body(true)
    value = match(body:getBytes(0, body:length()), '"token":"([^"]+)"')
    how, secure = CONTRACT.cookie.set, noted["POST"]
  end
  if not value then return end
  handle:headers():add("set-cookie", CONTRACT.cookie.name .. "=" .. value .. how .. CONTRACT.cookie.attributes .. secure)
end
