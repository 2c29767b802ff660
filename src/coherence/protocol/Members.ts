/**
 * Who is there: each other origin that was ever heard of, with what is known of it, until it has been dead for long.
 *
 * A member is heard of by its own frames, or by a relay's digest that says how long ago. Who was not heard of for
 * `suspectMs` is suspect: it may live, and write what this instance does not hear, so nothing is coherent until it is
 * heard of again or has ended. It ends by LEAVE, by its process being gone (refused at its address), by FORGET, or by
 * hearsay of one of these while it is suspect here too. Silence alone never ends it (unless `memberTimeoutMs` says so).
 * One that comes back has that long to be heard of before hearsay ends it again: others may not know of its return yet.
 *
 * An origin that has ended keeps its marks, so that its late frames still count and its lost tail is still asked for;
 * of more than `deadKept` of them the first to end goes, and of those only the number is kept, so that hearsay does not
 * bring them back. An origin that left never returns; one that was taken for gone or forgotten returns by a HELLO, or
 * where a relay has heard it since.
 *
 * The table is bounded by `membersMax` and `deadKept`. Cost: O(1) a frame; a look at all every `suspectMs` or so.
 */
import { both, Marks, type Span } from "./Marks.ts"
import type { Parameters } from "./Parameters.ts"

export type MemberState = "live" | "left" | "gone" | "forgotten"

export class Member {
  state: MemberState = "live"
  readonly marks: Marks
  /** How it takes its region to be split (Cells.ts); 0: not heard yet. */
  split = 0
  /** When it was last known to live, as far as anybody says; when it became known, before that. */
  heardAtMs: number
  /** How much it has written was heard, of itself or of a relay. */
  isHeard = false
  /** It has not been heard of in time. */
  isSuspect = false
  /** Others say that it has ended: true as soon as it has not been heard of in time here, too. */
  isSaidToHaveEnded = false
  endedAtMs = Number.NEGATIVE_INFINITY
  /** When it came back, having been taken for dead. */
  returnedAtMs = Number.NEGATIVE_INFINITY
  /** It has said HELLO since it came, or came back: what it has heard of others is known here. */
  hasGreeted = false
  /** This process has stood still since it was heard, and it has not greeted since: what it says may have waited. */
  mayHaveWaited = false
  /** It is not suspect any more by its own word, which may have waited while this process stood still; not by a relay's. */
  isByOwnWord = false
  /** The lowest sequence that it can still send. */
  oldest = 1
  /** Records of it before this instance joined were never seen here. */
  hasBaseline = false
  /** What it wrote and was given up, as nobody had it any more, or is in doubt: not `isWhole`; undefined: nothing is. */
  givenUp: Marks | undefined
  /** What must have been applied of it before a degraded instance is coherent again. */
  healAt = 0
  /** It waits to hear that its records up to this one were applied; up to which it was told so. */
  ackWanted = 0
  ackSent = 0
  /** The last record of this instance that it has said to have applied. */
  acknowledged = 0

  constructor(
    readonly origin: number,
    public region: number,
    intervalsMax: number,
    nowMs: number
  ) {
    this.marks = new Marks(intervalsMax)
    this.heardAtMs = nowMs
  }

  get isLive(): boolean {
    return this.state === "live"
  }
  /** It has not said that it has joined: it holds nothing of others yet. */
  get isJoining(): boolean {
    return this.split === 0
  }
  /** Live, and heard of in time. */
  get isFresh(): boolean {
    return this.state === "live" && !this.isSuspect
  }

  /** What is missing of it up to this sequence will not be asked for any more; of that only what is in `holes` was lost. */
  giveUp(upTo: number, holes?: readonly Span[]): void {
    const { marks } = this
    marks.advertise(upTo)
    const missing = marks.missing(Number.POSITIVE_INFINITY)
    const givenUp = this.givenUp ?? new Marks(marks.intervalsMax, marks.contiguous)
    for (const { first, last } of holes === undefined ? missing : both(missing, holes)) {
      if (first > upTo) break
      take(givenUp, givenUp.advertised + 1, first - 1)
      givenUp.advertise(Math.min(last, upTo))
    }
    if (!givenUp.isWhole) this.givenUp = givenUp
    marks.cover(upTo)
  }

  /** Records that have come: those of them that were given up, and are to be applied now. */
  receiveGivenUp(first: number, count: number): readonly Span[] {
    const { givenUp } = this
    if (givenUp === undefined || first > givenUp.advertised) return []
    const spans = take(givenUp, first, Math.min(first + count - 1, givenUp.advertised))
    if (givenUp.isWhole) this.givenUp = undefined
    return spans
  }
}

