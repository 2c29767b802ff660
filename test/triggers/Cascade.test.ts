/** What triggers set off in turn (law 7), and the order of runs (law 8). */
import { describe, expect, it } from "vitest"
import type { TriggerLogRecord } from "../../src/triggers/TriggerLog.ts"
import { type Engine, makeEngine } from "../support/Engine.ts"

const heard = ({ emits }: Engine) => emits.map(({ payload }) => payload)

const cuts = ({ log }: Engine) =>
  log
    .recent(1000)
    .map(({ kind, trigger, key }: TriggerLogRecord) => `${kind} ${trigger} ${key}`)
    .reverse()

describe("the order of the triggers of one event (law 8)", () => {
  it("is by priority, the higher first, then by registration", () => {
    const engine = makeEngine()
    const priorities = { a: 0, b: 5, c: -3, d: 5, e: 0 }
    for (const [name, priority] of Object.entries(priorities)) {
      engine.trigger({ name, priority, source: `cache.emit("x", "${name}")` })
    }
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["b", "d", "a", "e", "c"])
  })

  it("does not depend on whether a pattern is a key or a prefix", () => {
    const engine = makeEngine()
    for (const [name, pattern] of [
      ["a", "k*"],
      ["b", "key"],
      ["c", "*"],
      ["d", "key*"]
    ]) {
      engine.trigger({ name: name as string, pattern: pattern as string, source: `cache.emit("x", "${name}")` })
    }
    engine.keyspace.set("key", "v")
    expect(heard(engine)).toEqual(["a", "b", "c", "d"])
  })

  it("is kept by a trigger that is set again, and lost by one that is removed and set", () => {
    const engine = makeEngine()
    const set = (name: string, says = name) => engine.trigger({ name, source: `cache.emit("x", "${says}")` })
    for (const name of ["a", "b", "c"]) set(name)
    set("a", "a2")
    engine.registry.remove("b")
    set("b")
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["a2", "c", "b"])
  })

  it("one that fails does not stop the next", () => {
    const engine = makeEngine()
    engine.trigger({ priority: 1, source: "error('first')" })
    engine.trigger({ source: 'cache.emit("x", "second")' })
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["second"])
  })
})

