/**
 * What is typed into the shell: lines taken apart into words, and texts that run over several lines.
 *
 *     SET greeting "two words\n" EX 5
 *     TRIGGER REGISTER 'session:*' ON_EXPIRE <<LUA
 *     cache.emit("ended", event.key)
 *     LUA
 *
 * Quotes are redis-cli's: in double ones `\n`, `\xff` and the like mean bytes, in single ones all but `\'` stands for
 * itself, and a closing quote ends its word. Source: Redis 7.0, sds.c, sdssplitargs.
 */

/** A line that cannot be taken apart, and why. */
export class NoWords {
  constructor(readonly reason: string) {}
}

/** The words of a line as bytes (latin1); none for an empty line. */
export const wordsOf = (line: string): string[] | NoWords => {
  const words: string[] = []
  const bytes = Buffer.from(line, "utf8").toString("latin1")
  let at = 0
  for (;;) {
    while (isSpace(bytes[at])) at++
    if (at >= bytes.length) return words
    let word = ""
    while (at < bytes.length && !isSpace(bytes[at])) {
      const quote = bytes[at]
      if (quote !== '"' && quote !== "'") {
        word += bytes[at++]
        continue
      }
      const ended = quote === '"' ? doubleQuoted(bytes, at + 1) : singleQuoted(bytes, at + 1)
      if (ended === null) return new NoWords(`a quote (${quote}) is not closed`)
      if (ended.end < bytes.length && !isSpace(bytes[ended.end])) {
        return new NoWords(`a blank is missing behind the closing quote (${quote})`)
      }
      word += ended.text
      at = ended.end
    }
    words.push(word)
  }
}

interface Ended {
  readonly text: string
  /** Behind the closing quote. */
  readonly end: number
}

const doubleQuoted = (bytes: string, from: number): Ended | null => {
  let text = ""
  for (let at = from; at < bytes.length; at++) {
    const character = bytes[at] as string
    if (character === '"') return { text, end: at + 1 }
    if (character !== "\\" || at + 1 === bytes.length) {
      text += character
      continue
    }
    const hex = /^x([0-9a-fA-F]{2})/.exec(bytes.slice(at + 1, at + 4))
    if (hex !== null) {
      text += String.fromCharCode(Number.parseInt(hex[1] as string, 16))
      at += 3
    } else {
      const escaped = bytes[++at] as string
      text += escapes[escaped] ?? escaped
    }
  }
  return null
}

const singleQuoted = (bytes: string, from: number): Ended | null => {
  let text = ""
  for (let at = from; at < bytes.length; at++) {
    if (bytes[at] === "'") return { text, end: at + 1 }
    if (bytes[at] === "\\" && bytes[at + 1] === "'") at++
    text += bytes[at]
  }
  return null
}

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", b: "\b", a: "\x07" }

const isSpace = (character: string | undefined): boolean => character !== undefined && /[ \t\r\n\v\f\0]/.test(character)

/** Lines in, commands out. */
export class ShellInput {
  private heredoc: { readonly words: string[]; readonly at: number; readonly end: string; lines: string[] } | null =
    null

  /** The word that ends the text which is being read, or null. */
  get ending(): string | null {
    return this.heredoc === null ? null : this.heredoc.end
  }

  /**
   * Takes a line. Answers the words of a command when one is whole with it; null where more is to come or there is
   * nothing to do: an empty line, or one that begins with `#`.
   */
  take(line: string): readonly string[] | NoWords | null {
    if (this.heredoc !== null) return this.takeText(line, this.heredoc)
    if (/^\s*#/.test(line)) return null
    const words = wordsOf(line)
    if (words instanceof NoWords) return words
    // Only a word that is typed without quotes begins a text: its end has to be the line's own.
    const end = /(?:^|\s)<<(["']?)([A-Za-z_]\w*)\1\s*$/.exec(line)?.[2]
    if (end === undefined) return words.length === 0 ? null : words
    this.heredoc = { words, at: words.length - 1, end, lines: [] }
    return null
  }

  /** Forgets a text that was begun. */
  abandon(): void {
    this.heredoc = null
  }

  private takeText(line: string, heredoc: NonNullable<typeof this.heredoc>): readonly string[] | null {
    if (line.trim() !== heredoc.end) {
      heredoc.lines.push(line)
      return null
    }
    this.heredoc = null
    const text = heredoc.lines.map((each) => `${each}\n`).join("")
    return heredoc.words.with(heredoc.at, Buffer.from(text, "utf8").toString("latin1"))
  }
}
