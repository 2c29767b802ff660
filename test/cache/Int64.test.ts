import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { addInt64, asInt64, parseInt64 } from "../../src/cache/Int64.ts"

const [min, max] = [-(2n ** 63n), 2n ** 63n - 1n]

describe("parseInt64", () => {
  it("reads every 64-bit integer as it is written, a number as long as it is exact", () => {
    fc.assert(
      fc.property(fc.bigInt(min, max), (value) => {
        const parsed = parseInt64(String(value))
        expect(BigInt(parsed as number | bigint)).toBe(value)
        expect(typeof parsed).toBe(Number.isSafeInteger(Number(value)) ? "number" : "bigint")
      })
    )
  })

  it.each([
    "",
    "-",
    "+1",
    "01",
    "-0",
    "00",
    " 1",
    "1 ",
    "1.0",
    "1e3",
    "0x1",
    "a",
    "\u00b2",
    String(max + 1n),
    String(min - 1n),
    "9".repeat(30)
  ])("refuses %j", (text) => expect(parseInt64(text)).toBeUndefined())
})

describe("addInt64", () => {
  it("adds within 64 bits and refuses beyond", () => {
    fc.assert(
      fc.property(fc.bigInt(min, max), fc.bigInt(min, max), (a, b) => {
        const sum = addInt64(parseInt64(String(a)) as number, parseInt64(String(b)) as number)
        const isWithin = a + b >= min && a + b <= max
        expect(sum === undefined ? undefined : BigInt(sum)).toBe(isWithin ? a + b : undefined)
      })
    )
  })
})

describe("asInt64", () => {
  it.each([
    ["42", 42],
    ["-9223372036854775808", min],
    [7, 7],
    [max, max]
  ])("reads %s", (value, integer) => expect(asInt64(value)).toBe(integer))

  it.each([["4.0"], [" 4"], [""], [0.5], [-0], [Object.freeze(Object(4))], [max + 1n], [null], [true], [[4]]])(
    "finds none in %s",
    (value) => expect(asInt64(value)).toBeUndefined()
  )
})
