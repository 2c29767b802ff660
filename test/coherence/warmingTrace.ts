/**
 * What warming does on a day of reads and writes, in virtual time from a seed: one instance that reads, with its real
 * entries, and others that write. Reads follow Zipf's law; of the writes a share goes to keys that are read much, the
 * rest to keys of the long tail, which somebody reads now and then. A miss and a fetch take `fetchMs` each.
 */

import { Op } from "../../src/coherence/protocol/Frame.ts"
import { Warming, type WarmingMode, type WarmingSettings } from "../../src/coherence/Warming.ts"
import { EntrySource } from "../../src/kernel/Keyspace.ts"
import { noMeta } from "../../src/kernel/Value.ts"
import { Random } from "../support/Random.ts"
import { ground } from "./Ground.ts"

export interface Trace {
  readonly seed: number
  readonly seconds: number
  readonly keys: number
  readonly readsPerSecond: number
  readonly writesPerSecond: number
  /** Writes of the `hotKeys` that are read most; the others go anywhere. */
  readonly hotShare: number
  readonly hotKeys: number
  /** Writes of one key come in bursts of so many, 2 ms apart. */
  readonly burst: number
  readonly valueBytes: number
  readonly fetchMs: number
}

export const traceDefault: Trace = {
  seed: 1,
  seconds: 300,
  keys: 20_000,
  readsPerSecond: 1_000,
  writesPerSecond: 100,
  hotShare: 0.3,
  hotKeys: 200,
  burst: 1,
  valueBytes: 500,
  fetchMs: 2
}

export interface Outcome {
  readonly mode: WarmingMode
  readonly reads: number
  readonly misses: number
  /** Reads that found a key which was fetched before they asked, first ones only: misses less. */
  readonly gained: number
  readonly fetched: number
  /** Of warming and of misses together. */
  readonly bytes: number
  readonly stats: Warming["stats"]
}

export const gainedPerFetch = ({ gained, fetched }: Outcome): number => (fetched === 0 ? 0 : gained / fetched)

export const runTrace = (
  mode: WarmingMode,
  some: Partial<Trace> = {},
  settings: Partial<WarmingSettings> = {}
): Outcome => {
  const trace = { ...traceDefault, ...some }
  const random = new Random(trace.seed)
  const { entries, clock, share, instance } = ground(1)
  const { keyspace } = share("", { maxEntries: 100_000, maxBytes: 1e9 })
  const beganMs = clock.atMs
  const agenda = new Agenda()
  const value = "v".repeat(trace.valueBytes)
  const keys = Array.from({ length: trace.keys }, (_, rank) => `key:${rank}`)
  const hashes = keys.map((key) => entries.hashOf(keyspace, key))
  const byHash = new Map(keys.map((key, rank) => [key, rank]))
  const versions = new Float64Array(trace.keys).fill(1)
  const writer = 2
  let misses = 0
  let reads = 0

  /** Whatever is written meanwhile revokes the lease, as over a network. */
  const bring = (key: string, done: () => void): void => {
    const lease = keyspace.lease(key)
    const rank = byHash.get(key) as number
    agenda.add(clock.atMs + trace.fetchMs, () => {
      lease.stamp = versions[rank] as number
      lease.writer = writer
      keyspace.fill(lease, value, 0, noMeta, EntrySource.copied)
      done()
    })
  }
  const warming = new Warming(
    {
      nowMs: clock.nowMs,
      after: (ms, action) => agenda.add(clock.atMs + ms, action),
      fill: (_, key, done) => bring(key, done)
    },
    { ...settings, mode }
  )
  if (mode !== "never") entries.watch(warming)

  const write = (rank: number): void => {
    const version = ++instance.lamport
    versions[rank] = version
    entries.apply(Op.key, hashes[rank] as number, version, writer, 0)
  }
  const zipf = zipfOf(trace.keys)
  const pause = (perSecond: number): number => (-Math.log(1 - random.next()) * 1_000) / perSecond
  const endMs = beganMs + trace.seconds * 1_000
  const read = (): void => {
    reads++
    const key = keys[zipf(random.next())] as string
    if (keyspace.get(key) === undefined) {
      misses++
      bring(key, () => {})
    }
    agenda.add(clock.atMs + pause(trace.readsPerSecond), read)
  }
  const writeSome = (): void => {
    const rank = random.next() < trace.hotShare ? random.below(trace.hotKeys) : random.below(trace.keys)
    for (let n = 0; n < trace.burst; n++) agenda.add(clock.atMs + 2 * n, () => write(rank))
    agenda.add(clock.atMs + pause(trace.writesPerSecond / trace.burst), writeSome)
  }
  agenda.add(beganMs, read)
  agenda.add(beganMs, writeSome)
  for (let next = agenda.take(); next !== undefined && next.atMs < endMs; next = agenda.take()) {
    clock.atMs = next.atMs
    next.action()
  }
  const { gained, fetched } = warming.stats
  return { mode, reads, misses, gained, fetched, bytes: (misses + fetched) * trace.valueBytes, stats: warming.stats }
}

/** A rank for each number from 0 to 1: rank r as often as 1 / (r + 1). */
const zipfOf = (ranks: number): ((at: number) => number) => {
  const sums = new Float64Array(ranks)
  let sum = 0
  for (let rank = 0; rank < ranks; rank++) {
    sum += 1 / (rank + 1)
    sums[rank] = sum
  }
  return (at) => {
    let [low, high] = [0, ranks - 1]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((sums[middle] as number) > at * sum) high = middle
      else low = middle + 1
    }
    return low
  }
}

interface Due {
  readonly atMs: number
  readonly order: number
  readonly action: () => void
}

/** What is to happen, earliest first; of two at one time the one that was added first. A binary heap. */
class Agenda {
  private readonly heap: Due[] = []
  private order = 0

  add(atMs: number, action: () => void): void {
    const due = { atMs, order: this.order++, action }
    const { heap } = this
    let at = heap.push(due) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!isBefore(due, heap[above] as Due)) break
      heap[at] = heap[above] as Due
      at = above
    }
    heap[at] = due
  }

  take(): Due | undefined {
    const { heap } = this
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && isBefore(heap[below + 1] as Due, heap[below] as Due)) below++
      if (!isBefore(heap[below] as Due, last)) break
      heap[at] = heap[below] as Due
      at = below
    }
    heap[at] = last
    return first
  }
}

const isBefore = (a: Due, b: Due): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
