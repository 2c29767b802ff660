/** Mimosa without Effect: one class. */
import { readFileSync } from "node:fs"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Duration } from "effect"
import { afterEach, describe, expect, it } from "vitest"
import {
  EgressAllowInvalid,
  EntryTooLarge,
  FileCorrupt,
  FunctionNotFound,
  HistoryOff,
  HttpAllowInvalid,
  InvalidAckMode,
  InvalidArgument,
  InvalidLoader,
  InvalidScriptName,
  InvalidTenant,
  InvalidTrigger,
  InvalidTtl,
  InvalidValue,
  LoadFailed,
  Mimosa,
  type MimosaKeyspace,
  NoShadow,
  NotEnoughMembers,
  PrefixTaken,
  Rejected,
  ScriptInterrupted,
  ScriptNotFound,
  ScriptQuotaExceeded,
  ScriptRuntimeError,
  ScriptSyntaxError,
  ScriptTimeout,
  type Settings,
  TenantExists,
  TenantNotFound,
  TriggerNotFound,
  TriggerSyntaxError,
  VersionNotFound
} from "../src/promise.ts"

const opened: Mimosa[] = []

const open = (settings?: Settings): Mimosa => {
  const cache = new Mimosa(settings)
  opened.push(cache)
  return cache
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((cache) => cache.close()))
})

const temporaryDirectory = () => fs.mkdtemp(join(tmpdir(), "mimosa-test-"))

describe("what is not here", () => {
  it("is looked for in the tier behind, and then loaded", async () => {
    const far = new Map<string, unknown>([["user:1", { name: "Ada" }]])
    const get = async (key: string) => (far.has(key) ? { value: far.get(key) as string, tags: ["users"] } : undefined)
    const cache = open({ tier: { name: "far", get } })
    expect(await cache.get("user:1")).toEqual({ name: "Ada" })
    expect(cache.peek("user:1")?.tags).toEqual(["users"])
    expect(await cache.getOrSet("user:2", () => "loaded")).toBe("loaded")
    expect(await cache.get("user:3")).toBeUndefined()
  })

  it("is loaded once, and again after an error", async () => {
    const cache = open()
    let loads = 0
    const load = () => {
      if (loads++ === 0) throw new Error("no such host")
      return { n: loads }
    }
    const failed = cache.getOrSet("k", load)
    await expect(failed).rejects.toBeInstanceOf(LoadFailed)
    await expect(failed).rejects.toThrow("the load of 'k' has failed: no such host")
    const options = { ttl: "1 minute", tags: ["t"] } as const
    expect(await Promise.all([cache.getOrSet("k", load, options), cache.getOrSet("k", load)])).toEqual([
      { n: 2 },
      { n: 2 }
    ])
    expect([await cache.get("k"), cache.peek("k")?.tags, loads]).toEqual([{ n: 2 }, ["t"], 2])
    await expect(cache.getOrSet("l", load, { timeoutMs: -1 })).rejects.toBeInstanceOf(InvalidLoader)
  })

  it("is no longer waited for once the caller gives up, and rejects with his reason", async () => {
    const cache = open()
    await cache.ready
    const given = new AbortController()
    let seen: AbortSignal | undefined
    const waiting = cache.getOrSet(
      "k",
      ({ signal }) => {
        seen = signal
        return new Promise(() => {})
      },
      { signal: given.signal }
    )
    await new Promise(setImmediate)
    given.abort(new Error("enough"))
    await expect(waiting).rejects.toThrow("enough")
    expect(seen?.aborted).toBe(true)
  })

  it("is filled by the loader of its pattern for get, warm and scripts of a tenant, until that is taken back", async () => {
    const cache = open()
    const acme = { cachePrefix: "acme" }
    const tenant = await cache.tenants.open("acme")
    const remove = await tenant.loader("user:*", ({ key }) => ({ name: `loaded ${key}` }))
    expect(await cache.get("user:1")).toBe(undefined)
    expect(await tenant.get("user:1")).toEqual({ name: "loaded user:1" })
    expect(await tenant.warm(["user:1", "other"])).toMatchObject({ warmed: 1, withoutLoader: ["other"] })
    const script = await cache.scripts.compile(
      'function main() return { cache.get("user:2").name, cache.get("none", "its default"), cache.get("user:2").name } end'
    )
    expect(await script.runMain([], acme)).toEqual(["loaded user:2", "its default", "loaded user:2"])
    expect(tenant.peek("user:2")?.value).toEqual({ name: "loaded user:2" })
    const failing = await tenant.loader("bad", () => Promise.reject(new Error("down")))
    const other = await cache.scripts.compile('function main() return cache.get("bad", "its default") end')
    expect(await other.runMain([], acme)).toBe("its default")
    failing()
    remove()
    remove()
    expect(await tenant.get("user:3")).toBe(undefined)
  })

  it("is warmed by a trigger, and read anew by the next", async () => {
    const cache = open()
    await cache.loader("page:*", ({ key }) => `built ${key}`)
    await cache.trigger({ name: "w", pattern: "price:*", events: ["ON_WRITE"], source: 'cache.warm("page:1")' })
    await cache.set("page:1", "old")
    await cache.set("price:1", 7)
    expect(await cache.get("page:1")).toBe("built page:1")
    expect((await cache.triggerInfo("w")).warms).toBe(1)
  })
})

const hello = { name: "hello", pattern: "*", events: ["ON_WRITE"], source: 'cache.emit("x", event.key)' } as const

const counting = `
n = 0
function main() n = n + 1 return n end
function echo(x) return x end
count = function() return main() end
`

/** The methods that the class shows. */
const methods = (() => {
  const internal = ["constructor", "ask", "use", "open", "ofOwner"]
  const shared: object = Object.getPrototypeOf(Mimosa.prototype)
  return [Mimosa.prototype, shared].flatMap(Object.getOwnPropertyNames).filter((name) => !internal.includes(name))
})()

