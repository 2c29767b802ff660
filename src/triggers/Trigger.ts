/**
 * A Lua function and what it is for: its definition as a client gave it, and as a watcher in the kernel's trie.
 */
import { toBytes, toText } from "../cache/index.ts"
import { Cause, causeBit, type Pattern, PatternError, parsePattern, type Watcher } from "../kernel/index.ts"
import type { Program, RunLimits } from "../sandbox/index.ts"
import type { Machine } from "./Machines.ts"
import { InvalidTrigger } from "./TriggerError.ts"

/** What a trigger can react to, and the causes in the kernel that are meant by it. */
export const triggerEvents = {
  ON_WRITE: [Cause.write],
  ON_READ: [Cause.read],
  ON_DELETE: [Cause.delete, Cause.invalidate],
  ON_EXPIRE: [Cause.expire],
  ON_EVICT: [Cause.evict]
} as const satisfies Record<string, readonly Cause[]>

export type TriggerEventName = keyof typeof triggerEvents

export const triggerEventNames = Object.keys(triggerEvents) as readonly TriggerEventName[]

/** The event that a trigger sees for each cause; causes that no trigger can watch are absent. */
export const eventNameOf: ReadonlyArray<TriggerEventName | undefined> = (() => {
  const names: Array<TriggerEventName | undefined> = []
  for (const name of triggerEventNames) for (const cause of triggerEvents[name]) names[cause] = name
  return names
})()

export interface TriggerDefinition {
  readonly name: string
  /** An exact key or `prefix*`. */
  readonly pattern: string
  readonly events: readonly TriggerEventName[]
  /** A Lua chunk; `event` is its argument and a global. */
  readonly source: string
  /** The soft limit of one run in microseconds, 1 to 1,000. */
  readonly timeoutUs: number
  /** What one run may allocate, in bytes, up to 1 MiB. */
  readonly memoryBytes: number
  /** Higher runs first; equal ones in the order of their registration. */
  readonly priority: number
}

/** A definition in which what has a default may be left out. */
export type TriggerInput = Pick<TriggerDefinition, "name" | "pattern" | "events" | "source"> &
  Partial<Pick<TriggerDefinition, "timeoutUs" | "memoryBytes" | "priority">>

export const timeoutUsDefault = 100
export const timeoutUsMax = 1_000
export const memoryBytesDefault = 64 * 1024
export const memoryBytesMax = 1024 * 1024
const memoryBytesMin = 1024 // bytes; below, not even an error message fits
const sourceBytesMax = 64 * 1024 // bytes; a trigger is a reaction, not a program
const nameRule = /^[A-Za-z0-9_.:-]{1,128}$/

/** Fills in the defaults and checks every field. */
export const defineTrigger = (input: TriggerInput): TriggerDefinition | InvalidTrigger => {
  const refuse = (field: InvalidTrigger["field"], reason: string) => new InvalidTrigger({ field, reason })
  const { name, pattern, source } = input
  const timeoutUs = input.timeoutUs ?? timeoutUsDefault
  const memoryBytes = input.memoryBytes ?? memoryBytesDefault
  const priority = input.priority ?? 0
  if (!nameRule.test(name)) {
    return refuse("name", `'${name.slice(0, 40)}' is not 1 to 128 letters, digits, '_', '.', ':' or '-'`)
  }
  const parsed = parsePattern(toBytes(pattern))
  if (parsed instanceof PatternError) return refuse("pattern", toText(parsed.message) ?? parsed.message)
  const unknown = input.events.find((event) => !Object.hasOwn(triggerEvents, event))
  if (unknown !== undefined) return refuse("events", `'${unknown}' is none of ${triggerEventNames.join(", ")}`)
  if (input.events.length === 0) return refuse("events", `name at least one of ${triggerEventNames.join(", ")}`)
  if (!isWithin(timeoutUs, 1, timeoutUsMax)) {
    return refuse("timeout", `${timeoutUs} is not a whole number of microseconds from 1 to ${timeoutUsMax}`)
  }
  if (!isWithin(memoryBytes, memoryBytesMin, memoryBytesMax)) {
    return refuse("memory", `${memoryBytes} is not a whole number of bytes from ${memoryBytesMin} to ${memoryBytesMax}`)
  }
  if (!isWithin(priority, -priorityMax, priorityMax)) {
    return refuse("priority", `${priority} is not a whole number from ${-priorityMax} to ${priorityMax}`)
  }
  if (source.trim().length === 0) return refuse("source", "is empty")
  const sourceBytes = Buffer.byteLength(source)
  if (sourceBytes > sourceBytesMax) return refuse("source", `has ${sourceBytes} bytes; ${sourceBytesMax} are allowed`)
  const events = triggerEventNames.filter((event) => input.events.includes(event))
  return { name, pattern, events, source, timeoutUs, memoryBytes, priority }
}

