/**
 * Mimosa for programs without Effect: one class, promises, plain errors.
 *
 * Every method waits for the start, so nothing has to be awaited first; only the synchronous doors (`unsafeGet`, `peek`)
 * need it to be over (`await cache.ready`).
 */
import { Cause, Effect, Exit, ManagedRuntime, Option } from "effect"
import { layer, ProcessTree, type Services, type Settings, type StartError } from "./App.ts"
import type { Supervisor } from "./actor/index.ts"
import {
  asText,
  Bus,
  Cache,
  type CacheService,
  type CacheStats,
  type EntryView,
  type Input,
  type Output,
  type SetOptions,
  toBytes
} from "./cache/index.ts"
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
  type TriggersService
} from "./triggers/index.ts"

export type { Settings } from "./App.ts"
export type { CacheStats, EntryView, Input, KeyspaceLimits, Output, SetOptions } from "./cache/index.ts"
export { EntryTooLarge, InvalidTtl, InvalidValue, Rejected } from "./cache/index.ts"
export { DataDirectoryLocked, FileCorrupt, FileVersionUnknown, StorageIo } from "./storage/index.ts"
export type {
  CascadeLimits,
  DryRunReport,
  FailureKind,
  HistoryCut,
  HistoryReport,
  HistoryRun,
  HistorySum,
  Intensity,
  KeySet,
  ListedReport,
  LogStreamInfo,
  RegisteredTrigger,
  ShadowInput,
  SkipKind,
  TriedEvent,
  TriggerDefinition,
  TriggerEdge,
  TriggerEventName,
  TriggerFigures,
  TriggerGraph,
  TriggerHistory,
  TriggerInput,
  TriggerLogRecord,
  TriggerNode,
  TriggerOptions,
  TriggerScope,
  TriggerVersion
} from "./triggers/index.ts"
export {
  HistoryOff,
  InvalidTrigger,
  NoShadow,
  TooManyTriggers,
  TooMuchSource,
  TriggerNotFound,
  TriggerSyntaxError,
  TriggersClosed,
  TriggersNotSaved,
  VersionNotFound
} from "./triggers/index.ts"
export { EgressAllowInvalid } from "./webhooks/index.ts"

/** What is tried: a trigger as it is registered or with another source in its place, or a source by itself. */
export type TriedSubject = { readonly name: string; readonly source?: string } | { readonly source: string }

/** A line that a trigger has logged. */
export interface LoggedLine extends Omit<LogLine, "fields"> {
  /** What `cache.log` was given as a table; null where it was text, or too long. */
  readonly fields: { readonly [name: string]: unknown } | null
}

/**
 * A cache that reacts when it is touched.
 *
 * | method | answers |
 * |---|---|
 * | `get(key)` | the value or undefined; fires ON_READ |
 * | `set(key, value, { ttl, metadata, tags, cost })` | when its triggers have run |
 * | `del(key)`, `has(key)`, `expire(key, ttl)` | whether there was such an entry |
 * | `clear()` | how many entries there were |
 * | `stats()` | counts of the cache |
 * | `unsafeGet(key)`, `peek(key)` | at once, without a promise; `peek` has no consequences |
 * | `trigger(trigger)` | the trigger as it is registered, once it is saved |
 * | `triggers()`, `triggerInfo(name)` | what is registered, and how it fares |
 * | `enableTrigger(name)`, `disableTrigger(name)` | the trigger as it is then |
 * | `removeTrigger(name)` | whether there was such a trigger |
 * | `tryTrigger(subject, event)` | what a run would do; nothing happens |
 * | `tryTriggerOnHistory(subject, count)` | the same for the last events, and what the live version would do otherwise |
 * | `shadowTrigger(name, { source })` | the trigger, with a version beside it that does nothing but count |
 * | `promoteShadow(name)`, `dropShadow(name)` | the trigger with it as the live one; whether there was one |
 * | `triggerVersions(name)`, `rollbackTrigger(name, version)` | the versions that are kept; the trigger with an earlier one |
 * | `triggerLog(count)` | what failed or was skipped |
 * | `triggerGraph()`, `triggerWarnings(name)` | what sets off what; what can be said against a trigger |
 * | `logs(stream, { after, count })`, `logStreams()` | what triggers have logged, by stream |
 * | `on(channel, listener)` | a function that takes the listener back |
 * | `processes()` | the supervision tree |
 * | `ready`, `close()` | when everything runs; when everything has stopped |
 *
 * Keys are text; values are text, numbers, bigints, booleans, null, bytes, arrays, Maps and plain objects. A `ttl` is a
 * duration (`"30 minutes"`) or milliseconds. Methods reject with the library's errors (docs/errors.md), or because the cache is closed.
 *
 * What runs in the cache's own name runs in its supervision tree. The fiber of a call of a method is the caller's: it ends with
 * the promise.
 *
 * @example
 * const cache = new Mimosa({ maxEntries: 10_000 })
 * await cache.trigger({
 *   name: "ended", pattern: "session:*", events: ["ON_EXPIRE"],
 *   source: 'cache.emit("ended", event.key)'
 * })
 * cache.on("ended", (key) => console.log(key, "is over"))
 * await cache.set("session:42", { user: 7 }, { ttl: "30 minutes" })
 * await cache.close()
 */
