/**
 * The entries of one cache, and everything that can happen to them: synchronous, one thread, no I/O.
 *
 * lru-cache holds the entries and their recency; what it lacks is built beside it: deadlines on a timing wheel, slots
 * that SCAN can walk, and events with one cause each. It is given one record a key, for as long as the key lives, and
 * that record is changed in place: an overwrite then costs one lookup, and lru-cache's own dispose callbacks, which
 * would run in the middle of a `set`, are never needed. It is given `maxSize` and a size of 1 an entry, because `max`
 * would allocate for all entries at once; entries and bytes are counted here.
 *
 * Order within one operation: the change (store, version, wheel) is complete before its events are appended to the log
 * in the order of the changes, and only then does the sink see them, once for the whole operation, however many entries
 * it evicted or flushed. What the sink changes in turn is queued behind them, so cascades are breadth first, and an
 * operation from within a sink returns before its own events are seen. Whoever makes several changes that are one
 * (`hold`), or several in a row that are one operation (`beginOperation`), says so. A gate is asked before anything has
 * changed; what it changes itself comes before the operation that it was asked for, in the same settling. The replica,
 * where there is one, is told in the middle: after a change, before its events.
 *
 * What a wide invalidation has made stale is gone for all who look, though it is still here: whoever finds it takes it
 * out, as with what is past its deadline, and `advance` looks for the rest (Freshness.ts). What a miss is filled with is
 * stored by a lease (Lease.ts).
 *
 * Invariants: every live entry has exactly one slot; it is on the wheel exactly when `expiresAtMs` is not 0; `bytes`
 * is the sum over the entries; entries and bytes are within their limits when an operation returns. Where limits are
 * lowered below what is there, it may stay until `advance` has evicted it, but no operation leaves more of it. Where an
 * entry is stale, `advance` has something to do. Of several reasons to go, "expire" wins, then "invalidate".
 */
import { LRUCache } from "lru-cache"
import { BytePool } from "./BytePool.ts"
import { Cause, causeBit } from "./Cause.ts"
import { EventLog } from "./EventLog.ts"
import { Freshness, type Sweeper, type Wide } from "./Freshness.ts"
import { type Gate, PendingWrite } from "./Gate.ts"
import { type EventOrigin, type EventSink, isPeers, KeyEvent } from "./KeyEvent.ts"
import { KeyHash } from "./KeyHash.ts"
import { Lease } from "./Lease.ts"
import { type Answer, type Match, noAnswer, PatternTrie, unmatched } from "./PatternTrie.ts"
import type { Replica } from "./Replica.ts"
import { SlotTable } from "./SlotTable.ts"
import { TimingWheel } from "./TimingWheel.ts"
import { byteSize, type Meta, metaByteSize, noMeta, type Value } from "./Value.ts"

export interface Clock {
  /** Milliseconds since the epoch; never goes back. */
  nowMs(): number
}

export interface KeyspaceOptions {
  /** Entries at most; beyond, the least recently used go with cause "evict". */
  readonly maxEntries: number
  /** Bytes at most, as `byteSize` counts keys, values and metadata, with `entryBytes` for each entry. */
  readonly maxBytes: number
  /** What it holds is counted there too; a pool of its own where there is none. */
  readonly pool?: BytePool
  readonly clock: Clock
  readonly sink: EventSink
  /** Asked before writes and deletes of keys whose watchers want that. */
  readonly gate?: Gate
  /** Told what the sink or the gate has thrown. It must not throw. */
  readonly onSinkError?: (error: unknown) => void
  /** Called when `advance` has to run at `atMs`, earlier than was known. It may not call back into the keyspace. */
  readonly wake: (atMs: number) => void
  /** Told of every change, where entries are kept coherent with those of other instances. */
  readonly replica?: Replica
  /** What has been invalidated by tag or prefix, for this keyspace and others; its own where there is none. */
  readonly freshness?: Freshness
  /** Names its keys, tags and prefixes there and to the replica. */
  readonly hash?: KeyHash
}

/** How `set` treats what the entry had. Bits. */
export const SetFlag = {
  /** The deadline stays. */
  keepTtl: 1,
  /** Metadata, tags and cost stay. */
  keepMeta: 2,
  /** The entry stays on this instance. */
  local: 4,
  /** The gate has been asked already (`gateWrite`), or is not to be. */
  passed: 8,
  /** Where this instance is gone when the entry expires, another one tells of it (`expireElsewhere`). */
  cluster: 16
} as const

/** Where what an entry holds has come from. */
export const EntrySource = {
  /** A client or a trigger wrote it here. */
  written: 0,
  /** A loader or a tier had it: by nobody's write. */
  loaded: 1,
  /** A peer had it. Its expiry is the writer's to tell. */
  copied: 2
} as const

export type EntrySource = (typeof EntrySource)[keyof typeof EntrySource]

/** One key and what it holds. The keyspace alone changes it; others read it and let it go. */
export class Entry {
  /** What the trie answered for this key; shared with all keys that end at the same place in it. */
  answer: Answer = noAnswer
  source: EntrySource = EntrySource.written
  /** The freshness' generation when it was stored, or when its fill began. */
  generation = 0
  /** The generation up to which no wide invalidation has made it stale. */
  freshUpTo = 0
  /** What the replica keeps with it; 0 for nothing. */
  handle = 0
  /** Clients' reads, since a fill has stored it where one has. */
  reads = 0

  constructor(
    readonly key: string,
    public value: Value,
    public meta: Meta,
    /** Milliseconds since the epoch; 0 for never. */
    public expiresAtMs: number,
    public version: number,
    public isLocal: boolean,
    public bytes: number,
    public slot: number
  ) {}

  /** The watchers of its key, as far as somebody has asked since they last changed. */
  get match(): Match {
    return this.answer.match
  }
}

/**
 * What an entry costs beside the bytes of its key and value and its metadata: its record, the records of the two strings
 * and its places in lru-cache, slot table and wheel. Measured: 253 to 275 bytes, 288 to 325 with a deadline, and up to 14
 * that strings lose to rounding.
 */
export const entryBytes = 336

/** The bytes of an entry as `maxBytes` counts them. */
export const entrySize = (key: string, value: Value, meta: Meta): number =>
  entryBytes + key.length + byteSize(value) + metaByteSize(meta)

