/** What a trigger can do: each function of `cache`, what it takes, what it does, and what it refuses in which words. */
import { describe, expect, it } from "vitest"
import { entryBytes, noMeta, toFloat, type Value } from "../../src/kernel/index.ts"
import { overlayBytesMax, overlayOperationsMax } from "../../src/triggers/Overlay.ts"
import { refusalOf } from "../../src/webhooks/Delivery.ts"
import { type EngineOptions, makeEngine, told } from "../support/Engine.ts"

/** An engine in which a write of "go" runs the source. */
const ready = (source: string, options?: EngineOptions) => {
  const engine = makeEngine({ fuelMax: 20_000_000, ...options })
  engine.trigger({ name: "t", pattern: "go", source, timeoutUs: 1000, memoryBytes: 1024 * 1024 })
  return { ...engine, go: () => engine.keyspace.set("go", "v") }
}

/** Runs the source once. */
const ran = (source: string, options?: EngineOptions) => {
  const engine = ready(source, options)
  expect(engine.go()).toBe(true)
  return engine
}

/** Runs the source, which must end well, and answers what it emitted, as JSON. */
const answers = (source: string, options?: EngineOptions): unknown[] => {
  const engine = ran(source, options)
  expect(engine.log.recent(1)).toEqual([])
  return told(engine)
}

/** The words with which the source's error is recorded, without its line. */
const refusal = (source: string, options?: EngineOptions): string => {
  const { log, emits, webhooks, lines, keyspace } = ran(source, options)
  const [record] = log.recent(1)
  expect(record?.kind).toBe("error")
  expect([emits, webhooks, lines, keyspace.size]).toEqual([[], [], [], 1])
  expect(record?.message).toMatch(/^line 1: /)
  return record?.message.replace("line 1: ", "") ?? ""
}

describe("cache and cachee", () => {
  it.each(["cache", "cachee"])("%s has every function", (name) => {
    const { keyspace, lines, webhooks, emits, log } = ran(
      `${name}.set("k", "v") ${name}.set("gone", "v") ${name}.delete("gone") ${name}.emit("x", ${name}.get("k"))
       ${name}.log("said") ${name}.webhook("http://a/b", 1)`
    )
    expect(log.recent(1)).toEqual([])
    expect(keyspace.peek("k")?.value).toBe("v")
    expect(keyspace.peek("gone")).toBeUndefined()
    expect([emits.length, lines.length, webhooks.length]).toEqual([1, 1, 1])
  })

  it("are the same functions, and cannot be changed", () => {
    expect(
      answers('cache.emit("x", { cache.get == cachee.get, pcall(function() cache.get = 1 end), cache.get ~= 1 })')
    ).toEqual([[true, false, true]])
  })
})

