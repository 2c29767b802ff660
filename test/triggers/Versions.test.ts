/** Live upgrade: versions, rollback, disabling, shadows, options, and dry runs on what has happened. */
import { describe, expect, it } from "vitest"
import { Cause } from "../../src/kernel/index.ts"
import { DryRunner } from "../../src/triggers/DryRun.ts"
import { dryRunOnHistory, type HistoryRun, historyFuel } from "../../src/triggers/History.ts"
import { describe as shown } from "../../src/triggers/Trigger.ts"
import {
  HistoryOff,
  NoShadow,
  TriggerNotFound,
  TriggerSyntaxError,
  VersionNotFound
} from "../../src/triggers/TriggerError.ts"
import type { TriggerHistory } from "../../src/triggers/TriggerRegistry.ts"
import { type Engine, fill, makeEngine } from "../support/Engine.ts"

const says = (text: string | number) => `cache.emit("x", "${text}")`
const heard = ({ emits }: Engine) => emits.splice(0).map(({ payload }) => payload)

const withVersions = (count: number) => {
  const engine = makeEngine()
  for (let i = 1; i <= count; i++) {
    engine.clock.ms += 1
    engine.trigger({ name: "t", source: says(i) })
  }
  const fire = () => {
    engine.keyspace.set("k", "v")
    return heard(engine)
  }
  const kept = () => (engine.registry.history("t") as TriggerHistory).versions.map(({ version }) => version)
  return { ...engine, fire, kept }
}

describe("versions", () => {
  it("the last five are kept, with their numbers and times", () => {
    const { registry, kept } = withVersions(7)
    expect(kept()).toEqual([3, 4, 5, 6, 7])
    const { live, versions } = registry.history("t") as TriggerHistory
    expect([live, versions[0]?.registeredAtMs, versions[0]?.definition.source]).toEqual([7, 1_000_003, says(3)])
  })

  it("the one before runs again after a rollback, and the one before that after another", () => {
    const { registry, fire, kept } = withVersions(3)
    expect(fire()).toEqual(["3"])
    registry.rollback("t", null)
    expect(fire()).toEqual(["2"])
    registry.rollback("t", null)
    expect(fire()).toEqual(["1"])
    expect(registry.rollback("t", null)).toBeInstanceOf(VersionNotFound)
    registry.rollback("t", 3)
    expect([fire(), kept()]).toEqual([["3"], [1, 2, 3]])
  })

  it("a rolled back trigger has the time of its version, and what is set next the next number", () => {
    const { registry, trigger } = withVersions(2)
    registry.rollback("t", 1)
    expect(registry.get("t")).toMatchObject({ version: 1, registeredAtMs: 1_000_001 })
    expect(trigger({ name: "t", source: "return" }).version).toBe(3)
  })

  it("are none for what is the same in every field: nothing changes, but it is let out of quarantine", () => {
    const { registry, trigger, fire, kept } = withVersions(2)
    const same = { name: "t", source: says(2) }
    const live = registry.get("t")
    registry.shadow("t", { source: says("shadow") })
    live?.quarantine.failed("killed", 0)
    for (let i = 0; i < 10; i++) live?.quarantine.failed("killed", i)
    expect(live?.quarantine.reason).not.toBeNull()
    expect(trigger(same)).toBe(live)
    expect([kept(), live?.quarantine.reason, live?.shadow?.definition.source, fire()]).toEqual([
      [1, 2],
      null,
      says("shadow"),
      ["2"]
    ])
    for (const other of [
      { priority: 1 },
      { pattern: "k" },
      { events: ["ON_WRITE", "ON_READ"] },
      { isEnabled: false }
    ]) {
      const before = registry.get("t")
      expect(trigger({ ...same, ...(other as { priority: number }) })).not.toBe(before)
    }
    expect(kept()).toEqual([2, 3, 4, 5, 6])
    registry.rollback("t", 2)
    expect(trigger(same).version).toBe(2)
  })

  it("are none for a shadow that is the same as the live one; it is gone when it is promoted", () => {
    const { registry, kept } = withVersions(1)
    registry.shadow("t", { source: says(1) })
    expect([registry.promote("t"), registry.get("t")?.shadow, kept()]).toEqual([registry.get("t"), null, [1]])
  })

  it("that are not kept, and names that are not there, are refused in words", () => {
    const { registry } = withVersions(2)
    expect((registry.rollback("t", 9) as Error).message).toBe("trigger 't' has no version 9; there are 1, 2")
    expect(registry.rollback("none", null)).toBeInstanceOf(TriggerNotFound)
    expect(registry.history("none")).toBeInstanceOf(TriggerNotFound)
  })

  it("a source that does not compile leaves the one in place, and makes no version", () => {
    const { registry, fire, kept } = withVersions(1)
    expect(registry.set({ name: "t", pattern: "*", events: ["ON_WRITE"], source: "return (" })).toBeInstanceOf(
      TriggerSyntaxError
    )
    expect([fire(), kept()]).toEqual([["1"], [1]])
  })

  it("come back from what was saved, with the one that ran", () => {
    const before = withVersions(3)
    before.registry.rollback("t", 2)
    const engine = makeEngine()
    for (const history of before.registry.histories()) engine.registry.restore(history)
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["2"])
    expect(engine.registry.history("t")).toEqual(before.registry.history("t"))
    expect(engine.registry.get("t")?.registeredAtMs).toBe(1_000_002)
  })
})