export class Keyspace implements Sweeper {
  readonly trie = new PatternTrie()
  readonly log = new EventLog()
  readonly stats = {
    hits: 0,
    misses: 0,
    writes: 0,
    /** Copies that were stored; no writes. */
    fills: 0,
    deletes: 0,
    /** Entries that are gone because they were known to be stale (cause "invalidate"); no deletes. */
    invalidations: 0,
    expires: 0,
    evictions: 0,
    flushes: 0,
    /** Sets that were too large. */
    refused: 0,
    /** Writes and deletes that the gate refused. */
    rejected: 0,
    /** What the sink and the gate have thrown. */
    sinkErrors: 0
  }
  /** Why the gate refused the last `set` or `delete`; null where it did not, though these may have answered false. */
  refusal: string | null = null
  /**
   * What sink and gate have worked for its operations so far, in a unit of theirs, as far as they count it here. Who has
   * somebody pay for an operation looks at it before and after.
   */
  reactionWork = 0
  /**
   * Set by whoever changes entries on behalf of a trigger or a peer, for the events that come of it. Null while the sink
   * sees them: what that does in turn is caused by whom it says.
   */
  origin: EventOrigin | null = null
  /** Counts the changes; each entry carries the count of its own last one. */
  version = 0
  bytes = 0

  private lru = emptyLru()
  private readonly slots = new SlotTable<Entry>()
  private readonly wheel: TimingWheel
  private wheelCapacity = 0
  private readonly pool: BytePool
  /** The limits as they were given. */
  private entryLimit: number
  private byteLimit: number
  /** The limits as they hold: above those that were given while more is there, and then no higher than that. */
  private entriesMax: number
  private bytesMax: number
  /** What `shrinkTo` wants to be left. */
  private shrinkBytes = Number.POSITIVE_INFINITY
  private isShrinking = false
  private wakeAtMs = Number.POSITIVE_INFINITY
  private isAdvancing = false
  private sequence = 0
  /** Events that the sink has yet to see, from `seen` to `queued`. */
  private queue: Array<KeyEvent | undefined> = []
  private seen = 0
  private queued = 0
  /** There are events, or what the gate ran: the operation has to be settled. */
  private isUnsettled = false
  /** Somebody further out settles, or will when the gate has answered. */
  private isHeld = false
  private openOperations = 0
  /** The sink has seen events of an operation that is still open. */
  private isSettledLater = false
  private spareWrite: PendingWrite | null = null
  private replica: Replica | null
  private readonly freshness: Freshness
  /** Names its keys, tags and prefixes to others. */
  readonly hash: KeyHash
  /** Fills that live less long than their values would, and the deadlines of these. */
  private readonly cutShort = new WeakMap<Entry, number>()
  /** The first of the leases that are open, for each key. */
  private readonly leases = new Map<string, Lease>()
  /** When `advance` looks for stale entries, Infinity where there can be none. */
  private sweepAtMs = Number.POSITIVE_INFINITY
  /** The slot to look at next, -1 between two rounds. */
  private sweepCursor = -1
  /** When the round began, whether there is to be another, and when that may begin. */
  private sweepBeganMs = 0
  private isSweptAgain = false
  private sweepAgainMs = 0
  private isClosed = false

  constructor(private readonly options: KeyspaceOptions) {
    this.wheel = new TimingWheel(options.clock.nowMs(), this.wheelCapacity)
    this.pool = options.pool ?? new BytePool()
    this.entryLimit = options.maxEntries
    this.byteLimit = options.maxBytes
    this.entriesMax = options.maxEntries
    this.bytesMax = options.maxBytes
    this.replica = options.replica ?? null
    this.freshness = options.freshness ?? new Freshness()
    this.hash = options.hash ?? new KeyHash("")
    this.freshness.rest(this)
  }

  /** Entries that are there, those past their deadline or stale that nothing has found yet included. */
  get size(): number {
    return this.lru.size
  }

  get maxEntries(): number {
    return this.entryLimit
  }

  get maxBytes(): number {
    return this.byteLimit
  }

  /** Entries with a deadline. */
  get expiringSize(): number {
    return this.wheel.size
  }

  /** A client's read: counts as use and fires "read". The value is the one found, whatever its triggers write. O(1). */
  get(key: string): Value | undefined {
    const entry = this.lru.get(key, lookup)
    if (entry === undefined || this.hasGone(entry)) {
      this.stats.misses++
      this.settle()
      return undefined
    }
    this.stats.hits++
    entry.reads++
    const isWatched = (this.trie.mask & readBit) !== 0 && this.isWatched(entry, readBit)
    if (isWatched || this.log.wants(readBit)) {
      const { value } = entry
      this.record(Cause.read, entry, value, undefined, entry.version, 0, isWatched)
      this.settle()
      return value
    }
    return entry.value
  }

  /** Counts as use of an entry and has no other consequence: no event, no hit. False where there is none. O(1). */
  use(key: string): boolean {
    const entry = this.lru.get(key, lookup)
    const isThere = entry !== undefined && !this.hasGone(entry)
    this.settle()
    return isThere
  }

  /** A look without consequences: no event, no use, and what is past its deadline or stale is left for others. O(1). */
  peek(key: string): Entry | undefined {
    const entry = this.lru.peek(key, lookup)
    return entry === undefined || !this.isCurrent(entry) ? undefined : entry
  }

