/**
 * Time as a queue of what is to happen: nothing waits, the clock jumps from one event to the next.
 *
 * Equal times go by order of asking, so a run is a function of what was asked. A binary heap, because a schedule has
 * thousands of events and most are asked for in no order.
 */
export class VirtualTime {
  nowMs = 0
  /** Counts the events that have run: two things that happen at one time still have an order. */
  turn = 0
  private asked = 0
  private readonly heap: Event[] = []

  get pending(): number {
    return this.heap.length
  }

  /** Runs `run` at `atMs`, or now, after all that was asked for now already, where that has passed. */
  at(atMs: number, run: () => void): void {
    const event: Event = { atMs: Math.max(atMs, this.nowMs), order: this.asked++, run }
    const { heap } = this
    let index = heap.length
    heap.push(event)
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent] as Event
      if (isBefore(above, event)) break
      heap[index] = above
      index = parent
    }
    heap[index] = event
  }

  after(ms: number, run: () => void): void {
    this.at(this.nowMs + ms, run)
  }

  /** Runs everything up to and at `untilMs`, then stands there. Throws past `eventsMax`: a livelock. */
  runUntil(untilMs: number, eventsMax = 1_000_000): void {
    for (let events = 0; ; events++) {
      const next = this.heap[0]
      if (next === undefined || next.atMs > untilMs) break
      if (events === eventsMax) throw new Error(`livelock: ${eventsMax} events and it is still ${this.nowMs} ms`)
      this.pop()
      this.nowMs = next.atMs
      this.turn++
      next.run()
    }
    this.nowMs = untilMs
  }

  private pop(): void {
    const { heap } = this
    const last = heap.pop() as Event
    const size = heap.length
    if (size === 0) return
    let index = 0
    for (;;) {
      let child = index * 2 + 1
      if (child >= size) break
      if (child + 1 < size && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
      if (isBefore(last, heap[child] as Event)) break
      heap[index] = heap[child] as Event
      index = child
    }
    heap[index] = last
  }
}

interface Event {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
