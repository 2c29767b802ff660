/**
 * The process that keeps others running: starts its children in order, restarts those that crash, and stops them in
 * reverse.
 *
 * - `one_for_one` restarts the child that ended; `rest_for_one` also those started after it; `one_for_all` all.
 * - More than `maxRestarts` within `maxSeconds` and it gives up: it stops its children and ends with `shutdown`, so
 *   that its own supervisor decides.
 * - A child whose restart fails is tried again, after a turn of the event loop and what is in the mailbox by then. Each
 *   try counts as another restart.
 * - A start of the supervisor that fails half-way stops the children that it had started.
 *
 * Not to be confused with `effect/Supervisor`, which watches fibers and restarts nothing.
 *
 * [1] OTP, lib/stdlib/src/supervisor.erl.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Request from "effect/Request"
import * as Scope from "effect/Scope"
import {
  type CallError,
  ChildAlreadyPresent,
  ChildNotFound,
  ChildRunning,
  type InvalidSignificant,
  type StartError,
  StartFailed
} from "./ActorError.ts"
import * as ExitReason from "./ExitReason.ts"
import * as GenServer from "./GenServer.ts"
import { type AutoShutdown, Family, type Strategy, type TryAgain } from "./internal/family.ts"
import { Child, type ChildSpec, type Intensity } from "./internal/supervision.ts"
import * as Timers from "./internal/timers.ts"
import * as Tree from "./internal/tree.ts"
import type { Pid } from "./Pid.ts"
import * as Process from "./Process.ts"
import type * as Registry from "./Registry.ts"

export type { AutoShutdown, Strategy } from "./internal/family.ts"
export type { ChildSpec, Restart, Shutdown } from "./internal/supervision.ts"
export type { TreeNode } from "./internal/tree.ts"

export interface Options<R = never> extends Intensity {
  /** Started in this order. */
  readonly children: ReadonlyArray<ChildSpec<R>>
  /** Default `one_for_one`. */
  readonly strategy?: Strategy
  /** Default `never`. */
  readonly autoShutdown?: AutoShutdown
  readonly label?: string
  readonly name?: Registry.Via
}

/** Address of a supervisor. */
export interface SupervisorRef extends Pid {
  readonly _Supervisor?: true
}

/** A child as `whichChildren` lists it. */
export interface ChildInfo {
  readonly id: string
  /** Null when it is not running. */
  readonly pid: Pid | null
  readonly type: "worker" | "supervisor"
  readonly isRestarting: boolean
}

export interface ChildCounts {
  /** Specifications. */
  readonly specs: number
  /** Running processes. */
  readonly active: number
  readonly supervisors: number
  readonly workers: number
}

type Needs<R> = Exclude<R, Scope.Scope | Process.Self>

/**
 * Starts a supervisor and its children in a scope. Closing the scope stops them, the last first, and waits for that.
 *
 * Fails with `StartFailed` when a child does not start; those before it have been stopped then.
 *
 * @example
 * const tree = yield* Supervisor.start({
 *   strategy: "rest_for_one",
 *   children: [GenServer.childSpec(Store, path), GenServer.childSpec(Api, port)]
 * })
 * console.log(yield* Supervisor.tree(tree))
 */
export const start = <R = never>(
  options: Options<R>
): Effect.Effect<SupervisorRef, StartError, Needs<R> | Scope.Scope> =>
  GenServer.start(definition, options as Options, startOptions(options)) as never

/** Starts a supervisor as a child of this process. */
export const startLink = <R = never>(
  options: Options<R>
): Effect.Effect<SupervisorRef, StartError, Needs<R> | Process.Self> =>
  GenServer.startLink(definition, options as Options, startOptions(options)) as never

/** The specification by which one supervisor is a child of another. */
export const childSpec = <R = never>(
  id: string,
  options: Options<R>,
  overrides?: Partial<Omit<ChildSpec, "id" | "start">>
): ChildSpec<Needs<R> | Process.Self> => ({
  id,
  type: "supervisor",
  start: startLink({ label: id, ...options }),
  ...overrides
})

/** A supervisor that lives as long as its layer. */
export const layer = <I, R = never>(
  tag: Context.Tag<I, SupervisorRef>,
  options: Options<R>
): Layer.Layer<I, StartError, Needs<R>> => Layer.scoped(tag, start(options)) as never

/**
 * Starts one more child, the last in order. Its pid; null if it chose not to run.
 *
 * Its start runs in the supervisor's process, with the caller's services. Fails with `ChildAlreadyPresent` if its id is
 * taken, `InvalidSignificant` if it is significant where that means nothing, or as the start did.
 */