  /**
   * Stores a value. `expiresAtMs` is 0 for never; a deadline that has passed already expires at the next `advance`.
   * Returns false, and changes nothing but when the old value was last used, if the gate refuses (`refusal` says why),
   * or if the entry alone would exceed `maxBytes`. O(1), plus the evictions.
   */
  set(key: string, value: Value, expiresAtMs = 0, meta: Meta = noMeta, flags = 0): boolean {
    const found = this.lru.get(key, lookup)
    const entry = found === undefined || this.hasGone(found) ? undefined : found
    if ((this.trie.mask & beforeWriteBit) !== 0 && this.isGated(key, entry, flags)) {
      return this.setThroughGate(key, value, expiresAtMs, meta, flags)
    }
    const keptMeta = entry !== undefined && (flags & SetFlag.keepMeta) !== 0 ? entry.meta : meta
    const size = entrySize(key, value, keptMeta)
    if (size > this.byteLimit) {
      this.stats.refused++
      this.settle()
      this.refusal = null
      return false
    }
    const isLocal = (flags & SetFlag.local) !== 0
    const { generation } = this.freshness
    this.stats.writes++
    if (this.leases.size !== 0) this.revoke(key)
    if (entry === undefined) {
      const added = this.add(key, value, expiresAtMs, keptMeta, isLocal, size)
      added.generation = generation
      added.freshUpTo = generation
      if (this.replica !== null) this.replica.onWrite(added, this, flags)
      this.recordIfWanted(Cause.write, added, value, undefined)
    } else {
      const oldValue = entry.value
      const oldSize = entry.bytes
      const deadlineMs = (flags & SetFlag.keepTtl) === 0 ? expiresAtMs : this.keptDeadline(entry)
      this.change(entry, value, keptMeta, size)
      entry.isLocal = isLocal
      entry.source = EntrySource.written
      entry.generation = generation
      entry.freshUpTo = generation
      if (entry.expiresAtMs !== deadlineMs) this.reschedule(entry, deadlineMs)
      if (this.replica !== null) this.replica.onWrite(entry, this, flags)
      this.recordIfWanted(Cause.write, entry, value, oldValue, oldSize)
    }
    this.makeRoom()
    this.settle()
    this.refusal = null
    return true
  }

  /**
   * Removes an entry that a client, a trigger (cause "delete") or coherence ("invalidate") wants gone. Returns false when
   * there is none, or when the gate refuses: then `refusal` says why. The gate is asked for "delete" alone, and not when
   * it `hasPassed` already. O(1).
   */
  delete(key: string, cause: typeof Cause.delete | typeof Cause.invalidate = Cause.delete, hasPassed = false): boolean {
    const asks = (this.trie.mask & beforeDeleteBit) !== 0 && cause === Cause.delete && !hasPassed
    const refusal = asks ? this.refusalToDelete(key) : null
    const entry = refusal === null ? this.current(key) : undefined
    if (entry !== undefined) {
      if (cause === Cause.delete) this.stats.deletes++
      else this.stats.invalidations++
      this.remove(entry, cause)
    }
    if (refusal === null) {
      if (this.leases.size !== 0) this.revoke(key)
      if (entry === undefined && this.replica !== null && !isPeers(this.origin)) this.replica.onAskedToRemove(key, this)
    }
    this.settle()
    this.refusal = refusal
    return entry !== undefined
  }

  /**
   * Asks the gate for a `set` with these arguments and does nothing: for those who have several to ask for before they
   * do the first, with `SetFlag.passed`. Returns why not, or the write as the gate left it, which is the caller's own:
   * what `keepTtl` and `keepMeta` would keep is in it, so they are not to be given again.
   */
  gateWrite(key: string, value: Value, expiresAtMs = 0, meta: Meta = noMeta, flags = 0): PendingWrite | string {
    const write = this.pendingWrite(key, value, expiresAtMs, meta, flags)
    const refusal = this.isGated(key, write.oldEntry, flags) ? this.askToWrite(write) : null
    this.settle()
    return refusal ?? write
  }

  /** Asks the gate for a `delete` and does nothing. Returns why not, or null: also where there is nothing to delete. */
  gateDelete(key: string): string | null {
    const refusal = this.refusalToDelete(key)
    this.settle()
    return refusal
  }

  /**
   * Gives an entry another deadline, 0 for none. A deadline that has passed is an expiry now. Metadata and value stay,
   * so no "write" is fired but a "touch"; all the same the entry is this instance's own from then on. Returns false when
   * there is no such entry. O(1).
   */
  expireAt(key: string, expiresAtMs: number): boolean {
    const entry = this.current(key)
    if (entry === undefined) {
      this.settle()
      return false
    }
    if (expiresAtMs !== 0 && expiresAtMs <= this.options.clock.nowMs()) {
      if (this.leases.size !== 0) this.revoke(key)
      entry.expiresAtMs = expiresAtMs
      this.expire(entry)
      if (this.replica !== null && !entry.isLocal) this.replica.onAskedToRemove(key, this)
    } else if (expiresAtMs !== entry.expiresAtMs) {
      if (this.leases.size !== 0) this.revoke(key)
      this.version++
      entry.version = this.version
      entry.source = EntrySource.written
      this.reschedule(entry, expiresAtMs)
      if (this.replica !== null) this.replica.onWrite(entry, this, SetFlag.keepTtl)
      this.recordIfWanted(Cause.touch, entry, entry.value, entry.value)
    }
    this.settle()
    return true
  }

  /**
   * Tells of the expiry of an entry that another instance held which is gone: an "expire" with the `id` that it has
   * there, and nothing is stored. What was copied or loaded of it goes first, and silently. False, and nothing is told,
   * where the key has been written here or is local, or where a tag or prefix of it was invalidated since `generation`
   * (of the freshness, when its value came). O(1).
   */
  expireElsewhere(key: string, value: Value, meta: Meta, expiresAtMs: number, id: string, generation: number): boolean {
    const { freshness } = this
    const isStale = freshness.staleBy(generation, generation, key, meta, true, false, this.hash) !== null
    const found = isStale ? undefined : this.current(key)
    const isOthers = found === undefined || (!found.isLocal && found.source !== EntrySource.written)
    if (!isStale && isOthers) {
      if (found !== undefined) {
        found.source = EntrySource.copied
        this.expire(found)
      }
      const entry = new Entry(key, value, meta, expiresAtMs, ++this.version, false, entrySize(key, value, meta), -1)
      this.recordIfWanted(Cause.expire, entry, undefined, value, 0, id)
    }
    this.settle()
    return !isStale && isOthers
  }

  /**
   * The right to fill a key, to be taken when it is missed, before anybody is asked for its value. Whoever takes it gives
   * it to `fill` or `endLease`. O(1).
   */
  lease(key: string): Lease {
    const lease = new Lease(this, key, this.freshness.generation)
    if (this.replica !== null && this.replica.copyMsMax !== Number.POSITIVE_INFINITY) {
      lease.cappedFromMs = this.options.clock.nowMs()
    }
    const first = this.leases.get(key)
    if (first !== undefined) lease.next = first
    this.leases.set(key, lease)
    this.replica?.onLease(lease)
    return lease
  }

