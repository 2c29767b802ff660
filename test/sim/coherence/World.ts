/**
 * Runs one schedule from its first step to the quiet after its last, with the referee looking on.
 *
 * A world is a function of its schedule: the same one gives the same run, with any of its steps taken out or not.
 */
import type { Meta } from "../../../src/kernel/index.ts"
import { noMeta } from "../../../src/kernel/index.ts"
import { Broken } from "./Broken.ts"
import { History } from "./History.ts"
import { Referee } from "./Referee.ts"
import { endOf, type Schedule, type Step } from "./Schedule.ts"
import { type Parts, SimInstance } from "./SimInstance.ts"
import { SimNetwork } from "./SimNetwork.ts"
import { VirtualTime } from "./VirtualTime.ts"

export interface Line {
  readonly atMs: number
  readonly text: string
  readonly space: number
  readonly key: string
}

export class World {
  readonly time = new VirtualTime()
  readonly network: SimNetwork
  readonly history = new History()
  readonly referee: Referee
  /** The process of each host that is there. */
  readonly nodes: Array<SimInstance | null>
  /** All that ever were, by origin. */
  readonly all = new Map<number, SimInstance>()
  readonly places: ReadonlyArray<{ readonly space: number; readonly key: string }>
  /** What happened, if somebody wants to read it. */
  readonly lines: Line[] = []
  private readonly placeNumbers: ReadonlyArray<Map<string, number>>
  private readonly incarnations: number[]
  private values = 0
  private broken: Broken | null = null

  constructor(
    readonly schedule: Schedule,
    readonly parts: Parts = {},
    private readonly isTold = false
  ) {
    const regions = schedule.hosts.map((host) => host.region)
    this.network = new SimNetwork(this.time, schedule.seed, regions, schedule.network)
    this.nodes = schedule.hosts.map(() => null)
    this.incarnations = schedule.hosts.map(() => 0)
    this.places = schedule.spaces.flatMap((_, space) => schedule.keys.map((key) => ({ space, key })))
    this.placeNumbers = schedule.spaces.map(
      (_, space) => new Map(schedule.keys.map((key, index) => [key, space * schedule.keys.length + index]))
    )
    this.referee = new Referee(this)
    this.network.onSend = (frame) => this.referee.countInv(frame)
  }

  /** Throws `Broken` where an invariant does not hold. */
  run(): void {
    for (const step of this.schedule.steps) this.time.at(step.atMs, () => this.take(step))
    const { heartbeatMs } = this.schedule.parameters
    const endMs = endOf(this.schedule.steps)
    for (let atMs = heartbeatMs; atMs <= endMs; atMs += heartbeatMs * 1.5)
      this.time.at(atMs, () => this.referee.probe())
    this.runUntil(endMs + 1)
    this.heal()
    this.referee.waitForQuiet()
    this.referee.judge()
  }

  runUntil(untilMs: number): void {
    this.time.runUntil(untilMs)
    if (this.broken !== null) throw this.broken
  }

  living(): SimInstance[] {
    return this.nodes.filter((node): node is SimInstance => node !== null)
  }

  placeOf(space: number, key: string): number {
    return this.placeNumbers[space]?.get(key) as number
  }

  nameOf(origin: number): string {
    return this.all.get(origin)?.name ?? `nobody (${origin})`
  }

  /** What the database holds now, read by somebody: each reading is a value of its own. */
  readDatabase(space: number, key: string): string {
    const value = `${key}#${this.history.databaseVersion(space, key)}/${++this.values}`
    this.know(space, key, value, true, [], 0, null)
    return value
  }

  /** Something is wrong. What comes first counts. */
  break(invariant: string, space: number, key: string, sentence: string): void {
    if (this.broken !== null) return
    this.tell(`${sentence} (${invariant})`, space, key)
    this.broken = new Broken(invariant, space, key, sentence, this.time.nowMs)
    throw this.broken
  }

  /** Somebody threw. */
  report(error: unknown): void {
    if (this.broken !== null) return
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    this.broken = error instanceof Broken ? error : new Broken("defect", -1, "", text, this.time.nowMs)
  }

  tell(text: string, space = -1, key = ""): void {
    if (this.isTold) this.lines.push({ atMs: this.time.nowMs, text, space, key })
  }

  /** Faults are over. Whoever is dead without a trace is forgotten by its operator, as the protocol asks for. */
  private heal(): void {
    this.tell("everything has healed")
    this.network.calm()
    for (const node of this.living()) if (node.isPaused) node.resume()
    for (const lost of this.all.values()) {
      if (lost.isAlive) continue
      for (const node of this.living()) {
        if (this.network.hasVanished(lost, node)) node.take(() => node.instance.forget(lost.origin))
      }
    }
    if (this.broken !== null) throw this.broken
  }

  private take(step: Step): void {
    if (this.broken !== null) throw this.broken
    switch (step.what) {
      case "start":
        this.start(step.host)
        return
      case "crash":
      case "vanish":
      case "leave":
        this.end(step.what, step.host, step.againAfterMs)
        return
      case "cut":
        this.cut(step.pairs, step.forMs, step.story)
        return
      case "weather": {
        const { weather } = step
        this.tell(`frames are lost (${weather.loss}), doubled (${weather.duplicates}), late (${weather.jitterMs} ms)`)
        this.network.begin(weather)
        this.time.after(step.forMs, () => this.network.clear(weather))
        return
      }
    }
    const node = this.nodes[step.host] ?? null
    if (node === null || node.isPaused || node.hasLeft) return
    node.take(() => this.serve(node, step))
  }

