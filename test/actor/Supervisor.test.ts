/**
 * Ported behaviours: OTP, lib/stdlib/test/supervisor_SUITE.erl (O); Elixir, lib/elixir/test/elixir/supervisor_test.exs
 * (E). Those without a letter are our own.
 */
import { Cause, Context, Duration, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { describe, expect, it } from "vitest"
import { ExitReason, GenServer, type Pid, Process, Registry, Supervisor } from "../../src/actor/index.ts"
import {
  behaviour,
  boom,
  Diary,
  failure,
  inProcess,
  Size,
  Stack,
  type StackRef,
  settle,
  startsThatFail,
  trapping,
  type WorkerRef,
  worker
} from "./support.ts"

const childOf = (supervisor: Supervisor.SupervisorRef, id: string) =>
  Effect.map(Supervisor.whichChildren(supervisor), (children) => {
    const child = children.find((each) => each.id === id)
    if (child?.pid == null) throw new Error(`${id} is not running`)
    return child.pid as WorkerRef
  })

const idsOf = (supervisor: Supervisor.SupervisorRef) =>
  Effect.map(Supervisor.whichChildren(supervisor), (children) =>
    children.map(({ id, pid }) => (pid === null ? `${id}: down` : id))
  )

const crash = (supervisor: Supervisor.SupervisorRef, id: string) =>
  Effect.flatMap(childOf(supervisor, id), (pid) => Effect.zipRight(GenServer.cast(pid, "crash"), Effect.sleep(10)))

const restartsOf = (supervisor: Supervisor.SupervisorRef) =>
  Effect.map(Supervisor.tree(supervisor), (node) =>
    (node as Supervisor.TreeNode).children.map(({ restarts }) => restarts)
  )

describe("starting", () => {
  behaviour("children start in order (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      yield* Supervisor.start({ children: ["a", "b", "c"].map((id) => worker(diary, id)) })
      expect(diary.take()).toEqual(["start a", "start b", "start c"])
    })
  )

  behaviour("each waits for the init of the one before (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const slow = worker(diary, "slow", {}, { init: () => Effect.sleep(1000) })
      const [took] = yield* Effect.timed(Supervisor.start({ children: [slow, worker(diary, "next")] }))
      expect([Duration.toMillis(took), diary.take()]).toEqual([1000, ["start slow", "start next"]])
    })
  )

  behaviour("a child that fails to start stops those before it, the last first, and fails the supervisor (O, E)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const failing = worker(diary, "failing", {}, { init: () => Effect.fail("no disk") })
      const children = [worker(diary, "a"), worker(diary, "b"), failing, worker(diary, "never")]
      const error = yield* Effect.flip(Supervisor.start({ label: "top", children }))
      expect(error.message).toBe("top did not start (crash: StartFailed: failing did not start (crash: no disk))")
      expect(diary.take()).toEqual(["start a", "start b", "end b", "end a"])
    })
  )

  behaviour("a child that chooses not to start is there without a process (O)", () =>
    Effect.gen(function* () {
      const Ignoring = GenServer.define()({ name: "ignoring", init: () => GenServer.Ignore })
      const supervisor = yield* Supervisor.start({ children: [GenServer.childSpec(Ignoring, undefined)] })
      expect(yield* Supervisor.whichChildren(supervisor)).toEqual([
        { id: "ignoring", pid: null, type: "worker", isRestarting: false }
      ])
    })
  )

  behaviour("a temporary child that chooses not to start is forgotten (O)", () =>
    Effect.gen(function* () {
      const Ignoring = GenServer.define()({ name: "ignoring", init: () => GenServer.Ignore })
      const children = [GenServer.childSpec(Ignoring, undefined, { restart: "temporary" })]
      const supervisor = yield* Supervisor.start({ children })
      expect(yield* Supervisor.whichChildren(supervisor)).toEqual([])
    })
  )

  behaviour("two children of one id are refused (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const error = yield* Effect.flip(Supervisor.start({ children: [worker(diary, "a"), worker(diary, "a")] }))
      expect(error.message).toMatch(/two children have the id "a"/)
      expect(diary.take()).toEqual([])
    })
  )

  behaviour("intensities that make no sense are refused (O)", () =>
    Effect.gen(function* () {
      expect((yield* Effect.flip(Supervisor.start({ children: [], maxRestarts: -1 }))).message).toMatch(
        /maxRestarts is 0 or more/
      )
      expect((yield* Effect.flip(Supervisor.start({ children: [], maxSeconds: 0 }))).message).toMatch(
        /maxSeconds is more than 0/
      )
    })
  )

  behaviour("significant children are refused where they make no sense (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const permanent = worker(diary, "a", { significant: true })
      const transient = worker(diary, "a", { significant: true, restart: "transient" })
      const first = yield* Effect.flip(Supervisor.start({ children: [permanent], autoShutdown: "any_significant" }))
      expect(first.message).toMatch(/permanent, so it cannot be significant/)
      const second = yield* Effect.flip(Supervisor.start({ children: [transient] }))
      expect(second.message).toMatch(/needs an autoShutdown/)
    })
  )

  behaviour("a supervisor is reached by its name (E)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const name = Registry.via<Supervisor.SupervisorRef>(names, "top")
      yield* Supervisor.start({ children: [worker(new Diary(), "a")], name })
      expect(yield* Supervisor.countChildren(name)).toEqual({ specs: 1, active: 1, supervisors: 0, workers: 1 })
    })
  )

  behaviour("children are servers with the services of who started the supervisor", () =>
    Effect.gen(function* () {
      class Greeting extends Context.Tag("Greeting")<Greeting, string>() {}
      const seen: Array<string> = []
      const Greeter = GenServer.define()({
        name: "greeter",
        init: () => Effect.map(Greeting, (greeting) => GenServer.Ok(seen.push(greeting)))
      })
      yield* Effect.provideService(
        Supervisor.start({ children: [GenServer.childSpec(Greeter, undefined)] }),
        Greeting,
        "hello"
      )
      expect(seen).toEqual(["hello"])
    })
  )

  behaviour("a layer starts a tree and stops it", () =>
    Effect.gen(function* () {
      class Top extends Context.Tag("Top")<Top, Supervisor.SupervisorRef>() {}
      const diary = new Diary()
      const layer = Supervisor.layer(Top, { children: [worker(diary, "a")] })
      yield* Effect.provide(
        Effect.map(Top, () => diary.write("in use")),
        layer
      )
      expect(diary.take()).toEqual(["start a", "in use", "end a"])
      expect(Layer.isLayer(layer)).toBe(true)
    })
  )

  behaviour(
    "a start that is interrupted half-way stops what was started before, in reverse order, and waits for that",
    () =>
      Effect.gen(function* () {
        const diary = new Diary()
        const patient = { terminateMs: 100 }
        const stuck = worker(diary, "stuck", {}, { init: () => Effect.never })
        const inner = Supervisor.childSpec("inner", { children: [worker(diary, "b", {}, patient), stuck] })
        const started = yield* Supervisor.start({ children: [worker(diary, "a", {}, patient), inner] }).pipe(
          Effect.timeoutOption(10)
        )
        expect(started._tag).toBe("None")
        expect(diary.take()).toEqual(["start a", "start b", "end b", "end a"])
      })
  )

  behaviour("a child that calls its supervisor in init is told so, instead of waiting for ever", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const top = Registry.via(names, "top")
      const Asking = GenServer.define<GenServer.Protocol>()({
        name: "asking",
        init: () => Effect.as(Supervisor.whichChildren(top), GenServer.Ok(0))
      })
      const inner = Supervisor.childSpec("inner", { children: [GenServer.childSpec(Asking, undefined)] })
      const error = yield* Effect.flip(Supervisor.start({ name: top, children: [inner] }))
      let deepest: unknown = error
      for (let cause = error; cause?._tag === "StartFailed" && cause.reason._tag === "crash"; ) {
        deepest = Cause.squash(cause.reason.cause)
        cause = deepest as typeof error
      }
      expect(String(deepest)).toMatch(/asking> called its supervisor <.* supervisor> in init/)
    })
  )
})

