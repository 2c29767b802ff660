/**
 * Expiries that somebody else tells of where the writer is gone (`expiryOwner: "cluster"`).
 *
 * ON_EXPIRE of a written entry is the writer's to tell. For an entry that asks for it the writer hands key, value and
 * deadline to one other instance, its *backup*: the member that rendezvous hashing names for the key, so that one that
 * comes or goes moves its share and no more. While the writer lives the backup does nothing with it. When the writer has
 * ended (it left, its process is gone, it was forgotten) the backup takes the expiry over: it hands it on to a backup of
 * its own, and tells of it at the deadline, under the same id: the writer and the version of the write. So the id is the
 * same whoever tells, and however often: **at least once**.
 *
 * **Handing over.** To each backup goes one batch at a time, said again until it is answered, so that batches come in
 * order and none is lost; the first one after a pause (the backup was not heard of) voids what it had before. A batch
 * puts and drops: dropped is what has expired here, was evicted, overwritten, deleted, or has moved to another backup.
 * Beside that a backup drops what the log says is void: a higher write of the key by anybody, a clear; and a tag or
 * prefix, which is looked at when the time has come.
 *
 * **Twice** is told what the writer told just before its end, when the drop had not come; what two backups hold of which
 * one was not heard of in time; what a writer tells that was forgotten and lives. **Never** is told what was not handed
 * over yet when the writer ended (some milliseconds after the write), and what writer and backup took with them when
 * both ended within moments. An expiry waits until all that is known to have been written by who is gone is here: it may
 * have been overwritten; but no longer than `waitMsMax`.
 *
 * Synchronous, without timers: `onTick` and `nextMs` are called by the instance. Bounded: of others' expiries
 * `itemsMax` and `bytesMax` are held, more are refused and counted on both sides; own ones are as many as there are
 * entries that ask for it. Cost: nothing for entries that do not ask, but a look at whether there are any; O(1) for each
 * that does, O(all of them) when members come or go.
 */
import { InvalidBytes } from "../cache/CacheError.ts"
import { type Entry, type Freshness, type Keyspace, SetFlag } from "../kernel/index.ts"
import { SlotTable } from "../kernel/SlotTable.ts"
import { TimingWheel } from "../kernel/TimingWheel.ts"
import { type BackupDrop, type BackupMessage, type BackupPut, decodeBackup, encodeBackup } from "./BackupMessage.ts"
import { originName } from "./PeerOrigin.ts"
import { decodePeerValue, encodePeerValue } from "./PeerValueCodec.ts"
import { score } from "./protocol/Cells.ts"
import type { Extension, Instance } from "./protocol/Instance.ts"
import type { NewestWrite } from "./protocol/Store.ts"

/** The others, as the instance knows them. */
export interface BackupPeers {
  readonly origin: number
  /** The instance's time: only grows. */
  nowMs(): number
  /** Those that are heard of in time. */
  fresh(): Iterable<number>
  hasEnded(origin: number): boolean
  /** All that it is known to have written has been applied here. */
  isWhole(origin: number): boolean
  /** When it was last heard of, by `nowMs`. */
  heardAtMs(origin: number): number
  say(to: number, payload: Uint8Array): void
}

/** The others, as an instance of the protocol knows them. */
export const backupPeersOf = (instance: Instance): BackupPeers => ({
  origin: instance.origin,
  nowMs: () => instance.nowMs,
  *fresh() {
    for (const { origin, isFresh } of instance.members.live.values()) if (isFresh) yield origin
  },
  hasEnded: (origin) => origin !== instance.origin && !instance.members.live.has(origin),
  isWhole: (origin) => instance.members.find(origin)?.marks.isWhole ?? true,
  heardAtMs: (origin) => instance.members.find(origin)?.heardAtMs ?? 0,
  say: (to, payload) => instance.say("backup", to, payload)
})

/** The entries of this instance. */
export interface BackupEntries {
  readonly freshness: Freshness
  newest(hash: number): NewestWrite | undefined
  /** The shared keyspace whose keys are displayed so. */
  keyspaceOf(head: string): Keyspace | undefined
}

