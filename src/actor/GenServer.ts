/**
 * The generic server: state that one process owns, behind calls that are answered and casts that are not.
 *
 * A server is defined once, as a value (`define`), and started any number of times. Its callbacks get the state and say
 * with `Ok`, `Reply`, `NoReply`, `Fail` or `Stop` what follows; each may return that directly or as an Effect. What it
 * returns directly costs no Effect: a server with synchronous callbacks takes some 128 messages a turn.
 *
 * Requests are classes whose success and error types are known (`Request.TaggedClass`, or `Schema.TaggedRequest` where
 * they may travel later), so that the type of the answer follows from the request. A callback that fails or dies is a
 * crash; an error that the caller should get is said with `Fail`.
 *
 * Services: what `init` needs from `R`, the other callbacks may use too, beside the process' own `Scope` and `Self`.
 *
 * Spans: what a traced caller asks is handled in a span `<name>.<Tag>`, the child of the caller's; what it casts in a
 * trace of its own that links to the sender's span, which may be long over. Both carry `actor.pid` and `actor.label`
 * and fail as the callback or its answer does.
 *
 * [1] OTP, lib/stdlib/src/gen_server.erl; Elixir, lib/elixir/lib/gen_server.ex. Where we differ: index.ts.
 */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Request from "effect/Request"
import type * as Scope from "effect/Scope"
import {
  AlreadyStarted,
  type CallError,
  type CallTimeout,
  NoProcess,
  type ProcessExited,
  type StartError,
  StartFailed
} from "./ActorError.ts"
import * as ExitReason from "./ExitReason.ts"
import * as Envelope from "./internal/envelope.ts"
import * as internal from "./internal/process.ts"
import { selfOf } from "./internal/self.ts"
import { type AnyCallbacks, Next, Server, Start } from "./internal/server.ts"
import type { ChildSpec } from "./internal/supervision.ts"
import * as Timers from "./internal/timers.ts"
import type * as Mailbox from "./Mailbox.ts"
import type { Pid } from "./Pid.ts"
import * as Process from "./Process.ts"
import * as Registry from "./Registry.ts"

/** What a server takes. Leave out what it does not. */
export interface Protocol {
  /** The requests: a union of classes. */
  readonly call?: AnyRequest
  readonly cast?: unknown
  /** Messages that come by `Process.send` and the like, beside the signals that any server may get. */
  readonly info?: unknown
  /** What `{ continue }` hands to `handleContinue`. */
  readonly continue?: unknown
}

// Request is invariant in its answer, so no type but any stands for all of them.
// biome-ignore lint/suspicious/noExplicitAny: as above
export type AnyRequest = Request.Request<any, any> & { readonly _tag: string }

type CallOf<P extends Protocol> = P extends { readonly call: infer A extends AnyRequest } ? A : never
type CastOf<P extends Protocol> = P extends { readonly cast: infer A } ? A : never
type InfoOf<P extends Protocol> = P extends { readonly info: infer A } ? A : never
type ContinueOf<P extends Protocol> = P extends { readonly continue: infer A } ? A : never

/** Address of a server: a pid that knows which requests, casts and messages it takes. */
export interface ServerRef<in Call = never, in Cast = never, in Info = never> extends Pid<Info> {
  readonly _Server?: (call: Call, cast: Cast) => void
}

/** The address of a server of protocol `P`. */
export type RefOf<P extends Protocol> = ServerRef<CallOf<P>, CastOf<P>, InfoOf<P>>

/** A server, or the name of one. */
export type Destination<S extends Pid> = S | Registry.Via<S>

/** The idle time-out that the last callback asked for has passed without a message. */
export interface Timeout {
  readonly _tag: "Timeout"
}

/** What every server may find in `handleInfo`. */
export type Signal = Process.Signal | Timeout

/** A caller that waits for an answer. Give it to `reply`, from anywhere; a second answer is dropped. */
export interface From<in Success = never, in Failure = never> {
  readonly _From?: (success: Success, failure: Failure) => void
  /** True when it has been answered, or its caller has given up. */
  readonly isAnswered: boolean
}

export interface NextOptions<Continue = unknown> {
  /** Sends `Timeout` to `handleInfo` unless a message comes first. */
  readonly timeout?: Duration.DurationInput
  /** Runs `handleContinue` with this before the next message. */
  readonly continue?: Continue
}

