import type { ServerResponse } from "node:http"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { layer } from "../../src/App.ts"
import { type Input, Tenants } from "../../src/cache/index.ts"
import { Run, ScriptEngine } from "../../src/scripting/index.ts"
import { serve } from "./httpServer.ts"

const allowed = { httpAllow: ["127.0.0.1"], egressAllow: ["127.0.0.1"] }

/** Runs `main` of a script for a tenant that may wait for ten seconds. */
const run = (source: string, args: readonly Input[] = []) =>
  Effect.gen(function* () {
    const script = yield* (yield* ScriptEngine).compile(source)
    return yield* script.runMain(args, { cachePrefix: "tenant_123", limits: { waitMs: 10_000 } })
  })

const error = (source: string) => Effect.map(Effect.flip(run(source)), ({ message }) => message)

describe("http.request", () => {
  it.scopedLive("answers status, headers and body, and takes method, headers and body", () =>
    Effect.gen(function* () {
      const port = yield* serve((request, response, body) => {
        response.writeHead(201, { "X-Seen": `${request.method} ${request.headers["x-own"]} ${body}` })
        response.end(Buffer.from([0, 255, 10]))
      })
      const answer = yield* run(
        `function main(url)
          local r = http.request { url = url, method = "put", headers = { ["X-Own"] = 7 }, body = "hi" }
          return { r.success, r.data.status, r.data.headers["x-seen"], { r.data.body:byte(1, -1) }, r.error == nil }
        end`,
        [`http://127.0.0.1:${port}/`]
      )
      expect(answer).toEqual([true, 201, "PUT 7 hi", [0, 255, 10], true])
    }).pipe(Effect.provide(layer(allowed)))
  )

  it.scopedLive("sends a table as JSON, and says so", () =>
    Effect.gen(function* () {
      const port = yield* serve((request, response, body) => response.end(`${request.headers["content-type"]} ${body}`))
      const source = `function main(url, type)
        local headers = type and { ["content-type"] = type } or nil
        return http.request { url = url, method = "POST", headers = headers, body = { total = 1.0, list = { 1, 2 } } }.data.body
      end`
      const url = `http://127.0.0.1:${port}/`
      const [type, ...rest] = String(yield* run(source, [url])).split(" ")
      expect(type).toBe("application/json")
      expect(JSON.parse(rest.join(" "))).toEqual({ total: 1, list: [1, 2] })
      expect(yield* run(source, [url, "text/x"])).toMatch(/^text\/x \{/)
    }).pipe(Effect.provide(layer(allowed)))
  )

  it.scopedLive("goes on where the operator allows nothing, and says what would allow it", () =>
    Effect.gen(function* () {
      const answer = yield* run(`function main()
        local r = http.request { url = "https://example.com/" }
        return { success = r.success, data = r.data, error = r.error }
      end`)
      expect(answer).toEqual({
        success: false,
        error: "scripts may not reach example.com; httpAllow (--http-allow example.com) would allow it"
      })
    }).pipe(Effect.provide(layer()))
  )

  it.scopedLive("lets other runs of the tenant go on while one waits", () =>
    Effect.gen(function* () {
      const held: ServerResponse[] = []
      const port = yield* serve((_request, response) => void held.push(response))
      const script = yield* (yield* ScriptEngine).compile(`
        function main(url) return http.request { url = url }.data.body .. cache.get("word") end
        function other() cache.put("word", "!") for i = 1, 2 do cache.incr("runs") end return cache.get("runs") end`)
      const options = { cachePrefix: "tenant_123", limits: { waitMs: 10_000 } }
      const waiting = yield* Effect.fork(script.runMain([`http://127.0.0.1:${port}/`], options))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => held.length === 1 })
      expect(yield* script.run("other", [], options)).toBe(2)
      held[0]?.end("hello")
      expect(yield* waiting).toBe("hello!")
    }).pipe(Effect.provide(layer(allowed)))
  )

  it.scopedLive("is cut off when its run is interrupted", () =>
    Effect.gen(function* () {
      let closed: () => void = () => {}
      const isClosed = new Promise<void>((resolve) => {
        closed = resolve
      })
      let isOpen = false
      const port = yield* serve((_request, response) => {
        isOpen = true
        response.on("close", closed)
      })
      const abort = new AbortController()
      const script = yield* (yield* ScriptEngine).compile("function main(url) return http.request { url = url } end")
      const options = { cachePrefix: "tenant_123", limits: { waitMs: 10_000 }, signal: abort.signal }
      const waiting = yield* Effect.fork(Effect.flip(script.runMain([`http://127.0.0.1:${port}/`], options)))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => isOpen })
      abort.abort()
      expect(yield* waiting).toMatchObject({ _tag: "ScriptInterrupted" })
      yield* Effect.promise(() => isClosed)
    }).pipe(Effect.provide(layer(allowed)))
  )

  it.scopedLive("bounds the requests of one tenant at once", () =>
    Effect.gen(function* () {
      const held: ServerResponse[] = []
      const port = yield* serve((_request, response) => void held.push(response))
      yield* (yield* Tenants).create({ id: "tenant_123", limits: { requestsMax: 1 } })
      const script = yield* (yield* ScriptEngine).compile(
        "function main(url) local r = http.request { url = url } return r.error or r.data.body end"
      )
      const options = { cachePrefix: "tenant_123", limits: { waitMs: 10_000 } }
      const url = `http://127.0.0.1:${port}/`
      const first = yield* Effect.fork(script.runMain([url], options))
      yield* Effect.repeat(Effect.yieldNow(), { until: () => held.length === 1 })
      expect(yield* script.runMain([url], options)).toBe("1 requests of this tenant are under way, which is the limit")
      held[0]?.end("done")
      expect(yield* first).toBe("done")
    }).pipe(Effect.provide(layer(allowed)))
  )

  it.scopedLive("is refused past the requests at once that runs without a tenant may have", () =>
    Effect.gen(function* () {
      const port = yield* serve(() => {}) // never answers
      const script = yield* (yield* ScriptEngine).compile("function main(url) return http.request { url = url } end")
      const held = script.unsafeRun("main", [`http://127.0.0.1:${port}/`])
      expect(yield* script.runMain([`http://127.0.0.1:${port}/`])).toMatchObject({
        success: false,
        error: expect.stringContaining("1 requests of this tenant are under way")
      })
      if (held instanceof Run) held.interrupt("it has held the place for long enough")
    }).pipe(Effect.provide(layer({ ...allowed, scripts: { limits: { requestsMax: 1 } } })))
  )

  it.effect.each([
    ["", "takes a table"],
    ["'https://a.example/'", "takes a table"],
    ["{}", "url is to be a string"],
    ["{ url = 1 }", "url is to be a string"],
    ["{ url = 'https://a.example/', method = 'TRACE' }", "method is to be one of GET, HEAD"],
    ["{ url = 'https://a.example/', method = 'GE T' }", "method is to be one of"],
    ["{ url = 'https://a.example/', timeout = 0 }", "timeout is to be a number of seconds above 0"],
    ["{ url = 'https://a.example/', timeout = 0/0 }", "timeout is to be a number"],
    ["{ url = 'https://a.example/', timeout = 301 }", "timeout is to be a number"],
    ["{ url = 'https://a.example/', headers = 'x' }", "headers is to be a table"],
    ["{ url = 'https://a.example/', headers = { a = true } }", "the value of header a is to be a string"],
    ["{ url = 'https://a.example/', headers = { ['a b'] = 'x' } }", "'a b' is no name of a header"],
    ["{ url = 'https://a.example/', headers = { host = 'x' } }", "the header host is not a script's to set"],
    ["{ url = 'https://a.example/', headers = { a = 'x\\r\\nb: y' } }", "characters that no header may have"],
    ["{ url = 'https://a.example/', body = true }", "body is to be a string"],
    ["{ url = 'https://a.example/', body = ('x'):rep(1024):rep(1025) }", "strings of more than"],
    ["{ url = 'https://a.example/', redirects = 3 }", "there is no option 'redirects'; there are url, method"],
    ["{ 'https://a.example/' }", "its argument has keys that are no option's name"],
    ["{ url = print }", "is a function"]
  ])("takes no request such as %s", ([argument, why]) =>
    Effect.gen(function* () {
      const message = yield* error(`function main()\n  return http.request(${argument})\nend`)
      expect(message).toContain("http.request: ")
      expect(message).toContain(why)
    }).pipe(Effect.provide(layer()))
  )
})
