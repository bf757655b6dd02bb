-- Checks a JSON body as strictly as RFC 8259 and the contract demand (source: contract, "POST /rt-segment"); the
-- transcoder is more lenient. `script.py` puts the table `CONTRACT` in front of this text, of which it uses:
--   messages[name][spelling of a key] = {key = the key, bit = 2^n, list = boolean, message = name or nil, type = name of a scalar type or nil,
--     parameter = "query" where the key is one of the query and not of the body, "both" where it may stand in either}
--   types[type] = rule; depth = levels of nesting; kept_levels = those in a field that holds any JSON,
--   too_deep = what is said of more

local byte, sub, gsub, char, format = string.byte, string.sub, string.gsub, string.char, string.format
local find, gmatch, concat, band, bor = string.find, string.gmatch, table.concat, bit.band, bit.bor
local abs, huge = math.abs, math.huge

-- What is allowed as a value. The order matters: from LIST on, only containers are allowed.
local ANY, SCALAR, STRING, LIST, OBJECT = 0, 1, 2, 3, 4
local RULES = { [LIST] = "must be a list", [OBJECT] = "must be an object" }
local NO_FIELDS = {}
local UNKNOWN = { expect = ANY, item = ANY, fields = NO_FIELDS }

for _, fields in pairs(CONTRACT.messages) do
  for _, field in pairs(fields) do
    field.fields = field.message and CONTRACT.messages[field.message] or NO_FIELDS
    field.item = field.message and OBJECT or field.type == "STRING" and STRING or field.type and SCALAR or ANY
    field.expect = field.list and LIST or field.item
  end
end

local ESCAPES, HEX = {}, {}
for c in gmatch('"\\/bfnrt', ".") do ESCAPES[byte(c)] = true end
for c in gmatch("0123456789abcdefABCDEF", ".") do HEX[byte(c)] = tonumber(c, 16) end
local LITERALS = { [byte("t")] = "true", [byte("f")] = "false", [byte("n")] = "null" }
local NULL, QUOTE = byte("n"), byte('"')