/** `init` succeeded: the first state. */
export const Ok = <S, C = never>(state: S, options?: NextOptions<C>): Start<S, C> =>
  new Start("ok", state, undefined, options)

/** `init` chooses not to run: `start` fails with `StartIgnored`. */
export const Ignore: Start<never, never> = new Start<never, never>("ignore", undefined as never, undefined, undefined)

/** Answers the request with `value` and goes on. */
export const Reply = <S, A, C = never>(value: A, state: S, options?: NextOptions<C>): Next<S, A, never, C> =>
  new Next(state, "success", value, null, options)

/** Answers the request with a typed error, and goes on. */
export const Fail = <S, E, C = never>(error: E, state: S, options?: NextOptions<C>): Next<S, never, E, C> =>
  new Next(state, "failure", error, null, options)

/** Goes on. In `handleCall`: the answer comes later, by `reply`. */
export const NoReply = <S, C = never>(state: S, options?: NextOptions<C>): Next<S, never, never, C> =>
  new Next(state, "none", undefined, null, options)

/**
 * Ends the server with `reason` after `terminate`; in `init`, before it has begun.
 *
 * The caller of a request, if it gets no `answer`, gets `ProcessExited`.
 */
export const Stop: {
  (reason: ExitReason.ExitReason): Start<never, never>
  <S>(reason: ExitReason.ExitReason, state: S): Next<S, never, never, never>
  <S, A>(reason: ExitReason.ExitReason, state: S, answer: { readonly reply: A }): Next<S, A, never, never>
} = (reason: ExitReason.ExitReason, ...rest: [] | [unknown] | [unknown, { readonly reply: unknown }]) => {
  if (rest.length === 0) return new Start("stop", undefined, reason, undefined) as never
  const [state, answer] = rest
  return new Next(state, answer === undefined ? "none" : "success", answer?.reply, reason, undefined) as never
}

export type { Next, Start }

type Result<A, R> = A | Effect.Effect<A, unknown, R>

/** What callbacks have at hand: the services that `init` took, and those of the process. */
type Inside<R> = NoInfer<R> | Scope.Scope | Process.Self

/** The clauses of `handleCall`: one for each request, by its tag. */
export type CallClauses<P extends Protocol, S, R> = {
  readonly [Tag in CallOf<P>["_tag"]]: (
    request: Extract<CallOf<P>, { readonly _tag: Tag }>,
    state: S,
    from: FromOf<Extract<CallOf<P>, { readonly _tag: Tag }>>
  ) => Result<NextOf<Extract<CallOf<P>, { readonly _tag: Tag }>, S, ContinueOf<P>>, R>
}

export type FromOf<A extends AnyRequest> = From<Request.Request.Success<A>, Request.Request.Error<A>>
type NextOf<A extends AnyRequest, S, C> = Next<S, Request.Request.Success<A>, Request.Request.Error<A>, C>

/** The callbacks of a server and how its processes run. Only `init` and `name` are always there. */
export type Callbacks<P extends Protocol, Args, S, E, R> = {
  /** What its processes are called, unless started with another label. */
  readonly name: string
  /** Runs in the new process; `start` waits for it. Take services here. */
  readonly init: (args: Args) => Start<S, ContinueOf<P>> | Effect.Effect<Start<S, ContinueOf<P>>, E, R>
  readonly handleInfo?: (
    message: InfoOf<P> | Signal,
    state: S
  ) => Result<Next<S, never, never, ContinueOf<P>>, Inside<R>>
  /**
   * The last word, when a callback said `Stop` or crashed, `GenServer.stop` was called, or (only with `trapExit`) its
   * parent wants it to end. What must happen in any case belongs into the process' `Scope`.
   */
  readonly terminate?: (
    reason: ExitReason.ExitReason,
    state: S
    // biome-ignore lint/suspicious/noConfusingVoidType: a function may return nothing, which only void says
  ) => void | Effect.Effect<unknown, unknown, Inside<R>>
  /** Exit signals of linked processes come to `handleInfo`. Default false. */
  readonly trapExit?: boolean
  readonly mailbox?: Mailbox.Options
  /** What the supervision tree shows of its state. Called between two messages when somebody looks: be quick. */
  readonly inspect?: (state: S) => Record<string, unknown>
  /** How many bytes the state holds, as far as is known: shown beside it in the tree. As quick as `inspect`. */
  readonly memoryBytes?: (state: S) => number
} & (P extends { readonly call: AnyRequest } ? { readonly handleCall: CallClauses<P, S, Inside<R>> } : unknown) &
  (P extends { readonly cast: infer A }
    ? {
        readonly handleCast: (message: A, state: S) => Result<Next<S, never, never, ContinueOf<P>>, Inside<R>>
      }
    : unknown) &
  (P extends { readonly continue: infer A }
    ? {
        readonly handleContinue: (continuation: A, state: S) => Result<Next<S, never, never, A>, Inside<R>>
      }
    : unknown)

