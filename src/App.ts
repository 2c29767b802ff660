/**
 * Where everything is put together: the layers, and the supervision tree. No other file starts a process.
 *
 * State belongs to the layers' scope; the tree below it may crash and come back. Closing the scope stops the tree in
 * reverse order first, then what it served.
 */
import { randomBytes } from "node:crypto"
import { Context, Effect, Layer } from "effect"
import { type ActorError, GenServer, type Process, ProcessMetrics, Registry, Supervisor } from "./actor/index.ts"
import { Bus, Cache, CacheClock, type KeyspaceLimits, Keyspaces, Scheduler, Wakeups } from "./cache/index.ts"
import { Sandbox } from "./sandbox/index.ts"
import { DataDirectory, type StorageError } from "./storage/index.ts"
import { type MetricReader, MetricRegistry, metric } from "./telemetry/index.ts"
import {
  type CascadeLimits,
  type Intensity,
  Journal,
  layerRunner,
  type RegistrationError,
  TriggerStore,
  Triggers,
  layer as triggersLayer
} from "./triggers/index.ts"
import { version } from "./version.ts"
import { type EgressAllowInvalid, Webhooks } from "./webhooks/index.ts"

export interface Settings extends Partial<KeyspaceLimits> {
  /** Where registered triggers survive a restart; without it they do not. */
  readonly dataDir?: string
  /** Private addresses that webhooks may reach: `127.0.0.1`, `hooks.internal:8080`, `10.0.0.0/8`, `*`. Default none. */
  readonly egressAllow?: readonly string[]
  /** The bounds of one operation's cascade. */
  readonly cascade?: Partial<CascadeLimits>
  /** How many failures of a trigger, and within what time, take it out. */
  readonly intensity?: Partial<Intensity>
  /**
   * How many of the last events are kept for `TRIGGER TEST … HISTORY` (16 MiB of values at most). Default 0, none: then no
   * event is built that no trigger wants. `mimosa serve` keeps 1,000.
   */
  readonly eventLog?: number
  /** Names this start in the ids of webhooks and cascades. Default: 64 random bits. */
  readonly origin?: string
}

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
export type Services = Cache | Triggers | Bus | Keyspaces | CacheClock | Metrics | ProcessTree

export type StartError = StorageError | RegistrationError | EgressAllowInvalid | ActorError.StartError

/** A process that is mounted beside the others, started last and stopped first: the server's listeners. */
export type Mounted = Supervisor.ChildSpec<Services | Process.Self>

/**
 * A whole Mimosa as one layer.
 *
 * @example
 * const program = Effect.gen(function* () {
 *   const cache = yield* Cache
 *   yield* cache.set("greeting", "hello", { ttl: "1 minute" })
 * })
 * program.pipe(Effect.provide(Mimosa.layer()), Effect.runPromise)
 */
export const layer = (settings: Settings = {}): Layer.Layer<Services, StartError> => layerWith(settings, [])

/** `layer` with more processes in the tree. */
export const layerWith = (
  settings: Settings,
  mounted: ReadonlyArray<Mounted>,
  clock: Layer.Layer<CacheClock> = CacheClock.layer
): Layer.Layer<Services, StartError> => {
  const { dataDir, egressAllow = [], cascade = {}, intensity = {}, eventLog = 0 } = settings
  const { origin = randomBytes(8).toString("hex") } = settings
  const store =
    dataDir === undefined ? TriggerStore.layerNone : Layer.provide(TriggerStore.layer, DataDirectory.layer(dataDir))
  const ground = Layer.mergeAll(
    clock,
    Bus.layer,
    Wakeups.layer,
    Sandbox.layer,
    Journal.layer,
    ProcessTree.layer,
    store,
    Webhooks.layer({ egressAllow, userAgent: `mimosa/${version}` })
  )
  const state = Layer.mergeAll(Cache.layer, triggersLayer).pipe(
    Layer.provideMerge(Keyspaces.layer(settings, eventLog)),
    Layer.provideMerge(layerRunner({ origin, cascade, intensity })),
    Layer.provideMerge(ground)
  )
  return Layer.provideMerge(layerTree(mounted), Layer.provideMerge(layerMetrics, state))
}

/** The tree of docs/ARCHITECTURE.md. A crash in it is met where it happens; the root gives up when nothing helps. */
const layerTree = (mounted: ReadonlyArray<Mounted>) =>
  Layer.scopedDiscard(
    Effect.gen(function* () {
      const { root } = yield* ProcessTree
      const sandbox = yield* Sandbox
      const webhooks = yield* Webhooks.Webhooks
      const triggers = yield* Triggers
      const children: ReadonlyArray<Supervisor.ChildSpec<Services | Wakeups | Process.Self>> = [
        ...triggers.children,
        GenServer.childSpec(Scheduler, undefined),
        sandbox.childSpec,
        webhooks.child,
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
    const { main } = yield* Keyspaces
    const { workers } = yield* Sandbox
    const webhooks = yield* Webhooks.Webhooks
    const triggers = yield* Triggers
    const journal = yield* Journal
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
      ...triggers.metrics,
      ...webhooks.metrics,
      { ...metric.sandboxKills, read: () => workers().reduce((sum, { kills }) => sum + kills, 0) },
      { ...metric.journalDropped, read: journal.dropped },
      { ...metric.residentMemory, read: () => process.memoryUsage.rss() },
      ...ProcessMetrics.readers
    )
    return registry
  })
)
