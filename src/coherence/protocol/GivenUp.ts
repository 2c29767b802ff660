/**
 * What was given up, as nobody had it any more (Reconciler.ts), and is learnt of after all. An own write may be what a
 * tag, a prefix or a clear in it was about; copies were forgotten with it.
 *
 * - Its author was taken for dead by mistake, and is back: it is asked which buckets have moved since, and which tags it
 *   has invalidated.
 * - Its author is dead, and a vector says that somebody has heard of such records, and does not name them among the holes
 *   of its own (HELLO, VECTOR, FETCH): he has received them, as others have whom he was with. He is asked for them, and
 *   what comes is applied as if it had never been given up. Whoever found something says so in his next vector.
 *
 * Until these have answered, nothing is certain of what was written here: as with `OwnEntries`, the instance is not
 * coherent, acknowledges nothing and answers `busy` to FETCH. Who joins takes over the holes of whom he takes his baseline.
 *
 * GONE says from where on somebody has records again, not which are missing below, and records may be lost on their way:
 * so the first that has not come is asked for alone, before he is taken not to have it. What he was asked for in vain he is
 * not asked for again.
 *
 * Bounds: one question an origin, `pullRecordsMax` records a round; an answer kept for each origin and member.
 */
import type { Gone, VectorEntry } from "./Frame.ts"
import type { Host } from "./Host.ts"
import { both, type Span, without } from "./Marks.ts"
import type { Member } from "./Members.ts"

export class GivenUp {
  /** Authors who are back and have not answered yet. */
  private readonly returned = new Map<Member, { attempts: number; dueMs: number }>()
  /** By origins who have ended. */
  private readonly searches = new Map<Member, Search>()

  constructor(
    private readonly host: Host,
    private readonly sendPull: (whom: number, of: number, first: number, last: number) => void,
    private readonly sendBucketsAsk: (of: Member, since: number) => void,
    /** When something is asked for once more that was asked for so often. */
    private readonly nextAttemptMs: (attempts: number) => number,
    /** Somebody says to have what is missing of an origin that has ended, and is being asked for. */
    private readonly onClaim: (of: Member, whom: number) => void
  ) {}

  /** Somebody has not answered yet. */
  get isPending(): boolean {
    if (this.returned.size > 0) return true
    for (const [of, { holders }] of this.searches) if (of.givenUp !== undefined && holders.size > 0) return true
    return false
  }

  nextMs(): number {
    let nextMs = Number.POSITIVE_INFINITY
    for (const { dueMs } of this.returned.values()) nextMs = Math.min(nextMs, dueMs)
    for (const { dueMs } of this.searches.values()) nextMs = Math.min(nextMs, dueMs)
    return nextMs
  }

  due(): void {
    for (const [member, asked] of this.returned) {
      if (asked.dueMs > this.host.nowMs) continue
      asked.dueMs = this.nextAttemptMs(++asked.attempts)
      this.sendBucketsAsk(member, this.aboveOf(member))
    }
    for (const [of, search] of this.searches) if (search.dueMs <= this.host.nowMs) this.goOn(of, search)
  }

  memberReturned(member: Member): void {
    this.searches.delete(member)
    if (member.givenUp !== undefined) this.returned.set(member, { attempts: 0, dueMs: this.host.nowMs })
  }

  memberEnded(member: Member): void {
    this.returned.delete(member)
    for (const search of this.searches.values()) {
      if (search.holders.delete(member) && search.asked === member) search.next(this.host.nowMs)
    }
  }

  memberForgotten(member: Member): void {
    this.searches.delete(member)
  }

  /** Of what was given up of this origin something has come, or nothing is missing above. */
  progress(of: Member): void {
    const search = this.searches.get(of)
    if (of.givenUp === undefined) {
      this.returned.delete(of)
      if (of.marks.isWhole) this.searches.delete(of)
    } else if (search !== undefined) {
      const left = search.asked === undefined ? undefined : search.leftOf(search.asked, of)
      if (left === undefined || left.first > search.last) search.next(this.host.nowMs)
      else if (left.first > search.first) search.dueMs = this.host.nowMs + this.host.parameters.pullRetryMs
    }
  }

  // Authors

  /** Whether what has moved of this author since then is what it was asked for. */
  isWanted(member: Member, since: number): boolean {
    return this.returned.has(member) && since <= this.aboveOf(member)
  }

  /** What has moved since then is known. */
  told(member: Member, since: number): void {
    if (since > this.aboveOf(member)) return
    member.givenUp = undefined
    this.progress(member)
  }

  private aboveOf({ givenUp }: Member): number {
    return givenUp?.contiguous ?? Number.POSITIVE_INFINITY
  }