export class Mimosa {
  private readonly runtime: ManagedRuntime.ManagedRuntime<Services, StartError>
  private doors: CacheService | null = null
  private closing: Promise<void> | null = null
  /** Calls that have no answer yet: `close` waits for theirs. */
  private readonly calls = new Set<Promise<unknown>>()

  /** Is fulfilled when everything runs; rejected with what kept it from starting. */
  readonly ready: Promise<void>

  constructor(settings: Settings = {}) {
    this.runtime = ManagedRuntime.make(layer(settings))
    this.ready = this.settle(Cache).then((cache) => {
      this.doors = cache
    })
    this.ready.catch(() => {}) // whoever waits for a method is told; an unused instance is no unhandled rejection
  }

  /** The value of a key; undefined when there is none. Fires ON_READ. */
  get(key: string): Promise<Output | undefined> {
    return this.run(Effect.flatMap(Cache, (cache) => Effect.map(cache.get(key), Option.getOrUndefined)))
  }

  /** `get`, synchronously. Throws before the start is over. */
  unsafeGet(key: string): Output | undefined {
    return this.open().unsafeGet(key)
  }

  /** The entry without consequences: no event, no use. Throws before the start is over. */
  peek(key: string): EntryView | undefined {
    return this.open().peek(key)
  }

  /** Stores a value; its triggers have run when this is fulfilled. */
  set(key: string, value: Input, options?: SetOptions): Promise<void> {
    return this.run(Effect.flatMap(Cache, (cache) => cache.set(key, value, options)))
  }

  /** Whether there was such an entry. */
  del(key: string): Promise<boolean> {
    return this.run(Effect.flatMap(Cache, (cache) => cache.delete(key)))
  }

  has(key: string): Promise<boolean> {
    return this.run(Effect.flatMap(Cache, (cache) => cache.has(key)))
  }

  /** Counts the entry's life anew from now; zero or less expires it. False when there is no such entry. */
  expire(key: string, ttl: NonNullable<SetOptions["ttl"]>): Promise<boolean> {
    return this.run(Effect.flatMap(Cache, (cache) => cache.expire(key, ttl)))
  }

  /** Removes everything; how many entries there were. */
  clear(): Promise<number> {
    return this.run(Effect.flatMap(Cache, (cache) => cache.clear))
  }

  stats(): Promise<CacheStats> {
    return this.run(Effect.flatMap(Cache, (cache) => cache.stats))
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
   * Calls `listener` for each `cache.emit` on the channel, after the operation that emitted is complete. What it throws
   * is thrown again in a turn of its own, as an uncaught error: the cache is not to suffer from it. The returned function
   * takes it back.
   */
  on(channel: string, listener: (payload: string, channel: string) => void): () => void {
    let isOver = false
    const subscriber = {
      onMessage: (from: string, payload: string) => {
        if (isOver) return
        try {
          listener(asText(payload), asText(from))
        } catch (error) {
          queueMicrotask(() => {
            throw error
          })
        }
      }
    }
    const name = toBytes(channel)
    void this.run(Effect.map(Bus, (bus) => isOver || bus.subscribe(name, subscriber))).catch(() => {})
    return () => {
      isOver = true
      void this.run(Effect.map(Bus, (bus) => bus.unsubscribe(name, subscriber))).catch(() => {})
    }
  }

  /** The supervision tree as plain data. */
  processes(): Promise<Supervisor.TreeNode | null> {
    return this.run(Effect.map(ProcessTree, ({ read }) => read()))
  }

  /**
   * Stops everything in order, once the start is over and what was asked for before is done. Webhooks that are pending
   * get a moment; what is left of them is lost, and logged. A second call waits for the same end.
   */
  close(): Promise<void> {
    this.closing ??= Promise.allSettled([this.ready, ...this.calls]).then(() => this.runtime.dispose())
    return this.closing
  }

  private ask<A, E>(question: (triggers: TriggersService) => Effect.Effect<A, E>): Promise<A> {
    return this.run(Effect.flatMap(Triggers, question))
  }

  private open(): CacheService {
    if (this.closing !== null) throw isClosed()
    if (this.doors === null) throw new Error("the cache has not started: await cache.ready first")
    return this.doors
  }

  private async run<A, E>(effect: Effect.Effect<A, E, Services>): Promise<A> {
    if (this.closing !== null) throw isClosed()
    // Waiting for `ready`, and not for the runtime, keeps the calls that were made before it in their order.
    const call = this.doors === null ? this.ready.then(() => this.settle(effect)) : this.settle(effect)
    this.calls.add(call)
    try {
      return await call
    } finally {
      this.calls.delete(call)
    }
  }

  /** Rejects with the error itself, not with a wrapper of Effect's. */
  private async settle<A, E>(effect: Effect.Effect<A, E, Services>): Promise<A> {
    const exit = await this.runtime.runPromiseExit(effect)
    if (Exit.isSuccess(exit)) return exit.value
    throw Cause.squash(exit.cause)
  }
}

const isClosed = () => new Error("the cache is closed; make a new one")
