/**
 * Where values come from when they are not in the cache: loads, and the loaders that are registered for patterns of keys.
 *
 * The most specific loader serves a key: one for that very key, else the one with the longest prefix, else the glob that
 * was registered first. A lookup costs O(distinct prefix lengths), and what the globs before the first match cost; it
 * takes place on misses alone.
 */
import { globBytesMax, type Meta, PatternError, parsePattern, patternMatches } from "../kernel/index.ts"
import { InvalidLoader, type InvalidTtl, type InvalidValue } from "./CacheError.ts"
import { lifeOf, metaOf, type SetOptions } from "./SetOptions.ts"
import { asText, type Input } from "./Values.ts"

/** What a load is told. */
export interface LoadRequest {
  readonly key: string
  /** Aborted when the load has taken too long, or nobody waits for it any more. */
  readonly signal: AbortSignal
}

/** Gets the value of a key from where it comes from. `undefined` means that there is none; `null` is a value. */
export type Load = (request: LoadRequest) => Input | undefined | PromiseLike<Input | undefined>

/** How a loaded value is stored, and how long the load may take. Others are not told of it, so nobody waits for them. */
export interface LoadOptions extends Omit<SetOptions, "expiryOwner" | "ackMode"> {
  /** How long one load may take. Default 30,000. */
  readonly timeoutMs?: number
}

/** A load with its options, read and found right. */
export interface Loader {
  readonly load: Load
  /** ms that a value lives from when it is loaded, 0 for ever. */
  readonly ttlMs: number
  readonly meta: Meta
  readonly isLocal: boolean
  readonly timeoutMs: number
}

export const loadTimeoutMsDefault = 30_000 // a slow origin's answer; beyond it somebody has long given up
const loadTimeoutMsMax = 24 * 3_600_000 // a day: timers of Node hold 24 days, and nobody waits so long

export const loaderOf = (load: Load, options: LoadOptions = {}): Loader | InvalidTtl | InvalidValue | InvalidLoader => {
  const ttlMs = lifeOf(options)
  if (typeof ttlMs !== "number") return ttlMs
  const meta = metaOf(options)
  if (!("tags" in meta)) return meta
  const { timeoutMs = loadTimeoutMsDefault } = options
  if (!(timeoutMs > 0 && timeoutMs <= loadTimeoutMsMax)) {
    const reason = `a load may take a number of milliseconds above zero, up to ${loadTimeoutMsMax} (a day)`
    return new InvalidLoader({ field: "timeoutMs", value: timeoutMs, reason })
  }
  return { load, ttlMs, meta, isLocal: options.local === true, timeoutMs }
}

export const loadersMax = 1_000 // of one keyspace; globs among them are tried one by one

interface Registered {
  readonly source: string
  readonly loader: Loader
}

/** The loaders of one keyspace, by pattern. Keys and patterns are the kernel's bytes. */
export class Loaders {
  private readonly exact = new Map<string, Registered>()
  private readonly prefixes = new Map<string, Registered>()
  /** The lengths of all prefixes, each once, the longest first. */
  private lengths: readonly number[] = []
  private globs: ReadonlyArray<Registered & { readonly matches: (key: string) => boolean }> = []
  private globBytes = 0

  get size(): number {
    return this.exact.size + this.prefixes.size + this.globs.length
  }

  /** Registers a loader; the answer takes it back, and does nothing the second time. */
  add(source: string, loader: Loader): (() => void) | InvalidLoader {
    const refused = (reason: string) => new InvalidLoader({ field: "pattern", value: asText(source), reason })
    const pattern = parsePattern(source)
    if (pattern instanceof PatternError) return refused(pattern.message)
    if (this.size >= loadersMax)
      return refused(`there are ${loadersMax} loaders, which is the limit; take one back first`)
    const registered = { source, loader }
    if (pattern.isGlob) {
      if (this.globs.some((each) => each.source === source)) return refused(isTaken)
      if (this.globBytes + source.length > globBytesMax) {
        return refused(`all globs together have ${this.globBytes} bytes already, of ${globBytesMax}`)
      }
      const glob = { ...registered, matches: (key: string) => patternMatches(pattern, key) }
      this.globs = [...this.globs, glob]
      this.globBytes += source.length
      return () => {
        if (!this.globs.includes(glob)) return
        this.globs = this.globs.filter((each) => each !== glob)
        this.globBytes -= source.length
      }
    }
    const { text } = pattern
    const table = pattern.kind === "exact" ? this.exact : this.prefixes
    if (table.has(text)) return refused(isTaken)
    table.set(text, registered)
    this.orderLengths()
    return () => {
      if (table.get(text) !== registered) return
      table.delete(text)
      this.orderLengths()
    }
  }

  /** Who loads this key, undefined where nobody does. */
  find(key: string): Loader | undefined {
    if (this.exact.size > 0) {
      const found = this.exact.get(key)
      if (found !== undefined) return found.loader
    }
    for (let i = 0; i < this.lengths.length; i++) {
      const length = this.lengths[i] as number
      const found = length > key.length ? undefined : this.prefixes.get(key.slice(0, length))
      if (found !== undefined) return found.loader
    }
    for (let i = 0; i < this.globs.length; i++) {
      const glob = this.globs[i] as (typeof this.globs)[number]
      if (glob.matches(key)) return glob.loader
    }
    return undefined
  }

  private orderLengths(): void {
    const lengths = new Set(Array.from(this.prefixes.keys(), ({ length }) => length))
    this.lengths = [...lengths].sort((a, b) => b - a)
  }
}

const isTaken = "it has a loader already; take that one back first"
