/**
 * When an instance has joined: from then on it may hold what others wrote, so it has to know from where on to watch each.
 *
 * Whoever is established answers its HELLO with the sequences that it has heard of, which become the baseline: nothing
 * before them can matter to somebody who holds nothing of others. (What the joiner has written itself meanwhile is
 * compared with all members, OwnEntries.ts.) Of other joiners, and of those whom an established instance meets later,
 * the baseline is 0: two that have both been alone have to learn all that the other one wrote.
 *
 * It has joined with a baseline as soon as all links have greeted and the transport has found whoever there is, or
 * after `joinMs` without waiting for the rest; alone as soon as the transport has found nobody, or only joiners, or
 * nobody has answered for `joinMs`. Without a word from the transport it joins with a baseline only.
 */
import type { Host } from "./Host.ts"
import type { Member } from "./Members.ts"

export class Joining {
  private readonly beganAtMs: number
  private settledAtMs = Number.POSITIVE_INFINITY
  private hasBaseline = false

  constructor(
    private readonly host: Host,
    private readonly linked: ReadonlySet<number>
  ) {
    this.beganAtMs = host.nowMs
  }

  /** The transport has looked for others once. */
  settled(): void {
    this.settledAtMs = Math.min(this.settledAtMs, this.host.nowMs)
  }

  /** An established member has said up to where it has heard of this origin. */
  baseline(member: Member, upTo: number): void {
    this.hasBaseline = true
    if (upTo > member.marks.contiguous) {
      member.marks.cover(upTo)
      member.hasBaseline = true
    }
  }

  get isOver(): boolean {
    const { host } = this
    const { joinMs } = host.parameters
    const isSettled = this.settledAtMs <= host.nowMs
    if (isSettled && this.haveAllGreeted()) return true
    if (this.hasBaseline) return host.nowMs >= this.beganAtMs + joinMs
    return host.nowMs >= this.settledAtMs + joinMs
  }

  nextMs(): number {
    const { joinMs } = this.host.parameters
    return (this.hasBaseline ? Math.min(this.beganAtMs, this.settledAtMs) : this.settledAtMs) + joinMs
  }

  private haveAllGreeted(): boolean {
    for (const origin of this.linked) if (this.host.members.live.get(origin)?.hasGreeted === false) return false
    return true
  }
}
