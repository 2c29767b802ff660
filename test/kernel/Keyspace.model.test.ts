/**
 * Laws 1 to 5 and 9 of a keyspace as properties over random schedules, with a sink and a gate that re-enter, and throw.
 *
 * One schedule is a program of random operations that can be run against the real keyspace and against the plain one:
 * both must write the same transcript (every result, every event as the sink sees it, the whole store after each).
 * The laws are then checked one by one on the real one alone, where deadlines may also coincide and `advance` may stop
 * at its limit with other operations in between, and where wide invalidations leave entries for others to find, which
 * the plain one does not describe (Freshness.model.test.ts does).
 */
import { describe, expect, it } from "vitest"
import { allCauses, allInterests, Cause, causeNames } from "../../src/kernel/Cause.ts"
import { Freshness } from "../../src/kernel/Freshness.ts"
import type { PendingWrite } from "../../src/kernel/Gate.ts"
import { type EventOrigin, isPeers, type KeyEvent } from "../../src/kernel/KeyEvent.ts"
import { type Entry, EntrySource, entryBytes, Keyspace, SetFlag } from "../../src/kernel/Keyspace.ts"
import type { Lease } from "../../src/kernel/Lease.ts"
import { type Pattern, parsePattern } from "../../src/kernel/Pattern.ts"
import type { Watcher } from "../../src/kernel/PatternTrie.ts"
import { type Meta, noMeta, type Value } from "../../src/kernel/Value.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { type PlainEntry, type PlainEvent, PlainKeyspace, type PlainLease, type PlainWrite } from "./PlainKeyspace.ts"

const keys = ["a", "b", "ab", "a:a", "ba", "a:b:c", "b:", ""]
const maxEntries = 4
const maxBytes = 4 * (entryBytes + 40)
const startMs = 1_700_000_000_000
const runMaximum = 100_000 // events; more than a schedule makes, so that the log never wraps

const values: readonly Value[] = [
  "",
  "v",
  "bytes \xff\0",
  "w".repeat(90),
  "too much ".repeat(maxBytes),
  7,
  -0,
  12n,
  true,
  null,
  new Uint8Array([1, 2, 3]),
  [1, ["two", null]],
  new Map([["k", [1]]]),
  { deep: { er: "text" } }
]

const metas: readonly Meta[] = [
  noMeta,
  { metadata: { by: "ann" }, tags: [], cost: 3 },
  { metadata: null, tags: ["red", "blue"], cost: 0 },
  { metadata: { note: "x".repeat(50) }, tags: ["red"], cost: 1.5 }
]

const patterns = ["*", "a*", "ab*", "b*", "ab", "a", "?b", "*b", "[^b]?*", "**"].map(parsePattern) as readonly Pattern[]

interface Named extends Watcher {
  readonly name: string
}

class TestClock {
  atMs = startMs
  nowMs(): number {
    return this.atMs
  }
}

type Heard = PlainEvent | KeyEvent

/** What a sink or a gate throws on purpose. */
class Thrown extends Error {}

/** What a schedule needs of a keyspace, real or plain. */
interface Subject {
  /** Its sink. */
  hear: (event: Heard) => void
  settled: () => void
  /** Its gate. */
  askedToWrite: (write: PendingWrite | PlainWrite) => string | null
  askedToDelete: (entry: Entry | PlainEntry) => string | null
  readonly clock: TestClock
  get(key: string): Value | undefined
  peek(key: string): Entry | PlainEntry | undefined
  set(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): boolean
  delete(key: string, cause: typeof Cause.delete | typeof Cause.invalidate, hasPassed: boolean): boolean
  gateWrite(
    key: string,
    value: Value,
    expiresAtMs: number,
    meta: Meta,
    flags: number
  ): PendingWrite | PlainWrite | string
  gateDelete(key: string): string | null
  readonly refusal: string | null
  expireAt(key: string, expiresAtMs: number): boolean
  flush(): number
  flushShared(): number
  lease(key: string): Lease | PlainLease
  endLease(lease: Lease | PlainLease): void
  fill(lease: Lease | PlainLease, value: Value, expiresAtMs: number, meta: Meta, source: EntrySource): boolean
  /** Something goes that is not named key by key. */
  invalidateSome(random: Random): void
  hold(): boolean
  release(wasHeld: boolean): void
  beginOperation(): void
  endOperation(): void
  /** To the end, in steps of at most `limit`; or one such step alone. */
  advance(limit: number, isWhole: boolean): void
  watch(watcher: Named): void
  unwatch(watcher: Named): void
  live(): Array<Entry | PlainEntry>
  origin: EventOrigin | null
  readonly size: number
  readonly bytes: number
  readonly version: number
  readonly stats: object
}

