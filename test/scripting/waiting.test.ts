/** Five thousand scripts that wait for an answer at once: all get one, or are told that none came. */
import type { ServerResponse } from "node:http"
import { describe, expect, it } from "@effect/vitest"
import { Effect } from "effect"
import { layer } from "../../src/App.ts"
import { Run, ScriptEngine } from "../../src/scripting/index.ts"
import { serve } from "./httpServer.ts"

const count = 5_000
const tenants = 50
const hopeless = 100 // of them ask where nobody answers

describe("scripts that wait in http.request", () => {
  it.scopedLive(
    "are five thousand at once, and none is lost",
    () =>
      Effect.gen(function* () {
        const held: ServerResponse[] = []
        let isReleased = false
        const port = yield* serve((request, response) => {
          if (request.url === "/never") return
          if (isReleased) response.end(request.url)
          else held.push(response)
        })
        const url = `http://127.0.0.1:${port}`
        const engine = yield* ScriptEngine
        const script = yield* engine.compile(`
          function main(url, timeout)
            local before = cache.incr("asked")
            local answer = http.request { url = url, timeout = timeout }
            cache.incr("answered")
            return { before = before, body = answer.data and answer.data.body, error = answer.error }
          end`)
        const started = Array.from({ length: count }, (_, i) => {
          const isHopeless = i % (count / hopeless) === 0
          const path = isHopeless ? "/never" : `/${i}`
          const options = { cachePrefix: `tenant_${i % tenants}`, limits: { waitMs: 100_000 } }
          const run = script.unsafeRun("main", [`${url}${path}`, isHopeless ? 2 : 100], options)
          if (!(run instanceof Run)) throw run
          return run
        })
        const ended = Effect.all(
          started.map((run) =>
            Effect.async<Run>((resume) => {
              if (run.isEnded) resume(Effect.succeed(run))
              else run.onEnd = () => resume(Effect.succeed(run))
            })
          ),
          { concurrency: "unbounded" }
        )
        const outcomes = yield* Effect.fork(ended)
        // Those that have somebody to answer them wait, all at once.
        yield* Effect.repeat(Effect.sleep(5), { until: () => engine.stats.suspended >= count - hopeless })
        const { images, imageBytes } = engine.stats
        expect(images).toBeGreaterThanOrEqual(count - hopeless - 16) // the rest are where they ran
        expect(imageBytes / images).toBeLessThan(16_384)
        isReleased = true
        for (const response of held) response.end(response.req.url)
        const all = yield* outcomes
        expect(all.filter(({ error }) => error !== null)).toEqual([])
        for (const [i, { value }] of all.entries()) {
          const isHopeless = i % (count / hopeless) === 0
          expect(value).toMatchObject(isHopeless ? { error: "no answer within 2 s" } : { body: `/${i}` })
        }
        expect(engine.stats).toMatchObject({ runs: 0, queued: 0, suspended: 0, images: 0, imageBytes: 0 })
      }).pipe(Effect.provide(layer({ httpAllow: ["127.0.0.1"], egressAllow: ["127.0.0.1"] }))),
    120_000
  )
})
