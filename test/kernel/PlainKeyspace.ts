/**
 * What a keyspace means, written down in the plainest way: a Map in the order of use, deadlines that are searched one
 * by one, a list of watchers that is filtered for each event. The real one must not be told from it.
 *
 * Its order is the contract's: the gate is asked first, then the change, then its events go into the log, then the sink
 * sees them, and the events of what it does itself after those that are waiting already.
 */
import { Cause, causeBit } from "../../src/kernel/Cause.ts"
import type { EventOrigin } from "../../src/kernel/KeyEvent.ts"
import { EntrySource, entryBytes, SetFlag } from "../../src/kernel/Keyspace.ts"
import { patternMatches } from "../../src/kernel/Pattern.ts"
import type { Watcher } from "../../src/kernel/PatternTrie.ts"
import { byteSize, type Meta, metaByteSize, noMeta, type Value } from "../../src/kernel/Value.ts"

export interface PlainEntry {
  readonly key: string
  value: Value
  meta: Meta
  expiresAtMs: number
  version: number
  isLocal: boolean
  source: EntrySource
  bytes: number
  /** When it is due, and its turn among those due at the same time: a deadline that has passed is due now. */
  dueMs: number
  turn: number
}

export interface PlainEvent {
  readonly cause: Cause
  readonly key: string
  readonly value: Value | undefined
  readonly oldValue: Value | undefined
  readonly meta: Meta
  readonly version: number
  readonly expiresAtMs: number
  readonly atMs: number
  readonly isLocal: boolean
  readonly count: number
  readonly origin: EventOrigin | null
  readonly watchers: readonly Watcher[]
}

/** The right to fill a key, until something has happened to the key. */
export interface PlainLease {
  readonly key: string
  isRevoked: boolean
  isEnded: boolean
}

/** A write as the gate sees it, and may change. */
export interface PlainWrite {
  readonly key: string
  value: Value
  expiresAtMs: number
  meta: Meta
  readonly oldEntry: PlainEntry | undefined
  readonly keepsTtl: boolean
  readonly watchers: readonly Watcher[]
}

export interface PlainOptions {
  readonly maxEntries: number
  readonly maxBytes: number
  readonly clock: { nowMs(): number }
  readonly onEvent: (event: PlainEvent) => void
  readonly onSettled: () => void
  readonly beforeWrite: (write: PlainWrite) => string | null
  readonly beforeDelete: (entry: PlainEntry, watchers: readonly Watcher[]) => string | null
}

export class PlainKeyspace {
  readonly stats = {
    ...{ hits: 0, misses: 0, writes: 0, fills: 0, deletes: 0, invalidations: 0, expires: 0 },
    ...{ evictions: 0, flushes: 0, refused: 0, rejected: 0, sinkErrors: 0 }
  }
  refusal: string | null = null
  readonly log: PlainEvent[] = []
  watchers: Watcher[] = []
  origin: EventOrigin | null = null
  version = 0
  /** Least recently used first. */
  private readonly entries = new Map<string, PlainEntry>()
  private leases: PlainLease[] = []
  private queue: PlainEvent[] = []
  private isHeld = false
  private isUnsettled = false
  private openOperations = 0
  private isSettledLater = false
  private isAdvancing = false
  private reachedMs: number
  private turns = 0

  constructor(private readonly options: PlainOptions) {
    this.reachedMs = options.clock.nowMs()
  }

  get size(): number {
    return this.entries.size
  }

  get bytes(): number {
    let bytes = 0
    for (const entry of this.entries.values()) bytes += entry.bytes
    return bytes
  }

  /** What a walk over all entries meets. */
  live(): PlainEntry[] {
    return [...this.entries.values()].filter((entry) => !this.isPast(entry))
  }

  get(key: string): Value | undefined {
    const entry = this.current(key)
    const found = entry?.value
    if (entry === undefined) this.stats.misses++
    else {
      this.stats.hits++
      this.use(entry)
      this.report(Cause.read, entry, entry.value, undefined, entry.version)
    }
    this.settle()
    return found
  }

  peek(key: string): PlainEntry | undefined {
    const entry = this.entries.get(key)
    return entry === undefined || this.isPast(entry) ? undefined : entry
  }

