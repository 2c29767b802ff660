/**
 * What is registered and not stored: tenants, scripts, triggers. A register of small texts that is the same on all
 * instances of a namespace, however often they part and start.
 *
 * Each definition has a version and an author; of two of one id the higher (version, author) holds, everywhere. A removal
 * is a definition without a body, which is kept (a tombstone) so that those who were away hear of it.
 *
 * **Versions** are a Lamport clock that begins at the wall clock: the milliseconds since 1970, or one more than the
 * highest that was seen. So what was changed in the absence of others can be compared with what they have changed, as
 * well as their clocks agree, and whoever changes what it sees is above it however wrong its clock is.
 *
 * **How it spreads.** A change is put into the own log (`record`: a DEFINE with its hash and version), so that who misses
 * it knows, and is sent to all that live in the same turn. Who hears of a version that has not come by the next beat asks
 * for it. And since logs and frames may be lost, and those who start know what was saved years ago: whoever greets, and
 * at every tenth beat one member by chance, is sent a digest of the register; only of the buckets in which two of them
 * differ the stamps are compared, and what is lower or missing is asked for, a portion at a time.
 *
 * **Owners.** What a tenant owns goes with it: its tombstone voids all that it owned, and one that is made anew under the
 * same id (`since`) does not get back what belonged to the one before. What is owned by a tenant that nobody has heard of
 * is kept: the tenant will come.
 *
 * Synchronous, without timers: frames and beats come in, frames and definitions (`DefinitionSource`) go out. Bounded:
 * `definitionsMax` of them, `tombstonesMax` removals (the highest versions are kept, so all keep the same ones), bodies of
 * 512 KB. Memory: some 400 bytes a definition, and its body. Two ids of one 53-bit hash: the second is refused.
 */
import { KeyHash } from "../kernel/index.ts"
import {
  bodyBytesMax,
  bucketCount,
  type Definition,
  type DefinitionId,
  type DefinitionMessage,
  decodeMessage,
  encodeMessage,
  type Stamp
} from "./DefinitionMessage.ts"
import { Op } from "./protocol/Frame.ts"
import type { Instance } from "./protocol/Instance.ts"

export type { Definition, DefinitionId } from "./DefinitionMessage.ts"

/** Who has to act by what is defined. */
export interface DefinitionSource {
  /**
   * Another instance has changed it. `isAnother`: what it stands for was removed in between and is a new one of that
   * name. May not throw, nor change definitions before it has returned.
   */
  onDefinition(definition: Definition, isAnother: boolean): void
  /** It has not done yet what it was told. */
  readonly isBusy: boolean
}

/** The others, and the log that they know of. */
export interface DefinitionPeers {
  readonly origin: number
  /** Those that live and are heard of. Who is heard of again greets. */
  fresh(): Iterable<number>
  say(to: number, payload: Uint8Array): void
  /** Puts a change into the own log. */
  record(hash: number, version: number): void
  /** 0 to below 1. */
  random(): number
}

export const definitionPeersOf = (instance: Instance): DefinitionPeers => ({
  origin: instance.origin,
  *fresh() {
    for (const { origin, isFresh } of instance.members.live.values()) if (isFresh) yield origin
  },
  say: (to, payload) => instance.say("define", to, payload),
  record: (hash, version) => void instance.append(Op.define, hash, version, 0),
  random: instance.random
})

export interface DefinitionsOptions {
  /** Instances of one namespace have the same: hashes are made with it. */
  readonly hashSecret: string
  /** Milliseconds since 1970. */
  readonly nowMs: () => number
  readonly definitionsMax?: number
  readonly tombstonesMax?: number
}

const definitionsMaxDefault = 200_000
const tombstonesMaxDefault = 10_000
const wantedMax = 100_000
const answerBytesMax = 256 * 1024 // of an answer, but for a single body that is larger
const askMax = 256 // hashes of one question: most answers are full before that
const digestEvery = 10 // beats
const patienceBeats = 10 // until an answer is given up; the next digest finds what is still missing

