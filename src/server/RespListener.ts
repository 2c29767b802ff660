/**
 * The processes that serve RESP on a port: the listener, and one temporary process for each connection.
 *
 * A connection's process owns it: when the process ends the socket is closed, and a command that throws ends that
 * process alone, as a crash that the tree has seen. Commands do not pass through its mailbox: the socket calls the
 * keyspace directly, in the turn in which the bytes arrive.
 *
 * The listener and its connections live and die together (one_for_all): a new listener could not know the old ones.
 */
import { Effect, Runtime } from "effect"
import { DynamicSupervisor, ExitReason, GenServer, Process, Registry, Supervisor } from "../actor/index.ts"
import type { Readiness } from "./Readiness.ts"
import type { RespConnection } from "./RespConnection.ts"
import { RespServer, type RespServerOptions } from "./RespServer.ts"
import { ListenFailed } from "./ServerError.ts"
import { defaultSettings } from "./ServerState.ts"

export interface RespListenerOptions extends Omit<RespServerOptions, "onConnection" | "onError"> {
  /** 0 for a free one; the readiness tells which. */
  readonly port: number
  readonly readiness: Readiness
}

export const listenerName = "RESP"

/** The subtree "resp". Its start fails with `ListenFailed` when the port cannot be had. */
export const childSpec = (options: RespListenerOptions): Supervisor.ChildSpec<Process.Self> => {
  const names = Registry.unsafeMake({ keys: "unique" })
  const connections = Registry.via<DynamicSupervisor.DynamicSupervisorRef>(names, "connections")
  const { clientsMax = defaultSettings.clientsMax, closeTimeoutMs = defaultSettings.closeTimeoutMs } = options
  return Supervisor.childSpec("resp", {
    strategy: "one_for_all",
    children: [
      // As many again for those whose sockets are gone and whose processes are on their way out.
      DynamicSupervisor.childSpec("connections", { name: connections, maxChildren: 2 * clientsMax }),
      GenServer.childSpec(Listener, { options, connections }, { shutdown: closeTimeoutMs + shutdownGraceMs })
    ]
  })
}

interface ListenerArgs {
  readonly options: RespListenerOptions
  readonly connections: Registry.Via<DynamicSupervisor.DynamicSupervisorRef>
}

interface AcceptFailed {
  readonly _tag: "AcceptFailed"
  readonly error: Error
}

const Listener = GenServer.define<{ readonly info: AcceptFailed }>()({
  name: "listener",
  init: ({ options, connections }: ListenerArgs) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      const runFork = Runtime.runFork(yield* Effect.runtime<never>())
      const server = new RespServer({
        ...options,
        onConnection: (connection) => void runFork(giveProcess(connections, connection)),
        onError: (error) => Process.unsafeOffer(self, { _tag: "AcceptFailed", error })
      })
      const { readiness, port, host = defaultSettings.host } = options
      yield* Effect.addFinalizer(() => {
        readiness.stops(listenerName)
        return Effect.promise(() => server.close())
      })
      const bound = yield* Effect.tryPromise({
        try: () => server.listen(port),
        catch: (cause) => new ListenFailed({ listener: listenerName, host, port, cause })
      })
      readiness.accepts(listenerName, bound)
      return GenServer.Ok({ server, host, port: bound })
    }),
  handleInfo: (message, state) =>
    message._tag === "AcceptFailed"
      ? GenServer.Stop(ExitReason.crashWith(message.error), state)
      : GenServer.NoReply(state),
  inspect: ({ server, host, port }) => ({ host, port, connected: server.connections().size, ...server.state.stats })
})

/** A connection that no process can be had for is closed: nobody would answer for it. */
const giveProcess = (supervisor: ListenerArgs["connections"], connection: RespConnection) =>
  DynamicSupervisor.startChild(supervisor, {
    id: `connection ${connection.client.id}`,
    start: Effect.tap(
      Process.spawnLink(own(connection), {
        label: `connection ${connection.client.id}`,
        inspect: () => ({
          address: connection.remoteAddress,
          name: connection.client.name,
          waitingBytes: connection.waitingBytes
        })
      }),
      (pid) => Effect.sync(() => Process.onExit(pid, (reason) => reason._tag === "killed" && connection.cut()))
    ),
    restart: "temporary"
  }).pipe(Effect.catchAllCause(() => Effect.sync(() => connection.cut())))

/** Lasts as long as the connection, and crashes with what a command threw. Asked to end, it lets the replies go out. */
const own = (connection: RespConnection): Effect.Effect<void> =>
  Effect.async<void>((resume) => {
    connection.whenGone((crash) => resume(crash === undefined ? Effect.void : Effect.die(crash.defect)))
    return Effect.sync(() => connection.end())
  })

const shutdownGraceMs = 1_000 // beyond what `close` waits for slow clients, so that it is not cut off itself
