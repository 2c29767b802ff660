/**
 * The loop of a generic server: takes a message, runs its callback, does what that says.
 *
 * One `whileLoop` for the server's life, whose body is `#turn`: messages whose callbacks return at once are handled one
 * after the other in plain code, up to `turnMessagesMax`; one that returns an Effect makes a step of the fiber. So
 * neither a cast nor its callback needs an Effect, and yet any callback may be one.
 *
 * Requests are answered by their envelopes. One is at any time with exactly one of: the mailbox, `#serving` (its
 * callback runs), `#held` (answer put off), `#lastAnswer` (to be given after the end). `onExit` goes through all of
 * them: nobody is left waiting.
 *
 * [1] OTP, lib/stdlib/src/gen_server.erl: loop, handle_common_reply, terminate.
 */
import type * as Context from "effect/Context"
import type { DefaultServices } from "effect/DefaultServices"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import { type StartError, StartFailed, StartIgnored, StartTimeout } from "../ActorError.ts"
import * as ExitReason from "../ExitReason.ts"
import type { Pid } from "../Pid.ts"
import * as Envelope from "./envelope.ts"
import { awaitExit, type Behaviour, type ProcessImpl } from "./process.ts"
import { warn } from "./report.ts"
import { shapeOf } from "./shape.ts"
import * as Timers from "./timers.ts"

export interface NextOptions {
  readonly timeout?: Duration.DurationInput
  readonly continue?: unknown
}

/** What a callback says. */
export class Next<out S, out A, out E, out C> {
  declare readonly _A?: A
  declare readonly _E?: E
  declare readonly _C?: C
  readonly state: S
  readonly answer: "none" | "success" | "failure"
  readonly value: unknown
  /** Not null: the server ends. */
  readonly reason: ExitReason.ExitReason | null
  readonly options: NextOptions | undefined

  constructor(
    state: S,
    answer: "none" | "success" | "failure",
    value: unknown,
    reason: ExitReason.ExitReason | null,
    options: NextOptions | undefined
  ) {
    this.state = state
    this.answer = answer
    this.value = value
    this.reason = reason
    this.options = options
  }
}

/** What `init` says. */
export class Start<out S, out C> {
  declare readonly _C?: C
  readonly kind: "ok" | "ignore" | "stop"
  readonly state: S
  readonly reason: ExitReason.ExitReason | undefined
  readonly options: NextOptions | undefined

  constructor(
    kind: "ok" | "ignore" | "stop",
    state: S,
    reason: ExitReason.ExitReason | undefined,
    options: NextOptions | undefined
  ) {
    this.kind = kind
    this.state = state
    this.reason = reason
    this.options = options
  }
}

type AnyNext = Next<unknown, unknown, unknown, unknown>
type AnyStart = Start<unknown, unknown>
type Result = AnyNext | Effect.Effect<AnyNext, unknown>

/** A server's callbacks with their types forgotten: the loop handles all servers alike. */
export interface AnyCallbacks {
  readonly name: string
  readonly init: (args: unknown) => AnyStart | Effect.Effect<AnyStart, unknown>
  readonly handleCall?: Readonly<
    Record<string, (request: unknown, state: unknown, from: Envelope.CallEnvelope) => Result>
  >
  readonly handleCast?: (message: unknown, state: unknown) => Result
  readonly handleInfo?: (message: unknown, state: unknown) => Result
  readonly handleContinue?: (continuation: unknown, state: unknown) => Result
  readonly terminate?: (reason: ExitReason.ExitReason, state: unknown) => unknown
  readonly trapExit?: boolean
  readonly mailbox?: { readonly capacity?: number }
  readonly inspect?: (state: unknown) => Record<string, unknown>
  readonly memoryBytes?: (state: unknown) => number
  readonly isSupervisor?: boolean
}

/** What a traced server tells. Payloads are given as they are: a tracer sees them. */
export type TraceEvent =
  | {
      readonly _tag: "In"
      readonly pid: Pid
      readonly kind: "call" | "cast" | "info" | "continue"
      readonly message: unknown
    }
  | { readonly _tag: "Out"; readonly pid: Pid; readonly answer: unknown }
  | { readonly _tag: "State"; readonly pid: Pid; readonly state: unknown }

