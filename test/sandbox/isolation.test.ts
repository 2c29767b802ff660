import { describe, expect, it } from "vitest"
import { RunStatus } from "../../src/sandbox/index.ts"
import { define, limits, makeVm, slots } from "./support.ts"

/** Runs the first program, then what the second one answers. */
const answerAfter = (attacker: string, victim: string): unknown => {
  const vm = makeVm({ hostTables: { cache: { get: (call) => call.returnString("real") } } })
  const attack = define(vm, attacker)
  const program = define(vm, victim)
  vm.frame.reset()
  vm.frame.string(slots.key, "k")
  expect(vm.run(attack, limits)).toBe(RunStatus.ok) // or a rewind would have put things right
  if (vm.evaluate(program, limits) !== RunStatus.ok) throw new Error(vm.lastError.message)
  return vm.lastResult
}

describe("two programs in one machine", () => {
  it.each([
    ["a global", "x = 1", "return x", null],
    ["a global through _G", "_G.x = 1", "return _G.x", null],
    ["a replaced function", "print, tostring = nil, nil", "return tostring(1)", "1"],
    ["a replaced library", "string = { format = 1 } math = nil", "return string.format('%d', math.abs(-1))", "1"],
    ["a field of a library", "pcall(function() string.format = nil end)", "return string.format('x')", "x"],
    ["a rawset on a library", "pcall(rawset, string, 'format', nil)", "return string.format('x')", "x"],
    ["a rawset on the host's table", "pcall(rawset, cache, 'get', print)", "return cache.get('x')", "real"],
    ["table.insert into a library", "pcall(table.insert, math, 1)", "return #math", 0],
    ["the methods of strings", "pcall(function() getmetatable('').__index = {} end)", "return ('x'):upper()", "X"],
    ["a metatable for a library", "pcall(setmetatable, table, {})", "return table.concat({ 1, 2 })", "12"],
    ["a metatable for the environment", "pcall(setmetatable, _G, { __index = {} })", "return type(print)", "function"],
    ["an environment of its own", "_ENV = { x = 1 }", "return x", null],
    ["a global in a loaded chunk", "load('x = 1')()", "return x", null],
    ["the event's table", "event.key = 'forged' event = nil", "return event.key", "k"],
    ["the event's metatable", "setmetatable(event, { __index = { value = 'forged' } })", "return event.value", null],
    ["a coroutine left suspended", "co = coroutine.wrap(function() coroutine.yield() end) co()", "return co", null],
    [
      "a name for the event",
      "local mt = { __index = function() return 'x' end } setmetatable(_G.event, mt)",
      "return event.nothing",
      null
    ]
  ])("do not share %s", (_, attacker, victim, expected) => {
    expect(answerAfter(attacker, victim)).toBe(expected)
  })

  it("each find their own globals again", () => {
    const vm = makeVm()
    const [one, other] = [define(vm, "n = (n or 0) + 1 return n"), define(vm, "n = (n or 10) + 1 return n")]
    const seen = [one, other, one, other].map((program) => {
      vm.evaluate(program, limits)
      return vm.lastResult
    })
    expect(seen).toEqual([1, 11, 2, 12])
  })

  it("cannot get at a metatable that they were not given", () => {
    expect(
      answerAfter("", "return { getmetatable('') , getmetatable(string), getmetatable(_G), getmetatable(cache) }")
    ).toEqual([false, false, false, false])
  })

  it("cannot reach the real tables behind the frozen ones by walking them", () => {
    expect(
      answerAfter(
        "",
        "local n = 0 for _, t in ipairs { string, table, math, cache } do for _ in pairs(t) do n = n + 1 end end return n"
      )
    ).toBe(0)
    expect(answerAfter("", "return next(coroutine) == nil and rawlen(string) == 0 and rawget(os, 'time') == nil")).toBe(
      true
    )
  })
})
