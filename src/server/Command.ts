/**
 * Commands as data: one row says what a command is called, how many arguments it takes, where its keys stand, what
 * kind of command it is, and what runs it. COMMAND, HELP and the documentation are read off these rows.
 */
import type { FillScope } from "../cache/Fills.ts"
import type { Client } from "./Client.ts"
import { RespError } from "./RespError.ts"

/**
 * Runs a command that has the right number of arguments (`args[0]` is its name) and writes its reply to `client.reply`.
 *
 * Nearly all answer before they return. One that has to wait returns a promise, which does not reject: its connection
 * runs nothing else until it is answered, others go on. Such a command carries the flag "no_multi".
 */
export type Handler = (client: Client, args: readonly string[]) => Promise<void> | void

/**
 * A command of several changes that are one: what reacts to them sees all of them done, within one budget (law 7). Only
 * for what answers before it returns.
 */
export const asOne =
  (run: (client: Client, args: readonly string[]) => void): Handler =>
  (client, args) => {
    const { keyspace } = client
    const wasHeld = keyspace.hold()
    try {
      run(client, args)
    } finally {
      keyspace.release(wasHeld)
    }
  }

/** Redis' words for kinds of commands, as COMMAND INFO shows them. */
export type CommandFlag =
  | "write"
  | "readonly"
  | "denyoom"
  | "admin"
  | "pubsub"
  | "noscript"
  | "loading"
  | "stale"
  | "fast"
  | "movablekeys"
  | "allow_busy"
  | "no_auth"
  | "no_multi"

/**
 * What a command without keys reaches, where a connection acts as a tenant. With keys there is nothing to say: they are
 * the tenant's own.
 *
 * - `own`: the connection itself, or what is the tenant's. Tenants may say it.
 * - `acting`: what is the tenant's, but only an operator who acts as the tenant may say it.
 * - `operator`: what is everybody's or somebody else's. It is refused.
 */
export type TenantReach = "own" | "acting" | "operator"

export interface CommandRow {
  /** Lower case; that of a subcommand without its container's. */
  readonly name: string
  /** Number of arguments with the name (and the container's name); negative for "at least". */
  readonly arity: number
  readonly flags: readonly CommandFlag[]
  /** Position of the first key, of the last (negative: counted from the end), and the step; absent without keys. */
  readonly keys?: readonly [first: number, last: number, step: number]
  /** Where its keys are looked for before it runs, if they are not here; absent for what ignores what was there. */
  readonly fills?: FillScope | ((args: readonly string[]) => FillScope | undefined)
  /** Has to be given where there are no `keys`, except for containers that only choose a subcommand. */
  readonly reach?: TenantReach
  /** The arguments as HELP shows them. */
  readonly syntax?: string
  readonly summary: string
  /** The version of Redis that had it first, or "mimosa" for what Redis has not. */
  readonly since: string
  /** Absent for containers: their first argument chooses a subcommand. */
  readonly run?: Handler
  readonly subcommands?: readonly CommandRow[]
}

/** The commands of one kind, named as Redis names its groups. */
export interface CommandFamily {
  readonly group: string
  readonly commands: readonly CommandRow[]
}

/** A row made ready to be run. */
export class Command {
  readonly subcommands: ReadonlyMap<string, Command>
  readonly isAllowedWhenSubscribed: boolean
  /** Runs at once in a transaction, too. */
  readonly isNeverQueued: boolean
  readonly isAllowedWithoutPassword: boolean
  readonly isAllowedInTransaction: boolean
  readonly keys: readonly [first: number, last: number, step: number]
  readonly reach: TenantReach
  readonly arity: number
  /** `config|get` for a subcommand. */
  readonly fullName: string
  readonly run: Handler
  private readonly isExact: boolean
  private readonly arityMin: number
  private readonly argumentsMax: number

