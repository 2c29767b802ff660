/**
 * The cache as an Effect service: the kernel's doors with typed errors, durations and text.
 *
 * `get` counts as a client's read, and waits where a key that is not here can be had from a peer, a tier or a loader;
 * `unsafeGet` is the same without Effect, for hot paths, of what is here alone; `peek` looks without consequences. A
 * write returns when its inline triggers have run.
 */
import { Cause, Context, Duration, Effect, Exit, Layer, Option, Runtime, type Scope } from "effect"
import { type Entry, type Keyspace, noMeta, type Value } from "../kernel/index.ts"
import { Acknowledgement, type AcknowledgementService, isAckMode, type WriteOptions } from "./Acknowledgement.ts"
import { CacheClock } from "./CacheClock.ts"
import {
  type AcknowledgementError,
  type CacheError,
  EntryTooLarge,
  InvalidAckMode,
  InvalidLoader,
  InvalidPrefix,
  InvalidTtl,
  InvalidValue,
  type LoadError,
  NotAcknowledged,
  Rejected
} from "./CacheError.ts"
import { CacheFills, Fills, type WarmReport } from "./Fills.ts"
import { Keyspaces } from "./Keyspaces.ts"
import { type Load, type Loader, type LoadOptions, type LoadRequest, loaderOf } from "./Loaders.ts"
import { Loans } from "./Loans.ts"
import { flagsOf, lifeOf, metaOf, type SetOptions, toMillis } from "./SetOptions.ts"
import type { Tenant } from "./Tenant.ts"
import { asText, fromValue, type Input, type Output, toBytes, toValue } from "./Values.ts"

/** A load as it is given: it may answer at once, with a promise, or with an Effect. See `Load`. */
export type AnyLoad<R = never> = (
  request: LoadRequest
) => Input | undefined | PromiseLike<Input | undefined> | Effect.Effect<Input | undefined, unknown, R>

