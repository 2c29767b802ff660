/**
 * What coherence adds to the operations of the one that writes: beside a program that shares nothing, alone in its
 * namespace, and with another process that takes what is sent. A block is 1,024 operations and the turn's end, in which
 * what was written leaves: records are encoded and written to the socket within the time that is taken. Then what is kept
 * of entries and writes, in bytes.
 */
import { randomBytes } from "node:crypto"
import { Effect } from "effect"
import { Directory, directoryMaxDefault } from "../../dist/coherence/Directory.js"
import { EntryIndex } from "../../dist/coherence/EntryIndex.js"
import { OwnLog } from "../../dist/coherence/protocol/OwnLog.js"
import { parametersDefault } from "../../dist/coherence/protocol/Parameters.js"
import { ReceivedLog } from "../../dist/coherence/protocol/ReceivedLog.js"
import type { Entry, Keyspace } from "../../dist/kernel/index.js"
import { Member, pause } from "./coherenceFleet.ts"
import { openProgram, type Program } from "./coherenceProgram.ts"
import { type BlockTimes, beside, heapBytes, medians, type Suite } from "./Figure.ts"

type Operation = (program: Program, i: number) => void

/** What is measured; `before` brings each block's keys into place, outside of the time. */
interface Kind {
  readonly id: string
  readonly operation: Operation
  readonly before?: Operation
  /** Operations in one turn of the event loop. Default: 1,024, and then the turns are but microtasks. */
  readonly turnSize?: number
  /** Only the calls are timed, and not what leaves after them. */
  readonly isCallAlone?: boolean
}

const keys = Array.from({ length: 10_240 }, (_, i) => `session:${(i * 7919) % 10_240}`)
const key = (i: number): string => keys[i % keys.length] as string
const value = (i: number): string => `value-${i & 7}`

const overwrite: Operation = ({ cache }, i) => void cache.unsafeSet(key(i), value(i))
/** Where a kind before this one has deleted it. Written again each time, gets would be of what is on its way. */
const bringBack: Operation = ({ cache }, i) => {
  if (cache.peek(key(i)) === undefined) cache.unsafeSet(key(i), value(i))
}
const kinds: readonly Kind[] = [
  { id: "coherence.set", operation: ({ cache }, i) => Effect.runSync(cache.set(key(i), value(i))) },
  { id: "coherence.set.call", operation: overwrite, turnSize: 96, isCallAlone: true },
  { id: "coherence.set.unsafe", operation: overwrite },
  { id: "coherence.set.turn16", operation: overwrite, turnSize: 16 },
  { id: "coherence.set.turn1", operation: overwrite, turnSize: 1 },
  { id: "coherence.set.kernel", operation: ({ keyspace }, i) => keyspace.set(key(i), value(i)) },
  { id: "coherence.set.new", operation: ({ cache }, i) => void cache.unsafeSet(`new:${i}`, value(i)) },
  { id: "coherence.set.delete", before: overwrite, operation: ({ cache }, i) => cache.unsafeDelete(key(i)) },
  { id: "coherence.set.get", before: bringBack, operation: ({ cache }, i) => cache.unsafeGet(key(i)) }
]

/** Nanoseconds an operation of one block, what leaves in its turns included. */
const timeBlock = async (program: Program, kind: Kind, from: number): Promise<number> => {
  const { operation, before, turnSize = turnSizeDefault, isCallAlone = false } = kind
  if (before !== undefined) for (let n = 0; n < blockSize; n++) before(program, from + n)
  await pause(2) // what is under way has left, and the other process has it
  let ns = 0n
  for (let n = 0; n < blockSize; ) {
    const began = process.hrtime.bigint()
    for (const end = Math.min(blockSize, n + turnSize); n < end; n++) operation(program, from + n)
    if (isCallAlone) {
      ns += process.hrtime.bigint() - began
      await pause(1)
      continue
    }
    if (turnSize < turnSizeDefault) await new Promise(setImmediate)
    else for (let i = 0; i < 4; i++) await null // a frame is made in one microtask and written in another
    ns += process.hrtime.bigint() - began
  }
  return Number(ns) / blockSize
}

