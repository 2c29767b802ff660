/**
 * The Lua that a machine for scripts runs once: the libraries of every machine, and in Lua what calls a script's
 * functions back, since a C function that calls one cannot be suspended: table.sort, string.gsub, load, tostring, print.
 * What Lua's own functions do to long strings and large tables at once is done in pieces for the same reason, wherever
 * the pieces give the same: concat, sort, move, rep, upper, lower, reverse, and gsub of single characters.
 *
 * They behave as Lua 5.4's do, which tests compare. Sources: manual §6.4 and §6.6; ltablib.c (sort: quicksort by the
 * median of three, the smaller part first), lstrlib.c (str_gsub), lbaselib.c (luaB_load), lauxlib.c (luaL_tolstring).
 *
 * A world has one environment. What a run is given as globals stands in `base`, below it, so that a script may give the
 * name another meaning and has the value back with the next run.
 */
import { libraries } from "./prelude.ts"

const sortedAtOnce = 256 // elements that Lua's own sort may have: 0.1 ms, or 0.5 with metamethods
const joinedAtOnce = 1000 // elements that Lua's own concat may have: some 50 µs
const movedAtOnce = 1000 // elements that Lua's own move may have: some 30 µs
const copiedAtOnce = 32 << 10 // bytes of a string that Lua's own function may have: some 0.1 ms
const replacedAtOnce = 4096 // bytes that Lua's own gsub may have, where it can be helped: some 0.4 ms if all are replaced
const repeatedAtOnce = 4096 // bytes; a repetition of single bytes takes 10 ns each
const listedMax = 20 // functions that a message names

// Of the collector, which works while scripts run. Manual §2.5.1.
const pause = 160 // % of what was in use that is in use when the next collection begins; of a small world: docs/decisions.md
const stepMultiplier = 800 // % of the speed of allocation
const stepSizeLog2 = 13 // a step each 8 KiB

/** Quicksort of t[low..high]; the text of a comparison is written out, since a call would cost more than it. */
const sorter = (name: string, less: (a: string, b: string) => string): string => `
local function ${name}(t, low, high, less)
  while low < high do
    local first, last = t[low], t[high]
    if ${less("last", "first")} then
      first, last = last, first
      t[low], t[high] = first, last
    end
    if high - low == 1 then return end
    local middle = (low + high) // 2
    local pivot = t[middle]
    if ${less("pivot", "first")} then t[low], t[middle], pivot = pivot, first, first
    elseif ${less("last", "pivot")} then t[middle], t[high], pivot = last, pivot, last end
    if high - low == 2 then return end
    local i, j = low, high - 1
    t[middle], t[j] = t[j], pivot
    while true do
      i = i + 1
      local left = t[i]
      while ${less("left", "pivot")} do
        if i == high - 1 then error("invalid order function for sorting", 0) end
        i = i + 1
        left = t[i]
      end
      j = j - 1
      local right = t[j]
      while ${less("pivot", "right")} do
        if j < i then error("invalid order function for sorting", 0) end
        j = j - 1
        right = t[j]
      end
      if j < i then
        t[high - 1], t[i] = left, t[high - 1]
        break
      end
      t[i], t[j] = right, left
    end
    if i - low < high - i then
      ${name}(t, low, i - 1, less)
      low = i + 1
    else
      ${name}(t, i + 1, high, less)
      high = i - 1
    end
  end
end`

