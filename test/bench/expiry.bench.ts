/**
 * How late an expiry is told: a thousand probes with one deadline that nobody reads, beside many other keys with a TTL.
 * Here a trigger emits; Redis publishes its `expired` events. A probe that was not told within `patienceMs` counts as
 * that late.
 */
import { Redis } from "ioredis"
import { startRedis } from "../servers/Redis.ts"
import { ascending, quantile, type Suite } from "./Figure.ts"
import { Connection, startMimosa } from "./servers.ts"

const probes = 1_000
const patienceMs = 20_000
const batch = 10_000
const othersTtlMs = 6 * 3_600_000

export const suite: Suite = {
  name: "expiry",
  async run(report, say) {
    for (const others of [0, 100_000, 1_000_000]) {
      const mimosa = await startMimosa(["--max-entries", "2000000", "--max-bytes", String(4 * 1024 ** 3)])
      const redis = await startRedis({ "notify-keyspace-events": "Ex" })
      try {
        const setup = await Connection.open(mimosa.port)
        await setup.pipeline([["TRIGGER", "SET", "told", "probe:*", "ON_EXPIRE", "cache.emit('told', event.key)"]])
        setup.close()
        say(`expiry beside ${others} others: mimosa`)
        const ours = ascending(await lags(mimosa.port, "told", others))
        say(`expiry beside ${others} others: redis-server`)
        const theirs = ascending(await lags(redis.port, "__keyevent@0__:expired", others))
        for (const [name, q] of [
          ["p50", 0.5],
          ["p99", 0.99]
        ] as const) {
          report({
            id: `expiry.lag.${others}.${name}`,
            value: quantile(ours, q),
            unit: "ms",
            peer: "redis-server",
            peerValue: quantile(theirs, q),
            samples: probes
          })
        }
      } finally {
        await Promise.all([mimosa.stop(), redis.stop()])
      }
    }
  }
}

/** Milliseconds from the probes' deadline to each one's message, after a smaller round that warms both sides up. */
const lags = async (port: number, channel: string, others: number): Promise<number[]> => {
  const subscriber = new Redis({ port, host: "127.0.0.1", enableReadyCheck: false, lazyConnect: true })
  const connection = await Connection.open(port)
  try {
    await subscriber.connect()
    await subscriber.subscribe(channel)
    for (let from = 0; from < others; from += batch) {
      await connection.pipeline(
        Array.from({ length: batch }, (_, i) => {
          const ttlMs = othersTtlMs + (((from + i) * 7919) % othersTtlMs)
          return ["SET", `other:${from + i}`, "x", "PX", String(ttlMs)]
        })
      )
    }
    await round(connection, subscriber, "warm", probes / 4, 1_000)
    return await round(connection, subscriber, "probe", probes, patienceMs)
  } finally {
    connection.close()
    subscriber.disconnect()
  }
}

const round = async (
  connection: Connection,
  subscriber: Redis,
  name: string,
  count: number,
  waitMs: number
): Promise<number[]> => {
  const deadlineMs = Date.now() + 1_000
  const told: number[] = []
  const all = new Promise<void>((resolve) => {
    const patience = setTimeout(resolve, deadlineMs - Date.now() + waitMs)
    subscriber.on("message", (_channel, key: string) => {
      if (!key.startsWith(`probe:${name}`)) return
      told.push(Date.now() - deadlineMs)
      if (told.length < count) return
      clearTimeout(patience)
      resolve()
    })
  })
  await connection.pipeline(
    Array.from({ length: count }, (_, i) => ["SET", `probe:${name}:${i}`, "x", "PXAT", String(deadlineMs)])
  )
  await all
  subscriber.removeAllListeners("message")
  return [...told, ...new Array<number>(count - told.length).fill(waitMs)]
}
