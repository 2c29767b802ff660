/** Time and turns of the event loop that a test owns: nothing happens until it says so. */
import type { SchedulerClock } from "../../src/scripting/Scheduler.ts"

export class VirtualTime implements SchedulerClock {
  ms = 0
  private deferred: Array<() => void> = []
  private timers: Array<{ readonly atMs: number; readonly call: () => void }> = []

  elapsedMs(): number {
    return this.ms
  }

  nowMs(): number {
    return 1_000_000 + this.ms
  }

  defer(turn: () => void): void {
    this.deferred.push(turn)
  }

  after(ms: number, call: () => void): () => void {
    const timer = { atMs: this.ms + ms, call }
    this.timers.push(timer)
    return () => {
      this.timers = this.timers.filter((each) => each !== timer)
    }
  }

  get hasTurn(): boolean {
    return this.deferred.length > 0
  }

  get timerCount(): number {
    return this.timers.length
  }

  /** One turn of the event loop: what was deferred up to now, and the timers that are due. */
  turn(): void {
    const due = this.timers.filter(({ atMs }) => atMs <= this.ms).sort((a, b) => a.atMs - b.atMs)
    this.timers = this.timers.filter(({ atMs }) => atMs > this.ms)
    for (const { call } of due) call()
    for (const call of this.deferred.splice(0)) call()
  }

  /** Turns until nothing is deferred; what has not come to rest by then is an error. */
  settle(turnsMax = 100_000): void {
    for (let turns = 0; this.hasTurn; turns++) {
      if (turns > turnsMax) throw new Error(`it does not come to rest within ${turnsMax} turns`)
      this.turn()
    }
  }

  /** Lets time pass, a millisecond a turn. */
  pass(ms: number): void {
    for (let i = 0; i < ms; i++) {
      this.ms++
      this.turn()
    }
  }
}
