/**
 * What triggers mean, written down from the laws in the plainest way, over the plain keyspace: a list of triggers in the
 * order of their registration, each a list of steps that are carried out one after the other on a copy of what the run
 * has written so far. The real engine must not be told from it.
 *
 * A program is a list of steps; `luaOf` spells the same steps as Lua for the real engine.
 */
import { Cause, causeBit, causeNames } from "../../src/kernel/Cause.ts"
import type { EventOrigin } from "../../src/kernel/KeyEvent.ts"
import { noMeta, sameValue, type Value } from "../../src/kernel/Value.ts"
import { type PlainEvent, PlainKeyspace } from "../kernel/PlainKeyspace.ts"

export type Step = Deed | { readonly do: "only if"; readonly value: string } | { readonly do: Ending }

/** What a run may do; `only if` ends it, and well, unless the event's value is this one. */
export type Deed =
  /** Stores a text, for a while or for good; `key` null is the event's own. */
  | { readonly do: "write"; readonly key: string | null; readonly value: string | null; readonly ttlMs: number }
  | { readonly do: "delete"; readonly key: string | null }
  /** Tells everything about the event. */
  | { readonly do: "tell" }
  /** Sends a listener back into the cache: an operation of a client. */
  | { readonly do: "call back"; readonly operation: string }
  | { readonly do: "webhook" }
  | { readonly do: "log" }
  /** Reads one key and writes what it found, and a mark, to another. */
  | { readonly do: "copy"; readonly from: string; readonly to: string | null }
  | { readonly do: "count"; readonly key: string }
  /** Stores a table with the event's depth. */
  | { readonly do: "store depth"; readonly key: string }
  | { readonly do: "toggle"; readonly key: string }
  /** Writes to a key of its own for each depth, so that chains do not end at the same key. */
  | { readonly do: "chain"; readonly prefix: string }

export type Ending = "error" | "timeout" | "memory" | "killed"

export interface PlainDefinition {
  readonly name: string
  readonly pattern: string
  readonly events: readonly string[]
  readonly priority: number
  readonly steps: readonly Step[]
}

export interface PlainLimits {
  readonly depth: number
  readonly runs: number
  /** Runs that burn all they may, until the cascade has burnt all it may. */
  readonly burns: number
}

const causesOf: Record<string, ReadonlyArray<Cause>> = {
  ON_WRITE: [Cause.write],
  ON_READ: [Cause.read],
  ON_DELETE: [Cause.delete, Cause.invalidate],
  ON_EXPIRE: [Cause.expire],
  ON_EVICT: [Cause.evict]
}

const nameOf = (cause: Cause): string =>
  Object.keys(causesOf).find((name) => causesOf[name]?.includes(cause)) ?? "no event"

interface PlainCascade {
  readonly id: string
  /** Trigger and key, of those that have run. */
  readonly seen: Set<string>
  runs: number
  burns: number
}

interface PlainOrigin extends EventOrigin {
  readonly cascade: PlainCascade
  readonly path: readonly string[]
}

class PlainTrigger {
  readonly pattern: { readonly source: string; readonly kind: "exact" | "prefix"; readonly text: string }
  readonly mask: number
  readonly priority: number
  readonly stats: Record<string, number> = {}
  kills: number[] = []
  isQuarantined = false

  constructor(
    readonly definition: PlainDefinition,
    /** Tells this trigger from one of the same name before it. */
    readonly number: number
  ) {
    const { pattern, events, priority } = definition
    const isPrefix = pattern.endsWith("*")
    this.pattern = {
      source: pattern,
      kind: isPrefix ? "prefix" : "exact",
      text: isPrefix ? pattern.slice(0, -1) : pattern
    }
    this.mask = 0
    for (const event of events) for (const cause of causesOf[event] ?? []) this.mask |= causeBit(cause)
    this.priority = priority
  }

  count(what: string, times = 1): void {
    if (times > 0) this.stats[what] = (this.stats[what] ?? 0) + times
  }
}