/** These are there. Where marks can keep no more runs, what is missing below is given up for good. */
const take = (marks: Marks, first: number, last: number): readonly Span[] => {
  for (;;) {
    const { refused } = marks
    const spans = marks.receive(first, last - first + 1)
    if (marks.refused === refused) return spans
    marks.cover(Math.min((marks.missing(1)[0] as Span).last, first - 1))
  }
}

export interface MembersListener {
  /** A new one, or one that was taken for dead. */
  onMember(member: Member, isBack: boolean): void
  onSuspect(member: Member): void
  /** It is heard of again. */
  onFresh(member: Member): void
  onEnd(member: Member): void
  /** There was no room for one. */
  onRefused(): void
  /** Its marks are about to be forgotten: whatever is missing of it will be missing for ever. */
  onForgotten(member: Member): void
}

export class Members {
  /** Members in the proper sense, in the order in which they came. */
  readonly live = new Map<number, Member>()
  /** Who has ended, the first to end first. */
  readonly dead = new Map<number, Member>()
  suspects = 0
  /** When the next one might become suspect. */
  nextMs = Number.POSITIVE_INFINITY
  /** Until then an origin that there was no room for counts as one that is not heard of. */
  refusedUntilMs = Number.NEGATIVE_INFINITY
  /** Numbers of origins that were dead for so long that nothing else is kept of them. */
  private readonly retired = new Set<number>()

  constructor(
    private readonly self: { readonly origin: number; readonly region: number },
    private readonly parameters: Parameters,
    /** Whether a member shares the cell, and so is heard without a relay. */
    private readonly isNear: (origin: number) => boolean,
    private readonly listener: MembersListener
  ) {}

  find(origin: number): Member | undefined {
    return this.live.get(origin) ?? this.dead.get(origin)
  }

  isRetired(origin: number): boolean {
    return this.retired.has(origin)
  }

  /**
   * The member of that origin, which becomes one if it is unknown: suspect until it is heard of, since whoever speaks of it
   * may not have heard of it for long. Undefined when there is no room, or it is retired.
   */
  observe(origin: number, region: number, nowMs: number): Member | undefined {
    const known = this.find(origin)
    if (known !== undefined) return known
    if (this.retired.has(origin)) return undefined
    const member = this.admit(origin, region, nowMs)
    if (member !== undefined) {
      member.isSuspect = true
      this.suspects++
    }
    return member
  }

  /** An origin of which others say that it has ended. */
  observeDead(origin: number, region: number, nowMs: number): Member | undefined {
    const known = this.find(origin)
    if (known !== undefined || this.retired.has(origin)) return known
    const member = new Member(origin, region, this.parameters.intervalsMax, nowMs)
    member.state = "gone"
    this.bury(member, nowMs)
    return member
  }

  /**
   * It is there: whoever was taken for dead by mistake is a member again, suspect until it has said how much it has
   * written. Who has left stays so.
   */
  greet(origin: number, region: number, nowMs: number): Member | undefined {
    const known = this.find(origin)
    if (known === undefined) {
      this.retired.delete(origin)
      return this.admit(origin, region, nowMs)
    }
    if (known.state === "gone" || known.state === "forgotten") {
      if (this.isFull(nowMs)) return undefined
      this.dead.delete(origin)
      known.state = "live"
      known.isSuspect = true
      known.hasGreeted = false
      known.heardAtMs = known.returnedAtMs = nowMs
      known.isSaidToHaveEnded = false
      this.suspects++
      this.live.set(origin, known)
      this.nextMs = Math.min(this.nextMs, this.suspectAt(known))
      this.listener.onMember(known, true)
    }
    return known
  }

  /** A relay has heard it at this time: whoever was taken for dead before that, by mistake, is a member again. */
  heardFromAfar(member: Member, atMs: number, nowMs: number): void {
    if (!member.isLive && atMs > member.endedAtMs + this.silenceMsMax(member)) {
      this.greet(member.origin, member.region, nowMs)
    }
    if (!member.isLive) return
    if (atMs > member.heardAtMs) member.isByOwnWord = false
    this.heard(member, atMs, nowMs, false)
  }

  private admit(origin: number, region: number, nowMs: number): Member | undefined {
    if (this.isFull(nowMs)) return undefined
    const member = new Member(origin, region, this.parameters.intervalsMax, nowMs)
    this.live.set(origin, member)
    this.nextMs = Math.min(this.nextMs, this.suspectAt(member))
    this.listener.onMember(member, false)
    return member
  }

