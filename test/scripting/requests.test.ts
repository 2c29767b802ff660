/** Scripts that ask others over HTTP: they wait, the others go on, and nothing is left of who is ended meanwhile. */
import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { expect, it } from "@effect/vitest"
import { Effect, Either, Fiber } from "effect"
import { Run, ScriptSyntaxError } from "../../src/scripting/index.ts"
import { EgressPolicy, HostAllowList } from "../../src/webhooks/index.ts"
import { engineWith } from "./engine.ts"

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A server that answers when the test says so; `closed` counts the requests that were given up. */
const slowServer = Effect.acquireRelease(
  Effect.promise(async () => {
    const waiting: ServerResponse[] = []
    const counts = { asked: 0, closed: 0 }
    const server = createServer((request, response) => {
      counts.asked++
      response.on("close", () => {
        if (!response.writableEnded) counts.closed++
      })
      if (request.url === "/now") response.end('{"price": 42}')
      else waiting.push(response)
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    return { server, waiting, counts, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
  }),
  ({ server }) =>
    Effect.promise(
      () =>
        new Promise<void>((resolve) => {
          server.closeAllConnections()
          server.close(() => resolve())
        })
    )
)

const settings = {
  http: {
    hosts: Either.getOrThrow(HostAllowList.parse(["127.0.0.1"])),
    policy: Either.getOrThrow(EgressPolicy.parse(["127.0.0.1"])),
    userAgent: "mimosa/test"
  }
}

it.scoped("an answer is kept in the cache, and asked for once", () =>
  Effect.gen(function* () {
    const { url, counts } = yield* slowServer
    const { engine } = yield* engineWith(settings)
    const script = yield* engine.compile(`
      function main(url)
        local known = cache.get(url)
        if known then return known end
        local answer = http.request{ url = url }
        if not answer.success then return answer.error end
        local price = json.decode(answer.data.body).price
        cache.put_ttl(url, price, 1.5)
        return price
      end
    `)
    for (let i = 0; i < 3; i++) {
      expect(yield* script.runMain([`${url}/now`], { cachePrefix: "t" })).toBe(42)
    }
    expect(counts.asked).toBe(1)
    expect(yield* script.runMain(["http://example.com/"], { cachePrefix: "t" })).toContain("example.com")
  })
)

it.scoped("a hundred wait at once, others run meanwhile, and all get their answers", () =>
  Effect.gen(function* () {
    const { url, waiting } = yield* slowServer
    const { engine } = yield* engineWith(settings)
    const script = engine.unsafeCompile(`
      function main(url, i) return http.request{ url = url .. "/" .. i }.data.body end
      function quick() return "quick" end
    `)
    if (script instanceof ScriptSyntaxError) throw script
    const options = { cachePrefix: "t", limits: { waitMs: 60_000 } }
    const runs: Run[] = []
    for (let i = 0; i < 100; i++) {
      const run = script.unsafeRun("main", [url, i], options)
      if (!(run instanceof Run)) throw run
      runs.push(run)
    }
    while (waiting.length < 100) yield* Effect.promise(turn)
    expect(engine.stats.suspended).toBe(100)
    expect(yield* script.run("quick")).toBe("quick")
    for (const response of waiting.reverse()) response.end(`answer to ${response.req.url}`)
    while (engine.stats.runs > 0) yield* Effect.promise(turn)
    expect(runs.map(({ value }) => value)).toEqual(runs.map((_, i) => `answer to /${i}`))
    expect(engine.stats).toMatchObject({ suspended: 0, images: 0, imageBytes: 0 })
  })
)

it.scoped("the request of a run that is interrupted is given up", () =>
  Effect.gen(function* () {
    const { url, waiting, counts } = yield* slowServer
    const { engine } = yield* engineWith(settings)
    const script = yield* engine.compile("function main(url) return http.request{ url = url } end")
    const fiber = yield* Effect.fork(script.runMain([url]))
    while (waiting.length < 1) yield* Effect.promise(turn)
    yield* Fiber.interrupt(fiber)
    expect(engine.stats.runs).toBe(0)
    while (counts.closed < 1) yield* Effect.promise(turn)
  })
)

it.scoped.each(["", ", timeout = 5", ", timeout = 0.095"])(
  "a request that nobody answers ends before the run has to: { url = url%s }",
  (timeout) =>
    Effect.gen(function* () {
      const { url, counts } = yield* slowServer
      const { engine } = yield* engineWith(settings)
      const script = yield* engine.compile(`
        function main(url)
          local answer = http.request{ url = url${timeout} }
          cache.put("why", answer.error)
          return { answer.success, answer.data == nil, cache.get("why") }
        end
      `)
      expect(yield* script.runMain([url], { cachePrefix: "t", limits: { waitMs: 100 } })).toEqual([
        false,
        true,
        "no answer within 0.09 s (the run may wait 100 ms: waitMs)"
      ])
      while (counts.closed < 1) yield* Effect.promise(turn)
    })
)

it.scoped("a request that ends by its own time says no more than that", () =>
  Effect.gen(function* () {
    const { url } = yield* slowServer
    const { engine } = yield* engineWith(settings)
    const script = yield* engine.compile(
      "function main(url) return http.request{ url = url, timeout = 0.05 }.error end"
    )
    expect(yield* script.runMain([url], { limits: { waitMs: 60_000 } })).toBe("no answer within 0.05 s")
  })
)

it.scoped("a run that has no time to wait left is ended, as by any wait", () =>
  Effect.gen(function* () {
    const { url } = yield* slowServer
    const { engine } = yield* engineWith(settings)
    const script = yield* engine.compile("function main(url) return http.request{ url = url } end")
    expect(yield* Effect.flip(script.runMain([url], { limits: { waitMs: 0 } }))).toMatchObject({
      _tag: "ScriptTimeout",
      kind: "waiting"
    })
  })
)
