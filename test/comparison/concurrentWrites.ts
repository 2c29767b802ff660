/**
 * Two instances set one key at the same time, and there is nothing behind the caches. One of the two values should be
 * there afterwards, the same for both. Who removes his own entry on the other's word loses both; who takes over the
 * other's value ends with the two values swapped.
 *
 * Run: npx tsx test/comparison/concurrentWrites.ts
 */
import { Cacheable, type CacheableSyncOptions } from "cacheable"
import { startRedis } from "../servers/Redis.ts"
import { bento, received } from "./bento.ts"
import { ours } from "./ours.ts"
import { type Outcome, print, until, versionOf, whenRun } from "./Story.ts"

const steps = [
  "a sets color to red, b sets color to blue, before either has heard of the other",
  "both messages have arrived; then both read"
]

export const bentoCache = async (redisPort: number): Promise<Outcome> => {
  const [a, b] = [bento(redisPort, "set-a", { hasL2: false }), bento(redisPort, "set-b", { hasL2: false })]
  const [heardByA, heardByB] = [received(a), received(b)]
  await until(async () => {
    await Promise.all([a.delete({ key: "hello" }), b.delete({ key: "hello" })])
    return heardByA.keys.length > 0 && heardByB.keys.length > 0
  })
  await Promise.all([a.set({ key: "color", value: "red" }), b.set({ key: "color", value: "blue" })])
  await until(() => heardByA.keys.includes("color") && heardByB.keys.includes("color"))
  const read = { a: await a.get({ key: "color" }), b: await b.get({ key: "color" }) }
  await Promise.all([a.disconnectAll(), b.disconnectAll()])
  return {
    subject: `BentoCache ${versionOf("bentocache")}`,
    settings: "two instances: memory and Redis bus, nothing behind them",
    steps,
    truth: ["red", "blue"],
    read
  }
}

export const cacheable = async (): Promise<Outcome> => {
  const network = new Network()
  const [a, b] = [
    new Cacheable({ ttl: "1h", sync: { qified: network.provider("a") } }),
    new Cacheable({ ttl: "1h", sync: { qified: network.provider("b") } })
  ]
  await Promise.all([a.set("color", "red"), b.set("color", "blue")])
  await until(() => network.held === 2)
  await network.deliver()
  return {
    subject: `cacheable ${versionOf("cacheable")}`,
    settings:
      "two instances with CacheableSync; a provider that delivers when both have been published, as a network may",
    steps,
    truth: ["red", "blue"],
    read: { a: await a.get<string>("color"), b: await b.get<string>("color") }
  }
}

type Provider = Extract<CacheableSyncOptions["qified"], { readonly subscriptions: unknown }>
type Message = Parameters<Provider["publish"]>[1]
type Handler = Parameters<Provider["subscribe"]>[1]

/** Carries messages of one instance to the others, once it is told to. */
class Network {
  private readonly handlers: Array<{ readonly name: string; readonly topic: string; readonly handler: Handler }> = []
  private readonly messages: Array<{ readonly name: string; readonly topic: string; readonly message: Message }> = []

  get held(): number {
    return this.messages.length
  }

  async deliver(): Promise<void> {
    for (const { message, name, topic } of this.messages.splice(0)) {
      for (const to of this.handlers) {
        if (to.name !== name && to.topic === topic) await to.handler.handler({ ...message, providerId: name })
      }
    }
  }

  provider(name: string): Provider {
    return {
      id: name,
      subscriptions: new Map(),
      publish: async (topic, message) => void this.messages.push({ name, topic, message }),
      subscribe: async (topic, handler) => void this.handlers.push({ name, topic, handler }),
      unsubscribe: async () => {},
      disconnect: async () => {}
    }
  }
}

whenRun(import.meta.url, async () => {
  const redis = await startRedis()
  const outcomes = [await bentoCache(redis.port), await cacheable()]
  outcomes.push(await ours.concurrentWrites(redis.port))
  print("Two writes of one key at the same time", outcomes)
  await redis.stop()
})
