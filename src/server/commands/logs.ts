/**
 * LOGS: what triggers have logged, stream by stream. Mimosa's own.
 */
import { parseNumber } from "../../cache/Int64.ts"
import { lossyText, toBytes } from "../../cache/Values.ts"
import { linesReadDefault } from "../../triggers/LogStreams.ts"
import type { Client } from "../Client.ts"
import type { CommandFamily, Handler } from "../Command.ts"
import { RespError } from "../RespError.ts"
import type { TriggerPort } from "./TriggerPort.ts"

/** LOGS: the streams. LOGS stream [AFTER number] [COUNT count]: its lines, oldest first. */
const logsCommand: Handler = (client, args) => {
  const { triggers } = client
  if (triggers === undefined) return client.fail(RespError.noTriggers)
  if (args.length === 1) return writeStreams(client, triggers)
  const asked: { after?: number; count?: number } = {}
  for (let at = 2; at < args.length; at += 2) {
    const option = (args[at] as string).toLowerCase()
    if (option !== "after" && option !== "count") return client.fail(RespError.syntax)
    const text = args[at + 1]
    if (text === undefined) return client.fail(RespError.syntax)
    const value = parseNumber(text)
    if (value === undefined) return client.fail(RespError.notInteger)
    if (value < 0) return client.fail(RespError.notPositive)
    asked[option] = value
  }
  writeLines(client, triggers.logs.read(lossyText(args[1] as string), asked))
}

const writeStreams = ({ reply }: Client, { logs }: TriggerPort): void => {
  const streams = logs.list()
  reply.array(streams.length)
  for (const { stream, lines, bytes, first, last, dropped, lastAtMs } of streams) {
    reply.map(7)
    reply.bulk("stream")
    reply.bulk(toBytes(stream))
    const counts = { lines, bytes, first, last, dropped, last_at_ms: lastAtMs }
    for (const [name, count] of Object.entries(counts)) {
      reply.bulk(name)
      reply.integer(count)
    }
  }
}

const writeLines = ({ reply }: Client, lines: ReturnType<TriggerPort["logs"]["read"]>): void => {
  reply.array(lines.length)
  for (const { number, atMs, stream, message, fields, trigger, event, key, cascade } of lines) {
    reply.map(9)
    reply.bulk("number")
    reply.integer(number)
    reply.bulk("at_ms")
    reply.integer(atMs)
    const texts = { stream, message, fields, trigger, event, cascade }
    for (const [name, text] of Object.entries(texts)) {
      reply.bulk(name)
      if (text === null) reply.nil()
      else reply.bulk(toBytes(text))
    }
    reply.bulk("key")
    reply.bulk(key)
  }
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
