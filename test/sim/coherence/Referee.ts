/**
 * Looks at the world after each turn, at each read, now and then, and when all is quiet, and stops it at the first
 * invariant that does not hold.
 */
import { decode, encode, type Frame } from "../../../src/coherence/protocol/Frame.ts"
import type { Acknowledged, Instance } from "../../../src/coherence/protocol/Instance.ts"
import type { Member } from "../../../src/coherence/protocol/Members.ts"
import { type Entry, EntrySource } from "../../../src/kernel/index.ts"
import { type Change, isHigher, isWide, type ValueFacts } from "./History.ts"
import {
  i1NothingOld,
  i2FillGuard,
  i2HeardIsGone,
  i3DeadlineHolds,
  i3StalenessIsBounded,
  i19OwnIsKept,
  isHeldByItsWriter,
  survives
} from "./invariants.ts"
import { type SimInstance, toldOf } from "./SimInstance.ts"
import type { World } from "./World.ts"

export class Referee {
  /** How often each record was sent when it was new, and may be: author → first sequence → times. */
  private readonly sent = new Map<number, Map<number, { times: number; most: number }>>()
  private frames = 0

  private readonly relaysMax: number

  constructor(private readonly world: World) {
    const { hosts, parameters } = world.schedule
    this.relaysMax = relaysOf(hosts, parameters.cellMax)
  }

  /** Something has happened at this instance. */
  afterTurn(node: SimInstance): void {
    if (node.dirty.size === 0) return
    const { places, time } = this.world
    for (const place of node.dirty) {
      const { space, key } = places[place] as { space: number; key: string }
      const entry = node.peek(space, key)
      if (entry === undefined || entry.isLocal) continue
      const facts = this.factsOf(entry)
      this.report("I2", facts, i2FillGuard(this.world, node, facts, entry))
      const heard = i2HeardIsGone(this.world, node, facts, time.turn)
      if (heard !== undefined) this.reportHeard(node, facts, heard)
    }
    node.dirty.clear()
  }

  /** Every instance is asked what it would serve now. */
  probe(): void {
    for (const node of this.world.living()) {
      if (node.isPaused || node.hasLeft) continue
      this.noteMembers(node)
      this.i4MarksOnlyRise(node)
      for (const { space, key } of this.world.places) this.probeKey(node, space, key)
    }
  }

  probeKey(node: SimInstance, space: number, key: string): void {
    const entry = node.peek(space, key)
    if (entry === undefined || entry.isLocal) return
    const facts = this.factsOf(entry)
    this.report("I3", facts, i3DeadlineHolds(this.world, node, facts))
    if (entry.source === EntrySource.written) return
    const detectMs = this.detectMs()
    if (node.instance.isCoherent) {
      this.report("I5", facts, i3StalenessIsBounded(this.world, node, facts, 0, detectMs))
    }
    const boundMs = detectMs + this.world.schedule.parameters.partitionTtlMs * 1.05
    this.report("I3", facts, i3StalenessIsBounded(this.world, node, facts, facts.heldUntilMs, boundMs))
  }

  /** A get has been answered. */
  onRead(node: SimInstance, space: number, key: string, value: string | undefined, beganAtTurn: number): void {
    if (value === undefined || value.startsWith("local-")) return
    const facts = this.world.history.facts(value)
    if (facts.space !== space || facts.key !== key) {
      this.world.break("I18", space, key, `${node.name} asks for ${key} and is given ${value}`)
    }
    const heard = i2HeardIsGone(this.world, node, facts, beganAtTurn)
    if (heard !== undefined) this.reportHeard(node, facts, heard)
  }

  onAcknowledged(
    node: SimInstance,
    space: number,
    key: string,
    value: string,
    sequence: number,
    mode: "one" | "live",
    { acked, missing }: Acknowledged,
    members: readonly number[]
  ): void {
    this.world.tell(`${node.name} knows ${value} applied by ${acked}, not by ${missing.length} (${mode})`, space, key)
    if (mode !== "live" || missing.length > 0) return
    const written = this.world.history.facts(value)
    for (const origin of members) {
      const other = this.world.all.get(origin)
      if (other === undefined || !other.isAlive || other.hasLeft || !this.knows(node, origin)) continue
      const entry = other.peek(space, key)
      if (entry === undefined || entry.isLocal) continue
      const isOlder = (change: Change) => change.sequence === sequence && change.author === node.origin
      const facts = this.factsOf(entry)
      if (facts.turn < written.turn && this.world.history.missedBy(facts, isOlder) !== undefined) {
        this.world.break(
          "I9",
          space,
          key,
          `${node.name} has ${value} acknowledged by all, and ${other.name} reads ${facts.value}`
        )
      }
    }
  }

