/**
 * One computation in a process of its own, whose result somebody wants.
 *
 * `async` ties the task to this process: if it crashes, so does this one, which is what you want when the result is
 * needed. A task that may fail goes under a TaskSupervisor (`asyncNolink`). An error that is expected is a value: use
 * `Effect.either` in the task. For plain concurrency inside of one process Effect's fibers are cheaper and enough.
 *
 * Unlike in Elixir the result is kept in the task and not in a mailbox, so any fiber may wait for it, and more than
 * once.
 *
 * [1] Elixir, lib/elixir/lib/task.ex.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TaskExited, TaskTimeout } from "./ActorError.ts"
import * as ExitReason from "./ExitReason.ts"
import * as Envelope from "./internal/envelope.ts"
import * as internal from "./internal/process.ts"
import { selfOf } from "./internal/self.ts"
import type { ChildSpec } from "./internal/supervision.ts"
import * as Timers from "./internal/timers.ts"
import { type Pid, Ref } from "./Pid.ts"
import * as Process from "./Process.ts"

/** A computation that is running or done. */
export interface Task<out A> {
  readonly _A?: A
  /** Null for a task that was `completed` from the beginning. */
  readonly pid: Pid | null
  /** What `toMessage` marks its messages with. */
  readonly ref: Ref
}

/** The result of a task, as a message: `toMessage`. */
export interface TaskReply {
  readonly _tag: "TaskReply"
  readonly ref: Ref
  readonly value: unknown
}

/** How a task ended: with its value, or without. */
export type TaskExit<A> = Exit.Exit<A, TaskExited>

/** As an element of a stream of tasks: also the time-out may be its end. */
export type TimedExit<A> = Exit.Exit<A, TaskExited | TaskTimeout>

type Needs<R> = Exclude<R, Scope.Scope | Process.Self>

/**
 * Starts a task linked to this process.
 *
 * @example
 * const task = yield* Task.async(fetchUser(id))
 * const user = yield* Task.await(task)
 */
export const async = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Task<A>, never, Needs<R> | Process.Self> =>
  Effect.suspend(() => {
    const task = new TaskImpl<A>()
    return Effect.map(Process.spawnLink(task.program(effect), taskOptions), (pid) => task.runsIn(pid))
  })

/** Starts a process that runs `effect`, linked to this one, and whose result nobody wants: a child of a supervisor. */
export const startLink = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Pid, never, Needs<R> | Process.Self> => Process.spawnLink(effect, taskOptions)

/** The specification of a task as a supervisor's child; temporary unless `overrides` says otherwise. */
export const childSpec = <A, E, R>(
  id: string,
  effect: Effect.Effect<A, E, R>,
  overrides?: Partial<Omit<ChildSpec, "id" | "start">>
): ChildSpec<Needs<R> | Process.Self> => ({
  id,
  restart: "temporary",
  start: Process.spawnLink(effect, { label: id }),
  ...overrides
})

/** A task that is done. */
export const completed = <A>(value: A): Task<A> => {
  const task = new TaskImpl<A>()
  task.result = { value }
  return task
}

const awaitTimeoutMs = 5000 // Elixir's default

const _await = <A>(
  task: Task<A>,
  timeout: Duration.DurationInput = awaitTimeoutMs
): Effect.Effect<A, TaskTimeout | TaskExited> =>
  Effect.flatMap(
    _yield(task, timeout),
    (exit): Effect.Effect<A, TaskTimeout | TaskExited> =>
      Option.getOrElse(exit, () =>
        Effect.fail(new TaskTimeout({ pid: task.pid as Pid, timeoutMs: Timers.millis(timeout) }))
      )
  )

const _yield = <A>(
  task: Task<A>,
  timeout: Duration.DurationInput = awaitTimeoutMs
): Effect.Effect<Option.Option<TaskExit<A>>> =>
  Effect.suspend(() => {
    const impl = task as TaskImpl<A>
    const { process } = impl
    if (process === null) return Effect.succeed(impl.exit)
    return Effect.map(internal.awaitExit(process, Timers.millis(timeout)), () => impl.exit)
  })

export {
  /**
   * Waits for the value. Fails with `TaskTimeout` (default 5 seconds; the task goes on), or `TaskExited` if it ended
   * without one.
   */
  _await as await,
  /** Waits like `await`, but a time-out is `None` and an end without a value is a failed exit: to look again later. */
  _yield as yield
}