/** A server, defined and not started. */
export interface Definition<in out P extends Protocol, in Args, out E, out R> {
  readonly name: string
  readonly _P?: (protocol: P) => P
  readonly _Args?: (args: Args) => void
  readonly _E?: E
  readonly _R?: R
  /** @internal */
  readonly callbacks: AnyCallbacks
}

// What the doors below take once its types have done their work.
// biome-ignore lint/suspicious/noExplicitAny: P is invariant, so no type but any stands for all definitions
type AnyDefinition = Definition<any, any, any, any>

/**
 * Defines a server of protocol `P`.
 *
 * @example
 * class Get extends Request.TaggedClass("Get")<number, never, {}> {}
 * type CounterProtocol = { call: Get; cast: "increment" }
 * const Counter = GenServer.define<CounterProtocol>()({
 *   name: "counter",
 *   init: (first: number) => GenServer.Ok(first),
 *   handleCall: { Get: (_, count) => GenServer.Reply(count, count) },
 *   handleCast: (_, count) => GenServer.NoReply(count + 1)
 * })
 */
export const define =
  <P extends Protocol>() =>
  <Args, S, E = never, R = never>(callbacks: Callbacks<P, Args, S, E, R>): Definition<P, Args, E, R> => ({
    name: callbacks.name,
    callbacks: callbacks as unknown as AnyCallbacks
  })

/** @internal `define` for processes that have children: they trap exits and are shown as supervisors. */
export const defineSupervisor =
  <P extends Protocol>() =>
  <Args, S, E = never, R = never>(callbacks: Callbacks<P, Args, S, E, R>): Definition<P, Args, E, R> => ({
    name: callbacks.name,
    callbacks: { ...callbacks, trapExit: true, isSupervisor: true } as unknown as AnyCallbacks
  })

/** The specification of a server as a child of a supervisor. Its id is by default the definition's name. */
export const childSpec = <P extends Protocol, Args, E, R>(
  definition: Definition<P, Args, E, R>,
  args: Args,
  overrides: Partial<Omit<ChildSpec, "start">> & StartOptions = {}
): ChildSpec<Exclude<R, Scope.Scope | Process.Self> | Process.Self, RefOf<P>> => {
  const { label, mailbox, name, timeout, ...spec } = overrides // `shutdown` is the supervisor's
  const id = spec.id ?? definition.name
  const options = { label: label ?? id, mailbox, name, timeout } as StartOptions
  return { ...spec, id, start: startLink(definition, args, options) }
}

export interface StartOptions {
  /** Registers it under this name before `init` runs; `AlreadyStarted` if the name is somebody's. */
  readonly name?: Registry.Via
  /** Default the definition's name. */
  readonly label?: string
  /** How long `init` may take. Default: as long as it likes. */
  readonly timeout?: Duration.DurationInput
  /** Default the definition's. */
  readonly mailbox?: Mailbox.Options
  /** How `start`'s scope stops it: time to end, then it is killed. Default 5 seconds; `infinity` for supervisors. */
  readonly shutdown?: Process.Shutdown
}

/**
 * Starts a server in a scope and waits for its `init`. Closing the scope asks it to shut down (through `terminate`, if
 * it traps exits) and waits for that.
 */
export const start = <P extends Protocol, Args, E, R>(
  definition: Definition<P, Args, E, R>,
  args: Args,
  options?: StartOptions
): Effect.Effect<RefOf<P>, StartError, Exclude<R, Scope.Scope | Process.Self> | Scope.Scope> =>
  Process.inScope(launch(definition, args, options, false), options?.shutdown) as never

/**
 * Starts a server that is linked to this process, its parent, and waits for its `init`. For children of supervisors.
 *
 * If `init` does not succeed, the parent gets the error and no exit signal.
 */
