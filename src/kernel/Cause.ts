/**
 * Why an entry came, changed or went: one list for the whole project (law 2: one removal, one cause).
 *
 * Causes are small integers because the hot path tests them as bits (`1 << cause`) before an event is built;
 * `causeNames` gives the word that people, Lua and the wire see. Their order is part of nothing: never persist it.
 * The last three are bits for a watcher's mask alone: no event has them for its cause.
 */
export const Cause = {
  /** A client or a trigger stored a value. */
  write: 0,
  /** A client found the entry in this cache. */
  read: 1,
  /** A client or a trigger asked for the removal. */
  delete: 2,
  /** The entry's deadline passed, whoever noticed it first. */
  expire: 3,
  /** The entry went to make room. */
  evict: 4,
  /** The keyspace was emptied as a whole: one event with a count. A peer's flush leaves the local entries. */
  flush: 5,
  /** A peer, a tag, a graph or a feed declared the entry stale. */
  invalidate: 6,
  /** A loader, a tier or a peer stored a copy: not a write (law 10). */
  fill: 7,
  /** Only the deadline changed. */
  touch: 8,
  /** Interest only: wants to be asked before a write (`Gate`). */
  beforeWrite: 9,
  /** Interest only: wants to be asked before a delete (`Gate`). */
  beforeDelete: 10,
  /** Interest only: wants an event with cause "flush" for each key that a flush takes. */
  flushKey: 11
} as const

export type Cause = (typeof Cause)[keyof typeof Cause]

export const causeNames = [
  "write",
  "read",
  "delete",
  "expire",
  "evict",
  "flush",
  "invalidate",
  "fill",
  "touch",
  "beforeWrite",
  "beforeDelete",
  "flushKey"
] as const

export type CauseName = (typeof causeNames)[number]

/** The bit of a cause in an interest mask. */
export const causeBit = (cause: Cause): number => 1 << cause

/** Every cause that an event can have: the mask of a consumer that wants the whole event log. */
export const allCauses = (1 << Cause.beforeWrite) - 1

/** Every bit that a watcher's mask can have: all causes, and the interests that no event has for its cause. */
export const allInterests = (1 << causeNames.length) - 1
