/**
 * What supervisors of all kinds share: a child and its specification, how it is started and stopped, and how many
 * restarts are too many.
 *
 * [1] OTP, lib/stdlib/src/supervisor.erl: do_start_child, shutdown, add_restart.
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import { type StartError, StartFailed } from "../ActorError.ts"
import * as ExitReason from "../ExitReason.ts"
import type { Pid } from "../Pid.ts"
import { counters } from "./counters.ts"
import * as Envelope from "./envelope.ts"
import { awaitExit, type ChildRow, type ProcessImpl } from "./process.ts"
import * as Timers from "./timers.ts"

/** When a child that ended is started again. */
export type Restart =
  /** Always. */
  | "permanent"
  /** If it crashed or was killed. */
  | "transient"
  /** Never; it is forgotten. */
  | "temporary"

/** How a child is stopped: time to end after the exit signal `shutdown`, then it is killed; or killed at once. */
export type Shutdown = Duration.DurationInput | "infinity" | "brutalKill"

/** `R` is what its start needs, `P` the pid that it gives. */
export interface ChildSpec<out R = never, out P extends Pid = Pid> {
  /** Unique among its siblings. */
  readonly id: string
  /** Starts the process, linked to the supervisor in whose process it runs, e.g. by `GenServer.startLink`. */
  readonly start: Effect.Effect<P, unknown, R>
  /** Default `permanent`. */
  readonly restart?: Restart
  /** Default 5 seconds for workers, `infinity` for supervisors. */
  readonly shutdown?: Shutdown
  /** Default `worker`. */
  readonly type?: "worker" | "supervisor"
  /** Its end may end the supervisor (`autoShutdown`). Not for permanent children. Default false. */
  readonly significant?: boolean
}

// The services of a start have been given to the supervisor's fiber, which the types cannot follow.
// biome-ignore lint/suspicious/noExplicitAny: as above
export type AnyChildSpec = ChildSpec<any>

export interface Intensity {
  /** More restarts than this … default 3. */
  readonly maxRestarts?: number
  /** … within this many seconds end the supervisor. Default 5. */
  readonly maxSeconds?: number
}

export class Child implements ChildRow {
  readonly spec: AnyChildSpec
  readonly id: string
  readonly type: "worker" | "supervisor"
  readonly restart: Restart
  readonly isSignificant: boolean
  /** `Infinity` waits for ever, -1 kills at once. */
  readonly shutdownMs: number
  pid: ProcessImpl | null = null
  restarts = 0
  lastExit: ExitReason.ExitReason | null = null
  isRestarting = false

  constructor(spec: AnyChildSpec) {
    this.spec = spec
    this.id = spec.id
    this.type = spec.type ?? "worker"
    this.restart = spec.restart ?? "permanent"
    this.isSignificant = spec.significant ?? false
    this.shutdownMs = shutdownMsOf(spec.shutdown, this.type)
  }

  /** What the rule says of an end with `reason`. */
  isToRestart(reason: ExitReason.ExitReason): boolean {
    return this.restart === "permanent" || (this.restart === "transient" && ExitReason.isAbnormal(reason))
  }
}

/**
 * Runs a child's start in the supervisor's process. Fails as the child did, or because the supervisor has been asked to
 * end; a child that chose not to run has no pid.
 */
export const startChild = (supervisor: ProcessImpl, child: Child): Effect.Effect<void, StartError> =>
  Effect.suspend(() =>
    supervisor.pendingExit === null
      ? runStart(supervisor, child)
      : Effect.fail(new StartFailed({ label: child.id, reason: ExitReason.shutdown }))
  )

const runStart = (supervisor: ProcessImpl, child: Child): Effect.Effect<void, StartError> =>
  Effect.matchCauseEffect(child.spec.start as Effect.Effect<Pid, unknown>, {
    onSuccess: (pid) => {
      child.isRestarting = false
      child.pid = pid as ProcessImpl
      supervisor.link(child.pid)
      return Effect.void
    },
    onFailure: (cause) => {
      const error = Option.getOrUndefined(Cause.failureOption(cause))
      if (isStartError(error)) {
        if (error._tag !== "StartIgnored") return Effect.fail(error)
        child.isRestarting = false
        child.pid = null
        return Effect.void
      }
      return Effect.fail(new StartFailed({ label: child.id, reason: ExitReason.fromCause(cause) }))
    }
  })

/** Stops a child by its rule and waits until it has ended. */
export const stopChild = (supervisor: ProcessImpl, child: Child): Effect.Effect<void> =>
  Effect.suspend(() => {
    signalStop(supervisor, child)
    return awaitStop(child, child.shutdownMs)
  })

/**
 * Stops children that do not depend on each other: all are told first, so that it takes as long as the slowest. They
 * are awaited by their time-outs, the shortest first, so that none is killed late because another was waited for.
 */
