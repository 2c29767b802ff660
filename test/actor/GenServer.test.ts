/**
 * Ported behaviours: Elixir, lib/elixir/test/elixir/gen_server_test.exs (E); OTP, lib/stdlib/test/gen_server_SUITE.erl
 * (O). Those without a letter are our own.
 */
import { Cause, Deferred, Duration, Effect, Fiber, Option, Request, Schema } from "effect"
import { describe, expect } from "vitest"
import { ExitReason, GenServer, type Pid, Process, Registry } from "../../src/actor/index.ts"
import {
  behaviour,
  boom,
  failure,
  inProcess,
  Noreply,
  next,
  Pop,
  Size,
  Stack,
  type StackRef,
  StopWith,
  settle,
  trapping,
  Work
} from "./support.ts"

describe("start and startLink", () => {
  behaviour("startLink gives a pid that is linked to its parent and answers (E)", () =>
    trapping(
      Effect.gen(function* () {
        const stack = yield* GenServer.startLink(Stack, ["hello"])
        const self = yield* Process.self
        expect(Process.info(self).links).toBe(1)
        expect(yield* GenServer.call(stack, new Pop())).toBe("hello")
        yield* GenServer.stop(stack)
        expect(yield* next).toMatchObject({ _tag: "Exit", pid: stack, reason: { _tag: "normal" } })
        expect(Process.info(self).links).toBe(0)
      })
    )
  )

  behaviour("start links to nobody, and the scope stops it (E)", () =>
    Effect.gen(function* () {
      const stack = yield* Effect.scoped(
        inProcess(
          Effect.gen(function* () {
            const stack = yield* GenServer.start(Stack, ["hello"])
            expect(Process.info(yield* Process.self).links).toBe(0)
            expect(yield* GenServer.call(stack, new Pop())).toBe("hello")
            return stack
          })
        )
      )
      expect(Process.exitReason(stack)).toEqual(ExitReason.shutdown)
    })
  )

  behaviour("a name that is taken gives AlreadyStarted with the pid that has it (E)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const name = Registry.via<StackRef>(names, "stack")
      const first = yield* GenServer.start(Stack, ["hello"], { name })
      const error = yield* Effect.flip(GenServer.start(Stack, ["again"], { name }))
      expect(error).toMatchObject({ _tag: "AlreadyStarted", key: "stack", pid: first })
      expect(yield* GenServer.call(name, new Pop())).toBe("hello")
    })
  )

  behaviour(
    "an init that says Ignore gives StartIgnored, leaves no process or name, and its parent gets no exit signal (E, O)",
    () =>
      trapping(
        Effect.gen(function* () {
          const names = yield* Registry.make({ keys: "unique" })
          const Ignoring = GenServer.define()({ name: "ignoring", init: () => GenServer.Ignore })
          const started = GenServer.startLink(Ignoring, undefined, { name: Registry.via(names, "ignoring") })
          expect(yield* failure(started)).toBe("StartIgnored")
          expect(yield* Registry.count(names)).toBe(0)
          expect(yield* next).toBe("nothing")
        })
      )
  )

  behaviour("an init that says Stop gives StartFailed with its reason, and its parent gets no exit signal (E, O)", () =>
    trapping(
      Effect.gen(function* () {
        const Stopping = GenServer.define()({ name: "stopping", init: () => GenServer.Stop(boom) })
        const error = yield* Effect.flip(GenServer.startLink(Stopping, undefined))
        expect(error).toMatchObject({ _tag: "StartFailed", label: "stopping", reason: boom })
        expect(yield* next).toBe("nothing")
      })
    )
  )

  behaviour("an init that dies or fails gives StartFailed with its cause (E, O)", () =>
    trapping(
      Effect.gen(function* () {
        const Dying = GenServer.define()({
          name: "dying",
          init: (): GenServer.Start<number, never> => {
            throw new Error("no database")
          }
        })
        const Failing = GenServer.define()({
          name: "failing",
          init: () => Effect.as(Effect.fail("no disk" as const), GenServer.Ok(0))
        })
        const died = yield* Effect.flip(GenServer.startLink(Dying, undefined))
        expect(died.message).toBe("dying did not start (crash: Error: no database)")
        const failed = yield* Effect.flip(GenServer.startLink(Failing, undefined))
        expect(failed).toMatchObject({ _tag: "StartFailed", reason: ExitReason.crash(Cause.fail("no disk")) })
      })
    )
  )

  behaviour("a parent that does not trap exits survives a child whose init fails", () =>
    inProcess(
      Effect.gen(function* () {
        const Stopping = GenServer.define()({ name: "stopping", init: () => GenServer.Stop(boom) })
        expect(yield* failure(GenServer.startLink(Stopping, undefined))).toBe("StartFailed")
        yield* settle
        expect(Process.isAlive(yield* Process.self)).toBe(true)
      })
    )
  )

  behaviour("an init that takes longer than the time-out is killed (E, O)", () =>
    inProcess(
      Effect.gen(function* () {
        const Slow = GenServer.define()({
          name: "slow",
          init: () => Effect.as(Effect.sleep("1 minute"), GenServer.Ok(0))
        })
        const error = yield* Effect.flip(GenServer.startLink(Slow, undefined, { timeout: "1 second" }))
        expect(error).toMatchObject({ _tag: "StartTimeout", timeoutMs: 1000 })
      })
    )
  )

  behaviour("who is interrupted while it waits for init takes the process along", () =>
    Effect.gen(function* () {
      const alive = Process.totals().alive
      const Slow = GenServer.define()({ name: "slow", init: () => Effect.as(Effect.never, GenServer.Ok(0)) })
      expect(Option.isNone(yield* Effect.timeoutOption(GenServer.start(Slow, undefined), "1 second"))).toBe(true)
      expect(Process.totals().alive).toBe(alive)
    })
  )

  behaviour("the name is registered before init runs (O)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      let isThere = false
      const Looking = GenServer.define()({
        name: "looking",
        init: () => {
          isThere = Registry.unsafeWhereis(names, "me") !== null
          return GenServer.Ok(0)
        }
      })
      yield* GenServer.start(Looking, undefined, { name: Registry.via(names, "me") })
      expect(isThere).toBe(true)
    })
  )

  behaviour("the name of a server that does not start is free when its start returns (O)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const name = Registry.via(names, "picky")
      for (const says of [GenServer.Ignore, GenServer.Stop(ExitReason.normal)]) {
        const Picky = GenServer.define()({ name: "picky", init: () => says })
        for (let i = 0; i < 3; i++) {
          expect(yield* failure(GenServer.start(Picky, undefined, { name }))).not.toBe("AlreadyStarted")
          expect(GenServer.whereis(name)).toBe(null)
        }
      }
    })
  )

  behaviour("whereis finds the process of a pid and of a name, and null where nobody is (E)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const name = Registry.via<StackRef>(names, "stack")
      const stack = yield* GenServer.start(Stack, [], { name })
      expect([GenServer.whereis(stack), GenServer.whereis(name)]).toEqual([stack, stack])
      expect(GenServer.whereis(Registry.via(names, "nobody"))).toBe(null)
    })
  )

  behaviour("a server started where nothing can be interrupted can be interrupted all the same", () =>
    Effect.gen(function* () {
      const stack = yield* Effect.uninterruptible(GenServer.start(Stack, []))
      yield* Process.exit(stack, ExitReason.shutdown)
      expect(yield* Process.awaitExit(stack)).toEqual(ExitReason.shutdown)
    })
  )

  behaviour("giving up on an init ends the server and leaves its parent alone", () =>
    inProcess(
      Effect.gen(function* () {
        const Slow = GenServer.define<GenServer.Protocol>()({ name: "slow", init: () => Effect.never })
        const started = yield* Effect.timeoutOption(GenServer.startLink(Slow, undefined), 10)
        yield* settle
        expect(Option.isNone(started)).toBe(true)
        expect(Process.list().filter(({ label }) => label === "slow")).toEqual([])
      })
    )
  )
})

