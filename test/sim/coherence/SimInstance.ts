/**
 * One process of the simulated world: real keyspaces, real shared entries, a real instance of the protocol, and the
 * smallest synchronous fills that ask peers and then a loader. Everything that happens to it is a turn, after which the
 * referee looks at what has changed.
 */
import { InvalidBytes } from "../../../src/cache/index.ts"
import { PeerFills } from "../../../src/coherence/PeerFills.ts"
import { decodePeerValue } from "../../../src/coherence/PeerValueCodec.ts"
import { Op, RecordFlag, type WideRecord } from "../../../src/coherence/protocol/Frame.ts"
import { Instance, type InstanceOptions } from "../../../src/coherence/protocol/Instance.ts"
import type { Network } from "../../../src/coherence/protocol/Network.ts"
import type { KeyAuthor, NewestWrite, PeerValue, Store } from "../../../src/coherence/protocol/Store.ts"
import { SharedEntries } from "../../../src/coherence/SharedEntries.ts"
import type { PeerInfo, TransportListener } from "../../../src/coherence/transport/Transport.ts"
import {
  allCauses,
  Cause,
  causeNames,
  type Entry,
  EntrySource,
  type KeyEvent,
  KeyHash,
  Keyspace,
  type KeyspaceOptions,
  type Lease,
  type Meta,
  noMeta,
  type Pattern,
  parsePattern,
  SetFlag
} from "../../../src/kernel/index.ts"
import { Random } from "../../support/Random.ts"
import { type Change, type ChangeKind, isWide } from "./History.ts"
import type { HostPlan } from "./Schedule.ts"
import { mixed, type Process } from "./SimNetwork.ts"
import type { World } from "./World.ts"

/** What a mutation may put in the place of the real thing. */
export interface Parts {
  readonly instance?: (options: InstanceOptions, node: SimInstance) => Instance
  readonly keyspace?: (options: KeyspaceOptions) => Keyspace
  readonly store?: (store: Store, node: SimInstance) => Store
  /** What goes out instead of this frame; null for nothing. */
  readonly frame?: (frame: Uint8Array, node: SimInstance) => Uint8Array | null
  /** A restarted process takes the number of the one before. */
  readonly keepsOrigin?: boolean
}

export class SimInstance implements Process, TransportListener {
  readonly peer: PeerInfo
  readonly listener = this
  readonly keyspaces: Keyspace[] = []
  readonly hashes: KeyHash[] = []
  readonly shared: SharedEntries
  readonly instance: Instance
  readonly peers: PeerFills
  readonly name: string
  isAlive = true
  isPaused = false
  hasLeft = false
  /** What was held back while it was paused. */
  private backlog: Array<() => void> = []
  private tickAtMs = Number.POSITIVE_INFINITY

  /** Changes of others that were applied here, and its own: at which turn. */
  readonly heard = new Map<Change, number>()
  /** How many records had been applied here when this one was. */
  readonly heardNumber = new Map<Change, number>()
  applied = 0
  /** Up to where it had each of the others when the referee looked last. */
  readonly contiguous = new Map<number, number>()
  /** Since when it has others for members, as far as the referee has looked. */
  readonly knownSinceMs = new Map<number, number>()
  /** The turn at which the fill of a value began that was stored here. */
  readonly fillTurns = new Map<string, number>()
  /** Keys that may read differently since the referee looked, as places of `World.places`; all of them. */
  readonly dirty = new Set<number>()
  /** Everything not written here was forgotten at this turn. */
  forgotAtTurn = -1
  /** Own writes of these hashes may have been judged by somebody who remembers less. */
  readonly outvoted = new Set<number>()
  /** A living author's wide changes were lost: what was written here may have gone with them. */
  hasLostWides = false
  /** Whom to ask for a key may not be known here any more. */
  hasForgottenHints = false
  /** What the client wants that is being served; null while nobody wants anything. */
  private operation: Operation | null = null
  private hasTold = false
  /** What is present, by place, for the causes of removals. */
  private readonly present = new Map<number, string>()
  private readonly flights = new Map<number, Flight>()

