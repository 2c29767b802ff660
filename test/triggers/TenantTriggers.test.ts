/** Triggers of tenants as a service: what is saved of whom, what happens when a tenant goes, what operators are told. */
import * as fs from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import { Chunk, Effect, HashMap, Layer, Logger, Option, TestClock } from "effect"
import { Process, Supervisor } from "../../src/actor/index.ts"
import { Bus, Cache, type Tenant, TenantStore, Tenants } from "../../src/cache/index.ts"
import { DataDirectory } from "../../src/storage/index.ts"
import {
  Journal,
  layerTenants,
  layer as layerTriggers,
  type TriggerInput,
  TriggerStore,
  Triggers,
  TriggersClosed
} from "../../src/triggers/index.ts"
import { temporaryDirectory } from "../storage/TemporaryDirectory.ts"
import { ground } from "./ground.ts"

const layerWith = <E>(stores: Layer.Layer<TriggerStore | TenantStore, E>) =>
  layerTenants.pipe(
    Layer.provideMerge(Layer.mergeAll(layerTriggers, Cache.layer, Tenants.layer())),
    Layer.provideMerge(ground(stores))
  )

const layerIn = (directory: string) =>
  layerWith(Layer.provide(Layer.mergeAll(TriggerStore.layer, TenantStore.layer), DataDirectory.layer(directory)))

/** The services with their processes, and what is published. */
const service = <E>(layer: ReturnType<typeof layerWith<E>>) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(layer)
    const [triggers, tenants, cache, bus, journal] = yield* Effect.provide(
      Effect.all([Triggers, Tenants, Cache, Bus, Journal]),
      services
    )
    const supervisor = yield* Supervisor.start({
      maxRestarts: 100,
      children: [...triggers.children, ...tenants.children]
    })
    const heard: string[] = []
    bus.psubscribe("*", { onMessage: (channel, payload) => heard.push(`${channel} ${payload}`) })
    const node = (name: string) => Supervisor.unsafeTree(supervisor)?.children.find((child) => child.name === name)
    return { triggers, tenants, cache, heard, journal, node }
  })

const inMemory = service(layerWith(Layer.mergeAll(TriggerStore.layerNone, TenantStore.layerNone)))

const hello: TriggerInput = { name: "hello", pattern: "a*", events: ["ON_WRITE"], source: 'cache.emit("x", event.key)' }
const opened = (tenant: Tenant | { readonly _tag: string }): Tenant => {
  if ("_tag" in tenant) throw tenant
  return tenant
}

it.scoped("come back after a restart with their versions, each to its tenant", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const before = yield* Effect.scoped(
      Effect.gen(function* () {
        const { triggers, tenants } = yield* service(layerIn(directory))
        const [a, b] = [yield* tenants.create({ id: "a" }), yield* tenants.create({ id: "b", prefix: "team:b" })]
        yield* triggers.set({ ...hello, priority: 1 })
        yield* triggers.of(a).set({ ...hello, source: "return 1" })
        yield* triggers.of(a).set({ ...hello, source: 'cache.emit("of a", event.key)' })
        yield* triggers.of(b).set(hello)
        yield* triggers.of(b).set({ ...hello, name: "gone" })
        yield* triggers.of(b).remove("gone")
        return [yield* triggers.list, yield* triggers.of(a).list, yield* triggers.of(b).list]
      })
    )
    const { triggers, tenants, heard, cache } = yield* service(layerIn(directory))
    const [a, b] = [opened(tenants.get("a") as Tenant), opened(tenants.get("b") as Tenant)]
    expect([yield* triggers.list, yield* triggers.of(a).list, yield* triggers.of(b).list]).toEqual(before)
    expect((yield* triggers.of(a).versions("hello")).versions.map(({ version }) => version)).toEqual([1, 2])
    cache.unsafeSet("a1", "v")
    a.keyspace.set("a2", "v")
    b.keyspace.set("a3", "v")
    expect(heard).toEqual(["x a1", "a:of a a2", "team:b:x a3"])
    // What is there already is told of again, and stays one version.
    expect((yield* triggers.of(b).set(hello)).version).toBe(1)
  })
)

