/** `mimosa trigger test`, of a registered trigger or a source: what it would do, on a made-up event or on the last ones. */
import { CliError } from "./CliError.ts"
import { type Fields, factsOf, recordOf, tableOf } from "./Fields.ts"
import type { ClientOptions } from "./ping.ts"
import { print } from "./print.ts"
import { type Reply, withClient } from "./RespClient.ts"
import { type SourceOptions, sourceOf } from "./trigger.ts"

export interface TestOptions extends ClientOptions, SourceOptions {
  readonly old: string | undefined
  readonly meta: string | undefined
  /** How many of the last events; undefined for a made-up one. */
  readonly history: number | undefined
}

type Arguments = readonly string[]

/** `[name] EVENT key value`; or `[name]` with `--history`. A name with a source means that source in the trigger's place. */
export const test = (options: TestOptions, args: Arguments) =>
  withClient(options, async (client) => {
    const source = await sourceOf(options)
    const isOfHistory = options.history !== undefined
    const [name] = isOfHistory ? args : args.slice(0, -3)
    if (name === undefined && source === undefined)
      throw new CliError("give the name of a trigger, or --file or --source")
    const subject = [...(name === undefined ? [] : [name]), ...(source === undefined ? [] : ["SOURCE", source])]
    if (isOfHistory) {
      const report = await client.send("TRIGGER", "TEST", ...subject, "HISTORY", `${options.history}`)
      const history = historyOf(report)
      return print(options.json ? history : shownHistory(history))
    }
    const event = [
      ...args.slice(-3),
      ...(options.old === undefined ? [] : ["OLD", options.old]),
      ...(options.meta === undefined ? [] : ["META", options.meta])
    ]
    const report = reportOf(await client.send("TRIGGER", "TEST", ...subject, ...event))
    print(options.json ? report : factsOf(report))
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

/** What one run would do. */
interface Run {
  readonly status: string
  readonly error: string | null
  readonly writes: ReadonlyArray<{ readonly key: string; readonly value: unknown; readonly ttlMs: number | null }>
  readonly deletes: readonly string[]
  readonly emits: ReadonlyArray<{ readonly channel: string; readonly payload: string }>
  readonly webhooks: ReadonlyArray<{ readonly url: string; readonly body: string }>
  readonly logs: ReadonlyArray<{
    readonly stream: string | null
    readonly message: string | null
    readonly fields: unknown
  }>
  readonly warms: readonly string[]
}

interface HistoryRun extends Run {
  readonly sequence: number
  readonly event: string
  readonly key: string
  /** What the running version would do where that is something else; null where it is the same, or not compared. */
  readonly current: Run | null
}

type Sum = Readonly<Record<string, number>>

interface History {
  readonly events: number
  readonly matched: number
  /** Null where there is no running version to compare with. */
  readonly differ: number | null
  readonly sum: Sum
  readonly current: Sum | null
  /** What the server's bounds left out: the runs on the oldest events, and parts of what runs would do. */
  readonly cut: { readonly runs: number; readonly changes: number }
  readonly runs: readonly HistoryRun[]
}

const historyOf = (reply: Reply): History => {
  const { events, matched, differ, sum, current, cut_runs, cut_changes, runs }: Fields = recordOf(reply)
  return {
    events: Number(events),
    matched: Number(matched),
    differ: differ as number | null,
    sum: JSON.parse(sum as string),
    current: current === null ? null : JSON.parse(current as string),
    cut: { runs: Number(cut_runs), changes: Number(cut_changes) },
    runs: (runs as readonly string[]).map((run) => JSON.parse(run))
  }
}

const shownHistory = ({ events, matched, differ, sum, current, cut, runs }: History): string => {
  if (events === 0) return "nothing has happened yet: the log of events is empty"
  const found = `${matched} of the last ${events} ${events === 1 ? "event is" : "events are"} for it`
  if (matched === 0) return found
  const rows = runs.map((run) => ({
    number: run.sequence,
    event: run.event,
    key: run.key,
    would: consequencesOf(run),
    "the running version": run.current === null ? "the same" : consequencesOf(run.current)
  }))
  const isCompared = current !== null
  const columns = ["number", "event", "key", "would", ...(isCompared ? ["the running version"] : [])]
  const sums = isCompared ? sumsCompared(sum, current) : [{ "": "in sum", ...sum }]
  const compared = isCompared ? `; on ${differ} of them the running version does something else` : ""
  const tail = [`${found}${compared}`, ...cutsOf(cut)].join("\n")
  return [tableOf(columns, rows), tableOf(["", ...Object.keys(sum)], sums), tail].join("\n\n")
}

/** What is missing above, in words. */
const cutsOf = ({ runs, changes }: History["cut"]): string[] => [
  ...(runs === 0 ? [] : [`cut: it was not tried on the oldest ${runs}, for which 50 ms of computing did not suffice`]),
  ...(changes === 0 ? [] : [`cut: ${changes} of what it would do are counted and not listed`])
]

const sumsCompared = (sum: Sum, current: Sum) => [
  { "": "in sum", ...sum },
  { "": "running version", ...current },
  {
    "": "difference",
    ...Object.fromEntries(Object.entries(sum).map(([of, count]) => [of, signed(count - (current[of] ?? 0))]))
  }
]

const signed = (difference: number): string => (difference > 0 ? `+${difference}` : `${difference}`)

/** In few words: what it would change and send, or why it would not. */
const consequencesOf = ({ status, error, writes, deletes, emits, webhooks, logs, warms }: Run): string => {
  if (status !== "ok") return error === null ? status : `${status}: ${error}`
  const all = [
    ...writes.map(
      ({ key, value, ttlMs }) => `set ${key} ${JSON.stringify(value)}${ttlMs === null ? "" : ` ttl ${ttlMs} ms`}`
    ),
    ...deletes.map((key) => `delete ${key}`),
    ...emits.map(({ channel, payload }) => `emit ${channel} ${payload}`),
    ...webhooks.map(({ url }) => `webhook ${url}`),
    ...logs.map(({ stream, message, fields }) => `log ${stream ?? "default"} ${message ?? JSON.stringify(fields)}`),
    ...warms.map((key) => `warm ${key}`)
  ]
  return all.length === 0 ? "nothing" : all.join("; ")
}