  constructor(
    readonly world: World,
    readonly host: number,
    readonly plan: HostPlan,
    readonly incarnation: number
  ) {
    const { schedule, parts } = world
    this.name = incarnation === 0 ? plan.name : `${plan.name}${incarnation + 1}`
    const origin = 1 + mixed(mixed(schedule.seed, host), parts.keepsOrigin ? 0 : incarnation)
    this.peer = { origin, region: plan.region, address: plan.name }
    const clock = { nowMs: () => this.wallMs() }
    const makeHash = (head: string) => new (schedule.collides ? CollidingHash : KeyHash)("secret", head)
    this.shared = new SharedEntries({
      hash: makeHash(""),
      nowMs: () => this.wallMs(),
      directoryMax: schedule.directoryMax
    })
    for (const head of schedule.spaces) {
      const hash = makeHash(head)
      const options: KeyspaceOptions = {
        maxEntries: schedule.maxEntries,
        maxBytes: 1e9,
        clock,
        sink: { onEvent: (event, keyspace) => this.onEvent(event, keyspace), onSettled: () => {} },
        onSinkError: (error) => world.report(error),
        wake: (atMs) => this.armKeyspace(keyspace, atMs),
        replica: this.shared,
        freshness: this.shared.freshness,
        hash
      }
      const keyspace = parts.keyspace?.(options) ?? new Keyspace(options)
      keyspace.trie.add(everything)
      this.shared.share(keyspace)
      this.keyspaces.push(keyspace)
      this.hashes.push(hash)
    }
    const random = new Random(mixed(origin, 7))
    const port: Network = {
      send: (to, frame) => this.out(frame, (bytes) => world.network.send(this, to, bytes)),
      broadcast: (frame) => this.out(frame, (bytes) => world.network.broadcast(this, bytes)),
      reconsider: () => world.network.reconsider(this),
      wake: (atMs) => this.armTick(atMs)
    }
    const spy = new SpyStore(this.shared, this)
    const options: InstanceOptions = {
      origin,
      region: plan.region,
      namespace: 7,
      parameters: schedule.parameters,
      clock: { nowMs: () => this.monotonicMs() },
      random: () => random.next(),
      timeOfDayMs: () => (schedule.hasDatedVersions ? this.wallMs() : 0),
      store: parts.store?.(spy, this) ?? spy,
      network: port
    }
    this.instance = parts.instance?.(options, this) ?? new Instance(options)
    this.peers = new PeerFills(this.shared, this.instance, clock)
    this.watchAppends()
    this.shared.bind(this.instance)
    this.armTick(0)
  }

  get origin(): number {
    return this.peer.origin
  }

  wallMs(): number {
    return Math.floor(startMs + this.plan.clockOffsetMs + this.world.time.nowMs * this.plan.clockRate)
  }

  monotonicMs(): number {
    return this.plan.clockRate * this.world.time.nowMs
  }

  /** The life that it gives an entry, in true time. */
  trueMs(ms: number): number {
    return ms / this.plan.clockRate
  }

  // A process

  take(what: () => void): void {
    if (!this.isAlive) return
    if (this.isPaused) this.backlog.push(what)
    else this.turn(what)
  }

  pause(): void {
    this.isPaused = true
  }

  /** Timers that have passed come first, then what has arrived, in order. */
  resume(): void {
    this.isPaused = false
    if (!this.isAlive) return
    this.tick()
    for (let index = 0; index < this.keyspaces.length; index++) {
      this.turn(() => this.keyspaces[index]?.advance(this.wallMs(), Number.MAX_SAFE_INTEGER))
    }
    const { backlog } = this
    this.backlog = []
    for (const what of backlog) this.take(what)
  }

  private turn(what: () => void): void {
    try {
      what()
    } catch (error) {
      this.world.report(error)
    }
    this.world.referee.afterTurn(this)
  }

