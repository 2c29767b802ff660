import { describe, expect, it } from "vitest"
import { Cause, causeNames } from "../../src/kernel/Cause.ts"
import { Freshness, wideMax } from "../../src/kernel/Freshness.ts"
import type { EventOrigin, KeyEvent } from "../../src/kernel/KeyEvent.ts"
import { KeyHash } from "../../src/kernel/KeyHash.ts"
import { EntrySource, Keyspace, SetFlag } from "../../src/kernel/Keyspace.ts"
import { parsePattern } from "../../src/kernel/Pattern.ts"
import { type Meta, noMeta } from "../../src/kernel/Value.ts"

const startMs = 1_700_000_000_000
const peer: EventOrigin = { depth: 0, peer: "elsewhere" }
const tagged = (...tags: string[]): Meta => ({ metadata: null, tags, cost: 0 })

const opened = (head = "", freshness = new Freshness(), clock = { atMs: startMs }) => {
  const events: KeyEvent[] = []
  const wakes: number[] = []
  const hash = new KeyHash("secret", head)
  const keyspace = new Keyspace({
    ...{ maxEntries: 10_000, maxBytes: 1e8, freshness, hash },
    clock: { nowMs: () => clock.atMs },
    sink: { onEvent: (event) => void events.push(event), onSettled() {} },
    wake: (atMs) => void wakes.push(atMs - startMs)
  })
  const watch = () => keyspace.trie.add({ pattern: parsePattern("*") as never, mask: -1, priority: 0 })
  const heard = () => events.map(({ cause, key }) => `${causeNames[cause]} ${key}`)
  const readable = (...keys: string[]) => keys.filter((key) => keyspace.peek(key) !== undefined)
  return { keyspace, freshness, clock, hash, events, heard, wakes, watch, readable }
}

