/**
 * A slower cache behind this one (another machine's memory, a disk), as a miss sees it: asked after the peers and before
 * the loader. What it answers is a copy like a loader's.
 */
import type { Input } from "./Values.ts"

export interface Tier {
  /** For people. */
  readonly name: string
  /**
   * What it has under the key, undefined for nothing. A rejection is counted, and the loader is asked as if there was
   * nothing. `signal` is aborted when nobody waits any more, or it has taken too long.
   */
  get(key: string, signal: AbortSignal): Promise<TierEntry | undefined>
}

export interface TierEntry {
  readonly value: Input
  /** What is left of its life when it is read; for ever when left out. */
  readonly ttlMs?: number
  readonly tags?: readonly string[]
}
