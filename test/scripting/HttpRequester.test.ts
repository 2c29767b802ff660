import type { ServerResponse } from "node:http"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Either } from "effect"
import {
  type HttpAnswer,
  HttpFailure,
  type HttpLimits,
  HttpRequester,
  refusalOfHeader
} from "../../src/scripting/HttpRequester.ts"
import { EgressPolicy, HostAllowList } from "../../src/webhooks/index.ts"
import { serve } from "./httpServer.ts"

interface Asked {
  readonly hosts?: string
  readonly egress?: string
  readonly limits?: Partial<HttpLimits>
  readonly resolve?: (name: string) => string[]
}

const requester = ({ hosts = "*", egress = "127.0.0.1", limits = {}, resolve }: Asked = {}) =>
  HttpRequester.make({
    hosts: Either.getOrThrow(HostAllowList.parse([hosts])),
    policy: Either.getOrThrow(EgressPolicy.parse([egress])),
    userAgent: "mimosa/test",
    limits,
    ...(resolve === undefined
      ? {}
      : {
          resolve: async (name: string) =>
            resolve(name).map((address) => ({ address, family: address.includes(":") ? 6 : 4 }))
        })
  })

interface Sent {
  readonly method?: string
  readonly headers?: ReadonlyArray<readonly [string, string]>
  readonly body?: Uint8Array
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  readonly tenant?: string
  readonly requestsMax?: number
}

const send = (client: HttpRequester, url: string, sent: Sent = {}): Effect.Effect<HttpAnswer, HttpFailure> => {
  const { method = "GET", headers = [], body = null, timeoutMs = 10_000, tenant = "a", requestsMax = 100 } = sent
  const { signal = new AbortController().signal } = sent
  return Effect.tryPromise({
    try: async () => {
      const permitted = client.permitted(url)
      if (permitted instanceof HttpFailure) throw permitted
      return client.request(tenant, requestsMax, { method, url: permitted, headers, body, timeoutMs }, signal)
    },
    catch: (error) => error as HttpFailure
  })
}

const refused = (client: HttpRequester, url: string, sent: Sent = {}) =>
  Effect.map(Effect.flip(send(client, url, sent)), ({ reason, message }) => ({ reason, message }))

