/**
 * Values as JSON, and back as exactly the same values.
 *
 * JSON is written by hand here, since `JSON.stringify` and `JSON.parse` know neither of two kinds of numbers nor of
 * bytes. Both ways are one pass, linear in the text, and go no deeper than values do. The **exact form** is ordinary
 * JSON for all that JSON has words for, and says the rest in objects of one name that begins with `$`:
 *
 * | value                                        | exact form                                          |
 * |----------------------------------------------|-----------------------------------------------------|
 * | an integer, of up to 64 bits                 | its digits: `3`                                     |
 * | a float                                      | with a point or an exponent: `3.0`, `-0.0`, `1e+300` |
 * | infinities, not a number                     | `{"$float":"inf"}`, `"-inf"`, `"nan"`               |
 * | a longer integer, which Lua has none of      | `{"$int":"18446744073709551616"}`                   |
 * | bytes that are no text                       | `{"$bytes":"/wA="}`, in base64                      |
 * | any other table: mixed keys, holes           | `{"$map":[[1,"a"],["b",2]]}`                        |
 * | an object of which a name begins with `$`    | `{"$object":[["$set",1]]}`                          |
 *
 * The **plain form** is for receivers who know nothing of this: webhooks, messages, logs. Floats are as above, and what
 * JSON lacks is put into its words with a loss: maps are objects with their keys as text, bytes are text with U+FFFD
 * for each fault, what is no finite number is null.
 */
import { type Nested, toFloat, type ValueArray, type ValueMap, type ValueObject } from "../kernel/index.ts"
import { InvalidJson } from "./CacheError.ts"

/** Levels of tables within tables; as deep as a value may go into Lua. */
export const depthMax = 16

/**
 * Bits of the longest integer with its sign, some 9,860 digits: to read and write digits takes more than linear time.
 */
export const integerBitsMax = 32_768

/** The exact form. `parseJson` makes the same value of it. O(size). */
export const exactJson = (value: Nested): string => write(value, true)

/** The plain form. O(size). */
export const plainJson = (value: Nested): string => write(value, false)

/**
 * The value that the exact form, or any ordinary JSON, stands for: frozen, as the kernel keeps it. `around` levels of
 * tables are no part of the values, but what these came in, as in `{"args":[…]}`: they may be so much deeper.
 * O(length).
 */
export const parseJson = (text: string, around = 0): Nested | InvalidJson =>
  parse(text, true, Number.POSITIVE_INFINITY, depthMax + around)

/**
 * The value of JSON by somebody else, in which `{"$map":…}` and its like are objects as any other. Refuses what has
 * more than `valuesMax` values, tables included, without reading on. O(length).
 */
export const parsePlainJson = (text: string, valuesMax = Number.POSITIVE_INFINITY): Nested | InvalidJson =>
  parse(text, false, valuesMax, depthMax)

// ---- writing

const write = (value: Nested, isExact: boolean): string => {
  switch (typeof value) {
    case "string":
      return quoted(value)
    case "number":
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? String(value) : floatText(value, isExact)
    case "bigint":
      return isExact && BigInt.asIntN(64, value) !== value ? `{"$int":"${value}"}` : String(value)
    case "boolean":
      return value ? "true" : "false"
  }
  if (value === null) return "null"
  if (Array.isArray(value)) return writeArray(value, isExact)
  if (value instanceof Map) return isExact ? writePairs("$map", value) : writeMap(value)
  if (value instanceof Number) return floatText(value.valueOf(), isExact)
  if (value instanceof Uint8Array) return bytesText(value, isExact)
  return writeObject(value as ValueObject, isExact)
}

const writeArray = (items: ValueArray, isExact: boolean): string => {
  let text = "["
  for (let i = 0; i < items.length; i++) {
    if (i > 0) text += ","
    text += write(items[i] as Nested, isExact)
  }
  return `${text}]`
}

