/**
 * The registered triggers of one keyspace, by name: what SET, LIST, INFO, DEL and the others work on.
 *
 * A definition is checked and compiled before anything changes, so a refusal leaves the old one in place. Setting a
 * name again swaps the trigger between two events and keeps its turn among equals. The last versions of each name are
 * kept, so that one can go back; the live one is one of them, and never given up.
 */
import { toBytes } from "../cache/index.ts"
import { type Keyspace, type Pattern, parsePattern } from "../kernel/index.ts"
import type { Machines } from "./Machines.ts"
import { type Intensity, intensityDefault } from "./Quarantine.ts"
import { defineTrigger, Trigger, type TriggerDefinition, type TriggerInput } from "./Trigger.ts"
import {
  InvalidTrigger,
  NoShadow,
  type RegistrationError,
  TooManyTriggers,
  TooMuchSource,
  TriggerNotFound,
  TriggerSyntaxError,
  TriggersClosed,
  VersionNotFound
} from "./TriggerError.ts"
import { LiveGraph } from "./TriggerGraph.ts"

export const versionsMax = 5 // versions that a name keeps, the live one among them

/** How many triggers a keyspace may have. */
export interface RegistryLimits {
  readonly triggersMax: number
  /** Bytes of all sources, those of older versions and of shadows among them. */
  readonly sourceBytesMax: number
}

export const registryLimitsDefault: RegistryLimits = {
  triggersMax: 100_000, // each keeps its source and about 1 KB of records
  sourceBytesMax: 32 * 1024 * 1024
}

/** One definition that a name has had. */
export interface TriggerVersion {
  /** Counts what was registered under the name, from 1. */
  readonly version: number
  readonly definition: TriggerDefinition
  /** Milliseconds since the epoch. */
  readonly registeredAtMs: number
}

/** All that is kept of a name. */
export interface TriggerHistory {
  /** The version that runs. */
  readonly live: number
  /** The oldest first. */
  readonly versions: readonly TriggerVersion[]
}

interface Registered {
  trigger: Trigger
  versions: TriggerVersion[]
}

export class TriggerRegistry {
  /** What those that are enabled set off. */
  readonly graph = new LiveGraph()
  private readonly registered = new Map<string, Registered>()
  private sourceBytes = 0
  private isClosed = false

  constructor(
    private readonly keyspace: Keyspace,
    private readonly machines: Machines,
    private readonly nowMs: () => number,
    private readonly intensity: Intensity = intensityDefault,
    private readonly limits: RegistryLimits = registryLimitsDefault
  ) {}

  get size(): number {
    return this.registered.size
  }

  /** Triggers that are out. O(size). */
  get quarantinedSize(): number {
    let count = 0
    for (const { trigger } of this.registered.values()) if (trigger.quarantine.reason !== null) count++
    return count
  }

  /**
   * Registers a trigger, in the place of the one that has its name. One that is the same in every field changes
   * nothing, but is let out of quarantine: whoever says again what is to be there gets it, without a version for having
   * said so.
   */
  set(input: TriggerInput): Trigger | RegistrationError {
    const definition = defineTrigger(input)
    if (definition instanceof InvalidTrigger) return definition
    if (this.isClosed) return new TriggersClosed()
    const previous = this.registered.get(definition.name)
    if (previous !== undefined && isSame(previous.trigger.definition, definition)) return keepAsItIs(previous.trigger)
    const { triggersMax, sourceBytesMax } = this.limits
    if (previous === undefined && this.size >= triggersMax) return new TooManyTriggers({ limit: triggersMax })
    const slots = this.machines.check(definition.name, definition.source)
    if (slots instanceof TriggerSyntaxError) return slots
    const noRoom = this.refusePattern(definition, previous)
    if (noRoom !== undefined) return noRoom
    const older = previous?.versions ?? []
    const kept = older.length < versionsMax ? older : older.slice(1)
    const freed = sizeOf(older) - sizeOf(kept)
    const bytes = Buffer.byteLength(definition.source)
    if (this.sourceBytes - freed + bytes > sourceBytesMax) return new TooMuchSource({ limit: sourceBytesMax })
    this.sourceBytes += bytes - freed
    const version = (older.at(-1)?.version ?? 0) + 1
    const registeredAtMs = this.nowMs()
    const versions = [...kept, { version, definition, registeredAtMs }]
    return this.install(versions, version, slots, previous)
  }

