/**
 * The entries of one process that other instances may have, too: between its keyspaces and its instance of the protocol.
 *
 * As the keyspaces' `Replica` it turns what happens to entries here into records of the own log, in the same turn; as the
 * instance's `Store` it does to the entries what the records of others say, and answers what peers ask. It is where the
 * rules of both directions stand:
 *
 * - Sent: a write, a change of a deadline, a delete or an invalidation by a client or a trigger, also of a key that is not
 *   here; tags, prefixes, flushes. A shared key that becomes local is sent once, as gone.
 * - Not sent: fills, expiry, eviction, local keys, and the removals that a peer's record causes. What a trigger writes
 *   because of such a removal is sent, marked as derived (law 13).
 * - A peer's record of a key takes its entry, unless the entry's own (version, writer) is not lower. What a loader brought
 *   is nobody's write and always goes. Also where two keys have one hash: both go, which is a miss and no more.
 * - Wide records (tag, prefix, clear) take what was stored before they came.
 * - An open lease of the key is revoked by any record of it: what is being loaded may be older (law 11).
 *
 * All entries of shared keyspaces but local ones are in one `EntryIndex`; writes that have no entry here any more are in
 * a `Directory`. An own write leaves the index only into the directory, or raises the floor, as what the directory forgets
 * does: so a peer that asks what was written here gets the version, or learns that it may have been forgotten.
 *
 * Cost: a write of an entry that is there touches its row, and the pending record or the log; docs/decisions.md.
 */
import type { Fetched } from "../cache/index.ts"
import {
  bucketOf,
  Cause,
  type Entry,
  EntrySource,
  type EventOrigin,
  Freshness,
  isPeers,
  type KeyHash,
  type Keyspace,
  type Lease,
  type Replica,
  SetFlag
} from "../kernel/index.ts"
import type { Backups } from "./Backups.ts"
import { Directory, directoryMaxDefault } from "./Directory.ts"
import { EntryIndex, type Owner } from "./EntryIndex.ts"
import { PeerOrigin } from "./PeerOrigin.ts"
import { encodePeerValue } from "./PeerValueCodec.ts"
import { Op, RecordFlag, type WideRecord } from "./protocol/Frame.ts"
import type { Instance } from "./protocol/Instance.ts"
import type { KeyAuthor, NewestWrite, PeerValue, Store } from "./protocol/Store.ts"

export interface SharedEntriesOptions {
  /** Hashes displayed keys, as the keyspaces' own do those that begin with their heads. */
  readonly hash: KeyHash
  /** The time of the keyspaces' deadlines. */
  readonly nowMs: () => number
  /** That of the keyspaces; its own where there is none. */
  readonly freshness?: Freshness
  /** Keys without an entry here of which the last write is known. */
  readonly directoryMax?: number
  /** Somebody else has defined something (a tenant, a script, a trigger) that this hash names. */
  readonly onDefine?: (hash: number, version: number, author: number) => void
}

export interface InspectedKey {
  readonly hash: number
  /** The entry that is here; version and writer are 0 where nobody has written it, or it is local. */
  readonly entry: { readonly isLocal: boolean; readonly version: number; readonly writer: number } | undefined
  readonly newest: NewestWrite | undefined
}

/** A shared entry that can be read. */
export interface ReadableEntry {
  readonly hash: number
  /** As it is displayed. */
  readonly key: string
  /** 0 and 0 for what nobody has written. */
  readonly version: number
  readonly writer: number
  /** -1 where no fill has stored it. */
  readonly filledMsAgo: number
}

/** Who wants to know what becomes of entries that others have, too. Told in the middle of operations: changes nothing. */
export interface EntryWatch {
  /**
   * A peer's write has taken an entry away, which took so many bytes, and was read so often since it was stored by a
   * fill, `heldMs` ago (-1 where it was written here).
   */
  onTaken(keyspace: Keyspace, key: string, hash: number, reads: number, bytes: number, heldMs: number): void
  /** The same for a peer's removal: nobody has the value any more. */
  onRemovedElsewhere(hash: number, reads: number, heldMs: number): void
  /** A peer has written or removed a key that is not here. */
  onWrittenElsewhere(hash: number): void
  /** An entry was stored by a fill. */
  onFilled(hash: number): void
  /** An entry has gone that no peer's write has taken. */
  onLeft(hash: number, reads: number): void
}

