/**
 * Gets what is missing. Of each origin of which more is known to exist than was applied here there is one recovery; it
 * asks for the lowest holes, one peer at a time, and goes on until there are none.
 *
 * - The origin lives: it is asked first and at every second attempt, others in between (its link may be the broken one).
 *   If its log has forgotten the range, it tells which buckets have moved instead (BUCKETS), and only those are dropped.
 * - The origin has ended: its link if that still stands, then every member in turn; who serves is asked on. When all
 *   have said that they do not have the range, all are asked once more after a random wait: who said no may have got it
 *   since. (And all instances come here at about the same time.) Then it is lost: the namespace epoch moves, which forgets
 *   whatever was not written here, and the marks cover the range, so that this happens once for it.
 *   They also say what they have above it. That is pulled: a tag in it may be about what was written here. For the same
 *   reason others are asked for it who are met later (GivenUp.ts).
 *   While a member is suspect nothing is lost yet: it may have the range, and the instance is degraded anyway.
 *
 * In both cases what was written here stays, and `OwnEntries` asks others whether it has been overwritten. The marks
 * move in the same turn in which copies are dropped: a value that is fetched from then on has to come from somebody who
 * has got so far too.
 *
 * A hole is open from when it was first known of. `openSinceMs` never makes it younger than it is, nor more than an
 * eighth of the gap limit older.
 *
 * Bounds: one recovery an origin, one round of pulls a recovery, `pullRecordsMax` records a round.
 */
import type { Buckets, BucketsAsk, Gone, LogRecord, Pull } from "./Frame.ts"
import { GivenUp } from "./GivenUp.ts"
import type { Host } from "./Host.ts"
import type { Member } from "./Members.ts"
import type { OwnEntries } from "./OwnEntries.ts"

export class Reconciler {
  readonly givenUp: GivenUp
  private readonly recoveries = new Map<Member, Recovery>()

  /** Who has lost records up to a sequence, of which it was not heard yet how high their versions were. */
  private readonly unheard = new Map<Member, number>()

  constructor(
    protected readonly host: Host,
    private readonly ownEntries: OwnEntries
  ) {
    this.givenUp = new GivenUp(
      host,
      (to, of, first, records) => this.replay(to, of, first, records),
      (of, since) => this.sendBucketsAsk(of, since),
      (attempts) => this.nextAttemptMs(attempts)
    )
  }

  /** How many origins have records that are not here yet. */
  get open(): number {
    return this.recoveries.size
  }

  /** How long the oldest hole has been open, in ms; 0 without one. */
  oldestHoleMs(): number {
    let sinceMs = this.host.nowMs
    for (const recovery of this.recoveries.values()) sinceMs = Math.min(sinceMs, recovery.openSinceMs)
    return this.host.nowMs - sinceMs
  }

  /** Since when something of this origin has been missing; Infinity when nothing is. */
  missingSinceMs(member: Member): number {
    return this.recoveries.get(member)?.openSinceMs ?? Number.POSITIVE_INFINITY
  }

  /** The marks of an origin have moved, or more of it is known to exist. */
  note(member: Member): void {
    if (!this.host.isJoined) return // whatever is missing is below the baseline, or will be looked at after it
    const recovery = this.recoveries.get(member)
    if (member.marks.isWhole) {
      if (recovery !== undefined) this.recoveries.delete(member)
    } else if (recovery !== undefined) {
      recovery.note(this.host.nowMs)
    } else {
      this.host.stats.gapsOpened++
      const opened = new Recovery(member, this.host.parameters.gapLimitMs / stepsPerLimit)
      opened.note(this.host.nowMs)
      opened.dueMs = this.host.nowMs + this.between(this.host.parameters.gapMs) + this.passingMs(member)
      this.recoveries.set(member, opened)
    }
  }

