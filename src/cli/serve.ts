/**
 * `mimosa serve`: the whole program with its listeners, until a signal ends it.
 */
import { resolve } from "node:path"
import { Cause, Effect, Exit, Layer, Option } from "effect"
import { layerWith, Metrics, ProcessTree, type Settings, type StartError } from "../App.ts"
import { ExitReason, GenServer, type Pid, Process } from "../actor/index.ts"
import { CacheClock, Tenants, TurnClock } from "../cache/index.ts"
import { brokerOf, Coherence, type CoherenceStatus } from "../coherence/index.ts"
import { checkedSettings } from "../Settings.ts"
import { Scripts } from "../scripting/index.ts"
import { listenerName as httpName } from "../server/HttpListener.ts"
import { Readiness } from "../server/Readiness.ts"
import { listenerName as respName } from "../server/RespListener.ts"
import { metricsOf, ServerStats } from "../server/ServerState.ts"
import { Triggers } from "../triggers/index.ts"
import { version } from "../version.ts"
import { CliError, exitDefect } from "./CliError.ts"
import { listeners } from "./listeners.ts"
import { HeldLog, type LogFormat } from "./logger.ts"

export interface ServeOptions extends Omit<Settings, "coherence" | "namespace"> {
  readonly host: string
  /** Ports; 0 takes a free one. */
  readonly port: number
  readonly httpPort: number
  readonly password: string | undefined
  readonly enableDebugCommand: boolean
  readonly dataDir: string
  readonly maxEntries: number
  readonly maxBytes: number
  /** Events that TRIGGER TEST … HISTORY may look back on; 0 for none. */
  readonly eventLog: number
  /** Shares keys with every instance of this name. */
  readonly namespace?: string | undefined
  /** `mesh`, or the URL of a server. */
  readonly coherence?: string
  readonly meshHost?: string | undefined
  readonly meshPort?: number
  /** `host:port`, several in one separated by commas. */
  readonly peers?: readonly string[]
  readonly meshDns?: string | undefined
  readonly meshSecret?: string | undefined
  readonly region?: string | undefined
  readonly partitionTtlMs?: number | undefined
  /** Default: pretty on a terminal, else json. */
  readonly logFormat: LogFormat | undefined
}

/**
 * Serves until SIGINT or SIGTERM, then stops the tree in order and is fulfilled. Rejects with a `CliError`: exit code 1
 * when it cannot start, 70 when the root supervisor gives up.
 */
export const serve = async (options: ServeOptions): Promise<void> => {
  const settings = checkedSettings(settingsOf(options))
  if (settings instanceof RangeError) throw new CliError(settings.message)
  const exit = await Effect.runPromiseExit(serving({ ...options, dataDir: resolve(options.dataDir) }))
  if (Exit.isSuccess(exit)) return say("stopped")
  const failure = Cause.failureOption(exit.cause)
  throw Option.isSome(failure) ? failure.value : new Error(Cause.pretty(exit.cause))
}

const serving = (options: ServeOptions): Effect.Effect<void, CliError> => {
  const clock = new TurnClock()
  const readiness = new Readiness([httpName, respName])
  const stats = new ServerStats()
  const log = new HeldLog(options.logFormat ?? (process.stderr.isTTY ? "pretty" : "json"))
  const program = layerWith(settingsOf(options), [listeners({ ...options, clock, readiness, stats })], {
    clock: Layer.succeed(CacheClock, clock)
  })
  const untilTheEnd = Effect.gen(function* () {
    ;(yield* Metrics).register(...metricsOf(stats))
    const root = GenServer.whereis((yield* ProcessTree).root)
    const [triggers, tenants] = [yield* Triggers, yield* Tenants]
    const scripts = yield* Scripts
    const restored = {
      triggers: (yield* triggers.list).length,
      tenants: tenants.size,
      scripts: tenants.list().reduce((sum, { id }) => sum + scripts.list(id).length, 0)
    }
    log.release()
    say(welcome(options, readiness, restored, (yield* Coherence.Coherence)?.status()))
    if (options.password === undefined && !isLoopback(options.host)) yield* openToAll(options.host)
    if (root !== null) yield* Process.awaitExit(root)
    return yield* Effect.fail(new CliError(whyGaveUp(root), exitDefect))
  })
  return untilTheEnd.pipe(
    Effect.provide(program),
    Effect.catchAll((error) => Effect.fail(error instanceof CliError ? error : new CliError(whyNotStarted(error)))),
    Effect.tapDefect(() => Effect.sync(() => log.release())),
    Effect.raceFirst(stopSignal),
    Effect.provide(log.layer)
  )
}