export interface BackupsOptions {
  /** The time of the keyspaces' deadlines. */
  readonly nowMs: () => number
  readonly entries: BackupEntries
  /** Expiries of others that are held here at most, and bytes of their keys and values. */
  readonly itemsMax?: number
  readonly bytesMax?: number
  /** A longer value is not handed over. */
  readonly valueBytesMax?: number
}

const itemsMaxDefault = 100_000
const bytesMaxDefault = 64 * 2 ** 20
const itemBytes = 300 // what an item costs beside key and value
const batchBytesMax = 256 * 1024 // of a batch, but for a single value that is larger
const batchDropsMax = 4_096 // 80 KB
const retryMs = 250 // until a batch is said again
const triesMax = 20 // 5 s: who does not answer for so long does not know these frames, or cannot
const settleMs = 300 // from the end of a writer until its expiries are told: others say what it has written last
const waitMs = 20 // between two looks whether that has come
const waitMsMax = 5_000
const keptMs = 60_000 // a writer that is heard of so long after the deadline has told of it, whatever the drop's fate
const turnMax = 256 // expiries told in one turn; each may run triggers
const placeSalt = 0xbacc

/** How the expiry of a write is called, whoever tells of it. */
export const expiryId = (writer: number, version: number): string => `x${originName(writer)}-${version}`

/** One expiry. */
class Item {
  version = 0
  /** Whom it was handed to, 0 for nobody. */
  backup = 0
  /** Its own entry's place is the entry; of others it is this. */
  slot = -1
  payload: Uint8Array = noBytes
  /** By the instance's time; of others' alone. */
  dueAtMs = 0
  /** Of the freshness, when it came. */
  generation = 0
  /** Whoever handed it over has ended: it is told from here. */
  isTakenOver = false
  isOverdue = false

  constructor(
    readonly hash: number,
    readonly writer: number,
    readonly head: string,
    readonly key: string,
    /** The entry, where it was written here. */
    readonly entry: Entry | null,
    /** Who has handed it over, 0 for what was written here. */
    readonly from: number
  ) {}

  get bytes(): number {
    return this.entry === null ? itemBytes + this.head.length + this.key.length + this.payload.length : 0
  }
}

/** What goes to one backup. */
class Channel {
  /** By hash; what comes later stands for both. */
  readonly queue = new Map<number, Item | BackupDrop>()
  /** What was said and not answered. */
  sent: Uint8Array | null = null
  sentNumber = 0
  sentAtMs = 0
  tries = 0
  isFirst = true
}

/** Who has handed something over. */
interface Giver {
  items: number
  hasEnded: boolean
  /** Of the last batch of its. */
  number: number
}

export class Backups implements Extension {
  readonly stats = {
    /** Expiries that this instance told of in the place of another. */
    told: 0,
    /** Expiries of others that were taken over since these are gone. */
    takenOver: 0,
    /** What others wanted to hand over and there was no room for; what others had no room for, or was too large. */
    refused: 0,
    unbacked: 0,
    /** Taken over, and void when the time had come: overwritten, invalidated, or of a keyspace that is not here. */
    void: 0,
    /** Kept long after the deadline, though its writer lives. */
    forgotten: 0,
    batchesOut: 0,
    batchesAgain: 0,
    malformed: 0
  }
  /** Expiries that are known here, own and others'. A field, since every write of an entry looks at it. */
  size = 0
  /** Of others. */
  held = 0
  heldBytes = 0
  private readonly items = new Map<number, Item>()
  private readonly channels = new Map<number, Channel>()
  private readonly givers = new Map<number, Giver>()
  /** Members that may be backups, as they were at the last beat. */
  private eligible: readonly number[] = []
  /** Members that were handed something and then not heard of for a while, or did not answer. */
  private readonly parted = new Set<number>()
  /** Members that do not answer. */
  private readonly mute = new Set<number>()
  private readonly slots = new SlotTable<Item>()
  private wheel: TimingWheel | null = null
  private wheelCapacity = 0
  private batches = 0
  private peers: BackupPeers = nobody
  private readonly itemsMax: number
  private readonly bytesMax: number
  private readonly valueBytesMax: number

