import fc from "fast-check"
import { describe, expect, it } from "vitest"
import { InvalidValue } from "../../src/cache/CacheError.ts"
import {
  appendBytes,
  fromJson,
  fromValue,
  type Input,
  messageBytes,
  onePiece,
  toBytes,
  toExactJson,
  toJson,
  toMetadata,
  toText,
  toValue,
  valueAsBytes
} from "../../src/cache/Values.ts"
import { type Nested, sameValue, toFloat, type Value } from "../../src/kernel/index.ts"

/** Text without halves of surrogate pairs, which UTF-8 has no bytes for. */
const text = fc.string({ unit: "binary" })
const bytes = fc.uint8Array()

const leaf = fc.oneof(text, fc.double(), fc.integer(), fc.bigInt(), fc.boolean(), fc.constant(null), bytes)
/** Plain data, three levels deep. */
const data = fc.letrec<{ any: Input; leaf: Input }>((tie) => ({
  leaf,
  any: fc.oneof(
    { maxDepth: 3 },
    tie("leaf"),
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(text, tie("any"), { maxKeys: 4 }),
    fc.array(fc.tuple(leaf, tie("any")), { maxLength: 4 }).map((items) => new Map(items) as Input)
  )
})).any

/** The value as the kernel keeps it, or the refusal thrown. */
const stored = (input: unknown): Value => {
  const value = toValue(input)
  if (value instanceof InvalidValue) throw value
  return value
}

const refusal = (input: unknown): { path: string; reason: string } => {
  const { path, reason } = toValue(input) as InvalidValue
  return { path, reason }
}

describe("bytes put together", () => {
  it("are those of both, however long the first are", () => {
    const part = fc.string({ unit: "binary-ascii", maxLength: 200 })
    fc.assert(
      fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
        const whole = parts.reduce(appendBytes, "")
        expect(whole).toBe(parts.join(""))
        expect(onePiece(whole)).toBe(whole)
      })
    )
  })
})

describe("text at the border", () => {
  it("comes back as it went in", () => {
    fc.assert(fc.property(text, (it) => toText(toBytes(it)) === it))
  })

  it("is its UTF-8 bytes inside, one character a byte", () => {
    expect(toBytes("aé€😀")).toBe("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80")
    fc.assert(fc.property(text, (it) => toBytes(it).length === Buffer.byteLength(it)))
  })

  it("passes as it is when it is ASCII, control characters and line breaks included", () => {
    const ascii = String.fromCharCode(...Array.from({ length: 128 }, (_, code) => code))
    expect(toBytes(ascii)).toBe(ascii)
    expect(toText(ascii)).toBe(ascii)
    expect(toBytes("\x80")).toBe("\xc2\x80")
  })

  it("keeps a byte order mark", () => {
    expect(toText(toBytes("\ufeffmarked"))).toBe("\ufeffmarked")
  })

  it("is not made of bytes that are no UTF-8", () => {
    for (const broken of ["\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"]) {
      expect(toText(broken), JSON.stringify(broken)).toBeUndefined()
    }
  })
})

describe("bytes at the border", () => {
  it("come back as bytes, and as text where they are UTF-8", () => {
    fc.assert(
      fc.property(bytes, (it) => {
        const out = fromValue(stored(it))
        const back = typeof out === "string" ? Buffer.from(out, "utf8") : out
        expect(Buffer.from(back as Uint8Array).equals(Buffer.from(it))).toBe(true)
      })
    )
    expect(fromValue(stored(Uint8Array.of(0xc3, 0xa9)))).toBe("é")
    expect(fromValue(stored(Uint8Array.of(0xff)))).toEqual(Buffer.from([0xff]))
  })

  it("are those of the view alone, not of the buffer behind it", () => {
    const behind = Uint8Array.of(1, 2, 3, 4)
    expect(stored(behind.subarray(1, 3))).toBe("\x02\x03")
  })
})

