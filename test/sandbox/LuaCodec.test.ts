import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { type LuaValue, LuaVm, Refusal, RunStatus } from "../../src/sandbox/index.ts"
import { define, evaluate, fields, limits, makeVm, slots, stillClock } from "./support.ts"

const wide = { ...limits, fuelMax: 50_000_000, bytesMax: 2 << 20 }

/** Into Lua as a field, and back as a result. */
const makeRoundTrip = () => {
  const vm = makeVm()
  const program = define(vm, "return event.metadata")
  return (value: LuaValue): LuaValue | Refusal => {
    vm.frame.reset()
    const refusal = vm.frame.value(slots.metadata, value)
    if (refusal !== undefined) return refusal
    expect(vm.evaluate(program, wide)).toBe(RunStatus.ok)
    return vm.lastResult
  }
}

const object = (entries: Record<string, unknown>): unknown => Object.assign(Object.create(null), entries)

describe("a value that crosses", () => {
  const roundTrip = makeRoundTrip()

  it.each<readonly [string, LuaValue]>([
    ["nil", null],
    ["true", true],
    ["false", false],
    ["zero", 0],
    ["a negative", -7],
    ["a fraction", 0.1],
    ["a large integer", Number.MAX_SAFE_INTEGER],
    ["a small integer", Number.MIN_SAFE_INTEGER],
    ["an integer of 64 bits", 9_223_372_036_854_775_807n],
    ["the smallest integer", -9_223_372_036_854_775_808n],
    ["a huge float", 1e300],
    ["infinity", Number.NEGATIVE_INFINITY],
    ["negative zero", -0],
    ["an array", [1, 2, 3]],
    ["nested arrays", [[1], [2, [3]]]],
    ["text", ["grüße, 世界 👋", ""]],
    ["bytes that are no text", [new Uint8Array([255, 0, 128])]]
  ])("comes back as it was: %s", (_, value) => {
    expect(roundTrip(value)).toEqual(value)
  })

  it("is the same kind of number in Lua and here: 1.0 is a frozen Number object, 1 a number", () => {
    const vm = makeVm()
    const numbers = evaluate(vm, "return { 1, 1.0, 2^53 - 1, 2^53, -0.0, 0.5, math.maxinteger, 1e300 }") as unknown[]
    expect(numbers.map((it) => (typeof it === "object" ? "object" : typeof it))).toEqual(
      "number object object number number number bigint number".split(" ")
    )
    expect([numbers[1], Object.isFrozen(numbers[1])]).toEqual([Object(1), true])
    expect(Number(numbers[1]) + 1).toBe(2)
    expect(evaluate(vm, "return 7 // 1.0")).toEqual(Object(7))

    const kinds = define(vm, "local t = {} for i, n in ipairs(event.value) do t[i] = math.type(n) end return t")
    vm.frame.reset()
    vm.frame.value(slots.value, [1, Object(1), 2 ** 53, -0, 2n ** 60n, Object(0.5)] as LuaValue)
    vm.evaluate(kinds, wide)
    expect(vm.lastResult).toEqual(["integer", "float", "float", "float", "integer", "float"])
    vm.frame.value(slots.value, Object(8) as LuaValue)
    vm.evaluate(define(vm, "return math.type(event.value)"), wide)
    expect(vm.lastResult).toBe("float")
  })

  it("costs more fuel where it is an object here, and is refused where the run cannot pay", () => {
    const vm = makeVm({ hostTables: { host: { take: (call) => void call.value(1) } } })
    const fuelOf = (item: string) => {
      const program = define(vm, `local t = {} for i = 1, 1000 do t[i] = i + ${item} end host.take(t)`)
      expect(vm.run(program, wide)).toBe(RunStatus.ok)
      return vm.lastFuel
    }
    const [fractions, wholes] = [fuelOf("0.5"), fuelOf("1.0")]
    expect(wholes - fractions).toBeGreaterThan(29_900) // 30 each; where tables lie costs a few units more or less
    const program = define(vm, "local t = {} for i = 1, 1000 do t[i] = i + 1.0 end host.take(t)")
    expect(vm.run(program, { ...wide, fuelMax: fractions + 1000 })).toBe(RunStatus.timeout)
  })

  it("has no whole float as a key: Lua makes an integer of it", () => {
    expect(evaluate(makeVm(), "return { [1.0] = 'a', [2] = 'b' }")).toEqual(["a", "b"])
    expect(evaluate(makeVm(), "return { [-0.0] = 'a', [2.0^53] = 'b' }")).toEqual(
      new Map<unknown, unknown>([
        [0, "a"],
        [2n ** 53n, "b"]
      ])
    )
  })

  it("is a latin1 string of bytes when it is a string by itself", () => {
    expect(roundTrip("\xff\0a")).toBe("\xff\0a")
  })

  it("comes back as an object without a prototype, where its keys are text", () => {
    const value = roundTrip({ a: 1, b: { c: "x" }, length: 2 }) as object
    expect(value).toEqual(object({ a: 1, b: object({ c: "x" }), length: 2 }))
    expect(Object.getPrototypeOf(value)).toBeNull()
    expect(roundTrip({})).toEqual(object({}))
    expect(roundTrip([])).toEqual(object({})) // Lua knows one empty table
  })

  it("cannot touch a prototype", () => {
    const value = roundTrip(JSON.parse('{"__proto__":{"polluted":1},"constructor":1}')) as Record<string, unknown>
    expect(Object.keys(value)).toEqual(expect.arrayContaining(["__proto__", "constructor"]))
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    const vm = makeVm()
    expect(Object.keys(evaluate(vm, "return { __proto__ = { polluted = 1 } }") as object)).toEqual(["__proto__"])
  })

  it("comes back as a Map where its keys are neither 1..n nor text", () => {
    expect(
      roundTrip(
        new Map<LuaValue, LuaValue>([
          [1, "a"],
          ["b", 2],
          [true, 3]
        ])
      )
    ).toEqual(
      new Map<LuaValue, LuaValue>([
        [1, "a"],
        ["b", 2],
        [true, 3]
      ])
    )
    const vm = makeVm()
    expect(evaluate(vm, "return { 1, nil, 3 }")).toEqual(
      new Map([
        [1, 1],
        [3, 3]
      ])
    )
    expect(evaluate(vm, "return { [0] = 0, 1 }")).toEqual(
      new Map([
        [0, 0],
        [1, 1]
      ])
    )
    expect(evaluate(vm, "return { [1.5] = 1 }")).toEqual(new Map([[1.5, 1]]))
    expect(evaluate(vm, "local t = {} t[3] = 3 t[2] = 2 t[1] = 1 return t")).toEqual([1, 2, 3])
  })

  it("comes back as it was, whatever plain data it is", () => {
    const leaf = fc.oneof(
      fc.boolean(),
      fc.maxSafeInteger(),
      fc.double({ noNaN: true }),
      fc.string({ unit: "grapheme" }),
      fc.bigInt({ min: 2n ** 60n, max: 2n ** 63n - 1n })
    )
    const { value: any } = fc.letrec((tie) => ({
      value: fc.oneof({ maxDepth: 4, withCrossShrink: true }, leaf, tie("array"), tie("object")),
      array: fc.array(tie("value"), { minLength: 1, maxLength: 6 }),
      object: fc.dictionary(fc.string({ unit: "grapheme", minLength: 1 }), tie("value"), {
        minKeys: 1,
        noNullPrototype: false
      })
    }))
    fc.assert(
      fc.property(any, (value) => {
        expect(roundTrip([value] as LuaValue)).toEqual([bare(value)])
      }),
      { numRuns: 300 }
    )
  })
})

