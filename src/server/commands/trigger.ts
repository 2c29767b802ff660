/**
 * TRIGGER …: Lua functions that run when keys are touched, seen from a client. Mimosa's own.
 *
 * Maps are answered as flat arrays of fields and values, as Redis does over RESP2, so that every client can read them.
 */
import { createHash } from "node:crypto"
import { parseNumber } from "../../cache/Int64.ts"
import { toBytes, toJson, toText } from "../../cache/Values.ts"
import type { Nested, ValueObject } from "../../kernel/index.ts"
import { CompiledGlob } from "../../kernel/index.ts"
import type { DryRunReport, TestEvent } from "../../triggers/DryRun.ts"
import type { HistoryReport } from "../../triggers/History.ts"
import {
  type RegisteredTrigger,
  type TriggerDefinition,
  type TriggerEventName,
  type TriggerFigures,
  type TriggerOptions,
  type TriggerScope,
  triggerEventNames
} from "../../triggers/Trigger.ts"
import type { TestSubject } from "../../triggers/Triggers.ts"
import { whyNotRun } from "../../triggers/whyNotRun.ts"
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { type Fields, prefixed, writeFields } from "../Fields.ts"
import { parseMetadata } from "../Options.ts"
import { RespError } from "../RespError.ts"
import { RespWriter } from "../RespWriter.ts"
import { tenantOfPattern } from "../TenantRoutes.ts"
import { workPerLook } from "../Turns.ts"
import type { TriggerPort } from "./TriggerPort.ts"

/** TRIGGER SET name pattern event[,event…] [options] source */
const setTrigger: Handler = (client, args) =>
  register(client, args, 3, (pattern, events, options, source, port) =>
    port.set({ name: args[2] as string, pattern, events, ...options, source }).then(() => client.reply.ok())
  )

/** TRIGGER REGISTER pattern event[,event…] [options] source: SET under a name made from pattern and events, answered. */
const registerTrigger: Handler = (client, args) =>
  register(client, args, 2, (pattern, events, options, source, port) => {
    const name = madeName(pattern, events)
    return port.set({ name, pattern, events, ...options, source }).then(() => client.reply.bulk(name))
  })

type Register = (
  pattern: string,
  events: TriggerEventName[],
  options: TriggerOptions,
  source: string,
  port: TriggerPort
) => Promise<void>

/** Reads pattern, events, options and source, of which the pattern stands at `at` and the source last. */
const register = (client: Client, args: readonly string[], at: number, go: Register) => {
  const port = enginePort(client)
  if (port === undefined) return
  const last = args.length - 1
  const options = parseOptions(args, at + 2, last)
  if (typeof options === "string") return client.fail(options)
  const [pattern, source] = [toText(args[at] as string), toText(args[last] as string)]
  if (pattern === undefined) return client.fail(RespError.trigger("pattern: is not UTF-8"))
  if (source === undefined) return client.fail(RespError.trigger("source: is not UTF-8"))
  const owner = client.tenant === null ? tenantOfPattern(client.server.routes, args[at] as string) : undefined
  if (owner !== undefined) return client.fail(RespError.tenantPattern(owner.prefix))
  const events = (args[at + 1] as string).split(",").map((name) => name.trim().toUpperCase() as TriggerEventName)
  return answered(client, go(pattern, events, options, source, port))
}

/** What the engine refuses is the answer. */
const answered = (client: Client, answer: Promise<void>): Promise<void> =>
  answer.catch((error) => client.fail(RespError.trigger(messageOf(error))))

/** The same for the same pattern and events, and another for others: what a name may not hold is spelt as hex. */
const madeName = (pattern: string, events: readonly string[]): string => {
  const spelt = toBytes(pattern).replace(/[^A-Za-z0-9:.-]/g, (byte) =>
    byte === "*" ? "_all" : `_${byte.charCodeAt(0).toString(16).padStart(2, "0")}`
  )
  const name = `${spelt}:${[...events].sort().join(".")}`
  return name.length <= nameMax ? name : `${name.slice(0, nameMax - 41)}:${sha1(name)}`
}