/** What the promise is rejected with. */
const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => {
      throw new Error("it was fulfilled")
    },
    (error: unknown) => error
  )

describe("a cache", () => {
  it("keeps values, and tells a stored null from nothing", async () => {
    const cache = open()
    await cache.set("text", "é")
    await cache.set("bytes", Uint8Array.of(255))
    await cache.set("data", { a: [1, null] }, { ttl: "1 minute", metadata: { by: "me" }, tags: ["t"], cost: 2 })
    await cache.set("null", null)
    expect(await cache.get("text")).toBe("é")
    expect(await cache.get("bytes")).toEqual(Buffer.from([255]))
    expect(await cache.get("data")).toEqual({ a: [1, null] })
    expect([await cache.get("null"), await cache.get("none")]).toEqual([null, undefined])
    expect([await cache.has("null"), await cache.has("none")]).toEqual([true, false])
    expect(cache.peek("data")).toMatchObject({ metadata: { by: "me" }, tags: ["t"], cost: 2 })
  })

  it("removes, expires and clears", async () => {
    const cache = open()
    for (const key of ["a", "b", "c"]) await cache.set(key, 1)
    expect([await cache.del("a"), await cache.del("a")]).toEqual([true, false])
    expect([await cache.expire("b", 0), await cache.expire("b", 0), await cache.has("b")]).toEqual([true, false, false])
    expect(await cache.expire("c", Duration.hours(1))).toBe(true)
    expect(cache.peek("c")?.expiresAtMs).toBeGreaterThan(Date.now())
    expect([await cache.clear(), await cache.clear()]).toEqual([1, 0])
  })

  it("counts what has happened", async () => {
    const cache = open({ maxEntries: 1 })
    await cache.set("a", 1)
    await cache.set("b", 1)
    await cache.get("b")
    await cache.get("none")
    expect(await cache.stats()).toMatchObject({ entries: 1, hits: 1, misses: 1, writes: 2, evictions: 1 })
  })

  it("rejects with the tagged errors themselves", async () => {
    const cache = open({ maxBytes: 1_000 })
    expect(await rejection(cache.set("k", new Date() as never))).toBeInstanceOf(InvalidValue)
    expect(await rejection(cache.set("k", 1, { ttl: 0 }))).toBeInstanceOf(InvalidTtl)
    expect(await rejection(cache.set("k", "x".repeat(1_000)))).toBeInstanceOf(EntryTooLarge)
    expect(await rejection(cache.expire("k", "soon" as never))).toBeInstanceOf(InvalidTtl)
    expect(await rejection(cache.trigger({ ...hello, pattern: "a[b" }))).toBeInstanceOf(InvalidTrigger)
    expect(await rejection(cache.trigger({ ...hello, source: "return (" }))).toBeInstanceOf(TriggerSyntaxError)
  })

  it("has a table of its methods that leaves none out", () => {
    const text = readFileSync(new URL("../src/promise.ts", import.meta.url), "utf8")
    const table = text
      .split("\n")
      .filter((line) => line.startsWith(" * | `"))
      .join("\n")
    const named = [...table.matchAll(/`(\w+)(?=[(`])/g)].map(([, name]) => name as string)
    expect(methods.filter((name) => !named.includes(name))).toEqual([])
    const others = ["ready", "scripts", "compile", "tenants", "create", "open", "list", "byToken"]
    const ofCoherence = ["coherence", "status", "untilMembers", "acknowledged", "trace", "forget"]
    expect(named.filter((name) => ![...methods, ...others, ...ofCoherence].includes(name))).toEqual([])
  })

  it("shows its processes", async () => {
    const tree = await open().processes()
    expect([tree?.name, tree?.children.map(({ name }) => name)]).toEqual([
      "mimosa",
      ["journal", "scheduler", "sandbox", "webhooks", "scripts", "script checker"]
    ])
  })
})

