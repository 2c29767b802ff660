/**
 * Runs the triggers of one keyspace inline: its event sink, and the gate that it asks before a write or a delete.
 *
 * Everything here happens within the client's operation. An event finds its watchers ready in its match; each runs in
 * turn (law 8) on a machine, writes into an overlay, and the overlay is committed when it returns or dropped when it
 * fails (law 6). What the commit changes comes back as events with a `CascadeStep` as origin, behind those that wait
 * already: cascades are breadth first, and all of one operation share a budget (law 7). What leaves the cache (emits,
 * log lines, webhooks) is kept until the whole operation has settled (Effects.ts).
 *
 * BEFORE_ triggers are asked by TriggerGate.ts, which runs them through here; an overlay passes the gate as a whole
 * before any of it is committed (law 9).
 *
 * A machine that had to be killed has rewound itself to its snapshot before `run` returns, so the next event finds it
 * well; its process learns of the kill, crashes, and is restarted and counted by its supervisor. A trigger that fails
 * more often than its intensity allows is taken out, alone (Quarantine.ts).
 */
import {
  Cause,
  causeBit,
  type Entry,
  type EventSink,
  type Gate,
  type KeyEvent,
  type Keyspace,
  type PendingWrite,
  SetFlag
} from "../kernel/index.ts"
import { type LuaValue, type Refusal, type RunError, RunStatus } from "../sandbox/index.ts"
import type { Run } from "./CacheApi.ts"
import {
  Cascade,
  type CascadeLimits,
  CascadeStep,
  changeFuel,
  isFromPeer,
  Operation,
  skipRecordFuel,
  stepOf,
  warmFuel
} from "./Cascade.ts"
import { EffectCounters, type EffectSource, Effects, type RunnerPorts } from "./Effects.ts"
import { writeFields } from "./EventFields.ts"
import { type Machine, type Machines, notRun } from "./Machines.ts"
import { Overlay } from "./Overlay.ts"
import { eventNameOf, type Trigger, timeoutUsMax } from "./Trigger.ts"
import { TriggerGate } from "./TriggerGate.ts"
import type { TriggerLog } from "./TriggerLog.ts"
import { type FailureKind, noFailures, noSkips, type SkipKind } from "./TriggerStats.ts"
import type { TenantRef } from "./TriggerStore.ts"

export interface RunnerOptions {
  readonly machines: Machines
  readonly log: TriggerLog
  readonly ports: RunnerPorts
  readonly cascade: CascadeLimits
  /** Milliseconds since the epoch: the keyspaces' own clock. */
  readonly nowMs: () => number
  /** Milliseconds that only grow, for timing one run in some. */
  readonly monotonicMs: () => number
  /** Whose triggers they are; null, the default, for those of no tenant. */
  readonly tenant?: TenantRef | null
  /** What is counted together with other runners. Default: it counts alone. */
  readonly counters?: RunnerCounters
}

export class RunnerCounters {
  runs = 0
  /** Runs that failed, by kind. */
  readonly failuresOf = noFailures()
  /** Runs that did not take place, by reason. */
  readonly skipsOf = noSkips()
  /** Operations that BEFORE_ triggers refused. */
  rejects = 0
  /** Runs of shadows. */
  shadowRuns = 0
  readonly effects = new EffectCounters()
}

export class TriggerRunner implements EventSink, Gate {
  readonly counters: RunnerCounters
  readonly effects: Effects
  readonly operation: Operation
  readonly run: Run
  /** What the last BEFORE_ run returned. */
  returned: LuaValue | Refusal = null
  private readonly gate: TriggerGate
  private readonly overlay = new Overlay()
  private readonly shadowOverlay = new Overlay()
  /** Of the client event at hand, once a run has changed something. */
  private rootCascade: Cascade | null = null
  /** The first run that the operation's budget cut; the others are counted with it. */
  private firstCut: { readonly trigger: Trigger; readonly event: KeyEvent } | null = null

