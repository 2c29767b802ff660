/**
 * Peer fill: values that others have.
 *
 * A FETCH carries what its sender has applied: of each origin the highest sequence. Only who has applied all of that
 * answers with a value, so it is never older than anything that the asker has dropped; who has not waits for it
 * (`fetchHoldMs`) and then answers `behind`. What is applied at the asker while the answer travels revokes its lease,
 * which is not this file's business. Remaining life is to be counted from when `fetch` was called.
 *
 * Asked is the author of the highest write that is known of the key, and nobody if that was a removal. Where it is not
 * known for sure (none is, or records were lost), or has ended, is not heard of or cannot be reached, all of the own cell
 * are asked, and the relays of other cells; the first value wins, and a `none` names the author that its sender knows
 * of. Keys for one peer leave together, up to `fetchKeysMax` in a frame.
 *
 * An answer ends where the next value would make it longer than `valueBytesMax`; what is left is answered `busy` and
 * asked again, like `behind`, `repeatsMax` times within `fetchTimeoutMs`.
 *
 * Bounds: `fetchesMax` fetches wait here, `parkedMax` frames of others; more are answered with nothing, or `busy`.
 */
import { AnswerStatus, type Fetch, type ValueAnswer, type ValueFrame, type VectorEntry } from "./Frame.ts"
import type { Host } from "./Host.ts"
import type { Member } from "./Members.ts"
import type { PeerValue } from "./Store.ts"

type Done = (value: PeerValue | undefined) => void

/** One caller that waits for one key. */
interface Waiting {
  readonly key: string
  readonly hash: number
  readonly done: Done
  readonly deadlineMs: number
  /** Whose answers are still to come, and the questions that they are asked in. */
  readonly asked: Map<number, Question>
  /** Who was ever asked. */
  readonly tried: Set<number>
  repeats: number
  isOver: boolean
}

/** Keys that leave in one frame to one peer, or have left. */
interface Question {
  readonly whom: number
  /** In the order of the keys in the frame. */
  waiting: Waiting[]
  /** How many of them still wait for its answer; with the last one it is forgotten. */
  open: number
  /** Of its frame, 0 before it has left. */
  id: number
  sentAtMs: number
}

/** A frame of somebody who has seen more than this instance. */
interface Parked {
  readonly frame: Fetch
  readonly deadlineMs: number
  /** The entry of its vector that is looked at, and has not been reached. */
  at: number
  isOver: boolean
}

export class Fetches {
  private readonly waiting = new Set<Waiting>()
  /** By peer: what leaves with the next tick. */
  private readonly outgoing = new Map<number, Question>()
  /** By id: what has left. */
  private readonly sent = new Map<number, Question>()
  private lastId = 0
  /** In the order in which they came, so that deadlines ascend; and by the origin that they wait for. */
  private readonly parked = new Set<Parked>()
  private readonly parkedBy = new Map<number, Set<Parked>>()

  constructor(
    private readonly host: Host,
    /** Whom to ask when no author is known. */
    private readonly neighbours: () => Iterable<number>,
    /** Sends what was written here, so that the vector may count it. */
    private readonly flush: () => void
  ) {}

  get size(): number {
    return this.waiting.size
  }

  nextMs(): number {
    if (this.outgoing.size > 0) return this.host.nowMs
    let nextMs = Number.POSITIVE_INFINITY
    for (const { deadlineMs } of this.waiting) {
      nextMs = deadlineMs
      break
    }
    for (const { deadlineMs } of this.parked) return Math.min(nextMs, deadlineMs)
    return nextMs
  }

  due(): void {
    const { host } = this
    for (const each of [...this.waiting]) {
      if (each.deadlineMs > host.nowMs) break
      host.stats.fetchesTimedOut++
      this.finish(each, undefined)
    }
    for (const each of [...this.parked]) {
      if (each.deadlineMs > host.nowMs) break
      host.stats.fetchesBehind++
      this.unpark(each)
      this.refuse(each.frame, AnswerStatus.behind)
    }
    if (this.outgoing.size === 0) return
    this.flush()
    for (const question of [...this.outgoing.values()]) this.send(question)
  }

  // Asking

  fetch(key: string, hash: number, done: Done): () => void {
    const { host } = this
    const waiting: Waiting = {
      key,
      hash,
      done,
      deadlineMs: host.nowMs + host.parameters.fetchTimeoutMs,
      asked: new Map(),
      tried: new Set(),
      repeats: 0,
      isOver: false
    }
    if (this.waiting.size >= host.parameters.fetchesMax) {
      host.stats.fetchesRefused++
      done(undefined)
      return nothing
    }
    for (const origin of this.whom(hash)) this.ask(waiting, origin)
    if (waiting.asked.size === 0) {
      done(undefined)
      return nothing
    }
    this.waiting.add(waiting)
    return () => this.cancel(waiting)
  }

