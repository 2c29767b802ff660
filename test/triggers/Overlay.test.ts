/** All or nothing (law 6): what a run wants is committed when it returns, and leaves no trace when it does not. */
import { describe, expect, it } from "vitest"
import type { FailureKind } from "../../src/triggers/TriggerStats.ts"
import { type Engine, makeEngine } from "../support/Engine.ts"

type Ending = Exclude<FailureKind, "rejected">

/** Each way to fail by itself, and a source that fails so. By fuel, so that it is the same way everywhere. */
const endings: Record<Ending, string> = {
  error: 'error("no")',
  timeout: "while true do end",
  memory: "local t = {} for i = 1, 1e6 do t[i] = { i } end",
  killed: "xpcall(error, function() while true do end end)"
}

const everything = `
  cache.set("new", { n = 1 }, { ttl = 60, metadata = { by = "me" } })
  cache.set("there", "changed")
  cache.delete("away")
  cache.emit("x", "emitted")
  cache.log("logged") print("printed")
  cache.webhook("http://a", "sent")
  scratch = "made"`

/** Everything that a run could have left behind. */
const stateOf = ({ keyspace, emits, webhooks, lines }: Engine) => {
  const entries: unknown[] = []
  keyspace.scan(0, 1000, ({ key, value, version, expiresAtMs }) => entries.push([key, value, version, expiresAtMs]))
  return { entries, version: keyspace.version, stats: { ...keyspace.stats }, emits, webhooks, lines }
}

const withEntries = () => {
  const engine = makeEngine({ fuelMax: 20_000 })
  engine.keyspace.set("there", "v")
  engine.keyspace.set("away", "v")
  engine.keyspace.set("go", "before")
  return engine
}

describe.each(Object.keys(endings) as Ending[])("a run that ends as %s", (kind) => {
  it("drops all that it did, and the client's operation succeeds", () => {
    const bare = withEntries()
    bare.keyspace.set("go", "v")
    const engine = withEntries()
    engine.trigger({ name: "t", pattern: "go", source: `${everything} ${endings[kind]}` })
    expect(engine.keyspace.set("go", "v")).toBe(true)
    expect(stateOf(engine)).toEqual(stateOf(bare))
    expect(engine.keyspace.origin).toBe(null)
  })

  it("is recorded with its event, and counted", () => {
    const engine = withEntries()
    const { stats } = engine.trigger({ name: "t", pattern: "go", source: `\n${everything} ${endings[kind]}` })
    engine.keyspace.set("go", "v")
    expect(engine.log.recent(9)).toEqual([
      {
        id: 1,
        atMs: engine.clock.ms,
        trigger: "t",
        event: "ON_WRITE",
        sequence: 1,
        key: "go",
        kind,
        count: 1,
        message: expect.stringMatching(/^line \d+: /)
      }
    ])
    expect(stats.failures).toEqual({ error: 0, timeout: 0, memory: 0, killed: 0, rejected: 0, [kind]: 1 })
    expect([stats.runs, stats.writes, stats.deletes, stats.emits, stats.logs, stats.webhooks]).toEqual([
      1, 0, 0, 0, 0, 0
    ])
    expect(engine.runner.counters).toMatchObject({ runs: 1, failuresOf: stats.failures })
  })

  it("does not stop the triggers after it, who see nothing of it (law 8)", () => {
    const engine = withEntries()
    engine.trigger({ pattern: "go", source: `${everything} ${endings[kind]}` })
    engine.trigger({
      pattern: "go",
      source: 'cache.set("after", { cache.get("there"), cache.get("away"), tostring(cache.get("new")) })'
    })
    engine.keyspace.set("go", "v")
    expect(engine.keyspace.peek("after")?.value).toEqual(["v", "v", "nil"])
  })

  it("leaves nothing in Lua's globals, neither its own nor those of others in its machine", () => {
    const engine = withEntries()
    engine.trigger({ pattern: "go", source: 'count = (count or 0) + 1 cache.set("count", count)' })
    engine.trigger({
      pattern: "go",
      source: `cache.set("scratch", tostring(scratch)) if event.value == "fail" then ${everything} ${endings[kind]} end`
    })
    for (const value of ["ok", "ok", "fail", "ok"]) engine.keyspace.set("go", value)
    expect(engine.machines.size).toBe(1)
    expect([engine.keyspace.peek("count")?.value, engine.keyspace.peek("scratch")?.value]).toEqual([1, "nil"])
  })

  it("and the next event of the same trigger works", () => {
    const engine = withEntries()
    engine.trigger({
      pattern: "go",
      source: `if event.value == "fail" then ${everything} ${endings[kind]} end cache.set("done", event.value)`
    })
    for (const value of ["fail", "fine"]) engine.keyspace.set("go", value)
    expect(engine.keyspace.peek("done")?.value).toBe("fine")
    expect(engine.keyspace.peek("there")?.value).toBe("v")
  })
})

