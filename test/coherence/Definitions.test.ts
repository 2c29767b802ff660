/** Whole programs of one namespace, over the transport in memory: what is registered on one is so on the others. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Context, Effect, ExecutionStrategy, Exit, Layer, Logger, LogLevel, Option, Scope } from "effect"
import { describe, expect, it, vi } from "vitest"
import { layerWith, type Services } from "../../src/App.ts"
import { Cache, type MainCacheService, type Tenant, Tenants, type TenantsService } from "../../src/cache/index.ts"
import { Coherence, type CoherenceService, type Definition } from "../../src/coherence/index.ts"
import * as Memory from "../../src/coherence/transport/Memory.ts"
import type { Settings } from "../../src/Settings.ts"
import { Scripts, type ScriptsService } from "../../src/scripting/index.ts"
import { type TriggerInput, Triggers, type TriggersService } from "../../src/triggers/index.ts"

vi.setConfig({ testTimeout: 30_000 }) // several whole programs each, on a machine that may be busy

interface Node {
  readonly cache: MainCacheService
  readonly coherence: CoherenceService
  readonly tenants: TenantsService
  readonly triggers: TriggersService
  readonly scripts: ScriptsService
  readonly stop: Effect.Effect<void>
}

/** Starts programs that know of each other. */
const namespace = Effect.map(Layer.build(Memory.layerNetwork), (network) => {
  const transport = Layer.provide(Memory.layer, Layer.succeedContext(network))
  return (settings: Settings = {}) =>
    Effect.gen(function* () {
      const outer = yield* Effect.scope
      const scope = yield* Scope.fork(outer, ExecutionStrategy.sequential)
      const layer = layerWith({ namespace: "shop", ...settings }, [], { transport })
      const services: Context.Context<Services> = yield* Layer.buildWithScope(layer, scope)
      const coherence = Context.get(services, Coherence.Coherence)
      if (coherence === null) throw new Error("it has a namespace")
      const node: Node = {
        cache: Context.get(services, Cache),
        coherence,
        tenants: Context.get(services, Tenants),
        triggers: Context.get(services, Triggers),
        scripts: Context.get(services, Scripts),
        stop: Scope.close(scope, Exit.void)
      }
      return node
    })
})

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Logger.withMinimumLogLevel(Effect.scoped(effect), LogLevel.None))

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "mimosa-definitions-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** Looks at each turn of the event loop until it is so; the test's own limit ends what never is. */
const until = (isSo: () => boolean): Effect.Effect<void> =>
  Effect.async((resume) => {
    const look = () => (isSo() ? resume(Effect.void) : void setImmediate(look))
    look()
  })

/** Until all of them have the same definitions, and this is so of each. */
const agreed = (nodes: readonly Node[], isSo: (node: Node) => boolean = () => true) =>
  until(() => new Set(nodes.map(registerOf)).size === 1 && nodes.every(isSo))

const registerOf = ({ coherence }: Node): string =>
  JSON.stringify(Array.from(coherence.definitions.all(), textOf).sort())

const textOf = ({ kind, owner, name, version, author, body }: Definition) =>
  `${kind} ${owner} ${name} ${version} ${author} ${body}`

const live = { ackMode: "live" } as const

/** Writes what it has seen beside the key. */
const doubles: TriggerInput = {
  name: "doubles",
  pattern: "number:*",
  events: ["ON_WRITE"],
  source: 'cache.set("double:" .. event.key, event.value * 2)'
}

const sourceOn = ({ triggers }: Node, name: string) => triggers.live(name)?.definition.source

