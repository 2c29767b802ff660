/** What commands answer, on stdout. */
import { visible } from "./visible.ts"

/** Text as it is, anything else as JSON. */
export const print = (answer: unknown): void => {
  process.stdout.write(`${typeof answer === "string" ? answer : JSON.stringify(answer, null, 2)}\n`)
}

/** Rows in columns, with a head; cells are cut to one line each. */
export const table = (head: readonly string[], rows: ReadonlyArray<readonly unknown[]>): string => {
  const cells = [head, ...rows.map((row) => row.map(cell))]
  const widths = head.map((_, column) => Math.max(...cells.map((row) => (row[column] as string).length)))
  return cells
    .map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column] as number))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

const cell = (value: unknown): string => {
  const text = visible(String(value ?? "-").replace(/\s+/g, " "))
  return text.length > cellMax ? `${text.slice(0, cellMax - 3)}...` : text
}

const cellMax = 100 // characters; a message stays readable, a key of a kilobyte does not widen the table for all
