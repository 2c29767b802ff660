/**
 * State behind a process and nothing else: functions go in, values come out. A `Ref` that can be supervised, named and
 * looked at.
 *
 * The functions run in the agent, one after the other; one that throws crashes it. Slow work belongs into the caller.
 *
 * [1] Elixir, lib/elixir/lib/agent.ex.
 */
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Request from "effect/Request"
import type * as Scope from "effect/Scope"
import type { CallError, StartError } from "./ActorError.ts"
import * as GenServer from "./GenServer.ts"
import type { ChildSpec } from "./internal/supervision.ts"
import type { Pid } from "./Pid.ts"
import type * as Process from "./Process.ts"

/** Address of an agent that holds an `S`. */
export interface AgentRef<in out S> extends Pid {
  readonly _S?: (state: S) => S
}

/**
 * Starts an agent in a scope, whose first state is what `initial` returns.
 *
 * @example
 * const hits = yield* Agent.start(() => 0)
 * yield* Agent.update(hits, (n) => n + 1)
 * const n = yield* Agent.get(hits, (n) => n)
 */
export const start = <S>(
  initial: () => S,
  options?: GenServer.StartOptions
): Effect.Effect<AgentRef<S>, StartError, Scope.Scope> => GenServer.start(definition, initial, options) as never

/** Starts an agent as a child of this process. */
export const startLink = <S>(
  initial: () => S,
  options?: GenServer.StartOptions
): Effect.Effect<AgentRef<S>, StartError, Process.Self> => GenServer.startLink(definition, initial, options) as never

export const childSpec = <S>(
  id: string,
  initial: () => S,
  overrides?: Partial<Omit<ChildSpec, "start">> & GenServer.StartOptions
): ChildSpec<Process.Self> => GenServer.childSpec(definition, initial, { id, ...overrides })

export const layer = <I, S>(
  tag: Context.Tag<I, AgentRef<S>>,
  initial: () => S,
  options?: GenServer.StartOptions
): Layer.Layer<I, StartError> => Layer.scoped(tag, start(initial, options))

/** What `f` makes of the state. */
export const get = <S, A>(
  agent: GenServer.Destination<AgentRef<S>>,
  f: (state: S) => A,
  options?: GenServer.CallOptions
): Effect.Effect<A, CallError> => run(agent, (state) => [f(state), state], options)

/** Changes the state, and waits until that is done. */
export const update = <S>(
  agent: GenServer.Destination<AgentRef<S>>,
  f: (state: S) => S,
  options?: GenServer.CallOptions
): Effect.Effect<void, CallError> => run(agent, (state) => [undefined, f(state)], options)

/** Changes the state and answers something, in one step. */
export const getAndUpdate = <S, A>(
  agent: GenServer.Destination<AgentRef<S>>,
  f: (state: S) => readonly [answer: A, next: S],
  options?: GenServer.CallOptions
): Effect.Effect<A, CallError> => run(agent, f, options)

/** Changes the state some time. */
export const cast = <S>(agent: GenServer.Destination<AgentRef<S>>, f: (state: S) => S): Effect.Effect<boolean> =>
  GenServer.cast(agent as GenServer.ServerRef<never, Update>, f as Update)

export const stop = GenServer.stop

type Update = (state: unknown) => unknown

class Run extends Request.TaggedClass("Run")<
  unknown,
  never,
  { readonly f: (state: unknown) => readonly [unknown, unknown] }
> {}

interface AgentProtocol extends GenServer.Protocol {
  readonly call: Run
  readonly cast: Update
}

const definition = GenServer.define<AgentProtocol>()({
  name: "agent",
  init: (initial: () => unknown) => GenServer.Ok(initial()),
  handleCall: {
    Run: ({ f }, state) => {
      const [answer, next] = f(state)
      return GenServer.Reply(answer, next)
    }
  },
  handleCast: (f, state) => GenServer.NoReply(f(state))
})

const run = <S, A>(
  agent: GenServer.Destination<AgentRef<S>>,
  f: (state: S) => readonly [A, S],
  options: GenServer.CallOptions | undefined
): Effect.Effect<A, CallError> =>
  GenServer.call(agent as GenServer.ServerRef<Run>, new Run({ f: f as never }), options) as Effect.Effect<A, CallError>
