import { describe, expect, it } from "vitest"
import { InvalidBytes } from "../../src/cache/CacheError.ts"
import { PeerOrigin } from "../../src/coherence/PeerOrigin.ts"
import { decodePeerValue } from "../../src/coherence/PeerValueCodec.ts"
import { Op, RecordFlag } from "../../src/coherence/protocol/Frame.ts"
import { SharedEntries } from "../../src/coherence/SharedEntries.ts"
import { Cause } from "../../src/kernel/Cause.ts"
import type { EventOrigin } from "../../src/kernel/KeyEvent.ts"
import { KeyHash } from "../../src/kernel/KeyHash.ts"
import { EntrySource, type Keyspace, SetFlag } from "../../src/kernel/Keyspace.ts"
import { noMeta } from "../../src/kernel/Value.ts"
import { ground } from "./Ground.ts"

const peer = 77
const peerName = "0000000000004d"

const fill = (keyspace: Keyspace, key: string, value: string, stamp: number, writer: number): boolean => {
  const lease = keyspace.lease(key)
  lease.stamp = stamp
  lease.writer = writer
  return keyspace.fill(lease, value, 0, noMeta, stamp === 0 ? EntrySource.loaded : EntrySource.copied)
}

/** What a trigger of this instance does because of what `peer` has said. */
const derived: EventOrigin = { depth: 1, peer: peerName }

describe("what happens here is told", () => {
  it("once for each write and delete, in order, with a version that is higher each time", () => {
    const { share, told, instance } = ground()
    const { keyspace } = share()
    keyspace.set("a", "1")
    instance.flush()
    keyspace.set("a", "2")
    keyspace.set("b", "1")
    instance.flush()
    keyspace.delete("a")
    expect(told("a", "b")).toEqual(["key a", "key a", "key b", "gone a"])
    expect(instance.records.map(({ version }) => version)).toEqual([1, 2, 3, 4])
  })

  it("by one record where a key is written several times before it leaves", () => {
    const { share, told, instance } = ground()
    const { keyspace } = share()
    keyspace.set("a", "1")
    keyspace.set("b", "1")
    keyspace.set("a", "2")
    keyspace.set("a", "3")
    expect(told("a", "b")).toEqual(["key a", "key b"])
    expect(instance.records[0]?.version).toBe(4)
    instance.flush()
    keyspace.set("a", "4")
    expect(told("a", "b")).toEqual(["key a", "key b", "key a"])
  })

  it("as gone alone where a key is written and deleted before it leaves", () => {
    const { share, told, instance } = ground()
    const { keyspace } = share()
    keyspace.set("a", "1")
    keyspace.delete("a")
    expect(told("a")).toEqual(["gone a"])
    expect(instance.records[0]?.version).toBe(2)
  })

  it("also for a deadline that a client changes, and one that has passed", () => {
    const { share, told, instance, clock } = ground()
    const { keyspace } = share()
    keyspace.set("a", "1")
    instance.flush()
    keyspace.expireAt("a", clock.atMs + 1_000)
    instance.flush()
    keyspace.expireAt("a", clock.atMs - 1)
    expect(told("a")).toEqual(["key a", "key a", "gone a"])
  })

  it("also for a key that is not here, and for an invalidation", () => {
    const { share, told, instance } = ground()
    const { keyspace } = share()
    keyspace.delete("elsewhere")
    keyspace.set("a", "1")
    instance.flush()
    keyspace.invalidate("a")
    keyspace.invalidate("b")
    expect(told("elsewhere", "a", "b")).toEqual(["gone elsewhere", "key a", "gone a", "gone b"])
  })

  it("for tags, prefixes and flushes, and not again for each entry that goes with them", () => {
    const { share, told, entries } = ground()
    const { keyspace } = share()
    const tagged = { ...noMeta, tags: ["t"] }
    keyspace.set("a", "1", 0, tagged)
    keyspace.set("user:1", "1")
    keyspace.set("c", "1")
    keyspace.invalidateTags(["t"])
    keyspace.invalidatePrefix("user:")
    expect([keyspace.get("a"), keyspace.get("user:1")]).toEqual([undefined, undefined])
    expect(entries.index.size).toBe(1)
    keyspace.flush()
    expect(entries.index.size).toBe(0)
    const names = ["a", "user:1", "c", "t", "user:"]
    expect(told(...names)).toEqual(["key a", "key user:1", "key c", "tag t", "prefix user:", "clear everything"])
    entries.checkInvariants()
  })

  it("not for fills, expiry and evictions", () => {
    const { share, told, clock, entries } = ground()
    const { keyspace } = share("", { maxEntries: 2 })
    expect(fill(keyspace, "loaded", "1", 0, 0)).toBe(true)
    expect(fill(keyspace, "copied", "1", 5, peer)).toBe(true)
    keyspace.set("short", "1", clock.atMs + 10) // evicts "loaded"
    clock.atMs += 10
    keyspace.advance(clock.atMs, 100)
    expect(keyspace.size).toBe(1)
    expect(told("short")).toEqual(["key short"])
    entries.checkInvariants()
  })

  it("not after the keyspace is no longer shared", () => {
    const { share, told, entries, hashOf } = ground()
    const { keyspace } = share()
    keyspace.set("a", "1")
    const open = keyspace.lease("c")
    entries.unshare(keyspace)
    entries.apply(Op.key, hashOf("c"), 9, peer, 0)
    expect([open.isRevoked, entries.stats.revoked]).toEqual([false, 0])
    keyspace.endLease(open)
    const lease = keyspace.lease("b")
    keyspace.set("a", "2")
    keyspace.delete("a")
    keyspace.invalidateTags(["t"])
    keyspace.fill(lease, "1", 0, noMeta, EntrySource.loaded)
    keyspace.flush()
    expect(told("a")).toEqual(["key a"])
    expect(entries.hashOf(keyspace, "a")).toBe(0)
    expect(entries.ownHashes(null)).toEqual([])
    entries.apply(Op.clear, hashOf(""), 1, peer, 0)
    entries.checkInvariants()
  })

  it("nowhere before somebody is bound to it", () => {
    const { keyspace } = ground().share()
    const late = new SharedEntries({ hash: new KeyHash(""), nowMs: () => 0 })
    late.share(keyspace)
    keyspace.set("a", "1")
    const entry = keyspace.peek("a")
    if (entry === undefined) throw new Error("it is there")
    entry.handle = 0
    expect(() => late.onWrite(entry, keyspace, 0)).toThrow("bind comes before the first write")
  })
})

