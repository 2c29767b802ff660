/**
 * Ported behaviours: Elixir, lib/elixir/test/elixir/dynamic_supervisor_test.exs (E) and partition_supervisor_test.exs
 * (P); OTP, supervisor_SUITE.erl, simple_one_for_one (O).
 */
import { Context, Duration, Effect, Fiber } from "effect"
import { describe, expect, it } from "vitest"
import {
  DynamicSupervisor,
  ExitReason,
  GenServer,
  PartitionSupervisor,
  Process,
  Registry,
  Supervisor
} from "../../src/actor/index.ts"
import {
  behaviour,
  Diary,
  failure,
  Pop,
  Stack,
  type StackRef,
  settle,
  startsThatFail,
  type WorkerRef,
  worker
} from "./support.ts"

type Restart = Supervisor.Restart

const startWorker = (
  supervisor: DynamicSupervisor.DynamicSupervisorRef,
  restart: Restart = "permanent",
  diary = new Diary(),
  id = "a"
) => Effect.map(DynamicSupervisor.startChild(supervisor, worker(diary, id, { restart })), (pid) => pid as WorkerRef)

const end = (pid: WorkerRef, how: "crash" | "stop" | "shutdown") =>
  Effect.zipRight(GenServer.cast(pid, how), Effect.sleep(10))

