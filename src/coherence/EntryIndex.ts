/**
 * Every entry that this instance shares with others, found by the hash of its displayed key; and who wrote it.
 *
 * A row of it is an entry's handle (`Entry.handle`), so a write of an entry that is there finds its row without a
 * look-up and without hashing the key again. A row has the hash, the stamp (the version of the write, 0 for what nobody
 * wrote), the writer, and the record of the own log that told of the last write here, so that a second write before that
 * record has left amends it. Entries of one keyspace are a list, through which a flush lets all of them go.
 *
 * Memory: 64 bytes an entry where it is full, twice that just after it has grown; docs/decisions.md.
 * Invariants: those of `HashedRows`; each row's entry has the row for its handle; each row is in its owner's list once.
 */
import type { Entry, Keyspace } from "../kernel/index.ts"
import { HashedRows } from "./HashedRows.ts"

/** Whose entries they are: one keyspace. */
export class Owner {
  /** The row in front of its list, 0 for none. */
  first = 0
  /** Rows in its list. */
  size = 0
  constructor(
    /** Its number among the owners of the index, from 0. */
    readonly id: number,
    readonly keyspace: Keyspace
  ) {}
}

export class EntryIndex {
  readonly rows = new HashedRows()
  /** By row. */
  private entries: Array<Entry | undefined> = [undefined]
  /**
   * For row n from 4n on: its owner, the rows behind and before it in the owner's list, and when it was filled, ms modulo
   * 2^32, or 0 for what was not.
   */
  private links = new Uint32Array(4 * this.rows.capacity)
  private readonly owners: Array<Owner | undefined> = []
  private readonly freeOwners: number[] = []

  get size(): number {
    return this.rows.size
  }

  addOwner(keyspace: Keyspace): Owner {
    const owner = new Owner(this.freeOwners.pop() ?? this.owners.length, keyspace)
    this.owners[owner.id] = owner
    return owner
  }

  /** Lets all of its entries go, which live on without a handle, and the owner. O(its entries). */
  removeOwner(owner: Owner): void {
    for (let row = owner.first; row !== 0; row = this.links[(row << 2) + 1] as number) this.entryAt(row).handle = 0
    this.removeAllOf(owner)
    this.owners[owner.id] = undefined
    this.freeOwners.push(owner.id)
  }

  /** A row for an entry that has none. */
  add(entry: Entry, owner: Owner, hash: number, stamp: number, writer: number, sequence: number, flags: number): void {
    const row = this.rows.add(hash)
    const { cells } = this.rows
    if (this.links.length < cells.length) this.grow()
    const { links } = this
    const at = row << 2
    cells[at + 1] = stamp
    cells[at + 2] = writer
    cells[at + 3] = told(sequence, flags)
    links[at] = owner.id
    links[at + 1] = owner.first
    links[at + 2] = 0
    links[at + 3] = 0
    if (owner.first !== 0) links[(owner.first << 2) + 2] = row
    owner.first = row
    owner.size++
    this.entries[row] = entry
    entry.handle = row
  }

  remove(row: number): void {
    const { links } = this
    const at = row << 2
    const next = links[at + 1] as number
    const before = links[at + 2] as number
    const owner = this.ownerAt(row)
    if (before !== 0) links[(before << 2) + 1] = next
    else owner.first = next
    if (next !== 0) links[(next << 2) + 2] = before
    owner.size--
    this.entryAt(row).handle = 0
    this.drop(row)
  }

  /** Lets all entries of one keyspace go, which are no more: their handles are void. O(its entries), 1 if none is left. */
  removeAllOf(owner: Owner): void {
    if (owner.size === this.size) this.clear()
    else {
      for (let row = owner.first; row !== 0; ) {
        const next = this.links[(row << 2) + 1] as number
        this.drop(row)
        row = next
      }
    }
    owner.first = 0
    owner.size = 0
  }

  /** The first row of this hash, 0 for none; `findNext` has the others, as long as nothing changes. */
  find(hash: number): number {
    return this.rows.find(hash)
  }

  findNext(row: number): number {
    return this.rows.findNext(row)
  }

  entryAt(row: number): Entry {
    return this.entries[row] as Entry
  }

