/**
 * How long a write takes until others have dropped their copies: real processes on one host, 2,000 writes a second of one
 * of them or of all, each of a key that every other one holds. Beside it, between processes of the same shape, what is
 * done without us: the writer publishes the key over Redis or NATS, and whoever hears of it deletes it from a Map.
 *
 * Then two regions of two processes each, with a proxy between that adds 35 ms in each direction; a write that waits for
 * all (`ackMode: "live"`); a read of what another process has written; and what a process uses while nobody writes.
 */
import { startNats } from "../servers/Nats.ts"
import * as Port from "../servers/Port.ts"
import { startRedis } from "../servers/Redis.ts"
import { type Carrier, Fleet, type Heard, type MeshPlace, pause, type Writes } from "./coherenceFleet.ts"
import { SlowWire } from "./coherenceWire.ts"
import { ascending, type Figure, quantile, type Suite } from "./Figure.ts"

type Report = (figure: Figure) => void
type Say = (progress: string) => void

const points = [
  ["p50", 0.5],
  ["p99", 0.99],
  ["p999", 0.999]
] as const

const everybody = (size: number): number[] => Array.from({ length: size }, (_, n) => n)

const propagation: Suite = {
  name: "coherence.propagation",
  async run(report, say) {
    const [redis, nats] = [await startRedis(), await startNats()]
    const carriers: readonly Carrier[] = [
      { name: "mesh" },
      { name: "redis", port: redis.port },
      { name: "nats", port: nats.port }
    ]
    try {
      for (const [size, seconds] of [
        [4, 5],
        [16, 4]
      ] as const) {
        const id = `coherence.propagation.${size}`
        await besideOthers(id, size, { writers: [0], rate, seconds }, carriers, report, say)
        await besideOthers(`${id}.all`, size, { writers: everybody(size), rate, seconds }, carriers, report, say)
      }
    } finally {
      await Promise.all([redis.stop(), nats.stop()])
    }
  }
}

const rate = 2_000 // writes a second, of all together
const rounds = 2 // of each carrier, in turn

