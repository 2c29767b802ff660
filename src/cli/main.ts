#!/usr/bin/env node
/**
 * The command `mimosa`: finds the command that is meant, runs it, and ends the process, with one line on stderr when
 * something is wrong.
 */
import { version } from "../version.ts"
import { CliError, exitDefect } from "./CliError.ts"
import { Mistake, parse, run } from "./Command.ts"
import { commands } from "./commands.ts"
import { helpOf } from "./help.ts"

const main = async (words: readonly string[]): Promise<number> => {
  const row = commands.find(({ path }) => path.every((word, at) => words[at] === word))
  const path = row?.path ?? groups.find((group) => group === words[0])?.split(" ") ?? []
  const rest = words.slice(path.length)
  const asked = rest.slice(0, rest.includes("--") ? rest.indexOf("--") : rest.length)
  if (asked.includes("--help") || asked.includes("-h") || words[0] === "help") return print(helpOf(path))
  if (path.length === 0 && asked.includes("--version")) return print(version)
  if (row === undefined) return rest.length === 0 ? print(helpOf(path)) : complain(unknown(path, rest[0] as string), 1)
  const parsed = parse(row, rest)
  if (parsed instanceof Mistake) return complain(parsed.message, 1)
  try {
    await run(row, parsed)
    return 0
  } catch (error) {
    if (error instanceof CliError) return complain(error.message, error.exitCode)
    return complain(error instanceof Error ? (error.stack ?? error.message) : String(error), exitDefect)
  }
}

const groups = [...new Set(commands.filter(({ path }) => path.length > 1).map(({ path }) => path[0] as string))]

const unknown = (path: readonly string[], word: string): string => {
  const name = ["mimosa", ...path].join(" ")
  const known = commands
    .filter((row) => path.every((part, at) => row.path[at] === part))
    .map((row) => row.path[path.length])
  return `${name} has no command '${word}'; there are ${[...new Set(known)].join(", ")}`
}

const print = (text: string): number => {
  process.stdout.write(`${text}\n`)
  return 0
}

const complain = (line: string, exitCode: number): number => {
  process.stderr.write(`mimosa: ${line}\n`)
  return exitCode
}

const exitCode = await main(process.argv.slice(2))
// What was written goes out first; then the end, whatever timer or socket is still there.
process.stdout.write("", () => process.exit(exitCode))
