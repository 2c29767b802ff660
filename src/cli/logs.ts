/** `mimosa logs`: what triggers have logged, and what they log from now on. */
import { setTimeout as wait } from "node:timers/promises"
import { Unreachable } from "./Address.ts"
import { type Fields, recordsOf, timeOf } from "./Fields.ts"
import type { ClientOptions } from "./ping.ts"
import { print, table } from "./print.ts"
import { RespClient, withClient } from "./RespClient.ts"
import { visible } from "./visible.ts"

export interface LogsOptions extends ClientOptions {
  /** How many lines of a stream, or of each. */
  readonly count: number
  readonly follow: boolean
}

/** The streams as a table; the last lines of one; or, to follow, lines for as long as nobody ends it. */
export const logs = (options: LogsOptions, words: readonly string[]): Promise<void> => {
  const isFollowed = options.follow || words.includes("-f")
  const [stream] = words.filter((word) => word !== "-f")
  if (isFollowed) return follow(stream, options)
  return withClient(options, (client) => (stream === undefined ? list(client, options) : last(client, stream, options)))
}

const list = async (client: RespClient, { json }: LogsOptions): Promise<void> => {
  const streams = await streamsOf(client)
  if (json) return print(streams)
  if (streams.length === 0) return print("nothing was logged yet; in a trigger: cache.log(stream, fields)")
  const columns = ["stream", "lines", "first", "last", "dropped"] as const
  const head = [...columns, "last line"].map((column) => column.toUpperCase())
  print(
    table(
      head,
      streams.map((stream) => [...columns.map((column) => stream[column]), timeOf(stream.last_at_ms)])
    )
  )
}

const last = async (client: RespClient, stream: string, { count, json }: LogsOptions): Promise<void> => {
  const lines = recordsOf(await client.send("LOGS", stream, "COUNT", `${count}`))
  if (json) return print(lines.map(forPrograms))
  if (lines.length === 0) return print(`no line in '${stream}'; mimosa logs shows the streams`)
  for (const line of lines) print(shown(line))
}

/**
 * Starts with the last `count` lines of each stream, and asks for those behind them again and again. Where the
 * connection is lost it says so, and goes on when it has another: a server that restarts does not end it, one that was
 * never there does.
 */
const follow = async (only: string | undefined, options: LogsOptions): Promise<never> => {
  process.stdout.on("error", () => process.exit(0)) // whoever read it has seen enough
  const seen = new Map<string, number>()
  let client = await RespClient.connect(options)
  for (let isFirst = true; ; ) {
    try {
      await showNew(client, only, seen, isFirst, options)
      isFirst = false
    } catch (error) {
      client.close()
      client = await connectAgain(options, error)
    }
    await wait(askMs)
  }
}

/** Connects once somebody answers there again. Fails with any other error than that nobody did. */
const connectAgain = async (options: LogsOptions, error: unknown): Promise<RespClient> => {
  if (!(error instanceof Unreachable)) throw error
  process.stderr.write(`mimosa: ${error.message}; waiting for a server\n`)
  for (;;) {
    await wait(reconnectMs)
    try {
      return await RespClient.connect(options)
    } catch (failure) {
      if (!(failure instanceof Unreachable)) throw failure
    }
  }
}

/** Shows the lines that are not among those that were `seen`, the newest of each stream by number. */
const showNew = async (
  client: RespClient,
  only: string | undefined,
  seen: Map<string, number>,
  isFirst: boolean,
  { count, json }: LogsOptions
): Promise<void> => {
  for (const { stream, last } of await streamsOf(client)) {
    const [name, newest] = [String(stream), Number(last)]
    if (only !== undefined && name !== only) continue
    let at = seen.get(name) ?? (isFirst ? Math.max(0, newest - count) : 0)
    if (newest < at) at = 0 // the server was started anew
    while (at < newest) {
      const lines = recordsOf(await client.send("LOGS", name, "AFTER", `${at}`, "COUNT", `${pageLines}`))
      const [first] = lines
      if (first === undefined) break
      const missed = Number(first.number) - at - 1
      if (missed > 0 && seen.has(name)) process.stderr.write(`mimosa: ${missed} lines of '${name}' were dropped\n`)
      for (const line of lines) process.stdout.write(`${json ? JSON.stringify(forPrograms(line)) : shown(line)}\n`)
      at = Number(lines.at(-1)?.number)
      seen.set(name, at)
    }
    seen.set(name, at)
  }
}

const streamsOf = async (client: RespClient): Promise<readonly Fields[]> => recordsOf(await client.send("LOGS"))

/** A line as JSON: its fields come as JSON text, and are the object that it stands for. One that was cut stays text. */
const forPrograms = ({ fields, ...line }: Fields) => ({
  ...line,
  fields: typeof fields === "string" ? parsedOr(fields) : fields
})

const parsedOr = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

const shown = ({ number, at_ms, stream, message, fields, trigger, event, key }: Fields): string =>
  `${timeOf(at_ms)}  ${visible(`${stream} ${number}  ${message ?? fields}  (${trigger}, ${event} ${key})`)}`

const pageLines = 1_000 // lines asked for at once
const askMs = 250 // soon enough for a person, and nothing for a server
const reconnectMs = 1_000 // between two attempts