describe("triggers", () => {
  it("are registered, listed, tried, logged and removed", async () => {
    const cache = open()
    expect(await cache.trigger({ ...hello, priority: 3 })).toMatchObject({
      name: "hello",
      priority: 3,
      status: "active"
    })
    await cache.trigger({ name: "fails", pattern: "f*", events: ["ON_WRITE"], source: "error('no')" })
    expect((await cache.triggers()).map(({ name }) => name)).toEqual(["hello", "fails"])
    await cache.set("f", 1)
    expect(await cache.triggerLog()).toMatchObject([{ trigger: "fails", kind: "error", key: "f" }])
    expect(await cache.triggerLog(0)).toEqual([])
    expect([await cache.removeTrigger("hello"), await cache.removeTrigger("hello")]).toEqual([true, false])
  })

  it("are tried on made-up events in a program's own values, and nothing happens", async () => {
    const cache = open()
    await cache.trigger({
      ...hello,
      source: 'cache.emit("x", event.metadata.by) return event.value .. event.old_value'
    })
    const tried = { event: "ON_WRITE", key: "clé", value: "é", oldValue: "à", metadata: { by: "ü" } } as const
    expect(await cache.tryTrigger({ name: "hello" }, tried)).toMatchObject({
      status: "ok",
      result: "éà",
      emits: [{ channel: "x", payload: "ü" }]
    })
    expect(await cache.tryTrigger({ source: "return event.value.a" }, { ...tried, value: { a: 7 } })).toMatchObject({
      result: 7
    })
    const source = "return event.tags[1] .. event.cost"
    expect(await cache.tryTrigger({ name: "hello", source }, { ...tried, tags: ["é"], cost: 2 })).toMatchObject({
      result: "é2"
    })
    expect((await cache.triggers())[0]?.runs).toBe(0)
    const refused = [
      cache.tryTrigger({ name: "none" }, tried),
      cache.tryTrigger({ source: "return (" }, tried),
      cache.tryTrigger({ name: "hello" }, { ...tried, value: new Date() as never }),
      cache.tryTrigger({ name: "hello" }, { ...tried, oldValue: new Date() as never }),
      cache.tryTrigger({ name: "hello" }, { ...tried, metadata: { a: new Date() as never } })
    ]
    const errors = await Promise.all(refused.map(rejection))
    expect(errors[0]).toBeInstanceOf(TriggerNotFound)
    expect(errors[1]).toBeInstanceOf(TriggerSyntaxError)
    expect(errors.slice(2)).toMatchObject([{ path: "$" }, { path: "$" }, { path: "metadata.a" }])
  })

  it("are disabled and enabled, and looked at one by one", async () => {
    const cache = open()
    await cache.trigger(hello)
    expect(await cache.disableTrigger("hello")).toMatchObject({ name: "hello", status: "disabled" })
    await cache.set("a", 1)
    expect(await cache.enableTrigger("hello")).toMatchObject({ name: "hello", status: "active", runs: 0 })
    await cache.set("a", 2)
    expect(await cache.triggerInfo("hello")).toMatchObject({ status: "active", runs: 1, emits: 1 })
    const refused = [cache.disableTrigger("none"), cache.enableTrigger("none"), cache.triggerInfo("none")]
    for (const error of await Promise.all(refused.map(rejection))) expect(error).toBeInstanceOf(TriggerNotFound)
  })

  it("keep their versions, and go back to one of them or to the one before", async () => {
    const cache = open()
    for (const source of ["return 1", "return 2", "return 3"]) await cache.trigger({ ...hello, source })
    expect(await cache.rollbackTrigger("hello")).toMatchObject({ version: 2, source: "return 2" })
    expect(await cache.rollbackTrigger("hello", 3)).toMatchObject({ version: 3, source: "return 3" })
    const { live, versions } = await cache.triggerVersions("hello")
    expect([live, versions.map(({ version, definition }) => [version, definition.source])]).toEqual([
      3,
      [
        [1, "return 1"],
        [2, "return 2"],
        [3, "return 3"]
      ]
    ])
    expect(await rejection(cache.rollbackTrigger("hello", 7))).toBeInstanceOf(VersionNotFound)
    expect(await rejection(cache.rollbackTrigger("none"))).toBeInstanceOf(TriggerNotFound)
    expect(await rejection(cache.triggerVersions("none"))).toBeInstanceOf(TriggerNotFound)
  })

  it("have a shadow that only counts, until it is dropped or takes over", async () => {
    const cache = open()
    const heard: string[] = []
    cache.on("x", (payload) => heard.push(payload))
    await cache.trigger(hello)
    const source = 'cache.emit("x", "new " .. event.key)'
    expect(await cache.shadowTrigger("hello", { source })).toMatchObject({ version: 1, shadow: { source, runs: 0 } })
    await cache.set("a", 1)
    expect(await cache.triggerInfo("hello")).toMatchObject({ emits: 1, shadow: { runs: 1, emits: 1 } })
    expect([await cache.dropShadow("hello"), await cache.dropShadow("hello")]).toEqual([true, false])
    expect(await rejection(cache.promoteShadow("hello"))).toBeInstanceOf(NoShadow)
    await cache.shadowTrigger("hello", { source })
    expect(await cache.promoteShadow("hello")).toMatchObject({ version: 2, source, shadow: null })
    await cache.set("b", 1)
    expect(heard).toEqual(["a", "new b"])
    expect(await rejection(cache.shadowTrigger("none", { source }))).toBeInstanceOf(TriggerNotFound)
    expect(await rejection(cache.shadowTrigger("hello", { source: "return (" }))).toBeInstanceOf(TriggerSyntaxError)
  })

  it("are tried on what has happened, with what the live version would do otherwise", async () => {
    const cache = open({ eventLog: 10 })
    await cache.trigger({ ...hello, pattern: "clé*" })
    await cache.set("clé", 1)
    await cache.set("other", 1)
    await cache.set("clé 2", 2)
    const source = 'if event.value > 1 then cache.emit("x", event.key) end'
    const report = await cache.tryTriggerOnHistory({ name: "hello", source })
    expect(report).toMatchObject({ events: 3, matched: 2, sum: { ok: 2, emits: 1 }, current: { ok: 2, emits: 2 } })
    expect(report.runs.map(({ key, current }) => [key, current?.emits])).toEqual([
      ["clé", [{ channel: "x", payload: "clé" }]],
      ["clé 2", undefined]
    ])
    expect(await cache.tryTriggerOnHistory({ name: "hello" }, 1)).toMatchObject({ events: 1, sum: { emits: 1 } })
    expect(await cache.tryTriggerOnHistory({ source }, 2)).toMatchObject({ events: 2, matched: 2, current: null })
    expect(await cache.tryTriggerOnHistory({ name: "hello" }, 0)).toMatchObject({ events: 0, runs: [] })
    expect(await rejection(cache.tryTriggerOnHistory({ name: "none" }))).toBeInstanceOf(TriggerNotFound)
    expect(await rejection(cache.tryTriggerOnHistory({ source: "return (" }))).toBeInstanceOf(TriggerSyntaxError)
    const withoutLog = open()
    expect(await rejection(withoutLog.tryTriggerOnHistory({ source }))).toBeInstanceOf(HistoryOff)
  })

  it("log to streams that are read by number, and fail under their keys as text", async () => {
    const cache = open()
    const source =
      'cache.log("größe", { key = event.key, n = event.value }) print("größer") if event.value > 1 then error("no") end'
    await cache.trigger({ ...hello, source })
    for (const n of [1, 1, 2]) await cache.set("clé", n)
    const logged = { stream: "größe", trigger: "hello", key: "clé", message: null, fields: { key: "clé", n: 1 } }
    expect(await cache.logs("größe")).toMatchObject([
      { ...logged, number: 1 },
      { ...logged, number: 2 }
    ])
    expect(await cache.logs("größe", { after: 1 })).toMatchObject([{ number: 2 }])
    expect(await cache.logs("größe", { count: 1 })).toMatchObject([{ number: 2 }])
    expect(await cache.logs("default", { count: 1 })).toMatchObject([{ message: "größer", fields: null }])
    expect(await cache.logs("none")).toEqual([])
    expect((await cache.logStreams()).map(({ stream, lines }) => [stream, lines])).toEqual([
      ["default", 2],
      ["größe", 2]
    ])
    expect(await cache.triggerLog()).toMatchObject([{ kind: "error", key: "clé" }])
  })

  it("have a graph of what sets off what, and warnings about those that set themselves off", async () => {
    const cache = open()
    await cache.trigger({ ...hello, name: "a", pattern: "a:*", source: 'cache.set("b:1", 1)' })
    await cache.trigger({ ...hello, name: "b", pattern: "b:*", source: 'cache.set("a:1", 1)' })
    await cache.trigger({ ...hello, name: "c", pattern: "c:*" })
    const { nodes, edges, cycles } = await cache.triggerGraph()
    expect(nodes.map(({ name, writes }) => [name, writes.patterns])).toEqual([
      ["a", ["b:1"]],
      ["b", ["a:1"]],
      ["c", []]
    ])
    expect(edges.map(({ from, to }) => `${from} ${to}`).sort()).toEqual(["a b", "b a"])
    expect(cycles.map((cycle) => [...cycle].sort())).toEqual([["a", "b"]])
    expect(await cache.triggerWarnings("a")).toEqual([expect.stringContaining("sets itself off: 'a' → 'b' → 'a'")])
    expect([await cache.triggerWarnings("c"), await cache.triggerWarnings("none")]).toEqual([[], []])
  })

  it("refuse a write or a delete before it happens, in their own words", async () => {
    const cache = open()
    const source = 'if event.value == "bad" or event.key == "kept" then cache.reject("not so") end'
    await cache.trigger({ ...hello, events: ["BEFORE_DELETE", "BEFORE_WRITE"], source })
    await cache.set("a", "good")
    const errors = [await rejection(cache.set("a", "bad")), await rejection(cache.set("kept", 1))]
    for (const error of errors) expect(error).toBeInstanceOf(Rejected)
    expect(errors[0]).toMatchObject({ key: "a", reason: "not so" })
    expect([await cache.get("a"), await cache.get("kept"), await cache.del("a")]).toEqual(["good", undefined, true])
  })

  it("keep within the cascade and the intensity that the settings say", async () => {
    const cache = open({ cascade: { depth: 1 }, intensity: { errorsMax: 1 } })
    await cache.trigger({ ...hello, name: "first", pattern: "a", source: 'cache.set("b", 1)' })
    await cache.trigger({ ...hello, name: "second", pattern: "b", source: 'cache.set("c", 1)' })
    await cache.trigger({ ...hello, name: "third", pattern: "c" })
    await cache.trigger({ ...hello, name: "fails", pattern: "f", source: 'error("no")' })
    await cache.set("a", 1)
    expect((await cache.triggerInfo("second")).runs).toBe(1)
    expect((await cache.triggerInfo("third")).skips.depth).toBe(1)
    await cache.set("f", 1)
    expect((await cache.triggerInfo("fails")).status).toBe("active")
    await cache.set("f", 1)
    expect((await cache.triggerInfo("fails")).status).toBe("quarantined")
    expect((await cache.enableTrigger("fails")).status).toBe("active")
  })

  it("come back with the data directory", async () => {
    const dataDir = await temporaryDirectory()
    const first = open({ dataDir })
    await first.trigger(hello)
    await first.close()
    const second = open({ dataDir })
    expect((await second.triggers()).map(({ name }) => name)).toEqual(["hello"])
    await second.close()
    await fs.rm(dataDir, { recursive: true })
  })
})

