/**
 * Redis' glob patterns over bytes: `*`, `?`, `[abc]`, `[a-z]`, `[^a]`, and `\` to take the next byte as it is.
 *
 * A port of stringmatchlen [1] with its edge cases: a class that is never closed ends with the pattern (its last byte
 * is then taken for the bracket and belongs to no class), `[]` matches nothing, `[z-a]` is `[a-z]`, a lone `\` at the
 * end is itself, and the empty text matches the empty pattern alone, not even `*`. Other than there a failed `*` goes
 * back to the last star only, which is enough, because the star before it would have to leave the same text behind; so
 * the cost is O(pattern · text) at worst and never exponential.
 *
 * This reads the pattern anew for each text; `CompiledGlob` is for one that is asked of many.
 *
 * Bytes compare as numbers from 0 to 255 (in Redis as the platform's char, which may be signed).
 *
 * [1] Redis 7.0, util.c, stringmatchlen_impl
 */
export const globMatches = (pattern: string, text: string): boolean => {
  if (text.length === 0) return pattern.length === 0
  let p = 0
  let t = 0
  let starP = -1 // where the pattern goes on after the last star
  let starT = 0 // how much of the text that star has not swallowed yet
  for (;;) {
    if (p < pattern.length && pattern.charCodeAt(p) === star) {
      while (p < pattern.length && pattern.charCodeAt(p) === star) p++
      if (p === pattern.length) return true
      starP = p
      starT = t
      continue
    }
    if (t === text.length) return p === pattern.length
    if (p < pattern.length) {
      const after = step(pattern, p, text.charCodeAt(t))
      if (after >= 0) {
        p = after
        t++
        continue
      }
    }
    if (starP === -1) return false
    p = starP
    t = ++starT
  }
}

/** Whether the pattern is one that only its own text matches. */
export const isLiteral = (pattern: string): boolean => !/[*?[\\]/.test(pattern)

/** Matches one byte against the element at `p`: where the next one starts, or the complement of that. */
export const step = (pattern: string, p: number, byte: number): number => {
  const code = pattern.charCodeAt(p)
  if (code === question) return p + 1
  if (code === open) return stepClass(parseClass(pattern, p + 1), byte)
  if (code === backslash && p + 1 < pattern.length) return pattern.charCodeAt(p + 1) === byte ? p + 2 : ~(p + 2)
  return code === byte ? p + 1 : ~(p + 1)
}

export interface ByteClass {
  /** The first and the last byte of each of its ranges, one behind the other. */
  readonly bounds: readonly number[]
  /** It is of the bytes that are in no range. */
  readonly isNegated: boolean
  /** Where the next element starts. */
  readonly after: number
}

/** The class whose bracket stands before `from`. O(length of the class). */
export const parseClass = (pattern: string, from: number): ByteClass => {
  const end = pattern.length
  const isNegated = pattern.charCodeAt(from) === caret
  const bounds: number[] = []
  let p = isNegated ? from + 1 : from
  for (; ; p++) {
    if (p + 1 < end && pattern.charCodeAt(p) === backslash) p++
    else if (pattern.charCodeAt(p) === close) break
    else if (p >= end) {
      p--
      break
    } else if (p + 2 < end && pattern.charCodeAt(p + 1) === dash) {
      const [a, b] = [pattern.charCodeAt(p), pattern.charCodeAt(p + 2)]
      bounds.push(Math.min(a, b), Math.max(a, b))
      p += 2
      continue
    }
    bounds.push(pattern.charCodeAt(p), pattern.charCodeAt(p))
  }
  return { bounds, isNegated, after: p + 1 }
}

const stepClass = ({ bounds, isNegated, after }: ByteClass, byte: number): number => {
  let isFound = false
  for (let i = 0; i < bounds.length; i += 2) {
    if (byte >= (bounds[i] as number) && byte <= (bounds[i + 1] as number)) isFound = true
  }
  return isFound !== isNegated ? after : ~after
}

const star = 0x2a
const question = 0x3f
const open = 0x5b
const backslash = 0x5c
const close = 0x5d
const caret = 0x5e
const dash = 0x2d