describe("stopping", () => {
  behaviour("children stop in reverse order, each after the one before has ended (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const children = [
        worker(diary, "a"),
        worker(diary, "b", {}, { terminateMs: 1000 }),
        worker(diary, "c", {}, { terminateMs: 500 })
      ]
      const supervisor = yield* Supervisor.start({ children })
      diary.take()
      const [took] = yield* Effect.timed(Supervisor.stop(supervisor))
      expect([diary.take(), Duration.toMillis(took)]).toEqual([["end c", "end b", "end a"], 1500])
    })
  )

  behaviour("a child that takes longer than its shutdown is killed (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* Supervisor.start({
        children: [worker(diary, "slow", { shutdown: 100 }, { terminateMs: 60_000 })]
      })
      const slow = yield* childOf(supervisor, "slow")
      const [took] = yield* Effect.timed(Supervisor.stop(supervisor))
      expect([Duration.toMillis(took), Process.exitReason(slow)]).toEqual([100, ExitReason.killed])
    })
  )

  behaviour("workers get 5 seconds unless told otherwise (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({
        children: [worker(new Diary(), "slow", {}, { terminateMs: 60_000 })]
      })
      const [took] = yield* Effect.timed(Supervisor.stop(supervisor))
      expect(Duration.toMillis(took)).toBe(5000)
    })
  )

  behaviour("supervisors are given as long as they need (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const slow = (id: string) => worker(diary, id, { shutdown: "infinity" }, { terminateMs: 10_000 })
      const inner = Supervisor.childSpec("inner", { children: [slow("a"), slow("b")] })
      const supervisor = yield* Supervisor.start({ children: [inner] })
      const [took] = yield* Effect.timed(Supervisor.stop(supervisor))
      expect([Duration.toMillis(took), diary.take()]).toEqual([20_000, ["start a", "start b", "end b", "end a"]])
    })
  )

  behaviour("brutalKill does not ask (O)", () =>
    Effect.gen(function* () {
      const child = worker(new Diary(), "a", { shutdown: "brutalKill" }, { terminateMs: 60_000 })
      const supervisor = yield* Supervisor.start({ children: [child] })
      const pid = yield* childOf(supervisor, "a")
      const [took] = yield* Effect.timed(Supervisor.stop(supervisor))
      expect([Duration.toMillis(took), Process.exitReason(pid)]).toEqual([0, ExitReason.killed])
    })
  )

  behaviour("a child that does not trap exits is interrupted, and its finalizers are waited for", () =>
    Effect.gen(function* () {
      let isReleased = false
      const release = Effect.delay(
        Effect.sync(() => (isReleased = true)),
        500
      )
      const child = {
        id: "plain",
        start: Process.spawnLink(
          Effect.zipRight(
            Effect.addFinalizer(() => release),
            Effect.never
          )
        )
      }
      const supervisor = yield* Supervisor.start({ children: [child] })
      yield* settle
      const [took] = yield* Effect.timed(Supervisor.stop(supervisor))
      expect([Duration.toMillis(took), isReleased]).toEqual([500, true])
    })
  )

  behaviour("the children of a supervisor that is killed end too (O)", () =>
    trapping(
      Effect.gen(function* () {
        const supervisor = yield* Supervisor.startLink({
          children: [worker(new Diary(), "a"), worker(new Diary(), "b", {}, { trapExit: false })]
        })
        const pids = [yield* childOf(supervisor, "a"), yield* childOf(supervisor, "b")]
        yield* Process.exit(supervisor, ExitReason.killed)
        yield* settle
        expect(pids.map(Process.exitReason)).toEqual([ExitReason.killed, ExitReason.killed])
      })
    )
  )

  behaviour("children that end by themselves while it stops keep their reasons, and none comes back (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const kinds = (["temporary", "transient", "permanent"] as const).flatMap((restart) =>
        (["stop", "shutdown", "crash"] as const).map((how) => ({ id: `${restart} ${how}`, restart, how }))
      )
      const supervisor = yield* Supervisor.start({
        children: [
          worker(diary, "first", { restart: "temporary" }),
          ...kinds.map(({ id, restart }) => worker(diary, id, { restart })),
          worker(diary, "last", { restart: "temporary" }, { terminateMs: 1000 }) // holds the stop up
        ]
      })
      const pidOf = new Map((yield* Supervisor.whichChildren(supervisor)).map(({ id, pid }) => [id, pid as WorkerRef]))
      diary.take()
      const stopping = yield* Effect.fork(Supervisor.stop(supervisor, ExitReason.shutdown))
      yield* Effect.sleep(200)
      for (const { how, id } of kinds) yield* GenServer.cast(pidOf.get(id) as WorkerRef, how)
      yield* Fiber.join(stopping)
      expect(diary.take().filter((entry) => entry.startsWith("start"))).toEqual([])
      const reasonOf = (id: string) => Process.exitReason(pidOf.get(id) as WorkerRef)?._tag
      expect([reasonOf("first"), reasonOf("last"), Process.exitReason(supervisor)?._tag]).toEqual(
        Array(3).fill("shutdown")
      )
      const expected = { stop: "normal", shutdown: "shutdown", crash: "crash" }
      for (const { how, id } of kinds) expect([id, reasonOf(id)]).toEqual([id, expected[how]])
    })
  )

  behaviour("a supervisor whose parent ends stops its children in order (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const start = Supervisor.startLink({ children: [worker(diary, "a"), worker(diary, "b")] })
      const parent = yield* Process.spawn(Effect.zipRight(start, Effect.never))
      yield* settle
      diary.take()
      yield* Process.exit(parent, boom)
      yield* settle
      expect(diary.take()).toEqual(["end b", "end a"])
    })
  )

  behaviour("one that is asked to end waits no longer for a child's init, and starts no other child", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      let starts = 0
      const stuck = { init: () => (starts++ === 0 ? Effect.void : Effect.never) }
      const scope = yield* Scope.make()
      const inner = Supervisor.childSpec("inner", { children: [worker(diary, "b"), worker(diary, "stuck", {}, stuck)] })
      const top = yield* Scope.extend(Supervisor.start({ children: [worker(diary, "a"), inner] }), scope)
      const innerPid = (yield* childOf(top, "inner")) as Supervisor.SupervisorRef
      yield* Process.exit(yield* childOf(innerPid, "stuck"), ExitReason.killed)
      yield* settle
      const asked = yield* Effect.fork(Effect.flip(Supervisor.startChild(innerPid, worker(diary, "c"))))
      yield* settle
      expect(diary.take()).toEqual(["start a", "start b", "start stuck", "end stuck"])
      yield* Scope.close(scope, Exit.void)
      expect(diary.take()).toEqual(["end b", "end a"])
      expect(yield* Fiber.join(asked)).toMatchObject({ _tag: "StartFailed", label: "c", reason: ExitReason.shutdown })
    })
  )
})

