/**
 * What one origin has sent, and what of it was applied here. The heart of the protocol: invalidations commute, so their
 * order is not needed, only that none is missing. Records are applied as they come; `contiguous` says up to where there
 * is no hole, and the runs above a hole are kept as intervals, sorted and apart.
 *
 * There are `intervalsMax` of them at most. When there is room for no more, records that would begin another one are
 * refused before they are applied: they stay missing and are pulled when the holes before them are filled. Applying
 * them without keeping note would apply them twice. What continues `contiguous` or an interval is always taken, so
 * pulling the lowest hole first always gets on.
 *
 * Invariants: `contiguous` never goes back; the intervals lie above `contiguous + 1`, ascend, and neither overlap nor
 * touch; `contiguous <= highest`, which ends the last interval; `highest <= advertised`; each sequence is answered by
 * `receive` at most once.
 * Cost: in order a comparison and two stores; otherwise a walk over the intervals.
 */

/** A run of sequences, both ends included. */
export interface Span {
  readonly first: number
  readonly last: number
}

export class Marks {
  private contiguousLast: number
  private advertisedLast: number
  private readonly intervals: Span[] = []
  /** Records that came too far above a hole to be kept note of, ever. They are missing, and will be pulled. */
  refused = 0

  constructor(
    readonly intervalsMax: number,
    /** 1 to here need not be received. */
    baseline = 0
  ) {
    this.contiguousLast = baseline
    this.advertisedLast = baseline
  }

  /** 1 to here were applied, or are covered by a baseline, by moved buckets or by an epoch. */
  get contiguous(): number {
    return this.contiguousLast
  }

  /** The highest sequence that was applied or is covered. */
  get highest(): number {
    return this.intervals.at(-1)?.last ?? this.contiguousLast
  }

  /** The highest sequence that anybody has told of. */
  get advertised(): number {
    return this.advertisedLast
  }

  /** All that was told of was applied or is covered. */
  get isWhole(): boolean {
    return this.contiguousLast === this.advertisedLast
  }

  /** How many runs lie above a hole. */
  get intervalCount(): number {
    return this.intervals.length
  }

  /** Somebody has heard of this sequence. */
  advertise(sequence: number): void {
    if (sequence > this.advertisedLast) this.advertisedLast = sequence
  }

  /**
   * The sequences from `first` on, `count` of them, are here. Answers those that are new, ascending: they are to be
   * applied now, all of them, and count as applied from here on. The others were applied before, or are refused.
   */
  receive(first: number, count: number): readonly Span[] {
    const last = first + count - 1
    this.advertise(last)
    if (last <= this.contiguousLast || count <= 0) return nothing
    if (this.intervals.length === 0 && first <= this.contiguousLast + 1) {
      const fresh = { first: this.contiguousLast + 1, last }
      this.contiguousLast = last
      return [fresh]
    }
    return this.merge(Math.max(first, this.contiguousLast + 1), last)
  }

  /** 1 to here need not be received any more: a baseline, moved buckets, an epoch. Lower than `contiguous`: no effect. */
  cover(upTo: number): void {
    this.advertise(upTo)
    if (upTo > this.contiguousLast) this.merge(this.contiguousLast + 1, upTo)
  }

  /** Whether this sequence was applied or is covered. */
  has(sequence: number): boolean {
    return (
      sequence <= this.contiguousLast || this.intervals.some((run) => run.first <= sequence && sequence <= run.last)
    )
  }

  /** The lowest holes below `advertised`, `max` of them at most, ascending. */
  missing(max: number): Span[] {
    const holes: Span[] = []
    let after = this.contiguousLast
    for (let at = 0; at <= this.intervals.length && holes.length < max; at++) {
      const run = this.intervals[at]
      const last = run === undefined ? this.advertisedLast : run.first - 1
      if (last > after) holes.push({ first: after + 1, last })
      after = run?.last ?? last
    }
    return holes
  }

  /** Takes `first` to `last`, which lie above `contiguous`, and answers what of it is new. */
  private merge(first: number, last: number): readonly Span[] {
    const { intervals } = this
    let from = 0 // the intervals from here up to, but without, `to` overlap or touch the new run
    while (from < intervals.length && (intervals[from] as Span).last < first - 1) from++
    let to = from
    const fresh: Span[] = []
    let after = first - 1 // all up to here is old, or in `fresh`
    for (; to < intervals.length && (intervals[to] as Span).first <= last + 1; to++) {
      const run = intervals[to] as Span
      if (run.first - 1 > after) fresh.push({ first: after + 1, last: run.first - 1 })
      after = Math.max(after, run.last)
    }
    if (last > after) fresh.push({ first: after + 1, last })
    const joined = {
      first: Math.min(first, intervals[from]?.first ?? first),
      last: Math.max(last, after)
    }
    if (joined.first === this.contiguousLast + 1) {
      this.contiguousLast = joined.last
      intervals.splice(from, to - from)
    } else if (from === to && intervals.length >= this.intervalsMax) {
      this.refused += last - first + 1
      return nothing
    } else {
      intervals.splice(from, to - from, joined)
    }
    return fresh
  }

  /** Throws when the intervals are not as the head comment says. */
  checkInvariants(): void {
    let after = this.contiguousLast
    for (const { first, last } of this.intervals) {
      if (first <= after + 1 || last < first) throw new Error(`${first}–${last} follows ${after}`)
      after = last
    }
    if (this.intervals.length > this.intervalsMax) throw new Error(`${this.intervals.length} intervals`)
    if (after > this.advertisedLast) throw new Error(`${after} was applied, ${this.advertisedLast} advertised`)
  }
}

const nothing: readonly Span[] = []

/** What is in these spans and in none of those. Both ascend; so does the answer. */
const without = (spans: readonly Span[], those: readonly Span[]): Span[] => {
  const left: Span[] = []
  for (const { first, last } of spans) {
    let from = first
    for (const { first: begin, last: end } of those) {
      if (end < from) continue
      if (begin > last) break
      if (begin > from) left.push({ first: from, last: begin - 1 })
      from = end + 1
    }
    if (from <= last) left.push({ first: from, last })
  }
  return left
}

/** What is in these spans and in those. */
export const both = (spans: readonly Span[], those: readonly Span[]): Span[] => without(spans, without(spans, those))
