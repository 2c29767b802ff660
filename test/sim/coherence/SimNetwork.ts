/**
 * A network between processes in virtual time, which does to frames what networks do: late, twice, in another order, or
 * not at all; and to links: cut in one direction or both, broken after a while, refused where no process is any more.
 *
 * It plays the part of a transport (coherence/transport/Transport.ts): each process looks round for others now and then,
 * a link comes up where both want it and both directions work, and goes down when a direction has been silent for
 * `brokenAfterMs`. Where only one wants it, as with a mesh that one has it for a moment, and does not try again soon. Whom a
 * process does not want it asks about again when it reconsiders, and not before. A bus such as NATS (`brokenAfterMs` is
 * Infinity) tells nobody of silence, and links where one of the two wants it. No frame arrives after its link is down. Who dials
 * the address of a dead process is refused, and learns that it is gone, unless its host has vanished with it.
 *
 * The fate of a frame is a hash of the seed, its link and its number on it, so that it stays the same when something
 * elsewhere in the schedule is taken out.
 */
import type { PeerInfo, TransportListener } from "../../../src/coherence/transport/Transport.ts"
import type { VirtualTime } from "./VirtualTime.ts"

/** A process as the network knows it. What is told to it goes through `take`, which may hold it back (a pause). */
export interface Process {
  readonly host: number
  readonly peer: PeerInfo
  readonly listener: TransportListener
  take(what: () => void): void
}

export interface NetworkPlan {
  readonly latencyMs: number
  /** Between regions. */
  readonly farLatencyMs: number
  readonly jitterMs: number
  /** Of 1: frames that are lost, and those that come twice, in good weather. */
  readonly loss: number
  readonly duplicates: number
  /** Frames of one link never overtake each other. */
  readonly isOrdered: boolean
  readonly dialMs: number
  /** Of silence in one direction, until both ends see the link go down. */
  readonly brokenAfterMs: number
}

export interface Weather {
  readonly loss: number
  readonly duplicates: number
  readonly jitterMs: number
}

interface Unwanted {
  readonly origin: number
  readonly untilMs: number
}

interface Link {
  readonly a: Process
  readonly b: Process
  readonly id: number
  isUp: boolean
  sentByA: number
  sentByB: number
  /** When the last frame arrives, of an ordered link. */
  lastAtA: number
  lastAtB: number
  /** Since when a direction has been cut; Infinity while both work. */
  cutAtMs: number
}

export class SimNetwork {
  readonly stats = { sent: 0, lost: 0, duplicated: 0, bytes: 0 }
  /** Told of every frame that is sent: for those who count and read along. */
  onSend: ((frame: Uint8Array) => void) | null = null
  private readonly processes: Array<Process | null>
  /** Address by address, the process that each process knows of there, also by hearsay: to find that it is gone. */
  private readonly met = new Map<Process, Array<PeerInfo | undefined>>()
  /** What each process has found gone, and hearsay does not bring back. */
  private readonly gone = new Map<Process, Set<number>>()
  /** Address by address, whom a process leaves alone: who did not want its link, or was not wanted. */
  private readonly unwanted = new Map<Process, Unwanted[]>()
  private readonly links: Array<Link | null>
  /** How many cuts there are from one host to another. */
  private readonly cuts: Uint8Array
  private readonly vanished = new Set<number>()
  private readonly weathers: Weather[] = []
  private linksMade = 0
  private isCalm = false
  private readonly lost = new Set<Process>()

  constructor(
    private readonly time: VirtualTime,
    private readonly seed: number,
    private readonly regions: readonly number[],
    private readonly plan: NetworkPlan
  ) {
    const { length } = regions
    this.processes = new Array<Process | null>(length).fill(null)
    this.links = new Array<Link | null>(length * length).fill(null)
    this.cuts = new Uint8Array(length * length)
  }

