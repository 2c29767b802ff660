/**
 * Where everything is put together: the layers, and the supervision tree. No other file starts a process.
 *
 * State belongs to the layers' scope; the tree below it may crash and come back. Closing the scope stops the tree in
 * reverse order first, then what it served.
 */
import { randomBytes } from "node:crypto"
import { Context, Effect, Layer } from "effect"
import * as AppDefinitions from "./AppDefinitions.ts"
import { type ActorError, GenServer, type Process, ProcessMetrics, Registry, Supervisor } from "./actor/index.ts"
import {
  Bus,
  Cache,
  CacheClock,
  CacheFills,
  Keyspaces,
  Scheduler,
  TenantStore,
  Tenants,
  Wakeups
} from "./cache/index.ts"
import {
  Coherence,
  type CoherenceTransport,
  DefinitionStore,
  parametersOf,
  type TransportError,
  transportOf,
  warmingOf
} from "./coherence/index.ts"
import { checkedSettings, type Settings, unknownSetting } from "./Settings.ts"
import { Sandbox } from "./sandbox/index.ts"
import { ScriptEngine, type ScriptSettings, ScriptStore, Scripts } from "./scripting/index.ts"
import { DataDirectory, type StorageError } from "./storage/index.ts"
import { type MetricReader, MetricRegistry, metric } from "./telemetry/index.ts"
import {
  Journal,
  layerRunner,
  layerTenants,
  type RegistrationError,
  type RunnerSettings,
  TriggerStore,
  Triggers,
  layer as triggersLayer
} from "./triggers/index.ts"
import { version } from "./version.ts"
import { type EgressAllowInvalid, HostAllowList, type HttpAllowInvalid, Webhooks } from "./webhooks/index.ts"

export type { Settings } from "./Settings.ts"

/** The supervision tree, for those who look at it. */
export class ProcessTree extends Context.Tag("mimosa-cache/App/ProcessTree")<
  ProcessTree,
  {
    /** The processes as they are now; null before the tree has started and after it has ended. */
    readonly read: () => Supervisor.TreeNode | null
    /** The name of the root. */
    readonly root: Registry.Via<Supervisor.SupervisorRef>
  }
>() {
  static readonly layer: Layer.Layer<ProcessTree> = Layer.sync(ProcessTree, () => {
    const root = Registry.via<Supervisor.SupervisorRef>(Registry.unsafeMake({ keys: "unique" }), "mimosa")
    return { root, read: () => Supervisor.unsafeTree(root) }
  })
}

/** All metrics of the program, for those who expose them. */
export class Metrics extends Context.Tag("mimosa-cache/App/Metrics")<Metrics, MetricRegistry>() {}

/** What a program gets. */
export type Services =
  | Cache
  | Triggers
  | Tenants
  | ScriptEngine
  | Scripts
  | Bus
  | Keyspaces
  | CacheClock
  | Coherence.Coherence
  | CacheFills
  | Metrics
  | ProcessTree

export type StartError =
  | StorageError
  | RegistrationError
  | EgressAllowInvalid
  | HttpAllowInvalid
  | TransportError
  | ActorError.StartError

/** A process that is mounted beside the others, started last and stopped first: the server's listeners. */
export type Mounted = Supervisor.ChildSpec<Services | Process.Self>

/**
 * A whole Mimosa as one layer. A setting that is out of its range, or that there is not, is a defect: a `RangeError` that
 * names it.
 *
 * @example
 * const program = Effect.gen(function* () {
 *   const cache = yield* Cache
 *   yield* cache.set("greeting", "hello", { ttl: "1 minute" })
 * })
 * program.pipe(Effect.provide(Mimosa.layer()), Effect.runPromise)
 */
export const layer = (settings: Settings = {}): Layer.Layer<Services, StartError> => {
  const unknown = unknownSetting(settings)
  return unknown === undefined ? layerWith(settings, []) : Layer.die(unknown)
}

/** What a program may be built upon in the place of what is usual. */
export interface Ground {
  readonly clock?: Layer.Layer<CacheClock>
  /** How instances of the namespace reach each other, in the place of what the settings say. */
  readonly transport?: Layer.Layer<CoherenceTransport>
}

