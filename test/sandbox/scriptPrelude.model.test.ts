/**
 * What is Lua's own in a machine for triggers and ours in one for scripts behaves alike: random calls, in both. And a
 * script that is suspended at every turn ends as one that never is.
 */
import { describe, expect, it } from "vitest"
import { LuaVm, RunStatus, ScriptStep } from "../../src/sandbox/index.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { finish, makeScript } from "./scriptSupport.ts"
import { define, fields, limits, stillClock } from "./support.ts"

const quiet = { host: { wait: () => {} } }

const owned = new LuaVm({ fields, clock: stillClock, hostTables: quiet })

/** What the machine for triggers answers: the results as text, or the message. */
const inC = (body: string): unknown => {
  const program = define(owned, body)
  const status = owned.evaluate(program, { ...limits, fuelMax: 5_000_000, bytesMax: 1 << 20 })
  const outcome = status === RunStatus.ok ? owned.lastResult : owned.lastError.message
  owned.remove(program)
  return outcome
}

const inLua = (body: string, sliceFuel: number): unknown =>
  finish(makeScript(`function main()\n${body}\nend`, { hostTables: quiet }), "main", [], { sliceFuel, fuelMax: 1e9 })
    .result

/** Evaluates to an array of the results' texts; errors without positions, and `no value` as nil, which ours pass on. */
const asText = (call: string): string => `
local function text(isOk, ...)
  local all = { tostring(isOk) }
  for i = 1, select("#", ...) do all[i + 1] = tostring((select(i, ...))):gsub("%w+:%d+: ", ""):gsub("no value", "nil") end
  return all
end
return text(pcall(function() ${call} end))`

const subjects = [
  "''",
  "'a'",
  "'hello world'",
  "'aaa'",
  "'a,b,,c'",
  "'x = 1, y = 2'",
  "('ab'):rep(20)",
  "12",
  "'\\0a\\0'"
]
const patterns = [
  "''",
  "'a'",
  "'a*'",
  "'a-'",
  "'.'",
  "'%w+'",
  "'(%w)(%w)'",
  "'()'",
  "'(a)()'",
  "'^a'",
  "'^'",
  "'$'",
  "'a$'",
  "'%f[%w]%w+'",
  "'(%w+) = (%w+)'",
  "'%b  '",
  "'[^,]*'",
  "','",
  "'%s*'",
  "'(a*(.)%w(%s*))'",
  "'^%s*(.-)%s*$'",
  "'%'",
  "'('",
  "'[a'",
  "'%1'"
]
const replacements = [
  "'<%0>'",
  "'%1'",
  "'%%'",
  "'%9'",
  "1",
  "function(...) return table.concat({ ... }, '|') end",
  "function() end",
  "function(a) return false end",
  "function(a) return 1.5 end",
  "function(a) return {} end",
  "function(a) error('oops') end",
  "{ a = 'A', hello = 1, x = false }",
  "setmetatable({}, { __index = function(_, k) return k .. k end })",
  "{ a = {} }",
  "function(a, b) return b end",
  "nil",
  "true",
  "print"
]
const counts = ["", "", "", ", 0", ", 1", ", 2", ", -1", ", 1.5", ", 'x'", ", '2'", ", nil"]

const gsubCall = (random: Random): string =>
  `return string.gsub(${random.pick(subjects)}, ${random.pick(patterns)}, ${random.pick(replacements)}${random.pick(counts)})`

const orders = ["", ", nil", ", function(a, b) return a > b end", ", function(a, b) return a < b end"]

const sortCall = (random: Random): string => {
  const items = Array.from({ length: random.below(40) }, () => String(random.below(30) - 10))
  if (random.oneIn(8)) items.push("'text'")
  return `local t = { ${items.join(", ")} } table.sort(t${random.pick(orders)}) return table.concat(t, ' ')`
}

const otherCall = (random: Random): string =>
  random.pick([
    "return table.concat({ 1, 2, {}, 4 })",
    "return table.concat({ 1, 2, 3 }, ', ', 2, 3)",
    "return table.concat({}, ', ', 1, 2)",
    "return table.concat('x')",
    "return tostring(), 1",
    "return tostring(nil), tostring(1.0), tostring(true)",
    "return tostring(setmetatable({}, { __tostring = function() return 'mine' end }))",
    "return tostring(setmetatable({}, { __tostring = function() return 5 end }))",
    "return tostring(setmetatable({}, { __tostring = function() return {} end }))",
    "return tostring(setmetatable({}, { __tostring = function() error('no') end }))",
    "local n = 0 return load(function() n = n + 1 return ({ 'return ', 1, '+ 1' })[n] end)()",
    "return load(function() error('no') end)",
    "return load(function() return {} end)",
    "return load('return x', 'n', 't', { x = 7 })()",
    "return load('x = = 1', '=n')",
    "return load('\\27Lua', 'n', 'b')",
    "return load('return ...')(1, 2)",
    "return ('x'):gsub('x', { x = 'y' })",
    "return table.sort(5)",
    "return table.sort({ 1, 2 }, 5)",
    "return table.sort({ 1, {} })",
    "return string.gsub()",
    "return string.gsub('a')",
    "return string.gsub({}, 'a', function() end)",
    "local co = coroutine.create(error) return coroutine.resume(co, 'x')",
    "return coroutine.wrap(function() return coroutine.isyieldable() end)()",
    "local w = coroutine.wrap(function() return 1 end) w() return w()",
    "local w w = coroutine.wrap(function() return w() end) return w()",
    "return coroutine.wrap(function() local x <close> = setmetatable({}, { __close = function() error('b') end }) error('a') end)()",
    "return coroutine.resume(1)",
    "return coroutine.wrap(5)"
  ])