  onInvalidated(node: SimInstance, space: number, key: string, value: string): void {
    const hash = node.hashes[space]?.of(key) as number
    const facts = this.world.history.facts(value)
    this.report("I19", facts, i19OwnIsKept(this.world, node, facts, hash))
  }

  onFrameOut(node: SimInstance, frame: Uint8Array): void {
    if (frame.length > 40 && Buffer.from(frame.buffer, frame.byteOffset, frame.length).includes("local-")) {
      this.world.break("I6", -1, "", `${node.name} sends a local value`)
    }
  }

  /** I8: a frame of another namespace that strays in, with numbers that would do harm. */
  alsoAsStranger(bytes: Uint8Array, carry: (frame: Uint8Array) => void): void {
    if (++this.frames % 7 !== 0) return
    const frame = decode(bytes)
    if (frame.type !== "inv" && frame.type !== "heartbeat") return
    const strange: Frame =
      frame.type === "inv"
        ? { ...frame, namespace: frame.namespace + 1, first: frame.first + 5 }
        : {
            ...frame,
            namespace: frame.namespace + 1,
            entries: frame.entries.map((entry) => ({ ...entry, last: entry.last + 9 }))
          }
    carry(encode(strange))
  }

  /**
   * I7: a new record is sent at most once to each member, and once more by each relay on its way; twice as often where not
   * all take the same for cells and relays, when it begins or while it is on its way, and nothing else is promised then.
   */
  countInv(bytes: Uint8Array): void {
    if (bytes[1] !== invCode) return
    const frame = decode(bytes)
    if (frame.type !== "inv" || frame.isReplay || frame.records.length === 0 || frame.namespace !== 7) return
    const firsts = this.sent.get(frame.author) ?? new Map<number, { times: number; most: number }>()
    this.sent.set(frame.author, firsts)
    const once = this.world.schedule.hosts.length + this.relaysMax
    const record = firsts.get(frame.first) ?? { times: 0, most: this.areViewsEqual() ? once : 2 * once }
    firsts.set(frame.first, record)
    record.times++
    if (record.times > record.most && !this.areViewsEqual()) record.most = 2 * once
    if (record.times > record.most) {
      const what = `record ${this.world.nameOf(frame.author)}${frame.first}`
      this.world.break("I7", -1, "", `${what} was sent ${record.times} times, ${record.most} are allowed`)
    }
  }

  /** All have joined, know each other, and split their regions alike. */
  private areViewsEqual(): boolean {
    const living = this.world.living()
    const splits = new Map<number, number>()
    for (const { instance, hasLeft } of living) {
      const split = splits.get(instance.region) ?? instance.cells.split
      splits.set(instance.region, split)
      if (hasLeft || !instance.isJoined || split !== instance.cells.split) return false
      if (instance.memberCount !== living.length - 1 || instance.members.suspects > 0) return false
    }
    return true
  }

  membersOf(node: SimInstance): number[] {
    return [...node.instance.members.live.keys()]
  }

  knows(node: SimInstance, origin: number): boolean {
    return node.origin === origin || node.instance.members.live.has(origin)
  }

  /** Since when an instance has another one for a member, as far as was looked; Infinity while it has not. */
  knownSinceMs(node: SimInstance, origin: number): number {
    if (!this.knows(node, origin)) return Number.POSITIVE_INFINITY
    return node.knownSinceMs.get(origin) ?? this.world.time.nowMs
  }

  private noteMembers({ instance, knownSinceMs }: SimInstance): void {
    const { live } = instance.members
    for (const origin of live.keys()) if (!knownSinceMs.has(origin)) knownSinceMs.set(origin, this.world.time.nowMs)
    for (const origin of knownSinceMs.keys()) if (!live.has(origin)) knownSinceMs.delete(origin)
  }

