/**
 * When each keyspace next has something to do: a binary heap, the earliest on top.
 *
 * Ten thousand tenants have ten thousand timing wheels. Asking all of them what is next would cost a millisecond for
 * each expiry; here a wheel says so itself, and who has nothing to do is not in the heap. A keyspace in which more is
 * due than one portion comes back behind all others that are due, so one that expires a million entries delays the next
 * by one portion, not by a million. Cost: O(log n) a portion and for each word of a wheel; nothing for keyspaces at
 * rest.
 *
 * Invariant: a keyspace that has something to do is in the heap, at a time no later than that.
 */
import type { Keyspace } from "../kernel/index.ts"

/** Units of work between two looks at the clock, which cost 0.1 µs; one that sets off a cascade may take 2 ms. */
const portionMax = 4

/** A keyspace's place in the agenda. */
export class Appointment {
  /** Where it is in the heap; -1 while there is nothing to do. */
  at = -1
  atMs = Number.POSITIVE_INFINITY
  /** Breaks ties: who came last waits for the others. */
  order = 0

  constructor(readonly keyspace: Keyspace) {}
}

export class Agenda {
  private readonly heap: Appointment[] = []
  private placed = 0

  /** How many keyspaces have something to do, now or later. */
  get size(): number {
    return this.heap.length
  }

  /** When the first of them has; Infinity for never. O(1). */
  nextWakeMs(): number {
    return this.heap[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  /** Something is to be done at `atMs`. Returns whether it is now the first of all. */
  wake(appointment: Appointment, atMs: number): boolean {
    if (atMs >= appointment.atMs) return false
    const wasFirstMs = this.nextWakeMs()
    this.place(appointment, atMs)
    return atMs < wasFirstMs
  }

  /** Takes a keyspace out that is no more. */
  forget(appointment: Appointment): void {
    this.place(appointment, Number.POSITIVE_INFINITY)
  }

  /**
   * Advances those that are due, in turn and by portions, until `isOver` says so after one of them; true when no other
   * is due at `nowMs`. Where a keyspace throws, it has lost nothing but its turn.
   */
  advance(nowMs: number, isOver: () => boolean): boolean {
    for (let first = this.heap[0]; first !== undefined && first.atMs <= nowMs; first = this.heap[0]) {
      const { keyspace } = first
      try {
        keyspace.advance(nowMs, portionMax)
      } finally {
        this.place(first, Math.max(nowMs, keyspace.nextWakeMs()))
      }
      if (isOver()) return this.nextWakeMs() > nowMs
    }
    return true
  }

  /** Throws where the heap is none. O(n), for tests. */
  checkInvariants(nowMs: number): void {
    for (const [at, appointment] of this.heap.entries()) {
      if (appointment.at !== at) throw new Error(`the appointment at ${at} says ${appointment.at}`)
      const above = this.heap[(at - 1) >> 1]
      if (at > 0 && above !== undefined && isBefore(appointment, above)) throw new Error(`${at} is before its parent`)
      const dueMs = Math.max(nowMs, appointment.keyspace.nextWakeMs())
      if (appointment.atMs > dueMs) throw new Error(`the appointment at ${at} comes too late`)
    }
  }

  private place(appointment: Appointment, atMs: number): void {
    const { heap } = this
    appointment.atMs = atMs
    appointment.order = ++this.placed
    if (atMs === Number.POSITIVE_INFINITY) {
      this.remove(appointment)
      return
    }
    if (appointment.at === -1) appointment.at = heap.push(appointment) - 1
    this.rise(appointment)
    this.sink(appointment)
  }

  private remove(appointment: Appointment): void {
    const { at } = appointment
    if (at === -1) return
    appointment.at = -1
    const last = this.heap.pop() as Appointment
    if (last === appointment) return
    this.put(last, at)
    this.rise(last)
    this.sink(last)
  }

  private rise(appointment: Appointment): void {
    let { at } = appointment
    while (at > 0) {
      const up = (at - 1) >> 1
      const above = this.heap[up] as Appointment
      if (!isBefore(appointment, above)) break
      this.put(above, at)
      at = up
    }
    this.put(appointment, at)
  }

  private sink(appointment: Appointment): void {
    const { heap } = this
    let { at } = appointment
    for (;;) {
      let down = 2 * at + 1
      if (down >= heap.length) break
      const right = heap[down + 1]
      if (right !== undefined && isBefore(right, heap[down] as Appointment)) down++
      const below = heap[down] as Appointment
      if (!isBefore(below, appointment)) break
      this.put(below, at)
      at = down
    }
    this.put(appointment, at)
  }

  private put(appointment: Appointment, at: number): void {
    this.heap[at] = appointment
    appointment.at = at
  }
}

const isBefore = (a: Appointment, b: Appointment): boolean =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
