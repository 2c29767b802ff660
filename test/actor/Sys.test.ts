/** Ported behaviours: OTP, lib/stdlib/test/sys_SUITE.erl (O); crash reports and time are our own. */
import { inspect } from "node:util"
import { it as effectIt, describe as group } from "@effect/vitest"
import {
  Cause,
  Clock,
  Duration,
  Effect,
  Exit,
  Fiber,
  HashMap,
  Logger,
  Option,
  Redacted,
  Request,
  TestClock
} from "effect"
import { describe, expect, it } from "vitest"
import { ExitReason, GenServer, Process, Supervisor, Sys } from "../../src/actor/index.ts"
import { shapeOf } from "../../src/actor/internal/shape.ts"
import * as Timers from "../../src/actor/internal/timers.ts"
import { Simulation } from "../../src/testing/index.ts"
import { behaviour, failure, Noreply, Pop, Size, Stack, settle, Work } from "./support.ts"

describe("Sys", () => {
  behaviour("getState shows the state, and replaceState changes it (O)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      expect(yield* Sys.getState(stack)).toEqual(["a"])
      expect(yield* Sys.replaceState(stack, () => ["b", "c"])).toEqual(["b", "c"])
      expect(yield* GenServer.call(stack, new Pop())).toBe("b")
    })
  )

  behaviour("a replaceState that throws is its asker's defect, and the server keeps its state (O)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      const replaced = Sys.replaceState(stack, () => {
        throw new Error("no state")
      })
      expect(yield* Effect.flip(Effect.sandbox(replaced))).toMatchObject({
        _tag: "Die",
        defect: { message: "no state" }
      })
      expect(yield* Sys.getState(stack)).toEqual(["a"])
    })
  )

  behaviour("a suspended server takes no messages until it is resumed, and then all of them (O)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      yield* Sys.suspend(stack)
      expect(Process.info(stack).status).toBe("suspended")
      yield* GenServer.cast(stack, { push: "a" })
      expect(yield* failure(GenServer.call(stack, new Size(), { timeout: 100 }))).toBe("CallTimeout")
      expect(yield* Sys.getState(stack)).toEqual([])
      yield* Sys.resume(stack)
      expect(yield* GenServer.call(stack, new Size())).toBe(1)
    })
  )

  behaviour("a suspended server can still be stopped, by stop and by its parent (O)", () =>
    Effect.gen(function* () {
      const first = yield* GenServer.start(Stack, [])
      yield* Sys.suspend(first)
      yield* GenServer.stop(first)
      expect(Process.exitReason(first)).toEqual(ExitReason.normal)
      const second = yield* Effect.scoped(Effect.tap(GenServer.start(Stack, []), Sys.suspend))
      expect(Process.exitReason(second)).toEqual(ExitReason.shutdown)
    })
  )

  behaviour("trace tells what comes in, what is answered and the states, until untrace (O)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      const seen: Array<Sys.TraceEvent> = []
      yield* Sys.trace(stack, (event) => seen.push(event))
      yield* GenServer.cast(stack, { push: "b" })
      yield* GenServer.call(stack, new Pop())
      yield* Process.send(stack, "c")
      yield* Sys.untrace(stack)
      yield* GenServer.call(stack, new Size())
      expect(seen.map((event) => (event._tag === "In" ? event.kind : event._tag))).toEqual([
        "cast",
        "State",
        "call",
        "Out",
        "State",
        "info",
        "State"
      ])
      expect(seen[3]).toMatchObject({ _tag: "Out", answer: "b", pid: stack })
    })
  )

  behaviour("a trace handler that throws is removed, and the server goes on (O)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      let events = 0
      yield* Sys.trace(stack, () => {
        events++
        throw new Error("cannot look")
      })
      yield* GenServer.cast(stack, { push: "b" })
      expect(yield* GenServer.call(stack, new Pop())).toBe("b")
      expect([events, Process.isAlive(stack)]).toEqual([1, true])
    })
  )

  behaviour("getStatus says what can be said (O)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      yield* GenServer.call(stack, new Size())
      expect(yield* Sys.getStatus(stack)).toMatchObject({
        server: "stack",
        label: "stack",
        status: "running",
        state: ["a"],
        mailbox: { depth: 0, capacity: 1024, taken: 1 }
      })
    })
  )

  behaviour("a plain process answers none of it", () =>
    Effect.gen(function* () {
      const pid = yield* Process.spawn(Effect.never)
      expect(String(yield* Effect.sandbox(Sys.getState(pid)).pipe(Effect.flip))).toMatch(/plain process/)
    })
  )
})

