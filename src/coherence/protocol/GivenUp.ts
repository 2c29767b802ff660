/**
 * What was given up, as nobody had it any more (Reconciler.ts), and is learnt of after all. An own write may be what a
 * tag, a prefix or a clear in it was about; copies were forgotten with it.
 *
 * - Its author was taken for dead by mistake, and is back: it is asked which buckets have moved since, and which tags it
 *   has invalidated. Until it has answered the instance is not coherent.
 * - Its author is dead: vectors name what is missing, and whoever has received some of it says it again, unasked; it is
 *   applied as if it had never been given up. Only who lacks something speaks, at each vector and in few bytes, and only
 *   who has it answers: so nothing has to be remembered of who was asked, and nobody waits.
 *
 * The same is wanted of an author who has told which buckets have moved, and dies before it has answered what of the own
 * writes in these it has overwritten. Who joins takes over what is missing to whom it takes its baseline from.
 *
 * Bounds: one question an origin; an answer has `pullRecordsMax` records of each end of a hole.
 */
import type { LogRecord } from "./Frame.ts"
import type { Host } from "./Host.ts"
import type { Span } from "./Marks.ts"
import type { Member } from "./Members.ts"

export class GivenUp {
  /** Authors who are back and have not answered yet. */
  private readonly returned = new Map<Member, { attempts: number; dueMs: number }>()

  constructor(
    private readonly host: Host,
    private readonly replay: (to: number, of: number, first: number, records: readonly LogRecord[]) => void,
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
    return nextMs
  }

  due(): void {
    for (const [member, asked] of this.returned) {
      if (asked.dueMs > this.host.nowMs) continue
      asked.dueMs = this.nextAttemptMs(++asked.attempts)
      this.sendBucketsAsk(member, this.aboveOf(member))
    }
  }

  memberReturned(member: Member): void {
    if (member.givenUp !== undefined) this.returned.set(member, { attempts: 0, dueMs: this.host.nowMs })
  }

  memberEnded(member: Member): void {
    this.returned.delete(member)
  }

  /** Of what was given up of this origin something has come. */
  progress(member: Member): void {
    if (member.givenUp === undefined) this.returned.delete(member)
  }

  /** Whether what has moved of this author since then is what it was asked for. */
  isWanted(member: Member, since: number): boolean {
    return this.returned.has(member) && since <= this.aboveOf(member)
  }

  /** It has told what has moved since then; what that means for own writes is known, or will be asked for. */
  told(member: Member, since: number): void {
    if (since <= this.aboveOf(member)) this.returned.delete(member)
  }

  /** It has answered what is asked about own writes, and lives: nothing that it has told of is in doubt. */
  verified(origin: number): void {
    const member = this.host.members.live.get(origin)
    if (member !== undefined && !this.returned.has(member)) member.givenUp = undefined
  }

  private aboveOf({ givenUp }: Member): number {
    return givenUp?.contiguous ?? Number.POSITIVE_INFINITY
  }

  /** Somebody has given up these of an origin: he gets what was received of them. */
  wanted(whom: number, origin: number, holes: readonly Span[]): void {
    const { received, parameters } = this.host
    if (!received.has(origin)) return
    const most = parameters.pullRecordsMax
    for (const { first, last } of holes) {
      this.tell(whom, origin, first, Math.min(last, first + most - 1))
      this.tell(whom, origin, Math.max(first + most, last - most + 1), last)
    }
  }

  private tell(whom: number, of: number, first: number, last: number): void {
    const { received, parameters, stats } = this.host
    for (let at = first; at <= last; ) {
      const records = received.range(of, at, Math.min(last, at + parameters.batchRecordsMax - 1))
      if (records !== undefined) {
        stats.replayedOut += records.length
        this.replay(whom, of, at, records)
      }
      at += records?.length ?? 1
    }
  }
}