  set(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): boolean {
    const entry = this.current(key)
    if (entry !== undefined) this.use(entry)
    if (this.wantsToBeAsked(Cause.beforeWrite, key) && !(flags & SetFlag.passed)) {
      const write = this.writeOf(key, value, expiresAtMs, meta, flags)
      const asGiven = { ...write }
      const refusal = this.ask(() => this.options.beforeWrite(write))
      if (typeof refusal === "string") {
        this.settle()
        this.refusal = refusal
        return false
      }
      const by = refusal === undefined ? asGiven : write
      return this.set(key, by.value, by.expiresAtMs, by.meta, (flags & SetFlag.local) | SetFlag.passed)
    }
    const keptMeta = entry !== undefined && flags & SetFlag.keepMeta ? entry.meta : meta
    const bytes = entryBytes + key.length + byteSize(value) + metaByteSize(keptMeta)
    if (bytes > this.options.maxBytes) {
      this.stats.refused++
      this.settle()
      this.refusal = null
      return false
    }
    this.stats.writes++
    this.revoke(key)
    const deadlineMs = entry !== undefined && flags & SetFlag.keepTtl ? entry.expiresAtMs : expiresAtMs
    const stored = entry ?? this.added(key, value)
    const oldValue = entry?.value
    this.store(stored, value, deadlineMs, keptMeta, bytes, EntrySource.written)
    stored.isLocal = (flags & SetFlag.local) !== 0
    this.report(Cause.write, stored, value, oldValue)
    this.makeRoom()
    this.settle()
    this.refusal = null
    return true
  }

  lease(key: string): PlainLease {
    const lease = { key, isRevoked: false, isEnded: false }
    this.leases.push(lease)
    return lease
  }

  endLease(lease: PlainLease): void {
    lease.isEnded = true
    this.leases = this.leases.filter((each) => each !== lease)
  }

  fill(lease: PlainLease, value: Value, expiresAtMs: number, meta: Meta, source: EntrySource): boolean {
    const wasEnded = lease.isEnded
    this.endLease(lease)
    if (wasEnded || lease.isRevoked) {
      if (!wasEnded) this.settle()
      return false
    }
    const entry = this.current(lease.key)
    if (entry !== undefined) this.use(entry)
    if (expiresAtMs !== 0 && expiresAtMs <= this.options.clock.nowMs()) {
      this.settle()
      return false
    }
    const bytes = entryBytes + lease.key.length + byteSize(value) + metaByteSize(meta)
    const isStored = bytes <= this.options.maxBytes
    if (isStored) {
      this.stats.fills++
      const stored = entry ?? this.added(lease.key, value)
      const oldValue = entry?.value
      this.store(stored, value, expiresAtMs, meta, bytes, source)
      this.report(Cause.fill, stored, value, oldValue)
      this.makeRoom()
    } else this.stats.refused++
    this.settle()
    return isStored
  }

  delete(key: string, cause: Cause, hasPassed: boolean): boolean {
    const refusal = cause === Cause.delete && !hasPassed ? this.refusalToDelete(key) : null
    const entry = refusal === null ? this.current(key) : undefined
    if (entry !== undefined) this.remove(entry, cause)
    if (refusal === null) this.revoke(key)
    this.settle()
    this.refusal = refusal
    return entry !== undefined
  }

  gateWrite(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): PlainWrite | string {
    const write = this.writeOf(key, value, expiresAtMs, meta, flags)
    const asGiven = { ...write }
    const isAsked = this.wantsToBeAsked(Cause.beforeWrite, key) && !(flags & SetFlag.passed)
    const refusal = isAsked ? this.ask(() => this.options.beforeWrite(write)) : null
    this.settle()
    if (typeof refusal === "string") return refusal
    return refusal === undefined ? asGiven : write
  }

  gateDelete(key: string): string | null {
    const refusal = this.refusalToDelete(key)
    this.settle()
    return refusal
  }

  expireAt(key: string, expiresAtMs: number): boolean {
    const entry = this.current(key)
    if (entry !== undefined && expiresAtMs !== 0 && expiresAtMs <= this.options.clock.nowMs()) {
      entry.expiresAtMs = expiresAtMs
      this.revoke(key)
      this.remove(entry, Cause.expire)
    } else if (entry !== undefined && expiresAtMs !== entry.expiresAtMs) {
      this.revoke(key)
      entry.source = EntrySource.written
      entry.version = ++this.version
      this.schedule(entry, expiresAtMs)
      this.report(Cause.touch, entry, entry.value, entry.value)
    }
    this.settle()
    return entry !== undefined
  }

