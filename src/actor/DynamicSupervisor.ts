/**
 * A supervisor whose children come and go by the thousand: sessions, connections, tenants.
 *
 * It starts with none, knows them by pid and not by id, restarts each for itself (`one_for_one`), and stops them all at
 * once. Everything but `stopping` is O(1) in the number of children.
 *
 * [1] Elixir, lib/elixir/lib/dynamic_supervisor.ex.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Request from "effect/Request"
import type * as Scope from "effect/Scope"
import { type CallError, ChildNotFound, InvalidSignificant, MaxChildren, type StartError } from "./ActorError.ts"
import * as ExitReason from "./ExitReason.ts"
import * as GenServer from "./GenServer.ts"
import type { ProcessImpl } from "./internal/process.ts"
import {
  Child,
  type ChildSpec,
  type Intensity,
  Restarts,
  startChild as startOne,
  stopChild as stopOne,
  stopTogether
} from "./internal/supervision.ts"
import * as Timers from "./internal/timers.ts"
import type { Pid } from "./Pid.ts"
import * as Process from "./Process.ts"
import type * as Registry from "./Registry.ts"
import * as Supervisor from "./Supervisor.ts"

export interface Options extends Intensity {
  /** Children that may be there at once. Default 100,000. */
  readonly maxChildren?: number
  readonly label?: string
  readonly name?: Registry.Via
}

/** Address of a dynamic supervisor. */
export interface DynamicSupervisorRef extends Pid {
  readonly _DynamicSupervisor?: true
}

type Needs<R> = Exclude<R, Scope.Scope | Process.Self>

/**
 * Starts a dynamic supervisor in a scope. Closing the scope stops its children, all at once, and waits for that.
 *
 * @example
 * const sessions = yield* DynamicSupervisor.start({ maxChildren: 10_000 })
 * const session = GenServer.childSpec(Session, user, { restart: "temporary" })
 * const pid = yield* DynamicSupervisor.startChild(sessions, session)
 */
export const start = (options: Options = {}): Effect.Effect<DynamicSupervisorRef, StartError, Scope.Scope> =>
  GenServer.start(definition, options, startOptions(options)) as never

/** Starts a dynamic supervisor as a child of this process. */
export const startLink = (options: Options = {}): Effect.Effect<DynamicSupervisorRef, StartError, Process.Self> =>
  GenServer.startLink(definition, options, startOptions(options)) as never

export const childSpec = (
  id: string,
  options: Options = {},
  overrides?: Partial<Omit<ChildSpec, "id" | "start">>
): ChildSpec<Process.Self> => ({
  id,
  type: "supervisor",
  start: startLink({ label: id, ...options }),
  ...overrides
})

/** A dynamic supervisor that lives as long as its layer. */
export const layer = <I>(tag: Context.Tag<I, DynamicSupervisorRef>, options?: Options): Layer.Layer<I, StartError> =>
  Layer.scoped(tag, start(options))

/**
 * Starts a child, in the supervisor's process with the caller's services. Its pid; null if it chose not to run.
 *
 * `id` is only what the tree shows and need not be unique. Fails with `MaxChildren` at the limit, `InvalidSignificant`
 * for a child that is significant (there is no `autoShutdown` here), or as the start did.
 */
export const startChild = <P extends Pid = Pid, R = Process.Self>(
  supervisor: GenServer.Destination<DynamicSupervisorRef>,
  spec: ChildSpec<R, P>
): Effect.Effect<P | null, InvalidSignificant | MaxChildren | StartError | CallError, Needs<R>> =>
  Effect.flatMap(Supervisor.callerContext<R>(), (context) =>
    ask(supervisor, new StartChild({ child: new Child(Supervisor.withContext(spec, context)) }))
  ) as never

/** Stops a child by its shutdown rule and forgets it; one that is between two lives goes by the pid of the last. */
export const terminateChild = (
  supervisor: GenServer.Destination<DynamicSupervisorRef>,
  pid: Pid
): Effect.Effect<void, ChildNotFound | CallError> => ask(supervisor, new TerminateChild({ pid }))

export const whichChildren = (
  supervisor: GenServer.Destination<DynamicSupervisorRef>
): Effect.Effect<ReadonlyArray<Supervisor.ChildInfo>, CallError> => ask(supervisor, new WhichChildren())

export const countChildren = (
  supervisor: GenServer.Destination<DynamicSupervisorRef>
): Effect.Effect<Supervisor.ChildCounts, CallError> => Effect.map(whichChildren(supervisor), Supervisor.countOf)

export const stop = GenServer.stop

class StartChild extends Request.TaggedClass("StartChild")<
  Pid | null,
  InvalidSignificant | MaxChildren | StartError,
  { readonly child: Child }
> {}
class TerminateChild extends Request.TaggedClass("TerminateChild")<void, ChildNotFound, { readonly pid: Pid }> {}
class WhichChildren extends Request.TaggedClass("WhichChildren")<ReadonlyArray<Supervisor.ChildInfo>, never, object> {}

interface TryAgain {
  readonly _tag: "TryAgain"
  readonly lastPid: Pid
}

interface DynamicProtocol extends GenServer.Protocol {
  readonly call: StartChild | TerminateChild | WhichChildren
  readonly info: TryAgain
}

const ask = <A extends DynamicProtocol["call"]>(
  supervisor: GenServer.Destination<DynamicSupervisorRef>,
  request: A
): Effect.Effect<Request.Request.Success<A>, Request.Request.Error<A> | CallError> =>
  GenServer.call(supervisor as GenServer.ServerRef<A>, request, { timeout: Number.POSITIVE_INFINITY })