  /** The author of the highest write, if it is known for sure; else whoever might know it. */
  private whom(hash: number): Iterable<number> {
    const { store, origin } = this.host
    const sure = store.authorOf(hash)
    if (sure !== undefined && (sure.isGone || sure.author === origin)) return nobody
    if (sure !== undefined && this.canAnswer(sure.author)) return [sure.author]
    const others = new Set(this.neighbours())
    const guess = store.newest(hash)
    if (guess !== undefined && this.canAnswer(guess.author)) others.add(guess.author)
    return others
  }

  private canAnswer(origin: number): boolean {
    const member = this.host.members.live.get(origin)
    return member?.isFresh === true && !member.isJoining && this.host.canReach(origin)
  }

  private ask(waiting: Waiting, origin: number): void {
    let question = this.outgoing.get(origin)
    if (question !== undefined && question.waiting.length >= this.host.parameters.fetchKeysMax) {
      this.flush()
      this.send(question)
      question = undefined
    }
    if (question === undefined) {
      question = { whom: origin, waiting: [], open: 0, id: 0, sentAtMs: 0 }
      this.outgoing.set(origin, question)
    }
    question.waiting.push(waiting)
    question.open++
    waiting.asked.set(origin, question)
    waiting.tried.add(origin)
  }

  private send(question: Question): void {
    const { host } = this
    this.outgoing.delete(question.whom)
    question.waiting = question.waiting.filter((each) => !each.isOver)
    this.lastId = (this.lastId % (2 ** 32 - 1)) + 1
    question.id = this.lastId
    question.sentAtMs = host.nowMs
    this.sent.set(question.id, question)
    host.stats.fetchesOut++
    host.post(question.whom, {
      type: "fetch",
      id: question.id,
      lamport: host.lamport,
      vector: this.vector(),
      keys: question.waiting.map(({ key }) => key)
    })
  }

  /** What has been applied here, own writes included: who answers must have seen as much. */
  protected vector(): VectorEntry[] {
    const { host } = this
    const entries: VectorEntry[] = []
    if (host.own.last > 0) {
      entries.push({ origin: host.origin, region: host.region, highest: host.own.last, hasEnded: false })
    }
    for (const members of [host.members.live, host.members.dead]) {
      for (const { origin, region, marks, isLive } of members.values()) {
        if (marks.highest > 0) entries.push({ origin, region, highest: marks.highest, hasEnded: !isLive })
      }
    }
    return entries
  }

  onValue(frame: ValueFrame): void {
    const { host } = this
    const question = this.sent.get(frame.id)
    if (question === undefined || question.whom !== frame.author || question.waiting.length !== frame.answers.length) {
      host.stats.late++
      return
    }
    this.sent.delete(frame.id)
    for (let at = 0; at < frame.answers.length; at++) {
      const each = question.waiting[at] as Waiting
      if (!each.isOver) this.take(each, frame.answers[at] as ValueAnswer, frame.author, question.sentAtMs)
    }
  }

  private take(each: Waiting, answer: ValueAnswer, from: number, sentAtMs: number): void {
    const { host } = this
    each.asked.delete(from)
    if (answer.status === AnswerStatus.value) {
      host.heardVersion(answer.version)
      const { source, version, writer, ttlMs, payload } = answer
      if (ttlMs < 0 || ttlMs > host.nowMs - sentAtMs) {
        this.finish(each, { source: source as PeerValue["source"], version, writer, ttlMs, payload })
        return
      }
    } else if (answer.status === AnswerStatus.behind || answer.status === AnswerStatus.busy) {
      if (each.repeats++ < repeatsMax && this.canAnswer(from)) this.ask(each, from)
    } else if (answer.status === AnswerStatus.none && answer.writer !== host.origin) {
      const { writer } = answer
      if (writer === 0) this.askOthers(each)
      else if (!each.tried.has(writer) && this.canAnswer(writer)) this.ask(each, writer)
    }
    if (each.asked.size === 0) this.finish(each, undefined)
  }

  /** Whoever was asked knows nothing of the key, not even that it is gone: it was asked because of an old hint. */
  private askOthers(each: Waiting): void {
    if (each.asked.size > 0) return
    for (const origin of this.neighbours()) if (!each.tried.has(origin)) this.ask(each, origin)
  }

  private finish(each: Waiting, value: PeerValue | undefined): void {
    if (each.isOver) return
    this.cancel(each)
    each.done(value)
  }

  private cancel(each: Waiting): void {
    each.isOver = true
    this.waiting.delete(each)
    for (const question of each.asked.values()) this.leave(question)
    each.asked.clear()
  }

  /** One caller less waits for its answer, which may never come: nothing is kept for nobody. */
  private leave(question: Question): void {
    if (--question.open > 0) return
    if (question.id !== 0) this.sent.delete(question.id)
    else if (this.outgoing.get(question.whom) === question) this.outgoing.delete(question.whom)
  }

  /** It will not answer. */
  memberLost(member: Member): void {
    for (const each of [...this.waiting]) {
      const question = each.asked.get(member.origin)
      if (question === undefined) continue
      each.asked.delete(member.origin)
      this.leave(question)
      if (each.asked.size === 0) this.finish(each, undefined)
    }
  }