/** The instance, as far as writes of entries concern it. */
export type Author = Pick<Instance, "origin" | "lamport" | "copyMsMax" | "sealed" | "append" | "amend">

export class SharedEntries implements Replica, Store {
  readonly stats = {
    /** Entries that went because a peer's record, or what a peer knows, was higher. */
    outvoted: 0,
    /** Entries that stayed because they were not lower. */
    kept: 0,
    /** Leases that a peer's record has revoked. */
    revoked: 0
  }
  readonly freshness: Freshness
  readonly index = new EntryIndex()
  readonly directory: Directory
  private instance: Author = nobody
  private backups: Backups | null = null
  private watcher: EntryWatch | null = null
  private readonly shares = new Map<Keyspace, Share>()
  /** By what a CLEAR calls the keyspace. */
  private readonly sharesByHash = new Map<number, Share>()
  /** Open leases by the hash of their key; one each, mostly. */
  private readonly leases = new Map<number, Lease[]>()
  /** What is stored or taken out at this moment is lent. */
  private isLending = false

  constructor(private readonly options: SharedEntriesOptions) {
    this.freshness = options.freshness ?? new Freshness()
    this.directory = new Directory(options.directoryMax ?? directoryMaxDefault)
  }

  /**
   * Whose writes these are from now on, and who sees to expiries that others are to tell of where this instance is gone:
   * once, before anything is written.
   */
  bind(instance: Author, backups: Backups | null = null): void {
    this.instance = instance
    this.backups = backups
  }

  /** Has it told from now on what becomes of entries. */
  watch(watcher: EntryWatch): void {
    this.watcher = watcher
  }

  /** Shares a keyspace that has this replica, before it holds anything. */
  share(keyspace: Keyspace): void {
    const share = { owner: this.index.addOwner(keyspace), hash: keyspace.hash }
    this.shares.set(keyspace, share)
    this.sharesByHash.set(share.hash.ofAll, share)
  }

  /** From now on what happens to the keyspace is its own business. Nobody is told. O(its entries, open leases). */
  unshare(keyspace: Keyspace): void {
    const share = this.shares.get(keyspace)
    if (share === undefined) return
    for (const open of [...this.leases.values()].flat()) if (open.keyspace === keyspace) this.onLeaseEnd(open)
    this.backups?.onClear(share.hash.head)
    this.index.removeOwner(share.owner)
    this.directory.raiseFloor(this.instance.origin, this.instance.lamport)
    this.shares.delete(keyspace)
    this.sharesByHash.delete(share.hash.ofAll)
  }

  /** What instances call a key of a shared keyspace; 0 where it is not shared. */
  hashOf(keyspace: Keyspace, key: string): number {
    return this.shares.get(keyspace)?.hash.of(key) ?? 0
  }

  /** The shared keyspace whose keys are displayed with this head. O(keyspaces). */
  keyspaceOf(head: string): Keyspace | undefined {
    for (const keyspace of this.shares.keys()) if (keyspace.hash.head === head) return keyspace
    return undefined
  }

  /** How others display a key of a shared keyspace. */
  displayed(keyspace: Keyspace, key: string): string {
    return (this.shares.get(keyspace)?.hash.head ?? "") + key
  }

  /** Entries at random that can be read now, each once; all where there are no more than that. */
  sample(count: number, random: () => number): ReadableEntry[] {
    return this.index.sample(count, random).flatMap((row) => this.readable(row))
  }

  /** Those of a hash: one, mostly. */
  readableAt(hash: number): ReadableEntry[] {
    const found: ReadableEntry[] = []
    for (let row = this.index.find(hash); row !== 0; row = this.index.findNext(row)) found.push(...this.readable(row))
    return found
  }

  private readable(row: number): ReadableEntry[] {
    const { index } = this
    const entry = index.entryAt(row)
    const { keyspace } = index.ownerAt(row)
    if (keyspace.peek(entry.key) !== entry) return []
    return [
      {
        hash: index.hashAt(row),
        key: this.displayed(keyspace, entry.key),
        version: index.stampAt(row),
        writer: index.writerAt(row),
        filledMsAgo: index.ageMsAt(row, this.options.nowMs())
      }
    ]
  }

