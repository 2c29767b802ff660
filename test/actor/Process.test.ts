/**
 * Ported behaviours: Erlang Reference Manual, "Processes"; OTP, erts/emulator/test/signal_SUITE.erl and
 * process_SUITE.erl (P); Elixir, lib/elixir/test/elixir/process_test.exs (E). Those without a letter are our own.
 */
import { inspect } from "node:util"
import { Cause, Duration, Effect, Exit, Fiber, Option, Scope } from "effect"
import { describe, expect } from "vitest"
import { ExitReason, GenServer, type Pid, Process, ProcessMetrics, Supervisor } from "../../src/actor/index.ts"
import { MetricRegistry } from "../../src/telemetry/index.ts"
import { behaviour, boom, failure, inProcess, next, Stack, settle, trapping, Work } from "./support.ts"

describe("the end of a process", () => {
  behaviour("a program that returns ends its process as normal (P)", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.succeed(1))
      expect(yield* Process.awaitExit(pid)).toEqual(ExitReason.normal)
    })
  )

  behaviour("a failure and a defect are crashes that carry their cause (P)", () =>
    Effect.gen(function* () {
      const failed = yield* Process.spawn(Effect.fail("no"))
      const died = yield* Process.spawn(Effect.die("boom"))
      expect(yield* Process.awaitExit(failed)).toMatchObject({ _tag: "crash", cause: { _tag: "Fail", error: "no" } })
      expect(yield* Process.awaitExit(died)).toEqual(boom)
    })
  )

  behaviour("interruption is shutdown", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.interrupt)
      expect(yield* Process.awaitExit(pid)).toEqual(ExitReason.shutdown)
    })
  )

  behaviour("closing the scope ends it with shutdown and waits for its finalizers", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      let isReleased = false
      const release = Effect.delay(
        Effect.sync(() => (isReleased = true)),
        100
      )
      const pid = yield* Scope.extend(
        Process.spawn(
          Effect.zipRight(
            Effect.addFinalizer(() => release),
            Effect.never
          )
        ),
        scope
      )
      yield* settle
      yield* Scope.close(scope, Exit.void)
      expect([isReleased, Process.exitReason(pid)]).toEqual([true, ExitReason.shutdown])
    })
  )

  behaviour("a scope forgets a process that has ended", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      for (let i = 0; i < 3; i++) yield* Scope.extend(Process.spawn(Effect.void), scope)
      yield* settle
      expect((scope as unknown as { state: { finalizers: Map<unknown, unknown> } }).state.finalizers.size).toBe(0)
      yield* Scope.close(scope, Exit.void)
    })
  )

  behaviour("a pid shows its name wherever it is printed, and keeps nothing of a process that has ended", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["secret"])
      expect([inspect({ pid: stack }), JSON.stringify({ pid: stack })]).toEqual([
        `{ pid: ${stack} }`,
        `{"pid":"${stack}"}`
      ])
      yield* GenServer.stop(stack)
      yield* settle
      const { behaviour, children, fiber } = Process.impl(stack)
      expect([behaviour, children, fiber]).toEqual([null, null, null])
    })
  )

  behaviour("sending to the dead is false and no error (P)", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.void)
      yield* Process.awaitExit(pid)
      expect(yield* Process.send(pid, "hello")).toBe(false)
      expect(Process.unsafeOffer(pid, "hello")).toBe(false)
    })
  )

  behaviour(
    "a process that traps exits and does not heed them is killed after its scope has waited 5 seconds, or as told",
    () =>
      Effect.gen(function* () {
        const deaf = Effect.forever(Process.receive)
        for (const [shutdown, ms] of [
          [undefined, 5000],
          ["1 second", 1000],
          ["brutalKill", 0]
        ] as const) {
          const options = { trapExit: true, ...(shutdown === undefined ? {} : { shutdown }) }
          const [took, pid] = yield* Effect.timed(Effect.scoped(Process.spawn(deaf, options)))
          expect([Duration.toMillis(took), Process.exitReason(pid)]).toEqual([ms, ExitReason.killed])
        }
      })
  )

  behaviour("no process outlives its parent: the parent's normal end is a shutdown of its children", () =>
    Effect.gen(function* () {
      const children: Array<Pid.Pid> = []
      const parent = yield* Process.spawn(Effect.map(Process.spawnLink(Effect.never), (pid) => children.push(pid)))
      yield* Process.awaitExit(parent)
      yield* settle
      expect(children.map(Process.exitReason)).toEqual([ExitReason.shutdown])
    })
  )

  behaviour("a defect in a finalizer makes a normal end a crash", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.addFinalizer(() => Effect.die("leak")))
      expect(yield* Process.awaitExit(pid)).toMatchObject({ _tag: "crash" })
    })
  )

  behaviour("an observer that throws keeps nobody else from being told", () =>
    Effect.gen(function* () {
      for (const reason of [ExitReason.killed, ExitReason.shutdown]) {
        const pid = yield* Process.spawn(Effect.never)
        const told: Array<string> = []
        Process.onExit(pid, () => {
          throw new Error("observer")
        })
        Process.onExit(pid, ({ _tag }) => told.push(_tag))
        yield* settle
        yield* Process.exit(pid, reason)
        expect([yield* Process.awaitExit(pid), told]).toEqual([reason, [reason._tag]])
      }
    })
  )
})

