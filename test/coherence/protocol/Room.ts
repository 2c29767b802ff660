/**
 * A few instances of the protocol in one room, with a clock that is turned and a network that is cranked by hand: frames
 * wait until `deliver`, and may be dropped, kept back or turned round on their way.
 */
import { decode, type Frame, Op, RecordFlag, type WideRecord } from "../../../src/coherence/protocol/Frame.ts"
import { Instance } from "../../../src/coherence/protocol/Instance.ts"
import type { Network } from "../../../src/coherence/protocol/Network.ts"
import { type Parameters, parametersDefault } from "../../../src/coherence/protocol/Parameters.ts"
import type { KeyAuthor, NewestWrite, PeerValue, Store } from "../../../src/coherence/protocol/Store.ts"

export const tiny: Parameters = {
  ...parametersDefault,
  logSize: 8,
  receivedSize: 16,
  buckets: 16,
  wideMax: 2,
  intervalsMax: 4,
  batchRecordsMax: 4,
  pullRecordsMax: 6,
  deadKept: 2,
  membersMax: 4,
  partitionTtlMs: 500
}

interface Sent {
  readonly from: number
  readonly to: number
  readonly bytes: Uint8Array
}

export class Room {
  nowMs = 1_000
  readonly all = new Map<number, Guest>()
  /** What is under way. */
  readonly wire: Sent[] = []
  private readonly links = new Set<string>()
  /** Directions in which nothing gets through. */
  private readonly cuts = new Set<string>()

  constructor(readonly parameters: Partial<Parameters> = {}) {}

  add(
    origin: number,
    { region = 0, isAlone = false, parameters = {} as Partial<Parameters>, timeOfDayMs = (): number => 0 } = {}
  ): Guest {
    const guest = new Guest(this, origin, region, { ...tiny, ...this.parameters, ...parameters }, timeOfDayMs)
    this.all.set(origin, guest)
    if (isAlone) guest.instance.settled()
    return guest
  }

  /** So many instances, each linked with all others, joined. */
  static of(count: number, parameters: Partial<Parameters> = {}): [Room, ...Guest[]] {
    const room = new Room(parameters)
    const guests: Guest[] = []
    for (let origin = 1; origin <= count; origin++) {
      const guest = room.add(origin)
      for (const other of guests) room.link(other, guest)
      guests.push(guest)
    }
    for (const guest of guests) guest.instance.settled()
    room.run(400)
    return [room, ...guests]
  }

  link(a: Guest, b: Guest): void {
    for (const [one, other] of [
      [a, b],
      [b, a]
    ] as const) {
      this.links.add(`${one.origin}>${other.origin}`)
      one.instance.onLinkUp({ origin: other.origin, region: other.region })
    }
  }

  /** Each with all others. */
  linkAll(guests: readonly Guest[]): void {
    for (const [at, one] of guests.entries()) for (const other of guests.slice(at + 1)) this.link(one, other)
  }

  unlink(a: Guest, b: Guest): void {
    for (const [one, other] of [
      [a, b],
      [b, a]
    ] as const) {
      this.links.delete(`${one.origin}>${other.origin}`)
      one.instance.onLinkDown(other.origin)
    }
  }

  cut(from: Guest, to: Guest): void {
    this.cuts.add(`${from.origin}>${to.origin}`)
  }
  mend(): void {
    this.cuts.clear()
  }

  /** The process has ended, and all whose links break know it. */
  kill(guest: Guest, isKnown = true): void {
    this.all.delete(guest.origin)
    for (const other of this.all.values()) {
      if (!this.links.delete(`${other.origin}>${guest.origin}`)) continue
      this.links.delete(`${guest.origin}>${other.origin}`)
      other.instance.onLinkDown(guest.origin)
      if (isKnown) other.instance.onGone(guest.origin)
    }
  }

  peersOf(origin: number): number[] {
    return [...this.all.keys()].filter((other) => this.links.has(`${origin}>${other}`))
  }

