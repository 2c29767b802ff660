/**
 * Values on the wire as JSON text: the exact form of cache/Json.ts, in which scripts' arguments and results are written.
 * A value that is bytes of its own is the JSON string of their text, or `{"$bytes":"…"}` where they are none.
 */
import { InvalidJson } from "../cache/CacheError.ts"
import { exactJson, parseJson } from "../cache/Json.ts"
import { toBytes, toText } from "../cache/Values.ts"
import type { Nested, Value } from "../kernel/index.ts"

/** The value as JSON text. */
export const jsonOf = (value: Value): string =>
  exactJson(typeof value === "string" ? (toText(value) ?? new Uint8Array(Buffer.from(value, "latin1"))) : value)

/** The value that JSON text stands for; or what is wrong with it. */
export const valueOfJson = (text: string): Value | InvalidJson => {
  const value = parseJson(text)
  return value instanceof InvalidJson ? value : storedValue(value)
}

/** What stands inside a structure, as a value of its own. */
export const storedValue = (nested: Nested): Value => {
  if (typeof nested === "string") return toBytes(nested)
  return nested instanceof Uint8Array ? Buffer.from(nested).toString("latin1") : nested
}
