/** The processes of coherence ended from outside: what they serve is not lost with them, nor is anybody sent away. */
import { Context, Effect, Exit, Fiber, Layer, Logger, LogLevel, Option, Scope } from "effect"
import { describe, expect, it } from "vitest"
import { layerWith } from "../../src/App.ts"
import { ExitReason, Process } from "../../src/actor/index.ts"
import { Cache } from "../../src/cache/index.ts"
import { Coherence } from "../../src/coherence/index.ts"
import * as Memory from "../../src/coherence/transport/Memory.ts"
import { eventually } from "../support/eventually.ts"

const program = (transport: Parameters<typeof layerWith>[2]) =>
  Effect.map(Layer.build(layerWith({ namespace: "shop" }, [], transport)), (services) => {
    const coherence = Context.get(services, Coherence.Coherence)
    if (coherence === null) throw new Error("it has a namespace")
    return { cache: Context.get(services, Cache), coherence }
  })

const two = Effect.gen(function* () {
  const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
  const transport = Layer.provide(Memory.layer, network)
  const [a, b] = [yield* program({ transport }), yield* program({ transport })]
  for (const { coherence } of [a, b]) yield* coherence.untilMembers(1)
  return [a, b] as const
})

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(effect), LogLevel.None))

const named = (label: string) => Process.list().filter((pid) => pid.label === label && Process.isAlive(pid))

/** Ends all processes that are called so, and waits until others have their places. */
const end = (label: string, reason: ExitReason.ExitReason) =>
  Effect.promise(async () => {
    const before = named(label)
    expect(before.length).toBe(2)
    for (const pid of before) Process.unsafeExit(pid, reason)
    await eventually(() => named(label).filter((pid) => !before.includes(pid)).length === before.length)
  })

const crashed = ExitReason.crashWith(new Error("by a test"))
const live = { ackMode: "live" } as const

describe("a coherent program", () => {
  for (const label of ["membership", "replicator", "memory transport"]) {
    for (const reason of [crashed, ExitReason.killed]) {
      it(`is a member as before when its ${label} has ended (${reason._tag})`, () =>
        run(
          Effect.gen(function* () {
            const [a, b] = yield* two
            yield* a.cache.set("k", 1, live)
            expect(yield* Effect.map(b.cache.get("k"), Option.getOrUndefined)).toBe(1)
            yield* end(label, reason)
            yield* Effect.promise(() =>
              eventually(() =>
                [a, b].every(({ coherence }) => {
                  const { state, members } = coherence.status()
                  return state === "coherent" && members.length === 1 && members[0]?.state === "live"
                })
              )
            )
            yield* a.cache.set("k", 2, live)
            expect(b.cache.peek("k")).toBeUndefined()
            expect(yield* Effect.map(b.cache.get("k"), Option.getOrUndefined)).toBe(2)
          })
        ))
    }
  }
})

it("a wait for others ends with the service: it is interrupted", () =>
  run(
    Effect.gen(function* () {
      const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
      const scope = yield* Scope.make()
      const { coherence } = yield* Scope.extend(program({ transport: Layer.provide(Memory.layer, network) }), scope)
      const wait = yield* Effect.fork(coherence.untilMembers(1))
      yield* Effect.yieldNow()
      yield* Scope.close(scope, Exit.void)
      expect(Exit.isInterrupted(yield* Fiber.await(wait))).toBe(true)
      expect(Exit.isInterrupted(yield* Effect.exit(coherence.untilMembers(1)))).toBe(true)
    })
  ))