/** What one run wants. A change is a value with its deadline, or null for a deletion. */
interface Wishes {
  readonly changes: Map<string, { readonly value: Value; readonly expiresAtMs: number } | null>
  readonly tells: Array<readonly [channel: string, payload: string]>
  readonly webhooks: string[]
  readonly logs: string[]
}

export interface PlainEngineOptions {
  readonly maxEntries: number
  readonly maxBytes: number
  readonly clock: { nowMs(): number }
  readonly limits: PlainLimits
  readonly publish: (channel: string, payload: string) => void
}

export class PlainEngine {
  readonly keyspace: PlainKeyspace
  readonly webhooks: string[] = []
  readonly lines: string[] = []
  readonly records: string[] = []
  /** No machine is there: nothing runs. */
  isMachineGone = false
  private triggers: PlainTrigger[] = []
  private made = 0
  private waiting: { webhooks: string[]; tells: Array<readonly [string, string]>; logs: string[] } | undefined

  constructor(private readonly options: PlainEngineOptions) {
    const { maxEntries, maxBytes, clock } = options
    this.keyspace = new PlainKeyspace({
      maxEntries,
      maxBytes,
      clock,
      onEvent: (event) => this.onEvent(event),
      onSettled: () => this.onSettled()
    })
  }

  set(definition: PlainDefinition): void {
    const trigger = new PlainTrigger(definition, this.made++)
    const at = this.triggers.findIndex((each) => each.definition.name === definition.name)
    if (at === -1) this.triggers = [...this.triggers, trigger]
    else this.triggers = this.triggers.map((each, i) => (i === at ? trigger : each))
    this.keyspace.watchers = this.triggers
  }

  remove(name: string): void {
    this.triggers = this.triggers.filter(({ definition }) => definition.name !== name)
    this.keyspace.watchers = this.triggers
  }

  statsOf(): Array<readonly [name: string, counts: object, isQuarantined: boolean]> {
    return this.triggers.map(({ definition, stats, isQuarantined }) => [definition.name, stats, isQuarantined])
  }

  private onEvent(event: PlainEvent): void {
    const origin = event.origin as PlainOrigin | null
    const triggers = event.watchers as unknown as readonly PlainTrigger[]
    const sequence = this.keyspace.log.indexOf(event) + 1
    const cascade = origin?.cascade ?? { id: `boot-${sequence}`, seen: new Set<string>(), runs: 0, burns: 0 }
    if (origin === null) for (const { number } of triggers) cascade.seen.add(`${number} ${event.key}`)
    for (const trigger of triggers) {
      if (!this.triggers.includes(trigger)) continue
      const reason = this.reasonToSkip(trigger, event, origin, cascade)
      if (reason === undefined) this.run(trigger, event, sequence, cascade, origin)
      else {
        trigger.count(`skipped:${reason}`)
        this.record(trigger, event, sequence, `skipped:${reason}`)
      }
    }
  }

  private reasonToSkip(
    trigger: PlainTrigger,
    event: PlainEvent,
    origin: PlainOrigin | null,
    cascade: PlainCascade
  ): string | undefined {
    const { depth, runs, burns } = this.options.limits
    if (trigger.isQuarantined) return "quarantined"
    if (origin !== null && origin.depth > depth) return "depth"
    if (cascade.runs >= runs || cascade.burns >= burns) return "budget"
    if (origin !== null) {
      const pair = `${trigger.number} ${event.key}`
      if (cascade.seen.has(pair)) return "repeat"
      cascade.seen.add(pair)
    }
    return this.isMachineGone ? "no_vm" : undefined
  }