export const startChild = Effect.fn("Supervisor.startChild")(function* <R>(
  supervisor: GenServer.Destination<SupervisorRef>,
  spec: ChildSpec<R>
) {
  const context = yield* callerContext<R>()
  return yield* ask(supervisor, new StartChild({ child: new Child(withContext(spec, context)) }))
})

/** Stops a child by its shutdown rule. Its specification stays (unless it is temporary), for `restartChild`. */
export const terminateChild = Effect.fn("Supervisor.terminateChild")(
  (supervisor: GenServer.Destination<SupervisorRef>, id: string): Effect.Effect<void, ChildNotFound | CallError> =>
    ask(supervisor, new TerminateChild({ id }))
)

/** Starts a child that is not running. */
export const restartChild = Effect.fn("Supervisor.restartChild")(
  (
    supervisor: GenServer.Destination<SupervisorRef>,
    id: string
  ): Effect.Effect<Pid | null, ChildNotFound | ChildRunning | StartError | CallError> =>
    ask(supervisor, new RestartChild({ id }))
)

/** Forgets a child that is not running. */
export const deleteChild = Effect.fn("Supervisor.deleteChild")(
  (
    supervisor: GenServer.Destination<SupervisorRef>,
    id: string
  ): Effect.Effect<void, ChildNotFound | ChildRunning | CallError> => ask(supervisor, new DeleteChild({ id }))
)

/** Its children, in start order. */
export const whichChildren = (
  supervisor: GenServer.Destination<SupervisorRef>
): Effect.Effect<ReadonlyArray<ChildInfo>, CallError> => ask(supervisor, new WhichChildren())

export const countChildren = (
  supervisor: GenServer.Destination<SupervisorRef>
): Effect.Effect<ChildCounts, CallError> => Effect.map(whichChildren(supervisor), countOf)

/** Stops a supervisor and its children, and waits. */
export const stop = GenServer.stop

/**
 * The tree below a supervisor as plain data, read without asking any process: also while one is busy or being stopped.
 */
export const tree = (supervisor: GenServer.Destination<Pid>): Effect.Effect<Tree.TreeNode | null> =>
  Effect.sync(() => unsafeTree(supervisor))

/** `tree` for synchronous code. Null when a name leads to nobody. */
export const unsafeTree = (supervisor: GenServer.Destination<Pid>): Tree.TreeNode | null => {
  const pid = GenServer.whereis(supervisor)
  return pid === null ? null : Tree.of(Process.impl(pid))
}

/** The tree as indented lines, for people. */
export const format = Tree.format

/** @internal */
export const countOf = (children: ReadonlyArray<ChildInfo>): ChildCounts => ({
  specs: children.length,
  active: children.filter((child) => child.pid !== null).length,
  supervisors: children.filter((child) => child.type === "supervisor").length,
  workers: children.filter((child) => child.type === "worker").length
})

/** @internal The caller's services, without what would make the child think that it runs in the caller. */
export const callerContext = <R>(): Effect.Effect<Context.Context<Needs<R>>, never, Needs<R>> =>
  Effect.map(Effect.context<never>(), (context) => {
    const services = new Map(context.unsafeMap)
    services.delete(Process.Self.key)
    services.delete(Scope.Scope.key)
    return Context.unsafeMake(services) as Context.Context<Needs<R>>
  }) as never

/** @internal */
export const withContext = <R>(spec: ChildSpec<R>, context: Context.Context<Needs<R>>): ChildSpec =>
  ({ ...spec, start: Effect.provide(spec.start, context) }) as ChildSpec

class StartChild extends Request.TaggedClass("StartChild")<
  Pid | null,
  ChildAlreadyPresent | InvalidSignificant | StartError,
  { readonly child: Child }
> {}
class TerminateChild extends Request.TaggedClass("TerminateChild")<void, ChildNotFound, { readonly id: string }> {}
class RestartChild extends Request.TaggedClass("RestartChild")<
  Pid | null,
  ChildNotFound | ChildRunning | StartError,
  { readonly id: string }
> {}
class DeleteChild extends Request.TaggedClass("DeleteChild")<
  void,
  ChildNotFound | ChildRunning,
  { readonly id: string }
> {}
class WhichChildren extends Request.TaggedClass("WhichChildren")<ReadonlyArray<ChildInfo>, never, object> {}

interface SupervisorProtocol extends GenServer.Protocol {
  readonly call: StartChild | TerminateChild | RestartChild | DeleteChild | WhichChildren
  readonly info: TryAgain
}

