/**
 * The process that makes time pass for the keyspaces: one armed timer, expiry and other work in bounded turns.
 *
 * The keyspaces keep an agenda of what is due when; the scheduler sleeps until the first of it. It owns nothing but the
 * timer: when it crashes, entries past their deadline are still found by whoever touches them, and the next scheduler
 * takes up all that is due.
 *
 * No wake-up is lost: whoever begins looks at the agenda before it first sleeps, so what was said while nobody listened
 * needs no memory; from then on a word leaves a tick in the mailbox, also in the middle of a turn, and every tick ends
 * with a new look and a timer for what it saw. A word that finds a tick waiting adds nothing.
 */
import { Effect } from "effect"
import { GenServer, Process } from "../actor/index.ts"
import type { Clock as KernelClock } from "../kernel/index.ts"
import { CacheClock } from "./CacheClock.ts"
import { Keyspaces, Wakeups } from "./Keyspaces.ts"

/** How long a turn of expiry may hold the thread, before clients get theirs. */
const turnMs = 2
/** How long a keyspace may sleep at most: what a Node timer can count, 24.8 days. */
const sleepMsMax = 2 ** 31 - 1

type Tick = "tick"

interface State {
  /** Advances all keyspaces for at most a turn; true when nothing more is due. */
  readonly advance: (nowMs: number) => boolean
  readonly nextWakeMs: () => number
  readonly clock: KernelClock
  timer: { readonly cancel: () => boolean } | null
  turns: number
  fullTurns: number
}

/** Needs the keyspaces, their clock, and the place where they leave word. Message "tick": something may be due. */
export const Scheduler = GenServer.define<{ readonly info: Tick }>()({
  name: "scheduler",
  init: () =>
    Effect.gen(function* () {
      const keyspaces = yield* Keyspaces
      const clock = yield* CacheClock
      const wakeup = yield* Wakeups
      const self = yield* Process.self
      const effectClock = yield* Effect.clock
      let isWoken = false
      const wake = () => {
        if (isWoken) return
        isWoken = Process.unsafeOffer(self, "tick")
      }
      const elapsedMs = () => Number(effectClock.unsafeCurrentTimeNanos()) / 1e6
      const state: State = {
        advance: (nowMs) => {
          isWoken = false
          const endMs = elapsedMs() + turnMs
          return keyspaces.advance(nowMs, () => elapsedMs() >= endMs)
        },
        nextWakeMs: keyspaces.nextWakeMs,
        clock,
        timer: null,
        turns: 0,
        fullTurns: 0
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => wakeup.listen(wake)),
        (stop) =>
          Effect.sync(() => {
            stop()
            state.timer?.cancel() // it would keep the program alive until the next deadline
          })
      )
      wake()
      return GenServer.Ok(state)
    }),
  handleInfo: (_message, state) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      state.timer?.cancel()
      for (state.turns++; !state.advance(state.clock.nowMs()); state.turns++) {
        state.fullTurns++
        yield* Process.nextTurn
      }
      const wakeMs = state.nextWakeMs()
      const delayMs = Math.min(Math.max(0, wakeMs - state.clock.nowMs()), sleepMsMax)
      state.timer = wakeMs === Number.POSITIVE_INFINITY ? null : yield* Process.sendAfter(self, "tick", delayMs)
      return GenServer.NoReply(state)
    }),
  inspect: ({ turns, fullTurns, nextWakeMs }) => ({ turns, fullTurns, nextWakeMs: nextWakeMs() })
})
