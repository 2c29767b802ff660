/**
 * Three instances' entries, whose records reach the others late, an author's in its order, different authors' in any. A
 * peer's value is taken as the protocol takes it: from one who has applied all that the asker has.
 */
import { describe, expect, it } from "vitest"
import { InvalidBytes } from "../../src/cache/CacheError.ts"
import { decodePeerValue } from "../../src/coherence/PeerValueCodec.ts"
import { Op, RecordFlag } from "../../src/coherence/protocol/Frame.ts"
import { Cause } from "../../src/kernel/Cause.ts"
import { EntrySource, SetFlag } from "../../src/kernel/Keyspace.ts"
import type { Lease } from "../../src/kernel/Lease.ts"
import { noMeta } from "../../src/kernel/Value.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { ground, type Written } from "./Ground.ts"

const keys = ["a", "b", "u:1", "u:2"]
const tagged = { ...noMeta, tags: ["t"] }

class Node {
  readonly ground
  readonly keyspace
  /** By author: how many of its records have been applied here. */
  readonly applied: number[]
  /** By key: the highest record that was applied or written here, and the step at which the last one was. */
  readonly highest = new Map<string, Written & { author: number }>()
  readonly heardAt = new Map<string, number>()
  readonly loads: Array<{ readonly lease: Lease; readonly step: number }> = []

  constructor(
    readonly index: number,
    random: Random,
    nodes: number
  ) {
    this.ground = ground(index + 1, { directoryMax: 64 })
    const shared = this.ground.share("", { maxEntries: random.between(2, 5) })
    this.keyspace = shared.keyspace
    this.applied = Array.from({ length: nodes }, () => 0)
    const reacts = random.oneIn(3)
    shared.react = ({ cause, key, origin }) => {
      if (cause !== Cause.invalidate || origin?.peer === undefined || origin.isDerived || !reacts) return
      const before = this.keyspace.origin
      this.keyspace.origin = { depth: 1, peer: origin.peer }
      this.keyspace.set(`${key}!`, "derived")
      this.keyspace.origin = before
    }
  }

  get records(): readonly Written[] {
    return this.ground.instance.records
  }
}

const isHigher = (a: { version: number; author: number }, b: { version: number; author: number }): boolean =>
  a.version > b.version || (a.version === b.version && a.author > b.author)