class Real implements Subject {
  readonly clock = new TestClock()
  readonly freshness = new Freshness(2)
  readonly keyspace: Keyspace
  hear: (event: Heard) => void = () => {}
  settled: () => void = () => {}
  askedToWrite: Subject["askedToWrite"] = () => null
  askedToDelete: Subject["askedToDelete"] = () => null
  /** When the driver of this keyspace would come by itself. */
  private armedAtMs = Number.POSITIVE_INFINITY

  constructor() {
    this.keyspace = new Keyspace({
      maxEntries,
      maxBytes,
      clock: this.clock,
      freshness: this.freshness,
      sink: { onEvent: (event) => this.hear(event), onSettled: () => this.settled() },
      gate: { beforeWrite: (write) => this.askedToWrite(write), beforeDelete: (entry) => this.askedToDelete(entry) },
      onSinkError: (error) => {
        if (!(error instanceof Thrown)) throw error
      },
      wake: (atMs) => {
        this.armedAtMs = Math.min(this.armedAtMs, atMs)
      }
    })
    this.keyspace.log.open(runMaximum, allCauses)
  }

  get origin(): EventOrigin | null {
    return this.keyspace.origin
  }
  set origin(origin: EventOrigin | null) {
    this.keyspace.origin = origin
  }
  get size(): number {
    return this.keyspace.size
  }
  get bytes(): number {
    return this.keyspace.bytes
  }
  get version(): number {
    return this.keyspace.version
  }
  get stats(): object {
    return this.keyspace.stats
  }
  get(key: string): Value | undefined {
    return this.keyspace.get(key)
  }
  peek(key: string): Entry | undefined {
    return this.keyspace.peek(key)
  }
  set(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): boolean {
    return this.keyspace.set(key, value, expiresAtMs, meta, flags)
  }
  get refusal(): string | null {
    return this.keyspace.refusal
  }
  delete(key: string, cause: typeof Cause.delete | typeof Cause.invalidate, hasPassed: boolean): boolean {
    return this.keyspace.delete(key, cause, hasPassed)
  }
  gateWrite(key: string, value: Value, expiresAtMs: number, meta: Meta, flags: number): PendingWrite | string {
    return this.keyspace.gateWrite(key, value, expiresAtMs, meta, flags)
  }
  gateDelete(key: string): string | null {
    return this.keyspace.gateDelete(key)
  }
  expireAt(key: string, expiresAtMs: number): boolean {
    return this.keyspace.expireAt(key, expiresAtMs)
  }
  flush(): number {
    return this.keyspace.flush()
  }
  flushShared(): number {
    return this.keyspace.flushShared()
  }
  lease(key: string): Lease {
    return this.keyspace.lease(key)
  }
  endLease(lease: Lease): void {
    this.keyspace.endLease(lease)
  }
  fill(lease: Lease, value: Value, expiresAtMs: number, meta: Meta, source: EntrySource): boolean {
    return this.keyspace.fill(lease, value, expiresAtMs, meta, source)
  }
  invalidateSome(random: Random): void {
    const kind = random.below(8)
    if (kind < 4) this.keyspace.invalidateTags([random.pick(["red", "blue", "green"])])
    else if (kind < 6) this.keyspace.invalidatePrefix(random.pick(["a:", "a:b:", "b:"]))
    else if (kind === 6) this.freshness.forgetCopies()
    else this.freshness.moveBuckets(new Uint8Array([random.below(256)]), 8)
  }
  hold(): boolean {
    return this.keyspace.hold()
  }
  release(wasHeld: boolean): void {
    this.keyspace.release(wasHeld)
  }
  beginOperation(): void {
    this.keyspace.beginOperation()
  }
  endOperation(): void {
    this.keyspace.endOperation()
  }
  advance(limit: number, isWhole: boolean): void {
    const nowMs = this.clock.nowMs()
    for (let work = limit; work === limit; ) {
      work = this.keyspace.advance(nowMs, limit)
      if (work > limit) throw new Error(`advance did ${work} units of work with a limit of ${limit}`)
      this.armedAtMs = this.keyspace.nextWakeMs()
      if (!isWhole) return
    }
  }
  watch(watcher: Named): void {
    this.keyspace.trie.add(watcher)
  }
  unwatch(watcher: Named): void {
    this.keyspace.trie.remove(watcher)
  }
  live(): Entry[] {
    const entries: Entry[] = []
    expect(this.keyspace.scan(0, Number.MAX_SAFE_INTEGER, (entry) => entries.push(entry))).toBe(0)
    return entries
  }