describe("exit signals", () => {
  behaviour("shutdown interrupts a process that does not trap exits (P)", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.never)
      yield* Process.exit(pid, ExitReason.shutdown)
      expect(yield* Process.awaitExit(pid)).toEqual(ExitReason.shutdown)
    })
  )

  behaviour("any reason but normal ends it with that reason (P)", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.never)
      yield* Process.exit(pid, boom)
      expect(yield* Process.awaitExit(pid)).toEqual(boom)
    })
  )

  behaviour("normal does nothing to another that does not trap exits (P)", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.never)
      yield* Process.exit(pid, ExitReason.normal)
      yield* settle
      expect(Process.isAlive(pid)).toBe(true)
    })
  )

  behaviour("normal does nothing to a child either, when its own parent says so (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const child = yield* Process.spawnLink(Effect.never)
        const server = yield* GenServer.startLink(Stack, [])
        for (const pid of [child, server]) yield* Process.exit(pid, ExitReason.normal)
        yield* settle
        expect([child, server].map(Process.isAlive)).toEqual([true, true])
      })
    )
  )

  behaviour("a server that traps exits takes what its parent says for its parent's end, normal too", () =>
    trapping(
      Effect.gen(function* () {
        const Trapping = GenServer.define<GenServer.Protocol>()({
          name: "trapping",
          trapExit: true,
          init: () => GenServer.Ok(null)
        })
        const server = yield* GenServer.startLink(Trapping, undefined)
        yield* Process.exit(server, ExitReason.normal)
        expect(yield* next).toEqual({ _tag: "Exit", pid: server, reason: ExitReason.normal })
      })
    )
  )

  behaviour("normal ends the process that sends it to itself (P)", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(
        Effect.gen(function* () {
          yield* Process.exit(yield* Process.self, ExitReason.normal)
          yield* Effect.never
        })
      )
      expect(yield* Process.awaitExit(pid)).toEqual(ExitReason.normal)
    })
  )

  behaviour("a process that traps exits gets the signal as a message, normal too (P)", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const pid = yield* Process.spawn(Effect.forever(Effect.map(Process.receive, (m) => seen.push(m))), {
        trapExit: true
      })
      yield* Process.exit(pid, ExitReason.normal)
      yield* Process.exit(pid, boom)
      yield* settle
      expect(seen).toEqual([
        { _tag: "Exit", pid: null, reason: ExitReason.normal },
        { _tag: "Exit", pid: null, reason: boom }
      ])
    })
  )

  behaviour("killed cannot be trapped, and has ended the process when exit returns (P)", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.never, { trapExit: true })
      yield* settle
      yield* Process.exit(pid, ExitReason.killed)
      expect(Process.exitReason(pid)).toEqual(ExitReason.killed)
    })
  )

  behaviour(
    "a killed process is dead to all others while its fiber is still in a region that cannot be interrupted",
    () =>
      Effect.gen(function* () {
        const before = Process.totals().zombies
        const pid = yield* Process.spawn(Effect.uninterruptible(Effect.sleep(1000)))
        yield* settle
        Process.unsafeExit(pid, ExitReason.killed)
        expect(Process.isAlive(pid)).toBe(false)
        expect(Process.totals().zombies).toBe(before + 1)
        yield* Effect.sleep(1000)
        expect(Process.totals().zombies).toBe(before)
      })
  )

  behaviour("a killed process' finalizers run all the same", () =>
    Effect.gen(function* () {
      let isReleased = false
      const finalizer = Effect.addFinalizer(() => Effect.sync(() => (isReleased = true)))
      const pid = yield* Process.spawn(Effect.zipRight(finalizer, Effect.never))
      yield* settle
      Process.unsafeExit(pid, ExitReason.killed)
      yield* settle
      expect(isReleased).toBe(true)
    })
  )

  behaviour("a process that is killed before its first step never takes it", () =>
    Effect.gen(function* () {
      let hasRun = false
      const pid = yield* Process.spawn(Effect.sync(() => (hasRun = true)))
      Process.unsafeExit(pid, ExitReason.killed)
      yield* settle
      expect([hasRun, Process.exitReason(pid)?._tag]).toEqual([false, "killed"])
    })
  )

  behaviour("an exit signal to the dead does nothing (P)", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.void)
      yield* Process.awaitExit(pid)
      yield* Process.exit(pid, ExitReason.killed)
      expect(Process.exitReason(pid)).toEqual(ExitReason.normal)
    })
  )

  behaviour("trapExit answers what was set before (E)", () =>
    inProcess(
      Effect.gen(function* () {
        expect(yield* Process.trapExit(true)).toBe(false)
        expect(yield* Process.trapExit(false)).toBe(true)
      })
    )
  )
})