  /** A process has started: it looks round at once, and has settled after its first round. */
  start(process: Process): void {
    this.processes[process.host] = process
    this.vanished.delete(process.host)
    this.met.set(process, [])
    this.unwanted.set(process, [])
    this.gone.set(process, new Set())
    this.time.after(this.plan.latencyMs, () => {
      this.lookRound(process)
      this.time.after(this.plan.latencyMs * 4, () => this.tell(process, () => process.listener.onSettled()))
    })
  }

  /** The process ends. Its peers see their links go down, and are refused when they dial; or its host is lost with it. */
  end(process: Process, hostVanishes: boolean): void {
    const { host } = process
    this.processes[host] = null
    this.met.delete(process)
    this.unwanted.delete(process)
    this.gone.delete(process)
    if (hostVanishes) {
      this.vanished.add(host)
      this.lost.add(process)
    }
    for (let other = 0; other < this.processes.length; other++) {
      const link = this.linkOf(host, other)
      if (link === null) continue
      this.setLink(host, other, null)
      const peer = link.a === process ? link.b : link.a
      const silentMs = hostVanishes || this.isCut(host, other) ? this.plan.brokenAfterMs : this.plan.latencyMs
      if (silentMs !== Number.POSITIVE_INFINITY) {
        this.time.after(silentMs, () => this.tell(peer, () => peer.listener.onLinkDown(process.peer.origin)))
      }
    }
  }

  cut(from: number, to: number): void {
    const at = from * this.regions.length + to
    this.cuts[at] = (this.cuts[at] as number) + 1
    const link = this.linkOf(from, to)
    if (link !== null && link.cutAtMs === Number.POSITIVE_INFINITY) link.cutAtMs = this.time.nowMs
  }

  mend(from: number, to: number): void {
    const at = from * this.regions.length + to
    this.cuts[at] = (this.cuts[at] as number) - 1
    const link = this.linkOf(from, to)
    if (link !== null && !this.isCut(from, to) && !this.isCut(to, from)) link.cutAtMs = Number.POSITIVE_INFINITY
  }

  /** Worse weather than usual; the latest holds. */
  begin(weather: Weather): void {
    if (!this.isCalm) this.weathers.push(weather)
  }

  clear(weather: Weather): void {
    const index = this.weathers.indexOf(weather)
    if (index >= 0) this.weathers.splice(index, 1)
  }

  /** From now on the weather is good, and stays so. */
  calm(): void {
    this.weathers.length = 0
    this.weathers.push({ loss: 0, duplicates: 0, jitterMs: this.plan.jitterMs })
    this.isCalm = true
  }

  /** `told` will never be told that this process has ended: its host has gone with it, or its address is not known. */
  hasVanished(process: Process, told: Process): boolean {
    if (this.lost.has(process) || (this.vanished.has(process.host) && !this.isThere(process))) return true
    const { origin } = process.peer
    return !this.gone.get(told)?.has(origin) && this.met.get(told)?.[process.host]?.origin !== origin
  }

  isLinked(a: number, b: number): boolean {
    return this.linkOf(a, b) !== null
  }

  /** The longest that a frame takes which arrives, unless its receiver is paused. */
  get delayMsMax(): number {
    const jitterMs = this.weathers.reduce((most, weather) => Math.max(most, weather.jitterMs), this.plan.jitterMs)
    return Math.max(this.plan.latencyMs, this.plan.farLatencyMs) + jitterMs
  }

  send(from: Process, to: number, frame: Uint8Array): boolean {
    for (let host = 0; host < this.processes.length; host++) {
      const process = this.processes[host]
      if (process?.peer.origin !== to) continue
      const link = this.linkOf(from.host, host)
      if (link === null) return false
      this.carry(link, from, process, frame)
      return true
    }
    return false
  }

  /** To all that are linked with it. */
  broadcast(from: Process, frame: Uint8Array): void {
    for (let host = 0; host < this.processes.length; host++) {
      const link = this.linkOf(from.host, host)
      if (link !== null) this.carry(link, from, link.a === from ? link.b : link.a, frame)
    }
  }

