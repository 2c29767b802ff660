/**
 * What an entry holds: raw bytes, or an immutable structured value.
 *
 * Bytes are a latin1 string, one character a byte: such strings cost one byte a character in V8, are cut out of a
 * socket's buffer without decoding, and compare, concatenate and travel into Lua faster than a Buffer does. So a
 * string on top level is always bytes; text inside a structured value is an ordinary JavaScript string.
 * Structured values are kept by reference and never changed; the doors above the kernel freeze what they take in.
 */
export type Value = string | Structured

export type Structured =
  | number
  | bigint
  | WholeFloat
  | boolean
  | null
  | Uint8Array
  | ValueArray
  | ValueMap
  | ValueObject

/**
 * A Lua float that is a whole number, such as 1.0: a frozen `Number` object, since the number 1 is the integer 1. To
 * arithmetic and JSON it is a number like any other. All other floats (0.5, -0, 1e300, infinities, NaN) are numbers,
 * which no integer could be; integers past 2^53 are bigints. Never a key: Lua makes integers of such keys.
 * The sandbox makes the same objects by itself, as neither room may import the other.
 */
// biome-ignore lint/complexity/noBannedTypes: the object is meant, not the primitive
export type WholeFloat = Number

/**
 * The Lua float of this value: a number where no integer looks like it, else the object that tells 1.0 from 1.
 *
 * @example
 * const price = toFloat(3) // Lua's math.type says "float"
 */
export const toFloat = (value: number): number | WholeFloat =>
  Number.isSafeInteger(value) && !Object.is(value, -0) ? Object.freeze(Object(value)) : value

/** A value inside a structured one. */
export type Nested = string | Structured
export interface ValueArray extends ReadonlyArray<Nested> {}
export interface ValueMap extends ReadonlyMap<Nested, Nested> {}
export interface ValueObject {
  readonly [key: string]: Nested
}

/** What a client may attach to an entry beside its value. Shared by reference, never changed. */
export interface Meta {
  readonly metadata: ValueObject | null
  readonly tags: readonly string[]
  /** What it took to produce the value, in the unit of who stored it. */
  readonly cost: number
}

export const noMeta: Meta = Object.freeze({ metadata: null, tags: Object.freeze([]), cost: 0 })

/**
 * The size of a value in bytes as the limits count it: what it takes in V8's heap, where the doors above have made it
 * (arrays of their exact length, objects without a prototype). A string on top is counted by its length alone, its
 * record is part of `entryBytes`; inside a structure every string counts with its record. Never less than it takes, up to
 * what was measured, and at most about twice as much: docs/decisions.md. O(size).
 */
export const byteSize = (value: Nested): number => (typeof value === "string" ? value.length : structuredSize(value))

/** The size of an entry's metadata and tags in bytes, as the limits count it. O(size). */
export const metaByteSize = (meta: Meta): number => (meta === noMeta ? 0 : attachedSize(meta))

/** What a value takes beside the place that refers to it. */
const nestedSize = (value: Nested): number => (typeof value === "string" ? stringSize(value) : structuredSize(value))

const structuredSize = (value: Structured): number => {
  if (typeof value === "number") return (value | 0) === value ? 0 : doubleBytes
  if (typeof value === "bigint") return bigintSize(value)
  if (value === null || typeof value !== "object") return 0
  if (value instanceof Uint8Array) return uint8ArrayBytes + value.length
  if (value instanceof Number) return wholeFloatBytes + structuredSize(value.valueOf())
  if (Array.isArray(value)) {
    let bytes = arrayBytes + placeBytes * value.length
    for (const item of value as ValueArray) bytes += nestedSize(item)
    return bytes
  }
  if (value instanceof Map) {
    let bytes = mapBytes + mapPlaceBytes * powerOfTwo(value.size)
    for (const [key, item] of value as ValueMap) bytes += nestedSize(key) + nestedSize(item)
    return bytes
  }
  let [bytes, names] = [objectBytes, 0]
  for (const name in value as ValueObject) {
    names++
    bytes += stringSize(name) + nestedSize((value as ValueObject)[name] as Nested)
  }
  return bytes + propertyBytes * powerOfTwo(names + (names >> 1))
}

