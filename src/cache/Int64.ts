/**
 * Integers as Redis reads and counts them: 64 bits, written in one way only (no sign but "-", no leading zero, no
 * blank).
 *
 * A number is used as long as it is exact, a bigint beyond 2^53. Source: Redis 7.0, util.c, string2ll.
 */
import type { Value } from "../kernel/index.ts"

export type Int64 = number | bigint

/** Reads a signed 64-bit integer. Undefined where the text is none. */
export const parseInt64 = (text: string): Int64 | undefined => {
  const length = text.length
  if (length === 0 || length > 20) return undefined
  const isNegative = text.charCodeAt(0) === minus
  const first = isNegative ? 1 : 0
  const leading = text.charCodeAt(first)
  if (leading === zero) return length === 1 ? 0 : undefined
  let value = 0
  for (let i = first; i < length; i++) {
    const digit = text.charCodeAt(i) - zero
    if (digit < 0 || digit > 9) return undefined
    value = value * 10 + digit
  }
  if (length === first) return undefined
  if (value <= Number.MAX_SAFE_INTEGER) return isNegative ? -value : value
  const exact = BigInt(text)
  return isInt64(exact) ? exact : undefined
}

/**
 * The integer that a value is, as decimal bytes or as a structured number. Undefined where it is none: 1.0 is a float.
 */
export const asInt64 = (value: Value): Int64 | undefined => {
  if (typeof value === "string") return parseInt64(value)
  if (typeof value === "number") return Number.isSafeInteger(value) && !Object.is(value, -0) ? value : undefined
  return typeof value === "bigint" && isInt64(value) ? value : undefined
}

/** Adds within 64 bits. Undefined on overflow. */
export const addInt64 = (a: Int64, b: Int64): Int64 | undefined => {
  if (typeof a === "number" && typeof b === "number") {
    const sum = a + b
    if (Number.isSafeInteger(sum)) return sum
  }
  const exact = BigInt(a) + BigInt(b)
  if (!isInt64(exact)) return undefined
  return exact >= minSafe && exact <= maxSafe ? Number(exact) : exact
}

/**
 * Reads a signed 64-bit integer as a number, exact up to 2^53 and the nearest one beyond. Undefined where it is none.
 */
export const parseNumber = (text: string): number | undefined => {
  const value = parseInt64(text)
  return typeof value === "bigint" ? Number(value) : value
}

const isInt64 = (value: bigint): boolean => BigInt.asIntN(64, value) === value

/** The largest that is left when a 64-bit integer is a thousand times smaller. */
export const int64Max = 9_223_372_036_854_775_807n
export const int64Min = -9_223_372_036_854_775_808n

const minSafe = BigInt(Number.MIN_SAFE_INTEGER)
const maxSafe = BigInt(Number.MAX_SAFE_INTEGER)
const zero = 0x30
const minus = 0x2d