export class Definitions {
  readonly stats = {
    /** Changes by this instance. */
    set: 0,
    /** Taken from others; not taken since what is here is higher, or its owner was removed. */
    taken: 0,
    stale: 0,
    /** For want of room, of another id's hash, or with too large a body. */
    refused: 0,
    tombstonesDropped: 0,
    asked: 0,
    answered: 0,
    /** Digests that were not the own, as they should be. */
    differences: 0,
    malformed: 0,
    /** Done here; that could not be done here, each version once. */
    applied: 0,
    conflicts: 0
  }
  private readonly rows = new Map<number, Definition>()
  /** Hashes by their owner. */
  private readonly owned = new Map<string, Set<number>>()
  private readonly tombstones = new Set<number>()
  private readonly sums = new Int32Array(bucketCount)
  private readonly buckets: Array<Set<number>> = Array.from({ length: bucketCount }, () => new Set())
  private highest = 0
  private readonly hashes: KeyHash
  private peers: DefinitionPeers | null = null
  private source: DefinitionSource | null = null
  /** What others are known to have. */
  private readonly wanted = new Map<number, Want>()
  /** Who was asked and has not answered, and how long ago, in beats. */
  private readonly pending = new Map<number, number>()
  private beats = 0
  private hasAgreed = false

  constructor(private readonly options: DefinitionsOptions) {
    this.hashes = new KeyHash(`${options.hashSecret}\0definitions`)
  }

  /** Whose they are from now on: once, before anything is set. */
  bind(peers: DefinitionPeers): void {
    this.peers = peers
  }

  /** Who is to act by what others define. The returned function ends it. */
  listen(source: DefinitionSource): () => void {
    this.source = source
    return () => {
      if (this.source === source) this.source = null
    }
  }

  /** Who this is, as author. */
  get origin(): number {
    return this.peers?.origin ?? 0
  }

  /** All of them, removals among them. */
  get size(): number {
    return this.rows.size
  }

  /** The register was that of another instance once, and what it says is in effect; or there is no other. */
  get isSettled(): boolean {
    if (this.source?.isBusy === true) return false
    if (this.hasAgreed) return true
    for (const _ of this.peers?.fresh() ?? []) return false
    return true
  }

  all(): Iterable<Definition> {
    return this.rows.values()
  }

  /** Undefined where there is none, nor is known to have been. */
  get(id: DefinitionId): Definition | undefined {
    return this.rows.get(this.hashOf(id))
  }

  /** What a tenant owns. */
  *ownedBy(owner: string): Iterable<Definition> {
    for (const hash of this.owned.get(owner) ?? nothing) yield this.rows.get(hash) as Definition
  }

  /**
   * Says what something is, or, with null, that it is no more; false where that is what was said last, or where there is
   * no room for it.
   */
  set(id: DefinitionId, body: string | null): boolean {
    const hash = this.hashOf(id)
    const before = this.rows.get(hash)
    if ((before?.body ?? null) === body) return false
    const version = Math.max(Math.floor(this.options.nowMs()), this.highest + 1)
    const since = before === undefined ? 0 : before.body === null ? version : before.since
    const { kind, owner, name } = id
    const definition = { kind, owner, name, version, author: this.origin, since, body }
    if (!this.put(hash, definition)) return false
    this.stats.set++
    const payload = encodeMessage({ type: "definitions", definitions: [definition], unknown: [], isAnswer: false })
    for (const origin of this.peers?.fresh() ?? []) this.peers?.say(origin, payload)
    this.peers?.record(hash, version)
    return true
  }

  /** Takes what was saved, before others are heard of. */
  restore(definition: Definition): void {
    this.put(this.hashOf(definition), definition)
  }

  // What others say

