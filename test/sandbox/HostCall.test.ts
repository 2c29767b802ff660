import { describe, expect, it } from "vitest"
import { type HostCall, type HostFunction, LuaVm, Refusal, RunStatus } from "../../src/sandbox/index.ts"
import { define, evaluate, fields, limits, makeVm, stillClock } from "./support.ts"

/** A machine whose `host.f` is this function. */
const withHost = (f: HostFunction): LuaVm => makeVm({ hostTables: { host: { f } } })

describe("a call into the host", () => {
  it("hands over its arguments by kind, and as what they are asked for", () => {
    const seen: Array<unknown> = []
    const vm = withHost((call) => {
      for (let i = 1; i <= call.count + 1; i++)
        seen.push([call.kind(i), call.string(i), call.number(i), call.boolean(i)])
    })
    evaluate(vm, "host.f('a\\0\\255', 12, 1.5, nil, false, {}, print, '0x10')")
    expect(seen).toEqual([
      ["string", "a\0\xff", undefined, true],
      ["number", "12", 12, true],
      ["number", "1.5", 1.5, true],
      ["nil", undefined, undefined, false],
      ["boolean", undefined, undefined, false],
      ["table", undefined, undefined, true],
      ["function", undefined, undefined, true],
      ["string", "0x10", 16, true],
      ["none", undefined, undefined, false]
    ])
  })

  it("takes no argument of the call before for its own", () => {
    const seen: Array<unknown> = []
    const vm = withHost((call) => void seen.push(call.string(1)))
    evaluate(vm, "host.f('first') host.f() host.f({}) host.f('')")
    expect(seen).toEqual(["first", undefined, undefined, ""])
  })

  it("answers nothing, nil, booleans, numbers, bytes and structures", () => {
    const answers: ReadonlyArray<(call: HostCall) => void> = [
      () => {},
      (call) => call.returnNil(),
      (call) => call.returnBoolean(true),
      (call) => call.returnBoolean(false),
      (call) => call.returnInteger(-5),
      (call) => call.returnNumber(-5),
      (call) => call.returnNumber(0.1),
      (call) => call.returnString(""),
      (call) => call.returnString("\0\xff".repeat(1000)),
      (call) => call.returnValue({ list: [1, "ü", null, 2.5], empty: {} })
    ]
    const vm = withHost((call) => answers[(call.number(1) ?? 0) - 1]?.(call))
    const told = (n: number) =>
      evaluate(vm, `return table.concat({ select('#', host.f(${n})), tostring((host.f(${n}))) }, " ")`)
    expect([1, 2, 3, 4, 5, 6, 7, 8].map(told)).toEqual([
      "0 nil",
      "1 nil",
      "1 true",
      "1 false",
      "1 -5",
      "1 -5.0",
      "1 0.1",
      "1 "
    ])
    expect(evaluate(vm, "return (host.f(9))")).toBe("\0\xff".repeat(1000))
    expect(evaluate(vm, "local t = host.f(10) return { #t.list[2], t.list[4], next(t.empty) == nil }")).toEqual([
      2,
      2.5,
      true
    ])
  })

  it("fails as a Lua error, at the line that called, which Lua may catch", () => {
    const vm = withHost((call) => call.fail("refused: grüße"))
    expect(() => evaluate(vm, "\n\nhost.f() return 1")).toThrow("3: refused: grüße")
    expect(evaluate(vm, "return select(2, pcall(host.f))")).toBe("refused: gr\xc3\xbc\xc3\x9fe")
  })

  it("fails where what it answers cannot cross", () => {
    const vm = withHost((call) =>
      call.count === 0 ? call.returnValue({ f: (() => 1) as never }) : call.returnString("x".repeat(5 << 20))
    )
    expect(() => evaluate(vm, "local x = host.f()")).toThrow("1: result.f is a function")
    expect(() => evaluate(vm, "local x = host.f(1)")).toThrow(/does not fit|not enough memory/)
  })

  it("works from within a coroutine", () => {
    const vm = withHost((call) => call.returnString(`<${call.string(1)}${call.value(2)}>`))
    expect(evaluate(vm, "return coroutine.wrap(function() return host.f('a', 'b') end)()")).toBe("<ab>")
  })

  it("is charged for its work before it does it, and does none that the run cannot pay for", () => {
    let done = 0
    const vm = makeVm({
      hostTables: {
        cache: {
          work(call) {
            if (!call.charge(call.number(1) ?? 0)) return
            done++
            call.returnInteger(done)
          }
        }
      }
    })
    const run = (source: string) => [vm.run(define(vm, source), limits), vm.lastFuel >= limits.fuelMax, done]
    expect(run("cache.work(90000)")).toEqual([RunStatus.ok, false, 1])
    expect(run("cache.work(110000)")).toEqual([RunStatus.timeout, true, 1])
    expect(run("pcall(cache.work, 1e300) cache.work(1)")).toEqual([RunStatus.timeout, true, 1])
    expect(run("while true do cache.work(30000) end")).toEqual([RunStatus.timeout, true, 4])
    expect(run("cache.work(-1e9) cache.work(0 / 0)")).toEqual([RunStatus.ok, false, 6])
  })

  it("is not given more of a table than the run can pay for", () => {
    const seen: unknown[] = []
    const vm = makeVm({
      hostTables: {
        cache: {
          put(call) {
            const value = call.value(1)
            seen.push(value instanceof Refusal ? value.message : "whole")
            if (value instanceof Refusal) call.fail(value.message)
          }
        }
      }
    })
    const program = define(vm, "local t = {} for i = 1, 2000 do t[i] = i end cache.put(t)")
    expect(vm.run(program, { ...limits, fuelMax: 200_000 })).toBe(RunStatus.ok)
    expect(vm.run(program, { ...limits, fuelMax: 20_000 })).toBe(RunStatus.timeout)
    expect(seen).toEqual(["whole", expect.stringMatching(/^argument 1\[\d+\] is more than the run has time for$/)])
  })

  it("can be reached under two names, with one entry for both", () => {
    const table = Object.fromEntries(
      Array.from({ length: 20 }, (_, i) => [`f${i}`, (call: HostCall) => call.returnInteger(i)])
    )
    const vm = makeVm({ hostTables: { cache: table, cachee: table } })
    expect(evaluate(vm, "return { cache.f3(), cachee.f19(), cache.f3 == cachee.f3 }")).toEqual([3, 19, true])
  })

  it("is refused at creation where there are more functions than entries", () => {
    const table = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`f${i}`, () => {}]))
    expect(() => makeVm({ hostTables: { cache: table } })).toThrow(/entries for 32 host functions/)
  })

  it("costs fuel, and more for a structure", () => {
    const vm = withHost((call) => void call.value(1))
    const fuelOf = (source: string) => {
      vm.run(define(vm, source), limits)
      return vm.lastFuel
    }
    const one = fuelOf("host.f()")
    expect(one).toBeGreaterThan(64)
    expect(fuelOf("local t = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 } host.f(t)") - one).toBeGreaterThan(300)
  })
})

