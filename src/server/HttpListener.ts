/**
 * The process that serves the HTTP API on a port. Its end closes the port and all connections.
 */
import { createServer, type Server } from "node:http"
import * as HttpServer from "@effect/platform/HttpServer"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Effect } from "effect"
import { ExitReason, GenServer, Process } from "../actor/index.ts"
import * as HttpApi from "./HttpApi.ts"
import type { Readiness } from "./Readiness.ts"
import { ListenFailed } from "./ServerError.ts"

export interface HttpListenerOptions {
  readonly host: string
  /** 0 for a free one; the readiness tells which. */
  readonly port: number
  readonly views: HttpApi.HttpViews
  readonly readiness: Readiness
}

export const listenerName = "HTTP"

interface AcceptFailed {
  readonly _tag: "AcceptFailed"
  readonly error: Error
}

/** Fails to start with `ListenFailed` when the port cannot be had. */
export const HttpListener = GenServer.define<{ readonly info: AcceptFailed }>()({
  name: "http",
  init: ({ host, port, views, readiness }: HttpListenerOptions) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      const node = makeServer((error) => Process.unsafeOffer(self, { _tag: "AcceptFailed", error }))
      const server = yield* NodeHttpServer.make(() => node, { host, port }).pipe(
        Effect.mapError(({ cause }) => new ListenFailed({ listener: listenerName, host, port, cause }))
      )
      yield* HttpServer.serveEffect(HttpApi.make(views)).pipe(Effect.provideService(HttpServer.HttpServer, server))
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          readiness.stops(listenerName)
          setTimeout(() => node.closeAllConnections(), closeTimeoutMs).unref()
        })
      )
      const bound = server.address._tag === "TcpAddress" ? server.address.port : port
      readiness.accepts(listenerName, bound)
      return GenServer.Ok({ host, port: bound, node })
    }),
  handleInfo: (message, state) =>
    message._tag === "AcceptFailed"
      ? GenServer.Stop(ExitReason.crashWith(message.error), state)
      : GenServer.NoReply(state),
  inspect: ({ host, port }) => ({ host, port })
})

/** A server with bounds on what a client may hold: every one of them is far above what a scrape or a probe needs. */
const makeServer = (onError: (error: Error) => void): Server => {
  const server = createServer({
    maxHeaderSize: 16 * 1024, // bytes; Node's default, written down because it is a promise
    headersTimeout: 5_000, // ms from the connection to the last header
    requestTimeout: 10_000, // ms to the end of the body, which is not read
    keepAliveTimeout: 60_000, // ms between two scrapes on one connection
    connectionsCheckingInterval: 1_000 // ms; Node looks for those that are over time so often
  })
  server.maxConnections = 256 // further ones are closed at once
  server.on("error", onError)
  return server
}

const closeTimeoutMs = 1_000 // for answers that are on their way; silent connections would be waited for without end