  /** What is known of a displayed key, for people. O(keyspaces with such a head). */
  inspect(displayedKey: string): InspectedKey {
    const hash = this.options.hash.of(displayedKey)
    const newest = this.newest(hash)
    for (const [keyspace, { hash: names }] of this.shares) {
      if (!displayedKey.startsWith(names.head)) continue
      const found = keyspace.peek(displayedKey.slice(names.head.length))
      if (found === undefined) continue
      const { isLocal, handle: row } = found
      const [version, writer] = row === 0 ? [0, 0] : [this.index.stampAt(row), this.index.writerAt(row)]
      return { hash, entry: { isLocal, version, writer }, newest }
    }
    return { hash, entry: undefined, newest }
  }

  /**
   * Stores what was brought for one step, although copies may not be kept now; the answer takes it out again, unless it
   * is this instance's own by then. Nobody is told of either; for the time between it is a copy like any other. Undefined
   * where it could not be stored at any time.
   */
  lend(lease: Lease, { value, expiresAtMs, meta }: Fetched): (() => void) | undefined {
    const { keyspace, key } = lease
    const wasHeld = keyspace.hold() // what reacts to it is not lending
    this.isLending = true
    let entry: Entry | undefined
    try {
      if (keyspace.fill(lease, value, expiresAtMs, meta, EntrySource.copied)) entry = keyspace.peek(key)
    } finally {
      this.isLending = false
      keyspace.release(wasHeld)
    }
    return entry === undefined ? undefined : () => this.takeBack(keyspace, entry)
  }

  /** As if its time had come: a copy whose life is over fires nothing. */
  private takeBack(keyspace: Keyspace, entry: Entry): void {
    const { key, source, handle: row } = entry
    if (source !== EntrySource.copied || row === 0 || keyspace.peek(key) !== entry) return
    // Others wait for their steps with the same value, which has not changed.
    const open = (this.leases.get(this.index.hashAt(row)) ?? noLeases).filter(({ isRevoked }) => !isRevoked)
    this.index.remove(row)
    this.isLending = true
    try {
      keyspace.expireAt(key, 1) // long ago, by any clock
    } finally {
      this.isLending = false
    }
    for (const other of open) other.isRevoked = false
  }

  // Replica: what happens here

  get copyMsMax(): number {
    return this.isLending ? Number.POSITIVE_INFINITY : this.instance.copyMsMax
  }

  onWrite(entry: Entry, keyspace: Keyspace, flags: number): void {
    const row = entry.handle
    if (entry.isLocal) {
      if (row === 0) return
      this.tellGone(this.index.hashAt(row), row, keyspace.origin)
      this.noBackup(entry)
      this.index.remove(row)
      return
    }
    if (row === 0) this.addWritten(entry, keyspace)
    else this.writeAgain(row, keyspace)
    const { backups } = this
    if (backups !== null && ((flags & SetFlag.cluster) !== 0 || backups.size !== 0)) this.backUp(entry, keyspace, flags)
  }

  private writeAgain(row: number, keyspace: Keyspace): void {
    const { instance, index } = this
    const version = ++instance.lamport
    let flags = keyspace.origin === null ? 0 : flagsOf(keyspace.origin)
    let sequence = index.sequenceAt(row)
    if (sequence > instance.sealed) {
      flags &= index.flagsAt(row) // it is derived as long as all of it is
      instance.amend(sequence, version, flags)
    } else sequence = instance.append(Op.key, index.hashAt(row), version, flags)
    index.write(row, version, instance.origin, sequence, flags)
  }

  onFill(entry: Entry, lease: Lease, keyspace: Keyspace): void {
    const share = this.shares.get(keyspace)
    if (share === undefined) return
    const { stamp, writer } = lease
    const { instance, index } = this
    if (stamp > instance.lamport) instance.lamport = stamp
    const row = entry.handle
    const hash = row === 0 ? share.hash.of(entry.key) : index.hashAt(row)
    if (row === 0) index.add(entry, share.owner, hash, stamp, writer, 0, 0)
    else {
      this.noBackup(entry)
      this.rememberOwn(row, false)
      index.write(row, stamp, writer, 0, 0)
    }
    index.begin(entry.handle, this.options.nowMs())
    // What is lent is evicted at once, in a way: an own write that was evicted is not in the directory either.
    if (stamp > 0 && !(this.isLending && writer === instance.origin)) this.directory.note(hash, stamp, writer, false)
    if (!this.isLending) this.watcher?.onFilled(hash)
  }

