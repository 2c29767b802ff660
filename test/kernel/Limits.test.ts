/** Limits that change while there are entries, and bytes that several keyspaces share. */
import { describe, expect, it } from "vitest"
import { BytePool } from "../../src/kernel/BytePool.ts"
import { allCauses, Cause, causeBit, causeNames } from "../../src/kernel/Cause.ts"
import { entryBytes, Keyspace } from "../../src/kernel/Keyspace.ts"
import { type Pattern, parsePattern } from "../../src/kernel/Pattern.ts"
import { forAllSeeds, propertyTimeoutMs } from "../support/Random.ts"

const startMs = 1_000

const opened = ({ maxEntries = 100, maxBytes = 1_000_000, pool = new BytePool(), mask = allCauses } = {}) => {
  const clock = { atMs: startMs, nowMs: () => clock.atMs }
  const heard: string[] = []
  const wakes: number[] = []
  const reaction: { run: (key: string) => void } = { run: () => {} }
  const keyspace = new Keyspace({
    maxEntries,
    maxBytes,
    pool,
    clock,
    sink: {
      onEvent: ({ cause, key }) => {
        heard.push(`${causeNames[cause]} ${key}`)
        reaction.run(key)
      },
      onSettled() {}
    },
    wake: (atMs) => wakes.push(atMs)
  })
  keyspace.trie.add({ pattern: parsePattern("*") as Pattern, mask, priority: 0 })
  return { keyspace, clock, heard, wakes, reaction, pool }
}

const evictions = causeBit(Cause.evict) | causeBit(Cause.expire)
const fill = (keyspace: Keyspace, count: number) => {
  for (let n = 0; n < count; n++) keyspace.set(`k${n}`, "v")
}

describe("a lowered limit", () => {
  it("evicts nothing at once, and then, the least recently used first, as many as it is told to", () => {
    const { keyspace, heard, wakes } = opened({ mask: evictions })
    fill(keyspace, 6)
    keyspace.get("k0")
    keyspace.limit(2, 1_000_000)
    expect([keyspace.size, heard, wakes, keyspace.nextWakeMs()]).toEqual([6, [], [startMs], 0])
    expect(keyspace.advance(startMs, 3)).toBe(3)
    expect(heard).toEqual(["evict k1", "evict k2", "evict k3"])
    expect(keyspace.advance(startMs, 3)).toBe(1)
    expect([keyspace.size, keyspace.nextWakeMs(), keyspace.advance(startMs, 3)]).toEqual([
      2,
      Number.POSITIVE_INFINITY,
      0
    ])
    keyspace.checkInvariants()
  })

  it("lets nothing more in meanwhile than goes out", () => {
    const { keyspace, heard } = opened({ mask: evictions })
    fill(keyspace, 4)
    keyspace.limit(2, 1_000_000)
    keyspace.set("new", "v")
    expect([keyspace.size, heard]).toEqual([4, ["evict k0"]])
    keyspace.advance(startMs, 1)
    keyspace.set("newer", "v")
    expect([keyspace.size, heard]).toEqual([3, ["evict k0", "evict k1", "evict k2"]])
    keyspace.checkInvariants()
  })

  it("of bytes refuses what is too large for it from the start, and leaves the old value", () => {
    const { keyspace } = opened()
    keyspace.set("k", "v")
    keyspace.limit(100, entryBytes + 10)
    expect(keyspace.set("k", "w".repeat(20))).toBe(false)
    expect(keyspace.peek("k")?.value).toBe("v")
  })

  it("expires what is past its deadline, and does not evict it", () => {
    const { keyspace, clock, heard } = opened({ mask: evictions })
    keyspace.set("timed", "v", startMs + 5)
    fill(keyspace, 2)
    clock.atMs += 10
    keyspace.limit(1, 1_000_000)
    keyspace.advance(clock.atMs, 10)
    expect(heard).toEqual(["expire timed", "evict k0"])
  })

  it("that is raised again before all of it has happened leaves what is left", () => {
    const { keyspace } = opened()
    fill(keyspace, 6)
    keyspace.limit(2, 1_000_000)
    keyspace.advance(startMs, 1)
    keyspace.limit(10, 1_000_000)
    expect([keyspace.advance(startMs, 10), keyspace.size]).toEqual([0, 5])
    fill(keyspace, 12)
    expect(keyspace.size).toBe(10)
    keyspace.checkInvariants()
  })

  it("is kept where a reaction to an eviction writes", () => {
    const { keyspace, reaction } = opened({ mask: evictions })
    fill(keyspace, 8)
    reaction.run = (key) => void (key.length < 4 && keyspace.set(`${key}'`, "v"))
    keyspace.limit(3, 1_000_000)
    let work = 0
    while (keyspace.nextWakeMs() === 0) work += keyspace.advance(startMs, 4)
    expect(keyspace.size).toBe(3)
    expect(work).toBeLessThanOrEqual(8 * 3) // each comes back twice
    keyspace.checkInvariants()
  })

  it("is met by a flush from within a reaction as well", () => {
    const { keyspace, reaction } = opened({ mask: evictions })
    fill(keyspace, 8)
    reaction.run = () => void keyspace.flush()
    keyspace.limit(3, 1_000_000)
    expect([keyspace.advance(startMs, 100), keyspace.size]).toEqual([1, 0])
  })
})

