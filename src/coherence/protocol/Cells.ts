/**
 * Who is linked with whom, and who passes on what: two tiers, for regions and for many instances alike.
 *
 * A cell is a region, or, of a region with more than `cellMax` instances, one of about √N groups. In a cell everybody is
 * linked with everybody. Two of its members are relays, and relays are linked with the relays of all other cells. A
 * write goes from its author to its cell (hops 0), from the cell's primary relay to one relay of each other cell (1), and
 * from that one to its own cell (2): everybody gets it once, by at most three links.
 *
 * Nobody assigns cells and relays: each instance computes them from the members that it knows, by rendezvous hashing
 * [1], so that a member that comes or goes moves no other (between two cells), and a relay is followed by the one that
 * was second. Only the number of groups needs a word: it has to stay while members come and go, so it depends on the
 * past, and two instances may have different pasts. So it is a register, the split: a count of changes above a number
 * of groups, which each says in its heartbeats. The highest that anybody has said holds, and only the region's
 * coordinator, the one that rendezvous hashing names, writes a higher one.
 *
 * While views differ, a frame may come twice or not at all: sequences and pulls settle that end to end. What must hold
 * with any views is that nothing runs in circles: a frame that was passed on twice is passed on no more, and one for a
 * single peer dies after `hopsMax`.
 *
 * Invariants, with equal views: each write reaches each other member exactly once, with members − 1 messages; links are
 * wanted by both ends or by neither; a cell has one relay (of one member) or two.
 * Cost: `update` scores each new member once for each group, and each member once for its cell's relays: some 0.1 ms
 * for 500. Of 500 members in one region one has about 21 links, a relay about 42 more.
 *
 * [1] Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6,
 *     1998.
 */
import type { Parameters } from "./Parameters.ts"

export interface CellMember {
  readonly origin: number
  readonly region: number
  /** How it takes its region to be split, of its heartbeat or HELLO; 0: it has not said, or joins. */
  readonly split: number
  /** It is not heard of: in no cell, but one of those for whom groups are made. */
  readonly isSuspect: boolean
}

/** A frame for one peer is passed on so often at most. While all views are equal, two relays are enough. */
export const hopsMax = 3

export class Cells {
  /** All other members of the own cell. */
  cellMembers: readonly number[] = []
  /** One of the two that pass digests of heartbeats on. */
  isRelay = true
  /** The one that passes writes on. */
  isPrimary = true
  /** The relays of all other cells. */
  otherRelays: readonly number[] = []

  /** Region → the highest split that was said. */
  private readonly splitOf = new Map<number, number>()
  private cellOfOrigin = new Map<number, number>()
  private readonly relaysOfCell = new Map<number, readonly number[]>()

  constructor(
    readonly self: { readonly origin: number; readonly region: number },
    readonly parameters: Pick<Parameters, "cellMax" | "cellMin">
  ) {
    this.update([], false)
  }

  /** How the own region is split: what to say in HELLO and heartbeats once joined, and 0 before. */
  get split(): number {
    return this.splitOf.get(this.self.region) ?? unsplit
  }

  /** Into how many groups. */
  get groups(): number {
    return groupsIn(this.split)
  }

  /**
   * Takes the live members, without self, and what they say; to be called when one of these has changed. `isJoined`:
   * self knows all members, so it may be a coordinator. True when the links that self wants have changed.
   */
  update(members: Iterable<CellMember>, isJoined: boolean): boolean {
    const self = { ...this.self, split: isJoined ? this.split : 0, isSuspect: false }
    const regions = new Map<number, CellMember[]>([[self.region, [self]]])
    for (const member of members) {
      const region = regions.get(member.region)
      if (region === undefined) regions.set(member.region, [member])
      else region.push(member)
    }
    const [cellOfOrigin, membersOfCell] = [new Map<number, number>(), new Map<number, number[]>()]
    for (const [region, all] of regions) {
      const before = groupsIn(this.splitOf.get(region) ?? unsplit)
      const split = this.agreedSplit(region, all)
      const groups = groupsIn(split)
      this.splitOf.set(region, split)
      for (const { origin, isSuspect } of all) {
        if (isSuspect) continue
        const known = groups === before ? this.cellOfOrigin.get(origin) : undefined
        const cell = known ?? cellAmong(origin, region, groups)
        cellOfOrigin.set(origin, cell)
        const inCell = membersOfCell.get(cell)
        if (inCell === undefined) membersOfCell.set(cell, [origin])
        else inCell.push(origin)
      }
    }
    for (const region of this.splitOf.keys()) if (!regions.has(region)) this.splitOf.delete(region)
    this.cellOfOrigin = cellOfOrigin
    this.relaysOfCell.clear()
    for (const [cell, all] of membersOfCell) this.relaysOfCell.set(cell, topTwo(all, cell))
    return this.place(membersOfCell)
  }

