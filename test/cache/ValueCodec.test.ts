import { decode, encode } from "@msgpack/msgpack"
import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { InvalidBytes } from "../../src/cache/CacheError.ts"
import { exactJson, parseJson } from "../../src/cache/Json.ts"
import { codecVersion, decodeValue, encodeValue } from "../../src/cache/ValueCodec.ts"
import { type Nested, sameValue, toFloat, type Value } from "../../src/kernel/index.ts"
import { exactText, luaValue } from "../support/luaValues.ts"
import { Random } from "../support/Random.ts"

const hex = (value: Value): string => Buffer.from(encodeValue(value)).toString("hex")
const read = (text: string): Value | InvalidBytes => decodeValue(Buffer.from(text.replaceAll(" ", ""), "hex"))
const object = (entries: Record<string, Nested>): Nested => Object.assign(Object.create(null), entries)

describe("the bytes of a value", () => {
  it.each<[string, Value, string]>([
    ["bytes", "a\xff", "01c40261ff"],
    ["nil", null, "01c0"],
    ["true", true, "01c3"],
    ["an integer", 1, "0101"],
    ["a float", toFloat(1), "01cb3ff0000000000000"],
    ["negative zero", -0, "01cb8000000000000000"],
    ["the largest integer", 2n ** 63n - 1n, "01d37fffffffffffffff"],
    ["the largest number", 2 ** 53 - 1, "01d3001fffffffffffff"],
    ["text in a table", ["é"], "0191a2c3a9"],
    ["bytes in a table", [new Uint8Array([255])], "0191c401ff"],
    ["an object", object({ a: 1 }) as Value, "0181a16101"],
    ["a map", new Map<Nested, Nested>([[true, 1]]), "0181c301"],
    ["a map of which all keys are text", new Map([["a", 1]]), "01c9000000040281a16101"],
    ["an empty map", new Map(), "01c9000000010280"],
    ["a small bigint", 5n, "01c9000000010105"],
    ["a negative small bigint", -129n, "01c90000000201ff7f"],
    ["a bigint of more than 64 bits", 2n ** 64n, "01c90000000901010000000000000000"]
  ])("are these for %s", (_what, value, bytes) => {
    expect(hex(value)).toBe(bytes)
    expect(exactText(read(bytes) as Value)).toBe(exactText(value))
  })

  it("are MessagePack to everybody else, behind the byte of the version", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const bytes = encodeValue([value] as Value)
        expect(bytes[0]).toBe(codecVersion)
        fc.pre(!JSON.stringify(value).includes("__proto__")) // which the other reader refuses
        expect(decode(bytes.subarray(1))).toEqual([value])
      })
    )
  })

  it("are read from another's MessagePack too, whichever of its forms a value has", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const theirs = decodeValue(Buffer.concat([Uint8Array.of(codecVersion), encode([value])]))
        const plain = JSON.parse(JSON.stringify([theirs]), (_, it) => it)
        expect(plain).toEqual(JSON.parse(JSON.stringify([[value]])))
      })
    )
    expect(read("01 ca3f800000")).toEqual(toFloat(1))
    expect(read("01 cf8000000000000000")).toBe(2n ** 63n)
    expect(read("01 92 d9 01 61 da 0001 62")).toEqual(["a", "b"])
    expect(read("01 d4 01 05")).toBe(5n)
    expect(read("01 82 cb3ff0000000000000 01 c3 02")).toEqual(
      new Map<Nested, Nested>([
        [1, 1],
        [true, 2]
      ])
    )
  })

  it("have lengths of all sizes", () => {
    for (const length of [0, 31, 32, 255, 256, 65_535, 65_536, 200_000]) {
      const values: Value[] = [
        "\xff".repeat(length),
        ["é".repeat(length)],
        ["a".repeat(length)],
        [new Uint8Array(length).fill(200)],
        new Array<Nested>(length).fill(1)
      ]
      for (const value of values) expect(sameValue(decodeValue(encodeValue(value)) as Value, value)).toBe(true)
    }
    const names = object(Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`n${i}`, i]))) as Value
    expect(sameValue(decodeValue(encodeValue(names)) as Value, names)).toBe(true)
  })

  it("have integers as long as values have", () => {
    for (const integer of [2n ** 32_767n - 1n, -(2n ** 32_767n), 2n ** 64n - 1n, -(2n ** 63n) - 1n, 128n, -128n, 0n]) {
      expect(decodeValue(encodeValue([integer]))).toEqual([integer])
      if (BigInt.asIntN(64, integer) !== integer) expect(parseJson(exactJson(integer))).toBe(integer)
    }
    const tooLong = Buffer.from(`01c900001002017f${"ff".repeat(4097)}`, "hex")
    expect((decodeValue(tooLong) as InvalidBytes).reason).toBe("an integer has at most 4097 bytes")
  })

  it("refer to nothing of the bytes, and are nobody else's", () => {
    const first = encodeValue([new Uint8Array([200]), "text"])
    const copy = first.slice()
    encodeValue(["another value that is longer than the first"])
    expect(first).toEqual(copy)
    const value = decodeValue(first) as Nested[]
    first.fill(0)
    expect(value).toEqual([new Uint8Array([200]), "text"])
  })

  it("are read from within a larger buffer", () => {
    const bytes = encodeValue({ a: [1.5, "x"] })
    const larger = new Uint8Array(bytes.length + 7)
    larger.set(bytes, 5)
    expect(sameValue(decodeValue(larger.subarray(5, 5 + bytes.length)) as Value, { a: [1.5, "x"] })).toBe(true)
  })

  it("make what is frozen, and has no prototype", () => {
    const value = decodeValue(encodeValue({ a: [{ b: 1 }] })) as unknown as { a: [object] }
    expect([value, value.a, value.a[0]].map(Object.isFrozen)).toEqual([true, true, true])
    expect(Object.getPrototypeOf(value)).toBeNull()
    const proto = JSON.parse('{"__proto__":{"polluted":1}}')
    expect(Object.keys(decodeValue(encodeValue(proto)) as object)).toEqual(["__proto__"])
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })
})

