/**
 * Other instances of the same namespace, as a miss sees them: somebody to ask before the origin is. Supplied by the room
 * of coherence while it runs (`Fills.listen`); a cache by itself has none.
 */
import type { Keyspace, Lease, Meta, Value } from "../kernel/index.ts"

export interface Peers {
  /** Whether it is worth asking: somebody is there, and nothing is known that rules the key out. Synchronous, cheap. */
  mayHave(keyspace: Keyspace, key: string): boolean
  /**
   * The value that a peer holds, undefined where none has it or none answered in time. It sets the `stamp` and `writer`
   * of the lease, so that the copy can be compared with what others write. `signal` is aborted when nobody waits.
   */
  fetch(keyspace: Keyspace, key: string, lease: Lease, signal: AbortSignal): Promise<Fetched | undefined>
  /**
   * Stores a value although copies may not be kept now, and ends the lease; the answer takes it out again, silently,
   * unless somebody has made it this instance's own meanwhile. Undefined, and nothing is stored, where `Keyspace.fill`
   * would not have stored a copy at any time. For `Loans`.
   */
  lend(lease: Lease, fetched: Fetched): (() => void) | undefined
}

/** A peer's value, as it is to be stored. */
export interface Fetched {
  readonly value: Value
  readonly meta: Meta
  /** Milliseconds since the epoch, counted from when it was asked for; 0 for never. */
  readonly expiresAtMs: number
}
