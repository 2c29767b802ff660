/**
 * One instance of the coherence protocol: a synchronous state machine. Frames, links and time come in; frames, and calls
 * to the store of entries, go out. Nothing here waits, throws for what peers send, or knows of clocks and sockets.
 *
 * The principle: invalidations commute, so they are applied as they come, in any order, and what has to be guaranteed is
 * that none is missing. Each instance (origin) numbers its records from 1. Its peers know up to which number they have
 * no hole (`contiguous`), and of which they have heard (`advertised`); while these differ, somebody is asked. The parts:
 *
 * - OwnLog, ReceivedLog, Marks: what was written here, what was received, and what of it is whole.
 * - Members: who is there, and heard of in time. Joining: from where on others are watched.
 * - Reconciler: pulls, moved buckets, epochs. OwnEntries: what of the own writes was overwritten in what was lost.
 * - Judgement: whether all that makes it *coherent*, and what becomes of copies while it is not.
 * - Acks, Fetches: writers and readers that wait for others. Cells, Relays: who is linked with whom, who passes on what.
 *
 * Words. An *instance* is one start of a process, and its *origin* the number of that. A *member* is another instance, as
 * it is accounted for here; a *peer* is one as whoever speaks with it sees it. The *author* of a record, or of a frame, is
 * the instance for which it speaks, whoever passes it on; the *writer* of an entry is the author of the write that it is.
 *
 * Simulations break it on purpose from outside: through the store, the network, its frames, or by a subclass. What that
 * may change: `sendHeartbeat`, `onHeartbeat`, `onVector`, `onHello` (signs of life, lost tails, reconciliation),
 * `applyRecord` (each new record), `heardVersion` and `lamport` (order of writes), `makeReconciler`, `makeFetches`.
 */
import { type Acknowledged, Acks } from "./Acks.ts"
import { Cells } from "./Cells.ts"
import { Fetches } from "./Fetches.ts"
import {
  type Ack,
  decode,
  encode,
  encodeRecords,
  type Frame,
  FrameError,
  type Header,
  type Heartbeat,
  type Hello,
  type Inv,
  type Leave,
  type LogRecord,
  type Opaque,
  type Vector,
  type VectorEntry
} from "./Frame.ts"
import { type Body, type Host, Stats } from "./Host.ts"
import { type Inquired, Inquiries } from "./Inquiries.ts"
import type { Degraded, InstanceStatus, MemberStatus } from "./InstanceStatus.ts"
import { Joining } from "./Joining.ts"
import { Judgement } from "./Judgement.ts"
import type { Span } from "./Marks.ts"
import { type Member, Members, type MembersListener } from "./Members.ts"
import type { Clock, Network, Peer } from "./Network.ts"
import { OwnEntries } from "./OwnEntries.ts"
import { OwnLog } from "./OwnLog.ts"
import type { Parameters } from "./Parameters.ts"
import { ReceivedLog } from "./ReceivedLog.ts"
import { Reconciler } from "./Reconciler.ts"
import { Relays } from "./Relays.ts"
import type { PeerValue, Store } from "./Store.ts"

export type { Acknowledged } from "./Acks.ts"
export type { Degraded, InstanceStatus, MemberStatus } from "./InstanceStatus.ts"

export interface InstanceOptions {
  /** Random, 1 to 2^53 - 1, another at each start of a process. */
  readonly origin: number
  /** 0 to 65,535. */
  readonly region: number
  /** The number of the namespace (its hash), 32 bits: frames of another one are dropped. */
  readonly namespace: number
  readonly parameters: Parameters
  readonly clock: Clock
  /** 0 to below 1. */
  readonly random: () => number
  /**
   * The wall clock, ms; 0 without it. Versions are above it, as it was at the start and at each heartbeat: of two that
   * did not hear each other the one that wrote later wins, as far as clocks agree.
   */
  readonly timeOfDayMs?: () => number
  readonly store: Store
  readonly network: Network
  /** Who speaks to its like on other instances, by the frames in which they do. */
  readonly extensions?: Partial<Record<Opaque["type"], Extension>>
}

/** A room above that speaks to its like on other instances. What it says may be lost, repeated and late. */
export interface Extension {
  onFrame(from: number, payload: Uint8Array): void
  /** A member has greeted: it is new, was away, or has heard of this instance for the first time. */
  onMember(origin: number): void
  /** At every heartbeat. */
  onBeat(): void
  /** Whenever the instance does what is due: after each write at the latest, and when `nextMs` has come. */
  onTick?(): void
  /** When it wants a tick at the latest, by the instance's clock. */
  nextMs?(): number
  /** The instance is about to say good-bye: what others have to know has to be said now. */
  onLeave?(): void
}