describe("cache.get", () => {
  it("reads bytes, structured values, and nil for nobody", () => {
    const engine = ready(
      'cache.emit("x", { cache.get("text"), cache.get("list")[2], cache.get("n"), cache.get("nobody") == nil })'
    )
    engine.keyspace.set("text", "words")
    engine.keyspace.set("list", ["a", "b"])
    engine.keyspace.set("n", 7)
    engine.go()
    expect(told(engine)).toEqual([["words", "b", 7, true]])
  })

  it("finds nobody where the deadline has passed, and leaves the entry to others", () => {
    const engine = ready('cache.emit("x", { cache.get("k") == nil })')
    engine.keyspace.set("k", "v", engine.clock.ms + 10)
    engine.clock.ms += 10
    engine.go()
    expect(told(engine)).toEqual([[true]])
    expect(engine.keyspace.stats.expires).toBe(0)
  })

  it("is no client's read: no event, no use, no hit (law 4)", () => {
    const engine = ready('cache.get("oldest")', { maxEntries: 3 })
    engine.trigger({ name: "ear", events: ["ON_READ"], source: 'cache.emit("read", event.key)' })
    engine.keyspace.set("oldest", "v")
    engine.keyspace.set("newer", "v")
    engine.go()
    engine.keyspace.set("one too many", "v")
    expect(engine.emits).toEqual([])
    expect(engine.keyspace.stats.hits).toBe(0)
    expect(engine.keyspace.peek("oldest")).toBeUndefined()
  })

  it("sees the state after the event (law 5)", () => {
    const { keyspace, trigger, ...engine } = makeEngine()
    trigger({
      events: ["ON_WRITE", "ON_DELETE"],
      source: 'cache.emit("x", { cache.get(event.key) or "none", event.old_value or "none" })'
    })
    keyspace.set("k", "one")
    keyspace.set("k", "two")
    keyspace.delete("k")
    expect(told(engine)).toEqual([
      ["one", "none"],
      ["two", "one"],
      ["none", "two"]
    ])
  })

  it("what the script does to a table that it got is not in the cache", () => {
    const value = { n: [1] }
    const engine = ready('local t = cache.get("k") t.n[1] = 2 cache.emit("x", { t.n[1], cache.get("k").n[1] })')
    engine.keyspace.set("k", value)
    engine.go()
    expect(told(engine)).toEqual([[2, 1]])
    expect(value).toEqual({ n: [1] })
  })

  it("takes a number as a key of its digits", () => {
    expect(answers('cache.set(7, "v") cache.emit("x", { cache.get("7"), cache.get(7) })')).toEqual([["v", "v"]])
  })

  it.each([
    ["cache.get()", "cache.get takes a key (a string) first, not nothing"],
    ["cache.get(nil)", "cache.get takes a key (a string) first, not nil"],
    ["cache.get({})", "cache.get takes a key (a string) first, not a table"],
    ["cache.get(true)", "cache.get takes a key (a string) first, not a boolean"]
  ])("refuses %s", (source, words) => {
    expect(refusal(source)).toBe(words)
  })
})

