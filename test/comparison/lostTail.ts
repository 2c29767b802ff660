/**
 * The lost tail: the last message before silence is lost, here because the receiver's connection was cut at that moment.
 * Nothing comes after it from which the receiver could tell, so who keeps no count of messages serves the old value on.
 *
 * Run: npx tsx test/comparison/lostTail.ts
 */
import { Redis } from "ioredis"
import { startRedis } from "../servers/Redis.ts"
import { bento, received } from "./bento.ts"
import { ours } from "./ours.ts"
import { type Outcome, print, until, versionOf, whenRun } from "./Story.ts"

export const bentoCache = async (redisPort: number): Promise<Outcome> => {
  const [a, b] = [bento(redisPort, "tail-a"), bento(redisPort, "tail-b")]
  const heardByB = received(b)
  const admin = new Redis(redisPort)
  /** The id of b's subscription, undefined while it has none. */
  const subscription = async () => {
    const clients = String(await admin.client("LIST", "TYPE", "PUBSUB")).split("\n")
    return /id=(\d+)/.exec(clients.find((client) => client.includes("name=tail-b")) ?? "")?.[1]
  }
  /** b's subscription hears what a says. */
  const connected = async (probe: string) => {
    await until(async () => {
      await a.delete({ key: probe })
      return heardByB.keys.includes(probe)
    })
  }
  await b.get({ key: "hello" }) // an instance connects when it is used first
  let database = "0"
  const load = async () => database
  const cutAndInvalidate = async (): Promise<boolean> => {
    const id = await subscription()
    if (id === undefined) return false
    await admin.client("KILL", "ID", id)
    database = String(Number(database) + 1)
    await a.delete({ key: "price" })
    return (await subscription()) === undefined // it was away all the while
  }
  for (let attempt = 1, isLost = false; !isLost; attempt++) {
    await connected(`before ${attempt}`)
    await b.delete({ key: "price" })
    await b.getOrSet({ key: "price", factory: load })
    isLost = await cutAndInvalidate()
  }
  await connected("after")
  const read = {
    a: await a.getOrSet({ key: "price", factory: load }),
    b: await b.getOrSet({ key: "price", factory: load })
  }
  await Promise.all([a.disconnectAll(), b.disconnectAll(), admin.quit()])
  return {
    subject: `BentoCache ${versionOf("bentocache")}`,
    settings: "two instances: memory, Redis behind it, Redis bus with its retry queue (its multi-tier setup)",
    steps: [
      "b has the key in memory",
      "b's subscription is cut (CLIENT KILL); its client connects again by itself, a moment later",
      "in that moment the database changes and a deletes the key, in Redis too, and publishes that",
      "b is connected again, and a later message of a has arrived; then both read"
    ],
    truth: [database],
    read
  }
}

whenRun(import.meta.url, async () => {
  const redis = await startRedis()
  const outcomes = [await bentoCache(redis.port)]
  outcomes.push(await ours.lostTail(redis.port))
  print("An invalidation that is lost while the receiver is disconnected", outcomes)
  await redis.stop()
})