describe("call", () => {
  behaviour("answers with the request's type, from a pid and from a name (E)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const name = Registry.via<StackRef>(names, "stack")
      const stack = yield* GenServer.start(Stack, ["a", "b"], { name })
      const first: string | undefined = yield* GenServer.call(stack, new Pop())
      const second: string | undefined = yield* GenServer.call(name, new Pop())
      expect([first, second]).toEqual(["a", "b"])
    })
  )

  behaviour("a typed error of the request comes to the caller, and the server goes on", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      expect(yield* Effect.flip(GenServer.call(stack, new Pop()))).toBe("empty")
      expect(yield* GenServer.call(stack, new Size())).toBe(0)
    })
  )

  behaviour("a dead server is NoProcess at once (E)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      yield* GenServer.stop(stack)
      const error = yield* Effect.flip(GenServer.call(stack, new Size()))
      expect(error).toMatchObject({ _tag: "NoProcess" })
      expect(error.message).toMatch(/^<0\.\d+ stack> is not alive$/)
    })
  )

  behaviour("a name that nobody has is NoProcess (E)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const error = yield* Effect.flip(GenServer.call(Registry.via<StackRef>(names, "nobody"), new Size()))
      expect(error.message).toBe('"nobody" is not alive')
    })
  )

  behaviour("times out after 5 seconds unless told otherwise (E)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      const [byDefault, error] = yield* Effect.timed(Effect.flip(GenServer.call(stack, new Noreply())))
      expect(Duration.toMillis(byDefault)).toBe(5000)
      expect(error).toMatchObject({ _tag: "CallTimeout", request: "Noreply", timeoutMs: 5000 })
      const asked = Effect.timed(failure(GenServer.call(stack, new Noreply(), { timeout: "1 second" })))
      expect((yield* asked).map(String)).toEqual([String(Duration.seconds(1)), "CallTimeout"])
    })
  )

  behaviour("calling itself dies instead of waiting for itself (E)", () =>
    Effect.gen(function* () {
      class AskYourself extends Request.TaggedClass("AskYourself")<string, never, object> {}
      type Protocol = { readonly call: AskYourself }
      const Selfish = GenServer.define<Protocol>()({
        name: "selfish",
        init: () => GenServer.Ok(0),
        handleCall: {
          AskYourself: (_, state) =>
            Effect.gen(function* () {
              const self = (yield* Process.self) as GenServer.RefOf<Protocol>
              return GenServer.Reply(yield* GenServer.call(self, new AskYourself()), state)
            })
        }
      })
      const selfish = yield* GenServer.start(Selfish, undefined)
      const error = yield* Effect.flip(GenServer.call(selfish, new AskYourself()))
      expect(error.message).toMatch(/called itself/)
    })
  )

  behaviour("calling itself in another fiber that it waits for ends by the time-out, which says so", () =>
    Effect.gen(function* () {
      class AskYourself extends Request.TaggedClass("AskYourself")<string, never, object> {}
      type Protocol = { readonly call: AskYourself }
      const Selfish = GenServer.define<Protocol>()({
        name: "selfish",
        init: () => GenServer.Ok(0),
        handleCall: {
          AskYourself: (_, state) =>
            Effect.gen(function* () {
              const self = (yield* Process.self) as GenServer.RefOf<Protocol>
              const asked = GenServer.call(self, new AskYourself(), { timeout: "1 second" })
              const error = yield* Effect.flip(Effect.timeout(asked, "10 seconds"))
              return GenServer.Reply(error.message, state)
            })
        }
      })
      const selfish = yield* GenServer.start(Selfish, undefined)
      expect(yield* GenServer.call(selfish, new AskYourself())).toBe(
        `AskYourself to ${selfish} got no answer within 1000 ms; ` +
          `it came from a fiber of ${selfish} itself, whose callback must not wait for that fiber`
      )
    })
  )

  behaviour("a fiber that a callback has forked may ask the server, which answers when the callback is done", () =>
    Effect.gen(function* () {
      class Later extends Request.TaggedClass("Later")<void, never, object> {}
      const answers: Array<number> = []
      type Protocol = { readonly call: Later | Size }
      const Asking = GenServer.define<Protocol>()({
        name: "asking",
        init: () => GenServer.Ok(7),
        handleCall: {
          Size: (_, state) => GenServer.Reply(state, state),
          Later: (_, state) =>
            Effect.gen(function* () {
              const self = (yield* Process.self) as GenServer.RefOf<Protocol>
              const asking = Effect.map(GenServer.call(self, new Size()), (size) => answers.push(size))
              yield* Effect.forkScoped(asking)
              yield* Effect.sleep(100)
              return GenServer.Reply(undefined, state)
            })
        }
      })
      const server = yield* GenServer.start(Asking, undefined)
      yield* GenServer.call(server, new Later())
      yield* settle
      expect(answers).toEqual([7])
    })
  )

  behaviour("a server that crashes on a request gives its caller ProcessExited with the cause (E)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      const calls = yield* Effect.fork(Effect.flip(GenServer.call(stack, new Work({ ms: 10 }))))
      yield* settle
      const queued = yield* Effect.fork(Effect.flip(GenServer.call(stack, new Size())))
      yield* settle
      yield* Process.exit(stack, boom)
      for (const error of [yield* Fiber.join(calls), yield* Fiber.join(queued)]) {
        expect(error).toMatchObject({ _tag: "ProcessExited", pid: stack, reason: boom })
      }
    })
  )

  behaviour("a request without a clause crashes the server, and says which (E)", () =>
    Effect.gen(function* () {
      class Unknown extends Request.TaggedClass("Unknown")<string, never, object> {}
      const stack = yield* GenServer.start(Stack, [])
      const error = yield* Effect.flip(GenServer.call(stack as unknown as GenServer.ServerRef<Unknown>, new Unknown()))
      expect(error.message).toMatch(/stack has no clause for Unknown in handleCall/)
    })
  )

  behaviour("requests are served in the order in which one caller makes them (O)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      for (const push of ["1", "2", "3"]) yield* GenServer.cast(stack, { push })
      expect(yield* GenServer.call(stack, new Pop())).toBe("3")
      expect(yield* GenServer.call(stack, new Pop())).toBe("2")
    })
  )

  behaviour("a request whose caller timed out in the queue is not served", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      const busy = yield* Effect.fork(GenServer.call(stack, new Work({ ms: 2000 })))
      yield* settle
      expect(yield* failure(GenServer.call(stack, new StopWith({ reason: boom }), { timeout: 1000 }))).toBe(
        "CallTimeout"
      )
      yield* Fiber.join(busy)
      expect(yield* GenServer.call(stack, new Size())).toBe(1)
    })
  )

  behaviour("a request whose caller was interrupted in the queue is not served", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      const busy = yield* Effect.fork(GenServer.call(stack, new Work({ ms: 2000 })))
      yield* settle
      const given = yield* Effect.fork(GenServer.call(stack, new StopWith({ reason: boom })))
      yield* settle
      yield* Fiber.interrupt(given)
      yield* Fiber.join(busy)
      expect(yield* GenServer.call(stack, new Size())).toBe(1)
    })
  )

  behaviour("a late answer to a caller that has timed out goes nowhere (O)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      expect(yield* failure(GenServer.call(stack, new Work({ ms: 2000, id: "late" }), { timeout: 1000 }))).toBe(
        "CallTimeout"
      )
      yield* Effect.sleep(2000)
      expect(yield* GenServer.call(stack, new Pop())).toBe("a")
    })
  )

  behaviour("requests described by Schema are requests like any other", () =>
    Effect.gen(function* () {
      class Double extends Schema.TaggedRequest<Double>()("Double", {
        failure: Schema.Never,
        success: Schema.Number,
        payload: { n: Schema.Number }
      }) {}
      const Doubler = GenServer.define<{ readonly call: Double }>()({
        name: "doubler",
        init: () => GenServer.Ok(null),
        handleCall: { Double: ({ n }, state) => GenServer.Reply(2 * n, state) }
      })
      const doubler = yield* GenServer.start(Doubler, undefined)
      const four: number = yield* GenServer.call(doubler, new Double({ n: 2 }))
      expect(four).toBe(4)
    })
  )

  behaviour("a callback that is an Effect runs in the span of its caller", () =>
    Effect.gen(function* () {
      const spans: Array<string> = []
      class Where extends Request.TaggedClass("Where")<string, never, object> {}
      const Traced = GenServer.define<{ readonly call: Where }>()({
        name: "traced",
        init: () => GenServer.Ok(null),
        handleCall: {
          Where: (_, state) =>
            Effect.gen(function* () {
              const span = yield* Effect.orDie(Effect.currentSpan)
              spans.push(span.name, Option.getOrThrow(span.parent).spanId)
              return GenServer.Reply("here", state)
            })
        }
      })
      const traced = yield* GenServer.start(Traced, undefined)
      const outer = yield* Effect.withSpan(
        Effect.gen(function* () {
          const span = yield* Effect.orDie(Effect.currentSpan)
          yield* GenServer.call(traced, new Where())
          return span.spanId
        }),
        "outer"
      )
      expect(spans).toEqual(["traced.Where", outer])
    })
  )

  behaviour("a fiber that a server has forked may call it", () =>
    Effect.gen(function* () {
      const heard = yield* Deferred.make<number>()
      const Curious = GenServer.define<{ readonly call: Size }>()({
        name: "curious",
        init: () =>
          Effect.gen(function* () {
            const self = (yield* Process.self) as GenServer.ServerRef<Size>
            yield* Effect.forkScoped(Effect.intoDeferred(GenServer.call(self, new Size()), heard as never))
            return GenServer.Ok(7)
          }),
        handleCall: { Size: (_, state) => GenServer.Reply(state, state) }
      })
      yield* GenServer.start(Curious, undefined)
      expect(yield* Deferred.await(heard)).toBe(7)
    })
  )

  behaviour("a time-out that is no number is over at once, as Effect's durations have it", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      expect(yield* failure(GenServer.call(stack, new Noreply(), { timeout: Number.NaN }))).toBe("CallTimeout")
    })
  )
})