describe("a disabled trigger", () => {
  it("runs on nothing, keeps its turn, and runs again when it is enabled", () => {
    const engine = makeEngine()
    for (const name of ["a", "b"]) engine.trigger({ name, source: says(name) })
    engine.registry.enable("a", false)
    engine.keyspace.set("k", "v")
    expect([heard(engine), engine.log.total]).toEqual([["b"], 0])
    expect(engine.registry.histories()[0]?.versions[0]?.definition.isEnabled).toBe(false)
    engine.registry.enable("a", true)
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["a", "b"])
  })

  it("has no event built for it", () => {
    const engine = makeEngine()
    engine.trigger({ name: "a", source: says("a") })
    engine.registry.enable("a", false)
    expect(engine.keyspace.trie.mask & (1 << Cause.write)).toBe(0)
  })
})

describe("a shadow", () => {
  const shadowed = (source: string, live = 'cache.set("copy", event.value)') => {
    const engine = makeEngine({ fuelMax: 20_000 })
    engine.trigger({ name: "t", pattern: "k", source: live })
    engine.registry.shadow("t", { source })
    return engine
  }

  it("runs on the same events, finds the same state, and changes and sends nothing", () => {
    const engine = shadowed('cache.set("shadow", cache.get("copy") or "none") cache.emit("x", 1) cache.log("l")')
    engine.keyspace.set("k", "v")
    engine.keyspace.set("k", "w")
    expect([engine.keyspace.peek("shadow"), engine.keyspace.peek("copy")?.value]).toEqual([undefined, "w"])
    expect([engine.emits, engine.lines]).toEqual([[], []])
    const trigger = engine.registry.get("t")
    expect(trigger && shown(trigger)).toMatchObject({
      runs: 2,
      writes: 2,
      emits: 0,
      shadow: { runs: 2, writes: 2, emits: 2, logs: 2 }
    })
    expect(engine.runner.counters).toMatchObject({ runs: 2, shadowRuns: 2 })
  })

  it("that fails is recorded under its own name, and takes nothing of the live one's budget", () => {
    const engine = shadowed("while true do end")
    for (let i = 0; i < 3; i++) engine.keyspace.set("k", i)
    expect(engine.log.recent(1)[0]).toMatchObject({ trigger: "t~shadow", kind: "timeout" })
    expect(engine.registry.get("t")?.stats.runs).toBe(3)
    expect(engine.runner.counters.failuresOf.timeout).toBe(0)
  })

  it("takes the live one's place when it is promoted, as its next version, and is gone when it is dropped", () => {
    const engine = shadowed(says("new"), says("old"))
    expect(engine.registry.promote("t")).toMatchObject({ version: 2, shadow: null })
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["new"])
    expect([engine.registry.dropShadow("t"), engine.registry.promote("t")]).toEqual([false, expect.any(NoShadow)])
  })
})

