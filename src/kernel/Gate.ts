/**
 * Asked before something changes (law 9): may rewrite what is about to be written, or refuse it.
 *
 * Only writes and deletes that a client or a trigger wants are asked for: fills, invalidations, expiries, evictions and
 * flushes tell what is true already. The gate may itself read and change entries; their events wait until the operation
 * that it was asked for is over, so they come before that operation's own.
 */
import type { Entry, Keyspace } from "./Keyspace.ts"
import { type Match, unmatched } from "./PatternTrie.ts"
import { type Meta, noMeta, type Value } from "./Value.ts"

export interface Gate {
  /** null lets the write pass, as the gate has left it; otherwise why not, as the client will read it. */
  beforeWrite(write: PendingWrite, keyspace: Keyspace): string | null
  /** null lets the entry go; otherwise why not. */
  beforeDelete(entry: Entry, keyspace: Keyspace): string | null
}

/**
 * A write that is about to happen. The gate may change `value`, `expiresAtMs` and `meta`, to immutable values.
 * One object serves all sets: a gate does not keep it.
 */
export class PendingWrite {
  key = ""
  value: Value = ""
  /** The deadline that the entry will have (ms since the epoch, 0 for none); a kept one is in here already. */
  expiresAtMs = 0
  /** What will be attached to the entry; what is kept is in here already. */
  meta: Meta = noMeta
  /** What is there now. */
  oldEntry: Entry | undefined = undefined
  /** The watchers of the key. */
  match: Match = unmatched
  /** The deadline is the one that the entry has. */
  keepsTtl = false
}
