/**
 * What happens in one simulated world, drawn from a seed: the instances, the sizes and times that they run with, and a
 * list of steps, each with its own time and its own consequences, so that any of them can be taken out and the rest
 * still means the same (`shrink`).
 *
 * All sizes are tiny: rings of 4 records, tables of 2 buckets, intervals of 1, so that every overflow happens.
 */
import type { Parameters } from "../../../src/coherence/protocol/Parameters.ts"
import type { Random } from "../../support/Random.ts"
import type { NetworkPlan, Weather } from "./SimNetwork.ts"

export interface Schedule {
  readonly seed: number
  readonly hosts: readonly HostPlan[]
  readonly parameters: Parameters
  readonly directoryMax: number
  readonly maxEntries: number
  readonly network: NetworkPlan
  /** Heads of displayed keys: one keyspace each. */
  readonly spaces: readonly string[]
  readonly keys: readonly string[]
  /** There is an origin behind the caches, from which a get loads what nobody has. */
  readonly hasDatabase: boolean
  /** Two keys have one hash. */
  readonly collides: boolean
  /** One host belongs to another namespace. */
  readonly hasStranger: boolean
  /** Versions begin at what each host's clock says. */
  readonly hasDatedVersions: boolean
  readonly steps: readonly Step[]
  /** When the last fault has healed. */
  readonly endMs: number
}

export interface HostPlan {
  readonly name: string
  readonly region: number
  /** Of the clock that entries expire by, and of the protocol's, against true time. */
  readonly clockOffsetMs: number
  readonly clockRate: number
}

interface At {
  readonly atMs: number
}
interface AtKey extends At {
  readonly host: number
  readonly space: number
  readonly key: string
}

export type Step =
  | (At & { readonly what: "start"; readonly host: number })
  | (AtKey & { readonly what: "get"; readonly readsAfterMs: number; readonly answersAfterMs: number })
  | (AtKey & {
      readonly what: "set"
      readonly ttlMs: number
      readonly tags: readonly string[]
      readonly isLocal: boolean
      readonly ack: "async" | "one" | "live"
    })
  | (AtKey & { readonly what: "update"; readonly by: "set" | "delete" | "invalidate" })
  | (AtKey & { readonly what: "delete" | "invalidate" | "persist" })
  | (AtKey & { readonly what: "expire"; readonly ttlMs: number })
  | (At & { readonly what: "tag"; readonly host: number; readonly space: number; readonly tag: string })
  | (At & { readonly what: "prefix"; readonly host: number; readonly space: number; readonly prefix: string })
  | (At & { readonly what: "clear"; readonly host: number; readonly space: number })
  | (At & { readonly what: "crash" | "leave" | "vanish"; readonly host: number; readonly againAfterMs: number })
  | (At & { readonly what: "pause"; readonly host: number; readonly forMs: number })
  | (At & { readonly what: "forget"; readonly host: number; readonly whom: number })
  | (At & {
      readonly what: "cut"
      /** Host by host: nothing gets from the first to the second. */
      readonly pairs: ReadonlyArray<readonly [number, number]>
      readonly story: string
      readonly forMs: number
    })
  | (At & { readonly what: "weather"; readonly weather: Weather; readonly forMs: number })

const names = "ABCDEFGHIJKL"
export const tags = ["red", "blue"] as const
export const prefixes = ["user:", "user:7:"] as const
const keysAll = ["user:1", "user:7:a", "user:7:b", "item:1", "flag", "item:2"] as const

