/**
 * What triggers mean, written down from the laws in the plainest way, over the plain keyspace: a list of triggers in the
 * order of their registration, each a list of steps that are carried out one after the other on a copy of what the run
 * has written so far. The real engine must not be told from it.
 *
 * A program is a list of steps; `luaOf` spells the same steps as Lua for the real engine.
 */
import { Cause, causeBit, causeNames } from "../../src/kernel/Cause.ts"
import type { EventOrigin } from "../../src/kernel/KeyEvent.ts"
import { SetFlag } from "../../src/kernel/Keyspace.ts"
import type { Watcher } from "../../src/kernel/PatternTrie.ts"
import { noMeta, sameValue, type Value } from "../../src/kernel/Value.ts"
import { type PlainEntry, type PlainEvent, PlainKeyspace, type PlainWrite } from "../kernel/PlainKeyspace.ts"

export type Step = Deed | { readonly do: "only if"; readonly value: string } | { readonly do: Ending }

/** What a run may do; `only if` ends it, and well, unless the event's value is this one. */
export type Deed =
  /** Stores a text, for a while or for good; `key` null is the event's own. */
  | { readonly do: "write"; readonly key: string | null; readonly value: string; readonly ttlMs: number }
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
  /** Counts in a global, and stores that: for triggers that are isolated, whose globals begin anew with each run. */
  | { readonly do: "remember"; readonly key: string }
  /** Writes to a key of its own for each depth, so that chains do not end at the same key. */
  | { readonly do: "chain"; readonly prefix: string }
  /** What a BEFORE_ trigger is for; in any other it does nothing. */
  | { readonly do: "refuse"; readonly why: string }
  | { readonly do: "rewrite"; readonly value: string; readonly ttlMs: number }

export type Ending = "error" | "timeout" | "memory" | "killed"

export interface PlainDefinition {
  readonly name: string
  readonly pattern: string
  readonly events: readonly string[]
  readonly priority: number
  readonly steps: readonly Step[]
  readonly failClosed?: boolean
  readonly whenChanged?: boolean
  readonly sample?: number
  readonly includeFill?: boolean
  readonly includeFlush?: boolean
  readonly scope?: "local" | "all"
  readonly isolate?: boolean
  readonly isEnabled?: boolean
}

export interface PlainLimits {
  readonly depth: number
  /** Runs that triggers set off. */
  readonly runs: number
  /** Runs that burn all they may, until the operation has burnt all it may. */
  readonly burns: number
}

/** Failures of a kind that are too many within ten seconds. */
export const plainIntensity = { killed: 5, timeout: 8, error: 12 }

const causesOf: Record<string, ReadonlyArray<Cause>> = {
  ON_WRITE: [Cause.write],
  ON_READ: [Cause.read],
  ON_DELETE: [Cause.delete, Cause.invalidate],
  ON_EXPIRE: [Cause.expire],
  ON_EVICT: [Cause.evict],
  ON_FLUSH: [Cause.flush],
  ON_TOUCH: [Cause.touch],
  BEFORE_WRITE: [Cause.beforeWrite],
  BEFORE_DELETE: [Cause.beforeDelete]
}

const nameOf = ({ cause, oldValue }: PlainEvent): string => {
  if (cause === Cause.fill) return "ON_WRITE"
  if (cause === Cause.flush && oldValue !== undefined) return "ON_DELETE"
  return Object.keys(causesOf).find((name) => causesOf[name]?.includes(cause)) ?? "no event"
}

interface PlainCascade {
  readonly id: string
  /** Trigger and key, of those that have run. */
  readonly seen: Set<string>
}

interface PlainOrigin extends EventOrigin {
  readonly cascade: PlainCascade
  readonly path: readonly string[]
}

class PlainTrigger {
  readonly pattern: Watcher["pattern"]
  readonly mask: number
  readonly priority: number
  readonly stats: Record<string, number> = {}
  /** When it failed, by kind. */
  failures: Record<string, number[]> = {}
  isOut = false
  probeAtMs = 0
  waitMs = 0
  backAtMs = Number.NEGATIVE_INFINITY
  offered = 0
  suppressedAtMs = Number.NEGATIVE_INFINITY
  skip: { kind: string; atMs: number; at: number } | undefined
  shadow: PlainTrigger | undefined

