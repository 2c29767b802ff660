/**
 * Mimosa for programs without Effect: a few classes, promises, plain errors.
 *
 * Every method waits for the start, so nothing has to be awaited first; only the synchronous doors (`unsafeGet`, `peek`)
 * need it to be over (`await cache.ready`).
 */
import { Effect } from "effect"
import { ProcessTree, type Settings } from "./App.ts"
import type { Supervisor } from "./actor/index.ts"
import { MimosaCoherence } from "./MimosaCoherence.ts"
import { MimosaKeyspace } from "./MimosaKeyspace.ts"
import { MimosaProgram } from "./MimosaProgram.ts"
import { MimosaScripts } from "./MimosaScripts.ts"
import { MimosaTenants } from "./MimosaTenants.ts"

export type { Settings } from "./App.ts"
export type {
  AckMode,
  CacheStats,
  EntryView,
  Input,
  KeyspaceLimits,
  Load,
  LoadOptions,
  LoadRequest,
  NewTenant,
  Output,
  SetOptions,
  TenantLimits,
  TenantsSettings,
  Tier,
  TierEntry,
  WarmReport,
  WriteOptions
} from "./cache/index.ts"
export {
  decodeValue,
  EntryTooLarge,
  encodeValue,
  fromJson,
  fromValue,
  InvalidAckMode,
  InvalidBytes,
  InvalidExpiryOwner,
  InvalidJson,
  InvalidLoader,
  InvalidPrefix,
  InvalidTenant,
  InvalidTtl,
  InvalidValue,
  LoadFailed,
  LoadTimedOut,
  NotAcknowledged,
  PrefixTaken,
  Rejected,
  TenantExists,
  TenantNotFound,
  TenantsNotSaved,
  TooManyLoads,
  TooManyTenants,
  tenantLimitsDefault,
  toExactJson,
  toValue
} from "./cache/index.ts"
export {
  type CoherenceSettings,
  type CoherenceStatus,
  type Diagnosis,
  type MemberStatus,
  type MembersWait,
  NotEnoughMembers,
  TransportError
} from "./coherence/index.ts"
export { toFloat, type Value, type WholeFloat } from "./kernel/index.ts"
export type { MimosaCoherence } from "./MimosaCoherence.ts"
export type { LoggedLine, MimosaKeyspace, TriedSubject, Waiting } from "./MimosaKeyspace.ts"
export type { MimosaScript, MimosaScriptState, MimosaScripts, MimosaTenantScripts } from "./MimosaScripts.ts"
export type { MimosaTenant, MimosaTenants } from "./MimosaTenants.ts"
export type {
  HostFunctionInput,
  RunError,
  RunLimits,
  RunOptions,
  ScriptError,
  ScriptInfo,
  ScriptLine,
  ScriptLineKind,
  ScriptLogQuery,
  ScriptRunError,
  ScriptRunOptions,
  ScriptSetError,
  ScriptSettings,
  ScriptStats,
  ScriptUsage,
  StateOptions,
  StateRunOptions
} from "./scripting/index.ts"
export {
  FunctionNotFound,
  InvalidArgument,
  InvalidScriptName,
  ScriptInterrupted,
  ScriptKilled,
  ScriptNotFound,
  ScriptOutOfMemory,
  ScriptQuotaExceeded,
  ScriptRuntimeError,
  ScriptSyntaxError,
  ScriptsNotSaved,
  ScriptTimeout,
  TooManyScripts
} from "./scripting/index.ts"
export { DataDirectoryLocked, FileCorrupt, FileVersionUnknown, StorageIo } from "./storage/index.ts"
export type {
  CascadeLimits,
  DryRunReport,
  FailureKind,
  HistoryCut,
  HistoryReport,
  HistoryRun,
  HistorySum,
  Intensity,
  KeySet,
  ListedReport,
  LogStreamInfo,
  RegisteredTrigger,
  ShadowInput,
  SkipKind,
  TriedEvent,
  TriggerDefinition,
  TriggerEdge,
  TriggerEventName,
  TriggerFigures,
  TriggerGraph,
  TriggerHistory,
  TriggerInput,
  TriggerLogRecord,
  TriggerNode,
  TriggerOptions,
  TriggerScope,
  TriggerVersion
} from "./triggers/index.ts"
export {
  HistoryOff,
  InvalidTrigger,
  NoShadow,
  TooManyTriggers,
  TooMuchSource,
  TriggerNotFound,
  TriggerSyntaxError,
  TriggersClosed,
  TriggersNotSaved,
  VersionNotFound
} from "./triggers/index.ts"
export { EgressAllowInvalid, HttpAllowInvalid } from "./webhooks/index.ts"

