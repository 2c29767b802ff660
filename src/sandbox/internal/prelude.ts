/**
 * The Lua that a machine runs once, before any program: it takes the libraries apart and puts the frozen ones together.
 *
 * A program's environment is an empty table before `base`. Each library in `base` is an empty table before the real one,
 * so that nothing a program can reach holds a function that another program calls. What writes past metamethods
 * (`rawset`) refuses these tables, and what reads metatables (`getmetatable`) answers false for them.
 *
 * `setmetatable` gives a table a private metatable with those metamethods of the user's that we know. So `__gc`, `__mode`
 * and `__name` never reach Lua, whether they are there now or are added later; nor does any other metamethod that is
 * added after the call. `getmetatable` answers the user's own table, as it was given.
 *
 * It is loaded without its line numbers, so that positions in messages are always those of a program.
 */
export const libraries = `
local debug, host, mark, resume, wrap, close, thread = ...
local rawmeta, setmeta = debug.getmetatable, debug.setmetatable
local error, rawget, rawset, next, type, select, tostring = error, rawget, rawset, next, type, select, tostring
local load, collectgarbage = load, collectgarbage
local concat, tointeger, randomseed = table.concat, math.tointeger, math.randomseed
local frozen, locked = host.frozen, {} -- keys that no program holds

local function refuse(_, name, _, level)
  error("attempt to change a frozen table (field '" .. tostring(name) .. "')", level or 2)
end

local function freeze(real)
  return setmeta({}, { __index = real, __newindex = refuse, __metatable = false, [frozen] = real })
end

local function take(from, names)
  local taken = {}
  for name in names:gmatch("%S+") do taken[name] = from[name] end
  return taken
end

local base = take(_G, "assert error getmetatable ipairs next pairs pcall rawequal rawget rawlen select tonumber tostring type xpcall _VERSION")

function base.rawset(t, key, value)
  local meta = type(t) == "table" and rawmeta(t)
  if meta and rawget(meta, frozen) then refuse(t, key, value, 3) end
  return rawset(t, key, value)
end

local known = {}
for name in ("index newindex call tostring pairs close metatable eq lt le len concat unm add sub mul div mod pow idiv " ..
  "band bor bxor bnot shl shr"):gmatch("%S+") do known[#known + 1] = "__" .. name end

function base.setmetatable(t, meta)
  if type(t) ~= "table" then error("bad argument #1 to 'setmetatable' (table expected, got " .. type(t) .. ")", 2) end
  if meta ~= nil and type(meta) ~= "table" then error("bad argument #2 to 'setmetatable' (nil or table expected)", 2) end
  local old = rawmeta(t)
  if old and rawget(old, locked) ~= false then error("cannot change a protected metatable", 2) end
  if meta == nil then return setmeta(t, nil) end
  local private = {}
  for i = 1, #known do
    local name = known[i]
    local value = rawget(meta, name)
    if value ~= nil then private[name] = value end
  end
  private[locked] = private.__metatable ~= nil
  if not private[locked] then private.__metatable = meta end
  return setmeta(t, private)
end

function base.collectgarbage(option)
  if option ~= "count" then error("collectgarbage answers \\"count\\" only", 2) end
  return collectgarbage("count")
end

function base.print(...)
  local words = {}
  for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
  host.print(concat(words, "\\t"))
end

local strings = rawmeta("")
strings.__metatable = false
string.dump = nil
base.string = freeze(string)
base.table = freeze(table)
base.utf8 = freeze(utf8)

function math.randomseed(...)
  host.seeded()
  return randomseed(...)
end
base.math = freeze(math)

local coroutines = take(coroutine, "create isyieldable running status yield")
coroutines.resume, coroutines.wrap, coroutines.close = resume, wrap, close
base.coroutine = freeze(coroutines)

local function field(t, name, default)
  local value = t[name]
  if value == nil then
    if default then return default end
    error("field '" .. name .. "' missing in date table", 3)
  end
  local whole = tointeger(value)
  if not whole then error("field '" .. name .. "' is not an integer", 3) end
  return whole
end

base.os = freeze {
  clock = host.clock,
  date = function(format, time)
    if format ~= nil and type(format) ~= "string" then error("bad argument #1 to 'date' (string expected)", 2) end
    local whole = time == nil and host.now() or tointeger(time)
    if not whole then error("bad argument #2 to 'date' (number has no integer representation)", 2) end
    local date = host.date(format or "%c", whole)
    if date == nil then error("bad argument to 'date' (invalid conversion, or time out of range)", 2) end
    return date
  end,
  time = function(t)
    if t == nil then return host.now() end
    if type(t) ~= "table" then error("bad argument #1 to 'time' (table expected)", 2) end
    local seconds = host.time(field(t, "year"), field(t, "month"), field(t, "day"), field(t, "hour", 12),
      field(t, "min", 0), field(t, "sec", 0))
    if seconds == nil then error("time result cannot be represented", 2) end
    return seconds
  end
}

for name, functions in next, host.tables do base[name] = freeze(functions) end

`

/** What follows for triggers: an environment each, in which the shim sees a first global. */
export const prelude = `${libraries}
local environment = { __index = base, __newindex = mark, __metatable = false }

local function newEnvironment()
  local env = setmeta({}, environment)
  rawset(env, "_G", env)
  rawset(env, "load", function(chunk, name, mode, ...)
    if select("#", ...) > 0 then return load(chunk, name, "t", (...)) end
    return load(chunk, name, "t", env)
  end)
  return env
end

collectgarbage("incremental", 200, 100, 5) -- steps of some 200 objects
collectgarbage("stop")
local _, generator = debug.getupvalue(math.random, 1)
local real = _G
for name in next, real do real[name] = nil end
return newEnvironment, generator
`

/** Loads its argument, a source, without what a debugger would want. */
export const stripper = 'local f = load((...), "=prelude") return load(string.dump(f, true), "=prelude", "b")'
