/** What a trigger is told: the five events, and every field of `event`. */
import { describe, expect, it } from "vitest"
import { Cause, type Meta, noMeta, type Value } from "../../src/kernel/index.ts"
import { eventFields } from "../../src/triggers/EventFields.ts"
import { type TriggerEventName, triggerEventNames } from "../../src/triggers/Trigger.ts"
import { type Engine, type EngineOptions, fill, makeEngine, told } from "../support/Engine.ts"

const theFive = triggerEventNames.slice(0, 5)

/** An engine whose only trigger tells, as JSON, what its events look like. */
const listening = (fields: string, events: readonly TriggerEventName[] = theFive, options?: EngineOptions) => {
  const engine = makeEngine(options)
  engine.trigger({ name: "ear", events, source: `cache.emit("seen", ${fields})` })
  return { ...engine, seen: () => told(engine) }
}

const metaOf = (meta: Partial<Meta>): Meta => ({ ...noMeta, ...meta })

describe("each event fires its triggers and no others", () => {
  const happenings: Record<TriggerEventName, (engine: Engine) => void> = {
    ON_WRITE: ({ keyspace }) => keyspace.set("k", "v"),
    ON_READ: ({ keyspace }) => keyspace.get("old"),
    ON_DELETE: ({ keyspace }) => keyspace.delete("old"),
    ON_EXPIRE: ({ keyspace, clock }) => {
      clock.ms += 10_000
      keyspace.advance(clock.ms, 100)
    },
    ON_EVICT: ({ keyspace }) => keyspace.set("one too many", "v"),
    ON_FLUSH: ({ keyspace }) => keyspace.flush(),
    ON_TOUCH: ({ keyspace }) => keyspace.expireAt("old", 0),
    BEFORE_WRITE: ({ keyspace }) => keyspace.set("k", "v"),
    BEFORE_DELETE: ({ keyspace }) => keyspace.delete("old")
  }

  for (const event of triggerEventNames) {
    it(`${event} reaches those who ask for it, with its name as event.type`, () => {
      const engine = makeEngine({ maxEntries: event === "ON_EVICT" ? 1 : 10 })
      engine.keyspace.set("old", "v", engine.clock.ms + 10_000)
      for (const each of triggerEventNames) {
        engine.trigger({ name: each, events: [each], source: `cache.emit("${each}", event.type)` })
      }
      happenings[event](engine)
      const heard = engine.emits.filter(({ channel }) => channel === event)
      expect(heard).toEqual([{ channel: event, payload: event }])
      // Who is asked before a write hears of it too, and an eviction needs a write.
      const others = { ON_EVICT: 2, ON_WRITE: 1, ON_DELETE: 1, BEFORE_WRITE: 1, BEFORE_DELETE: 1 }
      expect(engine.emits.length).toBe(1 + ((others as Record<string, number>)[event] ?? 0))
    })
  }

  it("one trigger hears all events that it names", () => {
    const { keyspace, seen } = listening("{ event.type }", ["ON_WRITE", "ON_READ", "ON_DELETE"])
    keyspace.set("k", "v")
    keyspace.get("k")
    keyspace.delete("k")
    expect(seen()).toEqual([["ON_WRITE"], ["ON_READ"], ["ON_DELETE"]])
  })

  it("an invalidation is a delete with another cause", () => {
    const { keyspace, seen } = listening("{ event.type, event.cause }")
    keyspace.set("k", "v")
    keyspace.delete("k", Cause.invalidate)
    expect(seen()).toEqual([
      ["ON_WRITE", "write"],
      ["ON_DELETE", "invalidate"]
    ])
  })

  it("a change of the deadline, a look, a miss, a fill and a flush are none of the five", () => {
    const { keyspace, clock, seen } = listening("{ event.type }")
    fill(keyspace, "k", "v")
    keyspace.expireAt("k", clock.ms + 1000)
    keyspace.peek("k")
    keyspace.get("nobody")
    keyspace.delete("nobody")
    keyspace.flush()
    expect(seen()).toEqual([])
  })

  it("a trigger hears only keys that its pattern matches", () => {
    const { keyspace, trigger, emits } = makeEngine()
    trigger({ pattern: "a*", source: 'cache.emit("prefix", event.key)' })
    trigger({ pattern: "ab", source: 'cache.emit("exact", event.key)' })
    trigger({ pattern: "*", source: 'cache.emit("all", event.key)' })
    for (const key of ["a", "ab", "abc", "b"]) keyspace.set(key, "v")
    const keysOf = (name: string) => emits.filter(({ channel }) => channel === name).map(({ payload }) => payload)
    expect([keysOf("prefix"), keysOf("exact"), keysOf("all")]).toEqual([
      ["a", "ab", "abc"],
      ["ab"],
      ["a", "ab", "abc", "b"]
    ])
  })

  it("a pattern of text matches keys of the same text, also beyond ASCII", () => {
    const { keyspace, trigger, emits } = makeEngine()
    trigger({ pattern: "ключ:*", source: 'cache.emit("x", event.key)' })
    const key = Buffer.from("ключ:7").toString("latin1")
    keyspace.set(key, "v")
    expect(emits).toEqual([{ channel: "x", payload: key }])
  })
})

