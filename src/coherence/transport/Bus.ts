/**
 * A transport over a broker that carries bytes by the names of channels: what NATS and Redis have in common.
 *
 * Three channels are read: one for presence (of the whole namespace), one a region for broadcasts, one of one's own for
 * what is meant for this instance alone. A broker knows no links, so they are made by a handshake:
 * ```
 * A ─ announces itself, with a number that nobody can foresee (nonce) ─► all
 * A ◄─ answer of B: its own nonce, and A's as an echo ─ B              A: B is there, now. Link up
 * A ─ echo of B's nonce ─► B                                          B: the same
 * ```
 * - An echo cannot have been recorded earlier, so it proves (with a secret) that the author lives. From there on each
 *   message of that author is taken once (FrameSeal), and what was sent before is refused: a replayed day goes nowhere.
 * - A nonce is new for each connection to the broker. A peer with a new one has been away: its link goes down and up.
 * - All announce themselves again and again, the less often the more they are; who is not heard three times is down, and
 *   all are when the broker is. What a process killed on this host leaves is found by its process id and start time.
 * - The link is up when either side wants it.
 *
 * Nothing waits: bytes that the broker has not confirmed are bounded, and what does not fit is dropped and counted.
 *
 * All of it is synchronous and without a clock: `tick` is called by the process that holds the connection (`run`).
 */
import { randomBytes } from "node:crypto"
import { hostname } from "node:os"
import { Duration, Effect, Runtime, Schedule, type Scope } from "effect"
import { Process, type Supervisor } from "../../actor/index.ts"
import { type MetricReader, repeatedError } from "../../telemetry/index.ts"
import { FrameSeal, type Opened, type Refusal, ReplayWindow } from "./FrameSeal.ts"
import { Carrier, type CarrierLog } from "./internal/carrier.ts"
import { TransportCounts } from "./internal/counts.ts"
import { hasEnded, type ProcessMark, processMark } from "./internal/processMark.ts"
import { strangerText } from "./internal/stranger.ts"
import type { PeerInfo, Transport, TransportListener, TransportSelf } from "./Transport.ts"
import { frameBytesMaxDefault } from "./Transport.ts"
import type { TransportError } from "./TransportError.ts"

/** A connection to the broker, while it is up. */
export interface BusConnection {
  /** The longest message that the broker takes. */
  readonly messageBytesMax: number
  /** Bytes that were handed over and of which nothing is known yet. */
  readonly unconfirmedBytes: number
  /** Hands over one message. Never throws, never waits. `isKept`: receivers that are away should find it later. */
  publish(channel: string, message: Uint8Array, isKept: boolean): void
}

/** What the one who holds the connection tells the bus. */
export interface BusPort {
  /** The channels to read, in this order: presence, the region's, one's own. */
  readonly channels: readonly string[]
  /** Connected, and all channels are read. */
  onUp(connection: BusConnection): void
  /** The connection is lost, `cause` says why. A second call does nothing more. */
  onDown(cause: unknown): void
  onMessage(message: Uint8Array): void
  /** A message that the broker has kept while we were away, told before `onUp`. */
  onKept(message: Uint8Array): void
  /** The connection is about to be closed by us, while it is still up: says goodbye. */
  leave(): void
  /** Something went wrong that does not end the connection: is logged, not too often. Without one, it is why. */
  onError(error: unknown): void
}

/** A broker, as the bus needs it. */
export interface Broker {
  /** `nats`, `redis`. */
  readonly name: string
  /** Where the broker is, as people write it, without credentials: `nats://127.0.0.1:4222`. */
  readonly address: string
  /** The name of a channel from its parts, which hold whatever a namespace may. */
  readonly channel: (...parts: readonly string[]) => string
  /** Of broadcasts: whether a receiver that is away should find it later. */
  readonly isKept: (frame: Uint8Array) => boolean
  /** One connection, for as long as it lasts; ends or fails when it cannot go on. Interrupted, it closes what is open. */
  readonly connect: (port: BusPort) => Effect.Effect<void, TransportError>
}