  /** Takes over what was saved of a name, with its versions and the times of their registration. */
  restore({ live, versions }: TriggerHistory): Trigger | RegistrationError {
    const saved = versions.find(({ version }) => version === live) as TriggerVersion
    const { name, source } = saved.definition
    const { triggersMax, sourceBytesMax } = this.limits
    if (this.size >= triggersMax) return new TooManyTriggers({ limit: triggersMax })
    const slots = this.machines.check(name, source)
    if (slots instanceof TriggerSyntaxError) return slots
    const previous = this.registered.get(name)
    const noRoom = this.refusePattern(saved.definition, previous)
    if (noRoom !== undefined) return noRoom
    const bytes = sizeOf(versions)
    if (this.sourceBytes + bytes > sourceBytesMax) return new TooMuchSource({ limit: sourceBytesMax })
    this.sourceBytes += bytes
    return this.install([...versions], live, slots, previous)
  }

  /** Brings an earlier version back: this one, or the one before the one that runs. */
  rollback(name: string, wanted: number | null): Trigger | TriggerNotFound | VersionNotFound | RegistrationError {
    const registered = this.registered.get(name)
    if (registered === undefined) return new TriggerNotFound({ trigger: name })
    const { trigger, versions } = registered
    const kept = versions.map(({ version }) => version)
    const version = wanted ?? kept.findLast((each) => each < trigger.version) ?? null
    if (version === null || !kept.includes(version))
      return new VersionNotFound({ trigger: name, version: wanted, kept })
    const { definition } = versions.find((each) => each.version === version) as TriggerVersion
    const noRoom = this.refusePattern(definition, registered)
    if (noRoom !== undefined) return noRoom
    const slots = this.machines.check(name, definition.source)
    return slots instanceof TriggerSyntaxError ? slots : this.install(versions, version, slots, registered)
  }

  history(name: string): TriggerHistory | TriggerNotFound {
    const registered = this.registered.get(name)
    if (registered === undefined) return new TriggerNotFound({ trigger: name })
    return { live: registered.trigger.version, versions: [...registered.versions] }
  }

  /** Disables a trigger, or enables it again: then it is out of quarantine as well. */
  enable(name: string, isEnabled: boolean): Trigger | TriggerNotFound {
    const registered = this.registered.get(name)
    if (registered === undefined) return new TriggerNotFound({ trigger: name })
    const { trigger, versions } = registered
    if (isEnabled) trigger.quarantine.release()
    if (trigger.definition.isEnabled === isEnabled) return trigger
    const definition = { ...trigger.definition, isEnabled }
    registered.versions = versions.map((each) => (each.version === trigger.version ? { ...each, definition } : each))
    const { pattern, slots, registeredAtMs, version } = trigger
    const next = new Trigger(definition, pattern, slots, registeredAtMs, version, this.intensity)
    next.takeOver(trigger)
    this.keyspace.trie.replace(trigger, next)
    this.retire(trigger)
    registered.trigger = next
    this.putIntoGraph(definition)
    return next
  }

  /**
   * Has a version run beside the live one, with what it would do dropped, in the place of the shadow that was there.
   */
  shadow(name: string, input: ShadowInput): Trigger | TriggerNotFound | RegistrationError {
    const registered = this.registered.get(name)
    if (registered === undefined) return new TriggerNotFound({ trigger: name })
    const { trigger } = registered
    const { isEnabled } = trigger.definition
    const definition = defineTrigger({ ...trigger.definition, ...input, isEnabled })
    if (definition instanceof InvalidTrigger) return definition
    const slots = this.machines.check(name, definition.source)
    if (slots instanceof TriggerSyntaxError) return slots
    const { sourceBytesMax } = this.limits
    const bytes = Buffer.byteLength(definition.source) - shadowBytes(trigger)
    if (this.sourceBytes + bytes > sourceBytesMax) return new TooMuchSource({ limit: sourceBytesMax })
    this.dropShadow(name)
    this.sourceBytes += Buffer.byteLength(definition.source)
    const { pattern, version } = trigger
    trigger.shadow = new Trigger(definition, pattern, slots, this.nowMs(), version, this.intensity, true)
    return trigger.shadow
  }

