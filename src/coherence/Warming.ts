/**
 * Fetches what a peer's write has taken away here before anybody asks for it, where it is likely to be read soon.
 *
 * A write elsewhere costs each holder of a copy a miss at its next read: a round trip to the writer. For a key that is
 * read often the round trip may as well be made at once. For one that is written often and hardly read it would be
 * wasted, at every write: so `ReadEstimates` is asked for the chance that the key is read within the horizon, and only
 * from `chanceMin` on it is fetched. Of several the one with the highest chance a byte goes first.
 *
 * What is fetched comes as a fill like any other (law 10, 11): from peers alone, over a lease, told to nobody; a read
 * that misses the key meanwhile waits for the same flight. Candidates are collected while records are applied, and
 * looked at afterwards, so that a frame of many is put in order once.
 *
 * Bounds: `bytesPerSecond`, with one second's worth to spare (what an entry took is what it is expected to take again,
 * and the difference is settled when it is here); `fetchesMax` under way; `candidatesMax` that wait, no longer than the
 * horizon. Synchronous, of given time: the only way out is the port.
 */
import type { Keyspace } from "../kernel/index.ts"
import { ReadEstimates } from "./ReadEstimates.ts"
import type { EntryWatch } from "./SharedEntries.ts"

/** Which keys are fetched: none, those that are likely to be read soon, or all that were here. */
export type WarmingMode = "never" | "likely" | "always"

export interface WarmingPort {
  /** That of the keyspaces. */
  nowMs(): number
  /** Runs `action` once in `ms`, never within this call. */
  after(ms: number, action: () => void): void
  /** Fills a key from peers; `done` once that is over, whatever came of it, and never within this call. */
  fill(keyspace: Keyspace, key: string, done: () => void): void
}

export interface WarmingSettings {
  readonly mode: WarmingMode
  readonly bytesPerSecond: number
  readonly fetchesMax: number
  readonly horizonMs: number
  /** From this chance on a key counts as likely. */
  readonly chanceMin: number
  readonly candidatesMax: number
  /** Keys of which reads are estimated. A power of two. */
  readonly keysMax: number
}

export const warmingDefault: WarmingSettings = {
  mode: "likely",
  bytesPerSecond: 2 ** 20, // 1 MiB/s, under 1 % of a gigabit
  fetchesMax: 64, // keys of one FETCH frame
  horizonMs: 1_000,
  chanceMin: 0.5, // as many are of use as are not; docs/decisions.md
  candidatesMax: 1_024,
  keysMax: 2 ** 16 // 1.9 MB
}

/** A key that was taken away and is to be fetched. */
interface Candidate {
  readonly keyspace: Keyspace
  readonly key: string
  readonly hash: number
  readonly bytes: number
  /** Expected hits a byte. */
  readonly worth: number
  readonly takenMs: number
}

export class Warming implements EntryWatch {
  readonly stats = {
    /** Entries that were taken away by a peer's write of a value. */
    considered: 0,
    /** Those of them that were not likely to be read soon. */
    unlikely: 0,
    /** Those for which there was no room or no bandwidth in time. */
    overBudget: 0,
    /** Those that were here again before their turn came, by a read or a write. */
    overtaken: 0,
    /** Fetches that were begun, and the bytes of what came of them. */
    fetched: 0,
    bytes: 0,
    /** Fetches after which the key was not here: nobody had it, or it was written again meanwhile. */
    empty: 0,
    /** Fetched entries that were read before they went, each a miss less; and those that were not. */
    gained: 0,
    wasted: 0
  }
  readonly estimates: ReadEstimates
  readonly settings: WarmingSettings
  private readonly candidates: Candidate[] = []
  private isSorted = true
  private isPumpDue = false
  /** What is being fetched, by hash; and whether it was written again since. */
  private readonly underWay = new Map<number, { isOld: boolean }>()
  private tokens: number
  private filledMs: number

  constructor(
    private readonly port: WarmingPort,
    settings: Partial<WarmingSettings> = {}
  ) {
    this.settings = { ...warmingDefault, ...settings }
    this.estimates = new ReadEstimates(this.settings.keysMax, this.settings.horizonMs)
    this.tokens = this.settings.bytesPerSecond
    this.filledMs = port.nowMs()
  }

  // What happens to entries

  onTaken(keyspace: Keyspace, key: string, hash: number, reads: number, bytes: number, heldMs: number): void {
    const nowMs = this.port.nowMs()
    this.settle(this.estimates.taken(hash, reads, heldMs, nowMs))
    this.consider(keyspace, key, hash, bytes, nowMs)
  }

