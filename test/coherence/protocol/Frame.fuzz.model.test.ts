/** Whatever bytes come: `decode` answers a frame or why it is none, and makes no more of them than they are. */
import { describe, expect, it } from "vitest"
import { decode, encode, type Frame, type FrameError, passedOn } from "../../../src/coherence/protocol/Frame.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../../support/Random.ts"
import { frameTypes, randomBytes, randomFrame } from "./randomFrame.ts"

describe("decode", () => {
  it("answers any bytes, and in proportion to them", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(50_000, (random) => {
      const bytes = placed(random, hostileBytes(random))
      const answer = decode(bytes)
      if (answer.type === "error") {
        checkReason(answer)
        return
      }
      if (answer.type === "unknown") {
        if (answer.code === 0 || answer.code > frameTypes.length) return
        throw new Error(`type ${answer.code} is known`)
      }
      checkSize(answer, bytes)
      expect(decode(encode(answer))).toEqual(answer)
    })
  })

  it("answers the same for a frame that was passed on, but for its hops", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(2_000, (random) => {
      const frame = randomFrame(random)
      const hops = random.below(256)
      expect(decode(passedOn(placed(random, encode(frame)), hops))).toEqual({ ...frame, hops })
    })
  })
})

const hostileBytes = (random: Random): Uint8Array => {
  const kind = random.below(8)
  if (kind === 0) return randomBytes(random, random.below(200))
  if (kind === 1) return behindHeader(random, randomBytes(random, random.below(200)))
  let bytes = encode(randomFrame(random))
  if (kind === 2) return bytes.subarray(0, random.below(bytes.length))
  for (let times = random.between(1, 4); times > 0; times--) bytes = mutated(random, bytes)
  return bytes
}

/** A type that is known and an author that is somebody, in front of anything. */
const behindHeader = (random: Random, rest: Uint8Array): Uint8Array => {
  const header = encode(randomFrame(random)).subarray(0, 28)
  return Buffer.concat([header, rest])
}

const mutated = (random: Random, bytes: Uint8Array): Uint8Array => {
  const at = random.below(bytes.length + 1)
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)]
  switch (random.below(5)) {
    case 0: // a byte, of any value or one bit off
      return Buffer.concat([before, Uint8Array.of(random.below(256)), after.subarray(1)])
    case 1: // a length or count that promises much
      return Buffer.concat([before, Uint8Array.of(0xff, 0xff, 0xff, 0xff), after.subarray(4)])
    case 2: // nothing where something was, which moves the rest
      return Buffer.concat([before, after.subarray(random.between(1, 8))])
    case 3:
      return Buffer.concat([before, randomBytes(random, random.between(1, 8)), after])
    default: // a part twice
      return Buffer.concat([before, before.subarray(random.below(at + 1)), after])
  }
}

/** The same bytes in the middle of others: a reader that looks beyond its own reads what is not there. */
const placed = (random: Random, bytes: Uint8Array): Uint8Array => {
  const before = random.below(4)
  const around = new Uint8Array(before + bytes.length + 40).fill(1)
  around.set(bytes, before)
  return around.subarray(before, before + bytes.length)
}

const checkReason = (error: FrameError): void => {
  if (!["short", "version", "number", "size"].includes(error.kind)) throw new Error(`is of kind ${error.kind}`)
  if (!/^.{20,200}$/.test(error.reason)) throw new Error(`says '${error.reason}'`)
}

/** Each item of a list had bytes of its own, and payloads are parts of these bytes. */
const checkSize = (frame: Frame, bytes: Uint8Array): void => {
  let [items, viewed] = [0, 0]
  const look = (value: unknown): void => {
    if (value instanceof Uint8Array) {
      viewed += value.length
      if (value.length > 0 && value.buffer !== bytes.buffer) throw new Error("a payload is a copy")
    } else if (Array.isArray(value)) {
      items += value.length
      for (const item of value) look(item)
    } else if (typeof value === "object" && value !== null) {
      for (const field of Object.values(value)) look(field)
    } else if (typeof value === "number" && !Number.isSafeInteger(value)) {
      throw new Error(`${value} is no integer`)
    }
  }
  look(frame)
  if (4 * items + viewed > bytes.length) throw new Error(`${items} items and ${viewed} bytes of ${bytes.length}`)
}
