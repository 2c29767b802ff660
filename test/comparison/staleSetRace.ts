/**
 * The stale-set race: a load is under way, what it loads changes and is invalidated, then the load ends. Who stores what
 * it brings serves the old value until it expires, though the invalidation came after the change and arrived.
 *
 * Run: npx tsx test/comparison/staleSetRace.ts
 */
import { Cacheable } from "cacheable"
import { Cache, Effect, Fiber } from "effect"
import { startRedis } from "../servers/Redis.ts"
import { bento, received } from "./bento.ts"
import { ours } from "./ours.ts"
import { Database, type Outcome, print, until, versionOf, whenRun } from "./Story.ts"

const steps = (who: string) => [
  "the database says 1; a read misses and asks it, and the answer is on its way",
  "the database is changed to 2",
  `${who} invalidates the key`,
  "the answer arrives; the read ends; then the key is read again"
]

export const effectCache = (): Promise<Outcome> =>
  Effect.gen(function* () {
    const database = new Database()
    const cache = yield* Cache.make({
      capacity: 100,
      timeToLive: "1 hour",
      lookup: (_: string) => Effect.promise(database.load)
    })
    const reading = yield* Effect.fork(cache.get("price"))
    yield* Effect.promise(() => database.asked)
    database.value = "2"
    yield* cache.invalidate("price")
    database.answer()
    yield* Fiber.join(reading)
    return {
      subject: `effect/Cache ${versionOf("effect")}`,
      settings: "one instance, Cache.make with a lookup",
      steps: steps("the same instance"),
      truth: [database.value],
      read: { it: yield* cache.get("price") }
    }
  }).pipe(Effect.runPromise)

export const cacheable = async (): Promise<Outcome> => {
  const database = new Database()
  const cache = new Cacheable({ ttl: "1h" })
  const reading = cache.getOrSet("price", database.load)
  await database.asked
  database.value = "2"
  await cache.delete("price")
  database.answer()
  await reading
  return {
    subject: `cacheable ${versionOf("cacheable")}`,
    settings: "one instance, getOrSet",
    steps: steps("the same instance"),
    truth: [database.value],
    read: { it: await cache.getOrSet("price", database.load) }
  }
}

export const bentoCache = async (redisPort: number): Promise<Outcome> => {
  const database = new Database()
  const [a, b] = [bento(redisPort, "race-a"), bento(redisPort, "race-b")]
  const [heardByA, heardByB] = [received(a), received(b)]
  await until(async () => {
    await Promise.all([a.delete({ key: "hello" }), b.delete({ key: "hello" })])
    return heardByA.keys.length > 0 && heardByB.keys.length > 0
  })
  const reading = b.getOrSet({ key: "price", factory: database.load })
  await database.asked
  database.value = "2"
  await a.delete({ key: "price" })
  await until(() => heardByB.keys.includes("price"))
  database.answer()
  await reading
  await until(() => heardByA.keys.includes("price"))
  const read = {
    a: await a.getOrSet({ key: "price", factory: database.load }),
    b: await b.getOrSet({ key: "price", factory: database.load })
  }
  await Promise.all([a.disconnectAll(), b.disconnectAll()])
  return {
    subject: `BentoCache ${versionOf("bentocache")}`,
    settings: "two instances: memory, Redis behind it, Redis bus (its multi-tier setup)",
    steps: steps("the other instance, which is heard by the one that reads,"),
    truth: [database.value],
    read
  }
}

whenRun(import.meta.url, async () => {
  const redis = await startRedis()
  const outcomes = [await effectCache(), await cacheable(), await bentoCache(redis.port)]
  outcomes.push(await ours.staleSetRace(redis.port, new Database()))
  print("An invalidation during a load", outcomes)
  await redis.stop()
})