export const scheduleOf = (random: Random): Schedule => {
  const count = random.oneIn(8) ? random.between(6, names.length) : random.between(2, 5)
  const hasRegions = count > 2 && random.oneIn(4)
  const heartbeatMs = count > 5 ? 40 : 20
  const cellMax = count > 3 && random.oneIn(6) ? 3 : 48
  const hasDatabase = random.oneIn(2)
  const hosts: HostPlan[] = []
  for (let host = 0; host < count; host++) {
    hosts.push({
      name: names[host] as string,
      region: hasRegions ? host % 2 : 0,
      clockOffsetMs: random.pick([0, 0, -3_600_000, 250, 86_400_000]),
      clockRate: random.pick([1, 1, 1, 0.97, 1.03])
    })
  }
  const isLossy = random.oneIn(4)
  const network: NetworkPlan = {
    latencyMs: 0.5,
    farLatencyMs: hasRegions ? random.pick([2, 8]) : 0.5,
    jitterMs: random.pick([0, 0.5, 3]),
    loss: isLossy ? random.pick([0.01, 0.05]) : 0,
    duplicates: isLossy ? 0.03 : 0,
    isOrdered: random.oneIn(2),
    dialMs: heartbeatMs,
    brokenAfterMs: random.pick([heartbeatMs, heartbeatMs * 4, Number.POSITIVE_INFINITY])
  }
  const parameters: Parameters = {
    logSize: random.pick([4, 8, 64]),
    receivedSize: random.pick([4, 16, 64]),
    buckets: random.pick([2, 8, 64]),
    wideMax: random.pick([1, 4]),
    intervalsMax: random.between(1, 4),
    heartbeatMs,
    suspectMs: heartbeatMs * 3,
    regionSlackMs: heartbeatMs * 2,
    vectorEvery: random.pick([2, 10]),
    gapMs: [2, 5],
    gapLimitMs: heartbeatMs * 2,
    pullRetryMs: 8 + network.farLatencyMs * 2,
    pullRecordsMax: random.pick([2, 64]),
    batchRecordsMax: random.pick([2, 8]),
    batchMs: 0.5,
    degraded: random.oneIn(6) ? "bypass" : "cap",
    partitionTtlMs: heartbeatMs * random.pick([3, 8]),
    joinMs: heartbeatMs * 3,
    memberTimeoutMs: Number.POSITIVE_INFINITY,
    deadKept: 64,
    membersMax: 64,
    ackTimeoutMs: heartbeatMs * 10,
    acksMax: 16,
    fetchesMax: 64,
    parkedMax: 4,
    fetchTimeoutMs: 40,
    fetchHoldMs: 10,
    fetchKeysMax: random.pick([1, 8]),
    valueBytesMax: 1_000,
    cellMax,
    cellMin: cellMax - 1,
    relayBatchMs: [1, 3],
    groupBatchMs: 0.2
  }
  const spaces = random.oneIn(4) ? ["", "tenant_7:"] : [""]
  const keys = keysAll.slice(0, random.between(1, keysAll.length))
  const drawn = new Steps(random, count, spaces, keys, hasDatabase, heartbeatMs, hasRegions)
  const steps = drawn.all()
  return {
    seed: random.seed,
    hosts,
    parameters,
    directoryMax: random.pick([4, 16, 64]),
    maxEntries: random.oneIn(4) ? random.between(1, 3) : 1_000,
    network,
    spaces,
    keys,
    hasDatabase,
    collides: random.oneIn(16),
    hasStranger: count > 2 && random.oneIn(16),
    hasDatedVersions: random.oneIn(2),
    steps,
    endMs: endOf(steps)
  }
}

/** When everything that these steps begin is over. */
export const endOf = (steps: readonly Step[]): number => {
  let endMs = 0
  for (const step of steps) {
    const lastsMs = "forMs" in step ? step.forMs : "againAfterMs" in step ? Math.max(0, step.againAfterMs) : 0
    endMs = Math.max(endMs, step.atMs + lastsMs)
  }
  return endMs
}

class Steps {
  private readonly steps: Step[] = []
  private nowMs = 0

  constructor(
    private readonly random: Random,
    private readonly hosts: number,
    private readonly spaces: readonly string[],
    private readonly keys: readonly string[],
    private readonly hasDatabase: boolean,
    private readonly heartbeatMs: number,
    private readonly hasRegions: boolean
  ) {}

  all(): Step[] {
    const { random } = this
    const areTogether = random.oneIn(2)
    for (let host = 0; host < this.hosts; host++) {
      const atMs = areTogether || host === 0 ? host * 0.1 : random.below(this.heartbeatMs * 12)
      this.steps.push({ what: "start", host, atMs })
    }
    this.nowMs = random.oneIn(4) ? 0 : this.heartbeatMs * 6
    const isCalm = random.oneIn(6) // writes alone: what is wrong then is found in a short story
    for (let left = random.between(8, 40); left > 0; left--) {
      this.nowMs += this.pauseMs()
      if (!isCalm && random.oneIn(6)) this.fault()
      else this.work()
    }
    if (random.oneIn(4)) this.early()
    return this.steps.sort((a, b) => a.atMs - b.atMs)
  }

