/**
 * The processes that serve RESP on a port: the listener, and one temporary process for each connection.
 *
 * A connection's process owns it: when the process ends the socket is closed, and a command that throws ends that
 * process alone, as a crash that the tree has seen. Commands do not pass through its mailbox: the socket calls the
 * keyspace directly, in the turn in which the bytes arrive.
 * A connection that has been accepted is served at once; its process follows in a later turn, started by the listener.
 *
 * The listener and its connections live and die together (one_for_all): a new listener could not know the old ones.
 */
import { Effect } from "effect"
import { DynamicSupervisor, ExitReason, GenServer, Process, Registry, Supervisor } from "../actor/index.ts"
import type { Readiness } from "./Readiness.ts"
import type { RespConnection } from "./RespConnection.ts"
import { RespServer, type RespServerOptions } from "./RespServer.ts"
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
      GenServer.childSpec(
        Listener,
        { options, connections },
        {
          shutdown: closeTimeoutMs + shutdownGraceMs,
          mailbox: { capacity: 2 * clientsMax, overflow: "reject" }
        }
      )
    ]
  })
}

interface ListenerArgs {
  readonly options: RespListenerOptions
  readonly connections: Registry.Via<DynamicSupervisor.DynamicSupervisorRef>
}

type ListenerMessage =
  | { readonly _tag: "Accepted"; readonly connection: RespConnection }
  | { readonly _tag: "AcceptFailed"; readonly error: Error }

const Listener = GenServer.define<{ readonly info: ListenerMessage }>()({
  name: "listener",
  init: ({ options, connections }: ListenerArgs) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      const { readiness, port, host = defaultSettings.host, stats } = options
      let server: RespServer | null = null
      yield* Effect.addFinalizer(() => {
        readiness.stops(listenerName)
        return Effect.promise(async () => server?.close())
      })
      const bound = yield* readiness.listen({ listener: listenerName, host, port }, async (port) => {
        const next = new RespServer({
          ...options,
          onConnection: (connection) => {
            stats?.onConnection()
            connection.whenGone(() => stats?.onDisconnection())
            if (!Process.unsafeOffer(self, { _tag: "Accepted", connection })) connection.cut()
          },
          onError: (error) => server === next && Process.unsafeOffer(self, { _tag: "AcceptFailed", error })
        })
        const bound = await next.listen(port)
        server = next
        return bound
      })
      return GenServer.Ok({ server: server as unknown as RespServer, connections, host, port: bound })
    }),
  handleInfo: (message, state) => {
    if (message._tag === "Accepted") {
      return Effect.as(giveProcess(state.connections, message.connection), GenServer.NoReply(state))
    }
    return message._tag === "AcceptFailed"
      ? GenServer.Stop(ExitReason.crashWith(message.error), state)
      : GenServer.NoReply(state)
  },
  inspect: ({ server, host, port }) => ({ host, port, ...server.state.stats, connected: server.connections().size })
})

/** A connection that no process can be had for is closed: nobody would answer for it. */
const giveProcess = (supervisor: ListenerArgs["connections"], connection: RespConnection) =>
  DynamicSupervisor.startChild(supervisor, {
    id: `connection ${connection.client.id}`,
    start: Effect.tap(
      Process.spawnLink(own(connection), {
        label: `connection ${connection.client.id}`,
        memoryBytes: () => connection.waitingBytes,
        inspect: () => ({ address: connection.remoteAddress, name: connection.client.name })
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
