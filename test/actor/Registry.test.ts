/** Ported behaviours: Elixir, lib/elixir/test/elixir/registry_test.exs (E). Those without a letter are our own. */
import { Cause, Effect, Exit } from "effect"
import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { ExitReason, type Pid, Process, PubSub, Registry } from "../../src/actor/index.ts"
import { Simulation } from "../../src/testing/index.ts"
import { behaviour, failure, inProcess, next, settle } from "./support.ts"

/** A process that registers, and stays. */
const holder = <V>(registry: Registry.Registry<V>, ...entries: ReadonlyArray<readonly [string, V]>) =>
  Effect.gen(function* () {
    const pid = yield* Process.spawn(Effect.never, { label: "holder" })
    for (const [key, value] of entries) expect(Registry.unsafeRegister(registry, key, pid, value)).toBe(null)
    return pid
  })

const pidsOf = (entries: ReadonlyArray<Registry.Entry<unknown>>): ReadonlyArray<Pid.Pid> =>
  entries.map(({ pid }) => pid)

describe("a registry with unique keys", () => {
  behaviour("registers, looks up and counts (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const registry = yield* Registry.make<string>({ keys: "unique" })
        const self = yield* Process.self
        expect([yield* Registry.count(registry), yield* Registry.lookup(registry, "hello")]).toEqual([0, []])
        yield* Registry.register(registry, "hello", "value")
        expect(yield* Registry.lookup(registry, "hello")).toEqual([{ pid: self, value: "value" }])
        expect(yield* Registry.whereis(registry, "hello")).toBe(self)
        expect(yield* Registry.keys(registry, self)).toEqual(["hello"])
        expect(yield* Registry.count(registry)).toBe(1)
      })
    )
  )

  behaviour("a key belongs to one process, also when that asks again (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const registry = yield* Registry.make<string>({ keys: "unique" })
        const self = yield* Process.self
        yield* Registry.register(registry, "hello", "value")
        const error = yield* Effect.flip(Registry.register(registry, "hello", "again"))
        expect(error).toMatchObject({ _tag: "AlreadyRegistered", key: "hello", pid: self })
        const other = yield* Process.spawn(Effect.void)
        expect(Registry.unsafeRegister(registry, "hello", other, "theirs")).toMatchObject({ pid: self })
      })
    )
  )

  behaviour("the key of a process that has ended is free in the same turn (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<string>({ keys: "unique" })
      const first = yield* holder(registry, ["hello", "a"])
      let isFreeWhenTold = false
      Process.onExit(first, () => {
        isFreeWhenTold = Registry.unsafeWhereis(registry, "hello") === null
      })
      Process.unsafeExit(first, ExitReason.killed)
      expect([isFreeWhenTold, yield* Registry.count(registry)]).toEqual([true, 0])
      const second = yield* holder(registry, ["hello", "b"])
      expect(yield* Registry.whereis(registry, "hello")).toBe(second)
    })
  )

  behaviour("all keys of a process go with it, those of others stay (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "unique" })
      const gone = yield* holder(registry, ["a", 1], ["b", 2], ["c", 3])
      yield* holder(registry, ["d", 4])
      yield* Process.exit(gone, ExitReason.shutdown)
      yield* settle
      expect(yield* Registry.allKeys(registry)).toEqual(["d"])
      expect(yield* Registry.keys(registry, gone)).toEqual([])
    })
  )

  behaviour("registering the dead leaves nothing behind", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "unique" })
      const dead = yield* Process.spawn(Effect.void)
      yield* Process.awaitExit(dead)
      expect(Registry.unsafeRegister(registry, "a", dead, 1)).toBe(null)
      expect(yield* Registry.count(registry)).toBe(0)
    })
  )

  behaviour("unregister frees the key, and only for its owner (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const registry = yield* Registry.make<number>({ keys: "unique" })
        yield* holder(registry, ["theirs", 1])
        yield* Registry.register(registry, "mine", 2)
        yield* Registry.unregister(registry, "mine")
        yield* Registry.unregister(registry, "theirs")
        yield* Registry.unregister(registry, "nobody's")
        expect(yield* Registry.allKeys(registry)).toEqual(["theirs"])
      })
    )
  )

  behaviour("updateValue changes the own value and no other's (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const registry = yield* Registry.make<number>({ keys: "unique" })
        yield* holder(registry, ["theirs", 1])
        yield* Registry.register(registry, "mine", 1)
        expect(yield* Registry.updateValue(registry, "mine", (n) => n + 1)).toBe(2)
        expect(yield* Registry.updateValue(registry, "theirs", (n) => n + 1)).toBe(null)
        expect(yield* Registry.updateValue(registry, "nobody's", (n) => n + 1)).toBe(null)
        const self = yield* Process.self
        expect(yield* Registry.values(registry, "mine", self)).toEqual([2])
        expect(yield* Registry.values(registry, "theirs", self)).toEqual([])
      })
    )
  )

  behaviour("matches by value and counts what matches (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "unique" })
      const pid = yield* holder(registry, ["hello", 5])
      expect(pidsOf(yield* Registry.match(registry, "hello", (n) => n > 3))).toEqual([pid])
      expect(yield* Registry.match(registry, "hello", (n) => n > 5)).toEqual([])
      expect(yield* Registry.countMatch(registry, "hello", (n) => n === 5)).toBe(1)
    })
  )

  behaviour("matches keys by prefix", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "unique" })
      yield* holder(registry, ["room:a", 1], ["room:b", 2], ["user:a", 3])
      const found = yield* Registry.matchPrefix(registry, "room:")
      expect(found.map(({ key, value }) => [key, value])).toEqual([
        ["room:a", 1],
        ["room:b", 2]
      ])
    })
  )

  behaviour("dispatch visits the one that is there, and is not called when nobody is (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "unique" })
      const pid = yield* holder(registry, ["hello", 1])
      const visited: Array<unknown> = []
      const visit = (entries: ReadonlyArray<Registry.Entry<number>>) => Effect.sync(() => visited.push(pidsOf(entries)))
      yield* Registry.dispatch(registry, "hello", visit)
      yield* Registry.dispatch(registry, "nobody", visit)
      expect(visited).toEqual([[pid]])
    })
  )

  behaviour("refuses more entries than its limit", () =>
    inProcess(
      Effect.gen(function* () {
        const registry = yield* Registry.make<undefined>({ keys: "unique", limit: 1 })
        yield* Registry.register(registry, "a")
        expect(yield* failure(Registry.register(registry, "b"))).toBe("RegistryFull")
        yield* Registry.unregister(registry, "a")
        yield* Registry.register(registry, "b")
      })
    )
  )
})