  /** Between operations nothing is due that nobody would come for. */
  checkWake(): void {
    const wakeMs = this.keyspace.nextWakeMs()
    if (this.armedAtMs > wakeMs) throw new Error(`woken at ${this.armedAtMs}, with something to do at ${wakeMs}`)
    for (const entry of this.live()) {
      if (entry.expiresAtMs !== 0 && entry.expiresAtMs < wakeMs)
        throw new Error(`'${entry.key}' is due before the wake`)
    }
  }
}

class Plain extends PlainKeyspace {
  readonly clock: TestClock
  hear: (event: Heard) => void = () => {}
  settled: () => void = () => {}
  askedToWrite: Subject["askedToWrite"] = () => null
  askedToDelete: Subject["askedToDelete"] = () => null

  constructor() {
    const clock = new TestClock()
    super({
      maxEntries,
      maxBytes,
      clock,
      onEvent: (event) => this.hear(event),
      onSettled: () => this.settled(),
      beforeWrite: (write) => this.askedToWrite(write),
      beforeDelete: (entry) => this.askedToDelete(entry)
    })
    this.clock = clock
  }

  invalidateSome(): void {
    throw new Error("wide invalidations are for wild schedules")
  }
  override advance(): void {
    super.advance(this.clock.nowMs())
  }
  watch(watcher: Named): void {
    this.watchers.push(watcher)
  }
  unwatch(watcher: Named): void {
    this.watchers = this.watchers.filter((each) => each !== watcher)
  }
}

interface ScheduleOptions {
  readonly steps: number
  /** Deadlines may coincide and have passed with others, `advance` may stop half-way: more than the plain one says. */
  readonly isWild: boolean
}

/** Random operations on a subject, also from within its sink. The same seed makes the same ones. */
class Schedule {
  /** Told of each operation and its result, each event, and the store after each. */
  note: (line: string) => void = () => {}
  /** Called after each operation, at any depth, and when an event is heard, before it is reacted to. */
  check: (isOutermost: boolean) => void = () => {}
  onHeard: (event: Heard) => void = () => {}
  /** Sets that were accepted. */
  accepted = 0
  /** How often the gate said no. */
  refused = 0
  private depth = 0
  private reentries = 0
  private names = 0
  private readonly watching: Named[] = []
  private leases: Array<Lease | PlainLease> = []

  constructor(
    private readonly random: Random,
    private readonly subject: Subject,
    private readonly options: ScheduleOptions
  ) {
    subject.hear = (event) => this.hear(event)
    subject.settled = () => this.settled()
    subject.askedToWrite = (write) => this.askedToWrite(write)
    subject.askedToDelete = (entry) => this.askedToDelete(entry)
  }

