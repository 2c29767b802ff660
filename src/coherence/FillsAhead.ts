/**
 * Warming in real time: fetches by the program's fills, so that a read which misses a key on its way waits for the same
 * flight. Until somebody gives it fills, and while copies are not to be stored, it fetches nothing.
 */
import type { Fills } from "../cache/index.ts"
import type { Clock, Keyspace } from "../kernel/index.ts"
import type { WarmingPort } from "./Warming.ts"

export class FillsAhead implements WarmingPort {
  private fills: Pick<Fills, "bring"> | null = null

  constructor(
    private readonly clock: Clock,
    /** Whether a copy would be stored now. */
    private readonly isStoring: () => boolean
  ) {}

  /** Fetches by these from now on; the answer ends that. */
  begin(fills: Pick<Fills, "bring">): () => void {
    this.fills = fills
    return () => {
      if (this.fills === fills) this.fills = null
    }
  }

  nowMs(): number {
    return this.clock.nowMs()
  }

  after(ms: number, action: () => void): void {
    if (ms === 0) queueMicrotask(action)
    else setTimeout(action, ms).unref()
  }

  fill(keyspace: Keyspace, key: string, done: () => void): void {
    if (this.fills === null || !this.isStoring()) queueMicrotask(done)
    else void this.fills.bring(keyspace, key, "peers").then(done, done) // what fails is counted there
  }
}
