/**
 * One thing that happened to one key, built only where somebody wants it.
 *
 * It holds references, never copies: values and metadata are immutable, so an event stays true after its entry has
 * gone on. For removals `value` is absent and `oldValue` is what went away.
 */
import { Cause } from "./Cause.ts"
import type { Keyspace } from "./Keyspace.ts"
import type { Match, Watcher } from "./PatternTrie.ts"
import type { Meta, Value } from "./Value.ts"

export class KeyEvent {
  constructor(
    /** Numbers the events that were built, from 1; with the process' origin it names one for ever. */
    readonly sequence: number,
    readonly cause: Cause,
    readonly key: string,
    /** The value after the event; absent once the entry has gone. */
    readonly value: Value | undefined,
    /** The value before it; absent where there was none. */
    readonly oldValue: Value | undefined,
    /** What is attached to the entry; for removals, what was. */
    readonly meta: Meta,
    /** The keyspace's version at this change; a read has the entry's. */
    readonly version: number,
    /** The entry's deadline (ms since the epoch, 0 for none); for removals the one that it had. */
    readonly expiresAtMs: number,
    /** When it happened, ms since the epoch. */
    readonly atMs: number,
    /** The entry stays on this instance. */
    readonly isLocal: boolean,
    /** Entries removed by a flush as a whole; 1 otherwise. */
    readonly count: number,
    /** The trigger run that caused it, or null when a client did. */
    readonly origin: EventOrigin | null,
    /** Who wants it, while the sink looks at it; let go afterwards. */
    public match: Match,
    /** Names it for ever where another instance may tell of it, too: the same on both. Absent where none may. */
    readonly id?: string
  ) {}

  /** One key that a flush took, and not the flush as a whole, whose key is empty and whose `count` tells how many. */
  get isFlushedKey(): boolean {
    return this.cause === Cause.flush && this.oldValue !== undefined
  }

  /** What a watcher has to be interested in to see it: its cause, but for a flushed key. */
  get interest(): Cause {
    return this.isFlushedKey ? Cause.flushKey : this.cause
  }

  /** Who wants it, in the order in which they run; nobody any more once the sink has seen it. */
  get watchers(): readonly Watcher[] {
    return this.match.watchersOf(this.interest)
  }
}

/** Who caused an event that no client caused. What else it carries is the business of the room that set it. */
export interface EventOrigin {
  /** 1 for the events of a trigger that a client's operation fired, and so on; 0 for what a peer has said. */
  readonly depth: number
  /** The instance that it happened on first, where that is another one. */
  readonly peer?: string
  /** A trigger there caused it that reacted to what a peer had said: it fires no triggers for peers' events (law 13). */
  readonly isDerived?: boolean
}

/** Whether a peer caused it, and nobody here: what triggers make of it here is deeper. */
export const isPeers = (origin: EventOrigin | null): boolean => origin !== null && origin.depth === 0

/**
 * Takes the events of a keyspace, each after its change is complete. What it throws is counted (`stats.sinkErrors`) and
 * told to `onSinkError`; the events behind go on.
 */
export interface EventSink {
  onEvent(event: KeyEvent, keyspace: Keyspace): void
  /**
   * Called once for each outermost operation that had events or asked the gate, when all that came of it has been seen:
   * the time for effects that leave the cache, and the end of what its budgets count (law 7). What it changes in turn
   * is an operation of its own, which is settled after it.
   */
  onSettled(keyspace: Keyspace): void
}
