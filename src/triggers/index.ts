export { type CascadeLimits, cascadeLimitsDefault } from "./Cascade.ts"
export type { DryRunReport, TestEvent } from "./DryRun.ts"
export { Journal } from "./Journal.ts"
export { type LogLine, type LogStreamInfo, LogStreams } from "./LogStreams.ts"
export { type Intensity, intensityDefault } from "./Quarantine.ts"
export {
  type RegisteredTrigger,
  type TriggerDefinition,
  type TriggerEventName,
  type TriggerInput,
  type TriggerOptions,
  triggerEventNames
} from "./Trigger.ts"
export {
  InvalidTrigger,
  NoShadow,
  type RegistrationError,
  TooManyTriggers,
  TooMuchSource,
  TriggerNotFound,
  TriggerSyntaxError,
  TriggersNotSaved,
  VersionNotFound
} from "./TriggerError.ts"
export {
  analyseTrigger,
  type GraphInput,
  graphWarnings,
  type TriggerGraph,
  type TriggerNode,
  triggerGraph
} from "./TriggerGraph.ts"
export type { TriggerLogRecord } from "./TriggerLog.ts"
export type { ShadowInput, TriggerHistory, TriggerVersion } from "./TriggerRegistry.ts"
export type { FailureKind, SkipKind } from "./TriggerStats.ts"
export { TriggerStore } from "./TriggerStore.ts"
export { layer, layerRunner, type RunnerSettings, TriggerEngine, Triggers, type TriggersService } from "./Triggers.ts"
