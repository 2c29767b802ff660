/**
 * What waits for a process: a first-in first-out queue with a bound, a rule at the bound, and counters.
 *
 * - Bounded, where Erlang's are not: a slow process pushes back on those who feed it, or loses by a rule that was
 *   chosen, but does not eat the memory of all.
 * - **Messages** (casts, calls, plain sends) count towards the bound. **Signals** (exits of linked and monitored
 *   processes, system requests) do not and are never dropped: there are at most as many as were asked for.
 * - No selective receive. In Erlang it is what makes a long mailbox cost O(n) a message, and with typed messages each
 *   wait for "just this one" is better said by a call, a task or a process of its own.
 *
 * An intrusive singly linked list: an empty mailbox costs no memory beside its object, which 100,000 idle processes
 * feel. O(1) each; the oldest is found in O(signals before it).
 */

import { counters } from "./internal/counters.ts"

/** What happens to a message for which there is no room. */
export type Overflow =
  /** Its sender waits (calls within their timeout). The synchronous doors cannot wait and answer false. */
  | "backpressure"
  /** The oldest message makes room; if that was a call, its caller gets `MailboxFull`. */
  | "dropOldest"
  /** It is not taken: casts answer false, callers get `MailboxFull`. */
  | "reject"

export interface Options {
  /** Messages that may wait, at least 1. Default 1,024. */
  readonly capacity?: number
  /** Default `backpressure`. */
  readonly overflow?: Overflow
}

/** All but `depth` and `waiting` count since the process started. */
export interface Counters {
  /** Messages in the mailbox now, signals not counted. */
  readonly depth: number
  readonly capacity: number
  /** The most that there were at once. */
  readonly depthMax: number
  /** Messages that came in. */
  readonly taken: number
  /** Pushed out by newer ones (`dropOldest`). */
  readonly dropped: number
  /** Turned away (`reject`, and synchronous doors at a full mailbox). */
  readonly rejected: number
  /** Senders that wait for room now (`backpressure`); some of them may have gone since. */
  readonly waiting: number
  /** Senders that ever had to. */
  readonly waited: number
}

/** A thing in the queue. `next` belongs to the mailbox that it is in. */
export interface Item {
  next: Item | null
  readonly isSignal: boolean
  /** True once its sender has gone: it is passed over. */
  isAbandoned(): boolean
  /** It was pushed out. */
  onDropped(capacity: number): void
  /** It had to wait, and now is in. */
  onAdmitted(): void
}

const sweepLeast = 64 // senders; below that it is not worth while to look for gone ones
const capacityDefault = 1024 // messages; a few ms of work for a busy server, and small beside what a fiber costs

export class Mailbox<A extends Item> {
  readonly capacity: number
  readonly overflow: Overflow
  /** Messages and signals. */
  size = 0
  /** Messages. */
  depth = 0
  depthMax = 0
  taken = 0
  dropped = 0
  rejected = 0
  waiting = 0
  waited = 0
  #head: A | null = null
  #tail: A | null = null
  #firstWaiting: A | null = null
  #lastWaiting: A | null = null
  #sweepAt = sweepLeast

  constructor(options: Options = {}) {
    this.capacity = options.capacity ?? capacityDefault
    this.overflow = options.overflow ?? "backpressure"
    if (!Number.isInteger(this.capacity) || this.capacity < 1) {
      throw new RangeError(`a mailbox holds a whole number of messages, at least 1; not ${this.capacity}`)
    }
  }

  /** Puts a message in and answers true; false when there is no room: then nothing has happened or been counted. */
  offer(item: A): boolean {
    if (this.depth >= this.capacity) {
      if (this.overflow !== "dropOldest") return false
      this.#dropOldest()
    }
    this.#append(item)
    this.#count()
    return true
  }

