/**
 * The processes that serve the HTTP API on a port: the listener, and one for each request that is being answered.
 *
 * `node:http` parses, and what it may be made to hold is bounded here; a request is then a message to the listener, which
 * starts a linked process that runs the application of HttpApi.ts and ends with its answer. What cannot be a request to
 * that application (a target or a Host that is none) is refused before.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { Effect } from "effect"
import { ExitReason, GenServer, type Pid, Process } from "../actor/index.ts"
import * as HttpApi from "./HttpApi.ts"
import { HttpConnections } from "./HttpConnections.ts"
import type { Readiness } from "./Readiness.ts"
import { TenantRequests } from "./TenantRequests.ts"

export interface HttpListenerOptions {
  readonly host: string
  /** 0 for a free one; the readiness tells which. */
  readonly port: number
  readonly views: HttpApi.HttpViews
  readonly readiness: Readiness
  /** Connections at once; beyond, the one that has been silent longest goes. Default 1,024. */
  readonly connectionsMax?: number
}

export const listenerName = "HTTP"

type ListenerMessage =
  | { readonly _tag: "Asked"; readonly request: IncomingMessage; readonly response: ServerResponse }
  | { readonly _tag: "AcceptFailed"; readonly error: Error }

interface State {
  readonly app: ReturnType<typeof HttpApi.make>
  readonly connections: HttpConnections
  readonly requests: Set<Pid.Pid>
  /** Answers that may be long in coming: when the listener ends they are that it does. */
  readonly waiting: Set<ServerResponse>
  readonly ofTenants: TenantRequests
  readonly host: string
  readonly port: number
  answered: number
}

const connectionsMaxDefault = 1_024 // far above what scrapes and probes need, and room for runs that wait
const requestsMax = 1_024 // being answered, and as many again that wait for their process
const waitingBytesMax = 64 * 1024 * 1024 // answers that clients are slow to take; one is 3 MB with 10,000 connections

/** Fails to start with `ListenFailed` when the port cannot be had. */
export const HttpListener = GenServer.define<{ readonly info: ListenerMessage }>()({
  name: "http",
  trapExit: true, // a request that crashes is not the end of the others
  mailbox: { capacity: requestsMax, overflow: "reject" },
  init: ({ host, port, views, readiness, connectionsMax = connectionsMaxDefault }: HttpListenerOptions) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      let open: { readonly server: Server; readonly connections: HttpConnections } | null = null
      const waiting = new Set<ServerResponse>()
      yield* Effect.addFinalizer(() => {
        readiness.stops(listenerName)
        for (const response of waiting) if (!response.headersSent) refuse(response, ...stopping)
        return open === null ? Effect.void : close(open.server, open.connections)
      })
      const bound = yield* readiness.listen({ listener: listenerName, host, port }, async (port) => {
        const server = createServer(limits)
        server.timeout = silenceTimeoutMs
        const connections = new HttpConnections(server, connectionsMax)
        server.on("request", (request, response) => {
          const refused = whyRefused(request, connections)
          if (refused !== null) return refuse(response, ...refused)
          if (!Process.unsafeOffer(self, { _tag: "Asked", request, response })) refuse(response, ...tooManyRequests)
        })
        const bound = await listen(server, host, port)
        server.on("error", (error) => Process.unsafeOffer(self, { _tag: "AcceptFailed", error }))
        open = { server, connections }
        return bound
      })
      const { connections } = open as unknown as { readonly connections: HttpConnections }
      return GenServer.Ok<State>({
        app: HttpApi.make(views),
        connections,
        requests: new Set(),
        waiting,
        ofTenants: new TenantRequests({ requestsMax, waitingBytesMax }),
        host,
        port: bound,
        answered: 0
      })
    }),
  handleInfo: (message, state) => {
    switch (message._tag) {
      case "Asked":
        return answer(state, message.request, message.response)
      case "AcceptFailed":
        return GenServer.Stop(ExitReason.crashWith(message.error), state)
      case "Exit":
        if (message.pid === null || !state.requests.delete(message.pid)) return GenServer.Stop(message.reason, state)
        state.answered++
        return GenServer.NoReply(state)
      default:
        return GenServer.NoReply(state)
    }
  },
  inspect: ({ host, port, connections, ofTenants, answered }) => ({
    host,
    port,
    connected: connections.open,
    evicted: connections.evicted,
    tenantsRefused: ofTenants.refused,
    answered
  })
})

/** Every bound is far above what a scrape or a probe needs. */
const limits = {
  maxHeaderSize: 16 * 1024, // bytes; Node's default, written down because it is a promise
  headersTimeout: 5_000, // ms from the connection to the last header
  requestTimeout: 10_000, // ms to the end of the body
  keepAliveTimeout: 60_000, // ms between two scrapes on one connection
  connectionsCheckingInterval: 1_000 // ms; Node looks for those that are over time so often
}
const silenceTimeoutMs = 10_000 // in the middle of a request or an answer

const listen = (server: Server, host: string, port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once("error", reject)
    server.listen({ host, port }, () => {
      server.off("error", reject)
      resolve((server.address() as AddressInfo).port)
    })
  })

/** Answers that are on their way get a moment; silent connections would be waited for without end. */
const close = (server: Server, connections: HttpConnections): Effect.Effect<void> =>
  Effect.async((resume) => {
    const cut = setTimeout(() => server.closeAllConnections(), closeTimeoutMs)
    server.close(() => {
      clearTimeout(cut)
      resume(Effect.void)
    })
    connections.closeIdle()
  })

