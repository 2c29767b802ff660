/** Setting, replacing and removing triggers, and what is refused. */
import { describe, expect, it } from "vitest"
import {
  memoryBytesMax,
  optionsDefault,
  describe as shown,
  Trigger,
  type TriggerEventName,
  type TriggerInput,
  timeoutUsMax,
  triggerEventNames
} from "../../src/triggers/Trigger.ts"
import { InvalidTrigger, TooManyTriggers, TooMuchSource, TriggerSyntaxError } from "../../src/triggers/TriggerError.ts"
import { registryLimitsDefault, TriggerRegistry } from "../../src/triggers/TriggerRegistry.ts"
import { type Engine, makeEngine } from "../support/Engine.ts"

const heard = ({ emits }: Engine) => emits.splice(0).map(({ payload }) => payload)

const input = (changes: Partial<TriggerInput> = {}): TriggerInput => ({
  name: "t",
  pattern: "*",
  events: ["ON_WRITE"],
  source: "return 1",
  ...changes
})

const { sourceBytesMax, triggersMax } = registryLimitsDefault

describe("setting a trigger", () => {
  it("fills in the defaults", () => {
    const engine = makeEngine()
    engine.registry.set(input())
    const definition = { ...input(), ...optionsDefault, timeoutUs: 100, memoryBytes: 65_536, priority: 0 }
    expect(engine.registry.get("t")?.definition).toEqual(definition)
  })

  it("keeps its events in one order, each once", () => {
    const engine = makeEngine()
    engine.registry.set(input({ events: ["ON_DELETE", "ON_WRITE", "ON_DELETE"] }))
    expect(engine.registry.get("t")?.definition.events).toEqual(["ON_WRITE", "ON_DELETE"])
  })

  it("works for keys that are there already", () => {
    const engine = makeEngine()
    engine.keyspace.set("k", "v")
    engine.trigger({ events: ["ON_READ"], source: 'cache.emit("x", event.key)' })
    engine.keyspace.get("k")
    expect(heard(engine)).toEqual(["k"])
  })

  it("refuses a glob for which there is no room, and keeps what runs under the name", () => {
    const engine = makeEngine()
    const glob = (i: number) => `*${i}`.padEnd(1_024, "?")
    for (let i = 0; i < 64; i++) engine.trigger({ name: `t${i}`, pattern: glob(i), source: "return 1" })
    engine.trigger({ name: "guard", pattern: "a*", source: 'cache.emit("x", "guarded")' })
    const refused = new InvalidTrigger({
      trigger: "guard",
      field: "pattern",
      reason:
        "all globs together have 65536 bytes already, of 65536; remove a trigger on a glob first, or use a key or a prefix that ends in '*'"
    })
    expect(engine.registry.set(input({ name: "guard", pattern: "*a?" }))).toEqual(refused)
    engine.keyspace.set("a", "v")
    expect(heard(engine)).toEqual(["guarded"])
    expect(engine.registry.history("guard")).toMatchObject({ live: 1, versions: [{ version: 1 }] })
    expect(engine.registry.set(input({ name: "t0", pattern: glob(64) }))).toBeInstanceOf(Trigger)
    engine.registry.remove("t1")
    expect(engine.registry.set(input({ name: "guard", pattern: "*a?" }))).toBeInstanceOf(Trigger)
  })

  it("again by its name puts the new one in its place: source, pattern and events", () => {
    const engine = makeEngine()
    engine.trigger({ name: "t", pattern: "a", source: 'cache.emit("x", "old")' })
    engine.keyspace.set("a", "v")
    engine.trigger({ name: "t", pattern: "b*", events: ["ON_DELETE"], source: 'cache.emit("x", "new")' })
    for (const key of ["a", "b1"]) {
      engine.keyspace.set(key, "v")
      engine.keyspace.delete(key)
    }
    expect(heard(engine)).toEqual(["old", "new"])
    expect(engine.registry.size).toBe(1)
    engine.keyspace.trie.checkInvariants()
  })

  it("again begins its counts anew", () => {
    const engine = makeEngine()
    engine.trigger({ name: "t", source: 'error("no")' })
    engine.keyspace.set("k", "v")
    const again = engine.trigger({ name: "t", source: "return 1" })
    expect([again.stats.runs, again.stats.failures.error]).toEqual([0, 0])
  })

  it("that is refused leaves the old one in place and at work", () => {
    const engine = makeEngine()
    engine.trigger({ name: "t", source: 'cache.emit("x", "old")' })
    expect(engine.registry.set(input({ source: "return return" }))).toBeInstanceOf(TriggerSyntaxError)
    expect(engine.registry.set(input({ priority: 0.5 }))).toBeInstanceOf(InvalidTrigger)
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["old"])
  })

  it("from within a trigger's own chain of events cannot happen, but from a listener it can, at once", () => {
    const engine: Engine = makeEngine({
      ports: {
        emits: {
          publish: (channel, payload) => {
            engine.emits.push({ channel, payload })
            engine.trigger({ name: "t", source: 'cache.emit("x", "second")' })
          }
        }
      }
    })
    engine.trigger({ name: "t", source: 'cache.emit("x", "first")' })
    engine.keyspace.set("k", "v")
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["first", "second"])
  })
})

