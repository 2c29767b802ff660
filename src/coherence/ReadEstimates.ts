/**
 * How likely a key is to be read soon after a peer's write has taken it away; learned from what happened to it before.
 *
 * The time between two writes of a key by others is a *generation*. Of each is counted how often the key was read in it,
 * how long it was, and whether it was read within the horizon or before the next write. Sums decay by `decay` with each
 * generation, so a key that is read no more is soon known for that. Two estimates come of it:
 *
 * - by rate: expected reads = reads / time × horizon, but no more than reads / generations, since a key that is written
 *   a hundred times a second has no second left; the chance of at least one, as of a Poisson process, is 1 - e^-expected.
 * - by experience: the share of the generations in which it was read. This is what knows that writes come in bursts, or
 *   that a key is read once and never again.
 *
 * The chance is their mean, the rate with the weight of one generation and experience with that of all that it has. A
 * key that was never taken away before has its rate alone, from the reads of the entry that goes.
 *
 * Kept by hash in a table of a fixed size: a hash belongs to a set of four rows, of which the one that was touched least
 * recently makes room. 29 bytes a key. A touch is O(1): a look at four places side by side.
 */
export interface Estimate {
  /** Of being read within the horizon, and before others write it again: 0 to 1. */
  readonly chance: number
  /** Reads a second, as far as it is known. */
  readonly readsPerSecond: number
  /** How many generations there are to learn from, and in how many of them it was read; decayed. */
  readonly generations: number
  readonly again: number
}

/** How a generation stands. */
const State = {
  /** Whether it was read in it is known and counted; or it is over for the entry. */
  settled: 0,
  /** It is not here since it was taken away, and nobody has asked for it. */
  away: 1,
  /** It was fetched before anybody asked. */
  warmed: 2
} as const

export class ReadEstimates {
  /** Warmed keys of which nobody will know whether it was of use: their rows were needed. */
  forgotten = 0
  private readonly hashes: Float64Array
  /** When it was taken away last, ms modulo 2^32; also when it was touched last. */
  private readonly since: Uint32Array
  /** From 4n on: reads, ms, generations in which it was read, generations; all decayed. */
  private readonly sums: Float32Array
  /** Generations of any kind, for their mean length; decayed. */
  private readonly turns: Float32Array
  /** `State`, and above it one bit: it came back because somebody asked. */
  private readonly states: Uint8Array
  private readonly setMask: number

  constructor(
    /** Keys. A power of two, from 4. */
    keysMax: number,
    private readonly horizonMs: number
  ) {
    if (keysMax < ways || (keysMax & (keysMax - 1)) !== 0) throw new RangeError(`${keysMax} is no power of two from 4`)
    this.hashes = new Float64Array(keysMax)
    this.since = new Uint32Array(keysMax)
    this.sums = new Float32Array(4 * keysMax)
    this.turns = new Float32Array(keysMax)
    this.states = new Uint8Array(keysMax)
    this.setMask = keysMax / ways - 1
  }

  /**
   * A peer's write has taken the key away, whose entry was read so often while it was here, for so long (-1: not known).
   * Answers what was warmed for it: true or false where it was and has or has not been read, else undefined.
   */
  taken(hash: number, reads: number, heldMs: number, nowMs: number): boolean | undefined {
    let row = this.find(hash)
    if (row < 0) {
      row = this.add(hash, nowMs)
      if (heldMs > 0) this.count(row, reads, heldMs)
      this.begin(row, nowMs)
      return undefined
    }
    const state = (this.states[row] as number) & stateMask
    const wasAsked = ((this.states[row] as number) & askedBit) !== 0
    this.count(row, reads + (wasAsked ? 1 : 0), this.elapsedMs(row, nowMs))
    if (state !== State.settled) this.learn(row, reads > 0)
    this.begin(row, nowMs)
    return state === State.warmed ? reads > 0 : undefined
  }

  /** A peer has written a key that is not here. */
  writtenElsewhere(hash: number, nowMs: number): void {
    const row = this.find(hash)
    if (row < 0) return
    const state = this.states[row] as number
    this.count(row, (state & askedBit) !== 0 ? 1 : 0, this.elapsedMs(row, nowMs))
    if ((state & stateMask) === State.away) this.learn(row, false)
    this.begin(row, nowMs)
  }