export class Instance implements Host, MembersListener {
  readonly origin: number
  readonly region: number
  readonly parameters: Parameters
  readonly store: Store
  readonly random: () => number
  readonly stats = new Stats()
  readonly own: OwnLog
  readonly received: ReceivedLog
  readonly members: Members
  readonly cells: Cells
  /** Highest version written or heard of. Whoever writes takes `++instance.lamport`. */
  lamport: number
  isJoined = false
  cutOffUntilMs = Number.NEGATIVE_INFINITY
  nowMs: number

  protected readonly reconciler: Reconciler
  protected readonly ownEntries: OwnEntries
  protected readonly fetches: Fetches
  private readonly inquiries: Inquiries
  private readonly acks: Acks
  private readonly relays: Relays
  private readonly judgement: Judgement
  private readonly joining: Joining
  private readonly namespace: number
  private readonly clock: Clock
  private readonly timeOfDayMs: () => number
  private readonly network: Network
  private readonly extensions: Partial<Record<Opaque["type"], Extension>>
  private readonly rooms: readonly Extension[]

  /** Of what it says to everybody in its own name. */
  private readonly header: Header
  private readonly linked = new Set<number>()
  private sealedLast = 0
  private lastFlushMs = Number.NEGATIVE_INFINITY
  private wantsAck = false
  private nextHeartbeatMs: number
  private heartbeats = 0
  private isVectorDue = false
  private isLeft = false
  private areCellsStale = true
  /** When `tick` was last asked for. */
  private wakeAtMs = Number.POSITIVE_INFINITY
  private wasVerified = true
  /** The first thing that the store has thrown in this call. */
  private failure: { readonly defect: unknown } | undefined

  constructor(options: InstanceOptions) {
    this.origin = options.origin
    this.region = options.region
    this.namespace = options.namespace
    this.header = { namespace: this.namespace, author: this.origin, to: 0, region: this.region, hops: 0 }
    this.parameters = options.parameters
    this.clock = options.clock
    this.random = options.random
    this.timeOfDayMs = options.timeOfDayMs ?? (() => 0)
    this.lamport = Math.floor(this.timeOfDayMs())
    this.store = options.store
    this.network = options.network
    this.extensions = options.extensions ?? {}
    this.rooms = Object.values(this.extensions)
    this.nowMs = this.clock.nowMs()
    this.nextHeartbeatMs = this.nowMs
    const { logSize, buckets, wideMax, receivedSize } = this.parameters
    this.own = new OwnLog(logSize, buckets, wideMax)
    this.received = new ReceivedLog(receivedSize)
    this.cells = new Cells(this, this.parameters)
    this.members = new Members(this, this.parameters, (origin) => this.isNear(origin), this)
    this.ownEntries = new OwnEntries(this, (origin) => this.reconciler.givenUp.verified(origin))
    this.reconciler = this.makeReconciler(this.ownEntries)
    this.judgement = new Judgement(this, this.reconciler)
    this.relays = new Relays(this, this.cells, this.linked, this.network)
    this.acks = new Acks(this)
    this.fetches = this.makeFetches()
    this.inquiries = new Inquiries(this, () => this.neighbours())
    this.joining = new Joining(this, this.linked)
  }

  protected makeReconciler(ownEntries: OwnEntries): Reconciler {
    return new Reconciler(this, ownEntries)
  }

  protected makeFetches(): Fetches {
    return new Fetches(
      this,
      () => this.neighbours(),
      () => this.flushOwn()
    )
  }

  /** How many others there are. */
  get memberCount(): number {
    return this.members.live.size
  }

  // Writing

  /** The sequence of the last record. */
  get written(): number {
    return this.own.last
  }

  /** Records up to this sequence have left: what is written again gets a new one. */
  get sealed(): number {
    return this.sealedLast
  }

  /** Adds a record to the own log, before the writer is told that it has written; answers its sequence. Not sent yet. */
  append(op: number, hash: number, version: number, flags: number): number {
    if (version > this.lamport) this.lamport = version
    const sequence = this.own.append(op, hash, version, flags)
    const unsent = sequence - this.sealedLast
    if (unsent === 1) this.wake(this.lastFlushMs + this.parameters.batchMs)
    else if (unsent >= this.parameters.batchRecordsMax) this.flush()
    return sequence
  }

  /** The key of a record that has not left was written again: one record stands for both. Only above `sealed`. */
  amend(sequence: number, version: number, flags: number): void {
    if (version > this.lamport) this.lamport = version
    if (sequence > this.sealedLast) this.own.amend(sequence, version, flags)
  }

  /** Sends what was appended. */
  flush(): void {
    this.flushOwn()
    this.lastFlushMs = this.clock.nowMs() // and not `nowMs`: it tells `enter` whether the process stood still
  }

