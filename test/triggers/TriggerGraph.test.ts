import { describe, expect, it } from "vitest"
import { globMatches } from "../../src/kernel/index.ts"
import { type HostFunction, LuaVm } from "../../src/sandbox/index.ts"
import {
  analyseTrigger,
  type GraphInput,
  globsOverlap,
  type KeySet,
  LiveGraph,
  triggerGraph
} from "../../src/triggers/TriggerGraph.ts"
import { forAllSeeds, propertyTimeoutMs, type Random } from "../support/Random.ts"

const trigger = (name: string, source: string, of: Partial<GraphInput> = {}): GraphInput => ({
  name,
  pattern: "session:*",
  events: ["ON_WRITE"],
  source,
  ...of
})

const short = ({ patterns, hasUnknown }: KeySet): string => [...patterns, ...(hasUnknown ? ["?"] : [])].join(" ")

const writesOf = (source: string, pattern = "session:*"): string =>
  short(analyseTrigger(trigger("t", source, { pattern })).writes)

describe("what a trigger writes", () => {
  it.each([
    ["return event.value", ""],
    ["cache.set('a', 1)", "a"],
    ["cachee.set('a', 1) cache['set']('b', 2)", "a b"],
    ["cache.set([[a*b]], 1)", "a\\*b"],
    ["cache.set(12, 1)", "12"],
    ["cache.set('a:' .. event.value, 1)", "a:*"],
    ["cache.set('a:' .. x .. ':b:' .. y, 1)", "a:*:b:*"],
    ["cache.set(x .. ':b', 1)", "*:b"],
    ["cache.set('a' .. 'b' .. 1, 1)", "ab1"],
    ["cache.set('a:' .. x + 1, 1)", "a:*"],
    ["cache.set(event.key, 1)", "session:*"],
    ["cache.set(event.key .. ':n', 1)", "session:*:n"],
    ["cache.set(event['key'] .. x, 1)", "session:*"],
    ["local e = event cache.set('x:' .. e.key, 1)", "x:session:*"],
    ["local c = cache c.set('a', 1)", "a"],
    ["local set = cache.set set('a', 1)", "a"],
    ["local c = cache local s = c.set local key = 'k' s(key, 1)", "k"],
    ["pcall(cache.set, 'a', 1)", "a"],
    ["local key <const> = 'a:' .. event.value if key then cache.set(key, 1) end", "a:*"],
    ["local id = event.value local key = 'a:' .. id local other = key .. ':x' cache.set(other, 1)", "a:*:x"],
    ["cache.set(event.value and 'a' or 'b', 1)", "a b"],
    ["for _, p in ipairs({ 'x' }) do cache.set('page:' .. p, 1) end", "page:*"],
    ["local function f(id) cache.set('a:' .. id, 1) end f(1)", "a:*"],
    ["local f = function() return cache.set('deep', 1) end f()", "deep"],
    ["cache.set(('a:%d:b'):format(x), 1) cache.set(string.format('b:%s', x), 1)", "a:* b:*"],
    ["local fmt = 'c:%s' cache.set(fmt:format(x), 1)", "c:*"],
    ["local cache = { set = function() end } cache.set('a', 1)", ""],
    ["local function f(cache) cache.set('a', 1) end", ""],
    ["-- cache.set('a', 1)\nlocal s = \"cache.set('b', 1)\"", ""],
    ["local x = cache.set('inside', 1)", "inside"],
    ["return { cache.set('t', 1), [cache.set('u', 1)] = #cache.set('v', 1) }", "t u v"],
    ["other.cache.set('a', 1)", ""],
    ["local key = 'a' do local key = 'b' cache.set(key, 1) end", "b"]
  ])("%j: %s", (source, expected) => {
    expect(writesOf(source)).toBe(expected)
  })

  it.each([
    "cache.set(x, 1)",
    "cache.set(event.value, 1)",
    "cache.set('\\97', 1)",
    "cache.set(f(), 1)",
    "cache.set(table.unpack(t))",
    "cache.set(...)",
    "local key = 'a' key = 'b' cache.set(key, 1)",
    "local key = 'a' local function f() key = 'b' end cache.set(key, 1)",
    "local function f(key) cache.set(key, 1) end f('a')",
    "for key in pairs(t) do cache.set(key, 1) end",
    "cache.set('a:' .. x or y, 1)",
    "cache.set('a' | x, 1)",
    "cache.set(1.5, 1)",
    "cache.set(event.key, 1) event.key = 'other'",
    "f(event) cache.set(event.key, 1)",
    "for k in pairs(event) do end cache.set(event.key, 1)",
    "local e = ... e.key = 'x' cache.set(event.key, 1)",
    "local e = event e = 1 cache.set(event.key, 1)",
    "event = { key = 'mine' } cache.set(event.key, 1)",
    "local event = { key = 'mine' } cache.set(event.key, 1)",
    "rawset(event, 'key', 'x') cache.set(event.key, 1)",
    "cache.set('a:' .. setmetatable({}, { __concat = function() return 'b' end }), 1)",
    "f(cache)",
    "f(cache.set)",
    "local t = { set = cache.set }",
    "local name = 'set' cache[name]('a', 1)",
    "cache['s\\101t']('a', 1)",
    "cache:set('a', 1)",
    "cache.undefined('a')",
    "c = cache",
    "cache = other cache.set('a', 1)",
    "local c = cache c = other c.set('a', 1)",
    "_ENV.cache.set('a', 1)",
    "_G['cache'].set('a', 1)",
    "load('cache.set(1, 1)')()",
    "string = other cache.set(string.format('a:%d', 1), 1)",
    "this is no Lua"
  ])("%j: may be anything", (source) => {
    expect(writesOf(source)).toContain("?")
  })

  it("is what it watches, as that is written", () => {
    expect(writesOf("cache.set(event.key, 1)", "a\\*b")).toBe("a\\*b")
    expect(writesOf("cache.set(event.key .. 'x', 1)", "user:*:name")).toBe("user:*:namex")
    expect(writesOf("cache.set(event.key, 1)", "*")).toBe("?")
    expect(writesOf("cache.set(event.key .. 'x', 1)", "[ab]c")).toBe("*x") // a class is not gone into
  })

  it("is found in time that grows with the source alone", () => {
    const doubled = Array.from({ length: 150 }, (_, i) => `local k${i + 1} = k${i} .. k${i}`).join("\n")
    expect(writesOf(`local k0 = event.value\n${doubled}\ncache.set('a' .. k150, 1)`)).toBe("a*")
    expect(writesOf("cache.set('a', f(event.value)) ".repeat(20_000))).toBe("a")
    expect(writesOf(`cache.set(${"'a' .. ".repeat(100)} 'b', 1)`)).toMatch(/^a+\*$/) // not followed to its end
  })
})

