/**
 * What a watcher asks for: one key (`session:42`), all keys with a prefix (`session:*`, `*`), or those that another glob
 * of Redis' matches (`user:?:cart`, `*:lock`, `[ab]*`).
 *
 * The first two are found in O(key length). Other globs have to be tried one by one against every new key, so they cost
 * more. All match keys of any length: who guards keys must not be passed by with a long one. A backslash makes the next character an ordinary one.
 */
import { CompiledGlob } from "./CompiledGlob.ts"

export interface Pattern {
  readonly source: string
  readonly kind: "exact" | "prefix" | "glob"
  /** The key, the prefix without its star, or what every key begins with that the glob matches. */
  readonly text: string
  /** Neither a key nor a prefix: costs more. */
  readonly isGlob: boolean
  /** There where it is a glob. */
  readonly glob?: CompiledGlob
}

/** Why a text is no pattern: says what stands where and what would be right. */
export class PatternError extends Error {
  override readonly name = "PatternError"
  constructor(
    readonly source: string,
    readonly offset: number,
    reason: string
  ) {
    super(`pattern '${source}' ${reason}; use an exact key, a prefix that ends in '*', or a glob of * ? [ab] [^a-z]`)
  }
}

export const parsePattern = (source: string): Pattern | PatternError => {
  if (source.length === 0) return new PatternError(source, 0, "is empty")
  if (source.length > patternLengthMax) {
    return new PatternError(source.slice(0, 32), patternLengthMax, `is longer than ${patternLengthMax} bytes`)
  }
  let text = ""
  let isLiteral = true
  for (let i = 0; i < source.length; i++) {
    const character = source[i] as string
    if (character === "\\") {
      if (++i === source.length) return new PatternError(source, i - 1, "ends in a lone backslash")
      if (isLiteral) text += source[i]
    } else if (character === "[") {
      const end = classEnd(source, i)
      if (end === -1) return new PatternError(source, i, `has a '[' at offset ${i} that is never closed`)
      isLiteral = false
      i = end
    } else if (character === "*" && isLiteral && /^\*+$/.test(source.slice(i))) {
      return { source, kind: "prefix", text, isGlob: false }
    } else if (character === "*" || character === "?") isLiteral = false
    else if (isLiteral) text += character
  }
  if (isLiteral) return { source, kind: "exact", text, isGlob: false }
  return { source, kind: "glob", text, isGlob: true, glob: new CompiledGlob(source) }
}

/** Whether the pattern is for this key. O(key length), but for globs with `?` or a class: see `CompiledGlob`. */
export const patternMatches = ({ kind, text, glob }: Pattern, key: string): boolean => {
  if (glob !== undefined) return glob.matches(key)
  return kind === "exact" ? key === text : key.startsWith(text)
}

/** Where the class that opens at `from` closes, or -1. */
const classEnd = (source: string, from: number): number => {
  for (let i = source[from + 1] === "^" ? from + 2 : from + 1; i < source.length; i++) {
    if (source[i] === "\\") i++
    else if (source[i] === "]") return i
  }
  return -1
}

const patternLengthMax = 1024 // bytes; longer than any key that people name by hand
