/**
 * Runs triggers inline: the keyspaces' event sink.
 *
 * Everything here happens within the client's operation. An event finds its watchers ready in its match; each runs in
 * turn (law 8) on a machine, writes into an overlay, and the overlay is committed when it returns or dropped when it
 * fails (law 6). What the commit changes comes back as events with a `CascadeStep` as origin, behind those that wait
 * already: cascades are breadth first (law 7). What leaves the cache (emits, log lines, webhooks) is kept until the
 * whole cascade has settled.
 *
 * A machine that had to be killed has rewound itself to its snapshot before `run` returns, so the next event finds it
 * well; its process learns of the kill, crashes, and is restarted and counted by its supervisor. A trigger that kills
 * more often than its intensity allows is taken out, alone.
 */
import type { EventSink, KeyEvent, Keyspace } from "../kernel/index.ts"
import { type RunError, RunStatus } from "../sandbox/index.ts"
import type { Run } from "./CacheApi.ts"
import { Cascade, type CascadeLimits, CascadeStep } from "./Cascade.ts"
import { writeFields } from "./EventFields.ts"
import type { Machine, Machines } from "./Machines.ts"
import type { OverlayEmit, OverlayLog, OverlayWebhook } from "./Overlay.ts"
import {
  eventNameOf,
  type FailureKind,
  type SkipKind,
  sampleEvery,
  type Trigger,
  type TriggerEventName
} from "./Trigger.ts"
import type { TriggerLog } from "./TriggerLog.ts"

/** Where a webhook goes when its operation is over: the dispatcher's port. */
export interface WebhookPort {
  /** Takes the webhook, or answers false when it cannot be sent. Never waits. */
  offer(webhook: Webhook): boolean
  /** Why the last one that was not taken was not. */
  readonly lastRefusal: string
}

/** A webhook with where it came from. */
export interface Webhook extends OverlayWebhook {
  readonly trigger: string
  readonly event: TriggerEventName
  readonly key: string
  readonly createdAtMs: number
}

/** One line that a trigger logged, with where it came from. */
export interface TriggerLine extends OverlayLog {
  readonly atMs: number
  readonly trigger: string
  readonly event: TriggerEventName
  readonly key: string
  /** The id of the cascade that it belongs to; absent outside of one. */
  readonly cascade: string | undefined
}

/** What a runner hands its effects to; each is synchronous and never throws. */
export interface RunnerPorts {
  readonly webhooks: WebhookPort
  readonly emits: { publish(channel: string, payload: string): unknown }
  readonly lines: { offer(line: TriggerLine): boolean }
}

export interface RunnerOptions {
  /** Names this start of the process in webhook and cascade ids. */
  readonly origin: string
  readonly machines: Machines
  readonly log: TriggerLog
  readonly ports: RunnerPorts
  readonly cascade: CascadeLimits
  /** Milliseconds that only grow, for timing one run in some. */
  readonly monotonicMs: () => number
}

export class TriggerRunner implements EventSink {
  readonly counters = {
    runs: 0,
    /** Runs that failed, by kind. */
    failuresOf: { error: 0, timeout: 0, memory: 0, killed: 0 } satisfies Record<FailureKind, number>,
    /** Runs that did not take place, by reason. */
    skipsOf: { repeat: 0, depth: 0, budget: 0, quarantined: 0, no_vm: 0 } satisfies Record<SkipKind, number>,
    webhooksRefused: 0,
    linesDropped: 0
  }
  private readonly run: Run
  private effects: Effects | null = null
  /** Runs and fuel of the client event at hand, until a cascade counts them. */
  private rootRuns = 0
  private rootFuel = 0
  private rootCascade: Cascade | null = null

  constructor(private readonly options: RunnerOptions) {
    this.run = options.machines.run
  }

  onEvent(event: KeyEvent, keyspace: Keyspace): void {
    const watchers = event.match.watchersOf(event.cause) as readonly Trigger[]
    const step = event.origin as CascadeStep | null
    if (step === null) {
      this.rootRuns = 0
      this.rootFuel = 0
      this.rootCascade = null
    }
    for (let i = 0; i < watchers.length; i++) {
      const trigger = watchers[i] as Trigger
      if (trigger.isRemoved) continue
      const skip = this.reasonToSkip(trigger, event, step)
      if (skip === null) this.runOne(trigger, event, step, keyspace)
      else this.recordSkip(trigger, event, skip)
    }
  }

