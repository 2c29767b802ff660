/**
 * How long a client waits for its answer when the trigger does all it can to hold it: milliseconds beyond the soft limit,
 * of the scripts below and of all attacks that the tests know.
 *
 * `hostile.answer.worst` is the slowest script's median; `hostile.answer.p90` is of all runs of all of them, with their p50
 * and p99 as its spread. The p99 is what the machine's other processes make it: they take a core for milliseconds.
 */
import { readdirSync, readFileSync } from "node:fs"
import { makeEngine } from "./engine.ts"
import { ascending, quantile, type Suite } from "./Figure.ts"

const scripts: ReadonlyArray<readonly [name: string, source: string]> = [
  ["loop", "while true do end"],
  ["pcall", "while true do pcall(function() while true do end end) end"],
  ["rep", 'return string.rep("x", 1e9)'],
  ["table", "local t = {} while true do t[#t + 1] = {} end"],
  ["find", 'return string.find(string.rep("a", 3000), ".-.-.-.-b")'],
  ["xpcall", "xpcall(error, function() while true do end end)"],
  ["sort", "table.sort({3, 2, 1, 5, 4}, function() while true do end end)"],
  ["coroutine", "coroutine.wrap(function() while true do end end)()"],
  ["gsub", 'return ("x"):gsub("x", function() while true do end end)'],
  ["close", "local x <close> = setmetatable({}, { __close = function() while true do end end })"],
  ["tostring", "return tostring(setmetatable({}, { __tostring = function() while true do end end }))"],
  ["compare", "local m = { __lt = function() while true do end end } return setmetatable({}, m) < setmetatable({}, m)"],
  ["move", "return table.move({}, 1, 1e9, 2)"],
  ["load", "return load(function() return ' ' end)"],
  ["recursion", "local function f() return pcall(f) end while true do f() end"],
  ["decode", "local t = {} for i = 1, 3000 do t[i] = i end while true do cache.emit('c', t) end"],
  ["index", "local t = setmetatable({}, {__index = function(t, k) while true do end end}) return t.x"]
]

const softMs = 0.1
const runs = 60

const attacksFolder = new URL("../sandbox/attacks/", import.meta.url)
const attackRuns = 20

export const suite: Suite = {
  name: "hostile",
  run(report, say) {
    const all: number[] = []
    let worst: readonly [ms: number, name: string] = [0, ""]
    const measure = (name: string, source: string, count: number): readonly number[] => {
      const times = answersTo(name, source, count)
      all.push(...times)
      const median = quantile(times, 0.5)
      if (median > worst[0]) worst = [median, name]
      return times
    }
    for (const [name, source] of scripts) {
      const times = measure(name, source, runs)
      report({
        id: `hostile.${name}`,
        value: quantile(times, 0.5),
        unit: "ms",
        samples: runs,
        spread: [quantile(times, 0.1), quantile(times, 0.9)]
      })
    }
    const attacks = readdirSync(attacksFolder).sort()
    say(`${attacks.length} attacks of test/sandbox/attacks`)
    for (const file of attacks) measure(file, readFileSync(new URL(file, attacksFolder), "latin1"), attackRuns)
    say(`the slowest of all: ${worst[1]}`)
    const sorted = ascending(all)
    const spread = [quantile(sorted, 0.5), quantile(sorted, 0.99)] as const
    report({ id: "hostile.answer.worst", value: worst[0], unit: "ms", samples: attacks.length + scripts.length })
    report({ id: "hostile.answer.p90", value: quantile(sorted, 0.9), unit: "ms", samples: sorted.length, spread })
  }
}

/** Milliseconds beyond the soft limit of each of `count` sets, after as many to warm up, ascending. */
const answersTo = (name: string, source: string, count: number): number[] => {
  const times: number[] = []
  const { keyspace, trigger, log } = makeEngine()
  for (let i = 0; i < count * 2; i++) {
    if (i % 5 === 0) trigger({ name, pattern: "session:*", source }) // anew, before its kills take it out
    const beganMs = performance.now()
    const isStored = keyspace.set("session:1", String(i))
    const ms = performance.now() - beganMs
    if (!isStored || keyspace.peek("session:1")?.value !== String(i)) throw new Error(`${name}: the set was lost`)
    if (i >= count) times.push(ms - softMs)
  }
  const skipped = log.recent(1).find(({ kind }) => kind === "skipped:quarantined")
  if (skipped !== undefined) throw new Error(`${name} was not run`)
  return ascending(times)
}