  private flushOwn(): void {
    const { own, parameters } = this
    if (this.sealedLast === own.last) return
    this.lastFlushMs = this.nowMs
    if (own.oldest > this.sealedLast + 1) {
      this.stats.recordsUnsent += own.oldest - this.sealedLast - 1
      this.sealedLast = own.oldest - 1 // whoever misses them asks, and is told which buckets have moved
    }
    const { wantsAck } = this
    this.wantsAck = false
    while (this.sealedLast < own.last) {
      const first = this.sealedLast + 1
      const last = Math.min(own.last, this.sealedLast + parameters.batchRecordsMax)
      this.sealedLast = last
      this.stats.recordsOut += last - first + 1
      if (this.linked.size === 0) continue // nobody hears it: whoever is met later asks
      this.relays.toCell(encodeRecords(own, this.header, first, last, wantsAck))
      this.relays.onOwn(first, last, wantsAck)
    }
  }

  /** Waits until one (or every live) member has applied the record; at most `ackTimeoutMs`. `done` may come at once. */
  acknowledge(sequence: number, mode: "one" | "live", done: (result: Acknowledged) => void): void {
    this.enter()
    if (sequence > this.sealedLast) this.wantsAck = true
    this.acks.wait(sequence, mode, done)
    if (sequence <= this.sealedLast) this.probe()
    this.settle()
  }

  /** Asks who is waited for how far it has got. */
  private probe(): void {
    const first = this.sealedLast + 1
    for (const origin of this.acks.laggards()) {
      this.post(origin, { type: "inv", isReplay: false, wantsAck: true, first, records: [] })
    }
  }

  /**
   * Asks peers for the value of a displayed key, whose hash is given; answers how to stop. `done` comes once, perhaps at
   * once, with undefined where nobody has it or has answered in time; not after a stop.
   */
  fetch(key: string, hash: number, done: (value: PeerValue | undefined) => void): () => void {
    this.enter()
    const stop = this.fetches.fetch(key, hash, done)
    this.settle()
    return stop
  }

  /**
   * Asks members, these authors first, for the highest write that they know of each hash, and does nothing about it.
   * `done` comes once, perhaps at once.
   */
  query(hashes: readonly number[], authors: Iterable<number>, done: (said: Inquired) => void): void {
    this.enter()
    this.inquiries.ask(hashes, authors, done)
    this.settle()
  }

  /** Whom to ask for what nobody is known to have written. */
  private *neighbours(): Iterable<number> {
    for (const origin of [...this.cells.cellMembers, ...this.cells.otherRelays]) {
      const member = this.members.live.get(origin)
      if (member?.isFresh && !member.isJoining && this.canReach(origin)) yield origin
    }
  }

  // Links

  onLinkUp(peer: Peer): void {
    if (peer.origin === this.origin) return
    this.enter()
    this.linked.add(peer.origin)
    const member = this.members.greet(peer.origin, peer.region, this.nowMs)
    if (member?.isLive) {
      member.region = peer.region
      // A link is no sign of life: that is what it says of how much it has written, and it may not get so far.
      this.sendHello(peer.origin, false)
    }
    this.settle()
  }

  onLinkDown(origin: number): void {
    this.enter()
    this.linked.delete(origin)
    const member = this.members.live.get(origin)
    if (member !== undefined && !this.canReach(origin)) this.fetches.memberLost(member)
    this.settle()
  }

  /** Its process is gone: connections are refused where it listened. */
  onGone(origin: number): void {
    this.enter()
    this.linked.delete(origin)
    // Of one that nobody has told of it is remembered, so that whoever tells of it later does not bring it to life.
    const member = this.members.observeDead(origin, this.region, this.nowMs)
    if (member !== undefined) this.members.end(member, "gone", this.nowMs)
    this.settle()
  }

  /** The transport has looked for others once: nobody there means joined alone. */
  settled(): void {
    this.enter()
    this.joining.settled()
    this.settle()
  }

  /** Whether messages can reach anybody at all: false while the broker that carries them is away. */
  onCarrier(isUp: boolean): void {
    this.enter()
    if (!isUp) this.cutOffUntilMs = Number.POSITIVE_INFINITY
    // Whoever has come meanwhile, and is not known here, has to be met before this instance can speak for anything.
    else if (this.cutOffUntilMs === Number.POSITIVE_INFINITY) this.cutOffUntilMs = this.nowMs + this.parameters.joinMs
    this.settle()
  }

  /** Whether a direct link to this peer is of use. */
  wantsLink(peer: Peer): boolean {
    const member = this.members.live.get(peer.origin)
    // Who is suspect is in no cell; who was across regions is not to be linked by all of this one meanwhile.
    if (member?.isSuspect && member.region !== this.region) return this.cells.isRelay
    return this.cells.wantsLink(peer)
  }

