/** `cache.warm`: which keys a run may have loaded anew, when that happens, and what becomes of those that nobody loads. */
import { describe, expect, it } from "vitest"
import { Fills, type Load, loaderOf } from "../../src/cache/index.ts"
import { Cause } from "../../src/kernel/index.ts"
import type { CascadeLimits } from "../../src/triggers/Cascade.ts"
import { DryRunner } from "../../src/triggers/DryRun.ts"
import { type Engine, makeEngine, told } from "../support/Engine.ts"

/** An engine whose keys `k…` are loaded; `order` has what was loaded, and when operations were over. */
const open = (load: Load = ({ key }) => `new ${key}`, cascade: Partial<CascadeLimits> = {}) => {
  const fills = new Fills({ nowMs: () => 1_000_000 })
  const engine = makeEngine({ ports: { warming: fills }, cascade })
  const loaded: string[] = []
  const loader = loaderOf((request) => {
    loaded.push(request.key)
    return load(request)
  })
  if (!("load" in loader)) throw loader
  fills.register(engine.keyspace, "k*", loader)
  return { ...engine, fills, loaded }
}

const run = (engine: Engine, source: string): string => {
  engine.trigger({ name: "t", pattern: "go", source, timeoutUs: 1000 })
  engine.keyspace.set("go", "v")
  return engine.log.recent(1)[0]?.message ?? "ok"
}

const turn = () => new Promise(setImmediate)

