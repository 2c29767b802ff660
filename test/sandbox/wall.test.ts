/** The wall, clause by clause: what a program cannot have, cannot keep and cannot reach. */
import { describe, expect, it } from "vitest"
import { LuaVm, Refusal, type RunLimits, RunStatus } from "../../src/sandbox/index.ts"
import { arenaStart, cell } from "../../src/sandbox/internal/layout.ts"
import { define, evaluate, fields, limits, makeVm, slots, stillClock } from "./support.ts"

interface Inside {
  readonly machine: {
    readonly lua: { readonly emscripten_stack_get_base: () => number; readonly emscripten_stack_get_end: () => number }
    readonly memory: { readonly bytes: Uint8Array; readonly cells: Int32Array; readonly view: DataView }
  }
}

const inside = (vm: LuaVm) => (vm as unknown as Inside).machine

/** Lua's memory without its C stack, which is empty between two runs, and without the host's arena. */
const memoryOf = (vm: LuaVm): Buffer => {
  const { lua, memory } = inside(vm)
  const bytes = Buffer.from(memory.bytes.subarray(0, arenaStart))
  bytes.fill(0, lua.emscripten_stack_get_end(), lua.emscripten_stack_get_base())
  return bytes
}

const heapEndOf = (vm: LuaVm): number => {
  const { memory } = inside(vm)
  return memory.view.getUint32(memory.cells[cell.heapEnd] as number, true)
}

describe("inside", () => {
  const names =
    "assert error getmetatable ipairs next pairs pcall rawequal rawget rawlen rawset select setmetatable tonumber tostring type " +
    "xpcall print load collectgarbage _VERSION _G _ENV string table math utf8 coroutine os cache event"

  it("there are tables, functions and plain values, and no object of the host", () => {
    const vm = makeVm({ hostTables: { cache: { get: (call) => call.returnValue({ a: [1, "x"] }) } } })
    const kinds = evaluate(
      vm,
      `local kinds, seen = {}, {}
       local function walk(v)
         kinds[type(v)] = true
         if type(v) ~= "table" or seen[v] then return end
         seen[v] = true
         for k, w in next, v do walk(k) walk(w) end
         walk(getmetatable(v))
       end
       for name in ("${names}"):gmatch("%S+") do walk(_ENV[name]) end
       for _, lib in ipairs({ string, table, math, utf8, coroutine, os, cache }) do
         for name in ("len concat pi char wrap time get"):gmatch("%S+") do walk(lib[name]) end
       end
       walk(cache.get()) walk(getmetatable("")) walk(select(2, pcall(error)))
       local list = {}
       for kind in pairs(kinds) do list[#list + 1] = kind end
       table.sort(list)
       return table.concat(list, " ")`
    )
    expect(kinds).toBe("boolean function nil number string table")
  })

  it.each([
    ["metatables of strings", "return getmetatable('') == false and not pcall(setmetatable, '', {})"],
    ["bytecode", "return string.dump == nil and load('\\27Lua') == nil and load('\\27Lua', 'x', 'b') == nil"],
    ["finalizers", "local n = 0 setmetatable({}, { __gc = function() n = 1 end }) return n == 0"],
    ["weak tables", "return getmetatable(setmetatable({}, { __mode = 'k' })).__mode == 'k'"],
    ["names of types", "return not tostring(setmetatable({}, { __name = 'mine' })):find('mine')"],
    [
      "the collector",
      "for _, o in ipairs({ 'collect', 'stop', 'restart', 'step', 'incremental', 'generational', 'isrunning', 'setpause' }) do " +
        "if pcall(collectgarbage, o) then return o end end return not pcall(collectgarbage) and collectgarbage('count') > 0"
    ],
    ["another environment than its own for what it loads", "load('x = 1')() return x == 1 and rawget(_G, 'x') == 1"]
  ])("a program has no power over %s", (_, source) => {
    expect(evaluate(makeVm(), source)).toBe(true)
  })
})

