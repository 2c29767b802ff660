/** Whole programs of one namespace, over the transport in memory: what they do to each other's entries. */
import { Context, Effect, Layer, Logger, LogLevel, Option, type Scope } from "effect"
import { describe, expect, it } from "vitest"
import { layerWith, type Services } from "../../src/App.ts"
import { Cache, type MainCacheService, Tenants } from "../../src/cache/index.ts"
import { Coherence, type CoherenceService } from "../../src/coherence/index.ts"
import * as Memory from "../../src/coherence/transport/Memory.ts"
import type { Settings } from "../../src/Settings.ts"
import { Triggers } from "../../src/triggers/index.ts"

interface Program {
  readonly cache: MainCacheService
  readonly coherence: CoherenceService
  readonly services: Context.Context<Services>
}

/** Programs that know of each other, one for each of the settings. */
const programs = (...settings: readonly Settings[]) =>
  Effect.gen(function* () {
    const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
    const transport = Layer.provide(Memory.layer, network)
    const made: Program[] = []
    for (const each of settings) {
      const services = yield* Layer.build(layerWith({ namespace: "shop", ...each }, [], { transport }))
      const coherence = Context.get(services, Coherence.Coherence)
      if (coherence === null) throw new Error("it has a namespace")
      made.push({ cache: Context.get(services, Cache), coherence, services })
    }
    for (const { coherence } of made) yield* coherence.untilMembers(settings.length - 1)
    return made as [Program, Program]
  })

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(effect), LogLevel.None))

const live = { ackMode: "live" } as const
const got = (cache: MainCacheService, key: string) => Effect.map(cache.get(key), Option.getOrUndefined)

describe("two programs of one namespace", () => {
  it("read what the other has written, which they never held", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* programs({}, {})
        yield* a.cache.set("user:42", { name: "Ada" }, { ...live, tags: ["users"], ttl: "1 hour" })
        expect(yield* got(b.cache, "user:42")).toEqual({ name: "Ada" })
        expect(b.cache.peek("user:42")?.tags).toEqual(["users"])
        expect(b.cache.peek("user:42")?.expiresAtMs).toBeLessThanOrEqual(a.cache.peek("user:42")?.expiresAtMs as number)
      })
    ))

  it("lose their copy when the other writes, deletes or invalidates, and have the new value at the next read", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* programs({}, {})
        yield* a.cache.set("k", 1, live)
        yield* got(b.cache, "k")
        yield* a.cache.set("k", 2, live)
        expect(b.cache.peek("k")).toBeUndefined()
        expect(yield* got(b.cache, "k")).toBe(2)
        expect(yield* b.cache.delete("k", live)).toBe(true)
        expect(yield* got(a.cache, "k")).toBeUndefined()
        yield* a.cache.set("k", 3, live)
        yield* got(b.cache, "k")
        yield* b.cache.invalidate("k", live)
        expect([a.cache.peek("k"), b.cache.peek("k")]).toEqual([undefined, undefined])
      })
    ))

  it("invalidate by tag and by prefix on both, and clear both", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* programs({}, {})
        yield* a.cache.set("page:1", "one", { ...live, tags: ["news"] })
        yield* a.cache.set("page:2", "two", live)
        yield* got(b.cache, "page:1")
        yield* b.cache.invalidateTags(["news"], live)
        expect([yield* got(a.cache, "page:1"), yield* got(b.cache, "page:1")]).toEqual([undefined, undefined])
        expect(yield* got(b.cache, "page:2")).toBe("two")
        yield* b.cache.invalidatePrefix("page:", live)
        expect(yield* got(a.cache, "page:2")).toBeUndefined()
        yield* a.cache.set("page:3", "three", live)
        yield* b.cache.clear
        yield* b.cache.set("other", 1, live)
        expect(yield* got(a.cache, "page:3")).toBeUndefined()
      })
    ))

  it("keep local entries to themselves", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* programs({}, {})
        yield* a.cache.set("mine", 1, { local: true })
        yield* a.cache.set("ours", 1, live)
        expect(yield* got(b.cache, "mine")).toBeUndefined()
        yield* b.cache.set("mine", 2, live)
        expect(a.cache.unsafeGet("mine")).toBe(1)
      })
    ))

  it("agree on one of two values that they write at once", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* programs({}, {})
        a.cache.unsafeSet("k", "a")
        b.cache.unsafeSet("k", "b")
        yield* a.cache.set("after:a", 1, live)
        yield* b.cache.set("after:b", 1, live)
        const values = [yield* got(a.cache, "k"), yield* got(b.cache, "k")]
        expect(values[0]).toBe(values[1])
        expect(["a", "b"]).toContain(values[0])
      })
    ))

  it("share the keys of a tenant that both have opened, and show them to no other", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* programs({}, {})
        const of = ({ services, cache }: Program, prefix: string) => {
          const tenant = Context.get(services, Tenants).open(prefix)
          if (!("keyspace" in tenant)) throw tenant
          return cache.of(tenant)
        }
        yield* of(a, "tenant_123").set("count", 7, live)
        expect(yield* Effect.map(of(b, "tenant_123").get("count"), Option.getOrUndefined)).toBe(7)
        expect(yield* Effect.map(of(b, "tenant_456").get("count"), Option.getOrUndefined)).toBeUndefined()
        expect(yield* got(b.cache, "count")).toBeUndefined()
      })
    ))

  it("tell ON_DELETE of what a peer has invalidated, with who it was", () =>
    run(
      Effect.gen(function* () {
        const [a, b] = yield* programs({}, {})
        yield* Context.get(b.services, Triggers).set({
          name: "revoked",
          pattern: "permission:*",
          events: ["ON_DELETE"],
          source: 'cache.log("revoked", { key = event.key, cause = event.cause, origin = event.origin })'
        })
        yield* a.cache.set("permission:7", true, live)
        yield* got(b.cache, "permission:7")
        yield* a.cache.delete("permission:7", live)
        const [line] = Context.get(b.services, Triggers).inBytes.logs.read("revoked", {})
        expect(JSON.parse(line?.fields ?? "")).toEqual({
          key: "permission:7",
          cause: "invalidate",
          origin: a.coherence.status().name
        })
      })
    ))
})

describe("the status of a program", () => {
  it("names its own region, and has a number for others", () =>
    run(
      Effect.gen(function* () {
        const settings = { coherence: { region: "eu-west" } }
        const [a] = yield* programs(settings, settings, { coherence: { region: "us-east" } })
        const regions = a.coherence.status().members.map(({ region }) => region)
        expect(regions.sort()).toEqual([expect.stringMatching(/^\d{1,5}$/), "eu-west"])
      })
    ))
})

describe("two namespaces", () => {
  it("do not touch", () =>
    run(
      Effect.gen(function* () {
        const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
        const transport = Layer.provide(Memory.layer, network)
        const [a, b] = [
          yield* Layer.build(layerWith({ namespace: "one" }, [], { transport })),
          yield* Layer.build(layerWith({ namespace: "two" }, [], { transport }))
        ]
        yield* Context.get(a, Cache).set("k", 1, live)
        yield* Context.get(b, Cache).set("k", 2, live)
        expect(yield* got(Context.get(a, Cache), "k")).toBe(1)
        expect(Context.get(b, Coherence.Coherence)?.status().members).toEqual([])
      })
    ))
})