  constructor(private readonly options: RunnerOptions) {
    this.run = options.machines.run
    this.counters = options.counters ?? new RunnerCounters()
    this.operation = new Operation(options.cascade)
    this.effects = new Effects(options, this.counters.effects)
    this.gate = new TriggerGate(this, options.nowMs)
  }

  onEvent(event: KeyEvent, keyspace: Keyspace): void {
    const watchers = event.watchers as readonly Trigger[]
    const step = stepOf(event.origin)
    if (step === null) this.rootCascade = null
    const isDerived = step === null && event.origin !== null && event.origin.isDerived === true
    const { operation } = this
    for (let i = 0; i < watchers.length; i++) {
      const trigger = watchers[i] as Trigger
      if (operation.isCutShort(step)) {
        this.cutUnseen(watchers.length - i, trigger, event)
        return
      }
      if (!trigger.isLive || (trigger.isPicky && !trigger.wants(event))) {
        operation.skip()
        continue
      }
      if (isDerived) {
        this.recordSkip(trigger, event, "derived")
        continue
      }
      if (trigger.shadow !== null) this.runShadow(trigger.shadow, event, step, keyspace, false)
      if (trigger.quarantine.reason !== null && this.isOutOnRecord(trigger, event.atMs)) continue
      const skip = this.reasonToSkip(trigger, event, step)
      if (skip === null) this.runOne(trigger, event, step, keyspace)
      else this.recordSkip(trigger, event, skip)
    }
  }

  onSettled(keyspace: Keyspace): void {
    if (this.firstCut !== null) this.recordCut()
    keyspace.reactionWork += this.operation.fuel + this.operation.shadowFuel
    this.operation.beginAnew()
    this.effects.release()
  }

  beforeWrite(write: PendingWrite, keyspace: Keyspace): string | null {
    return this.gate.beforeWrite(write, keyspace)
  }

  beforeDelete(entry: Entry, keyspace: Keyspace): string | null {
    return this.gate.beforeDelete(entry, keyspace)
  }

  /**
   * Counts the skip of a trigger in quarantine to the record that there is of it; false where it needs one of its own.
   * The others on its keys are to feel as little of it as can be.
   */
  private isOutOnRecord({ quarantine, definition, skipped, stats }: Trigger, atMs: number): boolean {
    if (definition.sample !== 1 || quarantine.admits(atMs)) return false
    if (!this.options.log.addTo(skipped, "quarantined", atMs)) return false
    stats.skips.quarantined++
    this.counters.skipsOf.quarantined++
    this.operation.skip()
    return true
  }

  private reasonToSkip(trigger: Trigger, event: KeyEvent, step: CascadeStep | null): SkipKind | null {
    const skip = this.reasonOfItsOwn(trigger, event)
    if (skip !== null) return skip
    if (step !== null && step.depth > this.options.cascade.depth) return "depth"
    if (this.operation.isSpent(step)) return "budget"
    return step === null || step.cascade.enter(trigger, event.key) ? null : "repeat"
  }

  /** Why a trigger does not run that has nothing to do with what others did. */
  reasonOfItsOwn(trigger: Trigger, event: KeyEvent): SkipKind | null {
    if (!trigger.samples()) return "sampled"
    return trigger.quarantine.admits(event.atMs) ? null : "quarantined"
  }

  private runOne(trigger: Trigger, event: KeyEvent, step: CascadeStep | null, keyspace: Keyspace): void {
    const { overlay } = this
    const status = this.perform(trigger, event, step, keyspace, overlay, false)
    if (status === RunStatus.ok && !overlay.isEmpty) this.commit(trigger, event, step, keyspace)
  }

