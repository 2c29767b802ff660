/**
 * A Lua function and what it is for: its definition as a client gave it, and as a watcher in the kernel's trie.
 */
import { asText, toBytes } from "../cache/index.ts"
import {
  Cause,
  causeBit,
  type KeyEvent,
  type Pattern,
  PatternError,
  parsePattern,
  sameValue,
  type Watcher
} from "../kernel/index.ts"
import type { Program, RunLimits } from "../sandbox/index.ts"
import { isFromPeer } from "./Cascade.ts"
import type { Machine } from "./Machines.ts"
import { type Intensity, intensityDefault, Quarantine } from "./Quarantine.ts"
import { InvalidTrigger } from "./TriggerError.ts"
import type { OpenRecord } from "./TriggerLog.ts"
import { type FailureKind, type SkipKind, TriggerStats } from "./TriggerStats.ts"

/** What a trigger can react to or be asked before, and the causes in the kernel that are meant by it. */
export const triggerEvents = {
  ON_WRITE: [Cause.write],
  ON_READ: [Cause.read],
  ON_DELETE: [Cause.delete, Cause.invalidate],
  ON_EXPIRE: [Cause.expire],
  ON_EVICT: [Cause.evict],
  ON_FLUSH: [Cause.flush],
  ON_TOUCH: [Cause.touch],
  BEFORE_WRITE: [Cause.beforeWrite],
  BEFORE_DELETE: [Cause.beforeDelete]
} as const satisfies Record<string, readonly Cause[]>

export type TriggerEventName = keyof typeof triggerEvents

export const triggerEventNames = Object.keys(triggerEvents) as readonly TriggerEventName[]

/** The event that a trigger sees for each cause. */
const eventNames: readonly TriggerEventName[] = (() => {
  const names: TriggerEventName[] = []
  for (const name of triggerEventNames) for (const cause of triggerEvents[name]) names[cause] = name
  names[Cause.fill] = "ON_WRITE" // for those who include it
  return names
})()

/** The event that a trigger sees. Only causes that have a name can be watched. */
export const eventNameOf = (event: KeyEvent): TriggerEventName =>
  event.isFlushedKey ? "ON_DELETE" : (eventNames[event.cause] as TriggerEventName)

export interface TriggerDefinition {
  readonly name: string
  /** An exact key or `prefix*`; any other glob costs more. ON_FLUSH takes `*` alone. */
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
  /** Not for writes that store the value that was there. */
  readonly whenChanged: boolean
  /** Runs on one event in so many, from 1; the others are counted as sampled. */
  readonly sample: number
  /** ON_WRITE also for copies that a loader, a tier or a peer stores. */
  readonly includeFill: boolean
  /** ON_DELETE also for each key that a flush takes. */
  readonly includeFlush: boolean
  /** `local`: not for what another instance did. */
  readonly scope: TriggerScope
  /** A BEFORE_ event that it cannot judge is refused instead of let through. */
  readonly failClosed: boolean
  /** Globals do not outlive a run. */
  readonly isolate: boolean
  /** Disabled ones stay registered, and run on nothing. */
  readonly isEnabled: boolean
}

export const triggerScopes = ["all", "local"] as const
export type TriggerScope = (typeof triggerScopes)[number]

/** A definition in which what has a default may be left out. */
export type TriggerInput = Pick<TriggerDefinition, "name" | "pattern" | "events" | "source"> & TriggerOptions

/** What may be left out of a definition. */
export type TriggerOptions = Partial<Omit<TriggerDefinition, "name" | "pattern" | "events" | "source">>

export const timeoutUsDefault = 100
export const timeoutUsMax = 1_000
export const memoryBytesDefault = 64 * 1024
export const memoryBytesMax = 1024 * 1024
const memoryBytesMin = 1024 // bytes; below, not even an error message fits
const sourceBytesMax = 64 * 1024 // bytes; a trigger is a reaction, not a program
const priorityMax = 1_000_000
const sampleMax = 1_000_000
const nameRule = /^[A-Za-z0-9_.:-]{1,128}$/

/** What holds where nothing else is said. */
export const optionsDefault: Required<TriggerOptions> = {
  timeoutUs: timeoutUsDefault,
  memoryBytes: memoryBytesDefault,
  priority: 0,
  whenChanged: false,
  sample: 1,
  includeFill: false,
  includeFlush: false,
  scope: "all",
  failClosed: false,
  isolate: false,
  isEnabled: true
}

