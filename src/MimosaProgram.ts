/**
 * One start of a Mimosa, for callers of promises: everything waits for the start, rejects with plain errors, and is
 * waited for by the close.
 */
import { setMaxListeners } from "node:events"
import { Cause, type Context, Effect, Exit, ManagedRuntime } from "effect"
import { layer, type Services, type StartError } from "./App.ts"
import type { Settings } from "./Settings.ts"

export class MimosaProgram {
  private readonly runtime: ManagedRuntime.ManagedRuntime<Services, StartError>
  private started: Context.Context<Services> | null = null
  private closing: Promise<void> | null = null
  /** Calls that have no answer yet: `close` waits for theirs. */
  private readonly calls = new Set<Promise<unknown>>()
  private readonly end = new AbortController()

  /** Is fulfilled when everything runs; rejected with what kept it from starting. */
  readonly ready: Promise<void>

  /** Is aborted as soon as the close is asked for: ends those calls for which there is no use in waiting. */
  readonly closes: AbortSignal = this.end.signal

  constructor(settings: Settings) {
    setMaxListeners(0, this.closes) // as many calls as there are: each takes its listener back
    this.runtime = ManagedRuntime.make(layer(settings))
    this.ready = this.settle(Effect.context<Services>()).then((services) => {
      this.started = services
    })
    this.ready.catch(() => {}) // whoever waits for a method is told; an unused instance is no unhandled rejection
  }

  /**
   * Runs an effect behind the start and all that was asked for before it. Once `signal` is aborted it is interrupted, and
   * the promise rejected with the signal's reason.
   */
  async run<A, E>(effect: Effect.Effect<A, E, Services>, signal?: AbortSignal): Promise<A> {
    if (this.closing !== null) throw isClosed()
    // Waiting for `ready`, and not for the runtime, keeps the calls that were made before it in their order.
    const call =
      this.started === null ? this.ready.then(() => this.settle(effect, signal)) : this.settle(effect, signal)
    this.calls.add(call)
    try {
      return await call
    } finally {
      this.calls.delete(call)
    }
  }

  /** The services at once. Throws before the start is over and after the close. */
  open(): Context.Context<Services> {
    if (this.closing !== null) throw isClosed()
    if (this.started === null) throw new Error("the cache has not started: await cache.ready first")
    return this.started
  }

  /**
   * Stops everything, once the start is over and what was asked for before is done, or five seconds later: a load that
   * does not answer is cut off.
   */
  close(): Promise<void> {
    if (this.closing !== null) return this.closing
    this.closing = this.ready
      .catch(() => {})
      .then(() => within(closeWaitMs, Promise.allSettled(this.calls)))
      .then(() => this.runtime.dispose())
    this.end.abort(isClosed())
    return this.closing
  }

  /** Rejects with the error itself, not with a wrapper of Effect's. */
  private async settle<A, E>(effect: Effect.Effect<A, E, Services>, signal?: AbortSignal): Promise<A> {
    const exit = await this.runtime.runPromiseExit(effect, signal === undefined ? {} : { signal })
    if (Exit.isSuccess(exit)) return exit.value
    throw signal?.aborted === true && Cause.isInterruptedOnly(exit.cause) ? signal.reason : Cause.squash(exit.cause)
  }
}

/** Waits for what was promised, but no longer than that. */
const within = (ms: number, promised: Promise<unknown>): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    void promised.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })

const closeWaitMs = 5_000 // what service managers grant to a whole program is ten

const isClosed = () => new Error("the cache is closed; make a new one")
