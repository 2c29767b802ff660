import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { byteSize, type Meta, metaByteSize, type Nested, noMeta, sameValue } from "../../src/kernel/Value.ts"
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
    expect(byteSize(new Uint8Array(7))).toBe(7)
  })

  it("counts an element of a structure as 16 bytes beside what it holds", () => {
    expect([0, 1.5, 2n, true, null].map(byteSize)).toEqual([16, 16, 16, 16, 16])
    expect(byteSize([])).toBe(16)
    expect(byteSize(["abc", 1])).toBe(16 + (16 + 3) + (16 + 16))
    expect(byteSize(new Map<Nested, Nested>([["k", "vv"]]))).toBe(16 + (16 + 1 + 2))
    expect(byteSize({ key: "v", deep: { a: new Uint8Array(2) } })).toBe(
      16 + (16 + 3 + 1) + (16 + 4 + (16 + (16 + 1 + 2)))
    )
  })

  it("grows with what is put into a structure", () => {
    fc.assert(
      fc.property(nested, nested, (a, b) => {
        expect(byteSize([a, b])).toBe(byteSize([a]) + byteSize([b]) - byteSize([]))
        expect(byteSize(new Map([["k", a]]))).toBe(byteSize({ k: a }))
      }),
      { seed: firstSeed }
    )
  })
})

describe("metaByteSize", () => {
  it("counts metadata and tags, and nothing for an entry without them", () => {
    expect(metaByteSize(noMeta)).toBe(0)
    const meta: Meta = { metadata: { by: "ann" }, tags: ["a", "bcd"], cost: 12 }
    expect(metaByteSize(meta)).toBe(16 + (16 + 2 + 3) + (16 + 1) + (16 + 3))
    expect(metaByteSize({ metadata: null, tags: [], cost: 12 })).toBe(0)
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
    [{ a: 1, b: [2] }, Object.assign(Object.create(null), { b: [2], a: 1 })]
  ])("takes %o and %o for the same", (a, b) => {
    expect(sameValue(a, b)).toBe(true)
  })

  it.each<[Nested | undefined, Nested | undefined]>([
    [0, -0],
    [[0], [-0]],
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
