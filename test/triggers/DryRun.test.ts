/** TRIGGER TEST: what a trigger would do, shown; and nothing happens. */
import { describe, expect, it } from "vitest"
import type { Value } from "../../src/kernel/index.ts"
import { type DryRunReport, dryRun, type TestEvent } from "../../src/triggers/DryRun.ts"
import { describe as shown, triggerEventNames } from "../../src/triggers/Trigger.ts"
import { TriggerSyntaxError } from "../../src/triggers/TriggerError.ts"
import { type Engine, makeEngine } from "../support/Engine.ts"

const limits = { name: "t", timeoutUs: 1000, memoryBytes: 64 * 1024 }

const write: TestEvent = { event: "ON_WRITE", key: "k", value: "v" }

const tried = (source: string, event: TestEvent = write, engine: Engine = makeEngine()): DryRunReport => {
  const { keyspace, clock } = engine
  const options = { keyspace, origin: "boot", nowMs: clock.ms, monotonicMs: () => performance.now() }
  const report = dryRun({ ...limits, source }, event, options)
  if (report instanceof TriggerSyntaxError) throw report
  return report
}

describe("a dry run shows", () => {
  it("writes, deletes, emits, webhooks and logs, and what it cost", () => {
    const engine = makeEngine()
    engine.keyspace.set("gone", "v")
    const report = tried(
      `cache.set("a", { n = 1 }, { ttl = 1.5, metadata = { by = "me" }, tags = { "ü" }, cost = 2 })
       cache.set("\\xff", "\\xfe") cache.delete("gone") cache.emit("ch", { 1 }) cache.emit("ü", "ü")
       cache.webhook("http://a", event.key, { headers = { x = "y" } }) cache.log("said") cache.log("s", { f = 1 }) print("p")
       return { event.key, cache.get("a").n }`,
      write,
      engine
    )
    expect(report).toEqual({
      status: "ok",
      result: ["k", 1],
      error: null,
      writes: [
        { key: "a", value: { n: 1 }, ttlMs: 1500, metadata: { by: "me" }, tags: ["ü"], cost: 2 },
        { key: "\xff", value: Buffer.from([0xfe]), ttlMs: null, metadata: null, tags: [], cost: 0 }
      ],
      deletes: ["gone"],
      emits: [
        { channel: "ch", payload: "[1]" },
        { channel: "ü", payload: "ü" }
      ],
      webhooks: [{ id: "boot-0-t-1", url: "http://a", body: '"k"', headers: { x: "y" } }],
      logs: [
        { stream: null, message: "said", fields: null },
        { stream: "s", message: null, fields: { f: 1 } },
        { stream: null, message: "p", fields: null }
      ],
      warms: [],
      us: expect.any(Number),
      fuel: expect.any(Number),
      bytes: expect.any(Number)
    })
    expect(report.us).toBeGreaterThan(0)
    expect(report.fuel).toBeGreaterThan(0)
    expect(report.bytes).toBeGreaterThan(0)
  })

  it.each<[string, unknown]>([
    ["return 7", 7],
    ["return 1.5", 1.5],
    ['return "ü"', "ü"],
    ['return "\\xff"', Buffer.from([0xff])],
    ["return true", true],
    ["return nil", null],
    ["return", null],
    ["return {}", {}],
    ["return { 1, { a = 'b' } }", [1, { a: "b" }]],
    ["return 1, 2", 1],
    ["return print", "result is a function"]
  ])("the result of %j", (source, result) => {
    expect(tried(source)).toMatchObject({ status: "ok", result, error: null })
  })
})

describe("the made-up event", () => {
  it.each(triggerEventNames.filter((event) => event !== "ON_FLUSH"))("is a %s with its fields", (event) => {
    const isNew = event === "ON_WRITE" || event === "ON_READ" || event === "BEFORE_WRITE"
    const engine = makeEngine()
    const { result } = tried(
      "return { event.type, event.key, event.value, event.old_value or 'none', event.metadata.m, event.tags[1], event.cost, event.timestamp, event.late }",
      { event, key: "key", value: "new", oldValue: "old", metadata: { m: 1 }, tags: ["t"], cost: 3 },
      engine
    )
    expect(result).toEqual([event, "key", "new", isNew ? "old" : "new", 1, "t", 3, engine.clock.ms / 1000, 0])
  })

  it("is a flush of everything, without a key and a value", () => {
    const flush: TestEvent = { event: "ON_FLUSH", key: "k", value: "v" }
    expect(tried("return { event.type, event.key, event.value == nil, event.count }", flush).result).toEqual([
      "ON_FLUSH",
      "",
      true,
      1
    ])
  })

  it("has no old value, no metadata and no tags where none are given", () => {
    expect(
      tried(
        "return { event.old_value == nil, next(event.metadata) == nil, #event.tags, event.depth, event.cascade, #event.path }"
      ).result
    ).toEqual([true, true, 0, 0, "boot-0", 0])
  })

  it("may have a structured value, before and after", () => {
    const event = { ...write, value: { list: [1, "ü"] }, oldValue: [new Uint8Array([255])] }
    expect(tried("return { event.value.list[2], #event.old_value[1], event.changed }", event).result).toEqual([
      "ü",
      1,
      true
    ])
  })

  it("that is too deep for Lua is an error that names the field", () => {
    let deep: Value = 1
    for (let i = 0; i < 17; i++) deep = [deep]
    const report = tried("return event.value", { ...write, value: deep })
    expect(report).toMatchObject({ status: "error", result: null, fuel: 0 })
    expect(report.error).toMatch(/^event\.value.* is nested deeper than 16$/)
  })

  it("meets the cache as it is", () => {
    const engine = makeEngine()
    engine.keyspace.set("other", { n: 5 })
    expect(
      tried('return { cache.get("other").n, cache.delete("other"), tostring(cache.get("other")) }', write, engine)
        .result
    ).toEqual([5, true, "nil"])
  })
})