const pairs = async (shared: Program, unshared: Program, kind: Kind): Promise<BlockTimes[]> => {
  const times: BlockTimes[] = []
  const blocks = kind.isCallAlone === true ? blocksOfCalls : blocksDefault
  for (let block = 0; block < blocks * 1.5; block++) {
    const from = block * blockSize
    const isFirst = block % 2 === 0
    const first = await timeBlock(isFirst ? shared : unshared, kind, from)
    const second = await timeBlock(isFirst ? unshared : shared, kind, from)
    if (block >= blocks / 2) times.push(isFirst ? [first, second] : [second, first])
  }
  return times
}

const blockSize = 10_240 // operations: each key once
const turnSizeDefault = 1_024 // eight frames, so that nothing waits for a later turn
const blocksDefault = 60 // and half as many to warm up
const blocksOfCalls = 16 // a millisecond for each turn

export const suite: Suite = {
  name: "coherence.set",
  async run(report, say) {
    const namespace = `bench-${randomBytes(6).toString("hex")}`
    const other = Member.start()
    const unshared = await openProgram({})
    const alone = await openProgram({ namespace: `${namespace}-alone` })
    const linked = await openProgram({ namespace })
    try {
      await other.ask({ what: "mimosa", namespace, place: {} })
      await other.ask({ what: "members", count: 1 })
      for (const kind of kinds) {
        say(`${kind.id}: one that listens`)
        report(beside(kind.id, "not shared", medians(await pairs(linked, unshared, kind))))
        say(`${kind.id}: alone`)
        report(beside(`${kind.id}.alone`, "not shared", medians(await pairs(alone, unshared, kind))))
      }
    } finally {
      await Promise.all([other.end(), unshared.close(), alone.close(), linked.close()])
    }
    say("coherence.bytes")
    const bytes = { unit: "bytes", samples: 1 } as const
    report({ id: "coherence.set.bytes.entry", ...bytes, value: grownBy(() => filledIndex()) / indexedEntries })
    const { logSize, buckets, wideMax, receivedSize } = parametersDefault
    report({ id: "coherence.set.bytes.own", ...bytes, value: grownBy(() => new OwnLog(logSize, buckets, wideMax)) })
    report({ id: "coherence.set.bytes.received", ...bytes, value: grownBy(() => filledLog(receivedSize)) })
    report({ id: "coherence.set.bytes.directory", ...bytes, value: grownBy(() => filledDirectory()) })
  }
}

/** What the heap grows by, tables included that the system gives when they are touched first. */
const grownBy = (make: () => object): number => {
  const before = heapBytes()
  const made = make()
  const bytes = heapBytes() - before
  kept.add(made)
  return bytes
}
const kept = new Set<object>()

/** As full as it gets, with entries that are there anyway. */
const filledIndex = (): EntryIndex => {
  const index = new EntryIndex()
  const owner = index.addOwner({} as Keyspace)
  for (const entry of indexed) index.add(entry, owner, entry.hash, 1, 7, 1, 0)
  return index
}
const indexedEntries = 2 ** 17 - 1
const indexed = Array.from(
  { length: indexedEntries },
  (_, n) => ({ handle: 0, hash: n * 7_919 }) as unknown as Entry & { hash: number }
)

const filledLog = (size: number): ReceivedLog => {
  const log = new ReceivedLog(size)
  for (let sequence = 1; sequence <= size; sequence++) log.append(7, sequence, 1, sequence, sequence, 0)
  return log
}

const filledDirectory = (): Directory => {
  const directory = new Directory(directoryMaxDefault)
  for (let n = 1; n <= directoryMaxDefault; n++) directory.note(n * 7_919, n, 7, false)
  return directory
}
