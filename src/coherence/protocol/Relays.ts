/**
 * What crosses cells. In a cell everybody hears everybody; between cells two relays of each do the talking (Cells.ts).
 *
 * - Records: the acting relay passes on what its cell writes, itself included, to one relay of each other cell, which
 *   passes it on to its own cell. Only what was new is passed on, and only by its hops, so nothing runs in circles.
 *   Between regions records are collected for a few milliseconds, and runs of one author that follow each other become
 *   one frame; author and sequences stay, so that gaps are found and pulled end to end.
 * - Signs of life: both relays tell the other cells' relays whom of their own cell they have heard, and how long ago, and
 *   their own cell what they were told of the others. So the loss of one relay costs a pull, not a member.
 * - Frames for one instance go by the next hop, `hopsMax` at most.
 *
 * Bounds: `recordsMax` collected records, then they leave early.
 */
import type { Cells } from "./Cells.ts"
import { hopsMax } from "./Cells.ts"
import { type Header, type HeartbeatEntry, type LogRecord, passedOn } from "./Frame.ts"
import type { Body, Host } from "./Host.ts"
import type { Network } from "./Network.ts"

/** Records of one author, on their way out of the cell. */
interface Run {
  readonly author: number
  readonly hops: number
  readonly first: number
  readonly records: LogRecord[]
  wantsAck: boolean
}

export class Relays {
  private readonly toGroups: Outbox
  private readonly toRegions: Outbox

  constructor(
    private readonly host: Host,
    private readonly cells: Cells,
    private readonly linked: ReadonlySet<number>,
    private readonly network: Network
  ) {
    this.toGroups = new Outbox(host.parameters.batchRecordsMax)
    this.toRegions = new Outbox(host.parameters.batchRecordsMax)
  }

  nextMs(): number {
    return Math.min(this.toGroups.dueMs, this.toRegions.dueMs)
  }

  due(): void {
    if (this.toGroups.dueMs <= this.host.nowMs) this.empty(this.toGroups, false)
    if (this.toRegions.dueMs <= this.host.nowMs) this.empty(this.toRegions, true)
  }

  /** What was collected leaves now. */
  flush(): void {
    this.empty(this.toGroups, false)
    this.empty(this.toRegions, true)
  }

  /** To everybody of the own cell that is linked, and whoever is not known to belong elsewhere. */
  toCell(frame: Uint8Array): void {
    const own = this.cells.cellOf(this.host.origin)
    let isMesh = true
    for (const origin of this.linked) if ((this.cells.cellOf(origin) ?? own) !== own) isMesh = false
    this.host.stats.framesOut++
    if (isMesh) {
      this.network.broadcast(frame)
      return
    }
    for (const origin of this.linked) {
      if ((this.cells.cellOf(origin) ?? own) === own) this.network.send(origin, frame)
    }
  }

  /** Records of this instance that its cell gets: the other cells get them from here too, if it is the acting relay. */
  onOwn(first: number, last: number, wantsAck: boolean): void {
    const targets = this.cells.outwards(this.linked)
    const records = targets.length === 0 ? undefined : this.host.own.read(first, last)
    if (records !== undefined) this.collect(targets, this.host.origin, 0, first, records, wantsAck)
  }

  /** New records of another author, that came with `hops`. */
  onInv(author: number, hops: number, first: number, records: readonly LogRecord[], wantsAck: boolean): void {
    if (hops === 0) {
      this.collect(this.cells.onwards(author, hops, this.linked), author, hops, first, records, wantsAck)
      return
    }
    const targets = this.cells.onwards(author, hops, this.linked)
    if (targets.length === 0) return
    this.host.stats.passedOn++
    const frame = this.host.encodedAs(author, 0, { type: "inv", isReplay: false, wantsAck, first, records }, hops + 1)
    for (const origin of targets) if (this.linked.has(origin)) this.network.send(origin, frame)
  }

  /** A frame for everybody that is no record (LEAVE), of an author that this instance may speak for to others. */
  onNotice(author: number, hops: number, bytes: Uint8Array): void {
    const isOwn = author === this.host.origin
    const targets = isOwn ? this.cells.outwards(this.linked) : this.cells.onwards(author, hops, this.linked)
    if (targets.length === 0) return
    const frame = passedOn(bytes, hops + 1)
    for (const origin of targets) if (this.linked.has(origin)) this.network.send(origin, frame)
  }