describe("scripts", () => {
  it("are compiled once, and each run begins anew", async () => {
    const script = await open().scripts.compile(counting, { name: "counting" })
    expect([script.name, script.functions, script.bytes > 0]).toEqual(["counting", ["main", "echo", "count"], true])
    expect([await script.runMain(), await script.runMain()]).toEqual([1, 1])
    expect(await script.run("echo", [{ é: [1n, true, "ü"] }])).toEqual({ é: [1, true, "ü"] })
    expect(await script.run("echo")).toBe(null)
  })

  it("keep what they have in a state, until it is closed", async () => {
    const cache = open()
    const state = await (await cache.scripts.compile(counting)).createState()
    expect([await state.runMain(), await state.run("count"), await state.runMain()]).toEqual([1, 2, 3])
    expect((await cache.scripts.stats()).states).toBe(1)
    await state.close()
    expect((await cache.scripts.stats()).states).toBe(0)
    expect(await rejection(state.runMain())).toBeInstanceOf(ScriptInterrupted)
  })

  it("are given values and functions of the program, which may answer later", async () => {
    const script = await open().scripts.compile(
      "function main(n) return greeting .. add(n, 1) .. later() .. #bytes end"
    )
    const functions = { add: (a: unknown, b: unknown) => Number(a) + Number(b), later: async () => "!" }
    expect(await script.runMain([41], { env: { greeting: "é", bytes: Uint8Array.of(255) }, functions })).toBe("é42!1")
  })

  it("have the cache of the tenant with the prefix, which the program looks into under bare keys", async () => {
    const cache = open()
    const script = await cache.scripts.compile("function main() return cache.incr('user_count') end")
    for (const cachePrefix of ["tenant_123", "tenant_123", "tenant_456"]) await script.runMain([], { cachePrefix })
    const [one, two] = [await cache.tenants.open("tenant_123"), await cache.tenants.open("tenant_456")]
    expect([await one.get("user_count"), await two.get("user_count")]).toEqual([2, 1])
    expect([await cache.get("user_count"), await cache.get("tenant_123:user_count")]).toEqual([undefined, undefined])
    expect(await rejection(script.runMain())).toBeInstanceOf(ScriptRuntimeError)
  })

  it("reject with the engine's errors themselves", async () => {
    const cache = open()
    const syntax = await rejection(cache.scripts.compile("function main(", { name: "broken" }))
    expect(syntax).toBeInstanceOf(ScriptSyntaxError)
    expect(syntax).toMatchObject({ script: "broken", line: 1 })
    const script = await cache.scripts.compile("function main() error('no') end\nfunction loop() while true do end end")
    const errors = await Promise.all([
      rejection(script.runMain()),
      rejection(script.run("loop", [], { limits: { computeMs: 1 } })),
      rejection(script.run("none")),
      rejection(script.runMain([new Date() as never])),
      rejection(script.runMain([], { cachePrefix: "" }))
    ])
    expect(errors[0]).toBeInstanceOf(ScriptRuntimeError)
    expect(errors[0]).toMatchObject({ line: 1, reason: "no", traceback: expect.stringContaining("script:1:") })
    expect(errors[1]).toBeInstanceOf(ScriptTimeout)
    expect(errors[1]).toMatchObject({ line: 2, kind: "computing", limitMs: 1 })
    expect(errors[2]).toBeInstanceOf(FunctionNotFound)
    expect(errors[3]).toBeInstanceOf(InvalidArgument)
    expect(errors[4]).toBeInstanceOf(InvalidTenant)
  })

  it("end by an AbortSignal: before they have begun, and while they wait", async () => {
    const script = await open().scripts.compile("function main() return later() end")
    const isAborted = rejection(script.runMain([], { functions: { later: () => 1 }, signal: AbortSignal.abort() }))
    expect(await isAborted).toBeInstanceOf(ScriptInterrupted)
    const controller = new AbortController()
    const later = () => {
      controller.abort()
      return new Promise<never>(() => {})
    }
    const run = script.runMain([], { functions: { later }, signal: controller.signal })
    expect(await rejection(run)).toMatchObject({ _tag: "ScriptInterrupted", reason: "its signal was aborted" })
  })
})

