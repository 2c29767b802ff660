/** One attempt to deliver: a POST, and what came of it. Never fails; an outcome says what went wrong. */
import { Clock, Effect } from "effect"
import { type Agent, type Dispatcher, request } from "undici"
import { type Delivery, headersOf } from "./Delivery.ts"
import type { Mishap, Outcome } from "./RetryPolicy.ts"
import { EgressRefused } from "./WebhooksError.ts"

export interface AttemptSettings {
  /** Milliseconds from the start to the head of the answer, connecting included. */
  readonly attemptTimeoutMs: number
  readonly userAgent: string
}

/** Redirects are not followed. The body of the answer is read, up to a bound, and dropped. */
export const post = (
  agent: Agent,
  delivery: Delivery,
  { attemptTimeoutMs, userAgent }: AttemptSettings
): Effect.Effect<Outcome> =>
  Effect.gen(function* () {
    const headers = headersOf(delivery, yield* Clock.currentTimeMillis, userAgent)
    const answer = yield* Effect.tryPromise({
      try: (signal) =>
        request(delivery.url, { dispatcher: agent, method: "POST", headers, body: delivery.body, signal }),
      catch: (error) => error as Error
    }).pipe(Effect.timeoutFail({ duration: attemptTimeoutMs, onTimeout: () => tooLate(attemptTimeoutMs) }))
    yield* drop(answer.body)
    const retryAfter = answer.headers["retry-after"]
    return { type: "answer", status: answer.statusCode, retryAfter: String(retryAfter ?? "") } as const
  }).pipe(
    Effect.catchAll((error) =>
      Effect.succeed<Outcome>(
        error instanceof EgressRefused
          ? { type: "refused", detail: error.reason, shown: "it leads to no address that may be reached from here" }
          : { type: "failure", ...mishapOf(error) }
      )
    )
  )

const tooLate = (timeoutMs: number): Error => new Error(`no answer within ${timeoutMs} ms`)

/** Reads what a receiver says beyond its status, so that the connection can be used again; cuts off who says too much. */
const drop = (body: Dispatcher.ResponseData["body"]): Effect.Effect<void> =>
  Effect.tryPromise((signal) => body.dump({ limit: bodyBytesMax, signal })).pipe(
    Effect.timeout(bodyTimeoutMs),
    Effect.ignore
  )

const bodyBytesMax = 64 * 1024
const bodyTimeoutMs = 1_000 // the status has come: nothing is worth waiting for

/** Node wraps what went wrong with several addresses into an error without words; other words have an address in them. */
const mishapOf = ({ message, code, name }: Error & { readonly code?: string }): Mishap => ({
  detail: message || code || name,
  shown: code ?? (message || name)
})