describe("crash reports", () => {
  const logged = (program: Effect.Effect<unknown, unknown>) => {
    const lines: Array<{
      readonly message: unknown
      readonly level: string
      readonly fields: Record<string, unknown>
    }> = []
    const logger = Logger.make(({ annotations, cause, logLevel, message }) => {
      const fields = { ...Object.fromEntries(HashMap.toEntries(annotations)), cause: Cause.pretty(cause) }
      lines.push({ message: Array.isArray(message) ? message[0] : message, level: logLevel.label, fields })
    })
    const simulation = Simulation.make({ seed: 1 })
    simulation.run(Effect.provide(program, Logger.replace(Logger.defaultLogger, logger)))
    simulation.advance(1000)
    return lines
  }

  it("name the process, the reason, the last message and the shape of the state, and no content of either", () => {
    const lines = logged(
      Effect.scoped(
        Effect.gen(function* () {
          const stack = yield* GenServer.start(Stack, ["secret-1", "secret-2"])
          yield* GenServer.cast(stack, { crash: new Error("boom") })
          yield* settle
        })
      )
    )
    expect(lines).toMatchObject([
      {
        message: "process crashed",
        level: "ERROR",
        fields: {
          server: "stack",
          reason: "crash: Error: boom",
          lastMessage: "cast {crash: Error}",
          state: "array(2)",
          messagesHandled: 1
        }
      }
    ])
    expect(JSON.stringify(lines)).not.toMatch(/secret/)
  })

  it("are written for crashes only: not for normal ends, shutdowns and kills", () => {
    const lines = logged(
      Effect.scoped(
        Effect.gen(function* () {
          for (const reason of [ExitReason.normal, ExitReason.shutdown, ExitReason.killed]) {
            yield* Process.exit(yield* GenServer.start(Stack, []), reason)
          }
        })
      )
    )
    expect(lines).toEqual([])
  })

  it("say what the server was at: init, the request, a time-out, a continuation", () => {
    class Log extends Request.TaggedClass("Log")<never, never, { readonly line: string }> {}
    const crashing = (init: () => GenServer.Start<null, string>) =>
      GenServer.define<{ call: Log; info: { readonly n: number }; continue: string }>()({
        name: "crashing",
        init,
        handleCall: { Log: () => Effect.die("boom") },
        handleInfo: () => Effect.die("boom"),
        handleContinue: () => Effect.die("boom")
      })
    const reports = (
      init: () => GenServer.Start<null, string>,
      then: (pid: GenServer.ServerRef<Log, never, { readonly n: number }>) => Effect.Effect<unknown, unknown>
    ) =>
      logged(
        Effect.scoped(
          Effect.gen(function* () {
            const pid = yield* GenServer.start(crashing(init), undefined)
            yield* Effect.zipRight(Effect.exit(then(pid)), Effect.sleep(100))
          }).pipe(Effect.exit)
        )
      ).map(({ fields }) => fields.lastMessage)
    const plain = () => GenServer.Ok(null)
    expect(
      reports(
        () => {
          throw new Error("boom")
        },
        () => Effect.void
      )
    ).toEqual(["init"])
    expect(reports(plain, (pid) => GenServer.call(pid, new Log({ line: "tell no one" })))).toEqual([
      "call Log{line: string(11)}"
    ])
    expect(reports(plain, (pid) => Process.send(pid, { n: 4711 }))).toEqual(["info {n: number}"])
    expect(
      reports(
        () => GenServer.Ok(null, { timeout: 10 }),
        () => Effect.void
      )
    ).toEqual(["info Timeout"])
    expect(
      reports(
        () => GenServer.Ok(null, { continue: "load" }),
        () => Effect.void
      )
    ).toEqual(["continue string(4)"])
  })

  it("tell no secret: not of the message, not of the state, not of what was failed with", () => {
    class Login extends Request.TaggedClass("Login")<
      never,
      never,
      { readonly user: string; readonly password: string; readonly key: Redacted.Redacted }
    > {}
    const Vault = GenServer.define<{ call: Login }>()({
      name: "vault",
      init: () =>
        GenServer.Ok({
          accessToken: "hunter2",
          headers: { "set-cookie": "hunter2", authorization: "hunter2", accept: "text/html" },
          sessions: { "hunter2:0:1": 1 },
          apiKeys: ["hunter2"],
          client_secret: "hunter2",
          key: Redacted.make("hunter2")
        }),
      handleCall: { Login: () => Effect.fail({ why: "hunter2", token: "hunter2" }) }
    })
    const lines = logged(
      Effect.scoped(
        Effect.gen(function* () {
          const vault = yield* GenServer.start(Vault, undefined)
          yield* Effect.exit(
            GenServer.call(vault, new Login({ user: "Ada", password: "hunter2", key: Redacted.make("hunter2") }))
          )
          for (const value of [["hunter2"], { password: "hunter2" }, Redacted.make("hunter2")]) {
            yield* Process.awaitExit(yield* Process.spawn(Effect.fail(value)))
            yield* Process.awaitExit(yield* Process.spawn(Effect.die(value)))
          }
        })
      )
    )
    expect(lines[0]?.fields).toMatchObject({
      reason: "crash: {why: string(7), token: redacted}",
      lastMessage: "call Login{user: string(3), password: redacted, key: redacted}",
      state:
        "{accessToken: redacted, headers: {set-cookie: redacted, authorization: redacted, accept: string(9)}, " +
        "sessions: record(1), apiKeys: redacted, client_secret: redacted, key: redacted}"
    })
    expect(lines).toHaveLength(7)
    expect(inspect(lines, { depth: 9 })).not.toMatch(/hunter2/)
  })

  it("are made of finalizers too: one that fails is a crash, unless the process has crashed or was killed", () => {
    const reasons: Array<string | undefined> = []
    const lines = logged(
      Effect.scoped(
        Effect.gen(function* () {
          for (const program of [Effect.void, Effect.die("first"), Effect.never]) {
            const leaking = Effect.addFinalizer(() => Effect.die(new Error("leak")))
            const pid = yield* Process.spawn(Effect.zipRight(leaking, program))
            yield* settle
            yield* Process.exit(pid, ExitReason.killed)
            yield* settle
            reasons.push(Process.exitReason(pid)?._tag)
          }
        })
      )
    )
    expect(reasons).toEqual(["crash", "crash", "killed"])
    expect(lines.map(({ fields }) => fields.reason)).toEqual([
      "crash: Error: leak",
      "crash: first",
      "crash: Error: leak"
    ])
  })

  it("are not made of a trace handler that throws: one warning says that it was removed", () => {
    const lines = logged(
      Effect.scoped(
        Effect.gen(function* () {
          const stack = yield* GenServer.start(Stack, ["secret"])
          yield* Sys.trace(stack, () => {
            throw { state: "secret" }
          })
          for (let i = 0; i < 3; i++) yield* GenServer.call(stack, new Size())
        })
      )
    )
    expect(lines).toMatchObject([{ message: "trace handler removed: it threw", level: "WARN" }])
    expect(inspect(lines, { depth: 9 })).not.toMatch(/secret/)
  })

  it("of a supervised process are followed by what its supervisor does", () => {
    const lines = logged(
      Effect.scoped(
        Effect.gen(function* () {
          const children = [{ id: "job", start: Process.spawnLink(Effect.delay(Effect.die("boom"), 10)) }]
          yield* Supervisor.start({ label: "top", children, maxRestarts: 1 })
          yield* Effect.sleep(100)
        })
      )
    )
    expect(lines.map(({ fields, message }) => fields.action ?? message)).toEqual([
      "process crashed",
      "restart (one_for_one)",
      "process crashed",
      "gave up: reached maximum restart intensity"
    ])
  })

  it("describe shapes by fields, sizes and classes, to a limited depth, and ask no getter", () => {
    class Account {
      readonly _tag = "Account"
      readonly owner = "Ada"
      readonly tags = new Set([1, 2])
      readonly deep = { inner: { token: "abc" } }
      readonly limit = 12
      readonly isOpen = true
    }
    expect(shapeOf(new Account())).toBe(
      "Account{owner: string(3), tags: Set(2), deep: {inner: {…}}, limit: number, isOpen: true}"
    )
    const trap = Object.defineProperty({}, "name", { enumerable: true, get: () => expect.unreachable() })
    expect(shapeOf(trap)).toBe("{name: getter}")
    expect(
      [null, undefined, "abc", [1], new Map([["k", 1]]), Buffer.from("abc")].map((value) => shapeOf(value))
    ).toEqual(["null", "undefined", "string(3)", "array(1)", "Map(1)", "Buffer(3 bytes)"])
  })
})

