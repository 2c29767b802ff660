/**
 * What is read while copies may not be kept (`whenDegraded: "bypass"`): each time from the instance that has it, by
 * whatever door, and without a trace of it here afterwards.
 *
 * Degraded are two programs by a third member of their namespace that has said hello and nothing since.
 */
import { Context, Effect, Layer, Logger, LogLevel, Option, type Scope } from "effect"
import { afterEach, describe, expect, it } from "vitest"
import { layerWith } from "../../src/App.ts"
import { Cache, CacheFills, Keyspaces, Tenants } from "../../src/cache/index.ts"
import { Coherence } from "../../src/coherence/index.ts"
import { decode, encode } from "../../src/coherence/protocol/Frame.ts"
import * as Memory from "../../src/coherence/transport/Memory.ts"
import { CoherenceTransport, type TransportListener } from "../../src/coherence/transport/Transport.ts"
import { KeyHash } from "../../src/kernel/index.ts"
import { ScriptEngine } from "../../src/scripting/index.ts"
import { Triggers } from "../../src/triggers/index.ts"
import { RawClient } from "../server/RawClient.ts"
import { startServer } from "../server/TestServer.ts"
import { eventually } from "../support/eventually.ts"

const live = { ackMode: "live" } as const

const endings: Array<() => Promise<unknown>> = []
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end()
})

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(effect), LogLevel.None))

type Network = Layer.Layer<CoherenceTransport>

const program = (transport: Network) =>
  Effect.gen(function* () {
    const settings = { namespace: "shop", coherence: { whenDegraded: "bypass" } } as const
    const services = yield* Layer.build(layerWith(settings, [], { transport }))
    const coherence = Context.get(services, Coherence.Coherence)
    if (coherence === null) throw new Error("it has a namespace")
    const { main: keyspace } = Context.get(services, Keyspaces)
    return { services, coherence, keyspace, cache: Context.get(services, Cache) }
  })

/** A member that says hello to whoever does, and then nothing. */
const silentMember = (transport: Network) =>
  Effect.gen(function* () {
    const { open } = Context.get(yield* Layer.build(transport), CoherenceTransport)
    const self = { origin: 77, region: new KeyHash("").of("region\0default") % 2 ** 16, namespace: "shop" }
    const greeted = new Set<number>()
    const listener: TransportListener = {
      onFrame: (bytes, from) => {
        const frame = decode(bytes)
        if (!("type" in frame) || frame.type !== "hello" || greeted.has(from)) return
        greeted.add(from)
        const header = { namespace: frame.namespace, author: self.origin, to: from, region: self.region, hops: 0 }
        const nothing = { split: 1, last: 0, oldest: 1, lamport: 0, vector: [] }
        carrier.send(from, encode({ type: "hello", ...header, ...nothing, isJoining: false, isAnswer: true }))
      },
      onLinkUp() {},
      onLinkDown() {},
      onGone() {},
      onSettled() {},
      wantsLink: () => true
    }
    const carrier = yield* open({ ...self, secret: undefined }, listener)
    // Its process would do no more than this.
    const { attach } = carrier as unknown as { attach(onCrash: (defect: unknown) => void): void }
    attach.call(carrier, () => {})
  })

/** Two programs; what the first has, the second never had. Both are degraded. */
const degradedPair = (
  before: (a: Effect.Effect.Success<ReturnType<typeof program>>) => Effect.Effect<unknown, unknown>
) =>
  Effect.gen(function* () {
    const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
    const transport = Layer.provide(Memory.layer, network)
    const [a, b] = [yield* program(transport), yield* program(transport)]
    yield* a.coherence.untilMembers(1)
    yield* before(a)
    yield* silentMember(transport)
    const isDegraded = () => a.coherence.status().state === "degraded" && b.coherence.status().state === "degraded"
    yield* Effect.promise(() => eventually(isDegraded))
    return { a, b }
  })

const clientOf = ({ services, keyspace }: Effect.Effect.Success<ReturnType<typeof program>>) =>
  Effect.promise(async () => {
    const server = await startServer({ keyspace, fills: Context.get(services, CacheFills) })
    endings.push(() => server.stop())
    const client = await RawClient.connect(server.port)
    endings.push(() => client.close())
    return client
  })

