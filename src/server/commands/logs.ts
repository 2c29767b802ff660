/**
 * LOGS: what triggers have logged, stream by stream. Mimosa's own.
 */
import { parseNumber } from "../../cache/Int64.ts"
import { lossyText, toBytes } from "../../cache/Values.ts"
import { linesReadDefault } from "../../scripting/LineRing.ts"
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { writeFields } from "../Fields.ts"
import { RespError } from "../RespError.ts"
import type { TriggerPort } from "./TriggerPort.ts"

/** LOGS: the streams. LOGS stream [AFTER number] [COUNT count]: its lines, oldest first. */
const logsCommand: Handler = (client, args) => {
  const { triggers } = client
  if (triggers === undefined) return client.fail(RespError.noTriggers)
  if (args.length === 1) return writeStreams(client, triggers)
  const asked = linesAskedFor(client, args)
  if (asked === undefined) return
  writeLines(client, triggers.logs.read(lossyText(args[1] as string), asked))
}

const writeStreams = ({ reply }: Client, { logs }: TriggerPort): void => {
  const streams = logs.list()
  reply.array(streams.length)
  for (const { stream, lines, bytes, first, last, dropped, lastAtMs } of streams) {
    writeFields(reply, { stream: toBytes(stream), lines, bytes, first, last, dropped, last_at_ms: lastAtMs })
  }
}

const writeLines = ({ reply }: Client, lines: ReturnType<TriggerPort["logs"]["read"]>): void => {
  reply.array(lines.length)
  for (const { number, atMs, stream, message, fields, trigger, event, key, cascade } of lines) {
    writeFields(reply, {
      number,
      at_ms: atMs,
      stream: toBytes(stream),
      message: bytesOrNil(message),
      fields: bytesOrNil(fields),
      trigger: toBytes(trigger),
      event,
      cascade: bytesOrNil(cascade),
      key
    })
  }
}

const bytesOrNil = (text: string | null): string | null => (text === null ? null : toBytes(text))

/** What stands behind the second argument: [AFTER number] [COUNT count]. Answers an error where it is neither. */
export const linesAskedFor = (
  client: Client,
  args: readonly string[]
): { readonly after?: number; readonly count?: number } | undefined => {
  const asked: { after?: number; count?: number } = {}
  for (let at = 2; at < args.length; at += 2) {
    const option = (args[at] as string).toLowerCase()
    const text = args[at + 1]
    if ((option !== "after" && option !== "count") || text === undefined) return void client.fail(RespError.syntax)
    const value = parseNumber(text)
    if (value === undefined) return void client.fail(RespError.notInteger)
    if (value < 0) return void client.fail(RespError.notPositive)
    asked[option] = value
  }
  return asked
}

/** Streams are named by text, whatever bytes a client sends: as `cache.log` reads them. */
export const logs: CommandFamily = {
  group: "trigger",
  commands: [
    {
      name: "logs",
      arity: -1,
      flags: ["admin"],
      reach: "own",
      syntax: "[<stream> [AFTER <number>] [COUNT <n>]]",
      summary: `Returns the log streams of triggers, or lines of one: the last ${linesReadDefault}, or the first behind a number.`,
      since: "mimosa",
      run: logsCommand
    }
  ]
}
