/** What `--help` prints, made from the commands' rows. */
import type { CommandRow } from "./Command.ts"
import { commands } from "./commands.ts"
import type { OptionRow } from "./Option.ts"

/** The page for a command, for a group of commands (`["trigger"]`), or for `mimosa` itself (`[]`). */
export const helpOf = (path: readonly string[]): string => {
  const row = commands.find((row) => row.path.join(" ") === path.join(" "))
  return row === undefined ? groupPage(path) : commandPage(row)
}

const groupPage = (path: readonly string[]): string => {
  const within = commands.filter((row) => path.every((word, at) => row.path[at] === word))
  const name = ["mimosa", ...path].join(" ")
  const about =
    path.length === 0 ? "Mimosa: the cache that reacts when it is touched." : (groups[path[0] as string] ?? "")
  const rows = within.map((row): Row => [["mimosa", ...row.path].join(" "), row.summary])
  return [
    about,
    "",
    `Usage: ${name} <command> [options]`,
    "",
    ...columns(rows),
    "",
    `${name} <command> --help tells more.`
  ].join("\n")
}

/** What a group of commands is about. */
const groups: Readonly<Record<string, string>> = {
  trigger: "Triggers: Lua functions that run when a key is touched.",
  coherence: "Coherence: the instances of one namespace, which share their keys."
}

const commandPage = (row: CommandRow): string => {
  const name = ["mimosa", ...row.path].join(" ")
  const options = Object.values(row.options)
  const blocks = [
    [row.summary],
    row.usage.map((usage, at) => `${at === 0 ? "Usage:" : "      "} ${name} ${usage}`),
    columns(row.arguments.map(({ name, meaning }): Row => [name, meaning])),
    columns(options.map((option): Row => [optionName(option), `${option.meaning}${origin(option)}`])),
    row.notes
  ]
  return blocks
    .filter((block) => block.length > 0)
    .map((block) => block.join("\n"))
    .join("\n\n")
}

const optionName = ({ name, placeholder }: OptionRow<unknown>): string =>
  placeholder === null ? `--${name}` : `--${name} ${placeholder}`

const origin = ({ byDefault, variable }: OptionRow<unknown>): string => {
  const facts = [byDefault === "" ? "" : `default ${byDefault}`, variable ?? ""].filter((fact) => fact !== "")
  return facts.length === 0 ? "" : ` (${facts.join("; ")})`
}

type Row = readonly [left: string, right: string]

const columns = (rows: readonly Row[]): string[] => {
  const width = Math.max(0, ...rows.map(([left]) => left.length))
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`)
}
