import { describe, expect, it } from "vitest"
import { Cause, causeNames } from "../../src/kernel/Cause.ts"
import { Freshness } from "../../src/kernel/Freshness.ts"
import type { KeyEvent } from "../../src/kernel/KeyEvent.ts"
import { EntrySource, Keyspace, type KeyspaceOptions } from "../../src/kernel/Keyspace.ts"
import { parsePattern } from "../../src/kernel/Pattern.ts"
import { type Meta, noMeta } from "../../src/kernel/Value.ts"

const startMs = 1_700_000_000_000
const red: Meta = { metadata: null, tags: ["red"], cost: 0 }

const opened = (options: Partial<KeyspaceOptions> = {}) => {
  const clock = { atMs: startMs, nowMs: () => clock.atMs }
  const heard: string[] = []
  const sink = {
    onEvent: ({ cause, key }: KeyEvent) => void heard.push(`${causeNames[cause]} ${key}`),
    onSettled() {}
  }
  const keyspace = new Keyspace({ maxEntries: 100, maxBytes: 1e6, clock, sink, wake() {}, ...options })
  keyspace.trie.add({ pattern: parsePattern("*") as never, mask: -1, priority: 0 })
  return { keyspace, clock, heard }
}

const { loaded, copied, written } = EntrySource

describe("a lease", () => {
  it("stores what a miss is filled with, once, as a fill and no write", () => {
    const { keyspace, heard } = opened()
    const lease = keyspace.lease("k")
    expect(keyspace.fill(lease, "v", startMs + 50, red, loaded)).toBe(true)
    expect(keyspace.peek("k")).toMatchObject({ value: "v", expiresAtMs: startMs + 50, meta: red, source: loaded })
    expect(keyspace.fill(lease, "again", 0, noMeta, loaded)).toBe(false)
    expect(heard).toEqual(["fill k"])
    expect(keyspace.stats).toMatchObject({ fills: 1, writes: 0 })
  })

  const changes: ReadonlyArray<readonly [string, (keyspace: Keyspace) => unknown]> = [
    ["a set", (keyspace) => keyspace.set("k", "newer")],
    ["a delete of what is not there", (keyspace) => keyspace.delete("k")],
    ["a delete of what is there", (keyspace) => keyspace.set("k", "newer") && keyspace.delete("k")],
    ["an invalidation", (keyspace) => keyspace.invalidate("k")],
    ["a flush", (keyspace) => keyspace.flush()],
    ["a peer's flush", (keyspace) => keyspace.flushShared()],
    ["a tag that the value turns out to have", (keyspace) => keyspace.invalidateTags(["blue", "red"])]
  ]
  for (const [what, change] of changes) {
    it(`stores nothing after ${what}`, () => {
      const { keyspace } = opened()
      const lease = keyspace.lease("k")
      const other = keyspace.lease("another")
      change(keyspace)
      const left = keyspace.peek("k")?.value
      expect(keyspace.fill(lease, "old", 0, red, loaded)).toBe(false)
      expect(keyspace.peek("k")?.value).toBe(left)
      expect(keyspace.fill(other, "v", 0, noMeta, loaded)).toBe(!what.includes("flush"))
      expect(keyspace.fill(keyspace.lease("k"), "new", 0, red, loaded)).toBe(true)
    })
  }

  it("stores nothing after a client has changed the deadline, nor after the prefix of its key has gone", () => {
    const { keyspace } = opened()
    keyspace.set("user:1", "v")
    const lease = keyspace.lease("user:1")
    keyspace.expireAt("user:1", startMs + 10)
    expect(keyspace.fill(lease, "old", 0, noMeta, loaded)).toBe(false)
    const [user, item] = [keyspace.lease("user:1"), keyspace.lease("item:1")]
    expect(keyspace.invalidatePrefix("user:")).toBe(true)
    expect(keyspace.fill(user, "old", 0, noMeta, loaded)).toBe(false)
    expect(keyspace.fill(item, "v", 0, noMeta, loaded)).toBe(true)
  })

  it("is left alone by the expiry and the eviction of what it refreshes, and by a refused write", () => {
    const { keyspace, clock } = opened({ maxEntries: 1 })
    keyspace.set("k", "v", startMs + 10)
    const [first, second, third] = [keyspace.lease("k"), keyspace.lease("k"), keyspace.lease("k")]
    expect(keyspace.set("k", "x".repeat(2_000_000))).toBe(false)
    clock.atMs += 10
    expect(keyspace.fill(first, "1", 0, noMeta, loaded)).toBe(true)
    keyspace.set("other", "v")
    expect(keyspace.fill(second, "2", 0, noMeta, loaded)).toBe(true)
    keyspace.endLease(third)
    keyspace.endLease(third)
    expect(keyspace.fill(third, "3", 0, noMeta, loaded)).toBe(false)
    expect(keyspace.get("k")).toBe("2")
    keyspace.checkInvariants()
  })

  it("stores nothing that is too large, or whose time has passed", () => {
    const { keyspace } = opened()
    expect(keyspace.fill(keyspace.lease("k"), "v", startMs, noMeta, loaded)).toBe(false)
    expect(keyspace.fill(keyspace.lease("k"), "x".repeat(2_000_000), 0, noMeta, loaded)).toBe(false)
    expect(keyspace.stats.refused).toBe(1)
    expect(keyspace.size).toBe(0)
  })

  it("is of a closed keyspace no use, and no trouble", () => {
    const { keyspace } = opened()
    const [used, unused] = [keyspace.lease("k"), keyspace.lease("k")]
    keyspace.close()
    expect(keyspace.fill(used, "v", 0, noMeta, loaded)).toBe(false)
    keyspace.endLease(unused)
    expect(keyspace.fill(keyspace.lease("k"), "v", 0, noMeta, loaded)).toBe(false)
    keyspace.checkInvariants()
  })

  it("may be opened and used from within the sink, for what has just gone", () => {
    const { keyspace, heard } = opened()
    const again = new Keyspace({
      ...{ maxEntries: 10, maxBytes: 1e6, clock: { nowMs: () => startMs }, wake() {} },
      sink: {
        onEvent: ({ cause, key }) => {
          heard.push(`${causeNames[cause]} ${key}`)
          if (cause === Cause.invalidate) again.fill(again.lease(key), "fresh", 0, noMeta, loaded)
        },
        onSettled() {}
      }
    })
    again.trie.add({ pattern: parsePattern("*") as never, mask: -1, priority: 0 })
    again.set("k", "v", 0, red)
    again.invalidateTags(["red"])
    expect(again.get("k")).toBe(undefined)
    expect(again.get("k")).toBe("fresh")
    expect(heard).toEqual(["write k", "invalidate k", "fill k", "read k"])
    keyspace.checkInvariants()
  })
})

