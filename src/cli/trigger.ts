/** `mimosa trigger …`: what changes triggers. Each is TRIGGER …, with files and words for people around it. */
import { readFile } from "node:fs/promises"
import { text as textOf } from "node:stream/consumers"
import { CliError } from "./CliError.ts"
import { wholeNumber } from "./Command.ts"
import { recordsOf, tableOf, timeOf } from "./Fields.ts"
import type { ClientOptions } from "./ping.ts"
import { print } from "./print.ts"
import { type RespClient, withClient } from "./RespClient.ts"
import { figuresOf, infoOf } from "./triggerViews.ts"
import { visible } from "./visible.ts"

export interface SourceOptions {
  readonly file: string | undefined
  readonly source: string | undefined
}

interface LimitOptions {
  readonly timeout: number | undefined
  readonly memory: number | undefined
  readonly failclosed: boolean
  readonly isolate: boolean
}

export interface SetOptions extends ClientOptions, SourceOptions, LimitOptions {
  readonly priority: number
  readonly when: "changed" | undefined
  readonly sample: number
  readonly include: readonly string[]
  readonly scope: "all" | "local" | undefined
  readonly disabled: boolean
}

export interface ShadowOptions extends ClientOptions, SourceOptions, LimitOptions {}

type Arguments = readonly string[]

export const set = (options: SetOptions, [name = "", pattern = "", events = ""]: Arguments) =>
  withClient(options, async (client) => {
    const source = await neededSource(options)
    await client.send("TRIGGER", "SET", name, pattern, events, ...wordsOf(options), source)
    await tellOf(client, name, options)
  })

/** `set` under a name that the server makes from pattern and events. */
export const register = (options: SetOptions, [pattern = "", events = ""]: Arguments) =>
  withClient(options, async (client) => {
    const source = await neededSource(options)
    const name = await client.send("TRIGGER", "REGISTER", pattern, events, ...wordsOf(options), source)
    await tellOf(client, String(name), options)
  })

export const enable = (options: ClientOptions, [name = ""]: Arguments) =>
  withClient(options, async (client) => {
    await client.send("TRIGGER", "ENABLE", name)
    await tellOf(client, name, options)
  })

export const disable = (options: ClientOptions, [name = ""]: Arguments) =>
  withClient(options, async (client) => {
    await client.send("TRIGGER", "DISABLE", name)
    await tellOf(client, name, options)
  })

export const remove = (options: ClientOptions, [name = ""]: Arguments) =>
  withClient(options, async (client) => {
    const removed = await client.send("TRIGGER", "REMOVE", name)
    if (removed === 0) throw new CliError(`no trigger is named '${name}'; mimosa trigger list shows those that are`)
    print(options.json ? { removed: name } : `${name} is removed`)
  })

export const versions = (options: ClientOptions, [name = ""]: Arguments) =>
  withClient(options, async (client) => {
    const kept = recordsOf(await client.send("TRIGGER", "VERSIONS", name))
    if (options.json) return print(kept.map((version) => ({ ...version, live: version.live === 1 })))
    const shown = kept.map((version) => ({
      ...version,
      "": version.live === 1 ? "live" : "",
      registered: timeOf(version.registered_at_ms),
      lines: String(version.source).trimEnd().split("\n").length,
      "begins with": String(version.source).trimStart().split("\n", 1)[0]
    }))
    const columns = ["version", "", "registered", "priority", "timeout_us", "memory_bytes", "options", "lines"]
    print(tableOf([...columns, "begins with"], shown))
  })

export const rollback = (options: ClientOptions, [name = "", ...version]: Arguments) =>
  withClient(options, async (client) => {
    const wanted = version.map((text) => wholeNumber(text, "a version"))
    const live = await client.send("TRIGGER", "ROLLBACK", name, ...wanted)
    print(options.json ? { name, version: live } : `${name} runs version ${live} again`)
  })

/**
 * Has a source run beside the trigger; or drops it, or has it take the trigger's place. Without any of these, the figures
 * of both.
 */