describe("what is invalidated by a tag or a prefix", () => {
  it("is a miss for all who look, at once, and anything stored later is not", () => {
    const { keyspace, readable } = opened()
    keyspace.set("a", "1", 0, tagged("red"))
    keyspace.set("b", "2", 0, tagged("blue", "red"))
    keyspace.set("c", "3", 0, tagged("blue"))
    keyspace.set("d", "4")
    keyspace.invalidateTags(["red"])
    expect(readable("a", "b", "c", "d")).toEqual(["c", "d"])
    keyspace.set("a", "5", 0, tagged("red"))
    expect(keyspace.get("a")).toBe("5")
    expect([keyspace.use("b"), keyspace.expireAt("b", 0), keyspace.delete("b")]).toEqual([false, false, false])
    const visited: string[] = []
    keyspace.scan(0, 100, ({ key }) => visited.push(key))
    expect(visited.sort()).toEqual(["a", "c", "d"])
  })

  it("goes with cause invalidate, before it is overwritten", () => {
    const { keyspace, watch, heard } = opened()
    keyspace.set("k", "old", 0, tagged("red"))
    watch()
    keyspace.invalidateTags(["red"])
    keyspace.set("k", "new", 0, noMeta, SetFlag.keepMeta | SetFlag.keepTtl)
    expect(heard()).toEqual(["invalidate k", "write k"])
    expect(keyspace.peek("k")).toMatchObject({ value: "new", meta: noMeta })
    expect(keyspace.stats).toMatchObject({ invalidations: 1, deletes: 0 })
  })

  it("is invalidated and not evicted, and expired rather than invalidated", () => {
    const { keyspace, clock, watch, heard } = opened()
    keyspace.set("stale", "v", 0, tagged("red"))
    keyspace.set("due", "v", startMs + 5, tagged("red"))
    keyspace.limit(2, 1e8)
    watch()
    keyspace.invalidateTags(["red"])
    clock.atMs += 10
    keyspace.set("x", "v")
    keyspace.set("y", "v")
    expect(heard()).toEqual(["write x", "invalidate stale", "write y", "expire due"])
  })

  it("is no part of a flush", () => {
    const { keyspace, watch, events, heard } = opened()
    keyspace.set("stale", "v", 0, tagged("red"))
    keyspace.set("k", "v")
    watch()
    keyspace.invalidateTags(["red"])
    expect(keyspace.flush()).toBe(1)
    expect(heard()).toEqual(["invalidate stale", "flush k", "flush "])
    expect(events.at(-1)?.count).toBe(1)
  })

  it("names keys by prefixes that end at a colon, and refuses others", () => {
    const { keyspace, readable } = opened()
    for (const key of ["user:1", "user:1:name", "user", "users:1", "item:1"]) keyspace.set(key, "v")
    for (const refused of ["user", "", "user:*", "user:1"]) expect(keyspace.invalidatePrefix(refused)).toBe(false)
    expect(readable("user:1")).toEqual(["user:1"])
    expect(keyspace.invalidatePrefix("user:1:")).toBe(true)
    expect(readable("user:1", "user:1:name", "user", "users:1", "item:1")).toEqual([
      "user:1",
      "user",
      "users:1",
      "item:1"
    ])
    expect(keyspace.invalidatePrefix("user:")).toBe(true)
    expect(readable("user:1", "user", "users:1", "item:1")).toEqual(["user", "users:1", "item:1"])
  })

  it("is a tenant's own, but everybody's prefix may be a tenant's", () => {
    const main = opened()
    const tenant = opened("t:", main.freshness, main.clock)
    for (const { keyspace } of [main, tenant]) keyspace.set("a:1", "v", 0, tagged("red"))
    tenant.keyspace.invalidateTags(["red"])
    expect([main.readable("a:1"), tenant.readable("a:1")]).toEqual([["a:1"], []])
    tenant.keyspace.set("a:1", "v", 0, tagged("red"))
    main.keyspace.invalidateTags(["red"])
    expect([main.readable("a:1"), tenant.readable("a:1")]).toEqual([[], ["a:1"]])
    main.keyspace.set("a:1", "v")
    tenant.keyspace.invalidatePrefix("a:")
    expect([main.readable("a:1"), tenant.readable("a:1")]).toEqual([["a:1"], []])
    tenant.keyspace.set("b", "v")
    main.keyspace.invalidatePrefix("t:")
    expect([main.readable("a:1"), tenant.readable("b")]).toEqual([["a:1"], []])
  })

  it("leaves local entries alone where a peer says so, not where this instance does", () => {
    const { keyspace, freshness, hash, readable } = opened()
    keyspace.set("local", "v", 0, tagged("red"), SetFlag.local)
    keyspace.set("shared", "v", 0, tagged("red"))
    freshness.invalidateTag(hash.ofTag("red"), peer)
    expect(readable("local", "shared")).toEqual(["local"])
    keyspace.invalidateTags(["red"])
    freshness.invalidateTag(hash.ofTag("red"), peer)
    expect(readable("local", "shared")).toEqual([])
  })

  it("says who caused it, and leaves the origin of the operation that finds it as it was", () => {
    const { keyspace, freshness, hash, events, watch } = opened()
    keyspace.set("a", "v", 0, tagged("red"))
    watch()
    freshness.invalidateTag(hash.ofTag("red"), peer)
    const trigger: EventOrigin = { depth: 1 }
    keyspace.origin = trigger
    keyspace.set("a", "w")
    expect(keyspace.origin).toBe(trigger)
    expect(events.map(({ cause, origin }) => [cause, origin])).toEqual([
      [Cause.invalidate, peer],
      [Cause.write, trigger]
    ])
  })
})