describe("links", () => {
  behaviour("a crash goes to the linked process and ends it with the same reason (P)", () =>
    Effect.gen(function* () {
      const parent = yield* Process.spawn(Effect.zipRight(Process.spawnLink(Effect.die("boom")), Effect.never))
      expect(yield* Process.awaitExit(parent)).toEqual(boom)
    })
  )

  behaviour("a normal end does not end the linked process (P)", () =>
    Effect.gen(function* () {
      const parent = yield* Process.spawn(Effect.zipRight(Process.spawnLink(Effect.void), Effect.never))
      yield* settle
      expect(Process.isAlive(parent)).toBe(true)
    })
  )

  behaviour("a kill goes on as killed, which may be trapped (P)", () =>
    trapping(
      Effect.gen(function* () {
        const child = yield* Process.spawnLink(Effect.never)
        yield* Process.exit(child, ExitReason.killed)
        expect(yield* next).toEqual({ _tag: "Exit", pid: child, reason: ExitReason.killed })
      })
    )
  )

  behaviour("links go both ways: the child ends with its parent (P)", () =>
    Effect.gen(function* () {
      const children: Array<unknown> = []
      const parent = yield* Process.spawn(
        Effect.gen(function* () {
          children.push(yield* Process.spawnLink(Effect.never))
          yield* Effect.never
        })
      )
      yield* settle
      yield* Process.exit(parent, ExitReason.shutdown)
      yield* settle
      expect(children.map((pid) => Process.exitReason(pid as typeof parent))).toEqual([ExitReason.shutdown])
    })
  )

  behaviour("a chain of links falls as a whole (P)", () =>
    Effect.gen(function* () {
      const chain = (depth: number): Effect.Effect<never, never, Process.Self> =>
        Effect.zipRight(depth === 0 ? Effect.void : Process.spawnLink(chain(depth - 1)), Effect.never)
      const before = Process.totals().alive
      const first = yield* Process.spawn(chain(20))
      yield* Effect.sleep(100)
      expect(Process.totals().alive).toBe(before + 21)
      yield* Process.exit(first, boom)
      yield* Effect.sleep(100)
      expect(Process.totals().alive).toBe(before)
    })
  )

  behaviour("linking twice is linking once, and unlink takes it back (P)", () =>
    inProcess(
      Effect.gen(function* () {
        const self = yield* Process.self
        const pid = yield* Process.spawn(Effect.never)
        yield* Process.link(pid)
        yield* Process.link(pid)
        expect([Process.info(self).links, Process.info(pid).links]).toEqual([1, 1])
        yield* Process.unlink(pid)
        expect([Process.info(self).links, Process.info(pid).links]).toEqual([0, 0])
        yield* Process.exit(pid, boom)
        yield* settle
        expect(Process.isAlive(self)).toBe(true)
      })
    )
  )

  behaviour("linking to the dead gives its exit signal at once, with the reason it ended for", () =>
    trapping(
      Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.die("boom"))
        yield* Process.awaitExit(pid)
        yield* Process.link(pid)
        expect(yield* next).toEqual({ _tag: "Exit", pid, reason: boom })
      })
    )
  )

  behaviour("linking to itself does nothing (P)", () =>
    inProcess(
      Effect.gen(function* () {
        const self = yield* Process.self
        yield* Process.link(self)
        expect(Process.info(self).links).toBe(0)
      })
    )
  )

  behaviour("what a process starts after its end, in a region that could not be interrupted, does not outlive it", () =>
    Effect.gen(function* () {
      let child: Pid.Pid | null = null
      let server: unknown = null
      const stubborn = yield* Process.spawn(
        Effect.uninterruptible(
          Effect.gen(function* () {
            yield* Effect.sleep(10)
            child = yield* Process.spawnLink(Effect.never)
            server = yield* Effect.either(GenServer.startLink(Stack, []))
          })
        )
      )
      yield* settle
      yield* Process.exit(stubborn, ExitReason.killed)
      yield* Effect.sleep(20)
      expect(child && Process.exitReason(child)).toEqual(ExitReason.killed)
      expect(server).toMatchObject({ _tag: "Left", left: { _tag: "StartFailed", reason: ExitReason.killed } })
      expect(Process.info(stubborn).links).toBe(0)
    })
  )

  behaviour("a monitor of a process that has ended itself is kept nowhere", () =>
    Effect.gen(function* () {
      const target = yield* Process.spawn(Effect.never)
      const late = Effect.zipRight(Effect.sleep(10), Process.monitor(target))
      yield* Process.awaitExit(yield* Process.spawn(Effect.forkDaemon(late)))
      yield* Effect.sleep(20)
      expect(Process.info(target).monitoredBy).toBe(0)
    })
  )
})

