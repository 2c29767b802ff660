/**
 * One member of the mesh: its links, whom it dials, and what it tells the listener above. Synchronous; the processes of
 * Mesh.ts own its sockets and call `tick`.
 *
 * At most one link a peer. When both ends dial at once, the link that the lower origin began is kept; of two that one
 * end began, the newer. Both ends decide alike, and the other link is still read for a moment, so that nothing is lost.
 */
import { connect, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import type { PeerInfo, TransportListener, TransportSelf } from "../Transport.ts"
import { formatAddress, isLoopback, parseAddress, plainHost } from "./address.ts"
import { TransportCounts } from "./counts.ts"
import { type HandshakeFailure, type Shaken, shakeHands } from "./meshHandshake.ts"
import { type LinkEnd, type LinkListener, MeshLink } from "./meshLink.ts"
import { claimOf, decodeBeacon, encodeBeacon, namespaceIdOf } from "./meshWire.ts"
import { type Dial, PeerBook, type Source, type Target } from "./peerBook.ts"
import { strangerText } from "./stranger.ts"

export interface TlsFiles {
  /** PEM. */
  readonly key: string | Buffer
  readonly cert: string | Buffer
  /** Who has signed the members' certificates; each end asks for the other's. */
  readonly ca: string | Buffer
}

export interface NodeOptions {
  readonly seeds: ReadonlyArray<string>
  /** What others are told to dial, if it is not where this instance listens: a host, or `host:port`. */
  readonly advertise: string | undefined
  readonly tls: TlsFiles | undefined
  readonly frameBytesMax: number
  readonly queueBytesMax: number
  readonly handshakeTimeoutMs: number
  readonly livenessMs: number
  readonly beaconMs: number
  readonly random: () => number
  readonly nowMs: () => number
}

/** What the processes of the mesh do for it while they live. */
export interface Keeper {
  /** Gives the link a process. */
  onLink(link: MeshLink): void
  /** `tick` is due now. */
  wake(): void
  warn(text: string): void
  /** What the listener above threw where no link is to blame. */
  crash(defect: unknown): void
}

export class MeshNode implements LinkListener {
  readonly self: TransportSelf
  readonly options: NodeOptions
  readonly counts: TransportCounts
  readonly book: PeerBook
  readonly namespaceId: Buffer
  readonly #listener: TransportListener
  readonly #links = new Map<number, MeshLink>()
  /** Those in use, those that are read for a last moment, and those that are on their way out. */
  readonly #allLinks = new Set<MeshLink>()
  readonly #accepting = new Set<() => void>()
  readonly #dialing = new Set<() => void>()
  readonly #warned = new Set<string>()
  /** Lines about addresses that it was given: bounded by how many these are. */
  readonly #warnedOfSeeds = new Set<string>()
  /** Who has another secret and was warned of: their origins, and the lines. */
  readonly #strangers = new Set<number | string>()
  #keeper: Keeper | null = null
  #bound: { readonly host: string; readonly port: number } | null = null
  #dialsBegun = 0
  #keepAliveAtMs = 0
  #isReconsidering = false
  #round: { readonly beaconUntilMs: number; readonly endsAtMs: number; isNamed: boolean } | null = null
  #lastUpAtMs = 0
  #isSettled = false

  constructor(self: TransportSelf, listener: TransportListener, options: NodeOptions) {
    this.self = self
    this.options = options
    this.#listener = listener
    this.namespaceId = namespaceIdOf(self.namespace)
    this.counts = new TransportCounts(() => this.#links.size)
    this.book = new PeerBook({ random: options.random, targetsMax })
    for (const seed of options.seeds) this.book.note(seed, "seed", null, 0)
  }

  get isSecured(): boolean {
    return this.self.secret !== undefined
  }

  // ——— for the transport's users

  send(to: number, frame: Uint8Array): boolean {
    const link = this.#links.get(to)
    if (link === undefined || !link.isOpen || frame.length > this.options.frameBytesMax) {
      this.counts.lost(frame.length > this.options.frameBytesMax ? "too long" : "no link")
      return false
    }
    link.sendFrame(MeshLink.frame(frame), frame.length)
    return true
  }

  broadcast(frame: Uint8Array): void {
    if (frame.length > this.options.frameBytesMax) {
      this.counts.lost("too long")
      return
    }
    if (this.#links.size === 0) return
    const record = MeshLink.frame(frame)
    for (const link of this.#links.values()) link.sendFrame(record, frame.length)
  }

  links(): PeerInfo[] {
    return Array.from(this.#links.values(), (link) => link.peer)
  }

  reconsider(): void {
    if (this.#isReconsidering) return
    this.#isReconsidering = true
    setImmediate(() => {
      this.#isReconsidering = false
      if (this.#keeper === null) return
      this.#guarded(() => {
        for (const link of [...this.#links.values()]) {
          if (!this.#listener.wantsLink(link.peer)) this.#partUnwanted(link)
        }
      })
      this.book.reconsider(this.options.nowMs())
      this.#keeper?.wake()
    })
  }

  /** For people; what others are told is `toldAddress`. */
  address(): string | undefined {
    const told = this.toldAddress()
    return told.startsWith(":") && this.#bound !== null
      ? formatAddress(this.#bound.host, this.#bound.port)
      : told || undefined
  }

  // ——— for its processes

  keep(keeper: Keeper): void {
    this.#keeper = keeper
  }

  /** The keeper ends: what it owns goes with it. */
  abandon(): void {
    this.#keeper = null
    for (const giveUp of this.#dialing) giveUp()
    this.#dialing.clear()
    for (const target of this.book.targets.values()) target.isDialing = false
  }

  /** The port that it has, or had: one that listens again wants the same. */
  get boundPort(): number | null {
    return this.#bound?.port ?? null
  }

  listens(host: string, port: number): void {
    this.#bound = { host, port }
  }

  /** A connection has come in. */
  accept(socket: Socket): void {
    socket.setNoDelay(true)
    if (this.#allLinks.size >= linksMax) {
      this.counts.refused("crowded")
      discard(socket)
      return
    }
    if (this.#accepting.size >= acceptingMax) this.#giveUpOldest()
    const host = plainHost(socket.remoteAddress ?? "")
    const giveUp = this.#shake(socket, "acceptor", 0, false, (outcome) => {
      this.#accepting.delete(giveUp)
      if (!("agreement" in outcome)) {
        this.#countFailure(outcome)
        if (outcome.by === "us" && outcome.reason === "secret" && outcome.theirs !== undefined) {
          this.#warnOfStranger(placeOf(outcome.theirs.address, host), outcome.theirs.origin)
        }
      } else if (outcome.isProbe) discard(socket)
      else this.#adopt(socket, outcome, null)
    })
    this.#accepting.add(giveUp)
  }

  /** Who proves itself does so at once: who has waited longest to do it is the least likely to be a member. */
  #giveUpOldest(): void {
    const [giveUp] = this.#accepting
    if (giveUp === undefined) return
    this.counts.refused("crowded")
    this.#accepting.delete(giveUp)
    giveUp()
  }

  /** The listener process ends: those who have not proved themselves go with it. */
  stopAccepting(): void {
    for (const giveUp of this.#accepting) giveUp()
    this.#accepting.clear()
  }

  /** The round of discovery whose end is told begins. */
  beginRound(hasBeacon: boolean, isNamed: boolean): void {
    const nowMs = this.options.nowMs()
    this.#round ??= {
      beaconUntilMs: nowMs + (hasBeacon ? this.options.beaconMs : 0),
      endsAtMs: nowMs + roundMsMax,
      isNamed
    }
    this.#keeper?.wake()
  }

  /** The name server has answered, or has not. */
  onNames(addresses: ReadonlyArray<string>): void {
    for (const address of addresses) this.#note(address, "dns", null)
    if (this.#round !== null) this.#round.isNamed = true
    this.#keeper?.wake()
  }

  beacon(): Buffer {
    const { origin, region, secret } = this.self
    return encodeBeacon(this.namespaceId, secret, { origin, region, address: this.toldAddress() })
  }

  onDatagram(bytes: Buffer, fromHost: string): void {
    const { secret, origin } = this.self
    const news = decodeBeacon(this.namespaceId, secret, bytes)
    if (news === null) return
    if (typeof news === "string") {
      this.counts.refused(`beacon ${news}`)
      if (news === "forged") {
        const { address, origin: claimed } = claimOf(bytes)
        this.#warnOfStranger(placeOf(address, plainHost(fromHost)), claimed)
      }
      return
    }
    if (news.origin === origin || this.#links.has(news.origin)) return
    const address = completed(news.address, fromHost)
    if (address !== null && this.#note(address, "beacon", news)) this.#keeper?.wake()
  }

  /** Does what is due, and answers in how many ms it wants to be called again. */
  tick(): number {
    const nowMs = this.options.nowMs()
    if (this.#round === null) return tickMsMax
    this.#guarded(() => {
      const room = dialingMax - this.#dialing.size
      for (const dial of this.book.due(nowMs, room, (peer) => this.#listener.wantsLink(peer))) this.#dial(dial)
    })
    const keepAliveEveryMs = this.options.livenessMs / 6
    if (nowMs >= this.#keepAliveAtMs) {
      this.#keepAliveAtMs = nowMs + keepAliveEveryMs
      for (const link of [...this.#allLinks]) link.keepAlive(nowMs)
    }
    if (!this.#isSettled) this.#settle(nowMs)
    const nextMs = Math.min(this.#keepAliveAtMs, this.#dialing.size < dialingMax ? this.book.nextDueMs() : nowMs + 10)
    return Math.max(1, Math.min(this.#isSettled ? tickMsMax : settleEveryMs, nextMs - nowMs))
  }

  /** Ends all links in order. */
  close(): void {
    this.#keeper = null
    for (const link of [...this.#allLinks]) link.bye("closed")
  }

  // ——— for its links

  onFrame(link: MeshLink, frame: Buffer): void {
    if (this.#links.has(link.peer.origin)) this.#listener.onFrame(frame, link.peer.origin)
  }

  onMembers(link: MeshLink, members: ReadonlyArray<PeerInfo>): void {
    const isFar = !isLoopback(link.remoteHost)
    for (const member of members) {
      const address = parseAddress(member.address)
      if (address === null || member.origin === this.self.origin) continue
      // The loopback address of another host would be this one's.
      if (isFar && isLoopback(address.host)) continue
      this.#note(member.address, "gossip", member)
    }
    this.#keeper?.wake()
  }

  onEnd(link: MeshLink, end: LinkEnd): void {
    this.#allLinks.delete(link)
    this.counts.linkLost(end)
    const { origin } = link.peer
    if (this.#links.get(origin) !== link) return
    this.#links.delete(origin)
    this.book.onLinkDown(origin, end === "unwanted", this.options.nowMs())
    this.#guarded(() => this.#listener.onLinkDown(origin))
    this.#keeper?.wake()
  }

  // ——— dialing

  #dial({ target, isProbe }: Dial): void {
    const address = parseAddress(target.address)
    if (address === null) return
    const { tls } = this.options
    const where = { host: address.host, port: address.port }
    const socket =
      tls === undefined ? connect(where) : connectTls({ ...where, ...tls, checkServerIdentity: () => undefined })
    socket.setNoDelay(true)
    let isInsecure = false
    if (!this.isSecured) {
      socket.once("connect", () => {
        isInsecure = !isLoopback(socket.remoteAddress ?? "")
        if (isInsecure) socket.destroy()
      })
    }
    const giveUp = this.#shake(socket, "dialer", ++this.#dialsBegun, isProbe, (outcome) => {
      this.#dialing.delete(giveUp)
      const nowMs = this.options.nowMs()
      if ("agreement" in outcome) {
        this.#tellGone(this.book.onAnswer(target, outcome.theirs))
        if (isProbe) discard(socket)
        else this.#adopt(socket, outcome, target.address)
      } else if (outcome.reason === "self") this.book.onSelf(target, nowMs)
      else {
        if (isInsecure) this.counts.refused("insecure")
        else this.#countFailure(outcome)
        const gone = this.book.onFailure(target, isRefusedConnection(outcome), nowMs)
        if (!target.isGrave) this.#warnOf(target, isInsecure ? "insecure" : outcome)
        this.#tellGone(gone)
      }
      this.#keeper?.wake()
    })
    this.#dialing.add(giveUp)
  }

  #shake(
    socket: Socket,
    role: "dialer" | "acceptor",
    dial: number,
    isProbe: boolean,
    onDone: (outcome: Shaken | HandshakeFailure) => void
  ): () => void {
    const timeoutMs = this.options.handshakeTimeoutMs
    return shakeHands(socket, { self: this.self, role, dial, isProbe, timeoutMs, address: this.toldAddress() }, onDone)
  }

  #countFailure(failure: HandshakeFailure): void {
    if (failure.by === "us") this.counts.refused(failure.reason)
    else if (failure.reason !== "closed" && failure.reason !== "error")
      this.counts.refused(`by peer: ${failure.reason}`)
  }

  #warnOf(target: Target, failure: HandshakeFailure | "insecure"): void {
    const { address } = target
    if (failure === "insecure") {
      this.#warnOnce(
        `the member at ${address} is on another host, and without a secret only members on this host are linked`
      )
    } else if (failure.reason === "secret") {
      this.#warnOfStranger(address, failure.by === "us" ? failure.theirs?.origin : undefined)
    } else if (whyWords[failure.reason] !== undefined) {
      this.#warnOnce(`the member at ${address} ${whyWords[failure.reason]}`)
    } else if (target.source === "seed" && !target.isVerified && target.attempts >= seedAttempts(failure)) {
      const text = `the peer ${address} does not answer (${silenceOf(failure)}): trying again`
      this.#warnOnce(text, this.#warnedOfSeeds, reasonsMax * this.options.seeds.length)
    }
  }

  /** Once for each address, and each process. */
  #warnOfStranger(address: string, origin: number | undefined): void {
    const text = strangerText(`at ${address}`, this.self.namespace)
    if (this.#strangers.size >= strangersMax || this.#strangers.has(text)) return
    if (origin !== undefined && this.#strangers.has(origin)) return
    this.#strangers.add(text)
    if (origin !== undefined) this.#strangers.add(origin)
    this.#keeper?.warn(text)
  }

  #warnOnce(text: string, warned = this.#warned, linesMax = warnedMax): void {
    if (warned.has(text) || warned.size >= linesMax) return
    warned.add(text)
    this.#keeper?.warn(text)
  }

  // ——— links

  #adopt(socket: Socket, shaken: Shaken, dialedAddress: string | null): void {
    const keeper = this.#keeper
    if (keeper === null) {
      discard(socket)
      return
    }
    const remoteHost = plainHost(socket.remoteAddress ?? "")
    const { origin, region, address } = shaken.theirs
    const claimed = completed(address, remoteHost)
    const told = claimed !== null && this.#isAllowed(claimed) ? claimed : null
    const nowMs = this.options.nowMs()
    const link = new MeshLink({
      socket,
      peer: { origin, region, address: told ?? formatAddress(remoteHost, socket.remotePort ?? 0) },
      shaken,
      remoteHost,
      isSecured: this.isSecured,
      limits: this.options,
      counts: this.counts,
      listener: this,
      nowMs
    })
    this.#allLinks.add(link)
    keeper.onLink(link)
    const before = this.#links.get(origin)
    if (before?.isOpen === true) {
      const isKept = this.#isPreferred(link, before)
      if (isKept) this.#links.set(origin, link)
      link.start()
      const other = isKept ? before : link
      setTimeout(() => other.bye("duplicate"), lastReadMs).unref()
      return
    }
    before?.cut("lost")
    if (!this.#guarded(() => this.#listener.wantsLink(link.peer))) {
      this.book.onLinkDown(origin, true, nowMs)
      this.#partUnwanted(link)
      link.start()
      return
    }
    this.#links.set(origin, link)
    this.#lastUpAtMs = nowMs
    const isHere = isLoopback(remoteHost) && told !== null && isLoopback(parseAddress(told)?.host ?? "")
    this.book.onLinkUp(link.peer, told ?? dialedAddress, isHere, nowMs)
    if (told !== null) this.book.own(told)
    // Before the listener above can speak of it: whoever hears of it can then look whether it is still there.
    for (const other of this.#links.values()) if (other !== link) other.sendMembers(this.#tellable([link.peer], other))
    try {
      this.#listener.onLinkUp(link.peer)
    } catch (defect) {
      link.crash(defect)
      return
    }
    link.sendMembers(this.#membersFor(link))
    link.start()
    keeper.wake()
  }

  #isPreferred(link: MeshLink, before: MeshLink): boolean {
    const dialer = link.dialer(this.self.origin)
    const dialerBefore = before.dialer(this.self.origin)
    return dialer === dialerBefore ? link.dial > before.dial : dialer < dialerBefore
  }

  /** It is told of the others, whom it may want more. */
  #partUnwanted(link: MeshLink): void {
    link.sendMembers(this.#membersFor(link))
    link.bye("unwanted")
  }

  #membersFor(link: MeshLink): PeerInfo[] {
    const members = new Map<number, PeerInfo>()
    for (const { peer } of this.#links.values()) members.set(peer.origin, peer)
    for (const { origin, region, address, isVerified, claims } of this.book.targets.values()) {
      for (const each of claims) if (!members.has(each)) members.set(each, { origin: each, region, address })
      if (isVerified && origin !== null && !members.has(origin)) members.set(origin, { origin, region, address })
    }
    return this.#tellable([...members.values()], link)
  }

  /** Those of which the peer can make something: the loopback address of another host would be its own. */
  #tellable(members: readonly PeerInfo[], { peer, remoteHost }: MeshLink): PeerInfo[] {
    const isFar = !isLoopback(remoteHost)
    return members.filter(
      ({ origin, address }) => origin !== peer.origin && (!isFar || !isLoopback(parseAddress(address)?.host ?? ""))
    )
  }

  // ——— the rest

  #note(address: string, source: Source, peer: { origin: number; region: number } | null): boolean {
    if (source !== "dns" && !this.#isAllowed(address)) {
      this.counts.refused("insecure")
      return false
    }
    return this.book.note(address, source, peer, this.options.nowMs())
  }

  /** Without a secret anybody on this host may tell of addresses: then none beyond it is so much as connected with. */
  #isAllowed(address: string): boolean {
    return this.isSecured || isLoopback(parseAddress(address)?.host ?? "")
  }

  #tellGone(origins: readonly number[]): void {
    for (const origin of origins) {
      this.#links.get(origin)?.cut("lost")
      this.#guarded(() => this.#listener.onGone(origin))
    }
  }

  #settle(nowMs: number): void {
    const round = this.#round
    if (round === null) return
    const isOver =
      nowMs >= round.beaconUntilMs &&
      round.isNamed &&
      this.book.isExplored(nowMs) &&
      nowMs - this.#lastUpAtMs >= gossipMs
    if (!isOver && nowMs < round.endsAtMs) return
    this.#isSettled = true
    this.#guarded(() => this.#listener.onSettled())
  }

  /** What the listener above throws is the crash of the keeper, and of nobody's socket. */
  #guarded<A>(tell: () => A): A | undefined {
    try {
      return tell()
    } catch (defect) {
      this.#keeper?.crash(defect)
      return undefined
    }
  }

  /** What others are told: the host is empty where they know better, everything while it does not listen. */
  toldAddress(): string {
    const { advertise } = this.options
    if (this.#bound === null) return ""
    const { host, port } = this.#bound
    if (advertise !== undefined) return parseAddress(advertise) === null ? formatAddress(advertise, port) : advertise
    return formatAddress(isEverywhere(host) ? "" : host, port)
  }
}

/** `told` with the host from which it came, if it has none of its own; null when it is no address. */
const completed = (told: string, fromHost: string): string | null => {
  const address = parseAddress(told)
  return address === null ? null : formatAddress(address.host || plainHost(fromHost), address.port)
}

/** Where somebody is who proves nothing: of what it says only the port is taken over, into a log for instance. */
const placeOf = (told: string, fromHost: string): string => {
  const address = parseAddress(told)
  return address === null ? fromHost : formatAddress(fromHost, address.port)
}

const isEverywhere = (host: string): boolean => host === "0.0.0.0" || host === "::"

const isRefusedConnection = (failure: HandshakeFailure): boolean => "code" in failure && failure.code === "ECONNREFUSED"

const discard = (socket: Socket): void => {
  socket.on("error", ignore)
  socket.destroy()
}

const ignore = (): void => {}

/** What an operator should know of; the rest is for counters. */
const whyWords: Readonly<Record<string, string>> = {
  namespace: "is of another namespace",
  version: "speaks a version that is too far from this one",
  garbage: "is no member: what it says makes no sense"
}

const silenceOf = (failure: HandshakeFailure): string => {
  if (failure.by === "them" && failure.code !== undefined) return failure.code
  return failure.reason === "slow" ? "nothing came in time" : `the connection ended: ${failure.reason}`
}

/**
 * How often a given address is tried before there is a line about it. Members are started together, so of one that
 * refuses connections it takes about a second (the back-off of PeerBook); what takes its time to fail needs no more.
 */
const seedAttempts = (failure: HandshakeFailure): number => (isRefusedConnection(failure) ? 6 : 2)

const linksMax = 1_024 // connections; above 48 members relays keep it far below
const acceptingMax = 128 // connections that have not proved themselves
const dialingMax = 32
const targetsMax = 2_048 // addresses
const warnedMax = 64
const strangersMax = 128 // lines and origins; who forges can name any
const reasonsMax = 8 // for which one address does not answer, mostly one or two
const lastReadMs = 500 // for what was sent on a link before both ends knew of the better one
const gossipMs = 20 // after a link came up: its list of members is on the way
const settleEveryMs = 10
const roundMsMax = 1_500 // for addresses that neither answer nor refuse
const tickMsMax = 1_000