  onRemove(entry: Entry, cause: Cause, keyspace: Keyspace): void {
    const row = entry.handle
    if (row === 0) return
    const isAsked = cause === Cause.delete || cause === Cause.invalidate
    const isPeer = isAsked && isPeers(keyspace.origin)
    if (!isPeer) this.watcher?.onLeft(this.index.hashAt(row), entry.reads)
    if (isAsked && !isPeer) this.tellGone(this.index.hashAt(row), row, keyspace.origin)
    else if (cause === Cause.evict) this.forgetOwn(row)
    else this.rememberOwn(row, true)
    this.noBackup(entry)
    this.index.remove(row)
  }

  expiryIdOf(entry: Entry): string | undefined {
    const { backups, index } = this
    const row = entry.handle
    return backups === null || backups.size === 0 || row === 0 ? undefined : backups.idOf(entry, index.hashAt(row))
  }

  onStale(entry: Entry): void {
    const row = entry.handle
    if (row === 0) return
    this.watcher?.onLeft(this.index.hashAt(row), entry.reads)
    this.noBackup(entry)
    this.rememberOwn(row, true)
    this.index.remove(row)
  }

  onAskedToRemove(key: string, keyspace: Keyspace): void {
    const hash = this.hashOf(keyspace, key)
    if (hash !== 0 && !this.isLending && !isPeers(keyspace.origin)) this.tellGone(hash, 0, keyspace.origin)
  }

  onFlush(keyspace: Keyspace): void {
    const share = this.shares.get(keyspace)
    if (share === undefined) return
    this.tellWide(Op.clear, share.hash.ofAll, keyspace.origin)
    this.letGoOf(share)
  }

  onFlushShared(keyspace: Keyspace): void {
    const share = this.shares.get(keyspace)
    if (share !== undefined) this.letGoOf(share)
  }

  onTag(hash: number, keyspace: Keyspace): void {
    if (this.shares.has(keyspace)) this.tellWide(Op.tag, hash, keyspace.origin)
  }

  onPrefix(hash: number, keyspace: Keyspace): void {
    if (this.shares.has(keyspace)) this.tellWide(Op.prefix, hash, keyspace.origin)
  }

  onLease(lease: Lease): void {
    const hash = this.hashOf(lease.keyspace, lease.key)
    if (hash === 0) return
    const open = this.leases.get(hash)
    if (open === undefined) this.leases.set(hash, [lease])
    else open.push(lease)
  }

  onLeaseEnd(lease: Lease): void {
    const hash = this.hashOf(lease.keyspace, lease.key)
    const open = this.leases.get(hash)
    if (open === undefined) return
    const at = open.indexOf(lease)
    if (at !== -1) open.splice(at, 1)
    if (open.length === 0) this.leases.delete(hash)
  }

  // Store: what peers say and ask

  apply(op: number, hash: number, version: number, author: number, flags: number): void {
    const isDerived = (flags & RecordFlag.derived) !== 0
    switch (op) {
      case Op.key:
        this.directory.note(hash, version, author, (flags & RecordFlag.gone) !== 0)
        if (this.backups !== null && this.backups.size !== 0) this.backups.onKey(hash, version, author)
        this.takeLower(hash, version, author, isDerived, (flags & RecordFlag.gone) !== 0)
        return
      case Op.tag:
        this.freshness.invalidateTag(hash, PeerOrigin.of(author, isDerived))
        return
      case Op.prefix:
        this.freshness.invalidatePrefix(hash, PeerOrigin.of(author, isDerived))
        return
      case Op.clear: {
        const share = this.sharesByHash.get(hash)
        if (share !== undefined) flushAs(share.owner.keyspace, PeerOrigin.of(author, isDerived))
        return
      }
      case Op.define:
        this.options.onDefine?.(hash, version, author)
    }
  }

  moveBuckets(author: number, bitmap: Uint8Array, bucketCount: number, wide: readonly WideRecord[] | null): void {
    const origin = PeerOrigin.of(author, false)
    this.doubt()
    if (wide === null) {
      for (const { owner } of [...this.shares.values()]) flushAs(owner.keyspace, origin)
      return
    }
    this.freshness.moveBuckets(bitmap, bucketCount, origin)
    for (const { op, hash } of wide) this.apply(op, hash, 0, author, 0)
  }

  mark(): number {
    return this.freshness.mark()
  }

  forgetCopies(before?: number): void {
    if (before === undefined) {
      this.freshness.forgetCopies()
      this.doubt()
    } else this.freshness.forgetCopiesBefore(before)
  }