  constructor(private readonly options: BackupsOptions) {
    this.itemsMax = options.itemsMax ?? itemsMaxDefault
    this.bytesMax = options.bytesMax ?? bytesMaxDefault
    this.valueBytesMax = options.valueBytesMax ?? 16 * 2 ** 20
  }

  /** Whose they are from now on: once, before anything is written. */
  bind(peers: BackupPeers): void {
    this.peers = peers
  }

  // What happens to entries here

  /**
   * An entry was written here, or its deadline changed; `version` is that of the write. It is backed up where the flags
   * ask for it, or keep what was so, and it has a deadline.
   */
  onWrite(entry: Entry, head: string, hash: number, version: number, flags: number): void {
    const known = this.items.get(hash)
    const isKnown = known !== undefined && known.entry === entry
    const isWanted = (flags & SetFlag.cluster) !== 0 || ((flags & SetFlag.keepTtl) !== 0 && isKnown)
    if (known !== undefined && !(isKnown && isWanted && entry.expiresAtMs !== 0)) this.release(known)
    if (!isWanted || entry.expiresAtMs === 0) return
    let item = known
    if (item === undefined || !isKnown) {
      item = new Item(hash, this.peers.origin, head, entry.key, entry, 0)
      this.items.set(hash, item)
      this.size = this.items.size
      if (this.channels.size === 0) this.lookRound() // nobody has done so while there was nothing to back up
    }
    item.version = version
    this.hand(item)
  }

  /** An entry of this hash has gone, by whatever cause, or is not shared any more. */
  onRemove(entry: Entry, hash: number): void {
    const item = this.items.get(hash)
    if (item !== undefined && item.entry === entry) this.release(item)
  }

  /** A write of this key: what others hold of it that is lower is void. */
  onKey(hash: number, version: number, author: number): void {
    const item = this.items.get(hash)
    if (item !== undefined && item.entry === null && isLower(item, version, author)) this.release(item)
  }

  /** All entries of a keyspace have gone. O(expiries). */
  onClear(head: string): void {
    for (const item of this.items.values()) if (item.head === head) this.release(item)
  }

  /** How the expiry of an entry is called that others may tell of, too. */
  idOf(entry: Entry, hash: number): string | undefined {
    const item = this.items.get(hash)
    return item !== undefined && item.entry === entry ? expiryId(item.writer, item.version) : undefined
  }

  // What others say

  onFrame(from: number, payload: Uint8Array): void {
    const message = decodeBackup(payload)
    if (message === undefined) this.stats.malformed++
    else if (message.type === "answer") this.onAnswer(from, message.number, message.refused)
    else this.onBatch(from, message)
  }

  onMember(): void {} // who is there is looked at with every beat

  private onAnswer(from: number, number: number, refused: number): void {
    const channel = this.channels.get(from)
    if (channel === undefined || channel.sent === null || channel.sentNumber !== number) return
    channel.sent = null
    channel.tries = 0
    this.stats.unbacked += refused
    this.goOn(from, channel)
  }

  private onBatch(from: number, message: BackupMessage & { type: "batch" }): void {
    let giver = this.givers.get(from)
    if (giver === undefined) {
      giver = { items: 0, hasEnded: this.peers.hasEnded(from), number: 0 }
      this.givers.set(from, giver)
    }
    let refused = 0
    if (message.number > giver.number) {
      giver.number = message.number
      if (message.isFirst) for (const item of this.items.values()) if (item.from === from) this.release(item)
      for (const drop of message.drops) this.drop(drop)
      for (const put of message.puts) if (!this.put(from, giver, put)) refused++
      this.stats.refused += refused
    }
    this.peers.say(from, encodeBackup({ type: "answer", number: message.number, refused }))
  }

  private drop({ hash, writer, version }: BackupDrop): void {
    const item = this.items.get(hash)
    if (item === undefined || item.entry !== null || item.writer !== writer || item.version > version) return
    this.release(item)
  }

