/**
 * What has been committed and has yet to leave the cache: webhooks, emits and log lines, kept until the operation and
 * all that came of it have settled, then handed to the ports in the order of the runs.
 *
 * Bounded by the operation's fuel, which runs and calls of `cache` cost, and each overlay's own limits; what an emit
 * multiplies by its subscribers is bounded here (`CascadeLimits.deliveries`).
 */
import type { Webhook } from "../webhooks/index.ts"
import type { CascadeLimits } from "./Cascade.ts"
import type { Overlay, OverlayEmit, OverlayLog } from "./Overlay.ts"
import type { Trigger, TriggerEventName } from "./Trigger.ts"
import type { TriggerLog } from "./TriggerLog.ts"
import type { TenantRef } from "./TriggerStore.ts"

/** Where a webhook goes when its operation is over: the dispatcher's port. */
export interface WebhookPort {
  /** Takes the webhook, or answers false when it cannot be sent. Never waits. */
  offer(webhook: Webhook): boolean
  /** Why the last one that was not taken was not. */
  readonly lastRefusal: string
}

/** One line that a trigger logged, with where it came from. */
export interface TriggerLine extends OverlayLog {
  readonly atMs: number
  readonly trigger: string
  readonly event: TriggerEventName
  readonly key: string
  /** The id of the cascade that it belongs to; absent outside of one. */
  readonly cascade: string | undefined
  /** Whose trigger it is; absent for no tenant's. */
  readonly tenant?: string
}

/** What a runner hands its effects to; each is synchronous and never throws. */
export interface RunnerPorts {
  readonly webhooks: WebhookPort
  /** Answers to how many subscribers the message went, where that is known. */
  readonly emits: { publish(channel: string, payload: string): unknown }
  readonly lines: { offer(line: TriggerLine): boolean }
}

/** The run that effects come from. */
export interface EffectSource {
  readonly trigger: Trigger
  readonly event: TriggerEventName
  readonly key: string
  readonly sequence: number
  readonly atMs: number
  readonly cascade: string
}

/** The header of a webhook that names the cascade which it is part of. */
export const cascadeHeader = "mimosa-cascade"

interface Batch {
  /** Each with the sequence of the event that it comes from. */
  readonly webhooks: Array<{ readonly webhook: Webhook; readonly source: EffectSource }>
  readonly emits: Array<{ readonly emit: OverlayEmit; readonly source: EffectSource }>
  readonly lines: TriggerLine[]
}

export interface EffectOptions {
  readonly ports: RunnerPorts
  /** Where it says what nobody took. */
  readonly log: TriggerLog
  readonly cascade: Pick<CascadeLimits, "deliveries">
  readonly tenant?: TenantRef | null
}

export class EffectCounters {
  webhooksRefused = 0
  linesDropped = 0
  /** Emits that were not published, because those before had reached as many subscribers as an operation may. */
  emitsDropped = 0
}

export class Effects {
  private batch: Batch | null = null

  constructor(
    private readonly options: EffectOptions,
    readonly counters = new EffectCounters()
  ) {}

  /** Keeps what a run wants to send. */
  take({ webhooks, emits, logs }: Overlay, source: EffectSource): void {
    this.batch ??= { webhooks: [], emits: [], lines: [] }
    const { trigger, event, key, sequence, atMs, cascade } = source
    const { stats } = trigger
    stats.webhooks += webhooks.length
    stats.emits += emits.length
    stats.logs += logs.length
    for (const emit of emits) this.batch.emits.push({ emit, source })
    const context = { trigger: trigger.name, event, key }
    const { tenant = null } = this.options
    const [owner, ownerId] = tenant === null ? [{}, {}] : [{ tenant }, { tenant: tenant.id }]
    for (const each of webhooks) {
      const headers = { ...each.headers, [cascadeHeader]: cascade }
      const webhook = { ...each, headers, ...context, sequence, ...owner, createdAtMs: atMs }
      this.batch.webhooks.push({ webhook, source })
    }
    for (const each of logs) this.batch.lines.push({ ...each, ...context, ...ownerId, atMs, cascade })
  }

  /** Hands over what is kept. What that sets off in turn is another operation's. */
  release(): void {
    const { batch } = this
    if (batch === null) return
    this.batch = null
    const { webhooks, lines } = this.options.ports
    for (const { webhook, source } of batch.webhooks) {
      if (webhooks.offer(webhook)) continue
      this.counters.webhooksRefused++
      this.refuse(source, "refused:webhook", `${webhooks.lastRefusal} (webhook ${webhook.id} was not sent)`, 1)
    }
    if (batch.emits.length > 0) this.publish(batch.emits)
    for (const line of batch.lines) if (!lines.offer(line)) this.counters.linesDropped++
  }

  private publish(emits: Batch["emits"]): void {
    const { ports, cascade } = this.options
    let deliveries = 0
    for (let i = 0; i < emits.length; i++) {
      const { emit, source } = emits[i] as Batch["emits"][number]
      if (deliveries >= cascade.deliveries) {
        const dropped = emits.length - i
        this.counters.emitsDropped += dropped
        const reason = `an operation's emits may reach ${cascade.deliveries} subscribers in all; emit less, or subscribe less often`
        this.refuse(source, "refused:emit", reason, dropped)
        return
      }
      const receivers = ports.emits.publish(emit.channel, emit.payload)
      deliveries += typeof receivers === "number" ? Math.max(1, receivers) : 1
    }
  }

  private refuse(source: EffectSource, kind: "refused:webhook" | "refused:emit", message: string, count: number): void {
    const { trigger, event, sequence, key, atMs } = source
    this.options.log.append({ atMs, trigger: trigger.name, event, sequence, key, kind, message, count })
  }
}