export const startLink = <P extends Protocol, Args, E, R>(
  definition: Definition<P, Args, E, R>,
  args: Args,
  options?: StartOptions
): Effect.Effect<RefOf<P>, StartError, Exclude<R, Scope.Scope | Process.Self> | Process.Self> =>
  launch(definition, args, options, true) as never

export interface CallOptions {
  /** How long to wait for the answer. Default 5 seconds. `Duration.infinity` waits as long as the server lives. */
  readonly timeout?: Duration.DurationInput
}

const callTimeoutMs = 5000 // OTP's default; long for a healthy server, short for a person who waits

/**
 * Asks a server and waits for the answer: the request's success, or its error.
 *
 * Fails with `NoProcess` if nobody is there, `CallTimeout`, `ProcessExited` if the server ends first, `MailboxFull` if
 * its mailbox rejects or drops the request. A request is served at most once, and not at all once its caller has gone
 * while it still waited.
 *
 * A callback that asks its own server dies with what is wrong. In a fiber that it forks (which is what
 * `Effect.timeout`, `Effect.race` and concurrent `Effect.all` do) the call might be meant for later, so it is let
 * through, and ends by its time-out if the callback waits for it; the message of `CallTimeout` says then where it came
 * from. Limit a call by its `timeout` option: that needs no other fiber.
 */
export const call = <A extends AnyRequest>(
  server: Destination<ServerRef<A, never, never>>,
  request: A,
  options?: CallOptions
): Effect.Effect<Request.Request.Success<A>, Request.Request.Error<A> | CallError> =>
  ask(server, Envelope.call, request, options) as never

/**
 * Tells a server something and does not wait for it to be done; waits only while the mailbox is full and says
 * `backpressure`.
 *
 * True when it was put into the mailbox, which is no promise that it will be served.
 */
export const cast = <A>(server: Destination<ServerRef<never, A, never>>, message: A): Effect.Effect<boolean> => {
  if (isVia(server)) {
    return Effect.suspend(() => {
      const pid = Registry.unsafeWhereis(server.registry, server.key)
      return pid === null ? Effect.succeed(false) : Process.deliver(pid, Envelope.cast, message)
    })
  }
  return Process.deliver(server, Envelope.cast, message)
}

/** `cast` for synchronous code: never waits, so false also when there is no room. */
export const unsafeOffer = <A>(server: Destination<ServerRef<never, A, never>>, message: A): boolean => {
  const process = isVia(server) ? Registry.unsafeWhereis(server.registry, server.key) : server
  return process !== null && Process.impl(process).offerNow(Envelope.cast, message)
}

/** Answers a request whose callback said `NoReply`; from any fiber. False when it has been answered or given up. */
export const reply = <A>(from: From<A, never>, value: A): Effect.Effect<boolean> =>
  Effect.sync(() => unsafeReply(from, value))

export const unsafeReply = <A>(from: From<A, never>, value: A): boolean =>
  (from as unknown as Envelope.CallEnvelope).answer(Effect.succeed(value))

/** Answers a request with its typed error. */
export const replyFail = <E>(from: From<never, E>, error: E): Effect.Effect<boolean> =>
  Effect.sync(() => (from as unknown as Envelope.CallEnvelope).answer(Effect.fail(error)))

/**
 * Asks a server to stop with `reason` (default `normal`) after what is in its mailbox before this, and waits until it
 * has ended.
 *
 * `terminate` runs. Fails with `CallTimeout` if it takes longer than the time-out (default: as long as it likes),
 * `NoProcess` if nobody is there, `ProcessExited` if it ended for another reason, such as a crash on the way.
 */
export const stop = (
  server: Destination<Pid>,
  reason: ExitReason.ExitReason = { _tag: "normal" },
  options?: CallOptions
): Effect.Effect<void, NoProcess | CallTimeout | ProcessExited> =>
  Effect.suspend(() => {
    const asked = ask(server, Envelope.system, (running: Server) => running.stop(reason), {
      timeout: options?.timeout ?? Number.POSITIVE_INFINITY
    }) as Effect.Effect<unknown, CallError>
    return asked.pipe(
      Effect.catchTags({
        ProcessExited: (error) => (error.reason._tag === reason._tag ? Effect.void : Effect.fail(error)),
        MailboxFull: () => Effect.void // cannot be: system requests are signals
      }),
      Effect.asVoid
    )
  })

/** The process of a destination now, or null. */
export const whereis = <S extends Pid>(server: Destination<S>): S | null =>
  isVia(server) ? (Registry.unsafeWhereis(server.registry, server.key) as S | null) : server