/** Fills in the defaults and checks every field. */
export const defineTrigger = (input: TriggerInput): TriggerDefinition | InvalidTrigger => {
  const { name, pattern, source } = input
  const refuse = (field: InvalidTrigger["field"], reason: string) =>
    new InvalidTrigger({ trigger: name, field, reason })
  const given = Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)) as TriggerInput
  const options: Required<TriggerOptions> = { ...optionsDefault, ...given }
  const { timeoutUs, memoryBytes, priority, sample, scope } = options
  if (!nameRule.test(name)) {
    return refuse("name", `'${name.slice(0, 40)}' is not 1 to 128 letters, digits, '_', '.', ':' or '-'`)
  }
  const parsed = parsePattern(toBytes(pattern))
  if (parsed instanceof PatternError) return refuse("pattern", asText(parsed.message))
  const unknown = input.events.find((event) => !Object.hasOwn(triggerEvents, event))
  if (unknown !== undefined) return refuse("events", `'${unknown}' is none of ${triggerEventNames.join(", ")}`)
  if (input.events.length === 0) return refuse("events", `name at least one of ${triggerEventNames.join(", ")}`)
  const events = triggerEventNames.filter((event) => input.events.includes(event))
  if (events.includes("ON_FLUSH") && pattern !== "*") {
    return refuse("pattern", `ON_FLUSH is about all keys at once: use '*' instead of '${pattern.slice(0, 40)}'`)
  }
  if (!isWithin(timeoutUs, 1, timeoutUsMax)) {
    return refuse("timeout", `${timeoutUs} is not a whole number of microseconds from 1 to ${timeoutUsMax}`)
  }
  if (!isWithin(memoryBytes, memoryBytesMin, memoryBytesMax)) {
    return refuse("memory", `${memoryBytes} is not a whole number of bytes from ${memoryBytesMin} to ${memoryBytesMax}`)
  }
  if (!isWithin(priority, -priorityMax, priorityMax)) {
    return refuse("priority", `${priority} is not a whole number from ${-priorityMax} to ${priorityMax}`)
  }
  if (!isWithin(sample, 1, sampleMax)) {
    return refuse("sample", `${sample} is not a whole number from 1 to ${sampleMax}: one event in so many`)
  }
  if (!triggerScopes.includes(scope)) return refuse("scope", `'${scope}' is none of ${triggerScopes.join(", ")}`)
  if (options.includeFill && !events.includes("ON_WRITE")) return refuse("include", "'fill' goes with ON_WRITE")
  if (options.includeFlush && !events.includes("ON_DELETE")) return refuse("include", "'flush' goes with ON_DELETE")
  if (options.failClosed && !events.some(isBefore)) {
    return refuse("failclosed", "it goes with BEFORE_WRITE and BEFORE_DELETE: nothing else can be refused")
  }
  if (source.trim().length === 0) return refuse("source", "is empty")
  const sourceBytes = Buffer.byteLength(source)
  if (sourceBytes > sourceBytesMax) return refuse("source", `has ${sourceBytes} bytes; ${sourceBytesMax} are allowed`)
  const { whenChanged, includeFill, includeFlush, failClosed, isolate, isEnabled } = options
  return {
    name,
    pattern,
    events,
    source,
    timeoutUs,
    memoryBytes,
    priority,
    whenChanged,
    sample,
    includeFill,
    includeFlush,
    scope,
    failClosed,
    isolate,
    isEnabled
  }
}

/** Whether it is asked before something happens, instead of told after it. */
export const isBefore = (event: TriggerEventName): boolean => event === "BEFORE_WRITE" || event === "BEFORE_DELETE"

const isWithin = (value: number, min: number, max: number): boolean =>
  Number.isSafeInteger(value) && value >= min && value <= max

/** A registered trigger. Its definition never changes: a new one takes its place (`PatternTrie.replace`). */
export class Trigger implements Watcher {
  /** No bits while it is disabled: then nobody builds an event for it. */
  readonly mask: number
  readonly limits: RunLimits
  stats = new TriggerStats()
  quarantine: Quarantine
  /** False once it was removed, replaced or disabled: events that were on their way no longer run it. */
  isLive: boolean
  /** Another version that runs on the same events, and whose overlay is always dropped. */
  shadow: Trigger | null = null
  /** Some of the events that it watches are not for it: `wants` has to be asked. */
  readonly isPicky: boolean
  /** How records name it. */
  readonly label: string
  /** Its last skip in TRIGGER LOG, while equal ones are still counted there. */
  skipped: OpenRecord | null = null
  /** Its last record of webhooks that were suppressed, likewise. */
  suppressed: OpenRecord | null = null
  /** Events that it could have run on, for SAMPLE. */
  private offered = 0

  // Where its program is; the business of Machines.
  machine: Machine | null = null
  machineEpoch = 0
  program: Program = 0

  constructor(
    readonly definition: TriggerDefinition,
    readonly pattern: Pattern,
    /** The slots of the event's fields that its source reads. */
    readonly slots: readonly number[],
    readonly registeredAtMs: number,
    /** Counts what was registered under its name, from 1. */
    readonly version = 1,
    intensity: Intensity = intensityDefault,
    readonly isShadow = false
  ) {
    const { name, timeoutUs, memoryBytes, whenChanged, scope, isolate } = definition
    this.label = isShadow ? `${name}~shadow` : name
    this.limits = { timeoutMicros: timeoutUs, bytesMax: memoryBytes, fuelMax: 0, isIsolated: isolate }
    this.quarantine = new Quarantine(intensity)
    this.isPicky = whenChanged || scope === "local"
    this.isLive = definition.isEnabled
    this.mask = definition.isEnabled ? maskOf(definition) : 0
  }

