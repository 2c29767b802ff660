/**
 * Ported behaviours: Elixir, lib/elixir/test/elixir/task_test.exs (E) and task/supervisor_test.exs (S).
 * Those without a letter are our own.
 */
import { Chunk, Duration, Effect, Exit, Fiber, Option, Stream } from "effect"
import { describe, expect } from "vitest"
import { ExitReason, GenServer, type Pid, Process, Supervisor, Task, TaskSupervisor } from "../../src/actor/index.ts"
import { behaviour, boom, failure, inProcess, next, settle, trapping } from "./support.ts"

const slow = <A>(value: A, ms: number) => Effect.as(Effect.sleep(ms), value)

/** What each element of a stream of exits came to. */
const told = <A, E extends { readonly _tag: string }>(exits: Chunk.Chunk<Exit.Exit<A, E>>): ReadonlyArray<A | string> =>
  Chunk.toReadonlyArray(exits).map((exit) =>
    Exit.match(exit, {
      onSuccess: (value): A | string => value,
      onFailure: (cause) => (cause._tag === "Fail" ? cause.error._tag : cause._tag)
    })
  )

/** For what a task ended without a value. */
const endOf = (exit: Task.TaskExit<unknown>): string =>
  Exit.isFailure(exit) && exit.cause._tag === "Fail" ? ExitReason.format(exit.cause.error.reason) : "a value"