  run(): void {
    const { steps, isWild } = this.options
    if (this.random.oneIn(2))
      this.watch({ name: "all", pattern: patterns[0] as Pattern, mask: allInterests, priority: 0 })
    for (let step = 0; step < steps; step++) {
      this.reentries = 6
      if (this.random.oneIn(3)) this.subject.clock.atMs += this.random.pick([1, 1, 8, 60, 64, 500, 5000, 300_000])
      this.operate()
    }
    this.reentries = isWild ? 6 : 0
    this.subject.clock.atMs += 64 ** 4
    this.done("advance", this.subject.advance(Number.MAX_SAFE_INTEGER, true))
  }

  private hear(event: Heard): void {
    this.depth++
    this.note(`  heard ${described(event)} [${namesOf(event.watchers)}]`)
    this.onHeard(event)
    this.check(false)
    const before = this.subject.origin
    this.subject.origin = { depth: (event.origin?.depth ?? 0) + 1 }
    this.reenter()
    this.subject.origin = before
    this.depth--
    this.throwSometimes()
  }

  private settled(): void {
    this.depth++
    this.note("  settled")
    this.check(false)
    this.reenter()
    this.depth--
    this.throwSometimes()
  }

  private askedToWrite(write: PendingWrite | PlainWrite): string | null {
    const { random } = this
    this.depth++
    const watchers = "watchers" in write ? write.watchers : write.match.watchersOf(Cause.beforeWrite)
    const { key, value, meta, expiresAtMs, keepsTtl, oldEntry } = write
    const to = `${indexOf(value)} meta ${metas.indexOf(meta)} @${expiresAtMs} ${keepsTtl}`
    this.note(`  asked to write '${key}' ${to} over ${shown(oldEntry)} [${namesOf(watchers)}]`)
    this.reenter()
    if (random.oneIn(3)) write.value = random.pick(values)
    if (random.oneIn(4)) write.expiresAtMs = this.deadlineMs(key)
    if (random.oneIn(4)) write.meta = random.pick(metas)
    this.depth--
    this.throwSometimes()
    return this.answer()
  }

  private askedToDelete(entry: Entry | PlainEntry): string | null {
    this.depth++
    this.note(`  asked to delete ${shown(entry)}`)
    this.reenter()
    this.depth--
    this.throwSometimes()
    return this.answer()
  }

  private answer(): string | null {
    if (!this.random.oneIn(3)) return null
    this.refused++
    return this.random.pick(["", "not now", "never"])
  }

  private throwSometimes(): void {
    if (this.random.oneIn(12)) throw new Thrown()
  }

  private reenter(): void {
    for (; this.reentries > 0 && this.random.oneIn(2); this.reentries--) {
      if (this.random.oneIn(6)) this.subject.clock.atMs += this.random.pick([1, 8, 64])
      this.operate()
    }
  }

  private operate(): void {
    const { random, subject } = this
    const key = random.pick(keys)
    const kind = random.below(this.options.isWild ? 58 : 56)
    if (kind < 13) {
      const flags = random.oneIn(2) ? 0 : random.below(16)
      const isAccepted = subject.set(key, random.pick(values), this.deadlineMs(key), random.pick(metas), flags)
      if (isAccepted) this.accepted++
      this.done(`set '${key}' ${flags}`, isAccepted)
    } else if (kind < 19) this.done(`get '${key}'`, String(indexOf(subject.get(key))))
    else if (kind < 21) this.done(`peek '${key}'`, shown(subject.peek(key)))
    else if (kind < 25) {
      const cause = random.oneIn(3) ? Cause.invalidate : Cause.delete
      this.done(`delete '${key}'`, subject.delete(key, cause, random.oneIn(6)))
    } else if (kind < 29) this.done(`expireAt '${key}'`, subject.expireAt(key, this.deadlineMs(key)))
    else if (kind < 35) {
      const limit = random.pick([1, 2, 5, Number.MAX_SAFE_INTEGER])
      this.done("advance", subject.advance(limit, !this.options.isWild || random.oneIn(2)))
    } else if (kind === 35) this.done("flush", subject.flush())
    else if (kind === 36) this.done(`ask for '${key}' to go`, subject.gateDelete(key))
    else if (kind < 39) this.askAndSet(key)
    else if (kind < 42) {
      const mask = random.between(0, allInterests)
      const pattern = random.pick(patterns)
      this.watch({ name: `${++this.names}`, pattern, mask, priority: random.between(-1, 1) })
    } else if (kind === 44) this.asOneChange()
    else if (kind === 45) this.asOneOperation()
    else if (kind >= 56) this.done("some go", subject.invalidateSome(random))
    else if (kind >= 47) this.lease(key, kind - 47)
    else if (this.watching.length > 0) {
      const [watcher] = this.watching.splice(random.below(this.watching.length), 1)
      subject.unwatch(watcher as Named)
    }
  }