  /**
   * All holes of all origins, from now on: the instance has joined. It holds nothing but writes of its own, so where more
   * than one pull is missing it wants to know what has moved, which is shorter than the records.
   */
  begin(): void {
    for (const member of this.host.members.live.values()) {
      this.note(member)
      const { contiguous, advertised } = member.marks
      const recovery = this.recoveries.get(member)
      if (recovery === undefined || advertised - contiguous <= this.host.parameters.pullRecordsMax) continue
      recovery.forgottenBelow = advertised + 1
    }
    for (const member of this.host.members.dead.values()) this.note(member)
  }

  /** It was taken for dead, and is not. */
  memberReturned(member: Member): void {
    this.recoveries.get(member)?.beginAnew(this.host.nowMs)
    this.givenUp.memberReturned(member)
  }

  memberEnded(member: Member): void {
    this.unheard.delete(member)
    this.givenUp.memberEnded(member)
    this.memberChanged()
    this.note(member)
  }

  /** Somebody can be asked, or need not be waited for any more. */
  memberChanged(): void {
    for (const recovery of this.recoveries.values()) {
      if (recovery.isStuck && !recovery.isSecondRound) recovery.dueMs = this.host.nowMs
    }
  }

  /** Its marks are about to be forgotten. */
  memberForgotten(member: Member): void {
    if (this.recoveries.delete(member)) this.moveEpoch(new Map([[member, member.marks.advertised]]))
  }

  nextMs(): number {
    let nextMs = Number.POSITIVE_INFINITY
    for (const recovery of this.recoveries.values()) nextMs = Math.min(nextMs, recovery.dueMs)
    return Math.min(nextMs, this.givenUp.nextMs())
  }

  due(): void {
    this.givenUp.due()
    for (const recovery of [...this.recoveries.values()]) {
      if (this.recoveries.has(recovery.member) && recovery.dueMs <= this.host.nowMs) this.goOn(recovery)
    }
  }

  /** The next step of a recovery. */
  protected goOn(recovery: Recovery): void {
    const { member } = recovery
    if (member.marks.isWhole) this.recoveries.delete(member)
    else if (member.isLive && recovery.forgottenBelow > member.marks.contiguous + 1) this.askForBuckets(recovery)
    else this.pull(recovery)
  }

  // Pulls

  private pull(recovery: Recovery): void {
    const { host } = this
    recovery.forgetAnswersOfOtherHoles()
    const whom = recovery.member.isLive ? this.nextForLiving(recovery) : this.nextForDead(recovery)
    recovery.isStuck = whom === 0
    if (whom === 0) {
      this.consider(recovery)
      return
    }
    recovery.isLost = false
    recovery.asked = whom
    const { pullRetryMs, heartbeatMs } = host.parameters
    recovery.dueMs = host.nowMs + (host.members.find(whom)?.isSuspect ? heartbeatMs : pullRetryMs)
    let records = host.parameters.pullRecordsMax
    for (const hole of recovery.member.marks.missing(holesPerRound)) {
      const last = Math.min(hole.last, hole.first + records - 1)
      this.sendPull(whom, recovery.member.origin, hole.first, last)
      recovery.roundLast = last
      records -= last - hole.first + 1
      if (records === 0) break
    }
  }

  protected sendPull(whom: number, of: number, first: number, last: number): void {
    this.host.stats.pullsOut++
    this.host.post(whom, { type: "pull", of, first, last })
  }

  /** The origin and, at every second attempt, somebody else who has not said that he does not have the range. */
  private nextForLiving(recovery: Recovery): number {
    const { member } = recovery
    const isOthersTurn = recovery.attempts++ % 2 === 1
    if (isOthersTurn) return this.nextOther(recovery) || member.origin
    return member.origin
  }

  /** Whoever has not said yet that he does not have the range; 0 when all have, or cannot be asked now. */
  private nextForDead(recovery: Recovery): number {
    const { member } = recovery
    if (
      this.host.hasLink(member.origin) &&
      !recovery.answered.has(member.origin) &&
      recovery.lastWords++ < lastWordsMax
    ) {
      return member.origin
    }
    const { server } = recovery
    recovery.server = 0 // until it serves again
    if (this.host.members.find(server)?.isFresh && !recovery.answered.has(server)) return server
    return this.nextOther(recovery)
  }