describe("the value before and after", () => {
  it("a create has no old value, an update the one before it", () => {
    const { keyspace, seen } = listening("{ event.value, event.old_value or 'none', event.old_value == nil }")
    keyspace.set("k", "first")
    keyspace.set("k", "second")
    expect(seen()).toEqual([
      ["first", "none", true],
      ["second", "first", false]
    ])
  })

  it("an overwritten entry past its deadline expires first, and the write is a create (law 3)", () => {
    const { keyspace, clock, seen } = listening("{ event.type, event.value, event.old_value or 'none' }")
    keyspace.set("k", "first", clock.ms + 10)
    clock.ms += 10
    keyspace.set("k", "second")
    expect(seen().slice(1)).toEqual([
      ["ON_EXPIRE", "first", "first"],
      ["ON_WRITE", "second", "none"]
    ])
  })

  it("a read has the value and no old one", () => {
    const { keyspace, seen } = listening("{ event.value, event.old_value == nil }", ["ON_READ"])
    keyspace.set("k", "v")
    keyspace.get("k")
    expect(seen()).toEqual([["v", true]])
  })

  it("a delete, an expiry and an eviction have the value that went away, under both names", () => {
    const { keyspace, clock, seen } = listening(
      "{ event.type, event.key, event.value, event.old_value }",
      ["ON_DELETE", "ON_EXPIRE", "ON_EVICT"],
      { maxEntries: 2 }
    )
    keyspace.set("gone", "g")
    keyspace.delete("gone")
    keyspace.set("late", "l", clock.ms + 5)
    clock.ms += 5
    keyspace.advance(clock.ms, 10)
    for (const key of ["one", "two", "three"]) keyspace.set(key, key)
    expect(seen()).toEqual([
      ["ON_DELETE", "gone", "g", "g"],
      ["ON_EXPIRE", "late", "l", "l"],
      ["ON_EVICT", "one", "one", "one"]
    ])
  })

  it("bytes that are no UTF-8 arrive as they are", () => {
    const engine = makeEngine()
    engine.trigger({ source: 'cache.emit(event.key, event.value .. "|" .. #event.value)' })
    engine.keyspace.set("\xff\0k", "\x80\0\xfe")
    expect(engine.emits).toEqual([{ channel: "\xff\0k", payload: "\x80\0\xfe|3" }])
  })

  it("structured values arrive as tables, numbers and booleans, also as old values", () => {
    const { keyspace, seen } = listening(
      "{ event.value.list[2], event.value.deep.er, event.value.n, event.value.yes, event.old_value and event.old_value.n or 0 }"
    )
    keyspace.set("k", { list: ["a", "b"], deep: { er: "ü" }, n: 7, yes: true })
    keyspace.set("k", { list: ["a", "c"], deep: { er: "x" }, n: 8, yes: false })
    expect(seen()).toEqual([
      ["b", "ü", 7, true, 0],
      ["c", "x", 8, false, 7]
    ])
  })

  it("a stored nil is a value of its own kind: nil in Lua, and no deletion", () => {
    const { keyspace, seen } = listening("{ event.type, event.value == nil, event.old_value or 'none' }")
    keyspace.set("k", "before")
    keyspace.set("k", null)
    expect(seen()).toEqual([
      ["ON_WRITE", false, "none"],
      ["ON_WRITE", true, "before"]
    ])
  })

  it("what one trigger does to event.value is not seen by the next, nor by the cache", () => {
    const { keyspace, trigger, emits } = makeEngine()
    trigger({ source: "event.value.n = 99 event.value = nil event.key = 'other'" })
    trigger({ source: "cache.emit(event.key, event.value)" })
    const value = { n: 1 }
    keyspace.set("k", value)
    expect(emits).toEqual([{ channel: "k", payload: '{"n":1}' }])
    expect(keyspace.peek("k")?.value).toBe(value)
  })

  it("a value that is too deep for Lua fails the run and says so, instead of looking like none", () => {
    const { keyspace, trigger, log, emits } = makeEngine()
    trigger({ name: "reads", source: 'cache.emit("x", type(event.value))' })
    trigger({ name: "does-not", source: 'cache.emit("x", event.key)' })
    let deep: Value = "bottom"
    for (let i = 0; i < 17; i++) deep = [deep] as Value
    expect(keyspace.set("k", deep)).toBe(true)
    expect(emits).toEqual([{ channel: "x", payload: "k" }])
    const [record] = log.recent(9)
    expect(record).toMatchObject({ trigger: "reads", kind: "error" })
    expect(record?.message).toMatch(/^event\.value.* is nested deeper than 16$/)
  })
})