  private tick(): void {
    this.tickAtMs = Number.POSITIVE_INFINITY
    this.turn(() => {
      const wasCoherent = this.instance.isCoherent
      const nextMs = this.instance.tick()
      if (wasCoherent !== this.instance.isCoherent) {
        this.world.tell(`${this.name} is ${wasCoherent ? "not coherent any more" : "coherent"}`)
      }
      if (nextMs !== Number.POSITIVE_INFINITY) this.armTick(nextMs)
    })
  }

  /** The driver: as soon as possible, but not within the current turn, and at least some microseconds on. */
  private armTick(atMs: number): void {
    const trueMs = Math.max(atMs / this.plan.clockRate + 1e-6, this.world.time.nowMs)
    if (trueMs >= this.tickAtMs) return
    this.tickAtMs = trueMs
    this.world.time.at(trueMs, () => {
      if (this.tickAtMs === trueMs && this.isAlive && !this.isPaused) this.tick()
    })
  }

  private armKeyspace(keyspace: Keyspace, atMs: number): void {
    const trueMs = (atMs - startMs - this.plan.clockOffsetMs) / this.plan.clockRate + 1e-6
    this.world.time.at(trueMs, () => this.take(() => keyspace.advance(this.wallMs(), Number.MAX_SAFE_INTEGER)))
  }

  private out(frame: Uint8Array, carry: (frame: Uint8Array) => void): void {
    this.world.referee.onFrameOut(this, frame)
    const mutated = this.world.parts.frame === undefined ? frame : this.world.parts.frame(frame, this)
    if (mutated !== null) carry(mutated)
    if (this.world.schedule.hasStranger) this.world.referee.alsoAsStranger(frame, carry)
  }

  // What the transport tells

  onFrame(frame: Uint8Array, from: number): void {
    this.instance.onFrame(frame, from)
  }
  onLinkUp(peer: PeerInfo): void {
    this.world.tell(`${this.name} is linked with ${this.world.nameOf(peer.origin)}`)
    this.instance.onLinkUp(peer)
  }
  onLinkDown(origin: number): void {
    this.world.tell(`${this.name} has lost the link with ${this.world.nameOf(origin)}`)
    this.instance.onLinkDown(origin)
  }
  onGone(origin: number): void {
    this.world.tell(`${this.name} finds ${this.world.nameOf(origin)} gone`)
    this.instance.onGone(origin)
  }
  onSettled(): void {
    this.instance.settled()
  }
  wantsLink(peer: PeerInfo): boolean {
    return this.instance.wantsLink(peer)
  }

  // What clients do

  /** The entry that a client would find. */
  peek(space: number, key: string): Entry | undefined {
    return this.keyspaces[space]?.peek(key)
  }

  set(space: number, key: string, value: string, ttlMs: number, meta: Meta, isLocal: boolean): number {
    const kind: ChangeKind = isLocal ? "invalidate" : "set"
    let told = 0
    this.serve({ kind, space, name: key, value: isLocal ? undefined : value }, () => {
      const expiresAtMs = ttlMs === 0 ? 0 : this.wallMs() + ttlMs
      const keyspace = this.keyspaces[space] as Keyspace
      keyspace.set(key, value, expiresAtMs, meta, isLocal ? SetFlag.local : 0)
      if (!isLocal && !this.hasTold) this.world.break("W1", space, key, `${this.name}'s write became no record`)
      told = this.lastTold
      const found = keyspace.peek(key)?.value
      if (found !== value) this.world.break("I9", space, key, `${this.name} wrote ${value} and reads ${found}`)
    })
    return told
  }

  remove(space: number, key: string, kind: "delete" | "invalidate"): void {
    const entry = this.peek(space, key)
    this.serve({ kind, space, name: key, value: undefined }, () => {
      const keyspace = this.keyspaces[space] as Keyspace
      if (kind === "delete") keyspace.delete(key)
      else keyspace.invalidate(key)
      const mustTell = entry === undefined || !entry.isLocal
      if (mustTell && !this.hasTold) this.world.break("W1", space, key, `${this.name}'s ${kind} became no record`)
    })
  }

