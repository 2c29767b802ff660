/**
 * What went wrong, and what did not run: the last records of the engine, for TRIGGER LOG (law 12).
 */
import type { FailureKind, SkipKind, TriggerEventName } from "./Trigger.ts"

export interface TriggerLogRecord {
  /** Numbers the records from 1, so that a reader sees what it has missed. */
  readonly id: number
  readonly atMs: number
  readonly trigger: string
  readonly event: TriggerEventName
  /** The sequence of the event, as it stands in webhook ids. */
  readonly sequence: number
  readonly key: string
  readonly kind: FailureKind | `skipped:${SkipKind}` | "refused:webhook"
  /** For people: Lua's message with its line, or which bound was met. */
  readonly message: string
}

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

  append(record: Omit<TriggerLogRecord, "id">): void {
    this.ring[this.appended % this.capacity] = {
      ...record,
      id: this.appended + 1,
      key: cut(record.key, keyLengthMax),
      message: cut(record.message, messageLengthMax)
    }
    this.appended++
  }

  /** The last `count` records, newest first. */
  recent(count: number): TriggerLogRecord[] {
    const records: TriggerLogRecord[] = []
    const oldest = Math.max(0, this.appended - Math.min(count, this.capacity))
    for (let at = this.appended - 1; at >= oldest; at--) {
      records.push(this.ring[at % this.capacity] as TriggerLogRecord)
    }
    return records
  }
}

/** The beginning of a text, as a string of its own: a slice would keep all of it alive, were it 32 MiB. */
const cut = (text: string, length: number): string =>
  text.length <= length ? text : Buffer.from(text.slice(0, length), "utf16le").toString("utf16le")
