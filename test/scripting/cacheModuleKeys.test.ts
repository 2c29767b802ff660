/** `cache.keys`: which keys, in which order, at which cost; against a plain model where keyspaces change meanwhile. */
import { describe, expect, it } from "vitest"
import { KeyWalk } from "../../src/scripting/KeyWalk.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"
import { makeKeyspace, makeModules } from "./hostModules.ts"

describe("cache.keys", () => {
  it("answers the keys that begin with a prefix, in the order of their bytes", () => {
    const { run, keyspace, clock } = makeModules()
    for (const key of ["user:2", "user:10", "users", "user:", "a", "user:\xff", "User:1"]) keyspace.set(key, "v")
    keyspace.set("user:gone", "v", clock.ms)
    expect(run('return cache.keys("user:")')).toEqual([
      "user:",
      "user:10",
      "user:2",
      new Uint8Array([...Buffer.from("user:"), 255])
    ])
    expect(run('return cache.keys("nobody")')).toEqual(Object.create(null))
    expect(run('return #cache.keys("")')).toBe(7)
  })

  it("answers no more than the limit: the first in order, 1,000 where nothing is said", () => {
    const { run, keyspace } = makeModules()
    for (let i = 3000; i > 0; i--) keyspace.set(`k${String(i).padStart(5, "0")}`, "v")
    expect(run('return cache.keys("k", 3)')).toEqual(["k00001", "k00002", "k00003"])
    expect(run('local k = cache.keys("k") return { #k, k[1000] }')).toEqual([1000, "k01000"])
    expect(run('local k = cache.keys("k", 10000) return { #k, k[3000] }')).toEqual([3000, "k03000"])
    expect(run('return #cache.keys("k", 10.0)')).toBe(10)
  })

  it.each(["0", "10001", "1.5", "{}", "0/0", "'x'"])("raises the limit %s, at the line that called", (limit) => {
    const { run } = makeModules()
    expect(() => run(`\ncache.keys("", ${limit})`)).toThrow("2: cache.keys: the limit is an integer from 1 to 10000")
  })

  it("raises a prefix that is no string", () => {
    const { run } = makeModules()
    expect(() => run("\ncache.keys()")).toThrow("2: cache.keys takes a prefix (a string) first, not nothing")
    expect(() => run("\ncache.keys({})")).toThrow("2: cache.keys takes a prefix (a string) first, not a table")
  })

  it("fires nothing, and counts as no use", () => {
    const { run, keyspace } = makeModules({ maxEntries: 2 })
    keyspace.set("a", "1")
    keyspace.set("b", "1")
    run('cache.keys("a")')
    keyspace.set("c", "1")
    expect([keyspace.peek("a"), keyspace.stats.hits]).toEqual([undefined, 0])
  })

  it("is paid for in portions, so that a run without fuel ends in the middle of a large keyspace", () => {
    const { run, keyspace, fuel } = makeModules()
    for (let i = 0; i < 50_000; i++) keyspace.set(`key:${i}`, "v")
    run('return #cache.keys("key:49")')
    const whole = fuel()
    expect(whole).toBeGreaterThan(250_000) // 50,000 slots at 5 units
    expect(() => run('return #cache.keys("key:49")', { fuelMax: whole >> 1 })).toThrow(
      `stopped after ${whole >> 1} units`
    )
    expect(run('return #cache.keys("key:49")')).toBe(1000)
  })
})

describe("KeyWalk", () => {
  it("looks at no more than 512 slots, or 16 KiB of keys and one more, in a portion", () => {
    const keyspace = makeKeyspace({ ms: 0 })
    for (let i = 0; i < 5_000; i++) keyspace.set(`k${i}`, "v")
    const walk = new KeyWalk(keyspace, "", 10)
    let portions = 0
    for (; walk.isLooking; portions++) {
      walk.look()
      expect(walk.work).toBeLessThan(250_000) // a millisecond
    }
    expect(portions).toBe(Math.ceil(5_000 / 512))

    const long = makeKeyspace({ ms: 0 })
    for (let i = 0; i < 100; i++) long.set("x".repeat(60_000) + i, "v")
    const slow = new KeyWalk(long, "x", 100)
    let steps = 0
    for (; slow.isLooking; steps++) slow.look()
    expect(steps).toBe(25) // four slots each
  })

  it("finds what a plain list would, whatever comes and goes in between, each key once", {
    timeout: propertyTimeoutMs
  }, async () => {
    await forAllSeeds(300, (random) => {
      const keyspace = makeKeyspace({ ms: 0 })
      const name = () => `${random.pick(["a", "b", "ab", ""])}${random.below(2000).toString(random.between(2, 36))}`
      for (let i = random.below(3000); i > 0; i--) keyspace.set(name(), "v")
      const prefix = random.pick(["", "a", "ab", "b1"])
      const limit = random.between(1, random.pick([5, 100, 3000]))
      const before = keysOf(keyspace)
      const walk = new KeyWalk(keyspace, prefix, limit)
      const [added, removed] = [new Set<string>(), new Set<string>()]
      while (walk.isLooking) {
        walk.look()
        change(random, keyspace, name, added, removed)
      }
      const found: string[] = []
      for (let keys = walk.take(); keys.length > 0; keys = walk.take()) {
        found.push(...keys.map((key) => (typeof key === "string" ? key : Buffer.from(key).toString("latin1"))))
      }
      const possible = [...new Set([...before, ...added])].filter((key) => key.startsWith(prefix)).sort()
      const certain = before.filter((key) => key.startsWith(prefix) && !removed.has(key)).sort()
      expect(found).toEqual([...new Set(found)].sort())
      expect(found.length).toBeLessThanOrEqual(limit)
      expect(possible).toEqual(expect.arrayContaining(found))
      // What was there all along and comes before the last one found, or before the limit was reached, is among them.
      const last = found.length < limit ? undefined : found[found.length - 1]
      const expected = last === undefined ? certain : certain.filter((key) => key <= last)
      const all = new Set(found)
      expect(expected.filter((key) => !all.has(key))).toEqual([])
    })
  })
})

const keysOf = (keyspace: ReturnType<typeof makeKeyspace>): string[] => {
  const keys: string[] = []
  keyspace.scan(0, Number.MAX_SAFE_INTEGER, ({ key }) => void keys.push(key))
  return keys
}

const change = (
  random: Random,
  keyspace: ReturnType<typeof makeKeyspace>,
  name: () => string,
  added: Set<string>,
  removed: Set<string>
): void => {
  for (let i = random.below(60); i > 0; i--) {
    const key = name()
    if (random.oneIn(2)) {
      if (keyspace.delete(key)) removed.add(key)
    } else {
      keyspace.set(key, "v")
      added.add(key)
    }
  }
}
