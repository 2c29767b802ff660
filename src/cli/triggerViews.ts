/** `mimosa trigger list|info|log|graph`: what there is, how it fares, and what sets off what. */
import type { KeySet, TriggerGraph, TriggerNode } from "../triggers/TriggerGraph.ts"
import { wholeNumber } from "./Command.ts"
import { type Fields, factsOf, recordOf, recordsOf, tableOf, timeOf, withNumbers } from "./Fields.ts"
import type { ClientOptions } from "./ping.ts"
import { print } from "./print.ts"
import { type RespClient, withClient } from "./RespClient.ts"
import { visible } from "./visible.ts"

type Arguments = readonly string[]

export const list = (options: ClientOptions, glob: Arguments) =>
  withClient(options, async (client) => {
    const triggers = recordsOf(await client.send("TRIGGER", "LIST", ...glob))
    if (options.json) return print(triggers)
    if (triggers.length === 0) {
      return print(
        glob.length === 0
          ? "no triggers; mimosa trigger set --help shows how to register one"
          : `no trigger's name matches '${glob[0]}'`
      )
    }
    const shown = triggers.map(({ slower, status, ...rest }) => ({
      ...rest,
      status: slower === 1 ? `${status}, slower` : status
    }))
    print(tableOf(["name", "pattern", "events", "status", "priority", "runs", "errors"], shown))
    for (const { name, quarantine } of triggers) {
      if (typeof quarantine === "string") print(visible(`${name} is quarantined: it ${quarantine}`))
    }
  })

export const info = (options: ClientOptions, [name = ""]: Arguments) =>
  withClient(options, async (client) => {
    const trigger = await infoOf(client, name)
    if (options.json) return print(trigger)
    print(`${factsOf(factsAbout(trigger))}\n\n${figuresOf(trigger)}\n\n${trigger.source}`)
    if (trigger.shadow !== null) print(`\n-- its shadow\n${trigger.shadow.source}`)
  })

/** A trigger as TRIGGER INFO and VERSIONS show it, with numbers where they are meant and its shadow by itself. */
export interface TriggerInfo extends Readonly<Record<string, unknown>> {
  readonly source: string
  /** Those that are kept, the oldest first. */
  readonly versions: readonly number[]
  readonly warnings: readonly string[]
  readonly shadow: (Readonly<Record<string, unknown>> & { readonly source: string }) | null
}

export const infoOf = async (client: RespClient, name: string): Promise<TriggerInfo> => {
  const [info, versions] = await Promise.all([
    client.send("TRIGGER", "INFO", name),
    client.send("TRIGGER", "VERSIONS", name)
  ])
  const { source, warnings, ...fields } = recordOf(info)
  const isOfShadow = (field: string) => field.startsWith(ofShadow)
  const own = Object.entries(fields).filter(([field]) => !isOfShadow(field))
  const shadow = Object.entries(fields).flatMap(([field, value]) =>
    isOfShadow(field) ? [[field.slice(ofShadow.length), value] as const] : []
  )
  return {
    ...withNumbers(Object.fromEntries(own)),
    versions: recordsOf(versions)
      .map(({ version }) => Number(version))
      .reverse(),
    warnings: (warnings ?? []) as readonly string[],
    shadow: shadow.length === 0 ? null : (withNumbers(Object.fromEntries(shadow)) as TriggerInfo["shadow"]),
    source: source as string
  }
}

const ofShadow = "shadow_"

const factsAbout = (trigger: TriggerInfo) => ({
  name: trigger.name,
  "runs on": `${trigger.events} of ${trigger.pattern}${trigger.slower === 1 ? ", which is tried on every key" : ""}`,
  status: `${trigger.status}, version ${trigger.version} since ${timeOf(trigger.registered_at_ms)}`,
  versions: trigger.versions.join(", "),
  quarantine: trigger.quarantine,
  "next probe": trigger.quarantine === null ? null : `after ${timeOf(trigger.probe_at_ms)}`,
  options: trigger.options || null,
  limits: `${trigger.timeout_us} µs and ${trigger.memory_bytes} bytes a run, priority ${trigger.priority}`,
  failed: countsOf(trigger, "failed_"),
  skipped: countsOf(trigger, "skipped_"),
  warning: trigger.warnings
})

