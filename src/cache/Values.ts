/**
 * The border between what programs hold (text, bytes, plain objects) and what the kernel stores (bytes as latin1
 * strings, frozen structures). Text is UTF-8; ASCII, the common case, passes as it is.
 */
import type { Nested, Structured, Value, ValueObject } from "../kernel/index.ts"
import { InvalidValue } from "./CacheError.ts"

/** What a program may store: text, bytes, or plain data made of them. Class instances and functions are refused. */
export type Input =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | readonly Input[]
  | ReadonlyMap<Input, Input>
  | { readonly [key: string]: Input | undefined }

/** What a program gets back: bytes as text where they are UTF-8, else as a Uint8Array; structures as stored. */
export type Output = string | Structured

/** Text as the kernel's bytes. */
export const toBytes = (text: string): string =>
  isAscii.test(text) ? text : Buffer.from(text, "utf8").toString("latin1")

/**
 * Bytes with more bytes behind them. V8 keeps a concatenation as a tree of its parts, 32 bytes each, until somebody reads
 * it: a value that is appended to byte by byte would take 33 times what is counted. So it is made one piece each time it
 * has grown by a thirty-second, which bounds it by twice its length, at 32 bytes of copying for each one appended.
 */
export const appendBytes = (bytes: string, addition: string): string => {
  const whole = bytes + addition
  const step = Math.max(0, 26 - Math.clz32(bytes.length)) // 2 ** step is at most length / 32
  return bytes.length >> step === whole.length >> step ? whole : onePiece(whole)
}

/** The same bytes as one piece of memory, which keeps alive none of those that they were put together from. O(length). */
export const onePiece = (bytes: string): string => {
  probe.lastByte = bytes.charCodeAt(bytes.length - 1) // reading one lays them out; kept, or it would be optimised away
  return bytes
}

const probe = { lastByte: 0 }

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

/** A copy of `input` as the kernel keeps it: frozen, so that nobody who holds the original can change the entry. */
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

export const fromValue = (value: Value): Output =>
  typeof value === "string" ? (toText(value) ?? Buffer.from(value, "latin1")) : value

/** A value as bytes: what GET answers. Structured values are shown as JSON. */
export const valueAsBytes = (value: Value): string => (typeof value === "string" ? value : toBytes(toJson(value)))

/**
 * A nested value as JSON text: bytes inside become text with U+FFFD for what is no UTF-8, big integers keep their
 * digits, what JSON has no number for becomes null, and maps become objects with their keys as text.
 */
export const toJson = (value: Nested): string => {
  if (typeof value === "bigint") return value.toString()
  if (value === null || typeof value !== "object") return JSON.stringify(value)
  if (value instanceof Uint8Array) return JSON.stringify(Buffer.from(value).toString("utf8"))
  if (Array.isArray(value)) return `[${value.map((item) => toJson(item as Nested)).join(",")}]`
  const entries = value instanceof Map ? [...value] : Object.entries(value)
  return `{${entries.map(([key, item]) => `${JSON.stringify(keyText(key))}:${toJson(item as Nested)}`).join(",")}}`
}

const keyText = (key: Nested): string => (typeof key === "string" ? key : toJson(key))

const isAscii = /^[\0-\x7f]*$/
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const depthMax = 16 // levels; as deep as a value may go into Lua

const copy = (input: unknown, path: string, depth: number): Nested => {
  if (input === null || typeof input === "string" || typeof input === "boolean") return input
  if (typeof input === "number" || typeof input === "bigint") return input
  if (depth >= depthMax) throw new InvalidValue({ path, reason: `it is nested deeper than ${depthMax} levels` })
  if (input instanceof Uint8Array) return new Uint8Array(input) // not slice: a Buffer's shares its memory
  if (Array.isArray(input)) {
    const items = new Array<Nested>(input.length) // of its exact length: one that grows keeps up to half as much in reserve
    for (let i = 0; i < input.length; i++) items[i] = copy(input[i], `${path}[${i}]`, depth + 1)
    return Object.freeze(items)
  }
  if (input instanceof Map) {
    const map = new Map<Nested, Nested>()
    for (const [key, item] of input) {
      const copiedKey = copy(key, `${path}.key`, depth + 1)
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
    if (item !== undefined) object[key] = copy(item, `${path}.${key}`, depth + 1)
  }
  return Object.freeze(object)
}