describe("one_for_one", () => {
  const start = (diary: Diary, options: Partial<Supervisor.Options> = {}) =>
    Supervisor.start({ children: ["a", "b", "c"].map((id) => worker(diary, id)), ...options })

  behaviour("restarts only the child that ended (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* start(diary)
      const before = yield* Supervisor.whichChildren(supervisor)
      diary.take()
      yield* crash(supervisor, "b")
      expect(diary.take()).toEqual(["end b", "start b"])
      const after = yield* Supervisor.whichChildren(supervisor)
      expect(after.map(({ pid }, i) => pid === before[i]?.pid)).toEqual([true, false, true])
      expect(yield* restartsOf(supervisor)).toEqual([0, 1, 0])
    })
  )

  behaviour("gives up at more than maxRestarts within maxSeconds, stops the others and ends with shutdown (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* start(diary, { maxRestarts: 2, maxSeconds: 10 })
      for (let i = 0; i < 2; i++) yield* crash(supervisor, "b")
      diary.take()
      yield* crash(supervisor, "b")
      expect(ExitReason.format(Process.exitReason(supervisor) as ExitReason.ExitReason)).toBe(
        "shutdown: reached maximum restart intensity"
      )
      expect(diary.take()).toEqual(["end b", "end c", "end a"])
    })
  )

  behaviour("forgets restarts that are longer ago than maxSeconds (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* start(new Diary(), { maxRestarts: 1, maxSeconds: 5 })
      for (let i = 0; i < 5; i++) {
        yield* crash(supervisor, "b")
        yield* Effect.sleep("6 seconds")
      }
      expect(yield* restartsOf(supervisor)).toEqual([0, 5, 0])
    })
  )

  behaviour("maxRestarts 0 gives up at the first (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* start(new Diary(), { maxRestarts: 0 })
      yield* crash(supervisor, "a")
      expect(Process.isAlive(supervisor)).toBe(false)
    })
  )

  behaviour("a restart that fails is tried again and counts each time (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      let failures = 2
      let isFirst = true
      const init = () =>
        Effect.suspend(() => {
          if (isFirst) {
            isFirst = false
            return Effect.void
          }
          return failures-- > 0 ? Effect.fail("not yet") : Effect.void
        })
      const supervisor = yield* Supervisor.start({ children: [worker(diary, "a", {}, { init })], maxRestarts: 3 })
      yield* crash(supervisor, "a")
      expect([diary.take(), yield* restartsOf(supervisor)]).toEqual([["start a", "end a", "start a"], [3]])
    })
  )

  it("a restart that goes on failing leaves the event loop its turns, also where restarts have no bound", () =>
    startsThatFail((child) => Supervisor.start({ children: [child], maxRestarts: Number.POSITIVE_INFINITY })))

  behaviour("a restart that goes on failing ends the supervisor (O)", () =>
    Effect.gen(function* () {
      let isFirst = true
      const init = () =>
        Effect.suspend(() => (isFirst ? Effect.sync(() => (isFirst = false)) : Effect.fail("never again")))
      const supervisor = yield* Supervisor.start({ children: [worker(new Diary(), "a", {}, { init })] })
      yield* crash(supervisor, "a")
      expect(Process.isAlive(supervisor)).toBe(false)
    })
  )

  behaviour("a supervisor that gives up is restarted by its own, with all its children (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const inner = Supervisor.childSpec("inner", {
        children: [worker(diary, "a"), worker(diary, "b")],
        maxRestarts: 0
      })
      const supervisor = yield* Supervisor.start({ children: [inner] })
      diary.take()
      const tree = yield* Supervisor.tree(supervisor)
      const name = tree?.children[0]?.children[0]?.pid
      const pid = Process.list().find((each) => String(each) === name) as WorkerRef
      yield* GenServer.cast(pid, "crash")
      yield* Effect.sleep(10)
      expect(diary.take()).toEqual(["end a", "end b", "start a", "start b"])
      expect(yield* restartsOf(supervisor)).toEqual([1])
    })
  )
})

