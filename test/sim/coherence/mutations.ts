/** Ways to build the protocol wrong, planted from outside: the simulation must find each. */
import { decode, encode, Op, type Pull } from "../../../src/coherence/protocol/Frame.ts"
import type { Host } from "../../../src/coherence/protocol/Host.ts"
import { Instance } from "../../../src/coherence/protocol/Instance.ts"
import type { Member, Members } from "../../../src/coherence/protocol/Members.ts"
import type { OwnEntries } from "../../../src/coherence/protocol/OwnEntries.ts"
import { Reconciler } from "../../../src/coherence/protocol/Reconciler.ts"
import type { Store } from "../../../src/coherence/protocol/Store.ts"
import { type EntrySource, Keyspace, type Lease, type Meta, type Value } from "../../../src/kernel/index.ts"
import type { Parts } from "./SimInstance.ts"

/** What a load answers is stored, whatever has happened to the key meanwhile. */
class UnguardedKeyspace extends Keyspace {
  override fill(lease: Lease, value: Value, expiresAtMs: number, meta: Meta, source: EntrySource): boolean {
    const unguarded = this.lease(lease.key)
    unguarded.stamp = lease.stamp
    unguarded.writer = lease.writer
    this.endLease(lease)
    return super.fill(unguarded, value, expiresAtMs, meta, source)
  }
}

/** Whoever comes back is taken to have said nothing meanwhile. */
class ForgivingInstance extends Instance {
  private readonly back = new Set<number>()

  override onLinkDown(origin: number): void {
    this.back.add(origin)
    super.onLinkDown(origin)
  }

  override onFrame(bytes: Uint8Array, from: number): void {
    const frame = decode(bytes)
    if (frame.type === "hello" || frame.type === "heartbeat") {
      const { members } = this as unknown as { members: Members }
      const last = frame.type === "hello" ? frame.last : (frame.entries[0]?.last ?? 0)
      const member: Member | undefined = members.find(frame.author)
      if (member !== undefined && (this.back.has(frame.author) || member.isSuspect)) member.marks.cover(last)
      this.back.delete(frame.author)
    }
    super.onFrame(bytes, from)
  }
}

/** Of a range whose beginning it does not have it says that it has nothing; and nothing to whom it is missing later. */
class SilentReconciler extends Reconciler {
  constructor(host: Host, ownEntries: OwnEntries) {
    super(host, ownEntries)
    this.givenUp.wanted = () => {}
  }

  override onPull(frame: Pull): void {
    const { host } = this
    const isThere = frame.of === host.origin || host.received.range(frame.of, frame.first, frame.first) !== undefined
    if (isThere) super.onPull(frame)
    else host.post(frame.author, { type: "gone", of: frame.of, oldest: 2 ** 48 - 1 })
  }
}

class SilentInstance extends Instance {
  protected override makeReconciler(ownEntries: OwnEntries): Reconciler {
    return new SilentReconciler(this, ownEntries)
  }
}

const storeWith = (changed: (store: Store, nowMs: () => number) => Partial<Store>): Parts => ({
  store: (store, node) => {
    return Object.assign(
      Object.create(store) as Store,
      changed(store, () => node.world.time.nowMs)
    )
  }
})

/** The five that the protocol's page names. */
export const mutations: Readonly<Record<string, Parts>> = {
  "the fill guard is skipped": { keyspace: (options) => new UnguardedKeyspace(options) },

  "records are deduplicated by hash at the receiver": storeWith((store, nowMs) => {
    const lately = new Map<number, number>()
    return {
      apply: (op, hash, version, author, flags) => {
        const isRepeated = nowMs() - (lately.get(hash) ?? Number.NEGATIVE_INFINITY) < 50
        lately.set(hash, nowMs())
        if (!isRepeated) store.apply(op, hash, version, author, flags)
      }
    }
  }),

  "the last writer wins by its wall clock": {
    instance: (options, node) => {
      const instance = new Instance(options)
      let latest = 0
      Object.defineProperty(instance, "lamport", {
        get: () => Math.max(latest, node.wallMs()),
        set: (version: number) => {
          if (version === Math.max(latest, node.wallMs()) + 1) latest = version // its own next one, not what it hears
        }
      })
      return instance
    }
  },

  "no heartbeat says how much was written": {
    frame: (bytes) => {
      const frame = decode(bytes)
      if (frame.type === "vector") return null
      if (frame.type !== "heartbeat") return bytes
      const entries = frame.entries.map((entry) => ({ ...entry, last: 0, oldest: 1 }))
      return encode({ ...frame, entries })
    }
  },

  "a reconnect reconciles nothing": { instance: (options) => new ForgivingInstance(options) }
}

/** Others that show that the invariants bite. */
export const moreMutations: Readonly<Record<string, Parts>> = {
  "no heartbeats at all": { frame: (bytes) => (decode(bytes).type === "heartbeat" ? null : bytes) },

  "peers answer whoever asks, however little they have seen": {
    frame: (bytes) => {
      const frame = decode(bytes)
      return frame.type === "fetch" ? encode({ ...frame, vector: [] }) : bytes
    }
  },

  "nobody asks about its own entries": storeWith(() => ({ ownHashes: () => [] })),

  "tags and prefixes of others are ignored": storeWith((store) => ({
    apply: (op, hash, version, author, flags) => {
      if (op === Op.key) store.apply(op, hash, version, author, flags)
    }
  })),

  "a joiner takes the baseline though it has written before": {
    store: (store, node) =>
      Object.assign(Object.create(store) as Store, {
        ownHashes: (bitmap: Uint8Array | null, bucketCount?: number) =>
          node.instance.isJoined ? store.ownHashes(bitmap, bucketCount) : []
      })
  },

  "nobody says what is left of a dead member's records": { instance: (options) => new SilentInstance(options) },

  "copies live on while not coherent": storeWith((store) => ({
    forgetCopies: (before) => {
      if (before === undefined) store.forgetCopies()
    }
  })),

  "a restarted process keeps its origin": { keepsOrigin: true }
}
