/** Log streams as a program has them: fed by its triggers, beside its own log, and counted in its metrics. */
import { expect, it } from "@effect/vitest"
import { Effect, Layer, Logger, LogLevel } from "effect"
import { layer, Metrics } from "../../src/App.ts"
import { Cache } from "../../src/cache/index.ts"
import { Triggers } from "../../src/triggers/index.ts"

it.scoped("keep what a trigger logs, and drop with everything else what a failed run logged", () =>
  Effect.gen(function* () {
    const services = yield* Layer.build(layer({ origin: "boot" })).pipe(Logger.withMinimumLogLevel(LogLevel.None))
    const { cache, triggers, metrics } = yield* Effect.provide(
      Effect.all({ cache: Cache, triggers: Triggers, metrics: Metrics }),
      services
    )
    yield* triggers.set({
      name: "audit",
      pattern: "user:*",
      events: ["ON_WRITE"],
      source: `cache.log("audit", { who = event.key })
        print("seen")
        if event.value == "bad" then error("no") end`
    })
    yield* cache.set("user:1", "good")
    yield* cache.set("user:2", "bad")
    yield* cache.set("user:3", "good")
    expect(triggers.logs.read("audit")).toMatchObject([
      { number: 1, fields: '{"who":"user:1"}', message: null, trigger: "audit", event: "ON_WRITE", key: "user:1" },
      { number: 2, fields: '{"who":"user:3"}', key: "user:3" }
    ])
    expect(triggers.logs.read("audit")[0]?.cascade).toMatch(/^boot-\d+$/)
    expect(triggers.logs.list().map(({ stream, lines }) => [stream, lines])).toEqual([
      ["audit", 2],
      ["default", 2]
    ])
    expect(metrics.render()).toContain("mimosa_log_lines_total 4\n")
  })
)
