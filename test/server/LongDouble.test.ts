import { describe, expect, it } from "vitest"
import { addDecimal, type LongDouble, parseDecimal } from "../../src/server/LongDouble.ts"

describe("addDecimal", () => {
  it.each([
    ["0.1", "0.2", "0.3"],
    ["10.50", "0.1", "10.6"],
    ["5.0e3", "2.0e2", "5200"],
    ["1", "-1", "0"],
    ["-0.1", "0", "-0.1"],
    ["1e-20", "0", "0"],
    ["3.14159265358979", "1", "4.14159265358979"],
    ["123456789.123456789", "0", "123456789.12345678899873747"]
  ])("%s + %s is %s, as in Redis", (a, b, sum) => {
    expect(addDecimal(parseDecimal(a) as LongDouble, parseDecimal(b) as LongDouble)).toBe(sum)
  })

  it.each(["", ".", "x", "1x", " 1", "nan", "0x10", "1e", "1e99999"])("%j is no number", (text) => {
    expect(parseDecimal(text)).toBeUndefined()
  })

  it("has no sum beyond a long double", () => {
    const large = parseDecimal("1e4932") as LongDouble
    expect(addDecimal(large, large)).toBeUndefined()
  })
})
