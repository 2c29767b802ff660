/**
 * A dynamic supervisor of tasks: one place that knows them, limits them and stops them.
 *
 * [1] Elixir, lib/elixir/lib/task/supervisor.ex.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { CallError, ChildNotFound, MaxChildren, StartError, TaskTimeout } from "./ActorError.ts"
import * as DynamicSupervisor from "./DynamicSupervisor.ts"
import type * as GenServer from "./GenServer.ts"
import type { Restart, Shutdown } from "./internal/supervision.ts"
import type { Pid } from "./Pid.ts"
import * as Process from "./Process.ts"
import * as Task from "./Task.ts"

export type Options = DynamicSupervisor.Options

export interface TaskSupervisorRef extends DynamicSupervisor.DynamicSupervisorRef {
  readonly _TaskSupervisor?: true
}

/** Why a task could not be started. */
export type AsyncError = MaxChildren | StartError | CallError

type Needs<R> = Exclude<R, Scope.Scope | Process.Self>

const taskSupervisor = "task supervisor"

/** Starts a supervisor of tasks in a scope; closing the scope ends the tasks. */
export const start = (options?: Options): Effect.Effect<TaskSupervisorRef, StartError, Scope.Scope> =>
  DynamicSupervisor.start({ label: taskSupervisor, ...options })

export const startLink = (options?: Options): Effect.Effect<TaskSupervisorRef, StartError, Process.Self> =>
  DynamicSupervisor.startLink({ label: taskSupervisor, ...options })

export const childSpec = DynamicSupervisor.childSpec

/**
 * Starts a supervised task whose end is this process' end too, if it is a crash.
 *
 * @example
 * const tasks = yield* TaskSupervisor.start({ maxChildren: 100 })
 * const task = yield* TaskSupervisor.asyncNolink(tasks, render(page))
 * const html = yield* Task.await(task, "2 seconds")
 */
export const async = <A, E, R>(
  supervisor: GenServer.Destination<TaskSupervisorRef>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Task.Task<A>, AsyncError, Needs<R> | Process.Self> =>
  Effect.tap(asyncNolink(supervisor, effect), (task) => (task.pid === null ? Effect.void : Process.link(task.pid)))

/**
 * Starts a supervised task that this process is not linked to: its crash is an answer (`TaskExited`). Also from outside
 * of any process.
 */
export const asyncNolink = <A, E, R>(
  supervisor: GenServer.Destination<TaskSupervisorRef>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Task.Task<A>, AsyncError, Needs<R>> =>
  Effect.suspend(() => {
    const task = new Task.TaskImpl<A>()
    const started = Effect.map(startTask(supervisor, task.program(effect), {}), (pid) => task.runsIn(pid))
    return Effect.onInterrupt(started, () => task.giveUp)
  })

export interface ChildOptions {
  readonly label?: string
  /** Default `temporary`. */
  readonly restart?: Restart
  readonly shutdown?: Shutdown
}

/** Starts a supervised task whose result nobody wants. */
export const startChild = <A, E, R>(
  supervisor: GenServer.Destination<TaskSupervisorRef>,
  effect: Effect.Effect<A, E, R>,
  options: ChildOptions = {}
): Effect.Effect<Pid, AsyncError, Needs<R>> => startTask(supervisor, effect, options)

/** `Task.asyncStream` with supervised tasks. */
export const asyncStream = <I, A, E, R>(
  supervisor: GenServer.Destination<TaskSupervisorRef>,
  items: Iterable<I>,
  f: (item: I) => Effect.Effect<A, E, R>,
  options?: Task.StreamOptions
): Stream.Stream<Task.TimedExit<A>, TaskTimeout | AsyncError, Needs<R> | Process.Self> =>
  Task.streamWith(items, f, (effect) => async(supervisor, effect), options)

/** `asyncStream` whose tasks may crash: each is a failed exit in the stream. */
export const asyncStreamNolink = <I, A, E, R>(
  supervisor: GenServer.Destination<TaskSupervisorRef>,
  items: Iterable<I>,
  f: (item: I) => Effect.Effect<A, E, R>,
  options?: Task.StreamOptions
): Stream.Stream<Task.TimedExit<A>, TaskTimeout | AsyncError, Needs<R>> =>
  Task.streamWith(items, f, (effect) => asyncNolink(supervisor, effect), options)

/** The tasks that run. */
export const children = (
  supervisor: GenServer.Destination<TaskSupervisorRef>
): Effect.Effect<ReadonlyArray<Pid>, CallError> =>
  Effect.map(DynamicSupervisor.whichChildren(supervisor), (rows) =>
    rows.flatMap(({ pid }) => (pid === null ? [] : [pid]))
  )

export const terminateChild: (
  supervisor: GenServer.Destination<TaskSupervisorRef>,
  pid: Pid
) => Effect.Effect<void, ChildNotFound | CallError> = DynamicSupervisor.terminateChild

export const stop = DynamicSupervisor.stop

const startTask = <A, E, R>(
  supervisor: GenServer.Destination<TaskSupervisorRef>,
  program: Effect.Effect<A, E, R>,
  options: ChildOptions
): Effect.Effect<Pid, AsyncError, Needs<R>> => {
  const { label = "task", ...rest } = options
  const spec = { restart: "temporary" as const, ...rest, id: label, start: Process.spawnLink(program, { label }) }
  const started = DynamicSupervisor.startChild(supervisor, spec)
  return started as Effect.Effect<Pid, AsyncError, Needs<R>> // a spawn is never ignored
}
