/**
 * A hierarchical timing wheel [1] over slots: which entry is due, without looking at the others.
 *
 * Seven levels of 64 buckets, 1 ms to a bucket on the lowest, so that 2^42 ms (139 years) fit. A slot hangs in one
 * bucket's list; when time reaches a bucket of a higher level its slots move down. A heap would cost O(log n) for each
 * SET with a TTL and would be touched again by each overwrite; here both are O(1) on typed arrays. Sixty-four buckets
 * make a level's occupancy two 32-bit words, so that empty stretches of time are jumped over, not ticked through.
 *
 * Invariants: a linked slot's deadline lies in its bucket's next window as seen from `tick` (on the highest level also
 * behind it), or has passed and the slot lies in the bucket of `tick`; the occupancy bit of a bucket says whether its
 * list is empty; `tick` never passes a bucket that is not empty. Cost: schedule and cancel O(1); a slot moves down at
 * most six times in its life, and once more for each 139 years.
 *
 * [1] G. Varghese, A. Lauck: Hashed and Hierarchical Timing Wheels, SOSP 1987. As in Caffeine's TimerWheel the lists
 *     are intrusive; unlike there `advance` is bounded and resumable, because it shares its thread with clients.
 */
export class TimingWheel {
  // Empty until there is room for a slot: of many small keyspaces most have no deadline.
  private heads = noSlots
  private tails = noSlots
  private readonly occupied = new Int32Array(levels * 2)
  private next = noSlots
  private prev = noSlots
  private bucketOf = noBuckets
  private deadlines = noDeadlines
  /** The millisecond up to which everything has fired, itself included once its bucket is empty. */
  private tick: number
  private linked = 0
  private opensMs = 0

  constructor(nowMs: number, capacity: number) {
    this.tick = nowMs
    if (capacity > 0) this.grow(capacity)
  }

  /** How many slots have a deadline. */
  get size(): number {
    return this.linked
  }

  grow(capacity: number): void {
    const from = this.next.length
    if (from === 0) {
      this.heads = new Int32Array(buckets).fill(none)
      this.tails = new Int32Array(buckets).fill(none)
    }
    this.next = extended(this.next, new Int32Array(capacity))
    this.prev = extended(this.prev, new Int32Array(capacity))
    this.bucketOf = extended(this.bucketOf, new Int16Array(capacity)).fill(none, from)
    const deadlines = new Float64Array(capacity)
    deadlines.set(this.deadlines)
    this.deadlines = deadlines
  }

  /**
   * Gives the slot a deadline, replacing the one it had. Returns when the wheel next has something to do on account
   * of it: the deadline, or the earlier moment at which the slot has to move to a finer level.
   */
  schedule(slot: number, deadlineMs: number): number {
    const bucket = this.bucketAt(deadlineMs)
    const held = this.bucketOf[slot]
    this.deadlines[slot] = deadlineMs
    // Within a bucket there is no order to keep: a slot that stays in it, as most overwritten ones do, stays put.
    if (held !== bucket) {
      if (held === none) this.linked++
      else this.unlink(slot)
      this.link(slot, bucket)
    }
    return this.opensMs
  }

  /** Takes a slot's deadline away, if it has one. */
  cancel(slot: number): void {
    if ((this.bucketOf[slot] ?? none) === none) return
    this.unlink(slot)
    this.linked--
  }

  /**
   * Fires what is due at `nowMs`, until `limit` units of work are spent (a slot fired or moved down is one): in the
   * order of the deadlines, where one that had passed when it was scheduled counts as due at that moment.
   * The slot is off the wheel before `fire` sees it, so `fire` may schedule, cancel, clear and advance at will.
   * Returns the work done; `limit` means that there may be more.
   */
  advance(nowMs: number, limit: number, fire: (slot: number, deadlineMs: number) => void): number {
    let work = 0
    for (;;) {
      const wakeMs = this.nextWakeMs()
      const untilMs = Math.max(nowMs, this.tick)
      if (wakeMs > untilMs) {
        this.tick = untilMs
        return work
      }
      this.tick = wakeMs
      let level = 0
      while (level < levels - 1 && wakeMs % (spans[level + 1] as number) === 0) level++
      for (; level > 0; level--) {
        const bucket = level * width + ((wakeMs / (spans[level] as number)) & inLevel)
        for (let slot = this.heads[bucket] as number; slot !== none; slot = this.heads[bucket] as number) {
          if (work === limit) return work
          work++
          this.unlink(slot)
          this.link(slot, this.bucketAt(this.deadlines[slot] as number))
        }
      }
      const due = wakeMs & inLevel
      for (let slot = this.heads[due] as number; slot !== none; slot = this.heads[due] as number) {
        if (work === limit) return work
        work++
        this.cancel(slot)
        fire(slot, this.deadlines[slot] as number)
        if (this.tick !== wakeMs) break // `fire` has advanced the wheel: this bucket's time is another now
      }
    }
  }