  expire(space: number, key: string, ttlMs: number): void {
    const entry = this.peek(space, key)
    if (entry === undefined) return
    const value = entry.value as string
    this.serve({ kind: "touch", space, name: key, value: entry.isLocal ? undefined : value }, () => {
      this.keyspaces[space]?.expireAt(key, ttlMs === 0 ? 0 : this.wallMs() + ttlMs)
    })
    if (entry.isLocal || !this.hasTold) return
    const facts = this.world.history.facts(value)
    if (facts.stamp?.author !== this.origin) return // of two at once the other one holds
    facts.deadlineMs = ttlMs === 0 ? Number.POSITIVE_INFINITY : this.world.time.nowMs + this.trueMs(ttlMs)
  }

  wide(kind: "tag" | "prefix" | "clear", space: number, name: string): void {
    this.serve({ kind, space, name, value: undefined }, () => {
      const keyspace = this.keyspaces[space] as Keyspace
      if (kind === "tag") keyspace.invalidateTags([name])
      else if (kind === "prefix") keyspace.invalidatePrefix(name)
      else keyspace.flush()
      if (!this.hasTold) this.world.break("W1", space, name, `${this.name}'s ${kind} became no record`)
    })
  }

  private serve(operation: Operation, what: () => void): void {
    this.operation = operation
    this.hasTold = false
    try {
      what()
    } finally {
      this.operation = null
    }
    this.markDirty(operation.space, isWide(operation.kind) ? null : operation.name)
  }

  // Fills: a get that has missed asks peers, then the loader

  /** A client's get; `answer` is told what it found, now or later. */
  read(space: number, key: string, load: Load | null, answer: (value: string | undefined) => void): void {
    const keyspace = this.keyspaces[space] as Keyspace
    const value = keyspace.get(key)
    if (value !== undefined) {
      answer(value as string)
      return
    }
    const place = this.world.placeOf(space, key)
    const under = this.flights.get(place)
    if (under !== undefined && keyspace.isLeaseCurrent(under.lease, null)) {
      under.waiting.push(answer)
      return
    }
    const flight: Flight = { lease: keyspace.lease(key), beganAtTurn: this.world.time.turn, waiting: [answer] }
    this.flights.set(place, flight)
    if (!this.peers.mayHave(keyspace, key)) {
      if (load === null) this.land(place, flight, undefined)
      else this.load(place, flight, space, key, load)
      return
    }
    const hash = this.shared.hashOf(keyspace, key)
    const askedAtMs = this.wallMs()
    this.instance.fetch(this.shared.displayed(keyspace, key), hash, (found) => {
      const decoded = found === undefined ? undefined : decodePeerValue(found.payload)
      if (decoded instanceof InvalidBytes) throw decoded
      if (found === undefined || decoded === undefined) {
        if (load === null) this.land(place, flight, undefined)
        else this.load(place, flight, space, key, load)
        return
      }
      flight.lease.stamp = found.version
      flight.lease.writer = found.writer
      const expiresAtMs = found.ttlMs === -1 ? 0 : askedAtMs + found.ttlMs
      this.store(flight, space, key, decoded.value as string, expiresAtMs, decoded.meta, EntrySource.copied)
      this.land(place, flight, decoded.value as string)
    })
  }

  private load(place: number, flight: Flight, space: number, key: string, load: Load): void {
    const { world } = this
    world.time.after(load.readsAfterMs, () => {
      const value = world.readDatabase(space, key)
      world.time.after(load.answersAfterMs, () =>
        this.take(() => {
          this.store(flight, space, key, value, 0, noMeta, EntrySource.loaded)
          this.land(place, flight, value)
        })
      )
    })
  }

  private store(
    flight: Flight,
    space: number,
    key: string,
    value: string,
    expiresAtMs: number,
    meta: Meta,
    source: EntrySource
  ): void {
    const isStored = (this.keyspaces[space] as Keyspace).fill(flight.lease, value, expiresAtMs, meta, source)
    if (isStored) this.fillTurns.set(value, flight.beganAtTurn)
    this.markDirty(space, key)
    const how = source === EntrySource.copied ? "copies" : "loads"
    this.world.tell(`${this.name} ${how} ${value}${isStored ? "" : ", and does not keep it"}`, space, key)
  }