describe("a machine", () => {
  it("is refused with more fields than a frame has slots, or a size that cannot be", () => {
    const many = Array.from({ length: 33 }, (_, i) => `f${i}`)
    expect(() => new LuaVm({ fields: many })).toThrow("at most 32 fields")
    expect(() => new LuaVm({ fields, bytesMax: 1000 })).toThrow(/bytesMax is 1000/)
    expect(() => new LuaVm({ fields, bytesMax: 64 << 20 })).toThrow(/bytesMax/)
  })

  it("has 32 fields where 32 are asked for", () => {
    const many = Array.from({ length: 32 }, (_, i) => `f${i}`)
    const vm = new LuaVm({ fields: many, clock: stillClock })
    const program = define(vm, `return ${many.map((name) => `event.${name}`).join(" .. ")}`)
    for (let slot = 0; slot < 32; slot++) vm.frame.string(slot, String.fromCharCode(65 + slot))
    expect(vm.evaluate(program, limits)).toBe(RunStatus.ok)
    expect(vm.lastResult).toBe(Array.from({ length: 32 }, (_, slot) => String.fromCharCode(65 + slot)).join(""))
  })

  it("is whole from the start, however many are made", () => {
    for (let i = 0; i < 300; i++) expect(evaluate(makeVm(), "return 1")).toBe(1)
  })
})
