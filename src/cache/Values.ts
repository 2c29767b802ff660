/**
 * The border between what programs hold (text, bytes, plain objects) and what the kernel stores (bytes as latin1
 * strings, frozen structures). Text is UTF-8; ASCII, the common case, passes as it is.
 */
import {
  type Nested,
  type Structured,
  toFloat,
  type Value,
  type ValueArray,
  type ValueMap,
  type ValueObject,
  type WholeFloat
} from "../kernel/index.ts"
import { InvalidJson, InvalidValue } from "./CacheError.ts"
import { depthMax, exactJson, integerBitsMax, parseJson, plainJson } from "./Json.ts"

/**
 * What a program may store: text, bytes, or plain data made of them. Class instances and functions are refused.
 *
 * A number that is whole is an integer to Lua; `toFloat(1)`, a `Number` object, is the float 1.0.
 */
export type Input =
  | string
  | number
  | WholeFloat
  | bigint
  | boolean
  | null
  | Uint8Array
  | readonly Input[]
  | ReadonlyMap<Input, Input>
  | { readonly [key: string]: Input | undefined }

/**
 * What a program gets back: bytes as text where they are UTF-8, else as a Uint8Array; structures as stored, frozen.
 *
 * All numbers are plain ones, Lua's 1.0 is 1: `===` and `typeof` are worth more to a program than a difference that
 * JavaScript does not make. Who needs it takes the exact JSON (`toExactJson`) or the bytes (`encodeValue`).
 */
export type Output =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | readonly Output[]
  | ReadonlyMap<Output, Output>
  | { readonly [key: string]: Output }

/** Text as the kernel's bytes. */
export const toBytes = (text: string): string =>
  isAscii.test(text) ? text : Buffer.from(text, "utf8").toString("latin1")

/**
 * Bytes with more bytes behind them. V8 keeps a concatenation as a tree of its parts, 32 bytes each, until somebody
 * reads it: a value that is appended to byte by byte would take 33 times what is counted. So it is made one piece each
 * time it has grown by a thirty-second, which bounds it by twice its length, at 32 bytes of copying for each one
 * appended.
 */
export const appendBytes = (bytes: string, addition: string): string => {
  const whole = bytes + addition
  const step = Math.max(0, 26 - Math.clz32(bytes.length)) // 2 ** step is at most length / 32
  return bytes.length >> step === whole.length >> step ? whole : onePiece(whole)
}

/**
 * The same bytes as one piece of memory, which keeps alive none of those that they were put together from. O(length).
 */
export const onePiece = (bytes: string): string => {
  probe.lastByte = bytes.charCodeAt(bytes.length - 1) // reading one lays them out; kept, or it would be optimised away
  return bytes
}

const probe = { lastByte: 0 }

/** The beginning of a text, as a string of its own: a slice would keep all of it alive, were it 32 MiB. */
export const cutText = (text: string, length: number): string =>
  text.length <= length ? text : Buffer.from(text.slice(0, length), "utf16le").toString("utf16le")

/** The same, and where it is cut, how long it was. */
export const shortened = (text: string, length: number): string =>
  text.length <= length ? text : `${cutText(text, length)}… (${text.length} characters)`

/** The kernel's bytes as text, or undefined where they are not UTF-8. */
export const toText = (bytes: string): string | undefined => {
  if (isAscii.test(bytes)) return bytes
  try {
    return strictUtf8.decode(Buffer.from(bytes, "latin1"))
  } catch {
    return undefined
  }
}

/** The kernel's bytes as text; where they are not UTF-8, a character for each byte. */
export const asText = (bytes: string): string => toText(bytes) ?? bytes

/** The kernel's bytes as text; where they are not UTF-8, with a replacement character for each fault. */
export const lossyText = (bytes: string): string => toText(bytes) ?? Buffer.from(bytes, "latin1").toString("utf8")

/**
 * A copy of `input` as the kernel keeps it: frozen, so that nobody who holds the original can change the entry.
 * O(size).
 *
 * @example
 * const value = toValue({ name: "ada" })
 * if (value instanceof InvalidValue) throw value
 */
export const toValue = (input: unknown): Value | InvalidValue => {
  if (typeof input === "string") return toBytes(input)
  if (input instanceof Uint8Array)
    return Buffer.from(input.buffer, input.byteOffset, input.byteLength).toString("latin1")
  return copied(input, "$")
}

/** A copy of an entry's metadata as the kernel keeps it. Where it is refused, the path begins with `metadata`. */
export const toMetadata = (input: unknown): ValueObject | InvalidValue => {
  const made = copied(input, "metadata")
  if (made instanceof InvalidValue || isObject(made)) return made
  return new InvalidValue({ path: "metadata", reason: "it is no object with names and values" })
}

const isObject = (value: Structured): value is ValueObject =>
  typeof value === "object" && value !== null && Object.getPrototypeOf(value) === null

const copied = (input: unknown, root: string): Structured | InvalidValue => {
  try {
    return copy(input, root, 0) as Structured
  } catch (refusal) {
    if (refusal instanceof InvalidValue) return refusal
    throw refusal
  }
}

/** What a program gets: O(size) when a structure is read for the first time, and where it holds whole floats. */
export const fromValue = (value: Value): Output => {
  if (typeof value === "string") return toText(value) ?? Buffer.from(value, "latin1")
  if (typeof value !== "object" || value === null) return value
  if (value instanceof Number) return value.valueOf()
  if (withoutFloats.has(value)) return value as Output
  const plain = withPlainNumbers(value)
  if (plain === value) withoutFloats.add(value)
  return plain as Output
}

