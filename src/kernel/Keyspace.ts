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
 * changed; what it changes itself comes before the operation that it was asked for, in the same settling.
 *
 * Invariants: every live entry has exactly one slot; it is on the wheel exactly when `expiresAtMs` is not 0; `bytes`
 * is the sum over the entries; entries and bytes are within their limits when an operation returns. Where limits are
 * lowered below what is there, it may stay until `advance` has evicted it, but no operation leaves more of it.
 */
import { LRUCache } from "lru-cache"
import { BytePool } from "./BytePool.ts"
import { Cause, causeBit } from "./Cause.ts"
import { EventLog } from "./EventLog.ts"
import { type Gate, PendingWrite } from "./Gate.ts"
import { type EventOrigin, type EventSink, KeyEvent } from "./KeyEvent.ts"
import { type Answer, type Match, noAnswer, PatternTrie, unmatched } from "./PatternTrie.ts"
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
}

/** How `set` treats what the entry had. Bits. */
export const SetFlag = {
  /** The deadline stays. */
  keepTtl: 1,
  /** Metadata, tags and cost stay. */
  keepMeta: 2,
  /** The entry stays on this instance. */
  local: 4,
  /** A copy from a loader, a tier or a peer: cause "fill". */
  fill: 8,
  /** The gate has been asked already (`gateWrite`), or is not to be. */
  passed: 16
} as const

/** One key and what it holds. The keyspace alone changes it; others read it and let it go. */
export class Entry {
  /** What the trie answered for this key; shared with all keys that end at the same place in it. */
  answer: Answer = noAnswer

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
 * and its places in lru-cache, slot table and wheel. Measured: 216 to 245 bytes, 254 to 292 with a deadline, and up to 14
 * that strings lose to rounding.
 */
export const entryBytes = 304

/** The bytes of an entry as `maxBytes` counts them. */
export const entrySize = (key: string, value: Value, meta: Meta): number =>
  entryBytes + key.length + byteSize(value) + metaByteSize(meta)

export class Keyspace {
  readonly trie = new PatternTrie()
  readonly log = new EventLog()
  readonly stats = {
    hits: 0,
    misses: 0,
    writes: 0,
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
  /** Set by whoever changes entries on behalf of a trigger, for the events that come of it. */
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

  constructor(private readonly options: KeyspaceOptions) {
    this.wheel = new TimingWheel(options.clock.nowMs(), this.wheelCapacity)
    this.pool = options.pool ?? new BytePool()
    this.entryLimit = options.maxEntries
    this.byteLimit = options.maxBytes
    this.entriesMax = options.maxEntries
    this.bytesMax = options.maxBytes
  }

  /** Entries that are there, those past their deadline that nothing has found yet included. */
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
    if (entry === undefined || this.hasExpired(entry)) {
      this.stats.misses++
      this.settle()
      return undefined
    }
    this.stats.hits++
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
    const isThere = entry !== undefined && !this.hasExpired(entry)
    this.settle()
    return isThere
  }

  /** A look without consequences: no event, no use, and an entry past its deadline is left for others to expire. O(1). */
  peek(key: string): Entry | undefined {
    const entry = this.lru.peek(key, lookup)
    return entry === undefined || this.isPastDeadline(entry) ? undefined : entry
  }