/** A system request that is answered by the server's end. */
export const held: unique symbol = Symbol("held")

const heldSweepLeast = 64 // answers; below that it is not worth while to look for callers that have gone
const turnMessagesMax = 128 // per step of the fiber; a flood of casts starves the others for some 100 µs at most

export class Server implements Behaviour {
  readonly process: ProcessImpl
  readonly callbacks: AnyCallbacks
  state: unknown = undefined
  onTrace: ((event: TraceEvent) => void) | null = null
  readonly #args: unknown
  #isInitialised = false
  #isSuspended = false
  #stopReason: ExitReason.ExitReason | null = null
  #starter: Starter | null = null
  /** What `init` came to if it did not succeed, told once the process has ended. */
  #startError: StartError | null = null
  #current: Envelope.Envelope | null = null
  #serving: Envelope.CallEnvelope | null = null
  #held: Set<Envelope.CallEnvelope> | null = null
  #heldSweepAt = heldSweepLeast
  #lastAnswer: Effect.Effect<unknown> | null = null
  #lastCaller: Envelope.CallEnvelope | null = null
  #continuation: Envelope.Letter | null = null
  /** Made for the first callback that asks for an idle time-out: most never do. */
  #idle: Idle | null = null

  constructor(process: ProcessImpl, callbacks: AnyCallbacks, args: unknown) {
    this.process = process
    this.callbacks = callbacks
    this.#args = args
  }

