/** Which machine runs what: programs that are loaded when they first fire, machines that go and come back. */
import { describe, expect, it } from "vitest"
import { LuaVm, MachineMemory, VmPool, VmWorker } from "../../src/sandbox/index.ts"
import { Run } from "../../src/triggers/CacheApi.ts"
import { lastingMachines, Machines, machineParts } from "../../src/triggers/Machines.ts"
import { makeEngine } from "../support/Engine.ts"

const counting = "count = (count or 0) + 1 cache.set('count', count)"

describe("a trigger's program", () => {
  it("is loaded when it first fires, not when it is registered", () => {
    const engine = makeEngine()
    const triggers = Array.from({ length: 200 }, (_, i) =>
      engine.trigger({ name: `t${i}`, pattern: `k${i}`, source: 'cache.emit("x", event.key)' })
    )
    expect(triggers.filter(({ machine }) => machine !== null)).toEqual([])
    engine.keyspace.set("k7", "v")
    expect(triggers.filter(({ machine }) => machine !== null)).toEqual([triggers[7]])
    expect([engine.machines.size, engine.emits.length]).toEqual([1, 1])
  })

  it("finds the first machine made, which no event has to wait for", () => {
    const engine = makeEngine()
    expect(engine.workers.length).toBe(0)
    engine.trigger({ source: "return" })
    expect(engine.workers.length).toBe(1)
  })

  it("is loaded for the event at hand without harm to it", () => {
    const engine = makeEngine()
    for (const name of ["a", "b", "c"]) engine.trigger({ name, source: `cache.emit("${name}", event.value)` })
    engine.keyspace.set("k", "a value that stays whole")
    expect(engine.emits.map(({ payload }) => payload)).toEqual(Array(3).fill("a value that stays whole"))
  })

  it("comes with 127 others into one machine; the next go into another", () => {
    const engine = makeEngine({ cascade: { runs: 1000 } })
    for (let i = 0; i < 300; i++) engine.trigger({ name: `t${i}`, source: `cache.emit("x", "${i}")` })
    engine.keyspace.set("k", "v")
    expect(engine.machines.size).toBe(3)
    expect(engine.emits.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 300 }, (_, i) => i))
    engine.keyspace.set("k", "v")
    expect([engine.emits.length, engine.log.total, engine.machines.size]).toEqual([600, 0, 3])
  })

  it("leaves its place to another when it is removed or replaced", () => {
    const engine = makeEngine({ cascade: { runs: 1000 } })
    for (let i = 0; i < 128; i++) engine.trigger({ name: `t${i}`, source: "return 1" })
    engine.keyspace.set("k", "v")
    for (let i = 0; i < 64; i++) engine.registry.remove(`t${i}`)
    for (let i = 64; i < 128; i++) engine.trigger({ name: `t${i}`, source: "return 2" })
    for (let i = 0; i < 64; i++) engine.trigger({ name: `n${i}`, source: "return 3" })
    engine.keyspace.set("k", "v")
    expect([engine.machines.size, engine.log.total]).toEqual([1, 0])
  })

  // Fifty kilobytes of distinct constants: some 100 KB as a program.
  const bulk = Array.from({ length: 4000 }, (_, i) => `t.a${i}=${i}`).join(" ")

  it("goes into the next machine where those of one are large", () => {
    const engine = makeEngine({ fuelMax: 1_000_000, cascade: { fuel: 1e9 } })
    for (let i = 0; i < 40; i++) {
      engine.trigger({
        name: `t${i}`,
        source: `if event.value == "never" then local t = {} ${bulk} end cache.emit("x", ${i})`
      })
    }
    for (const value of ["one", "two"]) {
      engine.keyspace.set("k", value)
      expect(engine.log.recent(3)).toEqual([])
      expect(engine.emits.splice(0).map(({ payload }) => Number(payload))).toEqual(
        Array.from({ length: 40 }, (_, i) => i)
      )
    }
    expect(engine.machines.size).toBeGreaterThan(1)
    expect(engine.machines.size).toBeLessThan(10)
  })

  it("has the memory that its runs may take, however large its neighbours are", () => {
    const engine = makeEngine({ fuelMax: 10_000_000, cascade: { fuel: 1e9 } })
    for (let i = 0; i < 40; i++) engine.trigger({ source: `if event.value == "never" then local t = {} ${bulk} end` })
    for (const priority of [1, -1]) {
      engine.trigger({ priority, memoryBytes: 1 << 20, source: 'local s = ("x"):rep(500000) cache.emit("x", #s)' })
    }
    for (let i = 0; i < 2; i++) engine.keyspace.set("k", "v")
    expect(engine.log.recent(3)).toEqual([])
    expect(engine.emits.length).toBe(4)
  })
})