describe("bytes that are no value", () => {
  it.each([
    ["", "0: it ends within a value"],
    ["02 c0", "0: they are of version 2, this program reads 1"],
    ["01", "1: it ends within a value"],
    ["01 c0 c0", "2: the value has ended before"],
    ["01 c1", "1: 0xc1 begins nothing"],
    ["01 a1 61", "1: a string on top is bytes, not text"],
    ["01 c4 05 61", "3: it ends within a value"],
    ["01 91 a1 ff", "4: a text is no UTF-8"],
    [`01 91 d9 21 ${"ff".repeat(33)}`, "37: a text is no UTF-8"],
    ["01 dd ffffffff 01", "6: it ends within a table"],
    ["01 df ffffffff 01", "6: it ends within a table"],
    ["01 c6 ffffffff 01", "6: it ends within a value"],
    ["01 d6 ff 00000000", "7: an extension of type -1 is not known"],
    ["01 c7 00 01", "4: an extension of type 1 is not known"],
    ["01 d4 02 c0", "3: an extension of type 2 is one map, with texts as keys"],
    ["01 d5 02 80 80", "4: an extension of type 2 is one map, with texts as keys"],
    ["01 d5 02 81 c3", "4: it ends within a table"]
  ])("are refused, and it is said where: %s", (text, expected) => {
    const failure = read(text) as InvalidBytes
    expect(failure).toBeInstanceOf(InvalidBytes)
    expect(`${failure.at}: ${failure.reason}`).toBe(expected)
    expect(failure.message).toContain("these bytes are no value, at byte ")
  })

  it("are refused when they are nested too deep, before anything is made of them", () => {
    const reason = (bytes: Uint8Array) => (decodeValue(bytes) as InvalidBytes).reason
    expect(reason(new Uint8Array(1_000_000).fill(0x91, 1).fill(1, 0, 1))).toContain("deeper than 16 levels")
    const extensions = Buffer.from(`01${"c900000fff02".repeat(100_000)}`, "hex")
    expect(reason(extensions)).toContain("an extension of type 2 is one map")
    const fine = Buffer.from(`01${"91".repeat(16)}c0`, "hex")
    expect(decodeValue(fine)).not.toBeInstanceOf(InvalidBytes)
  })

  it("are refused or a value, whatever they are: nothing is thrown", () => {
    const random = new Random(1)
    let values = 0
    for (let i = 0; i < 20_000; i++) {
      const bytes = encodeValue(luaValue(random))
      for (let n = random.below(4); n >= 0; n--) bytes[1 + random.below(bytes.length - 1)] = random.below(256)
      const read = decodeValue(random.oneIn(2) ? bytes : bytes.subarray(0, random.below(bytes.length)))
      if (read instanceof InvalidBytes) continue
      values++
      expect(exactText(decodeValue(encodeValue(read)) as Value)).toBe(exactText(read))
    }
    expect(values).toBeGreaterThan(1_000)
  })
})
