/**
 * The memory of all tenants' entries together. Each tenant has a limit of its own, and their sum may be more than the
 * machine has.
 *
 * When all of them hold more than there is, the largest shrink to one level, each by its own least recently used
 * entries, until a sixteenth is free again; who holds less than that level loses nothing (max-min fairness [1]). So a
 * tenant can cost others what they hold beyond their share, and never more. They shrink in portions, in the scheduler's
 * turns, and cannot grow while they do; what small tenants write meanwhile may go beyond the limit, by a sixty-fourth
 * of it at each step at which the level is found anew, lower.
 *
 * Cost: one comparison a write; O(n log n) to find the level, 1 ms for 10,000 tenants, once for each sixteenth of the
 * memory that is written anew.
 *
 * [1] D. Bertsekas, R. Gallager: Data Networks, 2nd edition, 6.5.2; as of water, skimmed off above a level.
 */
import { BytePool, type Keyspace } from "../kernel/index.ts"

export class SharedMemory {
  readonly pool: BytePool
  /** How often a level was found to which the largest had to shrink. */
  reclaims = 0

  constructor(
    readonly bytesMax: number,
    private readonly keyspaces: () => Iterable<Keyspace>
  ) {
    this.pool = new BytePool(bytesMax, () => this.reclaim())
  }

  /** To be called after those that shrink were advanced: the next alarm comes as early as it may. */
  relax(): void {
    const { pool } = this
    pool.alarmBytes = Math.max(this.bytesMax, Math.min(pool.alarmBytes, pool.bytes + this.step))
  }

  private get step(): number {
    return Math.ceil(this.bytesMax / 64)
  }

  private reclaim(): void {
    this.reclaims++
    const level = levelOf(
      Array.from(this.keyspaces(), ({ bytes }) => bytes),
      this.bytesMax - Math.ceil(this.bytesMax / 16)
    )
    for (const keyspace of this.keyspaces()) if (keyspace.bytes > level) keyspace.shrinkTo(level)
    this.pool.alarmBytes = this.pool.bytes + this.step
  }
}

/** The level at which the sizes, cut off there, make `total`; Infinity where they make less. O(n log n). */
export const levelOf = (sizes: readonly number[], total: number): number => {
  const ascending = Float64Array.from(sizes).sort()
  let left = total
  for (let n = 0; n < ascending.length; n++) {
    const size = ascending[n] as number
    const share = left / (ascending.length - n)
    if (size > share) return Math.floor(share)
    left -= size
  }
  return Number.POSITIVE_INFINITY
}
