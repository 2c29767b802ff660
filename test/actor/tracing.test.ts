/**
 * Callers and callees as spans: a call's handling is a child of its caller's span, a cast's is a trace of its own that
 * links to the sender's, who may have gone on long ago.
 */
import { Cause, type Context, Effect, Exit, Option, Request, Tracer } from "effect"
import { describe, expect } from "vitest"
import { ExitReason, GenServer, type Pid, Process } from "../../src/actor/index.ts"
import { behaviour, settle } from "./support.ts"

class Sync extends Request.TaggedClass("Sync")<string, "no", { readonly isWanted: boolean }> {}
class Async extends Request.TaggedClass("Async")<string, "no", { readonly isWanted: boolean }> {}
class Ask extends Request.TaggedClass("Ask")<string, never, { readonly other: GenServer.ServerRef<Sync> }> {}
class Crash extends Request.TaggedClass("Crash")<never, never, { readonly isSync: boolean }> {}
class Later extends Request.TaggedClass("Later")<string, never, object> {}

interface ServiceProtocol extends GenServer.Protocol {
  readonly call: Sync | Async | Ask | Crash | Later
  readonly cast: { readonly _tag: "Note" } | "plain"
}

const Service = GenServer.define<ServiceProtocol>()({
  name: "service",
  init: () => GenServer.Ok(0),
  handleCall: {
    Sync: ({ isWanted }, n) => (isWanted ? GenServer.Reply("sync", n) : GenServer.Fail("no", n)),
    Async: ({ isWanted }, n) =>
      Effect.as(Effect.sleep(10), isWanted ? GenServer.Reply("async", n) : GenServer.Fail("no", n)),
    Ask: ({ other }, n) =>
      Effect.map(Effect.orDie(GenServer.call(other, new Sync({ isWanted: true }))), (answer) =>
        GenServer.Reply(answer, n)
      ),
    Crash: ({ isSync }) => {
      if (isSync) throw new Error("boom")
      return Effect.die(new Error("boom"))
    },
    Later: (_, n, from) =>
      Effect.as(Effect.forkScoped(Effect.delay(GenServer.reply(from, "late"), 10)), GenServer.NoReply(n))
  },
  handleCast: (message, n) =>
    message === "plain" ? GenServer.NoReply(n + 1) : Effect.as(Effect.sleep(1), GenServer.NoReply(n + 1))
})

