export { type CascadeLimits, cascadeLimitsDefault } from "./Cascade.ts"
export type { DryRunReport, TestEvent } from "./DryRun.ts"
export { Journal } from "./Journal.ts"
export {
  type FailureKind,
  type RegisteredTrigger,
  type SkipKind,
  type TriggerDefinition,
  type TriggerEventName,
  type TriggerInput,
  triggerEventNames
} from "./Trigger.ts"
export {
  InvalidTrigger,
  type RegistrationError,
  TooManyTriggers,
  TriggerNotFound,
  TriggerSyntaxError,
  TriggersNotSaved
} from "./TriggerError.ts"
export type { TriggerLogRecord } from "./TriggerLog.ts"
export { TriggerStore } from "./TriggerStore.ts"
export { layer, layerRunner, type RunnerSettings, TriggerEngine, Triggers, type TriggersService } from "./Triggers.ts"