describe("a local key", () => {
  it("is in no record, and no record removes it", () => {
    const { share, told, entries, instance, clock, hashOf } = ground()
    const { keyspace, heard } = share()
    keyspace.set("mine", "1", 0, noMeta, SetFlag.local)
    entries.apply(Op.key, hashOf("mine"), 99, peer, 0)
    entries.apply(Op.key, hashOf("mine"), 100, peer, RecordFlag.gone)
    entries.outvote(hashOf("mine"), 101, peer)
    entries.moveBuckets(peer, new Uint8Array([255]), 8, [])
    entries.forgetCopies()
    entries.apply(Op.clear, new KeyHash("test").ofAll, 102, peer, 0)
    entries.moveBuckets(peer, new Uint8Array(1), 8, null)
    expect(keyspace.peek("mine")?.value).toBe("1")
    keyspace.set("mine", "2", 0, noMeta, SetFlag.local)
    keyspace.expireAt("mine", clock.atMs + 1_000)
    keyspace.expireAt("mine", clock.atMs - 1)
    keyspace.set("mine", "3", 0, noMeta, SetFlag.local)
    keyspace.delete("mine")
    expect(told("mine")).toEqual([])
    expect(heard().filter((each) => each.includes(peerName))).toEqual([
      `flush  by ${peerName}`,
      `flush  by ${peerName}`
    ])
    expect(instance.lamport).toBe(0)
  })

  it("is not served to a peer", () => {
    const { share, entries } = ground()
    const { keyspace } = share()
    keyspace.set("mine", "1", 0, noMeta, SetFlag.local)
    expect(entries.read("mine", 1_000)).toBe("none")
    keyspace.set("mine", "1")
    expect(entries.read("mine", 1_000)).toMatchObject({ version: 1 })
  })

  it("that was shared is told as gone once, and as written when it is shared again", () => {
    const { share, told, instance, entries } = ground()
    const { keyspace } = share()
    keyspace.set("k", "1")
    instance.flush()
    keyspace.set("k", "2", 0, noMeta, SetFlag.local)
    keyspace.set("k", "3", 0, noMeta, SetFlag.local)
    expect(told("k")).toEqual(["key k", "gone k"])
    expect(entries.index.size).toBe(0)
    instance.flush()
    keyspace.set("k", "4")
    expect(told("k")).toEqual(["key k", "gone k", "key k"])
    entries.checkInvariants()
  })
})

