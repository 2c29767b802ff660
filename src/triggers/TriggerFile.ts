/**
 * A trigger in a file: Lua that says in its comments what it is for, and how it is tested.
 *
 *     -- name: session-ended
 *     -- match: session:*
 *     -- on: ON_EXPIRE
 *     --
 *     -- Tells the shop that a session is over.
 *
 *     cache.webhook(event.metadata.hook, { user = event.value })
 *
 *     -- test: the shop learns whose session it was
 *     -- given: ON_EXPIRE session:42 ada metadata {"hook": "https://shop.example"}
 *     -- expect: webhook https://shop.example {"user": "ada"}
 *
 * The front matter is the comment that the file begins with, field by field. A test begins with `test:` anywhere in the
 * file; a line that is indented by four or more goes on with the line above it. The source that is registered is the
 * file whole, comments and all: a line that an error names is that line of the file, and the file can be compared with
 * what a server runs.
 */
import { basename } from "node:path"
import { Data } from "effect"
import { type Given, makeGiven, readExpectation, readGiven, Unreadable } from "./TestLine.ts"
import {
  defineTrigger,
  type TriggerDefinition,
  type TriggerEventName,
  type TriggerOptions,
  type TriggerScope
} from "./Trigger.ts"
import { InvalidTrigger } from "./TriggerError.ts"
import type { ExpectedLine, TriggerTest } from "./TriggerTest.ts"

export interface TriggerFile {
  /** Its path, as it was read. */
  readonly file: string
  readonly definition: TriggerDefinition
  readonly tests: readonly TriggerTest[]
}

/** What is wrong with a file: every problem with its line, from 1. */
export class TriggerFileError extends Data.TaggedError("TriggerFileError")<{
  readonly file: string
  readonly problems: ReadonlyArray<{ readonly line: number; readonly reason: string }>
}> {
  override get message(): string {
    return this.problems.map(({ line, reason }) => `${this.file}:${line}: ${reason}`).join("\n")
  }
}

/**
 * Reads a file's text. Its name is that of the file without `.lua` where the front matter has none.
 *
 * @example
 * const file = parse("triggers/hello.lua", "-- match: hello:*\n-- on: ON_WRITE\nprint(event.value)\n")
 */
export const parse = (file: string, text: string): TriggerFile | TriggerFileError => {
  const source = text.replace(/^\uFEFF/, "")
  const problems = new Problems()
  const lines = source.split("\n").map((line) => line.replace(/\r$/, ""))
  const front = readFront(lines, problems)
  const tests = readTests(lines, problems)
  const name = front.values.name ?? basename(file).replace(/\.lua$/, "")
  const { pattern, events } = front.values
  if (problems.isEmpty && (pattern === undefined || events === undefined)) {
    problems.add(
      1,
      `the comment that a trigger's file begins with says '-- ${pattern === undefined ? "match: session:*" : "on: ON_EXPIRE"}'; this one does not`
    )
  }
  if (pattern === undefined || events === undefined || !problems.isEmpty) return problems.asError(file)
  const definition = defineTrigger({ ...front.values, name, pattern, events, source })
  if (!(definition instanceof InvalidTrigger)) return { file, definition, tests }
  const field = fieldOf[definition.field] ?? definition.field
  problems.add(front.lines.get(field) ?? 1, `${field}: ${definition.reason}`)
  return problems.asError(file)
}

class Problems {
  private readonly all: Array<{ readonly line: number; readonly reason: string }> = []

  get isEmpty(): boolean {
    return this.all.length === 0
  }

  add(line: number, reason: string): void {
    this.all.push({ line, reason })
  }

  /** Runs `read`; what it finds unreadable is a problem of this line. */
  watch<A>(line: number, about: string, read: () => A): A | undefined {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error
      this.add(line, `${about}: ${error.message}`)
      return undefined
    }
  }

  asError(file: string): TriggerFileError {
    return new TriggerFileError({ file, problems: this.all.toSorted((a, b) => a.line - b.line) })
  }
}

