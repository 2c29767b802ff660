/** What scripts do with `json`: the text of each kind of value and the way back, and what is refused in which words. */
import { describe, expect, it } from "vitest"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { makeModules } from "./hostModules.ts"

describe("json.encode", () => {
  it.each([
    ["1", "1"],
    ["1.0", "1.0"],
    ["-0.0", "-0.0"],
    ["0.1", "0.1"],
    ["1e300", "1e+300"],
    ["math.maxinteger", "9223372036854775807"],
    ["true", "true"],
    ["nil", "null"],
    ["json.null", "null"],
    ['"a\\"b\\\\c\\n"', '"a\\"b\\\\c\\n"'],
    ['"caf\\u{e9} \\u{1f600}"', '"café 😀"'],
    ["{}", "{}"],
    ["json.empty_array", "[]"],
    ["{ 1, 2.0, { 'x' } }", '[1,2.0,["x"]]'],
    ["{ a = 1 }", '{"a":1}'],
    ["{ items = json.empty_array, next = json.null }", ["next", "items"]],
    ["{ ['__proto__'] = 1 }", '{"__proto__":1}']
  ])("writes %s", (value, text) => {
    const { run } = makeModules()
    const written = Buffer.from(run(`return json.encode(${value})`) as string, "latin1").toString()
    if (typeof text === "string") expect(written).toBe(text)
    else expect(JSON.parse(written)).toEqual({ items: [], next: null })
  })

  it.each([
    ["0/0", "argument 1 is NaN: JSON has finite numbers only"],
    ["{ a = { math.huge } }", "argument 1.a[1] is Infinity: JSON has finite numbers only"],
    ["'\\xff'", "argument 1 is no UTF-8"],
    ["{ a = '\\xff' }", "argument 1.a is no UTF-8"],
    [
      "{ [1] = 1, a = 2 }",
      "argument 1 is a table with other keys than strings alone, or 1 to n: neither object nor list"
    ],
    ["{ 1, nil, 3 }", "argument 1 is a table with other keys than strings alone, or 1 to n: neither object nor list"],
    ["{ on = print }", "argument 1.on is a function"],
    ["(function() local t = {} t.t = t return t end)()", "argument 1.t contains itself"],
    ["('x'):rep(524289)", "a text has at most 524288 bytes, this one has 524289"],
    ["('\\1'):rep(100000)", "argument 1 makes the text longer than 524288 characters"],
    ["{ { a = ('\\1'):rep(100000) } }", "argument 1[1].a makes the text longer than 524288 characters"]
  ])("raises what JSON has no words for: %s", (value, why) => {
    const { run } = makeModules()
    expect(() => run(`\njson.encode(${value})`)).toThrow(`2: json.encode: ${why}`)
    expect(run(`return (pcall(json.encode, ${value}))`)).toBe(false)
  })

  it("takes a value: nothing is none", () => {
    const { run } = makeModules()
    expect(() => run("json.encode()")).toThrow("1: json.encode takes a value")
  })
})

describe("json.decode", () => {
  it("tells integers from floats, and keeps big integers", () => {
    const { run } = makeModules()
    expect(
      run(`
        local t = json.decode('[1, 1.0, 1e2, -0.0, 9223372036854775807, 9223372036854775808, -5]')
        local kinds = {}
        for i, v in ipairs(t) do kinds[i] = math.type(v) end
        assert(t[5] == math.maxinteger and t[6] == 2^63 and 1 / t[4] == -math.huge)
        return kinds
      `)
    ).toEqual(["integer", "float", "float", "float", "integer", "float", "integer"])
  })

  it("gives json.null within tables, and nil by itself", () => {
    const { run } = makeModules()
    expect(
      run(`
        local t = json.decode('{"a":null,"list":[null,1]}')
        return { t.a == json.null, t.list[1] == json.null, #t.list, json.decode("null") == nil, json.encode(t.list) }
      `)
    ).toEqual([true, true, 2, true, "[null,1]"])
  })

  it("gives tables that are the script's own, and strings as bytes", () => {
    const { run } = makeModules()
    expect(
      run(`
        local t = json.decode(' {"a": [], "b": {}, "c": "\\\\u00e9", "__proto__": 1} ')
        t.a[1] = "added"
        return { t.a[1], next(t.b) == nil, #t.c, t.__proto__, json.decode('"\\\\u00e9"') == "\\xc3\\xa9" }
      `)
    ).toEqual(["added", true, 2, 1, true])
  })

  it("takes the last of several members of one name, and knows no exact form", () => {
    const { run } = makeModules()
    expect(run(`return json.decode('{"a":1,"a":2}').a`)).toBe(2)
    expect(run(`return json.decode('{"$float":"inf"}')["$float"]`)).toBe("inf")
    expect(run(`return json.decode('{"$map":[[1,2]]}')["$map"][1][2]`)).toBe(2)
  })

  it.each([
    ["''", /at character 0/],
    ["'{\"a\":}'", /at character 5/],
    ["'[1,2'", /at character 4/],
    ["'[1] x'", /at character 4/],
    ["'{a:1}'", /at character 1/],
    ["'nul'", /at character 0/],
    ["'01'", /at character 1/],
    ["'NaN'", /at character 0/],
    ["'\"a'", /at character 0/],
    ["'\\xff'", /argument 1 is no UTF-8/],
    ["('['):rep(17) .. (']'):rep(17)", /nested deeper than 16/],
    ["('['):rep(500000)", /nested deeper than 16/],
    ["'[' .. ('1,'):rep(20000) .. '1]'", /has more than 10000 values/],
    ["('x'):rep(524289)", /a text has at most 524288 bytes/]
  ])("raises %s with the place, at the line that asked", (text, why) => {
    const { run } = makeModules()
    expect(() => run(`\njson.decode(${text})`)).toThrow(why)
    expect(() => run(`\njson.decode(${text})`)).toThrow(/^2: json\.decode: /)
  })

  it("raises what is no text", () => {
    const { run } = makeModules()
    expect(() => run("json.decode({})")).toThrow("1: json.decode takes a text (a string), not a table")
    expect(() => run("json.decode()")).toThrow("1: json.decode takes a text (a string), not nothing")
  })
})