describe("time-outs", () => {
  class Bell extends Timers.Timer {
    readonly #ring: () => void
    constructor(ring: () => void) {
      super()
      this.#ring = ring
    }
    override onDue(): void {
      this.#ring()
    }
  }

  it("fall due in order whatever their delays and however they are set and cancelled (random, against a model)", () => {
    for (let seed = 0; seed < 200; seed++) {
      const simulation = Simulation.make({ seed })
      const { random } = simulation
      const timers = Timers.of(simulation.clock)
      const due: Array<[number, number]> = []
      const expected: Array<[number, number]> = []
      const set: Array<{ bell: Bell; atMs: number; id: number }> = []
      for (let id = 0; id < 100; id++) {
        if (random.chance(0.3) && set.length > 0) Timers.cancel(set.splice(random.int(set.length), 1)[0]?.bell as Bell)
        else {
          const delayMs = random.pick([0, 5, 5, 5, 20, 100])
          const bell = new Bell(() => due.push([simulation.nowMs, id]))
          timers.set(bell, delayMs)
          set.push({ bell, atMs: simulation.nowMs + delayMs, id })
        }
        if (random.chance(0.5)) simulation.advance(random.int(10))
        for (let i = set.length - 1; i >= 0; i--) {
          const { atMs, id } = set[i] as { atMs: number; id: number }
          if (atMs < simulation.nowMs || (atMs === simulation.nowMs && (set[i] as { bell: Bell }).bell.list === null)) {
            expected.push([atMs, id])
            set.splice(i, 1)
          }
        }
      }
      simulation.advance(1000)
      for (const { atMs, id } of set) expected.push([atMs, id])
      const byId = (a: readonly number[], b: readonly number[]) => (a[1] as number) - (b[1] as number)
      expect([...due].sort(byId), `seed ${seed}`).toEqual(expected.sort(byId))
      expect(due.map(([atMs]) => atMs)).toEqual(due.map(([atMs]) => atMs).sort((a, b) => a - b))
      expect(timers.size).toBe(0)
    }
  })

  it("may be set and cancelled from within each other", () => {
    const simulation = Simulation.make({ seed: 1 })
    const timers = Timers.of(simulation.clock)
    const seen: Array<string> = []
    const victim = new Bell(() => seen.push("victim"))
    const again = new Bell(() => seen.push(`again@${simulation.nowMs}`))
    timers.set(
      new Bell(() => {
        seen.push("first")
        Timers.cancel(victim)
        timers.set(again, 10)
      }),
      10
    )
    timers.set(victim, 10)
    simulation.advance(100)
    expect(seen).toEqual(["first", "again@20"])
  })

  it("of calls that were answered leave nothing set", () => {
    const simulation = Simulation.make({ seed: 1 })
    const program = Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      for (let i = 0; i < 100; i++) yield* GenServer.call(stack, new Size(), { timeout: 1000 + (i % 7) })
      return Timers.of(yield* Clock.clockWith(Effect.succeed)).size
    })
    expect(simulation.run(Effect.scoped(program))).toMatchObject({ value: 0 })
  })

  it("of servers that may be idle for ever are none", () => {
    const simulation = Simulation.make({ seed: 1 })
    const Idle = GenServer.define<{ info: string }>()({
      name: "idle",
      init: () => GenServer.Ok(null, { timeout: Duration.infinity }),
      handleInfo: (_, state) => GenServer.NoReply(state, { timeout: Duration.infinity })
    })
    const program = Effect.gen(function* () {
      const idle = yield* GenServer.start(Idle, undefined, { timeout: Duration.infinity })
      yield* Process.send(idle, "hello")
      yield* settle
      return [simulation.clock.pending, Process.info(idle).messagesHandled]
    })
    expect(simulation.run(Effect.scoped(program))).toEqual(Exit.succeed([0, 1]))
  })

  it("that never come hold no alarm", () => {
    const simulation = Simulation.make({ seed: 1 })
    const program = Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      const asked = yield* Effect.fork(GenServer.call(stack, new Noreply(), { timeout: Duration.infinity }))
      yield* Effect.yieldNow()
      expect(simulation.clock.pending).toBe(0)
      yield* Fiber.interrupt(asked)
    })
    simulation.run(Effect.scoped(program))
  })
})