// Front matter

type FrontValues = TriggerOptions & {
  readonly name?: string
  readonly pattern?: string
  readonly events?: readonly TriggerEventName[]
}

interface Front {
  readonly values: FrontValues
  /** Where each field stands. */
  readonly lines: ReadonlyMap<string, number>
}

/** What a field's text says; `Unreadable` where it says nothing that is right. */
type ReadField = (text: string) => FrontValues

const number =
  (name: "timeoutUs" | "memoryBytes" | "priority" | "sample"): ReadField =>
  (text) => {
    if (/^-?\d{1,15}$/.test(text)) return { [name]: Number(text) }
    throw new Unreadable(`'${text}' is no whole number`)
  }

const flag =
  (name: "failClosed" | "isolate" | "isEnabled", meant: boolean): ReadField =>
  (text) => {
    if (text === "" || text === "true") return { [name]: meant }
    if (text === "false") return { [name]: !meant }
    throw new Unreadable(`'${text}' is neither true nor false; the word alone means true`)
  }

/** The fields, in the order in which people write them. */
const fields: Readonly<Record<string, ReadField>> = {
  name: (text) => ({ name: text }),
  match: (text) => ({ pattern: text }),
  on: (text) => ({ events: listOf(text).map((event) => event.toUpperCase() as TriggerEventName) }),
  timeout: number("timeoutUs"),
  memory: number("memoryBytes"),
  priority: number("priority"),
  when: (text) => {
    if (text === "changed") return { whenChanged: true }
    throw new Unreadable(`'${text}' is not 'changed', which is all that it can be`)
  },
  sample: number("sample"),
  include: (text) => {
    const included = listOf(text)
    const unknown = included.find((what) => what !== "fill" && what !== "flush")
    if (unknown !== undefined) throw new Unreadable(`'${unknown}' is neither fill nor flush`)
    return { includeFill: included.includes("fill"), includeFlush: included.includes("flush") }
  },
  scope: (text) => ({ scope: text as TriggerScope }),
  failclosed: flag("failClosed", true),
  isolate: flag("isolate", true),
  disabled: flag("isEnabled", false)
}

export const fieldNames: readonly string[] = Object.keys(fields)

/** What the front matter of a definition would say, field by field; options as they hold, defaults too. */
export const frontMatterOf = (definition: TriggerDefinition): Readonly<Record<string, string>> => {
  const { name, pattern, events, timeoutUs, memoryBytes, priority, whenChanged, sample, scope } = definition
  const { includeFill, includeFlush, failClosed, isolate, isEnabled } = definition
  return {
    name,
    match: pattern,
    on: events.join(", "),
    timeout: `${timeoutUs}`,
    memory: `${memoryBytes}`,
    priority: `${priority}`,
    when: whenChanged ? "changed" : "any write",
    sample: `${sample}`,
    include:
      [includeFill ? "fill" : "", includeFlush ? "flush" : ""].filter((what) => what !== "").join(", ") || "nothing",
    scope,
    failclosed: `${failClosed}`,
    isolate: `${isolate}`,
    disabled: `${!isEnabled}`
  }
}

/** What the front matter calls a definition's field, where that is another word. */
const fieldOf: Readonly<Record<string, string>> = { pattern: "match", events: "on" }

const listOf = (text: string): string[] => text.split(",").map((item) => item.trim())

/**
 * Reads the comments before the first line of Lua. In the first block of them every `word: …` has to be a field, so
 * that a slip of the pen is not taken for prose; behind a line of prose or a blank one, other words may be anything.
 */
