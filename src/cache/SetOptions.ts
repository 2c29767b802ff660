/** What a value is stored with, as programs say it and as the kernel takes it: one reading for `set` and for loads. */
import { Duration, Option } from "effect"
import { type Meta, noMeta, SetFlag } from "../kernel/index.ts"
import type { WriteOptions } from "./Acknowledgement.ts"
import { InvalidExpiryOwner, InvalidTtl, InvalidValue } from "./CacheError.ts"
import { type Input, toBytes, toMetadata } from "./Values.ts"

export interface SetOptions extends WriteOptions {
  /** How long the entry lives, rounded up to 1 ms; for ever when left out. */
  readonly ttl?: Duration.DurationInput
  /** Plain data beside the value; triggers see it as `event.metadata`. */
  readonly metadata?: { readonly [key: string]: Input }
  readonly tags?: readonly string[]
  /** What it took to produce the value, in a unit of your own. */
  readonly cost?: number
  /** The entry stays on this instance. */
  readonly local?: boolean
  /**
   * Who fires ON_EXPIRE: this instance, whose write it is ("writer", the default), or, where this one is gone by then,
   * another one of the namespace ("cluster"): at least once, with the same id. Needs a `ttl`, and excludes `local`.
   */
  readonly expiryOwner?: ExpiryOwner
}

export type ExpiryOwner = "writer" | "cluster"

/** Milliseconds that an entry with these options lives, 0 for ever. */
export const lifeOf = ({ ttl }: SetOptions): number | InvalidTtl => {
  if (ttl === undefined) return 0
  const ttlMs = toMillis(ttl)
  if (!(ttlMs > 0)) return new InvalidTtl({ ttl })
  return ttlMs === Number.POSITIVE_INFINITY ? 0 : Math.ceil(ttlMs)
}

/** The kernel's `SetFlag`s of these options. */
export const flagsOf = ({ ttl, local, expiryOwner = "writer" }: SetOptions): number | InvalidExpiryOwner => {
  const isLocal = local === true
  if (expiryOwner === "writer") return isLocal ? SetFlag.local : 0
  if (expiryOwner !== "cluster") return new InvalidExpiryOwner({ expiryOwner, reason: 'give "writer" or "cluster"' })
  if (isLocal) return new InvalidExpiryOwner({ expiryOwner, reason: "a local entry is nobody else's to expire" })
  if (ttl === undefined)
    return new InvalidExpiryOwner({ expiryOwner, reason: "without a ttl nothing expires; give one" })
  return SetFlag.cluster
}

/** Metadata, tags and cost as they are kept beside the value. */
export const metaOf = (options: SetOptions): Meta | InvalidValue => {
  const { metadata, tags = [], cost = 0 } = options
  if (metadata === undefined && tags.length === 0 && cost === 0) return noMeta
  const stored = metadata === undefined ? null : toMetadata(metadata)
  if (stored instanceof InvalidValue) return stored
  return Object.freeze({ metadata: stored, tags: Object.freeze(tags.map(toBytes)), cost })
}

/** Milliseconds from 0 on, or NaN for what is no duration. */
export const toMillis = (ttl: Duration.DurationInput): number =>
  typeof ttl === "number"
    ? Math.max(0, ttl) // Duration takes NaN for zero, which would expire the entry
    : Option.match(Duration.decodeUnknown(ttl), { onNone: () => Number.NaN, onSome: Duration.toMillis })
