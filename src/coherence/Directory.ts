/**
 * The highest write that is known of a key whose entry may not be here: by whom, and whether it was a removal.
 *
 * A hint whom to ask for a value, and a memory of own writes whose entries have gone, for peers that ask what was written
 * while they were away. It is bounded: what was noted longest ago is forgotten first, and of each author the highest
 * version that was forgotten is kept (`floorOf`), so that "I do not know" and "there was none" can be told apart. The
 * authors are bounded too: what is known of the one that was kept longest then holds for all that are not known.
 *
 * Cost: a note is a look-up, and one removal where it is full. 32 bytes a key, 8 for its list, 8 for the table of hashes.
 * Invariants: those of `HashedRows`; each row is in the list once; no more than `max` rows.
 */
import { HashedRows } from "./HashedRows.ts"

/** Keys; row 0 of a table of 2^18 is nobody's. 12 MB once it is full, a server's next to its gigabyte of entries. */
export const directoryMaxDefault = 2 ** 18 - 1

export class Directory {
  private readonly rows: HashedRows
  /** For row n at 2n: the one noted before it, and the one noted after; row 0 is both ends of the circle. */
  private links: Uint32Array
  /** What was forgotten of an author, as far as authors are kept. */
  private readonly floors = new Map<number, Floor>()
  /** The one that was raised last: what is forgotten is of one author for long, mostly. */
  private raised = new Floor(0, 0)
  /** Of authors that are not kept. */
  private floorOfOthers = 0
  /** Records were lost: what is known of writes up to this version may be out of date. */
  private doubtedTo = 0

  /** `max` is the number of keys, from 1; `authorsMax` of how many authors floors are kept apart. */
  constructor(
    private readonly max = directoryMaxDefault,
    private readonly authorsMax = 1_024
  ) {
    if (!(Number.isSafeInteger(max) && max >= 1)) throw new RangeError(`max is a whole number from 1; not ${max}`)
    this.rows = new HashedRows(Math.min(1_024, 2 ** Math.ceil(Math.log2(max + 1))))
    this.links = new Uint32Array(2 * this.rows.capacity)
  }

  get size(): number {
    return this.rows.size
  }

  /** Remembers a write if it is higher than what is known of the key. */
  note(hash: number, version: number, author: number, isGone: boolean): void {
    let row = this.rows.find(hash)
    if (row !== 0) {
      if (!this.isLower(row, version, author)) return
      this.unlink(row)
    } else {
      if (this.rows.size >= this.max) this.forgetOldest()
      row = this.rows.add(hash)
      if (this.links.length < 2 * this.rows.capacity) this.grow()
    }
    const { cells } = this.rows
    const at = row << 2
    cells[at + 1] = version
    cells[at + 2] = author
    cells[at + 3] = isGone ? 1 : 0
    this.linkLast(row)
  }

  /** The row of a key, 0 for none; good until the next note. */
  find(hash: number): number {
    return this.rows.find(hash)
  }

  versionAt(row: number): number {
    return this.rows.cells[(row << 2) + 1] as number
  }

  authorAt(row: number): number {
    return this.rows.cells[(row << 2) + 2] as number
  }

  isGoneAt(row: number): boolean {
    return this.rows.cells[(row << 2) + 3] === 1
  }

  /** Whether every higher write has been heard of. */
  isCurrentAt(row: number): boolean {
    return this.versionAt(row) > this.doubtedTo
  }

  /** Writes with versions up to this one may have been missed, of any key. O(1). */
  doubt(version: number): void {
    this.doubtedTo = Math.max(this.doubtedTo, version)
  }

  /** Writes of `author` up to this version may have been forgotten; 0 when none was. */
  floorOf(author: number): number {
    return this.floors.get(author)?.version ?? this.floorOfOthers
  }

  /** Writes of `author` up to `version` are forgotten. */
  raiseFloor(author: number, version: number): void {
    if (this.raised.author !== author) this.raised = this.floors.get(author) ?? this.addFloor(author)
    if (this.raised.version < version) this.raised.version = version
  }

  /** Throws where an invariant of the head comment does not hold. O(capacity), for tests. */
  checkInvariants(): void {
    this.rows.checkInvariants()
    let [listed, before] = [0, 0]
    for (let row = this.after(0); row !== 0; row = this.after(row)) {
      if (this.links[2 * row] !== before) throw new Error(`row ${row} is astray`)
      if (this.rows.find(this.rows.cells[row << 2] as number) !== row) throw new Error(`row ${row} is not found`)
      before = row
      listed++
    }
    if (listed !== this.size || this.size > this.max)
      throw new Error(`${this.size} of ${this.max}, ${listed} in the list`)
    if (this.floors.size > this.authorsMax) throw new Error(`${this.floors.size} floors`)
  }

  private addFloor(author: number): Floor {
    if (this.floors.size >= this.authorsMax) {
      const [oldest] = this.floors.values() as Iterable<Floor> as [Floor]
      this.floors.delete(oldest.author)
      this.floorOfOthers = Math.max(this.floorOfOthers, oldest.version)
    }
    const floor = new Floor(author, this.floorOfOthers)
    this.floors.set(author, floor)
    return floor
  }

  private isLower(row: number, version: number, author: number): boolean {
    const known = this.versionAt(row)
    return known < version || (known === version && this.authorAt(row) < author)
  }

  private forgetOldest(): void {
    const row = this.after(0)
    this.raiseFloor(this.authorAt(row), this.versionAt(row))
    this.doubt(this.versionAt(row)) // a lower write that comes later would pass for the highest
    this.unlink(row)
    this.rows.remove(row)
  }

  private after(row: number): number {
    return this.links[2 * row + 1] as number
  }

  private linkLast(row: number): void {
    const { links } = this
    const last = links[0] as number
    links[2 * row] = last
    links[2 * row + 1] = 0
    links[2 * last + 1] = row
    links[0] = row
  }

  private unlink(row: number): void {
    const { links } = this
    const before = links[2 * row] as number
    const after = links[2 * row + 1] as number
    links[2 * before + 1] = after
    links[2 * after] = before
  }

  private grow(): void {
    const links = new Uint32Array(2 * this.rows.capacity)
    links.set(this.links)
    this.links = links
  }
}

/** The highest version of an author that was forgotten. */
class Floor {
  constructor(
    readonly author: number,
    public version: number
  ) {}
}