  /** What a miss does, and what a peer may do meanwhile. */
  private lease(key: string, kind: number): void {
    const { random, subject, leases } = this
    if (kind < 3) {
      if (leases.length < 6) leases.push(subject.lease(key))
      return
    }
    if (kind === 3) {
      const before = subject.origin
      subject.origin = { depth: 0, peer: "other" }
      this.done("flush by a peer", subject.flushShared())
      subject.origin = before
      return
    }
    if (leases.length === 0) return
    const at = random.below(leases.length)
    const lease = leases[at] as Lease | PlainLease
    if (!random.oneIn(8)) leases.splice(at, 1) // what has ended may be tried once more
    if (kind === 4) subject.endLease(lease)
    else {
      const source = random.pick([EntrySource.loaded, EntrySource.copied])
      const [value, meta] = [random.pick(values), random.pick(metas)]
      const isStored = subject.fill(lease, value, this.deadlineMs(lease.key), meta, source)
      if (isStored) this.accepted++
      this.done(`fill '${lease.key}' ${lease.isRevoked} ${lease.isEnded}`, isStored)
    }
  }

  /** What MSET does: asks first, and sets what came of it if the answer is yes. */
  private askAndSet(key: string): void {
    const { random, subject } = this
    const flags = random.below(8)
    const answer = subject.gateWrite(key, random.pick(values), this.deadlineMs(key), random.pick(metas), flags)
    if (typeof answer === "string") {
      this.done(`ask to set '${key}'`, answer)
      return
    }
    const { value, expiresAtMs, meta } = answer
    const isAccepted = subject.set(key, value, expiresAtMs, meta, SetFlag.passed)
    if (isAccepted) this.accepted++
    this.done(`ask and set '${key}' ${flags}`, isAccepted)
  }

  private asOneChange(): void {
    const wasHeld = this.subject.hold()
    this.depth++
    this.operateSome()
    this.depth--
    this.subject.release(wasHeld)
    this.done("several changes as one", undefined)
  }

  private asOneOperation(): void {
    this.subject.beginOperation()
    this.depth++
    this.operateSome()
    this.depth--
    this.subject.endOperation()
    this.done("several changes as one operation", undefined)
  }

  private operateSome(): void {
    for (; this.reentries > 0 && this.random.below(4) > 0; this.reentries--) this.operate()
  }

  private watch(watcher: Named): void {
    this.watching.push(watcher)
    this.subject.watch(watcher)
  }

  /** None, passed, near or far. When not wild, two keys never have the same one: the wheel leaves open who is first. */
  private deadlineMs(key: string): number {
    const { random } = this
    const nowMs = this.subject.clock.nowMs()
    const kind = random.below(10)
    if (kind < 3) return 0
    const delayMs = kind === 3 ? -random.between(0, 100) : random.pick([1, 9, 20, 64, 70, 1000, 4096, 5000, 300_000])
    const deadlineMs = nowMs + delayMs
    return this.options.isWild ? deadlineMs : deadlineMs - (deadlineMs % keys.length) + keys.indexOf(key)
  }

  private done(what: string, result: unknown): void {
    this.note(`${what} -> ${result}; ${this.subject.refusal}; ${store(this.subject)}`)
    this.check(this.depth === 0)
  }
}

const shown = (entry: Entry | PlainEntry | undefined): string => {
  if (entry === undefined) return "none"
  const { key, value, meta, expiresAtMs, version, isLocal } = entry
  return `'${key}'=${values.indexOf(value)} meta ${metas.indexOf(meta)} @${expiresAtMs} v${version} ${isLocal}`
}

