/** The service speaks a program's text and values, as `Cache` does; its `inBytes` what the kernel holds. */
import { expect, it } from "@effect/vitest"
import { Effect, Layer, Logger, LogLevel } from "effect"
import { layer } from "../../src/App.ts"
import { Cache, InvalidValue } from "../../src/cache/index.ts"
import { Triggers } from "../../src/triggers/index.ts"

const opened = Layer.build(layer({ origin: "boot", eventLog: 10 })).pipe(
  Logger.withMinimumLogLevel(LogLevel.None),
  Effect.flatMap((services) => Effect.provide(Effect.all({ cache: Cache, triggers: Triggers }), services))
)

it.scoped("a made-up event has text and plain data, and what could not be stored is refused", () =>
  Effect.gen(function* () {
    const { triggers } = yield* opened
    const subject = { source: 'return { event.key, #event.key, event.value["größe"], event.old_value, event.tags[1] }' }
    const report = yield* triggers.test(subject, {
      ...{ event: "ON_WRITE", key: "clé", value: { größe: [1, "é"] }, oldValue: "vorher: ü" },
      tags: ["ä"]
    })
    expect(report.result).toEqual(["clé", 4, [1, "é"], "vorher: ü", "ä"])
    const refused = yield* Effect.flip(
      triggers.test(subject, { event: "ON_WRITE", key: "k", value: Symbol("no") as never })
    )
    expect(refused).toBeInstanceOf(InvalidValue)
  })
)

it.scoped("keys of history, records and lines are text, and in bytes as they are", () =>
  Effect.gen(function* () {
    const { cache, triggers } = yield* opened
    yield* triggers.set({
      ...{ name: "t", pattern: "*", events: ["ON_WRITE"] },
      source: 'cache.log("audit", "seen") if event.value == "bad" then error("no") end'
    })
    yield* cache.set("clé", "good")
    yield* cache.set("clé", "bad")
    const bytes = "cl\xc3\xa9"
    expect((yield* triggers.testHistory({ name: "t" }, 10)).runs.map(({ key }) => key)).toEqual(["clé", "clé"])
    expect((yield* triggers.log(5)).map(({ key }) => key)).toEqual(["clé"])
    expect(triggers.inBytes.log(5).map(({ key }) => key)).toEqual([bytes])
    expect(triggers.logs.read("audit").map(({ key }) => key)).toEqual(["clé"])
    expect(triggers.inBytes.logs.read("audit").map(({ key }) => key)).toEqual([bytes])
  })
)