describe("answers from elsewhere", () => {
  class Ask extends Request.TaggedClass("Ask")<string, "no", object> {}
  type Protocol = { readonly call: Ask; readonly cast: "answer" | "refuse" | "twice" }
  const Deferring = GenServer.define<Protocol>()({
    name: "deferring",
    init: () => GenServer.Ok<ReadonlyArray<GenServer.FromOf<Ask>>>([]),
    handleCall: { Ask: (_, waiting, from) => GenServer.NoReply([...waiting, from]) },
    handleCast: (message, waiting) =>
      Effect.gen(function* () {
        for (const from of waiting) {
          if (message === "refuse") yield* GenServer.replyFail(from, "no")
          else expect(yield* GenServer.reply(from, "yes")).toBe(true)
          if (message === "twice") expect(yield* GenServer.reply(from, "again")).toBe(false)
        }
        return GenServer.NoReply([])
      })
  })

  behaviour("NoReply leaves the answer to a later reply (E, O)", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Deferring, undefined)
      const asked = yield* Effect.all([
        Effect.fork(GenServer.call(server, new Ask())),
        Effect.fork(GenServer.call(server, new Ask()))
      ])
      yield* settle
      yield* GenServer.cast(server, "answer")
      expect(yield* Fiber.join(Fiber.all(asked))).toEqual(["yes", "yes"])
    })
  )

  behaviour("a later answer may be the typed error", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Deferring, undefined)
      const asked = yield* Effect.fork(Effect.flip(GenServer.call(server, new Ask())))
      yield* settle
      yield* GenServer.cast(server, "refuse")
      expect(yield* Fiber.join(asked)).toBe("no")
    })
  )

  behaviour("only the first answer counts", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Deferring, undefined)
      const asked = yield* Effect.fork(GenServer.call(server, new Ask()))
      yield* settle
      yield* GenServer.cast(server, "twice")
      expect(yield* Fiber.join(asked)).toBe("yes")
      expect(Process.isAlive(server)).toBe(true)
    })
  )

  behaviour("who waits for a later answer gets ProcessExited when the server ends", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Deferring, undefined)
      const asked = yield* Effect.fork(
        failure(
          Effect.catchAll(GenServer.call(server, new Ask()), (error) =>
            error === "no" ? Effect.die(error) : Effect.fail(error)
          )
        )
      )
      yield* settle
      yield* GenServer.stop(server)
      expect(yield* Fiber.join(asked)).toBe("ProcessExited")
    })
  )

  behaviour("a caller that was interrupted is not there to be answered, and is forgotten", () =>
    Effect.gen(function* () {
      const froms: Array<GenServer.FromOf<Pop>> = []
      const Keeper = GenServer.define<{ readonly call: Pop }>()({
        name: "keeper",
        init: () => GenServer.Ok(0),
        handleCall: {
          Pop: (_, count, from) => {
            froms.push(from)
            return GenServer.NoReply(count + 1)
          }
        }
      })
      const keeper = yield* GenServer.start(Keeper, undefined)
      const before = Process.totals().callTimeouts
      for (let i = 0; i < 300; i++) {
        const caller = yield* Effect.fork(GenServer.call(keeper, new Pop(), { timeout: Duration.infinity }))
        yield* settle
        yield* Fiber.interrupt(caller)
      }
      const caller = yield* Effect.fork(GenServer.call(keeper, new Pop()))
      yield* settle
      yield* Fiber.interrupt(caller)
      expect(froms.filter((from) => !from.isAnswered)).toEqual([])
      const held = (froms.at(-1) as unknown as { readonly holders: Set<unknown> }).holders
      expect(held.size).toBeLessThanOrEqual(64)
      expect(yield* GenServer.reply(froms[0] as never, "late")).toBe(false)
      yield* Effect.sleep("1 minute")
      expect(Process.totals().callTimeouts).toBe(before)
    })
  )
})