describe("between runs", () => {
  const isolated: RunLimits = { ...limits, isIsolated: true }
  const answers = (source: string, of: RunLimits): unknown[] => {
    const vm = makeVm()
    const program = define(vm, source)
    return [1, 2, 3].map(() => {
      expect(vm.evaluate(program, of)).toBe(RunStatus.ok)
      return vm.lastResult
    })
  }

  it.each([
    ["a global", "n = (n or 0) + 1 return n"],
    ["a global by rawset", "rawset(_G, 'n', (n or 0) + 1) return n"],
    ["a global of loaded code", "return load('n = (n or 0) + 1 return n')()"],
    ["a field of a table of its own", "t = t or {} t[#t + 1] = 1 return #t"],
    ["a replaced environment", "local old = n _ENV = { n = (n or 0) + 1 } return n"],
    [
      "a name of the environment overwritten",
      "load = type(load) == 'function' and 0 or load load = load + 1 return load"
    ],
    [
      "a coroutine",
      "co = co or coroutine.wrap(function() local n = 0 while true do n = n + 1 coroutine.yield(n) end end) return co()"
    ]
  ])("%s stays, and is gone in an isolated run", (_, source) => {
    expect(answers(source, limits)).toEqual([1, 2, 3])
    expect(answers(source, isolated)).toEqual([1, 1, 1])
  })

  it("an isolated run that keeps nothing costs no rewind", () => {
    const vm = makeVm()
    const program = define(vm, "local t = { event.key } return #t")
    vm.run(program, isolated)
    const { rewinds } = vm
    for (let i = 0; i < 100; i++) vm.run(program, isolated)
    expect(vm.rewinds).toBe(rewinds)
  })

  it.each([
    ["an error", "error('x')", RunStatus.error],
    ["a timeout", "while true do end", RunStatus.timeout],
    ["a lack of memory", "all = {} while true do all[#all + 1] = {} end", RunStatus.memory],
    ["a kill", "xpcall(error, function() while true do end end)", RunStatus.killed],
    ["a kill while memory is moved", "local s = ('x'):rep(9e5) while true do pcall(table.concat, { s, s }) end", null]
  ])("%s leaves no byte behind", (_, source, expected) => {
    const vm = makeVm()
    const program = define(vm, `secret = 'left behind' .. event.key ${source}`)
    vm.rewind()
    const clean = memoryOf(vm)
    vm.frame.reset()
    vm.frame.string(slots.key, "trace of the event")
    const status = vm.run(program, { ...limits, bytesMax: source.includes("9e5") ? 4 << 20 : limits.bytesMax })
    expect(status).not.toBe(RunStatus.ok)
    if (expected !== null) expect(status).toBe(expected)
    expect(memoryOf(vm).equals(clean)).toBe(true)
  })
})

describe("between machines", () => {
  it("nothing of one is in the other, nor left in its own memory by a rewind", () => {
    const [one, other] = [makeVm(), makeVm()]
    const before = memoryOf(other)
    const mark = "tenant one's secret, which nobody else may see"
    const program = define(one, "kept = { event.value } return kept[1]")
    one.frame.reset()
    one.frame.string(slots.value, mark)
    expect(one.evaluate(program, limits)).toBe(RunStatus.ok)
    expect(one.lastResult).toBe(mark)
    expect(memoryOf(one).includes(mark)).toBe(true)
    expect(memoryOf(other).equals(before)).toBe(true)
    one.rewind()
    expect(memoryOf(one).includes(mark)).toBe(false)
  })
})

describe("the memory of a machine", () => {
  it("never reaches the host's own part of it, however it is taken and given back", () => {
    const vm = new LuaVm({ fields, clock: stillClock, bytesMax: 10 << 20 })
    const wide = { ...limits, bytesMax: 10 << 20, fuelMax: 50_000_000 }
    const probe = define(vm, "return 'well'")
    const sources = [
      "t = {} for i = 1, 9 do t[i] = ('x'):rep(1 << 20) end",
      "t = nil s = ('x'):rep(5 << 20)",
      "s = nil u = ('x'):rep(6 << 20)",
      "u = nil local s = 'x' while true do s = s .. s end",
      "local t = {} for i = 1, 1e7 do t[i] = i end",
      "local keep = {} for i = 1, 40 do local s = ('x'):rep(i << 16) keep[#keep + 1] = ('y'):rep(100) end",
      "local b = {} for i = 1, 200 do b[i] = ('x'):rep(1e5 + i) if i > 60 then b[i - 60] = nil end end"
    ].map((source) => define(vm, source))
    for (let round = 0; round < 3; round++) {
      for (const program of sources) {
        vm.run(program, wide)
        expect(heapEndOf(vm)).toBeLessThan(arenaStart)
        expect(vm.bytesUsed).toBeLessThan(10 << 20)
        expect(vm.evaluate(probe, limits)).toBe(RunStatus.ok)
        expect(vm.lastResult).toBe("well")
      }
    }
  })
})

describe("a value", () => {
  it("crosses within limits of depth, size and cycles, in both directions", () => {
    const seen: unknown[] = []
    const vm = makeVm({
      codec: { depthMax: 3, nodesMax: 20, bytesMax: 100 },
      hostTables: {
        cache: {
          put(call) {
            const value = call.value(1)
            seen.push(value instanceof Refusal ? value.reason : "crossed")
          },
          get: (call) => call.returnValue([[[[1]]]])
        }
      }
    })
    const source = `
      cache.put({ { { 1 } } }) cache.put({ { { { 1 } } } })
      local t = {} t.t = t cache.put(t)
      local wide = {} for i = 1, 30 do wide[i] = i end cache.put(wide)
      cache.put({ ('x'):rep(101) }) cache.put({ print }) cache.put({ [{}] = 1 })
      return pcall(cache.get)`
    expect(evaluate(vm, source)).toBe(false)
    expect(seen).toEqual(["crossed", "depth", "cycle", "size", "size", "function", "key"])
  })
})
