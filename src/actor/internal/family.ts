/**
 * The children of a supervisor and what happens to them: whom a crash takes along, who comes back in which order, and
 * when the supervisor must give up. The doors to it, and the messages that bring it to act, are in Supervisor.ts.
 *
 * Invariants
 * - `children` is in start order. What is started together starts in that order and stops in the reverse.
 * - A child without a pid is not running: `isRestarting` says whether it is about to.
 * - A temporary child that has ended is forgotten.
 *
 * [1] OTP, lib/stdlib/src/supervisor.erl: restart_child, restart, start_children, terminate_children.
 */
import * as Effect from "effect/Effect"
import { InvalidSignificant, type StartError } from "../ActorError.ts"
import * as ExitReason from "../ExitReason.ts"
import type { Pid } from "../Pid.ts"
import type { ProcessImpl } from "./process.ts"
import {
  type AnyChildSpec,
  Child,
  type Intensity,
  Restarts,
  startChild as startOne,
  stopChild as stopOne
} from "./supervision.ts"
import type * as Timers from "./timers.ts"

export type Strategy = "one_for_one" | "rest_for_one" | "one_for_all"

/** When the supervisor ends by itself, with `shutdown`: significant children have ended and are not restarted. */
export type AutoShutdown = "never" | "any_significant" | "all_significant"

export interface Plan extends Intensity {
  readonly children: ReadonlyArray<AnyChildSpec>
  readonly strategy?: Strategy
  readonly autoShutdown?: AutoShutdown
}

/** The children of one supervisor, in start order. Only its process touches it. */
export class Family {
  readonly supervisor: ProcessImpl
  readonly strategy: Strategy
  readonly autoShutdown: AutoShutdown
  readonly children: Array<Child>
  readonly #restarts: Restarts

  constructor(supervisor: ProcessImpl, plan: Plan, timers: Timers.Timers) {
    this.supervisor = supervisor
    this.strategy = plan.strategy ?? "one_for_one"
    this.autoShutdown = plan.autoShutdown ?? "never"
    this.children = plan.children.map((spec) => new Child(spec))
    this.#restarts = new Restarts(supervisor, timers, plan)
    this.#check()
  }

  byId(id: string): Child | undefined {
    return this.children.find((child) => child.id === id)
  }

  byPid(pid: Pid | null): Child | undefined {
    return pid === null ? undefined : this.children.find((child) => child.pid === pid)
  }

  remove(child: Child): void {
    const index = this.children.indexOf(child)
    if (index >= 0) this.children.splice(index, 1)
  }

  /** Starts `children` one after the other. The one that fails, or null. */
  startAll(children: ReadonlyArray<Child>): Effect.Effect<{ child: Child; error: StartError } | null> {
    const { supervisor } = this
    return Effect.gen(this, function* () {
      for (const child of children) {
        const error = yield* Effect.match(startOne(supervisor, child), {
          onSuccess: () => null,
          onFailure: (error) => error
        })
        if (error !== null) return { child, error }
        if (child.pid === null && child.restart === "temporary") this.remove(child)
      }
      return null
    })
  }

  /** Stops `children`, the last first. Temporary ones are forgotten. */
  stopAll(children: ReadonlyArray<Child>): Effect.Effect<void> {
    return Effect.forEach(
      [...children].reverse(),
      (child) =>
        Effect.map(stopOne(this.supervisor, child), () => {
          if (child.restart === "temporary") this.remove(child)
        }),
      { discard: true }
    )
  }

  /** A child has ended by itself. Answers the reason for which the supervisor must end too, or null. */
  ended(child: Child, reason: ExitReason.ExitReason): Effect.Effect<ExitReason.ExitReason | null> {
    child.pid = null
    child.lastExit = reason
    if (child.isToRestart(reason)) return this.restart(child, reason)
    if (child.restart === "temporary") this.remove(child)
    return Effect.succeed(this.#isAutoShutdown(child) ? ExitReason.shutdown : null)
  }

  /** Brings a child back, and with it whom the strategy says; or answers why the supervisor must end. */
  restart(child: Child, reason: ExitReason.ExitReason): Effect.Effect<ExitReason.ExitReason | null> {
    return this.#restarts.run(child, reason, `restart (${this.strategy})`, this.#restartByStrategy(child))
  }

  #restartByStrategy(child: Child): Effect.Effect<void> {
    return Effect.gen(this, function* () {
      const affected = this.#affectedBy(child)
      yield* this.stopAll(affected.filter((other) => other !== child))
      const toStart = affected.filter((other) => this.children.includes(other))
      for (const other of toStart) other.isRestarting = true // until it has been started, or terminated on request
      const failed = yield* this.startAll(toStart)
      if (failed === null) return
      if (failed.error._tag === "StartFailed") failed.child.lastExit = failed.error.reason
      this.#restarts.tryAgain({ _tag: "TryAgain", child: failed.child } satisfies TryAgain)
    })
  }

  /** The child whose turn it is: the one that failed, or if that was terminated, the first that waits after it. */
  toTryAgain({ child }: TryAgain): Child | undefined {
    const isWaiting = (each: Child) => each.isRestarting
    return isWaiting(child) && this.children.includes(child) ? child : this.children.find(isWaiting)
  }

  #affectedBy(child: Child): ReadonlyArray<Child> {
    switch (this.strategy) {
      case "one_for_one":
        return [child]
      case "rest_for_one":
        return this.children.slice(this.children.indexOf(child))
      case "one_for_all":
        return this.children.slice()
    }
  }

  #isAutoShutdown(child: Child): boolean {
    if (!child.isSignificant || this.autoShutdown === "never") return false
    if (this.autoShutdown === "any_significant") return true
    return !this.children.some((other) => other.isSignificant && (other.pid !== null || other.isRestarting))
  }

  #check(): void {
    const seen = new Set<string>()
    for (const child of this.children) {
      if (seen.has(child.id)) throw new Error(`two children have the id "${child.id}"; give each its own`)
      seen.add(child.id)
      const refusal = this.refusalOf(child)
      if (refusal !== null) throw refusal
    }
  }

  /** Why a significant child makes no sense here, or null. */
  refusalOf(child: Child): InvalidSignificant | null {
    if (!child.isSignificant) return null
    if (child.restart === "permanent") return new InvalidSignificant({ id: child.id, why: "permanent" })
    return this.autoShutdown === "never" ? new InvalidSignificant({ id: child.id, why: "noAutoShutdown" }) : null
  }
}

/** The start or restart of a child failed; it is its turn again. */
export interface TryAgain {
  readonly _tag: "TryAgain"
  readonly child: Child
}
