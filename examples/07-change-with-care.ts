/**
 * Changing a trigger without fear: the new version is tried on what has happened, then runs beside the live one without
 * consequences, then takes over, and can go back. A guard keeps out what none of them should ever see.
 */
import { Mimosa } from "mimosa-cache/promise"

const cache = new Mimosa({ eventLog: 100 }) // the last hundred events are kept for dry runs
cache.on("reorder", (payload) => console.log("reorder: ", payload))

await cache.trigger({
  name: "guard",
  pattern: "stock:*",
  events: ["BEFORE_WRITE"],
  source: 'if event.value < 0 then cache.reject("a stock is not below zero") end'
})
await cache.trigger({
  name: "reorder",
  pattern: "stock:*",
  events: ["ON_WRITE"],
  source: 'if event.value < 10 then cache.emit("reorder", event.key) end'
})

const sell = (item: string, left: number) =>
  cache.set(`stock:${item}`, left).catch((error) => console.log("refused: ", error.message))
for (const left of [12, 9, 8]) await sell("tea", left)
for (const left of [4, -1]) await sell("rice", left)

// It tells of every sale below ten. Once is enough: when the stock falls below ten.
const once = 'if event.value < 10 and event.old_value >= 10 then cache.emit("reorder", event.key) end'
const first = await cache.tryTriggerOnHistory({ name: "reorder", source: once })
console.log("history: ", first.sum.failed, "of", first.matched, "runs failed:", first.runs.at(-1)?.report.error)

// The first rice had no old value. So:
const better = once.replace("event.old_value", "(event.old_value or 10)")
const { sum, current } = await cache.tryTriggerOnHistory({ name: "reorder", source: better })
console.log("history: ", sum.failed, "failed,", sum.emits, "messages instead of", current?.emits)

await cache.shadowTrigger("reorder", { source: better })
for (const left of [7, 30, 6]) await sell("tea", left)
const { shadow } = await cache.triggerInfo("reorder")
console.log("shadow:  ", shadow?.emits, "message on", shadow?.runs, "writes")

await cache.promoteShadow("reorder")
await sell("tea", 5)
console.log("promoted: 5 are left, and nobody is told again")

const { version } = await cache.rollbackTrigger("reorder")
console.log("rollback: version", version, "of", (await cache.triggerVersions("reorder")).versions.length)
await cache.close()
