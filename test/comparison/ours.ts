/** The same stories, told by Mimosa: one function each, given what the others are given. */
import { Redis } from "ioredis"
import { Mimosa } from "../../src/promise.ts"
import { version } from "../../src/version.ts"
import { type Database, type Outcome, until } from "./Story.ts"

const subject = `mimosa-cache ${version}`
const settings = "two instances of one namespace over Redis"
const live = { ackMode: "live" } as const

/** Two instances that have heard of each other, and how to end them. */
const pair = async (redisPort: number, namespace: string) => {
  const make = () => new Mimosa({ namespace, coherence: { transport: `redis://127.0.0.1:${redisPort}` } })
  const [a, b] = [make(), make()]
  await Promise.all([a.coherence.untilMembers(1), b.coherence.untilMembers(1)])
  return { a, b, close: () => Promise.all([a.close(), b.close()]) }
}

/** What both read, as text. */
const readOf = async (key: string, a: Mimosa, b: Mimosa): Promise<Outcome["read"]> => {
  const text = (value: unknown) => (value === undefined ? undefined : String(value))
  return { a: text(await a.get(key)), b: text(await b.get(key)) }
}

export const ours = {
  /** Two instances; an invalidation of "price" while one loads it from the database. */
  staleSetRace: async (redisPort: number, database: Database): Promise<Outcome> => {
    const { a, b, close } = await pair(redisPort, "race")
    const load = database.load
    const reading = b.getOrSet("price", load)
    await database.asked
    database.value = "2"
    await a.invalidate("price", live)
    database.answer()
    await reading
    const read = { a: String(await a.getOrSet("price", load)), b: String(await b.getOrSet("price", load)) }
    await close()
    return {
      subject,
      settings,
      steps: [
        "the database says 1; b misses, asks a, which has nothing, and then the database; the answer is on its way",
        "the database is changed to 2",
        "a invalidates the key, and waits until b has applied that",
        "the answer arrives; b's read ends; then both read again"
      ],
      truth: [database.value],
      read
    }
  },

  /** Two instances over this Redis, both cut off while one invalidates "price". */
  lostTail: async (redisPort: number): Promise<Outcome> => {
    const { a, b, close } = await pair(redisPort, "tail")
    const admin = new Redis(redisPort)
    let database = 0
    await b.getOrSet("price", () => database)
    /** Cuts all subscriptions of this Redis: those of a and of b. */
    await admin.client("KILL", "TYPE", "pubsub")
    database = 1
    await a.invalidate("price")
    await until(async () => {
      const [own] = (await b.coherence.status()).members
      return own !== undefined && own.lag === 0 && own.contiguous >= (await a.coherence.status()).written
    })
    const read = {
      a: String(await a.getOrSet("price", () => database)),
      b: String(await b.getOrSet("price", () => database))
    }
    await Promise.all([close(), admin.quit()])
    return {
      subject,
      settings,
      steps: [
        "b has the key in memory",
        "all subscriptions are cut (CLIENT KILL); the clients connect again by themselves, a moment later",
        "in that moment the database changes and a invalidates the key",
        "they are connected again, and b has pulled what it missed; then both read"
      ],
      truth: [String(database)],
      read
    }
  },

  /** Two instances and nothing behind them; both set "color" before either hears of the other. */
  concurrentWrites: async (redisPort: number): Promise<Outcome> => {
    const { a, b, close } = await pair(redisPort, "set")
    await Promise.all([a.set("color", "red"), b.set("color", "blue")])
    await Promise.all([a.coherence.acknowledged("live"), b.coherence.acknowledged("live")])
    const read = await readOf("color", a, b)
    await close()
    return {
      subject,
      settings: `${settings}, nothing behind them`,
      steps: [
        "a sets color to red, b sets color to blue, before either has heard of the other",
        "each has heard that the other has applied its write; then both read"
      ],
      truth: ["red", "blue"],
      read
    }
  }
}
