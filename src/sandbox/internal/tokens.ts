/**
 * Lua taken apart into tokens: comments, long brackets and escapes as lua.org's manual §3.1 has them. O(length).
 */

/** Begins a token that is a string's content, so that it is never taken for a word. */
export const stringMark = "\0"

export const isName = (token: string): boolean => /^[A-Za-z_]\w*$/.test(token) && !keywords.has(token)

export const keywords = new Set(
  "and break do else elseif end false for function goto if in local nil not or repeat return then true until while".split(
    " "
  )
)

const token =
  /--\[(=*)\[[\s\S]*?(?:\]\1\]|$)|--[^\n]*|\[(=*)\[([\s\S]*?)(?:\]\2\]|$)|"((?:\\[\s\S]|[^"\\\n])*)"?|'((?:\\[\s\S]|[^'\\\n])*)'?|[A-Za-z_]\w*|0[xX][\da-fA-F.]*(?:[pP][+-]?\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|\.\.\.|\.\.|==|~=|<=|>=|<<|>>|\/\/|::|\S/g

/** Whether a string is what it looks like: an escape may spell anything, and a long bracket changes line ends. */
const isPlain = (content: string, isLong: boolean): boolean =>
  isLong ? !/^\n|\r/.test(content) : !content.includes("\\")

/** Words, numbers, signs; a string's content behind `stringMark`; comments left out. */
export const tokenize = (source: string): Array<string> => {
  const tokens: Array<string> = []
  for (const match of source.matchAll(token)) {
    const [text, , , long, double, single] = match
    if (text.startsWith("--")) continue
    const content = long ?? double ?? single
    if (content === undefined) tokens.push(text)
    else tokens.push(stringMark + (isPlain(content, long !== undefined) ? content : stringMark))
  }
  return tokens
}
