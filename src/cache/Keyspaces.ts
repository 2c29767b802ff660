/**
 * Who owns the entries: this scope, above every process that serves them, so that no crash below loses a key.
 *
 * One keyspace for now; a keyspace per tenant is opened through the same service. What reacts to its events is given
 * from above as `Reactions`, at construction.
 */
import { Context, Effect, Layer, Runtime } from "effect"
import { type EventSink, type Gate, Keyspace } from "../kernel/index.ts"
import { CacheClock } from "./CacheClock.ts"

/** Takes the keyspaces' events, and is asked before writes: the triggers, in the product; nothing, in a plain cache. */
export class Reactions extends Context.Tag("mimosa-cache/cache/Reactions")<Reactions, EventSink & Gate>() {
  static readonly layerNone: Layer.Layer<Reactions> = Layer.succeed(Reactions, {
    onEvent() {},
    onSettled() {},
    beforeWrite: () => null,
    beforeDelete: () => null
  })
}

/** Is told when a keyspace has something to expire earlier than it said before. Supplied by the scheduler. */
export class Wakeups extends Context.Tag("mimosa-cache/cache/Wakeups")<Wakeups, Wakeup>() {
  static readonly layer: Layer.Layer<Wakeups> = Layer.sync(Wakeups, () => new Wakeup())
}

/** A place where the keyspaces leave word and the scheduler, while there is one, listens. */
export class Wakeup {
  private listener: ((atMs: number) => void) | null = null

  /**
   * Starts listening, in the place of whoever did. The returned function stops it, and does nothing once somebody else
   * listens: a scheduler that was killed may be cleaned up after the next one has begun.
   */
  listen(listener: (atMs: number) => void): () => void {
    this.listener = listener
    return () => {
      if (this.listener === listener) this.listener = null
    }
  }

  readonly at = (atMs: number): void => {
    this.listener?.(atMs)
  }
}

export interface KeyspaceLimits {
  /** Entries at most; the least recently used go first. */
  readonly maxEntries: number
  /** Bytes at most, keys, values, metadata and their records together. */
  readonly maxBytes: number
}

export const keyspaceLimitsDefault: KeyspaceLimits = { maxEntries: 50_000, maxBytes: 512 * 1024 * 1024 }

export interface KeyspacesService {
  /** The keyspace of everybody who is no tenant. */
  readonly main: Keyspace
  readonly all: () => Iterable<Keyspace>
}

/** A limit that is none would let a keyspace grow without end, or empty it by every write. */
const checked = ({ maxEntries, maxBytes }: KeyspaceLimits): KeyspaceLimits => {
  for (const [name, limit] of Object.entries({ maxEntries, maxBytes })) {
    if (!(limit >= 1)) throw new RangeError(`${name} is a number from 1; not ${limit}`)
  }
  return { maxEntries, maxBytes }
}

const eventLogMax = 100_000 // events; 16 MB of records beside the values that they hold

/** Limits that are no positive numbers are a defect of whoever gives them. `eventLog` is how many events are kept. */
export class Keyspaces extends Context.Tag("mimosa-cache/cache/Keyspaces")<Keyspaces, KeyspacesService>() {
  static readonly layer = (
    limits: Partial<KeyspaceLimits> = {},
    eventLog = 0
  ): Layer.Layer<Keyspaces, never, Reactions | Wakeups | CacheClock> =>
    Layer.effect(
      Keyspaces,
      Effect.gen(function* () {
        const clock = yield* CacheClock
        const sink = yield* Reactions
        const wakeup = yield* Wakeups
        const runtime = yield* Effect.runtime()
        let thrown = 0
        const onSinkError = (error: unknown): void => {
          // Told when it has doubled: what always throws would fill the log. The keyspace's `sinkErrors` counts all.
          if ((++thrown & (thrown - 1)) !== 0) return
          Runtime.runSync(runtime)(Effect.logError("a reaction to an event has thrown", { thrown, error }))
        }
        const main = new Keyspace({
          ...checked({ ...keyspaceLimitsDefault, ...limits }),
          clock,
          sink,
          gate: sink,
          onSinkError,
          wake: wakeup.at
        })
        if (!(Number.isSafeInteger(eventLog) && eventLog >= 0 && eventLog <= eventLogMax)) {
          throw new RangeError(`eventLog is a whole number from 0 to ${eventLogMax}; not ${eventLog}`)
        }
        if (eventLog > 0) main.log.open(eventLog)
        return { main, all: () => [main] }
      })
    )
}
