/** Replies of fields and values: a map, which clients of RESP2 see as a flat array. */
import type { RespWriter } from "./RespWriter.ts"

export type Field = string | number | null | readonly string[]
export type Fields = Readonly<Record<string, Field>>

/** Bytes as bulks, whole numbers as integers, null as nil, lists as arrays of bulks. */
export const writeFields = (reply: RespWriter, fields: Fields): void => {
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

export const prefixed = (prefix: string, fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [prefix + name, value]))