describe("Task", () => {
  behaviour("async runs in a process of its own, linked to its caller, and await gives its value (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const self = yield* Process.self
        const task = yield* Task.async(Effect.zipRight(Effect.sleep(10), Process.self))
        expect(Process.info(self).links).toBe(1)
        const inside = yield* Task.await(task)
        expect([inside === task.pid, inside === self]).toEqual([true, false])
        yield* settle
        expect(Process.info(self).links).toBe(0)
      })
    )
  )

  behaviour("a task that crashes takes its caller along (E)", () =>
    Effect.gen(function* () {
      const caller = yield* Process.spawn(Effect.zipRight(Task.async(Effect.die("boom")), Effect.never))
      expect(yield* Process.awaitExit(caller)).toEqual(boom)
    })
  )

  behaviour("a caller that traps exits gets TaskExited from await (E)", () =>
    trapping(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.fail("no"))
        const error = yield* Effect.flip(Task.await(task))
        expect(error).toMatchObject({ _tag: "TaskExited", pid: task.pid, reason: { _tag: "crash" } })
      })
    )
  )

  behaviour("await times out after 5 seconds unless told otherwise, and the task goes on (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const task = yield* Task.async(slow("late", 6000))
        const [took, tag] = yield* Effect.timed(failure(Task.await(task)))
        expect([Duration.toMillis(took), tag]).toEqual([5000, "TaskTimeout"])
        expect(yield* failure(Task.await(task, 10))).toBe("TaskTimeout")
        expect(yield* Task.await(task)).toBe("late")
      })
    )
  )

  behaviour("a value is kept: await may be asked again", () =>
    inProcess(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.succeed(1))
        expect([yield* Task.await(task), yield* Task.await(task)]).toEqual([1, 1])
      })
    )
  )

  behaviour("completed needs no process (E)", () =>
    Effect.gen(function* () {
      const task = Task.completed("done")
      expect([task.pid, yield* Task.await(task)]).toEqual([null, "done"])
      expect(yield* Task.shutdown(task)).toEqual(Option.some(Exit.succeed("done")))
    })
  )

  behaviour("yield is None while it runs, then its exit (E)", () =>
    trapping(
      Effect.gen(function* () {
        const task = yield* Task.async(slow("value", 100))
        expect(yield* Task.yield(task, 50)).toEqual(Option.none())
        expect(yield* Task.yield(task, 100)).toEqual(Option.some(Exit.succeed("value")))
        const failed = yield* Task.yield(yield* Task.async(Effect.die("boom")))
        expect(failed).toMatchObject(
          Option.some({ _tag: "Failure", cause: { error: { _tag: "TaskExited", reason: boom } } })
        )
      })
    )
  )

  behaviour("yieldMany tells those that are done from those that are not, within one time-out (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const tasks = yield* Effect.forEach([10, 3000, 20], (ms) => Task.async(slow(ms, ms)))
        const [took, exits] = yield* Effect.timed(Task.yieldMany(tasks, 1000))
        expect(exits).toEqual([Option.some(Exit.succeed(10)), Option.none(), Option.some(Exit.succeed(20))])
        expect(Duration.toMillis(took)).toBe(1000)
      })
    )
  )

  behaviour("awaitMany gives all values in order, within one time-out (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const tasks = yield* Effect.forEach([30, 10, 20], (ms) => Task.async(slow(ms, ms)))
        expect(yield* Task.awaitMany(tasks, 50)).toEqual([30, 10, 20])
        const late = yield* Effect.forEach([800, 1600], (ms) => Task.async(slow(ms, ms)))
        const [took, tag] = yield* Effect.timed(failure(Task.awaitMany(late, 1000)))
        expect([Duration.toMillis(took), tag]).toEqual([1000, "TaskTimeout"])
      })
    )
  )

  behaviour("shutdown ends a task without ending its caller, and answers None (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.never)
        expect(yield* Task.shutdown(task)).toEqual(Option.none())
        expect(Process.exitReason(task.pid as Pid.Pid)).toEqual(ExitReason.shutdown)
      })
    )
  )

  behaviour("shutdown answers a value that was there in time (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.succeed("value"))
        yield* settle
        expect(yield* Task.shutdown(task)).toEqual(Option.some(Exit.succeed("value")))
      })
    )
  )

  behaviour("shutdown answers the crash of a task that had crashed (E)", () =>
    trapping(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.die("boom"))
        yield* settle
        expect(yield* Task.shutdown(task)).toMatchObject(Option.some({ _tag: "Failure" }))
      })
    )
  )

  behaviour("shutdown of a task that has ended answers how, and None if it ended as it would be asked to (E)", () =>
    trapping(
      Effect.gen(function* () {
        const ends = [ExitReason.shutdown, ExitReason.killed, ExitReason.normal, ExitReason.shutdownWith("why")]
        const told: Array<ReadonlyArray<string>> = []
        for (const reason of ends) {
          const task = yield* Task.async(Effect.flatMap(Process.self, (self) => Process.exit(self, reason)))
          yield* settle
          const exits = [yield* Task.shutdown(task), yield* Task.shutdown(task, "brutalKill")]
          told.push(exits.map(Option.match({ onNone: () => "none", onSome: endOf })))
        }
        expect(told).toEqual([
          ["none", "shutdown"],
          ["killed", "none"],
          ["normal", "normal"],
          ["shutdown: why", "shutdown: why"]
        ])
      })
    )
  )

  behaviour("shutdown kills a task that does not end in time; brutalKill does not ask (E)", () =>
    inProcess(
      Effect.gen(function* () {
        for (const [timeout, ms, end] of [
          [undefined, 5000, "killed"],
          [1000, 1000, "killed"],
          ["brutalKill", 0, "none"]
        ] as const) {
          const task = yield* Task.async(
            Effect.zipRight(
              Effect.addFinalizer(() => Effect.sleep(60_000)),
              Effect.never
            )
          )
          yield* settle
          const [took, exit] = yield* Effect.timed(Task.shutdown(task, timeout))
          const told = Option.match(exit, { onNone: () => "none", onSome: endOf })
          expect([Duration.toMillis(took), told]).toEqual([ms, end])
          expect(Process.exitReason(task.pid as Pid.Pid)).toEqual(ExitReason.killed)
        }
      })
    )
  )

  behaviour("ignore unlinks: the task goes on, and its crash harms nobody (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.delay(Effect.die("boom"), 10))
        expect(yield* Task.ignore(task)).toEqual(Option.none())
        yield* Effect.sleep(20)
        expect(Process.exitReason(task.pid as Pid.Pid)).toEqual(boom)
      })
    )
  )

  behaviour("tasks end with their caller (E)", () =>
    Effect.gen(function* () {
      const tasks: Array<Pid.Pid | null> = []
      const caller = yield* Process.spawn(
        Effect.zipRight(
          Effect.map(Task.async(Effect.never), ({ pid }) => tasks.push(pid)),
          Effect.never
        )
      )
      yield* settle
      yield* Process.exit(caller, ExitReason.killed)
      yield* settle
      expect(tasks.map((pid) => pid !== null && Process.isAlive(pid))).toEqual([false])
    })
  )

  behaviour("toMessage brings the value, or Down, to the process' mailbox", () =>
    trapping(
      Effect.gen(function* () {
        const task = yield* Task.async(slow("value", 10))
        yield* Task.toMessage(task)
        expect(yield* next).toEqual({ _tag: "Exit", pid: task.pid, reason: ExitReason.normal })
        expect(yield* next).toEqual({ _tag: "TaskReply", ref: task.ref, value: "value" })
        const done = Task.completed(1)
        yield* Task.toMessage(done)
        expect(yield* next).toEqual({ _tag: "TaskReply", ref: done.ref, value: 1 })
      })
    )
  )

  behaviour("a task as a child of a supervisor is temporary (E)", () =>
    Effect.gen(function* () {
      const supervisor = yield* Supervisor.start({ children: [Task.childSpec("job", Effect.sleep(10))] })
      expect((yield* Supervisor.countChildren(supervisor)).active).toBe(1)
      yield* Effect.sleep(20)
      expect(yield* Supervisor.whichChildren(supervisor)).toEqual([])
    })
  )
})