describe("the tables of what has been invalidated", () => {
  it("forget the older half past their limit, and then take all that is tagged and older", () => {
    const { keyspace, freshness, hash, readable } = opened("", new Freshness(4))
    keyspace.set("tagged", "v", 0, tagged("never invalidated"))
    keyspace.set("plain", "v")
    for (let i = 0; i < 4; i++) {
      freshness.invalidateTag(hash.ofTag(`tag${i}`), peer)
      keyspace.set(`after ${i}`, "v", 0, tagged("never invalidated"))
    }
    const all = ["plain", "tagged", "after 0", "after 1", "after 2", "after 3"]
    expect(readable(...all)).toEqual(all)
    freshness.invalidateTag(hash.ofTag("one more"), peer)
    expect(readable(...all)).toEqual(["plain", "after 2", "after 3"])
    keyspace.set("tagged", "v", 0, tagged("never invalidated"))
    expect(readable("tagged")).toEqual(["tagged"])
  })

  const floods = [
    ["tags", (keyspace: Keyspace, i: number) => keyspace.invalidateTags([`tag${i}`])],
    ["prefixes", (keyspace: Keyspace, i: number) => keyspace.invalidatePrefix(`p${i}:`)]
  ] as const

  it.each(floods)("forget what the one named who has named most %s, and nobody else's", (_, flood) => {
    const main = opened()
    const [tenant, other] = ["tenant_123:", "tenant_456:"].map((head) => opened(head, main.freshness)) as [
      ReturnType<typeof opened>,
      ReturnType<typeof opened>
    ]
    for (const { keyspace } of [main, tenant, other]) {
      keyspace.set("a:1", "v", 0, tagged("red"))
      flood(keyspace, -1)
    }
    for (let i = 0; i < wideMax - 3; i++) flood(tenant.keyspace, i)
    expect([main, tenant, other].map(({ readable }) => readable("a:1"))).toEqual([["a:1"], ["a:1"], ["a:1"]])
    for (let i = wideMax; i < 70_000; i++) flood(tenant.keyspace, i)
    expect([main, tenant, other].map(({ readable }) => readable("a:1"))).toEqual([["a:1"], [], ["a:1"]])
    tenant.keyspace.set("a:1", "v", 0, tagged("red"))
    flood(tenant.keyspace, 70_000)
    expect(tenant.readable("a:1")).toEqual(["a:1"])
    for (const { keyspace } of [main, tenant, other]) {
      keyspace.set("p-1:1", "v", 0, tagged("tag-1"))
      flood(keyspace, -1)
    }
    expect([main, tenant, other].map(({ readable }) => readable("p-1:1"))).toEqual([[], [], []])
  })

  it("take copies in buckets that have moved, and all copies where the buckets are others than before", () => {
    const { keyspace, freshness, hash, readable, watch, heard } = opened()
    const keys = Array.from({ length: 40 }, (_, i) => `k${i}`)
    const fill = () => {
      for (const key of keys) keyspace.fill(keyspace.lease(key), "v", 0, noMeta, EntrySource.copied)
    }
    fill()
    keyspace.set("own", "v")
    watch()
    freshness.moveBuckets(new Uint8Array([0b0001_0001]), 8, peer)
    const moved = keys.filter((key) => hash.of(key) % 8 === 0 || hash.of(key) % 8 === 4)
    expect(moved.length).toBeGreaterThan(0)
    expect(readable(...keys, "own")).toEqual([...keys.filter((key) => !moved.includes(key)), "own"])
    expect(moved.map((key) => keyspace.get(key)).every((value) => value === undefined)).toBe(true)
    expect(heard().sort()).toEqual(moved.map((key) => `invalidate ${key}`).sort())
    fill()
    freshness.moveBuckets(new Uint8Array([1, 0]), 16, peer)
    expect(readable(...keys, "own")).toEqual(["own"])
  })
})

