/**
 * What one inline trigger adds to a set: by what it reads and does, by how many are registered, and beside the same
 * function through wasmoon's public engine.
 *
 * A p50 is the median, over pairs of short blocks, of what a set with the trigger takes more than one without. A p99 is of
 * single operations, each timed by itself: the slowest of a hundred sets with the trigger, less the median set without it
 * timed in the same way, so that the tail of the set itself, of the clock, of collections and of pre-emption all count
 * against the trigger. It is taken in rounds, of which the median counts. A scavenge comes about once in 50,000 sets: it is
 * in the p999, which is there for orientation.
 *
 * Ten thousand triggers are moved from one keyspace to its twin and back between the blocks that are compared, so that
 * which of the two lies better in memory does not matter.
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, ManagedRuntime } from "effect"
import { LuaFactory } from "wasmoon"
import { layer } from "../../dist/App.js"
import { type TriggerInput, Triggers } from "../../dist/triggers/index.js"
import { makeEngine } from "./engine.ts"
import {
  ascending,
  type BlockTimes,
  beside,
  collect,
  medians,
  type Paired,
  pairs,
  quantile,
  type Suite,
  timeSingles
} from "./Figure.ts"

const keyCount = 10_000
const keys = Array.from({ length: keyCount }, (_, i) => `session:${(i * 7919) % keyCount}`)
const values = Array.from({ length: 16 }, (_, i) => `value-${i}`)
const key = (i: number): string => keys[i % keyCount] as string
const value = (i: number): string => values[i & 15] as string

type Engine = ReturnType<typeof makeEngine>
type Report = Parameters<Suite["run"]>[0]

const filled = (): Engine => {
  const engine = makeEngine()
  for (const each of keys) engine.keyspace.set(each, "v")
  return engine
}

const set =
  ({ keyspace }: Engine) =>
  (i: number) =>
    keyspace.set(key(i), value(i))

const threeFields = "if event.value ~= event.old_value and event.key then return 1 end"

const sources: ReadonlyArray<readonly [id: string, source: string]> = [
  ["trigger.fields0", "return"],
  ["trigger.fields1", "local changed = event.value == 'value-3'"],
  ["trigger.fields3", threeFields],
  ["trigger.get", "local other = cache.get('session:1')"],
  ["trigger.set", "cache.set('other', event.value)"],
  ["trigger.emit", "cache.emit('changed', event.key)"]
]

export const suite: Suite = {
  name: "trigger",
  async run(report, say) {
    const bare = filled()
    for (const [id, source] of sources) {
      say(id)
      reportOne(report, bare, id, source)
    }
    say("trigger.wasmoon")
    await reportWasmoon(report, bare)
    say(`${crowdSize} triggers: their memory, matching none, matching one`)
    reportMemory(report)
    reportCrowd(report)
    say(`${crowdSize} triggers through the service, saved in a data directory; then 200 that wait for each other`)
    const ms = await registering(crowdSize, 2_500)
    report({ id: `trigger.register${crowdSize}`, value: ms, unit: "ms", samples: 1 })
    const waiting = 200
    report({
      id: "trigger.register.waiting",
      value: (await registering(waiting, 1)) / waiting,
      unit: "ms",
      samples: waiting
    })
  }
}

const rounds = 25
const singles = 10_000 // a round: a hundred of them are beyond the p99

const reportOne = (report: Report, bare: Engine, id: string, source: string): void => {
  const engine = filled()
  engine.trigger({ source })
  const [reacting, plain] = [set(engine), set(bare)]
  const blocks = pairs(reacting, plain, { batchSize: 100, batches: 3_000 })
  const { difference, peerValue, samples } = medians(blocks)
  const added = ascending(blocks.map(([with_, without]) => with_ - without))
  report({
    id: `${id}.p50`,
    value: difference,
    unit: "ns",
    peer: "the set alone",
    peerValue,
    samples,
    spread: [quantile(added, 0.1), quantile(added, 0.9)]
  })
  const tails: Record<string, number[]> = { p99: [], p999: [] }
  for (let round = 0; round < rounds; round++) {
    const from = round * singles
    const alone = quantile(timeSingles(plain, singles, from), 0.5)
    const times = timeSingles(reacting, singles, from)
    tails.p99?.push(quantile(times, 0.99) - alone)
    tails.p999?.push(quantile(times, 0.999) - alone)
  }
  for (const [name, tail] of Object.entries(tails)) {
    const sorted = ascending(tail)
    const median = quantile(sorted, 0.5)
    report({
      id: `${id}.${name}`,
      value: median,
      unit: "ns",
      peer: "its p50",
      peerValue: difference,
      ratio: median / difference,
      samples: rounds * singles,
      spread: [quantile(sorted, 0.1), quantile(sorted, 0.9)]
    })
  }
  if (engine.log.total > 0) throw new Error(`${id} failed: ${engine.log.recent(1)[0]?.message}`)
}

const crowdSize = 10_000
const crowdMember = (i: number) =>
  ({ name: `crowd${i}`, pattern: `tenant:${i}:*`, events: ["ON_WRITE"], source: `return ${i}` }) satisfies TriggerInput

const gather = ({ trigger }: Engine): void => {
  for (let i = 0; i < crowdSize; i++) trigger(crowdMember(i))
}

const disperse = ({ registry }: Engine): void => {
  for (let i = 0; i < crowdSize; i++) registry.remove(crowdMember(i).name)
}

const moves = 6
const crowdBatches = 400 // of 1,000 sets, between two moves

const reportCrowd = (report: Report): void => {
  /** Of each arrangement the medians; of both together the geometric mean, in which their difference cancels out. */
  const besideCrowd = (engines: readonly [Engine, Engine]): Paired => {
    const found: [BlockTimes[], BlockTimes[]] = [[], []]
    for (let move = 0; move < moves; move++) {
      const at = (move % 2) as 0 | 1
      const [crowded, other] = [engines[at], engines[at === 0 ? 1 : 0]]
      gather(crowded)
      collect()
      found[at].push(...pairs(set(crowded), set(other), { batchSize: 1_000, batches: crowdBatches }))
      disperse(crowded)
    }
    const [one, two] = [medians(found[0]), medians(found[1])]
    return { ...medians(found.flat()), ratio: Math.sqrt(one.ratio * two.ratio) }
  }
  report(beside(`trigger.miss${crowdSize}`, "no trigger", besideCrowd([filled(), filled()])))
  const both: readonly [Engine, Engine] = [filled(), filled()]
  for (const engine of both) engine.trigger({ name: "one", source: threeFields })
  report(beside(`trigger.hit${crowdSize}`, "that trigger alone", besideCrowd(both)))
}

