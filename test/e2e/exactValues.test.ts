/** Values stay exactly what they are, whichever way they go: Lua, the store, JSON, bytes, the fields of events. */
import { describe, expect, it } from "vitest"
import { decodeValue, encodeValue, fromJson, toExactJson, valueAsBytes } from "../../src/cache/index.ts"
import { byteSize, type Nested, sameValue, type Value } from "../../src/kernel/index.ts"
import { LuaVm, type Program, Refusal, RunStatus } from "../../src/sandbox/index.ts"
import { exactFloat, exactText, luaSource, luaValue } from "../support/luaValues.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"

const limits = { timeoutMicros: 0, fuelMax: 20_000_000, bytesMax: 4 << 20 }
const [key, value] = [0, 1] // slots
const clock = { epochMs: () => 0, elapsedMs: () => 0 }

const makeVm = (): LuaVm => new LuaVm({ fields: ["key", "value"], clock })

const define = (vm: LuaVm, source: string): Program => {
  const definition = vm.define("values", source)
  if (!definition.ok) throw new Error(definition.error.message)
  return definition.program
}

const run = (vm: LuaVm, program: Program): Value => {
  expect(vm.evaluate(program, limits)).toBe(RunStatus.ok)
  if (vm.lastResult instanceof Refusal) throw new Error(vm.lastResult.message)
  return vm.lastResult as Value
}

/** As events carry it. */
const putField = ({ frame }: LuaVm, it: Value): void => {
  if (typeof it === "string") frame.string(value, it)
  else expect(frame.value(value, it)).toBeUndefined()
}

const throughJson = (it: Value): Value => {
  const read = fromJson(toExactJson(it))
  if (read instanceof Error) throw read
  return read
}

const throughBytes = (it: Value): Value => {
  const read = decodeValue(encodeValue(it))
  if (read instanceof Error) throw read
  return read
}

describe("a random value", () => {
  it(
    "that Lua has made is the same to Lua after JSON, bytes and the field of an event",
    async () => {
      const vm = makeVm()
      const making = define(vm, `${luaSource} return make(tonumber(event.key))`)
      const comparing = define(
        vm,
        `${luaSource} local made = make(tonumber(event.key)) return same(made, event.value, "value") or "same"`
      )
      await forAllSeeds(50_000, ({ seed }) => {
        vm.frame.reset()
        vm.frame.string(key, String(seed))
        const made = run(vm, making)
        const back = throughBytes(throughJson(made))
        if (exactText(back) !== exactText(made)) expect(exactText(back)).toBe(exactText(made))
        if (!sameValue(back, made) || byteSize(back) !== byteSize(made))
          expect([sameValue(back, made), back]).toBe(made)
        putField(vm, back)
        const difference = run(vm, comparing)
        if (difference !== "same") expect(difference, toExactJson(made)).toBe("same")
      })
    },
    propertyTimeoutMs
  )

  it(
    "that was made here comes back from Lua, from JSON and from bytes",
    async () => {
      const vm = makeVm()
      const program = define(vm, "return event.value")
      await forAllSeeds(20_000, (random) => {
        const made = luaValue(random)
        const text = exactText(made)
        vm.frame.reset()
        putField(vm, made)
        for (const back of [run(vm, program), throughJson(made), throughBytes(made)]) {
          if (exactText(back) !== text) expect(exactText(back), toExactJson(made)).toBe(text)
          expect(sameValue(back, made)).toBe(true)
        }
      })
    },
    propertyTimeoutMs
  )

  it("is another value than one that differs from it in the kind of one number", () => {
    const pairs: Array<[Nested, Nested]> = [
      [1, exactFloat(1)],
      [0, -0],
      [exactFloat(0), -0],
      [2 ** 53, 2n ** 53n]
    ]
    for (const [a, b] of pairs) {
      expect([a, sameValue(a, b), sameValue([a], [b])]).toEqual([a, false, false])
      expect(exactText(a)).not.toBe(exactText(b))
      expect(valueAsBytes(a as Value)).not.toBe(valueAsBytes(b as Value))
      expect(Buffer.from(encodeValue(a as Value)).equals(encodeValue(b as Value))).toBe(false)
    }
  })
})