describe("options", () => {
  it("WHEN CHANGED leaves out writes of the value that is there", () => {
    const engine = makeEngine()
    engine.trigger({ whenChanged: true, source: "cache.emit('x', event.value)" })
    for (const value of ["a", "a", "b"]) engine.keyspace.set("k", value)
    expect([heard(engine), engine.log.total]).toEqual([["a", "b"], 0])
  })

  it("SAMPLE runs on the first of so many, and counts the others in one record", () => {
    const engine = makeEngine()
    const { stats } = engine.trigger({ sample: 4, source: "cache.emit('x', event.value)" })
    for (let i = 0; i < 10; i++) engine.keyspace.set("k", `${i}`)
    expect([heard(engine), stats.skips.sampled]).toEqual([["0", "4", "8"], 7])
    expect(engine.log.recent(9)).toMatchObject([{ kind: "skipped:sampled", count: 7 }])
  })

  it("INCLUDE fill and INCLUDE flush bring events that are otherwise left out", () => {
    const engine = makeEngine()
    engine.trigger({
      events: ["ON_WRITE", "ON_DELETE"],
      includeFill: true,
      includeFlush: true,
      source: "cache.emit('x', event.type .. ' ' .. event.cause .. ' ' .. event.key)"
    })
    engine.trigger({ events: ["ON_FLUSH"], source: "cache.emit('x', event.type .. ' ' .. event.count)" })
    fill(engine.keyspace, "a", "v")
    engine.keyspace.set("b", "v")
    engine.keyspace.flush()
    expect(heard(engine)).toEqual([
      "ON_WRITE fill a",
      "ON_WRITE write b",
      "ON_DELETE flush a",
      "ON_DELETE flush b",
      "ON_FLUSH 2"
    ])
  })

  it("SCOPE local leaves out what another instance did", () => {
    const engine = makeEngine()
    engine.trigger({ name: "local", events: ["ON_DELETE"], scope: "local", source: says("local") })
    engine.trigger({ name: "all", events: ["ON_DELETE"], source: 'cache.emit("x", event.origin)' })
    for (const peer of [undefined, "other"]) {
      engine.keyspace.set("k", "v")
      engine.keyspace.origin = peer === undefined ? null : { depth: 0, peer }
      engine.keyspace.delete("k", Cause.invalidate)
      engine.keyspace.origin = null
    }
    expect(heard(engine)).toEqual(["local", "boot", "other"])
  })

  it("ISOLATE has globals end with their run", () => {
    const engine = makeEngine()
    engine.trigger({ isolate: true, source: "n = (n or 0) + 1 cache.emit('x', n)" })
    for (let i = 0; i < 3; i++) engine.keyspace.set("k", i)
    expect(heard(engine)).toEqual(["1", "1", "1"])
  })

  it("other globs match, and are shown as slower", () => {
    const engine = makeEngine()
    const trigger = engine.trigger({ pattern: "user:*:cart", source: "cache.emit('x', event.key)" })
    for (const key of ["user:1:cart", "user:1:name"]) engine.keyspace.set(key, "v")
    expect([heard(engine), shown(trigger).isSlower]).toEqual([["user:1:cart"], true])
  })
})