describe("a run that returns", () => {
  it("commits all that it did", () => {
    const engine = withEntries()
    const { stats } = engine.trigger({ name: "t", pattern: "go", source: everything })
    engine.keyspace.set("go", "v")
    expect(engine.keyspace.peek("new")).toMatchObject({ value: { n: 1 }, expiresAtMs: engine.clock.ms + 60_000 })
    expect(engine.keyspace.peek("there")?.value).toBe("changed")
    expect(engine.keyspace.peek("away")).toBeUndefined()
    expect([engine.emits.length, engine.lines.length, engine.webhooks.length]).toEqual([1, 2, 1])
    expect([stats.writes, stats.deletes, stats.emits, stats.logs, stats.webhooks]).toEqual([2, 1, 1, 2, 1])
  })

  it("commits its changes in the order in which it first touched the keys", () => {
    const engine = withEntries()
    engine.trigger({
      pattern: "go",
      source: 'cache.set("b", 1) cache.set("a", 1) cache.delete("there") cache.set("b", 2)'
    })
    engine.keyspace.log.open(100)
    engine.keyspace.set("go", "v")
    expect(engine.keyspace.log.recent().map(({ key }) => key)).toEqual(["go", "b", "a", "there"])
  })

  it("commits what it did before an error that it caught", () => {
    const engine = withEntries()
    engine.trigger({
      pattern: "go",
      source: 'cache.set("a", 1) pcall(error, "no") pcall(cache.set, {}, 1) cache.set("b", 2)'
    })
    engine.keyspace.set("go", "v")
    expect([engine.keyspace.peek("a")?.value, engine.keyspace.peek("b")?.value]).toEqual([1, 2])
  })

  it("keeps its globals until something fails: they are scratch", () => {
    const engine = withEntries()
    engine.trigger({ pattern: "go", source: 'count = (count or 0) + 1 cache.set("count", count)' })
    for (let i = 0; i < 3; i++) engine.keyspace.set("go", "v")
    expect(engine.keyspace.peek("count")?.value).toBe(3)
  })
})

it("a commit that throws, which is a defect, leaves no origin behind and an engine that works", () => {
  const engine = makeEngine()
  engine.trigger({ name: "t", pattern: "go", source: 'cache.set("k", event.value) cache.emit("x", 1)' })
  const { keyspace } = engine
  const real = keyspace.set.bind(keyspace)
  keyspace.set = (key, ...rest) => {
    if (key === "k") throw new Error("a defect")
    return real(key, ...rest)
  }
  expect(keyspace.set("go", "v")).toBe(true)
  expect(keyspace.stats.sinkErrors).toBe(1)
  expect(keyspace.origin).toBe(null)
  keyspace.set = real
  keyspace.set("go", "w")
  expect(keyspace.peek("k")?.value).toBe("w")
  expect(engine.emits.length).toBe(1)
})
