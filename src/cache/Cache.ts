/**
 * The cache as an Effect service: the kernel's doors with typed errors, durations and text.
 *
 * `get` counts as a client's read; `unsafeGet` is the same without Effect, for hot paths; `peek` looks without
 * consequences. A write returns when its inline triggers have run.
 */
import { Context, Duration, Effect, Layer, Option } from "effect"
import { type Entry, type Keyspace, type Meta, noMeta, SetFlag } from "../kernel/index.ts"
import { CacheClock } from "./CacheClock.ts"
import { type CacheError, EntryTooLarge, InvalidTtl, InvalidValue, Rejected } from "./CacheError.ts"
import { Keyspaces } from "./Keyspaces.ts"
import type { Tenant } from "./Tenant.ts"
import { asText, fromValue, type Input, type Output, toBytes, toMetadata, toValue } from "./Values.ts"

export interface SetOptions {
  /** How long the entry lives, rounded up to 1 ms; for ever when left out. */
  readonly ttl?: Duration.DurationInput
  /** Plain data beside the value; triggers see it as `event.metadata`. */
  readonly metadata?: { readonly [key: string]: Input }
  readonly tags?: readonly string[]
  /** What it took to produce the value, in a unit of your own. */
  readonly cost?: number
  /** The entry stays on this instance. */
  readonly local?: boolean
}

/** An entry as it was when it was looked at. */
export interface EntryView {
  readonly key: string
  readonly value: Output
  readonly metadata: { readonly [key: string]: Output } | null
  readonly tags: readonly string[]
  readonly cost: number
  readonly version: number
  /** Milliseconds since the epoch; absent for an entry without a deadline. */
  readonly expiresAtMs: number | undefined
}

export interface CacheStats {
  readonly entries: number
  readonly bytes: number
  readonly hits: number
  readonly misses: number
  readonly writes: number
  readonly deletes: number
  /** Entries that went because they were known to be stale. */
  readonly invalidations: number
  readonly expires: number
  readonly evictions: number
  /** Writes and deletes that BEFORE triggers refused. */
  readonly rejected: number
}

/** The entries of one keyspace. */
export interface CacheService {
  /**
   * The value of `key`, or none. Fires ON_READ and counts as use. O(1).
   *
   * @example
   * const user = yield* cache.get("user:42")
   */
  readonly get: (key: string) => Effect.Effect<Option.Option<Output>>
  /** `get` without Effect: undefined for a miss. */
  readonly unsafeGet: (key: string) => Output | undefined
  /** The entry without consequences: no event, no use, no expiry. */
  readonly peek: (key: string) => EntryView | undefined
  /**
   * Stores a value; its triggers have run when this returns. Replaces deadline, metadata, tags and cost.
   * Fails with `InvalidValue` for what is no plain data, `InvalidTtl`, `EntryTooLarge`, or `Rejected` by a BEFORE
   * trigger; the old entry then stays.
   */
  readonly set: (key: string, value: Input, options?: SetOptions) => Effect.Effect<void, CacheError>
  /** `set` without Effect: returns the error instead of failing. */
  readonly unsafeSet: (key: string, value: Input, options?: SetOptions) => CacheError | undefined
  /** Whether there was such an entry. Fires ON_DELETE. Fails when a BEFORE trigger refuses: the entry then stays. */
  readonly delete: (key: string) => Effect.Effect<boolean, Rejected>
  /** `delete` without Effect: whether an entry went. False, too, when a BEFORE trigger refused; `delete` says why. */
  readonly unsafeDelete: (key: string) => boolean
  /**
   * Runs `body`, and makes one operation of all that it does before it returns: triggers see its changes when all of
   * them are done, and share one budget. Answers what it returns.
   *
   * @example
   * cache.unsafeBatch(() => {
   *   for (const [key, value] of entries) cache.unsafeSet(key, value)
   * })
   */
  readonly unsafeBatch: <A>(body: () => A) => A
  /** Whether there is such an entry. Fires nothing. */
  readonly has: (key: string) => Effect.Effect<boolean>
  /** The remaining life of an entry: none without an entry, infinity without a deadline. */
  readonly ttl: (key: string) => Effect.Effect<Option.Option<Duration.Duration>>
  /**
   * Counts the entry's life anew from now; zero or less removes it with cause "expire". Fires no ON_WRITE: the value
   * has not changed. False when there is no such entry. Source: Redis, expire.c, expireGenericCommand.
   */
  readonly expire: (key: string, ttl: Duration.DurationInput) => Effect.Effect<boolean, InvalidTtl>
  /** Takes the deadline away. False when there is no such entry or it has none. */
  readonly persist: (key: string) => Effect.Effect<boolean>
  /** The keys that begin with `prefix`, in no order. O(entries): for tools, not for requests. */
  readonly keys: (prefix?: string) => Effect.Effect<string[]>
  /** Removes everything as one flush; returns how many there were. */
  readonly clear: Effect.Effect<number>
  readonly stats: Effect.Effect<CacheStats>
}

