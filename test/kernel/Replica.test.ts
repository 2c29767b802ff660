import { describe, expect, it } from "vitest"
import { causeNames } from "../../src/kernel/Cause.ts"
import { Freshness } from "../../src/kernel/Freshness.ts"
import type { EventOrigin } from "../../src/kernel/KeyEvent.ts"
import { KeyHash } from "../../src/kernel/KeyHash.ts"
import { EntrySource, Keyspace, type KeyspaceOptions, SetFlag } from "../../src/kernel/Keyspace.ts"
import type { Lease } from "../../src/kernel/Lease.ts"
import { parsePattern } from "../../src/kernel/Pattern.ts"
import type { Replica } from "../../src/kernel/Replica.ts"
import { noMeta } from "../../src/kernel/Value.ts"

const startMs = 1_700_000_000_000
const peer: EventOrigin = { depth: 0, peer: "elsewhere" }
const red = { metadata: null, tags: ["red"], cost: 0 }

const keyspaceOptions = (like: Keyspace): KeyspaceOptions => ({
  ...{ maxEntries: like.maxEntries, maxBytes: like.maxBytes, clock: { nowMs: () => startMs } },
  sink: { onEvent() {}, onSettled() {} },
  wake() {}
})

/** A keyspace and what its replica and its sink were told, in one list. */
const opened = (maxEntries = 100) => {
  const clock = { atMs: startMs, nowMs: () => clock.atMs }
  const told: string[] = []
  const freshness = new Freshness()
  const hash = new KeyHash("secret", "t:")
  const replica: Replica & { copyMsMax: number } = {
    copyMsMax: Number.POSITIVE_INFINITY,
    onWrite: (entry) => {
      entry.handle = 7
      told.push(
        `wrote ${entry.key}${entry.isLocal ? " here" : ""} until ${entry.expiresAtMs && entry.expiresAtMs - startMs}`
      )
    },
    onFill: (entry, lease) => void told.push(`filled ${entry.key} of ${lease.stamp} by ${lease.writer}`),
    onRemove: (entry, cause) => void told.push(`gone ${entry.key} ${causeNames[cause]} ${entry.handle}`),
    expiryIdOf: () => undefined,
    onStale: (entry) => void told.push(`stale ${entry.key} ${entry.handle}`),
    onAskedToRemove: (key) => void told.push(`asked ${key}`),
    onFlush: () => void told.push("flushed"),
    onFlushShared: () => void told.push("flushed shared"),
    onTag: (tag) => void told.push(`tag ${tag === hash.ofTag("red")}`),
    onPrefix: (prefix) => void told.push(`prefix ${prefix === hash.ofPrefix("a:")}`),
    onLease: (lease) => void told.push(`lease ${lease.key}`),
    onLeaseEnd: (lease) => void told.push(`lease of ${lease.key} ends`)
  }
  const keyspace: Keyspace = new Keyspace({
    ...{ maxEntries, maxBytes: 1e6, clock, freshness, hash, replica, wake() {} },
    sink: {
      onEvent: ({ cause, key }) => void told.push(`(${causeNames[cause]} ${key} ${keyspace.origin?.peer})`),
      onSettled() {}
    }
  })
  const since = () => told.splice(0)
  const byPeer = (change: () => void) => {
    keyspace.origin = peer
    change()
    keyspace.origin = null
  }
  return { keyspace, clock, replica, freshness, hash, since, byPeer }
}

