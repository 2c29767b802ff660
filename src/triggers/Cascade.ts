/**
 * What one operation of a client sets off: the runs that came of it, breadth first, within one budget (law 7).
 *
 * An operation may begin several cascades: a MSET of ten keys has ten events, a SET may evict hundreds. Each event has a
 * cascade of its own, with an id and the (trigger, key) pairs that have run; all of them share the operation's budget.
 * A `Cascade` exists only once a run has changed something; most runs do not, and cost nothing here.
 */
import type { EventOrigin } from "../kernel/index.ts"
import type { Trigger } from "./Trigger.ts"

/** The bounds of one operation of a client. */
export interface CascadeLimits {
  /** Triggers fired by triggers fired by triggers …: at most so many in a row. */
  readonly depth: number
  /** Runs that triggers set off. Those of what the client itself did are bounded by fuel alone. */
  readonly runs: number
  /**
   * Fuel of all runs together, `runFuel` for each of them included: 2 ms of computing at about 4 ns a step, but the same on
   * every machine.
   */
  readonly fuel: number
  /** Messages that `cache.emit` may hand to subscribers: an emit counts once for each of them. */
  readonly deliveries: number
}

export const cascadeLimitsDefault: CascadeLimits = { depth: 8, runs: 256, fuel: 500_000, deliveries: 100_000 }

/** Fuel that a run costs beside what it computes: 0.4 µs for its event and the way into the machine and back. */
export const runFuel = 100

/** What the operation at hand has spent. There is one of these; it begins anew when the operation has settled. */
export class Operation {
  /** Those that triggers set off. */
  runs = 0
  fuel = 0
  /** Of shadows: they must not cut what is live, nor go without a bound. */
  shadowFuel = 0
  /** Runs that were cut because the budget was spent. */
  cut = 0

  constructor(private readonly limits: CascadeLimits) {}

  /** Whether nothing more may run; `step` is what set the run off, null for what the client itself did. */
  isSpent(step: CascadeStep | null): boolean {
    return this.fuel >= this.limits.fuel || (step !== null && this.runs >= this.limits.runs)
  }

  get isShadowSpent(): boolean {
    return this.shadowFuel >= this.limits.fuel
  }

  /** Counts one run and its fuel. */
  spend(fuel: number, step: CascadeStep | null): void {
    if (step !== null) this.runs++
    this.fuel += runFuel + fuel
  }

  beginAnew(): void {
    this.runs = 0
    this.fuel = 0
    this.shadowFuel = 0
    this.cut = 0
  }
}

export class Cascade {
  private readonly seen = new Map<Trigger, Set<string>>()

  constructor(
    /** Names the cascade in logs: boot origin and sequence of the event that began it. */
    readonly id: string
  ) {}

  /** Marks that `trigger` runs for `key`; false when it has done so in this cascade. */
  enter(trigger: Trigger, key: string): boolean {
    const keys = this.seen.get(trigger)
    if (keys === undefined) this.seen.set(trigger, new Set([key]))
    else if (keys.has(key)) return false
    else keys.add(key)
    return true
  }
}

/** The origin of the events that one run's overlay gives rise to. */
export class CascadeStep implements EventOrigin {
  constructor(
    readonly cascade: Cascade,
    readonly depth: number,
    readonly trigger: Trigger,
    readonly parent: CascadeStep | null
  ) {}

  /** The triggers that led here, first one first. */
  path(): string[] {
    const names = this.parent === null ? [] : this.parent.path()
    names.push(this.trigger.name)
    return names
  }
}

/** The run that an event came of; null where a client or a peer caused it. */
export const stepOf = (origin: EventOrigin | null): CascadeStep | null =>
  origin !== null && origin instanceof CascadeStep ? origin : null

/** Whether an event came from another instance. */
export const isFromPeer = (origin: EventOrigin | null): boolean => origin !== null && origin.peer !== undefined
