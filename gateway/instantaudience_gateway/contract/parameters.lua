-- Reads the parameters of a request from the query, from the path (`/segment/<member id>`) or, where the method has no
-- body of its own, from a JSON body. It follows `CONTRACT` and `body.lua`, and uses of `CONTRACT`:
--   aliases = {{pattern = Lua pattern of a path, path = the plain path, parameters = {name, …} for its captures}, …}
--   meaningless = {[name that is no error where it is no parameter] = true}
--   counts = {[parameter of which too much is as good as the most] = true}; most = an integer of 32 bits
-- A `method` is what `contract.lua` says of endpoints; of it this uses `parameters`, `defaults` and `strict`.

local match = string.match

local function decode_percent(text)
  return (gsub(text, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

local function is_utf8(text)
  local s, i = text .. "\0", 1
  while i and i <= #text do i = after_character(s, i, byte(s, i)) end
  return i ~= nil
end

-- Splits a path with parameters into the plain path and a query.
local function plain_path(path, query)
  for _, alias in ipairs(CONTRACT.aliases) do
    local values = { match(path, alias.pattern) }
    if #values > 0 then
      for i, name in ipairs(alias.parameters) do query = query .. "&" .. name .. "=" .. values[i] end
      return alias.path, query
    end
  end
  return path, query
end

-- The parameter for the token, which every method has.
local TOKEN_PARAMETER = "access_token"

-- The first token in a query, or nil; whether there is another is the business of `known_parameters`.
local function token_parameter(query)
  for parameter in gmatch(query, "[^&]+") do
    local name, value = match(parameter, "^([^=]*)=(.+)$")
    if name and decode_percent(name) == TOKEN_PARAMETER then return decode_percent(value) end
  end
  return nil
end

-- The error for an unknown parameter, or nil.
local function unknown_fault(name, method)
  if not method.strict or name == "" or name == TOKEN_PARAMETER or CONTRACT.meaningless[name] then return nil end
  return (match(name, "^[%w_.-]+$") or "A parameter") .. ": there is no such parameter"
end

-- A parameter as the transcoder accepts it: counts beyond 32 bits become the largest integer.
local function written(name, value)
  local digits = CONTRACT.counts[name] and match(decode_percent(value), "^0*(%d+)$")
  if digits and #digits >= #CONTRACT.most then value = CONTRACT.most end
  return name .. "=" .. value
end

-- Filters the parameters of a query: without unknown ones, which the transcoder would bind to fields of the body,
-- without empty ones, which it rejects as numbers, and without the token. Returns the parameters, the set of their
-- names, and an error or nil.
local function known_parameters(query, method)
  local kept, given, problem = {}, {}, nil
  for parameter in gmatch(query, "[^&]+") do
    local name, value = match(parameter, "^([^=]*)=?(.*)$")
    local spelling = decode_percent(name)
    name = spelling == TOKEN_PARAMETER and spelling or method.parameters[spelling]
    if not name then
      problem = problem or unknown_fault(spelling, method)
    elseif value ~= "" then
      if given[name] then problem = name .. ": must not stand twice" end
      given[name] = true
      if name ~= TOKEN_PARAMETER then
        kept[#kept + 1] = written(name, value)
        if not is_utf8(decode_percent(value)) then problem = name .. ": must be UTF-8" end
      end
    end
  end
  for name, value in pairs(method.defaults) do
    if not given[name] then kept[#kept + 1] = name .. "=" .. value end
  end
  return kept, given, problem
end

local function with_parameters(path, parameters)
  return #parameters > 0 and path .. "?" .. concat(parameters, "&") or path
end

-- Encodes a code point as UTF-8 (RFC 3629, section 3). A lone surrogate becomes invalid UTF-8.
local function utf8_of(code)
  if code < 0x80 then return char(code) end
  local last = char(0x80 + code % 0x40)
  local rest = (code - code % 0x40) / 0x40
  if code < 0x800 then return char(0xC0 + rest) .. last end
  local middle = char(0x80 + rest % 0x40)
  rest = (rest - rest % 0x40) / 0x40
  if code < 0x10000 then return char(0xE0 + rest) .. middle .. last end
  return char(0xF0 + (rest - rest % 0x40) / 0x40) .. char(0x80 + rest % 0x40) .. middle .. last
end

local LETTERS = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

-- Unescapes a JSON string (RFC 8259, section 7); `text` is what is between its quotes.
local function unquote(text)
  local parts, i = {}, 1
  while true do
    local start = find(text, "\\", i, true)
    parts[#parts + 1] = sub(text, i, (start or 0) - 1)
    if not start then return concat(parts) end
    local letter = sub(text, start + 1, start + 1)
    i = start + 2
    if letter == "u" then
      local code = tonumber(sub(text, i, i + 3), 16)
      i = i + 4
      local low = match(text, "^\\u([dD][c-fC-F]%x%x)", i)
      if low and code >= 0xD800 and code < 0xDC00 then
        code = 0x10000 + (code - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00
        i = i + 6
      end
      parts[#parts + 1] = utf8_of(code)
    else
      parts[#parts + 1] = LETTERS[letter] or letter
    end
  end
end

-- A JSON number or literal as a parameter: integers written as `12.0` or `1.2e1`, which bodies may contain, become
-- plain digits, unless a double cannot represent them exactly.
local function plain_number(text)
  local number = find(text, "[.eE]") and tonumber(text)
  if not number or number % 1 ~= 0 or number >= 2 ^ 53 or number <= -2 ^ 53 then return text end
  return format("%.0f", number)
end

-- The end of the JSON value that starts at `i` with the byte `c`, and its text as a parameter: nil for null, false for
-- what cannot be a parameter; strings in a list are joined by commas.
local function parameter_value(s, i, c)
  if c == 123 or c == 91 then
    local texts, depth, plain = {}, 0, c == 91
    repeat
      if c == 123 or c == 91 then
        depth = depth + 1
        plain = plain and depth == 1
        i = i + 1
      elseif c == 125 or c == 93 then
        depth = depth - 1
        i = i + 1
      elseif c == 44 or c == 58 then
        i = i + 1
      else
        local stop, text = parameter_value(s, i, c)
        texts[#texts + 1] = text
        i = stop
      end
      local stop = i
      i, c = token(s, i)
      if depth == 0 then return stop, plain and concat(texts, ",") end
    until false
  end
  local stop = after_scalar(s, i, c)
  if c == 34 then return stop, unquote(sub(s, i + 1, stop - 2)) end
  if c == NULL then return stop, nil end
  return stop, plain_number(sub(s, i, stop - 1))
end

-- Adds the parameters in the JSON object `body` to those of the query, which are `given` and take precedence. `null` and
-- `[]`, which clients of the original platform send where they have nothing to say, count as no body. Returns an error,
-- or nil.
local function add_parameters(body, method, kept, given)
  if match(body, "^%s*null%s*$") or match(body, "^%s*%[%s*%]%s*$") then return nil end
  local problem = check(body, nil, given)
  if problem then return problem end
  local s, own = body .. "\0", {}
  local i, c = token(s, 1)
  i, c = token(s, i + 1)
  while c == 34 do
    local stop = closing_quote(s, i + 1)
    local spelling, text = unquote(sub(s, i + 1, stop - 1)), nil
    local name = method.parameters[spelling]
    i = token(s, stop + 1)
    i, c = token(s, i + 1)
    i, text = parameter_value(s, i, c)
    if not name then
      problem = unknown_fault(spelling, method)
    elseif text == false then
      problem = name .. ": must be a text, a number, or a list of them"
    elseif text and text ~= "" then
      if own[name] then problem = name .. ": must not stand twice" end
      own[name] = true
      if not is_utf8(text) then problem = name .. ": must be UTF-8" end
      local encoded = gsub(text, "[^%w_.~-]", function(other) return format("%%%02X", byte(other)) end)
      if not given[name] then kept[#kept + 1] = written(name, encoded) end
    end
    if problem then return problem end
    i, c = token(s, i)
    if c == 44 then i, c = token(s, i + 1) end
  end
  return nil
end
