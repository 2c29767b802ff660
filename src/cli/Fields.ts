/** What a server answers where it means maps, and how it is shown to people. */
import { table } from "./print.ts"
import type { Reply } from "./RespClient.ts"
import { visible } from "./visible.ts"

export type Fields = Readonly<Record<string, Reply>>

/** A flat list of fields and values, as servers answer maps over RESP2. */
export const recordOf = (reply: Reply): Fields => {
  const list = reply as readonly Reply[]
  return Object.fromEntries(
    Array.from({ length: list.length / 2 }, (_, at) => [list[2 * at] as string, list[2 * at + 1] as Reply])
  )
}

export const recordsOf = (reply: Reply): readonly Fields[] => (reply as readonly Reply[]).map(recordOf)

/** Fractions come as text over the wire: microseconds are numbers again. */
export const withNumbers = (fields: Fields): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, name.startsWith("us_") ? Number(value) : value])
  )

/** One fact a line; lists one item a line, and not at all when they are empty. */
export const factsOf = (facts: Readonly<Record<string, unknown>>): string => {
  const width = Math.max(...Object.keys(facts).map((name) => name.length))
  return Object.entries(facts)
    .flatMap(([name, value]) => {
      const items = Array.isArray(value) ? value : value === null ? [] : [value]
      return items.map(
        (item) => `${name.padEnd(width)}  ${visible(typeof item === "string" ? item : JSON.stringify(item))}`
      )
    })
    .join("\n")
}

/** These fields of the records as columns, under their names. */
export const tableOf = (
  columns: readonly string[],
  records: ReadonlyArray<Readonly<Record<string, unknown>>>
): string =>
  table(
    columns.map((column) => column.toUpperCase()),
    records.map((record) => columns.map((column) => record[column]))
  )

export const timeOf = (atMs: unknown): string => new Date(Number(atMs)).toISOString()