  doubt(): void {
    this.directory.doubt(this.instance.lamport)
  }

  ownHashes(bitmap: Uint8Array | null, bucketCount = 1): number[] {
    const { index, instance } = this
    const hashes: number[] = []
    index.visit((row) => {
      if (index.writerAt(row) !== instance.origin) return
      const hash = index.hashAt(row)
      const bucket = bucketOf(hash, bucketCount)
      if (bitmap === null || ((bitmap[bucket >> 3] ?? 0) & (1 << (bucket & 7))) !== 0) hashes.push(hash)
    })
    return hashes
  }

  newest(hash: number): NewestWrite | undefined {
    const { directory, index } = this
    const known = directory.find(hash)
    let version = known === 0 ? 0 : directory.versionAt(known)
    let author = known === 0 ? 0 : directory.authorAt(known)
    let isGone = known !== 0 && directory.isGoneAt(known)
    for (let row = index.find(hash); row !== 0; row = index.findNext(row)) {
      if (index.stampAt(row) === 0 || this.isLower(row, version, author)) continue
      version = index.stampAt(row)
      author = index.writerAt(row)
      isGone = false
    }
    return version === 0 ? undefined : { version, author, isGone }
  }

  authorOf(hash: number): KeyAuthor | undefined {
    const known = this.directory.find(hash)
    if (known !== 0 && !this.directory.isCurrentAt(known)) return undefined
    return this.newest(hash)
  }

  authorOfKey(key: string): KeyAuthor | undefined {
    return this.newest(this.options.hash.of(key))
  }

  floorOf(author: number): number {
    return this.directory.floorOf(author)
  }

  outvote(hash: number, version: number, author: number): void {
    this.takeLower(hash, version, author, false, true)
  }

  read(key: string, bytesMax: number): PeerValue | "none" | "tooLarge" {
    const { index } = this
    for (let row = index.find(this.options.hash.of(key)); row !== 0; row = index.findNext(row)) {
      const entry = index.entryAt(row)
      const { keyspace } = index.ownerAt(row)
      if (this.displayed(keyspace, entry.key) !== key || keyspace.peek(entry.key) !== entry) continue
      if (entry.bytes > bytesMax) return "tooLarge"
      return {
        source: entry.source,
        version: index.stampAt(row),
        writer: index.writerAt(row),
        ttlMs: entry.expiresAtMs === 0 ? -1 : entry.expiresAtMs - this.options.nowMs(),
        payload: encodePeerValue(entry.value, entry.meta)
      }
    }
    return "none"
  }

  /** Throws where an invariant does not hold. O(entries), for tests. */
  checkInvariants(): void {
    this.index.checkInvariants()
    this.directory.checkInvariants()
    this.index.visit((row) => {
      const entry = this.index.entryAt(row)
      const share = this.shares.get(this.index.ownerAt(row).keyspace)
      if (share === undefined || entry.isLocal) throw new Error(`${entry.key} is in the index and not shared`)
      if (share.hash.of(entry.key) !== this.index.hashAt(row)) throw new Error(`${entry.key} has another hash`)
    })
  }

  private addWritten(entry: Entry, keyspace: Keyspace): void {
    const share = this.shares.get(keyspace)
    if (share === undefined) return
    const { instance } = this
    const hash = share.hash.of(entry.key)
    const version = ++instance.lamport
    const flags = keyspace.origin === null ? 0 : flagsOf(keyspace.origin)
    const sequence = instance.append(Op.key, hash, version, flags)
    this.index.add(entry, share.owner, hash, version, instance.origin, sequence, flags)
  }

  /** Takes the entries of a hash that are lower than this write or removal, and what is being loaded for it. */
  private takeLower(hash: number, version: number, author: number, isDerived: boolean, isGone: boolean): void {
    for (const lease of this.leases.get(hash) ?? noLeases) {
      if (!lease.isRevoked) this.stats.revoked++
      lease.isRevoked = true
    }
    const { index, watcher } = this
    let row = index.find(hash)
    if (row === 0) {
      watcher?.onWrittenElsewhere(hash)
      return
    }
    const losers: Entry[] = []
    for (; row !== 0; row = index.findNext(row)) {
      if (this.isLower(row, version, author)) losers.push(index.entryAt(row))
      else this.stats.kept++
    }
    const origin = PeerOrigin.of(author, isDerived)
    for (const entry of losers) {
      row = entry.handle // triggers of the one before may have removed it, or written it again
      if (row === 0 || !this.isLower(row, version, author)) continue
      this.stats.outvoted++
      const { keyspace } = index.ownerAt(row)
      const heldMs = index.ageMsAt(row, this.options.nowMs())
      deleteAs(keyspace, entry.key, origin)
      if (isGone) watcher?.onRemovedElsewhere(hash, entry.reads, heldMs)
      else watcher?.onTaken(keyspace, entry.key, hash, entry.reads, entry.bytes, heldMs)
    }
  }

