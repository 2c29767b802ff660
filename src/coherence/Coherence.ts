/**
 * Coherence as a service: one instance of the protocol over a transport, with the processes that keep it going.
 *
 * The instance, its logs and what it knows of entries belong to the layer's scope, the processes to the supervision tree
 * (`children`): the transport's, and behind them the "replicator", which runs the instance. When one of them crashes what
 * was not heard meanwhile is a gap, which is closed once it is back; the entries are never in their hands.
 *
 * What is started after the children finds the instance joined: its reads know of what others have written.
 */
import { randomBytes } from "node:crypto"
import { Context, Effect, Layer, Option } from "effect"
import { ExitReason, GenServer, Process, Supervisor } from "../actor/index.ts"
import {
  type AckMode,
  Acknowledgement,
  CacheClock,
  type Fills,
  InvalidAckMode,
  isAckMode,
  type Peers,
  Replication,
  type ReplicationService,
  toBytes
} from "../cache/index.ts"
import { KeyHash } from "../kernel/index.ts"
import type { MetricReader } from "../telemetry/index.ts"
import { awakeMs } from "./awakeMs.ts"
import { Backups, backupPeersOf } from "./Backups.ts"
import { NotEnoughMembers } from "./CoherenceError.ts"
import { type CoherenceStatus, regionNames, stateOf, statusOf, traceOf } from "./CoherenceStatus.ts"
import { metricsOf } from "./coherenceMetrics.ts"
import { Definitions, definitionPeersOf } from "./Definitions.ts"
import { type Diagnosis, Doctor, samplesDefault } from "./Doctor.ts"
import { DoctorView } from "./DoctorView.ts"
import { Driver } from "./Driver.ts"
import { FillsAhead } from "./FillsAhead.ts"
import { MembershipLog } from "./MembershipLog.ts"
import { PeerFills } from "./PeerFills.ts"
import { originName } from "./PeerOrigin.ts"
import { Instance } from "./protocol/Instance.ts"
import { type Parameters, parametersDefault } from "./protocol/Parameters.ts"
import { SharedEntries } from "./SharedEntries.ts"
import { CoherenceTransport, type TransportError } from "./transport/Transport.ts"
import { Warming, type WarmingSettings } from "./Warming.ts"

export interface CoherenceOptions {
  readonly namespace: string
  readonly secret?: string | undefined
  /** The name of the region that it is in. Instances of one region hear each other directly. */
  readonly region?: string | undefined
  readonly parameters?: Partial<Parameters>
  /** How long writes wait that do not say. Default `async`. */
  readonly ackMode?: AckMode | undefined
  /** What is fetched before anybody asks for it, after a peer has written it. */
  readonly warming?: Partial<WarmingSettings>
  /** Whether the log is told who comes and goes, and when this instance is not coherent. Default false. */
  readonly logsMembers?: boolean | undefined
  /** Names this start of the process: 1 to 2^53 - 1. Default: random. */
  readonly origin?: number
  /** 0 to below 1. Default: `Math.random`. */
  readonly random?: () => number
  /** Milliseconds that only grow. Default: the process' own. */
  readonly monotonicMs?: () => number
}

export interface CoherenceService {
  /** The name of this instance, that is of one start of one process, as the others show it. */
  readonly name: string
  /** How it stands, as plain data. */
  readonly status: () => CoherenceStatus
  /** What is known of a displayed key, in sentences: the entry here, who wrote it last, who would be asked for it. */
  readonly trace: (displayedKey: string) => string[]
  /**
   * Compares so many entries at random with what the other instances know of them: at once where nothing is suspected,
   * else after up to 10 s. "busy" while it is being done already.
   */
  readonly examine: (samples?: number) => Promise<Diagnosis | "busy">
  /** Stops waiting for a member that will not come back. False where there is none of that name. */
  readonly forget: (name: string) => boolean
  /**
   * Waits until what was written here so far has been applied by one other instance, or by all that live; answers the
   * names of those who were waited for in vain. At once where there is none, and with "async". Rejects with
   * `InvalidAckMode` for another word.
   */
  readonly acknowledged: (mode: AckMode) => Promise<AcknowledgedBy>
  /**
   * Is over when so many other instances are there. Fails with `NotEnoughMembers` where that takes longer than
   * `timeoutMs`; interrupted when the service ends. A count or a time that is none is a defect, a `RangeError`.
   */
  readonly untilMembers: (count: number, options?: MembersWait) => Effect.Effect<void, NotEnoughMembers>
  /** Before entries are read for somebody outside: finds out whether this process was stopped. Costs a look at the clock. */
  readonly look: () => void
  /** Where keys that are not here may be. */
  readonly peers: Peers
  /** Has these fetch what is likely to be read soon after a peer has written it, as far as the settings say. */
  readonly fillAhead: (fills: Pick<Fills, "bring">) => () => void
  /** What is registered on any of them. */
  readonly definitions: Definitions
  readonly children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>
  readonly metrics: ReadonlyArray<MetricReader>
}