  /**
   * Lets a message wait outside until there is room; `onAdmitted` tells when.
   *
   * Senders that have gone are passed over, and cleared away whenever as many wait again: callers that time out at a
   * process that is stuck would pile up otherwise. O(1) on average.
   */
  park(item: A): void {
    if (this.waiting >= this.#sweepAt) this.#sweep()
    item.next = null
    if (this.#lastWaiting === null) this.#firstWaiting = item
    else this.#lastWaiting.next = item
    this.#lastWaiting = item
    this.waiting++
    this.waited++
  }

  /** Counts a message that was turned away. */
  reject(): void {
    this.rejected++
    counters.messagesRejected++
  }

  /** Puts a signal in: bound and rule do not hold for it. */
  push(signal: A): void {
    this.#append(signal)
  }

  /** The oldest, or null. Lets in who waits. */
  take(): A | null {
    const item = this.#head
    if (item === null) return null
    this.#head = item.next as A | null
    if (this.#head === null) this.#tail = null
    item.next = null
    this.size--
    if (!item.isSignal) {
      this.depth--
      if (this.#firstWaiting !== null) this.#admit()
    }
    return item
  }

  /**
   * The oldest that `isWanted`, or null; the others keep their places. O(n): for suspended processes, which want system
   * requests only.
   */
  takeWhere(isWanted: (item: A) => boolean): A | null {
    let previous: A | null = null
    for (let item = this.#head; item !== null; previous = item, item = item.next as A | null) {
      if (!isWanted(item)) continue
      this.#unlink(previous, item)
      return item
    }
    return null
  }

  /** Everything, also what waits outside, oldest first; the mailbox is empty afterwards. */
  drain(): Array<A> {
    const items: Array<A> = []
    for (let item = this.#head; item !== null; item = item.next as A | null) items.push(item)
    for (let item = this.#firstWaiting; item !== null; item = item.next as A | null) items.push(item)
    this.#head = this.#tail = this.#firstWaiting = this.#lastWaiting = null
    this.size = this.depth = this.waiting = 0
    return items
  }

  counters(): Counters {
    const { capacity, depth, depthMax, dropped, rejected, taken, waited, waiting } = this
    return { capacity, depth, depthMax, dropped, rejected, taken, waited, waiting }
  }

  #append(item: A): void {
    item.next = null
    if (this.#tail === null) this.#head = item
    else this.#tail.next = item
    this.#tail = item
    this.size++
  }

  #count(): void {
    this.taken++
    if (++this.depth > this.depthMax) this.depthMax = this.depth
  }

  #admit(): void {
    while (this.#firstWaiting !== null && this.depth < this.capacity) {
      const item: A = this.#firstWaiting
      this.#firstWaiting = item.next as A | null
      if (this.#firstWaiting === null) this.#lastWaiting = null
      this.waiting--
      if (item.isAbandoned()) continue
      this.#append(item)
      this.#count()
      item.onAdmitted()
    }
  }

  #sweep(): void {
    let item = this.#firstWaiting
    this.#firstWaiting = this.#lastWaiting = null
    this.waiting = 0
    while (item !== null) {
      const next = item.next as A | null
      if (!item.isAbandoned()) {
        item.next = null
        if (this.#lastWaiting === null) this.#firstWaiting = item
        else (this.#lastWaiting as A).next = item
        this.#lastWaiting = item
        this.waiting++
      }
      item = next
    }
    this.#sweepAt = Math.max(sweepLeast, 2 * this.waiting)
  }

  #dropOldest(): void {
    const oldest = this.takeWhere(isMessage)
    if (oldest === null) return
    this.dropped++
    counters.messagesDropped++
    oldest.onDropped(this.capacity)
  }

  #unlink(previous: A | null, item: A): void {
    if (previous === null) this.#head = item.next as A | null
    else previous.next = item.next
    if (this.#tail === item) this.#tail = previous
    item.next = null
    this.size--
    if (!item.isSignal) this.depth--
  }
}

const isMessage = (item: Item): boolean => !item.isSignal
