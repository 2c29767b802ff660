/** The kernel's get and set beside bare lru-cache with the same number of entries. */
import { LRUCache } from "lru-cache"
import { Keyspace } from "../../dist/kernel/index.js"
import { pair, type Suite } from "./Figure.ts"

const keys = Array.from({ length: 10_000 }, (_, i) => `session:${(i * 7919) % 10_000}`)
const values = Array.from({ length: 8 }, (_, i) => `value-${i}`)
const key = (i: number): string => keys[i % keys.length] as string
const value = (i: number): string => values[i & 7] as string
/** A key as a parser makes it: a string of its own, whose hash nobody has computed. */
const fresh = (i: number): string => `session:${(i * 7919) % 10_000}`

export const makeKeyspace = (maxEntries = 50_000): Keyspace =>
  new Keyspace({
    maxEntries,
    maxBytes: 1 << 30,
    clock: { nowMs: () => Date.now() },
    sink: { onEvent() {}, onSettled() {} },
    wake() {}
  })

export const suite: Suite = {
  name: "kernel",
  run(report) {
    const keyspace = makeKeyspace()
    const bare = new LRUCache<string, string>({ max: 50_000 })
    for (const each of keys) {
      keyspace.set(each, "v")
      bare.set(each, "v")
    }
    let sum = 0
    const figure = (id: string, ours: (i: number) => void, theirs: (i: number) => void, batches = 300): void => {
      const { value, peerValue, ratio, samples, spread } = pair(ours, theirs, { batches })
      report({ id, value, unit: "ns", peer: "lru-cache", peerValue, ratio, samples, spread })
    }
    figure(
      "kernel.set",
      (i) => keyspace.set(key(i), value(i)),
      (i) => bare.set(key(i), value(i))
    )
    figure(
      "kernel.set.fresh",
      (i) => keyspace.set(fresh(i), value(i)),
      (i) => bare.set(fresh(i), value(i))
    )
    figure(
      "kernel.get",
      (i) => {
        sum += keyspace.get(key(i)) === "v" ? 1 : 0
      },
      (i) => {
        sum += bare.get(key(i)) === "v" ? 1 : 0
      }
    )
    figure(
      "kernel.set.new",
      (i) => keyspace.set(`new:${i}`, "v"),
      (i) => bare.set(`new:${i}`, "v")
    )
    for (const each of keys) keyspace.set(each, "v")
    const deadlineMs = Date.now() + 3_600_000
    figure(
      "kernel.set.ttl",
      (i) => keyspace.set(key(i), value(i), deadlineMs + (i & 1023)),
      (i) => bare.set(key(i), value(i))
    )
    if (sum < 0) throw new Error("unreachable: keeps the reads from being optimised away")
  }
}
