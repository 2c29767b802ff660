/**
 * Scripts that mean harm, or might as well: the client's operation succeeds, the next event works, TRIGGER LOG says what
 * happened, and nothing of the run is left.
 *
 * Each runs as in production, by the clock, where a slow machine may stop a script in another way than a fast one, so
 * that any of its kinds will do; and by fuel, where it has to end in the same way, with the same fuel, every time.
 */
import { describe, expect, it } from "vitest"
import type { FailureKind } from "../../src/triggers/TriggerStats.ts"
import { type EngineOptions, makeEngine } from "../support/Engine.ts"

const late: FailureKind[] = ["timeout", "killed"] // whichever limit notices it first
const large: FailureKind[] = ["memory", ...late] // a slow machine is late before it is full
const wrong: FailureKind[] = ["error", ...late]
const whatever: FailureKind[] = ["error", "memory", ...late]

const scripts: Record<string, readonly [kinds: FailureKind[], source: string]> = {
  "an endless loop": [late, "while true do end"],
  "an endless repeat": [late, "repeat until false"],
  "an endless goto": [late, "::again:: goto again"],
  "a for loop that is as good as endless": [late, "for i = 1, math.maxinteger do end"],
  "pcall around a loop, in a loop": [late, "while true do pcall(function() while true do end end) end"],
  "pcall around pcall around a loop": [late, "while true do pcall(pcall, pcall, function() while true do end end) end"],
  "a loop that catches its own end and goes on writing": [
    late,
    'pcall(function() while true do end end) while true do pcall(cache.set, "caught", 1) end'
  ],
  "a loop in an xpcall handler": [late, "xpcall(error, function() while true do end end)"],
  "an error in an xpcall handler": [whatever, 'local function f() error("again") end xpcall(f, f) error("done")'],
  "a loop in a handler of a handler": [
    late,
    "xpcall(error, function() xpcall(error, function() while true do end end) end)"
  ],
  "a string of a gigabyte": [large, 'string.rep("x", 1e9)'],
  "an empty string, a thousand million times": [whatever, 'string.rep("", 1e9) string.rep("x", 1e9)'],
  "a string that doubles": [large, 'local s = "x" while true do s = s .. s end'],
  "a table that grows for ever": [large, "local t = {} while true do t[#t + 1] = t end"],
  "tables within tables": [large, "local t while true do t = { t } end"],
  "a table with a huge hole": [large, "local t = table.pack(table.unpack({}, 1, 1e6)) while true do t[#t + 1] = 1 end"],
  "a catcher of memory errors": [large, 'while true do pcall(string.rep, "x", 1e6) end'],
  "a pathological find": [late, 'string.find(("a"):rep(3000), ".-.-.-.-b")'],
  "a pathological gsub": [late, '(("a"):rep(3000)):gsub(".-.-.-.-b", "")'],
  "a gmatch without end": [large, 'while true do for _ in ("aaaa"):gmatch("") do end end'],
  "table.move of nothing": [late, "table.move({}, 1, 1e9, 2)"],
  "table.concat of nothing": [whatever, "table.concat({}, '', 1, 1e9)"],
  "a sort whose order changes": [
    whatever,
    "local t = {} for i = 1, 300 do t[i] = i end while true do table.sort(t, function() return math.random() < 0.5 end) end"
  ],
  "a sort of what says that it is long": [
    whatever,
    "table.sort(setmetatable({}, { __len = function() return 1e9 end, __index = function() return 1 end }))"
  ],
  "a recursion without end": [["error", "memory", ...late], "local function f() return 1 + f() end f()"],
  "tail calls without end": [late, "local function f() return f() end f()"],
  "a coroutine that loops": [late, "coroutine.wrap(function() while true do end end)()"],
  "a coroutine that is resumed for ever": [
    late,
    "local c = coroutine.wrap(function() while true do coroutine.yield() end end) while true do c() end"
  ],
  "a coroutine that catches its end": [
    late,
    "while true do coroutine.resume(coroutine.create(function() while true do pcall(function() while true do end end) end end)) end"
  ],
  "coroutines within coroutines": [whatever, "local function f() coroutine.wrap(f)() end f()"],
  "coroutines that are left lying about": [
    large,
    "while true do coroutine.wrap(function() coroutine.yield() end)() end"
  ],
  "a coroutine that loops when it is closed": [
    late,
    `local c = coroutine.create(function()
       local x <close> = setmetatable({}, { __close = function() while true do end end })
       coroutine.yield()
     end)
     coroutine.resume(c) coroutine.close(c)`
  ],
  "__index that asks itself": [
    whatever,
    "local t = setmetatable({}, { __index = function(t, k) return t[k] end }) return t.x"
  ],
  "__index that loops": [late, "local t = setmetatable({}, { __index = function() while true do end end }) return t.x"],
  "a long chain of __index": [
    late,
    "local t = {} for i = 1, 150 do t = setmetatable({}, { __index = t }) end while true do local x = t.x end"
  ],
  "__close that loops": [
    late,
    'local x <close> = setmetatable({}, { __close = function() while true do end end }) error("no")'
  ],
  "__close that writes after the end": [
    late,
    'local x <close> = setmetatable({}, { __close = function() cache.set("closed", 1) end }) while true do end'
  ],
  "__eq, __lt and __concat that loop": [
    late,
    'local loop = function() while true do end end local t = setmetatable({}, { __eq = loop, __lt = loop, __concat = loop }) pcall(function() return t .. "" end) return t < t'
  ],
  "__tostring that loops, printed": [
    late,
    "print(setmetatable({}, { __tostring = function() while true do end end }))"
  ],
  "__pairs that loops": [
    late,
    "for _ in pairs(setmetatable({}, { __pairs = function() while true do end end })) do end"
  ],
  "a source that is loaded": [late, 'load("while true do end")()'],
  "sources that are loaded for ever": [whatever, 'while true do load("return " .. ("1 + "):rep(100) .. "1")() end'],
  bytecode: [wrong, 'assert(load("\\27Lua", "x", "b"))'],
  "an error of text": [wrong, 'error("no")'],
  "an error that is a table": [wrong, "error({ code = 7 })"],
  "an error that is nil": [wrong, "error(nil)"],
  "an error without a value": [wrong, "error()"],
  "an error that is a function": [wrong, "error(print)"],
  "an error that is a coroutine": [wrong, "error(coroutine.create(print))"],
  "an error that is no number": [wrong, "error(0/0)"],
  "an error that is a boolean": [wrong, "error(false)"],
  "an error whose __tostring loops": [
    wrong,
    "error(setmetatable({}, { __tostring = function() while true do end end }))"
  ],
  "an error whose __tostring fails": [wrong, "error(setmetatable({}, { __tostring = function() error('again') end }))"],
  "an error with a __name": [wrong, "error(setmetatable({}, { __name = ('x'):rep(1000) }))"],
  "an error that is no text": [wrong, 'error("\\xff\\0\\xfe")'],
  "an error of many words": [wrong, 'error(("x"):rep(20000))'],
  "an error that contains itself": [wrong, "local t = {} t.t = t error(t)"],
  "a change of the library": [wrong, "string.rep = nil"],
  "a change of cache": [wrong, "cache.get = nil"],
  "rawset of the library": [wrong, 'rawset(cache, "get", nil)'],
  "a change of the strings' metatable": [wrong, 'getmetatable("").__index = nil'],
  "what is not there": [wrong, 'os.execute("true")'],
  io: [wrong, 'io.open("/etc/passwd")'],
  debug: [wrong, "debug.sethook()"],
  require: [wrong, 'require("os")'],
  collectgarbage: [wrong, 'collectgarbage("stop")'],
  "a refused call": [wrong, "cache.set({}, 1)"],
  "a value that cannot be stored": [wrong, 'local t = {} t.t = t cache.set("k", t)'],
  "more writes than one may": [whatever, 'local i = 0 while true do i = i + 1 cache.set("k" .. i, i) end'],
  "reads without end": [late, 'while true do cache.get("there") end'],
  "reads of a large value": [whatever, 'while true do local t = cache.get("large") end']
}

