/**
 * Five hundred instances of the real protocol in one thread and virtual time, over a network of one data centre: how long
 * a write takes to all of them, and what they say to each other, at rest and at a thousand writes a second.
 *
 * What a thread needs for a frame is measured first, with real processes: a frame is handled when its receiver's thread
 * is free, and leaves when its sender's has written it. So the simulation has the queues that relays make.
 */
import { Instance } from "../../dist/coherence/protocol/Instance.js"
import type { Network } from "../../dist/coherence/protocol/Network.js"
import { parametersDefault } from "../../dist/coherence/protocol/Parameters.js"
import type { Store } from "../../dist/coherence/protocol/Store.js"
import { VirtualTime } from "../sim/coherence/VirtualTime.ts"
import { type Figures, Fleet, pause } from "./coherenceFleet.ts"
import { ascending, type Figure, quantile, type Suite } from "./Figure.ts"

/** What a frame costs a thread, in ms. */
interface Costs {
  /** To read one that has woken it up. */
  readonly wakeMs: number
  /** To read one that comes while it is busy with others: one turn then handles several. */
  readonly readMs: number
  readonly writeMs: number
}

export const suite: Suite = {
  name: "coherence.scale",
  async run(report, say) {
    say("coherence.scale: what a frame costs")
    const costs = await measureCosts()
    const samples = 1
    report({ id: "coherence.scale.frame.wake", value: costs.wakeMs * 1_000, unit: "us", samples })
    report({ id: "coherence.scale.frame.read", value: costs.readMs * 1_000, unit: "us", samples })
    report({ id: "coherence.scale.frame.write", value: costs.writeMs * 1_000, unit: "us", samples })
    const cluster = new Cluster(costs)
    say(`coherence.scale: ${size} instances join`)
    await cluster.grow(say)
    say("coherence.scale: at rest")
    for (const figure of await cluster.rest()) report(figure)
    say("coherence.scale: 1,000 writes a second")
    for (const figure of await cluster.write()) report(figure)
  }
}

const size = 500
const networkMs = 0.25 // one way, in a data centre
const restSeconds = 2
const writeSeconds = 2
const writeRate = 1_000 // a second, of all together
const waveMs = 200

/**
 * A write to many against one to few tells what one more frame costs its writer; several writers at once, what a reader
 * needs for a frame that is not alone.
 */
const measureCosts = async (): Promise<Costs> => {
  const few = await measureThreads(3, 1, 1_000)
  const many = await measureThreads(9, 1, 1_000)
  const busy = await measureThreads(9, 6, 6_000)
  const writeMs = (many.writerMs - few.writerMs) / (many.framesOut - few.framesOut)
  return {
    wakeMs: many.receiverMs / many.framesIn,
    readMs: busy.receiverMs / busy.framesIn,
    writeMs: Math.max(writeMs, 0.001)
  }
}

/** CPU and frames of the first writer and of one that only receives, without those that are under way at rest. */
const measureThreads = async (members: number, writerCount: number, rate: number) => {
  const writers = Array.from({ length: writerCount }, (_, n) => n)
  const fleet = await Fleet.start(members, { name: "mesh" })
  try {
    await fleet.hear({ writers, rate, seconds: 1 })
    const before = await fleet.all<Figures>({ what: "figures" })
    await pause(2_000)
    const after = await fleet.all<Figures>({ what: "figures" })
    const restMs = (n: number) => ((after[n] as Figures).cpuUs - (before[n] as Figures).cpuUs) / 2_000 // a second
    const seconds = 4
    const heard = await fleet.hear({ writers, rate, seconds })
    return {
      writerMs: heard.writerCpuUs / 1_000 - restMs(0) * seconds,
      framesOut: heard.writerCounts[`${framesMetric} out`] ?? 0,
      receiverMs: heard.receiverCpuUs / 1_000 - restMs(members - 1) * seconds,
      framesIn: heard.receiverCounts[`${framesMetric} in`] ?? 0
    }
  } finally {
    await fleet.end()
  }
}

const framesMetric = "mimosa_coherence_frames_total"

class Node implements Network {
  readonly instance: Instance
  readonly links = new Set<Node>()
  freeAtMs = 0
  isDialing = false
  frames = 0
  bytes = 0
  private readonly inbox: Arrival[] = []
  private handled = 0
  private wakeAtMs = Number.POSITIVE_INFINITY

  constructor(
    readonly origin: number,
    private readonly cluster: Cluster
  ) {
    const { time, random } = cluster
    this.instance = new Instance({
      origin,
      region: 1,
      namespace: 1,
      parameters: { ...parametersDefault, logSize: 2 ** 12, receivedSize: 2 ** 12, buckets: 2 ** 10 },
      clock: { nowMs: () => time.nowMs },
      random,
      store: new Watch(this, cluster),
      network: this
    })
  }