describe("tenants", () => {
  it("are made, found by id, prefix and token, listed and removed", async () => {
    const cache = open()
    const made = await cache.tenants.create({ id: "acme", prefix: "tenant_123", limits: { maxEntries: 10 } })
    expect([made.id, made.prefix, made.limits.maxEntries, made.isOpen]).toEqual(["acme", "tenant_123", 10, true])
    await cache.tenants.open("other")
    expect((await cache.tenants.list()).map(({ id }) => id)).toEqual(["acme", "other"])
    expect([(await cache.tenants.get("acme"))?.prefix, await cache.tenants.get("none")]).toEqual([
      "tenant_123",
      undefined
    ])
    const token = await made.issueToken()
    expect([(await cache.tenants.byToken(token))?.id, await cache.tenants.byToken("mt_acme_x")]).toEqual([
      "acme",
      undefined
    ])
    expect([await made.revokeToken(), await made.revokeToken()]).toEqual([true, false])
    expect(await cache.tenants.byToken(token)).toBe(undefined)
    const found = await cache.tenants.open("tenant_123")
    expect([await found.remove(), await made.remove(), made.isOpen]).toEqual([true, false, false])
    expect(await cache.tenants.get("acme")).toBe(undefined)
  })

  it("refuse what cannot be, by the tagged errors themselves", async () => {
    const { tenants } = open()
    const made = await tenants.create({ id: "a" })
    expect(await rejection(tenants.create({ id: "a" }))).toBeInstanceOf(TenantExists)
    expect(await rejection(tenants.create({ id: "b", prefix: "a:b" }))).toBeInstanceOf(PrefixTaken)
    expect(await rejection(tenants.create({ id: "" }))).toBeInstanceOf(InvalidTenant)
    expect(await rejection(tenants.open(""))).toBeInstanceOf(InvalidTenant)
    expect(await rejection(made.setLimits({ maxEntries: 0 }))).toBeInstanceOf(InvalidTenant)
    expect(await rejection(made.setEnv("no name", 1))).toBeInstanceOf(InvalidTenant)
    expect(await rejection(made.setEnv("print", 1))).toBeInstanceOf(InvalidTenant)
    expect(await rejection(made.setEnv("name", new Date() as never))).toBeInstanceOf(InvalidValue)
  })

  it("are caches of their own: entries, doors, triggers, logs and channels", async () => {
    const cache = open()
    const [one, two] = [await cache.tenants.create({ id: "one" }), await cache.tenants.create({ id: "two" })]
    const heard: string[] = []
    const places: ReadonlyArray<readonly [string, MimosaKeyspace]> = [
      ["main", cache],
      ["one", one],
      ["two", two]
    ]
    for (const [name, place] of places) place.on("x", (payload, channel) => heard.push(`${name} ${channel} ${payload}`))
    await one.trigger({ ...hello, source: 'print(event.value) cache.emit("x", event.key)' })
    for (const [name, place] of places) await place.set("clé", name)
    expect(heard).toEqual(["one x clé"])
    expect(places.map(([, place]) => [place.unsafeGet("clé"), place.peek("clé")?.key])).toEqual([
      ["main", "clé"],
      ["one", "clé"],
      ["two", "clé"]
    ])
    expect([(await one.triggers()).length, await two.triggers(), await cache.triggers()]).toEqual([1, [], []])
    expect(await one.logs("default")).toMatchObject([{ message: "one", key: "clé" }])
    expect([await two.del("clé"), await two.has("clé"), await one.has("clé")]).toEqual([true, false, true])
    expect([(await one.stats()).writes, (await one.clear()) + (await two.clear())]).toEqual([1, 1])
  })

  it("have limits and an environment that hold for the next run", async () => {
    const cache = open()
    const tenant = await cache.tenants.create({ id: "t" })
    const script = await cache.scripts.compile("function main() return api_token end")
    const run = () => script.runMain([], { cachePrefix: "t" })
    await tenant.setEnv("api_token", "é")
    expect([tenant.env, await run()]).toEqual([{ api_token: "é" }, "é"])
    await tenant.setEnv("api_token", undefined)
    expect([tenant.env, await run()]).toEqual([{}, null])
    await tenant.setLimits({ runsMax: 0 })
    expect(tenant.limits).toMatchObject({ runsMax: 0, maxEntries: 50_000 })
    expect(await rejection(run())).toBeInstanceOf(ScriptQuotaExceeded)
  })

  it("keep scripts under names, run them, and log what they say", async () => {
    const cache = open()
    const { scripts } = await cache.tenants.create({ id: "t" })
    const source = "-- é\nfunction main(x) print('ü', x) return cache.incr('n', 2) end"
    expect(await scripts.set("count", source)).toMatchObject({ name: "count", version: 1, functions: ["main"] })
    expect([await scripts.run("count", "main", ["ö"]), await scripts.run("count", "main")]).toEqual([2, 4])
    expect((await scripts.list()).map(({ name }) => name)).toEqual(["count"])
    expect([(await scripts.info("count"))?.source, await scripts.info("none")]).toEqual([source, undefined])
    expect(await scripts.log({ count: 2 })).toMatchObject([
      { number: 1, kind: "print", text: "ü\tö" },
      { number: 2, kind: "print", text: "ü\tnil" }
    ])
    expect(await scripts.usage()).toMatchObject({ scripts: 1, runs: 0, outcomes: { ok: 2 } })
    expect(await rejection(scripts.set(".no", source))).toBeInstanceOf(InvalidScriptName)
    expect(await rejection(scripts.set("no", "return ("))).toBeInstanceOf(ScriptSyntaxError)
    expect(await rejection(scripts.run("none", "main"))).toBeInstanceOf(ScriptNotFound)
    expect(await rejection(scripts.run("count", "main", [new Date() as never]))).toMatchObject({
      _tag: "InvalidArgument",
      path: "argument 1"
    })
    expect([await scripts.remove("count"), await scripts.remove("count")]).toEqual([true, false])
  })

  it("come back with the data directory, with their scripts, triggers and environment", async () => {
    const dataDir = await temporaryDirectory()
    const first = open({ dataDir })
    const tenant = await first.tenants.create({ id: "t", limits: { maxEntries: 7 } })
    await tenant.setEnv("greeting", "é")
    await tenant.scripts.set("greet", "function main() return greeting .. 'ü' end")
    await tenant.trigger(hello)
    await first.tenants.open("passing-by")
    await first.close()
    const second = open({ dataDir })
    expect((await second.tenants.list()).map(({ id }) => id)).toEqual(["t"])
    const again = await second.tenants.open("t")
    expect([again.limits.maxEntries, await again.scripts.run("greet", "main")]).toEqual([7, "éü"])
    expect((await again.triggers()).map(({ name }) => name)).toEqual(["hello"])
    expect(await again.remove()).toBe(true)
    await second.close()
    const third = open({ dataDir })
    expect(await third.tenants.list()).toEqual([])
    await third.close()
    await fs.rm(dataDir, { recursive: true })
  })

  it("once removed refuse everything, hear nothing of whoever comes after, and cannot take that one along", async () => {
    const cache = open()
    const old = await cache.tenants.create({ id: "t" })
    const script = await cache.scripts.compile(counting)
    const state = await script.createState({ cachePrefix: "t" })
    await old.set("k", 1)
    const heard: string[] = []
    old.on("x", (payload) => heard.push(payload))
    await old.remove()
    const next = await cache.tenants.create({ id: "t" })
    await next.trigger(hello)
    await next.set("k", 2)
    const calls = [
      old.get("k"),
      old.set("k", 3),
      old.clear(),
      old.trigger(hello),
      old.triggers(),
      old.setLimits({}),
      old.setEnv("a", 1),
      old.issueToken(),
      old.revokeToken(),
      old.scripts.set("s", "function main() end"),
      old.scripts.run("s", "main"),
      old.scripts.list(),
      old.scripts.usage()
    ]
    for (const error of await Promise.all(calls.map(rejection))) expect(error).toBeInstanceOf(TenantNotFound)
    expect(() => old.unsafeGet("k")).toThrow(TenantNotFound)
    expect(() => old.peek("k")).toThrow(TenantNotFound)
    expect([await old.remove(), heard, next.isOpen, await next.get("k")]).toEqual([false, [], true, 2])
    expect(await rejection(state.runMain())).toBeInstanceOf(ScriptInterrupted)
  })
})