describe("removing a trigger", () => {
  it("ends it at once, and leaves the others", () => {
    const engine = makeEngine()
    for (const name of ["a", "b"]) engine.trigger({ name, source: `cache.emit("x", "${name}")` })
    engine.keyspace.set("k", "v")
    expect(engine.registry.remove("a")).toBe(true)
    engine.keyspace.set("k", "v")
    expect(heard(engine)).toEqual(["a", "b", "b"])
    expect([...engine.registry.all()].map(({ name }) => name)).toEqual(["b"])
    engine.keyspace.trie.checkInvariants()
  })

  it("that is not there answers false", () => {
    const engine = makeEngine()
    expect(engine.registry.remove("nobody")).toBe(false)
    engine.trigger({ name: "t", source: "return 1" })
    expect([engine.registry.remove("t"), engine.registry.remove("t")]).toEqual([true, false])
  })

  it("costs the keys nothing afterwards: no event is built for them", () => {
    const engine = makeEngine()
    engine.trigger({ name: "t", source: "return 1" })
    engine.registry.remove("t")
    expect(engine.keyspace.trie.mask).toBe(0)
  })

  it("many times over leaves nothing behind in the machines", () => {
    const engine = makeEngine()
    const round = (i: number) => {
      engine.trigger({ name: "t", source: `local t = { ${i} } cache.set("k", t[1])`, pattern: "go" })
      engine.keyspace.set("go", "v")
      engine.registry.remove("t")
    }
    for (let i = 0; i < 50; i++) round(i)
    const bytes = engine.workers[0]?.vm?.bytesUsed ?? 0
    for (let i = 0; i < 500; i++) round(i)
    expect(engine.keyspace.peek("k")?.value).toBe(499)
    expect(Math.abs((engine.workers[0]?.vm?.bytesUsed ?? 0) - bytes)).toBeLessThan(4096)
    expect([engine.machines.size, engine.workers[0]?.vm?.isWorn]).toEqual([1, false])
  })
})