export interface BusOptions {
  /** Time between two announcements of this instance, while it knows up to 50 others. Default 1 second. */
  readonly presenceInterval?: Duration.DurationInput
  /** How long the first round of discovery waits for answers. Default 250 milliseconds. */
  readonly settleTime?: Duration.DurationInput
  /** Bytes that may wait for the broker; what comes on top is dropped. Default 32 MiB. */
  readonly outgoingBytesMax?: number
  /** Longer frames are refused. Default 17 MiB. */
  readonly frameBytesMax?: number
  /** Time before the first attempt to connect again; doubles up to 30 times it, with jitter. Default 100 milliseconds. */
  readonly reconnectDelay?: Duration.DurationInput
}

interface Peer {
  info: PeerInfo
  mark: ProcessMark | undefined
  nonce: bigint
  wantsUs: boolean
  /** What it was told last of whether it is wanted. */
  toldWish: boolean
  /** When it was last told that it is not linked here, though it takes itself for it. */
  correctedAtTick: number
  /** It has echoed the nonce of this connection. */
  isReachable: boolean
  /** The listener knows of the link. */
  isUp: boolean
  heardAtTick: number
  readonly window: ReplayWindow
}

/** A frame of which not all parts are here. */
interface Unfinished {
  readonly author: number
  /** How many parts it has. */
  readonly count: number
  readonly chunks: Map<number, Uint8Array>
  bytes: number
  readonly begunAtTick: number
}

/** Refusals of what speaks in this namespace without the same secret. */
const secretRefusals: ReadonlySet<Refusal> = new Set(["forged", "unsigned", "signed"])

const Kind = { presence: 1, frame: 2, part: 3 } as const
const PresenceFlag = { wanted: 1, up: 2, leaving: 4 } as const

/** Why a link went down: the broker is away, nothing was heard, the peer left, ended, came back, … */
type LinkLoss = "broker" | "silent" | "left" | "gone" | "reconnected" | "unwanted" | "failed"

/** A transport over a broker. Made by `open` of a layer; its one child holds the connection. */
export class Bus implements Transport, BusPort {
  readonly name: string
  readonly frameBytesMax: number
  readonly channels: readonly string[]
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
  readonly metrics: readonly MetricReader[]
  readonly counts = new TransportCounts(() => this.links().length)
  readonly carrier: Carrier

  private readonly peers = new Map<number, Peer>()
  private readonly partials = new Map<string, Unfinished>()
  private partialBytes = 0
  private partIds = 0
  private readonly seal: FrameSeal
  private readonly mark = processMark()
  private readonly outgoingBytesMax: number
  private connection: BusConnection | undefined
  private nonce = 0n
  private ticks = 0
  private isSettled = false
  /** Frames that we were away for and that the broker had kept. */
  private keptFrames = 0
  private isClosed = false
  private reconsiders = false
  private report: (error: unknown) => void = () => {}
  private log: CarrierLog | null = null
  private hasWarnedOfSecret = false

  constructor(
    readonly broker: Broker,
    readonly self: TransportSelf,
    private readonly listener: TransportListener,
    readonly options: BusOptions = {}
  ) {
    this.name = broker.name
    this.frameBytesMax = options.frameBytesMax ?? frameBytesMaxDefault
    this.outgoingBytesMax = options.outgoingBytesMax ?? outgoingBytesMaxDefault
    this.seal = new FrameSeal(self)
    this.carrier = new Carrier(broker.address, (isUp) => this.tell(() => listener.onCarrier?.(isUp, broker.address)))
    this.channels = [
      this.broker.channel(self.namespace, "presence"),
      this.broker.channel(self.namespace, String(self.region), "all"),
      this.channelOf(self.origin)
    ]
    this.children = [
      { id: broker.name, start: Process.spawnLink(run(this), { label: broker.name, inspect: () => this.inspect() }) }
    ]
    this.metrics = this.counts.metrics
  }

  send(to: number, frame: Uint8Array): boolean {
    if (this.isTooLong(frame)) return false
    if (this.peers.get(to)?.isUp !== true) {
      this.counts.lost("no link")
      return false
    }
    this.ship(this.channelOf(to), to, frame, false)
    return true
  }