  /** Somebody has changed what this hash names; with version 0: perhaps has. */
  onDefine(hash: number, version: number, author: number): void {
    const row = this.rows.get(hash)
    if (version > 0 && row !== undefined && !isLower(row, version, author)) return
    this.want(hash, author, version, author)
  }

  onFrame(from: number, payload: Uint8Array): void {
    const message = decodeMessage(payload)
    if (message === undefined) this.stats.malformed++
    else this.handle(from, message)
  }

  /** It has come, or come back. */
  onMember(origin: number): void {
    this.sayDigest(origin, !this.hasAgreed)
  }

  /** Ten times a second or so. */
  onBeat(): void {
    const fresh = [...(this.peers?.fresh() ?? [])]
    for (const [origin, beats] of this.pending) {
      if (beats < patienceBeats && fresh.includes(origin)) this.pending.set(origin, beats + 1)
      else this.giveUp(origin)
    }
    for (const origin of new Set(Array.from(this.wanted.values(), ({ from }) => from))) {
      if (fresh.includes(origin)) this.ask(origin)
      else this.giveUp(origin)
    }
    if (++this.beats % digestEvery !== 0 || fresh.length === 0) return
    const chosen = fresh[Math.floor((this.peers as DefinitionPeers).random() * fresh.length)] as number
    this.sayDigest(chosen, !this.hasAgreed)
  }

  private handle(from: number, message: DefinitionMessage): void {
    switch (message.type) {
      case "digest":
        this.onDigest(from, message.sums)
        if (message.wantsAnswer) this.sayDigest(from, false)
        return
      case "stamps":
        this.onStamps(from, message.bucket, message.stamps, message.isWhole)
        return
      case "ask":
        this.onAsk(from, message.hashes)
        return
      case "definitions":
        for (const definition of message.definitions) this.take(definition)
        for (const hash of message.unknown) this.wanted.delete(hash)
        if (!message.isAnswer) return
        this.pending.delete(from)
        this.ask(from)
        if (!this.hasAgreed && !this.pending.has(from)) this.sayDigest(from, true)
    }
  }

  private onDigest(from: number, sums: readonly number[]): void {
    let isDifferent = false
    for (let bucket = 0; bucket < bucketCount; bucket++) {
      if (sums[bucket] === (this.sums[bucket] as number) >>> 0) continue
      isDifferent = true
      const stamps = Array.from(this.buckets[bucket] as Set<number>, (hash) => this.stampOf(hash))
      this.say(from, { type: "stamps", bucket, isWhole: true, stamps })
    }
    if (isDifferent) this.stats.differences++
    else this.hasAgreed = true
  }

  private onStamps(from: number, bucket: number, stamps: readonly Stamp[], isWhole: boolean): void {
    const theirs = new Set<number>()
    const better: Stamp[] = []
    for (const [hash, version, author] of stamps) {
      theirs.add(hash)
      const row = this.rows.get(hash)
      if (row === undefined || isLower(row, version, author)) this.want(hash, from, version, author)
      else if (row.version !== version || row.author !== author) better.push(this.stampOf(hash))
    }
    if (isWhole) {
      for (const hash of this.buckets[bucket] as Set<number>) if (!theirs.has(hash)) better.push(this.stampOf(hash))
      if (better.length > 0) this.say(from, { type: "stamps", bucket, isWhole: false, stamps: better })
    }
    this.ask(from)
  }

  /** As many as there is room for; the others are asked for again. */
  private onAsk(from: number, hashes: readonly number[]): void {
    const definitions: Definition[] = []
    const unknown: number[] = []
    let bytes = 0
    for (const hash of hashes) {
      const row = this.rows.get(hash)
      if (row === undefined) unknown.push(hash)
      else {
        bytes += row.body?.length ?? 0
        if (bytes > answerBytesMax && definitions.length > 0) break
        definitions.push(row)
      }
    }
    this.stats.answered += definitions.length
    this.say(from, { type: "definitions", definitions, unknown, isAnswer: true })
  }

