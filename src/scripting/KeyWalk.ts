/**
 * The first keys, in the order of their bytes, of those that begin with a prefix: found in portions, each short enough
 * to be one call from Lua, so that a keyspace of any size holds the thread no longer.
 *
 * The slots are walked once. What a portion finds is sorted and merged into the best so far, which are never more than
 * the limit; what comes after the last of these, once they are that many, is left out at once. A key that is there
 * during the whole walk is found; one that comes or goes meanwhile may be. A key that goes and comes again in another
 * slot is met twice, and counts once.
 *
 * Cost: O(slots + found × log limit + portions × limit). Portions are bounded by bytes too, since keys may be long and
 * share their beginnings, so that a comparison takes as long as they are.
 */
import type { Entry, Keyspace } from "../kernel/index.ts"

export class KeyWalk {
  /** Whether there is more to look at; afterwards the keys can be taken. */
  isLooking = true
  /** Units of fuel that the last portion is worth. */
  work = 0

  private cursor = 0
  /** The best so far, in order. */
  private found: string[] = []
  private taken = 0
  private portion: string[] = []
  private bytes = 0

  constructor(
    private readonly keyspace: Keyspace,
    private readonly prefix: string,
    private readonly limit: number
  ) {}

  /** Looks at the next portion of the keyspace. */
  look(): void {
    let slots = 0
    this.bytes = 0
    do {
      this.cursor = this.keyspace.scan(this.cursor, slotsAtOnce, this.visit)
      slots += slotsAtOnce
    } while (this.cursor !== 0 && slots < slotsMax && this.bytes < bytesMax)
    this.isLooking = this.cursor !== 0
    this.work = slots * slotFuel + this.bytes * byteFuel
    if (this.portion.length === 0) return
    this.work += this.portion.length * foundFuel + this.found.length * mergeFuel
    this.merge(this.portion.sort()) // by code units, which are the bytes
    this.portion = []
  }

  /** The next of the keys: text, or bytes where they are none. Empty when all have been taken. */
  take(): Array<string | Uint8Array> {
    const keys: Array<string | Uint8Array> = []
    for (let bytes = 0; this.taken < this.found.length && keys.length < takenMax && bytes < bytesMax; ) {
      const key = this.found[this.taken++] as string
      keys.push(isAscii.test(key) ? key : Buffer.from(key, "latin1"))
      bytes += key.length
    }
    return keys
  }

  private readonly visit = ({ key }: Entry): void => {
    this.bytes += Math.min(key.length, this.prefix.length)
    if (!key.startsWith(this.prefix)) return
    this.bytes += key.length
    const { found, limit } = this
    if (found.length < limit || key < (found[limit - 1] as string)) this.portion.push(key)
  }

  private merge(portion: ReadonlyArray<string>): void {
    const { found, limit } = this
    const merged: string[] = []
    let next = 0
    for (const key of portion) {
      const at = this.placeOf(key, next)
      while (next < at && merged.length < limit) merged.push(found[next++] as string)
      if (merged.length === limit) break
      if (found[at] !== key && merged[merged.length - 1] !== key) merged.push(key)
    }
    while (next < found.length && merged.length < limit) merged.push(found[next++] as string)
    this.found = merged
  }

  /** Where the key stands among those found, or would. From `low` on. */
  private placeOf(key: string, low: number): number {
    const { found } = this
    let high = found.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((found[middle] as string) < key) low = middle + 1
      else high = middle
    }
    return low
  }
}

const slotsAtOnce = 4
const slotsMax = 512 // a portion; some 0.1 ms where all of them match
const bytesMax = 16 << 10 // of keys that are looked at, or handed over, in one portion
const takenMax = 512 // keys that are handed over at once

// Units of fuel, 250 a µs.
const slotFuel = 5
const byteFuel = 1 // a byte takes part in some fifteen comparisons, several bytes at a time
const foundFuel = 50 // a key that is sorted and merged, beside its bytes
const mergeFuel = 1 // a key of the best so far

const isAscii = /^[\0-\x7f]*$/