describe("a cascade", () => {
  it("is breadth first: every trigger of one event before those of what it wrote", () => {
    const engine = makeEngine()
    engine.trigger({ pattern: "go", source: 'cache.set("a", 1) cache.set("b", 1) cache.emit("x", "go 1")' })
    engine.trigger({ pattern: "go", source: 'cache.set("c", 1) cache.emit("x", "go 2")' })
    engine.trigger({ pattern: "a", source: 'cache.set("d", 1) cache.emit("x", "a")' })
    for (const key of ["b", "c", "d"]) engine.trigger({ pattern: key, source: `cache.emit("x", "${key}")` })
    engine.keyspace.set("go", "v")
    expect(heard(engine)).toEqual(["go 1", "go 2", "a", "b", "c", "d"])
  })

  it("keeps what leaves the cache until it has settled, in the order of the runs", () => {
    const seen: string[] = []
    const engine: Engine = makeEngine({
      ports: { emits: { publish: (_, payload) => seen.push(`${payload} of ${engine.keyspace.size}`) } }
    })
    engine.trigger({ pattern: "go", source: 'cache.emit("x", "first") cache.set("a", 1)' })
    engine.trigger({ pattern: "a", source: 'cache.emit("x", "second") cache.set("b", 1)' })
    engine.keyspace.set("go", "v")
    expect(seen).toEqual(["first of 3", "second of 3"])
  })

  it("offers webhooks first, then emits, then lines, once all is settled", () => {
    const order: string[] = []
    const engine = makeEngine({
      ports: {
        webhooks: { offer: ({ body }) => order.push(`webhook ${body}`) > 0, lastRefusal: "" },
        emits: { publish: (_, payload) => order.push(`emit ${payload}`) },
        lines: { offer: ({ message }) => order.push(`line ${message}`) > 0 }
      }
    })
    engine.trigger({
      pattern: "go",
      source: 'cache.log(1) cache.emit("x", 1) cache.webhook("http://a", 1) cache.set("a", 1)'
    })
    engine.trigger({ pattern: "a", source: 'cache.log(2) cache.emit("x", 2) cache.webhook("http://a", 2)' })
    engine.keyspace.set("go", "v")
    expect(order).toEqual(["webhook 1", "webhook 2", "emit 1", "emit 2", "line 1", "line 2"])
  })

  it("runs a trigger at most once for a key, and records the rest", () => {
    const engine = makeEngine()
    const { stats } = engine.trigger({ name: "again", pattern: "k", source: 'cache.set("k", event.value + 1)' })
    engine.keyspace.set("k", 1)
    expect(engine.keyspace.peek("k")?.value).toBe(2)
    expect(cuts(engine)).toEqual(["skipped:repeat again k"])
    expect(engine.log.recent(1)[0]?.message).toBe("ran for this key in this cascade already")
    expect([stats.runs, stats.skips.repeat, engine.runner.counters.skipsOf.repeat]).toEqual([1, 1, 1])
  })

  it("runs one trigger for as many keys as there are", () => {
    const engine = makeEngine()
    engine.trigger({
      name: "spread",
      pattern: "k*",
      source: 'if #event.key < 4 then cache.set(event.key .. "a", 1) cache.set(event.key .. "b", 1) end'
    })
    engine.keyspace.set("k", 1)
    expect([engine.keyspace.size, cuts(engine)]).toEqual([15, []])
  })

  it("ends a circle of triggers after one round", () => {
    const engine = makeEngine()
    for (const [from, to] of [
      ["a", "b"],
      ["b", "c"],
      ["c", "a"]
    ]) {
      engine.trigger({ name: `${from}${to}`, pattern: from as string, source: `cache.set("${to}", event.value)` })
    }
    engine.keyspace.set("a", "v")
    expect(cuts(engine)).toEqual(["skipped:repeat ab a"])
    expect(engine.keyspace.size).toBe(3)
  })

  it("counts an event and its opposite of one key as one: write and delete do not play ball", () => {
    const engine = makeEngine()
    engine.trigger({
      name: "t",
      events: ["ON_WRITE", "ON_DELETE"],
      source: 'if event.type == "ON_WRITE" then cache.delete(event.key) else cache.set(event.key, 1) end'
    })
    engine.keyspace.set("k", "v")
    expect([engine.keyspace.size, cuts(engine)]).toEqual([0, ["skipped:repeat t k"]])
  })

  it("begins anew with each operation of a client", () => {
    const engine = makeEngine()
    engine.trigger({ name: "t", pattern: "k", source: 'cache.set("copy", event.value)' })
    engine.keyspace.set("k", 1)
    engine.keyspace.set("k", 2)
    expect([engine.keyspace.peek("copy")?.value, cuts(engine)]).toEqual([2, []])
  })

  it("begins anew with each event of one operation: those do not share what ran for a key", () => {
    const engine = makeEngine({ maxEntries: 2 })
    engine.trigger({ name: "ear", pattern: "count", source: 'cache.emit("x", event.value)' })
    engine.trigger({
      name: "count",
      events: ["ON_EXPIRE", "ON_WRITE"],
      pattern: "k",
      source: 'cache.set("count", event.type)'
    })
    engine.keyspace.set("k", "v", engine.clock.ms + 1)
    engine.clock.ms += 1
    engine.keyspace.set("k", "w")
    expect(heard(engine)).toEqual(["ON_WRITE", "ON_EXPIRE", "ON_WRITE"])
    expect(cuts(engine)).toEqual([])
  })
})

