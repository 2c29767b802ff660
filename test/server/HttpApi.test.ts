/** The HTTP API under a real supervisor and on a real port, with views that the tests hold. */
import { createServer, type Server } from "node:http"
import { type AddressInfo, connect } from "node:net"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { ExitReason, GenServer, type Pid, Process, Supervisor } from "../../src/actor/index.ts"
import type { HttpViews } from "../../src/server/HttpApi.ts"
import { HttpListener } from "../../src/server/HttpListener.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import * as Port from "../servers/Port.ts"

const aTree: Supervisor.TreeNode = {
  name: "mimosa",
  pid: "<0.1 mimosa>",
  type: "supervisor",
  status: "running",
  restarts: 0,
  mailboxDepth: 0,
  messagesHandled: 3,
  lastExit: null,
  children: []
}

const serving = (views: Partial<HttpViews> = {}, port = 0) =>
  Effect.gen(function* () {
    const readiness = new Readiness(["HTTP", "RESP"])
    const all: HttpViews = {
      readiness,
      metrics: { render: () => "mimosa_keyspace_entries 7\n" },
      processes: () => aTree,
      ...views
    }
    const supervisor = yield* Supervisor.start({
      label: "listeners",
      children: [GenServer.childSpec(HttpListener, { host: "127.0.0.1", port, views: all, readiness })]
    })
    return { supervisor, readiness, url: `http://127.0.0.1:${readiness.portOf("HTTP")}` }
  })

const ask = (url: string, init?: RequestInit) =>
  Effect.promise(async () => {
    const response = await fetch(url, init)
    const text = await response.text()
    const isJson = response.headers.get("content-type") === "application/json"
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text }
  })

/** Everything that a server says to raw bytes until it closes the connection. */
const raw = (port: number, bytes: string) =>
  Effect.promise(
    () =>
      new Promise<string>((resolve, reject) => {
        const socket = connect(port, "127.0.0.1", () => socket.write(bytes))
        let said = ""
        socket.setEncoding("latin1").on("data", (text) => {
          said += text
        })
        socket.on("close", () => resolve(said)).on("error", reject)
      })
  )

describe("the HTTP API", () => {
  it.scopedLive("answers that the process lives", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      expect(yield* ask(`${url}/healthz`)).toMatchObject({ status: 200, body: { status: "ok" } })
    })
  )

  it.scopedLive("is not ready while a listener is missing, says which, and is ready when none is", () =>
    Effect.gen(function* () {
      const { url, readiness } = yield* serving()
      expect(yield* ask(`${url}/readyz`)).toMatchObject({
        status: 503,
        body: { status: "not ready", missing: ["RESP"] }
      })
      readiness.accepts("RESP", 6380)
      expect(yield* ask(`${url}/readyz`)).toMatchObject({ status: 200, body: { status: "ready" } })
      readiness.stops("RESP")
      expect((yield* ask(`${url}/readyz`)).status).toBe(503)
    })
  )

  it.scopedLive("shows the metrics in the text format of Prometheus", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      const { body, headers } = yield* ask(`${url}/metrics`)
      expect(body).toBe("mimosa_keyspace_entries 7\n")
      expect(headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8")
    })
  )

  it.scopedLive("shows the processes as JSON, and as text for people", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      expect((yield* ask(`${url}/v1/processes`)).body).toEqual(aTree)
      expect((yield* ask(`${url}/v1/processes?format=text`)).body).toBe("mimosa  <0.1 mimosa>  running, 3 handled\n")
      expect(yield* ask(`${url}/v1/processes?format=xml`)).toMatchObject({
        status: 400,
        body: { error: "format is json or text, not xml" }
      })
    })
  )

  it.scopedLive("says when there are no processes to show", () =>
    Effect.gen(function* () {
      const { url } = yield* serving({ processes: () => null })
      expect(yield* ask(`${url}/v1/processes`)).toMatchObject({ status: 503, body: { error: "no process is running" } })
    })
  )

  it.scopedLive("answers an unknown path with 404 and the paths that there are", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      expect(yield* ask(`${url}/nope?x=1`)).toMatchObject({
        status: 404,
        body: { error: "no such path: /nope; there are /healthz, /readyz, /metrics, /v1/processes" }
      })
    })
  )

  it.scopedLive("answers a wrong method with 405, and HEAD like GET without a body", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      const refused = yield* ask(`${url}/healthz`, { method: "DELETE" })
      expect(refused).toMatchObject({ status: 405, body: { error: "DELETE is not allowed on /healthz; use GET" } })
      expect(refused.headers.get("allow")).toBe("GET, HEAD")
      const head = yield* Effect.promise(() => fetch(`${url}/healthz`, { method: "HEAD" }))
      expect([head.status, yield* Effect.promise(() => head.text())]).toEqual([200, ""])
    })
  )

  it.scopedLive("takes no body, and closes the connection of who sends one", () =>
    Effect.gen(function* () {
      const { readiness } = yield* serving()
      const request = "GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\nabc"
      const said = yield* raw(readiness.portOf("HTTP") as number, request)
      expect(said).toMatch(/^HTTP\/1\.1 413 [\s\S]*no request here takes a body/)
    })
  )

  it.scopedLive("refuses headers over its limit", () =>
    Effect.gen(function* () {
      const { readiness } = yield* serving()
      const request = `GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ${"a".repeat(17 * 1024)}\r\n\r\n`
      expect(yield* raw(readiness.portOf("HTTP") as number, request)).toMatch(/^HTTP\/1\.1 431 /)
    })
  )

  it.scopedLive("answers 500 and goes on when a view throws", () =>
    Effect.gen(function* () {
      let isBroken = true
      const render = () => {
        if (isBroken) throw new Error("no metrics today")
        return "fine 1\n"
      }
      const { url } = yield* serving({ metrics: { render } })
      expect(yield* ask(`${url}/metrics`)).toMatchObject({ status: 500, body: { error: "an internal error" } })
      isBroken = false
      expect((yield* ask(`${url}/metrics`)).body).toBe("fine 1\n")
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
  )
})

