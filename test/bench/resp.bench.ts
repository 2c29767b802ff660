/**
 * SET and GET over RESP by redis-benchmark, beside redis-server, in turn; without and with a matching trigger. Then how
 * long one client waits for its PING while another pipelines a thousand SETs, each into a trigger that computes for long.
 */
import { redisBenchmark, startRedis } from "../servers/Redis.ts"
import { ascending, quantile, type Suite } from "./Figure.ts"
import { Connection, startMimosa } from "./servers.ts"

const rounds = 5
const plain = ["-n", "150000", "-r", "10000", "--csv"]
const pipelined = ["-n", "600000", "-r", "10000", "-P", "16", "--csv"]
const react = "if event.value ~= event.old_value and event.key then return 1 end"

const compute = "for i = 1, 20000 do end"
const pings = 300

/** Milliseconds that PINGs take while another client keeps a long pipeline of slow reactions going. */
const waitsBeside = async (port: number): Promise<number[]> => {
  const [busy, other] = [await Connection.open(port), await Connection.open(port)]
  await other.pipeline([["TRIGGER", "SET", "compute", "slow:*", "ON_WRITE", "TIMEOUT", "1000", compute]])
  const sets = Array.from({ length: 1_000 }, (_, i) => ["SET", `slow:${i}`, "x"])
  let isOver = false
  const work = (async () => {
    while (!isOver) await busy.pipeline(sets)
  })()
  const waits: number[] = []
  while (waits.length < pings) {
    const began = performance.now()
    await other.pipeline([["PING"]])
    waits.push(performance.now() - began)
  }
  isOver = true
  await work
  await other.pipeline([["TRIGGER", "DEL", "compute"]])
  busy.close()
  other.close()
  return ascending(waits)
}

const rate = async (port: number, command: "set" | "get", args: readonly string[]): Promise<number> => {
  const csv = await redisBenchmark(port, ["-t", command, ...args])
  const row = csv.split("\n").find((line) => line.startsWith(`"${command.toUpperCase()}"`))
  return Number(row?.split(",")[1]?.replaceAll('"', ""))
}

export const suite: Suite = {
  name: "resp",
  async run(report, say) {
    const redis = await startRedis()
    const bare = await startMimosa()
    const reacting = await startMimosa()
    try {
      const connection = await Connection.open(reacting.port)
      await connection.pipeline([["TRIGGER", "SET", "react", "key:*", "ON_WRITE", react]])
      connection.close()
      const figures = [
        ["resp.set", bare.port, "set", plain],
        ["resp.set.p16", bare.port, "set", pipelined],
        ["resp.get", bare.port, "get", plain],
        ["resp.get.p16", bare.port, "get", pipelined],
        ["resp.set.trigger", reacting.port, "set", plain],
        ["resp.set.trigger.p16", reacting.port, "set", pipelined]
      ] as const
      for (const [id, port, command, args] of figures) {
        const [ours, theirs, ratios]: [number[], number[], number[]] = [[], [], []]
        await rate(port, command, args)
        for (let round = 0; round < rounds; round++) {
          say(`${id}: round ${round + 1} of ${rounds}`)
          const [value, peerValue] = [await rate(port, command, args), await rate(redis.port, command, args)]
          ours.push(value)
          theirs.push(peerValue)
          ratios.push(value / peerValue)
        }
        const sorted = ascending(ours)
        report({
          id,
          value: quantile(sorted, 0.5),
          unit: "ops/s",
          peer: "redis-server",
          peerValue: quantile(ascending(theirs), 0.5),
          ratio: quantile(ascending(ratios), 0.5),
          samples: rounds,
          spread: [sorted[0] as number, sorted.at(-1) as number]
        })
      }
      say("resp.wait: PINGs beside slow reactions")
      const waits = await waitsBeside(reacting.port)
      report({
        id: "resp.wait.p99",
        value: quantile(waits, 0.99),
        unit: "ms",
        samples: waits.length,
        spread: [quantile(waits, 0.1), quantile(waits, 0.9)]
      })
    } finally {
      await Promise.all([redis.stop(), bare.stop(), reacting.stop()])
    }
  }
}