describe("a trigger", () => {
  it("that is set on one instance runs on the other, until it is replaced and removed there", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        yield* a.coherence.untilMembers(1)
        yield* a.triggers.set(doubles)
        yield* agreed([a, b], (node) => sourceOn(node, "doubles") === doubles.source)
        yield* b.cache.set("number:1", 21)
        expect(b.cache.unsafeGet("double:number:1")).toBe(42)
        const replaced = { ...doubles, source: 'cache.set("double:" .. event.key, "replaced")' }
        yield* b.triggers.set(replaced)
        yield* agreed([a, b], (node) => sourceOn(node, "doubles") === replaced.source)
        yield* a.cache.set("number:2", 1)
        expect(a.cache.unsafeGet("double:number:2")).toBe("replaced")
        yield* a.triggers.remove("doubles")
        yield* agreed([a, b], (node) => sourceOn(node, "doubles") === undefined)
        yield* b.cache.set("number:3", 1)
        expect(b.cache.unsafeGet("double:number:3")).toBeUndefined()
      })
    ))

  it("that is disabled and enabled on one is so on the other, with its counts and its version", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        yield* a.triggers.set(doubles)
        yield* agreed([a, b], (node) => sourceOn(node, "doubles") !== undefined)
        yield* b.cache.set("number:1", 1)
        yield* a.triggers.enable("doubles", false)
        yield* agreed([a, b], ({ triggers }) => triggers.live("doubles")?.definition.isEnabled === false)
        yield* b.cache.set("number:2", 1)
        expect(b.cache.unsafeGet("double:number:2")).toBeUndefined()
        yield* b.triggers.enable("doubles", true)
        yield* agreed([a, b], ({ triggers }) => triggers.live("doubles")?.definition.isEnabled === true)
        expect(yield* b.triggers.info("doubles")).toMatchObject({ runs: 1, version: 1 })
        expect(yield* a.triggers.info("doubles")).toMatchObject({ runs: 0, version: 1, status: "active" })
      })
    ))

  it("that two set at once is the same on both, also where the first is still being saved", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const dataDir = yield* directory
        const [a, b] = [yield* start(), yield* start({ dataDir })]
        yield* a.triggers.set(doubles)
        yield* until(() => sourceOn(b, "doubles") !== undefined)
        yield* b.triggers.set({ ...doubles, source: "return" })
        yield* agreed([a, b], (node) => sourceOn(node, "doubles") === "return")
        const sources = ["return 1", "return 2"] as const
        yield* Effect.all([
          a.triggers.set({ ...doubles, source: sources[0] }),
          b.triggers.set({ ...doubles, source: sources[1] })
        ])
        yield* agreed([a, b])
        yield* until(() => sourceOn(a, "doubles") === sourceOn(b, "doubles"))
        expect(sources).toContain(sourceOn(a, "doubles"))
      })
    ))

  it("is there on all that live once its writer's writes are acknowledged", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        yield* a.triggers.set(doubles)
        yield* Effect.promise(() => a.coherence.acknowledged("live"))
        expect(sourceOn(b, "doubles")).toBe(doubles.source)
      })
    ))

  it("that is set again as it is changes no version, and nobody hears of it", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        yield* a.triggers.set(doubles)
        yield* agreed([a, b], (node) => sourceOn(node, "doubles") !== undefined)
        const before = registerOf(a)
        yield* b.triggers.set(doubles)
        yield* a.triggers.set(doubles)
        expect([registerOf(a), registerOf(b)]).toEqual([before, before])
        expect(a.coherence.status().counters).toMatchObject({ definitionsSet: 1, definitionsTaken: 0 })
        expect(b.coherence.status().counters).toMatchObject({ definitionsSet: 0, definitionsTaken: 1 })
      })
    ))

  it("is there when a program that joins late has started", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const a = yield* start()
        yield* a.tenants.create({ id: "tenant_123" })
        yield* a.scripts.set("tenant_123", "one", "function main() return 1 end")
        for (let n = 0; n < 100; n++) yield* a.triggers.set({ ...doubles, name: `doubles-${n}`, pattern: `n:${n}:*` })
        const b = yield* start()
        expect([...b.triggers.each()].length).toBe(100)
        expect(yield* b.scripts.run("tenant_123", "one", "main", [])).toBe(1)
        expect(registerOf(b)).toBe(registerOf(a))
      })
    ))

  it("that cannot be so on an instance is counted there, is told on, and stops nothing else", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        yield* b.cache.set("tenant_1:key", 1, { local: true })
        yield* a.tenants.create({ id: "tenant_1" })
        yield* a.tenants.create({ id: "tenant_2" })
        yield* agreed([a, b])
        yield* until(() => b.tenants.get("tenant_2") !== undefined)
        expect(b.tenants.get("tenant_1")).toBeUndefined()
        expect(b.coherence.status().counters).toMatchObject({ definitionsConflicts: 1, definitionsApplied: 1 })
        const c = yield* start()
        expect(c.tenants.get("tenant_1")?.isSaved).toBe(true)
      })
    ))
})