/** The mesh beside each of the others: figures of the ids' own, and `.nats` where NATS stands beside. */
const besideOthers = async (
  id: string,
  size: number,
  writes: Writes,
  carriers: readonly Carrier[],
  report: Report,
  say: Say
): Promise<void> => {
  const heard = new Map<string, Heard[]>(carriers.map(({ name }) => [name, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const carrier of carriers) {
      say(`${id}: ${carrier.name}, round ${round} of ${rounds}`)
      const fleet = await Fleet.start(size, carrier)
      try {
        heard.get(carrier.name)?.push(await fleet.hear(writes))
      } finally {
        await fleet.end()
      }
    }
  }
  const [ours, redis, nats] = carriers.map(({ name }) => merged(heard.get(name) ?? []))
  if (ours === undefined || redis === undefined || nats === undefined) return
  if (ours.lost > 0) throw new Error(`${ours.lost} copies have outlived a write`)
  const { latenciesMs, mediansMs } = ours
  for (const [point, q] of points) {
    const value = quantile(latenciesMs, q)
    const spread =
      point === "p50" // of the processes' own medians
        ? ([mediansMs[0] as number, mediansMs.at(-1) as number] as const)
        : ([quantile(latenciesMs, 0.1), quantile(latenciesMs, 0.9)] as const)
    const common = { value, unit: "ms", samples: latenciesMs.length, spread } as const
    for (const [name, peer, theirs] of [
      [`${id}.${point}`, "Redis pub/sub", redis],
      [`${id}.${point}.nats`, "NATS", nats]
    ] as const) {
      const peerValue = quantile(theirs.latenciesMs, q)
      report({ id: name, ...common, peer, peerValue, ratio: value / peerValue })
    }
  }
}

const merged = (heard: readonly Heard[]) => ({
  latenciesMs: ascending(heard.flatMap(({ latenciesMs }) => latenciesMs)),
  mediansMs: ascending(heard.flatMap(({ mediansMs }) => mediansMs)),
  lost: heard.reduce((sum, { lost }) => sum + lost, 0)
})

const regions: Suite = {
  name: "coherence.regions",
  async run(report, say) {
    say("coherence.regions")
    const ports = [await Port.free(), await Port.free(), await Port.free(), await Port.free()]
    const wires = await Promise.all(ports.map((port) => SlowWire.to(port, wireMs)))
    const near = (n: number) => `127.0.0.1:${ports[n]}`
    const far = (n: number) => `127.0.0.1:${(wires[n] as SlowWire).port}`
    const places = ports.map((port, n): MeshPlace => {
      const isEast = n < 2
      const neighbour = n ^ 1
      return {
        region: isEast ? "east" : "west",
        port,
        advertise: far(n), // what others tell of it goes through the wire
        seeds: [near(neighbour), ...(isEast ? [far(2), far(3)] : [far(0), far(1)])],
        beacon: false
      }
    })
    let fleet: Fleet | undefined
    try {
      fleet = await Fleet.start(4, { name: "mesh", places })
      const heard = await fleet.hear({ writers: [0], rate: 200, seconds: 5, warmupSeconds: 2 })
      if (heard.lost > 0) throw new Error(`${heard.lost} copies have outlived a write`)
      const across = ascending(heard.latenciesByMember.slice(2).flat())
      const within = heard.latenciesByMember[1] as readonly number[]
      for (const [point, q] of points) {
        const spread = [quantile(across, 0.1), quantile(across, 0.9)] as const
        const value = quantile(across, q)
        report({ id: `coherence.regions.${point}`, value, unit: "ms", samples: across.length, spread })
      }
      const value = quantile(ascending(within), 0.5)
      report({ id: "coherence.regions.near.p50", value, unit: "ms", samples: within.length })
    } finally {
      await fleet?.end()
      await Promise.all(wires.map((wire) => wire.close()))
    }
  }
}

const wireMs = 35 // in each direction

const answers: Suite = {
  name: "coherence.answers",
  async run(report, say) {
    const fleet = await Fleet.start(4, { name: "mesh" })
    const [writer, reader] = fleet.members
    if (writer === undefined || reader === undefined) return
    const tell = (id: string, timesMs: readonly number[], peer?: readonly number[]): void => {
      const sorted = ascending(timesMs)
      const spread = [quantile(sorted, 0.1), quantile(sorted, 0.9)] as const
      for (const [point, q] of points.slice(0, 2)) {
        const value = quantile(sorted, q) * 1_000
        const theirs = peer === undefined ? undefined : quantile(ascending(peer), q) * 1_000
        const beside = theirs === undefined ? {} : { peer: "async", peerValue: theirs, ratio: value / theirs }
        const micros = [spread[0] * 1_000, spread[1] * 1_000] as const
        report({ id: `${id}.${point}`, value, unit: "us", samples: timesMs.length, spread: micros, ...beside })
      }
    }
    try {
      say("coherence.answers: sets that wait for all, of four")
      for (const what of ["set", "setLive"] as const) await writer.ask({ what, count: 200 })
      const plain = await writer.ask<number[]>({ what: "set", count: calls })
      tell("coherence.answers.live", await writer.ask<number[]>({ what: "setLive", count: calls }), plain)
      for (const [name, bytes, count] of [
        ["1KB", 1_024, calls],
        ["100KB", 102_400, calls / 4]
      ] as const) {
        say(`coherence.answers: reads of ${name} that another process has written`)
        await writer.ask({ what: "put", name: `warm-${name}`, count: 50, bytes })
        await reader.ask({ what: "get", name: `warm-${name}`, count: 50 })
        await writer.ask({ what: "put", name, count, bytes })
        tell(`coherence.answers.fill.${name}`, await reader.ask<number[]>({ what: "get", name, count }))
      }
    } finally {
      await fleet.end()
    }
  }
}

const calls = 1_000

/** What heartbeats cost a process, by how many there are. */
const rest: Suite = {
  name: "coherence.rest",
  async run(report, say) {
    for (const size of [2, 16]) {
      say(`coherence.rest.${size}`)
      const fleet = await Fleet.start(size, { name: "mesh" })
      try {
        await pause(settleSeconds * 1_000)
        const used = await fleet.rest(restSeconds)
        const spread = [used[0] as number, used.at(-1) as number] as const
        report({ id: `coherence.rest.${size}`, value: quantile(used, 0.5), unit: "ms", samples: size, spread })
      } finally {
        await fleet.end()
      }
    }
  }
}

const settleSeconds = 4 // what a start leaves behind to be compiled and collected
const restSeconds = 8

export const suites: readonly Suite[] = [propagation, regions, answers, rest]
