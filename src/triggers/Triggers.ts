/**
 * Triggers as an Effect service: register, list, try and remove Lua functions that run inside the cache's operations.
 *
 * Two layers, because a keyspace needs its event sink when it is made and the registry needs the keyspace: `layerRunner`
 * gives the sink (`Reactions`), `layer` the service over the keyspaces that were made with it.
 */
import { Context, Effect, Layer } from "effect"
import type { Process, Supervisor } from "../actor/index.ts"
import {
  asText,
  Bus,
  CacheClock,
  type Input,
  InvalidValue,
  Keyspaces,
  Reactions,
  toBytes,
  toMetadata,
  toValue
} from "../cache/index.ts"
import type { Value, ValueObject } from "../kernel/index.ts"
import { LuaVm, MachineMemory, Sandbox } from "../sandbox/index.ts"
import type { FileCorrupt } from "../storage/index.ts"
import { logAnnotation, type MetricReader, metric } from "../telemetry/index.ts"
import { Webhooks } from "../webhooks/index.ts"
import { Run } from "./CacheApi.ts"
import { type CascadeLimits, cascadeLimitsDefault } from "./Cascade.ts"
import { DryRunner, type DryRunReport, type TestEvent } from "./DryRun.ts"
import type { TriggerLine } from "./Effects.ts"
import { dryRunOnHistory, type HistoryReport } from "./History.ts"
import { Journal } from "./Journal.ts"
import { LogStreams } from "./LogStreams.ts"
import { Machines, machineParts } from "./Machines.ts"
import { type Intensity, intensityDefault } from "./Quarantine.ts"
import {
  describe,
  memoryBytesDefault,
  type RegisteredTrigger,
  Trigger,
  type TriggerEventName,
  type TriggerInput,
  timeoutUsDefault
} from "./Trigger.ts"
import {
  type HistoryOff,
  type NoShadow,
  type RegistrationError,
  TriggerNotFound,
  type TriggerSyntaxError,
  type TriggersNotSaved,
  type VersionNotFound
} from "./TriggerError.ts"
import { cycleWarning, type TriggerGraph } from "./TriggerGraph.ts"
import { TriggerLog, type TriggerLogRecord } from "./TriggerLog.ts"
import { type ShadowInput, type TriggerHistory, TriggerRegistry } from "./TriggerRegistry.ts"
import { TriggerRunner } from "./TriggerRunner.ts"
import { failureKinds, skipKinds } from "./TriggerStats.ts"
import { corruptTrigger, nameOf, TriggerStore } from "./TriggerStore.ts"

/** What is tried: a registered trigger, a source that is not registered, or a source in the place of a trigger's. */
export interface TestSubject {
  readonly name?: string
  readonly source?: string
}

/** The event that a dry run makes up, in a program's own values. */
export interface TriedEvent {
  readonly event: TriggerEventName
  readonly key: string
  /** The new value; for deletes, expiries and evictions the one that goes. */
  readonly value: Input
  /** The value before a write; absent for a key that was not there. */
  readonly oldValue?: Input
  readonly metadata?: { readonly [key: string]: Input }
  readonly tags?: readonly string[]
  readonly cost?: number
}

/** What those ask who speak the kernel's bytes, as servers do. Synchronous. */
export interface TriggersInBytes {
  readonly test: (subject: TestSubject, event: TestEvent) => DryRunReport | TriggerNotFound | TriggerSyntaxError
  readonly testHistory: (
    subject: TestSubject,
    count: number
  ) => HistoryReport | TriggerNotFound | TriggerSyntaxError | HistoryOff
  readonly log: (count: number) => TriggerLogRecord[]
  readonly logs: Pick<LogStreams, "list" | "read">
}

