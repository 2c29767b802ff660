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
 * in the order of the changes, and only then does the sink see them. What the sink changes in turn is queued behind
 * them, so cascades are breadth first, and an operation from within a sink returns before its own events are seen.
 *
 * Invariants: every live entry has exactly one slot; it is on the wheel exactly when `expiresAtMs` is not 0; `bytes`
 * is the sum over the entries; entries and bytes are within their limits when an operation returns.
 */
import { LRUCache } from "lru-cache"
import { Cause, causeBit } from "./Cause.ts"
import { EventLog } from "./EventLog.ts"
import { type EventOrigin, type EventSink, KeyEvent } from "./KeyEvent.ts"
import { type Match, PatternTrie, unmatched } from "./PatternTrie.ts"
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
  readonly clock: Clock
  readonly sink: EventSink
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
  fill: 8
} as const

/** One key and what it holds. The keyspace alone changes it; others read it and let it go. */
export class Entry {
  match: Match = unmatched

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
}

/** What an entry costs beside its key, value and metadata: the record, its map and slot places. Measured, rounded. */
export const entryBytes = 120

export class Keyspace {
  readonly trie = new PatternTrie()
  readonly log = new EventLog()
  readonly stats = { hits: 0, misses: 0, writes: 0, deletes: 0, expires: 0, evictions: 0, flushes: 0, refused: 0 }
  /** Set by whoever changes entries on behalf of a trigger, for the events that come of it. */
  origin: EventOrigin | null = null
  /** Counts the changes; each entry carries the count of its own last one. */
  version = 0
  bytes = 0

  private readonly lru = new LRUCache<string, Entry>({ maxSize: Number.MAX_SAFE_INTEGER })
  private readonly slots = new SlotTable<Entry>()
  private readonly wheel: TimingWheel
  private wheelCapacity = 64
  private wakeAtMs = Number.POSITIVE_INFINITY
  private isAdvancing = false
  private sequence = 0
  private queue: KeyEvent[] = []
  private isSettling = false

  constructor(private readonly options: KeyspaceOptions) {
    this.wheel = new TimingWheel(options.clock.nowMs(), this.wheelCapacity)
  }

  /** Entries that are there, those past their deadline that nothing has found yet included. */
  get size(): number {
    return this.lru.size
  }

  get maxEntries(): number {
    return this.options.maxEntries
  }