  hasLink(origin: number): boolean {
    return this.linked.has(origin)
  }

  canReach(origin: number): boolean {
    return this.cells.nextHop(origin, this.linked) !== 0
  }

  /** Takes a member that is not heard of for gone; false when there is none of that number. */
  forget(origin: number): boolean {
    this.enter()
    const member = this.members.live.get(origin)
    if (member !== undefined) this.members.end(member, "forgotten", this.nowMs)
    this.settle()
    return member !== undefined
  }

  /** Says good-bye. Pulls are still answered until the process ends. */
  leave(): void {
    this.enter()
    for (const extension of this.rooms) extension.onLeave?.()
    this.flushOwn()
    this.isLeft = true
    const bytes = this.encodedAs(this.origin, 0, { type: "leave", last: this.sealedLast, lamport: this.lamport }, 0)
    this.relays.flush()
    this.relays.toCell(bytes)
    this.relays.onNotice(this.origin, 0, bytes)
    this.settle()
  }

  /**
   * To be called after this instance or its store has thrown: what was being done may be half done, and nobody will do
   * it again. So whatever others wrote is forgotten, and what was written here is compared with what they know.
   */
  recover(): void {
    this.enter()
    if (this.isJoined) this.distrust()
    this.settle()
  }

  /** Of what others wrote something was missed, about any key. */
  private distrust(): void {
    this.store.forgetCopies()
    const hashes = this.store.ownHashes(null)
    for (const { origin } of this.members.live.values()) this.ownEntries.ask(origin, hashes, true)
  }

  // Frames

  /**
   * A frame from a direct link. Never throws for what it says; what is wrong is counted and dropped. What the store has
   * thrown is thrown at the end, when all else is done.
   */
  onFrame(bytes: Uint8Array, from: number): void {
    this.enter()
    this.stats.framesIn++
    const frame = decode(bytes)
    if (frame instanceof FrameError) this.stats.malformed++
    else if (frame.namespace !== this.namespace) this.stats.foreign++
    else if (frame.author === this.origin) this.stats.echoed++
    else if (frame.to !== 0 && frame.to !== this.origin) this.relays.passOn(frame, bytes, from)
    else if (frame.type === "unknown") this.stats.unknown++
    else if (isAbsurd(frame)) this.stats.absurd++
    else this.handle(frame, bytes, from)
    this.settle()
    const { failure } = this
    if (failure === undefined) return
    this.failure = undefined
    throw failure.defect
  }

  private handle(frame: Frame, bytes: Uint8Array, from: number): void {
    switch (frame.type) {
      case "inv":
        this.onInv(frame, from)
        break
      case "heartbeat":
        this.onHeartbeat(frame, from)
        break
      case "hello":
        this.onHello(frame)
        break
      case "vector":
        this.onVector(frame)
        break
      case "leave":
        this.onLeave(frame, bytes)
        break
      case "pull":
        this.reconciler.onPull(frame)
        break
      case "gone":
        this.reconciler.onGone(frame)
        break
      case "bucketsAsk":
        this.reconciler.onBucketsAsk(frame)
        break
      case "buckets":
        this.reconciler.onBuckets(frame)
        break
      case "query":
        this.ownEntries.onQuery(frame)
        break
      case "stamps":
        if (!this.inquiries.onStamps(frame)) this.ownEntries.onStamps(frame)
        break
      case "ack":
        this.onAck(frame)
        break
      case "fetch":
        this.fetches.onFetch(frame)
        break
      case "value":
        this.fetches.onValue(frame)
        break
      default: {
        const extension = this.extensions[frame.type]
        if (extension === undefined) this.stats.unknown++
        else extension.onFrame(frame.author, frame.payload)
      }
    }
  }

  protected onInv(frame: Inv, from: number): void {
    const { author, first, records } = frame
    const member = this.members.observe(author, frame.region, this.nowMs)
    if (member === undefined) {
      this.stats.late++
      return
    }
    if (!frame.isReplay && from === author) this.members.heard(member, this.nowMs, this.nowMs)
    for (const { version } of records) this.heardVersion(version) // also of those that are refused: they count as told of
    const found = this.apply(author, first, records, member.receiveGivenUp(first, records.length))
    const fresh = this.apply(author, first, records, member.marks.receive(first, records.length))
    this.stats.recordsDuplicate += records.length - found - fresh
    if (fresh > 0 && !frame.isReplay) this.relays.onInv(author, frame.hops, first, records, frame.wantsAck)
    if (found > 0) this.reconciler.givenUp.progress(member)
    this.marksMoved(member)
    if (frame.isReplay) this.reconciler.progress(member, from)
    if (frame.wantsAck) this.acks.onWanted(member, first + records.length - 1)
  }