const nameMax = 128 // characters of a trigger's name
const sha1 = (text: string): string => createHash("sha1").update(text).digest("hex")

/** The options from `from` up to the last argument, in any order; or why they are none, as an answer. */
const parseOptions = (args: readonly string[], from: number, last: number): TriggerOptions | string => {
  const options: { -readonly [Name in keyof TriggerOptions]: TriggerOptions[Name] } = {}
  for (let at = from; at < last; ) {
    const given = args[at++] as string
    const option = given.toLowerCase()
    const field = Object.hasOwn(numericOptions, option) ? numericOptions[option] : undefined
    const flag = Object.hasOwn(flagOptions, option) ? flagOptions[option] : undefined
    if (flag !== undefined) {
      Object.assign(options, flag)
      continue
    }
    const word = at < last ? (args[at++] as string) : undefined
    if (field !== undefined) {
      const value = word === undefined ? undefined : parseNumber(word)
      if (value === undefined) return RespError.triggerNumber(option.toUpperCase())
      options[field] = value
    } else if (option === "when" && word?.toLowerCase() === "changed") options.whenChanged = true
    else if (option === "include" && word?.toLowerCase() === "fill") options.includeFill = true
    else if (option === "include" && word?.toLowerCase() === "flush") options.includeFlush = true
    else if (option === "scope" && word !== undefined) options.scope = word.toLowerCase() as TriggerScope
    else return optionError(given, option)
  }
  return options
}

const optionError = (given: string, option: string): string => {
  const takes: Record<string, string> = {
    when: "WHEN takes CHANGED, then the source follows",
    include: "INCLUDE takes fill or flush, then the source follows",
    scope: "SCOPE takes local or all, then the source follows"
  }
  return Object.hasOwn(takes, option) ? RespError.trigger(takes[option] as string) : RespError.triggerOption(given)
}

const numericOptions: Readonly<Record<string, "timeoutUs" | "memoryBytes" | "priority" | "sample">> = {
  timeout: "timeoutUs",
  memory: "memoryBytes",
  priority: "priority",
  sample: "sample"
}

const flagOptions: Readonly<Record<string, Partial<TriggerOptions>>> = {
  failclosed: { failClosed: true },
  isolate: { isolate: true },
  disabled: { isEnabled: false }
}

/** TRIGGER ENABLE|DISABLE name */
const enableTrigger =
  (isEnabled: boolean): Handler =>
  (client, args) => {
    const port = enginePort(client)
    if (port === undefined) return
    return answered(
      client,
      port.enable(args[2] as string, isEnabled).then(() => client.reply.ok())
    )
  }

/** TRIGGER VERSIONS name: those that are kept, newest first. */
const triggerVersions: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  const answer = port.versions(args[2] as string).then(({ live, versions }) => {
    client.reply.array(versions.length)
    for (const { version, registeredAtMs, definition } of [...versions].reverse()) {
      writeFields(client.reply, {
        version,
        live: version === live ? 1 : 0,
        registered_at_ms: registeredAtMs,
        ...shownOptions(definition),
        source: toBytes(definition.source)
      })
    }
  })
  return answered(client, answer)
}

/** TRIGGER ROLLBACK name [version]: answers the version that runs. */
const rollbackTrigger: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  if (args.length > 4) return client.fail(RespError.syntax)
  const version = args[3] === undefined ? undefined : parseNumber(args[3])
  if (args[3] !== undefined && version === undefined) return client.fail(RespError.notInteger)
  const answer = port.rollback(args[2] as string, version).then((trigger) => client.reply.integer(trigger.version))
  return answered(client, answer)
}

