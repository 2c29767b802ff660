/** What a cache operation refuses, and why. A miss is no error. */
import { Data } from "effect"

export class InvalidValue extends Data.TaggedError("InvalidValue")<{
  /** Where inside the value, as `$.items[3].owner`. */
  readonly path: string
  readonly reason: string
}> {
  override get message(): string {
    return `${this.path} cannot be stored: ${this.reason}`
  }
}

export class InvalidTtl extends Data.TaggedError("InvalidTtl")<{ readonly ttl: unknown }> {
  override get message(): string {
    return `${String(this.ttl)} is not a time to live: give a duration above zero, such as "30 seconds" or 1500 (ms)`
  }
}

export class EntryTooLarge extends Data.TaggedError("EntryTooLarge")<{
  readonly key: string
  readonly maxBytes: number
}> {
  override get message(): string {
    return `the entry '${this.key}' alone would exceed the keyspace's limit of ${this.maxBytes} bytes`
  }
}

/** A BEFORE trigger refused the write or the delete. */
export class Rejected extends Data.TaggedError("Rejected")<{
  readonly key: string
  /** In the trigger's own words. */
  readonly reason: string
}> {
  override get message(): string {
    return `'${this.key}' was rejected: ${this.reason}`
  }
}

export type CacheError = InvalidValue | InvalidTtl | EntryTooLarge | Rejected
