/**
 * A value with its metadata, tags and cost as one payload: four bytes with the length of the second part (0: nothing is
 * attached), that part as the list of metadata, tags and cost, and the value, both as `ValueCodec` writes them.
 *
 * The value stands by itself, since a string on top of a value is bytes and one inside of another is text.
 */
import { InvalidBytes } from "../cache/CacheError.ts"
import { decodeValue, encodeValue } from "../cache/ValueCodec.ts"
import { type Meta, noMeta, type Value, type ValueObject } from "../kernel/index.ts"

export interface DecodedValue {
  readonly value: Value
  readonly meta: Meta
}

/** O(size). */
export const encodePeerValue = (value: Value, meta: Meta): Uint8Array => {
  const encoded = encodeValue(value)
  const attached = meta === noMeta ? nothing : encodeValue([meta.metadata, meta.tags, meta.cost])
  const payload = new Uint8Array(lengthBytes + attached.length + encoded.length)
  new DataView(payload.buffer).setUint32(0, attached.length)
  payload.set(attached, lengthBytes)
  payload.set(encoded, lengthBytes + attached.length)
  return payload
}

/** The value and what is attached to it, frozen as the kernel keeps them; or what is wrong with the bytes. O(length). */
export const decodePeerValue = (payload: Uint8Array): DecodedValue | InvalidBytes => {
  if (payload.length < lengthBytes) return new InvalidBytes({ at: 0, reason: "they end within the length" })
  const length = new DataView(payload.buffer, payload.byteOffset).getUint32(0)
  if (length > payload.length - lengthBytes) return new InvalidBytes({ at: 0, reason: "they end before the value" })
  const meta = length === 0 ? noMeta : decodeMeta(payload.subarray(lengthBytes, lengthBytes + length))
  if (meta instanceof InvalidBytes) return meta
  const value = decodeValue(payload.subarray(lengthBytes + length))
  return value instanceof InvalidBytes ? value : { value, meta }
}

const decodeMeta = (bytes: Uint8Array): Meta | InvalidBytes => {
  const attached = decodeValue(bytes)
  if (attached instanceof InvalidBytes) return attached
  if (Array.isArray(attached) && attached.length === 3) {
    const [metadata, tags, cost] = attached
    if (isMetadata(metadata) && isTags(tags) && typeof cost === "number") return Object.freeze({ metadata, tags, cost })
  }
  return new InvalidBytes({ at: lengthBytes, reason: "what is attached is no list of metadata, tags and cost" })
}

const isMetadata = (part: unknown): part is ValueObject | null =>
  part === null ||
  (typeof part === "object" &&
    !Array.isArray(part) &&
    !(part instanceof Map || part instanceof Number) &&
    !ArrayBuffer.isView(part))

const isTags = (part: unknown): part is readonly string[] =>
  Array.isArray(part) && part.every((tag) => typeof tag === "string")

const lengthBytes = 4
const nothing = new Uint8Array(0)