describe("a registry with duplicate keys", () => {
  behaviour("takes many processes under a key, in order, with a value each (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<string>({ keys: "duplicate" })
      const first = yield* holder(registry, ["hello", "a"])
      const second = yield* holder(registry, ["hello", "b"])
      expect(yield* Registry.lookup(registry, "hello")).toEqual([
        { pid: first, value: "a" },
        { pid: second, value: "b" }
      ])
    })
  )

  behaviour("takes a process several times under the same key (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "duplicate" })
      const pid = yield* holder(registry, ["hello", 1], ["hello", 2], ["world", 3])
      expect(yield* Registry.keys(registry, pid)).toEqual(["hello", "hello", "world"])
      expect(yield* Registry.values(registry, "hello", pid)).toEqual([1, 2])
      expect(yield* Registry.count(registry)).toBe(3)
    })
  )

  behaviour("unregister takes all own entries under the key (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const registry = yield* Registry.make<number>({ keys: "duplicate" })
        const other = yield* holder(registry, ["hello", 0])
        for (const n of [1, 2]) yield* Registry.register(registry, "hello", n)
        yield* Registry.register(registry, "world", 3)
        yield* Registry.unregister(registry, "hello")
        expect(pidsOf(yield* Registry.lookup(registry, "hello"))).toEqual([other])
        expect(yield* Registry.keys(registry, yield* Process.self)).toEqual(["world"])
      })
    )
  )

  behaviour("unregisterMatch takes those whose value matches (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const registry = yield* Registry.make<number>({ keys: "duplicate" })
        for (const n of [1, 2, 3]) yield* Registry.register(registry, "hello", n)
        yield* Registry.unregisterMatch(registry, "hello", (n) => n !== 2)
        const self = yield* Process.self
        expect(yield* Registry.values(registry, "hello", self)).toEqual([2])
        expect(yield* Registry.keys(registry, self)).toEqual(["hello"])
      })
    )
  )

  behaviour("updateValue is for unique keys only (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const registry = yield* Registry.make<number>({ keys: "duplicate" })
        yield* Registry.register(registry, "hello", 1)
        expect(yield* Registry.updateValue(registry, "hello", (n) => n + 1)).toBe(null)
      })
    )
  )

  behaviour("dispatch visits all under the key, in order and in the caller, whose are its failures (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "duplicate" })
      yield* holder(registry, ["hello", 1], ["world", 2])
      yield* holder(registry, ["hello", 3])
      const visited: Array<number> = []
      const visit = (entries: ReadonlyArray<Registry.Entry<number>>) =>
        Effect.sync(() => visited.push(...entries.map(({ value }) => value)))
      yield* Registry.dispatch(registry, "hello", visit)
      expect(visited).toEqual([1, 3])
      expect(yield* Effect.flip(Registry.dispatch(registry, "hello", () => Effect.fail("no")))).toBe("no")
    })
  )

  behaviour("matches by value and counts what matches (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "duplicate" })
      const first = yield* holder(registry, ["hello", 1], ["hello", 5], ["world", 5])
      const second = yield* holder(registry, ["hello", 6])
      expect(pidsOf(yield* Registry.match(registry, "hello", (n) => n > 3))).toEqual([first, second])
      expect(yield* Registry.countMatch(registry, "hello", (n) => n < 6)).toBe(2)
      expect(yield* Registry.countMatch(registry, "nobody", () => true)).toBe(0)
    })
  )

  behaviour("names nobody: via is refused (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<undefined>({ keys: "duplicate" })
      expect(() => Registry.via(registry, "hello")).toThrow(/"hello" is no name: the registry has duplicate keys/)
    })
  )

  behaviour("the entries of a process go with it (E)", () =>
    Effect.gen(function* () {
      const registry = yield* Registry.make<number>({ keys: "duplicate" })
      const gone = yield* holder(registry, ["hello", 1], ["hello", 2], ["world", 3])
      const stays = yield* holder(registry, ["hello", 4])
      Process.unsafeExit(gone, ExitReason.killed)
      expect(pidsOf(yield* Registry.lookup(registry, "hello"))).toEqual([stays])
      expect(yield* Registry.count(registry)).toBe(1)
    })
  )

  it("does what a plain array would (random operations against a model)", () => {
    const key = fc.constantFrom("a", "ab", "b")
    const who = fc.nat(3)
    const operation = fc.oneof(
      { weight: 6, arbitrary: fc.record({ op: fc.constant("register" as const), who, key, value: fc.nat(3) }) },
      { weight: 2, arbitrary: fc.record({ op: fc.constant("unregister" as const), who, key, value: fc.nat(3) }) },
      { weight: 1, arbitrary: fc.record({ op: fc.constant("end" as const), who, key, value: fc.nat(3) }) }
    )
    fc.assert(
      fc.property(fc.array(operation), (operations) => {
        const world = Simulation.make({ seed: 1 })
        const exit = world.run(
          Effect.scoped(
            Effect.gen(function* () {
              const registry = yield* Registry.make<number>({ keys: "duplicate" })
              const pids = yield* Effect.replicateEffect(Process.spawn(Effect.never), 4)
              let model: Array<{ readonly pid: Pid.Pid; readonly key: string; readonly value: number }> = []
              for (const { key, op, value, who } of operations) {
                const pid = pids[who] as Pid.Pid<unknown>
                if (op === "register") {
                  Registry.unsafeRegister(registry, key, pid, value)
                  if (Process.isAlive(pid)) model.push({ pid, key, value })
                } else if (op === "unregister") {
                  registry.table.remove(key, Process.impl(pid), (each) => each === value)
                  model = model.filter((row) => row.pid !== pid || row.key !== key || row.value !== value)
                } else {
                  Process.unsafeExit(pid, ExitReason.killed)
                  model = model.filter((row) => row.pid !== pid)
                }
                expect(yield* Registry.count(registry)).toBe(model.length)
                for (const key of ["a", "ab", "b"]) {
                  const meant = model.filter((row) => row.key === key)
                  expect(yield* Registry.lookup(registry, key)).toEqual(meant.map(({ pid, value }) => ({ pid, value })))
                }
                for (const pid of pids) {
                  const keys = model.filter((row) => row.pid === pid).map(({ key }) => key)
                  expect(yield* Registry.keys(registry, pid)).toEqual(keys)
                }
                expect((yield* Registry.allKeys(registry)).toSorted()).toEqual([
                  ...new Set(model.map(({ key }) => key).toSorted())
                ])
              }
            })
          )
        )
        if (Exit.isFailure(exit)) throw Cause.squash(exit.cause)
      })
    )
  })
})