describe("the replica", () => {
  it("is told of writes and changed deadlines, not of those that change nothing", () => {
    const { keyspace, since } = opened()
    keyspace.set("k", "v")
    keyspace.set("k", "v", startMs + 5, noMeta, SetFlag.local)
    keyspace.expireAt("k", startMs + 9)
    keyspace.expireAt("k", startMs + 9)
    keyspace.expireAt("nothing", startMs + 9)
    keyspace.set("k", "x".repeat(2_000_000))
    expect(since()).toEqual(["wrote k until 0", "wrote k here until 5", "wrote k here until 9"])
  })

  it("is told of each removal with its cause, while the entry has its handle, before the sink is", () => {
    const { keyspace, clock, since } = opened(2)
    keyspace.trie.add({ pattern: parsePattern("*") as never, mask: -1, priority: 0 })
    keyspace.set("a", "v", startMs + 5)
    clock.atMs += 5
    expect(keyspace.get("a")).toBe(undefined)
    for (const key of ["b", "c", "d"]) keyspace.set(key, "v")
    keyspace.delete("c")
    keyspace.invalidate("d")
    expect(since().filter((line) => !/wr(ote|ite)/.test(line))).toEqual([
      "gone a expire 7",
      "(expire a undefined)",
      "gone b evict 7",
      "(evict b undefined)",
      "gone c delete 7",
      "(delete c undefined)",
      "gone d invalidate 7",
      "(invalidate d undefined)"
    ])
  })

  it("is told of deletes of keys that are not here, and of deadlines that have passed, unless a peer asks", () => {
    const { keyspace, clock, since, byPeer } = opened()
    keyspace.delete("a")
    keyspace.invalidate("b")
    byPeer(() => keyspace.invalidate("c"))
    keyspace.set("d", "v")
    keyspace.expireAt("d", clock.atMs)
    expect(since()).toEqual(["asked a", "asked b", "wrote d until 0", "gone d expire 7", "asked d"])
  })

  it("hears of a wide invalidation once, and of the entries that it takes as stale", () => {
    const { keyspace, since } = opened()
    keyspace.set("k", "v", 0, red)
    keyspace.set("a:1", "v")
    keyspace.invalidateTags(["red"])
    keyspace.invalidatePrefix("a:")
    keyspace.invalidatePrefix("a")
    keyspace.advance(startMs, 100)
    expect(since()).toEqual([
      ...["wrote k until 0", "wrote a:1 until 0"],
      ...["tag true", "prefix true", "stale k 7", "stale a:1 7"]
    ])
  })

  it("is told of a flush once, and of a peer's flush as such, which leaves what is local", () => {
    const { keyspace, clock, since, byPeer } = opened()
    keyspace.set("k", "v")
    keyspace.set("due", "v", startMs + 1)
    clock.atMs += 1
    expect(keyspace.flush()).toBe(1)
    keyspace.set("k", "v", startMs + 9)
    keyspace.set("local", "v", startMs + 9, noMeta, SetFlag.local)
    byPeer(() => expect(keyspace.flushShared()).toBe(1))
    expect(since()).toEqual([
      ...["wrote k until 0", "wrote due until 1", "gone due expire 7", "flushed"],
      ...["wrote k until 9", "wrote local here until 9", "flushed shared"]
    ])
    expect([keyspace.size, keyspace.expiringSize, keyspace.get("local")]).toEqual([1, 1, "v"])
    keyspace.checkInvariants()
  })

  it("is told of leases and fills, and with whose value an entry was filled", () => {
    const { keyspace, since } = opened()
    const lease = keyspace.lease("k")
    lease.stamp = 12
    lease.writer = 99
    keyspace.fill(lease, "v", 0, noMeta, EntrySource.copied)
    const revoked = keyspace.lease("k")
    revoked.isRevoked = true
    expect(keyspace.fill(revoked, "old", 0, noMeta, EntrySource.copied)).toBe(false)
    keyspace.endLease(keyspace.lease("k"))
    expect(since()).toEqual([
      ...["lease k", "filled k of 12 by 99", "lease of k ends"],
      ...["lease k", "lease of k ends", "lease k", "lease of k ends"]
    ])
    expect(keyspace.get("k")).toBe("v")
  })

  it("limits the life of what is filled, and may want nothing stored; local entries are none of its business", () => {
    const { keyspace, replica, since } = opened()
    const fill = (key: string, expiresAtMs: number) => {
      const isStored = keyspace.fill(keyspace.lease(key), "v", expiresAtMs, noMeta, EntrySource.loaded)
      return isStored && (keyspace.peek(key)?.expiresAtMs ?? 0) - startMs
    }
    replica.copyMsMax = 5_000.5
    expect([fill("a", 0), fill("b", startMs + 10), fill("c", startMs + 9_000)]).toEqual([5_000, 10, 5_000])
    replica.copyMsMax = 0
    expect([fill("d", 0), fill("e", startMs + 10)]).toEqual([false, false])
    keyspace.set("local", "v", 0, noMeta, SetFlag.local)
    since()
    expect(fill("local", startMs + 9_000)).toBe(9_000)
    expect(since()).toEqual(["lease local", "lease of local ends"])
  })

  it("counts that life from when the fill began, if it was limited then: what is loaded is as old as that", () => {
    const { keyspace, replica, clock } = opened()
    const [before, slow] = [keyspace.lease("before"), keyspace.lease("slow")]
    replica.copyMsMax = 50
    const [during, late, healed] = [keyspace.lease("during"), keyspace.lease("late"), keyspace.lease("healed")]
    const fill = (lease: Lease, expiresAtMs = 0) => {
      const isStored = keyspace.fill(lease, "v", expiresAtMs, noMeta, EntrySource.loaded)
      return isStored && (keyspace.peek(lease.key)?.expiresAtMs ?? 0) - startMs
    }
    clock.atMs += 30
    expect([fill(before), fill(during, startMs + 1_000)]).toEqual([80, 50])
    clock.atMs += 20
    expect([fill(slow, startMs + 60), fill(late)]).toEqual([60, false])
    replica.copyMsMax = Number.POSITIVE_INFINITY
    expect(fill(healed, startMs + 1_000)).toBe(1_000)
  })

  it("does not limit the life of what is written over a fill with its deadline kept: that is the value's own", () => {
    const { keyspace, replica } = opened()
    const lives = (key: string) => {
      const expiresAtMs = keyspace.peek(key)?.expiresAtMs ?? Number.NaN
      return expiresAtMs === 0 ? "for ever" : expiresAtMs - startMs
    }
    const fill = (key: string, expiresAtMs: number) =>
      keyspace.fill(keyspace.lease(key), "v", expiresAtMs, noMeta, EntrySource.copied)
    replica.copyMsMax = 5_000
    fill("a", 0)
    fill("b", startMs + 9_000)
    fill("c", startMs + 10)
    for (const key of ["a", "b", "c"]) keyspace.set(key, "w", 0, noMeta, SetFlag.keepTtl)
    expect(["a", "b", "c"].map(lives)).toEqual(["for ever", 9_000, 10])
    fill("d", 0)
    const write = keyspace.gateWrite("d", "w", 0, noMeta, SetFlag.keepTtl | SetFlag.passed)
    expect(write).toMatchObject({ expiresAtMs: 0 })
    replica.copyMsMax = Number.POSITIVE_INFINITY
    fill("d", startMs + 20) // is not cut short any more
    keyspace.set("d", "w", 0, noMeta, SetFlag.keepTtl | SetFlag.passed)
    expect(lives("d")).toBe(20)
    keyspace.checkInvariants()
  })

  it("hears nothing of a keyspace that is closed, nor later", () => {
    const { keyspace, since } = opened()
    keyspace.set("k", "v")
    since()
    keyspace.close()
    keyspace.delete("k")
    expect(since()).toEqual([])
  })

  it("sees what a sink does to a peer's event as the sink's own", () => {
    const { keyspace, since, byPeer } = opened()
    keyspace.set("k", "v")
    keyspace.trie.add({ pattern: parsePattern("*") as never, mask: -1, priority: 0 })
    since()
    byPeer(() => {
      keyspace.invalidate("k")
      expect(keyspace.origin).toBe(peer)
    })
    expect(since()).toEqual(["gone k invalidate 7", "(invalidate k undefined)"])
  })
})