const priorityMax = 1_000_000

const isWithin = (value: number, min: number, max: number): boolean =>
  Number.isSafeInteger(value) && value >= min && value <= max

/** How a run can fail, as LOG and INFO name it. */
export const failureKinds = ["error", "timeout", "memory", "killed"] as const
export type FailureKind = (typeof failureKinds)[number]

/** Why a run did not take place. */
export const skipKinds = ["repeat", "depth", "budget", "quarantined", "no_vm"] as const
export type SkipKind = (typeof skipKinds)[number]

export class TriggerStats {
  runs = 0
  /** Runs by the way in which they failed. */
  readonly failures: Record<FailureKind, number> = { error: 0, timeout: 0, memory: 0, killed: 0 }
  /** Runs that did not take place, by the reason. */
  readonly skips: Record<SkipKind, number> = { repeat: 0, depth: 0, budget: 0, quarantined: 0, no_vm: 0 }
  fuel = 0
  writes = 0
  deletes = 0
  emits = 0
  webhooks = 0
  logs = 0
  /** One run in `sampleEvery` is timed: a clock read would cost a tenth of a run. */
  timedRuns = 0
  timedUs = 0
  timedUsMax = 0
}

export const sampleEvery = 64

/** A registered trigger. Its definition never changes: a new one takes its place (`PatternTrie.replace`). */
export class Trigger implements Watcher {
  readonly mask: number
  readonly limits: RunLimits
  readonly stats = new TriggerStats()
  /** Removed or replaced: events that were on their way no longer run it. */
  isRemoved = false
  /** Why it is taken out, or null while it is active. */
  quarantine: string | null = null
  /** When it killed its VM, ms since the epoch; bounded by the intensity that they are held against. */
  readonly kills: number[] = []

  // Where its program is; the business of Machines.
  machine: Machine | null = null
  machineEpoch = 0
  program: Program = 0

  constructor(
    readonly definition: TriggerDefinition,
    readonly pattern: Pattern,
    /** The slots of the event's fields that its source reads. */
    readonly slots: readonly number[],
    readonly registeredAtMs: number
  ) {
    this.limits = { timeoutMicros: definition.timeoutUs, bytesMax: definition.memoryBytes, fuelMax: 0 }
    this.mask = definition.events.reduce(
      (mask, event) => triggerEvents[event].reduce((bits, cause) => bits | causeBit(cause), mask),
      0
    )
  }

  get name(): string {
    return this.definition.name
  }

  get priority(): number {
    return this.definition.priority
  }
}

/** A trigger as it is shown: its definition, how it fares and what it has done. */
export interface RegisteredTrigger extends TriggerDefinition {
  readonly status: "active" | "quarantined"
  /** Why it is quarantined, or null. */
  readonly quarantine: string | null
  readonly registeredAtMs: number
  readonly runs: number
  readonly failures: Readonly<Record<FailureKind, number>>
  readonly skips: Readonly<Record<SkipKind, number>>
  /** Of all runs together. */
  readonly fuel: number
  readonly writes: number
  readonly deletes: number
  readonly emits: number
  readonly webhooks: number
  readonly logs: number
  /** Microseconds of the runs that were timed: one in `sampleEvery`. */
  readonly usMean: number
  readonly usMax: number
}