  /** How long it takes at most to find that something is missing. */
  detectMs(): number {
    const { suspectMs, regionSlackMs, heartbeatMs, gapLimitMs } = this.world.schedule.parameters
    return (suspectMs + regionSlackMs + heartbeatMs * 4 + gapLimitMs) * 1.05 + this.world.network.delayMsMax * 3 + 5
  }

  /** Until nobody has anything left to hear. Who has given up something says so in vectors, and relays in theirs. */
  waitForQuiet(): void {
    const { world } = this
    const { heartbeatMs, vectorEvery } = world.schedule.parameters
    this.untilQuiet()
    if (!world.living().some(({ instance }) => accountsOf(instance).some(({ givenUp }) => givenUp !== undefined)))
      return
    world.runUntil(world.time.nowMs + 3 * (heartbeatMs * (vectorEvery + 1) + 2 * world.network.delayMsMax))
    this.untilQuiet()
  }

  /** I14: once everything has healed, all know each other and are coherent within a few heartbeats and what they exchange. */
  private untilQuiet(): void {
    const { world } = this
    const { heartbeatMs } = world.schedule.parameters
    const { nowMs } = world.time
    const limitMs = this.healLimit()
    const present = () => world.living().filter((node) => !node.hasLeft)
    let quietSinceMs = Number.POSITIVE_INFINITY
    while (world.time.nowMs - nowMs < limitMs()) {
      world.runUntil(world.time.nowMs + heartbeatMs)
      if (!areQuiet(present()) || present().some((node) => this.unknownTo(node).length > 0)) {
        quietSinceMs = Number.POSITIVE_INFINITY
      } else if (quietSinceMs === Number.POSITIVE_INFINITY) quietSinceMs = world.time.nowMs
      else if (world.time.nowMs - quietSinceMs >= heartbeatMs * 2) break
    }
    const healed = `${Math.round(limitMs())} ms after everything has healed`
    const late = present().filter((node) => !node.instance.isCoherent)
    const names = late.map((node) => `${node.name} (${this.whyNot(node)})`).join(", ")
    if (late.length > 0) world.break("I14", -1, "", `${healed} these are not coherent: ${names}`)
    for (const node of present()) {
      const unknown = this.unknownTo(node).map(({ name }) => name)
      if (unknown.length > 0) world.break("I14", -1, "", `${healed} ${node.name} does not know ${unknown.join(", ")}`)
    }
  }

  private unknownTo(node: SimInstance): SimInstance[] {
    return this.world.living().filter(({ origin, hasLeft }) => !hasLeft && !this.knows(node, origin))
  }

  private whyNot({ instance }: SimInstance): string {
    const lacking: string[] = []
    for (const { origin, state, isSuspect, hasGreeted, marks, healAt } of accountsOf(instance)) {
      const name = `${this.world.nameOf(origin)} ${state}`
      if (isSuspect) lacking.push(`${name}, not heard of`)
      else if (marks.contiguous < Math.max(healAt, marks.advertised)) {
        lacking.push(`${name}, ${marks.contiguous} of ${marks.advertised}`)
      } else if (state === "live" && !hasGreeted) lacking.push(`${name}, no greeting`)
    }
    return `${instance.degradedWhy}: ${lacking.join("; ")}`
  }

  /**
   * How many ms it takes at most from now on: to find that something is missing; a way there and back for each pull, of
   * all origins side by side, of one after the other; and for each range that nobody has, all are asked for it twice.
   */
  private healLimit(): () => number {
    const { joinMs, suspectMs, regionSlackMs, heartbeatMs, pullRetryMs, pullRecordsMax, gapLimitMs } =
      this.world.schedule.parameters
    const nodes = this.world.living()
    const known = knownOf(nodes)
    let missing = 0 // at the one that lacks most of one origin
    for (const { instance } of nodes) {
      for (const [origin, last] of known) {
        if (origin === instance.origin) continue
        missing = Math.max(missing, last - (instance.members.find(origin)?.marks.contiguous ?? 0))
      }
    }
    const detectMs = joinMs + suspectMs + regionSlackMs + gapLimitMs + heartbeatMs * 8 + pullRetryMs * 10
    const askMs = 2 * this.world.network.delayMsMax
    const lossMs = 2 * nodes.length * askMs + gapLimitMs + pullRetryMs
    const before = new Map(nodes.map(({ instance }) => [instance, instance.stats.epochs]))
    return () => {
      let lost = 0 // of one instance; never more often than records were missing
      for (const [{ stats }, epochs] of before) lost = Math.max(lost, stats.epochs - epochs)
      return detectMs + Math.ceil(missing / pullRecordsMax) * askMs + Math.min(lost, missing) * lossMs
    }
  }

