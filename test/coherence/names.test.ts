/** One instance has one name: what `COHERENCE PEERS` of the others shows is what triggers see, here and there. */
import { Context, Effect, Layer, Logger, LogLevel, type Scope } from "effect"
import { expect, it } from "vitest"
import { layerWith } from "../../src/App.ts"
import { Bus, Cache } from "../../src/cache/index.ts"
import { Coherence } from "../../src/coherence/index.ts"
import * as Memory from "../../src/coherence/transport/Memory.ts"
import type { Settings } from "../../src/Settings.ts"
import { Triggers } from "../../src/triggers/index.ts"
import { eventually } from "../support/eventually.ts"

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(effect), LogLevel.None))

const live = { ackMode: "live" } as const

/** A program, and what its triggers have said on the channel "ended". */
const program = (settings: Settings, transport: Parameters<typeof layerWith>[2]) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(layerWith({ namespace: "shop", ...settings }, [], transport))
    const coherence = Context.get(services, Coherence.Coherence)
    if (coherence === null) throw new Error("it has a namespace")
    const heard: string[] = []
    Context.get(services, Bus).subscribe("ended", { onMessage: (_channel, payload) => void heard.push(payload) })
    return { coherence, cache: Context.get(services, Cache), triggers: Context.get(services, Triggers), heard }
  })

it.each<Settings>([{}, { origin: "node-1" }])("event.origin is the instance's name, on all (settings %j)", (settings) =>
  run(
    Effect.gen(function* () {
      const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
      const ground = { transport: Layer.provide(Memory.layer, network) }
      const [a, b] = [yield* program(settings, ground), yield* program(settings, ground)]
      for (const { coherence } of [a, b]) yield* coherence.untilMembers(1)
      yield* a.triggers.set({
        name: "ended",
        pattern: "session:*",
        events: ["ON_DELETE"],
        source: 'cache.emit("ended", event.origin .. " " .. event.cascade)'
      })
      yield* Effect.promise(() => a.coherence.acknowledged("live"))
      yield* Effect.promise(() => eventually(() => b.coherence.definitions.isSettled))
      yield* a.cache.set("session:1", "ada", live)
      yield* b.cache.get("session:1")
      yield* a.cache.delete("session:1", live)
      yield* Effect.promise(() => eventually(() => a.heard.length === 1 && b.heard.length === 1))
      const name = b.coherence.status().members[0]?.name
      expect(a.coherence.name).toBe(name)
      expect([a, b].map(({ heard: [said = ""] }) => said.split(" ")[0])).toEqual([name, name])
      // What names webhooks and cascades is what it was: the setting, or 64 bits.
      const idOf = settings.origin ?? "[0-9a-f]{16}"
      for (const { heard } of [a, b]) expect(heard[0]).toMatch(new RegExp(`^${name} ${idOf}-\\d+$`))
    })
  )
)