describe("monitors", () => {
  behaviour("Down comes once, with the monitor's reference, the pid and the reason (P)", () =>
    inProcess(
      Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.never)
        const ref = yield* Process.monitor(pid)
        yield* Process.exit(pid, boom)
        expect(yield* next).toEqual({ _tag: "Down", ref, pid, reason: boom })
        expect(yield* next).toBe("nothing")
      })
    )
  )

  behaviour("each of several monitors of one process gets its own Down (P)", () =>
    inProcess(
      Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.never)
        const refs = [yield* Process.monitor(pid), yield* Process.monitor(pid)]
        yield* Process.exit(pid, ExitReason.killed)
        const downs = [yield* next, yield* next] as Array<Process.Down>
        expect(downs.map(({ ref }) => ref)).toEqual(refs)
      })
    )
  )

  behaviour("a monitor of the dead gives Down at once (P)", () =>
    inProcess(
      Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.void)
        yield* Process.awaitExit(pid)
        const ref = yield* Process.monitor(pid)
        expect(yield* next).toEqual({ _tag: "Down", ref, pid, reason: ExitReason.normal })
      })
    )
  )

  behaviour("demonitor takes it back, and says whether it was in time (P)", () =>
    inProcess(
      Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.never)
        const ref = yield* Process.monitor(pid)
        expect(yield* Process.demonitor(ref)).toBe(true)
        expect(yield* Process.demonitor(ref)).toBe(false)
        yield* Process.exit(pid, boom)
        expect(yield* next).toBe("nothing")
      })
    )
  )

  behaviour("a monitor is one-way and ends with its watcher (P)", () =>
    Effect.gen(function* () {
      const target = yield* Process.spawn(Effect.never)
      const watcher = yield* Process.spawn(Effect.zipRight(Process.monitor(target), Effect.never))
      yield* settle
      expect(Process.info(target).monitoredBy).toBe(1)
      yield* Process.exit(watcher, boom)
      yield* settle
      expect([Process.info(target).monitoredBy, Process.isAlive(target)]).toEqual([0, true])
    })
  )

  behaviour("onExit tells synchronous code in the turn of the exit, unless taken back", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.never)
      const seen: Array<string> = []
      Process.onExit(pid, (reason) => seen.push(`kept: ${reason._tag}`))
      Process.onExit(pid, () => seen.push("taken back"))()
      Process.unsafeExit(pid, ExitReason.killed)
      expect(seen).toEqual(["kept: killed"])
      Process.onExit(pid, (reason) => seen.push(`late: ${reason._tag}`))
      expect(seen.at(-1)).toBe("late: killed")
    })
  )
})

