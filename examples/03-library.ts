/**
 * Mimosa as Effect layers: a cache with a trigger inside a program of your own, no server, no port.
 */
import { readFileSync } from "node:fs"
import { Effect } from "effect"
import { Bus, Cache, Mimosa, Triggers } from "mimosa-cache"

const source = readFileSync(new URL("lua/price-watch.lua", import.meta.url), "utf8")

const program = Effect.gen(function* () {
  const cache = yield* Cache
  const triggers = yield* Triggers
  const bus = yield* Bus

  const seen: string[] = []
  bus.subscribe("price:changed", { onMessage: (_channel, payload) => void seen.push(payload) })

  yield* triggers.set({ name: "price-watch", pattern: "price:*", events: ["ON_WRITE"], source })

  yield* cache.set("price:apple", "3")
  yield* cache.set("price:apple", "4")
  // The trigger has run when `set` returns: its write is there, its message was delivered.
  console.log("emitted:   ", seen)
  console.log("it wrote:  ", cache.unsafeGet("last:price:apple"))

  const report = yield* triggers.test(
    { name: "price-watch" },
    { event: "ON_WRITE", key: "price:pear", value: "2", oldValue: "1" }
  )
  console.log("a dry run: ", report.emits, "and nothing changed:", cache.peek("last:price:pear") === undefined)

  const [info] = yield* triggers.list
  console.log("statistics:", { runs: info?.runs, writes: info?.writes, emits: info?.emits })
})

await program.pipe(Effect.provide(Mimosa.layer()), Effect.runPromise)