describe("event.changed", () => {
  it.each<[string, Value | undefined, Value, boolean]>([
    ["a create", undefined, "v", true],
    ["the same bytes", "v", "v", false],
    ["other bytes", "v", "w", true],
    ["the same structure", { a: [1, { b: "x" }] }, { a: [1, { b: "x" }] }, false],
    ["another leaf", { a: [1, { b: "x" }] }, { a: [1, { b: "y" }] }, true],
    ["a number for the same digits", "5", 5, true],
    ["nil for nil", null, null, false]
  ])("of %s", (_, before, after, isChanged) => {
    const { keyspace, seen } = listening("{ event.changed }", ["ON_WRITE"])
    if (before !== undefined) keyspace.set("k", before)
    seen()
    keyspace.set("k", after)
    expect(seen()).toEqual([[isChanged]])
  })

  it("is false for a read and true for a removal", () => {
    const { keyspace, seen } = listening("{ event.changed }", ["ON_READ", "ON_DELETE"])
    keyspace.set("k", "v")
    keyspace.get("k")
    keyspace.delete("k")
    expect(seen()).toEqual([[false], [true]])
  })
})

describe("what is attached to the entry", () => {
  const attached = metaOf({
    metadata: { by: "ann", n: 2 },
    tags: ["red", Buffer.from("grün").toString("latin1")],
    cost: 12
  })
  const fields = "{ event.metadata, event.tags, event.cost }"
  const asSeen = [{ by: "ann", n: 2 }, ["red", "grün"], 12]

  it("metadata, tags and cost come with each of the five events", () => {
    const { keyspace, clock, seen } = listening(fields, theFive, { maxEntries: 1 })
    keyspace.set("k", "v", 0, attached)
    keyspace.get("k")
    keyspace.delete("k")
    keyspace.set("k", "v", clock.ms + 5, attached)
    clock.ms += 5
    keyspace.advance(clock.ms, 10)
    keyspace.set("k", "v", 0, attached)
    keyspace.set("l", "v")
    const all = seen()
    expect(all.slice(0, 6)).toEqual(Array(6).fill(asSeen))
    expect(all[7]).toEqual(asSeen)
    expect(all.length).toBe(8)
  })

  it("metadata and tags are tables even where nothing is attached", () => {
    const { keyspace, seen } = listening(
      "{ type(event.metadata), next(event.metadata) == nil, type(event.tags), #event.tags, event.cost }"
    )
    keyspace.set("k", "v")
    keyspace.set("l", "v", 0, metaOf({ tags: ["t"] }))
    expect(seen()).toEqual([
      ["table", true, "table", 0, 0],
      ["table", true, "table", 1, 0]
    ])
  })

  it("a whole cost reads as a whole number", () => {
    const { keyspace, trigger, emits } = makeEngine()
    trigger({ source: 'cache.emit("cost", "cost " .. event.cost)' })
    keyspace.set("k", "v", 0, metaOf({ cost: 12 }))
    keyspace.set("l", "v", 0, metaOf({ cost: 0.5 }))
    expect(emits.map(({ payload }) => payload)).toEqual(["cost 12", "cost 0.5"])
  })

  it("a tag that is no UTF-8 keeps its bytes", () => {
    const { keyspace, trigger, emits } = makeEngine()
    trigger({ source: 'cache.emit("tag", event.tags[1])' })
    keyspace.set("k", "v", 0, metaOf({ tags: ["\xff\xfe"] }))
    expect(emits).toEqual([{ channel: "tag", payload: "\xff\xfe" }])
  })

  it("the bytes of a key __proto__ in metadata are a key like any other", () => {
    const metadata = JSON.parse('{"__proto__": {"polluted": "yes"}}')
    const { keyspace, seen } = listening("{ event.metadata.__proto__.polluted, event.metadata.polluted == nil }")
    keyspace.set("k", "v", 0, metaOf({ metadata }))
    expect(seen()).toEqual([["yes", true]])
  })
})

