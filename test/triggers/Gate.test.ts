/** BEFORE_WRITE and BEFORE_DELETE (law 9): what they may make of an operation, and what becomes of it when they fail. */
import { describe, expect, it } from "vitest"
import { entryBytes, noMeta, SetFlag } from "../../src/kernel/index.ts"
import { type Engine, type EngineOptions, fill, makeEngine } from "../support/Engine.ts"

const guarded = (source: string, options: Parameters<Engine["trigger"]>[0] = { source }, engine?: EngineOptions) => {
  const made = makeEngine({ fuelMax: 20_000, ...engine })
  made.trigger({ name: "gate", events: ["BEFORE_WRITE"], ...options, source })
  return made
}

const heard = ({ emits }: Engine) => emits.splice(0).map(({ payload }) => payload)

describe("what a BEFORE_WRITE trigger returns", () => {
  it.each([
    ["nothing, and the write passes", "return", "v"],
    ["a string, which takes the value's place", 'return event.value .. "!"', "v!"],
    ["a structured value", "return { n = 1 }", { n: 1 }],
    ["a value in a table", 'return { value = "ü" }', "\xc3\xbc"],
    ["bytes that are no text in a table", 'return { value = "\\xff" }', "\xff"],
    ["a table that looks like options, in a table", "return { value = { cost = 1 } }", { cost: 1 }],
    ["a number", "return 7", 7]
  ])("%s", (_, source, stored) => {
    const { keyspace, log } = guarded(source)
    expect(keyspace.set("k", "v")).toBe(true)
    expect([keyspace.peek("k")?.value, log.total]).toEqual([stored, 0])
  })

  it("a deadline, metadata, tags and cost, of which what it leaves out stays", () => {
    const engine = guarded("return { ttl = 1.5, metadata = { by = event.key }, cost = 3 }")
    const meta = { metadata: { a: 1 }, tags: ["t"], cost: 1 }
    engine.keyspace.set("k", "v", 0, meta)
    expect(engine.keyspace.peek("k")).toMatchObject({
      value: "v",
      expiresAtMs: engine.clock.ms + 1500,
      meta: { metadata: { by: "k" }, tags: ["t"], cost: 3 }
    })
  })

  it.each([
    [
      "a boolean",
      "return true",
      "it returned true: return nothing to let the write pass, { value = true } to store that"
    ],
    ["a ttl of nothing", "return { ttl = 0 }", "what it returned: ttl is a number of seconds above zero"],
    ["what cannot leave Lua", "return print", "what it returned: "],
    ["more than the keyspace holds", 'return ("x"):rep(3000)', "what it returned would be an entry of "]
  ])("%s is an error, and the write passes as it was", (_, source, words) => {
    const { keyspace, log } = guarded(source, { source }, { maxBytes: 2000 })
    expect(keyspace.set("k", "v")).toBe(true)
    expect(keyspace.peek("k")?.value).toBe("v")
    expect(log.recent(1)[0]).toMatchObject({ kind: "error", event: "BEFORE_WRITE", trigger: "gate" })
    expect(log.recent(1)[0]?.message).toContain(words)
  })
})

describe("cache.reject", () => {
  it("refuses the write with its reason; nothing changes, and no event is fired", () => {
    const engine = guarded('if event.value == "bad" then cache.reject("no " .. event.key) end')
    engine.trigger({ source: 'cache.emit("x", event.value)' })
    engine.keyspace.set("k", "good")
    expect(engine.keyspace.set("k", "bad")).toBe(false)
    expect([engine.keyspace.refusal, engine.keyspace.peek("k")?.value]).toEqual(["no k", "good"])
    expect([heard(engine), engine.log.total]).toEqual([["good"], 0])
    expect(engine.registry.get("gate")?.stats).toMatchObject({ runs: 2, rejects: 1, failures: { error: 0 } })
  })

  it("refuses a delete", () => {
    const { keyspace } = guarded('cache.reject("keep it")', { source: "return", events: ["BEFORE_DELETE"] })
    keyspace.set("k", "v")
    expect([keyspace.delete("k"), keyspace.refusal, keyspace.size]).toEqual([false, "keep it", 1])
  })

  it("counts even where the script catches it", () => {
    const { keyspace } = guarded('pcall(cache.reject, "no") return "changed"')
    expect([keyspace.set("k", "v"), keyspace.refusal, keyspace.size]).toEqual([false, "no", 0])
  })

  it("is one line for the client", () => {
    const { keyspace } = guarded('cache.reject("a\\r\\n+OK")')
    keyspace.set("k", "v")
    expect(keyspace.refusal).toBe("a +OK")
  })

  it("drops what the run wanted to send", () => {
    const engine = guarded('cache.emit("x", "tried") cache.log("tried") cache.reject("no")')
    engine.keyspace.set("k", "v")
    expect([engine.emits, engine.lines]).toEqual([[], []])
  })

  it("is an error in a trigger that is told afterwards", () => {
    const engine = makeEngine()
    engine.trigger({ source: 'cache.reject("no")' })
    expect(engine.keyspace.set("k", "v")).toBe(true)
    expect(engine.log.recent(1)[0]?.message).toContain("cache.reject is for BEFORE_WRITE and BEFORE_DELETE")
  })
})

