export { type CascadeLimits, cascadeLimitsDefault } from "./Cascade.ts"
export type { DryRunReport } from "./DryRun.ts"
export type { HistoryCut, HistoryReport, HistoryRun, HistorySum, ListedReport } from "./History.ts"
export { Journal } from "./Journal.ts"
export { type LogLine, type LogStreamInfo, LogStreams } from "./LogStreams.ts"
export { type Intensity, intensityDefault } from "./Quarantine.ts"
export {
  type RegisteredTrigger,
  type TriggerDefinition,
  type TriggerEventName,
  type TriggerFigures,
  type TriggerInput,
  type TriggerOptions,
  type TriggerScope,
  triggerEventNames
} from "./Trigger.ts"
export {
  HistoryOff,
  InvalidTrigger,
  NoShadow,
  type RegistrationError,
  TooManyTriggers,
  TooMuchSource,
  TriggerNotFound,
  TriggerSyntaxError,
  TriggersClosed,
  TriggersNotSaved,
  VersionNotFound
} from "./TriggerError.ts"
export {
  analyseTrigger,
  type GraphInput,
  type KeySet,
  LiveGraph,
  type TriggerEdge,
  type TriggerGraph,
  type TriggerNode,
  triggerGraph
} from "./TriggerGraph.ts"
export type { TriggerLogRecord } from "./TriggerLog.ts"
export type { ShadowInput, TriggerHistory, TriggerVersion } from "./TriggerRegistry.ts"
export type { FailureKind, SkipKind } from "./TriggerStats.ts"
export { TriggerStore } from "./TriggerStore.ts"
export {
  layer,
  layerRunner,
  layerTenants,
  type RunnerSettings,
  type TestSubject,
  type TriedEvent,
  TriggerEngine,
  Triggers,
  type TriggersInBytes,
  type TriggersOfKeyspace,
  type TriggersService
} from "./Triggers.ts"