  private pauseMs(): number {
    const { random } = this
    switch (random.below(6)) {
      case 0:
        return 0
      case 1:
        return random.next()
      case 2:
      case 3:
        return random.between(1, 8)
      case 4:
        return random.between(8, this.heartbeatMs)
      default:
        return random.below(this.heartbeatMs * 4)
    }
  }

  private work(): void {
    const { random, nowMs: atMs } = this
    const host = random.below(this.hosts)
    const space = random.below(this.spaces.length)
    const key = random.pick(this.keys)
    const at = { atMs, host, space, key }
    switch (random.below(20)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
        this.steps.push({ ...at, what: "get", readsAfterMs: random.below(8), answersAfterMs: random.below(12) })
        break
      case 7:
      case 8:
      case 9:
      case 10:
      case 11:
      case 12:
        if (this.hasDatabase && !random.oneIn(4)) {
          this.steps.push({ ...at, what: "update", by: random.pick(["set", "delete", "invalidate"]) })
          break
        }
        this.steps.push({
          ...at,
          what: "set",
          ttlMs: random.oneIn(5) ? random.between(5, this.heartbeatMs * 10) : 0,
          tags: random.oneIn(3) ? [random.pick(tags)] : [],
          isLocal: random.oneIn(10),
          ack: random.oneIn(6) ? random.pick(["one", "live"]) : "async"
        })
        if (random.oneIn(3)) this.burst(host, space)
        break
      case 13:
        this.steps.push({ ...at, what: "delete" })
        break
      case 14:
        this.steps.push({ ...at, what: "invalidate" })
        break
      case 15:
        this.steps.push({ atMs, what: "tag", host, space, tag: random.pick(tags) })
        break
      case 16:
        this.steps.push({ atMs, what: "prefix", host, space, prefix: random.pick(prefixes) })
        break
      case 17:
        if (random.oneIn(2)) this.steps.push({ atMs, what: "clear", host, space })
        else this.steps.push({ ...at, what: "persist" })
        break
      case 18:
        this.steps.push({ ...at, what: "expire", ttlMs: random.between(1, this.heartbeatMs * 10) })
        break
      default: // two at one time, or nearly: the writes that annihilate each other
        for (let twin = 0; twin < 2; twin++) {
          this.steps.push({
            atMs: atMs + (random.oneIn(2) ? 0 : random.next()),
            what: "set",
            host: (host + twin) % this.hosts,
            space,
            key,
            ttlMs: 0,
            tags: [],
            isLocal: false,
            ack: "async"
          })
        }
    }
  }

  /** One host starts late and writes before it has joined, while others invalidate by tags and prefixes, and may end. */
  private early(): void {
    const { random, heartbeatMs } = this
    const host = random.below(this.hosts)
    const startMs = this.nowMs + random.below(heartbeatMs * 4)
    this.steps.push({ atMs: startMs - 1, what: "crash", host, againAfterMs: 1 })
    const isSlow = random.oneIn(2) // its greetings are lost, so that it takes longer to join
    if (isSlow) {
      const weather = { loss: random.pick([0.6, 0.9]), duplicates: 0, jitterMs: 1 }
      this.steps.push({ atMs: startMs, what: "weather", weather, forMs: heartbeatMs * 2 })
    }
    const forMs = isSlow ? heartbeatMs * 2 : 4
    const space = random.below(this.spaces.length)
    for (let left = random.between(1, 4); left > 0; left--) {
      const key = random.pick(this.keys)
      const atMs = startMs + random.next() * forMs
      const written = random.oneIn(2) ? [random.pick(tags)] : []
      this.steps.push({ atMs, what: "set", host, space, key, ttlMs: 0, tags: written, isLocal: false, ack: "async" })
    }
    const other = (host + random.between(1, this.hosts - 1)) % this.hosts
    for (let left = random.between(1, 4); left > 0; left--) {
      const atMs = startMs + random.next() * forMs
      if (random.oneIn(3)) this.steps.push({ atMs, what: "tag", host: other, space, tag: random.pick(tags) })
      else if (random.oneIn(2))
        this.steps.push({ atMs, what: "prefix", host: other, space, prefix: random.pick(prefixes) })
      else this.steps.push({ atMs, what: "clear", host: other, space })
    }
    if (random.oneIn(4)) {
      const atMs = startMs + random.next() * forMs * 2
      this.steps.push({ atMs, what: random.pick(["crash", "leave", "vanish"]), host: other, againAfterMs: -1 })
    }
  }

