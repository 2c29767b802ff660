/** The processes behind the machines, under a supervisor; machines are limited by fuel alone. */
import { describe, expect, it } from "@effect/vitest"
import { Effect, Logger, LogLevel, TestClock } from "effect"
import { ExitReason, Process, Supervisor } from "../../src/actor/index.ts"
import { type LuaVm, RunStatus, Sandbox, type VmPool, type VmWorker } from "../../src/sandbox/index.ts"
import { define, limits, makeVm } from "./support.ts"

const sandbox = Effect.gen(function* () {
  const service = yield* Effect.provide(Sandbox, Sandbox.layer)
  let root: Supervisor.SupervisorRef | null = null
  const start = Supervisor.start({ children: [service.childSpec] }).pipe(
    Effect.tap((supervisor) => Effect.sync(() => (root = supervisor))),
    Effect.zipRight(settled)
  )
  const tree = () => (root === null ? null : (Supervisor.unsafeTree(root)?.children[0] ?? null))
  const node = (name: string) => find(tree(), name)
  return { ...service, start, tree, node }
})

const find = (node: Supervisor.TreeNode | null, name: string): Supervisor.TreeNode | null =>
  node === null || node.name === name
    ? node
    : node.children.reduce<Supervisor.TreeNode | null>((found, child) => found ?? find(child, name), null)

/** The spares are made one a turn, so a few turns are needed until all is as it is to be. */
const settled = Effect.async<void>((resume) => {
  let turns = 0
  const look = () => void (++turns > 20 ? resume(Effect.void) : setImmediate(look))
  look()
})

const silent = Logger.withMinimumLogLevel(LogLevel.None)

const kill = (label: string) =>
  Effect.sync(() => {
    const pid = Process.list().find((each) => each.label === label)
    if (pid === undefined) throw new Error(`no process is called ${label}`)
    Process.unsafeExit(pid, ExitReason.killed)
  })

/** Runs what never stops, so that the machine has to be killed, and tells its process as a trigger's runner does. */
const runAway = (worker: VmWorker, reason = "it did not stop") => {
  const vm = worker.vm as LuaVm
  // A C function that computes without end: only the hard limit ends it.
  const program = define(vm, 'string.find(string.rep("a", 200), ".-.-.-.-b")')
  const status = vm.run(program, limits)
  if (status !== RunStatus.killed) throw new Error(`it ended with ${status}: ${vm.lastError.message}`)
  vm.remove(program)
  worker.reportKill(reason)
}

const answer = (worker: VmWorker): RunStatus => {
  const vm = worker.vm as LuaVm
  const program = define(vm, "return 1 + 1")
  const status = vm.evaluate(program, limits)
  vm.remove(program)
  return status
}

const machines = (node: Supervisor.TreeNode | null) => node?.children.map(({ name, pid }) => [name, pid !== null])

describe("a machine", () => {
  it.scoped("works without a running tree, at once and synchronously", () =>
    Effect.gen(function* () {
      const { pool, open, workers } = yield* sandbox
      const worker = open(
        pool(() => makeVm()),
        "one"
      )
      expect([answer(worker), workers()]).toEqual([RunStatus.ok, [worker]])
      runAway(worker)
      expect([answer(worker), worker.kills, worker.epoch]).toEqual([RunStatus.ok, 1, 1])
    })
  )

  it.scoped("gets a process, whether it was opened before the tree started or after", () =>
    Effect.gen(function* () {
      const { pool, open, start, node } = yield* sandbox
      const machinePool = pool(() => makeVm())
      open(machinePool, "before")
      yield* start
      expect(machines(node("trigger workers"))).toEqual([["before", true]])
      open(machinePool, "after 1")
      open(machinePool, "after 2")
      yield* settled
      expect(machines(node("trigger workers"))).toEqual([
        ["before", true],
        ["after 1", true],
        ["after 2", true]
      ])
    })
  )

  it.scoped("is shown with its kills, replacements and heap", () =>
    Effect.gen(function* () {
      const { pool, open, start, node } = yield* sandbox
      const worker = open(
        pool(() => makeVm()),
        "one"
      )
      yield* start
      runAway(worker)
      yield* settled
      expect(node("one")?.inspect).toMatchObject({ kills: 1, replacements: 0 })
      expect(node("one")?.memoryBytes).toBeGreaterThan(10_000)
    }).pipe(silent)
  )
})