const store = (subject: Subject): string => {
  const entries = subject.live().map(shown).sort().join(", ")
  return `${subject.size} entries, ${subject.bytes} bytes, v${subject.version}: ${entries}`
}

const described = (event: Heard): string => {
  const { cause, key, value, oldValue, meta, version, expiresAtMs, atMs, isLocal, count, origin } = event
  const change = `${indexOf(oldValue)} to ${indexOf(value)} meta ${metas.indexOf(meta)} @${expiresAtMs}`
  return `${causeNames[cause]} '${key}' ${change} v${version} at ${atMs} ${isLocal} ${count} ${origin?.depth}`
}

const namesOf = (watchers: readonly Watcher[]): string[] => watchers.map((watcher) => (watcher as Named).name)

const indexOf = (value: Value | undefined): number | undefined =>
  value === undefined ? undefined : values.indexOf(value)

const transcript = (random: Random, subject: Real | Plain): string[] => {
  const lines: string[] = []
  const schedule = new Schedule(random, subject, { steps: 60, isWild: false })
  schedule.note = (line) => lines.push(line)
  schedule.check = (isOutermost) => {
    if (isOutermost) lines.push(JSON.stringify(subject.stats))
    if (!(subject instanceof Real)) return
    subject.keyspace.checkInvariants()
    subject.keyspace.trie.checkInvariants()
    if (isOutermost) subject.checkWake()
  }
  schedule.run()
  return lines
}

/** What a change did to a store, for those who replay the log. */
interface Held {
  readonly value: Value
  readonly meta: Meta
  readonly expiresAtMs: number
  readonly version: number
  readonly isLocal: boolean
}

const unseen = { bytes: 0, dueMs: 0, turn: 0, source: EntrySource.written }

const replay = (state: Map<string, Held>, event: KeyEvent): void => {
  const { cause, key, value, meta, expiresAtMs, version, isLocal } = event
  if (cause === Cause.flush && !event.isFlushedKey) {
    for (const [each, held] of state) if (!(held.isLocal && isPeers(event.origin))) state.delete(each)
  } else if (value === undefined) state.delete(key)
  else if (cause !== Cause.read) state.set(key, { value, meta, expiresAtMs, version, isLocal })
}

/** Whether `advance` is to look for stale entries, now or when it has paused. */
const isSwept = (keyspace: Keyspace, nowMs: number): boolean => keyspace.nextWakeMs() <= nowMs + 100

/** The log's events that were not asked for yet. */
const reader = (keyspace: Keyspace): (() => KeyEvent[]) => {
  let read = 0
  return () => {
    const events = keyspace.log.recent()
    const fresh = events.slice(read)
    read = events.length
    return fresh
  }
}

const isRemoval = (event: KeyEvent): boolean => event.value === undefined && event.oldValue !== undefined

const isPast = (expiresAtMs: number, nowMs: number): boolean => expiresAtMs !== 0 && expiresAtMs <= nowMs

/**
 * Throws where the store is not what was replayed; entries past their deadline are there, but nobody can look, and so are
 * those that are stale, as long as somebody is on the way to them.
 */
const checkReplayed = ({ keyspace, clock }: Real, state: ReadonlyMap<string, Held>): void => {
  if (keyspace.size !== state.size) throw new Error(`${keyspace.size} entries, ${state.size} replayed`)
  for (const [key, held] of state) {
    const entry = keyspace.peek(key)
    if (isPast(held.expiresAtMs, clock.nowMs())) {
      if (entry !== undefined) throw new Error(`'${key}' is past its deadline and seen`)
    } else if (entry === undefined) {
      if (!isSwept(keyspace, clock.nowMs())) throw new Error(`'${key}' is not seen, and nobody comes for it`)
    } else if (
      entry.value !== held.value ||
      entry.meta !== held.meta ||
      entry.expiresAtMs !== held.expiresAtMs ||
      entry.version !== held.version ||
      entry.isLocal !== held.isLocal
    ) {
      throw new Error(`'${key}' is ${shown(entry)}, replayed as ${shown({ key, ...unseen, ...held })}`)
    }
  }
}

