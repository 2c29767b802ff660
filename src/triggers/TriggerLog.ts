/**
 * What went wrong, and what did not run: the last records of the engine, for TRIGGER LOG (law 12).
 *
 * A trigger that is skipped again and again for one reason has one record a second, with a count: a quarantined or
 * sampled trigger on a busy key must not push out what others have to say.
 */
import { cutText } from "../cache/index.ts"
import type { TriggerEventName } from "./Trigger.ts"
import type { FailureKind, SkipKind } from "./TriggerStats.ts"

/** What became of an effect of a run that had ended well: not taken, left to another instance, or taken and failed. */
export const effectKinds = [
  "refused:webhook",
  "suppressed:webhook",
  "failed:webhook",
  "refused:emit",
  "refused:warm",
  "failed:warm"
] as const
export type EffectKind = (typeof effectKinds)[number]

export interface TriggerLogRecord {
  /** Numbers the records from 1, so that a reader sees what it has missed. */
  readonly id: number
  readonly atMs: number
  readonly trigger: string
  readonly event: TriggerEventName
  /** The sequence of the event, as it stands in webhook ids. */
  readonly sequence: number
  readonly key: string
  readonly kind: FailureKind | `skipped:${SkipKind}` | EffectKind
  /** For people: Lua's message with its line, or which bound was met. */
  readonly message: string
  /** How many of its kind it stands for: the first of them, and those that were like it. */
  readonly count: number
}

/** A record of skips, or of webhooks that were suppressed, to which further ones may be added. */
export interface OpenRecord {
  readonly kind: SkipKind | "webhook"
  readonly record: { -readonly [Field in keyof TriggerLogRecord]: TriggerLogRecord[Field] }
}

const skipsWithinMs = 1_000 // equal skips of one trigger make one record in this time

const keyLengthMax = 256 // characters of a key that a record keeps
const messageLengthMax = 512 // characters of a message that a record keeps

export class TriggerLog {
  private readonly ring: TriggerLogRecord[] = []
  private appended = 0

  constructor(private readonly capacity: number) {}

  /** How many records were ever appended; the last `capacity` are kept. */
  get total(): number {
    return this.appended
  }

  /** Records that newer ones have pushed out. */
  get overwritten(): number {
    return Math.max(0, this.appended - this.capacity)
  }

  append(record: Omit<TriggerLogRecord, "id">): void {
    this.push(record)
  }

  /** Counts `count` like those of `open`; false when they need a record of their own. */
  addTo(open: OpenRecord | null, kind: OpenRecord["kind"], atMs: number, count = 1): boolean {
    if (open === null || open.kind !== kind) return false
    const { record } = open
    if (atMs - record.atMs >= skipsWithinMs || this.appended - record.id >= this.capacity) return false
    record.count += count
    return true
  }

  /** Records a skip, to which `addTo` may add others. */
  appendSkip(kind: SkipKind, record: Omit<TriggerLogRecord, "id" | "kind" | "count">): OpenRecord {
    return { kind, record: this.push({ ...record, kind: `skipped:${kind}`, count: 1 }) }
  }

  /** Records webhooks that another instance sends, to which `addTo` may add others. */
  appendSuppressed(record: Omit<TriggerLogRecord, "id" | "kind">): OpenRecord {
    return { kind: "webhook", record: this.push({ ...record, kind: "suppressed:webhook" }) }
  }

  /** The last `count` records, newest first. */
  recent(count: number): TriggerLogRecord[] {
    const records: TriggerLogRecord[] = []
    const oldest = Math.max(0, this.appended - Math.min(count, this.capacity))
    for (let at = this.appended - 1; at >= oldest; at--) {
      records.push({ ...(this.ring[at % this.capacity] as TriggerLogRecord) })
    }
    return records
  }

  private push(record: Omit<TriggerLogRecord, "id">): TriggerLogRecord {
    const { atMs, trigger, event, sequence, kind, count } = record
    const key = cutText(record.key, keyLengthMax)
    const message = cutText(record.message, messageLengthMax)
    // Field by field: all records have one shape then, which `addTo` needs to be fast.
    const made = { id: ++this.appended, atMs, trigger, event, sequence, key, kind, message, count }
    this.ring[(made.id - 1) % this.capacity] = made
    return made
  }
}