  /** Applies these spans of an origin's records; answers how many records that are. */
  private apply(origin: number, first: number, records: readonly LogRecord[], spans: readonly Span[]): number {
    let applied = 0
    for (const span of spans) {
      for (let sequence = span.first; sequence <= span.last; sequence++) {
        const record = records[sequence - first] as LogRecord
        this.received.append(origin, sequence, record.op, record.hash, record.version, record.flags)
        try {
          this.applyRecord(record, origin)
        } catch (defect) {
          this.failure ??= { defect } // all of them count as applied, so the others are; what follows for this one: recover
        }
        applied++
      }
    }
    this.stats.recordsApplied += applied
    return applied
  }

  /** A record that is applied here for the first time. */
  protected applyRecord({ op, hash, version, flags }: LogRecord, author: number): void {
    this.store.apply(op, hash, version, author, flags)
  }

  heardVersion(version: number): void {
    if (version > this.lamport) this.lamport = version
  }

  protected onHeartbeat(frame: Heartbeat, from: number): void {
    if (from === frame.author) this.beatWith(from)
    for (const entry of frame.entries) {
      if (entry.origin === this.origin) continue
      const isOwnWord = entry.origin === frame.author && from === frame.author
      let member = this.members.find(entry.origin)
      if (member === undefined) {
        if (entry.ageMs > this.parameters.suspectMs || this.members.isRetired(entry.origin)) continue
        member = this.members.observe(entry.origin, entry.region, this.nowMs)
        if (member === undefined) continue
      }
      this.heardVersion(entry.lamport)
      this.heardPlace(member, entry.region, entry.split)
      member.oldest = Math.max(member.oldest, entry.oldest)
      member.marks.advertise(entry.last)
      this.reconciler.heard(member, entry.last)
      if (!isOwnWord) this.heardFromAfar(member, entry.ageMs, from)
      else if (member.isLive) this.members.heard(member, this.nowMs, this.nowMs)
      // It lives, though it was taken for dead: if it answers it is a member again. A late frame gets no answer.
      else if (member.state !== "left") this.sendHello(member.origin, false)
      this.marksMoved(member)
    }
  }

  /** Of who has not greeted since it was silent here, what it says may have waited while this process stood still. */
  private heardFromAfar(member: Member, ageMs: number, from: number): void {
    if (this.members.live.get(from)?.hasGreeted) this.members.heardFromAfar(member, this.nowMs - ageMs, this.nowMs)
  }

  /**
   * A cell's heartbeats come together: to be woken once for all of them is less than half the work of once for each. Only
   * there, since between those who are far apart each would make the other one's come early; twice as often at most.
   */
  private beatWith(origin: number): void {
    const earlyMs = this.nextHeartbeatMs - this.nowMs
    if (earlyMs < this.parameters.heartbeatMs / 2 && this.isNear(origin)) this.nextHeartbeatMs = this.nowMs
  }

  /** What it says, or is said to have said, about where it belongs. */
  private heardPlace(member: Member, region: number, split: number): void {
    if (member.region !== region) this.areCellsStale = true
    member.region = region
    if (split <= member.split) return
    member.split = split
    this.areCellsStale = true
  }

  protected onHello(frame: Hello): void {
    const member = this.members.greet(frame.author, frame.region, this.nowMs)
    if (member === undefined || !member.isLive) {
      this.stats.late++
      return
    }
    this.heardVersion(frame.lamport)
    this.heardPlace(member, frame.region, frame.split)
    member.oldest = Math.max(member.oldest, frame.oldest)
    member.marks.advertise(frame.last)
    member.mayHaveWaited = false
    this.members.heard(member, this.nowMs, this.nowMs)
    member.hasGreeted = true
    const isBaseline = !this.isJoined && !frame.isJoining
    if (isBaseline) {
      this.joining.welcomed()
      this.joining.baseline(member, frame.last)
    }
    this.hearsay(frame.author, frame.vector, isBaseline)
    this.judgement.healTo(member)
    this.reconciler.heard(member, frame.last)
    this.marksMoved(member)
    if (!frame.isAnswer) this.sendHello(frame.author, true)
    for (const extension of this.rooms) extension.onMember(frame.author)
  }

  protected onVector(frame: Vector): void {
    this.heardVersion(frame.lamport)
    this.hearsay(frame.author, frame.entries, false)
  }