describe("a kill", () => {
  it.scoped("crashes the machine's process; its supervisor restarts and counts it, and no other's", () =>
    Effect.gen(function* () {
      const { pool, open, start, node } = yield* sandbox
      const machinePool = pool(() => makeVm())
      const [one] = [open(machinePool, "one"), open(machinePool, "two")]
      yield* start
      const before = [node("one")?.pid, node("two")?.pid]
      runAway(one, "trigger 'loop' did not stop")
      yield* settled
      expect(node("one")).toMatchObject({ status: "running", restarts: 1 })
      expect(node("one")?.lastExit).toContain("one was killed: trigger 'loop' did not stop")
      expect(node("one")?.pid).not.toBe(before[0])
      expect(node("two")).toMatchObject({ restarts: 0, pid: before[1] })
    }).pipe(silent)
  )

  it.scoped("leaves the same machine at work, in the same turn and after the restart", () =>
    Effect.gen(function* () {
      const { pool, open, start } = yield* sandbox
      const worker = open(
        pool(() => makeVm()),
        "one"
      )
      yield* start
      const { vm } = worker
      runAway(worker)
      expect([answer(worker), worker.vm === vm]).toEqual([RunStatus.ok, true])
      yield* settled
      expect([answer(worker), worker.vm === vm, worker.epoch, worker.replacements]).toEqual([RunStatus.ok, true, 1, 0])
    }).pipe(silent)
  )

  it.scoped("is counted by the machine also when several come in one turn, and crashes its process once", () =>
    Effect.gen(function* () {
      const { pool, open, start, node } = yield* sandbox
      const worker = open(
        pool(() => makeVm()),
        "one"
      )
      yield* start
      for (let n = 0; n < 3; n++) runAway(worker)
      yield* settled
      expect([worker.kills, node("one")?.restarts, node("one")?.status]).toEqual([3, 1, "running"])
    }).pipe(silent)
  )

  it.scoped("of a worn machine has it replaced at the restart: another machine, and the epoch moves", () =>
    Effect.gen(function* () {
      const { pool, open, start, node } = yield* sandbox
      const worker = open(
        pool(() => makeVm()),
        "one"
      )
      yield* start
      const worn = worker.vm as LuaVm
      Object.defineProperty(worn, "isWorn", { value: true }) // what a rewind cannot take back takes long to bring about
      runAway(worker)
      expect(worker.vm).toBe(worn)
      yield* settled
      expect(worker.vm).not.toBe(worn)
      expect([worker.epoch, worker.replacements, node("one")?.restarts, answer(worker)]).toEqual([
        2,
        1,
        1,
        RunStatus.ok
      ])
    }).pipe(silent)
  )

  it.scoped("many times does not take the supervisor down", () =>
    Effect.gen(function* () {
      const { pool, open, start, node, tree } = yield* sandbox
      const machinePool = pool(() => makeVm())
      const workers = Array.from({ length: 5 }, (_, n) => open(machinePool, `vm ${n}`))
      yield* start
      const before = node("trigger workers")?.pid
      for (let round = 0; round < 40; round++) {
        for (const worker of workers) worker.reportKill("again")
        yield* settled
      }
      expect(node("trigger workers")).toMatchObject({ pid: before, restarts: 0 })
      expect(tree()).toMatchObject({ restarts: 0, status: "running" })
      expect(workers.map(({ id, kills }) => [node(id)?.restarts, kills])).toEqual(workers.map(() => [40, 40]))
    }).pipe(silent)
  )
})