  /** False where there is no room. What is void already needs none. */
  private put(from: number, giver: Giver, put: BackupPut): boolean {
    const { hash, writer, version, ttlMs, head, key, payload } = put
    const known = this.items.get(hash)
    if (known !== undefined && this.keeps(known, put, from)) return true
    const newest = this.options.entries.newest(hash)
    if (newest !== undefined && isLower({ writer, version }, newest.version, newest.author)) return true
    if (known !== undefined) this.release(known)
    const item = new Item(hash, writer, head, key, null, from)
    item.payload = payload
    if (this.held >= this.itemsMax || this.heldBytes + item.bytes > this.bytesMax) return false
    item.version = version
    item.generation = this.options.entries.freshness.generation
    item.dueAtMs = this.peers.nowMs() + ttlMs
    item.slot = this.slots.take(item)
    this.items.set(hash, item)
    this.size = this.items.size
    this.held++
    this.heldBytes += item.bytes
    giver.items++
    this.schedule(item, item.dueAtMs)
    if (giver.hasEnded) this.takeOver(item)
    return true
  }

  /** Whether what is known stays. Of two that have both taken one over the higher origin keeps it. */
  private keeps(known: Item, { writer, version }: BackupPut, from: number): boolean {
    if (known.writer !== writer || known.version !== version) return !isLower(known, version, writer)
    return known.entry !== null || (known.isTakenOver && this.peers.origin > from)
  }

  // Time

  onBeat(): void {
    if (this.items.size === 0 && this.channels.size === 0 && this.givers.size === 0) return
    this.lookRound()
    for (const [origin, giver] of this.givers) this.look(origin, giver)
  }

  onTick(): void {
    const nowMs = this.peers.nowMs()
    if (this.wheel !== null) this.wheel.advance(Math.floor(nowMs), turnMax, this.onDue)
    for (const [origin, channel] of this.channels) this.goOn(origin, channel)
  }

  nextMs(): number {
    let nextMs = this.wheel?.nextWakeMs() ?? Number.POSITIVE_INFINITY
    for (const { sent, sentAtMs } of this.channels.values()) {
      if (sent !== null) nextMs = Math.min(nextMs, sentAtMs + retryMs)
    }
    return nextMs
  }

  /** Hands over all that waits, without waiting for answers. */
  onLeave(): void {
    for (const [origin, channel] of this.channels) {
      if (channel.sent !== null) this.peers.say(origin, channel.sent)
      while (channel.queue.size > 0) this.send(origin, channel)
    }
  }

  /** Who has handed something over may have ended, or be back. */
  private look(origin: number, giver: Giver): void {
    const hasEnded = this.peers.hasEnded(origin)
    if (hasEnded && giver.items === 0) {
      this.givers.delete(origin)
      return
    }
    if (hasEnded === giver.hasEnded) return
    giver.hasEnded = hasEnded
    for (const item of this.items.values()) {
      if (item.from !== origin) continue
      if (hasEnded) this.takeOver(item)
      else this.giveBack(item)
    }
  }

  private takeOver(item: Item): void {
    this.stats.takenOver++
    item.isTakenOver = true
    this.schedule(item, Math.max(item.dueAtMs, this.peers.nowMs() + settleMs))
    this.hand(item)
  }

  private giveBack(item: Item): void {
    item.isTakenOver = false
    item.isOverdue = false
    this.takeFrom(item)
    this.schedule(item, item.dueAtMs)
  }

  private readonly onDue = (slot: number): void => {
    const item = this.slots.at(slot) as Item
    const nowMs = this.peers.nowMs()
    if (!item.isTakenOver) this.overlook(item, nowMs)
    else if (nowMs < item.dueAtMs + waitMsMax && !this.isHeardOut(item)) this.schedule(item, nowMs + waitMs)
    else {
      this.release(item)
      this.tell(item, nowMs)
    }
  }

  /** Nobody who is gone has written what is not here yet, and perhaps concerns it. */
  private isHeardOut({ from, writer }: Item): boolean {
    return this.peers.isWhole(from) && this.peers.isWhole(writer)
  }

  /** Its time has come, and it is somebody else's to tell: it is kept until that one says so, or must have. */
  private overlook(item: Item, nowMs: number): void {
    if (item.isOverdue && this.peers.heardAtMs(item.from) >= item.dueAtMs + keptMs) {
      this.stats.forgotten++
      this.release(item)
      return
    }
    item.isOverdue = true
    this.schedule(item, nowMs + keptMs)
  }

