/**
 * The right to store what one miss is filled with, as long as nothing has said meanwhile that it may be old (law 11).
 *
 * A set, a delete or an invalidation of the key revokes it at once. What names no key (a tag, a prefix, copies that are
 * forgotten) is not looked up among the leases: it has a later generation than the one that the lease began at, and
 * `fill` compares. Whoever opens one ends it, by `Keyspace.fill` or `Keyspace.endLease`, once.
 */
import type { Keyspace } from "./Keyspace.ts"

export class Lease {
  /** Nothing is stored by it any more. Also set by the replica, which knows keys by their hashes alone. */
  isRevoked = false
  /** It has been used, or given back. */
  isEnded = false
  /** The version of a peer's value and the instance that wrote it, set before `fill`; 0 for what nobody wrote. */
  stamp = 0
  writer = 0
  /** The value is to stay on this instance, set before `fill`; one that is there already stays what it is. */
  isLocal = false
  /** When it was opened, in ms, if the replica let copies live for so long only; Infinity for all others. */
  cappedFromMs = Number.POSITIVE_INFINITY
  /** The next of those that are open for the same key; the keyspace's. */
  next: Lease | null = null

  constructor(
    readonly keyspace: Keyspace,
    readonly key: string,
    /** The freshness' generation when it was opened. */
    readonly generation: number
  ) {}
}
