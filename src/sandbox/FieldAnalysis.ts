/**
 * Which fields of the event a source reads, found without running it: so that only these are made for it.
 *
 * Lua is taken apart into tokens (comments, long brackets and escapes as lua.org's manual §3.1 has them), not parsed.
 * `event.name` and `event["name"]` are reads that we know, as are those of `local e = event`. Anything else that could
 * see the event, or the globals behind it, makes the source *dynamic*: it then gets a new table with all fields each
 * time. Wrong in one direction only: a field may be made that nobody reads.
 */

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
      if (word !== "event" || alias === "event" || countDeclarations(tokens, alias) !== 1) isDynamic = true
      aliases.add(alias)
      if (tokens.indexOf(alias) < i - 2) isDynamic = true
      continue
    }
    const field = fieldAfter(tokens, i)
    if (field === undefined || before === "function" || isAssigned(tokens, i + field.length)) isDynamic = true
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

const countDeclarations = (tokens: ReadonlyArray<string>, name: string): number => {
  let count = 0
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] !== name || tokens[i - 1] === "." || tokens[i - 1] === ":") continue
    const before = tokens[i - 1]
    const after = tokens[i + 1]
    // Declared or assigned, or in a list of names that may be either: all count.
    if (before === "local" || before === "for" || before === "function" || after === "=" || after === "<") count++
    else if (before === "," || before === "(") if (after === "," || after === ")" || after === "in") count++
  }
  return count
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

/** Whether what ends at token `last` is being assigned to, alone or in a list. */
const isAssigned = (tokens: ReadonlyArray<string>, last: number): boolean => {
  const after = tokens[last + 1]
  if (after === "=") return true
  if (after !== ",") return false
  // In `event.a, x = …` only a `=` can end the list of plain names; in an argument list other tokens come first.
  for (let i = last + 2; i < tokens.length; i++) {
    const token = tokens[i] as string
    if (token === "=") return true
    if (!(isName(token) || token === "." || token === "," || token === "[" || token === "]")) {
      if (!token.startsWith(stringMark)) return false
    }
  }
  return false
}

/** Begins a token that is a string's content, so that it is never taken for a word. */
const stringMark = "\0"

const isName = (token: string): boolean => /^[A-Za-z_]\w*$/.test(token) && !keywords.has(token)

const keywords = new Set(
  "and break do else elseif end false for function goto if in local nil not or repeat return then true until while".split(
    " "
  )
)

const token =
  /--\[(=*)\[[\s\S]*?(?:\]\1\]|$)|--[^\n]*|\[(=*)\[([\s\S]*?)(?:\]\2\]|$)|"((?:\\[\s\S]|[^"\\\n])*)"?|'((?:\\[\s\S]|[^'\\\n])*)'?|[A-Za-z_]\w*|0[xX][\da-fA-F.]*(?:[pP][+-]?\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|\.\.\.|\.\.|==|~=|<=|>=|<<|>>|\/\/|::|\S/g

/** Words, numbers, signs; a string's content behind `stringMark`; comments left out. */
export const tokenize = (source: string): Array<string> => {
  const tokens: Array<string> = []
  for (const match of source.matchAll(token)) {
    const [text, , , long, double, single] = match
    if (text.startsWith("--")) continue
    const content = long ?? double ?? single
    // An escape may spell any name, so such a string is none that we know.
    if (content === undefined) tokens.push(text)
    else tokens.push(stringMark + (content.includes("\\") ? stringMark : content))
  }
  return tokens
}