  /** Whether this write is higher than that of the row. */
  private isLower(row: number, version: number, author: number): boolean {
    const stamp = this.index.stampAt(row)
    return stamp < version || (stamp === version && this.index.writerAt(row) < author)
  }

  /** A key is gone because somebody here wants it; `row` is its entry's, 0 where it has none. */
  private tellGone(hash: number, row: number, origin: EventOrigin | null): void {
    const { instance, index } = this
    const version = ++instance.lamport
    const sequence = row === 0 ? 0 : index.sequenceAt(row)
    const flags = origin === null ? 0 : flagsOf(origin)
    if (sequence > instance.sealed) instance.amend(sequence, version, RecordFlag.gone | (flags & index.flagsAt(row)))
    else instance.append(Op.key, hash, version, RecordFlag.gone | flags)
    this.directory.note(hash, version, instance.origin, true)
    if (this.backups !== null && this.backups.size !== 0) this.backups.onKey(hash, version, instance.origin)
  }

  private tellWide(op: number, hash: number, origin: EventOrigin | null): void {
    this.instance.append(op, hash, ++this.instance.lamport, origin === null ? 0 : flagsOf(origin))
  }

  /** Another instance is to tell of its expiry, or is not any more. */
  private backUp(entry: Entry, keyspace: Keyspace, flags: number): void {
    const { backups, index } = this
    const row = entry.handle
    if (backups === null || row === 0) return
    backups.onWrite(entry, this.displayed(keyspace, ""), index.hashAt(row), index.stampAt(row), flags)
  }

  private noBackup(entry: Entry): void {
    const { backups, index } = this
    if (backups !== null && backups.size !== 0) backups.onRemove(entry, index.hashAt(entry.handle))
  }

  /** A write of this instance loses its entry: the directory has it from now on. */
  private rememberOwn(row: number, isGone: boolean): void {
    const { index, instance } = this
    if (index.writerAt(row) !== instance.origin) return
    this.directory.note(index.hashAt(row), index.stampAt(row), instance.origin, isGone)
  }

  /**
   * It was evicted: there may be as many of these as there are writes, and they would drive everything else out of the
   * directory. They have not been used for long, so the floor stays low.
   */
  private forgetOwn(row: number): void {
    const { index, instance } = this
    if (index.writerAt(row) === instance.origin) this.directory.raiseFloor(instance.origin, index.stampAt(row))
  }

  /** All entries of a keyspace are gone: too many for the directory. */
  private letGoOf(share: Share): void {
    this.backups?.onClear(share.hash.head)
    this.index.removeAllOf(share.owner)
    this.directory.raiseFloor(this.instance.origin, this.instance.lamport)
  }
}

/** A shared keyspace. */
interface Share {
  readonly owner: Owner
  readonly hash: KeyHash
}

/** What a trigger does because of a peer's record is marked as derived. */
const flagsOf = (origin: EventOrigin): number => (origin.peer === undefined ? 0 : RecordFlag.derived)

const deleteAs = (keyspace: Keyspace, key: string, origin: EventOrigin): void => {
  const before = keyspace.origin
  keyspace.origin = origin
  try {
    keyspace.delete(key, Cause.invalidate)
  } finally {
    keyspace.origin = before
  }
}

const flushAs = (keyspace: Keyspace, origin: EventOrigin): void => {
  const before = keyspace.origin
  keyspace.origin = origin
  try {
    keyspace.flushShared()
  } finally {
    keyspace.origin = before
  }
}

const noLeases: readonly Lease[] = []

/** Whoever writes before `bind` has put things together wrongly. */
const nobody: Author = {
  origin: 0,
  lamport: 0,
  copyMsMax: 0,
  sealed: 0,
  append: () => {
    throw new Error("shared entries have no instance yet: bind comes before the first write")
  },
  amend: () => {}
}
