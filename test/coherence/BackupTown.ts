/** Instances in virtual time whose expiries others tell of: real keyspaces, entries, backups and protocol. */
import { Backups, type BackupsOptions, backupPeersOf } from "../../src/coherence/Backups.ts"
import { Instance } from "../../src/coherence/protocol/Instance.ts"
import { type Parameters, parametersDefault } from "../../src/coherence/protocol/Parameters.ts"
import { SharedEntries } from "../../src/coherence/SharedEntries.ts"
import type { PeerInfo } from "../../src/coherence/transport/Transport.ts"
import {
  allCauses,
  Cause,
  KeyHash,
  Keyspace,
  type KeyspaceOptions,
  type Meta,
  noMeta,
  type Pattern,
  parsePattern,
  SetFlag
} from "../../src/kernel/index.ts"
import { type NetworkPlan, type Process, SimNetwork } from "../sim/coherence/SimNetwork.ts"
import { VirtualTime } from "../sim/coherence/VirtualTime.ts"

const startMs = 1_700_000_000_000
const secret = "town"

const parameters: Parameters = { ...parametersDefault, logSize: 2 ** 9, receivedSize: 2 ** 11, buckets: 2 ** 6 }

const plan: NetworkPlan = {
  latencyMs: 1,
  farLatencyMs: 40,
  jitterMs: 1,
  loss: 0,
  duplicates: 0,
  isOrdered: true,
  dialMs: 50,
  brokenAfterMs: 1_000
}

/** An ON_EXPIRE, as some instance has fired it. */
export interface Told {
  readonly by: string
  readonly key: string
  readonly value: unknown
  readonly id: string | undefined
  readonly atMs: number
  readonly lateMs: number
  readonly meta: Meta
}

export class Town {
  readonly time = new VirtualTime()
  readonly network: SimNetwork
  readonly told: Told[] = []
  /** Of all instances that ever were, by origin. */
  readonly all = new Map<number, House>()

  constructor(
    readonly hosts: number,
    readonly seed = 1,
    weather: Partial<NetworkPlan> = {},
    readonly options: Partial<BackupsOptions> = {}
  ) {
    this.network = new SimNetwork(
      this.time,
      seed,
      Array.from({ length: hosts }, () => 0),
      { ...plan, ...weather }
    )
  }

  /** An instance at this host, from now on. */
  start(host: number, spaces: readonly string[] = [""]): House {
    const house = new House(this, host, spaces)
    this.all.set(house.peer.origin, house)
    this.network.start(house)
    return house
  }

  /** Instances at all hosts, that know of each other. */
  settle(): House[] {
    const houses = Array.from({ length: this.hosts }, (_, host) => this.start(host))
    this.run(2_000)
    return houses
  }

  run(ms: number): void {
    this.time.runUntil(this.time.nowMs + ms)
    for (const house of this.all.values()) house.backups.checkInvariants()
  }

  /** What was told since this was asked last, as "key by whom". */
  heard(): string[] {
    return this.told.splice(0).map(({ key, by }) => `${key} by ${by}`)
  }
}

export class House implements Process {
  readonly peer: PeerInfo
  readonly listener = this
  readonly entries: SharedEntries
  readonly backups: Backups
  readonly instance: Instance
  readonly keyspaces = new Map<string, Keyspace>()
  readonly name: string
  isAlive = true
  private tickAtMs = Number.POSITIVE_INFINITY

  constructor(
    readonly town: Town,
    readonly host: number,
    spaces: readonly string[]
  ) {
    const { time, network } = town
    this.name = String.fromCharCode(97 + town.all.size)
    this.peer = { origin: 1_000 + ((town.all.size * 7_919 + town.seed * 31) % 7_907), region: 0, address: `h${host}` }
    this.entries = new SharedEntries({ hash: new KeyHash(secret), nowMs: () => this.wallMs() })
    for (const head of spaces) this.open(head)
    this.backups = new Backups({ nowMs: () => this.wallMs(), entries: this.entries, ...town.options })
    this.instance = new Instance({
      origin: this.peer.origin,
      region: 0,
      namespace: 7,
      parameters,
      clock: { nowMs: () => time.nowMs },
      random: () => 0.5,
      store: this.entries,
      network: {
        send: (to, frame) => void network.send(this, to, frame),
        broadcast: (frame) => network.broadcast(this, frame),
        reconsider: () => network.reconsider(this),
        wake: (atMs) => this.arm(atMs)
      },
      extensions: { backup: this.backups }
    })
    this.entries.bind(this.instance, this.backups)
    this.backups.bind(backupPeersOf(this.instance))
    this.arm(0)
  }