  broadcast(frame: Uint8Array): void {
    if (this.isTooLong(frame)) return
    if (this.connection === undefined) return void this.counts.lost("down")
    let nearLinks = 0
    let nearPeers = 0
    for (const { info, isReachable, isUp } of this.peers.values()) {
      if (info.region !== this.self.region) continue
      if (isReachable) nearPeers++
      if (isUp) nearLinks++
    }
    // The channel of a region reaches all who are in it. Where most of them are no links of ours (regions that are split
    // into groups), one message for each link is less work for everybody. Kept frames go there always: one may be away.
    const isKept = this.broker.isKept(frame)
    const isForRegion = isKept || (nearLinks > 0 && 2 * nearLinks >= nearPeers)
    if (isForRegion) this.ship(this.channels[1] as string, 0, frame, isKept)
    for (const { info, isUp } of this.peers.values()) {
      if (!isUp || (isForRegion && info.region === this.self.region)) continue
      this.ship(this.channelOf(info.origin), info.origin, frame, false)
    }
  }

  links(): readonly PeerInfo[] {
    const links: PeerInfo[] = []
    for (const peer of this.peers.values()) if (peer.isUp) links.push(peer.info)
    return links
  }

  reconsider(): void {
    if (this.reconsiders) return
    this.reconsiders = true
    setImmediate(() => {
      this.reconsiders = false
      if (this.isClosed) return
      for (const peer of this.peers.values()) if (peer.isReachable) this.decide(peer, true)
    })
  }

  address(): string {
    return `${this.broker.name}:${hostname()}:${process.pid}`
  }

  /** What the supervision tree shows. */
  inspect(): Record<string, unknown> {
    return {
      broker: this.broker.address,
      isConnected: this.connection !== undefined,
      links: this.links().length,
      keptFrames: this.keptFrames,
      unconfirmedBytes: this.connection?.unconfirmedBytes ?? 0
    }
  }

  onUp(connection: BusConnection): void {
    this.connection = connection
    this.nonce = randomBytes(8).readBigUInt64BE()
    this.carrier.up()
    this.announce(0)
  }

  onDown(cause: unknown): void {
    if (this.connection === undefined) return
    this.disconnect()
    this.carrier.down(cause)
  }

  /** An attempt to connect came to nothing, or the connection has ended; not by us. */
  onAway(cause: unknown): void {
    this.disconnect()
    this.carrier.down(cause)
  }

  /** There is no connection any more, whoever ended it. */
  disconnect(): void {
    if (this.connection === undefined) return
    this.connection = undefined
    for (const peer of this.peers.values()) this.lose(peer, "broker")
    this.forgetPartials(() => true)
  }

  /** Says goodbye: the links go down here and there. */
  leave(): void {
    this.announce(PresenceFlag.leaving)
    this.disconnect()
  }

  close(): void {
    this.isClosed = true
    this.disconnect()
  }

  onMessage(message: Uint8Array): void {
    if (this.isClosed || this.connection === undefined) return
    const opened = this.seal.open(message)
    if (typeof opened === "string") return void this.refuse(opened)
    if (opened.author === this.self.origin) return // a broker's echo
    if (opened.to !== 0 && opened.to !== this.self.origin) return void this.counts.refused("garbage")
    const peer = this.peers.get(opened.author)
    if (opened.kind === Kind.presence) return void this.onPresence(opened, peer)
    if (peer?.isUp !== true) return void this.onUnlinked(peer)
    if (!peer.window.take(opened.counter)) return void this.counts.refused("replayed")
    peer.heardAtTick = this.ticks
    if (opened.kind === Kind.frame) this.deliver(peer, opened.body)
    else if (opened.kind === Kind.part) this.onPart(peer, opened.body)
  }

  onKept(message: Uint8Array): void {
    if (this.isClosed) return
    const opened = this.seal.open(message)
    if (typeof opened === "string") return void this.refuse(opened)
    // Only of whom we had a link with: what others said before we met them is in the baseline that they give us.
    const peer = this.peers.get(opened.author)
    if (peer === undefined || opened.kind !== Kind.frame) return
    if (!peer.window.take(opened.counter)) return
    this.keptFrames++
    this.deliver(peer, opened.body)
  }