describe("what is refused, and in which words", () => {
  it.each<[string, Partial<TriggerInput>, string]>([
    ["an empty name", { name: "" }, "name: '' is not 1 to 128 letters, digits, '_', '.', ':' or '-'"],
    ["a name with a space", { name: "a b" }, "name: 'a b' is not 1 to 128 letters, digits, '_', '.', ':' or '-'"],
    ["a name of two lines", { name: "a\n" }, "name: 'a\n' is not 1 to 128 letters, digits, '_', '.', ':' or '-'"],
    [
      "a long name",
      { name: "n".repeat(129) },
      `name: '${"n".repeat(40)}' is not 1 to 128 letters, digits, '_', '.', ':' or '-'`
    ],
    [
      "no pattern",
      { pattern: "" },
      "pattern: pattern '' is empty; use an exact key, a prefix that ends in '*', or a glob of * ? [ab] [^a-z]"
    ],
    [
      "ON_FLUSH of some keys",
      { pattern: "a*", events: ["ON_FLUSH"] },
      "pattern: ON_FLUSH is about all keys at once: use '*' instead of 'a*'"
    ],
    ["no sample", { sample: 0 }, "sample: 0 is not a whole number from 1 to 1000000: one event in so many"],
    ["an unknown scope", { scope: "here" as "all" }, "scope: 'here' is none of all, local"],
    ["fills that are no writes", { events: ["ON_READ"], includeFill: true }, "include: 'fill' goes with ON_WRITE"],
    ["flushes that are no deletes", { includeFlush: true }, "include: 'flush' goes with ON_DELETE"],
    [
      "FAILCLOSED after the event",
      { failClosed: true },
      "failclosed: it goes with BEFORE_WRITE and BEFORE_DELETE: nothing else can be refused"
    ],
    ["no event", { events: [] }, `events: name at least one of ${triggerEventNames.join(", ")}`],
    [
      "an unknown event",
      { events: ["ON_FIRE" as TriggerEventName] },
      `events: 'ON_FIRE' is none of ${triggerEventNames.join(", ")}`
    ],
    [
      "a name of Object's for an event",
      { events: ["toString" as TriggerEventName] },
      `events: 'toString' is none of ${triggerEventNames.join(", ")}`
    ],
    ["no time", { timeoutUs: 0 }, "timeout: 0 is not a whole number of microseconds from 1 to 1000"],
    ["too much time", { timeoutUs: 1001 }, "timeout: 1001 is not a whole number of microseconds from 1 to 1000"],
    ["a fraction of time", { timeoutUs: 1.5 }, "timeout: 1.5 is not a whole number of microseconds from 1 to 1000"],
    ["NaN as time", { timeoutUs: Number.NaN }, "timeout: NaN is not a whole number of microseconds from 1 to 1000"],
    ["no memory", { memoryBytes: 1023 }, "memory: 1023 is not a whole number of bytes from 1024 to 1048576"],
    [
      "too much memory",
      { memoryBytes: memoryBytesMax + 1 },
      "memory: 1048577 is not a whole number of bytes from 1024 to 1048576"
    ],
    ["a fraction as priority", { priority: 0.5 }, "priority: 0.5 is not a whole number from -1000000 to 1000000"],
    [
      "a priority beyond the bounds",
      { priority: 1_000_001 },
      "priority: 1000001 is not a whole number from -1000000 to 1000000"
    ],
    ["an empty source", { source: " \n" }, "source: is empty"],
    [
      "a source of too many characters",
      { source: `--${"x".repeat(65_535)}` },
      "source: has 65537 bytes; 65536 are allowed"
    ],
    ["a source of too many bytes", { source: `--${"ü".repeat(32_768)}` }, "source: has 65538 bytes; 65536 are allowed"]
  ])("%s", (_, changes, words) => {
    const { registry } = makeEngine()
    const refused = registry.set(input(changes))
    expect(refused).toBeInstanceOf(InvalidTrigger)
    expect((refused as InvalidTrigger).message).toBe(words)
    expect(registry.size).toBe(0)
  })

  it("a pattern of too many bytes", () => {
    const { registry } = makeEngine()
    const refused = registry.set(input({ pattern: "ü".repeat(513) }))
    expect((refused as InvalidTrigger).message).toMatch(/^pattern: pattern 'ü+' is longer than 1024 bytes;/)
    expect(registry.set(input({ pattern: "ü".repeat(512) }))).not.toBeInstanceOf(InvalidTrigger)
  })

  it("the bounds themselves are within", () => {
    const { registry } = makeEngine()
    for (const changes of [
      { name: "n".repeat(128), timeoutUs: 1, memoryBytes: 1024, priority: -1_000_000 },
      { timeoutUs: timeoutUsMax, memoryBytes: memoryBytesMax, priority: 1_000_000, source: `--${"x".repeat(65_534)}` }
    ]) {
      expect(registry.set(input(changes))).not.toBeInstanceOf(Error)
    }
  })

  it.each([
    ["return return", 1, 8, "unexpected symbol near 'return'"],
    ["local a = 1\nlocal b =\n", 2, 10, "unexpected symbol near <eof>"],
    ['cache.set("k"', 1, 13, "')' expected near <eof>"],
    ["x = = 1", 1, 5, "unexpected symbol near '='"],
    ["goto nowhere", 1, 12, "no visible label 'nowhere' for <goto> at line 1"],
    ["\x1bLua", 1, 1, "attempt to load a binary chunk (mode is 't')"]
  ])("a source that is no Lua, with its place: %j", (source, line, column, reason) => {
    const { registry } = makeEngine()
    const refused = registry.set(input({ name: "my.trigger", source }))
    expect(refused).toBeInstanceOf(TriggerSyntaxError)
    const error = refused as TriggerSyntaxError
    expect({ line: error.line, column: error.column, reason: error.reason }).toEqual({ line, column, reason })
    expect(error.message).toBe(`source: my.trigger:${line}:${column}: ${reason}`)
  })

  it("one more than the limit; replacing is still allowed there", () => {
    const engine = makeEngine()
    engine.registry.set(input({ name: "first" }))
    const registry = new TriggerRegistry(engine.keyspace, engine.machines, engine.clock.nowMs)
    const triggers = (registry as unknown as { registered: Map<string, unknown> }).registered
    triggers.set("t", { trigger: engine.registry.get("first"), versions: [] })
    for (let i = 1; i < triggersMax; i++) triggers.set(`filler${i}`, undefined)
    const refused = registry.set(input({ name: "one-more" }))
    expect(refused).toBeInstanceOf(TooManyTriggers)
    expect((refused as TooManyTriggers).message).toBe(
      "100000 triggers are registered, which is the limit; remove one first"
    )
    expect(registry.set(input({ name: "t" }))).not.toBeInstanceOf(Error)
  })
})