  onSettled(): void {
    const { effects } = this
    if (effects === null) return
    this.effects = null // what they set off in turn makes new ones
    const { webhooks, emits, lines } = this.options.ports
    for (const { webhook, sequence } of effects.webhooks) {
      if (webhooks.offer(webhook)) continue
      this.counters.webhooksRefused++
      const { createdAtMs: atMs, trigger, event, key } = webhook
      const message = `webhook ${webhook.id} was not sent: ${webhooks.lastRefusal}`
      this.options.log.append({ atMs, trigger, event, sequence, key, kind: "refused:webhook", message })
    }
    for (const { channel, payload } of effects.emits) emits.publish(channel, payload)
    for (const line of effects.lines) {
      if (!lines.offer(line)) this.counters.linesDropped++
    }
  }

  private reasonToSkip(trigger: Trigger, event: KeyEvent, step: CascadeStep | null): SkipKind | null {
    if (trigger.quarantine !== null) return "quarantined"
    const { cascade: limits } = this.options
    if (step === null) {
      return this.rootRuns >= limits.runs || this.rootFuel >= limits.fuel ? "budget" : null
    }
    const { cascade } = step
    if (step.depth > limits.depth) return "depth"
    if (cascade.runs >= limits.runs || cascade.fuel >= limits.fuel) return "budget"
    return cascade.enter(trigger, event.key) ? null : "repeat"
  }

  private runOne(trigger: Trigger, event: KeyEvent, step: CascadeStep | null, keyspace: Keyspace): void {
    const machine = this.options.machines.of(trigger)
    const vm = machine === null || typeof machine === "string" ? null : machine.vm
    if (vm === null) {
      this.recordMissing(trigger, event, machine)
      return
    }
    const { stats } = trigger
    const { run } = this
    const isTimed = stats.runs % sampleEvery === 0
    const beganMs = isTimed ? this.options.monotonicMs() : 0
    stats.runs++
    this.counters.runs++
    run.begin(keyspace, trigger.name, event.sequence, event.atMs)
    const refusal = writeFields(vm.frame, trigger.slots, event, step, this.options.origin)
    if (refusal !== undefined) {
      this.recordFailure(trigger, event, "error", `event.${refusal.message}`)
      return
    }
    const status = vm.run(trigger.program, trigger.limits)
    stats.fuel += vm.lastFuel
    if (step === null) {
      this.rootRuns++
      this.rootFuel += vm.lastFuel
      this.rootCascade?.spend(vm.lastFuel)
    } else step.cascade.spend(vm.lastFuel)
    if (status === RunStatus.ok) {
      if (!run.overlay.isEmpty) this.commit(trigger, event, step, keyspace)
    } else this.recordFailure(trigger, event, failureOf[status] as FailureKind, errorText(vm.lastError))
    if (isTimed) {
      const us = (this.options.monotonicMs() - beganMs) * 1000
      stats.timedRuns++
      stats.timedUs += us
      if (us > stats.timedUsMax) stats.timedUsMax = us
    }
    if (status === RunStatus.killed) this.recordKill(trigger, event, machine as Machine)
  }

  /** There is no machine, or, as a text, none that could take the program: a run that failed before it began. */
  private recordMissing(trigger: Trigger, event: KeyEvent, machine: Machine | string | null): void {
    if (typeof machine !== "string") {
      this.recordSkip(trigger, event, "no_vm")
      return
    }
    trigger.stats.runs++
    this.counters.runs++
    this.recordFailure(trigger, event, "memory", machine)
  }