describe("an expiry that another instance may tell of", () => {
  const told = () => {
    const opening = opened()
    const events: Array<[string, string, unknown, string | undefined]> = []
    const { keyspace } = opening
    keyspace.log.open(100)
    const since = () => {
      events.length = 0
      for (const { cause, key, oldValue, id } of keyspace.log.recent()) {
        events.push([causeNames[cause], key, oldValue, id])
      }
      return events.filter(([cause]) => cause === "expire")
    }
    return { ...opening, expiries: since }
  }

  it("has the name that the replica gives it, and no other event has one", () => {
    const { keyspace, clock, replica, expiries } = told()
    replica.expiryIdOf = ({ key }) => (key === "a" ? "name" : undefined)
    keyspace.set("a", "1", startMs + 5)
    keyspace.set("b", "2", startMs + 5)
    keyspace.delete("a")
    keyspace.set("a", "3", startMs + 5)
    clock.atMs += 5
    keyspace.advance(clock.atMs, 100)
    expect(expiries().sort()).toEqual([
      ["expire", "a", "3", "name"],
      ["expire", "b", "2", undefined]
    ])
    expect(keyspace.log.recent().filter(({ id }) => id !== undefined).length).toBe(1)
  })

  it("is told of what is not here, and nothing is stored", () => {
    const { keyspace, freshness, expiries } = told()
    expect(keyspace.expireElsewhere("k", "v", red, startMs - 7, "name", freshness.generation)).toBe(true)
    expect(expiries()).toEqual([["expire", "k", "v", "name"]])
    expect([keyspace.size, keyspace.bytes]).toEqual([0, 0])
    keyspace.checkInvariants()
  })

  it("takes a copy along, once, and leaves what was written here or is local", () => {
    const { keyspace, freshness, expiries } = told()
    keyspace.fill(keyspace.lease("copy"), "v", 0, noMeta, EntrySource.copied)
    keyspace.set("own", "w")
    keyspace.set("local", "w", 0, noMeta, SetFlag.local)
    const tells = (key: string) => keyspace.expireElsewhere(key, "v", noMeta, startMs, "name", freshness.generation)
    expect(["copy", "own", "local"].map(tells)).toEqual([true, false, false])
    expect(keyspace.peek("copy")).toBe(undefined)
    expect(keyspace.size).toBe(2)
    expect(expiries().map(([, key, , id]) => `${key} ${id}`)).toEqual(["copy undefined", "copy name"])
  })

  it("is not told where a tag or a prefix of it was invalidated since its value came", () => {
    const { keyspace, freshness } = told()
    const since = freshness.generation
    keyspace.invalidateTags(["blue"])
    expect(keyspace.expireElsewhere("a:k", "v", red, startMs, "1", since)).toBe(true)
    keyspace.invalidateTags(["red"])
    expect(keyspace.expireElsewhere("a:k", "v", red, startMs, "2", since)).toBe(false)
    expect(keyspace.expireElsewhere("a:k", "v", red, startMs, "3", freshness.generation)).toBe(true)
    keyspace.invalidatePrefix("a:")
    expect(keyspace.expireElsewhere("a:k", "v", noMeta, startMs, "4", since)).toBe(false)
  })

  it("stays one when a write through the gate keeps the deadline", () => {
    const flagsSeen: number[] = []
    const { keyspace, replica } = told()
    replica.onWrite = (_entry, _keyspace, flags) => void flagsSeen.push(flags)
    replica.expiryIdOf = () => "name"
    const gate = { beforeWrite: () => null, beforeDelete: () => null }
    const gated = new Keyspace({ ...keyspaceOptions(keyspace), replica, gate })
    gated.set("k", "v", startMs + 5, noMeta, SetFlag.cluster)
    gated.trie.add({ pattern: parsePattern("*") as never, mask: -1, priority: 0 })
    gated.set("k", "w", 0, noMeta, SetFlag.keepTtl)
    gated.set("k", "w", startMs + 9)
    expect(flagsSeen.map((flags) => flags & SetFlag.cluster)).toEqual([SetFlag.cluster, SetFlag.cluster, 0])
  })
})
