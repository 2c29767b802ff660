/**
 * Triggers as an Effect service: register, list, try and remove Lua functions that run inside the cache's operations.
 *
 * Two layers, because the keyspace needs its event sink when it is made and the registry needs the keyspace:
 * `layerRunner` gives the sink (`Reactions`), `layer` the service over the keyspaces that were made with it.
 */
import { Context, Effect, Layer } from "effect"
import { CacheClock, EventBus, Keyspaces, Reactions } from "../cache/index.ts"
import type { EventSink } from "../kernel/index.ts"
import { LuaVm, VmPool, VmWorkers } from "../sandbox/index.ts"
import { Run } from "./CacheApi.ts"
import { type CascadeLimits, cascadeLimitsDefault } from "./Cascade.ts"
import { type DryRunReport, dryRun, type TestEvent } from "./DryRun.ts"
import { Journal } from "./Journal.ts"
import { Machines, machineParts } from "./Machines.ts"
import {
  defineTrigger,
  memoryBytesDefault,
  type RegisteredTrigger,
  type TriggerInput,
  timeoutUsDefault
} from "./Trigger.ts"
import {
  type InvalidTrigger,
  type RegistrationError,
  TriggerNotFound,
  type TriggersNotSaved,
  type TriggerSyntaxError
} from "./TriggerError.ts"
import { TriggerLog, type TriggerLogRecord } from "./TriggerLog.ts"
import { describe, TriggerRegistry } from "./TriggerRegistry.ts"
import { TriggerRunner, type WebhookPort } from "./TriggerRunner.ts"
import { TriggerStore } from "./TriggerStore.ts"

/** What is tried: a registered trigger by its name, or a source that is not registered. */
export type TestSubject = { readonly name: string } | { readonly source: string }

export interface TriggersService {
  /**
   * Registers a trigger, in the place of the one that has its name. It is active when this returns, and saved; when
   * saving fails it is active all the same, and `TriggersNotSaved` says so.
   *
   * @example
   * yield* triggers.set({
   *   name: "ended", pattern: "session:*", events: ["ON_EXPIRE"],
   *   source: 'cache.emit("ended", event.key)'
   * })
   */
  readonly set: (input: TriggerInput) => Effect.Effect<RegisteredTrigger, RegistrationError | TriggersNotSaved>
  /** Whether there was such a trigger. */
  readonly remove: (name: string) => Effect.Effect<boolean, TriggersNotSaved>
  readonly list: Effect.Effect<RegisteredTrigger[]>
  readonly info: (name: string) => Effect.Effect<RegisteredTrigger, TriggerNotFound>
  /** Runs it on a made-up event; changes nothing. */
  readonly test: (
    subject: TestSubject,
    event: TestEvent
  ) => Effect.Effect<DryRunReport, TriggerNotFound | TriggerSyntaxError>
  /** The last records of what failed or was skipped, newest first. */
  readonly log: (count: number) => Effect.Effect<TriggerLogRecord[]>
}

export class Triggers extends Context.Tag("mimosa-cache/triggers/Triggers")<Triggers, TriggersService>() {}
