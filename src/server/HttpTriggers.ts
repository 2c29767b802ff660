/**
 * Triggers and what they log, as JSON for the HTTP API. Field names are those of the library (`timeoutUs`, `atMs`).
 *
 * What is tried by `POST /v1/triggers/test` is a JSON object: `name` of a trigger, or `source`, or both for another
 * source in a trigger's place; and either the event (`event`, `key`, `value`, `oldValue`, `metadata`, `tags`, `cost`)
 * or `history`, the number of the last events that happened, of which as many are tried as 50 ms of computing suffice
 * for: the answer's `cut` says what was left out. A value that is a string is the bytes that SET stores, any other is
 * structured data.
 */
import { Effect } from "effect"
import { Process } from "../actor/index.ts"
import { InvalidValue } from "../cache/CacheError.ts"
import { asText, toBytes, toJson, toMetadata, toValue } from "../cache/Values.ts"
import type { Nested, ValueObject } from "../kernel/index.ts"
import type { DryRunReport, TestEvent } from "../triggers/DryRun.ts"
import { historyMax } from "../triggers/History.ts"
import {
  optionsDefault,
  type RegisteredTrigger,
  type TriggerEventName,
  type TriggerInput,
  triggerEventNames
} from "../triggers/Trigger.ts"
import { HistoryOff, TriggerNotFound, type TriggerSyntaxError } from "../triggers/TriggerError.ts"
import type { TestSubject } from "../triggers/Triggers.ts"
import type { TriggerPort } from "./commands/TriggerPort.ts"
import { jsonText, refusal } from "./HttpAnswer.ts"
import { brief, countAskedFor, linesAskedFor, objectOf } from "./HttpInput.ts"
import type { Asked, Response } from "./HttpRoute.ts"
import { saved } from "./HttpTenants.ts"

/** What the API asks of the engine. */
export type HttpTriggers = Pick<
  TriggerPort,
  "forTenant" | "list" | "info" | "warnings" | "graph" | "set" | "remove" | "test" | "testHistory" | "log" | "logs"
>

/**
 * All triggers with their figures; their sources are in TRIGGER INFO alone, for together they may have 32 MiB. It is
 * written over as many rounds of the event loop as it takes: ten thousand triggers are a tenth of a second.
 */
export const list = (triggers: HttpTriggers): Effect.Effect<Response> =>
  Effect.gen(function* () {
    const texts: string[] = []
    for (const trigger of triggers.list()) {
      if (texts.length > 0 && texts.length % listedPerRound === 0) yield* Process.nextTurn
      texts.push(textOf(shown(trigger)))
    }
    return jsonText(`[${texts.join(",")}]`)
  })

const listedPerRound = 100 // triggers; 2 ms, as long as a client's turn

const shown = ({ source: _, shadow, ...trigger }: RegisteredTrigger) => {
  if (shadow === null) return { ...trigger, shadow }
  const { source: __, ...figures } = shadow
  return { ...trigger, shadow: figures }
}

/** A trigger whole, with its sources. */
export const one = (triggers: HttpTriggers, name: string): Response => {
  const trigger = triggers.info(name)
  if (trigger === undefined) return refusal(404, new TriggerNotFound({ trigger: brief(name) }).message)
  return ok({ ...trigger, warnings: triggers.warnings(name) })
}

/** Registers it; the answer is the trigger as `one` shows it. */
export const set = (triggers: HttpTriggers, asked: Asked, input: TriggerInput): Effect.Effect<Response> =>
  saved(asked, triggers.set(input), ({ name }) => one(triggers, name))

export const remove = (triggers: HttpTriggers, asked: Asked, name: string): Effect.Effect<Response> =>
  saved(asked, triggers.remove(name), (removed) => ok({ removed }))

/** What failed and what did not run, newest first. */
export const log = (triggers: HttpTriggers, search: URLSearchParams): Response => {
  const which = countAskedFor(search)
  if (typeof which === "string") return refusal(400, which)
  return ok(triggers.log(which ?? recordsDefault).map((record) => ({ ...record, key: asText(record.key) })))
}

const recordsDefault = 10 // as TRIGGER LOG answers

export const graph = (triggers: HttpTriggers): Response => ok(triggers.graph())

/** The log streams by name. */
export const streams = ({ logs }: HttpTriggers): Response => ok(logs.list())

/**
 * Lines of a stream, oldest first: the first `count` behind number `after`, or the last `count`. A stream in which
 * nothing has been logged has none, so whoever asks again and again may begin before the first line.
 */
export const lines = ({ logs }: HttpTriggers, stream: string, search: URLSearchParams): Response => {
  const which = linesAskedFor(search)
  if (typeof which === "string") return refusal(400, which)
  const read = logs.read(stream, which)
  const info = logs.list().find((each) => each.stream === stream)
  return ok({
    stream,
    first: info?.first ?? 0,
    last: info?.last ?? 0,
    dropped: info?.dropped ?? 0,
    lines: read.map(({ fields, key, ...line }) => ({
      ...line,
      fields: fields === null ? null : JSON.parse(fields),
      key: asText(key)
    }))
  })
}