  /**
   * A run that is looked at and has no consequences, beside one that is told, or asked before. It comes before the live
   * one, so that both find the same state.
   */
  runShadow(shadow: Trigger, event: KeyEvent, step: CascadeStep | null, keyspace: Keyspace, isBefore: boolean): void {
    const { operation, shadowOverlay: overlay } = this
    const skip = this.reasonOfItsOwn(shadow, event) ?? (operation.isShadowSpent(step) ? "budget" : null)
    if (skip !== null) {
      shadow.stats.skips[skip]++
      return
    }
    const status = this.perform(shadow, event, step, keyspace, overlay, isBefore)
    if (status === notRun) return
    this.counters.shadowRuns++
    if (this.run.rejection !== null) shadow.stats.rejects++
    else if (status === RunStatus.ok && !overlay.isEmpty) countOnly(shadow, overlay)
  }

  /**
   * One run from its fields to its end, with what it wants in `overlay`; `notRun` when there was no machine for it.
   * What fails is recorded here.
   */
  perform(
    trigger: Trigger,
    event: KeyEvent,
    step: CascadeStep | null,
    keyspace: Keyspace,
    overlay: Overlay,
    isBefore: boolean
  ): RunStatus | typeof notRun {
    const isLoaded = trigger.machine?.holds(trigger) === true
    const machine = isLoaded ? trigger.machine : this.load(trigger)
    const vm = machine === null || typeof machine === "string" ? null : machine.vm
    if (vm === null) {
      this.recordMissing(trigger, event, machine)
      return notRun
    }
    ;(machine as Machine).wasUsed = true
    const { stats } = trigger
    const { run } = this
    const isTimed = isLoaded && stats.times.wants(stats.runs)
    const beganMs = isTimed ? this.options.monotonicMs() : 0
    stats.runs++
    if (!trigger.isShadow) this.counters.runs++
    run.begin(overlay, keyspace, trigger.name, event, isBefore)
    const refusal = writeFields(vm.frame, trigger.slots, event, step, run)
    if (refusal !== undefined) {
      this.operation.spend(0, step, trigger.isShadow)
      this.recordFailure(trigger, event, "error", `event.${refusal.message}`)
      return RunStatus.error
    }
    const status = isBefore ? vm.evaluate(trigger.program, trigger.limits) : vm.run(trigger.program, trigger.limits)
    const fuel = vm.lastFuel
    stats.fuel += fuel
    if (vm.lastBytes > stats.bytesMax) stats.bytesMax = vm.lastBytes
    this.operation.spend(fuel, step, trigger.isShadow)
    if (isTimed) stats.times.record((this.options.monotonicMs() - beganMs) * 1000)
    if (status === RunStatus.ok) {
      if (isBefore) this.returned = vm.lastResult
      if (trigger.quarantine.reason !== null) trigger.quarantine.succeeded(event.atMs)
    } else if (run.rejection === null || status !== RunStatus.error) {
      const kind = failureOf[status] as FailureKind
      this.recordFailure(trigger, event, kind, withRemedy(kind, errorText(vm.lastError), trigger))
      if (status === RunStatus.killed) (machine as Machine).reportKill(this.fullNameOf(trigger))
    }
    return status
  }

  /** Whose trigger it is, for operators. */
  private fullNameOf({ name }: Trigger): string {
    const { tenant = null } = this.options
    return tenant === null ? `trigger '${name}'` : `trigger '${name}' of tenant '${tenant.id}'`
  }

  /** Has the program loaded into a machine, on the operation's fuel. */
  private load(trigger: Trigger): Machine | string | null {
    const { machines } = this.options
    const before = machines.compileFuel
    const machine = machines.of(trigger)
    this.operation.charge(machines.compileFuel - before, trigger.isShadow)
    return machine
  }

  /** There is no machine, or, as a text, none that could take the program: a run that failed before it began. */
  private recordMissing(trigger: Trigger, event: KeyEvent, machine: Machine | string | null): void {
    if (typeof machine !== "string") {
      this.recordSkip(trigger, event, "no_vm")
      return
    }
    trigger.stats.runs++
    if (!trigger.isShadow) this.counters.runs++
    this.recordFailure(trigger, event, "memory", machine)
  }

