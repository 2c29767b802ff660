/**
 * What does a full cache lose? Every entry carries the cost of making it; a trigger adds up what is evicted.
 */
import { readFile } from "node:fs/promises"
import { Mimosa } from "mimosa-cache/promise"

const cache = new Mimosa({ maxEntries: 4 })
await cache.trigger({
  name: "eviction-monitor",
  pattern: "report:*",
  events: ["ON_EVICT"],
  source: await readFile(new URL("lua/eviction-monitor.lua", import.meta.url), "utf8")
})
cache.on("evicted", (payload) => {
  const { key, cost } = JSON.parse(payload)
  console.log(`evicted:  ${key}, which took ${cost} ms`)
})

// Milliseconds that each report took to compute.
const costs = { monday: 120, tuesday: 80, wednesday: 300, thursday: 10 }
for (const [day, cost] of Object.entries(costs)) await cache.set(`report:${day}`, `the report of ${day}`, { cost })
await cache.get("report:monday") // used again, so tuesday's is now the one that was unused longest
await cache.set("report:friday", "the report of friday", { cost: 40 }) // and the sum wants a place too: two have to go

console.log("lost:    ", await cache.get("lost:cost"), "ms of computing")
console.log("monday's:", await cache.get("report:monday"))
await cache.close()
