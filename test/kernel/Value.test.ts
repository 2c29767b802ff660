import fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  byteSize,
  bytesMark,
  type Meta,
  metaByteSize,
  type Nested,
  noMeta,
  sameValue,
  toFloat,
  withPlainKeys
} from "../../src/kernel/Value.ts"
import { firstSeed } from "../support/Random.ts"

const nested: fc.Arbitrary<Nested> = fc.letrec<{ value: Nested }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.string(),
    fc.double(),
    fc.bigInt(),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array(),
    fc.array(tie("value")),
    fc.array(fc.tuple(fc.oneof(fc.string(), fc.double()), tie("value"))).map((pairs) => new Map<Nested, Nested>(pairs)),
    fc.dictionary(fc.string(), tie("value"))
  )
})).value

/** The same structure in other objects; maps and objects in the opposite order. */
const copy = (value: Nested): Nested => {
  if (typeof value !== "object" || value === null) return value
  if (value instanceof Uint8Array) return value.slice()
  if (Array.isArray(value)) return value.map(copy)
  if (value instanceof Map) return new Map([...value].reverse().map(([key, item]) => [key, copy(item)]))
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, copy(item)])
  )
}

describe("byteSize", () => {
  it("is exact for bytes", () => {
    expect(byteSize("")).toBe(0)
    expect(byteSize("\xff\0a")).toBe(3)
  })

  it.each<[string, Nested, number]>([
    ["small integers, which are their place", [1, -1, 0], 48 + 3 * 8],
    ["whole floats, which are objects around a number", [toFloat(1), toFloat(2 ** 40)], 48 + 2 * (8 + 32) + 16],
    ["booleans and null", [true, null], 48 + 2 * 8],
    ["other numbers, which are records", [0.5, 2 ** 31], 48 + 2 * (8 + 16)],
    ["empty arrays", [[], []], 48 + 2 * (8 + 48)],
    ["empty objects", [{}, {}], 48 + 2 * (8 + 160 + 4 * 24)],
    ["an object of 4, whose table has 8 places", { a: 1, b: 2, c: 3, d: 4 }, 160 + 8 * 24 + 4 * 25],
    ["an object of 3, whose table has 4", { a: 1, b: 2, c: 3 }, 160 + 4 * 24 + 3 * 25],
    ["an empty map", new Map(), 72 + 4 * 28],
    ["a map of 5, whose table has 8 places", new Map([1, 2, 3, 4, 5].map((key) => [key, null])), 72 + 8 * 28],
    ["text", ["abc"], 48 + 8 + 24 + 3],
    ["text of two bytes a character", ["日本"], 48 + 8 + 24 + 4],
    ["names of two bytes a character", { 日本: 1 }, 160 + 4 * 24 + 24 + 4],
    ["bytes", new Uint8Array(7), 224 + 7],
    ["64-bit integers", [1n, -(2n ** 62n)], 48 + 2 * (8 + 24)],
    ["a huge integer", 2n ** 8000n, 24 + 2001 / 2]
  ])("counts what V8 spends on %s", (_, value, bytes) => {
    expect(byteSize(value)).toBe(bytes)
  })

  it("counts each level of a nested structure", () => {
    let nested: Nested = null
    for (let depth = 0; depth < 16; depth++) nested = { a: nested }
    expect(byteSize(nested)).toBe(16 * (160 + 4 * 24 + 25))
  })

  it("grows with what is put into a structure", () => {
    const inside = (value: Nested) => byteSize([value]) - byteSize([])
    fc.assert(
      fc.property(nested, nested, (a, b) => {
        expect(byteSize([a, b])).toBe(byteSize([a]) + byteSize([b]) - byteSize([]))
        expect(byteSize(new Map([["k", a]]))).toBe(byteSize(new Map()) + 25 + inside(a) - 8)
        expect(byteSize({ k: a })).toBe(byteSize({}) + 25 + inside(a) - 8)
      }),
      { seed: firstSeed }
    )
  })
})

describe("a whole float", () => {
  it("is a frozen object around the number; what no integer looks like is the number itself", () => {
    expect([typeof toFloat(1), Number(toFloat(1)), Object.isFrozen(toFloat(1))]).toEqual(["object", 1, true])
    for (const float of [0.5, -0, 2 ** 53, 1e300, Number.NaN, Number.NEGATIVE_INFINITY])
      expect(toFloat(float)).toBe(float)
  })

  it("is a number to arithmetic and to JSON", () => {
    expect([(toFloat(2) as number) * 3, JSON.stringify([toFloat(2)])]).toEqual([6, "[2]"])
  })
})