describe("cast and info", () => {
  behaviour("cast does not wait, from a pid and from a name (E)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const name = Registry.via<StackRef>(names, "stack")
      const stack = yield* GenServer.start(Stack, [], { name })
      expect(yield* GenServer.cast(stack, { push: "a" })).toBe(true)
      expect(yield* GenServer.cast(name, { push: "b" })).toBe(true)
      expect(yield* GenServer.call(stack, new Size())).toBe(2)
    })
  )

  behaviour("cast to the dead and to unknown names is false and no error (E)", () =>
    Effect.gen(function* () {
      const names = yield* Registry.make({ keys: "unique" })
      const stack = yield* GenServer.start(Stack, [])
      yield* GenServer.stop(stack)
      expect(yield* GenServer.cast(stack, { push: "a" })).toBe(false)
      expect(yield* GenServer.cast(Registry.via<StackRef>(names, "nobody"), { push: "a" })).toBe(false)
      expect(GenServer.unsafeOffer(Registry.via<StackRef>(names, "nobody"), { push: "a" })).toBe(false)
    })
  )

  behaviour("unsafeOffer casts from synchronous code", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      expect(GenServer.unsafeOffer(stack, { push: "a" })).toBe(true)
      expect(yield* GenServer.call(stack, new Pop())).toBe("a")
    })
  )

  behaviour("a cast that throws crashes the server with that cause (E)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      yield* GenServer.cast(stack, { crash: "boom" })
      expect(yield* Process.awaitExit(stack)).toEqual(boom)
    })
  )

  behaviour("plain messages come to handleInfo (E)", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, [])
      yield* Process.send(stack, "hello")
      expect(yield* GenServer.call(stack, new Pop())).toBe("hello")
    })
  )

  behaviour("a server without handleInfo ignores plain messages (E)", () =>
    Effect.gen(function* () {
      const Deaf = GenServer.define()({ name: "deaf", init: () => GenServer.Ok(0) })
      const deaf = yield* GenServer.start(Deaf, undefined)
      Process.unsafeOffer(deaf as Pid.Pid<unknown>, "hello")
      yield* settle
      expect(Process.isAlive(deaf)).toBe(true)
    })
  )

  behaviour("Down of a monitored process comes to handleInfo (E)", () =>
    Effect.gen(function* () {
      const seen = yield* Deferred.make<Process.Down>()
      const Watching = GenServer.define()({
        name: "watching",
        init: (target: StackRef) => Effect.as(Process.monitor(target), GenServer.Ok(0)),
        handleInfo: (message, state) =>
          message._tag === "Down"
            ? Effect.as(Deferred.succeed(seen, message), GenServer.NoReply(state))
            : GenServer.NoReply(state)
      })
      const stack = yield* GenServer.start(Stack, [])
      yield* GenServer.start(Watching, stack)
      yield* Process.exit(stack, boom)
      expect(yield* Deferred.await(seen)).toMatchObject({ pid: stack, reason: boom })
    })
  )
})