  /** More writes than the smallest log holds. */
  private burst(host: number, space: number): void {
    const { random } = this
    for (let left = random.between(3, 12); left > 0; left--) {
      const key = random.pick(this.keys)
      const atMs = this.nowMs + random.below(10)
      this.steps.push({ atMs, what: "set", host, space, key, ttlMs: 0, tags: [], isLocal: false, ack: "async" })
    }
  }

  private fault(): void {
    const { random, nowMs: atMs, heartbeatMs } = this
    const host = random.below(this.hosts)
    const forMs = random.pick([heartbeatMs / 2, heartbeatMs * 2, heartbeatMs * 6, heartbeatMs * 15])
    const againAfterMs = random.oneIn(4) ? -1 : random.pick([1, heartbeatMs, heartbeatMs * 6])
    switch (random.below(10)) {
      case 0:
        this.steps.push({ atMs, what: "crash", host, againAfterMs })
        break
      case 1:
        this.steps.push({ atMs, what: random.oneIn(4) ? "vanish" : "leave", host, againAfterMs })
        break
      case 2:
        this.steps.push({ atMs, what: "pause", host, forMs })
        break
      case 3:
        if (random.oneIn(3)) this.steps.push({ atMs, what: "forget", host, whom: random.below(this.hosts) })
        else this.steps.push({ atMs, what: "pause", host, forMs })
        break
      case 4:
      case 5: {
        const weather = {
          loss: random.pick([0, 0.2, 0.6]),
          duplicates: random.pick([0, 0.3]),
          jitterMs: random.pick([1, 10])
        }
        this.steps.push({ atMs, what: "weather", weather, forMs: Math.min(forMs, heartbeatMs * 6) })
        break
      }
      case 6: {
        const other = random.below(this.hosts)
        if (other === host) break
        const isOneWay = random.oneIn(2)
        this.cut(isOneWay ? [[host, other]] : bothWays([host], [other]), forMs, isOneWay ? "one way" : "the link")
        break
      }
      case 7: {
        this.cut(bothWays([host], this.others(host)), forMs, "one host is cut off")
        break
      }
      case 8: {
        const isOneWay = random.oneIn(4)
        const [one, two] = this.halves()
        const pairs = isOneWay ? bothWays(one, two).filter(([from]) => one.includes(from)) : bothWays(one, two)
        this.cut(pairs, forMs, isOneWay ? "one half hears nothing of the other" : "two halves")
        break
      }
      default: {
        const one = this.others(-1).filter((each) => each % 2 === 0)
        const two = this.others(-1).filter((each) => each % 2 === 1)
        if (this.hasRegions) this.cut(bothWays(one, two), forMs, "the regions")
        else this.steps.push({ atMs, what: "crash", host, againAfterMs })
      }
    }
  }

  private cut(pairs: ReadonlyArray<readonly [number, number]>, forMs: number, story: string): void {
    this.steps.push({ atMs: this.nowMs, what: "cut", pairs, forMs, story })
  }

  private others(than: number): number[] {
    const others: number[] = []
    for (let host = 0; host < this.hosts; host++) if (host !== than) others.push(host)
    return others
  }

  private halves(): [number[], number[]] {
    const one: number[] = []
    const two: number[] = []
    for (let host = 0; host < this.hosts; host++) (this.random.oneIn(2) ? one : two).push(host)
    return [one, two]
  }
}

const bothWays = (one: readonly number[], two: readonly number[]): Array<[number, number]> =>
  one.flatMap((a) =>
    two.flatMap(
      (b): Array<[number, number]> => [
        [a, b],
        [b, a]
      ]
    )
  )