  /** Where self stands among them. */
  private place(membersOfCell: ReadonlyMap<number, readonly number[]>): boolean {
    const own = this.cellOf(this.self.origin) as number
    const relays = this.relaysOf(own)
    const cellMembers = (membersOfCell.get(own) as readonly number[]).filter((each) => each !== this.self.origin)
    const otherRelays = [...this.relaysOfCell].flatMap(([cell, all]) => (cell === own ? [] : all))
    const isRelay = relays.includes(this.self.origin)
    const isChanged =
      isRelay !== this.isRelay ||
      !isSameSet(cellMembers, this.cellMembers) ||
      (isRelay && !isSameSet(otherRelays, this.otherRelays))
    this.cellMembers = cellMembers
    this.otherRelays = otherRelays
    this.isRelay = isRelay
    this.isPrimary = relays[0] === this.self.origin
    return isChanged
  }

  private agreedSplit(region: number, all: readonly CellMember[]): number {
    let highest = this.splitOf.get(region) ?? unsplit
    let coordinator = 0
    for (const { origin, split, isSuspect } of all) {
      highest = Math.max(highest, split)
      if (isSuspect || split === 0) continue
      if (coordinator === 0 || isAbove(origin, coordinator, region, coordinatorSalt)) coordinator = origin
    }
    if (coordinator !== this.self.origin) return highest
    const groups = groupsFor(groupsIn(highest), all.length, this.parameters)
    const changes = Math.floor(highest / splitUnit)
    return groups === groupsIn(highest) || changes === changesMax ? highest : (changes + 1) * splitUnit + groups
  }

  /** A number that stands for the member's cell; undefined of whom is no member. Self is one. */
  cellOf(origin: number): number | undefined {
    return this.cellOfOrigin.get(origin)
  }

  /** The relays of a cell, one or two, the primary one first. */
  relaysOf(cell: number | undefined): readonly number[] {
    return (cell === undefined ? undefined : this.relaysOfCell.get(cell)) ?? nobody
  }

  /**
   * Whether there is to be a link with this peer. With a stranger there is: by its HELLO it becomes a member, and what it
   * is told then shows it where it belongs.
   */
  wantsLink(peer: { readonly origin: number }): boolean {
    const cell = this.cellOf(peer.origin)
    if (cell === undefined || cell === this.cellOf(this.self.origin)) return true
    return this.isRelay && this.relaysOf(cell).includes(peer.origin)
  }

  /** Whom else, with hops 1, self sends its own write to, besides `cellMembers` with hops 0. */
  outwards(linked: ReadonlySet<number>): readonly number[] {
    return this.isActing(linked) ? this.relayOfEach(this.cellOf(this.self.origin), linked) : nobody
  }

  /** Whom, with hops + 1, self passes a write on to that came with `hops`. Never its author, never twice to a cell. */
  onwards(author: number, hops: number, linked: ReadonlySet<number>): readonly number[] {
    if (hops === 0) return this.isActing(linked) ? this.relayOfEach(this.cellOf(author), linked) : nobody
    const isHome = this.cellOf(author) === this.cellOf(this.self.origin)
    return hops === 1 && !isHome ? this.cellMembers : nobody
  }

