/**
 * The registered triggers of one keyspace, by name: what SET, LIST, INFO and DEL work on.
 *
 * A definition is checked and compiled before anything changes, so a refusal leaves the old one in place. Setting a name
 * again swaps the trigger between two events and keeps its turn among equals.
 */
import { toBytes } from "../cache/index.ts"
import { type Keyspace, type Pattern, parsePattern } from "../kernel/index.ts"
import type { Machines } from "./Machines.ts"
import { defineTrigger, type RegisteredTrigger, Trigger, type TriggerDefinition, type TriggerInput } from "./Trigger.ts"
import { InvalidTrigger, type RegistrationError, TooManyTriggers, TriggerSyntaxError } from "./TriggerError.ts"

export const triggersMax = 100_000 // triggers a keyspace; each keeps its source and about 1 KB of records

export class TriggerRegistry {
  private readonly triggers = new Map<string, Trigger>()

  constructor(
    private readonly keyspace: Keyspace,
    private readonly machines: Machines,
    private readonly nowMs: () => number
  ) {}

  get size(): number {
    return this.triggers.size
  }

  /** Registers a trigger, in the place of the one that has its name. */
  set(input: TriggerInput): Trigger | RegistrationError {
    const definition = defineTrigger(input)
    if (definition instanceof InvalidTrigger) return definition
    const previous = this.triggers.get(definition.name)
    if (previous === undefined && this.triggers.size >= triggersMax) return new TooManyTriggers({ limit: triggersMax })
    const slots = this.machines.check(definition.name, definition.source)
    if (slots instanceof TriggerSyntaxError) return slots
    const trigger = new Trigger(definition, parsePattern(toBytes(definition.pattern)) as Pattern, slots, this.nowMs())
    if (previous === undefined) this.keyspace.trie.add(trigger)
    else {
      this.keyspace.trie.replace(previous, trigger)
      this.retire(previous)
    }
    this.triggers.set(definition.name, trigger)
    this.machines.prepare()
    return trigger
  }

  remove(name: string): boolean {
    const trigger = this.triggers.get(name)
    if (trigger === undefined) return false
    this.triggers.delete(name)
    this.keyspace.trie.remove(trigger)
    this.retire(trigger)
    return true
  }

  get(name: string): Trigger | undefined {
    return this.triggers.get(name)
  }

  /** All triggers in the order of their registration. */
  all(): Iterable<Trigger> {
    return this.triggers.values()
  }

  /** What has to be kept to have the same triggers again. */
  definitions(): TriggerDefinition[] {
    return Array.from(this.triggers.values(), ({ definition }) => definition)
  }

  private retire(trigger: Trigger): void {
    trigger.isRemoved = true
    this.machines.forget(trigger)
  }
}

/** A trigger as LIST and INFO show it. */
export const describe = (trigger: Trigger): RegisteredTrigger => {
  const { stats } = trigger
  const { failures, skips } = stats
  return {
    ...trigger.definition,
    status: trigger.quarantine === null ? "active" : "quarantined",
    quarantine: trigger.quarantine,
    registeredAtMs: trigger.registeredAtMs,
    runs: stats.runs,
    failures: { ...failures },
    skips: { ...skips },
    fuel: stats.fuel,
    writes: stats.writes,
    deletes: stats.deletes,
    emits: stats.emits,
    webhooks: stats.webhooks,
    logs: stats.logs,
    usMean: stats.timedRuns === 0 ? 0 : stats.timedUs / stats.timedRuns,
    usMax: stats.timedUsMax
  }
}