const everything =
  'cache.set("left", 1) cache.delete("there") cache.emit("left", 1) cache.log("left") cache.webhook("http://a", 1) left = 1 '

const attack = (source: string, options?: EngineOptions) => {
  const engine = makeEngine(options)
  engine.keyspace.set("there", "v")
  engine.keyspace.set(
    "large",
    Array.from({ length: 500 }, (_, i) => `item ${i}`)
  )
  const attacker = engine.trigger({
    name: "attacker",
    pattern: "go",
    source: `if event.value == "attack" then ${everything} ${source} end cache.set("fine", tostring(left))`
  })
  engine.trigger({
    name: "neighbour",
    pattern: "go",
    source: 'cache.set("neighbour", tostring(left) .. ("x"):rep(3) .. cache.get("there"))'
  })
  engine.keyspace.set("go", "warm")
  const before = engine.keyspace.size
  expect(engine.keyspace.set("go", "attack")).toBe(true)
  const [record, ...others] = engine.log.recent(9)
  expect(others).toEqual([])
  expect(record).toMatchObject({ trigger: "attacker", event: "ON_WRITE", key: "go" })
  expect(record?.message.length).toBeGreaterThan(0)
  expect(engine.keyspace.size).toBe(before)
  for (const key of ["left", "closed", "caught", "k", "k1"]) expect(engine.keyspace.peek(key)).toBeUndefined()
  expect(engine.keyspace.peek("neighbour")?.value).toBe("nilxxxv")
  engine.keyspace.set("go", "again")
  expect(engine.log.total).toBe(1)
  expect(engine.keyspace.peek("fine")?.value).toBe("nil")
  expect([engine.emits, engine.lines, engine.webhooks]).toEqual([[], [], []])
  expect([attacker.stats.runs, engine.keyspace.origin]).toEqual([3, null])
  engine.keyspace.checkInvariants()
  return { kind: record?.kind, message: record?.message, fuel: attacker.stats.fuel }
}

