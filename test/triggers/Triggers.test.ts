/** Triggers as a service: what a program calls, what is kept, and what is written down. */
import * as fs from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import { Context, Effect, HashMap, Layer, Logger, LogLevel } from "effect"
import { ExitReason, Process, Supervisor } from "../../src/actor/index.ts"
import { Bus, Cache } from "../../src/cache/index.ts"
import { DataDirectory } from "../../src/storage/index.ts"
import type { TriggerLine } from "../../src/triggers/Effects.ts"
import {
  InvalidTrigger,
  Journal,
  layer as layerTriggers,
  type TriggerInput,
  TriggerNotFound,
  TriggerStore,
  TriggerSyntaxError,
  Triggers,
  TriggersNotSaved
} from "../../src/triggers/index.ts"
import type { SavedHistory } from "../../src/triggers/TriggerStore.ts"
import { temporaryDirectory } from "../storage/TemporaryDirectory.ts"
import { ground } from "./ground.ts"

const layerWith = <E>(store: Layer.Layer<TriggerStore, E>) =>
  Layer.mergeAll(layerTriggers, Cache.layer).pipe(Layer.provideMerge(ground(store)))

const layerIn = (directory: string) => layerWith(Layer.provide(TriggerStore.layer, DataDirectory.layer(directory)))

/** The service with its processes, and what triggers emit on the channel "x". */
const service = <E>(layer: ReturnType<typeof layerWith<E>>) =>
  Effect.gen(function* () {
    const services = yield* Layer.build(layer)
    const [triggers, cache, bus] = yield* Effect.provide(Effect.all([Triggers, Cache, Bus]), services)
    const supervisor = yield* Supervisor.start({ maxRestarts: 100, children: triggers.children })
    const heard: string[] = []
    bus.subscribe("x", { onMessage: (_, payload) => heard.push(payload) })
    const node = (name: string) => Supervisor.unsafeTree(supervisor)?.children.find((child) => child.name === name)
    return { ...triggers, cache, heard, node }
  })

const inMemory = service(layerWith(TriggerStore.layerNone))

const hello: TriggerInput = { name: "hello", pattern: "a*", events: ["ON_WRITE"], source: 'cache.emit("x", event.key)' }

const settled = Effect.async<void>((resume) => void setImmediate(() => setImmediate(() => resume(Effect.void))))

/** Waits for something that real input and output bring about; the test's time-out ends what never comes. */
const until = (isTrue: () => boolean) =>
  Effect.async<void>((resume) => {
    const look = () => void (isTrue() ? resume(Effect.void) : setImmediate(look))
    look()
  })

const killed = (label: string) =>
  Effect.sync(() => {
    for (const pid of Process.list()) if (pid.label === label) Process.unsafeExit(pid, ExitReason.killed)
  })

const silent = Logger.withMinimumLogLevel(LogLevel.None)

describe("a trigger", () => {
  it.scoped("is active when set returns, with its defaults filled in", () =>
    Effect.gen(function* () {
      const { set, cache, heard } = yield* inMemory
      const made = yield* set(hello)
      expect(made).toMatchObject({
        ...hello,
        timeoutUs: 100,
        memoryBytes: 65_536,
        priority: 0,
        status: "active",
        quarantine: null,
        registeredAtMs: 0,
        runs: 0
      })
      cache.unsafeSet("a1", 1)
      cache.unsafeSet("b1", 1)
      expect(heard).toEqual(["a1"])
    })
  )

  it.scoped("takes the place of the one that has its name, and its turn among equals", () =>
    Effect.gen(function* () {
      const { set, list, cache, heard } = yield* inMemory
      const says = (text: string) => `cache.emit("x", "${text}")`
      yield* set({ ...hello, name: "one", source: says("one") })
      yield* set({ ...hello, name: "two", source: says("two") })
      yield* set({ ...hello, name: "one", source: says("one again") })
      cache.unsafeSet("a", 1)
      expect(heard).toEqual(["one again", "two"])
      expect((yield* list).map(({ name, runs }) => [name, runs])).toEqual([
        ["one", 1],
        ["two", 1]
      ])
    })
  )

  it.scoped("runs no more once it is removed, and can be removed once", () =>
    Effect.gen(function* () {
      const { set, remove, list, info, cache, heard } = yield* inMemory
      yield* set(hello)
      expect([yield* remove("hello"), yield* remove("hello")]).toEqual([true, false])
      cache.unsafeSet("a", 1)
      expect([heard, yield* list]).toEqual([[], []])
      expect(yield* Effect.flip(info("hello"))).toBeInstanceOf(TriggerNotFound)
    })
  )

  it.scoped("tells how it fares", () =>
    Effect.gen(function* () {
      const { set, info, cache } = yield* inMemory
      yield* set({ ...hello, source: 'if event.key == "a2" then error("no") end cache.emit("x", 1) cache.set("b", 1)' })
      for (const key of ["a1", "a2", "a3"]) cache.unsafeSet(key, 1)
      expect(yield* info("hello")).toMatchObject({
        runs: 3,
        failures: { error: 1, timeout: 0, memory: 0, killed: 0 },
        emits: 2,
        writes: 2
      })
      expect((yield* Effect.flip(info("none"))).message).toBe("no trigger is named 'none'")
    })
  )

  it.scoped("writes what failed into the log, the newest first", () =>
    Effect.gen(function* () {
      const { set, log, cache } = yield* inMemory
      yield* set({ ...hello, source: "error(event.key)" })
      for (const key of ["a1", "a2", "a3"]) cache.unsafeSet(key, 1)
      expect(yield* log(2)).toMatchObject([
        {
          id: 3,
          trigger: "hello",
          event: "ON_WRITE",
          key: "a3",
          kind: "error",
          message: expect.stringContaining("a3")
        },
        { id: 2, key: "a2" }
      ])
      expect([(yield* log(100)).length, (yield* log(0)).length, (yield* log(-1)).length]).toEqual([3, 0, 0])
    })
  )
})