describe("the bytes of all sources", () => {
  /** A registry in which there is room for so many bytes more. */
  const withRoomFor = (bytes: number) => {
    const { registry } = makeEngine()
    Object.assign(registry, { sourceBytes: sourceBytesMax - bytes })
    return registry
  }
  const source = (bytes: number) => `--${"x".repeat(bytes - 2)}`

  it("are limited, and a trigger that would exceed them is refused and changes nothing", () => {
    const registry = withRoomFor(100)
    expect(registry.set(input({ name: "a", source: source(60) }))).toBeInstanceOf(Trigger)
    const refused = registry.set(input({ name: "b", source: source(41) }))
    expect(refused).toEqual(new TooMuchSource({ limit: 33_554_432 }))
    expect((refused as TooMuchSource).message).toBe(
      "the sources of all triggers and their versions hold 33554432 bytes, which is the limit; remove a trigger first"
    )
    expect([registry.size, registry.set(input({ name: "b", source: source(40) }))]).toEqual([1, expect.any(Trigger)])
  })

  it("count older versions, bytes and not characters, and shadows; what goes makes room", () => {
    const registry = withRoomFor(100)
    registry.set(input({ source: source(30) }))
    registry.set(input({ source: source(30).toUpperCase() }))
    expect(registry.shadow("t", { source: source(41) })).toBeInstanceOf(TooMuchSource)
    expect(registry.shadow("t", { source: source(38) })).toBeInstanceOf(Trigger)
    expect(registry.set(input({ name: "other", source: "--é" }))).toBeInstanceOf(TooMuchSource)
    registry.dropShadow("t")
    expect(registry.set(input({ name: "other", source: source(40) }))).toBeInstanceOf(Trigger)
    registry.remove("t")
    expect(registry.set(input({ name: "last", source: source(60) }))).toBeInstanceOf(Trigger)
    expect(registry.set(input({ name: "too-much", source: source(2) }))).toBeInstanceOf(TooMuchSource)
  })
})

describe("what is shown of a trigger", () => {
  it("its definition, its state, and what it has done", () => {
    const engine = makeEngine()
    const source =
      'cache.set("a", 1) cache.delete("b") cache.emit("x", 1) cache.log("l") cache.webhook("http://a", 1) if event.value == "fail" then error("no") end'
    const trigger = engine.trigger({ name: "t", pattern: "go", source, priority: 3 })
    engine.keyspace.set("b", "v")
    engine.keyspace.set("go", "v")
    engine.keyspace.set("go", "fail")
    expect(shown(trigger)).toEqual({
      name: "t",
      pattern: "go",
      events: ["ON_WRITE"],
      source,
      ...optionsDefault,
      priority: 3,
      status: "active",
      quarantine: null,
      probeAtMs: null,
      isSlower: false,
      version: 1,
      shadow: null,
      registeredAtMs: engine.clock.ms,
      runs: 2,
      failures: { error: 1, timeout: 0, memory: 0, killed: 0, rejected: 0 },
      skips: { repeat: 0, depth: 0, budget: 0, quarantined: 0, no_vm: 0, sampled: 0, derived: 0 },
      fuel: expect.any(Number),
      writes: 1,
      deletes: 1,
      emits: 1,
      webhooks: 1,
      webhooksSuppressed: 0,
      logs: 1,
      warms: 0,
      rejects: 0,
      bytesMax: expect.any(Number),
      usMean: expect.any(Number),
      usP50: expect.any(Number),
      usP99: expect.any(Number),
      usMax: expect.any(Number)
    })
  })

  it("the time of the first runs but the one that compiled, then of one in 64", () => {
    let ms = 0
    const engine = makeEngine({ monotonicMs: () => (ms += 0.005) })
    const trigger = engine.trigger({ source: "return 1" })
    expect(shown(trigger)).toMatchObject({ usMean: 0, usMax: 0 })
    engine.keyspace.set("k", "v")
    expect(trigger.stats.times.count).toBe(0)
    for (let i = 0; i < 130; i++) engine.keyspace.set("k", "v")
    expect(trigger.stats.times.count).toBe(16 + 2)
    const { usMean, usP50, usP99, usMax } = shown(trigger)
    expect([usMean, usP50, usP99, usMax].map(Math.round)).toEqual([5, 5, 5, 5])
  })
})