describe("a peer's record of a key", () => {
  it("takes a lower entry with cause invalidate and its origin, and sends nothing", () => {
    const { share, entries, hashOf, told, instance } = ground()
    const { keyspace, heard } = share()
    keyspace.set("k", "1")
    instance.flush()
    entries.apply(Op.key, hashOf("k"), 5, peer, 0)
    expect(keyspace.peek("k")).toBeUndefined()
    expect(heard()).toEqual(["write k", `invalidate k by ${peerName}`])
    expect(told("k")).toEqual(["key k"])
    expect(keyspace.origin).toBeNull()
    expect(entries.stats).toMatchObject({ outvoted: 1, kept: 0 })
  })

  it("leaves an entry that is higher, by version or between equal ones by the number of its writer", () => {
    const { share, entries, hashOf, instance } = ground(50)
    const { keyspace } = share()
    instance.lamport = 6
    keyspace.set("newer", "1")
    instance.lamport = 6
    keyspace.set("equal", "1")
    instance.lamport = 6
    keyspace.set("lower", "1")
    entries.apply(Op.key, hashOf("newer"), 6, 99, 0)
    entries.apply(Op.key, hashOf("equal"), 7, 49, 0)
    entries.apply(Op.key, hashOf("lower"), 7, 51, 0)
    expect([keyspace.peek("newer")?.value, keyspace.peek("equal")?.value]).toEqual(["1", "1"])
    expect(keyspace.peek("lower")).toBeUndefined()
    expect(entries.stats).toMatchObject({ outvoted: 1, kept: 2 })
  })

  it("leaves a copy of the very write that it tells of, and takes one of an earlier write", () => {
    const { share, entries, hashOf } = ground()
    const { keyspace } = share()
    fill(keyspace, "k", "its", 5, peer)
    entries.apply(Op.key, hashOf("k"), 5, peer, 0)
    expect(keyspace.peek("k")?.value).toBe("its")
    entries.apply(Op.key, hashOf("k"), 6, peer, 0)
    expect(keyspace.peek("k")).toBeUndefined()
  })

  it("takes what a loader brought, however low it is itself", () => {
    const { share, entries, hashOf } = ground()
    const { keyspace } = share()
    fill(keyspace, "k", "loaded", 0, 0)
    entries.apply(Op.key, hashOf("k"), 9, peer, 0)
    expect(keyspace.peek("k")).toBeUndefined()
    fill(keyspace, "k", "loaded", 0, 0)
    entries.apply(Op.key, hashOf("k"), 1, 2, 0)
    expect(keyspace.peek("k")).toBeUndefined()
  })

  it("revokes the leases of the key, those of an older write included, and no others", () => {
    const { share, entries, hashOf } = ground()
    const { keyspace } = share()
    const [lease, again, other] = [keyspace.lease("k"), keyspace.lease("k"), keyspace.lease("other")]
    entries.apply(Op.key, hashOf("k"), 5, peer, 0)
    expect([lease.isRevoked, again.isRevoked, other.isRevoked]).toEqual([true, true, false])
    expect(keyspace.fill(lease, "old", 0, noMeta, EntrySource.loaded)).toBe(false)
    keyspace.endLease(again)
    const next = keyspace.lease("k")
    entries.apply(Op.key, hashOf("k"), 3, 2, 0)
    expect(next.isRevoked).toBe(true)
    expect(entries.stats.revoked).toBe(3)
    expect(keyspace.fill(other, "new", 0, noMeta, EntrySource.loaded)).toBe(true)
  })

  it("says whether it is derived to those who see the event", () => {
    const { share, entries, hashOf } = ground()
    const { keyspace, events } = share()
    keyspace.set("k", "1")
    entries.apply(Op.key, hashOf("k"), 5, peer, RecordFlag.derived)
    expect(events.at(-1)?.origin).toMatchObject({ depth: 0, peer: peerName, isDerived: true })
  })

  it("finds an entry expired that is past its deadline", () => {
    const { share, entries, hashOf, clock, told } = ground()
    const { keyspace, heard } = share()
    keyspace.set("k", "1", clock.atMs + 10)
    clock.atMs += 10
    entries.apply(Op.key, hashOf("k"), 5, peer, 0)
    expect(heard().at(-1)).toBe(`expire k by ${peerName}`)
    expect(told("k")).toEqual(["key k"])
    entries.checkInvariants()
  })

  it("of a trigger that writes the key again when it goes leaves what the trigger wrote", () => {
    const { share, entries, instance, hashOf, told } = ground()
    const shared = share()
    const { keyspace } = shared
    keyspace.set("k", "1")
    instance.flush()
    shared.react = ({ cause }) => {
      if (cause !== Cause.invalidate) return
      const before = keyspace.origin
      keyspace.origin = derived
      keyspace.set("k", "mine again")
      keyspace.origin = before
    }
    instance.lamport = 5 // as the instance does before it applies
    entries.apply(Op.key, hashOf("k"), 5, peer, 0)
    expect(keyspace.peek("k")?.value).toBe("mine again")
    expect(told("k")).toEqual(["key k", "key k derived"])
    entries.checkInvariants()
  })
})