/** The children by pid, and those between two lives. */
class Crowd {
  readonly supervisor: ProcessImpl
  readonly maxChildren: number
  readonly byPid = new Map<Pid, Child>()
  /** By the pid that they had last. */
  readonly restarting = new Map<Pid, Child>()
  readonly #restarts: Restarts

  constructor(supervisor: ProcessImpl, options: Options, timers: Timers.Timers) {
    this.supervisor = supervisor
    this.maxChildren = options.maxChildren ?? maxChildrenDefault
    if (!(this.maxChildren >= 0)) throw new RangeError(`maxChildren is 0 or more; not ${this.maxChildren}`)
    this.#restarts = new Restarts(supervisor, timers, options)
  }

  get size(): number {
    return this.byPid.size + this.restarting.size
  }

  all(): Array<Child> {
    return [...this.byPid.values(), ...this.restarting.values()]
  }

  start(child: Child): Effect.Effect<void, StartError> {
    return Effect.map(startOne(this.supervisor, child), () => {
      if (child.pid !== null) this.byPid.set(child.pid, child)
    })
  }

  /** A child has ended by itself. The reason for which the supervisor must end, or null. */
  ended(child: Child, reason: ExitReason.ExitReason): Effect.Effect<ExitReason.ExitReason | null> {
    const pid = child.pid as Pid
    this.byPid.delete(pid)
    child.pid = null
    child.lastExit = reason
    return child.isToRestart(reason) ? this.restart(child, pid, reason) : Effect.succeed(null)
  }

  restart(child: Child, lastPid: Pid, reason: ExitReason.ExitReason): Effect.Effect<ExitReason.ExitReason | null> {
    this.restarting.delete(lastPid)
    const startAgain = Effect.catchAll(this.start(child), () =>
      Effect.sync(() => {
        child.isRestarting = true
        this.restarting.set(lastPid, child)
        this.#restarts.tryAgain({ _tag: "TryAgain", lastPid } satisfies TryAgain)
      })
    )
    return this.#restarts.run(child, reason, "restart", startAgain)
  }
}

const maxChildrenDefault = 100_000 // processes; some 100 MB (docs/decisions.md)

type CrowdNext = GenServer.Next<Crowd, never, never, never>

const definition = GenServer.defineSupervisor<DynamicProtocol>()({
  name: "dynamic supervisor",
  init: (options: Options) =>
    Effect.withFiberRuntime<GenServer.Start<Crowd, never>>((fiber) => {
      const supervisor = Process.selfOrDie(fiber, "DynamicSupervisor")
      const crowd = new Crowd(supervisor, options, Timers.ofServices(fiber.currentDefaultServices))
      supervisor.children = () => crowd.all()
      return Effect.succeed(GenServer.Ok(crowd))
    }),
  handleCall: {
    StartChild: ({ child }, crowd) => {
      if (child.isSignificant) return GenServer.Fail(new InvalidSignificant({ id: child.id, why: "dynamic" }), crowd)
      if (crowd.size >= crowd.maxChildren) {
        return GenServer.Fail(new MaxChildren({ limit: crowd.maxChildren }), crowd)
      }
      return Effect.match(crowd.start(child), {
        onSuccess: () => GenServer.Reply(child.pid as Pid | null, crowd),
        onFailure: (error) => GenServer.Fail(error, crowd)
      })
    },
    TerminateChild: ({ pid }, crowd) => {
      const child = crowd.byPid.get(pid) ?? crowd.restarting.get(pid)
      if (child === undefined) return GenServer.Fail(new ChildNotFound({ id: String(pid) }), crowd)
      crowd.byPid.delete(pid)
      crowd.restarting.delete(pid)
      return Effect.as(stopOne(crowd.supervisor, child), GenServer.Reply(undefined, crowd))
    },
    WhichChildren: (_, crowd) =>
      GenServer.Reply(
        crowd.all().map(({ id, isRestarting, pid, type }) => ({ id, isRestarting, pid, type })),
        crowd
      )
  },
  handleInfo: (message, crowd) => {
    if (message._tag === "Exit") {
      const child = message.pid === null ? undefined : crowd.byPid.get(message.pid)
      return child === undefined ? GenServer.NoReply(crowd) : goOn(crowd, crowd.ended(child, message.reason))
    }
    if (message._tag === "TryAgain") {
      const child = crowd.restarting.get(message.lastPid)
      if (child !== undefined) {
        return goOn(crowd, crowd.restart(child, message.lastPid, child.lastExit ?? ExitReason.shutdown))
      }
    }
    return GenServer.NoReply(crowd)
  },
  terminate: (_, crowd) =>
    Effect.suspend(() => {
      const children = crowd.all()
      crowd.restarting.clear()
      return Effect.map(stopTogether(crowd.supervisor, children), () => crowd.byPid.clear())
    })
})

const goOn = (crowd: Crowd, verdict: Effect.Effect<ExitReason.ExitReason | null>): Effect.Effect<CrowdNext> =>
  Effect.map(verdict, (reason) => (reason === null ? GenServer.NoReply(crowd) : GenServer.Stop(reason, crowd)))

const startOptions = (options: Options): GenServer.StartOptions => ({
  label: options.label ?? "dynamic supervisor",
  ...(options.name === undefined ? {} : { name: options.name })
})