describe("HttpRequester", () => {
  it.scoped("gives status, headers and bytes of the answer, whatever the status is", () =>
    Effect.gen(function* () {
      const port = yield* serve((request, response, body) => {
        response.writeHead(404, { "X-Method": request.method ?? "", "Set-Cookie": ["a=1", "b=2"] })
        response.end(Buffer.from([0, 255, body.length]))
      })
      const client = yield* requester()
      const answer = yield* send(client, `http://127.0.0.1:${port}/`, { method: "POST", body: Buffer.from("abc") })
      expect(answer.status).toBe(404)
      expect(answer.headers["x-method"]).toBe("POST")
      expect(answer.headers["set-cookie"]).toBe("a=1, b=2")
      expect([...answer.body]).toEqual([0, 255, 3])
      expect(client.stats).toMatchObject({ requests: 1, answers: 1, underWay: 0, bodyBytes: 0 })
    })
  )

  it.scoped("says who asks, unless the script says it", () =>
    Effect.gen(function* () {
      const port = yield* serve((request, response) => response.end(request.headers["user-agent"]))
      const client = yield* requester()
      const text = (headers: Sent["headers"] = []) =>
        Effect.map(send(client, `http://127.0.0.1:${port}/`, { headers }), ({ body }) => Buffer.from(body).toString())
      expect(yield* text()).toBe("mimosa/test")
      expect(yield* text([["User-Agent", "own"]])).toBe("own")
    })
  )

  it.scoped("reaches no host that is not on the list, and says what would allow it", () =>
    Effect.gen(function* () {
      const client = yield* requester({ hosts: "api.example", egress: "*" })
      expect(yield* refused(client, "http://127.0.0.1:1/")).toEqual({
        reason: "refused",
        message: "scripts may not reach 127.0.0.1:1; httpAllow (--http-allow 127.0.0.1:1) would allow it"
      })
      expect((yield* refused(client, "http://localhost/")).message).toContain("scripts may not reach localhost")
      expect(client.stats.refused).toBe(2)
    })
  )

  it.scoped.each([
    "http://2130706433:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0x7f000001:PORT/",
    "http://127.1:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://0.0.0.0:PORT/",
    "http://localhost:PORT/",
    "http://a.localhost:PORT/",
    "http://LOCALHOST.:PORT/",
    "http://１２７.０.０.１:PORT/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00::1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://10.0.0.1/",
    "http://user:secret@127.0.0.1:PORT/"
  ])("refuses %s where every host is allowed and no private address is", (template) =>
    Effect.gen(function* () {
      let asked = 0
      const port = yield* serve((_request, response) => {
        asked++
        response.end()
      })
      const client = yield* requester({ egress: "" })
      const { reason } = yield* refused(client, template.replace("PORT", String(port)))
      expect(reason).toBe("refused")
      expect(asked).toBe(0)
    })
  )

  it.scoped.each(["ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "data:,a", "/relative", ""])(
    "takes no URL of another scheme: %s",
    (url) =>
      Effect.gen(function* () {
        const client = yield* requester({ egress: "*" })
        expect((yield* refused(client, url)).reason).toBe("refused")
      })
  )

  it.scoped("refuses a name that leads to the loopback, and does not say where it leads", () =>
    Effect.gen(function* () {
      const client = yield* requester({ egress: "", resolve: () => ["127.0.0.1"] })
      const { reason, message } = yield* refused(client, "http://inside.example/")
      expect(reason).toBe("refused")
      expect(message).toBe("http://inside.example leads to no address that may be reached from here")
    })
  )

  it.scoped("asks for the address of each new connection once, so that a second answer is never used", () =>
    Effect.gen(function* () {
      const port = yield* serve((_request, response) => response.writeHead(200, { connection: "close" }).end())
      const answers = [["127.0.0.1"], ["127.0.0.2"]]
      let asked = 0
      const client = yield* requester({ resolve: () => answers[Math.min(asked++, 1)] as string[] })
      const url = `http://rebind.example:${port}/`
      expect((yield* send(client, url)).status).toBe(200)
      expect(asked).toBe(1)
      expect((yield* refused(client, url)).reason).toBe("refused")
    })
  )

  it.scoped("checks each redirect by list and address", () =>
    Effect.gen(function* () {
      let inside = 0
      const port = yield* serve((request, response) => {
        if (request.url !== "/inside")
          response.writeHead(302, { location: decodeURIComponent((request.url ?? "").slice(1)) }).end()
        else {
          inside++
          response.end()
        }
      })
      const client = yield* requester({ hosts: `127.0.0.1:${port}, *.example`, resolve: () => ["127.0.0.1"] })
      const via = (target: string) => `http://127.0.0.1:${port}/${encodeURIComponent(target)}`
      expect((yield* send(client, via(`http://127.0.0.1:${port}/inside`))).status).toBe(200)
      expect((yield* send(client, via("inside"))).status).toBe(200)
      expect(inside).toBe(2)
      expect((yield* refused(client, via("http://127.0.0.1:1/inside"))).reason).toBe("refused")
      expect((yield* refused(client, via("http://localhost/inside"))).reason).toBe("refused")
      expect((yield* refused(client, via("file:///etc/passwd"))).reason).toBe("refused")
      expect(inside).toBe(2)
    })
  )

  it.scoped("refuses a redirect to a private address where only its host's name is allowed", () =>
    Effect.gen(function* () {
      const port = yield* serve((_request, response) =>
        response.writeHead(307, { location: "http://other.example/" }).end()
      )
      const resolve = (name: string) => [name === "front.example" ? "127.0.0.1" : "127.0.0.2"]
      const client = yield* requester({ hosts: "*.example", resolve })
      expect((yield* refused(client, `http://front.example:${port}/`)).reason).toBe("refused")
    })
  )

  it.scoped("follows so many redirects and no more", () =>
    Effect.gen(function* () {
      let asked = 0
      const port = yield* serve((_request, response) => {
        asked++
        response.writeHead(302, { location: "/again" }).end()
      })
      const client = yield* requester({ limits: { redirectsMax: 3 } })
      const failure = yield* Effect.flip(send(client, `http://127.0.0.1:${port}/`))
      expect(failure).toMatchObject({ reason: "redirects", message: "more than 3 redirects" })
      expect(asked).toBe(4)
    })
  )

  it.scoped("asks anew by GET after a POST, keeps method and body at 307, and keeps secrets from other origins", () =>
    Effect.gen(function* () {
      const seen: string[] = []
      const other = yield* serve((request, response, body) => {
        seen.push(
          `${request.method} ${body} ${request.headers.authorization ?? "-"} ${request.headers["x-own"] ?? "-"}`
        )
        response.end()
      })
      const port = yield* serve((request, response) =>
        response.writeHead(Number(request.url?.slice(1)), { location: `http://127.0.0.1:${other}/` }).end()
      )
      const client = yield* requester()
      const sent: Sent = {
        method: "POST",
        body: Buffer.from("body"),
        headers: [
          ["Authorization", "secret"],
          ["X-Own", "1"],
          ["Content-Type", "text/plain"]
        ]
      }
      for (const status of [301, 302, 303, 307, 308]) yield* send(client, `http://127.0.0.1:${port}/${status}`, sent)
      expect(seen).toEqual(["GET  - 1", "GET  - 1", "GET  - 1", "POST body - 1", "POST body - 1"])
    })
  )

  it.scoped("cuts off an answer that is too long, however it comes", () =>
    Effect.gen(function* () {
      const port = yield* serve((_request, response) => response.end("x".repeat(1001)))
      const client = yield* requester({ limits: { bodyBytesMax: 1000 } })
      const failure = yield* Effect.flip(send(client, `http://127.0.0.1:${port}/`))
      expect(failure).toMatchObject({ reason: "size", message: "the answer has more than 1000 bytes" })
      expect(client.stats).toMatchObject({ underWay: 0, bodyBytes: 0 })
    })
  )

  it.scoped("cuts off an answer in too many small pieces, and takes a long one in pieces of a usual size", () =>
    Effect.gen(function* () {
      const sizes: Readonly<Record<string, number>> = { "/bytes": 1, "/lines": 80 }
      const port = yield* serve((request, response) => {
        const size = sizes[request.url ?? ""] as number
        const chunk = `${size.toString(16)}\r\n${"x".repeat(size)}\r\n`
        response.writeHead(200, { "transfer-encoding": "chunked", connection: "close" }).flushHeaders()
        response.socket?.end(`${chunk.repeat(10_000)}0\r\n\r\n`)
      })
      const client = yield* requester()
      const failure = yield* Effect.flip(send(client, `http://127.0.0.1:${port}/bytes`))
      expect(failure).toMatchObject({ reason: "size", message: "the answer comes in too many small pieces" })
      expect((yield* send(client, `http://127.0.0.1:${port}/lines`)).body.length).toBe(800_000)
      expect(client.stats).toMatchObject({ underWay: 0, bodyBytes: 0 })
    })
  )

  it.scoped("bounds what all bodies hold together", () =>
    Effect.gen(function* () {
      const port = yield* serve((_request, response) => response.end("x".repeat(600)))
      const client = yield* requester({ limits: { bytesMax: 500 } })
      expect(yield* Effect.flip(send(client, `http://127.0.0.1:${port}/`))).toMatchObject({ reason: "busy" })
      expect(client.stats.bodyBytes).toBe(0)
    })
  )

  it.scoped("bounds the requests of a tenant, and those of all, and counts what it turns away", () =>
    Effect.gen(function* () {
      const held: ServerResponse[] = []
      let release: () => void = () => {}
      const all = new Promise<void>((resolve) => {
        release = resolve
      })
      const port = yield* serve((_request, response) => {
        held.push(response)
        if (held.length === 3) release()
      })
      const client = yield* requester({ limits: { requestsMax: 3 } })
      const url = `http://127.0.0.1:${port}/`
      const first = yield* Effect.fork(
        Effect.all([send(client, url, { requestsMax: 2 }), send(client, url, { requestsMax: 2 })], { concurrency: 2 })
      )
      const second = yield* Effect.fork(send(client, url, { tenant: "b" }))
      yield* Effect.promise(() => all)
      const own = yield* Effect.flip(send(client, url, { requestsMax: 2 }))
      expect(own).toMatchObject({
        reason: "busy",
        message: "2 requests of this tenant are under way, which is the limit"
      })
      const together = yield* Effect.flip(send(client, url, { tenant: "c" }))
      expect(together).toMatchObject({ reason: "busy", message: "3 requests are under way, which is the limit" })
      for (const response of held) response.end()
      expect((yield* first).map(({ status }) => status)).toEqual([200, 200])
      expect((yield* second).status).toBe(200)
      expect(client.stats).toMatchObject({ busy: 2, answers: 3, underWay: 0 })
    })
  )

  it.scoped("ends with the signal's reason, and the server sees the connection go", () =>
    Effect.gen(function* () {
      const abort = new AbortController()
      let gone: () => void = () => {}
      const isGone = new Promise<void>((resolve) => {
        gone = resolve
      })
      const port = yield* serve((_request, response) => {
        response.on("close", gone)
        abort.abort(new Error("enough"))
      })
      const client = yield* requester()
      const error = yield* Effect.flip(send(client, `http://127.0.0.1:${port}/`, { signal: abort.signal }))
      expect(error.message).toBe("enough")
      expect(client.stats.underWay).toBe(0)
      yield* Effect.promise(() => isGone)
    })
  )

  it.live("ends a request that takes too long", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const port = yield* serve(() => {})
        const client = yield* requester()
        const failure = yield* Effect.flip(send(client, `http://127.0.0.1:${port}/`, { timeoutMs: 20 }))
        expect(failure).toMatchObject({ reason: "timeout", message: "no answer within 0.02 s" })
      })
    )
  )

  it.live("does not wait for a connection that is being made, which keeps its place until then", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const lookups: Array<() => void> = []
        const client = yield* HttpRequester.make({
          hosts: Either.getOrThrow(HostAllowList.parse(["*"])),
          policy: Either.getOrThrow(EgressPolicy.parse([])),
          userAgent: "mimosa/test",
          resolve: () => new Promise((_, reject) => lookups.push(() => reject(new Error("no such name"))))
        })
        const asked = { timeoutMs: 20, requestsMax: 1 }
        expect(yield* refused(client, "http://a.example/", asked)).toEqual({
          reason: "timeout",
          message: "no answer within 0.02 s"
        })
        expect(client.stats).toMatchObject({ underWay: 1, failed: 1 })
        expect(yield* refused(client, "http://b.example/", asked)).toMatchObject({ reason: "busy" })
        for (const end of lookups) end()
        yield* Effect.repeat(Effect.yieldNow(), { until: () => client.stats.underWay === 0 })
        expect(yield* refused(client, "http://b.example/", asked)).toMatchObject({ reason: "timeout" })
        expect(lookups).toHaveLength(2)
        lookups[1]?.()
      })
    )
  )

  it.scoped("says in one word why there was no connection", () =>
    Effect.gen(function* () {
      const port = yield* Effect.scoped(serve(() => {}))
      const client = yield* requester()
      const failure = yield* Effect.flip(send(client, `http://127.0.0.1:${port}/`))
      expect(failure).toBeInstanceOf(HttpFailure)
      expect(failure).toMatchObject({ reason: "network", message: "ECONNREFUSED" })
    })
  )
})

describe("a script's headers", () => {
  it.each([
    ["content-length", "5"],
    ["Transfer-Encoding", "chunked"],
    ["Host", "other.example"],
    ["connection", "close"],
    ["proxy-authorization", "x"]
  ])("may not frame the message: %s", (name, value) => {
    expect(refusalOfHeader(name, value)).toContain("is not a script's to set")
  })

  it.each(["", "a b", "a:b", "a\r\nb", "ä", "x".repeat(129)])("may not be called %j", (name) => {
    expect(refusalOfHeader(name, "v")).toContain("no name of a header")
  })

  it("may not hold what would begin another", () => {
    expect(refusalOfHeader("x-a", "1\r\nx-b: 2")).toContain("characters that no header may have")
    expect(refusalOfHeader("x-a", "\0")).toContain("characters")
    expect(refusalOfHeader("x-a", "1, 2")).toBeUndefined()
  })
})