  private take(definition: Definition): void {
    const hash = this.hashOf(definition)
    const want = this.wanted.get(hash)
    if (want !== undefined && !isLower(definition, want.version, want.author)) this.wanted.delete(hash)
    const row = this.rows.get(hash)
    if ((row !== undefined && !isLower(row, definition.version, definition.author)) || this.isVoid(definition)) {
      this.wanted.delete(hash)
      this.stats.stale++
      return
    }
    if (!this.put(hash, definition)) return
    this.stats.taken++
    const isAnother = row !== undefined && row.body !== null && definition.since > row.since
    this.source?.onDefinition(definition, isAnother)
  }

  /** Throws where an invariant does not hold. O(definitions), for tests. */
  checkInvariants(): void {
    const sums = new Int32Array(bucketCount)
    let owned = 0
    for (const [hash, row] of this.rows) {
      const { version, author, owner, body } = row
      sums[hash % bucketCount] = (sums[hash % bucketCount] as number) ^ mixed(hash, version, author)
      const isListed = this.buckets[hash % bucketCount]?.has(hash) && this.tombstones.has(hash) === (body === null)
      if (!isListed || this.hashOf(row) !== hash) throw new Error(`${row.name} is not listed as it should be`)
      if (owner !== "" && !this.owned.get(owner)?.has(hash)) throw new Error(`${row.name} is not listed as owned`)
      if (this.isVoid(row)) throw new Error(`${row.name} is void`)
      if (version > this.highest) throw new Error(`${row.name} has a version above the highest`)
      if (owner !== "") owned++
    }
    const listed = this.buckets.reduce((count, { size }) => count + size, 0)
    if (listed !== this.rows.size) throw new Error(`${listed} in buckets, ${this.rows.size} in rows`)
    for (const { size } of this.owned.values()) owned -= size
    if (owned !== 0) throw new Error("somebody owns what is not there")
    if (sums.some((sum, bucket) => sum !== this.sums[bucket])) throw new Error("a bucket's sum is another one")
    if (this.tombstones.size > this.tombstonesMax) throw new Error("there are too many tombstones")
  }

  // Asking

  private want(hash: number, from: number, version: number, author: number): void {
    const known = this.wanted.get(hash)
    if (known !== undefined && !isLower(known, version, author)) return
    if (known === undefined && this.wanted.size >= wantedMax) return // a digest finds it later
    this.wanted.set(hash, { from, version, author })
  }

  private ask(origin: number): void {
    if (this.pending.has(origin)) return
    const hashes: number[] = []
    for (const [hash, { from }] of this.wanted) {
      if (from === origin && hashes.push(hash) === askMax) break
    }
    if (hashes.length === 0) return
    this.pending.set(origin, 0)
    this.stats.asked += hashes.length
    this.say(origin, { type: "ask", hashes })
  }

  private giveUp(origin: number): void {
    this.pending.delete(origin)
    for (const [hash, { from }] of this.wanted) if (from === origin) this.wanted.delete(hash)
  }

  private say(to: number, message: DefinitionMessage): void {
    this.peers?.say(to, encodeMessage(message))
  }

  private sayDigest(to: number, wantsAnswer: boolean): void {
    this.say(to, { type: "digest", wantsAnswer, sums: Array.from(this.sums, (sum) => sum >>> 0) })
  }

  // The register