/** What a registered trigger takes, and one that has run: then it is compiled, in a machine that 128 of them share. */
const reportMemory = (report: Report): void => {
  const engine = filled()
  const heapUsed = () => {
    collect()
    return process.memoryUsage().heapUsed
  }
  const [heapBefore, residentBefore] = [heapUsed(), process.memoryUsage.rss()]
  gather(engine)
  const bytes = (heapUsed() - heapBefore) / crowdSize
  report({ id: "trigger.bytes", value: bytes, unit: "bytes", samples: crowdSize })
  for (let i = 0; i < crowdSize; i++) engine.keyspace.set(`tenant:${i}:x`, "v")
  for (let i = 0; i < crowdSize; i++) engine.keyspace.delete(`tenant:${i}:x`)
  collect()
  const resident = (process.memoryUsage.rss() - residentBefore) / crowdSize
  report({ id: "trigger.bytes.run", value: resident, unit: "bytes", samples: crowdSize })
  if (engine.log.total > 0) throw new Error(`a trigger failed: ${engine.log.recent(1)[0]?.message}`)
}

/** Milliseconds until `count` triggers are registered and saved, `together` of them at a time. */
const registering = async (count: number, together: number): Promise<number> => {
  const dataDir = await mkdtemp(join(tmpdir(), "mimosa-bench-"))
  const runtime = ManagedRuntime.make(layer({ dataDir }))
  try {
    const triggers = await runtime.runPromise(Triggers)
    const beganMs = performance.now()
    for (let from = 0; from < count; from += together) {
      const some = Array.from({ length: Math.min(together, count - from) }, (_, i) =>
        triggers.set(crowdMember(from + i))
      )
      await runtime.runPromise(Effect.all(some, { concurrency: "unbounded", discard: true }))
    }
    return performance.now() - beganMs
  } finally {
    await runtime.dispose()
    await rm(dataDir, { recursive: true, force: true })
  }
}

/** What the trigger adds to a set, beside nothing but the call of the same function there. */
const reportWasmoon = async (report: Report, bare: Engine): Promise<void> => {
  const lua = await new LuaFactory().createEngine()
  try {
    const react = (await lua.doString(`return function(event) ${threeFields} end`)) as (event: object) => unknown
    const engine = filled()
    engine.trigger({ source: threeFields })
    const [reacting, plain] = [set(engine), set(bare)]
    const through = (i: number): void => {
      react({ key: key(i), value: value(i), old_value: value(i + 1) })
    }
    const batch = { batchSize: 1_000, batches: 2 }
    pairs(through, plain, batch) // to warm up
    const both = Array.from({ length: 60 }, (): BlockTimes => {
      const theirs = medians(pairs(through, plain, batch)).value
      return [medians(pairs(reacting, plain, batch)).difference, theirs]
    })
    report(beside("trigger.wasmoon", "wasmoon's engine", medians(both)))
  } finally {
    lua.global.close()
  }
}
