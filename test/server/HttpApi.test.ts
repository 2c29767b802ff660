/** The HTTP API under a real supervisor and on a real port, with views that the tests hold. */
import { createServer, type Server } from "node:http"
import { type AddressInfo, connect, type Socket } from "node:net"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { beforeEach, describe, expect, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import { ExitReason, GenServer, type Pid, Process, Supervisor } from "../../src/actor/index.ts"
import type { TriggerPort } from "../../src/server/commands/TriggerPort.ts"
import type { HttpViews } from "../../src/server/HttpApi.ts"
import { HttpListener } from "../../src/server/HttpListener.ts"
import * as HttpTriggers from "../../src/server/HttpTriggers.ts"
import { Readiness } from "../../src/server/Readiness.ts"
import type { DryRunReport } from "../../src/triggers/DryRun.ts"
import { LogStreams } from "../../src/triggers/LogStreams.ts"
import { optionsDefault, type RegisteredTrigger } from "../../src/triggers/Trigger.ts"
import { HistoryOff, TriggerNotFound, TriggerSyntaxError } from "../../src/triggers/TriggerError.ts"
import { triggerGraph } from "../../src/triggers/TriggerGraph.ts"
import type { TriggerLogRecord } from "../../src/triggers/TriggerLog.ts"
import type { TestSubject } from "../../src/triggers/Triggers.ts"
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

/** What the engine was asked to try. */
let tried: unknown[] = []
beforeEach(() => {
  tried = []
})

const aTrigger: RegisteredTrigger = {
  ...{ name: "stock", pattern: "stock:*", events: ["ON_WRITE"], source: "cache.set('stock:all', 'é')" },
  ...{ ...optionsDefault, status: "active", quarantine: null, probeAtMs: null, isSlower: false },
  ...{ registeredAtMs: 5, version: 3, shadow: null, runs: 7, fuel: 10, bytesMax: 12, writes: 7, deletes: 0, emits: 0 },
  ...{ webhooks: 0, webhooksSuppressed: 0, logs: 0, warms: 0, rejects: 0, usMean: 1.25, usP50: 1, usP99: 2, usMax: 3 },
  failures: { error: 0, timeout: 0, memory: 0, killed: 0, rejected: 0 },
  skips: { repeat: 0, depth: 0, budget: 0, quarantined: 0, no_vm: 0, sampled: 0, derived: 0 }
}

const aReport: DryRunReport = {
  ...{ status: "ok", result: 12345678901234567890n, error: null, us: 1.4999, fuel: 9, bytes: 8 },
  writes: [{ key: "k", value: "é", ttlMs: null, metadata: null, tags: [], cost: 0 }],
  ...{ deletes: [], emits: [], webhooks: [], logs: [], warms: [] }
}

const engine = (): HttpTriggers.HttpTriggers => {
  const logs = new LogStreams()
  const line = { stream: "audit/é", trigger: "a", event: "ON_WRITE", key: "k\xff", cascade: "0-1" } as const
  for (const n of [1, 2, 3]) logs.append({ ...line, atMs: n, message: null, fields: { n } })
  const asked = <A>(subject: TestSubject, about: unknown, answer: A) => {
    tried.push([subject, about])
    if (subject.name === "nobody") return new TriggerNotFound({ trigger: "nobody" })
    if (subject.source === "return return") {
      return new TriggerSyntaxError({ trigger: "test", line: 1, column: 8, reason: "unexpected symbol" })
    }
    return answer
  }
  const sum = { ok: 1, failed: 0, writes: 1, deletes: 0, emits: 0, webhooks: 0, logs: 0, warms: 0, fuel: 9 }
  const report = { ...aReport, unlisted: 0 }
  const run = { sequence: 4, event: "ON_WRITE", key: "é", report, current: null } as const
  const runs = [run, { ...run, current: { ...report, status: "error", error: "no", writes: [] } }] as const
  return {
    list: () => [aTrigger, { ...aTrigger, name: "b", shadow: { ...aTrigger, source: "return" } }],
    test: (subject, event) => asked(subject, event, aReport),
    graph: () => triggerGraph([aTrigger]),
    testHistory: (subject, count) =>
      subject.name === "off"
        ? new HistoryOff()
        : asked(subject, count, { events: 9, matched: 4, runs, sum, current: sum, cut: { runs: 2, changes: 1 } }),
    logs,
    info: (name) => (name === aTrigger.name ? aTrigger : undefined),
    warnings: () => ["it goes round in circles"],
    set: (input) => {
      tried.push([input.name, input])
      return input.source === "return return"
        ? Promise.reject(
            new TriggerSyntaxError({ trigger: input.name, line: 1, column: 8, reason: "unexpected symbol" })
          )
        : Promise.resolve(aTrigger)
    },
    remove: (name) => Promise.resolve(name === aTrigger.name),
    log: (count) => [{ ...aRecord, key: "k\xff" }, aRecord].slice(0, count),
    forTenant: () => engine() as TriggerPort
  }
}

const aRecord: TriggerLogRecord = {
  ...{ id: 1, atMs: 5, trigger: "a", event: "ON_WRITE", sequence: 3, key: "k" },
  ...{ kind: "error", message: "a:1: no", count: 1 }
}

const serving = (views: Partial<HttpViews> = {}, { port = 0, connectionsMax = 256 } = {}) =>
  Effect.gen(function* () {
    const readiness = new Readiness(["HTTP", "RESP"])
    const all: HttpViews = {
      readiness,
      metrics: { render: () => "mimosa_keyspace_entries 7\n" },
      processes: () => aTree,
      triggers: engine(),
      password: undefined,
      ...views
    }
    const supervisor = yield* Supervisor.start({
      label: "listeners",
      children: [GenServer.childSpec(HttpListener, { host: "127.0.0.1", port, views: all, readiness, connectionsMax })]
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
const raw = (port: number, bytes: string | Uint8Array) =>
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

  it.scopedLive("is not ready while a listener is missing, and says no more; is ready when none is", () =>
    Effect.gen(function* () {
      const { url, readiness } = yield* serving()
      const { status, body } = yield* ask(`${url}/readyz`)
      expect([status, body]).toEqual([503, { status: "not ready" }])
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
        body: {
          error:
            "no such path: /nope; there are /healthz, /readyz, /metrics, /v1/processes, /v1/triggers, /v1/triggers/graph, /v1/triggers/test, /v1/triggers/<name>, /v1/triggers-log, /v1/logs, /v1/logs/<stream>, /v1/openapi.json, /docs"
        }
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

  it.scopedLive("takes no body where none is needed, and closes the connection of who sends one", () =>
    Effect.gen(function* () {
      const { readiness } = yield* serving()
      const request = "GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\nabc"
      const said = yield* raw(readiness.portOf("HTTP") as number, request)
      expect(said).toMatch(/^HTTP\/1\.1 413 [\s\S]*GET \/healthz takes no body/)
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

describe("triggers over HTTP", () => {
  it.scopedLive("are listed with their figures, without their sources", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      const { status, body } = yield* ask(`${url}/v1/triggers`)
      expect([status, body.length]).toEqual([200, 2])
      expect(body[0]).toMatchObject({ name: "stock", version: 3, timeoutUs: 100, usP99: 2, failures: { killed: 0 } })
      expect(body[1].shadow).toMatchObject({ runs: 7 })
      expect(JSON.stringify(body)).not.toContain("source")
    })
  )

  it.live("are listed over several rounds of the event loop where they are many", () =>
    Effect.gen(function* () {
      const many = Array.from({ length: 1_000 }, (_, i) => ({ ...aTrigger, name: `t${i}` }))
      let [rounds, isDone] = [0, false]
      const count = () => {
        rounds++
        if (!isDone) setImmediate(count)
      }
      setImmediate(count)
      const response = yield* HttpTriggers.list({ ...engine(), list: () => many })
      isDone = true
      const text = yield* Effect.promise(() => HttpServerResponse.toWeb(response).text())
      expect(JSON.parse(text).map(({ name }: { name: string }) => name)).toEqual(many.map(({ name }) => name))
      expect(rounds).toBeGreaterThanOrEqual(9)
    })
  )

  it.scopedLive("are shown as a graph of what they set off", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      const { body } = yield* ask(`${url}/v1/triggers/graph`)
      expect(body.nodes[0]).toMatchObject({ name: "stock", writes: { patterns: ["stock:all"], hasUnknown: false } })
      expect(body.cycles).toContainEqual(["stock"])
    })
  )

  const test = (body: unknown, headers: Readonly<Record<string, string>> = { "content-type": "application/json" }) =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      const sent = typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body)
      return yield* ask(`${url}/v1/triggers/test`, { method: "POST", body: sent as string, headers })
    })

  it.scopedLive("are tried on a made-up event", () =>
    Effect.gen(function* () {
      const event = { event: "ON_WRITE", key: "ké", value: "3", oldValue: { n: 1 } }
      const { status, body } = yield* test({ name: "stock", ...event, metadata: { a: [1] }, tags: ["é"], cost: 2 })
      expect([status, body]).toMatchObject([200, { status: "ok", writes: [{ key: "k", value: "é" }], us: 1.5 }])
      const given = { event: "ON_WRITE", key: "k\xc3\xa9", value: "3", oldValue: { n: 1 }, metadata: { a: [1] } }
      expect(tried).toEqual([[{ name: "stock" }, { ...given, tags: ["\xc3\xa9"], cost: 2 }]])
    })
  )

  it.scopedLive("are tried on the last events, with another source in their place", () =>
    Effect.gen(function* () {
      const { body } = yield* test({ name: "stock", source: "return", history: 20 })
      expect(tried).toEqual([[{ name: "stock", source: "return" }, 20]])
      expect(body).toMatchObject({ events: 9, matched: 4, differ: 1, sum: { ok: 1 }, current: { fuel: 9 } })
      expect(body.cut).toEqual({ runs: 2, changes: 1 })
      expect(body.runs).toMatchObject([
        { sequence: 4, key: "é", status: "ok", writes: [{ key: "k" }], current: null },
        { status: "ok", current: { status: "error", error: "no" } }
      ])
    })
  )

  const event = { event: "ON_WRITE", key: "k" }
  it.scopedLive.each([
    [400, "the body is no JSON", "{"],
    [400, "the body is no JSON object", "[]"],
    [400, "the body is no JSON", ""],
    [400, "the body is not UTF-8", new Uint8Array([0x22, 0xff, 0x22])],
    [400, "'sauce' is no field here; there are name, source, history, event", { sauce: "return", ...event }],
    [400, "give name, the trigger's, or source, or both", event],
    [400, "source is a text", { source: 1, ...event }],
    [400, "event is one of ON_WRITE, ON_READ", { name: "stock" }],
    [400, "event is one of ON_WRITE, ON_READ", { name: "stock", event: "ON_FIRE", key: "k" }],
    [400, "give key, which the event is about", { name: "stock", event: "ON_WRITE" }],
    [400, "key is a text", { name: "stock", event: "ON_WRITE", key: 1 }],
    [400, "metadata: it is no object", { name: "stock", ...event, metadata: [] }],
    [
      400,
      "nested deeper than 16 levels",
      `{"name":"stock","event":"ON_WRITE","key":"k","value":${"[".repeat(20)}${"]".repeat(20)}}`
    ],
    [400, "tags is a list of texts", { name: "stock", ...event, tags: [1] }],
    [400, "cost is a number of zero or more", { name: "stock", ...event, cost: -1 }],
    [400, "history is about events that happened; leave out event, key", { name: "stock", history: 1, ...event }],
    [400, "history is a whole number from 1", { name: "stock", history: 0 }],
    [404, "no trigger is named 'nobody'", { name: "nobody", ...event }],
    [409, "no events are kept to run it on", { name: "off", history: 1 }],
    [400, "source: test:1:8: unexpected symbol", { source: "return return", ...event }]
  ] as const)("are not tried, with %i and what is wrong: %s", ([status, error, body]) =>
    Effect.gen(function* () {
      const answer = yield* test(body)
      expect([answer.status, answer.body.error]).toEqual([status, expect.stringContaining(error)])
    })
  )

  it.scopedLive("say where a source is wrong", () =>
    Effect.gen(function* () {
      expect((yield* test({ source: "return return", ...event })).body).toMatchObject({ line: 1, column: 8 })
    })
  )

  it.scopedLive("are tried for who says that it is JSON, which no form of a browser does", () =>
    Effect.gen(function* () {
      expect((yield* test({ name: "stock", ...event }, { "content-type": "text/plain" })).status).toBe(415)
      expect(
        (yield* test({ name: "stock", ...event }, { "content-type": "application/json; charset=utf-8" })).status
      ).toBe(200)
      expect(tried.length).toBe(1)
    })
  )

  it.scopedLive("are shown whole, registered and removed, and what failed is told", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      const { name, pattern } = aTrigger
      const shown = yield* ask(`${url}/v1/triggers/${name}`)
      expect(shown).toMatchObject({ status: 200, body: { name, pattern, source: aTrigger.source } })
      expect(shown.body.warnings).toEqual(["it goes round in circles"])
      expect(yield* ask(`${url}/v1/triggers/nobody`)).toMatchObject({
        status: 404,
        body: { error: "no trigger is named 'nobody'" }
      })
      const put = (body: object) =>
        ask(`${url}/v1/triggers/${name}`, {
          method: "PUT",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(body)
        })
      const definition = { pattern: "é:*", events: ["ON_WRITE"], source: "return 1", priority: 3, isEnabled: false }
      expect(yield* put(definition)).toMatchObject({ status: 200, body: { name, warnings: [expect.any(String)] } })
      expect(tried.at(-1)).toEqual([name, { name, ...definition }])
      expect(yield* put({ ...definition, source: "return return" })).toMatchObject({
        status: 400,
        body: { code: "TriggerSyntaxError", line: 1, column: 8 }
      })
      const refusals = [
        [{ events: ["ON_WRITE"], source: "" }, "give pattern, a text"],
        [{ ...definition, source: 1 }, "give source, a text"],
        [{ ...definition, events: "ON_WRITE" }, "events is a list of ON_WRITE, "],
        [{ ...definition, priority: "3" }, "priority is a number"],
        [{ ...definition, isolate: 1 }, "isolate is true or false"],
        [{ ...definition, name: "b" }, "'name' is no field here; there are pattern, events, source, timeoutUs"]
      ] as const
      for (const [body, error] of refusals) {
        const refused = yield* put(body)
        expect([refused.status, refused.body.error]).toEqual([400, expect.stringContaining(error)])
      }
      const remove = (which: string) => ask(`${url}/v1/triggers/${which}`, { method: "DELETE" })
      expect([(yield* remove(name)).body, (yield* remove("b")).body]).toEqual([{ removed: true }, { removed: false }])
      expect((yield* ask(`${url}/v1/triggers-log`)).body).toMatchObject([{ key: "kÿ" }, { kind: "error", key: "k" }])
      expect((yield* ask(`${url}/v1/triggers-log?count=1`)).body).toHaveLength(1)
      expect(yield* ask(`${url}/v1/triggers-log?after=1`)).toMatchObject({
        status: 400,
        body: { error: "'after' is no parameter here; there is count" }
      })
    })
  )

  it.scopedLive("are asked about with POST, and otherwise with GET", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      const refused = yield* ask(`${url}/v1/triggers/test`)
      expect(refused).toMatchObject({
        status: 405,
        body: { error: "GET is not allowed on /v1/triggers/test; use POST" }
      })
      expect(refused.headers.get("allow")).toBe("POST")
      expect((yield* ask(`${url}/v1/triggers`, { method: "POST" })).status).toBe(405)
    })
  )

  it.scopedLive.each([
    ["says", `content-length: ${256 * 1024 + 1}\r\n\r\n`],
    ["does not say", `transfer-encoding: chunked\r\n\r\n${"8000\r\n".concat("x".repeat(0x8000), "\r\n").repeat(9)}`]
  ] as const)("take no body that is too long, of whoever %s how long it is", ([, rest]) =>
    Effect.gen(function* () {
      const { readiness } = yield* serving()
      const head = "POST /v1/triggers/test HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
      const said = yield* raw(readiness.portOf("HTTP") as number, head + rest)
      expect(said).toMatch(/^HTTP\/1\.1 413 [\s\S]*a body has at most 262144 bytes/)
    })
  )

  it.scopedLive("are tried when the body comes byte by byte", () =>
    Effect.gen(function* () {
      const { readiness } = yield* serving()
      const body = JSON.stringify({ name: "stock", event: "ON_WRITE", key: "k", value: "ü".repeat(1000) })
      const chunks = [...Buffer.from(body)].map((byte) => `1\r\n${String.fromCharCode(byte)}\r\n`).join("")
      const head = "content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
      const request = `POST /v1/triggers/test HTTP/1.1\r\nhost: x\r\n${head}${chunks}0\r\n\r\n`
      const said = yield* raw(readiness.portOf("HTTP") as number, Buffer.from(request, "latin1"))
      expect(said).toMatch(/^HTTP\/1\.1 200 /)
      expect(tried).toMatchObject([[{ name: "stock" }, { value: "\xc3\xbc".repeat(1000) }]])
    })
  )

  it.scopedLive("are asked for the password before the body is read", () =>
    Effect.gen(function* () {
      const { readiness } = yield* serving({ password: "secret" })
      const request = "POST /v1/triggers/test HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"
      expect(yield* raw(readiness.portOf("HTTP") as number, request)).toMatch(/^HTTP\/1\.1 401 /)
    })
  )
})