describe("a machine", () => {
  it("that is replaced gets its programs again as they fire, and their globals are gone", () => {
    const engine = makeEngine()
    engine.trigger({ name: "a", pattern: "k", source: counting })
    engine.trigger({ name: "b", pattern: "*", source: 'cache.emit("x", event.key)' })
    for (let i = 0; i < 4; i++) engine.keyspace.set("k", "v")
    expect(engine.keyspace.peek("count")?.value).toBe(3) // loading "b" has emptied the globals once
    const [worker] = engine.workers
    if (worker === undefined) throw new Error("no machine was opened")
    const before = worker.vm
    worker.vm = null
    worker.adopt(() => {})
    expect([worker.vm === before, worker.epoch]).toEqual([false, 2])
    engine.emits.length = 0
    for (let i = 0; i < 2; i++) engine.keyspace.set("k", "v")
    expect(engine.keyspace.peek("count")?.value).toBe(1)
    expect(engine.emits.map(({ payload }) => payload)).toEqual(["k", "count", "k", "count"])
    expect([engine.machines.size, engine.log.total]).toEqual([1, 0])
  })

  it("that is gone skips its triggers, which is recorded; the operation completes", () => {
    const engine = makeEngine()
    const { stats } = engine.trigger({ name: "t", source: 'cache.emit("x", 1)' })
    engine.keyspace.set("k", "v")
    const [worker] = engine.workers
    if (worker === undefined) throw new Error("no machine was opened")
    worker.vm = null
    expect(engine.keyspace.set("k", "w")).toBe(true)
    expect(engine.keyspace.peek("k")?.value).toBe("w")
    expect(engine.log.recent(9)).toEqual([
      expect.objectContaining({
        trigger: "t",
        kind: "skipped:no_vm",
        key: "k",
        sequence: 2,
        message: "its machine is being brought back"
      })
    ])
    expect([stats.runs, stats.skips.no_vm, engine.runner.counters.skipsOf.no_vm, engine.emits.length]).toEqual([
      1, 1, 1, 1
    ])
    worker.adopt(() => {})
    engine.keyspace.set("k", "v")
    expect(engine.emits.length).toBe(2)
  })

  it("that is gone before a trigger was ever loaded skips it as well", () => {
    const engine = makeEngine()
    engine.trigger({ name: "a", pattern: "a", source: "return 1" })
    engine.keyspace.set("a", "v")
    const [worker] = engine.workers
    if (worker === undefined) throw new Error("no machine was opened")
    worker.vm = null
    engine.trigger({ name: "b", pattern: "b", source: 'cache.emit("x", 1)' })
    engine.keyspace.set("b", "v")
    expect(engine.log.recent(9).map(({ kind }) => kind)).toEqual(["skipped:no_vm"])
    worker.adopt(() => {})
    engine.keyspace.set("b", "v")
    expect(engine.emits.length).toBe(1)
  })

  it("that is gone lets its triggers be replaced and removed", () => {
    const engine = makeEngine()
    for (const name of ["a", "b"]) engine.trigger({ name, source: `cache.emit("x", "${name}")` })
    engine.keyspace.set("k", "v")
    const [worker] = engine.workers
    if (worker === undefined) throw new Error("no machine was opened")
    worker.vm = null
    engine.registry.remove("a")
    engine.trigger({ name: "b", source: 'cache.emit("x", "b2")' })
    worker.adopt(() => {})
    engine.keyspace.set("k", "v")
    expect(engine.emits.map(({ payload }) => payload)).toEqual(["a", "b", "b2"])
  })

  it("opens no more than one where no memory is left for it", () => {
    const engine = makeEngine()
    engine.trigger({ name: "t", pattern: "k", source: 'cache.emit("x", 1)' })
    engine.keyspace.set("k", "v")
    const [worker] = engine.workers
    if (worker === undefined) throw new Error("no machine was opened")
    worker.vm = null
    for (let i = 0; i < 200; i++) engine.trigger({ name: `t${i}`, source: "return 1" })
    engine.keyspace.set("l", "v")
    expect(engine.machines.size).toBe(1)
  })
})

describe("machines that hold what they may together", () => {
  it("take no further programs, and the record says what to do; those that are loaded go on", () => {
    const run = new Run("boot")
    const shared = new MachineMemory(2_000_000)
    const parts = { ...machineParts(run, () => 0), shared }
    const pool = new VmPool({ make: () => new LuaVm(parts), spares: 0 })
    const workers: VmWorker[] = []
    const open = () => {
      const worker = new VmWorker("vm", pool)
      workers.push(worker)
      return worker
    }
    const engine = makeEngine({
      after: { ...makeEngine(), machines: new Machines(run, lastingMachines(open), pool.take()), workers }
    })
    engine.trigger({ name: "first", pattern: "k", source: 'cache.emit("x", event.key)' })
    engine.keyspace.set("k", "v")
    expect([engine.emits.length, shared.isSpent]).toEqual([1, false])
    shared.held += 2_000_000
    engine.trigger({ name: "second", pattern: "k", source: 'cache.emit("x", event.key)' })
    engine.keyspace.set("k", "v")
    expect([engine.emits.length, engine.machines.size]).toEqual([2, 1])
    const [record] = engine.log.recent(1)
    expect([record?.trigger, record?.kind, record?.message]).toEqual([
      "second",
      "memory",
      "all machines together hold the 2000000 bytes that they may; remove a trigger, or give triggers less MEMORY"
    ])
    shared.held -= 2_000_000
    engine.keyspace.set("k", "v")
    expect(engine.emits.length).toBe(4)
  })
})