describe("before the start is over", () => {
  it("every method waits for it, and they run in the order of the calls", async () => {
    const dataDir = await temporaryDirectory() // files make the start take a few turns
    const cache = open({ dataDir })
    const done: string[] = []
    const all = [
      cache.set("k", 1).then(() => done.push("set")),
      cache.get("k").then((value) => done.push(`get ${value}`)),
      cache.del("k").then((was) => done.push(`del ${was}`)),
      cache.has("k").then((is) => done.push(`has ${is}`))
    ]
    expect(done).toEqual([])
    await Promise.all(all)
    expect(done).toEqual(["set", "get 1", "del true", "has false"])
    await cache.close()
    await fs.rm(dataDir, { recursive: true })
  })

  it("the synchronous doors throw, and say what to wait for; afterwards they open", async () => {
    const cache = open()
    expect(() => cache.unsafeGet("k")).toThrow("await cache.ready first")
    expect(() => cache.peek("k")).toThrow("await cache.ready first")
    await cache.ready
    await cache.set("k", 1)
    expect([cache.unsafeGet("k"), cache.peek("k")?.value, cache.unsafeGet("none"), cache.peek("none")]).toEqual([
      1,
      1,
      undefined,
      undefined
    ])
  })
})

describe("on", () => {
  it("calls the listener with text, until it is taken back", async () => {
    const cache = open()
    await cache.trigger({ ...hello, source: 'cache.emit("canal é", event.key)' })
    const heard: string[] = []
    const off = cache.on("canal é", (payload, channel) => heard.push(`${channel}: ${payload}`))
    const offOther = cache.on("other", (payload) => heard.push(payload))
    await cache.set("clé", 1)
    off()
    off()
    await cache.set("b", 1)
    offOther()
    expect(heard).toEqual(["canal é: clé"])
  })

  it("subscribes before a write that is asked for after it, and not at all when it is taken back first", async () => {
    const cache = open()
    const heard: string[] = []
    void cache.trigger(hello)
    cache.on("x", (payload) => heard.push(payload))
    cache.on("x", () => heard.push("taken back"))()
    await cache.set("a", 1)
    expect(heard).toEqual(["a"])
  })

  it("calls a listener no more within the message in which it was taken back", async () => {
    const cache = open()
    await cache.trigger(hello)
    const heard: string[] = []
    cache.on("x", () => off())
    const off = cache.on("x", (payload) => heard.push(payload))
    await cache.set("a", 1)
    expect(heard).toEqual([])
  })

  it("does not let a listener that throws harm the cache or other listeners; the error is uncaught, in a turn of its own", async () => {
    const cache = open()
    await cache.trigger(hello)
    const heard: string[] = []
    cache.on("x", () => {
      throw new Error("a broken listener")
    })
    cache.on("x", (payload) => heard.push(payload))
    const others = process.listeners("uncaughtException")
    process.removeAllListeners("uncaughtException")
    const uncaught = new Promise<Error>((resolve) => process.once("uncaughtException", resolve))
    try {
      await cache.set("a", 1)
      expect((await uncaught).message).toBe("a broken listener")
    } finally {
      for (const listener of others) process.on("uncaughtException", listener)
    }
    expect([heard, await cache.get("a"), (await cache.triggers())[0]?.failures.error]).toEqual([["a"], 1, 0])
  })
})

