/** A trigger that fails too often is taken out, probed with back-off, and comes back. */
import { describe, expect, it } from "vitest"
import { intensityDefault, Quarantine } from "../../src/triggers/Quarantine.ts"
import type { FailureKind } from "../../src/triggers/TriggerStats.ts"
import { fill, makeEngine } from "../support/Engine.ts"

const failing = (kind: FailureKind, times: number, atMs = 0, quarantine = new Quarantine(intensityDefault)) => {
  for (let i = 0; i < times; i++) quarantine.failed(kind, atMs)
  return quarantine
}

describe("the intensity", () => {
  it.each([
    ["killed", 5],
    ["timeout", 20],
    ["error", 100],
    ["memory", 100]
  ] as const)("is exceeded by more failures of kind %s than %i within ten seconds", (kind, max) => {
    expect(failing(kind, max).reason).toBe(null)
    expect(failing(kind, max + 1).reason).toMatch(/within 10 s; it is probed by itself/)
    const spread = failing(kind, max)
    spread.failed(kind, 10_001)
    expect(spread.reason).toBe(null)
  })

  it("does not count what another trigger refused", () => {
    expect(failing("rejected", 1000).reason).toBe(null)
  })
})

describe("a probe", () => {
  it("is let through after a second, then after twice the time of the last one, up to five minutes", () => {
    const quarantine = failing("killed", 6)
    const waits: number[] = []
    for (let atMs = 0; waits.length < 10; ) {
      waits.push(quarantine.probeAtMs - atMs)
      expect([quarantine.admits(quarantine.probeAtMs - 1), quarantine.admits(quarantine.probeAtMs)]).toEqual([
        false,
        true
      ])
      atMs = quarantine.probeAtMs
      quarantine.failed("killed", atMs)
    }
    expect(waits.map((ms) => ms / 1000)).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300])
  })

  it("that ends well brings it back with a clean record; if it fails again at once, the waiting goes on", () => {
    const quarantine = failing("killed", 6)
    quarantine.succeeded(1_000)
    expect(quarantine.reason).toBe(null)
    failing("killed", 5, 1_001, quarantine)
    expect(quarantine.reason).toBe(null)
    quarantine.failed("killed", 1_001)
    expect(quarantine.probeAtMs).toBe(3_001)
    quarantine.succeeded(3_001)
    failing("killed", 6, 20_000, quarantine)
    expect(quarantine.probeAtMs).toBe(21_000)
  })
})

describe("a quarantined trigger", () => {
  const withFailing = () => {
    const engine = makeEngine({ fuelMax: 5_000 })
    engine.trigger({
      name: "t",
      source: 'if cache.get("broken") then xpcall(error, function() while true do end end) end cache.emit("x", 1)'
    })
    fill(engine.keyspace, "broken", 1)
    for (let i = 0; i < 6; i++) engine.keyspace.set("k", i)
    return engine
  }

  it("is probed by one event, and comes back when what it failed over is gone", () => {
    const engine = withFailing()
    const { stats, quarantine } = engine.registry.get("t") ?? {}
    engine.clock.ms += 999
    engine.keyspace.set("k", 1)
    expect([stats?.runs, stats?.skips.quarantined]).toEqual([6, 1])
    engine.clock.ms += 1
    engine.keyspace.set("k", 2)
    engine.keyspace.set("k", 3)
    expect([stats?.runs, stats?.skips.quarantined]).toEqual([7, 2])
    engine.keyspace.delete("broken")
    engine.clock.ms += 2_000
    engine.keyspace.set("k", 4)
    engine.keyspace.set("k", 5)
    expect([quarantine?.reason, stats?.runs, engine.emits.length]).toEqual([null, 9, 2])
  })

  it("runs again at once after TRIGGER ENABLE", () => {
    const engine = withFailing()
    engine.keyspace.delete("broken")
    engine.registry.enable("t", true)
    engine.keyspace.set("k", 1)
    expect(engine.emits.length).toBe(1)
  })

  it("has one record a second of all that it did not run on", () => {
    const engine = withFailing()
    for (let i = 0; i < 500; i++) engine.keyspace.set("k", i)
    const [skipped, killed] = engine.log.recent(2)
    expect([skipped?.kind, skipped?.count, killed?.kind]).toEqual(["skipped:quarantined", 500, "killed"])
  })
})