/** `layer` with more processes in the tree. The settings may be a part of what somebody else has settled. */
export const layerWith = (
  settings: Settings,
  mounted: ReadonlyArray<Mounted>,
  ground: Ground = {}
): Layer.Layer<Services, StartError> => {
  const checked = checkedSettings(settings)
  return checked instanceof RangeError ? Layer.die(checked) : assembled(checked, mounted, ground)
}

const assembled = (
  settings: Settings,
  mounted: ReadonlyArray<Mounted>,
  { clock = CacheClock.layer, transport }: Ground
): Layer.Layer<Services, StartError> => {
  const { dataDir, egressAllow = [], httpAllow = [], cascade = {}, intensity = {}, eventLog = 0 } = settings
  const { tenants = {}, tenantBytesMax, scripts = {}, tier } = settings
  const { origin = randomBytes(8).toString("hex") } = settings
  const stores =
    dataDir === undefined
      ? Layer.mergeAll(TriggerStore.layerNone, TenantStore.layerNone, ScriptStore.layerNone, DefinitionStore.layerNone)
      : Layer.provide(
          Layer.mergeAll(TriggerStore.layer, TenantStore.layer, ScriptStore.layer, DefinitionStore.layer),
          DataDirectory.layer(dataDir)
        )
  const ground = Layer.mergeAll(
    clock,
    Bus.layer,
    Wakeups.layer,
    Layer.provide(CacheFills.layer(tier === undefined ? {} : { tier }), clock),
    Layer.provide(layerCoherence(settings, transport), clock),
    Sandbox.layer,
    Journal.layer,
    ProcessTree.layer,
    stores,
    Webhooks.layer({ egressAllow, userAgent })
  )
  // From the bottom up: what reacts, the keyspaces, whose they are, and what is theirs.
  const state = Layer.mergeAll(AppDefinitions.layer, layerPeers).pipe(
    Layer.provideMerge(Layer.mergeAll(Scripts.layer, layerTenants)),
    Layer.provideMerge(layerScriptEngine(httpAllow, scripts)),
    Layer.provideMerge(Layer.mergeAll(Cache.layer, triggersLayer, Tenants.layer(tenants))),
    Layer.provideMerge(Keyspaces.layer(settings, eventLog, tenantBytesMax)),
    Layer.provideMerge(layerReactions({ origin, cascade, intensity })),
    Layer.provideMerge(ground)
  )
  return Layer.provideMerge(layerTree(mounted), Layer.provideMerge(layerMetrics, state))
}

const userAgent = `mimosa/${version}`

/** Nothing is shared without a namespace. */
const layerCoherence = (
  { namespace, coherence = {} }: Settings,
  transport: Layer.Layer<CoherenceTransport, TransportError> = transportOf(coherence)
) => {
  if (namespace === undefined) return Coherence.layerNone
  const { secret, region, ackMode, logsMembers } = coherence
  const parameters = parametersOf(coherence)
  const warming = warmingOf(coherence)
  const options = { namespace, secret, region, ackMode, parameters, warming, logsMembers }
  return Layer.provide(Coherence.layer(options), transport)
}

/** Triggers know this instance by the name by which the others do. */
const layerReactions = (settings: RunnerSettings) =>
  Layer.unwrapEffect(
    Effect.map(Coherence.Coherence, (coherence) => layerRunner({ ...settings, instance: coherence?.name }))
  )

/** Misses are filled from other instances as long as this scope is open. */
const layerPeers = Layer.scopedDiscard(
  Effect.gen(function* () {
    const coherence = yield* Coherence.Coherence
    const fills = yield* CacheFills
    if (coherence === null) return
    yield* Effect.acquireRelease(
      Effect.sync(() => fills.listen(coherence.peers)),
      (stop) => Effect.sync(stop)
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => coherence.fillAhead(fills)),
      (stop) => Effect.sync(stop)
    )
  })
)

/** Scripts reach what webhooks may, of the hosts that are named for them. */
const layerScriptEngine = (httpAllow: readonly string[], settings: Omit<ScriptSettings, "http">) =>
  Layer.unwrapEffect(
    Effect.gen(function* () {
      const { policy } = yield* Webhooks.Webhooks
      const hosts = yield* HostAllowList.parse(httpAllow)
      return ScriptEngine.layer({ ...settings, http: { hosts, policy, userAgent } })
    })
  )