group("under Effect's TestClock", () => {
  effectIt.scoped("a call times out when the clock is moved, and not before", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      const asked = yield* Effect.fork(failure(GenServer.call(stack, new Noreply(), { timeout: "10 seconds" })))
      yield* Effect.yieldNow()
      yield* TestClock.adjust("9 seconds")
      expect(asked.unsafePoll()).toBe(null)
      yield* TestClock.adjust("1 seconds")
      expect(yield* Fiber.join(asked)).toBe("CallTimeout")
    })
  )

  effectIt.scoped("a supervisor's shutdown time-out is the clock's too", () =>
    Effect.gen(function* () {
      const start = Process.spawnLink(Effect.forever(Process.receive), { trapExit: true })
      const supervisor = yield* Supervisor.start({ children: [{ id: "deaf", start, shutdown: "1 minute" }] })
      const stopping = yield* Effect.fork(Supervisor.stop(supervisor))
      yield* Effect.yieldNow()
      yield* TestClock.adjust("59 seconds")
      expect(Process.isAlive(supervisor)).toBe(true)
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(stopping)
      expect(Process.isAlive(supervisor)).toBe(false)
    })
  )

  effectIt.live("the live clock works as well", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const stack = yield* GenServer.start(Stack, [])
        expect(yield* failure(GenServer.call(stack, new Noreply(), { timeout: 5 }))).toBe("CallTimeout")
        expect(yield* GenServer.call(stack, new Work({ ms: 1 }))).toBe("done")
        expect(Option.isSome(yield* Effect.timeoutOption(GenServer.stop(stack), 5000))).toBe(true)
      })
    )
  )
})