/** Runs a wild schedule on a real keyspace, with `look` after each operation and each event, at any depth. */
const runWild = (
  random: Random,
  watch: (real: Real, schedule: Schedule) => (isOutermost: boolean) => void
): Schedule => {
  const real = new Real()
  const schedule = new Schedule(random, real, { steps: 60, isWild: true })
  const look = watch(real, schedule)
  schedule.check = (isOutermost) => {
    real.keyspace.checkInvariants()
    if (isOutermost) real.checkWake()
    look(isOutermost)
  }
  schedule.run()
  return schedule
}

describe("Keyspace", () => {
  it("cannot be told from the plain keyspace, whatever its sink does", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(1800, (random) => {
      const real = new Real()
      const lines = transcript(random, real)
      const plain = new Plain()
      const expected = transcript(random.again(), plain)
      const at = expected.findIndex((line, i) => line !== lines[i])
      if (at !== -1 || lines.length !== expected.length) {
        const before = expected.slice(Math.max(0, at - 6), at).join("\n")
        throw new Error(`after\n${before}\nexpected\n${expected[at]}\nand got\n${lines[at]}`)
      }
      expect(real.keyspace.log.recent().map(described)).toEqual(plain.log.map(described))
    })
  })

  it("law 1: the replayed log is the store, from whatever moment it was opened", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(900, (random) => {
      let wait = random.below(40)
      runWild(random, (real) => {
        const { keyspace } = real
        let state: Map<string, Held> | undefined
        let fresh = reader(keyspace)
        keyspace.log.close()
        return (isOutermost) => {
          if (isOutermost && wait-- <= 0 && state === undefined) {
            real.advance(1, true) // what is due, or stale, cannot be seen
            if (keyspace.size > real.live().length) return
            state = new Map(real.live().map((entry) => [entry.key, { ...(entry as Entry) }]))
            keyspace.log.open(runMaximum)
            fresh = reader(keyspace)
          }
          if (state === undefined) return
          for (const event of fresh()) replay(state, event)
          checkReplayed(real, state)
        }
      })
    })
  })

  it("law 2: an entry that goes, goes once, with the cause that was true", { timeout: propertyTimeoutMs }, async () => {
    await forAllSeeds(900, (random) => {
      runWild(random, ({ keyspace, clock }) => {
        const state = new Map<string, Held>()
        const fresh = reader(keyspace)
        let version = 0
        let flushedKeys = 0
        return () => {
          for (const event of fresh()) {
            if (event.isFlushedKey) flushedKeys++
            const held = state.get(event.key)
            if (isRemoval(event)) {
              if (held === undefined) throw new Error(`'${event.key}' went twice: ${described(event)}`)
              if (event.oldValue !== held.value || event.meta !== held.meta) throw new Error("another value went")
              const isDue = isPast(event.expiresAtMs, event.atMs)
              if (isDue !== (event.cause === Cause.expire))
                throw new Error(`the cause is not true: ${described(event)}`)
            } else if (event.cause === Cause.flush) {
              const due = [...state.values()].filter((each) => isPast(each.expiresAtMs, event.atMs))
              if (due.length > 0) throw new Error("a flush took what was due")
              const taken = [...state.values()].filter((each) => !(each.isLocal && isPeers(event.origin)))
              const count = flushedKeys + taken.length
              if (event.count !== count) throw new Error(`flushed ${event.count} of ${count}`)
              flushedKeys = 0
            } else if (event.oldValue !== held?.value && event.cause !== Cause.read) {
              throw new Error(`the value before is not the one that was: ${described(event)}`)
            }
            if (event.cause !== Cause.read && event.version <= version) throw new Error("versions do not go up")
            if (event.atMs > clock.nowMs()) throw new Error("an event from the future")
            if (event.cause !== Cause.read) version = event.version
            replay(state, event)
          }
        }
      })
    })
  })

  it("law 3: overwriting an expired entry is its expiry, then a write over nothing", {
    timeout: propertyTimeoutMs
  }, async () => {
    let overwritten = 0
    await forAllSeeds(300, (random) => {
      const real = new Real()
      const { keyspace, clock } = real
      const flags = random.below(16)
      keyspace.set("k", "old", startMs + random.between(1, 200), random.pick(metas))
      clock.atMs += random.between(0, 200)
      const entry = keyspace.peek("k")
      const [old, value] = [keyspace.log.recent()[0] as KeyEvent, random.pick(values)]
      if (!keyspace.set("k", value, 0, noMeta, flags) || entry !== undefined) return
      overwritten++
      const [expired, written, ...more] = keyspace.log.recent().slice(1)
      expect(more).toEqual([])
      expect(expired).toMatchObject({ cause: Cause.expire, oldValue: "old", expiresAtMs: old.expiresAtMs, version: 2 })
      expect(expired?.meta).toBe(old.meta)
      expect(written?.cause).toBe(Cause.write)
      expect([written?.oldValue, written?.meta, written?.expiresAtMs, written?.version]).toEqual([
        undefined,
        noMeta,
        0,
        3
      ])
      keyspace.checkInvariants()
    })
    expect(process.env.MIMOSA_SCHEDULES ?? overwritten).not.toBe(0)
  })

  it("law 4: a write event for each accepted set, none for a change of the deadline", {
    timeout: propertyTimeoutMs
  }, async () => {
    let refusals = 0
    await forAllSeeds(800, (random) => {
      const events: KeyEvent[] = []
      const schedule = runWild(random, ({ keyspace }) => {
        const fresh = reader(keyspace)
        return () => events.push(...fresh())
      })
      const stores = events.filter(({ cause }) => cause === Cause.write || cause === Cause.fill)
      expect(stores.length).toBe(schedule.accepted)
      refusals += schedule.refused
      for (const touch of events.filter(({ cause }) => cause === Cause.touch)) {
        if (touch.value === undefined || touch.value !== touch.oldValue) throw new Error("a touch changed the value")
      }
    })
    expect(process.env.MIMOSA_SCHEDULES ?? refusals).not.toBe(0)
  })

  it("law 5: the sink sees the store after its event, and each event once, in order", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(900, (random) => {
      const due: KeyEvent[] = []
      const heard: Heard[] = []
      runWild(random, (real, schedule) => {
        const { keyspace } = real
        const state = new Map<string, Held>()
        const fresh = reader(keyspace)
        const replayFresh = (): void => {
          for (const event of fresh()) {
            replay(state, event)
            if (event.watchers.length > 0) due.push(event)
          }
          checkReplayed(real, state)
        }
        schedule.onHeard = (event) => {
          replayFresh()
          heard.push(event)
          if (!due.includes(event as KeyEvent)) throw new Error("heard before it was logged, or heard by nobody")
        }
        return (isOutermost) => {
          replayFresh()
          if (isOutermost && heard.length !== due.length) throw new Error(`${heard.length} heard of ${due.length}`)
        }
      })
      if (heard.some((event, i) => event !== due[i])) throw new Error("heard in another order than they happened")
    })
  })

  it("scans, in steps, every entry that stays there under churn, and none that is gone", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(800, (random) => {
      let cursor = 0
      let staying: Entry[] | undefined
      let visited: Entry[] = []
      runWild(random, ({ keyspace }) => (isOutermost) => {
        staying = staying?.filter((entry) => keyspace.peek(entry.key) === entry)
        if (!isOutermost || random.oneIn(3)) return
        if (staying === undefined) {
          staying = []
          visited = []
          for (const key of keys) {
            const entry = keyspace.peek(key)
            if (entry !== undefined) staying.push(entry)
          }
        }
        cursor = keyspace.scan(cursor, random.between(1, 3), (entry) => {
          if (keyspace.peek(entry.key) !== entry) throw new Error(`'${entry.key}' was visited and is not there`)
          visited.push(entry)
        })
        if (cursor !== 0) return
        const missed = staying.filter((entry) => !visited.includes(entry))
        if (missed.length > 0) throw new Error(`'${missed[0]?.key}' was there all the time and was not visited`)
        staying = undefined
      })
    })
  })
})