  // Holders

  /**
   * What is missing of an origin up to this sequence is given up now, as these do not have it. Who has not said that he
   * has it may still get it; of the others it is known now.
   */
  askedInVain(of: Member, upTo: number, whom: ReadonlySet<number>): void {
    const search = this.searches.get(of)
    if (search === undefined) return
    const gone = { first: of.marks.contiguous + 1, last: upTo }
    for (const holder of search.holders.keys()) if (whom.has(holder.origin)) search.isGone(holder, gone)
    search.next(this.host.nowMs)
  }

  /** What somebody has heard of an origin. */
  heard(whom: number, { origin, highest, holes = [] }: VectorEntry): void {
    const { members, nowMs } = this.host
    const [of, holder] = [members.dead.get(origin), members.live.get(whom)]
    if (of === undefined || holder === undefined || (of.givenUp === undefined && of.marks.isWhole)) return
    const search = this.searches.get(of) ?? new Search()
    const above = { first: highest + 1, last: Number.POSITIVE_INFINITY }
    const his = without(of.missing(), [...holes, above])
    const left = without(his, search.inVain.get(whom) ?? [])
    if (left.length === 0) return
    this.searches.set(of, search)
    const isIdle = search.holders.size === 0
    const isNew = !search.holders.has(holder)
    search.holders.set(holder, left)
    if (isIdle) search.next(nowMs)
    if (isNew && !of.marks.isWhole) this.onClaim(of, whom)
  }

  private goOn(of: Member, search: Search): void {
    const { nowMs, parameters } = this.host
    if (!of.marks.isWhole) {
      search.asked = undefined
      search.dueMs = nowMs + parameters.heartbeatMs // all are being asked for what is missing: one thing at a time
      return
    }
    if (search.asked !== undefined && search.attempts > 0) search.toTheEnd(search.asked)
    for (const holder of search.holders.keys()) {
      const left = search.leftOf(holder, of)
      if (left === undefined) {
        search.holders.delete(holder)
      } else if (holder.isFresh) {
        search.ask(holder, left.first, Math.min(left.last, left.first + parameters.pullRecordsMax - 1))
        search.dueMs = this.nextAttemptMs(++search.attempts)
        this.sendPull(holder.origin, of.origin, search.first, search.last)
        return
      }
    }
    search.asked = undefined
    search.dueMs = search.holders.size > 0 ? nowMs + parameters.heartbeatMs : Number.POSITIVE_INFINITY
  }

  /** Whether it is an answer to a question. */
  onGone({ author, of, oldest }: Gone): boolean {
    const member = this.host.members.dead.get(of)
    const search = member === undefined ? undefined : this.searches.get(member)
    if (search?.asked?.origin !== author || oldest <= search.first || member?.marks.isWhole === false) return false
    if (search.isOne) search.isGone(search.asked, { first: search.first, last: oldest - 1 })
    search.next(this.host.nowMs, !search.isOne)
    return true
  }
}

/** Who may have what was given up of one origin. */
class Search {
  dueMs = 0
  attempts = 0
  /** Whom the last question has asked, and for what; undefined: nobody can be asked. */
  asked: Member | undefined
  first = 0
  last = 0
  /** The next question to the same one is for its first sequence alone. */
  isOne = false
  /** What each says to have of what is missing, as far as he was not asked for it in vain. */
  readonly holders = new Map<Member, readonly Span[]>()
  /** By origin: what each was asked for in vain. */
  readonly inVain = new Map<number, Span[]>()

  /** The first of what this one may have and is missing. */
  leftOf(holder: Member, of: Member): Span | undefined {
    return both(this.holders.get(holder) ?? [], of.missing())[0]
  }

  ask(whom: Member, first: number, last: number): void {
    const isOne = this.isOne && whom === this.asked
    this.isOne = isOne
    this.asked = whom
    this.first = first
    this.last = isOne ? first : last
  }

  /** Something was learnt, or he has ended. */
  next(nowMs: number, isOne = false): void {
    this.dueMs = nowMs
    this.attempts = 0
    this.isOne = isOne
  }

  /** He does not have these, though he has heard of them. */
  isGone(holder: Member, gone: Span): void {
    const inVain = [...(this.inVain.get(holder.origin) ?? []), gone].sort((one, other) => one.first - other.first)
    this.inVain.set(holder.origin, inVain)
    this.holders.set(holder, without(this.holders.get(holder) ?? [], [gone]))
  }

  /** The others are asked before him. */
  toTheEnd(whom: Member): void {
    const left = this.holders.get(whom)
    if (left === undefined || !this.holders.delete(whom)) return
    this.holders.set(whom, left)
  }
}