const ask = <A extends SupervisorProtocol["call"]>(
  supervisor: GenServer.Destination<SupervisorRef>,
  request: A
): Effect.Effect<Request.Request.Success<A>, Request.Request.Error<A> | CallError> =>
  GenServer.call(supervisor as GenServer.ServerRef<A>, request, { timeout: askTimeout })

const askTimeout = Number.POSITIVE_INFINITY // as OTP: starting and stopping take what the children were given

type FamilyNext = GenServer.Next<Family, never, never, never>

const definition = GenServer.defineSupervisor<SupervisorProtocol>()({
  name: "supervisor",
  init: (options: Options) =>
    Effect.withFiberRuntime<GenServer.Start<Family, never>>((fiber) => {
      const supervisor = Process.selfOrDie(fiber, "Supervisor")
      const family = new Family(supervisor, options, Timers.ofServices(fiber.currentDefaultServices))
      supervisor.children = () => family.children
      return Effect.gen(function* () {
        const stopThem = Effect.suspend(() => family.stopAll(family.children.slice()))
        const failed = yield* Effect.onInterrupt(family.startAll(family.children.slice()), () => stopThem)
        if (failed === null) return GenServer.Ok(family)
        const { child, error } = failed
        yield* stopThem // those that were not started have nothing to stop
        const reason = new StartFailed({
          label: child.id,
          reason: error._tag === "StartFailed" ? error.reason : ExitReason.crash(Cause.fail(error))
        })
        return GenServer.Stop(ExitReason.crash(Cause.fail(reason)))
      })
    }),
  handleCall: {
    StartChild: ({ child }, family) =>
      Effect.gen(function* () {
        const present = family.byId(child.id)
        if (present !== undefined) {
          return GenServer.Fail(new ChildAlreadyPresent({ id: child.id, pid: present.pid }), family)
        }
        const refusal = family.refusalOf(child)
        if (refusal !== null) return GenServer.Fail(refusal, family)
        family.children.push(child)
        const failed = yield* family.startAll([child])
        if (failed === null) return GenServer.Reply(child.pid, family)
        family.remove(child)
        return GenServer.Fail(failed.error, family)
      }),
    TerminateChild: ({ id }, family) => {
      const child = family.byId(id)
      if (child === undefined) return GenServer.Fail(new ChildNotFound({ id }), family)
      return Effect.as(family.stopAll([child]), GenServer.Reply(undefined, family))
    },
    RestartChild: ({ id }, family) => {
      const child = family.byId(id)
      if (child === undefined) return GenServer.Fail(new ChildNotFound({ id }), family)
      if (child.pid !== null || child.isRestarting) {
        return GenServer.Fail(new ChildRunning({ id, isRestarting: child.isRestarting }), family)
      }
      return Effect.map(family.startAll([child]), (failed) =>
        failed === null ? GenServer.Reply(child.pid, family) : GenServer.Fail(failed.error, family)
      )
    },
    DeleteChild: ({ id }, family) => {
      const child = family.byId(id)
      if (child === undefined) return GenServer.Fail(new ChildNotFound({ id }), family)
      if (child.pid !== null || child.isRestarting) {
        return GenServer.Fail(new ChildRunning({ id, isRestarting: child.isRestarting }), family)
      }
      family.remove(child)
      return GenServer.Reply(undefined, family)
    },
    WhichChildren: (_, family) =>
      GenServer.Reply(
        family.children.map(({ id, isRestarting, pid, type }) => ({ id, isRestarting, pid, type })),
        family
      )
  },
  handleInfo: (message, family) => {
    if (message._tag === "Exit") {
      const child = family.byPid(message.pid)
      return child === undefined ? GenServer.NoReply(family) : goOn(family, family.ended(child, message.reason))
    }
    if (message._tag === "TryAgain") {
      const child = family.toTryAgain(message)
      if (child !== undefined) return goOn(family, family.restart(child, child.lastExit ?? ExitReason.shutdown))
    }
    return GenServer.NoReply(family)
  },
  terminate: (_, family) => family.stopAll(family.children.slice())
})

const goOn = (family: Family, verdict: Effect.Effect<ExitReason.ExitReason | null>): Effect.Effect<FamilyNext> =>
  Effect.map(verdict, (reason) => (reason === null ? GenServer.NoReply(family) : GenServer.Stop(reason, family)))

const startOptions = <R>(options: Options<R>): GenServer.StartOptions => ({
  label: options.label ?? "supervisor",
  ...(options.name === undefined ? {} : { name: options.name })
})