describe("nothing happens", () => {
  const state = (engine: Engine) => {
    const entries: unknown[] = []
    engine.keyspace.scan(0, 100, ({ key, value, version, expiresAtMs }) =>
      entries.push([key, value, version, expiresAtMs])
    )
    return {
      entries,
      version: engine.keyspace.version,
      stats: { ...engine.keyspace.stats },
      counters: structuredClone(engine.runner.counters),
      triggers: [...engine.registry.all()].map(shown),
      machines: engine.workers.map(({ vm, kills }) => [vm?.bytesUsed, vm?.rewinds, kills]),
      log: engine.log.total,
      left: [engine.emits.length, engine.webhooks.length, engine.lines.length],
      recency: engine.keyspace.peek("oldest")
    }
  }

  it.each([
    'cache.set("oldest", 1) cache.delete("oldest") cache.emit("x", 1) cache.log(1) cache.webhook("http://a", 1) scratch = 1',
    'cache.set("oldest", 1) error("no")',
    "while true do end",
    'local s = "x" while true do s = s .. s end',
    "xpcall(error, function() while true do end end)"
  ])("of %j", (source) => {
    const engine = makeEngine({ maxEntries: 2 })
    engine.trigger({ name: "t", source: 'cache.emit("x", tostring(scratch))' })
    engine.trigger({ name: "reads", events: ["ON_READ", "ON_DELETE"], source: 'cache.emit("x", "fired")' })
    engine.keyspace.set("oldest", "v")
    engine.keyspace.set("newer", "v", engine.clock.ms + 5)
    const before = state(engine)
    for (let i = 0; i < 3; i++) tried(source, write, engine)
    expect(state(engine)).toEqual(before)
    engine.keyspace.set("newest", "v")
    expect(engine.keyspace.peek("oldest")).toBeUndefined()
    expect(engine.emits.at(-1)?.payload).toBe("nil")
  })
})

describe("the same question has the same answer", () => {
  it.each([
    ["a good run", 'local t = {} for i = 1, 50 do t[i] = { i } end cache.set("k", t) return #t'],
    ["a random one", "return math.random(1, 1000000)"],
    ["an error", 'local t = {} for i = 1, 50 do t[i] = { i } end error("no")'],
    ["a timeout", "while true do end"],
    ["a lack of memory", "local t = {} while true do t[#t + 1] = { 1 } end"],
    ["a kill", "xpcall(error, function() while true do end end)"]
  ])("fuel, bytes and all, for %s", (_, source) => {
    const once = () => {
      const { us: _us, ...report } = tried(source)
      return report
    }
    const first = once()
    for (let i = 0; i < 3; i++) expect(once()).toEqual(first)
  })

  it("leaves no globals from one of its attempts to the next", () => {
    expect(tried("count = (count or 0) + 1 return count").result).toBe(1)
  })
})

describe("a failure", () => {
  it.each([
    ["error", '\nerror("no")', "line 2: no"],
    ["timeout", "\n\nwhile true do end", "line 3: stopped after 250000 units of fuel"],
    ["memory", 'local s = "x" while true do s = s .. s end', "line 1: not enough memory (more than 65536 bytes)"],
    [
      "killed",
      "xpcall(error, function() while true do end end)",
      "line 1: killed: no error could stop it after 250000 units of fuel"
    ],
    ["error", "cache.set({}, 1)", "line 1: cache.set takes a key (a string) first, not a table"]
  ])("%s: says why and where, and shows nothing of what was dropped", (status, source, error) => {
    const report = tried(
      `cache.set("a", 1) cache.delete("k") cache.emit("x", 1) cache.log(1) cache.webhook("http://a", 1) ${source}`
    )
    expect(report).toMatchObject({
      status,
      error,
      result: null,
      writes: [],
      deletes: [],
      emits: [],
      webhooks: [],
      logs: []
    })
    expect(report.fuel).toBeGreaterThan(0)
  })

  it("the trigger's own limits hold: its time as fuel, 250 units a microsecond", () => {
    const engine = makeEngine()
    const options = { keyspace: engine.keyspace, origin: "boot", nowMs: 0, monotonicMs: () => 0 }
    const source = "for i = 1, 10000 do end"
    const status = (timeoutUs: number) => {
      const report = dryRun({ ...limits, timeoutUs, source }, write, options)
      return report instanceof TriggerSyntaxError ? report : report.status
    }
    expect([status(1), status(1000)]).toEqual(["timeout", "ok"])
  })

  it.each([
    ["x = = 1", 1, 5],
    ["local a\n  b b", 2, 5]
  ])("a source that is no Lua, %j, has a line and a column", (source, line, column) => {
    expect(() => tried(source)).toThrow(TriggerSyntaxError)
    try {
      tried(source)
    } catch (error) {
      expect(error).toMatchObject({ trigger: "t", line, column })
    }
  })
})