  constructor(
    readonly row: CommandRow,
    readonly group: string,
    container: Command | undefined
  ) {
    this.fullName = container === undefined ? row.name : `${container.row.name}|${row.name}`
    this.arity = row.arity
    this.isExact = row.arity >= 0
    this.arityMin = Math.abs(row.arity)
    this.keys = row.keys ?? [0, 0, 0]
    this.reach = reachOf(row, this.fullName)
    this.argumentsMax = this.keys[1] < 0 ? Number.POSITIVE_INFINITY : argumentsMax
    this.isAllowedWhenSubscribed = whenSubscribed.has(row.name)
    this.isNeverQueued = neverQueued.has(row.name)
    this.isAllowedWithoutPassword = row.flags.includes("no_auth")
    this.isAllowedInTransaction = !row.flags.includes("no_multi")
    const rows = row.subcommands === undefined ? [] : [...row.subcommands, helpRow(row.name, row.subcommands)]
    this.subcommands = new Map(rows.map((each) => [each.name, new Command(each, group, this)]))
    // A container that is given no subcommand lacks an argument, unless it has a meaning of its own (COMMAND).
    this.run = row.run ?? ((client) => client.reply.error(RespError.arity(row.name)))
  }

  accepts(argumentCount: number): boolean {
    if (this.isExact) return argumentCount === this.arityMin
    return argumentCount >= this.arityMin && argumentCount <= this.argumentsMax
  }

  /** Why it does not accept so many. */
  refusalOf(argumentCount: number): string {
    if (argumentCount <= this.argumentsMax) return RespError.arity(this.fullName)
    return RespError.tooManyArguments(this.fullName, this.argumentsMax)
  }

  /** Where its keys have to be brought from before it runs; undefined for nowhere. */
  fillScope(args: readonly string[]): FillScope | undefined {
    const { fills } = this.row
    return typeof fills === "function" ? fills(args) : fills
  }

  /** The keys among the arguments. */
  keysOf(args: readonly string[]): string[] {
    const [first, , step] = this.keys
    if (first === 0) return []
    const end = this.lastKeyAt(args)
    const keys: string[] = []
    for (let i = first; i <= end; i += step) keys.push(args[i] as string)
    return keys
  }

  /** Where the last key stands at the latest, of a command that has keys. */
  lastKeyAt(args: readonly string[]): number {
    const last = this.keys[1]
    return Math.min(last < 0 ? args.length + last : last, args.length - 1)
  }
}

export class CommandTable {
  /** Every command by its lower-case name, in the order of the families. */
  readonly commands: ReadonlyMap<string, Command>
  /** The same under the two spellings that clients use, so that finding one folds no case. */
  private readonly bySpelling = new Map<string, Command>()

  constructor(families: readonly CommandFamily[]) {
    const commands = new Map<string, Command>()
    for (const { group, commands: rows } of families) {
      for (const row of rows) {
        if (commands.has(row.name)) throw new Error(`command '${row.name}' has two rows`)
        const command = new Command(row, group, undefined)
        commands.set(row.name, command)
        this.bySpelling.set(row.name, command)
        this.bySpelling.set(row.name.toUpperCase(), command)
      }
    }
    this.commands = commands
  }

  /** O(1); any mix of cases. */
  find(name: string): Command | undefined {
    return this.bySpelling.get(name) ?? this.commands.get(name.toLowerCase())
  }
}

/** HELP, which every container has: read off its rows, in Redis' form. */
const helpRow = (container: string, rows: readonly CommandRow[]): CommandRow => {
  const lines = [`${container.toUpperCase()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`]
  const add = (name: string, syntax: string | undefined, summary: string) =>
    lines.push(syntax === undefined ? name.toUpperCase() : `${name.toUpperCase()} ${syntax}`, `    ${summary}`)
  for (const row of rows) add(row.name, row.syntax, row.summary)
  add("help", undefined, "Prints this help.")
  return {
    name: "help",
    arity: 2,
    flags: ["loading", "stale"],
    reach: "own",
    summary: "Prints this help.",
    since: "5.0.0",
    run: ({ reply }) => {
      reply.array(lines.length)
      for (const line of lines) reply.simple(line)
    }
  }
}

/** A command that nobody has thought about is not one that tenants may use. */
const reachOf = ({ reach, keys, run }: CommandRow, fullName: string): TenantReach => {
  if (reach !== undefined) return reach
  if (keys === undefined && run !== undefined) throw new Error(`command '${fullName}' does not say what it reaches`)
  return "own"
}

/** Arguments of a command that is done in one turn; those over many keys have limits of their own. Some 10 to 100 ms. */
const argumentsMax = 65_536
const whenSubscribed = new Set(["subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ping", "quit", "reset"])
const neverQueued = new Set(["multi", "exec", "discard", "quit", "reset"])
