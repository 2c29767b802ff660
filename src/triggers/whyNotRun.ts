/** Why a trigger would not run on an event that somebody made up for it; null where it would. */
import { asText, toBytes } from "../cache/index.ts"
import { type Pattern, parsePattern, patternMatches, sameValue, type Value } from "../kernel/index.ts"
import type { TriggerDefinition, TriggerEventName } from "./Trigger.ts"

/** What decides it: the key and the values as the kernel holds them. */
interface MadeUpEvent {
  readonly event: TriggerEventName
  readonly key: string
  readonly value?: Value | undefined
  readonly oldValue?: Value | undefined
}

export const whyNotRun = (
  { pattern, events, whenChanged }: Pick<TriggerDefinition, "pattern" | "events" | "whenChanged">,
  { event, key, value, oldValue }: MadeUpEvent
): string | null => {
  if (!events.includes(event)) return `${event} is none of its events (${events.join(", ")}); ${consequence}`
  if (event !== "ON_FLUSH" && !patternMatches(parsePattern(toBytes(pattern)) as Pattern, key)) {
    return `${asText(key)} is not matched by ${pattern}; ${consequence}`
  }
  if (whenChanged && event.endsWith("_WRITE") && sameValue(value, oldValue)) {
    return `the value is the one from before, and it runs when that has changed; ${consequence}`
  }
  return null
}

const consequence = "this trigger would not run"