  post(from: number, to: number, bytes: Uint8Array): void {
    if (this.links.has(`${from}>${to}`)) this.wire.push({ from, to, bytes })
  }

  /** What is under way arrives, and what that leads to at once, until nothing is. */
  deliver(isLost: (frame: Frame, to: number) => boolean = () => false): void {
    for (let sent = this.wire.shift(); sent !== undefined; sent = this.wire.shift()) {
      const { from, to, bytes } = sent
      const frame = decode(bytes) as Frame
      if (this.cuts.has(`${from}>${to}`) || isLost(frame, to)) continue
      this.all.get(to)?.instance.onFrame(bytes, from)
    }
  }

  /** Lets time pass, in steps of a millisecond. */
  run(forMs: number, isLost?: (frame: Frame, to: number) => boolean): void {
    for (const untilMs = this.nowMs + forMs; this.nowMs < untilMs; this.nowMs++) {
      for (const { instance } of this.all.values()) instance.tick()
      this.deliver(isLost)
    }
  }

  /** Its process stands still: what comes meanwhile waits, and is read before its timers run. */
  standStill(guest: Guest, forMs: number): void {
    const waiting: Sent[] = []
    for (const untilMs = this.nowMs + forMs; this.nowMs < untilMs; this.nowMs++) {
      for (const { origin, instance } of this.all.values()) if (origin !== guest.origin) instance.tick()
      for (let sent = this.wire.shift(); sent !== undefined; sent = this.wire.shift()) {
        if (sent.to === guest.origin) waiting.push(sent)
        else this.all.get(sent.to)?.instance.onFrame(sent.bytes, sent.from)
      }
    }
    for (const { from, bytes } of waiting) guest.instance.onFrame(bytes, from)
  }

  /** Frames of a type that are under way. */
  under<T extends Frame["type"]>(type: T): Extract<Frame, { type: T }>[] {
    return this.wire.map(({ bytes }) => decode(bytes) as Frame).filter((frame) => frame.type === type) as never
  }
}

/** One instance, and a store of plain values under numbers. */
export class Guest implements Store, Network {
  readonly instance: Instance
  readonly entries = new Map<number, { version: number; writer: number; value: string }>()
  readonly known = new Map<number, NewestWrite>()
  /** What was asked of the store, in order. */
  readonly told: string[] = []
  floor = 0
  marks = 0
  reconsiders = 0

  constructor(
    readonly room: Room,
    readonly origin: number,
    readonly region: number,
    parameters: Parameters,
    timeOfDayMs = (): number => 0
  ) {
    this.instance = new Instance({
      origin,
      region,
      namespace: 9,
      parameters,
      clock: { nowMs: () => room.nowMs },
      random: () => 0.5,
      timeOfDayMs,
      store: this,
      network: this
    })
  }

  // As a client

  /** Writes; answers the sequence. */
  set(hash: number, value = "v"): number {
    const version = ++this.instance.lamport
    this.entries.set(hash, { version, writer: this.origin, value })
    this.known.set(hash, { version, author: this.origin, isGone: false })
    return this.instance.append(Op.key, hash, version, 0)
  }
  /** Invalidates by a tag, a prefix or a clear; answers the sequence. */
  wide(op: number, hash: number): number {
    return this.instance.append(op, hash, ++this.instance.lamport, 0)
  }
  /** What it reads without asking anybody. */
  get(hash: number): string | undefined {
    return this.entries.get(hash)?.value
  }
  /** What was fetched, as soon as it is there. */
  fetch(hash: number): { value?: string | undefined; isDone: boolean; stop: () => void } {
    const got: { value?: string | undefined; isDone: boolean; stop: () => void } = { isDone: false, stop: () => {} }
    got.stop = this.instance.fetch(`${hash}`, hash, (found) => {
      got.isDone = true
      got.value = found === undefined ? undefined : Buffer.from(found.payload).toString("latin1")
      if (found !== undefined && this.instance.copyMsMax > 0) {
        this.entries.set(hash, { version: found.version, writer: found.writer, value: got.value as string })
      }
    })
    return got
  }
  member(other: Guest) {
    return this.instance.status().members.find(({ origin }) => origin === other.origin)
  }

