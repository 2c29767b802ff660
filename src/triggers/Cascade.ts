/**
 * What one operation of a client sets off: the runs that came of it, breadth first, within one budget (law 7).
 *
 * An operation may begin several cascades: a MSET of ten keys has ten events, a SET may evict hundreds. Each event has
 * a cascade of its own, with an id and the (trigger, key) pairs that have run; all of them share the operation's
 * budget. A `Cascade` exists only once a run has changed something; most runs do not, and cost nothing here.
 */
import type { EventOrigin } from "../kernel/index.ts"
import type { Trigger } from "./Trigger.ts"

/** The bounds of one operation of a client. */
export interface CascadeLimits {
  /** Triggers fired by triggers fired by triggers …: at most so many in a row. */
  readonly depth: number
  /**
   * Runs that triggers set off, and as many of shadows. Those of what the client itself did are bounded by fuel alone.
   */
  readonly runs: number
  /**
   * Fuel of all runs together, with what is done for them beside: 2 ms of computing at about 4 ns a step, but the same
   * on every machine.
   */
  readonly fuel: number
  /** Messages that `cache.emit` may hand to subscribers: an emit counts once for each of them. */
  readonly deliveries: number
}

export const cascadeLimitsDefault: CascadeLimits = { depth: 8, runs: 256, fuel: 500_000, deliveries: 100_000 }

/** Fuel that a run costs beside what it computes: 0.4 µs for its event and the way into the machine and back. */
export const runFuel = 100

/** Fuel of a trigger that is looked at and has not to run: sampled, out, not concerned. Some 50 ns. */
export const skipFuel = 10

/** Fuel of a skip that has a record of its own: 4 µs. */
export const skipRecordFuel = 1_000

/** Fuel of each change that a run commits: 1 µs in the keyspace. */
export const changeFuel = 250

/** Fuel of each key that a run has warmed: 4 µs for its invalidation, and for beginning its load. */
export const warmFuel = 1_000

/**
 * Fuel of a program that is loaded to run: beside its bytes, and for each of them. Dense code takes 35 to 80 a byte.
 */
export const compileFuelMin = 500
export const compileFuelPerByte = 40

/** Triggers that are looked at once the budget is spent; all beyond are only counted, an event at a time. */
export const cutSinglyMax = 1_024

/** What the operation at hand has spent. There is one of these; it begins anew when the operation has settled. */
export class Operation {
  /** Those that triggers set off. */
  runs = 0
  fuel = 0
  /** Of shadows: they must not cut what is live, nor go without a bound. */
  shadowRuns = 0
  shadowFuel = 0
  /** Runs that were cut because the budget was spent. */
  cut = 0
  /** Some of these were not looked at, and might not have run anyway. */
  hasUnseen = false
  /** Triggers that were looked at and skipped for another reason once the fuel was spent. */
  private passed = 0

  constructor(private readonly limits: CascadeLimits) {}

  /** Whether nothing more may run; `step` is what set the run off, null for what the client itself did. */
  isSpent(step: CascadeStep | null): boolean {
    return this.fuel >= this.limits.fuel || (step !== null && this.runs >= this.limits.runs)
  }

  isShadowSpent(step: CascadeStep | null): boolean {
    return this.shadowFuel >= this.limits.fuel || (step !== null && this.shadowRuns >= this.limits.runs)
  }

  /** So much was cut that what else is cut is counted without a look at it. */
  isCutShort(step: CascadeStep | null): boolean {
    return this.cut + this.passed >= cutSinglyMax && this.isSpent(step)
  }

  /** Counts one run and its fuel. */
  spend(fuel: number, step: CascadeStep | null, isShadow: boolean): void {
    if (isShadow) {
      if (step !== null) this.shadowRuns++
      this.shadowFuel += runFuel + fuel
      return
    }
    if (step !== null) this.runs++
    this.fuel += runFuel + fuel
  }

  /** Counts a trigger that was looked at and does not run. */
  skip(): void {
    if (this.fuel >= this.limits.fuel) this.passed++
    this.fuel += skipFuel
  }

  /** Counts fuel of what is done beside the runs. */
  charge(fuel: number, isShadow: boolean): void {
    if (isShadow) this.shadowFuel += fuel
    else this.fuel += fuel
  }

  beginAnew(): void {
    this.runs = 0
    this.fuel = 0
    this.shadowRuns = 0
    this.shadowFuel = 0
    this.cut = 0
    this.hasUnseen = false
    this.passed = 0
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

/**
 * The origin of the events that one run's overlay gives rise to. What came of a peer's event says so, however deep: it
 * is derived (law 13).
 */
export class CascadeStep implements EventOrigin {
  declare readonly peer?: string
  declare readonly isDerived?: boolean

  constructor(
    readonly cascade: Cascade,
    readonly depth: number,
    readonly trigger: Trigger,
    readonly parent: CascadeStep | null,
    /** Of the event that it ran on. */
    origin: EventOrigin | null
  ) {
    if (origin?.peer === undefined) return
    this.peer = origin.peer
    this.isDerived = true
  }

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