  /** A process thinks again about whom it wants links with. */
  reconsider(process: Process): void {
    this.time.after(this.plan.latencyMs, () => {
      if (!this.isThere(process)) return
      this.unwanted.set(process, [])
      for (let host = 0; host < this.processes.length; host++) {
        const link = this.linkOf(process.host, host)
        if (link !== null && !this.isWanted(link, process)) this.breakOff(link)
      }
      this.meetAll(process)
    })
  }

  private carry(link: Link, from: Process, to: Process, frame: Uint8Array): void {
    this.stats.sent++
    this.stats.bytes += frame.length
    this.onSend?.(frame)
    const isFromA = link.a === from
    const number = isFromA ? ++link.sentByA : ++link.sentByB
    if (this.isCut(from.host, to.host)) {
      this.stats.lost++
      return
    }
    const weather = this.weathers.length === 0 ? this.plan : (this.weathers[this.weathers.length - 1] as Weather)
    const fate = mixed(this.seed + link.id * 2 + (isFromA ? 1 : 0), number)
    if (weather.loss > 0 && (fate & 0xffff) < weather.loss * 0x10000) {
      this.stats.lost++
      return
    }
    const isFar = this.regions[from.host] !== this.regions[to.host]
    const latencyMs = isFar ? this.plan.farLatencyMs : this.plan.latencyMs
    const jitter = mixed(fate, 1)
    let atMs = this.time.nowMs + latencyMs + ((jitter & 0xffff) / 0x10000) * weather.jitterMs
    if (this.plan.isOrdered) {
      if (isFromA) atMs = link.lastAtA = Math.max(atMs, link.lastAtA)
      else atMs = link.lastAtB = Math.max(atMs, link.lastAtB)
    }
    this.arrive(link, frame, from, to, atMs)
    if (weather.duplicates > 0 && fate >>> 16 < weather.duplicates * 0x10000) {
      this.stats.duplicated++
      this.arrive(link, frame, from, to, atMs + ((jitter >>> 16) / 0x10000) * (weather.jitterMs + latencyMs))
    }
  }

  private arrive(link: Link, frame: Uint8Array, from: Process, to: Process, atMs: number): void {
    this.time.at(atMs, () => {
      if (!link.isUp || !this.isThere(to)) return
      to.take(() => to.listener.onFrame(frame, from.peer.origin))
    })
  }

  private tell(process: Process, what: () => void): void {
    if (this.isThere(process)) process.take(what)
  }

  private isThere(process: Process): boolean {
    return this.processes[process.host] === process
  }

  private lookRound(process: Process): void {
    if (!this.isThere(process)) return
    this.meetAll(process)
    const spreadMs = ((mixed(this.seed, process.host) & 0xff) / 0x100) * this.plan.dialMs
    this.time.after(this.plan.dialMs + spreadMs / 4, () => this.lookRound(process))
  }

  private meetAll(process: Process): void {
    for (let host = 0; host < this.processes.length; host++) {
      if (host !== process.host) this.meet(process, host)
    }
  }

