/**
 * Runs a trigger on a made-up event, and nothing happens: in a machine of its own, against the keyspace as it is, with
 * the overlay shown instead of committed. Limited by fuel alone, so that the same question has the same answer on every
 * machine. Triggers that its writes would fire are not followed.
 *
 * One machine serves all dry runs, those of all tenants, since making one takes longer than most of them; it is rewound
 * before each, so that nothing of one is left for the next, and replaced when a hostile source has worn it out.
 */
import { asText, cutText, fromValue, type Output, toBytes } from "../cache/index.ts"
import {
  byteSize,
  KeyEvent,
  type Keyspace,
  type Meta,
  metaByteSize,
  type Nested,
  noMeta,
  sameValue,
  unmatched,
  type Value,
  type ValueObject
} from "../kernel/index.ts"
import { fuelPerMicro, type LuaValue, LuaVm, type Program, Refusal, RunStatus } from "../sandbox/index.ts"
import { beforeChangeOf, Run } from "./CacheApi.ts"
import { eventFields, writeFields } from "./EventFields.ts"
import { machineParts } from "./Machines.ts"
import { Overlay, type OverlayChange, type OverlayEmit, type OverlayLog, type OverlayWebhook } from "./Overlay.ts"
import { isBefore, type TriggerDefinition, type TriggerEventName, triggerEvents } from "./Trigger.ts"
import { TriggerSyntaxError } from "./TriggerError.ts"
import { errorText } from "./TriggerRunner.ts"
import type { FailureKind } from "./TriggerStats.ts"

/** The event that is tried. Keys and values as the kernel holds them. */
export interface TestEvent {
  readonly event: TriggerEventName
  readonly key: string
  /** The new value; for deletes, expiries and evictions the one that goes; not looked at for a flush. */
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
  /** Why it failed, with its line, or why a BEFORE_ trigger refuses; null otherwise. */
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
  /** Keys that would be loaded anew. */
  readonly warms: readonly string[]
  /** The fastest of a few runs, microseconds. The one number here that depends on the machine. */
  readonly us: number
  readonly fuel: number
  readonly bytes: number
}

/** What is run, of a definition. */
export type Runnable = Pick<TriggerDefinition, "name" | "source" | "timeoutUs" | "memoryBytes">

export interface DryRunnerOptions {
  readonly keyspace: Keyspace
  readonly origin: string
  readonly nowMs: () => number
  readonly monotonicMs: () => number
  /** Where it runs. Default: a machine of its own. */
  readonly machine?: DryMachine
}

/** The machine of dry runs, made when it is first wanted. */
export class DryMachine {
  readonly run: Run
  /** When the event happened that is being run on: the time that a run reads. */
  atMs = 0
  private machine: LuaVm | null = null

  constructor(origin: string, instance = origin) {
    this.run = new Run(origin, instance)
  }

  get vm(): LuaVm {
    if (this.machine === null || this.machine.isWorn) this.machine = new LuaVm(machineParts(this.run, () => this.atMs))
    return this.machine
  }
}

/** What one run came to, as the kernel holds it. */
export interface Outcome {
  readonly status: "ok" | FailureKind
  readonly error: string | null
  readonly result: LuaValue | Refusal
  /** In the order in which the keys were first touched; all empty for a run that failed. */
  readonly changes: ReadonlyArray<readonly [key: string, change: OverlayChange]>
  readonly emits: readonly OverlayEmit[]
  readonly webhooks: readonly OverlayWebhook[]
  readonly logs: readonly OverlayLog[]
  readonly warms: readonly string[]
  readonly atMs: number
  readonly us: number
  readonly fuel: number
  readonly bytes: number
}

/** A program in the machine of the dry runs. */
export interface Trial {
  /** Runs it on an event, with nothing left of what ran before; the keyspace that it reads is that of now. */
  readonly run: (event: KeyEvent, asksBefore?: boolean, attempts?: number) => Outcome
}

/** One dry run on a machine that is made for it; at the given time. */
export const dryRun = (
  definition: Runnable,
  test: TestEvent,
  options: Omit<DryRunnerOptions, "nowMs"> & { readonly nowMs: number }
): DryRunReport | TriggerSyntaxError => new DryRunner({ ...options, nowMs: () => options.nowMs }).test(definition, test)

