/**
 * How keys that are not here come here before a command runs: from other instances, tiers and loaders. Whoever builds
 * these gives it to the server.
 */

import type { FillScope } from "../../cache/Fills.ts"
import type { Loans } from "../../cache/Loans.ts"
import type { Keyspace } from "../../kernel/index.ts"

export interface FillPort {
  /** Whether there is anywhere to look; while not, nothing else is asked. */
  readonly isActive: boolean
  /** Whether this key is not here and may be elsewhere. */
  isWanted(keyspace: Keyspace, key: string, scope: FillScope): boolean
  /**
   * Fulfilled once the key is here, or lent (it may not be kept now, and is here while the loans are used), or nowhere.
   * Rejects with what kept a loader from answering.
   */
  borrow(loans: Loans, keyspace: Keyspace, key: string, scope: FillScope): Promise<unknown>
}