  /** What somebody has heard of others. */
  private hearsay(author: number, entries: readonly VectorEntry[], isBaseline: boolean): void {
    const { members, nowMs } = this
    for (const { origin, region, highest, hasEnded, holes } of entries) {
      if (origin === this.origin) continue
      const member = hasEnded ? members.observeDead(origin, region, nowMs) : members.observe(origin, region, nowMs)
      if (member === undefined) continue
      if (hasEnded) members.saidToHaveEnded(member, nowMs)
      member.marks.advertise(highest)
      if (isBaseline) this.joining.baseline(member, highest, holes)
      if (holes !== undefined) this.reconciler.givenUp.wanted(author, origin, holes)
      this.marksMoved(member)
    }
  }

  protected onLeave(frame: Leave, bytes: Uint8Array): void {
    const member = this.members.observe(frame.author, frame.region, this.nowMs)
    if (member === undefined) {
      this.stats.late++
      return
    }
    this.heardVersion(frame.lamport)
    member.marks.advertise(frame.last)
    if (member.isLive) this.relays.onNotice(frame.author, frame.hops, bytes)
    this.members.end(member, "left", this.nowMs)
    this.marksMoved(member)
  }

  private onAck({ author, of, upTo }: Ack): void {
    const member = this.members.live.get(author)
    if (of !== this.origin || member === undefined) {
      this.stats.late++
      return
    }
    if (upTo > member.acknowledged) member.acknowledged = upTo
    this.acks.onAck(author, upTo)
  }

  // Frames out

  /** Sends what an extension says to a member, by way of relays where there is no link. */
  say(type: Opaque["type"], to: number, payload: Uint8Array): void {
    this.post(to, { type, payload })
  }

  post(to: number, body: Body): void {
    this.relays.send(to, this.encodedAs(this.origin, to, body, 0))
  }

  postAs(author: number, to: number, body: Body): void {
    this.relays.send(to, this.encodedAs(author, to, body, 0))
  }

  encodedAs(author: number, to: number, body: Body, hops: number): Uint8Array {
    const region = author === this.origin ? this.region : (this.members.find(author)?.region ?? this.region)
    return encode({ ...body, namespace: this.namespace, author, to, region, hops } as Frame)
  }

  private sendHello(to: number, isAnswer: boolean): void {
    this.flushOwn()
    this.post(to, {
      type: "hello",
      isJoining: !this.isJoined,
      isAnswer,
      split: this.isJoined ? this.cells.split : 0,
      last: this.sealedLast,
      oldest: this.own.oldest,
      lamport: this.lamport,
      vector: this.vector()
    })
  }

  /** What is known to exist of each other origin. */
  private vector(): VectorEntry[] {
    const entries: VectorEntry[] = []
    for (const members of [this.members.live, this.members.dead]) {
      for (const { origin, region, marks, isLive, givenUp } of members.values()) {
        const heard = { origin, region, highest: marks.advertised, hasEnded: !isLive }
        entries.push(isLive || givenUp === undefined ? heard : { ...heard, holes: givenUp.missing(holesMax) })
      }
    }
    return entries
  }

  protected sendHeartbeat(): void {
    const own = {
      origin: this.origin,
      region: this.region,
      split: this.isJoined ? this.cells.split : 0,
      last: this.sealedLast,
      oldest: this.own.oldest,
      lamport: this.lamport,
      ageMs: 0
    }
    const body = (ofOwnCell: boolean): Body => ({ type: "heartbeat", entries: [own, ...this.relays.digest(ofOwnCell)] })
    this.relays.toCell(this.encodedAs(this.origin, 0, body(false), 0))
    this.relays.flush() // nobody is to miss what only waits here
    this.relays.toOtherRelays(body)
  }

  private sendVector(): void {
    const body: Body = { type: "vector", lamport: this.lamport, entries: this.vector() }
    this.relays.toCell(this.encodedAs(this.origin, 0, body, 0))
    this.relays.toOtherRelays(() => body)
  }

  // Members

  onMember(member: Member, isBack: boolean): void {
    this.stats.joined++
    this.areCellsStale = true
    this.isVectorDue = true
    // It was taken for dead, and perhaps what it wrote was given up: what was written here is compared with it.
    if (isBack) {
      this.ownEntries.ask(member.origin, this.store.ownHashes(null), true)
      this.reconciler.memberReturned(member)
    }
    this.reconciler.memberChanged()
  }

  onSuspect(member: Member): void {
    this.cellsChange(member)
    this.acks.onSuspect(member)
    this.fetches.memberLost(member)
  }

  onFresh(member: Member): void {
    this.cellsChange(member)
    this.judgement.healTo(member)
    // What it has heard of others, and the other way round; a relay tells the rest of its cell.
    if (this.linked.has(member.origin)) this.sendHello(member.origin, false)
    this.isVectorDue = true
    this.reconciler.memberChanged()
  }

