/**
 * Asks BEFORE_WRITE and BEFORE_DELETE triggers (law 9): one after the other, each on what the one before made of it.
 *
 * A trigger that cannot judge (it fails, is out, has no machine, or the operation's budget is spent) lets the operation
 * pass, unless it is FAILCLOSED: then the operation is refused with the reason. What a run emits, logs and sends stands
 * once the run has returned, whatever the triggers behind it say; what it rejected or failed in is dropped.
 *
 * Questions are numbered apart from events: of what is refused there is no event. All triggers that are asked about one
 * change share its number, and what they see until one of them rewrites it.
 */
import {
  Cause,
  type Entry,
  entrySize,
  KeyEvent,
  type Keyspace,
  type Meta,
  type PendingWrite,
  type Value,
  type ValueObject
} from "../kernel/index.ts"
import { RunStatus } from "../sandbox/index.ts"
import { beforeChangeOf } from "./CacheApi.ts"
import { isFromPeer, stepOf } from "./Cascade.ts"
import { notRun } from "./Machines.ts"
import { Overlay } from "./Overlay.ts"
import { eventNameOf, type Trigger } from "./Trigger.ts"
import type { TriggerRunner } from "./TriggerRunner.ts"
import type { SkipKind } from "./TriggerStats.ts"

/** What a BEFORE_WRITE trigger makes of a write; what is absent stays. */
export interface BeforeChange {
  readonly value?: Value
  readonly expiresAtMs?: number
  readonly metadata?: ValueObject | null
  readonly tags?: readonly string[]
  readonly cost?: number
}

export class TriggerGate {
  /** A run that is asked may come while another's overlay is being committed. */
  private readonly overlay = new Overlay()
  private questions = 0
  private readonly closing = new WeakMap<readonly Trigger[], boolean>()
  /** Who said no last; a refusal that says itself by whom it is leaves it null. */
  private rejectedBy: Trigger | null = null

  constructor(
    private readonly runner: TriggerRunner,
    private readonly nowMs: () => number
  ) {}

  /**
   * A refusal of what a trigger wanted to do, for its own record: the client that is refused reads the reason alone.
   */
  shown(refusal: string): string {
    return this.rejectedBy === null ? `refused: ${refusal}` : `refused by trigger '${this.rejectedBy.name}': ${refusal}`
  }

  /** Null lets the write pass, as it is then; otherwise why not. */
  beforeWrite(write: PendingWrite, keyspace: Keyspace): string | null {
    const watchers = write.match.watchersOf(Cause.beforeWrite) as readonly Trigger[]
    if (this.letsPass(watchers, 0, null, keyspace)) return null
    const number = ++this.questions
    let event: KeyEvent | null = null
    for (let i = 0; i < watchers.length; i++) {
      const { key, value, oldEntry, meta, expiresAtMs, match } = write
      if (event === null || event.value !== value || event.meta !== meta || event.expiresAtMs !== expiresAtMs) {
        const { beforeWrite } = Cause
        event = this.question(number, beforeWrite, key, value, oldEntry?.value, meta, expiresAtMs, keyspace, match)
      }
      if (this.letsPass(watchers, i, event, keyspace)) return null
      const refusal = this.ask(watchers[i] as Trigger, event, write, keyspace)
      if (refusal !== null) return refusal
    }
    return null
  }

  beforeDelete(entry: Entry, keyspace: Keyspace): string | null {
    const { key, value, meta, expiresAtMs, match } = entry
    const watchers = match.watchersOf(Cause.beforeDelete) as readonly Trigger[]
    if (this.letsPass(watchers, 0, null, keyspace)) return null
    const number = ++this.questions
    const event = this.question(number, Cause.beforeDelete, key, undefined, value, meta, expiresAtMs, keyspace, match)
    for (let i = 0; i < watchers.length; i++) {
      if (this.letsPass(watchers, i, event, keyspace)) return null
      const refusal = this.ask(watchers[i] as Trigger, event, null, keyspace)
      if (refusal !== null) return refusal
    }
    return null
  }

  /**
   * Whether those from `at` on need not be asked: there are none, or the budget is spent and none of them is
   * FAILCLOSED. The record of what is cut names the first event, so that one is needed.
   */
  private letsPass(watchers: readonly Trigger[], at: number, event: KeyEvent | null, keyspace: Keyspace): boolean {
    const { operation } = this.runner
    if (at === watchers.length) return true
    if (!operation.isCutShort(stepOf(keyspace.origin)) || this.mayClose(watchers)) return false
    if (event === null && operation.cut === 0) return false
    this.runner.cutUnseen(watchers.length - at, watchers[at] as Trigger, event)
    return true
  }

