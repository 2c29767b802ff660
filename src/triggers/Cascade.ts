/**
 * What one operation of a client set off: the runs that came of it, breadth first, within one budget (law 7).
 *
 * It exists only once a run has changed something; most runs do not, and cost nothing here.
 */
import type { EventOrigin } from "../kernel/index.ts"
import type { Trigger } from "./Trigger.ts"

export interface CascadeLimits {
  /** Triggers fired by triggers fired by triggers …: at most so many in a row. */
  readonly depth: number
  readonly runs: number
  /** Fuel of all runs together: 2 ms of computing at about 4 ns a step, but the same on every machine. */
  readonly fuel: number
}

export const cascadeLimitsDefault: CascadeLimits = { depth: 8, runs: 256, fuel: 500_000 }

export class Cascade {
  runs = 0
  fuel = 0
  private readonly seen = new Map<Trigger, Set<string>>()

  constructor(
    /** Names the cascade in logs: boot origin and sequence of the event that began it. */
    readonly id: string
  ) {}

  /** Counts one run and its fuel. */
  spend(fuel: number): void {
    this.runs++
    this.fuel += fuel
  }

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
