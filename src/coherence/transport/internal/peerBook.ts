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
 * Refusals can lie (a firewall that answers for others), so the address of the gone is looked at for some minutes more.
 */
import type { PeerInfo } from "../Transport.ts"

export type Source = "seed" | "dns" | "beacon" | "gossip" | "peer"

export interface Target {
  readonly address: string
  readonly source: Source
  /** Who has answered there, or is said to be there. */
  origin: number | null
  region: number
  /** `origin` has answered there. */
  isVerified: boolean
  isDialing: boolean
  /** Tries since it answered last. */
  attempts: number
  /** Whether any try has come to its end. */
  isTried: boolean
  refusals: number
  /** Somebody who is gone was there. */
  isGrave: boolean
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
      // An address that has been given to another process: who is there now says so itself.
      if (peer !== null && known.origin === null) {
        known.origin = peer.origin
        known.region = peer.region
      }
      return true
    }
    if (this.#targets.size >= this.#options.targetsMax) return false
    this.#targets.set(address, {
      address,
      source,
      origin: peer?.origin ?? null,
      region: peer?.region ?? 0,
      isVerified: false,
      isDialing: false,
      attempts: 0,
      isTried: false,
      refusals: 0,
      isGrave: false,
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
      if (isLinked && target.isVerified) {
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

  /** Somebody has proved there to be `peer`. Answers who was there before, and is gone with that; or null. */
  onAnswer(target: Target, peer: { origin: number; region: number }): number | null {
    const before = target.origin
    const wasThere = target.isVerified
    target.isDialing = false
    target.isTried = true
    target.attempts = 0
    target.refusals = 0
    target.nextAtMs = Number.POSITIVE_INFINITY
    target.origin = peer.origin
    target.region = peer.region
    target.isVerified = true
    target.isGrave = false
    this.#gone.delete(peer.origin)
    const isLost = wasThere && before !== null && before !== peer.origin && this.#members.has(before)
    return isLost ? this.#bury(before, 0) : null
  }

  /** This instance has answered itself: nothing to be linked with. */
  onSelf(target: Target): void {
    target.isDialing = false
    target.isTried = true
    target.nextAtMs = Number.POSITIVE_INFINITY
  }

  /** A dial came to nothing. Answers who is gone, or null. */
  onFailure(target: Target, isRefused: boolean, nowMs: number): number | null {
    target.isDialing = false
    target.isTried = true
    target.attempts++
    target.refusals = isRefused ? target.refusals + 1 : 0
    const { origin } = target
    const isMember = origin !== null && target.isVerified && this.#members.has(origin)
    if (isMember && target.refusals >= refusalsOfTheGone && !this.#linked.has(origin)) return this.#bury(origin, nowMs)
    const attemptsEnd = target.isGrave ? attemptsAtGraveMax : attemptsMax
    if (!isMember && target.source !== "seed" && target.attempts >= attemptsEnd) {
      this.#targets.delete(target.address)
      return null
    }
    const isFirstRefusal = isMember && target.refusals === 1
    const attempts = target.isGrave && target.source !== "seed" ? attemptsMax : target.attempts
    target.nextAtMs = nowMs + (isFirstRefusal ? secondLookMs : this.#backOffMs(attempts))
    return null
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
    if (target.origin !== peer.origin) {
      // Who is there now? If it is this peer that answers, who was there before is gone.
      if (!target.isVerified) target.origin = peer.origin
      target.attempts = 0
      target.nextAtMs = nowMs
    } else if (isHere) target.isVerified = true
  }

  /** A link ended. An unwanted one is dialed again only when the wishes change, or later. */
  onLinkDown(origin: number, isUnwanted: boolean, nowMs: number): void {
    this.#linked.delete(origin)
    const delayMs = isUnwanted ? unwantedMs * (1 + this.#options.random()) : redialMsMax * this.#options.random()
    for (const target of this.#targets.values()) {
      if (target.origin !== origin) continue
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
const goneMax = 1_024 // origins that gossip does not bring back