/** Strings and tables around the sizes from which on they are taken in pieces. */
const longCall = (random: Random): string => {
  const size = () => random.pick([0, 1, 7, 1023, 1365, 1366, 2048, 4096, 4097, 8191, 8192, 12_000])
  switch (random.below(4)) {
    case 0: {
      const separator = random.pick(["", "", ", ','", ", ''", ", 'and'", ", nil"])
      return `return (${random.pick(["''", "'a'", "'abc'", "'hello world'", "5"])}):rep(${size()}${separator})`
    }
    case 1:
      return `local s = ('aB<c> %d&'):rep(${size()}) return s:${random.pick(["upper", "lower", "reverse"])}()`
    case 2: {
      const pattern = random.pick(["'a'", "'%a'", "'%p'", "'[<>&]'", "'[^%s<]'", "'.'", "'%%'", "'%f'", "'%b'", "'[a'"])
      const replacement = random.pick([
        "'<%0>'",
        "''",
        "'%1'",
        "'%'",
        "{ a = 1, ['<'] = '&lt;', c = false }",
        "{ d = {} }"
      ])
      return `local s = ('aB<c> %d&'):rep(${Math.floor(size() / 4)}) return s:gsub(${pattern}, ${replacement})`
    }
    default: {
      const first = random.between(1, 500)
      const to = random.pick(["", ", {}", ", t"])
      const [last, at] = [first + random.between(990, 2100), random.between(1, 2500)]
      return `local t = {} for i = 1, ${random.pick([900, 3000])} do t[i] = i end
        local moved = table.move(t, ${first}, ${last}, ${at}${to})
        local all = {} for k, v in pairs(moved) do all[#all + 1] = k * 10000 + v end
        table.sort(all) return table.concat(all, ' '), moved == t`
    }
  }
}

const roomy = { fuelMax: 50_000_000, bytesMax: 4 << 20 }

describe("a function that scripts have from us", () => {
  it(
    "does in pieces what Lua's own does at once",
    () =>
      forAllSeeds(60, (random) => {
        const call = `local function answer(isOk, value, more)
          if isOk then return { value, tostring(more) } end
          return { (value:gsub("%w+:%d+: ", "")) }
        end
        return answer(pcall(function() ${longCall(random)} end))`
        const program = define(owned, call)
        const status = owned.evaluate(program, { ...limits, ...roomy })
        const expected = status === RunStatus.ok ? owned.lastResult : owned.lastError.message
        owned.remove(program)
        const { result } = finish(makeScript(`function main()\n${call}\nend`, { hostTables: quiet }), "main", [], {
          sliceFuel: random.pick([5_000, 1e9]),
          ...roomy
        })
        expect({ call, outcome: result }).toEqual({ call, outcome: expected })
      }),
    propertyTimeoutMs
  )

  it(
    "answers what Lua's own answers, and refuses what it refuses, suspended or not",
    async () => {
      await forAllSeeds(40, (random) => {
        const call = random.pick([gsubCall, gsubCall, sortCall, otherCall])(random)
        const expected = inC(asText(call))
        expect({ call, outcome: inLua(asText(call), 10_000_000) }).toEqual({ call, outcome: expected })
        expect({ call, outcome: inLua(asText(call), 50) }).toEqual({ call, outcome: expected })
      })
    },
    propertyTimeoutMs
  )

  it("sorts what is long, whatever its order was", () => {
    const vm = makeScript(`
      function main(kind, n)
        local t = {}
        for i = 1, n do
          t[i] = kind == "up" and i or kind == "down" and n - i or kind == "same" and 1 or math.random(1, n)
        end
        local other = table.move(t, 1, n, 1, {})
        table.sort(t)
        table.sort(other, function(a, b) return a > b end)
        for i = 2, n do if t[i - 1] > t[i] or other[i - 1] < other[i] or t[i] ~= other[n + 1 - i] then return i end end
        return "sorted"
      end`)
    for (const kind of ["up", "down", "same", "random"]) {
      for (const n of [255, 256, 257, 3000]) {
        expect([kind, n, finish(vm, "main", [kind, n], { fuelMax: 1e9 }).result]).toEqual([kind, n, "sorted"])
      }
    }
  })

  it("finds an order that is none, or ends", () => {
    const vm = makeScript(
      "function main(n) local t = {} for i = 1, n do t[i] = i end table.sort(t, function() return true end) end"
    )
    for (const n of [4, 5, 10, 1000]) {
      const { step, result } = finish(vm, "main", [n])
      expect([step, result]).toEqual([ScriptStep.error, "invalid order function for sorting"])
    }
  })

  it("joins what is long as what is short", () => {
    const source = "function main(n) local t = {} for i = 1, n do t[i] = i end return table.concat(t, ',') end"
    for (const n of [999, 1000, 1001, 2000, 5001]) {
      const expected = Array.from({ length: n }, (_, i) => i + 1).join(",")
      expect(finish(makeScript(source), "main", [n]).result).toBe(expected)
    }
  })
})