  /** Gives a lease back unused. One that has ended already is left alone. */
  endLease(lease: Lease): void {
    if (lease.isEnded) return
    lease.isEnded = true
    const first = this.leases.get(lease.key) as Lease
    if (first !== lease) {
      let before = first
      while (before.next !== lease) before = before.next as Lease
      before.next = lease.next
    } else if (lease.next === null) this.leases.delete(lease.key)
    else this.leases.set(lease.key, lease.next)
    lease.next = null
    this.replica?.onLeaseEnd(lease)
  }

  /**
   * Stores what a loader, a tier or a peer had, and ends the lease. No write: the cause is "fill", the gate is not asked,
   * and what was local stays so. False, and nothing is stored, where the lease has been revoked or used already, where a
   * tag or prefix of it has been invalidated since the lease began, where it is too large or its deadline has passed, or
   * where the replica wants no copies now. What is stored lives no longer than the replica says, counted from when the
   * lease began if that was so then. O(1), plus evictions.
   */
  fill(lease: Lease, value: Value, expiresAtMs: number, meta: Meta, source: EntrySource): boolean {
    if (lease.isEnded) return false
    const isStored = !lease.isRevoked && this.storeFill(lease, value, expiresAtMs, meta, source)
    this.endLease(lease)
    this.settle()
    return isStored
  }

  /**
   * Whether nothing has happened since the lease began that would keep `fill` from storing a value with this metadata;
   * null where it is not known which tags the value will have. For those who join a fill that is under way. O(1), O(tags)
   * after a wide invalidation.
   */
  isLeaseCurrent(lease: Lease, meta: Meta | null): boolean {
    const { key, generation, isLocal } = lease
    if (lease.isRevoked || generation === this.freshness.generation) return !lease.isRevoked
    if (meta === null) return false
    return this.freshness.staleBy(generation, generation, key, meta, false, isLocal, this.hash) === null
  }

  /** Removes an entry that somebody here knows to be stale, and revokes its leases. False where there is none. O(1). */
  invalidate(key: string): boolean {
    return this.delete(key, Cause.invalidate)
  }

  /**
   * Whatever has one of the tags is stale: gone for all who look for it, and removed with cause "invalidate" when it is
   * found, by `advance` at the latest. Fills that have begun before and bring such a tag store nothing. O(tags).
   */
  invalidateTags(tags: readonly string[]): void {
    for (const tag of tags) {
      const hash = this.hash.ofTag(tag)
      this.freshness.invalidateTag(hash, this.origin, this)
      this.replica?.onTag(hash, this)
    }
  }

  /** Whether keys are known by this prefix: it ends at a `:`, of `prefixesMax`, within the first `prefixBytesMax` bytes. */
  isPrefix(prefix: string): boolean {
    return this.hash.isPrefix(prefix)
  }

  /**
   * The same for all keys that begin with the prefix. False, and nothing is done, where it is none that keys are known by
   * (`isPrefix`). Of a keyspace with a head the empty prefix is all. O(1).
   */
  invalidatePrefix(prefix: string): boolean {
    if (!this.isPrefix(prefix)) return false
    const hash = this.hash.ofPrefix(prefix)
    this.freshness.invalidatePrefix(hash, this.origin, this.hash.head === "" ? undefined : this)
    this.replica?.onPrefix(hash, this)
    return true
  }

  /**
   * Removes everything: what is due expires first and what is stale is invalidated, the rest is one "flush", which the
   * watchers of all keys (`*`) see. Watchers with the interest `Cause.flushKey` see an event for each of their keys
   * before it, the least recently used first. All leases are revoked. Returns how many the flush took. O(n).
   */
  flush(): number {
    this.dropUncounted()
    const count = this.lru.size
    if ((this.trie.mask & flushKeyBit) !== 0) {
      for (const entry of this.lru.rvalues()) this.recordFlushed(entry as Entry)
    }
    this.lru = emptyLru() // clearing one costs O(n)
    this.slots.clear()
    this.wheel.clear()
    this.count(-this.bytes)
    this.replica?.onFlush(this)
    return this.flushed(count)
  }

  /** What a peer has flushed: all but the local entries goes, as by `flush`. O(n). */
  flushShared(): number {
    this.dropUncounted()
    let count = 0
    for (const entry of [...this.lru.rvalues()] as Entry[]) {
      if (entry.isLocal) continue
      count++
      this.recordFlushed(entry)
      this.lru.delete(entry.key)
      this.takeOut(entry)
    }
    this.replica?.onFlushShared(this)
    return this.flushed(count)
  }

  /**
   * Other limits from now on. What is there beyond them stays until `advance` has evicted it, the least recently used
   * first; meanwhile a write takes out as much as it brings. O(1).
   */
  limit(maxEntries: number, maxBytes: number): void {
    this.entryLimit = maxEntries
    this.byteLimit = maxBytes
    this.beginShrinking()
  }

  /** Lets `advance` evict, the least recently used first, until `bytes` are left. The limits stay as they are. O(1). */
  shrinkTo(bytes: number): void {
    this.shrinkBytes = Math.min(this.shrinkBytes, bytes)
    this.beginShrinking()
  }

  /**
   * Removes everything as `flush` does, and from then on refuses every write and fill as too large. The replica is told
   * nothing of it, nor of anything later.
   */
  close(): void {
    this.replica = null
    this.flush()
    this.limit(0, 0)
    this.isClosed = true
    this.freshness.leave(this)
  }

  /**
   * Expires what is due at `nowMs`, in the order of the deadlines, then evicts what is beyond lowered limits, then looks
   * for what is stale, with at most `limit` units of work; `limit` back means that there may be more. Afterwards `wake`
   * is called again for what comes earlier than `nextWakeMs`.
   */
  advance(nowMs: number, limit: number): number {
    if (this.isAdvancing) return 0
    this.isAdvancing = true
    try {
      let work = this.wheel.advance(nowMs, limit, this.expireAndSettleSlot)
      if (this.isShrinking) work += this.shrink(limit - work)
      if (this.sweepAtMs <= nowMs) work += this.sweep(nowMs, limit - work)
      return work
    } finally {
      this.isAdvancing = false
      this.wakeAtMs = this.nextWakeMs()
    }
  }

