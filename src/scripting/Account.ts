/**
 * What one tenant's scripts take, and what they may take: runs at once, and fuel a second.
 *
 * The fuel is a bucket of one second's worth that fills as time passes. A run is let in while there is any, and pays
 * for each step after it: so a step may overdraw the bucket by a slice, which is made up for before the next one. What
 * moving its worlds out of the machines and in again has taken is paid for with the next look at the bucket.
 */
import type { Tenant, TenantLimits } from "../cache/index.ts"
import type { Value } from "../kernel/index.ts"
import { ImageAccount, type LuaValue } from "../sandbox/index.ts"
import { refusedGlobalName } from "./GlobalNames.ts"
import { Line, type Linked } from "./Line.ts"
import { asPart } from "./LuaData.ts"
import { ScriptLog, type ScriptLogBytes } from "./ScriptLog.ts"

/** How a run has ended, for the counters. */
export const runOutcomes = ["ok", "error", "timeout", "memory", "killed", "interrupted", "invalid"] as const

export type RunOutcome = (typeof runOutcomes)[number]

/** What an account's lines are made of: a run, as the scheduler knows it. */
export interface Payer<R extends Payer<R>> extends Linked<R> {
  readonly account: Account<R>
}

/** A place in the scheduler's order, with the runs that wait there for their turn. */
export class Seat<R extends Payer<R>> implements Linked<Seat<R>> {
  line: Line<Seat<R>> | null = null
  next: Seat<R> | null = null
  previous: Seat<R> | null = null
  readonly runs = new Line<R>()

  constructor(readonly account: Account<R>) {}
}

export class Account<R extends Payer<R>> {
  /** Runs that have been let in and have not ended. */
  runs = 0
  /** Its tenant has gone: nothing of it runs any more. */
  isClosed = false
  /** Runs that are new, or have an answer: they are expected to be short. */
  readonly quick: Seat<R> = new Seat(this)
  /** Runs that have used up a slice. */
  readonly slow: Seat<R> = new Seat(this)
  /** Runs that wait for an answer. */
  readonly suspended = new Line<R>()
  /** Ends the wait for fuel; null while it does not wait. */
  stopHolding: (() => void) | null = null
  /** What its worlds take while they wait outside of the machines. */
  readonly images: ImageAccount
  readonly log: ScriptLog
  readonly counters = {
    outcomes: { ok: 0, error: 0, timeout: 0, memory: 0, killed: 0, interrupted: 0, invalid: 0 },
    /** Runs that were not let in. */
    refused: 0,
    /** Units that were spent. */
    fuel: 0
  }
  private env: { readonly [name: string]: LuaValue } | null = null
  private knownEnv: ReadonlyMap<string, Value> | null = null
  private fuel: number
  private filledMs: number

  /** `limits` are those of runs for nobody, where there is no tenant. */
  constructor(
    readonly tenant: Tenant | null,
    private readonly ownLimits: TenantLimits,
    logs: ScriptLogBytes,
    nowMs: number
  ) {
    this.log = new ScriptLog(logs)
    this.images = new ImageAccount(tenant === null ? Number.POSITIVE_INFINITY : imageBytesMax)
    this.fuel = this.limits.fuelPerSecond
    this.filledMs = nowMs
  }

  /**
   * The tenant's environment as values for Lua; null where it has none. The same object as long as it is the same.
   * Without what it has by names that scripts have already.
   */
  get environment(): { readonly [name: string]: LuaValue } | null {
    const { tenant } = this
    if (tenant === null || tenant.env === this.knownEnv) return this.env
    this.knownEnv = tenant.env
    const values: Array<readonly [name: string, value: LuaValue]> = []
    for (const [name, value] of tenant.env) {
      if (refusedGlobalName(name) === undefined) values.push([name, asPart(value)])
    }
    this.env = values.length === 0 ? null : Object.fromEntries(values)
    return this.env
  }

  get limits(): TenantLimits {
    return this.tenant === null ? this.ownLimits : this.tenant.limits
  }

  /** Runs that wait for the thread. */
  get queued(): number {
    return this.quick.runs.size + this.slow.runs.size
  }

  hasFuel(nowMs: number): boolean {
    const { fuelPerSecond } = this.limits
    const { images } = this
    if (images.moveFuel > 0) {
      this.spend(images.moveFuel)
      images.moveFuel = 0
    }
    if (nowMs > this.filledMs) {
      this.fuel = Math.min(fuelPerSecond, this.fuel + ((nowMs - this.filledMs) * fuelPerSecond) / 1000)
      this.filledMs = nowMs
    }
    return this.fuel > 0
  }

  spend(units: number): void {
    this.fuel -= units
    this.counters.fuel += units
  }

  /** Whole ms until there is fuel again, if nobody spends any; from when it was asked for last. */
  get admissionMs(): number {
    const { fuelPerSecond } = this.limits
    return fuelPerSecond === 0 ? neverMs : Math.max(1, Math.floor((-this.fuel * 1000) / fuelPerSecond) + 1)
  }

  /** ms until there is fuel for a slice again; from when it was asked for last. */
  get refillMs(): number {
    const { fuelPerSecond } = this.limits
    if (fuelPerSecond === 0) return neverMs
    const wanted = Math.min(refillFuel, fuelPerSecond / 10)
    return Math.max(1, Math.ceil(((wanted - this.fuel) * 1000) / fuelPerSecond))
  }
}

const refillFuel = 250_000 // units; a millisecond of computing: who is held for lack of fuel gets a whole slice next

const neverMs = 3_600_000 // who has no fuel at all asks again in an hour: the limit may be another one by then

const imageBytesMax = 64 << 20 // of a tenant's suspended worlds: thousands of small ones, a quarter of all
