/**
 * The arithmetic of INCRBYFLOAT: Redis adds in the x87's long double (64 bits of mantissa) and shows 17 decimals, so
 * that 0.1 + 0.2 is 0.3. JavaScript's numbers have 53 bits and would answer otherwise; here the same is computed on
 * bigints: each operand is rounded to 64 bits, the exact sum is rounded once more, and its digits are exact.
 *
 * Source: Redis 7.0, t_string.c, incrbyfloatCommand; util.c, string2ld and ld2string (LD_STR_HUMAN).
 */

/** mantissa · 2^exponent, the mantissa within 64 bits. */
export interface LongDouble {
  readonly mantissa: bigint
  readonly exponent: number
}

/** Reads a finite decimal number as Redis does (no blank around it). Undefined where the text is none. */
export const parseDecimal = (text: string): LongDouble | undefined => {
  const parts = decimal.exec(text)
  if (parts === null || text.length > textMax) return undefined
  const [, sign, whole = "", fraction = "", power = "0"] = parts
  if (whole === "" && fraction === "") return undefined
  const digits = BigInt(whole + fraction)
  const scale = Number(power) - fraction.length
  if (digits === 0n) return { mantissa: 0n, exponent: 0 }
  // Far beyond what a long double holds: infinite, or zero.
  const magnitude = whole.length + fraction.length + scale
  if (magnitude > 5000) return undefined
  if (magnitude < -5000) return { mantissa: 0n, exponent: 0 }
  const signed = sign === "-" ? -digits : digits
  return scale >= 0 ? rounded(signed * 10n ** BigInt(scale), 1n) : rounded(signed, 10n ** BigInt(-scale))
}

/** The sum as text, without trailing zeros. Undefined where it is beyond a long double. */
export const addDecimal = (a: LongDouble, b: LongDouble): string | undefined => {
  const exponent = Math.min(a.exponent, b.exponent)
  const sum = (a.mantissa << BigInt(a.exponent - exponent)) + (b.mantissa << BigInt(b.exponent - exponent))
  const result = exponent >= 0 ? rounded(sum << BigInt(exponent), 1n) : rounded(sum, 1n << BigInt(-exponent))
  return result === undefined ? undefined : show(result)
}

/** The long double nearest to numerator / denominator, the even one of two. Undefined beyond the largest. */
const rounded = (numerator: bigint, denominator: bigint): LongDouble | undefined => {
  if (numerator === 0n) return { mantissa: 0n, exponent: 0 }
  const isNegative = numerator < 0n
  const magnitude = isNegative ? -numerator : numerator
  // Scaled so that the quotient has 64 or 65 bits.
  let exponent = bitLength(magnitude) - bitLength(denominator) - mantissaBits
  const divide = (): [bigint, bigint, bigint] => {
    const top = exponent < 0 ? magnitude << BigInt(-exponent) : magnitude
    const bottom = exponent > 0 ? denominator << BigInt(exponent) : denominator
    return [top / bottom, top % bottom, bottom]
  }
  let [quotient, rest, bottom] = divide()
  if (bitLength(quotient) > mantissaBits) {
    exponent++
    ;[quotient, rest, bottom] = divide()
  }
  const twice = rest * 2n
  if (twice > bottom || (twice === bottom && (quotient & 1n) === 1n)) quotient++
  if (bitLength(quotient) + exponent > exponentMax) return undefined
  return { mantissa: isNegative ? -quotient : quotient, exponent }
}

/** "%.17Lf" without the zeros at its end. */
const show = ({ mantissa, exponent }: LongDouble): string => {
  const magnitude = mantissa < 0n ? -mantissa : mantissa
  const top = magnitude * 10n ** BigInt(decimals)
  let scaled: bigint
  if (exponent >= 0) scaled = top << BigInt(exponent)
  else {
    const shift = BigInt(-exponent)
    const rest = top & ((1n << shift) - 1n)
    const half = 1n << (shift - 1n)
    scaled = top >> shift
    if (rest > half || (rest === half && (scaled & 1n) === 1n)) scaled++
  }
  const digits = scaled.toString().padStart(decimals + 1, "0")
  const fraction = digits.slice(-decimals).replace(/0+$/, "")
  const text = digits.slice(0, -decimals) + (fraction === "" ? "" : `.${fraction}`)
  return mantissa < 0n && text !== "0" ? `-${text}` : text
}

const bitLength = (value: bigint): number => value.toString(2).length

const mantissaBits = 64
const exponentMax = 16_384 // a long double is below 2^16384
const decimals = 17
const textMax = 5 * 1024 - 1 // characters; Redis reads into a buffer of this size
const decimal = /^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,6}))?$/