  /** When `advance` next has something to do, Infinity for never; 0, which has passed, while there is too much. */
  nextWakeMs(): number {
    return this.isShrinking ? 0 : Math.min(this.wheel.nextWakeMs(), this.sweepAtMs)
  }

  /** Something here may have gone stale (`Freshness` says so): `advance` is to look for it. */
  sweepSoon(): boolean {
    if (this.lru.size === 0) return false
    if (this.sweepCursor === -1) this.planSweep(this.options.clock.nowMs())
    else this.isSweptAgain = true
    return true
  }

  /**
   * Visits the entries in `count` slots from `cursor` on and returns the next cursor, 0 at the end. An entry that is
   * there during the whole walk is visited; one that comes or goes meanwhile may be. Fires nothing. O(count).
   */
  scan(cursor: number, count: number, visit: (entry: Entry) => void): number {
    const end = Math.min(this.slots.length, cursor + count)
    for (let slot = cursor; slot < end; slot++) {
      const entry = this.slots.at(slot)
      if (entry !== undefined && this.isCurrent(entry)) visit(entry)
    }
    return end < this.slots.length ? end : 0
  }

  /**
   * From here to `release` everything is one change of several keys: its events wait until all of it has happened, so
   * what reacts to one of them sees all, and it is settled once. The answer belongs to `release`. Nests.
   */
  hold(): boolean {
    const wasHeld = this.isHeld
    this.isHeld = true
    return wasHeld
  }

  release(wasHeld: boolean): void {
    this.isHeld = wasHeld
    this.settle()
  }

  /**
   * From here to `endOperation` all changes are one operation: the events of each are seen as soon as it has happened,
   * and `onSettled` is called once, at the end. Nests.
   */
  beginOperation(): void {
    this.openOperations++
  }

  endOperation(): void {
    if (--this.openOperations > 0 || !this.isSettledLater) return
    this.isSettledLater = false
    this.isUnsettled = true
    this.settle()
  }

  /** Throws where an invariant of the head comment does not hold. O(n), for tests. */
  checkInvariants(): void {
    let [bytes, entries, expiring] = [0, 0, 0]
    for (let slot = 0; slot < this.slots.length; slot++) {
      const entry = this.slots.at(slot)
      if (entry === undefined) continue
      if (entry.slot !== slot || this.lru.peek(entry.key) !== entry) throw new Error(`slot ${slot} is not its entry's`)
      entries++
      bytes += entry.bytes
      if (entry.expiresAtMs !== 0) expiring++
      if (entry.generation > entry.freshUpTo || entry.freshUpTo > this.freshness.generation) {
        throw new Error(`'${entry.key}' is of generation ${entry.generation}, fresh up to ${entry.freshUpTo}`)
      }
      const isStale = this.lookAt(entry, 0) !== null
      if (isStale && this.sweepAtMs === Number.POSITIVE_INFINITY) throw new Error(`nobody comes for '${entry.key}'`)
      if (isStale && entry.freshUpTo === this.freshness.generation) throw new Error(`'${entry.key}' passes for fresh`)
    }
    for (const [key, first] of this.leases) {
      for (let lease: Lease | null = first; lease !== null; lease = lease.next) {
        if (lease.key !== key || lease.isEnded) throw new Error(`a lease of '${key}' is none`)
      }
    }
    if (entries !== this.lru.size) throw new Error(`${entries} slots for ${this.lru.size} entries`)
    if (bytes !== this.bytes) throw new Error(`entries sum to ${bytes} bytes, ${this.bytes} counted`)
    if (expiring !== this.wheel.size) throw new Error(`${expiring} deadlines, ${this.wheel.size} on the wheel`)
    if (entries > this.entriesMax || bytes > this.bytesMax) throw new Error("a limit is exceeded")
    if (!this.isShrinking && (this.entriesMax !== this.entryLimit || this.bytesMax !== this.byteLimit)) {
      throw new Error("a lowered limit is forgotten")
    }
    this.wheel.checkInvariants()
  }

  /** What is past its deadline or stale is none of those that a flush takes. */
  private dropUncounted(): void {
    this.wheel.advance(this.options.clock.nowMs(), Number.MAX_SAFE_INTEGER, this.expireSlot)
    if (this.sweepAtMs === Number.POSITIVE_INFINITY) return
    for (let slot = 0; slot < this.slots.length; slot++) {
      const entry = this.slots.at(slot)
      if (entry !== undefined) this.hasGone(entry)
    }
  }

  /** The rest of a flush, once the entries are gone. */
  private flushed(count: number): number {
    for (const key of this.leases.keys()) this.revoke(key)
    this.version++
    this.stats.flushes++
    const match = (this.trie.mask & flushBit) === 0 ? unmatched : this.trie.match("")
    const isWatched = (match.mask & flushBit) !== 0
    if (isWatched || this.log.wants(flushBit)) {
      const to = isWatched ? match : unmatched
      this.tell(
        this.eventOf(Cause.flush, nowhere, undefined, undefined, this.version, to, count),
        flushBit,
        isWatched,
        0
      )
    }
    this.settle()
    return count
  }

  private isPastDeadline(entry: Entry): boolean {
    return entry.expiresAtMs !== 0 && entry.expiresAtMs <= this.options.clock.nowMs()
  }

  /** The entry, unless there is none or its time has come: then it is expired here and now. */
  private current(key: string): Entry | undefined {
    const entry = this.lru.peek(key, lookup)
    return entry === undefined || this.hasGone(entry) ? undefined : entry
  }

  /** A new entry, in all places where one has to be. */
  private add(key: string, value: Value, expiresAtMs: number, meta: Meta, isLocal: boolean, size: number): Entry {
    const added = new Entry(key, value, meta, expiresAtMs, ++this.version, isLocal, size, 0)
    added.slot = this.slots.take(added)
    this.lru.set(key, added, unitSize)
    this.count(size)
    if (expiresAtMs !== 0) this.schedule(added.slot, expiresAtMs)
    return added
  }

  private change(entry: Entry, value: Value, meta: Meta, size: number): void {
    this.count(size - entry.bytes)
    entry.value = value
    entry.meta = meta
    entry.version = ++this.version
    entry.bytes = size
  }

  private makeRoom(): void {
    while (this.lru.size > this.entriesMax || this.bytes > this.bytesMax) this.evictOne()
    if (this.pool.bytes > this.pool.alarmBytes) this.pool.onAlarm()
  }

