/**
 * Random values as Lua knows them, from a seed: made here, and made inside Lua. And what tells two of them apart exactly,
 * written apart from the code under test: 1 from 1.0, 0 from -0.0, text from bytes, an object from a map.
 *
 * Values are in the form in which they come out of Lua, so that a round trip has exactly one right answer: keys 1..n are
 * an array, text keys an object without a prototype (the empty table too), all others a `Map`; integers past 2^53 are
 * bigints, floats that are whole numbers `Number` objects. On top, a string is bytes.
 */
import type { Nested, Value } from "../../src/kernel/index.ts"
import type { Random } from "./Random.ts"

/** Tables within tables, as deep as a value may be. */
export const depthMax = 16

/** A value: mostly small, one in twenty nested as deep as may be. */
export const luaValue = (random: Random): Value => {
  const maker = new Maker(random)
  if (random.oneIn(3)) return maker.onTop()
  return random.oneIn(20) ? maker.tower(depthMax) : maker.table(random.below(4))
}

class Maker {
  private left = 60 // leaves and tables of one value

  constructor(private readonly random: Random) {}

  onTop(): Value {
    const { random } = this
    if (random.oneIn(10)) return null
    if (random.oneIn(4)) return Buffer.from(random.pick(texts)).toString("latin1")
    if (random.oneIn(4)) return Buffer.from(this.bytes()).toString("latin1")
    const leaf = this.leaf()
    return typeof leaf === "string" || leaf instanceof Uint8Array ? true : leaf
  }

  leaf(): Nested {
    const { random } = this
    switch (random.below(6)) {
      case 0:
        return random.oneIn(2)
      case 1:
        return random.between(-1000, 1000)
      case 2:
        return random.pick(integers)
      case 3:
        return exactFloat(
          random.oneIn(2) ? random.pick(floats) : (random.next() - 0.5) * 10 ** random.between(-300, 300)
        )
      case 4:
        return random.oneIn(4) ? this.word() : random.pick(texts)
      default:
        return this.bytes()
    }
  }

  /** A table, within which there are at most `levels` others. */
  table(levels: number): Nested {
    const { random } = this
    const count = random.below(6)
    const kind = random.below(5)
    const pairs: Array<readonly [Nested, Nested]> = []
    for (let i = 1; i <= count && this.left-- > 0; i++) {
      const key = kind === 0 ? i : kind === 1 ? this.name() : kind === 2 ? 2 * i : this.key()
      pairs.push([key, levels > 0 && random.oneIn(3) ? this.table(levels - 1) : this.leaf()])
    }
    return tableOf(pairs)
  }

  tower(levels: number): Nested {
    const inner = levels === 1 ? this.leaf() : this.tower(levels - 1)
    return tableOf([[this.random.oneIn(2) ? 1 : this.key(), inner]])
  }

  private key(): Nested {
    const { random } = this
    switch (random.below(5)) {
      case 0:
        return random.oneIn(2)
      case 1:
        return random.oneIn(2) ? random.between(-3, 9) : random.pick(integers)
      case 2:
        return random.pick(floatKeys)
      case 3:
        return this.bytes()
      default:
        return this.name()
    }
  }

  private name(): string {
    return this.random.oneIn(3) ? this.random.pick(texts) : this.word()
  }

  private word(): string {
    let word = ""
    for (let i = this.random.below(40); i >= 0; i--) word += String.fromCharCode(this.random.between(32, 126))
    return word
  }

  /** Bytes that are no UTF-8. */
  private bytes(): Uint8Array {
    const bytes = new Uint8Array(1 + this.random.below(40)).map(() => this.random.below(256))
    bytes[0] = this.random.between(0x80, 0xbf) // begins no character
    return bytes
  }
}

/** A float as it comes out of Lua. */
export const exactFloat = (value: number): Nested =>
  Number.isSafeInteger(value) && !Object.is(value, -0) ? Object.freeze(Object(value)) : value

/** The table with these keys and values as it comes out of Lua; of equal keys the last one counts. */
const tableOf = (pairs: ReadonlyArray<readonly [Nested, Nested]>): Nested => {
  const table = new Map<string, readonly [Nested, Nested]>()
  for (const pair of pairs) table.set(keyText(pair[0]), pair)
  const entries = [...table.values()]
  if (entries.every(([key]) => typeof key === "string")) {
    const object: Record<string, Nested> = Object.create(null)
    for (const [key, item] of entries) object[key as string] = item
    return Object.freeze(object)
  }
  const items = entries.map((_, i) => table.get(keyText(i + 1))?.[1])
  return items.includes(undefined) ? new Map(entries) : Object.freeze(items as Nested[])
}

