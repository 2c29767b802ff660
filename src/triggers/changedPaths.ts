/**
 * What is different between two structured values: `cache.diff`.
 *
 * A path is written as Lua would reach what it names: `lines[2].price`, `prices["a.b"]`, and the empty path for the
 * whole. Where both sides are tables only what differs within is named; where one is none, or is not there, the place
 * itself. O(size of both), and at most `pathsMax` paths: beyond, the last one is "…".
 */
import { toJson } from "../cache/index.ts"
import {
  bytesMark,
  type Nested,
  sameValue,
  type ValueArray,
  type ValueMap,
  type ValueObject,
  withPlainKeys
} from "../kernel/index.ts"

export const pathsMax = 1_000 // paths; who has more than these has another value

/** The paths at which `after` differs from `before`, in the order of `before`, then of what is new. */
export const changedPaths = (before: Nested, after: Nested): string[] => {
  const paths: string[] = []
  collect(before, after, "", paths)
  return paths.length <= pathsMax ? paths : [...paths.slice(0, pathsMax), "…"]
}

const collect = (before: Nested, after: Nested, path: string, paths: string[]): void => {
  if (paths.length > pathsMax) return
  const [old, now] = [itemsOf(before), itemsOf(after)]
  if (old === null || now === null) {
    if (!sameValue(before, after)) paths.push(path)
    return
  }
  for (const [key, item] of old) {
    const inner = path + stepOf(key, path)
    if (now.has(key)) collect(item, now.get(key) as Nested, inner, paths)
    else paths.push(inner)
  }
  for (const key of now.keys()) if (!old.has(key)) paths.push(path + stepOf(key, path))
}

/** What a table holds by its keys in Lua; null for what is no table. */
const itemsOf = (value: Nested): ValueMap | null => {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array || value instanceof Number) return null
  if (value instanceof Map) return withPlainKeys(value)
  if (Array.isArray(value)) return new Map((value as ValueArray).map((item, at) => [at + 1, item]))
  return new Map(Object.entries(value as ValueObject))
}

const stepOf = (key: Nested, path: string): string => {
  if (typeof key !== "string") return `[${toJson(key)}]`
  if (key.startsWith(bytesMark)) return `[${toJson(Buffer.from(key.slice(1), "latin1"))}]`
  if (!/^[A-Za-z_]\w*$/.test(key)) return `[${JSON.stringify(key)}]`
  return path === "" ? key : `.${key}`
}
