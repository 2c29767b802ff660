/**
 * The process that sends what is due.
 *
 * It takes from the outbox as much as may be in flight and starts a linked process for each attempt, which writes the
 * result to the outbox and ends. Each end is a message here, and room for the next. So nothing that goes wrong in an
 * attempt harms the others, and at a shutdown attempts can be waited for by their ends.
 *
 * It holds no state that matters. When it crashes its attempts are cut off with it; the next one finds them in the
 * outbox as in flight and sends them anew, with their ids: at least once.
 */
import { Clock, Effect, Random } from "effect"
import type { Agent } from "undici"
import { ExitReason, GenServer, type Pid, Process } from "../actor/index.ts"
import { type Histogram, logAnnotation } from "../telemetry/index.ts"
import { type AttemptSettings, post } from "./Attempt.ts"
import * as EgressAgent from "./EgressAgent.ts"
import type { EgressPolicy } from "./EgressPolicy.ts"
import { judge, mishap, type Outcome, type RetrySettings } from "./RetryPolicy.ts"
import type { InFlight, InFlightLimits, WebhookOutbox } from "./WebhookOutbox.ts"
import type { WebhookPort } from "./WebhookPort.ts"

export interface DispatcherSettings extends AttemptSettings, InFlightLimits {
  readonly retry: RetrySettings
  /** Milliseconds that a shutdown waits for what is in flight. */
  readonly drainTimeoutMs: number
}

/** What outlives the dispatcher, given to each that is started. */
export interface DispatcherArgs {
  readonly outbox: WebhookOutbox
  readonly port: WebhookPort
  readonly policy: EgressPolicy
  readonly settings: DispatcherSettings
  readonly attemptSeconds: Histogram
  /** All addresses of a name. Default: the system's resolver. */
  readonly resolve?: EgressAgent.Resolve
}

interface State extends DispatcherArgs {
  readonly agent: Agent
  readonly attempts: Map<Pid.Pid, InFlight>
}

export const Dispatcher = GenServer.define<{ readonly cast: "wake"; readonly continue: "begin" }>()({
  name: "dispatcher",
  trapExit: true, // a shutdown waits for attempts, and an attempt that crashes is not the end
  init: (args: DispatcherArgs) =>
    Effect.gen(function* () {
      const agent = yield* EgressAgent.make({
        policy: args.policy,
        connectionsPerOrigin: args.settings.inFlightPerDestinationMax,
        connectTimeoutMs: args.settings.attemptTimeoutMs,
        ...(args.resolve === undefined ? {} : { resolve: args.resolve })
      })
      const self = yield* Process.self
      const detach = args.port.attach(() => GenServer.unsafeOffer(self, "wake"))
      yield* Effect.addFinalizer(() => Effect.sync(detach))
      const recovered = args.outbox.recover()
      if (recovered > 0) {
        yield* Effect.logWarning("webhooks that were in flight are sent anew").pipe(
          Effect.annotateLogs(logAnnotation.count, recovered)
        )
      }
      return GenServer.Ok<State, "begin">({ ...args, agent, attempts: new Map() }, { continue: "begin" })
    }),
  handleContinue: (_, state) => sendDue(state),
  handleCast: (_, state) => sendDue(state),
  handleInfo: (message, state) => {
    if (message._tag !== "Exit") return sendDue(state) // the time-out: a retry is due
    const flight = message.pid === null ? undefined : state.attempts.get(message.pid)
    if (flight === undefined) return GenServer.Stop(message.reason, state)
    state.attempts.delete(message.pid as Pid.Pid)
    return Effect.zipRight(settleIfCutOff(state, flight, message.reason), sendDue(state))
  },
  terminate: (reason, state) => (ExitReason.isAbnormal(reason) ? undefined : drain(state)),
  memoryBytes: ({ outbox }) => outbox.stats.pendingBytes,
  inspect: ({ outbox }) => ({ ...outbox.stats })
})

/** Starts what is due and may be in flight; wakes again when the next retry is due. */
const sendDue = (state: State) =>
  Effect.gen(function* () {
    const { outbox, settings, attempts } = state
    const nowMs = yield* Clock.currentTimeMillis
    for (const flight of outbox.takeDue(nowMs, settings)) {
      const pid = yield* Process.spawnLink(attempt(state, flight), { label: `attempt ${flight.destination}` })
      attempts.set(pid, flight)
    }
    const waitMs = outbox.nextRetryAtMs() - nowMs
    return GenServer.NoReply(state, Number.isFinite(waitMs) ? { timeout: waitMs } : undefined)
  })

const attempt = (state: State, flight: InFlight): Effect.Effect<void> =>
  Effect.gen(function* () {
    const startedAtMs = yield* Clock.currentTimeMillis
    const outcome = yield* post(state.agent, flight.delivery, state.settings)
    if (state.agent.destroyed) return // the dispatcher is gone, and the request was cut off: it stays in flight
    state.attemptSeconds.record(((yield* Clock.currentTimeMillis) - startedAtMs) / 1000)
    yield* settle(state, flight, outcome)
  })

const settle = ({ outbox, port, settings }: State, { ticket, delivery, destination }: InFlight, outcome: Outcome) =>
  Effect.gen(function* () {
    const nowMs = yield* Clock.currentTimeMillis
    const verdict = judge(outcome, delivery.attempt, nowMs, yield* Random.next, settings.retry)
    if (verdict.type === "delivered") return outbox.delivered(ticket)
    const { tenant } = delivery
    if (verdict.type === "retry") outbox.retryAt(ticket, verdict.atMs)
    else {
      if (!outbox.dead(ticket, nowMs, verdict.cause, verdict.detail)) return
      port.giveUp({ delivery, destination, reason: tenant === undefined ? verdict.detail : verdict.shown })
    }
    yield* Effect.annotateLogs(verdict.type === "retry" ? attemptFailed : givenUp, {
      ...(tenant === undefined ? {} : { [logAnnotation.tenant]: tenant.id }),
      [logAnnotation.webhook]: delivery.id,
      [logAnnotation.destination]: destination,
      [logAnnotation.trigger]: delivery.trigger,
      [logAnnotation.attempt]: delivery.attempt,
      [logAnnotation.reason]: verdict.detail
    })
  })

const attemptFailed = Effect.logDebug("webhook attempt failed; it will be tried again")
const givenUp = Effect.logWarning("webhook given up; the TRIGGER LOG of whoever it belongs to names it")

/** An attempt that came to its end has settled. One that crashed or was ended has not. */
const settleIfCutOff = (state: State, flight: InFlight, reason: ExitReason.ExitReason): Effect.Effect<void> =>
  reason._tag === "normal"
    ? Effect.void
    : settle(state, flight, { type: "failure", ...mishap(`the attempt was cut off (${ExitReason.format(reason)})`) })

const drain = ({ outbox, settings, attempts }: State): Effect.Effect<void> =>
  Effect.gen(function* () {
    const ends = Effect.forEach(attempts.keys(), Process.awaitExit, { concurrency: "unbounded", discard: true })
    yield* Effect.timeoutOption(ends, settings.drainTimeoutMs)
    yield* Effect.forEach(attempts.keys(), (pid) => Process.exit(pid, ExitReason.shutdown), { discard: true })
    const { pending } = outbox.stats
    if (pending === 0) return
    yield* Effect.logWarning("webhooks left undelivered").pipe(Effect.annotateLogs(logAnnotation.count, pending))
  })
