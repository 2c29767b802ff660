/**
 * What a trigger has done, and how long it took: counts, and a histogram of the runs that were timed.
 *
 * The buckets are log-linear (eight to each doubling, as in HdrHistogram): a quantile is at most an eighth above what
 * was measured, from a tenth of a microsecond to a hundred milliseconds, in 600 bytes that never grow.
 */

/** How a run can fail, as LOG and INFO name it. `rejected`: a BEFORE_ trigger refused what it wanted to change. */
export const failureKinds = ["error", "timeout", "memory", "killed", "rejected"] as const
export type FailureKind = (typeof failureKinds)[number]

/** Why a run did not take place. */
export const skipKinds = ["repeat", "depth", "budget", "quarantined", "no_vm", "sampled", "derived"] as const
export type SkipKind = (typeof skipKinds)[number]

export const noFailures = (): Record<FailureKind, number> => ({
  error: 0,
  timeout: 0,
  memory: 0,
  killed: 0,
  rejected: 0
})

export const noSkips = (): Record<SkipKind, number> => ({
  repeat: 0,
  depth: 0,
  budget: 0,
  quarantined: 0,
  no_vm: 0,
  sampled: 0,
  derived: 0
})

export class TriggerStats {
  runs = 0
  /** Runs by the way in which they failed. */
  readonly failures = noFailures()
  /** Runs that did not take place, by the reason. */
  readonly skips = noSkips()
  fuel = 0
  /** The most that one run took and did not free. */
  bytesMax = 0
  writes = 0
  deletes = 0
  emits = 0
  webhooks = 0
  /** Those that another instance sends: what it ran on happened there (law 13). */
  webhooksSuppressed = 0
  logs = 0
  /** Keys that it wanted loaded anew. */
  warms = 0
  /** Operations that a BEFORE_ trigger refused. */
  rejects = 0
  readonly times = new RunTimes()
}

const timedAtFirst = 16 // runs that are all timed, so that a rare trigger has times too
const sampleEvery = 64 // afterwards one in so many: a clock read would cost a tenth of a run

/** Microseconds of the runs that were timed. A run that had to be compiled first is not. */
export class RunTimes {
  count = 0
  sumUs = 0
  maxUs = 0
  private buckets: Uint32Array | null = null

  /** Whether the run with this number, from 0, is one to be timed. */
  wants(run: number): boolean {
    return this.count < timedAtFirst || run % sampleEvery === 0
  }

  record(us: number): void {
    this.buckets ??= new Uint32Array(bucketCount)
    const bucket = bucketOf(us)
    this.buckets[bucket] = (this.buckets[bucket] as number) + 1
    this.count++
    this.sumUs += us
    if (us > this.maxUs) this.maxUs = us
  }

  get meanUs(): number {
    return this.count === 0 ? 0 : this.sumUs / this.count
  }

  /** The time that this share of the runs stays within, 0 when none was timed. */
  quantileUs(share: number): number {
    if (this.buckets === null) return 0
    let below = Math.ceil(share * this.count)
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      below -= this.buckets[bucket] as number
      if (below <= 0) return Math.min(this.maxUs, bucketEndUs(bucket))
    }
    return this.maxUs
  }
}

const unitsPerUs = 10 // a tenth of a microsecond is what the clock can tell
const stepBits = 3 // eight buckets to a doubling
const unitsMax = (1 << 20) - 1 // a hundred milliseconds; what is longer counts as that
const bucketCount = (20 - stepBits + 1) << stepBits

const bucketOf = (us: number): number => {
  const units = Math.min(unitsMax, Math.max(0, Math.floor(us * unitsPerUs)))
  if (units < 1 << stepBits) return units
  const doubling = 31 - Math.clz32(units) - stepBits
  return (doubling << stepBits) + (units >> doubling)
}

/** Where the bucket ends; `bucketOf` read backwards. */
const bucketEndUs = (bucket: number): number => {
  if (bucket < 2 << stepBits) return (bucket + 1) / unitsPerUs
  const doubling = (bucket >> stepBits) - 1
  return (((bucket & ((1 << stepBits) - 1)) + (1 << stepBits) + 1) << doubling) / unitsPerUs
}
