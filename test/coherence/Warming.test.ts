import { describe, expect, it } from "vitest"
import { Op, RecordFlag } from "../../src/coherence/protocol/Frame.ts"
import { Warming, type WarmingSettings } from "../../src/coherence/Warming.ts"
import { EntrySource } from "../../src/kernel/Keyspace.ts"
import { noMeta } from "../../src/kernel/Value.ts"
import { ground } from "./Ground.ts"
import { gainedPerFetch, runTrace } from "./warmingTrace.ts"

const writer = 2

/** One instance that reads, and one that is asked for nothing until the test answers. */
const scene = (settings: Partial<WarmingSettings> = {}) => {
  const { entries, clock, share, instance, hashOf } = ground(1)
  const { keyspace } = share("", { maxEntries: 3 })
  const asked: Array<{ readonly key: string; readonly answer: (value?: string) => void }> = []
  const later: Array<{ readonly atMs: number; readonly action: () => void }> = []
  const bring = (key: string, done: () => void) => {
    const lease = keyspace.lease(key)
    asked.push({
      key,
      answer: (value) => {
        lease.stamp = instance.lamport
        lease.writer = writer
        if (value === undefined) keyspace.endLease(lease)
        else keyspace.fill(lease, value, 0, noMeta, EntrySource.copied)
        done()
      }
    })
  }
  const warming = new Warming(
    {
      nowMs: clock.nowMs,
      after: (ms, action) => later.push({ atMs: clock.atMs + ms, action }),
      fill: (_, key, done) => bring(key, done)
    },
    { mode: "always", ...settings }
  )
  entries.watch(warming)
  /** Time goes by. */
  const pass = (ms = 0) => {
    clock.atMs += ms
    for (const due of later.splice(0)) {
      if (due.atMs <= clock.atMs) due.action()
      else later.push(due)
    }
  }
  return {
    ...{ warming, keyspace, clock, asked, pass, entries, hashOf },
    /** Another instance writes. */
    write: (key: string, flags = 0) => entries.apply(Op.key, hashOf(key), ++instance.lamport, writer, flags),
    /** A client reads: what is not here comes at once. */
    read: (key: string, value = "v") => {
      if (keyspace.get(key) === undefined) {
        bring(key, () => {})
        asked.pop()?.answer(value)
      }
    },
    keys: () => asked.map(({ key }) => key)
  }
}