  /** When `advance` next has something to do (never later than the earliest deadline), or Infinity. O(1). */
  nextWakeMs(): number {
    let earliest = Number.POSITIVE_INFINITY
    for (let level = 0; level < levels; level++) {
      const low = this.occupied[level * 2] as number
      const high = this.occupied[level * 2 + 1] as number
      if ((low | high) === 0) continue
      const span = spans[level] as number
      // A window that begins at `tick` counts: its bucket may be new, or left half moved by a limit.
      const before = Math.ceil(this.tick / span) - 1
      earliest = Math.min(earliest, (before + distanceToBit(low, high, before & inLevel)) * span)
    }
    return earliest
  }

  clear(): void {
    this.heads.fill(none)
    this.tails.fill(none)
    this.occupied.fill(0)
    this.bucketOf.fill(none)
    this.linked = 0
  }

  /** Walks the whole wheel and throws where an invariant of the head comment does not hold. For tests. */
  checkInvariants(): void {
    let seen = 0
    for (let bucket = 0; bucket < buckets; bucket++) {
      const bit = ((this.occupied[bucket >> 5] as number) >>> (bucket & 31)) & 1
      const head = this.heads[bucket] ?? none
      if ((bit === 1) !== (head !== none)) throw new Error(`occupancy of bucket ${bucket} is wrong`)
      let before = none
      for (let slot = head; slot !== none; slot = this.next[slot] as number) {
        if (this.bucketOf[slot] !== bucket || this.prev[slot] !== before) throw new Error(`slot ${slot} is mislinked`)
        const deadline = this.deadlines[slot] as number
        const level = Math.floor(bucket / width)
        const span = spans[level] as number
        const isOverdue = deadline <= this.tick && bucket === (this.tick & inLevel)
        const from = Math.ceil(this.tick / span)
        const opensMs = (from + ((bucket - from) & inLevel)) * span
        const isInWindow = opensMs <= deadline && (deadline < opensMs + span || level === levels - 1)
        if (!isOverdue && !isInWindow) throw new Error(`slot ${slot} is misplaced`)
        before = slot
        seen++
      }
      if ((this.tails[bucket] ?? none) !== before) throw new Error(`tail of bucket ${bucket} is wrong`)
    }
    if (seen !== this.linked) throw new Error(`${seen} slots linked, ${this.linked} counted`)
  }

  /** The bucket for a deadline as seen from `tick`; leaves in `opensMs` when its turn comes. */
  private bucketAt(deadlineMs: number): number {
    const delta = deadlineMs - this.tick
    let level = 0
    let at = deadlineMs
    if (delta <= 0) at = this.tick
    else if (delta >= horizon) {
      level = levels - 1
      at = this.tick + horizon - 1
    } else while (delta >= (spans[level + 1] as number)) level++
    const span = spans[level] as number
    const window = Math.floor(at / span)
    this.opensMs = window * span
    return level * width + (window & inLevel)
  }

  private link(slot: number, bucket: number): void {
    const tail = this.tails[bucket] as number
    this.next[slot] = none
    this.prev[slot] = tail
    this.bucketOf[slot] = bucket
    this.tails[bucket] = slot
    if (tail !== none) this.next[tail] = slot
    else {
      this.heads[bucket] = slot
      this.occupied[bucket >> 5] = (this.occupied[bucket >> 5] as number) | (1 << (bucket & 31))
    }
  }

  private unlink(slot: number): void {
    const bucket = this.bucketOf[slot] as number
    const before = this.prev[slot] as number
    const after = this.next[slot] as number
    if (before === none) this.heads[bucket] = after
    else this.next[before] = after
    if (after === none) this.tails[bucket] = before
    else this.prev[after] = before
    if (this.heads[bucket] === none) {
      this.occupied[bucket >> 5] = (this.occupied[bucket >> 5] as number) & ~(1 << (bucket & 31))
    }
    this.bucketOf[slot] = none
  }
}

const none = -1
const width = 64 // buckets a level: their occupancy is two 32-bit words
const inLevel = width - 1 // `x & inLevel` is x modulo width, for integers of any size a number holds, and quicker
const levels = 7
const buckets = width * levels
const spans = Array.from({ length: levels + 1 }, (_, level) => width ** level) // ms a bucket, by level
const horizon = width ** levels // ms; a later deadline waits at the rim and is placed again when it gets there

const noSlots = new Int32Array(0)
const noBuckets = new Int16Array(0)
const noDeadlines = new Float64Array(0)

const extended = <A extends Int32Array | Int16Array>(from: A, into: A): A => {
  into.set(from)
  return into
}

/** How many buckets after `index` (1 to 64, going round) the next set bit stands. */
const distanceToBit = (low: number, high: number, index: number): number => {
  for (let step = 1; step <= width; ) {
    const bit = (index + step) & inLevel
    const word = (bit < 32 ? low : high) >>> (bit & 31)
    if (word !== 0) return step + (31 - Math.clz32(word & -word))
    step += 32 - (bit & 31)
  }
  return width
}