  open(head: string): Keyspace {
    const { time } = this.town
    const advanceAt = (atMs: number): void =>
      time.at(atMs - startMs, () =>
        this.take(() => {
          keyspace.advance(this.wallMs(), Number.MAX_SAFE_INTEGER)
          const nextMs = keyspace.nextWakeMs()
          if (nextMs !== Number.POSITIVE_INFINITY) advanceAt(nextMs)
        })
      )
    const options: KeyspaceOptions = {
      maxEntries: 1_000,
      maxBytes: 1e8,
      clock: { nowMs: () => this.wallMs() },
      sink: {
        onEvent: ({ cause, key, oldValue, id, atMs, expiresAtMs, meta }) => {
          if (cause !== Cause.expire) return
          const told = { by: this.name, key: head + key, value: oldValue, id, atMs: atMs - startMs }
          this.town.told.push({ ...told, lateMs: atMs - expiresAtMs, meta })
        },
        onSettled: () => {}
      },
      onSinkError: (error) => {
        throw error
      },
      wake: advanceAt,
      replica: this.entries,
      freshness: this.entries.freshness,
      hash: new KeyHash(secret, head)
    }
    const keyspace = new Keyspace(options)
    keyspace.trie.add({ pattern: parsePattern("*") as Pattern, mask: allCauses, priority: 0 })
    this.entries.share(keyspace)
    this.keyspaces.set(head, keyspace)
    return keyspace
  }

  get keyspace(): Keyspace {
    return this.keyspaces.get("") as Keyspace
  }

  wallMs(): number {
    return startMs + Math.floor(this.town.time.nowMs)
  }

  /** Writes a key of which others tell where this instance is gone, unless `flags` say otherwise; answers its id. */
  set(key: string, value: string, ttlMs: number, meta: Meta = noMeta, flags: number = SetFlag.cluster): string {
    this.keyspace.set(key, value, ttlMs === 0 ? 0 : this.wallMs() + ttlMs, meta, flags)
    const entry = this.keyspace.peek(key)
    return (entry && this.entries.expiryIdOf(entry)) ?? "none"
  }

  expire(key: string, ttlMs: number): boolean {
    return this.keyspace.expireAt(key, ttlMs === 0 ? 0 : this.wallMs() + ttlMs)
  }

  /** Ends it as a killed process does, or as a host that is lost: nobody is refused there. */
  kill(hostVanishes = false): void {
    this.isAlive = false
    this.town.network.end(this, hostVanishes)
  }

  /** Ends it in good order: what it says last is still carried. */
  leave(): void {
    this.instance.leave()
    this.town.time.after(10, () => this.kill())
  }

  take(what: () => void): void {
    if (this.isAlive) what()
  }

  private arm(atMs: number): void {
    const { time } = this.town
    const dueMs = Math.max(atMs, time.nowMs)
    if (dueMs >= this.tickAtMs) return
    this.tickAtMs = dueMs
    time.at(dueMs, () => {
      if (this.tickAtMs !== dueMs || !this.isAlive) return
      this.tickAtMs = Number.POSITIVE_INFINITY
      const nextMs = this.instance.tick()
      if (nextMs !== Number.POSITIVE_INFINITY) this.arm(nextMs + 1e-6)
    })
  }

  onFrame(frame: Uint8Array, from: number): void {
    this.instance.onFrame(frame, from)
  }
  onLinkUp(peer: PeerInfo): void {
    this.instance.onLinkUp(peer)
  }
  onLinkDown(origin: number): void {
    this.instance.onLinkDown(origin)
  }
  onGone(origin: number): void {
    this.instance.onGone(origin)
  }
  onSettled(): void {
    this.instance.settled()
  }
  wantsLink(peer: PeerInfo): boolean {
    return this.instance.wantsLink(peer)
  }
}