/** The entries of everybody who is no tenant, and by `of` those of tenants. */
export interface MainCacheService extends CacheService {
  /**
   * The entries of a tenant, under its own, bare keys: what its scripts have put, and what they will find. A tenant
   * that was removed has none, and every write is too large for it (`EntryTooLarge`). O(1).
   *
   * @example
   * const visits = yield* cache.of(tenant).get("user_count")
   */
  readonly of: (tenant: Tenant) => CacheService
}

export class Cache extends Context.Tag("mimosa-cache/cache/Cache")<Cache, MainCacheService>() {
  static readonly layer: Layer.Layer<Cache, never, Keyspaces | CacheClock> = Layer.effect(
    Cache,
    Effect.gen(function* () {
      const { main } = yield* Keyspaces
      const clock = yield* CacheClock
      const nowMs = () => clock.nowMs()
      const known = new WeakMap<Tenant, CacheService>()
      return Cache.of({
        ...make(main, nowMs),
        of: (tenant) => {
          const service = known.get(tenant) ?? make(tenant.keyspace, nowMs)
          known.set(tenant, service)
          return service
        }
      })
    })
  )
}

/** The service over one keyspace. */
export const make = (keyspace: Keyspace, nowMs: () => number): CacheService => {
  const unsafeGet = (key: string): Output | undefined => {
    const value = keyspace.get(toBytes(key))
    return value === undefined ? undefined : fromValue(value)
  }
  const unsafeSet = (key: string, input: Input, options?: SetOptions): CacheError | undefined => {
    const value = toValue(input)
    if (isRefusal(value)) return value
    let [expiresAtMs, meta, flags]: [number, Meta, number] = [0, noMeta, 0]
    if (options !== undefined) {
      const made = toMeta(options)
      if (isRefusal(made)) return made
      meta = made
      if (options.ttl !== undefined) {
        const ttlMs = toMillis(options.ttl)
        if (!(ttlMs > 0)) return new InvalidTtl({ ttl: options.ttl })
        expiresAtMs = ttlMs === Number.POSITIVE_INFINITY ? 0 : nowMs() + Math.ceil(ttlMs)
      }
      if (options.local === true) flags = SetFlag.local
    }
    return keyspace.set(toBytes(key), value, expiresAtMs, meta, flags)
      ? undefined
      : (rejection(keyspace, key) ?? new EntryTooLarge({ key, maxBytes: keyspace.maxBytes }))
  }
  const unsafeDelete = (key: string): boolean => keyspace.delete(toBytes(key))
  return {
    unsafeGet,
    unsafeSet,
    unsafeDelete,
    unsafeBatch: (body) => {
      const wasHeld = keyspace.hold()
      try {
        return body()
      } finally {
        keyspace.release(wasHeld)
      }
    },
    get: (key) =>
      Effect.sync(() => {
        const found = unsafeGet(key)
        return found === undefined ? Option.none() : Option.some(found)
      }),
    set: (key, value, options) =>
      Effect.suspend(() => {
        const error = unsafeSet(key, value, options)
        return error === undefined ? Effect.void : Effect.fail(error)
      }),
    delete: (key) =>
      Effect.suspend(() => {
        if (unsafeDelete(key)) return Effect.succeed(true)
        return rejection(keyspace, key) ?? Effect.succeed(false)
      }),
    peek: (key) => {
      const entry = keyspace.peek(toBytes(key))
      return entry === undefined ? undefined : view(entry)
    },
    has: (key) => Effect.sync(() => keyspace.peek(toBytes(key)) !== undefined),
    ttl: (key) =>
      Effect.sync(() => {
        const entry = keyspace.peek(toBytes(key))
        if (entry === undefined) return Option.none()
        return Option.some(entry.expiresAtMs === 0 ? Duration.infinity : Duration.millis(entry.expiresAtMs - nowMs()))
      }),
    expire: (key, ttl) =>
      Effect.suspend(() => {
        const ttlMs = toMillis(ttl)
        if (Number.isNaN(ttlMs)) return Effect.fail(new InvalidTtl({ ttl }))
        const expiresAtMs = ttlMs === Number.POSITIVE_INFINITY ? 0 : nowMs() + Math.ceil(ttlMs)
        return Effect.succeed(keyspace.expireAt(toBytes(key), expiresAtMs))
      }),
    persist: (key) =>
      Effect.sync(() => {
        const entry = keyspace.peek(toBytes(key))
        return entry !== undefined && entry.expiresAtMs !== 0 && keyspace.expireAt(entry.key, 0)
      }),
    keys: (prefix = "") =>
      Effect.sync(() => {
        const start = toBytes(prefix)
        const keys: string[] = []
        keyspace.scan(0, Number.MAX_SAFE_INTEGER, (entry) => {
          if (entry.key.startsWith(start)) keys.push(asText(entry.key))
        })
        return keys
      }),
    clear: Effect.sync(() => keyspace.flush()),
    stats: Effect.sync(() => {
      const { hits, misses, writes, deletes, invalidations, expires, evictions, rejected } = keyspace.stats
      const held = { entries: keyspace.size, bytes: keyspace.bytes }
      return { ...held, hits, misses, writes, deletes, invalidations, expires, evictions, rejected }
    })
  }
}

