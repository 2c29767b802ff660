/**
 * What one member of the mesh knows of the others: where they are, which of them to dial when, and who is gone. Pure and
 * synchronous: time and randomness are passed in.
 *
 * A *target* is an address. Seeds stay for ever; what a name server, a beacon or gossip has told is given up when it
 * does not answer, unless a member that was linked is known to be there: that one is tried until it answers or is gone.
 *
 * Gone. A TCP port belongs to one process. So when an address at which a member *has answered* refuses connections, the
 * member's process has ended: two refusals, a moment apart, so that a listener that is being restarted is not taken for
 * it. An address that answers with another member has lost the first. An address on another host that never answered
 * proves nothing: it may be that of a router in between. That is why the address of who dialed us is dialed once, to ask
 * who is there (`isProbe`).
 * A seed that is a name may stand for several (`isShared`), now one and now another: nothing there proves an end, unless a
 * member says that it is its own.
 * Refusals can lie (a firewall that answers for others), so the address of the gone is looked at for some minutes more.
 */
import type { PeerInfo } from "../Transport.ts"
import { isLoopback, isName, parseAddress } from "./address.ts"

export type Source = "seed" | "dns" | "beacon" | "gossip" | "peer"

export interface Target {
  readonly address: string
  readonly source: Source
  /** Who has answered there, or is said to be there. */
  origin: number | null
  region: number
  /** `origin` has answered there. */
  isVerified: boolean
  /** Who has said to listen there, or is said to by others, before anybody has looked. At most `claimsMax`. */
  readonly claims: Set<number>
  isDialing: boolean
  /** Tries since it answered last. */
  attempts: number
  /** Whether any try has come to its end. */
  isTried: boolean
  refusals: number
  /** Somebody who is gone was there. */
  isGrave: boolean
  /** It may lead to one process now and to another one later. */
  isShared: boolean
  nextAtMs: number
}

export interface Dial {
  readonly target: Target
  readonly isProbe: boolean
}

export interface PeerBookOptions {
  readonly random: () => number
  readonly targetsMax: number
}

export class PeerBook {
  readonly #options: PeerBookOptions
  readonly #targets = new Map<string, Target>()
  /** Members that were linked at some time and are not gone. */
  readonly #members = new Set<number>()
  readonly #linked = new Set<number>()
  readonly #gone = new Set<number>()

  constructor(options: PeerBookOptions) {
    this.#options = options
  }

  get targets(): ReadonlyMap<string, Target> {
    return this.#targets
  }

  /** Somebody says that a member is there. False when the book is full, or knows better. */
  note(address: string, source: Source, peer: { origin: number; region: number } | null, nowMs: number): boolean {
    if (peer !== null && source === "gossip" && this.#gone.has(peer.origin)) return false
    const known = this.#targets.get(address)
    if (known !== undefined) {
      if (peer === null || known.origin === peer.origin) return true
      this.#claim(known, peer.origin)
      // An address that has been given to another process: who is there now says so itself.
      if (known.origin === null) {
        known.origin = peer.origin
        known.region = peer.region
      } else if (source === "gossip") known.nextAtMs = Math.min(known.nextAtMs, nowMs)
      return true
    }
    if (this.#targets.size >= this.#options.targetsMax) return false
    this.#targets.set(address, {
      address,
      source,
      origin: peer?.origin ?? null,
      region: peer?.region ?? 0,
      isVerified: false,
      claims: new Set(peer === null ? [] : [peer.origin]),
      isDialing: false,
      attempts: 0,
      isTried: false,
      refusals: 0,
      isGrave: false,
      isShared: source === "seed" && isName(parseAddress(address)?.host ?? ""),
      nextAtMs: nowMs
    })
    return true
  }

