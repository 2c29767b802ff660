export { Bus } from "./Bus.ts"
export { Cache, type CacheService, type CacheStats, type EntryView, make, type SetOptions } from "./Cache.ts"
export { CacheClock } from "./CacheClock.ts"
export { type CacheError, EntryTooLarge, InvalidTtl, InvalidValue, Rejected } from "./CacheError.ts"
export { EventBus, type Subscriber } from "./EventBus.ts"
export {
  type KeyspaceLimits,
  Keyspaces,
  type KeyspacesService,
  keyspaceLimitsDefault,
  Reactions,
  Wakeup,
  Wakeups
} from "./Keyspaces.ts"
export { Scheduler } from "./Scheduler.ts"
export { TurnClock } from "./TurnClock.ts"
export {
  appendBytes,
  asText,
  fromValue,
  type Input,
  lossyText,
  type Output,
  onePiece,
  toBytes,
  toJson,
  toMetadata,
  toText,
  toValue,
  valueAsBytes
} from "./Values.ts"