  flush(): number {
    return this.flushAll(() => true)
  }

  flushShared(): number {
    return this.flushAll((entry) => !entry.isLocal)
  }

  private flushAll(isTaken: (entry: PlainEntry) => boolean): number {
    this.expireDue(this.options.clock.nowMs(), false)
    const taken = [...this.entries.values()].filter(isTaken)
    const count = taken.length
    for (const entry of taken) {
      this.entries.delete(entry.key)
      const watchers = this.watchersOf(Cause.flushKey, entry.key)
      if (watchers.length === 0) continue
      this.version++
      this.tell(this.eventOf(Cause.flush, entry, undefined, entry.value, this.version, watchers))
    }
    for (const { key } of this.leases) this.revoke(key)
    this.stats.flushes++
    const watchers = this.watchersOf(Cause.flush, "")
    const event = this.eventOf(Cause.flush, this.added("", ""), undefined, undefined, ++this.version, watchers)
    this.tell({ ...event, count })
    this.settle()
    return count
  }

  advance(nowMs: number): void {
    if (this.isAdvancing) return
    this.isAdvancing = true
    this.expireDue(nowMs, true)
    this.isAdvancing = false
  }

  hold(): boolean {
    const wasHeld = this.isHeld
    this.isHeld = true
    return wasHeld
  }

  release(wasHeld: boolean): void {
    this.isHeld = wasHeld
    this.settle()
  }

  beginOperation(): void {
    this.openOperations++
  }

  endOperation(): void {
    this.openOperations--
    if (this.openOperations > 0 || !this.isSettledLater) return
    this.isSettledLater = false
    this.isUnsettled = true
    this.settle()
  }

  private expireDue(nowMs: number, settles: boolean): void {
    for (;;) {
      const untilMs = Math.max(nowMs, this.reachedMs)
      let next: PlainEntry | undefined
      for (const entry of this.entries.values()) {
        if (entry.expiresAtMs === 0 || entry.dueMs > untilMs) continue
        if (next === undefined || entry.dueMs < next.dueMs || (entry.dueMs === next.dueMs && entry.turn < next.turn)) {
          next = entry
        }
      }
      if (next === undefined) {
        this.reachedMs = untilMs
        return
      }
      this.reachedMs = next.dueMs
      this.remove(next, Cause.expire)
      if (settles) this.settle()
    }
  }

  private isPast(entry: PlainEntry): boolean {
    return entry.expiresAtMs !== 0 && entry.expiresAtMs <= this.options.clock.nowMs()
  }