describe("what triggers do because of a peer", () => {
  it("is told as derived: writes, deletes, tags and flushes", () => {
    const { share, told } = ground()
    const { keyspace } = share()
    keyspace.origin = derived
    keyspace.set("a", "1")
    keyspace.set("b", "1", 0, noMeta, SetFlag.local)
    keyspace.delete("c")
    keyspace.invalidateTags(["t"])
    keyspace.flush()
    expect(told("a", "c", "t")).toEqual([
      "key a derived",
      "gone c derived",
      "tag t derived",
      "clear everything derived"
    ])
  })

  it("is not derived where the root of the cascade is a client's operation", () => {
    const { share, told } = ground()
    const { keyspace } = share()
    keyspace.origin = { depth: 2 }
    keyspace.set("a", "1")
    expect(told("a")).toEqual(["key a"])
  })

  it("does not hide a client's write in the same record, nor is it hidden by one", () => {
    for (const order of [
      [null, derived],
      [derived, null]
    ]) {
      const { share, told } = ground()
      const { keyspace } = share()
      for (const origin of order) {
        keyspace.origin = origin
        keyspace.set("a", "1")
      }
      expect(told("a")).toEqual(["key a"])
    }
    const { share, told } = ground()
    const { keyspace } = share()
    keyspace.set("a", "1")
    keyspace.origin = derived
    keyspace.delete("a")
    expect(told("a")).toEqual(["gone a"])
  })
})

describe("a peer's wide record", () => {
  it("takes what has the tag, or begins with the prefix, and was stored before", () => {
    const { share, entries, told, instance } = ground()
    const { keyspace, heard } = share()
    const hashes = new KeyHash("test")
    keyspace.set("a", "1", 0, { ...noMeta, tags: ["t"] })
    keyspace.set("user:1", "1")
    keyspace.set("b", "1")
    instance.lamport = 1_000 // versions play no part
    keyspace.set("a", "2", 0, { ...noMeta, tags: ["t"] })
    entries.apply(Op.tag, hashes.ofTag("t"), 3, peer, 0)
    entries.apply(Op.prefix, hashes.ofPrefix("user:"), 4, peer, RecordFlag.derived)
    const count = instance.records.length
    expect([keyspace.get("a"), keyspace.get("user:1"), keyspace.get("b")]).toEqual([undefined, undefined, "1"])
    expect(heard()).toContain(`invalidate a by ${peerName}`)
    expect(heard()).toContain(`invalidate user:1 by ${peerName}`)
    keyspace.set("a", "3", 0, { ...noMeta, tags: ["t"] })
    expect(keyspace.get("a")).toBe("3")
    expect(told("a").slice(count)).toEqual(["key a"])
    entries.checkInvariants()
  })

  it("clears the keyspace that it names and no other, but for local keys", () => {
    const { share, entries, told } = ground()
    const [main, tenant] = [share(), share("tenant_123:")]
    for (const { keyspace } of [main, tenant]) {
      keyspace.set("k", "1")
      keyspace.set("mine", "1", 0, noMeta, SetFlag.local)
    }
    const count = told().length
    entries.apply(Op.clear, new KeyHash("test", "tenant_123:").ofAll, 9, peer, 0)
    expect([tenant.keyspace.size, main.keyspace.size]).toEqual([1, 2])
    expect(tenant.heard().at(-1)).toBe(`flush  by ${peerName}`)
    expect(told()).toHaveLength(count)
    expect(tenant.keyspace.peek("mine")?.value).toBe("1")
    entries.apply(Op.clear, 12_345, 9, peer, 0)
    entries.checkInvariants()
  })

  it("that defines something is handed to whoever listens", () => {
    const defined: number[][] = []
    const { entries } = ground(1, { onDefine: (...record) => defined.push(record) })
    entries.apply(Op.define, 7, 8, peer, 0)
    expect(defined).toEqual([[7, 8, peer]])
  })

  it("of a kind that this version does not know changes nothing", () => {
    const { entries, share } = ground()
    const { keyspace } = share()
    keyspace.set("k", "1")
    entries.apply(15, 7, 8, peer, 0)
    expect(keyspace.peek("k")?.value).toBe("1")
  })
})

