import { readdirSync, readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { LuaVm } from "../../src/sandbox/index.ts"
import { type Expression, parseLua } from "../../src/sandbox/LuaParser.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"
import { hostileProgram } from "./HostileLua.ts"

/** An expression in short, so that expectations can be read. */
const short = (at: Expression): string => {
  switch (at.kind) {
    case "string":
      return JSON.stringify(at.text)
    case "number":
      return at.text
    case "name":
      return at.local === null ? at.name : `${at.name}#${at.local.value === null ? "" : short(at.local.value)}`
    case "index":
      return `${short(at.of)}[${short(at.key)}]`
    case "call":
      return `${short(at.callee)}(${at.args.map(short)})`
    case "method":
      return `${short(at.of)}:${at.name}(${at.args.map(short)})`
    case "binary":
      return `(${short(at.left)}${at.operator}${short(at.right)})`
    case "table":
      return `{${at.items.map(short)};${at.keys.map(short)}}`
    case "other":
      return `<${at.parts.map(short)}>`
  }
}

const expressionsOf = (source: string): string | undefined => parseLua(source)?.expressions.map(short).join(" ")

describe("the functions of a source", () => {
  it.each([
    ["function main() end function check(a) return a end", ["main", "check"]],
    ["main = function() end other = 5 a, b = 1, function() end", ["main", "b"]],
    ["local function hidden() end local x = function() end function t.m() end function t:n() end", []],
    ["function outer() inner = function() end function deep() end end", ["outer"]],
    ["if x then function main() end end main = nil function main() end", ["main"]],
    ["local main function main() end", []]
  ])("are the globals that its chunk defines: %s", (source, functions) => {
    expect([...(parseLua(source)?.functions ?? ["no Lua"])]).toEqual(functions)
  })
})

describe("a source", () => {
  it.each([
    ["f(1)", "f(1)"],
    ["f'a' f{1, x = 2} f[[b]]", 'f("a") f({1;"x",2}) f("b")'],
    ["a.b['c'].d:e(1, 2)", 'a["b"]["c"]["d"]:e(1,2)'],
    [
      "return a .. b .. c == d and e or f",
      "((((a..(b..c))==d)and e)or f)".replace("and e", "ande").replace("or f", "orf")
    ],
    ["return 2 ^ 3 ^ 4, -x ^ 2, not a == b", "(2^(3^4)) <(x^2)> (<a>==b)"],
    ["return 1 + 2 * 3 // 4 << 5 & 6 | 7 ~ 8", "((((1+((2*3)//4))<<5)&6)|(7~8))"],
    ["local x = 1 return x", "x#1"],
    ["local x = 1 do local x = 2 f(x) end f(x)", "f(x#2) f(x#1)"],
    ["local x = x return x", "x#x"],
    ["local a, b = 1 return a, b", "a#1 b#"],
    ["local a <const>, b <close> = 1, 2 return b", "b#2"],
    ["function f(x, ...) return x, y end", "x# y"],
    ["local function f() return f end", "f#"],
    ["function a.b:c() return self end", "self#"],
    ["for i = 1, 2 do f(i) end f(i)", "1 2 f(i#) f(i)"],
    ["for k, v in pairs(t) do f(k) end", "pairs(t) f(k#)"],
    ["repeat local done = 1 until done", "done#1"],
    ["while a do break end if b then c() elseif d then e() else g() end", "a b c() d e() g()"],
    ["goto l ::l:: ; ; return", ""],
    ["x, y.z = f()", "f()"],
    ["return 'a\\n', [[\nb]], \"it's\"", 'null null "it\'s"'],
    ["-- nothing\n--[==[ x() ]] ]==] y()", "y()"]
  ])("%j holds %s", (source, expected) => {
    expect(expressionsOf(source)).toBe(expected)
  })

  it("tells which locals are assigned to, and what else is", () => {
    const parsed = parseLua("local a, b = 1, 2 a = 3 c, d.e = b, 4 function g() b = 5 end")
    expect(parsed?.locals.map(({ name, isAssigned }) => [name, isAssigned])).toEqual([
      ["a", true],
      ["b", true]
    ])
    expect(parsed?.targets.map(short)).toEqual(["c", 'd["e"]', "g"])
  })

  it("tells whether it uses the chunk's own arguments", () => {
    expect(parseLua("local e = ...")?.usesArguments).toBe(true)
    expect(parseLua("function f(...) return ... end")?.usesArguments).toBe(false)
  })

  it.each(["x", "f(", "local = 1", "if a then", "return 1 2", "end", "f() = 1 +", `return ${"(".repeat(5_000)}`])(
    "%j is no Lua",
    (source) => {
      expect(parseLua(source)).toBeUndefined()
    }
  )

  it("is understood when Lua understands it", () => {
    const folder = new URL("attacks/", import.meta.url)
    const vm = new LuaVm({ fields: ["key"] })
    for (const file of readdirSync(folder)) {
      const source = readFileSync(new URL(file, folder), "latin1")
      const definition = vm.define(file, source)
      if (!definition.ok) continue
      vm.remove(definition.program)
      expect(parseLua(source), file).toBeDefined()
    }
  })

  it("is understood when Lua understands it, whatever it is", { timeout: propertyTimeoutMs }, async () => {
    const vm = new LuaVm({ fields: ["key"] })
    await forAllSeeds(1_500, (random) => {
      const source = hostileProgram(random)
      const definition = vm.define("random", source)
      if (!definition.ok) return
      vm.remove(definition.program)
      if (parseLua(source) === undefined) throw new Error(`not understood: ${source}`)
    })
  })
})