describe("cache.warm", () => {
  it("invalidates what is here once the operation is over, and has each key loaded once", async () => {
    const engine = open()
    const { keyspace, loaded } = engine
    keyspace.set("k1", "old")
    engine.trigger({
      name: "told",
      pattern: "k*",
      events: ["ON_DELETE"],
      source: 'cache.emit("x", event.cause .. " " .. event.key .. " " .. event.depth .. " " .. event.path[1])'
    })
    const source = 'cache.warm("k1") cache.warm({ "k2", "k1", "k3" }) cache.set("after", cache.get("k1"))'
    expect(run(engine, source)).toBe("ok")
    expect(keyspace.peek("after")?.value).toBe("old") // it is invalidated behind what the run changes
    expect(engine.emits.map(({ payload }) => payload)).toEqual(["invalidate k1 1 t"])
    expect(loaded).toEqual(["k1", "k2", "k3"])
    await turn()
    expect(["k1", "k2", "k3"].map((key) => keyspace.peek(key)?.value)).toEqual(["new k1", "new k2", "new k3"])
    expect(engine.registry.get("t")?.stats.warms).toBe(3)
  })

  it("takes keys that are bytes, and none at all", async () => {
    const engine = open()
    expect(run(engine, 'cache.warm({}) cache.warm("k\\xff") cache.warm({ "k\\xfe" })')).toBe("ok")
    await turn()
    expect([engine.keyspace.peek("k\xff"), engine.keyspace.peek("k\xfe")]).not.toContain(undefined)
  })

  it("does nothing when the run fails", () => {
    const engine = open()
    engine.keyspace.set("k1", "stays")
    expect(run(engine, 'cache.warm("k1") error("no")')).toContain("no")
    expect([engine.keyspace.peek("k1")?.value, engine.loaded]).toEqual(["stays", []])
  })

  it.each([
    ["cache.warm()", "cache.warm takes a key (a string), or a list of keys"],
    ["cache.warm(true)", "cache.warm takes a key (a string), or a list of keys"],
    ["cache.warm({ 1, 2 })", "cache.warm takes a key (a string), or a list of keys"],
    ['cache.warm({ tag = "t" })', "cannot find keys by { tag = … } in this version: give it a key, or a list of keys"],
    ['cache.warm({ dependents = "k" })', "cannot find keys by { dependents = … } in this version"]
  ])("%s is refused", (source, words) => {
    expect(run(open(), source)).toContain(words)
  })

  it("is not for BEFORE_ triggers", () => {
    const engine = open()
    engine.trigger({ name: "b", pattern: "go", events: ["BEFORE_WRITE"], source: 'cache.warm("k")' })
    engine.keyspace.set("go", "v")
    expect(engine.log.recent(1)[0]?.message).toContain("cache.warm is not for BEFORE_ triggers")
  })

  it("leaves a key that nobody loads as it is, and says so in one record", () => {
    const engine = open()
    engine.keyspace.set("x1", "stays")
    expect(run(engine, 'cache.warm({ "x1", "k1", "x2" })')).toBe(
      "'x1' and 1 more: no loader is registered for it: see cache.loader"
    )
    expect(engine.log.recent(9)).toMatchObject([{ kind: "refused:warm", trigger: "t", key: "go", count: 2 }])
    expect([engine.keyspace.peek("x1")?.value, engine.loaded]).toEqual(["stays", ["k1"]])
    expect(engine.runner.counters.effects.warmsRefused).toBe(2)
  })

  it("has a load that fails in the records of the trigger that wanted it", async () => {
    const engine = open(() => Promise.reject(new Error("no such host")))
    expect(run(engine, 'cache.warm("k1")')).toBe("ok")
    await turn()
    expect(engine.log.recent(9)).toMatchObject([
      { kind: "failed:warm", trigger: "t", message: "the load of 'k1' has failed: no such host" }
    ])
  })

  it("cannot go round in circles: what it invalidates is part of the cascade that it came of", async () => {
    const engine = open()
    const { keyspace, loaded } = engine
    engine.trigger({ name: "w", pattern: "k*", events: ["ON_WRITE"], source: "cache.warm(event.key)" })
    engine.trigger({ name: "d", pattern: "k*", events: ["ON_DELETE"], source: 'cache.set(event.key, "again")' })
    keyspace.set("k1", "v")
    for (let i = 0; i < 20; i++) await turn()
    expect(engine.registry.get("w")?.stats).toMatchObject({ runs: 1, skips: { repeat: 1 } })
    expect(engine.registry.get("d")?.stats.runs).toBe(1)
    expect(loaded.length).toBeLessThan(3)
  })

  it("is paid for by the operation, key by key", () => {
    const engine = open(undefined, { fuel: 50_000 })
    engine.trigger({
      name: "t",
      pattern: "go",
      timeoutUs: 1000,
      source: "local keys = {} for i = 1, 100 do keys[i] = 'k' .. i end cache.warm(keys)"
    })
    engine.trigger({ name: "u", pattern: "go", source: "return" })
    engine.keyspace.set("go", "v")
    expect(engine.registry.get("u")?.stats).toMatchObject({ runs: 0, skips: { budget: 1 } })
    expect(engine.loaded.length).toBe(16) // at once; the others when there is room
  })

  it("is shown by a dry run, in which nothing happens", () => {
    const { keyspace, clock, loaded } = open()
    const runner = new DryRunner({ keyspace, origin: "boot", nowMs: clock.nowMs, monotonicMs: () => 0 })
    keyspace.set("k1", "stays")
    const definition = { name: "t", source: 'cache.warm({ "k1", "é" })', timeoutUs: 1000, memoryBytes: 65_536 }
    const report = runner.test(definition, { event: "ON_WRITE", key: "go", value: "v" })
    expect(report).toMatchObject({ status: "ok", warms: ["k1", "é"] })
    expect([keyspace.peek("k1")?.value, loaded]).toEqual(["stays", []])
  })
})