const writeObject = (object: ValueObject, isExact: boolean): string => {
  const names = Object.keys(object)
  if (isExact && names.some(startsWithDollar)) return writePairs("$object", Object.entries(object))
  let text = "{"
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string
    text += `${i > 0 ? "," : ""}${quoted(name)}:${write(object[name] as Nested, isExact)}`
  }
  return `${text}}`
}

const writePairs = (name: PairsName, pairs: Iterable<readonly [Nested, Nested]>): string => {
  const written: string[] = []
  for (const [key, item] of pairs) written.push(`[${write(key, true)},${write(item, true)}]`)
  return `{"${name}":[${written.join(",")}]}`
}

const writeMap = (map: ValueMap): string => {
  const written: string[] = []
  for (const [key, item] of map) {
    written.push(`${quoted(typeof key === "string" ? key : write(key, false))}:${write(item, false)}`)
  }
  return `{${written.join(",")}}`
}

const startsWithDollar = (name: string): boolean => name.charCodeAt(0) === dollar

/** Lua's own numbers cannot be taken for integers when they are read again. */
const floatText = (value: number, isExact: boolean): string => {
  if (!Number.isFinite(value)) return isExact ? `{"$float":"${specialNames.get(value)}"}` : "null"
  if (Object.is(value, -0)) return "-0.0"
  const text = String(value)
  return Number.isInteger(value) && Math.abs(value) < 1e21 ? `${text}.0` : text // from 1e21 on there is an exponent
}

const bytesText = (bytes: Uint8Array, isExact: boolean): string => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return isExact ? `{"$bytes":"${buffer.toString("base64")}"}` : quoted(buffer.toString("utf8"))
}

const quoted = (text: string): string => (mustBeEscaped.test(text) ? JSON.stringify(text) : `"${text}"`)