/** How long others are waited for. */
export interface MembersWait {
  /** Default: without end. */
  readonly timeoutMs?: number
}

export interface AcknowledgedBy {
  /** How many instances have applied it. */
  readonly acked: number
  /** Names of those who have not, of the ones that were waited for. */
  readonly missing: readonly string[]
}

/** Null where nothing is shared. */
export class Coherence extends Context.Tag("mimosa-cache/coherence/Coherence")<Coherence, CoherenceService | null>() {}

/** There are no others. */
export const layerNone: Layer.Layer<Coherence> = Layer.succeed(Coherence, null)

/** The service, with what keyspaces and writes have to be told of others. */
export const layer = (
  options: CoherenceOptions
): Layer.Layer<Coherence | Replication | Acknowledgement, TransportError, CoherenceTransport | CacheClock> =>
  Layer.scopedContext(
    Effect.gen(function* () {
      const { namespace, secret, region = "default", random = Math.random, ackMode = "async" } = options
      const { monotonicMs = awakeMs(), origin = randomOrigin(), logsMembers = false } = options
      const clock = yield* CacheClock
      const hashSecret = `${namespace}\0${secret ?? ""}`
      const hashOf = (head: string) => new KeyHash(hashSecret, head)
      const regionNumber = numberOf(`region\0${region}`, 2 ** 16)
      const definitions = new Definitions({ nowMs: () => clock.nowMs(), hashSecret })
      const entries = new SharedEntries({
        nowMs: () => clock.nowMs(),
        hash: hashOf(""),
        onDefine: (hash, version, author) => definitions.onDefine(hash, version, author)
      })
      const parameters = { ...parametersDefault, ...options.parameters }
      const backups = new Backups({ nowMs: () => clock.nowMs(), entries, valueBytesMax: parameters.valueBytesMax })
      const driver = new Driver(monotonicMs)
      const instance = new Instance({
        origin,
        region: regionNumber,
        namespace: numberOf(`namespace\0${hashSecret}`, 2 ** 32),
        parameters,
        clock: { nowMs: monotonicMs },
        random,
        timeOfDayMs: () => clock.nowMs(),
        store: entries,
        network: driver,
        extensions: { define: definitions, backup: backups }
      })
      entries.bind(instance, backups)
      backups.bind(backupPeersOf(instance))
      definitions.bind(definitionPeersOf(instance))
      const { open } = yield* CoherenceTransport
      const transport = yield* open({ origin, region: regionNumber, namespace, secret }, driver)
      driver.bind(instance, transport)
      yield* Effect.addFinalizer(() => Effect.sync(() => driver.end()))
      const peers = new PeerFills(entries, instance, clock)
      const ahead = new FillsAhead(clock, () => instance.copyMsMax > 0)
      const doctor = new Doctor(new DoctorView(entries, instance, random, runAfter))
      const warming = new Warming(ahead, options.warming)
      if (warming.settings.mode !== "never") entries.watch(warming)
      const acknowledged = (mode: AckMode): Promise<AcknowledgedBy> =>
        new Promise((resolve, reject) => {
          if (!isAckMode(mode)) return reject(new InvalidAckMode({ ackMode: mode }))
          if (mode === "async") return resolve({ acked: 0, missing: [] })
          instance.acknowledge(instance.written, mode, ({ acked, missing }) =>
            resolve({ acked, missing: missing.map(originName) })
          )
        })
      const untilMembers = (
        awaited: number,
        { timeoutMs }: MembersWait = {}
      ): Effect.Effect<void, NotEnoughMembers> => {
        const wrong = wrongWait(awaited, timeoutMs)
        if (wrong !== undefined) return Effect.die(wrong)
        const there = driver.until(({ memberCount }) => memberCount >= awaited)
        if (timeoutMs === undefined) return there
        const onTimeout = () => new NotEnoughMembers({ awaited, present: instance.memberCount, timeoutMs })
        return Effect.timeoutFail(there, { duration: timeoutMs, onTimeout })
      }
      const status = (): CoherenceStatus => ({
        namespace,
        region,
        transport: transport.name,
        address: transport.address() ?? "",
        ...statusOf(instance, region, transport, warming, definitions)
      })
      const log = new MembershipLog(instance, {
        nowMs: monotonicMs,
        degradedForMs: () => instance.degradedForMs,
        degradedWhy: () => status().degradedWhy,
        regionOf: regionNames(instance, region)
      })
      const service = Coherence.of({
        name: originName(origin),
        status,
        trace: (displayedKey) => traceOf(entries, instance, warming, displayedKey),
        examine: (samples = samplesDefault) =>
          new Promise((resolve) => {
            if (!doctor.examine(samples, resolve)) resolve("busy")
          }),
        look: () => driver.lookAfter(parameters.suspectMs),
        forget: (name) => instance.forget(Number.parseInt(name, 16)),
        acknowledged,
        untilMembers,
        peers,
        fillAhead: (fills) => ahead.begin(fills),
        definitions,
        metrics: [
          ...metricsOf({
            instance,
            entries,
            backups,
            definitions,
            driver,
            peers,
            warming,
            propagation: driver.propagation.seconds
          }),
          ...transport.metrics
        ],
        children: [
          Supervisor.childSpec("coherence", {
            strategy: "rest_for_one", // who runs the instance finds the links as they are
            children: [...transport.children, GenServer.childSpec(Replicator, { driver, instance })]
          }),
          // Stops before what it speaks through.
          GenServer.childSpec(Membership, { driver, instance, definitions, log: logsMembers ? log : null })
        ]
      })
      const replication: ReplicationService = {
        replica: entries,
        freshness: entries.freshness,
        hashOf,
        onOpen: (keyspace) => entries.share(keyspace),
        onClose: (keyspace) => entries.unshare(keyspace)
      }
      return Context.make(Coherence, service).pipe(
        Context.add(Replication, replication),
        Context.add(Acknowledgement, { ackMode, acknowledged })
      )
    })
  )

