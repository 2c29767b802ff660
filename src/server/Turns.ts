/**
 * How long one client may hold the thread that all of them share, and who goes on after whom.
 *
 * A turn begins when a client's bytes arrive and ends after `turnMs` at the next command's end. Who is not done then
 * stands in line: once in each round of the event loop the line gets a turn, shared by as many as fit into it, from
 * its front. So whoever comes in between waits for one turn of the line and not for all that others have sent, and
 * those in the line have equal shares. What no look at the clock can divide (one command's triggers, EXEC, MSET) is
 * bounded by limits of its own.
 */

/** Somebody with more to do than fits into a turn. */
export interface TurnTaker {
  /** Goes on for a turn, and stands in line again where that is not enough. Never throws. */
  takeTurn(): void
}

export class Turns {
  /** How often somebody had to go on in a later turn. */
  yields = 0
  private endsAtMs = 0
  private work = 0
  private isAwaited = false
  private readonly line = new Set<TurnTaker>()

  constructor(
    private readonly turnMs: number,
    private readonly monotonicMs: () => number
  ) {}

  begin(): void {
    this.work = 0
    this.endsAtMs = this.monotonicMs() + this.turnMs
  }

  /** Counts work that a command does beside what it shows; it is looked at when the command is over. */
  count(work: number): void {
    this.work += work
  }

  /** Counts work, of which `workPerLook` may be done between two looks at the clock. True when the turn is over. */
  spend(work: number): boolean {
    this.work += work
    if (this.work < workPerLook) return false
    this.work = 0
    return this.monotonicMs() >= this.endsAtMs
  }

  /** Stands in line for another turn. */
  later(taker: TurnTaker): void {
    this.yields++
    this.line.add(taker)
    this.await()
  }

  /** Leaves the line. */
  leave(taker: TurnTaker): void {
    this.line.delete(taker)
  }

  /**
   * Calls `step` in this turn and in as many later ones as it takes until it answers true; the promise, where there has
   * to be one, is fulfilled then, and rejected with what `step` throws. `step` asks `spend` when to stop.
   */
  repeat(step: () => boolean): Promise<void> | undefined {
    if (step()) return undefined
    return new Promise((resolve, reject) => {
      const taker: TurnTaker = {
        takeTurn: () => {
          try {
            this.begin()
            if (step()) resolve()
            else this.later(taker)
          } catch (defect) {
            reject(defect)
          }
        }
      }
      this.later(taker)
    })
  }

  private await(): void {
    if (this.isAwaited) return
    this.isAwaited = true
    setImmediate(this.onRound)
  }

  private readonly onRound = (): void => {
    this.isAwaited = false
    const endsAtMs = this.monotonicMs() + this.turnMs
    let left = this.line.size // those who stand in line again wait for the next round
    for (const taker of this.line) {
      this.line.delete(taker)
      taker.takeTurn()
      if (--left === 0 || this.monotonicMs() >= endsAtMs) break
    }
    if (this.line.size > 0) this.await()
  }
}

/** Units of work between two looks at the clock, which cost 65 ns: one for an argument, or for a key looked at. */
export const workPerLook = 64

/** What a key costs where triggers watch, in the same units: each may set off a whole cascade, which takes 2 ms at most. */
export const reactionWork = workPerLook / 2