/** The values of all, in order, within one time-out for all of them. */
export const awaitMany = <A>(
  tasks: Iterable<Task<A>>,
  timeout: Duration.DurationInput = awaitTimeoutMs
): Effect.Effect<Array<A>, TaskTimeout | TaskExited> =>
  withinOne(tasks, timeout, (task, leftMs) => _await(task, leftMs))

/** What has become of all after one time-out for all of them, or sooner if all are done. */
export const yieldMany = <A>(
  tasks: Iterable<Task<A>>,
  timeout: Duration.DurationInput = awaitTimeoutMs
): Effect.Effect<Array<Option.Option<TaskExit<A>>>> => withinOne(tasks, timeout, (task, leftMs) => _yield(task, leftMs))

/**
 * Ends a task: unlinks it, asks it to shut down, and kills it if that takes longer than `timeout` (default 5 seconds).
 *
 * Answers the value if it was done in time, None if it ended as asked (`shutdown`, or `killed` by `brutalKill`), and
 * else how it ended: its crash, or `killed` because its time was up.
 */
export const shutdown = <A>(
  task: Task<A>,
  timeout: Duration.DurationInput | "brutalKill" = awaitTimeoutMs
): Effect.Effect<Option.Option<TaskExit<A>>> =>
  Effect.withFiberRuntime((fiber) => {
    const impl = task as TaskImpl<A>
    const { process } = impl
    const asked = timeout === "brutalKill" ? ExitReason.killed : ExitReason.shutdown
    if (process === null || !process.isAlive) return Effect.succeed(impl.exitOtherThan(asked))
    selfOf(fiber)?.unlink(process)
    if (timeout === "brutalKill") process.kill()
    else process.receiveExit(ExitReason.shutdown, null, "wish")
    const timeoutMs = timeout === "brutalKill" ? 0 : Timers.millis(timeout)
    return Effect.map(internal.awaitExit(process, timeoutMs), (isEnded) => {
      if (!isEnded) process.kill()
      return impl.exitOtherThan(asked)
    })
  })

/** Unlinks a task and lets it go on; only those that ask learn what becomes of it. Its exit, if it is done. */
export const ignore = <A>(task: Task<A>): Effect.Effect<Option.Option<TaskExit<A>>> =>
  Effect.withFiberRuntime((fiber) => {
    const impl = task as TaskImpl<A>
    if (impl.process !== null) selfOf(fiber)?.unlink(impl.process)
    return Effect.succeed(impl.exit)
  })

/**
 * Has the result come as a message to this process: `TaskReply`, or `Down` if there is none, both with the task's
 * `ref`. For servers, which must not wait in a callback.
 */
export const toMessage = <A>(task: Task<A>): Effect.Effect<void, never, Process.Self> =>
  Effect.map(Process.self, (self) => {
    const impl = task as TaskImpl<A>
    const owner = Process.impl(self)
    const tell = (reason: ExitReason.ExitReason) =>
      owner.signal(
        Envelope.info,
        impl.result === null
          ? ({ _tag: "Down", ref: impl.ref, pid: impl.pid as Pid, reason } satisfies Process.Down)
          : ({ _tag: "TaskReply", ref: impl.ref, value: impl.result.value } satisfies TaskReply)
      )
    if (impl.process === null) tell(ExitReason.normal)
    else impl.process.onExit(tell)
  })

export interface StreamOptions {
  /** Tasks at once, at least 1. Default 4. */
  readonly maxConcurrency?: number
  /** Results in the order of the items (default), or as they come. */
  readonly ordered?: boolean
  /** What each task may take. Default 5 seconds. */
  readonly timeout?: Duration.DurationInput
  /**
   * A task that takes longer is killed; and then the stream fails with `TaskTimeout` (`exit`, the default), or has it
   * as a failed exit.
   */
  readonly onTimeout?: "exit" | "killTask"
}

/**
 * Runs `f` for each item in a task linked to this process, so many at a time, and streams how they ended.
 *
 * A stream that is not read on starts no more tasks and takes no more items (`maxConcurrency` ahead); one that is given
 * up kills those that run.
 */
export const asyncStream = <I, A, E, R>(
  items: Iterable<I>,
  f: (item: I) => Effect.Effect<A, E, R>,
  options?: StreamOptions
): Stream.Stream<TimedExit<A>, TaskTimeout, Needs<R> | Process.Self> => streamWith(items, f, async, options)