describe("rest_for_one", () => {
  behaviour("restarts the child that ended and those started after it: stops in reverse, starts in order (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* Supervisor.start({
        strategy: "rest_for_one",
        children: ["a", "b", "c", "d"].map((id) => worker(diary, id))
      })
      diary.take()
      yield* crash(supervisor, "b")
      expect(diary.take()).toEqual(["end b", "end d", "end c", "start b", "start c", "start d"])
      expect(yield* idsOf(supervisor)).toEqual(["a", "b", "c", "d"])
    })
  )

  behaviour("forgets temporary children among the rest (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* Supervisor.start({
        strategy: "rest_for_one",
        children: [worker(diary, "a"), worker(diary, "b", { restart: "temporary" }), worker(diary, "c")]
      })
      yield* crash(supervisor, "a")
      expect(yield* idsOf(supervisor)).toEqual(["a", "c"])
    })
  )

  behaviour("gives up when another does not come back, and the child that had come back ends too (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      let isBroken = false
      const init = () => Effect.suspend(() => (isBroken ? Effect.fail("broken") : Effect.void))
      const children = [worker(diary, "a"), worker(diary, "b", {}, { init })]
      const supervisor = yield* Supervisor.start({ strategy: "rest_for_one", children })
      diary.take()
      isBroken = true
      yield* crash(supervisor, "a")
      expect(Process.exitReason(supervisor)).toMatchObject({ _tag: "shutdown" })
      expect(diary.take()).toEqual(["end a", "end b", "start a", "end a"])
    })
  )

  behaviour("one that fails to come back is tried again, and those after it come only then (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      let failures = 0
      const init = () => Effect.suspend(() => (failures-- > 0 ? Effect.fail("not yet") : Effect.void))
      const children = [worker(diary, "a"), worker(diary, "b", {}, { init }), worker(diary, "c")]
      const supervisor = yield* Supervisor.start({ strategy: "rest_for_one", children })
      diary.take()
      failures = 1
      yield* crash(supervisor, "a")
      expect(diary.take()).toEqual(["end a", "end c", "end b", "start a", "start b", "start c"])
    })
  )
})

describe("a restart that waits for its next try", () => {
  /**
   * A supervisor whose child has crashed, and fails 2 seconds into each new start: too seldom for the supervisor to
   * give up.
   */
  const restarting = (strategy: Supervisor.Strategy) =>
    Effect.gen(function* () {
      let isBroken = false
      const init = () => Effect.suspend(() => (isBroken ? Effect.delay(Effect.fail("broken"), 2000) : Effect.void))
      const children = [worker(new Diary(), "a", {}, { init })]
      const supervisor = yield* Supervisor.start({ strategy, children, maxRestarts: 8, maxSeconds: 10 })
      isBroken = true
      yield* GenServer.cast(yield* childOf(supervisor, "a"), "crash")
      yield* Effect.sleep(3000) // it is at its second try
      return supervisor
    })
  const strategies = ["one_for_one", "rest_for_one", "one_for_all"] as const

  behaviour("refuses what is for stopped children, is counted, and ends when it is terminated (O)", () =>
    Effect.forEach(strategies, (strategy) =>
      Effect.gen(function* () {
        const supervisor = yield* restarting(strategy)
        const row = { id: "a", pid: null }
        expect(yield* failure(Supervisor.startChild(supervisor, worker(new Diary(), "a")))).toBe("ChildAlreadyPresent")
        const refused = yield* Effect.flip(Supervisor.restartChild(supervisor, "a"))
        expect(refused).toMatchObject({ _tag: "ChildRunning", isRestarting: true })
        expect(yield* failure(Supervisor.deleteChild(supervisor, "a"))).toBe("ChildRunning")
        expect(yield* Supervisor.whichChildren(supervisor)).toMatchObject([{ ...row, isRestarting: true }])
        expect(yield* Supervisor.countChildren(supervisor)).toEqual({ specs: 1, active: 0, supervisors: 0, workers: 1 })
        yield* Supervisor.terminateChild(supervisor, "a")
        expect(yield* Supervisor.whichChildren(supervisor)).toMatchObject([{ ...row, isRestarting: false }])
      })
    )
  )

  behaviour("does not keep a supervisor from being stopped (O)", () =>
    Effect.forEach(strategies, (strategy) =>
      Effect.gen(function* () {
        const supervisor = yield* restarting(strategy)
        yield* Supervisor.stop(supervisor)
        expect(Process.exitReason(supervisor)).toEqual(ExitReason.normal)
      })
    )
  )

  behaviour("does not leave the others behind when the child that failed is terminated meanwhile", () =>
    Effect.gen(function* () {
      let isBroken = false
      const init = () => Effect.suspend(() => (isBroken ? Effect.fail("broken") : Effect.void))
      const slow = worker(new Diary(), "slow", {}, { terminateMs: 100 })
      const children = [worker(new Diary(), "a"), worker(new Diary(), "b", {}, { init }), slow]
      const supervisor = yield* Supervisor.start({ strategy: "rest_for_one", children, maxRestarts: 10 })
      isBroken = true
      GenServer.unsafeOffer(yield* childOf(supervisor, "a"), "crash")
      yield* Effect.sleep(50) // the supervisor waits for "slow" to end, so that the request comes before the next try
      yield* Supervisor.terminateChild(supervisor, "b")
      isBroken = false
      yield* Effect.sleep(10)
      expect((yield* idsOf(supervisor)).at(-1)).toBe("slow")
    })
  )
})