/** Options of a load or loader that are none. */
export type OptionsError = InvalidLoader | InvalidTtl | InvalidValue

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
   * The value of `key`, or none. A key that is not here is looked for among the peers, then in the tier, then by the
   * loader that is registered for it (`loader`); without any of these the answer is there at once, in O(1). A hit fires
   * ON_READ and counts as use; a miss that is filled fires no trigger (only those that include fills). Fails with
   * `LoadFailed`, `LoadTimedOut` or `TooManyLoads`. Interrupted, it waits no longer.
   *
   * @example
   * const user = yield* cache.get("user:42")
   */
  readonly get: (key: string) => Effect.Effect<Option.Option<Output>, LoadError>
  /**
   * The value of `key`, which is loaded where neither this cache nor a peer nor the tier has it. However many ask at
   * once, it is loaded once; a value that was changed during the load is answered to those who waited, and not stored
   * (law 11). None where the load answers `undefined`, which is not kept; `null` is a value. Errors are not kept either.
   * The load is an Effect, a promise or a value; it must not wait for its own key. Fails with `LoadFailed`,
   * `LoadTimedOut`, `TooManyLoads`, or for options that are none.
   *
   * @example
   * const user = yield* cache.getOrSet("user:42", ({ key, signal }) => fetchUser(key, signal), { ttl: "5 minutes" })
   */
  readonly getOrSet: <R = never>(
    key: string,
    load: AnyLoad<R>,
    options?: LoadOptions
  ) => Effect.Effect<Option.Option<Output>, LoadError | OptionsError, R>
  /**
   * Has `load` fill keys that match the pattern (a key, a prefix with `*`, or another glob) whenever they are missed,
   * until the scope is closed. The most specific loader serves: of the very key, of the longest prefix, the first glob.
   * Fails with `InvalidLoader` for a pattern that is none or has a loader already, and beyond 1,000 loaders.
   *
   * @example
   * yield* cache.loader("user:*", ({ key }) => fetchUser(key), { ttl: "5 minutes" })
   */
  readonly loader: <R = never>(
    pattern: string,
    load: AnyLoad<R>,
    options?: LoadOptions
  ) => Effect.Effect<void, OptionsError, R | Scope.Scope>
  /**
   * Loads keys anew by their loaders, each once, a few at a time. Keys that are here are invalidated first, which peers
   * hear of. Keys without a loader stay as they are; they and loads that failed are in the report.
   */
  readonly warm: (keys: Iterable<string>) => Effect.Effect<WarmReport>
  /** `get` of what is here, without Effect: undefined for a miss. */
  readonly unsafeGet: (key: string) => Output | undefined
  /** The entry without consequences: no event, no use, no expiry. */
  readonly peek: (key: string) => EntryView | undefined
  /**
   * Stores a value; its triggers have run when this returns. Replaces deadline, metadata, tags and cost.
   * Fails with `InvalidValue` for what is no plain data, `InvalidTtl`, `InvalidExpiryOwner`, `EntryTooLarge`, or `Rejected` by a BEFORE
   * trigger; the old entry then stays. With an `ackMode` other than "async" it returns when other instances have applied
   * it, and fails with `NotAcknowledged` where some do not say so in time: then it has happened all the same. With one that
   * is none it fails with `InvalidAckMode`, and nothing has happened.
   */
  readonly set: (
    key: string,
    value: Input,
    options?: SetOptions
  ) => Effect.Effect<void, CacheError | AcknowledgementError>
  /** `set` without Effect, which waits for nobody: returns the error instead of failing. */
  readonly unsafeSet: (key: string, value: Input, options?: SetOptions) => CacheError | undefined
  /**
   * Whether there was such an entry, here or on another instance. Fires ON_DELETE. Fails when a BEFORE trigger refuses:
   * the entry then stays.
   */
  readonly delete: (key: string, options?: WriteOptions) => Effect.Effect<boolean, Rejected | AcknowledgementError>
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
  /**
   * What is under the key is known to be stale: it goes, here and on every other instance, with cause "invalidate".
   * Whether it was here.
   */
  readonly invalidate: (key: string, options?: WriteOptions) => Effect.Effect<boolean, AcknowledgementError>
  /** The same for all entries that have one of the tags. What is loaded meanwhile is not stored. O(tags). */
  readonly invalidateTags: (tags: Iterable<string>, options?: WriteOptions) => Effect.Effect<void, AcknowledgementError>
  /** The same for all keys that begin with the prefix, which ends with a colon: fails with `InvalidPrefix` otherwise. O(1). */
  readonly invalidatePrefix: (
    prefix: string,
    options?: WriteOptions
  ) => Effect.Effect<void, InvalidPrefix | AcknowledgementError>
  /** Removes everything, on every instance, as one flush; returns how many there were here. */
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
  static readonly layer: Layer.Layer<Cache, never, Keyspaces | CacheClock | CacheFills> = Layer.effect(
    Cache,
    Effect.gen(function* () {
      const { main } = yield* Keyspaces
      const clock = yield* CacheClock
      const fills = yield* CacheFills
      const acknowledgement = yield* Acknowledgement
      const nowMs = () => clock.nowMs()
      const known = new WeakMap<Tenant, CacheService>()
      return Cache.of({
        ...make(main, nowMs, fills, acknowledgement),
        of: (tenant) => {
          const service = known.get(tenant) ?? make(tenant.keyspace, nowMs, fills, acknowledgement)
          known.set(tenant, service)
          return service
        }
      })
    })
  )
}