describe("tenants", () => {
  it("are told apart by what their keys are displayed with", () => {
    const { share, entries, hashOf, told } = ground()
    const [one, two] = [share("tenant_123:"), share("tenant_456:")]
    one.keyspace.set("user_count", "1")
    two.keyspace.set("user_count", "2")
    expect(told("tenant_123:user_count", "tenant_456:user_count")).toEqual([
      "key tenant_123:user_count",
      "key tenant_456:user_count"
    ])
    entries.apply(Op.key, hashOf("tenant_123:user_count"), 9, peer, 0)
    expect(one.keyspace.peek("user_count")).toBeUndefined()
    expect(two.keyspace.peek("user_count")?.value).toBe("2")
  })

  it("have their values served under the displayed key, and no other tenant's", () => {
    const { share, entries } = ground()
    const [main, one, two] = [share(), share("tenant_123:"), share("tenant_456:")]
    one.keyspace.set("k", "of 123")
    two.keyspace.set("j", "of 456")
    main.keyspace.set("k", "everybody's")
    const valueUnder = (key: string): unknown => {
      const read = entries.read(key, 1_000)
      const decoded = typeof read === "string" ? read : decodePeerValue(read.payload)
      return typeof decoded === "string" || decoded instanceof InvalidBytes ? decoded : decoded.value
    }
    expect(["k", "tenant_123:k", "tenant_456:k", "tenant_456:j"].map(valueUnder)).toEqual([
      "everybody's",
      "of 123",
      "none",
      "of 456"
    ])
    expect(entries.displayed(one.keyspace, "k")).toBe("tenant_123:k")
    entries.unshare(one.keyspace)
    expect(valueUnder("tenant_123:k")).toBe("none")
    entries.checkInvariants()
  })

  it("come and go without taking what others hold", () => {
    const { share, entries } = ground()
    const main = share()
    main.keyspace.set("k", "1")
    for (let round = 0; round < 5; round++) {
      const tenant = share("t:")
      tenant.keyspace.set("k", "2")
      tenant.keyspace.flush()
      tenant.keyspace.set("j", "2")
      entries.unshare(tenant.keyspace)
    }
    expect(entries.index.size).toBe(1)
    expect(entries.newest(entries.hashOf(main.keyspace, "k"))).toMatchObject({ version: 1 })
    entries.checkInvariants()
  })
})

describe("two keys with one hash", () => {
  class Colliding extends KeyHash {
    override of(): number {
      return 42
    }
  }
  const makeHash = (head: string): KeyHash => new Colliding("test", head)

  it("both go when a peer writes one of them: a miss, and no more", () => {
    const { share, entries } = ground(1, { makeHash })
    const [main, tenant] = [share(), share("t:")]
    main.keyspace.set("a", "1")
    main.keyspace.set("b", "1")
    tenant.keyspace.set("c", "1")
    entries.checkInvariants()
    entries.apply(Op.key, 42, 2, peer, 0)
    expect([main.keyspace.size, tenant.keyspace.size]).toEqual([0, 1])
    entries.apply(Op.key, 42, 4, peer, 0)
    expect(tenant.keyspace.size).toBe(0)
  })

  it("are served by their text", () => {
    const { share, entries } = ground(1, { makeHash })
    const { keyspace } = share()
    keyspace.set("a", "1")
    keyspace.set("b", "2")
    const read = entries.read("a", 1_000)
    expect(typeof read === "string" ? read : decodePeerValue(read.payload)).toMatchObject({ value: "1" })
    expect(entries.read("c", 1_000)).toBe("none")
    keyspace.delete("a")
    expect(entries.read("a", 1_000)).toBe("none")
    expect(entries.newest(42)).toMatchObject({ version: 3, isGone: true })
  })

  it("are taken one after the other, but for one that a trigger of the first has written again", () => {
    const { share, entries, instance } = ground(1, { makeHash })
    const shared = share()
    const { keyspace } = shared
    keyspace.set("a", "1")
    keyspace.set("b", "1")
    shared.react = ({ cause, key }) => {
      if (cause !== Cause.invalidate) return
      shared.react = () => {}
      keyspace.set(key === "a" ? "b" : "a", "again")
    }
    instance.lamport = 9
    entries.apply(Op.key, 42, 9, peer, 0)
    expect([keyspace.size, keyspace.peek("a")?.value ?? keyspace.peek("b")?.value]).toEqual([1, "again"])
    entries.checkInvariants()
  })

  it("are taken one after the other, though a trigger of the first deletes the second and writes the first", () => {
    const { share, entries, instance } = ground(1, { makeHash })
    const shared = share()
    const { keyspace } = shared
    keyspace.set("a", "1")
    keyspace.set("b", "1")
    shared.react = ({ cause, key }) => {
      if (cause !== Cause.invalidate) return
      shared.react = () => {}
      keyspace.delete(key === "a" ? "b" : "a")
      keyspace.set(key, "again")
    }
    instance.lamport = 9
    entries.apply(Op.key, 42, 9, peer, 0)
    expect(keyspace.size).toBe(1)
    entries.checkInvariants()
  })
})

