/**
 * Five hundred instances of the real protocol in one thread and virtual time, over a network of one data centre: how long
 * a write takes to all of them, and what they say to each other, at rest and at a thousand writes a second.
 *
 * What a thread needs for a frame is measured first, with four real processes: a frame is handled when its receiver's
 * thread is free, and leaves when its sender's has written it. So the simulation has the queues that relays make.
 */
import { Cells } from "../../dist/coherence/protocol/Cells.js"
import { Instance } from "../../dist/coherence/protocol/Instance.js"
import type { Network } from "../../dist/coherence/protocol/Network.js"
import { parametersDefault } from "../../dist/coherence/protocol/Parameters.js"
import type { Store } from "../../dist/coherence/protocol/Store.js"
import { VirtualTime } from "../sim/coherence/VirtualTime.ts"
import { type Figures, Fleet, pause } from "./coherenceFleet.ts"
import { ascending, type Figure, quantile, type Suite } from "./Figure.ts"

/** What a frame costs the thread that reads or writes it, in ms. */
interface Costs {
  readonly readMs: number
  readonly writeMs: number
}

export const suite: Suite = {
  name: "coherence.scale",
  async run(report, say) {
    say("coherence.scale: what a frame costs")
    const costs = await measureCosts()
    const samples = 1
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

/** Four processes, of which one writes. Frames that are under way at rest count for both, so rest is taken off. */
const measureCosts = async (): Promise<Costs> => {
  const fleet = await Fleet.start(4, { name: "mesh" })
  try {
    await fleet.hear({ writers: [0], rate: 1_000, seconds: 1 })
    const before = await fleet.all<Figures>({ what: "figures" })
    await pause(2_000)
    const after = await fleet.all<Figures>({ what: "figures" })
    const atRest = (n: number) => ((after[n] as Figures).cpuUs - (before[n] as Figures).cpuUs) / 2 // a second
    const seconds = 4
    const { writerCpuUs, receiverCpuUs, writerCounts, receiverCounts } = await fleet.hear({
      writers: [0],
      rate: 1_000,
      seconds
    })
    const framesOut = writerCounts[`${framesMetric} out`] ?? 0
    const framesIn = receiverCounts[`${framesMetric} in`] ?? 0
    return {
      readMs: Math.max(0.001, (receiverCpuUs - atRest(1) * seconds) / framesIn / 1_000),
      writeMs: Math.max(0.001, (writerCpuUs - atRest(0) * seconds) / framesOut / 1_000)
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
    if (this.isDialing || !this.cluster.mayDial) return
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
    this.inbox.push({ frame, from })
    if (this.inbox.length - this.handled === 1) this.serveWhenFree()
  }

  private serveWhenFree(): void {
    const { time } = this.cluster
    time.at(Math.max(this.freeAtMs, time.nowMs), () => {
      if (this.freeAtMs > time.nowMs) return this.serveWhenFree() // it has written something meanwhile
      const { frame, from } = this.inbox[this.handled++] as Arrival
      this.freeAtMs = time.nowMs + this.cluster.costs.readMs
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
  /** Links are as they were made until all know all. */
  mayDial = false
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

  /**
   * All start at once, with the links of groups that might be theirs, by which they come to know each other; then they
   * make those that they want. A full mesh of strangers, as it may be for a moment, would take minutes to compute.
   */
  async grow(say: (progress: string) => void): Promise<void> {
    const groups = Math.round(Math.sqrt(size))
    for (let n = 0; n < size; n++) {
      const node = new Node(1 + Math.floor(this.random() * 2 ** 52), this)
      this.nodes.set(node.origin, node)
      this.all.push(node)
      node.wake(this.time.nowMs)
    }
    const [first] = this.all as [Node]
    const cells = new Cells(first.peer, parametersDefault)
    const members = this.all.slice(1).map(({ origin }) => ({ origin, region: 1, groups }))
    cells.update(members, false)
    const isRelay = ({ origin }: Node) => cells.relaysOf(cells.cellOf(origin)).includes(origin)
    for (const node of this.all) {
      for (const other of this.all) {
        if (cells.cellOf(node.origin) === cells.cellOf(other.origin)) node.link(other)
        else if (isRelay(node) && isRelay(other)) node.link(other)
      }
      this.time.after(settleMs, () => node.instance.settled())
    }
    for (let tries = 0; !this.isWhole(); tries++) {
      if (tries === growTries) throw new Error("the instances do not get to know each other")
      await this.run(waveMs)
      if (!this.mayDial && this.all.every(hearsOfAll)) {
        this.mayDial = true
        for (const node of this.all) node.reconsider()
      }
      say(`coherence.scale: ${this.all.filter(isWhole).length} of ${size} know all`)
    }
    await this.run(restMs)
    if (!this.isWhole()) throw new Error("the instances have not kept their links")
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
    return this.all.every(isWhole)
  }

  /** So much virtual time, with a turn for whoever else is in this thread now and then. */
  private async run(ms: number): Promise<void> {
    for (const end = this.time.nowMs + ms; this.time.nowMs < end; ) {
      this.time.runUntil(Math.min(end, this.time.nowMs + 20), eventsMax)
      await new Promise(setImmediate)
    }
  }
}

const hearsOfAll = ({ instance }: Node): boolean => instance.members.live.size === size - 1

/** Knows all others, and has been told into how many groups they are split. */
const knowsAll = ({ instance }: Node): boolean => instance.members.live.size === size - 1 && instance.cells.groups > 1

const isWhole = (node: Node): boolean => node.instance.isCoherent && knowsAll(node)

const settleMs = 60
const restMs = 1_500 // until what came of the last change is over
const growTries = 20
const eventsMax = 50_000_000