  private refuse(why: Refusal): void {
    this.counts.refused(why)
    if (this.hasWarnedOfSecret || this.log === null || !secretRefusals.has(why)) return
    this.hasWarnedOfSecret = true
    this.log.warn(strangerText(`on ${this.broker.address}`, this.self.namespace))
  }

  onError(error: unknown): void {
    if (this.connection === undefined) this.carrier.down(error)
    else this.report(error)
  }

  /** Where `onError` goes, and what there is to say of the broker, once the process that holds the connection runs. */
  reportTo(report: (error: unknown) => void, log: CarrierLog): void {
    this.report = report
    this.log = log
    this.carrier.logTo(log)
  }

  /** The first round of discovery has had its time. False when there was nobody to ask. */
  settle(): boolean {
    if (this.isSettled) return true
    if (this.connection === undefined) return false
    this.isSettled = true
    this.tell(() => this.listener.onSettled())
    return true
  }

  /** Once every `presenceInterval`. While the connection is up: announces, and looks who is still there. */
  tick(): void {
    this.carrier.tick()
    if (this.connection === undefined) return
    this.ticks++
    // N instances that announce themselves are N² messages, so the more there are the less each says.
    const every = Math.ceil((this.reachable() + 1) / announcedEachTick)
    if (this.ticks % every === 0) this.announce(0)
    for (const [origin, peer] of this.peers) {
      if (peer.mark !== undefined && hasEnded(peer.mark, this.mark)) {
        this.lose(peer, "gone")
        this.peers.delete(origin)
        this.tell(() => this.listener.onGone(origin))
      } else if (peer.isReachable && this.ticks - peer.heardAtTick > silentTicksMax * every) {
        this.lose(peer, "silent")
      }
    }
    this.forgetPartials((partial) => this.ticks - partial.begunAtTick > partialTicksMax)
  }

  private reachable(): number {
    let count = 0
    for (const peer of this.peers.values()) if (peer.isReachable) count++
    return count
  }

  private onPresence(opened: Opened, known: Peer | undefined): void {
    const presence = decodePresence(opened.body)
    if (presence === undefined) return void this.counts.refused("garbage")
    if (known?.window.take(opened.counter) === false) return void this.counts.refused("replayed")
    const info: PeerInfo = { origin: opened.author, region: presence.region, address: presence.address }
    if (known?.isReachable === true && known.nonce !== presence.nonce) {
      this.lose(known, "reconnected")
    }
    if ((presence.flags & PresenceFlag.leaving) !== 0) {
      if (known !== undefined) this.lose(known, "left")
      return
    }
    const isFresh = presence.echo === this.nonce && opened.to === this.self.origin
    if (!isFresh) {
      if (known?.isReachable === true) known.heardAtTick = this.ticks
      else this.answer(info, presence.nonce, known)
      return
    }
    const peer = known ?? this.meet(info, opened.counter)
    if (peer === undefined) return
    const wasReachable = peer.isReachable
    peer.info = info
    peer.mark = presence.mark
    peer.nonce = presence.nonce
    peer.wantsUs = (presence.flags & PresenceFlag.wanted) !== 0
    peer.isReachable = true
    peer.heardAtTick = this.ticks
    // Before the link is up here, so that there it is up when the first frame comes.
    if (!wasReachable || (presence.flags & PresenceFlag.up) === 0) this.answer(info, presence.nonce, peer)
    this.decide(peer, false)
  }

  /** It has sent a frame and is not linked here: what it was told last may be lost, so it is told again. */
  private onUnlinked(peer: Peer | undefined): void {
    this.counts.refused("unlinked")
    if (peer?.isReachable !== true || peer.correctedAtTick === this.ticks) return
    peer.correctedAtTick = this.ticks
    this.answer(peer.info, peer.nonce, peer)
  }

  /** Says to one peer that we are there, with its nonce as the proof that this is not an old message. */
  private answer(info: PeerInfo, nonce: bigint, peer: Peer | undefined): void {
    const isWanted = this.wants(info)
    if (peer !== undefined) peer.toldWish = isWanted
    const flags = (isWanted ? PresenceFlag.wanted : 0) | (peer?.isReachable === true ? PresenceFlag.up : 0)
    this.publishPresence(this.channelOf(info.origin), info.origin, flags, nonce)
  }