describe("logs over HTTP", () => {
  const stream = encodeURIComponent("audit/é")

  it.scopedLive("are listed, and read from the end or behind a number", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      expect((yield* ask(`${url}/v1/logs`)).body).toMatchObject([{ stream: "audit/é", lines: 3, first: 1, last: 3 }])
      const numbers = (search: string) =>
        Effect.map(ask(`${url}/v1/logs/${stream}${search}`), ({ body }) =>
          body.lines.map(({ number }: { number: number }) => number)
        )
      expect(yield* numbers("")).toEqual([1, 2, 3])
      expect(yield* numbers("?count=2")).toEqual([2, 3])
      expect(yield* numbers("?after=0&count=2")).toEqual([1, 2])
      expect(yield* numbers("?after=3")).toEqual([])
      const { body } = yield* ask(`${url}/v1/logs/${stream}?after=2`)
      expect(body).toMatchObject({ stream: "audit/é", first: 1, last: 3, dropped: 0 })
      expect(body.lines[0]).toMatchObject({ number: 3, atMs: 3, trigger: "a", key: "k\xff", fields: { n: 3 } })
    })
  )

  it.scopedLive("have no lines in a stream that is not there yet", () =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      const empty = { stream: "none", first: 0, last: 0, dropped: 0, lines: [] }
      expect(yield* ask(`${url}/v1/logs/none?after=0`)).toMatchObject({ status: 200, body: empty })
    })
  )

  it.scopedLive.each([
    ["?count=x", "count is a whole number of zero or more, not 'x'"],
    ["?after=-1", "after is a whole number of zero or more, not '-1'"],
    ["?afer=1", "'afer' is no parameter here; there are after and count"]
  ] as const)("are refused with 400: %s", ([search, error]) =>
    Effect.gen(function* () {
      const { url } = yield* serving()
      expect(yield* ask(`${url}/v1/logs/audit${search}`)).toMatchObject({ status: 400, body: { error } })
    })
  )
})

