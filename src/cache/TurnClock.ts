/**
 * A clock that stands still during a turn, so that a pipeline of a hundred commands reads the time at most once and
 * all of them see the same instant. Outside a turn every reading is a fresh one.
 *
 * It never goes back: where the machine's clock is set back, time goes on from the last reading at its usual pace, so
 * that nothing expired comes alive and no TTL stands still; deadlines given as instants are then late by the jump.
 */
import type { Clock } from "../kernel/index.ts"

export class TurnClock implements Clock {
  private latestMs = 0
  /** What is added to the source's readings to make up for its jumps back. */
  private aheadMs = 0
  private isInTurn = false
  private isFresh = false

  constructor(private readonly source: Clock = systemClock) {}

  nowMs(): number {
    if (this.isFresh) return this.latestMs
    let nowMs = this.source.nowMs() + this.aheadMs
    if (nowMs < this.latestMs) {
      this.aheadMs += this.latestMs - nowMs
      nowMs = this.latestMs
    }
    this.latestMs = nowMs
    this.isFresh = this.isInTurn
    return nowMs
  }

  /** Starts a turn: the next reading holds until `leave`. Turns are synchronous and do not nest. */
  enter(): void {
    this.isInTurn = true
    this.isFresh = false
  }

  leave(): void {
    this.isInTurn = false
    this.isFresh = false
  }
}

const systemClock: Clock = { nowMs: () => Date.now() }