/** Why the keyspace's last operation, which was on `key`, was refused by a trigger; undefined where it was not. */
const rejection = ({ refusal }: Keyspace, key: string): Rejected | undefined =>
  refusal === null ? undefined : new Rejected({ key, reason: asText(refusal) })

const view = (entry: Entry): EntryView => ({
  key: asText(entry.key),
  value: fromValue(entry.value),
  metadata: fromValue(entry.meta.metadata) as EntryView["metadata"],
  tags: entry.meta.tags.map(asText),
  cost: entry.meta.cost,
  version: entry.version,
  expiresAtMs: entry.expiresAtMs === 0 ? undefined : entry.expiresAtMs
})

const toMeta = (options: SetOptions): Meta | InvalidValue => {
  const { metadata, tags = [], cost = 0 } = options
  if (metadata === undefined && tags.length === 0 && cost === 0) return noMeta
  const stored = metadata === undefined ? null : toMetadata(metadata)
  if (isRefusal(stored)) return stored
  return Object.freeze({ metadata: stored, tags: Object.freeze(tags.map(toBytes)), cost })
}

/** Milliseconds from 0 on, or NaN for what is no duration. */
const toMillis = (ttl: Duration.DurationInput): number =>
  typeof ttl === "number"
    ? Math.max(0, ttl) // Duration takes NaN for zero, which would expire the entry
    : Option.match(Duration.decodeUnknown(ttl), { onNone: () => Number.NaN, onSome: Duration.toMillis })

const isRefusal = (made: unknown): made is InvalidValue => made instanceof InvalidValue
