/**
 * TRIGGER …: Lua functions that run when keys are touched, seen from a client. Mimosa's own.
 *
 * Maps are answered as flat arrays of fields and values, as Redis does over RESP2, so that every client can read them.
 */
import { globMatches } from "../../cache/Glob.ts"
import { toBytes, toJson, toText } from "../../cache/Values.ts"
import type { Nested, ValueObject } from "../../kernel/index.ts"
import type { DryRunReport, TestEvent } from "../../triggers/DryRun.ts"
import { type TriggerEventName, type TriggerInput, triggerEventNames } from "../../triggers/Trigger.ts"
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { parseNumber } from "../Int64.ts"
import { parseMetadata } from "../Options.ts"
import { RespError } from "../RespError.ts"
import type { RespWriter } from "../RespWriter.ts"
import type { TriggerPort } from "./TriggerPort.ts"

/** TRIGGER SET name pattern event[,event…] [TIMEOUT µs] [MEMORY bytes] [PRIORITY n] source */
const setTrigger: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  const last = args.length - 1
  const options: Record<string, number> = {}
  for (let at = 5; at < last; at += 2) {
    const option = (args[at] as string).toLowerCase()
    const field = Object.hasOwn(numericOptions, option) ? numericOptions[option] : undefined
    if (field === undefined) return client.fail(RespError.triggerOption(args[at] as string))
    const value = at + 1 < last ? parseNumber(args[at + 1] as string) : undefined
    if (value === undefined) return client.fail(RespError.triggerNumber(option.toUpperCase()))
    options[field] = value
  }
  const [pattern, source] = [toText(args[3] as string), toText(args[last] as string)]
  if (pattern === undefined) return client.fail(RespError.trigger("pattern: is not UTF-8"))
  if (source === undefined) return client.fail(RespError.trigger("source: is not UTF-8"))
  const events = (args[4] as string).split(",").map((name) => name.trim().toUpperCase() as TriggerEventName)
  const input: TriggerInput = { name: args[2] as string, pattern, events, source, ...options }
  return port.set(input).then(
    () => client.reply.ok(),
    (error) => client.fail(RespError.trigger(messageOf(error)))
  )
}

const numericOptions: Readonly<Record<string, "timeoutUs" | "memoryBytes" | "priority">> = {
  timeout: "timeoutUs",
  memory: "memoryBytes",
  priority: "priority"
}

/** TRIGGER DEL name: 1 when it was there, else 0. */
const removeTrigger: Handler = (client, args) =>
  enginePort(client)
    ?.remove(args[2] as string)
    .then(
      (isRemoved) => client.reply.integer(isRemoved ? 1 : 0),
      (error) => client.fail(RespError.trigger(messageOf(error)))
    )

/** TRIGGER LIST [glob]: those whose name matches. */
const listTriggers: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  if (args.length > 3) return client.fail(RespError.syntax)
  const glob = args[2] ?? "*"
  const triggers = port.list().filter(({ name }) => globMatches(glob, name))
  client.reply.array(triggers.length)
  for (const trigger of triggers) {
    writeFields(client.reply, {
      name: trigger.name,
      pattern: toBytes(trigger.pattern),
      events: trigger.events.join(","),
      status: trigger.status,
      priority: trigger.priority,
      timeout_us: trigger.timeoutUs,
      memory_bytes: trigger.memoryBytes,
      runs: trigger.runs,
      errors: sum(trigger.failures)
    })
  }
}

const triggerInfo: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  const trigger = port.info(args[2] as string)
  if (trigger === undefined) return client.fail(RespError.trigger(`no trigger is named '${args[2]}'`))
  writeFields(client.reply, {
    name: trigger.name,
    pattern: toBytes(trigger.pattern),
    events: trigger.events.join(","),
    status: trigger.status,
    quarantine: trigger.quarantine === null ? null : toBytes(trigger.quarantine),
    registered_at_ms: trigger.registeredAtMs,
    priority: trigger.priority,
    timeout_us: trigger.timeoutUs,
    memory_bytes: trigger.memoryBytes,
    runs: trigger.runs,
    errors: sum(trigger.failures),
    ...prefixed("failed_", trigger.failures),
    skipped: sum(trigger.skips),
    ...prefixed("skipped_", trigger.skips),
    us_mean: trigger.usMean.toFixed(1),
    us_max: trigger.usMax.toFixed(1),
    fuel: trigger.fuel,
    writes: trigger.writes,
    deletes: trigger.deletes,
    emits: trigger.emits,
    webhooks: trigger.webhooks,
    logs: trigger.logs,
    source: toBytes(trigger.source)
  })
}