  /** Applies the overlay: the changes now, in a new step of the cascade; what leaves the cache once all has settled. */
  private commit(trigger: Trigger, event: KeyEvent, step: CascadeStep | null, keyspace: Keyspace): void {
    const { overlay } = this
    const { changes, warms } = overlay
    const next = changes.size + warms.size === 0 ? null : this.stepAfter(trigger, event, step, keyspace)
    this.operation.charge(changes.size * changeFuel + warms.size * warmFuel, false)
    if (changes.size > 0) {
      const { origin } = keyspace
      keyspace.origin = next
      try {
        if ((keyspace.trie.mask & beforeBits) !== 0) {
          const refusal = passGate(overlay, keyspace, this.gate)
          if (refusal !== null) {
            this.recordFailure(trigger, event, "rejected", refusal)
            return
          }
        }
        applyChanges(trigger, overlay, keyspace)
      } finally {
        keyspace.origin = origin
      }
    }
    if (overlay.hasEffects) this.effects.take(overlay, this.sourceOf(trigger, event, step, keyspace, next))
  }

  /** The origin of what comes of a run. */
  private stepAfter(trigger: Trigger, event: KeyEvent, step: CascadeStep | null, keyspace: Keyspace): CascadeStep {
    const cascade = step === null ? this.cascadeOf(event, keyspace) : step.cascade
    return new CascadeStep(cascade, step === null ? 1 : step.depth + 1, trigger, step, event.origin)
  }

  private sourceOf(
    trigger: Trigger,
    event: KeyEvent,
    step: CascadeStep | null,
    keyspace: Keyspace,
    next: CascadeStep | null
  ): EffectSource {
    const { sequence, key, atMs, origin, id } = event
    const cascade = step === null ? (id ?? this.run.idOf(keyspace, sequence)) : step.cascade.id
    const isRemote = isFromPeer(origin)
    return {
      trigger,
      event: eventNameOf(event),
      key,
      sequence,
      atMs,
      cascade,
      keyspace,
      step: next,
      isFromPeer: isRemote
    }
  }

  /** The cascade that a client's event begins. All triggers of the event itself count as having run for its key. */
  private cascadeOf(event: KeyEvent, keyspace: Keyspace): Cascade {
    if (this.rootCascade === null) {
      this.rootCascade = new Cascade(event.id ?? this.run.idOf(keyspace, event.sequence))
      for (const each of event.watchers) this.rootCascade.enter(each as Trigger, event.key)
    }
    return this.rootCascade
  }

  recordSkip(trigger: Trigger, event: KeyEvent, kind: SkipKind): void {
    this.counters.skipsOf[kind]++
    trigger.stats.skips[kind]++
    if (kind === "budget") {
      this.firstCut ??= { trigger, event }
      this.operation.cut++
      return
    }
    if (!trigger.isShadow) this.operation.skip()
    const { log } = this.options
    const { atMs, sequence, key } = event
    if (log.addTo(trigger.skipped, kind, atMs)) return
    this.operation.charge(skipRecordFuel, trigger.isShadow)
    const message = this.skipMessage(kind, trigger)
    const record = { atMs, trigger: trigger.label, event: eventNameOf(event), sequence, key, message }
    trigger.skipped = log.appendSkip(kind, record)
  }

  /** Counts to the operation's record what its budget cuts of one event; some of it might not have run anyway. */
  cutUnseen(count: number, trigger: Trigger, event: KeyEvent | null): void {
    if (event !== null) this.firstCut ??= { trigger, event }
    this.counters.skipsOf.budget += count
    this.operation.cut += count
    this.operation.hasUnseen = true
  }

  skipMessage(kind: SkipKind, trigger: Trigger): string {
    const { depth, runs, fuel } = this.options.cascade
    switch (kind) {
      case "repeat":
        return "ran for this key in this cascade already"
      case "depth":
        return `the cascade is deeper than ${depth}`
      case "budget":
        return `the operation has had its ${fuel} units of fuel, or its ${runs} runs that triggers set off`
      case "quarantined":
        return trigger.quarantine.reason ?? ""
      case "no_vm":
        return "its machine is being brought back"
      case "sampled":
        return `runs on one event in ${trigger.definition.sample}`
      case "derived":
        return "a trigger of another instance did it on hearing of a third; such events fire no triggers elsewhere"
    }
  }