describe("continue and idle time-outs", () => {
  type Protocol = { readonly call: Size; readonly cast: "go" | "tick"; readonly continue: string }
  const Continuing = GenServer.define<Protocol>()({
    name: "continuing",
    init: (seen: Array<string>) => GenServer.Ok(seen, { continue: "init" }),
    handleCall: { Size: (_, seen) => GenServer.Reply(seen.length, seen, { continue: "call" }) },
    handleCast: (message, seen) => {
      seen.push(message)
      return message === "go" ? GenServer.NoReply(seen, { continue: "again" }) : GenServer.NoReply(seen)
    },
    handleContinue: (continuation, seen) => {
      seen.push(continuation)
      return continuation === "again" ? GenServer.NoReply(seen, { continue: "and again" }) : GenServer.NoReply(seen)
    }
  })

  behaviour("a continue of init runs before any message (E, O)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const server = yield* GenServer.start(Continuing, seen)
      GenServer.unsafeOffer(server, "tick")
      yield* settle
      expect(seen).toEqual(["init", "tick"])
    })
  )

  behaviour("a continue of a call runs after its answer and before the next message (E, O)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const server = yield* GenServer.start(Continuing, seen)
      yield* settle
      const asked = yield* Effect.fork(GenServer.call(server, new Size()))
      yield* Effect.yieldNow()
      expect(yield* Fiber.join(asked)).toBe(1)
      GenServer.unsafeOffer(server, "tick")
      yield* settle
      expect(seen).toEqual(["init", "call", "tick"])
    })
  )

  behaviour("continues may follow each other (E)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const server = yield* GenServer.start(Continuing, seen)
      GenServer.unsafeOffer(server, "go")
      GenServer.unsafeOffer(server, "tick")
      yield* settle
      expect(seen).toEqual(["init", "go", "again", "and again", "tick"])
    })
  )

  const Idle = GenServer.define<{ readonly cast: number; readonly call: Size }>()({
    name: "idle",
    init: (seen: Array<string>) => GenServer.Ok(seen, { timeout: 1000 }),
    handleCall: { Size: (_, seen) => GenServer.Reply(seen.length, seen) },
    handleCast: (timeout, seen) => {
      seen.push("cast")
      return GenServer.NoReply(seen, { timeout })
    },
    handleInfo: (message, seen) => {
      seen.push(message._tag)
      return GenServer.NoReply(seen)
    }
  })

  behaviour("an idle time-out of init comes once, as Timeout (O)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      yield* GenServer.start(Idle, seen)
      yield* Effect.sleep(999)
      expect(seen).toEqual([])
      yield* Effect.sleep(2)
      expect(seen).toEqual(["Timeout"])
      yield* Effect.sleep(5000)
      expect(seen).toEqual(["Timeout"])
    })
  )

  behaviour("any message takes the idle time-out back, and a callback may set another (O)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const server = yield* GenServer.start(Idle, seen)
      yield* Effect.sleep(500)
      expect(yield* GenServer.call(server, new Size())).toBe(0)
      yield* Effect.sleep(5000)
      expect(seen).toEqual([])
      yield* GenServer.cast(server, 300)
      yield* Effect.sleep(301)
      expect(seen).toEqual(["cast", "Timeout"])
    })
  )

  behaviour("an idle time-out of 0 comes when the mailbox is empty (O)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const server = yield* GenServer.start(Idle, seen)
      GenServer.unsafeOffer(server, 0)
      GenServer.unsafeOffer(server, 0)
      yield* settle
      expect(seen).toEqual(["cast", "cast", "Timeout"])
    })
  )
})