describe("a structured value", () => {
  it("is the same data as what was given", () => {
    fc.assert(
      fc.property(data, (it) => {
        expect(stored([it])).toEqual([it])
      })
    )
  })

  it("is frozen through and through", () => {
    const value = stored({ list: [{ deep: [1] }], map: new Map([["a", { b: 1 }]]) }) as Record<string, never>
    const objects = [
      value,
      value.list,
      value.list?.[0],
      (value.list?.[0] as unknown as { deep: object } | undefined)?.deep,
      (value.map as unknown as Map<string, object>).get("a")
    ]
    expect(objects.map((it) => typeof it === "object" && Object.isFrozen(it))).toEqual(objects.map(() => true))
  })

  it("does not change when what was given changes", () => {
    const buffer = Buffer.from([1, 2]) // a Buffer's slice would be a view of the same memory
    const original = { list: [1], bytes: Uint8Array.of(1), buffer, map: new Map([["a", [1]]]), gone: 1 as unknown }
    const value = stored(original)
    original.list.push(2)
    original.bytes[0] = 9
    original.buffer[0] = 9
    original.map.get("a")?.push(2)
    original.map.set("b", [])
    original.gone = undefined
    const before = {
      list: [1],
      bytes: Uint8Array.of(1),
      buffer: Uint8Array.of(1, 2),
      map: new Map([["a", [1]]]),
      gone: 1
    }
    expect(sameValue(value, plain(before))).toBe(true)
  })

  it("leaves the given one as it was: nothing of it is frozen", () => {
    const original = { list: [1] }
    stored(original)
    expect([Object.isFrozen(original), Object.isFrozen(original.list)]).toEqual([false, false])
  })

  it("drops members that are undefined, and keeps null", () => {
    expect(Object.entries(stored({ a: undefined, b: null }) as object)).toEqual([["b", null]])
  })

  it("takes __proto__ and constructor for names like any other", () => {
    const value = stored(JSON.parse('{"__proto__":{"polluted":1},"constructor":2}')) as Record<string, unknown>
    expect(Object.keys(value)).toEqual(["__proto__", "constructor"])
    expect(value.polluted).toBeUndefined()
    expect(toJson(value as never)).toBe('{"__proto__":{"polluted":1},"constructor":2}')
  })

  it("keeps what JSON has no words for: NaN, infinities, -0, big integers, bytes, maps with any key", () => {
    const given = [Number.NaN, Number.POSITIVE_INFINITY, -0, 2n ** 70n, Uint8Array.of(255), new Map([[1n, "é"]])]
    expect(stored(given)).toEqual(given)
    expect(Object.is((stored(given) as number[])[2], -0)).toBe(true)
  })
})

describe("a refusal", () => {
  class Account {}

  it.each<[string, unknown, string, string]>([
    ["a function", () => 1, "$", "a function is no data"],
    ["a symbol", Symbol("s"), "$", "a symbol is no data"],
    ["undefined", undefined, "$", "undefined is no data; null is"],
    ["a hole", { list: new Array(2) }, "$.list[0]", "undefined is no data; null is"],
    ["a date", { at: new Date(0) }, "$.at", "instance of Date"],
    ["an instance", { items: [{}, {}, { owner: new Account() }] }, "$.items[2].owner", "instance of Account"],
    ["a boxed string", [new String("x")], "$[0]", "instance of String"],
    ["a set", new Set([1]), "$", "instance of Set"],
    ["a value of a map", new Map([["a", [new Date(0)]]]), '$.get("a")[0]', "instance of Date"],
    ["a key of a map", { m: new Map([[new Date(0), 1]]) }, "$.m.key", "instance of Date"],
    ["an integer without end", [2n ** 32_767n], "$[0]", "an integer has at most 32768 bits"],
    ["other typed arrays", [new Uint16Array(1)], "$[0]", "instance of Uint16Array"]
  ])("of %s says where it is and what", (_what, input, path, reason) => {
    expect(refusal(input)).toEqual({ path, reason: expect.stringContaining(reason) })
    expect((toValue(input) as InvalidValue).message).toBe(`${path} cannot be stored: ${refusal(input).reason}`)
  })

  it("meets what is nested too deep, and so every cycle", () => {
    const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)])
    expect(toValue(nested(16))).not.toBeInstanceOf(InvalidValue)
    expect(refusal(nested(17)).reason).toContain("deeper than 16 levels")
    const cycle: { self?: unknown } = {}
    cycle.self = cycle
    expect(refusal(cycle).path).toBe(`$${".self".repeat(16)}`)
  })

  it("of metadata says that it is metadata", () => {
    expect(toMetadata({ a: [() => 1] })).toMatchObject({ path: "metadata.a[0]" })
    for (const none of ["text", 1, null, [1], new Map(), Uint8Array.of(1)]) {
      expect(toMetadata(none)).toMatchObject({ _tag: "InvalidValue", path: "metadata" })
    }
    expect(toMetadata({ a: 1 })).toEqual(Object.assign(Object.create(null), { a: 1 }))
  })

  it("is thrown on when it is not ours: an error of a getter", () => {
    const trap = {
      get broken() {
        throw new TypeError("mine")
      }
    }
    expect(() => toValue(trap)).toThrow("mine")
  })
})