/** A dry run, of what `body` says. Changes nothing. */
export const test = (triggers: HttpTriggers, body: string): Response => {
  const question = questionOf(body)
  if (typeof question === "string") return refusal(400, question)
  const { subject, event, history } = question
  if (event !== undefined) {
    const report = triggers.test(subject, event)
    return "_tag" in report ? refused(report) : ok(rounded(report))
  }
  const report = triggers.testHistory(subject, history)
  if ("_tag" in report) return refused(report)
  const { events, matched, runs, sum, current, cut } = report
  return ok({
    events,
    matched,
    differ: current === null ? null : runs.filter((run) => run.current !== null).length,
    sum,
    current,
    cut,
    runs: runs.map(({ sequence, event, key, report, current }) => ({
      ...{ sequence, event, key },
      ...rounded(report),
      current: current === null ? null : rounded(current)
    }))
  })
}

const rounded = <Report extends DryRunReport>(report: Report): Report => ({
  ...report,
  us: Math.round(report.us * 10) / 10
})

type Question = { readonly subject: TestSubject } & (
  | { readonly event: TestEvent; readonly history?: never }
  | { readonly event?: never; readonly history: number }
)

/** What a body asks; or what is wrong with it. */
const questionOf = (body: string): Question | string => {
  const fields = objectOf(body, known)
  if (typeof fields === "string") return fields
  const { name, source, history } = fields
  if (name === undefined && source === undefined) return "give name, the trigger's, or source, or both"
  for (const [field, value] of Object.entries({ name, source })) {
    if (value !== undefined && typeof value !== "string") return `${field} is a text`
  }
  const subject = {
    ...(name === undefined ? {} : { name }),
    ...(source === undefined ? {} : { source })
  } as TestSubject
  if (history === undefined) {
    const event = eventOf(fields)
    return typeof event === "string" ? event : { subject, event }
  }
  const others = ofEvent.filter((field) => fields[field] !== undefined)
  if (others.length > 0) return `history is about events that happened; leave out ${others.join(", ")}`
  if (!Number.isSafeInteger(history) || (history as number) < 1) {
    return `history is a whole number from 1; the log has the last ${historyMax} events`
  }
  return { subject, history: history as number }
}

/** The trigger that a body defines; or what is wrong with its form. What its fields may say, the engine knows. */
export const inputOf = (name: string, body: string): TriggerInput | string => {
  const fields = objectOf(body, defining)
  if (typeof fields === "string") return fields
  for (const field of ["pattern", "source"]) {
    if (typeof fields[field] !== "string") return `give ${field}, a text`
  }
  const { events } = fields
  if (!Array.isArray(events) || events.some((event) => typeof event !== "string")) {
    return `events is a list of ${triggerEventNames.join(", ")}`
  }
  for (const [field, byDefault] of Object.entries(optionsDefault)) {
    const value = fields[field]
    if (value !== undefined && typeof value !== typeof byDefault) return `${field} is ${kinds[typeof byDefault]}`
  }
  return { ...fields, name } as unknown as TriggerInput
}

const defining = ["pattern", "events", "source", ...Object.keys(optionsDefault)]
const kinds: Readonly<Record<string, string>> = { number: "a number", boolean: "true or false", string: "a text" }

/** The event that a body makes up; or what is wrong with it. */
const eventOf = (fields: Readonly<Record<string, unknown>>): TestEvent | string => {
  const { event: given, key = "", value = "", oldValue, metadata, tags = [], cost = 0 } = fields
  const event = triggerEventNames.find((name) => name === given) as TriggerEventName | undefined
  if (event === undefined) return `event is one of ${triggerEventNames.join(", ")}; or give history, a number of events`
  if (typeof key !== "string") return "key is a text"
  if (fields.key === undefined && event !== "ON_FLUSH") return "give key, which the event is about"
  if (!Array.isArray(tags) || tags.some((tag) => typeof tag !== "string")) return "tags is a list of texts"
  if (typeof cost !== "number" || cost < 0) return "cost is a number of zero or more"
  const [now, old] = [toValue(value), oldValue === undefined ? undefined : toValue(oldValue)]
  if (now instanceof InvalidValue) return `value: ${now.reason}`
  if (old instanceof InvalidValue) return `oldValue: ${old.reason}`
  const meta = metadata === undefined ? undefined : toMetadata(metadata)
  if (meta instanceof InvalidValue) return `metadata: ${meta.reason}`
  return {
    event,
    key: toBytes(key),
    value: now,
    ...(old === undefined ? {} : { oldValue: old }),
    ...(meta === undefined ? {} : { metadata: meta }),
    tags: tags.map(toBytes),
    cost
  }
}

const ofEvent = ["event", "key", "value", "oldValue", "metadata", "tags", "cost"]
const known = ["name", "source", "history", ...ofEvent]

const refused = (error: TriggerNotFound | TriggerSyntaxError | HistoryOff): Response => {
  if (error instanceof TriggerNotFound) return refusal(404, error.message)
  if (error instanceof HistoryOff) return refusal(409, error.message)
  const { message, line, column } = error
  return refusal(400, message, { line, column })
}

/**
 * Plain data that may have the kernel's values in it, which JSON.stringify does not know (big integers, maps, bytes).
 */
const textOf = (value: object): string => toJson(value as Nested | ValueObject as Nested)

const ok = (value: object): Response => jsonText(textOf(value))
