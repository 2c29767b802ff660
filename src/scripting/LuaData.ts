/** What host functions do with plain data that has come out of Lua. */
import { toText } from "../cache/index.ts"
import { byteSize, type Value, type ValueObject } from "../kernel/index.ts"
import type { HostCall, LuaValue } from "../sandbox/index.ts"

/**
 * Takes the fuel for work that goes over all of a structure, and answers whether there was enough; then the run is
 * over. What a string is worked on is as cheap as its crossing, which is paid for.
 */
export const pays = (call: HostCall, value: LuaValue, fuelPerByte: number): boolean =>
  typeof value !== "object" || value === null || call.charge(Math.ceil(byteSize(value) * fuelPerByte))

/**
 * The same structure, shared from now on: the kernel's. Typed arrays and maps cannot be frozen. Its price is
 * `freezeFuel` for each byte that `byteSize` counts.
 */
export const freeze = <V extends Value | ValueObject>(value: V): V => {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value
  const items: Iterable<unknown> = value instanceof Map ? value.values() : Object.values(value)
  for (const item of items) freeze(item as Value)
  return value instanceof Map ? value : Object.freeze(value)
}

// Units of fuel (250 a µs) for each byte that `byteSize` counts: measured on arrays, objects, maps and nested ones, the
// dearest of them.
export const freezeFuel = 0.75

/** A value as a part of a structure, in which a string is text, where it was bytes by itself. */
export const asPart = (value: Value): LuaValue =>
  typeof value === "string" ? (toText(value) ?? Buffer.from(value, "latin1")) : value

/** What an argument is, for a message: `a table`, `nil`, `nothing`. */
export const kindOf = (call: HostCall, index: number): string => {
  const kind = call.kind(index)
  return kind === "none" ? "nothing" : kind === "nil" ? "nil" : `a ${kind}`
}