/** Keys and values are those of a program: text and plain data, as in `Cache`. */
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
  /** Disables a trigger, or enables it again, which also ends a quarantine. */
  readonly enable: (
    name: string,
    isEnabled: boolean
  ) => Effect.Effect<RegisteredTrigger, TriggerNotFound | TriggersNotSaved>
  /** The versions of a trigger that are kept, and which of them runs. */
  readonly versions: (name: string) => Effect.Effect<TriggerHistory, TriggerNotFound>
  /** Has an earlier version run again: this one, or the one before the one that runs. */
  readonly rollback: (
    name: string,
    version?: number
  ) => Effect.Effect<RegisteredTrigger, TriggerNotFound | VersionNotFound | RegistrationError | TriggersNotSaved>
  /** Runs a version beside the live one, with all that it would do dropped, until the next restart. */
  readonly shadow: (
    name: string,
    input: ShadowInput
  ) => Effect.Effect<RegisteredTrigger, TriggerNotFound | RegistrationError>
  /** Whether there was a shadow. */
  readonly dropShadow: (name: string) => Effect.Effect<boolean>
  /** Makes the shadow the live version. */
  readonly promote: (
    name: string
  ) => Effect.Effect<RegisteredTrigger, TriggerNotFound | NoShadow | RegistrationError | TriggersNotSaved>
  readonly list: Effect.Effect<RegisteredTrigger[]>
  readonly info: (name: string) => Effect.Effect<RegisteredTrigger, TriggerNotFound>
  /**
   * What can be said against a trigger that is enabled: that it sets itself off, or that its source does not tell what it
   * writes. Empty where there is nothing to say, or no such trigger.
   */
  readonly warnings: (name: string) => Effect.Effect<string[]>
  /** What the enabled triggers read, write and set off, as plain data. */
  readonly graph: Effect.Effect<TriggerGraph>
  /** Runs it on a made-up event; changes nothing. */
  readonly test: (
    subject: TestSubject,
    event: TriedEvent
  ) => Effect.Effect<DryRunReport, InvalidValue | TriggerNotFound | TriggerSyntaxError>
  /**
   * Runs it on the last `count` events that the keyspace's log holds; changes nothing. It holds the thread for 50 ms of
   * computing at most: what that did not suffice for is in the report's `cut`.
   */
  readonly testHistory: (
    subject: TestSubject,
    count: number
  ) => Effect.Effect<HistoryReport, TriggerNotFound | TriggerSyntaxError | HistoryOff>
  /** The last records of what failed or was skipped, newest first. */
  readonly log: (count: number) => Effect.Effect<TriggerLogRecord[]>
  /** What triggers have logged, by stream. Reading it is synchronous. */
  readonly logs: Pick<LogStreams, "list" | "read">
  readonly inBytes: TriggersInBytes
  readonly metrics: readonly MetricReader[]
  /** The processes that the supervision tree mounts for it. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

export class Triggers extends Context.Tag("mimosa-cache/triggers/Triggers")<Triggers, TriggersService>() {}

/** What the two layers share. */
interface EngineService {
  readonly origin: string
  readonly intensity: Intensity
  readonly machines: Machines
  readonly runner: TriggerRunner
  readonly log: TriggerLog
  readonly logs: LogStreams
}

export class TriggerEngine extends Context.Tag("mimosa-cache/triggers/TriggerEngine")<TriggerEngine, EngineService>() {}

export interface RunnerSettings {
  /** Names this start of the process in the ids of webhooks and cascades; another one each time. */
  readonly origin: string
  readonly cascade?: Partial<CascadeLimits>
  /** How many failures take a trigger out. */
  readonly intensity?: Partial<Intensity>
}

const logRecordsMax = 1_000 // records of failures and skips that TRIGGER LOG keeps

/** Runs the triggers: the reactions that keyspaces are made with. */
export const layerRunner = (
  settings: RunnerSettings
): Layer.Layer<Reactions | TriggerEngine, never, Sandbox | Webhooks.Webhooks | Journal | Bus | CacheClock> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const { origin } = settings
      const intensity = { ...intensityDefault, ...settings.intensity }
      const sandbox = yield* Sandbox
      const clock = yield* CacheClock
      const run = new Run(origin)
      const parts = { ...machineParts(run, () => clock.nowMs()), shared: new MachineMemory() }
      const pool = sandbox.pool(() => new LuaVm(parts))
      const open = () => sandbox.open(pool, `triggers ${sandbox.workers().length + 1}`)
      const machines = new Machines(run, open, pool.take())
      const log = new TriggerLog(logRecordsMax)
      const logs = new LogStreams()
      const journal = yield* Journal
      const keepAndWrite = (line: TriggerLine): boolean => {
        logs.append(line)
        return journal.offer(line)
      }
      const { port: webhooks } = yield* Webhooks.Webhooks
      const runner = new TriggerRunner({
        machines,
        log,
        ports: { webhooks, emits: yield* Bus, lines: { offer: keepAndWrite } },
        cascade: { ...cascadeLimitsDefault, ...settings.cascade },
        nowMs: () => clock.nowMs(),
        monotonicMs: () => performance.now()
      })
      return Context.make(Reactions, runner).pipe(
        Context.add(TriggerEngine, { origin, intensity, machines, runner, log, logs })
      )
    })
  )