  get maxBytes(): number {
    return this.options.maxBytes
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
      return undefined
    }
    this.stats.hits++
    const isWatched = (this.trie.mask & readBit) !== 0 && this.isWatched(entry, readBit)
    if (isWatched || this.log.wants(readBit)) {
      const { value } = entry
      this.record(Cause.read, entry, value, undefined, entry.version)
      this.settle()
      return value
    }
    return entry.value
  }

  /** A look without consequences: no event, no use, and an entry past its deadline is left for others to expire. O(1). */
  peek(key: string): Entry | undefined {
    const entry = this.lru.peek(key, lookup)
    return entry === undefined || this.isPastDeadline(entry) ? undefined : entry
  }

  /**
   * Stores a value. `expiresAtMs` is 0 for never; a deadline that has passed already expires at the next `advance`.
   * Returns false, and changes nothing but when the old value was last used, if the entry alone would exceed
   * `maxBytes`. O(1), plus the evictions.
   */
  set(key: string, value: Value, expiresAtMs = 0, meta: Meta = noMeta, flags = 0): boolean {
    const found = this.lru.get(key, lookup)
    const entry = found === undefined || this.hasExpired(found, false) ? undefined : found
    const keptMeta = entry !== undefined && (flags & SetFlag.keepMeta) !== 0 ? entry.meta : meta
    const size = entryBytes + key.length + byteSize(value) + metaByteSize(keptMeta)
    if (size > this.options.maxBytes) {
      this.stats.refused++
      this.settle()
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
      this.bytes += size
      if (expiresAtMs !== 0) this.schedule(added.slot, expiresAtMs)
      this.recordIfWanted(cause, added, value, undefined)
    } else {
      const oldValue = entry.value
      entry.value = value
      entry.meta = keptMeta
      entry.version = this.version
      entry.isLocal = isLocal
      this.bytes += size - entry.bytes
      entry.bytes = size
      if ((flags & SetFlag.keepTtl) === 0 && entry.expiresAtMs !== expiresAtMs) this.reschedule(entry, expiresAtMs)
      this.recordIfWanted(cause, entry, value, oldValue)
    }
    while (this.lru.size > this.options.maxEntries || this.bytes > this.options.maxBytes) this.evictOne()
    this.settle()
    return true
  }

  /** Removes an entry that a client, a trigger (cause "delete") or coherence ("invalidate") wants gone. O(1). */
  delete(key: string, cause: typeof Cause.delete | typeof Cause.invalidate = Cause.delete): boolean {
    const entry = this.lru.peek(key, lookup)
    if (entry === undefined || this.hasExpired(entry)) return false
    this.stats.deletes++
    this.remove(entry, cause)
    this.settle()
    return true
  }

  /**
   * Gives an entry another deadline, 0 for none. A deadline that has passed is an expiry now. Metadata and value stay,
   * so no "write" is fired but a "touch". Returns false when there is no such entry. O(1).
   */
  expireAt(key: string, expiresAtMs: number): boolean {
    const entry = this.lru.peek(key, lookup)
    if (entry === undefined || this.hasExpired(entry)) return false
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

  /** Removes everything: what is due expires first, the rest is one "flush". Returns how many the flush took. O(n). */
  flush(): number {
    this.wheel.advance(this.options.clock.nowMs(), Number.MAX_SAFE_INTEGER, this.expireSlot)
    const count = this.lru.size
    this.lru.clear()
    this.slots.clear()
    this.wheel.clear()
    this.bytes = 0
    this.version++
    this.stats.flushes++
    if (this.log.wants(causeBit(Cause.flush))) {
      this.log.append(
        new KeyEvent(
          ++this.sequence,
          Cause.flush,
          "",
          undefined,
          undefined,
          noMeta,
          this.version,
          0,
          this.options.clock.nowMs(),
          false,
          count,
          this.origin,
          unmatched
        )
      )
    }
    this.settle()
    return count
  }

  /**
   * Expires what is due at `nowMs`, in the order of the deadlines, with at most `limit` units of work; `limit` back
   * means that there may be more. Afterwards `wake` is called again for what comes earlier than `nextWakeMs`.
   */
  advance(nowMs: number, limit: number): number {
    if (this.isAdvancing) return 0
    this.isAdvancing = true
    try {
      return this.wheel.advance(nowMs, limit, this.expireAndSettleSlot)
    } finally {
      this.isAdvancing = false
      this.wakeAtMs = this.wheel.nextWakeMs()
    }
  }

  /** When `advance` next has something to do, Infinity for never. */
  nextWakeMs(): number {
    return this.wheel.nextWakeMs()
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
    if (entries > this.options.maxEntries || bytes > this.options.maxBytes) throw new Error("a limit is exceeded")
    this.wheel.checkInvariants()
  }

  private isPastDeadline(entry: Entry): boolean {
    return entry.expiresAtMs !== 0 && entry.expiresAtMs <= this.options.clock.nowMs()
  }

  /** Expires the entry if its time has come: the clock is read only for entries that have a deadline. */
  private hasExpired(entry: Entry, settles = true): boolean {
    if (!this.isPastDeadline(entry)) return false
    this.expire(entry)
    if (settles) this.settle()
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

  private remove(entry: Entry, cause: Cause): void {
    this.lru.delete(entry.key)
    this.forget(entry, cause)
  }

  /** The rest of a removal, once the entry is out of the recency order. */
  private forget(entry: Entry, cause: Cause): void {
    this.slots.release(entry.slot)
    if (entry.expiresAtMs !== 0) this.wheel.cancel(entry.slot)
    this.bytes -= entry.bytes
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
      this.wheelCapacity = Math.max(slot + 1, this.wheelCapacity * 2)
      this.wheel.grow(this.wheelCapacity)
    }
    const wakeMs = this.wheel.schedule(slot, expiresAtMs)
    if (wakeMs < this.wakeAtMs && !this.isAdvancing) {
      this.wakeAtMs = wakeMs
      this.options.wake(wakeMs)
    }
  }

  private isWatched(entry: Entry, bit: number): boolean {
    if (entry.match.generation !== this.trie.generation) entry.match = this.trie.match(entry.key)
    return (entry.match.mask & bit) !== 0
  }

  /** Asks first whether anyone cares; only then is there an event. */
  private recordIfWanted(cause: Cause, entry: Entry, value: Value | undefined, oldValue: Value | undefined): void {
    const bit = causeBit(cause)
    const isWatched = (this.trie.mask & bit) !== 0 && this.isWatched(entry, bit)
    if (isWatched || this.log.wants(bit)) this.record(cause, entry, value, oldValue, this.version)
  }

  private record(
    cause: Cause,
    entry: Entry,
    value: Value | undefined,
    oldValue: Value | undefined,
    version: number
  ): void {
    const bit = causeBit(cause)
    const isWatched = this.isWatched(entry, bit) // before the event is built: its match is brought up to date
    const event = new KeyEvent(
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
      1,
      this.origin,
      entry.match
    )
    if (this.log.wants(bit)) this.log.append(event)
    if (isWatched) this.queue.push(event)
  }

  /** Hands the queued events to the sink, unless an outer operation is doing it already. */
  private settle(): void {
    if (this.queue.length === 0 || this.isSettling) return
    this.isSettling = true
    try {
      for (let at = 0; at < this.queue.length; ) {
        while (at < this.queue.length) this.options.sink.onEvent(this.queue[at++] as KeyEvent, this)
        this.options.sink.onSettled(this) // whoever it tells may change entries: then there are events again
      }
    } finally {
      this.queue = []
      this.isSettling = false
    }
  }
}

const readBit = causeBit(Cause.read)

// lru-cache writes into the options that it is given; ours are made once and used again.
const lookup = {}
const unitSize = { size: 1 }
