/**
 * What travels: one small object a message, which is its own place in the mailbox's list.
 */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type * as Tracer from "effect/Tracer"
import { type CallError, CallTimeout, MailboxFull, ProcessExited } from "../ActorError.ts"
import type * as ExitReason from "../ExitReason.ts"
import type { Item } from "../Mailbox.ts"
import type { Pid } from "../Pid.ts"
import { counters } from "./counters.ts"
import { selfOf } from "./self.ts"
import { cancel, Timer } from "./timers.ts"

/** A plain send, or an exit of a linked or monitored process: `handleInfo`. */
export const info = 0
export const cast = 1
export const call = 2
/** A request to the machinery itself (Sys), whose payload is a function of the server. */
export const system = 3
/** The parent of a process that traps exits wants it to end. */
export const parentExit = 4
/** What a callback asked to be done next. Never in a mailbox. */
export const continuation = 5
export type Kind = typeof info | typeof cast | typeof call | typeof system | typeof parentExit | typeof continuation

/** What reports call the kinds. */
export const kindNames = ["info", "cast", "call", "system request", "exit of the parent", "continue"] as const

export type Envelope = Letter | CallEnvelope

/** A message that nobody waits for the answer of. */
export class Letter implements Item {
  next: Item | null = null
  readonly kind: Kind
  readonly payload: unknown
  readonly isSignal: boolean
  /** The span that it was sent in, if that is traced: casts only. */
  readonly span: Tracer.AnySpan | undefined
  /** Called once with whether it got in, for a sender that waits for room. */
  onSettled: ((isTaken: boolean) => void) | null = null
  #isAbandoned = false

  constructor(kind: Kind, payload: unknown, isSignal: boolean, span?: Tracer.AnySpan) {
    this.kind = kind
    this.payload = payload
    this.isSignal = isSignal
    this.span = span
  }

  isAbandoned(): boolean {
    return this.#isAbandoned
  }

  /** Its sender no longer waits for room. */
  abandon(): void {
    this.#isAbandoned = true
    this.onSettled = null
  }

  onDropped(): void {}

  onAdmitted(): void {
    this.#settle(true)
  }

  onReceiverExit(): void {
    this.#settle(false)
  }

  #settle(isTaken: boolean): void {
    const onSettled = this.onSettled
    this.onSettled = null
    if (onSettled !== null) onSettled(isTaken)
  }
}

/** How the caller's fiber goes on. */
export type Resume = (answer: Effect.Effect<unknown, unknown>) => void

/** A request, its caller, and its time-out in one. Answered at most once; later answers are dropped. */
export class CallEnvelope extends Timer implements Item {
  next: Item | null = null
  readonly kind: Kind
  readonly payload: unknown
  readonly isSignal: boolean
  readonly pid: Pid
  /** Duration of the caller's patience, for the message of `CallTimeout`. */
  readonly timeoutMs: number
  /** The span that the request belongs to, if it is traced. */
  readonly span: Tracer.AnySpan | undefined
  /** Where the server keeps it while its answer is put off. */
  holders: Set<CallEnvelope> | null = null
  #resume: Resume | null
  readonly #caller: Fiber.RuntimeFiber<unknown, unknown>

  constructor(
    kind: Kind,
    payload: unknown,
    pid: Pid,
    timeoutMs: number,
    caller: Fiber.RuntimeFiber<unknown, unknown>,
    resume: Resume
  ) {
    super()
    this.kind = kind
    this.payload = payload
    this.isSignal = kind === system
    this.pid = pid
    this.timeoutMs = timeoutMs
    this.span = caller.currentSpan
    this.#caller = caller
    this.#resume = resume
  }

  /** As `isAbandoned`: what the holder of a `From` sees. */
  get isAnswered(): boolean {
    return this.isAbandoned()
  }

  /** Gives the answer; false if there has been one, or nobody waits for it. */
  answer(answer: Effect.Effect<unknown, unknown>): boolean {
    const resume = this.#resume
    if (resume === null) return false
    this.#resume = null
    this.holders?.delete(this)
    cancel(this)
    if (this.#hasCallerEnded) return false
    resume(answer)
    return true
  }

  fail(error: CallError): boolean {
    return this.answer(Effect.fail(error))
  }

  /** True when it is answered (timed out, that is) or its caller's fiber has ended: serving it would be for nobody. */
  isAbandoned(): boolean {
    return this.#resume === null || this.#hasCallerEnded
  }

  /** It was interrupted: a fiber that waits for an answer ends in no other way. */
  get #hasCallerEnded(): boolean {
    return (this.#caller.unsafePoll() as Exit.Exit<unknown, unknown> | null) !== null
  }

  override onDue(): void {
    const { pid, timeoutMs } = this
    const isFromItself = selfOf(this.#caller) === pid
    if (this.fail(new CallTimeout({ pid, request: nameOf(this.payload), timeoutMs, isFromItself }))) {
      counters.callTimeouts++
    }
  }

  /** There is no room. */
  onDropped(capacity: number): void {
    this.fail(new MailboxFull({ pid: this.pid, capacity }))
  }

  onAdmitted(): void {}

  onReceiverExit(reason: ExitReason.ExitReason): void {
    this.fail(new ProcessExited({ pid: this.pid, reason }))
  }
}

/** What a message is called in errors and reports: its tag if it has one. Never its content. */
export const nameOf = (payload: unknown): string => {
  if (typeof payload === "object" && payload !== null) {
    const tag = (payload as { readonly _tag?: unknown })._tag
    if (typeof tag === "string") return tag
    return payload.constructor?.name ?? "object"
  }
  return typeof payload === "function" ? payload.name || "function" : typeof payload
}