describe("the sweep", () => {
  it("counts the tags that it looks at: entries with many are a unit of work each", () => {
    const { keyspace, clock } = opened()
    const many = tagged(...Array.from({ length: 64 }, (_, i) => `tag${i}`))
    for (let i = 0; i < 100; i++) keyspace.set(`k${i}`, "1", 0, many)
    keyspace.invalidateTags(["other"])
    expect(keyspace.advance(clock.atMs, 40)).toBe(40)
    expect(keyspace.advance(clock.atMs, 1_000)).toBeGreaterThanOrEqual(60)
    expect(keyspace.advance(clock.atMs, 1_000)).toBe(0)
  })

  const filled = (count: number) => {
    const ground = opened()
    for (let i = 0; i < count; i++) ground.keyspace.set(`k${i}`, "v", 0, i % 100 === 0 ? tagged("red") : noMeta)
    return ground
  }

  it("finds what nobody looks for, within the units of work that it is given", () => {
    const { keyspace, wakes, watch, heard, clock } = filled(1_000)
    watch()
    keyspace.invalidateTags(["red"])
    expect(wakes).toEqual([0])
    let [turns, work] = [0, 0]
    do {
      work = keyspace.advance(clock.atMs, 4)
      expect(work).toBeLessThanOrEqual(4)
      keyspace.checkInvariants()
      turns++
    } while (work === 4)
    expect(turns).toBeGreaterThan(4)
    expect(heard().length).toBe(10)
    expect([keyspace.size, keyspace.nextWakeMs()]).toEqual([990, Number.POSITIVE_INFINITY])
  })

  it("makes a round at most each 100 ms, however much is invalidated", () => {
    const { keyspace, wakes, clock } = filled(300)
    const sweepAll = () => keyspace.advance(clock.atMs, 1_000)
    keyspace.invalidateTags(["red"])
    expect(sweepAll()).toBeGreaterThan(0)
    for (let i = 0; i < 50; i++) keyspace.invalidateTags(["red", "blue"])
    expect(keyspace.nextWakeMs()).toBe(startMs + 100)
    expect(sweepAll()).toBe(0)
    clock.atMs += 100
    expect(sweepAll()).toBeGreaterThan(0)
    expect(keyspace.nextWakeMs()).toBe(Number.POSITIVE_INFINITY)
    expect(wakes).toEqual([0, 100])
  })

  it("makes another round for what is invalidated in the middle of one, also from within the sink", () => {
    const clock = { atMs: startMs }
    let isFirst = true
    const chained = new Keyspace({
      ...{ maxEntries: 1_000, maxBytes: 1e8, clock: { nowMs: () => clock.atMs }, wake() {} },
      sink: {
        onEvent() {
          if (isFirst) chained.invalidateTags(["green"])
          isFirst = false
        },
        onSettled() {}
      }
    })
    chained.set("green", "v", 0, tagged("green"))
    chained.set("red", "v", 0, tagged("red"))
    chained.trie.add({ pattern: parsePattern("*") as never, mask: -1, priority: 0 })
    chained.invalidateTags(["red"])
    chained.advance(clock.atMs, 1_000)
    expect([chained.size, chained.nextWakeMs()]).toEqual([1, startMs + 100])
    chained.checkInvariants()
    clock.atMs += 100
    chained.advance(clock.atMs, 1_000)
    expect([chained.size, chained.nextWakeMs()]).toEqual([0, Number.POSITIVE_INFINITY])
  })

  it("leaves keyspaces alone that the invalidation cannot concern, or that are empty or closed", () => {
    const main = opened()
    const [tenant, other, empty, closed] = ["t:", "o:", "e:", "c:"].map((head) =>
      opened(head, main.freshness, main.clock)
    ) as [typeof main, typeof main, typeof main, typeof main]
    for (const { keyspace } of [main, tenant, other, closed]) keyspace.set("a:1", "v", 0, tagged("red"))
    closed.keyspace.close()
    tenant.keyspace.invalidateTags(["red"])
    tenant.keyspace.invalidatePrefix("b:")
    expect([main.wakes, tenant.wakes, other.wakes, empty.wakes]).toEqual([[], [0], [], []])
    main.freshness.forgetCopies()
    expect([main.wakes, tenant.wakes, other.wakes, empty.wakes]).toEqual([[0], [0], [0], []])
    expect(closed.keyspace.nextWakeMs()).toBe(Number.POSITIVE_INFINITY)
  })
})