describe("other instances", () => {
  const alone = () => open({ namespace: `alone_${process.pid}`, coherence: { mesh: { beacon: false } } })

  it("are waited for until the time is over, and then it is said how many are there", async () => {
    const { coherence } = alone()
    await coherence.untilMembers(0, { timeoutMs: 0 })
    const error = await rejection(coherence.untilMembers(2, { timeoutMs: 1 }))
    expect(error).toBeInstanceOf(NotEnoughMembers)
    expect(error).toMatchObject({ awaited: 2, present: 0, timeoutMs: 1 })
    expect((error as Error).message).toBe("0 other instances are there after 1 ms; 2 were awaited")
  })

  it.each([
    [[Number.NaN], "other instances are waited for by a whole number from 0; not NaN"],
    [["1"], "other instances are waited for by a whole number from 0; not 1"],
    [[1, { timeoutMs: Number.NaN }], "timeoutMs is a number from 0; not NaN"],
    [[1, { timeoutMs: -1 }], "timeoutMs is a number from 0; not -1"]
  ])("are not waited for by %j", async (given, message) => {
    const { coherence } = alone()
    expect(await rejection(coherence.untilMembers(...(given as [number])))).toEqual(new RangeError(message))
  })

  it.each([
    ["in a namespace", alone],
    ["alone", () => open()]
  ])("are waited for by no misspelt ackMode, and nothing happens (%s)", async (_name, make) => {
    const cache = make()
    await cache.set("a", 1, { tags: ["t"] })
    const wrong = { ackMode: "lve" as never }
    const calls = [
      () => cache.set("a", 2, wrong),
      () => cache.set("a", 2, { ...wrong, local: true }),
      () => cache.del("a", wrong),
      () => cache.invalidate("a", wrong),
      () => cache.invalidateTags(["t"], wrong),
      () => cache.invalidatePrefix("a:", wrong)
    ]
    for (const call of calls) {
      const error = await rejection(call())
      expect(error).toBeInstanceOf(InvalidAckMode)
      expect((error as Error).message).toBe(`ackMode 'lve' is none: give "async", "one" or "live"`)
    }
    expect(cache.peek("a")?.value).toBe(1)
    await cache.set("a", 2, { ackMode: undefined } as never)
    expect(await cache.get("a")).toBe(2)
  })

  it("are asked whether they have applied writes by a mode that there is", async () => {
    const { coherence } = alone()
    expect(await rejection(coherence.acknowledged("livee" as never))).toEqual(new InvalidAckMode({ ackMode: "livee" }))
    expect(await coherence.acknowledged("live")).toMatchObject({ missing: [] })
  })
})

