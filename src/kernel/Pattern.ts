/**
 * What a watcher asks for: one key (`session:42`), or all keys with a prefix (`session:*`, `*`).
 *
 * Both are found in O(key length). Other globs would have to be tried one by one against every key, so they are
 * refused here; a backslash makes the next character an ordinary one, as in Redis' globs.
 */
export interface Pattern {
  readonly source: string
  readonly kind: "exact" | "prefix"
  /** The key, or the prefix without its star. */
  readonly text: string
}

/** Why a text is no pattern: says what stands where and what would be right. */
export class PatternError extends Error {
  override readonly name = "PatternError"
  constructor(
    readonly source: string,
    readonly offset: number,
    reason: string
  ) {
    super(`pattern '${source}' ${reason}; use an exact key or a prefix that ends in one '*'`)
  }
}

export const parsePattern = (source: string): Pattern | PatternError => {
  if (source.length === 0) return new PatternError(source, 0, "is empty")
  if (source.length > patternLengthMax) {
    return new PatternError(source.slice(0, 32), patternLengthMax, `is longer than ${patternLengthMax} bytes`)
  }
  let text = ""
  for (let i = 0; i < source.length; i++) {
    const character = source[i] as string
    if (character === "\\") {
      if (++i === source.length) return new PatternError(source, i - 1, "ends in a lone backslash")
      text += source[i]
    } else if (character === "*") {
      if (i !== source.length - 1) return new PatternError(source, i, `has a '*' at offset ${i}, before its end`)
      return { source, kind: "prefix", text }
    } else if (character === "?" || character === "[") {
      return new PatternError(source, i, `has a '${character}' at offset ${i}, which is not supported yet`)
    } else text += character
  }
  return { source, kind: "exact", text }
}

const patternLengthMax = 1024 // bytes; longer than any key that people name by hand