describe("a refused trigger", () => {
  it.scoped("fails with what is wrong and what would be right, and the one in place stays", () =>
    Effect.gen(function* () {
      const { set, list, cache, heard } = yield* inMemory
      yield* set(hello)
      const refused: Array<[Partial<TriggerInput>, string]> = [
        [{ pattern: "" }, "InvalidTrigger pattern: "],
        [{ events: ["ON_FIRE" as never] }, "InvalidTrigger events: 'ON_FIRE' is none of ON_WRITE"],
        [{ events: [] }, "InvalidTrigger events: name at least one of"],
        [{ timeoutUs: 0 }, "InvalidTrigger timeout: 0 is not a whole number of microseconds from 1 to 1000"],
        [{ memoryBytes: 2 ** 20 + 1 }, "InvalidTrigger memory: "],
        [{ priority: 0.5 }, "InvalidTrigger priority: "],
        [{ source: "  " }, "InvalidTrigger source: is empty"],
        [{ source: "local x = \n= 1" }, "TriggerSyntaxError source: hello:2:"]
      ]
      for (const [change, message] of refused) {
        const error = yield* Effect.flip(set({ ...hello, ...change }))
        expect(`${error._tag} ${error.message}`).toContain(message)
      }
      const name = yield* Effect.flip(set({ ...hello, name: "no spaces" }))
      expect(name).toBeInstanceOf(InvalidTrigger)
      cache.unsafeSet("a", 1)
      expect([heard, (yield* list).length]).toEqual([["a"], 1])
    })
  )
})

describe("a dry run", () => {
  const event = { event: "ON_WRITE", key: "a1", value: "new", oldValue: "old" } as const

  it.scoped("of a registered trigger or of a source shows what it would do, and does nothing", () =>
    Effect.gen(function* () {
      const { set, test, info, cache, heard } = yield* inMemory
      yield* set({ ...hello, source: 'cache.set("b", event.old_value) cache.emit("x", event.key) return event.value' })
      const report = yield* test({ name: "hello" }, event)
      expect(report).toMatchObject({
        status: "ok",
        result: "new",
        writes: [{ key: "b", value: "old", ttlMs: null }],
        emits: [{ channel: "x", payload: "a1" }]
      })
      expect([heard, cache.peek("b"), (yield* info("hello")).runs]).toEqual([[], undefined, 0])
      expect(yield* test({ source: "return 1 + 1" }, event)).toMatchObject({ status: "ok", result: 2, writes: [] })
      expect(yield* test({ source: "while true do end" }, event)).toMatchObject({ status: "timeout" })
    })
  )

  it.scoped("of what is not there, or is no Lua, says so", () =>
    Effect.gen(function* () {
      const { test } = yield* inMemory
      expect(yield* Effect.flip(test({ name: "none" }, event))).toEqual(new TriggerNotFound({ trigger: "none" }))
      const error = yield* Effect.flip(test({ source: "return (" }, event))
      expect(error).toBeInstanceOf(TriggerSyntaxError)
      expect(error).toMatchObject({ line: 1 })
    })
  )
})

