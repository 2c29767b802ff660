/**
 * What a keyspace means, written down in the plainest way: a Map in the order of use, deadlines that are searched one
 * by one, a list of watchers that is filtered for each event. The real one must not be told from it.
 *
 * Its order is the contract's: the change first, then its events into the log, then the sink, which sees the events of
 * what it does itself after those that are waiting already.
 */
import { Cause, causeBit } from "../../src/kernel/Cause.ts"
import type { EventOrigin } from "../../src/kernel/KeyEvent.ts"
import { entryBytes, SetFlag } from "../../src/kernel/Keyspace.ts"
import type { Watcher } from "../../src/kernel/PatternTrie.ts"
import { byteSize, type Meta, metaByteSize, noMeta, type Value } from "../../src/kernel/Value.ts"

export interface PlainEntry {
  readonly key: string
  value: Value
  meta: Meta
  expiresAtMs: number
  version: number
  isLocal: boolean
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

export interface PlainOptions {
  readonly maxEntries: number
  readonly maxBytes: number
  readonly clock: { nowMs(): number }
  readonly onEvent: (event: PlainEvent) => void
  readonly onSettled: () => void
}

export class PlainKeyspace {
  readonly stats = { hits: 0, misses: 0, writes: 0, deletes: 0, expires: 0, evictions: 0, flushes: 0, refused: 0 }
  readonly log: PlainEvent[] = []
  watchers: Watcher[] = []
  origin: EventOrigin | null = null
  version = 0
  /** Least recently used first. */
  private readonly entries = new Map<string, PlainEntry>()
  private queue: PlainEvent[] = []
  private isSettling = false
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
    const keptMeta = entry !== undefined && flags & SetFlag.keepMeta ? entry.meta : meta
    const bytes = entryBytes + key.length + byteSize(value) + metaByteSize(keptMeta)
    if (bytes > this.options.maxBytes) {
      this.stats.refused++
      this.settle()
      return false
    }
    this.stats.writes++
    const deadlineMs = entry !== undefined && flags & SetFlag.keepTtl ? entry.expiresAtMs : expiresAtMs
    const oldValue = entry?.value
    const stored = entry ?? { key, value, meta, expiresAtMs: 0, version: 0, isLocal: false, bytes, dueMs: 0, turn: 0 }
    stored.value = value
    stored.meta = keptMeta
    stored.bytes = bytes
    stored.version = ++this.version
    stored.isLocal = (flags & SetFlag.local) !== 0
    this.entries.set(key, stored)
    if (deadlineMs !== stored.expiresAtMs) this.schedule(stored, deadlineMs)
    this.report(flags & SetFlag.fill ? Cause.fill : Cause.write, stored, value, oldValue)
    for (const oldest of this.entries.values()) {
      if (this.size <= this.options.maxEntries && this.bytes <= this.options.maxBytes) break
      this.remove(oldest, this.isPast(oldest) ? Cause.expire : Cause.evict)
    }
    this.settle()
    return true
  }

  delete(key: string, cause: Cause): boolean {
    const entry = this.current(key)
    if (entry !== undefined) this.remove(entry, cause)
    this.settle()
    return entry !== undefined
  }

  expireAt(key: string, expiresAtMs: number): boolean {
    const entry = this.current(key)
    if (entry !== undefined && expiresAtMs !== 0 && expiresAtMs <= this.options.clock.nowMs()) {
      entry.expiresAtMs = expiresAtMs
      this.remove(entry, Cause.expire)
    } else if (entry !== undefined && expiresAtMs !== entry.expiresAtMs) {
      entry.version = ++this.version
      this.schedule(entry, expiresAtMs)
      this.report(Cause.touch, entry, entry.value, entry.value)
    }
    this.settle()
    return entry !== undefined
  }

  flush(): number {
    this.expireDue(this.options.clock.nowMs(), false)
    const count = this.size
    this.entries.clear()
    this.stats.flushes++
    const nobody = { key: "", meta: noMeta, expiresAtMs: 0, isLocal: false, watchers: [] }
    const at = { version: ++this.version, atMs: this.options.clock.nowMs(), origin: this.origin }
    this.log.push({ cause: Cause.flush, value: undefined, oldValue: undefined, count, ...nobody, ...at })
    this.settle()
    return count
  }

  advance(nowMs: number): void {
    if (this.isAdvancing) return
    this.isAdvancing = true
    this.expireDue(nowMs, true)
    this.isAdvancing = false
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
    else this.stats.deletes++
    this.report(cause, entry, undefined, entry.value)
  }

  private report(
    cause: Cause,
    entry: PlainEntry,
    value: Value | undefined,
    oldValue: Value | undefined,
    version = this.version
  ): void {
    const { key, meta, expiresAtMs, isLocal } = entry
    const watchers = this.watchers
      .filter(({ mask }) => (mask & causeBit(cause)) !== 0)
      .filter(({ pattern: { kind, text } }) => (kind === "exact" ? key === text : key.startsWith(text)))
      .sort((a, b) => b.priority - a.priority)
    const at = { version, atMs: this.options.clock.nowMs(), origin: this.origin }
    const event = { cause, key, value, oldValue, meta, expiresAtMs, isLocal, count: 1, watchers, ...at }
    this.log.push(event)
    if (watchers.length > 0) this.queue.push(event)
  }

  private settle(): void {
    if (this.isSettling) return
    this.isSettling = true
    while (this.queue.length > 0) {
      for (let event = this.queue.shift(); event !== undefined; event = this.queue.shift()) this.options.onEvent(event)
      this.options.onSettled()
    }
    this.isSettling = false
  }
}