const attachedSize = ({ metadata, tags }: Meta): number => {
  let bytes = metaBytes + arrayBytes + placeBytes * tags.length + (metadata === null ? 0 : structuredSize(metadata))
  for (const tag of tags) bytes += stringSize(tag)
  return bytes
}

/** One byte a character, or two as soon as one of them needs it. */
const stringSize = (text: string): number => stringBytes + (isWide.test(text) ? 2 * text.length : text.length)

const bigintSize = (value: bigint): number =>
  value >= -int64Max && value <= int64Max ? bigintBytes : bigintBytes + value.toString(16).length / 2

/** Tables grow by doubling, and none has fewer than four places. */
const powerOfTwo = (places: number): number => (places <= 4 ? 4 : 2 ** (32 - Math.clz32(places - 1)))

const isWide = /[^\0-\xff]/
const int64Max = 2n ** 63n - 1n

// What V8 spends, in bytes, on a 64-bit machine without compressed pointers (as Node is built).
const placeBytes = 8 // a reference or a small integer, in an array
const doubleBytes = 16 // a number that is no 32-bit integer has a record of its own
const wholeFloatBytes = 32 // the object around the number
const stringBytes = 24 // header, hash, length, and what is lost to rounding up to 8
const bigintBytes = 24 // header and the first 64 bits
const arrayBytes = 48 // the array and the header of its elements
const uint8ArrayBytes = 224 // the view, its buffer and the bookkeeping of its memory
const mapBytes = 72 // the map and the header of its table
const mapPlaceBytes = 28 // key, value, chain and half a bucket
const objectBytes = 160 // an object without a prototype, with the header of its table of properties
const propertyBytes = 24 // name, value and details
const metaBytes = 64 // the record of metadata, tags and cost, and the cost's own

/**
 * Whether two values are the same bytes or the same structure. O(size).
 *
 * Numbers compare as `Object.is` does, and 1.0 is another value than 1: `math.type` tells them apart, and so does GET.
 * A map's keys compare as its own `has` does, but for bytes, which are the same key when they are the same bytes; so
 * structures that only a program can use as keys are compared by identity.
 */
export const sameValue = (a: Nested | undefined, b: Nested | undefined): boolean => {
  if (Object.is(a, b)) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    if (!(a instanceof Uint8Array && b instanceof Uint8Array) || a.length !== b.length) return false
    return a.every((byte, i) => byte === b[i])
  }
  if (a instanceof Number || b instanceof Number) {
    return a instanceof Number && b instanceof Number && Object.is(a.valueOf(), b.valueOf())
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!(Array.isArray(a) && Array.isArray(b)) || a.length !== b.length) return false
    return a.every((item, i) => sameValue(item as Nested, b[i] as Nested))
  }
  if (a instanceof Map || b instanceof Map) return a instanceof Map && b instanceof Map && sameMap(a, b)
  const [left, right] = [a as ValueObject, b as ValueObject]
  const keys = Object.keys(left)
  if (keys.length !== Object.keys(right).length) return false
  return keys.every((key) => Object.hasOwn(right, key) && sameValue(left[key], right[key]))
}

const sameMap = (a: ValueMap, b: ValueMap): boolean => {
  if (a.size !== b.size) return false
  const [left, right] = [withPlainKeys(a), withPlainKeys(b)]
  for (const [key, item] of left) if (!right.has(key) || !sameValue(item, right.get(key))) return false
  return left.size === right.size
}

/**
 * The map itself; where it has bytes as keys, which a Map finds by identity alone, another with texts in their place.
 * Such a text begins with half a surrogate pair, as no text out of Lua or off the wire does. O(size).
 */
export const withPlainKeys = (map: ValueMap): ValueMap => {
  let hasBytes = false
  for (const key of map.keys()) hasBytes ||= key instanceof Uint8Array
  if (!hasBytes) return map
  const plain = new Map<Nested, Nested>()
  for (const [key, item] of map) plain.set(key instanceof Uint8Array ? bytesMark + latin1Of(key) : key, item)
  return plain
}

/** What stands before the bytes of a key that `withPlainKeys` has made a text of. */
export const bytesMark = "\ud800"

const latin1Of = (bytes: Uint8Array): string => {
  let text = ""
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}
