/** Tenants' scripts: Lua programs over the cache, each in a world of its own. */

export type { RunOutcome } from "./Account.ts"
export * from "./HttpRequester.ts"
export type { RunLimits } from "./Run.ts"
export { Run } from "./Run.ts"
export type { SchedulerClock } from "./Scheduler.ts"
export {
  argumentsOf,
  type HostFunctionInput,
  type RunError,
  type RunOptions,
  resultOf,
  type Script,
  type ScriptState,
  type StateOptions,
  type StateRunOptions
} from "./Script.ts"
export {
  ScriptEngine,
  type ScriptEngineService,
  type ScriptSettings,
  type ScriptStats
} from "./ScriptEngine.ts"
export * from "./ScriptError.ts"
export type { ScriptLine, ScriptLineKind, ScriptLogQuery } from "./ScriptLog.ts"
export { type SavedScript, ScriptStore, type ScriptStoreService, ScriptsNotSaved } from "./ScriptStore.ts"
export {
  type ScriptInfo,
  type ScriptRunError,
  type ScriptRunOptions,
  type ScriptSetError,
  Scripts,
  type ScriptsService,
  type ScriptUsage
} from "./Scripts.ts"
