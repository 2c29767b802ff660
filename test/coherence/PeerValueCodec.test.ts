import { describe, expect, it } from "vitest"
import { InvalidBytes } from "../../src/cache/CacheError.ts"
import { encodeValue } from "../../src/cache/ValueCodec.ts"
import { decodePeerValue, encodePeerValue } from "../../src/coherence/PeerValueCodec.ts"
import { type Meta, noMeta, toFloat, type Value } from "../../src/kernel/Value.ts"

const full: Meta = { metadata: { by: "ann", n: [1, toFloat(2)] }, tags: ["a", "grün"], cost: 2.5 }

const payloadOf = (attached: Value): Uint8Array => {
  const bytes = encodeValue(attached)
  return new Uint8Array([0, 0, 0, bytes.length, ...bytes, ...encodeValue("v")])
}

describe("a value on its way to a peer", () => {
  it.each<[string, Value]>([
    ["bytes that are no text", "\xff\x00\x80"],
    ["no bytes at all", ""],
    ["a structure with text", { name: "grün", list: ["\xff", null, true] }],
    ["the float 1.0", toFloat(1)]
  ])("is %s, with and without what is attached", (_, value) => {
    for (const meta of [noMeta, full]) {
      const payload = encodePeerValue(value, meta)
      expect(decodePeerValue(payload)).toEqual({ value, meta: expect.objectContaining({ ...meta }) })
    }
  })

  it("shares the one record of nothing attached", () => {
    const decoded = decodePeerValue(encodePeerValue("v", noMeta))
    expect(decoded instanceof InvalidBytes ? decoded : decoded.meta).toBe(noMeta)
  })

  it("arrives frozen, and refers to nothing of the frame", () => {
    const frame = new Uint8Array([9, ...encodePeerValue("abc", full), 9])
    const decoded = decodePeerValue(frame.subarray(1, frame.length - 1))
    if (decoded instanceof InvalidBytes) throw decoded
    frame.fill(0)
    expect(decoded.value).toBe("abc")
    expect(decoded.meta).toEqual(full)
    expect([decoded.meta, decoded.meta.metadata, decoded.meta.tags].every(Object.isFrozen)).toBe(true)
  })

  it("is refused wherever it is cut off", () => {
    const payload = encodePeerValue({ a: [1, "b"] }, full)
    for (let length = 0; length < payload.length; length++) {
      expect(decodePeerValue(payload.subarray(0, length)), `${length} bytes`).toBeInstanceOf(InvalidBytes)
    }
  })

  it.each<[string, Value]>([
    ["no list", 7],
    ["a list that is too short", [null, []]],
    ["metadata that is a list", [[1], [], 0]],
    ["metadata that is a number", [1, [], 0]],
    ["metadata that is a float", [toFloat(1), [], 0]],
    ["metadata that are bytes", [new Uint8Array([1]), [], 0]],
    ["metadata that is a map", [new Map([[1, 2]]), [], 0]],
    ["a tag that is no text", [null, ["a", 1], 0]],
    ["a cost that is no number", [null, [], "1"]]
  ])("is refused with %s attached", (_, attached) => {
    expect(decodePeerValue(payloadOf(attached))).toMatchObject({
      reason: expect.stringContaining("metadata, tags and cost")
    })
  })

  it("is taken with a well-formed list attached, which the refusals differ from", () => {
    expect(decodePeerValue(payloadOf([null, ["a"], 3]))).toEqual({
      value: "v",
      meta: { metadata: null, tags: ["a"], cost: 3 }
    })
  })

  it("is refused when its length says more than there is", () => {
    expect(decodePeerValue(new Uint8Array([255, 255, 255, 255, 1]))).toBeInstanceOf(InvalidBytes)
  })
})