/** The tree of docs/ARCHITECTURE.md. A crash in it is met where it happens; the root gives up when nothing helps. */
const layerTree = (mounted: ReadonlyArray<Mounted>) =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const { root } = yield* ProcessTree
      const sandbox = yield* Sandbox
      const webhooks = yield* Webhooks.Webhooks
      const triggers = yield* Triggers
      const tenants = yield* Tenants
      const engine = yield* ScriptEngine
      const scripts = yield* Scripts
      const coherence = yield* Coherence.Coherence
      const children: ReadonlyArray<Supervisor.ChildSpec<Services | Wakeups | Process.Self>> = [
        ...triggers.children,
        ...tenants.children,
        GenServer.childSpec(Scheduler, undefined),
        sandbox.childSpec,
        webhooks.child,
        ...engine.children,
        ...scripts.children,
        ...(coherence?.children ?? []),
        ...mounted
      ]
      yield* Supervisor.start({
        label: "mimosa",
        name: root,
        strategy: "one_for_one",
        maxRestarts: 100, // generous: what cannot be helped by a restart escalates from below
        maxSeconds: 60,
        children
      })
    })
  )

const layerMetrics = Layer.effect(
  Metrics,
  Effect.gen(function* () {
    const { main, shared } = yield* Keyspaces
    const { workers } = yield* Sandbox
    const webhooks = yield* Webhooks.Webhooks
    const triggers = yield* Triggers
    const engine = yield* ScriptEngine
    const scripts = yield* Scripts
    const tenants = yield* Tenants
    const journal = yield* Journal
    const coherence = yield* Coherence.Coherence
    const fills = yield* CacheFills
    const { stats: messages } = yield* Bus
    const { stats } = main
    const keyspace: readonly MetricReader[] = [
      { ...metric.keyspaceHits, read: () => stats.hits },
      { ...metric.keyspaceMisses, read: () => stats.misses },
      { ...metric.keyspaceWrites, read: () => stats.writes },
      { ...metric.keyspaceRefused, read: () => stats.refused },
      { ...metric.keyspaceRejected, read: () => stats.rejected },
      {
        ...metric.keyspaceRemovals,
        read: () => [
          [{ cause: "delete" }, stats.deletes] as const,
          [{ cause: "expire" }, stats.expires] as const,
          [{ cause: "evict" }, stats.evictions] as const,
          [{ cause: "invalidate" }, stats.invalidations] as const
        ]
      },
      { ...metric.keyspaceFlushes, read: () => stats.flushes },
      { ...metric.keyspaceSinkErrors, read: () => stats.sinkErrors },
      { ...metric.keyspaceEntries, read: () => main.size },
      { ...metric.keyspaceBytes, read: () => main.bytes },
      { ...metric.eventLogOverwritten, read: () => main.log.overwritten },
      { ...metric.messagesPublished, read: () => messages.published },
      { ...metric.messagesDelivered, read: () => messages.delivered },
      { ...metric.messagesFailed, read: () => messages.failed }
    ]
    const startedAtMs = Date.now()
    const registry = new MetricRegistry()
    registry.register(
      { ...metric.buildInfo, read: () => [[{ version }, 1] as const] },
      { ...metric.startTime, read: () => startedAtMs / 1000 },
      ...keyspace,
      ...fills.metrics,
      ...triggers.metrics,
      ...webhooks.metrics,
      { ...metric.tenants, read: () => tenants.size },
      { ...metric.tenantBytes, read: () => shared.pool.bytes },
      { ...metric.tenantReclaims, read: () => shared.reclaims },
      ...engine.metrics,
      ...scripts.metrics,
      { ...metric.sandboxKills, read: () => workers().reduce((sum, { kills }) => sum + kills, 0) },
      { ...metric.journalDropped, read: journal.dropped },
      ...(coherence?.metrics ?? []),
      { ...metric.residentMemory, read: () => process.memoryUsage.rss() },
      ...ProcessMetrics.readers
    )
    return registry
  })
)