describe("stop and terminate", () => {
  const Last = GenServer.define<{ readonly call: StopWith | Work; readonly cast: "crash" | "fail" }>()({
    name: "last",
    init: (seen: Array<string>) => GenServer.Ok(seen),
    handleCall: {
      StopWith: ({ reason, reply }, seen) =>
        reply === undefined ? GenServer.Stop(reason, seen) : GenServer.Stop(reason, seen, { reply }),
      Work: ({ ms }, seen) => Effect.as(Effect.sleep(ms), GenServer.Reply("done", seen))
    },
    handleCast: (message, seen) => {
      if (message === "crash") throw "boom"
      return Effect.as(Effect.fail("typed"), GenServer.NoReply(seen))
    },
    terminate: (reason, seen) => {
      seen.push(ExitReason.format(reason))
    }
  })

  behaviour("stop ends it as normal, after terminate (E)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const server = yield* GenServer.start(Last, seen)
      yield* GenServer.stop(server)
      expect(Process.exitReason(server)).toEqual(ExitReason.normal)
      expect(seen).toEqual(["normal"])
    })
  )

  behaviour("stop ends it with the given reason (E)", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Last, [])
      yield* GenServer.stop(server, ExitReason.shutdownWith("tired"))
      expect(Process.exitReason(server)).toEqual(ExitReason.shutdownWith("tired"))
    })
  )

  behaviour("stop of the dead is NoProcess (E)", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Last, [])
      yield* GenServer.stop(server)
      expect(yield* failure(GenServer.stop(server))).toBe("NoProcess")
    })
  )

  behaviour("stop serves what came before it (O)", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Last, [])
      const asked = yield* Effect.fork(GenServer.call(server, new Work({ ms: 100 })))
      yield* settle
      const also = yield* Effect.fork(GenServer.call(server, new Work({ ms: 100 })))
      yield* settle
      yield* GenServer.stop(server)
      expect([yield* Fiber.join(asked), yield* Fiber.join(also)]).toEqual(["done", "done"])
    })
  )

  behaviour("stop with a time-out gives up, and the server goes on stopping (E)", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Last, [])
      const asked = yield* Effect.fork(GenServer.call(server, new Work({ ms: 1000 })))
      yield* settle
      expect(yield* failure(GenServer.stop(server, ExitReason.normal, { timeout: 100 }))).toBe("CallTimeout")
      expect(yield* Fiber.join(asked)).toBe("done")
    })
  )

  behaviour("Stop with an answer gives it after terminate (O)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const server = yield* GenServer.start(Last, seen)
      const answer = yield* GenServer.call(server, new StopWith({ reason: ExitReason.normal, reply: "bye" }))
      expect([answer, seen, Process.isAlive(server)]).toEqual(["bye", ["normal"], false])
    })
  )

  behaviour("Stop without an answer is ProcessExited for the caller (O)", () =>
    Effect.gen(function* () {
      const server = yield* GenServer.start(Last, [])
      const error = yield* Effect.flip(GenServer.call(server, new StopWith({ reason: ExitReason.shutdown })))
      expect(error).toMatchObject({ _tag: "ProcessExited", reason: ExitReason.shutdown })
    })
  )

  behaviour("a crash runs terminate with its cause: of a defect and of a failure (O)", () =>
    Effect.gen(function* () {
      for (const [message, line] of [
        ["crash", "crash: boom"],
        ["fail", "crash: typed"]
      ] as const) {
        const seen: Array<string> = []
        const server = yield* GenServer.start(Last, seen)
        yield* GenServer.cast(server, message)
        yield* Process.awaitExit(server)
        expect(seen).toEqual([line])
      }
    })
  )

  behaviour("a crash in terminate becomes the reason, and who called stop learns of it (O)", () =>
    Effect.gen(function* () {
      const Worse = GenServer.define()({
        name: "worse",
        init: () => GenServer.Ok(0),
        terminate: () => Effect.die("worse")
      })
      const server = yield* GenServer.start(Worse, undefined)
      expect(yield* failure(GenServer.stop(server))).toBe("ProcessExited")
      expect(Process.exitReason(server)).toEqual(ExitReason.crashWith("worse"))
    })
  )

  behaviour("an exit of the parent runs terminate only when exits are trapped (O)", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const define = (name: string, trapExit: boolean) =>
        GenServer.define()({
          name,
          trapExit,
          init: () => GenServer.Ok(0),
          terminate: (reason) => {
            seen.push(`${name}: ${reason._tag}`)
          }
        })
      const parent = yield* Process.spawn(
        Effect.gen(function* () {
          yield* GenServer.startLink(define("trapping", true), undefined)
          yield* GenServer.startLink(define("plain", false), undefined)
          yield* Effect.never
        })
      )
      yield* settle
      yield* Process.exit(parent, ExitReason.shutdown)
      yield* settle
      expect(seen).toEqual(["trapping: shutdown"])
    })
  )

  behaviour("an exit of another linked process comes to handleInfo when exits are trapped (O)", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const Trapping = GenServer.define()({
        name: "trapping",
        trapExit: true,
        init: () => Effect.as(Process.spawnLink(Effect.die("boom")), GenServer.Ok(0)),
        handleInfo: (message, state) => {
          seen.push(message)
          return GenServer.NoReply(state)
        }
      })
      const server = yield* GenServer.start(Trapping, undefined)
      yield* settle
      expect(seen).toMatchObject([{ _tag: "Exit", reason: boom }])
      expect(Process.isAlive(server)).toBe(true)
    })
  )

  behaviour("an exit signal interrupts a callback of a server that does not trap, and its finalizers run", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const Busy = GenServer.define<{ readonly cast: "work" }>()({
        name: "busy",
        init: () =>
          Effect.as(
            Effect.addFinalizer(() => Effect.sync(() => seen.push("scope"))),
            GenServer.Ok(0)
          ),
        handleCast: () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => seen.push("callback")))
      })
      const server = yield* GenServer.start(Busy, undefined)
      yield* GenServer.cast(server, "work")
      yield* settle
      yield* Process.exit(server, ExitReason.shutdown)
      expect(yield* Process.awaitExit(server)).toEqual(ExitReason.shutdown)
      expect(seen).toEqual(["callback", "scope"])
    })
  )

  behaviour("a callback that interrupts itself ends the server with shutdown", () =>
    Effect.gen(function* () {
      const Tired = GenServer.define<{ readonly cast: "rest" }>()({
        name: "tired",
        init: () => GenServer.Ok(0),
        handleCast: () => Effect.interrupt
      })
      const server = yield* GenServer.start(Tired, undefined)
      yield* GenServer.cast(server, "rest")
      expect(yield* Process.awaitExit(server)).toEqual(ExitReason.shutdown)
    })
  )

  behaviour("what init acquired is released at every end: stop, crash, exit signal, kill", () =>
    Effect.gen(function* () {
      const ends: ReadonlyArray<(pid: GenServer.ServerRef<never, "crash">) => Effect.Effect<unknown, unknown>> = [
        (pid) => GenServer.stop(pid),
        (pid) => GenServer.cast(pid, "crash"),
        (pid) => Process.exit(pid, ExitReason.shutdown),
        (pid) => Process.exit(pid, ExitReason.killed)
      ]
      for (const end of ends) {
        const seen: Array<string> = []
        const Holding = GenServer.define<{ readonly cast: "crash" }>()({
          name: "holding",
          init: () =>
            Effect.map(
              Effect.acquireRelease(
                Effect.sync(() => seen.push("acquired")),
                () => Effect.sync(() => seen.push("released"))
              ),
              () => GenServer.Ok(0)
            ),
          handleCast: () => Effect.die("boom")
        })
        const server = yield* GenServer.start(Holding, undefined)
        yield* end(server)
        yield* Process.awaitExit(server)
        yield* settle
        expect(seen).toEqual(["acquired", "released"])
      }
    })
  )
})