describe("what else a trigger touches", () => {
  it("is read, deleted, warmed, emitted and sent", () => {
    const node = analyseTrigger(
      trigger(
        "t",
        `local v = cache.get("a:" .. event.value) or cache.get("b")
         cache.delete("c:" .. v) cache.warm({ "d", "e:" .. v }) cache.warm("f")
         cache.emit("ch:" .. v, 1) cache.log("stream", {})
         cache.webhook("https://example.com/x?y=" .. v, {}) cache.webhook("http://user@host:81", {})
         cache.webhook("billing", {})`
      )
    )
    expect([node.reads, node.writes, node.deletes, node.warms, node.emits, node.webhooks].map(short)).toEqual([
      "a:* b",
      "",
      "c:*",
      "d e:* f",
      "ch:*",
      "billing example.com host:81"
    ])
  })

  it.each([
    ["cache.warm({ tag = 'x' })", "warms"],
    ["cache.warm(x)", "warms"],
    ["cache.webhook('https://' .. host, 1)", "webhooks"],
    ["cache.webhook('https://example' .. tail, 1)", "webhooks"],
    ["cache.webhook(event.metadata.url, 1)", "webhooks"],
    ["cache.emit(event.value)", "emits"],
    ["local x = cache.get(event.value)", "reads"]
  ] as const)("cannot always be known: %s", (source, of) => {
    expect(short(analyseTrigger(trigger("t", source))[of])).toBe("?")
  })
})