  /** In turn, in the order in which they came. */
  private nextOther(recovery: Recovery): number {
    let first = 0
    let hasPassed = false
    for (const { origin, isFresh } of this.host.members.live.values()) {
      if (origin === recovery.member.origin) continue
      if (isFresh && !recovery.answered.has(origin)) {
        if (hasPassed) {
          recovery.lastOther = origin
          return origin
        }
        if (first === 0) first = origin
      }
      if (origin === recovery.lastOther) hasPassed = true
    }
    recovery.lastOther = first
    return first
  }

  /** Records have come from a direct link, in answer to a pull: the round may be over. */
  progress(member: Member, from: number): void {
    const recovery = this.recoveries.get(member)
    if (recovery === undefined) return
    const { asked } = recovery
    if (asked !== from && this.host.hasLink(asked)) return // else they come by way of relays
    recovery.server = asked
    const lowest = member.marks.missing(1)[0]
    const isRoundOver = lowest === undefined || lowest.first > recovery.roundLast
    recovery.dueMs = this.host.nowMs + (isRoundOver ? 0 : this.host.parameters.pullRetryMs)
  }

  onGone(frame: Gone): void {
    const member = this.host.members.find(frame.of)
    const recovery = member === undefined ? undefined : this.recoveries.get(member)
    if (recovery === undefined || recovery.isStuck) {
      this.host.stats.late++
      return
    }
    recovery.forgetAnswersOfOtherHoles()
    if (frame.oldest <= recovery.member.marks.contiguous + 1) return // of a hole that is closed by now
    if (frame.author === frame.of) recovery.forgottenBelow = Math.max(recovery.forgottenBelow, frame.oldest)
    recovery.answered.add(frame.author)
    recovery.heldFrom = Math.min(recovery.heldFrom, frame.oldest)
    if (recovery.asked === frame.author || frame.author === frame.of) recovery.dueMs = this.host.nowMs
  }

  /** Somebody asks for records of this instance, or of one whose records were received here. */
  onPull(frame: Pull): void {
    const { host } = this
    host.stats.pullsIn++
    const last = Math.min(frame.last, frame.first + host.parameters.pullRecordsMax - 1)
    let above = 0 // from where on it has records again, above the first that it has not
    for (let first = frame.first; first <= last; ) {
      const records = this.read(frame.of, first, Math.min(last, first + host.parameters.batchRecordsMax - 1))
      if (records === undefined) {
        const isFirst = above === 0
        if (isFirst) above = this.oldestAbove(frame.of, first)
        first = isFirst ? above : first + 1
        continue
      }
      host.stats.replayedOut += records.length
      this.replay(frame.author, frame.of, first, records)
      first += records.length
    }
    if (above > 0) host.post(frame.author, { type: "gone", of: frame.of, oldest: above })
  }

  /** From where on this instance has records of an origin, above one that it does not have. */
  private oldestAbove(of: number, unserved: number): number {
    const { host } = this
    if (of === host.origin) return Math.max(host.own.oldest, unserved + 1)
    return host.received.oldestAbove(of, unserved) || nothingHeld
  }

  protected replay(to: number, of: number, first: number, records: readonly LogRecord[]): void {
    this.host.postAs(of, to, { type: "inv", isReplay: true, wantsAck: false, first, records })
  }

  private read(of: number, first: number, last: number): readonly LogRecord[] | undefined {
    const { host } = this
    if (of !== host.origin) return host.received.range(of, first, last)
    return host.own.read(first, Math.min(last, host.own.last))
  }

  // Buckets

  private askForBuckets(recovery: Recovery): void {
    recovery.asked = recovery.member.origin
    recovery.dueMs = this.nextAttemptMs(++recovery.bucketAttempts)
    this.sendBucketsAsk(recovery.member, recovery.member.marks.contiguous)
  }

