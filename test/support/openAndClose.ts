/**
 * A program of its own: opens a Mimosa, leaves it with everything that could keep a program alive (deadlines far away, a
 * webhook whose receiver does not answer yet, a subscriber), closes it, says so, and is expected to end by itself.
 */
import { Mimosa } from "../../src/promise.ts"

const [dataDir = "", url = ""] = process.argv.slice(2)
const cache = new Mimosa({ dataDir, egressAllow: ["127.0.0.1"] })
await cache.trigger({
  name: "hook",
  pattern: "*",
  events: ["ON_WRITE"],
  source: `cache.webhook("${url}", { key = event.key }) cache.log("written") cache.emit("x", event.key)`
})
cache.on("x", (key) => console.log(`heard ${key}`))
await cache.set("k", "v", { ttl: "1 hour" })
await cache.set("l", "v", { ttl: "30 days" })
await cache.close()
console.log("closed")