  onEnd(member: Member): void {
    this.stats.ended++
    this.cellsChange(member)
    this.isVectorDue = true
    this.acks.onEnd(member)
    this.fetches.memberLost(member)
    this.ownEntries.memberEnded(member)
    this.inquiries.onEnd(member)
    this.reconciler.memberEnded(member)
  }

  /** Whether a link with it is of use has changed, also where it is of another cell, and the own one stays as it is. */
  private cellsChange({ origin }: Member): void {
    this.areCellsStale = true
    if (!this.isNear(origin)) this.network.reconsider()
  }

  onRefused(): void {
    this.stats.membersRefused++
  }

  onForgotten(member: Member): void {
    this.reconciler.memberForgotten(member)
  }

  marksMoved(member: Member): void {
    this.reconciler.note(member)
    this.acks.answer(member)
    this.fetches.onProgress(member.origin)
  }

  get hasVerified(): boolean {
    return !this.ownEntries.isPending && !this.reconciler.givenUp.isPending
  }

  owesGreeting({ origin, hasGreeted, isByOwnWord }: Member): boolean {
    return !hasGreeted && (isByOwnWord || this.hasLink(origin) || this.isNear(origin))
  }

  isNear(origin: number): boolean {
    return this.cells.cellOf(origin) === this.cells.cellOf(this.origin)
  }

  // Time

  /** Does what is due; answers when it wants to be called again, at the latest. */
  tick(): number {
    this.enter()
    if (this.nowMs >= this.lastFlushMs + this.parameters.batchMs) this.flushOwn()
    this.members.due(this.nowMs)
    this.reconciler.due()
    this.ownEntries.due()
    this.acks.due()
    this.fetches.due()
    this.inquiries.due()
    this.relays.due()
    if (this.nowMs >= this.nextHeartbeatMs) this.beat()
    for (const extension of this.rooms) extension.onTick?.()
    this.judgement.due()
    this.wakeAtMs = Number.POSITIVE_INFINITY
    this.conclude()
    this.wakeAtMs = this.nextMs()
    return this.wakeAtMs
  }

  private beat(): void {
    this.nextHeartbeatMs = this.nowMs + this.parameters.heartbeatMs
    if (this.isLeft) return
    this.heardVersion(Math.floor(this.timeOfDayMs()))
    this.flushOwn()
    this.sendHeartbeat()
    for (const origin of this.linked) {
      if (this.members.live.get(origin)?.hasGreeted === false) this.sendHello(origin, false)
    }
    if (this.acks.isWaiting) this.probe()
    if (this.isJoined && (this.isVectorDue || this.heartbeats % this.parameters.vectorEvery === 0)) {
      this.isVectorDue = false
      this.sendVector()
    }
    this.heartbeats++
    for (const extension of this.rooms) extension.onBeat()
  }

  private enter(): void {
    const lastMs = this.nowMs
    this.nowMs = this.clock.nowMs()
    if (this.nowMs - lastMs <= this.parameters.suspectMs) return
    // The process stood still. What comes now may have waited for long, and is no sign of life before it is judged.
    this.members.stoodStill(this.nowMs)
    this.conclude()
  }

  /** At the end of each call from outside but `tick`. */
  private settle(): void {
    this.conclude()
    const nextMs = this.nextMs()
    if (nextMs < this.wakeAtMs) this.wake(nextMs)
  }

  private wake(atMs: number): void {
    this.wakeAtMs = Math.min(this.wakeAtMs, atMs)
    this.network.wake(atMs)
  }

  /** Draws the conclusions of what has happened: cells, joined, verified, coherent. */
  private conclude(): void {
    if (this.areCellsStale) this.placeCells()
    if (!this.isJoined && this.joining.isOver) this.join()
    if (this.hasVerified && !this.wasVerified) this.acks.answerAll()
    this.wasVerified = this.hasVerified
    this.judgement.judge()
  }

  private placeCells(): void {
    this.areCellsStale = false
    const { split } = this.cells
    if (this.cells.update(this.members.live.values(), this.isJoined)) this.network.reconsider()
    // Nobody is to place others otherwise for longer than need be.
    if (this.isJoined && this.cells.split !== split) this.nextHeartbeatMs = this.nowMs
  }

  private join(): void {
    this.isJoined = true
    this.areCellsStale = true
    this.isVectorDue = true
    // What was written since the baseline may be lower than what is below it, of anybody.
    let hasBaseline = false
    for (const members of [this.members.live, this.members.dead]) {
      for (const member of members.values()) {
        this.judgement.healTo(member) // what is known to exist and is not below a baseline
        if (!member.hasBaseline) continue
        hasBaseline = true
        this.reconciler.lost(member)
      }
    }
    if (hasBaseline) this.distrust() // there are no copies, but fills that began before it may bring what it covers
    this.reconciler.begin()
    for (const origin of this.linked) this.sendHello(origin, true)
    this.placeCells()
  }