describe("types", () => {
  behaviour("follow from the protocol: answers from requests, and what is not taken does not compile", () =>
    Effect.gen(function* () {
      const stack = yield* GenServer.start(Stack, ["a"])
      const popped: string | undefined = yield* GenServer.call(stack, new Pop())
      const size: number = yield* GenServer.call(stack, new Size())
      expect([popped, size]).toEqual(["a", 0])
      const takesSize: GenServer.ServerRef<Size> = stack // who takes more may stand for who takes less
      expect(takesSize).toBe(stack)
      class Unknown extends Request.TaggedClass("Unknown")<string, never, object> {}
      const neverRun = (): ReadonlyArray<unknown> => [
        // @ts-expect-error: no such request
        GenServer.call(stack, new Unknown()),
        // @ts-expect-error: no such cast
        GenServer.cast(stack, "push"),
        // @ts-expect-error: no such message
        Process.send(stack, 1),
        // @ts-expect-error: the arguments of init are strings
        GenServer.start(Stack, [1]),
        // @ts-expect-error: makes sense only inside of a process
        Effect.runPromise(Process.self),
        GenServer.define<{ readonly call: Size }>()({
          name: "x",
          init: () => GenServer.Ok(0),
          // @ts-expect-error: an answer of the wrong type
          handleCall: { Size: (_, n) => GenServer.Reply("1", n) }
        }),
        // @ts-expect-error: a request without a clause
        GenServer.define<{ readonly call: Size }>()({ name: "x", init: () => GenServer.Ok(0), handleCall: {} })
      ]
      expect(neverRun).toBeTypeOf("function")
    })
  )
})