describe("close", () => {
  it("can be called twice, and both wait for the same end", async () => {
    const cache = open()
    await cache.ready
    const [first, second] = [cache.close(), cache.close()]
    let isOver = false
    void first.then(() => (isOver = true))
    await second
    expect(isOver).toBe(true)
    await cache.close()
  })

  it("waits for what was asked for, but not without end: a load that does not answer is cut off", async () => {
    const cache = open()
    await cache.ready
    const load = cache.getOrSet("k", () => new Promise<never>(() => {})).catch((error: unknown) => error)
    await cache.close()
    expect(await load).toBeInstanceOf(LoadFailed)
  })

  it("ends waits for other instances at once, with what every method says afterwards", async () => {
    const namespace = `alone_${process.pid}`
    const cache = open({ namespace, coherence: { mesh: { beacon: false } } })
    await cache.ready
    const warnings: unknown[] = []
    const onWarning = (warning: Error) => void warnings.push(warning.message)
    process.on("warning", onWarning)
    const ends: string[] = []
    const waits = Array.from({ length: 20 }, async (_, at) => {
      const options = at % 2 === 0 ? {} : { timeoutMs: 60_000 }
      const error = await rejection(cache.coherence.untilMembers(1, options))
      ends.push((error as Error).message)
    })
    const isOver = Promise.all(waits).then(() => "waits")
    // Long before the five seconds in which a close waits for loads and writes.
    expect(await Promise.race([cache.close().then(() => "close"), isOver])).toBe("waits")
    expect(new Set(ends)).toEqual(new Set(["the cache is closed; make a new one"]))
    await cache.close()
    process.off("warning", onWarning)
    expect(warnings).toEqual([]) // of too many listeners, say
  })

  it("makes every method reject and every door throw, and says why", async () => {
    const cache = open()
    await cache.set("k", 1)
    const tenant = await cache.tenants.create({ id: "t" })
    const script = await cache.scripts.compile(counting)
    const state = await script.createState()
    await cache.close()
    const calls: Record<string, () => Promise<unknown>> = {
      get: () => cache.get("k"),
      getOrSet: () => cache.getOrSet("k", () => 1),
      loader: () => cache.loader("k", () => 1),
      warm: () => cache.warm(["k"]),
      set: () => cache.set("k", 1),
      del: () => cache.del("k"),
      invalidate: () => cache.invalidate("k"),
      invalidateTags: () => cache.invalidateTags(["t"]),
      invalidatePrefix: () => cache.invalidatePrefix("p:"),
      has: () => cache.has("k"),
      expire: () => cache.expire("k", 1),
      clear: () => cache.clear(),
      stats: () => cache.stats(),
      trigger: () => cache.trigger(hello),
      triggers: () => cache.triggers(),
      triggerInfo: () => cache.triggerInfo("hello"),
      enableTrigger: () => cache.enableTrigger("hello"),
      disableTrigger: () => cache.disableTrigger("hello"),
      removeTrigger: () => cache.removeTrigger("hello"),
      tryTrigger: () => cache.tryTrigger({ name: "hello" }, { event: "ON_WRITE", key: "k", value: 1 }),
      tryTriggerOnHistory: () => cache.tryTriggerOnHistory({ name: "hello" }),
      shadowTrigger: () => cache.shadowTrigger("hello", { source: "return 1" }),
      promoteShadow: () => cache.promoteShadow("hello"),
      dropShadow: () => cache.dropShadow("hello"),
      triggerVersions: () => cache.triggerVersions("hello"),
      rollbackTrigger: () => cache.rollbackTrigger("hello"),
      triggerLog: () => cache.triggerLog(),
      triggerGraph: () => cache.triggerGraph(),
      triggerWarnings: () => cache.triggerWarnings("hello"),
      logs: () => cache.logs("default"),
      logStreams: () => cache.logStreams(),
      processes: () => cache.processes()
    }
    const others = ["unsafeGet", "peek", "on", "close"]
    expect([...Object.keys(calls), ...others].sort()).toEqual([...methods].sort())
    const further = [
      () => cache.tenants.list(),
      () => cache.coherence.status(),
      () => tenant.get("k"),
      () => tenant.scripts.list(),
      () => cache.scripts.stats(),
      () => script.runMain(),
      () => state.runMain()
    ]
    for (const call of [...Object.values(calls), ...further]) {
      const error = await rejection(call())
      expect(error).toBeInstanceOf(Error)
      expect((error as Error).message).toContain("the cache is closed")
    }
    expect(() => cache.unsafeGet("k")).toThrow("the cache is closed")
    expect(() => cache.peek("k")).toThrow("the cache is closed")
    expect(() => cache.on("x", () => {})()).not.toThrow()
  })

  it("before the start is over waits for it, and serves what was asked for before", async () => {
    const dataDir = await temporaryDirectory()
    const cache = open({ dataDir })
    const before = cache.trigger(hello)
    const closed = cache.close()
    await before
    await closed
    expect(() => cache.unsafeGet("k")).toThrow("the cache is closed")
    const again = open({ dataDir }) // the directory is free, and the trigger in it
    expect((await again.triggers()).map(({ name }) => name)).toEqual(["hello"])
    await again.close()
    await fs.rm(dataDir, { recursive: true })
  })
})

describe("a start that fails", () => {
  it("rejects ready and every method with the reason, and close is fulfilled", async () => {
    const cache = open({ egressAllow: ["no/network"] })
    const calls = [cache.get("k"), cache.set("k", 1), cache.triggers(), cache.tenants.list(), cache.scripts.stats()]
    const errors = await Promise.all([cache.ready, ...calls].map(rejection))
    for (const error of errors) expect(error).toBeInstanceOf(EgressAllowInvalid)
    expect(await rejection(open({ httpAllow: ["no/host"] }).ready)).toBeInstanceOf(HttpAllowInvalid)
    expect(() => cache.unsafeGet("k")).toThrow("has not started")
    await cache.close()
  })

  it("names the file that cannot be read", async () => {
    const dataDir = await temporaryDirectory()
    await fs.writeFile(join(dataDir, "triggers.json"), "{")
    const error = await rejection(open({ dataDir }).ready)
    expect(error).toBeInstanceOf(FileCorrupt)
    expect((error as Error).message).toContain(join(dataDir, "triggers.json"))
    await fs.rm(dataDir, { recursive: true })
  })

  it("rejects with what is wrong with a limit", async () => {
    expect(String(await rejection(open({ maxEntries: 0 }).ready))).toContain("maxEntries is a number from 1; not 0")
  })

  it("is no unhandled rejection when nobody asks", async () => {
    const unhandled: unknown[] = []
    const listen = (reason: unknown) => unhandled.push(reason)
    const others = process.listeners("unhandledRejection")
    process.removeAllListeners("unhandledRejection")
    process.on("unhandledRejection", listen)
    const cache = new Mimosa({ egressAllow: ["no/network"] })
    cache.on("x", () => {})()
    await cache.close()
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve))) // Node reports them between two turns
    process.off("unhandledRejection", listen)
    for (const listener of others) process.on("unhandledRejection", listener)
    expect(unhandled).toEqual([])
  })
})
