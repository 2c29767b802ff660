/**
 * The last events in order, for those who replay them (law 1): a ring of references.
 *
 * Nothing is kept, and no event is built on its account, until `open` is called.
 */
import { allCauses, Cause, causeBit } from "./Cause.ts"
import type { KeyEvent } from "./KeyEvent.ts"

export class EventLog {
  private ring: Array<KeyEvent | undefined> = []
  private mask = 0
  private appended = 0

  /** Whether an event with this cause bit has to be built and appended. */
  wants(bit: number): boolean {
    return (this.mask & bit) !== 0
  }

  /** How many events fell out at the ring's end since it was opened. */
  get overwritten(): number {
    return Math.max(0, this.appended - this.ring.length)
  }

  /**
   * Starts keeping the last `capacity` events, dropping those kept before. Without a mask of causes everything but
   * reads is kept: reads change nothing, and would push out what does.
   */
  open(capacity: number, mask = allCauses & ~causeBit(Cause.read)): void {
    this.mask = mask
    this.ring = new Array<KeyEvent | undefined>(capacity).fill(undefined)
    this.appended = 0
  }

  close(): void {
    this.mask = 0
    this.ring = []
    this.appended = 0
  }

  append(event: KeyEvent): void {
    this.ring[this.appended++ % this.ring.length] = event
  }

  /** The kept events, oldest first. */
  recent(): KeyEvent[] {
    const events: KeyEvent[] = []
    for (let at = this.overwritten; at < this.appended; at++) {
      events.push(this.ring[at % this.ring.length] as KeyEvent)
    }
    return events
  }
}