describe("both", () => {
  it("are each other's way back, for all that JSON has words for", { timeout: propertyTimeoutMs }, async () => {
    const { run, keyspace, vm } = makeModules()
    await forAllSeeds(300, (random) => {
      const text = anyJson(random, 4)
      keyspace.set("text", Buffer.from(text).toString("latin1"))
      const again = run('return json.encode(json.decode(cache.get("text")))') as string
      expect(JSON.parse(Buffer.from(again, "latin1").toString())).toEqual(withEmptyObjects(JSON.parse(text)))
      // What was read is written as it will be read again, and floats, also whole ones, stay floats.
      keyspace.set("text", again)
      expect(canonical(run('return json.encode(json.decode(cache.get("text")))') as string)).toBe(canonical(again))
      expect(floatsIn(again)).toBe(floatsIn(text))
    })
    vm.release()
  })

  it("are paid for before the work is done, in proportion to it", () => {
    const { run, keyspace, fuel } = makeModules()
    const fuelOf = (text: string): number => {
      keyspace.set("text", text)
      run('return json.decode(cache.get("text")) ~= nil')
      return fuel()
    }
    const short = fuelOf('"x"')
    expect(fuelOf(`"${"x".repeat(100_000)}"`) - short).toBeGreaterThan(100_000)
    expect(fuelOf(`[${"1,".repeat(4_000)}1]`) - short).toBeGreaterThan(100_000)
    expect(() => run('json.decode(cache.get("text"))', { fuelMax: 50_000 })).toThrow(
      "stopped after 50000 units of fuel"
    )
    keyspace.set("text", "x".repeat(200_000))
    expect(() => run('json.encode(cache.get("text"))', { fuelMax: 50_000 })).toThrow("stopped after 50000 units")
  })
})

const anyJson = (random: Random, depth: number): string => {
  const kind = random.below(depth > 0 ? 8 : 6)
  if (kind === 0) return String(random.between(-1_000_000, 1_000_000))
  if (kind === 1) return `${random.below(1000)}.0`
  if (kind === 2) return `${random.between(1, 999)}.${random.between(1, 9)}e${random.between(-20, 20)}`
  if (kind === 3) return random.pick(["true", "false"])
  if (kind === 4) return depth === 4 ? "1" : "null"
  if (kind === 5)
    return JSON.stringify(random.pick(["", "a", "é", "😀", '"', "\\", "\n\t\u0001", "__proto__x", "a".repeat(60)]))
  const items = Array.from({ length: random.below(5) }, () => anyJson(random, depth - 1))
  if (kind === 6) return `[${items.join(" , ")}]`
  return `{ ${items.map((item, i) => `${JSON.stringify(random.pick(["a", "é", "1"]) + i)} : ${item}`).join(",")} }`
}

/** Lua has one empty table, which is an object. */
const withEmptyObjects = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.length === 0 ? {} : value.map(withEmptyObjects)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, withEmptyObjects(item)]))
}

/** How many numbers of a text have a point or an exponent. */
const floatsIn = (text: string): number =>
  (text.match(/\d+(\.\d+)?(e[+-]?\d+)?/g) ?? []).filter((digits) => /[.e]/.test(digits)).length

/** Lua tables have no order. */
const canonical = (text: string): string => JSON.stringify(sorted(JSON.parse(text)))

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, item]) => [name, sorted(item)])
  )
}