/** TRIGGER SHADOW name [options] source | DROP | PROMOTE */
const shadowTrigger: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  const name = args[2] as string
  const last = args.length - 1
  const word = args.length === 4 ? (args[3] as string).toLowerCase() : ""
  if (word === "drop") {
    return answered(
      client,
      port.dropShadow(name).then((wasThere) => client.reply.integer(wasThere ? 1 : 0))
    )
  }
  if (word === "promote") {
    return answered(
      client,
      port.promote(name).then(() => client.reply.ok())
    )
  }
  const options = parseOptions(args, 3, last)
  if (typeof options === "string") return client.fail(options)
  const source = toText(args[last] as string)
  if (source === undefined) return client.fail(RespError.trigger("source: is not UTF-8"))
  return answered(
    client,
    port.shadow(name, { ...options, source }).then(() => client.reply.ok())
  )
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
  const { reply, server } = client
  const { channelBytesMax, replyBytesMax } = server.settings
  const pattern = args[2] ?? "*"
  if (pattern.length > channelBytesMax) return client.fail(RespError.globTooLong(channelBytesMax))
  const glob = new CompiledGlob(pattern)
  const triggers = port.list()[Symbol.iterator]()
  const rows = new RespWriter()
  rows.protocol = reply.protocol
  let count = 0
  return client.inTurns(() => {
    while (rows.size <= replyBytesMax) {
      const { done, value: trigger } = triggers.next()
      if (done === true) break
      if (glob.matches(trigger.name)) {
        writeFields(rows, { ...shown(trigger), runs: trigger.runs, errors: sum(trigger.failures) })
        count++
      }
      if (server.turns.spend(rowWork)) return false
    }
    if (rows.size > replyBytesMax) client.fail(RespError.replyTooLarge(replyBytesMax))
    else {
      reply.array(count)
      reply.raw(rows.take())
    }
    return true
  })
}

const rowWork = 16 // what showing a trigger takes, in units of `Turns.spend`

/** What LIST shows of a trigger, and INFO begins with. */
const shown = (trigger: RegisteredTrigger): Fields => ({
  name: trigger.name,
  pattern: toBytes(trigger.pattern),
  events: trigger.events.join(","),
  status: trigger.status,
  version: trigger.version,
  ...(trigger.isSlower ? { slower: 1 } : {}),
  ...(trigger.quarantine === null ? {} : { quarantine: toBytes(trigger.quarantine) }),
  ...shownOptions(trigger)
})

/** Limits, and what was asked for beyond the defaults. */
const shownOptions = (definition: TriggerDefinition): Fields => ({
  priority: definition.priority,
  timeout_us: definition.timeoutUs,
  memory_bytes: definition.memoryBytes,
  options: optionsText(definition)
})

const optionsText = (definition: TriggerDefinition): string =>
  [
    definition.whenChanged ? "WHEN CHANGED" : "",
    definition.sample > 1 ? `SAMPLE ${definition.sample}` : "",
    definition.includeFill ? "INCLUDE fill" : "",
    definition.includeFlush ? "INCLUDE flush" : "",
    definition.scope === "all" ? "" : `SCOPE ${definition.scope}`,
    definition.failClosed ? "FAILCLOSED" : "",
    definition.isolate ? "ISOLATE" : ""
  ]
    .filter((option) => option !== "")
    .join(" ")

const triggerInfo: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  const trigger = port.info(args[2] as string)
  if (trigger === undefined) return client.fail(RespError.trigger(`no trigger is named '${args[2]}'`))
  const { shadow } = trigger
  writeFields(client.reply, {
    ...shown(trigger),
    quarantine: trigger.quarantine === null ? null : toBytes(trigger.quarantine),
    probe_at_ms: trigger.probeAtMs,
    registered_at_ms: trigger.registeredAtMs,
    warnings: port.warnings(trigger.name).map(toBytes),
    ...shownFigures(trigger),
    ...(shadow === null ? {} : prefixed("shadow_", { ...shownFigures(shadow), source: toBytes(shadow.source) })),
    source: toBytes(trigger.source)
  })
}

const shownFigures = (figures: TriggerFigures): Fields => ({
  runs: figures.runs,
  errors: sum(figures.failures),
  ...prefixed("failed_", figures.failures),
  skipped: sum(figures.skips),
  ...prefixed("skipped_", figures.skips),
  us_mean: figures.usMean.toFixed(1),
  us_p50: figures.usP50.toFixed(1),
  us_p99: figures.usP99.toFixed(1),
  us_max: figures.usMax.toFixed(1),
  fuel: figures.fuel,
  bytes_max: figures.bytesMax,
  writes: figures.writes,
  deletes: figures.deletes,
  emits: figures.emits,
  webhooks: figures.webhooks,
  webhooks_suppressed: figures.webhooksSuppressed,
  logs: figures.logs,
  warms: figures.warms,
  rejects: figures.rejects
})

