/**
 * Wide invalidations as a property over random schedules: whatever goes without being named key by key is gone at once
 * for all who look, though nothing has looked for it; and in the end each entry has gone once, with its cause.
 *
 * The plain stores here look at all of their entries at once. Two keyspaces, everybody's and a tenant's, share one
 * freshness, as they do in a process; their sinks re-enter.
 *
 * The tables by themselves are looked at beside maps that forget nothing, with room for few and owners of many.
 */
import { describe, expect, it } from "vitest"
import { allInterests, Cause } from "../../src/kernel/Cause.ts"
import { Freshness } from "../../src/kernel/Freshness.ts"
import { type EventOrigin, isPeers, type KeyEvent } from "../../src/kernel/KeyEvent.ts"
import { bucketOf, KeyHash, ownerOf } from "../../src/kernel/KeyHash.ts"
import { EntrySource, Keyspace, SetFlag } from "../../src/kernel/Keyspace.ts"
import type { Lease } from "../../src/kernel/Lease.ts"
import { parsePattern } from "../../src/kernel/Pattern.ts"
import { type Meta, noMeta, type Value } from "../../src/kernel/Value.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"

const keys = ["a", "a:1", "a:b:1", "a:b:2", "b:", "c:1"]
const tags = ["red", "blue", "green"]
const metas: readonly Meta[] = [noMeta, ...[["red"], ["blue", "red"], ["green"]].map((names) => tagged(names))]
const prefixes = ["a:", "a:b:", "b:", "c:", "t:", "t:a:"]
const startMs = 1_700_000_000_000
const peer: EventOrigin = { depth: 0, peer: "elsewhere" }

function tagged(names: readonly string[]): Meta {
  return { metadata: null, tags: names, cost: 0 }
}

interface PlainEntry {
  readonly key: string
  readonly value: Value
  readonly meta: Meta
  expiresAtMs: number
  readonly isLocal: boolean
  source: EntrySource
  /** How many wide invalidations there had been when it was stored, or its fill began. */
  readonly generation: number
}

/** One wide invalidation: whether it takes an entry that is older. */
interface Wide {
  readonly isSilent: boolean
  takes(store: PlainStore, entry: Omit<PlainEntry, "value">): boolean
}

class PlainLease {
  isRevoked = false
  constructor(
    readonly key: string,
    readonly generation: number
  ) {}
}

/** Of one keyspace: what can be read, and what is gone and has not been said to be. */
class PlainStore {
  readonly entries = new Map<string, PlainEntry>()
  readonly buried = new Map<string, { readonly entry: PlainEntry; isSilent: boolean }>()
  leases: PlainLease[] = []
  constructor(readonly hash: KeyHash) {}
}

class Both {
  atMs = startMs
  readonly freshness: Freshness
  readonly sides: ReadonlyArray<{ readonly keyspace: Keyspace; readonly plain: PlainStore; read: number }>
  readonly heard = new Set<KeyEvent>()
  private readonly wides: Wide[] = []
  private leases: Array<{ readonly lease: Lease; readonly plain: PlainLease; readonly side: number }> = []
  private values = 0
  private reentries = 0
  private depth = 0