describe("what peers ask", () => {
  it("is answered with value, what is attached, version, writer and remaining life", () => {
    const { share, entries, clock } = ground()
    const { keyspace } = share()
    keyspace.set("k", "v", clock.atMs + 500, { metadata: { n: 1 }, tags: ["t"], cost: 2 })
    fill(keyspace, "copy", "c", 7, peer)
    fill(keyspace, "loaded", "l", 0, 0)
    clock.atMs += 200
    const read = entries.read("k", 1_000)
    expect(read).toMatchObject({ version: 1, writer: 1, ttlMs: 300, source: EntrySource.written })
    expect(typeof read === "string" ? read : decodePeerValue(read.payload)).toEqual({
      value: "v",
      meta: { metadata: { n: 1 }, tags: ["t"], cost: 2 }
    })
    expect(entries.read("copy", 1_000)).toMatchObject({
      version: 7,
      writer: peer,
      ttlMs: -1,
      source: EntrySource.copied
    })
    expect(entries.read("loaded", 1_000)).toMatchObject({ version: 0, writer: 0, source: EntrySource.loaded })
  })

  it("is not served expired or stale, and counts as no use", () => {
    const { share, entries, clock } = ground()
    const { keyspace, heard } = share()
    keyspace.set("short", "1", clock.atMs + 10)
    keyspace.set("tagged", "1", 0, { ...noMeta, tags: ["t"] })
    fill(keyspace, "copy", "1", 5, peer)
    const before = heard().length
    clock.atMs += 10
    keyspace.invalidateTags(["t"])
    entries.forgetCopies()
    expect(["short", "tagged", "copy"].map((key) => entries.read(key, 1_000))).toEqual(["none", "none", "none"])
    expect(heard()).toHaveLength(before)
    expect(keyspace.stats).toMatchObject({ hits: 0, misses: 0 })
  })

  it("is not even encoded where it is too large", () => {
    const { share, entries } = ground()
    const { keyspace } = share()
    keyspace.set("k", "x".repeat(1_000))
    expect(entries.read("k", 1_000)).toBe("tooLarge")
    expect(entries.read("k", 2_000)).toMatchObject({ version: 1 })
  })

  it("about the newest write is answered by entry or memory: writes, deletes, peers', and what has gone by itself", () => {
    const { share, entries, hashOf, clock } = ground()
    const { keyspace } = share()
    const newest = (key: string) => entries.newest(hashOf(key))
    keyspace.set("here", "1")
    keyspace.set("deleted", "1")
    keyspace.delete("deleted")
    keyspace.set("expired", "1", clock.atMs + 1)
    clock.atMs += 1
    keyspace.advance(clock.atMs, 10)
    keyspace.set("tagged", "1", 0, { ...noMeta, tags: ["t"] })
    keyspace.invalidateTags(["t"])
    keyspace.get("tagged")
    entries.apply(Op.key, hashOf("theirs"), 90, peer, 0)
    entries.apply(Op.key, hashOf("theirs, gone"), 91, peer, RecordFlag.gone)
    fill(keyspace, "copied", "1", 80, peer)
    fill(keyspace, "loaded", "1", 0, 0)
    expect(newest("here")).toEqual({ version: 1, author: 1, isGone: false })
    expect(newest("deleted")).toEqual({ version: 3, author: 1, isGone: true })
    expect(newest("expired")).toEqual({ version: 4, author: 1, isGone: true })
    expect(newest("tagged")).toEqual({ version: 5, author: 1, isGone: true })
    expect(newest("theirs")).toEqual({ version: 90, author: peer, isGone: false })
    expect(newest("theirs, gone")).toEqual({ version: 91, author: peer, isGone: true })
    expect(newest("copied")).toEqual({ version: 80, author: peer, isGone: false })
    expect([newest("loaded"), newest("never")]).toEqual([undefined, undefined])
    expect(entries.floorOf(1)).toBe(0)
    expect(entries.ownHashes(null)).toEqual([hashOf("here")])
  })

  it("about whom to ask is answered by the last author, and by nobody where a later one may have been missed", () => {
    const { share, entries, hashOf, instance } = ground()
    share("t:")
    entries.apply(Op.key, hashOf("t:k"), 5, peer, 0)
    expect(entries.authorOf(hashOf("t:k"))).toMatchObject({ author: peer, isGone: false })
    expect(entries.authorOfKey("t:k")).toMatchObject({ author: peer })
    instance.lamport = 7
    entries.doubt()
    expect(entries.authorOf(hashOf("t:k"))).toBeUndefined()
    expect(entries.authorOfKey("t:k")).toMatchObject({ author: peer })
    expect(entries.newest(hashOf("t:k"))).toMatchObject({ version: 5 })
    entries.apply(Op.key, hashOf("t:k"), 8, peer, RecordFlag.gone)
    expect(entries.authorOf(hashOf("t:k"))).toMatchObject({ author: peer, isGone: true })
  })

  it("about a write that was evicted, flushed or forgotten is answered by the floor", () => {
    const evicting = ground(1)
    const small = evicting.share("", { maxEntries: 1 }).keyspace
    small.set("a", "1")
    small.set("b", "1")
    expect([evicting.entries.floorOf(1), evicting.entries.newest(evicting.hashOf("a"))]).toEqual([1, undefined])

    const flushing = ground(1)
    const { keyspace } = flushing.share()
    for (const key of ["a", "b", "c"]) keyspace.set(key, "1")
    keyspace.flush()
    expect(flushing.entries.floorOf(1)).toBeGreaterThanOrEqual(3)

    const cleared = ground(1)
    cleared.share().keyspace.set("a", "1")
    cleared.entries.apply(Op.clear, new KeyHash("test").ofAll, 5, peer, 0)
    expect(cleared.entries.floorOf(1)).toBe(1)

    const forgetful = ground(1, { directoryMax: 1 })
    const other = forgetful.share().keyspace
    other.delete("a")
    other.delete("b")
    expect([forgetful.entries.floorOf(1), forgetful.entries.floorOf(2)]).toEqual([1, 0])
  })

  it("is judged against what is written here: the higher stays", () => {
    const { share, entries, hashOf, told, instance } = ground(50)
    const { keyspace, heard } = share()
    instance.lamport = 9
    keyspace.set("k", "1")
    instance.flush()
    const lease = keyspace.lease("k")
    entries.outvote(hashOf("k"), 10, 49)
    expect(keyspace.peek("k")?.value).toBe("1")
    expect(lease.isRevoked).toBe(true)
    entries.outvote(hashOf("k"), 10, peer)
    expect(heard().at(-1)).toBe(`invalidate k by ${peerName}`)
    expect(entries.newest(hashOf("k"))).toEqual({ version: 10, author: 50, isGone: true })
    expect(told("k")).toEqual(["key k"])
  })

  it("in its own buckets alone", () => {
    const { share, entries, hashOf } = ground()
    const { keyspace } = share()
    const keys = Array.from({ length: 40 }, (_, i) => `k${i}`)
    for (const key of keys) keyspace.set(key, "1")
    fill(keyspace, "copied", "1", 99, peer)
    const isIn = (key: string) => hashOf(key) % 16 === 11
    const expected = keys.filter(isIn).map(hashOf).sort()
    expect(expected.length).toBeGreaterThan(0)
    expect(entries.ownHashes(new Uint8Array([0, 8]), 16).sort()).toEqual(expected)
  })
})