describe("the HTTP listener", () => {
  const taken = Effect.acquireRelease(
    Effect.async<Server>((resume) => {
      const server = createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )

  it.scopedLive("does not start on a port that is in use, and says so", () =>
    Effect.gen(function* () {
      const { port } = (yield* taken).address() as AddressInfo
      const error = yield* Effect.flip(serving({}, port))
      expect(error.message).toContain(
        `HTTP cannot listen on 127.0.0.1:${port}: the port is in use; stop what listens there, or choose another port`
      )
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
  )

  it.scopedLive("comes back on its port after a crash", () =>
    Effect.gen(function* () {
      const port = yield* Effect.promise(() => Port.free())
      const { supervisor, readiness, url } = yield* serving({}, port)
      const [listener] = yield* Supervisor.whichChildren(supervisor)
      const pid = listener?.pid as Pid.Pid
      yield* Process.exit(pid, ExitReason.crashWith(new Error("boom")))
      yield* Process.awaitExit(pid)
      expect(readiness.missing()).toContain("HTTP")
      yield* Effect.repeat(Effect.yieldNow(), { until: () => !readiness.missing().includes("HTTP") })
      const [restarted] = Supervisor.unsafeTree(supervisor)?.children ?? []
      expect(restarted).toMatchObject({ name: "http", restarts: 1, lastExit: "crash: Error: boom" })
      expect((yield* ask(`${url}/healthz`)).status).toBe(200)
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
  )

  it.live("closes its port with its scope, whatever a silent client holds open", () =>
    Effect.gen(function* () {
      const port = yield* Effect.scoped(
        Effect.gen(function* () {
          const { readiness } = yield* serving()
          const port = readiness.portOf("HTTP") as number
          yield* Effect.async<void>((resume) => {
            const socket = connect(port, "127.0.0.1", () => resume(Effect.void)).on("error", () => {})
            socket.unref()
          })
          return port
        })
      )
      const error = yield* Effect.flip(Effect.tryPromise(() => fetch(`http://127.0.0.1:${port}/healthz`)))
      expect(String((error.error as Error).cause)).toContain("ECONNREFUSED")
    })
  )
})
