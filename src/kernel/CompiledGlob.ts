/**
 * A glob that is asked of many keys: it answers as `globMatches` does, of keys of any length, in bounded steps.
 *
 * Most globs are literals between stars. The first has to begin the key, the last to end it, and each of the others is
 * sought from where the one before it was found: the leftmost place leaves most room to those that follow, so nothing
 * is tried twice, and a key costs O(length). One with `?` or a class is walked as an automaton whose states are bits, a
 * state for each element that the key has passed [1]: a byte of the key moves 32 of them at once, and nothing is tried
 * twice there either: O(length · pattern / 32), however the two are made. Before all that come the length of the key
 * and the longest literal, which most keys do not hold.
 *
 * Memory: 32 bytes for each byte of a glob that is walked, 1 KB at least.
 *
 * [1] Baeza-Yates and Gonnet, A New Approach to Text Searching, CACM 35(10), 1992: shift-and. A star is a state that stays.
 */
import { step } from "./Glob.ts"

export class CompiledGlob {
  /** What the last `matches` took at most, in bytes that were looked through and words that were moved. */
  steps = 0
  /** The literals that keys begin and end with, and those between, in their order; "" where there is none. */
  private readonly start: string
  private readonly middle: readonly string[]
  private readonly end: string
  private readonly longest: string
  private readonly lengthMin: number
  private readonly automaton: Automaton | undefined

  constructor(pattern: string) {
    const elements: number[] = [] // where each begins
    const stars = new Set<number>() // before which elements one stands
    const literals = [""] // as they are parted by stars and by elements of other kinds
    let isPlain = true
    for (let p = 0; p < pattern.length; ) {
      const kind = pattern[p] as string
      if (kind === "*") stars.add(elements.length)
      else elements.push(p)
      if (kind === "*" || kind === "?" || kind === "[") {
        literals.push("")
        if (kind !== "*") isPlain = false
        p = kind === "[" ? endOf(step(pattern, p, 0)) : p + 1
      } else {
        if (kind === "\\" && p + 1 < pattern.length) p++
        literals.push(`${literals.pop()}${pattern[p++]}`)
      }
    }
    this.lengthMin = Math.max(1, elements.length)
    this.start = literals[0] as string
    this.middle = literals.slice(1, -1).filter((each) => each !== "")
    this.longest = literals.reduce((a, b) => (b.length > a.length ? b : a)).slice(0, soughtMax)
    const isSought = isPlain && stars.size > 0 && this.middle.every(({ length }) => length <= soughtMax)
    this.end = isSought ? (literals.at(-1) as string) : ""
    this.automaton = isSought ? undefined : new Automaton(pattern, elements, stars)
  }

  matches(text: string): boolean {
    this.steps = 1
    if (text.length < this.lengthMin || !text.startsWith(this.start) || !text.endsWith(this.end)) return false
    if (this.automaton === undefined) return this.middle.length === 0 || this.finds(text)
    this.steps += text.length
    if (!text.includes(this.longest)) return false
    const isMatch = this.automaton.accepts(text)
    this.steps += this.automaton.steps
    return isMatch
  }

  private finds(text: string): boolean {
    const { middle } = this
    if (middle.length > 1) {
      this.steps += text.length
      if (!text.includes(this.longest)) return false
    }
    this.steps += text.length
    let at = this.start.length
    for (let i = 0; i < middle.length; i++) {
      const part = middle[i] as string
      at = text.indexOf(part, at)
      if (at === -1) return false
      at += part.length
    }
    return at <= text.length - this.end.length
  }
}

class Automaton {
  steps = 0
  private readonly words: number
  /** For each byte the states that it leads on from; the last row is for characters that are none. */
  private readonly rows: Int32Array
  /** The states that any byte leads back to: those before a star. */
  private readonly stays: Int32Array
  private readonly states: Int32Array
  private readonly accepted: number

  constructor(
    private readonly pattern: string,
    private readonly elements: readonly number[],
    stars: ReadonlySet<number>
  ) {
    this.words = (elements.length >> 5) + 1
    this.rows = new Int32Array(257 * this.words)
    this.stays = new Int32Array(this.words)
    this.states = new Int32Array(this.words)
    this.accepted = 1 << elements.length
    for (const at of stars) this.stays[at >> 5] = (this.stays[at >> 5] as number) | (1 << at)
    for (let i = 0; i < elements.length; i++) {
      const at = elements[i] as number
      const kind = pattern[at]
      if (kind === "?" || kind === "[") for (let byte = 0; byte < 256; byte++) this.put(byte, i, byte)
      else {
        const code = pattern.charCodeAt(kind === "\\" && at + 1 < pattern.length ? at + 1 : at)
        if (code < 256) this.put(code, i, code)
      }
    }
  }

  accepts(text: string): boolean {
    const { words, rows, stays, states, accepted } = this
    const last = words - 1
    const settled = (stays[last] as number) & accepted
    states.fill(0)
    states[0] = 1
    this.steps = 0
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      const row = Math.min(code, 256) * words
      if (code >= 256) {
        rows.fill(0, row)
        for (let each = 0; each < this.elements.length; each++) this.put(256, each, code)
      }
      let carry = 0
      let alive = 0
      for (let w = 0; w < words; w++) {
        const before = states[w] as number
        const passed = before & (rows[row + w] as number)
        const after = (before & (stays[w] as number)) | (passed << 1) | carry
        carry = passed >>> 31
        states[w] = after
        alive |= after
      }
      this.steps += words
      if (alive === 0) return false
      if (((states[last] as number) & settled) !== 0) return true
    }
    return ((states[last] as number) & accepted) !== 0
  }

  /** Notes in a row whether the element lets a character pass. */
  private put(row: number, element: number, code: number): void {
    if (step(this.pattern, this.elements[element] as number, code) < 0) return
    const at = row * this.words + (element >> 5)
    this.rows[at] = (this.rows[at] as number) | (1 << element)
  }
}

const endOf = (after: number): number => (after < 0 ? ~after : after)

const soughtMax = 250 // bytes; of longer literals V8's search knows only the end, and may look at a byte once for each