  constructor(
    readonly definition: PlainDefinition,
    /** Tells this trigger from one of the same name before it. */
    readonly number: number,
    readonly isShadow = false
  ) {
    const { pattern, events, priority, includeFill, includeFlush, isEnabled = true } = definition
    const isPrefix = pattern.endsWith("*")
    this.pattern = {
      source: pattern,
      kind: isPrefix ? "prefix" : "exact",
      text: isPrefix ? pattern.slice(0, -1) : pattern,
      isGlob: false
    }
    this.mask = 0
    for (const event of events) for (const cause of causesOf[event] ?? []) this.mask |= causeBit(cause)
    if (includeFill) this.mask |= causeBit(Cause.fill)
    if (includeFlush) this.mask |= causeBit(Cause.flushKey)
    if (!isEnabled) this.mask = 0
    this.priority = priority
  }

  /** How records name it. */
  get label(): string {
    return this.isShadow ? `${this.definition.name}~shadow` : this.definition.name
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
  remembered: number
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
  /** What the client's operation at hand has used. */
  private used = { runs: 0, burns: 0, shadowRuns: 0, shadowBurns: 0 }
  private cut: { count: number; text: string } | undefined
  private questions = 0
  private waiting: { webhooks: string[]; tells: Array<readonly [string, string]>; logs: string[] } | undefined

  constructor(private readonly options: PlainEngineOptions) {
    const { maxEntries, maxBytes, clock } = options
    this.keyspace = new PlainKeyspace({
      maxEntries,
      maxBytes,
      clock,
      onEvent: (event) => this.onEvent(event),
      onSettled: () => this.onSettled(),
      beforeWrite: (write) => this.beforeWrite(write),
      beforeDelete: (entry, watchers) => this.beforeDelete(entry, watchers)
    })
  }

  set(definition: PlainDefinition): void {
    const at = this.triggers.findIndex((each) => each.definition.name === definition.name)
    const there = this.triggers[at]
    if (there !== undefined && isSame(there.definition, definition)) {
      letIn(there)
      return
    }
    const trigger = new PlainTrigger(definition, this.made++)
    if (at === -1) this.triggers = [...this.triggers, trigger]
    else this.triggers = this.triggers.map((each, i) => (i === at ? trigger : each))
    this.keyspace.watchers = this.triggers
  }

  remove(name: string): void {
    this.triggers = this.triggers.filter(({ definition }) => definition.name !== name)
    this.keyspace.watchers = this.triggers
  }

  statsOf(): Array<readonly [name: string, counts: object, isQuarantined: boolean]> {
    return this.triggers
      .flatMap((trigger) => (trigger.shadow === undefined ? [trigger] : [trigger, trigger.shadow]))
      .map(({ label, stats, isOut }) => [label, stats, isOut])
  }

  /** TRIGGER ENABLE and DISABLE. */
  enable(name: string, isEnabled: boolean): void {
    const trigger = this.triggers.find(({ definition }) => definition.name === name)
    if (trigger === undefined) return
    if (isEnabled) letIn(trigger)
    if ((trigger.definition.isEnabled ?? true) === isEnabled) return
    const next = new PlainTrigger({ ...trigger.definition, isEnabled }, this.made++)
    const { stats, failures, isOut, probeAtMs, waitMs, backAtMs, shadow } = trigger
    Object.assign(next, { stats, failures, isOut, probeAtMs, waitMs, backAtMs, shadow })
    this.triggers = this.triggers.map((each) => (each === trigger ? next : each))
    this.keyspace.watchers = this.triggers
  }

  /** TRIGGER SHADOW: other steps on the same events; none drops what is there. */
  shadow(name: string, steps: readonly Step[] | null): void {
    const trigger = this.triggers.find(({ definition }) => definition.name === name)
    if (trigger === undefined) return
    trigger.shadow = steps === null ? undefined : new PlainTrigger({ ...trigger.definition, steps }, this.made++, true)
  }

  private onEvent(event: PlainEvent): void {
    const origin = stepOf(event.origin)
    const triggers = event.watchers as unknown as readonly PlainTrigger[]
    const sequence = this.keyspace.log.indexOf(event) + 1
    const cascade = origin?.cascade ?? { id: `boot-${sequence}`, seen: new Set<string>() }
    if (origin === null) for (const { number } of triggers) cascade.seen.add(`${number} ${event.key}`)
    for (const trigger of triggers) {
      if (!this.triggers.includes(trigger) || !isFor(trigger, event)) continue
      if (origin === null && event.origin?.isDerived === true) {
        this.skip(trigger, event, sequence, "derived")
        continue
      }
      this.runShadow(trigger.shadow, event, sequence, cascade, origin)
      const reason = this.reasonToSkip(trigger, event, origin, cascade)
      if (reason !== undefined) this.skip(trigger, event, sequence, reason)
      else {
        const wishes = this.run(trigger, event, sequence, cascade, origin)
        if (typeof wishes !== "string") this.commit(wishes, trigger, event, sequence, cascade, origin)
      }
    }
  }

  private beforeWrite(write: PlainWrite): string | null {
    if (write.watchers.length > 0) this.questions++
    for (const watcher of write.watchers) {
      const { key, value, oldEntry, expiresAtMs, meta } = write
      const event = this.question(Cause.beforeWrite, key, value, oldEntry?.value, expiresAtMs, meta)
      const answer = this.ask(watcher as unknown as PlainTrigger, event)
      if (typeof answer === "string") return answer
      if (answer === null) continue
      write.value = answer.value
      if (answer.ttlMs > 0) write.expiresAtMs = event.atMs + answer.ttlMs
    }
    return null
  }

  private beforeDelete(entry: PlainEntry, watchers: readonly Watcher[]): string | null {
    if (watchers.length > 0) this.questions++
    for (const watcher of watchers) {
      const event = this.question(Cause.beforeDelete, entry.key, undefined, entry.value, entry.expiresAtMs, entry.meta)
      const answer = this.ask(watcher as unknown as PlainTrigger, event)
      if (typeof answer === "string") return answer
    }
    return null
  }

  private question(
    cause: Cause,
    key: string,
    value: Value | undefined,
    oldValue: Value | undefined,
    expiresAtMs: number,
    meta: PlainEvent["meta"]
  ): PlainEvent {
    const { version, origin } = this.keyspace
    const atMs = this.options.clock.nowMs()
    const rest = { isLocal: false, count: 1, watchers: [] }
    return { cause, key, value, oldValue, meta, version, expiresAtMs, atMs, origin, ...rest }
  }

  /** Why not, what to write instead, or null. */
  private ask(trigger: PlainTrigger, event: PlainEvent): string | { value: string; ttlMs: number } | null {
    const number = this.questions
    if (!this.triggers.includes(trigger) || !isFor(trigger, event)) return null
    const origin = stepOf(event.origin)
    const cascade = origin?.cascade ?? { id: `boot-b${number}`, seen: new Set<string>() }
    const { failClosed = false, steps } = trigger.definition
    this.runShadow(trigger.shadow, event, number, cascade, origin)
    const reason = this.reasonOfItsOwn(trigger, event) ?? (this.isSpent(origin) ? "budget" : undefined)
    if (reason !== undefined) {
      this.skip(trigger, event, number, reason)
      return failClosed && reason !== "sampled" ? "closed" : null
    }
    if (this.isMachineGone) {
      this.skip(trigger, event, number, "no_vm")
      return failClosed ? "closed" : null
    }
    const wishes = this.run(trigger, event, number, cascade, origin)
    if (typeof wishes === "string") {
      if (wishes === "failed") return failClosed ? "closed" : null
      trigger.count("rejects")
      return wishes.slice("refused ".length)
    }
    this.keep(wishes, trigger, event, number)
    if (event.cause === Cause.beforeDelete) return null
    for (const step of steps) {
      if (step.do === "only if" && shownValue(event) !== step.value) return null
      if (step.do === "rewrite") return step
    }
    return null
  }

  /** A run of which nothing comes but its own counts, and a record when it fails. */
  private runShadow(
    shadow: PlainTrigger | undefined,
    event: PlainEvent,
    sequence: number,
    cascade: PlainCascade,
    origin: PlainOrigin | null
  ): void {
    if (shadow === undefined) return
    const { runs, burns } = this.options.limits
    const isSpent = this.used.shadowBurns >= burns || (origin !== null && this.used.shadowRuns >= runs)
    const reason = this.reasonOfItsOwn(shadow, event) ?? (isSpent ? "budget" : undefined)
    if (reason !== undefined) {
      shadow.count(`skipped:${reason}`)
      return
    }
    if (this.isMachineGone) {
      this.skip(shadow, event, sequence, "no_vm")
      return
    }
    const wishes = this.run(shadow, event, sequence, cascade, origin)
    if (typeof wishes === "string") {
      if (wishes !== "failed") shadow.count("rejects")
      return
    }
    for (const change of wishes.changes.values()) shadow.count(change === null ? "deletes" : "writes")
    countSent(shadow, wishes)
  }

  private isSpent(origin: PlainOrigin | null): boolean {
    const { runs, burns } = this.options.limits
    return this.used.burns >= burns || (origin !== null && this.used.runs >= runs)
  }

  private reasonOfItsOwn(trigger: PlainTrigger, event: PlainEvent): string | undefined {
    const { sample = 1 } = trigger.definition
    if (sample > 1 && trigger.offered++ % sample !== 0) return "sampled"
    return trigger.isOut && event.atMs < trigger.probeAtMs ? "quarantined" : undefined
  }

  private reasonToSkip(
    trigger: PlainTrigger,
    event: PlainEvent,
    origin: PlainOrigin | null,
    cascade: PlainCascade
  ): string | undefined {
    const reason = this.reasonOfItsOwn(trigger, event)
    if (reason !== undefined) return reason
    if (origin !== null && origin.depth > this.options.limits.depth) return "depth"
    if (this.isSpent(origin)) return "budget"
    if (origin !== null) {
      const pair = `${trigger.number} ${event.key}`
      if (cascade.seen.has(pair)) return "repeat"
      cascade.seen.add(pair)
    }
    return this.isMachineGone ? "no_vm" : undefined
  }

  /** Records that a run did not take place: once a second for equal ones, once an operation for what its budget cut. */
  private skip(trigger: PlainTrigger, event: PlainEvent, sequence: number, kind: string): void {
    trigger.count(`skipped:${kind}`)
    const text = this.recordOf(trigger, event, sequence, `skipped:${kind}`)
    if (kind === "budget") {
      this.cut ??= { count: 0, text }
      this.cut.count++
      return
    }
    const { skip } = trigger
    if (skip !== undefined && skip.kind === kind && event.atMs - skip.atMs < 1_000) return
    trigger.skip = { kind, atMs: event.atMs, at: this.records.length }
    this.records.push(text)
  }

  /** What the run wants; or that it failed, or refuses and why. */
  private run(
    trigger: PlainTrigger,
    event: PlainEvent,
    sequence: number,
    cascade: PlainCascade,
    origin: PlainOrigin | null
  ): Wishes | string {
    const isBefore = event.cause === Cause.beforeWrite || event.cause === Cause.beforeDelete
    trigger.count("runs")
    if (origin !== null) this.used[trigger.isShadow ? "shadowRuns" : "runs"]++
    const wishes: Wishes = { changes: new Map(), tells: [], webhooks: [], logs: [], remembered: 0 }
    for (const step of trigger.definition.steps) {
      if (step.do === "only if") {
        if (shownValue(event) !== step.value) break
      } else if (step.do === "refuse") {
        if (isBefore) return `refused ${step.why}`
      } else if (step.do === "rewrite") {
        if (isBefore) break
      } else if (isEnding(step)) {
        this.fail(trigger, event, sequence, step.do)
        return "failed"
      } else if (isBefore && changing.has(step.do)) {
        this.fail(trigger, event, sequence, "error")
        return "failed"
      } else this.carryOut(step, wishes, trigger, event, sequence, cascade, origin)
    }
    if (trigger.isOut) {
      trigger.isOut = false
      trigger.failures = {}
      trigger.backAtMs = event.atMs
    }
    return wishes
  }

  /** All changes pass the gate, or none is made. */
  private commit(
    wishes: Wishes,
    trigger: PlainTrigger,
    event: PlainEvent,
    sequence: number,
    cascade: PlainCascade,
    origin: PlainOrigin | null
  ): void {
    const path = [...(origin?.path ?? []), trigger.definition.name]
    const peer = event.origin?.peer
    const derived = peer === undefined ? {} : { peer, isDerived: true }
    const step: PlainOrigin = { depth: (origin?.depth ?? 0) + 1, cascade, path, ...derived }
    const before = this.keyspace.origin
    this.keyspace.origin = step
    const passed: Array<[string, { readonly value: Value; readonly expiresAtMs: number } | null]> = []
    const isAsked = this.triggers.some(({ mask }) => (mask & beforeBits) !== 0)
    for (const [key, change] of wishes.changes) {
      if (!isAsked) {
        passed.push([key, change])
        continue
      }
      const answer =
        change === null
          ? this.keyspace.gateDelete(key)
          : this.keyspace.gateWrite(key, change.value, change.expiresAtMs, noMeta, 0)
      if (typeof answer === "string") {
        this.keyspace.origin = before
        this.fail(trigger, event, sequence, "rejected")
        return
      }
      passed.push([key, answer === null ? null : { value: answer.value, expiresAtMs: answer.expiresAtMs }])
    }
    for (const [key, change] of passed) {
      trigger.count(change === null ? "deletes" : "writes")
      if (change === null) this.keyspace.delete(key, Cause.delete, true)
      else this.keyspace.set(key, change.value, change.expiresAtMs, noMeta, SetFlag.passed)
    }
    this.keyspace.origin = before
    this.keep(wishes, trigger, event, sequence)
  }

  /** What leaves the cache waits until all is settled. */
  private keep(wishes: Wishes, trigger: PlainTrigger, event: PlainEvent, sequence: number): void {
    if (event.origin?.peer !== undefined) this.suppress(wishes.webhooks.splice(0).length, trigger, event, sequence)
    countSent(trigger, wishes)
    this.waiting ??= { webhooks: [], tells: [], logs: [] }
    this.waiting.webhooks.push(...wishes.webhooks)
    this.waiting.tells.push(...wishes.tells)
    this.waiting.logs.push(...wishes.logs)
  }

  /** The instance on which it began sends webhooks: one record a second. */
  private suppress(count: number, trigger: PlainTrigger, event: PlainEvent, sequence: number): void {
    if (count === 0) return
    trigger.count("webhooksSuppressed", count)
    if (event.atMs - trigger.suppressedAtMs < 1_000) return
    trigger.suppressedAtMs = event.atMs
    this.records.push(this.recordOf(trigger, event, sequence, "suppressed:webhook"))
  }

  private fail(trigger: PlainTrigger, event: PlainEvent, sequence: number, ending: Ending | "rejected"): void {
    trigger.count(ending)
    this.records.push(this.recordOf(trigger, event, sequence, ending))
    // A kill takes more than a whole operation may.
    const burns = ending === "timeout" ? 1 : ending === "killed" ? this.options.limits.burns : 0
    if (trigger.isShadow) this.used.shadowBurns += burns
    else this.used.burns += burns
    if (ending === "rejected") return
    const twice = Math.min(300_000, trigger.waitMs * 2)
    if (trigger.isOut) {
      trigger.waitMs = twice
      trigger.probeAtMs = event.atMs + twice
      return
    }
    const kind = ending === "memory" ? "error" : ending
    const recent = [...(trigger.failures[kind] ?? []), event.atMs].filter((atMs) => event.atMs - atMs <= 10_000)
    trigger.failures[kind] = recent
    if (recent.length <= plainIntensity[kind]) return
    trigger.isOut = true
    trigger.waitMs = event.atMs - trigger.backAtMs <= 10_000 ? twice : 1_000
    trigger.probeAtMs = event.atMs + trigger.waitMs
  }

  private carryOut(
    step: Deed,
    wishes: Wishes,
    { definition }: PlainTrigger,
    event: PlainEvent,
    sequence: number,
    cascade: PlainCascade,
    origin: PlainOrigin | null
  ): void {
    const { changes, tells, webhooks, logs } = wishes
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
          `boot-${isQuestion(event) ? "b" : ""}${sequence}-${definition.name}-${webhooks.length + 1} http://a ${JSON.stringify(event.key)} ${definition.name} ${nameOf(event)} ${event.key} ${event.atMs}`
        )
        break
      case "log":
        logs.push(`${event.key} ${definition.name} ${nameOf(event)} ${cascade.id} ${event.atMs}`)
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
        break
      case "remember":
        write(step.key, ++wishes.remembered)
    }
  }

  private onSettled(): void {
    if (this.cut !== undefined) this.records.push(`${this.cut.text} ${this.cut.count}`)
    this.cut = undefined
    this.used = { runs: 0, burns: 0, shadowRuns: 0, shadowBurns: 0 }
    const { waiting } = this
    this.waiting = undefined
    if (waiting === undefined) return
    this.webhooks.push(...waiting.webhooks)
    for (const [channel, payload] of waiting.tells) this.options.publish(channel, payload)
    this.lines.push(...waiting.logs)
  }

  private recordOf({ label }: PlainTrigger, event: PlainEvent, sequence: number, kind: string): string {
    return `${kind} ${label} ${nameOf(event)} ${event.key} ${sequence} ${event.atMs}`
  }
}