export const scriptPrelude = `${libraries}
local pcall, tonumber, kindOf = pcall, tonumber, math.type
local find, sub = string.find, string.sub
local cgsub, csort, cconcat, cmove, crep = string.gsub, table.sort, table.concat, table.move, string.rep
local running, isyieldable, yield = coroutine.running, coroutine.isyieldable, coroutine.yield

-- What Lua's own function answered, or its error at the line of the script that called ours: for tail calls.
local function relay(isOk, ...)
  if isOk then return ... end
  local message = ...
  if type(message) == "string" then message = cgsub(message, "^(bad argument #%d+ to ')%w+%.", "%1") end
  error(message, 2)
end

local function wanted(position, name, expected, value)
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. expected .. " expected, got " ..
    type(value) .. ")", 3)
end

-- ---- tostring, print, load

local function text(value)
  local kind = type(value)
  if kind ~= "table" then return tostring(value) end
  local meta = rawmeta(value)
  local convert = meta and rawget(meta, "__tostring")
  if convert == nil then return tostring(value) end
  local converted = convert(value)
  if type(converted) == "number" then return tostring(converted) end
  if type(converted) ~= "string" then error("'__tostring' must return a string", 3) end
  return converted
end

function base.tostring(...)
  if select("#", ...) == 0 then error("bad argument #1 to 'tostring' (value expected)", 2) end
  local converted = text((...))
  return converted
end

function base.print(...)
  local words = {}
  for i = 1, select("#", ...) do words[i] = text((select(i, ...))) end
  host.print(cconcat(words, "\\t"))
end

local env = {}

local function readAll(reader)
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == "" then return cconcat(pieces) end
    if type(piece) ~= "string" and type(piece) ~= "number" then error("reader function must return a string", 0) end
    pieces[#pieces + 1] = piece
  end
end

function base.load(chunk, name, mode, ...)
  if type(chunk) == "function" then
    local isOk, source = pcall(readAll, chunk)
    if not isOk then return nil, source end
    if name == nil then name = "=(load)" end
    chunk = source
  end
  if select("#", ...) > 0 then return relay(pcall(load, chunk, name, "t", (...))) end
  return relay(pcall(load, chunk, name, "t", env))
end

-- ---- string.gsub

-- What find has found at or after at, but not the empty match where the last one ended. isOk: from pcall.
local function behind(last, s, pattern, at, isOk, from, to, ...)
  if not isOk then error(from, 4) end
  if from ~= nil and to == last then
    if at > #s then return nil end
    return find(s, pattern, at + 1)
  end
  return from, to, ...
end

local function replaced(isTable, s, replacement, from, to, first, ...)
  if from == nil then return nil end
  if first == nil then first = sub(s, from, to) end
  local value
  if isTable then value = replacement[first] else value = replacement(first, ...) end
  if not value then return from, to, sub(s, from, to) end
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" then error("invalid replacement value (a " .. kind .. ")", 3) end
  return from, to, value
end

local function gsub(s, pattern, replacement, max)
  local what = type(replacement)
  if what ~= "function" and (what ~= "table" or not rawmeta(replacement)) then
    if type(s) == "string" and #s > ${replacedAtOnce} and type(pattern) == "string" and max == nil
      and (find(pattern, "^[^%^%$%*%+%?%.%(%)%[%]%%%-]$") or find(pattern, "^%%[%a%p]$") and not find(pattern, "[bf]")
      or find(pattern, "^%[%^?[^%]]+%]$")) then
      -- One character each: the pieces do not know of one another.
      local pieces, count = {}, 0
      for at = 1, #s, ${replacedAtOnce} do
        local isOk, piece, n = pcall(cgsub, sub(s, at, at + ${replacedAtOnce - 1}), pattern, replacement)
        if not isOk then return relay(isOk, piece) end
        pieces[#pieces + 1], count = piece, count + n
      end
      return cconcat(pieces), count
    end
    return relay(pcall(cgsub, s, pattern, replacement, max))
  end
  if type(s) == "number" then s = tostring(s) end
  if type(s) ~= "string" then wanted(1, "gsub", "string", s) end
  if type(pattern) == "number" then pattern = tostring(pattern) end
  if type(pattern) ~= "string" then wanted(2, "gsub", "string", pattern) end
  if max == nil then max = #s + 1
  else
    local number = tonumber(max)
    if not number then wanted(4, "gsub", "number", max) end
    max = tointeger(number)
    if not max then error("bad argument #4 to 'gsub' (number has no integer representation)", 2) end
  end
  local isTable, isAnchored = what == "table", sub(pattern, 1, 1) == "^"
  local parts, count, n, at, last = {}, 0, 0, 1, nil
  while n < max do
    local from, to, value = replaced(isTable, s, replacement,
      behind(last, s, pattern, at, pcall(find, s, pattern, at)))
    if from == nil then break end
    n = n + 1
    if from > at then count = count + 1 parts[count] = sub(s, at, from - 1) end
    count = count + 1
    parts[count] = value
    at, last = to + 1, to
    if isAnchored then break end
  end
  if n == 0 then return s, 0 end
  if at <= #s then parts[count + 1] = sub(s, at) end
  return cconcat(parts), n
end

local stringLibrary = {}
for name, f in next, string do stringLibrary[name] = f end
stringLibrary.gsub = gsub

-- ---- string.rep, upper, lower, reverse

function stringLibrary.rep(s, n, separator)
  if type(s) ~= "string" or kindOf(n) ~= "integer" or separator ~= nil and type(separator) ~= "string" then
    return relay(pcall(crep, s, n, separator))
  end
  local width = #s + (separator and #separator or 0)
  if width == 0 then return "" end
  local atOnce = ${repeatedAtOnce} // width
  if atOnce < 4 or n <= 2 * atOnce then return relay(pcall(crep, s, n, separator)) end
  local piece = crep(s, atOnce, separator)
  local rest = n % atOnce
  if rest == 0 then return relay(pcall(crep, piece, n // atOnce, separator)) end
  local isOk, whole = pcall(crep, piece, n // atOnce, separator)
  if not isOk then return relay(isOk, whole) end
  return whole .. (separator or "") .. crep(s, rest, separator)
end

local function inPieces(f, isReversed)
  return function(s)
    if type(s) ~= "string" then return relay(pcall(f, s)) end
    local length = #s
    if length <= ${copiedAtOnce} then
      local answer = f(s)
      return answer
    end
    local pieces, count = {}, (length - 1) // ${copiedAtOnce} + 1
    for i = 1, count do
      local at = (i - 1) * ${copiedAtOnce}
      pieces[isReversed and count + 1 - i or i] = f(sub(s, at + 1, at + ${copiedAtOnce}))
    end
    return cconcat(pieces)
  end
end
stringLibrary.upper, stringLibrary.lower = inPieces(string.upper), inPieces(string.lower)
stringLibrary.reverse = inPieces(string.reverse, true)
strings.__index = stringLibrary
base.string = freeze(stringLibrary)

-- ---- table.sort, table.concat, table.move
${sorter("sortBy", (a, b) => `less(${a}, ${b})`)}
${sorter("sortPlain", (a, b) => `${a} < ${b}`)}
local tables = {}
for name, f in next, table do tables[name] = f end

function tables.sort(t, less)
  if type(t) ~= "table" then wanted(1, "sort", "table", t) end
  local n = #t
  if n < 2 then return end
  if n >= 0x7fffffff then error("bad argument #1 to 'sort' (array too big)", 2) end
  if less ~= nil then
    if type(less) ~= "function" then wanted(2, "sort", "function", less) end
    sortBy(t, 1, n, less)
  elseif n > ${sortedAtOnce} then sortPlain(t, 1, n)
  else return relay(pcall(csort, t)) end
end

function tables.concat(t, separator, i, j)
  if type(t) == "table" and not rawmeta(t) then
    local from, to = i or 1, j or #t
    if kindOf(from) == "integer" and kindOf(to) == "integer" and from >= 1 and to < 0x7fffffff
      and to - from >= ${joinedAtOnce} then
      local pieces = {}
      for at = from, to, ${joinedAtOnce} do
        local last = at + ${joinedAtOnce - 1}
        local isOk, piece = pcall(cconcat, t, separator, at, last < to and last or to)
        if not isOk then error(piece, 2) end
        pieces[#pieces + 1] = piece
      end
      return relay(pcall(cconcat, pieces, separator))
    end
  end
  return relay(pcall(cconcat, t, separator, i, j))
end

function tables.move(from, first, last, at, to)
  local target = to == nil and from or to
  if type(from) ~= "table" or type(target) ~= "table" or kindOf(first) ~= "integer" or kindOf(last) ~= "integer"
    or kindOf(at) ~= "integer" or first < 1 or at < 1 or last >= 0x7fffffff or at >= 0x7fffffff
    or last - first < ${movedAtOnce} then
    return relay(pcall(cmove, from, first, last, at, to))
  end
  local shift = at - first
  local isUpward = at > last or at <= first or target ~= from -- as Lua decides, except that it asks __eq
  local low, high, step = first, last, ${movedAtOnce}
  if not isUpward then low, high, step = first + (last - first) // step * step, first, -step end
  for i = low, high, step do
    local stop = i + ${movedAtOnce - 1}
    local isOk, message = pcall(cmove, from, i, stop < last and stop or last, i + shift, target)
    if not isOk then return relay(isOk, message) end
  end
  return target
end
base.table = freeze(tables)

-- ---- coroutines: the script's own is what Lua calls the main one

coroutines.yield = function(...)
  if running() == thread then error("attempt to yield from outside a coroutine", 0) end
  return yield(...)
end
coroutines.running = function()
  local co = running()
  return co, co == thread
end
coroutines.isyieldable = function(co)
  if co == nil then co = running() end
  return co ~= thread and isyieldable(co)
end

-- ---- the world's environment, and how a run enters it

setmeta(env, { __index = base, __metatable = false })
rawset(env, "_G", env)

local function frozenCopy(value)
  if type(value) ~= "table" then return value end
  local real = {}
  for k, v in next, value do real[k] = frozenCopy(v) end
  local proxy
  local function step(_, k) return next(real, k) end
  proxy = setmeta({}, {
    __index = real, __newindex = refuse, __metatable = false, [frozen] = real,
    __len = function() return #real end,
    __pairs = function() return step, proxy, nil end
  })
  return proxy
end

local function missing(name)
  local names = {}
  for key, value in next, env do
    if type(key) == "string" and type(value) == "function" then names[#names + 1] = key end
  end
  csort(names)
  local more = #names > ${listedMax} and ", …" or ""
  local list = #names == 0 and "no function" or cconcat(names, ", ", 1, #names > ${listedMax} and ${listedMax} or #names) .. more
  error("there is no function '" .. name .. "' in the script; it defines: " .. list, 0)
end

local invoke, began = host.invoke, host.began
local given = {} -- what the last run was given and this one may not be

local function enter(chunk, isNew, values, names, entry, ...)
  for name, value in next, given do base[name], given[name] = value or nil, nil end
  local function give(name, value)
    local own = rawget(base, name)
    if own == nil then own = false end
    given[name] = own
    base[name] = value
  end
  if values then for name, value in next, values do give(name, frozenCopy(value)) end end
  if names then
    for i = 1, #names do
      local name = names[i]
      give(name, function(...) return relay(pcall(invoke, name, ...)) end)
    end
  end
  if isNew then
    chunk()
    began()
  end
  local f = rawget(env, entry)
  if type(f) ~= "function" then missing(entry) end
  local result = f(...)
  return result
end

math.randomseed = randomseed -- the generator is the world's own
collectgarbage("incremental", ${pause}, ${stepMultiplier}, ${stepSizeLog2})
collectgarbage("stop")
local _, generator = debug.getupvalue(math.random, 1)
local real = _G
for name in next, real do real[name] = nil end
return env, false, enter, missing, generator
`
