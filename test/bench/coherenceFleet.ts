/** Processes that share keys (coherenceMember.ts), and what is asked of them. */
import { type ChildProcess, fork } from "node:child_process"
import { randomBytes } from "node:crypto"
import { fileURLToPath } from "node:url"
import * as Binary from "../servers/Binary.ts"
import { ascending, quantile } from "./Figure.ts"

/** How a process of a mesh finds the others; by the beacon of one host where nothing is said. */
export interface MeshPlace {
  readonly region?: string
  readonly port?: number
  readonly advertise?: string
  readonly seeds?: readonly string[]
  readonly beacon?: boolean
}

export type Question =
  | { readonly what: "mimosa"; readonly namespace: string; readonly place: MeshPlace }
  | { readonly what: "redis" | "nats"; readonly port: number }
  | { readonly what: "members"; readonly count: number }
  /** Holds copies of keys 0 to `count` - 1, but for those that it writes itself, as number `self` of the writers. */
  | { readonly what: "hold"; readonly count: number; readonly writers: number; readonly self: number }
  /** Writes each of its keys once, `count` of them from key `from` on, at `rate` a second. */
  | {
      readonly what: "write"
      readonly from: number
      readonly count: number
      readonly rate: number
      readonly writers: number
      readonly self: number
    }
  | { readonly what: "times" | "figures" | "end" }
  | { readonly what: "set" | "setLive"; readonly count: number }
  | { readonly what: "put"; readonly name: string; readonly count: number; readonly bytes: number }
  | { readonly what: "get"; readonly name: string; readonly count: number }

export type Answer = { readonly id: number } & ({ readonly value: unknown } | { readonly error: string })

/** What a process has used and counted since it began. */
export interface Figures {
  readonly cpuUs: number
  readonly arrivals: number
  /** Coherence's metrics: name and labels, and the count. */
  readonly counts: Readonly<Record<string, number>>
}

/** Nanoseconds by key; 0 where it was not this process. */
interface Times {
  readonly sent: Float64Array
  readonly arrived: Float64Array
}

export class Member {
  private readonly waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  private asked = 0

  private constructor(private readonly child: ChildProcess) {
    child.on("message", (message) => {
      const answer = message as Answer
      const asker = this.waiting.get(answer.id)
      this.waiting.delete(answer.id)
      if ("error" in answer) asker?.reject(new Error(answer.error))
      else asker?.resolve(answer.value)
    })
    child.once("exit", () => {
      for (const { reject } of this.waiting.values()) reject(new Error("a process of the fleet has ended"))
      this.waiting.clear()
    })
  }

  static start(): Member {
    const execArgv = ["--import", "tsx"]
    const stdio = ["ignore", "ignore", "inherit", "ipc"] as const
    const child = fork(program, { execArgv, stdio: [...stdio], serialization: "advanced" })
    Binary.endWithUs(child)
    return new Member(child)
  }

  ask<A = void>(question: Question): Promise<A> {
    const id = ++this.asked
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.child.send({ id, question })
    })
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null) return
    const ended = new Promise<void>((resolve) => this.child.once("exit", () => resolve()))
    this.ask({ what: "end" }).catch(() => {})
    const hung = setTimeout(() => this.child.kill("SIGKILL"), endMs)
    await ended
    clearTimeout(hung)
  }
}

const program = fileURLToPath(new URL("coherenceMember.ts", import.meta.url))
const endMs = 5_000

/** How the processes hear of each other. */
export type Carrier =
  | { readonly name: "mesh"; readonly places?: readonly MeshPlace[] }
  | { readonly name: "redis" | "nats"; readonly port: number }

/** What came of a run of writes: milliseconds, ascending, and what the processes used for it. */
export interface Heard {
  /** Of each write at each process but its writer. */
  readonly latenciesMs: readonly number[]
  /** The same by process, in no order. */
  readonly latenciesByMember: ReadonlyArray<readonly number[]>
  /** The medians of the processes, ascending. */
  readonly mediansMs: readonly number[]
  readonly writerCpuUs: number
  /** Of one that only receives, on average; 0 where all write. */
  readonly receiverCpuUs: number
  /** By metric, of the writer, and of one that only receives. */
  readonly writerCounts: Readonly<Record<string, number>>
  readonly receiverCounts: Readonly<Record<string, number>>
  readonly lost: number
}

export interface Writes {
  /** The processes that write, by number. */
  readonly writers: readonly number[]
  /** Of all together, a second. */
  readonly rate: number
  readonly seconds: number
  /** Without these at the beginning. */
  readonly warmupSeconds?: number
}

export class Fleet {
  private constructor(readonly members: readonly Member[]) {}