  // Coherence

  get isCoherent(): boolean {
    return this.judgement.isCoherent
  }

  /** The first reason for which it is not coherent. */
  get degradedWhy(): Degraded | undefined {
    return this.judgement.degradedWhy
  }

  /** ms for which it has not been; 0 while it is. */
  get degradedForMs(): number {
    return this.judgement.degradedForMs
  }

  /** ms that a copy may live at most: Infinity; `partitionTtlMs` while degraded and capped; 0: is not to be stored. */
  get copyMsMax(): number {
    return this.judgement.copyMsMax
  }

  copyTtlMs(ttlMs: number): number {
    return this.judgement.copyTtlMs(ttlMs)
  }

  // For people

  status(): InstanceStatus {
    this.enter()
    const members: MemberStatus[] = []
    for (const table of [this.members.live, this.members.dead]) {
      for (const member of table.values()) members.push(this.statusOf(member))
    }
    return {
      isJoined: this.isJoined,
      isCoherent: this.isCoherent,
      degradedWhy: this.judgement.reasons(),
      degradedForMs: this.degradedForMs,
      copyMsMax: this.copyMsMax,
      written: this.own.last,
      sealed: this.sealedLast,
      oldest: this.own.oldest,
      lamport: this.lamport,
      isRelay: this.cells.isRelay,
      isPrimary: this.cells.isPrimary,
      members
    }
  }

  private statusOf(member: Member): MemberStatus {
    const { origin, region, state, isSuspect, isJoining, marks } = member
    return {
      origin,
      region,
      state,
      isSuspect,
      isJoining,
      isLinked: this.linked.has(origin),
      isNear: this.isNear(origin),
      heardMsAgo: this.nowMs - member.heardAtMs,
      advertised: marks.advertised,
      highest: marks.highest,
      contiguous: marks.contiguous,
      missingForMs: Math.max(0, this.nowMs - this.reconciler.missingSinceMs(member)),
      acknowledged: member.acknowledged
    }
  }

  private nextMs(): number {
    let nextMs = Math.min(this.nextHeartbeatMs, this.judgement.nextMs(), this.members.nextMs)
    if (this.sealedLast < this.own.last) nextMs = Math.min(nextMs, this.lastFlushMs + this.parameters.batchMs)
    if (!this.isJoined) nextMs = Math.min(nextMs, this.joining.nextMs())
    for (const extension of this.rooms) {
      if (extension.nextMs !== undefined) nextMs = Math.min(nextMs, extension.nextMs())
    }
    return Math.min(
      nextMs,
      this.reconciler.nextMs(),
      this.ownEntries.nextMs(),
      this.acks.nextMs(),
      this.fetches.nextMs(),
      this.inquiries.nextMs(),
      this.relays.nextMs()
    )
  }
}

/** Numbers that no instance can have reached: a version of 2^47 is 4,000 years of writes, and would be the last word. */
const isAbsurd = (frame: Frame): boolean => {
  switch (frame.type) {
    case "inv":
      return frame.first < 1 || frame.records.some(({ version }) => version > numberMax) || frame.first > numberMax
    case "heartbeat":
      return frame.entries.some(
        ({ lamport, last, split }) => lamport > numberMax || last > numberMax || split > splitMax
      )
    case "hello":
      return (
        frame.lamport > numberMax || frame.last > numberMax || frame.split > splitMax || isVectorAbsurd(frame.vector)
      )
    case "vector":
      return frame.lamport > numberMax || isVectorAbsurd(frame.entries)
    case "fetch":
      return frame.lamport > numberMax || isVectorAbsurd(frame.vector)
    case "leave":
      return frame.last > numberMax || frame.lamport > numberMax
    case "buckets":
      return frame.upTo > numberMax || frame.lamport > numberMax || frame.bucketCount < 1 || frame.of !== frame.author
    case "bucketsAsk":
      return frame.since > numberMax
    case "pull":
      return frame.first < 1 || frame.last < frame.first
    case "stamps":
      return frame.floor > numberMax || frame.answers.some(({ version }) => version > numberMax)
    case "value":
      return frame.answers.some(({ version }) => version > numberMax)
    default:
      return false
  }
}

const isVectorAbsurd = (entries: readonly VectorEntry[]): boolean => entries.some(({ highest }) => highest > numberMax)

const holesMax = 8 // that are named of one origin; the next ones when these have been filled
const numberMax = 2 ** 47
const splitMax = 2 ** 31 // two million changes: the highest that is said holds, so the highest of all would hold for ever