  private announce(flags: number): void {
    this.publishPresence(this.channels[0] as string, 0, flags, 0n)
  }

  private publishPresence(channel: string, to: number, flags: number, echo: bigint): void {
    const { region } = this.self
    const { mark, nonce } = this
    const body = encodePresence({ flags, region, nonce, echo, mark, address: this.address() })
    // Not counted against the bound: without presence nothing would ever be freed again.
    this.connection?.publish(channel, this.seal.seal(Kind.presence, to, body), false)
  }

  /** A peer that has proved to be there, and that nothing is known of yet. */
  private meet(info: PeerInfo, counter: number): Peer | undefined {
    if (this.peers.size >= peersMax) {
      const [oldest] = [...this.peers.values()].filter((peer) => !peer.isReachable)
      if (oldest === undefined) return void this.counts.refused("peers")
      this.peers.delete(oldest.info.origin)
    }
    const peer: Peer = {
      info,
      mark: undefined,
      nonce: 0n,
      wantsUs: false,
      toldWish: false,
      correctedAtTick: Number.NEGATIVE_INFINITY,
      isReachable: false,
      isUp: false,
      heardAtTick: this.ticks,
      window: new ReplayWindow(counter)
    }
    this.peers.set(info.origin, peer)
    return peer
  }

  /** Makes the link what both sides want; `tells`: the other side does not know our wish yet. */
  private decide(peer: Peer, tells: boolean): void {
    const isWanted = this.wants(peer.info)
    if (tells && isWanted !== peer.toldWish) this.answer(peer.info, peer.nonce, peer)
    if (isWanted || peer.wantsUs) {
      if (peer.isUp) return
      peer.isUp = true
      this.protect(peer, () => this.listener.onLinkUp(peer.info))
    } else if (peer.isUp) {
      this.down(peer, "unwanted")
    }
  }

  private wants(info: PeerInfo): boolean {
    try {
      return this.listener.wantsLink(info)
    } catch (error) {
      this.report(error)
      return false
    }
  }

  private lose(peer: Peer, reason: LinkLoss): void {
    peer.isReachable = false
    this.forgetPartials((partial) => partial.author === peer.info.origin)
    if (peer.isUp) this.down(peer, reason)
  }

  private down(peer: Peer, reason: LinkLoss): void {
    peer.isUp = false
    this.counts.linkLost(reason)
    this.tell(() => this.listener.onLinkDown(peer.info.origin))
  }

  private deliver(peer: Peer, frame: Uint8Array): void {
    this.counts.received(frame.length)
    this.protect(peer, () => this.listener.onFrame(frame, peer.info.origin))
  }

  /** What the listener throws ends the link in whose name it was called. */
  private protect(peer: Peer, body: () => void): void {
    try {
      body()
    } catch (error) {
      this.report(error)
      this.lose(peer, "failed")
    }
  }

  /** For calls after which there is no link that could be ended. */
  private tell(body: () => void): void {
    try {
      body()
    } catch (error) {
      this.report(error)
    }
  }

  private isTooLong(frame: Uint8Array): boolean {
    if (frame.length <= this.frameBytesMax) return false
    this.counts.lost("too long")
    return true
  }

  /** Hands a frame to the broker, in parts where it is longer than a message may be. */
  private ship(channel: string, to: number, frame: Uint8Array, isKept: boolean): void {
    const { connection, counts, seal } = this
    if (connection === undefined) return void counts.lost("down")
    if (connection.unconfirmedBytes + frame.length > this.outgoingBytesMax) return void counts.lost("full")
    counts.sent(frame.length)
    const roomBytes = connection.messageBytesMax - seal.overheadBytes
    if (frame.length <= roomBytes) {
      connection.publish(channel, seal.seal(Kind.frame, to, frame), isKept)
      return
    }
    const chunkBytes = roomBytes - partHeadBytes
    const count = Math.ceil(frame.length / chunkBytes)
    const id = ++this.partIds % 2 ** 32
    for (let index = 0; index < count; index++) {
      const head = Buffer.allocUnsafe(partHeadBytes)
      head.writeUInt32BE(id, 0)
      head.writeUInt16BE(index, 4)
      head.writeUInt16BE(count, 6)
      const chunk = frame.subarray(index * chunkBytes, (index + 1) * chunkBytes)
      connection.publish(channel, seal.seal(Kind.part, to, head, chunk), false)
    }
  }