  private tell(item: Item, nowMs: number): void {
    const { hash, writer, version, head, key, payload, dueAtMs, generation } = item
    const { entries } = this.options
    const keyspace = entries.keyspaceOf(head)
    const decoded = decodePeerValue(payload)
    const newest = entries.newest(hash)
    const isHigher = newest !== undefined && isLower(item, newest.version, newest.author)
    if (keyspace === undefined || isHigher || decoded instanceof InvalidBytes || keyspace.hash.of(key) !== hash) {
      this.stats.void++
      return
    }
    const expiresAtMs = Math.floor(this.options.nowMs() - (nowMs - dueAtMs))
    const { value, meta } = decoded
    const id = expiryId(writer, version)
    if (keyspace.expireElsewhere(key, value, meta, expiresAtMs, id, generation)) this.stats.told++
    else this.stats.void++
  }

  // Handing over

  /** The member that is to tell of it, where this instance is gone; 0 for nobody. */
  private backupOf({ hash, writer }: Item): number {
    let best = 0
    for (const origin of this.eligible) {
      if (origin === writer || this.mute.has(origin)) continue
      if (best === 0 || score(origin, hash, placeSalt) >= score(best, hash, placeSalt)) best = origin
    }
    return best
  }

  /** Has its backup get it as it is now. */
  private hand(item: Item): void {
    const backup = this.backupOf(item)
    if (item.backup !== 0 && item.backup !== backup) this.takeFrom(item)
    item.backup = backup
    if (backup !== 0) this.channelTo(backup).queue.set(item.hash, item)
  }

  /** Its backup need not keep it any longer. */
  private takeFrom(item: Item): void {
    const channel = this.channels.get(item.backup)
    const { hash, writer, version } = item
    channel?.queue.set(hash, { hash, writer, version })
    item.backup = 0
  }

  /** Members may have come or gone: then what is to be told from here gets the backups that it should have now. */
  private lookRound(): void {
    const eligible = [...this.peers.fresh()].sort((a, b) => a - b)
    if (isSame(eligible, this.eligible)) return
    this.eligible = eligible
    this.mute.clear()
    for (const origin of this.channels.keys()) if (!eligible.includes(origin)) this.part(origin)
    for (const origin of this.parted) {
      if (eligible.includes(origin)) this.channelTo(origin)
      if (eligible.includes(origin) || this.peers.hasEnded(origin)) this.parted.delete(origin)
    }
    this.place()
  }

  private place(): void {
    for (const item of this.items.values()) {
      if (item.entry === null && !item.isTakenOver) continue
      if (item.backup === 0 || item.backup !== this.backupOf(item)) this.hand(item)
    }
  }

  /** What it has been handed goes to others, and is void as soon as it is heard of again. */
  private part(origin: number): void {
    this.channels.delete(origin)
    this.parted.add(origin)
  }

  private channelTo(origin: number): Channel {
    let channel = this.channels.get(origin)
    if (channel === undefined) {
      channel = new Channel()
      this.channels.set(origin, channel)
    }
    return channel
  }

  private goOn(origin: number, channel: Channel): void {
    if (channel.sent === null) {
      if (channel.queue.size > 0 || channel.isFirst) this.send(origin, channel)
    } else if (this.peers.nowMs() >= channel.sentAtMs + retryMs) {
      if (++channel.tries >= triesMax) {
        this.mute.add(origin)
        this.part(origin)
        this.place()
        return
      }
      this.stats.batchesAgain++
      channel.sentAtMs = this.peers.nowMs()
      this.peers.say(origin, channel.sent)
    }
  }

