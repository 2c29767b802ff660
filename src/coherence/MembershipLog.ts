/**
 * What becomes of the others, and of how this instance stands with them, as lines for a log.
 *
 * Nothing is noted when it happens: at each look the table of members is compared with what was told so far. So a change
 * that is over before anybody has looked is not told, and however many come at once there is one line of each kind in a
 * second, with at most `namesMax` names. That an instance is degraded is told once it has been so for a second, or for
 * five of its start, and then that it is over; most of it is over before.
 *
 * Cost: O(members) a look.
 */
import { originName } from "./PeerOrigin.ts"
import type { Member, Members } from "./protocol/Members.ts"

export interface LogLine {
  readonly level: "info" | "warning"
  readonly text: string
}

export interface MembershipPort {
  readonly members: Pick<Members, "live" | "dead">
  readonly isJoined: boolean
  readonly isCoherent: boolean
}

export interface MembershipLogOptions {
  /** Milliseconds that only grow. */
  readonly nowMs: () => number
  /** ms for which the instance has not been coherent; asked while it is not. */
  readonly degradedForMs: () => number
  /** Why it is not, in sentences. */
  readonly degradedWhy: () => readonly string[]
  /** What people call the region of that number. */
  readonly regionOf: (region: number) => string
}

export class MembershipLog {
  /** Whose coming was told, by origin, with their regions. */
  private readonly told = new Map<number, number>()
  private hasJoined = false
  private toldAtMs = Number.NEGATIVE_INFINITY
  private wasCoherent = false
  /** Of the time that was warned of; null where none is to be told the end of. */
  private warnedFromMs: number | null = null

  constructor(
    private readonly port: MembershipPort,
    private readonly options: MembershipLogOptions
  ) {}

  /** The lines of what has changed, to be asked for some times a second. */
  look(): readonly LogLine[] {
    const nowMs = this.options.nowMs()
    return [...this.membersLines(nowMs), ...this.standingLines(nowMs)]
  }

  private membersLines(nowMs: number): LogLine[] {
    if (!this.port.isJoined || nowMs < this.toldAtMs + tellMs) return []
    const changed = this.takeChanged()
    const lines: LogLine[] = []
    for (const [became, names] of changed) {
      const others = this.told.size === 1 ? "1 other now" : `${this.told.size} others now`
      lines.push({ level: "info", text: sentence(this.hasJoined ? became : "is there", names, others) })
    }
    this.hasJoined = true
    if (lines.length > 0) this.toldAtMs = nowMs
    return lines
  }

  /** Names by what has become of them since the last time, which counts as told. */
  private takeChanged(): ReadonlyMap<Became, readonly string[]> {
    const { live, dead } = this.port.members
    const changed = new Map<Became, string[]>()
    const note = (became: Became, origin: number, region: number) => {
      const names = changed.get(became) ?? []
      names.push(`${originName(origin)} (${this.options.regionOf(region)})`)
      changed.set(became, names)
    }
    for (const [origin, region] of this.told) {
      if (live.has(origin)) continue
      this.told.delete(origin)
      note(endOf(dead.get(origin)), origin, region)
    }
    for (const { origin, region, isFresh, isJoining } of live.values()) {
      if (this.told.has(origin)) this.told.set(origin, region)
      else if (isFresh && !isJoining) {
        this.told.set(origin, region)
        note("joined", origin, region)
      }
    }
    return changed
  }

  private standingLines(nowMs: number): LogLine[] {
    const { port, options, wasCoherent, warnedFromMs } = this
    if (port.isCoherent) {
      this.wasCoherent = true
      if (warnedFromMs === null) return []
      this.warnedFromMs = null
      const forMs = nowMs - warnedFromMs
      return [{ level: "info", text: `coherent ${wasCoherent ? "again " : ""}after ${seconds(forMs)}` }]
    }
    const forMs = options.degradedForMs()
    if (warnedFromMs !== null || forMs < (wasCoherent ? degradedMsMax : startMsMax)) return []
    this.warnedFromMs = nowMs - forMs
    const why = options.degradedWhy()
    const left = why.length > reasonsMax ? `; and ${why.length - reasonsMax} more` : ""
    const text = `not coherent for ${seconds(forMs)}: ${why.slice(0, reasonsMax).join("; ")}${left}`
    return [{ level: "warning", text }]
  }
}

type Became = keyof typeof plurals

/** What is said of one, and of several. */
const plurals = {
  "is there": "are there",
  joined: "joined",
  "has said good-bye": "have said good-bye",
  "is gone": "are gone",
  "was forgotten": "were forgotten"
} as const

/** Of one that is not remembered any more, as many have ended at once, it is only known that it is gone. */
const endOf = (member: Member | undefined): Became => {
  if (member?.state === "left") return "has said good-bye"
  return member?.state === "forgotten" ? "was forgotten" : "is gone"
}

const sentence = (became: Became, names: readonly string[], others: string): string => {
  if (names.length === 1) return `instance ${names[0]} ${became}: ${others}`
  const more = names.length > namesMax ? `, and ${names.length - namesMax} more` : ""
  return `${names.length} instances ${plurals[became]}, ${others}: ${names.slice(0, namesMax).join(", ")}${more}`
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`

const tellMs = 1_000 // between lines about members: some hundreds start within seconds
const degradedMsMax = 1_000 // a gap that is pulled, and a member that was slow, take less
const startMsMax = 5_000 // a start takes a third of one; who cannot join after two says so already
const namesMax = 10
const reasonsMax = 8 // sentences: all kinds of reasons, and of which instance for the first few