/** The service over the main keyspace, with the triggers that were saved before. */
export const layer: Layer.Layer<
  Triggers,
  FileCorrupt,
  TriggerEngine | Keyspaces | TriggerStore | CacheClock | Journal
> = Layer.effect(
  Triggers,
  Effect.gen(function* () {
    const { main: keyspace } = yield* Keyspaces
    const { machines, intensity, log, logs, origin, runner } = yield* TriggerEngine
    const clock = yield* CacheClock
    const store = yield* TriggerStore
    const journal = yield* Journal
    const nowMs = () => clock.nowMs()
    const registry = new TriggerRegistry(keyspace, machines, nowMs, intensity)
    const dryRunner = new DryRunner({ keyspace, origin, nowMs, monotonicMs: () => performance.now() })
    for (const { history, path } of store.saved) {
      const refused = registry.restore(history)
      if (!(refused instanceof Trigger)) yield* corruptTrigger(nameOf(history), path, refused.message)
    }
    /** What the registry answered, once it is saved; or its refusal. */
    const saved = <Refused extends object>(
      name: string,
      answer: Trigger | Refused
    ): Effect.Effect<RegisteredTrigger, Refused | TriggersNotSaved> =>
      answer instanceof Trigger
        ? Effect.as(store.save(name, registry), answer).pipe(Effect.map(describe))
        : Effect.fail(answer)
    /** What is to be run: a trigger's definition, or what it would be with another source. */
    const definitionOf = ({ name, source }: TestSubject) => {
      if (name === undefined) return unregistered(source ?? "")
      const definition = registry.get(name)?.definition
      if (definition === undefined) return new TriggerNotFound({ trigger: name })
      return source === undefined ? definition : { ...definition, source }
    }
    const inBytes: TriggersInBytes = {
      test: (subject, event) => {
        const definition = definitionOf(subject)
        return definition instanceof TriggerNotFound ? definition : dryRunner.test(definition, event)
      },
      testHistory: (subject, count) => {
        const definition = definitionOf(subject)
        if (definition instanceof TriggerNotFound) return definition
        const isCompared = subject.name !== undefined && subject.source !== undefined
        const current = isCompared ? (registry.get(subject.name)?.definition ?? null) : null
        return dryRunOnHistory(keyspace, dryRunner, definition, current, count)
      },
      log: (count) => log.recent(count),
      logs
    }
    return Triggers.of({
      set: Effect.fn("Triggers.set")((input: TriggerInput) =>
        Effect.suspend(() => {
          const answer = registry.set(input)
          const cycle = answer instanceof Trigger ? registry.graph.cycleOf(answer.name, searchedMax) : undefined
          const registered = saved(input.name, answer)
          return cycle === undefined ? registered : Effect.zipLeft(registered, warnOf(cycle))
        })
      ),
      remove: Effect.fn("Triggers.remove")((name: string) =>
        Effect.suspend(() =>
          registry.remove(name) ? Effect.as(store.save(name, registry), true) : Effect.succeed(false)
        )
      ),
      enable: Effect.fn("Triggers.enable")((name: string, isEnabled: boolean) =>
        Effect.suspend(() => saved(name, registry.enable(name, isEnabled)))
      ),
      versions: (name) =>
        Effect.suspend(() => {
          const history = registry.history(name)
          return history instanceof TriggerNotFound ? Effect.fail(history) : Effect.succeed(history)
        }),
      rollback: Effect.fn("Triggers.rollback")((name: string, version?: number) =>
        Effect.suspend(() => saved(name, registry.rollback(name, version ?? null)))
      ),
      shadow: Effect.fn("Triggers.shadow")((name: string, input: ShadowInput) =>
        Effect.suspend(() => {
          const shadow = registry.shadow(name, input)
          return shadow instanceof Trigger
            ? Effect.succeed(describe(registry.get(name) as Trigger))
            : Effect.fail(shadow)
        })
      ),
      dropShadow: (name) => Effect.sync(() => registry.dropShadow(name)),
      promote: Effect.fn("Triggers.promote")((name: string) =>
        Effect.suspend(() => saved(name, registry.promote(name)))
      ),
      list: Effect.sync(() => Array.from(registry.all(), describe)),
      info: (name) =>
        Effect.suspend(() => {
          const trigger = registry.get(name)
          return trigger === undefined
            ? Effect.fail(new TriggerNotFound({ trigger: name }))
            : Effect.succeed(describe(trigger))
        }),
      warnings: (name) => Effect.sync(() => registry.graph.warnings(name)),
      graph: Effect.sync(() => registry.graph.show()),
      test: (subject, tried) =>
        Effect.suspend((): Effect.Effect<DryRunReport, InvalidValue | TriggerNotFound | TriggerSyntaxError> => {
          const event = toTestEvent(tried)
          const report = event instanceof InvalidValue ? event : inBytes.test(subject, event)
          return "_tag" in report ? Effect.fail(report) : Effect.succeed(report)
        }),
      testHistory: (subject, count) =>
        Effect.suspend((): Effect.Effect<HistoryReport, TriggerNotFound | TriggerSyntaxError | HistoryOff> => {
          const report = inBytes.testHistory(subject, count)
          return "_tag" in report ? Effect.fail(report) : Effect.succeed(report)
        }),
      log: (count) => Effect.sync(() => log.recent(count).map(withKeyAsText)),
      logs: {
        list: () => logs.list(),
        read: (stream, asked) => logs.read(stream, asked).map(withKeyAsText)
      },
      inBytes,
      metrics: [...metricsOf(registry, runner, log), ...logMetrics(logs)],
      children: [journal.childSpec, ...store.children]
    })
  })
)