describe("PubSub", () => {
  behaviour("sends to all who subscribed to the topic and to nobody else (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const rooms = yield* PubSub.make<string>()
        yield* PubSub.subscribe(rooms, "lobby")
        expect(yield* PubSub.broadcast(rooms, "lobby", "hello")).toEqual({ delivered: 1, dropped: 0 })
        expect(yield* PubSub.broadcast(rooms, "attic", "hello")).toEqual({ delivered: 0, dropped: 0 })
        expect([yield* next, yield* next]).toEqual(["hello", "nothing"])
      })
    )
  )

  behaviour("takes the messages of its own type and no others", () =>
    Effect.gen(function* () {
      const lines = yield* PubSub.make<{ readonly _tag: "Line"; readonly text: string }>()
      expect(yield* PubSub.broadcast(lines, "a", { _tag: "Line", text: "hello" })).toEqual({ delivered: 0, dropped: 0 })
      const neverRun = (): ReadonlyArray<unknown> => [
        // @ts-expect-error: no such message
        PubSub.broadcast(lines, "a", { _tag: "Page", text: "hello" }),
        // @ts-expect-error: no such message
        PubSub.broadcastFrom(lines, "a", { _tag: "Page", text: "hello" }),
        // @ts-expect-error: no such message
        PubSub.unsafeBroadcast(lines, "a", { _tag: "Page", text: "hello" })
      ]
      expect(neverRun).toBeTypeOf("function")
    })
  )

  behaviour("broadcastFrom leaves out the sender", () =>
    inProcess(
      Effect.gen(function* () {
        const rooms = yield* PubSub.make<string>()
        yield* PubSub.subscribe(rooms, "lobby")
        expect(yield* PubSub.broadcastFrom(rooms, "lobby", "hello")).toEqual({ delivered: 0, dropped: 0 })
        expect(yield* next).toBe("nothing")
      })
    )
  )

  behaviour("a slow subscriber loses by its own mailbox, is counted, and holds up nobody", () =>
    inProcess(
      Effect.gen(function* () {
        const rooms = yield* PubSub.make<number>()
        yield* PubSub.subscribe(rooms, "lobby")
        const subscribed = Effect.zipRight(Effect.orDie(PubSub.subscribe(rooms, "lobby")), Effect.never)
        yield* Process.spawn(subscribed, { mailbox: { capacity: 1, overflow: "reject" } })
        yield* settle
        expect(yield* PubSub.subscribers(rooms, "lobby")).toBe(2)
        expect(PubSub.unsafeBroadcast(rooms, "lobby", 1)).toEqual({ delivered: 2, dropped: 0 })
        expect(PubSub.unsafeBroadcast(rooms, "lobby", 2)).toEqual({ delivered: 1, dropped: 1 })
        expect(yield* PubSub.counters(rooms)).toMatchObject({ delivered: 3, dropped: 1 })
        expect([yield* next, yield* next]).toEqual([1, 2])
      })
    )
  )

  behaviour("who unsubscribes, or ends, gets nothing more; the number of subscriptions is bounded", () =>
    inProcess(
      Effect.gen(function* () {
        const rooms = yield* PubSub.make<string>({ limit: 2 })
        const other = yield* Process.spawn(
          Effect.zipRight(Effect.orDie(PubSub.subscribe(rooms, "lobby")), Effect.never)
        )
        yield* settle
        yield* PubSub.subscribe(rooms, "lobby")
        expect(yield* failure(PubSub.subscribe(rooms, "lobby"))).toBe("RegistryFull")
        expect(yield* PubSub.counters(rooms)).toMatchObject({ subscriptions: 2, limit: 2, refused: 1 })
        yield* PubSub.unsubscribe(rooms, "lobby")
        Process.unsafeExit(other, ExitReason.killed)
        expect(yield* PubSub.broadcast(rooms, "lobby", "hello")).toEqual({ delivered: 0, dropped: 0 })
      })
    )
  )
})