  private land(place: number, flight: Flight, value: string | undefined): void {
    flight.lease.keyspace.endLease(flight.lease)
    if (this.flights.get(place) === flight) this.flights.delete(place)
    for (const answer of flight.waiting) answer(value)
  }

  // What the referee is told

  markDirty(space: number, key: string | null): void {
    const { world } = this
    if (key !== null && !world.schedule.collides) this.dirty.add(world.placeOf(space, key))
    else for (let place = 0; place < world.places.length; place++) this.dirty.add(place)
  }

  /** The sequence of the record that the operation became. */
  private lastTold = 0

  private watchAppends(): void {
    const { instance } = this
    const append = instance.append.bind(instance)
    const amend = instance.amend.bind(instance)
    instance.append = (op, hash, version, flags) => {
      const sequence = append(op, hash, version, flags)
      this.onTold(sequence, version, flags)
      return sequence
    }
    instance.amend = (sequence, version, flags) => {
      amend(sequence, version, flags)
      this.onTold(sequence, version, flags)
    }
  }

  private onTold(sequence: number, version: number, flags: number): void {
    const { operation, world } = this
    if (operation === null) {
      world.break("I7", -1, "", `${this.name} announces what no client did (record ${sequence})`)
      return
    }
    this.hasTold = true
    this.lastTold = sequence
    const isGone = (flags & RecordFlag.gone) !== 0
    const value = isGone ? undefined : operation.value
    const kind = isGone && !isWide(operation.kind) && operation.kind === "set" ? "delete" : operation.kind
    const change: Change = {
      turn: world.time.turn,
      atMs: world.time.nowMs,
      kind,
      space: operation.space,
      name: operation.name,
      author: this.origin,
      sequence,
      version,
      value
    }
    world.history.add(change)
    this.heard.set(change, change.turn)
    this.heardNumber.set(change, this.applied)
    world.tell(
      `${this.name} ${toldOf(change)} (${this.name}${sequence}, version ${version})`,
      change.space,
      change.name
    )
  }

  onApply(op: number, hash: number, version: number, author: number): void {
    const { world } = this
    if (this.operation !== null) throw new Error("a record is applied in the middle of a client's operation")
    if (op === Op.define) return
    const changes = world.history.of(author, version)
    this.applied++
    if (changes.length === 0) {
      world.break(
        "I10",
        -1,
        "",
        `${this.name} applies record ${op}/${hash} of ${world.nameOf(author)}, who never wrote it`
      )
    }
    for (const change of changes) {
      if (this.heard.has(change)) {
        world.break("I4", change.space, change.name, `${this.name} applies ${toldOf(change)} twice`)
      }
      this.heard.set(change, world.time.turn)
      this.heardNumber.set(change, this.applied)
      this.markDirty(change.space, isWide(change.kind) ? null : change.name)
      world.tell(`${this.name} hears that ${world.nameOf(author)} ${toldOf(change)}`, change.space, change.name)
    }
  }

  private onEvent(event: KeyEvent, keyspace: Keyspace): void {
    const space = this.keyspaces.indexOf(keyspace)
    const { world } = this
    if (event.cause === Cause.flush || event.cause === Cause.read || event.cause === Cause.touch) {
      if (event.cause === Cause.flush) this.onFlushed(space)
      return
    }
    const place = world.placeOf(space, event.key)
    const was = this.present.get(place)
    this.letGo(was)
    if (event.cause === Cause.write || event.cause === Cause.fill) {
      this.present.set(place, event.value as string)
      return
    }
    const { key, oldValue, cause } = event
    const what = `${this.name} loses ${oldValue} (${causeNames[cause]})`
    world.tell(what, space, key)
    if (was !== oldValue) world.break("I12", space, key, `${what}, where ${was ?? "nothing"} was`)
    this.present.delete(place)
    if (cause === Cause.expire && event.expiresAtMs > this.wallMs()) {
      world.break("I12", space, key, `${what} before its time`)
    }
    if (cause !== Cause.invalidate) return
    if (event.isLocal && event.origin?.peer !== undefined) {
      world.break("I6", space, key, `${what}, which is local, because of a peer`)
    }
    if (!event.isLocal) world.referee.onInvalidated(this, space, key, oldValue as string)
  }

