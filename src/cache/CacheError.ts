/** What a cache operation refuses, and why. A miss is no error. */
import { Data } from "effect"
import { prefixBytesMax, prefixesMax } from "../kernel/index.ts"

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

/** Who is to fire ON_EXPIRE cannot be. */
export class InvalidExpiryOwner extends Data.TaggedError("InvalidExpiryOwner")<{
  readonly expiryOwner: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `expiryOwner ${shown(this.expiryOwner)}: ${this.reason}`
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

/** The write has happened here, and others were not heard to have applied it in time: they may be stuck, or gone. */
export class NotAcknowledged extends Data.TaggedError("NotAcknowledged")<{
  /** Names of the instances that were waited for in vain. */
  readonly missing: readonly string[]
}> {
  override get message(): string {
    return `it is written here, but not acknowledged by ${this.missing.join(", ")}; they apply it when they are heard of again`
  }
}

/** How long a write is to wait for others is said by a word that there is not. Nothing has happened. */
export class InvalidAckMode extends Data.TaggedError("InvalidAckMode")<{ readonly ackMode: unknown }> {
  override get message(): string {
    return `ackMode ${shown(this.ackMode)} is none: give "async", "one" or "live"`
  }
}

/** Why others are not known to have applied a write. */
export type AcknowledgementError = InvalidAckMode | NotAcknowledged

/** What was to be invalidated is no prefix that can be. */
export class InvalidPrefix extends Data.TaggedError("InvalidPrefix")<{
  readonly prefix: string
}> {
  override get message(): string {
    const size = `${prefixBytesMax} bytes and ${prefixesMax} colons at most`
    return `a prefix ends with ':' and has ${size}, unlike ${shown(this.prefix)}: keys are known by hashes of such prefixes`
  }
}

/** A text that was to be read as JSON is none, or no value that can be stored. */
export class InvalidJson extends Data.TaggedError("InvalidJson")<{
  /** Characters before the place that is wrong. */
  readonly at: number
  readonly reason: string
}> {
  override get message(): string {
    return `the JSON is wrong at character ${this.at}: ${this.reason}`
  }
}

/** Bytes that were to be a value's are none, or of a later version. */
export class InvalidBytes extends Data.TaggedError("InvalidBytes")<{
  /** Bytes before the place that is wrong. */
  readonly at: number
  readonly reason: string
}> {
  override get message(): string {
    return `these bytes are no value, at byte ${this.at}: ${this.reason}`
  }
}

export type CacheError = InvalidValue | InvalidTtl | InvalidExpiryOwner | EntryTooLarge | Rejected

/** A load has failed. Nothing is stored; whoever waited for it is told, and the next one who asks has it tried again. */
export class LoadFailed extends Data.TaggedError("LoadFailed")<{
  readonly key: string
  /** What the load has thrown, or an `InvalidValue` for what it has answered. */
  readonly cause: unknown
}> {
  override get message(): string {
    return `the load of '${this.key}' has failed: ${this.cause instanceof Error ? this.cause.message : String(this.cause)}`
  }
}

/** A load has taken longer than it may. Nothing is stored, even if it ends some time. */
export class LoadTimedOut extends Data.TaggedError("LoadTimedOut")<{
  readonly key: string
  readonly timeoutMs: number
}> {
  override get message(): string {
    return `the load of '${this.key}' has taken longer than ${this.timeoutMs} ms; give it a longer timeout, or less to do`
  }
}

/** There is no room for one more load, or for one more who waits for one. */
export class TooManyLoads extends Data.TaggedError("TooManyLoads")<{
  readonly key: string
  readonly of: "loads" | "waiters"
  readonly limit: number
}> {
  override get message(): string {
    const what = this.of === "loads" ? "loads under way" : "callers waiting for loads"
    return `'${this.key}' is not loaded now: there are ${this.limit} ${what}, which is the limit; ask again later`
  }
}

/** A loader that cannot be registered, or a load that cannot be begun, as it is described. */
export class InvalidLoader extends Data.TaggedError("InvalidLoader")<{
  readonly field: "pattern" | "timeoutMs"
  readonly value: unknown
  readonly reason: string
}> {
  override get message(): string {
    return `the loader's ${this.field} ${shown(this.value)}: ${this.reason}`
  }
}

/** Why a key that is not there could not be filled. */
export type LoadError = LoadFailed | LoadTimedOut | TooManyLoads

/** What was asked of a tenant is against a rule: a name, a limit, a value of its environment. Nothing has changed. */
export class InvalidTenant extends Data.TaggedError("InvalidTenant")<{
  /** Which, as `id`, `prefix`, `limits.maxEntries` or `env.api_token`. */
  readonly field: string
  readonly value: unknown
  /** What is wrong, and what would be right. */
  readonly reason: string
}> {
  override get message(): string {
    return `${this.field} ${shown(this.value)}: ${this.reason}`
  }
}

export class TenantExists extends Data.TaggedError("TenantExists")<{ readonly tenant: string }> {
  override get message(): string {
    return `there is a tenant '${this.tenant}' already`
  }
}

export class TenantNotFound extends Data.TaggedError("TenantNotFound")<{ readonly tenant: string }> {
  override get message(): string {
    return `no tenant has the id '${this.tenant}'`
  }
}

/** A tenant with this prefix would have keys that are displayed like another's. */
export class PrefixTaken extends Data.TaggedError("PrefixTaken")<{
  readonly prefix: string
  /** In the way: a tenant's prefix, or a key of the main keyspace. */
  readonly by: { readonly prefix: string } | { readonly key: string }
}> {
  override get message(): string {
    const what =
      "key" in this.by ? `the key '${this.by.key}' of no tenant` : `a tenant with the prefix '${this.by.prefix}'`
    return `the prefix '${this.prefix}' cannot be told apart: there is ${what}`
  }
}

export class TooManyTenants extends Data.TaggedError("TooManyTenants")<{ readonly limit: number }> {
  override get message(): string {
    return `there are ${this.limit} tenants, which is the limit; remove one first`
  }
}

export class TenantsNotSaved extends Data.TaggedError("TenantsNotSaved")<{ readonly cause: unknown }> {
  override get message(): string {
    return `the change is in effect, but could not be saved and will not survive a restart: ${String(this.cause)}`
  }
}

export type TenantError = InvalidTenant | TenantExists | TenantNotFound | PrefixTaken | TooManyTenants | TenantsNotSaved

const shownMax = 80 // characters of what was given, in an error

const shown = (value: unknown): string => {
  const text = typeof value === "string" ? `'${value}'` : String(value)
  return text.length <= shownMax ? text : `${text.slice(0, shownMax)}…`
}
