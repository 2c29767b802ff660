/**
 * The kernel's get and set beside bare lru-cache with the same number of entries, and beside themselves with what may be
 * switched on; then the bytes that are counted for values which are made to cost more than they seem to, beside those
 * that the heap has grown by.
 */
import { LRUCache } from "lru-cache"
import { type Input, toValue } from "../../dist/cache/index.js"
import {
  byteSize,
  Cause,
  causeBit,
  entryBytes,
  Keyspace,
  type Pattern,
  PatternTrie,
  parsePattern,
  type Value,
  type Watcher
} from "../../dist/kernel/index.js"
import { beside, heapBytes, pair, type Suite } from "./Figure.ts"

const keys = Array.from({ length: 10_000 }, (_, i) => `session:${(i * 7919) % 10_000}`)
const values = Array.from({ length: 8 }, (_, i) => `value-${i}`)
const key = (i: number): string => keys[i % keys.length] as string
const value = (i: number): string => values[i & 7] as string
/** A key as a parser makes it: a string of its own, whose hash nobody has computed. */
const fresh = (i: number): string => `session:${(i * 7919) % 10_000}`

/** `nowMs` is read where an entry has a deadline and where an event is built; the server reads it once a turn. */
export const makeKeyspace = (maxEntries = 50_000, nowMs = () => Date.now()): Keyspace =>
  new Keyspace({
    maxEntries,
    maxBytes: 1 << 30,
    clock: { nowMs },
    sink: { onEvent() {}, onSettled() {} },
    gate: { beforeWrite: () => null, beforeDelete: () => null },
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
    const figure = (id: string, ours: (i: number) => void, theirs: (i: number) => void): void =>
      report(beside(id, "lru-cache", pair(ours, theirs, { batches: 600 })))
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
    const ageing = new LRUCache<string, string>({ max: 50_000, ttl: 3_600_000 })
    for (const each of keys) {
      keyspace.set(each, "v")
      ageing.set(each, "v")
    }
    const deadlineMs = Date.now() + 3_600_000
    figure(
      "kernel.set.ttl",
      (i) => keyspace.set(key(i), value(i), deadlineMs + (i & 1023)),
      (i) => ageing.set(key(i), value(i))
    )
    figure(
      "kernel.get.ttl",
      (i) => {
        sum += keyspace.get(key(i)) === "v" ? 1 : 0
      },
      (i) => {
        sum += ageing.get(key(i)) === "v" ? 1 : 0
      }
    )
    const startMs = Date.now()
    const oneTurn = () => makeKeyspace(50_000, () => startMs)
    const plain = oneTurn()
    const changed = (id: string, change: (keyspace: Keyspace) => void): void => {
      const other = oneTurn()
      for (const each of keys) {
        other.set(each, "v")
        plain.set(each, "v")
      }
      change(other)
      const both = pair(
        (i) => other.set(key(i), value(i)),
        (i) => plain.set(key(i), value(i)),
        { batches: 600 }
      )
      report(beside(id, "without", both))
    }
    changed("kernel.set.log", ({ log }) => log.open(1_000))
    changed("kernel.set.gate.others", ({ trie }) => trie.add(watcher("other:*", Cause.beforeWrite)))
    changed("kernel.set.gate", ({ trie }) => trie.add(watcher("session:*", Cause.beforeWrite)))
    // Last, because they leave another heap behind.
    reportBytes(report)
    reportTrie(report)
    if (sum < 0) throw new Error("unreachable: keeps the reads from being optimised away")
  }
}

const watcher = (source: string, cause: Cause): Watcher => ({
  pattern: parsePattern(source) as Pattern,
  mask: causeBit(cause),
  priority: 0
})

const watchers = 10_000

/** Ten thousand watchers with prefixes of their own: registering one, its memory, and the answer for a key. */
const reportTrie = (report: Parameters<Suite["run"]>[0]): void => {
  const all = Array.from({ length: watchers }, (_, i) => watcher(`service${i}:session:*`, Cause.write))
  const filled = (): PatternTrie => {
    const trie = new PatternTrie()
    for (const each of all) trie.add(each)
    return trie
  }
  filled() // to warm up
  const before = heapBytes()
  const began = process.hrtime.bigint()
  const trie = filled()
  const ns = Number(process.hrtime.bigint() - began) / watchers
  report({ id: "kernel.watcher.add", value: ns, unit: "ns", samples: 1 })
  report({ id: "kernel.watcher.bytes", value: (heapBytes() - before) / watchers, unit: "bytes", samples: 1 })
  let mask = 0
  const asked = Array.from({ length: watchers }, (_, i) => `service${i}:session:7`)
  const {
    value: matchNs,
    samples,
    spread
  } = pair(
    (i) => {
      mask |= trie.match(asked[i % watchers] as string).mask
    },
    () => {}
  )
  report({ id: "kernel.watcher.match", value: matchNs, unit: "ns", samples, spread })
  if (mask === 0) throw new Error("nobody was found")
}

const thousand = <T>(make: (i: number) => T): T[] => Array.from({ length: 1_000 }, (_, i) => make(i))
const nested = (depth: number, around: (inside: Input) => Input): Input =>
  depth === 0 ? null : around(nested(depth - 1, around))

/** What somebody would store who wants the heap to fill before the limit is reached. */
const shapes: ReadonlyArray<readonly [name: string, make: (i: number) => Input]> = [
  ["objects", () => thousand(() => ({}))],
  ["arrays", () => thousand(() => [])],
  ["maps", () => thousand(() => new Map())],
  ["buffers", () => thousand(() => new Uint8Array(1))],
  ["doubles", () => thousand((i) => i + 0.5)],
  ["bigints", () => thousand((i) => 2n ** 200n + BigInt(i))],
  ["text", (n) => thousand((i) => String.fromCharCode(0x4e00 + i, 0x4e00 + n).repeat(20))],
  ["names", (n) => Object.fromEntries(thousand((i) => [`name-${n}-${i}`, null]))],
  ["deep", () => thousand(() => nested(14, (inside) => ({ a: inside })))]
]

/** Counted bytes beside those that the heap has grown by: a ratio from 1 to 2 is what the limit promises. */
const reportBytes = (report: Parameters<Suite["run"]>[0]): void => {
  const compare = (id: string, count: number, fill: (kept: unknown[]) => number): void => {
    fill([]) // what is made once is there
    const kept: unknown[] = []
    const before = heapBytes()
    const counted = fill(kept) / count
    const heap = (heapBytes() - before) / count
    if (kept.length === 0) throw new Error("nothing was kept")
    report({ id, value: counted, unit: "bytes", peer: "heap", peerValue: heap, ratio: counted / heap, samples: count })
  }
  for (const [name, make] of shapes) {
    compare(`kernel.bytes.${name}`, 100, (kept) => {
      let bytes = 0
      for (let i = 0; i < 100; i++) {
        const value = toValue(make(i)) as Value
        bytes += byteSize(value)
        kept.push(value)
      }
      return bytes
    })
  }
  for (const [name, ttlMs] of [
    ["entry", 0],
    ["entry.ttl", 3_600_000]
  ] as const) {
    compare(`kernel.bytes.${name}`, 50_000, (kept) => {
      const keyspace = makeKeyspace()
      const deadlineMs = ttlMs === 0 ? 0 : Date.now() + ttlMs
      for (let i = 0; i < 50_000; i++) keyspace.set(`key:${i}`, `value:${i}`, deadlineMs)
      kept.push(keyspace)
      if (keyspace.bytes < 50_000 * entryBytes) throw new Error("entries are not counted")
      return keyspace.bytes
    })
  }
}