  // As a network

  send(to: number, frame: Uint8Array): void {
    this.room.post(this.origin, to, frame)
  }
  broadcast(frame: Uint8Array): void {
    for (const to of this.room.peersOf(this.origin)) this.room.post(this.origin, to, frame)
  }
  reconsider(): void {
    this.reconsiders++
  }
  wake(): void {}

  // As a store

  apply(op: number, hash: number, version: number, author: number, flags: number): void {
    this.told.push(`${author}:${hash}`)
    if (op !== Op.key) {
      this.entries.clear()
      return
    }
    this.note(hash, version, author, (flags & RecordFlag.gone) !== 0)
    this.outvote(hash, version, author)
  }
  moveBuckets(author: number, bitmap: Uint8Array, bucketCount: number, wide: readonly WideRecord[] | null): void {
    this.told.push(`buckets of ${author}${wide === null ? ", all wide" : ""}`)
    for (const [hash, { writer }] of this.entries) {
      const bucket = hash % bucketCount
      const isMoved = ((bitmap[bucket >> 3] as number) & (1 << (bucket & 7))) !== 0
      if (wide === null || (isMoved && writer !== this.origin)) this.entries.delete(hash)
    }
    for (const { op, hash } of wide ?? []) this.apply(op, hash, 0, author, 0)
  }
  mark(): number {
    return ++this.marks
  }
  forgetCopies(before?: number): void {
    this.told.push(before === undefined ? "epoch" : `forgets before ${before}`)
    for (const [hash, { writer }] of this.entries) if (writer !== this.origin) this.entries.delete(hash)
  }
  ownHashes(bitmap: Uint8Array | null, bucketCount = 1): number[] {
    const own = [...this.entries].filter(([, { writer }]) => writer === this.origin).map(([hash]) => hash)
    return own.filter(
      (hash) => bitmap === null || ((bitmap[(hash % bucketCount) >> 3] as number) >> ((hash % bucketCount) & 7)) & 1
    )
  }
  newest(hash: number): NewestWrite | undefined {
    return this.known.get(hash)
  }
  authorOf(hash: number): KeyAuthor | undefined {
    return this.known.get(hash)
  }
  authorOfKey(key: string): KeyAuthor | undefined {
    return this.known.get(Number(key))
  }
  doubt(): void {
    this.told.push("doubt")
  }
  floorOf(author: number): number {
    return author === this.origin ? this.floor : 0
  }
  outvote(hash: number, version: number, author: number): void {
    const entry = this.entries.get(hash)
    if (entry === undefined) return
    if (entry.version < version || (entry.version === version && entry.writer < author)) this.entries.delete(hash)
  }
  read(key: string, bytesMax: number): PeerValue | "none" | "tooLarge" {
    const entry = this.entries.get(Number(key))
    if (entry === undefined) return "none"
    const { version, writer, value } = entry
    const payload = Uint8Array.from(Buffer.from(value, "latin1"))
    if (payload.length > bytesMax) return "tooLarge"
    return { source: writer === this.origin ? 0 : 2, version, writer, ttlMs: -1, payload }
  }

  private note(hash: number, version: number, author: number, isGone: boolean): void {
    const known = this.known.get(hash)
    if (known === undefined || known.version < version || (known.version === version && known.author < author)) {
      this.known.set(hash, { version, author, isGone })
    }
  }
}

/** What is lost on its way: frames of these types. */
export const lost =
  (...types: Frame["type"][]) =>
  ({ type }: Frame): boolean =>
    types.includes(type)

/** One of a region that is no relay. */
export const leafOf = (region: readonly Guest[]): Guest =>
  region.find(({ instance }) => !instance.status().isRelay) as Guest