describe("spares", () => {
  it.scoped("are made off the caller's turn, one a turn", () =>
    Effect.gen(function* () {
      const { pool, open, start } = yield* sandbox
      yield* start
      let made = 0
      const madeAt: number[] = []
      let turn = 0
      const machinePool: VmPool = pool(() => {
        made++
        madeAt.push(turn)
        return makeVm()
      })
      const count = () => {
        turn++
        if (turn < 15) setImmediate(count)
      }
      setImmediate(count)
      expect([machinePool.ready, made]).toEqual([0, 0])
      yield* settled
      expect([machinePool.ready, made, new Set(madeAt).size]).toEqual([2, 2, 2])
      open(machinePool, "one")
      expect([machinePool.ready, made]).toEqual([1, 2])
      yield* settled
      expect([machinePool.ready, made, machinePool.madeLate]).toEqual([2, 3, 0])
    })
  )

  it.scoped("are made again after the keeper was down when they were missing", () =>
    Effect.gen(function* () {
      const { pool, open, start, node } = yield* sandbox
      yield* start
      const machinePool = pool(() => makeVm())
      yield* settled
      yield* kill("pool")
      for (let n = 0; n < 3; n++) open(machinePool, `vm ${n}`)
      yield* settled
      expect([machinePool.ready, node("pool")?.restarts, node("trigger workers")?.children.length]).toEqual([2, 1, 3])
    }).pipe(silent)
  )

  it.scoped("that there is no memory for are done without, and so are machines, until there is", () =>
    Effect.gen(function* () {
      const { pool, open, start, node } = yield* sandbox
      yield* start
      let isFull = true
      const machinePool = pool(() => {
        if (isFull) throw new RangeError("WebAssembly.Memory(): could not allocate memory")
        return makeVm()
      })
      yield* settled
      const worker = open(machinePool, "one")
      yield* settled
      expect([machinePool.ready, worker.vm, node("pool")?.restarts]).toEqual([0, null, 0])
      isFull = false
      yield* TestClock.adjust(1_000)
      yield* settled
      expect(node("one")?.lastExit).toContain("no memory for a machine")
      expect([answer(worker), worker.epoch, machinePool.ready]).toEqual([RunStatus.ok, 2, 2])
    }).pipe(silent)
  )
})

describe("a crash in the subtree", () => {
  it.scoped.each(["pool", "trigger workers", "sandbox", "one"])(
    "of %s leaves every machine with one process",
    (label) =>
      Effect.gen(function* () {
        const { pool, open, start, node, tree } = yield* sandbox
        const machinePool = pool(() => makeVm())
        const workers = ["one", "two", "three"].map((id) => open(machinePool, id))
        yield* start
        yield* kill(label)
        open(machinePool, "four")
        yield* settled
        expect(tree()?.children.map(({ name, status }) => [name, status])).toEqual([
          ["trigger workers", "running"],
          ["pool", "running"]
        ])
        const children = node("trigger workers")?.children ?? []
        expect(children.map(({ name }) => name).sort()).toEqual(["four", "one", "three", "two"])
        expect(children.every(({ status }) => status === "running")).toBe(true)
        expect(Process.list().filter((pid) => ["one", "two", "three", "four"].includes(pid.label))).toHaveLength(4)
        for (const worker of workers) runAway(worker)
        yield* settled
        expect(workers.map(({ id }) => node(id)?.lastExit)).toEqual(
          workers.map(() => expect.stringContaining("killed"))
        )
      }).pipe(silent)
  )

  it.scoped("of the whole of it with many machines is met by one restart", () =>
    Effect.gen(function* () {
      const { pool, open, start, node, tree } = yield* sandbox
      const machine = makeVm() // one is enough: nothing runs here
      const machinePool = pool(() => machine)
      for (let n = 0; n < 500; n++) open(machinePool, `vm ${n}`)
      yield* start
      yield* kill("sandbox")
      yield* settled
      expect([tree()?.restarts, tree()?.lastExit]).toEqual([1, "killed"])
      const children = node("trigger workers")?.children ?? []
      expect(children.filter(({ status }) => status === "running")).toHaveLength(500)
      expect(Process.list().filter((pid) => pid.label.startsWith("vm "))).toHaveLength(500)
    }).pipe(silent)
  )

  it.scoped("ends with the tree, and leaves the machines to who has them", () =>
    Effect.gen(function* () {
      const { pool, open, start } = yield* sandbox
      const worker = open(
        pool(() => makeVm()),
        "one"
      )
      yield* Effect.scoped(start)
      expect(Process.list().filter((pid) => pid.label === "one" || pid.label === "pool")).toEqual([])
      runAway(worker)
      expect(answer(worker)).toBe(RunStatus.ok)
    })
  )
})