  /** What has to hold when all is quiet. */
  judge(): void {
    const { world } = this
    for (const node of world.living()) {
      node.shared.checkInvariants()
      for (const keyspace of node.keyspaces) keyspace.checkInvariants()
      for (const { space, key } of world.places) this.judgeEntry(node, node.peek(space, key))
      this.i15Bounds(node)
    }
    const highest = world.places.map(({ space, key }) => this.heldByItsAuthor(space, key))
    const reads = new Map<string, Map<SimInstance, string | undefined>>()
    for (const { space, key } of world.places) {
      const found = new Map<SimInstance, string | undefined>()
      reads.set(`${space} ${key}`, found)
      for (const node of world.living()) {
        const load = world.schedule.hasDatabase ? { readsAfterMs: 0, answersAfterMs: 1 } : null
        node.take(() => node.read(space, key, load, (value) => found.set(node, value)))
      }
    }
    world.runUntil(world.time.nowMs + world.schedule.parameters.fetchTimeoutMs * 3)
    for (const [place, { space, key }] of world.places.entries()) {
      const found = reads.get(`${space} ${key}`) as Map<SimInstance, string | undefined>
      this.judgeReads(space, key, found, highest[place])
    }
  }

  private judgeEntry(node: SimInstance, entry: Entry | undefined): void {
    if (entry === undefined || entry.isLocal) return
    const facts = this.factsOf(entry)
    const isOwn = entry.source === EntrySource.written || isHeldByItsWriter(this.world, facts) // a copy of such a one
    this.report("I1", facts, i1NothingOld(this.world, node, facts, isOwn))
  }

  /** I19: of concurrent writes exactly the highest is readable everywhere, also with no origin. */
  private judgeReads(
    space: number,
    key: string,
    found: Map<SimInstance, string | undefined>,
    highest: Change | undefined
  ): void {
    const { world } = this
    const changes = world.history.ofKey(space, key)
    const everything = changes.every((change) => survives(world, change, true))
    let first: ValueFacts | null = null
    for (const node of world.living()) {
      if (!found.has(node)) world.break("I16", space, key, `${node.name} was never answered for ${key}`)
      const value = found.get(node)
      if (value === undefined || value.startsWith("local-")) continue
      const facts = world.history.facts(value)
      this.report("I1", facts, i1NothingOld(world, node, facts, true))
      if (facts.isLoaded || !everything) continue
      if (first !== null && first.value !== value) {
        world.break("I19", space, key, `some read ${first.value}, ${node.name} reads ${value}`)
      }
      first = facts
    }
    if (highest === undefined || world.schedule.hasDatabase || world.schedule.collides) return
    for (const [node, value] of found) {
      if (value === highest.value || value?.startsWith("local-")) continue
      if (value === undefined && this.mayMiss(node, highest.author)) continue
      const author = world.nameOf(highest.author)
      world.break("I19", space, key, `${author} has ${highest.value}, and ${node.name} reads ${value ?? "nothing"}`)
    }
  }

  /** Outside of the own cell only the author is asked, and whoever says its name: hints that are bounded. */
  private mayMiss(node: SimInstance, author: number): boolean {
    const { cells } = node.instance
    if (cells.cellOf(author) === cells.cellOf(node.origin)) return false
    const { schedule, places } = this.world
    return schedule.directoryMax < places.length || this.world.living().some((each) => each.hasForgottenHints)
  }

  /** The highest write of a key, where its author is there and still has it. */
  private heldByItsAuthor(space: number, key: string): Change | undefined {
    let highest: Change | undefined
    for (const change of this.world.history.ofKey(space, key)) {
      if (highest === undefined || isHigher(change, highest)) highest = change
    }
    if (highest?.value === undefined || this.world.schedule.maxEntries < this.world.schedule.keys.length)
      return undefined
    const author = this.world.all.get(highest.author)
    const entry = author?.isAlive ? author.peek(space, key) : undefined
    const isHeld = entry?.value === highest.value && entry.source === EntrySource.written && entry.expiresAtMs === 0
    return isHeld ? highest : undefined
  }