describe("keys that are bytes", () => {
  it("are texts in a copy of their map, told from all text that is in UTF-8", () => {
    const map = new Map<Nested, Nested>([[new Uint8Array([200, 0]), 1]])
    expect([...withPlainKeys(map.set("a", 2))]).toEqual([
      [`${bytesMark}\xc8\0`, 1],
      ["a", 2]
    ])
  })

  it("are not looked for by copying where there are none", () => {
    const map = new Map<Nested, Nested>([["a", 1]])
    expect(withPlainKeys(map)).toBe(map)
  })
})

describe("metaByteSize", () => {
  it("counts metadata and tags, and nothing for an entry without them", () => {
    expect(metaByteSize(noMeta)).toBe(0)
    const meta: Meta = { metadata: { by: "ann" }, tags: ["a", "bcd"], cost: 12 }
    expect(metaByteSize(meta)).toBe(64 + 48 + (8 + 25) + (8 + 27) + byteSize({ by: "ann" }))
    expect(metaByteSize({ metadata: null, tags: [], cost: 12 })).toBe(64 + 48)
  })
})

describe("sameValue", () => {
  it("finds a structure the same as its copy, in whatever order its keys were put in", () => {
    fc.assert(
      fc.property(nested, (value) => {
        expect(sameValue(value, copy(value))).toBe(true)
      }),
      { seed: firstSeed }
    )
  })

  it("does not depend on which of the two comes first", () => {
    fc.assert(
      fc.property(nested, nested, (a, b) => {
        expect(sameValue(a, b)).toBe(sameValue(b, a))
      }),
      { seed: firstSeed }
    )
  })

  it.each<[Nested | undefined, Nested | undefined]>([
    [Number.NaN, Number.NaN],
    [undefined, undefined],
    [new Uint8Array([1, 2]), Buffer.from([1, 2])],
    [new Map<Nested, Nested>([[Number.NaN, [Number.NaN]]]), new Map<Nested, Nested>([[Number.NaN, [Number.NaN]]])],
    [toFloat(1), toFloat(1)],
    [[toFloat(-3)], [toFloat(-3)]],
    [new Map([[new Uint8Array([200, 1]), [1]]]), new Map([[new Uint8Array([200, 1]), [1]]])],
    [{ a: 1, b: [2] }, Object.assign(Object.create(null), { b: [2], a: 1 })]
  ])("takes %o and %o for the same", (a, b) => {
    expect(sameValue(a, b)).toBe(true)
  })

  it.each<[Nested | undefined, Nested | undefined]>([
    [0, -0],
    [[0], [-0]],
    [1, toFloat(1)],
    [toFloat(1), toFloat(2)],
    [toFloat(0), -0],
    [{}, toFloat(1)],
    [[], toFloat(1)],
    [new Map([[new Uint8Array([200]), 1]]), new Map([[new Uint8Array([201]), 1]])],
    [new Map([[new Uint8Array([200]), 1]]), new Map([[new Uint8Array([200]), 2]])],
    [new Map([[new Uint8Array([200]), 1]]), new Map([["\xc8", 1]])],
    ["1", 1],
    [1, 1n],
    [null, undefined],
    [null, {}],
    ["", new Uint8Array(0)],
    [new Uint8Array([1]), new Uint8Array([2])],
    [new Uint8Array([1]), new Uint8Array([1, 2])],
    [new Uint8Array([1]), [1]],
    [[1], [1, 2]],
    [
      [1, [2]],
      [1, [3]]
    ],
    [[], {}],
    [[], new Map()],
    [new Map(), {}],
    [new Map([["a", 1]]), new Map([["b", 1]])],
    [new Map([["a", 1]]), new Map([["a", 2]])],
    [
      new Map([["a", null]]),
      new Map<Nested, Nested>([
        ["a", null],
        ["b", null]
      ])
    ],
    [{ a: 1 }, { a: 2 }],
    [{ a: 1 }, { a: 1, b: 1 }],
    [{ a: 1 }, { b: 1 }],
    [{ toString: 1 }, { valueOf: 1 }]
  ])("tells %o from %o", (a, b) => {
    expect(sameValue(a, b)).toBe(false)
    expect(sameValue(b, a)).toBe(false)
  })
})