describe("DynamicSupervisor", () => {
  behaviour("starts with no children and gets some (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      expect(yield* DynamicSupervisor.whichChildren(supervisor)).toEqual([])
      const pid = yield* startWorker(supervisor)
      expect(yield* DynamicSupervisor.whichChildren(supervisor)).toEqual([
        { id: "a", pid, type: "worker", isRestarting: false }
      ])
      expect(yield* DynamicSupervisor.countChildren(supervisor)).toEqual({
        specs: 1,
        active: 1,
        supervisors: 0,
        workers: 1
      })
    })
  )

  behaviour("takes any number of children of one id (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      for (let i = 0; i < 3; i++) yield* startWorker(supervisor)
      expect((yield* DynamicSupervisor.countChildren(supervisor)).active).toBe(3)
    })
  )

  behaviour("a child that fails to start gives its error; one that chooses not to is null; neither is kept (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      const failing = worker(new Diary(), "a", {}, { init: () => Effect.fail("no disk") })
      expect((yield* Effect.flip(DynamicSupervisor.startChild(supervisor, failing))).message).toBe(
        "a did not start (crash: no disk)"
      )
      const Ignoring = GenServer.define()({ name: "ignoring", init: () => GenServer.Ignore })
      expect(yield* DynamicSupervisor.startChild(supervisor, GenServer.childSpec(Ignoring, undefined))).toBe(null)
      expect(yield* DynamicSupervisor.whichChildren(supervisor)).toEqual([])
    })
  )

  behaviour("refuses more than maxChildren, and takes again when one has gone (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start({ maxChildren: 1 })
      const pid = yield* startWorker(supervisor, "temporary")
      const error = yield* Effect.flip(startWorker(supervisor))
      expect(error).toMatchObject({ _tag: "MaxChildren", limit: 1 })
      yield* end(pid, "stop")
      yield* startWorker(supervisor)
    })
  )

  behaviour("maxChildren that makes no sense is refused (E)", () =>
    Effect.gen(function* () {
      expect((yield* Effect.flip(DynamicSupervisor.start({ maxChildren: -1 }))).message).toMatch(
        /maxChildren is 0 or more/
      )
    })
  )

  behaviour("refuses a child that is significant, and goes on (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      const spec = worker(new Diary(), "a", { significant: true, restart: "temporary" })
      const error = yield* Effect.flip(DynamicSupervisor.startChild(supervisor, spec))
      expect(error).toMatchObject({ _tag: "InvalidSignificant", id: "a" })
      expect(error.message).toMatch(/start it under a Supervisor with autoShutdown/)
      expect(yield* DynamicSupervisor.whichChildren(supervisor)).toEqual([])
    })
  )

  behaviour("children that are being restarted count for maxChildren (E)", () =>
    Effect.gen(function* () {
      for (const broken of [Effect.fail("no"), Effect.die("no")]) {
        let isBroken = false
        const init = () => Effect.suspend(() => (isBroken ? Effect.delay(broken, 1000) : Effect.void))
        const supervisor = yield* DynamicSupervisor.start({ maxChildren: 1, maxRestarts: Number.POSITIVE_INFINITY })
        const pid = yield* DynamicSupervisor.startChild(supervisor, worker(new Diary(), "a", {}, { init }))
        isBroken = true
        if (pid !== null) yield* GenServer.cast(pid, "crash")
        yield* Effect.sleep(1500) // its second try
        expect((yield* Effect.flip(startWorker(supervisor)))._tag).toBe("MaxChildren")
        const counts = yield* DynamicSupervisor.countChildren(supervisor)
        expect(counts).toEqual({ specs: 1, active: 0, supervisors: 0, workers: 1 })
        yield* DynamicSupervisor.stop(supervisor)
      }
    })
  )

  behaviour("keeps nothing of temporary children that have ended, however they did (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      for (const how of ["crash", "stop", "shutdown"] as const)
        yield* end(yield* startWorker(supervisor, "temporary"), how)
      expect((yield* DynamicSupervisor.countChildren(supervisor)).specs).toBe(0)
      expect(Supervisor.unsafeTree(supervisor)?.children).toEqual([])
    })
  )

  const cases = [
    ["permanent", "crash", 1],
    ["permanent", "stop", 1],
    ["permanent", "shutdown", 1],
    ["transient", "crash", 1],
    ["transient", "stop", 0],
    ["transient", "shutdown", 0],
    ["temporary", "crash", 0],
    ["temporary", "stop", 0]
  ] as const
  for (const [restart, how, left] of cases) {
    behaviour(`a ${restart} child that ends by ${how} leaves ${left} (E)`, () =>
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.start()
        const pid = yield* startWorker(supervisor, restart)
        yield* end(pid, how)
        const children = yield* DynamicSupervisor.whichChildren(supervisor)
        expect(children.length).toBe(left)
        expect(children.some((child) => child.pid === pid)).toBe(false)
      })
    )
  }

  behaviour("gives up at more restarts than maxRestarts, and its children end (E)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* DynamicSupervisor.start({ maxRestarts: 0 })
      const pid = yield* startWorker(supervisor)
      yield* startWorker(supervisor, "permanent", diary, "b")
      yield* end(pid, "crash")
      expect([Process.isAlive(supervisor), diary.take()]).toEqual([false, ["start b", "end b"]])
    })
  )

  behaviour("a restart that fails is tried again (E)", () =>
    Effect.gen(function* () {
      let failures = -1
      const init = () => Effect.suspend(() => (failures-- > 0 ? Effect.fail("not yet") : Effect.void))
      const supervisor = yield* DynamicSupervisor.start()
      const pid = (yield* DynamicSupervisor.startChild(supervisor, worker(new Diary(), "a", {}, { init }))) as WorkerRef
      failures = 2
      yield* end(pid, "crash")
      expect(yield* DynamicSupervisor.whichChildren(supervisor)).toMatchObject([{ id: "a", isRestarting: false }])
      expect(Supervisor.unsafeTree(supervisor)?.children).toMatchObject([{ restarts: 3 }])
    })
  )

  it("a restart that goes on failing leaves the event loop its turns, also where restarts have no bound", () =>
    startsThatFail((child) =>
      Effect.tap(DynamicSupervisor.start({ maxRestarts: Number.POSITIVE_INFINITY }), (supervisor) =>
        DynamicSupervisor.startChild(supervisor, child)
      )
    ))

  behaviour("terminateChild also ends the tries to restart a child, which goes by the pid it had last (E)", () =>
    Effect.gen(function* () {
      let isBroken = false
      const init = () => Effect.suspend(() => (isBroken ? Effect.fail("not yet") : Effect.void))
      const supervisor = yield* DynamicSupervisor.start({ maxRestarts: Number.POSITIVE_INFINITY })
      const pid = (yield* DynamicSupervisor.startChild(supervisor, worker(new Diary(), "a", {}, { init }))) as WorkerRef
      isBroken = true
      Process.unsafeExit(pid, ExitReason.killed)
      yield* DynamicSupervisor.terminateChild(supervisor, pid)
      expect(yield* DynamicSupervisor.whichChildren(supervisor)).toEqual([])
      expect(yield* failure(DynamicSupervisor.terminateChild(supervisor, pid))).toBe("ChildNotFound")
    })
  )

  behaviour("a child that chooses not to come back is forgotten (E)", () =>
    Effect.gen(function* () {
      let isWanted = true
      const Choosy = GenServer.define<{ readonly cast: "crash" }>()({
        name: "choosy",
        init: () => (isWanted ? GenServer.Ok(0) : GenServer.Ignore),
        handleCast: () => Effect.die("boom")
      })
      const supervisor = yield* DynamicSupervisor.start()
      const pid = yield* DynamicSupervisor.startChild(supervisor, GenServer.childSpec(Choosy, undefined))
      isWanted = false
      if (pid !== null) yield* GenServer.cast(pid, "crash")
      yield* settle
      expect(yield* DynamicSupervisor.whichChildren(supervisor)).toEqual([])
    })
  )

  behaviour("terminateChild stops and forgets it, whatever its restart (E)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* DynamicSupervisor.start()
      const pid = yield* startWorker(supervisor, "permanent", diary)
      yield* DynamicSupervisor.terminateChild(supervisor, pid)
      expect([diary.take(), yield* DynamicSupervisor.whichChildren(supervisor)]).toEqual([["start a", "end a"], []])
      expect(yield* failure(DynamicSupervisor.terminateChild(supervisor, pid))).toBe("ChildNotFound")
    })
  )

  behaviour("stops all its children at once: it takes as long as the slowest (E, O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      for (const terminateMs of [100, 3000, 2000]) {
        yield* DynamicSupervisor.startChild(supervisor, worker(new Diary(), "a", {}, { terminateMs }))
      }
      const [took] = yield* Effect.timed(DynamicSupervisor.stop(supervisor))
      expect(Duration.toMillis(took)).toBe(3000)
    })
  )

  behaviour("each child has its own time to stop, and is killed after it (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      const pids: Array<WorkerRef> = []
      for (const shutdown of ["1 second", "4 seconds", "brutalKill"] as const) {
        const spec = worker(new Diary(), "a", { shutdown }, { terminateMs: 3000 })
        pids.push((yield* DynamicSupervisor.startChild(supervisor, spec)) as WorkerRef)
      }
      const [took] = yield* Effect.timed(DynamicSupervisor.stop(supervisor))
      expect(Duration.toMillis(took)).toBe(3000)
      expect(pids.map((pid) => Process.exitReason(pid)?._tag)).toEqual(["killed", "shutdown", "killed"])
    })
  )

  behaviour("a child is killed when its own time is up, though another may take as long as it likes (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      const ended: Array<string> = []
      for (const [id, shutdown] of [
        ["patient", "infinity"],
        ["hurried", "1 second"]
      ] as const) {
        const spec = worker(new Diary(), id, { shutdown }, { terminateMs: 10_000 })
        const pid = yield* DynamicSupervisor.startChild(supervisor, spec)
        if (pid !== null) Process.onExit(pid, (reason) => ended.push(`${id}: ${reason._tag}`))
      }
      const stopping = yield* Effect.fork(DynamicSupervisor.stop(supervisor))
      yield* Effect.sleep(1001)
      expect(ended).toEqual(["hurried: killed"])
      yield* Fiber.join(stopping)
      expect(ended).toEqual(["hurried: killed", "patient: shutdown"])
    })
  )

  behaviour("children run with the services of who starts them", () =>
    Effect.gen(function* () {
      class Greeting extends Context.Tag("Greeting")<Greeting, string>() {}
      const Greeter = GenServer.define()({
        name: "greeter",
        init: () => Effect.map(Greeting, GenServer.Ok),
        inspect: (greeting) => ({ greeting })
      })
      const supervisor = yield* DynamicSupervisor.start()
      const started = DynamicSupervisor.startChild(supervisor, GenServer.childSpec(Greeter, undefined))
      yield* Effect.provideService(started, Greeting, "hello")
      expect(Supervisor.unsafeTree(supervisor)?.children).toMatchObject([{ inspect: { greeting: "hello" } }])
    })
  )

  behaviour("two starts at once are both done", () =>
    Effect.gen(function* () {
      const supervisor = yield* DynamicSupervisor.start()
      yield* Effect.all(
        Array.from({ length: 10 }, () => startWorker(supervisor)),
        { concurrency: "unbounded" }
      )
      expect((yield* DynamicSupervisor.countChildren(supervisor)).active).toBe(10)
    })
  )

  behaviour("the names of children that are stopped are free", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const supervisor = yield* DynamicSupervisor.start()
      const spec = GenServer.childSpec(Stack, [], { name: Registry.via(names, "stack") })
      const pid = yield* DynamicSupervisor.startChild(supervisor, spec)
      expect(yield* failure(DynamicSupervisor.startChild(supervisor, spec))).toBe("AlreadyStarted")
      if (pid !== null) yield* DynamicSupervisor.terminateChild(supervisor, pid)
      expect(yield* DynamicSupervisor.startChild(supervisor, spec)).not.toBe(null)
    })
  )
})