describe("the bounds of a cascade", () => {
  const chain = (engine: Engine) =>
    engine.trigger({
      name: "chain",
      pattern: "k*",
      source: 'cache.set(event.key .. "k", 1) cache.emit("x", event.depth)'
    })

  it("depth 8: what is deeper is cut, counted and recorded", () => {
    const engine = makeEngine()
    const { stats } = chain(engine)
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8"])
    expect(engine.keyspace.size).toBe(10)
    expect(cuts(engine)).toEqual([`skipped:depth chain ${"k".repeat(10)}`])
    expect(engine.log.recent(1)[0]?.message).toBe("the cascade is deeper than 8")
    expect(stats.skips.depth).toBe(1)
  })

  it("another depth, where one is configured; at 0 what triggers write fires nothing", () => {
    for (const depth of [0, 3]) {
      const engine = makeEngine({ cascade: { depth } })
      chain(engine)
      engine.keyspace.set("k", "v")
      expect(heard(engine).length).toBe(depth + 1)
      expect(cuts(engine)).toEqual([`skipped:depth chain ${"k".repeat(depth + 2)}`])
    }
  })

  it("256 runs that triggers set off", () => {
    const engine = makeEngine({ fuelMax: 1_000_000, cascade: { fuel: 1e9 } })
    const { stats } = engine.trigger({
      name: "wide",
      pattern: "*",
      source: 'if event.key == "go" then for i = 1, 300 do cache.set("k" .. i, 1) end end'
    })
    engine.keyspace.set("go", "v")
    expect([stats.runs, stats.skips.budget, engine.log.total]).toEqual([257, 44, 1])
    expect(engine.log.recent(1)[0]).toMatchObject({
      kind: "skipped:budget",
      key: "k257",
      count: 44,
      message:
        "the operation has had its 1000000000 units of fuel, or its 256 runs that triggers set off; runs that were cut: 44"
    })
    expect(engine.keyspace.size).toBe(301)
  })

  it("the runs of the client's own events are not among them: each of a thousand keys has its own", () => {
    const engine = makeEngine({ cascade: { runs: 3 } })
    const { stats } = engine.trigger({ name: "each", pattern: "k*", source: 'cache.set("other", event.key)' })
    const hears = engine.trigger({ name: "hears", pattern: "other", source: ";" })
    const wasHeld = engine.keyspace.hold()
    for (let i = 0; i < 1_000; i++) engine.keyspace.set(`k${i}`, "v")
    engine.keyspace.release(wasHeld)
    expect([stats.runs, stats.skips.budget]).toEqual([1_000, 0])
    expect([hears.stats.runs, hears.stats.skips.budget]).toEqual([3, 997])
    expect(engine.log.total).toBe(1)
  })

  it("the runs of the client's own events are bounded by fuel, of which each costs 100 beside what it computes", () => {
    const engine = makeEngine({ cascade: { fuel: 4 * 100 } })
    for (let i = 0; i < 9; i++) engine.trigger({ name: `t${i}`, source: ";" })
    for (const trigger of engine.registry.all()) engine.machines.of(trigger)
    engine.keyspace.set("k", "v")
    expect(cuts(engine)).toEqual(["skipped:budget t4 k"])
    expect(engine.log.recent(1)[0]?.count).toBe(5)
  })

  it("one budget of fuel: a run that begins within it ends by its own limit, the next does not begin", () => {
    const engine = makeEngine({ fuelMax: 20_000, cascade: { fuel: 30_000 } })
    for (let i = 0; i < 4; i++) engine.trigger({ name: `t${i}`, source: "while true do end" })
    engine.keyspace.set("k", "v")
    const kinds = engine.log.recent(9).map(({ kind }) => kind)
    expect(kinds.reverse()).toEqual(["timeout", "timeout", "skipped:budget"])
  })

  it("fuel that was spent before the first write counts for what the writes set off", () => {
    const engine = makeEngine({ fuelMax: 100_000, cascade: { fuel: 10_000 } })
    engine.trigger({ name: "burns", pattern: "go", source: "for i = 1, 20000 do end" })
    engine.trigger({ name: "writes", priority: 1, pattern: "go", source: 'cache.set("k", 1)' })
    engine.trigger({ name: "late", pattern: "k", source: ";" })
    engine.keyspace.set("go", "v")
    expect(cuts(engine)).toEqual(["skipped:budget late k"])
  })

  it("a change that is committed costs 250: three runs of 1,000 changes are more than an operation has", () => {
    const engine = makeEngine({ fuelMax: 1_000_000 })
    for (let i = 0; i < 4; i++) {
      engine.trigger({ name: `t${i}`, pattern: "go", source: `for i = 1, 1000 do cache.set("k${i}-" .. i, 1) end` })
    }
    engine.keyspace.set("go", "v")
    expect(engine.keyspace.size % 1_000).toBe(1)
    expect(engine.keyspace.size).toBeLessThan(3_000)
    expect(engine.log.recent(1)[0]?.kind).toBe("skipped:budget")
  })

  it("each of a thousand keys may have a key written for it", () => {
    const engine = makeEngine()
    const { stats } = engine.trigger({ pattern: "k*", source: 'cache.set("o" .. event.key, event.value)' })
    const wasHeld = engine.keyspace.hold()
    for (let i = 0; i < 1_000; i++) engine.keyspace.set(`k${i}`, "v")
    engine.keyspace.release(wasHeld)
    expect([stats.runs, engine.keyspace.size, engine.log.total]).toEqual([1_000, 2_000, 0])
  })

  it("compiling is paid by the byte: large programs are loaded one an operation, and run from the next event on", () => {
    const engine = makeEngine()
    for (let i = 0; i < 3; i++) engine.trigger({ source: `cache.emit("x", ${i}) --${"x".repeat(60_000)}` })
    const seen = Array.from({ length: 3 }, () => {
      engine.keyspace.set("k", "v")
      return heard(engine).splice(0).length
    })
    expect(seen).toEqual([1, 3, 6])
  })

  it("once a thousand were cut all others are counted by the event, without a look at them", () => {
    const engine = makeEngine({ cascade: { fuel: 1 } })
    const triggers = Array.from({ length: 600 }, () => engine.trigger({ source: ";" }))
    const wasHeld = engine.keyspace.hold()
    for (let i = 0; i < 10; i++) engine.keyspace.set(`k${i}`, "v")
    engine.keyspace.release(wasHeld)
    const counted = triggers.reduce((sum, { stats }) => sum + stats.skips.budget, 0)
    expect([counted, engine.runner.counters.skipsOf.budget, engine.log.total]).toEqual([1_024, 5_999, 1])
    expect(engine.log.recent(1)[0]).toMatchObject({ count: 5_999, message: expect.stringContaining("at most 5999") })
    engine.keyspace.set("k", "v")
    expect(engine.log.recent(1)[0]).toMatchObject({ count: 599, message: expect.stringMatching(/cut: 599$/) })
  })

  it("those that are looked at and do not run cost fuel too: the sampled are counted to the budget in the end", () => {
    const engine = makeEngine({ cascade: { fuel: 10_000 } })
    const { stats } = engine.trigger({ sample: 1_000_000, source: ";" })
    const wasHeld = engine.keyspace.hold()
    for (let i = 0; i < 10_000; i++) engine.keyspace.set(`k${i}`, "v")
    engine.keyspace.release(wasHeld)
    expect(stats.skips.sampled).toBeLessThan(3_000)
    expect(stats.skips.sampled + engine.runner.counters.skipsOf.budget).toBe(9_999)
  })

  it("a shadow's runs that triggers set off are bounded as the live ones are, apart from them", () => {
    const engine = makeEngine({ cascade: { runs: 3 } })
    engine.trigger({ pattern: "go", source: 'for i = 1, 5 do cache.set("k" .. i, 1) end' })
    const live = engine.trigger({ name: "t", pattern: "k*", source: ";" })
    engine.registry.shadow("t", { source: "return 1" })
    engine.keyspace.set("go", "v")
    expect([live.stats.runs, live.shadow?.stats.runs, live.shadow?.stats.skips.budget]).toEqual([3, 3, 2])
  })

  it("runs that fail count as runs", () => {
    const engine = makeEngine({ cascade: { runs: 2 } })
    engine.trigger({ name: "goes", pattern: "go", source: 'cache.set("k", 1)' })
    for (let i = 0; i < 3; i++) engine.trigger({ name: `t${i}`, pattern: "k", source: 'error("no")' })
    engine.keyspace.set("go", "v")
    expect(cuts(engine)).toEqual(["error t0 k", "error t1 k", "skipped:budget t2 k"])
  })

  it("a cut cascade keeps what was committed, and the next operation has the whole budget again", () => {
    const engine = makeEngine({ cascade: { runs: 2 } })
    chain(engine)
    engine.keyspace.set("k", "v")
    engine.keyspace.set("k2", "v")
    expect(heard(engine)).toEqual(["0", "1", "2", "0", "1", "2"])
    expect(engine.keyspace.size).toBe(8)
  })
})