describe("cache.set", () => {
  const stored = (expression: string): unknown => ran(`cache.set("k", ${expression})`).keyspace.peek("k")?.value

  it.each<[string, Value]>([
    ['"text"', "text"],
    ['"\\xff\\0\\xfe"', "\xff\0\xfe"],
    ["7", 7],
    ["-0.5", -0.5],
    ["1 << 62", 2n ** 62n],
    ["true", true],
    ["{ 1, 2, 3 }", [1, 2, 3]],
    ["{ { 1 }, { 2 } }", [[1], [2]]],
    [
      '{ [1] = "a", x = "b" }',
      new Map<string | number, string>([
        [1, "a"],
        ["x", "b"]
      ])
    ],
    ['{ raw = "\\xff" }', { raw: new Uint8Array([255]) }],
    ['{ text = "ü" }', { text: "ü" }]
  ])("stores %s as what it is", (expression, value) => {
    expect(stored(expression)).toEqual(value)
  })

  it("answers true", () => {
    expect(answers('cache.emit("x", { cache.set("k", "v") })')).toEqual([[true]])
  })

  it("tells a stored nil from nobody: the key is there, and deleting it answers true", () => {
    const engine = ready('cache.emit("x", { cache.get("k") == nil, cache.delete("k"), cache.delete("k") })')
    engine.keyspace.set("k", null)
    engine.keyspace.set("go", "")
    expect(told(engine)).toEqual([[true, true, false]])
  })

  it("freezes what it stores, at every depth", () => {
    const value = stored("{ list = { 1, { deep = true } }, mixed = { [1] = { 1 }, x = 1 } }") as {
      list: unknown[]
      mixed: Map<number, unknown>
    }
    for (const each of [value, value.list, value.list[1], value.mixed.get(1)]) expect(Object.isFrozen(each)).toBe(true)
  })

  it("keys such as __proto__ and constructor are data", () => {
    const value = stored('{ ["__proto__"] = { polluted = 1 }, constructor = "c" }') as object
    expect(Object.keys(value).sort()).toEqual(["__proto__", "constructor"])
    expect(Object.getPrototypeOf(value)).toBe(null)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
    expect(
      answers('cache.set("k", { ["__proto__"] = { x = 7 } }) cache.emit("x", { cache.get("k").__proto__.x })')
    ).toEqual([[7]])
  })

  it("the script's table and the stored value go their own ways", () => {
    expect(answers('local t = { n = 1 } cache.set("k", t) t.n = 2 cache.emit("x", { cache.get("k").n })')).toEqual([
      [1]
    ])
  })

  it("takes a ttl in seconds, with fractions, counted from the event's time", () => {
    const deadline = (ttl: string) => {
      const { keyspace, clock } = ran(`cache.set("k", "v", { ttl = ${ttl} })`)
      return (keyspace.peek("k")?.expiresAtMs ?? 0) - clock.ms
    }
    expect(["30", "0.25", "16.1", "1e-9", "1e12"].map(deadline)).toEqual([30_000, 250, 16_100, 1, 1e15])
  })

  it("takes options that are floats for the numbers that they are, and keeps a value's floats", () => {
    const { keyspace, log } = ran('cache.set("k", { 1.0, 2 }, { ttl = 60 / 2, cost = 3.0, metadata = { n = 4.0 } })')
    expect(log.recent(1)).toEqual([])
    const { value, meta, expiresAtMs } = keyspace.peek("k") ?? {}
    expect([value, meta?.cost, expiresAtMs]).toEqual([[toFloat(1), 2], 3, 1_030_000])
    expect(meta?.metadata?.n).toEqual(toFloat(4))
    expect(refusal('cache.set("k", 1, 2.0)')).toContain("the options are a table")
    expect(refusal('cache.webhook("http://a", 1, { headers = 2.0 })')).toContain("headers is a table of strings")
  })

  it("an entry without a ttl has no deadline, also where it had one", () => {
    const engine = ready('cache.set("k", "w")')
    engine.keyspace.set("k", "v", engine.clock.ms + 1000)
    engine.go()
    expect(engine.keyspace.peek("k")).toMatchObject({ value: "w", expiresAtMs: 0 })
  })

  it("takes metadata, tags and cost, frozen, and shares one record where there are none", () => {
    const { keyspace } = ran(
      'cache.set("k", 1, { metadata = { by = { "ann" } }, tags = { "a", "ü", "\\xff" }, cost = 2.5 }) cache.set("l", 1, { ttl = 1 }) cache.set("m", 1, {}) cache.set("n", 1, nil)'
    )
    const meta = keyspace.peek("k")?.meta
    expect(meta).toEqual({ metadata: { by: ["ann"] }, tags: ["a", "\xc3\xbc", "\xff"], cost: 2.5 })
    for (const each of [meta, meta?.metadata, meta?.tags, meta?.metadata?.by]) expect(Object.isFrozen(each)).toBe(true)
    for (const key of ["l", "m", "n"]) expect(keyspace.peek(key)?.meta).toBe(noMeta)
  })

  it("an empty table is an empty list of tags", () => {
    expect(ran('cache.set("k", 1, { tags = {} })').keyspace.peek("k")?.meta.tags).toEqual([])
  })

  it("passes on the tags and the metadata of an event", () => {
    const engine = ready(
      'cache.set("copy", event.value, { tags = event.tags, metadata = event.metadata, cost = event.cost })'
    )
    const meta = { metadata: { a: 1 }, tags: ["t", "\xff"], cost: 3 }
    engine.keyspace.set("go", "v", 0, meta)
    expect(engine.keyspace.peek("copy")?.meta).toEqual(meta)
  })

  const optionsWords = "cache.set: the options are a table such as { ttl = 30, metadata = {…}, tags = {…}, cost = 1 }"
  const costWords = "cache.set: cost is a number of zero or more, and finite"
  const ttlWords = "cache.set: ttl is a number of seconds above zero, up to 1000000000000"
  it.each([
    ["cache.set()", "cache.set takes a key (a string) first, not nothing"],
    ["cache.set({}, 1)", "cache.set takes a key (a string) first, not a table"],
    ['cache.set("k")', "cache.set takes a key, a value and, if need be, a table of options"],
    ['cache.set("k", nil)', "cache.set: the value is nil; cache.delete removes a key"],
    ['cache.set("k", nil, { ttl = 1 })', "cache.set: the value is nil; cache.delete removes a key"],
    ['cache.set("k", print)', "argument 2 is a function"],
    ['cache.set("k", { a = { print } })', "argument 2.a[1] is a function"],
    ['cache.set("k", coroutine.create(print))', "argument 2 is a coroutine"],
    ['local t = {} t.t = t cache.set("k", t)', "argument 2.t contains itself"],
    ['cache.set("k", { [{}] = 1 })', "argument 2 has a table as a key"],
    ['local t = {} for i = 1, 20 do t = { t } end cache.set("k", t)', /^argument 2.* is nested deeper than 16$/],
    ['local t = {} for i = 1, 10001 do t[i] = 1 end cache.set("k", t)', /^argument 2.* has more than 10000 parts$/],
    ['cache.set("k", 1, 30)', optionsWords],
    ['cache.set("k", 1, "ttl")', optionsWords],
    ['cache.set("k", 1, { 1, 2 })', optionsWords],
    ['cache.set("k", 1, { ttl = 1, [1] = 2 })', optionsWords],
    ['cache.set("k", 1, { tll = 30 })', "cache.set: there is no option 'tll'; there are ttl, metadata, tags and cost"],
    [
      'cache.set("k", 1, { ["__proto__"] = { ttl = 1 } })',
      "cache.set: there is no option '__proto__'; there are ttl, metadata, tags and cost"
    ],
    ['cache.set("k", 1, { ttl = 0 })', ttlWords],
    ['cache.set("k", 1, { ttl = -1 })', ttlWords],
    ['cache.set("k", 1, { ttl = "30" })', ttlWords],
    ['cache.set("k", 1, { ttl = 0/0 })', ttlWords],
    ['cache.set("k", 1, { ttl = 1/0 })', ttlWords],
    ['cache.set("k", 1, { ttl = 1 << 62 })', ttlWords],
    ['cache.set("k", 1, { cost = "much" })', costWords],
    ['cache.set("k", 1, { cost = -1 })', costWords],
    ['cache.set("k", 1, { cost = 0/0 })', costWords],
    ['cache.set("k", 1, { cost = 1/0 })', costWords],
    ['cache.set("k", 1, { tags = "red" })', "cache.set: tags is a list of strings"],
    ['cache.set("k", 1, { tags = { 1 } })', "cache.set: tags is a list of strings"],
    ['cache.set("k", 1, { tags = { a = "b" } })', "cache.set: tags is a list of strings"],
    ['cache.set("k", 1, { metadata = { 1, 2 } })', "cache.set: metadata is a table with strings as keys"],
    ['cache.set("k", 1, { metadata = "m" })', "cache.set: metadata is a table with strings as keys"]
  ])("refuses %s", (source, words) => {
    if (typeof words === "string") expect(refusal(source)).toBe(words)
    else expect(refusal(source)).toMatch(words)
  })

  it("refuses an entry that alone would exceed the keyspace, so that the commit never does (law 6)", () => {
    const maxBytes = entryBytes + 280
    const words = (key: string) =>
      `cache.set: the entry '${key}' alone would exceed the keyspace's limit of ${maxBytes} bytes`
    expect(refusal('cache.set("k", ("x"):rep(280))', { maxBytes })).toBe(words("k"))
    expect(refusal('cache.set("ü", 1, { metadata = { note = ("x"):rep(300) } })', { maxBytes })).toBe(words("ü"))
    expect(refusal('cache.set("k", 1, { tags = { ("x"):rep(300) } })', { maxBytes })).toBe(words("k"))
    const { keyspace, log } = ran('cache.set("k", ("x"):rep(279))', { maxBytes })
    expect([keyspace.stats.refused, log.total, keyspace.peek("k")?.bytes]).toEqual([0, 0, maxBytes])
  })
})