/** The same with no prototypes. */
const bare = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(bare)
  if (typeof value !== "object" || value === null) return value
  return object(Object.fromEntries(Object.entries(value).map(([key, item]) => [key, bare(item)])))
}

describe("a value that must not cross", () => {
  it.each([
    ["return print", "function", "result"],
    ["return { a = { 1, print } }", "function", "result.a[2]"],
    ["return { coroutine.create(print) }", "thread", "result[1]"],
    ["local t = {} t.self = { t } return t", "cycle", "result.self[1]"],
    ["local t = {} for _ = 1, 30 do t = { t } end return t", "depth", `result${"[1]".repeat(16)}`],
    ["local t = {} for _ = 1, 15 do t = { t, t, t } end return t", "size", undefined],
    ["return { [{}] = 1 }", "key", "result"],
    ["return { [print] = 1 }", "key", "result"]
  ])("is refused with its path: %s", (source, reason, path) => {
    const vm = makeVm()
    vm.evaluate(define(vm, source), wide)
    const refusal = vm.lastResult as Refusal
    expect(refusal).toBeInstanceOf(Refusal)
    expect(refusal.reason).toBe(reason)
    if (path !== undefined) expect(refusal.path).toBe(path)
    expect(refusal.message.startsWith(refusal.path)).toBe(true)
  })

  it("is refused with its path on the way in, and the field is nil", () => {
    const roundTrip = makeRoundTrip()
    const cycle: Array<unknown> = []
    cycle.push({ back: cycle })
    let deep: LuaValue = []
    for (let i = 0; i < 30; i++) deep = [deep]
    const refused = (value: unknown) => {
      const refusal = roundTrip(value as LuaValue)
      expect(refusal).toBeInstanceOf(Refusal)
      return `${(refusal as Refusal).reason} ${(refusal as Refusal).path}`
    }
    expect(refused({ f: [() => 1] })).toBe("function metadata.f[0]")
    expect(refused(cycle)).toBe("cycle metadata[0].back")
    expect(refused(deep)).toBe(`depth metadata${"[0]".repeat(16)}`)
    expect(refused({ at: new Date(0) })).toBe("object metadata.at")
    expect(refused({ n: 2n ** 63n })).toBe("range metadata.n")
    expect(refused(new Map([[Number.NaN, 1]]))).toBe("key metadata")
    expect(refused(Array.from({ length: 20_000 }, () => 1))).toBe("size metadata")
    expect(refused({ s: "x".repeat(2 << 20) })).toBe("size metadata.s")
  })

  it("is refused by whatever limits the machine was made with", () => {
    const vm = new LuaVm({ fields, clock: stillClock, codec: { depthMax: 2, nodesMax: 10, bytesMax: 8 } })
    const reasonOf = (source: string) => {
      vm.evaluate(define(vm, source), limits)
      return vm.lastResult instanceof Refusal ? vm.lastResult.reason : "none"
    }
    expect(reasonOf("return { { 1 } }")).toBe("none")
    expect(reasonOf("return { { {} } }")).toBe("depth")
    expect(reasonOf("return { 1, 2, 3, 4, 5, 6 }")).toBe("size")
    expect(reasonOf("return { 'much too long' }")).toBe("size")
  })
})
