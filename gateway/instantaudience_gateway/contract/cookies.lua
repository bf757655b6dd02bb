-- The session cookie (source: contract's neighbours, section 1): `POST /auth` sets it, and calls that say no token in
-- another way use it. It stands behind `CONTRACT` and `body.lua` in one chunk, and uses of `CONTRACT`:
--   cookie = {name, path = of sign-in and sign-out, attributes, set = ends with its session, unset = ends now}

local lower, match = string.lower, string.match

local function without_usual_port(authority)
  return (gsub(lower(authority), ":%d+$", { [":80"] = "", [":443"] = "" }))
end

-- Whether a browser says that another site has it send this request. Such a one must not act in its user's name.
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

-- Notes on a request what its answer may have to do. Nor does another site choose as whom a browser is signed in here.
local function note_cookie(handle, path, method)
  if path ~= CONTRACT.cookie.path or is_of_another_site(handle:headers()) then return end
  local secure = handle:headers():get("x-forwarded-proto") == "https" and "; Secure" or ""
  handle:streamInfo():dynamicMetadata():set(CONTRACT.cookie.name, method, secure)
end

-- Sets the cookie in the answer to a sign-in, and takes it away in that to a sign-out. Both have succeeded.
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