/** TRIGGER GRAPH: what sets off what, as JSON. */
const triggerGraph: Handler = (client) => {
  const graph = enginePort(client)?.graph()
  if (graph !== undefined) client.reply.bulk(toBytes(JSON.stringify(graph)))
}

/** TRIGGER TEST name|SOURCE source|name SOURCE source, event key value [OLD value] [META json] | HISTORY count */
const testTrigger: Handler = (client, args) => {
  const port = enginePort(client)
  if (port === undefined) return
  const subject = subjectOf(args)
  if (typeof subject === "string") return client.fail(subject)
  const { tested, at: from } = subject
  if (args[from]?.toLowerCase() === "history" && args.length === from + 2) {
    const count = parseNumber(args[from + 1] as string)
    if (count === undefined || count < 1) return client.fail(RespError.notPositive)
    const report = port.testHistory(tested, count)
    if ("_tag" in report) return client.fail(RespError.trigger(messageOf(report)))
    return writeHistory(client.reply, report)
  }
  let at = from
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
  const report = port.test(tested, test)
  if ("_tag" in report) return client.fail(RespError.trigger(messageOf(report)))
  const registered = tested.name === undefined ? undefined : port.info(tested.name)
  writeReport(client.reply, report, registered === undefined ? null : whyNotRun(registered, test))
}

/** What TEST is about, and where the rest of its arguments begins; or an error. */
const subjectOf = (args: readonly string[]): { readonly tested: TestSubject; readonly at: number } | string => {
  const isSource = (at: number) => args[at]?.toLowerCase() === "source"
  // A trigger may be called "source": then an event, or HISTORY, stands where the source would.
  const isNoName = isSource(2) && eventNamed(args[3] ?? "") === undefined && args[3]?.toLowerCase() !== "history"
  const at = isNoName ? 3 : isSource(3) ? 4 : undefined
  if (at === undefined) return { tested: { name: args[2] as string }, at: 3 }
  const source = toText(args[at] ?? "")
  if (source === undefined) return RespError.trigger("source: is not UTF-8")
  return { tested: isNoName ? { source } : { name: args[2] as string, source }, at: at + 1 }
}

/** One array a run, then what they come to, and what the running version would. */
const writeHistory = (reply: RespWriter, { events, matched, runs, sum, current, cut }: HistoryReport): void => {
  writeFields(reply, {
    events,
    matched,
    cut_runs: cut.runs,
    cut_changes: cut.changes,
    sum: json(sum),
    current: current === null ? null : json(current),
    differ: current === null ? null : runs.filter((run) => run.current !== null).length,
    runs: runs.map(({ sequence, event, key, report, current }) => json({ sequence, event, key, ...report, current }))
  })
}