/** `error 3, timeout 1` out of `failed_error`, `failed_timeout` and others that are zero; null where all are. */
const countsOf = (trigger: TriggerInfo, prefix: string): string | null =>
  Object.entries(trigger)
    .filter(([field, count]) => field.startsWith(prefix) && count !== 0)
    .map(([field, count]) => `${field.slice(prefix.length)} ${count}`)
    .join(", ") || null

/** What a trigger has done, in one row; in a second one what its shadow would have. */
export const figuresOf = (trigger: TriggerInfo): string => {
  const rows = [
    { "": "live", ...timed(trigger) },
    ...(trigger.shadow === null ? [] : [{ "": "shadow", ...timed(trigger.shadow) }])
  ]
  const times = ["us_p50", "us_p99", "us_max"]
  const did = ["fuel", "bytes_max", "writes", "deletes", "emits", "webhooks", "logs", "warms", "rejects"]
  return tableOf(["", "runs", "errors", "skipped", ...times, ...did], rows)
}

/** Some runs are timed; there are no times before one of them. */
const timed = (figures: Readonly<Record<string, unknown>>) => {
  const time = (field: string) => (figures.us_max === 0 ? "-" : figures[field])
  return { ...figures, us_p50: time("us_p50"), us_p99: time("us_p99"), us_max: time("us_max") }
}

export const log = (options: ClientOptions, count: Arguments) =>
  withClient(options, async (client) => {
    const wanted = count.map((text) => wholeNumber(text, "how many records"))
    const records = recordsOf(await client.send("TRIGGER", "LOG", ...wanted))
    if (options.json) return print(records)
    if (records.length === 0) return print("nothing failed, and nothing was skipped")
    const timed = records.map((record: Fields) => ({ ...record, time: timeOf(record.at_ms) }))
    print(tableOf(["time", "trigger", "event", "key", "kind", "count", "message"], timed))
  })

export const graph = (options: ClientOptions) =>
  withClient(options, async (client) => {
    const graph: TriggerGraph = JSON.parse((await client.send("TRIGGER", "GRAPH")) as string)
    if (options.json) return print(graph)
    if (graph.nodes.length === 0) return print("no triggers; mimosa trigger set --help shows how to register one")
    print(shownGraph(graph))
  })

const shownGraph = ({ nodes, edges, cycles, isTruncated }: TriggerGraph): string => {
  const setsOff = (name: string) => [
    ...new Set(
      edges.filter(({ from }) => from === name).map(({ to, event, by, keys }) => `${to} (${event}: ${by} of ${keys})`)
    )
  ]
  const blocks = nodes.map((node) =>
    [visible(`${node.name}  ${node.events.join(", ")} of ${node.pattern}`), ...linesOf(node, setsOff(node.name))].join(
      "\n"
    )
  )
  const lines = shownCycles(cycles)
  if (isTruncated) lines.push("there are more edges than are shown, and may be more cycles")
  return [...blocks, lines.join("\n")].join("\n\n")
}

const linesOf = (node: TriggerNode, setsOff: readonly string[]): readonly string[] => {
  const { name: _, pattern: __, events: ___, ...touched } = node
  const sets = Object.entries(touched).map(([what, keys]): [string, readonly string[]] => [what, shownKeys(keys)])
  return [...sets, ["sets off", setsOff] as const]
    .filter(([, items]) => items.length > 0)
    .map(([what, items]) => visible(`  ${what.padEnd(8)}  ${items.join(", ")}`))
}

const shownKeys = ({ patterns, hasUnknown }: KeySet): readonly string[] => [
  ...patterns,
  ...(hasUnknown ? [patterns.length === 0 ? "unknown" : "and others, unknown"] : [])
]

/** One line for each cycle; one that there is none. */
export const shownCycles = (cycles: TriggerGraph["cycles"]): string[] =>
  cycles.length === 0
    ? ["no cycles"]
    : cycles.map((names) => visible(`cycle: ${[...names, names[0]].join(" → ")}; a cascade runs each once for a key`))