/** The service over one keyspace. */
export const make = (
  keyspace: Keyspace,
  nowMs: () => number,
  fills = new Fills({ nowMs }),
  acknowledgement?: AcknowledgementService
): CacheService => {
  /** What is wrong with the mode of a write, before it happens. */
  const wrongMode = (options: WriteOptions | undefined): InvalidAckMode | undefined => {
    const ackMode = options?.ackMode
    return ackMode === undefined || isAckMode(ackMode) ? undefined : new InvalidAckMode({ ackMode })
  }
  /** Waits until others have applied what was written here, where that is wanted. */
  const applied = ({ ackMode }: WriteOptions = {}): Effect.Effect<void, NotAcknowledged> => {
    const mode = ackMode ?? acknowledgement?.ackMode ?? "async"
    if (mode === "async" || acknowledgement === undefined) return Effect.void
    return Effect.flatMap(
      Effect.promise(() => acknowledgement.acknowledged(mode)),
      ({ missing }) => (missing.length === 0 ? Effect.void : new NotAcknowledged({ missing }))
    )
  }
  /** Does something once the key is here, if another instance has it: what it answers, or changes, is then true of all. */
  const onceHere = <A, E>(key: string, then: () => Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      const bytes = toBytes(key)
      if (!fills.isWanted(keyspace, bytes, "peers")) return then()
      return Effect.flatten(
        Effect.promise(async (signal) => {
          const loans = new Loans()
          await fills.borrow(loans, keyspace, bytes, "peers", signal).catch(() => {}) // as for any miss: it is nowhere
          if (!signal.aborted) return loans.use(then)
          loans.drop()
          return Effect.interrupt
        })
      )
    })
  const unsafeGet = (key: string): Output | undefined => {
    const value = keyspace.get(toBytes(key))
    return value === undefined ? undefined : fromValue(value)
  }
  const unsafeSet = (key: string, input: Input, options?: SetOptions): CacheError | undefined => {
    const value = toValue(input)
    if (isRefusal(value)) return value
    let [expiresAtMs, meta, flags] = [0, noMeta, 0]
    if (options !== undefined) {
      const made = metaOf(options)
      if (isRefusal(made)) return made
      meta = made
      const ttlMs = lifeOf(options)
      if (typeof ttlMs !== "number") return ttlMs
      if (ttlMs > 0) expiresAtMs = nowMs() + ttlMs
      const given = flagsOf(options)
      if (typeof given !== "number") return given
      flags = given
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
      Effect.suspend(() => {
        const bytes = toBytes(key)
        const value = keyspace.get(bytes)
        return value === undefined && fills.isWanted(keyspace, bytes)
          ? waitFor((signal) => fills.bring(keyspace, bytes, "all", signal))
          : Effect.succeed(optionOf(value))
      }),
    getOrSet: (key, load, options) =>
      withLoader(load, options, (loader) => {
        const bytes = toBytes(key)
        const value = keyspace.get(bytes)
        return value === undefined
          ? waitFor((signal) => fills.load(keyspace, bytes, loader, signal))
          : Effect.succeed(optionOf(value))
      }),
    loader: (pattern, load, options) =>
      withLoader(load, options, (loader) =>
        Effect.asVoid(
          Effect.acquireRelease(
            Effect.suspend((): Effect.Effect<() => void, InvalidLoader> => {
              const remove = fills.register(keyspace, toBytes(pattern), loader)
              return remove instanceof InvalidLoader ? remove : Effect.succeed(remove)
            }),
            (remove) => Effect.sync(remove)
          )
        )
      ),
    warm: (keys) => Effect.promise(() => fills.warm(keyspace, Array.from(keys, toBytes))),
    set: (key, value, options) =>
      Effect.suspend((): Effect.Effect<void, CacheError | AcknowledgementError> => {
        const error = wrongMode(options) ?? unsafeSet(key, value, options)
        if (error !== undefined) return Effect.fail(error)
        return options?.local === true ? Effect.void : applied(options)
      }),
    delete: (key, options) =>
      wrongMode(options) ??
      onceHere(key, (): Effect.Effect<boolean, Rejected | NotAcknowledged> => {
        const wasThere = unsafeDelete(key)
        const refused = wasThere ? undefined : rejection(keyspace, key)
        return refused ?? Effect.as(applied(options), wasThere)
      }),
    invalidate: (key, options) =>
      wrongMode(options) ??
      Effect.suspend(() => {
        const wasHere = keyspace.invalidate(toBytes(key))
        return Effect.as(applied(options), wasHere)
      }),
    invalidateTags: (tags, options) =>
      wrongMode(options) ??
      Effect.suspend(() => {
        keyspace.invalidateTags(Array.from(tags, toBytes))
        return applied(options)
      }),
    invalidatePrefix: (prefix, options) =>
      wrongMode(options) ??
      Effect.suspend(
        (): Effect.Effect<void, InvalidPrefix | NotAcknowledged> =>
          keyspace.invalidatePrefix(toBytes(prefix)) ? applied(options) : Effect.fail(new InvalidPrefix({ prefix }))
      ),
    peek: (key) => {
      const entry = keyspace.peek(toBytes(key))
      return entry === undefined ? undefined : view(entry)
    },
    has: (key) => onceHere(key, () => Effect.succeed(keyspace.peek(toBytes(key)) !== undefined)),
    ttl: (key) =>
      onceHere(key, () => {
        const entry = keyspace.peek(toBytes(key))
        if (entry === undefined) return Effect.succeedNone
        const { expiresAtMs } = entry
        return Effect.succeedSome(expiresAtMs === 0 ? Duration.infinity : Duration.millis(expiresAtMs - nowMs()))
      }),
    expire: (key, ttl) =>
      onceHere(key, () => {
        const ttlMs = toMillis(ttl)
        if (Number.isNaN(ttlMs)) return Effect.fail(new InvalidTtl({ ttl }))
        const expiresAtMs = ttlMs === Number.POSITIVE_INFINITY ? 0 : nowMs() + Math.ceil(ttlMs)
        return Effect.succeed(keyspace.expireAt(toBytes(key), expiresAtMs))
      }),
    persist: (key) =>
      onceHere(key, () => {
        const entry = keyspace.peek(toBytes(key))
        return Effect.succeed(entry !== undefined && entry.expiresAtMs !== 0 && keyspace.expireAt(entry.key, 0))
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

const optionOf = (value: Value | undefined): Option.Option<Output> =>
  value === undefined ? Option.none() : Option.some(fromValue(value))

/** What `ask` promises; an interruption aborts its signal. */
const waitFor = (
  ask: (signal: AbortSignal) => Promise<Value | undefined>
): Effect.Effect<Option.Option<Output>, LoadError> =>
  Effect.map(
    Effect.tryPromise({ try: ask, catch: (error) => error as LoadError }), // fills reject with nothing else
    optionOf
  )

/** Has `use` take the load with its options, run where this effect runs, unless the options are none. */
const withLoader = <A, E, R, R2>(
  load: AnyLoad<R>,
  options: LoadOptions | undefined,
  use: (loader: Loader) => Effect.Effect<A, E, R2>
): Effect.Effect<A, E | OptionsError, R | R2> =>
  Effect.flatMap(Effect.runtime<R>(), (runtime): Effect.Effect<A, E | OptionsError, R2> => {
    const loader = loaderOf(plainLoad(load, runtime), options)
    return "load" in loader ? use(loader) : loader
  })

/** A load of which nobody has to know whether it is an Effect. An abort interrupts it. */
const plainLoad =
  <R>(load: AnyLoad<R>, runtime: Runtime.Runtime<R>): Load =>
  (request) => {
    const answer = load(request)
    return Effect.isEffect(answer) ? runLoad(answer, runtime, request.signal) : answer
  }

const runLoad = async <R>(
  load: Effect.Effect<Input | undefined, unknown, R>,
  runtime: Runtime.Runtime<R>,
  signal: AbortSignal
): Promise<Input | undefined> => {
  const exit = await Runtime.runPromiseExit(runtime)(load, { signal })
  if (Exit.isSuccess(exit)) return exit.value
  throw Cause.squash(exit.cause)
}

const isRefusal = (made: unknown): made is InvalidValue => made instanceof InvalidValue
