/**
 * Limits of tenants as the doors spell them: `compute_ms` over RESP, `computeMs` over HTTP and in the library. Either is
 * understood at both doors, and who is refused by a limit is told how it is raised.
 */
import { type TenantLimits, tenantLimitRanges, tenantLimitsDefault } from "../cache/Tenant.ts"
import { bytesOf, sizeOf } from "./ByteSize.ts"

export type LimitName = keyof TenantLimits

/** The limits of a tenant by name, in the order in which they are shown. */
export const tenantLimitNames = Object.keys(tenantLimitsDefault) as readonly LimitName[]

/** The limit that a text names in either spelling. */
export const limitNamed = (text: string): LimitName | undefined => byPlainName.get(plain(text))

const plain = (name: string): string => name.toLowerCase().replace(/[_-]/g, "")
const byPlainName: ReadonlyMap<string, LimitName> = new Map(tenantLimitNames.map((name) => [plain(name), name]))

/** `computeMs` as RESP spells it: `compute_ms`. */
export const respSpelling = (name: LimitName): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

const isSize = (name: LimitName): boolean => name.endsWith("Bytes")

/** The value that a text gives a limit, sizes as `64mb`; undefined where it may not have that. */
export const limitValue = (name: LimitName, text: string): number | undefined => {
  const value = isSize(name) ? bytesOf(text) : /^\d+$/.test(text) ? Number(text) : Number.NaN
  const [min, max] = tenantLimitRanges[name]
  return value >= min && value <= max ? value : undefined
}

/** What a limit may be, in words. */
export const limitRange = (name: LimitName): string => {
  const [min, max] = tenantLimitRanges[name]
  return isSize(name)
    ? `a number of bytes such as 1000000 or 4mb, from ${sizeOf(min)} to ${sizeOf(max)}`
    : `a whole number from ${min} to ${max}`
}

/** The limits of a JSON object under the names that the keeper knows; others are left as they are, for it to refuse. */
export const limitsOf = (given: object): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(given).map(([name, value]) => [limitNamed(name) ?? name, value]))

/**
 * The limit of its tenant by which an error refuses something; undefined where it is none of a tenant's own, as the limit
 * of all tenants together.
 */
export const limitMet = (error: unknown): LimitName | undefined => {
  const { _tag, kind, what } = error as { readonly _tag?: string; readonly kind?: string; readonly what?: string }
  switch (_tag) {
    case "ScriptTimeout":
      return kind === "computing" ? "computeMs" : "waitMs"
    case "ScriptOutOfMemory":
      return "memoryBytes"
    case "TooManyScripts":
      return "scriptsMax"
    case "ScriptQuotaExceeded":
      return what === "runs" ? "runsMax" : what === "fuel" ? "fuelPerSecond" : undefined
    default:
      return undefined
  }
}

/** How a limit is raised, over RESP. */
export const raisedByCommand = (tenant: string, name: LimitName): string =>
  `an operator raises it by TENANT LIMITS ${tenant} ${respSpelling(name)} <n>`

/** The same over HTTP. */
export const raisedByRequest = (tenant: string, name: LimitName): string =>
  `an operator raises it by PUT /v1/tenants/${tenant} {"limits":{"${name}":<n>}}`
