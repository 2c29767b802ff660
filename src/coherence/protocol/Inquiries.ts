/**
 * What others know of some keys, for whoever compares: a QUERY to several members at once, and their STAMPS. Nothing is
 * done with the answers here; `OwnEntries` asks the same question for what it has to act upon.
 *
 * Who does not answer within `fetchTimeoutMs`, or ends, is silent. Bounds: `inquiriesMax` under way, `askedMax` members
 * each, and no more hashes than fit into a frame (`pullRecordsMax`).
 */
import type { Stamps } from "./Frame.ts"
import type { Host } from "./Host.ts"
import type { Member } from "./Members.ts"
import type { NewestWrite } from "./Store.ts"

/** What the members said that were asked. */
export interface Inquired {
  /** By member, then by hash: the highest write that it knows of. */
  readonly answers: ReadonlyMap<number, ReadonlyMap<number, NewestWrite>>
  /** Members that were asked and have not answered. */
  readonly silent: readonly number[]
}

interface Inquiry {
  readonly answers: Map<number, ReadonlyMap<number, NewestWrite>>
  readonly waitedFor: Set<number>
  readonly deadlineMs: number
  readonly done: (said: Inquired) => void
}

export class Inquiries {
  private readonly open = new Map<number, Inquiry>()
  private lastId = 0

  constructor(
    private readonly host: Host,
    /** Who is near, for where there are more members than are asked. */
    private readonly neighbours: () => Iterable<number>
  ) {}

  /** Asks the authors first, then who is near, then others. `done` comes once, perhaps at once. */
  ask(hashes: readonly number[], authors: Iterable<number>, done: (said: Inquired) => void): void {
    const { host } = this
    const whom = new Set<number>()
    if (this.open.size < inquiriesMax && hashes.length <= host.parameters.pullRecordsMax) {
      for (const origins of [authors, this.neighbours(), host.members.live.keys()]) {
        for (const origin of origins) {
          const member = host.members.live.get(origin)
          if (whom.size < askedMax && member?.isFresh && !member.isJoining) whom.add(origin)
        }
      }
    }
    if (whom.size === 0 || hashes.length === 0) {
      done({ answers: new Map(), silent: [] })
      return
    }
    this.lastId = (this.lastId + 1) % idFirst
    const id = idFirst + this.lastId
    const deadlineMs = host.nowMs + host.parameters.fetchTimeoutMs
    this.open.set(id, { answers: new Map(), waitedFor: whom, deadlineMs, done })
    for (const origin of whom) host.post(origin, { type: "query", id, of: host.origin, hashes })
  }

  nextMs(): number {
    for (const { deadlineMs } of this.open.values()) return deadlineMs // all take as long: the first is the earliest
    return Number.POSITIVE_INFINITY
  }

  due(): void {
    for (const [id, inquiry] of [...this.open]) if (inquiry.deadlineMs <= this.host.nowMs) this.finish(id, inquiry)
  }

  /** False where it answers no question of this file's. */
  onStamps({ id, author, answers }: Stamps): boolean {
    const inquiry = this.open.get(id)
    if (inquiry === undefined) return id >= idFirst // too late
    if (!inquiry.waitedFor.delete(author)) return true
    const said = new Map<number, NewestWrite>()
    for (const { hash, version, author: by, isGone } of answers) {
      this.host.heardVersion(version)
      said.set(hash, { version, author: by, isGone })
    }
    inquiry.answers.set(author, said)
    if (inquiry.waitedFor.size === 0) this.finish(id, inquiry)
    return true
  }

  onEnd({ origin }: Member): void {
    for (const [id, inquiry] of [...this.open]) {
      if (inquiry.waitedFor.delete(origin) && inquiry.waitedFor.size === 0) this.finish(id, inquiry)
    }
  }

  private finish(id: number, { answers, waitedFor, done }: Inquiry): void {
    this.open.delete(id)
    done({ answers, silent: [...waitedFor] })
  }
}

const idFirst = 2 ** 31 // of 32 bits; OwnEntries counts up from 1
const inquiriesMax = 4
const askedMax = 64 // members; a cell has 48