  /** Whether it is in the register now. */
  private put(hash: number, definition: Definition): boolean {
    const { body, owner, version } = definition
    const before = this.rows.get(hash)
    if (version > this.highest) this.highest = version
    const isFull = before === undefined && body !== null && this.definitionCount >= this.definitionsMax
    if (isFull || (before !== undefined && !isSameId(before, definition)) || (body?.length ?? 0) > bodyBytesMax) {
      this.stats.refused++
      this.wanted.delete(hash)
      return false
    }
    if (before !== undefined) this.drop(hash, before)
    this.rows.set(hash, definition)
    this.toggle(hash, definition)
    ;(this.buckets[hash % bucketCount] as Set<number>).add(hash)
    if (owner !== "") {
      const siblings = this.owned.get(owner)
      if (siblings === undefined) this.owned.set(owner, new Set([hash]))
      else siblings.add(hash)
    }
    if (body === null) this.tombstones.add(hash)
    if (definition.kind === ownerKind) this.dropVoid(definition.name)
    if (this.tombstones.size > this.tombstonesMax) this.dropLowestTombstone()
    return this.rows.get(hash) === definition
  }

  private drop(hash: number, row: Definition): void {
    this.rows.delete(hash)
    this.toggle(hash, row)
    ;(this.buckets[hash % bucketCount] as Set<number>).delete(hash)
    this.tombstones.delete(hash)
    const siblings = this.owned.get(row.owner)
    siblings?.delete(hash)
    if (siblings?.size === 0) this.owned.delete(row.owner)
  }

  /** A sum that does not know order: what is put twice is gone. */
  private toggle(hash: number, { version, author }: Definition): void {
    const bucket = hash % bucketCount
    this.sums[bucket] = (this.sums[bucket] as number) ^ mixed(hash, version, author)
  }

  private isVoid({ owner, version }: Definition): boolean {
    if (owner === "") return false
    const tenant = this.rows.get(this.hashOf({ kind: ownerKind, owner: "", name: owner }))
    return tenant !== undefined && (tenant.body === null || version <= tenant.since)
  }

  private dropVoid(owner: string): void {
    for (const hash of [...(this.owned.get(owner) ?? nothing)]) {
      const row = this.rows.get(hash) as Definition
      if (this.isVoid(row)) this.drop(hash, row)
    }
  }

  private dropLowestTombstone(): void {
    let lowest: number | undefined
    for (const hash of this.tombstones) {
      const { version, author } = this.rows.get(hash) as Definition
      if (lowest === undefined || !isLower(this.rows.get(lowest) as Definition, version, author)) lowest = hash
    }
    if (lowest === undefined) return
    this.drop(lowest, this.rows.get(lowest) as Definition)
    this.stats.tombstonesDropped++
  }

  private get definitionCount(): number {
    return this.rows.size - this.tombstones.size
  }

  private get definitionsMax(): number {
    return this.options.definitionsMax ?? definitionsMaxDefault
  }

  private get tombstonesMax(): number {
    return this.options.tombstonesMax ?? tombstonesMaxDefault
  }

  private stampOf(hash: number): Stamp {
    const { version, author } = this.rows.get(hash) as Definition
    return [hash, version, author]
  }

  private hashOf({ kind, owner, name }: DefinitionId): number {
    return this.hashes.of(`${kind}\0${owner}\0${name}`)
  }
}

interface Want {
  /** Who has it. */
  readonly from: number
  /** 0: not known. */
  readonly version: number
  readonly author: number
}

/** Who owns is of this kind, and owns by its name. */
const ownerKind = "tenant"

const nothing: ReadonlySet<number> = new Set()

const isLower = (one: { readonly version: number; readonly author: number }, version: number, author: number) =>
  one.version < version || (one.version === version && one.author < author)

const isSameId = (one: DefinitionId, other: DefinitionId): boolean =>
  one.kind === other.kind && one.owner === other.owner && one.name === other.name

/** 32 bits of three numbers below 2^53. */
const mixed = (hash: number, version: number, author: number): number => {
  let sum = 0
  for (const number of [hash, version, author]) {
    sum = Math.imul(sum ^ (number | 0), 0x85ebca6b) // murmur3's factors
    sum = Math.imul(sum ^ (sum >>> 13) ^ Math.floor(number / 2 ** 32), 0xc2b2ae35)
    sum ^= sum >>> 16
  }
  return sum
}
