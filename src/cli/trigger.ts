/** `mimosa trigger …`: TRIGGER, with files, tables and JSON around it. */
import { readFile } from "node:fs/promises"
import { text as textOf } from "node:stream/consumers"
import { CliError } from "./CliError.ts"
import type { ClientOptions } from "./ping.ts"
import { print, table } from "./print.ts"
import { type Reply, type RespClient, withClient } from "./RespClient.ts"

interface SourceOptions {
  readonly file: string | undefined
  readonly source: string | undefined
}

export interface SetOptions extends ClientOptions, SourceOptions {
  readonly timeout: number | undefined
  readonly memory: number | undefined
  readonly priority: number
}

export interface TestOptions extends ClientOptions, SourceOptions {
  readonly old: string | undefined
  readonly meta: string | undefined
}

type Arguments = readonly string[]

export const set = (options: SetOptions, [name = "", pattern = "", events = ""]: Arguments) =>
  withClient(options, async (client) => {
    const source = await sourceOf(options, true)
    const limits = [
      ...(options.timeout === undefined ? [] : ["TIMEOUT", `${options.timeout}`]),
      ...(options.memory === undefined ? [] : ["MEMORY", `${options.memory}`]),
      ...(options.priority === 0 ? [] : ["PRIORITY", `${options.priority}`])
    ]
    await client.send("TRIGGER", "SET", name, pattern, events, ...limits, source as string)
    if (options.json) print(shownAsJson(await infoOf(client, name)))
    else print(`${name} is active on ${pattern} for ${events}`)
  })

export const list = (options: ClientOptions, glob: Arguments) =>
  withClient(options, async (client) => {
    const triggers = recordsOf(await client.send("TRIGGER", "LIST", ...glob))
    if (options.json) return print(triggers)
    if (triggers.length === 0) return print("no triggers; mimosa trigger set --help shows how to register one")
    const columns = ["name", "pattern", "events", "status", "priority", "runs", "errors"]
    print(tableOf(columns, triggers))
  })

export const info = (options: ClientOptions, [name = ""]: Arguments) =>
  withClient(options, async (client) => {
    const trigger = shownAsJson(await infoOf(client, name))
    if (options.json) return print(trigger)
    const { source, ...facts } = trigger
    print(`${factsOf(facts)}\n\n${source}`)
  })

export const test = (options: TestOptions, args: Arguments) =>
  withClient(options, async (client) => {
    const source = await sourceOf(options, args.length === 3)
    if (source !== undefined && args.length === 4) {
      throw new CliError("give either the name of a trigger, or --file or --source")
    }
    const subject = source === undefined ? args.slice(0, 1) : ["SOURCE", source]
    const event = [
      ...args.slice(-3),
      ...(options.old === undefined ? [] : ["OLD", options.old]),
      ...(options.meta === undefined ? [] : ["META", options.meta])
    ]
    const report = reportOf(await client.send("TRIGGER", "TEST", ...subject, ...event))
    if (options.json) print(report)
    else print(factsOf(report))
  })

export const remove = (options: ClientOptions, [name = ""]: Arguments) =>
  withClient(options, async (client) => {
    const removed = await client.send("TRIGGER", "REMOVE", name)
    if (removed === 0) throw new CliError(`no trigger is named '${name}'`)
    print(options.json ? { removed: name } : `${name} is removed`)
  })

export const log = (options: ClientOptions, count: Arguments) =>
  withClient(options, async (client) => {
    const records = recordsOf(await client.send("TRIGGER", "LOG", ...count))
    if (options.json) return print(records)
    if (records.length === 0) return print("nothing failed, and nothing was skipped")
    const timed = records.map((record) => ({ ...record, time: new Date(Number(record.at_ms)).toISOString() }))
    print(tableOf(["time", "trigger", "event", "key", "kind", "message"], timed))
  })

/** The Lua source that the options name; from stdin where neither does and it is needed. */
const sourceOf = async ({ file, source }: SourceOptions, isNeeded: boolean): Promise<string | undefined> => {
  if (file !== undefined && source !== undefined) throw new CliError("give --file or --source, not both")
  if (source !== undefined) return source
  if (file !== undefined) {
    return readFile(file, "utf8").catch((error: Error) => {
      throw new CliError(`--file ${file} cannot be read: ${error.message}`)
    })
  }
  if (!isNeeded) return undefined
  if (process.stdin.isTTY) {
    throw new CliError("the Lua source is missing: --file script.lua, --source '...', or on stdin")
  }
  return textOf(process.stdin)
}

const infoOf = async (client: RespClient, name: string) => recordOf(await client.send("TRIGGER", "INFO", name))

export type Fields = Readonly<Record<string, Reply>>

/** A flat list of fields and values, as servers answer maps over RESP2. */
export const recordOf = (reply: Reply): Fields => {
  const list = reply as readonly Reply[]
  return Object.fromEntries(
    Array.from({ length: list.length / 2 }, (_, at) => [list[2 * at] as string, list[2 * at + 1] as Reply])
  )
}

export const recordsOf = (reply: Reply): readonly Fields[] => (reply as readonly Reply[]).map(recordOf)

/** Fractions come as text over the wire. */
const shownAsJson = ({ us_mean, us_max, ...rest }: Fields): Record<string, unknown> => ({
  ...rest,
  us_mean: Number(us_mean),
  us_max: Number(us_max)
})

/** What a dry run did, with its JSON texts as the values that they stand for. */
const reportOf = (reply: Reply): Record<string, unknown> => {
  const { status, result, us, ...rest } = recordOf(reply)
  const lists = Object.entries(rest).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.map((text) => JSON.parse(text)) : value
  ])
  return { status, result: JSON.parse(result as string), ...Object.fromEntries(lists), us: Number(us) }
}

/** One fact a line; lists one item a line, and not at all when they are empty. */
const factsOf = (facts: Readonly<Record<string, unknown>>): string => {
  const width = Math.max(...Object.keys(facts).map((name) => name.length))
  return Object.entries(facts)
    .flatMap(([name, value]) => {
      const items = Array.isArray(value) ? value : value === null ? [] : [value]
      return items.map((item) => `${name.padEnd(width)}  ${typeof item === "string" ? item : JSON.stringify(item)}`)
    })
    .join("\n")
}

const tableOf = (columns: readonly string[], records: readonly Fields[]): string =>
  table(
    columns.map((column) => column.toUpperCase()),
    records.map((record) => columns.map((column) => record[column]))
  )