  private send(origin: number, channel: Channel): void {
    const puts: BackupPut[] = []
    const drops: BackupDrop[] = []
    let bytes = 0
    for (const [hash, what] of channel.queue) {
      if (what instanceof Item) {
        const put = this.putOf(what)
        if (put !== undefined) {
          bytes += put.payload.length + put.key.length
          if (puts.length > 0 && bytes > batchBytesMax) break
          puts.push(put)
        }
      } else if (drops.push(what) === batchDropsMax) break
      channel.queue.delete(hash)
    }
    this.stats.batchesOut++
    channel.sentNumber = ++this.batches
    channel.sent = encodeBackup({ type: "batch", number: this.batches, isFirst: channel.isFirst, puts, drops })
    channel.sentAtMs = this.peers.nowMs()
    channel.isFirst = false
    this.peers.say(origin, channel.sent)
  }

  private putOf({ hash, writer, version, head, key, entry, payload, dueAtMs }: Item): BackupPut | undefined {
    if (entry === null) {
      return { hash, writer, version, ttlMs: Math.ceil(dueAtMs - this.peers.nowMs()), head, key, payload }
    }
    const ttlMs = Math.ceil(entry.expiresAtMs - this.options.nowMs())
    if (entry.bytes > this.valueBytesMax) {
      this.stats.unbacked++
      return undefined
    }
    return { hash, writer, version, ttlMs, head, key, payload: encodePeerValue(entry.value, entry.meta) }
  }

  // The table

  private release(item: Item): void {
    this.items.delete(item.hash)
    this.size = this.items.size
    this.takeFrom(item)
    if (item.slot === -1) return
    this.wheel?.cancel(item.slot)
    this.slots.release(item.slot)
    item.slot = -1
    this.held--
    this.heldBytes -= item.bytes
    const giver = this.givers.get(item.from)
    if (giver !== undefined) giver.items--
  }

  private schedule(item: Item, atMs: number): void {
    this.wheel ??= new TimingWheel(Math.floor(this.peers.nowMs()), 0)
    if (item.slot >= this.wheelCapacity) {
      this.wheelCapacity = Math.max(64, item.slot + 1, 2 * this.wheelCapacity)
      this.wheel.grow(this.wheelCapacity)
    }
    this.wheel.schedule(item.slot, Math.ceil(atMs))
  }

  /** Throws where an invariant does not hold. O(expiries), for tests. */
  checkInvariants(): void {
    let [held, bytes] = [0, 0]
    const given = new Map<number, number>()
    for (const [hash, item] of this.items) {
      if (item.hash !== hash) throw new Error(`'${item.key}' is under another hash`)
      if (item.entry !== null) {
        if (item.slot !== -1 || item.from !== 0) throw new Error(`'${item.key}' is own and another's`)
        continue
      }
      if (this.slots.at(item.slot) !== item) throw new Error(`'${item.key}' has no slot`)
      if (item.isTakenOver !== this.givers.get(item.from)?.hasEnded) throw new Error(`'${item.key}' is nobody's`)
      if (!item.isTakenOver && item.backup !== 0) throw new Error(`'${item.key}' was handed on by a backup`)
      held++
      bytes += item.bytes
      given.set(item.from, (given.get(item.from) ?? 0) + 1)
    }
    if (this.size !== this.items.size) throw new Error(`${this.items.size} expiries, ${this.size} counted`)
    if (held !== this.held || bytes !== this.heldBytes) throw new Error(`${held} held, ${this.held} counted`)
    if (held > this.itemsMax || bytes > this.bytesMax) throw new Error("a limit is exceeded")
    for (const [origin, { items }] of this.givers) {
      if (items !== (given.get(origin) ?? 0)) throw new Error(`${items} of ${origin} counted`)
    }
    if (held !== (this.wheel?.size ?? 0)) throw new Error(`${this.wheel?.size} on the wheel, ${held} held`)
    this.wheel?.checkInvariants()
  }
}

/** Whether another write is higher. */
const isLower = (own: { readonly writer: number; readonly version: number }, version: number, author: number) =>
  own.version < version || (own.version === version && own.writer < author)

const isSame = (some: readonly number[], others: readonly number[]): boolean =>
  some.length === others.length && some.every((each, index) => each === others[index])

const noBytes = new Uint8Array(0)

const nobody: BackupPeers = {
  origin: 0,
  nowMs: () => 0,
  fresh: () => [],
  hasEnded: () => false,
  isWhole: () => true,
  heardAtMs: () => 0,
  say: () => {}
}
