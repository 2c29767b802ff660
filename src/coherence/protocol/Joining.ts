/**
 * When an instance has joined: from then on it may hold what others wrote, so it has to know from where on to watch each.
 *
 * Whoever is established answers its HELLO with the sequences that it has heard of, which become the baseline: nothing
 * before them can matter to somebody who holds nothing. (What the joiner writes from then on comes after all wide
 * records below it, and is compared with the writes of all members, OwnEntries.ts.) A joiner that holds writes of its
 * own by then takes no baseline: a tag, a prefix or a clear below it may be later than these, so it has to learn all that
 * others wrote, and what is lost of it goes the way of all that is lost (Reconciler.ts). Nor is there one of other
 * joiners, or of those whom an established instance meets later: two that have both been alone have to learn all that
 * the other one wrote.
 *
 * It has joined as soon as all links have greeted and the transport has found whoever there is; where an established
 * member has greeted, after `joinMs` without waiting for the rest; alone as soon as the transport has found nobody, or
 * only joiners, or nobody has answered for `joinMs`. Without a word from the transport it does not join alone.
 */
import type { Host } from "./Host.ts"
import type { Span } from "./Marks.ts"
import type { Member } from "./Members.ts"

export class Joining {
  private readonly beganAtMs: number
  private settledAtMs = Number.POSITIVE_INFINITY
  private isWelcome = false
  /** What it was told when it was welcomed last is the baseline: it had written nothing. */
  private isEmpty = false

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

  /** An established member greets: what it says next of itself and of others is the baseline. O(entries). */
  welcomed(): void {
    const { own, store } = this.host
    this.isWelcome = true
    this.isEmpty = own.last === 0 || store.ownHashes(null).length === 0
  }

  /** The member that greets has heard of this origin up to here, and does not have what is in `holes`. */
  baseline(member: Member, upTo: number, holes: readonly Span[] = []): void {
    if (!this.isEmpty || upTo <= member.marks.contiguous) return
    if (member.isLive) member.marks.cover(upTo)
    else member.giveUp(upTo, holes)
    member.hasBaseline = true
  }

  get isOver(): boolean {
    const { host } = this
    const { joinMs } = host.parameters
    const isSettled = this.settledAtMs <= host.nowMs
    if (isSettled && this.haveAllGreeted()) return true
    if (this.isWelcome) return host.nowMs >= this.beganAtMs + joinMs
    return host.nowMs >= this.settledAtMs + joinMs
  }

  nextMs(): number {
    const { joinMs } = this.host.parameters
    return (this.isWelcome ? Math.min(this.beganAtMs, this.settledAtMs) : this.settledAtMs) + joinMs
  }

  private haveAllGreeted(): boolean {
    for (const origin of this.linked) if (this.host.members.live.get(origin)?.hasGreeted === false) return false
    return true
  }
}
