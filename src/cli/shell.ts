/**
 * `mimosa shell`: a prompt for Redis commands, and for Lua that runs over several lines (`<<LUA … LUA`). Where stdin is
 * no terminal it runs what comes out of it, line by line, and ends with 1 when something was refused.
 */
import { readFile, writeFile } from "node:fs/promises"
import { homedir } from "node:os"
import { join } from "node:path"
import { clearLine, createInterface, cursorTo, type Interface } from "node:readline"
import type { Address } from "./Address.ts"
import { CliError } from "./CliError.ts"
import type { ReadReply } from "./RespReader.ts"
import { ShellConnection } from "./ShellConnection.ts"
import { NoWords, ShellInput } from "./ShellLine.ts"
import { rawReply, showReply } from "./showReply.ts"

export interface ShellOptions extends Address {
  readonly password: string | undefined
  /** Print replies without quotes, numbers and types. */
  readonly raw: boolean
}

export const shell = async (options: ShellOptions): Promise<void> => {
  process.stdout.on("error", () => process.exit(0)) // whoever read it has seen enough
  const session = new Session(options)
  await session.connect()
  if (process.stdin.isTTY && process.stdout.isTTY) await prompt(session, options)
  else await runLines(session)
}

/** The connection, which is made anew when it was lost, and what is printed of it. */
class Session {
  commands = 0
  errors = 0
  isInTransaction = false
  /** A command waits for its answer. */
  isWaiting = false
  private connection!: ShellConnection
  private readonly show: (reply: ReadReply) => string
  /** Prints what comes unasked; the prompt has to make room for it. */
  onStray: (text: string) => void = say

  constructor(private readonly options: ShellOptions) {
    this.show = options.raw ? rawReply : showReply
  }

  async connect(): Promise<void> {
    this.connection = await ShellConnection.open(this.options, (reply) => this.onStray(this.show(reply)))
    this.isInTransaction = false
  }

  /** Runs a command and prints its answer. */
  async run(words: readonly string[]): Promise<void> {
    this.commands++
    this.isWaiting = true
    try {
      if (this.connection.isClosed) await this.connect()
      const reply = await this.connection.send(words)
      this.note(words, reply)
      say(this.show(reply))
    } catch (error) {
      if (!(error instanceof CliError)) throw error
      this.refuse(error.message)
    } finally {
      this.isWaiting = false
    }
  }

  refuse(reason: string): void {
    this.errors++
    say(`(error) ${reason}`)
  }

  /** The names of all commands, for completion. */
  async names(): Promise<readonly string[]> {
    const reply = await this.connection.send(["COMMAND"])
    if (reply.kind !== "array") return []
    return reply.items.flatMap((row) =>
      row.kind === "array" && row.items[0]?.kind === "bulk" ? row.items[0].text.toUpperCase() : []
    )
  }

  /** Goes on printing messages, as long as there is something to be subscribed to. */
  async listen(): Promise<void> {
    if (this.connection.subscriptions > 0) await this.connection.closed()
  }

  close(): void {
    this.connection.close()
  }

  private note([name = ""]: readonly string[], reply: ReadReply): void {
    if (reply.kind === "error") this.errors++
    const command = name.toUpperCase()
    if (command === "MULTI" && reply.kind !== "error") this.isInTransaction = true
    if (command === "EXEC" || command === "DISCARD" || command === "RESET") this.isInTransaction = false
  }
}

const runLines = async (session: Session): Promise<void> => {
  const input = new ShellInput()
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
    const taken = input.take(line)
    if (taken === null) continue
    if (taken instanceof NoWords) {
      session.commands++
      session.refuse(taken.reason)
    } else if (isLeaving(taken)) break
    else if (!isHelp(taken)) await session.run(taken)
    else say(help)
  }
  await session.listen()
  session.close()
  if (input.ending !== null) throw new CliError(`the text is not ended: ${input.ending} is missing`)
  const { commands, errors } = session
  if (errors > 0) throw new CliError(`${errors} of ${commands} commands failed`)
}

const prompt = async (session: Session, { host, port }: ShellOptions): Promise<void> => {
  const input = new ShellInput()
  const names = await session.names().catch(() => [])
  const history = await loadHistory()
  const lines: Interface = createInterface({
    input: process.stdin,
    output: process.stdout,
    history,
    historySize: historyMax,
    removeHistoryDuplicates: true,
    completer: (line: string) => [names.filter((name) => name.startsWith(line.toUpperCase())), line]
  })
  let kept: readonly string[] = history
  lines.on("history", (all) => {
    kept = all.filter((line) => !secrets.test(line))
  })
  session.onStray = (text) => {
    cursorTo(process.stdout, 0)
    clearLine(process.stdout, 0)
    say(text)
    lines.prompt(true)
  }
  lines.on("SIGINT", () => {
    if (session.isWaiting) return session.close() // the next command connects anew
    if (lines.line === "" && input.ending === null) return lines.close()
    input.abandon()
    lines.write(null, { ctrl: true, name: "e" }) // to the end of the line, and away with it
    lines.write(null, { ctrl: true, name: "u" })
    ask()
  })
  const ask = () => {
    const transaction = session.isInTransaction ? "(TX)" : ""
    lines.setPrompt(input.ending === null ? `${host}:${port}${transaction}> ` : `${input.ending}> `)
    lines.prompt()
  }
  say(`Connected to ${host}:${port}. help tells more, Ctrl-D leaves.`)
  ask()
  for await (const line of lines) {
    const taken = input.take(line)
    if (taken instanceof NoWords) session.refuse(taken.reason)
    else if (taken !== null) {
      if (isLeaving(taken)) break
      if (isHelp(taken)) say(help)
      else if (taken.length === 1 && taken[0]?.toLowerCase() === "clear") console.clear()
      else await session.run(taken)
    }
    ask()
  }
  lines.close()
  session.close()
  await saveHistory(kept)
}

const say = (text: string): void => void process.stdout.write(`${text}\n`)

const isLeaving = ([word = "", ...others]: readonly string[]): boolean =>
  others.length === 0 && /^(exit|quit)$/i.test(word)

const isHelp = ([word = "", ...others]: readonly string[]): boolean => others.length === 0 && /^help$/i.test(word)

const help = `Every command of the server: COMMAND DOCS lists them, TRIGGER HELP those about triggers.
  "two words\\n"    in double quotes, with \\n, \\t, \\" and \\xff; in 'single quotes' everything is as it stands
  <<LUA            as the last word: the lines that follow are its text, up to one that says LUA
  # …              is a comment
  exit, quit       leave, as does Ctrl-D`

const loadHistory = async (): Promise<string[]> => {
  const text = await readFile(historyFile(), "utf8").catch(() => "")
  return text.split("\n").filter((line) => line !== "")
}

/** Newest first, for its owner alone. A shell without a home goes without. */
const saveHistory = (lines: readonly string[]): Promise<void> =>
  writeFile(historyFile(), lines.map((line) => `${line}\n`).join(""), { mode: 0o600 }).catch(() => {})

const historyFile = (): string => join(homedir(), ".mimosa_history")

const historyMax = 1_000 // lines
const secrets = /^\s*(auth|hello|acl|config\s+set\s+requirepass)\b/i