describe("cache.delete", () => {
  it("answers whether there was such a key, and takes it away", () => {
    const engine = ready(
      'cache.emit("x", { cache.delete("there"), cache.delete("there"), cache.delete("nobody"), cache.get("there") == nil })'
    )
    engine.keyspace.set("there", "v")
    engine.go()
    expect(told(engine)).toEqual([[true, false, false, true]])
    expect(engine.keyspace.peek("there")).toBeUndefined()
    expect(engine.registry.get("t")?.stats.deletes).toBe(1)
  })

  it("fires ON_DELETE", () => {
    const engine = ready('cache.delete("there")')
    engine.trigger({ name: "ear", events: ["ON_DELETE"], source: 'cache.emit("gone", event.key)' })
    engine.keyspace.set("there", "v")
    engine.go()
    expect(engine.emits).toEqual([{ channel: "gone", payload: "there" }])
  })

  it("finds nobody where the deadline has passed", () => {
    const engine = ready('cache.emit("x", { cache.delete("k") })')
    engine.keyspace.set("k", "v", engine.clock.ms + 10)
    engine.clock.ms += 10
    engine.go()
    expect(told(engine)).toEqual([[false]])
  })

  it("refuses what is no key", () => {
    expect(refusal("cache.delete({})")).toBe("cache.delete takes a key (a string) first, not a table")
  })
})