describe("an instance that keeps no copies now", () => {
  it("answers clients of Redis with what another has, each time anew, and keeps nothing", () =>
    run(
      Effect.gen(function* () {
        const { a, b } = yield* degradedPair(({ cache }) => cache.set("k", "v", { ...live, ttl: "1 hour" }))
        const client = yield* clientOf(b)
        const { counters } = b.coherence.status()
        for (let round = 1; round <= 3; round++) {
          expect(yield* Effect.promise(() => client.send("GET", "k"))).toBe("$1\r\nv\r\n")
          expect(b.keyspace.peek("k")).toBeUndefined()
          expect(b.coherence.status().counters.fetchesOut).toBe((counters.fetchesOut as number) + round)
        }
        expect(yield* Effect.promise(() => client.send("MGET", "k", "nowhere", "k"))).toBe(
          "*3\r\n$1\r\nv\r\n$-1\r\n$1\r\nv\r\n"
        )
        expect(yield* Effect.promise(() => client.send("TTL", "k"))).toMatch(/^:3(600|5\d\d)\r\n$/)
        expect(yield* Effect.promise(() => client.send("EXISTS", "k"))).toBe(":1\r\n")
        const replies = yield* Effect.promise(() =>
          client.pipeline([["MULTI"], ["GET", "k"], ["STRLEN", "k"], ["EXEC"]])
        )
        expect(replies.at(-1)).toBe("*2\r\n$1\r\nv\r\n:1\r\n")
        expect(b.keyspace.size).toBe(0)
        expect(b.coherence.status().written).toBe(0) // nobody was told of any of it
        expect(yield* a.cache.has("k")).toBe(true)
      })
    ))

  it("answers all who ask for a key at once", () =>
    run(
      Effect.gen(function* () {
        const { b } = yield* degradedPair(({ cache }) => cache.set("k", "v", live))
        const clients = [yield* clientOf(b), yield* clientOf(b), yield* clientOf(b)]
        const replies = yield* Effect.promise(() => Promise.all(clients.map((client) => client.send("GET", "k"))))
        expect(replies).toEqual(Array(3).fill("$1\r\nv\r\n"))
        expect(b.keyspace.size).toBe(0)
      })
    ))

  it("changes and deletes what another has", () =>
    run(
      Effect.gen(function* () {
        const { a, b } = yield* degradedPair(({ cache }) =>
          Effect.all([cache.set("n", "41", live), cache.set("d", "v", live), cache.set("e", "v", live)])
        )
        const client = yield* clientOf(b)
        expect(yield* Effect.promise(() => client.send("INCR", "n"))).toBe(":42\r\n")
        expect(yield* Effect.promise(() => client.send("DEL", "d", "nowhere"))).toBe(":1\r\n")
        expect(yield* Effect.promise(() => client.send("EXPIRE", "e", "100"))).toBe(":1\r\n")
        expect([b.keyspace.peek("n")?.value, b.keyspace.peek("d")]).toEqual(["42", undefined])
        expect(b.keyspace.peek("e")?.expiresAtMs).toBeGreaterThan(0) // its own from now on
        yield* Effect.promise(() => eventually(() => a.keyspace.peek("n") === undefined))
        yield* Effect.promise(() => eventually(() => a.keyspace.peek("d") === undefined))
        expect(Option.getOrNull(yield* a.cache.get("n"))).toBe("42")
        expect(Option.getOrNull(yield* a.cache.get("d"))).toBeNull()
      })
    ))

  it("answers the library", () =>
    run(
      Effect.gen(function* () {
        const { b } = yield* degradedPair(({ cache }) => cache.set("k", { a: 1 }, { ...live, ttl: "1 hour" }))
        expect(Option.getOrNull(yield* b.cache.get("k"))).toEqual({ a: 1 })
        expect(yield* b.cache.has("k")).toBe(true)
        expect(Option.isSome(yield* b.cache.ttl("k"))).toBe(true)
        expect(b.keyspace.size).toBe(0)
        expect(yield* b.cache.delete("k")).toBe(true)
        expect(yield* b.cache.has("k")).toBe(false)
      })
    ))

  it("answers scripts", () =>
    run(
      Effect.gen(function* () {
        const tenantOf = (services: Context.Context<Tenants>) => {
          const tenant = Context.get(services, Tenants).open("tenant_1")
          if (!("keyspace" in tenant)) throw tenant
          return tenant
        }
        const { b } = yield* degradedPair(({ services, cache }) =>
          Effect.all([
            cache.of(tenantOf(services)).set("n", 41, live),
            cache.of(tenantOf(services)).set("k", "v", { ...live, ttl: "1 hour" })
          ])
        )
        const { keyspace } = tenantOf(b.services)
        const script = yield* Context.get(b.services, ScriptEngine).compile(`
          function main()
            return { cache.get("k"), cache.has("k"), cache.ttl("k") > 3000, cache.incr("n"), cache.delete("k"), cache.has("k") }
          end`)
        const answer = yield* script.run("main", [], { cachePrefix: "tenant_1" })
        expect(answer).toEqual(["v", true, true, 42, true, false])
        expect([keyspace.peek("k"), keyspace.peek("n")?.value]).toEqual([undefined, 42])
      })
    ))

  it("fires what a read fires, and nothing when what was lent goes", () =>
    run(
      Effect.gen(function* () {
        const { b } = yield* degradedPair(({ cache }) => cache.set("k", "v", live))
        yield* Context.get(b.services, Triggers).set({
          name: "all",
          pattern: "*",
          events: ["ON_WRITE", "ON_READ", "ON_DELETE", "ON_EVICT", "ON_EXPIRE"],
          timeoutUs: 1_000,
          source: 'cache.log("all", { type = event.type })'
        })
        const client = yield* clientOf(b)
        const { writes, deletes, evictions, invalidations } = b.keyspace.stats
        yield* Effect.promise(() => client.send("GET", "k"))
        const lines = Context.get(b.services, Triggers).inBytes.logs.read("all", {})
        expect(lines.map(({ fields }) => JSON.parse(fields ?? ""))).toEqual([{ type: "ON_READ" }])
        expect(b.keyspace.stats).toMatchObject({ writes, deletes, evictions, invalidations })
      })
    ))
})
