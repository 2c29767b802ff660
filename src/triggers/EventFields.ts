/**
 * The fields of `event`, and how each comes out of a kernel event. Only those that a program reads are written.
 *
 * Times are in seconds with fractions, as Lua's own `os.time` counts. For what went away `value` and `old_value` are
 * both the value that went.
 */
import { toText } from "../cache/index.ts"
import { Cause, causeNames, type KeyEvent, sameValue, type Value } from "../kernel/index.ts"
import type { EventFrame, Refusal } from "../sandbox/index.ts"
import type { Run } from "./CacheApi.ts"
import type { CascadeStep } from "./Cascade.ts"
import { eventNameOf } from "./Trigger.ts"

/** Writes one field into its slot; what is not written is nil. Answers a `Refusal` where a value cannot go into Lua. */
type FieldWriter = (frame: EventFrame, slot: number, event: KeyEvent, step: CascadeStep | null, run: Run) => unknown

const writers: ReadonlyArray<readonly [name: string, write: FieldWriter]> = [
  ["type", (frame, slot, event) => frame.string(slot, eventNameOf(event))],
  ["key", (frame, slot, event) => frame.string(slot, event.key)],
  ["value", (frame, slot, event) => writeValue(frame, slot, event.value === undefined ? event.oldValue : event.value)],
  ["old_value", (frame, slot, event) => writeValue(frame, slot, event.oldValue)],
  ["metadata", (frame, slot, event) => frame.value(slot, event.meta.metadata ?? noMetadata)],
  ["tags", (frame, slot, event) => frame.value(slot, event.meta.tags.map(tagAsText))],
  ["cost", (frame, slot, event) => frame.value(slot, event.meta.cost)],
  ["timestamp", (frame, slot, event) => frame.number(slot, event.atMs / 1000)],
  ["ttl", (frame, slot, event) => writeTtl(frame, slot, event)],
  ["cause", (frame, slot, event) => frame.string(slot, causeOf(event.cause))],
  ["version", (frame, slot, event) => frame.integer(slot, event.version)],
  ["changed", (frame, slot, event) => frame.boolean(slot, hasChanged(event))],
  ["origin", (frame, slot, event, _step, run) => frame.string(slot, event.origin?.peer ?? run.instance)],
  ["depth", (frame, slot, _event, step) => frame.integer(slot, step === null ? 0 : step.depth)],
  ["cascade", (frame, slot, _event, step, run) => frame.string(slot, step?.cascade.id ?? run.eventId())],
  ["path", (frame, slot, _event, step) => frame.value(slot, step === null ? [] : step.path())],
  [
    "late",
    (frame, slot, event) =>
      frame.number(slot, event.cause === Cause.expire ? (event.atMs - event.expiresAtMs) / 1000 : 0)
  ],
  ["count", (frame, slot, event) => frame.integer(slot, event.count)]
]

/** The names, in the order of their slots. */
export const eventFields: readonly string[] = writers.map(([name]) => name)

const writeSlot: readonly FieldWriter[] = writers.map(([, write]) => write)

/** Writes the fields with these slots, and no others; the first that cannot go into Lua ends it, and says why. */
export const writeFields = (
  frame: EventFrame,
  slots: readonly number[],
  event: KeyEvent,
  step: CascadeStep | null,
  run: Run
): Refusal | undefined => {
  frame.reset()
  for (let i = 0; i < slots.length; i++) {
    const slot = slots[i] as number
    const refusal = (writeSlot[slot] as FieldWriter)(frame, slot, event, step, run)
    if (refusal !== undefined) return refusal as Refusal
  }
  return undefined
}

/** What a BEFORE_ trigger is asked about has the cause that it will have. */
const causeOf = (cause: Cause): string =>
  causeNames[cause === Cause.beforeWrite ? Cause.write : cause === Cause.beforeDelete ? Cause.delete : cause]

const noMetadata = Object.freeze({})

const writeTtl = (frame: EventFrame, slot: number, event: KeyEvent): void => {
  if (event.expiresAtMs !== 0) frame.number(slot, Math.max(0, event.expiresAtMs - event.atMs) / 1000)
}

const hasChanged = (event: KeyEvent): boolean => event.cause !== Cause.read && !sameValue(event.value, event.oldValue)

const writeValue = (frame: EventFrame, slot: number, value: Value | undefined): unknown => {
  if (value === undefined) return undefined
  return typeof value === "string" ? frame.string(slot, value) : frame.value(slot, value)
}

/** A tag is bytes in the kernel; inside a structure the codec wants text, or bytes as such. */
const tagAsText = (tag: string): string | Uint8Array => toText(tag) ?? Buffer.from(tag, "latin1")
