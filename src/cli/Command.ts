/**
 * A command as data: its name, arguments and options, from which the parser and the help are made, and what it does.
 */
import { CliError } from "./CliError.ts"
import type { OptionRow } from "./Option.ts"

/** The words that follow a command, options apart. */
export interface ArgumentRow {
  /** As help shows it: `<name>`, `[count]`. */
  readonly name: string
  readonly meaning: string
}

export type OptionRows = Readonly<Record<string, OptionRow<unknown>>>

/** What the options were read to. */
export type OptionValues<Rows extends OptionRows> = {
  readonly [Field in keyof Rows]: Rows[Field] extends OptionRow<infer A> ? A : never
}

export interface CommandRow {
  /** `["trigger", "set"]` */
  readonly path: readonly string[]
  readonly summary: string
  readonly arguments: readonly ArgumentRow[]
  /** The ways to use it, behind its name; one that lists the arguments where they are enough to say it. */
  readonly usage: readonly string[]
  /** How many arguments there may be, where that does not follow from their brackets. */
  readonly argumentsMin: number
  readonly options: OptionRows
  /** Lines below the options: what cannot be said in one of them, and examples. */
  readonly notes: readonly string[]
  /** Loads what it needs when it is called. Rejects with a `CliError` when it cannot do what it was asked. */
  readonly run: (values: never, args: readonly string[]) => Promise<void>
}

export const command = <const Rows extends OptionRows>(row: {
  readonly path: string
  readonly summary: string
  readonly arguments?: readonly ArgumentRow[]
  readonly usage?: readonly string[]
  readonly argumentsMin?: number
  readonly options: Rows
  readonly notes?: readonly string[]
  readonly run: (values: OptionValues<Rows>, args: readonly string[]) => Promise<void>
}): CommandRow => {
  const rows = row.arguments ?? []
  return {
    ...row,
    path: row.path.split(" "),
    arguments: rows,
    usage: row.usage ?? [[...rows.map(({ name }) => name), "[options]"].join(" ")],
    argumentsMin: row.argumentsMin ?? rows.filter(({ name }) => !name.startsWith("[")).length,
    notes: row.notes ?? []
  }
}

/** What is wrong with a command line, in one line. */
export class Mistake {
  constructor(readonly message: string) {}
}

/** A command line taken apart: the texts of every option by its name (a flag has one that is empty), and the rest. */
export interface Parsed {
  readonly options: ReadonlyMap<string, readonly string[]>
  readonly args: readonly string[]
}

/**
 * Takes the words behind a command's path apart. `--name value`, `--name=value`, options anywhere, and `--` before words
 * that only look like options. A single dash begins a value (`-5`), never an option.
 */
export const parse = (row: CommandRow, words: readonly string[]): Parsed | Mistake => {
  const name = `mimosa ${row.path.join(" ")}`
  const rows = new Map(Object.values(row.options).map((option) => [option.name, option]))
  const options = new Map<string, string[]>()
  const args: string[] = []
  for (let at = 0; at < words.length; at++) {
    const word = words[at] as string
    if (word === "--") {
      args.push(...words.slice(at + 1))
      break
    }
    if (!word.startsWith("--")) {
      args.push(word)
      continue
    }
    const [option, given] = splitOnce(word.slice(2), "=")
    const found = rows.get(option)
    if (found === undefined) return new Mistake(`${name} has no option --${option}; ${name} --help shows what there is`)
    const texts = options.get(option)
    if (texts !== undefined && !found.isRepeatable) return new Mistake(`--${option} was given twice`)
    if (found.placeholder === null && given !== undefined) return new Mistake(`--${option} takes no value`)
    const text = found.placeholder === null ? "" : (given ?? words[++at])
    if (text === undefined) return new Mistake(`--${option} takes a value: --${option} ${found.placeholder}`)
    options.set(option, [...(texts ?? []), text])
  }
  if (args.length < row.argumentsMin) {
    return new Mistake(`${name} takes ${namesOf(row)}; ${missing(row, args.length)} is missing`)
  }
  if (args.length > row.arguments.length) {
    const takes = row.arguments.length === 0 ? "no arguments" : namesOf(row)
    return new Mistake(`${name} takes ${takes}, and got ${args.length}; quote what has spaces in it`)
  }
  return { options, args }
}

/** Reads the options, what is not given from the environment, and runs the command. */
export const run = async (row: CommandRow, { options, args }: Parsed): Promise<void> => {
  const values: Record<string, unknown> = {}
  for (const [field, option] of Object.entries(row.options)) {
    const value = readOption(option, options.get(option.name) ?? [])
    if (value instanceof CliError) throw value
    values[field] = value
  }
  for (const option of Object.values(row.options)) {
    if (options.has(option.name)) refuseUseless(option, row.options, values, options)
  }
  await row.run(values as never, args)
}

const readOption = (option: OptionRow<unknown>, given: readonly string[]): unknown => {
  if (given.length > 0 || option.variable === null) return option.read(given, `--${option.name}`)
  const text = process.env[option.variable] || undefined // set, but empty: as good as not set
  return option.read(text === undefined ? [] : [text], option.variable)
}

/** Throws where an option would be ignored, which nobody who gives it can want. */
const refuseUseless = (
  { name, needs }: OptionRow<unknown>,
  rows: OptionRows,
  values: Readonly<Record<string, unknown>>,
  given: Parsed["options"]
): void => {
  for (const [field, need] of Object.entries(needs)) {
    const other = rows[field] as OptionRow<unknown>
    if (need === "any") {
      if (values[field] !== undefined) continue
      throw new CliError(`--${name} does nothing without --${other.name} ${other.placeholder}, which is missing`)
    }
    if (values[field] === need.only) continue
    const source = given.has(other.name) ? `--${other.name}` : other.variable
    throw new CliError(`--${name} is for --${other.name} ${need.only} alone, and ${source} says something else`)
  }
}

const namesOf = (row: CommandRow): string => row.arguments.map(({ name }) => name).join(" ")

const missing = (row: CommandRow, count: number): string => {
  const required = row.arguments.filter(({ name }) => !name.startsWith("["))
  return required
    .slice(count)
    .map(({ name }) => name)
    .join(" ")
}

const splitOnce = (text: string, separator: string): [string, string | undefined] => {
  const at = text.indexOf(separator)
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)]
}

/** An argument that is a whole number of zero or more, as the server takes it. */
export const wholeNumber = (text: string, what: string): string => {
  if (/^\d{1,15}$/.test(text)) return text
  throw new CliError(`${what} is a whole number, not '${text.slice(0, 40)}'`)
}