  /** When something is asked for once more: each time it waits for longer, up to `attemptsMax` times as long. */
  private nextAttemptMs(attempts: number): number {
    return this.host.nowMs + this.host.parameters.pullRetryMs * Math.min(attempts, attemptsMax)
  }

  private sendBucketsAsk({ origin }: Member, since: number): void {
    this.host.stats.bucketsAsked++
    this.host.post(origin, { type: "bucketsAsk", of: origin, since })
  }

  onBucketsAsk({ author, of, since }: BucketsAsk): void {
    const { own, lamport, origin } = this.host
    if (of === origin) this.host.post(author, { type: "buckets", of, lamport, ...own.movedSince(since) })
    else this.host.stats.late++
  }

  onBuckets(frame: Buckets): void {
    const { host } = this
    const member = host.members.find(frame.of)
    if (member === undefined || !this.isWanted(frame, member)) {
      host.stats.late++
      return
    }
    host.stats.bucketsApplied++
    host.heardVersion(frame.lamport) // what is written here from now on is higher than what is covered
    const bitmap = new Uint8Array(frame.bitmap) // a copy: the frame's bytes are shared
    host.store.moveBuckets(member.origin, bitmap, frame.bucketCount, frame.wide)
    this.givenUp.told(member, frame.since)
    const hashes = host.store.ownHashes(bitmap, frame.bucketCount)
    member.giveUp(frame.upTo) // until it has answered for these
    if (hashes.length === 0) this.givenUp.verified(member.origin)
    const recovery = this.recoveries.get(member)
    if (recovery !== undefined) recovery.bucketAttempts = 0
    this.ownEntries.ask(member.origin, hashes, true)
    this.lost(member)
    host.marksMoved(member)
  }

  /** It closes the gap, of which an answer to an older question may tell less, or tells of what was given up. */
  private isWanted({ since, upTo }: Buckets, member: Member): boolean {
    if (this.givenUp.isWanted(member, since)) return true
    const { contiguous } = member.marks
    return this.recoveries.has(member) && since <= contiguous && upTo > contiguous
  }

  // Epochs

  /** A dead origin's range was asked for in vain. */
  private consider(recovery: Recovery): void {
    const { host } = this
    const { heartbeatMs, pullRetryMs } = host.parameters
    if (host.members.suspects > 0) {
      recovery.isLost = false
      recovery.dueMs = host.nowMs + heartbeatMs
    } else if (!recovery.isSecondRound) {
      recovery.dueMs = this.secondRoundMs()
      recovery.beginSecondRound()
    } else if (!recovery.isLost) {
      recovery.isLost = true
      recovery.dueMs = host.nowMs + pullRetryMs // one epoch does for all that are lost at about this time
    } else {
      const lost = new Map<Member, number>()
      for (const each of this.recoveries.values()) {
        if (!each.isLost) continue
        each.isLost = false
        each.dueMs = host.nowMs // for what somebody has above it
        if (each.forgetAnswersOfOtherHoles()) continue // nobody was asked for what is missing now
        lost.set(each.member, Math.min(each.member.marks.advertised, each.heldFrom - 1))
      }
      if (lost.size > 0) this.moveEpoch(lost)
    }
  }

  /** The same for all that wait for it: so that they are given up together. */
  private secondRoundMs(): number {
    for (const { isSecondRound, isStuck, isLost, dueMs } of this.recoveries.values()) {
      if (isSecondRound && isStuck && !isLost && dueMs > this.host.nowMs) return dueMs
    }
    return this.host.nowMs + this.host.random() * this.host.parameters.gapLimitMs
  }

  /** Whatever these have written up to a sequence, and is not here, is taken to have been about any key. */
  private moveEpoch(lost: ReadonlyMap<Member, number>): void {
    const { host } = this
    host.stats.epochs++
    host.store.forgetCopies()
    for (const [member, upTo] of lost) {
      member.giveUp(upTo)
      this.lost(member)
    }
    this.ownEntries.askAll(host.store.ownHashes(null))
    for (const member of lost.keys()) host.marksMoved(member)
  }

  // Doubt