describe("a whole float at the border", () => {
  it("is what a program gives as a Number object, wherever it stands", () => {
    expect(stored(toFloat(3))).toEqual(toFloat(3))
    expect(stored({ a: [Object(1)] })).toEqual(plain({ a: [toFloat(1)] }))
    expect(stored([Object(0.5), Object(Number.NaN)])).toEqual([0.5, Number.NaN])
    expect([...(stored(new Map([[Object(1), 2]])) as Map<unknown, unknown>)]).toEqual([[1, 2]]) // as Lua does with keys
  })

  it("is a plain number to a program, and all else is as stored", () => {
    expect(fromValue(toFloat(3))).toBe(3)
    const given = { a: [1, Object(2)], m: new Map([["k", Object(3)]]), x: Number.NaN, b: Uint8Array.of(1) }
    const out = fromValue(stored(given))
    expect(out).toEqual(plain({ a: [1, 2], m: new Map([["k", 3]]), x: Number.NaN, b: Uint8Array.of(1) }))
    expect([Object.isFrozen(out), Object.isFrozen((out as { a: object }).a)]).toEqual([true, true])
  })

  it("costs nothing where there is none: a program gets what is stored, not a copy", () => {
    const value = stored({ a: [1.5, Number.NaN, -0], m: new Map([[1, [2n]]]) })
    expect(fromValue(value)).toBe(value)
    expect(fromValue(value)).toBe(value)
  })
})

describe("text that is not well formed", () => {
  it("is stored as UTF-8 would have it, in structures as on top", () => {
    expect(stored(["a\ud800b", { "\udc00": 1 }])).toEqual(["a\ufffdb", plain({ "\ufffd": 1 })])
    expect(fromValue(stored("a\ud800b"))).toBe("a\ufffdb")
  })
})

describe("a value in the plain form of JSON", () => {
  it("is what JSON.parse gives back, for what JSON has words for", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (it) => {
        // Written again by JSON.stringify, which has no -0; the plain form has.
        expect(JSON.stringify(JSON.parse(toJson(stored({ it }) as Nested)))).toBe(JSON.stringify({ it }))
      })
    )
  })

  it("is JSON whatever the data", () => {
    fc.assert(fc.property(data, (it) => JSON.parse(toJson(stored([it]) as Nested)).length === 1))
  })

  it.each<[string, Nested, string]>([
    ["big integers by their digits", 123456789012345678901234567890n, "123456789012345678901234567890"],
    ["NaN as null", Number.NaN, "null"],
    ["infinities as null", [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY], "[null,null]"],
    ["bytes as text", Uint8Array.of(0xc3, 0xa9), '"é"'],
    ["bytes that are no UTF-8 with U+FFFD", Uint8Array.of(0x61, 0xff), '"a\ufffd"'],
    [
      "maps as objects, keys as text",
      new Map<Nested, Nested>([
        ["a", 1],
        [2n, [null]],
        [true, "x"]
      ]),
      '{"a":1,"2":[null],"true":"x"}'
    ],
    ["keys that are structures as their JSON", new Map<Nested, Nested>([[["a", 1], 2]]), '{"[\\"a\\",1]":2}'],
    ["quotes and line breaks escaped", 'a"\n', '"a\\"\\n"']
  ])("shows %s", (_what, value, json) => {
    expect(toJson(value)).toBe(json)
  })

  it("shows floats as floats", () => {
    expect(toJson([toFloat(1), 1, 2 ** 53, -0, 1e300])).toBe("[1.0,1,9007199254740992.0,-0.0,1e+300]")
  })

  it("has names that begin with $ as they are", () => {
    expect(toJson({ $set: { $map: 1 } })).toBe('{"$set":{"$map":1}}')
  })

  it("is what receivers of messages get, in UTF-8; bytes are passed on as they are", () => {
    expect(messageBytes(stored({ name: "é", $raw: Uint8Array.of(0x61) }))).toBe('{"name":"\xc3\xa9","$raw":"a"}')
    expect(messageBytes("\xff")).toBe("\xff")
  })
})

describe("a value on top, in the exact form of JSON", () => {
  it("is what GET answers for a structure, in UTF-8; bytes are answered as they are", () => {
    expect(valueAsBytes(stored({ name: "é", raw: Uint8Array.of(255) }))).toBe(
      '{"name":"\xc3\xa9","raw":{"$bytes":"/w=="}}'
    )
    expect(valueAsBytes("\xff")).toBe("\xff")
  })

  it("is text where its bytes are UTF-8, and comes back as bytes", () => {
    for (const [value, json] of [
      ["a\xc3\xa9", '"aé"'],
      ["\xff\0", '{"$bytes":"/wA="}'],
      ["", '""'],
      [null, "null"]
    ] as const) {
      expect(toExactJson(value)).toBe(json)
      expect(fromJson(json)).toBe(value)
    }
  })
})

/** The data in the form of the kernel: objects without prototype. Written apart from the code under test. */
const plain = (input: unknown): Nested => {
  if (Array.isArray(input)) return input.map(plain)
  if (input instanceof Map) return new Map([...input].map(([key, item]) => [plain(key), plain(item)]))
  if (input === null || typeof input !== "object" || input instanceof Uint8Array) return input as Nested
  if (input instanceof Number) return input
  return Object.fromEntries(Object.entries(input).map(([key, item]) => [key, plain(item)]))
}
