/**
 * Which fields of the event a source reads, found without running it: so that only these are made for it.
 *
 * Lua is taken apart into tokens (comments, long brackets and escapes as lua.org's manual §3.1 has them), not parsed.
 * `event.name` and `event["name"]` are reads that we know, as are those of `local e = event`. Anything else that could
 * see the event, or the globals behind it, makes the source *dynamic*: it then gets a new table with all fields each
 * time. Wrong in one direction only: a field may be made that nobody reads.
 */

import { isName, keywords, stringMark, tokenize } from "./internal/tokens.ts"

export interface FieldAnalysis {
  /** The known fields that are read, in the order of `names`; all of them when dynamic. */
  readonly fields: ReadonlyArray<string>
  /** The event is used in a way that the tokens do not settle. */
  readonly isDynamic: boolean
  /** The source may keep something between runs that the environment cannot notice: it names `_G`, `_ENV` or `load`. */
  readonly keepsState: boolean
}

/** Which of `names` the chunk `source` reads of its global `event`. O(length). */
export const analyseFields = (source: string, names: ReadonlyArray<string>): FieldAnalysis => {
  const tokens = tokenize(source)
  const read = new Set<string>()
  const keepsState = tokens.some((token) => globals.has(token))
  const declarations = new Declarations(tokens)
  const lists = new AssignedLists(tokens)
  let isDynamic = keepsState || tokens.includes("...")
  const aliases = new Set(["event"])
  for (let i = 0; i < tokens.length && !isDynamic; i++) {
    const word = tokens[i] as string
    if (!aliases.has(word)) continue
    const before = tokens[i - 1]
    if (before === "." || before === ":") continue // a field of something else
    if (isAliasTarget(tokens, i)) continue
    if (tokens[i + 1] === "=" && before !== undefined && isFieldStart(tokens, i)) continue // { event = … }
    const alias = aliasOf(tokens, i)
    if (alias !== undefined) {
      // One name, one meaning: a second declaration of either name and we no longer know which is which.
      if (word !== "event" || alias === "event" || declarations.count(alias) !== 1) isDynamic = true
      aliases.add(alias)
      if (declarations.first(alias) < i - 2) isDynamic = true
      continue
    }
    const field = fieldAfter(tokens, i)
    if (field === undefined || before === "function" || lists.isAssigned(i + field.length)) isDynamic = true
    else read.add(field.name)
  }
  return {
    fields: isDynamic ? names : names.filter((name) => read.has(name)),
    isDynamic,
    keepsState
  }
}

const globals = new Set(["_G", "_ENV", "load"])

/** The X of `local X = event` where X stands at i. */
const isAliasTarget = (tokens: ReadonlyArray<string>, i: number): boolean =>
  tokens[i] !== "event" && tokens[i - 1] === "local" && tokens[i + 1] === "=" && tokens[i + 2] === "event"

/** `{ event = …` or `, event = …` inside a table: only the key of a constructor can follow a `{`. */
const isFieldStart = (tokens: ReadonlyArray<string>, i: number): boolean => tokens[i - 1] === "{"

/** The alias that `local x = event` makes, when the word at i is that event and the statement ends after it. */
const aliasOf = (tokens: ReadonlyArray<string>, i: number): string | undefined => {
  if (tokens[i - 1] !== "=" || tokens[i - 3] !== "local") return undefined
  const after = tokens[i + 1]
  if (after !== undefined && !(isName(after) || keywords.has(after) || after === ";")) return undefined
  if (after === "and" || after === "or") return undefined
  return tokens[i - 2]
}

/** Where each name stands first, and how often it is declared or assigned: one pass, so that many aliases stay cheap. */
class Declarations {
  private readonly firsts = new Map<string, number>()
  private readonly counts = new Map<string, number>()

  constructor(tokens: ReadonlyArray<string>) {
    for (let i = 0; i < tokens.length; i++) {
      const name = tokens[i] as string
      if (!this.firsts.has(name)) this.firsts.set(name, i)
      const before = tokens[i - 1]
      const after = tokens[i + 1]
      if (before === "." || before === ":") continue
      // Declared or assigned, or in a list of names that may be either: all count.
      const isDeclared =
        before === "local" || before === "for" || before === "function" || after === "=" || after === "<"
      const isListed = (before === "," || before === "(") && (after === "," || after === ")" || after === "in")
      if (isDeclared || isListed) this.counts.set(name, this.count(name) + 1)
    }
  }

  first(name: string): number {
    return this.firsts.get(name) ?? -1
  }

  count(name: string): number {
    return this.counts.get(name) ?? 0
  }
}

interface FieldRead {
  readonly name: string
  /** Tokens that it takes after the word itself. */
  readonly length: number
}

const fieldAfter = (tokens: ReadonlyArray<string>, i: number): FieldRead | undefined => {
  const next = tokens[i + 1]
  const name = tokens[i + 2]
  if (name === undefined) return undefined
  if (next === "." && isName(name)) return { name, length: 2 }
  const isConstant = next === "[" && name.startsWith(stringMark) && tokens[i + 3] === "]"
  if (name.startsWith(stringMark, 1)) return undefined
  return isConstant ? { name: name.slice(stringMark.length), length: 3 } : undefined
}

/** The lists that are assigned to: found from the end backwards, once, so that a long list is not walked for each of its parts. */
class AssignedLists {
  private readonly tokens: ReadonlyArray<string>
  /** 1 where only what a list of variables is made of stands between this token and a `=`. */
  private readonly leads: Uint8Array

  constructor(tokens: ReadonlyArray<string>) {
    this.tokens = tokens
    this.leads = new Uint8Array(tokens.length + 1)
    for (let i = tokens.length - 1; i >= 0; i--) {
      const token = tokens[i] as string
      this.leads[i] = token === "=" || (isInList(token) && this.leads[i + 1] === 1) ? 1 : 0
    }
  }

  /** Whether what ends at token `last` is being assigned to, alone or in a list. */
  isAssigned(last: number): boolean {
    const after = this.tokens[last + 1]
    // In `event.a, x = …` only a `=` can end the list of plain names; in an argument list other tokens come first.
    return after === "=" || (after === "," && this.leads[last + 2] === 1)
  }
}

const isInList = (token: string): boolean =>
  token === "." || token === "," || token === "[" || token === "]" || token.startsWith(stringMark) || isName(token)
