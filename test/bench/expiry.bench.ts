/**
 * How late an expiry is told: a thousand probes with one deadline that nobody reads, beside many other keys with a TTL.
 * Here a trigger emits; Redis publishes its `expired` events. A probe that was not told within `patienceMs` counts as
 * that late. The figure is the median of the rounds' quantiles, its spread the best and the worst round.
 */
import { startRedis } from "../servers/Redis.ts"
import { ascending, quantile, type Suite } from "./Figure.ts"
import { Connection, listen, startMimosa } from "./servers.ts"

const probes = 1_000
const warmRounds = 20
const rounds = 15
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
        const ours = await lags(mimosa.port, "told", others)
        say(`expiry beside ${others} others: redis-server`)
        const theirs = await lags(redis.port, "__keyevent@0__:expired", others)
        for (const [name, q] of [
          ["p50", 0.5],
          ["p99", 0.99]
        ] as const) {
          const [own, peer] = [ours, theirs].map((all) => ascending(all.map((told) => quantile(ascending(told), q))))
          report({
            id: `expiry.lag.${others}.${name}`,
            value: quantile(own as number[], 0.5),
            unit: "ms",
            peer: "redis-server",
            peerValue: quantile(peer as number[], 0.5),
            samples: ours.length,
            spread: [own?.[0] as number, own?.at(-1) as number]
          })
        }
      } finally {
        await Promise.all([mimosa.stop(), redis.stop()])
      }
    }
  }
}

/** Milliseconds from the probes' deadline to each one's message, by round, after rounds that warm both sides up. */
const lags = async (port: number, channel: string, others: number): Promise<number[][]> => {
  const listener = await listen(port, channel)
  const connection = await Connection.open(port)
  try {
    for (let from = 0; from < others; from += batch) {
      await connection.pipeline(
        Array.from({ length: batch }, (_, i) => {
          const ttlMs = othersTtlMs + (((from + i) * 7919) % othersTtlMs)
          return ["SET", `other:${from + i}`, "x", "PX", String(ttlMs)]
        })
      )
    }
    // Code that runs for the first time is compiled: the first thousand expiries of a process take 20 µs each, later ones 3.
    for (let warm = 0; warm < warmRounds; warm++) await round(connection, listener, `warm${warm}`, 200)
    const told: number[][] = []
    for (let each = 0; each < rounds; each++) {
      told.push(await round(connection, listener, `probe${each}`, patienceMs))
      if (told.at(-1)?.at(-1) === patienceMs) break // once is enough of waiting for what does not come
    }
    return told
  } finally {
    connection.close()
    listener.close()
  }
}

const round = async (
  connection: Connection,
  listener: Awaited<ReturnType<typeof listen>>,
  name: string,
  waitMs: number
): Promise<number[]> => {
  const deadlineMs = Date.now() + 250
  const told: number[] = []
  const all = new Promise<void>((resolve) => {
    const patience = setTimeout(resolve, deadlineMs - Date.now() + waitMs)
    listener.for(`probe:${name}:`, () => {
      told.push(Date.now() - deadlineMs)
      if (told.length < probes) return
      clearTimeout(patience)
      resolve()
    })
  })
  await connection.pipeline(
    Array.from({ length: probes }, (_, i) => ["SET", `probe:${name}:${i}`, "x", "PXAT", String(deadlineMs)])
  )
  await all
  return [...told, ...new Array<number>(probes - told.length).fill(waitMs)]
}