describe("PartitionSupervisor", () => {
  const start = (partitions?: number) =>
    PartitionSupervisor.start<StackRef>({
      ...(partitions === undefined ? {} : { partitions }),
      child: (partition) => GenServer.childSpec(Stack, [String(partition)])
    })

  behaviour("starts as many as asked for, each knowing its number (P)", () =>
    Effect.gen(function* () {
      const stacks = yield* start(3)
      expect(yield* PartitionSupervisor.partitions(stacks)).toBe(3)
      expect((yield* PartitionSupervisor.whichChildren(stacks)).map(({ id }) => id)).toEqual(["0", "1", "2"])
      const second = yield* PartitionSupervisor.partition(stacks, 1)
      expect(yield* GenServer.call(second, new Pop())).toBe("1")
    })
  )

  behaviour("starts at least one if nothing is said (P)", () =>
    Effect.gen(function* () {
      expect(yield* PartitionSupervisor.partitions(yield* start())).toBeGreaterThan(0)
    })
  )

  behaviour("has no number of partitions where nobody is there (P)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const nobody = Registry.via<PartitionSupervisor.PartitionSupervisorRef<StackRef>>(names, "stacks")
      const error = yield* Effect.flip(PartitionSupervisor.partitions(nobody))
      expect(error.message).toBe('"stacks" is not alive')
      const stacks = yield* start(2)
      yield* PartitionSupervisor.stop(stacks)
      expect(yield* failure(PartitionSupervisor.partitions(stacks))).toBe("NoProcess")
    })
  )

  behaviour("routes integers by remainder, and all else always to the same (P)", () =>
    Effect.gen(function* () {
      const stacks = yield* start(3)
      const at = (key: unknown) => PartitionSupervisor.unsafePartition(stacks, key)
      expect([at(4) === at(1), at(-4) === at(1), at(2) === at(1)]).toEqual([true, true, false])
      expect(at("user:42")).toBe(at("user:42"))
      const reached = new Set(Array.from({ length: 100 }, (_, i) => at(`user:${i}`)))
      expect(reached.size).toBe(3)
    })
  )

  behaviour("a partition that crashes comes back under its number; while it is down it is NoProcess (P)", () =>
    Effect.gen(function* () {
      const stacks = yield* start(2)
      const before = yield* PartitionSupervisor.partition(stacks, 1)
      Process.unsafeExit(before, ExitReason.killed)
      yield* settle
      const after = yield* PartitionSupervisor.partition(stacks, 1)
      expect([after === before, yield* GenServer.call(after, new Pop())]).toEqual([false, "1"])
      yield* PartitionSupervisor.stop(stacks)
      expect(yield* failure(PartitionSupervisor.partition(stacks, 1))).toBe("NoProcess")
    })
  )

  behaviour("is a supervisor among others in the tree, and counts its children (P)", () =>
    Effect.gen(function* () {
      const child = PartitionSupervisor.childSpec("stacks", {
        partitions: 2,
        child: () => GenServer.childSpec(Stack, [])
      })
      const top = yield* Supervisor.start({ children: [child] })
      expect(Supervisor.unsafeTree(top)?.children).toMatchObject([
        { name: "stacks", type: "supervisor", children: [{ name: "0" }, { name: "1" }] }
      ])
    })
  )

  behaviour("numbers of partitions that make no sense are refused (P)", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(start(0))
      expect(exit._tag).toBe("Failure")
    })
  )
})