  /** What the process finds out about another address. */
  private meet(process: Process, host: number): void {
    const link = this.linkOf(process.host, host)
    const peer = this.processes[host] ?? null
    const met = this.met.get(process) as Array<PeerInfo | undefined>
    if (link !== null) {
      if (this.time.nowMs - link.cutAtMs >= this.plan.brokenAfterMs) this.breakOff(link)
      return
    }
    if (this.isCut(process.host, host) || this.isCut(host, process.host) || this.vanished.has(host)) return
    const before = met[host]
    if (before !== undefined && before.origin !== peer?.peer.origin) {
      met[host] = undefined
      this.findGone(process, before.origin)
    }
    if (peer === null) return
    met[host] = peer.peer
    const unwanted = this.unwanted.get(process) as Unwanted[]
    const { origin = 0, untilMs = 0 } = unwanted[host] ?? {}
    if (origin === peer.peer.origin && this.time.nowMs < untilMs) return
    const isWanted = process.listener.wantsLink(peer.peer)
    const isWantedByPeer = peer.listener.wantsLink(process.peer)
    if (!isWanted && !(this.isBus && isWantedByPeer)) {
      unwanted[host] = { origin: peer.peer.origin, untilMs: Number.POSITIVE_INFINITY }
      return
    }
    const metByPeer = this.met.get(peer) as Array<PeerInfo | undefined>
    const beforeByPeer = metByPeer[process.host]
    metByPeer[process.host] = process.peer
    if (beforeByPeer !== undefined && beforeByPeer.origin !== process.peer.origin) {
      this.findGone(peer, beforeByPeer.origin)
    }
    this.gossip(process, peer)
    this.gossip(peer, process)
    if (!this.isBus && !isWantedByPeer) {
      unwanted[host] = { origin: peer.peer.origin, untilMs: this.time.nowMs + this.plan.dialMs * unwantedDials }
      this.tell(process, () => process.listener.onLinkUp(peer.peer))
      this.time.after(this.plan.latencyMs, () => {
        if (this.linkOf(process.host, host) !== null) return
        this.tell(process, () => process.listener.onLinkDown(peer.peer.origin))
      })
      return
    }
    const id = ++this.linksMade
    this.setLink(process.host, host, {
      a: process,
      b: peer,
      id: mixed(process.peer.origin >>> 0, mixed(peer.peer.origin >>> 0, id)),
      isUp: true,
      sentByA: 0,
      sentByB: 0,
      lastAtA: 0,
      lastAtB: 0,
      cutAtMs: Number.POSITIVE_INFINITY
    })
    this.tell(process, () => process.listener.onLinkUp(peer.peer))
    this.tell(peer, () => peer.listener.onLinkUp(process.peer))
  }

  private findGone(process: Process, origin: number): void {
    this.gone.get(process)?.add(origin)
    this.tell(process, () => process.listener.onGone(origin))
  }

  /** Who is linked hears where others are. */
  private gossip(from: Process, to: Process): void {
    const known = this.met.get(to) as Array<PeerInfo | undefined>
    for (const [host, peer] of (this.met.get(from) ?? []).entries()) {
      if (peer === undefined || host === to.host || this.gone.get(to)?.has(peer.origin)) continue
      known[host] ??= peer
    }
  }

  private isWanted({ a, b }: Link, by: Process): boolean {
    const other = by === a ? b : a
    return by.listener.wantsLink(other.peer) || (this.isBus && other.listener.wantsLink(by.peer))
  }

  private breakOff({ a, b }: Link): void {
    this.setLink(a.host, b.host, null)
    this.tell(a, () => a.listener.onLinkDown(b.peer.origin))
    this.tell(b, () => b.listener.onLinkDown(a.peer.origin))
  }

  private get isBus(): boolean {
    return this.plan.brokenAfterMs === Number.POSITIVE_INFINITY
  }

  private isCut(from: number, to: number): boolean {
    return (this.cuts[from * this.regions.length + to] as number) > 0
  }

  private linkOf(a: number, b: number): Link | null {
    return this.links[a * this.regions.length + b] as Link | null
  }

  private setLink(a: number, b: number, link: Link | null): void {
    const before = this.linkOf(a, b)
    if (before !== null) before.isUp = false
    this.links[a * this.regions.length + b] = link
    this.links[b * this.regions.length + a] = link
  }
}

const unwantedDials = 5 // rounds; a mesh waits for 5 seconds and more

/** 32 bits of two numbers, well mixed. [1] The finalizer of MurmurHash3, Austin Appleby. */
export const mixed = (a: number, b: number): number => {
  let mix = (a ^ Math.imul(b + 0x9e3779b9, 0x85ebca6b)) >>> 0
  mix = Math.imul(mix ^ (mix >>> 16), 0x85ebca6b)
  mix = Math.imul(mix ^ (mix >>> 13), 0xc2b2ae35)
  return (mix ^ (mix >>> 16)) >>> 0
}
