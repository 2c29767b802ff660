/**
 * `mimosa run`: a function of a script, here in this process with a cache of its own, or on a server for a tenant.
 *
 * stdout has what the function returns and nothing else, so that it can be piped; what the script prints, and why it
 * failed, goes to stderr.
 */
import { readFile, stat } from "node:fs/promises"
import { basename } from "node:path"
import { text as textOf } from "node:stream/consumers"
import { Cause, Effect, Exit, Logger, LogLevel, Option } from "effect"
import { layer } from "../App.ts"
import { fromJson, fromValue, type Input, InvalidJson, lossyText, toBytes, toExactJson } from "../cache/index.ts"
import type { Value } from "../kernel/index.ts"
import { resultOf, ScriptEngine } from "../scripting/index.ts"
import type { Address } from "./Address.ts"
import { CliError } from "./CliError.ts"
import { recordsOf } from "./Fields.ts"
import { type RespClient, withClient } from "./RespClient.ts"

export interface RunOptions extends Address {
  readonly password: string | undefined
  readonly arg: readonly string[]
  readonly prefix: string
  readonly env: readonly string[]
  readonly seed: number | undefined
  readonly repeat: number
  readonly egressAllow: readonly string[]
  readonly httpAllow: readonly string[]
  /** On a server, for this tenant; undefined: here. */
  readonly tenant: string | undefined
}

export const run = async (options: RunOptions, [file = "", entry = "main"]: readonly string[]): Promise<void> => {
  const source = await sourceOf(file)
  const args = options.arg.map(givenValue)
  const { tenant } = options
  if (tenant === undefined) return here(options, await nameOf(file), source, entry, args)
  if (options.env.length > 0 || options.seed !== undefined || options.repeat !== 1) {
    throw new CliError("--env, --seed and --repeat are for runs here; on a server it is TENANT ENV SET <tenant> …")
  }
  return withClient(options, (client) => there(client, tenant, source, entry, args))
}

/** On a server, and then what its log says of such runs since. */
const there = async (
  client: RespClient,
  tenant: string,
  source: string,
  entry: string,
  args: readonly Value[]
): Promise<void> => {
  const [last] = recordsOf(await client.send("SCRIPT.LOG", tenant, "COUNT", "1"))
  const after = String(last?.number ?? 0)
  try {
    const answer = await client.send("SCRIPT.EVAL", tenant, source, entry, ...args.map(toExactJson))
    process.stdout.write(`${answer}\n`)
  } finally {
    const lines = recordsOf(await client.send("SCRIPT.LOG", tenant, "AFTER", after))
    for (const { script, kind, text } of lines) {
      if (script === unnamed && (kind === "print" || kind === "refused")) process.stderr.write(`${text}\n`)
    }
  }
}

const unnamed = "script" // as the server calls a source that is not kept

const here = async (
  options: RunOptions,
  name: string,
  source: string,
  entry: string,
  args: readonly Value[]
): Promise<void> => {
  const { prefix, seed, repeat, egressAllow, httpAllow } = options
  const env = Object.fromEntries(options.env.map(givenName))
  const program = Effect.gen(function* () {
    const script = yield* (yield* ScriptEngine).compile(source, { name })
    for (let i = 0; i < repeat; i++) {
      const begin = () =>
        script.unsafeRun(entry, args, {
          cachePrefix: prefix,
          env,
          print: (line) => void process.stderr.write(`${lossyText(line)}\n`),
          ...(seed === undefined ? {} : { seed })
        })
      const value = yield* resultOf(begin)
      process.stdout.write(`${toExactJson(value)}\n`)
    }
  })
  const quiet = Logger.minimumLogLevel(LogLevel.Warning)
  const exit = await Effect.runPromiseExit(
    program.pipe(Effect.provide(layer({ egressAllow, httpAllow })), Effect.provide(quiet))
  )
  if (Exit.isSuccess(exit)) return
  const failure = Option.getOrUndefined(Cause.failureOption(exit.cause))
  if (failure === undefined) throw new Error(Cause.pretty(exit.cause))
  const traceback = "traceback" in failure && failure.traceback !== "" ? `\n${failure.traceback}` : ""
  throw new CliError(`${failure.message}${traceback}`)
}

/** What errors call the script: by its file; one that comes through a pipe (`<(…)`) has no name of its own. */
const nameOf = async (file: string): Promise<string> => {
  const isFile = file !== "-" && (await stat(file)).isFile()
  return isFile ? basename(file) : unnamed
}

const sourceOf = async (file: string): Promise<string> => {
  try {
    return file === "-" ? await textOf(process.stdin) : await readFile(file, "utf8")
  } catch (error) {
    throw new CliError(`cannot read ${file}: ${(error as Error).message}`)
  }
}

/** JSON, or a text that is none. */
const givenValue = (text: string): Value => {
  const value = fromJson(text)
  return value instanceof InvalidJson ? toBytes(text) : value
}

const givenName = (text: string): readonly [string, Input] => {
  const at = text.indexOf("=")
  if (at < 1) throw new CliError(`--env is name=value, not '${text.slice(0, 40)}'`)
  return [text.slice(0, at), fromValue(givenValue(text.slice(at + 1)))]
}