  /** What is to be dialed now, at most `limit`; `isWanted` is asked for those whose origin is known. */
  due(nowMs: number, limit: number, isWanted: (peer: PeerInfo) => boolean): Dial[] {
    const dials: Dial[] = []
    // Of the addresses of one member, one at a time.
    const begun = new Set<number | null>()
    for (const { isDialing, origin } of this.#targets.values()) if (isDialing) begun.add(origin)
    for (const target of this.#targets.values()) {
      if (dials.length >= limit) break
      if (target.isDialing || target.nextAtMs > nowMs) continue
      const { origin, address, region } = target
      const isLinked = origin !== null && this.#linked.has(origin)
      if (isLinked && target.isVerified && target.claims.size === 0) {
        target.nextAtMs = Number.POSITIVE_INFINITY
        continue
      }
      if (origin !== null && !isLinked) {
        if (begun.has(origin)) continue
        if (!isWanted({ origin, region, address })) {
          target.nextAtMs = Number.POSITIVE_INFINITY
          continue
        }
        begun.add(origin)
      }
      target.isDialing = true
      dials.push({ target, isProbe: isLinked })
    }
    return dials
  }

  /** When `due` is worth a call again; Infinity for never. */
  nextDueMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const target of this.#targets.values()) if (!target.isDialing) next = Math.min(next, target.nextAtMs)
    return next
  }