export class DryRunner {
  private readonly machine: DryMachine
  private readonly overlay = new Overlay()

  constructor(private readonly options: DryRunnerOptions) {
    this.machine = options.machine ?? new DryMachine(options.origin)
  }

  /** Runs on a made-up event. */
  test(definition: Runnable, test: TestEvent): DryRunReport | TriggerSyntaxError {
    const { keyspace, nowMs } = this.options
    return this.runOn(definition, madeUp(test, keyspace, nowMs()), isBefore(test.event), attemptsOfOne)
  }

  /** Runs on an event. */
  runOn(definition: Runnable, event: KeyEvent, asksBefore: boolean, attempts = 1): DryRunReport | TriggerSyntaxError {
    return this.tryAll([definition], ([trial]) => reportOf((trial as Trial).run(event, asksBefore, attempts)))
  }

  /** Has these in the machine while `use` runs them; what no machine takes is the answer. */
  tryAll<A>(definitions: readonly Runnable[], use: (trials: readonly Trial[]) => A): A | TriggerSyntaxError {
    const { vm } = this.machine
    const programs: Program[] = []
    try {
      const trials: Trial[] = []
      for (const { name, source, timeoutUs, memoryBytes } of definitions) {
        const definition = vm.define(name, toBytes(source))
        if (!definition.ok) {
          const { line, column, message } = definition.error
          return new TriggerSyntaxError({ trigger: name, line, column, reason: message })
        }
        const { program, analysis } = definition
        programs.push(program)
        const slots = analysis.fields.map((field) => eventFields.indexOf(field))
        const limits = { timeoutMicros: timeoutUs, bytesMax: memoryBytes, fuelMax: timeoutUs * fuelPerMicro }
        trials.push({
          run: (event, asksBefore = false, attempts = 1) =>
            this.runOne(vm, program, name, slots, limits, event, asksBefore, attempts)
        })
      }
      return use(trials)
    } finally {
      for (const program of programs) vm.remove(program)
    }
  }

  private runOne(
    vm: LuaVm,
    program: Program,
    name: string,
    slots: readonly number[],
    limits: { readonly timeoutMicros: number; readonly bytesMax: number; readonly fuelMax: number },
    event: KeyEvent,
    asksBefore: boolean,
    attempts: number
  ): Outcome {
    const { machine, overlay } = this
    const { run } = machine
    const { keyspace, monotonicMs } = this.options
    machine.atMs = event.atMs
    let us = Number.POSITIVE_INFINITY
    let status: RunStatus = RunStatus.ok
    let error: string | null = null
    let refusal: Refusal | undefined
    for (let attempt = 0; attempt < attempts && status === RunStatus.ok; attempt++) {
      vm.rewind()
      run.begin(overlay, keyspace, name, event, asksBefore)
      const beganMs = monotonicMs()
      refusal = writeFields(vm.frame, slots, event, null, run)
      status = refusal === undefined ? vm.evaluate(program, limits) : RunStatus.error
      us = Math.min(us, (monotonicMs() - beganMs) * 1000)
    }
    if (refusal !== undefined) error = `event.${refusal.message}`
    else if (status !== RunStatus.ok) error = errorText(vm.lastError)
    const isRejected = run.rejection !== null
    if (isRejected) error = run.rejection
    else if (asksBefore && status === RunStatus.ok) {
      const change = beforeChangeOf(vm.lastResult, event.atMs)
      if (typeof change === "string") {
        status = RunStatus.error
        error = change
      }
    }
    if (status !== RunStatus.ok) overlay.clear()
    return {
      status: isRejected ? "rejected" : statusNames[status],
      error,
      result: status === RunStatus.ok ? vm.lastResult : null,
      changes: [...overlay.changes],
      emits: [...overlay.emits],
      webhooks: [...overlay.webhooks],
      logs: [...overlay.logs],
      warms: [...overlay.warms],
      atMs: event.atMs,
      us,
      fuel: vm.lastFuel,
      bytes: vm.lastBytes
    }
  }
}