  private run(
    trigger: PlainTrigger,
    event: PlainEvent,
    sequence: number,
    cascade: PlainCascade,
    origin: PlainOrigin | null
  ): void {
    const { name, steps } = trigger.definition
    trigger.count("runs")
    cascade.runs++
    const wishes: Wishes = { changes: new Map(), tells: [], webhooks: [], logs: [] }
    for (const step of steps) {
      if (step.do === "only if") {
        if (shownValue(event) !== step.value) break
      } else if (isEnding(step)) {
        this.fail(trigger, event, sequence, cascade, step.do)
        return
      } else this.carryOut(step, wishes, trigger, event, sequence, cascade, origin)
    }
    const path = [...(origin?.path ?? []), name]
    const depth = (origin?.depth ?? 0) + 1
    const step: PlainOrigin = { depth, cascade, path }
    this.keyspace.origin = step
    for (const [key, change] of wishes.changes) {
      trigger.count(change === null ? "deletes" : "writes")
      if (change === null) this.keyspace.delete(key, Cause.delete)
      else this.keyspace.set(key, change.value, change.expiresAtMs, noMeta, 0)
    }
    this.keyspace.origin = null
    trigger.count("emits", wishes.tells.length)
    trigger.count("webhooks", wishes.webhooks.length)
    trigger.count("logs", wishes.logs.length)
    this.waiting ??= { webhooks: [], tells: [], logs: [] }
    this.waiting.webhooks.push(...wishes.webhooks)
    this.waiting.tells.push(...wishes.tells)
    this.waiting.logs.push(...wishes.logs)
  }

  private fail(
    trigger: PlainTrigger,
    event: PlainEvent,
    sequence: number,
    cascade: PlainCascade,
    ending: Ending
  ): void {
    trigger.count(ending)
    this.record(trigger, event, sequence, ending)
    if (ending === "timeout") cascade.burns++
    if (ending !== "killed") return
    cascade.burns += this.options.limits.burns // the last resort takes more than a whole cascade may
    trigger.kills = [...trigger.kills, event.atMs].filter((atMs) => event.atMs - atMs <= 10_000)
    if (trigger.kills.length > 5) trigger.isQuarantined = true
  }

  private carryOut(
    step: Deed,
    { changes, tells, webhooks, logs }: Wishes,
    { definition }: PlainTrigger,
    event: PlainEvent,
    sequence: number,
    cascade: PlainCascade,
    origin: PlainOrigin | null
  ): void {
    const read = (key: string): Value | undefined => {
      const change = changes.get(key)
      return change === undefined
        ? this.keyspace.peek(key)?.value
        : (change?.value ?? (change === null ? undefined : null))
    }
    const write = (key: string, value: Value, ttlMs = 0) =>
      changes.set(key, { value, expiresAtMs: ttlMs === 0 ? 0 : event.atMs + ttlMs })
    const depth = origin?.depth ?? 0
    switch (step.do) {
      case "write":
        write(step.key ?? event.key, step.value, step.ttlMs)
        break
      case "delete":
        if (read(step.key ?? event.key) !== undefined) changes.set(step.key ?? event.key, null)
        break
      case "tell":
        tells.push(["told", taleOf(event, cascade, origin, read(event.key))])
        break
      case "call back":
        tells.push(["call back", step.operation])
        break
      case "webhook":
        webhooks.push(
          `boot-${sequence}-${definition.name}-${webhooks.length + 1} http://a ${JSON.stringify(event.key)} ${definition.name} ${nameOf(event.cause)} ${event.key} ${event.atMs}`
        )
        break
      case "log":
        logs.push(`${event.key} ${definition.name} ${nameOf(event.cause)} ${cascade.id} ${event.atMs}`)
        break
      case "copy": {
        const found = read(step.from) ?? "none"
        write(step.to ?? event.key, typeof found === "string" ? `${found.slice(0, 2)}+` : found)
        break
      }
      case "count": {
        const found = read(step.key)
        write(step.key, typeof found === "number" ? found + 1 : 1)
        break
      }
      case "store depth":
        write(step.key, { depth })
        break
      case "toggle":
        if (read(step.key) === undefined || read(step.key) === null) write(step.key, "made")
        else changes.set(step.key, null)
        break
      case "chain":
        write(step.prefix + depth, "link")
    }
  }

  private onSettled(): void {
    for (let waiting = this.waiting; waiting !== undefined; waiting = this.waiting) {
      this.waiting = undefined
      this.webhooks.push(...waiting.webhooks)
      for (const [channel, payload] of waiting.tells) this.options.publish(channel, payload)
      this.lines.push(...waiting.logs)
    }
  }

