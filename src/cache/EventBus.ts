/**
 * Channels within the process: RESP clients, `cache.emit` and whoever listens in the library meet here.
 *
 * Synchronous, and without a queue of its own: a message is handed to every receiver before `publish` returns, and a
 * receiver that cannot keep up has its own limit and its own rule for what happens there. A receiver that throws costs
 * nobody else the message: it is counted and told of. Channels and payloads are bytes as latin1 strings. A message
 * costs O(receivers) plus one match for each distinct pattern, and however a pattern is made the match is linear in the
 * channel (CompiledGlob): whoever publishes does not pay for the patterns of others.
 */
import { CompiledGlob } from "../kernel/index.ts"

/** Somebody who takes messages. It owns the bound of what it holds back. */
export interface Subscriber {
  /** `pattern` is the glob by which the message came, or null when the channel itself was subscribed to. */
  onMessage(channel: string, payload: string, pattern: string | null): void
}

export class EventBus {
  /** Messages published, how often one was handed to a receiver, and how often a receiver has thrown. */
  readonly stats = { published: 0, delivered: 0, failed: 0 }

  private readonly byChannel = new Map<string, Set<Subscriber>>()
  private readonly byPattern = new Map<string, Set<Subscriber>>()
  /** Of each of these patterns, in the same order. */
  private readonly globs = new Map<string, CompiledGlob>()

  /** `onFailure` is told of what a receiver has thrown, with its channel; it must not throw itself. */
  constructor(private readonly onFailure: (error: unknown, channel: string) => void = () => {}) {}

  /** Returns false when it was subscribed already. */
  subscribe(channel: string, subscriber: Subscriber): boolean {
    return join(this.byChannel, channel, subscriber)
  }

  /** Subscribes to every channel that the glob matches. Returns false when it was subscribed already. */
  psubscribe(pattern: string, subscriber: Subscriber): boolean {
    if (!this.globs.has(pattern)) this.globs.set(pattern, new CompiledGlob(pattern))
    return join(this.byPattern, pattern, subscriber)
  }

  /** Returns false when it was not subscribed. */
  unsubscribe(channel: string, subscriber: Subscriber): boolean {
    return leave(this.byChannel, channel, subscriber)
  }

  /** Returns false when it was not subscribed. */
  punsubscribe(pattern: string, subscriber: Subscriber): boolean {
    const has = leave(this.byPattern, pattern, subscriber)
    if (!this.byPattern.has(pattern)) this.globs.delete(pattern)
    return has
  }

  /**
   * Hands the message to the channel's subscribers and then to those of each matching pattern, in the order of their
   * subscription; who has both gets it twice, as in Redis. Returns how many times it was handed over, also to those who
   * threw.
   */
  publish(channel: string, payload: string): number {
    this.stats.published++
    let receivers = 0
    const subscribers = this.byChannel.get(channel)
    if (subscribers !== undefined) receivers += this.deliver(subscribers, channel, payload, null)
    if (this.globs.size > 0) {
      for (const [pattern, glob] of this.globs) {
        if (!glob.matches(channel)) continue
        const matching = this.byPattern.get(pattern)
        if (matching !== undefined) receivers += this.deliver(matching, channel, payload, pattern)
      }
    }
    this.stats.delivered += receivers
    return receivers
  }

  /** Whether a message to this channel would reach anybody. */
  hasSubscribers(channel: string): boolean {
    if (this.byChannel.has(channel)) return true
    for (const glob of this.globs.values()) if (glob.matches(channel)) return true
    return false
  }

  /** The channels with at least one subscriber (patterns do not count) that match the glob. */
  channels(glob = "*"): string[] {
    const compiled = new CompiledGlob(glob)
    return [...this.byChannel.keys()].filter((channel) => compiled.matches(channel))
  }

  /** How many subscribed to the channel by its name. */
  subscriberCount(channel: string): number {
    return this.byChannel.get(channel)?.size ?? 0
  }

  /** How many distinct patterns are subscribed to. */
  get patternCount(): number {
    return this.byPattern.size
  }

  /** Those who join during a delivery wait for the next message: one that subscribes anew cannot make it endless. */
  private deliver(to: Set<Subscriber>, channel: string, payload: string, pattern: string | null): number {
    let left = to.size
    let delivered = 0
    for (const subscriber of to) {
      if (left-- === 0) break
      delivered++
      try {
        subscriber.onMessage(channel, payload, pattern)
      } catch (error) {
        this.stats.failed++
        this.onFailure(error, channel)
      }
    }
    return delivered
  }
}

type Index = Map<string, Set<Subscriber>>

const join = (index: Index, name: string, subscriber: Subscriber): boolean => {
  const subscribers = index.get(name)
  if (subscribers === undefined) {
    index.set(name, new Set([subscriber]))
    return true
  }
  if (subscribers.has(subscriber)) return false
  subscribers.add(subscriber)
  return true
}

const leave = (index: Index, name: string, subscriber: Subscriber): boolean => {
  const subscribers = index.get(name)
  if (!subscribers?.delete(subscriber)) return false
  if (subscribers.size === 0) index.delete(name)
  return true
}