  private isFull(nowMs: number): boolean {
    if (this.live.size < this.parameters.membersMax) return false
    this.refusedUntilMs = nowMs + 2 * this.parameters.suspectMs
    this.listener.onRefused()
    return true
  }

  /** It lives, lived at this time, and had written what is advertised. */
  heard(member: Member, atMs: number, nowMs: number, isOwnWord = true): void {
    if (isOwnWord && member.mayHaveWaited && !member.isSuspect) return
    const isFresh = member.isSuspect && member.isLive && nowMs < atMs + this.silenceMsMax(member)
    if (isFresh || atMs > member.heardAtMs || !member.isHeard) {
      member.heardAtMs = atMs // earlier than when it became known, or came back, where a relay is the first to speak of it
      member.isSaidToHaveEnded = false
      this.nextMs = Math.min(this.nextMs, this.suspectAt(member))
    }
    member.isHeard = true
    if (!isFresh) return
    member.isSuspect = false
    member.hasGreeted = false
    member.isByOwnWord = isOwnWord
    this.suspects--
    this.listener.onFresh(member)
  }

  /** Somebody else has found that it has ended, or been told so. */
  saidToHaveEnded(member: Member, nowMs: number): void {
    const hasReturned = nowMs < member.returnedAtMs + this.silenceMsMax(member)
    if (member.isSuspect && !hasReturned) {
      this.end(member, "gone", nowMs)
    } else if (member.isLive) {
      member.isSaidToHaveEnded = true
      this.nextMs = Math.min(this.nextMs, this.suspectAt(member))
    }
  }

  /** Ends a member, once. */
  end(member: Member, state: Exclude<MemberState, "live">, nowMs: number): void {
    if (member.state === state || (member.state === "left" && state !== "left")) return
    const wasLive = member.state === "live"
    member.state = state
    if (!wasLive) return
    this.live.delete(member.origin)
    if (member.isSuspect) this.suspects--
    member.isSuspect = false
    this.bury(member, nowMs)
    this.listener.onEnd(member)
  }

  private bury(member: Member, nowMs: number): void {
    member.endedAtMs = nowMs
    this.dead.set(member.origin, member)
    while (this.dead.size > this.parameters.deadKept) {
      const oldest = this.dead.values().next().value as Member
      this.dead.delete(oldest.origin)
      this.retired.add(oldest.origin)
      if (this.retired.size > retiredTimes * this.parameters.deadKept) {
        this.retired.delete(this.retired.values().next().value as number)
      }
      this.listener.onForgotten(oldest)
    }
  }

  /**
   * The process has stood still for longer than `suspectMs`, so nobody was heard for so long. Whoever is so far away that he
   * is not suspect yet may have sent what comes next before he was cut off: it counts for nothing until he has greeted.
   */
  stoodStill(nowMs: number): void {
    this.due(nowMs)
    for (const member of this.live.values()) {
      if (member.isSuspect) continue
      member.hasGreeted = false
      member.mayHaveWaited = true
    }
  }

  /** Finds who has become suspect, and who has been so for too long. */
  due(nowMs: number): void {
    if (nowMs < this.nextMs) return
    this.nextMs = Number.POSITIVE_INFINITY
    for (const member of [...this.live.values()]) {
      const { isSuspect, isSaidToHaveEnded } = member
      const isLost = isSuspect && !isSaidToHaveEnded
      const atMs = isLost ? member.heardAtMs + this.parameters.memberTimeoutMs : this.suspectAt(member)
      if (nowMs < atMs) {
        this.nextMs = Math.min(this.nextMs, atMs)
      } else if (isSuspect) {
        this.end(member, isSaidToHaveEnded ? "gone" : "forgotten", nowMs)
      } else {
        member.isSuspect = true
        this.suspects++
        if (isSaidToHaveEnded) {
          this.end(member, "gone", nowMs)
          continue
        }
        this.nextMs = Math.min(this.nextMs, Math.max(nowMs, member.heardAtMs + this.parameters.memberTimeoutMs))
        this.listener.onSuspect(member)
      }
    }
  }

  private suspectAt(member: Member): number {
    return member.heardAtMs + this.silenceMsMax(member)
  }

  /** How long ago a member may have been heard of: digests wait for a heartbeat at two relays. */
  silenceMsMax(member: Member): number {
    const { suspectMs, regionSlackMs, heartbeatMs } = this.parameters
    if (member.region !== this.self.region) return suspectMs + 2 * heartbeatMs + regionSlackMs
    return this.isNear(member.origin) ? suspectMs : suspectMs + 2 * heartbeatMs
  }
}

const retiredTimes = 16 // times deadKept: numbers alone are cheap