/** @internal Sends a request of `kind` and waits. One asynchronous step and one timer node; no fiber, no finalizer. */
export const ask = (
  server: Destination<Pid>,
  kind: Envelope.Kind,
  request: unknown,
  options: CallOptions | undefined
): Effect.Effect<unknown, unknown> =>
  Effect.withFiberRuntime((fiber) => {
    const pid = isVia(server) ? Registry.unsafeWhereis(server.registry, server.key) : server
    if (pid === null || !Process.impl(pid).isAlive) return Effect.fail(new NoProcess({ target: describe(server) }))
    const process = Process.impl(pid)
    if (process.behaviour === null) return Effect.die(new TypeError(`${pid} is a plain process and answers nothing`))
    const deadlock = deadlockOf(fiber, process)
    if (deadlock !== null) return Effect.die(new Error(deadlock))
    const timeoutMs = options?.timeout === undefined ? callTimeoutMs : Timers.millis(options.timeout)
    const timers = Timers.ofServices(fiber.currentDefaultServices)
    return Effect.async<unknown, unknown>((resume) => {
      const envelope = new Envelope.CallEnvelope(kind, request, pid, timeoutMs, fiber, resume)
      if (timeoutMs !== Number.POSITIVE_INFINITY) timers.set(envelope, timeoutMs)
      if (kind === Envelope.system) process.signalEnvelope(envelope)
      else if (!process.offer(envelope)) admitLater(process, envelope)
    })
  })

/**
 * Why `fiber` would wait for ever if it asked `process`, or null: it is the server's own, or runs the `init` of a child
 * that this supervisor waits for. A fiber that a server has forked beside its own may well ask it.
 */
const deadlockOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>, process: internal.ProcessImpl): string | null => {
  const caller = selfOf(fiber)
  if (caller === null || caller.fiber !== fiber) return null
  if (caller === process) return `${process} called itself, and would wait for its own answer`
  let starting = caller
  while (starting.status === "starting" && starting.parent?.isSupervisor) {
    if (starting.parent === process) {
      return `${caller} called its supervisor ${process} in init, which waits for that init; do it in handleContinue`
    }
    starting = starting.parent
  }
  return null
}

const admitLater = (process: internal.ProcessImpl, envelope: Envelope.CallEnvelope): void => {
  if (process.mailbox.overflow === "backpressure") {
    process.mailbox.park(envelope)
  } else {
    process.mailbox.reject()
    envelope.onDropped(process.mailbox.capacity)
  }
}

const isVia = <S extends Pid>(server: Destination<S>): server is Registry.Via<S> =>
  (server as { readonly _tag?: unknown })._tag === "Via"

/** @internal What errors call a destination. */
export const describe = (server: Destination<Pid>): string => (isVia(server) ? `"${server.key}"` : String(server))

/** Starts a definition's process; the answer comes when `init` has decided. */
const launch = (
  definition: AnyDefinition,
  args: unknown,
  options: StartOptions | undefined,
  isLinked: boolean
): Effect.Effect<Pid<unknown>, StartError, never> =>
  Effect.withFiberRuntime((fiber, status) => {
    const parent = isLinked ? Process.selfOrDie(fiber, "GenServer.startLink") : null
    const { callbacks } = definition
    const label = options?.label ?? definition.name
    const name = options?.name
    const owner = name === undefined ? null : Registry.unsafeWhereis(name.registry, name.key)
    if (owner !== null) return Effect.fail(new AlreadyStarted({ key: (name as Registry.Via).key, pid: owner }))
    const process = new internal.ProcessImpl({
      label,
      mailbox: options?.mailbox ?? callbacks.mailbox,
      trapExit: callbacks.trapExit,
      isSupervisor: callbacks.isSupervisor,
      parent
    })
    const refusal = name === undefined ? null : Registry.unsafeRegister(name.registry, name.key, process, undefined)
    if (refusal !== null) {
      const reason = ExitReason.crash(Cause.fail(refusal))
      process.finish(reason)
      return Effect.fail(new StartFailed({ label, reason }))
    }
    const server = new Server(process, callbacks, args)
    process.behaviour = server
    internal.launch(process, server.run, fiber, status) // begins in a later turn, so it is linked before
    parent?.link(process)
    return server.started(parent, label, options?.timeout, fiber.currentDefaultServices)
  })
