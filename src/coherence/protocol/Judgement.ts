/**
 * Whether an instance is coherent, and what becomes of its copies while it is not.
 *
 * *Coherent* is one that has joined, can be reached, has heard of all members in time, had room for each, misses nothing
 * for longer than `gapLimitMs`, and has nothing of its own to compare. It stops being so by these alone. It becomes so
 * again only when it is also healed: all that was known to exist of each member when it became degraded, or was heard of
 * again later, has been applied, and each of its cell has greeted since. What is written meanwhile does not count, or a
 * busy member would keep all others degraded.
 *
 * While it is not coherent, how long copies live is capped (`copyMsMax`), and those that were there before are forgotten
 * `partitionTtlMs` after it should have been noticed; or all go at once (`bypass`), or nothing happens (`serve`).
 *
 * Judged at the end of each call of the instance and each tick: O(members) while degraded, O(open holes) otherwise.
 */
import type { Host } from "./Host.ts"
import type { Degraded } from "./InstanceStatus.ts"
import type { Member } from "./Members.ts"
import type { Reconciler } from "./Reconciler.ts"

export class Judgement {
  isCoherent = false
  /** ms that a copy may live at most: Infinity; `partitionTtlMs` while degraded and capped; 0: is not to be stored. */
  copyMsMax = 0
  /** The first reason for which it is not coherent. */
  degradedWhy: Degraded | undefined = "joining"
  private degradedSinceMs: number
  /** What was stored before this mark goes at this time, if the instance is degraded until then. */
  private degradedMark = 0
  private forgetAtMs = Number.POSITIVE_INFINITY

  constructor(
    private readonly host: Host,
    private readonly reconciler: Pick<Reconciler, "oldestHoleMs">
  ) {
    this.degradedSinceMs = host.nowMs
  }

  judge(): void {
    const why = reasons.find((reason) => this.is(reason))
    if (why === undefined) {
      if (!this.isCoherent) this.becomeCoherent()
    } else if (this.isCoherent || this.degradedWhy === "joining") {
      if (why !== "joining") this.becomeDegraded(why)
    } else {
      this.degradedWhy = why
    }
  }

  /** All reasons that hold now. */
  reasons(): Degraded[] {
    return reasons.filter((reason) => this.is(reason))
  }

  get degradedForMs(): number {
    return this.isCoherent ? 0 : this.host.nowMs - this.degradedSinceMs
  }

  private is(reason: Degraded): boolean {
    const { host } = this
    switch (reason) {
      case "joining":
        return !host.isJoined
      case "cutOff":
        return host.cutOffUntilMs > host.nowMs
      case "suspect":
        return host.members.suspects > 0
      case "comparing":
        return !host.hasVerified
      case "gap":
        return this.reconciler.oldestHoleMs() > host.parameters.gapLimitMs
      case "crowded":
        return host.members.refusedUntilMs > host.nowMs
      case "healing":
        return !this.isCoherent && !this.isHealed()
    }
  }

  /** An instance that is degraded now has to have applied everything that is known of this member, to be coherent. */
  healTo(member: Member): void {
    if (!this.isCoherent) member.healAt = member.marks.advertised
  }

  private isHealed(): boolean {
    const { host } = this
    for (const member of host.members.live.values()) {
      if (member.marks.contiguous < member.healAt || host.owesGreeting(member)) return false
    }
    for (const { marks, healAt } of host.members.dead.values()) if (marks.contiguous < healAt) return false
    return true
  }

  private becomeCoherent(): void {
    this.isCoherent = true
    this.degradedWhy = undefined
    this.copyMsMax = Number.POSITIVE_INFINITY
    this.forgetAtMs = Number.POSITIVE_INFINITY
  }

  private becomeDegraded(why: Degraded): void {
    const { host } = this
    const { degraded, partitionTtlMs } = host.parameters
    if (this.isCoherent) this.degradedSinceMs = host.nowMs // it may never have been, since its start
    this.isCoherent = false
    this.degradedWhy = why
    host.stats.degradedTimes++
    // What is missing now has to be here before it is coherent again, not what comes meanwhile.
    for (const member of host.members.live.values()) this.healTo(member)
    for (const member of host.members.dead.values()) this.healTo(member)
    if (degraded === "serve") {
      this.copyMsMax = Number.POSITIVE_INFINITY
    } else if (degraded === "bypass") {
      this.copyMsMax = 0
      host.store.forgetCopies()
    } else {
      this.copyMsMax = partitionTtlMs
      this.degradedMark = host.store.mark()
      this.forgetAtMs = this.degradedFromMs() + partitionTtlMs
      this.due()
    }
  }

  /** When it should have been noticed: now, unless the process has stood still meanwhile. */
  private degradedFromMs(): number {
    const { members, nowMs, parameters } = this.host
    const holeMs = this.reconciler.oldestHoleMs() - parameters.gapLimitMs
    let fromMs = nowMs - Math.max(0, holeMs)
    for (const member of members.live.values()) {
      if (member.isSuspect) fromMs = Math.min(fromMs, member.heardAtMs + members.silenceMsMax(member))
    }
    return fromMs
  }

  nextMs(): number {
    const { cutOffUntilMs, nowMs } = this.host
    return cutOffUntilMs > nowMs ? Math.min(this.forgetAtMs, cutOffUntilMs) : this.forgetAtMs
  }

  /** Forgets the copies of before, once their time has passed. */
  due(): void {
    const { host } = this
    if (host.nowMs < this.forgetAtMs) return
    this.forgetAtMs = Number.POSITIVE_INFINITY
    host.stats.degradedForgets++
    host.store.forgetCopies(this.degradedMark)
  }

  copyTtlMs(ttlMs: number): number {
    if (this.forgetAtMs === Number.POSITIVE_INFINITY) return ttlMs
    const leftMs = Math.max(0, Math.floor(this.forgetAtMs - this.host.nowMs))
    return ttlMs < 0 ? leftMs : Math.min(ttlMs, leftMs)
  }
}

const reasons: readonly Degraded[] = ["joining", "cutOff", "suspect", "comparing", "gap", "crowded", "healing"]
