/**
 * How keys that are not here come here before a command runs: from other instances, tiers and loaders. Whoever builds
 * these gives it to the server.
 */

import type { FillScope } from "../../cache/Fills.ts"
import type { Keyspace } from "../../kernel/index.ts"

export interface FillPort {
  /** Whether there is anywhere to look; while not, nothing else is asked. */
  readonly isActive: boolean
  /** Whether this key is not here and may be elsewhere. */
  isWanted(keyspace: Keyspace, key: string, scope: FillScope): boolean
  /**
   * Fulfilled once the key is here with its value, or with undefined where it is nowhere. A value that was changed on its
   * way, or may not be kept now, is answered and is not here. Rejects with what kept a loader from answering.
   */
  bring(keyspace: Keyspace, key: string, scope: FillScope): Promise<unknown>
}
