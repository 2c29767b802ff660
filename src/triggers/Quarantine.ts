/**
 * What a supervisor is to a process, this is to one trigger: it counts its failures against a restart intensity and
 * takes it out, alone, when there are more.
 *
 * A trigger that is out is not forgotten: after a while one event is let through as a probe. If that run ends well the
 * trigger is back, if not the next probe comes after twice the time. So a trigger that failed over what it found
 * heals by itself when that is gone, and one that cannot work costs a run in five minutes.
 *
 * Time is that of the events, which tests own. Source: OTP, supervisor.erl, add_restart (intensity and period).
 */
import type { FailureKind } from "./TriggerStats.ts"

export interface Intensity {
  /** More kills of its machine than these … */
  readonly killsMax: number
  /** … or more timeouts … */
  readonly timeoutsMax: number
  /** … or more errors, those of memory among them … */
  readonly errorsMax: number
  /** … within so many milliseconds take a trigger out. */
  readonly withinMs: number
}

export const intensityDefault: Intensity = { killsMax: 5, timeoutsMax: 20, errorsMax: 100, withinMs: 10_000 }

const probeMsMin = 1_000
const probeMsMax = 300_000 // five minutes

export class Quarantine {
  /** Why the trigger is out, or null while it is in. */
  reason: string | null = null
  /** From when on one event is let through; meaningless while it is in. */
  probeAtMs = 0
  private waitMs = 0
  private backAtMs = Number.NEGATIVE_INFINITY
  private readonly times: Partial<Record<FailureKind, FailureTimes>> = {}

  constructor(private readonly intensity: Intensity) {}

  /** Whether a run may take place: the trigger is in, or it is time for a probe. */
  admits(nowMs: number): boolean {
    return this.reason === null || nowMs >= this.probeAtMs
  }

  /** A run has ended well: a probe that does brings the trigger back. */
  succeeded(atMs: number): void {
    if (this.reason === null) return
    this.backAtMs = atMs
    this.letIn()
  }

  /** A run has failed; true when the trigger is out by that. */
  failed(kind: FailureKind, atMs: number): boolean {
    if (kind === "rejected") return false // it did its work; another trigger did not want it
    if (this.reason !== null) {
      this.waitMs = Math.min(probeMsMax, this.waitMs * 2)
      this.probeAtMs = atMs + this.waitMs
      return true
    }
    const { withinMs } = this.intensity
    const counted = kind === "memory" ? "error" : kind
    const max = this.maxOf(counted)
    this.times[counted] ??= new FailureTimes(max)
    if (!this.times[counted].exceeds(atMs, withinMs)) return false
    // Whoever fails again as soon as it is back goes on where its waiting ended.
    this.waitMs = atMs - this.backAtMs <= withinMs ? Math.min(probeMsMax, this.waitMs * 2) : probeMsMin
    this.probeAtMs = atMs + this.waitMs
    const what = { killed: "killed its machine", timeout: "ran out of time", error: "failed" }[counted]
    this.reason = `${what} more than ${max} times within ${withinMs / 1000} s; it is probed by itself, or set in again by TRIGGER ENABLE`
    return true
  }

  /** Somebody who knows better has it in again, with a clean record. */
  release(): void {
    this.backAtMs = Number.NEGATIVE_INFINITY
    this.letIn()
  }

  private letIn(): void {
    this.reason = null
    for (const kind in this.times) delete this.times[kind as FailureKind]
  }

  private maxOf(kind: "killed" | "timeout" | "error"): number {
    const { killsMax, timeoutsMax, errorsMax } = this.intensity
    return kind === "killed" ? killsMax : kind === "timeout" ? timeoutsMax : errorsMax
  }
}

/** The times of the last `max` failures, in a ring: one more within the period is too many. */
class FailureTimes {
  private readonly times: Float64Array
  private count = 0

  constructor(private readonly max: number) {
    this.times = new Float64Array(max)
  }

  exceeds(atMs: number, withinMs: number): boolean {
    const at = this.max === 0 ? 0 : this.count % this.max
    const oldest = this.times[at] as number
    this.times[at] = atMs
    this.count++
    return this.count > this.max && (this.max === 0 || atMs - oldest <= withinMs)
  }
}
