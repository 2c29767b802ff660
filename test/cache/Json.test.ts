import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { InvalidJson } from "../../src/cache/CacheError.ts"
import { exactJson, parseJson, parsePlainJson, plainJson } from "../../src/cache/Json.ts"
import { type Nested, sameValue, toFloat } from "../../src/kernel/index.ts"
import { exactText } from "../support/luaValues.ts"

const object = (entries: Record<string, Nested>): Nested => Object.assign(Object.create(null), entries)

const failure = (text: string): string => {
  const read = parseJson(text)
  expect(read, text).toBeInstanceOf(InvalidJson)
  return `${(read as InvalidJson).at}: ${(read as InvalidJson).reason}`
}

describe("the exact form", () => {
  it.each<[string, Nested, string]>([
    ["integers by their digits", [0, -7, 9007199254740991], "[0,-7,9007199254740991]"],
    ["integers of 64 bits too", [2n ** 63n - 1n, -(2n ** 63n)], "[9223372036854775807,-9223372036854775808]"],
    ["longer integers as what they are", 2n ** 64n, '{"$int":"18446744073709551616"}'],
    ["floats with a point or an exponent", [toFloat(1), 0.5, 1e300, 5e-324], "[1.0,0.5,1e+300,5e-324]"],
    [
      "the floats that look like integers",
      [toFloat(0), -0, 2 ** 53, 2 ** 63],
      "[0.0,-0.0,9007199254740992.0,9223372036854776000.0]"
    ],
    ["what is no finite number", [Number.NaN, -1 / 0, 1 / 0], '[{"$float":"nan"},{"$float":"-inf"},{"$float":"inf"}]'],
    ["text, escaped where it must be", ['a"\\\n\u0000é👋'], '["a\\"\\\\\\n\\u0000é👋"]'],
    ["bytes in base64", [new Uint8Array([255, 0])], '[{"$bytes":"/wA="}]'],
    ["no bytes", [new Uint8Array(0)], '[{"$bytes":""}]'],
    ["empty tables", [[], object({})], "[[],{}]"],
    [
      "maps as pairs",
      new Map<Nested, Nested>([
        [1, "a"],
        ["b", null],
        [0.5, [true]]
      ]),
      '{"$map":[[1,"a"],["b",null],[0.5,[true]]]}'
    ],
    ["an empty map", new Map(), '{"$map":[]}'],
    ["a map of which all keys are text", new Map([["a", 1]]), '{"$map":[["a",1]]}'],
    ["objects whose names are like ours", object({ a: 1, $map: [] }), '{"$object":[["a",1],["$map",[]]]}'],
    ["names that are dangerous", JSON.parse('{"__proto__":1,"constructor":2}'), '{"__proto__":1,"constructor":2}']
  ])("says %s, and is read as the same", (_what, value, json) => {
    expect(exactJson(value)).toBe(json)
    const read = parseJson(json) as Nested
    expect(exactJson(read)).toBe(json)
    if (!(typeof value === "object" && value !== null && "constructor" in value && !Array.isArray(value)))
      expect(exactText(read)).toBe(exactText(value))
  })

  it("is ordinary JSON to everybody else, but for names that begin with $", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const json = JSON.stringify(value)
        fc.pre(!json.includes('"$'))
        expect(JSON.parse(exactJson(parseJson(json) as Nested))).toEqual(JSON.parse(json))
      })
    )
  })
})

