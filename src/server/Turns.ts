/**
 * How long one round of the event loop may be, and who goes on after whom.
 *
 * Whoever's bytes arrive in a round share one turn: `turnMs` from the first of them, over at the end of the command that
 * passes it. Who is not done then, and whose bytes come only then, however many they are, stands in line: once in each
 * round the line gets a turn of its own, shared by as many as fit into it, from its front. So whoever comes in between
 * waits for a turn of the line and one of those that came with it, not for all that others have sent, and those in the
 * line have equal shares. What no look at the clock can divide (one command's triggers, EXEC, MSET) is bounded by limits
 * of its own.
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
  /** A turn has begun, for the line or for those who arrive; it is theirs until the round is over. */
  private isOpen = false
  private isOver = false
  private isAwaited = false
  private readonly line = new Set<TurnTaker>()

  constructor(
    private readonly turnMs: number,
    private readonly monotonicMs: () => number
  ) {}

  /** Whether there is time left in this turn, which begins with the first who asks in a round. */
  begin(): boolean {
    if (!this.isOpen) {
      this.open()
      this.await()
    }
    return !this.isOver
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
    return this.look()
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

  private open(): void {
    this.isOpen = true
    this.isOver = false
    this.work = 0
    this.endsAtMs = this.monotonicMs() + this.turnMs
  }

  private look(): boolean {
    if (this.monotonicMs() >= this.endsAtMs) this.isOver = true
    return this.isOver
  }

  private await(): void {
    if (this.isAwaited) return
    this.isAwaited = true
    setImmediate(this.onRound)
  }

  private readonly onRound = (): void => {
    this.isAwaited = false
    let left = this.line.size // those who stand in line again wait for the next round
    if (left > 0) {
      this.open()
      for (const taker of this.line) {
        this.line.delete(taker)
        taker.takeTurn()
        if (--left === 0 || this.look()) break
      }
      if (this.line.size > 0) this.await()
    }
    this.isOpen = false
  }
}

/** Units of work between two looks at the clock, which cost 65 ns: one for an argument, or for a key looked at. */
export const workPerLook = 64

/** What a key costs where triggers watch, in the same units: each may set off a whole cascade, which takes 2 ms at most. */
export const reactionWork = workPerLook / 2
