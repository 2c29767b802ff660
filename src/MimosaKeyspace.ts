/**
 * What a program without Effect does with one keyspace, be it everybody's or a tenant's: entries, triggers, their logs and
 * their channels. Keys and channels are those of the keyspace itself: a tenant's are bare.
 */
import { Context, Effect, Exit, Option, Scope } from "effect"
import type { Services } from "./App.ts"
import {
  asText,
  Bus,
  Cache,
  type CacheService,
  type CacheStats,
  type EntryView,
  type EventBus,
  type Input,
  type Load,
  type LoadOptions,
  type Output,
  type SetOptions,
  type Tenant,
  TenantNotFound,
  toBytes,
  type WarmReport,
  type WriteOptions
} from "./cache/index.ts"
import type { MimosaProgram } from "./MimosaProgram.ts"
import {
  type DryRunReport,
  type HistoryReport,
  type LogLine,
  type LogStreamInfo,
  type RegisteredTrigger,
  type ShadowInput,
  type TriedEvent,
  type TriggerGraph,
  type TriggerHistory,
  type TriggerInput,
  type TriggerLogRecord,
  Triggers,
  type TriggersOfKeyspace
} from "./triggers/index.ts"

/** What is tried: a trigger as it is registered or with another source in its place, or a source by itself. */
export type TriedSubject = { readonly name: string; readonly source?: string } | { readonly source: string }

/** How long a caller waits: until it gives up, which ends the wait of nobody else. */
export interface Waiting {
  readonly signal?: AbortSignal
}

/** A line that a trigger has logged. */
export interface LoggedLine extends Omit<LogLine, "fields"> {
  /** What `cache.log` was given as a table; null where it was text, or too long. */
  readonly fields: { readonly [name: string]: unknown } | null
}

/**
 * The methods that `Mimosa` and `MimosaTenant` have in common; a function that takes one of these serves both.
 *
 * @example
 * const remember = (cache: MimosaKeyspace, user: string) => cache.set(`seen:${user}`, true, { ttl: "1 hour" })
 */
export abstract class MimosaKeyspace {
  protected constructor(
    protected readonly program: MimosaProgram,
    /** Whose it is; null where it is everybody's. */
    protected readonly owner: Tenant | null
  ) {}

  /**
   * The value of a key; undefined when there is none. A key that is not here is looked for among the peers, then in the
   * tier, then by its loader. A hit fires ON_READ; a miss that is filled fires no trigger but those that include fills.
   * Rejects with `LoadFailed`, `LoadTimedOut` or `TooManyLoads`; aborted, it waits no longer, and rejects with the
   * signal's reason.
   */
  get(key: string, { signal }: Waiting = {}): Promise<Output | undefined> {
    return this.use((cache) => Effect.map(cache.get(key), Option.getOrUndefined), signal)
  }

  /**
   * The value of a key, which is loaded where neither this cache nor a peer nor the tier has it. However many ask at once,
   * it is loaded once. What changes the key during the load wins: those who waited get the loaded value, and it is not
   * stored. Undefined where the load answers `undefined`; that is not kept, and neither are errors. `null` is a value.
   * The load is told its key and a signal, which is aborted when it takes longer than `timeoutMs` (30,000) or nobody
   * waits any more; it must not wait for its own key. Rejects as `get` does, and for options that are none.
   *
   * @example
   * const user = await cache.getOrSet("user:42", ({ signal }) => fetchUser(42, signal), { ttl: "5 minutes" })
   */
  getOrSet(key: string, load: Load, { signal, ...options }: LoadOptions & Waiting = {}): Promise<Output | undefined> {
    return this.use((cache) => Effect.map(cache.getOrSet(key, load, options), Option.getOrUndefined), signal)
  }

  /**
   * Has `load` fill keys that match the pattern (a key, a prefix with `*`, or another glob) whenever they are missed. The
   * most specific loader serves: of the very key, of the longest prefix, the first glob. Answers a function that takes it
   * back. Rejects with `InvalidLoader` for a pattern that is none or has a loader already, and beyond 1,000 loaders; and
   * for options that are none.
   *
   * @example
   * await cache.loader("user:*", ({ key, signal }) => fetchUser(key, signal), { ttl: "5 minutes" })
   */
  async loader(pattern: string, load: Load, options?: LoadOptions): Promise<() => void> {
    const scope = Effect.runSync(Scope.make())
    await this.use((cache) => Scope.extend(cache.loader(pattern, load, options), scope))
    return () => Effect.runSync(Scope.close(scope, Exit.void))
  }

  /**
   * Loads keys anew by their loaders, each once, a few at a time. Keys that are here are invalidated first, which peers
   * hear of. Keys without a loader stay as they are; they and loads that failed are in the report.
   */
  warm(keys: Iterable<string>): Promise<WarmReport> {
    return this.use((cache) => cache.warm(keys))
  }

  /** `get` of what is here, synchronously. Throws before the start is over. */
  unsafeGet(key: string): Output | undefined {
    return this.open().unsafeGet(key)
  }