describe("a graph", () => {
  const graphOf = (...triggers: readonly GraphInput[]) => triggerGraph(triggers)
  const live = (...triggers: readonly GraphInput[]) => {
    const graph = new LiveGraph()
    for (const each of triggers) graph.put(each)
    return graph
  }

  it("has an edge where one trigger's write is another's event", () => {
    const { edges, cycles, isTruncated } = graphOf(
      trigger("a", "cache.set('count:' .. event.key, 1)"),
      trigger("b", "", { pattern: "count:*" }),
      trigger("c", "", { pattern: "count:session:7" }),
      trigger("d", "", { pattern: "count:*", events: ["ON_DELETE", "ON_EXPIRE"] }),
      trigger("e", "", { pattern: "count:other:*" }),
      trigger("f", "", { pattern: "*:7", events: ["BEFORE_WRITE", "ON_WRITE"] })
    )
    expect(edges.map(({ from, to, by, keys, event }) => `${from} ${by} ${keys} → ${to} ${event}`).sort()).toEqual([
      "a write count:session:* → b ON_WRITE",
      "a write count:session:* → c ON_WRITE",
      "a write count:session:* → f BEFORE_WRITE",
      "a write count:session:* → f ON_WRITE"
    ])
    expect(cycles).toEqual([])
    expect(isTruncated).toBe(false)
  })

  it("tells deletes and warmings from writes", () => {
    const { edges } = graphOf(
      trigger("a", "cache.delete('x') cache.warm('y')"),
      trigger("x", "", { pattern: "x", events: ["ON_DELETE"] }),
      trigger("w", "", { pattern: "x" }),
      trigger("y", "", { pattern: "y", events: ["ON_DELETE"] })
    )
    expect(edges.map(({ to, by, event }) => `${by} ${to} ${event}`)).toEqual(["delete x ON_DELETE", "warm y ON_DELETE"])
  })

  it("shows cycles with their path, once each", () => {
    const triggers = [
      trigger("a", "cache.set('b:1', 1)", { pattern: "a:*" }),
      trigger("b", "cache.delete('c:' .. event.value)", { pattern: "b:*" }),
      trigger("c", "cache.set('a:x', 1)", { pattern: "c:*", events: ["ON_DELETE"] }),
      trigger("own", "cache.set(event.key, event.value .. 'x')", { pattern: "own:*" }),
      trigger("leads in", "cache.set('a:1', 1)", { pattern: "z" })
    ]
    expect(graphOf(...triggers).cycles).toEqual([["a", "b", "c"], ["own"]])
    const graph = live(...triggers)
    expect(graph.warnings("b")).toEqual([
      "sets itself off: 'b' → 'c' → 'a' → 'b'; a cascade runs each trigger once for a key"
    ])
    expect(graph.warnings("own")[0]).toMatch(/^sets itself off: 'own' → 'own'/)
    expect(graph.warnings("leads in")).toEqual([])
    expect(graph.warnings("nobody")).toEqual([])
  })

  it("says of a trigger that cannot be seen through that it cannot", () => {
    const graph = live(trigger("a", "cache.set(event.value, 1)", { pattern: "*" }))
    expect(graph.show().edges).toEqual([])
    expect(graph.warnings("a")).toEqual([
      "writes keys that its source does not tell, so that cycles through them are not seen"
    ])
  })

  it("has an edge for a TTL that ends, which is later and in no cycle", () => {
    const graph = live(
      trigger("job", "cache.set('due:1', 1, { ttl = 5 }) cache.set('x', 1, { cost = 1 }) cache.set('y', 1, o)"),
      trigger("ear", "cache.set('session:1', 1)", { pattern: "*", events: ["ON_EXPIRE"] })
    )
    const { edges, cycles, nodes } = graph.show()
    expect(edges.map(({ from, to, by, keys, event, isLater }) => [from, to, by, keys, event, isLater])).toEqual([
      ["job", "ear", "ttl", "due:1", "ON_EXPIRE", true],
      ["job", "ear", "ttl", "y", "ON_EXPIRE", true],
      ["ear", "job", "write", "session:1", "ON_WRITE", false]
    ])
    expect([cycles, graph.warnings("job"), short((nodes[0] as { expires: KeySet }).expires)]).toEqual([
      [],
      [],
      "due:1 y"
    ])
  })

  it("finds a cycle for each trigger that is on one, whatever leads into them and from one to the other", async () => {
    await forAllSeeds(300, (random) => {
      const count = random.between(1, 9)
      const triggers = Array.from({ length: count }, (_, i) => {
        const writes = Array.from({ length: random.below(3) }, () => `cache.set('k${random.below(count)}', 1)`)
        return trigger(`${i}`, writes.join(" "), { pattern: `k${i}` })
      })
      const { edges, cycles } = triggerGraph(triggers)
      const reached = new Map(triggers.map(({ name }) => [name, new Set<string>()]))
      for (let round = 0; round < count; round++) {
        for (const { from, to } of edges) {
          reached.get(from)?.add(to)
          for (const further of reached.get(to) ?? []) reached.get(from)?.add(further)
        }
      }
      const onCycles = triggers.map(({ name }) => name).filter((name) => reached.get(name)?.has(name))
      expect([...new Set(cycles.flat())].sort()).toEqual(onCycles.sort())
      for (const cycle of cycles) {
        cycle.forEach((from, i) => {
          expect(edges.some((edge) => edge.from === from && edge.to === cycle[(i + 1) % cycle.length])).toBe(true)
        })
      }
      const graph = live(...triggers)
      for (const { name } of triggers) expect(graph.cycleOf(name) !== undefined).toBe(onCycles.includes(name))
    })
  })

  it("follows triggers that come, change and go", () => {
    const graph = live(trigger("a", "cache.set('b', 1)", { pattern: "a" }), trigger("b", "", { pattern: "b" }))
    expect(graph.warnings("a")).toEqual([])
    graph.put(trigger("b", "cache.set('a', 1)", { pattern: "b" }))
    expect(graph.cycleOf("a")).toEqual(["a", "b"])
    graph.remove("b")
    expect([graph.warnings("a"), graph.show().edges, graph.show().nodes.length]).toEqual([[], [], 1])
    graph.remove("a")
    expect(graph.show()).toEqual(triggerGraph([]))
  })

  it("does not look for a cycle further than it is told", () => {
    const chain = Array.from({ length: 10 }, (_, i) =>
      trigger(`t${i}`, `cache.set('k${(i + 1) % 10}', 1)`, { pattern: `k${i}` })
    )
    expect([live(...chain).cycleOf("t0", 9), live(...chain).cycleOf("t0", 10)?.length]).toEqual([undefined, 10])
  })

  it("is plain JSON", () => {
    const graph = graphOf(trigger("a", "cache.set(event.key, 1)"))
    expect(JSON.parse(JSON.stringify(graph))).toEqual(graph)
  })

  it("is made of 10,000 triggers, and cut where everything sets off everything", () => {
    const apart = Array.from({ length: 10_000 }, (_, i) =>
      trigger(`t${i}`, `cache.set("t${(i + 1) % 10_000}:" .. event.value, 1)`, { pattern: `t${i}:*` })
    )
    const { edges, cycles } = triggerGraph(apart)
    expect(edges.length).toBe(10_000)
    expect(cycles.map((cycle) => cycle.length)).toEqual([10_000])
    const chain = apart.slice(0, -1).map((each, i) => ({ ...each, name: `${(i * 7919) % 9_999}` }))
    expect(triggerGraph(chain)).toMatchObject({ cycles: [], edges: { length: 9_998 } })
    const alike = Array.from({ length: 1_000 }, (_, i) => trigger(`t${i}`, "cache.set('x', 1)", { pattern: "x" }))
    expect(triggerGraph(alike)).toMatchObject({ isTruncated: true, edges: { length: 100_000 } })
  })
})