const closeTimeoutMs = 1_000

// Requests

const answer = (state: State, request: IncomingMessage, response: ServerResponse) => {
  if (state.requests.size >= requestsMax) {
    refuse(response, ...tooManyRequests)
    return GenServer.NoReply(state)
  }
  // Whoever waits is silent, and is let go when the tenant's own limit says so.
  if (HttpApi.mayWait(request.method ?? "", wholePathOf(request))) {
    request.socket.setTimeout(0)
    state.waiting.add(response)
    response.once("close", () => state.waiting.delete(response))
  }
  const program = state.app.pipe(
    Effect.provideService(HttpServerRequest.HttpServerRequest, HttpServerRequest.fromWeb(toWeb(request))),
    Effect.provideService(HttpApi.Exchange, {
      readBody: bodyOf(request),
      admit: (tenant) => state.ofTenants.admit(tenant, response)
    }),
    Effect.flatMap((answered) => send(answered, response)),
    Effect.ensuring(Effect.sync(() => response.writableEnded || response.destroy()))
  )
  return Effect.map(Process.spawnLink(program, { label: `${request.method} ${pathOf(request)}` }), (pid) => {
    state.requests.add(pid)
    response.once("close", () => Process.unsafeExit(pid, ExitReason.shutdown)) // nobody waits for it any more
    return GenServer.NoReply(state)
  })
}

const send = (answered: HttpServerResponse.HttpServerResponse, response: ServerResponse): Effect.Effect<void> =>
  Effect.suspend(() => {
    response.socket?.setTimeout(silenceTimeoutMs) // also for an answer that was waited for
    response.writeHead(answered.status, answered.headers)
    if (answered.body._tag === "Uint8Array") {
      response.end(answered.body.body)
      return Effect.void
    }
    const { body } = HttpServerResponse.toWeb(answered)
    if (body !== null)
      return Effect.ignore(Effect.tryPromise(() => pipeline(Readable.fromWeb(body as never), response)))
    response.end()
    return Effect.void
  })

/** The request as the platform takes it, without its body. */
const toWeb = ({ method = "GET", url, headers }: IncomingMessage): Request => {
  const fields = Object.entries(headers).flatMap(
    ([name, value]): Array<[string, string]> => [value ?? []].flat().map((text) => [name, text])
  )
  return new Request(`http://mimosa${url}`, { method, headers: fields })
}

/** In one piece of memory, whose size is known before: a body in chunks of a byte each is no more than any other. */
const bodyOf =
  (request: IncomingMessage): HttpApi.Exchange["Type"]["readBody"] =>
  (bytesMax) =>
    Effect.async((resume) => {
      const body = Buffer.allocUnsafe(bytesMax)
      let bytes = 0
      request.on("data", (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes <= bytesMax) return void chunk.copy(body, bytes - chunk.length)
        request.pause()
        resume(Effect.fail("too long"))
      })
      request.once("end", () => resume(Effect.succeed(body.subarray(0, bytes))))
      request.once("close", () => resume(Effect.fail("broken off")))
    })

type Refusal = readonly [status: number, why: string]

const tooManyRequests: Refusal = [503, "too many requests at once"]
const stopping: Refusal = [503, "ended because the server stops"]

/** What cannot be asked of the application. */
const whyRefused = (request: IncomingMessage, connections: HttpConnections): Refusal | null => {
  const { url = "", method = "", headers, rawHeaders } = request
  if (!isTarget(url)) return [400, "the request target is no path, as /healthz is one"]
  const hosts = rawHeaders.filter((text, at) => at % 2 === 0 && text.toLowerCase() === "host").length
  if (hosts > 1 || !isHost(headers.host ?? "")) return [400, "the Host header is no host"]
  if (unknownToRequests.has(method)) return [405, `${method} is not allowed; use GET`]
  if (hasBody(request)) {
    const bytesMax = HttpApi.bodyBytesMaxOf(method, wholePathOf(request))
    if (bytesMax === 0) return [413, `${method} ${pathOf(request)} takes no body`]
    if (Number(headers["content-length"] ?? 0) > bytesMax) return [413, `a body has at most ${bytesMax} bytes`]
  }
  return connections.waitingBytes() > waitingBytesMax ? [503, "too many answers wait for slow clients"] : null
}

const isTarget = (target: string): boolean => {
  if (!/^\/(?!\/)[\x21\x24-\x7e]*$/.test(target)) return false
  try {
    decodeURIComponent(target)
    return true
  } catch {
    return false
  }
}

const isHost = (host: string): boolean =>
  host === "" || (/^[\w.~!$&'()*+,;=%:[\]-]+$/.test(host) && URL.canParse(`http://${host}/`))

const unknownToRequests = new Set(["CONNECT", "TRACE", "TRACK"])

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0

/** A refused request's connection is closed, so that nothing that was sent along is read. */
const refuse = (response: ServerResponse, status: number, error: string): void => {
  const allowed = status === 405 ? { allow: "GET, HEAD" } : {}
  response.writeHead(status, { "content-type": "application/json", connection: "close", ...allowed })
  response.end(JSON.stringify({ error }))
}

const wholePathOf = ({ url = "" }: IncomingMessage): string => url.split("?", 1)[0] as string

/** As much of the path as is shown. */
const pathOf = (request: IncomingMessage): string => wholePathOf(request).slice(0, 60)