  /** The entry without consequences: no event, no use. Throws before the start is over. */
  peek(key: string): EntryView | undefined {
    return this.open().peek(key)
  }

  /**
   * Stores a value; its triggers have run when this is fulfilled, and with an `ackMode` other instances have applied it.
   */
  set(key: string, value: Input, options?: SetOptions): Promise<void> {
    return this.use((cache) => cache.set(key, value, options))
  }

  /** Whether there was such an entry. */
  del(key: string, options?: WriteOptions): Promise<boolean> {
    return this.use((cache) => cache.delete(key, options))
  }

  /** What is under the key is stale: it goes, here and on every other instance. Whether it was here. */
  invalidate(key: string, options?: WriteOptions): Promise<boolean> {
    return this.use((cache) => cache.invalidate(key, options))
  }

  /** The same for all entries that have one of the tags. What is loaded meanwhile is not stored. */
  invalidateTags(tags: Iterable<string>, options?: WriteOptions): Promise<void> {
    return this.use((cache) => cache.invalidateTags(tags, options))
  }

  /** The same for all keys that begin with the prefix. Rejects with `InvalidPrefix` for one that does not end with `:`. */
  invalidatePrefix(prefix: string, options?: WriteOptions): Promise<void> {
    return this.use((cache) => cache.invalidatePrefix(prefix, options))
  }

  has(key: string): Promise<boolean> {
    return this.use((cache) => cache.has(key))
  }

  /** Counts the entry's life anew from now; zero or less expires it. False when there is no such entry. */
  expire(key: string, ttl: NonNullable<SetOptions["ttl"]>): Promise<boolean> {
    return this.use((cache) => cache.expire(key, ttl))
  }

  /** Removes everything; how many entries there were. */
  clear(): Promise<number> {
    return this.use((cache) => cache.clear)
  }

  stats(): Promise<CacheStats> {
    return this.use((cache) => cache.stats)
  }

  /**
   * Registers a trigger, in the place of the one that has its name. Rejects with `InvalidTrigger`, `TriggerSyntaxError`,
   * `TooManyTriggers` or `TooMuchSource`, and nothing has changed; or with `TriggersNotSaved`, and it is active all the
   * same: the same holds for all that change what is registered.
   */
  trigger(trigger: TriggerInput): Promise<RegisteredTrigger> {
    return this.ask((triggers) => triggers.set(trigger))
  }

  /** All triggers with their figures, in the order of their registration. */
  triggers(): Promise<RegisteredTrigger[]> {
    return this.ask((triggers) => triggers.list)
  }

  /** One trigger with its figures, and those of its shadow. Rejects with `TriggerNotFound`. */
  triggerInfo(name: string): Promise<RegisteredTrigger> {
    return this.ask((triggers) => triggers.info(name))
  }

  /** Has a trigger run again that is disabled or quarantined. Rejects with `TriggerNotFound`. */
  enableTrigger(name: string): Promise<RegisteredTrigger> {
    return this.ask((triggers) => triggers.enable(name, true))
  }

  /** Has a trigger run on nothing, and stay registered. Rejects with `TriggerNotFound`. */
  disableTrigger(name: string): Promise<RegisteredTrigger> {
    return this.ask((triggers) => triggers.enable(name, false))
  }

  /** Whether there was such a trigger. Its versions go too. */
  removeTrigger(name: string): Promise<boolean> {
    return this.ask((triggers) => triggers.remove(name))
  }

  /**
   * Runs a trigger, or a source that is not registered, on a made-up event. Nothing happens. Rejects with
   * `TriggerNotFound`, `TriggerSyntaxError`, or `InvalidValue` for an event that could not be.
   */
  tryTrigger(subject: TriedSubject, event: TriedEvent): Promise<DryRunReport> {
    return this.ask((triggers) => triggers.test(subject, event))
  }

  /**
   * Runs it on the last `count` events (all that are kept, up to 1,000), those of them that are for the trigger. Nothing
   * happens. It holds the thread for 50 ms of computing at most, and lists 20 changes and effects a run and 1 MiB in all:
   * `cut` counts what was left out. With a name and a source, `current` is what the live version would do: in sum, and for each event on which
   * the two differ. Reads and BEFORE_ questions are not kept. Rejects with `TriggerNotFound`, `TriggerSyntaxError`, or
   * `HistoryOff` where the setting `eventLog` is 0, its default.
   *
   * @example
   * const { sum, current } = await cache.tryTriggerOnHistory({ name: "ended", source: newer })
   * console.log(`${sum.emits} messages instead of ${current?.emits}`)
   */
  tryTriggerOnHistory(subject: TriedSubject, count = Number.POSITIVE_INFINITY): Promise<HistoryReport> {
    return this.ask((triggers) => triggers.testHistory(subject, count))
  }

  /**
   * Has a version run beside the live one on what happens from now on, with all that it would do dropped: its figures
   * are the `shadow` of `triggerInfo`. It takes the place of an earlier one and is not saved. Rejects with
   * `TriggerNotFound`, and as `trigger` does.
   */
  shadowTrigger(name: string, shadow: ShadowInput): Promise<RegisteredTrigger> {
    return this.ask((triggers) => triggers.shadow(name, shadow))
  }