  /** Makes the shadow the live version. */
  promote(name: string): Trigger | TriggerNotFound | NoShadow | RegistrationError {
    const trigger = this.get(name)
    if (trigger === undefined) return new TriggerNotFound({ trigger: name })
    if (trigger.shadow === null) return new NoShadow({ trigger: name })
    const promoted = this.set(trigger.shadow.definition)
    if (promoted === trigger) this.dropShadow(name)
    return promoted
  }

  /** Whether there was a shadow. */
  dropShadow(name: string): boolean {
    const trigger = this.get(name)
    if (trigger === undefined || trigger.shadow === null) return false
    this.sourceBytes -= shadowBytes(trigger)
    this.retire(trigger.shadow)
    trigger.shadow = null
    return true
  }

  remove(name: string): boolean {
    const registered = this.registered.get(name)
    if (registered === undefined) return false
    this.dropShadow(name)
    this.registered.delete(name)
    this.sourceBytes -= sizeOf(registered.versions)
    this.graph.remove(name)
    this.keyspace.trie.remove(registered.trigger)
    this.retire(registered.trigger)
    return true
  }

  /** Removes all of them, and takes no others. */
  close(): void {
    this.isClosed = true
    for (const name of [...this.registered.keys()]) this.remove(name)
  }

  get(name: string): Trigger | undefined {
    return this.registered.get(name)?.trigger
  }

  /** All triggers in the order of their registration. */
  *all(): Iterable<Trigger> {
    for (const { trigger } of this.registered.values()) yield trigger
  }

  /** What has to be kept to have the same triggers again. */
  histories(): TriggerHistory[] {
    return Array.from(this.registered.values(), ({ trigger, versions }) => ({ live: trigger.version, versions }))
  }

  /** Globs are bounded in their number and their bytes; whoever has no room for one changes nothing. */
  private refusePattern(
    { name, pattern }: TriggerDefinition,
    previous: Registered | undefined
  ): InvalidTrigger | undefined {
    const refusal = this.keyspace.trie.refusal(parsePattern(toBytes(pattern)) as Pattern, previous?.trigger)
    if (refusal === undefined) return undefined
    const reason = `${refusal}; remove a trigger on a glob first, or use a key or a prefix that ends in '*'`
    return new InvalidTrigger({ trigger: name, field: "pattern", reason })
  }

  /** Puts a version in the place of the one that runs, between two events. */
  private install(
    versions: TriggerVersion[],
    version: number,
    slots: readonly number[],
    previous: Registered | undefined
  ): Trigger {
    const { definition, registeredAtMs } = versions.find((each) => each.version === version) as TriggerVersion
    const pattern = parsePattern(toBytes(definition.pattern)) as Pattern
    const trigger = new Trigger(definition, pattern, slots, registeredAtMs, version, this.intensity)
    const { trie } = this.keyspace
    if (previous === undefined) trie.add(trigger)
    else {
      this.dropShadow(definition.name)
      trie.replace(previous.trigger, trigger)
      this.retire(previous.trigger)
    }
    this.registered.set(definition.name, { trigger, versions })
    this.putIntoGraph(definition)
    this.machines.prepare()
    return trigger
  }

  private putIntoGraph(definition: TriggerDefinition): void {
    if (definition.isEnabled) this.graph.put(definition)
    else this.graph.remove(definition.name)
  }

  private retire(trigger: Trigger): void {
    trigger.isLive = false
    this.machines.forget(trigger)
  }
}

/** What a shadow may have otherwise: it runs where the live version does. */
export type ShadowInput = Pick<TriggerDefinition, "source"> &
  Partial<Pick<TriggerDefinition, "timeoutUs" | "memoryBytes" | "isolate" | "failClosed">>

const keepAsItIs = (trigger: Trigger): Trigger => {
  trigger.quarantine.release()
  return trigger
}

const isSame = (one: TriggerDefinition, other: TriggerDefinition): boolean =>
  (Object.keys(one) as Array<keyof TriggerDefinition>).every((field) =>
    field === "events" ? one.events.join() === other.events.join() : one[field] === other[field]
  )

const sizeOf = (versions: readonly TriggerVersion[]): number =>
  versions.reduce((bytes, { definition }) => bytes + Buffer.byteLength(definition.source), 0)

const shadowBytes = ({ shadow }: Trigger): number => (shadow === null ? 0 : Buffer.byteLength(shadow.definition.source))