  /** The deadline with which a fill is stored, or -1 where it has passed already. */
  private deadlineOfFill(lease: Lease, expiresAtMs: number, isLocal: boolean): number {
    const copyMsMax = this.replica === null || isLocal ? Number.POSITIVE_INFINITY : this.replica.copyMsMax
    if (expiresAtMs === 0 && copyMsMax === Number.POSITIVE_INFINITY) return 0
    const nowMs = this.options.clock.nowMs()
    const givenMs = expiresAtMs === 0 ? Number.POSITIVE_INFINITY : expiresAtMs
    const deadlineMs = Math.min(givenMs, Math.min(nowMs, lease.cappedFromMs) + Math.floor(copyMsMax))
    return deadlineMs > nowMs ? deadlineMs : -1
  }

  /** The deadline that a write keeps: of a fill that the replica lets live less long than its value, that of the value. */
  private keptDeadline(entry: Entry): number {
    if (entry.source === EntrySource.written) return entry.expiresAtMs
    return this.cutShort.get(entry) ?? entry.expiresAtMs
  }

  private storeFill(lease: Lease, value: Value, expiresAtMs: number, meta: Meta, source: EntrySource): boolean {
    const { key, generation } = lease
    const found = this.lru.get(key, lookup)
    const entry = found === undefined || this.hasGone(found) ? undefined : found
    const isLocal = entry?.isLocal ?? lease.isLocal
    const deadlineMs = this.deadlineOfFill(lease, expiresAtMs, isLocal)
    if (deadlineMs < 0) return false
    const size = entrySize(key, value, meta)
    if (size > this.byteLimit) {
      this.stats.refused++
      return false
    }
    if (generation !== this.freshness.generation) {
      const wide = this.freshness.staleBy(generation, generation, key, meta, false, isLocal, this.hash)
      if (wide !== null) return false
    }
    this.stats.fills++
    const oldValue = entry?.value
    const oldSize = entry?.bytes ?? 0
    const stored = entry ?? this.add(key, value, deadlineMs, meta, isLocal, size)
    if (entry !== undefined) {
      this.change(entry, value, meta, size)
      if (entry.expiresAtMs !== deadlineMs) this.reschedule(entry, deadlineMs)
    }
    stored.source = source
    if (deadlineMs !== expiresAtMs) this.cutShort.set(stored, expiresAtMs)
    else if (entry !== undefined) this.cutShort.delete(entry)
    stored.reads = 0
    stored.generation = generation
    stored.freshUpTo = this.freshness.generation
    if (!isLocal) this.replica?.onFill(stored, lease, this)
    this.recordIfWanted(Cause.fill, stored, value, oldValue, oldSize)
    this.makeRoom()
    return true
  }

  private revoke(key: string): void {
    for (let lease = this.leases.get(key) ?? null; lease !== null; lease = lease.next) lease.isRevoked = true
  }

  /** Whether somebody wants to be asked for a write of this key. */
  private isGated(key: string, entry: Entry | undefined, flags: number): boolean {
    if ((flags & SetFlag.passed) !== 0 || (this.trie.mask & beforeWriteBit) === 0) return false
    return entry === undefined
      ? (this.trie.match(key).mask & beforeWriteBit) !== 0
      : this.isWatched(entry, beforeWriteBit)
  }

  private setThroughGate(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): boolean {
    const write = this.pendingWrite(key, value, expiresAtMs, meta, flags)
    const refusal = this.askToWrite(write)
    if (refusal === null) {
      const { oldEntry, keepsTtl } = write
      const isTold = keepsTtl && oldEntry !== undefined && this.replica?.expiryIdOf(oldEntry) !== undefined
      const kept = (flags & (SetFlag.local | SetFlag.cluster)) | (isTold ? SetFlag.cluster : 0) | SetFlag.passed
      const wasSet = this.set(key, write.value, write.expiresAtMs, write.meta, kept)
      this.letGo(write)
      return wasSet
    }
    this.letGo(write)
    this.settle()
    this.refusal = refusal
    return false
  }

  /** What a set with these arguments would do. A gate that writes is asked while it is asked: then there are several. */
  private pendingWrite(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): PendingWrite {
    const write = this.spareWrite ?? new PendingWrite()
    this.spareWrite = null
    const entry = this.current(key)
    write.key = key
    write.value = value
    write.keepsTtl = entry !== undefined && (flags & SetFlag.keepTtl) !== 0
    write.expiresAtMs = write.keepsTtl ? this.keptDeadline(entry as Entry) : expiresAtMs
    write.meta = entry !== undefined && (flags & SetFlag.keepMeta) !== 0 ? entry.meta : meta
    write.oldEntry = entry
    write.match = unmatched
    return write
  }

  /** Keeps the object for the next write, but nothing that was in it. */
  private letGo(write: PendingWrite): void {
    write.value = ""
    write.meta = noMeta
    write.oldEntry = undefined
    write.match = unmatched
    this.spareWrite = write
  }

  /** Why not, or null. A gate that throws refuses nothing: it is left out. */
  private askToWrite(write: PendingWrite): string | null {
    const { value, expiresAtMs, meta } = write
    write.match = this.trie.match(write.key)
    let refusal: string | null = null
    const wasHeld = this.hold()
    this.isUnsettled = true
    try {
      refusal = this.options.gate?.beforeWrite(write, this) ?? null
    } catch (error) {
      write.value = value
      write.expiresAtMs = expiresAtMs
      write.meta = meta
      this.report(error)
    } finally {
      this.isHeld = wasHeld
    }
    if (refusal !== null) this.stats.rejected++
    return refusal
  }

  private refusalToDelete(key: string): string | null {
    const entry = (this.trie.mask & beforeDeleteBit) === 0 ? undefined : this.current(key)
    if (entry === undefined || !this.isWatched(entry, beforeDeleteBit)) return null
    let refusal: string | null = null
    const wasHeld = this.hold()
    this.isUnsettled = true
    try {
      refusal = this.options.gate?.beforeDelete(entry, this) ?? null
    } catch (error) {
      this.report(error)
    } finally {
      this.isHeld = wasHeld
    }
    if (refusal !== null) this.stats.rejected++
    return refusal
  }