  private serve(node: SimInstance, step: Step): void {
    switch (step.what) {
      case "get": {
        const { space, key } = step
        const load = this.schedule.hasDatabase ? step : null
        const beganAtTurn = this.time.turn
        this.referee.probeKey(node, space, key)
        node.read(space, key, load, (value) => this.referee.onRead(node, space, key, value, beganAtTurn))
        return
      }
      case "set": {
        const { space, key, ttlMs, isLocal, ack } = step
        const value = `${isLocal ? "local-" : ""}${key}=${++this.values}`
        const meta: Meta = step.tags.length === 0 ? noMeta : { metadata: null, tags: step.tags, cost: 0 }
        const deadlineMs = ttlMs === 0 ? Number.POSITIVE_INFINITY : this.time.nowMs + node.trueMs(ttlMs)
        this.know(space, key, value, false, step.tags, deadlineMs, node)
        if (isLocal) this.tell(`${node.name} sets ${key} = ${value}, local`, space, key)
        const sequence = node.set(space, key, value, ttlMs, meta, isLocal)
        if (ack === "async" || isLocal) return
        const members = this.referee.membersOf(node)
        node.instance.acknowledge(sequence, ack, (result) =>
          this.referee.onAcknowledged(node, space, key, value, sequence, ack, result, members)
        )
        return
      }
      case "update": {
        const { space, key } = step
        const version = this.history.updateDatabase(space, key)
        this.tell(`the database has version ${version} of ${key}`, space, key)
        if (step.by !== "set") {
          node.remove(space, key, step.by)
          return
        }
        const value = `${key}#${version}=${++this.values}`
        this.know(space, key, value, false, [], Number.POSITIVE_INFINITY, node)
        node.set(space, key, value, 0, noMeta, false)
        return
      }
      case "delete":
      case "invalidate":
        node.remove(step.space, step.key, step.what)
        return
      case "expire":
        node.expire(step.space, step.key, step.ttlMs)
        return
      case "persist":
        node.expire(step.space, step.key, 0)
        return
      case "tag":
        node.wide("tag", step.space, step.tag)
        return
      case "prefix":
        node.wide("prefix", step.space, step.prefix)
        return
      case "clear":
        node.wide("clear", step.space, "")
        return
      case "pause":
        this.tell(`${node.name} stands still for ${step.forMs} ms`)
        node.pause()
        this.time.after(step.forMs, () => node.isPaused && node.resume())
        return
      case "forget": {
        const whom = this.nodes[step.whom] ?? [...this.all.values()].find((each) => each.host === step.whom)
        if (whom === undefined || whom === node) return
        this.tell(`${node.name} is told to forget ${whom.name}`)
        node.instance.forget(whom.origin)
        return
      }
    }
  }

  private start(host: number): void {
    if (this.nodes[host] !== null) return
    const plan = this.schedule.hosts[host]
    if (plan === undefined) return
    const incarnation = this.incarnations[host] as number
    this.incarnations[host] = incarnation + 1
    const node = new SimInstance(this, host, plan, incarnation)
    this.tell(`${node.name} starts`)
    this.nodes[host] = node
    this.all.set(node.origin, node)
    this.network.start(node)
  }

  private end(how: "crash" | "vanish" | "leave", host: number, againAfterMs: number): void {
    const node = this.nodes[host] ?? null
    if (againAfterMs >= 0) this.time.after(againAfterMs, () => this.start(host))
    if (node === null) return
    if (how === "leave" && !node.isPaused && !node.hasLeft) {
      this.tell(`${node.name} leaves`)
      node.take(() => node.instance.leave())
      node.hasLeft = true
      this.time.after(leaveMs, () => this.finish(node, false))
      return
    }
    this.tell(`${node.name} ${how === "vanish" ? "is lost with its host" : "is killed"}`)
    this.finish(node, how === "vanish")
  }

  private finish(node: SimInstance, vanishes: boolean): void {
    if (!node.isAlive) return
    node.isAlive = false
    if (this.nodes[node.host] === node) this.nodes[node.host] = null
    this.network.end(node, vanishes)
  }

  private cut(pairs: ReadonlyArray<readonly [number, number]>, forMs: number, story: string): void {
    this.tell(
      `cut for ${forMs} ms: ${story} (${pairs.map(([a, b]) => `${this.hostName(a)}→${this.hostName(b)}`).join(" ")})`
    )
    for (const [from, to] of pairs) this.network.cut(from, to)
    this.time.after(forMs, () => {
      this.tell(`mended: ${story}`)
      for (const [from, to] of pairs) this.network.mend(from, to)
    })
  }

  private hostName(host: number): string {
    return this.schedule.hosts[host]?.name ?? "?"
  }

  private know(
    space: number,
    key: string,
    value: string,
    isLoaded: boolean,
    tags: readonly string[],
    deadlineMs: number,
    writer: SimInstance | null
  ): void {
    const { turn, nowMs: atMs } = this.time
    const forEverMs = isLoaded ? Number.POSITIVE_INFINITY : deadlineMs
    this.history.values.set(value, {
      value,
      space,
      key,
      isLoaded,
      turn,
      atMs,
      tags,
      stamp: null,
      deadlineMs: forEverMs,
      heldUntilMs: 0,
      writer: writer?.origin ?? 0
    })
  }
}

const leaveMs = 3 // between the good-bye and the end of the process