describe("the store of triggers", () => {
  it.scoped("gives them back to the next start, in their order and as they were last set", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const before = yield* Effect.scoped(
        Effect.gen(function* () {
          const { set, remove, list } = yield* service(layerIn(directory))
          yield* set({ ...hello, name: "first", priority: 3, timeoutUs: 200, memoryBytes: 4_096 })
          yield* set({ ...hello, name: "gone" })
          yield* set({ ...hello, name: "second", pattern: "clé*", source: 'cache.emit("x", "é")' })
          yield* set({ ...hello, name: "first", events: ["ON_EXPIRE", "ON_WRITE"] })
          yield* remove("gone")
          return yield* list
        })
      )
      const { list, cache, heard } = yield* service(layerIn(directory))
      expect(yield* list).toEqual(before)
      expect(before.map(({ name, priority }) => [name, priority])).toEqual([
        ["first", 0],
        ["second", 0]
      ])
      cache.unsafeSet("clé", 1)
      cache.unsafeSet("a", 1)
      expect(heard).toEqual(["\xc3\xa9", "a"])
    })
  )

  it.scoped("says that a trigger was not saved when the disk refuses, and the trigger is active all the same", () =>
    Effect.gen(function* () {
      const directory = join(yield* temporaryDirectory, "data")
      const { set, remove, list, cache, heard, node } = yield* service(layerIn(directory))
      yield* Effect.promise(() => fs.rm(directory, { recursive: true }))
      const error = yield* Effect.flip(set(hello))
      expect(error).toBeInstanceOf(TriggersNotSaved)
      expect(error.message).toContain("the trigger is active, but could not be saved")
      expect(error.message).toContain(join(directory, "triggers-recent.json"))
      cache.unsafeSet("a", 1)
      expect([heard, (yield* list).length]).toEqual([["a"], 1])
      expect(yield* Effect.flip(remove("hello"))).toBeInstanceOf(TriggersNotSaved)
      expect([(yield* list).length, node("storage")?.restarts]).toEqual([0, 0])
      yield* Effect.promise(() => fs.mkdir(directory))
      yield* set(hello)
      expect(yield* Effect.promise(() => fs.readFile(join(directory, "triggers-recent.json"), "utf8"))).toContain(
        '"hello"'
      )
    })
  )

  it.scoped("calls a defect of the writing what was not saved, and the process goes on", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const layer = Layer.provide(TriggerStore.layer, DataDirectory.layer(directory))
      const store = Context.get(yield* Layer.build(layer), TriggerStore)
      const supervisor = yield* Supervisor.start({ children: store.children })
      const broken = {
        history: () => {
          throw new Error("a defect")
        },
        histories: () => []
      }
      const error = yield* Effect.flip(store.save(null, "t", broken))
      expect([error._tag, error.message]).toEqual(["TriggersNotSaved", expect.stringContaining("a defect")])
      yield* store.save(null, "t", { history: () => null, histories: () => [] })
      expect(Supervisor.unsafeTree(supervisor)?.children[0]).toMatchObject({ restarts: 0, inspect: { writes: 2 } })
    })
  )

  it.scoped("writes a few times for a thousand that are set at once, and each is on disk when it is answered", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const { set, node } = yield* service(layerIn(directory))
      const names = Array.from({ length: 1_000 }, (_, n) => `t${n}`)
      yield* Effect.forEach(names, (name) => set({ ...hello, name, source: "return 1" }), {
        concurrency: "unbounded",
        discard: true
      })
      expect(node("storage")?.inspect?.writes).toBeLessThanOrEqual(10)
      const { data } = JSON.parse(
        yield* Effect.promise(() => fs.readFile(join(directory, "triggers.json"), "utf8"))
      ) as { data: SavedHistory[] }
      expect(data.map(({ history }) => history.versions[0]?.definition.name)).toEqual(names)
    })
  )

  it.scoped("answers all of more than its mailbox holds, and goes on afterwards", () =>
    Effect.gen(function* () {
      const { set, node, list } = yield* service(layerIn(yield* temporaryDirectory))
      const names = Array.from({ length: 3_000 }, (_, n) => `t${n}`)
      yield* Effect.forEach(names, (name) => set({ ...hello, name, source: "return 1" }), {
        concurrency: "unbounded",
        discard: true
      })
      yield* set(hello)
      expect((yield* list).length).toBe(3_001)
      expect(node("storage")?.inspect?.writes).toBeLessThanOrEqual(20)
    })
  )

  it.scoped("comes back after a crash with all that is registered, and says who was not answered", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const { set, node } = yield* service(layerIn(directory))
      yield* set({ ...hello, name: "one" })
      const cutOff = yield* Effect.fork(Effect.flip(set({ ...hello, name: "two" })))
      yield* Effect.yieldNow()
      yield* until(() => (node("storage")?.messagesHandled ?? 0) >= 2)
      yield* killed("storage")
      const error = yield* cutOff
      expect(error).toBeInstanceOf(TriggersNotSaved)
      expect(error.message).toMatch(/storage> ended before it answered \(killed\)/)
      yield* until(() => node("storage")?.restarts === 1 && node("storage")?.status === "running")
      yield* set({ ...hello, name: "three" })
      const text = yield* Effect.promise(() => fs.readFile(join(directory, "triggers-recent.json"), "utf8"))
      expect(["one", "two", "three"].map((name) => text.includes(`"${name}"`))).toEqual([true, true, true])
    }).pipe(silent)
  )

  it.scoped("keeps the layer from starting when its file cannot be read, names it, and leaves it as it is", () =>
    Effect.gen(function* () {
      const saved = { ...hello, timeoutUs: 100, memoryBytes: 65_536, priority: 0 }
      const broken: Array<[string, string]> = [
        ["{ not json", "not JSON"],
        ['{"kind":"triggers","version":1,"data":[{"name":"x"}]}', "0.pattern"],
        ['{"kind":"triggers","version":99,"data":[]}', "format version 99"],
        [
          JSON.stringify({ kind: "triggers", version: 1, data: [{ ...saved, priority: 1e9 }] }),
          "the trigger 'hello': priority: 1000000000 is not a whole number"
        ],
        [
          JSON.stringify({ kind: "triggers", version: 1, data: [{ ...saved, source: "return (" }] }),
          "source: hello:1:"
        ],
        [JSON.stringify({ kind: "triggers", version: 1, data: [saved, saved] }), "'hello': it stands there twice"]
      ]
      for (const [text, why] of broken) {
        const directory = yield* temporaryDirectory
        const path = join(directory, "triggers.json")
        yield* Effect.promise(() => fs.writeFile(path, text))
        const error = yield* Effect.flip(Effect.scoped(Layer.build(layerIn(directory))))
        expect((error as Error).message).toContain(why)
        expect((error as Error).message).toContain(path)
        expect(yield* Effect.promise(() => fs.readFile(path, "utf8"))).toBe(text)
      }
    })
  )

  it.scoped("gives back versions, options and times of registration", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const before = yield* Effect.scoped(
        Effect.gen(function* () {
          const { set, rollback, enable, versions } = yield* service(layerIn(directory))
          yield* set({ ...hello, whenChanged: true, sample: 3, scope: "local", isolate: true })
          yield* set({ ...hello, source: 'cache.emit("x", "two")' })
          yield* rollback("hello")
          yield* enable("hello", false)
          return yield* versions("hello")
        })
      )
      const { versions, info } = yield* service(layerIn(directory))
      expect(yield* versions("hello")).toEqual(before)
      expect(yield* info("hello")).toMatchObject({ status: "disabled", version: 1, sample: 3, scope: "local" })
    })
  )

  it.scoped("reads the first format, which had no versions and fewer options", () =>
    Effect.gen(function* () {
      const directory = yield* temporaryDirectory
      const data = [{ ...hello, timeoutUs: 200, memoryBytes: 4_096, priority: 1 }]
      const text = JSON.stringify({ kind: "triggers", version: 1, data })
      yield* Effect.promise(() => fs.writeFile(join(directory, "triggers.json"), text))
      const { list } = yield* service(layerIn(directory))
      expect(yield* list).toMatchObject([{ ...hello, timeoutUs: 200, priority: 1, sample: 1, version: 1 }])
    })
  )

  it.scoped("of nothing keeps nothing, and has no process", () =>
    Effect.gen(function* () {
      const { children, set } = yield* inMemory
      yield* set(hello)
      expect(children.map(({ id }) => id)).toEqual(["journal"])
    })
  )
})