  /** Somebody has proved there to be `peer`. Answers who was there before, and is gone with that. */
  onAnswer(target: Target, peer: { origin: number; region: number }): number[] {
    const before = this.#wereAt(target)
    target.isDialing = false
    target.isTried = true
    target.attempts = 0
    target.refusals = 0
    target.nextAtMs = Number.POSITIVE_INFINITY
    target.origin = peer.origin
    target.region = peer.region
    target.isVerified = true
    target.isGrave = false
    target.claims.delete(peer.origin)
    this.#gone.delete(peer.origin)
    return before.filter((origin) => origin !== peer.origin).map((origin) => this.#bury(origin, 0))
  }

  /** This instance has answered itself: nothing to be linked with, unless it is another one the next time. */
  onSelf(target: Target, nowMs: number): void {
    target.isDialing = false
    target.isTried = true
    target.attempts++
    target.nextAtMs = target.isShared ? nowMs + this.#backOffMs(target.attempts) : Number.POSITIVE_INFINITY
  }

  /** A member has said that it listens there, and nobody else. */
  own(address: string): void {
    const target = this.#targets.get(address)
    if (target !== undefined) target.isShared = false
  }

  /** A dial came to nothing. Answers who is gone. */
  onFailure(target: Target, isRefused: boolean, nowMs: number): number[] {
    target.isDialing = false
    target.isTried = true
    target.attempts++
    target.refusals = isRefused ? target.refusals + 1 : 0
    // On another host, what refuses without ever having answered may be a router.
    const isSure = target.isVerified || isLoopback(parseAddress(target.address)?.host ?? "")
    if (isSure && target.refusals >= refusalsOfTheGone) {
      const gone = this.#wereAt(target).filter((each) => !this.#linked.has(each))
      if (gone.length > 0) return gone.map((each) => this.#bury(each, nowMs))
    }
    const isMember = isSure && this.#wereAt(target).length > 0
    const attemptsEnd = target.isGrave ? attemptsAtGraveMax : attemptsMax
    if (!isMember && target.source !== "seed" && target.attempts >= attemptsEnd) {
      this.#targets.delete(target.address)
      return []
    }
    const isFirstRefusal = isMember && target.refusals === 1
    const attempts = target.isGrave && target.source !== "seed" ? attemptsMax : target.attempts
    target.nextAtMs = nowMs + (isFirstRefusal ? secondLookMs : this.#backOffMs(attempts))
    return []
  }

  /** Whose address it was. Of those of whom it was only said, the ones that are not linked. */
  #wereAt({ origin, isVerified, claims, isShared }: Target): number[] {
    if (isShared) return []
    const origins = [...claims].filter((each) => !this.#linked.has(each) && !this.#gone.has(each))
    if (origin !== null && isVerified && !claims.has(origin) && this.#members.has(origin)) origins.push(origin)
    return origins
  }

  #claim(target: Target, origin: number): void {
    if (target.claims.size < claimsMax) target.claims.add(origin)
  }

  /**
   * A link is up. `address` is where the peer says that it listens; null when it does not listen. On this host it cannot
   * be wrong about that (`isHere`).
   */
  onLinkUp(peer: PeerInfo, address: string | null, isHere: boolean, nowMs: number): void {
    this.#gone.delete(peer.origin)
    this.#members.add(peer.origin)
    this.#linked.add(peer.origin)
    if (address === null || !this.note(address, "peer", peer, nowMs)) return
    const target = this.#targets.get(address) as Target
    const isOther = target.origin !== peer.origin
    if (isOther && target.isVerified) this.#claim(target, peer.origin)
    else {
      target.origin = peer.origin
      target.region = peer.region
      if (isHere) target.isVerified = true
      if (target.isVerified) target.claims.delete(peer.origin)
      else this.#claim(target, peer.origin)
    }
    if (!isOther) return
    target.attempts = 0
    target.nextAtMs = nowMs // who is there now? Whoever was there before and does not answer is gone
  }

  /** A link ended. An unwanted one is dialed again only when the wishes change, or later. */
  onLinkDown(origin: number, isUnwanted: boolean, nowMs: number): void {
    this.#linked.delete(origin)
    const delayMs = isUnwanted ? unwantedMs * (1 + this.#options.random()) : redialMsMax * this.#options.random()
    for (const target of this.#targets.values()) {
      if (target.origin !== origin && !target.claims.has(origin)) continue
      target.attempts = 0
      target.refusals = 0
      target.nextAtMs = nowMs + delayMs
    }
    if (isUnwanted) this.#members.delete(origin)
  }

  /** Wishes have changed: whoever is known and not linked may be wanted now. */
  reconsider(nowMs: number): void {
    for (const target of this.#targets.values()) {
      const { origin } = target
      if (origin === null || this.#linked.has(origin)) continue
      target.nextAtMs = Math.min(target.nextAtMs, nowMs)
    }
  }

  /** Whether all that is known has been tried at least once, or is not to be. */
  isExplored(nowMs: number): boolean {
    for (const target of this.#targets.values()) {
      if (!target.isTried && (target.isDialing || target.nextAtMs <= nowMs)) return false
    }
    return true
  }

  #bury(origin: number, nowMs: number): number {
    this.#members.delete(origin)
    this.#gone.add(origin)
    if (this.#gone.size > goneMax) this.#gone.delete(this.#gone.values().next().value as number)
    for (const target of this.#targets.values()) {
      target.claims.delete(origin)
      if (target.origin !== origin) continue
      target.origin = null
      target.isVerified = false
      target.isGrave = true
      target.attempts = 0
      target.nextAtMs = nowMs + this.#backOffMs(target.source === "seed" ? 1 : attemptsMax)
    }
    return origin
  }

  /** Doubles with each attempt; half of it is chance, so that those who lost one peer do not come back together. */
  #backOffMs(attempts: number): number {
    const fullMs = Math.min(backOffMsMax, backOffMsMin * 2 ** Math.min(attempts - 1, 16))
    return fullMs * (0.5 + this.#options.random() / 2)
  }
}

const refusalsOfTheGone = 2
const secondLookMs = 25 // between them; a listener that is restarted is back after a few turns of the event loop
const redialMsMax = 5 // after a link was lost: by chance, so that not both ends dial in the same moment
const unwantedMs = 5_000 // before a peer that did not want a link is asked again
const backOffMsMin = 50
const backOffMsMax = 5_000
const attemptsMax = 8 // about 10 s; for addresses where no member was ever linked
const attemptsAtGraveMax = 30 // about 2 minutes
const claimsMax = 64 // of one address that has not answered in between
const goneMax = 1_024 // origins that gossip does not bring back