const wrongWait = (count: number, timeoutMs = 0): RangeError | undefined => {
  if (!(Number.isSafeInteger(count) && count >= 0)) {
    return new RangeError(`other instances are waited for by a whole number from 0; not ${String(count)}`)
  }
  return timeoutMs >= 0 ? undefined : new RangeError(`timeoutMs is a number from 0; not ${String(timeoutMs)}`)
}

/** Keeps no program alive. */
const runAfter = (ms: number, action: () => void): void => void setTimeout(action, ms).unref()

/** 53 random bits, never 0. */
const randomOrigin = (): number => {
  const bytes = randomBytes(8)
  return (bytes.readUInt32BE() % 2 ** 21) * 2 ** 32 + bytes.readUInt32BE(4) || randomOrigin()
}

/** What a name is on the wire. */
const numberOf = (name: string, below: number): number => new KeyHash("").of(toBytes(name)) % below

type ReplicatorMessage = { readonly _tag: "Failed"; readonly defect: unknown }

/** Runs the instance, and crashes with what that throws. */
const Replicator = GenServer.define<{ readonly info: ReplicatorMessage }>()({
  name: "replicator",
  init: ({ driver, instance }: { readonly driver: Driver; readonly instance: Instance }) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          driver.run((defect) => void Process.unsafeOffer(self, { _tag: "Failed", defect } satisfies ReplicatorMessage))
        ),
        (stop) => Effect.sync(stop)
      )
      return GenServer.Ok({ driver, instance })
    }),
  handleInfo: (message, state) =>
    message._tag === "Failed" ? GenServer.Stop(ExitReason.crashWith(message.defect), state) : GenServer.NoReply(state),
  inspect: ({ instance, driver }) => ({ state: stateOf(instance), written: instance.written, ...driver.stats })
})

/**
 * The instance's life among the others: it has joined when this process has started, or nobody could be reached for two
 * seconds, and says good-bye when it ends. Beside the others, which may be restarted when nobody comes or goes.
 */
const Membership = GenServer.define<{ readonly info: "look" }>()({
  name: "membership",
  init: ({ driver, instance, definitions, log }: Life) =>
    Effect.gen(function* () {
      const self = yield* Process.self
      let isKilled = false
      Process.onExit(self, ({ _tag }) => {
        isKilled = _tag === "killed"
      })
      yield* Effect.addFinalizer((exit) =>
        Effect.sync(() => {
          // A good-bye is for ever, and whoever was killed or has crashed is started again.
          if (!isKilled && !ExitReason.isAbnormal(ExitReason.fromExit(exit))) instance.leave()
        })
      )
      const joined = yield* Effect.timeoutOption(
        driver.until(({ isJoined }) => isJoined),
        joinWait
      )
      if (Option.isNone(joined)) yield* Effect.logWarning(notJoined)
      yield* Effect.timeoutOption(
        driver.until(() => definitions.isSettled),
        definitionsWait
      )
      if (log !== null) yield* Process.sendAfter(self, "look", 0)
      return GenServer.Ok({ instance, log })
    }),
  handleInfo: (_message, state) =>
    Effect.gen(function* () {
      for (const { level, text } of state.log?.look() ?? []) {
        yield* level === "warning" ? Effect.logWarning(`coherence: ${text}`) : Effect.logInfo(`coherence: ${text}`)
      }
      yield* Process.sendAfter(yield* Process.self, "look", lookTime)
      return GenServer.NoReply(state)
    }),
  inspect: ({ instance }) => ({ members: instance.memberCount })
})

interface Life {
  readonly driver: Driver
  readonly instance: Instance
  readonly definitions: Definitions
  /** Null where nobody wants to be told. */
  readonly log: MembershipLog | null
}

/** Between looks at who has come and gone. */
const lookTime = "250 millis"

/** What is registered elsewhere comes meanwhile; what takes longer, or nobody can say, comes later. */
const definitionsWait = "5 seconds"

/** Whoever is there has answered by then; a broker that is down is no reason not to start. */
const joinWait = "2 seconds"
const notJoined =
  "nobody could be reached so far: until then nothing of others is read or kept, and nobody hears of writes"
