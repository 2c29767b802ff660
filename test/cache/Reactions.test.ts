/** What happens when somebody who is told of something throws: it is counted, told now and then, and goes no further. */
import { Effect, Layer, Logger } from "effect"
import { describe, expect, it } from "vitest"
import { Bus, CacheClock, Keyspaces, Reactions, Wakeups } from "../../src/cache/index.ts"
import { Cause, causeBit, type Pattern, parsePattern } from "../../src/kernel/index.ts"

const broken = () => {
  throw new Error("broken")
}

/** Runs the effect and returns what it logged. */
const logged = (effect: Effect.Effect<void>): unknown[] => {
  const lines: unknown[] = []
  const logger = Logger.make(({ message, annotations }) => lines.push([message, Object.fromEntries(annotations)]))
  Effect.runSync(Effect.provide(effect, Logger.replace(Logger.defaultLogger, logger)))
  return lines
}

describe("a reaction that throws", () => {
  it("is counted each time, and told when it has thrown twice as often", () => {
    const throwing = { onEvent: broken, onSettled() {}, beforeWrite: broken, beforeDelete: () => null }
    const ground = Layer.mergeAll(CacheClock.layer, Wakeups.layer, Layer.succeed(Reactions, throwing))
    const lines = logged(
      Effect.gen(function* () {
        const { main } = yield* Keyspaces
        const mask = causeBit(Cause.write) | causeBit(Cause.beforeWrite)
        main.trie.add({ pattern: parsePattern("*") as Pattern, mask, priority: 0 })
        for (let i = 0; i < 4; i++) main.set(`k${i}`, "v")
        expect([main.size, main.stats.sinkErrors]).toEqual([4, 8])
      }).pipe(Effect.provide(Layer.provideMerge(Keyspaces.layer(), ground)))
    )
    expect(lines).toEqual(
      [1, 2, 4, 8].map((count) => [["a reaction to an event has thrown", { count, error: new Error("broken") }], {}])
    )
  })
})

describe("a subscriber that throws", () => {
  it("is counted each time, and told when it has thrown twice as often", () => {
    const lines = logged(
      Effect.gen(function* () {
        const bus = yield* Bus
        bus.subscribe("news", { onMessage: broken })
        for (let i = 0; i < 5; i++) bus.publish("news", "x")
        expect(bus.stats).toEqual({ published: 5, delivered: 5, failed: 5 })
      }).pipe(Effect.provide(Bus.layer))
    )
    expect(lines).toEqual(
      [1, 2, 4].map((count) => [
        ["a subscriber has thrown", { count, error: new Error("broken") }],
        { channel: "news" }
      ])
    )
  })
})