describe("shrinking to some bytes", () => {
  it("happens once: the limits stay as they were", () => {
    const { keyspace } = opened()
    fill(keyspace, 10)
    const { bytes } = keyspace
    keyspace.shrinkTo(bytes / 2)
    keyspace.shrinkTo(bytes) // a higher goal does not take back the lower one
    while (keyspace.nextWakeMs() === 0) keyspace.advance(startMs, 2)
    expect(keyspace.size).toBe(5)
    fill(keyspace, 10)
    expect([keyspace.size, keyspace.bytes, keyspace.maxBytes]).toEqual([10, bytes, 1_000_000])
    keyspace.checkInvariants()
  })
})

describe("a closed keyspace", () => {
  it("is empty, says so once, and refuses every write", () => {
    const { keyspace, heard } = opened({ mask: causeBit(Cause.flush) | causeBit(Cause.write) })
    fill(keyspace, 2)
    keyspace.set("timed", "v", startMs + 5)
    keyspace.close()
    expect(heard.slice(3)).toEqual(["flush "])
    expect([keyspace.set("k", "v"), keyspace.set("", ""), keyspace.size, keyspace.bytes]).toEqual([false, false, 0, 0])
    expect(keyspace.nextWakeMs()).toBe(Number.POSITIVE_INFINITY)
  })
})

describe("a pool of bytes", () => {
  it(
    "is what its keyspaces hold together, whatever happens to them",
    async () => {
      await forAllSeeds(300, (random) => {
        const pool = new BytePool()
        const keyspaces = Array.from({ length: 3 }, () =>
          opened({ maxEntries: 8, maxBytes: 8 * (entryBytes + 8), pool })
        )
        for (let step = 0; step < 120; step++) {
          const { keyspace, clock } = keyspaces[random.below(3)] as (typeof keyspaces)[number]
          const key = `k${random.below(12)}`
          const act = random.below(12)
          if (act < 5) keyspace.set(key, "v".repeat(random.below(16)), random.below(2) * (clock.atMs + random.below(9)))
          else if (act === 5) keyspace.delete(key)
          else if (act === 6) keyspace.limit(1 + random.below(8), (1 + random.below(8)) * (entryBytes + 8))
          else if (act === 7) keyspace.shrinkTo(random.below(keyspace.bytes + 1))
          else if (act === 8) keyspace.get(key)
          else if (act === 9 && random.below(8) === 0) keyspace.flush()
          else {
            clock.atMs += random.below(4)
            keyspace.advance(clock.atMs, 1 + random.below(4))
          }
          for (const each of keyspaces) each.keyspace.checkInvariants()
          expect(pool.bytes).toBe(keyspaces.reduce((sum, each) => sum + each.keyspace.bytes, 0))
        }
        for (const { keyspace, clock } of keyspaces) {
          while (keyspace.nextWakeMs() <= clock.atMs) keyspace.advance(clock.atMs, 3)
          expect(keyspace.size).toBeLessThanOrEqual(keyspace.maxEntries)
          expect(keyspace.bytes).toBeLessThanOrEqual(keyspace.maxBytes)
        }
      })
    },
    propertyTimeoutMs
  )

  it("sounds its alarm with each write that leaves it above the mark, before the reactions to it", () => {
    let alarms = 0
    const pool = new BytePool(2 * (entryBytes + 3), () => alarms++)
    const { keyspace, reaction } = opened({ pool, mask: causeBit(Cause.write) })
    const seen: number[] = []
    reaction.run = () => void seen.push(alarms)
    fill(keyspace, 4)
    expect(seen).toEqual([0, 0, 1, 2])
  })
})
