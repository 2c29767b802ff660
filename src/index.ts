/**
 * Mimosa: the cache that reacts when it is touched, as Effect services.
 *
 * `Mimosa.layer(settings)` gives all of them; `mimosa-cache/promise` is the same for programs without Effect.
 */
export * as Mimosa from "./App.ts"
export {
  Bus,
  Cache,
  type CacheError,
  type CacheService,
  type CacheStats,
  EntryTooLarge,
  type EntryView,
  EventBus,
  type Input,
  InvalidTtl,
  InvalidValue,
  type KeyspaceLimits,
  type Output,
  Rejected,
  type SetOptions,
  type Subscriber
} from "./cache/index.ts"
export { DataDirectoryLocked, FileCorrupt, FileVersionUnknown, type StorageError, StorageIo } from "./storage/index.ts"
export {
  type CascadeLimits,
  type DryRunReport,
  InvalidTrigger,
  type RegisteredTrigger,
  type RegistrationError,
  type TestEvent,
  TooManyTriggers,
  type TriggerEventName,
  type TriggerInput,
  type TriggerLogRecord,
  TriggerNotFound,
  TriggerSyntaxError,
  Triggers,
  TriggersNotSaved,
  type TriggersService
} from "./triggers/index.ts"
export { EgressAllowInvalid } from "./webhooks/index.ts"