  private onPart(peer: Peer, body: Uint8Array): void {
    if (body.length <= partHeadBytes) return void this.counts.refused("garbage")
    const view = Buffer.from(body.buffer, body.byteOffset, body.length)
    const index = view.readUInt16BE(4)
    const count = view.readUInt16BE(6)
    const chunk = body.subarray(partHeadBytes)
    // All chunks but the last are of one size, so a first look tells how long the frame will be at least.
    if (index >= count || (count - 2) * chunk.length > this.frameBytesMax) return void this.counts.refused("too long")
    const key = `${peer.info.origin}:${view.readUInt32BE(0)}`
    let partial = this.partials.get(key)
    if (partial === undefined) {
      partial = { author: peer.info.origin, count, chunks: new Map(), bytes: 0, begunAtTick: this.ticks }
      this.partials.set(key, partial)
    }
    if (partial.count !== count || partial.chunks.has(index)) return void this.counts.refused("parts")
    if (partial.bytes + chunk.length > this.frameBytesMax) {
      this.counts.refused("too long")
      return void this.forgetPartial(key, partial)
    }
    partial.chunks.set(index, chunk)
    partial.bytes += chunk.length
    this.partialBytes += chunk.length
    if (partial.chunks.size === count) {
      this.forgetPartial(key, partial)
      const { chunks } = partial
      this.deliver(peer, Buffer.concat(Array.from({ length: count }, (_, at) => chunks.get(at) as Uint8Array)))
    }
    for (const [oldestKey, oldest] of this.partials) {
      if (this.partialBytes <= 2 * this.frameBytesMax && this.partials.size <= partialsMax) break
      this.counts.refused("parts")
      this.forgetPartial(oldestKey, oldest)
    }
  }

  private forgetPartials(isForgotten: (partial: Unfinished) => boolean): void {
    for (const [key, partial] of this.partials) if (isForgotten(partial)) this.forgetPartial(key, partial)
  }

  private forgetPartial(key: string, partial: Unfinished): void {
    this.partials.delete(key)
    this.partialBytes -= partial.bytes
  }

  private channelOf(origin: number): string {
    return this.broker.channel(this.self.namespace, "to", String(origin))
  }
}

/**
 * The process that holds the connection: connects, for as long as it takes, and keeps presence going.
 *
 * A broker that is not there is not an error of ours: the log says it once, and the instance above is told, which is not
 * coherent until it is back. An instance that has never reached its broker has not joined, so it stores nothing that
 * others could have changed.
 */
const run = (bus: Bus): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { broker, options } = bus
    bus.carrier.dropped() // by the process before this one
    const report = yield* repeatedError(`coherence over ${broker.name} at ${broker.address} has failed`)
    const runtime = yield* Effect.runtime()
    bus.reportTo(report, {
      warn: (text) => Runtime.runSync(runtime)(Effect.logWarning(text)),
      info: (text) => Runtime.runSync(runtime)(Effect.logInfo(text))
    })
    const delay = Duration.decode(options.reconnectDelay ?? reconnectDelayDefault)
    const backOff = Schedule.exponential(delay).pipe(
      Schedule.union(Schedule.spaced(Duration.times(delay, reconnectDelaysMax))),
      Schedule.jittered
    )
    const isUp = yield* Effect.makeLatch()
    const live = Effect.suspend(() => {
      let wasUp = false
      const port: BusPort = {
        channels: bus.channels,
        onMessage: (message) => bus.onMessage(message),
        onKept: (message) => bus.onKept(message),
        onError: (error) => bus.onError(error),
        onDown: (cause) => {
          isUp.unsafeClose()
          bus.onDown(cause)
        },
        onUp: (connection) => {
          wasUp = true
          bus.onUp(connection)
          isUp.unsafeOpen()
        },
        leave: () => bus.leave()
      }
      return broker.connect(port).pipe(
        Effect.match({ onFailure: (error) => bus.onAway(error), onSuccess: () => bus.onAway(connectionLost) }),
        Effect.ensuring(
          Effect.sync(() => {
            isUp.unsafeClose()
            bus.disconnect()
          })
        ),
        Effect.filterOrFail(
          () => wasUp,
          () => "never up" as const
        )
      )
    })
    const connected = live.pipe(Effect.retry(backOff), Effect.zipRight(Effect.sleep(delay)), Effect.forever)
    const presence = Effect.sync(() => bus.tick()).pipe(
      Effect.delay(options.presenceInterval ?? presenceIntervalDefault),
      Effect.forever
    )
    const settled = isUp.await.pipe(
      Effect.zipRight(Effect.sleep(options.settleTime ?? settleTimeDefault)),
      Effect.zipRight(Effect.sync(() => bus.settle())),
      Effect.repeat({ until: (isDone) => isDone })
    )
    yield* Effect.all([connected, presence, settled], { concurrency: "unbounded", discard: true })
  }).pipe(Effect.orDie)

