/**
 * The last events in order, for those who replay them (law 1) or try something on what has really happened: a ring of
 * references, bounded by their number and by the bytes of the values that they keep alive.
 *
 * Nothing is kept, and no event is built on its account, until `open` is called.
 */
import { allCauses, Cause, causeBit } from "./Cause.ts"
import type { KeyEvent } from "./KeyEvent.ts"
import { patternMatches } from "./Pattern.ts"
import type { Watcher } from "./PatternTrie.ts"

/** Bytes of entries, as the keyspace counts them, that the kept events may hold beside the keyspace itself. */
export const eventLogBytesDefault = 16 * 1024 * 1024

export class EventLog {
  private ring: Array<KeyEvent | undefined> = []
  private sizes = new Float64Array(0)
  private bytes = 0
  private bytesMax = 0
  private mask = 0
  /** Where the next event goes, and how many are there before it. */
  private end = 0
  private kept = 0
  private dropped = 0

  /** Whether an event with this cause bit has to be built and appended. */
  wants(bit: number): boolean {
    return (this.mask & bit) !== 0
  }

  /** How many events fell out at the ring's end since it was opened. */
  get overwritten(): number {
    return this.dropped
  }

  /** How many events it keeps at most; 0 while it is closed. */
  get capacity(): number {
    return this.ring.length
  }

  /**
   * Starts keeping the last `capacity` events, or as many of them as hold `bytesMax` bytes, dropping those kept before.
   * Without a mask of causes everything but reads is kept: reads change nothing, and would push out what does.
   */
  open(capacity: number, mask = allCauses & ~causeBit(Cause.read), bytesMax = eventLogBytesDefault): void {
    this.mask = capacity === 0 ? 0 : mask
    this.bytesMax = bytesMax
    this.ring = new Array<KeyEvent | undefined>(capacity).fill(undefined)
    this.sizes = new Float64Array(capacity)
    this.bytes = 0
    this.end = 0
    this.kept = 0
    this.dropped = 0
  }

  close(): void {
    this.open(0, 0, 0)
  }

  /** Takes an event that keeps values of `bytes` alive. */
  append(event: KeyEvent, bytes: number): void {
    const { ring, end } = this
    if (this.kept === ring.length) this.drop()
    ring[end] = event
    this.sizes[end] = bytes
    this.end = end + 1 === ring.length ? 0 : end + 1 // a division would cost as much as all the rest
    this.kept++
    this.bytes += bytes
    while (this.bytes > this.bytesMax) this.drop()
  }

  /** The kept events, oldest first. */
  recent(): KeyEvent[] {
    return this.last(this.ring.length)
  }

  /** The last `count` of the kept events, or of those that the watcher would have seen, oldest first. O(kept). */
  last(count: number, watcher?: Pick<Watcher, "pattern" | "mask">): KeyEvent[] {
    const { ring, end } = this
    const events: KeyEvent[] = []
    for (let back = 1; back <= this.kept && events.length < count; back++) {
      const event = ring[end >= back ? end - back : end - back + ring.length] as KeyEvent
      if (watcher === undefined || isFor(watcher, event)) events.push(event)
    }
    return events.reverse()
  }

  /** Lets the oldest go. */
  private drop(): void {
    const { ring, sizes, end, kept } = this
    const at = end >= kept ? end - kept : end - kept + ring.length
    ring[at] = undefined
    this.bytes -= sizes[at] as number
    this.kept--
    this.dropped++
  }
}

const isFor = ({ pattern, mask }: Pick<Watcher, "pattern" | "mask">, event: KeyEvent): boolean =>
  (mask & causeBit(event.interest)) !== 0 && patternMatches(pattern, event.key)
