/**
 * A small integer for each entry, for as long as its key lives: the wheel's typed arrays are indexed by it, and SCAN
 * walks it. Recency order cannot carry SCAN (every read reorders it); a slot does not move, so a walk from 0 up meets
 * every entry that is there from its start to its end. Freed slots are taken again, last freed first.
 */
export class SlotTable<T> {
  private items: Array<T | undefined> = []
  private readonly free: number[] = []

  /** One past the highest slot ever taken. */
  get length(): number {
    return this.items.length
  }

  take(item: T): number {
    const slot = this.free.pop() ?? this.items.length
    this.items[slot] = item
    return slot
  }

  release(slot: number): void {
    this.items[slot] = undefined
    this.free.push(slot)
  }

  at(slot: number): T | undefined {
    return this.items[slot]
  }

  clear(): void {
    this.items = []
    this.free.length = 0
  }
}