  get peer() {
    return { origin: this.origin, region: 1 }
  }

  send(to: number, frame: Uint8Array): void {
    const receiver = this.cluster.nodes.get(to)
    if (receiver === undefined || !this.links.has(receiver)) return
    this.frames++
    this.bytes += frame.length
    const { time, costs } = this.cluster
    this.freeAtMs = Math.max(this.freeAtMs, time.nowMs) + costs.writeMs
    time.at(this.freeAtMs + networkMs, () => receiver.receive(frame, this))
  }

  broadcast(frame: Uint8Array): void {
    for (const { origin } of this.links) this.send(origin, frame)
  }

  reconsider(): void {
    if (this.isDialing) return
    this.isDialing = true
    this.cluster.time.after(dialMs, () => this.dial())
  }

  wake(atMs: number): void {
    const { time } = this.cluster
    if (atMs >= this.wakeAtMs) return
    this.wakeAtMs = atMs
    time.at(atMs, () => {
      if (this.wakeAtMs !== atMs) return
      this.wakeAtMs = Number.POSITIVE_INFINITY
      this.wake(this.instance.tick())
    })
  }

  link(other: Node): void {
    if (other === this || this.links.has(other)) return
    this.links.add(other)
    other.links.add(this)
    this.instance.onLinkUp(other.peer)
    other.instance.onLinkUp(this.peer)
  }

  /** A frame has come: it is handled when those before it have been. */
  private receive(frame: Uint8Array, from: Node): void {
    const { time, costs } = this.cluster
    const costMs = this.freeAtMs <= time.nowMs && this.handled === this.inbox.length ? costs.wakeMs : costs.readMs
    this.inbox.push({ frame, from, costMs })
    if (this.inbox.length - this.handled === 1) this.serveWhenFree()
  }

  private serveWhenFree(): void {
    const { time } = this.cluster
    time.at(Math.max(this.freeAtMs, time.nowMs), () => {
      if (this.freeAtMs > time.nowMs) return this.serveWhenFree() // it has written something meanwhile
      const { frame, from, costMs } = this.inbox[this.handled++] as Arrival
      this.freeAtMs = time.nowMs + costMs
      if (this.links.has(from)) this.instance.onFrame(frame, from.origin)
      if (this.handled < this.inbox.length) this.serveWhenFree()
      else {
        this.inbox.length = 0
        this.handled = 0
      }
    })
  }

  /** Links that neither or both want. */
  private dial(): void {
    this.isDialing = false
    for (const other of [...this.links]) {
      if (this.instance.wantsLink(other.peer)) continue
      this.links.delete(other)
      other.links.delete(this)
      this.instance.onLinkDown(other.origin)
      other.instance.onLinkDown(this.origin)
      other.reconsider()
    }
    let begun = 0
    for (const other of this.cluster.nodes.values()) {
      if (this.links.has(other) || !this.instance.wantsLink(other.peer)) continue
      if (other === this || !other.instance.wantsLink(this.peer)) continue
      if (begun++ === dialingMax) {
        this.reconsider()
        return
      }
      this.link(other)
    }
  }
}

interface Arrival {
  readonly frame: Uint8Array
  readonly from: Node
  readonly costMs: number
}

const dialMs = 20
const dialingMax = 4 // links that one begins at once: what they tell makes most others needless

/** Entries that nobody has: only when a record comes is of interest. */
class Watch implements Store {
  constructor(
    private readonly node: Node,
    private readonly cluster: Cluster
  ) {}
  apply(_op: number, hash: number): void {
    this.cluster.onApplied(hash, this.node.freeAtMs)
  }
  moveBuckets(): void {}
  mark(): number {
    return 0
  }
  forgetCopies(): void {}
  ownHashes(): number[] {
    return []
  }
  newest(): undefined {}
  authorOf(): undefined {}
  authorOfKey(): undefined {}
  doubt(): void {}
  floorOf(): number {
    return 0
  }
  outvote(): void {}
  read(): "none" {
    return "none"
  }
}

class Cluster {
  readonly time = new VirtualTime()
  readonly nodes = new Map<number, Node>()
  private readonly all: Node[] = []
  private readonly writtenAtMs: number[] = []
  private latencies: number[] = []
  private seed = 1

  constructor(readonly costs: Costs) {}

  /** Mulberry32 by Tommy Ettinger. */
  readonly random = (): number => {
    this.seed = (this.seed + 0x6d2b79f5) | 0
    let bits = Math.imul(this.seed ^ (this.seed >>> 15), 1 | this.seed)
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32
  }