describe("time", () => {
  it("timestamp is the event's time in seconds", () => {
    const { keyspace, clock, seen } = listening("{ event.timestamp }")
    clock.ms = 1_700_000_000_250
    keyspace.set("k", "v")
    expect(seen()).toEqual([[1_700_000_000.25]])
  })

  it("ttl is what is left in seconds, and nil without a deadline", () => {
    const { keyspace, clock, seen } = listening("{ event.ttl or 'none' }", ["ON_WRITE", "ON_READ", "ON_DELETE"])
    keyspace.set("k", "v")
    keyspace.set("k", "v", clock.ms + 1500)
    clock.ms += 250
    keyspace.get("k")
    clock.ms += 250
    keyspace.delete("k")
    expect(seen()).toEqual([["none"], [1.5], [1.25], [1]])
  })

  it("an expiry has no time left, and knows how late it is", () => {
    const { keyspace, clock, seen } = listening("{ event.ttl, event.late }", ["ON_EXPIRE"])
    keyspace.set("k", "v", clock.ms + 100)
    clock.ms += 130
    keyspace.advance(clock.ms, 10)
    expect(seen()).toEqual([[0, 0.03]])
  })

  it("an expiry in time is late by zero, not by minus zero", () => {
    const { keyspace, clock, trigger, emits } = makeEngine()
    trigger({ events: ["ON_EXPIRE"], source: 'cache.emit("late", tostring(event.late))' })
    keyspace.set("k", "v", clock.ms + 100)
    clock.ms += 100
    keyspace.advance(clock.ms, 10)
    expect(emits).toEqual([{ channel: "late", payload: "0.0" }])
  })

  it("nothing else is late", () => {
    const { keyspace, clock, seen } = listening("{ event.late }", ["ON_WRITE", "ON_DELETE"])
    keyspace.set("k", "v", clock.ms + 100)
    clock.ms += 30
    keyspace.delete("k")
    expect(seen()).toEqual([[0], [0]])
  })

  it("os.time is the cache's clock", () => {
    const { keyspace, clock, seen } = listening("{ os.time() }")
    clock.ms = 86_400_000
    keyspace.set("k", "v")
    expect(seen()).toEqual([[86_400]])
  })
})

