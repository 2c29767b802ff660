/** A binary heap by due time; of equal times the lower ticket, which came first, goes first. O(log n). */
interface Due {
  readonly dueAtMs: number
  readonly ticket: number
}

export class DueHeap<A extends Due> {
  private readonly items: Array<A> = []

  get first(): A | undefined {
    return this.items[0]
  }

  push(item: A): void {
    const { items } = this
    let at = items.length
    while (at > 0) {
      const parentAt = (at - 1) >> 1
      const parent = items[parentAt] as A
      if (!isBefore(item, parent)) break
      items[at] = parent
      at = parentAt
    }
    items[at] = item
  }

  pop(): A | undefined {
    const { items } = this
    const first = items[0]
    const last = items.pop()
    if (items.length > 0) this.sink(last as A)
    return first
  }

  private sink(item: A): void {
    const { items } = this
    let at = 0
    for (;;) {
      const left = 2 * at + 1
      if (left >= items.length) break
      const right = left + 1
      const childAt = right < items.length && isBefore(items[right] as A, items[left] as A) ? right : left
      const child = items[childAt] as A
      if (!isBefore(child, item)) break
      items[at] = child
      at = childAt
    }
    items[at] = item
  }
}

const isBefore = (a: Due, b: Due): boolean => a.dueAtMs < b.dueAtMs || (a.dueAtMs === b.dueAtMs && a.ticket < b.ticket)