  onApplied(hash: number, atMs: number): void {
    this.latencies.push(atMs - (this.writtenAtMs[hash] as number))
  }

  /** They start in waves, as a deployment rolls out: each finds some that are there, who tell it of all others. */
  async grow(say: (progress: string) => void): Promise<void> {
    for (let count = 0; count < size; ) {
      const here = [...this.all]
      count = Math.min(size, count + waveSize)
      while (this.all.length < count) this.start(here)
      for (let tries = 0; !this.isWhole(); tries++) {
        if (tries === growTries) throw new Error(`${count} instances do not get to know each other`)
        await this.run(waveMs)
        say(`coherence.scale: ${this.all.filter((node) => this.isIn(node)).length} of ${count} know all`)
      }
    }
    await this.run(restMs)
    if (!this.isWhole()) throw new Error("the instances have not kept their links")
  }

  private start(seeds: readonly Node[]): void {
    const node = new Node(1 + Math.floor(this.random() * 2 ** 52), this)
    this.nodes.set(node.origin, node)
    this.all.push(node)
    node.wake(this.time.nowMs)
    for (let n = 0; n < seedLinks; n++) {
      const seed = seeds[Math.floor(this.random() * seeds.length)]
      if (seed !== undefined) node.link(seed)
    }
    if (seeds.length === 0) for (const other of this.all) node.link(other)
    this.time.after(settleMs, () => node.instance.settled())
  }

  async rest(): Promise<Figure[]> {
    return this.talk("rest", restSeconds, () => this.run(restSeconds * 1_000))
  }

  async write(): Promise<Figure[]> {
    this.latencies = []
    const count = writeSeconds * writeRate
    const began = this.time.nowMs
    for (let n = 1; n <= count; n++) {
      const atMs = began + (n * 1_000) / writeRate + this.random()
      const writer = this.all[Math.floor(this.random() * size)] as Node
      this.time.at(atMs, () => {
        this.writtenAtMs[n] = this.time.nowMs
        writer.instance.append(1, n, ++writer.instance.lamport, 0)
      })
    }
    const talk = await this.talk("writes", writeSeconds, () => this.run(writeSeconds * 1_000))
    await this.run(restMs)
    const expected = count * (size - 1)
    if (this.latencies.length !== expected) {
      throw new Error(`${this.latencies.length} of ${expected} records have been applied`)
    }
    const sorted = ascending(this.latencies)
    const spread = [quantile(sorted, 0.1), quantile(sorted, 0.9)] as const
    const of = (id: string, q: number): Figure => {
      return { id: `coherence.scale.${id}`, value: quantile(sorted, q), unit: "ms", samples: expected, spread }
    }
    return [of("p50", 0.5), of("p99", 0.99), of("p999", 0.999), ...talk]
  }

  /** Frames and bytes that an instance sends a second, meanwhile: the median one, and from it to those of relays. */
  private async talk(name: string, seconds: number, meanwhile: () => Promise<void>): Promise<Figure[]> {
    for (const node of this.all) [node.frames, node.bytes] = [0, 0]
    await meanwhile()
    const figure = (id: string, unit: Figure["unit"], values: readonly number[]): Figure => {
      const sorted = ascending(values.map((each) => each / seconds))
      const spread = [quantile(sorted, 0.1), sorted.at(-1) as number] as const
      return { id: `coherence.scale.${name}.${id}`, value: quantile(sorted, 0.5), unit, samples: size, spread }
    }
    return [
      figure(
        "frames",
        "ops/s",
        this.all.map(({ frames }) => frames)
      ),
      figure(
        "bytes",
        "bytes",
        this.all.map(({ bytes }) => bytes)
      )
    ]
  }

  private isWhole(): boolean {
    return this.all.every((node) => this.isIn(node))
  }

  /** It knows all others, and misses nothing of them. */
  private isIn({ instance }: Node): boolean {
    return instance.isCoherent && instance.memberCount === this.all.length - 1
  }

  /** So much virtual time, with a turn for whoever else is in this thread now and then. */
  private async run(ms: number): Promise<void> {
    for (const end = this.time.nowMs + ms; this.time.nowMs < end; ) {
      this.time.runUntil(Math.min(end, this.time.nowMs + 20), eventsMax)
      await new Promise(setImmediate)
    }
  }
}

const settleMs = 60
const restMs = 1_500 // until what came of the last change is over
const growTries = 50
const waveSize = 50 // instances that start at once
const seedLinks = 2
const eventsMax = 50_000_000