  /** Makes the shadow the live version. Rejects with `TriggerNotFound` or `NoShadow`, and as `trigger` does. */
  promoteShadow(name: string): Promise<RegisteredTrigger> {
    return this.ask((triggers) => triggers.promote(name))
  }

  /** Whether there was a shadow. */
  dropShadow(name: string): Promise<boolean> {
    return this.ask((triggers) => triggers.dropShadow(name))
  }

  /** The last five versions of a trigger, and which of them runs. Rejects with `TriggerNotFound`. */
  triggerVersions(name: string): Promise<TriggerHistory> {
    return this.ask((triggers) => triggers.versions(name))
  }

  /**
   * Has an earlier version run again: this one, or the one before the one that runs. Rejects with `TriggerNotFound` or
   * `VersionNotFound`, and as `trigger` does.
   */
  rollbackTrigger(name: string, version?: number): Promise<RegisteredTrigger> {
    return this.ask((triggers) => triggers.rollback(name, version))
  }

  /** What failed or was skipped last, newest first. */
  triggerLog(count = 100): Promise<TriggerLogRecord[]> {
    return this.ask((triggers) => triggers.log(count))
  }

  /** What the enabled triggers watch, read and write, what sets off what, and where they go round in circles. */
  triggerGraph(): Promise<TriggerGraph> {
    return this.ask((triggers) => triggers.graph)
  }

  /**
   * What can be said against a trigger that is enabled, in words: that it sets itself off, or that its source does not
   * tell what it writes. Empty where there is nothing to say, or no such trigger.
   */
  triggerWarnings(name: string): Promise<string[]> {
    return this.ask((triggers) => triggers.warnings(name))
  }

  /**
   * What triggers have logged to a stream, oldest first: the first `count` lines behind number `after`, or the last
   * `count` (100). None for a stream that does not exist. `print` and `cache.log("text")` go to "default".
   */
  async logs(stream: string, asked: { readonly after?: number; readonly count?: number } = {}): Promise<LoggedLine[]> {
    const lines = await this.ask(({ logs }) => Effect.sync(() => logs.read(stream, asked)))
    return lines.map((line) => ({ ...line, fields: line.fields === null ? null : JSON.parse(line.fields) }))
  }

  /** The log streams by name, with how much of each is kept. */
  logStreams(): Promise<LogStreamInfo[]> {
    return this.ask(({ logs }) => Effect.sync(() => logs.list()))
  }

  /**
   * Calls `listener` for each `cache.emit` of the keyspace's triggers on the channel, after the operation that emitted is
   * complete. What it throws
   * is thrown again in a turn of its own, as an uncaught error: the cache is not to suffer from it. The returned function
   * takes it back.
   */
  on(channel: string, listener: (payload: string, channel: string) => void): () => void {
    const { owner } = this
    let isOver = false
    const subscriber = {
      onMessage: (_name: string, payload: string) => {
        if (isOver || owner?.isOpen === false) return
        try {
          listener(asText(payload), channel)
        } catch (error) {
          queueMicrotask(() => {
            throw error
          })
        }
      }
    }
    const name = toBytes(owner === null ? channel : owner.displayed(channel))
    const change = (how: (bus: EventBus) => void) => void this.program.run(Effect.map(Bus, how)).catch(() => {}) // it has not started, or has ended: nobody will emit
    change((bus) => isOver || bus.subscribe(name, subscriber))
    return () => {
      isOver = true
      change((bus) => bus.unsubscribe(name, subscriber))
    }
  }

  private open(): CacheService {
    const cache = Context.get(this.program.open(), Cache)
    if (this.owner === null) return cache
    if (!this.owner.isOpen) throw isGone(this.owner)
    return cache.of(this.owner)
  }

  private use<A, E>(question: (cache: CacheService) => Effect.Effect<A, E>, signal?: AbortSignal): Promise<A> {
    const { owner } = this
    return this.ofOwner(
      Effect.flatMap(Cache, (cache) => question(owner === null ? cache : cache.of(owner))),
      signal
    )
  }

  private ask<A, E>(question: (triggers: TriggersOfKeyspace) => Effect.Effect<A, E>): Promise<A> {
    return this.ofOwner(
      Effect.flatMap(Triggers, (triggers) => question(this.owner === null ? triggers : triggers.of(this.owner)))
    )
  }

  /** Runs it unless the owner is gone by then. */
  protected ofOwner<A, E>(effect: Effect.Effect<A, E, Services>, signal?: AbortSignal): Promise<A> {
    return this.program.run(
      Effect.suspend((): Effect.Effect<A, E | TenantNotFound, Services> => {
        const { owner } = this
        return owner === null || owner.isOpen ? effect : Effect.fail(isGone(owner))
      }),
      signal
    )
  }
}

const isGone = ({ id }: Tenant): TenantNotFound => new TenantNotFound({ tenant: id })