describe("what people ask about a displayed key", () => {
  it("is answered with its entry here, local or shared, and the newest write", () => {
    const { share, entries, hashOf } = ground()
    const { keyspace } = share("t:")
    keyspace.set("k", "1")
    keyspace.set("mine", "1", 0, noMeta, SetFlag.local)
    const newest = { version: 1, author: 1, isGone: false }
    expect(entries.inspect("t:k")).toEqual({
      hash: hashOf("t:k"),
      entry: { isLocal: false, version: 1, writer: 1 },
      newest
    })
    expect(entries.inspect("t:mine").entry).toEqual({ isLocal: true, version: 0, writer: 0 })
    expect(entries.inspect("k")).toEqual({ hash: hashOf("k"), entry: undefined, newest: undefined })
  })
})

describe("after a loss", () => {
  it("copies and loaded entries in moved buckets go, with the peer for their origin; what is written here stays", () => {
    const { share, entries, hashOf, told } = ground()
    const { keyspace, heard } = share()
    for (let i = 0; i < 20; i++) fill(keyspace, `copy${i}`, "1", 5, peer)
    for (let i = 0; i < 20; i++) keyspace.set(`own${i}`, "1")
    const count = told().length
    entries.moveBuckets(peer, new Uint8Array([0b101]), 4, [])
    for (let i = 0; i < 20; i++) {
      const hasMoved = [0, 2].includes(hashOf(`copy${i}`) % 4)
      expect(keyspace.get(`copy${i}`)).toBe(hasMoved ? undefined : "1")
      expect(keyspace.get(`own${i}`)).toBe("1")
      expect(heard().includes(`invalidate copy${i} by ${peerName}`)).toBe(hasMoved)
    }
    expect(told()).toHaveLength(count)
    entries.checkInvariants()
  })

  it("wide records that are known are applied; if they are not, everything that is shared goes", () => {
    const { share, entries } = ground()
    const { keyspace } = share()
    const tagged = { ...noMeta, tags: ["t"] }
    keyspace.set("a", "1", 0, tagged)
    keyspace.set("b", "1")
    entries.moveBuckets(peer, new Uint8Array(1), 8, [{ op: Op.tag, hash: new KeyHash("test").ofTag("t"), sequence: 4 }])
    expect([keyspace.get("a"), keyspace.get("b")]).toEqual([undefined, "1"])
    entries.moveBuckets(peer, new Uint8Array(1), 8, null)
    expect([keyspace.get("b"), entries.index.size]).toEqual([undefined, 0])
  })

  it("copies go, all of them or those from before a mark, and what is written here stays", () => {
    const { share, entries } = ground()
    const { keyspace } = share()
    keyspace.set("own", "1")
    fill(keyspace, "before", "1", 5, peer)
    const mark = entries.mark()
    fill(keyspace, "after", "1", 6, peer)
    fill(keyspace, "loaded", "1", 0, 0)
    entries.forgetCopies(mark)
    const left = () => ["own", "before", "after", "loaded"].filter((key) => keyspace.get(key) !== undefined)
    expect(left()).toEqual(["own", "after", "loaded"])
    entries.forgetCopies()
    expect(left()).toEqual(["own"])
    entries.checkInvariants()
  })
})

