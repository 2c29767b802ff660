/**
 * Triggers as an Effect service: register, list, try and remove Lua functions that run inside the cache's operations.
 *
 * Several layers, because a keyspace needs its event sink when it is made and a registry needs the keyspace:
 * `layerRunner` gives the sink (`Reactions`), `layer` the service over the keyspaces that were made with it,
 * `layerTenants` what happens to the triggers of tenants that come and go.
 */
import { Context, Effect, Layer } from "effect"
import type { Process, Supervisor } from "../actor/index.ts"
import {
  asText,
  Bus,
  CacheClock,
  CacheFills,
  type Input,
  InvalidValue,
  Keyspaces,
  Reactions,
  type Tenant,
  Tenants,
  toBytes,
  toMetadata,
  toValue
} from "../cache/index.ts"
import type { Value, ValueObject } from "../kernel/index.ts"
import { Sandbox } from "../sandbox/index.ts"
import type { FileCorrupt } from "../storage/index.ts"
import { logAnnotation, type MetricReader, metric } from "../telemetry/index.ts"
import { Webhooks } from "../webhooks/index.ts"
import { type CascadeLimits, cascadeLimitsDefault } from "./Cascade.ts"
import type { DryRunReport, TestEvent } from "./DryRun.ts"
import { Engine } from "./Engine.ts"
import type { HistoryReport } from "./History.ts"
import { Journal } from "./Journal.ts"
import type { KeyspaceTriggers, TestSubject, TriggersInBytes } from "./KeyspaceTriggers.ts"
import type { LogStreams } from "./LogStreams.ts"
import { type Intensity, intensityDefault } from "./Quarantine.ts"
import { describe, type RegisteredTrigger, Trigger, type TriggerEventName, type TriggerInput } from "./Trigger.ts"
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
import type { TriggerLogRecord } from "./TriggerLog.ts"
import type { ShadowInput, TriggerHistory, TriggerVersion } from "./TriggerRegistry.ts"
import { failureKinds, skipKinds } from "./TriggerStats.ts"
import {
  corruptTrigger,
  nameOf,
  refOf,
  type SavedTrigger,
  TriggerStore,
  type TriggerStoreService
} from "./TriggerStore.ts"

export type { TestSubject, TriggersInBytes } from "./KeyspaceTriggers.ts"

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

/** The triggers of one keyspace. Keys and values are those of a program: text and plain data, as in `Cache`. */
export interface TriggersOfKeyspace {
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
  /** The same one by one, each as it is when it is come to: all in one piece take longer than others should wait. */
  readonly each: () => Iterable<RegisteredTrigger>
  readonly info: (name: string) => Effect.Effect<RegisteredTrigger, TriggerNotFound>
  /** The version that runs, without what it has done. */
  readonly live: (name: string) => TriggerVersion | undefined
  /**
   * What can be said against a trigger that is enabled: that it sets itself off, or that its source does not tell what
   * it writes. Empty where there is nothing to say, or no such trigger.
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
}

/** Those of the main keyspace, and by `of` those of tenants. */
export interface TriggersService extends TriggersOfKeyspace {
  /**
   * The triggers of a tenant: they see its keys alone, bare, and run in machines of their own. Channels of `cache.emit`
   * have its prefix outside. At most 1,000 triggers and 2 MiB of sources. Of a tenant that was removed there are none,
   * and none can be registered (`TriggersClosed`). O(1), and costs something with the first call only.
   */
  readonly of: (tenant: Tenant) => TriggersOfKeyspace
  /**
   * Tells of all triggers that there are, and from then on of each that was set, removed, enabled or disabled, in the same
   * turn; null for no tenant's. Not of those that go with their tenant. The returned function ends it.
   */
  readonly watch: (listener: TriggerListener) => () => void
  /** Of all keyspaces together. */
  readonly metrics: readonly MetricReader[]
  /** The processes that the supervision tree mounts for it. */
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
}

/** It may not throw. */
export type TriggerListener = (tenant: Tenant | null, name: string) => void

export class Triggers extends Context.Tag("mimosa-cache/triggers/Triggers")<Triggers, TriggersService>() {}

/** What the layers share. */
export class TriggerEngine extends Context.Tag("mimosa-cache/triggers/TriggerEngine")<TriggerEngine, Engine>() {}

export interface RunnerSettings {
  /** Names this start of the process in the ids of webhooks and cascades; another one each time. */
  readonly origin: string
  /** What events of here have as `event.origin`: the name by which other instances know this one. Default: `origin`. */
  readonly instance?: string | undefined
  readonly cascade?: Partial<CascadeLimits>
  /** How many failures take a trigger out. */
  readonly intensity?: Partial<Intensity>
}

/** Runs the triggers: the reactions that keyspaces are made with. */
export const layerRunner = (
  settings: RunnerSettings
): Layer.Layer<
  Reactions | TriggerEngine,
  never,
  Sandbox | Webhooks.Webhooks | Journal | Bus | CacheFills | CacheClock
> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const { port } = yield* Webhooks.Webhooks
      const clock = yield* CacheClock
      const journal = yield* Journal
      const engine = new Engine({
        origin: settings.origin,
        instance: settings.instance,
        cascade: { ...cascadeLimitsDefault, ...settings.cascade },
        intensity: { ...intensityDefault, ...settings.intensity },
        sandbox: yield* Sandbox,
        webhooks: port,
        bus: yield* Bus,
        warming: yield* CacheFills,
        journal: journal.offer,
        nowMs: () => clock.nowMs(),
        monotonicMs: () => performance.now()
      })
      yield* Effect.acquireRelease(
        Effect.sync(() => port.listen(engine)),
        (stop) => Effect.sync(stop)
      )
      return Context.make(Reactions, engine).pipe(Context.add(TriggerEngine, engine))
    })
  )