/** TRIGGER TEST name | SOURCE source, event key value [OLD value] [META json] */
const testTrigger: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  // A trigger may be called "source": then an event stands where the source would.
  const isSource = (args[2] as string).toLowerCase() === "source" && eventNamed(args[3] as string) === undefined
  let at = isSource ? 4 : 3
  if (args.length < at + 3) return client.fail(RespError.arity("trigger|test"))
  const event = eventNamed(args[at] as string)
  if (event === undefined) {
    return client.fail(RespError.trigger(`event: '${args[at]}' is none of ${triggerEventNames.join(", ")}`))
  }
  const test: { -readonly [Field in keyof TestEvent]: TestEvent[Field] } = {
    event,
    key: args[at + 1] as string,
    value: args[at + 2] as string
  }
  for (at += 3; at < args.length; at += 2) {
    const option = (args[at] as string).toLowerCase()
    const value = args[at + 1]
    if (value === undefined) return client.fail(RespError.syntax)
    if (option === "old") test.oldValue = value
    else if (option === "meta") {
      const metadata = parseMetadata(value)
      if (metadata === undefined) return client.fail(RespError.notMetadata)
      test.metadata = metadata
    } else return client.fail(RespError.syntax)
  }
  const source = isSource ? toText(args[3] as string) : ""
  if (source === undefined) return client.fail(RespError.trigger("source: is not UTF-8"))
  const report = port.test(isSource ? { source } : { name: args[2] as string }, test)
  if ("_tag" in report) client.fail(RespError.trigger(messageOf(report)))
  else writeReport(client.reply, report)
}

const writeReport = (reply: RespWriter, report: DryRunReport): void =>
  writeFields(reply, {
    status: report.status,
    result: json(report.result),
    error: report.error === null ? null : toBytes(report.error),
    writes: report.writes.map(json),
    deletes: report.deletes.map(json),
    emits: report.emits.map(json),
    webhooks: report.webhooks.map(json),
    logs: report.logs.map(json),
    us: report.us.toFixed(1),
    fuel: report.fuel,
    bytes: report.bytes
  })

/** TRIGGER LOG [count], newest first. */
const triggerLog: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  if (args.length > 3) return client.fail(RespError.syntax)
  const count = args.length === 3 ? parseNumber(args[2] as string) : logCountDefault
  if (count === undefined || count < 0) return client.fail(RespError.notPositive)
  const records = port.log(count)
  client.reply.array(records.length)
  for (const { id, atMs, trigger, event, sequence, key, kind, message } of records) {
    writeFields(client.reply, {
      id,
      at_ms: atMs,
      trigger,
      event,
      sequence,
      key,
      kind,
      message: toBytes(message)
    })
  }
}

/** The engine; answers an error where the server has none. */
const enginePort = (client: Client): TriggerPort | undefined => {
  const { triggers } = client.server
  if (triggers === undefined) client.fail(RespError.noTriggers)
  return triggers
}

const eventNamed = (text: string): TriggerEventName | undefined =>
  triggerEventNames.find((name) => name === text.toUpperCase())

type Field = string | number | null | readonly string[]

/** Bytes as bulks, whole numbers as integers, null as nil, lists as arrays of bulks. */
const writeFields = (reply: RespWriter, fields: Readonly<Record<string, Field>>): void => {
  const pairs = Object.entries(fields)
  reply.map(pairs.length)
  for (const [name, value] of pairs) {
    reply.bulk(name)
    if (value === null) reply.nil()
    else if (typeof value === "string") reply.bulk(value)
    else if (typeof value === "number") reply.integer(value)
    else reply.bulks(value)
  }
}

const prefixed = (prefix: string, counts: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(counts).map(([name, count]) => [prefix + name, count]))

const sum = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((total, count) => total + count, 0)

const json = (value: unknown): string => toBytes(toJson(value as Nested | ValueObject))

const messageOf = (error: unknown): string => toBytes(error instanceof Error ? error.message : String(error))

const logCountDefault = 10

export const triggers: CommandFamily = {
  group: "trigger",
  commands: [
    {
      name: "trigger",
      arity: -2,
      flags: [],
      summary: "A container for commands about Lua triggers.",
      since: "mimosa",
      subcommands: [
        {
          name: "set",
          arity: -6,
          flags: ["admin", "no_multi"],
          syntax: "<name> <pattern> <EVENT>[,<EVENT>...] [TIMEOUT <us>] [MEMORY <bytes>] [PRIORITY <n>] <source>",
          summary: "Registers a trigger, or replaces the one of that name.",
          since: "mimosa",
          run: setTrigger
        },
        {
          name: "list",
          arity: -2,
          flags: ["admin"],
          syntax: "[<glob>]",
          summary: "Returns the triggers, one array of fields and values each.",
          since: "mimosa",
          run: listTriggers
        },
        {
          name: "info",
          arity: 3,
          flags: ["admin"],
          syntax: "<name>",
          summary: "Returns everything about a trigger: limits, runs, errors by kind, microseconds, source.",
          since: "mimosa",
          run: triggerInfo
        },
        {
          name: "del",
          arity: 3,
          flags: ["admin", "no_multi"],
          syntax: "<name>",
          summary: "Removes a trigger; returns 1 when it was there.",
          since: "mimosa",
          run: removeTrigger
        },
        {
          name: "remove",
          arity: 3,
          flags: ["admin", "no_multi"],
          syntax: "<name>",
          summary: "Removes a trigger; returns 1 when it was there.",
          since: "mimosa",
          run: removeTrigger
        },
        {
          name: "test",
          arity: -6,
          flags: ["admin"],
          syntax: "<name>|SOURCE <source> <EVENT> <key> <value> [OLD <value>] [META <json>]",
          summary: "Runs a trigger on a made-up event and shows what it would do; nothing happens.",
          since: "mimosa",
          run: testTrigger
        },
        {
          name: "log",
          arity: -2,
          flags: ["admin"],
          syntax: "[<count>]",
          summary: "Returns what failed and what did not run, newest first.",
          since: "mimosa",
          run: triggerLog
        }
      ]
    }
  ]
}