const readFront = (lines: readonly string[], problems: Problems): Front => {
  let values: FrontValues = {}
  const at = new Map<string, number>()
  let isFirstBlock = true
  for (const [index, line] of lines.entries()) {
    const comment = commentOf(line)
    if (comment === undefined) {
      if (line.trim() !== "") break
      if (at.size > 0) isFirstBlock = false
      continue
    }
    const [, word = "", colon, text = ""] = /^\s*([A-Za-z]+)\s*(?:(:)\s*(.*?))?\s*$/.exec(comment) ?? []
    if (testWords.has(word) && colon !== undefined) break
    const read = Object.hasOwn(fields, word) ? fields[word] : undefined
    const isField = read !== undefined && (colon !== undefined || flagNames.has(word))
    if (!isField) {
      if (colon === undefined || !isFirstBlock) isFirstBlock = false
      else problems.add(index + 1, `'${word}' is no field of a trigger; there are ${fieldNames.join(", ")}`)
      continue
    }
    if (at.has(word)) problems.add(index + 1, `${word} stands in line ${at.get(word)} already`)
    at.set(word, index + 1)
    const isEmpty = text === "" && !flagNames.has(word)
    if (isEmpty) problems.add(index + 1, `${word}: it says nothing`)
    else values = { ...values, ...problems.watch(index + 1, word, () => read(text)) }
  }
  return { values, lines: at }
}

const flagNames = new Set(["failclosed", "isolate", "disabled"])

// Tests

/** One of a test's lines, with those that go on with it. */
interface Statement {
  readonly word: string
  readonly line: number
  text: string
}

const readTests = (lines: readonly string[], problems: Problems): TriggerTest[] => {
  const tests: TriggerTest[] = []
  let test: { title: string; line: number; given?: Given | undefined; expected: ExpectedLine[] } | null = null
  const end = () => {
    if (test === null) return
    const { title, line, given, expected } = test
    if (title === "") problems.add(line, "test: it has no title; say what it shows")
    if (expected.length === 0) problems.add(line, "test: it expects nothing, which it says as: -- expect: nothing")
    if (given !== undefined) tests.push({ title, line, given, expected })
    else problems.add(line, "test: it has no event; the first thing given is one, as in: -- given: ON_WRITE price:1 20")
  }
  for (const { word, line, text } of statementsOf(lines, problems)) {
    if (word === "test") {
      end()
      test = { title: text, line, expected: [] }
    } else if (test === null) {
      problems.add(line, `${word}: it stands in no test; one begins with: -- test: what it shows`)
    } else if (word === "given") {
      const { given } = test
      test.given = problems.watch(line, word, () => readGiven(text, given)) ?? given ?? unreadableGiven
    } else {
      const expectation = problems.watch(line, word, () => readExpectation(text))
      test.expected.push({ line, text, expectation: expectation ?? { verb: "nothing" } })
    }
  }
  end()
  return tests
}

/** In the place of an event that cannot be read, so that its test is not said to have none as well. */
const unreadableGiven = makeGiven("ON_WRITE", "")

const statementsOf = (lines: readonly string[], problems: Problems): Statement[] => {
  const statements: Statement[] = []
  let last: Statement | null = null // the one that a line may go on with
  for (const [index, line] of lines.entries()) {
    const comment = commentOf(line)
    const [, word = "", text = ""] = /^\s*([A-Za-z]+)\s*:\s*(.*?)\s*$/.exec(comment ?? "") ?? []
    if (testWords.has(word)) {
      last = { word, line: index + 1, text }
      statements.push(last)
    } else if (last !== null && comment !== undefined && /^ {4,}\S/.test(comment)) last.text += ` ${comment.trim()}`
    else {
      if (last !== null && word !== "") {
        problems.add(index + 1, `'${word}' is no part of a test; there are ${[...testWords].join(", ")}`)
      }
      last = null
    }
  }
  return statements
}

const testWords: ReadonlySet<string> = new Set(["test", "given", "expect"])

/** What stands behind the dashes of a line that is a comment and nothing else. */
const commentOf = (line: string): string | undefined => /^\s*--(?!\[=*\[)(.*)$/.exec(line)?.[1]