  /** Whether self is its cell's primary relay, or the other one and has lost its link with that. */
  private isActing(linked: ReadonlySet<number>): boolean {
    if (!this.isRelay || this.isPrimary) return this.isPrimary
    const [primary] = this.relaysOf(this.cellOf(this.self.origin))
    return primary !== undefined && !linked.has(primary)
  }

  /** Of each cell but the own and `home` its first relay that is linked. */
  private relayOfEach(home: number | undefined, linked: ReadonlySet<number>): readonly number[] {
    const own = this.cellOf(this.self.origin)
    const relays: number[] = []
    for (const [cell, all] of this.relaysOfCell) {
      if (cell === own || cell === home) continue
      const relay = all.find((each) => linked.has(each))
      if (relay !== undefined) relays.push(relay)
    }
    return relays
  }

  /** The linked peer by which a frame gets to `to`; 0 when there is none. */
  nextHop(to: number, linked: ReadonlySet<number>): number {
    if (linked.has(to)) return to
    const own = this.cellOf(this.self.origin)
    const cell = this.cellOf(to)
    if (cell === undefined) return 0
    const across = cell === own ? undefined : this.relaysOf(cell).find((each) => linked.has(each))
    if (across !== undefined) return across
    return this.isRelay ? 0 : (this.relaysOf(own).find((each) => linked.has(each)) ?? 0)
  }
}

const nobody: readonly number[] = []

/**
 * Into how many groups a region of so many members is split, coming from `current`. Both the split itself and the number
 * of groups stay as they are until the members are well past where it would have been decided otherwise.
 */
const groupsFor = (current: number, members: number, { cellMax, cellMin }: Pick<Parameters, "cellMax" | "cellMin">) => {
  const isSplit = current > 1 ? members >= cellMin : members > cellMax
  if (!isSplit) return 1
  const best = Math.min(groupsMax, Math.max(2, Math.round(Math.sqrt(members))))
  return current > 1 && best < current * groupsSlack && current < best * groupsSlack ? current : best
}

const groupsSlack = 1.5 // times more or fewer than is best: the members have then doubled or halved
const groupsMax = 1_023 // groups of a region: for a million instances
const splitUnit = groupsMax + 1
const changesMax = 2 ** 22 - 1
const unsplit = 1 // no change, one group

const groupsIn = (split: number): number => Math.max(1, split % splitUnit)
const coordinatorSalt = 0xc001
const relaySalt = 0x5e1a
const groupSalt = 0x6109

/** Which of a region's groups the origin is in. A cell is numbered by its region and its group. */
const cellAmong = (origin: number, region: number, groups: number): number => {
  let best = 0
  for (let group = 1; group < groups; group++) {
    if (score(origin, region * splitUnit + group, groupSalt) > score(origin, region * splitUnit + best, groupSalt)) {
      best = group
    }
  }
  return region * splitUnit + best
}

const topTwo = (origins: readonly number[], cell: number): readonly number[] => {
  let first: number | undefined
  let second: number | undefined
  for (const origin of origins) {
    if (first === undefined || isAbove(origin, first, cell, relaySalt)) [first, second] = [origin, first]
    else if (second === undefined || isAbove(origin, second, cell, relaySalt)) second = origin
  }
  return [first, second].filter((each) => each !== undefined)
}

/** Whether the first of two origins is before the other one at this place. */
const isAbove = (origin: number, other: number, place: number, salt: number): boolean => {
  const [own, others] = [score(origin, place, salt), score(other, place, salt)]
  return own === others ? origin > other : own > others
}

/** An even 32-bit number of an origin at a place: the finalizer of MurmurHash3 by Austin Appleby over all of them. */
export const score = (origin: number, place: number, salt: number): number =>
  mix(origin ^ mix(Math.floor(origin / 2 ** 32) ^ mix(place ^ Math.imul(salt, 0x9e3779b1)))) >>> 0

const mix = (bits: number): number => {
  let mixed = bits
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}

const isSameSet = (some: readonly number[], others: readonly number[]): boolean => {
  if (some.length !== others.length) return false
  const known = new Set(others)
  return some.every((each) => known.has(each))
}