describe("a copy", () => {
  it("expires without a word to those who watch the key, but not to those who replay the log", () => {
    const { keyspace, clock, heard } = opened()
    keyspace.log.open(10)
    keyspace.fill(keyspace.lease("copy"), "v", startMs + 5, noMeta, copied)
    keyspace.fill(keyspace.lease("load"), "v", startMs + 6, noMeta, loaded)
    clock.atMs += 10
    keyspace.advance(clock.atMs, 10)
    expect(heard).toEqual(["fill copy", "fill load", "expire load"])
    expect(keyspace.log.recent().map(({ cause, key }) => `${causeNames[cause]} ${key}`)).toEqual([
      "fill copy",
      "fill load",
      "expire copy",
      "expire load"
    ])
    expect(keyspace.stats.expires).toBe(2)
  })

  it("is this instance's own once a client has overwritten it or changed its deadline", () => {
    const { keyspace, clock, heard } = opened()
    keyspace.fill(keyspace.lease("a"), "v", startMs + 5, noMeta, copied)
    keyspace.fill(keyspace.lease("b"), "v", 0, noMeta, copied)
    keyspace.expireAt("a", startMs + 7)
    keyspace.set("b", "w")
    expect([keyspace.peek("a")?.source, keyspace.peek("b")?.source]).toEqual([written, written])
    clock.atMs += 10
    keyspace.advance(clock.atMs, 10)
    expect(heard.slice(-1)).toEqual(["expire a"])
  })

  it("is forgotten silently, with what was loaded, while what was written stays", () => {
    const freshness = new Freshness()
    const { keyspace, heard } = opened({ freshness })
    keyspace.set("own", "v")
    keyspace.fill(keyspace.lease("copy"), "v", 0, noMeta, copied)
    const mark = freshness.mark()
    keyspace.fill(keyspace.lease("later"), "v", 0, noMeta, copied)
    freshness.forgetCopiesBefore(mark)
    const readable = () => ["own", "copy", "later"].filter((key) => keyspace.peek(key) !== undefined)
    expect(readable()).toEqual(["own", "later"])
    keyspace.fill(keyspace.lease("load"), "v", 0, noMeta, loaded)
    freshness.forgetCopies()
    expect(readable()).toEqual(["own"])
    expect(keyspace.advance(startMs, 100)).toBeGreaterThan(0)
    expect([keyspace.size, keyspace.stats.invalidations]).toEqual([1, 3])
    expect(heard.filter((event) => event.startsWith("invalidate"))).toEqual([])
  })
})
