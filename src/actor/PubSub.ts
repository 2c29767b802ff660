/**
 * Messages to whoever subscribed to a topic, on a registry with duplicate keys.
 *
 * A broadcast never waits: a subscriber whose mailbox is full (or drops) loses by its own mailbox' rule, and is
 * counted, and the others do not feel it. A subscriber that has ended is gone.
 *
 * [1] Elixir, lib/elixir/lib/registry.ex, "Using as a PubSub".
 */
import * as Effect from "effect/Effect"
import type { RegistryFull } from "./ActorError.ts"
import * as Process from "./Process.ts"
import * as Registry from "./Registry.ts"

export interface Options {
  /** Subscriptions in all. Default 100,000. */
  readonly limit?: number
}

/** Topics whose messages are `M`. */
export interface PubSub<in out M> {
  readonly _M?: (message: M) => M
  /** @internal */
  readonly topics: Registry.Registry<undefined>
  /** @internal */
  readonly sent: { delivered: number; dropped: number }
}

/** `delivered` and `dropped` count since it was made. */
export interface Counters extends Delivery {
  /** Subscriptions now. */
  readonly subscriptions: number
  readonly limit: number
  /** Subscriptions that the limit refused. */
  readonly refused: number
}

/** What a broadcast came to. */
export interface Delivery {
  readonly delivered: number
  /** Subscribers that had no room. */
  readonly dropped: number
}

/**
 * @example
 * const rooms = yield* PubSub.make<string>()
 * yield* PubSub.subscribe(rooms, "lobby")            // in a process
 * yield* PubSub.broadcast(rooms, "lobby", "hello")   // comes to handleInfo, or to Process.receive
 */
export const make = <M>(options?: Options): Effect.Effect<PubSub<M>> => Effect.sync(() => unsafeMake<M>(options))

export const unsafeMake = <M>(options: Options = {}): PubSub<M> => ({
  topics: Registry.unsafeMake({ keys: "duplicate", limit: options.limit ?? subscriptionsMax }),
  sent: { delivered: 0, dropped: 0 }
})

const subscriptionsMax = 100_000 // as many processes as a dynamic supervisor has by default

/** Subscribes this process; once is enough, twice means every message twice. */
export const subscribe = <M>(pubsub: PubSub<M>, topic: string): Effect.Effect<void, RegistryFull, Process.Self> =>
  Effect.catchTag(Registry.register(pubsub.topics, topic), "AlreadyRegistered", Effect.die)

/** Takes back all subscriptions of this process to `topic`. */
export const unsubscribe = <M>(pubsub: PubSub<M>, topic: string): Effect.Effect<void, never, Process.Self> =>
  Registry.unregister(pubsub.topics, topic)

/** Sends to all who subscribed to `topic`, this process too. */
export const broadcast = <M>(pubsub: PubSub<M>, topic: string, message: NoInfer<M>): Effect.Effect<Delivery> =>
  Effect.sync(() => unsafeBroadcast(pubsub, topic, message))

/** Sends to all who subscribed to `topic` but this process. */
export const broadcastFrom = <M>(
  pubsub: PubSub<M>,
  topic: string,
  message: NoInfer<M>
): Effect.Effect<Delivery, never, Process.Self> =>
  Effect.map(Process.self, (self) => deliver(pubsub, topic, message, self))

/** `broadcast` for synchronous code. */
export const unsafeBroadcast = <M>(pubsub: PubSub<M>, topic: string, message: NoInfer<M>): Delivery =>
  deliver(pubsub, topic, message, null)

/** Subscriptions to `topic`. */
export const subscribers = <M>(pubsub: PubSub<M>, topic: string): Effect.Effect<number> =>
  Effect.sync(() => pubsub.topics.table.entries(topic).length)

export const counters = <M>({ sent, topics }: PubSub<M>): Effect.Effect<Counters> =>
  Effect.map(Registry.counters(topics), ({ entries, limit, refused }) => ({
    ...sent,
    subscriptions: entries,
    limit,
    refused
  }))

const deliver = <M>(pubsub: PubSub<M>, topic: string, message: M, except: unknown): Delivery => {
  let delivered = 0
  let dropped = 0
  for (const { pid } of pubsub.topics.table.entries(topic)) {
    if (pid === except) continue
    if (Process.unsafeOffer(pid, message)) delivered++
    else dropped++
  }
  pubsub.sent.delivered += delivered
  pubsub.sent.dropped += dropped
  return { delivered, dropped }
}