/** Where a client does not tell why it has lost its connection. */
export const connectionLost = new Error("the connection was lost")

/** The layer's way to open a bus; closing the scope ends what is left of its links. */
export const open = (
  broker: Broker,
  options: BusOptions | undefined,
  self: TransportSelf,
  listener: TransportListener
): Effect.Effect<Bus, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Bus(broker, self, listener, options)),
    (bus) => Effect.sync(() => bus.close())
  )

interface Presence {
  readonly flags: number
  readonly region: number
  readonly nonce: bigint
  /** The nonce of whom it is meant for; 0 in an announcement to all. */
  readonly echo: bigint
  readonly mark: ProcessMark | undefined
  readonly address: string
}

/** `flags u8 · region u16 · nonce 8 · echo 8 · pid u32 (0: no mark) · start 6 · space 8 · address` (UTF-8, up to the end) */
const encodePresence = ({ address, echo, flags, mark, nonce, region }: Presence): Uint8Array => {
  const name = Buffer.from(address).subarray(0, addressBytesMax)
  const bytes = Buffer.alloc(presenceHeadBytes + name.length)
  bytes.writeUInt8(flags, 0)
  bytes.writeUInt16BE(region, 1)
  bytes.writeBigUInt64BE(nonce, 3)
  bytes.writeBigUInt64BE(echo, 11)
  if (mark !== undefined) {
    bytes.writeUInt32BE(mark.pid, 19)
    bytes.writeUIntBE(mark.startTicks, 23, 6)
    bytes.write(mark.space, 29, 8, "hex")
  }
  bytes.set(name, presenceHeadBytes)
  return bytes
}

const decodePresence = (body: Uint8Array): Presence | undefined => {
  if (body.length < presenceHeadBytes || body.length > presenceHeadBytes + addressBytesMax) return undefined
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length)
  const pid = bytes.readUInt32BE(19)
  return {
    flags: bytes.readUInt8(0),
    region: bytes.readUInt16BE(1),
    nonce: bytes.readBigUInt64BE(3),
    echo: bytes.readBigUInt64BE(11),
    mark:
      pid === 0
        ? undefined
        : { pid, startTicks: bytes.readUIntBE(23, 6), space: bytes.subarray(29, 37).toString("hex") },
    address: bytes.subarray(presenceHeadBytes).toString()
  }
}

const presenceIntervalDefault = Duration.seconds(1)
const settleTimeDefault = Duration.millis(250) // a handshake is two messages; a broker a continent away takes 200 ms
const reconnectDelayDefault = Duration.millis(100)
const reconnectDelaysMax = 30 // times the first delay: 3 seconds
const outgoingBytesMaxDefault = 32 * 2 ** 20 // bytes; a value of the greatest size, and a second of everything else
const announcedEachTick = 50 // instances; up to so many, each announces itself once every tick
const silentTicksMax = 3 // announcements in a row that may be lost
const peersMax = 1_024 // the protocol's bound on members
const partialsMax = 64 // frames of which not all parts are here
const partialTicksMax = 5 // ticks that parts wait for the others
const partHeadBytes = 8
const presenceHeadBytes = 37
const addressBytesMax = 256
