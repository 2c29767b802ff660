/** What the host does for a run is the run's work: paid for before it is done, and once. */
import { describe, expect, it } from "vitest"
import { type HostCall, type HostFunction, type LuaVm, Refusal, RunStatus } from "../../src/sandbox/index.ts"
import { define, limits, makeVm, slots } from "./support.ts"

/** By the clock, 100 µs: the limits of a trigger of which nothing is said. */
const byClock = { timeoutMicros: 100, bytesMax: 4 << 20, fuelMax: 0 }

/** A machine with `host.f`, and a clock that only the host moves. */
const withClock = (f: (call: HostCall, pass: (micros: number) => void) => void) => {
  let nowMs = 0
  const pass = (micros: number) => {
    nowMs += micros / 1000
  }
  const clock = { epochMs: () => 0, elapsedMs: () => nowMs }
  return makeVm({ clock, bytesMax: 8 << 20, hostTables: { host: { f: (call) => f(call, pass) } } })
}

const statusOf = (vm: LuaVm, source: string, of = byClock): RunStatus => vm.run(define(vm, source), of)

describe("work of the host, by the clock", () => {
  it("is refused where one charge is more than the soft limit leaves, though the clock has not moved yet", () => {
    let done = 0
    const vm = withClock((call) => {
      if (call.charge(call.number(1) ?? 0)) done++
    })
    expect(statusOf(vm, "host.f(5000000)")).toBe(RunStatus.timeout)
    expect(statusOf(vm, "pcall(host.f, 30000) host.f(1)")).toBe(RunStatus.timeout)
    expect(done).toBe(0)
    expect(statusOf(vm, "host.f(20000)")).toBe(RunStatus.ok)
    expect(statusOf(vm, "for _ = 1, 100 do host.f(20000) end")).toBe(RunStatus.timeout)
    expect(done).toBe(2)
  })

  it("is counted once: what was charged for is not counted again when the clock shows it", () => {
    let done = 0
    const vm = withClock((call, pass) => {
      if (!call.charge(10_000)) return
      done++
      pass(40)
    })
    expect(statusOf(vm, "host.f() host.f()")).toBe(RunStatus.ok)
    expect(statusOf(vm, "while true do host.f() end")).toBe(RunStatus.timeout)
    expect(done).toBe(4)
  })

  it("is within the limit of a trigger of which nothing is said for strings of 100 KB, in and out", () => {
    const text = "x".repeat(100_000)
    const seen: unknown[] = []
    const vm = withClock((call) => {
      if (call.count === 0) call.returnString(text)
      else seen.push(call.string(1) === text)
    })
    vm.frame.string(slots.value, text)
    expect(statusOf(vm, "host.f(host.f()) host.f(event.value)")).toBe(RunStatus.ok)
    expect(seen).toEqual([true, true])
  })

  it("is within it for an event with a value of 1 MB", () => {
    const vm = withClock(() => {})
    vm.frame.string(slots.value, "x".repeat(1 << 20))
    expect(statusOf(vm, "return #event.value")).toBe(RunStatus.ok)
  })
})

describe("a string that a run cannot pay for", () => {
  const told = (host: HostFunction, source: string) => {
    const vm = makeVm({ bytesMax: 8 << 20, hostTables: { host: { f: host } } })
    vm.frame.string(slots.value, "x".repeat(1 << 20))
    return vm.run(define(vm, source), { ...limits, bytesMax: 4 << 20, fuelMax: 50_000 })
  }

  it("does not reach the host, as bytes or as a value", () => {
    const seen: unknown[] = []
    const look: HostFunction = (call) => {
      const value = call.value(1)
      seen.push(call.string(1), value instanceof Refusal ? value.reason : value)
    }
    expect(told(look, "host.f(event.value)")).toBe(RunStatus.timeout)
    expect(seen).toEqual([undefined, "fuel"])
  })

  it("does not reach Lua", () => {
    const source = "local ok, answer = pcall(host.f) error(answer)"
    expect(told((call) => call.returnString("x".repeat(2 << 20)), source)).toBe(RunStatus.timeout)
  })

  it("is not printed", () => {
    const lines: string[] = []
    const vm = makeVm({ print: (line) => void lines.push(line) })
    expect(vm.run(define(vm, "print('short') print(('x'):rep(20000))"), limits)).toBe(RunStatus.ok)
    expect(vm.run(define(vm, "print(('x'):rep(20000))"), { ...limits, fuelMax: 35_000 })).toBe(RunStatus.timeout)
    expect(lines.map(({ length }) => length)).toEqual([5, 20_000])
  })
})

describe("structured fields of an event", () => {
  const objectOf = (keys: number) =>
    Object.freeze(Object.fromEntries(Array.from({ length: keys }, (_, i) => [`key${i}`, i])))

  it("are refused before they are written where they have too many parts, and are not looked through again", () => {
    const vm = makeVm()
    let listed = 0
    const target = Object.freeze({ ...objectOf(20_000) })
    const value = new Proxy(target, {
      ownKeys: (of) => {
        listed++
        return Reflect.ownKeys(of)
      }
    })
    const refused = () => {
      vm.frame.reset()
      return vm.frame.value(slots.value, value)?.message
    }
    expect(refused()).toBe("value has more than 10000 parts")
    const atFirst = listed
    expect(refused()).toBe("value has more than 10000 parts")
    expect([atFirst > 0, listed - atFirst]).toEqual([true, 0])
  })

  it("are looked through again where what was too large may have become smaller", () => {
    const vm = makeVm()
    const value: Record<string, number> = { ...objectOf(20_000) }
    expect(vm.frame.value(slots.value, value)?.reason).toBe("size")
    for (const key of Object.keys(value).slice(1)) delete value[key]
    vm.frame.reset()
    expect(vm.frame.value(slots.value, value)).toBeUndefined()
  })

  it("have an allowance for all of them together, anew for each event", () => {
    const vm = makeVm()
    for (let event = 0; event < 3; event++) {
      vm.frame.reset()
      expect(vm.frame.value(slots.value, objectOf(4_900))).toBeUndefined()
      expect(vm.frame.value(slots.metadata, objectOf(1_000))).toBeUndefined()
      expect(vm.frame.value(slots.old_value, objectOf(4_900))?.message).toMatch(/ is more than the run has time for$/)
    }
  })

  it("leave the run's own limit as it is", () => {
    const vm = makeVm()
    const program = define(vm, "return event.key")
    const fuel = () => {
      vm.run(program, limits)
      return vm.lastFuel
    }
    vm.frame.value(slots.key, 1)
    const before = fuel()
    vm.frame.value(slots.value, objectOf(3_000))
    expect(fuel()).toBe(before)
  })
})

describe("what a run answers", () => {
  it("is taken up to an allowance of its own, whatever the event took", () => {
    const vm = makeVm()
    const wide = { ...limits, bytesMax: 2 << 20, fuelMax: 10_000_000 }
    const answer = (keys: number) => {
      vm.frame.reset()
      vm.frame.value(
        slots.value,
        Array.from({ length: 9_000 }, () => 1)
      )
      vm.evaluate(define(vm, `local t = {} for i = 1, ${keys} do t["k" .. i] = i end return t`), wide)
      return vm.lastResult instanceof Refusal ? vm.lastResult.reason : Object.keys(vm.lastResult as object).length
    }
    expect([answer(2_000), answer(4_500), answer(2_000)]).toEqual([2_000, "fuel", 2_000])
  })
})