describe("one_for_all", () => {
  behaviour("restarts all: stops in reverse, starts in order (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const children = ["a", "b", "c"].map((id) => worker(diary, id))
      const supervisor = yield* Supervisor.start({ strategy: "one_for_all", children })
      diary.take()
      yield* crash(supervisor, "b")
      expect(diary.take()).toEqual(["end b", "end c", "end a", "start a", "start b", "start c"])
    })
  )

  behaviour("two that crash together are one restart or two, and all are up afterwards", () =>
    Effect.gen(function* () {
      const children = ["a", "b", "c"].map((id) => worker(new Diary(), id))
      const supervisor = yield* Supervisor.start({ strategy: "one_for_all", children })
      const [a, c] = [yield* childOf(supervisor, "a"), yield* childOf(supervisor, "c")]
      GenServer.unsafeOffer(a, "crash")
      GenServer.unsafeOffer(c, "crash")
      yield* Effect.sleep(10)
      expect(yield* idsOf(supervisor)).toEqual(["a", "b", "c"])
    })
  )

  behaviour("escalates like the others (O)", () =>
    Effect.gen(function* () {
      const children = [worker(new Diary(), "a"), worker(new Diary(), "b")]
      const supervisor = yield* Supervisor.start({ strategy: "one_for_all", children, maxRestarts: 1 })
      yield* crash(supervisor, "a")
      yield* crash(supervisor, "b")
      expect(Process.isAlive(supervisor)).toBe(false)
    })
  )
})

describe("restart types", () => {
  const cases = [
    ["permanent", "stop", ["a"]],
    ["permanent", "shutdown", ["a"]],
    ["permanent", "crash", ["a"]],
    ["transient", "stop", ["a: down"]],
    ["transient", "shutdown", ["a: down"]],
    ["transient", "crash", ["a"]],
    ["temporary", "stop", []],
    ["temporary", "shutdown", []],
    ["temporary", "crash", []]
  ] as const
  for (const [restart, how, left] of cases) {
    behaviour(`a ${restart} child that ends by ${how} leaves ${JSON.stringify(left)} (O)`, () =>
      Effect.gen(function* () {
        const supervisor = yield* Supervisor.start({ children: [worker(new Diary(), "a", { restart })] })
        yield* GenServer.cast(yield* childOf(supervisor, "a"), how)
        yield* Effect.sleep(10)
        expect(yield* idsOf(supervisor)).toEqual(left)
      })
    )
  }

  behaviour("a transient child that is killed comes back (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [worker(new Diary(), "a", { restart: "transient" })] })
      yield* Process.exit(yield* childOf(supervisor, "a"), ExitReason.killed)
      yield* Effect.sleep(10)
      expect(yield* idsOf(supervisor)).toEqual(["a"])
    })
  )
})

describe("significant children", () => {
  const start = (autoShutdown: Supervisor.AutoShutdown, diary = new Diary()) =>
    Supervisor.start({
      autoShutdown,
      children: [
        worker(diary, "a", { restart: "transient", significant: true }),
        worker(diary, "b", { restart: "temporary", significant: true }),
        worker(diary, "c", { restart: "transient" })
      ]
    })
  const end = (supervisor: Supervisor.SupervisorRef, id: string, how: "stop" | "crash") =>
    Effect.flatMap(childOf(supervisor, id), (pid) => Effect.zipRight(GenServer.cast(pid, how), Effect.sleep(10)))

  behaviour("any_significant: the end of one stops the supervisor, with shutdown and its other children (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* start("any_significant", diary)
      diary.take()
      yield* end(supervisor, "a", "stop")
      expect(Process.exitReason(supervisor)).toEqual(ExitReason.shutdown)
      expect(diary.take()).toEqual(["end a", "end c", "end b"])
    })
  )

  behaviour("any_significant: a child that is restarted, or not significant, stops nothing (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* start("any_significant")
      yield* end(supervisor, "a", "crash")
      yield* end(supervisor, "c", "stop")
      expect(yield* idsOf(supervisor)).toEqual(["a", "b", "c: down"])
    })
  )

  behaviour("any_significant: a temporary one that crashes stops it (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* start("any_significant")
      yield* end(supervisor, "b", "crash")
      expect(Process.exitReason(supervisor)).toEqual(ExitReason.shutdown)
    })
  )

  behaviour("all_significant: the end of the last stops the supervisor (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* start("all_significant")
      yield* end(supervisor, "a", "stop")
      expect(Process.isAlive(supervisor)).toBe(true)
      yield* end(supervisor, "b", "stop")
      expect(Process.exitReason(supervisor)).toEqual(ExitReason.shutdown)
    })
  )

  behaviour("a significant child that is stopped for the sake of another stops nothing (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const children = [
        worker(diary, "a"),
        worker(diary, "b", { restart: "transient", significant: true }),
        worker(diary, "c", { restart: "temporary", significant: true })
      ]
      for (const strategy of ["rest_for_one", "one_for_all"] as const) {
        const supervisor = yield* Supervisor.start({ strategy, autoShutdown: "any_significant", children })
        yield* crash(supervisor, "a")
        expect(yield* idsOf(supervisor)).toEqual(["a", "b"])
      }
    })
  )

  behaviour("startChild refuses one that makes no sense, and goes on", () =>
    Effect.gen(function* () {
      const supervisor = yield* start("any_significant")
      const error = yield* Effect.flip(
        Supervisor.startChild(supervisor, worker(new Diary(), "d", { restart: "permanent", significant: true }))
      )
      expect(error).toMatchObject({ _tag: "InvalidSignificant", id: "d", why: "permanent" })
      expect(yield* idsOf(supervisor)).toEqual(["a", "b", "c"])
    })
  )

  behaviour("a significant child that is terminated on request stops nothing (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* start("any_significant")
      yield* Supervisor.terminateChild(supervisor, "a")
      yield* Effect.sleep(10)
      expect(yield* idsOf(supervisor)).toEqual(["a: down", "b", "c"])
    })
  )
})

