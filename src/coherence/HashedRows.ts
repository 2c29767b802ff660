/**
 * Rows of four numbers, found by the first of them: a hash. What `EntryIndex` and `Directory` are made of.
 *
 * A row is a small number that stays the same while the row is there; its four cells lie side by side, so what knows the
 * row pays for one cache line. The hashes are looked up by open addressing with linear probing in a table of row
 * numbers, at most half full, and a removal closes its gap by shifting back what follows [1]: no tombstones, so a table
 * that has seen many keys is as fast as a new one. Hashes are keyed and need no further mixing. Several rows may have one
 * hash, as two keys may.
 *
 * A JavaScript Map from number to object would take 100 bytes a key where this takes 48, and hash what is a hash.
 * Cost: a look-up touches one place of the table and one row, mostly. It grows by doubling, which moves all rows once.
 *
 * Invariants: row 0 is nobody's; each row of a hash is reached from the hash's home without meeting an empty place; the
 * table has twice as many places as there may be rows.
 *
 * [1] Knuth, The Art of Computer Programming 3, section 6.4, algorithm R.
 */
export class HashedRows {
  /** Row n has the cells from 4n on: its hash, and three of the owner's. */
  cells: Float64Array
  size = 0
  private places: Uint32Array
  private mask: number
  /** Rows from here on have never been used. */
  private unused = 1
  /** The row that was freed last, 0 for none; its first cell has the one before it. */
  private freed = 0

  constructor(private readonly capacityMin = 1_024) {
    this.cells = new Float64Array(4 * capacityMin)
    this.places = new Uint32Array(2 * capacityMin)
    this.mask = this.places.length - 1
  }

  /** One past the highest row that there is room for. */
  get capacity(): number {
    return this.cells.length >> 2
  }

  /** One past the highest row that was ever used. */
  get end(): number {
    return this.unused
  }

  /** The first row of this hash, 0 for none. */
  find(hash: number): number {
    const { places, mask, cells } = this
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const row = places[place] as number
      if (row === 0 || cells[row << 2] === hash) return row
    }
  }

  /** Of several rows of one hash the one behind this one, 0 for none; as long as no row came or went between. */
  findNext(row: number): number {
    const { places, mask, cells } = this
    const hash = cells[row << 2] as number
    for (let place = (this.placeOf(row) + 1) & mask; ; place = (place + 1) & mask) {
      const next = places[place] as number
      if (next === 0 || cells[next << 2] === hash) return next
    }
  }

  /** A new row with this hash; its other cells are as somebody left them. May move `cells`. */
  add(hash: number): number {
    let row = this.freed
    if (row !== 0) this.freed = this.cells[row << 2] as number
    else {
      if (this.unused === this.capacity) this.grow()
      row = this.unused++
    }
    this.cells[row << 2] = hash
    this.put(row, hash)
    this.size++
    return row
  }

  remove(row: number): void {
    const { places, mask, cells } = this
    let gap = this.placeOf(row)
    for (let place = (gap + 1) & mask; places[place] !== 0; place = (place + 1) & mask) {
      const next = places[place] as number
      const home = (cells[next << 2] as number) & mask
      if (((place - home) & mask) < ((place - gap) & mask)) continue // its home lies behind the gap
      places[gap] = next
      gap = place
    }
    places[gap] = 0
    cells[row << 2] = this.freed
    this.freed = row
    this.size--
  }

  /** All rows go, and the memory that they took. */
  clear(): void {
    this.cells = new Float64Array(4 * this.capacityMin)
    this.places = new Uint32Array(2 * this.capacityMin)
    this.mask = this.places.length - 1
    this.size = 0
    this.unused = 1
    this.freed = 0
  }

  /** Throws where an invariant of the head comment does not hold. O(capacity), for tests. */
  checkInvariants(): void {
    if (this.places.length !== 2 * this.capacity) throw new Error("the table is not twice as large as the rows")
    const free = new Set<number>()
    for (let row = this.freed; row !== 0; row = this.cells[row << 2] as number) free.add(row)
    if (this.size + free.size + 1 !== this.unused)
      throw new Error(`${this.size} rows of ${this.unused - 1} are counted`)
    const placed = this.places.filter((row) => row !== 0)
    if (placed.length !== this.size || new Set(placed).size !== this.size) throw new Error("a row has not one place")
    for (const row of placed) {
      if (free.has(row) || row >= this.unused) throw new Error(`row ${row} has a place and is free`)
      this.placeOf(row)
    }
  }

  private placeOf(row: number): number {
    const { places, mask } = this
    for (let place = (this.cells[row << 2] as number) & mask; ; place = (place + 1) & mask) {
      if (places[place] === row) return place
      if (places[place] === 0) throw new Error(`row ${row} is not there`)
    }
  }

  private put(row: number, hash: number): void {
    const { places, mask } = this
    let place = hash & mask
    while (places[place] !== 0) place = (place + 1) & mask
    places[place] = row
  }

  private grow(): void {
    const cells = new Float64Array(2 * this.cells.length)
    cells.set(this.cells)
    this.cells = cells
    this.places = new Uint32Array(2 * this.places.length)
    this.mask = this.places.length - 1
    for (let row = 1; row < this.unused; row++) this.put(row, cells[row << 2] as number) // none is free
  }
}
