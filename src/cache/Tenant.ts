/**
 * One tenant: whose keys they are, how much of everything it may use, and what its scripts are given.
 *
 * Its keys lie in a keyspace of its own, where they are bare (`user_count`). The form that operators see and use,
 * `tenant_123:user_count`, is made and taken apart at the doors; inside, no key could name another tenant's.
 */
import { byteSize, type Keyspace, type Value } from "../kernel/index.ts"
import { InvalidTenant } from "./CacheError.ts"

/** How much a tenant may use. */
export interface TenantLimits {
  /** Entries at most; the least recently used go first. */
  readonly maxEntries: number
  /** Bytes of its entries at most, as the kernel counts them. */
  readonly maxBytes: number
  /** Runs of scripts at once, those that wait included. */
  readonly runsMax: number
  /** Units of fuel that its scripts may spend in a second, all together. */
  readonly fuelPerSecond: number
  /** ms that one run may compute. */
  readonly computeMs: number
  /** ms that one run may wait. */
  readonly waitMs: number
  /** Bytes of one run's Lua world at most. */
  readonly memoryBytes: number
  /** Requests that its scripts may have under way at once. */
  readonly requestsMax: number
  /** Scripts that are kept under a name. */
  readonly scriptsMax: number
  /** Lines that its script log keeps. */
  readonly logLines: number
}

/** A tenant as it is now. `Tenants` alone changes it; whoever holds one after it was removed sees `isOpen` false. */
export class Tenant {
  isOpen = true
  /** Whether it is, or is to be, in the data directory: not so where the library has opened it by its prefix alone. */
  isSaved = false
  /** Counts its changes, from 1. */
  version = 1
  updatedAtMs: number
  /** What its scripts find as frozen globals, by name. Never changed in place. */
  env: ReadonlyMap<string, Value> = noEnv
  /** SHA-256 of the token that opens its doors, in hexadecimal digits; null while there is none. */
  tokenHash: string | null = null

  constructor(
    readonly id: string,
    /** What its keys are displayed with, before a colon. ASCII. */
    readonly prefix: string,
    readonly keyspace: Keyspace,
    /** Never changed in place. */
    public limits: TenantLimits,
    /** Milliseconds since 1970. */
    readonly createdAtMs: number
  ) {
    this.updatedAtMs = createdAtMs
  }

  /** A key of its own as operators see it. */
  displayed(key: string): string {
    return `${this.prefix}:${key}`
  }
}

/** What there is where nothing is said. */
export const tenantLimitsDefault: TenantLimits = Object.freeze({
  maxEntries: 50_000,
  maxBytes: 64 * 1024 * 1024,
  runsMax: 100,
  fuelPerSecond: 50_000_000,
  computeMs: 50,
  waitMs: 1_000,
  memoryBytes: 8 * 1024 * 1024,
  requestsMax: 100,
  scriptsMax: 100,
  logLines: 1_000
})

/** The least and the most that each of them may be. */
export const tenantLimitRanges: Readonly<Record<keyof TenantLimits, readonly [min: number, max: number]>> = {
  maxEntries: [1, 100_000_000],
  maxBytes: [1, 2 ** 40],
  runsMax: [0, 10_000],
  fuelPerSecond: [0, 1e12],
  computeMs: [1, 60_000],
  waitMs: [0, 3_600_000],
  memoryBytes: [256 * 1024, 9 * 1024 * 1024], // an empty world takes some 100 KB; a machine has 9 MiB for one
  requestsMax: [0, 10_000],
  scriptsMax: [0, 10_000],
  logLines: [0, 100_000]
}

/** `limits` with what `changes` says of them; frozen. */
export const changedLimits = (limits: TenantLimits, changes: Partial<TenantLimits>): TenantLimits | InvalidTenant => {
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) continue
    const field = `limits.${name}`
    if (!Object.hasOwn(tenantLimitRanges, name)) {
      const reason = `there is no such limit; there are ${Object.keys(tenantLimitRanges).join(", ")}`
      return new InvalidTenant({ field, value, reason })
    }
    const [min, max] = tenantLimitRanges[name as keyof TenantLimits]
    if (!(Number.isSafeInteger(value) && value >= min && value <= max)) {
      return new InvalidTenant({ field, value, reason: `it is a whole number from ${min} to ${max}` })
    }
  }
  return Object.freeze({ ...limits, ...changes })
}

/** 1 to 64 of the characters `A-Z a-z 0-9 _ . -`, not beginning with a dot: an id can be a file's name. */
export const isTenantId = (id: string): boolean => tenantId.test(id)

/** Why a text is no tenant's id, if so. */
export const refusedId = (id: string): InvalidTenant | undefined => {
  if (isTenantId(id)) return undefined
  const reason = "an id is 1 to 64 of the characters A-Z a-z 0-9 _ . -, and does not begin with a dot"
  return new InvalidTenant({ field: "id", value: id, reason })
}

/** Why a text is no tenant's prefix, if so. Whether it can be told from other tenants' is another question. */
export const refusedPrefix = (prefix: string): InvalidTenant | undefined => {
  const refused = (reason: string) => new InvalidTenant({ field: "prefix", value: prefix, reason })
  if (prefix === "") return refused("it is empty; its keys could not be told from everybody's")
  if (prefix.length > prefixLengthMax) return refused(`it has more than ${prefixLengthMax} characters`)
  if (prefix.startsWith(":") || prefix.endsWith(":")) return refused("the colon before a key is put there by itself")
  if (prefix.startsWith("__")) return refused("names that begin with __ belong to the server")
  if (!prefixCharacters.test(prefix)) return refused("a prefix is visible ASCII without space, *, ?, [, ] and \\")
  return undefined
}

/** Characters of a prefix at most: a key's owner is looked for up to there. */
export const prefixLengthMax = 200

/** `env` with one value more, another, or, where it is undefined, one less. */
export const changedEnv = (
  env: ReadonlyMap<string, Value>,
  name: string,
  value: Value | undefined
): ReadonlyMap<string, Value> | InvalidTenant => {
  // The value is nobody's business, so errors show the name.
  const refused = (reason: string) => new InvalidTenant({ field: "env", value: name, reason })
  if (!isEnvName(name)) return refused("a name is 1 to 64 letters, digits and _, and does not begin with a digit")
  const changed = new Map(env)
  if (value === undefined) changed.delete(name)
  else changed.set(name, value)
  if (changed.size > envNamesMax) return refused(`there are ${envNamesMax} names already`)
  let bytes = 0
  for (const [each, held] of changed) bytes += each.length + byteSize(held)
  if (bytes > envBytesMax) return refused(`names and values together would have ${bytes} bytes, of ${envBytesMax}`)
  return changed
}

/** Whether a script could say this name: a program's own names for scripts are like that, too. */
export const isEnvName = (name: string): boolean => envName.test(name)

const envNamesMax = 100
const envBytesMax = 64 * 1024 // they are put into each run's world

const tenantId = /^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$/
const prefixCharacters = /^[!-)+->@-Z^-~]+$/
const envName = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/
const noEnv: ReadonlyMap<string, Value> = new Map()