describe("where an event comes from", () => {
  const fields = "{ event.depth, event.cascade, event.path }"

  it("a client's event is at depth 0 of a cascade of its own, led to by nobody", () => {
    const { keyspace, seen } = listening(fields)
    keyspace.set("k", "v")
    keyspace.set("k", "v")
    expect(seen()).toEqual([
      [0, "boot-1", {}],
      [0, "boot-2", {}]
    ])
  })

  it("a trigger's write is one deeper, in the same cascade, behind the triggers that led to it", () => {
    const engine = makeEngine()
    engine.trigger({ name: "first", pattern: "a", source: 'cache.set("b", 1)' })
    engine.trigger({ name: "second", pattern: "b", source: 'cache.set("c", 1)' })
    engine.trigger({ name: "ear", pattern: "*", source: `cache.emit("seen", ${fields})` })
    engine.keyspace.set("a", "v")
    expect(told(engine)).toEqual([
      [0, "boot-1", {}],
      [1, "boot-1", ["first"]],
      [2, "boot-1", ["first", "second"]]
    ])
  })

  it("the entries that a trigger's write pushes out are of its cascade too", () => {
    const engine = makeEngine({ maxEntries: 2 })
    engine.trigger({ name: "first", pattern: "a", source: 'cache.set("b", 1)' })
    engine.trigger({
      name: "ear",
      events: ["ON_EVICT"],
      source: `cache.emit("seen", { event.key, event.depth, event.path })`
    })
    engine.keyspace.set("old", "v")
    engine.keyspace.set("a", "v")
    expect(told(engine)).toEqual([["old", 1, ["first"]]])
  })

  it("version counts the changes; a read has that of the entry", () => {
    const { keyspace, seen } = listening("{ event.type, event.version }")
    keyspace.set("k", "v")
    keyspace.set("l", "v")
    keyspace.get("k")
    keyspace.delete("k")
    expect(seen()).toEqual([
      ["ON_WRITE", 1],
      ["ON_WRITE", 2],
      ["ON_READ", 1],
      ["ON_DELETE", 3]
    ])
  })

  it("origin names this start of the process", () => {
    const { keyspace, seen } = listening("{ event.origin }")
    keyspace.set("k", "v")
    expect(seen()).toEqual([["boot"]])
  })
})

describe("how a source may get at the event", () => {
  it.each([
    ["the global", "event.key"],
    ["a string as the field's name", 'event["key"]'],
    ["another name for it", "(function() local e = event return e.key end)()"],
    ["the chunk's argument", "(...).key"],
    ["a field's name that is computed", 'event["ke" .. "y"]'],
    ["_ENV", "_ENV.event.key"],
    ["_G", "_G.event.key"],
    ["a program that is loaded", 'load("return event.key")()']
  ])("%s", (_, expression) => {
    const vararg = expression === "(...).key" ? "local key = (...).key " : ""
    const { keyspace, trigger, emits, log } = makeEngine()
    trigger({ source: `${vararg}cache.emit("x", ${vararg === "" ? expression : "key"})` })
    keyspace.set("k", "v")
    expect(log.recent(1)).toEqual([])
    expect(emits).toEqual([{ channel: "x", payload: "k" }])
  })

  it("all fields are there for a source that walks through the event", () => {
    const { keyspace, clock, trigger, emits } = makeEngine()
    trigger({
      source: 'local names = {} for name in pairs(event) do names[#names + 1] = name end cache.emit("x", names)',
      timeoutUs: 1000
    })
    keyspace.set("k", "v")
    keyspace.set("k", "w", clock.ms + 1)
    expect(new Set(JSON.parse(emits[1]?.payload ?? "[]"))).toEqual(new Set(eventFields))
  })
})