describe("reading", () => {
  it("takes any ordinary JSON for what it says", () => {
    expect(parseJson(' {"a" : [ 1 , 2.5e1, -0, 1E2, true,\n\t{"b":{}} ] } \r\n')).toEqual(
      object({ a: [1, toFloat(25), 0, toFloat(100), true, object({ b: object({}) })] })
    )
    expect(parseJson('"\\u00e9\\ud83d\\udc4b\\/\\b"')).toBe("é👋/\b")
    expect(parseJson('{"$set":{"$inc":1},"$map":2}')).toEqual(object({ $set: object({ $inc: 1 }), $map: 2 }))
    expect(parseJson('{"a":1,"a":2}')).toEqual(object({ a: 2 }))
  })

  it("reads numbers as Lua does: digits are an integer where it has room for it, else a float", () => {
    const numbers =
      "[3,3.0,9007199254740991,9007199254740992,9223372036854775808,-9223372036854775808,15000000000000000000000,1e999]"
    expect(parseJson(numbers)).toEqual([3, toFloat(3), 2 ** 53 - 1, 2n ** 53n, 2 ** 63, -(2n ** 63n), 1.5e22, 1 / 0])
    expect(Object.is(parseJson("-0"), 0)).toBe(true)
    expect(Object.is(parseJson("-0.0"), -0)).toBe(true)
  })

  it("answers what is frozen, and has no prototype", () => {
    const read = parseJson('{"a":[{"b":1}]}') as { a: [object] }
    expect([read, read.a, read.a[0]].map(Object.isFrozen)).toEqual([true, true, true])
    expect([Object.getPrototypeOf(read), Object.getPrototypeOf(read.a[0])]).toEqual([null, null])
    const polluting = parseJson('{"__proto__":{"polluted":1},"$object":1}') as Record<string, unknown>
    expect(Object.keys(polluting)).toEqual(["__proto__", "$object"])
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    expect(exactText(parseJson('{"$object":[["__proto__",1],["$a",2]]}') as Nested)).toBe(
      exactText(
        JSON.parse('{"__proto__":1,"$a":2}', (_, it) =>
          typeof it === "object" ? Object.assign(Object.create(null), { ["__proto__"]: 1, $a: 2 }) : it
        )
      )
    )
  })

  it("makes one key of 1.0 and 1, as Lua does", () => {
    expect(parseJson('{"$map":[[1.0,"a"],[true,2]]}')).toEqual(
      new Map<Nested, Nested>([
        [1, "a"],
        [true, 2]
      ])
    )
  })

  it("leaves our forms alone in JSON by others", () => {
    expect(parsePlainJson('{"$map":[[1,2]]}')).toEqual(object({ $map: [[1, 2]] }))
    expect(parsePlainJson('{"$float":7}')).toEqual(object({ $float: 7 }))
    expect(parsePlainJson("1.0")).toEqual(toFloat(1))
  })

  it.each([
    ["", "0: it ends where a value was expected"],
    ["  ", "2: it ends where a value was expected"],
    ["nul", "0: a value was expected here"],
    ["[1,]", "3: a value was expected here"],
    ["[1 2]", "3: an array goes on with ',' or ends with ']'"],
    ["[1", "2: an array goes on with ',' or ends with ']'"],
    ["{'a':1}", "1: the name of a member was expected here, in double quotes"],
    ['{"a":1,}', "7: the name of a member was expected here, in double quotes"],
    ['{"a" 1}', "5: the name of a member is followed by ':'"],
    ['{"a":1', "6: an object goes on with ',' or ends with '}'"],
    ["1 2", "2: the end was expected here"],
    ["01", "1: the end was expected here"],
    ["-", "0: this is no number"],
    ["1.", "1: the end was expected here"],
    [".5", "0: a value was expected here"],
    ["+1", "0: a value was expected here"],
    ["NaN", "0: a value was expected here"],
    ['"a', "0: this string has no end"],
    ['"a\\', "0: this string has no end"],
    ['"a\\"', "0: this string has no end"],
    ['["\\x41"]', '1: a string has an escape that JSON does not know; there are \\" \\\\ \\n \\u00e9'],
    ['"a\nb"', "2: a line break or its like is to be escaped"],
    ['{"$float":1}', "10: '$float' is followed by a string"],
    ['{"$float":"x"}', `10: '$float' is followed by "inf", "-inf" or "nan", not 'x'`],
    ['{"$bytes":"/w="}', "10: '$bytes' is followed by base64 with its padding, not '/w='"],
    ['{"$int":"1.5"}', "8: '$int' is followed by a whole number of at most 32768 bits, in quotes, not '1.5'"],
    ['{"$float":"nan","a":1}', "15: an object that begins with '$float' has no other member"],
    ['{"$map":[],"a":1}', "10: an object that begins with '$map' has no other member"],
    ['{"$map":{"a":1}}', `8: '$map' and '$object' are followed by pairs, as in [["a",1],["b",true]]`],
    ['{"$map":[[1]]}', `11: '$map' and '$object' are followed by pairs, as in [["a",1],["b",true]]`],
    ['{"$object":[[1,2]]}', "13: a name is text"]
  ])("refuses %j and says where", (text, expected) => {
    expect(failure(text)).toBe(expected)
    expect((parseJson(text) as InvalidJson).message).toBe(
      `the JSON is wrong at character ${expected.replace(/^(\d+): /, "$1: ")}`
    )
  })

  it("goes as deep as values do, and not deeper, in whatever form", () => {
    const nested = (levels: number, open: string, close: string) => open.repeat(levels) + close.repeat(levels)
    for (const [open, close] of [
      ["[", "]"],
      ['{"$map":[[1,', "]]}"]
    ] as const) {
      expect(parseJson(`${open.repeat(15)}[{"$float":"inf"}]${close.repeat(15)}`), open).not.toBeInstanceOf(InvalidJson)
      expect(failure(`${open.repeat(16)}[]${close.repeat(16)}`)).toContain("it is nested deeper than 16 levels")
    }
    expect(failure(nested(1_000_000, "[", "]"))).toBe("16: it is nested deeper than 16 levels")
    expect(failure('{"a":'.repeat(100_000))).toContain("deeper")
    expect(failure('{"$float":'.repeat(100_000))).toContain("followed by a string")
  })

  it("judges as JSON.parse does whether a text is JSON", () => {
    const part = fc.constantFrom(...'[]{}:,"\\ -+.0123456789eEtruefalsn\n'.split(""), "true", "null", '"a"', "1.5")
    fc.assert(
      fc.property(fc.array(part, { maxLength: 9 }), (parts) => {
        const text = parts.join("")
        let expected: unknown
        try {
          expected = JSON.parse(text)
        } catch {
          expected = undefined
        }
        const read = parsePlainJson(text)
        expect([text, read instanceof InvalidJson]).toEqual([text, expected === undefined])
        if (expected === undefined) return
        expect(JSON.stringify(JSON.parse(plainJson(read as Nested)))).toBe(JSON.stringify(expected))
      }),
      { numRuns: 20_000 }
    )
  })

  it("is linear: many names that look like ours, a long number, a long string of escapes", () => {
    const names = Array.from({ length: 50_000 }, (_, i) => `"$n${i}":${i}`).join()
    expect(Object.keys(parseJson(`{${names}}`) as object)).toHaveLength(50_000)
    expect(parseJson("9".repeat(1_000_000))).toBe(Number.POSITIVE_INFINITY)
    expect((parseJson(`"${'\\"'.repeat(500_000)}"`) as string).length).toBe(500_000)
    expect(failure(`{"$int":"${"9".repeat(20_000)}"}`)).toContain("at most 32768 bits")
  })

  it("keeps nothing of a long text alive: it is the same value as a copy", () => {
    const read = parseJson('["a text of more than thirteen characters","short"]') as Nested
    expect(sameValue(read, ["a text of more than thirteen characters", "short"])).toBe(true)
  })
})
