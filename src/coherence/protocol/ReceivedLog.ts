/**
 * The last records that others sent, of all origins in one ring, so that the tail of a dead origin is still somewhere
 * and any holder can serve it.
 *
 * They are found again by (author, sequence). A map would have to forget a record for each that it learns; instead each
 * record points to the one that was stored before it in the same chain, and a table of heads to the last one of each
 * chain, as deflate finds repetitions [1]. Nothing is ever taken out: a record that was overwritten is younger than
 * whatever points to it, so a chain ends where the age does not grow. (A head whose record was overwritten leads into
 * another chain. That is harmless: what is found is compared, and nothing of its own chain can be left behind it, since
 * the head was the youngest.) The sequences of one author lie in chains side by side, so a range is read without jumps.
 *
 * Invariants: each of the last `size` records is found, and no other. Along a chain ages grow.
 * Cost: `append` is seven stores, a count and no search; 41 bytes a record, taken from the system when first touched.
 *
 * [1] Mark Adler, zlib, deflate.c: `head`, `prev` and the chain's limit in `longest_match`.
 */
import type { LogRecord } from "./Frame.ts"
import { checkPowerOfTwo, flagsOf, opOf } from "./internal/records.ts"

export class ReceivedLog {
  private readonly authors: Float64Array // 0: never written
  private readonly sequences: Float64Array
  private readonly ops: Uint8Array // op and flags
  private readonly hashes: Float64Array
  private readonly versions: Float64Array
  /** Place → the place that was stored before it in its chain. */
  private readonly before: Int32Array
  /** Chain → the place that was stored last in it. */
  private readonly heads: Int32Array
  private readonly mask: number
  /** Author → how many records of it are kept. */
  private readonly keptOf = new Map<number, number>()
  /** The place that is written next: the oldest one, once the ring is full. */
  private next = 0

  constructor(
    /** Records that are kept. A power of two. */
    readonly size: number
  ) {
    checkPowerOfTwo("receivedSize", size)
    this.authors = new Float64Array(size)
    this.sequences = new Float64Array(size)
    this.ops = new Uint8Array(size)
    this.hashes = new Float64Array(size)
    this.versions = new Float64Array(size)
    this.before = new Int32Array(size)
    this.heads = new Int32Array(size)
    this.mask = size - 1
  }

  append(author: number, sequence: number, op: number, hash: number, version: number, flags: number): void {
    const place = this.next
    this.next = (place + 1) & this.mask
    this.count(author, this.authors[place] as number)
    this.authors[place] = author
    this.sequences[place] = sequence
    this.ops[place] = op | flags
    this.hashes[place] = hash
    this.versions[place] = version
    const chain = this.chainOf(author, sequence)
    this.before[place] = this.heads[chain] as number
    this.heads[chain] = place
  }

  /**
   * The author's records from `first` to `last`, as far as they are here without a hole; undefined when not even `first`
   * is. Up to `last - first + 1` records.
   */
  range(author: number, first: number, last: number): LogRecord[] | undefined {
    const records: LogRecord[] = []
    for (let sequence = first; sequence <= last; sequence++) {
      const place = this.find(author, sequence)
      if (place < 0) break
      const opAndFlags = this.ops[place] as number
      records.push({
        op: opOf(opAndFlags),
        flags: flagsOf(opAndFlags),
        hash: this.hashes[place] as number,
        version: this.versions[place] as number
      })
    }
    return records.length === 0 ? undefined : records
  }

  /** Whether any record of this author is kept. */
  has(author: number): boolean {
    return this.keptOf.has(author)
  }

  /** The author's lowest sequence above this one that is kept; 0 when none is. O(size), 1 where it has no record here. */
  oldestAbove(author: number, sequence: number): number {
    if (!this.keptOf.has(author)) return 0
    let oldest = Number.POSITIVE_INFINITY
    for (let place = 0; place < this.size; place++) {
      if (this.authors[place] !== author) continue
      const kept = this.sequences[place] as number
      if (kept > sequence && kept < oldest) oldest = kept
    }
    return oldest === Number.POSITIVE_INFINITY ? 0 : oldest
  }

  /** The author's sequence of the record of this write, 0 where it is not kept. O(size), for people. */
  sequenceOf(author: number, hash: number, version: number): number {
    for (let place = 0; place < this.size; place++) {
      if (this.hashes[place] !== hash || this.versions[place] !== version || this.authors[place] !== author) continue
      return this.sequences[place] as number
    }
    return 0
  }

  /** One more record of an author, and one less of the one that it overwrites, 0 for none. */
  private count(author: number, overwritten: number): void {
    const { keptOf } = this
    if (author === overwritten) return
    keptOf.set(author, (keptOf.get(author) ?? 0) + 1)
    if (overwritten === 0) return
    const left = (keptOf.get(overwritten) as number) - 1
    if (left === 0) keptOf.delete(overwritten)
    else keptOf.set(overwritten, left)
  }

  private find(author: number, sequence: number): number {
    let place = this.heads[this.chainOf(author, sequence)] as number
    for (let age = -1; this.ageOf(place) > age; place = this.before[place] as number) {
      if (this.authors[place] === author && this.sequences[place] === sequence) return place
      age = this.ageOf(place)
    }
    return -1
  }

  /** How many records were written after the one at this place. */
  private ageOf(place: number): number {
    return (this.next - 1 - place) & this.mask
  }

  private chainOf(author: number, sequence: number): number {
    const mixed = Math.imul((author / 2 ** 32) ^ Math.imul(author | 0, 0x9e3779b1), 0x85ebca6b)
    return (mixed + (mixed >>> 15) + sequence) & this.mask
  }
}