describe.each(Object.entries(scripts))("%s", (_, [kinds, source]) => {
  it("does no harm by the clock", () => {
    expect(kinds).toContain(attack(source).kind)
  })

  it("ends in one way by fuel", () => {
    const ending = attack(source, { fuelMax: 50_000 })
    expect(kinds).toContain(ending.kind)
    expect(attack(source, { fuelMax: 50_000 })).toEqual(ending)
  })
})

describe("the words of a recorded error", () => {
  it.each([
    ['error("no")', "line 1: no"],
    ['error("no", 0)', "no"],
    ["error({ code = 7 })", "(error object is a table value)"],
    ["error(nil)", "nil"],
    ["error(print)", "(error object is a function value)"],
    ['error("\\xff", 0)', "\xff"],
    ["local x = nil\nreturn x.y", "line 2: attempt to index a nil value (local 'x')"]
  ])("of %j", (source, words) => {
    const { keyspace, trigger, log } = makeEngine({ fuelMax: 50_000 })
    trigger({ source })
    keyspace.set("k", "v")
    expect(log.recent(1)[0]?.message).toBe(words)
  })
})

describe("finalizers", () => {
  it("are never run: __gc reaches no metatable", () => {
    const { keyspace, trigger, log } = makeEngine({ fuelMax: 1_000_000 })
    trigger({
      pattern: "go",
      source: "for i = 1, 200 do setmetatable({}, { __gc = function() while true do end end }) end"
    })
    for (let i = 0; i < 50; i++) keyspace.set("go", "v")
    expect(log.total).toBe(0)
  })
})

describe("a source that is too much for the compiler", () => {
  it("is refused at its registration", () => {
    const { registry } = makeEngine()
    const sources = [
      "(".repeat(60_000),
      `return ${"{".repeat(60_000)}`,
      "local a = 1 ".repeat(5_000),
      `${"if x then ".repeat(6000)}`
    ]
    for (const source of sources) {
      expect(registry.set({ name: "t", pattern: "*", events: ["ON_WRITE"], source })).toBeInstanceOf(Error)
    }
    expect(registry.set({ name: "t", pattern: "*", events: ["ON_WRITE"], source: "return 1" })).not.toBeInstanceOf(
      Error
    )
  })
})
