/**
 * What keeps the entries of several instances coherent, as a keyspace sees it: it is told of changes in the middle of
 * operations, after each change is complete and before any event of it is seen. It may read the keyspace, keep a
 * number with an entry (`Entry.handle`), and revoke leases; it never changes the keyspace while it is told something.
 *
 * `Keyspace.origin` says who caused what it is told: with a depth of 0 a peer did (`isPeers`).
 */
import type { Cause } from "./Cause.ts"
import type { Entry, Keyspace } from "./Keyspace.ts"
import type { Lease } from "./Lease.ts"

export interface Replica {
  /**
   * How long a fill may live at most, in milliseconds: Infinity, less while what is said elsewhere may not be heard, 0
   * where it is not to be stored at all.
   */
  readonly copyMsMax: number
  /**
   * Stored or overwritten by a write, or its deadline changed by a client. Also where it is local from now on. `flags`
   * are those of the `set` (`SetFlag`); of a changed deadline "keepTtl" alone: who tells of the expiry stays.
   */
  onWrite(entry: Entry, keyspace: Keyspace, flags: number): void
  /** Stored or overwritten by a fill. Never local. */
  onFill(entry: Entry, lease: Lease, keyspace: Keyspace): void
  /** Gone by itself: "delete", "invalidate", "expire" or "evict". Its handle is as it was. */
  onRemove(entry: Entry, cause: Cause, keyspace: Keyspace): void
  /** Names the expiry of an entry of which another instance may tell, too; undefined for all others. Asked before it. */
  expiryIdOf(entry: Entry): string | undefined
  /** Gone because of a wide invalidation, long told: nothing but its handle is to be let go. */
  onStale(entry: Entry, keyspace: Keyspace): void
  /** Somebody here wanted a key gone that is not here; or has just given it a deadline that has passed. */
  onAskedToRemove(key: string, keyspace: Keyspace): void
  /** All entries are gone because somebody here wants it. Their handles are void: `onRemove` is not called for them. */
  onFlush(keyspace: Keyspace): void
  /** All entries but local ones are gone by `flushShared`: their handles are void. */
  onFlushShared(keyspace: Keyspace): void
  /** Somebody here invalidates what has the tag, or a key that begins with the prefix, of this hash. */
  onTag(hash: number, keyspace: Keyspace): void
  onPrefix(hash: number, keyspace: Keyspace): void
  onLease(lease: Lease): void
  onLeaseEnd(lease: Lease): void
}