const settingsOf = (options: ServeOptions): Settings => {
  const { coherence, meshHost, meshPort, peers = [], meshDns, meshSecret, region, namespace, ...others } = options
  const { partitionTtlMs, ...settings } = others
  if (namespace === undefined) return settings
  const mesh =
    coherence === undefined || coherence === "mesh"
      ? { seeds: peers.flatMap(split), ...given({ host: meshHost, port: meshPort, dns: meshDns }) }
      : undefined
  const said = given({ transport: coherence, mesh, secret: meshSecret, region, partitionTtlMs })
  return { ...settings, namespace, coherence: { ...said, logsMembers: true } }
}

const split = (list: string): string[] => list.split(",").filter((part) => part !== "")

/** Without what is undefined. */
const given = <A extends object>(fields: { readonly [K in keyof A]: A[K] | undefined }): Partial<A> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<A>

/** The first SIGINT or SIGTERM. A second one meets Node's default and ends the process at once. */
const stopSignal = Effect.async<void>((resume) => {
  const stop = () => {
    forget()
    say("stopping…")
    resume(Effect.void)
  }
  const forget = () => {
    for (const signal of stopSignals) process.off(signal, stop)
  }
  for (const signal of stopSignals) process.on(signal, stop)
  return Effect.sync(forget)
})

const stopSignals = ["SIGINT", "SIGTERM"] as const

const say = (text: string): void => void process.stdout.write(`${text}\n`)

const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || /^127(\.\d+){3}$/.test(host)

const openToAll = (host: string): Effect.Effect<void> =>
  Effect.logWarning(
    `everybody who reaches ${host} can read and change everything: set MIMOSA_PASSWORD, or leave --host at 127.0.0.1`
  )

const welcome = (
  options: ServeOptions,
  readiness: Readiness,
  restored: Restored,
  coherence: CoherenceStatus | undefined
): string => {
  const { host, dataDir, maxEntries, maxBytes, password } = options
  const mebibytes = (maxBytes / (1024 * 1024)).toLocaleString("en", { maximumFractionDigits: 1 })
  const isEverywhere = host === "0.0.0.0" || host === "::"
  const isDefault = host === "127.0.0.1" || host === "localhost" || isEverywhere
  const cli = `redis-cli ${isDefault ? "" : `-h ${host} `}-p ${readiness.portOf(respName)}`
  const httpPort = readiness.portOf(httpName)
  const curl = `curl ${password === undefined ? "" : "-u mimosa "}'http://${isEverywhere ? "127.0.0.1" : urlHost(host)}:${httpPort}`
  const says = `
  password      asked for on both ports: redis-cli takes it from REDISCLI_AUTH, mimosa from MIMOSA_PASSWORD`
  return `Mimosa ${version} is ready: up to ${maxEntries.toLocaleString("en")} entries and ${mebibytes} MiB, kept in ${dataDir}: ${restoredText(restored)}
${password === undefined ? "" : says}${coherence === undefined ? "" : sharingText(coherence, options)}
  talk to it    ${cli}
  react         ${cli} TRIGGER SET hello 'greeting:*' ON_WRITE 'cache.emit("news", event.value)'
  listen        ${cli} SUBSCRIBE news
  touch         ${cli} SET greeting:en hello
  look inside   mimosa top ${isDefault ? "" : `--host ${host} `}--http-port ${httpPort}
  measure       ${curl}/metrics'
  stop          Ctrl-C
`
}

/** With whom it shares its keys. */
const sharingText = (
  { namespace, transport, address, members }: CoherenceStatus,
  { coherence, meshSecret }: ServeOptions
): string => {
  // Where others meet it: at the broker, or here.
  const place = brokerOf(given({ transport: coherence })) ?? address
  const others = members.length === 1 ? "1 other" : `${members.length} others`
  const reach = transport === "mesh" && meshSecret === undefined ? ", this host alone: no secret is set" : ""
  return `
  shares keys   in namespace ${namespace}, with ${others} so far, over ${transport} at ${place}${reach}`
}

/** How many of each have come back from the data directory. */
interface Restored {
  readonly triggers: number
  readonly tenants: number
  readonly scripts: number
}

const restoredText = (restored: Restored): string =>
  Object.entries(restored)
    .map(([what, count]) => `${count} ${count === 1 ? what.slice(0, -1) : what}`)
    .join(", ")

const urlHost = (host: string): string => (host.includes(":") ? `[${host}]` : host)

/** The error at the bottom: supervisors wrap the one that kept their child from starting. */
const whyNotStarted = (error: StartError): string => {
  if (error._tag !== "StartFailed" || error.reason._tag !== "crash") return error.message
  const inner = Option.getOrUndefined(Cause.failureOption(error.reason.cause)) as StartError | undefined
  return inner === undefined ? error.message : whyNotStarted(inner)
}

const whyGaveUp = (root: Pid.Pid | null): string => {
  const reason = root === null ? null : Process.exitReason(root)
  return `the supervision tree gave up (${reason === null ? "it is gone" : ExitReason.format(reason)}); the log says why`
}