it.scoped("go with their tenant, for good: one that is made with its id later has none of them", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { triggers, tenants, heard, node } = yield* service(layerIn(directory))
        const a = yield* tenants.create({ id: "a" })
        const own = triggers.of(a)
        yield* own.set(hello)
        yield* tenants.remove("a")
        expect([yield* own.list, yield* Effect.flip(own.set(hello))]).toEqual([[], new TriggersClosed()])
        expect(heard).toEqual([])
        yield* until(() => node("storage")?.inspect?.writes === 2)
      })
    )
    const text = yield* Effect.promise(() => fs.readFile(join(directory, "triggers-recent.json"), "utf8"))
    expect(JSON.parse(text).data).toMatchObject([{ tenant: { id: "a" }, name: "hello", history: null }])
    const { triggers, tenants } = yield* service(layerIn(directory))
    const again = yield* tenants.create({ id: "a" })
    expect(yield* triggers.of(again).list).toEqual([])
  })
)

it.scoped("are nobody's where their tenant went and they stayed behind, and that is said", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const file = join(directory, "triggers-recent.json")
    const left = yield* Effect.scoped(
      Effect.gen(function* () {
        const { triggers, tenants } = yield* service(layerIn(directory))
        yield* triggers.of(yield* tenants.create({ id: "a" })).set(hello)
        const text = yield* Effect.promise(() => fs.readFile(file, "utf8"))
        yield* tenants.remove("a")
        return text
      })
    )
    // As if the machine had stopped between the two writes; and then a tenant of this id is made again.
    yield* Effect.promise(() => fs.writeFile(file, left))
    yield* TestClock.adjust("1 second") // no two tenants of one id are made in one millisecond
    const told: unknown[] = []
    const logger = Logger.make(({ annotations, message }) => {
      told.push([message, Option.getOrNull(HashMap.get(annotations, "tenant"))])
    })
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { triggers, tenants } = yield* service(layerIn(directory))
        const again = yield* tenants.create({ id: "a" })
        expect(yield* triggers.of(again).list).toEqual([])
        yield* triggers.set({ ...hello, name: "another" }) // the next write takes what stayed behind along
      })
    ).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
    expect(told).toContainEqual([["the tenant is gone; 1 triggers that were its are left out"], "a"])
    const text = yield* Effect.promise(() => fs.readFile(file, "utf8"))
    expect(JSON.parse(text).data).toMatchObject([
      { tenant: { id: "a" }, name: "hello", history: null },
      { tenant: null, name: "another" }
    ])
    const { triggers, tenants } = yield* service(layerIn(directory))
    expect(yield* triggers.of(tenants.get("a") as Tenant).list).toEqual([])
  })
)

it.scoped("of a tenant that is not saved are not saved either, until it is", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { triggers, tenants, node } = yield* service(layerIn(directory))
        yield* triggers.of(opened(tenants.open("loose"))).set(hello)
        yield* triggers.of(opened(tenants.open("kept"))).set(hello)
        expect(node("storage")?.inspect?.writes).toBe(0)
        yield* tenants.create({ id: "kept", prefix: "kept" })
        yield* until(() => node("storage")?.inspect?.writes === 1)
      })
    )
    const { triggers, tenants } = yield* service(layerIn(directory))
    expect(tenants.get("loose")).toBeUndefined()
    expect((yield* triggers.of(tenants.get("kept") as Tenant).list).map(({ name }) => name)).toEqual(["hello"])
  })
)