  static async start(size: number, carrier: Carrier): Promise<Fleet> {
    const members = Array.from({ length: size }, () => Member.start())
    const fleet = new Fleet(members)
    const namespace = `bench-${randomBytes(6).toString("hex")}`
    try {
      await Promise.all(
        members.map((member, n) => {
          if (carrier.name !== "mesh") return member.ask({ what: carrier.name, port: carrier.port })
          return member.ask({ what: "mimosa", namespace, place: carrier.places?.[n] ?? {} })
        })
      )
      if (carrier.name === "mesh") await fleet.untilCoherent()
      return fleet
    } catch (error) {
      await fleet.end()
      throw error
    }
  }

  /** Each knows all others; what it holds before that lives for the time of a partition at most. */
  private async untilCoherent(): Promise<void> {
    await this.all({ what: "members", count: this.members.length - 1 })
    for (let tries = 0; tries < arrivalTries; tries++) {
      const figures = await this.figures()
      if (figures.every(({ counts }) => counts[coherentMetric] === 1)) return
      await pause(quietMs)
    }
    throw new Error("the processes of the fleet do not become coherent")
  }

  all<A = void>(question: Question): Promise<A[]> {
    return Promise.all(this.members.map((member) => member.ask<A>(question)))
  }

  private figures(): Promise<Figures[]> {
    return this.all<Figures>({ what: "figures" })
  }

  /** What each process uses while nobody writes, ms of a thread a second, ascending. */
  async rest(seconds: number): Promise<number[]> {
    const before = await this.figures()
    await pause(seconds * 1_000)
    const after = await this.figures()
    return ascending(after.map(({ cpuUs }, n) => (cpuUs - (before[n] as Figures).cpuUs) / 1_000 / seconds))
  }

  /** Each key is written once, and taken away once from every process that holds it. */
  async hear({ writers, rate, seconds, warmupSeconds = 1 }: Writes): Promise<Heard> {
    const { members } = this
    const perWriter = (s: number) => Math.floor((s * rate) / writers.length)
    const from = perWriter(warmupSeconds) * writers.length
    const count = from + perWriter(seconds) * writers.length
    const selfOf = (n: number) => writers.indexOf(n)
    await Promise.all(
      members.map((each, n) => each.ask({ what: "hold", count, writers: writers.length, self: selfOf(n) }))
    )
    const write = (first: number, many: number) =>
      Promise.all(
        writers.map((n, self) =>
          (members[n] as Member).ask({
            what: "write",
            from: first,
            count: many / writers.length,
            rate: rate / writers.length,
            writers: writers.length,
            self
          })
        )
      )
    await write(0, from)
    await pause(quietMs)
    const before = await this.figures()
    await write(from, count - from)
    await this.untilArrived(members.map((_, n) => (selfOf(n) === -1 ? count : count - count / writers.length)))
    const after = await this.figures()
    return judge(await this.all<Times>({ what: "times" }), from, writers, before, after)
  }

  private async untilArrived(expected: readonly number[]): Promise<void> {
    for (let tries = 0; tries < arrivalTries; tries++) {
      const figures = await this.figures()
      if (figures.every(({ arrivals }, n) => arrivals >= (expected[n] as number))) return
      await pause(quietMs)
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.members.map((member) => member.end()))
  }
}

const judge = (
  times: readonly Times[],
  from: number,
  writers: readonly number[],
  before: readonly Figures[],
  after: readonly Figures[]
): Heard => {
  const [byMember, mediansMs]: [number[][], number[]] = [[], []]
  let lost = 0
  times.forEach(({ arrived }, n) => {
    const own: number[] = []
    for (let index = from; index < arrived.length; index++) {
      const writer = writers[index % writers.length] as number
      if (writer === n) continue
      const at = arrived[index] as number
      if (at === 0) lost++
      else own.push((at - ((times[writer] as Times).sent[index] as number)) / 1e6)
    }
    byMember.push(own)
    if (own.length > 0) mediansMs.push(quantile(ascending(own), 0.5))
  })
  const receivers = times.map((_, n) => n).filter((n) => !writers.includes(n))
  const used = (n: number) => (after[n] as Figures).cpuUs - (before[n] as Figures).cpuUs
  const counted = (n: number | undefined) => {
    const counts: Record<string, number> = {}
    if (n === undefined) return counts
    for (const [name, value] of Object.entries((after[n] as Figures).counts)) {
      counts[name] = value - ((before[n] as Figures).counts[name] ?? 0)
    }
    return counts
  }
  return {
    latenciesMs: ascending(byMember.flat()),
    latenciesByMember: byMember,
    mediansMs: ascending(mediansMs),
    writerCpuUs: used(writers[0] as number),
    receiverCpuUs: receivers.reduce((sum, n) => sum + used(n), 0) / Math.max(1, receivers.length),
    writerCounts: counted(writers[0]),
    receiverCounts: counted(receivers[0]),
    lost
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const coherentMetric = "mimosa_coherence_coherent"
const quietMs = 100
const arrivalTries = 50