  /** I4: the contiguous mark never goes back. I15: and what is kept beside it has its bound. */
  private i4MarksOnlyRise(node: SimInstance): void {
    const { live, dead } = node.instance.members
    for (const members of [live, dead]) {
      for (const { origin, marks } of members.values()) {
        const before = node.contiguous.get(origin) ?? 0
        const name = `what ${node.name} has of ${this.world.nameOf(origin)}`
        if (marks.contiguous < before) {
          this.world.break("I4", -1, "", `${name} goes back from ${before} to ${marks.contiguous}`)
        }
        node.contiguous.set(origin, marks.contiguous)
        const last = this.world.all.get(origin)?.instance.own.last ?? 0
        if (marks.contiguous > last) this.world.break("I4", -1, "", `${name} is ${marks.contiguous} of ${last}`)
        if (marks.intervalCount > this.world.schedule.parameters.intervalsMax) {
          this.world.break("I15", -1, "", `${name} has ${marks.intervalCount} intervals`)
        }
      }
    }
  }

  private i15Bounds(node: SimInstance): void {
    const { directoryMax, parameters, maxEntries } = this.world.schedule
    const { own, members } = node.instance
    const bounds: Array<readonly [string, number, number]> = [
      ["keys in the directory", node.shared.directory.size, directoryMax],
      ["records in the log", own.last - own.oldest + 1, parameters.logSize],
      ["members", members.live.size, parameters.membersMax],
      ["dead members", members.dead.size, parameters.deadKept],
      ...node.keyspaces.map((keyspace) => ["entries", keyspace.size, maxEntries] as const)
    ]
    for (const [what, size, most] of bounds) {
      if (size > most) this.world.break("I15", -1, "", `${node.name} has ${size} ${what}, ${most} are allowed`)
    }
  }

  private reportHeard(node: SimInstance, facts: ValueFacts, heard: Change): void {
    const number = isWide(heard.kind) ? "I13" : "I2"
    const sentence = `${node.name} reads ${facts.value}, and has heard that ${this.world.nameOf(heard.author)} ${toldOf(heard)}`
    this.report(number, facts, sentence)
  }

  private report(invariant: string, facts: ValueFacts, sentence: string | undefined): void {
    if (sentence !== undefined) this.world.break(invariant, facts.space, facts.key, sentence)
  }

  private factsOf(entry: Entry): ValueFacts {
    return this.world.history.facts(entry.value as string)
  }
}

const invCode = 1

/**
 * Nobody has anything left to hear. A hole that is younger than the gap limit leaves an instance coherent, but it is not
 * done; nor is one that has not heard yet of what another one knows to exist, when vectors were lost.
 */
const areQuiet = (nodes: readonly SimInstance[]): boolean => {
  for (const { instance } of nodes) {
    if (!instance.isJoined || !instance.isCoherent) return false
    if (accountsOf(instance).some(({ marks }) => !marks.isWhole)) return false
  }
  const known = knownOf(nodes)
  return nodes.every(({ instance }) =>
    accountsOf(instance).every(({ origin, marks }) => marks.advertised === known.get(origin))
  )
}

/** By origin: the last sequence that anybody has heard of. */
const knownOf = (nodes: readonly SimInstance[]): Map<number, number> => {
  const known = new Map<number, number>()
  for (const { instance } of nodes) {
    known.set(instance.origin, Math.max(known.get(instance.origin) ?? 0, instance.sealed))
    for (const { origin, marks } of accountsOf(instance)) {
      known.set(origin, Math.max(known.get(origin) ?? 0, marks.advertised))
    }
  }
  return known
}

const accountsOf = ({ members }: Instance): Member[] => [...members.live.values(), ...members.dead.values()]

/** Two of each cell: as many groups a region as are made of so many, or half as many again, which they were before. */
const relaysOf = (hosts: readonly { readonly region: number }[], cellMax: number): number => {
  let cells = 0
  for (const region of new Set(hosts.map((host) => host.region))) {
    const members = hosts.filter((host) => host.region === region).length
    cells += members > cellMax ? Math.floor(1.5 * Math.max(2, Math.round(Math.sqrt(members)))) : 1
  }
  return 2 * cells
}
