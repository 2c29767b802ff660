/**
 * One thing that happened to one key, built only where somebody wants it.
 *
 * It holds references, never copies: values and metadata are immutable, so an event stays true after its entry has
 * gone on. For removals `value` is absent and `oldValue` is what went away.
 */
import type { Cause } from "./Cause.ts"
import type { Keyspace } from "./Keyspace.ts"
import type { Match } from "./PatternTrie.ts"
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
    /** Entries removed by a flush; 1 otherwise. */
    readonly count: number,
    /** The trigger run that caused it, or null when a client did. */
    readonly origin: EventOrigin | null,
    readonly match: Match
  ) {}
}

/** Who caused an event that no client caused. What else it carries is the business of the room that set it. */
export interface EventOrigin {
  /** 1 for the events of a trigger that a client's operation fired, and so on. */
  readonly depth: number
}

/** Takes the events of a keyspace, each after its change is complete. It must not throw. */
export interface EventSink {
  onEvent(event: KeyEvent, keyspace: Keyspace): void
  /** Called once an operation and all that came of it have been seen: the time for effects that leave the cache. */
  onSettled(keyspace: Keyspace): void
}
