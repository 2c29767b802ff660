/**
 * What an instance of the protocol needs of the entries: `SharedEntries` gives it, a simulation may give another.
 *
 * All of it is synchronous and whole when it returns, triggers of law 13 included; these may write, and so append to
 * the instance that is calling. Order of two writes of one key: version first, then the author's number.
 */
import type { EntrySource } from "../../kernel/index.ts"
import type { WideRecord } from "./Frame.ts"

export interface Store {
  /**
   * Applies one record of another instance, which has not been applied before; in any order. The instance has raised
   * its own `lamport` to the record's version already. `version` says nothing for the wide ops (tag, prefix, clear):
   * what is stored when they come goes. `op` is one of `Op`, `flags` are the record's (`RecordFlag`).
   */
  apply(op: number, hash: number, version: number, author: number, flags: number): void
  /**
   * Records of a living author are lost, and this is what is known of them: bit b & 7 of byte b >> 3 of `bitmap` is set
   * for each bucket b (`hash % bucketCount`) in which a key of its has moved. Copies and loaded entries in these buckets
   * go; writes of this instance stay, for `outvote` to judge. `wide` are the wide ops among the lost, applied exactly;
   * null: too many to know, so every one is taken for happened, and all shared entries go.
   */
  moveBuckets(author: number, bitmap: Uint8Array, bucketCount: number, wide: readonly WideRecord[] | null): void
  /** A number for this moment: what has been stored so far was stored before it. */
  mark(): number
  /** The namespace epoch moves: what is not written here goes; where a mark is given, only what was stored before it. */
  forgetCopies(before?: number): void
  /** Hashes of what is written here and still here: all, or those in the buckets of a bitmap. O(entries). */
  ownHashes(bitmap: Uint8Array | null, bucketCount?: number): number[]
  /** The highest write of a key that is known here, by its entry or without one; undefined where none is. */
  newest(hash: number): NewestWrite | undefined
  /**
   * The one to ask for the value of a key that is not here: who wrote it last; undefined where nobody is known, or where
   * higher writes may have been missed since. May be this instance, which has it no more.
   */
  authorOf(hash: number): KeyAuthor | undefined
  /** Who wrote a displayed key last, as far as is known here, in doubt or not: a hint for others. */
  authorOfKey(key: string): KeyAuthor | undefined
  /** Writes of others have been missed, of keys that nobody can name: what is known of authors is in doubt. */
  doubt(): void
  /** Writes of `author` up to this version may have been forgotten here; 0 when none was. */
  floorOf(author: number): number
  /**
   * A peer knows of a higher write of this key, or is an author that has forgotten writes up to `version`: the entry
   * goes if its own (version, writer) is lower, with cause "invalidate". Nothing is remembered of it.
   */
  outvote(hash: number, version: number, author: number): void
  /**
   * What a peer may have of this displayed key: no local, expired or stale entry, and no event, hit or use of it. What
   * takes more than `bytesMax` here is not even encoded.
   */
  read(key: string, bytesMax: number): PeerValue | "none" | "tooLarge"
}

export interface NewestWrite {
  readonly version: number
  readonly author: number
  /** It was a removal: nobody has the value. */
  readonly isGone: boolean
}

export type KeyAuthor = Pick<NewestWrite, "author" | "isGone">

/** A value on its way between instances. */
export interface PeerValue {
  /** Where the instance that answers has it from. */
  readonly source: EntrySource
  /** Of the write that made it; 0 and writer 0 for what came from a loader or a tier and is nobody's write. */
  readonly version: number
  readonly writer: number
  /** Remaining life, counted from when it was read; -1 for ever. */
  readonly ttlMs: number
  /** Value, metadata, tags and cost, as `PeerValueCodec` has encoded them. */
  readonly payload: Uint8Array
}