/** `warning` says why the trigger would not run on such an event at all; it is left out where it would. */
const writeReport = (reply: RespWriter, report: DryRunReport, warning: string | null): void =>
  writeFields(reply, {
    status: report.status,
    result: json(report.result),
    error: report.error === null ? null : toBytes(report.error),
    writes: report.writes.map(json),
    deletes: report.deletes.map(json),
    emits: report.emits.map(json),
    webhooks: report.webhooks.map(json),
    logs: report.logs.map(json),
    warms: report.warms.map(json),
    us: report.us.toFixed(1),
    fuel: report.fuel,
    bytes: report.bytes,
    ...(warning === null ? {} : { warning: toBytes(warning) })
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
  for (const { id, atMs, trigger, event, sequence, key, kind, count, message } of records) {
    writeFields(client.reply, {
      id,
      at_ms: atMs,
      trigger,
      event,
      sequence,
      key,
      kind,
      count,
      message: toBytes(message)
    })
  }
}

/**
 * The engine; answers an error where the server has none. What is asked of it compiles, runs Lua or looks at all triggers:
 * the clock is looked at behind each such command.
 */
const enginePort = (client: Client): TriggerPort | undefined => {
  const { triggers } = client
  client.server.turns.count(workPerLook)
  if (triggers === undefined) client.fail(RespError.noTriggers)
  return triggers
}

const eventNamed = (text: string): TriggerEventName | undefined =>
  triggerEventNames.find((name) => name === text.toUpperCase())

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
          reach: "acting",
          syntax:
            "<name> <pattern> <EVENT>[,<EVENT>...] [TIMEOUT <us>] [MEMORY <bytes>] [PRIORITY <n>] [WHEN CHANGED] [SAMPLE <n>] [INCLUDE fill|flush] [SCOPE local|all] [FAILCLOSED] [ISOLATE] [DISABLED] <source>",
          summary: "Registers a trigger, or replaces the one of that name.",
          since: "mimosa",
          run: setTrigger
        },
        {
          name: "register",
          arity: -5,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "<pattern> <EVENT>[,<EVENT>...] [options of SET] <source>",
          summary: "Registers a trigger under a name made from pattern and events, and returns it.",
          since: "mimosa",
          run: registerTrigger
        },
        {
          name: "enable",
          arity: 3,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "<name>",
          summary: "Has a disabled or quarantined trigger run again.",
          since: "mimosa",
          run: enableTrigger(true)
        },
        {
          name: "disable",
          arity: 3,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "<name>",
          summary: "Has a trigger run on nothing until it is enabled.",
          since: "mimosa",
          run: enableTrigger(false)
        },
        {
          name: "versions",
          arity: 3,
          flags: ["admin", "no_multi"],
          reach: "own",
          syntax: "<name>",
          summary: "Returns the versions of a trigger that are kept, newest first.",
          since: "mimosa",
          run: triggerVersions
        },
        {
          name: "rollback",
          arity: -3,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "<name> [<version>]",
          summary: "Has an earlier version run again; returns its number.",
          since: "mimosa",
          run: rollbackTrigger
        },
        {
          name: "shadow",
          arity: -4,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "<name> [options of SET] <source>|DROP|PROMOTE",
          summary: "Runs a version beside the live one, and drops all that it would do.",
          since: "mimosa",
          run: shadowTrigger
        },
        {
          name: "list",
          arity: -2,
          flags: ["admin"],
          reach: "own",
          syntax: "[<glob>]",
          summary: "Returns the triggers, one array of fields and values each.",
          since: "mimosa",
          run: listTriggers
        },
        {
          name: "info",
          arity: 3,
          flags: ["admin"],
          reach: "own",
          syntax: "<name>",
          summary: "Returns everything about a trigger: limits, runs, errors by kind, microseconds, source.",
          since: "mimosa",
          run: triggerInfo
        },
        {
          name: "graph",
          arity: 2,
          flags: ["admin"],
          reach: "own",
          summary: "Returns which triggers set off which, and their cycles, as JSON.",
          since: "mimosa",
          run: triggerGraph
        },
        {
          name: "del",
          arity: 3,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "<name>",
          summary: "Removes a trigger; returns 1 when it was there.",
          since: "mimosa",
          run: removeTrigger
        },
        {
          name: "remove",
          arity: 3,
          flags: ["admin", "no_multi"],
          reach: "acting",
          syntax: "<name>",
          summary: "Removes a trigger; returns 1 when it was there.",
          since: "mimosa",
          run: removeTrigger
        },
        {
          name: "test",
          arity: -5,
          flags: ["admin"],
          reach: "acting",
          syntax:
            "<name>|SOURCE <source>|<name> SOURCE <source> <EVENT> <key> <value> [OLD <value>] [META <json>]|HISTORY <n>",
          summary: "Runs a trigger on a made-up event, or on the last ones that happened, and shows what it would do.",
          since: "mimosa",
          run: testTrigger
        },
        {
          name: "log",
          arity: -2,
          flags: ["admin"],
          reach: "own",
          syntax: "[<count>]",
          summary: "Returns what failed and what did not run, newest first.",
          since: "mimosa",
          run: triggerLog
        }
      ]
    }
  ]
}