  /** The program of the process. */
  readonly run: Effect.Effect<void> = Effect.matchCauseEffect(
    Effect.suspend(() => this.#begin()),
    {
      onFailure: (cause) => this.#end(ExitReason.fromCause(cause)),
      onSuccess: () => this.#end(this.#stopReason ?? ExitReason.normal)
    }
  )

  /**
   * Waits until `init` has decided. An interrupted starter kills the process; a supervisor instead shuts down, which
   * stops the children that it has started, in order, and that is waited for.
   */
  started(
    parent: ProcessImpl | null,
    label: string,
    timeout: Duration.DurationInput | undefined,
    services: Context.Context<DefaultServices>
  ): Effect.Effect<ProcessImpl, StartError> {
    return Effect.async((resume) => {
      const starter = new Starter(this, parent, label, resume)
      this.#starter = starter
      if (timeout !== undefined) {
        starter.timeoutMs = Timers.millis(timeout)
        Timers.ofServices(services).set(starter, starter.timeoutMs)
      }
      return Effect.suspend(() => {
        this.#release()
        parent?.unlink(this.process) // the starter has given up, which is no reason for it to end
        if (this.process.isSupervisor) {
          this.process.interrupt(ExitReason.shutdown)
          return awaitExit(this.process, Number.POSITIVE_INFINITY)
        }
        this.process.kill()
        return Effect.void
      })
    })
  }

  startTimedOut(error: StartTimeout): void {
    this.#startError = error
    this.process.kill()
  }

  /** System request: stop after what was in the mailbox before. */
  stop(reason: ExitReason.ExitReason): typeof held {
    this.#stopReason = reason
    return held
  }

  suspend(): void {
    this.#isSuspended = true
    this.process.status = "suspended"
  }

  resume(): void {
    this.#isSuspended = false
    this.process.status = "running"
  }

  inspect(): Record<string, unknown> | undefined {
    return this.#isInitialised ? this.callbacks.inspect?.(this.state) : undefined
  }

  memoryBytes(): number | undefined {
    return this.#isInitialised ? this.callbacks.memoryBytes?.(this.state) : undefined
  }

  describe(): Record<string, unknown> {
    return {
      server: this.callbacks.name,
      lastMessage: this.#isInitialised ? this.#doing : "init",
      state: shapeOf(this.state)
    }
  }

  get #doing(): string {
    if (this.#current === null) return "none, it was idle"
    return `${Envelope.kindNames[this.#current.kind]} ${shapeOf(this.#current.payload)}`
  }

  onExit(reason: ExitReason.ExitReason): void {
    this.#idle?.stop()
    const starter = this.#release()
    if (starter !== null) {
      starter.parent?.unlink(this.process) // the starter gets the error instead of an exit signal
      starter.resume(Effect.fail(this.#startError ?? new StartFailed({ label: starter.label, reason })))
    }
    if (this.#lastAnswer !== null) this.#lastCaller?.answer(this.#lastAnswer)
    this.#serving?.onReceiverExit(reason)
    if (this.#held !== null) for (const envelope of [...this.#held]) envelope.onReceiverExit(reason)
  }

  #begin(): Effect.Effect<void, unknown> {
    const start = this.callbacks.init(this.#args)
    return start instanceof Start ? this.#initialised(start) : Effect.flatMap(start, (it) => this.#initialised(it))
  }

  #initialised(start: AnyStart): Effect.Effect<void, unknown> {
    if (start.kind !== "ok") {
      if (start.kind === "ignore") this.#startError = new StartIgnored({ label: this.process.label })
      this.#stopReason = start.reason ?? ExitReason.normal
      return Effect.void
    }
    this.state = start.state
    this.#isInitialised = true
    this.process.status = "running"
    this.#follow(start.options)
    this.#release()?.resume(Effect.succeed(this.process))
    return this.#loop
  }

  readonly #loop: Effect.Effect<void, unknown> = Effect.whileLoop({
    while: () => this.#stopReason === null,
    body: () => this.#turn(),
    step: () => {}
  })

  #turn(): Effect.Effect<void, unknown> {
    for (let taken = 0; taken < turnMessagesMax; taken++) {
      const envelope = this.#next()
      if (envelope === null) return this.#rest()
      const result = this.#dispatch(envelope)
      if (result instanceof Next) this.#apply(result)
      else if (result !== null) return Effect.map(result, this.#apply)
      if (this.#stopReason !== null) return Effect.void
    }
    return Effect.yieldNow()
  }

  /** What is to be handled next: a continuation, else a message, else the idle time-out if it is over. Else null. */
  #next(): Envelope.Envelope | null {
    const continuation = this.#continuation
    if (continuation !== null) {
      this.#continuation = null
      return continuation
    }
    const { mailbox } = this.process
    const envelope = this.#isSuspended ? mailbox.takeWhere(isForSuspended) : mailbox.take()
    if (envelope !== null) {
      this.process.handled++
      if (envelope.kind !== Envelope.system) this.#idle?.stop()
      return envelope
    }
    if (this.#isSuspended || this.#idle === null || !this.#idle.isOver) return null
    this.#idle.stop()
    return timeoutLetter
  }

  /** Waits for a message or the idle time-out. */
  #rest(): Effect.Effect<void> {
    this.#current = null // an idle server keeps nothing of its last caller
    if (!this.#isSuspended) this.#idle?.begin()
    return this.process.idle
  }

  /** Hands it to the callback for its kind. Null: the state stays and nothing follows. */
  #dispatch(envelope: Envelope.Envelope): Result | null {
    this.#current = envelope
    const { payload } = envelope
    switch (envelope.kind) {
      case Envelope.continuation:
        return this.#continue(payload)
      case Envelope.call:
        return this.#call(envelope as Envelope.CallEnvelope)
      case Envelope.cast: {
        const { handleCast } = this.callbacks
        if (handleCast === undefined) throw new Error(`${this.callbacks.name} has no handleCast`)
        if (this.onTrace !== null) this.#tell({ _tag: "In", pid: this.process, kind: "cast", message: payload })
        const { span } = envelope as Envelope.Letter
        if (span !== undefined)
          return this.#traced(castTagOf(payload), { links: [linkTo(span)] }, () => handleCast(payload, this.state))
        return handleCast(payload, this.state)
      }
      case Envelope.info:
        return this.#info(payload)
      case Envelope.parentExit:
        this.#stopReason = payload as ExitReason.ExitReason
        return null
      default:
        return this.#system(envelope as Envelope.CallEnvelope)
    }
  }

  #call(envelope: Envelope.CallEnvelope): Result | null {
    if (envelope.isAbandoned()) {
      Timers.cancel(envelope)
      return null
    }
    const request = envelope.payload
    const tag = Envelope.nameOf(request)
    this.#serving = envelope
    const clause = this.callbacks.handleCall?.[tag]
    if (clause === undefined) throw new Error(`${this.callbacks.name} has no clause for ${tag} in handleCall`)
    if (this.onTrace !== null) this.#tell({ _tag: "In", pid: this.process, kind: "call", message: request })
    if (envelope.span === undefined) return clause(request, this.state, envelope)
    return this.#traced(tag, { parent: envelope.span }, () => clause(request, this.state, envelope))
  }

  /** Runs a callback in a span of its own, which ends as the callback did: an error as the answer fails it. */
  #traced(tag: string, relation: Tracer.SpanOptions, callback: () => Result): Result {
    const attributes = { "actor.pid": `<0.${this.process.id}>`, "actor.label": this.process.label }
    const options = { root: relation.parent === undefined, ...relation, attributes, captureStackTrace: false }
    return Effect.useSpan(`${this.callbacks.name}.${tag}`, options, (span) =>
      Effect.suspend(() => {
        const result = callback()
        return result instanceof Next ? Effect.succeed(result) : Effect.withParentSpan(result, span)
      }).pipe(
        Effect.tap((next) =>
          next.answer === "failure"
            ? Effect.clockWith((clock) =>
                Effect.sync(() => span.end(clock.unsafeCurrentTimeNanos(), Exit.fail(next.value)))
              )
            : Effect.void
        )
      )
    )
  }