export const shadow = (options: ShadowOptions, [name = "", word]: Arguments) =>
  withClient(options, async (client) => {
    const source = await sourceOf(options)
    if (word !== undefined) {
      if (source !== undefined) throw new CliError(`--file and --source make a shadow; leave out '${word}'`)
      return dropOrPromote(client, name, word, options)
    }
    const limits = limitsOf(options)
    if (source === undefined) {
      if (limits.length > 0) throw new CliError("the shadow's source is missing: --file shadow.lua or --source '...'")
      return compare(client, name, options)
    }
    await client.send("TRIGGER", "SHADOW", name, ...limits, source)
    if (options.json) return print(await infoOf(client, name))
    print(`${name} has a shadow: it runs on the same events, and all that it would do is dropped
mimosa trigger shadow ${name}          shows both
mimosa trigger shadow ${name} promote  has it take the place of the live one; drop ends it`)
  })

const dropOrPromote = async (client: RespClient, name: string, word: string, { json }: ClientOptions) => {
  if (word !== "drop" && word !== "promote") {
    throw new CliError(`a shadow is set with --file or --source; '${word}' is none of drop, promote`)
  }
  const answer = await client.send("TRIGGER", "SHADOW", name, word.toUpperCase())
  if (answer === 0) throw new CliError(`trigger '${name}' has no shadow`)
  if (json) return print(await infoOf(client, name))
  print(word === "drop" ? `the shadow of ${name} is gone` : `the shadow of ${name} is now the live version`)
}

const compare = async (client: RespClient, name: string, { json }: ClientOptions) => {
  const info = await infoOf(client, name)
  if (json) return print(info)
  if (info.shadow === null) {
    throw new CliError(`trigger '${name}' has no shadow; mimosa trigger shadow ${name} --file new.lua makes one`)
  }
  print(figuresOf(info))
}

/** Says how a trigger stands after a change, and warns where the server does. */
const tellOf = async (client: RespClient, name: string, { json }: ClientOptions) => {
  const info = await infoOf(client, name)
  for (const warning of info.warnings) process.stderr.write(`mimosa: warning: ${name} ${visible(warning)}\n`)
  if (json) return print(info)
  const { pattern, events, status } = info
  print(
    status === "disabled"
      ? `${name} is disabled; mimosa trigger enable ${name} has it run`
      : visible(`${name} is ${status} on ${pattern} for ${events}`)
  )
}

/** The options of a command line as those of TRIGGER SET. */
const wordsOf = (options: SetOptions): readonly string[] => [
  ...limitsOf(options),
  ...(options.priority === 0 ? [] : ["PRIORITY", `${options.priority}`]),
  ...(options.when === undefined ? [] : ["WHEN", options.when]),
  ...(options.sample === 1 ? [] : ["SAMPLE", `${options.sample}`]),
  ...options.include.flatMap((list) => list.split(",")).flatMap((what) => ["INCLUDE", what.trim()]),
  ...(options.scope === undefined ? [] : ["SCOPE", options.scope]),
  ...(options.disabled ? ["DISABLED"] : [])
]

const limitsOf = (options: LimitOptions): readonly string[] => [
  ...(options.timeout === undefined ? [] : ["TIMEOUT", `${options.timeout}`]),
  ...(options.memory === undefined ? [] : ["MEMORY", `${options.memory}`]),
  ...(options.failclosed ? ["FAILCLOSED"] : []),
  ...(options.isolate ? ["ISOLATE"] : [])
]

/** The Lua source that the options name, if they do; `--file -` is stdin. */
export const sourceOf = async ({ file, source }: SourceOptions): Promise<string | undefined> => {
  if (file !== undefined && source !== undefined) throw new CliError("give --file or --source, not both")
  if (file === undefined) return source
  if (file === "-") return textOf(process.stdin)
  return readFile(file, "utf8").catch((error: Error) => {
    throw new CliError(`--file ${file} cannot be read: ${error.message}`)
  })
}

/** The same; from stdin where the options name none. */
const neededSource = async (options: SourceOptions): Promise<string> => {
  const source = await sourceOf(options)
  if (source !== undefined) return source
  if (!process.stdin.isTTY) return textOf(process.stdin)
  throw new CliError("the Lua source is missing: --file script.lua, --source '...', or on stdin")
}
