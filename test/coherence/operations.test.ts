/** What operators ask of whole programs: the doctor and warming, over the transport in memory. */
import { Context, Effect, Layer, Logger, LogLevel, type Scope } from "effect"
import { describe, expect, it } from "vitest"
import { layerWith } from "../../src/App.ts"
import { Cache } from "../../src/cache/index.ts"
import type { CoherenceSettings } from "../../src/coherence/index.ts"
import { Coherence } from "../../src/coherence/index.ts"
import * as Memory from "../../src/coherence/transport/Memory.ts"

const two = (coherence: CoherenceSettings = {}) =>
  Effect.gen(function* () {
    const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
    const transport = Layer.provide(Memory.layer, network)
    const program = Effect.map(
      Layer.build(layerWith({ namespace: "shop", coherence }, [], { transport })),
      (services) => {
        const service = Context.get(services, Coherence.Coherence)
        if (service === null) throw new Error("it has a namespace")
        return { cache: Context.get(services, Cache), coherence: service }
      }
    )
    const [a, b] = [yield* program, yield* program]
    yield* a.coherence.untilMembers(1)
    yield* b.coherence.untilMembers(1)
    return { a, b }
  })

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(effect), LogLevel.None))

const live = { ackMode: "live" } as const

describe("the doctor of a program", () => {
  it("compares what is here with the other one, and finds nothing stale", () =>
    run(
      Effect.gen(function* () {
        const { a, b } = yield* two()
        for (let n = 0; n < 20; n++) yield* a.cache.set(`k${n}`, n, live)
        for (let n = 0; n < 10; n++) yield* b.cache.get(`k${n}`)
        const diagnosis = yield* Effect.promise(() => b.coherence.examine())
        expect(diagnosis).toMatchObject({ samples: 10, asked: 1, stale: 0, samplesEver: 10 })
        expect(yield* Effect.promise(() => a.coherence.examine(5))).toMatchObject({ samples: 5, stale: 0 })
      })
    ))

  it("is busy while it is asked twice", () =>
    run(
      Effect.gen(function* () {
        const { a } = yield* two()
        yield* a.cache.set("k", 1, live)
        const [first, second] = yield* Effect.promise(() => Promise.all([a.coherence.examine(), a.coherence.examine()]))
        expect(first).toMatchObject({ samples: 1 })
        expect(second).toBe("busy")
      })
    ))
})

describe("warming of a program", () => {
  /** Until the turns in which a fetch is begun, answered and stored have passed. */
  const until = (isSo: () => boolean) =>
    Effect.repeat(
      Effect.promise(() => new Promise((resolve) => setImmediate(resolve))),
      {
        until: () => isSo(),
        times: 10_000
      }
    )

  it("has the new value of a key that is read much before anybody asks for it, without a write, hit or broadcast", () =>
    run(
      Effect.gen(function* () {
        const { a, b } = yield* two({ warming: "always" })
        yield* a.cache.set("k", 1, live)
        yield* b.cache.get("k")
        const { hits, writes } = yield* b.cache.stats
        yield* a.cache.set("k", 2, live)
        yield* until(() => b.cache.peek("k") !== undefined)
        expect(b.cache.peek("k")?.value).toBe(2)
        const after = yield* b.cache.stats
        expect([after.hits, after.writes]).toEqual([hits, writes])
        expect(b.coherence.status()).toMatchObject({ written: 0, counters: { warmingFetched: 1, warmingEmpty: 0 } })
      })
    ))

  it("leaves it alone with 'never', and says so in the trace", () =>
    run(
      Effect.gen(function* () {
        const { a, b } = yield* two({ warming: "never" })
        yield* a.cache.set("k", 1, live)
        yield* b.cache.get("k")
        yield* a.cache.set("k", 2, live)
        yield* a.cache.set("other", 1, live)
        expect(b.cache.peek("k")).toBeUndefined()
        expect(b.coherence.status().counters).toMatchObject({ warmingConsidered: 0, warmingFetched: 0 })
        expect(b.coherence.trace("k")).toContain("nothing is fetched ahead: warming is off")
      })
    ))

  it("traces what is expected of a key", () =>
    run(
      Effect.gen(function* () {
        const { a, b } = yield* two()
        yield* a.cache.set("k", 1, live)
        yield* b.cache.get("k")
        yield* a.cache.set("k", 2, live)
        expect(b.coherence.trace("k").at(-1)).toMatch(
          /^after a write elsewhere: a chance of \d\.\d\d to be read within 1000 ms \(fetched from 0\.5 on: \w+\)/
        )
      })
    ))
})