describe("messages", () => {
  behaviour("come in the order in which one process sends them (P)", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const pid = yield* Process.spawn(Effect.forever(Effect.map(Process.receive, (m) => seen.push(m))))
      for (let i = 0; i < 10; i++) yield* Process.send(pid, i)
      yield* settle
      expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    })
  )

  behaviour("receive waits for a message, and loses none when it is given up", () =>
    inProcess(
      Effect.gen(function* () {
        const self = yield* Process.self
        expect(Option.isNone(yield* Effect.timeoutOption(Process.receive, 100))).toBe(true)
        yield* Process.send(self, "late")
        expect(yield* next).toBe("late")
      })
    )
  )

  behaviour("sendAfter sends when the time has come, not before, and can be taken back (E)", () =>
    inProcess(
      Effect.gen(function* () {
        const self = yield* Process.self
        yield* Process.sendAfter(self, "a", "100 millis")
        const taken = yield* Process.sendAfter(self, "b", 150)
        const synchronous = Process.unsafeSendAfter(self, "c", 200)
        yield* Effect.sleep(99)
        expect(Process.info(self).mailbox.depth).toBe(0)
        expect(taken.cancel()).toBe(true)
        expect([yield* next, yield* next, yield* next]).toEqual(["a", "c", "nothing"])
        expect([taken.cancel(), synchronous.cancel()]).toEqual([false, false])
      })
    )
  )

  behaviour("a process whose mailbox is full and that sends to itself is refused instead of waiting for itself", () =>
    inProcess(
      Effect.gen(function* () {
        const self = yield* Process.self
        expect(yield* Process.send(self, 1)).toBe(true)
        expect(yield* Process.send(self, 2)).toBe(false)
        expect(Process.info(self).mailbox.rejected).toBe(1)
      }),
      { mailbox: { capacity: 1 } }
    )
  )

  behaviour("fibers that a process forks belong to it", () =>
    inProcess(
      Effect.gen(function* () {
        const self = yield* Process.self
        expect(yield* Fiber.join(yield* Effect.fork(Process.self))).toBe(self)
      })
    )
  )

  behaviour("a fiber shows whose it is: forked in any way, closing the scope after the end, or nobody's", () =>
    Effect.gen(function* () {
      const seen: Array<readonly [string, Pid.Pid | null]> = []
      const note = (what: string) =>
        Effect.withFiberRuntime<void>((fiber) => {
          seen.push([what, Process.ofFiber(fiber)])
          return Effect.void
        })
      const pid = yield* Process.spawn(
        Effect.gen(function* () {
          yield* note("own")
          yield* Effect.forEach(
            [Effect.fork(note("fork")), Effect.forkScoped(note("forkScoped")), Effect.forkDaemon(note("forkDaemon"))],
            (fork) => Effect.flatMap(fork, Fiber.join)
          )
          yield* Effect.all([note("parallel"), note("parallel")], { concurrency: 2 })
          const scope = yield* Effect.scope
          yield* Scope.addFinalizer(scope, note("finalizer"))
        })
      )
      yield* Process.awaitExit(pid)
      expect(seen.map(([what]) => what)).toEqual([
        "own",
        "fork",
        "forkScoped",
        "forkDaemon",
        "parallel",
        "parallel",
        "finalizer"
      ])
      expect(seen.filter(([, owner]) => owner !== pid)).toEqual([])
      yield* note("outside")
      expect(seen.at(-1)).toEqual(["outside", null])
    })
  )

  behaviour("what is forked into its scope ends with it, and what comes to the scope later is let go of at once", () =>
    Effect.gen(function* () {
      const ended: Array<string> = []
      const ending = (what: string) => Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended.push(what)))
      let scope: Scope.Scope | undefined
      const pid = yield* Process.spawn(Effect.zipRight(Effect.forkScoped(ending("scoped")), Effect.never))
      yield* settle
      const short = yield* Process.spawn(Effect.flatMap(Effect.scope, (own) => Effect.sync(() => (scope = own))))
      yield* Process.awaitExit(short)
      const late = yield* Effect.forkIn(ending("late"), scope as Scope.Scope)
      yield* Scope.addFinalizer(
        scope as Scope.Scope,
        Effect.sync(() => ended.push("finalizer"))
      )
      yield* Fiber.await(late)
      expect(ended).toContain("finalizer")
      yield* Process.exit(pid, ExitReason.shutdown)
      yield* Process.awaitExit(pid)
      expect(ended).toContain("scoped")
    })
  )

  behaviour("a scope learns how its process ended: what commits on success does not when the work was cut off", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const start = (program: Effect.Effect<unknown, unknown>) =>
        Process.spawn(
          Effect.zipRight(
            Effect.addFinalizer((exit) =>
              Effect.sync(() => {
                seen.push(
                  Exit.isSuccess(exit) ? "commit" : Exit.isInterrupted(exit) ? "rollback: cut off" : "rollback: crash"
                )
              })
            ),
            program
          )
        )
      yield* Process.awaitExit(yield* start(Effect.void))
      yield* Process.awaitExit(yield* start(Effect.die("boom")))
      for (const reason of [ExitReason.shutdown, ExitReason.killed]) {
        const pid = yield* start(Effect.never)
        yield* settle
        yield* Process.exit(pid, reason)
        yield* settle
      }
      expect(seen).toEqual(["commit", "rollback: crash", "rollback: cut off", "rollback: cut off"])
    })
  )

  behaviour("self outside of a process dies and says so", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Process.self as Effect.Effect<unknown>)
      expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toMatch(/outside of a process/)
    })
  )

  behaviour("a timer ends with the process that it is for, and leaves nothing with one that goes on", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.forever(Process.receive))
      yield* settle
      const others = Process.impl(pid).observers?.size ?? 0
      const timers = [yield* Process.sendAfter(pid, 1, "1 hour"), Process.unsafeSendAfter(pid, 2, "1 hour")]
      yield* Process.sendAfter(pid, 3, 10)
      expect((yield* Process.sendAfter(pid, 4, 10)).cancel()).toBe(true)
      yield* Effect.sleep(20)
      expect([Process.info(pid).messagesHandled, Process.impl(pid).observers?.size]).toEqual([1, others + 2])
      yield* Process.exit(pid, ExitReason.killed)
      timers.push(yield* Process.sendAfter(pid, 5, "1 hour"))
      expect(timers.map((timer) => timer.cancel())).toEqual([false, false, false])
    })
  )
})

