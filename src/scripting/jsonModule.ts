/**
 * `json` as scripts see it: plain JSON, as other programs write and read it, and Lua's values.
 *
 * What JSON cannot say is an error, not a loss: bytes that are no UTF-8, infinities and NaN, tables that are neither
 * list nor object. Integers and floats stay apart both ways: 1 is `1`, 1.0 is `1.0`. A table holds no nil, so
 * `json.null` stands for null within tables; by itself null is nil. An empty table is an object; `json.empty_array` is
 * `[]`.
 *
 * A text has at most 512 KiB, and 10,000 values nested 16 deep, as all that crosses into Lua has: so one call holds the
 * thread for 4 ms at worst, and it is paid for before the work is done.
 */

import { InvalidJson, toBytes, toText } from "../cache/index.ts"
import { parsePlainJson, plainJson } from "../cache/Json.ts"
import type { Nested } from "../kernel/index.ts"
import { type HostCall, type HostTable, type LuaValue, Refusal } from "../sandbox/index.ts"
import { kindOf, pays } from "./LuaData.ts"

export const makeJsonModule = (): HostTable => ({
  encode(call) {
    if (call.count === 0) return call.fail("json.encode takes a value")
    const value = call.value(1)
    if (value instanceof Refusal) return call.fail(`json.encode: ${value.message}`)
    const given = typeof value === "string" ? textOf(call, value, "encode") : value
    if (given === undefined || !pays(call, given, encodeFuel)) return
    const problem = new Check().problemOf(given)
    if (problem !== undefined) return call.fail(`json.encode: argument 1${problem}`)
    call.returnString(toBytes(plainJson(given as Nested)))
  },

  decode(call) {
    const bytes = call.string(1)
    if (bytes === undefined) return call.fail(`json.decode takes a text (a string), not ${kindOf(call, 1)}`)
    const text = textOf(call, bytes, "decode")
    if (text === undefined || !call.charge(Math.min(text.length, 2 * valuesMax) * valueFuel)) return
    const value = parsePlainJson(text, valuesMax)
    if (value instanceof InvalidJson) return call.fail(`json.decode: ${value.message}`)
    if (value === null) call.returnNil()
    else if (typeof value === "string") call.returnString(toBytes(value))
    else call.returnValue(value as LuaValue, true)
  },

  null: null,
  empty_array: []
})

const textBytesMax = 512 << 10 // beyond ASCII 1 MiB takes 7 ms
const valuesMax = 10_000 // the codec's limit, which counts the names of members too

// Units of fuel, 250 a µs.
const textFuel = 1 // a byte, to walk it or to quote it
const wideFuel = 1 // a byte where some are not ASCII: to decode it, and to encode it again
const encodeFuel = 1 // a byte that `byteSize` counts; names cost half of it, floats a little more
const valueFuel = 16 // a byte of text, as long as all of it may be short values

/** Bytes as text, charged for; undefined where the run cannot pay, or where they are none, which fails the call. */
const textOf = (call: HostCall, bytes: string, name: string): string | undefined => {
  if (bytes.length > textBytesMax) {
    call.fail(`json.${name}: a text has at most ${textBytesMax} bytes, this one has ${bytes.length}`)
    return undefined
  }
  if (!call.charge(bytes.length * textFuel)) return undefined
  if (!beyondAscii.test(bytes)) return bytes
  if (!call.charge(bytes.length * wideFuel)) return undefined
  const text = toText(bytes)
  if (text === undefined) call.fail(`json.${name}: argument 1${notUtf8}`)
  return text
}

/** Goes over a value before it is written: whether JSON has words for all of it, and room. */
class Check {
  /** Characters that the text will have, as far as strings make it long. */
  private length = 0

  /** Why it cannot be written, after the path to the reason; undefined where it can. */
  problemOf(value: LuaValue): string | undefined {
    if (typeof value === "string") return this.problemOfText(value)
    if (typeof value === "number")
      return Number.isFinite(value) ? undefined : ` is ${value}: JSON has finite numbers only`
    if (typeof value !== "object" || value === null || value instanceof Number) return undefined
    if (value instanceof Uint8Array) return notUtf8
    if (value instanceof Map)
      return " is a table with other keys than strings alone, or 1 to n: neither object nor list"
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        const problem = this.problemOf(value[i])
        if (problem !== undefined) return `[${i + 1}]${problem}`
      }
      return undefined
    }
    const object = value as { readonly [name: string]: LuaValue }
    for (const name in object) {
      const problem = this.problemOfText(name) ?? this.problemOf(object[name] as LuaValue)
      if (problem !== undefined) return `.${name.slice(0, 64)}${problem}`
    }
    return undefined
  }

  private problemOfText(text: string): string | undefined {
    this.length += text.length
    if (mayBeEscaped.test(text)) {
      for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 0x20) this.length += 5 // \u0001
    }
    return this.length > textBytesMax ? ` makes the text longer than ${textBytesMax} characters` : undefined
  }
}

const notUtf8 = " is no UTF-8"
const beyondAscii = /[\x80-\xff]/
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const mayBeEscaped = /[\0-\x1f]/
