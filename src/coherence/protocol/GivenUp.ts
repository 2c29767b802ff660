/**
 * What was given up, as nobody had it any more (Reconciler.ts), and is learnt of after all. An own write may be what a
 * tag, a prefix or a clear in it was about; copies were forgotten with it.
 *
 * - Its author was taken for dead by mistake, and is back: it is asked which buckets have moved since, and which tags it
 *   has invalidated. Until it has answered, the instance is not coherent.
 * - Somebody greets, for the first time or once more, who has heard of what this instance has not: it met others of whom
 *   the author's records had been received. It is asked for these, from the lowest on, and what it has is applied here as if
 *   it had never been given up. Relays pass what they learn so on to their cell, since only they are greeted from beyond.
 *
 * GONE tells that something is missing, not which: the first sequence is asked for alone before what is below the
 * answer is taken for missing there.
 *
 * Bounds: a question an origin, and one an origin and whoever has greeted; `pullRecordsMax` records a round.
 */
import type { Gone, VectorEntry } from "./Frame.ts"
import type { Host } from "./Host.ts"
import type { Span } from "./Marks.ts"
import type { Member } from "./Members.ts"

/** What somebody is asked for. */
interface Search {
  readonly of: Member
  readonly whom: Member
  /** It has nothing of it below this sequence. */
  from: number
  /** The last question ended here. */
  last: number
  /** Whether the next question is for one sequence only. */
  isOne: boolean
  attempts: number
  dueMs: number
}

export class GivenUp {
  /** Authors who are back and have not answered yet. */
  private readonly returned = new Map<Member, { attempts: number; dueMs: number }>()
  private readonly searches = new Set<Search>()

  constructor(
    private readonly host: Host,
    private readonly sendPull: (whom: number, of: number, first: number, last: number) => void,
    private readonly sendBucketsAsk: (of: Member, since: number) => void,
    /** When something is asked for once more that was asked for so often. */
    private readonly nextAttemptMs: (attempts: number) => number
  ) {}

  /** An author who is back has not answered yet. */
  get isPending(): boolean {
    return this.returned.size > 0
  }

  nextMs(): number {
    let nextMs = Number.POSITIVE_INFINITY
    for (const { dueMs } of this.returned.values()) nextMs = Math.min(nextMs, dueMs)
    for (const { dueMs } of this.searches) nextMs = Math.min(nextMs, dueMs)
    return nextMs
  }

  due(): void {
    for (const [member, asked] of this.returned) {
      if (asked.dueMs > this.host.nowMs) continue
      asked.dueMs = this.nextAttemptMs(++asked.attempts)
      this.sendBucketsAsk(member, this.aboveOf(member))
    }
    for (const search of this.searches) if (search.dueMs <= this.host.nowMs) this.goOn(search)
  }

  memberReturned(member: Member): void {
    if (member.givenUp !== undefined) this.returned.set(member, { attempts: 0, dueMs: this.host.nowMs })
  }

  memberEnded(member: Member): void {
    // Who has greeted since it came back was not asked, as it would have been.
    if (this.returned.delete(member)) for (const other of this.host.members.live.values()) this.search(member, other)
  }

  /** Whether what has moved of this author since then is what it was asked for. */
  isWanted(member: Member, since: number): boolean {
    return this.returned.has(member) && since <= this.aboveOf(member)
  }

  /** What has moved since then is known. */
  told(member: Member, since: number): void {
    if (since > this.aboveOf(member)) return
    member.givenUp = undefined
    this.returned.delete(member)
  }

  private aboveOf({ givenUp }: Member): number {
    return givenUp?.contiguous ?? Number.POSITIVE_INFINITY
  }

  // Searches

  /** What it has heard of others. */
  memberGreets(whom: Member, vector: readonly VectorEntry[]): void {
    for (const { origin, highest } of vector) {
      const of = this.host.members.dead.get(origin)
      if (of !== undefined && highest > this.aboveOf(of)) this.search(of, whom)
    }
  }

  private search(of: Member, whom: Member): void {
    for (const search of this.searches) if (search.of === of && search.whom === whom) this.searches.delete(search)
    this.searches.add({ of, whom, from: 0, last: 0, isOne: false, attempts: 0, dueMs: this.host.nowMs })
  }

  private goOn(search: Search): void {
    const { of, whom } = search
    const hole = holeOf(search)
    if (hole === undefined || of.isLive || !whom.isLive) {
      this.searches.delete(search)
      return
    }
    search.dueMs = this.nextAttemptMs(++search.attempts)
    const { first } = hole
    search.last = search.isOne ? first : Math.min(hole.last, first + this.host.parameters.pullRecordsMax - 1)
    this.sendPull(whom.origin, of.origin, first, search.last)
  }

  /** Of what was given up of this origin something has come: questions may have been answered. */
  progress(of: Member): void {
    if (of.givenUp === undefined) this.returned.delete(of)
    for (const search of this.searches) {
      if (search.of !== of) continue
      const hole = holeOf(search)
      if (hole === undefined || hole.first > search.last) this.next(search, search.from)
    }
  }

  /** Whether it is an answer to a question. */
  onGone({ author, of, oldest }: Gone): boolean {
    for (const search of this.searches) {
      if (search.whom.origin !== author || search.of.origin !== of) continue
      if (search.isOne) this.next(search, Math.max(search.from, oldest))
      else search.isOne = true
      search.dueMs = this.host.nowMs
      return true
    }
    return false
  }

  private next(search: Search, from: number): void {
    search.from = from
    search.isOne = false
    search.attempts = 0
    search.dueMs = this.host.nowMs
  }
}

/** The first of what is missing that it may have. */
const holeOf = ({ of, from }: Search): Span | undefined => {
  const hole = of.givenUp?.missing(Number.POSITIVE_INFINITY).find(({ last }) => last >= from)
  return hole === undefined ? undefined : { first: Math.max(hole.first, from), last: hole.last }
}