describe("totals", () => {
  behaviour("count what all processes came to, crashes by their kind", () =>
    Effect.gen(function* () {
      const before = Process.totals()
      const grown = () => {
        const now = Process.totals() as unknown as Record<string, number>
        return Object.fromEntries(
          Object.entries(before).flatMap(([name, count]) => {
            const more = (now[name] as number) - count
            return more === 0 ? [] : [[name, more]]
          })
        )
      }
      for (const program of [Effect.void, Effect.fail("no"), Effect.die("boom"), Effect.die("boom")]) {
        yield* Process.awaitExit(yield* Process.spawn(program))
      }
      expect(grown()).toEqual({ spawned: 4, ended: 1, crashed: 3, failed: 1, died: 2 })

      const stubborn = yield* Process.spawn(Effect.uninterruptible(Effect.sleep(100)))
      yield* settle
      yield* Process.exit(stubborn, ExitReason.killed)
      expect(grown()).toMatchObject({ killed: 1, zombies: 1, spawned: 5 })
      yield* Effect.sleep(100)
      expect(grown()).toEqual({ spawned: 5, ended: 1, killed: 1, crashed: 3, failed: 1, died: 2 })
    })
  )

  behaviour("count time-outs of calls, losses of mailboxes, restarts and supervisors that gave up", () =>
    Effect.gen(function* () {
      const before = Process.totals()
      const full = yield* GenServer.start(Stack, [], { mailbox: { capacity: 1, overflow: "reject" } })
      const asked = yield* Effect.fork(failure(GenServer.call(full, new Work({ ms: 100 }), { timeout: 10 })))
      yield* settle
      for (const push of ["a", "b", "c"]) yield* GenServer.cast(full, { push })
      expect(yield* asked).toBe("CallTimeout")
      const sliding = yield* GenServer.start(Stack, [], { mailbox: { capacity: 1, overflow: "dropOldest" } })
      for (const push of ["a", "b", "c", "d"]) GenServer.unsafeOffer(sliding, { push })
      const crashing = { id: "crashing", start: Process.spawnLink(Effect.delay(Effect.die("boom"), 1)) }
      const supervisor = yield* Supervisor.start({ children: [crashing], maxRestarts: 2 })
      yield* Process.awaitExit(supervisor)
      const { callTimeouts, escalations, messagesDropped, messagesRejected, restarts } = Process.totals()
      expect({
        callTimeouts: callTimeouts - before.callTimeouts,
        messagesRejected: messagesRejected - before.messagesRejected,
        messagesDropped: messagesDropped - before.messagesDropped,
        restarts: restarts - before.restarts,
        escalations: escalations - before.escalations
      }).toEqual({ callTimeouts: 1, messagesRejected: 2, messagesDropped: 3, restarts: 2, escalations: 1 })
    })
  )

  behaviour("are metrics too, each under its name", () =>
    Effect.gen(function* () {
      const registry = new MetricRegistry()
      registry.register(...ProcessMetrics.readers)
      yield* Process.awaitExit(yield* Process.spawn(Effect.die("boom")))
      const pid = yield* Process.spawn(Effect.never)
      const { alive, callTimeouts, died, messagesDropped, restarts, spawned } = Process.totals()
      expect(Process.isAlive(pid)).toBe(true)
      const text = registry.render()
      for (const line of [
        `mimosa_processes ${alive}`,
        "mimosa_process_zombies 0",
        `mimosa_processes_spawned_total ${spawned}`,
        `mimosa_processes_ended_total{reason="defect"} ${died}`,
        `mimosa_process_restarts_total ${restarts}`,
        `mimosa_call_timeouts_total ${callTimeouts}`,
        `mimosa_mailbox_losses_total{policy="dropOldest"} ${messagesDropped}`
      ]) {
        expect(text.split("\n")).toContain(line)
      }
    })
  )
})
