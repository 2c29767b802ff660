/**
 * Who has applied what: the records of this instance at others, and those of others here.
 *
 * A writer that waits marks its frames (`wantsAck`), and whoever has applied everything up to their end says so once,
 * with one number for all before it. What is lost either way is asked for again with each heartbeat. `live` waits for
 * all members that are heard of when it begins; who becomes suspect meanwhile is not waited for and is named as missing,
 * who ends is neither. `one` is satisfied by the first.
 *
 * At most `acksMax` writers wait; one more is told at once that everybody is missing.
 */
import type { Host } from "./Host.ts"
import type { Member } from "./Members.ts"

export interface Acknowledged {
  /** How many members have applied it. */
  readonly acked: number
  /** Who has not, of those that would have had to. */
  readonly missing: readonly number[]
}

interface Waiting {
  readonly sequence: number
  readonly mode: "one" | "live"
  readonly done: (result: Acknowledged) => void
  readonly deadlineMs: number
  readonly waitsFor: Set<number>
  readonly missing: Set<number>
  acked: number
}

export class Acks {
  /** Ascending deadlines. */
  private readonly waiting = new Set<Waiting>()

  constructor(private readonly host: Host) {}

  get isWaiting(): boolean {
    return this.waiting.size > 0
  }

  get size(): number {
    return this.waiting.size
  }

  nextMs(): number {
    for (const { deadlineMs } of this.waiting) return deadlineMs
    return Number.POSITIVE_INFINITY
  }

  wait(sequence: number, mode: "one" | "live", done: (result: Acknowledged) => void): void {
    const { host } = this
    const waitsFor = new Set<number>()
    const missing = new Set<number>()
    for (const { origin, isSuspect } of host.members.live.values()) {
      if (isSuspect) missing.add(origin)
      else waitsFor.add(origin)
    }
    if (this.waiting.size >= host.parameters.acksMax) {
      host.stats.acksRefused++
      done({ acked: 0, missing: [...waitsFor, ...missing] })
      return
    }
    const deadlineMs = host.nowMs + host.parameters.ackTimeoutMs
    const entry: Waiting = { sequence, mode, done, deadlineMs, waitsFor, missing, acked: 0 }
    this.waiting.add(entry)
    this.settle(entry)
  }

  /** Who is still waited for, by anybody. */
  laggards(): Set<number> {
    const origins = new Set<number>()
    for (const { waitsFor } of this.waiting) for (const origin of waitsFor) origins.add(origin)
    return origins
  }

  /** A member has applied the records of this instance up to here. */
  onAck(from: number, upTo: number): void {
    for (const entry of [...this.waiting]) {
      if (entry.sequence > upTo) continue
      const isNew = entry.waitsFor.delete(from) || entry.missing.delete(from)
      if (isNew) entry.acked++
      this.settle(entry)
    }
  }

  onSuspect(member: Member): void {
    for (const entry of [...this.waiting]) {
      if (entry.waitsFor.delete(member.origin)) entry.missing.add(member.origin)
      this.settle(entry)
    }
  }

  onEnd(member: Member): void {
    for (const entry of [...this.waiting]) {
      entry.waitsFor.delete(member.origin)
      entry.missing.delete(member.origin)
      this.settle(entry)
    }
  }

  private settle(entry: Waiting): void {
    const isDone = entry.mode === "live" ? entry.waitsFor.size === 0 : entry.acked > 0 || entry.waitsFor.size === 0
    if (isDone) this.finish(entry)
  }

  private finish(entry: Waiting): void {
    if (!this.waiting.delete(entry)) return
    const missing = entry.mode === "one" && entry.acked > 0 ? [] : [...entry.waitsFor, ...entry.missing]
    entry.done({ acked: entry.acked, missing })
  }

  due(): void {
    for (const entry of [...this.waiting]) {
      if (entry.deadlineMs > this.host.nowMs) break
      this.host.stats.acksTimedOut++
      this.finish(entry)
    }
  }

  // The other side

  /** A member wants to hear when its records up to `last` have been applied; says it now if they have. */
  onWanted(member: Member, last: number): void {
    member.ackWanted = Math.max(member.ackWanted, last)
    member.ackSent = Math.min(member.ackSent, last - 1) // asked again: the answer was lost, or not yet given
    this.answer(member)
  }

  /** Says how far a member's records have been applied, if it waits for that and it is true of all entries here. */
  answer(member: Member): void {
    const { host } = this
    const upTo = Math.min(member.marks.contiguous, member.ackWanted)
    if (upTo <= member.ackSent || !host.hasVerified) return
    member.ackSent = upTo
    this.host.post(member.origin, { type: "ack", of: member.origin, upTo })
  }

  answerAll(): void {
    for (const member of this.host.members.live.values()) this.answer(member)
  }
}