describe("warming", () => {
  it("fetches what a peer's write has taken away, once, after the records of the frame were applied", () => {
    const { read, write, pass, asked, keys, keyspace, warming } = scene()
    read("a")
    write("a")
    expect(keys()).toEqual([])
    pass()
    expect(keys()).toEqual(["a"])
    asked.shift()?.answer("new")
    expect(keyspace.peek("a")?.value).toBe("new")
    expect(warming.stats).toMatchObject({ considered: 1, fetched: 1, empty: 0, bytes: keyspace.peek("a")?.bytes })
  })

  it("leaves alone what was removed, and what was not here", () => {
    const { read, write, pass, keys } = scene()
    read("a")
    write("a", RecordFlag.gone)
    write("b")
    pass()
    expect(keys()).toEqual([])
  })

  it("counts a fetched entry as gained where it is read before it goes, else as wasted", () => {
    const { read, write, pass, asked, warming, keyspace } = scene()
    const warm = (key: string) => {
      write(key)
      pass()
      asked.shift()?.answer("v")
    }
    read("a")
    warm("a")
    read("a")
    read("a")
    warm("a")
    expect([warming.stats.gained, warming.stats.wasted]).toEqual([1, 0])
    keyspace.delete("a")
    expect([warming.stats.gained, warming.stats.wasted]).toEqual([1, 1])
    read("b")
    warm("b")
    for (const key of ["c", "d", "e"]) read(key) // no room for b
    expect([warming.stats.gained, warming.stats.wasted]).toEqual([1, 2])
  })

  it("fetches again what is written again while it is on its way", () => {
    const { read, write, pass, asked, keyspace, warming, keys } = scene()
    read("a")
    write("a")
    pass()
    write("a")
    asked.shift()?.answer("old") // the lease is revoked: not stored
    expect(keyspace.peek("a")).toBeUndefined()
    pass()
    expect(keys()).toEqual(["a"])
    asked.shift()?.answer("new")
    expect(keyspace.peek("a")?.value).toBe("new")
    expect(warming.stats).toMatchObject({ fetched: 2, empty: 1 })
  })

  it("lets go what came by itself before its turn, and what has waited for longer than the horizon", () => {
    const { read, write, pass, keys, warming, asked } = scene({ fetchesMax: 1, horizonMs: 1_000 })
    for (const key of ["a", "b", "c"]) read(key)
    for (const key of ["a", "b", "c"]) write(key)
    pass()
    expect(keys()).toHaveLength(1)
    const [left] = ["a", "b", "c"].filter((key) => key !== asked[0]?.key)
    read(left as string)
    pass(1_001)
    asked.shift()?.answer("v")
    pass()
    expect(warming.stats).toMatchObject({ fetched: 1, overtaken: 0, overBudget: 2 })
  })

  it("keeps to its bytes a second, and to so many fetches at once", () => {
    const { read, write, pass, keys, asked, keyspace } = scene({
      bytesPerSecond: 1_000,
      fetchesMax: 2,
      horizonMs: 60_000
    })
    for (const key of ["a", "b", "c"]) read(key, "v".repeat(1_000))
    const { bytes } = keyspace.peek("a") as { bytes: number }
    expect(bytes).toBeGreaterThan(1_000)
    for (const key of ["a", "b", "c"]) write(key)
    pass()
    expect(keys()).toHaveLength(1) // the first takes all that there was to spare, and more
    asked.shift()?.answer("v".repeat(1_000))
    pass(bytes - 1_001)
    expect(keys()).toHaveLength(0)
    pass(1_000)
    expect(keys()).toHaveLength(1)
  })

  it("takes the one with the highest chance a byte first", () => {
    const { read, write, pass, keys, clock, warming } = scene({ mode: "likely", chanceMin: 0.01, fetchesMax: 1 })
    for (const key of ["rare", "often", "large"]) read(key, key === "large" ? "v".repeat(10_000) : "v")
    clock.atMs += 1_000
    read("rare")
    for (let n = 0; n < 20; n++) for (const key of ["often", "large"]) read(key)
    for (const key of ["rare", "often", "large"]) write(key)
    pass()
    expect(keys()).toEqual(["often"])
    expect(warming.stats.unlikely).toBe(0)
  })

  it("fetches in the mode 'likely' only what is read much, and says why", () => {
    const { read, write, pass, keys, clock, warming, hashOf } = scene({ mode: "likely" })
    for (const key of ["rare", "often"]) read(key)
    clock.atMs += 10_000
    for (let n = 0; n < 20; n++) read("often")
    for (const key of ["rare", "often"]) write(key)
    pass()
    expect(keys()).toEqual(["often"])
    expect(warming.stats).toMatchObject({ considered: 2, unlikely: 1, fetched: 1 })
    expect(warming.explain(hashOf("often"))).toBe(
      "after a write elsewhere: a chance of 0.86 to be read within 1000 ms (fetched from 0.5 on: yes); 2.00 reads a second, read after 0.0 of 0.0 writes"
    )
    expect(warming.explain(hashOf("rare"))).toContain("fetched from 0.5 on: no")
    expect(warming.explain(hashOf("other"))).toContain("not estimated")
  })

  it("keeps the best of more candidates than there is room for", () => {
    const { entries, clock, share, instance, hashOf } = ground(1)
    const { keyspace } = share("", { maxEntries: 1_000 })
    const fetched: string[] = []
    const actions: Array<() => void> = []
    const warming = new Warming(
      { nowMs: clock.nowMs, after: (_, action) => actions.push(action), fill: (_, key) => fetched.push(key) },
      { mode: "always", candidatesMax: 10, fetchesMax: 1_000 }
    )
    entries.watch(warming)
    for (let n = 0; n < 100; n++) keyspace.set(`k${n}`, "v")
    for (let n = 0; n < 100; n++) entries.apply(Op.key, hashOf(`k${n}`), instance.lamport + 100, writer, 0)
    for (const action of actions.splice(0)) action()
    expect(fetched).toHaveLength(10)
    expect(warming.stats).toMatchObject({ considered: 100, fetched: 10, overBudget: 90 })
  })
})

describe("on a trace of Zipf reads with hot and cold keys written", () => {
  const trace = { seconds: 60, keys: 5_000 }
  const never = runTrace("never", trace)
  const likely = runTrace("likely", trace)
  const always = runTrace("always", trace)

  it("'likely' gains more a fetch than 'always', and misses less than 'never'", () => {
    expect(never.fetched).toBe(0)
    expect(gainedPerFetch(likely)).toBeGreaterThan(1.5 * gainedPerFetch(always))
    expect(likely.misses).toBeLessThan(0.9 * never.misses)
    expect(always.misses).toBeLessThan(likely.misses)
  })

  it("'likely' costs little more than the misses that it saves, where 'always' costs twice as many", () => {
    const more = (outcome: typeof likely) => outcome.misses + outcome.fetched - never.misses
    expect(more(likely)).toBeLessThan(0.3 * likely.fetched)
    expect(more(always)).toBeGreaterThan(2 * more(likely))
  })

  it("'likely' fetches hardly anything where nobody reads what is written", () => {
    const cold = runTrace("likely", { ...trace, hotShare: 0, keys: 20_000 })
    expect(cold.stats.considered).toBeGreaterThan(1_000)
    expect(cold.fetched).toBeLessThan(0.1 * cold.stats.considered)
  })

  it("is the same each time", () => {
    expect(runTrace("likely", trace)).toEqual(likely)
  })
})