describe("two globs", () => {
  it("overlap where a text that both match says so, whatever they are", { timeout: propertyTimeoutMs }, async () => {
    const glob = (random: Random) =>
      Array.from({ length: random.below(5) }, () => random.pick(["a", "b", "*", "?", "[ab]", "\\*"])).join("")
    const texts = ["a", "b", "*", "ab", "ba", "aa", "a*", "*b", "aba", "bab", "abab", "aabb", "bbb"]
    let found = 0
    await forAllSeeds(5_000, (random) => {
      const [one, other] = [glob(random), glob(random)]
      const text = texts.find((each) => globMatches(one, each) && globMatches(other, each))
      expect(globsOverlap(one, other)).toBe(globsOverlap(other, one))
      if (text === undefined) return
      found++
      if (!globsOverlap(one, other)) throw new Error(`'${one}' and '${other}' both match '${text}'`)
    })
    expect(found).toBeGreaterThan(0)
  })

  it.each([
    ["a:*", "b:*", false],
    ["a:*", "a:b", true],
    ["a:*:x", "a:b:*", true],
    ["a:?", "a:bc", false],
    ["*", "", true],
    ["a\\*", "a*", true],
    ["a\\*", "ab", false],
    ["*x*", "*y", true],
    ["[a-z]1", "b1", true]
  ])("'%s' and '%s': %s", (one, other, expected) => {
    expect(globsOverlap(one, other)).toBe(expected)
  })
})

