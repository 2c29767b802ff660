import { describe, expect, it } from "vitest"
import { LuaVm, type Program, RunStatus } from "../../src/sandbox/index.ts"
import { define, fields, limits, makeVm, slots, stillClock } from "./support.ts"

/** Everything that Lua can see, and what only the host can: a digest of both. */
const stateOf = (vm: LuaVm, probe: Program): string => {
  vm.frame.reset()
  vm.frame.string(slots.key, "probe")
  expect(vm.evaluate(probe, limits)).toBe(RunStatus.ok)
  return `${String(vm.lastResult)} ${vm.lastFuel} ${vm.lastBytes}`
}

const probe = `
local names = {}
for name in pairs(_G) do names[#names + 1] = name end
table.sort(names)
return table.concat(names, " ") .. event.key .. string.format("%5.1f", 2) .. tostring({}):gsub("x", "")`

describe("a rewind", () => {
  it("brings the machine back 20,000 times, also after kills in the middle of C functions", () => {
    const vm = makeVm()
    const short = { ...limits, fuelMax: 5_000 }
    const hostile = [
      "while true do x = (x or 0) + 1 end",
      "return ('a'):rep(300):find('.-.-.-b')",
      "return ('x'):rep(1e9)",
      "table.sort({ 3, 2, 1 }, function() while true do end end)",
      "xpcall(error, function() while true do end end)",
      "table.move({}, 1, 1e9, 2)",
      "coroutine.wrap(function() leak = 1 error('x') end)()",
      "leak = {} for i = 1, 1e9 do leak[i] = i end"
    ].map((source) => define(vm, source))
    const witness = define(vm, probe)
    vm.rewind()
    const before = stateOf(vm, witness)
    const bytes = vm.bytesUsed
    const seen = new Set<number>()
    for (let round = 0; round < 20_000; round++) {
      // Kills need their 250,000 units of grace, so only each fiftieth round has the programs that call for one.
      const isShort = round % 50 !== 0
      const program = hostile[isShort ? ([0, 2, 6, 7][round & 3] ?? 0) : (round / 50) % hostile.length] as Program
      const status = vm.run(program, short)
      seen.add(status)
      if (status === RunStatus.ok) throw new Error(`program ${program} ended well`)
    }
    expect([...seen].sort()).toEqual([RunStatus.error, RunStatus.timeout, RunStatus.memory, RunStatus.killed])
    expect(stateOf(vm, witness)).toBe(before)
    expect(vm.bytesUsed).toBe(bytes)
    expect(vm.isWorn).toBe(false)
  })

  it("leaves what was defined and forgets what has run", () => {
    const vm = makeVm()
    const make = define(vm, "made = event.key")
    const see = define(vm, "return made")
    vm.frame.reset()
    vm.frame.string(slots.key, "k")
    vm.run(make, limits)
    vm.rewind()
    vm.evaluate(see, limits)
    expect(vm.lastResult).toBeNull()
  })

  it("is what a definition does first", () => {
    const vm = makeVm()
    const counter = define(vm, "n = (n or 0) + 1 return n")
    vm.run(counter, limits)
    vm.run(counter, limits)
    define(vm, "return 1")
    vm.evaluate(counter, limits)
    expect(vm.lastResult).toBe(1)
  })

  it("does not happen while a program runs", () => {
    const attempts: Array<() => unknown> = []
    let index = 0
    const vm = makeVm({ hostTables: { cache: { get: () => void attempts[index]?.() } } })
    const program = define(vm, "cache.get()")
    attempts.push(
      () => vm.rewind(),
      () => vm.define("x", ""),
      () => vm.remove(program),
      () => vm.run(program, limits)
    )
    for (index = 0; index < attempts.length; index++)
      expect(() => vm.run(program, limits)).toThrow(/while a program runs|one program at a time/)
    index = attempts.length
    expect(vm.run(program, limits)).toBe(RunStatus.ok)
  })
})

describe("garbage", () => {
  it("is thrown away by rewinding, unseen, while no program has made a global", () => {
    const vm = makeVm()
    const program = define(vm, "local t = {} for i = 1, 20 do t[i] = event.value .. i end return #t")
    vm.rewind()
    const [level, before] = [vm.bytesUsed, vm.rewinds]
    vm.frame.reset()
    for (let i = 0; i < 5_000; i++) {
      vm.frame.string(slots.value, `value-${i}`)
      if (vm.run(program, limits) !== RunStatus.ok) throw new Error(vm.lastError.message)
      vm.frame.reset()
      expect(vm.bytesUsed - level).toBeLessThan(300_000)
    }
    expect(vm.rewinds - before).toBeGreaterThan(20)
    expect(vm.isWorn).toBe(false)
  })

  it.each([
    ["a global", "count = (count or 0) + 1"],
    ["a global by name", "_G.count = (_G.count or 0) + 1"],
    ["a global by rawset", "rawset(_G, 'count', (rawget(_G, 'count') or 0) + 1)"],
    ["a global of loaded code", "load('count = (count or 0) + 1')()"],
    ["a value overwritten in its environment", "_G._G = { n = (_G.n or 0) + 1 }"]
  ])("is collected in steps once a program keeps %s, which stays", (_, source) => {
    const vm = makeVm()
    const keeper = define(vm, `${source} return count`)
    const litter = define(vm, "local t = {} for i = 1, 100 do t[i] = { i } end")
    vm.run(keeper, limits)
    const before = vm.rewinds
    let high = 0
    for (let i = 0; i < 3_000; i++) {
      if (vm.run(litter, limits) !== RunStatus.ok) throw new Error(vm.lastError.message)
      high = Math.max(high, vm.bytesUsed)
    }
    expect(vm.rewinds).toBe(before)
    expect(high).toBeLessThan(1 << 20)
    vm.evaluate(keeper, limits)
    if (!source.startsWith("_G._G")) expect(vm.lastResult).toBe(2)
  })

  it("of a value that grows without end costs the machine its globals, and nothing else", () => {
    const vm = new LuaVm({ fields, clock: stillClock, bytesMax: 512 << 10 })
    const program = define(vm, "all = all or {} all[#all + 1] = ('x'):rep(5000) .. #all return #all")
    const results = Array.from({ length: 300 }, () => {
      vm.evaluate(program, limits)
      return vm.lastResult
    })
    expect(results.filter((result) => result === 1).length).toBeGreaterThan(1)
    expect(Math.max(...results.map(Number))).toBeGreaterThan(50)
    expect(vm.bytesUsed).toBeLessThan(512 << 10)
  })
})

describe("a machine", () => {
  it("is worn when its heap has outgrown its programs by more than it can give back", () => {
    const vm = makeVm()
    const program = define(vm, "local s = ('x'):rep(30000):rep(50)")
    const wide = { ...limits, bytesMax: 4 << 20, fuelMax: 10_000_000 }
    expect(vm.isWorn).toBe(false)
    expect(vm.run(program, wide)).toBe(RunStatus.ok)
    vm.rewind()
    expect(vm.isWorn).toBe(true)
    expect(vm.run(define(vm, "return 1"), limits)).toBe(RunStatus.ok)
  })
})