  constructor(
    private readonly random: Random,
    wideMax: number,
    /** Nothing has been forgotten of what was invalidated: then nothing else goes. */
    private readonly isExact: boolean
  ) {
    this.freshness = new Freshness(wideMax)
    this.sides = ["", "t:"].map((head) => {
      const hash = new KeyHash("secret", head)
      const clock = { nowMs: () => this.atMs }
      const sink = { onEvent: (event: KeyEvent) => this.hear(event), onSettled() {} }
      const keyspace = new Keyspace({
        ...{ maxEntries: 1_000, maxBytes: 1e9, clock, sink, wake() {} },
        ...{ freshness: this.freshness, hash }
      })
      keyspace.log.open(10_000)
      keyspace.trie.add({ pattern: parsePattern("*") as never, mask: allInterests, priority: 0 })
      return { keyspace, plain: new PlainStore(hash), read: 0 }
    })
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.reentries = 4
      if (this.random.oneIn(4)) this.atMs += this.random.pick([1, 30, 100, 1_000])
      this.operate()
    }
    this.reentries = 0
    for (let round = 0; round < 8; round++) {
      this.atMs += 10_000
      for (const { keyspace } of this.sides) {
        while (keyspace.advance(this.atMs, 5) === 5);
      }
    }
    this.check()
    for (const { keyspace, plain } of this.sides) {
      expect(keyspace.nextWakeMs()).toBe(Number.POSITIVE_INFINITY)
      if (this.isExact) expect(plain.buried.size).toBe(0)
      expect(keyspace.size).toBe(this.readable(plain).length)
    }
  }

  private hear(event: KeyEvent): void {
    this.heard.add(event)
    this.readLogs()
    this.depth++
    for (; this.reentries > 0 && this.random.oneIn(2); this.reentries--) this.operate()
    this.depth--
  }

  private operate(): void {
    const { random } = this
    const at = random.below(2)
    const { keyspace, plain } = this.sides[at] as (typeof this.sides)[number]
    const key = random.pick(keys)
    const kind = random.below(40)
    const expiresAtMs = random.oneIn(4) ? this.atMs + random.pick([1, 50, 2_000]) : 0
    if (kind < 6) {
      const [value, meta, isLocal] = [`v${++this.values}`, random.pick(metas), random.oneIn(4)]
      this.revoke(plain, key)
      this.store(plain, { key, value, meta, expiresAtMs, isLocal, source: EntrySource.written, generation: this.now })
      keyspace.set(key, value, expiresAtMs, meta, isLocal ? SetFlag.local : 0)
    } else if (kind < 9) {
      const expected = this.read(plain, key)?.value
      this.same(keyspace.get(key), expected, `get ${key}`)
    } else if (kind < 11) {
      const isThere = this.read(plain, key) !== undefined
      plain.entries.delete(key)
      this.revoke(plain, key)
      const [wasThere, cause] = [isThere, random.oneIn(2) ? Cause.delete : Cause.invalidate]
      this.same(keyspace.delete(key, cause), wasThere, `delete ${key}`)
    } else if (kind === 11) {
      const entry = this.read(plain, key)
      const deadlineMs = this.atMs + 700
      if (entry !== undefined) {
        this.revoke(plain, key)
        if (entry.expiresAtMs !== deadlineMs) entry.source = EntrySource.written
        entry.expiresAtMs = deadlineMs
      }
      this.same(keyspace.expireAt(key, deadlineMs), entry !== undefined, `expireAt ${key}`)
    } else if (kind < 16) {
      const made = new PlainLease(key, this.now)
      plain.leases.push(made)
      if (this.leases.length < 8) this.leases.push({ lease: keyspace.lease(key), plain: made, side: at })
    } else if (kind < 22) this.fill(expiresAtMs)
    else if (kind < 26) keyspace.advance(this.atMs, random.pick([1, 3, 1_000]))
    else if (kind === 26) {
      const count = this.readable(plain).length
      plain.entries.clear()
      for (const lease of plain.leases) lease.isRevoked = true
      this.same(keyspace.flush(), count, "flush")
    } else if (kind === 27) {
      const shared = this.readable(plain).filter((entry) => !entry.isLocal)
      for (const entry of shared) plain.entries.delete(entry.key)
      for (const lease of plain.leases) lease.isRevoked = true
      this.as(keyspace, peer, () => this.same(keyspace.flushShared(), shared.length, "flush by a peer"))
    } else if (kind < 36) this.invalidate(at)
    else keyspace.scan(0, 100, (entry) => this.same(this.read(plain, entry.key)?.value, entry.value, "scan"))
    this.check()
  }

  private invalidate(at: number): void {
    const { random, freshness } = this
    const { keyspace, plain } = this.sides[at] as (typeof this.sides)[number]
    const kind = random.below(8)
    const byPeer = random.oneIn(2) ? peer : null
    const spares = (entry: { isLocal: boolean }) => isPeers(byPeer) && entry.isLocal
    if (kind < 3) {
      const tag = random.pick(tags)
      const takes: Wide["takes"] = (store, entry) => store === plain && entry.meta.tags.includes(tag) && !spares(entry)
      this.went({ isSilent: false, takes })
      if (byPeer === null) keyspace.invalidateTags([tag])
      else freshness.invalidateTag(plain.hash.ofTag(tag), peer)
    } else if (kind < 5) {
      const prefix = random.pick(prefixes)
      const displayed = plain.hash.head + prefix
      const takes: Wide["takes"] = (store, entry) =>
        (store.hash.head + entry.key).startsWith(displayed) && !spares(entry)
      this.went({ isSilent: false, takes })
      if (byPeer === null) expect(keyspace.invalidatePrefix(prefix)).toBe(true)
      else freshness.invalidatePrefix(plain.hash.ofPrefix(prefix), peer)
    } else if (kind === 5) {
      this.went({ isSilent: true, takes: (_, entry) => isForgettable(entry) })
      freshness.forgetCopies()
    } else if (kind === 6) {
      const mark = freshness.mark()
      this.wides.push({ isSilent: true, takes: () => false }) // the mark counts as one that takes nothing
      this.reentries += 2
      this.operate()
      this.went({ isSilent: true, takes: (_, entry) => isForgettable(entry) && entry.generation < mark })
      freshness.forgetCopiesBefore(mark)
    } else {
      const bitmap = new Uint8Array([random.below(256)])
      const takes: Wide["takes"] = (store, entry) =>
        isForgettable(entry) && ((bitmap[0] as number) & (1 << bucketOf(store.hash.of(entry.key), 8))) !== 0
      this.went({ isSilent: false, takes })
      freshness.moveBuckets(bitmap, 8, peer)
    }
  }

  private fill(expiresAtMs: number): void {
    const { random } = this
    if (this.leases.length === 0) return
    const [{ lease, plain: made, side }] = this.leases.splice(random.below(this.leases.length), 1) as [
      (typeof this.leases)[number]
    ]
    const { keyspace, plain } = this.sides[side] as (typeof this.sides)[number]
    const { key, generation } = made
    const source = random.pick([EntrySource.loaded, EntrySource.copied])
    const isLocal = this.read(plain, key)?.isLocal ?? false
    const entry = { key, value: `f${++this.values}`, meta: random.pick(metas), expiresAtMs, isLocal, source }
    const isOld = this.wides.slice(generation).some((wide) => wide.takes(plain, { ...entry, generation }))
    const isStored = !made.isRevoked && !isOld
    const before = plain.entries.get(key)
    const filled = { ...entry, generation }
    if (isStored) this.store(plain, filled)
    const wasStored = keyspace.fill(lease, entry.value, expiresAtMs, entry.meta, source)
    if (!wasStored && plain.entries.get(key) === filled) {
      if (before === undefined) plain.entries.delete(key)
      else plain.entries.set(key, before)
    }
    this.same(wasStored, isStored, `fill ${key}`)
  }

  private get now(): number {
    return this.wides.length
  }

  private store(plain: PlainStore, entry: PlainEntry): void {
    plain.entries.set(entry.key, entry)
  }

  private revoke(plain: PlainStore, key: string): void {
    for (const lease of plain.leases) if (lease.key === key) lease.isRevoked = true
  }

  private went(wide: Wide): void {
    this.wides.push(wide)
    for (const { plain } of this.sides) {
      for (const grave of plain.buried.values()) {
        if (!wide.isSilent && wide.takes(plain, grave.entry)) grave.isSilent = false
      }
      for (const entry of [...plain.entries.values()]) {
        if (!wide.takes(plain, entry)) continue
        plain.entries.delete(entry.key)
        plain.buried.set(entry.key, { entry, isSilent: wide.isSilent })
      }
    }
  }

  private as(keyspace: Keyspace, origin: EventOrigin, change: () => void): void {
    const before = keyspace.origin
    keyspace.origin = origin
    change()
    keyspace.origin = before
  }

  private read(plain: PlainStore, key: string): PlainEntry | undefined {
    const entry = plain.entries.get(key)
    return entry === undefined || this.isPast(entry.expiresAtMs) ? undefined : entry
  }

  private readable(plain: PlainStore): PlainEntry[] {
    return [...plain.entries.values()].filter((entry) => !this.isPast(entry.expiresAtMs))
  }

  private isPast(expiresAtMs: number): boolean {
    return expiresAtMs !== 0 && expiresAtMs <= this.atMs
  }

  /** Where something has been forgotten more may have gone, but nothing comes back. */
  private same(found: unknown, expected: unknown, what: string): void {
    if (found === expected || (!this.isExact && (found === undefined || found === false || what.startsWith("flush"))))
      return
    throw new Error(`${what}: ${found}, not ${expected}`)
  }

  private check(): void {
    this.readLogs()
    for (const { keyspace, plain } of this.sides) {
      keyspace.checkInvariants()
      if (this.depth > 0) continue // an operation further out has yet to happen, or its events to be heard
      for (const key of keys) {
        const [found, expected] = [keyspace.peek(key), this.read(plain, key)]
        this.same(found?.value, expected?.value, `peek ${key}`)
        if (found === undefined) plain.entries.delete(key)
      }
      if (!this.isExact) continue
      for (const event of keyspace.log.recent()) {
        if (event.cause === Cause.invalidate && this.silent.has(event) === this.heard.has(event)) {
          throw new Error(`'${event.key}' was heard of: ${this.heard.has(event)}`)
        }
      }
    }
  }

  private readLogs(): void {
    for (const side of this.sides) {
      const events = side.keyspace.log.recent()
      for (; side.read < events.length; side.read++) this.removed(side.plain, events[side.read] as KeyEvent)
    }
  }

  /** Events that nobody but the log is to know. */
  private readonly silent = new Set<KeyEvent>()

  private removed(plain: PlainStore, event: KeyEvent): void {
    const grave = plain.buried.get(event.key)
    if (event.value !== undefined && grave !== undefined)
      throw new Error(`'${event.key}' was stored over what is stale`)
    const entry = plain.entries.get(event.key)
    if (event.value === undefined && entry !== undefined && entry.value === event.oldValue) {
      if (this.isExact && !this.isPast(entry.expiresAtMs))
        throw new Error(`'${event.key}' has gone, and is to be there`)
      plain.entries.delete(event.key)
    }
    if (event.value !== undefined || grave === undefined) return
    if (event.oldValue !== grave.entry.value) throw new Error(`'${event.key}' went, which was not there`)
    if (event.cause === Cause.invalidate && grave.isSilent) this.silent.add(event)
    plain.buried.delete(event.key)
  }
}