export const stopTogether = (supervisor: ProcessImpl, children: ReadonlyArray<Child>): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    const timers = Timers.ofServices(fiber.currentDefaultServices)
    const toldMs = timers.nowMs()
    for (const child of children) signalStop(supervisor, child)
    return Effect.forEach(
      [...children].sort((a, b) => a.shutdownMs - b.shutdownMs),
      (child) => Effect.suspend(() => awaitStop(child, child.shutdownMs - (timers.nowMs() - toldMs))),
      { discard: true }
    )
  })

const signalStop = (supervisor: ProcessImpl, child: Child): void => {
  if (child.pid === null) return
  if (child.shutdownMs < 0) child.pid.kill()
  else child.pid.receiveExit(ExitReason.shutdown, supervisor, "wish")
}

const awaitStop = (child: Child, timeoutMs: number): Effect.Effect<void> => {
  const { pid } = child
  child.isRestarting = false
  if (pid === null) return Effect.void
  const ended = pid.isAlive ? awaitExit(pid, Math.max(timeoutMs, 0)) : Effect.succeed(true)
  return Effect.map(ended, (isEnded) => {
    if (!isEnded) pid.kill()
    child.lastExit = pid.exitReason
    child.pid = null
  })
}

/**
 * The restarts of one supervisor, counted in a sliding window. Keeps at most `maxRestarts` instants, and none where
 * they have no bound.
 */
export class Restarts {
  readonly maxRestarts: number
  readonly windowMs: number
  readonly #supervisor: ProcessImpl
  readonly #timers: Timers.Timers
  #atMs: Array<number> = []

  constructor(supervisor: ProcessImpl, timers: Timers.Timers, { maxRestarts = 3, maxSeconds = 5 }: Intensity) {
    if (!(maxRestarts >= 0)) throw new RangeError(`maxRestarts is 0 or more; not ${maxRestarts}`)
    if (!(maxSeconds > 0)) throw new RangeError(`maxSeconds is more than 0; not ${maxSeconds}`)
    this.#supervisor = supervisor
    this.#timers = timers
    this.maxRestarts = maxRestarts
    this.windowMs = maxSeconds * 1000
  }

  /** Counts one more, of `child` after an end with `reason`, and runs it; or answers why the supervisor must end. */
  run(
    child: Child,
    reason: ExitReason.ExitReason,
    action: string,
    restart: Effect.Effect<void>
  ): Effect.Effect<ExitReason.ExitReason | null> {
    child.restarts++
    if (this.#add(this.#timers.nowMs())) {
      counters.restarts++
      return report(this.#supervisor, child, reason, action).pipe(Effect.zipRight(restart), Effect.as(null))
    }
    counters.escalations++
    return Effect.as(report(this.#supervisor, child, reason, `gave up: ${tooMany}`), ExitReason.shutdownWith(tooMany))
  }

  /**
   * Brings `message` to the supervisor after a turn of the event loop. Without that turn a start that always fails
   * would leave none to sockets and timers, for ever where `maxRestarts` is `Infinity`. A signal, so that a full
   * mailbox does not lose it; a supervisor that has ended meanwhile takes none.
   */
  tryAgain(message: unknown): void {
    this.#timers.afterTurn(() => this.#supervisor.signal(Envelope.info, message))
  }

  /** False when one more is too many. */
  #add(nowMs: number): boolean {
    if (this.maxRestarts === Number.POSITIVE_INFINITY) return true
    this.#atMs = this.#atMs.filter((atMs) => atMs >= nowMs - this.windowMs)
    if (this.#atMs.length >= this.maxRestarts) return false
    this.#atMs.push(nowMs)
    return true
  }
}

/** What a supervisor ends with, so that its own decides. */
const tooMany = "reached maximum restart intensity"

/** One line for the log when a child has ended and the supervisor acts. Not even made where warnings are not logged. */
const report = (supervisor: ProcessImpl, child: Child, reason: ExitReason.ExitReason, action: string) =>
  Effect.withFiberRuntime<void>((fiber) => {
    if (LogLevel.greaterThan(fiber.getFiberRef(FiberRef.currentMinimumLogLevel), LogLevel.Warning)) return Effect.void
    return Effect.annotateLogs(Effect.logWarning("supervised process ended"), {
      supervisor: supervisor.toString(),
      child: child.id,
      reason: ExitReason.format(reason),
      restarts: child.restarts,
      action
    })
  })

/** A rule in milliseconds: `Infinity` waits for ever, -1 kills at once. */
export const shutdownMsOf = (shutdown: Shutdown | undefined, type: "worker" | "supervisor"): number => {
  if (shutdown === "brutalKill") return -1
  if (shutdown === "infinity") return Number.POSITIVE_INFINITY
  if (shutdown !== undefined) return Timers.millis(shutdown)
  return type === "supervisor" ? Number.POSITIVE_INFINITY : workerShutdownMs
}

const workerShutdownMs = 5000 // OTP's default

const startErrors = new Set(["StartFailed", "StartIgnored", "StartTimeout", "AlreadyStarted"])

const isStartError = (error: unknown): error is StartError =>
  typeof error === "object" && error !== null && startErrors.has((error as { readonly _tag?: string })._tag ?? "")