const mustBeEscaped = /[^ !#-[\]-\ud7ff\ue000-\uffff]/ // or may be: half a surrogate pair is escaped, a whole one is not
const dollar = 36
const specialNames = new Map([
  [Number.POSITIVE_INFINITY, "inf"],
  [Number.NEGATIVE_INFINITY, "-inf"],
  [Number.NaN, "nan"]
])

// ---- reading

const parse = (text: string, isExact: boolean, valuesMax: number, levelsMax: number): Nested | InvalidJson => {
  try {
    return new Parser(text, isExact, valuesMax, levelsMax).whole()
  } catch (failure) {
    if (failure instanceof InvalidJson) return failure
    throw failure
  }
}

class Parser {
  private at = 0
  private readonly text: string
  private readonly isExact: boolean
  private readonly valuesMax: number
  private readonly levelsMax: number
  private values = 0

  constructor(text: string, isExact: boolean, valuesMax: number, levelsMax: number) {
    this.text = text
    this.isExact = isExact
    this.valuesMax = valuesMax
    this.levelsMax = levelsMax
  }

  whole(): Nested {
    const value = this.value(0)
    if (this.next() !== end) throw this.wrong("the end was expected here")
    return value
  }

  /** A value within `depth` tables. */
  private value(depth: number): Nested {
    const code = this.next()
    if (++this.values > this.valuesMax) throw this.wrong(`it has more than ${this.valuesMax} values`)
    switch (code) {
      case quote:
        return this.string()
      case openBrace:
        return this.object(depth)
      case openBracket:
        return this.array(depth)
      case letterT:
        return this.word("true", true)
      case letterF:
        return this.word("false", false)
      case letterN:
        return this.word("null", null)
    }
    if (code === minus || (code >= zero && code <= nine)) return this.number()
    throw this.wrong(code === end ? "it ends where a value was expected" : "a value was expected here")
  }

  private array(depth: number): Nested {
    this.mayBeTable(depth, this.at)
    this.at++
    const items: Nested[] = []
    if (this.next() === closeBracket) this.at++
    else {
      do items.push(this.value(depth + 1))
      while (this.another(closeBracket, "an array goes on with ',' or ends with ']'"))
    }
    return Object.freeze(items.slice()) // of its exact length: one that grew keeps up to half as much in reserve
  }

  private object(depth: number): Nested {
    const { at } = this
    this.at++
    const object: Record<string, Nested> = Object.create(null) // so that "__proto__" is a name like any other
    let isFirst = true
    if (this.next() === closeBrace) {
      this.mayBeTable(depth, at)
      this.at++
      return Object.freeze(object)
    }
    do {
      if (this.next() !== quote) throw this.wrong("the name of a member was expected here, in double quotes")
      const name = this.string()
      this.skip(colon, "the name of a member is followed by ':'")
      if (isFirst) {
        if (this.isExact && isLeafName(name)) return this.leaf(name)
        this.mayBeTable(depth, at)
        if (this.isExact && (name === "$map" || name === "$object")) return this.table(name, depth)
        isFirst = false
      }
      object[name] = this.value(depth + 1)
    } while (this.another(closeBrace, "an object goes on with ',' or ends with '}'"))
    return Object.freeze(object)
  }

  /** What `{"$float":…}`, `{"$bytes":…}` or `{"$int":…}` stands for; its name has been read. */
  private leaf(name: LeafName): Nested {
    if (this.next() !== quote) throw this.wrong(`'${name}' is followed by a string`)
    const { at } = this
    const text = this.string()
    const value = leaves[name](text)
    if (value === undefined) throw new InvalidJson({ at, reason: `${leafRules[name]}, not '${text.slice(0, 40)}'` })
    this.skip(closeBrace, `an object that begins with '${name}' has no other member`)
    return value
  }

  /** What `{"$map":…}` or `{"$object":…}` stands for; its name has been read. */
  private table(name: PairsName, depth: number): Nested {
    const map = new Map<Nested, Nested>()
    this.skip(openBracket, pairsRule)
    if (this.next() === closeBracket) this.at++
    else {
      do {
        this.skip(openBracket, pairsRule)
        const { at } = this
        const key = this.value(depth + 1)
        if (name === "$object" && typeof key !== "string") throw new InvalidJson({ at, reason: "a name is text" })
        this.skip(comma, pairsRule)
        map.set(key instanceof Number ? key.valueOf() : key, this.value(depth + 1)) // to Lua 1.0 and 1 are one key
        this.skip(closeBracket, pairsRule)
      } while (this.another(closeBracket, pairsRule))
    }
    this.skip(closeBrace, `an object that begins with '${name}' has no other member`)
    return name === "$map" ? map : Object.freeze(Object.assign(Object.create(null), Object.fromEntries(map)))
  }

  private string(): string {
    const { text, at } = this
    let close = text.indexOf('"', at + 1)
    let isPlain = true
    for (let i = at + 1; i < close; i++) {
      const code = text.charCodeAt(i)
      if (code === backslash) {
        isPlain = false
        if (++i === close) close = text.indexOf('"', i + 1)
      } else if (code < space) throw new InvalidJson({ at: i, reason: "a line break or its like is to be escaped" })
    }
    if (close < 0) throw this.wrong("this string has no end")
    this.at = close + 1
    // A longer part of a text would keep all of it alive.
    if (isPlain && close - at <= freshMax) return text.slice(at + 1, close)
    try {
      return JSON.parse(text.slice(at, close + 1)) as string
    } catch {
      throw new InvalidJson({
        at,
        reason: 'a string has an escape that JSON does not know; there are \\" \\\\ \\n \\u00e9'
      })
    }
  }

  private number(): Nested {
    const { text, at } = this
    let end = at
    let short = 0
    for (let digit = text.charCodeAt(end) - zero; digit >= 0 && digit <= 9; digit = text.charCodeAt(++end) - zero) {
      short = 10 * short + digit
    }
    const next = text.charCodeAt(end)
    const isShort = end > at && end - at <= exactDigits && (end - at === 1 || text.charCodeAt(at) !== zero)
    if (isShort && next !== point && next !== 0x65 && next !== 0x45) {
      this.at = end
      return short
    }
    numberRule.lastIndex = at
    if (!numberRule.test(text)) throw this.wrong("this is no number")
    this.at = numberRule.lastIndex
    const digits = text.slice(at, this.at)
    const number = Number(digits)
    if (isFloat.test(digits)) return toFloat(number)
    if (Number.isSafeInteger(number)) return number + 0 // "-0" is the integer
    if (digits.length > int64Digits) return number
    const whole = BigInt(digits)
    return BigInt.asIntN(64, whole) === whole ? whole : number // as Lua reads an integer that it has no room for
  }

  private word<T extends boolean | null>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.at)) throw this.wrong("a value was expected here")
    this.at += word.length
    return value
  }

  private mayBeTable(depth: number, at: number): void {
    if (depth < this.levelsMax) return
    throw new InvalidJson({ at, reason: `it is nested deeper than ${depthMax} levels` })
  }

  /** Whether a comma, and so another item, stands here; else the end of the table has been passed. */
  private another(close: number, expectation: string): boolean {
    const code = this.next()
    if (code !== comma && code !== close) throw this.wrong(expectation)
    this.at++
    return code === comma
  }

  private skip(code: number, expectation: string): void {
    if (this.next() !== code) throw this.wrong(expectation)
    this.at++
  }

  /** Passes what is blank; the character that stands there, or `end`. */
  private next(): number {
    const { text } = this
    let code = text.charCodeAt(this.at)
    while (code === space || code === 10 || code === 13 || code === 9) code = text.charCodeAt(++this.at)
    return code >= 0 ? code : end // past the text it is NaN
  }

  private wrong(reason: string): InvalidJson {
    return new InvalidJson({ at: this.at, reason })
  }
}

