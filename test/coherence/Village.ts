/**
 * Whole instances with their entries in virtual time, each linked with all others over a network that takes a
 * millisecond: the protocol as it is, and a hand that may keep frames back or put things where they do not belong.
 */
import { encodePeerValue } from "../../src/coherence/PeerValueCodec.ts"
import { decode, type Frame } from "../../src/coherence/protocol/Frame.ts"
import { Instance } from "../../src/coherence/protocol/Instance.ts"
import { type Parameters, parametersDefault } from "../../src/coherence/protocol/Parameters.ts"
import { SharedEntries } from "../../src/coherence/SharedEntries.ts"
import { KeyHash } from "../../src/kernel/KeyHash.ts"
import { EntrySource, Keyspace } from "../../src/kernel/Keyspace.ts"
import { noMeta } from "../../src/kernel/Value.ts"
import { VirtualTime } from "../sim/coherence/VirtualTime.ts"
import { Random } from "../support/Random.ts"

const hashSecret = "village"

export class Village {
  readonly time = new VirtualTime()
  readonly houses: House[] = []
  /** Frames that do not arrive. */
  isLost: (frame: Frame, from: House, to: House) => boolean = () => false

  constructor(
    count: number,
    readonly parameters: Partial<Parameters> = {},
    readonly maxEntries = 100_000
  ) {
    for (let origin = 1; origin <= count; origin++) this.houses.push(new House(this, origin))
    for (const house of this.houses) {
      for (const other of this.houses) if (other !== house) house.instance.onLinkUp({ origin: other.origin, region: 1 })
      house.instance.settled()
    }
    this.run(1_000)
  }

  get nowMs(): number {
    return this.time.nowMs
  }

  run(ms: number): void {
    this.time.runUntil(this.time.nowMs + ms, 10_000_000)
  }
}

export class House {
  readonly instance: Instance
  readonly entries: SharedEntries
  readonly keyspace: Keyspace
  readonly random: Random
  private tickAtMs = Number.POSITIVE_INFINITY

  constructor(
    readonly village: Village,
    readonly origin: number
  ) {
    const { time, parameters, maxEntries } = village
    const clock = { nowMs: () => Math.floor(1_000_000 + time.nowMs) }
    this.random = new Random(origin)
    this.entries = new SharedEntries({ hash: new KeyHash(hashSecret), nowMs: clock.nowMs })
    this.keyspace = new Keyspace({
      maxEntries,
      maxBytes: 1e9,
      clock,
      sink: { onEvent: () => {}, onSettled: () => {} },
      wake: (atMs) => time.at(atMs - 1_000_000, () => this.keyspace.advance(clock.nowMs(), 1e9)),
      replica: this.entries,
      freshness: this.entries.freshness,
      hash: new KeyHash(hashSecret)
    })
    this.entries.share(this.keyspace)
    this.instance = new Instance({
      origin,
      region: 1,
      namespace: 1,
      parameters: { ...parametersDefault, ...parameters },
      clock: { nowMs: () => time.nowMs },
      random: () => this.random.next(),
      store: this.entries,
      network: {
        send: (to, frame) => this.carry(to, frame),
        broadcast: (frame) => {
          for (const { origin } of village.houses) if (origin !== this.origin) this.carry(origin, frame)
        },
        reconsider: () => {},
        wake: (atMs) => this.arm(atMs)
      }
    })
    this.entries.bind(this.instance)
    this.arm(0)
  }

  hashOf(key: string): number {
    return this.entries.hashOf(this.keyspace, key)
  }

  /** Reads, and fetches from whoever has it what is not here. */
  read(key: string): void {
    if (this.keyspace.get(key) !== undefined) return
    const lease = this.keyspace.lease(key)
    this.instance.fetch(key, this.hashOf(key), (found) => {
      if (found === undefined) return this.keyspace.endLease(lease)
      lease.stamp = found.version
      lease.writer = found.writer
      this.keyspace.fill(lease, Buffer.from(found.payload).toString("latin1"), 0, noMeta, EntrySource.copied)
    })
  }

  /** Puts a copy of another's old write here, behind the protocol's back. */
  plant(key: string, version: number, writer: number): void {
    const lease = this.keyspace.lease(key)
    lease.stamp = version
    lease.writer = writer
    const value = Buffer.from(encodePeerValue("old", noMeta)).toString("latin1")
    this.keyspace.fill(lease, value, 0, noMeta, EntrySource.copied)
  }

  private carry(to: number, bytes: Uint8Array): void {
    const { time, houses } = this.village
    time.after(1, () => {
      const house = houses[to - 1] as House
      if (!this.village.isLost(decode(bytes) as Frame, this, house)) house.instance.onFrame(bytes, this.origin)
    })
  }

  private arm(atMs: number): void {
    const dueMs = Math.max(atMs, this.village.time.nowMs)
    if (dueMs >= this.tickAtMs) return
    this.tickAtMs = dueMs
    this.village.time.at(dueMs, () => {
      if (this.tickAtMs !== dueMs) return
      this.tickAtMs = Number.POSITIVE_INFINITY
      const nextMs = this.instance.tick()
      if (nextMs !== Number.POSITIVE_INFINITY) this.arm(Math.max(nextMs, this.village.time.nowMs + 1e-3))
    })
  }
}