/**
 * A cache that reacts when it is touched.
 *
 * | method | answers |
 * |---|---|
 * | `get(key)` | the value or undefined, from here or from who has it; fires ON_READ |
 * | `getOrSet(key, load, { ttl, … })` | the value, loaded once where nobody has it |
 * | `loader(pattern, load, { ttl, … })` | a function that takes the loader back |
 * | `warm(keys)` | what became of each, once their loaders have loaded them anew |
 * | `set(key, value, { ttl, metadata, tags, cost, local, ackMode })` | when its triggers have run, and who it waits for has applied it |
 * | `del(key)`, `has(key)`, `expire(key, ttl)` | whether there was such an entry |
 * | `invalidate(key)`, `invalidateTags(tags)`, `invalidatePrefix(prefix)` | when what is stale is gone, here and elsewhere |
 * | `clear()` | how many entries there were |
 * | `stats()` | counts of the cache |
 * | `unsafeGet(key)`, `peek(key)` | what is here, at once, without a promise; `peek` has no consequences |
 * | `trigger(trigger)` | the trigger as it is registered, once it is saved |
 * | `triggers()`, `triggerInfo(name)` | what is registered, and how it fares |
 * | `enableTrigger(name)`, `disableTrigger(name)` | the trigger as it is then |
 * | `removeTrigger(name)` | whether there was such a trigger |
 * | `tryTrigger(subject, event)` | what a run would do; nothing happens |
 * | `tryTriggerOnHistory(subject, count)` | the same for the last events, and what the live version would do otherwise |
 * | `shadowTrigger(name, { source })` | the trigger, with a version beside it that does nothing but count |
 * | `promoteShadow(name)`, `dropShadow(name)` | the trigger with it as the live one; whether there was one |
 * | `triggerVersions(name)`, `rollbackTrigger(name, version)` | the versions that are kept; the trigger with an earlier one |
 * | `triggerLog(count)` | what failed or was skipped |
 * | `triggerGraph()`, `triggerWarnings(name)` | what sets off what; what can be said against a trigger |
 * | `logs(stream, { after, count })`, `logStreams()` | what triggers have logged, by stream |
 * | `on(channel, listener)` | a function that takes the listener back |
 * | `scripts` | `compile(source)`: Lua programs that this program runs |
 * | `tenants` | `create`, `open`, `get`, `list`, `byToken`: caches of others, each with its own keys, triggers and scripts |
 * | `coherence` | `status`, `untilMembers`, `acknowledged`, `trace`, `forget`: the instances that share these keys |
 * | `processes()` | the supervision tree |
 * | `ready`, `close()` | when everything runs; when everything has stopped |
 *
 * Keys are text; values are text, numbers, bigints, booleans, null, bytes, arrays, Maps and plain objects. A `ttl` is a
 * duration (`"30 minutes"`) or milliseconds. Methods reject with the library's errors (docs/errors.md), or because the cache is closed.
 *
 * What runs in the cache's own name runs in its supervision tree. The fiber of a call of a method is the caller's: it ends with
 * the promise.
 *
 * @example
 * const cache = new Mimosa({ maxEntries: 10_000 })
 * await cache.trigger({
 *   name: "ended", pattern: "session:*", events: ["ON_EXPIRE"],
 *   source: 'cache.emit("ended", event.key)'
 * })
 * cache.on("ended", (key) => console.log(key, "is over"))
 * await cache.set("session:42", { user: 7 }, { ttl: "30 minutes" })
 * await cache.close()
 */
export class Mimosa extends MimosaKeyspace {
  /** Is fulfilled when everything runs; rejected with what kept it from starting. */
  readonly ready: Promise<void>
  /** Lua programs that this program compiles and runs. */
  readonly scripts: MimosaScripts
  /** Those who have a cache of their own in this one. */
  readonly tenants: MimosaTenants
  /** The instances that share these keys, where there is a `namespace`. */
  readonly coherence: MimosaCoherence

  constructor(settings: Settings = {}) {
    const program = new MimosaProgram(settings)
    super(program, null)
    this.ready = program.ready
    this.scripts = new MimosaScripts(program)
    this.tenants = new MimosaTenants(program)
    this.coherence = new MimosaCoherence(program)
  }

  /** The supervision tree as plain data. */
  processes(): Promise<Supervisor.TreeNode | null> {
    return this.program.run(Effect.map(ProcessTree, ({ read }) => read()))
  }

  /**
   * Stops everything in order, once the start is over and what was asked for before is done. Webhooks that are pending
   * get a moment; what is left of them is lost, and logged. A second call waits for the same end.
   */
  close(): Promise<void> {
    return this.program.close()
  }
}