  /** Whether it is there for those who look: the clock is read only for entries that have a deadline. */
  private isCurrent(entry: Entry): boolean {
    return !this.isPastDeadline(entry) && this.staleBy(entry) === null
  }

  /** Takes the entry out if its time has come, or if it is stale. */
  private hasGone(entry: Entry): boolean {
    if (this.isPastDeadline(entry)) {
      this.expire(entry)
      return true
    }
    return entry.freshUpTo !== this.freshness.generation && this.hasGoneStale(entry)
  }

  private hasGoneStale(entry: Entry): boolean {
    const wide = this.staleBy(entry)
    if (wide === null) return false
    this.lru.delete(entry.key)
    this.forgetStale(entry, wide)
    return true
  }

  /** What has made it stale. One that is fresh is not looked at again before the next wide invalidation. */
  private staleBy(entry: Entry): Wide | null {
    if (entry.freshUpTo === this.freshness.generation) return null
    const wide = this.lookAt(entry, entry.freshUpTo)
    if (wide === null) entry.freshUpTo = this.freshness.generation
    return wide
  }

  private lookAt({ generation, key, meta, source, isLocal }: Entry, freshUpTo: number): Wide | null {
    return this.freshness.staleBy(generation, freshUpTo, key, meta, source === EntrySource.written, isLocal, this.hash)
  }

  /** Its events come of whoever made it stale. */
  private forgetStale(entry: Entry, wide: Wide): void {
    const { origin } = this
    this.origin = wide.originFor(entry.generation)
    this.stats.invalidations++
    this.takeOut(entry)
    this.version++
    if (this.replica !== null) this.replica.onStale(entry, this)
    if (wide.isSilent) this.logIfWanted(Cause.invalidate, entry)
    else this.recordIfWanted(Cause.invalidate, entry, undefined, entry.value)
    this.origin = origin
  }

  /** Lets `advance` look for what is stale, but not before it has rested. */
  private planSweep(nowMs: number): void {
    this.sweepAtMs = Math.max(nowMs, this.sweepAgainMs)
    if (this.sweepAtMs >= this.wakeAtMs || this.isAdvancing) return
    this.wakeAtMs = this.sweepAtMs
    this.options.wake(this.sweepAtMs)
  }

  /**
   * Looks at all entries, in the order of their slots; one that is stale, or `sweepSlots` that are not, are a unit of
   * work, and fewer where they have that many tags. One round after the other begins only when something has been
   * invalidated meanwhile, and after a pause.
   */
  private sweep(nowMs: number, limit: number): number {
    if (this.sweepCursor === -1 && limit > 0) {
      this.sweepCursor = 0
      this.sweepBeganMs = nowMs
      if (!this.isClosed) this.freshness.rest(this) // what comes from now on is told again
    }
    let work = 0
    while (work < limit && this.sweepAtMs <= nowMs) {
      work++
      this.sweepSome()
      this.settle()
      if (this.sweepCursor >= this.slots.length) this.endSweep(nowMs)
    }
    return work
  }

  private sweepSome(): void {
    const end = Math.min(this.slots.length, this.sweepCursor + sweepSlots)
    for (let tags = 0; this.sweepCursor < end && tags < sweepSlots; ) {
      const entry = this.slots.at(this.sweepCursor++)
      if (entry === undefined) continue
      if (this.hasGone(entry)) return
      tags += entry.meta.tags.length
    }
  }

  private endSweep(nowMs: number): void {
    this.sweepCursor = -1
    this.sweepAtMs = Number.POSITIVE_INFINITY
    const pauseMs = sweepShare * (nowMs - this.sweepBeganMs)
    this.sweepAgainMs = nowMs + Math.min(Math.max(pauseMs, sweepPauseMs), sweepPauseMsMax)
    if (this.isSweptAgain) this.planSweep(nowMs)
    this.isSweptAgain = false
  }

  private expire(entry: Entry): void {
    this.stats.expires++
    this.remove(entry, Cause.expire)
  }

  private evictOne(): void {
    const victim = this.lru.pop() as Entry
    if (this.isPastDeadline(victim)) {
      this.stats.expires++
      this.forget(victim, Cause.expire)
      return
    }
    const wide = this.staleBy(victim)
    if (wide !== null) this.forgetStale(victim, wide)
    else {
      this.stats.evictions++
      this.forget(victim, Cause.evict)
    }
  }

  private count(bytes: number): void {
    this.bytes += bytes
    this.pool.bytes += bytes
  }

  private beginShrinking(): void {
    this.tighten()
    if (!this.isShrinking || this.isAdvancing) return
    this.wakeAtMs = this.options.clock.nowMs()
    this.options.wake(this.wakeAtMs)
  }

  /** Takes the limits that hold down to what is there now, and no further than they were given. */
  private tighten(): void {
    const bytes = Math.min(this.byteLimit, this.shrinkBytes)
    this.isShrinking = this.lru.size > this.entryLimit || this.bytes > bytes
    if (!this.isShrinking) this.shrinkBytes = Number.POSITIVE_INFINITY
    this.entriesMax = Math.max(this.entryLimit, this.lru.size)
    this.bytesMax = this.isShrinking ? Math.max(bytes, this.bytes) : this.byteLimit
  }

  /** Evicts at most `limit` entries that are too many, and returns how many. A reaction may change what is there. */
  private shrink(limit: number): number {
    let work = 0
    for (this.tighten(); this.isShrinking && work < limit; this.tighten()) {
      work++
      this.evictOne()
      this.settle()
    }
    return work
  }

  private remove(entry: Entry, cause: Cause): void {
    this.lru.delete(entry.key)
    this.forget(entry, cause)
  }

  /** The rest of a removal, once the entry is out of the recency order. */
  private forget(entry: Entry, cause: Cause): void {
    this.takeOut(entry)
    this.version++
    let id: string | undefined
    if (this.replica !== null) {
      if (cause === Cause.expire) id = this.replica.expiryIdOf(entry)
      this.replica.onRemove(entry, cause, this)
    }
    if (cause === Cause.expire && entry.source === EntrySource.copied) this.logIfWanted(cause, entry)
    else this.recordIfWanted(cause, entry, undefined, entry.value, 0, id)
  }

