/**
 * Randomness that can be repeated: every random test draws from a seed that it prints, and one that fails says how to
 * run exactly that schedule again.
 *
 * `MIMOSA_SEED` fixes the first seed (each schedule has its own, counted up from there), `MIMOSA_SCHEDULES` their
 * number in every property. Without them every run is the same; `npm run soak` looks somewhere new each time.
 */
export class Random {
  private state: number

  constructor(readonly seed: number) {
    this.state = seed >>> 0
  }

  /** The same again from its beginning. */
  again(): Random {
    return new Random(this.seed)
  }

  /** A number from 0 up to, but without, 1. Mulberry32 by Tommy Ettinger: 32 bits of state are plenty for a test. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = this.state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer from 0 up to, but without, `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end)
  }

  /** An integer from `first` to `last`, both included. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1)
  }

  /** True once in `times` on average. */
  oneIn(times: number): boolean {
    return this.next() * times < 1
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T
  }
}

/** The seed of this process' first schedule. */
export const firstSeed = Number(process.env.MIMOSA_SEED ?? 1)
if (!Number.isSafeInteger(firstSeed)) throw new Error(`MIMOSA_SEED is '${process.env.MIMOSA_SEED}'; use an integer`)
console.log(`MIMOSA_SEED=${firstSeed}`)

/** How many schedules a property runs: what MIMOSA_SCHEDULES says, or else its own number. */
export const scheduleCount = (usual: number): number => {
  const count = Number(process.env.MIMOSA_SCHEDULES ?? usual)
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new Error(`MIMOSA_SCHEDULES is '${process.env.MIMOSA_SCHEDULES}'; use a whole number from 1`)
  }
  return count
}

/** For a property's own timeout: far above what its usual number takes, so that more of them may be asked for. */
export const propertyTimeoutMs = 600_000

/**
 * Runs `schedule` with one seed after the other; the first failure is thrown on with the seed that repeats it.
 *
 * Every second or so the event loop gets a turn: the test runner takes a worker that is silent for a minute for dead.
 */
export const forAllSeeds = async (usual: number, schedule: (random: Random) => void): Promise<void> => {
  const count = scheduleCount(usual)
  let turnAtMs = performance.now()
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    try {
      schedule(new Random(seed))
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`repeat with MIMOSA_SEED=${seed} MIMOSA_SCHEDULES=1: ${reason}`, { cause })
    }
    if (performance.now() - turnAtMs < msBetweenTurns) continue
    await new Promise(setImmediate)
    turnAtMs = performance.now()
  }
}

const msBetweenTurns = 1_000 // of 60,000 that the runner waits