  private record(trigger: PlainTrigger, event: PlainEvent, sequence: number, kind: string): void {
    this.records.push(
      `${kind} ${trigger.definition.name} ${nameOf(event.cause)} ${event.key} ${sequence} ${event.atMs}`
    )
  }
}

/** Everything that a trigger can see of its event, and what it reads under its key. */
const taleOf = (
  event: PlainEvent,
  cascade: PlainCascade,
  origin: PlainOrigin | null,
  current: Value | undefined
): string =>
  JSON.stringify([
    nameOf(event.cause),
    event.key,
    shownValue(event) ?? "nil",
    event.oldValue ?? "nil",
    causeNames[event.cause],
    event.cause === Cause.read ? false : !sameValue(event.value, event.oldValue),
    event.expiresAtMs === 0 ? "nil" : Math.max(0, event.expiresAtMs - event.atMs) / 1000,
    event.cause === Cause.expire ? (event.atMs - event.expiresAtMs) / 1000 : 0,
    event.version,
    origin?.depth ?? 0,
    cascade.id,
    origin?.path ?? {},
    current ?? "nil"
  ])

const isEnding = (step: Deed | { readonly do: Ending }): step is { readonly do: Ending } =>
  step.do === "error" || step.do === "timeout" || step.do === "memory" || step.do === "killed"

/** What a removal shows as its value is what went away. */
const shownValue = ({ value, oldValue }: PlainEvent): Value | undefined => (value === undefined ? oldValue : value)

/** The same steps for the real engine. */
export const luaOf = (steps: readonly Step[]): string =>
  steps
    .map((step) => (step.do === "only if" ? `if event.value ~= ${quoted(step.value)} then return end` : stepLua(step)))
    .join("\n")

const stepLua = (step: Exclude<Step, { do: "only if" }>): string => {
  switch (step.do) {
    case "write": {
      const options = step.ttlMs === 0 ? "" : `, { ttl = ${step.ttlMs / 1000} }`
      return `cache.set(${keyLua(step.key)}, ${step.value === null ? "nil" : quoted(step.value)}${options})`
    }
    case "delete":
      return `cache.delete(${keyLua(step.key)})`
    case "tell":
      return `do
        local function shown(v) if v == nil then return "nil" end return v end
        cache.emit("told", { event.type, event.key, shown(event.value), shown(event.old_value), event.cause, event.changed,
          shown(event.ttl), event.late, event.version, event.depth, event.cascade, event.path, shown(cache.get(event.key)) })
      end`
    case "call back":
      return `cache.emit("call back", ${quoted(step.operation)})`
    case "webhook":
      return 'cache.webhook("http://a", event.key)'
    case "log":
      return "cache.log(event.key)"
    case "copy":
      return `do
        local found = cache.get(${quoted(step.from)})
        if found == nil then found = "none" end
        if type(found) == "string" then found = found:sub(1, 2) .. "+" end
        cache.set(${keyLua(step.to)}, found)
      end`
    case "count":
      return `do
        local found = cache.get(${quoted(step.key)})
        cache.set(${quoted(step.key)}, type(found) == "number" and found + 1 or 1)
      end`
    case "store depth":
      return `cache.set(${quoted(step.key)}, { depth = event.depth })`
    case "toggle":
      return `if cache.get(${quoted(step.key)}) == nil then cache.set(${quoted(step.key)}, "made") else cache.delete(${quoted(step.key)}) end`
    case "chain":
      return `cache.set(${quoted(step.prefix)} .. event.depth, "link")`
    case "error":
      return 'error("no")'
    case "timeout":
      return "while true do end"
    case "memory":
      return 'string.rep("x", 1e6)'
    case "killed":
      return "xpcall(error, function() while true do end end)"
  }
}

const keyLua = (key: string | null): string => (key === null ? "event.key" : quoted(key))

const quoted = (text: string): string => `"${text}"`