describe("managing children", () => {
  behaviour("startChild adds one at the end, and answers its pid (O, E)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* Supervisor.start({ children: [worker(diary, "a")] })
      const pid = yield* Supervisor.startChild(supervisor, worker(diary, "b"))
      expect(pid).toBe(yield* childOf(supervisor, "b"))
      expect(yield* idsOf(supervisor)).toEqual(["a", "b"])
      yield* Supervisor.stop(supervisor)
      expect(diary.take()).toEqual(["start a", "start b", "end b", "end a"])
    })
  )

  behaviour("startChild of an id that is there fails, and tells running from stopped (O, E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [worker(new Diary(), "a")] })
      const running = yield* Effect.flip(Supervisor.startChild(supervisor, worker(new Diary(), "a")))
      expect(running.message).toMatch(/^child "a" is already running as <0\.\d+ a>$/)
      yield* Supervisor.terminateChild(supervisor, "a")
      const stopped = yield* Effect.flip(Supervisor.startChild(supervisor, worker(new Diary(), "a")))
      expect(stopped.message).toMatch(/not running; restart it, or delete it first/)
    })
  )

  behaviour("startChild of a child that fails gives its error and keeps no specification (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [] })
      const failing = worker(new Diary(), "a", {}, { init: () => Effect.fail("no disk") })
      expect((yield* Effect.flip(Supervisor.startChild(supervisor, failing))).message).toBe(
        "a did not start (crash: no disk)"
      )
      expect(yield* idsOf(supervisor)).toEqual([])
      expect(Process.isAlive(supervisor)).toBe(true)
    })
  )

  behaviour(
    "startChild and restartChild of what was started elsewhere give AlreadyStarted, and restart nothing (O)",
    () =>
      Effect.gen(function* () {
        const names = yield* Registry.make({ keys: "unique" })
        const name = Registry.via<StackRef>(names, "stack")
        const supervisor = yield* Supervisor.start({ children: [GenServer.childSpec(Stack, [], { id: "a", name })] })
        yield* Supervisor.terminateChild(supervisor, "a")
        const outside = yield* GenServer.start(Stack, [], { name })
        expect(yield* failure(Supervisor.restartChild(supervisor, "a"))).toBe("AlreadyStarted")
        const error = yield* Effect.flip(
          Supervisor.startChild(supervisor, GenServer.childSpec(Stack, [], { id: "b", name }))
        )
        expect(error).toMatchObject({ _tag: "AlreadyStarted", pid: outside })
        expect(yield* idsOf(supervisor)).toEqual(["a: down"])
        expect([Process.isAlive(supervisor), GenServer.whereis(name)]).toEqual([true, outside])
      })
  )

  behaviour("a restartChild that fails gives the error and leaves the child down (O)", () =>
    Effect.gen(function* () {
      let isBroken = false
      const init = () => Effect.suspend(() => (isBroken ? Effect.fail("no disk") : Effect.void))
      const supervisor = yield* Supervisor.start({ children: [worker(new Diary(), "a", {}, { init })] })
      yield* Supervisor.terminateChild(supervisor, "a")
      isBroken = true
      expect(yield* failure(Supervisor.restartChild(supervisor, "a"))).toBe("StartFailed")
      expect(yield* idsOf(supervisor)).toEqual(["a: down"])
      expect(yield* restartsOf(supervisor)).toEqual([0])
    })
  )

  behaviour("terminateChild of a child that has unlinked itself does not hang (O)", () =>
    Effect.gen(function* () {
      const naughty = Effect.flatMap(Process.self, () =>
        Effect.zipRight(
          Effect.suspend(() => Process.unlink(supervisor)),
          Effect.never
        )
      )
      const supervisor: Supervisor.SupervisorRef = yield* Supervisor.start({ children: [] })
      const pid = yield* Supervisor.startChild(supervisor, { id: "naughty", start: Process.spawnLink(naughty) })
      yield* settle
      expect(Process.info(supervisor).links).toBe(0)
      yield* Supervisor.terminateChild(supervisor, "naughty")
      expect([pid === null || Process.isAlive(pid), yield* idsOf(supervisor)]).toEqual([false, ["naughty: down"]])
    })
  )

  behaviour("startChild runs with the services of the caller", () =>
    Effect.gen(function* () {
      class Greeting extends Context.Tag("Greeting")<Greeting, string>() {}
      const seen: Array<string> = []
      const supervisor = yield* Supervisor.start({ children: [] })
      const start = Effect.flatMap(Greeting, (greeting) => Process.spawnLink(Effect.sync(() => seen.push(greeting))))
      const added = Supervisor.startChild(supervisor, { id: "greeter", start, restart: "temporary" })
      yield* Effect.provideService(added, Greeting, "hello")
      yield* settle
      expect(seen).toEqual(["hello"])
    })
  )

  behaviour("a child started from within a process is the supervisor's child and not the caller's", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [] })
      yield* inProcess(Supervisor.startChild(supervisor, worker(new Diary(), "a")))
      yield* settle
      expect(yield* idsOf(supervisor)).toEqual(["a"])
    })
  )

  behaviour("terminateChild stops it and keeps its place; restartChild brings it back there (O, E)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* Supervisor.start({ children: ["a", "b"].map((id) => worker(diary, id)) })
      diary.take()
      yield* Supervisor.terminateChild(supervisor, "a")
      expect([diary.take(), yield* idsOf(supervisor)]).toEqual([["end a"], ["a: down", "b"]])
      const pid = yield* Supervisor.restartChild(supervisor, "a")
      expect(pid).toBe(yield* childOf(supervisor, "a"))
      expect(yield* idsOf(supervisor)).toEqual(["a", "b"])
    })
  )

  behaviour("temporary children are forgotten with their specification when they have ended (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [] })
      for (const how of ["crash", "stop", "shutdown"] as const) {
        yield* Supervisor.startChild(supervisor, worker(new Diary(), "a", { restart: "temporary" }))
        yield* GenServer.cast(yield* childOf(supervisor, "a"), how)
        yield* Effect.sleep(10)
        expect(yield* failure(Supervisor.restartChild(supervisor, "a"))).toBe("ChildNotFound")
      }
      expect(Supervisor.unsafeTree(supervisor)?.children).toEqual([])
    })
  )

  behaviour("terminateChild of a stopped child is fine, of a temporary one forgets it (O)", () =>
    Effect.gen(function* () {
      const children = [worker(new Diary(), "a"), worker(new Diary(), "b", { restart: "temporary" })]
      const supervisor = yield* Supervisor.start({ children })
      for (const id of ["a", "a", "b"]) yield* Supervisor.terminateChild(supervisor, id)
      expect(yield* idsOf(supervisor)).toEqual(["a: down"])
    })
  )

  behaviour("a child that is terminated on request counts as no restart (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [worker(new Diary(), "a")], maxRestarts: 0 })
      for (let i = 0; i < 3; i++) {
        yield* Supervisor.terminateChild(supervisor, "a")
        yield* Supervisor.restartChild(supervisor, "a")
      }
      expect(yield* restartsOf(supervisor)).toEqual([0])
    })
  )

  behaviour("restartChild and deleteChild of a running child fail (O, E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [worker(new Diary(), "a")] })
      expect(yield* failure(Supervisor.restartChild(supervisor, "a"))).toBe("ChildRunning")
      expect(yield* failure(Supervisor.deleteChild(supervisor, "a"))).toBe("ChildRunning")
    })
  )

  behaviour("deleteChild forgets a stopped child (O, E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [worker(new Diary(), "a")] })
      yield* Supervisor.terminateChild(supervisor, "a")
      yield* Supervisor.deleteChild(supervisor, "a")
      expect(yield* idsOf(supervisor)).toEqual([])
      expect(yield* failure(Supervisor.restartChild(supervisor, "a"))).toBe("ChildNotFound")
    })
  )

  behaviour("ids that nobody has are ChildNotFound (O, E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [] })
      const all = [Supervisor.terminateChild, Supervisor.restartChild, Supervisor.deleteChild]
      for (const ask of all)
        expect(yield* failure(ask(supervisor, "nobody") as Effect.Effect<unknown, { _tag: string }>)).toBe(
          "ChildNotFound"
        )
    })
  )

  behaviour("a dead supervisor is NoProcess (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [] })
      yield* Supervisor.stop(supervisor)
      expect(yield* failure(Supervisor.whichChildren(supervisor))).toBe("NoProcess")
    })
  )

  behaviour("countChildren counts specifications, running ones, supervisors and workers (O, E)", () =>
    Effect.gen(function* () {
      const inner = Supervisor.childSpec("inner", { children: [] })
      const supervisor = yield* Supervisor.start({
        children: [worker(new Diary(), "a"), inner, worker(new Diary(), "b")]
      })
      yield* Supervisor.terminateChild(supervisor, "a")
      expect(yield* Supervisor.countChildren(supervisor)).toEqual({ specs: 3, active: 2, supervisors: 1, workers: 2 })
    })
  )

  behaviour("the exit of a linked process that is no child is none of its business (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const supervisor = yield* Supervisor.start({ children: [worker(diary, "a")] })
      yield* Process.spawn(Effect.zipRight(Process.link(supervisor), Effect.die("boom")))
      yield* settle
      expect([Process.isAlive(supervisor), diary.take()]).toEqual([true, ["start a"]])
    })
  )

  behaviour("a stray message is ignored (O)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [] })
      Process.unsafeOffer(supervisor as Pid.Pid<unknown>, { _tag: "hello" })
      yield* settle
      expect(Process.isAlive(supervisor)).toBe(true)
    })
  )
})