  // Answering

  onFetch(frame: Fetch): void {
    const { host } = this
    host.stats.fetchesIn++
    host.heardVersion(frame.lamport)
    if (!host.isJoined || !host.hasVerified || frame.keys.length > keysMax) {
      this.refuse(frame, AnswerStatus.busy)
      return
    }
    const parked: Parked = { frame, deadlineMs: host.nowMs + host.parameters.fetchHoldMs, at: 0, isOver: false }
    if (this.isReached(parked)) this.answer(frame)
    else if (this.parked.size >= host.parameters.parkedMax) this.refuse(frame, AnswerStatus.busy)
    else this.park(parked)
  }

  /** Whether everything that the asker has applied has been applied here; else `at` is where not. */
  private isReached(parked: Parked): boolean {
    const { vector } = parked.frame
    for (; parked.at < vector.length; parked.at++) {
      if (!this.hasReached(vector[parked.at] as VectorEntry)) return false
    }
    return true
  }

  private hasReached({ origin, region, highest, hasEnded }: VectorEntry): boolean {
    const { host } = this
    if (origin === host.origin) return highest <= host.own.last
    if (host.members.isRetired(origin)) return true
    const { members, nowMs } = host
    const member = hasEnded ? members.observeDead(origin, region, nowMs) : members.observe(origin, region, nowMs)
    if (member === undefined) return false
    if (highest > member.marks.advertised) {
      member.marks.advertise(highest)
      host.marksMoved(member)
    }
    return member.marks.contiguous >= highest
  }

  private park(parked: Parked): void {
    this.host.stats.fetchesParked++
    this.parked.add(parked)
    this.waitFor(parked)
  }

  private waitFor(parked: Parked): void {
    const { origin } = parked.frame.vector[parked.at] as VectorEntry
    const others = this.parkedBy.get(origin)
    if (others === undefined) this.parkedBy.set(origin, new Set([parked]))
    else others.add(parked)
  }

  private unpark(parked: Parked): void {
    parked.isOver = true
    this.parked.delete(parked)
    this.waitNoMore(parked)
  }

  private waitNoMore(parked: Parked): void {
    const { origin } = parked.frame.vector[parked.at] as VectorEntry
    const others = this.parkedBy.get(origin)
    others?.delete(parked)
    if (others?.size === 0) this.parkedBy.delete(origin)
  }

  /** More of this origin has been applied. */
  onProgress(origin: number): void {
    const waiting = this.parkedBy.get(origin)
    if (waiting === undefined) return
    for (const parked of [...waiting]) {
      if (parked.isOver || !this.hasReached(parked.frame.vector[parked.at] as VectorEntry)) continue
      this.waitNoMore(parked)
      if (!this.isReached(parked)) {
        this.waitFor(parked) // for the next origin; its place stays, so that deadlines ascend
        continue
      }
      parked.isOver = true
      this.parked.delete(parked)
      if (this.host.hasVerified) this.answer(parked.frame)
      else this.refuse(parked.frame, AnswerStatus.busy)
    }
  }

  private answer(frame: Fetch): void {
    const { host } = this
    const answers: ValueAnswer[] = []
    let room = host.parameters.valueBytesMax
    for (const key of frame.keys) {
      const answer = room < 0 ? { ...none, status: AnswerStatus.busy } : this.answerFor(key)
      room -= answer.payload.length
      // The first value is sent whatever its size, since it would not become smaller by being asked for again.
      answers.push(room < 0 && answers.some(isValue) ? { ...none, status: AnswerStatus.busy } : answer)
    }
    host.post(frame.author, { type: "value", id: frame.id, answers })
  }

  private answerFor(key: string): ValueAnswer {
    const { host } = this
    const value = host.store.read(key, host.parameters.valueBytesMax)
    if (value === "none") return { ...none, writer: host.store.authorOfKey(key)?.author ?? 0 }
    if (value === "tooLarge") return { ...none, status: AnswerStatus.tooLarge }
    const ttlMs = value.writer === host.origin ? value.ttlMs : host.copyTtlMs(value.ttlMs)
    if (ttlMs === 0) return none
    return { ...value, status: AnswerStatus.value, ttlMs }
  }

  private refuse(frame: Fetch, status: AnswerStatus): void {
    const answers = frame.keys.map(() => ({ ...none, status }))
    this.host.post(frame.author, { type: "value", id: frame.id, answers })
  }
}

const isValue = ({ status }: ValueAnswer): boolean => status === AnswerStatus.value

const none: ValueAnswer = {
  status: AnswerStatus.none,
  version: 0,
  writer: 0,
  source: 0,
  ttlMs: -1,
  payload: new Uint8Array(0)
}

const nobody: readonly number[] = []
const nothing = (): void => {}
const keysMax = 4_096 // keys in a frame that is answered; instances may differ in `fetchKeysMax`, not in this
const repeatsMax = 4 // `behind` and `busy` are over soon, or not within `fetchTimeoutMs`