/** Structures that were looked through and hold no whole float: these are handed out as they are, and at once. */
const withoutFloats = new WeakSet<object>()

/** The value itself where it holds no whole float, else a copy of it with plain numbers. O(size). */
const withPlainNumbers = (value: Nested): Nested => {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value
  if (value instanceof Number) return value.valueOf()
  let isSame = true
  if (Array.isArray(value)) {
    const items = (value as ValueArray).map((item) => {
      const plain = withPlainNumbers(item)
      isSame &&= Object.is(plain, item)
      return plain
    })
    return isSame ? value : Object.freeze(items)
  }
  if (value instanceof Map) {
    const map = new Map<Nested, Nested>()
    for (const [key, item] of value as ValueMap) {
      const plain = withPlainNumbers(item)
      isSame &&= Object.is(plain, item)
      map.set(key, plain)
    }
    return isSame ? value : map
  }
  const object: Record<string, Nested> = Object.create(null)
  for (const name of Object.keys(value)) {
    const item = (value as ValueObject)[name] as Nested
    const plain = withPlainNumbers(item)
    isSame &&= Object.is(plain, item)
    object[name] = plain
  }
  return isSame ? value : Object.freeze(object)
}

/** A value as bytes: what GET answers. Structured values are shown in the exact form of JSON (Json.ts). */
export const valueAsBytes = (value: Value): string => (typeof value === "string" ? value : toBytes(exactJson(value)))

/** A value as bytes for who is not us, as a message or a reason: structured values are in the plain form of JSON. */
export const messageBytes = (value: Value): string => (typeof value === "string" ? value : toBytes(plainJson(value)))

/**
 * A value in the exact form of JSON; bytes on top are a string where they are UTF-8, else `{"$bytes":…}`. O(size).
 *
 * @example
 * toExactJson(toFloat(1)) // "1.0"
 */
export const toExactJson = (value: Value): string =>
  exactJson(typeof value === "string" ? (toText(value) ?? Buffer.from(value, "latin1")) : value)

/**
 * The value that the exact form, or any ordinary JSON, stands for; a string on top is its bytes. O(length).
 *
 * @example
 * const value = fromJson('{"scores":{"$map":[[10,1.5]]}}')
 * if (value instanceof InvalidJson) throw value
 */
export const fromJson = (text: string): Value | InvalidJson => {
  const value = parseJson(text)
  return value instanceof InvalidJson ? value : fromNested(value)
}

/** What stands inside a structure as a value of its own: text and bytes are the kernel's bytes then. */
export const fromNested = (value: Nested): Value => {
  if (typeof value === "string") return toBytes(value)
  return value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value
}

/** A nested value in the plain form of JSON, for who is not us: payloads, log lines, answers of the API. */
export const toJson: (value: Nested) => string = plainJson

const wellFormed = (text: string): string => (loneSurrogate.test(text) ? Buffer.from(text).toString() : text)

const loneSurrogate = /\p{Surrogate}/u
const isAscii = /^[\0-\x7f]*$/
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const copy = (input: unknown, path: string, depth: number): Nested => {
  if (typeof input === "string") return wellFormed(input) // half a surrogate pair becomes U+FFFD, as it does on top
  if (input === null || typeof input === "boolean") return input
  if (typeof input === "number") return input
  if (typeof input === "bigint") {
    if (BigInt.asIntN(integerBitsMax, input) === input) return input
    throw new InvalidValue({ path, reason: `an integer has at most ${integerBitsMax} bits` })
  }
  if (input instanceof Uint8Array) return new Uint8Array(input) // not slice: a Buffer's shares its memory
  if (input instanceof Number) return toFloat(input.valueOf())
  if (depth >= depthMax) throw new InvalidValue({ path, reason: `it is nested deeper than ${depthMax} levels` })
  if (Array.isArray(input)) {
    const items = new Array<Nested>(input.length) // of its exact length: one that grows keeps up to half as much in reserve
    for (let i = 0; i < input.length; i++) items[i] = copy(input[i], `${path}[${i}]`, depth + 1)
    return Object.freeze(items)
  }
  if (input instanceof Map) {
    const map = new Map<Nested, Nested>()
    for (const [key, item] of input) {
      const copiedKey = copy(key instanceof Number ? key.valueOf() : key, `${path}.key`, depth + 1)
      map.set(copiedKey, copy(item, `${path}.get(${toJson(copiedKey)})`, depth + 1))
    }
    return map
  }
  if (input === undefined) throw new InvalidValue({ path, reason: "undefined is no data; null is" })
  if (typeof input !== "object") throw new InvalidValue({ path, reason: `a ${typeof input} is no data` })
  const prototype: unknown = Object.getPrototypeOf(input)
  if (prototype !== Object.prototype && prototype !== null) {
    const name = (input as object).constructor?.name ?? "a class"
    throw new InvalidValue({ path, reason: `it is an instance of ${name}; give plain objects, arrays, maps or bytes` })
  }
  const object: Record<string, Nested> = Object.create(null)
  for (const [key, item] of Object.entries(input)) {
    if (item !== undefined) object[wellFormed(key)] = copy(item, `${path}.${key}`, depth + 1)
  }
  return Object.freeze(object)
}