describe("the tree", () => {
  behaviour("counts at each level, and each level comes back by its own supervisor (O)", () =>
    Effect.gen(function* () {
      const diary = new Diary()
      const names = yield* Registry.make({ keys: "unique" })
      const inner = (id: string, ids: ReadonlyArray<string>, maxRestarts: number) => ({
        id,
        type: "supervisor" as const,
        start: Supervisor.startLink({
          label: id,
          name: Registry.via(names, id),
          children: ids.map((child) => worker(diary, child)),
          maxRestarts
        })
      })
      const top = yield* Supervisor.start({ children: [inner("left", ["a"], 1), inner("right", ["b", "c"], 1)] })
      const left = Registry.via<Supervisor.SupervisorRef>(names, "left")
      const counts = Effect.all([top, left].map((supervisor) => Supervisor.countChildren(supervisor)))
      const before = [
        { specs: 2, active: 2, supervisors: 2, workers: 0 },
        { specs: 1, active: 1, supervisors: 0, workers: 1 }
      ]
      expect(yield* counts).toEqual(before)
      const first = GenServer.whereis(left) as Supervisor.SupervisorRef
      yield* crash(first, "a")
      expect([GenServer.whereis(left) === first, yield* restartsOf(top)]).toEqual([true, [0, 0]])
      yield* crash(first, "a")
      expect([GenServer.whereis(left) === first, yield* restartsOf(top)]).toEqual([false, [1, 0]])
      expect(yield* counts).toEqual(before)
      expect(diary.take().filter((entry) => /[bc]$/.test(entry))).toEqual(["start b", "start c"])
    })
  )

  behaviour(
    "shows names, types, states, restarts, mailboxes, work done, last exits and what processes say of themselves",
    () =>
      Effect.gen(function* () {
        const names = yield* Registry.make({ keys: "unique" })
        const name = Registry.via<StackRef>(names, "stack")
        const inner = Supervisor.childSpec("inner", { children: [GenServer.childSpec(Stack, ["a"], { name })] })
        const down = worker(new Diary(), "down", { restart: "transient" })
        const top = yield* Supervisor.start({ label: "top", children: [inner, down] })
        yield* GenServer.cast(name, { crash: "boom" })
        yield* GenServer.cast(yield* childOf(top, "down"), "stop")
        yield* Effect.sleep(10)
        yield* GenServer.call(name, new Size())
        GenServer.unsafeOffer(name, { push: "b" })
        const tree = yield* Supervisor.tree(top)
        expect(tree).toMatchObject({
          name: "top",
          type: "supervisor",
          status: "running",
          restarts: 0,
          lastExit: null,
          children: [
            {
              name: "inner",
              type: "supervisor",
              children: [
                {
                  name: "stack",
                  type: "worker",
                  restarts: 1,
                  mailboxDepth: 1,
                  messagesHandled: 1,
                  lastExit: "crash: boom",
                  inspect: { size: 1 },
                  children: []
                }
              ]
            },
            { name: "down", pid: null, status: "exited", lastExit: "normal", children: [] }
          ]
        })
        expect(JSON.parse(JSON.stringify(tree))).toEqual(tree)
        expect(
          Supervisor.format(tree as Supervisor.TreeNode)
            .split("\n")
            .map((line) => line.replace(/<.*?>/, "<>"))
        ).toEqual([
          "top  <>  running, 2 handled",
          "  inner  <>  running, 1 handled",
          "    stack  <>  running, 1 handled, 1 waiting, 1 restarts, last exit crash: boom",
          "  down  -  exited, 0 handled, last exit normal"
        ])
      })
  )

  behaviour("shows how much memory a process holds, where it says so", () =>
    Effect.gen(function* () {
      const Store = GenServer.define<{ cast: number }>()({
        name: "store",
        init: () => GenServer.Ok(512),
        handleCast: (bytes, held) => GenServer.NoReply(held + bytes),
        memoryBytes: (held) => held
      })
      const says = (memoryBytes: () => number) => Process.spawnLink(Effect.never, { memoryBytes })
      const forgetful = says(() => {
        throw new Error("not now")
      })
      const children = [
        GenServer.childSpec(Store, undefined),
        { id: "machine", start: says(() => 4 * 1024 * 1024) },
        { id: "forgetful", start: forgetful },
        { id: "silent", start: Process.spawnLink(Effect.never) }
      ]
      const supervisor = yield* Supervisor.start({ label: "top", children })
      const store = (yield* childOf(supervisor, "store")) as Pid.Pid as GenServer.ServerRef<never, number>
      yield* GenServer.cast(store, 1024)
      yield* settle
      const tree = Supervisor.unsafeTree(supervisor) as Supervisor.TreeNode
      expect(tree.children.map(({ memoryBytes }) => memoryBytes)).toEqual([1536, 4_194_304, undefined, undefined])
      expect(Supervisor.format(tree)).toMatch(/store .*, 1 handled, 1\.5 KiB held\n.*machine .*, 4\.0 MiB held\n/)
    })
  )

  behaviour("is read without asking anybody: also while a supervisor is busy", () =>
    Effect.gen(function* () {
      const slow = worker(new Diary(), "slow", {}, { terminateMs: 1000 })
      const supervisor = yield* Supervisor.start({ label: "top", children: [slow] })
      const stopping = yield* Effect.fork(Supervisor.terminateChild(supervisor, "slow"))
      yield* Effect.sleep(500)
      expect(Supervisor.unsafeTree(supervisor)?.children).toMatchObject([{ name: "slow", status: "stopping" }])
      yield* Fiber.join(stopping)
    })
  )

  behaviour("an inspect that throws spoils only its own line", () =>
    Effect.gen(function* () {
      const inspect = (): Record<string, unknown> => {
        throw new Error("not now")
      }
      const child = { id: "shy", start: Process.spawnLink(Effect.never, { inspect }) }
      const supervisor = yield* Supervisor.start({ children: [child] })
      expect(Supervisor.unsafeTree(supervisor)?.children).toMatchObject([
        { inspect: { inspectFailed: "Error: not now" } }
      ])
    })
  )
})
