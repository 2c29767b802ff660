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
  Bus,
  Cache,
  type CacheService,
  type CacheStats,
  type EntryView,
  type Input,
  InvalidValue,
  type Output,
  type SetOptions,
  toBytes,
  toMetadata,
  toText,
  toValue
} from "./cache/index.ts"
import type { Value, ValueObject } from "./kernel/index.ts"
import type {
  DryRunReport,
  RegisteredTrigger,
  TestEvent,
  TriggerEventName,
  TriggerInput,
  TriggerLogRecord
} from "./triggers/index.ts"
import { Triggers } from "./triggers/index.ts"

export type { Settings } from "./App.ts"
export type { CacheStats, EntryView, Input, Output, SetOptions } from "./cache/index.ts"
export { EntryTooLarge, InvalidTtl, InvalidValue, Rejected } from "./cache/index.ts"
export type { DryRunReport, RegisteredTrigger, TriggerInput, TriggerLogRecord } from "./triggers/index.ts"
export {
  InvalidTrigger,
  TooManyTriggers,
  TriggerNotFound,
  TriggerSyntaxError,
  TriggersNotSaved
} from "./triggers/index.ts"

/** The event that `tryTrigger` makes up, in a program's own values. */
export interface TriedEvent {
  readonly event: TriggerEventName
  readonly key: string
  readonly value: Input
  readonly oldValue?: Input
  readonly metadata?: { readonly [key: string]: Input }
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
 * | `triggers()`, `triggerLog(count)` | what is registered; what failed or was skipped |
 * | `removeTrigger(name)` | whether there was such a trigger |
 * | `tryTrigger(subject, event)` | what a run would do; nothing happens |
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

  /** Registers a trigger, in the place of the one that has its name. */
  trigger(trigger: TriggerInput): Promise<RegisteredTrigger> {
    return this.run(Effect.flatMap(Triggers, (triggers) => triggers.set(trigger)))
  }

  triggers(): Promise<RegisteredTrigger[]> {
    return this.run(Effect.flatMap(Triggers, (triggers) => triggers.list))
  }

  /** Whether there was such a trigger. */
  removeTrigger(name: string): Promise<boolean> {
    return this.run(Effect.flatMap(Triggers, (triggers) => triggers.remove(name)))
  }

  /** Runs a trigger, or a source that is not registered, on a made-up event. Nothing happens. */
  tryTrigger(
    subject: { readonly name: string } | { readonly source: string },
    tried: TriedEvent
  ): Promise<DryRunReport> {
    const event = toEvent(tried)
    if (event instanceof InvalidValue) return Promise.reject(event)
    return this.run(Effect.flatMap(Triggers, (triggers) => triggers.test(subject, event)))
  }

  /** What failed or was skipped last, newest first. */
  triggerLog(count = 100): Promise<TriggerLogRecord[]> {
    return this.run(Effect.flatMap(Triggers, (triggers) => triggers.log(count)))
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
          listener(toText(payload) ?? payload, toText(from) ?? from)
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

const toEvent = ({ event, key, value, oldValue, metadata }: TriedEvent): TestEvent | InvalidValue => {
  const [now, before] = [toValue(value), oldValue === undefined ? undefined : toValue(oldValue)]
  const attached = metadata === undefined ? undefined : toMetadata(metadata)
  for (const made of [now, before, attached]) if (made instanceof InvalidValue) return made
  return {
    event,
    key: toBytes(key),
    value: now as Value,
    ...(before === undefined ? {} : { oldValue: before as Value }),
    ...(attached === undefined ? {} : { metadata: attached as ValueObject })
  }
}
