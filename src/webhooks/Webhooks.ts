/**
 * Webhooks as a service: a port that takes them at once, and the processes that deliver them later.
 *
 * The outbox and the port belong to the layer's scope, the dispatcher to the supervision tree, into which whoever builds
 * it puts `child`. So a crash of the dispatcher loses nothing; the end of the process loses what is pending.
 */
import { Context, Effect, Layer } from "effect"
import { GenServer, type Process, Supervisor } from "../actor/index.ts"
import { Histogram, type MetricReader, metric } from "../telemetry/index.ts"
import { Dispatcher, type DispatcherSettings } from "./Dispatcher.ts"
import type { Resolve } from "./EgressAgent.ts"
import { EgressPolicy } from "./EgressPolicy.ts"
import { MemoryOutbox, type MemoryOutboxLimits } from "./MemoryOutbox.ts"
import type { WebhookOutbox } from "./WebhookOutbox.ts"
import { WebhookPort } from "./WebhookPort.ts"
import type { EgressAllowInvalid } from "./WebhooksError.ts"

export class Webhooks extends Context.Tag("mimosa-cache/webhooks/Webhooks")<
  Webhooks,
  {
    /** Where synchronous code hands webhooks over. */
    readonly port: WebhookPort
    /** What is pending, what was given up, and the counts. */
    readonly outbox: WebhookOutbox
    readonly policy: EgressPolicy
    readonly metrics: ReadonlyArray<MetricReader>
    /** The supervisor "webhooks" with the dispatcher below it. */
    readonly child: Supervisor.ChildSpec<Process.Self>
  }
>() {}

export interface WebhooksSettings extends DispatcherSettings, MemoryOutboxLimits {
  /** What may be reached beside public addresses; `EgressPolicy` gives the form. */
  readonly egressAllow: ReadonlyArray<string>
}

/** All settings but `userAgent`, which names the version of the program: `mimosa/1.2.3`. */
export const defaultSettings: Omit<WebhooksSettings, "userAgent"> = {
  egressAllow: [],
  maxPending: 10_000,
  maxPendingPerDestination: 5_000, // half: one dead receiver leaves room for the others
  maxPendingBytes: 64 * 1024 * 1024,
  maxPendingPerTenant: 1_000, // a tenth
  maxPendingBytesPerTenant: 8 * 1024 * 1024,
  maxDeadLetters: 100,
  maxDeadLettersPerTenant: 20, // a fifth
  inFlightMax: 64,
  inFlightPerDestinationMax: 8,
  attemptTimeoutMs: 10_000,
  drainTimeoutMs: 3_000, // within what service managers grant to a whole program
  retry: { attemptsMax: 5, baseMs: 1_000, growth: 4, maxMs: 5 * 60_000 } // about 1, 4, 16 and 64 s after a failure
}

/**
 * The service with an outbox in memory. Fails with `EgressAllowInvalid` when an item of the allow list cannot be read.
 *
 * @example
 * const { port, child } = yield* Webhooks
 * yield* Supervisor.start({ children: [child] })
 */
export const layer = (
  settings: Partial<WebhooksSettings> & Pick<WebhooksSettings, "userAgent">,
  resolve?: Resolve
): Layer.Layer<Webhooks, EgressAllowInvalid> =>
  Layer.effect(Webhooks, make({ ...defaultSettings, ...settings }, resolve))

const make = (settings: WebhooksSettings, resolve: Resolve | undefined) =>
  Effect.gen(function* () {
    const policy = yield* EgressPolicy.parse(settings.egressAllow)
    const outbox = new MemoryOutbox(settings)
    const port = new WebhookPort(outbox, policy)
    const attemptSeconds = new Histogram()
    const dispatcher = GenServer.childSpec(
      Dispatcher,
      { outbox, port, policy, settings, attemptSeconds, ...(resolve === undefined ? {} : { resolve }) },
      { shutdown: settings.drainTimeoutMs + 1_000 } // ms; time to say what is left
    )
    return Webhooks.of({
      port,
      outbox,
      policy,
      metrics: metricsOf(outbox, attemptSeconds),
      child: Supervisor.childSpec("webhooks", {
        strategy: "rest_for_one", // an outbox with a process of its own stands before the dispatcher
        children: [dispatcher]
      })
    })
  })

const metricsOf = ({ stats }: WebhookOutbox, attemptSeconds: Histogram): ReadonlyArray<MetricReader> => [
  { ...metric.webhooksOffered, read: () => stats.offered },
  { ...metric.webhooksDelivered, read: () => stats.delivered },
  { ...metric.webhooksRetried, read: () => stats.retried },
  { ...metric.webhooksRecovered, read: () => stats.recovered },
  { ...metric.webhooksDead, read: () => Object.entries(stats.dead).map(([cause, count]) => [{ cause }, count]) },
  { ...metric.webhooksOverflow, read: () => stats.overflow },
  { ...metric.webhooksPending, read: () => stats.pending },
  { ...metric.webhooksPendingBytes, read: () => stats.pendingBytes },
  { ...metric.webhooksInFlight, read: () => stats.inFlight },
  { ...metric.webhookAttempt, read: () => attemptSeconds }
]