describe("a tenant", () => {
  it("has its limits, its environment, its token and its keys on both, and the other tenant has none of it", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        yield* a.tenants.create({ id: "tenant_123", limits: { maxEntries: 7 } })
        yield* a.tenants.create({ id: "tenant_456" })
        yield* a.tenants.setEnv("tenant_123", "greeting", "hello")
        const token = yield* a.tenants.issueToken("tenant_123")
        yield* agreed([a, b], ({ tenants }) => tenants.byToken(token)?.env.get("greeting") === "hello")
        const [here, there] = [a.tenants.get("tenant_123"), b.tenants.get("tenant_123")] as [Tenant, Tenant]
        expect(there).toMatchObject({ isSaved: true, limits: here.limits, createdAtMs: here.createdAtMs })
        yield* a.cache.of(here).set("count", 1, live)
        expect(yield* Effect.map(b.cache.of(there).get("count"), Option.getOrUndefined)).toBe(1)
        const other = b.tenants.get("tenant_456") as Tenant
        expect(yield* Effect.map(b.cache.of(other).get("count"), Option.getOrUndefined)).toBeUndefined()
        yield* b.tenants.setLimits("tenant_123", { maxEntries: 9 })
        yield* b.tenants.revokeToken("tenant_123")
        yield* agreed([a, b], ({ tenants }) => tenants.get("tenant_123")?.limits.maxEntries === 9)
        yield* until(() => a.tenants.byToken(token) === undefined)
        expect(here).toMatchObject({ limits: { maxEntries: 9 }, tokenHash: null })
      })
    ))

  it("that both create at once is one, and keeps the keys of both; prefixes that exclude each other stay apart", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        const nodes = [a, b]
        const made = yield* Effect.all(nodes.map(({ tenants }) => tenants.create({ id: "both" })))
        for (const [i, node] of nodes.entries()) yield* node.cache.of(made[i] as Tenant).set(`key:${i}`, i)
        yield* Effect.all([
          a.tenants.create({ id: "one", prefix: "p" }),
          b.tenants.create({ id: "two", prefix: "p:q" })
        ])
        yield* agreed(nodes)
        yield* until(() => nodes.every(({ coherence }) => coherence.status().counters.definitionsConflicts === 1))
        for (const [i, node] of nodes.entries()) {
          const tenant = node.tenants.get("both") as Tenant
          expect(tenant).toBe(made[i])
          expect(node.cache.of(tenant).unsafeGet(`key:${i}`)).toBe(i)
          expect(node.tenants.get(["two", "one"][i] as string)).toBeUndefined()
        }
        yield* a.tenants.remove("one")
        yield* agreed(nodes, ({ tenants }) => tenants.get("one") === undefined)
      })
    ))

  it("runs its scripts on both over the same keys, and its triggers", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        const tenant = yield* a.tenants.create({ id: "tenant_123" })
        yield* b.tenants.create({ id: "tenant_456" })
        yield* a.scripts.set("tenant_123", "shared", shared)
        yield* until(() => a.tenants.get("tenant_456") !== undefined)
        yield* a.scripts.set("tenant_456", "shared", shared)
        yield* a.triggers.of(tenant).set({ ...doubles, pattern: "*", source: 'cache.log("seen", event.key)' })
        yield* agreed([a, b], ({ scripts }) => scripts.source("tenant_456", "shared") === shared)
        yield* until(() => b.tenants.get("tenant_123") !== undefined)
        const there = b.triggers.of(b.tenants.get("tenant_123") as Tenant)
        yield* until(() => there.live("doubles") !== undefined)
        yield* a.scripts.run("tenant_123", "shared", "put", ["count", 7])
        yield* Effect.promise(() => a.coherence.acknowledged("live"))
        expect(yield* b.scripts.run("tenant_123", "shared", "get", ["count"])).toBe(7)
        expect(yield* b.scripts.run("tenant_456", "shared", "get", ["count"])).toBe("nothing")
        yield* b.scripts.run("tenant_123", "shared", "put", ["other", 1])
        expect(there.inBytes.logs.read("seen", {}).map(({ message }) => message)).toEqual(["other"])
      })
    ))

  it("that is removed goes everywhere with all that it has; another of its name gets none of it", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        const tenant = yield* a.tenants.create({ id: "tenant_123" })
        yield* a.scripts.set("tenant_123", "shared", shared)
        yield* a.triggers.of(tenant).set(doubles)
        yield* agreed([a, b], ({ scripts }) => scripts.source("tenant_123", "shared") === shared)
        yield* b.tenants.remove("tenant_123")
        yield* agreed([a, b], ({ tenants }) => tenants.get("tenant_123") === undefined)
        const anew = yield* a.tenants.create({ id: "tenant_123" })
        yield* agreed([a, b], ({ tenants }) => tenants.get("tenant_123") !== undefined)
        expect([a, b].flatMap(({ scripts }) => scripts.list("tenant_123"))).toEqual([])
        expect([...a.triggers.of(anew).each()]).toEqual([])
        yield* a.scripts.set("tenant_123", "shared", shared)
        yield* agreed([a, b], ({ scripts }) => scripts.source("tenant_123", "shared") === shared)
      })
    ))

  it("that a program has only opened by its prefix is its own, until it is created", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [a, b] = [yield* start(), yield* start()]
        const opened = a.tenants.open("tenant_123") as Tenant
        yield* a.triggers.of(opened).set(doubles)
        yield* a.scripts.set("tenant_123", "shared", shared)
        yield* a.triggers.set(doubles)
        yield* agreed([a, b], (node) => sourceOn(node, "doubles") !== undefined)
        expect(b.tenants.list()).toEqual([])
        yield* a.tenants.create({ id: "tenant_123" })
        yield* agreed([a, b], ({ scripts }) => scripts.source("tenant_123", "shared") === shared)
        const there = b.triggers.of(b.tenants.get("tenant_123") as Tenant)
        yield* until(() => there.live("doubles") !== undefined)
      })
    ))
})