  #info(message: unknown): Result | null {
    const { handleInfo } = this.callbacks
    if (this.onTrace !== null) this.#tell({ _tag: "In", pid: this.process, kind: "info", message })
    return handleInfo === undefined ? null : handleInfo(message, this.state)
  }

  #continue(value: unknown): Result {
    const { handleContinue } = this.callbacks
    if (handleContinue === undefined) throw new Error(`${this.callbacks.name} has no handleContinue`)
    if (this.onTrace !== null) this.#tell({ _tag: "In", pid: this.process, kind: "continue", message: value })
    return handleContinue(value, this.state)
  }

  #system(envelope: Envelope.CallEnvelope): null {
    if (envelope.isAbandoned()) {
      Timers.cancel(envelope)
      return null
    }
    const request = envelope.payload as (server: Server) => unknown
    try {
      const answer = request(this)
      if (answer === held) this.#hold(envelope)
      else envelope.answer(Effect.succeed(answer))
    } catch (thrown) {
      envelope.answer(Effect.die(thrown)) // the function is the asker's, and so is its defect
    }
    return null
  }

  /** A handler that throws is removed and reported: looking on must not break what is looked at. */
  #tell(event: TraceEvent): void {
    try {
      this.onTrace?.(event)
    } catch (thrown) {
      this.onTrace = null
      warn(this.process, this.process.fiber, "trace handler removed: it threw", thrown)
    }
  }

  readonly #apply = (next: AnyNext): void => {
    const envelope = this.#serving
    this.#serving = null
    this.state = next.state
    this.#stopReason = next.reason
    if (envelope !== null) this.#answer(envelope, next)
    if (this.onTrace !== null) this.#tell({ _tag: "State", pid: this.process, state: next.state })
    if (next.options !== undefined) this.#follow(next.options)
  }

  #answer(envelope: Envelope.CallEnvelope, next: AnyNext): void {
    if (next.answer === "none") {
      if (!envelope.isAnswered) this.#hold(envelope)
      return
    }
    if (this.onTrace !== null) this.#tell({ _tag: "Out", pid: this.process, answer: next.value })
    const answer = next.answer === "success" ? Effect.succeed(next.value) : Effect.fail(next.value)
    if (next.reason === null) {
      envelope.answer(answer)
      return
    }
    this.#lastAnswer = answer as Effect.Effect<unknown> // given after `terminate`, as OTP does
    this.#lastCaller = envelope
  }

  /** Puts an answer off. Interrupted callers tell nobody, so they are looked for whenever the set has doubled. */
  #hold(envelope: Envelope.CallEnvelope): void {
    this.#held ??= new Set()
    const held = this.#held
    if (held.size >= this.#heldSweepAt) {
      for (const each of held) {
        if (!each.isAbandoned()) continue
        Timers.cancel(each)
        held.delete(each)
      }
      this.#heldSweepAt = Math.max(heldSweepLeast, 2 * held.size)
    }
    held.add(envelope)
    envelope.holders = held
  }

  #follow(options: NextOptions | undefined): void {
    if (options === undefined) return
    if ("continue" in options) this.#continuation = new Envelope.Letter(Envelope.continuation, options.continue, false)
    if (options.timeout === undefined) return
    this.#idle ??= new Idle(this.process)
    this.#idle.limitMs = Timers.millis(options.timeout)
  }

  /** The loop is over: the last word, then the end of the fiber. */
  #end(reason: ExitReason.ExitReason): Effect.Effect<void> {
    this.process.pendingExit = reason
    const { terminate } = this.callbacks
    if (!this.#isInitialised) return Effect.void
    this.process.status = "stopping"
    if (terminate === undefined) return Effect.void
    return Effect.catchAllCause(
      Effect.suspend(() => {
        const last = terminate(reason, this.state)
        return Effect.isEffect(last) ? (last as Effect.Effect<unknown, unknown>) : Effect.void
      }),
      (cause) => {
        this.process.pendingExit = ExitReason.fromCause(cause)
        return Effect.void
      }
    )
  }

  #release(): Starter | null {
    const starter = this.#starter
    this.#starter = null
    if (starter !== null) Timers.cancel(starter)
    return starter
  }
}