describe("asyncStream", () => {
  const items = [30, 10, 20]

  behaviour("streams how each ended, in the order of the items (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const exits = yield* Stream.runCollect(Task.asyncStream(items, (ms) => slow(ms, ms), { maxConcurrency: 3 }))
        expect(told(exits)).toEqual([30, 10, 20])
      })
    )
  )

  behaviour("unordered: as they come (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const options = { maxConcurrency: 3, ordered: false }
        const exits = yield* Stream.runCollect(Task.asyncStream(items, (ms) => slow(ms, ms), options))
        expect(told(exits)).toEqual([10, 20, 30])
      })
    )
  )

  behaviour("never more at once than maxConcurrency (E)", () =>
    inProcess(
      Effect.gen(function* () {
        let [now, most] = [0, 0]
        const one = (ms: number) =>
          Effect.gen(function* () {
            most = Math.max(most, ++now)
            yield* Effect.sleep(ms)
            now--
          })
        const many = Array.from({ length: 20 }, (_, i) => 1 + (i % 5))
        yield* Stream.runDrain(Task.asyncStream(many, one, { maxConcurrency: 3, ordered: false }))
        expect([most, now]).toEqual([3, 0])
      })
    )
  )

  behaviour("a task that takes longer than the time-out fails the stream, and all tasks end (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const alive = Process.totals().alive
        const stream = Task.asyncStream([10, 60_000], (ms) => slow(ms, ms), { timeout: 1000 })
        expect(yield* failure(Stream.runDrain(stream))).toBe("TaskTimeout")
        expect(Process.totals().alive).toBe(alive)
      })
    )
  )

  behaviour("onTimeout killTask: it is killed and the others go on (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const options = { timeout: 1000, onTimeout: "killTask" } as const
        const exits = yield* Stream.runCollect(Task.asyncStream([10, 60_000, 20], (ms) => slow(ms, ms), options))
        expect(told(exits)).toEqual([10, "TaskTimeout", 20])
      })
    )
  )

  behaviour("a stream that is given up ends its tasks (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const alive = Process.totals().alive
        const stream = Task.asyncStream([1, 60_000, 60_000], (ms) => slow(ms, ms), { maxConcurrency: 3 })
        expect(told(yield* Stream.runCollect(Stream.take(stream, 1)))).toEqual([1])
        yield* settle
        expect(Process.totals().alive).toBe(alive)
      })
    )
  )

  behaviour("a task that crashes takes its caller along (E)", () =>
    Effect.gen(function* () {
      const stream = Task.asyncStream([1], () => Effect.die("boom"))
      const caller = yield* Process.spawn(Effect.zipRight(Stream.runDrain(stream), Effect.never))
      expect(yield* Process.awaitExit(caller)).toEqual(boom)
    })
  )

  behaviour("an empty list is an empty stream; a concurrency that makes no sense is refused (E)", () =>
    inProcess(
      Effect.gen(function* () {
        expect(told(yield* Stream.runCollect(Task.asyncStream([], () => Effect.void)))).toEqual([])
        expect(() => Task.asyncStream([1], () => Effect.void, { maxConcurrency: 0 })).toThrow(/at least 1/)
      })
    )
  )

  behaviour("takes items as it starts their tasks, not all that there are", () =>
    inProcess(
      Effect.gen(function* () {
        let taken = 0
        const endless = {
          *[Symbol.iterator]() {
            for (;;) yield ++taken
          }
        }
        const some = Stream.take(
          Task.asyncStream(endless, (n) => Effect.succeed(n), { maxConcurrency: 2 }),
          3
        )
        expect(told(yield* Stream.runCollect(some))).toEqual([1, 2, 3])
        expect(taken).toBeLessThan(20)
      })
    )
  )
})