describe("a dry run on history", () => {
  const happened = () => {
    const engine = makeEngine()
    engine.keyspace.log.open(100)
    for (const [key, value] of [
      ["order:1", "10"],
      ["other", "1"],
      ["order:2", "200"]
    ] as const) {
      engine.keyspace.set(key, value)
    }
    engine.keyspace.delete("order:1")
    const options = { keyspace: engine.keyspace, origin: "boot", nowMs: engine.clock.nowMs, monotonicMs: () => 0 }
    return { engine, dryRunner: new DryRunner(options) }
  }
  const limits = { name: "t", timeoutUs: 1000, memoryBytes: 65_536 }
  const large = 'if tonumber(event.value) > 100 then cache.set("large", event.key) cache.emit("x", event.key) end'

  it("runs on the events that are the trigger's, sums up, and does nothing", () => {
    const { engine, dryRunner } = happened()
    const candidate = { ...limits, source: large, pattern: "order:*", events: ["ON_WRITE" as const] }
    const report = dryRunOnHistory(engine.keyspace, dryRunner, candidate, null, 100)
    expect(report).toMatchObject({
      events: 4,
      matched: 2,
      sum: { ok: 2, failed: 0, writes: 1, emits: 1, deletes: 0 },
      current: null,
      runs: [
        { key: "order:1", event: "ON_WRITE", sequence: 1, report: { writes: [] } },
        { key: "order:2", sequence: 3, report: { writes: [{ key: "large", value: "order:2" }] } }
      ]
    })
    expect([engine.keyspace.peek("large"), engine.emits]).toEqual([undefined, []])
  })

  it("shows where the running version would do something else", () => {
    const { engine, dryRunner } = happened()
    const events = ["ON_WRITE" as const]
    const candidate = { ...limits, source: large.replace("100", "5"), pattern: "order:*", events }
    const report = dryRunOnHistory(engine.keyspace, dryRunner, candidate, { ...limits, source: large }, 100)
    if ("_tag" in report) throw report
    expect(report.runs.map(({ key, current }) => [key, current?.writes.length])).toEqual([
      ["order:1", 0],
      ["order:2", undefined]
    ])
    expect([report.sum.writes, report.current?.writes]).toEqual([2, 1])
  })

  it("says that there is no history where no events are kept", () => {
    const { engine, dryRunner } = happened()
    engine.keyspace.log.close()
    const refused = dryRunOnHistory(engine.keyspace, dryRunner, { ...limits, source: "return" }, null, 2)
    expect(refused).toBeInstanceOf(HistoryOff)
    expect((refused as HistoryOff).message).toContain(
      "no events are kept to run it on; give the library's setting eventLog"
    )
  })

  it("takes the last events, and says what is no Lua", () => {
    const { engine, dryRunner } = happened()
    expect(dryRunOnHistory(engine.keyspace, dryRunner, { ...limits, source: "return" }, null, 2)).toMatchObject({
      events: 2,
      matched: 2
    })
    const broken = { ...limits, source: "return (" }
    expect(dryRunOnHistory(engine.keyspace, dryRunner, broken, null, 2)).toBeInstanceOf(TriggerSyntaxError)
  })

  describe("is bounded", () => {
    /** As many writes as a server's log keeps. */
    const thousand = () => {
      const { engine, dryRunner } = happened()
      const onAll = (source: string, current: string | null = null) => {
        const other = current === null ? null : { ...limits, source: current }
        const report = dryRunOnHistory(engine.keyspace, dryRunner, { ...limits, source }, other, 1_000)
        if ("_tag" in report) throw report
        return report
      }
      engine.keyspace.log.open(1_000)
      for (let i = 0; i < 1_000; i++) engine.keyspace.set(`k${i}`, "v")
      return onAll
    }

    it("by fuel over all runs, of which the newest events have the first share", () => {
      const { runs, matched, events, sum, cut } = thousand()("while true do end")
      expect([events, matched, runs.length + cut.runs, sum.failed]).toEqual([1_000, 1_000, 1_000, runs.length])
      expect(runs.at(-1)?.key).toBe("k999")
      expect(runs[0]?.key).toBe(`k${cut.runs}`)
      expect(sum.fuel).toBeGreaterThan(historyFuel - 300_000)
      expect(sum.fuel).toBeLessThan(historyFuel + 300_000)
    })

    it("together with those of the running version, so that both have run on the same events", () => {
      const onAll = thousand()
      const alone = onAll("while true do end")
      const { runs, sum, current, cut } = onAll("while true do end", "while true do end")
      expect([sum.failed, current?.failed, runs.length + cut.runs]).toEqual([runs.length, runs.length, 1_000])
      expect(Math.abs(alone.runs.length / 2 - runs.length)).toBeLessThanOrEqual(1)
    })

    it("and has room for a thousand events of two versions that do what triggers do", () => {
      const { runs, cut, current } = thousand()('cache.emit("x", event.value)', 'cache.set("y", event.value)')
      expect([runs.length, cut, current?.writes]).toEqual([1_000, { runs: 0, changes: 0 }, 1_000])
    })

    it("by 20 changes and effects a run that are listed, all of which are counted", () => {
      const source = 'for i = 1, 15 do cache.set("k" .. i, 1) cache.emit("x", i) end'
      const { runs, sum, cut } = thousand()(source)
      const [{ report }] = runs as [HistoryRun]
      expect([report.writes.length, report.emits.length, report.unlisted]).toEqual([15, 5, 10])
      expect(sum).toMatchObject({ ok: runs.length, writes: runs.length * 15, emits: runs.length * 15 })
      expect(cut.changes).toBe(runs.length * 10)
    })

    it("by 1 MiB of what all runs list, results included", () => {
      const onAll = thousand()
      const { runs, cut } = onAll('cache.emit("x", string.rep("y", 30000))')
      const listed = runs.filter(({ report }) => report.emits.length === 1)
      expect([listed.length, listed[0]?.key, cut.changes]).toEqual([34, "k966", runs.length - 34])
      const results = onAll('return string.rep("y", 30000)').runs.filter(({ report }) => report.result !== null)
      expect(results.length).toBe(34)
    })

    it("in the length of a key and of an error", () => {
      const { engine, dryRunner } = happened()
      engine.keyspace.set("k".repeat(1_000), "v")
      const candidate = { ...limits, source: 'error(string.rep("e", 10000))' }
      const report = dryRunOnHistory(engine.keyspace, dryRunner, candidate, null, 1)
      if ("_tag" in report) throw report
      expect([report.runs[0]?.key.length, report.runs[0]?.report.error?.length]).toEqual([256, 512])
    })

    it("and finds that two versions differ in what is not listed", () => {
      const many = (last: string) => `for i = 1, 30 do cache.emit("x", i) end cache.emit("x", "${last}")`
      const onAll = thousand()
      expect(onAll(many("a"), many("b")).runs.every(({ current }) => current !== null)).toBe(true)
      expect(onAll(many("a"), many("a")).runs.every(({ current }) => current === null)).toBe(true)
    })
  })
})