  /** The key is here again: fetched unasked, or because somebody wants to read it. */
  filled(hash: number, isWarmed: boolean, nowMs: number): void {
    const row = this.find(hash)
    if (row < 0 || ((this.states[row] as number) & stateMask) !== State.away) return
    if (isWarmed) {
      this.states[row] = State.warmed
      return
    }
    this.learn(row, this.elapsedMs(row, nowMs) <= this.horizonMs)
    this.states[row] = State.settled | askedBit
  }

  /** The entry is gone by itself: expired, evicted, deleted. Answers as `taken`. */
  left(hash: number, reads: number): boolean | undefined {
    const row = this.find(hash)
    if (row < 0 || ((this.states[row] as number) & stateMask) !== State.warmed) return undefined
    this.learn(row, reads > 0)
    this.states[row] = State.settled
    return reads > 0
  }

  /** 0 for a key that nothing is known of. */
  chanceOf(hash: number): number {
    const row = this.find(hash)
    return row < 0 ? 0 : this.chanceAt(row)
  }

  /** For people. */
  estimateOf(hash: number): Estimate | undefined {
    const row = this.find(hash)
    if (row < 0) return undefined
    const [reads, ms, again, generations] = this.sums.subarray(4 * row, 4 * row + 4) as Iterable<number> as Row
    return { chance: this.chanceAt(row), readsPerSecond: ms === 0 ? 0 : (1_000 * reads) / ms, generations, again }
  }

  private chanceAt(row: number): number {
    const { sums } = this
    const reads = sums[4 * row] as number
    const ms = sums[4 * row + 1] as number
    const again = sums[4 * row + 2] as number
    const generations = sums[4 * row + 3] as number
    const turns = this.turns[row] as number
    if (turns === 0) return 0
    const byRate = 1 - Math.exp(-Math.min(ms === 0 ? 0 : (reads / ms) * this.horizonMs, reads / turns))
    return (byRate + again) / (1 + generations)
  }

  /** So many reads in so many ms. */
  private count(row: number, reads: number, ms: number): void {
    const { sums, turns } = this
    sums[4 * row] = (sums[4 * row] as number) * decay + reads
    sums[4 * row + 1] = (sums[4 * row + 1] as number) * decay + ms
    turns[row] = (turns[row] as number) * decay + 1
  }

  private learn(row: number, wasRead: boolean): void {
    const { sums } = this
    sums[4 * row + 2] = (sums[4 * row + 2] as number) * decay + (wasRead ? 1 : 0)
    sums[4 * row + 3] = (sums[4 * row + 3] as number) * decay + 1
  }

  private begin(row: number, nowMs: number): void {
    this.since[row] = nowMs
    this.states[row] = State.away
  }

  private elapsedMs(row: number, nowMs: number): number {
    return (nowMs - (this.since[row] as number)) >>> 0
  }

  private find(hash: number): number {
    const first = (hash & this.setMask) * ways
    for (let row = first; row < first + ways; row++) if (this.hashes[row] === hash) return row
    return -1
  }

  private add(hash: number, nowMs: number): number {
    const first = (hash & this.setMask) * ways
    let row = first
    for (let each = first; each < first + ways; each++) {
      if (this.hashes[each] === 0) {
        row = each
        break
      }
      if (this.elapsedMs(each, nowMs) > this.elapsedMs(row, nowMs)) row = each
    }
    if (((this.states[row] as number) & stateMask) === State.warmed && this.hashes[row] !== 0) this.forgotten++
    this.hashes[row] = hash
    this.sums.fill(0, 4 * row, 4 * row + 4)
    this.turns[row] = 0
    this.states[row] = State.settled
    return row
  }
}

type Row = [reads: number, ms: number, again: number, generations: number]

const ways = 4 // rows that a hash may be in: 32 bytes of hashes, half a cache line
const decay = 0.8 // what a generation counts for when the next one has passed: the last five make up two thirds
const stateMask = 3
const askedBit = 4
