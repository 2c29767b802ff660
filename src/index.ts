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
export type { Value, ValueObject } from "./kernel/index.ts"
export { DataDirectoryLocked, FileCorrupt, FileVersionUnknown, type StorageError, StorageIo } from "./storage/index.ts"
export type { Labels, Metric, MetricReader, MetricRegistry, Reading } from "./telemetry/index.ts"
export {
  type CascadeLimits,
  type DryRunReport,
  type FailureKind,
  type HistoryCut,
  HistoryOff,
  type HistoryReport,
  type HistoryRun,
  type HistorySum,
  type Intensity,
  InvalidTrigger,
  type KeySet,
  type ListedReport,
  type LogLine,
  type LogStreamInfo,
  type LogStreams,
  NoShadow,
  type RegisteredTrigger,
  type RegistrationError,
  type ShadowInput,
  type SkipKind,
  type TestSubject,
  TooManyTriggers,
  TooMuchSource,
  type TriedEvent,
  type TriggerDefinition,
  type TriggerEdge,
  type TriggerEventName,
  type TriggerFigures,
  type TriggerGraph,
  type TriggerHistory,
  type TriggerInput,
  type TriggerLogRecord,
  type TriggerNode,
  TriggerNotFound,
  type TriggerOptions,
  type TriggerScope,
  TriggerSyntaxError,
  Triggers,
  type TriggersInBytes,
  TriggersNotSaved,
  type TriggersService,
  type TriggerVersion,
  VersionNotFound
} from "./triggers/index.ts"
export { EgressAllowInvalid } from "./webhooks/index.ts"