describe("listeners that change entries themselves", () => {
  it("are clients: what they do begins a cascade of its own, after the one that they heard of", () => {
    const engine: Engine = makeEngine({
      ports: {
        emits: {
          publish: (channel, payload) => {
            engine.emits.push({ channel, payload })
            if (channel === "ask") engine.keyspace.set("answer", payload)
          }
        }
      }
    })
    engine.trigger({ name: "asks", pattern: "go*", source: 'cache.emit("ask", event.key) cache.emit("x", "asked")' })
    engine.trigger({
      name: "hears",
      pattern: "answer",
      source: 'cache.emit("x", "answer " .. event.depth .. " " .. event.cascade)'
    })
    engine.keyspace.set("go", "v")
    expect(heard(engine)).toEqual(["go", "asked", "answer 0 boot-2"])
    expect(cuts(engine)).toEqual([])
  })

  it("see the operation as done: its own write, the cascade's, and no origin", () => {
    const seen: unknown[] = []
    const engine: Engine = makeEngine({
      ports: { emits: { publish: () => seen.push(engine.keyspace.peek("made")?.value, engine.keyspace.origin) } }
    })
    engine.trigger({ pattern: "go", source: 'cache.emit("x", 1) cache.set("made", 1)' })
    engine.keyspace.set("go", "v")
    expect(seen).toEqual([1, null])
  })

  it("may register and remove triggers; events that wait already run neither the old nor the new one", () => {
    const engine: Engine = makeEngine({
      ports: {
        emits: {
          publish: (channel, payload) => {
            engine.emits.push({ channel, payload })
            if (channel !== "swap") return
            engine.keyspace.set("a", "v")
            engine.keyspace.set("b", "v")
            engine.trigger({ name: "a", pattern: "a", source: 'cache.emit("x", "new a")' })
            engine.registry.remove("b")
          }
        }
      }
    })
    engine.trigger({ name: "a", pattern: "a", source: 'cache.emit("x", "old a")' })
    engine.trigger({ name: "b", pattern: "b", source: 'cache.emit("x", "old b")' })
    engine.trigger({ name: "swap", pattern: "go", source: 'cache.emit("swap", "swap")' })
    engine.keyspace.set("go", "v")
    expect(heard(engine)).toEqual(["swap"])
    engine.keyspace.set("a", "v")
    engine.keyspace.set("b", "v")
    expect(heard(engine)).toEqual(["swap", "new a"])
    expect(engine.log.total).toBe(0)
  })
})