const isForgettable = ({ source, isLocal }: Pick<PlainEntry, "source" | "isLocal">): boolean =>
  source !== EntrySource.written && !isLocal

describe("wide invalidations", () => {
  it("take at once whatever they concern, and nothing else", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(1_500, (random) => new Both(random, 65_536, true).run(60))
  })

  it("take too much rather than too little where tags and prefixes have been forgotten", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(700, (random) => new Both(random, 2, false).run(60))
  })
})

/** What the last invalidation of each tag and prefix was, forgetting nothing. */
class PlainWides {
  private readonly last = new Map<string, { any: number; own: number }>()
  private readonly namesOf = new Map<number, Set<string>>()

  note(owner: number, name: string, generation: number, isOwn: boolean): void {
    const own = isOwn ? generation : (this.last.get(name)?.own ?? 0)
    this.last.set(name, { any: generation, own })
    this.namesOf.set(owner, (this.namesOf.get(owner) ?? new Set()).add(name))
  }

  isStale(generation: number, names: readonly string[], isLocal: boolean): boolean {
    return names.some((name) => generation < (this.last.get(name)?.[isLocal ? "own" : "any"] ?? 0))
  }

  /** Whether whoever this is has never had more than its share of `max`. */
  isModest(owner: number, max: number): boolean {
    return (this.namesOf.get(owner)?.size ?? 0) <= max / this.namesOf.size
  }
}

