/**
 * What an entry holds: raw bytes, or an immutable structured value.
 *
 * Bytes are a latin1 string, one character a byte: such strings cost one byte a character in V8, are cut out of a
 * socket's buffer without decoding, and compare, concatenate and travel into Lua faster than a Buffer does. So a
 * string on top level is always bytes; text inside a structured value is an ordinary JavaScript string.
 * Structured values are kept by reference and never changed; the doors above the kernel freeze what they take in.
 */
export type Value = string | Structured

export type Structured = number | bigint | boolean | null | Uint8Array | ValueArray | ValueMap | ValueObject

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

// A number, a pointer, a map slot: what V8 spends on one element of a structure, near enough for a byte limit.
const elementBytes = 16

/** The size of a value in bytes as the limits count it: exact for bytes, an estimate for structured values. O(size). */
export const byteSize = (value: Nested): number => (typeof value === "string" ? value.length : structuredSize(value))

/** The size of an entry's metadata and tags in bytes, as the limits count it. */
export const metaByteSize = (meta: Meta): number => (meta === noMeta ? 0 : attachedSize(meta))

const structuredSize = (value: Structured): number => {
  if (value === null || typeof value !== "object") return elementBytes
  if (value instanceof Uint8Array) return value.length
  let bytes = elementBytes
  if (Array.isArray(value)) {
    for (const item of value as ValueArray) bytes += elementBytes + byteSize(item)
  } else if (value instanceof Map) {
    for (const [key, item] of value as ValueMap) bytes += elementBytes + byteSize(key) + byteSize(item)
  } else {
    for (const key in value as ValueObject) {
      bytes += elementBytes + key.length + byteSize((value as ValueObject)[key] as Nested)
    }
  }
  return bytes
}

const attachedSize = (meta: Meta): number => {
  let bytes = meta.metadata === null ? 0 : byteSize(meta.metadata)
  for (const tag of meta.tags) bytes += elementBytes + tag.length
  return bytes
}

/**
 * Whether two values are the same bytes or the same structure. O(size).
 *
 * Numbers compare as `Object.is` does; a map's keys as its own `has` does, so structures used as keys by identity.
 */
export const sameValue = (a: Nested | undefined, b: Nested | undefined): boolean => {
  if (Object.is(a, b)) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    if (!(a instanceof Uint8Array && b instanceof Uint8Array) || a.length !== b.length) return false
    return a.every((byte, i) => byte === b[i])
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!(Array.isArray(a) && Array.isArray(b)) || a.length !== b.length) return false
    return a.every((item, i) => sameValue(item as Nested, b[i] as Nested))
  }
  if (a instanceof Map || b instanceof Map) {
    if (!(a instanceof Map && b instanceof Map) || a.size !== b.size) return false
    for (const [key, item] of a) if (!b.has(key) || !sameValue(item as Nested, b.get(key) as Nested)) return false
    return true
  }
  const [left, right] = [a as ValueObject, b as ValueObject]
  const keys = Object.keys(left)
  if (keys.length !== Object.keys(right).length) return false
  return keys.every((key) => Object.hasOwn(right, key) && sameValue(left[key], right[key]))
}