describe("a run's own reads", () => {
  it("see what it wrote, in the order in which it wrote it (law 6)", () => {
    const source = `
      local seen = { cache.get("k") }
      cache.set("k", "one") seen[2] = cache.get("k")
      cache.set("k", "two") seen[3] = cache.get("k")
      cache.delete("k") seen[4] = tostring(cache.get("k"))
      cache.set("k", "three") seen[5] = cache.get("k")
      cache.emit("x", seen)`
    const engine = ready(source)
    engine.keyspace.set("k", "zero")
    engine.go()
    expect(told(engine)).toEqual([["zero", "one", "two", "nil", "three"]])
    expect(engine.keyspace.peek("k")?.value).toBe("three")
  })

  it("do not see what another run wrote that was dropped", () => {
    const { keyspace, trigger, ...engine } = makeEngine()
    trigger({ source: 'cache.set("k", "dropped") cache.emit("x", "dropped") error("no")' })
    trigger({ source: 'cache.emit("x", { cache.get("k") or "none" })' })
    keyspace.set("go", "v")
    expect(told(engine)).toEqual([["none"]])
  })

  it("see what an earlier trigger of the same event has committed", () => {
    const { keyspace, trigger, ...engine } = makeEngine()
    trigger({ pattern: "go", source: 'cache.set("k", "committed")' })
    trigger({ pattern: "go", source: 'cache.emit("x", { cache.get("k") })' })
    keyspace.set("go", "v")
    expect(told(engine)).toEqual([["committed"]])
  })

  it("a key written several times is one change, and one event", () => {
    const { keyspace, trigger, ...engine } = makeEngine()
    trigger({ pattern: "go", source: 'for i = 1, 5 do cache.set("k", i) end' })
    trigger({ pattern: "k", source: 'cache.emit("x", { event.value, event.old_value or "none" })' })
    keyspace.set("go", "v")
    expect(told(engine)).toEqual([[5, "none"]])
    expect(engine.registry.get("t1")?.stats.writes).toBe(1)
  })
})

describe("cache.emit", () => {
  const emitted = (source: string) => ran(source).emits

  it("tells receivers in plain JSON: floats as floats, names as they are, bytes as text", () => {
    const { emits, webhooks, lines } = ran(
      `local t = { total = 1.0, ["$set"] = 2, raw = "\\xff", mixed = { 1, a = 0 / 0 } }
       cache.emit("x", t) cache.webhook("http://a/b", { total = 1.0 }) cache.log("s", { total = 1.5 }) cache.log(2.0)`
    )
    const [{ payload = "" } = {}] = emits
    expect(payload).toContain('"total":1.0')
    expect(JSON.parse(Buffer.from(payload, "latin1").toString())).toEqual({
      total: 1,
      $set: 2,
      raw: "\ufffd",
      mixed: { 1: 1, a: null }
    })
    expect(webhooks[0]?.body).toBe('{"total":1.0}')
    expect(lines.map(({ message, fields }) => message ?? fields)).toEqual([{ total: 1.5 }, "2.0"])
  })

  it("publishes bytes as they are, and what is structured as JSON", () => {
    expect(
      emitted(
        'cache.emit("\\xff", "\\xfe\\0") cache.emit("x", { a = { 1, "ü" } }) cache.emit("x", 7) cache.emit("x", true) cache.emit("x", nil) cache.emit("x") cache.emit(5, 5)'
      )
    ).toEqual([
      { channel: "\xff", payload: "\xfe\0" },
      { channel: "x", payload: Buffer.from('{"a":[1,"ü"]}').toString("latin1") },
      { channel: "x", payload: "7" },
      { channel: "x", payload: "true" },
      { channel: "x", payload: "null" },
      { channel: "x", payload: "" },
      { channel: "5", payload: "5" }
    ])
  })

  it.each([
    ["cache.emit()", "cache.emit takes a channel (a string) and a payload"],
    ["cache.emit({}, 1)", "cache.emit takes a channel (a string) and a payload"],
    ['cache.emit("x", print)', "argument 2 is a function"],
    ['cache.emit(("x"):rep(1025), 1)', "cache.emit: a channel has at most 1024 bytes, as in PUBLISH; this one has 1025"]
  ])("refuses %s", (source, words) => {
    expect(refusal(source)).toBe(words)
  })
})