/** @internal `asyncStream` for any way to start a task. */
export const streamWith = <I, A, E, R, StartError, StartNeeds>(
  items: Iterable<I>,
  f: (item: I) => Effect.Effect<A, E, R>,
  startTask: (effect: Effect.Effect<A, E, R>) => Effect.Effect<Task<A>, StartError, StartNeeds>,
  options: StreamOptions = {}
): Stream.Stream<TimedExit<A>, TaskTimeout | StartError, StartNeeds> => {
  const { maxConcurrency = 4, onTimeout = "exit", ordered = true, timeout = awaitTimeoutMs } = options
  if (!Number.isInteger(maxConcurrency) || maxConcurrency < 1) {
    throw new RangeError(`maxConcurrency is a whole number of tasks, at least 1; not ${maxConcurrency}`)
  }
  const one = (item: I): Effect.Effect<TimedExit<A>, TaskTimeout | StartError, StartNeeds> =>
    Effect.acquireUseRelease(
      startTask(Effect.suspend(() => f(item))), // what `f` throws is the task's
      (task) =>
        Effect.flatMap(_yield(task, timeout), (exit): Effect.Effect<TimedExit<A>, TaskTimeout> => {
          if (Option.isSome(exit)) return Effect.succeed(exit.value)
          const error = new TaskTimeout({ pid: task.pid as Pid, timeoutMs: Timers.millis(timeout) })
          return onTimeout === "exit" ? Effect.fail(error) : Effect.succeed(Exit.fail(error))
        }),
      (task) => shutdown(task, "brutalKill")
    )
  // As Stream.fromIterable, which would take 4,096 items at a time.
  const fewAtATime = Stream.suspend(() =>
    Stream.fromIteratorSucceed(items[Symbol.iterator]() as IterableIterator<I>, maxConcurrency)
  )
  return Stream.mapEffect(fewAtATime, one, { concurrency: maxConcurrency, unordered: !ordered })
}

const taskOptions: Process.SpawnOptions = { label: "task" }

/** @internal */
export class TaskImpl<out A> implements Task<A> {
  readonly ref = new Ref()
  process: internal.ProcessImpl | null = null
  result: { readonly value: A } | null = null
  #isGivenUp = false

  get pid(): Pid | null {
    return this.process
  }

  program<E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<void, E, R> {
    const kept = Effect.map(effect, (value) => {
      this.result = { value }
    })
    return Effect.withFiberRuntime((fiber) => {
      this.process = selfOf(fiber)
      return this.#isGivenUp ? Effect.interrupt : kept
    })
  }

  /** Its starter was interrupted before getting it, so nobody could await or end it: it ends, or does not begin. */
  readonly giveUp = Effect.sync(() => {
    this.#isGivenUp = true
    this.process?.kill()
  })

  runsIn(pid: Pid): this {
    this.process = Process.impl(pid)
    return this
  }

  /** None while it runs. */
  get exit(): Option.Option<TaskExit<A>> {
    if (this.result !== null) return Option.some(Exit.succeed(this.result.value))
    const reason = this.process?.exitReason ?? null
    if (reason === null || this.process === null) return Option.none()
    return Option.some(Exit.fail(new TaskExited({ pid: this.process, reason })))
  }

  /** None also when it ended without a value and as asked. */
  exitOtherThan(asked: ExitReason.ExitReason): Option.Option<TaskExit<A>> {
    const reason = this.process?.exitReason ?? null
    const isAsAsked = reason?._tag === asked._tag && !("detail" in reason)
    return this.result === null && isAsAsked ? Option.none() : this.exit
  }
}

const withinOne = <A, B, E>(
  tasks: Iterable<Task<A>>,
  timeout: Duration.DurationInput,
  look: (task: Task<A>, leftMs: number) => Effect.Effect<B, E>
): Effect.Effect<Array<B>, E> =>
  Effect.withFiberRuntime((fiber) => {
    const timers = Timers.ofServices(fiber.currentDefaultServices)
    const endMs = timers.nowMs() + Timers.millis(timeout)
    return Effect.forEach(tasks, (task) => Effect.suspend(() => look(task, Math.max(endMs - timers.nowMs(), 0))))
  })