  onRemovedElsewhere(hash: number, reads: number, heldMs: number): void {
    this.settle(this.estimates.taken(hash, reads, heldMs, this.port.nowMs()))
  }

  onWrittenElsewhere(hash: number): void {
    const fetching = this.underWay.get(hash)
    if (fetching !== undefined) fetching.isOld = true
    this.estimates.writtenElsewhere(hash, this.port.nowMs())
  }

  onFilled(hash: number): void {
    this.estimates.filled(hash, this.underWay.has(hash), this.port.nowMs())
  }

  onLeft(hash: number, reads: number): void {
    this.settle(this.estimates.left(hash, reads))
  }

  /** What is known of a key, in a sentence. */
  explain(hash: number): string {
    const { horizonMs, chanceMin, mode } = this.settings
    if (mode === "never") return "nothing is fetched ahead: warming is off"
    const known = this.estimates.estimateOf(hash)
    if (known === undefined) return "no other instance has written it while it was here: its reads are not estimated"
    const { chance, readsPerSecond, generations, again } = known
    const verdict =
      mode === "always" ? "all are fetched" : `fetched from ${chanceMin} on: ${chance >= chanceMin ? "yes" : "no"}`
    return (
      `after a write elsewhere: a chance of ${chance.toFixed(2)} to be read within ${horizonMs} ms (${verdict}); ` +
      `${readsPerSecond.toFixed(2)} reads a second, read after ${again.toFixed(1)} of ${generations.toFixed(1)} writes`
    )
  }

  private settle(wasRead: boolean | undefined): void {
    if (wasRead === true) this.stats.gained++
    else if (wasRead === false) this.stats.wasted++
  }

  // Fetching

  private consider(keyspace: Keyspace, key: string, hash: number, bytes: number, takenMs: number): void {
    this.stats.considered++
    const chance = this.estimates.chanceOf(hash)
    const { mode, chanceMin, candidatesMax } = this.settings
    if (mode === "likely" && chance < chanceMin) {
      this.stats.unlikely++
      return
    }
    this.candidates.push({ keyspace, key, hash, bytes, worth: chance / bytes, takenMs })
    this.isSorted = false
    if (this.candidates.length > 2 * candidatesMax) this.keepBest()
    this.pumpIn(0)
  }

  private pumpIn(ms: number): void {
    if (this.isPumpDue) return
    this.isPumpDue = true
    this.port.after(ms, this.pump)
  }

  private readonly pump = (): void => {
    this.isPumpDue = false
    this.refill()
    if (!this.isSorted) this.keepBest()
    const { candidates, settings, underWay } = this
    while (candidates.length > 0 && underWay.size < settings.fetchesMax) {
      if (this.tokens <= 0) {
        this.pumpIn(Math.max(1, Math.ceil((-1_000 * this.tokens) / settings.bytesPerSecond)))
        return
      }
      this.begin(candidates.pop() as Candidate)
    }
  }

  private begin({ keyspace, key, hash, bytes, takenMs }: Candidate): void {
    const { stats, settings, port } = this
    if (port.nowMs() - takenMs > settings.horizonMs) {
      stats.overBudget++
      return
    }
    if (this.underWay.has(hash) || keyspace.peek(key) !== undefined) {
      stats.overtaken++
      return
    }
    stats.fetched++
    this.tokens -= bytes
    const fetching = { isOld: false }
    this.underWay.set(hash, fetching)
    port.fill(keyspace, key, () => {
      this.underWay.delete(hash)
      const took = keyspace.peek(key)?.bytes
      if (took !== undefined) {
        stats.bytes += took
        this.tokens -= took - bytes
      } else {
        stats.empty++
        if (fetching.isOld) this.consider(keyspace, key, hash, bytes, port.nowMs())
      }
      if (this.candidates.length > 0) this.pumpIn(0)
    })
  }

  private refill(): void {
    const nowMs = this.port.nowMs()
    const { bytesPerSecond } = this.settings
    this.tokens = Math.min(bytesPerSecond, this.tokens + ((nowMs - this.filledMs) * bytesPerSecond) / 1_000)
    this.filledMs = nowMs
  }

  /** The best last. */
  private keepBest(): void {
    this.isSorted = true
    this.candidates.sort((a, b) => a.worth - b.worth)
    const tooMany = this.candidates.length - this.settings.candidatesMax
    if (tooMany <= 0) return
    this.candidates.splice(0, tooMany)
    this.stats.overBudget += tooMany
  }
}