/** A made-up event as the kernel holds it. */
const toTestEvent = (tried: TriedEvent): TestEvent | InvalidValue => {
  const { event, key, oldValue, metadata, tags = [], cost = 0 } = tried
  const [value, before] = [toValue(tried.value), oldValue === undefined ? undefined : toValue(oldValue)]
  const attached = metadata === undefined ? undefined : toMetadata(metadata)
  for (const made of [value, before, attached]) if (made instanceof InvalidValue) return made
  return {
    event,
    key: toBytes(key),
    value: value as Value,
    ...(before === undefined ? {} : { oldValue: before as Value }),
    ...(attached === undefined ? {} : { metadata: attached as ValueObject }),
    tags: tags.map(toBytes),
    cost
  }
}

/** A record whose key is the kernel's bytes, in a program's own text. */
const withKeyAsText = <A extends { readonly key: string }>(record: A): A => ({
  ...record,
  key: asText(record.key)
})

/** Edges that are looked at when a trigger is registered, so that ten thousand can be; INFO looks further. */
const searchedMax = 32

const warnOf = (cycle: readonly string[]): Effect.Effect<void> =>
  Effect.logWarning(`a trigger ${cycleWarning(cycle)}`).pipe(
    Effect.annotateLogs({ [logAnnotation.trigger]: cycle[0] as string })
  )

const unregistered = (source: string) => ({
  name: "test",
  source,
  timeoutUs: timeoutUsDefault,
  memoryBytes: memoryBytesDefault
})

const metricsOf = (
  registry: TriggerRegistry,
  { counters, effects }: TriggerRunner,
  log: TriggerLog
): readonly MetricReader[] => [
  { ...metric.triggersRegistered, read: () => registry.size },
  { ...metric.triggersQuarantined, read: () => registry.quarantinedSize },
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
  },
  { ...metric.triggerShadowRuns, read: () => counters.shadowRuns },
  { ...metric.triggerRejects, read: () => counters.rejects },
  {
    ...metric.triggerEffectsRefused,
    read: () => [
      [{ effect: "webhook" }, effects.counters.webhooksRefused] as const,
      [{ effect: "emit" }, effects.counters.emitsDropped] as const,
      [{ effect: "line" }, effects.counters.linesDropped] as const
    ]
  },
  { ...metric.triggerLogOverwritten, read: () => log.overwritten }
]

const logMetrics = (logs: LogStreams): readonly MetricReader[] => [
  { ...metric.logLines, read: () => logs.counters.lines },
  {
    ...metric.logLimits,
    read: () => [
      [{ what: "line_dropped" }, logs.counters.linesDropped] as const,
      [{ what: "line_cut" }, logs.counters.linesCut] as const,
      [{ what: "line_redirected" }, logs.counters.linesRedirected] as const,
      [{ what: "stream_dropped" }, logs.counters.streamsDropped] as const
    ]
  }
]