  private collect(
    targets: readonly number[],
    author: number,
    hops: number,
    first: number,
    records: readonly LogRecord[],
    wantsAck: boolean
  ): void {
    const { host } = this
    let isAbroad = false
    let isNear = false
    for (const origin of targets) {
      if (this.regionOf(origin) === host.region) isNear = true
      else isAbroad = true
    }
    const { groupBatchMs, relayBatchMs } = host.parameters
    if (isNear) this.toGroups.add(author, hops, first, records, wantsAck, host.nowMs + groupBatchMs)
    if (isAbroad) {
      const [least, most] = relayBatchMs
      this.toRegions.add(author, hops, first, records, wantsAck, host.nowMs + least + host.random() * (most - least))
    }
    if (this.toGroups.size > recordsMax) this.empty(this.toGroups, false)
    if (this.toRegions.size > recordsMax) this.empty(this.toRegions, true)
  }

  private empty(outbox: Outbox, isAbroad: boolean): void {
    const { host } = this
    for (const { author, hops, first, records, wantsAck } of outbox.take()) {
      const isOwn = author === host.origin
      const targets = isOwn ? this.cells.outwards(this.linked) : this.cells.onwards(author, hops, this.linked)
      let frame: Uint8Array | undefined
      for (const origin of targets) {
        if ((this.regionOf(origin) !== host.region) !== isAbroad) continue
        frame ??= host.encodedAs(author, 0, { type: "inv", isReplay: false, wantsAck, first, records }, hops + 1)
        host.stats.passedOn++
        this.network.send(origin, frame)
      }
    }
  }

  private regionOf(origin: number): number {
    return this.host.members.live.get(origin)?.region ?? this.host.region
  }

  // Signs of life

  /** To the relays of other cells, if this is one: `body` about the own cell. */
  toOtherRelays(body: (isNear: boolean) => Body): void {
    if (!this.cells.isRelay) return
    let frame: Uint8Array | undefined
    for (const origin of this.cells.otherRelays) {
      if (!this.linked.has(origin)) continue
      frame ??= this.host.encodedAs(this.host.origin, 0, body(true), 0)
      this.host.stats.framesOut++
      this.network.send(origin, frame)
    }
  }

  /**
   * Whom a relay has heard: of its own cell (for others), or of the others (for its own cell). Of its peers only who has
   * greeted since it is there, or back: before that its last record may be one of before, and whoever is told that it
   * lives would take that for all there is.
   */
  digest(ofOwnCell: boolean): HeartbeatEntry[] {
    const entries: HeartbeatEntry[] = []
    if (!this.cells.isRelay) return entries
    const own = this.cells.cellOf(this.host.origin)
    for (const member of this.host.members.live.values()) {
      const isNear = this.cells.cellOf(member.origin) === own
      if (member.isSuspect || !member.isHeard || isNear !== ofOwnCell) continue
      if (this.host.owesGreeting(member)) continue
      entries.push({
        origin: member.origin,
        region: member.region,
        split: member.split,
        last: member.marks.advertised,
        oldest: member.oldest,
        lamport: this.host.lamport,
        ageMs: Math.ceil(this.host.nowMs - member.heardAtMs)
      })
    }
    return entries
  }

  // Frames for others

  /** A frame for one other instance. */
  passOn(header: Header, bytes: Uint8Array, from: number): void {
    const next = header.hops >= hopsMax ? 0 : this.cells.nextHop(header.to, this.linked)
    if (next === 0 || next === from) {
      this.host.stats.unroutable++
      return
    }
    this.host.stats.passedOn++
    this.network.send(next, passedOn(bytes, header.hops + 1))
  }

  /** The first step of a frame of this instance to another. */
  send(to: number, frame: Uint8Array): void {
    const next = this.cells.nextHop(to, this.linked)
    if (next === 0) {
      this.host.stats.unroutable++
      return
    }
    this.host.stats.framesOut++
    this.network.send(next, frame)
  }
}

/** Records that wait for others to leave with them. */
class Outbox {
  dueMs = Number.POSITIVE_INFINITY
  size = 0
  private runs: Run[] = []
  /** The run that each author's next records may continue. */
  private readonly lastOf = new Map<number, Run>()

  constructor(private readonly runMax: number) {}

  add(
    author: number,
    hops: number,
    first: number,
    records: readonly LogRecord[],
    wantsAck: boolean,
    dueMs: number
  ): void {
    this.size += records.length
    this.dueMs = Math.min(this.dueMs, dueMs)
    const last = this.lastOf.get(author)
    if (
      last !== undefined &&
      last.first + last.records.length === first &&
      last.hops === hops &&
      last.records.length + records.length <= this.runMax
    ) {
      last.records.push(...records)
      last.wantsAck ||= wantsAck
      return
    }
    const run = { author, hops, first, records: [...records], wantsAck }
    this.runs.push(run)
    this.lastOf.set(author, run)
  }

  take(): Run[] {
    const { runs } = this
    this.runs = []
    this.lastOf.clear()
    this.size = 0
    this.dueMs = Number.POSITIVE_INFINITY
    return runs
  }
}

const recordsMax = 16_384 // records of all authors: a burst that long need not wait for more
