/**
 * What host functions may know of the run that calls them.
 *
 * The machines' host functions are made once and serve all tenants. Which of them they serve at the moment stands in
 * one place, `Current`, which the engine sets before each step of a run: a host function reads it anew in each call
 * and keeps nothing of it. That is all that ties a call to a tenant, so nothing that Lua says can reach another one's
 * keys.
 */
import type { Tenant } from "../cache/index.ts"
import type { Keyspace } from "../kernel/index.ts"
import type { LuaValue } from "../sandbox/index.ts"

export interface RunningScript {
  /** The script's name, as its errors say it. */
  readonly name: string
  /** Whose run it is; null where it runs for nobody, without a cache. */
  readonly tenant: Tenant | null
  /** The tenant's own, in which keys are bare; null where the run has no cache. */
  readonly keyspace: Keyspace | null
  /** Milliseconds since 1970, by the clock by which entries age. */
  nowMs(): number
  /**
   * Tells the tenant, in the script's log, why a function has answered false: `cache.put: argument 2.on is a
   * function`.
   */
  refuse(reason: string): void
  /** How long it may wait, in ms: its limit. */
  readonly waitMs: number
  /** How much of that is left, in ms; below zero where none is. */
  waitLeftMs(): number
  /** A line of the script's log; bytes as latin1, as Lua's print has them. */
  print(line: string): void
  /**
   * The answer of this call comes later: the host function calls this and then `call.wait()`, and returns.
   *
   * `start` is called when the script has been suspended, and not at all where it could not be. What its promise
   * gives is what the call returns in Lua; what it throws becomes a Lua error with that message. The signal fires
   * when nobody waits any more: the run was interrupted, has waited too long, or its tenant has gone.
   */
  wait(start: (signal: AbortSignal) => Promise<LuaValue>): void
}

/** Who runs now. Between steps it is a run of nobody, which refuses all there is. */
export interface Current {
  run: RunningScript
}
