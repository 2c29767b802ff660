/**
 * `mimosa serve`: the whole program with its listeners, until a signal ends it.
 */
import { Cause, Effect, Layer, Option } from "effect"
import { layerWith, Metrics, ProcessTree, type Settings, type StartError } from "../App.ts"
import { ExitReason, GenServer, type Pid, Process } from "../actor/index.ts"
import { CacheClock, TurnClock } from "../cache/index.ts"
import { listenerName as httpName } from "../server/HttpListener.ts"
import { Readiness } from "../server/Readiness.ts"
import { listenerName as respName } from "../server/RespListener.ts"
import { metricsOf, ServerStats } from "../server/ServerState.ts"
import { version } from "../version.ts"
import { CliError, exitDefect } from "./CliError.ts"
import { listeners } from "./listeners.ts"
import { HeldLog, type LogFormat } from "./logger.ts"

export interface ServeOptions extends Settings {
  readonly host: string
  /** Ports; 0 takes a free one. */
  readonly port: number
  readonly httpPort: number
  readonly dataDir: string
  readonly maxEntries: number
  readonly maxBytes: number
  /** Default: pretty on a terminal, else json. */
  readonly logFormat: LogFormat | undefined
}

/**
 * Serves until SIGINT or SIGTERM, then stops the tree in order and succeeds. Fails with exit code 1 when it cannot
 * start, and 70 when the root supervisor gives up.
 */
export const serve = (options: ServeOptions): Effect.Effect<void, CliError> => {
  const clock = new TurnClock()
  const password = process.env.MIMOSA_PASSWORD || undefined // no option: everybody on the machine can read those
  const readiness = new Readiness([httpName, respName])
  const stats = new ServerStats()
  const log = new HeldLog(options.logFormat ?? (process.stderr.isTTY ? "pretty" : "json"))
  const program = layerWith(
    options,
    [listeners({ ...options, password, clock, readiness, stats })],
    Layer.succeed(CacheClock, clock)
  )
  const serving = Effect.gen(function* () {
    ;(yield* Metrics).register(...metricsOf(stats))
    const root = GenServer.whereis((yield* ProcessTree).root)
    log.release()
    process.stdout.write(`${welcome(options, readiness)}\n`)
    if (root !== null) yield* Process.awaitExit(root)
    return yield* new CliError({ message: whyGaveUp(root), exitCode: exitDefect })
  })
  return serving.pipe(
    Effect.provide(program),
    Effect.catchAll((error) => (error instanceof CliError ? error : new CliError({ message: whyNotStarted(error) }))),
    Effect.tapDefect(() => Effect.sync(() => log.release())),
    Effect.raceFirst(stopSignal),
    Effect.provide(log.layer)
  )
}

/** The first SIGINT or SIGTERM. A second one meets Node's default and ends the process at once. */
const stopSignal = Effect.async<void>((resume) => {
  const stop = () => {
    forget()
    resume(Effect.void)
  }
  const forget = () => {
    for (const signal of stopSignals) process.off(signal, stop)
  }
  for (const signal of stopSignals) process.on(signal, stop)
  return Effect.sync(forget)
})

const stopSignals = ["SIGINT", "SIGTERM"] as const

const welcome = ({ host, dataDir, maxEntries, maxBytes }: ServeOptions, readiness: Readiness): string => {
  const mebibytes = (maxBytes / (1024 * 1024)).toLocaleString("en", { maximumFractionDigits: 1 })
  const isEverywhere = host === "0.0.0.0" || host === "::"
  const address = host === "127.0.0.1" || host === "localhost" || isEverywhere ? "" : `-h ${host} `
  const cli = `redis-cli ${address}-p ${readiness.portOf(respName)}`
  const http = `http://${isEverywhere ? "127.0.0.1" : host}:${readiness.portOf(httpName)}`
  return `Mimosa ${version} is ready: up to ${maxEntries.toLocaleString("en")} entries and ${mebibytes} MiB, triggers kept in ${dataDir}

  talk to it    ${cli}
  react         ${cli} TRIGGER SET hello 'greeting:*' ON_WRITE 'cache.emit("news", event.value)'
  listen        ${cli} SUBSCRIBE news
  touch         ${cli} SET greeting:en hello
  look inside   curl '${http}/v1/processes?format=text'
  stop          Ctrl-C
`
}

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