const isSame = (one: PlainDefinition, other: PlainDefinition): boolean =>
  JSON.stringify({ isEnabled: true, ...one }) === JSON.stringify({ isEnabled: true, ...other })

const letIn = (trigger: PlainTrigger): void => {
  trigger.isOut = false
  trigger.failures = {}
  trigger.backAtMs = Number.NEGATIVE_INFINITY
}

const beforeBits = causeBit(Cause.beforeWrite) | causeBit(Cause.beforeDelete)

/** Steps that a BEFORE_ trigger may not take. */
const changing: ReadonlySet<string> = new Set([
  ...["write", "delete", "copy", "count", "store depth", "toggle", "chain", "remember"]
])

/** The run that an event comes of. */
const stepOf = (origin: EventOrigin | null): PlainOrigin | null =>
  origin !== null && "cascade" in origin ? (origin as PlainOrigin) : null

const countSent = (trigger: PlainTrigger, { tells, webhooks, logs }: Wishes): void => {
  trigger.count("emits", tells.length)
  trigger.count("webhooks", webhooks.length)
  trigger.count("logs", logs.length)
}

/** WHEN CHANGED, SCOPE. */
const isFor = ({ definition }: PlainTrigger, { cause, value, oldValue, origin }: PlainEvent): boolean => {
  if (definition.scope === "local" && origin?.peer !== undefined) return false
  const isChange = cause === Cause.write || cause === Cause.fill || cause === Cause.beforeWrite
  return !(definition.whenChanged && isChange && sameValue(value, oldValue))
}

