/**
 * Looking into a server that runs, and holding it still: for debugging, tests and code that must see a quiet state.
 *
 * Requests go through the mailbox, after what is in it, but are not counted and are served even when the server is
 * suspended.
 *
 * [1] OTP, lib/stdlib/src/sys.erl.
 */
import type * as Effect from "effect/Effect"
import type { CallError } from "./ActorError.ts"
import type * as ExitReason from "./ExitReason.ts"
import * as GenServer from "./GenServer.ts"
import * as Envelope from "./internal/envelope.ts"
import type { Server, TraceEvent } from "./internal/server.ts"
import type { Pid } from "./Pid.ts"
import * as Process from "./Process.ts"

export type { TraceEvent } from "./internal/server.ts"

/** The state, as it is: not a copy. */
export const getState = (server: GenServer.Destination<Pid>): Effect.Effect<unknown, CallError> =>
  ask(server, (running) => running.state)

/** Replaces the state, and answers the new one. If `replace` throws, this dies of it and the server keeps its state. */
export const replaceState = (
  server: GenServer.Destination<Pid>,
  replace: (state: unknown) => unknown
): Effect.Effect<unknown, CallError> =>
  ask(server, (running) => {
    running.state = replace(running.state)
    return running.state
  })

/** Stops it from taking messages, which wait in its mailbox meanwhile. It still ends when it is asked to. */
export const suspend = (server: GenServer.Destination<Pid>): Effect.Effect<void, CallError> =>
  ask(server, (running) => running.suspend())

export const resume = (server: GenServer.Destination<Pid>): Effect.Effect<void, CallError> =>
  ask(server, (running) => running.resume())

/**
 * Tells `onEvent` what comes in, what is answered, and the state after each message, until `untrace`.
 *
 * `onEvent` runs in the server, so it must be quick; if it throws, it is removed, and the log says so. It sees
 * contents, secrets too.
 */
export const trace = (
  server: GenServer.Destination<Pid>,
  onEvent: (event: TraceEvent) => void
): Effect.Effect<void, CallError> =>
  ask(server, (running) => {
    running.onTrace = onEvent
  })

export const untrace = (server: GenServer.Destination<Pid>): Effect.Effect<void, CallError> =>
  ask(server, (running) => {
    running.onTrace = null
  })

export interface ServerStatus extends Process.Info {
  readonly server: string
  readonly state: unknown
}

/** What can be said of a server, its state included. */
export const getStatus = (server: GenServer.Destination<Pid>): Effect.Effect<ServerStatus, CallError> =>
  ask(server, (running) => ({
    ...Process.info(running.process),
    server: running.callbacks.name,
    state: running.state
  }))

/**
 * Has a process end with `reason` as if its parent wanted it: `terminate` and finalizers run, a supervisor stops its
 * children in order first, and trapping exits is no refusal. Its supervisor then acts by the reason. Synchronous; it
 * ends later.
 */
export const unsafeTerminate = (pid: Pid, reason: ExitReason.ExitReason): void =>
  Process.impl(pid).receiveExit(reason, null, "wish")

const ask = <A>(server: GenServer.Destination<Pid>, f: (server: Server) => A): Effect.Effect<A, CallError> =>
  GenServer.ask(server, Envelope.system, f, undefined) as Effect.Effect<A, CallError>