describe("several BEFORE triggers", () => {
  it("run in their order, each on what the one before made of it; the first that refuses ends it", () => {
    const engine = makeEngine()
    const gate = (name: string, source: string, priority: number) =>
      engine.trigger({ name, events: ["BEFORE_WRITE"], source, priority })
    gate("second", 'cache.emit("x", "second " .. event.value) if #event.value > 3 then cache.reject("long") end', 0)
    gate("first", 'cache.emit("x", "first") return event.value .. "!"', 1)
    gate("third", 'cache.emit("x", "third " .. event.value)', -1)
    expect([engine.keyspace.set("k", "ab"), heard(engine)]).toEqual([true, ["first", "second ab!", "third ab!"]])
    expect([engine.keyspace.set("k", "abc"), heard(engine)]).toEqual([false, ["first"]])
  })
})

describe("a BEFORE trigger that cannot judge", () => {
  const cases = [
    ["error", 'error("broken")'],
    ["timeout", "while true do end"],
    ["killed", "xpcall(error, function() while true do end end)"]
  ] as const

  it.each(cases)("lets the write pass after an %s, and it is recorded", (kind, source) => {
    const { keyspace, log } = guarded(source)
    expect([keyspace.set("k", "v"), keyspace.peek("k")?.value]).toEqual([true, "v"])
    expect(log.recent(1)[0]?.kind).toBe(kind)
  })

  it.each(cases)("refuses it after an %s when it is FAILCLOSED", (_, source) => {
    const { keyspace } = guarded(source, { source, failClosed: true })
    expect([keyspace.set("k", "v"), keyspace.size]).toEqual([false, 0])
    expect(keyspace.refusal).toBe("trigger 'gate' failed to judge it: see TRIGGER LOG")
  })

  it("refuses it when it is FAILCLOSED and quarantined, has no machine, or the budget is spent", () => {
    const engine = guarded("return", { source: "return", failClosed: true }, { cascade: { runs: 2 } })
    const trigger = engine.registry.get("gate")
    engine.keyspace.set("warm", "v")
    const [worker] = engine.workers
    const vm = worker?.vm ?? null
    if (worker !== undefined) worker.vm = null
    expect([engine.keyspace.set("k", "v"), engine.keyspace.refusal]).toEqual([
      false,
      "trigger 'gate' did not judge it: its machine is being brought back"
    ])
    if (worker !== undefined) worker.vm = vm
    for (let i = 0; i < 6; i++) trigger?.quarantine.failed("killed", engine.clock.ms)
    expect([engine.keyspace.set("k", "v"), engine.keyspace.refusal]).toEqual([
      false,
      expect.stringContaining("trigger 'gate' did not judge it: killed its machine")
    ])
    engine.registry.enable("gate", true)
    engine.trigger({ pattern: "go", source: 'for i = 1, 3 do cache.set("k" .. i, 1) end' })
    expect(engine.keyspace.set("go", "v")).toBe(true)
    expect([engine.keyspace.peek("k1"), engine.log.recent(2).map(({ kind }) => kind)]).toEqual([
      undefined,
      ["skipped:budget", "rejected"]
    ])
  })

  it("that makes more of a write than the keyspace holds says how much, to the client when it is FAILCLOSED", () => {
    const { keyspace, log } = guarded('return ("x"):rep(3000)', { source: "", failClosed: true }, { maxBytes: 2000 })
    expect(keyspace.set("k", "v")).toBe(false)
    const bytes = entryBytes + 1 + 3000
    const why = `what it returned would be an entry of ${bytes} bytes; the keyspace holds 2000 in all`
    expect([keyspace.refusal, log.recent(1)[0]?.message]).toEqual([`trigger 'gate' failed to judge it: ${why}`, why])
  })

  it("is not asked for a deadline that changes", () => {
    const engine = guarded('cache.reject("no")', {
      source: "",
      pattern: "k",
      events: ["BEFORE_WRITE", "BEFORE_DELETE"]
    })
    const { keyspace, clock } = engine
    keyspace.set("k", "v", 0, noMeta, SetFlag.passed)
    expect([keyspace.expireAt("k", clock.ms + 5), keyspace.expireAt("k", 0), keyspace.expireAt("k", 1)]).toEqual([
      true,
      true,
      true
    ])
    expect([engine.runner.counters.runs, keyspace.size]).toEqual([0, 0])
  })

  it("may not change entries by itself, and is told what to do instead", () => {
    for (const call of ['cache.set("a", 1)', 'cache.delete("a")']) {
      const { keyspace, log } = guarded(call)
      expect([keyspace.set("k", "v"), keyspace.size]).toEqual([true, 1])
      expect(log.recent(1)[0]?.message).toContain("is not for BEFORE_ triggers: return the new value")
    }
  })
})