describe("a request that is none", () => {
  const get = (target: string, ...headers: readonly string[]) =>
    `GET ${target} HTTP/1.1\r\n${headers.join("\r\n")}\r\n\r\n`
  const host = "host: x"

  it.scopedLive.each([
    ["a path that begins like a host", get("//", host)],
    ["a host in its target", get("//x/healthz", host)],
    ["an absolute target", get("http://x/healthz", host)],
    ["a target that is no path", "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["an escape that is none", get("/%zz", host)],
    ["escapes that are no UTF-8", get("/%ff", host)],
    ["a fragment", get("/healthz#x", host)],
    ["a host with a space", get("/healthz", "host: a b")],
    ["a host with a path", get("/healthz", "host: a/b")],
    ["a host with a user", get("/healthz", "host: a@b")],
    ["a port that is none", get("/healthz", "host: a:99999")],
    ["two hosts", get("/healthz", host, "host: y")],
    ["no host", get("/healthz", "x: y")],
    ["garbage", "\u0001\u0002\u0003\r\n\r\n"]
  ] as const)("is answered with 400: %s", ([, request]) =>
    Effect.gen(function* () {
      const { readiness, url } = yield* serving()
      expect(yield* raw(readiness.portOf("HTTP") as number, request)).toMatch(/^HTTP\/1\.1 400 /)
      expect((yield* ask(`${url}/healthz`)).status).toBe(200)
    })
  )

  it.scopedLive.each([
    ["TRACE", 405],
    ["OPTIONS", 405],
    ["PATCH", 405]
  ] as const)("is answered in words: %s", ([method, status]) =>
    Effect.gen(function* () {
      const { readiness } = yield* serving()
      const request = `${method} /healthz HTTP/1.1\r\nhost: x\r\n\r\n`
      expect(yield* raw(readiness.portOf("HTTP") as number, request)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    })
  )
})

describe("a password", () => {
  const password = "open sesame: ü"
  const basic = (user: string, said: string) => `Basic ${Buffer.from(`${user}:${said}`).toString("base64")}`
  const bearer = (said: string) => `Bearer ${Buffer.from(said).toString("latin1")}`

  it.scopedLive.each([
    ["as Bearer", bearer(password)],
    ["as Basic", basic("anybody", password)],
    ["as Basic without a user", basic("", password)]
  ] as const)("lets in who says it %s", ([, authorization]) =>
    Effect.gen(function* () {
      const { url } = yield* serving({ password })
      expect((yield* ask(`${url}/metrics`, { headers: { authorization } })).status).toBe(200)
    })
  )

  it.scopedLive.each([
    ["nothing", undefined],
    ["another password", bearer("open")],
    ["a longer one", bearer(`${password}!`)],
    ["an empty one", "Bearer "],
    ["another password as Basic", basic("mimosa", "open")],
    ["the password as a user", basic(password, "")],
    ["another scheme", `Digest ${password}`],
    ["the password alone", Buffer.from(password).toString("latin1")]
  ] as const)("keeps out who says %s, whatever the path, and says how to say it", ([, authorization]) =>
    Effect.gen(function* () {
      const { url } = yield* serving({ password })
      for (const path of ["/metrics", "/v1/processes", "/v1/triggers", "/v1/logs/audit", "/nope", "/healthz/"]) {
        const { status, headers, body } = yield* ask(
          `${url}${path}`,
          authorization === undefined ? {} : { headers: { authorization } }
        )
        expect([path, status, headers.get("www-authenticate")]).toEqual([path, 401, 'Basic realm="mimosa"'])
        expect(body.error).toContain("Authorization: Bearer <password>")
      }
    })
  )

  it.scopedLive("is not asked for by /healthz and /readyz, whatever is said", () =>
    Effect.gen(function* () {
      const { url, readiness } = yield* serving({ password })
      for (const headers of [{}, { authorization: bearer("open") }]) {
        expect((yield* ask(`${url}/healthz`, { headers })).status).toBe(200)
        expect((yield* ask(`${url}/readyz`, { headers })).body).toEqual({ status: "not ready" })
      }
      readiness.accepts("RESP", 6380)
      expect((yield* ask(`${url}/readyz`)).body).toEqual({ status: "ready" })
    })
  )
})

describe("connections", () => {
  /** A connection that is kept alive: answers what the server says to one request, and when it has been closed. */
  const keptAlive = (port: number) =>
    Effect.acquireRelease(
      Effect.promise(
        () =>
          new Promise<{
            readonly ask: (path: string) => Promise<string>
            readonly closed: Promise<void>
            readonly destroy: () => void
          }>((resolve) => {
            let answer = (_: string) => {}
            const socket = connect(port, "127.0.0.1", () =>
              resolve({
                ask: (path) => {
                  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
                  return new Promise((resolve) => {
                    answer = resolve
                  })
                },
                closed,
                destroy: () => void socket.destroy()
              })
            )
            socket
              .setEncoding("latin1")
              .on("data", (text: string) => answer(text))
              .on("error", () => {})
            const closed = new Promise<void>((resolve) => void socket.on("close", () => resolve()))
          })
      ),
      ({ destroy }) => Effect.sync(destroy)
    )

  it.scopedLive("that are kept alive make room for new ones, the one that was silent longest first", () =>
    Effect.gen(function* () {
      const { readiness, supervisor } = yield* serving({}, { connectionsMax: 3 })
      const port = readiness.portOf("HTTP") as number
      const [a, b, c] = [yield* keptAlive(port), yield* keptAlive(port), yield* keptAlive(port)]
      for (const each of [a, b, c, a])
        expect(yield* Effect.promise(() => each.ask("/healthz"))).toMatch(/^HTTP\/1\.1 200 /)
      const d = yield* keptAlive(port)
      expect(yield* Effect.promise(() => d.ask("/healthz"))).toMatch(/^HTTP\/1\.1 200 /)
      yield* Effect.promise(() => b.closed)
      for (const each of [a, c, d])
        expect(yield* Effect.promise(() => each.ask("/healthz"))).toMatch(/^HTTP\/1\.1 200 /)
      const [http] = Supervisor.unsafeTree(supervisor)?.children ?? []
      expect(http?.inspect).toMatchObject({ connected: 3, evicted: 1 })
    })
  )

  it.scopedLive("that never ask anything do not keep a probe from its answer", () =>
    Effect.gen(function* () {
      const { readiness, url } = yield* serving({}, { connectionsMax: 4 })
      const port = readiness.portOf("HTTP") as number
      for (let at = 0; at < 20; at++) yield* keptAlive(port)
      expect((yield* ask(`${url}/healthz`)).status).toBe(200)
    })
  )

  it.scopedLive("that do not take their answers make room too, when all are like that", () =>
    Effect.gen(function* () {
      const large = "x".repeat(16 * 1024 * 1024)
      const { readiness, url } = yield* serving({ metrics: { render: () => large } }, { connectionsMax: 2 })
      const port = readiness.portOf("HTTP") as number
      for (const _ of [1, 2]) {
        yield* Effect.acquireRelease(
          Effect.async<Socket>((resume) => {
            const socket = connect(port, "127.0.0.1", () => socket.write("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"))
            socket.on("error", () => {}).once("readable", () => resume(Effect.succeed(socket))) // and reads no more
          }),
          (socket) => Effect.sync(() => socket.destroy())
        )
      }
      expect((yield* ask(`${url}/healthz`)).status).toBe(200)
    })
  )
})

describe("the HTTP listener", () => {
  it.scopedLive(
    "answers each request in a process of its own, and loses nothing but its connection when that crashes",
    () =>
      Effect.gen(function* () {
        const seen: string[] = []
        const processes = () => {
          const [request] = Process.list()
            .filter(({ label }) => label.startsWith("GET "))
            .slice(-1)
          seen.push(String(request?.label))
          if (seen.length === 1) Process.unsafeExit(request as Pid.Pid, ExitReason.killed)
          return aTree
        }
        const { url, supervisor } = yield* serving({ processes })
        const cut = yield* Effect.promise(() =>
          fetch(`${url}/v1/processes`).then(
            () => "answered",
            () => "cut"
          )
        )
        expect([cut, seen]).toEqual(["cut", ["GET /v1/processes"]])
        expect((yield* ask(`${url}/v1/processes`)).status).toBe(200)
        expect(Supervisor.unsafeTree(supervisor)?.children).toMatchObject([{ name: "http", restarts: 0 }])
      }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
  )

  const taken = Effect.acquireRelease(
    Effect.async<Server>((resume) => {
      const server = createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )

  it.scopedLive("does not start on a port that is in use, and says so", () =>
    Effect.gen(function* () {
      const { port } = (yield* taken).address() as AddressInfo
      const error = yield* Effect.flip(serving({}, { port }))
      expect(error.message).toContain(
        `HTTP cannot listen on 127.0.0.1:${port}: the port is in use; stop what listens there, or choose another port`
      )
    }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
  )

  it.scopedLive("comes back on its port after a crash", () =>
    Effect.gen(function* () {
      const port = yield* Effect.promise(() => Port.free())
      const { supervisor, readiness, url } = yield* serving({}, { port })
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