  get name(): string {
    return this.definition.name
  }

  get priority(): number {
    return this.definition.priority
  }

  /** Goes on where `previous`, the same program, ends: with its counts, its record and its shadow. */
  takeOver(previous: Trigger): void {
    this.stats = previous.stats
    this.quarantine = previous.quarantine
    this.shadow = previous.shadow
  }

  /** Whether an event that it watches is for it: WHEN CHANGED, SCOPE. */
  wants({ cause, value, oldValue, origin }: KeyEvent): boolean {
    const { whenChanged, scope } = this.definition
    if (whenChanged && isChangeOfValue(cause) && sameValue(value, oldValue)) return false
    return !(scope === "local" && isFromPeer(origin))
  }

  /** Whether it is the turn of an event: of every `sample` of them the first. */
  samples(): boolean {
    const { sample } = this.definition
    return sample === 1 || this.offered++ % sample === 0
  }
}

/** The causes that it watches, and what it is asked before, as bits. */
const maskOf = ({ events, includeFill, includeFlush }: TriggerDefinition): number => {
  let mask = 0
  for (const event of events) for (const cause of triggerEvents[event]) mask |= causeBit(cause)
  if (includeFill) mask |= causeBit(Cause.fill)
  if (includeFlush) mask |= causeBit(Cause.flushKey)
  return mask
}

/** The causes whose value may be the one that was there before. */
const isChangeOfValue = (cause: Cause): boolean =>
  cause === Cause.write || cause === Cause.fill || cause === Cause.beforeWrite

/** A trigger as it is shown: its definition, how it fares and what it has done. */
export interface RegisteredTrigger extends TriggerDefinition, TriggerFigures {
  readonly status: "active" | "disabled" | "quarantined"
  /** Why it is quarantined, or null. */
  readonly quarantine: string | null
  /** When it is tried again by itself, ms since the epoch; null while it is not quarantined. */
  readonly probeAtMs: number | null
  /** Its pattern is neither a key nor a prefix: it is tried against every new key. */
  readonly isSlower: boolean
  /** When this version was registered. */
  readonly registeredAtMs: number
  /** Counts what was registered under this name, from 1. */
  readonly version: number
  /** What runs beside it, or null. */
  readonly shadow: (TriggerFigures & Pick<TriggerDefinition, "source"> & { readonly registeredAtMs: number }) | null
}

/** What a trigger has done since it was registered, or since the start of the process. */
export interface TriggerFigures {
  readonly runs: number
  readonly failures: Readonly<Record<FailureKind, number>>
  readonly skips: Readonly<Record<SkipKind, number>>
  /** Of all runs together. */
  readonly fuel: number
  /** The most that one run took and did not free. */
  readonly bytesMax: number
  readonly writes: number
  readonly deletes: number
  readonly emits: number
  readonly webhooks: number
  /** Those that were left to the instance on which it all began (law 13). */
  readonly webhooksSuppressed: number
  readonly logs: number
  /** Keys that it wanted loaded anew. */
  readonly warms: number
  /** Operations that it refused (BEFORE_ events). */
  readonly rejects: number
  /** Microseconds of the runs that were timed: the first few, then one in 64; never one that had to compile. */
  readonly usMean: number
  readonly usP50: number
  readonly usP99: number
  readonly usMax: number
}

export const figuresOf = ({ stats }: Trigger): TriggerFigures => {
  const { runs, failures, skips, fuel, bytesMax, writes, deletes, emits, webhooks, webhooksSuppressed } = stats
  const { logs, warms, rejects, times } = stats
  return {
    runs,
    failures: { ...failures },
    skips: { ...skips },
    fuel,
    bytesMax,
    writes,
    deletes,
    emits,
    webhooks,
    webhooksSuppressed,
    logs,
    warms,
    rejects,
    usMean: times.meanUs,
    usP50: times.quantileUs(0.5),
    usP99: times.quantileUs(0.99),
    usMax: times.maxUs
  }
}

/** A trigger as LIST and INFO show it. Assigned: spread into one literal of so many fields it took 35 µs, not 3. */
export const describe = (trigger: Trigger): RegisteredTrigger => {
  const { definition, quarantine, shadow, registeredAtMs, version, pattern } = trigger
  const state: Omit<RegisteredTrigger, keyof TriggerDefinition | keyof TriggerFigures> = {
    status: !definition.isEnabled ? "disabled" : quarantine.reason === null ? "active" : "quarantined",
    quarantine: quarantine.reason,
    probeAtMs: quarantine.reason === null ? null : quarantine.probeAtMs,
    isSlower: pattern.isGlob,
    registeredAtMs,
    version,
    shadow:
      shadow === null
        ? null
        : { source: shadow.definition.source, registeredAtMs: shadow.registeredAtMs, ...figuresOf(shadow) }
  }
  return Object.assign({}, definition, state, figuresOf(trigger))
}