  ownerAt(row: number): Owner {
    return this.owners[this.links[row << 2] as number] as Owner
  }

  hashAt(row: number): number {
    return this.rows.cells[row << 2] as number
  }

  stampAt(row: number): number {
    return this.rows.cells[(row << 2) + 1] as number
  }

  writerAt(row: number): number {
    return this.rows.cells[(row << 2) + 2] as number
  }

  /** The sequence of the record that told of the last write here, 0 for none; it may have left the log. */
  sequenceAt(row: number): number {
    return Math.floor((this.rows.cells[(row << 2) + 3] as number) / flagSets)
  }

  flagsAt(row: number): number {
    return ((this.rows.cells[(row << 2) + 3] as number) % flagSets) * flagUnit
  }

  /** Another write of the same entry: of all that is kept here, one cache line. */
  write(row: number, stamp: number, writer: number, sequence: number, flags: number): void {
    const { cells } = this.rows
    const at = row << 2
    cells[at + 1] = stamp
    cells[at + 2] = writer
    cells[at + 3] = told(sequence, flags)
  }

  /** A fill has stored it at this time. */
  begin(row: number, nowMs: number): void {
    this.links[(row << 2) + 3] = nowMs >>> 0 || 1
  }

  /** How long ago a fill has stored it; -1 where none has. */
  ageMsAt(row: number, nowMs: number): number {
    const began = this.links[(row << 2) + 3] as number
    return began === 0 ? -1 : (nowMs - began) >>> 0
  }

  /** Rows at random, each once, as many as are wanted; fewer where few are left of many. All where there are no more. */
  sample(count: number, random: () => number): number[] {
    const found = new Set<number>()
    if (this.size <= count) this.visit((row) => found.add(row))
    else {
      for (let left = sampleTries * count; left > 0 && found.size < count; left--) {
        const row = 1 + Math.floor(random() * (this.rows.end - 1))
        if (this.entries[row] !== undefined) found.add(row)
      }
    }
    return [...found]
  }

  /** Calls back with each row; nothing may change meanwhile. O(rows ever used at once). */
  visit(each: (row: number) => void): void {
    for (let row = 1; row < this.rows.end; row++) if (this.entries[row] !== undefined) each(row)
  }

  /** Throws where an invariant of the head comment does not hold. O(capacity), for tests. */
  checkInvariants(): void {
    this.rows.checkInvariants()
    let [seen, listed] = [0, 0]
    this.visit((row) => {
      seen++
      if (this.entryAt(row).handle !== row) throw new Error(`row ${row} is not its entry's handle`)
      for (let other = this.find(this.hashAt(row)); other !== row; other = this.findNext(other)) {
        if (other === 0) throw new Error(`row ${row} is not found by its hash`)
      }
    })
    for (const owner of this.owners) {
      if (owner === undefined) continue
      let its = 0
      for (let [row, before] = [owner.first, 0]; row !== 0; [row, before] = [this.links[(row << 2) + 1] ?? 0, row]) {
        its++
        if (this.ownerAt(row) !== owner || this.links[(row << 2) + 2] !== before) {
          throw new Error(`row ${row} is astray`)
        }
      }
      if (its !== owner.size) throw new Error(`${its} rows of an owner, ${owner.size} counted`)
      listed += its
    }
    if (seen !== this.size || listed !== this.size)
      throw new Error(`${this.size} rows, ${seen} seen, ${listed} in lists`)
  }

  private drop(row: number): void {
    this.entries[row] = undefined
    this.rows.remove(row)
  }

  private grow(): void {
    const links = new Uint32Array(this.rows.cells.length)
    links.set(this.links)
    this.links = links
  }

  private clear(): void {
    this.rows.clear()
    this.entries = [undefined]
    this.links = new Uint32Array(4 * this.rows.capacity)
  }
}

/** A record's sequence and its flags, which are multiples of `flagUnit`, in one number: 2^48 sequences fit. */
const told = (sequence: number, flags: number): number => sequence * flagSets + flags / flagUnit
const flagUnit = 0x40
const flagSets = 4

const sampleTries = 16 // for each row that is wanted: enough where one in five is in use
