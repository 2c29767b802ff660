/** How long a client waits for its answer when the trigger does all it can to hold it: milliseconds beyond the soft limit. */
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

export const suite: Suite = {
  name: "hostile",
  run(report) {
    let worst = 0
    for (const [name, source] of scripts) {
      const times: number[] = []
      const { keyspace, trigger, log } = makeEngine()
      for (let i = 0; i < runs * 2; i++) {
        if (i % 5 === 0) trigger({ name, pattern: "*", source }) // anew, before its kills take it out
        const beganMs = performance.now()
        const isStored = keyspace.set("session:1", String(i))
        const ms = performance.now() - beganMs
        if (!isStored || keyspace.peek("session:1")?.value !== String(i)) throw new Error(`${name}: the set was lost`)
        if (i >= runs) times.push(ms - softMs)
      }
      if (log.total === 0) throw new Error(`${name} ended by itself`)
      const sorted = ascending(times)
      const value = quantile(sorted, 0.5)
      worst = Math.max(worst, quantile(sorted, 0.9))
      report({
        id: `hostile.${name}`,
        value,
        unit: "ms",
        samples: runs,
        spread: [quantile(sorted, 0.1), quantile(sorted, 0.9)]
      })
    }
    report({ id: "hostile.answer.over.soft", value: worst, unit: "ms", samples: runs * scripts.length })
  }
}