  /** Out of slots, wheel and sums. */
  private takeOut(entry: Entry): void {
    this.slots.release(entry.slot)
    if (entry.expiresAtMs !== 0) this.wheel.cancel(entry.slot)
    this.count(-entry.bytes)
  }

  private readonly expireSlot = (slot: number): void => this.expire(this.slots.at(slot) as Entry)

  private readonly expireAndSettleSlot = (slot: number): void => {
    this.expireSlot(slot)
    this.settle()
  }

  private reschedule(entry: Entry, expiresAtMs: number): void {
    entry.expiresAtMs = expiresAtMs
    if (expiresAtMs === 0) this.wheel.cancel(entry.slot)
    else this.schedule(entry.slot, expiresAtMs)
  }

  private schedule(slot: number, expiresAtMs: number): void {
    if (slot >= this.wheelCapacity) {
      this.wheelCapacity = Math.max(wheelCapacityMin, slot + 1, this.wheelCapacity * 2)
      this.wheel.grow(this.wheelCapacity)
    }
    const wakeMs = this.wheel.schedule(slot, expiresAtMs)
    if (wakeMs < this.wakeAtMs && !this.isAdvancing) {
      this.wakeAtMs = wakeMs
      this.options.wake(wakeMs)
    }
  }

  private isWatched(entry: Entry, bit: number): boolean {
    if ((entry.answer.mask & bit) === 0) return false
    if (entry.answer.match === unmatched) entry.answer = this.trie.answer(entry.key)
    return (entry.answer.mask & bit) !== 0
  }

  /** Asks first whether anyone cares; only then is there an event. */
  private recordIfWanted(
    cause: Cause,
    entry: Entry,
    value: Value | undefined,
    oldValue: Value | undefined,
    oldSize = 0,
    id?: string
  ): void {
    const bit = causeBit(cause)
    const isWatched = (this.trie.mask & bit) !== 0 && this.isWatched(entry, bit)
    if (!isWatched && !this.log.wants(bit)) return
    this.record(cause, entry, value, oldValue, this.version, oldSize, isWatched, id)
  }

  /** For a removal that is nobody's business but of those who replay the log. */
  private logIfWanted(cause: Cause, entry: Entry): void {
    if (this.log.wants(causeBit(cause))) this.record(cause, entry, undefined, entry.value, this.version, 0, false)
  }

  private record(
    cause: Cause,
    entry: Entry,
    value: Value | undefined,
    oldValue: Value | undefined,
    version: number,
    oldSize: number,
    isWatched: boolean,
    id?: string
  ): void {
    const match = isWatched ? entry.answer.match : unmatched
    const event = this.eventOf(cause, entry, value, oldValue, version, match, 1, id)
    this.tell(event, causeBit(cause), isWatched, entry.bytes + oldSize)
  }

  private recordFlushed(entry: Entry): void {
    if (!this.isWatched(entry, flushKeyBit)) return
    this.version++
    this.tell(
      this.eventOf(Cause.flush, entry, undefined, entry.value, this.version, entry.match),
      flushBit,
      true,
      entry.bytes
    )
  }

  private eventOf(
    cause: Cause,
    entry: Entry,
    value: Value | undefined,
    oldValue: Value | undefined,
    version: number,
    match: Match,
    count = 1,
    id?: string
  ): KeyEvent {
    return new KeyEvent(
      ++this.sequence,
      cause,
      entry.key,
      value,
      oldValue,
      entry.meta,
      version,
      entry.expiresAtMs,
      this.options.clock.nowMs(),
      entry.isLocal,
      count,
      this.origin,
      match,
      id
    )
  }

  /** `bytes` is the size of what the event keeps alive. */
  private tell(event: KeyEvent, bit: number, isWatched: boolean, bytes: number): void {
    if (this.log.wants(bit)) this.log.append(event, bytes)
    if (!isWatched) return
    this.queue[this.queued++] = event
    this.isUnsettled = true
  }

  /** Hands the queued events to the sink, unless an outer operation is doing it already. */
  private settle(): void {
    if (this.isUnsettled && !this.isHeld) this.settleAll()
  }

  private settleAll(): void {
    const { sink } = this.options
    const { origin } = this
    this.origin = null // what the sink does, it answers for
    this.isHeld = true
    try {
      while (this.isUnsettled) {
        while (this.seen < this.queued) {
          const event = this.queue[this.seen] as KeyEvent
          this.queue[this.seen++] = undefined
          try {
            sink.onEvent(event, this)
          } catch (error) {
            this.report(error)
          }
          event.match = unmatched // or the log would keep every list of watchers that ever was
        }
        this.seen = 0
        this.queued = 0
        if (this.queue.length > queueKeptMax) this.queue = []
        this.isUnsettled = false
        if (this.openOperations > 0) {
          this.isSettledLater = true
          break
        }
        try {
          sink.onSettled(this) // whoever it tells may change entries: then there are events again
        } catch (error) {
          this.report(error)
        }
      }
    } finally {
      this.isHeld = false
      this.origin = origin
    }
  }

  private report(error: unknown): void {
    this.stats.sinkErrors++
    this.options.onSinkError?.(error)
  }
}

const readBit = causeBit(Cause.read)
const flushBit = causeBit(Cause.flush)
const flushKeyBit = causeBit(Cause.flushKey)
const beforeWriteBit = causeBit(Cause.beforeWrite)
const beforeDeleteBit = causeBit(Cause.beforeDelete)
/** What the event of a whole flush is about. */
const nowhere = new Entry("", "", noMeta, 0, 0, false, 0, -1)
const sweepSlots = 64 // looked at for one unit of `advance`; some 5 µs where keys have prefixes to be hashed
const sweepPauseMs = 100 // between two rounds: whoever invalidates all the time pays by the round, not by the tag
const sweepPauseMsMax = 10_000 // a process that was suspended in the middle of a round is not to sleep on
const sweepShare = 9 // nine times as long as the last one took, so that a tenth of the time is spent on them at most
const wheelCapacityMin = 64 // slots; until one has a deadline there is room for none
const queueKeptMax = 1_024 // places; what one flush of many keys has grown is not kept for ever

const emptyLru = () => new LRUCache<string, Entry>({ maxSize: Number.MAX_SAFE_INTEGER })

// lru-cache writes into the options that it is given; ours are made once and used again.
const lookup = {}
const unitSize = { size: 1 }