  /**
   * Its records up to its contiguous mark were not seen here, and never will be: what is known of who wrote a key last
   * may be outdated by one of them, unless its version is above all of theirs.
   */
  lost(member: Member): void {
    this.host.store.doubt()
    if (member.isLive) this.unheard.set(member, member.marks.contiguous)
  }

  /** It has written so much, with versions up to what has been heard by now. */
  heard(member: Member, last: number): void {
    const upTo = this.unheard.get(member)
    if (upTo === undefined || last < upTo) return
    this.unheard.delete(member)
    this.host.store.doubt()
  }

  /** How long its records may wait at a relay, while a digest of the other one already tells of them. */
  private passingMs({ origin, region }: Member): number {
    const { relayBatchMs, groupBatchMs } = this.host.parameters
    if (region !== this.host.region) return relayBatchMs[1]
    return this.host.isNear(origin) ? 0 : groupBatchMs
  }

  private between([least, most]: readonly [number, number]): number {
    return least + this.host.random() * (most - least)
  }
}

/** What is being done about the holes of one origin. */
class Recovery {
  dueMs = 0
  /** Whom the last round has asked, and up to where. */
  asked = 0
  roundLast = 0
  attempts = 0
  /** Who has sent some of what was asked for last, and may have more; 0: nobody. */
  server = 0
  bucketAttempts = 0
  /** How often an origin that has left was asked while its link still stood. */
  lastWords = 0
  lastOther = 0
  /** The origin's own log begins here, or is not asked for anything below. */
  forgottenBelow = 0
  /** Who does not have what is missing first. */
  readonly answered = new Set<number>()
  /** The lowest sequence above it that one of these has. */
  heldFrom = nothingHeld
  private answeredFor = 0
  /** Nobody can be asked now. */
  isStuck = false
  /** All have answered that they do not have it, and are asked again. */
  isSecondRound = false
  /** All have answered so twice. */
  isLost = false
  /** Up to which sequence records have been known of since when; ascending, ten at most. */
  private readonly known: { upTo: number; readonly sinceMs: number }[] = []

  constructor(
    readonly member: Member,
    private readonly stepMs: number
  ) {}

  get openSinceMs(): number {
    return this.known[0]?.sinceMs ?? Number.POSITIVE_INFINITY
  }

  note(nowMs: number): void {
    const { contiguous, advertised } = this.member.marks
    while (this.known.length > 0 && (this.known[0] as { upTo: number }).upTo <= contiguous) this.known.shift()
    const newest = this.known.at(-1)
    if (newest !== undefined && newest.upTo >= advertised) return
    // Once a hole has been open for the limit its exact age is of no interest, and the list stops growing.
    if (newest !== undefined && (nowMs - newest.sinceMs < this.stepMs || this.known.length === stepsMax))
      newest.upTo = advertised
    else this.known.push({ upTo: advertised, sinceMs: nowMs })
  }

  /** True where the hole is another one than that of the answers. */
  forgetAnswersOfOtherHoles(): boolean {
    if (this.answeredFor === this.member.marks.contiguous) return false
    this.answeredFor = this.member.marks.contiguous
    this.isSecondRound = false
    this.forgetAnswers()
    return true
  }

  beginSecondRound(): void {
    this.isSecondRound = true
    this.forgetAnswers()
  }

  /** Its origin, which had ended, has come back: nothing of it is lost yet. */
  beginAnew(nowMs: number): void {
    this.dueMs = nowMs
    this.isStuck = this.isSecondRound = this.isLost = false
    this.forgetAnswers()
  }

  private forgetAnswers(): void {
    this.answered.clear()
    this.heldFrom = nothingHeld
  }
}

const nothingHeld = 2 ** 48 - 1 // as much as a frame holds, above all sequences
const attemptsMax = 10
const holesPerRound = 16 // pulls to one peer in a row; more holes than this are rare, and the next round has them
const lastWordsMax = 3 // pulls to an origin that has said good-bye; it may have closed already
const stepsPerLimit = 8
const stepsMax = stepsPerLimit + 2