/** Changes and effects of a run. */
export const operationsOf = ({ changes, emits, webhooks, logs, warms }: Outcome): number =>
  changes.length + emits.length + webhooks.length + logs.length + warms.length

/** Whether two runs would have the same consequences, whatever they cost. */
export const sameEffects = (a: Outcome, b: Outcome): boolean =>
  a.status === b.status &&
  a.error === b.error &&
  operationsOf(a) === operationsOf(b) &&
  sameValue(effectsOf(a), effectsOf(b))

const effectsOf = ({ changes, emits, webhooks, logs, warms }: Outcome): Nested =>
  [changes, emits, webhooks.map(({ id: _, ...webhook }) => webhook), logs, warms] as unknown as Nested

/** How much of what runs would do is listed: a number for each run, and bytes for all of them together. */
export class Room {
  /** What had to be left out. */
  left = 0
  private listed = 0

  constructor(
    private readonly perRun: number,
    private bytes: number
  ) {}

  /** Begins the next run. */
  begin(): void {
    this.listed = 0
  }

  admits(bytes: number): boolean {
    if (this.listed >= this.perRun || bytes > this.bytes) {
      this.left++
      return false
    }
    this.listed++
    this.bytes -= bytes
    return true
  }
}

/** An outcome as people see it, as much of it as there is room for. */
export const reportOf = (
  { status, error, result, changes, emits, webhooks, logs, warms, atMs, us, fuel, bytes }: Outcome,
  room = new Room(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
): DryRunReport => {
  const writes: Array<DryRunReport["writes"][number]> = []
  const deletes: string[] = []
  for (const [key, change] of changes) {
    if (!room.admits(key.length + (change === null ? 0 : byteSize(change.value) + metaByteSize(change.meta)))) continue
    if (change === null) deletes.push(asText(key))
    else {
      const { value, expiresAtMs, meta } = change
      const ttlMs = expiresAtMs === 0 ? null : expiresAtMs - atMs
      writes.push({ key: asText(key), value: fromValue(value), ttlMs, ...meta, tags: meta.tags.map(asText) })
    }
  }
  return {
    status,
    result:
      result === null || room.admits(result instanceof Refusal ? 0 : byteSize(result as Value)) ? shown(result) : null,
    error: error === null ? null : cutText(error, errorMax),
    writes,
    deletes,
    emits: emits
      .filter(({ channel, payload }) => room.admits(channel.length + payload.length))
      .map(({ channel, payload }) => ({ channel: asText(channel), payload: asText(payload) })),
    webhooks: webhooks.filter(({ url, body, headers }) => room.admits(url.length + body.length + byteSize(headers))),
    logs: logs.filter(({ message, fields }) => room.admits(message?.length ?? byteSize(fields as ValueObject))),
    warms: warms.filter(({ length }) => room.admits(length)).map(asText),
    us,
    fuel,
    bytes
  }
}

const errorMax = 512 // characters, as in TRIGGER LOG; a script's own error may be as long as its memory

const attemptsOfOne = 5 // runs; the first one of a program is slower than those that follow

const statusNames = ["ok", "error", "timeout", "memory", "killed"] as const

const madeUp = (test: TestEvent, keyspace: Keyspace, nowMs: number): KeyEvent => {
  const { event, key, value, oldValue, metadata = null, tags = [], cost = 0 } = test
  const isRemoval = removals.has(event)
  const isFlush = event === "ON_FLUSH"
  const meta: Meta = metadata === null && tags.length === 0 && cost === 0 ? noMeta : { metadata, tags, cost }
  return new KeyEvent(
    0,
    triggerEvents[event][0],
    isFlush ? "" : key,
    isRemoval || isFlush ? undefined : value,
    isFlush ? undefined : isRemoval || event === "ON_TOUCH" ? value : oldValue,
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

const removals: ReadonlySet<TriggerEventName> = new Set(["ON_DELETE", "ON_EXPIRE", "ON_EVICT", "BEFORE_DELETE"])

/** A result as people see it; what cannot leave Lua is named. */
const shown = (result: LuaValue | Refusal): Output =>
  result instanceof Refusal ? result.message : fromValue(result as Value)