it.scoped("the documents of before there were tenants are read, and written in the format of now", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const history = (name: string) => ({
      live: 2,
      versions: [
        {
          ...{ version: 2, registeredAtMs: 7 },
          definition: {
            ...{ name, pattern: "a*", events: ["ON_WRITE"], source: 'cache.emit("x", event.key)', timeoutUs: 100 },
            ...{ memoryBytes: 65_536, priority: 0, whenChanged: false, sample: 1, includeFill: false },
            ...{ includeFlush: false, scope: "all", failClosed: false, isolate: false, isEnabled: true }
          }
        }
      ]
    })
    const write = (kind: string, version: number, data: unknown) =>
      Effect.promise(() => fs.writeFile(join(directory, `${kind}.json`), JSON.stringify({ kind, version, data })))
    yield* write("triggers", 2, [history("one"), history("two")])
    yield* write("triggers-recent", 1, [
      { name: "two", history: null },
      { name: "three", history: history("three") }
    ])
    const { triggers, heard, cache } = yield* service(layerIn(directory))
    cache.unsafeSet("a", "v")
    expect(heard).toEqual(["x a", "x a"])
    expect((yield* triggers.list).map(({ name, version }) => [name, version])).toEqual([
      ["one", 2],
      ["three", 2]
    ])
    yield* triggers.remove("one")
    const text = yield* Effect.promise(() => fs.readFile(join(directory, "triggers-recent.json"), "utf8"))
    expect(JSON.parse(text)).toMatchObject({
      version: 2,
      data: [
        { tenant: null, name: "two", history: null },
        { tenant: null, name: "three" },
        { tenant: null, name: "one", history: null }
      ]
    })
  })
)

it.scoped("a file that says a tenant's trigger twice is corrupt, and the error says whose", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const file = join(directory, "triggers-recent.json")
    yield* Effect.scoped(
      Effect.gen(function* () {
        const { triggers, tenants } = yield* service(layerIn(directory))
        yield* triggers.of(yield* tenants.create({ id: "a" })).set(hello)
      })
    )
    const document = JSON.parse(yield* Effect.promise(() => fs.readFile(file, "utf8")))
    document.data.push(document.data[0])
    yield* Effect.promise(() => fs.writeFile(file, JSON.stringify(document)))
    const error = yield* Effect.flip(Effect.scoped(service(layerIn(directory))))
    expect(error.message).toContain("the trigger 'hello' of the tenant 'a': it stands there twice")
  })
)

it.scoped("what operators read names the tenant, and metrics are of all together", () =>
  Effect.gen(function* () {
    const told: unknown[] = []
    const logger = Logger.make(({ annotations, message }) => {
      const get = (name: string) => Option.getOrNull(HashMap.get(annotations, name))
      told.push([Chunk.toReadonlyArray(Chunk.make(message)).flat(), get("tenant"), get("trigger"), get("key")])
    })
    yield* Effect.gen(function* () {
      const { triggers, tenants, node, cache } = yield* inMemory
      const [a, b] = [opened(tenants.open("a")), opened(tenants.open("b"))]
      const source = 'cache.log("seen") if event.key == "ab" then error("no") end'
      for (const each of [triggers, triggers.of(a), triggers.of(b)]) yield* each.set({ ...hello, source })
      yield* triggers.of(b).set({ ...hello, name: "loop", source: "cache.set(event.key, 1)" })
      a.keyspace.set("a1", "v")
      b.keyspace.set("ab", "v")
      cache.unsafeSet("a3", "v")
      yield* until(() => node("journal")?.inspect?.written === 2)
      expect(told).toContainEqual([["seen"], "a", "hello", "a1"])
      expect(told).toContainEqual([["seen"], null, "hello", "a3"])
      expect(told).toContainEqual([[expect.stringContaining("loop")], "b", "loop", null])
      const read = (name: string) => triggers.metrics.find((metric) => metric.name === name)?.read()
      expect(read("mimosa_triggers")).toBe(4)
      expect(read("mimosa_log_lines_total")).toBe(2)
      expect(read("mimosa_trigger_runs_total")).toContainEqual([{ outcome: "error" }, 1])
      yield* tenants.remove("b")
      expect(read("mimosa_triggers")).toBe(2)
      expect(read("mimosa_trigger_runs_total")).toContainEqual([{ outcome: "error" }, 1])
    }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
  })
)

/** Gives the processes turns until it is so. */
const until = (isSo: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => (isSo() ? Effect.void : Effect.zipRight(Process.nextTurn, until(isSo))))