-- Where the next token starts, and its first byte.
local function token(s, i)
  local c = byte(s, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

-- Position of the closing quote of the string whose content starts at `i`, or nil if it is not a string (RFC 8259,
-- section 7); and whether `string_fault` has to check the content.
local function closing_quote(s, i)
  local c, is_odd = byte(s, i), false
  while c ~= 34 do
    if c == 92 then
      c = byte(s, i + 1)
      if c == 117 then
        is_odd = true
        for j = i + 2, i + 5 do
          if not HEX[byte(s, j)] then return nil end
        end
        i = i + 6
      elseif ESCAPES[c] then
        i = i + 2
      else
        return nil
      end
    elseif c < 32 then
      return nil
    else
      is_odd = is_odd or c > 127
      i = i + 1
    end
    c = byte(s, i)
  end
  return i, is_odd
end

-- By the first byte of a non-ASCII character: its length, and the range of its second byte (RFC 3629, section 4).
local LEADS = {}
for c = 0xC2, 0xF4 do LEADS[c] = { length = c < 0xE0 and 2 or c < 0xF0 and 3 or 4, least = 0x80, most = 0xBF } end
LEADS[0xE0].least, LEADS[0xED].most, LEADS[0xF0].least, LEADS[0xF4].most = 0xA0, 0x9F, 0x90, 0x8F

-- The end of the character that starts at `i` with the byte `c`; nil if it is not UTF-8.
local function after_character(s, i, c)
  if c < 128 then return i + 1 end
  local lead = LEADS[c]
  local second = byte(s, i + 1)
  if not lead or second < lead.least or second > lead.most then return nil end
  if lead.length == 2 then return i + 2 end
  c = byte(s, i + 2)
  if c < 0x80 or c > 0xBF then return nil end
  if lead.length == 3 then return i + 3 end
  c = byte(s, i + 3)
  if c < 0x80 or c > 0xBF then return nil end
  return i + 4
end

-- Which half of a surrogate pair the escape at `i` stands for, if any (RFC 8259, section 7).
local HIGH, LOW = 1, 2

local function surrogate(s, i)
  if byte(s, i) ~= 92 or byte(s, i + 1) ~= 117 or HEX[byte(s, i + 2)] ~= 13 then return nil end
  local digit = HEX[byte(s, i + 3)]
  return digit >= 12 and LOW or digit >= 8 and HIGH or nil
end

-- Checks the characters of a string from `i` to before its closing quote; returns nil or the rule that is broken.
local function string_fault(s, i, quote)
  while i < quote do
    local c = byte(s, i)
    local start = i
    if c ~= 92 then
      i = after_character(s, i, c)
      if not i then return format("must be UTF-8 (byte %d)", start) end
    elseif byte(s, i + 1) ~= 117 then
      i = i + 2
    else
      local half = surrogate(s, i)
      if half == HIGH and surrogate(s, i + 6) == LOW then
        i = i + 12
      elseif half then
        return format("must have no lone surrogate (byte %d)", start)
      else
        i = i + 6
      end
    end
  end
  return nil
end

local function after_digits(s, i)
  local c = byte(s, i)
  while c >= 48 and c <= 57 do
    i = i + 1
    c = byte(s, i)
  end
  return i, c
end

-- Shorter numbers, with an exponent of at most two digits, are within the range of a double.
local SURELY_FINITE = 200

-- The end of the number that starts at `i`, or nil if it is not a number (RFC 8259, section 6); and whether it may be
-- beyond the range of a double.
local function after_number(s, i)
  local start, is_odd = i, false
  if byte(s, i) == 45 then i = i + 1 end
  local stop, c = after_digits(s, i)
  if stop == i or (byte(s, i) == 48 and stop > i + 1) then return nil end
  if c == 46 then
    i = stop + 1
    stop, c = after_digits(s, i)
    if stop == i then return nil end
  end
  if c == 101 or c == 69 then
    i = stop + 1
    c = byte(s, i)
    if c == 43 or c == 45 then i = i + 1 end
    stop = after_digits(s, i)
    if stop == i then return nil end
    is_odd = stop - i > 2
  end
  return stop, is_odd or stop - start > SURELY_FINITE
end

-- The end of the scalar that starts at `i` with the byte `c`, or nil if it is none; and whether its characters or its
-- size have to be checked.
local function after_scalar(s, i, c)
  if c == 34 then
    local stop, is_odd = closing_quote(s, i + 1)
    return stop and stop + 1, is_odd
  end
  if c == 45 or (c >= 48 and c <= 57) then return after_number(s, i) end
  local literal = LITERALS[c]
  if literal and sub(s, i, i + #literal - 1) == literal then return i + #literal end
  return nil
end

-- Whether a number is beyond the range of a double. Exponents are cut to five digits, which is what Lua parses safely.
local function is_infinite(number)
  return abs(tonumber((gsub(number, "([eE][+-]?)0*(%d%d%d%d%d)%d*", "%1%2")))) == huge
end

-- Whether a double represents the integer from `i` to before `stop` exactly; true for numbers that are not integers.
local function is_exact(s, i, stop)
  local text = sub(s, i, stop - 1)
  return find(text, "[.eE]") or format("%.0f", tonumber(text)) == text
end

-- Unescapes a key for comparison with the known ones, which are plain ASCII: other characters become `?`.
local function unescape(key)
  return (gsub(key, "\\(.)(%x?%x?%x?%x?)", function(letter, rest)
    if letter ~= "u" then return "?" .. rest end
    local code = tonumber(rest, 16)
    return code < 128 and char(code) or "?"
  end))
end

-- The open containers, outermost first. An object has index -1, its fields, the current key, and a bit for each known
-- key that had a value; a list has the index of the current element, and the field that describes its elements.
local indexes, known, keys, seen, elements = {}, {}, {}, {}, {}

local function fault(depth, rule)
  local path = {}
  for level = 1, depth do
    path[#path + 1] = indexes[level] >= 0 and "[" .. indexes[level] .. "]" or (level > 1 and "." or "") .. keys[level]
  end
  return concat(path) .. (depth > 0 and ": " or "The body ") .. rule
end

local function malformed(i)
  return format("The body is not JSON (byte %d)", i)
end

-- Renames keys in the body. An edit is {first position to replace, position after it, replacement}.
local function rename_keys(body, edits)
  local parts, start = {}, 1
  for _, edit in ipairs(edits) do
    parts[#parts + 1] = sub(body, start, edit[1] - 1) .. edit[3]
    start = edit[2]
  end
  return concat(parts) .. sub(body, start)
end

-- Checks a body; `given` are the parameters in the request's query. Returns nil, or an error text with the path and the
-- rule; and the body for the transcoder, if that has to differ. If `message` is nil, the body may be any object, and
-- the caller checks characters and numbers.
local function check(body, message, given)
  local renamed_keys = {}
  local s = body .. "\0" -- no loop passes the end: NUL is no part of any token
  local field, expect = { fields = CONTRACT.messages[message] }, OBJECT
  local depth = 0
  local kept = 0 -- the level of the object whose key holds what is read now, where that is any JSON; 0: it is not
  local names = {} -- of each open object in there, the keys that it has had
  local i, c = token(s, 1)
  while true do
    local is_open, next_key = false, false
    if c == 123 or c == 91 then
      if expect ~= ANY and expect ~= (c == 123 and OBJECT or LIST) then
        return fault(depth, RULES[expect] or CONTRACT.types[field.type])
      end
      depth = depth + 1
      if depth > CONTRACT.depth then return "The body is nested too deeply" end
      if kept > 0 and depth > kept + CONTRACT.kept_levels then
        return fault(kept, CONTRACT.too_deep)
      end
      if c == 123 then
        indexes[depth], seen[depth], names[depth] = -1, 0, kept > 0 and {} or nil
        known[depth] = expect == OBJECT and field.fields or NO_FIELDS
        i, c = token(s, i + 1)
        is_open = c ~= 125
        next_key = is_open
      else
        indexes[depth] = 0
        elements[depth] = expect == LIST and field or UNKNOWN
        i, c = token(s, i + 1)
        is_open = c ~= 93
      end
    else
      local stop, is_odd = after_scalar(s, i, c)
      if not stop then return malformed(i) end
      if kept > 0 and c ~= QUOTE and c <= 57 and not is_exact(s, i, stop) then
        return fault(kept, "a double has fewer digits than this number: write it as a string")
      end
      local is_absent = c == NULL and depth > 0 and indexes[depth] < 0
      local is_wrong = expect >= LIST or (expect == SCALAR and c == NULL) or (expect == STRING and c ~= QUOTE)
      if is_wrong and not is_absent then
        return fault(depth, RULES[expect] or CONTRACT.types[field.type])
      end
      if is_odd and message then
        local rule
        if c == QUOTE then
          rule = string_fault(s, i + 1, stop - 1)
        elseif is_infinite(sub(s, i, stop - 1)) then
          rule = expect == SCALAR and CONTRACT.types[field.type]
            or format("must have no number beyond a double (byte %d)", i)
        end
        if rule then return fault(kept > 0 and kept or field ~= UNKNOWN and depth or 0, rule) end
      end
      i = stop
    end
    if not is_open then
      while true do
        i, c = token(s, i)
        if depth == 0 then
          if i <= #body then return malformed(i) end
          return nil, #renamed_keys > 0 and rename_keys(body, renamed_keys)
        end
        local index = indexes[depth]
        if c == 44 then
          if index < 0 then next_key = true else indexes[depth] = index + 1 end
          i, c = token(s, i + 1)
          break
        elseif c ~= (index < 0 and 125 or 93) then
          return malformed(i)
        end
        depth = depth - 1
        i = i + 1
      end
    end
    if next_key then
      local stop, is_odd
      if c == 34 then stop, is_odd = closing_quote(s, i + 1) end
      if not stop then return malformed(i) end
      local rule = is_odd and message and string_fault(s, i + 1, stop)
      if rule then return fault(names[depth] and kept or 0, rule) end
      field = UNKNOWN
      if names[depth] then
        local key = sub(s, i, stop)
        if names[depth][key] then return fault(kept, "no key may stand twice in an object of it") end
        names[depth][key] = true
      elseif known[depth] ~= NO_FIELDS then
        local key = sub(s, i + 1, stop - 1)
        field = known[depth][key]
        if not field then
          key = unescape(key)
          field = known[depth][key] or UNKNOWN
        end
        keys[depth] = field.key or key
        if key == "" or field.parameter and (field.parameter == "query" or given[field.key]) then
          -- The transcoder rejects empty keys, and would read query parameters from the body.
          renamed_keys[#renamed_keys + 1] = { i + 1, i + 1, "?" }
          field = UNKNOWN
        elseif field.key and key ~= field.key then
          renamed_keys[#renamed_keys + 1] = { i + 1, stop, field.key }
        end
      end
      expect = field.expect
      if depth <= kept then kept = 0 end
      if field ~= UNKNOWN and field.item == ANY then kept = depth end
      i, c = token(s, stop + 1)
      if c ~= 58 then return malformed(i) end
      i, c = token(s, i + 1)
      if field ~= UNKNOWN and (c ~= NULL or field.item == ANY) then -- null is a value where any JSON is
        if band(seen[depth], field.bit) ~= 0 then return fault(depth, "must not stand twice") end
        seen[depth] = bor(seen[depth], field.bit)
      end
    else
      if depth < kept then kept = 0 end
      field = elements[depth]
      expect = field.item
    end
  end
end
