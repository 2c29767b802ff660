/**
 * Triggers as an Effect service: register, list, try and remove Lua functions that run inside the cache's operations.
 *
 * Two layers, because a keyspace needs its event sink when it is made and the registry needs the keyspace: `layerRunner`
 * gives the sink (`Reactions`), `layer` the service over the keyspaces that were made with it.
 */
import { Context, Effect, Layer } from "effect"
import type { Process, Supervisor } from "../actor/index.ts"
import { Bus, CacheClock, Keyspaces, Reactions } from "../cache/index.ts"
import { LuaVm, Sandbox } from "../sandbox/index.ts"
import { type MetricReader, metric } from "../telemetry/index.ts"
import { Webhooks } from "../webhooks/index.ts"
import { Run } from "./CacheApi.ts"
import { type CascadeLimits, cascadeLimitsDefault } from "./Cascade.ts"
import { type DryRunReport, dryRun, type TestEvent } from "./DryRun.ts"
import { Journal } from "./Journal.ts"
import { Machines, machineParts } from "./Machines.ts"
import {
  failureKinds,
  memoryBytesDefault,
  type RegisteredTrigger,
  skipKinds,
  Trigger,
  type TriggerInput,
  timeoutUsDefault
} from "./Trigger.ts"
import { type RegistrationError, TriggerNotFound, TriggerSyntaxError, type TriggersNotSaved } from "./TriggerError.ts"
import { TriggerLog, type TriggerLogRecord } from "./TriggerLog.ts"
import { describe, TriggerRegistry } from "./TriggerRegistry.ts"
import { TriggerRunner } from "./TriggerRunner.ts"
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
  readonly metrics: readonly MetricReader[]
  /** The processes that the supervision tree mounts for it. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

export class Triggers extends Context.Tag("mimosa-cache/triggers/Triggers")<Triggers, TriggersService>() {}

/** What the two layers share. */
interface EngineService {
  readonly origin: string
  readonly machines: Machines
  readonly runner: TriggerRunner
  readonly log: TriggerLog
}

export class TriggerEngine extends Context.Tag("mimosa-cache/triggers/TriggerEngine")<TriggerEngine, EngineService>() {}

export interface RunnerSettings {
  /** Names this start of the process in the ids of webhooks and cascades; another one each time. */
  readonly origin: string
  readonly cascade?: Partial<CascadeLimits>
}

const logRecordsMax = 1_000 // records of failures and skips that TRIGGER LOG keeps

/** Runs the triggers: the reactions that keyspaces are made with. */
export const layerRunner = (
  settings: RunnerSettings
): Layer.Layer<Reactions | TriggerEngine, never, Sandbox | Webhooks.Webhooks | Journal | Bus | CacheClock> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { origin } = settings
      const sandbox = yield* Sandbox
      const clock = yield* CacheClock
      const run = new Run(origin)
      const parts = machineParts(run, () => clock.nowMs())
      const pool = sandbox.pool(() => new LuaVm(parts))
      const open = () => sandbox.open(pool, `triggers ${sandbox.workers().length + 1}`)
      const machines = new Machines(run, open, pool.take())
      const log = new TriggerLog(logRecordsMax)
      const { port: webhooks } = yield* Webhooks.Webhooks
      const runner = new TriggerRunner({
        origin,
        machines,
        log,
        ports: { webhooks, emits: yield* Bus, lines: yield* Journal },
        cascade: { ...cascadeLimitsDefault, ...settings.cascade },
        monotonicMs: () => performance.now()
      })
      return Context.make(Reactions, runner).pipe(Context.add(TriggerEngine, { origin, machines, runner, log }))
    })
  )

/** The service over the main keyspace, with the triggers that were saved before. */
export const layer: Layer.Layer<
  Triggers,
  RegistrationError,
  TriggerEngine | Keyspaces | TriggerStore | CacheClock | Journal
> = Layer.effect(
  Triggers,
  Effect.gen(function* () {
    const { main: keyspace } = yield* Keyspaces
    const { machines, log, origin, runner } = yield* TriggerEngine
    const clock = yield* CacheClock
    const store = yield* TriggerStore
    const journal = yield* Journal
    const registry = new TriggerRegistry(keyspace, machines, () => clock.nowMs())
    for (const definition of store.saved) {
      const refused = registry.set(definition)
      if (!(refused instanceof Trigger)) yield* Effect.fail(refused)
    }
    const save = store.save(() => registry.definitions())
    return Triggers.of({
      set: Effect.fn("Triggers.set")(function* (input: TriggerInput) {
        const trigger = registry.set(input)
        if (!(trigger instanceof Trigger)) return yield* Effect.fail(trigger)
        yield* save
        return describe(trigger)
      }),
      remove: Effect.fn("Triggers.remove")((name: string) =>
        Effect.suspend(() => (registry.remove(name) ? Effect.as(save, true) : Effect.succeed(false)))
      ),
      list: Effect.sync(() => Array.from(registry.all(), describe)),
      info: (name) =>
        Effect.suspend(() => {
          const trigger = registry.get(name)
          return trigger === undefined
            ? Effect.fail(new TriggerNotFound({ trigger: name }))
            : Effect.succeed(describe(trigger))
        }),
      test: (subject, event) =>
        Effect.suspend((): Effect.Effect<DryRunReport, TriggerNotFound | TriggerSyntaxError> => {
          const definition = "name" in subject ? registry.get(subject.name)?.definition : unregistered(subject.source)
          if (definition === undefined) {
            return Effect.fail(new TriggerNotFound({ trigger: "name" in subject ? subject.name : "" }))
          }
          const report = dryRun(definition, event, {
            keyspace,
            origin,
            nowMs: clock.nowMs(),
            monotonicMs: () => performance.now()
          })
          return report instanceof TriggerSyntaxError ? Effect.fail(report) : Effect.succeed(report)
        }),
      log: (count) => Effect.sync(() => log.recent(count)),
      metrics: metricsOf(registry, runner),
      children: [journal.childSpec, ...store.children]
    })
  })
)

const unregistered = (source: string) => ({
  name: "test",
  source,
  timeoutUs: timeoutUsDefault,
  memoryBytes: memoryBytesDefault
})

const metricsOf = (registry: TriggerRegistry, { counters }: TriggerRunner): readonly MetricReader[] => [
  { ...metric.triggersRegistered, read: () => registry.size },
  {
    ...metric.triggerRuns,
    read: () => [
      [
        { outcome: "ok" },
        counters.runs - failureKinds.reduce((sum, kind) => sum + counters.failuresOf[kind], 0)
      ] as const,
      ...failureKinds.map((kind) => [{ outcome: kind }, counters.failuresOf[kind]] as const)
    ]
  },
  {
    ...metric.triggerSkips,
    read: () => skipKinds.map((kind) => [{ reason: kind }, counters.skipsOf[kind]] as const)
  }
]