describe("the overlay of a trigger", () => {
  it("passes the gate as a whole before any of it is committed; one refusal drops all of it", () => {
    const engine = makeEngine()
    engine.trigger({ name: "gate", pattern: "b", events: ["BEFORE_WRITE"], source: 'cache.reject("not b")' })
    const { stats } = engine.trigger({
      name: "writer",
      pattern: "go",
      source: 'cache.set("a", 1) cache.set("b", 2) cache.delete("old") cache.emit("x", "sent")'
    })
    engine.keyspace.set("old", "v")
    expect(engine.keyspace.set("go", "v")).toBe(true)
    expect([engine.keyspace.peek("a"), engine.keyspace.peek("old")?.value, heard(engine)]).toEqual([undefined, "v", []])
    expect(engine.log.recent(1)[0]).toMatchObject({
      trigger: "writer",
      kind: "rejected",
      message: "its write of 'b' was refused by trigger 'gate': not b"
    })
    expect([stats.writes, stats.failures.rejected]).toEqual([0, 1])
    expect(engine.keyspace.origin).toBe(null)
  })

  it("is rewritten by the gate, which sees where it comes from", () => {
    const engine = makeEngine()
    engine.trigger({
      pattern: "copy",
      events: ["BEFORE_WRITE"],
      source: 'return event.value .. " at depth " .. event.depth .. " by " .. event.path[1]'
    })
    engine.trigger({ name: "copier", pattern: "go", source: 'cache.set("copy", event.value)' })
    engine.keyspace.set("go", "v")
    expect(engine.keyspace.peek("copy")?.value).toBe("v at depth 1 by copier")
  })
})

it("once a thousand questions were cut the rest is counted by the key; a FAILCLOSED one refuses all the same", () => {
  const engine = makeEngine({ cascade: { fuel: 1 } })
  for (let i = 0; i < 600; i++) engine.trigger({ events: ["BEFORE_WRITE"], source: ";" })
  engine.trigger({ name: "closed", pattern: "closed*", events: ["BEFORE_WRITE"], failClosed: true, source: ";" })
  const wasHeld = engine.keyspace.hold()
  for (let i = 0; i < 10; i++) expect(engine.keyspace.set(`k${i}`, "v")).toBe(true)
  expect(engine.keyspace.set("closed", "v")).toBe(false)
  expect(engine.keyspace.refusal).toContain("trigger 'closed' did not judge it: the operation has had")
  engine.keyspace.release(wasHeld)
  expect(engine.keyspace.size).toBe(10)
  expect(engine.log.recent(1)[0]).toMatchObject({ kind: "skipped:budget", count: 5_999 + 601 })
})

it.each(["-1", "0/0", "1/0"])("a cost of %s that a trigger returns is an error, and the write passes", (cost) => {
  const { keyspace, log } = guarded(`return { cost = ${cost} }`)
  expect([keyspace.set("k", "v"), keyspace.peek("k")?.meta.cost]).toEqual([true, 0])
  expect(log.recent(1)[0]?.message).toBe("what it returned: cost is a number of zero or more, and finite")
})

it("fills, invalidations, expiries and flushes are not asked for", () => {
  const engine = guarded('cache.reject("no")', { source: "return", events: ["BEFORE_WRITE", "BEFORE_DELETE"] })
  const { keyspace, clock } = engine
  expect(fill(keyspace, "k", "v")).toBe(true)
  expect(keyspace.delete("k", 6)).toBe(true)
  fill(keyspace, "k", "v", clock.ms + 5)
  clock.ms += 5
  keyspace.advance(clock.ms, 10)
  fill(keyspace, "k", "v")
  expect([keyspace.flush(), keyspace.size, engine.runner.counters.runs]).toEqual([1, 0, 0])
})