  /** However many runs an operation's budget has cut, there is one record of it. */
  private recordCut(): void {
    const { trigger, event } = this.firstCut as { trigger: Trigger; event: KeyEvent }
    this.firstCut = null
    const count = this.operation.cut
    const most = this.operation.hasUnseen ? "at most " : ""
    const message = `${this.skipMessage("budget", trigger)}; runs that were cut: ${most}${count}`
    const { atMs, sequence, key } = event
    const record = { atMs, trigger: trigger.label, event: eventNameOf(event), sequence, key, message, count }
    this.options.log.append({ ...record, kind: "skipped:budget" })
  }

  recordFailure(trigger: Trigger, event: KeyEvent, kind: FailureKind, message: string): void {
    if (!trigger.isShadow) this.counters.failuresOf[kind]++
    trigger.stats.failures[kind]++
    trigger.quarantine.failed(kind, event.atMs)
    const { atMs, sequence, key } = event
    const record = { atMs, trigger: trigger.label, event: eventNameOf(event), sequence, key, kind, message, count: 1 }
    this.options.log.append(record)
  }
}

const beforeBits = causeBit(Cause.beforeWrite) | causeBit(Cause.beforeDelete)

/**
 * Asks for all changes before any is made; why one of them is refused, or null. What a gate rewrites is rewritten here.
 */
const passGate = ({ changes }: Overlay, keyspace: Keyspace, gate: TriggerGate): string | null => {
  for (const [key, change] of changes) {
    if (change === null) {
      const refusal = keyspace.gateDelete(key)
      if (refusal !== null) return `its delete of '${key}' was ${gate.shown(refusal)}`
      continue
    }
    const pending = keyspace.gateWrite(key, change.value, change.expiresAtMs, change.meta, 0)
    if (typeof pending === "string") return `its write of '${key}' was ${gate.shown(pending)}`
    const { value, expiresAtMs, meta } = pending
    if (value !== change.value || expiresAtMs !== change.expiresAtMs || meta !== change.meta) {
      changes.set(key, { value, expiresAtMs, meta })
    }
  }
  return null
}

const applyChanges = ({ stats }: Trigger, { changes }: Overlay, keyspace: Keyspace): void => {
  for (const [key, change] of changes) {
    if (change === null) {
      stats.deletes++
      keyspace.delete(key, Cause.delete, true)
    } else {
      stats.writes++
      keyspace.set(key, change.value, change.expiresAtMs, change.meta, SetFlag.passed)
    }
  }
}

/** What an overlay would have changed and sent. */
const countOnly = ({ stats }: Trigger, { changes, emits, webhooks, logs, warms }: Overlay): void => {
  for (const change of changes.values()) {
    if (change === null) stats.deletes++
    else stats.writes++
  }
  stats.emits += emits.length
  stats.webhooks += webhooks.length
  stats.logs += logs.length
  stats.warms += warms.size
}

const failureOf: readonly (FailureKind | undefined)[] = [undefined, "error", "timeout", "memory", "killed"]

/** A run's error with its line, where that is known. */
export const errorText = ({ message, line }: RunError): string => (line === 0 ? message : `line ${line}: ${message}`)

/** What limit was met, and what can be done about it. */
const withRemedy = (kind: FailureKind, message: string, { definition }: Trigger): string => {
  const { timeoutUs, memoryBytes } = definition
  if (kind === "timeout") {
    const more = timeoutUs < timeoutUsMax ? `, or a TIMEOUT of up to ${timeoutUsMax}` : ""
    return `${message}; give it less to do${more}`
  }
  if (kind === "memory") return `${message}; give it less to hold, or more MEMORY than ${memoryBytes}`
  return message
}