/** The fiber that waits for `init`. */
class Starter extends Timers.Timer {
  readonly #server: Server
  readonly parent: ProcessImpl | null
  readonly label: string
  readonly resume: (effect: Effect.Effect<ProcessImpl, StartError>) => void
  timeoutMs = 0

  constructor(
    server: Server,
    parent: ProcessImpl | null,
    label: string,
    resume: (effect: Effect.Effect<ProcessImpl, StartError>) => void
  ) {
    super()
    this.#server = server
    this.parent = parent
    this.label = label
    this.resume = resume
  }

  override onDue(): void {
    this.#server.startTimedOut(new StartTimeout({ label: this.label, timeoutMs: this.timeoutMs }))
  }
}

/** The idle time-out of a server: from when there is nothing to be done, until the next message or `limitMs` later. */
class Idle extends Timers.Timer {
  /** For ever: none is asked for. */
  limitMs = Number.POSITIVE_INFINITY
  readonly #process: ProcessImpl
  #isDue = false

  constructor(process: ProcessImpl) {
    super()
    this.#process = process
  }

  /** The server rests. A time-out that runs already, because only a system request came between, runs on. */
  begin(): void {
    const { fiber } = this.#process
    if (this.list === null && fiber !== null) Timers.ofServices(fiber.currentDefaultServices).set(this, this.limitMs)
  }

  /** It counts once: the callback that runs next may ask for another. */
  stop(): void {
    this.limitMs = Number.POSITIVE_INFINITY
    this.#isDue = false
    Timers.cancel(this)
  }

  get isOver(): boolean {
    return this.#isDue || this.limitMs === 0
  }

  override onDue(): void {
    this.#isDue = true
    this.#process.wake()
  }
}

const timeoutLetter = new Envelope.Letter(Envelope.info, { _tag: "Timeout" }, false)

/** Untagged casts are called by their kind: what they are may be their content. */
const castTagOf = (message: unknown): string =>
  typeof message === "object" && message !== null && "_tag" in message ? Envelope.nameOf(message) : "cast"

/** A cast's sender may have ended long before it is handled, so its span is no parent. */
const linkTo = (span: Tracer.AnySpan): Tracer.SpanLink => ({ _tag: "SpanLink", span, attributes: {} })

const isForSuspended = (envelope: Envelope.Envelope): boolean =>
  envelope.kind === Envelope.system || envelope.kind === Envelope.parentExit
