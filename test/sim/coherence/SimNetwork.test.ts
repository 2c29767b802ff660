import { describe, expect, it } from "vitest"
import type { PeerInfo } from "../../../src/coherence/transport/Transport.ts"
import { type NetworkPlan, type Process, SimNetwork } from "./SimNetwork.ts"
import { VirtualTime } from "./VirtualTime.ts"

const plan: NetworkPlan = {
  latencyMs: 1,
  farLatencyMs: 10,
  jitterMs: 0,
  loss: 0,
  duplicates: 0,
  isOrdered: true,
  dialMs: 20,
  brokenAfterMs: 40
}

/** A process that writes down what it is told. */
class Told implements Process {
  readonly told: string[] = []
  readonly peer: PeerInfo
  wants = true
  readonly listener = {
    onFrame: (frame: Uint8Array, from: number) => this.told.push(`${from}: ${frame[0]}`),
    onLinkUp: ({ origin }: PeerInfo) => this.told.push(`up ${origin}`),
    onLinkDown: (origin: number) => this.told.push(`down ${origin}`),
    onGone: (origin: number) => this.told.push(`gone ${origin}`),
    onSettled: () => this.told.push("settled"),
    wantsLink: () => this.wants
  }
  constructor(
    readonly host: number,
    origin: number
  ) {
    this.peer = { origin, region: 0, address: `host ${host}` }
  }
  take(what: () => void): void {
    what()
  }
}

const make = (changed: Partial<NetworkPlan> = {}, regions = [0, 0, 0]) => {
  const time = new VirtualTime()
  const network = new SimNetwork(time, 1, regions, { ...plan, ...changed })
  const processes = regions.map((_, host) => new Told(host, host + 1)) as [Told, Told, Told]
  for (const process of processes) network.start(process)
  time.runUntil(10)
  for (const process of processes) process.told.length = 0
  return { time, network, processes }
}

/** Two that have just looked round, and want each other or not. */
const pair = (wants: boolean, changed: Partial<NetworkPlan> = {}) => {
  const time = new VirtualTime()
  const network = new SimNetwork(time, 1, [0, 0], { ...plan, ...changed })
  const [one, two] = [new Told(0, 1), new Told(1, 2)]
  one.wants = two.wants = wants
  network.start(one)
  network.start(two)
  time.runUntil(10)
  return { time, network, one, two }
}

const byte = (value: number) => Uint8Array.of(value)

describe("SimNetwork", () => {
  it("links all who want each other, and then lets each know that the first round is over", () => {
    const { one, two } = pair(true)
    expect(one.told).toEqual(["up 2", "settled"])
    expect(two.told).toEqual(["up 1", "settled"])
  })

  it("makes no link that one end does not want, which the other one has for a moment, and later tries again", () => {
    const { time, network, one, two } = pair(false)
    one.wants = true
    network.reconsider(one)
    time.runUntil(12)
    expect([one.told, two.told]).toEqual([["settled", "up 2", "down 2"], ["settled"]])
    time.runUntil(105)
    expect(one.told).toHaveLength(3)
    time.runUntil(200)
    expect(one.told).toHaveLength(5)
    two.wants = true
    network.reconsider(two)
    time.runUntil(202)
    expect([one.told.at(-1), two.told]).toEqual(["up 2", ["settled", "up 1"]])
  })

  it("that is a bus links where one of the two wants it", () => {
    const { time, network, one, two } = pair(false, { brokenAfterMs: Number.POSITIVE_INFINITY })
    one.wants = true
    network.reconsider(one)
    time.runUntil(12)
    expect([one.told, two.told]).toEqual([
      ["settled", "up 2"],
      ["settled", "up 1"]
    ])
  })

  it("carries frames to one, or to all, in the time that it takes", () => {
    const { time, network, processes } = make()
    const [one, two, three] = processes
    network.broadcast(one, byte(7))
    network.send(one, 3, byte(8))
    time.runUntil(10.9)
    expect([...two.told, ...three.told]).toEqual([])
    time.runUntil(11)
    expect(two.told).toEqual(["1: 7"])
    expect(three.told).toEqual(["1: 7", "1: 8"])
  })

  it("takes longer from region to region", () => {
    const { time, network, processes } = make({}, [0, 1, 0])
    network.broadcast(processes[0], byte(7))
    time.runUntil(19.9)
    expect([processes[1].told, processes[2].told]).toEqual([[], ["1: 7"]])
    time.runUntil(20)
    expect(processes[1].told).toEqual(["1: 7"])
  })

  it("loses what is sent into a cut, in that direction alone", () => {
    const { time, network, processes } = make()
    const [one, two] = processes
    network.cut(0, 1)
    network.send(one, 2, byte(1))
    network.send(two, 1, byte(2))
    network.mend(0, 1)
    network.send(one, 2, byte(3))
    time.runUntil(12)
    expect([one.told, two.told]).toEqual([["2: 2"], ["1: 3"]])
  })

  it("breaks a link that is cut for long, and makes another when it is mended", () => {
    const { time, network, processes } = make()
    const [one, two] = processes
    network.cut(0, 1)
    time.runUntil(200)
    expect([one.told, two.told]).toEqual([["down 2"], ["down 1"]])
    expect(network.send(one, 2, byte(1))).toBe(false)
    network.mend(0, 1)
    time.runUntil(300)
    expect(one.told).toEqual(["down 2", "up 2"])
  })

  it("tells those who dial a dead process that it is gone, and links them with the next one there", () => {
    const { time, network, processes } = make()
    const [one, two] = processes
    network.end(two, false)
    time.runUntil(100)
    expect(one.told).toEqual(["down 2", "gone 2"])
    network.start(new Told(1, 22))
    time.runUntil(150)
    expect(one.told).toEqual(["down 2", "gone 2", "up 22"])
  })

  it("tells nobody of a host that has vanished but that its links are down", () => {
    const { time, network, processes } = make()
    network.end(processes[1], true)
    time.runUntil(400)
    expect(processes[0].told).toEqual(["down 2"])
    expect(network.hasVanished(processes[1], processes[0])).toBe(true)
  })

  it("loses, doubles and reorders in bad weather, the same each time", () => {
    const arrived = () => {
      const { time, network, processes } = make({ isOrdered: false })
      network.begin({ loss: 0.3, duplicates: 0.3, jitterMs: 20 })
      for (let frame = 0; frame < 100; frame++) network.send(processes[0], 2, byte(frame))
      time.runUntil(100)
      return processes[1].told
    }
    const told = arrived()
    expect(told).toEqual(arrived())
    const frames = told.map((line) => Number(line.slice(3)))
    const distinct = new Set(frames).size
    expect(distinct).toBeGreaterThan(50)
    expect(distinct).toBeLessThan(90)
    expect(frames.length).toBeGreaterThan(distinct)
    expect(frames).not.toEqual([...frames].sort((a, b) => a - b))
  })

  it("keeps the order of an ordered link in the worst weather", () => {
    const { time, network, processes } = make()
    network.begin({ loss: 0, duplicates: 0, jitterMs: 20 })
    for (let frame = 0; frame < 50; frame++) network.send(processes[0], 2, byte(frame))
    time.runUntil(100)
    expect(processes[1].told).toEqual(Array.from({ length: 50 }, (_, frame) => `1: ${frame}`))
  })
})
