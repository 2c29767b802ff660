/**
 * What has been invalidated without being named key by key: tags, prefixes, copies that may have missed something.
 *
 * Nobody looks for the entries that go. Each such wide invalidation counts one generation up and is noted under its hash
 * with it; an entry is stale where one that concerns it is of a later generation than the entry, which is the one at
 * which it was stored or, for a fill, at which the fill began: so a fill that began before is stale as well (law 11).
 * A read compares two numbers; an entry is looked at only after a wide invalidation, once. Cost of an invalidation:
 * O(1), whatever has that tag. Guava and Redis' client-side caching look for the entries, or forget all of them.
 *
 * All keyspaces of one process share one of these: what peers say names tags by hashes, not keyspaces. Those in which
 * entries may have gone stale are told to sweep, once for all that comes while they do.
 *
 * What a peer invalidates leaves local entries alone.
 *
 * Tables are bounded, and what a full one forgets is on whoever filled it (law 14). Each hash says whose it is (KeyHash).
 * Past `wideMax` tags the older half of those of the owner that has most is forgotten, and whatever has any tag of that
 * owner's and is older than the forgotten ones is stale; no one else's is. Who has no more than `wideMax`, divided by the
 * number of owners, loses none. (Prefixes: likewise.)
 */
import { type EventOrigin, isPeers } from "./KeyEvent.ts"
import { bucketOf, type KeyHash, ownerCount, ownerOf } from "./KeyHash.ts"
import type { Meta } from "./Value.ts"

/** Tags, and prefixes, of which the last invalidation is known: some 100 bytes each. */
export const wideMax = 65_536

/** The last invalidation of something, as far as an entry has to know. */
export class Wide {
  /** Older entries are stale. */
  generation = 0
  /** Older local entries are: a peer's invalidation leaves them alone. */
  ownGeneration = 0
  /** Who caused the last one. */
  private origin: EventOrigin | null = null
  /** Who caused the last one here. */
  private ownOrigin: EventOrigin | null = null

  /** `isSilent`: nobody knows the entries to be old; they are forgotten as a copy is that expires. */
  constructor(readonly isSilent = false) {}

  note(generation: number, origin: EventOrigin | null): void {
    this.generation = generation
    this.origin = origin
    if (isPeers(origin)) return
    this.ownGeneration = generation
    this.ownOrigin = origin
  }

  /** Takes in what is known of another one, but not who caused it. */
  noteOf(other: Wide): void {
    this.generation = Math.max(this.generation, other.generation)
    this.ownGeneration = Math.max(this.ownGeneration, other.ownGeneration)
    this.origin = this.ownOrigin = null
  }

  /** Who made an entry of this generation stale, for its events: a peer only where nobody here has. */
  originFor(generation: number): EventOrigin | null {
    return generation < this.ownGeneration ? this.ownOrigin : this.origin
  }

  isNewerThan(generation: number, isLocal: boolean): boolean {
    return generation < (isLocal ? this.ownGeneration : this.generation)
  }
}

/** Is told that entries may have gone stale. */
export interface Sweeper {
  /** False where it has none. If it has, it says `rest` when it has looked at all of them. */
  sweepSoon(): boolean
}

export class Freshness {
  /** Counts the wide invalidations. */
  generation = 0
  private readonly tags: WideTable
  private readonly prefixes: WideTable
  private readonly copies = new Wide(true)
  /** The last of the moves of buckets, and for each bucket the generation of its own last one. */
  private readonly moved = new Wide()
  private buckets: Float64Array | null = null
  /** Who wants to be told of the next wide invalidation. */
  private readonly resting = new Set<Sweeper>()

  constructor(max = wideMax) {
    this.tags = new WideTable(max)
    this.prefixes = new WideTable(max)
  }

  /** What has the tag goes; `only` is the one that can have such entries, where that is known. */
  invalidateTag(hash: number, origin: EventOrigin | null = null, only?: Sweeper): void {
    this.alert(this.tags.note(hash, ++this.generation, origin) ? undefined : only)
  }

  /** What is displayed with a key that begins so goes. */
  invalidatePrefix(hash: number, origin: EventOrigin | null = null, only?: Sweeper): void {
    this.alert(this.prefixes.note(hash, ++this.generation, origin) ? undefined : only)
  }

  /** A number for this moment: whatever is stored from now on, or whose fill begins, is not older than it. */
  mark(): number {
    return ++this.generation
  }

  /** What has not been written here goes, but for local entries. */
  forgetCopies(): void {
    this.forgetCopiesBefore(this.generation + 1)
  }

  /** What has not been written here goes, where it is older than the mark. O(1). */
  forgetCopiesBefore(mark: number): void {
    this.generation++
    this.copies.note(Math.max(mark, this.copies.generation), null)
    this.alert()
  }