  /**
   * Stores a value. `expiresAtMs` is 0 for never; a deadline that has passed already expires at the next `advance`.
   * Returns false, and changes nothing but when the old value was last used, if the gate refuses (`refusal` says why),
   * or if the entry alone would exceed `maxBytes`. O(1), plus the evictions.
   */
  set(key: string, value: Value, expiresAtMs = 0, meta: Meta = noMeta, flags = 0): boolean {
    const found = this.lru.get(key, lookup)
    const entry = found === undefined || this.hasExpired(found) ? undefined : found
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
    const cause = (flags & SetFlag.fill) !== 0 ? Cause.fill : Cause.write
    const isLocal = (flags & SetFlag.local) !== 0
    this.stats.writes++
    this.version++
    if (entry === undefined) {
      const added = new Entry(key, value, keptMeta, expiresAtMs, this.version, isLocal, size, 0)
      added.slot = this.slots.take(added)
      this.lru.set(key, added, unitSize)
      this.count(size)
      if (expiresAtMs !== 0) this.schedule(added.slot, expiresAtMs)
      this.recordIfWanted(cause, added, value, undefined)
    } else {
      const oldValue = entry.value
      const oldSize = entry.bytes
      entry.value = value
      entry.meta = keptMeta
      entry.version = this.version
      entry.isLocal = isLocal
      this.count(size - oldSize)
      entry.bytes = size
      if ((flags & SetFlag.keepTtl) === 0 && entry.expiresAtMs !== expiresAtMs) this.reschedule(entry, expiresAtMs)
      this.recordIfWanted(cause, entry, value, oldValue, oldSize)
    }
    while (this.lru.size > this.entriesMax || this.bytes > this.bytesMax) this.evictOne()
    if (this.pool.bytes > this.pool.alarmBytes) this.pool.onAlarm()
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
   * so no "write" is fired but a "touch". Returns false when there is no such entry. O(1).
   */
  expireAt(key: string, expiresAtMs: number): boolean {
    const entry = this.current(key)
    if (entry === undefined) {
      this.settle()
      return false
    }
    if (expiresAtMs !== 0 && expiresAtMs <= this.options.clock.nowMs()) {
      entry.expiresAtMs = expiresAtMs
      this.expire(entry)
    } else if (expiresAtMs !== entry.expiresAtMs) {
      this.version++
      entry.version = this.version
      this.reschedule(entry, expiresAtMs)
      this.recordIfWanted(Cause.touch, entry, entry.value, entry.value)
    }
    this.settle()
    return true
  }

  /**
   * Removes everything: what is due expires first, the rest is one "flush", which the watchers of all keys (`*`) see.
   * Watchers with the interest `Cause.flushKey` see an event for each of their keys before it, the least recently used
   * first. Returns how many the flush took. O(n).
   */
  flush(): number {
    this.wheel.advance(this.options.clock.nowMs(), Number.MAX_SAFE_INTEGER, this.expireSlot)
    const count = this.lru.size
    if ((this.trie.mask & flushKeyBit) !== 0) {
      for (const entry of this.lru.rvalues()) this.recordFlushed(entry as Entry)
    }
    this.lru = emptyLru() // clearing one costs O(n)
    this.slots.clear()
    this.wheel.clear()
    this.count(-this.bytes)
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

  /** Removes everything as `flush` does, and from then on refuses every write as too large. */
  close(): void {
    this.flush()
    this.limit(0, 0)
  }

  /**
   * Expires what is due at `nowMs`, in the order of the deadlines, then evicts what is beyond lowered limits, with at
   * most `limit` units of work; `limit` back means that there may be more. Afterwards `wake` is called again for what
   * comes earlier than `nextWakeMs`.
   */
  advance(nowMs: number, limit: number): number {
    if (this.isAdvancing) return 0
    this.isAdvancing = true
    try {
      const work = this.wheel.advance(nowMs, limit, this.expireAndSettleSlot)
      return this.isShrinking ? work + this.shrink(limit - work) : work
    } finally {
      this.isAdvancing = false
      this.wakeAtMs = this.nextWakeMs()
    }
  }

  /** When `advance` next has something to do, Infinity for never; 0, which has passed, while there is too much. */
  nextWakeMs(): number {
    return this.isShrinking ? 0 : this.wheel.nextWakeMs()
  }

  /**
   * Visits the entries in `count` slots from `cursor` on and returns the next cursor, 0 at the end. An entry that is
   * there during the whole walk is visited; one that comes or goes meanwhile may be. Fires nothing. O(count).
   */
  scan(cursor: number, count: number, visit: (entry: Entry) => void): number {
    const end = Math.min(this.slots.length, cursor + count)
    for (let slot = cursor; slot < end; slot++) {
      const entry = this.slots.at(slot)
      if (entry !== undefined && !this.isPastDeadline(entry)) visit(entry)
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

  private isPastDeadline(entry: Entry): boolean {
    return entry.expiresAtMs !== 0 && entry.expiresAtMs <= this.options.clock.nowMs()
  }

  /** The entry, unless there is none or its time has come: then it is expired here and now. */
  private current(key: string): Entry | undefined {
    const entry = this.lru.peek(key, lookup)
    return entry === undefined || this.hasExpired(entry) ? undefined : entry
  }

  /** Whether somebody wants to be asked for a write of this key. */
  private isGated(key: string, entry: Entry | undefined, flags: number): boolean {
    if ((flags & ungated) !== 0 || (this.trie.mask & beforeWriteBit) === 0) return false
    return entry === undefined
      ? (this.trie.match(key).mask & beforeWriteBit) !== 0
      : this.isWatched(entry, beforeWriteBit)
  }

  private setThroughGate(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): boolean {
    const write = this.pendingWrite(key, value, expiresAtMs, meta, flags)
    const refusal = this.askToWrite(write)
    if (refusal === null) {
      const wasSet = this.set(key, write.value, write.expiresAtMs, write.meta, (flags & SetFlag.local) | SetFlag.passed)
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
    write.expiresAtMs = write.keepsTtl ? (entry as Entry).expiresAtMs : expiresAtMs
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

  /** Expires the entry if its time has come: the clock is read only for entries that have a deadline. */
  private hasExpired(entry: Entry): boolean {
    if (!this.isPastDeadline(entry)) return false
    this.expire(entry)
    return true
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
    } else {
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
    this.slots.release(entry.slot)
    if (entry.expiresAtMs !== 0) this.wheel.cancel(entry.slot)
    this.count(-entry.bytes)
    this.version++
    this.recordIfWanted(cause, entry, undefined, entry.value)
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
    oldSize = 0
  ): void {
    const bit = causeBit(cause)
    const isWatched = (this.trie.mask & bit) !== 0 && this.isWatched(entry, bit)
    if (isWatched || this.log.wants(bit)) this.record(cause, entry, value, oldValue, this.version, oldSize, isWatched)
  }

  private record(
    cause: Cause,
    entry: Entry,
    value: Value | undefined,
    oldValue: Value | undefined,
    version: number,
    oldSize: number,
    isWatched: boolean
  ): void {
    const match = isWatched ? entry.answer.match : unmatched
    const event = this.eventOf(cause, entry, value, oldValue, version, match)
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
    count = 1
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
      match
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
const ungated = SetFlag.fill | SetFlag.passed
/** What the event of a whole flush is about. */
const nowhere = new Entry("", "", noMeta, 0, 0, false, 0, -1)
const wheelCapacityMin = 64 // slots; until one has a deadline there is room for none
const queueKeptMax = 1_024 // places; what one flush of many keys has grown is not kept for ever

const emptyLru = () => new LRUCache<string, Entry>({ maxSize: Number.MAX_SAFE_INTEGER })

// lru-cache writes into the options that it is given; ours are made once and used again.
const lookup = {}
const unitSize = { size: 1 }