describe("the tables of what has been invalidated, however small", () => {
  const heads = ["", "t:", "u:", "v:w:"]
  const hashes = heads.map((head) => new KeyHash("secret", head))
  const names = ["a", "b", "c", "d", "e", "f"]
  const root = hashes[0] as KeyHash

  it("never call fresh what is stale, nor stale what is fresh and of one who has named no more than a share", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(2_000, (random) => {
      const max = random.between(1, 12)
      const freshness = new Freshness(max)
      const [plainTags, plainPrefixes] = [new PlainWides(), new PlainWides()]
      const floods = random.oneIn(2) ? hashes.slice(0, random.between(1, 2)) : hashes
      const lookAtAll = (generation: number): void => {
        for (const hash of hashes) {
          const [name, other, isLocal] = [random.pick(names), random.pick(names), random.oneIn(2)]
          const [key, meta] = [random.oneIn(2) ? `${name}:1` : name, random.oneIn(2) ? tagged([name, other]) : noMeta]
          const displayed = hash.head + key
          const prefixes = Array.from(displayed.matchAll(/:/g), ({ index }) => displayed.slice(0, index + 1))
          const ownTags = meta.tags.map((tag) => `${hash.head} ${tag}`)
          const byTag = plainTags.isStale(generation, ownTags, isLocal)
          const byPrefix = plainPrefixes.isStale(generation, prefixes, isLocal)
          const found = freshness.staleBy(generation, generation, key, meta, true, isLocal, hash) !== null
          const what = `'${key}' of '${hash.head}' with tags ${meta.tags}, of ${generation}`
          if (byTag || byPrefix) {
            if (!found) throw new Error(`${what} is stale by ${byTag ? "a tag" : "a prefix"}, and was called fresh`)
          } else if (found) {
            const isModest =
              (meta.tags.length === 0 || plainTags.isModest(ownerOf(hash.ofTag("")), max)) &&
              prefixes.every((prefix) => plainPrefixes.isModest(ownerOf(root.ofPrefix(prefix)), max))
            if (isModest) throw new Error(`${what} is fresh, and what its owner named is no more than its share`)
          }
        }
      }
      for (let step = 0; step < 60; step++) {
        const [hash, name, by] = [
          random.pick(random.oneIn(4) ? hashes : floods),
          random.pick(names),
          random.pick([peer, null])
        ]
        if (random.oneIn(2)) {
          const tag = hash.ofTag(name)
          freshness.invalidateTag(tag, by)
          plainTags.note(ownerOf(tag), `${hash.head} ${name}`, freshness.generation, by === null)
        } else {
          const displayed = `${hash.head}${name}:`
          const prefix = random.oneIn(2) ? hash.ofPrefix(`${name}:`) : root.ofPrefix(displayed)
          freshness.invalidatePrefix(prefix, by)
          plainPrefixes.note(ownerOf(prefix), displayed, freshness.generation, by === null)
        }
        lookAtAll(random.below(freshness.generation + 1))
        lookAtAll(Math.max(0, freshness.generation - random.below(4)))
      }
    })
  })
})