describe("cache.log and print", () => {
  const logged = (source: string) =>
    ran(source).lines.map(({ stream, message, fields }) => ({ stream, message, fields }))

  it("takes a message, or a stream and fields, or a stream and a message", () => {
    expect(
      logged(
        'cache.log("said ü") cache.log("audit", { key = event.key, n = { 1 } }) cache.log("audit", "words") cache.log(7) cache.log(nil)'
      )
    ).toEqual([
      { stream: null, message: "said ü", fields: null },
      { stream: "audit", message: null, fields: { key: "go", n: [1] } },
      { stream: "audit", message: "words", fields: null },
      { stream: null, message: "7", fields: null },
      { stream: null, message: "null", fields: null }
    ])
  })

  it("a table alone is fields without a stream", () => {
    expect(logged("cache.log({ a = 1 })")).toEqual([{ stream: null, message: null, fields: { a: 1 } }])
  })

  it("bytes that are no text become the replacement character, in every place", () => {
    expect(logged('cache.log("\\xff") cache.log("\\xff", { f = "\\xff" })')).toEqual([
      { stream: null, message: "\ufffd", fields: null },
      { stream: "\ufffd", message: null, fields: { f: "\ufffd" } }
    ])
  })

  it("fields named __proto__ are fields", () => {
    const [line] = logged('cache.log("s", { ["__proto__"] = { polluted = 1 } })')
    expect(Object.keys(line?.fields ?? {})).toEqual(["__proto__"])
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  it("print is a line, its arguments with tabs between them", () => {
    expect(logged('print("a", 1, nil, true)')).toEqual([{ stream: null, message: "a\t1\tnil\ttrue", fields: null }])
  })

  it("a line says who wrote it, on which event, when, and in which cascade", () => {
    const engine = ready('cache.set("next", 1)')
    engine.trigger({ name: "writer", pattern: "next", source: 'cache.log("hello")' })
    engine.go()
    expect(engine.lines).toEqual([
      {
        stream: null,
        message: "hello",
        fields: null,
        atMs: engine.clock.ms,
        trigger: "writer",
        event: "ON_WRITE",
        key: "next",
        cascade: "boot-1"
      }
    ])
  })

  it.each([
    ["cache.log()", "cache.log takes a message, or a stream and its fields"],
    ['cache.log({}, "x")', "cache.log takes a message, or a stream and its fields"],
    ['cache.log(nil, "x")', "cache.log takes a message, or a stream and its fields"],
    ["cache.log(print)", "argument 1 is a function"],
    ['cache.log("s", { f = print })', "argument 2.f is a function"]
  ])("refuses %s", (source, words) => {
    expect(refusal(source)).toBe(words)
  })
})

describe("cache.webhook", () => {
  it("posts JSON: strings as text, tables as objects, nothing as null", () => {
    const { webhooks } = ran(
      'cache.webhook("https://a/b", { k = event.key }) cache.webhook("HTTP://a", "ü\\xff\\n") cache.webhook("http://a")'
    )
    expect(webhooks.map(({ url, body }) => ({ url, body }))).toEqual([
      { url: "https://a/b", body: '{"k":"go"}' },
      { url: "HTTP://a", body: '"ü\ufffd\\n"' },
      { url: "http://a", body: "null" }
    ])
  })

  it("says where it comes from, and answers its id", () => {
    const engine = ran(
      'cache.emit("x", { cache.webhook("http://a", 1), cache.webhook("http://a", 1, { id = "own-7" }) })'
    )
    expect(told(engine)).toEqual([["boot-1-t-1", "own-7"]])
    expect(engine.webhooks).toEqual([
      {
        id: "boot-1-t-1",
        url: "http://a",
        body: "1",
        headers: { "mimosa-cascade": "boot-1" },
        trigger: "t",
        event: "ON_WRITE",
        key: "go",
        sequence: 1,
        createdAtMs: engine.clock.ms
      },
      expect.objectContaining({ id: "own-7" })
    ])
  })

  it("takes headers of one line each", () => {
    const { webhooks } = ran(
      'cache.webhook("http://a", 1, { headers = { ["X-Team"] = "a b", authorization = "" } }) cache.webhook("http://a", 1, { headers = {} })'
    )
    const cascade = { "mimosa-cascade": "boot-1" }
    expect(webhooks.map(({ headers }) => ({ ...headers }))).toEqual([
      { "X-Team": "a b", authorization: "", ...cascade },
      cascade
    ])
  })

  it("takes as many headers of its own as leave room for ours", () => {
    const headers = (count: number) => `local h = {} for i = 1, ${count} do h["x-" .. i] = "v" end
      cache.webhook("http://a", 1, { headers = h })`
    const [webhook] = ran(headers(31)).webhooks
    expect(webhook && [Object.keys(webhook.headers).length, refusalOf(webhook)]).toEqual([32, undefined])
    const [record] = ran(headers(32)).log.recent(1)
    expect(record?.message).toBe("line 2: cache.webhook: 32 headers are more than 31")
  })

  const headerWords = "is no header: names are tokens, values are one line of text"
  it.each([
    ["cache.webhook()", "cache.webhook: '' is no http or https URL; it stands first, then the payload"],
    ["cache.webhook({})", "cache.webhook: '' is no http or https URL; it stands first, then the payload"],
    [
      'cache.webhook("ftp://a", 1)',
      "cache.webhook: 'ftp://a' is no http or https URL; it stands first, then the payload"
    ],
    [
      'cache.webhook(" http://a", 1)',
      "cache.webhook: ' http://a' is no http or https URL; it stands first, then the payload"
    ],
    ['cache.webhook("http://a", print)', "argument 2 is a function"],
    ['cache.webhook("http://a", 1, print)', "argument 3 is a function"],
    [
      'cache.webhook("http://a", 1, "x")',
      "cache.webhook: the options are a table such as { headers = { ['x-team'] = 'a' }, id = 'order-7' }"
    ],
    [
      'cache.webhook("http://a", 1, { retries = 3 })',
      "cache.webhook: there is no option 'retries'; there are headers and id"
    ],
    [
      'cache.webhook("http://a", 1, { id = "" })',
      "cache.webhook: id is 1 to 256 printable ASCII characters without spaces"
    ],
    [
      'cache.webhook("http://a", 1, { id = "a b" })',
      "cache.webhook: id is 1 to 256 printable ASCII characters without spaces"
    ],
    [
      'cache.webhook("http://a", 1, { id = 7 })',
      "cache.webhook: id is 1 to 256 printable ASCII characters without spaces"
    ],
    [
      'cache.webhook("http://a", 1, { id = ("x"):rep(257) })',
      "cache.webhook: id is 1 to 256 printable ASCII characters without spaces"
    ],
    ['cache.webhook("http://a", 1, { headers = "x" })', "cache.webhook: headers is a table of strings"],
    ['cache.webhook("http://a", 1, { headers = { "x" } })', "cache.webhook: headers is a table of strings"],
    ['cache.webhook("http://a", 1, { headers = { ["a b"] = "x" } })', `cache.webhook: 'a b' ${headerWords}`],
    ['cache.webhook("http://a", 1, { headers = { a = "x\\r\\nhost: b" } })', `cache.webhook: 'a' ${headerWords}`],
    ['cache.webhook("http://a", 1, { headers = { a = "\\xff" } })', `cache.webhook: 'a' ${headerWords}`],
    ['cache.webhook("http://a", 1, { headers = { a = 1 } })', `cache.webhook: 'a' ${headerWords}`]
  ])("refuses %s", (source, words) => {
    expect(refusal(source)).toBe(words)
  })
})

describe("work that grows with what it is given", () => {
  const filled = "local t = {} for i = 1, 1000 do t[i] = { i, i .. 'x' } end "

  it.each([
    ["cache.set('k', t)"],
    ["cache.set('k', 1, { metadata = { t = t } })"],
    ["cache.emit('x', t)"],
    ["cache.log('s', t)"],
    ["cache.log(t)"],
    ["cache.webhook('http://a', t)"],
    ["cache.webhook('http://a', ('x'):rep(100000))"],
    ["cache.diff(t, 1)"]
  ])("%s is paid with fuel, beside that of bringing it over", (call) => {
    const fuelOf = (source: string) => {
      const engine = ran(filled + source)
      expect(engine.log.recent(1)).toEqual([])
      return engine.registry.get("t")?.stats.fuel as number
    }
    // Refused once its arguments are there, before anything is done with them.
    const given = call.includes(":rep") ? "('x'):rep(100000)" : "t"
    const brought = fuelOf(`pcall(cache.webhook, "http://a", ${given}, "refused")`)
    expect(fuelOf(call) - brought).toBeGreaterThan(20_000)
  })

  it("ends the run as a timeout where there is not enough, and nothing of it is committed", () => {
    const engine = ran(`${filled} cache.emit("before", 1) for i = 1, 1000 do cache.diff(t, t) end`, {
      fuelMax: 5_000_000
    })
    expect([engine.log.recent(1)[0]?.kind, engine.emits]).toEqual(["timeout", []])
  })
})

describe("what one run may ask for (law 15)", () => {
  const words = `a run may make ${overlayOperationsMax} changes and calls of ${overlayBytesMax} bytes together; this is more`

  it.each([
    ["writes", 'cache.set("k", i)'],
    ["emits", 'cache.emit("x", i)'],
    ["lines", "cache.log(i)"],
    ["webhooks", 'cache.webhook("http://a", i)']
  ])("a thousand %s, and not one more", (_, call) => {
    expect(refusal(`for i = 1, 1001 do ${call} end`)).toBe(words)
    expect(ran(`for i = 1, 1000 do ${call} end`).log.total).toBe(0)
  })

  it("a mebibyte of keys, values, metadata and payloads together", () => {
    const times = (call: string) => `local s = ("x"):rep(100 * 1024) for i = 1, 11 do ${call} end`
    expect(refusal(times('cache.set("k", s)'))).toBe(words)
    expect(refusal(times("cache.set(s, 1)"))).toBe(words)
    expect(refusal(times('cache.set("k" .. i, 1, { metadata = { s = s } })'))).toBe(words)
    expect(refusal(times('cache.set("k" .. i, 1, { tags = { s } })'))).toBe(words)
    expect(refusal(times('cache.emit("x", s)'))).toBe(words)
    expect(refusal(times("cache.log(s)"))).toBe(words)
    expect(refusal(times('cache.webhook("http://a", s)'))).toBe(words)
    expect(refusal(times('cache.webhook("http://a", 1, { headers = { x = s } })'))).toBe(words)
  })

  it("a refusal that the script catches leaves what was admitted", () => {
    const { keyspace, log } = ran('for i = 1, 1100 do pcall(cache.set, "k" .. i % 10, i) end')
    expect([log.total, keyspace.size, keyspace.peek("k0")?.value]).toEqual([0, 11, 1000])
  })

  it("print never fails a run; what is too much is left out", () => {
    const { lines, log } = ran("for i = 1, 1001 do print(i) end")
    expect([log.total, lines.length]).toEqual([0, 1000])
  })
})