  /**
   * Keys in some buckets have been written elsewhere: what has not been written here goes. Bit `b & 7` of byte `b >> 3`
   * stands for bucket b. Where there are as many buckets as before; of another count no bucket is known, and all goes.
   */
  moveBuckets(bitmap: Uint8Array, bucketCount: number, origin: EventOrigin | null = null): void {
    const isFirst = this.buckets === null
    const buckets = this.buckets ?? new Float64Array(bucketCount)
    this.buckets = buckets
    this.generation++
    const isKnown = isFirst || buckets.length === bucketCount
    for (let bucket = 0; bucket < buckets.length; bucket++) {
      const hasMoved = !isKnown || ((bitmap[bucket >> 3] ?? 0) & (1 << (bucket & 7))) !== 0
      if (hasMoved) buckets[bucket] = this.generation
    }
    this.moved.note(this.generation, origin)
    this.alert()
  }

  /** What makes an entry of this generation stale that was looked at when there were `looked` generations; or null. */
  staleBy(
    generation: number,
    looked: number,
    key: string,
    meta: Meta,
    isWritten: boolean,
    isLocal: boolean,
    hash: KeyHash
  ): Wide | null {
    const { tags, prefixes, copies, moved } = this
    let wide: Wide | null = null
    if (tags.newest > looked) {
      for (const tag of meta.tags) wide = newer(wide, tags.newerThan(generation, isLocal, hash.ofTag(tag)))
    }
    if (prefixes.newest > looked && (hash.head !== "" || key.includes(":"))) {
      for (const prefix of hash.prefixesOf(key)) wide = newer(wide, prefixes.newerThan(generation, isLocal, prefix))
    }
    if (isWritten || isLocal || wide !== null) return wide
    if (this.buckets !== null && moved.generation > looked) {
      const at = this.buckets[bucketOf(hash.of(key), this.buckets.length)] as number
      if (generation < at) return moved
    }
    return copies.isNewerThan(generation, false) ? copies : null
  }

  /** Whoever sweeps says so when it has nothing more to look at; the next wide invalidation is told to it. */
  rest(sweeper: Sweeper): void {
    this.resting.add(sweeper)
  }

  /** It is no more. */
  leave(sweeper: Sweeper): void {
    this.resting.delete(sweeper)
  }

  private alert(only?: Sweeper): void {
    if (only === undefined) {
      for (const sweeper of this.resting) if (sweeper.sweepSoon()) this.resting.delete(sweeper)
    } else if (this.resting.has(only) && only.sweepSoon()) this.resting.delete(only)
  }
}

/** Hash → its last invalidation, for `max` of them; the floors of their owners stand for all others. */
class WideTable {
  /** The generation of the last invalidation of any. */
  newest = 0
  private size = 0
  private owners: Array<OwnedWides | undefined> | null = null

  constructor(private readonly max: number) {}

  /** True where others have been forgotten, so that more has gone stale than this concerns. */
  note(hash: number, generation: number, origin: EventOrigin | null): boolean {
    this.owners ??= new Array<OwnedWides | undefined>(ownerCount) // 16 KB, and none where nothing is invalidated
    const at = ownerOf(hash)
    const owned = this.owners[at] ?? new OwnedWides()
    this.owners[at] = owned
    this.size -= owned.size
    owned.note(hash, generation, origin)
    this.size += owned.size
    this.newest = generation
    if (this.size <= this.max) return false
    this.size -= this.largest(this.owners, owned).forgetOlderHalf()
    return true
  }

  newerThan(generation: number, isLocal: boolean, hash: number): Wide | null {
    return this.owners?.[ownerOf(hash)]?.newerThan(generation, isLocal, hash) ?? null
  }

  /** It has more than `max / ownerCount`; half of these are free before the next look at all owners: O(1) a note. */
  private largest(owners: ReadonlyArray<OwnedWides | undefined>, some: OwnedWides): OwnedWides {
    let largest = some
    for (const owned of owners) if (owned !== undefined && owned.size > largest.size) largest = owned
    return largest
  }
}

/** Those of one owner. */
class OwnedWides {
  private readonly floor = new Wide()
  private readonly known = new Map<number, Wide>()

  get size(): number {
    return this.known.size
  }

  note(hash: number, generation: number, origin: EventOrigin | null): void {
    const wide = this.known.get(hash) ?? new Wide()
    this.known.delete(hash) // and back, as the last one
    this.known.set(hash, wide)
    wide.note(generation, origin)
  }

  newerThan(generation: number, isLocal: boolean, hash: number): Wide | null {
    const wide = this.known.get(hash)
    if (wide?.isNewerThan(generation, isLocal)) return wide
    return this.floor.isNewerThan(generation, isLocal) ? this.floor : null
  }

  /** How many: of a single one that one. */
  forgetOlderHalf(): number {
    const { floor, known } = this
    const [before, kept] = [known.size, known.size >> 1]
    for (const [hash, wide] of known) {
      if (known.size <= kept) break
      known.delete(hash)
      floor.noteOf(wide)
    }
    return before - known.size
  }
}

const newer = (a: Wide | null, b: Wide | null): Wide | null =>
  a === null || (b !== null && b.generation > a.generation) ? b : a