/** The service, with the triggers of the main keyspace that were saved before. Those of tenants: `layerTenants`. */
export const layer: Layer.Layer<Triggers, FileCorrupt, TriggerEngine | Keyspaces | TriggerStore | Journal> =
  Layer.effect(
    Triggers,
    Effect.gen(function* () {
      const { main: keyspace } = yield* Keyspaces
      const engine = yield* TriggerEngine
      const store = yield* TriggerStore
      const journal = yield* Journal
      const main = engine.ofMain(keyspace)
      for (const saved of store.saved) if (saved.tenant === null) yield* restore(saved, main)
      const known = new WeakMap<KeyspaceTriggers, TriggersOfKeyspace>()
      return Triggers.of({
        ...serviceOf(main, engine, store),
        of: (tenant) => {
          const triggers = engine.ofTenant(tenant)
          const service = known.get(triggers) ?? serviceOf(triggers, engine, store)
          known.set(triggers, service)
          return service
        },
        watch: (listener) => {
          for (const { tenant, registry } of engine.all()) for (const { name } of registry.all()) listener(tenant, name)
          engine.listeners.add(listener)
          return () => void engine.listeners.delete(listener)
        },
        metrics: metricsOf(engine),
        children: [journal.childSpec, ...store.children]
      })
    })
  )

/** Brings back what was saved of tenants, and lets go of what is left of those that are gone. */
export const layerTenants: Layer.Layer<never, FileCorrupt, Tenants | TriggerEngine | TriggerStore> =
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const tenants = yield* Tenants
      const engine = yield* TriggerEngine
      const store = yield* TriggerStore
      const saved = new Map<string, SavedTrigger[]>()
      for (const each of store.saved) {
        const id = each.tenant?.id
        if (id !== undefined) saved.set(id, [...(saved.get(id) ?? []), each])
      }
      const note = (tenant: Tenant, names: readonly string[]) => {
        if (names.length > 0) store.note(refOf(tenant), names, engine)
      }
      const unsaved = new WeakSet<Tenant>()
      const restored: Array<Effect.Effect<void, FileCorrupt>> = []
      const stop = tenants.watch({
        onOpen: (tenant) => {
          if (!tenant.isSaved) unsaved.add(tenant)
          const own = saved.get(tenant.id)?.filter((each) => each.tenant?.createdAtMs === tenant.createdAtMs) ?? []
          if (own.length > 0) saved.delete(tenant.id)
          for (const each of own) restored.push(restore(each, engine.ofTenant(tenant)))
        },
        onClose: (tenant) => {
          const names = engine.namesOf(tenant)
          engine.closeTenant(tenant)
          if (tenant.isSaved) note(tenant, names)
        },
        onChange: (tenant) => {
          if (tenant.isSaved && unsaved.delete(tenant)) note(tenant, engine.namesOf(tenant))
        }
      })
      yield* Effect.addFinalizer(() => Effect.sync(stop))
      yield* Effect.all(restored, { discard: true })
      for (const [id, left] of saved) {
        for (const { tenant, history } of left) if (tenant !== null) store.note(tenant, [nameOf(history)], engine)
        yield* Effect.logWarning(`the tenant is gone; ${left.length} triggers that were its are left out`).pipe(
          Effect.annotateLogs({ [logAnnotation.tenant]: id })
        )
      }
      saved.clear()
    })
  )

/** Takes a trigger over as it was saved. */
const restore = (
  { tenant, history, path }: SavedTrigger,
  { registry }: KeyspaceTriggers
): Effect.Effect<void, FileCorrupt> => {
  const answer = registry.restore(history)
  return answer instanceof Trigger ? Effect.void : corruptTrigger(tenant, nameOf(history), path, answer.message)
}