describe("an instance that comes back with its data directory", () => {
  it("has what others have changed and removed meanwhile, and they have what was changed in it", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const dataDir = yield* directory
        const a = yield* start()
        const first = yield* start({ dataDir })
        yield* first.tenants.create({ id: "tenant_123" })
        yield* first.scripts.set("tenant_123", "kept", shared)
        yield* first.scripts.set("tenant_123", "changed", shared)
        yield* first.scripts.set("tenant_123", "removed", shared)
        for (const name of ["kept", "changed", "removed"]) yield* first.triggers.set({ ...doubles, name })
        yield* agreed([a, first], ({ scripts }) => scripts.source("tenant_123", "removed") === shared)
        yield* first.stop
        yield* a.scripts.set("tenant_123", "changed", other)
        yield* a.scripts.remove("tenant_123", "removed")
        yield* a.triggers.set({ ...doubles, name: "changed", pattern: "changed:*" })
        yield* a.triggers.remove("removed")
        const before = registerOf(a)
        const again = yield* start({ dataDir })
        expect(registerOf(again)).toBe(before)
        expect(registerOf(a)).toBe(before) // what it had saved has the versions that it had
        expect(again.scripts.list("tenant_123").map(({ name }) => name)).toEqual(["changed", "kept"])
        expect(again.scripts.source("tenant_123", "changed")).toBe(other)
        expect([...again.triggers.each()].map(({ name, pattern }) => [name, pattern]).sort()).toEqual([
          ["changed", "changed:*"],
          ["kept", doubles.pattern]
        ])
        yield* again.stop
        writeFileSync(join(dataDir, "scripts", "tenant_123", "kept.lua"), other) // by hand
        const back = yield* start({ dataDir })
        yield* agreed([a, back], ({ scripts }) => scripts.source("tenant_123", "kept") === other)
      })
    ))

  it("does not bring back what was removed before all others were started anew", () =>
    run(
      Effect.gen(function* () {
        const start = yield* namespace
        const [one, two] = [yield* directory, yield* directory]
        const [a, b] = [yield* start({ dataDir: one }), yield* start({ dataDir: two })]
        yield* a.triggers.set(doubles)
        yield* agreed([a, b], (node) => sourceOn(node, "doubles") !== undefined)
        yield* a.stop
        yield* b.triggers.remove("doubles")
        yield* b.stop
        const [again, too] = [yield* start({ dataDir: two }), yield* start({ dataDir: one })]
        yield* agreed([again, too], (node) => sourceOn(node, "doubles") === undefined)
      })
    ))
})

const shared = `
function put(key, value) return cache.put(key, value) end
function get(key) return cache.get(key, "nothing") end
`
const other = "function main() return 'other' end"
