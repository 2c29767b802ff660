/**
 * Counts in fixed buckets, for latencies that are recorded off the hot path.
 *
 * Fixed buckets add up over instances, which quantiles do not; `record` is O(buckets) and allocates nothing.
 */
export class Histogram {
  sum = 0
  count = 0
  private readonly counts: Float64Array

  /** `bounds` are the inclusive upper ends, ascending; a last bucket without an end is added. */
  constructor(readonly bounds: ReadonlyArray<number> = secondsBounds) {
    this.counts = new Float64Array(bounds.length + 1)
  }

  record(value: number): void {
    let bucket = 0
    while (bucket < this.bounds.length && value > (this.bounds[bucket] as number)) bucket++
    this.counts[bucket] = (this.counts[bucket] as number) + 1
    this.sum += value
    this.count++
  }

  /** Each upper end, the infinite one last, with how many values were at or below it. */
  *cumulative(): Generator<readonly [bound: number, count: number]> {
    let count = 0
    for (const [bucket, own] of this.counts.entries()) {
      count += own
      yield [this.bounds[bucket] ?? Number.POSITIVE_INFINITY, count]
    }
  }
}

/** From a fast call on the same machine to the longest time-out in use, about three buckets a decade. */
const secondsBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