const serviceOf = (triggers: KeyspaceTriggers, engine: Engine, store: TriggerStoreService): TriggersOfKeyspace => {
  const { tenant, registry, records, logs, inBytes } = triggers
  const save = (name: string): Effect.Effect<void, TriggersNotSaved> =>
    Effect.suspend(() => {
      for (const listener of engine.listeners) listener(tenant, name)
      return triggers.isSaved ? store.save(tenant === null ? null : refOf(tenant), name, engine) : Effect.void
    })
  /** What the registry answered, once it is saved; or its refusal. */
  const saved = <Refused extends object>(
    name: string,
    answer: Trigger | Refused
  ): Effect.Effect<RegisteredTrigger, Refused | TriggersNotSaved> =>
    answer instanceof Trigger ? Effect.as(save(name), answer).pipe(Effect.map(describe)) : Effect.fail(answer)
  return {
    set: Effect.fn("Triggers.set")((input: TriggerInput) =>
      Effect.suspend(() => {
        const answer = registry.set(input)
        const cycle = answer instanceof Trigger ? registry.graph.cycleOf(answer.name, searchedMax) : undefined
        const registered = saved(input.name, answer)
        return cycle === undefined ? registered : Effect.zipLeft(registered, warnOf(cycle, tenant))
      })
    ),
    remove: Effect.fn("Triggers.remove")((name: string) =>
      Effect.suspend(() => (registry.remove(name) ? Effect.as(save(name), true) : Effect.succeed(false)))
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
        return shadow instanceof Trigger ? Effect.succeed(describe(registry.get(name) as Trigger)) : Effect.fail(shadow)
      })
    ),
    dropShadow: (name) => Effect.sync(() => registry.dropShadow(name)),
    promote: Effect.fn("Triggers.promote")((name: string) => Effect.suspend(() => saved(name, registry.promote(name)))),
    list: Effect.sync(() => Array.from(registry.all(), describe)),
    *each() {
      for (const trigger of registry.all()) yield describe(trigger)
    },
    info: (name) =>
      Effect.suspend(() => {
        const trigger = registry.get(name)
        return trigger === undefined
          ? Effect.fail(new TriggerNotFound({ trigger: name }))
          : Effect.succeed(describe(trigger))
      }),
    live: (name) => registry.get(name),
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
    log: (count) => Effect.sync(() => records.recent(count).map(withKeyAsText)),
    logs: {
      list: () => logs.list(),
      read: (stream, asked) => logs.read(stream, asked).map(withKeyAsText)
    },
    inBytes
  }
}

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

const warnOf = (cycle: readonly string[], tenant: Tenant | null): Effect.Effect<void> =>
  Effect.logWarning(`a trigger ${cycleWarning(cycle)}`).pipe(
    Effect.annotateLogs({
      ...(tenant === null ? {} : { [logAnnotation.tenant]: tenant.id }),
      [logAnnotation.trigger]: cycle[0] as string
    })
  )

const metricsOf = (engine: Engine): readonly MetricReader[] => [...runMetrics(engine), ...logMetrics(engine)]

const runMetrics = (engine: Engine, { counters } = engine): readonly MetricReader[] => [
  { ...metric.triggersRegistered, read: () => sum(engine, ({ registry }) => registry.size) },
  { ...metric.triggersQuarantined, read: () => sum(engine, ({ registry }) => registry.quarantinedSize) },
  {
    ...metric.triggerRuns,
    read: () => [
      [
        { outcome: "ok" },
        counters.runs - failureKinds.reduce((total, kind) => total + counters.failuresOf[kind], 0)
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
      [{ effect: "webhook" }, counters.effects.webhooksRefused] as const,
      [{ effect: "warm" }, counters.effects.warmsRefused] as const,
      [{ effect: "emit" }, counters.effects.emitsDropped] as const,
      [{ effect: "line" }, counters.effects.linesDropped] as const
    ]
  },
  { ...metric.triggerWebhooksSuppressed, read: () => counters.effects.webhooksSuppressed },
  { ...metric.triggerLogOverwritten, read: () => engine.recordsOverwritten }
]

const logMetrics = ({ logCounters }: Engine): readonly MetricReader[] => [
  { ...metric.logLines, read: () => logCounters.lines },
  {
    ...metric.logLimits,
    read: () => [
      [{ what: "line_dropped" }, logCounters.linesDropped] as const,
      [{ what: "line_cut" }, logCounters.linesCut] as const,
      [{ what: "line_redirected" }, logCounters.linesRedirected] as const,
      [{ what: "stream_dropped" }, logCounters.streamsDropped] as const
    ]
  }
]

const sum = (engine: Engine, of: (triggers: KeyspaceTriggers) => number): number => {
  let total = 0
  for (const triggers of engine.all()) total += of(triggers)
  return total
}
