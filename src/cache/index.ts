export { Bus } from "./Bus.ts"
export {
  Cache,
  type CacheService,
  type CacheStats,
  type EntryView,
  type MainCacheService,
  make,
  type SetOptions
} from "./Cache.ts"
export { CacheClock } from "./CacheClock.ts"
export {
  type CacheError,
  EntryTooLarge,
  InvalidBytes,
  InvalidJson,
  InvalidTenant,
  InvalidTtl,
  InvalidValue,
  PrefixTaken,
  Rejected,
  type TenantError,
  TenantExists,
  TenantNotFound,
  TenantsNotSaved,
  TooManyTenants
} from "./CacheError.ts"
export { EventBus, type Subscriber } from "./EventBus.ts"
export {
  type KeyspaceLimits,
  Keyspaces,
  type KeyspacesService,
  keyspaceLimitsDefault,
  Reactions,
  tenantBytesMaxDefault,
  Wakeup,
  Wakeups
} from "./Keyspaces.ts"
export { Scheduler } from "./Scheduler.ts"
export { isEnvName, isTenantId, Tenant, type TenantLimits, tenantLimitRanges, tenantLimitsDefault } from "./Tenant.ts"
export type { CreationError, NewTenant, TenantListener } from "./TenantRegistry.ts"
export { TenantStore } from "./TenantStore.ts"
export { Tenants, type TenantsService, type TenantsSettings, tenantsMaxDefault } from "./Tenants.ts"
export { ttlMsOf, ttlSecondsMax } from "./Ttl.ts"
export { TurnClock } from "./TurnClock.ts"
export { codecVersion, decodeValue, encodeValue } from "./ValueCodec.ts"
export {
  appendBytes,
  asText,
  cutText,
  fromJson,
  fromNested,
  fromValue,
  type Input,
  lossyText,
  messageBytes,
  type Output,
  onePiece,
  shortened,
  toBytes,
  toExactJson,
  toJson,
  toMetadata,
  toText,
  toValue,
  valueAsBytes
} from "./Values.ts"