describe("the journal", () => {
  interface Line {
    readonly message: unknown
    readonly annotations: Record<string, unknown>
  }

  const capture = () => {
    const lines: Line[] = []
    const logger = Logger.make(({ message, annotations, logLevel }) => {
      if (logLevel !== LogLevel.Info) return
      lines.push({
        message: Array.isArray(message) ? message[0] : message,
        annotations: Object.fromEntries(HashMap.toEntries(annotations))
      })
    })
    return { lines, layer: Logger.replace(Logger.defaultLogger, logger) }
  }

  const line = (change: Partial<TriggerLine> = {}): TriggerLine => ({
    stream: null,
    message: "hello",
    fields: null,
    atMs: 0,
    trigger: "t",
    event: "ON_WRITE",
    key: "k",
    cascade: "boot-1",
    ...change
  })

  it.scoped("writes a line for each cache.log and print, with where it came from", () => {
    const { lines, layer } = capture()
    return Effect.gen(function* () {
      const { set, cache } = yield* inMemory
      const source =
        'cache.log("plain é") cache.log("audit", {user = 7, tags = {"a", "b"}, trigger = "forged"}) print("x", 1)'
      yield* set({ ...hello, name: "logs", pattern: "clé*", source })
      cache.unsafeSet("clé", "v")
      expect(lines).toEqual([])
      yield* settled
      const from = { trigger: "logs", event: "ON_WRITE", key: "clé", cascade: expect.stringMatching(/^boot-\d+$/) }
      expect(lines).toEqual([
        { message: "plain é", annotations: from },
        { message: "audit", annotations: { ...from, stream: "audit", user: 7, tags: ["a", "b"] } },
        { message: "x\t1", annotations: from }
      ])
    }).pipe(Effect.provide(layer))
  })

  it.scoped("cuts what is very long, so that what waits is bounded in bytes", () => {
    const { lines, layer } = capture()
    return Effect.gen(function* () {
      const services = yield* Layer.build(Journal.layer)
      const journal = yield* Effect.provide(Journal, services)
      yield* Supervisor.start({ children: [journal.childSpec] })
      const long = "x".repeat(100_000)
      journal.offer(line({ message: long, key: long }))
      journal.offer(line({ message: null, stream: "s", fields: { a: 1, long } }))
      yield* settled
      expect(lines.map(({ message, annotations }) => [message, annotations])).toEqual([
        ["x".repeat(16_384), expect.objectContaining({ key: "x".repeat(256) })],
        ["s", { stream: "s", trigger: "t", event: "ON_WRITE", key: "k", cascade: "boot-1", cut: expect.any(String) }]
      ])
      expect(String(lines[1]?.annotations.cut).length).toBe(16_384)
    }).pipe(Effect.provide(layer))
  })

  it.scoped("drops the oldest when more wait than it holds, and counts them", () => {
    const { lines, layer } = capture()
    return Effect.gen(function* () {
      const journal = yield* Effect.provide(Journal, Journal.layer)
      const supervisor = yield* Supervisor.start({ children: [journal.childSpec] })
      const inspect = () => Supervisor.unsafeTree(supervisor)?.children[0]?.inspect
      for (let n = 0; n < 10_007; n++) expect(journal.offer(line({ message: String(n) }))).toBe(true)
      yield* until(() => inspect()?.written === 10_000)
      expect(inspect()).toEqual({ written: 10_000, dropped: 7 })
      expect([lines.length, lines[0]?.message, lines.at(-1)?.message]).toEqual([10_000, "7", "10006"])
    }).pipe(Effect.provide(layer))
  })

  it.scoped("gives sockets their turn between the lines", () => {
    const { lines, layer } = capture()
    return Effect.gen(function* () {
      const journal = yield* Effect.provide(Journal, Journal.layer)
      yield* Supervisor.start({ children: [journal.childSpec] })
      for (let n = 0; n < 1_000; n++) journal.offer(line())
      let turns = 0
      yield* until(() => ++turns > 0 && lines.length === 1_000)
      expect(turns).toBeGreaterThan(50)
    }).pipe(Effect.provide(layer))
  })

  it.scoped("writes what waits before it ends with its tree", () => {
    const { lines, layer } = capture()
    return Effect.gen(function* () {
      const journal = yield* Effect.provide(Journal, Journal.layer)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* Supervisor.start({ children: [journal.childSpec] })
          for (let n = 0; n < 100; n++) journal.offer(line())
        })
      )
      expect(lines.length).toBe(100)
      expect(journal.offer(line())).toBe(false)
    }).pipe(Effect.provide(layer))
  })

  it.scoped("takes no line while nobody is there to write it", () =>
    Effect.gen(function* () {
      const journal = yield* Effect.provide(Journal, Journal.layer)
      expect(journal.offer(line())).toBe(false)
      yield* Effect.scoped(Supervisor.start({ children: [journal.childSpec] }))
      expect(journal.offer(line())).toBe(false)
    })
  )
})