describe("spans", () => {
  behaviour("of a call are children of the caller's, for callbacks of both kinds", () =>
    traced((spans) =>
      Effect.gen(function* () {
        const service = yield* GenServer.start(Service, undefined, { label: "front desk" })
        yield* GenServer.call(service, new Sync({ isWanted: true })).pipe(Effect.withSpan("first"))
        yield* GenServer.call(service, new Async({ isWanted: true })).pipe(Effect.withSpan("second"))
        expect(spans.map(({ name }) => name)).toEqual(["first", "service.Sync", "second", "service.Async"])
        expect(spans.map(parentOf)).toEqual([null, "first", null, "second"])
        expect(spans.map(outcomeOf)).toEqual(["success", "success", "success", "success"])
        const [, sync, , async] = spans as [Recorded, Recorded, Recorded, Recorded]
        const attributes = { "actor.pid": `<0.${service.id}>`, "actor.label": "front desk" }
        expect([Object.fromEntries(sync.attributes), Object.fromEntries(async.attributes)]).toEqual([
          attributes,
          attributes
        ])
        expect([sync, async].map(({ traceId }) => traceId)).toEqual([spans[0]?.traceId, spans[2]?.traceId])
      })
    )
  )

  behaviour("go through several servers", () =>
    traced((spans) =>
      Effect.gen(function* () {
        const [front, back] = [yield* GenServer.start(Service, undefined), yield* GenServer.start(Service, undefined)]
        yield* GenServer.call(front, new Ask({ other: back })).pipe(Effect.withSpan("outer"))
        expect(spans.map((span) => [span.name, parentOf(span)])).toEqual([
          ["outer", null],
          ["service.Ask", "outer"],
          ["service.Sync", "service.Ask"]
        ])
      })
    )
  )

  behaviour("fail as the answer does: a typed error, or the cause of the crash", () =>
    traced((spans) =>
      Effect.gen(function* () {
        const ask = <A extends Sync | Async | Crash>(service: GenServer.ServerRef<A>, request: A) =>
          Effect.withSpan(Effect.exit(GenServer.call(service, request)), "caller")
        const service = yield* GenServer.start(Service, undefined)
        yield* ask(service, new Sync({ isWanted: false }))
        yield* ask(service, new Async({ isWanted: false }))
        yield* ask(service, new Crash({ isSync: true }))
        const next = yield* GenServer.start(Service, undefined)
        yield* ask(next, new Crash({ isSync: false }))
        const callees = spans.filter(({ name }) => name !== "caller")
        expect(callees.map(outcomeOf)).toEqual(["no", "no", "Error: boom", "Error: boom"])
        expect([service, next].map((pid: Pid.Pid) => Process.exitReason(pid)?._tag)).toEqual(["crash", "crash"])
      })
    )
  )

  behaviour("end with the callback when the answer comes later from elsewhere", () =>
    traced((spans) =>
      Effect.gen(function* () {
        const service = yield* GenServer.start(Service, undefined)
        const asked = yield* Effect.fork(GenServer.call(service, new Later()).pipe(Effect.withSpan("caller")))
        yield* settle
        expect(spans.map(outcomeOf)).toEqual(["running", "success"])
        expect(yield* asked).toBe("late")
        expect(spans.map(outcomeOf)).toEqual(["success", "success"])
      })
    )
  )

  behaviour("of a killed server are interrupted", () =>
    traced((spans) =>
      Effect.gen(function* () {
        const service = yield* GenServer.start(Service, undefined)
        const call = GenServer.call(service, new Async({ isWanted: true })).pipe(Effect.withSpan("caller"))
        const asked = yield* Effect.fork(Effect.flip(call))
        yield* settle
        yield* Process.exit(service, ExitReason.killed)
        expect(yield* asked).toMatchObject({ _tag: "ProcessExited" })
        yield* settle
        expect(outcomeOf(spans[1] as Recorded)).toBe("interrupted")
      })
    )
  )

  behaviour("of a cast begin a trace of their own and link to the sender's", () =>
    traced((spans) =>
      Effect.gen(function* () {
        const service = yield* GenServer.start(Service, undefined)
        yield* Effect.withSpan(
          Effect.zipRight(GenServer.cast(service, { _tag: "Note" }), GenServer.cast(service, "plain")),
          "sender"
        )
        yield* Effect.sleep(10)
        const [sender, note, plain] = spans as [Recorded, Recorded, Recorded]
        expect([note.name, plain.name]).toEqual(["service.Note", "service.cast"])
        for (const span of [note, plain]) {
          expect([parentOf(span), span.links.map((link) => link.span.spanId)]).toEqual([null, [sender.spanId]])
          expect(span.traceId).not.toBe(sender.traceId)
          expect(outcomeOf(span)).toBe("success")
        }
      })
    )
  )

  behaviour("are not made for whoever is not traced, nor for what synchronous code sends", () =>
    traced((spans) =>
      Effect.gen(function* () {
        const service = yield* Effect.withSpan(GenServer.start(Service, undefined), "starter")
        yield* GenServer.call(service, new Sync({ isWanted: true }))
        yield* GenServer.call(service, new Async({ isWanted: true }))
        yield* GenServer.cast(service, "plain")
        yield* Effect.withSpan(
          Effect.sync(() => GenServer.unsafeOffer(service, "plain")),
          "sender"
        )
        yield* settle
        expect(spans.map(({ name }) => name)).toEqual(["starter", "sender"])
      })
    )
  )
})

class Recorded implements Tracer.Span {
  readonly _tag = "Span"
  readonly sampled = true
  readonly spanId: string
  readonly traceId: string
  readonly attributes = new Map<string, unknown>()
  status: Tracer.SpanStatus
  constructor(
    readonly name: string,
    readonly parent: Option.Option<Tracer.AnySpan>,
    readonly context: Context.Context<never>,
    readonly links: ReadonlyArray<Tracer.SpanLink>,
    startTime: bigint,
    readonly kind: Tracer.SpanKind,
    id: number
  ) {
    this.spanId = `span-${id}`
    this.traceId = Option.match(parent, { onNone: () => `trace-${id}`, onSome: (span) => span.traceId })
    this.status = { _tag: "Started", startTime }
  }
  end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    this.status = { _tag: "Ended", startTime: this.status.startTime, endTime, exit }
  }
  attribute(key: string, value: unknown): void {
    this.attributes.set(key, value)
  }
  event(): void {}
  addLinks(): void {}
}

/** Runs a program whose spans are recorded, in the order of their beginning. */
const traced = <E, R>(program: (spans: Array<Recorded>) => Effect.Effect<unknown, E, R>) =>
  Effect.suspend(() => {
    const spans: Array<Recorded> = []
    const tracer = Tracer.make({
      span: (name, parent, context, links, startTime, kind) => {
        const span = new Recorded(name, parent, context, links, startTime, kind, spans.length)
        spans.push(span)
        return span
      },
      context: (f) => f()
    })
    return Effect.withTracer(program(spans), tracer)
  })

const parentOf = ({ parent }: Recorded): string | null =>
  Option.match(parent, { onNone: () => null, onSome: (span) => (span as Recorded).name })

const outcomeOf = ({ status }: Recorded): string => {
  if (status._tag === "Started") return "running"
  if (Exit.isSuccess(status.exit)) return "success"
  if (Cause.isInterruptedOnly(status.exit.cause)) return "interrupted"
  return String(Cause.squash(status.exit.cause))
}