describe("TaskSupervisor", () => {
  behaviour("async links the task to its caller and to the supervisor (S)", () =>
    inProcess(
      Effect.gen(function* () {
        const tasks = yield* TaskSupervisor.start()
        const task = yield* TaskSupervisor.async(tasks, slow("value", 10))
        expect(Process.info(task.pid as Pid.Pid).links).toBe(2)
        expect(yield* TaskSupervisor.children(tasks)).toEqual([task.pid])
        expect(yield* Task.await(task)).toBe("value")
      })
    )
  )

  behaviour("async: a crash takes the caller along, and not the supervisor (S)", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      const caller = yield* Process.spawn(
        Effect.zipRight(TaskSupervisor.async(tasks, Effect.die("boom")), Effect.never)
      )
      expect(yield* Process.awaitExit(caller)).toEqual(boom)
      expect([Process.isAlive(tasks), yield* TaskSupervisor.children(tasks)]).toEqual([true, []])
    })
  )

  behaviour("asyncNolink: a crash is an answer, also for who is no process (S)", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      const task = yield* TaskSupervisor.asyncNolink(tasks, Effect.die("boom"))
      expect(yield* Effect.flip(Task.await(task))).toMatchObject({ _tag: "TaskExited", reason: boom })
      expect(Process.isAlive(tasks)).toBe(true)
    })
  )

  behaviour("asyncNolink and toMessage: a server gets the result in handleInfo and never waits (S)", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      const seen: Array<unknown> = []
      const Client = GenServer.define<{ readonly cast: "work" | "crash"; readonly info: Task.TaskReply }>()({
        name: "client",
        init: () => GenServer.Ok(null),
        handleCast: (message, state) =>
          Effect.gen(function* () {
            const effect = message === "work" ? slow("value", 10) : Effect.die("boom")
            yield* Task.toMessage(yield* TaskSupervisor.asyncNolink(tasks, effect))
            return GenServer.NoReply(state)
          }),
        handleInfo: (message, state) => {
          seen.push(message._tag === "TaskReply" ? message.value : message._tag)
          return GenServer.NoReply(state)
        }
      })
      const client = yield* GenServer.start(Client, undefined)
      yield* GenServer.cast(client, "work")
      yield* Effect.sleep(20)
      yield* GenServer.cast(client, "crash")
      yield* Effect.sleep(20)
      expect(seen).toEqual(["value", "Down"])
    })
  )

  behaviour("startChild: a temporary task is not restarted, a transient one is when it crashes (S)", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      let runs = 0
      const flaky = Effect.suspend(() => (++runs < 3 ? Effect.die("boom") : Effect.void))
      yield* TaskSupervisor.startChild(tasks, flaky)
      yield* settle
      expect(runs).toBe(1)
      yield* TaskSupervisor.startChild(tasks, flaky, { restart: "transient" })
      yield* settle
      expect([runs, yield* TaskSupervisor.children(tasks)]).toEqual([3, []])
    })
  )

  behaviour("refuses more tasks than maxChildren (S)", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start({ maxChildren: 1 })
      yield* TaskSupervisor.startChild(tasks, Effect.never)
      expect(yield* failure(TaskSupervisor.asyncNolink(tasks, Effect.void))).toBe("MaxChildren")
    })
  )

  behaviour("terminateChild ends a task (S)", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      const pid = yield* TaskSupervisor.startChild(tasks, Effect.never)
      yield* TaskSupervisor.terminateChild(tasks, pid)
      expect([Process.exitReason(pid), yield* TaskSupervisor.children(tasks)]).toEqual([ExitReason.shutdown, []])
    })
  )

  behaviour("its end is the end of its tasks (S)", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      const pid = yield* TaskSupervisor.startChild(tasks, Effect.never)
      yield* TaskSupervisor.stop(tasks)
      expect(Process.exitReason(pid)).toEqual(ExitReason.shutdown)
      expect(yield* failure(TaskSupervisor.asyncNolink(tasks, Effect.void))).toBe("NoProcess")
    })
  )

  behaviour("asyncStreamNolink: crashes are failed exits among the values (S)", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      const one = (n: number) => (n === 2 ? Effect.die("boom") : Effect.succeed(n))
      const exits = yield* Stream.runCollect(TaskSupervisor.asyncStreamNolink(tasks, [1, 2, 3], one))
      expect(told(exits)).toEqual([1, "TaskExited", 3])
    })
  )

  behaviour("asyncStream: tasks are the supervisor's children, and end with a stream that is given up (S)", () =>
    inProcess(
      Effect.gen(function* () {
        const tasks = yield* TaskSupervisor.start()
        const stream = TaskSupervisor.asyncStream(tasks, [1, 60_000], (ms) => slow(ms, ms), { maxConcurrency: 2 })
        const seen = yield* Stream.runCollect(
          Stream.take(
            Stream.mapEffect(stream, () => TaskSupervisor.children(tasks)),
            1
          )
        )
        expect(Chunk.unsafeHead(seen).length).toBe(1)
        yield* settle
        expect(yield* TaskSupervisor.children(tasks)).toEqual([])
      })
    )
  )

  behaviour("asyncStreamNolink: a function that throws instead of giving an effect is a crash of its task", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      const one = (n: number) => {
        if (n === 2) throw new Error("two")
        return Effect.succeed(n)
      }
      const exits = yield* Stream.runCollect(TaskSupervisor.asyncStreamNolink(tasks, [1, 2, 3], one))
      expect(told(exits)).toEqual([1, "TaskExited", 3])
    })
  )

  behaviour("a task whose owner is interrupted before it has it does not go on alone", () =>
    Effect.gen(function* () {
      const tasks = yield* TaskSupervisor.start()
      for (let turns = 0; turns < 12; turns++) {
        const owner = yield* Effect.fork(TaskSupervisor.asyncNolink(tasks, Effect.never))
        for (let i = 0; i < turns; i++) yield* Effect.yieldNow()
        yield* Fiber.interrupt(owner)
        const exit = yield* Fiber.await(owner)
        yield* settle
        expect((yield* TaskSupervisor.children(tasks)).length).toBe(Exit.isSuccess(exit) ? 1 : 0)
        if (Exit.isSuccess(exit)) yield* Task.shutdown(exit.value, "brutalKill")
        yield* settle
      }
    })
  )
})