  /** Whether one of them is FAILCLOSED. A match gives the same list for as long as its triggers are the same. */
  private mayClose(watchers: readonly Trigger[]): boolean {
    let isClosing = this.closing.get(watchers)
    if (isClosing === undefined) {
      isClosing = watchers.some(({ definition }) => definition.failClosed)
      this.closing.set(watchers, isClosing)
    }
    return isClosing
  }

  private question(
    number: number,
    cause: Cause,
    key: string,
    value: Value | undefined,
    oldValue: Value | undefined,
    meta: Meta,
    expiresAtMs: number,
    keyspace: Keyspace,
    match: KeyEvent["match"]
  ): KeyEvent {
    const { version, origin } = keyspace
    const atMs = this.nowMs()
    return new KeyEvent(number, cause, key, value, oldValue, meta, version, expiresAtMs, atMs, false, 1, origin, match)
  }

  private ask(trigger: Trigger, event: KeyEvent, write: PendingWrite | null, keyspace: Keyspace): string | null {
    const { runner, overlay } = this
    if (!trigger.isLive || (trigger.isPicky && !trigger.wants(event))) {
      runner.operation.skip()
      return null
    }
    const { failClosed } = trigger.definition
    this.rejectedBy = null
    const step = stepOf(event.origin)
    if (trigger.shadow !== null) runner.runShadow(trigger.shadow, event, step, keyspace, true)
    const skip = runner.reasonOfItsOwn(trigger, event) ?? (runner.operation.isSpent(step) ? "budget" : null)
    if (skip !== null) {
      runner.recordSkip(trigger, event, skip)
      return failClosed && skip !== "sampled" ? this.unjudged(trigger, skip) : null
    }
    const status = runner.perform(trigger, event, step, keyspace, overlay, true)
    const { rejection } = runner.run
    if (status !== notRun && rejection !== null) {
      trigger.stats.rejects++
      runner.counters.rejects++
      this.rejectedBy = trigger
      return rejection
    }
    if (status === notRun) return failClosed ? this.unjudged(trigger, "no_vm") : null
    if (status !== RunStatus.ok) {
      return failClosed ? `trigger '${trigger.name}' failed to judge it: see TRIGGER LOG` : null
    }
    if (write !== null) {
      const problem = this.change(write, trigger, event, keyspace)
      if (problem !== null) return failClosed ? `trigger '${trigger.name}' failed to judge it: ${problem}` : null
    }
    if (overlay.hasEffects) {
      const { sequence, key, atMs } = event
      const cascade = step === null ? runner.run.idOf(keyspace, sequence, true) : step.cascade.id
      const source = { trigger, event: eventNameOf(event), key, sequence, atMs, cascade, keyspace }
      runner.effects.take(overlay, { ...source, step: null, isFromPeer: isFromPeer(event.origin) }) // it warms nothing
    }
    return null
  }

  private unjudged(trigger: Trigger, skip: SkipKind): string {
    return `trigger '${trigger.name}' did not judge it: ${this.runner.skipMessage(skip, trigger)}`
  }

  /** Makes of the write what the run returned; why that cannot be, or null. */
  private change(write: PendingWrite, trigger: Trigger, event: KeyEvent, keyspace: Keyspace): string | null {
    const change = beforeChangeOf(this.runner.returned, event.atMs)
    if (change === null) return null
    const problem = typeof change === "string" ? change : apply(change, write, keyspace)
    if (problem !== null) this.runner.recordFailure(trigger, event, "error", problem)
    return problem
  }
}

/** Changes the write, unless the entry would be larger than the keyspace may be. */
const apply = (change: BeforeChange, write: PendingWrite, keyspace: Keyspace): string | null => {
  const { value = write.value, expiresAtMs, metadata, tags, cost } = change
  const hasMeta = metadata !== undefined || tags !== undefined || cost !== undefined
  const meta: Meta = hasMeta
    ? Object.freeze({
        metadata: metadata === undefined ? write.meta.metadata : metadata,
        tags: tags ?? write.meta.tags,
        cost: cost ?? write.meta.cost
      })
    : write.meta
  const bytes = entrySize(write.key, value, meta)
  if (bytes > keyspace.maxBytes) {
    return `what it returned would be an entry of ${bytes} bytes; the keyspace holds ${keyspace.maxBytes} in all`
  }
  write.value = value
  write.meta = meta
  if (expiresAtMs !== undefined) {
    write.expiresAtMs = expiresAtMs
    write.keepsTtl = false
  }
  return null
}