// ---- what happens is covered by what was foreseen

const keyExpressions = [
  "'a'",
  "'a:' .. n",
  "event.key",
  "event.key .. ':x'",
  "event.value",
  "event.value .. ':y'",
  "k",
  "k .. n",
  "('f:%d'):format(n)",
  "string.format('g%s', event.value)",
  "(n > 1 and 'one' or 'two')",
  "tostring(n)",
  "t[n]",
  "m .. 'z'",
  "n",
  "(function() return 'f' end)()"
]

const statements = [
  "cache.set(K, 1)",
  "cache.delete(K)",
  "cachee.set(K, 1)",
  "c.set(K, 1)",
  "put(K, 1)",
  "pcall(cache.set, K, 1)",
  "pcall(function() cache.set(K, 1) end)",
  "local k = K cache.set(k, 1)",
  "k = K",
  "local event = { key = K, value = 'v' } cache.set(event.key, 1)",
  "do local c = { set = function() end } c.set(K, 1) end",
  "event.key = K",
  "local e = event e.key = K",
  "for n = 1, 2 do cache.set(K, 1) end",
  "local function f(k) cache.set(k, 1) end f(K)",
  "if n then cache.set(K, 1) end",
  "t[#t + 1] = K",
  "cache.set(cache.get(K), 1)",
  "local g = cache.get cache.set(g(K), 1)",
  "local x = cache x.set(K, 1)",
  "string = { format = function() return K end }",
  "put = cache.delete put(K)",
  "local _ = (cache).set(K, 1)",
  "local set = function(...) cache.set(...) end set(K, 1)"
]

it("covers every key that a run writes, deletes or reads", { timeout: propertyTimeoutMs }, async () => {
  const touched: Array<readonly ["reads" | "writes" | "deletes", string]> = []
  const note =
    (of: "reads" | "writes" | "deletes"): HostFunction =>
    (call) => {
      touched.push([of, call.string(1) ?? ""])
      call.returnString("got")
    }
  const cache = { get: note("reads"), set: note("writes"), delete: note("deletes") }
  const vm = new LuaVm({ fields: ["key", "value"], hostTables: { cache, cachee: cache } })
  let exact = 0
  await forAllSeeds(3_000, (random) => {
    const body = Array.from({ length: random.between(1, 5) }, () =>
      random.pick(statements).replace("K", random.pick(keyExpressions))
    )
    const joined = random.oneIn(2) ? "'m'" : "setmetatable({}, { __concat = function() return 'other' end })"
    const names = `local c, n, k, put, t, m = cache, 1, 'k', cache.set, { 'in' }, ${joined}`
    const source = [names, ...body].join("\n")
    const pattern = random.pick(["s:*", "s:1", "*", "?:1"])
    const definition = vm.define("t", source)
    if (!definition.ok) return
    const node = analyseTrigger({ name: "t", pattern, events: ["ON_WRITE"], source })
    touched.length = 0
    vm.frame.reset()
    vm.frame.string(0, "s:1")
    vm.frame.string(1, "v")
    vm.run(definition.program, { timeoutMicros: 100, bytesMax: 64 << 10, fuelMax: 50_000 })
    vm.remove(definition.program)
    for (const [of, key] of touched) {
      const { patterns, hasUnknown } = node[of]
      if (!hasUnknown) exact++
      if (hasUnknown || patterns.some((each) => globMatches(each, key))) continue
      throw new Error(`it ${of} '${key}', which is none of '${patterns.join("', '")}':\n${source}`)
    }
  })
  expect(exact).toBeGreaterThan(0) // or nothing was foreseen at all
})
