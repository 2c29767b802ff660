/**
 * What this instance has written: a ring of its last records, by sequence, from which peers are served what they missed.
 *
 * Two tables say what has moved once the ring has forgotten it. Keys fall into buckets, each with the sequence that
 * touched it last; whoever missed a range drops only the buckets that moved in it, instead of everything. Tags,
 * prefixes, clears and definitions may concern any key, so no bucket stands for them: the last sequence of each is kept
 * exactly, and of more than `wideMax` of them the one that is longest ago goes, which raises the floor below which the
 * answer is "unknown".
 *
 * Sequences count from 1 without a gap. Invariants: `oldest` to `last` can be read, nothing else; a bucket's sequence is
 * the highest of the records of its keys; the wide table holds each operation after its floor with its last sequence.
 *
 * Cost: `append` of a key is three stores into typed arrays, one behind the other, of another operation also a step in the
 * wide table. Buckets lie anywhere, so they are noted for many records at once, whose waiting for memory overlaps. 17
 * bytes a record and 8 a bucket, taken from the system when first touched. `movedSince` walks all buckets.
 */
import { bucketOf } from "../../kernel/index.ts"
import { type LogRecord, Op, type RecordLog, type WideRecord } from "./Frame.ts"
import { checkPowerOfTwo, flagsOf, opOf } from "./internal/records.ts"
import { WideTable } from "./internal/WideTable.ts"
import type { Writer } from "./internal/wire.ts"

export class OwnLog implements RecordLog {
  /** The sequence of the newest record; 0 when nothing was written. */
  last = 0
  private readonly ops: Uint8Array // op and flags
  private readonly hashes: Float64Array
  private readonly versions: Float64Array
  private readonly mask: number
  /** Bucket → the sequence that touched it last, of those up to `noted`. */
  private readonly touched: Float64Array
  private noted = 0
  private readonly notedBehind: number
  private readonly wide: WideTable

  constructor(
    /** Records that are kept. A power of two. */
    readonly size: number,
    /** A power of two. */
    readonly bucketCount: number,
    wideMax: number
  ) {
    checkPowerOfTwo("logSize", size)
    checkPowerOfTwo("buckets", bucketCount)
    this.ops = new Uint8Array(size)
    this.hashes = new Float64Array(size)
    this.versions = new Float64Array(size)
    this.mask = size - 1
    this.touched = new Float64Array(bucketCount)
    this.notedBehind = Math.min(notedBehindMax, size)
    this.wide = new WideTable(wideMax)
  }

  /** The lowest sequence that can still be read; 1 when nothing was written, which is above `last`. */
  get oldest(): number {
    return Math.max(1, this.last - this.size + 1)
  }

  /** Adds a record and answers its sequence. `op` is an `Op`, `flags` are `RecordFlag`s. */
  append(op: number, hash: number, version: number, flags: number): number {
    const sequence = this.last + 1
    if (op !== Op.key) this.wide.note(op, hash, sequence)
    if (sequence - this.noted > this.notedBehind) this.noteBuckets()
    const at = sequence & this.mask
    this.ops[at] = op | flags
    this.hashes[at] = hash
    this.versions[at] = version
    this.last = sequence
    return sequence
  }

  /**
   * The record's key was written again before the record was sent: it takes the newer version and flags. Its sequence
   * stays. False when the record is not there any more.
   */
  amend(sequence: number, version: number, flags: number): boolean {
    if (sequence < this.oldest || sequence > this.last) return false
    const at = sequence & this.mask
    this.versions[at] = version
    this.ops[at] = opOf(this.ops[at] as number) | flags
    return true
  }

  /** The records `first` to `last`, oldest first; undefined when one of them is not there. */
  read(first: number, last: number): LogRecord[] | undefined {
    if (first < this.oldest || last > this.last || first > last) return undefined
    const { ops, hashes, versions, mask } = this
    const records = new Array<LogRecord>(last - first + 1)
    for (let i = 0; i < records.length; i++) {
      const at = (first + i) & mask
      const opAndFlags = ops[at] as number
      records[i] = {
        op: opOf(opAndFlags),
        flags: flagsOf(opAndFlags),
        hash: hashes[at] as number,
        version: versions[at] as number
      }
    }
    return records
  }

  /** Writes the records `first` to `last`, which are there, as those of an INV. */
  writeTo(out: Writer, first: number, last: number): void {
    const { ops, hashes, versions, mask } = this
    for (let sequence = first; sequence <= last; sequence++) {
      const at = sequence & mask
      out.record(ops[at] as number, hashes[at] as number, versions[at] as number)
    }
  }

  private noteBuckets(): void {
    const { touched, ops, hashes, mask, bucketCount } = this
    for (let sequence = this.noted + 1; sequence <= this.last; sequence++) {
      const at = sequence & mask
      if (opOf(ops[at] as number) === Op.key) touched[bucketOf(hashes[at] as number, bucketCount)] = sequence
    }
    this.noted = this.last
  }

  /** What the records after `since` have touched, also where the ring has forgotten them. */
  movedSince(since: number): Moved {
    this.noteBuckets()
    const { touched, bucketCount } = this
    const bitmap = new Uint8Array(Math.ceil(bucketCount / 8))
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      if ((touched[bucket] as number) > since)
        bitmap[bucket >> 3] = (bitmap[bucket >> 3] as number) | (1 << (bucket & 7))
    }
    return { since, upTo: this.last, bucketCount, bitmap, wide: this.wide.since(since) }
  }
}

const notedBehindMax = 128 // records

/** What a BUCKETS frame says of its author. */
export interface Moved {
  readonly since: number
  /** The answer holds for all records from `since + 1` to this one. */
  readonly upTo: number
  readonly bucketCount: number
  /** Bit b & 7 of byte b >> 3 says that bucket b was touched. */
  readonly bitmap: Uint8Array
  /** The other operations, oldest first; null: too many to be known, so every one may have happened. */
  readonly wide: readonly WideRecord[] | null
}