  private onFlushed(space: number): void {
    for (const [place, value] of this.present) {
      if (this.world.places[place]?.space !== space) continue
      const { key } = this.world.places[place] as { key: string }
      if (this.keyspaces[space]?.peek(key) !== undefined) continue
      this.letGo(value)
      this.present.delete(place)
    }
  }

  /** A value is not here any more. */
  private letGo(value: string | undefined): void {
    const facts = value === undefined ? undefined : this.world.history.values.get(value)
    if (facts?.stamp?.author === this.origin) facts.heldUntilMs = this.world.time.nowMs
  }
}

interface Operation {
  readonly kind: ChangeKind
  readonly space: number
  readonly name: string
  readonly value: string | undefined
}

interface Flight {
  readonly lease: Lease
  readonly beganAtTurn: number
  readonly waiting: Array<(value: string | undefined) => void>
}

export interface Load {
  readonly readsAfterMs: number
  readonly answersAfterMs: number
}

export const toldOf = ({ kind, name, value }: Change): string => {
  switch (kind) {
    case "set":
      return `sets ${name} = ${value}`
    case "touch":
      return `gives ${name} (${value}) another deadline`
    case "delete":
      return `deletes ${name}`
    case "invalidate":
      return `invalidates ${name}`
    case "clear":
      return "clears everything"
    default:
      return `invalidates the ${kind} ${name}`
  }
}

/** The real store, with somebody who reads along. */
class SpyStore implements Store {
  constructor(
    private readonly store: SharedEntries,
    private readonly node: SimInstance
  ) {}

  apply(op: Op, hash: number, version: number, author: number, flags: number): void {
    this.node.onApply(op, hash, version, author)
    this.store.apply(op, hash, version, author, flags)
  }
  moveBuckets(author: number, bitmap: Uint8Array, bucketCount: number, wide: readonly WideRecord[] | null): void {
    const { node } = this
    node.world.tell(`${node.name} drops the buckets that ${node.world.nameOf(author)} has moved`)
    if (wide === null) node.hasLostWides = true
    node.hasForgottenHints = true
    this.store.moveBuckets(author, bitmap, bucketCount, wide)
    node.markDirty(0, null)
  }
  mark(): number {
    return this.store.mark()
  }
  forgetCopies(before?: number): void {
    const { node } = this
    node.world.tell(`${node.name} forgets its copies`)
    this.store.forgetCopies(before)
    if (before === undefined) {
      node.forgotAtTurn = node.world.time.turn
      node.hasForgottenHints = true
    }
    node.markDirty(0, null)
  }
  ownHashes(bitmap: Uint8Array | null, bucketCount?: number): number[] {
    return this.store.ownHashes(bitmap, bucketCount)
  }
  newest(hash: number): NewestWrite | undefined {
    return this.store.newest(hash)
  }
  floorOf(author: number): number {
    return this.store.floorOf(author)
  }
  authorOf(hash: number): KeyAuthor | undefined {
    return this.store.authorOf(hash)
  }
  authorOfKey(key: string): KeyAuthor | undefined {
    return this.store.authorOfKey(key)
  }
  doubt(): void {
    this.node.hasForgottenHints = true
    this.store.doubt()
  }
  outvote(hash: number, version: number, author: number): void {
    this.node.outvoted.add(hash)
    this.store.outvote(hash, version, author)
    this.node.markDirty(0, null)
  }
  read(key: string, bytesMax: number): PeerValue | "none" | "tooLarge" {
    return this.store.read(key, bytesMax)
  }
}

/** Two keys in three have the hash of another. */
class CollidingHash extends KeyHash {
  override of(key: string): number {
    return (super.of(key) % 3) + 1
  }
}

const everything = { pattern: parsePattern("*") as Pattern, mask: allCauses, priority: 0 }

/** Of the clocks, before skew. */
export const startMs = 1_700_000_000_000