describe("entries of several instances", () => {
  it(
    "are never older than what was applied, and end with the highest write everywhere",
    async () => {
      await forAllSeeds(200, (random) => {
        const nodes = [0, 1, 2].map((index) => new Node(index, random, 3))
        const hashes = new Map(
          [...keys, ...keys.map((key) => `${key}!`)].map((key) => [nodes[0]?.ground.hashOf(key), key])
        )
        let step = 0

        const note = (node: Node, record: Written, author: number): void => {
          const key = hashes.get(record.hash)
          if (record.op !== Op.key || key === undefined) return
          node.heardAt.set(key, step)
          const known = node.highest.get(key)
          if (known === undefined || isHigher({ ...record, author }, known))
            node.highest.set(key, { ...record, author })
        }
        /** Hands the next record of `from` to `to`; it must have left. */
        const deliver = (from: Node, to: Node): boolean => {
          const at = to.applied[from.index] as number
          if (at >= from.ground.instance.sealed) return false
          const record = from.records[at] as Written
          to.applied[from.index] = at + 1
          to.ground.instance.lamport = Math.max(to.ground.instance.lamport, record.version)
          note(to, record, from.index + 1)
          const before = to.records.length
          to.ground.entries.apply(record.op, record.hash, record.version, from.index + 1, record.flags)
          const isDerived = ({ flags }: Written): boolean => (flags & RecordFlag.derived) !== 0
          expect(to.records.slice(before).every(isDerived)).toBe(true)
          return true
        }
        const ask = (node: Node, other: Node, key: string): void => {
          other.ground.instance.flush()
          node.ground.instance.flush()
          const hasSeen = node.applied.every((count, author) => {
            const its = author === other.index ? other.records.length : (other.applied[author] as number)
            return its >= (author === node.index ? node.records.length : count)
          })
          if (!hasSeen || node.keyspace.peek(key) !== undefined) return
          const lease = node.keyspace.lease(key)
          const read = other.ground.entries.read(key, 10_000)
          const decoded = typeof read === "string" ? undefined : decodePeerValue(read.payload)
          if (typeof read === "string" || decoded === undefined || decoded instanceof InvalidBytes) {
            node.keyspace.endLease(lease)
            return
          }
          lease.stamp = read.version
          lease.writer = read.writer
          node.keyspace.fill(lease, decoded.value, 0, decoded.meta, EntrySource.copied)
        }
        const operate = (node: Node): void => {
          const { keyspace, ground } = node
          const key = random.pick(keys)
          const isLocal = keyspace.peek(key)?.isLocal === true
          const before = ground.instance.lamport
          switch (random.below(12)) {
            case 0:
            case 1:
            case 2:
              keyspace.set(key, `${step}`, 0, random.oneIn(3) ? tagged : noMeta)
              break
            case 3:
              keyspace.set(key, `${step}`, ground.clock.atMs + random.between(1, 3))
              break
            case 4:
              keyspace.delete(key)
              if (isLocal) expect(ground.instance.lamport).toBe(before)
              break
            case 5:
              keyspace.set(key, "local", 0, noMeta, SetFlag.local)
              break
            case 6:
              if (random.oneIn(2)) keyspace.invalidateTags(["t"])
              if (random.oneIn(3)) keyspace.invalidatePrefix("u:")
              if (random.oneIn(9)) keyspace.flush()
              break
            case 7:
              ground.clock.atMs++
              keyspace.advance(ground.clock.atMs, 100)
              break
            case 8:
              if (keyspace.peek(key) === undefined) node.loads.push({ lease: keyspace.lease(key), step })
              break
            case 9: {
              const load = node.loads.shift()
              if (load !== undefined) keyspace.fill(load.lease, `${load.step}`, 0, noMeta, EntrySource.loaded)
              break
            }
            case 10:
              ask(node, random.pick(nodes.filter((other) => other !== node)), key)
              break
            default:
              ground.instance.flush()
          }
        }
        const check = (): void => {
          for (const node of nodes) {
            node.ground.entries.checkInvariants()
            node.keyspace.checkInvariants()
            for (const key of keys) {
              const entry = node.keyspace.peek(key)
              const row = entry?.handle ?? 0
              if (entry === undefined || row === 0) continue
              const { index } = node.ground.entries
              const write = { version: index.stampAt(row), author: index.writerAt(row) }
              const known = node.highest.get(key)
              if (write.version === 0 && entry.source === EntrySource.loaded) {
                expect(Number(entry.value)).toBeGreaterThanOrEqual(node.heardAt.get(key) ?? 0)
              } else if (known !== undefined && write.version !== 0) expect(isHigher(known, write)).toBe(false)
            }
          }
        }

        for (step = 1; step <= 120; step++) {
          const node = random.pick(nodes)
          if (random.oneIn(2)) operate(node)
          else deliver(random.pick(nodes), node)
          if (random.oneIn(4)) check()
        }
        for (let isMoving = true; isMoving; ) {
          isMoving = false
          for (const node of nodes) node.ground.instance.flush()
          for (const from of nodes) for (const to of nodes) if (from !== to && deliver(from, to)) isMoving = true
        }
        check()

        const all = nodes.flatMap(({ records, index }) => records.map((record) => ({ ...record, author: index + 1 })))
        for (const [hash, key] of hashes) {
          const writes = all.filter((record) => record.op === Op.key && record.hash === hash)
          const highest = writes.reduce<(typeof writes)[number] | undefined>(
            (best, write) => (best === undefined || isHigher(write, best) ? write : best),
            undefined
          )
          if (highest === undefined) continue
          const isGone = (highest.flags & RecordFlag.gone) !== 0
          const values = new Set<unknown>()
          for (const node of nodes) {
            const { entries } = node.ground
            const entry = node.keyspace.peek(key)
            const row = entry?.handle ?? 0
            if (entry !== undefined && row !== 0 && entries.index.stampAt(row) !== 0) {
              expect(isGone).toBe(false)
              expect([entries.index.stampAt(row), entries.index.writerAt(row)]).toEqual([
                highest.version,
                highest.author
              ])
              values.add(entry.value)
            }
            const newest = entries.newest(hash as number)
            const isKnown = newest?.version === highest.version && newest.author === highest.author
            expect(isKnown || entries.floorOf(highest.author) >= highest.version).toBe(true)
          }
          expect(values.size).toBeLessThanOrEqual(1)
        }
      })
    },
    propertyTimeoutMs
  )
})
