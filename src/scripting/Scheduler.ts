/**
 * Whose script computes next, and for how long.
 *
 * The thread belongs to everybody: between two turns of the event loop scripts have it for a millisecond or so.
 * Within a turn, first come runs that are expected to be short (new ones, and those whose answer has come), then one
 * that has computed for a slice already. So a tenant that computes without end costs the others' short runs next to
 * nothing, and is never starved by them either: each turn has one slice for those who compute.
 *
 * Among the short ones, and among the others, tenants take turns, one step each, however many runs one of them has. A
 * run that nobody is in the way of takes its first step inside the call that starts it, and mostly ends there: no
 * turn of the event loop, no promise. These steps count into the same millisecond.
 *
 * A tenant pays for its steps in fuel: a process that stood still for a while has not computed. The turn's
 * millisecond is counted by the clock as well, since a step may cost more than its Lua: a world that has to be moved,
 * what its writes set off.
 *
 * A tenant whose second of fuel is spent is held, with all its runs, until it has some again. Runs that may not wait
 * for so long end in the meantime.
 *
 * Cost: O(1) for each start, step and removal; nothing is allocated.
 */
import { fuelPerMicro } from "../sandbox/index.ts"
import type { Account, Payer, Seat } from "./Account.ts"
import { Line } from "./Line.ts"

/** What is scheduled. */
export interface Task<R extends Task<R>> extends Payer<R> {
  /** Units of fuel that it was charged so far. */
  readonly fuelSpent: number
  /**
   * Computes for at most so many ms; true when it would go on computing, false when it has ended or waits. Never
   * throws.
   */
  step(sliceMs: number): boolean
  /** Ends it when it has waited for its turn longer than it may. Never throws. */
  expire(nowMs: number): void
}

/** What the scheduler knows of the world outside. */
export interface SchedulerClock {
  /** ms from some moment, with fractions; never goes back. */
  elapsedMs(): number
  /** Calls it in a later turn of the event loop, when input and output have had theirs. */
  defer(turn: () => void): void
  /** Calls it once, so many ms from now; the returned function takes that back. */
  after(ms: number, call: () => void): () => void
}

export class Scheduler<R extends Task<R>> {
  readonly counters = { turns: 0, steps: 0, inlineSteps: 0, held: 0 }
  private readonly quick = new Line<Seat<R>>()
  private readonly slow = new Line<Seat<R>>()
  private readonly onTurn = () => this.turn()
  private isDeferred = false
  /** ms that scripts have had since the last turn began. */
  private spentMs = 0
  private waitingRuns = 0
  private now: number

  constructor(private readonly clock: SchedulerClock) {
    this.now = clock.elapsedMs()
  }

  /** When the turn at hand began. */
  get nowMs(): number {
    this.begin()
    return this.now
  }

  /** Runs that wait for the thread. */
  get queued(): number {
    return this.waitingRuns
  }

  /** Takes the run's first step now, if nobody is in its way; else it waits for its turn. */
  start(run: R): void {
    this.begin()
    const { account } = run
    const isFree = this.spentMs < quickMs && account.quick.runs.size === 0 && account.stopHolding === null
    if (isFree) {
      this.counters.inlineSteps++
      this.step(run, this.sliceMs())
    } else this.enqueue(run, account.quick)
  }

  /** A run that waited for an answer has it. */
  wake(run: R): void {
    this.begin()
    this.enqueue(run, run.account.quick)
  }

  /** Takes a run out that waits for its turn; does nothing for others. */
  remove(run: R): void {
    const { account } = run
    const seat = run.line === account.quick.runs ? account.quick : account.slow
    if (run.line === null || run.line !== seat.runs) return
    seat.runs.remove(run)
    this.waitingRuns--
    if (seat.runs.size === 0) seat.line?.remove(seat)
    if (account.queued === 0) this.release(account)
  }

  private begin(): void {
    if (this.isDeferred) return
    this.isDeferred = true
    this.now = this.clock.elapsedMs()
    this.clock.defer(this.onTurn)
  }

  private turn(): void {
    this.isDeferred = false
    this.spentMs = 0
    this.counters.turns++
    if (this.quick.size + this.slow.size === 0) return
    this.begin()
    while (this.spentMs < quickMs && this.stepOf(this.quick)) {}
    this.stepOf(this.slow)
  }

  /** One step of the tenant whose turn it is; false when there is none. */
  private stepOf(seats: Line<Seat<R>>): boolean {
    for (let seat = seats.shift(); seat !== null; seat = seats.shift()) {
      const { account, runs } = seat
      if (!account.hasFuel(this.now)) {
        this.hold(account)
        continue
      }
      const run = runs.shift() as R
      this.waitingRuns--
      // Its place is behind the others before the step is taken, which may well start or end runs of this tenant.
      if (runs.size > 0) seats.push(seat)
      this.step(run, this.sliceMs())
      return true
    }
    return false
  }

  private step(run: R, sliceMs: number): void {
    const before = run.fuelSpent
    const startMs = this.clock.elapsedMs()
    const goesOn = run.step(sliceMs)
    const fuel = run.fuelSpent - before + stepFuel
    run.account.spend(fuel)
    this.spentMs += Math.max(fuel / fuelPerMs, this.clock.elapsedMs() - startMs)
    this.counters.steps++
    if (goesOn) this.enqueue(run, run.account.slow)
  }

  private enqueue(run: R, seat: Seat<R>): void {
    seat.runs.push(run)
    this.waitingRuns++
    const { account } = run
    if (seat.line === null && account.stopHolding === null) (seat === account.quick ? this.quick : this.slow).push(seat)
  }

  private sliceMs(): number {
    return this.quick.size + this.slow.size === 0 ? aloneMs : sharedMs
  }

  /** Both seats of the account leave the order until it has fuel. */
  private hold(account: Account<R>): void {
    this.counters.held++
    this.quick.remove(account.quick)
    this.slow.remove(account.slow)
    this.wait(account, account.refillMs)
  }

  private wait(account: Account<R>, leftMs: number): void {
    const portionMs = Math.min(leftMs, holdMs)
    account.stopHolding = this.clock.after(portionMs, () => {
      this.begin()
      if (leftMs > portionMs) {
        this.wait(account, leftMs - portionMs)
        this.expire(account.quick.runs)
        this.expire(account.slow.runs)
        return
      }
      account.stopHolding = null
      if (account.quick.runs.size > 0) this.quick.push(account.quick)
      if (account.slow.runs.size > 0) this.slow.push(account.slow)
    })
  }

  /** Goes once around the line: the end of one run may well end others in it, or begin new ones. */
  private expire(runs: Line<R>): void {
    for (let left = runs.size; left > 0; left--) {
      const run = runs.shift()
      if (run === null) return
      runs.push(run)
      run.expire(this.now)
    }
  }

  private release(account: Account<R>): void {
    account.stopHolding?.()
    account.stopHolding = null
  }
}

const aloneMs = 1 // ms of a slice when no other run waits for the thread
const sharedMs = 0.25 // ms of a slice when others do

const quickMs = 0.75 // ms for short runs between two turns of the event loop; with a slice of a long one it is one

const holdMs = 100 // ms; how late a run that is held hears that it has waited for too long

const fuelPerMs = fuelPerMicro * 1000

const stepFuel = 500 // units; what a step costs beside its Lua, 2 µs
