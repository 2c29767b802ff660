/**
 * Runs a trigger on a made-up event, and nothing happens: in a machine of its own that is thrown away, against the
 * keyspace as it is, with the overlay shown instead of committed. Limited by fuel alone, so that the same question has
 * the same answer on every machine. Triggers that its writes would fire are not followed.
 */
import { fromValue, type Output, toBytes, toText } from "../cache/index.ts"
import { KeyEvent, type Keyspace, type Meta, noMeta, unmatched, type Value, type ValueObject } from "../kernel/index.ts"

import { fuelPerMicro, type LuaValue, LuaVm, Refusal, RunStatus } from "../sandbox/index.ts"
import { Run } from "./CacheApi.ts"
import { eventFields, writeFields } from "./EventFields.ts"
import { machineParts } from "./Machines.ts"
import type { OverlayEmit, OverlayLog, OverlayWebhook } from "./Overlay.ts"
import { type FailureKind, type TriggerDefinition, type TriggerEventName, triggerEvents } from "./Trigger.ts"
import { TriggerSyntaxError } from "./TriggerError.ts"
import { errorText } from "./TriggerRunner.ts"

/** The event that is tried. Keys and values as the kernel holds them. */
export interface TestEvent {
  readonly event: TriggerEventName
  readonly key: string
  /** The new value; for deletes, expiries and evictions the one that goes. */
  readonly value: Value
  /** The value before a write; absent for a key that was not there. */
  readonly oldValue?: Value
  readonly metadata?: ValueObject
  readonly tags?: readonly string[]
  readonly cost?: number
}

export interface DryRunReport {
  readonly status: "ok" | FailureKind
  /** What the chunk returned. */
  readonly result: Output
  /** Why it failed, with its line; null when it did not. */
  readonly error: string | null
  readonly writes: ReadonlyArray<{
    readonly key: string
    readonly value: Output
    /** Milliseconds; null for a write without a TTL. */
    readonly ttlMs: number | null
    readonly metadata: ValueObject | null
    readonly tags: readonly string[]
    readonly cost: number
  }>
  readonly deletes: readonly string[]
  readonly emits: readonly OverlayEmit[]
  readonly webhooks: readonly OverlayWebhook[]
  readonly logs: readonly OverlayLog[]
  /** The fastest of a few runs, microseconds. The one number here that depends on the machine. */
  readonly us: number
  readonly fuel: number
  readonly bytes: number
}

export interface DryRunOptions {
  readonly keyspace: Keyspace
  readonly origin: string
  readonly nowMs: number
  readonly monotonicMs: () => number
}

export const dryRun = (
  { name, source, timeoutUs, memoryBytes }: Pick<TriggerDefinition, "name" | "source" | "timeoutUs" | "memoryBytes">,
  test: TestEvent,
  { keyspace, origin, nowMs, monotonicMs }: DryRunOptions
): DryRunReport | TriggerSyntaxError => {
  const run = new Run(origin)
  const vm = new LuaVm(machineParts(run, () => nowMs))
  const definition = vm.define(name, toBytes(source))
  if (!definition.ok) {
    const { line, column, message } = definition.error
    return new TriggerSyntaxError({ trigger: name, line, column, reason: message })
  }
  const slots = definition.analysis.fields.map((field) => eventFields.indexOf(field))
  const event = madeUp(test, keyspace, nowMs)
  const limits = { timeoutMicros: timeoutUs, bytesMax: memoryBytes, fuelMax: timeoutUs * fuelPerMicro }
  let us = Number.POSITIVE_INFINITY
  let status: RunStatus = RunStatus.ok
  let error: string | null = null
  for (let attempt = 0; attempt < attempts && status === RunStatus.ok; attempt++) {
    vm.rewind()
    run.begin(keyspace, name, event.sequence, nowMs)
    const beganMs = monotonicMs()
    const refusal = writeFields(vm.frame, slots, event, null, origin)
    status = refusal === undefined ? vm.evaluate(definition.program, limits) : RunStatus.error
    us = Math.min(us, (monotonicMs() - beganMs) * 1000)
    if (refusal !== undefined) error = `event.${refusal.message}`
    else if (status !== RunStatus.ok) error = errorText(vm.lastError)
  }
  const { overlay } = run
  if (status !== RunStatus.ok) overlay.clear()
  return {
    status: statusNames[status],
    result: shown(vm.lastResult),
    error,
    writes: [...overlay.changes].flatMap(([key, change]) =>
      change === null
        ? []
        : {
            key: textOf(key),
            value: fromValue(change.value),
            ttlMs: change.expiresAtMs === 0 ? null : change.expiresAtMs - nowMs,
            ...change.meta,
            tags: change.meta.tags.map(textOf)
          }
    ),
    deletes: [...overlay.changes].flatMap(([key, change]) => (change === null ? textOf(key) : [])),
    emits: overlay.emits.map(({ channel, payload }) => ({ channel: textOf(channel), payload: textOf(payload) })),
    webhooks: [...overlay.webhooks],
    logs: [...overlay.logs],
    us,
    fuel: vm.lastFuel,
    bytes: vm.lastBytes
  }
}

const attempts = 5 // runs; the first one of a new machine is slower than those that follow

const statusNames = ["ok", "error", "timeout", "memory", "killed"] as const

const madeUp = (test: TestEvent, keyspace: Keyspace, nowMs: number): KeyEvent => {
  const { event, key, value, oldValue, metadata = null, tags = [], cost = 0 } = test
  const isRemoval = event === "ON_DELETE" || event === "ON_EXPIRE" || event === "ON_EVICT"
  const meta: Meta = metadata === null && tags.length === 0 && cost === 0 ? noMeta : { metadata, tags, cost }
  return new KeyEvent(
    0,
    triggerEvents[event][0],
    key,
    isRemoval ? undefined : value,
    isRemoval ? value : oldValue,
    meta,
    keyspace.version,
    event === "ON_EXPIRE" ? nowMs : 0,
    nowMs,
    false,
    1,
    null,
    unmatched
  )
}

const textOf = (bytes: string): string => toText(bytes) ?? bytes

/** A result as people see it; what cannot leave Lua is named. */
const shown = (result: LuaValue | Refusal): Output =>
  result instanceof Refusal ? result.message : fromValue(result as Value)
