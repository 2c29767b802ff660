/** ON_EXPIRE of programs that are closed before the time has come, in whole programs over the transport in memory. */
import { Context, Effect, Exit, Layer, Logger, LogLevel, Scope } from "effect"
import { describe, expect, it } from "vitest"
import { layerWith, type Services } from "../../src/App.ts"
import { Cache, CacheClock, type MainCacheService, Tenants, TurnClock } from "../../src/cache/index.ts"
import { Coherence } from "../../src/coherence/index.ts"
import * as Memory from "../../src/coherence/transport/Memory.ts"
import { Triggers } from "../../src/triggers/index.ts"
import { type Receiver, receiver, until } from "../webhooks/Receiver.ts"

/** A clock that goes on when the test says so: until then nothing expires, however long the test takes. */
class HeldClock extends TurnClock {
  private atMs = Date.now()
  override nowMs(): number {
    return this.atMs
  }
  goOn(ms: number): void {
    this.atMs += ms
  }
}

interface Program {
  readonly cache: MainCacheService
  readonly services: Context.Context<Services>
  readonly clock: HeldClock
  readonly name: string
  readonly close: Effect.Effect<void>
}

const trigger = (hook: string) => ({
  name: "expiry",
  pattern: "session:*",
  events: ["ON_EXPIRE"] as const,
  source: `
    cache.log("expired", { key = event.key, user = event.value.user, tags = event.tags, event = event.cascade })
    cache.webhook("${hook}", { key = event.key })`
})

/** Two programs that know of each other, with a trigger that tells this receiver of sessions that have ended. */
const programs = ({ url }: Receiver) =>
  Effect.gen(function* () {
    const network = Layer.succeedContext(yield* Layer.build(Memory.layerNetwork))
    const transport = Layer.provide(Memory.layer, network)
    const made: Program[] = []
    for (let n = 0; n < 2; n++) {
      const clock = new HeldClock()
      const scope = yield* Effect.acquireRelease(Scope.make(), (own) => Scope.close(own, Exit.void))
      const settings = { namespace: "shop", egressAllow: ["127.0.0.1"] }
      const program = layerWith(settings, [], { transport, clock: Layer.succeed(CacheClock, clock) })
      const services = yield* Layer.buildWithScope(program, scope)
      const coherence = Context.get(services, Coherence.Coherence)
      if (coherence === null) throw new Error("it has a namespace")
      const { name } = coherence.status()
      const close = Scope.close(scope, Exit.void)
      made.push({ cache: Context.get(services, Cache), services, clock, name, close })
    }
    for (const { services } of made) {
      yield* Context.get(services, Coherence.Coherence)?.untilMembers(1) ?? Effect.void
      yield* Context.get(services, Triggers).set(trigger(url))
    }
    return made as [Program, Program]
  })

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(effect), LogLevel.None))

const timeoutMs = 60_000 // eight whole programs; each takes a second to start where the machine is busy

const logged = ({ services }: Program) =>
  Context.get(services, Triggers)
    .inBytes.logs.read("expired", {})
    .map(({ fields }) => JSON.parse(fields ?? ""))

const forCluster = { ttl: "300 millis", expiryOwner: "cluster", tags: ["web"] } as const

describe("a session that the cluster is to end", () => {
  it(
    "is ended by the program that wrote it, and by another one, with ids of one kind, where that was closed before",
    () =>
      run(
        Effect.gen(function* () {
          const hook = yield* receiver()
          const [a, b] = yield* programs(hook)
          yield* a.cache.set("session:1", { user: "Ada" }, { ...forCluster, ackMode: "live" })
          a.clock.goOn(300)
          yield* until(() => hook.requests.length === 1)
          yield* a.cache.set("session:2", { user: "Grace" }, forCluster)
          yield* a.close
          yield* until(() => hook.requests.length === 2)

          const [first = "", second = ""] = hook.ids()
          expect(first).toMatch(new RegExp(`^x${a.name}-\\d+-expiry-1$`))
          expect(second).toMatch(new RegExp(`^x${a.name}-\\d+-expiry-1$`))
          expect(second).not.toBe(first) // it is another write
          expect(hook.requests.map(({ body }) => JSON.parse(body))).toMatchObject([
            { key: "session:1" },
            { key: "session:2" }
          ])
          const event = second.replace("-expiry-1", "")
          expect(logged(b)).toEqual([{ key: "session:2", user: "Grace", tags: ["web"], event }])
        })
      ),
    timeoutMs
  )

  it(
    "is not ended in another's place where it was not asked for, was ended by a client, or lives on elsewhere",
    () =>
      run(
        Effect.gen(function* () {
          const hook = yield* receiver()
          const [a, b] = yield* programs(hook)
          const user = { user: "Ada" }
          yield* a.cache.set("session:plain", user, { ttl: "300 millis" })
          yield* a.cache.set("session:deleted", user, forCluster)
          yield* a.cache.set("session:taken", user, { ...forCluster, ackMode: "live" })
          yield* b.cache.delete("session:deleted")
          yield* b.cache.set("session:taken", user, { ttl: "1 hour", ackMode: "live" })
          yield* a.cache.set("session:asked", user, forCluster)
          yield* a.close
          yield* until(() => hook.requests.length > 0)
          expect(logged(b).map(({ key }) => key)).toEqual(["session:asked"])
          expect(b.cache.peek("session:taken")?.value).toEqual(user)
        })
      ),
    timeoutMs
  )

  it(
    "is ended among the keys of its tenant",
    () =>
      run(
        Effect.gen(function* () {
          const hook = yield* receiver()
          const [a, b] = yield* programs(hook)
          const [of, there] = [a, b].map(({ services, cache }) => {
            const tenant = Context.get(services, Tenants).open("tenant_123")
            if (!("keyspace" in tenant)) throw tenant
            return { cache: cache.of(tenant), triggers: Context.get(services, Triggers).of(tenant) }
          })
          yield* there?.triggers.set(trigger(hook.url)) ?? Effect.void
          yield* of?.cache.set("session:1", { user: "Ada" }, forCluster) ?? Effect.void
          yield* a.close
          yield* until(() => hook.requests.length === 1)
          expect(hook.ids()[0]).toMatch(new RegExp(`^x${a.name}-\\d+-expiry-1$`))
          expect(logged(b)).toEqual([])
        })
      ),
    timeoutMs
  )
})

describe("who is to fire ON_EXPIRE", () => {
  it(
    "can be said of what expires and is not local, and is one of two",
    () =>
      run(
        Effect.gen(function* () {
          const [a] = yield* programs(yield* receiver())
          const refused = (options: object) =>
            Effect.map(Effect.flip(a.cache.set("session:1", 1, options)), ({ _tag, message }) => `${_tag}: ${message}`)
          expect(yield* refused({ expiryOwner: "cluster" })).toBe(
            "InvalidExpiryOwner: expiryOwner 'cluster': without a ttl nothing expires; give one"
          )
          expect(yield* refused({ ...forCluster, local: true })).toBe(
            "InvalidExpiryOwner: expiryOwner 'cluster': a local entry is nobody else's to expire"
          )
          expect(yield* refused({ ttl: 1_000, expiryOwner: "nobody" })).toBe(
            'InvalidExpiryOwner: expiryOwner \'nobody\': give "writer" or "cluster"'
          )
          yield* a.cache.set("session:1", 1, { expiryOwner: "writer" })
          expect(a.cache.peek("session:1")?.value).toBe(1)
        })
      ),
    timeoutMs
  )
})
