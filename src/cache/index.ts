export {
  type AckMode,
  Acknowledgement,
  type AcknowledgementService,
  ackModes,
  isAckMode,
  type WriteOptions
} from "./Acknowledgement.ts"
export { Bus } from "./Bus.ts"
export {
  type AnyLoad,
  Cache,
  type CacheService,
  type CacheStats,
  type EntryView,
  type MainCacheService,
  make,
  type OptionsError
} from "./Cache.ts"
export { CacheClock } from "./CacheClock.ts"
export {
  type AcknowledgementError,
  type CacheError,
  EntryTooLarge,
  InvalidAckMode,
  InvalidBytes,
  InvalidExpiryOwner,
  InvalidJson,
  InvalidLoader,
  InvalidPrefix,
  InvalidTenant,
  InvalidTtl,
  InvalidValue,
  type LoadError,
  LoadFailed,
  LoadTimedOut,
  NotAcknowledged,
  PrefixTaken,
  Rejected,
  type TenantError,
  TenantExists,
  TenantNotFound,
  TenantsNotSaved,
  TooManyLoads,
  TooManyTenants
} from "./CacheError.ts"
export { EventBus, type Subscriber } from "./EventBus.ts"
export {
  CacheFills,
  type FillLimits,
  type FillScope,
  FillStats,
  Fills,
  type FillsOptions,
  fillLimitsDefault,
  type WarmReport
} from "./Fills.ts"
export {
  type KeyspaceLimits,
  Keyspaces,
  type KeyspacesService,
  keyspaceLimitsDefault,
  Reactions,
  Replication,
  type ReplicationService,
  tenantBytesMaxDefault,
  Wakeup,
  Wakeups
} from "./Keyspaces.ts"
export {
  type Load,
  type Loader,
  type LoadOptions,
  type LoadRequest,
  loaderOf,
  loadTimeoutMsDefault
} from "./Loaders.ts"
export { Loans } from "./Loans.ts"
export type { Fetched, Peers } from "./Peers.ts"
export { Scheduler } from "./Scheduler.ts"
export type { SetOptions } from "./SetOptions.ts"
export { isEnvName, isTenantId, Tenant, type TenantLimits, tenantLimitRanges, tenantLimitsDefault } from "./Tenant.ts"
export type { AdoptedTenant, CreationError, NewTenant, TenantListener } from "./TenantRegistry.ts"
export { TenantStore } from "./TenantStore.ts"
export { Tenants, type TenantsService, type TenantsSettings, tenantsMaxDefault } from "./Tenants.ts"
export type { Tier, TierEntry } from "./Tier.ts"
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