describe("copies", () => {
  it("live no longer than the instance says, and not at all while it says 0", () => {
    const { share, instance, clock } = ground()
    const { keyspace } = share()
    instance.copyMsMax = 50
    fill(keyspace, "k", "1", 5, peer)
    expect(keyspace.peek("k")?.expiresAtMs).toBe(clock.atMs + 50)
    instance.copyMsMax = 0
    expect(fill(keyspace, "j", "1", 5, peer)).toBe(false)
  })

  it("raise the version of what is written next above their own", () => {
    const { share, instance, entries, hashOf } = ground()
    const { keyspace } = share()
    fill(keyspace, "k", "1", 41, peer)
    expect(instance.lamport).toBe(41)
    keyspace.set("k", "2")
    expect(entries.newest(hashOf("k"))).toEqual({ version: 42, author: 1, isGone: false })
  })

  it("over what is written here are nobody's write, but the write is remembered", () => {
    const { share, entries, hashOf } = ground()
    const { keyspace } = share()
    keyspace.set("k", "1")
    expect(fill(keyspace, "k", "reloaded", 0, 0)).toBe(true)
    expect(entries.newest(hashOf("k"))).toEqual({ version: 1, author: 1, isGone: false })
    expect(entries.ownHashes(null)).toEqual([])
    expect(entries.read("k", 1_000)).toMatchObject({ version: 0, source: EntrySource.loaded })
    keyspace.set("k", "2")
    expect(entries.read("k", 1_000)).toMatchObject({ version: 2, writer: 1 })
    entries.checkInvariants()
  })

  it("that a client gives another deadline are its own write from then on", () => {
    const { share, entries, told, clock, hashOf } = ground()
    const { keyspace } = share()
    fill(keyspace, "k", "1", 41, peer)
    keyspace.expireAt("k", clock.atMs + 100)
    expect(told("k")).toEqual(["key k"])
    expect(entries.ownHashes(null)).toEqual([hashOf("k")])
  })
})

describe("the origin of a peer's record", () => {
  it("names the peer with 14 hexadecimal digits, and is one object for each of its two kinds", () => {
    expect(PeerOrigin.of(2 ** 53 - 1, false).peer).toBe("1fffffffffffff")
    expect(PeerOrigin.of(77, false)).toBe(PeerOrigin.of(77, false))
    expect(PeerOrigin.of(77, true)).not.toBe(PeerOrigin.of(77, false))
    expect(PeerOrigin.of(77, true)).toMatchObject({ depth: 0, peer: peerName, isDerived: true })
  })
})