describe("what a peer has done (law 13)", () => {
  const peer = { depth: 0, peer: "instance 2" }

  /** Has a peer remove the key here. */
  const hear = ({ keyspace }: Engine, key: string, origin = peer): void => {
    keyspace.origin = origin
    keyspace.delete(key, Cause.invalidate)
    keyspace.origin = null
  }

  it("fires triggers here, with its name; emits and logs stay, and webhooks are left to it and counted", () => {
    const engine = makeEngine()
    const trigger = engine.trigger({
      name: "t",
      pattern: "k*",
      events: ["ON_DELETE"],
      source: `cache.emit("x", { event.cause, event.origin, event.depth }) print(event.key)
        cache.webhook("http://a/1") cache.webhook("http://a/2")`
    })
    for (const key of ["k1", "k2"]) {
      engine.keyspace.set(key, "v")
      hear(engine, key)
    }
    expect(told(engine)).toEqual([
      ["invalidate", "instance 2", 0],
      ["invalidate", "instance 2", 0]
    ])
    expect(engine.lines.map(({ message }) => message)).toEqual(["k1", "k2"])
    expect([engine.webhooks, trigger.stats.webhooks, trigger.stats.webhooksSuppressed]).toEqual([[], 0, 4])
    expect(engine.runner.counters.effects.webhooksSuppressed).toBe(4)
    expect(engine.log.recent(9)).toMatchObject([{ kind: "suppressed:webhook", trigger: "t", key: "k1", count: 4 }])
    engine.clock.ms += 1_000
    engine.keyspace.set("k1", "v")
    hear(engine, "k1")
    expect(engine.log.recent(9)).toMatchObject([{ count: 2 }, { count: 4 }])
  })

  it("marks all that triggers make of it here as derived, however deep", () => {
    const engine = makeEngine()
    const { keyspace } = engine
    engine.trigger({ name: "a", pattern: "k", events: ["ON_DELETE"], source: 'cache.set("l", 1)' })
    engine.trigger({ name: "b", pattern: "l", source: 'cache.set("m", 1) cache.webhook("http://a/1")' })
    engine.trigger({ name: "c", pattern: "m", source: 'cache.emit("x", { event.origin, event.path })' })
    keyspace.log.open(100)
    keyspace.set("k", "v")
    hear(engine, "k")
    const origins = keyspace.log
      .recent()
      .map(({ key, origin }) => [key, origin?.depth, origin?.peer, origin?.isDerived])
    expect(origins).toEqual([
      ["k", undefined, undefined, undefined],
      ["k", 0, "instance 2", undefined],
      ["l", 1, "instance 2", true],
      ["m", 2, "instance 2", true]
    ])
    expect(told(engine)).toEqual([["instance 2", ["a", "b"]]])
    expect(engine.webhooks).toEqual([])
    keyspace.set("l", 2) // by a client
    expect(keyspace.log.recent().at(-1)?.origin?.isDerived).toBe(undefined)
    expect(engine.webhooks).toHaveLength(1)
  })

  it("fires no trigger when it was derived there, which is on record", () => {
    const engine = makeEngine()
    const trigger = engine.trigger({ name: "t", pattern: "k*", events: ["ON_DELETE"], source: 'cache.emit("x", 1)' })
    engine.registry.shadow("t", { source: 'cache.emit("x", 2)' })
    engine.keyspace.set("k", "v")
    hear(engine, "k", { ...peer, isDerived: true } as typeof peer)
    expect([engine.keyspace.size, engine.emits, trigger.stats.runs, trigger.shadow?.stats.runs]).toEqual([0, [], 0, 0])
    expect(engine.log.recent(9)).toMatchObject([{ kind: "skipped:derived", trigger: "t", key: "k" }])
    expect(trigger.stats.skips.derived).toBe(1)
  })

  it("and what comes of it is not for triggers of SCOPE local", () => {
    const engine = makeEngine()
    engine.trigger({ name: "a", pattern: "k", events: ["ON_DELETE"], source: 'cache.set("l", 1)' })
    const local = engine.trigger({
      name: "b",
      pattern: "*",
      events: ["ON_DELETE", "ON_WRITE"],
      scope: "local",
      source: "return"
    })
    engine.keyspace.set("k", "v")
    hear(engine, "k")
    expect(engine.keyspace.peek("l")?.value).toBe(1)
    expect(local.stats.runs).toBe(1)
  })
})
