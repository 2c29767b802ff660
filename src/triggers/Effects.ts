/**
 * What has been committed and has yet to leave the cache: webhooks, emits, log lines and keys to be loaded anew, kept
 * until the operation and all that came of it have settled, then handed to the ports in the order of the runs.
 *
 * Bounded by the operation's fuel, which runs and calls of `cache` cost, and each overlay's own limits; what an emit
 * multiplies by its subscribers is bounded here (`CascadeLimits.deliveries`).
 */
import { lossyText } from "../cache/index.ts"
import type { Keyspace } from "../kernel/index.ts"
import type { Webhook } from "../webhooks/index.ts"
import type { CascadeLimits, CascadeStep } from "./Cascade.ts"
import type { Overlay, OverlayEmit, OverlayLog } from "./Overlay.ts"
import type { Trigger, TriggerEventName } from "./Trigger.ts"
import type { EffectKind, TriggerLog } from "./TriggerLog.ts"
import type { TenantRef } from "./TriggerStore.ts"

/** Where a webhook goes when its operation is over: the dispatcher's port. */
export interface WebhookPort {
  /** Takes the webhook, or answers false when it cannot be sent. Never waits. */
  offer(webhook: Webhook): boolean
  /** Why the last one that was not taken was not. */
  readonly lastRefusal: string
}

/** Where a key goes that a trigger wants loaded anew: the fills. */
export interface WarmPort {
  /**
   * Invalidates the key now if it is here, and has it loaded when its turn comes; or answers why it will not be.
   * `onFailed` is told why a load has failed. Never waits.
   */
  warmLater(keyspace: Keyspace, key: string, onFailed: (error: unknown) => void): "no loader" | "no room" | null
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
  readonly warming: WarmPort
}

/** The run that effects come from. */
export interface EffectSource {
  readonly trigger: Trigger
  readonly event: TriggerEventName
  readonly key: string
  readonly sequence: number
  readonly atMs: number
  readonly cascade: string
  readonly keyspace: Keyspace
  /** What has come of the run, for the events of what is warmed; null where nothing is. */
  readonly step: CascadeStep | null
  /** What it ran on happened first on another instance: no webhook is sent from here (law 13). */
  readonly isFromPeer: boolean
}

/** The header of a webhook that names the cascade which it is part of. */
export const cascadeHeader = "mimosa-cascade"

interface Batch {
  /** Each with the sequence of the event that it comes from. */
  readonly webhooks: Array<{ readonly webhook: Webhook; readonly source: EffectSource }>
  readonly emits: Array<{ readonly emit: OverlayEmit; readonly source: EffectSource }>
  readonly lines: TriggerLine[]
  readonly warms: Array<{ readonly keys: readonly string[]; readonly source: EffectSource }>
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
  /** Webhooks that were not sent because another instance sends them. */
  webhooksSuppressed = 0
  /** Keys that no loader is for, or for which there was no room. */
  warmsRefused = 0
}

export class Effects {
  private batch: Batch | null = null

  constructor(
    private readonly options: EffectOptions,
    readonly counters = new EffectCounters()
  ) {}

  /** Keeps what a run wants to send. */
  take({ webhooks, emits, logs, warms }: Overlay, source: EffectSource): void {
    this.batch ??= { webhooks: [], emits: [], lines: [], warms: [] }
    const { trigger, event, key, sequence, atMs, cascade, isFromPeer } = source
    const { stats } = trigger
    stats.emits += emits.length
    stats.logs += logs.length
    stats.warms += warms.size
    if (warms.size > 0) this.batch.warms.push({ keys: [...warms], source })
    for (const emit of emits) this.batch.emits.push({ emit, source })
    const context = { trigger: trigger.name, event, key }
    const { tenant = null } = this.options
    const [owner, ownerId] = tenant === null ? [{}, {}] : [{ tenant }, { tenant: tenant.id }]
    if (isFromPeer) this.suppress(webhooks.length, source)
    else stats.webhooks += webhooks.length
    for (const each of isFromPeer ? [] : webhooks) {
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
    for (const { keys, source } of batch.warms) this.warm(keys, source)
  }

  /** Counts webhooks that the instance sends on which it happened; a busy trigger has one record of them a second. */
  private suppress(count: number, { trigger, event, key, sequence, atMs }: EffectSource): void {
    if (count === 0) return
    trigger.stats.webhooksSuppressed += count
    this.counters.webhooksSuppressed += count
    const { log } = this.options
    if (log.addTo(trigger.suppressed, "webhook", atMs, count)) return
    const message = "what it ran on happened on another instance, whose triggers send their own webhooks"
    trigger.suppressed = log.appendSuppressed({ atMs, trigger: trigger.label, event, sequence, key, message, count })
  }

  /** Has keys loaded anew; what that invalidates here belongs to the cascade of the run. */
  private warm(keys: readonly string[], source: EffectSource): void {
    const { keyspace, step } = source
    const onFailed = (error: unknown): void => this.refuse(source, "failed:warm", messageOf(error), 1)
    const refused: string[] = []
    let why: "no loader" | "no room" | null = null
    const { origin } = keyspace
    keyspace.origin = step
    const wasHeld = keyspace.hold() // one change, as the run was one
    try {
      for (const key of keys) {
        const refusal = this.options.ports.warming.warmLater(keyspace, key, onFailed)
        if (refusal === null) continue
        why ??= refusal
        refused.push(key)
      }
    } finally {
      keyspace.release(wasHeld)
      keyspace.origin = origin
    }
    if (why === null) return
    this.counters.warmsRefused += refused.length
    const [first = ""] = refused
    const more = refused.length === 1 ? "" : ` and ${refused.length - 1} more`
    const reason =
      why === "no loader"
        ? "no loader is registered for it: see cache.loader"
        : "too many keys wait to be warmed: warm fewer, or less often"
    this.refuse(source, "refused:warm", `'${lossyText(first.slice(0, 80))}'${more}: ${reason}`, refused.length)
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

  private refuse(source: EffectSource, kind: EffectKind, message: string, count: number): void {
    const { trigger, event, sequence, key, atMs } = source
    this.options.log.append({ atMs, trigger: trigger.name, event, sequence, key, kind, message, count })
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