/** Everything that a trigger can see of its event, and what it reads under its key. */
const taleOf = (
  event: PlainEvent,
  cascade: PlainCascade,
  origin: PlainOrigin | null,
  current: Value | undefined
): string =>
  `[${[
    nameOf(event),
    event.key,
    shownValue(event) ?? "nil",
    event.oldValue ?? "nil",
    event.cause === Cause.beforeWrite
      ? "write"
      : event.cause === Cause.beforeDelete
        ? "delete"
        : causeNames[event.cause],
    event.cause === Cause.read ? false : !sameValue(event.value, event.oldValue),
    event.expiresAtMs === 0 ? "nil" : Object(Math.max(0, event.expiresAtMs - event.atMs) / 1000),
    Object(event.cause === Cause.expire ? (event.atMs - event.expiresAtMs) / 1000 : 0),
    event.version,
    origin?.depth ?? 0,
    cascade.id,
    origin?.path ?? {},
    current ?? "nil"
  ].map((item) => (item instanceof Number ? floatText(item.valueOf()) : JSON.stringify(item)))}]`

/** Times in seconds are floats in Lua, and so in what it tells. */
const floatText = (value: number): string => (Number.isInteger(value) ? value.toFixed(1) : String(value))

const isQuestion = ({ cause }: PlainEvent): boolean => cause === Cause.beforeWrite || cause === Cause.beforeDelete

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
      return `cache.set(${keyLua(step.key)}, ${quoted(step.value)}${options})`
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
    case "remember":
      return `came = (came or 0) + 1 cache.set(${quoted(step.key)}, came)`
    case "refuse":
      return `if event.type:sub(1, 6) == "BEFORE" then cache.reject(${quoted(step.why)}) end`
    case "rewrite": {
      const returned =
        step.ttlMs === 0 ? quoted(step.value) : `{ value = ${quoted(step.value)}, ttl = ${step.ttlMs / 1000} }`
      return `if event.type:sub(1, 6) == "BEFORE" then return ${returned} end`
    }
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