/** What tells this value from all others; tables by all that they hold, in whatever order. */
export const exactText = (value: Nested): string => {
  if (typeof value !== "object" || value === null)
    return `${typeof value} ${Object.is(value, -0) ? "-0" : String(value)}`
  if (value instanceof Number) return `float ${value.valueOf()}`
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("hex")}`
  if (Array.isArray(value)) return `[${value.map((item) => exactText(item as Nested)).join()}]`
  const kind = value instanceof Map ? "map" : Object.getPrototypeOf(value) === null ? "object" : "instance"
  const entries: Array<[Nested, Nested]> = value instanceof Map ? [...value] : Object.entries(value)
  const texts = entries.map(([key, item]) => `${keyText(key)}=${exactText(item)}`)
  return `${kind}{${texts.sort().join()}}`
}

const keyText = (key: Nested): string => JSON.stringify(exactText(key))

const integers: readonly Nested[] = [
  0,
  -1,
  127,
  128,
  -32,
  -33,
  255,
  -129,
  65_535,
  65_536,
  -32_769,
  2 ** 31 - 1,
  2 ** 31,
  -(2 ** 31) - 1,
  2 ** 32,
  2 ** 32 - 1,
  2 ** 53 - 1,
  -(2 ** 53) + 1,
  2n ** 53n,
  2n ** 53n + 1n,
  -(2n ** 53n) - 1n,
  2n ** 63n - 1n,
  -(2n ** 63n)
]

const floats: readonly number[] = [
  0,
  -0,
  1,
  -1,
  100,
  0.1,
  -2.5,
  2 ** 31,
  2 ** 53 - 1,
  2 ** 53,
  2 ** 53 + 2,
  2 ** 63,
  1e15,
  1e21,
  1e300,
  -1e300,
  Number.MIN_VALUE,
  2 ** -1074 * 12345,
  2.2250738585072014e-308,
  Number.MAX_VALUE,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.NaN
]

/** Lua makes integers of the others, and NaN is no key. */
const floatKeys: readonly number[] = [
  0.5,
  -1.25,
  1e-300,
  2 ** 63,
  1e300,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY
]

const texts: readonly string[] = [
  "",
  "a",
  "user_count",
  "1",
  "1.0",
  "-0",
  "null",
  "grüße, 世界 👋",
  "\ufeffmark",
  'line\nbreak "quoted" \\ back \u0000 zero \u001f \u2028',
  "__proto__",
  "constructor",
  "toString",
  "$map",
  "$float",
  "$bytes",
  "$int",
  "$object",
  "$set",
  "$$",
  "x".repeat(300),
  "é".repeat(70)
]

/**
 * Lua that defines `make(seed)`, which builds a random value, and `same(a, b)`, which tells values apart exactly: by
 * `math.type`, by the sign of zero, tables by what they hold. `same` answers the path to the first difference, or nil.
 */
export const luaSource = `
local state, left
local function below(n)
  state = state * 6364136223846793005 + 1442695040888963407
  return (state >> 33) % n
end
local function pick(list) return list[1 + below(#list)] end
local integers = { 0, -1, 127, 128, -32, -33, 255, -129, 65535, 65536, 2147483647, 2147483648, -2147483649, 4294967296,
  9007199254740991, 9007199254740992, 9007199254740993, -9007199254740993, math.maxinteger, math.mininteger }
local floats = { 0.0, -0.0, 1.0, -1.0, 100.0, 0.1, -2.5, 2.0^31, 2.0^53 - 1, 2.0^53, 2.0^53 + 2, 2.0^63, 1e15, 1e21,
  1e300, -1e300, 5e-324, 6.1e-320, 2.2250738585072014e-308, 1.7976931348623157e308, math.huge, -math.huge, 0.0 / 0.0 }
local floatKeys = { 0.5, -1.25, 1e-300, 2.0^63, 1e300, math.huge, -math.huge, 3.0, -0.0 }
local texts = { "", "a", "1", "1.0", "null", "gr\\u{fc}\\u{df}e \\u{4e16} \\u{1f44b}", "\\u{feff}mark",
  "a\\0b\\n\\"\\\\\\31\\127",
  "__proto__", "constructor", "$map", "$float", "$bytes", "$object", "$set", ("x"):rep(300) }
local function bytes()
  local all = { string.char(128 + below(64)) }
  for i = 2, 1 + below(20) do all[i] = string.char(below(256)) end
  return table.concat(all)
end
local function leaf()
  local kind = below(7)
  if kind == 0 then return below(2) == 0 end
  if kind == 1 then return below(2001) - 1000 end
  if kind == 2 then return pick(integers) end
  if kind == 3 then return pick(floats) end
  if kind == 4 then return (below(1 << 30) - (1 << 29)) * 10.0 ^ (below(600) - 300) end
  if kind == 5 then return pick(texts) end
  return bytes()
end
local function key()
  local kind = below(5)
  if kind == 0 then return below(2) == 0 end
  if kind == 1 then return below(2) == 0 and below(12) - 3 or pick(integers) end
  if kind == 2 then return pick(floatKeys) end
  if kind == 3 then return bytes() end
  return pick(texts)
end
local function build(levels)
  local t, kind = {}, below(5)
  for i = 1, below(6) do
    left = left - 1
    if left < 0 then break end
    local k = kind == 0 and i or kind == 1 and pick(texts) or kind == 2 and 2 * i or key()
    if levels > 1 and below(3) == 0 then t[k] = build(levels - 1) else t[k] = leaf() end
  end
  return t
end
local function tower(levels)
  return { [below(2) == 0 and 1 or key()] = levels > 1 and tower(levels - 1) or leaf() }
end
local function make(seed)
  state, left = seed * 2654435769 + 1, 60
  for _ = 1, 4 do below(1) end
  if below(20) == 0 then return nil end
  if below(3) == 0 then return leaf() end
  if below(20) == 0 then return tower(${depthMax}) end
  return build(1 + below(4))
end
local function same(a, b, path)
  if math.type(a) ~= math.type(b) or type(a) ~= type(b) then return path end
  if type(a) ~= "table" then
    if a ~= a and b ~= b then return nil end
    if a == b and (math.type(a) ~= "float" or 1 / a == 1 / b) then return nil end
    return path
  end
  for k, v in next, a do
    local difference = same(v, b[k], path .. "/" .. tostring(k))
    if difference then return difference end
  end
  for k in next, b do if a[k] == nil then return path .. "+" .. tostring(k) end end
end
`