/** What stands before the pairs of a table that no object of JSON can be. */
type PairsName = "$map" | "$object"

type LeafName = "$float" | "$bytes" | "$int"

const leaves: { readonly [name in LeafName]: (text: string) => Nested | undefined } = {
  $float: (text) => specials.get(text),
  $bytes(text) {
    const bytes = Buffer.from(text, "base64")
    return bytes.toString("base64") === text ? new Uint8Array(bytes) : undefined // a copy: a Buffer shares its memory
  },
  $int(text) {
    if (text.length > intDigitsMax || !intRule.test(text)) return undefined
    const integer = BigInt(text)
    return BigInt.asIntN(integerBitsMax, integer) === integer ? integer : undefined
  }
}

const intDigitsMax = 10_000 // characters; more than `integerBitsMax` has
const freshMax = 13 // characters with the opening quote; V8 copies parts of a text up to here, and refers to it above
const int64Digits = 20 // characters of the longest, with its sign
const exactDigits = 15 // as many as any number has exactly

const leafRules: { readonly [name in LeafName]: string } = {
  $float: '\'$float\' is followed by "inf", "-inf" or "nan"',
  $bytes: "'$bytes' is followed by base64 with its padding",
  $int: `'$int' is followed by a whole number of at most ${integerBitsMax} bits, in quotes`
}

const pairsRule = `'$map' and '$object' are followed by pairs, as in [["a",1],["b",true]]`

const isLeafName = (name: string): name is LeafName => name === "$float" || name === "$bytes" || name === "$int"

const specials = new Map([...specialNames].map(([value, name]) => [name, value]))
const numberRule = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const isFloat = /[.eE]/
const intRule = /^-?[1-9]\d*$/

const end = -1
const space = 0x20
const [quote, comma, colon, minus, point, backslash] = [0x22, 0x2c, 0x3a, 0x2d, 0x2e, 0x5c]
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d]
const [zero, nine] = [0x30, 0x39]
const [letterT, letterF, letterN] = [0x74, 0x66, 0x6e]
