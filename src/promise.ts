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
  type Output,
  type SetOptions,
  toBytes,
  toText,
  toValue
} from "./cache/index.ts"
import type {
  DryRunReport,
  RegisteredTrigger,
  TriggerEventName,
  TriggerInput,
  TriggerLogRecord
} from "./triggers/index.ts"
import { Triggers } from "./triggers/index.ts"

export type { Settings } from "./App.ts"
export type { CacheStats, EntryView, Input, Output, SetOptions } from "./cache/index.ts"
export type { DryRunReport, RegisteredTrigger, TriggerInput, TriggerLogRecord } from "./triggers/index.ts"

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

  /** Is fulfilled when everything runs; rejected with what kept it from starting. */
  readonly ready: Promise<void>

  constructor(settings: Settings = {}) {
    this.runtime = ManagedRuntime.make(layer(settings))
    this.ready = this.run(Effect.map(Cache, (cache) => void (this.doors = cache)))
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
    const values = [toValue(tried.value), tried.oldValue === undefined ? undefined : toValue(tried.oldValue)]
    const metadata = tried.metadata === undefined ? undefined : toValue(tried.metadata)
    const refusal = [...values, metadata].find((value) => value instanceof Error)
    if (refusal !== undefined) return Promise.reject(refusal)
    const event = {
      event: tried.event,
      key: toBytes(tried.key),
      value: values[0],
      ...(values[1] === undefined ? {} : { oldValue: values[1] }),
      ...(metadata === undefined ? {} : { metadata })
    }
    return this.run(Effect.flatMap(Triggers, (triggers) => triggers.test(subject, event as never)))
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
    const subscriber = {
      onMessage: (from: string, payload: string) => {
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
    let isOver = false
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

  /** Stops everything in order. Webhooks that are pending get a moment; what is left of them is lost, and logged. */
  close(): Promise<void> {
    this.doors = null
    return this.runtime.dispose()
  }

  private open(): CacheService {
    if (this.doors === null) throw new Error("the cache is not running: await cache.ready first, and not after close()")
    return this.doors
  }

  /** Rejects with the error itself, not with a wrapper of Effect's. */
  private async run<A, E>(effect: Effect.Effect<A, E, Services>): Promise<A> {
    const exit = await this.runtime.runPromiseExit(effect)
    if (Exit.isSuccess(exit)) return exit.value
    throw Cause.squash(exit.cause)
  }
}