  /** The entry, unless there is none or its time has come: then it is expired here and now. */
  private current(key: string): PlainEntry | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined || !this.isPast(entry)) return entry
    this.remove(entry, Cause.expire)
    return undefined
  }

  private added(key: string, value: Value): PlainEntry {
    const source = EntrySource.written
    const nothing = { meta: noMeta, expiresAtMs: 0, version: 0, isLocal: false, source, bytes: 0, dueMs: 0, turn: 0 }
    return { key, value, ...nothing }
  }

  private store(
    entry: PlainEntry,
    value: Value,
    deadlineMs: number,
    meta: Meta,
    bytes: number,
    source: EntrySource
  ): void {
    entry.value = value
    entry.meta = meta
    entry.bytes = bytes
    entry.source = source
    entry.version = ++this.version
    this.entries.set(entry.key, entry)
    if (deadlineMs !== entry.expiresAtMs) this.schedule(entry, deadlineMs)
  }

  private makeRoom(): void {
    for (const oldest of this.entries.values()) {
      if (this.size <= this.options.maxEntries && this.bytes <= this.options.maxBytes) break
      this.remove(oldest, this.isPast(oldest) ? Cause.expire : Cause.evict)
    }
  }

  private revoke(key: string): void {
    for (const lease of this.leases) if (lease.key === key) lease.isRevoked = true
  }

  private use(entry: PlainEntry): void {
    this.entries.delete(entry.key)
    this.entries.set(entry.key, entry)
  }

  private schedule(entry: PlainEntry, expiresAtMs: number): void {
    entry.expiresAtMs = expiresAtMs
    entry.dueMs = Math.max(expiresAtMs, this.reachedMs)
    entry.turn = ++this.turns
  }

  private remove(entry: PlainEntry, cause: Cause): void {
    this.entries.delete(entry.key)
    this.version++
    if (cause === Cause.expire) this.stats.expires++
    else if (cause === Cause.evict) this.stats.evictions++
    else if (cause === Cause.invalidate) this.stats.invalidations++
    else this.stats.deletes++
    const isSilent = cause === Cause.expire && entry.source === EntrySource.copied
    const watchers = isSilent ? [] : this.watchersOf(cause, entry.key)
    this.tell(this.eventOf(cause, entry, undefined, entry.value, this.version, watchers))
  }

  private report(
    cause: Cause,
    entry: PlainEntry,
    value: Value | undefined,
    oldValue: Value | undefined,
    version = this.version
  ): void {
    this.tell(this.eventOf(cause, entry, value, oldValue, version, this.watchersOf(cause, entry.key)))
  }

  private eventOf(
    cause: Cause,
    { key, meta, expiresAtMs, isLocal }: PlainEntry,
    value: Value | undefined,
    oldValue: Value | undefined,
    version: number,
    watchers: readonly Watcher[]
  ): PlainEvent {
    const at = { version, atMs: this.options.clock.nowMs(), origin: this.origin }
    return { cause, key, value, oldValue, meta, expiresAtMs, isLocal, count: 1, watchers, ...at }
  }

  private tell(event: PlainEvent): void {
    this.log.push(event)
    if (event.watchers.length === 0) return
    this.queue.push(event)
    this.isUnsettled = true
  }

  private watchersOf(cause: Cause, key: string): readonly Watcher[] {
    return this.watchers
      .filter(({ mask }) => (mask & causeBit(cause)) !== 0)
      .filter(({ pattern }) => patternMatches(pattern, key))
      .sort((a, b) => b.priority - a.priority)
  }

  private wantsToBeAsked(cause: Cause, key: string): boolean {
    return this.watchersOf(cause, key).length > 0
  }

  private writeOf(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): PlainWrite {
    const oldEntry = this.current(key)
    const keepsTtl = oldEntry !== undefined && (flags & SetFlag.keepTtl) !== 0
    return {
      key,
      value,
      oldEntry,
      keepsTtl,
      expiresAtMs: keepsTtl ? (oldEntry as PlainEntry).expiresAtMs : expiresAtMs,
      meta: oldEntry !== undefined && flags & SetFlag.keepMeta ? oldEntry.meta : meta,
      watchers: this.watchersOf(Cause.beforeWrite, key)
    }
  }

  private refusalToDelete(key: string): string | null {
    if (this.watchers.every(({ mask }) => (mask & causeBit(Cause.beforeDelete)) === 0)) return null
    const entry = this.current(key)
    const watchers = this.watchersOf(Cause.beforeDelete, key)
    if (entry === undefined || watchers.length === 0) return null
    return this.ask(() => this.options.beforeDelete(entry, watchers)) ?? null
  }

  /** What the gate says; undefined where it has thrown, and what it did to the write does not count. */
  private ask(gate: () => string | null): string | null | undefined {
    const wasHeld = this.isHeld
    this.isHeld = true
    this.isUnsettled = true
    try {
      const refusal = gate()
      if (refusal !== null) this.stats.rejected++
      return refusal
    } catch {
      this.stats.sinkErrors++
      return undefined
    } finally {
      this.isHeld = wasHeld
    }
  }

  private settle(): void {
    if (this.isHeld) return
    this.isHeld = true
    const { origin } = this
    this.origin = null
    const guarded = (call: () => void): void => {
      try {
        call()
      } catch {
        this.stats.sinkErrors++
      }
    }
    while (this.isUnsettled) {
      for (let event = this.queue.shift(); event !== undefined; event = this.queue.shift()) {
        const heard = event
        guarded(() => this.options.onEvent(heard))
      }
      this.isUnsettled = false
      if (this.openOperations === 0) guarded(() => this.options.onSettled())
      else this.isSettledLater = true
    }
    this.isHeld = false
    this.origin = origin
  }
}