  /** Applies the overlay: the changes now, in a new step of the cascade; what leaves the cache once all has settled. */
  private commit(trigger: Trigger, event: KeyEvent, step: CascadeStep | null, keyspace: Keyspace): void {
    const { overlay } = this.run
    const { stats } = trigger
    if (overlay.changes.size > 0) {
      const cascade = step === null ? this.cascadeOf(event) : step.cascade
      keyspace.origin = new CascadeStep(cascade, step === null ? 1 : step.depth + 1, trigger, step)
      try {
        for (const [key, change] of overlay.changes) {
          if (change === null) {
            stats.deletes++
            keyspace.delete(key)
          } else {
            stats.writes++
            keyspace.set(key, change.value, change.expiresAtMs, change.meta)
          }
        }
      } finally {
        keyspace.origin = null
      }
    }
    const { webhooks, emits, logs } = overlay
    if (webhooks.length + emits.length + logs.length === 0) return
    this.effects ??= { webhooks: [], emits: [], lines: [] }
    stats.webhooks += webhooks.length
    stats.emits += emits.length
    stats.logs += logs.length
    for (const each of emits) this.effects.emits.push(each)
    if (webhooks.length + logs.length === 0) return
    const context = { trigger: trigger.name, event: eventName(event), key: event.key }
    for (const each of webhooks) {
      const webhook = { ...each, ...context, createdAtMs: event.atMs }
      this.effects.webhooks.push({ webhook, sequence: event.sequence })
    }
    const cascade = step === null ? `${this.options.origin}-${event.sequence}` : step.cascade.id
    for (const each of logs) this.effects.lines.push({ ...each, ...context, atMs: event.atMs, cascade })
  }

  /** The cascade that a client's event begins. All triggers of the event itself count as having run for its key. */
  private cascadeOf(event: KeyEvent): Cascade {
    if (this.rootCascade === null) {
      this.rootCascade = new Cascade(`${this.options.origin}-${event.sequence}`)
      this.rootCascade.runs = this.rootRuns
      this.rootCascade.fuel = this.rootFuel
      for (const each of event.match.watchersOf(event.cause)) this.rootCascade.enter(each as Trigger, event.key)
    }
    return this.rootCascade
  }

  private recordSkip(trigger: Trigger, event: KeyEvent, kind: SkipKind): void {
    this.counters.skipsOf[kind]++
    trigger.stats.skips[kind]++
    this.append(trigger, event, `skipped:${kind}`, this.skipMessage(kind, trigger))
  }

  private skipMessage(kind: SkipKind, trigger: Trigger): string {
    const { depth, runs, fuel } = this.options.cascade
    switch (kind) {
      case "repeat":
        return "ran for this key in this cascade already"
      case "depth":
        return `the cascade is deeper than ${depth}`
      case "budget":
        return `the cascade has had its ${runs} runs or ${fuel} units of fuel`
      case "quarantined":
        return trigger.quarantine ?? ""
      case "no_vm":
        return "its machine is being brought back"
    }
  }

  private recordFailure(trigger: Trigger, event: KeyEvent, kind: FailureKind, message: string): void {
    this.counters.failuresOf[kind]++
    trigger.stats.failures[kind]++
    this.append(trigger, event, kind, message)
  }

  private recordKill(trigger: Trigger, event: KeyEvent, machine: Machine): void {
    machine.reportKill(trigger.name)
    const { kills } = trigger
    kills.push(event.atMs)
    while (event.atMs - (kills[0] as number) > killsWithinMs) kills.shift()
    if (kills.length <= killsMax) return
    trigger.quarantine = `killed its machine ${kills.length} times within ${killsWithinMs / 1000} s; set it again to try anew`
  }

  private append(trigger: Trigger, event: KeyEvent, kind: FailureKind | `skipped:${SkipKind}`, message: string): void {
    this.options.log.append({
      atMs: event.atMs,
      trigger: trigger.name,
      event: eventName(event),
      sequence: event.sequence,
      key: event.key,
      kind,
      message
    })
  }
}

const failureOf: readonly (FailureKind | undefined)[] = [undefined, "error", "timeout", "memory", "killed"]

/** A run's error with its line, where that is known. */
export const errorText = ({ message, line }: RunError): string => (line === 0 ? message : `line ${line}: ${message}`)

const killsMax = 5 // a trigger's restart intensity: more kills than these …
const killsWithinMs = 10_000 // … within this time take it out

/** What has been committed and has yet to leave. Bounded by the cascade's runs and each overlay's own limits. */
interface Effects {
  /** Each with the sequence of the event that it comes from. */
  readonly webhooks: Array<{ readonly webhook: Webhook; readonly sequence: number }>
  readonly emits: OverlayEmit[]
  readonly lines: TriggerLine[]
}

/** Only causes that have a name here can be watched, so only they get here. */
const eventName = (event: KeyEvent): TriggerEventName => eventNameOf[event.cause] as TriggerEventName
